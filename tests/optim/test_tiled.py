"""Optimization in tiles: the same steps as on the whole picture, the state on disk, and running out of memory."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from impasto.encoders import Vgg, load_encoder
from impasto.encoders.precision import Arithmetic
from impasto.features.statistics import moments
from impasto.losses.features import Objective, StyleLoss
from impasto.losses.picture import Smoothness
from impasto.optim.adam import Adam
from impasto.optim.engine import Guard, Momentum, OptimizerSettings, Step, optimize, pyramid, restore_momentum
from impasto.optim.parametrization import image_of, to_image, to_planes, to_planes_sparingly
from impasto.optim.stored import StoredAdam, StoredPlane
from impasto.optim.tiled import SMALLEST_TILE_PX, TilePlan, Tiling
from impasto.options import Canvas
from impasto.tensors import Features

LAYERS = ("relu1_1", "relu2_1")
SETTINGS = OptimizerSettings(optimizer="adam", canvas="soft-laplacian", averaging=0.0, decay="never")


@pytest.fixture(scope="module")
def encoder() -> Vgg:
    return load_encoder()


@pytest.fixture
def objective(encoder: Vgg, random: torch.Generator) -> Objective:
    target = {layer: moments(each) for layer, each in encoder(torch.rand(1, 3, 48, 48, generator=random), LAYERS).items()}
    return 1e-6 * StyleLoss(target, dict.fromkeys(LAYERS, 1.0)) + Smoothness("l2")


def last_of(
    objective: Objective, photo: Tensor, encoder: Vgg, tiling: Tiling | None, settings: OptimizerSettings = SETTINGS
) -> Step:
    encode = partial(Arithmetic(torch.device("cpu"), "fp32").encode, encoder)
    *_, last = optimize(objective, photo, 4, encode=encode, optimizer_settings=settings, tiling=tiling)
    return last


@pytest.mark.slow
def test_steps_in_tiles_equal_those_on_the_whole_picture(photo: Tensor, random: torch.Generator) -> None:
    # In float64, because Adam amplifies rounding where the gradient is near 0.
    encoder, settings = load_encoder().double(), replace(SETTINGS, canvas="pixels")
    target = {
        layer: moments(each) for layer, each in encoder(torch.rand(1, 3, 48, 48, generator=random).double(), LAYERS).items()
    }
    objective = 1e-6 * StyleLoss(target, dict.fromkeys(LAYERS, 1.0)) + Smoothness("l2")
    tiled = last_of(objective, photo.double(), encoder, Tiling(32, encoder.layers), settings)
    whole = last_of(objective, photo.double(), encoder, None, settings)
    assert tiled.loss == pytest.approx(whole.loss, rel=1e-9)
    torch.testing.assert_close(tiled.image, whole.image, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_the_first_loss_in_tiles_equals_that_of_the_whole_picture(objective: Objective, photo: Tensor, encoder: Vgg) -> None:
    tiled, whole = (
        next(optimize(objective, photo, 1, encode=encoder, optimizer_settings=SETTINGS, tiling=tiling))
        for tiling in (Tiling(32, encoder.layers), None)
    )
    assert tiled.loss == pytest.approx(whole.loss, rel=1e-5)


@pytest.mark.slow
def test_a_state_on_disk_changes_no_step(objective: Objective, photo: Tensor, encoder: Vgg) -> None:
    memory, disk = (last_of(objective, photo, encoder, Tiling(32, encoder.layers, on_disk)) for on_disk in (False, True))
    assert torch.equal(memory.image, disk.image)
    assert memory.loss == disk.loss


@pytest.mark.slow
def test_a_picture_that_is_not_drawn_yet_is_drawn_when_it_is_asked_for(
    objective: Objective, photo: Tensor, encoder: Vgg
) -> None:
    step = last_of(objective, photo, encoder, Tiling(32, encoder.layers))
    assert callable(step.drawing)
    assert step.image.shape == photo.shape


def test_adam_on_disk_takes_the_steps_of_adam(random: torch.Generator) -> None:
    first, second = (torch.full((1, 2, 5, 7), 0.5) for _ in range(2))
    one, other = Adam([first], 0.1, (0.9, 0.99)), StoredAdam([second], 0.1, (0.9, 0.99))
    for _ in range(3):
        first.grad = second.grad = torch.randn(first.shape, generator=random)
        one.step(lambda: torch.zeros(()))
        other.step(lambda: torch.zeros(()))
    assert torch.equal(first, second)


@pytest.mark.parametrize("channels", [1, 3])
def test_momentum_on_disk_is_that_in_memory_and_is_written_in_strips(
    channels: int, random: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, write = [], StoredPlane.write

    def counted(self: StoredPlane, start: int, values: Tensor) -> None:
        written.append(values.numel())
        write(self, start, values)

    monkeypatch.setattr(StoredPlane, "write", counted)
    monkeypatch.setattr("impasto.optim.parametrization._STRIP_ROWS", 16)
    plane = torch.zeros(1, channels, 101, 132)
    small = {"step": 2} | {name: torch.rand(1, channels, 50, 66, generator=random) for name in ("exp_avg", "exp_avg_sq")}
    states = []
    for optimizer in (Adam([plane], 0.1, (0.9, 0.99)), StoredAdam([plane], 0.1, (0.9, 0.99))):
        restore_momentum(optimizer, [plane], Momentum([small]), scale=2.0)
        states.append(optimizer.state[plane])
    for name in ("exp_avg", "exp_avg_sq"):
        assert torch.equal(states[0][name], states[1][name].tensor())
    assert max(written) == 16 * 132


def test_snapshots_on_disk_are_restored(random: torch.Generator) -> None:
    planes = [torch.rand(1, 1, 6, 5, generator=random)]
    good = planes[0].clone()
    guard = Guard(planes, on_disk=True)
    guard.keep(guard.snapshot(planes), {"style": 1.0})
    planes[0].zero_()
    guard.snapshot(planes)
    guard.restore(planes)
    assert torch.equal(planes[0], good)


@pytest.mark.parametrize("canvas", ["pixels", "soft-chroma", "laplacian", "soft-laplacian"])
@pytest.mark.parametrize("size", [(64, 48), (61, 83)])
def test_strips_of_a_picture_are_those_of_the_whole(
    size: tuple[int, int], canvas: Canvas, random: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("impasto.optim.parametrization._STRIP_ROWS", 16)
    image = torch.rand(1, 3, *size, generator=random)
    planes = to_planes(image, canvas)
    for one, other in zip(planes, to_planes_sparingly(image, canvas), strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(image_of(planes, canvas), to_image(planes, canvas).clamp(0, 1))
    torch.testing.assert_close(image_of(planes, canvas, 5), to_image(planes, canvas).clamp(0, 1)[..., 5:-5, 5:-5])


ERRORS = (
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory."),
)


class Exhausted:
    """Encodes pictures of at most some number of pixels; for larger ones, memory runs out."""

    def __init__(self, encoder: Vgg, most: int, error: Exception = ERRORS[0]) -> None:
        self.encoder, self.most, self.error = encoder, most, error

    def __call__(self, image: Tensor, layers: frozenset[str]) -> Features:
        if image.shape[-2] * image.shape[-1] > self.most:
            raise self.error
        found: Features = self.encoder(image, layers)
        return found


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_when_memory_runs_out_tiles_become_smaller(error: Exception, objective: Objective, photo: Tensor, encoder: Vgg) -> None:
    image = torch.nn.functional.interpolate(photo, size=(256, 256))
    encode = Exhausted(encoder, 170 * 170, error)
    tiling = Tiling(256, encoder.layers)
    steps = list(optimize(objective, image, 2, encode=encode, optimizer_settings=SETTINGS, tiling=tiling))
    assert tiling.tile_px == 128
    assert [step.note for step in steps] == ["memory ran out; continuing in tiles of 128 pixels", ""]


@pytest.mark.slow
def test_smaller_tiles_have_the_same_loss(objective: Objective, photo: Tensor, encoder: Vgg) -> None:
    image = torch.nn.functional.interpolate(photo, size=(256, 256))
    (exhausted,), (enough,) = (
        list(optimize(objective, image, 1, encode=encode, optimizer_settings=SETTINGS, tiling=Tiling(256, encoder.layers)))
        for encode in (Exhausted(encoder, 170 * 170), encoder)
    )
    assert exhausted.loss == pytest.approx(enough.loss, rel=1e-5)


def test_when_no_tile_fits_the_error_remains(objective: Objective, photo: Tensor, encoder: Vgg) -> None:
    tiling = Tiling(2 * SMALLEST_TILE_PX, encoder.layers)
    with pytest.raises(RuntimeError, match="allocate"):
        list(optimize(objective, photo, 2, encode=Exhausted(encoder, 10), optimizer_settings=SETTINGS, tiling=tiling))


def test_other_errors_are_raised_at_once(objective: Objective, photo: Tensor, encoder: Vgg) -> None:
    tiling = Tiling(256, encoder.layers)
    encode = Exhausted(encoder, 10, RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        list(optimize(objective, photo, 2, encode=encode, optimizer_settings=SETTINGS, tiling=tiling))
    assert tiling.tile_px == 256


@pytest.mark.slow
def test_when_memory_runs_out_for_the_whole_picture_painting_continues_in_tiles(
    objective: Objective, photo: Tensor, encoder: Vgg
) -> None:
    sizes = [((64, 64), 2), ((128, 128), 3)]
    plan = TilePlan(encoder.layers, tile_px=64)
    encode = Exhausted(encoder, 100 * 100)
    steps = list(pyramid(lambda _: objective, photo, sizes, encode=encode, optimizer_settings=SETTINGS, tiles=plan))
    assert [(step.number, step.total, step.size) for step in steps][-1] == (5, 5, (128, 128))
    assert [callable(step.drawing) for step in steps] == [False, False, True, True, True]
    assert [step.note for step in steps] == ["", "", "memory ran out; continuing in tiles of 64 pixels", "", ""]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_when_memory_runs_out_while_the_objective_is_made_tiles_become_smaller(
    error: Exception, objective: Objective, photo: Tensor, encoder: Vgg
) -> None:
    plan = TilePlan(encoder.layers, whole_pixels=0, tile_px=256)

    def objective_at(size: tuple[int, int]) -> Objective:
        if plan.tile_px > 64:
            raise error
        return objective

    steps = list(pyramid(objective_at, photo, [((64, 64), 2)], encode=encoder, optimizer_settings=SETTINGS, tiles=plan))
    assert plan.tile_px == 64
    assert [step.note for step in steps] == ["memory ran out; continuing in tiles of 64 pixels", ""]


@pytest.mark.slow
def test_larger_sizes_begin_with_the_smaller_tiles(objective: Objective, photo: Tensor, encoder: Vgg) -> None:
    plan = TilePlan(encoder.layers, whole_pixels=0, tile_px=256)
    sizes = [((256, 256), 1), ((320, 320), 1)]
    encode = Exhausted(encoder, 170 * 170)
    steps = list(pyramid(lambda _: objective, photo, sizes, encode=encode, optimizer_settings=SETTINGS, tiles=plan))
    assert plan.tile_px == 128
    assert [bool(step.note) for step in steps] == [True, False]


@pytest.mark.slow
def test_the_size_of_a_picture_is_known_before_it_is_drawn(objective: Objective, photo: Tensor, encoder: Vgg) -> None:
    for tiling in (Tiling(32, encoder.layers), None):
        step = last_of(objective, photo, encoder, tiling)
        assert step.image_size == (photo.shape[-2], photo.shape[-1])

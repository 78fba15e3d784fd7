"""Optimization in tiles: the same steps as on the whole picture, the state on disk, and running out of memory."""

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
from impasto.optim.engine import Guard, OptimizerSettings, Step, optimize, pyramid
from impasto.optim.parametrization import image_of, to_image, to_planes, to_planes_sparingly
from impasto.optim.stored import StoredAdam
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


def last_of(objective: Objective, photo: Tensor, encoder: Vgg, tiling: Tiling | None) -> Step:
    encode = partial(Arithmetic(torch.device("cpu"), "fp32").encode, encoder)
    *_, last = optimize(objective, photo, 4, encode=encode, optimizer_settings=SETTINGS, tiling=tiling)
    return last


@pytest.mark.parametrize("on_disk", [False, True])
def test_steps_in_tiles_equal_those_on_the_whole_picture(
    on_disk: bool, objective: Objective, photo: Tensor, encoder: Vgg
) -> None:
    tiled = last_of(objective, photo, encoder, Tiling(32, encoder.layers, on_disk))
    whole = last_of(objective, photo, encoder, None)
    assert tiled.loss == pytest.approx(whole.loss, rel=1e-4)
    assert float((tiled.image - whole.image).abs().mean()) < 1e-3  # Adam amplifies rounding where the gradient is near 0


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


class Exhausted:
    """Encodes pictures of at most some number of pixels; for larger ones, memory runs out as PyTorch reports it on the CPU."""

    def __init__(self, encoder: Vgg, most: int) -> None:
        self.encoder, self.most = encoder, most

    def __call__(self, image: Tensor, layers: frozenset[str]) -> Features:
        if image.shape[-2] * image.shape[-1] > self.most:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        found: Features = self.encoder(image, layers)
        return found


def test_when_memory_runs_out_tiles_become_smaller(objective: Objective, photo: Tensor, encoder: Vgg) -> None:
    image = torch.nn.functional.interpolate(photo, size=(256, 256))
    encode = Exhausted(encoder, 170 * 170)
    tiling = Tiling(256, encoder.layers)
    steps = list(optimize(objective, image, 2, encode=encode, optimizer_settings=SETTINGS, tiling=tiling))
    assert tiling.tile_px == 128
    assert [step.note for step in steps] == ["memory ran out; going on in tiles of 128 pixels", ""]


def test_when_no_tile_fits_the_error_remains(objective: Objective, photo: Tensor, encoder: Vgg) -> None:
    tiling = Tiling(2 * SMALLEST_TILE_PX, encoder.layers)
    with pytest.raises(RuntimeError, match="allocate"):
        list(optimize(objective, photo, 2, encode=Exhausted(encoder, 10), optimizer_settings=SETTINGS, tiling=tiling))


def test_when_memory_runs_out_for_the_whole_picture_painting_continues_in_tiles(
    objective: Objective, photo: Tensor, encoder: Vgg
) -> None:
    sizes = [((64, 64), 2), ((128, 128), 3)]
    plan = TilePlan(encoder.layers, tile_px=64)
    encode = Exhausted(encoder, 100 * 100)
    steps = list(pyramid(lambda _: objective, photo, sizes, encode=encode, optimizer_settings=SETTINGS, tiles=plan))
    assert [(step.number, step.total, step.size) for step in steps][-1] == (5, 5, (128, 128))
    assert [callable(step.drawing) for step in steps] == [False, False, True, True, True]

"""Everything runs on devices without float64, and with fewer operators than the CPU has."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import impasto
from accelerator import DEVICE, Accelerator, Elsewhere, Literals
from impasto import images, notebook
from impasto.compat import inetwork
from impasto.compat.inetwork_flags import InetworkOptions
from impasto.encoders import Vgg
from impasto.images.large import open_large
from impasto.networks.style_swap import Decoder, DecoderWidths
from impasto.recipes import checks, instant_painter, instant_streaming
from impasto.recipes import instant as instant_recipe
from impasto.recipes.streaming import Parts, paint_from_disk
from impasto.recipes.swatch import paint_swatch
from impasto.runtime.devices import seconds_now
from impasto.training.agreement import HeldOut, figures
from impasto.training.crops import Corpus
from impasto.training.encoder import Distillation, initialize_from_teacher
from impasto.training.style_swap import SwapTraining

_RANDOM = np.random.default_rng(0)
PHOTO, STYLE, OTHER = (np.kron(_RANDOM.random((8, 10, 3)), np.ones((6, 6, 1))).astype(np.float32) for _ in range(3))
LEFT = np.repeat(np.linspace(0, 1, 60)[None, :] < 0.5, 48, axis=0).astype(np.float32)
CORPUS: Corpus = {
    kind: [torch.from_numpy((_RANDOM.random((3, 80, 80)) * 255).astype(np.uint8)) for _ in range(3)]
    for kind in ("photo", "painting", "texture")
}
ON_CPU = impasto.Run(device="cpu", precision="fp32")
RECIPES = ("neighbors", "gatys", "nnst", "strotss")

Recipe = dict[str, Any]
Networks = tuple[Vgg, Vgg, Decoder]

SEVERAL: Recipe = {"style": [STYLE, OTHER], "style_weights": (1.0, 2.0)}
MASKS: dict[str, Recipe] = {
    "regions": {"style": [STYLE, OTHER], "style_masks": [LEFT, 1 - LEFT], "protect": 1 - PHOTO[..., 0]},
    "parts of styles": {"style": [STYLE, OTHER], "style_regions": [LEFT, 1 - LEFT], "content_mask": LEFT},
}
COLORS: dict[str, Recipe] = {
    **{f"color {mode}": {"color": mode, "color_mask": "gradient:left-right"} for mode in ("keep", "histogram", "palette")},
    **{f"color space {space}": {"color": "keep", "color_space": space} for space in ("lab", "yiq", "ycbcr")},
    **{
        f"color by {method}": {"color": "match-style", "color_method": method}
        for method in ("monge-kantorovich", "pca", "cholesky", "histogram", "luminance")
    },
}
OF_GATYS: dict[str, Recipe] = {
    **{
        f"statistics {name}": {"statistics": name}
        for name in ("wasserstein", "sliced", "histogram", "relaxed-emd", "patches", "chained")
    },
    **{f"init {name}": {"init": name} for name in ("noise", "style-statistics", "style", "blend", "outline")},
    **{f"optimizer {name}": {"optimizer": name} for name in ("multigrid-adam", "lbfgs", "rmsprop")},
    **{f"canvas {name}": {"canvas": name} for name in ("soft-chroma", "pixels", "laplacian")},
    **{f"pooling {name}": {"pooling": name, "border": "reflect"} for name in ("average", "l2")},
    **{f"shrinking {name}": {"mask_shrinking": name, **MASKS["regions"]} for name in ("inside", "all")},
    "named style": {"style": "beardsley"},
    "self-similarity": {"content_comparison": "self-similarity", "balance": 1.0, "structure_weight": 1.0},
}
PAINTED: dict[str, Recipe] = {
    **{recipe: {"recipe": recipe} for recipe in RECIPES},
    **{f"{recipe}, two styles": {"recipe": recipe, **SEVERAL} for recipe in ("neighbors", "gatys")},
    **{f"{recipe}, {name}": {"recipe": recipe, **each} for recipe in ("neighbors", "gatys") for name, each in MASKS.items()},
    **{f"neighbors, {name}": each for name, each in COLORS.items()},
    **{f"gatys, {name}": {"recipe": "gatys", **each} for name, each in OF_GATYS.items()},
    "neighbors, named style": {"style": "beardsley"},
    "neighbors, strong": {"strength": 1.4, "quality": "draft"},
}
QUICK = {*RECIPES, "neighbors, regions", "gatys, regions", "gatys, self-similarity", "gatys, statistics wasserstein"}


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Accelerator]:
    """Paint on a device that lacks what MPS lacks, whatever device a run requests."""
    autocast = torch.autocast
    monkeypatch.setattr("impasto.encoders.precision.choose_device", lambda _: DEVICE.type)
    monkeypatch.setattr(
        torch, "autocast", lambda device, *args, **kwargs: autocast(device.replace("lazy", "cpu"), *args, **kwargs)
    )
    for remembered in (instant_recipe._painter, checks.slim_encoder):
        remembered.cache_clear()
    with Accelerator() as found, Literals():
        yield found
    for remembered in (instant_recipe._painter, checks.slim_encoder):
        remembered.cache_clear()


def painted(run: impasto.Run, *, style: Any = STYLE, **options: Any) -> Tensor:
    return impasto.paint(PHOTO, style, run=run, size=60, **({"steps": 1, "first_steps": 1} | options)).image


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in PAINTED])
def test_painting_uses_what_every_device_has(name: str, accelerator: Accelerator) -> None:
    image = painted(ON_CPU, **PAINTED[name])
    assert accelerator.count > 100
    assert bool(image.isfinite().all())


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"style": [STYLE, OTHER], "style_weights": (1.0, 3.0), "strength": 1.3, "stroke": 2.0},
        {"style": [STYLE, OTHER], "style_masks": [LEFT, 1 - LEFT], "protect": 1 - LEFT},
        {"style": "beardsley", "color": "keep"},
        {"color": "histogram", "color_mask": "gradient:left-right", "strength": 0.2},
        {"hq": True},
        {"refine_seconds": 0.001},
    ],
    ids=str,
)
def test_instant_painting_uses_what_every_device_has(options: dict[str, Any], accelerator: Accelerator) -> None:
    options = {"style": STYLE, **options}
    image = impasto.instant(PHOTO, options.pop("style"), engine="torch", run=ON_CPU, **options).image
    assert accelerator.count > 100
    assert bool(image.isfinite().all())


@pytest.mark.slow
def test_large_pictures_are_painted_in_tiles_with_what_every_device_has(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("LARGEST_WHOLE_PX", 4_000), ("TILE_PX", 64), ("HALO_PX", 32)):
        monkeypatch.setattr(instant_painter, name, value)
    photo = np.kron(PHOTO, np.ones((2, 2, 1), np.float32))
    image = impasto.instant(photo, [STYLE, OTHER], engine="torch", run=ON_CPU, style_weights=(1.0, 2.0)).image
    assert image.shape[-2:] == photo.shape[:2]
    assert bool(image.isfinite().all())


@pytest.mark.slow
@pytest.mark.skipif(find_spec("pyvips") is None, reason="needs impasto[big]")
def test_an_interrupted_painting_from_disk_continues_with_what_every_device_has(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in (("LARGEST_WHOLE_PX", 4_000), ("TILE_PX", 64), ("HALO_PX", 32), ("_SMALLEST_EDGE_PX", 40)):
        monkeypatch.setattr(instant_painter, name, value)
    images.write(tmp_path / "photo.png", images.read(np.kron(PHOTO, np.ones((2, 2, 1), np.float32))))
    options, styles = impasto.InstantOptions(size=0, engine="torch"), [images.read(STYLE), images.read(OTHER)]
    painter = instant_painter.InstantPainter(ON_CPU, "torch")
    job = instant_streaming.job_of(open_large(tmp_path / "photo.png"), styles, painter, options, tmp_path / "out.tif", 8)
    code = instant_streaming.code_of(styles, painter, options)
    for step in paint_from_disk(job, instant_streaming.painting_of(painter, code, options), Parts(job)):
        if step.rows:
            break
    assert not job.output.exists()
    for _ in paint_from_disk(job, instant_streaming.painting_of(painter, code, options), Parts(job)):
        pass
    assert images.read(job.output).size == job.size


def from_inetwork() -> Tensor:
    flags = InetworkOptions(
        image_size=48, num_iter=1, preserve_color="True", color_mask="gradient:left-right", init_image="gray"
    )
    request = inetwork.request_for(impasto.read(PHOTO), [impasto.read(STYLE)], flags, ON_CPU)
    (step,) = inetwork.iterations(request, inetwork.set_up(request))
    return step.image


def tuned(recipe: str) -> Tensor:
    return impasto.tune(
        PHOTO, STYLE, run=ON_CPU, recipe=recipe, size=48, strengths=(0.5,), steps=1, style_scales=(1.0,)
    ).best.image


OTHERS: dict[str, Callable[[], Tensor]] = {
    "inetwork": from_inetwork,
    "notebook": lambda: torch.from_numpy(notebook.load_stylizer(run=ON_CPU, engine="torch")(PHOTO[None], STYLE[None])[0]),
    "tune instant": lambda: tuned("instant"),
    "tune paint": lambda: tuned("paint"),
    "swatch": lambda: paint_swatch(impasto.read(STYLE), ON_CPU, size=64),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_everything_else_uses_what_every_device_has(
    name: str, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inetwork, "EVALUATIONS", 2)
    assert bool(OTHERS[name]().isfinite().all())
    assert accelerator.count > 100


@pytest.fixture
def networks() -> Networks:
    """A narrow encoder with heads, another one as its teacher, and a tiny decoder."""
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        return Vgg((4, 4, 4, 4, 4), with_heads=True), Vgg(), Decoder((4, 4, 4), DecoderWidths(4, 4, 4, 1))


def distilled(student: Vgg, teacher: Vgg, device: torch.device) -> dict[str, float]:
    """Initialize an encoder, train it for two steps, and measure it."""
    student, teacher, held = student.to(device), teacher.to(device), HeldOut.draw(CORPUS, 32, 0).to(device)
    initialize_from_teacher(student, teacher, held.content)
    training = Distillation(student, teacher, CORPUS, total_steps=2, edge_px=32)
    losses = [step.errors for step in training.steps()]
    student.load_state_dict(training.averaged)
    return losses[-1] | figures(student.requires_grad_(False), teacher, held)


def decoded(encoder: Vgg, network: Decoder, device: torch.device) -> dict[str, float]:
    """Train a decoder for two steps, and measure it."""
    encoder, network = encoder.requires_grad_(False).to(device), network.to(device)
    training = SwapTraining(network, encoder, CORPUS, total_steps=2, edge_px=32, batch=2)
    losses = [step.losses for step in training.steps()]
    return {**losses[-1], **training.held_out_losses(HeldOut.draw(CORPUS, 32, 0).to(device))}


@pytest.mark.slow
def test_training_of_encoders_uses_what_every_device_has(networks: Networks, accelerator: Accelerator) -> None:
    assert all(map(np.isfinite, distilled(*networks[:2], DEVICE).values()))
    assert accelerator.count > 1000


@pytest.mark.slow
def test_training_of_decoders_uses_what_every_device_has(networks: Networks, accelerator: Accelerator) -> None:
    assert all(map(np.isfinite, decoded(networks[0], networks[2], DEVICE).values()))
    assert accelerator.count > 1000


def test_networks_that_all_threads_share_stay_on_the_cpu(accelerator: Accelerator, narrow: Callable[..., Vgg]) -> None:
    mine, shared = narrow(), checks.slim_encoder()
    painted(ON_CPU, recipe="gatys", style="beardsley")
    painted(ON_CPU, recipe="gatys", encoder=mine)
    for network in (mine, shared):
        assert {value.device.type for value in network.state_dict().values()} == {"cpu"}


# ---------------------------------------------------------------------------------------------------- planted faults


FAULTS: dict[str, Callable[[Tensor], object]] = {
    "float64 made there": lambda x: torch.zeros(3, dtype=torch.float64, device=x.device),
    "float64 made of float32": lambda x: x.double(),
    "float64 moved there": lambda x: x.cpu().double().to(x.device),
    "float64 of NumPy": lambda x: x * torch.from_numpy(np.ones(3)),
    "a tensor of the CPU": lambda x: x + torch.zeros(3),
    "a tensor of the CPU in a product": lambda x: x @ torch.zeros(3, 3),
    "written into the CPU": lambda x: torch.zeros(3, 3).add_(x),
    "a gradient through the CPU": lambda x: (x.detach().cpu().requires_grad_() * x).sum().backward(),
    "eigh": lambda x: torch.linalg.eigh(x @ x.T),
    "qr": torch.linalg.qr,
    "svd": torch.linalg.svd,
    "inv": torch.linalg.inv,
    "solve": lambda x: torch.linalg.solve(x, x),
    "adaptive pooling": lambda x: torch.nn.functional.adaptive_avg_pool2d(x[None], 2),
    "a generator of the CPU": lambda x: torch.rand(3, device=x.device, generator=torch.Generator()),
    "antialiasing in a backward": lambda x: (
        torch.nn.functional.interpolate(x[None, None].requires_grad_(), size=2, mode="bilinear", antialias=True)
        .sum()
        .backward()
    ),
    "an operator that MPS lacks": lambda x: torch.geqrf(x),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_accelerator_refuses(fault: str, accelerator: Accelerator) -> None:
    with pytest.raises(AssertionError, match=r"accelerator|not on"):
        FAULTS[fault](torch.eye(3).to(DEVICE))


def test_the_accelerator_allows_what_pytorch_allows(accelerator: Accelerator) -> None:
    x = torch.eye(3).to(DEVICE)
    assert isinstance(x, Elsewhere)
    assert x.device == DEVICE
    index, mask = torch.tensor([0, 2]), torch.tensor([True, False, True])
    assert (x * torch.tensor(2.0))[index].cpu().tolist() == [[2, 0, 0], [0, 0, 2]]
    assert x[mask].cpu().tolist() == x[[0, 2]].cpu().tolist()
    assert x.new_tensor([1.0]).device == torch.tensor([1.0], device=DEVICE).device == DEVICE
    leaf = x.requires_grad_()
    leaf.square().sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.cpu().tolist() == (2 * torch.eye(3)).tolist()


# ---------------------------------------------------------------------------------------------------- a GPU


CUDA = impasto.Run(device="cuda", precision="fp32")


@pytest.mark.gpu
@pytest.mark.parametrize("name", PAINTED)
def test_recipes_paint_on_a_gpu(name: str) -> None:
    assert bool(painted(CUDA, **PAINTED[name]).isfinite().all())


@pytest.mark.gpu
def test_instant_pictures_are_painted_on_a_gpu_as_on_the_cpu() -> None:
    found, wanted = (impasto.instant(PHOTO, STYLE, engine="torch", run=run).image for run in (CUDA, ON_CPU))
    assert float((found - wanted).abs().mean()) < 0.02


@pytest.mark.gpu
def test_encoders_are_trained_on_a_gpu(networks: Networks) -> None:
    assert all(map(np.isfinite, distilled(*networks[:2], torch.device("cuda")).values()))


@pytest.mark.gpu
def test_decoders_are_trained_on_a_gpu(networks: Networks) -> None:
    assert all(map(np.isfinite, decoded(networks[0], networks[2], torch.device("cuda")).values()))


# ---------------------------------------------------------------------------------------------------- clocks


def test_the_clock_waits_for_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[str] = []
    for kind, module, questions in (
        ("cuda", torch.cuda, (torch.cuda, "is_available", torch.cuda, "is_initialized")),
        ("mps", torch.mps, (torch.backends.mps, "is_available")),
    ):
        monkeypatch.setattr(module, "synchronize", lambda kind=kind: waited.append(kind))
        for owner, question in zip(questions[::2], questions[1::2], strict=True):
            monkeypatch.setattr(owner, question, lambda: True)
    assert seconds_now() <= seconds_now()
    assert waited == ["cuda", "mps"] * 2


def test_a_process_that_uses_no_gpu_does_not_start_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: pytest.fail("the GPU was started"))
    seconds_now()


def test_work_is_timed_by_the_clock_that_waits() -> None:
    sources = Path(impasto.__file__).parent.rglob("*.py")
    assert [path.name for path in sources if "perf_counter" in path.read_text("utf-8")] == ["devices.py"]

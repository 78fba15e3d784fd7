"""The library gives the same results under any PyTorch settings of the caller, and restores them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import impasto
from impasto import classic, images, notebook
from impasto.encoders import Vgg
from impasto.masks import segmentation, skin
from impasto.networks.style_swap import Decoder, DecoderWidths
from impasto.recipes.naming import name_style
from impasto.runtime.folders import styles_folder
from impasto.runtime.torch_state import in_known_state, known_state, plain
from impasto.styles import named as styles
from impasto.training.encoder import Distillation
from impasto.training.style_swap import SwapTraining

RUN = impasto.Run(device="cpu", precision="fp32")
_RANDOM = np.random.default_rng(0)
PHOTO = np.kron(_RANDOM.random((8, 10, 3)), np.ones((6, 6, 1))).astype(np.float32)
STYLE = np.kron(_RANDOM.random((16, 16, 3)), np.ones((3, 3, 1))).astype(np.float32)
CORPUS = {
    kind: [torch.from_numpy((_RANDOM.random((3, 80, 80)) * 255).astype(np.uint8)) for _ in range(3)]
    for kind in ("photo", "painting", "texture")
}


@contextmanager
def default_type(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # noqa: TID251  (what is tried here)
    try:
        yield
    finally:
        torch.set_default_dtype(before)  # noqa: TID251


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)  # noqa: TID251
    try:
        yield
    finally:
        torch.set_default_device(None)  # noqa: TID251


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def rough_products() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


SETTINGS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "no gradients": torch.no_grad,
    "inference mode": torch.inference_mode,
    "gradients off": lambda: torch.set_grad_enabled(False),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float64": lambda: default_type(torch.float64),
    "float16": lambda: default_type(torch.float16),
    "bfloat16": lambda: default_type(torch.bfloat16),
    "default device": lambda: default_device("meta"),
    "device": lambda: torch.device("meta"),
    "deterministic": deterministic,
    "rough products": rough_products,
}


def painted(recipe: str) -> torch.Tensor:
    return impasto.paint(PHOTO, STYLE, run=RUN, size=48, steps=1, first_steps=1, recipe=recipe).image


def last_step() -> torch.Tensor:
    *_, last = impasto.steps(PHOTO, STYLE, run=RUN, size=48, steps=2, recipe="gatys", optimizer="lbfgs")
    return last.image


def instantly(engine: str) -> torch.Tensor:
    if engine == "openvino":
        pytest.importorskip("openvino")
    painter = impasto.InstantPainter(RUN, engine)
    code = painter.encode(impasto.read(STYLE), stroke=0.9)
    return painter.paint(torch.from_numpy(PHOTO).permute(2, 0, 1)[None], code)


def in_a_region() -> torch.Tensor:
    mask = np.zeros(PHOTO.shape[:2], np.float32)
    mask[:, 20:] = 1
    return impasto.instant(
        PHOTO, [STYLE, "beardsley"], run=RUN, engine="torch", masks=[mask, 1 - mask], protect="auto:sky"
    ).image


def stylized() -> torch.Tensor:
    return torch.from_numpy(notebook.load_stylizer(run=RUN, engine="torch")(PHOTO[None], STYLE[None])[0])


def measured() -> torch.Tensor:
    (report,) = impasto.judge(PHOTO, STYLE, PHOTO[:, ::-1])
    return torch.from_numpy(np.array([each.value for each in report], dtype=np.float64))


def tuned() -> torch.Tensor:
    return impasto.tune(PHOTO, STYLE, run=RUN, size=48, strengths=(0.5,), strokes=(1.0,)).best.image


def named() -> torch.Tensor:
    style = name_style(impasto.read(STYLE), {"name": "mine"})
    folder = styles_folder()
    folder.mkdir(parents=True, exist_ok=True)
    styles.save_style(folder / "mine.style.safetensors", style)
    return styles.find_style("mine").at(64, ["relu3_1"])["relu3_1"].covariance


def regions() -> torch.Tensor:
    image = impasto.read(PHOTO).image
    found = [segmentation.subject(image), segmentation.sky(image), skin.skin(image), *segmentation.color_regions(image, 2)]
    return torch.stack(found)


def costs() -> torch.Tensor:
    one, other = (torch.from_numpy(each[:48, :48])[None] for each in (PHOTO, STYLE))
    return classic.style_cost([(one, other)], [1.0]) + classic.content_cost(one, other)


def decoder_trained() -> torch.Tensor:
    encoder = known(lambda: Vgg((4, 4, 4, 4, 4)))
    network = known(lambda: Decoder((4, 4, 4), DecoderWidths(4, 4, 4, 1)))
    training = SwapTraining(network, encoder.requires_grad_(False), CORPUS, total_steps=1, edge_px=32, batch=1)
    list(training.steps())
    return training.averaged_network().out.bias


def encoder_trained() -> torch.Tensor:
    student, teacher = known(lambda: Vgg((4, 4, 4, 4, 4), with_heads=True)), known(Vgg)
    training = Distillation(student, teacher, CORPUS, total_steps=1, edge_px=32)
    list(training.steps())
    return training.averaged["mean"] + training.averaged["convolutions.1_1.bias"].sum()


def known(make: Callable[[], Any]) -> Any:
    """Make a network with the same weights every time."""
    with known_state(), torch.random.fork_rng():
        torch.manual_seed(0)  # noqa: TID251  (initialization has no generator)
        return make()


ENTRIES: dict[str, Callable[[], torch.Tensor]] = {
    **{recipe: lambda recipe=recipe: painted(recipe) for recipe in ("neighbors", "gatys", "nnst", "strotss")},  # type: ignore[misc]
    "steps": last_step,
    "instant": lambda: instantly("torch"),
    "openvino": lambda: instantly("openvino"),
    "regions of styles": in_a_region,
    "notebook": stylized,
    "report": measured,
    "tune": tuned,
    "named style": named,
    "regions": regions,
    "classic": costs,
    "decoder training": decoder_trained,
    "encoder training": encoder_trained,
}


@pytest.fixture(scope="module")
def expected() -> dict[str, torch.Tensor]:
    return {}


TOGETHER = (
    ("float64", "default device", "deterministic", "rough products", "inference mode", "autocast"),
    ("float16", "device", "no gradients", "autocast"),
    ("bfloat16", "gradients off"),
)
"""Settings that are applied at the same time. Each one is part of a combination, and none undoes another."""


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Compute with one thread: with several, the gradients of STROTSS differ in the last digits from run to run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "combination", [TOGETHER[0], *(pytest.param(each, marks=pytest.mark.slow) for each in TOGETHER[1:])], ids="-".join
)
@pytest.mark.parametrize("entry", ENTRIES)
def test_every_public_function_gives_the_same_result_under_any_setting(
    entry: str, combination: tuple[str, ...], expected: dict[str, torch.Tensor]
) -> None:
    if entry not in expected:
        expected[entry] = ENTRIES[entry]().detach()
    with ExitStack() as stack:
        for each in combination:
            stack.enter_context(SETTINGS[each]())
        before = settings()
        found = ENTRIES[entry]().detach()
        assert settings() == before
    assert found.dtype == expected[entry].dtype
    with torch.inference_mode(found.is_inference()):
        assert torch.equal(found.nan_to_num(9), expected[entry].nan_to_num(9))


def test_every_setting_is_in_a_combination() -> None:
    assert {each for combination in TOGETHER for each in combination} == set(SETTINGS)


def settings() -> tuple[object, ...]:
    """Return everything that the library might have changed."""
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32,
        torch.are_deterministic_algorithms_enabled(),
    )


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_callers_settings_apply_between_two_steps(setting: str) -> None:
    with SETTINGS[setting]():
        before = settings()
        steps = impasto.steps(PHOTO, STYLE, run=RUN, size=48, steps=2)
        for _ in steps:
            assert settings() == before
            steps.close()  # type: ignore[attr-defined]  # the consumer stops in the middle
        assert settings() == before


@pytest.mark.parametrize("kind", ["inference", "gradient", "strides", "bfloat16", "float16", "float64"])
def test_tensors_of_any_kind_are_painted(kind: str) -> None:
    image = torch.from_numpy(PHOTO).permute(2, 0, 1)[None]
    if kind == "inference":
        with torch.inference_mode():
            image = image.clone()
    elif kind == "gradient":
        image = image.clone().requires_grad_()
    elif kind == "strides":
        image = image.repeat(1, 1, 1, 2)[..., ::2].flip(-1).mT.contiguous().mT
    else:
        image = image.to(getattr(torch, kind))
    picture = replace(impasto.read(PHOTO), image=image)
    painter = impasto.InstantPainter(RUN, "torch")
    results = [
        impasto.paint(image, image, run=RUN, size=48, steps=1).image,
        impasto.paint(picture, picture, run=RUN, size=48, steps=1, content_mask=picture).image,
        impasto.instant(picture, picture, run=RUN, engine="torch").image,
        painter.paint(image, painter.encode_picture(image)),
    ]
    for found in results:
        assert found.dtype == torch.float32
        assert bool(found.isfinite().all())
        assert not found.requires_grad
        found.add_(0)  # inference tensors cannot be changed


def test_a_plain_tensor_is_not_copied() -> None:
    image = torch.rand(1, 3, 4, 4)
    assert plain(image) is image


def test_modules_imported_under_unusual_settings_have_normal_constants(tmp_path: Path) -> None:
    script = (
        "import torch\n"
        "torch.set_default_device('meta')\n"
        "torch.set_default_dtype(torch.float64)\n"
        "with torch.inference_mode():\n"
        "    from impasto.optim import parametrization\n"
        "each = parametrization.LUMA_AND_CHROMA_INVERSE\n"
        "assert each.device.type == 'cpu' and each.dtype == torch.float32 and not each.is_inference()\n"
    )
    run_alone(script)


def run_alone(script: str, timeout: float = 120) -> str:
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_process_wide_settings_apply_until_the_last_thread_leaves() -> None:
    entered, go_on = threading.Event(), threading.Event()

    @in_known_state
    def stay() -> None:
        entered.set()
        go_on.wait(10)
        seen.append(torch.get_default_dtype())

    seen: list[torch.dtype] = []
    with default_type(torch.float64):
        thread = threading.Thread(target=stay)
        thread.start()
        entered.wait(10)
        with known_state():
            assert torch.get_default_dtype() == torch.float32
        go_on.set()
        thread.join()
        assert torch.get_default_dtype() == torch.float64
    assert seen == [torch.float32]


def test_pictures_are_written_under_any_setting(tmp_path: Path) -> None:
    pastiche = impasto.Pastiche(impasto.read(PHOTO).image)
    pastiche.save(tmp_path / "plain.png")
    for name, setting in SETTINGS.items():
        with setting():
            pastiche.save(tmp_path / "found.png")
            assert (tmp_path / "found.png").read_bytes() == (tmp_path / "plain.png").read_bytes(), name
            assert images.read(tmp_path / "found.png").image.dtype == torch.float32

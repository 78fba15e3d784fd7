"""Brushes in OpenVINO and ONNX Runtime."""

import multiprocessing
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from impasto.errors import OptionError
from impasto.networks import brush_engines
from impasto.networks.brush_files import save_brush
from impasto.networks.compiled import has_openvino
from impasto.networks.johnson import Johnson, Layout
from impasto.options import Run
from impasto.recipes import brush as recipe
from impasto.recipes.brush import BrushPainter

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
ENGINES = ["onnxruntime", pytest.param("openvino", marks=pytest.mark.skipif(not has_openvino(), reason="no OpenVINO"))]
AGREES = 1e-4
EXACT = Run(device="cpu", precision="fp32")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    torch.manual_seed(5)  # noqa: TID251  (initialization has no generator)
    save_brush(tmp_path / "tiny.brush", Johnson(Layout(4, blocks=1, ends=5)), {"name": "tiny"})
    return tmp_path / "tiny.brush"


def photo(height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(7 * height + width))


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_agrees_with_torch_at_every_size(tiny: Path, engine: str) -> None:
    torch_painter, painter = BrushPainter(tiny, EXACT, "torch"), BrushPainter(tiny, EXACT, engine)
    for size in ((64, 64), (33, 70), (5, 90), (1, 2), (64, 64)):
        given = photo(*size)
        found = painter.paint(given)
        assert found.shape == given.shape
        assert (found - torch_painter.paint(given)).abs().max() < AGREES
    assert "openvino_telemetry" not in sys.modules


@pytest.mark.skipif(not has_openvino(), reason="no OpenVINO")
def test_a_painter_for_one_size_compiles_a_graph_for_it_and_paints_other_sizes_too(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, int] | None] = []
    original = brush_engines.CompiledGraph
    monkeypatch.setattr(brush_engines, "CompiledGraph", lambda *given: sizes.append(given[2]) or original(*given))
    painter, one = BrushPainter(tiny, EXACT, "openvino"), (33, 70)
    single = painter.for_size(one)
    for size in (one, (40, 40), one):
        given = photo(*size)
        assert (single.paint(given) - BrushPainter(tiny, EXACT, "torch").paint(given)).abs().max() < AGREES
    painter.paint(photo(*one))
    assert sizes == [one, None]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_paints_tiles_with_the_statistics_of_the_picture(
    tiny: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "_WHOLE_PX", 100**2)
    monkeypatch.setattr(recipe, "TILE_PX", 64)
    given = torch.nn.functional.interpolate(photo(20, 25), (160, 200), mode="bicubic").clamp(0, 1)
    found = BrushPainter(tiny, EXACT, engine).paint(given)
    assert (found - BrushPainter(tiny, EXACT, "torch").paint(given)).abs().max() < AGREES


@pytest.mark.skipif(not has_openvino(), reason="no OpenVINO")
def test_auto_paints_the_first_picture_with_torch_and_later_ones_with_openvino(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[bytes] = []
    original = brush_engines.CompiledGraph
    monkeypatch.setattr(brush_engines, "CompiledGraph", lambda *given: compiled.append(given[0]) or original(*given))
    painter, given = BrushPainter(tiny, EXACT), photo(40, 40)
    first = painter.paint(given)
    assert not compiled
    second, third = painter.paint(given), painter.paint(given)
    assert len(compiled) == 1
    assert torch.equal(second, third)
    assert (first - second).abs().max() < AGREES


@pytest.mark.parametrize("missing", ["openvino", "onnx"])
def test_auto_is_torch_without_the_packages(tiny: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setattr(brush_engines, "find_spec", lambda name: None if name == missing else object())
    painter = BrushPainter(tiny, EXACT)
    assert torch.equal(painter.paint(photo(20, 20)), painter.paint(photo(20, 20)))
    assert painter.engines.engine == "torch"


@pytest.mark.parametrize(
    ("engine", "missing", "message"),
    [
        ("openvino", "openvino", r"--engine openvino needs openvino; pip install 'impasto\[fast\]', or use --engine torch"),
        ("onnxruntime", "onnx", r"--engine onnxruntime needs onnx; pip install 'impasto\[export\]'"),
        ("tensorrt", "", r"--engine 'tensorrt' is not known; use one of 'auto', 'torch', 'openvino', 'onnxruntime'"),
    ],
)
def test_an_engine_that_is_not_there_is_reported(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, engine: str, missing: str, message: str
) -> None:
    monkeypatch.setattr(brush_engines, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(OptionError, match=message):
        BrushPainter(tiny, EXACT, engine)


def test_an_engine_of_the_cpu_is_refused_on_another_device() -> None:
    with pytest.raises(OptionError, match="--engine onnxruntime runs on the CPU only"):
        brush_engines.Engines("onnxruntime", torch.device("cuda"), "fp32")
    assert brush_engines.Engines("auto", torch.device("cuda"), "fp32").engine == "torch"


@pytest.mark.parametrize("engine", ENGINES)
def test_threads_share_a_painter(tiny: Path, engine: str) -> None:
    painter = BrushPainter(tiny, EXACT, engine)
    photos = [photo(24 + 4 * number, 40) for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(painter.paint, photos))
    for given, found in zip(photos, together, strict=True):
        assert (painter.paint(given) - found).abs().max() < AGREES


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.skipif(sys.platform != "linux", reason="fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_paints_with_the_painter_of_its_parent(tiny: Path, engine: str) -> None:
    painter, given = BrushPainter(tiny, EXACT, engine), photo(32, 32)
    wanted = painter.paint(given)
    fork = multiprocessing.get_context("fork")
    ends = fork.Pipe(duplex=False)
    child = fork.Process(target=lambda: ends[1].send(painter.paint(given).numpy().tolist()))
    child.start()
    assert ends[0].poll(60), "the child hangs"
    found = torch.tensor(ends[0].recv())
    child.join(20)
    assert child.exitcode == 0
    assert (found - wanted).abs().max() < AGREES

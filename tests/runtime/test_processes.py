"""The library in threads and forked processes, and side effects of its dependencies."""

import ast
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import impasto
from impasto.networks.compiled import has_openvino

ROOT = Path(__file__).resolve().parents[2]
ENGINES = ["torch", pytest.param("openvino", marks=pytest.mark.skipif(not has_openvino(), reason="no OpenVINO"))]
RUN = impasto.Run(device="cpu", precision="fp32")


def picture(seed: int, height: int, width: int) -> torch.Tensor:
    cells = np.random.default_rng(seed).random((height // 8, width // 8, 3))
    return impasto.read(np.kron(cells, np.ones((8, 8, 1))).astype(np.float32)).image


def run_alone(script: str, **environment: str) -> str:
    """Run a script in a separate process; a child that hangs fails the test."""
    command, known = [sys.executable, "-W", "error", "-c", script], {**os.environ, **environment}
    known.pop("ORT_DISABLE_TELEMETRY", None)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=known)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


# ---------------------------------------------------------------------------------------------------- threads


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_threads_that_share_a_painter_paint_like_one_thread(engine: str) -> None:
    painter = impasto.InstantPainter(RUN, engine)
    photos = [picture(0, 64, 96), picture(1, 104, 72)]
    codes = [painter.encode_picture(picture(3 + stroke, 64, 64), stroke=1 + stroke / 7) for stroke in range(2)]
    tasks = [(photo, code, fast) for photo in range(2) for code in range(2) for fast in (False, True)]

    def paint(task: tuple[int, int, bool]) -> torch.Tensor:
        photo, code, fast = task
        return painter.paint(photos[photo], codes[code], fast=fast)

    alone = [paint(task) for task in tasks]
    for code in codes:
        code.levels.clear()  # so that threads compute them at the same time
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(paint, tasks * 2))
    assert all(map(torch.equal, together, alone * 2))


@pytest.mark.slow
@pytest.mark.skipif(not has_openvino(), reason="no OpenVINO")
def test_earlier_paintings_do_not_affect_a_picture() -> None:
    painter = impasto.InstantPainter(RUN, "auto")
    code, photo = painter.encode_picture(picture(3, 64, 64)), picture(0, 64, 96)
    first, second, third = (painter.paint(photo, code) for _ in range(3))
    torch.testing.assert_close(first, second, atol=2e-2, rtol=0)  # engines round differently
    assert torch.equal(second, third)
    fixed = impasto.InstantPainter(RUN, "openvino")
    assert torch.equal(fixed.paint(photo, fixed.encode_picture(picture(3, 64, 64))), second)


def test_the_former_name_of_encode_still_works() -> None:
    painter, style = impasto.InstantPainter(RUN, "torch"), impasto.read(np.full((64, 64, 3), 0.5, np.float32))
    with pytest.warns(DeprecationWarning, match="use encode"):
        code = painter.manner(style, edge_px=128)
    assert torch.equal(code.pictures[0], painter.encode(style).pictures[0])


# ---------------------------------------------------------------------------------------------------- processes

FORKED = """
import os, sys, numpy as np, impasto
photo = np.random.default_rng(0).random((256, 256, 3)).astype(np.float32)
painter = impasto.InstantPainter(impasto.Run(device="cpu", precision="fp32"), {engine!r})
def work():
    code = painter.encode(impasto.read(photo))
    return painter.paint(impasto.read(photo).image, code), impasto.paint(photo, photo, size=64, steps=1).image
before = work()
child = os.fork()
if not child:
    found = work()
    close = all(float((one - other).abs().mean()) < 1e-2 for one, other in zip(before, found))
    sys.exit(0 if close else 3)
_, status = os.waitpid(child, 0)
work()
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_forked_child_paints_and_exits(engine: str) -> None:
    run_alone(FORKED.format(engine=engine), OMP_NUM_THREADS="2")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_that_never_paints_keeps_its_thread_count() -> None:
    script = "import os, sys, torch\nimport impasto.runtime.torch_state\n"
    script += "if not os.fork():\n    sys.exit(torch.get_num_threads() != 2)\n"
    run_alone(script + "sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))", OMP_NUM_THREADS="2")


# ---------------------------------------------------------------------------------------------------- telemetry


def test_dependencies_write_no_identifier_and_open_no_connection(tmp_path: Path) -> None:
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package)
    script = """
import socket, tempfile
def refuse(*_, **__): raise SystemExit("a connection was tried")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
import numpy as np, impasto
from impasto.recipes.instant_onnx import InstantGraph, save_instant_graph
photo = np.zeros((64, 64, 3), np.uint8)
with tempfile.TemporaryDirectory() as folder:
    save_instant_graph(f"{folder}/a.onnx", InstantGraph(impasto.read(photo), size_px=32))
impasto.instant(photo, photo, engine="auto")
impasto.instant(photo, photo, engine="auto")
"""
    run_alone(script, HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_onnx_runtime_is_imported_by_one_module() -> None:
    found = []
    for path in sorted(each for folder in ("src", "benchmarks", "examples") for each in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [path.name for name in names if name.split(".")[0] == "onnxruntime"]
    found.remove("onnx_python.py")  # an example for programs without impasto
    assert found == ["onnx_runtime.py"]

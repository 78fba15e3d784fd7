"""Two runs that would write one output: the second one is refused, and a killed one does not disturb the next."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import skimage.data
import torch

from impasto.cli import main
from impasto.networks.brush_files import save_brush
from impasto.networks.johnson import Johnson, Layout
from impasto.runtime.locks import lock_of, only_writer

Capture = pytest.CaptureFixture[str]
ONE = ("--threads", "1", "--device", "cpu")
COMMANDS = {
    "out": ("batch", "in", "mine.brush", "-o", "out", "--method", "brush", *ONE),
    "out.png": ("paint", "in/0.png", "in/1.png", "-o", "out.png", "--size", "48", "--steps", "2", *ONE),
    "out.gif": ("video", "clip.gif", "mine.brush", "-o", "out.gif", "--device", "cpu"),
    "out.brush": ("train", "brush", "in/0.png", "-o", "out.brush", "--steps", "1", *ONE),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a brush, a clip and photos."""
    save_brush(tmp_path / "mine.brush", Johnson(Layout(4, blocks=1, ends=5)), {"name": "mine"})
    photo = PIL.Image.fromarray(np.ascontiguousarray(skimage.data.astronaut()[:384:6, 32:416:6]))
    photo.save(tmp_path / "clip.gif", save_all=True, append_images=[photo.rotate(10)], duration=100)
    (tmp_path / "in").mkdir()
    for number in range(20):
        photo.save(tmp_path / "in" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.parametrize("output", COMMANDS)
def test_an_output_that_another_run_writes_is_refused(capsys: Capture, folder: Path, output: str) -> None:
    if output == "out":
        Path(output).mkdir()
    with only_writer(Path(output)):
        before = sorted(folder.rglob("*"))
        assert main(COMMANDS[output]) == 2
        assert sorted(folder.rglob("*")) == before
    sentences = [line for line in capsys.readouterr().err.splitlines() if line.startswith("impasto:")]
    assert sentences == [
        f"impasto: another run (process {os.getpid()}) is writing '{output}'; wait until it ends, or give another output"
    ]
    assert not lock_of(Path(output)).exists()


@pytest.mark.slow  # starts Python
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_killed_batch_leaves_no_lock_but_a_running_one_does(capsys: Capture, folder: Path) -> None:
    command = [sys.executable, "-m", "impasto", *COMMANDS["out"]]
    manifest, until = folder / "out/manifest.jsonl", time.monotonic() + 120
    with subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        while not (manifest.exists() and manifest.stat().st_size) and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)  # it must not finish before the second run begins
        assert main(COMMANDS["out"]) == 2
        assert f"another run (process {process.pid}) is writing 'out'" in capsys.readouterr().err
        process.kill()
    assert lock_of(folder / "out").exists()
    assert main(COMMANDS["out"]) == 0
    assert not lock_of(folder / "out").exists()
    done = [line["output"] for line in map(json.loads, manifest.read_text().splitlines()) if line["state"] == "done"]
    assert len(done) == len(set(done)) == 20

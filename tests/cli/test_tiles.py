"""Paintings in tiles that are killed resume from their checkpoint."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import skimage.data

from impasto import images

_CHILD = """
import os, signal, sys
from impasto.cli import checkpoints, main
from impasto.optim import tiled
from impasto.recipes import checks

*words, last = sys.argv[1:]

class Small(tiled.TilePlan):
    def at(self, size):
        return tiled.Tiling(64, self.layers)  # every size is painted in tiles

checks.TilePlan = Small
checkpoints.LONG_SECONDS = checkpoints._SECONDS_TO_FIRST = checkpoints._SECONDS_BETWEEN = 0.0
checkpoints._LARGEST_SHARE = 1e9
take = checkpoints.CheckpointWriter.take

def take_and_die(self, step):
    assert callable(step.drawing), "not in tiles"
    take(self, step)
    if step.number == int(last):
        os.kill(os.getpid(), signal.SIGKILL)

checkpoints.CheckpointWriter.take = take_and_die
sys.exit(main(words))
"""
OPTIONS = ("--size", "96", "--steps", "2", "--step-growth", "1", "--precision", "fp32", "--threads", "1", "-o", "out.png")


def paint(folder: Path, *words: str, dies_at: int) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", _CHILD, "paint", "photo.png", "style.png", *OPTIONS, *words, str(dies_at)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_painting_in_tiles_that_is_killed_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    images.write(tmp_path / "photo.png", images.read(skimage.data.astronaut()[::4, ::4].copy()))
    images.write(tmp_path / "style.png", images.read(skimage.data.coffee()[::4, ::4].copy()))
    checkpoint = tmp_path / "out.png.impasto-checkpoint.png"

    killed = paint(tmp_path, dies_at=3)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert checkpoint.exists()
    assert not (tmp_path / "out.png").exists()

    resumed = paint(tmp_path, "--resume", dies_at=0)
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming" in resumed.stderr
    result = images.read(tmp_path / "out.png")
    assert result.size == (96, 96)
    record = images.read_record(tmp_path / "out.png")
    assert record is not None
    steps = record["steps"]
    assert isinstance(steps, dict)
    assert (steps["done"], steps["planned"], steps["finished"]) == (4, 4, True)
    assert record["interruptions"] == 1
    assert not checkpoint.exists()

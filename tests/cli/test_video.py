"""``impasto video``: messages, exit codes, interruption and the same command again."""

import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from impasto.cli import main
from impasto.networks.brush_files import save_brush
from impasto.networks.johnson import Johnson, Layout
from impasto.video import libraries, painting
from impasto.video.painters import BrushFrames
from impasto.video.temporal import PaintFrames

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a brush and a clip of eight frames."""
    save_brush(tmp_path / "mine.brush", Johnson(Layout(4, blocks=1, ends=5)).initialize(torch.Generator().manual_seed(0)), {})
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream: Any = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(8):
            pixels = np.random.default_rng(number // 4).integers(0, 255, (48, 64, 3)).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(pixels, number, 1), format="rgb24")))
        container.mux(stream.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: Capture, *words: str) -> tuple[int, str, str]:
    code = main(("video", *words))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.slow
def test_a_clip_is_painted_and_reported(capsys: Capture, folder: Path) -> None:
    code, out, err = run(capsys, "clip.mp4", "mine.brush", "-o", "out.mp4")
    assert (code, "8 frames" in err) == (0, True)
    assert re.fullmatch(r"out\.mp4: 64x48 pixels, 8 frames, painted in .* \(.* frames/s\)\n", out)
    assert sorted(each.name for each in folder.iterdir()) == ["clip.mp4", "mine.brush", "out.mp4"]


@pytest.mark.slow
def test_ctrl_c_keeps_the_segments_and_the_same_command_continues(
    capsys: Capture, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(painting, "SECONDS_PER_SEGMENT", 0.3)
    paint, painted = BrushFrames.paint, []

    def interrupted(self: BrushFrames, pixels: Any, shot: int, past: Any) -> Any:
        painted.append(shot)
        if len(painted) == 5:
            raise KeyboardInterrupt
        return paint(self, pixels, shot, past)

    monkeypatch.setattr(BrushFrames, "paint", interrupted)
    words = ("clip.mp4", "mine.brush", "-o", "out.mp4")
    code, out, err = run(capsys, *words)
    assert (code, out) == (130, "")
    assert "3 of 8 frames are kept" in err
    assert "run the same command again" in err
    code, out, err = run(capsys, *words)
    assert code == 0
    assert "resuming after 3 frames" in err
    assert len(painted) == 5 + 5


def test_the_time_of_the_slowest_method_is_predicted_unless_nobody_reads_it(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(PaintFrames, "paint", lambda self, pixels, shot, past=(): pixels / 255)
    monkeypatch.setattr(PaintFrames, "predicted_seconds", lambda self, *given: asked.append(given) or 150.0)
    words = ("clip.mp4", "starry-night", "-o", "out.mp4", "--method", "paint")
    code, _, err = run(capsys, *words)
    assert code == 0
    assert "optimizing 8 frames takes about 2 min 30 s; a smaller --size takes less" in " ".join(err.split())
    assert asked == [((48, 64), 8, 1)]
    assert run(capsys, *words, "--quiet")[0] == 0
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "the clip is missing"),
        (("clip.mp4",), "the style is missing"),
        (("clip.mp4", "mine.brush"), "the output is missing"),
        (("clip.mp4", "mine.brush", "-o", "-"), "standard output"),
        (("clip.mp4", "mine.brush", "-o", "out.png"), "must end in"),
        (("clip.mp4", "mine.brush", "-o", "clip.mp4"), "would overwrite an input"),
        (("none.mp4", "mine.brush", "-o", "out.mp4"), "there is no file 'none.mp4'"),
        (("mine.brush", "mine.brush", "-o", "out.mp4"), "not a video"),
        (("clip.mp4", "nothing.brush", "-o", "out.mp4"), "nothing.brush"),
        (("clip.mp4", "mine.brush", "-o", "out.mp4", "--stability", "2"), "--stability is 2"),
        (("clip.mp4", "mine.brush", "-o", "out.mp4", "--size", "8"), "--size is 8"),
    ],
)
def test_bad_input_gets_one_sentence(capsys: Capture, folder: Path, words: tuple[str, ...], sentence: str) -> None:
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1
    assert not (folder / "out.mp4").exists()


def test_a_missing_extra_is_named(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda _: None)
    code, _, err = run(capsys, "clip.mp4", "mine.brush", "-o", "out.mp4")
    assert (code, "impasto[video]" in err) == (2, True)

"""The commands on the pages of the documentation run, at a small size."""

import re
import shlex
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import skimage.data
import skimage.io

from impasto.cli import main

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = ("cookbook", "control", "quick-start", "styles", "neighbors", "gatys", "nnst", "strotss", "instant", "texture")
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
SMALL = {
    "batch": ("--size", "64"),
    "instant": ("--size", "64"),
    "paint": ("--size", "64", "--steps", "1"),
    "report": (),
    "styles sheet": ("--size", "32"),
    "texture": ("--size", "192"),
    "train brush": ("--steps", "2", "--edge", "64", "--style-size", "64"),
    "tune": ("--size", "64"),
}
"""The options that make a command small, instead of its own."""
REPLACED = ("--size", "--minutes", "--seconds")


def commands_of(page: str) -> list[list[str]]:
    """Return the arguments of each ``impasto`` command of a page."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    lines = (line for block in BLOCK.finditer(text) for line in block[1].splitlines())
    found = [shlex.split(line, comments=True) for line in lines]
    return [words[1:] for words in found if words[:1] == ["impasto"]]


def small(words: list[str]) -> list[str]:
    """Make a command small."""
    found = next((options for name, options in SMALL.items() if " ".join(words).startswith(name)), None)
    if found is None or "--replay" in words:
        return words
    kept = [word for place, word in enumerate(words) if not {word, words[place - 1]} & set(REPLACED)]
    return [*kept, *found]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the commands read: photo.jpg, picture.jpg, a folder of photos, masks and a clip."""
    photo, picture = skimage.data.astronaut()[:384:4, 32:416:4], skimage.data.coffee()[::4, ::4]
    (tmp_path / "photos").mkdir()
    for name, pixels in {
        "photo.jpg": photo,
        "picture.jpg": picture,
        "photos/one.jpg": photo,
        "photos/two.jpg": picture,
    }.items():
        skimage.io.imsave(tmp_path / name, pixels, check_contrast=False)
    mask = np.zeros((96, 96), np.uint8)
    mask[32:64, 32:64] = 255
    skimage.io.imsave(tmp_path / "mask.png", mask, check_contrast=False)
    with av.open(str(tmp_path / "clip.mp4"), "w") as clip:
        stream: Any = clip.add_stream("libx264", rate=10)
        stream.height = stream.width = 64
        for shift in range(4):
            pixels = np.ascontiguousarray(np.roll(photo, shift, 1)[16:80, 16:80])
            clip.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        clip.mux(stream.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.usefixtures("folder")
def test_the_commands_of_a_page_run(page: str, capfd: pytest.CaptureFixture[str]) -> None:
    commands = commands_of(page)
    assert commands
    for words in commands:
        assert main(small(words)) == 0, f"impasto {' '.join(words)}: {capfd.readouterr().err[-300:]}"


def test_commands_are_made_small_without_losing_what_they_show() -> None:
    assert small(["paint", "photo.jpg", "--size", "2048", "-o", "a.png"]) == (
        ["paint", "photo.jpg", "-o", "a.png", "--size", "64", "--steps", "1"]
    )
    assert small(["regions", "photo.jpg"]) == ["regions", "photo.jpg"]

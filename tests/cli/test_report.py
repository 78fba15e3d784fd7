"""``impasto report`` and ``--report``: output and exit codes."""

import json
from pathlib import Path

import pytest
import skimage.data

from impasto import images
from impasto.cli import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, with a photo, a picture and two results."""
    images.write(tmp_path / "photo.png", images.read(skimage.data.astronaut()[:384:4, 32:416:4]))
    images.write(tmp_path / "picture.png", images.read(skimage.data.coffee()[::4, ::4]))
    images.write(tmp_path / "result.png", images.read(skimage.data.astronaut()[:384:4, 32:416:4, ::-1].copy()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: Capture, *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.slow
def test_every_figure_is_printed_with_its_meaning(capsys: Capture) -> None:
    code, out, err = run(capsys, "report", "photo.png", "picture.png", "result.png")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == 13
    assert lines[0].startswith("style progress")
    assert "better: higher" in lines[0]
    assert all("faulty above" in line for line in lines[8:])


@pytest.mark.slow
def test_several_results_are_printed_side_by_side(capsys: Capture) -> None:
    code, out, _ = run(capsys, "report", "photo.png", "picture.png", "result.png", "photo.png", "-o", "sheet.png")
    assert code == 0
    assert out.splitlines()[0].split() == ["result.png", "photo.png"]
    assert images.read("sheet.png").size[1] > 1000


@pytest.mark.slow
def test_with_json_only_json_is_printed(capsys: Capture) -> None:
    code, out, err = run(capsys, "report", "photo.png", "picture.png", "result.png", "photo.png", "--json")
    assert (code, err) == (0, "")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["result"] for row in rows] == ["result.png", "photo.png"]
    assert rows[1]["style_closed"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("command", [("instant",), ("paint", "--size", "64", "--steps", "2")])
def test_the_report_flag_measures_the_painting(capsys: Capture, command: tuple[str, ...]) -> None:
    code, out, _ = run(capsys, *command, "photo.png", "picture.png", "-o", "out.png", "--report", "--quiet", "--threads", "1")
    assert code == 0
    assert "style progress" in out
    code, out, _ = run(capsys, *command, "photo.png", "picture.png", "-o", "out.png", "--report", "--json", "--threads", "1")
    assert code == 0
    assert json.loads(out)["report"]["result"] == "out.png"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "content, style or result is missing"),
        (("photo.png", "picture.png"), "content, style or result is missing"),
        (("photo.png", "picture.png", "none.png"), "there is no file 'none.png'"),
        (("photo.png", "nobody", "result.png"), "'nobody'"),
        (("photo.png", "picture.png", "picture.png"), "aspect ratios must be similar"),
        (("photo.png", "picture.png", "result.png", "-o", "photo.png"), "would overwrite an input"),
        (("photo.png", "picture.png", "result.png", "-o", "sheet.xyz"), "cannot be written as a picture"),
    ],
)
def test_invalid_input_of_report_is_refused_in_one_sentence(capsys: Capture, words: tuple[str, ...], sentence: str) -> None:
    code, out, err = run(capsys, "report", *words)
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.splitlines()) == 1

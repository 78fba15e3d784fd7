"""``impasto tune``: output, files and exit codes."""

import json
import shlex
from pathlib import Path

import pytest
import skimage.data

from impasto import images
from impasto.cli import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, with a photo and a picture."""
    images.write(tmp_path / "photo.png", images.read(skimage.data.astronaut()[:384:4, 32:416:4]))
    images.write(tmp_path / "picture.png", images.read(skimage.data.coffee()[::4, ::4]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: Capture, *words: str) -> tuple[int, str, str]:
    code = main(["tune", *words, "--threads", "1"])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.slow
def test_tune_saves_a_sheet_and_prints_the_next_command(capsys: Capture) -> None:
    code, out, err = run(capsys, "photo.png", "picture.png", "--size", "64", "--strengths", "0.5,1", "--strokes", "1")
    assert code == 0
    assert out.startswith("tune.png: 2 trials\nto paint one of them: impasto instant photo.png picture.png --strength ")
    assert err.count("stroke 1: style 0.") == 2
    assert images.read("tune.png").size[1] > 2 * 288


@pytest.mark.slow
def test_the_printed_command_reaches_the_wanted_style(capsys: Capture) -> None:
    code, out, _ = run(capsys, "photo.png", "picture.png", "--wanted-style", "0.4", "-o", "sheet.png")
    assert code == 0
    command = out.splitlines()[1].removeprefix("to paint the result: ")
    assert main([*shlex.split(command)[1:], "-o", "out.png", "--report", "--json", "--threads", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["report"]["style_closed"] == pytest.approx(0.4, abs=0.02)


@pytest.mark.slow
def test_an_unreachable_style_share_is_reported(capsys: Capture) -> None:
    code, out, _ = run(capsys, "photo.png", "picture.png", "--wanted-style", "0.999")
    assert code == 0
    assert "no setting reached a style share of 0.999; the closest is 0." in out
    assert "--recipe paint" in out


@pytest.mark.slow
def test_with_json_only_the_trials_are_printed(capsys: Capture) -> None:
    words = ("--recipe", "paint", "--size", "48", "--steps", "1", "--strengths", "1", "--style-scales", "1,2", "--json")
    code, out, err = run(capsys, "photo.png", "picture.png", *words)
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["options"]["style_scale"] for row in rows] == [1, 2]
    assert all(0 < row["report"]["ssim"] < 1 for row in rows)
    assert "tune.png: 2 trials" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "content or style is missing"),
        (("photo.png",), "content or style is missing"),
        (("photo.png", "none.png"), "none.png"),
        (("photo.png", "picture.png", "-o", "picture.png"), "would overwrite an input"),
        (("photo.png", "picture.png", "--strokes", "9"), "--strokes is 9.0"),
        (("photo.png", "picture.png", "--wanted-style", "80"), "--wanted-style is 80.0"),
        (("photo.png", "picture.png", "--recipe", "oil"), "--recipe"),
    ],
)
def test_invalid_input_of_tune_is_refused_in_one_sentence(capsys: Capture, words: tuple[str, ...], sentence: str) -> None:
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert {path.name for path in Path().iterdir()} == {"photo.png", "picture.png"}

"""``impasto batch``: folders, globs, CSV files, interruptions, failures and invalid input."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch

from impasto import images
from impasto.batch.manifest import Manifest
from impasto.batch.work import Worker
from impasto.cli import main
from impasto.errors import ImageFileError
from impasto.networks import brush_files
from impasto.networks.brush_files import save_brush
from impasto.networks.johnson import Johnson, Layout
from impasto.recipes.pastiche import Pastiche

Capture = pytest.CaptureFixture[str]
EXACT = ("--threads", "1", "--precision", "fp32", "--device", "cpu", "--engine", "torch")
BRUSH = ("--method", "brush", *EXACT)
INSTANT = ("--size", "64", "--fast", *EXACT)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two brushes, a style, and a folder of three photos."""
    for name in ("red", "blue"):
        save_brush(tmp_path / f"{name}.brush", Johnson(Layout(4, blocks=1, ends=5)), {"name": name})
    photo = skimage.data.astronaut()[:384:6, 32:416:6]
    (tmp_path / "in").mkdir()
    for name, pixels in {"a.jpg": photo, "b.png": photo[:, ::-1], "c.png": 255 - photo}.items():
        images.write(tmp_path / "in" / name, images.read(np.ascontiguousarray(pixels)))
    images.write(tmp_path / "style.png", images.read(skimage.data.coffee()[::6, ::6]))
    monkeypatch.setattr(brush_files, "_FOLDER", tmp_path / "included")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: Capture, *words: str) -> tuple[int, dict[str, Any], str]:
    """Run a batch; return the exit code, the printed counts and the messages."""
    code = main(("batch", *words, "--json"))
    out, err = capsys.readouterr()
    return code, json.loads(out or "{}"), err


def counts(printed: dict[str, Any]) -> tuple[int, int, int, int]:
    return printed["planned"], printed["done"], printed["skipped"], printed["failed"]


def refused(capsys: Capture, *words: str) -> str:
    """Run a batch that must fail with exit code 2 and one sentence, and write no file; return the sentence."""
    before = sorted(Path().rglob("*"))
    assert main(("batch", *words)) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert sorted(Path().rglob("*")) == before
    return str(err)


def lines(folder: str = "out") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(folder, "manifest.jsonl").read_text().splitlines()]


def results(folder: str = "out") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir() if path.name != "manifest.jsonl")


# ---------------------------------------------------------------------------------------------------- what is painted


def test_every_photo_is_painted_in_every_style(capsys: Capture) -> None:
    code, printed, _ = run(capsys, "in", "red.brush, blue.brush", "-o", "out", *BRUSH)
    assert (code, counts(printed)) == (0, (6, 6, 0, 0))
    assert results() == [f"{photo}-{brush}.png" for photo in "abc" for brush in ("blue", "red")]
    assert {line["state"] for line in lines()} == {"done"}


@pytest.mark.slow
def test_instant_gives_the_same_pictures_as_the_single_command(capsys: Capture) -> None:
    assert run(capsys, "in", "style.png,starry-night", "-o", "out", *INSTANT)[0] == 0
    for style in ("style.png", "starry-night"):
        assert main(["instant", "in/c.png", style, "-o", "single.png", *INSTANT]) == 0
        output = Path("out", f"c-{Path(style).stem}.png")
        assert torch.equal(images.read(output).image, images.read("single.png").image)
        record = images.read_record(output)
        assert record is not None
        assert record["recipe"] == "instant"


@pytest.mark.slow
def test_a_photo_is_painted_with_the_optimizer(capsys: Capture) -> None:
    words = ("in/a.jpg", "style.png", "-o", "out", "--method", "paint", "--size", "32", "--seconds", "0.1", "--threads", "1")
    assert counts(run(capsys, *words)[1]) == (1, 1, 0, 0)
    assert images.read("out/a-style.png").size == (32, 32)


@pytest.mark.slow
def test_a_quoted_glob_is_expanded_and_results_are_not_painted_again(capsys: Capture) -> None:
    for expected in ((3, 3, 0, 0), (3, 0, 3, 0)):
        assert counts(run(capsys, "**/?.*g", "*.brush", "-o", "in/out", *BRUSH)[1])[0] == 2 * expected[0]
    assert len(results("in/out")) == 6


def test_a_csv_gives_pairs_and_options_relative_to_its_folder(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pairs.csv").write_text("Content;Style;size\nin/a.jpg;red.brush;48\n\nin/a.jpg;blue.brush;\n", encoding="utf-8-sig")
    (Path() / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    code, printed, _ = run(capsys, "../pairs.csv", "-o", "out", *BRUSH, "--size", "32", "--format", "webp")
    assert (code, counts(printed)) == (0, (2, 2, 0, 0))
    assert [images.read(f"out/a-{brush}.webp").size for brush in ("red", "blue")] == [(48, 48), (32, 32)]


def test_results_with_one_name_are_numbered_and_repeated_pairs_painted_once(capsys: Capture) -> None:
    Path("more").mkdir()
    Path("more/a.png").write_bytes(Path("in/b.png").read_bytes())
    Path("pairs.csv").write_text("content,style\nin/a.jpg,red.brush\nmore/a.png,red.brush\nin/a.jpg,red.brush\n")
    for state in ("done", "skipped"):
        code, printed, err = run(capsys, "pairs.csv", "-o", "out", *BRUSH)
        assert (code, printed["planned"], printed[state]) == (0, 2, 2)
        assert "repeated pairs, painted only once: 1" in err
    assert results() == ["a-red-2.png", "a-red.png"]


def test_inputs_and_files_of_others_are_never_overwritten(capsys: Capture) -> None:
    Path("out").mkdir()
    Path("out/a-red.png").write_bytes(Path("in/b.png").read_bytes())  # has no record
    Path("out/b-red.png").write_bytes(Path("in/c.png").read_bytes())
    Path("pairs.csv").write_text("content,style\nin/a.jpg,red.brush\nin/b.png,red.brush\nout/b-red.png,red.brush\n")
    before = [Path(f"out/{name}-red.png").read_bytes() for name in "ab"]
    for _ in range(2):
        assert run(capsys, "pairs.csv", "-o", "out", *BRUSH)[0] == 0
        assert [Path(f"out/{name}-red.png").read_bytes() for name in "ab"] == before
        assert results() == ["a-red-2.png", "a-red.png", "b-red-2.png", "b-red-red.png", "b-red.png"]


# ---------------------------------------------------------------------------------------------------- skipping


@pytest.mark.slow
def test_what_is_done_is_skipped_until_an_input_an_option_or_the_result_changes(capsys: Capture) -> None:
    def states(*more: str) -> list[str]:
        count = len(lines()) if Path("out").exists() else 0
        assert run(capsys, "in", "red.brush", "-o", "out", *BRUSH, *more)[0] == 0
        return [line["state"] for line in lines()[count:]]

    done, skipped = ["done"] * 3, ["skipped"] * 3
    assert states() == done
    assert states() == skipped
    Path("in/b.png").write_bytes(Path("in/c.png").read_bytes())
    assert states() == ["skipped", "done", "skipped"]
    Path("out/c-red.png").unlink()
    assert states() == ["skipped", "skipped", "done"]
    Path("out/a-red.png").write_bytes(b"changed")
    assert states() == ["done", "skipped", "skipped"]
    assert states("--strength", "0.5") == done
    assert states() == done  # the results of strength 1 were overwritten
    save_brush("red.brush", Johnson(Layout(4, blocks=1, ends=5)), {"name": "another"})
    assert states() == done


def test_an_interrupted_batch_continues(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    paint, painted = Worker.paint, []

    def interrupted(self: Worker, item: Any) -> Any:
        if painted:
            raise KeyboardInterrupt
        painted.append(item)
        return paint(self, item)

    monkeypatch.setattr(Worker, "paint", interrupted)
    code, printed, err = run(capsys, "in", "red.brush", "-o", "out", *BRUSH)
    assert (code, counts(printed)) == (130, (3, 1, 0, 0))
    assert "interrupted: 1 done + 0 skipped + 0 failed of 3 planned, 2 left; run the same command again to continue" in err
    monkeypatch.setattr(Worker, "paint", paint)
    code, printed, err = run(capsys, "in", "red.brush", "-o", "out", *BRUSH)
    assert (code, counts(printed)) == (0, (3, 2, 1, 0))
    assert "2 done + 1 skipped + 0 failed = 3 planned" in err


@pytest.mark.slow  # starts Python twice
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_killed_batch_continues(capsys: Capture, workers: str) -> None:
    for number in range(20):
        Path("in", f"{number}.png").write_bytes(Path("in/b.png").read_bytes())
    words = ("batch", "in", "style.png", "-o", "out", "--workers", workers, *INSTANT)
    manifest = Path("out/manifest.jsonl")
    process = subprocess.Popen([sys.executable, "-m", "impasto", *words], env={**os.environ, "OMP_NUM_THREADS": "1"})
    until = time.monotonic() + 120
    while not (manifest.exists() and manifest.read_bytes().count(b"\n") > 2) and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = manifest.read_bytes().count(b"\n")
    with manifest.open("ab") as file:
        file.write(b'{"state": "done", "out')  # a line that was cut by the crash
    assert 2 < done < 23
    code, printed, _ = run(capsys, *words[1:5], *INSTANT)
    assert (code, counts(printed)) == (0, (23, 23 - done, done, 0))
    whole = [line for line in manifest.read_text().splitlines() if not line.endswith('"out')]
    outputs = [each["output"] for each in map(json.loads, whole) if each["state"] == "done"]
    assert sorted(outputs) == sorted(set(outputs))  # nothing was painted twice
    assert set(outputs) == {name for name in results() if not name.startswith(".")}


def test_files_that_a_killed_run_left_are_removed_after_an_hour(capsys: Capture) -> None:
    Path("out").mkdir()
    for name, age in {"old": 4000, "new": 10}.items():
        Path(f"out/.impasto-{name}.part").touch()
        os.utime(f"out/.impasto-{name}.part", (time.time() - age,) * 2)
    assert run(capsys, "in/a.jpg", "red.brush", "-o", "out", *BRUSH)[0] == 0
    assert results() == [".impasto-new.part", "a-red.png"]


# ---------------------------------------------------------------------------------------------------- failures


def test_failures_are_named_and_do_not_stop_the_batch(capsys: Capture) -> None:
    Path("in/broken.png").write_bytes(Path("in/b.png").read_bytes()[:200])
    Path("in/notes.txt").write_text("hello")
    for state in ("done", "skipped"):
        code, printed, err = run(capsys, "in", "red.brush", "-o", "out", *BRUSH)
        assert (code, printed["planned"], printed[state], printed["failed"], printed["not_pictures"]) == (1, 4, 3, 1, 1)
        assert "not pictures, ignored: 1 ('in/notes.txt')" in err
        assert "impasto: failed: 'in/broken.png' in 'red.brush': 'broken.png' is damaged or truncated" in err
    (failed,) = [line for line in lines() if line["state"] == "failed"][1:]
    assert failed["error"].startswith("'broken.png' is damaged")


def test_a_missing_photo_of_a_csv_is_named_with_its_line(capsys: Capture) -> None:
    Path("pairs.csv").write_text("content,style\nin/a.jpg,red.brush\nin/gone.jpg,red.brush\n")
    code, printed, err = run(capsys, "pairs.csv", "-o", "out", *BRUSH)
    assert (code, counts(printed)) == (1, (2, 1, 0, 1))
    assert "line 3 of 'pairs.csv': 'in/gone.jpg' in 'red.brush': there is no file 'in/gone.jpg'" in err


@pytest.mark.slow
def test_a_full_disk_stops_the_batch(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise ImageFileError("the picture cannot be written") from OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Pastiche, "save", full)
        code, printed, err = run(capsys, "in", "red.brush", "-o", "out", *BRUSH)
    assert (code, counts(printed)) == (1, (3, 0, 0, 1))
    assert "the disk of 'out' is full; free some space, and run the same command again" in err
    assert "stopped: 0 done" in err
    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "append", full)
        code, _, err = run(capsys, "in", "red.brush", "-o", "out", *BRUSH)
    assert code == 1
    assert "the picture cannot be written; run the same command again to continue" in err
    assert counts(run(capsys, "in", "red.brush", "-o", "out", *BRUSH)[1]) == (3, 3, 0, 0)


# ---------------------------------------------------------------------------------------------------- invalid input

TABLES = {
    "content,look\nin/a.jpg,red.brush\n": "line 1 of 'pairs.csv' has no column 'style'",
    "": "line 1 of 'pairs.csv' has no column 'content'",
    "content,style\n": "'pairs.csv' contains no pairs",
    "content,style,sise\nin/a.jpg,red.brush,32\n": "'sise' is not an option of --method brush; did you mean 'size'?",
    "content,style,size,size\n": "line 1 of 'pairs.csv' has the column 'size' twice",
    "content,style,size\nin/a.jpg,red.brush,big\n": "line 2 of 'pairs.csv': --size is 'big'; it must be a whole number",
    "content,style,strength\n\n\nin/a.jpg,red.brush,7\n": "line 4 of 'pairs.csv': --strength is 7.0; it must be a number from",
    "content,style\nin/a.jpg\n": "line 2 of 'pairs.csv': the cell 'style' is empty",
    "content,style\nin/a.jpg,red.brush,1\n": "line 2 of 'pairs.csv': it has 3 cells for 2 columns",
    "content,style\nin/a.jpg,green.brush\n": "line 2 of 'pairs.csv': brush 'green.brush' does not exist",
    'content,style\n"in/a.jpg,red.brush\n': "line 2 of 'pairs.csv' is not valid CSV",
}


@pytest.mark.slow
@pytest.mark.parametrize("text", TABLES)
def test_an_invalid_csv_is_refused(capsys: Capture, text: str) -> None:
    Path("pairs.csv").write_text(text)
    assert TABLES[text] in refused(capsys, "pairs.csv", "-o", "out", *BRUSH)


REFUSED = {
    "empty red.brush -o out": "folder 'empty' contains no files",
    "texts red.brush -o out": "folder 'texts' contains 1 files but no pictures",
    "gone red.brush -o out": "there is no file or folder 'gone'",
    "gone/*.jpg red.brush -o out": "no file matches 'gone/*.jpg'",
    "in in -o out": "folder 'in' contains 3 files but no brushes",
    "in gone.brush -o out": "brush 'gone.brush' does not exist",
    "in , -o out": "the style is empty",
    "in red.brush": "the output folder is missing",
    "in -o out": "the styles are missing",
    "-o out": "contents and styles are missing",
    "in red.brush blue.brush -o out": "3 arguments were given; put globs in quotes",
    "pairs.csv red.brush -o out": "'pairs.csv' contains its own styles",
    "pairs.csv -o out": "'pairs.csv' cannot be read",
    "in red.brush -o style.png": "output 'style.png' is a file",
    "in red.brush -o style.png/out": "folder 'style.png/out' cannot be created or written",
    "in red.brush -o in": "'in' is also the output folder",
    "in red.brush -o texts": "'texts/manifest.jsonl' is not a file",
    "in red.brush -o out --workers 0": "--workers is 0; it must be a whole number from 1 to 256",
    "in red.brush -o out --steps 3": "'steps' is not an option of --method brush",
    "in red.brush -o out --size 3": "--size is 3",
    "in red.brush -o out --format jpg --bits 16": "16 bits cannot be saved as JPEG",
}


@pytest.mark.slow
@pytest.mark.parametrize("words", REFUSED)
def test_invalid_input_is_refused_before_anything_is_written(capsys: Capture, words: str) -> None:
    Path("empty").mkdir()
    Path("texts/manifest.jsonl").mkdir(parents=True)
    Path("texts/notes.txt").write_text("hello")
    assert REFUSED[words] in refused(capsys, *words.split(), *BRUSH)

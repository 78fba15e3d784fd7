"""``impasto apply`` and ``impasto brushes``: files, folders, streams, unreadable photos, interruptions and invalid input."""

import io
import json
import re
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import skimage.data
import torch

from impasto import images
from impasto.cli import main, photos
from impasto.networks import brush_files
from impasto.networks.brush_files import load_brush, save_brush
from impasto.networks.johnson import LAYOUTS, Johnson, Layout

Capture = pytest.CaptureFixture[str]
EXACT = ("--threads", "1", "--precision", "fp32", "--device", "cpu", "--engine", "torch")
FACTS = {
    "name": "mine",
    "title": "A [cup]\x1b[31m",
    "artist": "R. Me (1900-1980)",
    "command": "impasto train brush",
    "seed": "7",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a brush, three photos and files that are not photos."""
    save_brush(tmp_path / "mine.brush", Johnson(Layout(4, blocks=1, ends=5)), FACTS)
    photo = skimage.data.astronaut()[:384:6, 32:416:6]
    (tmp_path / "in").mkdir()
    for name, pixels in {"a.jpg": photo, "b.png": photo[:, ::-1], "c.png": 255 - photo}.items():
        images.write(tmp_path / "in" / name, images.read(np.ascontiguousarray(pixels)))
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty.jpg").touch()
    monkeypatch.setattr(brush_files, "_FOLDER", tmp_path / "included")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: Capture, *words: str) -> tuple[int, str, str]:
    code = main(("apply", *words, *EXACT))
    out, err = capsys.readouterr()
    return code, out, err


def refused(capsys: Capture, *words: str, command: str = "apply") -> str:
    """Run a command that must fail with exit code 2 and one sentence, and write no file; return the sentence."""
    before = sorted(Path().rglob("*"))
    assert main((command, *words)) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith("impasto: ")
    assert sorted(Path().rglob("*")) == before
    return str(err)


def pixels(path: str | Path) -> torch.Tensor:
    return images.read(path).image


# ---------------------------------------------------------------------------------------------------- one photo


def test_one_photo_is_saved_to_a_file(capsys: Capture) -> None:
    code, out, err = run(capsys, "mine.brush", "in/a.jpg", "-o", "out.webp", "--size", "48")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"out.webp: 48x48 pixels, painted in .* s\n", out)
    record = images.read_record("out.webp")
    assert record is not None
    assert record["options"] == {"size": 48, "strength": 1.0, "stroke": 1.0, "grain": 0.0}


def test_without_an_output_the_result_is_named_after_photo_and_brush(capsys: Capture) -> None:
    assert run(capsys, "mine.brush", "in/a.jpg")[0] == 0
    first = Path("a-mine.png").read_bytes()
    assert run(capsys, "mine.brush", "in/a.jpg", "--strength", "0.5")[0] == 0
    assert Path("a-mine.png").read_bytes() != first  # an earlier result of the same photo and brush is replaced
    assert run(capsys, "mine.brush", "a-mine.png", "in/a.jpg")[0] == 0  # but not if it is an input
    assert {each.name for each in Path().glob("*.png")} == {"a-mine.png", "a-mine-mine.png", "a-mine-2.png"}


def test_one_photo_is_saved_in_a_new_or_existing_folder(capsys: Capture) -> None:
    assert run(capsys, "mine.brush", "in/a.jpg", "-o", "new/inner")[0] == 0
    assert run(capsys, "mine.brush", "in/b.png", "-o", "new")[0] == 0
    assert sorted(map(str, Path("new").rglob("*.png"))) == ["new/b-mine.png", "new/inner/a-mine.png"]


def test_strength_zero_saves_the_photo(capsys: Capture) -> None:
    assert run(capsys, "mine.brush", "in/b.png", "--strength", "0", "-o", "out.png")[0] == 0
    assert torch.equal(pixels("out.png"), pixels("in/b.png"))


def test_a_photo_is_read_from_stdin_and_written_to_stdout(capsysbinary: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(Path("in/b.png").read_bytes())
        closed = False

        def isatty(self) -> bool:
            return False

    monkeypatch.setattr(sys, "stdin", Stdin())
    assert main(("apply", "mine.brush", "-", "-o", "-", *EXACT)) == 0
    out, err = capsysbinary.readouterr()
    assert PIL.Image.open(io.BytesIO(out)).size == (64, 64)
    assert b"standard output: 64x64 pixels" in err


def test_output_flags_work_as_in_other_commands(capsys: Capture) -> None:
    code, out, _ = run(capsys, "mine.brush", "in/b.png", "-o", "o.png", "--bits", "16", "--record", "o.json", "--json")
    assert code == 0
    assert json.loads(out)["output"] == "o.png"
    assert json.loads(Path("o.json").read_text())["brush"]["name"] == "mine"
    assert Path("o.png").read_bytes()[24] == 16  # bits per channel
    assert run(capsys, "mine.brush", "in/b.png", "-o", "q.png", "--quiet") == (0, "", "")


def test_transparency_is_kept(capsys: Capture) -> None:
    photo = PIL.Image.open("in/b.png").convert("RGBA")
    photo.putalpha(PIL.Image.linear_gradient("L").resize(photo.size))
    photo.save("clear.png")
    assert run(capsys, "mine.brush", "clear.png", "-o", "o.png")[0] == 0
    assert (np.asarray(PIL.Image.open("o.png"))[..., 3] == np.asarray(photo)[..., 3]).all()


# ---------------------------------------------------------------------------------------------------- several photos


def test_several_photos_go_into_a_folder_with_progress_on_stderr(capsys: Capture) -> None:
    code, out, err = run(capsys, "mine.brush", "in/a.jpg", "in/b.png", "in/c.png", "-o", "out")
    assert code == 0
    assert out.startswith("out: 3 photos in ")
    lines = err.splitlines()
    assert lines[0].startswith("1 of 3: out/a-mine.png: 64x64 pixels; about ")
    assert lines[2] == "3 of 3: out/c-mine.png: 64x64 pixels"
    assert {each.name for each in Path("out").iterdir()} == {"a-mine.png", "b-mine.png", "c-mine.png"}


def test_a_folder_of_photos_is_painted_without_hidden_files(capsys: Capture) -> None:
    Path("in/.hidden").touch()
    code, out, _ = run(capsys, "mine.brush", "in", "-o", "in", "--quiet")
    assert (code, out) == (0, "")
    assert sum(each.name.endswith("-mine.png") for each in Path("in").iterdir()) == 3


def test_photos_of_one_name_get_numbers_and_a_second_run_replaces_its_own_results(capsys: Capture) -> None:
    Path("other").mkdir()
    Path("other/a.jpg").write_bytes(Path("in/c.png").read_bytes())
    for _ in range(2):
        assert run(capsys, "mine.brush", "in/a.jpg", "other/a.jpg", "in/a.jpg", "-o", "out")[0] == 0
        assert {each.name for each in Path("out").iterdir()} == {"a-mine.png", "a-mine-2.png", "a-mine-3.png"}
        assert torch.equal(pixels("out/a-mine.png"), pixels("out/a-mine-3.png"))
        assert not torch.equal(pixels("out/a-mine.png"), pixels("out/a-mine-2.png"))


def test_engines_paint_almost_the_same_pictures(capsys: Capture) -> None:
    if find_spec("onnxruntime") is None:
        pytest.skip("ONNX Runtime is not installed")
    assert run(capsys, "mine.brush", "in", "-o", "one")[0] == 0
    assert main(("apply", "mine.brush", "in", "-o", "two", *EXACT[:-1], "onnxruntime")) == 0
    for each in Path("one").iterdir():
        assert (pixels(each) - pixels(Path("two") / each.name)).abs().max() < 2.5 / 255


def test_a_picture_of_another_program_is_never_replaced(capsys: Capture) -> None:
    Path("out").mkdir()
    Path("out/a-mine.png").write_bytes(b"precious")
    assert run(capsys, "mine.brush", "in/a.jpg", "-o", "out")[0] == 0
    assert Path("out/a-mine.png").read_bytes() == b"precious"
    assert Path("out/a-mine-2.png").exists()


def test_several_photos_print_one_line_of_json_each(capsys: Capture) -> None:
    code, out, _ = run(capsys, "mine.brush", "in", "-o", "out", "--json")
    assert code == 0
    assert [json.loads(line)["output"] for line in out.splitlines()] == [f"out/{name}-mine.png" for name in "abc"]


def test_unreadable_photos_are_skipped_counted_and_named(capsys: Capture) -> None:
    code, out, err = run(capsys, "mine.brush", "in/a.jpg", "notes.txt", "in/b.png", "empty.jpg", "gone.jpg", "-o", "out")
    assert code == 1
    assert out.startswith("out: 2 photos in ")
    assert "impasto: skipped: 'notes.txt' is not a picture" in err
    assert err.splitlines()[-1] == "impasto: 3 of 5 photos were skipped: 'notes.txt', 'empty.jpg', 'gone.jpg'"
    assert len(list(Path("out").iterdir())) == 2


def test_with_quiet_skipped_photos_are_still_errors(capsys: Capture) -> None:
    code, out, err = run(capsys, "mine.brush", "notes.txt", "in/a.jpg", "-o", "out", "--quiet")
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 2


def test_if_no_photo_can_be_read_the_command_fails_and_makes_no_folder(capsys: Capture) -> None:
    code, out, err = run(capsys, "mine.brush", "notes.txt", "empty.jpg", "-o", "out")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == "impasto: 2 of 2 photos were skipped: 'notes.txt', 'empty.jpg'"
    assert not Path("out").exists()


@pytest.mark.slow
def test_a_photo_that_needs_too_much_memory_is_skipped(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    images.write("large.png", torch.zeros(1, 3, 1500, 1500))
    monkeypatch.setattr("impasto.recipes.brush.available_memory", lambda device: 100 * 2**20)
    code, _, err = run(capsys, "mine.brush", "large.png", "in/a.jpg", "-o", "out")
    assert code == 1
    assert "skipped: painting 1500x1500 pixels needs about" in err
    assert run(capsys, "mine.brush", "large.png", "-o", "out")[0] == 2


def test_an_interruption_keeps_the_finished_photos(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    applied, count = photos.applied, 0

    def interrupted(*words: Any) -> Any:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return applied(*words)

    monkeypatch.setattr(photos, "applied", interrupted)
    code, _, err = run(capsys, "mine.brush", "in", "-o", "out")
    assert code == 130
    assert err.splitlines()[-1] == "impasto: interrupted after 2 of 3 photos; their results are saved"
    assert {each.name for each in Path("out").iterdir()} == {"a-mine.png", "b-mine.png"}


def test_an_interruption_while_a_result_is_saved_is_obeyed_after_that(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    save = photos.save_pastiche

    def interrupted(*words: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return save(*words)

    monkeypatch.setattr(photos, "save_pastiche", interrupted)
    code, _, err = run(capsys, "mine.brush", "in", "-o", "out")
    assert code == 130
    assert err.splitlines()[-1] == "impasto: interrupted after 1 of 3 photos; their results are saved"
    assert {each.name for each in Path("out").iterdir()} == {"a-mine.png"}
    assert run(capsys, "mine.brush", "in/b.png", "-o", "out")[0] == 0


# ---------------------------------------------------------------------------------------------------- invalid input


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "brush and photo are missing: impasto apply BRUSH PHOTO"),
        (("mine.brush",), "the photo is missing"),
        (("-", "in/a.jpg"), "a brush cannot be read from standard input"),
        (("mime", "in/a.jpg"), "brush 'mime' is not known"),
        (("gone.brush", "in/a.jpg"), "does not exist"),
        (("in", "in/a.jpg"), "brush 'in' is a folder"),
        (("in/a.jpg", "in/a.jpg"), "this is not a network for one style"),
        (("empty.jpg", "in/a.jpg"), "this file is empty"),
        (("mine.brush", "notes.txt"), "'notes.txt' is not a picture"),
        (("mine.brush", "gone.jpg"), "there is no file 'gone.jpg'"),
        (("mine.brush", "in/b.png", "-o", "in/b.png"), "would overwrite an input"),
        (("mine.brush", "in/a.jpg", "-o", "mine.brush"), "would overwrite an input"),
        (("mine.brush", "in/a.jpg", "-o", "out.jp2"), "its name must end in one of"),
        (("mine.brush", "in/a.jpg", "-o", "notes.txt/out"), "notes.txt"),
        (("mine.brush", "in/a.jpg", "in/b.png", "-o", "out.png"), "is one file, but 2 photos are given"),
        (("mine.brush", "in", "-o", "notes.txt"), "is one file, but 3 photos are given"),
        (("mine.brush", "in", "--record", "r.json"), "--record 'r.json' is one file"),
        (("mine.brush", "in/a.jpg", "--strength", "2"), "--strength is 2.0; it must be a number from 0 to 1"),
        (("mine.brush", "in/a.jpg", "--size", "3"), "--size is 3"),
        (("mine.brush", "in/a.jpg", "--engine", "tvm"), "--engine"),
        (("mine.brush", "in/a.jpg", "--bits", "16", "-o", "out.jpg"), "16"),
        (("mine.brush", "in", "--file-quality", "200"), "200"),
        (("mine.brush", "in/a.jpg", "--json", "-o", "-"), "both write to standard output"),
    ],
)
def test_invalid_input_is_one_sentence(capsys: Capture, words: tuple[str, ...], message: str) -> None:
    assert message in refused(capsys, *words)


def test_an_empty_folder_is_refused(capsys: Capture) -> None:
    Path("none").mkdir()
    assert "folder 'none' contains no files" in refused(capsys, "mine.brush", "none")


# ---------------------------------------------------------------------------------------------------- impasto brushes


def test_included_brushes_are_listed_and_used_by_name(capsys: Capture, folder: Path) -> None:
    assert main(("brushes", "list")) == 0
    assert "no brushes are included" in capsys.readouterr().out
    Path("included").mkdir()
    save_brush("included/cup.brush", Johnson(LAYOUTS["small"]), FACTS)
    Path("included/broken.brush").write_bytes(b"\x00" * 100)
    assert main(("brushes", "list")) == 0
    out = capsys.readouterr().out
    (row,) = (line for line in out.splitlines() if line.startswith("cup"))
    assert re.fullmatch(r"cup +A \[cup\] \[31m +R\. Me +\d+ kB +small *", row)
    assert "cannot be read" in out
    assert "\x1b" not in out
    assert run(capsys, "cup", "in/a.jpg")[0] == 0
    assert Path("a-cup.png").exists()


def test_show_prints_all_metadata_but_the_curve_of_the_losses(capsys: Capture) -> None:
    save_brush("mine.brush", Johnson(Layout(4, blocks=1, ends=5)), FACTS | {"curve": '[{"seconds": 30.8}]', "source": ""})
    assert main(("brushes", "show", "mine.brush")) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0] == "mine"
    assert "artist: R. Me (1900-1980)" in lines
    assert "command: impasto train brush" in lines
    assert "seed: 7" in lines
    assert f"SHA-256 {load_brush('mine.brush').sha256}" in out
    assert "layout: 4 channels, 1 blocks" in out
    assert "\x1b" not in out
    assert not re.search("^(curve|source):", out, re.MULTILINE)


@pytest.mark.parametrize("words", [("show", "in/a.jpg"), ("show", "gone"), ("convert", "mine.brush", "out.brush")])
def test_other_files_are_refused(capsys: Capture, words: tuple[str, ...]) -> None:
    refused(capsys, *words, command="brushes")


def test_a_network_of_another_program_is_converted_shown_and_used(capsys: Capture) -> None:
    torch.save(fast_neural_style(), "candy.pth")
    assert main(("brushes", "show", "candy.pth")) == 0
    assert "program: fast_neural_style of pytorch/examples" in capsys.readouterr().out
    assert "does not end in .brush" in refused(capsys, "convert", "candy.pth", "candy.pt", command="brushes")
    assert main(("brushes", "convert", "candy.pth", "candy.brush")) == 0
    assert "impasto apply candy.brush PHOTO" in capsys.readouterr().out
    for name in ("candy.pth", "candy.brush"):
        assert run(capsys, name, "in/b.png", "-o", f"{name}.png")[0] == 0
    assert (pixels("candy.pth.png") - pixels("candy.brush.png")).abs().max() < 0.03


def fast_neural_style() -> dict[str, torch.Tensor]:
    """Make a small state dict with the names of pytorch/examples."""
    random = torch.Generator().manual_seed(0)
    shapes = {"conv1": (4, 3, 9), "conv2": (8, 4, 3), "conv3": (16, 8, 3), "deconv1": (8, 16, 3), "deconv2": (4, 8, 3)}
    shapes["deconv3"] = (3, 4, 9)
    found = {}
    for name, (out, into, side) in shapes.items():
        found[f"{name}.conv2d.weight"] = torch.randn(out, into, side, side, generator=random)
        found[f"{name}.conv2d.bias"] = torch.randn(out, generator=random)
    found["deconv3.conv2d.bias"] += 127
    for name, channels in {"in1": 4, "in2": 8, "in3": 16, "in4": 8, "in5": 4}.items():
        found |= {f"{name}.weight": torch.ones(channels), f"{name}.bias": torch.zeros(channels)}
    return found

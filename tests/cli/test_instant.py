"""``impasto instant``: output, files and exit codes."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import skimage.data
import torch
from PIL import Image

from impasto import images
from impasto.cli import main
from impasto.options import Run
from impasto.recipes import instant_checks, naming
from impasto.recipes.instant_painter import InstantPainter
from impasto.styles.named import NamedStyle, add_style, measured_style

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, with a photo, two pictures and two masks."""
    images.write(tmp_path / "photo.jpg", images.read(skimage.data.astronaut()[:384:4, 32:416:4]))
    images.write(tmp_path / "picture.jpg", images.read(skimage.data.coffee()[::6, ::6]))
    images.write(tmp_path / "other.png", images.read(skimage.data.coffee()[::7, ::7, ::-1].copy()))
    left = torch.zeros(1, 3, 96, 96)
    left[..., :48] = 1
    images.write(tmp_path / "left.png", left)
    images.write(tmp_path / "right.png", 1 - left)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def named() -> NamedStyle:
    """A user's named style, measured at one size only to save time."""
    picture = images.read(skimage.data.coffee()[::6, ::6])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(naming, "measured_style", lambda *facts: measured_style(*facts, sizes=(64,)))
        return naming.name_style(picture, {"name": "my-coffee"})


def run(capsys: Capture, *words: str) -> tuple[int, str, str]:
    """Paint in full precision, on one thread."""
    code = main(["instant", *words, "--threads", "1", "--precision", "fp32", "--engine", "torch"])
    out, err = capsys.readouterr()
    return code, out, err


def refused(capsys: Capture, *words: str) -> str:
    """Run a command that must fail with exit code 2 and one sentence, and leave all files unchanged; return the sentence."""
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert lines[-1].startswith("impasto: ")
    assert sum(line.startswith("impasto:") for line in lines) == 1
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    return lines[-1]


def pixels(path: str) -> torch.Tensor:
    return images.read(path).image


def names() -> set[str]:
    return {path.name for path in Path().iterdir()} - {"photo.jpg", "picture.jpg", "other.png", "left.png", "right.png"}


# ---------------------------------------------------------------------------------------------------- painting


@pytest.mark.slow
def test_instant_saves_a_picture_with_its_record(capsys: Capture) -> None:
    code, out, err = run(capsys, "photo.jpg", "picture.jpg", "-o", "out.png", "--strength", "0.8")
    assert (code, err) == (0, "")
    assert out.startswith("out.png: 96x96 pixels, painted in ")
    assert pixels("out.png").shape == (1, 3, 96, 96)
    record = images.read_record("out.png")
    assert record is not None
    assert record["recipe"] == "instant"
    assert record["options"]["strength"] == 0.8  # type: ignore[index]
    assert names() == {"out.png"}


@pytest.mark.slow
def test_the_default_output_is_named_after_photo_and_style(capsys: Capture) -> None:
    code, out, err = run(capsys, "photo.jpg", "picture.jpg", "other.png", "--size", "48", "--quiet")
    assert (code, out, err) == (0, "", "")
    assert pixels("photo-picture-other.png").shape == (1, 3, 48, 48)


def test_the_record_is_printed_and_saved(capsys: Capture) -> None:
    flags = ("--json", "--record", "made.json", "--style-weights", "2,1", "--color", "keep", "--size", "64")
    code, out, err = run(capsys, "photo.jpg", "picture.jpg", "other.png", "-o", "out.tif", "--bits", "16", *flags)
    assert code == 0
    (line,) = out.splitlines()
    record = json.loads(line)
    assert record["output"] == "out.tif"
    assert record["options"]["style_weights"] == [2, 1]
    assert record["options"]["color"] == "keep"
    assert [style["name"] for style in record["styles"]] == ["picture.jpg", "other.png"]
    assert err.startswith("out.tif: 64x64 pixels")
    written = json.loads(Path("made.json").read_text())
    assert written | {"output": "out.tif"} == record
    assert names() == {"out.tif", "made.json"}


@pytest.mark.slow
def test_each_style_is_painted_where_its_mask_is_white(capsys: Capture) -> None:
    masks = ("--masks", "left.png", "right.png", "--feather", "0")
    code, *_ = run(capsys, "photo.jpg", "picture.jpg", "other.png", "-o", "out.png", *masks)
    assert code == 0
    for style, part in (("picture.jpg", slice(0, 48)), ("other.png", slice(48, 96))):
        assert run(capsys, "photo.jpg", style, "-o", "alone.png")[0] == 0
        torch.testing.assert_close(pixels("out.png")[..., part], pixels("alone.png")[..., part], atol=1 / 255 + 1e-6, rtol=0)


@pytest.mark.slow
def test_strength_0_saves_the_photo(capsys: Capture) -> None:
    assert run(capsys, "photo.jpg", "picture.jpg", "-o", "out.png", "--strength", "0")[0] == 0
    assert torch.equal(pixels("out.png"), pixels("photo.jpg"))


@pytest.mark.slow
def test_fast_changes_the_picture(capsys: Capture) -> None:
    images.write(Path("large.png"), images.read(skimage.data.astronaut()[:384:2, 32:416:2]))
    for flags in ((), ("--fast",), ("--no-fast",)):
        assert run(capsys, "large.png", "picture.jpg", "-o", f"out{''.join(flags)}.png", *flags)[0] == 0
    usual, fast = pixels("out.png"), pixels("out--fast.png")
    assert torch.equal(pixels("out--no-fast.png"), usual)
    assert float((fast - usual).abs().mean()) > 0.01
    record = images.read_record("out--fast.png")
    assert record is not None
    assert record["options"]["fast"] is True  # type: ignore[index]


@pytest.mark.slow
def test_a_users_named_style_is_accepted(capsys: Capture, named: NamedStyle) -> None:
    add_style(named)
    code, out, _ = run(capsys, "photo.jpg", "my-coffee", "--json")
    assert code == 0
    assert json.loads(out)["styles"][0]["kind"] == "named"
    assert names() == {"photo-my-coffee.png"}


@pytest.mark.slow
def test_refine_seconds_continues_with_the_optimizer(capsys: Capture) -> None:
    flags = ("--refine-seconds", "0.3", "--size", "48", "--gif", "made.gif", "--json")
    code, out, _ = run(capsys, "photo.jpg", "picture.jpg", "-o", "out.png", *flags)
    assert code == 0
    assert json.loads(out)["refined"]["steps"] >= 1
    assert pixels("out.png").shape == (1, 3, 48, 48)
    with Image.open("made.gif") as gif_recorder:
        assert gif_recorder.n_frames >= 1
    assert names() == {"out.png", "made.gif"}


@pytest.mark.slow
def test_a_rotated_photo_is_painted_upright(capsys: Capture) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open("photo.jpg").crop((0, 0, 96, 64)).save("turned.jpg", exif=exif)
    code, _, err = run(capsys, "turned.jpg", "picture.jpg", "-o", "out.png")
    assert code == 0
    assert "turned.jpg: turned upright" in err
    assert pixels("out.png").shape == (1, 3, 96, 64)


# ---------------------------------------------------------------------------------------------------- errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "content and style are missing: impasto instant CONTENT STYLE"),
        (("photo.jpg",), "the style is missing: impasto instant CONTENT STYLE"),
        (("missing.jpg", "picture.jpg"), "missing.jpg"),
        (("photo.jpg", "missing.jpg"), "missing.jpg"),
        (("photo.jpg", "picture.jpg", "--strength", "1.6"), "--strength is 1.6; it must be a number from 0 to 1.5"),
        (("photo.jpg", "picture.jpg", "--stroke", "9"), "--stroke is 9.0; it must be a number from 0.25 to 4"),
        (("photo.jpg", "picture.jpg", "--color", "kept"), "kept"),
        (("photo.jpg", "picture.jpg", "--strenght", "1"), "--strength"),
        (("photo.jpg", "picture.jpg", "--size", "31"), "--size is 31"),
        (("photo.jpg", "picture.jpg", "--style-weights", "1,2"), "--style-weights has 2 values for 1 styles"),
        (("photo.jpg", "picture.jpg", "--masks", "left.png", "right.png"), "--style-mask is given 2 times for 1 style"),
        (("photo.jpg", "picture.jpg", "--masks", "missing.png"), "missing.png"),
        (("photo.jpg", "picture.jpg", "--protect", "auto:skni"), "did you mean 'skin'?"),
        (("photo.jpg", "picture.jpg", "--gif", "made.gif"), "--gif shows the progress of"),
        (("photo.jpg", "picture.jpg", "--preview", "now.png"), "--preview shows the progress of"),
        (("photo.jpg", "picture.jpg", "-o", "photo.jpg"), "--output 'photo.jpg' would overwrite an input"),
        (("photo.jpg", "other.png", "-o", "./other.png"), "would overwrite an input"),
        (("photo.jpg", "picture.jpg", "--masks", "left.png", "-o", "left.png"), "would overwrite an input"),
        (("photo.jpg", "picture.jpg", "-o", "out.png", "--record", "out.png"), "would overwrite --output"),
        (("photo.jpg", "picture.jpg", "-o", "out.xyz"), "xyz"),
        (("photo.jpg", "picture.jpg", "-o", "nowhere/out.png"), "nowhere"),
    ],
)
def test_invalid_input_of_instant_is_refused_in_one_sentence(capsys: Capture, words: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused(capsys, *words)


@pytest.mark.slow
def test_an_unknown_style_is_refused_and_similar_names_are_suggested(capsys: Capture, named: NamedStyle) -> None:
    add_style(named)
    sentence = refused(capsys, "photo.jpg", "my-cofee")
    assert "style 'my-cofee' is neither a picture file nor a named style; did you mean 'my-coffee'?" in sentence


@pytest.mark.slow
def test_a_style_without_a_swatch_is_refused_and_can_be_added_again(
    capsys: Capture, named: NamedStyle, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("impasto.styles.named.VERSION", "2")
        add_style(replace(named, swatch=b""))
    assert (
        "style 'my-coffee' was added by an earlier version of impasto and has no swatch, which is needed here; "
        "add it again (impasto styles remove my-coffee, then impasto styles add), or give a picture"
    ) in refused(capsys, "photo.jpg", "my-coffee")
    monkeypatch.setattr(naming, "measured_style", lambda *facts: measured_style(*facts, sizes=(64,)))  # to save time
    assert main(["styles", "remove", "my-coffee"]) == 0
    assert main(["styles", "add", "picture.jpg", "--name", "my-coffee"]) == 0
    capsys.readouterr()
    assert run(capsys, "photo.jpg", "my-coffee")[0] == 0


def test_an_existing_picture_stays_if_painting_fails(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("out.png").write_bytes(b"older")
    monkeypatch.setattr(instant_checks, "available_memory", lambda device: 2**20)
    assert "use --size" in refused(capsys, "photo.jpg", "picture.jpg", "-o", "out.png")


def test_running_out_of_memory_prints_one_sentence(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def paint(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(InstantPainter, "paint_in_place", paint)
    assert "not enough memory for --size 1024" in refused(capsys, "photo.jpg", "picture.jpg")


def test_an_interruption_leaves_no_files(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def paint(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(InstantPainter, "paint_in_place", paint)
    code, out, err = run(capsys, "photo.jpg", "picture.jpg")
    assert (code, out, err) == (130, "", "impasto: interrupted\n")
    assert names() == set()


def test_a_link_to_the_photo_is_not_overwritten(capsys: Capture) -> None:
    os.symlink("photo.jpg", "link.jpg")
    assert "would overwrite an input" in refused(capsys, "photo.jpg", "picture.jpg", "-o", "link.jpg")


def test_the_record_contains_the_run_given_by_the_flags(capsys: Capture) -> None:
    _, out, _ = run(capsys, "photo.jpg", "picture.jpg", "--json", "--size", "48")
    assert json.loads(out)["run"] == vars(Run(threads=1, precision="fp32"))
    assert torch.get_num_threads() == 1

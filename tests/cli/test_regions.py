"""Masks on the command line (painting, records, replay, resume), and ``impasto regions``."""

import json
from pathlib import Path

import pytest
import skimage.data
import torch

from impasto import images
from impasto.cli import main

Capture = pytest.CaptureFixture[str]
SMALL = ("--size", "48", "--steps", "2", "--threads", "1", "--precision", "fp32")
STYLES = ("photo.jpg", "picture.jpg", "great-wave")


@pytest.fixture(autouse=True)
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, with a photo, a picture and two masks."""
    images.write(tmp_path / "photo.jpg", images.read(skimage.data.astronaut()[:384:4, 32:416:4]))
    images.write(tmp_path / "picture.jpg", images.read(skimage.data.coffee()[::4, ::4]))
    left = torch.zeros(1, 3, 96, 96)
    left[..., :48] = 1
    images.write(tmp_path / "left.png", left)
    images.write(tmp_path / "small.png", left[..., ::2, ::2])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: Capture, *words: str) -> tuple[int, str, str]:
    code = main(words)
    out, err = capsys.readouterr()
    return code, out, err


def pixels(path: str) -> torch.Tensor:
    return images.read(path).image


@pytest.mark.slow
def test_styles_are_painted_under_their_masks_and_recorded(capsys: Capture) -> None:
    masks = ("--style-mask", "left.png", "--style-mask", "not:left.png", "--protect", "gradient:radial")
    code, _, err = run(capsys, "paint", *STYLES, "-o", "out.png", *masks, *SMALL)
    assert code == 0
    assert "overlap" not in err
    record = images.read_record("out.png")
    assert record is not None
    recorded = record["masks"]
    assert [each["name"] for each in recorded["style_masks"]] == ["left.png", "not:left.png"]  # type: ignore[index]
    assert recorded["protect"][0]["kind"] == "named"  # type: ignore[index]


@pytest.mark.slow
def test_notes_on_masks_are_printed_once(capsys: Capture) -> None:
    masks = ("--style-mask", "small.png", "--style-mask", "all")
    _, _, err = run(capsys, "paint", *STYLES, "-o", "out.png", *masks, *SMALL)
    assert err.count("small.png: the mask of 48x48 pixels was scaled to 96x96") == 1
    assert err.count("the style masks overlap in") == 1


@pytest.mark.slow
def test_replay_with_masks_paints_the_same_picture(capsys: Capture) -> None:
    masks = ("--style-mask", "left.png", "--style-mask", "not:left.png", "--protect", "auto:skin")
    assert run(capsys, "paint", *STYLES, "-o", "out.png", *masks, *SMALL)[0] == 0
    code, _, err = run(capsys, "paint", "--replay", "out.png", "-o", "again.png")
    assert code == 0
    assert "another" not in err
    assert torch.equal(pixels("out.png"), pixels("again.png"))
    code, _, err = run(capsys, "paint", "--replay", "out.png", "-o", "other.png", "--protect", "gradient:radial")
    assert code == 0
    assert "--style-mask occurs 2 times in the record, but 0 times here; the result will differ" in err


@pytest.mark.slow
def test_replay_names_a_missing_mask(capsys: Capture) -> None:
    assert run(capsys, "paint", *STYLES[:2], "-o", "out.png", "--style-mask", "left.png", *SMALL)[0] == 0
    Path("left.png").rename("moved.png")
    code, _, err = run(capsys, "paint", "--replay", "out.png", "-o", "again.png")
    assert code == 2
    assert "the mask 'left.png' of the record, with SHA-256 " in err
    assert "give the masks as in: impasto paint --replay RECORD --style-mask FILE" in err
    code, _, err = run(capsys, "paint", "--replay", "out.png", "-o", "again.png", "--style-mask", "moved.png")
    assert (code, "another" in err) == (0, False)
    assert torch.equal(pixels("out.png"), pixels("again.png"))


@pytest.mark.slow
def test_a_damaged_record_of_masks_is_refused(capsys: Capture) -> None:
    assert run(capsys, "paint", *STYLES[:2], "-o", "out.png", "--record", "r.json", "--protect", "left.png", *SMALL)[0] == 0
    record = json.loads(Path("r.json").read_text())
    Path("r.json").write_text(json.dumps(record | {"masks": {"protect": [{"name": "left.png"}]}}))
    code, _, err = run(capsys, "paint", "--replay", "r.json", "-o", "again.png")
    assert (code, "the masks in the record are damaged" in err) == (2, True)


@pytest.mark.slow
def test_resume_needs_the_same_masks(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"steps": {"finished": False, "scale": 0, "here": 1, "done": 1}}
    words = ("paint", *STYLES[:2], "-o", "out.png", "--style-mask", "left.png")
    assert run(capsys, *words, "--record", "r.json", *SMALL)[0] == 0
    changed = json.loads(Path("r.json").read_text())
    changed["steps"] |= record["steps"]
    images.write("out.png", pixels("out.png"), record=changed)
    code, _, err = run(capsys, *words[:-1], "not:left.png", "--resume")
    assert code == 0  # the same file; the prefix of its name decides whether it is inverted
    images.write("out.png", pixels("out.png"), record=changed)
    code, _, err = run(capsys, *words[:-2], "--resume")
    assert code == 2
    assert "--style-mask occurs 1 times in the record, but 0 times here; continue with the same pictures" in err


@pytest.mark.slow
def test_regions_saves_a_sheet_and_masks(capsys: Capture) -> None:
    code, out, _ = run(capsys, "regions", "photo.jpg", "-o", "sheet.png", "--save-masks", "masks", "--count", "3")
    assert code == 0
    assert "auto:skin: " in out
    names = {path.name for path in Path("masks").iterdir()}
    assert {"photo-subject.png", "photo-background.png", "photo-sky.png", "photo-skin.png", "photo-region-1-of-3.png"} <= names
    assert pixels("masks/photo-skin.png").shape == (1, 3, 96, 96)
    assert pixels("sheet.png").shape[-1] > 600
    assert run(capsys, "instant", "photo.jpg", "picture.jpg", "-o", "out.png", "--protect", "masks/photo-skin.png")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "photo"),
        (("missing.jpg",), "missing.jpg"),
        (("photo.jpg", "--count", "1"), "--count is 1; it must be a number from 2 to 24"),
        (("photo.jpg", "-o", "sheet.doc"), "sheet.doc"),
        (("photo.jpg", "--save-masks", "left.png"), "left.png"),
    ],
)
def test_invalid_input_of_regions_is_refused(capsys: Capture, words: tuple[str, ...], message: str) -> None:
    code, _, err = run(capsys, "regions", *words)
    assert code == 2
    assert message.lower() in err.lower()
    assert "Traceback" not in err


@pytest.mark.slow
def test_instant_accepts_the_same_masks_and_refines_with_them(capsys: Capture) -> None:
    masks = ("--style-mask", "auto:subject", "--style-mask", "auto:background", "--protect", "left.png", "--feather", "0")
    assert run(capsys, "instant", *STYLES, "-o", "out.png", *masks)[0] == 0
    left = pixels("photo.jpg")[..., :48]
    torch.testing.assert_close(pixels("out.png")[..., :48], left, atol=1e-6, rtol=0)
    flags = ("--size", "48", "--refine-seconds", "0.5", "--threads", "1")
    assert run(capsys, "instant", *STYLES, "-o", "fine.png", *masks, *flags)[0] == 0
    photo = images.resize(pixels("photo.jpg"), (48, 48))
    torch.testing.assert_close(pixels("fine.png")[..., :24], photo[..., :24], atol=0.5 / 255 + 1e-6, rtol=0)
    record = images.read_record("fine.png")
    assert record is not None
    assert {"masks", "refined"} <= set(record)

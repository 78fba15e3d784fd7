"""``impasto train brush``, on a few small pictures."""

import os
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

import impasto
from impasto.cli import main, train_brush
from impasto.networks.brush_files import brush_facts, load_brush, save_brush
from impasto.networks.johnson import Johnson, Layout
from impasto.training import photos
from impasto.training.photos import built_in_photos, photos_in

Capture = pytest.CaptureFixture[str]
FLAGS = {
    **{"-o": "coffee.brush", "--photos": "photos", "--steps": "3", "--edge": "64", "--network": "small"},
    **{"--style-size": "96", "--device": "cpu"},
}


@pytest.fixture(autouse=True)
def _pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for number in range(3):
        Image.fromarray(skimage.data.astronaut()[number::4, ::4]).save(f"photos/{number}.png")
    Image.fromarray(skimage.data.coffee()[::3, ::3]).save("coffee.png")


def run(capsys: Capture, *words: str, style: str = "coffee.png") -> tuple[int, str]:
    """Train with some additional flags; return the exit code and the output."""
    flags = FLAGS | dict(zip(words[::2], words[1::2], strict=True))
    code = main(["train", "brush", style, *(word for pair in flags.items() for word in pair if word)])
    out, err = capsys.readouterr()
    assert out == ""
    return code, err


def refused(capsys: Capture, sentence: str, *words: str, style: str = "coffee.png") -> None:
    """Expect exit code 2 and one sentence."""
    code, err = run(capsys, *words, style=style)
    *_, last = err.splitlines()
    assert (code, last.startswith("impasto: "), sentence in last) == (2, True, True), err
    assert not Path("coffee.brush").exists()


@pytest.mark.slow
def test_a_training_writes_a_brush_a_strip_and_no_checkpoint(capsys: Capture) -> None:
    code, err = run(capsys)
    assert code == 0
    assert "step 3, 100%: " in err
    assert {each.name for each in Path().iterdir()} == {"coffee.brush", "coffee.png", "coffee.strip.png", "photos"}
    assert brush_facts("coffee.brush")["steps"] == "3"
    assert load_brush("coffee.brush").layout.width == 8
    assert impasto.read("coffee.strip.png").size == (512, 256 * 3)


@pytest.mark.slow
def test_unreadable_files_are_skipped_named_and_counted(capsys: Capture) -> None:
    for number in range(7):
        Path(f"photos/bad{number}.jpg").write_bytes(b"no picture")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save("photos/tiny.png")
    code, err = run(capsys)
    assert code == 0
    assert "skipped: 'bad0.jpg' is not a picture" in err
    assert "skipped: 3 more files" in err
    assert "3 photos, 8 files skipped" in err


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("there is no folder 'none'; give a folder of photos", ("--photos", "none")),
        ("there are 0 readable photos; training needs at least 2, and at least 50 are recommended", ("--photos", "empty")),
        ("--minutes and --steps are both 0", ("--steps", "0", "--minutes", "0")),
        ("--edge is 100; it must be a multiple of 8, such as 96", ("--edge", "100")),
        ('Invalid value "smal" for --network', ("--network", "smal")),
        ("cannot be written: there is no folder 'gone'", ("-o", "gone/x.brush")),
        ("would overwrite an input", ("-o", "coffee.png")),
        ("brush 'none.brush' does not exist", ("--start", "none.brush")),
        ("not a network for one style; give a .brush file", ("--start", "other.safetensors")),
    ],
)
def test_a_bad_value_is_refused_in_one_sentence(capsys: Capture, sentence: str, words: tuple[str, ...]) -> None:
    Path("empty").mkdir()
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, "other.safetensors", {"format": "pt"})
    refused(capsys, sentence, *words)


def test_a_style_that_is_too_small_is_refused(capsys: Capture) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("dot.png")
    refused(capsys, "'dot.png' is 8 x 8 pixels; a style needs sides of", style="dot.png")


@pytest.mark.slow
def test_a_style_of_one_color_trains_without_an_error(capsys: Capture) -> None:
    Image.fromarray(np.full((64, 64, 3), 99, np.uint8)).save("flat.png")
    code, _ = run(capsys, style="flat.png")
    assert code == 0
    assert all(torch.isfinite(each).all() for each in load_brush("coffee.brush").state_dict().values())


@pytest.mark.slow
def test_an_interrupted_training_saves_the_brush_and_resumes(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = train_brush._Watch.take

    def interrupting(watch: train_brush._Watch, step: object) -> None:
        taken(watch, step)  # type: ignore[arg-type]
        if step.number == 2:  # type: ignore[attr-defined]
            os.kill(os.getpid(), 2)

    monkeypatch.setattr(train_brush._Watch, "take", interrupting)
    code, err = run(capsys, "--steps", "5")
    assert code == 130
    assert "interrupted at step 2; run the same command to resume" in err
    assert brush_facts("coffee.brush")["steps"] == "2"
    assert Path("coffee.brush.checkpoint").exists()
    monkeypatch.setattr(train_brush._Watch, "take", taken)
    code, err = run(capsys, "--steps", "5")
    assert code == 0
    assert "resuming from step 2" in err
    assert brush_facts("coffee.brush")["steps"] == "5"


@pytest.mark.slow
def test_a_checkpoint_of_another_style_or_network_is_refused(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    test_an_interrupted_training_saves_the_brush_and_resumes(capsys, monkeypatch)
    Path("coffee.brush.checkpoint").write_bytes(b"damaged")
    Path("coffee.brush").unlink()
    refused(capsys, "checkpoint 'coffee.brush.checkpoint' is damaged or from another --network; use --new")
    assert Path("coffee.brush.checkpoint").exists()
    code, _ = run(capsys, "--new", "")
    assert code == 0


@pytest.mark.slow
def test_a_full_disk_does_not_stop_the_training(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("impasto.training.brush.write_checkpoint", full)
    code, err = run(capsys)
    assert code == 0
    assert "No space left on device); training continues" in err
    assert Path("coffee.brush").exists()


@pytest.mark.slow
def test_a_training_starts_from_a_brush(capsys: Capture) -> None:
    network = Johnson(Layout(4, blocks=1, ends=3)).initialize(torch.Generator().manual_seed(1))
    save_brush("start.brush", network, {"name": "start"})
    code, _ = run(capsys, "--start", "start.brush", "--learning-rate", "1e-6")
    assert code == 0
    trained = load_brush("coffee.brush")
    assert trained.layout == network.layout
    torch.testing.assert_close(trained.out.convolution.weight, network.out.convolution.weight, atol=1e-3, rtol=0)


@pytest.mark.slow
def test_patience_stops_a_training_that_no_longer_improves(capsys: Capture) -> None:
    code, err = run(capsys, "--steps", "500", "--patience", "0.0001", "--learning-rate", "1e-9")
    assert code == 0
    assert "stopped early at step" in err


# ---------------------------------------------------------------------------------------------------- photos


def test_photos_are_found_in_subfolders_and_reduced() -> None:
    Path("photos/more").mkdir()
    Image.fromarray(np.zeros((700, 1400, 3), np.uint8)).save("photos/more/large.jpg")
    found = [each for each in photos_in(Path("photos")) if isinstance(each, torch.Tensor)]
    assert sorted(min(each.shape[1:]) for each in found) == [128, 128, 128, 512]


def test_only_so_many_photos_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "MOST_PHOTOS", 2)
    assert len(list(photos_in(Path("photos"), 1))) == 2


@pytest.mark.slow
def test_built_in_photos_are_varied_and_the_same_for_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "_SCENES", 3)
    found, again, other = built_in_photos(1), built_in_photos(1), built_in_photos(2)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    assert not torch.equal(found[-1], other[-1])
    assert all(float(each.float().std()) > 20 for each in found)

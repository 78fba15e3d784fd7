"""``impasto fast-neural-style`` and ``impasto fast-style-transfer``: the flags of the original programs."""

from pathlib import Path

import pytest
import skimage.data

from impasto import images
from impasto.cli import main
from impasto.networks import brush_files
from impasto.networks.brush_files import save_brush
from impasto.networks.johnson import Johnson, Layout

Capture = pytest.CaptureFixture[str]
EVAL = ("fast-neural-style", "eval", "--cuda", "0", "--content-image", "in/a.png", "--model", "mine.brush")
EVALUATE = ("fast-style-transfer", "--checkpoint", "mine.brush", "--device", "/cpu:0")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_brush(tmp_path / "mine.brush", Johnson(Layout(4, blocks=1, ends=5)), {})
    (tmp_path / "in").mkdir()
    photo = images.read(skimage.data.astronaut()[:384:6, 32:398:6])  # 64x61
    for name in ("a.png", "b.jpg"):
        images.write(tmp_path / "in" / name, photo)
    monkeypatch.setattr(brush_files, "_FOLDER", tmp_path / "included")
    monkeypatch.chdir(tmp_path)


def refused(capsys: Capture, *words: str) -> str:
    before = sorted(Path().rglob("*"))
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert sorted(Path().rglob("*")) == before
    return str(err)


@pytest.mark.parametrize(
    ("scale", "size"), [((), (64, 61)), (("--content-scale", "2"), (32, 30)), (("--content-scale=0.5",), (128, 122))]
)
def test_eval_saves_a_picture_of_the_size_that_the_scale_gives(
    capsys: Capture, scale: tuple[str, ...], size: tuple[int, int]
) -> None:
    assert main((*EVAL, "--output-image", "out.jpg", *scale)) == 0
    assert capsys.readouterr().out == f"out.jpg: {size[1]}x{size[0]} pixels\n"
    assert images.read("out.jpg").size == size


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*EVAL,), "--output-image"),
        ((*EVAL, "--output-image", "in/a.png"), "would overwrite an input"),
        ((*EVAL, "--output-image", "out.png", "--content-scale", "0"), "--content-scale is 0.0; it must be"),
        ((*EVAL, "--output-image", "out.png", "--export_onnx", "f.onnx"), "impasto export onnx f.onnx --brush mine.brush"),
        ((*EVAL[:-1], "in/b.jpg", "--output-image", "out.png"), "not a network for one style"),
        (
            ("fast-neural-style", "train", "--dataset", "in", "--epochs", "2"),
            "impasto train brush STYLE_IMAGE --photos DATASET",
        ),
        ((*EVALUATE, "--in-path", "in", "--out-path", "in"), "would overwrite an input"),
        ((*EVALUATE, "--in-path", "gone.jpg", "--out-path", "out.png"), "there is no file 'gone.jpg'"),
        ((*EVALUATE[:3], "--in-path", "in", "--out-path", "out", "--device", "/tpu:0"), "--device '/tpu:0' is not known"),
        (("fast-style-transfer", "--checkpoint", "in", "--in-path", "in", "--out-path", "out"), "brush 'in' is a folder"),
    ],
)
def test_invalid_input_is_one_sentence(capsys: Capture, words: tuple[str, ...], message: str) -> None:
    assert message in refused(capsys, *words)


def test_a_photo_that_needs_too_much_memory_names_an_option_of_the_command(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("impasto.recipes.brush.available_memory", lambda device: 2**26 - 2**23)
    assert "use a larger --content-scale" in refused(capsys, *EVAL, "--output-image", "out.png", "--content-scale", "0.25")


def test_evaluate_paints_a_folder_and_keeps_the_names_of_the_photos(capsys: Capture) -> None:
    assert main((*EVALUATE, "--in-path", "in", "--out-path", "out", "--batch-size", "2", "--allow-different-dimensions")) == 0
    assert sorted(each.name for each in Path("out").iterdir()) == ["a.png", "b.jpg"]
    assert images.read("out/b.jpg").size == (64, 61)


def test_evaluate_paints_one_photo_to_a_file_or_to_a_folder(capsys: Capture) -> None:
    Path("out").mkdir()
    assert main((*EVALUATE, "--in-path", "in/b.jpg", "--out-path", "out")) == 0
    assert main((*EVALUATE, "--in-path", "in/b.jpg", "--out-path", "x.png")) == 0
    assert Path("out/b.jpg").exists()
    assert Path("x.png").exists()


def test_no_result_of_a_folder_replaces_another_one() -> None:
    images.write("in/c.png", images.read("in/a.png"))
    Path("in/b.jpg").rename("in/c.jfif")
    assert main((*EVALUATE, "--in-path", "in", "--out-path", "out")) == 0
    assert sorted(each.name for each in Path("out").iterdir()) == ["a.png", "c-2.png", "c.png"]

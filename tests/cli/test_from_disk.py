"""``impasto instant`` and ``impasto apply`` with pictures that do not fit into memory."""

import io
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import skimage.data
import torch

from impasto import images
from impasto.cli import from_disk, main
from impasto.images import large
from impasto.images.reading import ReadingPlan, reading_plan
from impasto.networks.brush_files import save_brush
from impasto.networks.johnson import Johnson, Layout
from impasto.recipes import brush, instant_painter

Capture = pytest.CaptureFixture[str]
EXACT = ("--threads", "1", "--precision", "fp32", "--engine", "torch")
LIMITED = ("--max-memory", "100", *EXACT)
"""A limit that the parts keep to. As reading is said to take a gigabyte per pixel, the photo does not fit."""
needs_libvips = pytest.mark.skipif(find_spec("pyvips") is None, reason="needs impasto[big]")


def large_plan(photo: str, *, longest_px: int) -> ReadingPlan | None:
    """Plan as if reading took a gigabyte per pixel."""
    found = reading_plan(photo, longest_px=longest_px)
    return found and replace(found, peak_bytes=2**30 * math.prod(found.size))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a photo, a picture, a mask and a brush; small pictures are large ones."""
    images.write(tmp_path / "photo.tif", images.read(skimage.data.astronaut()[:96, 50:146]))
    images.write(tmp_path / "picture.jpg", images.read(skimage.data.coffee()[::6, ::6]))
    images.write(tmp_path / "mask.png", torch.ones(1, 3, 96, 96))
    network = Johnson(Layout(4, blocks=1, ends=5)).initialize(torch.Generator().manual_seed(0))
    save_brush(tmp_path / "mine.brush", network, {"name": "mine"})
    numbers = {"LARGEST_WHOLE_PX": 2_000, "TILE_PX": 64, "HALO_PX": 32, "_PART_PX": 32, "_PARTS": 2, "_SMALLEST_EDGE_PX": 48}
    for name, value in numbers.items():
        monkeypatch.setattr(instant_painter, name, value)
    monkeypatch.setattr(brush, "_WHOLE_PX", 4_000)
    monkeypatch.setattr(brush, "TILE_PX", 48)
    monkeypatch.setattr(from_disk, "reading_plan", large_plan)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys: Capture, *words: str) -> str:
    """Run a command that must fail with exit code 2 and one sentence, and write no file; return the sentence."""
    before = sorted(Path().rglob("*"))
    assert main([*words, *LIMITED]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert sorted(Path().rglob("*")) == before
    return str(err)


@pytest.mark.slow
@needs_libvips
def test_instant_says_what_it_does_and_paints_as_in_memory(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("instant", "photo.tif", "picture.jpg", "--size", "0", "-o")
    assert main([*words, "disk.tif", "--json", "--record", "disk.json", *LIMITED]) == 0
    out, err = capsys.readouterr()
    assert "painting in memory needs 921" in err
    assert "GiB, but --max-memory allows 100 GiB; painting 96x96 pixels from disk, with " in err
    assert "in 'disk.tif.impasto-parts'" in err
    record = json.loads(out)
    assert record.pop("output") == "disk.tif"
    assert record == json.loads(Path("disk.json").read_text()) == images.read_record("disk.tif")
    monkeypatch.undo()
    assert not Path("disk.tif.impasto-parts").exists()


@pytest.mark.slow
@needs_libvips
def test_an_interrupted_run_is_continued_by_the_same_command(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["instant", "photo.tif", "picture.jpg", "--size", "0", *LIMITED, "-o"]
    assert main([*words, "whole.tif"]) == 0
    real = from_disk.paint_from_disk

    def interrupted(*given: Any, **others: Any) -> Iterator[Any]:
        for step in real(*given, **others):
            yield step
            if step.rows == 64:
                raise KeyboardInterrupt

    monkeypatch.setattr(from_disk, "paint_from_disk", interrupted)
    capsys.readouterr()
    assert main([*words, "out.tif"]) == 130
    assert "interrupted after 64 of 96 rows; they are kept in 'out.tif.impasto-parts'" in capsys.readouterr().err
    assert not Path("out.tif").exists()
    monkeypatch.setattr(from_disk, "paint_from_disk", real)
    assert main([*words, "out.tif"]) == 0
    assert "continuing at row 64 of 96" in capsys.readouterr().err
    assert torch.equal(images.read("out.tif").image, images.read("whole.tif").image)
    assert not Path("out.tif.impasto-parts").exists()


def _interrupted(*_: Any, **__: Any) -> Iterator[Any]:
    raise KeyboardInterrupt
    yield


@needs_libvips
def test_an_interruption_while_the_photo_is_read_leaves_nothing(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(from_disk, "paint_from_disk", _interrupted)
    assert main(["instant", "photo.tif", "picture.jpg", *LIMITED, "-o", "out.tif"]) == 130
    assert "nothing is kept" in capsys.readouterr().err
    assert not list(Path().glob("out.tif*"))


@needs_libvips
def test_apply_paints_from_disk_into_a_folder(capsys: Capture) -> None:
    assert main(["apply", "mine.brush", "photo.tif", "-o", "painted", *LIMITED]) == 0
    assert "painting 96x96 pixels from disk" in capsys.readouterr().err
    assert images.read("painted/photo-mine.tif").size == (96, 96)
    assert [each.name for each in Path("painted").iterdir()] == ["photo-mine.tif"]


@needs_libvips
def test_apply_overwrites_only_its_own_results(capsys: Capture) -> None:
    Path("other").mkdir()
    images.write("other/photo.tif", images.read(skimage.data.astronaut()[200:296, 50:146]))
    images.write("photo-mine.tif", torch.zeros(1, 3, 8, 8))
    before = Path("photo-mine.tif").read_bytes()
    for _ in range(2):  # the second run replaces the results of the first one
        assert main(["apply", "mine.brush", "photo.tif", "other/photo.tif", *LIMITED]) == 0
        assert Path("photo-mine.tif").read_bytes() == before
        assert sorted(each.name for each in Path().glob("photo-mine*")) == [
            "photo-mine-2.tif",
            "photo-mine-3.tif",
            "photo-mine.tif",
        ]
    names = [str(images.read_record(f"photo-mine-{number}.tif")["content"]["sha256"]) for number in (2, 3)]  # type: ignore[index]
    assert names == [images.read(name).sha256 for name in ("photo.tif", "other/photo.tif")]


@needs_libvips
def test_apply_reports_a_folder_that_cannot_be_created(capsys: Capture) -> None:
    Path("file").touch()
    assert "folder 'file/painted' cannot be created" in refused(
        capsys, "apply", "mine.brush", "photo.tif", "-o", "file/painted"
    )


@needs_libvips
def test_a_result_with_the_name_of_its_photo_becomes_a_tiff(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("photos").mkdir()
    images.write("photos/photo.jpg", images.read("photo.tif"))
    monkeypatch.setattr("impasto.cli.photos.reason_for_brush", lambda *_: "large")
    assert main(["fast-style-transfer", "--checkpoint", "mine.brush", "--in-path", "photos", "--out-path", "painted"]) == 0
    assert [each.name for each in Path("painted").iterdir()] == ["photo.tif"]


@needs_libvips
def test_an_interruption_of_apply_is_one_sentence(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(from_disk, "paint_from_disk", _interrupted)
    assert main(["apply", "mine.brush", "photo.tif", "-o", "out.tif", *LIMITED]) == 130
    assert capsys.readouterr().err.count("interrupted") == 1


@needs_libvips
def test_memory_that_runs_out_is_one_sentence(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> Iterator[Any]:
        raise MemoryError
        yield

    monkeypatch.setattr(from_disk, "paint_from_disk", failing)
    for words in (("instant", "photo.tif", "picture.jpg"), ("apply", "mine.brush", "photo.tif")):
        assert main([*words, "-o", "out.tif", *LIMITED]) == 2
        assert "not enough memory for --size" in capsys.readouterr().err
    assert not list(Path().glob("out.tif*"))


@pytest.mark.slow
@needs_libvips
def test_a_style_comes_through_a_pipe_and_its_notes_are_printed(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    with PIL.Image.open("picture.jpg") as picture:
        picture.save("turned.jpg", exif=exif)
    assert main(["instant", "photo.tif", "turned.jpg", "-o", "out.tif", *LIMITED]) == 0
    assert "turned.jpg: turned upright" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("turned.jpg").read_bytes())))
    assert main(["instant", "photo.tif", "-", "-o", "piped.tif", *LIMITED]) == 0
    assert torch.equal(images.read("piped.tif").image, images.read("out.tif").image)


@needs_libvips
def test_what_cannot_be_painted_from_disk_is_one_sentence(capsys: Capture) -> None:
    begin = ("instant", "photo.tif", "picture.jpg", "--size", "0")
    assert "the result must be a TIFF; give an --output that ends in .tif" in refused(capsys, *begin, "-o", "out.png")
    assert "a mask is not supported" in refused(capsys, *begin, "-o", "out.tif", "--content-mask", "mask.png")
    assert "--color keep is not supported" in refused(capsys, *begin, "-o", "out.tif", "--color", "keep")
    assert "--color-amount has no effect" in refused(capsys, *begin, "-o", "out.tif", "--color-amount", "0.5")
    assert "--report is not supported" in refused(capsys, *begin, "-o", "out.tif", "--report")
    assert "--grain is not supported" in refused(capsys, "apply", "mine.brush", "photo.tif", "--grain", "1", "-o", "a.tif")


@needs_libvips
def test_a_transparent_photo_is_refused_and_leaves_nothing(capsys: Capture) -> None:
    images.write("clear.tif", images.read("photo.tif").image, alpha=torch.zeros(1, 1, 96, 96))
    assert main(["instant", "clear.tif", "picture.jpg", "-o", "out.tif", *LIMITED]) == 2
    assert "impasto: 'clear.tif' has transparent pixels" in capsys.readouterr().err
    assert not list(Path().glob("out.tif*"))


def test_without_libvips_the_sentence_names_the_extra(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(large.importlib, "import_module", missing)
    sentence = refused(capsys, "instant", "photo.tif", "picture.jpg", "-o", "out.tif")
    assert "pip install 'impasto[big]' to paint it from disk, or use a smaller --size" in sentence


@pytest.mark.slow
def test_pictures_that_fit_are_painted_in_memory(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(from_disk, "reading_plan", reading_plan)
    assert main(["instant", "photo.tif", "picture.jpg", "-o", "out.png", *LIMITED]) == 0
    assert "from disk" not in capsys.readouterr().err

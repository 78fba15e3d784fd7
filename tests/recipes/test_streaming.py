"""Painting from disk: results, parts that a later run continues, and what is refused."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import skimage.data
import torch

from impasto import images
from impasto.errors import ImageFileError, ResourceError
from impasto.images import MAX_PIXELS, tiled_tiff
from impasto.images.reading import ReadingPlan
from impasto.options import InstantOptions, Run
from impasto.options.brush import BrushOptions
from impasto.recipes import brush, brush_streaming, instant_painter, instant_streaming, streaming
from impasto.recipes.brush import BrushPainter
from impasto.recipes.instant import painted_pastiche
from impasto.recipes.instant_painter import InstantPainter
from impasto.recipes.masking import MaskSources
from impasto.recipes.streaming import Job, Parts, Progress, folder_of, paint_from_disk, reason_to_stream
from impasto.runtime.memory import used_memory
from impasto.runtime.tiling import Place
from impasto.styles.named import NamedStyle

pytest.importorskip("pyvips")
from impasto.images.large import open_large

EXACT = Run(device="cpu", precision="fp32")
PAINTER = InstantPainter(EXACT, "torch")
COFFEE = images.read(skimage.data.coffee()[:160, :200])
OTHER = images.read(skimage.data.chelsea()[:150, :180])


@pytest.fixture(autouse=True)
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A photo, and limits that make it a large one: it is painted whole at two sizes, and in tiles at the last two."""
    numbers = {"LARGEST_WHOLE_PX": 4_000, "TILE_PX": 64, "HALO_PX": 32, "_PART_PX": 32, "_PARTS": 4, "_SMALLEST_EDGE_PX": 40}
    for name, value in numbers.items():
        monkeypatch.setattr(instant_painter, name, value)
    monkeypatch.setattr(brush, "_WHOLE_PX", 8_000)
    monkeypatch.setattr(brush, "TILE_PX", 48)
    images.write(tmp_path / "photo.png", images.read(skimage.data.astronaut()[100:260, 50:250]))
    return tmp_path / "photo.png"


def planned(photo: Path, styles: tuple[images.Picture | NamedStyle, ...], options: InstantOptions, bits: Any = 8) -> Job:
    return instant_streaming.job_of(open_large(photo), styles, PAINTER, options, photo.with_name("out.tif"), bits)


def steps(job: Job, styles: tuple[images.Picture | NamedStyle, ...], options: InstantOptions) -> Iterator[Progress]:
    code = instant_streaming.code_of(styles, PAINTER, options)
    paint = instant_streaming.painting_of(PAINTER, code, options)
    return paint_from_disk(job, paint, Parts(job))


def from_disk(photo: Path, *styles: images.Picture, bits: Any = 8, **given: Any) -> torch.Tensor:
    options = InstantOptions(**{"size": 0} | given)
    job = planned(photo, styles, options, bits)
    for _ in steps(job, styles, options):
        pass
    assert sorted(each.name for each in photo.parent.iterdir()) == ["out.tif", "photo.png"]
    return images.read(job.output).image


def in_memory(photo: Path, *styles: images.Picture, **given: Any) -> torch.Tensor:
    options = InstantOptions(**{"size": 0} | given)
    return painted_pastiche(PAINTER, images.read(photo), styles, (), options).image


@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    [{}, {"fast": True, "strength": 0.5}, {"stroke": 3.0}, {"size": 150}, {"size": 60}],
    ids=lambda given: " ".join(given) or "defaults",
)
def test_painting_from_disk_gives_the_picture_that_is_painted_in_memory(photo: Path, given: dict[str, Any]) -> None:
    found, expected = from_disk(photo, COFFEE, **given), in_memory(photo, COFFEE, **given)
    assert found.shape == expected.shape
    most = 2.01 / 255 if given.get("stroke") else 1.01 / 255  # rounded before and after it is enlarged
    assert float((found - expected).abs().max()) <= most
    assert float((in_memory(photo, OTHER, **given) - expected).abs().mean()) > 0.02  # the comparison can fail


@pytest.mark.slow
def test_several_styles_and_16_bits(photo: Path) -> None:
    given = {"style_weights": (0.3, 0.7)}
    found = from_disk(photo, COFFEE, OTHER, bits=16, **given)
    assert float((found - in_memory(photo, COFFEE, OTHER, **given)).abs().max()) <= 1 / 65535


def test_the_time_left_falls_and_the_share_rises(photo: Path) -> None:
    options = InstantOptions(size=0)
    job = planned(photo, (COFFEE,), options)
    found = list(steps(job, (COFFEE,), options))
    assert {each.phase for each in found} == {"reading", "painting", "writing"}
    painting = [each for each in found if each.phase == "painting"]
    assert painting[-1].share == pytest.approx(1)
    assert painting[-1].rows == job.size[0]
    assert all(one.share < other.share for one, other in pairwise(painting))
    assert [math.isfinite(each.seconds_left) for each in painting] == sorted(
        math.isfinite(each.seconds_left) for each in painting
    )
    assert math.isfinite(painting[-1].seconds_left)
    assert found[-1].seconds_left == 0


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "count"), [(0, 2), (64, 1), (160, 1)])
def test_an_interrupted_painting_continues_with_the_same_result(
    photo: Path, rows: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    styles, options = (COFFEE, OTHER)[:count], InstantOptions(size=0)
    expected = from_disk(photo, *styles)
    (photo.parent / "out.tif").unlink()
    job = planned(photo, styles, options)
    for step in steps(job, styles, options):
        if step.phase == "painting" and json.loads((folder_of(job.output) / "state.json").read_text()).get("rows") == rows:
            break
    assert not job.output.exists()
    parts = Parts(job)
    assert parts.is_resumed
    assert parts.rows == rows
    painted: list[Place] = []
    monkeypatch.setattr(instant_painter, "painted_between", _counting(painted))
    assert torch.equal(from_disk(photo, *styles), expected)
    assert min((place.top for place in painted), default=job.size[0]) == rows


def _counting(found: list[Any]) -> Any:
    real = instant_painter.painted_between

    def counting(*args: Any) -> Iterator[Any]:
        for place in real(*args):
            found.append(place)
            yield place

    return counting


@pytest.mark.slow
def test_an_interruption_at_the_smaller_sizes_keeps_the_photo(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, options = from_disk(photo, COFFEE), InstantOptions(size=0)
    (photo.parent / "out.tif").unlink()
    job = planned(photo, (COFFEE,), options)
    next(step for step in steps(job, (COFFEE,), options) if step.phase == "painting")
    assert [each.name for each in folder_of(job.output).iterdir() if each.name == "photo"]
    monkeypatch.setattr(images.large.LargePicture, "strips", None)  # type: ignore[attr-defined]
    assert torch.equal(from_disk(photo, COFFEE), expected)


@pytest.mark.slow
def test_parts_of_another_run_are_not_used(photo: Path) -> None:
    options = InstantOptions(size=0)
    job = planned(photo, (COFFEE,), options)
    for step in steps(job, (COFFEE,), options):
        if step.rows:
            break
    other = planned(photo, (OTHER,), options)
    assert not Parts(other).is_resumed
    assert [each.name for each in folder_of(job.output).iterdir()] == ["state.json"]
    run = {**job.record["run"], "threads": 3, "max_memory": 5.0}
    Parts(job).save("photo")
    (folder_of(job.output) / "photo").touch()
    assert not Parts(replace(job, bits=16)).is_resumed
    Parts(job).save("photo")
    (folder_of(job.output) / "photo").touch()
    assert Parts(replace(job, record={**job.record, "run": run})).is_resumed  # these do not change the picture


def test_a_folder_that_is_not_ours_is_left_alone(photo: Path) -> None:
    folder = folder_of(photo.with_name("out.tif"))
    folder.mkdir()
    (folder / "letter.txt").write_text("keep")
    job = planned(photo, (COFFEE,), InstantOptions(size=0))
    with pytest.raises(ImageFileError, match="is not a folder of impasto"):
        Parts(job)
    assert (folder / "letter.txt").read_text() == "keep"


@pytest.mark.parametrize("state", ["{", "[]", "null", "{}"])
def test_a_damaged_state_starts_again(photo: Path, state: str) -> None:
    job = planned(photo, (COFFEE,), InstantOptions(size=0))
    Parts(job).save("photo")
    (folder_of(job.output) / "photo").touch()
    (folder_of(job.output) / "state.json").write_text(state)
    assert not Parts(job).is_resumed


def test_a_missing_part_starts_again(photo: Path) -> None:
    job = planned(photo, (COFFEE,), InstantOptions(size=0))
    Parts(job).save("photo", "painted", rows=64)
    (folder_of(job.output) / "painted").touch()
    parts = Parts(job)
    assert (parts.is_resumed, parts.rows) == (False, 0)
    assert [each.name for each in folder_of(job.output).iterdir()] == ["state.json"]


@pytest.mark.parametrize("given", [{}, {"strength": 0.6}, {"stroke": 2.0}, {"size": 150}])
def test_a_brush_paints_from_disk_as_in_memory(photo: Path, given: dict[str, Any]) -> None:
    painter, options = BrushPainter(_brush(photo), EXACT, "torch"), BrushOptions(**given)
    job = brush_streaming.job_of(open_large(photo), painter, options, photo.with_name("out.tif"), 8)
    for _ in paint_from_disk(job, brush_streaming.painting_of(painter, options), Parts(job)):
        pass
    found, expected = images.read(job.output).image, brush.applied(painter, images.read(photo), options).image
    most = 1.01 / 255 if given in ({}, {"strength": 0.6}) else 2.01 / 255
    assert float((found - expected).abs().max()) <= most
    assert float((found - images.resize(images.read(photo).image, job.size)).abs().mean()) > 0.01
    assert images.read_record(job.output) == json.loads(json.dumps(job.record))


def test_a_picture_is_not_continued_with_another_engine(photo: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = _brush(photo)

    def parts(engine: str) -> Parts:
        painter = BrushPainter(path, EXACT, engine)
        job = brush_streaming.job_of(open_large(photo), painter, BrushOptions(), photo.with_name("out.tif"), 8)
        assert job.record["engine"] == ("torch" if engine == "auto" else engine)
        return Parts(job)

    first = parts("auto")
    first.save_rows(first.raster("painted", (160, 200), "uint8"), 48)
    assert parts("torch").rows == 48, "auto begins with PyTorch"
    assert parts("onnxruntime").rows == 0


def test_only_the_folder_contains_unfinished_files(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    painter, options = BrushPainter(_brush(photo), EXACT, "torch"), BrushOptions()
    (photo.parent / "elsewhere").mkdir()
    (photo.parent / "out.tif").symlink_to(photo.parent / "elsewhere" / "result.tif")
    job = brush_streaming.job_of(open_large(photo), painter, options, photo.with_name("out.tif"), 8)
    found, real = [], tiled_tiff._deflated

    def deflated(tile: Any) -> bytes:
        found.append([each.relative_to(photo.parent).as_posix() for each in photo.parent.rglob(".impasto-*.part")])
        return real(tile)

    monkeypatch.setattr(tiled_tiff, "_deflated", deflated)
    for _ in paint_from_disk(job, brush_streaming.painting_of(painter, options), Parts(job)):
        pass
    assert {len(each) for each in found} == {1}
    assert found[0][0].startswith("elsewhere/result.tif.impasto-parts/.impasto-")
    assert [each.name for each in (photo.parent / "elsewhere").iterdir()] == ["result.tif"]
    Parts(job).raster(".impasto-0.part", (1, 1), "uint8")  # a run was killed while it wrote the result
    Parts(job)
    assert [each.name for each in folder_of(job.output).iterdir()] == ["state.json"]


def _brush(photo: Path) -> Path:
    from impasto.networks.brush_files import save_brush
    from impasto.networks.johnson import Johnson, Layout

    path = photo.with_name("mine.brush")
    save_brush(path, Johnson(Layout(4, blocks=1)).initialize(torch.Generator().manual_seed(0)), {"name": "mine"})
    return path


# ---------------------------------------------------------------------------------------------------- before


def reading(height: int, width: int, peak_bytes: int = 0) -> ReadingPlan:
    return ReadingPlan((height, width), (height, width), peak_bytes)


def test_a_photo_is_painted_from_disk_if_memory_does_not_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    photo, limited = reading(100, 100), Run(max_memory=100)
    assert reason_to_stream("a", photo, 10**6, 10**6, limited) == ""
    needed = reason_to_stream("a", photo, 2**40, 10**6, limited)
    assert needed.startswith("painting in memory needs 102")
    assert needed.endswith("GiB, but --max-memory allows 100 GiB")
    assert reason_to_stream("a", reading(100, 100, 2**40), 10**6, 10**6, limited) == needed
    assert "more than the 300" in reason_to_stream("a", reading(MAX_PIXELS, 2), 0, 2**40, limited)
    monkeypatch.setattr("impasto.recipes.checks.available_memory", lambda _: 2**30)
    assert "1.0 GiB are free" in reason_to_stream("a", reading(100, 100, 2**31), 0, 10**6, Run())


def test_a_photo_is_painted_in_memory_if_painting_from_disk_takes_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ResourceError, match=r"^painting 'a' needs 102.* GiB, but --max-memory allows 100 GiB; increase"):
        reason_to_stream("a", reading(100, 100), 2**40, 2**41, Run(max_memory=100))
    monkeypatch.setattr("impasto.recipes.checks.available_memory", lambda _: 2**30)
    assert reason_to_stream("a", reading(100, 100), 2**40, 2**41, Run()) == ""


def test_small_photos_need_as_much_memory_from_disk_as_in_memory(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    painter = BrushPainter(_brush(photo), EXACT, "torch")
    used = used_memory(torch.device("cpu"))
    for side in (64, 512, 1000, 1400):
        found = reading(side, side, 26 * side * side)
        for in_memory, from_disk in (
            instant_streaming.memory_of(found, InstantOptions(size=0)),
            brush_streaming.memory_of(found, painter, BrushOptions()),
        ):
            assert from_disk - used == pytest.approx(in_memory, rel=0.5)
    large = (20_000, 20_000)
    statistics = brush.predicted_memory(painter.network, brush.statistics_size(large), BrushOptions())
    assert brush_streaming.predicted_working_bytes(large, painter, BrushOptions()) >= statistics
    reduced = ReadingPlan((20_000, 20_000), (1000, 1000), 0)
    for in_memory, _ in (
        instant_streaming.memory_of(reduced, InstantOptions(size=1000)),
        brush_streaming.memory_of(reduced, painter, BrushOptions(size=1000)),
    ):
        assert in_memory < 2**31


def test_too_little_memory_and_disk_are_one_sentence(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = planned(photo, (COFFEE,), InstantOptions(size=0))
    parts = Parts(job)
    streaming.check_room(job, parts, 2**20, Run(max_memory=100))
    with pytest.raises(ResourceError, match=r"needs about 200\.0 GiB of memory, but --max-memory allows 100 GiB; increase"):
        streaming.check_room(job, parts, 200 * 2**30, Run(max_memory=100))
    large = replace(job, size=(100_000, 10_000_000))
    with pytest.raises(
        ResourceError, match=r"GiB in '.*', but only .* GiB are free; free some space, or choose another folder"
    ):
        streaming.check_room(large, parts, 2**20, Run(max_memory=100))


def test_space_that_files_do_not_take_yet_is_not_counted(photo: Path) -> None:
    parts = Parts(planned(photo, (COFFEE,), InstantOptions(size=0)))
    before = parts.used_bytes
    raster = parts.raster("painted", (1000, 1000), "uint8")
    assert parts.used_bytes - before < 100_000
    raster.write(Place(0, 0, 1000, 1000), torch.rand(1, 3, 1000, 1000))
    raster.flush()
    assert parts.used_bytes - before > 2_000_000


def test_what_needs_the_whole_picture_is_named() -> None:
    def found(masks: MaskSources | None = None, **given: Any) -> str:
        return instant_streaming.unsupported(InstantOptions(**given), masks or MaskSources())

    assert found() == ""
    assert found(hq=True) == "--hq"
    assert found(refine=True) == "--refine"
    assert found(color="keep") == "--color keep"
    assert found(strength=0.0) == "--strength 0"
    assert found(MaskSources(content_mask="auto:sky")) == "a mask"
    assert brush_streaming.unsupported(BrushOptions()) == ""
    assert brush_streaming.unsupported(BrushOptions(grain=0.5)) == "--grain"
    assert brush_streaming.unsupported(BrushOptions(strength=0)) == "--strength 0"


def test_the_disk_space_is_that_of_the_parts_and_the_result(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = InstantOptions(size=0)
    job = planned(photo, (COFFEE,), options)
    most = 0
    for _ in steps(job, (COFFEE,), options):
        folder = folder_of(job.output)
        used = sum(each.stat().st_size for each in folder.iterdir()) if folder.exists() else 0
        most = max(most, used)
    assert 0.4 * job.disk_bytes < most <= job.disk_bytes

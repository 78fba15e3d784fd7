"""Pictures that are read and written in parts."""

import errno
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.errors import ResourceError
from impasto.images import resize
from impasto.runtime.rasters import (
    STRIP_ROWS,
    Depth,
    FileRaster,
    MemoryRaster,
    interpolated_part,
    painted_between,
    resized_into,
    resized_strips,
    resized_whole,
)
from impasto.runtime.tiling import Place, painted_in_tiles


def picture(height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(height))


@pytest.fixture
def stored(tmp_path: Path) -> FileRaster:
    return FileRaster(tmp_path / "pixels", (40, 30), "float32")


@pytest.mark.parametrize(("depth", "most"), [("float32", 0.0), ("uint16", 0.51 / 65535), ("uint8", 0.51 / 255)])
def test_a_file_returns_what_was_written_to_it(depth: Depth, most: float, tmp_path: Path) -> None:
    image, raster = picture(40, 30), FileRaster(tmp_path / "pixels", (40, 30), depth)
    for place in (Place(0, 0, 40, 30), Place(3, 5, 20, 7), Place(39, 29, 1, 1)):
        part = image[..., place.top : place.top + place.height, place.left : place.left + place.width]
        raster.write(place, part)
        found = raster.read(place)
        assert found.is_contiguous()
        torch.testing.assert_close(found, part, atol=most, rtol=0)
    again = FileRaster(tmp_path / "pixels", (40, 30), depth)  # for example after an interruption
    torch.testing.assert_close(again.read(Place(0, 0, 40, 30)), image, atol=most, rtol=0)
    assert (tmp_path / "pixels").stat().st_size == 40 * 30 * 3 * np.dtype(depth).itemsize


def test_values_outside_the_range_are_clipped_when_they_are_rounded(tmp_path: Path) -> None:
    raster = FileRaster(tmp_path / "pixels", (1, 2), "uint8")
    raster.write(Place(0, 0, 1, 2), torch.tensor([-0.5, 1.5]).expand(1, 3, 1, 2))
    assert raster.levels(Place(0, 0, 1, 2))[0].tolist() == [[0] * 3, [255] * 3]


def test_a_full_disk_is_one_sentence(stored: FileRaster, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(stored, "_stretches", full)
    with pytest.raises(ResourceError, match=r"cannot be written \(the disk is full\); free some space"):
        stored.write(Place(0, 0, 1, 1), torch.zeros(1, 3, 1, 1))


def test_a_file_that_lost_its_end_is_reported(stored: FileRaster) -> None:
    stored.path.write_bytes(b"short")
    with pytest.raises(ResourceError, match="is shorter than it was"):
        stored.read(Place(0, 0, 40, 30))


def test_a_deleted_file_is_gone(stored: FileRaster) -> None:
    stored.flush()
    stored.delete()
    assert not stored.path.exists()
    stored.delete()


@pytest.mark.parametrize("size", [(300, 20), (601, 41), (37, 9), (9, 5), (700, 50), (601, 20)])
def test_resizing_in_strips_equals_resizing_the_whole(size: tuple[int, int]) -> None:
    image = picture(601, 41)
    assert image.shape[-2] > 2 * STRIP_ROWS
    torch.testing.assert_close(resized_whole(MemoryRaster(image), size), resize(image, size), atol=2e-4, rtol=0)


def test_several_sizes_are_made_in_one_pass(stored: FileRaster) -> None:
    image = picture(80, 60)
    reads = []

    class Counting(MemoryRaster):
        def read(self, place: Place) -> Tensor:
            reads.append(place)
            return super().read(place)

    small = MemoryRaster(torch.empty(1, 3, 10, 7))
    resized_into(Counting(image), [stored, small])
    assert sum(place.height for place in reads) == 80
    torch.testing.assert_close(stored.read(Place(0, 0, 40, 30)), resize(image, (40, 30)), atol=2e-4, rtol=0)
    torch.testing.assert_close(small.image, resize(image, (10, 7)), atol=2e-4, rtol=0)


def test_strips_arrive_from_top_to_bottom_without_gaps() -> None:
    tops = [(top, rows.shape[-2]) for _, top, rows in resized_strips(MemoryRaster(picture(900, 8)), [(450, 4)])]
    assert len(tops) > 2
    assert [top for top, _ in tops] == [0, *np.cumsum([rows for _, rows in tops])[:-1]]
    assert sum(rows for _, rows in tops) == 450


def test_a_part_of_an_enlarged_picture_is_that_of_the_whole(stored: FileRaster) -> None:
    image = picture(40, 30)
    stored.write(Place(0, 0, 40, 30), image)
    whole = F.interpolate(image, size=(81, 60), mode="bilinear", align_corners=False)
    for place in (Place(0, 0, 81, 60), Place(17, 3, 30, 41), Place(80, 59, 1, 1)):
        expected = whole[..., place.top : place.top + place.height, place.left : place.left + place.width]
        for raster in (stored, MemoryRaster(image)):
            torch.testing.assert_close(interpolated_part(raster, place, (81, 60)), expected, atol=1e-6, rtol=0)


def test_tiles_between_two_pictures_equal_tiles_in_place(stored: FileRaster) -> None:
    def blurred(tile: Tensor, _: Place) -> Tensor:
        return F.avg_pool2d(F.pad(tile, (2, 2, 2, 2), mode="replicate"), 5, 1)

    image = picture(40, 30)
    expected = image.clone()
    rows = list(painted_in_tiles(expected, blurred, 16, 4))
    places = list(painted_between(MemoryRaster(image), stored, blurred, 16, 4))
    assert torch.equal(stored.read(Place(0, 0, 40, 30)), expected)
    assert sorted({place.top + place.height for place in places}) == rows
    assert sum(place.height * place.width for place in places) == 40 * 30


def test_finished_rows_of_tiles_are_not_painted_again(stored: FileRaster) -> None:
    places = list(painted_between(MemoryRaster(picture(40, 30)), stored, lambda tile, _: tile, 16, 4, first_row=16))
    assert {place.top for place in places} == {16, 32}

"""Tiling: spans, halos, and pictures without seams."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from impasto.runtime.tiling import Place, Span, painted_in_tiles, spans, spread_parts

lengths = st.integers(1, 400)
tiles = st.integers(1, 120)


@given(lengths, tiles, st.integers(0, 60))
def test_spans_cover_a_length_once_and_in_order(length: int, tile: int, halo: int) -> None:
    found = list(spans(length, tile, halo))
    assert [row for span in found for row in range(span.start, span.end)] == list(range(length))
    assert all(1 <= span.end - span.start <= tile for span in found)


@given(lengths, tiles, st.integers(0, 60))
def test_a_halo_has_the_requested_width_or_ends_at_the_picture(length: int, tile: int, halo: int) -> None:
    for span in spans(length, tile, halo):
        assert span.first in (0, span.start - halo)
        assert span.last in (length, span.end + halo)
        assert 0 <= span.first <= span.start < span.end <= span.last <= length


def test_a_length_of_one_tile_is_one_span() -> None:
    assert list(spans(16, 16, 4)) == [Span(0, 0, 16, 16)]


@given(st.integers(8, 300), st.integers(8, 300), st.integers(1, 8), st.integers(1, 40))
def test_parts_are_inside_the_picture_and_about_as_many_as_requested(height: int, width: int, part: int, count: int) -> None:
    found = list(spread_parts((height, width), part, count))
    for rows, columns in found:
        assert rows.stop - rows.start == columns.stop - columns.start == part
        assert min(rows.start, columns.start) >= 0
        assert rows.stop <= height
        assert columns.stop <= width
    assert len(found) <= 1.5 * count
    assert len(found) >= 0.5 * count


@given(st.integers(20, 300), st.integers(20, 300))
def test_parts_occur_in_every_quarter_of_the_picture(height: int, width: int) -> None:
    found = list(spread_parts((height, width), 4, 40 * max(height, width) // min(height, width)))
    corners = {(rows.start > (height - 4) / 2, columns.start > (width - 4) / 2) for rows, columns in found}
    assert len(corners) == 4


def picture(height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(height * width))


def blurred(image: Tensor, radius: int) -> Tensor:
    """Average over a window; what lies beyond the edge does not count."""
    return functional.avg_pool2d(image, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)


@settings(max_examples=15)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(4, 40), st.integers(0, 4))
def test_the_identity_does_not_change_a_picture(height: int, width: int, tile: int, halo: int) -> None:
    image = picture(height, width)
    expected = image.clone()
    done = list(painted_in_tiles(image, lambda seen, _: seen, tile, halo))
    assert torch.equal(image, expected)
    assert done == [span.end for span in spans(height, tile, halo)]


@settings(max_examples=15)
@given(st.integers(8, 70), st.integers(8, 70), st.integers(4, 40), st.integers(1, 4), st.integers(0, 2))
def test_an_operation_within_the_halo_gives_the_same_result_in_tiles(
    height: int, width: int, tile: int, radius: int, more: int
) -> None:
    halo = min(radius + more, tile)
    image = picture(height, width)
    expected = blurred(image, radius)
    for _ in painted_in_tiles(image, lambda seen, _: blurred(seen, radius), tile, halo):
        pass
    torch.testing.assert_close(image, expected, atol=1e-6, rtol=0)


def test_a_halo_that_is_too_narrow_leaves_seams() -> None:
    """Shows that the previous test can detect seams."""
    image = picture(40, 40)
    expected = blurred(image, 4)
    for _ in painted_in_tiles(image, lambda seen, _: blurred(seen, 4), 16, 2):
        pass
    assert float((image - expected).abs().max()) > 0.01


def test_finished_rows_are_final_and_later_rows_unchanged() -> None:
    image = picture(40, 24)
    before = image.clone()
    for done in painted_in_tiles(image, lambda seen, _: 1 - seen, 16, 8):
        assert torch.equal(image[..., :done, :], 1 - before[..., :done, :])
        assert torch.equal(image[..., done:, :], before[..., done:, :])


def test_no_tile_is_larger_than_a_side_and_two_halos() -> None:
    seen: list[tuple[int, int]] = []

    def paint(part: Tensor, _: Place) -> Tensor:
        seen.append((part.shape[-2], part.shape[-1]))
        return part

    for _ in painted_in_tiles(picture(70, 50), paint, 16, 8):
        pass
    assert len(seen) == 5 * 4
    assert max(max(size) for size in seen) == 32


@settings(max_examples=15)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(4, 40), st.integers(0, 4))
def test_a_tile_is_the_unpainted_picture_at_its_location(height: int, width: int, tile: int, halo: int) -> None:
    image = picture(height, width)
    before = image.clone()
    painted = torch.zeros(height, width)

    def paint(seen: Tensor, place: Place) -> Tensor:
        rows, columns = slice(place.top, place.top + place.height), slice(place.left, place.left + place.width)
        assert torch.equal(seen, before[..., rows, columns])
        painted[rows, columns] = 1
        return 1 - seen

    for _ in painted_in_tiles(image, paint, tile, halo):
        pass
    assert torch.equal(image, 1 - before)
    assert bool(painted.all())


def test_painting_stops_with_the_iteration() -> None:
    image = picture(40, 24)
    before = image.clone()
    next(painted_in_tiles(image, lambda seen, _: 1 - seen, 16, 8))
    assert torch.equal(image[..., 16:, :], before[..., 16:, :])


@pytest.mark.parametrize("size", [(10, 1000), (1000, 10)])
def test_parts_of_a_strip_are_spread_along_it(size: tuple[int, int]) -> None:
    assert len(list(spread_parts(size, 10, 8))) == 8

"""Maps of flat colors: clustered to labels, checked, and drafted."""

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
import skimage.data
import torch

from impasto import images
from impasto.errors import OptionError
from impasto.images import Picture
from impasto.recipes.maps import check_labels, labels_of, suggested_map

RED, BLUE, GREEN, YELLOW = (220, 30, 30), (40, 60, 220), (40, 160, 40), (240, 220, 40)


def drawing(*colors: tuple[int, int, int], size: int = 96, smooth: bool = False) -> Picture:
    """Draw a disk of each further color on a ground of the first."""
    scale = 4 if smooth else 1
    canvas = PIL.Image.new("RGB", (scale * size, scale * size), colors[0])
    for number, color in enumerate(colors[1:]):
        left = scale * size * number // len(colors)
        box = (left + 4 * scale, left + 4 * scale, left + scale * size // 3, left + scale * size // 3)
        PIL.ImageDraw.Draw(canvas).ellipse(box, fill=color)
    return images.read(canvas.resize((size, size), PIL.Image.Resampling.LANCZOS))


def checkered(count: int) -> Picture:
    """Draw squares of many distinct colors."""
    levels = np.array([(r, g, b) for r in (0, 120, 250) for g in (0, 120, 250) for b in (0, 120, 250)], np.uint8)[:count]
    return images.read(np.repeat(np.repeat(levels[None], 8, 0), 8, 1))


def test_each_flat_color_is_a_label() -> None:
    labels = labels_of([drawing(RED, BLUE), drawing(BLUE, GREEN, RED)])
    found = {tuple(round(255 * value) for value in color) for color in labels.colors}
    assert found == {RED, BLUE, GREEN}
    assert all(bool((each.sum(1) == 1).all()) for each in labels.maps)


def test_smooth_edges_and_jpeg_noise_make_no_labels() -> None:
    noisy = drawing(RED, BLUE, GREEN, smooth=True)
    jitter = torch.rand(noisy.image.shape, generator=torch.Generator().manual_seed(0)) * 0.04 - 0.02
    labels = labels_of([images.read((noisy.image + jitter).clamp(0, 1)), drawing(RED, BLUE, GREEN)])
    assert len(labels.colors) == 3
    assert float((labels.maps[0] - labels.maps[1]).abs().mean()) < 0.02


def test_no_line_of_a_third_label_runs_along_the_edge_of_two() -> None:
    purple = tuple((one + other) // 2 for one, other in zip(RED, BLUE, strict=True))
    labels = labels_of([drawing(RED, BLUE, smooth=True), drawing(RED, BLUE, purple)])  # type: ignore[arg-type]
    between = int(np.linalg.norm(labels.colors - np.array(purple) / 255, axis=1).argmin())
    assert labels.shares(0)[between] < 0.003


def test_a_given_number_of_labels_clusters_any_picture() -> None:
    photo = images.read(skimage.data.coffee()[::8, ::8])
    labels = labels_of([photo, photo], 5)
    assert len(labels.colors) == 5
    assert min(labels.shares(0)) > 0


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ([checkered(25)], "more than 16 colors.*--labels"),
        ([drawing(RED)], "only one color"),
    ],
)
def test_maps_without_flat_areas_or_with_one_color_are_refused(maps: list[Picture], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        labels_of(maps)


def test_a_color_missing_from_the_style_map_is_named() -> None:
    labels = labels_of([drawing(RED, BLUE), drawing(RED, YELLOW)])
    with pytest.raises(
        OptionError,
        match=r"b has the color #f0dc28 \(yellow\) on .* % of its area, but a does not have it; use one of these .*\(red\)",
    ):
        check_labels(labels, ["a", "b"])


def test_a_color_that_only_the_style_map_has_is_noted() -> None:
    (note,) = check_labels(labels_of([drawing(RED, BLUE, GREEN), drawing(RED, BLUE)]), ["a", "b"])
    assert "not in b" in note
    assert "(green)" in note


@pytest.mark.slow
def test_a_suggested_map_has_flat_colors_that_are_told_apart() -> None:
    picture = images.read(skimage.data.coffee()).image
    drafted = suggested_map(picture, 5)
    assert drafted.shape == picture.shape
    colors = np.unique(drafted[0].flatten(1).T.numpy(), axis=0)
    assert 2 <= len(colors) <= 5
    distances = np.linalg.norm(colors[:, None] - colors[None], axis=-1)
    assert distances[~np.eye(len(colors), dtype=bool)].min() > 0.16
    assert len(labels_of([images.read(drafted)]).colors) == len(colors)


def test_a_suggested_map_keeps_dark_regions_darker_than_light_ones() -> None:
    stripes = torch.tensor([0.14, 0.2, 0.26, 0.7]).repeat_interleave(32)[None, None, :, None].expand(1, 3, 128, 96)
    noisy = stripes + 0.02 * torch.rand(1, 3, 128, 96, generator=torch.Generator().manual_seed(0))
    rows = suggested_map(noisy.clamp(0, 1), 4).mean((0, 1, 3))[16::32]
    assert rows.tolist() == sorted(rows.tolist())


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_equal_colors_become_distinct(level: float) -> None:
    from impasto.recipes.maps import _spread

    spread = _spread(np.full((8, 3), level))
    distances = np.linalg.norm(spread[:, None] - spread[None], axis=-1)
    assert distances[~np.eye(8, dtype=bool)].min() > 0.16


def test_large_pictures_are_drafted_and_read_at_a_smaller_size(monkeypatch: pytest.MonkeyPatch) -> None:
    from impasto.recipes import maps

    sizes = []
    color_regions = maps.color_regions

    def recorded(picture: torch.Tensor, count: int, **options: float) -> list[torch.Tensor]:
        sizes.append(tuple(picture.shape[-2:]))
        return color_regions(picture, count, **options)

    monkeypatch.setattr(maps, "color_regions", recorded)
    monkeypatch.setattr(maps, "_DRAFTED_PX", 96)
    monkeypatch.setattr(maps, "_READ_PX", 96)
    photo = images.read(skimage.data.coffee())
    drafted = suggested_map(photo.image, 4)
    assert sizes == [(64, 96)]
    assert drafted.shape == photo.image.shape
    labels = labels_of([images.read(drafted), drawing(RED, BLUE)], 4)
    assert [tuple(each.shape[-2:]) for each in labels.maps] == [(64, 96), (96, 96)]

"""Regions found in photos of scikit-image and in synthetic pictures."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

from impasto import images
from impasto.errors import OptionError
from impasto.masks.segmentation import background, color_regions, find_region, skin, sky, subject


def loaded(pixels: object, edge_px: int = 160) -> Tensor:
    picture = images.read(pixels)  # type: ignore[arg-type]
    return images.resize(picture.image, images.fitted_size(picture.size, edge_px))


ASTRONAUT = loaded(skimage.data.astronaut())


def landscape(size: tuple[int, int] = (90, 120)) -> Tensor:
    """Draw a blue sky with a cloud above a rough meadow, and a red ball on it."""
    height, width = size
    image = torch.zeros(1, 3, height, width)
    image[:, :, : height // 2] = torch.tensor([0.35, 0.55, 0.9])[None, :, None, None]
    image[:, :, 8:16, 20:50] = 0.95
    rough = torch.rand(1, 1, height - height // 2, width, generator=torch.Generator().manual_seed(0))
    image[:, :, height // 2 :] = torch.tensor([0.2, 0.5, 0.1])[None, :, None, None] + 0.25 * (rough - 0.5)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    ball = ((rows - 0.62 * height) ** 2 + (columns - 0.5 * width) ** 2) < (0.17 * height) ** 2
    image[:, :, ball] = torch.tensor([0.85, 0.1, 0.1])[:, None]
    return image.clamp(0, 1)


def test_the_sky_is_found_with_its_clouds_and_ends_at_the_horizon() -> None:
    found = sky(landscape())
    assert found.shape == (1, 1, 90, 120)
    assert float(found[..., :35, :].mean()) > 0.95
    assert float(found[..., 8:16, 20:50].mean()) > 0.95
    assert float(found[..., 56:, :].mean()) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", ["coffee", "astronaut", "chelsea", "rocket", "brick", "motorcycle_left"])
def test_doubtful_areas_are_not_sky(name: str) -> None:
    """A wall behind a person, a blurred street and a garage are not sky; dusk is a doubtful case."""
    pixels = skimage.data.stereo_motorcycle()[0] if name == "motorcycle_left" else getattr(skimage.data, name)()
    assert float(sky(loaded(pixels, 320)).max()) == 0


@pytest.mark.parametrize("level", [0.5, 0.7, 0.8])
def test_a_gray_wall_is_not_sky(level: float) -> None:
    wall = torch.full((1, 3, 90, 120), level) + 0.01 * torch.rand(1, 3, 90, 120, generator=torch.Generator().manual_seed(0))
    wall[..., 60:, :] *= 0.6  # a floor
    assert float(sky(wall).max()) == 0
    backdrop = torch.full((1, 3, 90, 120), level)
    backdrop[..., 30:, 40:80] = 0.2  # a person in front of it
    assert float(sky(backdrop).max()) == 0


def test_a_white_sky_over_a_dark_forest_is_sky() -> None:
    image = torch.full((1, 3, 90, 120), 0.96)
    image[..., 30:, :] = 0.25 * torch.rand(1, 3, 60, 120, generator=torch.Generator().manual_seed(0))
    found = sky(image)
    assert float(found[..., :20, :].mean()) > 0.97
    assert float(found[..., 34:, :].mean()) < 0.03


def test_the_sea_below_a_straight_horizon_is_not_sky() -> None:
    image = landscape()
    image[:, :, 32:45] = torch.tensor([0.3, 0.5, 0.8])[None, :, None, None]
    found = sky(image)
    assert float(found[..., :26, :].mean()) > 0.9
    assert float(found[..., 36:, :].mean()) < 0.1


def test_the_subject_is_the_area_that_differs_from_its_surroundings() -> None:
    image = torch.full((1, 3, 96, 120), 0.8) + 0.02 * torch.rand(1, 3, 96, 120, generator=torch.Generator().manual_seed(0))
    image[..., 30:70, 40:80] = torch.tensor([0.1, 0.3, 0.6])[None, :, None, None]
    found = subject(image)
    assert float(found[..., 34:66, 44:76].mean()) > 0.95
    assert float(found[..., :20, :].mean()) < 0.02
    torch.testing.assert_close(found + background(image), torch.ones_like(found))


@pytest.mark.slow
def test_a_face_belongs_to_the_subject_and_the_backdrop_does_not() -> None:
    found = subject(loaded(skimage.data.astronaut(), 320))
    assert float(found[..., 50:100, 120:160].mean()) > 0.9  # her face
    assert float(found[..., 10:80, 60:100].mean()) < 0.3  # the backdrop


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("coffee", (60, 100, 130, 190), (0, 40, 0, 60)),  # the cup, and the table
        ("chelsea", (70, 110, 100, 130), (0, 60, 285, 320)),  # an eye, and the blurred area behind the ear
        ("rocket", (90, 160, 158, 164), (10, 100, 180, 260)),  # the rocket, and the sky at dusk
    ],
)
def test_the_subject_of_real_pictures_is_found(name: str, inside: tuple[int, ...], outside: tuple[int, ...]) -> None:
    found = subject(loaded(getattr(skimage.data, name)(), 320))
    for (top, bottom, left, right), is_subject in ((inside, True), (outside, False)):
        share = float(found[..., top:bottom, left:right].mean())
        assert share > 0.8 if is_subject else share < 0.1


LIGHTS = {
    "violet": (0.75, 0.5, 1.0),
    "deep violet": (0.6, 0.25, 1.0),
    "orange": (1.0, 0.65, 0.3),
    "deep orange": (1.0, 0.4, 0.1),
    "blue": (0.5, 0.7, 1.0),
    "green": (0.6, 1.0, 0.6),
    "red": (1.0, 0.35, 0.35),
    "dim": (0.25, 0.25, 0.25),
}


@pytest.mark.slow
@pytest.mark.parametrize("light", LIGHTS)
def test_skin_is_found_in_light_of_any_color(light: str) -> None:
    image = loaded(skimage.data.astronaut(), 320) * torch.tensor(LIGHTS[light])[None, :, None, None]
    found = skin(image)
    assert float(found[..., 50:104, 122:158].min()) > 0.99  # the face
    assert float(found[..., 245:300, 215:270].mean()) < 0.5  # the black helmet


@pytest.mark.slow
@pytest.mark.parametrize("light", ["violet", "deep violet", "orange", "blue", "green"])
def test_skin_is_found_by_color_without_a_frontal_face(light: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.masks.skin.face_ellipses", lambda photo, grow, size=None: np.zeros(size, bool))
    image = loaded(skimage.data.astronaut(), 320) * torch.tensor(LIGHTS[light])[None, :, None, None]
    assert float(skin(image)[..., 55:100, 125:155].mean()) > 0.98


def test_gaps_between_skin_areas_are_included_in_any_color() -> None:
    image = torch.full((1, 3, 96, 96), 0.35)
    image[:, 1] += 0.15  # a meadow
    image[..., 30:70, 30:70] = torch.tensor([0.75, 0.55, 0.45])[None, :, None, None]
    image[..., 46:54, 30:70] = torch.tensor([0.57, 0.58, 0.69])[None, :, None, None]  # lit by something blue
    found = skin(image)
    assert float(found[..., 32:68, 32:68].min()) > 0.99
    assert float(found[..., :16, :].max()) < 0.1


PEOPLE = {
    "girl": [(375, 50), (390, 40), (402, 28), (400, 62), (430, 47), (418, 10), (160, 120), (300, 240), (430, 105), (30, 85)],
    "walker": [(180, 275), (170, 367), (240, 312), (235, 335)],
    "bridge": [(105, 213), (150, 216), (179, 259), (280, 208), (301, 207)],
    "shore": [(292, 195), (293, 263), (293, 312), (292, 373), (260, 328), (255, 161)],
    "surf": [(155, 109), (170, 175), (145, 282), (223, 289), (256, 327), (264, 345)],
}
"""Places (row, column) of skin: hands, one of them lit by a violet shirt, arms, legs, faces from the side."""


@pytest.mark.slow
@pytest.mark.parametrize("name", PEOPLE)
def test_no_hand_or_face_is_missed_on_the_devset(name: str, shared: Path) -> None:
    found = skin(images.read(shared / "devset" / "content" / f"{name}.jpg").image)[0, 0]
    assert {place: float(found[place]) for place in PEOPLE[name] if found[place] < 0.99} == {}
    assert float(found.mean()) < 0.75


def test_the_skin_mask_covers_the_whole_face_but_not_the_helmet() -> None:
    found = skin(ASTRONAUT)
    assert float(found[..., 22:52, 58:82].min()) > 0.99  # the whole face, eyes and mouth too
    assert float(found[..., 130:155, 100:140].mean()) < 0.3  # the black helmet


def test_a_gray_photo_has_skin_only_at_detected_faces() -> None:
    gray = ASTRONAUT.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    found = skin(gray)
    assert float(found[..., 30:48, 62:78].mean()) > 0.9
    assert float(found.mean()) < 0.35
    assert float(skin(torch.full((1, 3, 80, 80), 0.5)).max()) == 0


def test_color_regions_sum_to_1_and_are_sorted_by_size() -> None:
    masks = color_regions(landscape(), 3)
    assert 2 <= len(masks) <= 3
    torch.testing.assert_close(torch.stack(masks).sum(0), torch.ones(1, 1, 90, 120), atol=1e-4, rtol=0)
    shares = [float(mask.mean()) for mask in masks]
    assert shares[0] > shares[-1]
    again = color_regions(landscape(), 3)
    assert all(torch.equal(one, other) for one, other in zip(masks, again, strict=True))


@pytest.mark.parametrize("size", [(32, 32), (33, 200), (400, 40)])
@pytest.mark.parametrize("name", ["subject", "background", "sky", "skin", "region-1", "region-2-of-3"])
def test_every_region_has_the_size_of_the_photo_and_values_in_range(name: str, size: tuple[int, int]) -> None:
    found = find_region(images.resize(ASTRONAUT, size), name)
    assert found.shape == (1, 1, *size)
    assert bool(((found >= 0) & (found <= 1)).all())


@pytest.mark.parametrize("name", ["subject", "sky", "skin", "region-1"])
def test_a_photo_of_one_color_raises_no_error(name: str) -> None:
    found = find_region(torch.full((1, 3, 48, 64), 0.5), name)
    assert bool(found.isfinite().all())


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("skni", "'auto:skni' is not known; did you mean 'skin'"),
        ("region-9", "'auto:region-9' does not exist; give a number from 1 to 5"),
        ("region-0", "'auto:region-0' does not exist"),
        ("region-1-of-99", "a photo has 2 to 24 regions"),
    ],
)
def test_an_unknown_region_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        find_region(ASTRONAUT, name)

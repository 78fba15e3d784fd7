"""The instant recipe: any style in one pass."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import skimage.color
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import impasto
from impasto import images
from impasto.color.transfer import color_moments, monge_kantorovich, recolored
from impasto.encoders import Vgg
from impasto.errors import OptionError, ResourceError, ShapeError, StyleFileError
from impasto.features.neighbors import Keys
from impasto.features.statistics import Affine, Moments
from impasto.images import Picture, resize
from impasto.losses.picture import luminance_of
from impasto.metrics.report import reference, report_on
from impasto.networks.compiled import has_openvino
from impasto.networks.style_swap import SWAP_LAYERS, Decoder
from impasto.options import InstantOptions, Run
from impasto.recipes import instant as recipe
from impasto.recipes import instant_checks, instant_painter, naming
from impasto.recipes.instant import instant, instant_options, painted_pastiche
from impasto.recipes.instant_checks import check, predicted_memory
from impasto.recipes.instant_painter import Earlier, InstantPainter, StyleCode, blended
from impasto.recipes.pastiche import Pastiche
from impasto.runtime.memory import available_memory
from impasto.styles.named import NamedStyle, add_style, measured_style
from impasto.tensors import FeatureMap, Features

EXACT = Run(device="cpu", precision="fp32")
PAINTER = InstantPainter(EXACT, "torch")
"""Shared by all tests, because it keeps nothing of earlier pictures."""


def smooth(height: int, width: int, seed: int) -> Tensor:
    """Make soft spots of color: (1, 3, height, width), within [0.1, 0.9]."""
    spots = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(spots, size=(height, width), mode="bilinear", align_corners=False) * 0.8 + 0.1


def strokes(height: int, width: int, seed: int = 1) -> Tensor:
    """Make a style with fine structure."""
    noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))
    return (0.7 * smooth(height, width, seed) + 0.3 * noise).clamp(0, 1)


PHOTO, STYLE, OTHER = images.read(smooth(72, 96, 0)), images.read(strokes(64, 80, 1)), images.read(strokes(80, 64, 2).square())

"""Small: the photo is painted at one size only."""
FACE = images.read(skimage.data.astronaut()[:384:2, 32:416:2].copy())
COFFEE = images.read(skimage.data.coffee()[::4, ::4].copy())
"""192 x 192 and 150 x 100 pixels: the photo is painted at two sizes."""

_BEFORE = PHOTO.image.clone(), STYLE.image.clone(), FACE.image.clone()


def painted(
    photo: Picture = PHOTO,
    styles: Sequence[Picture | NamedStyle] = (STYLE,),
    masks: Sequence[Picture] = (),
    painter: InstantPainter = PAINTER,
    **options: Any,
) -> Pastiche:
    """Paint with the shared painter; masks are not feathered."""
    return painted_pastiche(painter, photo, styles, masks, InstantOptions(**({"feather": 0.0} | options)))


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().mean())


@pytest.fixture
def as_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``impasto.instant`` use the shared painter."""
    monkeypatch.setattr(recipe, "_painter", lambda run, engine: PAINTER)


@pytest.fixture(scope="module")
def named() -> NamedStyle:
    """Name a style, measured at only two sizes to save time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(naming, "measured_style", lambda *facts: measured_style(*facts, sizes=(64, 128)))
        return naming.name_style(STYLE, {"name": "spots"})


# ---------------------------------------------------------------------------------------------------- shapes and sizes


@pytest.mark.slow
@settings(max_examples=8)
@given(st.integers(33, 140), st.integers(33, 140), st.integers(8, 90), st.integers(8, 90))
def test_a_picture_has_the_size_of_its_photo(height: int, width: int, style_height: int, style_width: int) -> None:
    image = painted(images.read(smooth(height, width, 3)), [images.read(strokes(style_height, style_width))]).image
    assert image.shape == (1, 3, height, width)
    assert image.dtype == torch.float32
    assert float(image.min()) >= 0
    assert float(image.max()) <= 1


@pytest.mark.parametrize(("size", "expected"), [(1024, (72, 96)), (96, (72, 96)), (64, (48, 64)), (0, (72, 96))])
def test_a_larger_photo_is_reduced_and_a_smaller_one_keeps_its_size(size: int, expected: tuple[int, int]) -> None:
    assert painted(size=size).image.shape[-2:] == expected


@pytest.mark.slow
def test_size_0_keeps_the_size_of_the_photo() -> None:
    wide = images.read(smooth(32, 1040, 4))
    assert painted(wide, size=0, stroke=0.25).image.shape[-2:] == (32, 1040)
    with pytest.raises(ShapeError, match="content 'tensor' would be 1000x31 pixels; both sides must be at least 32"):
        check(wide, [STYLE], (), InstantOptions(size=1000))


@pytest.mark.slow
@pytest.mark.parametrize("stroke", [0.25, 0.5, 1.4, 2.0, 4.0])
def test_stroke_changes_the_picture_but_not_its_size(stroke: float) -> None:
    image = painted(stroke=stroke).image
    assert image.shape == PHOTO.image.shape
    assert distance(image, painted().image) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("photo", [PHOTO, FACE], ids=["one size", "two sizes"])
def test_the_same_options_give_the_same_picture(photo: Picture) -> None:
    assert torch.equal(painted(photo).image, painted(photo).image)


@pytest.mark.slow
def test_a_larger_stroke_gives_larger_structures() -> None:
    """Stripes of the style, 16 pixels apart, have the requested size in the picture."""
    stripes = images.read((0.5 + 0.4 * torch.sin(math.pi * torch.arange(192) / 8)).expand(3, 192, 192))
    for stroke, cycles in ((0.25, 48), (0.5, 24), (1.0, 12)):
        rows = painted(FACE, [stripes], stroke=stroke).image.mean((0, 1))
        power = torch.fft.rfft(rows - rows.mean(1, keepdim=True)).abs().square().mean(0)
        assert float((torch.arange(97) * power).sum() / power.sum()) == pytest.approx(cycles, rel=0.3)


@pytest.mark.slow
def test_a_narrow_strip_is_painted_at_half_strength() -> None:
    """At half its size it would be too narrow for the encoder."""
    strip = images.read(smooth(32, 2048, 5))
    assert painted(strip, size=0, strength=0.5, stroke=0.25).image.shape[-2:] == (32, 2048)


# ---------------------------------------------------------------------------------------------------- similarity


def color_error(image: Tensor, style: Picture | Moments) -> float:
    """Return how far mean and covariance of the colors are from those of a style."""
    found, wanted = color_moments(image), color_moments(style.image) if isinstance(style, Picture) else style
    return float((found.mean - wanted.mean).norm() + (found.covariance - wanted.covariance).norm())


def feature_error(image: Tensor, style: Picture) -> float:
    """Return how far means and deviations of features are from those of a style, relative to these, over all layers."""
    found, wanted = (PAINTER.slim(each, (*SWAP_LAYERS, "relu4_1")) for each in (image, style.image))
    errors = []
    for layer in found:
        ours, theirs = (torch.cat([each[layer].mean((2, 3)), each[layer].std((2, 3))], 1) for each in (found, wanted))
        errors.append((ours - theirs).square().sum() / theirs.square().sum())
    return float(torch.stack(errors).sum())


@pytest.mark.slow
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize(("photo", "style"), [(FACE, COFFEE), (FACE, STYLE), (PHOTO, OTHER)], ids=["coffee", "spots", "small"])
def test_a_picture_has_the_colors_and_the_features_of_the_style(photo: Picture, style: Picture, fast: bool) -> None:
    image = painted(photo, [style], fast=fast).image
    assert color_error(image, style) < 0.2 * color_error(photo.image, style)
    palette = monge_kantorovich(color_moments(photo.image), color_moments(style.image))
    in_its_colors = recolored(photo.image, palette).clamp(0, 1)
    assert feature_error(image, style) < 0.8 * feature_error(in_its_colors, style) < feature_error(photo.image, style)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("contrast", [0.1, 1.0], ids=["flat photo", "photo with contrast"])
def test_a_pale_style_gets_contrast_for_a_photo_with_much_more(contrast: float, fast: bool) -> None:
    photo, pale = images.read(0.5 + contrast * (FACE.image - 0.5)), images.read(0.4 + 0.2 * COFFEE.image)
    found, own = (float(luminance_of(each).std()) for each in (painted(photo, [pale], fast=fast).image, pale.image))
    assert found / own == pytest.approx(1.25 if contrast == 1 else 1.0, abs=0.04)


@pytest.mark.slow
@pytest.mark.parametrize("fast", [False, True])
def test_a_picture_keeps_the_content_of_the_photo(fast: bool) -> None:
    image = painted(FACE, [COFFEE], fast=fast).image
    ours, photo, mirrored = (
        torch.nn.functional.avg_pool2d(each.mean(1), 8).flatten() for each in (image, FACE.image, FACE.image.flip(-1))
    )
    right, wrong = (float(torch.corrcoef(torch.stack([ours, each]))[0, 1]) for each in (photo, mirrored))
    assert right > 0.4
    assert right > wrong + 0.2


@pytest.mark.slow
def test_fast_paints_only_at_the_full_size_and_stays_closer_to_the_photo() -> None:
    image, quick = (painted(FACE, [COFFEE], fast=fast) for fast in (False, True))
    assert distance(image.image, quick.image) > 0.01
    rule = reference(FACE, [COFFEE], FACE.size)
    assert report_on(images.read(quick.image), rule)["content"] < report_on(images.read(image.image), rule)["content"]
    assert (image.record["options"]["fast"], quick.record["options"]["fast"]) == (False, True)
    assert torch.equal(painted(PHOTO, fast=True).image, painted(PHOTO).image)  # which has no second size


@pytest.mark.slow
def test_fast_searches_with_fewer_keys_and_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    searched, matching = [], Keys.match

    def record(keys: Keys, *given: Any, **named: Any) -> Any:
        searched.append((keys.keys.shape[1], keys.most))
        return matching(keys, *given, **named)

    monkeypatch.setattr(Keys, "match", record)
    code = PAINTER.encode(COFFEE)
    for photo, fast in ((FACE, False), (FACE, True), (PHOTO, True)):
        PAINTER.paint(photo.image, code, fast=fast)
    assert searched == [(64, 4096), (64, 4096), (32, 2048), (64, 4096)]  # PHOTO has a single size anyway


def test_fast_paints_large_pictures_at_a_smaller_size(monkeypatch: pytest.MonkeyPatch) -> None:
    size = FACE.size
    whole = painted(FACE, [COFFEE], fast=True).image
    sizes = [(1000, 1000), (1000, 1200), (1080, 1920), (4000, 6000)]
    fast, strokes = InstantOptions(fast=True), InstantOptions(fast=True, stroke=3)
    assert [recipe.working_size(each, fast) for each in sizes] == [(1000, 1000), (913, 1095), (864, 1536), (3200, 4800)]
    assert recipe.working_size((1080, 1920), strokes) == recipe.working_size((1080, 1920), replace(strokes, fast=False))
    monkeypatch.setattr(recipe, "_FAST_PX", 0.7 * math.prod(size))
    reduced = painted(FACE, [COFFEE], fast=True).image
    assert reduced.shape == whole.shape
    assert 0.01 < float((reduced - whole).abs().mean()) < 0.1
    assert torch.equal(painted(FACE, [COFFEE]).image, painted(FACE, [COFFEE], fast=False).image)


# ---------------------------------------------------------------------------------------------------- strength and color


@pytest.mark.parametrize("stroke", [1.0, 3.0])
def test_strength_0_returns_the_photo(stroke: float) -> None:
    assert torch.equal(painted(strength=0, stroke=stroke).image, PHOTO.image)


@pytest.mark.slow
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize(("photo", "style"), [(PHOTO, STYLE), (FACE, COFFEE)], ids=["one size", "two sizes"])
def test_higher_strength_increases_the_distance_from_the_photo(photo: Picture, style: Picture, fast: bool) -> None:
    found = [distance(painted(photo, [style], strength=s, fast=fast).image, photo.image) for s in (0, 0.1, 0.3, 0.6, 1)]
    assert found[0] == 0
    assert all(nearer < further for nearer, further in pairwise(found))


@pytest.mark.slow
def test_the_result_is_continuous_in_the_strength() -> None:
    """Below 0.3 the result is blended with the photo; at 0.3 both formulas agree."""
    faint, below, at = (painted(FACE, [COFFEE], strength=strength).image for strength in (0.01, 0.2999, 0.3))
    assert distance(faint, FACE.image) < 0.1 * distance(at, FACE.image)
    assert distance(below, at) < 0.01


@pytest.mark.slow
def test_a_strength_above_1_gives_another_picture_in_range() -> None:
    image = painted(FACE, strength=1.5).image
    assert distance(image, painted(FACE).image) > 1e-3
    assert float(image.min()) >= 0
    assert float(image.max()) <= 1


def color_distance(one: Tensor, other: Tensor) -> float:
    """Return the mean distance of Lab's a and b, after rounding to bytes."""
    a, b = (skimage.color.rgb2lab(images.to_array(each))[..., 1:] for each in (one, other))
    return float(np.hypot(*np.moveaxis(a - b, -1, 0)).mean())


def test_color_keep_keeps_the_photos_colors() -> None:
    image = painted(color="keep").image
    assert color_distance(image, PHOTO.image) < 0.3 * color_distance(painted().image, PHOTO.image)
    assert distance(image, PHOTO.image) > 1e-3


# ---------------------------------------------------------------------------------------------------- several styles


@pytest.mark.slow
def test_a_style_of_weight_0_has_no_effect() -> None:
    alone = painted(styles=[STYLE]).image
    torch.testing.assert_close(painted(styles=[STYLE, OTHER], style_weights=(3, 0)).image, alone, atol=1e-4, rtol=0)
    assert distance(painted(styles=[STYLE, OTHER]).image, alone) > 1e-3


def test_missing_weights_mean_equal_weights() -> None:
    weighted = painted(styles=[STYLE, OTHER], style_weights=(2, 2)).image
    torch.testing.assert_close(painted(styles=[STYLE, OTHER]).image, weighted, atol=1e-5, rtol=0)


def tinted(color: Sequence[float], seed: int) -> Picture:
    return images.read(strokes(64, 80, seed) * torch.tensor(color)[:, None, None])


RED, BLUE = tinted((1, 0.3, 0.3), 1), tinted((0.3, 0.3, 1), 2)


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "share"), [((1, 1), 0.5), ((3, 1), 0.75), ((1, 3), 0.25)])
@pytest.mark.parametrize("photo", [PHOTO, FACE], ids=["one size", "two sizes"])
def test_each_style_gets_its_share_of_the_picture(photo: Picture, weights: tuple[float, float], share: float) -> None:
    image = painted(photo, [RED, BLUE], style_weights=weights).image
    assert float((image[:, 0] > image[:, 2]).float().mean()) == pytest.approx(share, abs=0.12)
    red, blue = (color_moments(style.image).mean for style in (RED, BLUE))
    torch.testing.assert_close(color_moments(image).mean, torch.lerp(blue, red, share), atol=0.03, rtol=0)


def halves(shares: Sequence[float]) -> Picture:
    """Make a mask of stripes from left to right."""
    stripes = torch.tensor(shares).float().repeat_interleave(96 // len(shares))
    return images.read(stripes.expand(3, 72, 96))


@pytest.mark.slow
@pytest.mark.parametrize("stroke", [1.0, 3.0])
def test_each_style_is_applied_inside_its_mask_and_the_photo_kept_between(stroke: float) -> None:
    image = painted(styles=[STYLE, OTHER], masks=[halves([1, 0, 0]), halves([0, 0, 1])], stroke=stroke).image
    one, other = (painted(styles=[style], stroke=stroke).image for style in (STYLE, OTHER))
    torch.testing.assert_close(image[..., :32], one[..., :32], atol=1e-6, rtol=0)
    torch.testing.assert_close(image[..., 32:64], PHOTO.image[..., 32:64], atol=1e-6, rtol=0)
    torch.testing.assert_close(image[..., 64:], other[..., 64:], atol=1e-6, rtol=0)


def test_a_half_gray_mask_applies_half_of_the_style() -> None:
    image = painted(masks=[halves([0.5])]).image
    torch.testing.assert_close(image, (painted().image + PHOTO.image) / 2, atol=1e-5, rtol=0)


def test_overlapping_masks_blend_the_styles() -> None:
    image = painted(styles=[STYLE, OTHER], masks=[halves([1]), halves([1])]).image
    expected = (painted(styles=[STYLE]).image + painted(styles=[OTHER]).image) / 2
    torch.testing.assert_close(image, expected, atol=1e-5, rtol=0)


def test_masks_of_another_size_are_resized_to_the_picture() -> None:
    image = painted(masks=[images.read(torch.ones(3, 10, 12))]).image
    torch.testing.assert_close(image, painted().image, atol=1e-5, rtol=0)


# ---------------------------------------------------------------------------------------------------- what goes with it


def test_transparency_is_kept_in_the_result() -> None:
    alpha = torch.ones(1, 1, 72, 96)
    alpha[..., :48] = 0
    found = painted(images.read(torch.cat([PHOTO.image, alpha], dim=1))).alpha
    assert found is not None
    assert torch.equal(found, alpha)
    smaller = painted(images.read(torch.cat([PHOTO.image, alpha], dim=1)), size=48).alpha
    assert smaller is not None
    assert smaller.shape == (1, 1, 36, 48)


def test_the_record_contains_recipe_network_and_options() -> None:
    record = painted(styles=[STYLE, OTHER], style_weights=(1, 2), strength=0.5).record
    assert record["recipe"] == "instant"
    assert record["network"] == {"name": "instant", "sha256": PAINTER.network.sha256}
    assert len(PAINTER.network.sha256) == 64
    assert record["options"]["strength"] == 0.5
    assert record["options"]["style_weights"] == (1, 2)
    assert record["run"] == {"device": "cpu", "precision": "fp32", "seed": 0, "threads": 0, "max_memory": 0.0}
    assert record["content"]["sha256"] == PHOTO.sha256
    assert [style["sha256"] for style in record["styles"]] == [STYLE.sha256, OTHER.sha256]
    assert "refined" not in record


@pytest.mark.usefixtures("as_called")
def test_instant_accepts_pictures_in_any_form() -> None:
    expected = painted(images.read(images.to_array(PHOTO.image)), [images.read(images.to_array(STYLE.image))]).image
    found = impasto.instant(images.to_array(PHOTO.image), [images.to_pil(STYLE.image)], run=EXACT, engine="torch")
    torch.testing.assert_close(found.image, expected, atol=1e-5, rtol=0)
    kept = torch.ones(72, 96)
    kept[:, :10] = 0
    covered = impasto.instant(PHOTO, STYLE, protect=kept, run=EXACT, engine="torch")
    assert torch.equal(covered.image[..., 10:], PHOTO.image[..., 10:])
    assert distance(covered.image[..., :8], PHOTO.image[..., :8]) > 1e-2


@pytest.mark.parametrize("is_tiled", [False, True])
def test_a_frame_continues_the_strokes_of_the_previous_result(tiles: Callable[..., None], is_tiled: bool) -> None:
    frame, next_frame, code = smooth(208, 304, 0), smooth(208, 304, 0).roll(3, -1), PAINTER.encode(STYLE)
    before, weight = PAINTER.paint(frame, code).roll(3, -1), torch.zeros(1, 1, 208, 304)
    if is_tiled:
        tiles(128, part=96, parts=6)
    alone = PAINTER.paint(next_frame, code)
    assert torch.equal(PAINTER.paint(next_frame, code, earlier=Earlier(before, weight)), alone)
    weight[..., 152:] = 1
    found = PAINTER.paint(next_frame, code, earlier=Earlier(before, weight))
    left, right = (..., slice(0, 112)), (..., slice(192, 304))

    def changed(picture: Tensor, place: tuple[Any, ...]) -> float:
        """Return the mean square difference from the previous result."""
        return float((picture - before)[place].square().mean())

    # Without matched colors, single frames differed by 0.0065, and 0.7 times that, 0.0045, was the limit.
    assert changed(found, right) < 0.0035
    assert changed(found, right) < 0.8 * changed(alone, right)
    assert changed(found, left) > 0.85 * changed(alone, left)


def test_the_painter_is_reused_for_the_next_picture() -> None:
    recipe._painter.cache_clear()
    instant(PHOTO, STYLE, run=EXACT, engine="torch", size=48)
    first = recipe._painter(EXACT, "torch")
    instant(PHOTO, OTHER, run=EXACT, engine="torch", size=64)
    assert recipe._painter(EXACT, "torch") is first
    recipe._painter.cache_clear()


# ---------------------------------------------------------------------------------------------------- tiles


@pytest.fixture
def tiles(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that enables tiling for small pictures, with a halo of 128 pixels."""

    def set_side(side: int, *, largest: int = 0, part: int = 64, parts: int = 2) -> None:
        numbers = {"LARGEST_WHOLE_PX": largest, "TILE_PX": side, "HALO_PX": 128, "_PART_PX": part, "_PARTS": parts}
        for name, value in numbers.items():
            monkeypatch.setattr(instant_painter, name, value)

    return set_side


def textured(height: int, width: int, seed: int) -> Tensor:
    """Make a photo without flat areas."""
    coarse, fine = (
        smooth(height, width, seed),
        torch.rand(1, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(seed)),
    )
    return 0.6 * coarse + 0.4 * torch.nn.functional.interpolate(fine, size=(height, width), mode="bicubic").clamp(0, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "styles", "fast", "most"),
    [
        ((512, 64), [STYLE], False, 0.01),
        ((64, 512), [STYLE], False, 0.01),
        ((64, 512), [STYLE], True, 0.01),
        ((64, 512), [STYLE, OTHER], False, 0.03),  # the border between styles may move slightly
    ],
    ids=["tall", "wide", "fast", "two styles"],
)
def test_tiles_of_any_size_give_one_picture_without_seams(
    size: tuple[int, int], styles: Sequence[Picture], fast: bool, most: float, tiles: Callable[..., None]
) -> None:
    along, photo = 2 if size[0] > size[1] else 3, textured(*size, seed=6)
    code = blended([PAINTER.encode(style, stroke=0.25) for style in styles], ())
    found = []
    for side in (128, 192):
        tiles(side, largest=20_000)
        found.append(PAINTER.paint(photo, code, fast=fast))
    image, other = found
    assert distance(image, other) < most
    borders = torch.tensor([128, 256]) - 1  # of the one; they lie inside the tiles of the other
    energy, inside = (
        each.diff(dim=along).square().mean(dim=tuple({0, 1, 2, 3} - {along}))[borders].mean() for each in (image, other)
    )
    assert float(energy) <= 1.3 * float(inside)


@pytest.mark.slow
@pytest.mark.parametrize("fast", [False, True])
def test_tiles_give_the_same_picture_as_painting_at_once(
    fast: bool, tiles: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds if the whole picture is measured, and except for the palette, which tiles take from a smaller picture."""
    monkeypatch.setattr(instant_painter._Painting, "_colors", lambda *_: Affine(torch.eye(3)[None], torch.zeros(1, 3)))
    photo, code = textured(384, 384, 7), PAINTER.encode(STYLE)
    whole = PAINTER.paint(photo, code, fast=fast)
    tiles(128, largest=20_000, part=384, parts=1)  # two of the three sizes are painted in tiles
    if fast:  # measure the palette on the picture itself, not on a copy of 1024 pixels
        monkeypatch.setattr(instant_painter._Painting, "_sized", lambda _, content, before: content)
    off = (PAINTER.paint(photo, code, fast=fast) - whole).abs()
    assert float((off <= 1 / 255).float().mean()) >= 0.999


@pytest.mark.slow
def test_tiled_pictures_have_the_colors_of_the_style(tiles: Callable[..., None]) -> None:
    photo = textured(256, 256, 7)
    tiles(128, largest=20_000)
    for code in (PAINTER.encode(COFFEE), PAINTER.encode(OTHER, stroke=0.5)):
        image = PAINTER.paint(photo, code)
        assert color_error(image, code.colors[0]) < 0.3 * color_error(photo, code.colors[0])


@pytest.mark.slow
def test_strength_and_color_apply_to_tiled_pictures(tiles: Callable[..., None]) -> None:
    photo = textured(200, 64, 8)
    tiles(128, largest=4_000)
    code = PAINTER.encode(STYLE)
    assert torch.equal(PAINTER.paint(photo, code, strength=0), photo)
    found = [distance(PAINTER.paint(photo, code, strength=strength), photo) for strength in (0.1, 0.3, 0.6, 1.0)]
    assert all(nearer < further for nearer, further in pairwise(found))
    whole = images.read(photo)
    kept = painted(whole, color="keep").image
    assert torch.equal(whole.image, photo)  # the photo is not overwritten
    assert color_distance(kept, photo) < 0.5 * color_distance(painted(whole).image, photo)


@pytest.mark.slow
def test_a_large_photo_is_overwritten_row_by_row(tiles: Callable[..., None]) -> None:
    photo = textured(300, 64, 9)
    before = photo.clone()
    tiles(128, largest=10_000)
    code = PAINTER.encode(STYLE)
    expected = PAINTER.paint(photo, code)
    assert torch.equal(photo, before)
    assert list(PAINTER.paint_over(photo, code)) == [128, 256, 300]
    torch.testing.assert_close(photo, expected)
    assert list(PAINTER.paint_over(photo, code, strength=0)) == []
    assert torch.equal(photo, expected)


@pytest.mark.slow
@pytest.mark.usefixtures("as_called")
@pytest.mark.parametrize("is_tiled", [False, True])
@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_the_callers_tensors_are_not_modified(
    tiles: Callable[..., None], is_tiled: bool, with_mask: bool, strength: float
) -> None:
    if is_tiled:
        tiles(128, largest=4000)
    tensor = smooth(64, 192, 0)
    for content in (tensor, tensor[0].permute(1, 2, 0).numpy(), images.read(tensor)):
        before = content.image.clone() if isinstance(content, Picture) else torch.as_tensor(content).clone()
        style, mask = images.read(strokes(40, 40)), images.read(torch.ones(3, 64, 192))
        result = instant(content, style, masks=[mask] if with_mask else [], run=EXACT, engine="torch", strength=strength)
        result.image.fill_(0.5)
        after = content.image if isinstance(content, Picture) else torch.as_tensor(content)
        assert torch.equal(after, before)
        assert torch.equal(style.image, strokes(40, 40))
        assert bool((mask.image == 1).all())


# ---------------------------------------------------------------------------------------------------- style codes


def recorded_sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Record the size of each encoded picture."""
    seen: list[tuple[int, int]] = []
    encode = instant_painter._Direct.encode

    def record(networks: instant_painter._Direct, picture: Tensor, layers: frozenset[str]) -> Features:
        seen.append((picture.shape[-2], picture.shape[-1]))
        return encode(networks, picture, layers)

    monkeypatch.setattr(instant_painter._Direct, "encode", record)
    return seen


@pytest.mark.slow
def test_a_style_is_encoded_once_for_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, code = recorded_sizes(monkeypatch), PAINTER.encode(STYLE)
    assert seen == []
    first = PAINTER.paint(FACE.image, code)
    # The style has 64 x 80 pixels. It is as large as the photo, but not enlarged much. Sides are multiples of eight.
    assert sorted(seen) == [(80, 96), (96, 96), (104, 128), (192, 192)]
    seen.clear()
    assert torch.equal(PAINTER.paint(FACE.image, code), first)
    assert sorted(seen) == [(96, 96), (192, 192)]
    seen.clear()
    PAINTER.paint(FACE.image, code, fast=True)
    assert seen == [(192, 192)]


@pytest.mark.slow
def test_only_a_few_sizes_of_a_style_are_cached() -> None:
    code = PAINTER.encode(STYLE)
    for edge_px in (*range(40, 128, 8), 5000):
        PAINTER.level(code, edge_px)
    assert len(code.levels) == 8
    assert max(size for (size,), _ in code.levels) == (102, 128)  # it is not enlarged much
    narrow = PAINTER.encode_picture(resize(STYLE.image, (32, 1400)))
    PAINTER.level(narrow, 5000)
    assert [size for (size,), _ in narrow.levels] == [(23, 1024)]  # no style is encoded at a larger size


def test_a_style_code_contains_the_picture_and_its_colors() -> None:
    code, other = PAINTER.encode(STYLE, stroke=0.5), PAINTER.encode_picture(STYLE.image)
    assert isinstance(code, StyleCode)
    assert torch.equal(code.pictures[0], STYLE.image)
    assert (code.weights, code.stroke, other.stroke) == ((1.0,), 0.5, 1.0)
    assert color_error(STYLE.image, code.colors[0]) == 0
    assert torch.equal(PAINTER.paint(PHOTO.image, PAINTER.encode(STYLE)), PAINTER.paint(PHOTO.image, other))


def test_style_codes_are_blended_by_their_weights() -> None:
    one, two, three = (PAINTER.encode(style, stroke=0.5) for style in (STYLE, OTHER, COFFEE))
    assert blended([one], [0.3]) is one
    assert blended([one, two], []).weights == (0.5, 0.5)
    found = blended([one, two, three], [3, 0, 1])
    assert (found.weights, found.stroke) == ((0.75, 0.25), 0.5)
    assert [each is style.image for each, style in zip(found.pictures, (STYLE, COFFEE), strict=True)] == [True, True]
    assert blended([found, two], [1, 1]).weights == (0.375, 0.125, 0.5)


# ---------------------------------------------------------------------------------------------------- engines


def fake_compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record what would be compiled, and compute with torch."""
    made: list[str] = []

    class Compiled:
        def __init__(self, encoder: Vgg, decoder: Decoder, precision: str) -> None:
            made.append(precision)
            self.encoder, self.decoder = encoder, decoder

        def encode(self, picture: Tensor, layers: frozenset[str]) -> Features:
            return self.encoder(picture, layers)  # type: ignore[no-any-return]

        def decode(self, features: Sequence[FeatureMap]) -> Tensor:
            return self.decoder(*features).clamp(0, 1)  # type: ignore[no-any-return]

    monkeypatch.setattr(instant_painter, "Compiled", Compiled)
    monkeypatch.setattr(instant_painter, "has_openvino", lambda: True)
    return made


def test_the_networks_are_compiled_at_the_second_picture_for_all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    made = fake_compilations(monkeypatch)
    painter = InstantPainter(EXACT, "auto")
    first = painted(painter=painter).image
    assert made == []
    painted(painter=painter, size=48)
    assert made == ["fp32"]
    second = painted(painter=painter).image
    assert made == ["fp32"]
    torch.testing.assert_close(first, second, atol=1e-5, rtol=0)


def test_a_requested_engine_is_compiled_immediately(monkeypatch: pytest.MonkeyPatch) -> None:
    made = fake_compilations(monkeypatch)
    painter = InstantPainter(EXACT, "openvino")
    assert made == []
    assert painted(images.read(smooth(33, 50, 1)), painter=painter).image.shape == (1, 3, 33, 50)
    assert made == ["fp32"]


@pytest.mark.slow
def test_torch_is_used_on_request_or_without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    made = fake_compilations(monkeypatch)
    painter = InstantPainter(EXACT, "torch")
    for _ in range(3):
        painted(painter=painter, size=48)
    monkeypatch.setattr(instant_painter, "has_openvino", lambda: False)
    painter = InstantPainter(EXACT, "auto")
    for _ in range(3):
        painted(painter=painter, size=48)
    assert made == []
    with pytest.raises(OptionError, match=r"openvino is not installed; pip install 'impasto\[fast\]', or use --engine torch"):
        InstantPainter(EXACT, "openvino")


needs_openvino = pytest.mark.skipif(not has_openvino(), reason="OpenVINO is not installed")


@pytest.fixture(scope="module")
def through_openvino() -> InstantPainter:
    return InstantPainter(EXACT, "openvino")


@pytest.mark.slow
@needs_openvino
@pytest.mark.parametrize("fast", [False, True])
def test_openvino_agrees_with_torch_and_sends_no_telemetry(through_openvino: InstantPainter, fast: bool) -> None:
    for photo, style in ((FACE, COFFEE), (PHOTO, STYLE), (images.read(smooth(33, 50, 1)), OTHER)):
        image = painted(photo, [style], painter=through_openvino, fast=fast).image
        assert distance(image, painted(photo, [style], fast=fast).image) < 2e-3
    assert through_openvino._compiled is not None
    assert "openvino_telemetry" not in sys.modules


@pytest.mark.slow
@needs_openvino
def test_threads_get_the_same_picture_with_openvino(through_openvino: InstantPainter) -> None:
    def paint(code: StyleCode) -> Tensor:
        return through_openvino.paint(FACE.image, code)

    expected = paint(through_openvino.encode(COFFEE))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(paint, [through_openvino.encode(COFFEE)] * 8))
    assert all(torch.equal(each, expected) for each in found)


# ---------------------------------------------------------------------------------------------------- named styles


@pytest.mark.slow
def test_a_named_style_is_encoded_from_its_swatch(named: NamedStyle) -> None:
    code, swatch = PAINTER.encode(named), named.picture()
    assert torch.equal(code.pictures[0], swatch.image)
    assert torch.equal(code.colors[0].covariance, named.colors.covariance)  # of the picture, which the swatch nearly has
    image, of_swatch, other = (painted(FACE, [style]).image for style in (named, swatch, OTHER))
    assert distance(image, of_swatch) < 0.25 * distance(image, other)


@pytest.mark.slow
@pytest.mark.usefixtures("as_called")
def test_a_style_is_found_by_its_name(named: NamedStyle) -> None:
    add_style(named)
    found = instant(PHOTO, "spots", run=EXACT, engine="torch")
    assert found.record["styles"][0]["name"] == "spots"
    torch.testing.assert_close(found.image, painted(styles=[named]).image, atol=1e-4, rtol=0)
    assert torch.isfinite(instant(PHOTO, ["spots", OTHER], run=EXACT, engine="torch", strength=0.7).image).all()
    with pytest.raises(OptionError, match="style 'spot' is neither a picture file nor a named style; did you mean 'spots'"):
        instant(PHOTO, "spot", run=EXACT, engine="torch")


@pytest.mark.parametrize("options", [{"color": "match-style"}, {"color": "palette", "color_method": "histogram"}])
def test_color_control_uses_the_pixels_of_the_swatch(named: NamedStyle, options: dict[str, Any]) -> None:
    check(PHOTO, [named], (), InstantOptions(**options))
    image, of_swatch = (painted(styles=[style], **options).image for style in (named, named.picture()))
    assert torch.equal(image, of_swatch)
    with pytest.raises(StyleFileError, match="has no swatch, which is needed here"):
        check(PHOTO, [replace(named, swatch=b"")], (), InstantOptions(**options))


def test_a_named_style_without_a_swatch_is_refused(named: NamedStyle) -> None:
    sentence = (
        "style 'spots' was added by an earlier version of impasto and has no swatch, which is needed here; "
        r"add it again \(impasto styles remove spots, then impasto styles add\), or give a picture"
    )
    with pytest.raises(StyleFileError, match=sentence):
        painted(styles=[STYLE, replace(named, swatch=b"")])


# ---------------------------------------------------------------------------------------------------- going on


@pytest.mark.slow
@pytest.mark.usefixtures("as_called")
def test_refinement_starts_from_the_instant_result() -> None:
    small = images.read(smooth(48, 64, 0))
    quick = instant(small, STYLE, run=EXACT, engine="torch")
    refined = instant(small, STYLE, run=EXACT, engine="torch", refine_seconds=0.3)
    assert refined.image.shape == quick.image.shape
    assert distance(refined.image, quick.image) > 1e-4
    assert refined.record["refined"]["steps"] >= 1
    assert refined.record["refined"]["seconds"] > 0
    assert refined.record["refined"]["losses"]["style"] > 0
    assert refined.record["recipe"] == "instant"


@pytest.mark.slow
@pytest.mark.usefixtures("as_called")
def test_hq_takes_a_few_steps_toward_the_style_and_keeps_its_colors() -> None:
    small = images.read(smooth(64, 96, 0))
    one_pass = instant(small, STYLE, run=EXACT, engine="torch")
    hq = instant(small, STYLE, run=EXACT, engine="torch", hq=True)
    assert 1 <= hq.record["refined"]["steps"] <= 10
    assert hq.record["options"]["hq"]
    rule = reference(small, [STYLE], (64, 96))
    photo, before, after = (report_on(images.read(each), rule) for each in (small.image, one_pass.image, hq.image))
    assert after["style_closed"] > before["style_closed"]
    assert after["color_to_style"] < 0.1 * photo["color_to_style"]


@pytest.mark.slow
@pytest.mark.usefixtures("as_called")
def test_hq_blends_the_result_with_the_photo_by_strength() -> None:
    small = images.read(smooth(48, 64, 0))
    none, half, whole = (
        instant(small, STYLE, run=EXACT, engine="torch", hq=True, strength=strength) for strength in (0.0, 0.5, 1.0)
    )
    assert torch.allclose(none.image, small.image, atol=1e-6)
    assert torch.allclose(half.image, (small.image + whole.image) / 2, atol=1e-5)
    assert half.record["options"]["strength"] == 0.5


@pytest.mark.slow
@pytest.mark.usefixtures("as_called")
def test_hq_keeps_the_colors_of_the_style_above_strength_1() -> None:
    light = images.read(0.7 + 0.3 * smooth(64, 192, 0))
    whole, more = (instant(light, STYLE, run=EXACT, engine="torch", hq=True, strength=strength) for strength in (1.0, 1.5))
    on_from_the_photo = torch.lerp(light.image, whole.image, 1.5).clamp(0, 1)
    moved, carried = ((image.mean((2, 3)) - whole.image.mean((2, 3))).abs().max() for image in (more.image, on_from_the_photo))
    assert moved < 0.03 < carried
    assert not torch.allclose(more.image, whole.image, atol=0.05)


def test_hq_interrupted_before_its_first_step_has_the_requested_strength() -> None:
    options = InstantOptions(hq=True, strength=0.25)
    whole = painted_pastiche(PAINTER, PHOTO, [STYLE], (), options)
    found = recipe.blended_by_strength(whole, PHOTO, options).image
    assert torch.allclose(found, 0.75 * PHOTO.image + 0.25 * whole.image, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("as_called")
def test_refinement_respects_color_keep() -> None:
    small = images.read(smooth(48, 64, 0))
    image = instant(small, STYLE, run=EXACT, engine="torch", refine_seconds=0.3, color="keep").image
    other = instant(small, STYLE, run=EXACT, engine="torch", refine_seconds=0.3).image
    assert color_distance(image, small.image) < 0.5 * color_distance(other, small.image)


@pytest.mark.usefixtures("as_called")
def test_refinement_uses_the_original_photo_after_tiled_painting(
    tiles: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    contents: list[Tensor] = []

    def capture(size: tuple[int, int], photo: Picture, *rest: Any) -> Any:
        contents.append(photo.image.clone())
        raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "refining_context", capture)
    tiles(128, largest=4000)
    photo = smooth(64, 192, 0)
    with pytest.raises(KeyboardInterrupt):
        instant(photo, STYLE, run=EXACT, engine="torch", refine=True)
    assert torch.equal(contents[0], photo)


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("count", "masks", "options", "sentence"),
    [
        (0, 0, {}, "no style was given"),
        (2, 0, {"style_weights": (1,)}, "--style-weights has 1 values for 2 styles; give one for each style"),
        (1, 0, {"style_weights": (1, 2)}, "--style-weights has 2 values for 1 styles"),
        (2, 1, {}, "--style-mask is given 1 time for 2 styles; give one for each style"),
        (1, 1, {"feather": 0.3}, "--feather is 0.3; it must be a number from 0 to 0.25"),
    ],
)
def test_a_wrong_number_of_weights_or_masks_is_refused(count: int, masks: int, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        instant(PHOTO, [STYLE] * count, masks=[halves([1])] * masks, run=EXACT, **options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"strenght": 1}, "'strenght' is not an option of instant; did you mean 'strength'"),
        ({"strength": 1.6}, r"--strength is 1.6; it must be a number from 0 to 1.5"),
        ({"strength": float("nan")}, "--strength is nan"),
        ({"stroke": 0.1}, "--stroke is 0.1; it must be a number from 0.25 to 4"),
        ({"size": 16}, "--size is 16"),
        ({"color": "keeep"}, "--color 'keeep' is not known; did you mean 'keep'"),
        ({"engine": "openvin"}, "did you mean 'openvino'"),
        ({"style_weights": (0.0,)}, "sum to 0; increase one of them"),
        ({"style_weights": (-1.0,)}, "--style-weights is -1.0"),
        ({"refine_seconds": -1.0}, "--refine-seconds is -1.0"),
        ({"hq": True, "refine": True}, "--hq and --refine both continue with impasto paint"),
        ({"hq": True, "refine_seconds": 3.0}, "--hq and --refine both continue with impasto paint"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence.replace(".", r"\.")):
        instant_options(**options)


def test_pictures_too_small_are_refused() -> None:
    with pytest.raises(
        ShapeError, match="style 'tensor' has 1x1 pixels, too few to show a style; both sides must be at least 8"
    ):
        instant(PHOTO, torch.zeros(1, 3, 1, 1), run=EXACT)
    with pytest.raises(ShapeError, match="content 'tensor' would be 40x31 pixels; both sides must be at least 32"):
        instant(torch.zeros(1, 3, 31, 40), STYLE, run=EXACT)
    with pytest.raises(ShapeError, match="content 'tensor' has 3x40 pixels, too few to show a photo"):
        instant(torch.zeros(1, 3, 40, 3), STYLE, run=EXACT)


@pytest.mark.slow
@pytest.mark.parametrize("color", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.8, 0.1, 0.3)])
@pytest.mark.parametrize("strength", [0.5, 1.0, 1.5])
def test_pictures_of_one_color_are_painted(color: tuple[float, float, float], strength: float) -> None:
    plain = images.read(torch.tensor(color)[:, None, None].expand(3, 40, 48))
    for photo, style in ((PHOTO, plain), (plain, STYLE), (plain, plain)):
        image = painted(photo, [style], strength=strength).image
        assert torch.isfinite(image).all()
        assert float(image.min()) >= 0
        assert float(image.max()) <= 1


def set_free_memory(monkeypatch: pytest.MonkeyPatch, free: int | None) -> None:
    monkeypatch.setattr(instant_checks, "available_memory", lambda device: free)


@pytest.mark.parametrize("size", [(3000, 4000), (12000, 9000), (200, 30000), (1500, 1500)])
@pytest.mark.parametrize("share", [0.95, 0.6, 0.3])
def test_insufficient_memory_is_reported_with_a_size_that_fits(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], share: float
) -> None:
    base = predicted_memory((0, 0))
    free = base + round(share * (predicted_memory(size) - base))
    set_free_memory(monkeypatch, free)
    with pytest.raises(ResourceError, match=rf"painting {size[1]}x{size[0]} pixels needs about .* use --size \d+") as caught:
        instant_checks.check_memory(size, torch.device("cpu"))
    suggested = int(str(caught.value).split("--size ")[1].split(",")[0])
    assert suggested < max(size)
    instant_checks.check_memory(images.fitted_size(size, suggested), torch.device("cpu"))
    larger = images.fitted_size(size, round(suggested * 1.02) + 100)
    assert predicted_memory(larger) > free


def test_painting_does_not_start_without_enough_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    set_free_memory(monkeypatch, 2**20)
    with pytest.raises(ResourceError, match="close other programs"):
        painted()
    set_free_memory(monkeypatch, None)
    assert painted().image.shape == PHOTO.image.shape
    assert (available_memory(torch.device("cpu")) or 1) > 0


@pytest.fixture(autouse=True)
def _photo_as_before() -> Iterator[None]:
    """Check that no test modifies the shared pictures."""
    yield
    assert torch.equal(PHOTO.image, _BEFORE[0])
    assert torch.equal(STYLE.image, _BEFORE[1])
    assert torch.equal(FACE.image, _BEFORE[2])

"""Color transfer between pictures, and separation of luminance and color."""

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import skimage.color
import skimage.data
import skimage.exposure
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from impasto import images
from impasto.color.transfer import (
    LUMA,
    along_curves,
    blended_palette,
    cholesky,
    color_moments,
    curves_between,
    fitted_in,
    from_space,
    gray,
    is_gray,
    levels_of,
    monge_kantorovich,
    palette_of,
    palette_of_moments,
    principal_axes,
    raised_contrast,
    recolored,
    recoloring,
    to_space,
    whitening,
    with_colors_of,
    with_light_like,
    within_slope,
)
from impasto.features.statistics import Affine, Moments
from impasto.options import ColorSpace

FAINT = 1e-4
"""Added to the diagonal of both covariances."""
MOST_GAIN = 12
SPACES: tuple[ColorSpace, ...] = get_args(ColorSpace)
LINEAR: list[Callable[[Moments, Moments], Affine]] = [monge_kantorovich, principal_axes, cholesky]
METHODS = ["monge-kantorovich", "pca", "cholesky", "histogram"]


def real(name: str, edge_px: int = 96) -> Tensor:
    """Return a picture that comes with scikit-image, (1, 3, height, width)."""
    image = images.read(getattr(skimage.data, name)()).image
    return images.resize(image, images.fitted_size((image.shape[-2], image.shape[-1]), edge_px))


def light(image: Tensor) -> Tensor:
    return torch.from_numpy(skimage.color.rgb2lab(image[0].permute(1, 2, 0).double().numpy())[..., 0])


def colors(image: Tensor) -> Tensor:
    return torch.from_numpy(skimage.color.rgb2lab(image[0].permute(1, 2, 0).double().numpy())[..., 1:])


seeds = st.integers(0, 2**31)
spreads = st.floats(0.002, 0.5)


def palette(seed: int, spread: float) -> Moments:
    random = torch.Generator().manual_seed(seed)
    root = spread * torch.randn(1, 3, 3, generator=random, dtype=torch.float64)
    return Moments(torch.rand(1, 3, generator=random, dtype=torch.float64), root @ root.mT)


def lifted(colors: Moments) -> torch.Tensor:
    return colors.covariance + FAINT * torch.eye(3, dtype=torch.float64)


@pytest.mark.slow
def test_a_map_of_colors_has_a_matrix_and_a_bias_for_each_picture(photo: torch.Tensor) -> None:
    two = color_moments(torch.cat([photo, photo.flip(1)]))
    found = monge_kantorovich(two, two)
    assert (found.matrix.shape, found.bias.shape) == ((2, 3, 3), (2, 3))
    assert found.matrix.dtype == photo.dtype


@pytest.mark.slow
@given(seeds, spreads, spreads)
def test_recolored_pictures_have_the_mean_and_covariance_of_the_palette(seed: int, spread: float, other: float) -> None:
    source, target = palette(seed, spread), palette(seed + 1, other)
    found = monge_kantorovich(source, target)
    mean = (found.matrix @ source.mean[:, :, None])[:, :, 0] + found.bias
    torch.testing.assert_close(mean, target.mean)
    spread = found.matrix @ lifted(source) @ found.matrix.mT
    if float(torch.linalg.eigvalsh(found.matrix).max()) < MOST_GAIN - 1e-6:
        torch.testing.assert_close(spread, lifted(target), rtol=1e-6, atol=1e-9)
    else:
        assert float(spread.diagonal(dim1=1, dim2=2).sum()) < float(lifted(target).diagonal(dim1=1, dim2=2).sum())


@given(seeds, spreads, spreads)
def test_monge_kantorovich_is_a_symmetric_positive_map(seed: int, spread: float, other: float) -> None:
    """Of all linear maps from one palette to the other, this one changes the colors the least."""
    matrix = monge_kantorovich(palette(seed, spread), palette(seed + 1, other)).matrix
    torch.testing.assert_close(matrix, matrix.mT, rtol=1e-6, atol=1e-9)
    assert float(torch.linalg.eigvalsh(matrix).min()) > 0


def test_a_recolored_photo_has_the_palette_of_the_other_picture(photo: torch.Tensor) -> None:
    source, target = color_moments(photo), color_moments(photo.flip(1) * 0.7 + 0.1)
    found = color_moments(recolored(photo, monge_kantorovich(source, target)))
    torch.testing.assert_close(found.mean, target.mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.covariance, target.covariance, rtol=0, atol=3 * FAINT)


@given(seeds, spreads)
def test_mapping_a_palette_to_itself_is_the_identity(seed: int, spread: float) -> None:
    same = palette(seed, spread)
    found = monge_kantorovich(same, same)
    torch.testing.assert_close(found.matrix, torch.eye(3, dtype=torch.float64)[None], rtol=0, atol=1e-6)
    torch.testing.assert_close(found.bias, torch.zeros(1, 3, dtype=torch.float64), rtol=0, atol=1e-6)


@given(seeds, spreads, spreads)
def test_no_color_direction_is_amplified_beyond_the_noise_limit(seed: int, spread: float, other: float) -> None:
    source, target = palette(seed, spread), palette(seed + 1, other)
    most = min(MOST_GAIN, (float(torch.linalg.eigvalsh(lifted(target)).max()) / FAINT) ** 0.5)
    gains = torch.linalg.eigvalsh(monge_kantorovich(source, target).matrix)
    assert float(gains.max()) <= most * (1 + 1e-9)


def test_a_flat_gray_picture_takes_the_mean_of_the_palette_and_stays_flat(photo: torch.Tensor) -> None:
    gray, target = torch.full((1, 3, 8, 8), 0.5), color_moments(photo)
    found = recolored(gray, monge_kantorovich(color_moments(gray), target))
    torch.testing.assert_close(found, target.mean[:, :, None, None].expand(1, 3, 8, 8))


def test_rounding_errors_of_a_gray_photo_are_not_amplified_to_colors(photo: torch.Tensor, random: torch.Generator) -> None:
    light = photo.mean(1, keepdim=True).expand(1, 3, -1, -1)
    rounding = (torch.rand(photo.shape, generator=random) - 0.5) / 255
    colors = monge_kantorovich(color_moments(light + rounding), color_moments(photo))
    noise = recolored(light + rounding, colors) - recolored(light, colors)
    assert float(noise.std()) < 0.02
    assert torch.isfinite(noise).all()


def test_the_noise_of_a_nearly_gray_photo_is_amplified_at_most_twelve_times(random: torch.Generator) -> None:
    noise = torch.randn((1, 3, 64, 64), generator=random) / 255
    vivid = Moments(torch.full((1, 3), 0.5), torch.diag(torch.tensor([0.2, 0.2, 0.2]))[None])
    found = recolored(0.5 + noise, monge_kantorovich(color_moments(0.5 + noise), vivid))
    assert 11 / 255 < float(found.std()) <= 12.5 / 255


# ---------------------------------------------------------------------------------------------------- linear maps


@pytest.mark.parametrize("found", LINEAR)
def test_every_linear_map_gives_a_real_picture_the_palette_of_another(found: Callable[[Moments, Moments], Affine]) -> None:
    style, photo = real("coffee"), real("astronaut")
    source, target = color_moments(style), color_moments(photo)
    after = color_moments(recolored(style, found(source, target)))
    torch.testing.assert_close(after.mean, target.mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(after.covariance, target.covariance, rtol=0, atol=3 * FAINT)


def test_whitened_colors_have_mean_zero_and_the_same_deviation(photo: torch.Tensor) -> None:
    found = color_moments(whitening(color_moments(photo), 8.0).features(photo))
    assert found.mean.abs().max() < 1e-2
    torch.testing.assert_close(found.covariance[0], 64 * torch.eye(3), atol=4, rtol=0)  # faint directions vary less


def deviation_of_luminance(colors: Moments) -> float:
    weights = colors.mean.new_tensor(LUMA)
    return float((weights @ colors.covariance[0] @ weights).sqrt())


def gray_palette(mean: float, deviation: float) -> Moments:
    return Moments(torch.full((1, 3), mean), torch.full((1, 3, 3), deviation**2))


@pytest.mark.parametrize(
    ("mean", "style", "photo", "wanted"),
    [
        (0.5, 0.15, 0.2, 0.15),  # enough contrast
        (0.5, 0.2, 0.1, 0.2),  # more than the photo
        (0.5, 0.1, 0.2, 0.12),  # 0.6 times that of the photo
        (0.5, 0.08, 0.3, 0.1),  # at most 1.25 times its own
        (0.2, 0.08, 0.3, 0.08),  # black is too near
        (0.8, 0.078, 0.3, 0.08),  # white is near
        (0.5, 0.0, 0.3, 0.0),  # one color
        (0.5, 0.1, 0.0, 0.1),  # a photo of one color
    ],
)
def test_contrast_is_raised_only_if_the_photo_has_much_more(mean: float, style: float, photo: float, wanted: float) -> None:
    found = raised_contrast(gray_palette(mean, style), gray_palette(0.4, photo))
    assert deviation_of_luminance(found) == pytest.approx(wanted, abs=1e-4)
    assert torch.equal(found.mean, gray_palette(mean, style).mean)


def test_chroma_is_spread_half_as_much_as_luminance() -> None:
    pale = color_moments(0.45 + 0.1 * real("coffee"))
    found = raised_contrast(pale, color_moments(real("astronaut")))
    gain = deviation_of_luminance(found) / deviation_of_luminance(pale)
    assert gain == pytest.approx(1.25, abs=1e-3)
    luma = torch.tensor(LUMA)
    chroma = torch.eye(3) - luma  # of a color, minus its luminance
    spread = [chroma @ each.covariance[0] @ chroma.T for each in (found, pale)]
    torch.testing.assert_close(spread[0], ((1 + gain) / 2) ** 2 * spread[1], rtol=1e-3, atol=1e-7)


def test_monge_kantorovich_changes_colors_less_than_other_linear_maps() -> None:
    style, photo = real("coffee"), real("cat")
    maps = [found(color_moments(style), color_moments(photo)) for found in LINEAR]
    moved = [float((recolored(style, each) - style).square().mean()) for each in maps]
    assert moved[0] < min(moved[1:])
    assert float((maps[1].matrix - maps[2].matrix).abs().max()) > 0.01


# ---------------------------------------------------------------------------------------------------- spaces


@pytest.mark.parametrize("name", ["astronaut", "coffee", "cat"])
def test_color_spaces_agree_with_scikit_image(name: str) -> None:
    image = real(name)
    array = image[0].permute(1, 2, 0).double().numpy()
    for space, known, white in (("lab", skimage.color.rgb2lab(array), 0.02), ("yiq", skimage.color.rgb2yiq(array), 1e-5)):
        found = to_space(image.double(), space)[0].permute(1, 2, 0).numpy()  # type: ignore[arg-type]
        np.testing.assert_allclose(found, known, atol=white)
    ycbcr = (skimage.color.rgb2ycbcr(array) - [16, 128, 128]) / [219, 224, 224]
    np.testing.assert_allclose(to_space(image.double(), "ycbcr")[0].permute(1, 2, 0).numpy(), ycbcr, atol=1e-4)


def test_oklab_agrees_with_the_published_table() -> None:
    """Ottosson's table: XYZ (0.950, 1.000, 1.089) is (1.000, 0.000, 0.000); red is of CSS Color 4."""
    two = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]).T[None, :, None]
    expected = torch.tensor([[1.0, 0.0, 0.0], [0.62796, 0.22486, 0.12585]]).T[None, :, None]
    torch.testing.assert_close(to_space(two, "oklab"), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("space", SPACES)
def test_from_space_inverts_to_space_even_out_of_range(space: ColorSpace) -> None:
    image = real("astronaut").double() * 1.4 - 0.2
    torch.testing.assert_close(from_space(to_space(image, space), space), image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("space", SPACES)
def test_gray_pictures_have_zero_color_planes_and_vice_versa(space: ColorSpace) -> None:
    levels = torch.linspace(0, 1, 256).expand(1, 3, 1, 256)
    assert float(to_space(levels, space)[:, 1:].abs().max()) < 2e-5 * float(to_space(levels, space).max()) + 1e-5
    found = gray(real("coffee"), space)
    assert is_gray(found)
    assert not is_gray(real("coffee"))
    assert torch.equal(found[:, 0], found[:, 1])
    assert torch.equal(found[:, 0], found[:, 2])
    torch.testing.assert_close(to_space(found, space)[:, 0], to_space(real("coffee"), space)[:, 0], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("space", SPACES)
@given(seed=st.integers(0, 1000))
def test_out_of_gamut_colors_are_desaturated_with_luminance_and_hue_preserved(space: ColorSpace, seed: int) -> None:
    image = torch.rand((1, 3, 4, 5), generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 0.5
    shown = fitted_in(image, space)
    assert float(shown.min()) >= 0
    assert float(shown.max()) <= 1
    before, after = to_space(image, space), to_space(shown, space)
    white = float(to_space(torch.ones(1, 3, 1, 1, dtype=torch.float64), space)[0, 0])
    can_be_shown = (before[:, 0] > 0.02 * white) & (before[:, 0] < 0.98 * white)
    assert float((after - before)[:, 0][can_be_shown].abs().max()) < 2e-3 * white
    crossed = before[:, 1] * after[:, 2] - before[:, 2] * after[:, 1]
    assert float(crossed[can_be_shown].abs().max()) < 2e-3 * white**2
    assert bool(((after[:, 1:] * before[:, 1:]).sum(1)[can_be_shown] > -1e-6 * white**2).all())
    inside = ((image >= 0) & (image <= 1)).all(dim=1, keepdim=True).expand_as(image)
    assert torch.equal(shown[inside], image[inside])


# ---------------------------------------------------------------------------------------------------- colors kept


@pytest.mark.parametrize("space", SPACES)
def test_with_colors_of_combines_the_paintings_luminance_and_the_photos_colors(space: ColorSpace) -> None:
    photo, painted = real("astronaut"), images.resize(real("coffee"), (96, 96))
    found = with_colors_of(photo, painted, space)
    expected, after = to_space(painted, space), to_space(found, space)
    white = float(to_space(torch.ones(1, 3, 1, 1), space)[0, 0])
    assert float((after - expected)[:, 0].abs().max()) < 2e-3 * white
    assert float((colors(found) - colors(photo)).norm(dim=-1).mean()) < 6
    assert float((colors(painted) - colors(photo)).norm(dim=-1).mean()) > 18


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", ["astronaut", "cat", "rocket"])
def test_keeping_colors_does_not_darken_the_painting(space: ColorSpace, name: str) -> None:
    """The titu1994 program wrote near-black pictures, with a mean of about 2 of 255 (its issue 70)."""
    painted = real("coffee")
    photo = images.resize(real(name), (painted.shape[-2], painted.shape[-1]))
    found = with_colors_of(photo, painted, space)
    assert abs(float(light(found).mean() - light(painted).mean())) < (0.2 if space == "lab" else 6)
    assert float(found.mean()) > 0.7 * float(painted.mean())
    blackened = (found.amax(1) < 0.02) & (painted.amax(1) > 0.1)
    assert float(blackened.float().mean()) == 0


@pytest.mark.parametrize("space", SPACES)
def test_gray_pixels_of_the_photo_stay_exactly_gray(space: ColorSpace) -> None:
    painted = real("coffee")
    photo = images.resize(images.read(skimage.data.camera()).image, (painted.shape[-2], painted.shape[-1]))
    photo[..., :20] = images.resize(real("astronaut"), (photo.shape[-2], 20))
    found = with_colors_of(photo, painted, space)
    assert torch.equal(found[:, 0, :, 20:], found[:, 1, :, 20:])
    assert torch.equal(found[:, 0, :, 20:], found[:, 2, :, 20:])
    assert not is_gray(found)


def test_with_light_like_matches_the_mean_and_deviation_of_luminance() -> None:
    style, photo = real("coffee"), real("astronaut") * 0.5 + 0.2
    found, wanted = (to_space(each, "yiq")[:, 0] for each in (with_light_like(style, photo, "yiq"), photo))
    assert float(found.mean()) == pytest.approx(float(wanted.mean()), abs=0.02)
    assert float(found.std()) == pytest.approx(float(wanted.std()), abs=0.02)
    assert is_gray(with_light_like(style, photo, "yiq"))


# ---------------------------------------------------------------------------------------------------- levels and palettes


@pytest.mark.parametrize(("one", "other"), [("astronaut", "coffee"), ("cat", "astronaut"), ("coffee", "rocket")])
def test_levels_are_matched_as_in_scikit_image(one: str, other: str) -> None:
    image, reference = real(one, 200), real(other, 200)
    arrays = [each[0].permute(1, 2, 0).numpy() for each in (image, reference)]
    expected = torch.from_numpy(skimage.exposure.match_histograms(*arrays, channel_axis=2)).permute(2, 0, 1)[None]
    found = along_curves(image, *curves_between(levels_of(image), levels_of(reference)))
    assert float((found - expected).abs().mean()) < 0.004
    assert float((levels_of(found) - levels_of(reference)).abs().mean()) < 0.004


def test_a_constant_plane_maps_to_the_middle_of_the_target() -> None:
    flat = torch.full((1, 3, 10, 10), 0.3)
    found = along_curves(flat, *curves_between(levels_of(flat), levels_of(real("cat"))))
    torch.testing.assert_close(found[0, :, 0, 0], levels_of(real("cat"))[:, 512], atol=0.02, rtol=0)
    back = along_curves(real("cat"), *curves_between(levels_of(real("cat")), levels_of(flat)))
    torch.testing.assert_close(back, torch.full_like(back, 0.3))


def test_within_slope_limits_the_slope_and_keeps_the_mean() -> None:
    source, target = levels_of(real("astronaut") * 0.1), levels_of(real("coffee"))
    flat = within_slope(source, target, 2.0)
    assert bool((flat.diff(dim=1) <= 2 * source.diff(dim=1) + 1e-6).all())
    torch.testing.assert_close(flat.mean(1), target.mean(1))
    even = torch.linspace(0, 1, 1025).expand(3, -1)
    torch.testing.assert_close(within_slope(even, target, 1e6), target, atol=1e-5, rtol=0)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_picture_the_palette_of_another(method: str, space: ColorSpace) -> None:
    image, other = real("coffee"), real("astronaut")
    target = palette_of(other, space)
    found = recoloring(image, target, method, space)(image)
    assert (float(found.min()), float(found.max())) >= (0, 0)
    assert float(found.max()) <= 1
    before, after = (palette_of(each, space) for each in (image, found))
    assert float((after.moments.mean - target.moments.mean).abs().max()) < 0.05
    off, was_off = (float((each.moments.covariance - target.moments.covariance).norm()) for each in (after, before))
    assert off < 0.5 * was_off


def test_histogram_is_closer_to_the_palette_than_a_linear_map() -> None:
    image, other = real("coffee"), real("cat")
    target = palette_of(other, "lab")
    assert target.levels is not None
    distances = []
    for method in ("histogram", "monge-kantorovich"):
        levels = palette_of(recoloring(image, target, method, "lab")(image), "lab").levels
        assert levels is not None
        distances.append(float((levels - target.levels).abs().mean()))
    assert distances[0] < 0.5 * distances[1]


@pytest.mark.parametrize("method", METHODS)
def test_a_recoloring_treats_every_part_identically(method: str) -> None:
    image = real("coffee")
    change = recoloring(image, palette_of(real("astronaut"), "oklab"), method, "oklab")
    torch.testing.assert_close(change(image)[..., 10:30, :], change(image[..., 10:30, :]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_a_gray_palette_leaves_no_color(method: str) -> None:
    target = palette_of(images.read(skimage.data.camera()).image, "oklab")
    found = recoloring(real("coffee"), target, method, "oklab")(real("coffee"))
    assert target.is_gray
    assert torch.equal(found[:, 0], found[:, 1])
    assert torch.equal(found[:, 0], found[:, 2])
    assert float(found.std()) > 0.1


def test_palettes_are_blended_by_their_positive_weights() -> None:
    one, other = palette_of(real("coffee"), "lab"), palette_of(real("astronaut"), "lab")
    assert one.levels is not None
    assert other.levels is not None
    alone, half = blended_palette([one, other], [2, -1]), blended_palette([one, other], [1, 1])
    assert alone.levels is not None
    assert half.levels is not None
    torch.testing.assert_close(alone.levels, one.levels)
    torch.testing.assert_close(half.levels, (one.levels + other.levels) / 2)
    torch.testing.assert_close(half.moments.mean, (one.moments.mean + other.moments.mean) / 2)
    assert blended_palette([one, palette_of_moments(other.moments)], [1, 1]).levels is None


def test_moments_show_whether_a_palette_is_gray() -> None:
    assert palette_of_moments(color_moments(images.read(skimage.data.camera()).image)).is_gray
    assert not palette_of_moments(color_moments(real("coffee"))).is_gray

"""The palette of one picture carried over to another."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from impasto.color import color_moments, monge_kantorovich, recolored
from impasto.stats import Moments

FAINT = 1e-4
"""What both covariances are lifted by."""

seeds = st.integers(0, 2**31)
spreads = st.floats(0.002, 0.5)


def palette(seed: int, spread: float) -> Moments:
    random = torch.Generator().manual_seed(seed)
    root = spread * torch.randn(1, 3, 3, generator=random, dtype=torch.float64)
    return Moments(torch.rand(1, 3, generator=random, dtype=torch.float64), root @ root.mT)


def lifted(colors: Moments) -> torch.Tensor:
    return colors.covariance + FAINT * torch.eye(3, dtype=torch.float64)


def test_a_map_of_colours_has_a_matrix_and_a_bias_for_each_picture(photo: torch.Tensor) -> None:
    two = color_moments(torch.cat([photo, photo.flip(1)]))
    found = monge_kantorovich(two, two)
    assert (found.matrix.shape, found.bias.shape) == ((2, 3, 3), (2, 3))
    assert found.matrix.dtype == photo.dtype


@given(seeds, spreads, spreads)
def test_colours_take_the_mean_and_the_covariance_of_the_palette(seed: int, spread: float, other: float) -> None:
    source, target = palette(seed, spread), palette(seed + 1, other)
    found = monge_kantorovich(source, target)
    mean = (found.matrix @ source.mean[:, :, None])[:, :, 0] + found.bias
    torch.testing.assert_close(mean, target.mean)
    torch.testing.assert_close(found.matrix @ lifted(source) @ found.matrix.mT, lifted(target), rtol=1e-6, atol=1e-9)


@given(seeds, spreads, spreads)
def test_colours_move_along_a_symmetric_positive_map(seed: int, spread: float, other: float) -> None:
    """Of all maps that carry one palette to the other, that one moves the colours the least."""
    matrix = monge_kantorovich(palette(seed, spread), palette(seed + 1, other)).matrix
    torch.testing.assert_close(matrix, matrix.mT, rtol=1e-6, atol=1e-9)
    assert float(torch.linalg.eigvalsh(matrix).min()) > 0


def test_a_recoloured_photo_has_the_palette_of_the_other(photo: torch.Tensor) -> None:
    source, target = color_moments(photo), color_moments(photo.flip(1) * 0.7 + 0.1)
    found = color_moments(recolored(photo, monge_kantorovich(source, target)))
    torch.testing.assert_close(found.mean, target.mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.covariance, target.covariance, rtol=0, atol=3 * FAINT)


@given(seeds, spreads)
def test_a_palette_is_its_own(seed: int, spread: float) -> None:
    same = palette(seed, spread)
    found = monge_kantorovich(same, same)
    torch.testing.assert_close(found.matrix, torch.eye(3, dtype=torch.float64)[None], rtol=0, atol=1e-6)
    torch.testing.assert_close(found.bias, torch.zeros(1, 3, dtype=torch.float64), rtol=0, atol=1e-6)


@given(seeds, spreads, spreads)
def test_no_direction_of_colour_grows_beyond_what_the_faintest_allows(seed: int, spread: float, other: float) -> None:
    source, target = palette(seed, spread), palette(seed + 1, other)
    most = (float(torch.linalg.eigvalsh(lifted(target)).max()) / FAINT) ** 0.5
    gains = torch.linalg.eigvalsh(monge_kantorovich(source, target).matrix)
    assert float(gains.max()) <= most * (1 + 1e-9)


def test_an_even_grey_takes_the_mean_of_the_palette_and_stays_even(photo: torch.Tensor) -> None:
    grey, target = torch.full((1, 3, 8, 8), 0.5), color_moments(photo)
    found = recolored(grey, monge_kantorovich(color_moments(grey), target))
    torch.testing.assert_close(found, target.mean[:, :, None, None].expand(1, 3, 8, 8))


def test_the_rounding_of_a_grey_photo_does_not_turn_into_colours(photo: torch.Tensor, random: torch.Generator) -> None:
    light = photo.mean(1, keepdim=True).expand(1, 3, -1, -1)
    rounding = (torch.rand(photo.shape, generator=random) - 0.5) / 255
    colors = monge_kantorovich(color_moments(light + rounding), color_moments(photo))
    noise = recolored(light + rounding, colors) - recolored(light, colors)
    assert float(noise.std()) < 0.02
    assert torch.isfinite(noise).all()

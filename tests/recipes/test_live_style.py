"""Styles measured for the network of the webcam page."""

from dataclasses import replace

import pytest
import skimage.data
import torch

from impasto import images
from impasto.color.transfer import color_moments
from impasto.errors import StyleFileError
from impasto.networks import load_instant, shipped_instant
from impasto.recipes import naming
from impasto.recipes.live_style import live_style
from impasto.styles.named import NamedStyle, measured_style

COFFEE = images.read(skimage.data.coffee()[::4, ::4].copy())
OTHER = images.read(skimage.data.astronaut()[::4, ::4].copy())


@pytest.fixture(scope="module")
def named() -> NamedStyle:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(naming, "measured_style", lambda *facts: measured_style(*facts, sizes=(64,)))
        return naming.name_style(COFFEE, {"name": "my-coffee"})


def test_live_styles_of_two_pictures_give_different_results(photo: torch.Tensor) -> None:
    network = load_instant(shipped_instant())
    found, other = (live_style(style, edge_px=96) for style in (COFFEE, OTHER))
    assert found.modulation.shape == (1, network.transfer.modulations)
    assert (found.colors.mean.shape, found.colors.covariance.shape) == ((1, 3), (1, 3, 3))
    one, two = (network(photo, each.modulation) for each in (found, other))
    assert torch.isfinite(one).all()
    assert float((one - two).abs().mean()) > 0.01


@pytest.mark.parametrize(("edge_px", "as_at"), [(8.0, 32.0), (5000.0, 1024.0), (95.7, 96.0)])
def test_a_style_is_measured_at_the_nearest_supported_size(edge_px: float, as_at: float) -> None:
    strip = replace(OTHER, image=OTHER.image[..., :16, :])  # which is fast
    found, same, other = (live_style(strip, edge_px=each).modulation for each in (edge_px, as_at, 200))
    assert torch.equal(found, same)
    assert not torch.equal(found, other)


def test_a_named_style_is_measured_on_its_swatch_with_its_own_colors(named: NamedStyle) -> None:
    found, of_swatch = live_style(named, edge_px=128), live_style(named.picture(), edge_px=128)
    assert torch.equal(found.modulation, of_swatch.modulation)
    assert torch.equal(found.colors.covariance, named.colors.covariance)
    torch.testing.assert_close(found.colors.mean, color_moments(COFFEE.image).mean, atol=0.01, rtol=0)


def test_a_named_style_without_a_swatch_is_refused(named: NamedStyle) -> None:
    with pytest.raises(StyleFileError, match="style 'my-coffee' was added by an earlier version of impasto and has no swatch"):
        live_style(replace(named, swatch=b""), edge_px=128)

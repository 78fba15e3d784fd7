"""Naming a style: measurement of a picture, and its swatch."""

from pathlib import Path

import pytest
import skimage.data
import torch

from impasto import images
from impasto.encoders import load_encoder
from impasto.features.statistics import moments
from impasto.options import STYLE_LAYERS
from impasto.recipes import naming
from impasto.recipes.naming import name_style
from impasto.styles.named import load_style, measured_style, save_style

COFFEE = images.read(skimage.data.coffee()[::4, ::4].copy())


@pytest.fixture(autouse=True)
def _at_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure at one size only, to save time."""
    monkeypatch.setattr(naming, "measured_style", lambda *facts: measured_style(*facts, sizes=(64,)))


@pytest.mark.slow
def test_a_style_contains_moments_of_the_shipped_encoder() -> None:
    style, encoder = name_style(COFFEE, {"name": "coffee", "artist": "me"}), load_encoder("vgg19-slim")
    assert (style.name, style.facts["artist"], style.facts["title"]) == ("coffee", "me", "")
    assert style.facts["encoder_sha256"] == encoder.sha256
    small = images.resize(COFFEE.image, images.fitted_size(COFFEE.size, 64))
    for layer, features in encoder(small, STYLE_LAYERS).items():
        torch.testing.assert_close(style.moments[64][layer].mean, moments(features).mean)


@pytest.mark.slow
def test_the_swatch_is_the_picture_by_default(tmp_path: Path) -> None:
    save_style(tmp_path / "coffee", name_style(COFFEE, {"name": "coffee"}))
    swatch = load_style(tmp_path / "coffee").picture()
    assert swatch.size == COFFEE.size
    assert float((swatch.image - COFFEE.image).abs().mean()) < 0.02


def test_the_swatch_of_a_large_picture_is_smaller() -> None:
    wide = images.read(images.resize(COFFEE.image[..., :20, :], (100, 1500)).clamp(0, 1))
    assert max(name_style(wide, {"name": "wide"}).picture().size) == 1024


def test_a_swatch_can_be_another_picture_in_the_style() -> None:
    style = name_style(COFFEE, {"name": "coffee"}, swatch=COFFEE.image.flip(-1)[..., :64, :64])
    assert style.picture().size == (64, 64)
    torch.testing.assert_close(style.colors.mean, COFFEE.image.mean((2, 3)), atol=0.01, rtol=0)

"""Tests of impasto.color.local."""

import pytest
import torch

from impasto.color.local import color_shift
from impasto.tensors import Image


@pytest.fixture
def picture() -> Image:
    """Vertical bars of two colors."""
    bars = (torch.arange(128) // 16 % 2).float()[None, None, None].expand(1, 1, 96, 128)
    dark, light = torch.tensor([0.2, 0.3, 0.5])[:, None, None], torch.tensor([0.8, 0.7, 0.4])[:, None, None]
    return torch.lerp(dark, light, bars)


def test_another_color_is_found(picture: Image) -> None:
    tint = torch.tensor([0.05, -0.02, -0.08])[None, :, None, None]
    found = color_shift(picture, picture + tint)
    assert found.shape == picture.shape
    torch.testing.assert_close(found, tint.expand_as(found) / 1.1, atol=2e-3, rtol=0)


def test_colors_differ_from_place_to_place(picture: Image) -> None:
    tint = 0.1 * torch.linspace(-1, 1, 128)[None, None, None].expand_as(picture)
    found = color_shift(picture, picture + tint)
    assert float((found - tint / 1.1).abs().max()) < 0.03
    assert float(found[..., 0].max()) < -0.05 < 0.05 < float(found[..., -1].min())


def test_another_shape_gives_no_shift(picture: Image) -> None:
    """The bars of the other version lie elsewhere. Their colors must not be painted over the edges."""
    found = color_shift(picture, picture.roll(6, -1))
    assert float((picture.roll(6, -1) - picture).abs().max()) > 0.5
    assert float(found.abs().max()) < 0.05


def test_a_shift_is_smooth() -> None:
    random = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 3, 64, 64, generator=random)
    found = color_shift(picture, torch.rand(1, 3, 64, 64, generator=random))
    assert float(found.diff(dim=-1).abs().max()) < 0.05
    small = color_shift(picture[..., :5, :3], picture[..., :5, :3])
    assert torch.equal(small, torch.zeros(1, 3, 5, 3))

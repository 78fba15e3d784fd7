"""Artifact checks: each artifact is added to a picture and detected."""

import pytest
import torch

from impasto.metrics import artifacts as faults


@pytest.fixture
def large(photo: torch.Tensor) -> torch.Tensor:
    """The photo at 256 pixels: (1, 3, 256, 256)."""
    return torch.nn.functional.interpolate(photo, size=(256, 256), mode="bicubic", align_corners=False).clamp(0, 1)


@pytest.mark.parametrize("period", [2, 4])
def test_a_lattice_is_detected(large: torch.Tensor, period: int) -> None:
    stripes = large.clone()
    stripes[..., ::period] += 0.03
    assert faults.lattice(stripes) > 5 * faults.lattice(large)


def test_white_noise_has_no_lattice(random: torch.Generator) -> None:
    assert faults.lattice(torch.rand(1, 3, 256, 256, generator=random)) == pytest.approx(1, abs=0.2)


def test_a_frame_is_detected(random: torch.Generator) -> None:
    noise = torch.rand(1, 3, 64, 64, generator=random)
    assert faults.frame(noise) == pytest.approx(1, abs=0.15)
    noise[..., 8:-8, 8:-8] = noise[..., 8:-8, 8:-8] / 2
    assert faults.frame(noise) == pytest.approx(4, abs=0.9)


def test_color_noise_is_detected_and_gray_noise_is_not(random: torch.Generator) -> None:
    gray = torch.rand(1, 1, 32, 32, generator=random).expand(1, 3, 32, 32)
    assert faults.chroma_energy(gray) < 1e-6
    assert faults.chroma_energy(torch.rand(1, 3, 32, 32, generator=random)) > 1000


def test_the_share_of_clipped_pixels_is_measured() -> None:
    image = torch.full((1, 3, 10, 10), 0.5)
    image[:, 0, :2], image[:, 1, 5:6] = 0.001, 1.0
    assert faults.clipped(image) == pytest.approx(0.3)


@pytest.mark.parametrize("turned", [False, True])
def test_a_seam_between_tiles_is_detected(large: torch.Tensor, turned: bool, random: torch.Generator) -> None:
    strokes = (large + 0.02 * torch.randn(large.shape, generator=random)).clamp(0, 1)
    assert faults.seams(strokes, large) < 2
    tiled = strokes.clone()
    tiled[..., 128:] += 8 / 255
    pair = (tiled.mT, large.mT) if turned else (tiled, large)
    assert faults.seams(*pair) > 2


def test_an_edge_of_the_photo_is_not_a_seam(large: torch.Tensor) -> None:
    photo = large.clone()
    photo[..., 128:] /= 2
    assert faults.seams(photo.clone(), photo) == 0

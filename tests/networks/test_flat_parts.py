"""Noise in the flat parts of a photo."""

import torch

from impasto.networks.flat_parts import flat_parts, with_noise


def photo_with_a_sky() -> torch.Tensor:
    """Return a photo whose upper half is white, and whose lower half has texture."""
    photo = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    photo[..., :32, :] = 1.0
    return photo


def test_only_flat_parts_change() -> None:
    photo = photo_with_a_sky()
    found = with_noise(photo, 1.0)
    assert torch.equal(found[..., 44:, :], photo[..., 44:, :])
    sky = found[..., :15, :]
    assert sky.std() > 0.03
    assert ((sky > 0) & (sky < 1)).float().mean() > 0.75  # white leaves room for the noise
    assert flat_parts(photo)[..., :15, :].min() > 0.99


def test_the_amount_sets_the_strength_and_zero_returns_the_photo() -> None:
    photo = photo_with_a_sky()
    changes = [(with_noise(photo, amount) - photo).abs().mean() for amount in (0.0, 0.3, 0.6, 1.0)]
    assert changes[0] == 0
    assert changes == sorted(changes)
    assert changes[1] < changes[2] < changes[3]


def test_the_noise_depends_on_the_seed_and_works_for_tiny_photos() -> None:
    photo = photo_with_a_sky()
    assert torch.equal(with_noise(photo, 0.5), with_noise(photo, 0.5))
    assert not torch.equal(with_noise(photo, 0.5), with_noise(photo, 0.5, seed=1))
    for height, width in ((1, 1), (1, 40), (33, 7)):
        found = with_noise(torch.full((2, 3, height, width), 0.5), 0.5)
        assert found.shape == (2, 3, height, width)
        assert found.isfinite().all()

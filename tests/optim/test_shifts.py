"""Shifts of the picture: each is used once, and features are those of the moved picture."""

import torch
from torch import Tensor

from impasto.optim.shifts import ShiftedEncoder, unshifted
from impasto.tensors import Features


def pixels(image: Tensor, layers: frozenset[str]) -> Features:
    return {"pixels": image}


def test_each_shift_is_used_once(random: torch.Generator) -> None:
    encoder, found = ShiftedEncoder(pixels, 4, random), []
    for _ in range(16):
        encoder.shift()
        found.append(encoder.offset)
    assert sorted(found) == [(down, right) for down in range(-2, 2) for right in range(-2, 2)]


def test_features_are_those_of_the_moved_picture(random: torch.Generator) -> None:
    encoder, picture = ShiftedEncoder(pixels, 4, random), torch.rand(1, 3, 12, 10, generator=random)
    assert torch.equal(encoder(picture, frozenset())["pixels"], picture)  # no shift at first
    encoder.offset = (1, -2)
    found = encoder(picture, frozenset())["pixels"]
    assert found.shape == picture.shape
    assert torch.equal(found[..., :-1, 2:], picture[..., 1:, :-2])
    assert torch.equal(unshifted(encoder)(picture, frozenset())["pixels"], picture)
    assert unshifted(pixels) is pixels

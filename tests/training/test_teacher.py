"""Pairs of photos and paintings by a teacher."""

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

from impasto.tensors import Image
from impasto.training.teacher import PaintedPhotos, painted_px

EDGE = 32
PICTURES = (skimage.data.astronaut(), skimage.data.coffee())
PHOTOS = [torch.from_numpy(np.ascontiguousarray(each[:96, :128])).permute(2, 0, 1) for each in PICTURES]


class Negative:
    """A teacher whose paintings are negatives."""

    def __init__(self) -> None:
        self.photos: list[Tensor] = []

    def __call__(self, photo: Image) -> Image:
        self.photos.append(photo)
        return 1 - photo


def pairs(teacher: Negative, seed: int = 0) -> PaintedPhotos:
    return PaintedPhotos(PHOTOS, teacher, EDGE, 0.5, (seed,))


def test_a_painting_shows_the_same_part_of_the_photo() -> None:
    photos, paintings = pairs(Negative()).draw(3, 0, np.random.default_rng(0))
    assert photos.shape == paintings.shape == (3, 3, EDGE, EDGE)
    torch.testing.assert_close(paintings, 1 - photos, atol=1 / 255, rtol=0)


def test_each_pair_is_painted_once_and_pairs_become_more() -> None:
    teacher, random = Negative(), np.random.default_rng(0)
    drawn = pairs(teacher)
    for _ in range(40):
        drawn.draw(2, 0, random)
    few = len(teacher.photos)
    assert few <= 16
    assert {tuple(each.shape) for each in teacher.photos} == {(1, 3, painted_px(EDGE), painted_px(EDGE))}
    for _ in range(40):
        drawn.draw(2, 200, random)
    assert few + 16 < len(teacher.photos) <= 116


def test_the_same_seed_gives_the_same_pairs_in_any_order() -> None:
    first, second = pairs(Negative()), pairs(Negative())
    first.draw(5, 0, np.random.default_rng(3))
    for one, other in zip(
        first.draw(2, 50, np.random.default_rng(1)), second.draw(2, 50, np.random.default_rng(1)), strict=True
    ):
        assert torch.equal(one, other)
    other, _ = pairs(Negative(), seed=1).draw(2, 50, np.random.default_rng(1))
    assert not torch.equal(other, second.draw(2, 50, np.random.default_rng(1))[0])


@pytest.mark.parametrize("edge", [64, 100, 256])
def test_painted_crops_are_larger_and_their_sides_are_multiples_of_8(edge: int) -> None:
    assert edge < painted_px(edge) < 1.5 * edge
    assert painted_px(edge) % 8 == 0

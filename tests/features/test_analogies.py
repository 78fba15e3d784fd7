"""The parts of image analogies: pyramids, neighborhoods, candidates, the order of synthesis, linear models."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.features.analogies import (
    CAUSAL,
    Examples,
    LocalModels,
    Pair,
    Planes,
    coherent_candidates,
    describe,
    enlarged,
    gaussian_pyramid,
    wavefronts,
)


def noise(*shape: int) -> Planes:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def everywhere(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    index = np.arange(height * width)
    return index // width, index % width


@pytest.mark.parametrize("size", [(32, 20), (33, 21), (9, 40)])
def test_a_pyramid_halves_a_picture_and_a_level_is_enlarged_to_the_next(size: tuple[int, int]) -> None:
    coarse, fine = gaussian_pyramid(noise(*size, 3), 2)
    assert coarse.shape == (-(-size[0] // 2), -(-size[1] // 2), 3)
    assert fine.shape == (*size, 3)
    wide = enlarged(coarse, size)
    assert wide.shape == fine.shape
    np.testing.assert_allclose(wide[::2, ::2], coarse, atol=1e-6)


def test_a_pyramid_keeps_a_flat_picture() -> None:
    for level in gaussian_pyramid(np.full((17, 12, 1), 0.4, dtype=np.float32), 3):
        np.testing.assert_allclose(level, 0.4, atol=1e-6)


def test_the_squared_weights_of_each_part_of_a_neighborhood_sum_to_one() -> None:
    ones = np.ones((8, 8, 1), dtype=np.float32)
    values = describe(Pair(ones, ones, Pair(ones, ones)), *everywhere(8, 8))
    assert values.shape == (64, 25 + 9 + 12 + 9)
    np.testing.assert_allclose((values**2)[:, :34].sum(axis=1), 2, atol=1e-5)
    np.testing.assert_allclose((values**2)[:, 34:].sum(axis=1), 0.5, atol=1e-5)  # filtered ones have half the weight


@given(st.integers(1, 9), st.integers(1, 12))
def test_wavefronts_visit_each_pixel_once_after_all_pixels_it_depends_on(height: int, width: int) -> None:
    number = np.full((height, width), -1)
    for count, (rows, columns) in enumerate(wavefronts((height, width))):
        assert (number[rows, columns] == -1).all()
        number[rows, columns] = count
    assert (number >= 0).all()
    for down, across in CAUSAL:
        for y in range(max(0, -down), height):
            for x in range(max(0, -across), min(width, width - across)):
                assert number[y + down, x + across] < number[y, x]


def test_coherent_candidates_continue_the_matches_of_the_neighbors() -> None:
    matches = np.arange(20).reshape(4, 5) % 16  # of an example of 4 x 4 pixels
    found = coherent_candidates(matches, np.array([2]), np.array([2]), (4, 4))[0]
    for candidate, (down, across) in zip(found, CAUSAL, strict=True):
        y, x = divmod(int(matches[2 + down, 2 + across]), 4)
        inside = 0 <= y - down < 4 and 0 <= x - across < 4
        assert candidate == ((y - down) * 4 + x - across if inside else -1)
    assert (coherent_candidates(matches, np.array([0]), np.array([0]), (4, 4)) == -1).all()


def test_the_nearest_neighborhood_is_at_most_twice_as_far_as_that_of_brute_force() -> None:
    examples, queries = Examples.of(Pair(noise(24, 20, 1), noise(24, 20, 1))), 2 * noise(50, 16)
    index, distance = examples.nearest(queries)
    every = ((examples.keys[None] - queries[:, None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(distance, every[np.arange(50), index], rtol=1e-4)
    assert (np.sqrt(distance) <= 2 * np.sqrt(every.min(axis=1)) + 1e-5).all()


def test_equal_neighborhoods_are_searched_once() -> None:
    flat = np.full((30, 30, 1), 0.5, dtype=np.float32)
    assert len(Examples.of(Pair(flat, flat)).distinct) == 1


def test_no_candidate_is_infinitely_far() -> None:
    examples = Examples.of(Pair(noise(8, 8, 1), noise(8, 8, 1)))
    found, distance = examples.closest_of(np.array([[-1, -1], [-1, 7]]), examples.keys[[3, 7]])
    assert found[1] == 7
    assert distance.tolist() == [np.inf, 0]


def test_linear_models_reproduce_a_linear_filter_beyond_its_clipped_values() -> None:
    source = noise(64, 64, 1)
    true = 2 * source - 0.5
    pair = Pair(source, true.clip(0, 1))
    models = LocalModels.of(pair, Examples.of(pair), (0.0, 1.0))
    rows, columns = everywhere(64, 64)
    found = models.values(pair.unfiltered(rows, columns), np.roll(np.arange(64 * 64), 100))
    np.testing.assert_allclose(found, true.reshape(-1, 1), atol=0.02)


def test_linear_models_that_explain_little_do_not_extrapolate() -> None:
    source = 0.4 + 0.2 * noise(64, 64, 2)
    pair = Pair(source[..., :1].copy(), 0.5 * source[..., :1] + 0.5 * source[..., 1:])
    models = LocalModels.of(pair, Examples.of(pair), (0.0, 1.0))
    black = np.zeros((64 * 64, 25), dtype=np.float32)
    assert models.values(black, np.arange(64 * 64)).min() > 0.2  # the models themselves say 0.25 on average, and less at times


def test_linear_models_leave_noise_to_copying() -> None:
    source, filtered = noise(64, 64, 2)[..., :1].copy(), noise(64, 64, 2)[..., 1:].copy()
    pair = Pair(source, filtered)
    models = LocalModels.of(pair, Examples.of(pair), (-1.0, 2.0))
    found = models.values(pair.unfiltered(*everywhere(64, 64)), np.roll(np.arange(64 * 64), 100))
    np.testing.assert_allclose(found, np.roll(filtered.reshape(-1, 1), 100, axis=0), atol=0.05)

"""Sets of feature vectors: sampling, distances, transport, quantiles, histograms, patches."""

import math

import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from impasto.features.distributions import (
    between,
    centered,
    columns_at,
    cosine_distances,
    directions,
    euclidean_distances,
    histogram_matched,
    hypercolumns,
    leading,
    moment_difference,
    moments_of,
    nearest,
    patches,
    picked,
    put_together,
    quantiles,
    relaxed_emd,
    rows_of,
    scattered,
    self_similarity,
    sliced_distance,
    unit,
)
from impasto.features.statistics import Affine

counts = st.integers(1, 40)


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------------------------------------- places


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 500))
def test_sampled_positions_are_inside_and_at_most_count(height: int, width: int, count: int) -> None:
    places = scattered((height, width), count, torch.Generator().manual_seed(1))
    assert 1 <= len(places) <= min(count, height * width)
    assert float(places.min()) >= 0
    assert float(places.max()) < 1


def test_sampled_positions_are_spread_evenly(random: torch.Generator) -> None:
    places = scattered((100, 100), 100, random)
    cells = (places * 10).long()
    assert len(cells.unique(dim=0)) == 100


def test_sampled_positions_differ_between_draws_and_repeat_with_the_seed() -> None:
    first, second = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    one, other = scattered((50, 50), 20, first), scattered((50, 50), 20, second)
    assert torch.equal(one, other)
    assert not torch.equal(one, scattered((50, 50), 20, first))


@pytest.mark.slow
def test_a_position_center_gives_its_own_features_picked_or_interpolated() -> None:
    features = some(1, 5, 4, 6)
    places = (torch.cartesian_prod(torch.arange(4), torch.arange(6)) + 0.5) / torch.tensor([4, 6])
    torch.testing.assert_close(picked(features, places), rows_of(features))
    torch.testing.assert_close(between(features, places), rows_of(features))


@pytest.mark.slow
def test_interpolation_agrees_with_grid_sample(random: torch.Generator) -> None:
    features, places = some(1, 3, 5, 7), torch.rand(30, 2, generator=random)
    grid = (2 * places.flip(1) - 1)[None, None]
    wanted = torch.nn.functional.grid_sample(features, grid, padding_mode="border", align_corners=False)[0, :, 0].T
    torch.testing.assert_close(between(features, places), wanted)


def test_columns_concatenate_mapped_layers(random: torch.Generator) -> None:
    places = torch.rand(9, 2, generator=random)
    fine, coarse = some(1, 2, 8, 8), some(1, 3, 4, 4, seed=1)
    head = Affine(some(4, 3, seed=2), some(4, seed=3))
    found = columns_at([fine, coarse], places, [None, head])
    assert found.shape == (9, 2 + 4)
    torch.testing.assert_close(found[:, 2:], between(head.features(coarse), places))


def test_hypercolumns_have_one_size_and_all_channels() -> None:
    features = {"relu1_1": some(1, 2, 16, 24), "relu4_1": some(1, 3, 2, 3)}
    joined = hypercolumns(features, {}, (4, 6))
    assert joined.shape == (1, 5, 4, 6)
    flat = hypercolumns({layer: torch.full_like(each, 2.0) for layer, each in features.items()}, {}, (4, 6))
    torch.testing.assert_close(flat, torch.full_like(flat, 2.0))


# ---------------------------------------------------------------------------------------------------- distances


def test_cosine_distances_are_0_parallel_1_orthogonal_and_2_opposite() -> None:
    x = torch.tensor([[2.0, 0.0]])
    y = torch.tensor([[5.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])
    assert cosine_distances(x, y).tolist() == [[0.0, 1.0, 2.0]]


def test_euclidean_distances_agree_with_cdist() -> None:
    x, y = some(7, 3), some(9, 3, seed=1)
    torch.testing.assert_close(euclidean_distances(x, y), torch.cdist(x, y))


def test_nearest_gives_the_same_result_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, keys = some(50, 8), some(31, 8, seed=1)
    wanted = cosine_distances(queries, keys).argmin(1)
    assert torch.equal(nearest(queries, keys), wanted)
    monkeypatch.setattr("impasto.features.distributions._CHUNK", 31 * 7)
    assert torch.equal(nearest(queries, keys), wanted)


@given(counts, counts)
def test_relaxed_emd_is_a_lower_bound_and_0_at_the_target(n: int, seed: int) -> None:
    x, y = some(n, 3, seed=seed), some(n, 3, seed=seed + 100)
    distances = euclidean_distances(x, y)
    assert float(relaxed_emd(distances)) <= float(distances.diagonal().mean()) + 1e-5
    assert float(relaxed_emd(euclidean_distances(x, x.flip(0)))) < 2e-3


def test_moment_difference_matches_a_worked_example() -> None:
    x, y = moments_of(torch.tensor([[0.0, 0.0], [2.0, 0.0]])), moments_of(torch.tensor([[3.0, 0.0], [3.0, 0.0]]))
    assert float(moment_difference(x, y)) == pytest.approx(2 / 2 + 1 / 4)  # means 1 and 3, variances 1 and 0


@given(st.integers(2, 20), st.floats(0.1, 10))
def test_self_similarity_ignores_brightness_and_rotation(n: int, factor: float) -> None:
    rows = some(n, 4) + 0.5
    rotation = torch.linalg.qr(some(4, 4, seed=9)).Q
    torch.testing.assert_close(self_similarity(rows), self_similarity(factor * rows @ rotation), atol=1e-4, rtol=1e-3)


def test_self_similarity_has_column_means_of_1() -> None:
    torch.testing.assert_close(self_similarity(some(6, 4)).mean(0), torch.ones(6))


def test_compact_heads_preserve_lengths_and_angles() -> None:
    head = Affine(some(40, 6), some(40, seed=1))
    x, y = some(11, 6, seed=2), some(13, 6, seed=3)
    full, compact = ([rows @ each.matrix.T + each.bias for rows in (x, y)] for each in (head, head.compact()))
    assert compact[0].shape == (11, 7)
    torch.testing.assert_close(full[0] @ full[1].T, compact[0] @ compact[1].T, atol=1e-3, rtol=1e-4)


def test_a_head_with_fewer_output_channels_is_already_compact() -> None:
    head = Affine(some(6, 6), some(6, seed=1))
    assert head.compact() is head


# ---------------------------------------------------------------------------------------------------- one dimension


@given(st.integers(1, 40), st.integers(1, 12))
def test_directions_are_orthonormal(count: int, channels: int) -> None:
    found = directions(count, channels, torch.Generator().manual_seed(0))
    assert found.shape == (count, channels)
    products = found[:channels] @ found[:channels].T
    torch.testing.assert_close(products, torch.eye(min(count, channels)), atol=1e-5, rtol=0)


def test_no_more_directions_are_made_orthogonal_than_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    factor, seen = torch.linalg.qr, []

    def factored(matrix: torch.Tensor) -> object:
        seen.append(tuple(matrix.shape))
        return factor(matrix)

    monkeypatch.setattr(torch.linalg, "qr", factored)
    assert directions(64, 512, torch.Generator().manual_seed(0)).shape == (64, 512)
    assert directions(10, 4, torch.Generator().manual_seed(0)).shape == (10, 4)
    assert seen == [(512, 64), (4, 4), (4, 4), (4, 2)]


def test_directions_point_everywhere_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    found = torch.cat([directions(2, 3, generator) for _ in range(3000)])
    torch.testing.assert_close(found.T @ found / len(found), torch.eye(3) / 3, atol=0.02, rtol=0)


@given(counts, counts)
def test_quantiles_are_sorted_in_range_and_unchanged_at_the_same_count(n: int, count: int) -> None:
    values = some(2, n).sort(dim=1).values
    found = quantiles(values, count)
    assert found.shape == (2, count)
    assert bool((found.diff(dim=1) >= -1e-6).all())
    assert float(found.min()) >= float(values.min()) - 1e-6
    assert float(found.max()) <= float(values.max()) + 1e-6
    assert torch.equal(quantiles(values, n), values)


def test_sliced_distance_in_one_dimension_equals_the_wasserstein_distance() -> None:
    x, y = some(1, 200), some(1, 200, seed=1) * 2 + 1
    wanted = (x.sort().values - y.sort().values).square().mean()
    torch.testing.assert_close(sliced_distance(x, y), wanted)
    first = scipy.stats.wasserstein_distance(x[0].numpy(), y[0].numpy())  # of order 1: a lower bound of that of order 2
    assert math.sqrt(float(wanted)) >= first


def test_sliced_distance_of_two_gaussians_agrees_with_their_moments(random: torch.Generator) -> None:
    x, y = torch.randn(1, 20_000, generator=random), 3 + 2 * torch.randn(1, 7_000, generator=random)
    assert float(sliced_distance(x, y)) == pytest.approx(3**2 + (2 - 1) ** 2, rel=0.03)


def test_matched_values_have_the_target_histogram(random: torch.Generator) -> None:
    values, wanted = torch.randn(2, 5000, generator=random), torch.rand(2, 256, generator=random).sort(dim=1).values
    matched = histogram_matched(values, wanted)
    for found, target in zip(matched, wanted, strict=True):
        assert scipy.stats.ks_2samp(found.numpy(), target.numpy()).statistic < 0.02
    assert bool((matched.gather(1, values.argsort(dim=1)).diff(dim=1) >= -1e-5).all())  # the order of values is kept


def test_matching_a_histogram_to_itself_hardly_changes_values(random: torch.Generator) -> None:
    values = torch.randn(1, 20_000, generator=random)
    wanted = torch.nn.functional.interpolate(values.sort().values[None], size=256, mode="linear", align_corners=True)[0]
    difference = (histogram_matched(values, wanted) - values).square().mean()
    assert float(difference) < 5e-3


def test_a_constant_channel_can_be_matched() -> None:
    matched = histogram_matched(torch.zeros(1, 10), torch.linspace(0, 1, 256)[None])
    assert bool(matched.isfinite().all())


# ---------------------------------------------------------------------------------------------------- patches


@given(st.integers(3, 9), st.integers(3, 9))
def test_reassembled_patches_equal_the_features(height: int, width: int) -> None:
    features = some(1, 3, height, width)
    cut = patches(features)
    assert cut.shape == ((height - 2) * (width - 2), 27)
    again, count = put_together(cut, (height, width))
    torch.testing.assert_close(again, features)
    assert float(count.max()) <= 9


def test_leading_directions_span_low_rank_rows(random: torch.Generator) -> None:
    rows = some(60, 3) @ some(3, 20, seed=1)
    basis = leading(rows, 3, random)
    torch.testing.assert_close(basis.T @ basis, torch.eye(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows @ basis @ basis.T, rows, atol=1e-3, rtol=1e-3)


def test_unit_rows_have_length_1_and_zero_rows_stay_zero() -> None:
    found = unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


def test_centered_rows_have_mean_0() -> None:
    torch.testing.assert_close(centered(some(9, 4)).mean(0), torch.zeros(4), atol=1e-6, rtol=0)

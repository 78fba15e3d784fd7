"""Statistics of features: worked examples, and properties that hold at any size."""

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st

from impasto.errors import OptionError
from impasto.features.statistics import (
    Affine,
    Guide,
    Moments,
    blend,
    gram_matrix,
    guided_moments,
    moments,
    precise,
    root_trace,
    sqrtm,
)


def features(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def positive(seed: int, size: int) -> torch.Tensor:
    root = features(seed, 1, size, size)
    return root @ root.transpose(1, 2) + 0.1 * torch.eye(size, dtype=torch.float64)


sizes = st.tuples(st.integers(1, 2), st.integers(1, 6), st.integers(1, 7), st.integers(1, 7))
seeds = st.integers(0, 1000)

# ---------------------------------------------------------------------------------------------------- Gram matrices


def test_gram_matrix_averages_products_of_channels_over_positions() -> None:
    # channels (1, 2) and (3, 4) over two positions: 1·1 + 2·2 = 5, 1·3 + 2·4 = 11, 3·3 + 4·4 = 25, each over 2
    assert gram_matrix(torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]]))[0].tolist() == [[2.5, 5.5], [5.5, 12.5]]


@given(seeds, sizes)
def test_gram_matrix_is_symmetric_and_positive(seed: int, size: tuple[int, int, int, int]) -> None:
    G = gram_matrix(features(seed, *size))
    assert G.shape == (size[0], size[1], size[1])
    torch.testing.assert_close(G, G.transpose(1, 2))
    assert bool((torch.linalg.eigvalsh(G) > -1e-12).all())


@given(seeds, sizes)
def test_gram_matrix_ignores_position(seed: int, size: tuple[int, int, int, int]) -> None:
    F = features(seed, *size)
    shuffled = F.flatten(2)[:, :, torch.randperm(size[2] * size[3], generator=torch.Generator().manual_seed(seed))]
    torch.testing.assert_close(gram_matrix(shuffled[..., None]), gram_matrix(F))


def test_gram_matrix_does_not_change_if_a_picture_is_repeated() -> None:
    F = features(0, 1, 3, 4, 5)
    torch.testing.assert_close(gram_matrix(F.repeat(1, 1, 2, 3)), gram_matrix(F))


def test_the_gradient_of_gram_matrix_agrees_with_finite_differences() -> None:
    assert torch.autograd.gradcheck(gram_matrix, features(0, 1, 3, 2, 2).requires_grad_())


# ---------------------------------------------------------------------------------------------------- moments


def test_moments_are_the_mean_and_the_uncorrected_covariance() -> None:
    # (0, 2) and (1, 5): means 1 and 3; deviations ∓1 and ∓2, whose products are 1, 2, 2, 4
    measured = moments(torch.tensor([[[[0.0, 2.0]], [[1.0, 5.0]]]]))
    assert measured.mean.tolist() == [[1.0, 3.0]]
    assert measured.covariance.tolist() == [[[1.0, 2.0], [2.0, 4.0]]]
    assert measured.deviation.tolist() == [[1.0, 2.0]]
    assert measured.gram.tolist() == [[[2.0, 5.0], [5.0, 13.0]]]


@pytest.mark.slow
@given(seeds, sizes)
def test_moments_agree_with_torch_and_with_the_gram_matrix(seed: int, size: tuple[int, int, int, int]) -> None:
    F = features(seed, *size)
    measured = moments(F)
    assert measured.mean.shape == size[:2]
    expected = torch.cov(F[0].flatten(1), correction=0).reshape(size[1], size[1])
    torch.testing.assert_close(measured.covariance[0], expected)
    torch.testing.assert_close(measured.gram, gram_matrix(F))


@given(seeds, sizes, st.floats(-3, 3))
def test_shifted_moments_equal_the_moments_of_shifted_features(
    seed: int, size: tuple[int, int, int, int], shift: float
) -> None:
    F = features(seed, *size)
    torch.testing.assert_close(moments(F).shifted(shift).gram, moments(F + shift).gram)


@pytest.mark.parametrize(
    ("given_type", "type_of_statistics"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_moments_are_at_least_float32(given_type: torch.dtype, type_of_statistics: torch.dtype) -> None:
    measured = moments(features(0, 1, 2, 3, 3, dtype=torch.float32).to(given_type))
    assert measured.mean.dtype == measured.covariance.dtype == type_of_statistics
    assert precise(torch.zeros(1, dtype=given_type)).dtype == type_of_statistics


def test_moments_of_bfloat16_features_with_a_large_mean_keep_their_spread() -> None:
    F = 20 + features(0, 1, 4, 64, 64, dtype=torch.float32)
    exact, rough = moments(F), moments(F.bfloat16())
    torch.testing.assert_close(rough.mean, exact.mean, rtol=1e-3, atol=0)
    assert bool(((rough.covariance - exact.covariance).norm() < 0.02 * exact.covariance.norm()).all())


def test_the_gradient_of_moments_agrees_with_finite_differences() -> None:
    def statistics(F: torch.Tensor) -> tuple[torch.Tensor, ...]:
        measured = moments(F)
        return measured.mean, measured.covariance, measured.deviation

    assert torch.autograd.gradcheck(statistics, features(0, 1, 3, 2, 3).requires_grad_())


def test_the_deviation_of_a_constant_channel_has_a_finite_gradient() -> None:
    F = torch.ones(1, 2, 3, 3, requires_grad=True)
    moments(F).deviation.sum().backward()
    assert F.grad is not None
    assert bool(F.grad.isfinite().all())


# ---------------------------------------------------------------------------------------------------- heads


def test_affine_maps_every_position_identically() -> None:
    head = Affine(torch.tensor([[1.0, 2.0], [0.0, -1.0], [3.0, 0.0]]), torch.tensor([0.5, 0.0, 1.0]))
    mapped = head.features(torch.tensor([[[[1.0, 0.0]], [[10.0, 20.0]]]]))
    assert mapped[0, :, 0].T.tolist() == [[21.5, -10.0, 4.0], [40.5, -20.0, 1.0]]


@given(seeds, sizes, st.integers(1, 5))
def test_mapping_moments_equals_measuring_mapped_features(seed: int, size: tuple[int, int, int, int], out: int) -> None:
    F = features(seed, *size)
    head = Affine(features(seed + 1, out, size[1]), features(seed + 2, out))
    expected, found = moments(head.features(F)), head.moments(moments(F))
    torch.testing.assert_close(found.mean, expected.mean)
    torch.testing.assert_close(found.covariance, expected.covariance)


# ---------------------------------------------------------------------------------------------------- the square root


@given(seeds, st.integers(1, 8))
def test_the_square_root_squared_is_the_matrix(seed: int, size: int) -> None:
    matrix = positive(seed, size)
    root = sqrtm(matrix, iterations=30)
    torch.testing.assert_close(root @ root, matrix, rtol=1e-6, atol=1e-8)


def test_the_square_root_agrees_with_scipy_for_well_conditioned_matrices() -> None:
    matrix = positive(3, 6)
    np.testing.assert_allclose(sqrtm(matrix)[0].numpy(), scipy.linalg.sqrtm(matrix[0].numpy()), rtol=1e-3, atol=1e-3)


def test_the_square_root_of_zero_is_zero() -> None:
    nothing = torch.zeros(1, 3, 3, requires_grad=True)
    root = sqrtm(nothing)
    root.sum().backward()
    assert bool((root == 0).all())
    assert nothing.grad is not None
    assert bool(nothing.grad.isfinite().all())


def test_the_root_trace_of_a_decaying_spectrum_is_within_one_percent() -> None:
    turn, _ = torch.linalg.qr(features(0, 64, 64))
    values = torch.exp(-0.3 * torch.arange(64, dtype=torch.float64))
    root = sqrtm(((turn * values) @ turn.T)[None])[0]
    assert float(root.trace()) == pytest.approx(float(values.sqrt().sum()), rel=0.01)


def test_the_gradient_of_the_square_root_agrees_with_finite_differences() -> None:
    matrix = positive(0, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: sqrtm((m + m.transpose(1, 2)) / 2), matrix)


def test_root_trace_and_its_gradient_agree_with_sqrtm() -> None:
    turn, _ = torch.linalg.qr(features(0, 32, 32))
    values = torch.exp(-0.7 * torch.arange(32, dtype=torch.float64))  # includes eigenvalues too small for the iteration
    matrices = torch.stack([(turn * values) @ turn.T, positive(1, 32)[0]])
    found, expected = (matrices.clone().requires_grad_() for _ in range(2))
    trace = root_trace(found)
    roots = torch.diagonal(sqrtm(expected), dim1=1, dim2=2).sum()
    torch.testing.assert_close(trace, roots)
    trace.backward()
    roots.backward()
    torch.testing.assert_close(found.grad, expected.grad)


def test_root_trace_is_0_for_zeros_and_nan_for_nan() -> None:
    nothing = torch.zeros(1, 3, 3, requires_grad=True)
    root_trace(nothing).backward()
    assert nothing.grad is not None
    assert bool(nothing.grad.isfinite().all())
    broken = torch.full((1, 3, 3), torch.nan, requires_grad=True)
    trace = root_trace(broken)
    trace.backward()
    assert bool(trace.isnan())
    assert broken.grad is not None
    assert bool(broken.grad.isnan().all())


# ---------------------------------------------------------------------------------------------------- blending


def style(mean: float, variance: float) -> Moments:
    return Moments(torch.tensor([[mean]]), torch.tensor([[[variance]]]))


def test_a_blend_averages_moments_by_weight() -> None:
    blended = blend([style(0, 1), style(4, 5)], [1, 3])
    assert (blended.mean.item(), blended.covariance.item()) == (3.0, 4.0)


def test_a_negative_weight_moves_the_blend_away() -> None:
    blended = blend([style(1, 2), style(4, 5)], [2, -1])
    assert (blended.mean.item(), blended.covariance.item()) == (-2.0, -1.0)


@given(seeds, st.integers(1, 5))
def test_possible_moments_only_remove_negative_variances(seed: int, channels: int) -> None:
    a, b = (moments(features(seed + k, 1, channels, 4, 4)) for k in range(2))
    covariance = blend([a, b], [2, -1]).possible().covariance
    assert bool((torch.linalg.eigvalsh(covariance) > -1e-12).all())
    torch.testing.assert_close(a.possible().covariance, a.covariance)
    assert blend([style(1, 2), style(4, 5)], [2, -1]).possible().covariance.item() == 0.0


@given(seeds, st.lists(st.floats(0.1, 10), min_size=1, max_size=4), st.floats(0.1, 100))
def test_only_the_ratios_of_the_weights_matter(seed: int, weights: list[float], factor: float) -> None:
    styles = [moments(features(seed + k, 1, 3, 4, 4)) for k in range(len(weights))]
    found, expected = blend(styles, [factor * weight for weight in weights]), blend(styles, weights)
    torch.testing.assert_close(found.covariance, expected.covariance)
    alone = blend([styles[0]] * len(weights), weights)
    torch.testing.assert_close(alone.mean, styles[0].mean)


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ([1.0], "1 style weights were given for 2 styles; give one weight for each style"),
        ([1.0, -1.0], "sum to 0; their sum must be above 0"),
        ([1.0, -3.0], "sum to -2; their sum must be above 0"),
    ],
)
def test_invalid_blend_weights_are_refused(weights: list[float], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        blend([style(0, 1), style(1, 1)], weights)


# ---------------------------------------------------------------------------------------------------- under guides


def weighted(rows: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute mean and covariance of rows (positions, channels) from their definitions."""
    shares = weights.flatten().to(rows) / weights.sum().to(rows)
    mean = shares @ rows
    return mean, (rows - mean).T @ ((rows - mean) * shares[:, None])


@pytest.mark.parametrize("channels", [1, 5])
def test_guided_moments_are_weighted_means_and_covariances(channels: int) -> None:
    maps = features(0, 1, 5, 9, 8)
    soft, hard = torch.rand(1, 1, 9, 8, generator=torch.Generator().manual_seed(1)), torch.zeros(1, 1, 9, 8)
    hard[..., :3] = 1
    guides = [Guide.of(each, channels, maps.dtype) for each in (soft, hard)]
    assert all(guides)
    found = guided_moments(maps, [guide for guide in guides if guide])
    for measured, mask in zip(found, (soft, hard), strict=True):
        mean, covariance = weighted(maps.flatten(2)[0].T, mask)
        torch.testing.assert_close(measured.mean[0], mean, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(measured.covariance[0], covariance, atol=1e-6, rtol=1e-5)


def test_moments_under_a_full_guide_equal_those_of_the_whole_picture() -> None:
    maps = features(1, 1, 4, 6, 7)
    guide = Guide.of(torch.full((1, 1, 6, 7), 0.4), 4, maps.dtype)
    assert guide is not None
    assert guide.rows is None
    assert guide.area == pytest.approx(0.4)
    (found,), expected = guided_moments(maps, [guide]), moments(maps)
    torch.testing.assert_close(found.mean, expected.mean)
    torch.testing.assert_close(found.covariance, expected.covariance)


def test_positions_outside_a_guide_do_not_count() -> None:
    maps, mask = features(2, 1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1
    guide = Guide.of(mask, 3, maps.dtype)
    assert guide is not None
    other = maps.clone()
    other[..., 4:] += 100
    (one,), (two,) = guided_moments(maps, [guide]), guided_moments(other, [guide])
    assert torch.equal(one.mean, two.mean)
    assert torch.equal(one.covariance, two.covariance)


def test_the_gradient_of_guided_moments_is_exact_for_overlapping_guides() -> None:
    maps = features(3, 1, 3, 5, 8).double().requires_grad_()
    soft, hard = torch.rand(1, 1, 5, 8, generator=torch.Generator().manual_seed(1)), torch.zeros(1, 1, 5, 8)
    hard[..., :5] = 1
    guides = [guide for guide in (Guide.of(soft, 3, torch.float64), Guide.of(hard, 1, torch.float64)) if guide]
    assert len(guides) == 2

    def statistics(values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(part for each in guided_moments(values, guides) for part in (each.mean, each.covariance))

    assert torch.autograd.gradcheck(statistics, maps)


def test_guided_moments_of_bf16_features_are_accurate_to_three_digits() -> None:
    maps, mask = features(4, 1, 6, 40, 40) + 20, torch.zeros(1, 1, 40, 40)
    mask[..., 7:30, :] = 1
    guide = Guide.of(mask, 6, torch.bfloat16)
    assert guide is not None
    rough = maps.bfloat16()
    mean, covariance = weighted(rough.double().flatten(2)[0].T, mask)
    (found,) = guided_moments(rough, [guide])
    torch.testing.assert_close(found.mean[0].double(), mean, atol=2e-2, rtol=1e-3)
    torch.testing.assert_close(found.covariance[0].double(), covariance, atol=1e-2, rtol=1e-2)


def test_a_guide_with_too_few_positions_is_none() -> None:
    speck = torch.zeros(1, 1, 8, 8)
    assert Guide.of(speck) is None
    speck[..., 0, :3] = 1
    assert Guide.of(speck) is None
    speck[..., 0, :4] = 1
    assert Guide.of(speck) is not None

"""Normalizations: the divisor of each published method, written out."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impasto.features.statistics import Moments, moments
from impasto.losses.normalization import content_weight, gram_weight, moment_weights, squares, wasserstein_weight
from impasto.options import ContentNormalization, StyleNormalization

TARGET = torch.randn(1, 3, 4, 5, generator=torch.Generator().manual_seed(0))
STYLE = moments(TARGET)
N, M = 3, 20


def test_squares_sums_over_all_entries() -> None:
    assert squares(torch.tensor([[1.0, 2.0], [3.0, 4.0]])) == 30.0


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        ("relative", 1 / float(TARGET.square().sum())),
        ("mean", 2.5**2 / (N * M)),
        ("half-sum", 2.5**2 / 2),
        ("deeplearning-ai", 2.5**2 / (4 * N * M)),
        ("sum", 2.5**2),
        ("root", 2.5**2 / (2 * math.sqrt(N) * math.sqrt(M))),
        ("scaled", 2.5),
    ],
)
def test_content_is_divided_as_published(normalization: ContentNormalization, expected: float) -> None:
    assert content_weight(normalization, TARGET, scale=2.5) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        ("relative", 1 / float(STYLE.gram.square().sum())),
        # of Gram matrices averaged over M positions: Σ(G - A)² is M² times theirs
        ("gatys", 2.5**4 * M**2 / (4 * N**2 * M**2)),
        ("network", 2.5**4 * M**2 / (4 * 3**2 * 80**2)),
        ("neural-style", 2.5**4 * M**2 / (N * M) ** 2 / N**2),
        ("channels", 2.5**4 / N**2),
    ],
)
def test_gram_matrices_are_divided_as_published(normalization: StyleNormalization, expected: float) -> None:
    assert gram_weight(normalization, STYLE, M, 80, scale=2.5) == pytest.approx(expected)


def test_the_wasserstein_weight_is_a_mean_over_channels_or_relative_to_the_power() -> None:
    assert wasserstein_weight("channels", STYLE, scale=2.5) == pytest.approx(2.5**2 / N)
    assert wasserstein_weight("relative", STYLE) == pytest.approx(1 / float(TARGET.square().sum() / M), rel=1e-5)


def test_means_and_deviations_are_relative_to_the_styles_own() -> None:
    mean, deviation = moment_weights(STYLE)
    assert mean == pytest.approx(1 / squares(STYLE.mean))
    assert deviation == pytest.approx(1 / squares(STYLE.deviation))


@given(st.floats(0.01, 100))
def test_a_relative_loss_does_not_depend_on_the_size_of_the_features(factor: float) -> None:
    other = moments(factor * TARGET)
    difference = content_weight("relative", factor * TARGET) * squares(factor * TARGET)
    assert difference == pytest.approx(1)
    assert gram_weight("relative", other, M, 80) * squares(other.gram) == pytest.approx(1)
    for weight, values in zip(moment_weights(other), (other.mean, other.deviation), strict=True):
        assert weight * squares(values) == pytest.approx(1)


def test_a_style_of_one_color_does_not_dominate_the_loss() -> None:
    flat = moments(torch.full((1, 3, 4, 4), 50.0))
    mean, deviation = moment_weights(flat)
    assert mean == pytest.approx(1 / (3 * 50**2))
    assert deviation == pytest.approx(100 / (3 * 50**2))  # as if features deviated by a tenth of themselves


@pytest.mark.parametrize("normalization", ["relative", "gatys", "network", "neural-style", "channels"])
def test_a_style_without_features_gives_finite_weights(normalization: StyleNormalization) -> None:
    nothing = Moments(torch.zeros(1, 3), torch.zeros(1, 3, 3))
    found = [gram_weight(normalization, nothing, M, 80), wasserstein_weight(normalization, nothing), *moment_weights(nothing)]
    assert all(math.isfinite(weight) for weight in found)
    assert math.isfinite(content_weight("relative", torch.zeros(1, 3, 2, 2)))

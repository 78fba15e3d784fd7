import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from impasto.classic import content_cost, gram_matrix, layer_style_cost, style_cost, total_cost
from impasto.errors import OptionError, ShapeError

SIZES = st.tuples(st.just(1), st.integers(1, 5), st.integers(1, 5), st.integers(1, 6))
SEEDS = st.integers(0, 2**32 - 1)


def activations(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def unroll(a: np.ndarray) -> np.ndarray:
    return a.reshape(-1, a.shape[-1]).T


# ------------------------------------------------------------------------------------------------------ known numbers


def test_content_cost_of_one_changed_number_matches_the_formula() -> None:
    a_C = np.zeros((1, 2, 2, 3))
    a_G = a_C.copy()
    a_G[0, 1, 0, 2] = 6
    assert content_cost(a_C, a_G) == 36 / (4 * 2 * 2 * 3)


def test_content_cost_matches_a_worked_example() -> None:
    a_C = np.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 2, 2)
    a_G = np.array([0.0, 2.0, 5.0, 1.0]).reshape(1, 1, 2, 2)
    assert content_cost(a_C, a_G) == (1 + 0 + 4 + 9) / 16


def test_gram_matrix_matches_a_worked_example() -> None:
    A = np.array([[1.0, 0.0, 2.0], [0.0, 3.0, -1.0]])
    assert gram_matrix(A).tolist() == [[5.0, -2.0], [-2.0, 10.0]]


def test_layer_style_cost_matches_a_worked_example() -> None:
    a_S = np.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 2, 2)  # positions (1, 2) and (3, 4): G_S = [[10, 14], [14, 20]]
    a_G = np.array([1.0, 0.0, 0.0, 1.0]).reshape(1, 1, 2, 2)  # positions (1, 0) and (0, 1): G_G = identity
    assert layer_style_cost(a_S, a_G) == (9**2 + 14**2 + 14**2 + 19**2) / (4 * 2**2 * 2**2)


def test_style_cost_weighs_each_layer() -> None:
    shallow = activations((1, 4, 4, 2), 0), activations((1, 4, 4, 2), 1)
    deep = activations((1, 2, 2, 5), 2), activations((1, 2, 2, 5), 3)
    expected = 0.2 * layer_style_cost(*shallow) + 3 * layer_style_cost(*deep)
    assert style_cost([shallow, deep], [0.2, 3]) == pytest.approx(expected)


def test_total_cost_has_the_weights_of_the_assignment() -> None:
    assert total_cost(1.0, 0.0) == 10
    assert total_cost(0.0, 1.0) == 40
    assert total_cost(2.0, 3.0, 5, 7) == 2 * 5 + 3 * 7
    assert total_cost(2.0, 3.0, alpha=0.5, beta=0) == 1


# --------------------------------------------------------------------------------------------------------------- laws


@given(SIZES, SEEDS)
def test_gram_matrix_ignores_position(shape: tuple[int, ...], seed: int) -> None:
    A = unroll(activations(shape, seed))
    elsewhere = np.random.default_rng(seed).permutation(A.shape[1])
    assert_allclose(gram_matrix(A[:, elsewhere]), gram_matrix(A), atol=1e-12)


@given(SIZES, SEEDS)
def test_gram_matrix_is_symmetric_and_has_no_negative_eigenvalue(shape: tuple[int, ...], seed: int) -> None:
    G = gram_matrix(unroll(activations(shape, seed)))
    assert G.shape == (shape[-1], shape[-1])
    assert_allclose(G, G.T)
    assert np.linalg.eigvalsh(G).min() >= -1e-9


@given(SIZES, SEEDS)
def test_layer_style_cost_ignores_position(shape: tuple[int, ...], seed: int) -> None:
    a_S, a_G = activations(shape, seed), activations(shape, seed + 1)
    assert layer_style_cost(a_S, a_G[:, ::-1, ::-1]) == pytest.approx(layer_style_cost(a_S, a_G))


@given(SIZES, SEEDS)
def test_costs_are_symmetric_and_0_only_for_equal_inputs(shape: tuple[int, ...], seed: int) -> None:
    a, b = activations(shape, seed), activations(shape, seed + 1)
    for cost in (content_cost, layer_style_cost):
        assert cost(a, a) == 0
        assert cost(a, b) == pytest.approx(cost(b, a))
        assert cost(a, b) > 0


@given(SIZES, SEEDS, st.floats(0.1, 10))
def test_costs_grow_with_the_square_and_the_fourth_power_of_the_activations(
    shape: tuple[int, ...], seed: int, k: float
) -> None:
    a, b = activations(shape, seed), activations(shape, seed + 1)
    assert content_cost(k * a, k * b) == pytest.approx(k**2 * content_cost(a, b))
    assert layer_style_cost(k * a, k * b) == pytest.approx(k**4 * layer_style_cost(a, b))


# -------------------------------------------------------------------------------------------------- arrays and tensors


@given(SIZES, SEEDS)
def test_arrays_and_tensors_agree(shape: tuple[int, ...], seed: int) -> None:
    a, b = activations(shape, seed), activations(shape, seed + 1)
    t, u = torch.from_numpy(a), torch.from_numpy(b)
    assert_allclose(gram_matrix(torch.from_numpy(unroll(a))).numpy(), gram_matrix(unroll(a)))
    assert content_cost(t, u).item() == pytest.approx(content_cost(a, b))
    assert layer_style_cost(t, u).item() == pytest.approx(layer_style_cost(a, b))
    assert style_cost([(t, u)], [0.2]).item() == pytest.approx(style_cost([(a, b)], [0.2]))


def test_arrays_give_floats_and_tensors_give_scalar_tensors() -> None:
    a, b = activations((1, 2, 3, 4), 0).astype(np.float32), activations((1, 2, 3, 4), 1).astype(np.float32)
    t, u = torch.from_numpy(a), torch.from_numpy(b)
    for cost in (content_cost, layer_style_cost, lambda x, y: style_cost([(x, y)], [1])):
        assert type(cost(a, b)) is float
        assert cost(t, u).shape == ()
        assert cost(t, u).dtype == torch.float32
        assert type(total_cost(cost(a, b), cost(a, b))) is float


def test_uint8_does_not_overflow() -> None:
    black, white = np.zeros((1, 2, 2, 3), np.uint8), np.full((1, 2, 2, 3), 255, np.uint8)
    assert content_cost(black, white) == content_cost(white, black) == 255**2 / 4
    assert content_cost(torch.from_numpy(black), torch.from_numpy(white)).item() == 255**2 / 4
    assert gram_matrix(white[0, 0]).tolist() == [[3 * 255**2] * 2] * 2


def test_float16_does_not_overflow() -> None:
    a, b = np.full((1, 8, 8, 8), 60, np.float16), np.zeros((1, 8, 8, 8), np.float16)
    assert content_cost(a, b) == 900
    assert content_cost(torch.from_numpy(a), torch.from_numpy(b)).item() == 900


@pytest.mark.slow
def test_gradients_agree_with_finite_differences(random: torch.Generator) -> None:
    a_C, a_S, a_G = (torch.randn(1, 3, 2, 4, dtype=torch.float64, generator=random) for _ in range(3))

    def cost(a: torch.Tensor) -> torch.Tensor:
        return total_cost(content_cost(a_C, a), style_cost([(a_S, a), (a_C, a)], [0.2, 0.8]))

    assert torch.autograd.gradcheck(cost, a_G.requires_grad_())


def test_gradient_of_the_content_cost_points_away_from_the_content() -> None:
    a_C, a_G = torch.zeros(1, 2, 2, 3), torch.full((1, 2, 2, 3), 6.0, requires_grad=True)
    content_cost(a_C, a_G).backward()
    assert a_G.grad is not None
    assert_allclose(a_G.grad.numpy(), 2 * 6 / (4 * 2 * 2 * 3))


@pytest.mark.slow
def test_arrays_do_not_import_torch() -> None:
    program = "import sys, numpy, impasto.classic as c; c.gram_matrix(numpy.eye(2)); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


# ------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("cost", [content_cost, layer_style_cost])
@pytest.mark.parametrize("shape", [(2, 2, 3), (2, 2, 2, 3), (1, 0, 2, 3), ()])
def test_costs_report_which_shape_is_wrong(cost: object, shape: tuple[int, ...]) -> None:
    assert callable(cost)
    with pytest.raises(ShapeError, match=r"a_G has shape .*; it must be \(1, n_H, n_W, n_C\)"):
        cost(np.zeros((1, 2, 2, 3)), np.zeros(shape))


@pytest.mark.parametrize("cost", [content_cost, layer_style_cost])
def test_costs_refuse_different_sizes(cost: object) -> None:
    assert callable(cost)
    with pytest.raises(ShapeError, match=r"\(1, 2, 2, 3\) but a_G has \(1, 2, 4, 3\); use pictures of the same size"):
        cost(torch.zeros(1, 2, 2, 3), torch.zeros(1, 2, 4, 3))


def test_costs_refuse_an_array_with_a_tensor() -> None:
    with pytest.raises(OptionError, match="a_C has type ndarray but a_G has Tensor; give two arrays or two tensors"):
        content_cost(np.zeros((1, 2, 2, 3)), torch.zeros(1, 2, 2, 3))  # type: ignore[call-overload]


@pytest.mark.parametrize("shape", [(3,), (1, 2, 3), (1, 2, 2, 3)])
def test_gram_matrix_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    for A in (np.zeros(shape), torch.zeros(shape)):
        with pytest.raises(ShapeError, match=r"gram_matrix needs \(n_C, n_H \* n_W\)"):
            gram_matrix(A)


@pytest.mark.parametrize(("layers", "weights"), [(0, 0), (1, 0), (2, 3)])
def test_style_cost_requires_a_weight_for_each_layer(layers: int, weights: int) -> None:
    pair = np.zeros((1, 2, 2, 3)), np.zeros((1, 2, 2, 3))
    with pytest.raises(OptionError, match=f"given {layers} layers and {weights} weights; give one weight for each layer"):
        style_cost([pair] * layers, [1.0] * weights)

"""The equations of the deeplearning.ai assignment "Art Generation with Neural Style Transfer", as functions.

They are meant to be read, and to be used in a notebook. The functions whose names begin with ``compute_`` have the names and
arguments of the assignment; :mod:`impasto.classic.grade` checks a student's version of them. For NumPy arrays a cost is a
``float``; for torch tensors it is a differentiable scalar tensor. Activations have the assignment's shape
``(1, n_H, n_W, n_C)``; convert torch's ``(1, n_C, n_H, n_W)`` with ``a.permute(0, 2, 3, 1)``. The letters are the
assignment's: C for the content picture, S for the style picture, G for the generated picture.

impasto itself uses :mod:`impasto.losses.features`. There, the same weights work for pictures of any
size; here, suitable weights depend on the size.

Importing this module does not import torch.

Source:
    Gatys, Ecker and Bethge 2015, "A Neural Algorithm of Artistic Style", arXiv:1508.06576, in the form of the programming
    assignment in week 4 of deeplearning.ai's course Convolutional Neural Networks.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from impasto.errors import OptionError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor

    Array = TypeVar("Array", NDArray[Any], Tensor)
    Cost = TypeVar("Cost", float, Tensor)

__all__ = [
    "STYLE_LAYERS",
    "compute_content_cost",
    "compute_layer_style_cost",
    "compute_style_cost",
    "content_cost",
    "gram_matrix",
    "layer_style_cost",
    "style_cost",
    "total_cost",
]

STYLE_LAYERS: tuple[tuple[str, float], ...] = tuple((f"relu{block}_1", 0.2) for block in range(1, 6))
"""The assignment's style layers, from fine to coarse, each with its weight λ; there, ``conv1_1`` includes the ReLU."""


@overload
def content_cost(a_C: NDArray[Any], a_G: NDArray[Any]) -> float: ...
@overload
def content_cost(a_C: Tensor, a_G: Tensor) -> Tensor: ...
def content_cost(a_C: Any, a_G: Any) -> Any:
    """Measure how far the generated picture's activations are from the content's.

    ``J_content = Σ (a_C − a_G)² / (4 · n_H · n_W · n_C)``

    Args:
        a_C: the content's activations of one layer, (1, n_H, n_W, n_C).
        a_G: the generated picture's activations of the same layer, (1, n_H, n_W, n_C).

    Returns:
        The cost, 0 or more: a float for arrays, a scalar tensor for tensors.

    Raises:
        ShapeError: the shapes differ, or are not (1, n_H, n_W, n_C).
        OptionError: one is an array and the other a tensor.

    Example:
        >>> import numpy as np
        >>> content_cost(np.full((1, 2, 2, 3), 3.0), np.full((1, 2, 2, 3), 1.0))
        1.0

    Source:
        Gatys et al. 2015, equation 1, with the assignment's divisor 4 · n_H · n_W · n_C in place of 2.
    """
    a_C, a_G = _activations(a_C, a_G, names=("a_C", "a_G"))
    _, n_H, n_W, n_C = a_C.shape
    return _sum_of_squares(a_C - a_G) / (4 * n_H * n_W * n_C)


def gram_matrix(A: Array) -> Array:
    """Compute the Gram matrix: the correlations between all channels, summed over all positions.

    ``G = A Aᵀ``, not normalized, unlike :func:`impasto.features.statistics.gram_matrix`.

    Args:
        A: the activations of one layer, unrolled: (n_C, n_H · n_W).

    Returns:
        The Gram matrix, (n_C, n_C), symmetric and positive semi-definite. It is an array or a tensor, like A.

    Raises:
        ShapeError: A is not a matrix.

    Example:
        >>> import numpy as np
        >>> gram_matrix(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [[5.0, 11.0], [11.0, 25.0]]

    Source:
        Gatys et al. 2015, equation 3.
    """
    if np.ndim(A) != 2:
        raise ShapeError(f"A has shape {_shape(A)}; gram_matrix needs (n_C, n_H * n_W): unroll the positions first")
    F: Array = _floats(A)
    with _exactly(F):
        G: Array = F @ F.T
    return G


@overload
def layer_style_cost(a_S: NDArray[Any], a_G: NDArray[Any]) -> float: ...
@overload
def layer_style_cost(a_S: Tensor, a_G: Tensor) -> Tensor: ...
def layer_style_cost(a_S: Any, a_G: Any) -> Any:
    """Measure how far the Gram matrix of the generated picture is from the style's, at one layer.

    ``J_style = Σ (G_S − G_G)² / (4 · n_C² · (n_H · n_W)²)``

    Args:
        a_S: the style's activations of one layer, (1, n_H, n_W, n_C).
        a_G: the generated picture's activations of the same layer, (1, n_H, n_W, n_C).

    Returns:
        The cost, 0 or more: a float for arrays, a scalar tensor for tensors.

    Raises:
        ShapeError: the shapes differ, or are not (1, n_H, n_W, n_C).
        OptionError: one is an array and the other a tensor.

    Example:
        >>> import numpy as np
        >>> layer_style_cost(np.full((1, 2, 2, 3), 2.0), np.zeros((1, 2, 2, 3)))
        4.0

    Source:
        Gatys et al. 2015, equation 4.
    """
    a_S, a_G = _activations(a_S, a_G, names=("a_S", "a_G"))
    _, n_H, n_W, n_C = a_S.shape
    G_S, G_G = (gram_matrix(a.reshape(n_H * n_W, n_C).T) for a in (a_S, a_G))
    return _sum_of_squares(G_S - G_G) / (4 * n_C**2 * (n_H * n_W) ** 2)


@overload
def style_cost(layers: Sequence[tuple[NDArray[Any], NDArray[Any]]], weights: Sequence[float]) -> float: ...
@overload
def style_cost(layers: Sequence[tuple[Tensor, Tensor]], weights: Sequence[float]) -> Tensor: ...
def style_cost(layers: Sequence[tuple[Any, Any]], weights: Sequence[float]) -> Any:
    """Sum the style costs of several layers, each with its weight.

    ``J_style = Σ_l λ_l · J_style^[l]``; the assignment uses five layers, relu1_1 to relu5_1, with λ = 0.2 for each.

    Args:
        layers: for each layer the pair (a_S, a_G) for :func:`layer_style_cost`; sizes may differ between layers.
        weights: λ, one number for each layer, in the same order; they need not sum to 1.

    Returns:
        The cost: a float for arrays, a scalar tensor for tensors.

    Raises:
        OptionError: there are no layers, or the number of weights differs from the number of layers.
        ShapeError: a pair has shapes that :func:`layer_style_cost` does not accept.

    Example:
        >>> import numpy as np
        >>> shallow = np.full((1, 2, 2, 3), 2.0), np.zeros((1, 2, 2, 3))
        >>> deep = np.full((1, 1, 1, 8), 2.0), np.zeros((1, 1, 1, 8))
        >>> style_cost([shallow, deep], weights=[0.5, 0.25])
        3.0

    Source:
        Gatys et al. 2015, equation 5.
    """
    if not layers or len(layers) != len(weights):
        raise OptionError(
            f"style_cost was given {len(layers)} layers and {len(weights)} weights; give one weight for each layer"
        )
    return sum(weight * layer_style_cost(a_S, a_G) for (a_S, a_G), weight in zip(layers, weights, strict=True))


def total_cost(J_content: Cost, J_style: Cost, alpha: float = 10, beta: float = 40) -> Cost:
    """Combine the content and style costs into the total cost, which is minimized to generate the picture.

    ``J = α · J_content + β · J_style``

    Args:
        J_content: the result of :func:`content_cost`.
        J_style: the result of :func:`style_cost`.
        alpha: the weight of the content; the assignment's is 10.
        beta: the weight of the style; the assignment's is 40.

    Returns:
        The total cost: a float for floats, a scalar tensor for tensors.

    Example:
        >>> total_cost(0.5, 0.25)
        15.0

    Source:
        Gatys et al. 2015, equation 7; the assignment's α and β.
    """
    return alpha * J_content + beta * J_style


# ------------------------------------------------------------------------- the names and arguments of the assignment


@overload
def compute_content_cost(content_output: Sequence[NDArray[Any]], generated_output: Sequence[NDArray[Any]]) -> float: ...
@overload
def compute_content_cost(content_output: Sequence[Tensor], generated_output: Sequence[Tensor]) -> Tensor: ...
def compute_content_cost(content_output: Any, generated_output: Any) -> Any:
    """Compute :func:`content_cost` of the last of several layers.

    Args:
        content_output: the content's activations of all layers, (1, n_H, n_W, n_C) each; the last is the content layer.
        generated_output: the generated picture's activations of the same layers.

    Returns:
        The cost, 0 or more: a float for arrays, a scalar tensor for tensors.

    Raises:
        OptionError: there are no layers, or arrays are mixed with tensors.
        ShapeError: the shapes differ, or are not (1, n_H, n_W, n_C).

    Example:
        >>> import numpy as np
        >>> style_layer = np.zeros((1, 4, 4, 2))
        >>> compute_content_cost([style_layer, np.full((1, 2, 2, 3), 3.0)], [style_layer, np.full((1, 2, 2, 3), 1.0)])
        1.0

    Source:
        See :func:`content_cost`.
    """
    if not len(content_output) or not len(generated_output):
        raise OptionError("compute_content_cost was given no layers; give the activations of at least one")
    return content_cost(content_output[-1], generated_output[-1])


compute_layer_style_cost = layer_style_cost
"""The name that the assignment uses for :func:`layer_style_cost`."""


def compute_style_cost(
    style_image_output: Sequence[Any],
    generated_image_output: Sequence[Any],
    STYLE_LAYERS: Sequence[tuple[str, float]] = STYLE_LAYERS,
) -> Any:
    """Compute :func:`style_cost` of all layers but the last, which is the content layer.

    Args:
        style_image_output: the style's activations of the style layers and the content layer, (1, n_H, n_W, n_C) each.
        generated_image_output: the generated picture's activations of the same layers.
        STYLE_LAYERS: name and weight λ of each style layer, in the order of the activations.

    Returns:
        The cost: a float for arrays, a scalar tensor for tensors.

    Raises:
        OptionError: the number of style layers is not one less than the number of activations.
        ShapeError: two activations have shapes that :func:`layer_style_cost` does not accept.

    Example:
        >>> import numpy as np
        >>> style, picture = np.full((1, 2, 2, 3), 2.0), np.zeros((1, 2, 2, 3))
        >>> compute_style_cost([style, style], [picture, picture], [("relu1_1", 0.25)])
        1.0

    Source:
        See :func:`style_cost`.
    """
    if len(style_image_output) != len(generated_image_output):
        raise OptionError(
            f"compute_style_cost was given {len(style_image_output)} activations of the style and "
            f"{len(generated_image_output)} of the generated picture; give those of the same layers"
        )
    pairs = list(zip(style_image_output, generated_image_output, strict=True))[:-1]
    return style_cost(pairs, [weight for _, weight in STYLE_LAYERS])


# --------------------------------------------------------------------------------- NumPy arrays and torch tensors


def _is_tensor(array: object) -> bool:
    torch = sys.modules.get("torch")  # if there is a tensor, torch is imported already
    return torch is not None and isinstance(array, torch.Tensor)


def _exactly(array: Any) -> AbstractContextManager[Any]:
    """Disable torch's autocast, which would multiply tensors in half precision."""
    if not _is_tensor(array):
        return nullcontext()
    exactly: AbstractContextManager[Any] = sys.modules["torch"].autocast(array.device.type, enabled=False)
    return exactly


def _floats(array: Any) -> Any:
    """Convert integers and float16 to float32; they would overflow when squared and summed."""
    if _is_tensor(array):
        return array if array.is_floating_point() and array.itemsize >= 4 else array.float()
    array = np.asarray(array)
    return array.astype(np.result_type(array, np.float32), copy=False)


def _shape(array: Any) -> tuple[int, ...]:
    return tuple(np.shape(array))


def _activations(first: Any, second: Any, *, names: tuple[str, str]) -> tuple[Any, Any]:
    """Check that two activations can be compared; ``names`` are their names in error messages."""
    if _is_tensor(first) != _is_tensor(second):
        kinds = type(first).__name__, type(second).__name__
        raise OptionError(f"{names[0]} has type {kinds[0]} but {names[1]} has {kinds[1]}; give two arrays or two tensors")
    for name, array in zip(names, (first, second), strict=True):
        shape = _shape(array)
        if len(shape) != 4 or shape[0] != 1 or 0 in shape:
            raise ShapeError(f"{name} has shape {shape}; it must be (1, n_H, n_W, n_C), one picture with channels last")
    if _shape(first) != _shape(second):
        raise ShapeError(
            f"{names[0]} has shape {_shape(first)} but {names[1]} has {_shape(second)}; "
            "use pictures of the same size and the same layer for both"
        )
    return _floats(first), _floats(second)


def _sum_of_squares(difference: Any) -> Any:
    total = (difference**2).sum()
    return total if _is_tensor(total) else float(total)

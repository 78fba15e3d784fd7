"""The color maps of :mod:`impasto.color.transfer` as ONNX nodes, in double precision."""

import numpy as np

from impasto.color.transfer import FAINT, MOST_GAIN
from impasto.features.neighbors import GRID_STRIDE
from impasto.features.statistics import Moments
from impasto.networks.onnx_graph import Graph

_ROUNDS = 28


def recolored(g: Graph, picture: str, target: Moments, strength: float) -> str:
    """Add nodes that give a picture the palette of a style, to the extent of ``strength``, 0 to 1; colors are not clipped."""
    rows = g.node("Reshape", picture, g.integers(3, -1))
    matrix, bias = _palette(g, rows, target)
    if strength < 1:
        matrix = g.node("Add", g.node("Mul", matrix, g.doubles(strength)), g.doubles((1 - strength) * np.eye(3)))
        bias = g.node("Mul", bias, g.doubles(strength))
    matrix, bias = (g.node("Cast", each, to=g.FLOAT) for each in (matrix, bias))
    return g.node("Reshape", g.node("Add", g.node("MatMul", matrix, rows), bias), g.node("Shape", picture))


def with_colors(g: Graph, columns: str, photo: str, padded: str, deviation: float) -> str:
    """Add the nodes of :func:`impasto.features.neighbors.with_colors` for the colors of a photo.

    Args:
        g: the graph.
        columns: hypercolumns of the padded photo, (1, channels, height, width).
        photo: the photo, whose colors are measured.
        padded: the padded photo.
        deviation: the standard deviation of the mapped colors.
    """
    mean, covariance = _moments(g, g.node("Reshape", photo, g.integers(3, -1)))
    _, inverse = _powers(g, g.node("Add", covariance, g.doubles(FAINT * np.eye(3))))
    matrix = g.node("Mul", inverse, g.doubles(deviation))
    bias = g.node("Neg", g.node("MatMul", matrix, mean))
    matrix, bias = (g.node("Cast", each, to=g.FLOAT) for each in (matrix, bias))
    cells = g.node("AveragePool", padded, kernel_shape=[GRID_STRIDE, GRID_STRIDE], strides=[GRID_STRIDE, GRID_STRIDE])
    rows = g.node("Add", g.node("MatMul", matrix, g.node("Reshape", cells, g.integers(3, -1))), bias)
    return g.node("Concat", columns, g.node("Reshape", rows, g.node("Shape", cells)), axis=1)


def _moments(g: Graph, rows: str) -> tuple[str, str]:
    """Return the mean (3, 1) and the covariance (3, 3) of colors; ``rows`` is (3, pixels)."""
    rows = g.node("Cast", rows, to=g.DOUBLE)
    mean = g.node("ReduceMean", rows, g.integers(1), keepdims=1)
    centered = g.node("Sub", rows, mean)
    count = g.node("Cast", g.node("Gather", g.node("Shape", rows), g.integers(1)), to=g.DOUBLE)
    return mean, g.node("Div", g.node("MatMul", centered, g.node("Transpose", centered, perm=[1, 0])), count)


def _palette(g: Graph, rows: str, target: Moments) -> tuple[str, str]:
    """Return the matrix (3, 3) and the bias (3, 1) that map colors to those of a style; ``rows`` is (3, pixels)."""
    mean, covariance = _moments(g, rows)
    faint = FAINT * np.eye(3)
    root, inverse = _powers(g, g.node("Add", covariance, g.doubles(faint)))
    t = g.doubles(target.covariance[0].double().numpy() + faint)
    middle, _ = _powers(g, g.node("MatMul", g.node("MatMul", root, t), root))
    matrix = _limited(g, g.node("MatMul", g.node("MatMul", inverse, middle), inverse))
    bias = g.node("Sub", g.doubles(target.mean[0, :, None].double().numpy()), g.node("MatMul", matrix, mean))
    return matrix, bias


def _limited(g: Graph, matrix: str) -> str:
    """Limit the eigenvalues of a symmetric matrix A to m, the largest gain: (A + m - |A - m|) / 2."""
    most = g.doubles(MOST_GAIN * np.eye(3))
    below = g.node("Sub", matrix, most)
    distance, _ = _powers(g, g.node("MatMul", below, below))
    return g.node("Mul", g.node("Sub", g.node("Add", matrix, most), distance), g.doubles(0.5))


def _powers(g: Graph, matrix: str) -> tuple[str, str]:
    """Compute the square root of a symmetric positive (3, 3) matrix, and the inverse of this root, using only matrix products.

    Source:
        The coupled Newton-Schulz iteration, Higham 2008, equation 6.35.
    """
    three = g.doubles(1.5 * np.eye(3))
    size = g.node("ReduceSum", g.node("Mul", matrix, g.doubles(np.eye(3))), keepdims=0)
    y, z = g.node("Div", matrix, size), g.doubles(np.eye(3))
    for _ in range(_ROUNDS):
        step = g.node("Sub", three, g.node("Mul", g.node("MatMul", z, y), g.doubles(0.5)))
        y, z = g.node("MatMul", y, step), g.node("MatMul", step, z)
    scale = g.node("Sqrt", size)
    return g.node("Mul", y, scale), g.node("Div", z, scale)

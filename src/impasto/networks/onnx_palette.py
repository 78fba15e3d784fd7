"""The color maps of :mod:`impasto.color.transfer` as ONNX nodes, in double precision."""

import numpy as np

from impasto.color.transfer import CONTRAST, FAINT, LUMA, MOST_CONTRAST, MOST_GAIN, SPREADS
from impasto.features.neighbors import GRID_STRIDE
from impasto.features.statistics import Moments
from impasto.networks.onnx_graph import Array, Graph

_ROUNDS = 28


def recolored(g: Graph, picture: str, target: Moments, strength: float) -> str:
    """Add nodes that give a picture the palette of a style, to the extent of ``strength``; colors are not clipped.

    Args:
        g: the graph.
        picture: the picture.
        target: the palette, whose contrast is raised for the photo as in :func:`impasto.color.transfer.raised_contrast`.
        strength: 0 to 1.
    """
    rows = g.node("Reshape", picture, g.integers(3, -1))
    matrix, bias = _palette(g, rows, target.mean[0, :, None].double().numpy(), _raised_contrast(g, target))
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


def _raised_contrast(g: Graph, palette: Moments) -> str:
    """Return the covariance of a palette with the contrast for the photo."""
    weights = np.asarray(LUMA)
    covariance, mean = palette.covariance[0].double().numpy(), float(palette.mean[0].double().numpy() @ weights)
    own = max(1e-8, float(weights @ covariance @ weights)) ** 0.5
    most = max(1.0, min(MOST_CONTRAST, min(mean, 1 - mean) / (SPREADS * own)))
    _, of_photo = _moments(g, g.node("Reshape", "photo", g.integers(3, -1)))
    variance = g.node("MatMul", g.node("MatMul", g.doubles(weights[None]), of_photo), g.doubles(weights[:, None]))
    deviation = g.node("Sqrt", g.node("Max", variance, g.doubles(1e-8)))
    gain = g.node("Clip", g.node("Mul", deviation, g.doubles(CONTRAST / own)), g.doubles(1.0), g.doubles(most))
    spread = g.node("Mul", g.node("Add", gain, g.doubles(1.0)), g.doubles(0.5))
    of_luminance = g.node("Mul", g.node("Sub", gain, spread), g.doubles(np.tile(weights, (3, 1))))
    change = g.node("Add", g.node("Mul", spread, g.doubles(np.eye(3))), of_luminance)
    return g.node("MatMul", g.node("MatMul", change, g.doubles(covariance)), g.node("Transpose", change, perm=[1, 0]))


def _palette(g: Graph, rows: str, wanted_mean: Array, wanted: str) -> tuple[str, str]:
    """Return the matrix (3, 3) and the bias (3, 1) that map colors to those of a style.

    Args:
        g: the graph.
        rows: the colors, (3, pixels).
        wanted_mean: the mean color of the style, (3, 1).
        wanted: the covariance of its colors, (3, 3).
    """
    mean, covariance = _moments(g, rows)
    faint = g.doubles(FAINT * np.eye(3))
    root, inverse = _powers(g, g.node("Add", covariance, faint))
    t = g.node("Add", wanted, faint)
    middle, _ = _powers(g, g.node("MatMul", g.node("MatMul", root, t), root))
    matrix = _limited(g, g.node("MatMul", g.node("MatMul", inverse, middle), inverse))
    bias = g.node("Sub", g.doubles(wanted_mean), g.node("MatMul", matrix, mean))
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

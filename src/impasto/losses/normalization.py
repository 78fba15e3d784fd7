"""The normalization constants of published methods, expressed as weights by layer.

The losses are weighted sums of squared differences of features, or of Gram matrices averaged over positions. The divisor in a
paper or program then becomes one number per layer, computed here once from the target. The input of the published program may
have another range; ``scale`` is the factor from this network's features to those of the program.
"""

import math
from collections.abc import Callable, Mapping

from torch import Tensor

from impasto.features.statistics import Moments
from impasto.options import ContentNormalization, StyleNormalization
from impasto.tensors import FeatureMap

_TINY = 1e-12

_CONTENT: Mapping[str, Callable[[FeatureMap, float], float]] = {
    # impasto: the difference relative to the content's own features
    "relative": lambda target, scale: 1 / max(squares(target), _TINY),
    # jcjohnson/neural-style: mean of squares
    "mean": lambda target, scale: scale**2 / target.numel(),
    # Gatys et al. 2016, equation 1
    "half-sum": lambda target, scale: scale**2 / 2,
    # deeplearning.ai: 1 / (4 n_H n_W n_C)
    "deeplearning-ai": lambda target, scale: scale**2 / (4 * target.numel()),
    # titu1994's Network and INetwork
    "sum": lambda target, scale: scale**2,
    # cysmith/neural-style-tf, first content loss: 1 / (2 √N √M)
    "root": lambda target, scale: scale**2 / (2 * math.sqrt(target.numel())),
    # crowsonkb/style-transfer-pytorch: the loss itself divides by Σ|F - P|
    "scaled": lambda target, scale: scale,
}


def content_weight(normalization: ContentNormalization, target: FeatureMap, scale: float = 1.0) -> float:
    """Return the factor for the sum of squared differences of one content layer.

    Args:
        normalization: the method whose normalization to use.
        target: the content's features, (1, channels, height, width).
        scale: factor from this network's features to those of the published program.
    """
    return _CONTENT[normalization](target, scale)


def gram_weight(
    normalization: StyleNormalization, target: Moments, positions: int, picture_positions: int, scale: float = 1.0
) -> float:
    """Return the factor for the sum of squared differences of one layer's Gram matrices.

    Gram matrices are averaged over positions, ``Ḡ = F Fᵀ / M``. A published program that sums over positions and divides by M²
    gives the same result if both pictures have M positions. If their sizes differ, averaging keeps the weights meaningful.

    Args:
        normalization: the method whose normalization to use.
        target: the style's moments, (1, channels, ...).
        positions: M, the number of positions of this layer in the picture being painted.
        picture_positions: height times width of the picture itself.
        scale: factor from this network's features to those of the published program.
    """
    channels = target.mean.shape[1]
    if normalization == "relative":
        return 1 / max(squares(target.gram), _TINY)
    if normalization == "gatys":  # Σ(G - A)² / (4 N² M²); also used by the deeplearning.ai assignment and neural-style-tf
        return scale**4 / (4 * channels**2)
    if normalization == "network":  # titu1994: Σ(G - A)² / (4 · 3² · (H W)²), with the size of the picture at every layer
        return scale**4 * (positions / picture_positions) ** 2 / 36
    if normalization == "neural-style":  # jcjohnson/neural-style: mean of squares of F Fᵀ / (N M)
        return scale**4 / channels**4
    return scale**4 / channels**2  # "channels": mean of squares over the entries of the Gram matrix


def moment_weights(target: Moments) -> tuple[float, float]:
    """Return the factors for the squared differences of means and of standard deviations: 1 / (the style's own sum of squares).

    The divisor for deviations is at least a hundredth of the power of the features (the mean square, summed over channels).
    Without this limit, deviations would dominate for a style that hardly varies, such as a picture of one color. In actual
    paintings, the squared deviations are more than half of the power.
    """
    power = float(target.gram.diagonal(dim1=1, dim2=2).sum())
    return 1 / max(squares(target.mean), _TINY), 1 / max(squares(target.deviation), 0.01 * power, _TINY)


def wasserstein_weight(normalization: StyleNormalization, target: Moments, scale: float = 1.0) -> float:
    """Return the factor for the 2-Wasserstein distance of one layer.

    ``"relative"`` divides by the power of the style's features (the mean square, summed over channels); every other
    normalization averages over channels.

    Source:
        crowsonkb/style-transfer-pytorch averages over channels.
    """
    channels = target.mean.shape[1]
    if normalization == "relative":
        return 1 / max(float(target.gram.diagonal(dim1=1, dim2=2).sum()), _TINY)
    return scale**2 / channels


def squares(values: Tensor) -> float:
    """Sum the squares."""
    return float(values.float().square().sum())

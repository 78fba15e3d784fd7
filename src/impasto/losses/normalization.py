"""What published methods divide by, as weights by layer.

A loss of impasto is a weighted sum of squared differences of features, or of Gram matrices averaged over positions. Whatever a
paper or a program divides by is then one number for each layer, computed here once from the target. ``scale`` is what this
network's features are multiplied by to have the size that they have in the published program, whose input may have another
range.
"""

import math
from collections.abc import Callable, Mapping

from torch import Tensor

from impasto.features.statistics import Moments
from impasto.options import ContentNormalization, StyleNormalization
from impasto.tensors import FeatureMap

_TINY = 1e-12

_CONTENT: Mapping[str, Callable[[FeatureMap, float], float]] = {
    # ours: the difference as a share of the photo's own features
    "relative": lambda target, scale: 1 / max(squares(target), _TINY),
    # jcjohnson/neural-style: the mean of squares
    "mean": lambda target, scale: scale**2 / target.numel(),
    # Gatys et al. 2016, equation 1
    "half-sum": lambda target, scale: scale**2 / 2,
    # deeplearning.ai: 1 / (4 n_H n_W n_C)
    "deeplearning-ai": lambda target, scale: scale**2 / (4 * target.numel()),
    # titu1994's Network and INetwork
    "sum": lambda target, scale: scale**2,
    # cysmith/neural-style-tf, its first content loss: 1 / (2 √N √M)
    "root": lambda target, scale: scale**2 / (2 * math.sqrt(target.numel())),
    # crowsonkb/style-transfer-pytorch: the loss divides by Σ|F - P| itself
    "scaled": lambda target, scale: scale,
}


def content_weight(normalization: ContentNormalization, target: FeatureMap, scale: float = 1.0) -> float:
    """Return what the sum of squared differences of one content layer is multiplied by.

    Args:
        normalization: whose division.
        target: the content's features, (1, channels, height, width).
        scale: from this network's features to those of the published program.
    """
    return _CONTENT[normalization](target, scale)


def gram_weight(
    normalization: StyleNormalization, target: Moments, positions: int, picture_positions: int, scale: float = 1.0
) -> float:
    """Return what the sum of squared differences of one layer's Gram matrices is multiplied by.

    The Gram matrices are averaged over positions, ``Ḡ = F Fᵀ / M``. A program that sums instead, and then divides by M², comes
    to the same where both pictures have M positions; where they differ, averaging is what keeps its weights meaningful.

    Args:
        normalization: whose division.
        target: the style's moments, (1, channels, ...).
        positions: M, the positions of this layer in the picture being painted.
        picture_positions: height times width of the picture itself.
        scale: from this network's features to those of the published program.
    """
    channels = target.mean.shape[1]
    if normalization == "relative":
        return 1 / max(squares(target.gram), _TINY)
    if normalization == "gatys":  # Σ(G - A)² / (4 N² M²); the deeplearning.ai assignment and neural-style-tf divide alike
        return scale**4 / (4 * channels**2)
    if normalization == "network":  # titu1994: Σ(G - A)² / (4 · 3² · (H W)²), 3 and H W being the picture's at every layer
        return scale**4 * (positions / picture_positions) ** 2 / 36
    if normalization == "neural-style":  # jcjohnson/neural-style: the mean of squares of F Fᵀ / (N M)
        return scale**4 / channels**4
    return scale**4 / channels**2  # "channels": the mean of squares over the entries of the Gram matrix


def moment_weights(target: Moments) -> tuple[float, float]:
    """Return what the squared differences of means and of deviations are multiplied by: relative to the style's own.

    Where a style hardly varies (a picture of one color), its deviations are taken to be a tenth of its features, so that
    they do not outweigh all else; in any painting they are more than half.
    """
    power = float(target.gram.diagonal(dim1=1, dim2=2).sum())
    return 1 / max(squares(target.mean), _TINY), 1 / max(squares(target.deviation), 0.01 * power, _TINY)


def wasserstein_weight(normalization: StyleNormalization, target: Moments, scale: float = 1.0) -> float:
    """Return what the 2-Wasserstein distance of one layer is multiplied by.

    ``"relative"`` is relative to the style's power; every other normalization takes the mean over channels.

    Source:
        The mean over channels is crowsonkb/style-transfer-pytorch's.
    """
    channels = target.mean.shape[1]
    if normalization == "relative":
        return 1 / max(float(target.gram.diagonal(dim1=1, dim2=2).sum()), _TINY)
    return scale**2 / channels


def squares(values: Tensor) -> float:
    """Sum the squares."""
    return float(values.float().square().sum())

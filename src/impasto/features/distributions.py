"""Pure functions on sets of feature vectors, for styles described by more than their moments.

A set is a matrix of *rows*: (count, channels), in any order. Comparisons by angle or distance do not change when all rows are
rotated alike, so rows may use the compact channels of :meth:`impasto.features.statistics.Affine.compact`.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.features.statistics import Affine, Moments, moments, precise, qr
from impasto.runtime.resampling import antialiased
from impasto.tensors import FeatureMap, Features

_TINY = 1e-8
_CHUNK = 2**24
"""Maximum number of entries of a similarity matrix in memory at a time."""
_GROUP = 64
"""Number of neighboring entries of a row that are compared first, to find the largest one."""


# ---------------------------------------------------------------------------------------------------- rows from feature maps


def rows_of(features: FeatureMap) -> Tensor:
    """Return all feature vectors of one picture: (positions, channels), at least float32."""
    return precise(features[0].permute(1, 2, 0).reshape(-1, features.shape[1]))


def scattered(size: tuple[int, int], count: int, generator: torch.Generator) -> Tensor:
    """Divide a picture into a grid and sample one random position in each cell.

    Args:
        size: (height, width); determines the proportions of the grid and the number of available positions.
        count: maximum number of positions, limited to the number of available positions.
        generator: a CPU random generator.

    Returns:
        (positions, 2), (y, x) in [0, 1).
    """
    height, width = size
    count = min(count, height * width)
    down = max(1, min(count, int(math.sqrt(count * height / width))))
    across = max(1, count // down)
    corners = torch.cartesian_prod(torch.arange(down), torch.arange(across))
    return (corners + torch.rand(corners.shape, generator=generator)) / torch.tensor([down, across])


def picked(features: FeatureMap, places: Tensor) -> Tensor:
    """Return the feature vectors at positions sampled by :func:`scattered`: (positions, channels), at least float32."""
    height, width = features.shape[-2:]
    y, x = (places * torch.tensor([height, width])).long().T
    index = (y * width + x).to(features.device)
    return precise(features[0].permute(1, 2, 0).reshape(height * width, -1)[index])


def columns_at(features: Sequence[FeatureMap], places: Tensor, heads: Sequence[Affine | None]) -> Tensor:
    """Return hypercolumns at sampled positions: the interpolated feature vectors of all layers, concatenated.

    Args:
        features: feature map of each layer, (1, channels, height, width).
        places: (positions, 2), (y, x) in [0, 1).
        heads: affine map applied to each layer's vectors before concatenation.

    Returns:
        (positions, channels of all layers), at least float32.
    """
    return torch.cat([through(between(each, places), head) for each, head in zip(features, heads, strict=True)], dim=1)


def between(features: FeatureMap, places: Tensor) -> Tensor:
    """Interpolate feature vectors bilinearly at the given positions: (positions, channels), at least float32."""
    height, width = features.shape[-2:]
    rows = features[0].permute(1, 2, 0).reshape(height * width, -1)
    at = places * torch.tensor([height, width]) - 0.5
    low, share = at.floor(), (at - at.floor()).to(features.device)
    found = torch.zeros((), device=features.device)
    for down, across in ((0, 0), (0, 1), (1, 0), (1, 1)):
        y, x = (low[:, 0] + down).clamp(0, height - 1), (low[:, 1] + across).clamp(0, width - 1)
        weight = (share[:, 0] if down else 1 - share[:, 0]) * (share[:, 1] if across else 1 - share[:, 1])
        found = found + weight[:, None] * precise(rows[(y * width + x).long().to(features.device)])
    return found


def through(rows: Tensor, head: Affine | None) -> Tensor:
    """Apply a head to rows; without a head, return the rows unchanged."""
    return rows if head is None else rows @ head.matrix.T.to(rows) + head.bias.to(rows)


def hypercolumns(features: Features, heads: Mapping[str, Affine | None], size: tuple[int, int]) -> FeatureMap:
    """Resize all layers to one size and concatenate them: (1, channels of all layers, height, width), at least float32."""
    maps = []
    for layer, each in features.items():
        shrinks = each.shape[-2] > size[0] or each.shape[-1] > size[1]
        each = antialiased(precise(each), size) if shrinks else each
        head = heads.get(layer)
        each = each if head is None else head.features(each)
        if each.shape[-2:] != size:
            each = F.interpolate(each, size=size, mode="bilinear", align_corners=False)
        maps.append(each)
    return torch.cat([precise(each) for each in maps], dim=1)


# ---------------------------------------------------------------------------------------------------- distances


def unit(rows: Tensor) -> Tensor:
    """Scale each row to length 1; rows of zeros stay zero."""
    length: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / length.clamp_min(_TINY)


def centered(rows: Tensor) -> Tensor:
    """Subtract the mean row from every row."""
    return rows - rows.mean(0, keepdim=True)


def cosine_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return ``1 - cos`` between every row of x (n, channels) and every row of y (m, channels): (n, m), in [0, 2]."""
    return 1 - unit(x) @ unit(y).T


def euclidean_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the distance between every row of x (n, channels) and every row of y (m, channels): (n, m)."""
    squares = x.square().sum(1)[:, None] + y.square().sum(1)[None] - 2 * x @ y.T
    return squares.clamp_min(_TINY).sqrt()


def nearest(queries: Tensor, keys: Tensor) -> Tensor:
    """Find the key with the smallest cosine distance to each query: indices, (queries,). See :func:`most_similar`.

    Example:
        >>> import torch
        >>> nearest(torch.tensor([[2.0, 0.1], [-1.0, 5.0]]), torch.tensor([[0.0, 9.0], [1.0, 0.0]])).tolist()
        [1, 0]
    """
    return most_similar(queries, unit(keys))


def most_similar(queries: Tensor, keys: Tensor, penalty: Tensor | None = None) -> Tensor:
    """Find the key with the largest inner product with each query: indices, (queries,).

    The products are computed in chunks, so memory use grows with the number of keys, not with keys times queries.

    Args:
        queries: (n, channels).
        keys: (m, channels); the products use their dtype.
        penalty: (m,), float32; each key's penalty is subtracted from its products. None: no penalty.

    Example:
        >>> import torch
        >>> keys = torch.eye(2)
        >>> most_similar(torch.tensor([[1.0, 0.9]]), keys).tolist()
        [0]
        >>> most_similar(torch.tensor([[1.0, 0.9]]), keys, torch.tensor([0.5, 0.0])).tolist()
        [1]
    """
    count = len(keys)
    added = -count % _GROUP
    with torch.no_grad():
        keys = torch.cat([keys, keys[-1:].expand(added, -1)])
        if penalty is not None:
            penalty = torch.cat([penalty, penalty[-1:].expand(added)])
        columns = keys.T.contiguous()
        parts = queries.to(keys.dtype).split(max(1, _CHUNK // len(keys)))
        products, found = columns.new_empty(len(parts[0]), len(keys)), []
        for part in parts:
            score = torch.mm(part, columns, out=products[: len(part)])  # allocating memory would take as long as the product
            found.append(_largest(score if penalty is None else score.float() - penalty))
        return torch.cat(found).clamp_max_(count - 1)


def _largest(scores: Tensor) -> Tensor:
    """Return the index of the first largest number in each row, faster than ``scores.max(1)``."""
    groups = scores.reshape(len(scores), -1, _GROUP)
    group = groups.amax(2).max(1).indices  # argmax takes four times as long in bfloat16
    place = groups.gather(1, group[:, None, None].expand(-1, 1, _GROUP))[:, 0].max(1).indices
    return group * _GROUP + place


def relaxed_emd(distances: Tensor) -> Tensor:
    """Compute a lower bound of the earth mover's distance: the larger of the two mean nearest-neighbor distances.

    Args:
        distances: (n, m), from every row of one set to every row of the other.

    Example:
        >>> import torch
        >>> relaxed_emd(torch.tensor([[0.0, 1.0], [0.0, 2.0]])).item()  # (0 + 0) / 2 one way, (0 + 1) / 2 the other
        0.5

    Source:
        Kusner et al. 2015; used as a style loss by Kolkin, Salavon and Shakhnarovich 2019, equation 4.
    """
    return torch.maximum(distances.amin(1).mean(), distances.amin(0).mean())


def moment_difference(x: Moments, y: Moments) -> Tensor:
    """Compare means and covariances: ``|μ_x - μ_y|₁ / d + |Σ_x - Σ_y|₁ / d²``, where d is the number of channels.

    Source:
        Kolkin, Salavon and Shakhnarovich 2019, equation 6.
    """
    return (x.mean - y.mean).abs().mean() + (x.covariance - y.covariance).abs().mean()


def moments_of(rows: Tensor) -> Moments:
    """Compute the mean (1, channels) and the covariance (1, channels, channels) of rows."""
    return moments(rows.T[None, :, :, None])


def self_similarity(rows: Tensor) -> Tensor:
    """Return the cosine distances between all pairs of rows (n, n), each column divided by its mean.

    Source:
        Kolkin, Salavon and Shakhnarovich 2019, equation 7. The paper divides by the sum of the column. These values are n times
        larger, so they do not depend on the number of rows.
    """
    distances = cosine_distances(rows, rows)
    return distances / distances.mean(0, keepdim=True).clamp_min(_TINY)


# ---------------------------------------------------------------------------------------------------- one dimension at a time


def directions(count: int, channels: int, generator: torch.Generator) -> Tensor:
    """Sample directions uniformly from the unit sphere: (count, channels), orthogonal in each block of ``channels`` rows."""
    sizes = [min(channels, count - start) for start in range(0, count, channels)]
    return torch.cat([torch.linalg.qr(torch.randn(channels, size, generator=generator)).Q.T for size in sizes])


def quantiles(values: Tensor, count: int) -> Tensor:
    """Resample sorted values to another count by linear interpolation of their quantiles.

    Args:
        values: (..., n), sorted.
        count: number of values to return.

    Returns:
        (..., count), sorted; the same values if count equals n.

    Example:
        >>> import torch
        >>> quantiles(torch.tensor([[0.0, 2.0]]), 4).tolist()
        [[0.0, 0.5, 1.5, 2.0]]
    """
    if values.shape[-1] == count:
        return values
    return F.interpolate(values[None], size=count, mode="linear", align_corners=False)[0]


def sliced_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean squared difference between values of the same rank in two sets projected on the same directions.

    Args:
        x: (directions, n).
        y: (directions, m); resampled to n values.

    Example:
        >>> import torch
        >>> sliced_distance(torch.tensor([[0.0, 3.0]]), torch.tensor([[4.0, 1.0]])).item()  # pairs 0 with 1, and 3 with 4
        1.0
    """
    return (x.sort(dim=1).values - quantiles(y.sort(dim=1).values, x.shape[1])).square().mean()


def histogram_matched(values: Tensor, wanted: Tensor, bins: int = 256) -> Tensor:
    """Match the histogram of each channel to a target: each value is replaced by the target value of the same rank.

    Args:
        values: (channels, n).
        wanted: (channels, quantiles), sorted: evenly spaced quantiles of the target distribution, from minimum to maximum.
        bins: number of histogram bins used to estimate ranks, with interpolation within a bin.

    Returns:
        (channels, n).

    Source:
        Risser, Wilmot and Barnes 2017, section 4; Gonzalez and Woods for histogram matching.
    """
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    at = (values - low) * (bins / (high - low).clamp_min(_TINY))
    index = at.long().clamp_(0, bins - 1)
    share = torch.zeros(len(values), bins, device=values.device, dtype=values.dtype)
    share.scatter_add_(1, index, torch.full_like(values, 1 / values.shape[1]))
    below = share.cumsum(1) - share
    rank = below.gather(1, index) + share.gather(1, index) * (at - index)
    at = rank.clamp(0, 1) * (wanted.shape[1] - 1)
    index = at.long().clamp_(0, wanted.shape[1] - 2)
    return torch.lerp(wanted.gather(1, index), wanted.gather(1, index + 1), at - index)


# ---------------------------------------------------------------------------------------------------- patches


def patches(features: FeatureMap, edge: int = 3) -> Tensor:
    """Extract all overlapping square patches of a feature map: (patches, channels times edge²), at least float32."""
    return F.unfold(precise(features), edge)[0].T


def put_together(rows: Tensor, size: tuple[int, int], edge: int = 3) -> tuple[Tensor, Tensor]:
    """Reassemble overlapping patches at the positions from which :func:`patches` extracts them.

    Returns:
        The mean at each position, (1, channels, height, width), and the number of overlapping patches, (1, 1, height, width).
    """
    total = F.fold(rows.T[None], size, edge)
    count = F.fold(torch.ones_like(rows[:, : edge * edge]).T[None], size, edge)
    return total / count, count


def leading(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Find the leading principal directions of rows by subspace iteration: (channels, at most ``count``), orthonormal.

    Source:
        Halko, Martinsson and Tropp 2011, algorithm 4.4.
    """
    count = min(count, *rows.shape)
    basis = torch.randn(rows.shape[1], count, generator=generator).to(rows)
    for _ in range(3):
        basis, _ = qr(rows.T @ (rows @ basis))
    return basis

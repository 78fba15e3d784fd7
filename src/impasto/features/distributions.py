"""Pure functions on sets of feature vectors: a style as a distribution, where moments tell too little.

A set is *rows*: (count, channels), in no order that matters. What is compared by angles or distances alone does not change when
the channels are rotated; so rows may stand in the compact channels of :meth:`impasto.features.statistics.Affine.compact`.
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
"""Entries of a table of similarities that are held at once."""


# ---------------------------------------------------------------------------------------------------- rows out of feature maps


def rows_of(features: FeatureMap) -> Tensor:
    """Return all feature vectors of one picture: (positions, channels), at least float32."""
    return precise(features[0].permute(1, 2, 0).reshape(-1, features.shape[1]))


def scattered(size: tuple[int, int], count: int, generator: torch.Generator) -> Tensor:
    """Draw places evenly spread over a picture: one at random in each cell of a grid.

    Args:
        size: (height, width), of which the proportions and the number of positions matter.
        count: places at the most; no more than there are positions.
        generator: on the processor.

    Returns:
        (places, 2), (y, x) in [0, 1).
    """
    height, width = size
    count = min(count, height * width)
    down = max(1, min(count, int(math.sqrt(count * height / width))))
    across = max(1, count // down)
    corners = torch.cartesian_prod(torch.arange(down), torch.arange(across))
    return (corners + torch.rand(corners.shape, generator=generator)) / torch.tensor([down, across])


def picked(features: FeatureMap, places: Tensor) -> Tensor:
    """Return the feature vectors at places: (places, channels), at least float32; see :func:`scattered`."""
    height, width = features.shape[-2:]
    y, x = (places * torch.tensor([height, width])).long().T
    index = (y * width + x).to(features.device)
    return precise(features[0].permute(1, 2, 0).reshape(height * width, -1)[index])


def columns_at(features: Sequence[FeatureMap], places: Tensor, heads: Sequence[Affine | None]) -> Tensor:
    """Return hypercolumns at places: the feature vectors of all layers there, interpolated, one after the other.

    Args:
        features: (1, channels, height, width) each.
        places: (places, 2), (y, x) in [0, 1).
        heads: what maps each layer's vectors before they are joined.

    Returns:
        (places, channels of all), at least float32.
    """
    return torch.cat([through(between(each, places), head) for each, head in zip(features, heads, strict=True)], dim=1)


def between(features: FeatureMap, places: Tensor) -> Tensor:
    """Return the feature vectors at places, interpolated between positions: (places, channels), at least float32."""
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
    """Map rows by a head, where there is one."""
    return rows if head is None else rows @ head.matrix.T.to(rows) + head.bias.to(rows)


def hypercolumns(features: Features, heads: Mapping[str, Affine | None], size: tuple[int, int]) -> FeatureMap:
    """Bring all layers to one size and join their channels: (1, channels of all, height, width), at least float32."""
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
    """Scale each row to length 1; a row of zeros stays."""
    length: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / length.clamp_min(_TINY)


def centered(rows: Tensor) -> Tensor:
    """Take the mean row off every row."""
    return rows - rows.mean(0, keepdim=True)


def cosine_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return ``1 - cos`` of the angle between every row of x (n, channels) and every row of y (m, channels): (n, m), 0 to 2."""
    return 1 - unit(x) @ unit(y).T


def euclidean_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the distance between every row of x (n, channels) and every row of y (m, channels): (n, m)."""
    squares = x.square().sum(1)[:, None] + y.square().sum(1)[None] - 2 * x @ y.T
    return squares.clamp_min(_TINY).sqrt()


def nearest(queries: Tensor, keys: Tensor) -> Tensor:
    """Find for every row the nearest of some keys by cosine: their indices, (queries,).

    The table of similarities is held in parts, so that memory is bounded by the keys and not by their product with the queries.
    The products are in the type of the rows.

    Example:
        >>> import torch
        >>> nearest(torch.tensor([[2.0, 0.1], [-1.0, 5.0]]), torch.tensor([[0.0, 9.0], [1.0, 0.0]])).tolist()
        [1, 0]
    """
    with torch.no_grad():
        keys = unit(keys).T
        chunk = max(1, _CHUNK // keys.shape[1])
        return torch.cat([(part @ keys).argmax(1) for part in queries.split(chunk)])


def relaxed_emd(distances: Tensor) -> Tensor:
    """Bound the earth mover's distance of two sets from below: the larger of both mean distances to the nearest of the other.

    Args:
        distances: (n, m), of every row of the one to every row of the other.

    Example:
        >>> import torch
        >>> relaxed_emd(torch.tensor([[0.0, 1.0], [0.0, 2.0]])).item()  # (0 + 0) / 2 one way, (0 + 1) / 2 the other
        0.5

    Source:
        Kusner et al. 2015; as a style loss Kolkin, Salavon and Shakhnarovich 2019, equation 4.
    """
    return torch.maximum(distances.amin(1).mean(), distances.amin(0).mean())


def moment_difference(x: Moments, y: Moments) -> Tensor:
    """Compare means and covariances: ``|μ_x - μ_y|₁ / d + |Σ_x - Σ_y|₁ / d²``, d the number of channels.

    Source:
        Kolkin, Salavon and Shakhnarovich 2019, equation 6.
    """
    return (x.mean - y.mean).abs().mean() + (x.covariance - y.covariance).abs().mean()


def moments_of(rows: Tensor) -> Moments:
    """Measure the mean (1, channels) and the covariance (1, channels, channels) of rows."""
    return moments(rows.T[None, :, :, None])


def self_similarity(rows: Tensor) -> Tensor:
    """Say how each row stands to all others: cosine distances (n, n), each column divided by its mean.

    Source:
        Kolkin, Salavon and Shakhnarovich 2019, equation 7, which divides by the sum: this is n times that, and so does not
        depend on how many rows are drawn.
    """
    distances = cosine_distances(rows, rows)
    return distances / distances.mean(0, keepdim=True).clamp_min(_TINY)


# ---------------------------------------------------------------------------------------------------- one dimension at a time


def directions(count: int, channels: int, generator: torch.Generator) -> Tensor:
    """Draw directions evenly from the sphere: (count, channels), of length 1, as many as possible at right angles."""
    blocks = []
    for _ in range(-(-count // channels)):
        blocks.append(torch.linalg.qr(torch.randn(channels, channels, generator=generator)).Q.T)
    return torch.cat(blocks)[:count]


def quantiles(values: Tensor, count: int) -> Tensor:
    """Resample sorted values to another count: the quantiles that many equally likely values would have.

    Args:
        values: (..., n), sorted.
        count: how many are wanted.

    Returns:
        (..., count), sorted; the same values where the count is n.

    Example:
        >>> import torch
        >>> quantiles(torch.tensor([[0.0, 2.0]]), 4).tolist()
        [[0.0, 0.5, 1.5, 2.0]]
    """
    if values.shape[-1] == count:
        return values
    return F.interpolate(values[None], size=count, mode="linear", align_corners=False)[0]


def sliced_distance(x: Tensor, y: Tensor) -> Tensor:
    """Compare two sets, projected on the same directions: the mean squared difference of values of the same rank.

    Args:
        x: (directions, n).
        y: (directions, m); resampled to n values.

    Example:
        >>> import torch
        >>> sliced_distance(torch.tensor([[0.0, 3.0]]), torch.tensor([[4.0, 1.0]])).item()  # 0 goes to 1, and 3 to 4
        1.0
    """
    return (x.sort(dim=1).values - quantiles(y.sort(dim=1).values, x.shape[1])).square().mean()


def histogram_matched(values: Tensor, wanted: Tensor, bins: int = 256) -> Tensor:
    """Give every channel the distribution of another: each value becomes the one of the same rank.

    Args:
        values: (channels, n).
        wanted: (channels, knots), sorted: the quantiles 0 to 1 of the distribution that is wanted.
        bins: of the histograms by which ranks are told; a rank is exact to a part of a bin.

    Returns:
        (channels, n).

    Source:
        Risser, Wilmot and Barnes 2017, section 4; Gonzalez and Woods for the matching.
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
    """Cut all overlapping square patches out of a feature map: (patches, channels times edge²), at least float32."""
    return F.unfold(precise(features), edge)[0].T


def put_together(rows: Tensor, size: tuple[int, int], edge: int = 3) -> tuple[Tensor, Tensor]:
    """Lay overlapping patches over each other where :func:`patches` would have cut them.

    Returns:
        Their mean at each position, (1, channels, height, width); and how many overlap there, (1, 1, height, width).
    """
    total = F.fold(rows.T[None], size, edge)
    count = F.fold(torch.ones_like(rows[:, : edge * edge]).T[None], size, edge)
    return total / count, count


def leading(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Find orthonormal directions in which rows are strong: (channels, count at the most), by two rounds of powers.

    Source:
        Halko, Martinsson and Tropp 2011, algorithm 4.4.
    """
    count = min(count, *rows.shape)
    basis = torch.randn(rows.shape[1], count, generator=generator).to(rows)
    for _ in range(3):
        basis, _ = qr(rows.T @ (rows @ basis))
    return basis

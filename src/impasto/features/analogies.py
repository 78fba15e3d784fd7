"""Pure functions for image analogies: pyramids, neighborhoods of picture pairs, candidates, and local linear models.

A *pair* is an unfiltered and a filtered picture. Both are float32 arrays (height, width, planes); a plane is a color channel or
the luminance. Pixels are numbered in reading order, so that a match is one integer.

Source:
    Hertzmann, Jacobs, Oliver, Curless and Salesin 2001, Image Analogies, section 3: neighborhoods of 5 x 5 pixels at the level
    itself and of 3 x 3 at the next coarser one, weighted by a Gaussian. Here the coarser level is first enlarged to the size of
    the level itself, and every second pixel is used. So the four pixels that share one coarser pixel have different
    neighborhoods.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d, zoom
from scipy.spatial import cKDTree

Planes = npt.NDArray[np.float32]
"""A picture: (height, width, planes)."""

Floats = npt.NDArray[np.floating]
Indices = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

PATCH_PX = 5
"""Side of the neighborhood in pixels, at the current level (not the coarser one)."""

_DIRECTIONS = 16
"""Number of principal directions in which neighborhoods are compared."""
_SLACK = 1.0
"""Slack of the tree search: the neighbor found is at most ``1 + _SLACK`` times as far away as the nearest one."""
_ROWS = 2**14
_FILTERED = 0.5
"""Weight of the filtered neighborhoods relative to the unfiltered ones."""
_SAMPLE = 2**15
"""Maximum number of pixels to which the model of a whole picture is fitted."""
_LEAF = 1024
"""Maximum number of pixels that share a local model."""
_CLIPPED = 1 / 1020
"""Values count as clipped if they are closer to a limit than this: a quarter of a step of 1/255."""
_FEWEST = 64
"""Minimum number of pixels to which a separate model is fitted."""
_EXACT = 1 / 510
_RIDGE = 1e-4
"""Ridge penalty of a linear model, relative to the mean variance of its inputs."""


def _square(radius: int) -> Indices:
    """Return the offsets of a square neighborhood in reading order, (count, 2): down, across."""
    steps = np.arange(-radius, radius + 1)
    return np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)


_FINE, _COARSE = _square(2), 2 * _square(1)
CAUSAL = _FINE[:12]
"""Offsets of the half of the neighborhood that precedes a pixel in reading order, (12, 2)."""


def gaussian_pyramid(planes: Planes, levels: int) -> list[Planes]:
    """Halve a picture repeatedly.

    Args:
        planes: (height, width, planes).
        levels: number of pictures to return, at least 1.

    Returns:
        The pictures, coarsest first; the last is the given picture. Each halving turns a side of n pixels into ceil(n / 2).
    """
    pictures = [planes]
    for _ in range(levels - 1):
        smooth = pictures[-1]
        for axis in (0, 1):
            smooth = gaussian_filter1d(smooth, 1.0, axis=axis, mode="mirror", truncate=2.0)
        pictures.append(np.ascontiguousarray(smooth[::2, ::2]))
    return pictures[::-1]


def enlarged(planes: Planes, size: tuple[int, int]) -> Planes:
    """Enlarge a level, by linear interpolation, to the size of the next finer one; pixel (y, x) becomes (2y, 2x)."""
    doubled = zoom(planes, (2 - 1 / planes.shape[0], 2 - 1 / planes.shape[1], 1), order=1)
    missing = [(0, side - has) for side, has in zip(size, doubled.shape[:2], strict=True)]
    return np.pad(doubled, [*missing, (0, 0)], mode="edge").astype(np.float32)


@dataclass(frozen=True)
class Pair:
    """One pyramid level of a picture and of its filtered version.

    Attributes:
        source: the unfiltered picture, (height, width, planes).
        result: the filtered picture, with the same shape.
        coarser: the next coarser level, enlarged to the same shape; None at the coarsest level.
    """

    source: Planes
    result: Planes
    coarser: "Pair | None" = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.source.shape[0], self.source.shape[1]

    def enlarged(self, size: tuple[int, int]) -> "Pair":
        """Enlarge the pair to the size of the next finer level."""
        return Pair(enlarged(self.source, size), enlarged(self.result, size))

    def unfiltered(self, rows: Indices, columns: Indices) -> Floats:
        """Return the neighborhoods of pixels in the unfiltered picture alone.

        Args:
            rows: row of each pixel, (pixels,).
            columns: column of each pixel, (pixels,).

        Returns:
            (pixels, values): 5 x 5 pixels of this level and 3 x 3 of the coarser level, weighted; the squared weights of each
            of the two parts sum to 1. Pictures are mirrored at their borders.
        """
        parts = [_taps(self.source, rows, columns, _FINE)]
        if self.coarser:
            parts.append(_taps(self.coarser.source, rows, columns, _COARSE))
        return np.concatenate(parts, axis=1)

    def filtered(self, rows: Indices, columns: Indices) -> Floats:
        """Return the neighborhoods of pixels in the filtered picture alone: the causal half, and 3 x 3 coarser pixels.

        The causal half consists of the pixels that precede a pixel in reading order. These neighborhoods have half the weight
        of the unfiltered ones. With equal weights, as in the paper, wrong values spread further in the synthesized picture.
        """
        parts = [_taps(self.result, rows, columns, CAUSAL)]
        if self.coarser:
            parts.append(_taps(self.coarser.result, rows, columns, _COARSE))
        return np.concatenate(parts, axis=1) * np.float32(_FILTERED)


def _taps(planes: Planes, rows: Indices, columns: Indices, offsets: Indices) -> Floats:
    height, width, count = planes.shape
    down = _mirrored(rows[:, None] + offsets[:, 0], height)
    across = _mirrored(columns[:, None] + offsets[:, 1], width)
    taps = planes.reshape(-1, count)[down * width + across]
    weighted: Floats = taps * _weights(offsets)[:, None]
    return weighted.reshape(len(rows), -1)


def _mirrored(index: Indices, size: int) -> Indices:
    index = np.abs(index)
    mirrored: Indices = np.where(index >= size, 2 * (size - 1) - index, index)
    return mirrored


def _weights(offsets: Indices) -> Floats:
    """Return Gaussian weights with a standard deviation of 2/3 of the radius; the squared weights sum to 1."""
    squares = np.exp(-(offsets**2).sum(axis=1) / (2 * (2 / 3 * abs(offsets).max()) ** 2))
    weights: Floats = np.sqrt(squares / squares.sum()).astype(np.float32)
    return weights


# ------------------------------------------------------------------------------------------------- matching


@dataclass(frozen=True)
class Examples:
    """The neighborhoods of an example pair, reduced to principal directions, and a tree that finds the nearest one.

    Attributes:
        keys: the reduced neighborhood of each pixel, (pixels, directions).
        basis: the principal directions, (values, directions).
        distinct: one pixel of each set of pixels with equal neighborhoods, (distinct,).
        tree: k-d tree of the keys of the distinct pixels; many equal keys would make it slow.
    """

    keys: Floats
    basis: Floats
    distinct: Indices
    tree: cKDTree

    @classmethod
    def of(cls, pair: Pair) -> "Examples":
        """Compute the neighborhoods of all pixels of a pair, and build the tree."""
        total, square, count = np.zeros(1), np.zeros(1), 0
        for rows, columns in _blocks(pair.size):
            values = describe(pair, rows, columns).astype(np.float64)
            total, square, count = total + values.sum(axis=0), square + values.T @ values, count + len(values)
        mean = total / count
        directions = np.linalg.eigh(square / count - np.outer(mean, mean))[1][:, ::-1][:, :_DIRECTIONS]
        basis = np.ascontiguousarray(directions, dtype=np.float32)
        keys = np.concatenate([describe(pair, rows, columns) @ basis for rows, columns in _blocks(pair.size)])
        distinct = _distinct(keys)
        return cls(keys, basis, distinct, cKDTree(keys[distinct], balanced_tree=False, compact_nodes=False))

    def nearest(self, queries: Floats) -> tuple[Indices, Floats]:
        """Return, for each query, a pixel with an approximately nearest neighborhood, and its squared distance.

        The search uses one thread: there are only a few hundred queries at a time (see :func:`wavefronts`), so starting
        more threads costs more than it saves.
        """
        distance, index = self.tree.query(queries, eps=_SLACK)
        return self.distinct[index], distance**2

    def closest_of(self, candidates: Indices, queries: Floats) -> tuple[Indices, Floats]:
        """Return the closest of several candidates for each query, and its squared distance.

        Args:
            candidates: pixel numbers, (queries, candidates); -1: none.
            queries: reduced neighborhoods, (queries, directions).
        """
        distances = ((self.keys[candidates] - queries[:, None]) ** 2).sum(axis=2)
        distances[candidates < 0] = np.inf
        best = distances.argmin(axis=1)
        every = np.arange(len(queries))
        return candidates[every, best], distances[every, best]


def _distinct(keys: Floats) -> Indices:
    """Return, for each distinct key, the first pixel that has it; keys are compared by a checksum."""
    checksums = keys.astype(np.float64).round(4) @ np.cos(np.arange(1, 1 + keys.shape[1]))
    return np.unique(checksums.round(9), return_index=True)[1]


def describe(pair: Pair, rows: Indices, columns: Indices) -> Floats:
    """Return the whole neighborhoods F(p) of pixels: unfiltered, then filtered values."""
    return np.concatenate([pair.unfiltered(rows, columns), pair.filtered(rows, columns)], axis=1)


def coherent_candidates(matches: Indices, rows: Indices, columns: Indices, size: tuple[int, int]) -> Indices:
    """Return the pixels that continue the matches of the preceding neighbors: s(r) + (q - r).

    Here q is a pixel, r is one of its preceding neighbors, and s(r) is the match of r.

    Args:
        matches: for each pixel, the number of its match in the example, (height, width).
        rows: row of each pixel q, (pixels,).
        columns: column of each pixel q, (pixels,).
        size: (height, width) of the example.

    Returns:
        (pixels, 12), numbers of example pixels; -1 where r is outside the picture or s(r) + (q - r) is outside the example.

    Source:
        Hertzmann et al. 2001, section 3.2; Ashikhmin 2001.
    """
    height, width = matches.shape
    down, across = rows[:, None] + CAUSAL[:, 0], columns[:, None] + CAUSAL[:, 1]
    inside = (down >= 0) & (across >= 0) & (across < width)
    found = matches[down.clip(0, height - 1), across.clip(0, width - 1)]
    down, across = found // size[1] - CAUSAL[:, 0], found % size[1] - CAUSAL[:, 1]
    inside &= (down >= 0) & (down < size[0]) & (across >= 0) & (across < size[1])
    return np.where(inside, down * size[1] + across, -1)


def wavefronts(size: tuple[int, int]) -> Iterator[tuple[Indices, Indices]]:
    """Yield groups of pixels (rows, columns) that can be synthesized at the same time.

    For each pixel, the neighbors that come before it in reading order are in earlier groups. Pixel (y, x) depends on pixels up
    to two columns to the right in the rows above, so the pixels with the same x + 3y are independent of each other. The result
    is the same as if the pixels were synthesized one by one in reading order.

    Example:
        >>> [list(zip(rows.tolist(), columns.tolist())) for rows, columns in wavefronts((2, 4))][3:5]
        [[(0, 3), (1, 0)], [(1, 1)]]
    """
    height, width = size
    for number in range(width + 3 * (height - 1)):
        rows = np.arange(max(0, -((width - 1 - number) // 3)), min(height - 1, number // 3) + 1)
        if len(rows):
            yield rows, number - 3 * rows


def _blocks(size: tuple[int, int]) -> Iterator[tuple[Indices, Indices]]:
    """Yield the rows and columns of all pixels in reading order, in blocks, which limits memory use."""
    for start in range(0, size[0] * size[1], _ROWS):
        index = np.arange(start, min(start + _ROWS, size[0] * size[1]))
        yield index // size[1], index % size[1]


# --------------------------------------------------------------------------------------------- linear models


@dataclass(frozen=True)
class LocalModels:
    """Linear models of the example's filter. Each model is fitted to a group of example pixels with similar neighborhoods.

    Attributes:
        matrices: one matrix per model, (models, values, planes). It maps an unfiltered neighborhood to the filtered pixel,
            and has already been multiplied by the share of the pixel variance that the model explains.
        model: number of the model of each pixel, (pixels,).
        left: the residual, that is, the filtered pixel minus the product of matrix and neighborhood, (pixels, planes).
        lowest: the lowest value that each model may return, (models, planes).
        highest: the highest value that each model may return, (models, planes).
    """

    matrices: Floats
    model: Indices
    left: Floats
    lowest: Floats
    highest: Floats

    @classmethod
    def of(cls, pair: Pair, examples: Examples, limits: tuple[float, float]) -> "LocalModels":
        """Fit a model to the whole pair, then refine it for each group of similar neighborhoods.

        Pixels that the filter clipped are excluded from the fit, because they do not show the slope of the filter. If a
        model predicts a value beyond the limit for a clipped pixel, the prediction replaces the clipped value.

        Args:
            pair: a level of the example.
            examples: its neighborhoods.
            limits: lowest and highest value of the filtered picture.

        Source:
            Anchored neighborhood regression (Timofte et al. 2013) also fits one linear model per group.
        """
        outputs = pair.result.reshape(-1, pair.result.shape[2])
        fitted = _fitted(outputs, limits)
        sample = fitted[:: -(-len(fitted) // _SAMPLE)]
        whole = _Fit.of(_inputs(pair, sample), outputs[sample])
        share = _explained(outputs[sample], whole.errors(_inputs(pair, sample), outputs[sample]))
        is_fitted = np.isin(np.arange(len(outputs)), fitted)
        matrices, bounds = [], []
        model, left = np.empty(len(outputs), dtype=np.intp), np.empty_like(outputs)
        for number, group in enumerate(_groups(examples.keys)):
            used, inputs = group[is_fitted[group]], _inputs(pair, group)
            fit = whole.refined(_inputs(pair, used), outputs[used]) if len(used) >= _FEWEST else whole.scaled(share)
            matrices.append(fit.matrix.astype(np.float32))
            bounds.append(_bounds(outputs[group], fit.share))
            model[group] = number
            left[group] = _beyond(outputs[group], fit(inputs), limits) - inputs @ matrices[-1]
        lowest, highest = np.stack(bounds, axis=1).astype(np.float32)
        return cls(np.stack(matrices), model, left, lowest, highest)

    def values(self, inputs: Floats, matches: Indices) -> Floats:
        """Return the filtered pixels. The model of a pixel's match predicts the pixel; the residual of the match is added.

        Args:
            inputs: unfiltered neighborhoods, (pixels, values).
            matches: for each pixel, the number of its match in the example, (pixels,).

        Returns:
            (pixels, planes); if a pixel has the same neighborhood as its match, it gets the value of the match.
        """
        model = self.model[matches]
        found: Floats = np.einsum("nv,nvp->np", inputs, self.matrices[model]) + self.left[matches]
        return found.clip(self.lowest[model], self.highest[model])


def _groups(keys: Floats) -> list[Indices]:
    """Split groups at the median of their direction of largest variance until each has at most 1024 pixels."""
    groups, done = [np.arange(len(keys))], []
    while groups:
        group = groups.pop()
        if len(group) <= _LEAF:
            done.append(group)
            continue
        values = keys[group]
        order = np.argsort(values[:, values.var(axis=0).argmax()], kind="stable")
        groups += [group[order[: len(order) // 2]], group[order[len(order) // 2 :]]]
    return done


def _inputs(pair: Pair, pixels: Indices) -> Floats:
    return pair.unfiltered(pixels // pair.size[1], pixels % pair.size[1])


def _fitted(outputs: Floats, limits: tuple[float, float]) -> Indices:
    """Return the pixels that the filter did not clip; if there are too few, return all pixels."""
    is_inside = np.all((outputs > limits[0] + _CLIPPED) & (outputs < limits[1] - _CLIPPED), axis=1)
    inside: Indices = np.flatnonzero(is_inside)
    return inside if len(inside) >= _FEWEST else np.arange(len(outputs))


@dataclass(frozen=True)
class _Fit:
    """A ridge regression.

    Attributes:
        matrix: (values, planes).
        inputs_mean: (values,).
        outputs_mean: (planes,).
        inverse: inverse of the regularized covariance, (values, values).
        share: share of the variance that the model explains, (planes,). The matrix has already been multiplied by it.
    """

    matrix: Floats
    inputs_mean: Floats
    outputs_mean: Floats
    inverse: Floats
    share: Floats = field(default_factory=lambda: np.ones(1))

    @classmethod
    def of(cls, inputs: Floats, outputs: Floats) -> "_Fit":
        """Fit a model that predicts the outputs, (pixels, planes), from the inputs, (pixels, values)."""
        means = inputs.mean(axis=0), outputs.mean(axis=0)
        x, y = (inputs - means[0]).astype(np.float64), (outputs - means[1]).astype(np.float64)
        covariance = x.T @ x
        covariance += np.eye(len(covariance)) * (_RIDGE * np.trace(covariance) / len(covariance) + 1e-9)
        inverse = np.linalg.inv(covariance)
        return cls(inverse @ (x.T @ y), *means, inverse)

    def __call__(self, inputs: Floats) -> Floats:
        """Return the outputs that the model predicts."""
        predicted: Floats = (inputs - self.inputs_mean) @ self.matrix + self.outputs_mean
        return predicted

    def leverage(self, inputs: Floats) -> Floats:
        """Return the leverage of each pixel, its weight in its own prediction: (pixels, 1), at most 0.99."""
        x = inputs - self.inputs_mean
        weight: Floats = ((x @ self.inverse) * x).sum(axis=1, keepdims=True)
        return weight.clip(max=0.99)

    def errors(self, inputs: Floats, outputs: Floats) -> Floats:
        """Return the leave-one-out errors of the fitted pixels, (pixels, planes)."""
        left_out: Floats = (outputs - self(inputs)) / (1 - self.leverage(inputs))
        return left_out

    def scaled(self, share: Floats) -> "_Fit":
        """Return the model with its slopes multiplied by ``share``, the share of the variance that it explains, (planes,)."""
        return replace(self, matrix=self.matrix * share, share=share)

    def refined(self, inputs: Floats, outputs: Floats) -> "_Fit":
        """Refine the model for a group of pixels.

        A second model is fitted to the errors of this one and added to it. The sum is multiplied by the share of the variance
        that it explains.
        """
        left = _Fit.of(inputs, outputs - inputs @ self.matrix)
        errors = left.errors(inputs, outputs - inputs @ self.matrix) / (1 - self.leverage(inputs))  # slightly pessimistic
        fit = replace(left, matrix=self.matrix + left.matrix, outputs_mean=outputs.mean(axis=0))
        return fit.scaled(_explained(outputs, errors))


def _explained(outputs: Floats, errors: Floats) -> Floats:
    """Return the share of the variance that a model explains, (planes,); errors up to half a step of 1/255 are ignored."""
    unexplained = np.maximum(np.mean(errors**2, axis=0) - _EXACT**2, 0)
    explained: Floats = 1 - unexplained / np.maximum(outputs.var(axis=0), _EXACT**2)
    return explained.clip(0, 1)


def _bounds(outputs: Floats, share: Floats) -> tuple[Floats, Floats]:
    """Return the lowest and highest value that a model may return; a model that fits its pixels better gets a wider range."""
    low, high = outputs.min(axis=0), outputs.max(axis=0)
    further = (high - low) * share / (1 - share + 1e-3)
    return low - further, high + further


def _beyond(outputs: Floats, said: Floats, limits: tuple[float, float]) -> Floats:
    """Where a value is at a limit and the model's prediction is beyond that limit, replace the value by the prediction."""
    found = np.where(outputs <= limits[0] + _CLIPPED, np.minimum(said, outputs), outputs)
    return np.where(outputs >= limits[1] - _CLIPPED, np.maximum(said, outputs), found)

"""Nearest neighbors between feature maps: hypercolumns on a coarse grid, exact search, and spatial coherence.

A *position* is a cell of a grid of hypercolumns. The positions of all style pictures are numbered consecutively, so one integer
identifies a match.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.features.distributions import leading, most_similar, unit
from impasto.features.statistics import Affine, precise
from impasto.runtime.resampling import Side, bilinear_part, sources
from impasto.runtime.tiling import Tile
from impasto.tensors import FeatureMap, Features, Image

GRID_STRIDE = 4
"""Distance between neighboring hypercolumns in pixels."""

_DIRECTIONS = 128
"""Number of principal directions of the style's hypercolumns used for comparison."""
_SAMPLE = 4096
_MOST_KEYS = 2**14
"""Styles with more positions are searched on a sparse grid first, then around the matches found."""
AROUND = tuple((down, across) for down in (-1, 0, 1) for across in (-1, 0, 1) if down or across)
_CHUNK = 2**24
_ROWS = 2**13
_CHANNELS = 16
SHIFTS = ((0, 1), (1, 0), (0, -1), (-1, 0))
_SHARE_ROUNDS, _ALL = 12, 0.999
PASSES = 3
"""Number of passes in which each match is compared with those of neighboring positions."""
PERIOD = 64
"""Period, in patches, of the random numbers that select among similar patches; the same in both directions."""
_MOST_CHOICES = 32
"""Maximum number of similar patches from which one is chosen."""


def grid_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size of the grid of hypercolumns for a picture size; both sizes are (height, width)."""
    return max(1, size[0] // GRID_STRIDE), max(1, size[1] // GRID_STRIDE)


def pooled_columns(features: Features, heads: Mapping[str, Affine], grid: tuple[int, int]) -> FeatureMap:
    """Concatenate layers into hypercolumns: average the finer layers over each grid cell and interpolate the coarser layers.

    Args:
        features: by layer, (1, channels, height, width) each.
        heads: affine map of each layer, in concatenation order.
        grid: (height, width).

    Returns:
        (1, channels of all layers, height, width), in the dtype of the features.
    """
    columns = []
    for layer, head in heads.items():
        each = features[layer]
        stride = each.shape[-2] // grid[0]
        if stride > 1:
            each = F.avg_pool2d(each, stride)
        each = head.features(each)
        if each.shape[-2] < grid[0] or each.shape[-1] < grid[1]:
            each = F.interpolate(each, size=grid, mode="bilinear", align_corners=False)
        columns.append(each[..., : grid[0], : grid[1]])
    return torch.cat(columns, dim=1)


def with_colors(columns: FeatureMap, picture: Image, colors: Affine) -> FeatureMap:
    """Append the average color of each grid cell to the hypercolumns of a picture.

    With colors, an area of one color is matched with one color of the style.

    Args:
        columns: (1, channels, height, width).
        picture: the picture, (1, 3, height, width) in pixels.
        colors: the map that whitens its colors.
    """
    height, width = columns.shape[-2:]
    found = colors.features(F.avg_pool2d(picture, GRID_STRIDE)[..., :height, :width])
    order = torch.channels_last if columns.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    return torch.cat([columns, found.to(columns.dtype, memory_format=order)], 1)  # if their orders differ, this is slow


def tile_columns(features: Features, heads: Mapping[str, Affine], tile: Tile) -> FeatureMap:
    """Compute :func:`pooled_columns` of a picture for one of its tiles, without the halo.

    Args:
        features: features of the tile with its halo, by layer.
        heads: affine map of each layer, in concatenation order.
        tile: the tile.
    """
    columns = []
    for layer, head in heads.items():
        stride = 2 ** (int(layer[4]) - 1)
        if stride <= GRID_STRIDE:
            each = tile.inside(features[layer], stride)
            columns.append(head.features(F.avg_pool2d(each, GRID_STRIDE // stride) if stride < GRID_STRIDE else each))
            continue
        rows, columns_of = (
            Side(side // stride, side // GRID_STRIDE, span.start // GRID_STRIDE, span.end // GRID_STRIDE)
            for side, span in zip(tile.size, (tile.rows, tile.columns), strict=True)
        )
        (top, bottom), (left, right) = (
            (first - span.first // stride, last - span.first // stride)
            for (first, last), span in ((sources(*rows), tile.rows), (sources(*columns_of), tile.columns))
        )
        columns.append(bilinear_part(head.features(features[layer][..., top:bottom, left:right]), (rows, columns_of)))
    return torch.cat(columns, dim=1)


@dataclass(frozen=True)
class Matches:
    """The style position matched to each position of a picture.

    Attributes:
        position: (height, width), the number of the matched position; positions are counted across all style pictures.
        style: (height, width), index of the style picture.

    Example:
        >>> import torch
        >>> style = torch.eye(4).T.reshape(1, 4, 2, 2)  # four positions, each with a channel of its own
        >>> match(style.flip(3), [style]).position.tolist()
        [[1, 0], [3, 2]]
    """

    position: Tensor
    style: Tensor


def match(
    queries: FeatureMap,
    styles: Sequence[FeatureMap],
    *,
    allowed: Sequence[Tensor | None] = (),
    shares: Tensor | None = None,
    coherence: float = 0.0,
    patches: "Patches | None" = None,
) -> Matches:
    """Find the most similar style position for every position of a picture.

    A style of up to 16,384 positions is searched exactly. A larger style is searched on a sparse grid first, then around the
    matches found.

    Args:
        queries: hypercolumns of the picture, (1, channels, height, width).
        styles: hypercolumns of each style picture, (1, channels, height, width) each; sizes may differ.
        allowed: for each style picture, the positions that may be used, (height, width), bool; None: all.
        shares: share of each style at each position of the picture, (styles, height, width); the shares at a position sum to 1.
            None: each position uses the most similar style.
        coherence: bonus for matches that continue the matches of their neighbors. It is added to the cosine of a match for each
            of the four neighbors whose match is adjacent to this match in the style.
        patches: settings for copying whole patches of the style where they are nearly as similar as single positions; None: do
            not copy patches.

    Returns:
        The matches, (height, width) each.

    Raises:
        RuntimeError: if the styles and the picture have different numbers of channels (raised by PyTorch).

    Example:
        >>> import torch
        >>> style = torch.eye(4).T.reshape(1, 4, 2, 2)  # four positions, each with a channel of its own
        >>> match(style.flip(3), [style]).position.tolist()
        [[1, 0], [3, 2]]

    Source:
        Kolkin et al. 2022 for matching hypercolumns by cosine, each set centered; Ashikhmin 2001 for coherence. Fixed shares
        per style are an addition.
    """
    keys = Keys.of(styles, allowed)
    return keys.match(queries, shares=shares, coherence=coherence, patches=patches)


class Patches(NamedTuple):
    """Settings for copying whole patches of the style, which prevents repeated matches in flat parts of the picture.

    Attributes:
        side: side of a patch, in positions.
        tolerance: a position uses the match from its patch instead of its own match if this lowers the cosine similarity by
            less than the tolerance; one number, or one for each position of the picture, (height, width).
        variety: the most similar patches from which one is chosen at random, as a share of all patches of the style.
        top: vertical offset of this picture if it is part of a larger one, in positions; a multiple of the side.
        left: horizontal offset, also in positions and a multiple of the side.
        uniformity: exponent of the preference for uniform patches, see :meth:`Keys.patches`; 0: no preference.
    """

    side: int = 8
    tolerance: float | Tensor = 0.1
    variety: float = 0.01
    top: int = 0
    left: int = 0
    uniformity: float = 0.0

    def choices(self, count: int) -> int:
        """Return from how many of the most similar patches one is chosen, given the number of patches of the style."""
        return max(1, min(_MOST_CHOICES, int(self.variety * count)))


@dataclass(frozen=True)
class Keys:
    """The prepared positions of style pictures, which can be matched with any number of pictures: see :func:`match`.

    Attributes:
        basis: (channels, directions), the principal directions of the styles' hypercolumns.
        keys: (positions, directions), hypercolumns that are centered, projected on the basis and scaled to length 1.
        sizes: (height, width) of each style picture, in positions.
        allowed: (positions,), whether each position may be used.
        most: styles with more positions are searched on a sparse grid first, then around the matches found.
    """

    basis: Tensor
    keys: Tensor
    sizes: tuple[tuple[int, int], ...]
    allowed: Tensor
    most: int

    @staticmethod
    def of(
        styles: Sequence[FeatureMap],
        allowed: Sequence[Tensor | None] = (),
        *,
        directions: int = _DIRECTIONS,
        most: int | None = None,
    ) -> "Keys":
        """Prepare the hypercolumns of style pictures."""
        count = sum(each.shape[-2] * each.shape[-1] for each in styles)
        mean = sum(_sums(each) for each in styles) / count
        assert isinstance(mean, Tensor)
        sample = torch.cat([_rows(each)[:: max(1, count // _SAMPLE)] for each in styles])
        basis = leading(precise(sample) - mean, directions, torch.Generator().manual_seed(0))
        keys = _along(basis, [_rows(each) for each in styles], mean)
        sizes = tuple((each.shape[-2], each.shape[-1]) for each in styles)
        masks = allowed or (None,) * len(styles)
        usable = [
            torch.ones(size, dtype=torch.bool) if mask is None or not bool(mask.any()) else mask
            for size, mask in zip(sizes, masks, strict=True)
        ]
        allowed_positions = torch.cat([each.flatten() for each in usable]).to(keys.device)
        return Keys(basis, keys, sizes, allowed_positions, most or _MOST_KEYS)

    def reduced(self, directions: int, most: int) -> "Keys":
        """Return keys with fewer directions, and another maximum number of positions, for a faster search."""
        return replace(self, basis=self.basis[:, :directions], keys=unit(self.keys[:, :directions]), most=most)

    def match(
        self,
        queries: FeatureMap,
        *,
        mean: Tensor | None = None,
        shares: Tensor | None = None,
        coherence: float = 0.0,
        patches: Patches | None = None,
        style: Tensor | None = None,
    ) -> Matches:
        """Match a picture with the styles: see :func:`match`.

        Args:
            queries: hypercolumns of the picture, (1, channels, height, width).
            mean: (channels,), subtracted from the queries; None: their own mean.
            shares: share of each style, see :func:`match`.
            coherence: bonus for neighboring matches, see :func:`match`.
            patches: settings for copying whole patches, see :func:`match`; None: do not copy patches.
            style: (height, width), the style picture to use at each position, if that is already decided.
        """
        size = (queries.shape[-2], queries.shape[-1])
        space = self._space(queries, mean)
        found = [space.nearest(index) for index in range(len(self.sizes))]
        if style is None:
            style = assigned(torch.stack([similarity for _, similarity in found]).reshape(-1, *size), shares)
        position = torch.stack([index for index, _ in found]).reshape(-1, *size).gather(0, style[None])[0]
        if patches:
            position = space.patched(position, style, patches)
        for _ in range(PASSES if coherence else 0):
            position = space.coherent(position, style, coherence)
        return Matches(position, style)

    def similarity(self, queries: FeatureMap, mean: Tensor) -> Tensor:
        """Return the cosine between each position and its nearest neighbor in each style: (styles, height, width)."""
        space = self._space(queries, mean)
        found = [space.nearest(index)[1] for index in range(len(self.sizes))]
        return torch.stack(found).reshape(-1, queries.shape[-2], queries.shape[-1])

    def _space(self, queries: FeatureMap, mean: Tensor | None) -> "_Space":
        mean = precise(queries).mean((0, 2, 3)) if mean is None else mean
        return _Space(self, _along(self.basis, [_rows(queries)], mean), queries.dtype)

    def sparse(self, style: int) -> tuple[Tensor, int]:
        """Return a part of the allowed positions of a style picture, which limits the search cost.

        Returns:
            Every n-th allowed position in both directions, and n.
        """
        start, stop = self.starts[style : style + 2]
        places, allowed = torch.arange(start, stop, device=self.keys.device), self.allowed[start:stop]
        count = int(allowed.sum())
        stride = math.ceil(math.sqrt(count / self.most))
        width = self.sizes[style][1]
        row, column = (places - start) // width, (places - start) % width
        sparse = places[allowed & (row % stride == stride // 2) & (column % stride == stride // 2)]
        return (sparse, stride) if 0 < len(sparse) <= 2 * self.most else (places[allowed][:: -(-count // self.most)], stride)

    def patches(self, style: int, side: int, uniformity: float = 0.0) -> "PatchKeys":
        """Average the keys of each patch of a style picture, and scale the averages to length 1.

        Args:
            style: index of the style picture.
            side: side of a patch, in positions.
            uniformity: exponent. After scaling, each average is multiplied by its original length, raised to this power. The
                keys have length 1, so the original average is short if the patch is not uniform. Such a patch, for example a
                piece of sky with part of a tree, is then chosen less often.
        """
        height, width = self.sizes[style]
        own = self.keys[self.starts[style] : self.starts[style + 1]].T.reshape(1, -1, height, width)
        step = max(1, side // 4, math.ceil(math.sqrt(height * width / self.most)))
        pooled = F.avg_pool2d(own, (min(side, height), min(side, width)), stride=step)
        means = pooled[0].flatten(1).T
        found = unit(means) * means.square().sum(1, keepdim=True).sqrt() ** uniformity if uniformity else unit(means)
        return PatchKeys(found.T.contiguous(), step, pooled.shape[-1])

    @property
    def starts(self) -> list[int]:
        """The number of the first position of each style picture, then the total count."""
        starts = [0]
        for height, width in self.sizes:
            starts.append(starts[-1] + height * width)
        return starts


class PatchKeys(NamedTuple):
    """Keys of whole patches of a style picture.

    Attributes:
        keys: (directions, patches); columns of length 1; if uniform patches are preferred, other patches have shorter columns.
        step: distance between neighboring patches, in positions.
        across: number of patches in each row of patches.
    """

    keys: Tensor
    step: int
    across: int


def patch_ranks() -> Tensor:
    """Return the random numbers that select among similar patches, (PERIOD, PERIOD), int64; they are always the same."""
    return torch.randint(2**30, (PERIOD, PERIOD), generator=torch.Generator().manual_seed(0))


def _one_of_the_best(wanted: Tensor, keys: Tensor, ranks: Tensor, choices: int) -> Tensor:
    """Choose a key for each wanted vector at random from the keys that are most similar to it and to its best key.

    The similarity to the best key prevents a flat area from getting patches of different colors.
    """
    found = []
    for part, numbers in zip(*(each.split(max(1, _CHUNK // keys.shape[1])) for each in (wanted, ranks)), strict=True):
        pairs = part + keys.T[(part @ keys).argmax(1)]
        similar = (pairs @ keys).topk(choices).indices
        found.append(similar.gather(1, (numbers % choices)[:, None])[:, 0])
    return torch.cat(found)


class _Space:
    """Queries and keys projected on the same directions and scaled to length 1.

    Attributes:
        precision: dtype of the search; final cosines are compared in float32.
    """

    def __init__(self, keys: Keys, queries: Tensor, precision: torch.dtype = torch.float32) -> None:
        self._source = keys
        self.keys, self.sizes, self.allowed, self.starts = keys.keys, keys.sizes, keys.allowed, keys.starts
        self.queries, self.precision = queries, precision

    def nearest(self, style: int) -> tuple[Tensor, Tensor]:
        """Return the nearest position in one style picture for each query, and its cosine."""
        places, stride = self._source.sparse(style)
        position = places[most_similar(self.queries, self.keys[places].to(self.precision))]
        return self._refined(style, position, self._similarity(position), stride // 2)

    def _similarity(self, position: Tensor) -> Tensor:
        """Return the cosine between each query and the key at its position."""
        parts = zip(self.queries.split(_ROWS), position.split(_ROWS), strict=True)
        return torch.cat([(query * self.keys[place]).sum(1) for query, place in parts])

    def _refined(self, style: int, position: Tensor, similarity: Tensor, reach: int) -> tuple[Tensor, Tensor]:
        """Improve each match by searching around it, first ``reach`` positions away and then closer."""
        start, (height, width) = self.starts[style], self.sizes[style]
        while reach:
            row, column = (position - start) // width, (position - start) % width
            for down, across in AROUND:
                beside = (column + reach * across).clamp(0, width - 1)
                candidate = start + (row + reach * down).clamp(0, height - 1) * width + beside
                cosine = self._similarity(candidate)
                better = (cosine > similarity) & self.allowed[candidate]
                position, similarity = torch.where(better, candidate, position), torch.where(better, cosine, similarity)
            reach //= 2
        return position, similarity

    def patched(self, position: Tensor, style: Tensor, patches: Patches) -> Tensor:
        """Copy patches of the style where they are similar enough."""
        height, width = position.shape
        side = patches.side
        grid = self.queries.T.reshape(1, -1, height, width)
        means = F.avg_pool2d(grid, side, ceil_mode=True, count_include_pad=False)
        down, across = means.shape[-2:]
        wanted = unit(means[0].flatten(1).T)
        rows = (torch.arange(down) + patches.top // side) % PERIOD
        columns = (torch.arange(across) + patches.left // side) % PERIOD
        ranks = patch_ranks()[rows][:, columns].to(grid.device).flatten()
        middles = [
            (torch.arange(count, device=grid.device) * side + side // 2).clamp_max(length - 1)
            for count, length in ((down, height), (across, width))
        ]
        owner = style[middles[0]][:, middles[1]].flatten()
        heights, widths, starts = self._geometry()
        row, column = (torch.zeros(down * across, dtype=torch.long, device=grid.device) for _ in range(2))
        for index in range(len(self.sizes)):
            keys, step, across_keys = self._source.patches(index, side, patches.uniformity)
            best = _one_of_the_best(wanted, keys, ranks, patches.choices(keys.shape[1]))
            is_of_style = owner == index
            row = torch.where(is_of_style, best // across_keys * step, row)
            column = torch.where(is_of_style, best % across_keys * step, column)
        owner, row, column = (each.reshape(down, across) for each in (owner, row, column))
        y, x = torch.arange(height, device=grid.device), torch.arange(width, device=grid.device)
        of_row, of_column = (y // side)[:, None], (x // side)[None]
        owners = owner[of_row, of_column]
        copied_row = torch.minimum(row[of_row, of_column] + (y % side)[:, None], heights[owners] - 1)
        copied_column = torch.minimum(column[of_row, of_column] + (x % side)[None], widths[owners] - 1)
        copied = starts[owners] + copied_row * widths[owners] + copied_column
        parts = zip(self.queries.split(_ROWS), copied.flatten().split(_ROWS), position.flatten().split(_ROWS), strict=True)
        gain = torch.cat([(q * (self.keys[a] - self.keys[b])).sum(1) for q, a, b in parts]).reshape(height, width)
        accepted = (gain + patches.tolerance > 0) & (owners == style) & self.allowed[copied]
        return torch.where(accepted, copied, position)

    def coherent(self, position: Tensor, style: Tensor, coherence: float) -> Tensor:
        """Replace a match by a position adjacent to a neighbor's match if the coherence bonus makes up for the lower cosine."""
        heights, widths, starts = self._geometry()
        candidates = [position]
        for down, across in SHIFTS:
            beside, owner = _shifted(position, down, across), _shifted(style, down, across)
            place = beside - starts[owner]
            row, column = place // widths[owner] + down, place % widths[owner] + across
            inside = (row >= 0) & (column >= 0) & (row < heights[owner]) & (column < widths[owner]) & (owner == style)
            moved = torch.where(inside, beside + down * widths[owner] + across, position)
            candidates.append(torch.where(self.allowed[moved], moved, position))
        choices = torch.stack(candidates)
        agreeing = torch.stack([(choices[1:] == each).sum(0) for each in choices])
        similarity = torch.stack([(self.queries * self.keys[each.flatten()]).sum(1).reshape(each.shape) for each in choices])
        return choices.gather(0, (similarity + coherence * agreeing).argmax(0)[None])[0]

    def _geometry(self) -> tuple[Tensor, Tensor, Tensor]:
        heights, widths = (torch.tensor(each, device=self.keys.device) for each in zip(*self.sizes, strict=True))
        return heights, widths, torch.tensor(self.starts[:-1], device=self.keys.device)


def _shifted(values: Tensor, down: int, across: int) -> Tensor:
    """Shift a map of integers by at most one position; positions beyond the edge are -1."""
    height, width = values.shape
    return F.pad(values, (1, 1, 1, 1), value=-1)[1 - down : 1 - down + height, 1 - across : 1 - across + width]


def _rows(features: FeatureMap) -> Tensor:
    """Return the feature vectors of a map in its own dtype: (positions, channels)."""
    return features[0].flatten(1).T


def _sums(features: FeatureMap) -> Tensor:
    """Return the sum of each channel in float32, a few channels at a time to limit memory."""
    return torch.cat([precise(part).sum((0, 2, 3)) for part in features.split(_CHANNELS, dim=1)])


def _along(basis: Tensor, groups: Sequence[Tensor], mean: Tensor) -> Tensor:
    """Subtract a mean from groups of rows, project them on a basis and scale them to length 1; work in chunks."""
    whole = basis.new_empty(sum(len(rows) for rows in groups), basis.shape[1])
    parts = chain.from_iterable(rows.split(_ROWS) for rows in groups)
    start = 0
    for part in parts:
        whole[start : start + len(part)] = unit((precise(part) - mean) @ basis)
        start += len(part)
    return whole


def assigned(similarity: Tensor, shares: Tensor | None) -> Tensor:
    """Return the index of a style for each position, (height, width), so that each style takes its share of the picture.

    Each style is chosen where its similarity is higher than at other positions. Similarities are averaged over a few
    positions, so that styles form connected areas rather than single cells.
    """
    if len(similarity) == 1:
        return torch.zeros_like(similarity[0], dtype=torch.long)
    if shares is None or bool((shares.amax(0) > _ALL).all()):
        return similarity.argmax(0) if shares is None else shares.argmax(0)
    smooth = F.avg_pool2d(similarity[None], 7, stride=1, padding=3, count_include_pad=False)[0]
    spread = smooth.flatten(1).std(1).clamp_min(1e-6)[:, None, None]
    score = (smooth - smooth.mean((1, 2), keepdim=True)) / spread + 2 * shares.clamp_min(1e-9).log()
    offset = torch.zeros(len(similarity), 1, 1, device=similarity.device)
    wanted = shares.mean((1, 2))
    for _ in range(_SHARE_ROUNDS):
        chosen = torch.bincount((score + offset).argmax(0).flatten(), minlength=len(similarity)) / score[0].numel()
        offset += (wanted - chosen)[:, None, None]
    return (score + offset).argmax(0)

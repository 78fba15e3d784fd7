"""Nearest-neighbor fields: for each position of a picture, the position in an example picture from which it is copied.

A *field* is an integer map (height, width). Positions of all examples are numbered consecutively. Positions are compared by the
features of their 3 × 3 neighborhoods, so that a field can copy connected pieces of an example. If the match of position p
is example position s, then s + d *continues* this match at the neighbor p + d.

Source: Kwatra et al. 2005, Texture Optimization for Example-based Synthesis (search, then average overlapping copies);
Barnes et al. 2009, PatchMatch (propagation and random search); Kaspar et al. 2015, Self Tuning Texture Optimization (even use
of the examples).
"""

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.features.distributions import most_similar, unit
from impasto.tensors import FeatureMap

Size = tuple[int, int]

_OFFSETS = tuple((down, across) for down in (-1, 0, 1) for across in (-1, 0, 1))
_BESIDE = ((0, 1), (1, 0), (0, -1), (-1, 0))
_EXACT = 2**26
"""Number of comparisons up to which the search is exact."""
_USAGE_ROUNDS, _USAGE_STEP, _FREE_USE = 6, 0.025, 1.0
"""Search with penalties: the number of rounds, the step of the penalty in each round, and the use of a position above which its
penalty increases (1: as often as if all positions were used evenly)."""
_BLOCK, _CHANCE = 4, 0.3
"""Initial field: the side of its blocks, and the weight of the random term in the score of each example place."""
_PASSES, _RANDOM, _REACH, _ROWS = 4, 3, 8, 8192
_REPEATED = 1.0
"""Penalty if a neighbor is copied from the same position, as a multiple of the bonus for continuing a neighbor's match."""
_SHARES = {0: 2.0, 1: 1.0, 2: 0.5}
"""Weight of a copy, by its distance from the center of its neighborhood."""


@dataclass(frozen=True)
class Bank:
    """The positions of example pictures, numbered consecutively.

    Attributes:
        keys: (positions, directions); the similarity of a query and a key is their inner product.
        sizes: (height, width) of each example, in positions.
        allowed: (positions,), bool: which positions may be copied.
        expected: (positions,), how often each position would be copied if all were used evenly.
    """

    keys: Tensor
    sizes: tuple[Size, ...]
    allowed: Tensor
    expected: Tensor

    def split(self, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the example, the row and the column of each position."""
        _, widths, starts = _geometry(self.sizes, position.device)
        example = torch.bucketize(position.contiguous(), starts[1:], right=True)
        place = position - starts[example]
        return example, place // widths[example], place % widths[example]

    def join(self, example: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Return the number of each position; rows and columns beyond the edge of an example are moved to the edge."""
        heights, widths, starts = _geometry(self.sizes, row.device)
        row, column = row.clamp_min(0).minimum(heights[example] - 1), column.clamp_min(0).minimum(widths[example] - 1)
        return starts[example] + row * widths[example] + column


@dataclass(frozen=True)
class FieldSearch:
    """Settings of the search for a field.

    Attributes:
        generator: random generator of the search.
        coherence: bonus that a candidate position gets for each neighbor whose match it continues.
        usage: strength of the penalty on positions that are copied too often; 0: no penalty.
        wraps: whether the picture continues at the opposite edge.
        precision: dtype of the exact search.
    """

    generator: torch.Generator = field(repr=False)
    coherence: float = 0.05
    usage: float = 1.0
    wraps: bool = False
    precision: torch.dtype = torch.float32


def neighborhoods(columns: FeatureMap, *, wraps: bool = False) -> FeatureMap:
    """Stack the 3 × 3 neighborhood of each position: from (1, channels, height, width) to (1, 9 * channels, height, width)."""
    padded = F.pad(columns, (1, 1, 1, 1), mode="circular" if wraps else "replicate")
    return F.unfold(padded, 3).reshape(1, -1, *columns.shape[-2:])


def rows_of_neighborhoods(columns: FeatureMap, *, wraps: bool = False) -> Tensor:
    """Return the 3 × 3 neighborhoods as rows with unit L2 norm: (positions, 9 * channels)."""
    return unit(neighborhoods(columns, wraps=wraps)[0].flatten(1).T)


def searched(queries: Tensor, current: Tensor, bank: Bank, search: FieldSearch) -> Tensor:
    """Improve a field.

    If at most 2**26 comparisons are needed, the search is exact and penalizes positions that are copied more often than others.
    For larger pictures, the search starts from the current field and also tries random positions near the matches. In
    both cases, each position then chooses among the match found, its current match and the positions that continue its
    neighbors' matches.

    Args:
        queries: (positions, directions), in row-major order.
        current: the current field, (height, width).
        bank: the examples to copy from.
        search: settings of the search.

    Returns:
        The new field, (height, width).
    """
    exact = len(queries) * len(bank.keys) <= _EXACT
    penalty = torch.zeros_like(bank.expected)
    found = current
    if exact:
        position, penalty = evenly_nearest(queries, bank, search.usage, search.precision)
        found = position.reshape(current.shape)
    penalty = penalty.masked_fill(~bank.allowed, math.inf)
    reach = 0 if exact else _REACH
    for _ in range(_PASSES):
        candidates = [found, current, *_continued(found, bank, wraps=search.wraps)]
        if reach:
            candidates += [_moved(found, reach, bank, search.generator) for _ in range(_RANDOM)]
            reach //= 2
        found = _chosen(queries, torch.stack(candidates), bank, penalty, search)
    return found


def evenly_nearest(queries: Tensor, bank: Bank, usage: float, precision: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Find the most similar position for each query, with penalties that make the use of the examples more even.

    Returns:
        Positions (n,), and the penalty of each position of the bank.
    """
    blocked = torch.zeros_like(bank.expected).masked_fill(~bank.allowed, math.inf)
    keys, penalty = bank.keys.to(precision), torch.zeros_like(bank.expected)
    position = most_similar(queries, keys, blocked)
    for _ in range(_USAGE_ROUNDS - 1 if usage else 0):
        used = torch.bincount(position, minlength=len(penalty)) / bank.expected
        used = torch.cat([_smooth(part, size) for part, size in zip(used.split(_counts(bank)), bank.sizes, strict=True)])
        penalty += usage * _USAGE_STEP * (used.clamp_max(6) - _FREE_USE).clamp_min(-0.2)
        position = most_similar(queries, keys, blocked + penalty)
    return position, penalty


def enlarged(current: Tensor, before: Bank, after: Bank, size: Size) -> Tensor:
    """Enlarge a field to twice its size: each position becomes four, copied from the same place in the larger examples.

    Args:
        current: (height, width).
        before: the examples at the current size.
        after: the examples at twice the size.
        size: (height, width) of the new field, about twice the current one.
    """
    twice = [each.repeat_interleave(2, 0).repeat_interleave(2, 1) for each in before.split(current)]
    example, row, column = (_fitted(each, size) for each in twice)
    row = 2 * row + torch.arange(size[0], device=row.device)[:, None] % 2
    column = 2 * column + torch.arange(size[1], device=row.device)[None] % 2
    return _to_allowed(after.join(example, row, column), after.allowed)


def votes(rows: Tensor, current: Tensor, bank: Bank, *, wraps: bool = False) -> Tensor:
    """Average the overlapping copies at each position; the match of each neighbor provides one copy.

    Args:
        rows: (positions of the bank, channels), the values to copy.
        current: the field, (height, width).
        bank: geometry of the examples.
        wraps: whether the picture continues at the opposite edge.

    Returns:
        (height * width, channels).
    """
    height, width = current.shape
    total = torch.zeros(height * width, rows.shape[1], device=rows.device)
    weights = torch.zeros(height * width, 1, device=rows.device)
    for down, across in _OFFSETS:
        position, inside = _continuation(current, bank, (down, across), wraps=wraps)
        weight = (_SHARES[abs(down) + abs(across)] * inside).flatten()[:, None]
        total += weight * rows[position.flatten()]
        weights += weight
    copied = total / weights.clamp_min(1e-6)
    return torch.where(weights > 0, copied, rows[current.flatten()])  # no neighbor's match can be continued here


def random_blocks(bank: Bank, labels: tuple[Tensor, Tensor] | None, size: Size, generator: torch.Generator) -> Tensor:
    """Return an initial field that consists of 4 × 4 blocks from random places in the examples.

    Args:
        bank: the examples to copy from.
        labels: label rows of the examples and of the picture, (positions, labels). Example places that have the same labels as
            the block are preferred. None: any place.
        size: (height, width) of the field.
        generator: random generator.
    """
    corner = _corners(bank)
    rows, columns = (torch.arange(0, side, _BLOCK) for side in size)
    score = torch.rand(len(rows) * len(columns), len(corner), generator=generator).to(bank.keys.device)
    if labels is not None:
        of_examples = torch.cat(
            [_pooled(part, shape, 1) for part, shape in zip(labels[0].split(_counts(bank)), bank.sizes, strict=True)]
        )
        score = _CHANCE * score + _pooled(labels[1], size, _BLOCK) @ of_examples.T
    chosen = score.masked_fill(~corner, -math.inf).argmax(1).reshape(len(rows), len(columns))
    row, column = (torch.arange(side, device=chosen.device) for side in size)
    example, top, left = bank.split(chosen[row // _BLOCK][:, column // _BLOCK])
    return bank.join(example, top + (row % _BLOCK)[:, None], left + (column % _BLOCK)[None])


def _corners(bank: Bank) -> Tensor:
    """Return the top left corners of the blocks that may be copied completely; if there are none, all allowed positions."""
    found = []
    for part, (height, width) in zip(bank.allowed.split(_counts(bank)), bank.sizes, strict=True):
        grid = F.pad(part.reshape(1, 1, height, width).float(), (0, _BLOCK - 1, 0, _BLOCK - 1))
        found.append((F.avg_pool2d(grid, _BLOCK, stride=1) > 1 - 1e-3).flatten())
    corner = torch.cat(found)
    return corner if bool(corner.any()) else bank.allowed


def _pooled(rows: Tensor, size: Size, stride: int) -> Tensor:
    """Average rows over blocks that start at every ``stride``-th position."""
    grid = F.pad(rows.T.reshape(1, -1, *size), (0, _BLOCK - 1, 0, _BLOCK - 1), mode="replicate")
    return F.avg_pool2d(grid, _BLOCK, stride=stride)[0].flatten(1).T


# ---------------------------------------------------------------------------------------------------- candidates


def _continued(current: Tensor, bank: Bank, *, wraps: bool) -> list[Tensor]:
    """Return, for each of the four neighbors, the position that continues the neighbor's match."""
    found = [_continuation(current, bank, offset, wraps=wraps) for offset in _BESIDE]
    return [torch.where(inside, position, current) for position, inside in found]


def _continuation(current: Tensor, bank: Bank, offset: Size, *, wraps: bool) -> tuple[Tensor, Tensor]:
    """Return the position that continues the match of the neighbor at an offset, and whether that position may be copied."""
    down, across = offset
    heights, widths, _ = _geometry(bank.sizes, current.device)
    example, row, column = bank.split(_shifted(current, down, across, wraps=wraps))
    row, column = row - down, column - across
    position = bank.join(example, row, column)
    inside = (row >= 0) & (column >= 0) & (row < heights[example]) & (column < widths[example]) & bank.allowed[position]
    return position, inside if wraps else inside & _has_neighbor(inside, down, across)


def _moved(current: Tensor, reach: int, bank: Bank, generator: torch.Generator) -> Tensor:
    """Move each match by a random distance of at most ``reach``."""
    example, row, column = bank.split(current)
    down, across = (torch.randint(-reach, reach + 1, current.shape, generator=generator).to(row) for _ in range(2))
    return bank.join(example, row + down, column + across)


def _chosen(queries: Tensor, candidates: Tensor, bank: Bank, penalty: Tensor, search: FieldSearch) -> Tensor:
    """Choose the best of the candidates (count, height, width) at each position.

    A candidate gets a bonus for each neighbor whose match it continues. It gets a penalty for each neighbor that is copied from
    the same position, because such copies repeat visibly.
    """
    continued, current = candidates[2 : 2 + len(_BESIDE)], candidates[0]
    same = torch.stack([_shifted(current, down, across, wraps=search.wraps) for down, across in _BESIDE])
    scores = []
    for each in candidates:
        bonus = (continued == each).sum(0) - _REPEATED * (same == each).sum(0)
        score = _similarity(queries, each, bank) - penalty[each]
        scores.append(score + search.coherence * bonus)
    return candidates.gather(0, torch.stack(scores).argmax(0)[None])[0]


def _similarity(queries: Tensor, positions: Tensor, bank: Bank) -> Tensor:
    """Return the inner product of each query with the key at its position; the result has the shape of ``positions``."""
    parts = zip(queries.split(_ROWS), positions.flatten().split(_ROWS), strict=True)
    return torch.cat([(part * bank.keys[at]).sum(1) for part, at in parts]).reshape(positions.shape)


# ---------------------------------------------------------------------------------------------------- geometry


def _geometry(sizes: tuple[Size, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    heights, widths = (torch.tensor(each, device=device) for each in zip(*sizes, strict=True))
    return heights, widths, torch.cat([torch.zeros_like(heights[:1]), (heights * widths).cumsum(0)[:-1]])


def _counts(bank: Bank) -> list[int]:
    return [height * width for height, width in bank.sizes]


def _smooth(values: Tensor, size: Size) -> Tensor:
    grid = values.reshape(1, 1, *size)
    return F.avg_pool2d(grid, 5, stride=1, padding=2, count_include_pad=False).flatten() if min(size) > 2 else values


def _shifted(values: Tensor, down: int, across: int, *, wraps: bool) -> Tensor:
    """Return, for each position, the value of its neighbor at an offset; beyond the edge, the nearest value at the edge."""
    if wraps:
        return torch.roll(values, (-down, -across), (0, 1))
    height, width = values.shape
    rows = (torch.arange(height, device=values.device) + down).clamp(0, height - 1)
    columns = (torch.arange(width, device=values.device) + across).clamp(0, width - 1)
    return values[rows][:, columns]


def _to_allowed(positions: Tensor, allowed: Tensor) -> Tensor:
    """If a position is not allowed, replace it by the allowed position with the next lower number."""
    numbers = torch.arange(len(allowed), device=allowed.device)
    before = torch.where(allowed, numbers, -1).cummax(0).values
    return torch.where(before < 0, allowed.int().argmax(), before)[positions]


def _has_neighbor(values: Tensor, down: int, across: int) -> Tensor:
    """Return a mask of the positions that have a neighbor at an offset."""
    height, width = values.shape
    row = torch.arange(height, device=values.device)[:, None] + down
    column = torch.arange(width, device=values.device)[None] + across
    return (row >= 0) & (row < height) & (column >= 0) & (column < width)


def _fitted(values: Tensor, size: Size) -> Tensor:
    """Fit a map of integers to a size: crop it, or repeat its last row and column."""
    rows = torch.arange(size[0], device=values.device).clamp_max(values.shape[0] - 1)
    columns = torch.arange(size[1], device=values.device).clamp_max(values.shape[1] - 1)
    return values[rows][:, columns]

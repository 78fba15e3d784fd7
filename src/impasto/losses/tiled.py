"""Losses of a picture that is evaluated tile by tile, with the value and gradient of the whole picture.

Each loss is written as a function of a *summary*: a vector that is the sum of contributions of tiles. For a mean over positions
with a fixed target, the summary is the loss itself, so a single pass over the tiles computes its gradient. For a loss on
statistics, a first pass over the tiles adds up the statistics and computes the derivative of the loss with respect to the
statistics; a second pass back-propagates this derivative through each tile. Both methods are exact, because a tile contributes
only the positions inside it, and its halo contains everything that these positions depend on.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.errors import OptionError
from impasto.features.neighbors import GRID_STRIDE, tile_columns
from impasto.features.statistics import Moments, moments, precise
from impasto.losses.features import (
    PIXELS,
    ContentLoss,
    Loss,
    Objective,
    ScaledContentLoss,
    StyleLoss,
    WassersteinLoss,
    mapped,
    sum_over,
)
from impasto.losses.neighbors import MatchLoss, NeighborLoss, PaletteLoss, SparseGrid, cosines
from impasto.losses.picture import (
    EdgeAwareSmoothness,
    Gamut,
    KeptPhotoLoss,
    Smoothness,
    StructureLoss,
    TemporalLoss,
    luminance_of,
    small_luminance,
    structural_similarity,
)
from impasto.masks.guides import receptive_field
from impasto.runtime.resampling import antialiasing_matrices
from impasto.runtime.tiling import ORIGIN_PX, Tile
from impasto.tensors import Features, Image

Size = tuple[int, int]


class TiledLoss(Protocol):
    """A loss as a function of a sum over tiles."""

    @property
    def is_linear(self) -> bool:
        """Whether the loss equals the sum, so that the first pass is not needed."""

    def summary(self, features: Features, tile: Tile) -> Tensor:
        """Return the contribution of a tile, a vector; ``features`` are those of the tile with its halo."""

    def loss(self, summary: Tensor) -> Tensor:
        """Return the loss for the sum of the contributions of all tiles."""


@dataclass(frozen=True)
class TiledTerm:
    """A weighted loss of an objective: its tiled form, and the layers that it needs."""

    weight: float
    name: str
    layers: frozenset[str]
    form: TiledLoss


def tiled_terms(objective: Objective, size: Size) -> list[TiledTerm]:
    """Write an objective for a picture of a size (height, width) as sums over tiles.

    Losses on random samples draw their sample here, so call this function for each evaluation.

    Raises:
        OptionError: a loss cannot be evaluated in tiles.
    """
    return [TiledTerm(each.weight, each.loss.name, each.loss.layers, _form(each.loss, size)) for each in objective]


def can_be_tiled(objective: Objective) -> bool:
    """Return whether every loss of an objective has a tiled form."""
    return all(
        type(each.loss) in _FORMS and not (isinstance(each.loss, Smoothness) and each.loss.form == "nine-point")
        for each in objective
    )


def halo_of(layers: Iterable[str], all_layers: Sequence[str]) -> int:
    """Return the width of the halo for features of the given layers, in pixels: a multiple of the spacing of tile origins.

    Example:
        >>> from impasto.encoders.vgg import LAYERS
        >>> halo_of(["relu3_1"], LAYERS), halo_of(["relu5_1", "pixels"], LAYERS), halo_of([], LAYERS)
        (16, 96, 16)
    """
    fields = [receptive_field(layer, all_layers) for layer in layers if layer != PIXELS]
    reach = max((field // 2 + stride for field, stride in fields), default=1)
    return math.ceil(reach / ORIGIN_PX) * ORIGIN_PX


def _form(loss: Loss, size: Size) -> TiledLoss:
    make = _FORMS.get(type(loss))
    if make is None:
        raise OptionError(
            f"the {loss.name} loss {type(loss).__name__} cannot be painted in tiles; use a smaller --size or more memory"
        )
    return make(loss, size)


def stride_of(layer: str) -> int:
    """Return the distance between neighboring positions of a layer, in pixels."""
    return 1 << (int(layer[4]) - 1)


def _grid(layer: str, size: Size) -> Size:
    return size[0] // stride_of(layer), size[1] // stride_of(layer)


# ---------------------------------------------------------------------------------------------------- sums over positions


@dataclass(frozen=True)
class _Sum:
    """A loss that is a sum over positions with a fixed target."""

    part: Callable[[Features, Tile], Tensor]
    is_linear: bool = True

    def summary(self, features: Features, tile: Tile) -> Tensor:
        return self.part(features, tile).reshape(1)

    def loss(self, summary: Tensor) -> Tensor:
        return summary.sum()


def _neighbors(loss: NeighborLoss | MatchLoss, size: Size) -> TiledLoss:
    positions = math.prod(side // GRID_STRIDE for side in size)

    def part(features: Features, tile: Tile) -> Tensor:
        target = loss.target(tile) if isinstance(loss, MatchLoss) else tile.part(loss.target, GRID_STRIDE)
        found = tile_columns(features, loss.heads, tile)
        return (1 - cosines(found, target.to(found.dtype))).sum() / positions

    return _Sum(part)


def _content(loss: ContentLoss, _: Size) -> TiledLoss:
    def part(features: Features, tile: Tile) -> Tensor:
        return sum_over(loss.weights[layer] * difference.square().sum() for layer, difference in _apart(loss, features, tile))

    return _Sum(part)


def _apart(loss: ContentLoss | ScaledContentLoss, features: Features, tile: Tile) -> Iterable[tuple[str, Tensor]]:
    """Yield the difference from the target inside a tile, for each layer."""
    for layer, target in loss.target.items():
        stride = stride_of(layer)
        found = mapped(tile.inside(features[layer], stride), loss.heads.get(layer))
        yield layer, precise(found - tile.part(target, stride))


def _edge_aware(loss: EdgeAwareSmoothness, size: Size) -> TiledLoss:
    count = (size[0] - 1) * (size[1] - 1)

    def part(features: Features, tile: Tile) -> Tensor:
        right, down = _steps(features[PIXELS], tile)
        flat = tile.part(loss.flatness).to(right.dtype)[:, 0, : right.shape[-2], : right.shape[-1]]
        return (flat * (right.square().sum(1) + down.square().sum(1))).sum() / count

    return _Sum(part)


def _smoothness(loss: Smoothness, size: Size) -> TiledLoss:
    if loss.form == "nine-point":
        raise OptionError("--smoothness-form nine-point cannot be painted in tiles; use a smaller --size or more memory")
    count = (size[0] - 1) * (size[1] - 1) if loss.form in ("l1", "l2") else 1

    def part(features: Features, tile: Tile) -> Tensor:
        image = features[PIXELS] * loss.scale
        if loss.form == "sum-l1":
            found = _with_next(image, tile)
            height, width = (span.end - span.start for span in (tile.rows, tile.columns))
            across, down = found[..., :height, :].diff(dim=-1), found[..., :width].diff(dim=-2)
            return across.abs().sum() + down.abs().sum()
        right, down = _steps(image, tile)
        if loss.form == "inetwork":
            return (right.square() + down.square()).pow(1.25).sum()
        steps = right.abs() + down.abs() if loss.form == "l1" else right.square() + down.square()
        return steps.sum() / count

    return _Sum(part)


def _with_next(image: Image, tile: Tile) -> Image:
    """Return the pixels inside a tile, and one more row and column except at the edges of the picture."""
    below, beside = (0 if last else 1 for last in tile.is_last)
    top, left = tile.rows.start - tile.rows.first, tile.columns.start - tile.columns.first
    bottom, right = tile.rows.end - tile.rows.first + below, tile.columns.end - tile.columns.first + beside
    return precise(image[..., top:bottom, left:right])


def _steps(image: Image, tile: Tile) -> tuple[Tensor, Tensor]:
    """Return the differences to the neighbors on the right and below; pixels in the last row and column are omitted."""
    found = _with_next(image, tile)
    here = found[..., :-1, :-1]
    return found[..., :-1, 1:] - here, found[..., 1:, :-1] - here


def _gamut(_: Gamut, size: Size) -> TiledLoss:
    def part(features: Features, tile: Tile) -> Tensor:
        image = tile.inside(features[PIXELS])
        return (image - image.clamp(0, 1)).square().sum() / (3 * math.prod(size))

    return _Sum(part)


def _kept(loss: KeptPhotoLoss, size: Size) -> TiledLoss:
    def part(features: Features, tile: Tile) -> Tensor:
        apart = precise(tile.inside(features[PIXELS]) - tile.part(loss.target))
        return (tile.part(loss.mask) * apart.square()).sum() / (3 * math.prod(size))

    return _Sum(part)


# ---------------------------------------------------------------------------------------------------- functions of a summary


@dataclass(frozen=True)
class _Statistics:
    """A loss on moments: its summary is the mean and the Gram matrix of each layer, which are sums over positions.

    The sums are in float64, because the covariance is a small difference between the Gram matrix and the product of means.
    """

    compared: StyleLoss | WassersteinLoss
    size: Size
    is_linear: bool = False

    def summary(self, features: Features, tile: Tile) -> Tensor:
        found = []
        for layer in self.compared.target:
            inside = tile.inside(features[layer], stride_of(layer))
            share = inside.shape[-2] * inside.shape[-1] / math.prod(_grid(layer, self.size))
            measured = moments(inside)
            mean, covariance = measured.mean.double(), measured.covariance.double()
            found += [share * mean.flatten(), share * Moments(mean, covariance).gram.flatten()]
        return torch.cat(found)

    def loss(self, summary: Tensor) -> Tensor:
        values, layers = [], list(self.compared.target)
        for layer in layers:
            channels = self._channels(layer)
            mean, gram, summary = summary.split([channels, channels**2, len(summary) - channels - channels**2])
            covariance = gram.reshape(1, channels, channels) - mean[None, :, None] * mean[None, None]
            values.append(self.compared.difference(layer, Moments(mean[None], covariance).to(self.compared.target[layer].mean)))
        return torch.stack(values).sum()

    def _channels(self, layer: str) -> int:
        """Return the number of channels that the encoder has at a layer, before the head of the layer is applied."""
        head = self.compared.heads.get(layer)
        return self.compared.target[layer].mean.shape[1] if head is None else head.matrix.shape[1]


@dataclass(frozen=True)
class _ScaledContent:
    """:class:`ScaledContentLoss`: its summary is the sum of squares and the sum of absolute values of each layer."""

    compared: ScaledContentLoss
    is_linear: bool = False

    def summary(self, features: Features, tile: Tile) -> Tensor:
        parts = [(each.square().sum(), each.abs().sum()) for _, each in _apart(self.compared, features, tile)]
        return torch.stack([value for pair in parts for value in pair])

    def loss(self, summary: Tensor) -> Tensor:
        pairs = zip(self.compared.target, summary.reshape(-1, 2), strict=True)
        return sum_over(self.compared.weights[layer] * pair[0] / (pair[1] + 1e-8) for layer, pair in pairs)


@dataclass(frozen=True)
class _Palette:
    """:class:`PaletteLoss`: its summary is the features at the positions of the sparse grids."""

    compared: PaletteLoss
    grids: dict[str, SparseGrid]
    heads_in: dict[str, int]
    is_linear: bool = False

    def summary(self, features: Features, tile: Tile) -> Tensor:
        return torch.cat([self._sampled(layer, features[layer], tile).flatten() for layer in self.grids])

    def _sampled(self, layer: str, features: Tensor, tile: Tile) -> Tensor:
        """Return a map of all samples that holds the sampled features of a tile, and zeros elsewhere."""
        grid, stride = self.grids[layer], stride_of(layer)
        inside = tile.inside(features, stride)
        padding, firsts = [], []
        for span, shift, side in ((tile.columns, grid.left, grid.width), (tile.rows, grid.top, grid.height)):
            index = max(0, -((shift - span.start // stride) // grid.stride))
            end = max(0, -((shift - span.end // stride) // grid.stride))
            firsts.append(index * grid.stride + shift - span.start // stride)
            padding += [index, _count(side, shift, grid.stride) - end]
        sampled = inside[..., firsts[1] :: grid.stride, firsts[0] :: grid.stride]
        return F.pad(precise(sampled), padding)

    def loss(self, summary: Tensor) -> Tensor:
        values = []
        for layer, grid in self.grids.items():
            shape = (_count(grid.height, grid.top, grid.stride), _count(grid.width, grid.left, grid.stride))
            count = self.heads_in[layer] * math.prod(shape)
            sampled, summary = summary.split([count, len(summary) - count])
            values.append(self.compared.distance(layer, sampled.reshape(1, -1, *shape), grid))
        return torch.stack(values).sum() / len(self.grids)


def _count(side: int, first: int, stride: int) -> int:
    """Return the number of values in ``range(first, side, stride)``."""
    return len(range(first, side, stride))


def _palette(loss: PaletteLoss, size: Size) -> TiledLoss:
    grids = loss.drawn({layer: _grid(layer, size) for layer in loss.target})
    heads = {layer: loss.heads.get(layer) for layer in loss.target}
    channels = {
        layer: loss.target[layer].rows.shape[1] if head is None else head.matrix.shape[1] for layer, head in heads.items()
    }
    return _Palette(loss, grids, channels)


@dataclass(frozen=True)
class _Structure:
    """:class:`StructureLoss`: its summary is the small luminance, which is linear in the picture."""

    target: Tensor
    rows: Tensor
    columns: Tensor
    is_linear: bool = False

    def summary(self, features: Features, tile: Tile) -> Tensor:
        luminance = luminance_of(tile.inside(features[PIXELS]))[0, 0]
        rows, columns = self.rows[:, tile.rows.start : tile.rows.end], self.columns[:, tile.columns.start : tile.columns.end]
        return (rows @ luminance @ columns.T).flatten()

    def loss(self, summary: Tensor) -> Tensor:
        return 1 - structural_similarity(summary.reshape(self.target.shape), self.target)


def _structure(loss: StructureLoss, size: Size) -> TiledLoss:
    target = small_luminance(loss.target, loss.edge_px)
    rows, columns = antialiasing_matrices(size, (target.shape[-2], target.shape[-1]))
    return _Structure(target, rows.to(target), columns.to(target))


_FORMS: dict[type, Callable[[Any, Size], TiledLoss]] = {
    NeighborLoss: _neighbors,
    MatchLoss: _neighbors,
    ContentLoss: _content,
    ScaledContentLoss: lambda loss, _: _ScaledContent(loss),
    StyleLoss: lambda loss, size: _Statistics(loss, size),
    WassersteinLoss: lambda loss, size: _Statistics(loss, size),
    PaletteLoss: _palette,
    Smoothness: _smoothness,
    EdgeAwareSmoothness: _edge_aware,
    StructureLoss: _structure,
    Gamut: _gamut,
    KeptPhotoLoss: _kept,
    TemporalLoss: _kept,
}

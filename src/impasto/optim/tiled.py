"""Evaluation of an objective in tiles, with the same value and gradient as for the whole picture."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.losses.features import PIXELS, Objective
from impasto.losses.tiled import TiledTerm, halo_of, tiled_terms
from impasto.optim.parametrization import Leaf, Window, part_of_image
from impasto.options import Canvas
from impasto.runtime.memory import is_out_of_memory
from impasto.runtime.tiling import ORIGIN_PX, Tile, tiles_of
from impasto.tensors import Features, Image

Encode = Callable[[Image, frozenset[str]], Features]
SMALLEST_TILE_PX = 64
"""Minimum side of a tile. When memory runs out, the side is halved, but not below this value."""


@dataclass
class Tiling:
    """How to divide pictures into tiles.

    Attributes:
        tile_px: side of a tile without its halo, in pixels; halved when memory runs out.
        layers: all layers of the encoder, in order; they determine the width of the halo.
        on_disk: whether the state of the optimizer is kept in temporary files.
        note: one sentence if tiles were made smaller since the last step; empty otherwise.
    """

    tile_px: int
    layers: Sequence[str]
    on_disk: bool = False
    note: str = ""

    def shrink(self) -> bool:
        """Halve the side of the tiles after memory ran out; return False if they cannot be smaller."""
        if self.tile_px <= SMALLEST_TILE_PX:
            return False
        self.tile_px = max(SMALLEST_TILE_PX, self.tile_px // 2 // ORIGIN_PX * ORIGIN_PX)
        self.note = _note(self.tile_px)
        return True


def _note(tile_px: int) -> str:
    return f"memory ran out; continuing in tiles of {tile_px} pixels"


@dataclass
class TilePlan:
    """The sizes that are painted in tiles.

    Attributes:
        layers: all layers of the encoder, in order.
        whole_pixels: pictures with at most this many pixels are painted whole.
        stored_pixels: above this number of pixels, the state of the optimizer is on disk.
        tile_px: side of a tile without its halo.
    """

    layers: Sequence[str]
    whole_pixels: float = math.inf
    stored_pixels: float = math.inf
    tile_px: int = 512

    def at(self, size: tuple[int, int]) -> Tiling | None:
        """Return the tiling for a size (height, width); None if it is painted whole."""
        pixels = math.prod(size)
        return None if pixels <= self.whole_pixels else Tiling(self.tile_px, self.layers, pixels > self.stored_pixels)

    def reduce(self, size: tuple[int, int], tiling: Tiling | None) -> bool:
        """After memory ran out, paint this size and larger sizes in tiles, or in smaller tiles.

        Args:
            size: (height, width) being painted.
            tiling: the tiles of this size; None: it was painted whole.

        Returns:
            False if smaller tiles are not possible.
        """
        if tiling is None:
            self.whole_pixels = math.prod(size) - 1
            return True
        if not tiling.shrink():
            return False
        self.tile_px = tiling.tile_px
        return True

    @property
    def note(self) -> str:
        """A message that memory ran out, and how painting continues."""
        return _note(self.tile_px)


class TiledObjective:
    """An objective that is evaluated in tiles.

    Args:
        objective: the weighted sum of losses.
        encode: computes the features of a picture at layers.
        canvas: the parametrization of the picture.
        tiling: the size of the tiles.
    """

    def __init__(self, objective: Objective, encode: Encode, canvas: Canvas, tiling: Tiling) -> None:
        self.objective, self.encode, self.canvas, self.tiling = objective, encode, canvas, tiling

    def backward(self, planes: list[Tensor]) -> tuple[float, dict[str, float]]:
        """Add the gradient of the objective to ``plane.grad``; return its value, and the weighted losses by name."""
        while True:
            for plane in planes:
                plane.grad = torch.zeros_like(plane)
            try:
                return self._evaluated(planes, self.canvas, is_differentiated=True)
            except (MemoryError, RuntimeError) as error:
                self._shrink_after(error)
            free_cached_memory(planes[0].device)

    def at(self, picture: Image) -> float:
        """Return the objective of a picture."""
        while True:
            try:
                return self._evaluated([picture], "pixels", is_differentiated=False)[0]
            except (MemoryError, RuntimeError) as error:
                self._shrink_after(error)
            free_cached_memory(picture.device)

    def _shrink_after(self, error: Exception) -> None:
        """Make the tiles smaller; raise the error if it has another cause, or if the tiles cannot be smaller."""
        if not is_out_of_memory(error) or not self.tiling.shrink():
            raise error

    def _evaluated(self, planes: list[Tensor], canvas: Canvas, *, is_differentiated: bool) -> tuple[float, dict[str, float]]:
        size = (planes[0].shape[-2], planes[0].shape[-1])
        terms = tiled_terms(self.objective, size)
        slopes, losses = self._slopes(planes, canvas, terms)
        seen = [term for term in terms if term.form.is_linear or is_differentiated]
        for tile in self._tiles(size, seen):
            with torch.set_grad_enabled(is_differentiated):
                picture, leaves = part_of_image(planes, canvas, window_of(tile))
                features = self._features(picture, seen)
                total, found = _of_tile(terms, slopes, features, tile)
            for name, value in found.items():
                losses[name] = losses.get(name, 0.0) + value
            if is_differentiated:
                total.backward()
                _add_gradients(planes, leaves)
        return math.fsum(losses.values()), losses

    def _slopes(
        self, planes: list[Tensor], canvas: Canvas, terms: Sequence[TiledTerm]
    ) -> tuple[list[Tensor | None], dict[str, float]]:
        """Add up the statistics of all tiles, and differentiate the losses with respect to them.

        Returns:
            For each term, the derivative of its weighted loss with respect to its statistics, or None if the loss itself is
            a sum over the tiles; and, by name, the weighted losses of the terms that have statistics.
        """
        others = [term for term in terms if not term.form.is_linear]
        sums: dict[int, Tensor] = {}
        with torch.no_grad():
            for tile in self._tiles((planes[0].shape[-2], planes[0].shape[-1]), others) if others else ():
                features = self._features(part_of_image(planes, canvas, window_of(tile))[0], others)
                for term in others:
                    found = term.form.summary(features, tile)
                    sums[id(term)] = sums[id(term)].add_(found) if id(term) in sums else found.clone()
        slopes: list[Tensor | None] = []
        losses: dict[str, float] = {}
        for term in terms:
            if term.form.is_linear:
                slopes.append(None)
                continue
            with torch.enable_grad():
                summary = sums.pop(id(term)).requires_grad_()
                value = term.weight * term.form.loss(summary)
                (slope,) = torch.autograd.grad(value, summary)
            slopes.append(slope)
            losses[term.name] = losses.get(term.name, 0.0) + float(value.detach())
        return slopes, losses

    def _tiles(self, size: tuple[int, int], terms: Sequence[TiledTerm]) -> Iterator[Tile]:
        layers = frozenset().union(*(term.layers for term in terms))
        return iter(tiles_of(size, self.tiling.tile_px, halo_of(layers, self.tiling.layers)))

    def _features(self, picture: Image, terms: Sequence[TiledTerm]) -> Features:
        layers = frozenset().union(*(term.layers for term in terms)) - {PIXELS}
        return {**(self.encode(picture, layers) if layers else {}), PIXELS: picture}


def _of_tile(
    terms: Sequence[TiledTerm], slopes: Sequence[Tensor | None], features: Features, tile: Tile
) -> tuple[Tensor, dict[str, float]]:
    """Return the parts that a tile contributes.

    Returns:
        A scalar whose gradient is the part of the whole gradient; and, by name, the part of each loss that is a sum over tiles.
    """
    total = torch.zeros((), device=features[PIXELS].device)
    losses: dict[str, float] = {}
    for term, slope in zip(terms, slopes, strict=True):
        if slope is None:
            part = term.weight * term.form.summary(features, tile).sum()
            losses[term.name] = losses.get(term.name, 0.0) + float(part.detach())
            total = total + part
        elif total.requires_grad or torch.is_grad_enabled():
            total = total + (slope * term.form.summary(features, tile)).sum()
    return total, losses


def _add_gradients(planes: Sequence[Tensor], leaves: Sequence[Leaf]) -> None:
    """Add the gradients of copied parts of the planes to the gradients of the planes; see :func:`part_of_image`."""
    for index, window, values in leaves:
        gradient = planes[index].grad
        if gradient is not None and values.grad is not None:
            gradient[..., window.top : window.bottom, window.left : window.right] += values.grad


def window_of(tile: Tile) -> Window:
    """Return the rows and columns of a tile with its halo."""
    return Window(tile.rows.first, tile.rows.last, tile.columns.first, tile.columns.last)


def free_cached_memory(device: torch.device) -> None:
    """Release the GPU memory that PyTorch keeps for reuse."""
    if device.type == "cuda":
        torch.cuda.empty_cache()

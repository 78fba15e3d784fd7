"""Painting with a brush from disk, for photos that do not fit into memory."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch

from impasto.images import reduced_size
from impasto.images.large import LargePicture
from impasto.images.reading import ReadingPlan
from impasto.options.brush import BrushOptions
from impasto.recipes import brush
from impasto.recipes.brush import BrushPainter, predicted_memory, statistics_size, working_size
from impasto.recipes.pastiche import recorded
from impasto.recipes.streaming import Job, Paint, Parts, Size, predicted_bytes, tile_px, tiles_px
from impasto.runtime.rasters import FileRaster, Raster, painted_between
from impasto.runtime.tiling import Place
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import Image


def unsupported(options: BrushOptions) -> str:
    """Return an option that needs the whole picture in memory; empty if there is none."""
    if options.grain:
        return "--grain"
    return "--strength 0" if options.strength == 0 else ""


def job_of(photo: LargePicture, painter: BrushPainter, options: BrushOptions, output: Path, bits: Literal[8, 16]) -> Job:
    """Plan a painting from disk; see :class:`impasto.recipes.streaming.Job`."""
    size = reduced_size(photo.size, options.size)
    working = working_size(size, options)
    record = recorded("brush", photo, (), painter.run) | {
        "brush": {"name": painter.facts.get("name", ""), "sha256": painter.network.sha256},
        "engine": painter.engines.next_engine,  # engines round differently, so none continues the picture of another
        "options": asdict(options),
    }
    pixels = tiles_px(working, brush.TILE_PX, painter.network.halo_px)
    return Job(photo, output, size, working, bits, record, (), pixels, pixels)


def predicted_working_bytes(size: Size, painter: BrushPainter, options: BrushOptions) -> int:
    """Predict the memory of the network for the given result size: the larger of a tile and the statistics of the photo."""
    side, working = brush.TILE_PX + 2 * painter.network.halo_px, working_size(size, options)
    parts = [(min(side, working[0]), min(side, working[1]))]
    if not any(painter.network.fixed_statistics):
        parts.append(statistics_size(working))
    return max(predicted_memory(painter.network, part, BrushOptions()) for part in parts)


def painting_of(painter: BrushPainter, options: BrushOptions) -> Paint:
    """Return the function that paints a photo from disk, for :func:`impasto.recipes.streaming.paint_from_disk`."""

    @in_known_state
    @torch.no_grad()
    def paint(content: Raster, result: FileRaster, parts: Parts) -> Iterator[int]:
        paint_tile, halo_px = painter.tiles_of(content)

        def blended(tile: Image, place: Place) -> Image:
            painted = paint_tile(tile, place)
            return painted if options.strength == 1 else torch.lerp(tile, painted, options.strength)

        width = content.size[1]
        for place in painted_between(content, result, blended, brush.TILE_PX, halo_px, parts.rows):
            if place.left + place.width == width:
                parts.save_rows(result, place.top + place.height)
            yield tile_px(place, content.size, halo_px)

    return paint


def memory_of(photo: ReadingPlan, painter: BrushPainter, options: BrushOptions) -> tuple[int, int]:
    """Predict the memory of painting in memory, including the memory of the photo, and of painting from disk."""
    size = reduced_size(photo.size, options.size)
    in_memory = 12 * math.prod(photo.read_size) + predicted_memory(painter.network, size, options)
    return in_memory, predicted_bytes(predicted_working_bytes(size, painter, options), max(photo.size[1], size[1]))

"""Instant painting from disk, for photos that do not fit into memory."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from impasto.images import reduced_size
from impasto.images.large import LargePicture
from impasto.images.reading import ReadingPlan
from impasto.options import InstantOptions
from impasto.recipes import instant_painter
from impasto.recipes.instant import BROADEST, style_parts, working_size
from impasto.recipes.instant_checks import check_inputs, check_side, predicted_memory
from impasto.recipes.instant_painter import InstantPainter, StyleCode, blended, painted_sizes
from impasto.recipes.masking import NO_MASKS, MaskSources
from impasto.recipes.pastiche import recorded
from impasto.recipes.starts import Style
from impasto.recipes.streaming import Job, Paint, Parts, Size, predicted_bytes, tile_px, tiles_px
from impasto.runtime.rasters import FileRaster, MemoryRaster, Raster
from impasto.runtime.tiling import Place
from impasto.runtime.torch_state import in_known_state


def unsupported(options: InstantOptions, masks: MaskSources) -> str:
    """Return an option that needs the whole picture in memory; empty if there is none."""
    if options.goes_on:
        return "--hq" if options.hq else "--refine"
    if masks != MaskSources():
        return "a mask"
    if options.color != "style" or options.color_proof:
        return f"--color {options.color}" if options.color != "style" else "--color-proof"
    return "--strength 0" if options.strength == 0 else ""


def job_of(
    photo: LargePicture,
    styles: Sequence[Style],
    painter: InstantPainter,
    options: InstantOptions,
    output: Path,
    bits: Literal[8, 16],
) -> Job:
    """Plan a painting from disk; see :class:`impasto.recipes.streaming.Job`.

    Raises:
        OptionError: a wrong number of styles or weights, or incompatible color options.
        ShapeError: a picture is too small.
    """
    check_inputs(styles, options)
    size = reduced_size(photo.size, options.size)
    check_side(photo.name, size)
    working = working_size(size, options)
    record = recorded("instant", photo, styles, painter.run) | {
        "network": {"name": "instant", "sha256": painter.network.sha256},
        "options": asdict(options),
    }
    if _is_whole(working):
        return Job(photo, output, size, working, bits, record, (), math.prod(working), math.prod(working))
    *smaller, last = painted_sizes(working, fast=options.fast)
    tiled = [each for each in smaller if not _is_whole(each)]
    px = {each: tiles_px(each, instant_painter.TILE_PX, instant_painter.HALO_PX) for each in (*tiled, last)}
    total_px = sum(px.get(each, math.prod(each)) for each in (*smaller, last))
    return Job(photo, output, size, working, bits, record, tuple(tiled), px[last], total_px)


def predicted_working_bytes(size: Size, options: InstantOptions) -> int:
    """Predict the memory of the networks for the given result size: that of the largest part that they paint at once."""
    working, side = working_size(size, options), instant_painter.TILE_PX + 2 * instant_painter.HALO_PX
    if _is_whole(working):
        return predicted_memory(working)
    tile = min(side, working[0]) * min(side, working[1])
    return predicted_memory((1, max(tile, *map(math.prod, filter(_is_whole, painted_sizes(working, fast=options.fast))), 0)))


def code_of(styles: Sequence[Style], painter: InstantPainter, options: InstantOptions) -> StyleCode:
    """Encode the styles of a painting from disk."""
    codes = [painter.encode(style, stroke=min(options.stroke, BROADEST)) for style in style_parts(styles, NO_MASKS)]
    return blended(codes, options.style_weights)


def painting_of(painter: InstantPainter, code: StyleCode, options: InstantOptions) -> Paint:
    """Return the function that paints a photo from disk, for :func:`impasto.recipes.streaming.paint_from_disk`."""

    @in_known_state
    @torch.no_grad()
    def paint(content: Raster, result: FileRaster, parts: Parts) -> Iterator[int]:
        if _is_whole(content.size):
            if not parts.rows:
                whole = Place(0, 0, *content.size)
                result.write(whole, painter.paint(content.read(whole), code, strength=options.strength, fast=options.fast))
                parts.save_rows(result, whole.height)
                yield math.prod(content.size)
            return
        painting = painter.painting(content.size, code, options.strength, fast=options.fast)
        if "rows" in parts.state:
            before = _kept(parts)
            if "owner" in parts.state["kept"]:
                painting.owner = torch.from_numpy(np.load(parts.folder / "owner")).to(painter.device)
        else:
            count = 0

            def make(size: Size) -> Raster:
                nonlocal count
                count += 1
                return parts.raster(f"size-{count}", size, "float32")

            smaller = painting.smaller(content, make)
            while True:
                try:
                    size, place = next(smaller)
                except StopIteration as end:
                    before = _keep(end.value, painting.owner, parts)
                    break
                yield _px(place, size)
        width = content.size[1]
        for place in painting.last(content, result, before, parts.rows):
            if place.left + place.width == width:
                parts.save_rows(result, place.top + place.height)
            yield tile_px(place, content.size, instant_painter.HALO_PX)

    return paint


def _px(place: Place, size: Size) -> int:
    return math.prod(size) if _is_whole(size) else tile_px(place, size, instant_painter.HALO_PX)


def _is_whole(size: Size) -> bool:
    """Return whether pictures of a size are painted whole, as in memory."""
    return math.prod(size) <= instant_painter.LARGEST_WHOLE_PX


def _keep(before: Raster | None, owner: torch.Tensor | None, parts: Parts) -> Raster | None:
    """Keep the picture of the next-to-last size, for a run that continues this one."""
    if before is None:
        parts.save(rows=0, before=None)
        return None
    kept = before
    if isinstance(before, MemoryRaster):
        kept = parts.raster("before", before.size, "float32")
        kept.write(Place(0, 0, *before.size), before.image)
    assert isinstance(kept, FileRaster)
    kept.flush()
    names = [kept.path.name]
    if owner is not None:
        with (parts.folder / "owner").open("wb") as file:
            np.save(file, owner.cpu().numpy())
        names.append("owner")
    parts.save(*names, rows=0, before=[kept.path.name, *kept.size])
    return kept


def _kept(parts: Parts) -> Raster | None:
    if parts.state["before"] is None:
        return None
    name, height, width = parts.state["before"]
    return parts.raster(name, (height, width), "float32")


def memory_of(photo: ReadingPlan, options: InstantOptions) -> tuple[int, int]:
    """Predict the memory of painting in memory, including the memory of the photo, and of painting from disk."""
    size = reduced_size(photo.size, options.size)
    in_memory = 12 * math.prod(photo.read_size) + predicted_memory(size, is_colored=options.color != "style")
    return in_memory, predicted_bytes(predicted_working_bytes(size, options), max(photo.size[1], size[1]))

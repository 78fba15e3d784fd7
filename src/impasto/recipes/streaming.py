"""Paint pictures that do not fit into memory: read in strips, painted in tiles from file to file, and written in tiles.

The files are in a folder next to the output. If the program is interrupted, they keep the finished parts, so that the same job
can be continued.

::

    reading    the photo, upright and in sRGB, is copied to a file
    painting   a generator of the recipe reads tiles of this file and writes tiles to another one
    writing    the result becomes a tiled TIFF, which replaces the output atomically
"""

import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from impasto.errors import ImageFileError, ResourceError
from impasto.images import MAX_PIXELS
from impasto.images.large import LargePicture
from impasto.images.picture import Array, levels
from impasto.images.reading import ReadingPlan
from impasto.images.tiled_tiff import write_tiled
from impasto.options import Run
from impasto.recipes.checks import MemoryLimit
from impasto.runtime.amounts import amount
from impasto.runtime.atomic import replacing
from impasto.runtime.devices import seconds_now
from impasto.runtime.file_names import file_name
from impasto.runtime.memory import used_memory
from impasto.runtime.rasters import STRIP_ROWS, Depth, FileRaster, Raster, resized_into, resized_strips
from impasto.runtime.tiling import Place, spans

Size = tuple[int, int]
Phase = Literal["reading", "painting", "writing"]

_SUFFIX, _STATE = ".impasto-parts", "state.json"
_TIMED_SHARE = 0.01
"""Share of the work after which the remaining time is estimated; the small sizes come first and take longer per pixel."""
_BYTES_OF_A_COLUMN = 256 * 12 * 6
"""Memory of a column of a strip, including its resized copies."""


@dataclass(frozen=True)
class Job:
    """A picture to paint from disk.

    Attributes:
        photo: the photo.
        output: the file to write, a TIFF.
        size: (height, width) of the result.
        working: (height, width) at which the photo is painted; it differs from ``size`` if the strokes are broader or finer.
        bits: 8 or 16 bits per channel of the result.
        record: the record of the run.
        tiled: (height, width) of each size that is painted in tiles from file to file, except the last one.
        last_px: number of pixels to paint at the last size, including halos.
        total_px: number of pixels to paint at all sizes, including halos.
    """

    photo: LargePicture
    output: Path
    size: Size
    working: Size
    bits: Literal[8, 16]
    record: Mapping[str, Any]
    tiled: tuple[Size, ...]
    last_px: int
    total_px: int

    def left_px(self, parts: "Parts") -> float:
        """Return the number of pixels that are left to paint, given what earlier runs finished."""
        last = self.last_px * (1 - parts.rows / self.working[0])
        return last if "rows" in parts.state else self.total_px

    @property
    def disk_bytes(self) -> int:
        """The space for the parts and the result on the disk, in bytes."""
        value_bytes = np.dtype(self.photo.depth).itemsize
        photo = 3 * value_bytes * math.prod(self.photo.size)
        resized = 12 * math.prod(self.working) if self.working != self.photo.size else 0
        smaller = sum(24 * math.prod(size) for size in self.tiled)
        result = 3 * self.bits // 8 * (math.prod(self.working) + math.prod(self.size))
        return photo + resized + smaller + result


@dataclass(frozen=True)
class Progress:
    """The progress of a job.

    Attributes:
        phase: the current phase.
        share: the finished share of the phase, 0 to 1.
        rows: finished rows of the last size.
        seconds: seconds since the start.
        seconds_left: estimated seconds until the result is written; infinite at the beginning.
    """

    phase: Phase
    share: float
    rows: int
    seconds: float
    seconds_left: float


class Parts:
    """The folder with the parts of a picture that is being painted, and the state of the work.

    Args:
        job: what to paint; the folder is next to its output. If the parts of another job are there, they are deleted.

    Raises:
        ImageFileError: the folder cannot be created, or there is another folder with its name.
    """

    def __init__(self, job: Job) -> None:
        self.folder = folder_of(job.output)
        self.state: dict[str, Any] = {"bits": job.bits, "record": json.loads(json.dumps(_lasting(job.record)))}
        try:
            self.folder.mkdir(exist_ok=True)
            names = {each.name for each in self.folder.iterdir() if not each.name.startswith(".impasto-")}
            if names and _STATE not in names:
                raise ImageFileError(f"'{self.folder}' is not a folder of impasto; rename it, or choose another --output")
            self.state = self._found() or self.state
            self._delete_all_but(self.state.get("kept", []))
            self.save()
        except OSError as error:
            if isinstance(error, ImageFileError):
                raise
            raise ImageFileError(f"folder '{self.folder}' cannot be used ({error.strerror or error})") from error

    @property
    def is_resumed(self) -> bool:
        """Whether an earlier run left finished parts."""
        return bool(self.state.get("kept"))

    @property
    def rows(self) -> int:
        """Finished rows of the last size."""
        return int(self.state.get("rows", 0))

    @property
    def used_bytes(self) -> int:
        """The space that the parts take on the disk. Ranges of a file that were never written take none, except on Windows."""
        return sum(_taken_bytes(each.stat()) for each in self.folder.iterdir())

    def raster(self, name: str, size: Size, depth: Depth) -> FileRaster:
        """Return the picture in a file of the folder."""
        return FileRaster(self.folder / name, size, depth)

    def save(self, *finished: str, unused: Iterable[str] = (), **facts: Any) -> None:
        """Save the state.

        Args:
            finished: names of files that a later run needs.
            unused: names of files that are no longer needed.
            facts: other values to store in the state.
        """
        kept = [each for each in self.state.get("kept", []) if each not in unused]
        self.state |= {"kept": [*dict.fromkeys([*kept, *finished])], **facts}
        with replacing(self.folder / _STATE) as part:
            part.write_text(json.dumps(self.state), encoding="utf-8")
        for name in unused:
            (self.folder / name).unlink(missing_ok=True)

    def save_rows(self, result: FileRaster, rows: int) -> None:
        """Save the number of finished rows of the result."""
        result.flush()
        self.save(result.path.name, rows=rows)

    def delete(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _found(self) -> dict[str, Any] | None:
        """Return the state of an earlier run of the same job; None if there is none, or if parts are missing."""
        try:
            found: Any = json.loads((self.folder / _STATE).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        if not isinstance(found, dict) or any(found.get(name) != value for name, value in self.state.items()):
            return None
        return found if all((self.folder / name).is_file() for name in found.get("kept", ())) else None

    def _delete_all_but(self, kept: Iterable[str]) -> None:
        for each in self.folder.iterdir():
            if each.name not in (*kept, _STATE):
                each.unlink()


def _taken_bytes(file: os.stat_result) -> int:
    """Return the space that a file takes on the disk; on Windows, its length."""
    return min(file.st_size, 512 * getattr(file, "st_blocks", file.st_size))


def _lasting(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a record that determines the picture. The rest may differ when a run is continued."""
    run = {name: value for name, value in record["run"].items() if name not in ("threads", "max_memory")}
    return {**record, "run": run}


def folder_of(output: Path) -> Path:
    """Return the folder with the parts of a picture, next to the output; for a link, next to the file that it refers to.

    Example:
        >>> folder_of(Path("out/wall.tif")).name
        'wall.tif.impasto-parts'
    """
    output = Path(os.path.realpath(output)) if output.is_symlink() else output
    return output.with_name(file_name(output.name, _SUFFIX))


Paint = Callable[[Raster, FileRaster, Parts], Iterator[int]]
"""Paints the photo into the result, from ``Parts.rows`` on; yields the number of pixels of each tile, with its halo."""


def paint_from_disk(job: Job, paint: Paint, parts: Parts, *, keep_gps: bool = False) -> Iterator[Progress]:
    """Paint a picture that does not fit into memory. Stop iterating to interrupt; the finished parts stay in their folder.

    Args:
        job: what to paint.
        paint: the recipe.
        parts: the folder for the parts. It is deleted when the result is written.
        keep_gps: whether to keep the location of the photo in the metadata.

    Yields:
        The progress, after each strip or tile.

    Raises:
        ImageFileError: the photo is damaged, or the result cannot be written.
        ResourceError: the disk is full.
    """
    started = seconds_now()
    content = parts.raster("photo", job.photo.size, job.photo.depth)
    for share in _copied(job, content, parts):
        yield Progress("reading", share, 0, seconds_now() - started, math.inf)
    content = _resized(job, content, parts)
    copied = seconds_now()
    result = parts.raster("painted", job.working, "uint8" if job.bits == 8 else "uint16")
    left, first, begun = job.left_px(parts), None, copied
    for pixels in paint(content, result, parts):
        left -= pixels
        if first is None:  # the first step also prepares the rest
            first, begun = left, seconds_now()
        is_timed = first - left > _TIMED_SHARE * job.total_px
        seconds_left = max(0, left) * (seconds_now() - begun) / (first - left) + copied - started if is_timed else math.inf
        yield Progress("painting", 1 - max(0, left) / job.total_px, parts.rows, seconds_now() - started, seconds_left)
    yield Progress("writing", 0.0, job.working[0], seconds_now() - started, copied - started)
    rows = _finished(job, result)
    metadata, record = job.photo.metadata, job.record
    write_tiled(job.output, job.size, rows, metadata=metadata, record=record, keep_gps=keep_gps, folder=parts.folder)
    parts.delete()
    yield Progress("writing", 1.0, job.working[0], seconds_now() - started, 0.0)


def _copied(job: Job, content: FileRaster, parts: Parts) -> Iterator[float]:
    """Copy the photo to a file, unless an earlier run did; yield the finished share."""
    if {"photo", "resized"} & set(parts.state.get("kept", ())):
        job.photo.notes.extend(note for note in parts.state["notes"] if note not in job.photo.notes)
        return
    done = 0
    for place, values in job.photo.strips():
        content.store(place, values)
        done += place.height * place.width
        yield done / math.prod(job.photo.size)
    content.flush()
    parts.save("photo", notes=job.photo.notes)


def _resized(job: Job, content: FileRaster, parts: Parts) -> FileRaster:
    """Return the photo at the size at which it is painted."""
    if job.working == job.photo.size:
        return content
    resized = parts.raster("resized", job.working, "float32")
    if "resized" not in parts.state["kept"]:
        resized_into(content, [resized])
        resized.flush()
        parts.save("resized", unused=["photo"])
    content.delete()
    return resized


def _finished(job: Job, result: FileRaster) -> Iterator[Array]:
    """Yield the rows of the picture to write, as integers."""
    if job.working == job.size:
        for span in spans(job.size[0], STRIP_ROWS, 0):
            yield result.levels(Place(span.start, 0, span.end - span.start, job.size[1]))
    else:
        for _, _, rows in resized_strips(result, [job.size]):
            yield levels(rows, bits=job.bits)


def tile_px(place: Place, size: Size, halo: int) -> int:
    """Return the number of pixels of a tile with its halo."""
    rows = min(size[0], place.top + place.height + halo) - max(0, place.top - halo)
    return rows * (min(size[1], place.left + place.width + halo) - max(0, place.left - halo))


def tiles_px(size: Size, tile: int, halo: int) -> int:
    """Return the number of pixels of all tiles of a picture, with their halos.

    Example:
        >>> tiles_px((100, 100), 50, 10)
        14400
    """
    rows, columns = (sum(each.last - each.first for each in spans(side, tile, halo)) for side in size)
    return rows * columns


# ---------------------------------------------------------------------------------------------------- before


def reason_to_stream(name: str, photo: ReadingPlan, painted_bytes: int, from_disk_bytes: int, run: Run) -> str:
    """Return why a photo must be painted from disk; empty if it is painted in memory.

    It is painted from disk if it has more than 300 megapixels. Smaller photos are painted from disk only if reading or painting
    them in memory would take more than ``--max-memory`` (by default, the free memory), and painting from disk would take less.

    Args:
        name: the name of the photo.
        photo: how it is read in memory.
        painted_bytes: the memory needed to paint the photo in memory, including the photo itself.
        from_disk_bytes: what :func:`predicted_bytes` returns.
        run: the memory limit.

    Raises:
        ResourceError: painting would take more than ``--max-memory``, whether in memory or from disk.
    """
    pixels, limit = math.prod(photo.size), MemoryLimit.of(run, torch.device("cpu"))
    if pixels > MAX_PIXELS:
        return f"{pixels / 1e6:,.0f} megapixels are more than the {MAX_PIXELS / 1e6:,.0f} that can be painted in memory"
    needed = limit.used + max(photo.peak_bytes, painted_bytes)
    if needed <= limit.used + limit.most:
        return ""
    if from_disk_bytes < needed:
        return f"painting in memory needs {_rounded_up(needed)}, but {limit.source}"
    if run.max_memory:
        raise ResourceError(
            f"painting '{name}' needs {_rounded_up(needed)}, but {limit.source}; increase --max-memory, or use a smaller --size"
        )
    return ""  # the checks of painting in memory name a size that fits


def predicted_bytes(working_bytes: int, widest_px: int) -> int:
    """Predict the peak memory of the process, in bytes.

    Args:
        working_bytes: memory of the networks for the largest part that they paint at once.
        widest_px: width of the photo or of the result.
    """
    return round(used_memory(torch.device("cpu")) + working_bytes + _BYTES_OF_A_COLUMN * widest_px)


def check_room(job: Job, parts: Parts, needed_bytes: int, run: Run) -> None:
    """Raise unless there is enough memory, and enough space on the disk.

    Raises:
        ResourceError: there is not enough; the message contains the numbers.
    """
    limit = MemoryLimit.of(run, torch.device("cpu"))
    if needed_bytes > limit.used + limit.most:
        raise ResourceError(
            f"painting '{job.photo.name}' from disk needs about {_rounded_up(needed_bytes)} of memory, but {limit.source}; "
            "increase --max-memory, or close other programs"
        )
    free, wanted = shutil.disk_usage(parts.folder).free, job.disk_bytes - parts.used_bytes
    if wanted > free:
        raise ResourceError(
            f"painting '{job.photo.name}' from disk needs {_rounded_up(wanted)} in '{parts.folder.parent}', but only "
            f"{amount(free)} are free; free some space, or choose another folder for --output"
        )


def _rounded_up(count: float) -> str:
    """Return a needed number of bytes in words, rounded up, so that the text never states less than is needed."""
    unit = 2**30 / 10 if count >= 2**30 else 2**20
    return amount(math.ceil(count / unit) * unit)

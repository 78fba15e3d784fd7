"""The unit of work: an item, the outcome of painting it, and the worker that loads the models once and paints items."""

import errno
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch

from impasto.batch.methods import BatchOptions, Method
from impasto.errors import ImpastoError, OptionError
from impasto.images import Picture, check_fits, holds_record
from impasto.options import InstantOptions, PaintOptions, Run
from impasto.options.brush import BrushOptions
from impasto.recipes.brush import BrushPainter, applied
from impasto.recipes.instant import painted_pastiche, refined
from impasto.recipes.instant_checks import check
from impasto.recipes.instant_painter import InstantPainter, StyleCode
from impasto.recipes.masking import NO_MASKS
from impasto.recipes.painting import needed_px, paint, read_content, read_style
from impasto.recipes.pastiche import Pastiche
from impasto.recipes.starts import Style
from impasto.runtime.devices import seconds_now
from impasto.runtime.memory import keep_freed_memory, memory_in_words
from impasto.weights.files import sha256_of

State = Literal["done", "failed", "skipped"]
_KEPT_STYLES, _KEPT_PAINTERS = 8, 4
_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, kw_only=True)
class Item:
    """One picture to paint.

    Attributes:
        content: the photo, a path.
        style: a path, the name of a style or, for the method brush, a brush.
        output: the path of the result.
        options: how to paint.
        source: where the item comes from, such as ``"line 3 of 'pairs.csv'"``; empty if it comes from the command line.

    Example:
        >>> item = Item(content="photo.jpg", style="starry-night", output="painted.png", options=InstantOptions(size=64))
        >>> item.options.size
        64
    """

    content: str
    style: str
    output: str
    options: BatchOptions
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The common settings of all items of a batch.

    Attributes:
        method: the method.
        run: device, precision and seed; ``threads`` is the number of threads of each worker.
        engine: the engine for brushes; for instant, it is part of the options.
        bits: bits per channel of the results, 8 or 16.
        quality: 1 to 100, for lossy formats.
        keep_gps: whether to keep the GPS position of the photos.

    Example:
        >>> Settings(method="instant", bits=16).run.device
        'auto'
    """

    method: Method
    run: Run = field(default_factory=Run)
    engine: str = "auto"
    bits: Literal[8, 16] = 8
    quality: int = 95
    keep_gps: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of an item.

    Attributes:
        item: the item.
        state: done, failed, or skipped because an earlier run did it.
        seconds: the time of reading, painting and saving.
        content_sha256: the hash of the photo that was painted; empty unless done.
        output_sha256: the hash of the result; empty unless done.
        output_version: the version of the result in a remote folder, such as its entity tag; see :mod:`impasto.batch.remote`.
        notes: what the recipe noted, such as that the photo has one color.
        error: why the item failed.
        is_disk_full: whether it failed because the disk is full, so that other items would fail too.

    Example:
        >>> item = Item(content="photo.jpg", style="starry-night", output="painted.png", options=InstantOptions(size=64))
        >>> Outcome(item=item, state="skipped").seconds
        0.0
    """

    item: Item
    state: State
    seconds: float = 0.0
    content_sha256: str = ""
    output_sha256: str = ""
    output_version: str = ""
    notes: tuple[str, ...] = ()
    error: str = ""
    is_disk_full: bool = False


@dataclass
class _KeptStyle:
    """A style, and its style codes by stroke size."""

    style: Style
    codes: dict[float, StyleCode] = field(default_factory=dict)

    def encode(self, painter: InstantPainter, style: Style, stroke: float) -> StyleCode:
        """Return the code of a style. The code is cached unless color control has changed the style picture."""
        if style is not self.style:
            return painter.encode(style, stroke=stroke)
        if stroke not in self.codes:
            self.codes[stroke] = painter.encode(style, stroke=stroke)
        return self.codes[stroke]


class Worker:
    """Worker that paints items one after the other. Models are loaded when they are first needed, and then kept.

    Args:
        settings: the common settings of all items.

    Example:
        >>> item = Item(content="photo.jpg", style="starry-night", output="painted.png", options=InstantOptions(size=64))
        >>> outcome = Worker(Settings(method="instant")).paint(item)
        >>> outcome.state, outcome.error
        ('done', '')
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._brush = lru_cache(_KEPT_PAINTERS)(lambda name: BrushPainter(name, settings.run, settings.engine))
        self._instant = lru_cache(_KEPT_PAINTERS)(lambda engine: InstantPainter(settings.run, engine))
        self._style = lru_cache(_KEPT_STYLES)(lambda style, longest_px: _KeptStyle(read_style(style, longest_px=longest_px)))
        keep_freed_memory()
        if settings.run.threads:
            torch.set_num_threads(settings.run.threads)

    def paint(self, item: Item) -> Outcome:
        """Paint and save an item. Any error becomes part of the outcome."""
        started = seconds_now()
        try:
            with memory_in_words(item.options.size):
                pastiche = self._painted(item)
            _save(pastiche, item, self.settings)
            output_sha256 = sha256_of(Path(item.output))
        except Exception as error:
            words = str(error) if isinstance(error, ImpastoError) else f"unexpected {type(error).__name__}: {error}"
            return Outcome(
                item=item,
                state="failed",
                seconds=seconds_now() - started,
                error=" ".join(words.split()),
                is_disk_full=is_disk_full(error),
            )
        return Outcome(
            item=item,
            state="done",
            seconds=seconds_now() - started,
            content_sha256=pastiche.record["content"]["sha256"],
            output_sha256=output_sha256,
            notes=tuple(pastiche.record.get("notes", ())),
        )

    def _painted(self, item: Item) -> Pastiche:
        options = item.options
        if isinstance(options, BrushOptions):
            return applied(self._brush(item.style), read_content(item.content, longest_px=options.size), options)
        content_px, style_px = needed_px(options)
        kept, photo = self._style(item.style, style_px), read_content(item.content, longest_px=content_px)
        if isinstance(options, PaintOptions):
            return paint(photo, kept.style, options, run=self.settings.run)
        return self._in_one_pass(photo, kept, options)

    def _in_one_pass(self, photo: Picture, kept: _KeptStyle, options: InstantOptions) -> Pastiche:
        painter, styles = self._instant(options.engine), (kept.style,)
        check(photo, styles, (), options)

        def encode(style: Style, *, stroke: float) -> StyleCode:
            return kept.encode(painter, style, stroke)

        pastiche = painted_pastiche(painter, photo, styles, NO_MASKS, options, encode)
        return refined(pastiche, photo, styles, options, self.settings.run) if options.goes_on else pastiche


def _save(pastiche: Pastiche, item: Item, settings: Settings) -> None:
    """Write a result atomically. If the format cannot contain a record, omit it; the manifest has the same facts."""
    output = Path(item.output)
    check_fits(output, (pastiche.image.shape[-2], pastiche.image.shape[-1]))
    pastiche.save(
        output,
        bits=settings.bits,
        quality=settings.quality,
        keep_gps=settings.keep_gps,
        with_record=holds_record(output, pastiche.record),
    )


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether an error, or one that led to it, says that the disk is full.

    Example:
        >>> is_disk_full(OSError(errno.ENOSPC, "No space left on device"))
        True
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_IS_FULL:
            return True
        error = error.__cause__
    return False


def threads_each(workers: int, threads: int) -> int:
    """Return the number of threads of each worker, given the total number of threads (0: one per core).

    Raises:
        OptionError: the number of workers is not allowed.

    Args:
        workers: number of workers, 1 to 256.
        threads: total number of threads of all workers.

    Example:
        >>> threads_each(2, 8)
        4
    """
    if not 1 <= workers <= 256:
        raise OptionError(f"--workers is {workers}; it must be a whole number from 1 to 256")
    return threads if workers == 1 else max(1, (threads or torch.get_num_threads()) // workers)

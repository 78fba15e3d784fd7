"""Paint pictures that do not fit into memory: messages, progress and interruption."""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from impasto.cli import INTERRUPTED_EXIT, fail_with
from impasto.cli.flags import Files, OutputOptions
from impasto.cli.outputs import save_record
from impasto.cli.pipes import STDIN, STDOUT, from_stdin
from impasto.cli.progress import duration, message_console
from impasto.cli.session import set_threads
from impasto.errors import ImageFileError, OptionError
from impasto.images.large import LargePicture, check_libvips, open_large
from impasto.images.reading import ReadingPlan, reading_plan
from impasto.images.tiled_tiff import SUFFIXES
from impasto.options import InstantOptions, Run
from impasto.options.brush import BrushOptions
from impasto.recipes import brush_streaming, instant_streaming
from impasto.recipes.brush import BrushPainter
from impasto.recipes.instant_painter import InstantPainter
from impasto.recipes.masking import MaskSources
from impasto.recipes.painting import needed_px, read_styles
from impasto.recipes.starts import Style
from impasto.recipes.streaming import (
    Job,
    Paint,
    Parts,
    Progress,
    check_room,
    paint_from_disk,
    predicted_bytes,
    reason_to_stream,
)
from impasto.runtime.amounts import amount
from impasto.runtime.locks import only_writer
from impasto.runtime.memory import memory_in_words

_SECONDS_BETWEEN_LINES, _SECONDS_BETWEEN_FRAMES = 5.0, 0.2


def reason_for_instant(photo: str, sources: MaskSources, options: InstantOptions, run: Run) -> str:
    """Return why ``impasto instant`` must paint a photo from disk; empty if it paints it in memory.

    Raises:
        ResourceError: painting would take more than ``--max-memory``, whether in memory or from disk.
    """
    found = _planned(photo, needed_px(options)[0] if sources.is_empty else 0)
    return "" if found is None else reason_to_stream(photo, found, *instant_streaming.memory_of(found, options), run)


def reason_for_brush(photo: str, painter: BrushPainter, options: BrushOptions) -> str:
    """Return why ``impasto apply`` must paint a photo from disk; see :func:`reason_for_instant`."""
    found = _planned(photo, options.size)
    if found is None:
        return ""
    return reason_to_stream(photo, found, *brush_streaming.memory_of(found, painter, options), painter.run)


def instant_from_disk(
    words: Sequence[str],
    sources: MaskSources,
    options: InstantOptions,
    run: Run,
    files: Files,
    messages: OutputOptions,
    reason: str,
) -> int:
    """Paint a photo from disk with ``impasto instant``.

    Args:
        words: the photo and the styles.
        sources: masks, which are not supported.
        options: how to paint.
        run: device, precision and memory limit.
        files: output files.
        messages: which messages to print.
        reason: why the photo is painted from disk.

    Returns:
        The exit code.

    Raises:
        ImpastoError: the photo cannot be painted from disk; the message says why.
    """
    flag = instant_streaming.unsupported(options, sources) or ("--report" if files.report else "")
    _check_supported(words[0], flag, reason)
    output = _tiff(words[0], files.output, reason)
    set_threads(run)
    photo = open_large(words[0])
    styles = read_styles([from_stdin(word) for word in words[1:]], longest_px=needed_px(options)[1])
    _print_notes(styles, messages)
    with memory_in_words(options.size or max(photo.size)):
        painter = InstantPainter(run, options.engine)
        job = instant_streaming.job_of(photo, styles, painter, options, output, files.bits)
        paint = instant_streaming.painting_of(painter, instant_streaming.code_of(styles, painter, options), options)
        return _painted(job, paint, instant_streaming.predicted_working_bytes(job.size, options), run, files, messages, reason)


def open_for_brush(photo: str, options: BrushOptions, reason: str) -> LargePicture:
    """Open a photo that ``impasto apply`` must paint from disk.

    Raises:
        ImpastoError: the photo cannot be painted from disk; the message says why.
    """
    _check_supported(photo, brush_streaming.unsupported(options), reason)
    return open_large(photo)


def brush_from_disk(
    photo: LargePicture, painter: BrushPainter, options: BrushOptions, files: Files, messages: OutputOptions, reason: str
) -> int:
    """Paint a photo from disk with ``impasto apply``; see :func:`instant_from_disk`."""
    output = _tiff(photo.name, files.output, reason)
    with memory_in_words(options.size or max(photo.size)):
        job = brush_streaming.job_of(photo, painter, options, output, files.bits)
        paint = brush_streaming.painting_of(painter, options)
        working_bytes = brush_streaming.predicted_working_bytes(job.size, painter, options)
        return _painted(job, paint, working_bytes, painter.run, files, messages, reason)


def _planned(photo: str, longest_px: int) -> ReadingPlan | None:
    """Return how a photo is read in memory; None for standard input, or if the file cannot be read."""
    return None if photo == STDIN or not os.path.isfile(photo) else reading_plan(photo, longest_px=longest_px)


def _check_supported(photo: str, flag: str, reason: str) -> None:
    """Raise unless libvips is installed and there is no option that needs the whole picture in memory."""
    what = f"'{Path(photo).name}': {reason}"
    check_libvips(what)
    if flag:
        raise OptionError(
            f"{what}, and {flag} is not supported in pictures that are painted from disk; omit it, or use a smaller --size"
        )


def _tiff(photo: str, output: Path | None, reason: str) -> Path:
    """Return the output. Raise unless it is a TIFF."""
    if output is None or output == STDOUT or output.suffix.lower() not in SUFFIXES:
        raise ImageFileError(
            f"'{Path(photo).name}': {reason}, so it is painted from disk, and the result must be a TIFF; "
            "give an --output that ends in .tif, or use a smaller --size"
        )
    return output


def _print_notes(pictures: Iterable[LargePicture | Style], messages: OutputOptions) -> None:
    """Print how pictures were read."""
    console = message_console(quiet=messages.quiet)
    for each in pictures:
        for note in getattr(each, "notes", ()):  # named styles have no notes
            console.print(f"{each.name}: {note}")


def _painted(job: Job, paint: Paint, working_bytes: int, run: Run, files: Files, messages: OutputOptions, reason: str) -> int:
    """Paint, and print what is done."""
    console = message_console(quiet=messages.quiet)
    with only_writer(job.output):
        parts = Parts(job)
        needed_bytes = predicted_bytes(working_bytes, max(job.photo.widest_px, job.working[1]))
        try:
            check_room(job, parts, needed_bytes, run)
        except BaseException:
            if not parts.is_resumed:
                parts.delete()
            raise
        console.print(_plan(job, parts, needed_bytes, reason))
        last = None
        try:
            with _progress(console, job) as show:
                for last in paint_from_disk(job, paint, parts, keep_gps=files.keep_gps):
                    show(last)
        except KeyboardInterrupt:
            return fail_with(_interrupted(job, parts), INTERRUPTED_EXIT)
        except BaseException:
            if not parts.is_resumed:
                parts.delete()
            raise
    assert last is not None
    _print_notes([job.photo], messages)
    if files.record is not None:
        save_record(files.record, dict(job.record))
    if messages.json:
        print(json.dumps({**job.record, "output": str(job.output)}), flush=True)
    (height, width), took = job.size, last.seconds
    to_stderr = message_console(quiet=messages.quiet, to_stderr=messages.json)
    to_stderr.print(f"{job.output}: {width}x{height} pixels, painted in {duration(took) if took >= 1 else f'{took:.2f} s'}")
    return 0


def _plan(job: Job, parts: Parts, needed_bytes: int, reason: str) -> str:
    """Describe what will be done."""
    height, width = job.size
    what = f"{job.photo.name}: {reason}; painting {width}x{height} pixels from disk, with {amount(needed_bytes)} of memory"
    if parts.rows:
        return f"{what}; continuing at row {parts.rows} of {job.working[0]}"
    if parts.is_resumed:
        return f"{what}; continuing with the photo that was read before"
    return f"{what} and {amount(job.disk_bytes)} in '{parts.folder}'"


def _interrupted(job: Job, parts: Parts) -> str:
    """Say what is kept after an interruption."""
    if not parts.is_resumed:
        parts.delete()
        return "interrupted while the photo was read; nothing is kept"
    done = f"after {parts.rows} of {job.working[0]} rows" if parts.rows else "before the first rows were finished"
    kept = "they are" if parts.rows else "the smaller sizes are" if "rows" in parts.state else "only the photo that was read is"
    return (
        f"interrupted {done}; {kept} kept in '{parts.folder}' ({amount(parts.used_bytes)}): run the same command again "
        "to continue, or delete this folder"
    )


@contextmanager
def _progress(console: Console, job: Job) -> Iterator[Callable[[Progress], None]]:
    """Show progress: on a terminal, a line that is overwritten; elsewhere, a line every few seconds."""
    is_live = console.is_terminal and not console.quiet
    pause, shown, phase = (_SECONDS_BETWEEN_FRAMES if is_live else _SECONDS_BETWEEN_LINES), time.monotonic(), "reading"

    def show(progress: Progress) -> None:
        nonlocal shown, phase
        if progress.phase == phase and time.monotonic() - shown < pause:
            return
        shown, phase = time.monotonic(), progress.phase
        text = _in_words(progress, job)
        if is_live:
            console.file.write(f"\r\x1b[K{text}")
            console.file.flush()
        else:
            console.print(text)

    try:
        yield show
    finally:
        if is_live:
            console.file.write("\r\x1b[K")
            console.file.flush()


def _in_words(progress: Progress, job: Job) -> str:
    left = f"; about {duration(progress.seconds_left)} left" if progress.seconds_left < float("inf") else ""
    if progress.phase == "painting":
        return f"painting: {progress.share:.0%}, {progress.rows} of {job.working[0]} rows finished{left}"
    if progress.phase == "writing":
        return f"writing '{job.output}'{left}"
    return f"reading: {progress.share:.0%}"

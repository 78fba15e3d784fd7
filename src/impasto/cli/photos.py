"""Paint one or several photos with a brush, and save the results."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from impasto import images
from impasto.batch.sources import files_in
from impasto.cli import FAILED_EXIT, INTERRUPTED_EXIT, USAGE_EXIT, fail_with
from impasto.cli.flags import Files, OutputOptions, Saving
from impasto.cli.from_disk import brush_from_disk, open_for_brush, reason_for_brush
from impasto.cli.names import default_output
from impasto.cli.outputs import Saved, check_files, check_size, print_notes, rehearse, save_pastiche
from impasto.cli.overwriting import is_same_file
from impasto.cli.pipes import STDOUT, from_stdin
from impasto.cli.progress import duration, message_console
from impasto.cli.session import set_threads
from impasto.cli.signals import asked_to_stop
from impasto.errors import ImageFileError, ImpastoError, OptionError
from impasto.images import Picture
from impasto.images.large import LargePicture
from impasto.images.tiled_tiff import SUFFIXES
from impasto.options.brush import BrushOptions
from impasto.recipes.brush import BrushPainter, applied
from impasto.recipes.painting import read_content
from impasto.recipes.pastiche import Pastiche
from impasto.runtime.devices import seconds_now
from impasto.runtime.file_names import numbered
from impasto.runtime.memory import keep_freed_memory, memory_in_words


@dataclass(frozen=True)
class Batch:
    """The photos to paint, and where to save the results.

    Attributes:
        sources: the photos.
        brush: the brush as given on the command line.
        saving: how to save the results.
        output: the output file, or None if ``folder`` is used.
        folder: the folder of the results.
        keeps_names: whether a result in the folder has the name of its photo; otherwise, its name is PHOTO-BRUSH.png.
    """

    sources: tuple[str, ...]
    brush: str
    saving: Saving
    output: Path | None = None
    folder: Path = Path()
    keeps_names: bool = False

    def files(self, output: Path) -> Files:
        """Return the output files of one photo."""
        saving = self.saving
        return Files(output=output, record=saving.record, bits=saving.bits, quality=saving.quality, keep_gps=saving.keep_gps)


@dataclass
class _Session:
    """One run of the command, and its results so far.

    Attributes:
        batch: the photos to paint.
        painter: the brush.
        options: how to paint.
        messages: which messages to print.
        finished: the output of each finished photo.
        skipped: the names of the photos that could not be painted.
        code: 1 if a result was saved elsewhere, otherwise 0.
        started: when painting started, in seconds.
    """

    batch: Batch
    painter: BrushPainter
    options: BrushOptions
    messages: OutputOptions
    finished: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    code: int = 0
    started: float = field(default_factory=seconds_now)

    @property
    def seconds_left(self) -> float:
        """The remaining seconds, at the average speed of the finished photos."""
        left = len(self.batch.sources) - len(self.finished) - len(self.skipped)
        return left * (seconds_now() - self.started) / len(self.finished)


def planned(photos: Sequence[str], saving: Saving, brush: str, *, keeps_names: bool = False) -> Batch:
    """Decide where to save the results, and check what can be checked before a brush or a photo is read.

    Raises:
        ImageFileError: the output file cannot be written.
        OptionError: several photos would be saved to one file, a folder is empty, or a format does not support an option.
    """
    sources = tuple(source for photo in photos for source in _expanded(photo))
    batch = Batch(sources, brush, saving, keeps_names=keeps_names)
    several = len(sources) > 1 or any(os.path.isdir(photo) for photo in photos)
    if several and saving.record:
        raise OptionError(f"--record '{saving.record}' is one file, but {len(sources)} photos are given; use --json instead")
    output = saving.output
    if output is None or _is_folder(output):
        rehearse(Path("trial.png"), batch.files(Path()))
        return replace(batch, folder=output or Path())
    if several:
        what = "standard output" if output == STDOUT else f"--output '{output}'"
        raise OptionError(f"{what} is one file, but {len(sources)} photos are given; give the name of a folder")
    check_files(batch.files(output), (brush, *sources))
    return replace(batch, output=output)


def _is_folder(output: Path) -> bool:
    """Return whether an output is a folder: it exists as a folder, or it does not exist and has no suffix."""
    if os.path.isdir(output):
        return True
    return output != STDOUT and not output.suffix and not os.path.lexists(output)


def _expanded(photo: str) -> list[str]:
    """Return the files in a folder, without hidden files. Return any other word unchanged."""
    return files_in(photo) if os.path.isdir(photo) else [photo]


def paint_photos(batch: Batch, painter: BrushPainter, options: BrushOptions, messages: OutputOptions) -> int:
    """Paint photos one after the other, and save each result at once. Skip photos that cannot be painted.

    Returns:
        The exit code: 0 on success, 1 if photos were skipped or a result was saved elsewhere, 2 if all were skipped, or 130 if
        the user interrupted.

    Raises:
        ImpastoError: the only photo cannot be painted, or a result cannot be saved.
    """
    keep_freed_memory()
    set_threads(painter.run)
    session = _Session(batch, painter, options, messages)
    try:
        for source in batch.sources:
            if code := _paint_next(session, source):
                return code
    except KeyboardInterrupt:
        if not session.finished:
            raise
        done, count = len(session.finished), len(batch.sources)
        if done == count:  # interrupted while the last result was saved
            return _summarized(session)
        return fail_with(f"interrupted after {done} of {count} photos; their results are saved", INTERRUPTED_EXIT)
    return _summarized(session)


def _paint_next(session: _Session, source: str) -> int:
    """Paint and save one of the photos, or skip it. Return 130 if the user interrupted and this was printed, otherwise 0."""
    batch, options, started = session.batch, session.options, seconds_now()
    console = message_console(quiet=session.messages.quiet)
    try:
        if reason := reason_for_brush(source, session.painter, options):
            return _paint_from_disk(session, source, reason)
        photo = read_content(from_stdin(source), longest_px=options.size)
    except ImpastoError as error:
        return _skip(session, source, error)
    for note in photo.notes:
        console.print(f"{photo.name}: {note}")
    files = batch.files(output := batch.output or _output(session, source, photo))
    check_files(files, (batch.brush, *batch.sources) if os.path.lexists(output) or files.record else ())
    try:
        check_size(files, images.reduced_size(photo.size, options.size))
        with memory_in_words(options.size or max(photo.size)):
            pastiche = applied(session.painter, photo, options)
    except ImpastoError as error:
        return _skip(session, source, error)
    for note in pastiche.record.get("notes", ()):
        console.print(f"{photo.name}: {note}")
    with asked_to_stop() as requests:
        saved = save_pastiche(pastiche, files)
        session.finished.append(saved.output)
    _report(session, pastiche, saved, seconds_now() - started)
    if requests:
        raise KeyboardInterrupt
    return 0


def _paint_from_disk(session: _Session, source: str, reason: str) -> int:
    """Paint and save a photo that does not fit into memory, or skip it; see :func:`_paint_next`."""
    batch, options = session.batch, session.options
    try:
        photo = open_for_brush(source, options, reason)
        files = batch.files(output := batch.output or _output(session, source, photo, ".tif"))
        check_files(files, (batch.brush, *batch.sources))
        code = brush_from_disk(photo, session.painter, options, files, session.messages, reason)
    except ImpastoError as error:
        return _skip(session, source, error)
    if not code:
        session.finished.append(output)
    elif session.finished:
        raise KeyboardInterrupt
    return code


def _skip(session: _Session, source: str, error: ImpastoError) -> int:
    """Print why a photo is skipped. If it is the only one, raise the error. Return 0, to continue with the next photo."""
    if len(session.batch.sources) == 1:
        raise error
    fail_with(f"skipped: {error}", FAILED_EXIT)
    session.skipped.append(source)
    return 0


def _output(session: _Session, source: str, photo: Picture | LargePicture, suffix: str = ".png") -> Path:
    """Create the folder, and name the result. An earlier result of the same photo and brush is replaced."""
    batch = session.batch
    try:
        batch.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageFileError(f"folder '{batch.folder}' cannot be created ({error.strerror}); give another folder") from error
    if batch.keeps_names:
        path = _with_own_name(batch.folder, source)
        path = path if suffix == ".png" or path.suffix.lower() in SUFFIXES else path.with_suffix(suffix)
        numbers = (path.with_name(name) for name in numbered(path.stem, path.suffix))
        return next(each for each in chain([path], islice(numbers, 1, None)) if each not in session.finished)

    def is_ours(path: Path) -> bool:
        if path in session.finished or any(is_same_file(path, each) for each in batch.sources):
            return False
        return _is_painted_from(path, photo.sha256, session.painter.network.sha256)

    return default_output((source, batch.brush), is_ours, batch.folder, suffix)


def _with_own_name(folder: Path, source: str) -> Path:
    """Return the path of a result with the name of its photo; a format that cannot be written becomes PNG."""
    path = folder / Path(source).name
    try:
        images.check_fits(path, (1, 1))
    except ImageFileError:
        return path.with_suffix(".png")
    return path


def _is_painted_from(picture: Path, photo_sha256: str, brush_sha256: str) -> bool:
    """Return whether a picture was painted from a photo with a brush, according to its record."""
    try:
        record: Any = images.read_record(picture)
        return bool((record["content"]["sha256"], record["brush"]["sha256"]) == (photo_sha256, brush_sha256))
    except (ImpastoError, KeyError, TypeError):
        return False


def _report(session: _Session, pastiche: Pastiche, saved: Saved, seconds: float) -> None:
    """Print where a result was saved, and for several photos also the remaining time."""
    batch, messages = session.batch, session.messages
    session.code = print_notes(saved) or session.code
    if messages.json:
        print(json.dumps({**pastiche.record, "output": str(saved.output)}), flush=True)
    count, number = len(batch.sources), len(session.finished) + len(session.skipped)
    height, width = pastiche.image.shape[-2:]
    what = f"{saved.name}: {width}x{height} pixels"
    if count == 1:
        took = duration(seconds) if seconds >= 1 else f"{seconds:.2f} s"
        to_stderr = messages.json or saved.output == STDOUT
        message_console(quiet=messages.quiet, to_stderr=to_stderr).print(f"{what}, painted in {took}")
        return
    left = f"; about {duration(session.seconds_left)} left" if number < count else ""
    message_console(quiet=messages.quiet).print(f"{number} of {count}: {what}{left}")


def _summarized(session: _Session) -> int:
    """Print how many photos were painted, and the names of the photos that were skipped. Return the exit code."""
    batch, count = session.batch, len(session.batch.sources)
    if count > 1 and session.finished:
        where = "" if batch.folder == Path() else f"{batch.folder}: "
        console = message_console(quiet=session.messages.quiet, to_stderr=session.messages.json)
        console.print(f"{where}{len(session.finished)} photos in {duration(seconds_now() - session.started)}")
    if not session.skipped:
        return session.code
    names = ", ".join(repr(each) for each in session.skipped)
    code = FAILED_EXIT if session.finished else USAGE_EXIT
    return fail_with(f"{len(session.skipped)} of {count} photos were skipped: {names}", code)

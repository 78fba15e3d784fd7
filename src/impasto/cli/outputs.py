"""Where results go: checked before long work, and kept somewhere else where they cannot be written in the end."""

import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from impasto import images
from impasto.cli import FAILED_EXIT, complain
from impasto.cli.flags import Files
from impasto.cli.overwriting import check_overwrites
from impasto.cli.pipes import STDOUT, to_stdout
from impasto.errors import ImageFileError, OptionError, WeightsError
from impasto.recipes.pastiche import Pastiche, Record

_MANY = 1000


# ---------------------------------------------------------------------------------------------------- before


def check_files(files: Files, inputs: tuple[str, ...], checkpoint: Path | None = None) -> None:
    """Make sure, before long work, that everything that is asked for can be written, and overwrites nothing it needs.

    Raises:
        ImageFileError: a place that cannot be written to.
        OptionError: two files of one name, or what a format cannot do.
    """
    assert files.output is not None
    output = None if files.output == STDOUT else files.output
    written = {"--output": output, "--preview": files.preview, "--gif": files.gif, "--record": files.record}
    check_overwrites({**written, "the checkpoint": checkpoint}, inputs)
    for flag, path in written.items():
        if path is not None:
            (check_record_writable if flag == "--record" else images.check_writable)(path)
    if files.gif and files.gif.suffix.lower() != ".gif":
        raise OptionError(f"--gif '{files.gif}' is no name of an animation; it must end in .gif")
    rehearse(output or Path("stdout.png"), files)


def check_output(output: Path, inputs: tuple[str, ...]) -> None:
    """Make sure that a sheet can be written and overwrites no input.

    Raises:
        OptionError, ImageFileError: it cannot, or would.
    """
    check_overwrites({"--output": output}, inputs)
    images.check_writable(output)


def check_size(files: Files, size: tuple[int, int]) -> None:
    """Make sure that the format of the output can hold as many pixels, (height, width).

    Raises:
        ImageFileError: it cannot.
    """
    if files.output is not None and files.output != STDOUT:
        images.check_fits(files.output, size)


def rehearse(output: Path, files: Files) -> None:
    """Write a small picture elsewhere in the same manner: finds out what the format cannot do."""
    images.encode(f"trial{output.suffix}", torch.zeros(1, 3, 8, 8), bits=files.bits, quality=files.quality)


def check_record_writable(path: Path) -> None:
    """Make sure that a record can be written.

    Raises:
        ImageFileError: it cannot.
    """
    if os.path.isdir(path):
        raise ImageFileError(f"record '{path}' cannot be written: it is a folder; give the name of a file")
    with _written(path) as part:
        with suppress(FileNotFoundError):
            path.stat()  # whose own name may be too long, where the trial's is not
        part.touch()


# ---------------------------------------------------------------------------------------------------- after


@dataclass(frozen=True)
class Saved:
    """Where a result is.

    Attributes:
        output: the picture.
        record: the file of its record; None: there is none, the picture may carry it.
        notes: what was saved otherwise than it was asked for, a sentence for each.
        is_elsewhere: whether something could not be written where it was wanted.
    """

    output: Path
    record: Path | None = None
    notes: tuple[str, ...] = ()
    is_elsewhere: bool = False

    @property
    def name(self) -> str:
        """The picture in messages."""
        return shown(self.output)


def shown(output: Path) -> str:
    """Name an output in messages."""
    return "the standard output" if output == STDOUT else str(output)


def save_pastiche(pastiche: Pastiche, files: Files) -> Saved:
    """Save a painting and its record: where they are wanted, or else wherever they can be written.

    A record that is too long for the format goes into a file beside the picture.

    Raises:
        ImageFileError: the painting cannot be written anywhere.
    """
    assert files.output is not None

    def write(path: Path) -> None:
        if path == STDOUT:
            to_stdout(pastiche, bits=files.bits, keep_gps=files.keep_gps)
            return
        with_record = images.holds_record(path, pastiche.record)
        pastiche.save(path, bits=files.bits, quality=files.quality, keep_gps=files.keep_gps, with_record=with_record)

    output, note = keep(
        files.output, write, "painting.png" if files.output == STDOUT else files.output.with_suffix(".png").name
    )
    notes, record_file = [note] if note else [], files.record
    if record_file is None and is_too_long(output, pastiche.record):
        record_file = next(_free(output.parent, f"{output.stem}.json"), output.with_suffix(".json"))
        notes.append(f"the record is too long for '{output}', and is in '{record_file}' instead; .png would hold it")
    if record_file is not None:
        record_file, trouble = keep(record_file, lambda path: save_record(path, pastiche.record), record_file.name)
        note, notes = note or trouble, notes + ([trouble] if trouble else [])
    return Saved(output, record_file, tuple(notes), bool(note))


def is_too_long(output: Path, record: Record) -> bool:
    """Say whether a record does not fit into a format that holds shorter ones."""
    if output == STDOUT or images.holds_record(output, record):
        return False
    return images.holds_record(output, {})


def save_sheet(output: Path, sheet: torch.Tensor) -> Saved:
    """Save a sheet, or a mask: where it is wanted, or else wherever it can be written; see :func:`keep`."""
    path, note = keep(output, lambda path: images.write(path, sheet), output.with_suffix(".png").name)
    return Saved(path, notes=(note,) if note else (), is_elsewhere=bool(note))


def say_notes(saved: Saved) -> int:
    """Say what was saved otherwise than it was asked for; return 1 where something is elsewhere, else 0."""
    for note in saved.notes:
        complain(note, FAILED_EXIT)
    return FAILED_EXIT if saved.is_elsewhere else 0


def keep(wanted: Path, write: Callable[[Path], None], spare: str) -> tuple[Path, str]:
    """Write a file: where it is wanted, or else beside it, in the current folder, at home or among temporary files.

    Args:
        wanted: where to.
        write: writes the file to a path, or raises ImageFileError or WeightsError.
        spare: the name that it gets elsewhere; a number is added where that is taken.

    Returns:
        Where it is, and a sentence that says so where it is elsewhere.

    Raises:
        ImageFileError, WeightsError: it cannot be written anywhere.
    """
    try:
        write(wanted)
    except (ImageFileError, WeightsError) as error:
        for folder in _folders(wanted):
            with suppress(OSError, StopIteration):
                path = next(_free(folder, spare))
                write(path)
                return path, f"{error}; so it is in '{path}'"
        raise
    return wanted, ""


def _folders(wanted: Path) -> Iterator[Path]:
    """Name the folders that a file may go to."""
    if wanted != STDOUT:
        yield wanted.parent
    for find in (Path.cwd, Path.home, lambda: Path(tempfile.gettempdir())):
        with suppress(OSError, RuntimeError):  # removed; no home
            yield find()


def _free(folder: Path, name: str) -> Iterator[Path]:
    """Name files of a folder that are not there: the name, or with a number."""
    path = folder / name
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in range(2, _MANY))
    yield from (each for each in (path, *numbered) if not os.path.lexists(each))


def save_record(path: Path, record: Record) -> None:
    """Write a record as JSON, in one step or not at all.

    Raises:
        ImageFileError: it cannot be written.
    """
    with _written(path) as part:
        part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        part.replace(path)


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    part = path.with_name(f".impasto-{secrets.token_hex(6)}.part")
    try:
        yield part
    except OSError as error:
        raise ImageFileError(f"record '{path}' cannot be written ({error.strerror or error}); choose another place") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)

"""Output files. They are checked before painting. If a file cannot be written after painting, it is saved elsewhere."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from impasto import images
from impasto.cli import FAILED_EXIT, fail_with
from impasto.cli.flags import Files
from impasto.cli.overwriting import check_overwrites
from impasto.cli.pipes import STDOUT, to_stdout
from impasto.errors import ImageFileError, OptionError, WeightsError
from impasto.recipes.pastiche import Pastiche, Record
from impasto.runtime.atomic import replacing, try_writing

_MANY = 1000


# ---------------------------------------------------------------------------------------------------- before


def check_files(files: Files, inputs: tuple[str, ...], checkpoint: Path | None = None) -> None:
    """Check before painting that all output files can be written and do not overwrite an input.

    Raises:
        ImageFileError: a file cannot be written.
        OptionError: two files have the same name, or a format does not support an option.
    """
    assert files.output is not None
    output = None if files.output == STDOUT else files.output
    written = {"--output": output, "--preview": files.preview, "--gif": files.gif, "--record": files.record}
    check_overwrites({**written, "the checkpoint": checkpoint}, inputs)
    for flag, path in written.items():
        if path is not None:
            (check_record_writable if flag == "--record" else images.check_writable)(path)
    if files.gif and files.gif.suffix.lower() != ".gif":
        raise OptionError(f"--gif '{files.gif}' is not an animation file; the name must end in .gif")
    rehearse(output or Path("stdout.png"), files)


def check_output(output: Path, inputs: tuple[str, ...]) -> None:
    """Check that a sheet can be written and does not overwrite an input.

    Raises:
        ImageFileError: the sheet cannot be written.
        OptionError: the sheet would overwrite an input.
    """
    check_overwrites({"--output": output}, inputs)
    images.check_writable(output)


def check_size(files: Files, size: tuple[int, int]) -> None:
    """Check that the format of the output supports a size (height, width).

    Raises:
        ImageFileError: the format does not support the size.
    """
    if files.output is not None and files.output != STDOUT:
        images.check_fits(files.output, size)


def rehearse(output: Path, files: Files) -> None:
    """Encode a small picture with the same options, to detect options that the format does not support."""
    images.encode(f"trial{output.suffix}", torch.zeros(1, 3, 8, 8), bits=files.bits, quality=files.quality)


def check_record_writable(path: Path) -> None:
    """Check that a record can be written.

    Raises:
        ImageFileError: the record cannot be written.
    """
    if os.path.isdir(path):
        raise ImageFileError(f"record '{path}' cannot be written: it is a folder; give the name of a file")
    with _record_errors(path):
        try_writing(path)


# ---------------------------------------------------------------------------------------------------- after


@dataclass(frozen=True)
class Saved:
    """Paths of a saved result.

    Attributes:
        output: path of the picture.
        record: path of the record file, or None if there is no such file. The picture itself may contain the record.
        notes: a sentence for each file that was not saved as requested.
        is_elsewhere: whether a file could not be written at the requested path.
    """

    output: Path
    record: Path | None = None
    notes: tuple[str, ...] = ()
    is_elsewhere: bool = False

    @property
    def name(self) -> str:
        """The name that messages use for the picture."""
        return shown(self.output)


def shown(output: Path) -> str:
    """Return the name that messages use for an output."""
    return "standard output" if output == STDOUT else str(output)


def save_pastiche(pastiche: Pastiche, files: Files) -> Saved:
    """Save a painting and its record at the requested paths. If that fails, save them in another folder.

    A record that is too long for the format is saved as a file next to the picture.

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
        notes.append(f"the record is too long for '{output}' and was saved as '{record_file}'; PNG can contain longer records")
    if record_file is not None:
        record_file, trouble = keep(record_file, lambda path: save_record(path, pastiche.record), record_file.name)
        note, notes = note or trouble, notes + ([trouble] if trouble else [])
    return Saved(output, record_file, tuple(notes), bool(note))


def is_too_long(output: Path, record: Record) -> bool:
    """Return whether the output format supports records, but not one of this length."""
    if output == STDOUT or images.holds_record(output, record):
        return False
    return images.holds_record(output, {})


def save_sheet(output: Path, sheet: torch.Tensor) -> Saved:
    """Save a sheet or a mask at the requested path. If that fails, save it in another folder; see :func:`keep`."""
    path, note = keep(output, lambda path: images.write(path, sheet), output.with_suffix(".png").name)
    return Saved(path, notes=(note,) if note else (), is_elsewhere=bool(note))


def print_notes(saved: Saved) -> int:
    """Print a message for each file that was not saved as requested. Return 1 if a file was saved elsewhere, otherwise 0."""
    for note in saved.notes:
        fail_with(note, FAILED_EXIT)
    return FAILED_EXIT if saved.is_elsewhere else 0


def keep(wanted: Path, write: Callable[[Path], None], spare: str) -> tuple[Path, str]:
    """Write a file. If it cannot be written at the requested path, write it elsewhere.

    Another name is tried in the requested, the current, the home and the temporary folder, in this order.

    Args:
        wanted: the requested path.
        write: writes the file to a path, or raises ImageFileError or WeightsError.
        spare: the file name to use if the requested path fails. If a file with this name exists, a number is added.

    Returns:
        The path, and a message. The message is empty if the path is the requested one.

    Raises:
        ImageFileError, WeightsError: the file cannot be written anywhere.
    """
    try:
        write(wanted)
    except (ImageFileError, WeightsError) as error:
        for folder in _folders(wanted):
            with suppress(OSError, StopIteration):
                path = next(_free(folder, spare))
                write(path)
                return path, f"{error}; saved as '{path}' instead"
        raise
    return wanted, ""


def _folders(wanted: Path) -> Iterator[Path]:
    """Yield the folders in which to try to save, in order."""
    if wanted != STDOUT:
        yield wanted.parent
    for find in (Path.cwd, Path.home, lambda: Path(tempfile.gettempdir())):
        with suppress(OSError, RuntimeError):  # the current folder was removed, or the user has no home folder
            yield find()


def _free(folder: Path, name: str) -> Iterator[Path]:
    """Yield unused paths in a folder: first the name itself, then the name with a number."""
    path = folder / name
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in range(2, _MANY))
    yield from (each for each in (path, *numbered) if not os.path.lexists(each))


def save_record(path: Path, record: Record) -> None:
    """Write a record as JSON, atomically.

    Raises:
        ImageFileError: the record cannot be written.
    """
    with _record_errors(path), replacing(path) as part:
        part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _record_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ImageFileError(f"record '{path}' cannot be written ({error.strerror or error}); choose another place") from error

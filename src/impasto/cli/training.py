"""What the commands of ``impasto train`` share: reading the pictures, going on from a state, stopping when asked to."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from impasto.cli.overwriting import check_overwrites
from impasto.errors import ImageFileError, WeightsError

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from impasto.training.crops import Corpus

Network = TypeVar("Network", bound="torch.nn.Module")

STEPS_BETWEEN_LINES = 50
_SHARES = {"photo": 1.0, "painting": 0.5, "texture": 1 / 3}
"""Of the number that is held out: as large a part of each kind as there are."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The pictures that are learned from."""

    photos: Path
    """A folder of photos."""

    paintings: Path
    """A folder of paintings."""

    textures: Path
    """A folder of textures."""

    held_out: int = 60
    """Photos, the last by name, that are kept for measuring, with half as many paintings and a third as many textures."""


def check_writable(*paths: Path) -> None:
    """Raise WeightsError unless each file can be written in its folder."""
    for path in paths:
        if not path.parent.is_dir():
            raise WeightsError(f"'{path}' cannot be written: there is no folder '{path.parent}'; make it first")
        if path.is_dir():
            raise WeightsError(f"'{path}' cannot be written: it is a folder; give the name of a file")
        try:
            with tempfile.TemporaryFile(dir=path.parent), suppress(FileNotFoundError):
                path.stat()  # whose own name may be too long
        except OSError as error:
            raise WeightsError(f"'{path}' cannot be written ({error.strerror}); choose another place") from error


def check_training_files(output: Path, state: Path, pictures: Pictures, *inputs: Path | None) -> None:
    """Make sure that what training writes can be written, and is none of what it reads.

    Raises:
        OptionError: a file is an input, or is named twice.
        WeightsError: it cannot be written.
    """
    folders = (pictures.photos, pictures.paintings, pictures.textures)
    read = [each for folder in folders if folder.is_dir() for each in folder.iterdir()]
    written = {
        "--output": output,
        "--state": state,
        "the curve": curve_of(state),
        "the shared state": state.with_suffix(".shared"),
    }
    check_overwrites(written, [*read, *filter(None, inputs)])
    check_writable(output, state)


def curve_of(state: Path) -> Path:
    """Return the file of the curve that lies beside a state."""
    return state.with_suffix(".curve.jsonl")


def save_state(training: Resumable, state: Path, console: Console) -> bool:
    """Save a state; where that fails, say so and let training go on.

    Returns:
        Whether it is saved.
    """
    try:
        training.save(state)
    except (OSError, RuntimeError) as error:  # RuntimeError: torch's own writer, on a full disk
        with suppress(OSError):
            state.with_name(state.name + ".part").unlink()
        console.print(
            f"the state cannot be written to '{state}' ({getattr(error, 'strerror', None) or error}); training goes on"
        )
        return False
    return True


def add_to_curve(state: Path, line: Mapping[str, Any], console: Console) -> None:
    """Add a line to the curve beside a state; where that fails, say so."""
    try:
        with curve_of(state).open("a", encoding="utf-8") as curve:
            curve.write(json.dumps(line) + "\n")
    except OSError as error:
        console.print(f"the curve cannot be written to '{curve_of(state)}' ({error.strerror})")


def write_weights(output: Path, write: Callable[[Path], None], console: Console) -> int:
    """Write what was trained: where it is wanted, or else wherever it can be written; return the exit code."""
    from impasto.cli.outputs import Saved, keep, say_notes

    path, note = keep(output, write, output.name)
    console.print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return say_notes(Saved(path, notes=(note,) if note else (), is_elsewhere=bool(note)))


def read_corpora(pictures: Pictures, console: Console) -> tuple[Corpus, Corpus]:
    """Read the pictures to train on, and those to measure on."""
    folders = {"photo": pictures.photos, "painting": pictures.paintings, "texture": pictures.textures}
    corpus: dict[str, list[torch.Tensor]] = {}
    kept: dict[str, list[torch.Tensor]] = {}
    for kind, folder in folders.items():
        found = _read_folder(folder, console)
        count = max(1, min(round(pictures.held_out * _SHARES[kind]), len(found) // 5))
        corpus[kind], kept[kind] = found[:-count], found[-count:]
        console.print(f"{kind}: {len(corpus[kind])} to learn from, {count} to measure on")
    return corpus, kept


def _read_folder(folder: Path, console: Console) -> list[torch.Tensor]:
    """Read the pictures of a folder, each (3, height, width), uint8; what cannot be read is left out and named."""
    import torch

    from impasto import images

    if not folder.is_dir():
        raise ImageFileError(f"there is no folder '{folder}'; give one of pictures")
    pictures = []
    for path in sorted(each for each in folder.iterdir() if each.is_file()):
        try:
            array = images.to_array(images.read(path).image)
        except ImageFileError as error:
            console.print(f"left out: {error}")
            continue
        pictures.append(torch.from_numpy(array).permute(2, 0, 1).contiguous())
    if len(pictures) < 2:
        raise ImageFileError(f"folder '{folder}' holds {len(pictures)} pictures; at least 2 are needed")
    return pictures


class Resumable(Protocol):
    """A training that can go on from a file."""

    number: int

    def save(self, path: Path) -> None:
        """Write a state."""

    def resume(self, path: Path) -> None:
        """Go on from a state."""


def resume(training: Resumable, state: Path, mistake: str, console: Console) -> None:
    """Go on from a state.

    Args:
        training: what goes on.
        state: the file.
        mistake: what may be wrong with it, if it is not damaged: ``"of other --widths"``.
        console: where it is said.

    Raises:
        WeightsError: the state is damaged, or of another network.
    """
    try:
        training.resume(state)
    except Exception as error:  # whatever a damaged file, or one of another network, makes torch say
        raise WeightsError(f"state '{state}' is damaged or {mistake}; move it away to start anew") from error
    console.print(f"going on from step {training.number}")


def channels_last(network: Network) -> Network:
    """Lay the filters of a network out as they are fastest, in place."""
    import torch

    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network

"""Shared code of the ``impasto train`` commands: read pictures, check and save files, resume."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from impasto.cli.overwriting import check_overwrites
from impasto.cli.progress import duration
from impasto.cli.signals import asked_to_stop
from impasto.errors import ImageFileError, WeightsError
from impasto.runtime.atomic import try_writing
from impasto.runtime.locks import only_writer

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from impasto.training.crops import Corpus

Network = TypeVar("Network", bound="torch.nn.Module")

STEPS_BETWEEN_LINES = 50
_STEPS_BETWEEN_SAVES = 250
_SHARES = {"photo": 1.0, "painting": 0.5, "texture": 1 / 3}
"""Number of held-out pictures of each kind, relative to the number of held-out photos."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The training pictures."""

    photos: Path
    """Folder of photos."""

    paintings: Path
    """Folder of paintings."""

    textures: Path
    """Folder of textures."""

    held_out: int = 60
    """Number of photos held out for evaluation: the last ones in the order of file names. Half as many paintings and a third
    as many textures are also held out."""


def check_writable(*paths: Path) -> None:
    """Raise WeightsError if a file cannot be written."""
    for path in paths:
        if not path.parent.is_dir():
            raise WeightsError(f"'{path}' cannot be written: there is no folder '{path.parent}'; create it first")
        if path.is_dir():
            raise WeightsError(f"'{path}' cannot be written: it is a folder; give the name of a file")
        try:
            try_writing(path)
        except OSError as error:
            raise WeightsError(f"'{path}' cannot be written ({error.strerror}); choose another place") from error


def check_training_files(output: Path, state: Path, pictures: Pictures, *inputs: Path | None) -> None:
    """Check that the output files can be written and do not overwrite an input.

    Raises:
        OptionError: an output file is also an input, or two output files are the same.
        WeightsError: a file cannot be written.
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
    """Return the path of the training curve, next to the state."""
    return state.with_suffix(".curve.jsonl")


def run_training(
    training: Training, total: int, state: Path, console: Console, *, watch: Callable[[Any], None], measure: Callable[[], None]
) -> bool:
    """Train, and save the state every 250 steps. Return False if the user interrupted.

    ``watch`` is called with every step. ``measure`` evaluates the network; it is called after each save.
    """
    with only_writer(state), asked_to_stop() as stop:
        for step in training.steps():
            watch(step)
            is_stopped = bool(stop) and step.number < total
            if step.number % _STEPS_BETWEEN_SAVES == 0 or step.number == total or is_stopped:
                is_saved = save_state(training.save, state, console)
                measure()
                if is_stopped and is_saved:
                    console.print(
                        f"interrupted at step {step.number} of {total}; run the same command to resume from '{state}'"
                    )
            if is_stopped:
                return False
    return True


def save_state(save: Callable[[Path], None], state: Path, console: Console) -> bool:
    """Save the training state with the given function. If that fails, print a message and continue.

    Returns:
        Whether the state was saved.
    """
    try:
        save(state)
    except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError on a full disk
        console.print(
            f"the state cannot be written to '{state}' ({getattr(error, 'strerror', None) or error}); training continues"
        )
        return False
    return True


def add_to_curve(state: Path, line: Mapping[str, Any], console: Console) -> None:
    """Append a line to the training curve. If that fails, print a message."""
    try:
        with curve_of(state).open("a", encoding="utf-8") as curve:
            curve.write(json.dumps(line) + "\n")
    except OSError as error:
        console.print(f"the curve cannot be written to '{curve_of(state)}' ({error.strerror})")


def write_weights(output: Path, write: Callable[[Path], None], console: Console) -> int:
    """Save the trained weights at the path. If that fails, save them in another folder. Return the exit code."""
    from impasto.cli.outputs import Saved, keep, print_notes

    path, note = keep(output, write, output.name)
    console.print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return print_notes(Saved(path, notes=(note,) if note else (), is_elsewhere=bool(note)))


def read_corpora(pictures: Pictures, console: Console) -> tuple[Corpus, Corpus]:
    """Read the pictures and split them into training pictures and held-out pictures."""
    folders = {"photo": pictures.photos, "painting": pictures.paintings, "texture": pictures.textures}
    corpus: dict[str, list[torch.Tensor]] = {}
    kept: dict[str, list[torch.Tensor]] = {}
    for kind, folder in folders.items():
        found = _read_folder(folder, console)
        count = max(1, min(round(pictures.held_out * _SHARES[kind]), len(found) // 5))
        corpus[kind], kept[kind] = found[:-count], found[-count:]
        console.print(f"{kind}: {len(corpus[kind])} for training, {count} held out")
    return corpus, kept


def _read_folder(folder: Path, console: Console) -> list[torch.Tensor]:
    """Read the pictures of a folder, each (3, height, width), uint8. Skip unreadable files, with a message for each."""
    import torch

    from impasto import images

    if not folder.is_dir():
        raise ImageFileError(f"there is no folder '{folder}'; give a folder of pictures")
    pictures = []
    for path in sorted(each for each in folder.iterdir() if each.is_file()):
        try:
            array = images.to_array(images.read(path).image)
        except ImageFileError as error:
            console.print(f"skipped: {error}")
            continue
        pictures.append(torch.from_numpy(array).permute(2, 0, 1).contiguous())
    if len(pictures) < 2:
        raise ImageFileError(f"folder '{folder}' contains {len(pictures)} pictures; at least 2 are needed")
    return pictures


class Training(Protocol):
    """A training run that can be resumed from a file. Each of its steps has a ``number``."""

    number: int

    def steps(self) -> Iterator[Any]:
        """Train."""

    def save(self, path: Path) -> None:
        """Save the state."""

    def resume(self, path: Path) -> None:
        """Load the state."""


def resume(training: Training, state: Path, mistake: str, console: Console) -> None:
    """Resume training from a state file.

    Args:
        training: the training run.
        state: the file.
        mistake: the likely cause of an error if the file is not damaged, such as ``"from other --widths"``.
        console: the console for messages.

    Raises:
        WeightsError: the state is damaged, or belongs to another network.
    """
    try:
        training.resume(state)
    except Exception as error:  # torch raises many types if the file is damaged or belongs to another network
        raise WeightsError(f"state '{state}' is damaged or {mistake}; delete or rename it to start again") from error
    console.print(f"resuming from step {training.number}")


def time_left(number: int, total: int, seconds: float) -> str:
    """Format the remaining time, given the duration of the last step.

    Example:
        >>> time_left(1, 50, 9.0), time_left(40, 50, 0.5)
        ('timing the first steps', 'about 5 s left')
    """
    is_slow = number == 1 < total  # the first step also prepares memory and kernels
    return "timing the first steps" if is_slow else f"about {duration(seconds * (total - number))} left"


def channels_last(network: Network) -> Network:
    """Convert the filters of a network in place to channels-last memory format, which is faster."""
    import torch

    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network

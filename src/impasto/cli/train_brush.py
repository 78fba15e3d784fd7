"""``impasto train brush``: train a small network that paints any photo in one style."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from impasto.cli import INTERRUPTED_EXIT
from impasto.cli.flags import BrushTrainingFlags, RunFlags, given
from impasto.cli.overwriting import check_overwrites
from impasto.cli.progress import duration, losses_in_words, message_console
from impasto.cli.session import set_threads
from impasto.cli.signals import asked_to_stop, undisturbed
from impasto.cli.training import check_writable, save_state, write_weights
from impasto.errors import ImageFileError, ImpastoError, WeightsError
from impasto.options import Run
from impasto.options.brush import BrushTrainingOptions
from impasto.runtime.locks import only_writer

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from impasto.recipes.brush_training import BrushRun
    from impasto.training.brush import BrushStep

_CHECKPOINT, _STRIP = ".checkpoint", ".strip.png"
_SECONDS_BETWEEN = 60.0
_SECONDS_BETWEEN_LINES = 15.0
_FEWEST_STEPS = 3
_NAMED = 5


@dataclass
class _Watch:
    """Monitor that prints progress, and saves the checkpoint and the sample strip every minute."""

    run: BrushRun
    output: Path
    console: Console
    due: float = 0.0
    line_due: float = 0.0
    best: float = float("inf")
    best_at: float = 0.0
    is_saved: bool = True

    def take(self, step: BrushStep) -> None:
        """Process one step."""
        if step.has_diverged:
            self.console.print(
                f"step {step.number}: the training diverged; went back to the last good state and halved the learning rate"
            )
        now = time.monotonic()
        if now >= self.line_due and step.number >= _FEWEST_STEPS:
            self.line_due = now + _SECONDS_BETWEEN_LINES
            self._print(step)
        if now >= self.due and step.number >= _FEWEST_STEPS:
            self.save()
            self.due = time.monotonic() + _SECONDS_BETWEEN

    def save(self) -> None:
        """Save the checkpoint and the sample strip."""
        from impasto.images import write

        self.is_saved = save_state(self.run.save_checkpoint, checkpoint_of(self.output), self.console)
        strip = self.output.with_suffix(_STRIP)
        try:
            write(strip, self.run.strip())
        except ImpastoError as error:
            self.console.print(f"the sample strip could not be saved: {error}")

    def is_stale(self, patience_minutes: float) -> bool:
        """Return whether the loss decreased by less than one percent in the last ``patience_minutes``. With 0, return False."""
        if not patience_minutes:
            return False
        weights, training = self.run.training.weights, self.run.training
        value = sum(getattr(weights, name) * loss for name, loss in self.run.losses().items())
        if value < 0.99 * self.best:
            self.best, self.best_at = value, training.seconds
        return training.seconds - self.best_at > 60 * patience_minutes

    def _print(self, step: BrushStep) -> None:
        training = self.run.training
        progress = min(1.0, training.progress)
        left = f"about {duration(step.seconds * (1 - progress) / progress)} left" if progress < 1 else "finished"
        self.console.print(f"step {step.number}, {progress:.0%}: {losses_in_words(self.run.losses())}; {left}")


def brush(
    style: str,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    photos: Path | None = None,
    start: Annotated[str | None, Parameter(metavar="BRUSH")] = None,
    new: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    options: Annotated[BrushTrainingFlags | None, Parameter(name="*")] = None,
    run: Annotated[RunFlags | None, Parameter(name="*")] = None,
) -> int:
    """Train a brush: a small network that paints any photo in one style. To resume an interrupted training, repeat the command.

    Args:
        style: Style picture, or a name from "impasto styles list".
        output: Output file, .brush. A sample strip (.strip.png) and a checkpoint are saved next to it every minute.
        photos: Folder of training photos, at least 2. Default: built-in photos.
        start: Brush to start from, a file or a name from "impasto brushes list". Default: random weights.
        new: Start from the beginning, even if there is a checkpoint of an interrupted training.
        quiet: Print errors only.
        options: Training options.
        run: Device and seed.
    """
    from impasto.recipes.brush_training import new_run
    from impasto.recipes.painting import read_style
    from impasto.training.distributed import is_main

    chosen, where = BrushTrainingOptions(**given(options)), Run(**given(run))
    console = message_console(quiet=quiet)
    checkpoint = checkpoint_of(output)
    _check_files(output, style, start, photos)
    set_threads(where)
    picture = read_style(style)
    training = new_run(picture, _read_photos(photos, where.seed, console), chosen, where, start=start)
    if checkpoint.exists() and not new:
        _resume(training, checkpoint, console)
    if not is_main():
        for _ in training.steps():  # the main process prints and saves
            pass
        return 0
    with only_writer(output):
        is_complete = _train(training, output, chosen, console)
        with undisturbed():
            code = write_weights(output, training.save, console)
    if is_complete and not code:
        checkpoint.unlink(missing_ok=True)
    return code if is_complete else INTERRUPTED_EXIT


def checkpoint_of(output: Path) -> Path:
    """Return the path of the checkpoint of a training, next to its output."""
    return output.with_name(output.name + _CHECKPOINT)


def _check_files(output: Path, style: str, start: str | None, photos: Path | None) -> None:
    """Raise ImpastoError if a file cannot be written, or would overwrite an input."""
    inputs = [style, *filter(None, [start]), *(photos.rglob("*") if photos and photos.is_dir() else ())]
    strip = output.with_suffix(_STRIP)
    check_overwrites({"--output": output, "the sample strip": strip, "the checkpoint": checkpoint_of(output)}, inputs)
    check_writable(output, checkpoint_of(output))
    if start:
        from impasto.networks.brush_files import load_brush

        load_brush(start)  # a damaged brush is reported before the photos are read


def _read_photos(folder: Path | None, seed: int, console: Console) -> list[torch.Tensor]:
    """Read the photos of a folder, or make the built-in ones.

    Unreadable files are skipped. Their number is printed, and the names of the first few.
    """
    from impasto.training.photos import MOST_PHOTOS, built_in_photos, photos_in

    if folder is None:
        console.print("training on the built-in photos; to train on your own photos, use --photos FOLDER")
        return built_in_photos(seed)
    photos: list[torch.Tensor] = []
    errors: list[ImageFileError] = []
    for found in photos_in(folder, seed):
        if isinstance(found, ImageFileError):
            errors.append(found)
        else:
            photos.append(found)
    for error in errors[:_NAMED]:
        console.print(f"skipped: {error}")
    if len(errors) > _NAMED:
        console.print(f"skipped: {len(errors) - _NAMED} more files")
    limit = f", drawn at random from '{folder}'" if len(photos) + len(errors) >= MOST_PHOTOS else ""
    console.print(f"{len(photos)} photos{limit}, {len(errors)} files skipped")
    return photos


def _resume(training: BrushRun, checkpoint: Path, console: Console) -> None:
    """Resume from a checkpoint of the same style and network."""
    try:
        training.resume(checkpoint)
    except ImpastoError:
        raise
    except Exception as error:  # torch raises many types of errors if the file is damaged or from another network
        raise WeightsError(
            f"checkpoint '{checkpoint}' is damaged or from another --network; use --new to start again"
        ) from error
    done = training.training
    console.print(f"resuming from step {done.number}, after {duration(done.seconds)} of training")


def _train(training: BrushRun, output: Path, options: BrushTrainingOptions, console: Console) -> bool:
    """Train until the time is used up. Return False if the user interrupted the training."""
    watch = _Watch(training, output, console)
    with asked_to_stop() as stop:
        for step in training.steps():
            watch.take(step)
            if stop and training.training.progress < 1:
                watch.save()
                console.print(f"interrupted at step {step.number}; run the same command to resume")
                return False
            if watch.is_stale(options.patience):
                console.print(f"stopped early at step {step.number}: the losses no longer decrease")
                break
    watch.save()
    return True

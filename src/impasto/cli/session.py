"""One session of painting: paint what was ordered, show it, and leave the result or, interrupted, what there is of it."""

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from impasto import images
from impasto.cli import FAILED_EXIT, INTERRUPTED_EXIT, complain
from impasto.cli.checkpoints import Checkpoint
from impasto.cli.flags import Files, Talk
from impasto.cli.names import checkpoint_of
from impasto.cli.outputs import Saved, keep, save_pastiche, say_notes
from impasto.cli.pipes import STDOUT
from impasto.cli.previews import Film, Preview
from impasto.cli.progress import duration, losses_in_words, narrator, progress
from impasto.cli.repeat import differences, encoder_differences, mask_differences
from impasto.cli.report import tell
from impasto.cli.signals import undisturbed
from impasto.errors import ImpastoError, ResourceError
from impasto.images import Picture, fitted_size
from impasto.metrics.report import Report
from impasto.optim.engine import Step
from impasto.options import PaintOptions, Run
from impasto.recipes import gatys
from impasto.recipes.checks import predicted_memory
from impasto.recipes.coloring import color_notes, color_record
from impasto.recipes.easel import Easel
from impasto.recipes.judging import judged
from impasto.recipes.masking import NO_MASKS, Masking
from impasto.recipes.painting import finished, paint_on
from impasto.recipes.pastiche import Record, new_record, with_progress
from impasto.recipes.starts import Resumption, Style
from impasto.runtime.memory import keep_freed_memory

MadeFrom = tuple[Picture, Sequence[Style], Sequence[float]]
"""A photo, the styles, and their weights; none: equal ones."""

_WITHOUT_RECORD = (".bmp", ".gif")


@dataclass(frozen=True)
class Order:
    """What is to be painted, and where to.

    Attributes:
        content: the photo.
        styles: the manners.
        options: how to paint.
        run: device, precision, seed, threads.
        files: where the result goes; ``output`` is named.
        words: the content, the styles and the masks as the user named them; empty where they cannot be named again.
        record: of the painting that is repeated or gone on with.
        resumption: where a painting that is gone on with stood.
        masking: where each style goes, and what stays the photo.
    """

    content: Picture
    styles: tuple[Style, ...]
    options: PaintOptions
    run: Run
    files: Files
    words: tuple[str, ...]
    record: Record | None = None
    resumption: Resumption | None = None
    masking: Masking = NO_MASKS

    @property
    def output(self) -> Path:
        """Where the painting goes."""
        assert self.files.output is not None
        return self.files.output

    @property
    def resumable(self) -> Path | None:
        """The output, where the painting can go on from a checkpoint beside it: its pictures are files or names."""
        return self.output if self.words and self.output != STDOUT else None

    @property
    def holds_no_record(self) -> bool:
        """Whether neither the picture nor a file beside it tells how it was painted."""
        return self.output.suffix.lower() in _WITHOUT_RECORD and not self.files.record

    def notes(self) -> Iterator[str]:
        """Say what was done to the pictures when they were read, and which are not those of the record."""
        for picture in (self.content, *self.styles):
            if isinstance(picture, Picture):
                yield from (f"{picture.name}: {note}" for note in picture.notes)
        yield from self.masking.notes
        yield from color_notes(self.content, self.options)
        if self.resumable and not self.resumption and os.path.isfile(earlier := checkpoint_of(self.output)):
            yield f"'{earlier}' is of a painting that was cut off; --resume would go on with it, and this command paints anew"
        if self.holds_no_record:
            yield f"{self.output.suffix} holds no record of how {self.output} was painted; --record FILE keeps one"
        if self.record:
            found = differences(self.record, self.content, self.styles)
            for difference in (*found, *mask_differences(self.record, self.masking)):
                yield f"{difference}; the result will be another"


@dataclass
class Session:
    """How far painting is.

    Attributes:
        scale: index of the size that is being painted.
        here: steps done at that size, in an earlier session too.
        last: the last step; None before the first.
        is_finished: whether painting came to its end.
    """

    scale: int
    here: int
    last: Step | None = None
    is_finished: bool = False

    def take(self, step: Step) -> None:
        """Take one more step into account."""
        self.here = self.here + 1 if step.scale == self.scale else 1
        self.scale, self.last = step.scale, step
        self.is_finished = step.number >= step.total


def paint_to_file(order: Order, talk: Talk) -> int:
    """Paint what was ordered.

    Returns:
        The exit code: 0; 1 where the objective did not fall, or 130 where the user interrupted: then what there is is saved.

    Raises:
        ImpastoError: it cannot be painted, or not be written.
    """
    console = narrator(quiet=talk.quiet)
    keep_freed_memory()
    if order.run.threads:
        torch.set_num_threads(order.run.threads)
    with memory_in_words(order.options.size):
        easel = gatys.set_up(order.content, order.styles, order.options, order.run, order.masking)
        easel = gatys.resumed(easel, order.resumption) if order.resumption else easel
        for difference in encoder_differences(order.record or {}, easel.encoder.sha256):
            console.print(f"{difference}; the result will be another")
        console.print(announcement(order, easel))
        session, film, checkpoint = paint_and_show(order, easel, console)
        assert session.last is not None  # every size has a step at the least
        with undisturbed():
            record = final_record(order, easel, session.last, session)
            saved = save(order, session.last, record, film)
            if not saved.is_elsewhere:
                checkpoint.remove()
    is_plain = session.is_finished and not talk.json and order.output != STDOUT
    figures = reported((order.content, order.styles, order.options.style_weights), session.last.image, order.files)
    if talk.json:
        print(json.dumps({**record, **figures_by_name(figures), "output": str(saved.output)}), flush=True)
    report((order, saved), session.last, record, narrator(quiet=talk.quiet, to_stderr=not is_plain))
    if figures:  # asked for, so also said when quiet
        tell(figures, narrator(quiet=False, to_stderr=not is_plain))
    code = say_notes(saved)
    if not session.is_finished:
        return INTERRUPTED_EXIT
    return complain(f"{session.last.failure}; {saved.name} is what there is", FAILED_EXIT) if session.last.failure else code


def reported(made_from: MadeFrom, image: Tensor, files: Files) -> list[Report]:
    """Measure a result beside what it was made from (photo, styles and their weights), where that was asked for."""
    if not files.report or files.output is None:
        return []
    content, styles, weights = made_from
    return judged(
        content, styles, [replace(images.read(image), name="result" if files.output == STDOUT else files.output.name)], weights
    )


def figures_by_name(figures: Sequence[Report]) -> dict[str, Any]:
    """Return what the report adds to a record that is printed."""
    return {"report": figures[0].as_dict()} if figures else {}


def paint_and_show(order: Order, easel: Easel, console: Console) -> tuple[Session, Film, Checkpoint]:
    """Paint to the end, or until the user interrupts.

    Returns:
        How far it came, the frames of the animation, and the checkpoint, which is still there.
    """
    stood = order.resumption
    session = Session(stood.scale, stood.done) if stood else Session(0, 0)
    film, preview = Film(), Preview(order.files.preview, console)
    checkpoint = Checkpoint(order.resumable, lambda step: final_record(order, easel, step, session), console)
    with progress(console, easel.first_scale + len(easel.sizes)) as show:
        try:
            for step in paint_on(easel):
                session.take(step)
                show(step)
                preview.show(step)
                checkpoint.take(step)
                if order.files.gif:
                    film.add(step.image)
            session.is_finished = True
        except KeyboardInterrupt:
            if session.last is None:  # there is nothing to save
                raise
    return session, film, checkpoint


def final_record(order: Order, easel: Easel, last: Step, session: Session) -> Record:
    """Make the record of a painting that ends, or is interrupted, here."""
    begun = new_record(order.content, order.styles, order.options, order.run, easel.encoder.sha256)
    record = with_progress(begun | order.masking.record | color_record(order.options), last)
    record["steps"] |= {"here": session.here, "finished": session.is_finished}
    if order.resumption and order.record:
        record["steps"]["done"] += order.record["steps"]["done"]
        record["steps"]["planned"] += order.record["steps"]["done"]
        record["seconds"] = round(record["seconds"] + order.record["seconds"], 2)
        record["interruptions"] = order.record.get("interruptions", 0) + 1
    return record


def save(order: Order, last: Step, record: Record, film: Film) -> Saved:
    """Write the painting and what goes with it."""
    saved = save_pastiche(finished(order.content, last, record), order.files)
    return save_film(saved, order.files, film, last.image)


def save_film(saved: Saved, files: Files, film: Film, last: Tensor) -> Saved:
    """Write the animation that goes with a painting, where one was asked for."""
    if files.gif is None:
        return saved
    try:
        _, note = keep(files.gif, lambda path: film.save(path, last), files.gif.name)
    except ImpastoError as error:  # the painting itself is saved
        note = str(error)
    return replace(saved, notes=(*saved.notes, note), is_elsewhere=True) if note else saved


# ---------------------------------------------------------------------------------------------------- what is said


def announcement(order: Order, easel: Easel) -> str:
    """Say what is going to happen: sizes, steps, memory, network, device and precision."""
    height, width = fitted_size(order.content.size, order.options.size)
    share = easel.margin / max(easel.content.shape[-2:])
    sizes = ", ".join(str(max(size) - 2 * round(share * max(size))) for size, _ in easel.sizes)
    steps = sum(count for _, count in easel.sizes)
    memory = predicted_memory(easel.encoder, (height, width), order.options, easel.arithmetic) / 2**30
    where = f"{order.options.encoder} on {easel.arithmetic.device.type} in {easel.arithmetic.precision}"
    verb = "going on with" if order.resumption else "painting"
    time_and_memory = f"about {duration(gatys.predicted_seconds(easel))} and {memory:.1f} GiB of memory"
    return f"{verb} {width}x{height} pixels by way of {sizes}; {steps} steps; {time_and_memory}; {where}"


def report(made: tuple[Order, Saved], last: Step, record: Record, console: Console) -> None:
    """Say what came out, and how to go on where it was interrupted."""
    (order, saved), (height, width) = made, last.image.shape[-2:]
    if record["steps"]["finished"]:
        took = duration(record["seconds"])
        console.print(f"{saved.name}: {width}x{height} pixels in {took}; {losses_in_words(last.losses)}")
        return
    done, planned = record["steps"]["done"], record["steps"]["planned"]
    console.print(f"interrupted at step {done} of {planned}; {saved.name} is what there is, {width}x{height} pixels")
    if saved.output == STDOUT:
        return
    if order.holds_no_record and saved.output == order.output:
        console.print(f"it cannot go on, since {order.output.suffix} holds no record; take .png, or --record FILE")
        return
    words = ["impasto", "paint", *order.words, "-o", str(saved.output), "--resume"]
    words += ["--record", str(saved.record)] if saved.record else []
    console.print(f"to go on: {shlex.join(words)}")


# ---------------------------------------------------------------------------------------------------- when it ends early


@contextmanager
def memory_in_words(size: int, flag: str = "--size") -> Iterator[None]:
    """Say in one sentence that there was not enough memory.

    Raises:
        ResourceError: wherever the memory ran out.
    """
    sentence = f"the memory is not enough for {flag} {size}; use a smaller {flag}, or close other programs"
    try:
        yield
    except ImpastoError:
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise ResourceError(sentence) from error
    except RuntimeError as error:
        if "alloc" not in str(error) or "memory" not in str(error):
            raise
        raise ResourceError(sentence) from error

"""One painting session: paint, show progress, and save the result. If the user interrupts, save the picture so far."""

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from impasto import images
from impasto.cli import FAILED_EXIT, INTERRUPTED_EXIT, fail_with
from impasto.cli.checkpoints import CheckpointWriter
from impasto.cli.flags import Files, OutputOptions
from impasto.cli.names import checkpoint_of
from impasto.cli.outputs import Saved, keep, print_notes, save_pastiche
from impasto.cli.pipes import STDOUT
from impasto.cli.previews import GifRecorder, Preview
from impasto.cli.progress import duration, losses_in_words, message_console, progress
from impasto.cli.repeat import differences, encoder_differences, mask_differences
from impasto.cli.report import print_figures
from impasto.cli.signals import undisturbed
from impasto.errors import ImpastoError
from impasto.images import Picture, fitted_size
from impasto.metrics.report import Report
from impasto.optim.engine import Step
from impasto.options import PaintOptions, Run
from impasto.recipes import gatys
from impasto.recipes.coloring import color_notes, color_record
from impasto.recipes.context import PaintingContext
from impasto.recipes.masking import NO_MASKS, Masking
from impasto.recipes.painting import finished, run_recipe
from impasto.recipes.pastiche import Record, new_record, with_progress
from impasto.recipes.reporting import reports_of
from impasto.recipes.starts import Checkpoint, Style
from impasto.runtime.amounts import amount
from impasto.runtime.locks import only_writer
from impasto.runtime.memory import keep_freed_memory, memory_in_words, return_freed_memory

_WITHOUT_RECORD = (".bmp", ".gif")


@dataclass(frozen=True)
class PaintRequest:
    """What to paint, and where to save it.

    Attributes:
        content: the photo.
        styles: pictures or named styles.
        options: how to paint.
        run: device, precision, seed, threads.
        files: where to save the result; ``output`` is set.
        words: the content, styles and masks as given on the command line. Empty if the painting cannot be resumed.
        record: the record of the painting to replay or resume.
        checkpoint: the state from which a resumed painting continues.
        masking: where to apply each style, and which areas to leave unchanged.
    """

    content: Picture
    styles: tuple[Style, ...]
    options: PaintOptions
    run: Run
    files: Files
    words: tuple[str, ...]
    record: Record | None = None
    checkpoint: Checkpoint | None = None
    masking: Masking = NO_MASKS

    @property
    def output(self) -> Path:
        """Where to save the painting."""
        assert self.files.output is not None
        return self.files.output

    @property
    def resumable(self) -> Path | None:
        """The output, or None if the painting cannot be resumed. It can be resumed if its inputs are files or named styles."""
        return self.output if self.words and self.output != STDOUT else None

    @property
    def holds_no_record(self) -> bool:
        """Whether no record is saved: the format cannot contain one, and the user did not request a record file."""
        return self.output.suffix.lower() in _WITHOUT_RECORD and not self.files.record

    def notes(self) -> Iterator[str]:
        """Yield notes on how the pictures were read, and on inputs that differ from the record."""
        for picture in (self.content, *self.styles):
            yield from (f"{picture.name}: {note}" for note in picture.notes)
        yield from self.masking.notes
        yield from color_notes(self.content, self.options)
        if self.resumable and not self.checkpoint and os.path.isfile(earlier := checkpoint_of(self.output)):
            yield (
                f"'{earlier}' is the checkpoint of an interrupted painting; this command starts again; to "
                "continue, use --resume"
            )
        if self.holds_no_record:
            yield f"{self.output.suffix} cannot contain a record of how {self.output} was painted; save one with --record FILE"
        if self.record:
            found = differences(self.record, self.content, self.styles)
            for difference in (*found, *mask_differences(self.record, self.masking)):
                yield f"{difference}; the result will differ"


@dataclass
class Session:
    """Progress of a painting.

    Attributes:
        scale: index of the current size.
        here: number of steps done at the current size, including steps of earlier sessions.
        last: the last step, or None before the first step.
        is_finished: whether all steps are done.
    """

    scale: int
    here: int
    last: Step | None = None
    is_finished: bool = False

    def take(self, step: Step) -> None:
        """Record one more step."""
        self.here = self.here + 1 if step.scale == self.scale else 1
        self.scale, self.last = step.scale, step
        self.is_finished = step.number >= step.total


def paint_to_file(request: PaintRequest, output_options: OutputOptions) -> int:
    """Paint a request, and save the result.

    Returns:
        The exit code: 0 on success, 1 if the objective did not decrease, or 130 if the user interrupted. In all three cases,
        the picture is saved.

    Raises:
        ImpastoError: the picture cannot be painted or saved.
    """
    console = message_console(quiet=output_options.quiet)
    set_threads(request.run)
    with _alone(request.output), memory_in_words(request.options.size):
        context = gatys.set_up(request.content, request.styles, request.options, request.run, request.masking)
        keep_freed_memory(except_largest=context.tile_count > 1)
        if request.checkpoint:
            context = gatys.resumed(context, request.checkpoint)
        for difference in encoder_differences(request.record or {}, context.encoder.sha256):
            console.print(f"{difference}; the result will differ")
        console.print(announcement(request, context))
        session, gif_recorder, checkpoint = paint_and_show(request, context, console)
        assert session.last is not None  # every size has at least one step
        with undisturbed():
            record = final_record(request, context, session.last, session)
            saved = save(request, session.last, record, gif_recorder)
            if not saved.is_elsewhere:
                checkpoint.remove()
    is_plain = session.is_finished and not output_options.json and request.output != STDOUT
    figures = reported(request.content, request.styles, request.options.style_weights, session.last.image, request.files)
    if output_options.json:
        print(json.dumps({**record, **figures_by_name(figures), "output": str(saved.output)}), flush=True)
    report(request, saved, session.last, record, message_console(quiet=output_options.quiet, to_stderr=not is_plain))
    if figures:  # the user requested them with --report, so print them even with --quiet
        print_figures(figures, message_console(quiet=False, to_stderr=not is_plain))
    code = print_notes(saved)
    if not session.is_finished:
        return INTERRUPTED_EXIT
    return (
        fail_with(f"{session.last.failure}; saved the picture so far as {saved.name}", FAILED_EXIT)
        if session.last.failure
        else code
    )


def _alone(output: Path) -> AbstractContextManager[object]:
    """Lock the output, so that no other run paints it and uses its checkpoint at the same time."""
    return nullcontext() if output == STDOUT else only_writer(output)


def reported(content: Picture, styles: Sequence[Style], weights: Sequence[float], image: Tensor, files: Files) -> list[Report]:
    """If --report was given, compare a result with its photo and styles. Otherwise, return an empty list."""
    if not files.report or files.output is None:
        return []
    name = "result" if files.output == STDOUT else files.output.name
    return reports_of(content, styles, [replace(images.read(image), name=name)], weights)


def set_threads(run: Run) -> None:
    """Set the number of CPU threads if --threads was given."""
    if run.threads:
        torch.set_num_threads(run.threads)


def figures_by_name(figures: Sequence[Report]) -> dict[str, Any]:
    """Return the report as an entry of the printed record. Return an empty dict if there is no report."""
    return {"report": figures[0].as_dict()} if figures else {}


def paint_and_show(
    request: PaintRequest, context: PaintingContext, console: Console
) -> tuple[Session, GifRecorder, CheckpointWriter]:
    """Paint until all steps are done or the user interrupts.

    Returns:
        The progress, the frames of the animation, and the checkpoint writer. The caller removes the checkpoint.
    """
    resumed = request.checkpoint
    session = Session(resumed.scale, resumed.done) if resumed else Session(0, 0)
    gif_recorder, preview = GifRecorder(), Preview(request.files.preview, console)
    checkpoint = CheckpointWriter(request.resumable, lambda step: final_record(request, context, step, session), console)
    with progress(console, context.first_scale + len(context.sizes)) as show:
        try:
            for step in run_recipe(context):
                session.take(step)
                show(step)
                preview.show(step)
                checkpoint.take(step)
                if request.files.gif:
                    gif_recorder.add(step.image)
            session.is_finished = True
        except KeyboardInterrupt:
            if session.last is None:  # there is nothing to save yet
                raise
        if session.last:  # draw a large picture only once
            session.last = replace(session.last, image=session.last.image)
            return_freed_memory()  # the encoded file does not fit into the freed blocks of tiles
    return session, gif_recorder, checkpoint


def final_record(request: PaintRequest, context: PaintingContext, last: Step, session: Session) -> Record:
    """Make the record of a painting that ends at this step, whether it is finished or interrupted."""
    new = new_record(request.content, request.styles, request.options, request.run, context.encoder.sha256)
    record = with_progress(new | request.masking.record | color_record(request.options), last)
    record["steps"] |= {"here": session.here, "finished": session.is_finished}
    if request.checkpoint and request.record:
        record["steps"]["done"] += request.record["steps"]["done"]
        record["steps"]["planned"] += request.record["steps"]["done"]
        record["seconds"] = round(record["seconds"] + request.record["seconds"], 2)
        record["interruptions"] = request.record.get("interruptions", 0) + 1
    return record


def save(request: PaintRequest, last: Step, record: Record, gif_recorder: GifRecorder) -> Saved:
    """Save the painting, its record and its animation."""
    saved = save_pastiche(finished(request.content, last, record), request.files)
    return save_gif(saved, request.files, gif_recorder, last.image)


def save_gif(saved: Saved, files: Files, gif_recorder: GifRecorder, last: Tensor) -> Saved:
    """Save the animation of a painting if --gif was given."""
    if files.gif is None:
        return saved
    try:
        _, note = keep(files.gif, lambda path: gif_recorder.save(path, last), files.gif.name)
    except ImpastoError as error:  # the painting itself is already saved
        note = str(error)
    return replace(saved, notes=(*saved.notes, note), is_elsewhere=True) if note else saved


# ---------------------------------------------------------------------------------------------------- messages


def announcement(request: PaintRequest, context: PaintingContext) -> str:
    """Describe the run before it starts: sizes, steps, memory, encoder, device and precision."""
    height, width = fitted_size(request.content.size, request.options.size)
    sizes = ", ".join(str(max(context.shown_size(size))) for size, _ in context.sizes)
    steps = sum(count for _, count in context.sizes)
    how = f"in {context.tile_count} tiles" if context.tile_count > 1 else "whole"
    where = f"{request.options.encoder} on {context.arithmetic.device.type} in {context.arithmetic.precision}"
    verb = "resuming" if request.checkpoint else "painting"
    time_and_memory = f"about {duration(gatys.predicted_seconds(context))} and {amount(context.peak_bytes)} of memory"
    return f"{verb} {width}x{height} pixels via sizes {sizes}; {steps} steps; {how}, {time_and_memory}; {where}"


def report(request: PaintRequest, saved: Saved, last: Step, record: Record, console: Console) -> None:
    """Print the result. If the painting was interrupted, also print how to resume it."""
    height, width = last.image.shape[-2:]
    if record["steps"]["finished"]:
        took = duration(record["seconds"])
        console.print(f"{saved.name}: {width}x{height} pixels in {took}; {losses_in_words(last.losses)}")
        return
    done, planned = record["steps"]["done"], record["steps"]["planned"]
    console.print(f"interrupted at step {done} of {planned}; saved the picture so far as {saved.name}, {width}x{height} pixels")
    if saved.output == STDOUT:
        return
    if request.holds_no_record and saved.output == request.output:
        console.print(
            f"cannot be resumed: {request.output.suffix} cannot contain a record; next time use .png or --record FILE"
        )
        return
    words = ["impasto", "paint", *request.words, "-o", str(saved.output), "--resume"]
    words += ["--record", str(saved.record)] if saved.record else []
    console.print(f"to resume: {shlex.join(words)}")

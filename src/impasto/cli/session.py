"""One session of painting: paint what was ordered, show it, and leave the result or, interrupted, what there is of it."""

import json
import os
import secrets
import shlex
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from impasto import images
from impasto.cli import FAILED_EXIT, INTERRUPTED_EXIT, complain
from impasto.cli.flags import Files, Talk
from impasto.cli.progress import duration, losses_in_words, narrator, progress
from impasto.cli.repeat import differences, encoder_differences, mask_differences
from impasto.cli.report import tell
from impasto.engine import Step
from impasto.errors import ImageFileError, ImpastoError, OptionError, ResourceError
from impasto.images import Picture, fitted_size, resize
from impasto.memory import keep_freed_memory
from impasto.options import PaintOptions, Run
from impasto.pastiche import Record, new_record, with_progress
from impasto.recipes import gatys
from impasto.recipes.checks import predicted_memory
from impasto.recipes.coloring import color_notes, color_record
from impasto.recipes.easel import Easel
from impasto.recipes.judging import judged
from impasto.recipes.masking import NO_MASKS, Masking
from impasto.recipes.painting import finished, paint_on
from impasto.recipes.starts import Resumption, Style
from impasto.report import Report

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
        words: the content, the styles and the masks as the user named them.
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
        session, film = paint_and_show(order, easel, console)
        assert session.last is not None  # every size has a step at the least
        record = final_record(order, easel, session.last, session)
        with undisturbed():
            save(order, session.last, record, film)
    speak = narrator(quiet=talk.quiet, to_stderr=talk.json or not session.is_finished)
    figures = reported((order.content, order.styles, order.options.style_weights), session.last.image, order.files)
    if talk.json:
        print(json.dumps({**record, **figures_by_name(figures), "output": str(order.output)}), flush=True)
    report(order, session.last, record, speak)
    if figures:  # asked for, so also said when quiet
        tell(figures, narrator(quiet=False, to_stderr=talk.json or not session.is_finished))
    if not session.is_finished:
        return INTERRUPTED_EXIT
    return complain(f"{session.last.failure}; {order.output} is what there is", FAILED_EXIT) if session.last.failure else 0


def reported(made_from: MadeFrom, image: Tensor, files: Files) -> list[Report]:
    """Measure a result beside what it was made from (photo, styles and their weights), where that was asked for."""
    if not files.report or files.output is None:
        return []
    content, styles, weights = made_from
    return judged(content, styles, [replace(images.read(image), name=files.output.name)], weights)


def figures_by_name(figures: Sequence[Report]) -> dict[str, Any]:
    """Return what the report adds to a record that is printed."""
    return {"report": figures[0].as_dict()} if figures else {}


def paint_and_show(order: Order, easel: Easel, console: Console) -> tuple[Session, "Film"]:
    """Paint to the end, or until the user interrupts; return how far it came, and the frames of the animation."""
    stood = order.resumption
    session = Session(stood.scale, stood.done) if stood else Session(0, 0)
    film, preview = Film(), Preview(order.files.preview, console)
    with progress(console, easel.first_scale + len(easel.sizes)) as show, interruptible():
        try:
            for step in paint_on(easel):
                session.take(step)
                show(step)
                preview.show(step)
                if order.files.gif:
                    film.add(step.image)
            session.is_finished = True
        except KeyboardInterrupt:
            if session.last is None:  # there is nothing to save
                raise
    return session, film


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


def save(order: Order, last: Step, record: Record, film: "Film") -> None:
    """Write the painting and what goes with it."""
    files = order.files
    pastiche = finished(order.content, last, record)
    pastiche.save(order.output, bits=files.bits, quality=files.quality, keep_gps=files.keep_gps)
    if files.record:
        save_record(files.record, record)
    if files.gif:
        film.save(files.gif, last.image)


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


def report(order: Order, last: Step, record: Record, console: Console) -> None:
    """Say what came out, and how to go on where it was interrupted."""
    height, width = last.image.shape[-2:]
    if record["steps"]["finished"]:
        took = duration(record["seconds"])
        console.print(f"{order.output}: {width}x{height} pixels in {took}; {losses_in_words(last.losses)}")
        return
    done, planned = record["steps"]["done"], record["steps"]["planned"]
    console.print(f"interrupted at step {done} of {planned}; {order.output} is what there is, {width}x{height} pixels")
    if order.holds_no_record:
        console.print(f"it cannot go on, since {order.output.suffix} holds no record; take .png, or --record FILE")
        return
    words = ["impasto", "paint", *order.words, "-o", str(order.output), "--resume"]
    words += ["--record", str(order.files.record)] if order.files.record else []
    console.print(f"to go on: {shlex.join(words)}")


class Preview:
    """A picture that is rewritten as painting goes on: at most once a second, and in at most a tenth of the time."""

    def __init__(self, path: Path | None, console: Console) -> None:
        self.path, self.console, self.due = path, console, 0.0

    def show(self, step: Step) -> None:
        """Write the picture of a step, if it is time; a preview that cannot be written is given up, not the painting."""
        began = time.monotonic()
        if self.path is None or (began < self.due and step.number < step.total):
            return
        try:
            images.write(self.path, step.image)
        except ImpastoError as error:
            self.console.print(f"no more previews: {error}")
            self.path = None
        self.due = time.monotonic() + max(1.0, 10 * (time.monotonic() - began))


@dataclass
class Film:
    """Frames of a painting being made, evenly taken out of however many steps there are."""

    most: int = 60
    edge_px: int = 480
    stride: int = 1
    seen: int = 0
    frames: list[Tensor] = field(default_factory=list)

    def add(self, image: Tensor) -> None:
        """See one more picture, and keep every so-manieth."""
        if self.seen % self.stride == 0:
            self.frames.append(self._small(image))
        self.seen += 1
        if len(self.frames) == self.most:
            self.frames = self.frames[::2]
            self.stride *= 2

    def save(self, path: Path, last: Tensor) -> None:
        """Write the animation; it ends with the last picture."""
        frames = [*self.frames, self._small(last)]
        images.write_animation(path, (frame.float() / 255 for frame in frames), seconds_per_frame=0.1)

    def _small(self, image: Tensor) -> Tensor:
        size = (image.shape[-2], image.shape[-1])
        small = image if max(size) <= self.edge_px else resize(image, fitted_size(size, self.edge_px))
        return (small.cpu() * 255).round().to(torch.uint8)


# ---------------------------------------------------------------------------------------------------- files


def check_files(files: Files, inputs: tuple[str, ...]) -> None:
    """Make sure, before long work, that everything that is asked for can be written, and overwrites nothing it needs.

    Raises:
        ImageFileError: a place that cannot be written to.
        OptionError: two files of one name, or what a format cannot do.
    """
    assert files.output is not None
    written = {"--output": files.output, "--preview": files.preview, "--gif": files.gif, "--record": files.record}
    taken = {os.path.realpath(name): "an input" for name in inputs if os.path.isfile(name)}
    for flag, path in written.items():
        if path is None:
            continue
        if (whose := taken.setdefault(os.path.realpath(path), flag)) != flag:
            raise OptionError(f"{flag} '{path}' is {whose} too, which it would overwrite; choose another name")
        (check_record_writable if flag == "--record" else images.check_writable)(path)
    if files.gif and files.gif.suffix.lower() != ".gif":
        raise OptionError(f"--gif '{files.gif}' is no name of an animation; it must end in .gif")
    rehearse(files.output, files)


def rehearse(output: Path, files: Files) -> None:
    """Write a small picture elsewhere in the same manner: finds out what the format cannot do."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / f"trial{output.suffix}"
        images.write(trial, torch.zeros(1, 3, 8, 8), bits=files.bits, quality=files.quality)


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


# ---------------------------------------------------------------------------------------------------- when it ends early


def interruptible() -> AbstractContextManager[None]:
    """Let a request to terminate end painting as Ctrl-C does."""
    return _on_signals(signal.default_int_handler, signal.SIGTERM)


def undisturbed() -> AbstractContextManager[None]:
    """Let neither end the few moments in which the result is written."""
    return _on_signals(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM)


@contextmanager
def _on_signals(handler: Any, *signals: signal.Signals) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set
        yield
        return
    before = {each: signal.signal(each, handler) for each in signals}
    try:
        yield
    finally:
        for each, old in before.items():
            signal.signal(each, old)


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

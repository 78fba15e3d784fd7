"""Progress messages on standard error: a bar on a terminal, plain lines elsewhere."""

import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console

if TYPE_CHECKING:
    from impasto.optim.engine import Step

_SECONDS_BETWEEN_LINES = 2.0
_SECONDS_BETWEEN_FRAMES = 0.1


class Show(Protocol):
    """Callable that shows a step."""

    def __call__(self, step: "Step") -> None:
        """Show the progress."""


def message_console(*, quiet: bool, to_stderr: bool = True) -> Console:
    """Make the console for messages. It prints plain text without markup, and leaves wrapping to the terminal."""
    return Console(file=sys.stderr if to_stderr else sys.stdout, quiet=quiet, highlight=False, markup=False, soft_wrap=True)


def progress(console: Console, sizes: int) -> AbstractContextManager[Show]:
    """Show the steps of painting. On a terminal, show a bar; elsewhere, print lines.

    Args:
        console: the console; see :func:`message_console`.
        sizes: the number of sizes that are painted, from coarse to fine.
    """
    return bar(console, sizes) if console.is_terminal and not console.quiet else lines(console, sizes)


@contextmanager
def bar(console: Console, sizes: int) -> Iterator[Show]:
    """Show a bar with the elapsed share of the time, the size, the step and the losses."""
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    shown = 0.0
    whole, what_fits = Column(no_wrap=True), Column(no_wrap=True, overflow="ellipsis", ratio=1)
    columns = (
        TextColumn("{task.description}", table_column=whole),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[state]}", table_column=whole.copy()),
        TextColumn("{task.fields[losses]}", table_column=what_fits),
    )
    with Progress(*columns, console=console, auto_refresh=False, transient=True, expand=True) as drawn:
        task = drawn.add_task("encoding", total=1.0, state="", losses="")

        def show(step: "Step") -> None:
            nonlocal shown
            if step.note:
                console.print(step.note)
            if time.monotonic() - shown < _SECONDS_BETWEEN_FRAMES and step.number < step.total:
                return
            shown = time.monotonic()
            share = step.seconds / max(step.seconds + step.seconds_left, 1e-9)
            state, losses = f"{step.number}/{step.total} {time_left(step)}", losses_in_words(step.losses)
            drawn.update(task, description=place(step, sizes), completed=share, state=state, losses=losses, refresh=True)

        yield show


@contextmanager
def lines(console: Console, sizes: int) -> Iterator[Show]:
    """Print the first line when the remaining time can be estimated, and then a line about every two seconds."""
    printed = 0.0

    def show(step: "Step") -> None:
        nonlocal printed
        if step.note:
            console.print(step.note)
        if not math.isfinite(step.seconds_left) or time.monotonic() - printed < _SECONDS_BETWEEN_LINES:
            return
        printed = time.monotonic()
        where = f"{place(step, sizes)}, step {step.number} of {step.total}"
        console.print(f"{where}: {losses_in_words(step.losses)}; {time_left(step)}")

    yield show


def place(step: "Step", sizes: int) -> str:
    """Describe the size that is being painted."""
    height, width = step.image_size
    return f"size {step.scale + 1} of {sizes} ({width}x{height})"


def losses_in_words(losses: Mapping[str, float]) -> str:
    """Format the terms of the objective, from largest to smallest."""
    return ", ".join(f"{name} {value:.3g}" for name, value in sorted(losses.items(), key=lambda each: -abs(each[1])))


def time_left(step: "Step") -> str:
    """Format the remaining time once a few steps have been timed."""
    if not math.isfinite(step.seconds_left):
        return "timing the first steps"
    return f"about {duration(step.seconds_left)} left"


def duration(seconds: float) -> str:
    """Format a duration: ``8 s``, ``2 min 5 s``, ``1 h 10 min``.

    Example:
        >>> duration(8.2), duration(125), duration(4200)
        ('8 s', '2 min 5 s', '1 h 10 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def printable(text: str) -> str:
    r"""Replace the control characters in text from an untrusted file, because a terminal would execute them.

    Example:
        >>> printable("red \x1b[31m")
        'red  [31m'
    """
    return "".join(letter if letter.isprintable() else " " for letter in text)

"""Checkpoints of a long painting, for ``--resume``.

A checkpoint is a file next to the output. It contains the picture so far and its record.

After Ctrl-C, the picture is saved as the output itself. Checkpoints are for interruptions that leave no time to save, such as
``kill -9``, a power failure or running out of memory. The checkpoint is deleted when the painting is saved.
"""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from impasto import images
from impasto.cli.names import checkpoint_of
from impasto.errors import ImpastoError
from impasto.optim.engine import Step
from impasto.recipes.pastiche import Record

LONG_SECONDS = 60.0
"""Paintings that take longer than this get checkpoints."""
_SECONDS_TO_FIRST, _SECONDS_BETWEEN = 2.0, 20.0
_LARGEST_SHARE = 0.05
"""Writing checkpoints may take at most this share of the time."""


class CheckpointWriter:
    """Writer for the checkpoint of one painting.

    Args:
        output: the output of the painting; None disables checkpoints.
        record_of: takes a step and returns the record of a painting that is interrupted at this step.
        console: the console for messages.
    """

    def __init__(self, output: Path | None, record_of: Callable[[Step], Record], console: Console) -> None:
        self.path = None if output is None else checkpoint_of(output)
        self.record_of, self.console = record_of, console
        self.started = time.monotonic()
        self.due = self.started + _SECONDS_TO_FIRST
        self.last_message = ""

    def take(self, step: Step) -> None:
        """Write a checkpoint if one is due. A write error does not stop the painting."""
        now = time.monotonic()
        if self.path is None or now < self.due or step.number == step.total:
            return
        left = step.seconds_left if math.isfinite(step.seconds_left) else 0.0  # not known yet: assume a short painting
        if now - self.started + left < LONG_SECONDS:
            return
        try:
            images.write(self.path, step.image, record=self.record_of(step), bits=16)
            self._print_once(
                f"saving a checkpoint every {_SECONDS_BETWEEN:.0f} s: {self.path}; after an interruption, use --resume"
            )
        except ImpastoError as error:
            self._print_once(f"the checkpoint could not be saved: {error}")
        took = time.monotonic() - now
        self.due = time.monotonic() + max(_SECONDS_BETWEEN, took / _LARGEST_SHARE)

    def remove(self) -> None:
        """Delete the checkpoint after the painting is saved."""
        if self.path is not None:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _print_once(self, sentence: str) -> None:
        if sentence != self.last_message:
            self.console.print(sentence)
        self.last_message = sentence

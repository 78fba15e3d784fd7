"""The checkpoint of a long painting: the picture so far with its record, beside the output, to go on from with ``--resume``.

Whoever ends a painting by Ctrl-C finds the picture at the output. A checkpoint is for what gives no time to save: ``kill -9``,
a power cut, a machine without memory. It is gone once the painting is saved.
"""

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
"""A painting that takes longer than this has checkpoints."""
_SECONDS_TO_FIRST, _SECONDS_BETWEEN = 2.0, 20.0
_LARGEST_SHARE = 0.05
"""Of the time, at most, that writing checkpoints takes."""


class CheckpointWriter:
    """The checkpoint of one painting.

    Args:
        output: of the painting; None: it has no checkpoints.
        record_of: makes the record of the painting if it stopped at a step.
        console: where it is said.
    """

    def __init__(self, output: Path | None, record_of: Callable[[Step], Record], console: Console) -> None:
        self.path = None if output is None else checkpoint_of(output)
        self.record_of, self.console = record_of, console
        self.began = time.monotonic()
        self.due = self.began + _SECONDS_TO_FIRST
        self.said = ""

    def take(self, step: Step) -> None:
        """Write the picture of a step, if it is time; one that cannot be written does not stop the painting."""
        now = time.monotonic()
        if self.path is None or now < self.due or step.number == step.total:
            return
        if now - self.began + step.seconds_left < LONG_SECONDS:
            return
        try:
            images.write(self.path, step.image, record=self.record_of(step), bits=16)
            self._say(
                f"checkpoint, every {_SECONDS_BETWEEN:.0f} s: {self.path}; if painting is cut off, --resume goes on from it"
            )
        except ImpastoError as error:
            self._say(f"no checkpoint: {error}")
        took = time.monotonic() - now
        self.due = time.monotonic() + max(_SECONDS_BETWEEN, took / _LARGEST_SHARE)

    def remove(self) -> None:
        """Delete the checkpoint: the painting is saved."""
        if self.path is not None:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _say(self, sentence: str) -> None:
        if sentence != self.said:
            self.console.print(sentence)
        self.said = sentence

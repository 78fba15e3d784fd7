"""Progress, previews and checkpoints of a painting in a worker."""

import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from impasto import images
from impasto.errors import ImageFileError
from impasto.images import fitted_size, resize
from impasto.optim.engine import Step
from impasto.recipes.context import PaintingContext
from impasto.recipes.painting import run_recipe
from impasto.runtime.atomic import replacing
from impasto.studio.faults import fault
from impasto.studio.worker import Line, Message
from impasto.tensors import Image

_PREVIEW_PX = 512
_SECONDS_BETWEEN = {"progress": 0.25, "preview": 0.5, "checkpoint": 5.0, "sample": 60.0, "training": 30.0}
_SHARE_OF_TIME = {"progress": 1.0, "preview": 0.1, "checkpoint": 0.05, "sample": 0.05, "training": 0.05}


@dataclass
class PaintingState:
    """Progress of a painting over all its sessions.

    Attributes:
        picture: The picture in the checkpoint, (1, 3, height, width), or None at the start.
        scale: Index of the current size.
        here: Number of steps at the current size.
        done: Number of steps in earlier sessions.
        now: Number of steps in this session.
        before: Duration of earlier sessions in seconds.
        seconds: Duration of all sessions in seconds.
        interruptions: Number of times the painting was resumed.
    """

    picture: Image | None = None
    scale: int = 0
    here: int = 0
    done: int = 0
    now: int = 0
    before: float = 0.0
    seconds: float = 0.0
    interruptions: int = 0

    @classmethod
    def of(cls, order: Message) -> "PaintingState":
        """Return the state in the checkpoint of an order, or the initial state if there is no checkpoint file."""
        checkpoint, path = order.get("checkpoint"), Path(order["work"] + ".npy")
        if not checkpoint or not path.is_file():
            return cls()
        picture = read_checkpoint(path)[None]
        seconds = checkpoint["seconds"]
        return cls(
            picture,
            checkpoint["scale"],
            checkpoint["here"],
            checkpoint["done"],
            0,
            seconds,
            seconds,
            checkpoint["interruptions"] + 1,
        )

    def take(self, step: Step) -> None:
        """Count a step."""
        self.here = self.here + 1 if step.scale == self.scale else 1
        self.scale, self.now, self.seconds = step.scale, step.number, self.before + step.seconds

    def described(self, *, is_finished: bool) -> dict[str, Any]:
        """Return the numbers of steps, in the format of records and checkpoints."""
        found: dict[str, Any] = {"done": self.done + self.now, "scale": self.scale, "here": self.here, "finished": is_finished}
        return found | ({"interruptions": self.interruptions} if self.interruptions else {})


class Pace:
    """Schedule of a repeated action. It limits how often the action happens and its share of the total time."""

    def __init__(self, what: str) -> None:
        self.pause, self.share, self.due = _SECONDS_BETWEEN[what], _SHARE_OF_TIME[what], 0.0

    def is_due(self) -> bool:
        """Whether the action is due."""
        return time.monotonic() >= self.due

    def took(self, began: float) -> None:
        """Schedule the next action. Call this method after an action that began at the time ``began``."""
        now = time.monotonic()
        self.due = now + max(self.pause, (now - began) / self.share)


def painted(context: PaintingContext, state: PaintingState, order: Message, line: Line) -> Step | None:
    """Paint to the end and return the last step. If the parent requests a stop, save a checkpoint and return None."""
    pace = Pace("checkpoint")
    pace.took(time.monotonic())
    step: Step | None = None
    for step in _told(run_recipe(context), state, order, line):
        if step.number >= step.total or line.how == "finish":
            return step
        if line.how == "stop":
            _save(step, state, order, line)
            return None
        if pace.is_due():
            began = time.monotonic()
            _save(step, state, order, line)
            pace.took(began)
    return step


def followed(steps: Iterator[Step], order: Message, line: Line) -> Step | None:
    """Run steps that have no checkpoints and return the last step. Return None if the parent requests a stop."""
    step: Step | None = None
    for step in _told(steps, PaintingState(), order, line):
        if line.how and step.number < step.total:
            return None
    return step


def _told(steps: Iterator[Step], state: PaintingState, order: Message, line: Line) -> Iterator[Step]:
    """Count each step, report its progress and preview, and then yield it."""
    paces = {what: Pace(what) for what in ("progress", "preview")}
    for step in steps:
        state.take(step)
        preview = paces["preview"].is_due() or step.number >= step.total
        if preview:
            began = time.monotonic()
            preview = write_preview(Path(order["work"] + ".jpg"), step.image)
            paces["preview"].took(began)
        if preview or paces["progress"].is_due() or step.note:
            line.say("progress", progress=_progress(step, state), preview=preview)
            paces["progress"].took(time.monotonic())
        yield step


def _progress(step: Step, state: PaintingState) -> dict[str, Any]:
    share = step.seconds / max(step.seconds + step.seconds_left, 1e-9)
    return {
        "step": state.done + step.number,
        "steps": state.done + step.total,
        "share": round(share, 4) if math.isfinite(share) else 0.0,
        "size": [step.image_size[1], step.image_size[0]],
        "losses": {name: float(f"{value:.4g}") if math.isfinite(value) else None for name, value in step.losses.items()},
        "seconds": round(state.seconds, 1),
        "seconds_left": round(step.seconds_left, 1) if math.isfinite(step.seconds_left) else None,
        "note": step.note or step.failure,
    }


def write_preview(path: Path, image: Image, edge_px: int = _PREVIEW_PX) -> bool:
    """Write a small preview. If the disk is full, return False; the job continues."""
    small = image if max(picture_size(image)) <= edge_px else resize(image, fitted_size(picture_size(image), edge_px))
    try:
        images.write(path, small.detach().cpu(), quality=85)
    except ImageFileError as error:
        if not fault(error):
            raise
        return False
    return True


def _save(step: Step, state: PaintingState, order: Message, line: Line) -> None:
    """Save a checkpoint."""
    if not write_checkpoint(order, step.image[0]):
        return
    line.say(
        "checkpoint",
        checkpoint=state.described(is_finished=False) | {"seconds": state.seconds, "interruptions": state.interruptions},
    )


def write_checkpoint(order: Message, pixels: Tensor) -> bool:
    """Write the pixels of a checkpoint atomically, in half precision.

    Returns:
        False if the disk is full. In this case, the previous checkpoint is kept.
    """
    path = Path(order["work"] + ".npy")
    try:
        with replacing(path) as part, part.open("wb") as file:
            np.save(file, pixels.detach().cpu().numpy().astype(np.float16), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if not fault(error) and error.errno is not None:  # after a partial write, NumPy raises an error without errno
            raise
        return False
    return True


def read_checkpoint(path: Path) -> Tensor:
    """Read the pixels of a checkpoint."""
    with path.open("rb") as file:
        return torch.from_numpy(np.load(file, allow_pickle=False).astype(np.float32))


def picture_size(image: Image) -> tuple[int, int]:
    """Return (height, width)."""
    return image.shape[-2], image.shape[-1]

"""Previews of a painting in progress: a picture file that is updated, and the frames of an animation."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from impasto import images
from impasto.errors import ImpastoError
from impasto.images import fitted_size, resize
from impasto.optim.engine import Step


class Preview:
    """A picture file that is updated during painting, at most once a second. Updates take at most a tenth of the time."""

    def __init__(self, path: Path | None, console: Console) -> None:
        self.path, self.console, self.due = path, console, 0.0

    def show(self, step: Step) -> None:
        """Write the picture of a step if an update is due. After a write error, no more previews are written."""
        started = time.monotonic()
        if self.path is None or (started < self.due and step.number < step.total):
            return
        try:
            images.write(self.path, step.image)
        except ImpastoError as error:
            self.console.print(f"previews stopped: {error}")
            self.path = None
        self.due = time.monotonic() + max(1.0, 10 * (time.monotonic() - started))


@dataclass
class GifRecorder:
    """Recorder for frames of a painting. The frames are spaced evenly, however many steps there are."""

    most: int = 60
    edge_px: int = 480
    stride: int = 1
    seen: int = 0
    frames: list[Tensor] = field(default_factory=list)

    def add(self, image: Tensor) -> None:
        """Add a picture. The recorder keeps every ``stride``-th picture."""
        if self.seen % self.stride == 0:
            self.frames.append(self._small(image))
        self.seen += 1
        if len(self.frames) == self.most:
            self.frames = self.frames[::2]
            self.stride *= 2

    def save(self, path: Path, last: Tensor) -> None:
        """Save the animation, with ``last`` as its last frame."""
        frames = [*self.frames, self._small(last)]
        images.write_animation(path, (frame.float() / 255 for frame in frames), seconds_per_frame=0.1)

    def _small(self, image: Tensor) -> Tensor:
        size = (image.shape[-2], image.shape[-1])
        small = image if max(size) <= self.edge_px else resize(image, fitted_size(size, self.edge_px))
        return (small.cpu() * 255).round().to(torch.uint8)

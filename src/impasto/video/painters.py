"""Painters for frames: a brush, the instant painter with one style code for the whole clip, or ``temporal.PaintFrames``."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

import torch

from impasto.errors import OptionError, ShapeError
from impasto.images import Picture
from impasto.networks.brush_files import SUFFIX, shipped_brushes
from impasto.networks.foreign_brushes import is_foreign
from impasto.networks.johnson import Statistics
from impasto.options import Run
from impasto.options.brush import BrushOptions
from impasto.options.video import VideoOptions
from impasto.recipes import brush, instant_checks
from impasto.recipes.brush import BrushPainter
from impasto.recipes.checks import check_enough_pixels
from impasto.recipes.instant_painter import Earlier, InstantPainter, StyleCode, steady_painter
from impasto.recipes.painting import read_style
from impasto.recipes.pastiche import described
from impasto.recipes.starts import SMALLEST_SIDE, Style
from impasto.video.clips import Pixels
from impasto.video.flow import Array, Past
from impasto.video.frames import as_array, as_image
from impasto.video.shots import Shot
from impasto.video.temporal import PaintFrames, moved_results

_STYLE_PX = 2048
_WEIGHTS_SUFFIXES = (SUFFIX, ".pth", ".pt", ".model", ".safetensors")


class FramePainter(Protocol):
    """Painter for the frames of a clip, one after the other."""

    @property
    def follows(self) -> bool:
        """Whether each frame is painted from earlier results, so that a shot must be painted in order."""

    @property
    def keys(self) -> int:
        """Number of earlier key frames that :meth:`paint` uses, in addition to the previous frame."""

    @property
    def contrast(self) -> float:
        """Contrast of the strokes of a blend with the previous result, relative to the painted frame."""

    @property
    def identity(self) -> dict[str, str]:
        """The data on which the result depends, apart from the options: method, and hashes of the style and the network."""

    def check(self, size: tuple[int, int]) -> None:
        """Raise unless frames of a size (height, width) can be painted."""

    def look_at(self, shots: Iterable[Shot]) -> list[int]:
        """Analyze all shots before painting. Return the number of frames of each shot."""

    def paint(self, pixels: Pixels, shot: int, past: Sequence[Past] = ()) -> Array:
        """Paint a frame of a shot: (height, width, 3) in [0, 1]. ``past``: earlier frames of the shot, newest last."""


@dataclass
class BrushFrames:
    """Painter with a brush. All frames of a shot are normalized with the statistics of a few frames of the shot.

    Attributes:
        painter: the brush.
        strength: strength of the style, 0 to 1.
    """

    painter: BrushPainter
    follows: ClassVar[bool] = False
    keys: ClassVar[int] = 0
    contrast: ClassVar[float] = 1.0
    strength: float = 1.0
    _statistics: list[tuple[Statistics | None, ...]] = field(default_factory=list)
    _current: tuple[int, BrushPainter] | None = None

    @property
    def identity(self) -> dict[str, str]:
        """The data on which the result depends, apart from the options."""
        return {"method": "brush", "brush": self.painter.network.sha256}

    def check(self, size: tuple[int, int]) -> None:
        """Raise ResourceError unless the predicted memory is available."""
        brush.check_memory(self.painter, size, BrushOptions(strength=self.strength))

    def statistics(self, shot: int) -> tuple[Statistics | None, ...]:
        """Return the statistics of a shot that :meth:`look_at` has measured."""
        return self._statistics[shot]

    def with_statistics(self, statistics: tuple[Statistics | None, ...]) -> "BrushFrames":
        """Return a painter of a single shot, number 0, with statistics that were measured before."""
        return BrushFrames(self.painter, self.strength, [statistics])

    def look_at(self, shots: Iterable[Shot]) -> list[int]:
        """Measure the statistics of each shot."""
        counts = []
        for shot in shots:
            photos = torch.cat([as_image(each) for each in shot.samples])
            self._statistics.append(self.painter.statistics_of(photos))
            counts.append(shot.count)
        return counts

    def paint(self, pixels: Pixels, shot: int, past: Sequence[Past] = ()) -> Array:
        """Paint a frame of a shot."""
        if self._current is None or self._current[0] != shot:
            painter = self.painter.with_statistics(self._statistics[shot])
            self._current = shot, painter.for_size((pixels.shape[0], pixels.shape[1]))
        photo = as_image(pixels)
        painted = self._current[1].paint(photo)
        return as_array(painted if self.strength == 1 else torch.lerp(photo, painted, self.strength))


@dataclass
class InstantFrames:
    """Painter with the instant painter. The style is encoded once, and each frame continues the strokes of the previous one.

    Attributes:
        painter: the networks.
        code: the style code.
        style: name and hash of the style.
        stability: weight of the previous result, 0 (independent frames) to 1.
        strength: strength of the style, 0 to 1.
    """

    painter: InstantPainter
    code: StyleCode
    keys: ClassVar[int] = 0
    contrast: ClassVar[float] = 1.1  # without it, jurors find the strokes weaker than in single frames
    style: dict[str, str]
    stability: float = 0.0
    strength: float = 1.0

    @property
    def follows(self) -> bool:
        """Whether each frame is painted from the previous result."""
        return self.stability > 0

    @property
    def identity(self) -> dict[str, str]:
        """The data on which the result depends, apart from the options."""
        return {"method": "instant", "network": self.painter.network.sha256, **self.style}

    def check(self, size: tuple[int, int]) -> None:
        """Raise unless the frames are large enough and the predicted memory is available."""
        if min(size) < SMALLEST_SIDE:
            raise ShapeError(
                f"the frames are {size[1]}x{size[0]} pixels; both sides must be at least {SMALLEST_SIDE} for --method instant; "
                "use a larger clip, a larger --size, or a brush"
            )
        instant_checks.check_memory(size, self.painter.device)

    def look_at(self, shots: Iterable[Shot]) -> list[int]:
        """Count the frames of each shot."""
        return [shot.count for shot in shots]

    def paint(self, pixels: Pixels, shot: int, past: Sequence[Past] = ()) -> Array:
        """Paint a frame, given the result of the previous frame of the shot."""
        earlier = None
        if past and self.follows:
            moved, trust = moved_results(pixels, past, is_fine=False)
            earlier = Earlier(as_image(moved * 255), torch.from_numpy(self.stability * trust)[None, None])
        return as_array(self.painter.paint(as_image(pixels), self.code, strength=self.strength, earlier=earlier))


def load_painter(style: str | os.PathLike[str], options: VideoOptions, run: Run | None = None) -> FramePainter:
    """Load the painter of a style.

    Args:
        style: a brush or its name; for ``instant`` and ``paint``, a picture, a named style or its name.
        options: the options of the video.
        run: device and precision.

    Raises:
        ImpastoError: the style cannot be read, or cannot be used with the method.
    """
    style, run = os.fspath(style), run or Run()
    is_brush = _is_brush(style)
    if options.method == "brush" or (options.method == "auto" and is_brush):
        if options.method == "brush" and not is_brush and os.path.isfile(style) and Path(style).suffix not in _WEIGHTS_SUFFIXES:
            raise OptionError(
                f"style '{style}' is not a brush; give a .brush file or the name of a brush, or --method instant or paint"
            )
        return BrushFrames(_steady_painter(style, run), options.strength)
    if is_brush and os.path.isfile(style):
        raise OptionError(f"style '{style}' is a brush; use --method brush, or give a picture or the name of a style")
    return style_painter(read_style(style, longest_px=_STYLE_PX), options, run)


def style_painter(style: Style, options: VideoOptions, run: Run) -> "InstantFrames | PaintFrames":
    """Load the painter for a style: optimization for the method ``paint``, otherwise the instant painter.

    Raises:
        ImpastoError: the style is too small, or the network cannot be loaded.
    """
    if isinstance(style, Picture):
        check_enough_pixels("style", style, "style")
    if options.method == "paint":
        return PaintFrames(style, options.stability, options.strength, run)
    painter = steady_painter(run)
    return InstantFrames(painter, painter.encode(style), described(style), options.stability, options.strength)


def _is_brush(style: str) -> bool:
    if not os.path.isfile(style):
        return style in shipped_brushes()
    return Path(style).suffix in _WEIGHTS_SUFFIXES and (Path(style).suffix == SUFFIX or is_foreign(Path(style)))


def _steady_painter(style: str, run: Run) -> BrushPainter:
    """Load a brush with one engine for all frames; ``auto`` would paint the first frame with another engine."""
    painter = BrushPainter(style, run)
    return BrushPainter(style, run, painter.engines.engine)

"""Shots: the parts of a clip between cuts, with a few frames of each."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from impasto.video.clips import Frame, Pixels
from impasto.video.libraries import opencv

_THUMBNAIL = (64, 36)
_LEVELS = 4
"""Levels of each color in the histograms."""
_CUT_COLORS, _CUT_PIXELS = 0.35, 0.08
"""Thresholds of a cut: the share of the colors that change, and the mean change of a pixel."""
_MOST_SAMPLES = 4


@dataclass
class Shot:
    """A part of a clip without a cut.

    Attributes:
        count: number of frames.
        samples: a few of the frames, evenly spaced.

    Example:
        >>> shot = Shot()
        >>> for _ in range(20):
        ...     shot.add(np.zeros((8, 8, 3), np.uint8))
        >>> shot.count, len(shot.samples) <= 4
        (20, True)
    """

    count: int = 0
    samples: list[Pixels] = field(default_factory=list)
    _stride: int = 1

    def add(self, pixels: Pixels) -> None:
        """Add a frame. Every ``_stride``-th frame is kept; if there are too many, every second kept frame is removed."""
        if self.count % self._stride == 0:
            self.samples.append(pixels)
        self.count += 1
        if len(self.samples) > _MOST_SAMPLES:
            self.samples = self.samples[::2]
            self._stride *= 2


@dataclass(frozen=True)
class _Look:
    """The data that is compared to find cuts: a thumbnail in [0, 1], and the shares of its colors."""

    thumbnail: npt.NDArray[np.float32]
    colors: npt.NDArray[np.float64]


class CutFinder:
    """Detector for cuts: compares the colors and the pixels of thumbnails of successive frames.

    Example:
        >>> black, white = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)
        >>> finder = CutFinder()
        >>> [finder.is_cut(frame) for frame in (black, black, white)]
        [False, False, True]
    """

    def __init__(self) -> None:
        self._before: _Look | None = None

    def is_cut(self, pixels: Pixels) -> bool:
        """Return whether a new shot begins with this frame. The first frame of the clip is not a cut."""
        look, before = _look(pixels), self._before
        self._before = look
        if before is None:
            return False
        change = float(np.abs(look.thumbnail - before.thumbnail).mean())
        return change > _CUT_PIXELS and float(np.abs(look.colors - before.colors).sum()) / 2 > _CUT_COLORS


def shots(frames: Iterable[Frame]) -> Iterator[Shot]:
    """Yield the shots of a clip, in order. Only the samples of one shot are in memory at the same time.

    Args:
        frames: frames with pixels (height, width, 3), RGB, 0 to 255.

    Yields:
        Shots with at least one frame.

    Example:
        >>> black, white = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)
        >>> [shot.count for shot in shots([Frame(black, 0, 1), Frame(black, 1, 1), Frame(white, 2, 1)])]
        [2, 1]
    """
    finder, shot = CutFinder(), Shot()
    for frame in frames:
        if finder.is_cut(frame.pixels):
            yield shot
            shot = Shot()
        shot.add(frame.pixels)
    if shot.count:
        yield shot


def _look(pixels: Pixels) -> _Look:
    cv2 = opencv()
    small = cv2.resize(pixels, _THUMBNAIL, interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(small, (0, 0), 1.5)
    level = (smooth.astype(np.int64) * _LEVELS) >> 8
    bins = (level[..., 0] * _LEVELS + level[..., 1]) * _LEVELS + level[..., 2]
    colors = np.bincount(bins.ravel(), minlength=_LEVELS**3) / bins.size
    return _Look(smooth.astype(np.float32) / 255, colors)

"""Optical flow, and the blending of each frame with the previous result along it.

The flow is estimated on reduced frames (Kroeger et al. 2016, dense inverse search). A pixel of the previous result is used only
where the flow there and back agrees (Sundaram et al. 2010; the test of Ruder et al. 2016) and where the clip itself has the
same color; elsewhere the frame is painted anew.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from impasto.video.clips import Pixels
from impasto.video.libraries import opencv

Array = npt.NDArray[np.float32]

_FLOW_PX = 320
"""Longer side of the frames on which the flow is estimated."""
_SMALLEST_PX = 32
_KEY_DISTANCE = 8
"""Every eighth frame of a shot is a key frame."""
_MOST_KEPT = 0.95
"""Share of the previous result at stability 1."""
_SAME_COLOR = 0.06
"""Deviation of the clip's colors, in [0, 1], at which the share of the previous result falls to 1/e."""


@dataclass(frozen=True)
class Motion:
    """Where the pixels of a frame were in the frame before.

    Attributes:
        flow: (height, width, 2): columns and rows to add, to find the pixel in the frame before.
        trust: (height, width) in [0, 1]: 0 where the pixel was hidden or has changed.

    Example:
        >>> still = Motion(np.zeros((4, 6, 2), np.float32), np.ones((4, 6), np.float32))
        >>> still.flow.shape, still.trust.shape
        ((4, 6, 2), (4, 6))
    """

    flow: Array
    trust: Array


class Past(NamedTuple):
    """An earlier frame of the clip, and its result.

    Attributes:
        source: the frame of the clip.
        result: the painted frame.
        number: its number in the shot, from 0.

    Example:
        >>> frame = np.zeros((4, 6, 3), np.uint8)
        >>> Past(frame, 255 - frame, number=3).result.shape
        (4, 6, 3)
    """

    source: Pixels
    result: Pixels
    number: int


class Stabilizer:
    """Blends each painted frame with the previous result.

    Args:
        stability: 0 (frame by frame) to 1.
        keys: number of earlier key frames to keep, in addition to the previous frame.

    Attributes:
        past: the key frames of the shot and its last frame, newest last.

    Example:
        >>> stabilizer = Stabilizer(0.8)
        >>> frame = np.zeros((64, 96, 3), np.uint8)
        >>> _ = stabilizer.blend(frame, np.ones((64, 96, 3), np.float32))
        >>> int(stabilizer.blend(frame, np.zeros((64, 96, 3), np.float32)).mean()) > 100  # most of the previous result is kept
        True

    Source:
        A fast form of the temporal loss of Ruder, Dosovitskiy and Brox 2016 (arXiv:1604.08610).
    """

    def __init__(self, stability: float, keys: int = 0) -> None:
        self.kept, self.keys = _MOST_KEPT * stability, keys
        self.past: list[Past] = []

    def reset(self) -> None:
        """Forget the previous frames; call it at cuts."""
        self.past.clear()

    def blend(self, source: Pixels, painted: Array) -> Pixels:
        """Blend a painted frame with the previous result, and keep the blend for the next frame.

        Args:
            source: the frame of the clip.
            painted: the painted frame, (height, width, 3) in [0, 1].
        """
        if self.kept and self.past:
            motion = motion_between(self.past[-1].source, source)
            before = warped(self.past[-1].result, motion.flow).astype(np.float32) / 255
            painted = painted + (self.kept * motion.trust)[..., None] * (before - painted)
        return self.follow(source, (painted.clip(0, 1) * 255).round().astype(np.uint8))

    def follow(self, source: Pixels, result: Pixels) -> Pixels:
        """Keep a result that is blended already, and return it.

        Args:
            source: the frame of the clip.
            result: its result.
        """
        self._remember(source, result)
        return result

    def _remember(self, source: Pixels, result: Pixels) -> None:
        number = self.past[-1].number + 1 if self.past else 0
        keys = [each for each in self.past if each.number % _KEY_DISTANCE == 0]
        self.past = [*keys[max(0, len(keys) - self.keys) :], Past(source, result, number)]


def motion_between(before: Pixels, now: Pixels) -> Motion:
    """Estimate the motion between two frames of one size, (height, width, 3).

    Args:
        before: the earlier frame, (height, width, 3), 0 to 255.
        now: the frame.

    Returns:
        The motion in pixels, and where it can be trusted.

    Example:
        >>> import skimage.data
        >>> before, now = skimage.data.astronaut()[:96, 8:136].copy(), skimage.data.astronaut()[:96, 4:132].copy()
        >>> float(np.median(motion_between(before, now).flow[..., 0])).__round__()  # it moved by 4 pixels to the right
        -4

    Source:
        Kroeger et al. 2016 for the flow; Sundaram et al. 2010 and Ruder et al. 2016 for the test of its agreement.
    """
    cv2, (height, width) = opencv(), now.shape[:2]
    ratio = min(1.0, _FLOW_PX / max(height, width))
    size = (max(_SMALLEST_PX, round(width * ratio)), max(_SMALLEST_PX, round(height * ratio)))
    old, new = (cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in (before, now))
    back, forth = _flow(new, old), _flow(old, new)
    trust = _agreement(back, forth) * _same_color(old, new, back)
    flow = cv2.resize(back, (width, height)) * np.array([width / size[0], height / size[1]], np.float32)
    return Motion(flow, np.clip(cv2.resize(trust, (width, height)), 0, 1))


def warped(picture: Any, flow: Array) -> Any:
    """Return a picture whose pixels are taken from where they were; cubic interpolation keeps it sharp.

    Args:
        picture: (height, width, channels).
        flow: (height, width, 2), columns and rows to add.

    Returns:
        The picture, in the size of the flow.

    Example:
        >>> picture = np.arange(12, dtype=np.float32).reshape(3, 4, 1)
        >>> np.array_equal(warped(picture, np.zeros((3, 4, 2), np.float32)), picture[..., 0])
        True
    """
    cv2, (height, width) = opencv(), flow.shape[:2]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    places = (columns + flow[..., 0], rows + flow[..., 1])
    return cv2.remap(picture, *places, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _flow(one: Pixels, other: Pixels) -> Array:
    """Return where the pixels of a picture are in another one."""
    cv2 = opencv()
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    gray = (cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (one, other))
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # with several threads, the result depends on their timing
    try:
        found: Array = search.calc(*gray, None)
    finally:
        cv2.setNumThreads(threads)
    return found


def _agreement(back: Array, forth: Array) -> Array:
    """Return 1 where the flow there and back ends where it began, 0 elsewhere and outside of the picture."""
    cv2, (height, width) = opencv(), back.shape[:2]
    returned = back + warped(forth, back)
    gap, length = (returned**2).sum(-1), (back**2).sum(-1) + (warped(forth, back) ** 2).sum(-1)
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    x, y = columns + back[..., 0], rows + back[..., 1]
    inside = (x >= -0.5) & (y >= -0.5) & (x <= width - 0.5) & (y <= height - 0.5)
    agrees = (gap < 0.01 * length + 0.5) & inside
    found: Array = cv2.GaussianBlur(cv2.erode(agrees.astype(np.float32), np.ones((3, 3))), (3, 3), 0)
    return found


def _same_color(old: Pixels, new: Pixels, back: Array) -> Array:
    """Return how much the clip's own colors agree along the flow, in (0, 1]."""
    cv2 = opencv()
    change = np.abs(warped(old, back).astype(np.float32) - new.astype(np.float32)).max(-1) / 255
    found: Array = np.exp(-((cv2.GaussianBlur(change, (5, 5), 0) / _SAME_COLOR) ** 2))
    return found

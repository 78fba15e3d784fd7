"""Optical flow, and blending of each frame with the previous result along the flow.

The flow is estimated on reduced frames (Kroeger et al. 2016, dense inverse search). A pixel of the previous result is used only
if the forward and the backward flow agree (Sundaram et al. 2010; the test of Ruder et al. 2016), and if the color of the clip
has not changed. Other pixels are not blended. Blending weakens the strokes, so their contrast is restored afterwards.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from impasto.video.clips import Pixels
from impasto.video.flat_areas import continued_into_flat_areas
from impasto.video.libraries import opencv

Array = npt.NDArray[np.float32]

_FLOW_PX = 640
"""Longer side of the frames on which the flow is estimated."""
_MOST_ENLARGED, _SMOOTHNESS, _ITERATIONS = 2.0, 200.0, 15
"""For a fine flow: how much small frames are enlarged at most, and the weight of the smoothness and the number of iterations of
the refinement."""
_SMALLEST_PX = 32
_KEY_DISTANCE = 8
"""Every eighth frame of a shot is a key frame."""
_MOST_KEPT = 0.99
"""Share of the previous result at stability 1."""
_BANDS, _MOST_GAIN, _LEAST_VARIANCE = ((5, 25), (17, 37)), 2.0, 1e-7
"""For each size of details, the sides of the filters that separate them and that average their variance; the largest factor for
details; and a variance below which they hardly change."""
_OPPONENTS = np.array([[1, 1, 1], [1.5, 0, -1.5], [-0.75, 1.5, -0.75]], np.float32) / 3
"""Matrix from RGB to brightness and two differences of colors."""
_STRIP_ROWS, _STRIP_HALO, _THREADS = 192, 32, 2
"""Contrast is restored in strips, which saves memory: their rows, the rows around them that affect the result, and how many are
computed at the same time."""
_TOLERANCE, _LEAST_TOLERANCE = 5e-6, 0.5
"""Squared distance by which the two flows may differ, in addition to 1 % of their squared lengths: as a share of the squared
longer side of the frame, and its minimum in squared pixels."""
_SAME_COLOR = 0.06
"""Color difference in the clip, in [0, 1], at which the share of the previous result decreases to 1/e."""


@dataclass(frozen=True)
class Motion:
    """The locations of a frame's pixels in the previous frame.

    Attributes:
        flow: (height, width, 2): columns and rows to add to find the pixel in the previous frame.
        trust: weight of each pixel, (height, width) in [0, 1]: 0 where the pixel was hidden or has changed.

    Example:
        >>> still = Motion(np.zeros((4, 6, 2), np.float32), np.ones((4, 6), np.float32))
        >>> still.flow.shape, still.trust.shape
        ((4, 6, 2), (4, 6))
    """

    flow: Array
    trust: Array


class Past(NamedTuple):
    """An earlier frame of the clip and its result.

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
        stability: 0 (independent frames) to 1.
        keys: number of earlier key frames to keep, in addition to the previous frame.
        contrast: contrast of the strokes of the blend, relative to the painted frame.

    Attributes:
        past: the key frames of the shot and the last frame, newest last.

    Example:
        >>> stabilizer = Stabilizer(0.8)
        >>> frame = np.zeros((64, 96, 3), np.uint8)
        >>> _ = stabilizer.blend(frame, np.ones((64, 96, 3), np.float32))
        >>> int(stabilizer.blend(frame, np.zeros((64, 96, 3), np.float32)).mean()) > 100  # most of the previous result is kept
        True

    Source:
        A fast form of the temporal loss of Ruder, Dosovitskiy and Brox 2016 (arXiv:1604.08610).
    """

    def __init__(self, stability: float, keys: int = 0, contrast: float = 1.0) -> None:
        self.kept, self.keys, self.contrast = _MOST_KEPT * stability, keys, contrast
        self.past: list[Past] = []

    def reset(self) -> None:
        """Discard the previous frames. Call this method at cuts."""
        self.past.clear()

    def blend(self, source: Pixels, painted: Array) -> Pixels:
        """Blend a painted frame with the previous result, and store the blend for the next frame.

        Args:
            source: the frame of the clip.
            painted: the painted frame, (height, width, 3) in [0, 1].

        Returns:
            The blend with the contrast of the painted frame. The stored blend has less contrast, because some strokes would
            grow from frame to frame. With ``keys``, the painter continues the strokes of earlier results, and the contrast is
            not changed.
        """
        if not (self.kept and self.past):
            return self.follow(source, _bytes_of(painted))
        motion = motion_between(self.past[-1].source, source, is_fine=self.keys > 0)
        blend = warped(self.past[-1].result, motion.flow).astype(np.float32) / 255
        blend -= painted
        blend *= (self.kept * motion.trust)[..., None]
        blend += painted
        result = self.follow(source, _bytes_of(blend))
        return result if self.keys else _bytes_of(with_contrast_of(painted, blend, self.contrast))

    def follow(self, source: Pixels, result: Pixels, stored: Pixels | None = None) -> Pixels:
        """Keep a result that is blended already, and return it.

        Args:
            source: the frame of the clip.
            result: its result.
            stored: the blend to store for the next frame, if it is not the result.
        """
        self._remember(source, result if stored is None else stored)
        return result

    def _remember(self, source: Pixels, result: Pixels) -> None:
        number = self.past[-1].number + 1 if self.past else 0
        keys = [each for each in self.past if each.number % _KEY_DISTANCE == 0]
        self.past = [*keys[max(0, len(keys) - self.keys) :], Past(source, result, number)]


def _bytes_of(picture: Array) -> Pixels:
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)


def with_contrast_of(painted: Array, blend: Array, contrast: float = 1.0) -> Array:
    """Increase the contrast of a blend's details to that of the painted frame.

    A blend has weaker strokes than the frames, because the strokes of two frames differ and resampling blurs them.

    Args:
        painted: the painted frame, (height, width, 3) in [0, 1].
        blend: its blend with the previous result.
        contrast: the wanted contrast of details, relative to the painted frame.

    Returns:
        The blend. Its details of two sizes are multiplied by factors from 1 to twice the contrast, so that their standard
        deviation is about ``contrast`` times that of the painted frame nearby, in brightness and in each of two differences
        of colors.

    Example:
        >>> painted = np.random.default_rng(0).random((32, 32, 3), np.float32)
        >>> blend = 0.7 * painted + 0.15
        >>> float(abs(with_contrast_of(painted, blend).std() / painted.std() - 1)) < 0.05
        True
    """
    found: Array = np.empty_like(blend)

    def restore(top: int) -> None:
        bottom, first = top + _STRIP_ROWS, max(0, top - _STRIP_HALO)
        halo = slice(first, bottom + _STRIP_HALO)
        found[top:bottom] = _with_contrast_of(painted[halo], blend[halo], contrast)[top - first : bottom - first]

    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(restore, range(0, len(blend), _STRIP_ROWS)))
    return found


def _with_contrast_of(painted: Array, blend: Array, contrast: float) -> Array:
    cv2 = opencv()
    rest, wanted = (cv2.transform(each, _OPPONENTS) for each in (blend, painted))
    found: Array = np.zeros_like(rest)
    for side, near in _BANDS:
        smooth, smooth_wanted = (cv2.stackBlur(each, (side, side)) for each in (rest, wanted))
        details, details_wanted = rest - smooth, wanted - smooth_wanted
        variance, variance_wanted = (
            cv2.blur(each * each, (near, near)) + _LEAST_VARIANCE for each in (details, details_wanted)
        )
        found += details * (contrast * np.sqrt(variance_wanted / variance)).clip(1, contrast * _MOST_GAIN)
        rest, wanted = smooth, smooth_wanted
    result: Array = cv2.transform(found + rest, np.linalg.inv(_OPPONENTS))
    return result


def motion_between(before: Pixels, now: Pixels, *, is_fine: bool = False) -> Motion:
    """Estimate the motion between two frames of the same size, (height, width, 3).

    Args:
        before: the earlier frame, (height, width, 3), 0 to 255.
        now: the later frame.
        is_fine: estimate the flow more precisely and slower: enlarge small frames, refine a smoother flow more often, and
            continue it into areas without texture.

    Returns:
        The motion in pixels, and the weight of each pixel.

    Example:
        >>> import skimage.data
        >>> before, now = skimage.data.astronaut()[:96, 8:136].copy(), skimage.data.astronaut()[:96, 4:132].copy()
        >>> float(np.median(motion_between(before, now).flow[..., 0])).__round__()  # it moved by 4 pixels to the right
        -4

    Source:
        Kroeger et al. 2016 for the flow; Sundaram et al. 2010 and Ruder et al. 2016 for the forward-backward consistency check.
    """
    cv2, (height, width) = opencv(), now.shape[:2]
    ratio = min(_MOST_ENLARGED if is_fine else 1.0, _FLOW_PX / max(height, width))
    size = (max(_SMALLEST_PX, round(width * ratio)), max(_SMALLEST_PX, round(height * ratio)))
    by = cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC
    old, new = (cv2.resize(each, size, interpolation=by) for each in (before, now))
    back, forth = _flows(old, new, is_fine=is_fine)
    half = (size[0] // 2, size[1] // 2)  # enough for colors, which are blurred anyway
    small_old, small_new = (cv2.resize(each, half, interpolation=cv2.INTER_AREA) for each in (old, new))
    small_back = _resized_flow(back, half)
    trust = _agreement(back, forth) * cv2.resize(_same_color(small_old, small_new, small_back), size)
    if is_fine:
        change = continued_into_flat_areas(small_old, small_new, small_back, cv2.resize(trust, half)) - small_back
        back += _resized_flow(change, size)
    return Motion(_resized_flow(back, (width, height)), np.clip(cv2.resize(trust, (width, height)), 0, 1))


def warped(picture: Any, flow: Array) -> Any:
    """Move a picture along the flow: each pixel is read at its earlier location, with cubic interpolation to keep it sharp.

    Args:
        picture: (height, width, channels).
        flow: (height, width, 2), columns and rows to add.

    Returns:
        The picture, with the size of the flow.

    Example:
        >>> picture = np.arange(12, dtype=np.float32).reshape(3, 4, 1)
        >>> np.array_equal(warped(picture, np.zeros((3, 4, 2), np.float32)), picture[..., 0])
        True
    """
    cv2 = opencv()
    places = _grid(flow.shape[0], flow.shape[1]) + flow
    return cv2.remap(picture, places, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _resized_flow(flow: Array, size: tuple[int, int]) -> Array:
    """Resize a flow to a (width, height), and scale it accordingly."""
    found: Array = opencv().resize(flow, size)
    return found * np.array([size[0] / flow.shape[1], size[1] / flow.shape[0]], np.float32)


@lru_cache(maxsize=4)
def _grid(height: int, width: int) -> Array:
    """Return the column and the row of each pixel: (height, width, 2)."""
    return np.stack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)), -1)


def _flows(old: Pixels, new: Pixels, *, is_fine: bool) -> tuple[Array, Array]:
    """Return the flow from the new picture to the old one, and the reverse flow. Both are computed in parallel."""
    cv2 = opencv()
    threads = cv2.getNumThreads()
    try:
        with ThreadPoolExecutor(1) as other:
            forth = other.submit(_flow, old, new, is_fine=is_fine)
            return _flow(new, old, is_fine=is_fine), forth.result()
    finally:
        cv2.setNumThreads(threads)


def _flow(one: Pixels, other: Pixels, *, is_fine: bool) -> Array:
    """Return the flow from one picture to another."""
    cv2 = opencv()
    cv2.setNumThreads(1)  # with several threads, the result depends on their timing
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    if is_fine:
        search.setVariationalRefinementAlpha(_SMOOTHNESS)
        search.setVariationalRefinementIterations(_ITERATIONS)
    found: Array = search.calc(*(cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (one, other)), None)
    return found


def _agreement(back: Array, forth: Array) -> Array:
    """Return 1 where following the flow forward and backward leads back to the same pixel; otherwise 0."""
    cv2, (height, width) = opencv(), back.shape[:2]
    places = _grid(height, width) + back
    returned = cv2.remap(forth, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    gap, length = _squared(back + returned), _squared(back) + _squared(returned)
    x, y = places[..., 0], places[..., 1]
    inside = (x >= -0.5) & (y >= -0.5) & (x <= width - 0.5) & (y <= height - 0.5)
    tolerance = max(_LEAST_TOLERANCE, _TOLERANCE * max(height, width) ** 2)
    agrees = (gap < 0.01 * length + tolerance) & inside
    found: Array = cv2.GaussianBlur(cv2.erode(agrees.astype(np.float32), np.ones((3, 3))), (3, 3), 0)
    return found


def _squared(flow: Array) -> Array:
    found: Array = flow[..., 0] ** 2 + flow[..., 1] ** 2
    return found


def _same_color(old: Pixels, new: Pixels, back: Array) -> Array:
    """Return how well the clip's colors agree along the flow, in (0, 1].

    A color counts as changed only if it is outside the range of the 3 x 3 earlier pixels around it. Otherwise, edges that move
    by less than a pixel would count as changed.
    """
    cv2, near = opencv(), np.ones((3, 3))
    moved = warped(old, back)
    beyond = cv2.max(cv2.subtract(cv2.erode(moved, near), new), cv2.subtract(new, cv2.dilate(moved, near)))
    change = beyond.max(-1).astype(np.float32) / 255
    found: Array = np.exp(-((cv2.GaussianBlur(change, (5, 5), 0) / _SAME_COLOR) ** 2))
    return found

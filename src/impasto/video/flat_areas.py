"""Optical flow of areas without texture, such as skies.

There, the estimated flow is arbitrary, because every motion shows the same colors. The flow of textured pixels of similar color
is continued instead: a weighted linear regression at each place, from which pixels of other motions are left out.
"""

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from impasto.video.clips import Pixels
from impasto.video.libraries import opencv

Array = npt.NDArray[np.float32]
Float = npt.NDArray[np.float64]

_CELL_PX, _MOST_SAMPLES = 8, 800
"""Sides of the cells in which the flow is estimated, and the largest number of textured pixels."""
_WINDOW_PX, _LEAST_TEXTURE, _LEAST_SHARE, _FEWEST_SAMPLES = 9, 8e-5, 0.3, 50
"""Texture is the smaller eigenvalue of the structure tensor in a window. Its value at which a pixel counts by half; the share
from which pixels are used; and the fewest pixels that are enough."""
_COLOR_BLUR, _SIMILAR_COLOR, _REACH_PX = 6.0, 0.07, 200.0
"""Sigma of the blur of the compared colors, and the standard deviations of the weights, in colors and in pixels."""
_LEAST_SUPPORT, _RIDGE = 3.0, 0.006
"""Sum of weights at which the estimate counts by half, and the weight of the regularization of the slopes."""
_TINY = 1e-9
_SAME_MOTION_PX = (1.0, 0.5, 0.25)
"""Standard deviations of the weights in motion, for each repetition of the regression."""
_FRAME_BLUR, _ERROR_BLUR, _WORSE = 1.0, 12.0, 1e-5
"""Sigmas of the blurs of the frames and of their squared difference, and the increase of this difference at which the share of
the estimate decreases to 1/e."""


def continued_into_flat_areas(old: Pixels, new: Pixels, back: Array, trust: Array) -> Array:
    """Replace the flow of areas without texture by that of textured pixels of similar color.

    The estimate is used only where the frames agree along it as well as along the given flow.

    Args:
        old: the earlier frame, (height, width, 3), about 320 pixels wide.
        new: the later frame.
        back: the flow from the later frame to the earlier one, (height, width, 2).
        trust: the weight of each pixel, (height, width) in [0, 1].

    Returns:
        The flow.

    Example:
        >>> scene = np.full((161, 322, 3), 128, np.uint8)  # with texture on the left half only
        >>> scene[:, :160] = np.random.default_rng(0).integers(98, 159, (161, 160, 1))
        >>> old, new = scene[:160, :320].copy(), scene[1:, 2:].copy()
        >>> back = np.zeros((160, 320, 2), np.float32)
        >>> back[:, :158] = 2, 1
        >>> continued_into_flat_areas(old, new, back, np.ones((160, 320), np.float32))[80, 240].round(1).tolist()
        [2.0, 1.0]
    """
    cv2, (height, width) = opencv(), back.shape[:2]
    share = _texture_share(new) * trust
    rows, columns = np.nonzero(share > _LEAST_SHARE)
    if len(rows) < _FEWEST_SAMPLES:
        return back
    some = np.linspace(0, len(rows) - 1, min(len(rows), _MOST_SAMPLES)).astype(int)
    samples = np.stack([rows[some], columns[some]], -1)
    grid = [np.arange(_CELL_PX // 2, side, _CELL_PX) for side in (height, width)]
    cells = np.stack(np.meshgrid(*grid, indexing="ij"), -1).reshape(-1, 2)
    color = cv2.GaussianBlur(new.astype(np.float32) / 255, (0, 0), _COLOR_BLUR)
    places = [np.concatenate([color[tuple(at.T)] / _SIMILAR_COLOR, at / _REACH_PX], -1) for at in (cells, samples)]
    weights = np.exp(-cdist(*places, "sqeuclidean") / 2) * share[tuple(samples.T)]
    found, support = _regression(cells / _REACH_PX, samples / _REACH_PX, back[tuple(samples.T)].astype(np.float64), weights)
    shape = (len(grid[0]), len(grid[1]))
    estimate = cv2.resize(found.astype(np.float32).reshape(*shape, 2), (width, height))
    weight = cv2.resize((support / (support + _LEAST_SUPPORT)).astype(np.float32).reshape(shape), (width, height))
    continued = back + ((1 - share) * weight)[..., None] * (estimate - back)
    worse = _difference(old, new, continued) - _difference(old, new, back)
    result: Array = back + np.exp(-worse.clip(0) / _WORSE)[..., None] * (continued - back)
    return result


def _texture_share(pixels: Pixels) -> Array:
    """Return how far each pixel has texture in two directions, in [0, 1)."""
    cv2 = opencv()
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    texture = cv2.cornerMinEigenVal(gray, _WINDOW_PX, ksize=3).clip(0)
    found: Array = texture / (texture + _LEAST_TEXTURE)
    return found


def _regression(cells: Float, samples: Float, flow: Float, weights: Float) -> tuple[Float, Float]:
    """Estimate the flow in cells by a weighted linear regression over samples, without samples of other motions.

    Args:
        cells: their places, (cells, 2).
        samples: places with a known flow, (samples, 2).
        flow: their flow, (samples, 2).
        weights: weight of each sample in each cell, (cells, samples).

    Returns:
        The flow, (cells, 2), and the sum of the weights of the samples of the same motion, (cells,).

    Source:
        Iteratively reweighted least squares with a Gaussian weight that becomes narrower (Welsch's function).
    """
    products = [(a[:, :, None] * b[:, None, :]).reshape(-1, 4) for a, b in ((samples, samples), (samples, flow))]
    now = weights
    for deviation in (*_SAME_MOTION_PX, None):
        total = now.sum(1)
        place, motion, variance, covariance = (now @ each / (total + _TINY)[:, None] for each in (samples, flow, *products))
        variance = variance.reshape(-1, 2, 2) - place[:, :, None] * place[:, None, :]
        covariance = covariance.reshape(-1, 2, 2) - place[:, :, None] * motion[:, None, :]
        slopes = np.linalg.solve(variance + _RIDGE * np.eye(2), covariance)
        constant = motion - (place[:, None, :] @ slopes)[:, 0]
        if deviation is not None:
            squared = sum((flow[:, i] - constant[:, i, None] - slopes[:, :, i] @ samples.T) ** 2 for i in (0, 1))
            now = weights * np.exp(-squared / (2 * deviation**2))
    return constant + (cells[:, None, :] @ slopes)[:, 0], total


def _difference(old: Pixels, new: Pixels, back: Array) -> Array:
    """Return the squared difference of two frames along a flow, averaged nearby: (height, width)."""
    cv2 = opencv()
    rows, columns = np.indices(back.shape[:2], np.float32)
    smooth_old, smooth_new = (cv2.GaussianBlur(each.astype(np.float32) / 255, (0, 0), _FRAME_BLUR) for each in (old, new))
    moved = cv2.remap(
        smooth_old, columns + back[..., 0], rows + back[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    found: Array = cv2.GaussianBlur(((moved - smooth_new) ** 2).sum(-1), (0, 0), _ERROR_BLUR)
    return found

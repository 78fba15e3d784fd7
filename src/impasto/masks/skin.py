"""Skin and face detection without downloaded models; in case of doubt, a position counts as skin.

Missed skin would be painted over, while a false detection only keeps more of the photo. So the result is the union of several
rules. Skin has its typical color only in white light, so several corrections for the color of the light are tried. Gaps
between nearby skin areas are probably skin in other light and are included.

Source: the range of hues is widened from Chai and Ngan 1999; Land and McCann 1971 for "the brightest is white", Buchsbaum 1980
for "the mean is gray", Finlayson and Trezzi 2004 for values between the two (shades of gray); Liao et al. 2007 for the
face cascade included in scikit-image. The rules and the limits of their areas are our own.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from impasto.color.transfer import from_linear, to_linear
from impasto.images import resize
from impasto.masks.superpixels import downscaled, without_holes, without_specks
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import Image, Mask

Array = npt.NDArray[Any]
_EDGE_PX, _FACES_EDGE_PX = 480, 320
_LIKELY, _GUESSED, _ENOUGH = 0.5, 0.35, 0.4
"""Maximum shares of the photo that count as skin. A rule that is based on a likely color of the light is used only if it finds
less than ``_LIKELY``. Any other rule is used only if it finds less than ``_GUESSED`` and the total area with it stays below
``_ENOUGH``."""


@in_known_state
def skin(photo: Image) -> Mask:
    """Find skin and faces. False positives are preferred, so sand and wood with the color of skin are included."""
    small = downscaled(photo, _EDGE_PX)
    faces = face_ellipses(photo, grow=1.0, size=small.shape[:2])
    colored = skin_colored(small, face_ellipses(photo, grow=0.45, size=small.shape[:2]))
    found = _closed(without_specks(colored.astype(np.float32), 0.00002) > 0) | faces
    found = without_holes(found.astype(np.float32), 0.01)
    mask = torch.from_numpy(found)[None, None]
    reach = max(2, round(0.01 * max(small.shape[:2])))
    grown = F.max_pool2d(mask, 2 * reach + 1, 1, reach)
    soft = F.avg_pool2d(F.pad(grown, (reach,) * 4, mode="replicate"), 2 * reach + 1, 1)
    size = (photo.shape[-2], photo.shape[-1])
    return torch.maximum(resize(mask, size), resize(soft, size)).clamp(0, 1)


def skin_colored(small: Array, faces: Array) -> Array:
    """Return where a picture may have the color of skin.

    Args:
        small: (height, width, 3) in [0, 1].
        faces: (height, width), True at the centers of faces; their color counts as the color of skin.
    """
    found = _is_warm_enough(small)
    for light in _lights(small)[-2:]:
        likely = _is_warm_enough(_in_white_light(small, light))
        if likely.mean() < _LIKELY:
            found = found | likely
    for guess in sorted(_guesses(small, faces), key=np.count_nonzero):
        if guess.mean() < _GUESSED and (found | guess).mean() < _ENOUGH:
            found = found | guess
    return np.asarray(found)


def _guesses(small: Array, faces: Array) -> Iterator[Array]:
    """Yield the skin areas that the less reliable rules find."""
    for light in _lights(small)[:-2]:
        yield _is_warm(_in_white_light(small, light))
    lab = _lab(small)
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    yield (lab[..., 0] > 10) & (lab[..., 1] > 4) & (chroma < 30) & (_hue(lab) > -75) & (_hue(lab) <= -20)  # violet light
    yield like_the_faces(small, faces, 12.0)


def like_the_faces(small: Array, faces: Array, furthest: float) -> Array:
    """Return where a picture has the color of its faces, (height, width); nowhere if there are no faces."""
    if not faces.any():
        return faces
    lab = _lab(small)
    found: Array = np.linalg.norm(lab[..., 1:] - np.median(lab[faces][:, 1:], axis=0), axis=-1) < furthest
    return found


def _is_warm_enough(small: Array) -> Array:
    """Return where a picture is warm; if more than half of it is warm (a wooden room, a desert), exclude the paler areas."""
    found = _is_warm(small)
    return found & _is_warm(small, least_chroma=12.0) if found.mean() > 0.5 else found


def _is_warm(small: Array, least_chroma: float = 6.0) -> Array:
    """Return where the hue is between rose and yellow, and the chroma is neither near zero nor as high as that of paint."""
    lab = _lab(small)
    chroma, hue = np.hypot(lab[..., 1], lab[..., 2]), _hue(lab)
    return np.asarray((lab[..., 0] > 8) & (chroma > least_chroma) & (chroma < 60) & (hue > -25) & (hue < 95))


def _lab(small: Array) -> Array:
    """Convert a picture to CIELAB, with pixel noise removed."""
    from scipy.ndimage import uniform_filter
    from skimage.color import rgb2lab

    lab: Array = rgb2lab(np.clip(uniform_filter(small, (3, 3, 0)), 0, 1))
    return lab


def _hue(lab: Array) -> Array:
    """Return the hue in degrees: 0 is rose, 90 yellow, -60 violet."""
    hue: Array = np.degrees(np.arctan2(lab[..., 2], lab[..., 1]))
    return hue


def _lights(small: Array) -> list[Array]:
    """Return candidate colors of the light in a photo, in linear RGB; the last two are the likeliest."""
    linear = _linear(small)
    exposed = linear[small.max(-1) < 0.98]
    pixels = exposed if len(exposed) > 100 else linear.reshape(-1, 3)
    mean = pixels.mean(0)
    half = np.sqrt(mean * mean.mean())
    return [
        np.maximum(light, 1e-4) for light in (half, mean, (pixels**6).mean(0) ** (1 / 6), np.percentile(pixels, 97, axis=0))
    ]


def _in_white_light(small: Array, light: Array) -> Array:
    """Correct the colors of a picture so that the given light becomes white."""
    linear = _linear(small) * (light.mean() / light)
    exposed = np.clip(linear / max(1.0, float(np.percentile(linear, 99.5))), 0, 1)
    corrected: Array = from_linear(torch.from_numpy(exposed)).numpy()
    return corrected


def _linear(small: Array) -> Array:
    light: Array = to_linear(torch.from_numpy(small)).numpy()
    return light


def _closed(found: Array) -> Array:
    """Close gaps between nearby skin areas, such as the palm between fingers and wrist."""
    from scipy.ndimage import distance_transform_edt

    if not found.any():
        return found
    reach = 0.02 * max(found.shape)
    padded = np.pad(found, round(reach) + 1)
    near = distance_transform_edt(~padded) <= reach
    closed = distance_transform_edt(near) > reach
    inner = round(reach) + 1
    return np.asarray(closed[inner:-inner, inner:-inner] | found)


@in_known_state
def face_ellipses(photo: Image, grow: float, size: tuple[int, int] | None = None) -> Array:
    """Detect frontal faces and return them as ellipses.

    Args:
        photo: (1, 3, height, width) in [0, 1].
        grow: scale of the ellipses; 1 includes the hair, 0.45 covers the center of the face.
        size: (height, width) of the result; None: the size of the downscaled photo.
    """
    small = np.ascontiguousarray(downscaled(photo, _FACES_EDGE_PX))
    height, width = size or small.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    down_by, right_by = height / small.shape[0], width / small.shape[1]
    found = np.zeros((height, width), bool)
    for top, left, face_height, face_width in _face_boxes(small.tobytes(), small.shape):
        down = (rows / down_by - top - 0.5 * face_height) / (0.85 * face_height * grow)
        right = (columns / right_by - left - 0.5 * face_width) / (0.7 * face_width * grow)
        found |= down**2 + right**2 < 1
    return found


@lru_cache(maxsize=4)
def _face_boxes(data: bytes, shape: tuple[int, int, int]) -> list[tuple[int, int, int, int]]:
    """Return (top, left, height, width) of the faces in a small photo, detected from luminance."""
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    shortest = min(shape[:2])
    if shortest < 48:
        return []
    cascade = Cascade(lbp_frontal_face_cascade_filename())  # type: ignore[no-untyped-call]
    boxes = cascade.detect_multi_scale(
        np.ascontiguousarray((np.frombuffer(data).reshape(shape) * 255).astype(np.uint8)),
        scale_factor=1.2,
        step_ratio=1,
        min_size=(max(24, shortest // 10),) * 2,
        max_size=(shortest, shortest),
    )
    return [(box["r"], box["c"], box["height"], box["width"]) for box in boxes]

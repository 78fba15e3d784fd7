"""Rendered clips whose motion is known exactly: layers of photos of scikit-image that move before a camera.

Each layer has a matrix for each frame, which maps its pixels to those of the frame. So the place of each pixel in the frame
before is known, and so is whether it was hidden there. Sizes and speeds are given for frames of 640 × 360 pixels.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import skimage.data

from impasto.video.clips import Pixels
from impasto.video.flow import Motion

WIDTH, HEIGHT, RATE = 640, 360, 24
_EDGE_PX = 5
"""Pixels this close to the outline of a layer are not compared: they show two layers."""

Array = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Layer:
    """A picture that moves: its pixels, (height, width, 3), its opacity in [0, 1], and its matrix (3, 3) at a frame."""

    pixels: Pixels
    opacity: Array
    matrix: Callable[[int], Matrix]


@dataclass(frozen=True)
class Scene:
    """Layers, from back to front."""

    name: str
    layers: tuple[Layer, ...]


def scenes() -> tuple[Scene, ...]:
    """Return three scenes: a pan with parallax, a rotation with zoom, and an object that moves before a background."""
    return (_pan(), _rotation(), _object())


def rendered(scene: Scene, path: Path, count: int, width: int = WIDTH) -> Path:
    """Write a clip of a scene."""
    return written((_frame(scene, number, width)[0] for number in range(count)), path)


def written(pictures: Iterator[Pixels], path: Path, crf: int = 16) -> Path:
    """Write a clip. By default, the compression adds the usual noise."""
    first = next(pictures)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"crf": str(crf)})
        stream.height, stream.width, stream.pix_fmt = *first.shape[:2], "yuv420p"
        for pixels in chain((first,), pictures):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def exact_motions(scene: Scene, count: int, width: int = WIDTH) -> Iterator[Motion]:
    """Yield the motion of each frame after the first one. Its trust is 1 where the pixel was visible in the frame before."""
    _, before = _frame(scene, 0, width)
    for number in range(1, count):
        _, tops = _frame(scene, number, width)
        yield _motion(scene, number, (before, tops))
        before = tops


# ------------------------------------------------------------------------------------------------------- rendering


def _frame(scene: Scene, number: int, width: int) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Return a frame, and the number of the layer that each pixel shows."""
    size = (width, round(width * HEIGHT / WIDTH))
    frame, tops = np.zeros((size[1], size[0], 3)), np.full((size[1], size[0]), -1)
    for index, layer in enumerate(scene.layers):
        matrix = _scaled(layer.matrix(number), width)[:2]
        painted = cv2.warpAffine(layer.pixels, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        opacity = cv2.warpAffine(layer.opacity, matrix, size, flags=cv2.INTER_LINEAR)[..., None]
        frame = frame + opacity * (painted - frame)
        tops[opacity[..., 0] > 0.5] = index
    return frame.clip(0, 255).round().astype(np.uint8), tops


def _motion(scene: Scene, number: int, tops: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]) -> Motion:
    """Return where the pixels of a frame were, from the layers that the frame before and the frame show."""
    before, now = tops
    height, width = now.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    flow, seen = np.zeros((height, width, 2), np.float32), np.zeros((height, width), bool)
    for index, layer in enumerate(scene.layers):
        forth, back = (_scaled(layer.matrix(each), width) for each in (number, number - 1))
        moves = back @ np.linalg.inv(forth)
        place = np.stack([moves[row, 0] * x + moves[row, 1] * y + moves[row, 2] for row in (0, 1)], -1).astype(np.float32)
        was = cv2.remap(_inside(before == index), place[..., 0], place[..., 1], cv2.INTER_NEAREST)  # 0 outside of the frame
        here = now == index
        flow[here] = (place - np.stack([x, y], -1).astype(np.float32))[here]
        seen |= (_inside(here) > 0) & (was > 0)
    return Motion(flow, seen.astype(np.float32))


def _inside(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Return a mask without the pixels near its outline; the border of the frame is no outline."""
    inside = cv2.erode(mask.astype(np.uint8), np.ones((_EDGE_PX, _EDGE_PX)))
    return inside.astype(np.uint8)


def _scaled(matrix: Matrix, width: int) -> Matrix:
    """Return a matrix for frames of another width."""
    scale = width / WIDTH
    return np.diag([scale, scale, 1.0]) @ matrix


# ------------------------------------------------------------------------------------------------------- scenes


def _pan() -> Scene:
    """The camera moves to the right and trembles; three layers at different distances."""

    def speed(x: float, y: float, left: float, top: float, zoom: float) -> Callable[[int], Matrix]:
        return lambda number: _shifted(number, left - x * number, top - y * number, zoom)

    far, middle, near = (_photo(name) for name in ("rocket", "coffee", "chelsea"))
    columns, rows = np.meshgrid(np.arange(middle.shape[1]), np.arange(middle.shape[0]))
    hill = (rows > 150 + 50 * np.sin(columns / 60.0) + 15 * np.sin(columns / 17.0)).astype(np.float32)
    return Scene(
        "pan with parallax",
        (
            Layer(far, np.ones(far.shape[:2], np.float32), speed(1.6, 0.2, -20, -60, 1.3)),
            Layer(middle, hill, speed(3.3, 0.3, -30, 90, 1.4)),
            Layer(near, _disk(near), speed(6.2, 0.5, 330, 110, 0.9)),
        ),
    )


def _rotation() -> Scene:
    """The camera turns and comes closer."""
    photo = _photo("astronaut")

    def matrix(number: int) -> Matrix:
        angle, zoom = np.deg2rad(0.7 * number), 1.45 * 1.006**number
        turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        center, target = np.array([250.0, 210.0]), np.array([WIDTH / 2, HEIGHT / 2]) + _tremble(number)
        return np.vstack([np.column_stack([turn, target - turn @ center]), [0, 0, 1]])

    return Scene("rotation and zoom", (Layer(photo, np.ones(photo.shape[:2], np.float32), matrix),))


def _object() -> Scene:
    """A cat rolls across a table; the camera is held by hand."""
    table, cat = _photo("coffee"), _photo("chelsea")[20:260, 110:350]

    def rolling(number: int) -> Matrix:
        angle = np.deg2rad(2.0 * number)
        turn = 0.8 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        target = np.array([120 + 9.0 * number, 190 + 40 * np.sin(number / 6)]) + _tremble(number)
        return np.vstack([np.column_stack([turn, target - turn @ (np.array(cat.shape[1::-1]) / 2)]), [0, 0, 1]])

    still = Layer(table, np.ones(table.shape[:2], np.float32), lambda number: _shifted(number, -10, -10, 1.12))
    return Scene("moving object", (still, Layer(cat, _disk(cat), rolling)))


def _photo(name: str) -> Pixels:
    photo: Pixels = getattr(skimage.data, name)()
    return photo


def _disk(pixels: Pixels) -> Array:
    """Return the opacity of an ellipse that fills a picture, with soft edges."""
    height, width = pixels.shape[:2]
    columns, rows = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    distance = np.hypot(columns, rows)
    found: Array = ((1 - distance) * min(height, width) / 4).clip(0, 1).astype(np.float32)
    return found


def _shifted(number: int, left: float, top: float, zoom: float) -> Matrix:
    x, y = _tremble(number)
    return np.array([[zoom, 0, left + x], [0, zoom, top + y], [0, 0, 1]])


def _tremble(number: int) -> npt.NDArray[np.float64]:
    """Return the shift of a camera that is held by hand, in pixels."""
    shift: npt.NDArray[np.float64] = np.random.default_rng(number).normal(0, 0.4, 2)
    return shift

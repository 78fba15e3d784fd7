"""Animated GIF and WebP files: read and write frames with their times."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image

from impasto.errors import ImageFileError
from impasto.images.files import check_area, contents, decoding, kind_of, opened_picture
from impasto.images.picture import Array
from impasto.runtime.atomic import replacing

KINDS = {".gif": "GIF", ".webp": "WEBP"}
_HEAD_BYTES = 64
_UNTIMED_MS = 100
"""Duration of frames that have none; browsers use the same."""
_SHORTEST_GIF_MS, _GIF_TICK_MS = 20, 10
"""If the duration of a GIF frame is below 20 ms, viewers show the frame for longer than that."""
_MOST_PIXELS = 300_000_000


class AnimationFrame(NamedTuple):
    """A frame of an animation.

    Attributes:
        pixels: (height, width, 3), uint8; transparent pixels are white.
        milliseconds: how long the frame is shown.
    """

    pixels: Array
    milliseconds: int


def is_animation(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a GIF or a WebP file, according to its first bytes."""
    with open(path, "rb") as file:
        return kind_of(file.read(_HEAD_BYTES)) in KINDS.values()


def animation_frames(path: str | os.PathLike[str]) -> Iterator[AnimationFrame]:
    """Yield the frames of a GIF or WebP file. A damaged file ends at its last complete frame.

    Raises:
        ImageFileError: the file cannot be read, or its first frame is damaged.
    """
    name = Path(path).name
    picture = opened_picture(contents(path)[0], name)
    check_area(picture.size, _MOST_PIXELS, name)
    for number in range(getattr(picture, "n_frames", 1)):
        try:
            with decoding(name, []):
                picture.seek(number)
                pixels = _on_white(picture)
        except ImageFileError:
            if number == 0:
                raise
            return
        yield AnimationFrame(pixels, round(picture.info.get("duration") or _UNTIMED_MS))


def write_frames(path: str | os.PathLike[str], frames: Iterable[AnimationFrame], *, quality: int = 90) -> None:
    """Save frames as an endlessly looping GIF or WebP file, atomically.

    A GIF has at most 50 frames per second and counts time in hundredths of a second. Frames that would be shorter are dropped;
    the total time stays the same.

    Args:
        path: ends in .gif or .webp.
        frames: at least one; all of one size.
        quality: quality of WebP, 1 to 100.

    Raises:
        ImageFileError: the file cannot be written.
    """
    target = Path(path)
    kind = KINDS[target.suffix.lower()]
    timed = list(_for_gif(frames) if kind == "GIF" else ((PIL.Image.fromarray(each.pixels), each[1]) for each in frames))
    pictures, times = [picture for picture, _ in timed], [max(1, milliseconds) for _, milliseconds in timed]
    options = {"quality": quality} if kind == "WEBP" else {}
    try:
        with replacing(target) as part:
            pictures[0].save(part, kind, save_all=True, append_images=pictures[1:], duration=times, loop=0, **options)
    except OSError as error:
        reason = error.strerror or error
        raise ImageFileError(f"'{path}' cannot be written ({reason}); free some space or choose another folder") from error


def _on_white(picture: PIL.Image.Image) -> Array:
    if not picture.has_transparency_data:
        return np.array(picture.convert("RGB"))
    shown = picture.convert("RGBA")
    white = PIL.Image.new("RGBA", shown.size, "white")
    return np.array(PIL.Image.alpha_composite(white, shown).convert("RGB"))


def _for_gif(frames: Iterable[AnimationFrame]) -> Iterator[tuple[PIL.Image.Image, int]]:
    """Reduce frames to 256 colors, and round their times to those of GIF without drift."""
    shown: PIL.Image.Image | None = None
    now = start = 0
    for frame in frames:
        due = _rounded(now)
        if shown is None or due - start >= _SHORTEST_GIF_MS:
            if shown is not None:
                yield shown, due - start
            shown, start = PIL.Image.fromarray(frame.pixels).quantize(256), due
        now += frame.milliseconds
    if shown is not None:
        yield shown, max(_SHORTEST_GIF_MS, _rounded(now) - start)


def _rounded(milliseconds: int) -> int:
    return round(milliseconds / _GIF_TICK_MS) * _GIF_TICK_MS

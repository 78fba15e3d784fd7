"""Films and posters that accompany a result: the making of a painting, and the comparison of a clip with its result."""

import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from impasto import images
from impasto.errors import ClipError
from impasto.images import fitted_size, resize
from impasto.optim.engine import Step
from impasto.tensors import Image
from impasto.video.clips import BT601, BT709, HD_ROWS, Clip, Pixels, frames
from impasto.video.frames import as_array, as_image
from impasto.video.joining import join
from impasto.video.libraries import opencv, pyav
from impasto.video.segments import Segment, Segments, Time, disk_errors, encoding_for

FILM_PX = 1920
"""Default limit of the longer side of a film."""
_MOST_STEPS = 240
_STEPS_SECONDS, _SLOWEST, _FASTEST = 10.0, 6.0, 24.0
"""The film shows the steps for about ten seconds, at 6 to 24 pictures per second."""
_FIRST_MS, _LAST_MS = 1000, 2000
_DETAILS_PX = 160


class Shown(NamedTuple):
    """A picture of a film: pixels (height, width, 3), RGB, with their time and duration."""

    pixels: Pixels
    time: Time


@dataclass(frozen=True)
class Film:
    """A finished film.

    Attributes:
        output: the file.
        size: (height, width), before odd sides are padded.
        pictures: number of pictures.
        seconds: duration.

    Example:
        >>> Film(Path("film.mp4"), size=(360, 640), pictures=62, seconds=13.1).pictures
        62
    """

    output: Path
    size: tuple[int, int]
    pictures: int
    seconds: float


@dataclass(frozen=True)
class Extras:
    """Additional outputs of a painted clip.

    Attributes:
        poster: a picture file for the painted frame whose source frame has the most detail. None: no poster.
        compare: a clip file that shows the clip on the left and the result on the right, with the sound. None: no comparison.

    Example:
        >>> Extras(poster=Path("painted.jpg")).compare is None
        True
    """

    poster: Path | None = None
    compare: Path | None = None


NO_EXTRAS = Extras()


def write_film(output: Path, clip: Clip, pictures: Iterable[Shown]) -> Sequence[Time]:
    """Encode pictures, and write them with the sound of a clip. Return their times.

    Args:
        output: the film; its suffix selects the format.
        clip: the clip that provides the size, the time base and the sound.
        pictures: at least one.

    Raises:
        ClipError: the film cannot be written.
    """
    encoding = encoding_for(output.suffix.lower())
    with disk_errors(output.parent), tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
        part = Path(folder) / "film.mkv"
        with pyav().open(str(part), "w", format="matroska") as container:
            segment = Segment(container, clip, encoding)
            for each in pictures:
                segment.add(each.pixels, each.time)
            container.mux(segment.stream.encode())
        join(output, [part], segment.times, clip)
    return segment.times


# ---------------------------------------------------------------------------------------------------- making of


def making_of(output: Path, photo: Image, steps: Iterable[Step], size: tuple[int, int]) -> Film:
    """Write a film of a painting: the photo, the picture after each step, and the result.

    Args:
        output: the film; its suffix gives the format.
        photo: the photo, (1, 3, height, width), at any size.
        steps: the steps of the painting, such as those of :func:`impasto.steps`.
        size: (height, width) of the film.

    Raises:
        ClipError: the film cannot be written.

    Example:
        >>> import impasto
        >>> steps = impasto.steps("photo.jpg", "picture.jpg", size=64, steps=2)
        >>> film = making_of(Path("film.mp4"), impasto.images.read("photo.jpg").image, steps, size=(64, 64))
        >>> film.size, film.pictures >= 4
        ((64, 64), True)
    """
    remaining = iter(steps)
    first = next(remaining)
    times = write_film(output, _silent(output, size), _progress(photo, chain((first,), remaining), first.total, size))
    return Film(output, size, len(times), (times[-1].pts + times[-1].duration) / 1000)


def _progress(photo: Image, steps: Iterable[Step], total: int, size: tuple[int, int]) -> Iterator[Shown]:
    stride = math.ceil(total / _MOST_STEPS)
    shown_ms = round(1000 / min(_FASTEST, max(_SLOWEST, total / stride / _STEPS_SECONDS)))
    yield Shown(_pixels(photo, size), Time(0, _FIRST_MS))
    now = _FIRST_MS
    for index, step in enumerate(steps):
        if index % stride == 0:
            yield Shown(_pixels(step.image, size), Time(now, shown_ms))
            now += shown_ms
    yield Shown(_pixels(step.image, size), Time(now, _LAST_MS))


def _pixels(image: Image, size: tuple[int, int]) -> Pixels:
    whole = image.cpu() if (image.shape[-2], image.shape[-1]) == size else resize(image.cpu(), size)
    found: Pixels = (as_array(whole.clamp(0, 1)) * 255).round().astype(np.uint8)
    return found


def _silent(output: Path, size: tuple[int, int]) -> Clip:
    """Return the properties of a clip that is not read from a file. It has no sound, and its times are in milliseconds."""
    one, matrix = Fraction(1), BT709 if size[0] >= HD_ROWS else BT601
    return Clip(output, size, Fraction(1, 1000), Fraction(12), matrix, one, (), False, "")


# ---------------------------------------------------------------------------------------------------- of a clip


def write_extras(extras: Extras, clip: Clip, segments: Segments) -> None:
    """Write the poster and the comparison of a painted clip whose segments still exist.

    Raises:
        ImpastoError: a file cannot be written.
    """
    if extras.compare is not None:
        height, width = clip.size
        write_film(extras.compare, replace(clip, size=(height, 2 * width)), _side_by_side(clip, segments))
    if extras.poster is not None:
        images.write(extras.poster, _poster(clip, segments))


def _side_by_side(clip: Clip, segments: Segments) -> Iterator[Shown]:
    times = (time for each in segments.times for time in each)
    for source, result, time in zip(_sources(clip), _results(clip, segments), times, strict=False):
        yield Shown(np.hstack((source, result)), time)


def _poster(clip: Clip, segments: Segments) -> Image:
    """Return the painted frame whose source frame has the most detail, with square pixels."""
    details = [_details(each) for each in _sources(clip)]
    best = int(np.argmax(details))
    found = next((each for number, each in enumerate(_results(clip, segments)) if number == best), None)
    if found is None:
        raise ClipError(f"'{clip.path}' changed while it was painted; run the same command again")
    height, width = clip.size
    shape = (height, max(1, round(width * clip.aspect)))
    return as_image(found) if shape == clip.size else resize(as_image(found), shape)


def _details(pixels: Pixels) -> float:
    """Measure the fine contrast of a frame, at a small size, so that noise has no effect."""
    cv2, (height, width) = opencv(), fitted_size((pixels.shape[0], pixels.shape[1]), _DETAILS_PX)
    gray = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (width, height), interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(gray, cv2.CV_32F).std())


def _sources(clip: Clip) -> Iterator[Pixels]:
    return (each.pixels for each in frames(clip))


def _results(clip: Clip, segments: Segments) -> Iterator[Pixels]:
    """Decode the segments, and crop the padding of odd sides."""
    height, width = clip.size
    for path in segments.files:
        with pyav().open(str(path)) as container:
            for frame in container.decode(video=0):
                yield np.ascontiguousarray(frame.to_ndarray(format="rgb24")[:height, :width])

"""Read clips: videos through PyAV, animated GIF and WebP files through Pillow. Frames are upright, in RGB, with their times."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from impasto.errors import ClipError, ImageFileError
from impasto.images import animation_frames, is_animation, reduced_size
from impasto.video.libraries import opencv, pyav
from impasto.video.missing import MissingFrames
from impasto.weights.files import sha256_of

Pixels = npt.NDArray[np.uint8]
"""(height, width, 3), RGB."""

_PICTURE_FORMATS = ("image2", "_pipe", "alias_pix", "brender_pix")
_HDR = {16: "PQ", 18: "HLG"}
"""Transfer characteristics of HDR, numbered as in ITU-T H.273."""
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
"""Color matrix of H.273 -> its number in libswscale."""
BT709, BT601 = 1, 6
HD_ROWS = 720
_MOST_FAULTS = 1000
"""Maximum number of successive container errors; after that, the rest of the clip is skipped."""


@dataclass(frozen=True)
class Clip:
    """The properties of a clip that are known before its frames are painted.

    Attributes:
        path: the file.
        size: (height, width) of the frames, upright, after they are reduced.
        time_base: unit of all times, in seconds.
        rate: average frames per second.
        matrix: color matrix, numbered as in ITU-T H.273.
        aspect: width of a pixel divided by its height, upright.
        sounds: codec of each sound track.
        is_animation: whether the clip is a GIF or WebP file.
        sha256: hash of the file.

    Example:
        >>> import PIL.Image, skimage.data
        >>> pictures = [PIL.Image.fromarray(skimage.data.astronaut()[:64, place : place + 96]) for place in (0, 4)]
        >>> pictures[0].save("clip.gif", save_all=True, append_images=pictures[1:], duration=100)
        >>> open_clip("clip.gif").is_animation
        True
    """

    path: Path
    size: tuple[int, int]
    time_base: Fraction
    rate: Fraction
    matrix: int
    aspect: Fraction
    sounds: tuple[str, ...]
    is_animation: bool
    sha256: str


class Length(NamedTuple):
    """The length of a clip according to its header; both values are estimates.

    Attributes:
        frames: number of frames.
        seconds: duration.
    """

    frames: int
    seconds: float


class Frame(NamedTuple):
    """A frame of a clip.

    Attributes:
        pixels: (height, width, 3), RGB.
        pts: its time, in units of the clip's time base.
        duration: how long the frame is shown; 0 if the file does not contain this.

    Example:
        >>> Frame(np.zeros((64, 96, 3), np.uint8), pts=0, duration=40).pixels.shape
        (64, 96, 3)
    """

    pixels: Pixels
    pts: int
    duration: int


@dataclass
class Damage:
    """The number of damaged and missing frames that were skipped so far."""

    frames: int = 0


def open_clip(path: str | os.PathLike[str], *, longest_px: int = 0) -> Clip:
    """Read the properties of a clip without decoding its frames.

    Args:
        path: a video, or an animated GIF or WebP file.
        longest_px: maximum longer side of the frames; larger clips are reduced. 0: no limit.

    Raises:
        ClipError: the file cannot be read, has no video, or is HDR; the message is one sentence.

    Returns:
        The properties of the clip; sizes are (height, width) in pixels.

    Example:
        >>> import PIL.Image, skimage.data
        >>> pictures = [PIL.Image.fromarray(skimage.data.astronaut()[:64, place : place + 96]) for place in (0, 4, 8)]
        >>> pictures[0].save("clip.gif", save_all=True, append_images=pictures[1:], duration=100)
        >>> clip = open_clip("clip.gif")
        >>> clip.size, clip.sounds
        ((64, 96), ())
    """
    path = Path(path)
    _check_file(path)
    if is_animation(path):
        return _open_animation(path, longest_px)
    with opened(path) as container:
        stream = video_stream(container, path)
        first = next(iter(_decoded(container, stream, Damage())), None)
        if first is None:
            raise ClipError(f"'{path}' has no frame that can be decoded; copy it again, or convert it with another program")
        _check_range(path, stream, first)
        turned, pixel = _turns(first), stream.sample_aspect_ratio or Fraction(1)
        size = (first.width, first.height) if turned.is_transposed else (first.height, first.width)
        return Clip(
            path=path,
            size=reduced_size(size, longest_px),
            time_base=stream.time_base,
            rate=min(filter(None, (stream.average_rate, stream.guessed_rate)), default=Fraction(25)),  # one may be far too high
            matrix=_matrix(first),
            aspect=1 / pixel if turned.is_transposed and pixel else pixel or Fraction(1),
            sounds=tuple(each.codec_context.name for each in container.streams.audio),
            is_animation=False,
            sha256=sha256_of(path),
        )


def frames(clip: Clip, damage: Damage | None = None) -> Iterator[Frame]:
    """Yield the frames of a clip. Damaged frames are skipped. They are counted, and so are frames that are missing in the file.

    Times increase strictly: a frame without a time, or with the time of the previous frame, gets a time one unit later.

    Args:
        clip: the clip.
        damage: counts the damaged and the missing frames.

    Yields:
        Frames with pixels (height, width, 3), RGB, 0 to 255.

    Raises:
        ClipError: the file has changed or can no longer be read.

    Example:
        >>> import PIL.Image, skimage.data
        >>> pictures = [PIL.Image.fromarray(skimage.data.astronaut()[:64, place : place + 96]) for place in (0, 4, 8)]
        >>> pictures[0].save("clip.gif", save_all=True, append_images=pictures[1:], duration=100)
        >>> [frame.pixels.shape for frame in frames(open_clip("clip.gif"))]
        [(64, 96, 3), (64, 96, 3), (64, 96, 3)]
    """
    last = None
    for frame in _animated(clip) if clip.is_animation else _filmed(clip, damage or Damage()):
        pts = frame.pts if last is None else max(frame.pts, last + 1)
        yield Frame(_fitted(frame.pixels, clip.size), pts, frame.duration)
        last = pts


def check_container(path: Path, formats: Sequence[str]) -> None:
    """Check that libav recognizes a video file as one of the allowed formats, before more of it is read.

    Other formats, such as playlists, can refer to other files or URLs, which would be opened while reading. Use this function
    for untrusted files.

    Raises:
        ClipError: the file has another format.
    """
    av = pyav()
    limits = {"format_whitelist": ",".join(formats), "protocol_whitelist": "file"}
    try:
        av.open(str(path), options=limits, metadata_errors="replace").close()
    except (av.error.FFmpegError, ValueError) as error:
        raise ClipError(f"'{path}' is not a clip; give an MP4, MOV, MKV, WebM, AVI, GIF or WebP file") from error


def length_of(clip: Clip) -> Length:
    """Return the length of a clip without decoding its frames."""
    if clip.is_animation:
        shown = [each.milliseconds for each in animation_frames(clip.path)]
        return Length(len(shown), sum(shown) / 1000)
    with opened(clip.path) as container:
        stream = video_stream(container, clip.path)
        microseconds = container.duration or (stream.duration or 0) * stream.time_base * 1_000_000
    seconds = max(0.0, float(microseconds) / 1e6)
    return Length(int(stream.frames or max(1, round(seconds * clip.rate))), seconds)


def frame_near(clip: Clip, share: float) -> Pixels:
    """Return a frame (usually a key frame) near a relative position in the clip, 0 to 1. Not all earlier frames are decoded.

    Raises:
        ClipError: no frame can be decoded.
    """
    if not clip.is_animation:
        with opened(clip.path) as container:
            stream = video_stream(container, clip.path)
            with suppress(pyav().error.FFmpegError):  # not every file can be searched
                container.seek((container.start_time or 0) + int(share * (container.duration or 0)))
            for frame in _decoded(container, stream, Damage()):
                return _fitted(_upright(frame, clip), clip.size)
    for each in frames(clip):
        return each.pixels
    raise ClipError(f"'{clip.path}' has no frame that can be decoded; copy it again, or convert it with another program")


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a video file for reading.

    Raises:
        ClipError: the file is not a video.
    """
    av = pyav()
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as error:
        raise ClipError(f"'{path}' is not a video ({_reason(error)}); give an MP4, MOV, MKV, WebM, GIF or WebP file") from error
    with container:
        yield container


def video_stream(container: Any, path: Path) -> Any:
    """Return the first video stream of a file. Cover art of music files is ignored.

    Raises:
        ClipError: there is no video stream, or it contains a still picture.
    """
    if any(word in container.format.name for word in _PICTURE_FORMATS):
        raise ClipError(f"'{path}' is a picture, not a clip; paint it with: impasto instant {path} STYLE")
    covers = pyav().stream.Disposition.attached_pic
    found = next((each for each in container.streams.video if not each.disposition & covers), None)
    if found is None:
        raise ClipError(f"'{path}' has no video stream; give a clip with pictures")
    if found.codec_context is None:
        raise ClipError(f"'{path}' has a video stream of an unknown codec; convert it to H.264 first")
    return found


# ---------------------------------------------------------------------------------------------------- files


def _check_file(path: Path) -> None:
    try:
        if os.path.isdir(path):
            raise ClipError(f"'{path}' is a folder; give a clip, such as clip.mp4")
        with open(path, "rb") as file:
            if not file.read(1):
                raise ClipError(f"'{path}' is empty (0 bytes); copy or download it again")
    except FileNotFoundError:
        raise ClipError(f"there is no file '{path}'; check its name and folder") from None
    except ClipError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise ClipError(f"'{path}' cannot be read ({_reason(error)}); check its name and permissions") from error


def _open_animation(path: Path, longest_px: int) -> Clip:
    try:
        count, milliseconds, size = 0, 0, (0, 0)
        for each in animation_frames(path):
            count, milliseconds, size = count + 1, milliseconds + each.milliseconds, each.pixels.shape[:2]
    except ImageFileError as error:
        raise ClipError(str(error)) from error
    if count == 1:
        raise ClipError(f"'{path}' has a single frame; paint it with: impasto instant {path} STYLE")
    rate, one = Fraction(1000 * count, max(1, milliseconds)).limit_denominator(1000), Fraction(1)
    matrix = BT709 if size[0] >= HD_ROWS else BT601
    return Clip(path, reduced_size(size, longest_px), Fraction(1, 1000), rate, matrix, one, (), True, sha256_of(path))


def _check_range(path: Path, stream: Any, first: Any) -> None:
    for curve in (int(stream.codec_context.color_trc or 0), int(first.color_trc)):
        if curve in _HDR:
            raise ClipError(
                f"'{path}' is an HDR clip ({_HDR[curve]}); convert it to SDR first, for example with HandBrake, or with "
                "ffmpeg's filters zscale and tonemap"
            )


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


# ---------------------------------------------------------------------------------------------------- frames


class _Turns(NamedTuple):
    """How to rotate a frame upright: first transpose, then mirror."""

    is_transposed: bool
    flips_columns: bool
    flips_rows: bool


def _turns(frame: Any) -> _Turns:
    """Read the display matrix of a frame: x' = a x + c y, y' = b x + d y."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return _Turns(False, False, False)
    a, b, _, c, d = (int(each) for each in np.frombuffer(data, np.int32)[:5])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return _Turns(False, a < 0, d < 0)
    return _Turns(True, c < 0, b < 0)


def _filmed(clip: Clip, damage: Damage) -> Iterator[Frame]:
    with opened(clip.path) as container:
        stream, due = video_stream(container, clip.path), 0
        missing, before = MissingFrames(container, stream, clip.rate), damage.frames
        for frame in _decoded(container, stream, damage, missing):
            pts = due if frame.pts is None else frame.pts
            due = pts + (frame.duration or 1)
            damage.frames = max(damage.frames, before + missing.before(pts))  # some of the missing ones are counted already
            before = damage.frames
            yield Frame(_upright(frame, clip), pts, frame.duration or 0)
        damage.frames = max(damage.frames, before + missing.at_end())


def _animated(clip: Clip) -> Iterator[Frame]:
    now = 0
    for each in animation_frames(clip.path):
        yield Frame(each.pixels, now, each.milliseconds)
        now += each.milliseconds


def _decoded(container: Any, stream: Any, damage: Damage, missing: MissingFrames | None = None) -> Iterator[Any]:
    """Decode a stream. After an error in the container or in a frame, continue with the next frame."""
    faulty = pyav().error.FFmpegError
    for packet in packets(container):
        if missing is not None:
            missing.read(packet)
        if packet.stream.index != stream.index:  # the last, empty packet of a stream has no other index
            continue
        try:
            decoded = packet.decode()
        except faulty:
            damage.frames += 1
            continue
        for frame in decoded:
            if frame.is_corrupt:
                damage.frames += 1
            else:
                yield frame


def packets(container: Any, streams: Sequence[Any] = ()) -> Iterator[Any]:
    """Yield the packets of some streams, or of all. After an error in the container, continue with the next packet."""
    faults = 0
    found = container.demux(*streams)
    while faults < _MOST_FAULTS:
        try:
            packet = next(found, None)
        except pyav().error.FFmpegError:
            faults += 1
            found = container.demux(*streams)
            continue
        if packet is None:
            return
        faults = 0
        yield packet


def _upright(frame: Any, clip: Clip) -> Pixels:
    """Convert a frame to RGB and turn it upright."""
    if frame.colorspace not in _MATRICES and "rgb" not in frame.format.name:
        frame.colorspace = clip.matrix  # not stated in the file
    pixels: Pixels = frame.to_ndarray(format="rgb24")
    turns = _turns(frame)
    pixels = pixels.transpose(1, 0, 2) if turns.is_transposed else pixels
    pixels = pixels[:, ::-1] if turns.flips_columns else pixels
    return np.array(pixels[::-1] if turns.flips_rows else pixels, order="C")  # a copy: libav may use the memory again


def _matrix(frame: Any) -> int:
    if frame.colorspace in _MATRICES:
        return int(frame.colorspace)
    return BT709 if frame.height >= HD_ROWS else BT601


def _fitted(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize a frame if the clip is reduced, or if the size of its frames changes."""
    if pixels.shape[:2] == size:
        return pixels
    cv2 = opencv()
    found: Pixels = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA)
    return found


def swscale_matrix(matrix: int) -> int:
    """Return libswscale's number for a color matrix of H.273."""
    return _MATRICES[matrix]

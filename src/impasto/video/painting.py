"""The recipe for videos: paint the frames of a clip with little flicker, in segments, and join them with the sound.

Each painted frame is blended with the previous result along the optical flow, which is a fast replacement for the temporal
loss of Ruder et al. 2016. A brush paints each frame independently, and normalizes all frames of a shot with the same
statistics, so that the brightness does not fluctuate. The other methods also use the previous result for painting.
"""

import math
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from impasto._version import __version__
from impasto.errors import ClipError
from impasto.images import check_writable
from impasto.options import Run
from impasto.options.video import VideoOptions
from impasto.runtime.amounts import amount
from impasto.runtime.atomic import try_writing
from impasto.runtime.devices import seconds_now
from impasto.runtime.locks import only_writer
from impasto.runtime.torch_state import in_known_state
from impasto.video.clips import Clip, Damage, Frame, Pixels, frames, open_clip
from impasto.video.films import NO_EXTRAS, Extras, write_extras
from impasto.video.flow import Past, Stabilizer
from impasto.video.joining import check_format, check_sound, join
from impasto.video.libraries import check_libraries
from impasto.video.painters import FramePainter, load_painter
from impasto.video.segments import Encoding, Segments, State, Time, encoded_size, encoding_for, folder_of
from impasto.video.shots import shots
from impasto.video.temporal import PaintFrames

SECONDS_PER_SEGMENT = 2.0
"""Length of a segment, in seconds of the clip."""
SECONDS_PER_OPTIMIZED_SEGMENT = 0.5
"""The same for the method ``paint``: shorter, because each frame takes seconds and an interruption loses a segment."""
_RECENT = 20
"""Number of recent frames from which the speed is computed."""
_SPARE_BYTES = 50 * 2**20


@dataclass(frozen=True)
class Progress:
    """The state of a run after a frame.

    Attributes:
        done: frames painted so far, including those of an earlier run.
        total: frames of the clip.
        seconds_left: estimated from the last frames; infinite until two frames are painted.
        frame: the frame of the result, (height, width, 3), RGB.

    Example:
        >>> import numpy as np
        >>> Progress(done=12, total=48, seconds_left=3.0, frame=np.zeros((2, 2, 3), np.uint8)).done
        12
    """

    done: int
    total: int
    seconds_left: float
    frame: Pixels


@dataclass(frozen=True)
class Finished:
    """A finished video.

    Attributes:
        output: the file.
        size: (height, width).
        frames: number of frames.
        damaged: number of frames that are damaged or missing in the clip.

    Example:
        >>> Finished(Path("painted.mp4"), size=(360, 640), frames=48, damaged=0).frames
        48
    """

    output: Path
    size: tuple[int, int]
    frames: int
    damaged: int


class Place(NamedTuple):
    """A frame of a clip, and its place.

    Attributes:
        frame: the frame.
        shot: number of its shot.
        is_first: whether it is the first frame of the shot.

    Example:
        >>> frame = Frame(np.zeros((64, 96, 3), np.uint8), pts=0, duration=40)
        >>> Place(frame, shot=0, is_first=True).is_first
        True
    """

    frame: Frame
    shot: int
    is_first: bool


class Ready(NamedTuple):
    """A frame, and the function that completes its result.

    Attributes:
        place: the frame.
        finish: returns the result, given the state of the stabilizer after the previous frame.

    Example:
        >>> pixels = np.zeros((64, 96, 3), np.uint8)
        >>> ready = Ready(
        ...     Place(Frame(pixels, pts=0, duration=40), 0, True), lambda stabilizer: stabilizer.follow(pixels, 255 - pixels)
        ... )
        >>> ready.finish(Stabilizer(0.8)).shape
        (64, 96, 3)
    """

    place: Place
    finish: Callable[[Stabilizer], Pixels]


Painting = Callable[[Iterator[Place], Sequence[Past]], Iterator[Ready]]
"""Paints frames in order, given the frames and the earlier results that the first frame may use. It may read frames ahead."""


class VideoRun:
    """One run: a clip, its painter, and the result.

    Iterate over :meth:`paint`, then call :meth:`finish`. If the iteration stops early, a new run with the same
    arguments continues after the last complete segment.

    Args:
        clip: a clip opened with :func:`impasto.video.clips.open_clip`.
        painter: see :func:`impasto.video.painters.load_painter`.
        output: the result; its suffix selects the format.
        options: how to paint.
        seconds_per_segment: length of a segment, in seconds of the clip. Default: 2, or 0.5 for the method ``paint``.
        extras: a poster or a comparison to write at the end.

    Raises:
        ImpastoError: the result cannot be written, there is not enough disk space or memory, or the format cannot contain the
        sound.

    Example:
        >>> import PIL.Image, skimage.data
        >>> pictures = [PIL.Image.fromarray(skimage.data.astronaut()[:64, place : place + 96]) for place in (0, 4, 8)]
        >>> pictures[0].save("clip.gif", save_all=True, append_images=pictures[1:], duration=100)
        >>> options = VideoOptions(method="instant")
        >>> run = VideoRun(open_clip("clip.gif"), load_painter("starry-night", options), Path("painted.gif"), options)
        >>> [progress.done for progress in run.paint()], run.finish().size
        ([1, 2, 3], (64, 96))
    """

    def __init__(
        self,
        clip: Clip,
        painter: FramePainter,
        output: Path,
        options: VideoOptions,
        seconds_per_segment: float | None = None,
        extras: Extras = NO_EXTRAS,
    ) -> None:
        check_output(output)
        check_sound(clip, output)
        check_extras(extras, clip)
        painter.check(clip.size)
        self.clip, self.painter, self.output, self.options, self.extras = clip, painter, output, options, extras
        self.encoding: Encoding = encoding_for(output.suffix.lower())
        usual = SECONDS_PER_OPTIMIZED_SEGMENT if isinstance(painter, PaintFrames) else SECONDS_PER_SEGMENT
        self.per_segment = max(1, round((seconds_per_segment or usual) * clip.rate))
        damage = Damage()
        self.shots = painter.look_at(shots(frames(clip, damage)))
        self.total, self.damaged = sum(self.shots), damage.frames
        if not self.total:
            raise ClipError(
                f"'{clip.path}' has no frame that can be decoded; copy it again, or convert it with another program"
            )
        self._check_disk()
        self.segments = Segments(output, self._plan())
        self.resumed = self.segments.count

    @in_known_state
    def paint(self, painting: Painting | None = None) -> Iterator[Progress]:
        """Paint all frames that are not painted yet. Yield after each frame.

        Args:
            painting: paints the frames. Default: one after the other, in this process.
        """
        stabilizer = Stabilizer(self.options.stability, self.painter.keys, self.painter.contrast)
        ends = deque([seconds_now()], maxlen=_RECENT)
        if state := self.segments.state():
            stabilizer.past = [*map(Past, state.sources, state.results, state.numbers.tolist())]
        ready = (painting or self._painting)(islice(self._places(), self.resumed, None), tuple(stabilizer.past))
        done = self.resumed
        while first := next(ready, None):
            with self.segments.writing(self.clip, self.encoding) as segment:
                for (frame, _, is_first), finish in chain((first,), islice(ready, self.per_segment - 1)):
                    if is_first:
                        stabilizer.reset()
                    result = finish(stabilizer)
                    segment.add(result, Time(frame.pts, frame.duration))
                    done += 1
                    ends.append(seconds_now())
                    yield Progress(done, self.total, self._seconds_left(done, ends), result)
                segment.state = State(*map(np.stack, zip(*stabilizer.past, strict=True)))

    def _painting(self, places: Iterator[Place], _: Sequence[Past]) -> Iterator[Ready]:
        for each in places:
            yield Ready(each, partial(self._finished, each))

    def _finished(self, place: Place, stabilizer: Stabilizer) -> Pixels:
        pixels = place.frame.pixels
        return stabilizer.blend(pixels, self.painter.paint(pixels, place.shot, stabilizer.past))

    def _seconds_left(self, done: int, ends: Sequence[float]) -> float:
        """Estimate the remaining time from the last frames, without the first frame of the run, which is slower."""
        timed = list(ends)[1:] if len(ends) < _RECENT else list(ends)
        return (self.total - done) * (timed[-1] - timed[0]) / (len(timed) - 1) if len(timed) > 1 else math.inf

    def finish(self) -> Finished:
        """Join the segments with the sound, write the extras, and delete the segments."""
        if self.segments.count != self.total:
            raise ClipError(f"'{self.clip.path}' changed while it was painted; run the same command again")
        times = [time for each in self.segments.times for time in each]
        join(self.output, self.segments.files, times, self.clip)
        write_extras(self.extras, self.clip, self.segments)
        self.segments.delete()
        return Finished(self.output, encoded_size(self.clip.size, self.encoding), self.total, self.damaged)

    def _plan(self) -> dict[str, Any]:
        """Return the data on which the segments depend."""
        options = asdict(self.options) | {"method": ""}
        encoding = {"codec": self.encoding.codec, "encoder": dict(self.encoding.options), "per_segment": self.per_segment}
        return {"impasto": __version__, "clip": self.clip.sha256, **self.painter.identity, "options": options} | encoding

    def _places(self) -> Iterator[Place]:
        """Yield all frames of the clip with their places."""
        numbers = ((number, position == 0) for number, count in enumerate(self.shots) for position in range(count))
        for frame, (shot, is_first) in zip(frames(self.clip), numbers, strict=False):
            yield Place(frame, shot, is_first)

    def _check_disk(self) -> None:
        height, width = self.clip.size
        picture_bytes = self.total * height * width * self.encoding.bytes_per_pixel
        sound_bytes = self.clip.path.stat().st_size if self.clip.sounds else 0
        compared = 2 * (2 * picture_bytes) + sound_bytes if self.extras.compare else 0  # twice as wide
        wanted = 2 * picture_bytes + sound_bytes + compared + _SPARE_BYTES
        folder = folder_of(self.output)
        kept = sum(each.stat().st_size for each in folder.glob("*")) if folder.is_dir() else 0
        free = shutil.disk_usage(self.output.parent).free + kept
        if wanted > free:
            raise ClipError(
                f"the result and its segments need about {amount(wanted)}, but only {amount(free)} are free in "
                f"'{self.output.parent}'; free some space, choose another folder, or use --size"
            )


def check_output(output: Path) -> None:
    """Check before painting that the result can be written.

    Raises:
        ClipError: the format is not supported, or the folder is missing or not writable.

    Args:
        output: the file of the result.

    Example:
        >>> check_output(Path("painted.docx"))
        Traceback (most recent call last):
        impasto.errors.ClipError: ...
    """
    check_format(output)
    if not output.parent.is_dir():
        raise ClipError(f"'{output}' cannot be written: there is no folder '{output.parent}'; create it first")
    if output.is_dir():
        raise ClipError(f"'{output}' cannot be written: it is a folder; give the name of a file")
    try:
        try_writing(output)
    except OSError as error:
        raise ClipError(f"'{output}' cannot be written ({error.strerror or error}); choose another folder") from error


def check_extras(extras: Extras, clip: Clip) -> None:
    """Check before painting that the extras of a clip can be written.

    Args:
        extras: the files.
        clip: the clip, for its sound.

    Raises:
        ImpastoError: a format is not supported or cannot contain the sound, or a folder is missing or not writable.

    Example:
        >>> import skimage.data, PIL.Image
        >>> pictures = [PIL.Image.fromarray(skimage.data.astronaut()[:64, place : place + 96]) for place in (0, 4)]
        >>> pictures[0].save("clip.gif", save_all=True, append_images=pictures[1:], duration=100)
        >>> check_extras(Extras(poster=Path("poster.mp4")), open_clip("clip.gif"))
        Traceback (most recent call last):
        impasto.errors.ImageFileError: ...
    """
    if extras.poster is not None:
        check_writable(extras.poster)
    if extras.compare is not None:
        check_output(extras.compare)
        check_sound(clip, extras.compare)


def paint_video(
    clip: str | os.PathLike[str],
    style: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    run: Run | None = None,
    extras: Extras = NO_EXTRAS,
    **options: Any,
) -> Finished:
    """Paint a clip, and write the result with the sound of the clip.

    If a call is interrupted, repeat it: painting continues after the last complete segment.

    Args:
        clip: a video, or an animated GIF or WebP file.
        style: a brush or its name; a picture or the name of a style for ``method="instant"`` and ``"paint"``.
        output: ends in .mp4, .m4v, .mov, .mkv, .webm, .gif or .webp.
        run: device and precision.
        extras: a poster or a comparison to write in addition.
        options: any field of :class:`impasto.options.video.VideoOptions`.

    Raises:
        ImpastoError: the clip, the style or the result cannot be used; the message is one sentence.

    Example:
        >>> import PIL.Image, skimage.data
        >>> pictures = [PIL.Image.fromarray(skimage.data.astronaut()[:64, place : place + 96]) for place in (0, 4, 8)]
        >>> pictures[0].save("clip.gif", save_all=True, append_images=pictures[1:], duration=100)
        >>> finished = paint_video("clip.gif", "starry-night", "painted.gif", method="instant")
        >>> finished.frames, finished.size
        (3, (64, 96))

    Source:
        Ruder, Dosovitskiy and Brox 2016 (arXiv:1604.08610) for consistency along the optical flow.
    """
    check_libraries()
    chosen = VideoOptions(**options)
    opened = open_clip(clip, longest_px=chosen.size)
    painter = load_painter(style, chosen, run)
    with only_writer(Path(output)):
        started = VideoRun(opened, painter, Path(output), chosen, extras=extras)
        for _ in started.paint():
            pass
        return started.finish()

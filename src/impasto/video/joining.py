"""Join the segments of a result with the sound of the clip, without encoding them again."""

import heapq
import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from impasto.errors import ClipError, ImageFileError
from impasto.images import AnimationFrame, write_frames
from impasto.runtime.atomic import replacing
from impasto.video.clips import Clip, opened, packets
from impasto.video.libraries import pyav
from impasto.video.segments import Time

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
ANIMATIONS = (".gif", ".webp")
_OPTIONS = {"mp4": {"movflags": "+faststart"}, "mov": {"movflags": "+faststart"}}


def check_format(output: Path) -> None:
    """Check that the suffix of a result is supported.

    Raises:
        ClipError: the suffix is not supported.
    """
    if output.suffix.lower() not in (*FORMATS, *ANIMATIONS):
        allowed = ", ".join((*FORMATS, *ANIMATIONS))
        raise ClipError(f"'{output}' cannot be written as a clip; its name must end in one of {allowed}")


def check_sound(clip: Clip, output: Path) -> None:
    """Check that the format of a result can contain the sound of the clip.

    Raises:
        ClipError: the format cannot contain the sound.
    """
    suffix = output.suffix.lower()
    if not clip.sounds or suffix in ANIMATIONS:
        return
    av = pyav()
    try:
        with opened(clip.path) as source, av.open(io.BytesIO(), "w", format=FORMATS[suffix]) as trial:
            for each in source.streams.audio:
                trial.add_stream_from_template(each)
            trial.start_encoding()
    except (av.error.FFmpegError, ValueError) as error:
        sounds = " and ".join(sorted(set(clip.sounds)))
        raise ClipError(
            f"{suffix} cannot contain the sound of '{clip.path}' ({sounds}); use a name that ends in .mkv"
        ) from error


def join(output: Path, segments: Sequence[Path], times: Sequence[Time], clip: Clip) -> None:
    """Write the result atomically.

    Args:
        output: the result; the suffix selects its format.
        segments: the encoded segments.
        times: the time of each frame.
        clip: the clip, for its sound.

    Raises:
        ClipError: the result cannot be written.
    """
    try:
        if output.suffix.lower() in ANIMATIONS:
            write_frames(output, _animation(segments, times, clip.time_base))
            return
        with replacing(output) as part:
            _mux(part, FORMATS[output.suffix.lower()], segments, times, clip)
    except ImageFileError as error:
        raise ClipError(str(error)) from error
    except ClipError:
        raise
    except (OSError, pyav().error.FFmpegError) as error:
        reason = error.strerror or error
        raise ClipError(
            f"'{output}' cannot be written ({reason}); free some space; the segments are kept; run the same command "
            "again to continue"
        ) from error


def _mux(path: Path, format_: str, segments: Sequence[Path], times: Sequence[Time], clip: Clip) -> None:
    """Copy the packets of the segments and of the sound tracks, in the order of their times."""
    av = pyav()
    with ExitStack() as stack:
        output = stack.enter_context(av.open(str(path), "w", format=format_, options=_OPTIONS.get(format_, {})))
        first = stack.enter_context(av.open(str(segments[0])))
        video = output.add_stream_from_template(first.streams.video[0])
        video.time_base = clip.time_base
        tracks = [_pictures(segments, times, clip.time_base, video)]
        if clip.sounds:
            source = stack.enter_context(opened(clip.path))
            copies = {each.index: output.add_stream_from_template(each) for each in source.streams.audio}
            tracks.append(_sound(source, copies))
        for timed in heapq.merge(*tracks, key=lambda each: each.seconds):
            output.mux(timed.packet)


class _Timed(NamedTuple):
    seconds: Fraction
    packet: Any


def _pictures(segments: Sequence[Path], times: Sequence[Time], time_base: Fraction, video: Any) -> Iterator[_Timed]:
    """Yield the packets of all segments with the times of the clip."""
    number = 0
    for path in segments:
        with pyav().open(str(path)) as container:
            for packet in container.demux(video=0):
                if not packet.size:
                    continue
                time = times[number]
                packet.time_base = time_base
                packet.pts = packet.dts = time.pts
                packet.duration = times[number + 1].pts - time.pts if number + 1 < len(times) else time.duration
                packet.stream = video
                yield _Timed(time.pts * time_base, packet)
                number += 1
    if number != len(times):
        raise ClipError(f"the segments contain {number} frames instead of {len(times)}; delete '{segments[0].parent}'")


def _sound(source: Any, copies: dict[int, Any]) -> Iterator[_Timed]:
    """Yield the packets of the sound tracks. Those that cannot be read are omitted."""
    last = Fraction(0)
    for packet in packets(source, source.streams.audio):
        if packet.dts is None:  # the empty packet at the end
            continue
        last = max(last, packet.dts * packet.time_base)
        packet.stream = copies[packet.stream_index]
        yield _Timed(last, packet)


def _animation(segments: Sequence[Path], times: Sequence[Time], time_base: Fraction) -> Iterator[AnimationFrame]:
    ends = [each.pts for each in times[1:]] + [times[-1].pts + (times[-1].duration or _usual(times))]
    timed, start = zip(times, ends, strict=True), times[0].pts
    for path in segments:
        with pyav().open(str(path)) as container:
            for frame in container.decode(video=0):
                time, end = next(timed)
                shown = round((end - start) * time_base * 1000) - round((time.pts - start) * time_base * 1000)
                yield AnimationFrame(frame.to_ndarray(format="rgb24"), shown)


def _usual(times: Sequence[Time]) -> int:
    return max(1, (times[-1].pts - times[0].pts) // max(1, len(times) - 1))

"""The segments of a result on disk. An interrupted run continues after its last complete segment.

The folder is next to the result. It contains ``plan.json`` (the data on which the run depends). For each segment, it contains
the encoded frames (Matroska, with the number of each frame as its time), their times, and the frames of the clip and of the
result that are needed to continue. The list of times is written last; a segment is complete if this list exists.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from impasto.errors import ClipError, ImpastoError
from impasto.runtime.atomic import replacing
from impasto.video.clips import Clip, Pixels, swscale_matrix
from impasto.video.libraries import pyav

_TICK = Fraction(1, 25)
"""Time between the frames of a segment; the result has the times of the clip. With a shorter time, x264 lowers the quality."""
_OWN_FILE = re.compile(r"plan\.json|segment\.part|\d{6,}\.(mkv|npz|json)|\.impasto-[0-9a-f]+\.part")
"""Names of the files in the folder of segments."""
_LIMITED = 1
"""The number that H.273 and libswscale use for the range 16 to 235."""


class Time(NamedTuple):
    """Time and duration of a frame, in units of the clip's time base."""

    pts: int
    duration: int


@dataclass(frozen=True)
class Encoding:
    """How the frames of a result are encoded.

    Attributes:
        codec: name of the encoder.
        pixel_format: pixel format of libav.
        options: options of the encoder.
        is_even: whether both sides must be even; odd ones are padded by a pixel.
        bytes_per_pixel: estimated bytes per pixel of painted frames.
    """

    codec: str
    pixel_format: str
    options: Mapping[str, str]
    is_even: bool
    bytes_per_pixel: float


# No B-frames: packets are then in the order of the frames, so that any times can be given to them. No macroblock tree: with it
# and AVX-512, x264 sometimes encodes the same frames differently.
_H264 = Encoding("libx264", "yuv420p", {"crf": "17", "preset": "faster", "bf": "0", "mbtree": "0"}, True, 0.25)
_MPEG4 = Encoding("mpeg4", "yuv420p", {"bf": "0", "flags": "+qscale", "global_quality": str(3 * 118)}, True, 0.3)
_VP9_OPTIONS = {
    "crf": "22",
    "b": "0",
    "deadline": "good",
    "cpu-used": "5",
    "row-mt": "1",
    "lag-in-frames": "0",
    "auto-alt-ref": "0",
}
_VP9 = Encoding("libvpx-vp9", "yuv420p", _VP9_OPTIONS, False, 0.25)
_LOSSLESS = Encoding("ffv1", "bgr0", {}, False, 2.5)


def encoding_for(suffix: str) -> Encoding:
    """Return how the frames of a result with this suffix are encoded.

    Raises:
        ClipError: no encoder is available.
    """
    available = pyav().codecs_available
    if suffix in (".gif", ".webp"):
        return _LOSSLESS
    choices = (_VP9,) if suffix == ".webm" else (_H264, _MPEG4)
    found = next((each for each in choices if each.codec in available), None)
    if found is None:
        raise ClipError(f"this build of PyAV cannot encode {suffix} ({choices[0].codec} is missing); choose another suffix")
    return found


@dataclass
class State:
    """The frames of the clip and of the result that the next segment needs, newest last.

    Attributes:
        sources: (frames, height, width, 3).
        results: (frames, height, width, 3).
        numbers: the number of each frame in its shot.
    """

    sources: npt.NDArray[np.uint8]
    results: npt.NDArray[np.uint8]
    numbers: npt.NDArray[np.int64]


class Segment:
    """A segment that is being written.

    Attributes:
        times: the times of the frames so far.
        state: the state after the last frame.
    """

    def __init__(self, container: Any, clip: Clip, encoding: Encoding) -> None:
        self.container, self.clip, self.encoding = container, clip, encoding
        self.times: list[Time] = []
        self.state: State | None = None
        self.stream = container.add_stream(encoding.codec, rate=clip.rate, options=dict(encoding.options))
        self.stream.height, self.stream.width = encoded_size(clip.size, encoding)
        self.stream.pix_fmt = encoding.pixel_format
        coder = self.stream.codec_context
        coder.time_base, coder.sample_aspect_ratio = _TICK, clip.aspect
        if encoding is not _LOSSLESS:
            coder.colorspace, coder.color_range = clip.matrix, _LIMITED

    def add(self, pixels: Pixels, time: Time) -> None:
        """Encode a frame."""
        self.container.mux(self.stream.encode(_frame(pixels, len(self.times), self.clip, self.encoding)))
        self.times.append(time)


class Segments:
    """The folder of segments of one result.

    Args:
        output: the result.
        plan: the data on which the run depends; segments with another plan are deleted.
    """

    def __init__(self, output: Path, plan: Mapping[str, Any]) -> None:
        self.folder = folder_of(output)
        self.plan = json.loads(json.dumps(plan))
        self.times: list[list[Time]] = []
        self.is_replaced = False
        with disk_errors(self.folder):
            self._start()

    def _start(self) -> None:
        if self.folder.exists() and not all(_OWN_FILE.fullmatch(each.name) for each in self.folder.iterdir()):
            raise ClipError(f"'{self.folder}' is needed for segments but holds other files; move it, or choose another output")
        self.times = self._kept_times()
        if self.folder.exists() and not self.times:
            self.is_replaced = bool(list(self.folder.glob("*.mkv")))
            shutil.rmtree(self.folder)
        self.folder.mkdir(exist_ok=True)
        _write_json(self.folder / "plan.json", self.plan)

    def _kept_times(self) -> list[list[Time]]:
        """Return the times of the segments of an earlier run with the same plan, if the run can be continued."""
        times: list[list[Time]] = []
        if _read_json(self.folder / "plan.json") != self.plan:
            return times
        while (listed := _read_json(self._path(len(times), ".json"))) and self._path(len(times), ".mkv").exists():
            times.append([Time(*each) for each in listed])
        can_go_on = times and _read_state(self._path(len(times) - 1, ".npz")) is not None
        return times if can_go_on else []

    @property
    def count(self) -> int:
        """Number of frames in complete segments."""
        return sum(map(len, self.times))

    @property
    def files(self) -> list[Path]:
        """The encoded segments, in order."""
        return [self._path(number, ".mkv") for number in range(len(self.times))]

    def state(self) -> State | None:
        """Return the state after the last segment; None before the first segment."""
        if not self.times:
            return None
        return _read_state(self._path(len(self.times) - 1, ".npz"))

    @contextmanager
    def writing(self, clip: Clip, encoding: Encoding) -> Iterator["Segment"]:
        """Write the next segment. It is kept if the block sets the state and ends without an exception.

        Raises:
            ClipError: the disk is full or the folder is not writable.
        """
        number, part = len(self.times), self.folder / "segment.part"
        with disk_errors(self.folder):
            part.unlink(missing_ok=True)  # an abandoned run may still hold the old file
            with pyav().open(str(part), "w", format="matroska") as container:
                segment = Segment(container, clip, encoding)
                yield segment
                container.mux(segment.stream.encode())
            assert segment.state is not None
            with replacing(self._path(number, ".npz")) as saved, saved.open("wb") as file:
                np.savez(file, **vars(segment.state))
            part.replace(self._path(number, ".mkv"))
            _write_json(self._path(number, ".json"), segment.times)
            with suppress(OSError):
                self._path(number - 1, ".npz").unlink(missing_ok=True)
        self.times.append(segment.times)

    def delete(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int, suffix: str) -> Path:
        return self.folder / f"{number:06}{suffix}"


def folder_of(output: Path) -> Path:
    """Return the folder of the segments of a result."""
    return output.with_name(f".{output.name}.parts")


def encoded_size(size: tuple[int, int], encoding: Encoding) -> tuple[int, int]:
    """Return the (height, width) of the result: odd sides are padded by a pixel if the codec needs even sides."""
    return (size[0] + size[0] % 2, size[1] + size[1] % 2) if encoding.is_even else size


def _frame(pixels: Pixels, number: int, clip: Clip, encoding: Encoding) -> Any:
    height, width = encoded_size(clip.size, encoding)
    padding = ((0, height - pixels.shape[0]), (0, width - pixels.shape[1]), (0, 0))
    frame = pyav().VideoFrame.from_ndarray(np.ascontiguousarray(np.pad(pixels, padding, mode="edge")), format="rgb24")
    if encoding is _LOSSLESS:
        frame = frame.reformat(format=encoding.pixel_format)
    else:
        matrix = swscale_matrix(clip.matrix)
        frame = frame.reformat(format=encoding.pixel_format, dst_colorspace=matrix, dst_color_range=_LIMITED)
    frame.pts, frame.time_base = number, _TICK
    return frame


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Convert disk errors to one-sentence errors."""
    try:
        yield
    except ImpastoError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise ClipError(
            f"the segments in '{folder}' cannot be written ({reason}); free some space or choose another folder for the "
            "result; complete segments are kept; run the same command again to continue"
        ) from error


def _read_state(path: Path) -> State | None:
    """Read a state. Return None if the file is missing or damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            if "source" in saved:  # of impasto 0.1, which kept a single frame
                return State(saved["source"][None], saved["result"][None], np.zeros(1, np.int64))
            return State(saved["sources"], saved["results"], saved["numbers"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _write_json(path: Path, value: Any) -> None:
    with replacing(path) as part:
        part.write_text(json.dumps(value), encoding="utf-8")

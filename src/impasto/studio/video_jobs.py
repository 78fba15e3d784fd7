"""Clips in a worker: check an uploaded clip, and paint a clip in segments that survive a kill."""

import math
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from impasto._version import __version__
from impasto.errors import ClipError, ImpastoError
from impasto.images import is_animation
from impasto.networks.brush_files import brush_facts
from impasto.options import Run
from impasto.options.video import VideoOptions
from impasto.recipes.pastiche import Pastiche, Record, described
from impasto.recipes.starts import Style
from impasto.studio.painting_state import Pace, write_preview
from impasto.studio.worker import Line, Message
from impasto.tensors import Image
from impasto.video.clips import Clip, check_container, frame_near, length_of, open_clip
from impasto.video.frames import as_image
from impasto.video.joining import check_sound
from impasto.video.libraries import check_libraries
from impasto.video.painters import FramePainter, load_painter, style_painter
from impasto.video.painting import Progress, VideoRun
from impasto.video.temporal import PaintFrames

_FOLDER = ".video"
_SUFFIXES = (".mp4", ".mkv")
"""Formats of results: MP4, or Matroska if MP4 cannot contain the sound of the clip."""
_FORMATS = ("mov", "matroska", "webm", "avi", "flv", "asf", "mpeg", "mpegts", "ogg")
_POSTER_SHARE = 0.4
_PREVIEW_PX = 960
_ADVICE = (
    (r"; paint it with: impasto instant .*", "; add it as a photo on the first page"),
    (r" in '[^']*'; free some space, choose another folder, or use --size", "; free some space or choose a smaller --size"),
    (r"the segments in '[^']*' cannot", "the painted frames cannot"),
    (r" or choose another folder for the result; complete segments are kept; run the same command again to continue", ""),
    (r"; the segments are kept; run the same command again to continue", ""),
    (r"; use a name that ends in \.mkv", "; paint the clip without its sound"),
    (r"run the same command again", "start the job over"),
    (r"; choose another folder$", "; free some space"),
    (r"; choose another suffix$", "; install another build of PyAV"),
    (r"'[^']*\.video/[^']*'", "the painted clip"),
)
"""Advice in error messages that does not apply to the studio, and its replacement."""


@dataclass(frozen=True)
class PaintedClip:
    """A painted clip.

    Attributes:
        path: the file.
        pastiche: one of its frames, with the record of the clip.
        seconds: duration of the painting.
    """

    path: Path
    pastiche: Pastiche
    seconds: float


def known_of(path: str, name: str) -> tuple[dict[str, Any], Image]:
    """Check an uploaded clip. Return its metadata, in the format of the API, and one of its frames.

    Raises:
        ImpastoError: it is not a clip, or cannot be painted; the message contains the user's name for the clip.
    """
    check_libraries()
    with _named({"path": path, "name": name}):
        if not is_animation(path):
            check_container(Path(path), _FORMATS)
        clip = open_clip(path)
        length, frame = length_of(clip), frame_near(clip, _POSTER_SHARE)
    facts: dict[str, Any] = {"frames": length.frames, "seconds": round(length.seconds, 3), "rate": round(float(clip.rate), 3)}
    facts["sounds"] = list(clip.sounds)
    height, width = clip.size
    return {"width": width, "height": height, "sha256": clip.sha256, "notes": [], "clip": facts}, as_image(frame)


def predicted_seconds(style: Style, size: tuple[int, int], frames: int) -> float:
    """Predict how long the method ``paint`` takes for a clip without cuts.

    Args:
        style: the style.
        size: (height, width) of the frames.
        frames: number of frames.
    """
    options = VideoOptions(method="paint")
    return PaintFrames(style, options.stability, options.strength, Run()).predicted_seconds(size, frames)


def painted(styles: Sequence[Style], order: Message, line: Line) -> PaintedClip | None:
    """Paint a clip, or continue after its last complete segment. Return None if the parent requests a stop.

    Args:
        styles: a style for the instant painter; empty if the order names a brush.
        order: the order.
        line: the connection to the parent.

    Raises:
        ImpastoError: the clip or the style cannot be painted; the message contains the user's name for the clip.
    """
    check_libraries()
    options = VideoOptions(**order["options"])
    if not order["checkpoint"]:
        _delete_earlier(order)
    with _named(order["clip"]):
        clip = open_clip(order["clip"]["path"], longest_px=options.size)
        clip = clip if order["sound"] else replace(clip, sounds=())
        checkpoint = order["checkpoint"] or {"done": 0, "seconds": 0.0}
        path = _finished(order)
        if path is None:
            session = _Session(order, line, checkpoint["seconds"])
            path = session.paint(clip, _painter(styles, options, order))
            checkpoint = {"done": session.done, "seconds": session.seconds}
        if path is None:
            return None
        poster = as_image(frame_near(open_clip(path), _POSTER_SHARE))
    shutil.rmtree(_folder(order), ignore_errors=True)
    return PaintedClip(path, Pastiche(poster, None, None, _record(clip, styles, order, checkpoint)), checkpoint["seconds"])


def _painter(styles: Sequence[Style], options: VideoOptions, order: Message) -> FramePainter:
    run = Run(**order["run"])
    if styles:
        return style_painter(styles[0], options, run)
    return load_painter(order["brush"], replace(options, method="brush"), run)


class _Session:
    """One attempt at painting a clip.

    Attributes:
        done: number of frames painted so far.
        seconds: duration of all attempts.
    """

    def __init__(self, order: Message, line: Line, seconds_before: float) -> None:
        self.order, self.line = order, line
        self.done, self.saved = 0, 0
        self._began = time.monotonic() - seconds_before
        self._paces = {what: Pace(what) for what in ("progress", "preview")}

    @property
    def seconds(self) -> float:
        """Duration of all attempts so far."""
        return round(time.monotonic() - self._began, 1)

    def paint(self, clip: Clip, painter: FramePainter) -> Path | None:
        """Paint all frames that are not painted yet, and join them. Return None if the parent requests a stop."""
        output = _output(clip, self.order)
        run = VideoRun(clip, painter, output, VideoOptions(**self.order["options"]))
        self.done = self.saved = run.resumed
        for state in run.paint():
            self._tell(state)
            self._tell_checkpoint(run)
            if self.line.how and state.done < state.total:
                return None
        self._tell_checkpoint(run)
        run.finish()
        return output.replace(self.order["result"] + output.suffix)

    def _tell(self, state: Progress) -> None:
        """Report the progress, and the newest frame."""
        self.done, is_last = state.done, state.done == state.total
        has_frame = (self._paces["preview"].is_due() or is_last) and self._write(state)
        if has_frame or self._paces["progress"].is_due():
            self.line.say("progress", progress=self._progress(state), preview=has_frame)
            self._paces["progress"].took(time.monotonic())

    def _write(self, state: Progress) -> bool:
        began = time.monotonic()
        is_written = write_preview(Path(self.order["work"] + ".jpg"), as_image(state.frame), _PREVIEW_PX)
        self._paces["preview"].took(began)
        return is_written

    def _progress(self, state: Progress) -> Message:
        height, width = state.frame.shape[:2]
        return {
            "step": state.done,
            "steps": state.total,
            "share": round(state.done / state.total, 4),
            "size": [width, height],
            "losses": {},
            "seconds": self.seconds,
            "seconds_left": round(state.seconds_left, 1) if math.isfinite(state.seconds_left) else None,
            "note": "",
        }

    def _tell_checkpoint(self, run: VideoRun) -> None:
        """Report each complete segment: the painting can continue after it."""
        count = run.segments.count
        if count > self.saved:
            self.saved = count
            self.line.say("checkpoint", checkpoint={"done": count, "scale": 0, "here": count, "seconds": self.seconds})


# ---------------------------------------------------------------------------------------------------- files


def _folder(order: Message) -> Path:
    return Path(order["work"] + _FOLDER)


def _output(clip: Clip, order: Message) -> Path:
    """Return the path at which a clip is painted; its folder also holds the segments."""
    folder = _folder(order)
    folder.mkdir(exist_ok=True, mode=0o700)
    path, other = (folder / f"painted{suffix}" for suffix in _SUFFIXES)
    try:
        check_sound(clip, path)
    except ClipError:
        return other
    return path


def _finished(order: Message) -> Path | None:
    """Return the painted clip if an earlier attempt was killed between writing and reporting it, otherwise None."""
    return next((path for suffix in _SUFFIXES if (path := Path(order["result"] + suffix)).is_file()), None)


def _delete_earlier(order: Message) -> None:
    """Delete the files of an earlier attempt, because the job starts over."""
    shutil.rmtree(_folder(order), ignore_errors=True)
    for suffix in _SUFFIXES:
        Path(order["result"] + suffix).unlink(missing_ok=True)


# ---------------------------------------------------------------------------------------------------- messages, record


@contextmanager
def _named(source: Message) -> Iterator[None]:
    """Change error messages: use the user's name for the clip, and give advice that applies to the studio."""
    try:
        yield
    except ImpastoError as error:
        text = str(error).replace(source["path"], source["name"])
        for pattern, better in _ADVICE:
            text = re.sub(pattern, better, text, flags=re.DOTALL)
        if text == str(error):
            raise
        raise type(error)(text) from (error.__cause__ or error)


def _record(clip: Clip, styles: Sequence[Style], order: Message, checkpoint: Message) -> Record:
    facts = {"width": clip.size[1], "height": clip.size[0], "rate": round(float(clip.rate), 3), "sounds": list(clip.sounds)}
    found: Record = {
        "impasto": __version__,
        "torch": torch.__version__,
        "recipe": "video",
        "content": {"name": order["clip"]["name"], "sha256": clip.sha256},
        "clip": facts,
        "styles": [described(each) for each in styles],
        "run": asdict(Run(**order["run"])),
        "options": asdict(VideoOptions(**order["options"])),
        "steps": {"done": checkpoint["done"]},
        "seconds": checkpoint["seconds"],
    }
    if styles:
        return found
    brush = brush_facts(order["brush"])
    return found | {"brush": {"name": brush.get("title") or brush.get("name", "")}}

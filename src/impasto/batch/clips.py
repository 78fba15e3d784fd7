"""Clips painted on a cluster. Actors paint frames, and this machine blends and encodes them in their order.

A brush paints each frame independently, so actors can paint stretches of a few frames at the same time. This machine then
blends all frames in order along the optical flow, which is fast. Blending gives the same values as without a cluster, so there
is no seam between stretches.

The methods ``instant`` and ``paint`` start each frame from the previous results. Therefore, the stretches of a shot are painted
one after the other, each from the last results of the stretch before it. Only different shots are painted at the same time.
"""

import math
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch

from impasto._version import __version__
from impasto.batch.actors import IN_FLIGHT, ActorPool
from impasto.batch.cluster import ClusterOptions, RayActors, closed_at_end, connected
from impasto.batch.memory import memory_of_frames
from impasto.batch.methods import BatchOptions
from impasto.batch.parcels import style_file
from impasto.errors import ClusterError, ImpastoError
from impasto.networks.johnson import Statistics
from impasto.options import InstantOptions, PaintOptions, Run
from impasto.options.brush import BrushOptions
from impasto.options.video import VideoOptions
from impasto.runtime.memory import keep_freed_memory
from impasto.runtime.torch_state import in_known_state
from impasto.video.clips import Pixels
from impasto.video.flow import Array, Past, Stabilizer
from impasto.video.painters import BrushFrames, FramePainter, InstantFrames, load_painter
from impasto.video.painting import Place, Ready, VideoRun

_MOST_FRAMES, _MOST_BYTES = 8, 32 * 2**20
"""Maximum number of frames in a stretch, and maximum size of their results in bytes."""
_AHEAD = 2
"""Maximum number of stretches in memory, divided by the number that the actors can have. Painted ones wait for earlier ones."""


@dataclass(frozen=True, kw_only=True)
class Commission:
    """What all frames of a clip are painted with.

    Attributes:
        style: the style or the brush, a path or a name.
        style_name: the name of the file that is sent as the style; empty if the style is part of the package.
        options: how to paint.
        run: device, precision and threads of each actor.
    """

    style: str
    style_name: str
    options: VideoOptions
    run: Run


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Successive frames of a shot.

    Attributes:
        frames: frames, (height, width, 3).
        shot: number of the shot.
        statistics: those of the shot, for a brush; else None.
        past: the earlier frames from which the first frame starts, newest last; not for a brush.
    """

    frames: tuple[Pixels, ...]
    shot: int
    statistics: tuple[Statistics | None, ...] | None = None
    past: tuple[Past, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Painted:
    """A painted stretch.

    Attributes:
        frames: the result of each frame: before blending (floats) or, if frames follow earlier results, blended (8 bits).
        stored: if frames follow earlier results, the blends to store; see :meth:`impasto.video.flow.Stabilizer.follow`.
        past: the earlier frames from which the next frame starts.
        error: why the stretch cannot be painted.
    """

    frames: tuple[Array | Pixels, ...] = ()
    stored: tuple[Pixels, ...] = ()
    past: tuple[Past, ...] = ()
    error: str = ""


class ClipPainter:
    """Paints stretches, in a worker process on any machine.

    Args:
        commission: what all frames are painted with.
        style: the file of the style or the brush; None if it is part of the package.
    """

    def __init__(self, commission: Commission, style: bytes | None) -> None:
        keep_freed_memory()
        torch.set_num_threads(commission.run.threads)
        self._options, self._shot = commission.options, -1
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = Path(folder, commission.style_name)
            if style is not None:
                path.write_bytes(style)
            self._painter = load_painter(commission.style if style is None else path, commission.options, commission.run)
        self._current: FramePainter = self._painter

    def version(self) -> str:
        """Return the version of impasto on this machine."""
        return __version__

    def close(self) -> None:
        """Do nothing: there are no files to delete."""

    @in_known_state
    def paint(self, stretch: Stretch) -> Painted:
        """Paint a stretch. Any error becomes part of the result."""
        try:
            painter = self._painter_of(stretch)
            frames = [each.copy() for each in stretch.frames]  # Ray's arrays cannot be written, of which PyTorch warns
            if not painter.follows:
                return Painted(frames=tuple(painter.paint(each, 0) for each in frames))
            stabilizer = Stabilizer(self._options.stability, painter.keys, painter.contrast)
            stabilizer.past = list(stretch.past)
            results, stored = [], []
            for each in frames:
                results.append(stabilizer.blend(each, painter.paint(each, 0, stabilizer.past)))
                stored.append(stabilizer.past[-1].result)
            return Painted(frames=tuple(results), stored=tuple(stored), past=tuple(stabilizer.past))
        except Exception as error:
            words = str(error) if isinstance(error, ImpastoError) else f"unexpected {type(error).__name__}: {error}"
            return Painted(error=" ".join(words.split()))

    def _painter_of(self, stretch: Stretch) -> FramePainter:
        if stretch.statistics is not None and stretch.shot != self._shot:
            assert isinstance(self._painter, BrushFrames)
            self._shot, self._current = stretch.shot, self._painter.with_statistics(stretch.statistics)
        return self._current


@dataclass(eq=False)
class _Lane:
    """Frames that are painted in order: a stretch or, if frames follow earlier results, a shot.

    Attributes:
        past: the earlier frames from which the next stretch starts.
        waiting: the frames that no actor has yet.
        sent: the frames that an actor has.
        ready: the frames that are painted.
    """

    past: tuple[Past, ...]
    waiting: deque[Place] = field(default_factory=deque)
    sent: list[Place] = field(default_factory=list)
    ready: deque[Ready] = field(default_factory=deque)

    @property
    def is_finished(self) -> bool:
        return not (self.waiting or self.sent or self.ready)


@dataclass(frozen=True, eq=False)
class _Job:
    lane: _Lane
    stretch: Stretch


class Stretches:
    """The freight of a clip: see :class:`impasto.batch.actors.Freight`."""

    def packed(self, item: _Job) -> Stretch:
        """Return the frames."""
        return item.stretch

    def unpacked(self, item: _Job, delivery: Painted) -> tuple[_Lane, Painted]:
        """Return the results."""
        return item.lane, delivery

    def failed(self, item: _Job, error: str) -> tuple[_Lane, Painted]:
        """Return the error."""
        return item.lane, Painted(error=error)


class _Lanes:
    """The lanes of a clip. Frames are read when a lane needs them; those of a shot are all read before the next shot begins."""

    def __init__(self, places: Iterator[Place], past: Sequence[Past], run: VideoRun, most: int) -> None:
        self._places, self._past, self._most = places, tuple(past), most
        self._follows, self._last_shot = run.painter.follows, len(run.shots) - 1
        self._place = next(places, None)
        self._open: _Lane | None = None
        self._shot = -1

    def next(self) -> _Lane | None:
        """Begin the next lane. Return None if there is none."""
        if self._open is not None:
            if self._shot == self._last_shot:
                return None
            self.fill(self._open, sys.maxsize)
        if self._place is None:
            return None
        lane = _Lane(self._past if self._follows and not self._place.is_first else (), deque([self._place]))
        self._shot, self._place, self._open = self._place.shot, next(self._places, None), lane
        self.fill(lane, self._most)
        if not self._follows:
            self._open = None
        return lane

    def fill(self, lane: _Lane, most: int) -> None:
        """Read frames of a lane until ``most`` frames are waiting, or the lane has no more frames."""
        while lane is self._open and len(lane.waiting) < most and self._place is not None and not self._place.is_first:
            lane.waiting.append(self._place)
            self._place = next(self._places, None)


class ClusterPainting:
    """A :data:`impasto.video.painting.Painting` by a pool of actors.

    Args:
        pool: the actors.
        run: the clip and its painter.
    """

    def __init__(self, pool: ActorPool[_Job, tuple[_Lane, Painted]], run: VideoRun) -> None:
        self._pool, self._run, self._painter = pool, run, run.painter
        self._follows, self._most = run.painter.follows, frames_in_stretch(run.clip.size)
        self._most_lanes = pool.count if self._follows else _AHEAD * IN_FLIGHT * pool.count

    def __call__(self, places: Iterator[Place], past: Sequence[Past]) -> Iterator[Ready]:
        """Yield the frames in their order, while the actors paint later frames.

        Raises:
            ClusterError: a stretch cannot be painted, or no actor can start.
        """
        lanes: deque[_Lane] = deque()
        source = _Lanes(places, past, self._run, self._most)
        while True:
            while self._pool.has_room and len(lanes) < self._most_lanes and (lane := source.next()) is not None:
                lanes.append(lane)
                self._submit(lane)
            if not lanes:
                return
            while lanes[0].ready:
                yield lanes[0].ready.popleft()
            if lanes[0].is_finished:
                lanes.popleft()
                continue
            for found, painted in self._pool.outcomes():
                self._take(found, painted)
                source.fill(found, self._most)
                if found.waiting:
                    self._submit(found)

    def _submit(self, lane: _Lane) -> None:
        """Send the next stretch of a lane."""
        lane.sent = [lane.waiting.popleft() for _ in range(min(self._most, len(lane.waiting)))]
        shot = lane.sent[0].shot
        statistics = self._painter.statistics(shot) if isinstance(self._painter, BrushFrames) else None
        frames = tuple(each.frame.pixels for each in lane.sent)
        self._pool.submit(_Job(lane, Stretch(frames=frames, shot=shot, statistics=_on_cpu(statistics), past=lane.past)))

    def _take(self, lane: _Lane, painted: Painted) -> None:
        if painted.error:
            raise ClusterError(f"a worker of the cluster cannot paint ({painted.error})")
        for number, (place, frame) in enumerate(zip(lane.sent, painted.frames, strict=True)):
            pixels = place.frame.pixels
            stored = painted.stored[number] if self._follows else None
            lane.ready.append(Ready(place, partial(_finished, pixels, frame, stored)))
        lane.sent, lane.past = [], painted.past


@contextmanager
def cluster_painting(options: ClusterOptions, run: VideoRun, style: str, where: Run) -> Iterator[ClusterPainting]:
    """Connect to a cluster and start actors that paint a clip. At the end, end them and disconnect.

    Raises:
        ClusterError: the cluster cannot be used, or has no room for an actor.

    Args:
        options: address and resources of the actors.
        run: the clip and its painter.
        style: the style or the brush, a path or a name.
        where: device, precision and threads of each actor; by default one thread.
    """
    where = replace(where, threads=where.threads or 1)
    file = style_file(style, "brush" if isinstance(run.painter, BrushFrames) else "instant")
    commission = Commission(style=style, style_name=Path(file).name, options=run.options, run=where)

    def memory() -> int:
        return memory_of_frames(run.clip.size, style, _method_options(run), replace(where, device="cpu"))

    with connected(options, where.threads, memory) as (ray, count, needed):
        data = ray.put(Path(file).read_bytes()) if file else None
        actors = RayActors(ray, ClipPainter, (commission, data), needed)
        with closed_at_end(ActorPool(min(count, _most_actors(run)), actors, Stretches())) as pool:
            yield ClusterPainting(pool, run)


def frames_in_stretch(size: tuple[int, int]) -> int:
    """Return the number of frames in a stretch, for frames of a size (height, width).

    Example:
        >>> frames_in_stretch((360, 640)), frames_in_stretch((1080, 1920))
        (8, 1)
    """
    return max(1, min(_MOST_FRAMES, _MOST_BYTES // (12 * size[0] * size[1])))


def _most_actors(run: VideoRun) -> int:
    """Return how many actors have work at the same time."""
    if run.painter.follows:
        return sum(end > run.resumed for end in accumulate(run.shots))
    return math.ceil((run.total - run.resumed) / frames_in_stretch(run.clip.size))


def _method_options(run: VideoRun) -> BatchOptions:
    strength = run.options.strength
    if isinstance(run.painter, BrushFrames):
        return BrushOptions(strength=strength)
    if isinstance(run.painter, InstantFrames):
        return InstantOptions(strength=strength)
    return PaintOptions(size=max(run.clip.size), strength=strength)


def _finished(pixels: Pixels, frame: Any, stored: Pixels | None, stabilizer: Stabilizer) -> Pixels:
    return stabilizer.blend(pixels, frame) if stored is None else stabilizer.follow(pixels, frame, stored)


def _on_cpu(statistics: tuple[Statistics | None, ...] | None) -> tuple[Statistics | None, ...] | None:
    if statistics is None:
        return None
    return tuple(None if each is None else (each[0].cpu(), each[1].cpu()) for each in statistics)

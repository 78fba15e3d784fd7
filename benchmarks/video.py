"""Measure the flicker and the speed of videos.

python benchmarks/video.py [STYLE [CLIP ...]] [--method auto] [--stability 0.6 0.8 1] [--frames 48] [--size 640]

Without a clip, the script renders a camera that pans, zooms and shakes over a photo, with a disk that moves across it. The
warping error is the root mean square of the change of the result along the movement of the clip, where nothing was hidden; the
ratio compares it with painting frame by frame. The flow of the measurement is estimated at full size, with a slower setting
than the flow used for blending. "frames/s" includes decoding, blending and encoding, but neither loading nor the search for
cuts.
"""

import argparse
import json
import math
import tempfile
import time
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import skimage.data

from impasto.options.video import VideoOptions
from impasto.video import flow
from impasto.video.clips import Pixels, frames, open_clip
from impasto.video.painters import load_painter
from impasto.video.painting import VideoRun

WIDTH, RATE = 640, 24


def main() -> None:
    """Print a line of JSON for each clip and each stability."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("style", nargs="?", default="starry-night")
    parser.add_argument("clips", type=Path, nargs="*")
    parser.add_argument("--stability", type=float, nargs="+", default=[0.6, 0.8, 1.0])
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--method", default="auto")
    parser.add_argument("--size", type=int, default=WIDTH, help="longer side of the clips")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for clip in given.clips or [rendered(Path(folder) / "rendered.mp4", given.frames, given.size)]:
            sources = [each.pixels for each in islice(frames(open_clip(clip, longest_px=given.size)), given.frames)]
            motions = [accurate_motion(*pair) for pair in pairwise(sources)]
            alone = 0.0
            for stability in (0.0, *given.stability):
                options = VideoOptions(method=given.method, stability=stability, size=given.size)
                results, speed = painted(clip, given.style, options, Path(folder) / "out.mkv")
                error = warping_error(results[: len(sources)], motions)
                alone = alone or error
                found = {"stability": stability, "error": error, "ratio": error / alone, "frames/s": speed}
                print(json.dumps({"clip": clip.name} | {key: round(value, 4) for key, value in found.items()}), flush=True)


def rendered(path: Path, count: int, width: int = WIDTH) -> Path:
    """Render a clip of 16:9."""
    size = (width, round(width * 9 / 16))
    scene = cv2.resize(skimage.data.astronaut(), (1024, 1024), interpolation=cv2.INTER_CUBIC)  # type: ignore[no-untyped-call]
    generator = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"crf": "16"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(count):
            zoom, shake = 1 + 0.002 * number, generator.normal(0, 0.4, 2)
            place = np.array([[zoom, 0, -60 - 2.5 * number + shake[0]], [0, zoom, -40 - number + shake[1]]], np.float32)
            frame: Any = cv2.warpAffine(scene, place, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
            cv2.circle(frame, (30 + 7 * number, size[1] * 5 // 9), size[1] // 8, (230, 120, 40), -1, cv2.LINE_AA)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def painted(clip: Path, style: str, options: VideoOptions, output: Path) -> tuple[list[Pixels], float]:
    """Paint a clip; return the frames of the result and the frames per second after the first frame."""
    opened = open_clip(clip, longest_px=options.size)
    run, ends = VideoRun(opened, load_painter(style, options), output, options), []
    for _ in run.paint():
        ends.append(time.perf_counter())
    run.finish()
    return [each.pixels for each in frames(open_clip(output))], (len(ends) - 1) / (ends[-1] - ends[0])


def accurate_motion(before: Pixels, now: Pixels) -> flow.Motion:
    """Estimate the motion at full size; trust only pixels that were not hidden."""
    search: Any = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]
    old, new = (cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (before, now))
    back, forth = search.calc(new, old, None), search.calc(old, new, None)
    return flow.Motion(back, (flow._agreement(back, forth) > 0.99).astype(np.float32))


def warping_error(results: list[Pixels], motions: list[flow.Motion]) -> float:
    """Return the root mean square change along the motion, in [0, 1]."""
    errors: list[float] = []
    for (before, now), motion in zip(pairwise(results), motions, strict=True):
        moved = flow.warped(before.astype(np.float32) / 255, motion.flow)
        errors.append(float(((moved - now.astype(np.float32) / 255) ** 2).mean(-1)[motion.trust > 0].mean()))
    return math.sqrt(sum(errors) / len(errors))


if __name__ == "__main__":
    main()

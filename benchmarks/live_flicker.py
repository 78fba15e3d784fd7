"""Measure the flicker of a brush on the webcam page, with and without the page's filter.

python benchmarks/live_flicker.py [FILE.onnx] [--noise 1 3] [--pixels 0 1 4]

Without a file, the first included brush paints. The simulated camera shows a part of a portrait (skimage.data.astronaut) with
noise of this standard deviation in 8-bit levels, and moves by this number of pixels per frame. All figures are mean differences
in 8-bit levels: "camera", "painted" and "filtered" of successive frames, and "trail" of the filtered from the painted frames,
which is visible behind moving things. The constants of the filter are read from static/live-steady.js. Needs onnxruntime.
"""

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import skimage.data
import torch
from skimage.filters import gaussian

from impasto import images
from impasto.images import resize
from impasto.networks.onnx_runtime import load_onnxruntime
from impasto.studio.app import STATIC
from impasto.studio.live_brushes import SHIPPED

Frame = npt.NDArray[np.float32]
EDGE_PX, SEEN_PX, FRAMES, FIRST = 384, 256, 16, 5
GRAIN_PX = 0.7


def main() -> None:
    """Print a line of JSON for each amount of noise and each speed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("graph", type=Path, nargs="?", default=next(iter(sorted(SHIPPED.glob("*.onnx"))), None))
    parser.add_argument("--noise", type=float, nargs="+", default=[1.0, 3.0])
    parser.add_argument("--pixels", type=float, nargs="+", default=[0.0, 1.0, 4.0])
    given = parser.parse_args()
    if given.graph is None:
        raise SystemExit("no brush is included; export one and give it")
    session = load_onnxruntime().InferenceSession(str(given.graph), providers=["CPUExecutionProvider"])
    for noise in given.noise:
        for pixels in given.pixels:
            frames = list(camera(noise, pixels))
            print(json.dumps({"noise": noise, "pixels_per_frame": pixels} | measured(frames, session)), flush=True)


def camera(noise: float, pixels: float) -> Iterator[Frame]:
    """Yield the frames of the simulated camera: (1, 3, height, width) in 8-bit levels."""
    generator = np.random.default_rng(0)
    portrait = images.read(skimage.data.astronaut()[:320, 64:384]).image  # type: ignore[no-untyped-call]
    scene = 255 * resize(portrait, (EDGE_PX, EDGE_PX)).numpy()
    for number in range(FRAMES):
        left = round(pixels * number)
        grain = gaussian(generator.standard_normal((3, SEEN_PX, SEEN_PX)), GRAIN_PX, channel_axis=0)  # type: ignore[no-untyped-call]
        seen = scene[..., :SEEN_PX, left : left + SEEN_PX] + noise * grain / grain.std()
        yield seen.clip(0, 255).round().astype(np.float32)


def measured(frames: list[Frame], session: Any) -> dict[str, float]:
    """Paint the frames, filter them and compare them."""
    painted = [(255 * session.run(None, {"photo": frame / 255})[0].clip(0, 1)).round() for frame in frames]
    filtered = list(steadied(painted))
    figures = {
        "camera": changes(frames),
        "painted": changes(painted),
        "filtered": changes(filtered),
        "trail": [float(np.abs(one - two).mean()) for one, two in zip(filtered, painted, strict=True)][FIRST:],
    }
    return {name: round(float(np.mean(values)), 2) for name, values in figures.items()}


def steadied(painted: list[Frame]) -> Iterator[Frame]:
    """Filter the frames as the page does."""
    source = (STATIC / "live-steady.js").read_text("utf-8")
    least, moved = (float(re.search(rf"const {name} = ([\d.]+);", source)[1]) for name in ("LEAST", "MOVED"))  # type: ignore[index]
    screen = painted[0]
    for frame in painted:
        difference = np.abs(frame - screen).max(1, keepdims=True)
        screen = screen + np.minimum(1, least + (1 - least) * difference / moved) * (frame - screen)
        yield screen


def changes(frames: list[Frame]) -> list[float]:
    """Return the differences of successive frames, without the first ones."""
    return [float(np.abs(two - one).mean()) for one, two in zip(frames[FIRST:], frames[FIRST + 1 :], strict=False)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

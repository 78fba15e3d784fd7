"""Clips rendered for the tests: two textured squares that move over a textured ground, with a tone."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

COUNT, HEIGHT, WIDTH, RATE = 30, 64, 96, 30
TICK = Fraction(1, 15360)


def pixels(number: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """Return a frame of the clip."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    frame = np.stack([90 + 40 * np.sin(columns / 5), 90 + 40 * np.sin(rows / 4), 90 + 40 * np.cos((rows + columns) / 6)], -1)
    square = np.random.default_rng(0).integers(60, 255, (5, 5, 3)).repeat(4, 0).repeat(4, 1)
    for top, left in ((10, 5 + number), (height - 28, width - 30 - number)):
        part = frame[top : top + 20, left : left + 20]
        part[:] = square[: part.shape[0], : part.shape[1]]
    return frame.astype(np.uint8)


@pytest.fixture
def render(tmp_path: Path) -> Callable[..., Path]:
    """Write a clip; by default 30 frames of 96 x 64 pixels in H.264, with sound."""

    def make(
        name: str = "clip.mp4",
        *,
        times: Sequence[int] | None = None,
        frames: Sequence[np.ndarray] | None = None,
        codec: str = "libx264",
        pixel_format: str = "yuv420p",
        rotation: int = 0,
        sound: str = "aac",
        **settings: Any,
    ) -> Path:
        path = tmp_path / name
        frames = [pixels(number) for number in range(COUNT)] if frames is None else frames
        with av.open(str(path), "w") as container:
            video: Any = container.add_stream(codec, rate=RATE)
            video.height, video.width, _ = frames[0].shape
            video.pix_fmt, video.codec_context.time_base = pixel_format, TICK
            for key, value in settings.items():
                setattr(video.codec_context, key, value)
            if rotation:
                video.set_display_rotation(rotation)
            audio: Any = container.add_stream(sound, rate=48000) if sound else None
            for number, each in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(each), format="rgb24")
                frame.pts, frame.time_base = times[number] if times else 512 * number, TICK
                container.mux(video.encode(frame))
            container.mux(video.encode())
            if audio:
                add_tone(container, audio)
        return path

    return make


def add_tone(container: Any, audio: Any) -> None:
    """Add a second of a tone."""
    wave = np.sin(np.arange(48000) * 2 * np.pi * 440 / 48000).astype(np.float32)[None]
    step = audio.codec_context.frame_size or 960
    for start in range(0, wave.shape[1] - step, step):
        frame = av.AudioFrame.from_ndarray(wave[:, start : start + step], format="fltp", layout="mono")
        frame.rate, frame.pts = 48000, start
        container.mux(audio.encode(frame))
    container.mux(audio.encode())

"""Clips and a brush for tests of the studio, and files that are not clips."""

import io
import tempfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

import studio_pieces as pieces
from impasto.networks.brush_files import save_brush
from impasto.networks.johnson import Johnson, Layout

SECRET = "taken-at-home"
"""A text in the metadata of the clips."""


def clip(
    count: int = 24,
    size: tuple[int, int] = (64, 48),
    *,
    suffix: str = ".mp4",
    sound: str = "aac",
    trc: int = 0,
    video: bool = True,
) -> bytes:
    """A clip of a moving pattern at 30 frames per second, with a tone."""
    width, height = size
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip{suffix}"
        with av.open(str(path), "w") as container:
            track: Any = container.add_stream("libx264", rate=30) if video else None
            tone: Any = container.add_stream(sound, rate=48000, layout="mono") if sound else None
            container.metadata["comment"] = SECRET
            if track:
                track.width, track.height, track.pix_fmt = width, height, "yuv420p"
                track.codec_context.color_trc = trc or 1
            for number in range(count if track else 0):
                container.mux(track.encode(av.VideoFrame.from_ndarray(_picture(number, size), format="rgb24")))
            if track:
                container.mux(track.encode())
            if tone:
                tone.metadata["title"] = SECRET
                _add_tone(container, tone, count)
        return path.read_bytes()


def _picture(number: int, size: tuple[int, int]) -> np.ndarray:
    rows, columns = np.mgrid[: size[1], : size[0]]
    waves = [128 + 90 * np.sin((columns + number) / 6), 128 + 90 * np.sin(rows / 5), 128 + 90 * np.cos((rows + columns) / 9)]
    return np.ascontiguousarray(np.stack(waves, -1).astype(np.uint8))


def _add_tone(container: Any, tone: Any, count: int) -> None:
    wave = (np.sin(np.arange(48000 * count // 30) / 17) * 9000).astype(np.int16)[None]
    for start in range(0, wave.shape[1] - 1024, 1024):
        frame = av.AudioFrame.from_ndarray(wave[:, start : start + 1024], format="s16", layout="mono")
        frame.rate, frame.pts = 48000, start
        container.mux(tone.encode(frame))
    container.mux(tone.encode())


def tiny_brush(path: Path) -> Path:
    """Write a brush of a random network."""
    torch.manual_seed(0)  # noqa: TID251  (initialization has no generator)
    save_brush(path, Johnson(Layout(4, blocks=1)), {"name": "tiny", "title": "A tiny brush"})
    return path


def hostile(kind: str, secret: Path) -> bytes:
    """A file that is not a clip. Playlists and manifests name a file of the server."""
    target = (secret / "studio.db").as_uri()
    mpd = f'<MPD profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><BaseURL>{target}</BaseURL></MPD>'.encode()
    files = {
        "text": lambda: b"nothing but words\n" * 200,
        "photo": pieces.photo,
        "playlist": lambda: f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n".encode(),
        "manifest": lambda: b"\x00\x00\x00\x14ftypisom" + mpd,
        "list": lambda: f"ffconcat version 1.0\nfile '{target}'\n".encode(),
        "cut": lambda: clip()[:900],
        "sound": lambda: clip(video=False),
        "hdr": lambda: clip(3, trc=16),
        "still": _still,
        "empty": lambda: b"",
    }
    return files[kind]()


def _still() -> bytes:
    import PIL.Image

    stream = io.BytesIO()
    PIL.Image.new("RGB", (40, 32)).save(stream, "GIF")
    return stream.getvalue()

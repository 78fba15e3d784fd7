"""What tests of clips read from a file."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from impasto.video.clips import frames, open_clip


def times_of(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def sound_of(path: Path) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        return [(each.pts * each.time_base, bytes(each)) for each in container.demux(audio=0) if each.size]


def pictures_of(path: Path) -> list[np.ndarray]:
    return [each.pixels.copy() for each in frames(open_clip(path))]

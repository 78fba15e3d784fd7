"""Frames that are missing in a damaged MKV or WebM file. libav skips the parts that it cannot read, and reports no error.

More bytes between two packets than their headers need are a sign of damage. Frames are missing if there is also a gap between
the times of the frames: a gap without damage is a pause of the clip.
"""

import math
import re
from fractions import Fraction
from typing import Any

_FORMAT = "matroska"
_MOST_BETWEEN_BYTES = 64
"""Bytes between two packets of an undamaged file: the headers of a block, and of a cluster. Measured: 6 to 23."""
_HEADER_BYTES = 4
"""Bytes between the place of a packet, according to libav, and its content: number of the track, time and flags."""
_MAY_FOLLOW = bytes.fromhex("75 9b fb bf ec 10 11 12 19 1c")
"""First bytes of the elements that may follow the last block of an undamaged file: of its group, or after all clusters."""
_REORDERED = 16
"""A frame may be decoded up to this many frames after its packet was read."""
_DURATION = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")


class MissingFrames:
    """Counts the frames that are missing in a video stream.

    Args:
        container: the file, open for reading.
        stream: its video stream.
        rate: average frames per second, according to the file.
    """

    def __init__(self, container: Any, stream: Any, rate: Fraction) -> None:
        self._path = container.name
        self._is_checked = _FORMAT in container.format.name and "alpha_mode" not in stream.metadata  # alpha is between packets
        self._step_seconds, self._unit_seconds = float(1 / rate), float(stream.time_base)
        self._declared_seconds = _seconds(stream.metadata.get("DURATION", ""))
        self._start = self._end = 0
        self._damaged_until, self._last_seconds = -math.inf, math.nan

    def read(self, packet: Any) -> None:
        """Note where a packet of any stream is in the file."""
        if not packet.size or packet.pos is None:
            return
        is_damaged = self._end and packet.pos - self._end > _MOST_BETWEEN_BYTES
        if is_damaged and packet.pts is not None:
            self._damaged_until = float(packet.pts * packet.time_base) + _REORDERED * self._step_seconds
        inside = self._end if packet.pos == self._start else packet.pos  # several packets of sound may be in one block
        self._start, self._end = packet.pos, inside + packet.size

    def before(self, pts: int) -> int:
        """Return the number of frames that are missing before a decoded frame, given its time."""
        now, last = pts * self._unit_seconds, self._last_seconds
        self._last_seconds = now
        return self._missing(now - last) if last <= self._damaged_until else 0

    def at_end(self) -> int:
        """Return the number of frames that are missing after the last decoded frame, if the file contains its duration."""
        return self._missing(self._declared_seconds - self._last_seconds) if self._is_end_damaged() else 0

    def _is_end_damaged(self) -> bool:
        """Return whether the last packet is followed by something that libav could not read."""
        try:
            with open(self._path, "rb") as file:
                file.seek(self._end + _HEADER_BYTES)
                found = file.read(1)
        except OSError:
            return False
        return bool(found) and found not in _MAY_FOLLOW

    def _missing(self, seconds: float) -> int:
        """Return the number of frames missing in a time, which is as long as one frame if none is missing."""
        return max(0, round(seconds / self._step_seconds) - 1) if self._is_checked and math.isfinite(seconds) else 0


def _seconds(text: str) -> float:
    """Read a duration such as 00:01:02.5; NaN if there is none."""
    found = _DURATION.fullmatch(text.strip())
    return 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3]) if found else math.nan

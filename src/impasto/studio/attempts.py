"""One attempt at a job by a worker elsewhere, as the studio sees it: sent, listened to, given up."""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from impasto.studio.broker import AWAY_SECONDS, LIFE_SECONDS, MISSED_SECONDS, Broker, BrokerError, new_token
from impasto.studio.wire import LINE_BYTES, PART_BYTES, Message, Part, WireError, check_part, packed, read_line

_TRIES = 15
"""How often a file is asked for that a worker has painted already."""


class LostError(Exception):
    """The worker is no longer heard of."""


class Attempt:
    """What a studio knows of a job that it gave away.

    Attributes:
        is_taken: whether a worker has it.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker, self.token = broker, new_token()
        self.is_taken = False
        self._heard = 0
        self._missed_since: float | None = None
        self._sent = time.monotonic()
        self._count = 0

    def send(self, order: Mapping[str, Any]) -> None:
        """Send an order with its files, and give it to whichever worker comes first.

        Raises:
            LookupError: a file is no longer there.
            BrokerError: the server is away.
        """
        travelling, files = packed(order)
        self._count = len(files)
        self.hold()
        for number, path in enumerate(files):
            try:
                data = path.read_bytes()
            except FileNotFoundError as error:
                raise LookupError("a file that this job needs is no longer there") from error
            self._broker.write(data, self.token, "in", number)
        self._broker.write(json.dumps(travelling, allow_nan=False).encode(), self.token, "order")
        self._broker.enqueue(self.token)
        self._sent = time.monotonic()

    def hold(self) -> None:
        """Tell that this attempt is still wanted."""
        self._broker.redis.set(self._broker.key(self.token, "held"), b"", ex=LIFE_SECONDS)

    def hear(self) -> Message | None:
        """Return the next line, or None where there is none yet.

        Raises:
            LostError: the worker is gone, or something that it said is.
            WireError: it said what no worker says.
            BrokerError: the server is away.
        """
        key = self._broker.key(self.token, "line", self._heard)
        pipe = self._broker.redis.pipeline(transaction=True)
        pipe.getrange(key, 0, LINE_BYTES)
        pipe.get(self._broker.key(self.token, "beat"))
        try:
            line, beat = pipe.execute()
        except BrokerError:
            self._missed_since = None  # the worker could not give a sign of life either
            raise
        if line:
            self._broker.redis.delete(key)
            self._heard += 1
            self._missed_since = None
            self.is_taken = True
            return read_line(line)
        self._look_for_life(beat)
        return None

    def part(self, part: Part, suffix: str, number: int) -> bytes:
        """Return a file that came with a line.

        Raises:
            WireError: it is not there, too large, or of another kind.
            BrokerError: the server stays away.
        """
        for left in reversed(range(_TRIES)):
            try:
                data = self._broker.read(PART_BYTES[part], self.token, "out", number)
                break
            except BrokerError:
                if not left:
                    raise
                time.sleep(AWAY_SECONDS)
        if data is None:
            raise WireError(f"a {part} that is not there, or has more than {PART_BYTES[part]} bytes")
        check_part(part, suffix, data)
        return data

    def wish(self, how: str) -> None:
        """Tell the worker to "stop" or to "finish"."""
        self._broker.write(how.encode(), self.token, "wish")

    def give_up(self) -> None:
        """Want nothing of it any more; whoever works on it stops, and what is still said is never read."""
        names = ("held", "order", "wish", *(f"in:{number}" for number in range(self._count)))
        with suppress(BrokerError):
            self._broker.redis.delete(*(self._broker.key(self.token, name) for name in names))

    def _look_for_life(self, beat: bytes | None) -> None:
        now = time.monotonic()
        if beat is not None:
            self._missed_since = None
            if beat.isdigit() and int(beat) > self._heard:
                raise LostError("a part of what it said was lost")
        elif not self.is_taken:
            if now - self._sent > LIFE_SECONDS + MISSED_SECONDS and self._broker.waiting() == 0:
                raise LostError("it took the job, and was not heard of")
        elif self._missed_since is None:
            self._missed_since = now
        elif now - self._missed_since > MISSED_SECONDS:
            raise LostError(f"it was not heard of for {LIFE_SECONDS + MISSED_SECONDS:.0f} seconds")


def write_whole(path: Path, data: bytes, token: str) -> None:
    """Write a file that appears whole or not at all.

    Raises:
        OSError: the system refused it; nothing is left of it.
    """
    part = path.with_name(f"{path.name}.{token[:8]}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise

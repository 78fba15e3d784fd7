"""The studio's side of one attempt at a job by a remote worker."""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from impasto.studio.broker import AWAY_SECONDS, LIFE_SECONDS, MISSED_SECONDS, Broker, BrokerError, new_token
from impasto.studio.wire import LINE_BYTES, PART_BYTES, Message, Part, WireError, check_part, packed, read_line

_TRIES = 15
"""Number of times the studio tries to read a file that a worker has sent."""


class LostError(Exception):
    """The worker no longer responds."""


class Attempt:
    """A job that the studio has sent to a remote worker.

    Attributes:
        is_taken: Whether a worker has accepted it.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker, self.token = broker, new_token()
        self.is_taken = False
        self._heard = 0
        self._missed_since: float | None = None
        self._sent = time.monotonic()
        self._count = 0

    def send(self, order: Mapping[str, Any]) -> None:
        """Send an order with its files to the queue.

        Raises:
            LookupError: A file no longer exists.
            BrokerError: The queue server does not respond.
        """
        travelling, files = packed(order)
        self._count = len(files)
        self.hold()
        for number, path in enumerate(files):
            try:
                data = path.read_bytes()
            except FileNotFoundError as error:
                raise LookupError("a file for this job no longer exists") from error
            self._broker.write(data, self.token, "in", number)
        self._broker.write(json.dumps(travelling, allow_nan=False).encode(), self.token, "order")
        self._broker.enqueue(self.token)
        self._sent = time.monotonic()

    def hold(self) -> None:
        """Signal that the studio still wants this attempt."""
        self._broker.redis.set(self._broker.key(self.token, "held"), b"", ex=LIFE_SECONDS)

    def hear(self) -> Message | None:
        """Return the next message, or None if no message has arrived.

        Raises:
            LostError: The worker no longer responds, or one of its messages is missing.
            WireError: The message is invalid.
            BrokerError: The queue server does not respond.
        """
        key = self._broker.key(self.token, "line", self._heard)
        pipe = self._broker.redis.pipeline(transaction=True)
        pipe.getrange(key, 0, LINE_BYTES)
        pipe.get(self._broker.key(self.token, "beat"))
        try:
            line, beat = pipe.execute()
        except BrokerError:
            self._missed_since = None  # without the server, the worker could not send a heartbeat either
            raise
        if line:
            self._broker.redis.delete(key)
            self._heard += 1
            self._missed_since = None
            self.is_taken = True
            return read_line(line)
        self._check_heartbeat(beat)
        return None

    def part(self, part: Part, suffix: str, number: int) -> bytes:
        """Return a file that belongs to a message.

        Raises:
            WireError: The file is missing, too large or of the wrong type.
            BrokerError: The queue server does not respond, even after several tries.
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
            raise WireError(f"a message whose {part} is missing or has more than {PART_BYTES[part]} bytes")
        check_part(part, suffix, data)
        return data

    def wish(self, how: str) -> None:
        """Ask the worker to "stop" or "finish"."""
        self._broker.write(how.encode(), self.token, "wish")

    def give_up(self) -> None:
        """Abandon the attempt. The worker stops, and its further messages are ignored."""
        names = ("held", "order", "wish", *(f"in:{number}" for number in range(self._count)))
        with suppress(BrokerError):
            self._broker.redis.delete(*(self._broker.key(self.token, name) for name in names))

    def _check_heartbeat(self, beat: bytes | None) -> None:
        now = time.monotonic()
        if beat is not None:
            self._missed_since = None
            if beat.isdigit() and int(beat) > self._heard:
                raise LostError("a message was lost")
        elif not self.is_taken:
            if now - self._sent > LIFE_SECONDS + MISSED_SECONDS and self._broker.waiting() == 0:
                raise LostError("it took the job and did not respond")
        elif self._missed_since is None:
            self._missed_since = now
        elif now - self._missed_since > MISSED_SECONDS:
            raise LostError(f"it did not respond for {LIFE_SECONDS + MISSED_SECONDS:.0f} seconds")

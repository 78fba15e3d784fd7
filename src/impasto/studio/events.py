"""Server-sent events. Only the latest state of each object is queued."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)  # listeners are compared by identity, so they are hashable
class Listener:
    """One stream of events.

    Attributes:
        job: The job whose events the listener receives. If it is None, the listener receives deletions and the events of all
            jobs.
        pending: The events to send, by object.
    """

    loop: asyncio.AbstractEventLoop
    job: str | None = None
    pending: dict[str, tuple[int | None, bytes]] = field(default_factory=dict)
    there: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, key: str, number: int | None, event: bytes) -> None:
        """Queue an event. It replaces an earlier one with the same key."""
        self.pending.pop(key, None)
        self.pending[key] = number, event
        self.there.set()

    async def next(self, timeout_seconds: float) -> list[tuple[int | None, bytes]]:
        """Wait for events. Return each event with its number, or with None if it has no number. After a timeout, return []."""
        try:
            await asyncio.wait_for(self.there.wait(), timeout_seconds)
        except TimeoutError:
            return []
        self.there.clear()
        found, self.pending = list(self.pending.values()), {}
        return found


class Hub:
    """All listeners. The methods are thread-safe, except ``listening``."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()

    @contextmanager
    def listening(self, job: str | None = None) -> Iterator[Listener]:
        """Register a listener. Call this method in a coroutine."""
        listener = Listener(asyncio.get_running_loop(), job)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def job(self, shown: dict[str, Any]) -> None:
        """Notify listeners that a job has changed."""
        self._tell(shown["id"], encoded("job", shown, shown["version"]), shown["id"], shown["version"])

    def gone(self, kind: str, identity: str) -> None:
        """Notify listeners that an object was deleted."""
        self._tell(f"gone {identity}", encoded("gone", {"kind": kind, "id": identity}), None)

    def ready(self) -> None:
        """Notify listeners that the quick worker is ready."""
        self._tell("ready", encoded("ready", {}), None)

    def wake(self) -> None:
        """Wake all listeners, so that they check for a shutdown."""
        for listener in tuple(self._listeners):
            with suppress(RuntimeError):
                listener.loop.call_soon_threadsafe(listener.there.set)

    def _tell(self, key: str, event: bytes, job: str | None, number: int | None = None) -> None:
        for listener in tuple(self._listeners):
            if listener.job is None or listener.job == job:
                try:
                    listener.loop.call_soon_threadsafe(listener.take, key, number, event)
                except RuntimeError:  # the event loop of the listener has ended
                    self._listeners.discard(listener)


def encoded(event: str, data: dict[str, Any], number: int | None = None) -> bytes:
    r"""Encode a server-sent event.

    Example:
        >>> encoded("ready", {}, 7)
        b'id: 7\nevent: ready\ndata: {}\n\n'
    """
    head = "" if number is None else f"id: {number}\n"
    return f"{head}event: {event}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()

"""Queue server between a studio and remote workers: huey over Redis, and the data of each attempt.

A job is a huey task that contains only a token, chosen at random for each attempt. The data of an attempt is stored under keys
with this token, and all keys expire::

    workers, worker:NAME        the workers; a worker's key lives ten seconds and is renewed every two
    TOKEN:held                  the studio still wants the attempt; renewed likewise
    TOKEN:beat                  heartbeat of its worker: number of messages sent; renewed likewise
    TOKEN:order, TOKEN:in:N     the order and its files
    TOKEN:wish                  "stop" or "finish"
    TOKEN:line:N, TOKEN:out:N   messages of the worker and their files

Messages are numbered strings, not a list, so that the reader can limit the length of each. All keys start with the version of
impasto, so a studio and a worker of different versions do not see each other.
"""

import json
import os
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import redis
from huey.api import Huey
from huey.registry import Message as Task
from huey.serializer import Serializer
from huey.storage import RedisStorage
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from impasto._version import __version__
from impasto.errors import OptionError

BrokerError = RedisError
"""Raised if the server does not respond."""

LIFE_SECONDS, BEAT_SECONDS = 10, 2.0
"""Lifetime of a heartbeat and interval between heartbeats."""

MISSED_SECONDS = 5.0
"""Time after the end of a heartbeat's lifetime until its sender counts as lost."""

AWAY_SECONDS = 2.0
"""Pause before a retry if the server does not respond."""

_KEPT_SECONDS = 3600
_QUEUE_SECONDS = 86_400
_TIMEOUT_SECONDS = 30.0
_TOKEN = re.compile(r"[0-9a-f]{32}")
_SCHEMES = ("redis", "rediss", "unix")


class Plain(Serializer):  # type: ignore[misc]
    """Serializes huey tasks as JSON: id, name and string arguments. Huey's default is pickle, which can run code."""

    def _serialize(self, data: Any) -> bytes:
        return json.dumps([data.id, data.name, list(data.args)]).encode()

    def _deserialize(self, data: bytes) -> Any:
        identity, name, arguments = json.loads(data)
        if not all(isinstance(each, str) for each in (identity, name, *arguments)):
            raise ValueError("a task with arguments that are not strings")
        return Task(id=identity, name=name, retries=0, retry_delay=0, args=tuple(arguments), kwargs={})


class Broker:
    """Connection to the queue server, for studio and worker."""

    def __init__(self, url: str, obey: Callable[[str], None] = lambda token: None) -> None:
        """Connect.

        Args:
            url: ``redis://[user:password@]host[:port][/number]``, ``rediss://`` for TLS, or ``unix://path``.
            obey: Called by a worker with each token.

        Raises:
            OptionError: The address is invalid or the server does not respond.
        """
        self.shown = shown(url)
        retry = Retry(ExponentialBackoff(cap=1.0, base=0.1), 3)
        options: dict[str, Any] = {"socket_connect_timeout": 5, "socket_timeout": _TIMEOUT_SECONDS, "retry": retry}
        try:
            pool = redis.ConnectionPool.from_url(url, **_password(url), **options)
            self.redis = redis.Redis(connection_pool=pool)
            self.redis.ping()
        except (RedisError, ValueError, OSError) as error:
            raise OptionError(
                f"--queue {self.shown} does not respond ({why(error)}); start a Redis server there or give another address"
            ) from error
        self._name = f"impasto:{__version__}"
        name = "impasto" + re.sub(r"\W", "", __version__)
        self._huey = Huey(name, results=False, serializer=Plain(), storage_class=RedisStorage, connection_pool=pool)

        def job(token: str) -> None:
            if _TOKEN.fullmatch(token):
                obey(token)

        self._task = self._huey.task(name="job")(job)

    def key(self, *words: object) -> str:
        """Return the name of a key."""
        return ":".join((self._name, *map(str, words)))

    # ------------------------------------------------------------------------------------------------ tasks

    def enqueue(self, token: str) -> None:
        """Add a token to the queue."""
        self._task(token)
        self.redis.expire(self._huey.storage.queue_key, _QUEUE_SECONDS)

    def waiting(self) -> int:
        """Return the number of tokens that no worker has taken."""
        return int(self._huey.storage.queue_size())

    def work(self) -> bool:
        """Process one token. Return whether there was one within a second."""
        task = self._huey.dequeue()
        if task is not None:
            self._huey.execute(task)
        return task is not None

    # ------------------------------------------------------------------------------------------------ heartbeats

    def here(self, name: str) -> None:
        """Send the heartbeat of a worker."""
        pipe = self.redis.pipeline()
        pipe.sadd(self.key("workers"), name)
        pipe.expire(self.key("workers"), _QUEUE_SECONDS)
        pipe.set(self.key("worker", name), b"", ex=LIFE_SECONDS)
        pipe.execute()

    def leave(self, name: str) -> None:
        """Remove a worker."""
        self.redis.srem(self.key("workers"), name)
        self.redis.delete(self.key("worker", name))

    def workers(self) -> int:
        """Return the number of workers."""
        names = sorted(
            each.decode("ascii", "replace") if isinstance(each, bytes) else each
            for each in self.redis.smembers(self.key("workers"))
        )
        if not names:
            return 0
        pipe = self.redis.pipeline(transaction=False)
        for name in names:
            pipe.exists(self.key("worker", name))
        found = dict(zip(names, pipe.execute(), strict=True))
        gone = [name for name, is_there in found.items() if not is_there]
        if gone:
            self.redis.srem(self.key("workers"), *gone)
        return len(names) - len(gone)

    # ------------------------------------------------------------------------------------------------ data

    def write(self, data: bytes, *words: object) -> None:
        """Write data for the other side. It expires after an hour."""
        self.redis.set(self.key(*words), data, ex=_KEPT_SECONDS)

    def read(self, most_bytes: int, *words: object) -> bytes | None:
        """Read and delete data of the other side. Return None if it is missing or too large."""
        key = self.key(*words)
        found: bytes | None = None
        if 0 < self.redis.strlen(key) <= most_bytes:
            found = self.redis.getrange(key, 0, most_bytes)  # type: ignore[assignment]
        with suppress(RedisError):  # it expires
            self.redis.delete(key)
        return found or None


def new_token() -> str:
    """Return a random token (128 bits) for an attempt."""
    return secrets.token_hex(16)


def shown(url: str) -> str:
    """Return an address without its password.

    Raises:
        OptionError: The address is invalid.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise OptionError("--queue is not an address; give one such as redis://127.0.0.1:6379/0") from None
    if parts.scheme not in _SCHEMES or not (parts.hostname or parts.scheme == "unix"):
        kind = f"an address of type {parts.scheme[:20]!r}" if parts.scheme and "://" in url else "not an address"
        raise OptionError(f"--queue is {kind}; give redis://HOST:PORT/NUMBER, or rediss:// for TLS")
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{port or 6379}{parts.path}"


def _password(url: str) -> dict[str, str]:
    """Return the password in ``IMPASTO_QUEUE_PASSWORD``. Unlike an argument, it is not visible in process lists."""
    chosen = os.environ.get("IMPASTO_QUEUE_PASSWORD", "")
    return {"password": chosen} if chosen and not urlsplit(url).password else {}


def why(error: Exception) -> str:
    """Return the reason of a server error, without the data sent."""
    if isinstance(error, redis.AuthenticationError):
        return "wrong password; see IMPASTO_QUEUE_PASSWORD"
    if isinstance(error, redis.TimeoutError):
        return "no answer in time"
    if isinstance(error, redis.ConnectionError | OSError):
        return "no connection"
    return type(error).__name__

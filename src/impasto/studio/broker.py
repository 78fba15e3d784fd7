"""The queue engine between a studio and workers on other machines: huey over Redis, and the data of each attempt beside it.

A job is a huey task that says nothing but a token, which is made by chance for each attempt at a job. Everything about the
attempt lies under keys with that token, and all of them expire::

    workers, worker:NAME        who is there; a worker's key lives ten seconds, and is written every two
    TOKEN:held                  the studio still wants it; lives and is written likewise
    TOKEN:beat                  a worker has it: how many lines it has said; likewise
    TOKEN:order, TOKEN:in:N     the order and its files
    TOKEN:wish                  "stop" or "finish"
    TOKEN:line:N, TOKEN:out:N   what the worker says, line by line, and its files

Lines are strings with numbers and not a list, so that each can be read up to a length and no further. The names begin with the
version of impasto: a studio and a worker of different versions do not see each other.
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
"""What happens when the server is away."""

LIFE_SECONDS, BEAT_SECONDS = 10, 2.0
"""How long a sign of life holds, and how often it is given."""

MISSED_SECONDS = 5.0
"""How long a sign of life must be missing, beyond its own life, while the server answers."""

AWAY_SECONDS = 2.0
"""How long to wait before the next try where the server is away."""

_KEPT_SECONDS = 3600
_QUEUE_SECONDS = 86_400
_TIMEOUT_SECONDS = 30.0
_TOKEN = re.compile(r"[0-9a-f]{32}")
_SCHEMES = ("redis", "rediss", "unix")


class Plain(Serializer):  # type: ignore[misc]
    """Writes huey's tasks as JSON: an id, a name, and texts. Huey's own way would be pickles, which can run code."""

    def _serialize(self, data: Any) -> bytes:
        return json.dumps([data.id, data.name, list(data.args)]).encode()

    def _deserialize(self, data: bytes) -> Any:
        identity, name, arguments = json.loads(data)
        if not all(isinstance(each, str) for each in (identity, name, *arguments)):
            raise ValueError("a task of something else than texts")
        return Task(id=identity, name=name, retries=0, retry_delay=0, args=tuple(arguments), kwargs={})


class Broker:
    """A connection to the queue engine, for both sides."""

    def __init__(self, url: str, obey: Callable[[str], None] = lambda token: None) -> None:
        """Connect.

        Args:
            url: ``redis://[user:password@]host[:port][/number]``, ``rediss://`` for TLS, or ``unix://path``.
            obey: what a worker does with a token.

        Raises:
            OptionError: an address of another kind, or a server that does not answer.
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
                f"--queue {self.shown} does not answer ({why(error)}); start a Redis server there, or give another address"
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
        """Give a token to whichever worker comes first."""
        self._task(token)
        self.redis.expire(self._huey.storage.queue_key, _QUEUE_SECONDS)

    def waiting(self) -> int:
        """Return how many tokens no worker has taken yet."""
        return int(self._huey.storage.queue_size())

    def work(self) -> bool:
        """Take one token and obey it; return whether there was one within a second."""
        task = self._huey.dequeue()
        if task is not None:
            self._huey.execute(task)
        return task is not None

    # ------------------------------------------------------------------------------------------------ signs of life

    def here(self, name: str) -> None:
        """Tell that a worker is here."""
        pipe = self.redis.pipeline()
        pipe.sadd(self.key("workers"), name)
        pipe.expire(self.key("workers"), _QUEUE_SECONDS)
        pipe.set(self.key("worker", name), b"", ex=LIFE_SECONDS)
        pipe.execute()

    def leave(self, name: str) -> None:
        """Tell that a worker goes."""
        self.redis.srem(self.key("workers"), name)
        self.redis.delete(self.key("worker", name))

    def workers(self) -> int:
        """Return how many workers are there."""
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
        """Write what the other side reads; it expires after an hour."""
        self.redis.set(self.key(*words), data, ex=_KEPT_SECONDS)

    def read(self, most_bytes: int, *words: object) -> bytes | None:
        """Read and delete what the other side wrote; None where it is not there, or has more bytes than it may."""
        key = self.key(*words)
        found: bytes | None = None
        if 0 < self.redis.strlen(key) <= most_bytes:
            found = self.redis.getrange(key, 0, most_bytes)  # type: ignore[assignment]
        with suppress(RedisError):  # it expires
            self.redis.delete(key)
        return found or None


def new_token() -> str:
    """Make the token of an attempt: 128 bits by chance."""
    return secrets.token_hex(16)


def shown(url: str) -> str:
    """Return an address as it may be shown: without a password.

    Raises:
        OptionError: it is of another kind than those that are known.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise OptionError("--queue is no address; give one such as redis://127.0.0.1:6379/0") from None
    if parts.scheme not in _SCHEMES or not (parts.hostname or parts.scheme == "unix"):
        kind = f"of the kind {parts.scheme[:20]!r}" if parts.scheme and "://" in url else "no address of a server"
        raise OptionError(f"--queue is {kind}; give redis://HOST:PORT/NUMBER, or rediss:// for a connection with TLS")
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{port or 6379}{parts.path}"


def _password(url: str) -> dict[str, str]:
    """Return the password of ``IMPASTO_QUEUE_PASSWORD``, which does not stand among the words of a command for all to see."""
    chosen = os.environ.get("IMPASTO_QUEUE_PASSWORD", "")
    return {"password": chosen} if chosen and not urlsplit(url).password else {}


def why(error: Exception) -> str:
    """Say why a server does not do what it should, without what it was sent."""
    if isinstance(error, redis.AuthenticationError):
        return "it wants another password; see IMPASTO_QUEUE_PASSWORD"
    if isinstance(error, redis.TimeoutError):
        return "no answer in time"
    if isinstance(error, redis.ConnectionError | OSError):
        return "no connection"
    return type(error).__name__

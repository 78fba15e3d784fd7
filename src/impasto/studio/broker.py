"""The Redis server between a studio and its remote workers. It stores a queue of attempts, and the data of each attempt.

The queue contains only tokens. Each attempt has its own random token, and the keys of its data contain this token. All keys
expire::

    queue                       list of the tokens of attempts that no worker has taken
    workers, worker:NAME        the workers; the key of a worker lives ten seconds and is renewed every two seconds
    TOKEN:held                  exists while the studio still wants the attempt; renewed in the same way
    TOKEN:beat                  heartbeat of the worker: the number of messages that it has sent; renewed in the same way
    TOKEN:order, TOKEN:in:N     the order and its files
    TOKEN:wish                  "stop" or "finish"
    TOKEN:line:N, TOKEN:out:N   messages of the worker and their files

Messages are stored as numbered strings instead of a list, because the reader can then limit the length of each message. All
keys start with the version of impasto, so a studio and a worker of different versions do not see each other.
"""

import os
import re
import secrets
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import redis
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
"""Time between the expiry of a heartbeat and the moment at which its sender counts as lost."""

AWAY_SECONDS = 2.0
"""Pause before a retry after the server did not respond."""

_KEPT_SECONDS = 3600
_QUEUE_SECONDS = 86_400
_TIMEOUT_SECONDS = 30.0
_TOKEN = re.compile(rb"[0-9a-f]{32}")
_SCHEMES = ("redis", "rediss", "unix")


class Broker:
    """Connection of a studio or a worker to the queue server."""

    def __init__(self, url: str) -> None:
        """Connect.

        Args:
            url: ``redis://[user:password@]host[:port][/number]``, ``rediss://`` for TLS, or ``unix://path``.

        Raises:
            OptionError: The address is invalid or the server does not respond.
        """
        self.shown = shown(url)
        retry = Retry(ExponentialBackoff(cap=1.0, base=0.1), 3)
        options: dict[str, Any] = {"socket_connect_timeout": 5, "socket_timeout": _TIMEOUT_SECONDS, "retry": retry}
        try:
            self.redis = redis.Redis.from_url(url, **_password(url), **options)
            self.redis.ping()
        except (RedisError, ValueError, OSError) as error:
            raise OptionError(
                f"--queue {self.shown} does not respond ({why(error)}); start a Redis server there or give another address"
            ) from error
        self._name = f"impasto:{__version__}"

    def key(self, *words: object) -> str:
        """Return the name of a key."""
        return ":".join((self._name, *map(str, words)))

    # ------------------------------------------------------------------------------------------------ queue

    def enqueue(self, token: str) -> None:
        """Add a token to the queue."""
        pipe = self.redis.pipeline()
        pipe.lpush(self.key("queue"), token)
        pipe.expire(self.key("queue"), _QUEUE_SECONDS)
        pipe.execute()

    def waiting(self) -> int:
        """Return the number of tokens that no worker has taken."""
        return int(self.redis.llen(self.key("queue")))

    def next_token(self) -> str | None:
        """Remove and return the oldest token. Return None if the queue stays empty for a second.

        Raises:
            ValueError: The entry is not a token.
        """
        found = self.redis.brpop([self.key("queue")], timeout=1)
        if found is None:
            return None
        token = found[1]
        if not isinstance(token, bytes) or not _TOKEN.fullmatch(token):
            raise ValueError("an entry that is not a token")
        return token.decode()

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
        """Write data for the other side. The data expires after an hour."""
        self.redis.set(self.key(*words), data, ex=_KEPT_SECONDS)

    def read(self, most_bytes: int, *words: object) -> bytes | None:
        """Read and delete data that the other side wrote. Return None if the data is missing or too large."""
        key = self.key(*words)
        found: bytes | None = None
        if 0 < self.redis.strlen(key) <= most_bytes:
            found = self.redis.getrange(key, 0, most_bytes)  # type: ignore[assignment]
        with suppress(RedisError):  # if deleting fails, the data expires
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
    """Return the password in ``IMPASTO_QUEUE_PASSWORD``.

    Unlike a command-line argument, this variable is not visible in process lists.
    """
    chosen = os.environ.get("IMPASTO_QUEUE_PASSWORD", "")
    return {"password": chosen} if chosen and not urlsplit(url).password else {}


def why(error: Exception) -> str:
    """Return the reason for a server error, without the data that was sent."""
    if isinstance(error, redis.AuthenticationError):
        return "wrong password; see IMPASTO_QUEUE_PASSWORD"
    if isinstance(error, redis.TimeoutError):
        return "no answer in time"
    if isinstance(error, redis.ConnectionError | OSError):
        return "no connection"
    return type(error).__name__

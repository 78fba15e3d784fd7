"""Actors on a Ray cluster: a temporary cluster on this machine, or a running cluster. Ray is imported on first use."""

import os
import secrets
import signal
import socket
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from impasto.batch.actors import ActorDiedError, ActorPool, ItemT, OutcomeT, Pictures
from impasto.batch.memory import memory_of_worker
from impasto.batch.pairs import Pair
from impasto.batch.parcels import Painter, Parcel, style_file
from impasto.batch.work import Item, Outcome, Settings
from impasto.errors import ClusterError, OptionError
from impasto.options import Run
from impasto.runtime.amounts import amount

_CLIENT = "ray://"
_ADDRESSES = f"it must be local, auto or {_CLIENT}HOST:PORT"
_LOOPBACK = "127.0.0.1"
_ADDRESS_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""With the value "0", all of Ray's servers listen on the loopback address. This also works on Linux, despite the name."""
_MOST_WORKERS = 10_000
_NONE_FOUND = "Could not find any running Ray instance"
_CONNECT_SECONDS = 10.0
_CLOSE_SECONDS = 2.0
_STORE_BYTES = 512 * 2**20
"""Memory of a local cluster's object store. It has space for a few pictures per worker. Ray writes other objects to disk."""


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Address and resources of the actors.

    Attributes:
        address: local, auto (the cluster of this machine or of ``RAY_ADDRESS``), or ray://HOST:PORT.
        gpus: the share of a GPU for each actor; 0: CPUs only.
        workers: the number of actors; None: as many as fit on the cluster.

    Raises:
        OptionError: a value is not allowed.

    Example:
        >>> ClusterOptions(address="local").gpus
        0.0
    """

    address: str
    gpus: float = 0.0
    workers: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.address not in ("local", "auto"):
            _host_and_port(self.address)
        if self.workers is not None and not 1 <= self.workers <= _MOST_WORKERS:
            raise OptionError(f"--workers is {self.workers}; it must be a whole number from 1 to {_MOST_WORKERS}")
        is_in_range = 0 <= self.gpus <= 16
        if not is_in_range or (self.gpus > 1 and self.gpus != int(self.gpus)):
            raise OptionError(f"--gpus is {self.gpus:g}; it must be a share from 0 to 1, or a whole number up to 16")


def check_address(address: str) -> None:
    """Check that a server listens at a ray:// address, or at ``RAY_ADDRESS`` for auto. Ray itself would wait for minutes.

    Raises:
        ClusterError: there is no server.

    Example:
        >>> check_address("ray://127.0.0.1:1")
        Traceback (most recent call last):
        impasto.errors.ClusterError: there is no Ray cluster at ray://127.0.0.1:1 ...
    """
    named = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    if named in ("", "auto", "local"):
        return
    try:
        socket.create_connection(_host_and_port(_CLIENT + named.removeprefix(_CLIENT)), _CONNECT_SECONDS).close()
    except OptionError as error:
        raise OptionError(f"RAY_ADDRESS is {named!r}; it must be HOST:PORT or {_CLIENT}HOST:PORT") from error
    except OSError as error:
        raise _no_cluster(address, error.strerror or str(error)) from error


@contextmanager
def cluster_pool(options: ClusterOptions, pairs: Sequence[Pair], settings: Settings) -> Iterator[ActorPool[Item, Outcome]]:
    """Connect to a cluster, and start a pool of actors that paint pictures. At the end, end them and disconnect.

    Raises:
        OptionError: Ray is not installed.
        ClusterError: there is no such cluster, or an actor does not fit on it.

    Args:
        options: address and resources.
        pairs: what will be painted, which determines the memory of an actor.
        settings: the common settings of all items; each actor has ``settings.run.threads`` threads and CPUs.
    """
    check_cluster(options, settings.run)

    def memory() -> int:
        return memory_of_worker(pairs, replace(settings, run=replace(settings.run, device="cpu")))

    with (
        connected(options, settings.run.threads, memory) as (ray, count, needed),
        closed_at_end(ActorPool(count, PictureActors(ray, settings, needed), Pictures())) as pool,
    ):
        yield pool


@contextmanager
def connected(options: ClusterOptions, threads: int, memory: Callable[[], int]) -> Iterator[tuple[Any, int, dict[str, float]]]:
    """Connect to a cluster. At the end, disconnect.

    Raises:
        OptionError: Ray is not installed.
        ClusterError: there is no such cluster, or it has no room for an actor.

    Args:
        options: address and resources of the actors.
        threads: the CPUs of an actor.
        memory: predicts the memory of an actor on a CPU, in bytes. Not called for GPUs, whose memory Ray does not count.

    Yields:
        The module Ray, the number of actors, and what each of them needs.
    """
    ray = _loaded(options.address)
    _connect(ray, options.address)
    try:
        needed: dict[str, float] = {"CPU": threads} | ({"GPU": options.gpus} if options.gpus else {"memory": memory()})
        yield ray, _count(ray, options, needed), needed
    finally:
        ray.shutdown()


@contextmanager
def closed_at_end(pool: ActorPool[ItemT, OutcomeT]) -> Iterator[ActorPool[ItemT, OutcomeT]]:
    """End the actors of a pool at the end of the block."""
    try:
        yield pool
    finally:
        pool.close()


def check_cluster(options: ClusterOptions, run: Run) -> None:
    """Raise unless Ray is installed and a cluster may be at the address. Nothing is started.

    Raises:
        OptionError: Ray is not installed, or a GPU is wanted, but the actors have none.
        ClusterError: there is no cluster.
    """
    if run.device not in ("auto", "cpu") and not options.gpus:
        raise OptionError(f"--device {run.device} with --ray needs a GPU for each worker; give --gpus 1 or a share")
    check_address(options.address)
    _loaded(options.address)


class RayActors:
    """The actors of :class:`impasto.batch.actors.ActorPool` in Ray.

    Args:
        ray: the module, connected to a cluster.
        painter: the class of an actor, with the methods ``version``, ``paint`` and ``close``.
        arguments: the arguments of the class.
        needed: the CPUs, GPUs and memory of an actor.
    """

    def __init__(self, ray: Any, painter: type, arguments: Sequence[Any], needed: dict[str, float]) -> None:
        self._ray, self._arguments = ray, arguments
        names = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
        wanted = {names[name]: value for name, value in needed.items()} | {"num_gpus": needed.get("GPU", 0)}
        self._class = ray.remote(max_restarts=0, max_task_retries=0, **wanted)(painter)
        self._known: dict[Hashable, Any] = {}
        self._started = 0

    def start(self) -> tuple[Hashable, Hashable]:
        """Start an actor."""
        with _while_connected():
            actor = self._class.remote(*self._arguments)
            self._started += 1
            self._known[self._started] = actor
            return self._started, actor.version.remote()

    def send(self, actor: Hashable, parcel: Any) -> Hashable:
        """Send a parcel."""
        return self._sent(actor, parcel)

    def _sent(self, actor: Hashable, *given: Any) -> Hashable:
        with _while_connected():
            return self._known[actor].paint.remote(*given)  # type: ignore[no-any-return]

    def wait(self, tasks: Sequence[Hashable]) -> Sequence[Hashable]:
        """Wait for tasks."""
        with _while_connected():
            return self._ray.wait(list(tasks), num_returns=1)[0]  # type: ignore[no-any-return]

    def result(self, task: Hashable) -> Any:
        """Return the result of a task."""
        with _while_connected():
            try:
                return self._ray.get(task)
            except self._ray.exceptions.RayError as error:
                raise ActorDiedError(_reason(error)) from error

    def end(self, actor: Hashable) -> None:
        """Kill an actor."""
        with suppress(Exception):  # the cluster may be gone
            self._ray.kill(self._known.pop(actor))

    def close(self) -> None:
        """Stop the actors. An actor that is not painting deletes its files before it is stopped."""
        actors, self._known = list(self._known.values()), {}
        with suppress(Exception):  # the cluster may be gone
            self._ray.wait([each.close.remote() for each in actors], num_returns=len(actors), timeout=_CLOSE_SECONDS)
            for each in actors:
                self._ray.kill(each)


class PictureActors(RayActors):
    """Actors that paint pictures of a batch. A style is sent once to each machine."""

    def __init__(self, ray: Any, settings: Settings, needed: dict[str, float]) -> None:
        super().__init__(ray, Painter, (settings,), needed)
        self._settings = settings
        self._shared = lru_cache(64)(lambda path: ray.put(Path(path).read_bytes()))

    def send(self, actor: Hashable, parcel: Parcel) -> Hashable:
        """Send a parcel and its style."""
        style: Any = None
        if path := style_file(parcel.item.style, self._settings.method):
            with suppress(OSError):  # it was removed meanwhile; the actor says so
                style = self._shared(path)
                parcel = replace(parcel, style_name=os.path.basename(path))
        return self._sent(actor, parcel, style)


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix(_CLIENT).rstrip("/").rpartition(":")
    if not address.startswith(_CLIENT) or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise OptionError(f"--ray is {address!r}; {_ADDRESSES}")
    return host.strip("[]"), int(port)


def _no_cluster(address: str, reason: str) -> ClusterError:
    where = "on this machine or at RAY_ADDRESS" if address == "auto" else f"at {address}"
    return ClusterError(f"there is no Ray cluster {where} ({reason}); start one with 'ray start --head', or use --ray local")


def _unusable(address: str, reason: str) -> ClusterError:
    """Return the error for a cluster to which Ray cannot connect, although a server may listen there."""
    if address == "local":
        return ClusterError(f"Ray cannot start on this machine ({reason}); omit --ray")
    if address == "auto" and reason.startswith(_NONE_FOUND):
        return _no_cluster(address, "none is running")
    return ClusterError(
        f"the Ray cluster of --ray {address} cannot be used ({reason}); check that it runs the same version of Ray and "
        "Python, and set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN if it needs a token"
    )


def _loaded(address: str) -> Any:
    """Import Ray. Disable its usage statistics unless the user has allowed them."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # without GPUs, actors see none; Ray warns otherwise
    if address == "local":
        os.environ[_ADDRESS_VARIABLE] = "0"
        if "RAY_AUTH_MODE" not in os.environ:  # other users of this machine cannot send it work
            os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    try:
        return import_module("ray")
    except ImportError as error:
        raise OptionError("--ray needs Ray; pip install 'impasto[cluster]', or omit --ray") from error


def _connect(ray: Any, address: str) -> None:
    """Connect to a cluster, or start one that listens only on the loopback interface."""
    own: dict[str, Any] = {}
    if address == "local":
        own = {"include_dashboard": False, "object_store_memory": _STORE_BYTES, "_node_ip_address": _LOOPBACK}
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **own)
    except Exception as error:  # ConnectionError, RuntimeError, TimeoutError and gRPC's own
        raise _unusable(address, _reason(error)) from error
    finally:
        with suppress(ValueError, TypeError):  # not the main thread, or not set from Python
            signal.signal(signal.SIGTERM, before)


def _count(ray: Any, options: ClusterOptions, needed: dict[str, float]) -> int:
    """Return the number of actors."""
    nodes = [each["Resources"] for each in ray.nodes() if each["Alive"]]
    fits = sum(int(min(node.get(name, 0) // value for name, value in needed.items())) for node in nodes)
    if fits or options.workers:
        return options.workers or fits
    raise ClusterError(
        f"no machine of the cluster has room for a worker with {_in_words(needed)}; use fewer --threads, a smaller --size or "
        "a smaller --gpus, or set --workers if more machines will join"
    )


def _in_words(needed: dict[str, float]) -> str:
    return " and ".join(amount(value) if name == "memory" else f"{value:.3g} {name}" for name, value in needed.items())


@contextmanager
def _while_connected() -> Iterator[None]:
    """Turn an error of the connection to the cluster into a sentence."""
    try:
        yield
    except ActorDiedError:
        raise
    except Exception as error:  # ConnectionError, gRPC's own, and those of Ray itself
        raise ClusterError(f"the cluster can no longer be reached ({_reason(error)}); check that it is running") from error


def _reason(error: Exception) -> str:
    """Return the first sentence of Ray's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].split(". ")[0][:200].rstrip(".:") if lines else type(error).__name__

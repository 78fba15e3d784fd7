"""Pools of workers: this process, or several worker processes. Each process loads the models once."""

import multiprocessing
import signal
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from impasto.batch.work import Item, Outcome, Settings, Worker

_PATIENCE_SECONDS = 10.0


class Pool(Protocol):
    """Workers that take items and return outcomes."""

    @property
    def has_room(self) -> bool:
        """Whether a worker is free."""

    @property
    def is_idle(self) -> bool:
        """Whether all workers are free."""

    def submit(self, item: Item) -> None:
        """Give an item to a free worker."""

    def outcomes(self) -> Sequence[Outcome]:
        """Wait until at least one item is finished."""

    def close(self) -> Sequence[Outcome]:
        """Stop the workers, and drop the items that they are painting. Return the outcomes that have not been returned."""


def pool_of(workers: int, settings: Settings) -> Pool:
    """Return a pool. If there is only one worker, use this process."""
    return InProcess(settings) if workers == 1 else Processes(workers, settings)


class InProcess:
    """A pool with one worker, which is this process."""

    def __init__(self, settings: Settings) -> None:
        self._worker = Worker(settings)
        self._item: Item | None = None

    @property
    def has_room(self) -> bool:
        """Whether no item is waiting."""
        return self._item is None

    is_idle = has_room

    def submit(self, item: Item) -> None:
        """Store an item."""
        self._item = item

    def outcomes(self) -> Sequence[Outcome]:
        """Paint the item."""
        assert self._item is not None
        item, self._item = self._item, None
        return [self._worker.paint(item)]

    def close(self) -> Sequence[Outcome]:
        """Do nothing. If painting was interrupted by an exception, its item is already dropped."""
        return ()


class Processes:
    """A pool of processes. If one dies, for example because memory runs out, its item fails and a new process replaces it."""

    def __init__(self, workers: int, settings: Settings) -> None:
        self._workers, self._settings = workers, settings
        self._free: list[_Process] = []
        self._busy: dict[Connection, tuple[_Process, Item]] = {}

    @property
    def has_room(self) -> bool:
        """Whether a worker is free, or another one may be started."""
        return len(self._busy) < self._workers

    @property
    def is_idle(self) -> bool:
        """Whether no item is being painted."""
        return not self._busy

    def submit(self, item: Item) -> None:
        """Send an item to a free process, or start one."""
        process = self._free.pop() if self._free else _Process(self._settings)
        self._busy[process.connection] = process, item
        with suppress(OSError):  # the process has died; outcomes() notices
            process.connection.send(item)

    def outcomes(self) -> Sequence[Outcome]:
        """Wait for processes, and return the outcomes of the finished items."""
        ready: list[Any] = wait(list(self._busy))
        return [self._outcome(*self._busy.pop(connection)) for connection in ready]

    def _outcome(self, process: "_Process", item: Item) -> Outcome:
        try:
            outcome: Outcome = process.connection.recv()
        except (EOFError, OSError):
            return Outcome(item=item, state="failed", error=process.buried())
        self._free.append(process)
        return outcome

    def close(self) -> Sequence[Outcome]:
        """Stop all processes. They delete their incomplete files."""
        processes = [*self._free, *(process for process, _ in self._busy.values())]
        for process in processes:
            process.process.terminate()
        for process in processes:
            process.end()
        self._free, self._busy = [], {}
        return ()


class _Process:
    """A worker process, and the connection to it."""

    def __init__(self, settings: Settings) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, settings), daemon=True)
        self.process.start()
        theirs.close()

    def buried(self) -> str:
        """Return the reason why the process died."""
        self.end()
        code = self.process.exitcode or 0
        if code < 0:
            return f"the worker process was killed by signal {-code}; if there is not enough memory, use fewer --workers"
        return f"the worker process ended with exit code {code}; see its messages"

    def end(self) -> None:
        """Wait for the process to end, and kill it if it does not."""
        self.process.join(_PATIENCE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


def _serve(connection: Connection, settings: Settings) -> None:
    """Paint the items received through a connection until it is closed. This is the main function of a worker process.

    Ctrl-C is sent to all processes of a terminal. It is ignored here, because the main process stops its workers. SIGTERM
    raises an exception, so that incomplete files are deleted.
    """

    def end(_number: int, _frame: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
    worker = Worker(settings)
    with suppress(EOFError, OSError):  # the main process has ended
        while True:
            connection.send(worker.paint(connection.recv()))

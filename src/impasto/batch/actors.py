"""A pool of actors: worker processes on any machine. An actor that dies is replaced.

Each actor has at most two items, so it does not wait for its next item, and memory stays bounded. If an actor dies, other
actors get its unfinished items. An item fails after three actors have died while painting it. Each item has one outcome.

Items are pictures of a batch, or stretches of a clip (:mod:`impasto.batch.clips`).
"""

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar

from impasto._version import __version__
from impasto.batch.parcels import packed, unpacked
from impasto.batch.work import Item, Outcome
from impasto.errors import ClusterError, ImpastoError

ItemT = TypeVar("ItemT")
OutcomeT = TypeVar("OutcomeT")
_PackedT = TypeVar("_PackedT", contravariant=True)
_UnpackedT = TypeVar("_UnpackedT", covariant=True)

IN_FLIGHT = 2
"""Maximum number of items of each actor: the one that it paints, and the next one."""
_MOST_DEATHS = 3


class ActorDiedError(Exception):
    """An actor has died. The message contains the reason."""


class Actors(Protocol):
    """The system that runs the actors, such as Ray. Actors and tasks can be any hashable values."""

    def start(self) -> tuple[Hashable, Hashable]:
        """Start an actor. Return it, and a task whose result is the version of impasto on its machine."""

    def send(self, actor: Hashable, parcel: Any) -> Hashable:
        """Let an actor paint an item after those that it already has. Return the task, whose result is a delivery."""

    def wait(self, tasks: Sequence[Hashable]) -> Sequence[Hashable]:
        """Wait until at least one task has ended. Return the tasks that have ended."""

    def result(self, task: Hashable) -> Any:
        """Return the result of a task.

        Raises:
            ActorDiedError: the actor died before the task ended.
        """

    def end(self, actor: Hashable) -> None:
        """End an actor, which may be dead."""

    def close(self) -> None:
        """End all actors."""


class Freight(Protocol[_PackedT, _UnpackedT]):
    """Packs items for actors, and unpacks their results."""

    def packed(self, item: _PackedT) -> Any:
        """Return the parcel of an item for an actor.

        Raises:
            ImpastoError: the item cannot be read.
        """

    def unpacked(self, item: _PackedT, delivery: Any) -> _UnpackedT:
        """Return the outcome of an item that an actor has painted."""

    def failed(self, item: _PackedT, error: str) -> _UnpackedT:
        """Return the outcome of an item that cannot be painted."""


class Pictures:
    """The freight of a batch: photos travel to the actors, and results are written when they arrive."""

    def packed(self, item: Item) -> Any:
        """Return an item with its photo."""
        return packed(item)

    def unpacked(self, item: Item, delivery: Any) -> Outcome:
        """Write a result."""
        return unpacked(item, delivery)

    def failed(self, item: Item, error: str) -> Outcome:
        """Return the outcome of an item that cannot be painted."""
        return Outcome(item=item, state="failed", error=error)


@dataclass(frozen=True)
class _Order(Generic[ItemT]):
    """An item, and how many actors have died while painting it."""

    item: ItemT
    deaths: int = 0


@dataclass
class _Crew(Generic[ItemT]):
    """The actors and their tasks, oldest first. A task starts an actor (without an ``_Order``) or paints an item."""

    tasks: dict[Hashable, tuple[Hashable, _Order[ItemT] | None]] = field(default_factory=dict)
    free: list[set[Hashable]] = field(default_factory=lambda: [set() for _ in range(IN_FLIGHT + 1)])
    """The actors that are ready, grouped by their number of items."""
    held: int = 0
    """Number of items that are being painted."""

    @property
    def has_ready(self) -> bool:
        return any(self.free)

    def freest(self) -> Hashable | None:
        """Return an actor with the fewest items, or None if no actor can take another item."""
        return next((next(iter(each)) for each in self.free[:IN_FLIGHT] if each), None)

    def give(self, actor: Hashable, task: Hashable, order: _Order[ItemT]) -> None:
        """Record that an actor paints an item."""
        self.tasks[task] = actor, order
        self._move(actor, 1)

    def pop(self, task: Hashable) -> tuple[Hashable, _Order[ItemT] | None]:
        """Remove a task that has ended."""
        actor, order = self.tasks.pop(task)
        if order is not None:
            self._move(actor, -1)
        return actor, order

    def pop_all(self, actor: Hashable) -> list[tuple[Hashable, _Order[ItemT]]]:
        """Remove an actor, and return its painting tasks, oldest first."""
        found = [(task, order) for task, (each, order) in self.tasks.items() if each == actor]
        for task, _ in found:
            self.pop(task)
        for each in self.free:
            each.discard(actor)
        return [(task, order) for task, order in found if order is not None]

    def _move(self, actor: Hashable, more: int) -> None:
        self.held += more
        load = next(number for number, each in enumerate(self.free) if actor in each)
        self.free[load].remove(actor)
        self.free[load + more].add(actor)


class ActorPool(Generic[ItemT, OutcomeT]):
    """A pool of actors. For pictures, it is a :class:`impasto.batch.pool.Pool`.

    Args:
        count: the number of actors.
        actors: the system that runs them.
        freight: packs items and unpacks results.
    """

    def __init__(self, count: int, actors: Actors, freight: Freight[ItemT, OutcomeT]) -> None:
        self.count, self._actors, self._freight = count, actors, freight
        self._crew: _Crew[ItemT] = _Crew()
        self._waiting: deque[_Order[ItemT]] = deque()
        self._done: list[OutcomeT] = []
        self._failed_starts = 0
        for _ in range(count):
            self._start()

    @property
    def has_room(self) -> bool:
        """Whether another item may be submitted: the pool holds at most two for each actor."""
        return self._held < IN_FLIGHT * self.count

    @property
    def is_idle(self) -> bool:
        """Whether all items have an outcome."""
        return not self._held and not self._done

    @property
    def _held(self) -> int:
        return len(self._waiting) + self._crew.held

    def submit(self, item: ItemT) -> None:
        """Take an item."""
        self._waiting.append(_Order(item))

    def outcomes(self) -> Sequence[OutcomeT]:
        """Wait until at least one item is finished. Write the results that arrive.

        Raises:
            ClusterError: no actor can start.
        """
        while True:
            self._send()
            if self._done:
                found, self._done = self._done, []
                return found
            for task in self._actors.wait(list(self._crew.tasks)):
                if task in self._crew.tasks:  # else its actor has died in the meantime
                    self._finish(task)

    def close(self) -> Sequence[OutcomeT]:
        """Stop the actors, and drop the items that they are painting. Return the outcomes that have not been returned."""
        self._actors.close()
        found, self._done = self._done, []
        return found

    def _start(self) -> None:
        actor, task = self._actors.start()
        self._crew.tasks[task] = actor, None

    def _send(self) -> None:
        """Send waiting items to actors that can take another item."""
        while self._waiting and (actor := self._crew.freest()) is not None:
            order = self._waiting.popleft()
            try:
                parcel = self._freight.packed(order.item)
            except ImpastoError as error:
                self._done.append(self._freight.failed(order.item, str(error)))
                continue
            self._crew.give(actor, self._actors.send(actor, parcel), order)

    def _finish(self, task: Hashable) -> None:
        actor, order = self._crew.tasks[task]
        try:
            result = self._actors.result(task)
        except ActorDiedError as death:
            self._bury(actor, str(death), has_started=order is not None)
            return
        self._crew.pop(task)
        self._take(actor, order, result)

    def _take(self, actor: Hashable, order: _Order[ItemT] | None, result: Any) -> None:
        """Take the result of a task: the version of an actor that has started, or the delivery of an item."""
        if order is not None:
            self._done.append(self._freight.unpacked(order.item, result))
            return
        if result != __version__:
            raise ClusterError(
                f"a worker of the cluster has impasto {result} and this machine has {__version__}; install the same version"
            )
        self._failed_starts = 0
        self._crew.free[0].add(actor)

    def _bury(self, actor: Hashable, reason: str, *, has_started: bool) -> None:
        """Replace an actor that has died. Keep its finished results, and queue its other items again."""
        left: list[_Order[ItemT]] = []
        for task, order in self._crew.pop_all(actor):
            try:
                self._take(actor, order, self._actors.result(task))
            except ActorDiedError:
                left.append(order if left else replace(order, deaths=order.deaths + 1))  # it was painting the oldest one
        if left and left[0].deaths >= _MOST_DEATHS:
            words = f"its worker died {_MOST_DEATHS} times ({reason}); if there is not enough memory, use a smaller --size"
            self._done.append(self._freight.failed(left.pop(0).item, words))
        self._waiting.extendleft(reversed(left))
        self._actors.end(actor)  # if only its task failed, it still holds the room of the next one
        self._failed_starts += not has_started
        if self._failed_starts >= _MOST_DEATHS:
            if self._crew.has_ready:
                return  # the others go on
            raise ClusterError(
                f"no worker can start on the cluster ({reason}); check that impasto is installed on its machines"
            )
        self._start()

"""A pool whose results are uploaded to a remote folder by threads, while the workers continue to paint."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

from impasto.batch.pool import Pool
from impasto.batch.remote import RemoteFolder
from impasto.batch.work import Item, Outcome, is_disk_full
from impasto.errors import ImageFileError
from impasto.runtime.devices import seconds_now

_WAITING = 4
"""The number of results that may wait for each thread."""
_SHARE = 0.05
"""How long to wait for uploads after a picture is painted, as a share of the time that painting took. Without this wait, the
outcome of the picture would be returned only after the next picture is painted."""


class UploadingPool:
    """A :class:`impasto.batch.pool.Pool` that returns the outcome of an item when its result is uploaded.

    Args:
        pool: paints into the temporary folder.
        folder: where results go.
        clock: the time in seconds.
    """

    def __init__(self, pool: Pool, folder: RemoteFolder, clock: Callable[[], float] = seconds_now) -> None:
        self._pool, self._folder, self._clock = pool, folder, clock
        self._threads = ThreadPoolExecutor(folder.threads, thread_name_prefix="impasto-upload")
        self._most = _WAITING * folder.threads
        self._uploads: deque[Future[Outcome]] = deque()

    @property
    def has_room(self) -> bool:
        """Whether a worker is free."""
        return self._pool.has_room

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being painted or uploaded."""
        return self._pool.is_idle and not self._uploads

    def submit(self, item: Item) -> None:
        """Give an item to a free worker."""
        self._pool.submit(item)

    def outcomes(self) -> Sequence[Outcome]:
        """Wait for a painted item or, if no item is being painted, for an upload. Return the outcomes of uploaded items."""
        is_painting = not self._pool.is_idle
        if is_painting:
            began = self._clock()
            self._uploads += [self._threads.submit(self._uploaded, outcome) for outcome in self._pool.outcomes()]
            wait(self._uploads, _SHARE * (self._clock() - began))
        if not is_painting or len(self._uploads) > self._most:
            wait(self._uploads, return_when=FIRST_COMPLETED)
        done = [each for each in self._uploads if each.done()]
        self._uploads = deque(each for each in self._uploads if each not in done)
        return [each.result() for each in done]

    def close(self) -> Sequence[Outcome]:
        """End the workers, and drop what waits. Return the outcomes of what is uploaded."""
        self._pool.close()
        self._threads.shutdown(cancel_futures=True)
        found, self._uploads = self._uploads, deque()
        return [each.result() for each in found if not each.cancelled()]

    def _uploaded(self, outcome: Outcome) -> Outcome:
        if outcome.state != "done":
            return outcome
        local = Path(outcome.item.output)
        try:
            return replace(outcome, output_version=self._folder.put(local))
        except ImageFileError as error:
            return replace(outcome, state="failed", error=str(error), is_disk_full=is_disk_full(error))
        finally:
            local.unlink(missing_ok=True)

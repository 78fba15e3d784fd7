"""Runs a batch: skips what is done, gives the rest to the workers, and writes the manifest."""

import os
from collections.abc import Generator, Sequence

from impasto.batch.manifest import Facts, Manifest
from impasto.batch.pool import Pool
from impasto.batch.work import Item, Outcome


def outcomes_of(items: Sequence[Item], manifest: Manifest, facts: Facts, pool: Pool) -> Generator[Outcome]:
    """Yield the outcome of each item, after adding it to the manifest. Stop early if the disk is full.

    Closing the iterator drops the items that are being painted.

    Raises:
        ImageFileError: the manifest cannot be written.
    """
    waiting = iter(items)
    try:
        while True:
            for item in waiting:
                if facts.are_done(item, manifest.finished.get(os.path.basename(item.output))):
                    outcome = Outcome(item=item, state="skipped")
                    manifest.append(facts.line_of(outcome))
                    yield outcome
                    continue
                pool.submit(item)
                if not pool.has_room:
                    break
            if pool.is_idle:
                return
            for outcome in pool.outcomes():
                manifest.append(facts.line_of(outcome))
                yield outcome
                if outcome.is_disk_full:
                    return
    finally:
        pool.close()

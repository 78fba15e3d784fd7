"""Run a batch: skip finished items, send the others to the workers, and write the manifest."""

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

    Args:
        items: the pictures to paint.
        manifest: the manifest of the folder of the results.
        facts: the facts that determine the results.
        pool: the workers; it is closed at the end.

    Example:
        >>> from pathlib import Path
        >>> from impasto.batch.plan import make_folder
        >>> from impasto.batch.pool import pool_of
        >>> from impasto.batch.work import Settings
        >>> from impasto.options import InstantOptions
        >>> make_folder(Path("painted"))
        >>> items = [Item(content="photo.jpg", style="mosaic", output="painted/a.png", options=InstantOptions(size=64))]
        >>> settings, manifest = Settings(method="instant"), Manifest(Path("painted"))
        >>> [each.state for each in outcomes_of(items, manifest, Facts(settings), pool_of(1, settings))]
        ['done']
        >>> manifest.close()
    """
    waiting = iter(items)
    try:
        while True:
            for item in waiting:
                if facts.are_done(item, manifest.last(os.path.basename(item.output))):
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

"""Run a batch: skip finished items, send the others to the workers, and write the manifest."""

import os
from collections.abc import Generator, Sequence

from impasto.batch.manifest import Facts, Manifest
from impasto.batch.pool import Pool
from impasto.batch.work import Item, Outcome
from impasto.errors import ClusterError


def outcomes_of(items: Sequence[Item], manifest: Manifest, facts: Facts, pool: Pool) -> Generator[Outcome]:
    """Yield the outcome of each item, after adding it to the manifest. Stop early if the disk is full.

    If the disk is full, the user interrupts or the cluster is gone, the items that are being painted are dropped. Items whose
    result is already written are still added to the manifest. They are also yielded, unless the caller closes the iterator.

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

    def noted(outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        for outcome in outcomes:  # all of them before the first is yielded, because the caller may stop
            manifest.append(facts.line_of(outcome))
        return outcomes

    waiting, is_full = iter(items), False
    try:
        while not is_full:
            for item in waiting:
                if facts.are_done(item, manifest.last(os.path.basename(item.output))):
                    yield from noted([Outcome(item=item, state="skipped")])
                    continue
                pool.submit(item)
                if not pool.has_room:
                    break
            if pool.is_idle:
                return
            for outcome in noted(pool.outcomes()):
                yield outcome
                is_full |= outcome.is_disk_full
        yield from noted(pool.close())
    except (KeyboardInterrupt, ClusterError):
        yield from noted(pool.close())
        raise
    finally:
        noted(pool.close())

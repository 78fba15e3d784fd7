"""The time left of a batch."""

import pytest

from impasto.batch.work import Item, Outcome
from impasto.cli import batches
from impasto.options.brush import BrushOptions


def test_the_time_left_ignores_loading_and_what_will_be_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(batches, "seconds_now", lambda: now[0])
    items = [Item(content="a", style="b", output=str(number), options=BrushOptions()) for number in range(10)]
    session = batches._Session(items, to_skip=4, started=0.0)
    assert session.seconds_left is None
    for seconds, state in ((60, "done"), (61, "skipped"), (65, "done"), (70, "failed")):
        now[0] = seconds
        session.take(Outcome(item=items[0], state=state))
    assert session.seconds_left == 3 * 5  # 10 items without 4 that were settled and 3 that will be skipped

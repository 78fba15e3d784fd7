"""Worker processes: outcomes, and processes that die."""

from pathlib import Path

import pytest
import skimage.data

from impasto import images
from impasto.batch.pool import Processes
from impasto.batch.work import Item, Settings, threads_each
from impasto.errors import OptionError
from impasto.networks.brush_files import save_brush
from impasto.networks.johnson import Johnson, Layout
from impasto.options import Run
from impasto.options.brush import BrushOptions


@pytest.mark.slow  # starts Python twice
def test_an_item_fails_if_its_process_dies_and_a_new_process_paints_the_next(tmp_path: Path) -> None:
    save_brush(tmp_path / "mine.brush", Johnson(Layout(4, blocks=1, ends=5)), {"name": "mine"})
    images.write(tmp_path / "a.png", images.read(skimage.data.astronaut()[:384:6, 32:416:6]))
    names = {"content": "a.png", "style": "mine.brush", "output": "out.png"}
    item = Item(**{key: str(tmp_path / name) for key, name in names.items()}, options=BrushOptions())
    pool = Processes(1, Settings(method="brush", run=Run(threads=1, device="cpu"), engine="torch"))
    try:
        pool.submit(item)
        assert not pool.has_room
        next(iter(pool._busy.values()))[0].process.kill()
        (outcome,) = pool.outcomes()
        assert (outcome.state, outcome.item) == ("failed", item)
        assert "killed by signal 9" in outcome.error
        pool.submit(item)
        (outcome,) = pool.outcomes()
        assert (outcome.state, outcome.error) == ("done", "")
        assert Path(item.output).is_file()
    finally:
        pool.close()
    assert pool.is_idle


def test_the_threads_are_divided_between_the_workers() -> None:
    assert [threads_each(workers, 8) for workers in (1, 2, 3, 16)] == [8, 4, 2, 1]
    assert threads_each(1, 0) == 0  # PyTorch's own number
    with pytest.raises(OptionError, match="--workers is 300"):
        threads_each(300, 8)

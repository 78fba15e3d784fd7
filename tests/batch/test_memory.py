"""The memory of worker processes, predicted before they start."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from impasto.batch import memory
from impasto.batch.memory import check_workers, memory_of_worker
from impasto.batch.methods import BatchOptions, Method, options_for
from impasto.batch.pairs import Pair
from impasto.batch.work import Settings
from impasto.errors import ResourceError
from impasto.images.files import size_in_header
from impasto.networks.brush_files import save_brush
from impasto.networks.johnson import Johnson, Layout
from impasto.options import Run

RUN = Run(device="cpu", precision="fp32")
MIB = 2**20


@pytest.fixture
def photo(tmp_path: Path) -> str:
    PIL.Image.fromarray(np.zeros((400, 600, 3), np.uint8)).save(tmp_path / "photo.jpg")
    save_brush(tmp_path / "mine.brush", Johnson(Layout(4, blocks=1)), {"name": "mine"})
    return str(tmp_path / "photo.jpg")


def needed(photo: str, method: Method, **given: object) -> int:
    options: BatchOptions = options_for(method, given)
    style = str(Path(photo).with_name("mine.brush")) if method == "brush" else "starry-night"
    return memory_of_worker([Pair(photo, style, options)], Settings(method=method, run=RUN))


def test_workers_that_do_not_fit_are_refused_with_the_number_that_fits(photo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, settings = [Pair(photo, "starry-night", options_for("instant", {"size": 512}))], Settings(method="instant", run=RUN)
    each = memory_of_worker(pairs, settings)
    for free, advice in {3.5: "--workers 3 would fit", 0.5: "use --workers 1 and a smaller --size"}.items():
        monkeypatch.setattr(memory, "available_memory", lambda _, free=free: int(free * each))
        check_workers(min(3, int(free) + 1) if free > 1 else 1, pairs, settings)
        with pytest.raises(ResourceError, match=rf"--workers 4 needs about .* [GM]iB for each worker, but only .*; {advice}"):
            check_workers(4, pairs, settings)
    monkeypatch.setattr(memory, "available_memory", lambda _: None)
    check_workers(4, pairs, settings)


@pytest.mark.parametrize("method", ["instant", "paint", "brush"])
def test_larger_pictures_need_more_memory_up_to_the_size_of_the_photo(photo: str, method: Method) -> None:
    small, middle, large = (needed(photo, method, size=size) for size in (64, 600, 1200))
    assert 200 * MIB < small < middle
    assert (large > middle) == (method == "paint")  # instant and brushes do not enlarge a photo


def test_the_optimizer_and_openvino_need_more_than_one_pass_in_torch(photo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "has_openvino", lambda: True)
    plain, compiled = (needed(photo, "instant", size=512, engine=engine) for engine in ("torch", "auto"))
    assert plain < compiled
    assert needed(photo, "instant", size=512, engine="torch", hq=True) > plain


@pytest.mark.slow
def test_a_memory_limit_bounds_what_a_worker_needs_if_it_can_paint_in_tiles(photo: str) -> None:
    def needed_with(max_memory: float, **given: object) -> int:
        pair = Pair(photo, "starry-night", options_for("paint", {"size": 4096, **given}))
        return memory_of_worker(
            [pair], Settings(method="paint", run=Run(device="cpu", precision="fp32", max_memory=max_memory))
        )

    whole = needed_with(0.0)
    assert needed_with(2.5) == int(2.5 * 2**30) < whole
    assert needed_with(0.0, recipe="nnst") == needed_with(2.5, recipe="nnst") > 2.5 * 2**30


def test_what_cannot_be_read_counts_nothing(photo: str, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    (tmp_path / "notes.txt").write_text("hello")
    names = [str(tmp_path / name) for name in ("broken.png", "notes.txt", "gone.jpg")]
    assert [size_in_header(name) for name in names] == [None, None, None]
    assert size_in_header(photo) == (400, 600)
    pairs = [Pair(name, "starry-night", options_for("instant", {})) for name in names]
    assert memory_of_worker(pairs, Settings(method="instant", run=RUN)) == 200 * MIB

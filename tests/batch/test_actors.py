"""Items given to actors that die: none is lost, none is delivered twice, and few are on their way. No Ray is needed."""

import errno
import json
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from impasto._version import __version__
from impasto.batch.actors import IN_FLIGHT, ActorDiedError, ActorPool, Pictures
from impasto.batch.engine import outcomes_of
from impasto.batch.manifest import Facts, Manifest
from impasto.batch.parcels import Delivery, Painter, Parcel, packed, style_file
from impasto.batch.work import Item, Outcome, Settings, Worker
from impasto.errors import ClusterError
from impasto.networks.brush_files import save_brush
from impasto.networks.johnson import Johnson, Layout
from impasto.options import Run
from impasto.options.brush import BrushOptions

Dies = Callable[[int, Parcel], bool]


class FakeActors:
    """Actors that do one task at a time, in turn, and die as a test decides."""

    def __init__(self, dies: Dies = lambda actor, parcel: False, version: str = __version__) -> None:
        self.dies, self.version = dies, version
        self.queues: dict[int, list[tuple[Hashable, Parcel | None]]] = {}
        self.results: dict[Hashable, Delivery | str | None] = {}
        self.painted: Counter[str] = Counter()
        self.most_in_flight, self.is_closed = 0, False
        self.ended: list[Hashable] = []

    def start(self) -> tuple[Hashable, Hashable]:
        actor = len(self.queues)
        self.queues[actor] = [(("start", actor), None)]
        return actor, ("start", actor)

    def send(self, actor: Hashable, parcel: Parcel) -> Hashable:
        assert isinstance(actor, int)
        task = ("paint", len(self.results), actor, len(self.queues[actor]), sum(self.painted.values()))
        self.queues[actor].append((task, parcel))
        self.most_in_flight = max(self.most_in_flight, len(self.queues[actor]))
        return task

    def wait(self, tasks: Sequence[Hashable]) -> Sequence[Hashable]:
        assert tasks, "waiting for nothing would never end"
        while not (ended := [task for task in tasks if task in self.results]):
            for actor, queue in list(self.queues.items()):
                if queue:
                    self._work(actor, queue)
        return ended

    def _work(self, actor: int, queue: list[tuple[Hashable, Parcel | None]]) -> None:
        task, parcel = queue[0]
        if self.version == "dead" or (parcel is not None and self.dies(actor, parcel)):
            for each, _ in queue:
                self.results[each] = None
            queue.clear()
            return
        queue.pop(0)
        if parcel is None:
            self.results[task] = self.version
            return
        self.painted[parcel.item.output] += 1
        outcome = Outcome(item=parcel.item, state="done", content_sha256="c", output_sha256="o")
        self.results[task] = Delivery(outcome=outcome, result=parcel.content)

    def result(self, task: Hashable) -> Delivery | str:
        found = self.results[task]
        if found is None:
            raise ActorDiedError("killed by a test")
        return found

    def end(self, actor: Hashable) -> None:
        self.ended.append(actor)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """Twenty items whose photos can be read."""
    save_brush(tmp_path / "mine.brush", Johnson(Layout(4, blocks=1, ends=5)), {"name": "mine"})
    (tmp_path / "out").mkdir()
    found = []
    for number in range(20):
        photo = tmp_path / f"{number}.bmp"
        photo.write_bytes(b"BM" + bytes([number]) * 60)
        style, output = str(tmp_path / "mine.brush"), str(tmp_path / "out" / f"{number}.bmp")
        found.append(Item(content=str(photo), style=style, output=output, options=BrushOptions()))
    return found


def run(items: list[Item], actors: FakeActors, count: int = 3) -> list[Outcome]:
    """Run a batch; return the outcomes."""
    folder = Path(items[0].output).parent
    manifest = Manifest(folder)
    try:
        pool = ActorPool(count, actors, Pictures())
        return list(outcomes_of(items, manifest, Facts(Settings(method="brush")), pool))
    finally:
        manifest.close()


def test_all_items_are_delivered_once_with_two_at_most_at_each_actor(items: list[Item]) -> None:
    actors = FakeActors()
    outcomes = run(items, actors)
    assert Counter(each.state for each in outcomes) == {"done": 20}
    assert {each.item for each in outcomes} == set(items)
    assert all(Path(item.output).read_bytes() == Path(item.content).read_bytes() for item in items)
    assert (actors.most_in_flight, actors.is_closed, len(actors.queues)) == (IN_FLIGHT, True, 3)


def test_results_in_their_place_are_in_the_manifest_if_the_caller_stops(items: list[Item]) -> None:
    class Together(FakeActors):
        """Actors whose tasks end at the same time."""

        def wait(self, tasks: Sequence[Hashable]) -> Sequence[Hashable]:
            while not all(task in self.results for task in tasks):
                super().wait([task for task in tasks if task not in self.results])
            return tasks

    manifest = Manifest(Path(items[0].output).parent)
    found = outcomes_of(items, manifest, Facts(Settings(method="brush")), ActorPool(3, Together(), Pictures()))
    next(found)
    found.close()
    manifest.close()
    written = {each.name for each in Path(items[0].output).parent.glob("*.bmp")}
    assert len(written) > 1
    with closing(Manifest(Path(items[0].output).parent)) as again:
        assert again.finished.keys() == written


@pytest.mark.parametrize("count", [1, 3])
def test_what_an_actor_had_when_it_died_is_painted_by_others_once(items: list[Item], count: int) -> None:
    actors = FakeActors(lambda actor, _: actor == 0 and sum(actors.painted.values()) >= 5)
    outcomes = run(items, actors, count)
    assert Counter(each.state for each in outcomes) == {"done": 20}
    assert len({each.item.output for each in outcomes}) == 20
    assert set(actors.painted.values()) == {1}
    assert len(actors.queues) == count + 1
    assert actors.ended == [0], "an actor whose task failed may be alive, and holds the room of the next one"
    lines = Path(items[0].output).with_name("manifest.jsonl").read_text().splitlines()
    assert len(lines) == 20
    assert Counter(each.state for each in run(items, FakeActors())) == {"done": 20}  # the hashes of the fake are not true


def test_an_item_that_kills_its_actor_fails_after_three_deaths_and_the_others_are_painted(items: list[Item]) -> None:
    actors = FakeActors(lambda _, parcel: parcel.item == items[7])
    outcomes = run(items, actors)
    (failed,) = [each for each in outcomes if each.state == "failed"]
    assert failed.item == items[7]
    assert failed.error.startswith("its worker died 3 times (killed by a test)")
    assert Counter(each.state for each in outcomes) == {"done": 19, "failed": 1}


def test_actors_that_cannot_start_end_the_batch_instead_of_starting_for_ever(items: list[Item]) -> None:
    with pytest.raises(ClusterError, match="no worker can start on the cluster"):
        run(items, FakeActors(version="dead"))
    with pytest.raises(ClusterError, match=f"a worker of the cluster has impasto 0.0 and this machine has {__version__}"):
        run(items, FakeActors(version="0.0"))


def test_a_machine_on_which_nothing_starts_does_not_end_the_work_of_the_others(items: list[Item]) -> None:
    class HalfDead(FakeActors):
        def _work(self, actor: int, queue: list[tuple[Hashable, Parcel | None]]) -> None:
            self.version = "dead" if actor else __version__
            super()._work(actor, queue)

    actors = HalfDead()
    assert Counter(each.state for each in run(items, actors)) == {"done": 20}
    assert len(actors.queues) < 10  # it stops trying


def test_a_photo_or_an_output_that_is_missing_is_a_failure_of_its_item(items: list[Item]) -> None:
    Path(items[3].content).unlink()
    items[4] = Item(content=items[4].content, style="x", output="/gone/out.bmp", options=BrushOptions())
    outcomes = run(items, FakeActors())
    failed = {each.item.content: each.error for each in outcomes if each.state == "failed"}
    assert set(failed) == {items[3].content, items[4].content}
    assert failed[items[3].content].startswith("there is no file")
    assert "'/gone/out.bmp' cannot be written" in failed[items[4].content]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ClusterError("a worker is too old")])
def test_results_that_are_written_when_the_run_ends_are_in_the_manifest(items: list[Item], error: BaseException) -> None:
    class Interrupted(FakeActors):
        """Ends the run after it has delivered a result, which the pool has not returned yet."""

        def result(self, task: Hashable) -> Delivery | str:
            if sum(self.painted.values()) >= 2 and task[0] == "paint":  # type: ignore[index]
                if self.is_ready:
                    raise error
                self.is_ready = True
            return super().result(task)

        is_ready = False

    found: list[Outcome] = []
    folder = Path(items[0].output).parent
    manifest, actors = Manifest(folder), Interrupted()
    outcomes = outcomes_of(items, manifest, Facts(Settings(method="brush")), ActorPool(3, actors, Pictures()))
    with pytest.raises(type(error)):
        found.extend(outcomes)
    manifest.close()
    written = sorted(path.name for path in folder.glob("*.bmp"))
    lines = [json.loads(line)["output"] for line in (folder / "manifest.jsonl").read_text().splitlines()]
    assert written
    assert sorted(lines) == sorted(Path(each.item.output).name for each in found) == written


def test_all_results_of_a_pool_are_in_the_manifest_when_the_disk_is_full(items: list[Item]) -> None:
    class Full:
        """A pool that paints two items at once. The first one does not fit."""

        def __init__(self) -> None:
            self.held: list[Item] = []

        @property
        def has_room(self) -> bool:
            return len(self.held) < 2

        @property
        def is_idle(self) -> bool:
            return not self.held

        def submit(self, item: Item) -> None:
            self.held.append(item)

        def outcomes(self) -> list[Outcome]:
            (first, second), self.held = self.held, []
            return [Outcome(item=first, state="failed", is_disk_full=True), Outcome(item=second, state="done")]

        def close(self) -> tuple[Outcome, ...]:
            return ()

    manifest = Manifest(Path(items[0].output).parent)
    outcomes = list(outcomes_of(items, manifest, Facts(Settings(method="brush")), Full()))
    manifest.close()
    assert [(each.item, each.state) for each in outcomes] == [(items[0], "failed"), (items[1], "done")]


def test_a_full_disk_of_a_worker_is_a_failure_of_its_item_alone(
    items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    painter, brush = Painter(Settings(method="brush", run=Run(threads=1, device="cpu"))), b"a brush"
    parcel = Parcel(item=items[0], content=b"a photo", style_name="mine.brush")
    write = Path.write_bytes

    def half(self: Path, data: bytes) -> int:
        write(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        failed = painter.paint(parcel, brush).outcome
        with pytest.raises(OSError, match="No space"):
            painter._kept("mine.brush", brush)
    assert failed.state == "failed"
    assert "a worker cannot keep its files in" in failed.error
    assert Path(painter._kept("mine.brush", brush)).read_bytes() == brush, "a half-written style is not used"
    full = Outcome(item=items[0], state="failed", error="full", is_disk_full=True)
    assert not Pictures().unpacked(items[0], Delivery(outcome=full)).is_disk_full, "the disk of the results is another one"
    painter.close()


def test_errors_of_workers_contain_the_names_of_the_user(items: list[Item]) -> None:
    painter = Painter(Settings(method="brush", run=Run(threads=1, device="cpu"), engine="torch"))
    parcel = Parcel(item=items[0], content=b"BM", style_name="mine.brush")
    error = painter.paint(parcel, b"not a brush").outcome.error
    painter.close()
    assert error.startswith((items[0].style, f"'{items[0].style}"))


def test_a_painter_needs_only_the_parcel_and_removes_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import skimage.data

    from impasto import images

    save_brush(tmp_path / "mine.brush", Johnson(Layout(4, blocks=1, ends=5)), {"name": "mine"})
    images.write(tmp_path / "a.png", images.read(skimage.data.astronaut()[:384:6, 32:416:6]))
    item = Item(content=str(tmp_path / "a.png"), style=str(tmp_path / "mine.brush"), output="out.webp", options=BrushOptions())
    parcel, brush = packed(item), (tmp_path / "mine.brush").read_bytes()
    assert style_file(item.style, "brush") == item.style
    assert style_file("starry-night", "instant") == ""
    settings = Settings(method="brush", run=Run(threads=1, device="cpu"), engine="torch")
    Worker(settings).paint(replace(item, output=str(tmp_path / "here.webp")))
    for name in ("a.png", "mine.brush"):
        (tmp_path / name).unlink()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    painter = Painter(settings)
    delivery = painter.paint(replace(parcel, style_name="mine.brush"), brush)
    assert (delivery.outcome.state, delivery.outcome.error) == ("done", "")
    assert delivery.result == (tmp_path / "here.webp").read_bytes()
    painter.close()
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.slow
def test_a_named_style_of_the_user_is_sent_under_the_name_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import skimage.data

    from impasto import images
    from impasto.options import InstantOptions
    from impasto.recipes.naming import name_style
    from impasto.styles.named import add_style

    monkeypatch.setenv("IMPASTO_STYLES", str(tmp_path / "styles"))
    images.write(tmp_path / "a.png", images.read(skimage.data.astronaut()[:384:6, 32:416:6]))
    add_style(name_style(images.read(skimage.data.coffee()[::4, ::4].copy()), {"name": "my-garden"}))
    path = Path(style_file("my-garden", "instant"))
    data = path.read_bytes()
    item = Item(content=str(tmp_path / "a.png"), style="my-garden", output="out.png", options=InstantOptions(size=64))
    parcel = replace(packed(item), style_name=path.name)
    monkeypatch.setenv("IMPASTO_STYLES", str(tmp_path / "elsewhere"))
    painter = Painter(Settings(method="instant", run=Run(threads=1, device="cpu"), engine="torch"))
    delivery = painter.paint(parcel, data)
    painter.close()
    assert (delivery.outcome.state, delivery.outcome.error) == ("done", "")

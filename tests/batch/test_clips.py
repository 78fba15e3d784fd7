"""Clips painted by actors: the result is that without a cluster, whatever dies. Only the last tests need Ray."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from clip_pieces import pictures_of, sound_of, times_of

from impasto._version import __version__
from impasto.batch import clips
from impasto.batch.actors import ActorDiedError, ActorPool
from impasto.batch.clips import ClipPainter, ClusterPainting, Commission, Painted, Stretch, Stretches
from impasto.cli import main
from impasto.errors import ClusterError
from impasto.networks.brush_files import save_brush
from impasto.networks.johnson import Johnson, Layout
from impasto.options import Run
from impasto.options.video import VideoOptions
from impasto.video.clips import open_clip
from impasto.video.painters import load_painter
from impasto.video.painting import VideoRun
from impasto.video.segments import folder_of
from impasto.video.temporal import PaintFrames

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
RUN = Run(threads=1, device="cpu", precision="fp32")
COUNT, TICK = 14, Fraction(1, 15360)
CUT = 9
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A clip of two shots with sound, whose frames have uneven times, and a brush."""
    random = np.random.default_rng(0)
    grounds = [random.integers(0, 256, (8, 16, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8) for _ in range(2)]
    grounds[1] = (grounds[1] // 4 + 190).astype(np.uint8)
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=30, options={"crf": "10"})
        video.height, video.width, video.pix_fmt, video.codec_context.time_base = 48, 64, "yuv420p", TICK
        audio: Any = container.add_stream("aac", rate=48000)
        for number in range(COUNT):
            pixels = grounds[number >= CUT][8:56, number : number + 64]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = 512 * number + 100 * (number % 3), TICK
            container.mux(video.encode(frame))
        container.mux(video.encode())
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        tone.sample_rate, tone.pts = 48000, 0
        container.mux(audio.encode(tone))
        container.mux(audio.encode())
    save_brush(tmp_path / "mine.brush", Johnson(Layout(4, blocks=1, ends=5)), {"name": "mine"})
    monkeypatch.chdir(tmp_path)
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    yield path
    torch.set_num_threads(before)


class Brightening:
    """A painter like that of the method ``paint``: each frame depends on the results before it."""

    follows, keys, contrast = True, 2, 1.0

    @property
    def identity(self) -> dict[str, str]:
        return {"method": "test"}

    def check(self, size: tuple[int, int]) -> None:
        pass

    def look_at(self, shots: Any) -> list[int]:
        return [shot.count for shot in shots]

    def paint(self, pixels: Any, shot: int, past: Any = ()) -> Any:
        before = sum(each.result.mean() / 255 for each in past) / 4
        return (pixels / 510 + before).clip(0, 1).astype(np.float32)


def travelled(value: Any) -> Any:
    """Return a value as it arrives through Ray: pickled, and with arrays that cannot be written."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(each.raw()) for each in buffers])  # noqa: TID251  (our own bytes)


class FakeActors:
    """Actors in this process that paint with a real painter, in turn, and die as a test decides."""

    def __init__(self, painter: ClipPainter, dies: Callable[[int, Stretch], bool] = lambda number, stretch: False) -> None:
        self.painter, self.dies = painter, dies
        self.queues: dict[int, list[tuple[Hashable, Stretch | None]]] = {}
        self.results: dict[Hashable, Painted | str | None] = {}
        self.sent = 0
        self.shots_at_once: Counter[int] = Counter()

    def start(self) -> tuple[Hashable, Hashable]:
        actor = len(self.queues)
        self.queues[actor] = [(("start", actor), None)]
        return actor, ("start", actor)

    def send(self, actor: Hashable, parcel: Stretch) -> Hashable:
        assert isinstance(actor, int)
        self.sent += 1
        self.queues[actor].append((self.sent, travelled(parcel)))
        waiting = [stretch.shot for queue in self.queues.values() for _, stretch in queue if stretch]
        self.shots_at_once = max(self.shots_at_once, Counter(waiting), key=lambda each: max(each.values(), default=0))
        return self.sent

    def wait(self, tasks: Sequence[Hashable]) -> Sequence[Hashable]:
        assert tasks
        while not (ended := [task for task in tasks if task in self.results]):
            for actor in reversed(self.queues):  # the last one first, so that results arrive out of order
                self._work(actor)
        return ended

    def _work(self, actor: int) -> None:
        queue = self.queues[actor]
        if not queue:
            return
        task, stretch = queue[0]
        if stretch is not None and self.dies(actor, stretch):
            self.results.update((each, None) for each, _ in queue)
            queue.clear()
            return
        queue.pop(0)
        self.results[task] = __version__ if stretch is None else travelled(self.painter.paint(stretch))

    def result(self, task: Hashable) -> Any:
        found = self.results[task]
        if found is None:
            raise ActorDiedError("killed by a test")
        return found

    def end(self, actor: Hashable) -> None:
        pass

    def close(self) -> None:
        pass


def video_run(method: str, output: str, painter: Any = None, **options: Any) -> VideoRun:
    chosen = VideoOptions(method="auto" if method == "follows" else method, **options)  # type: ignore[arg-type]
    style = "mine.brush" if method == "brush" else "starry-night"
    painter = painter or (Brightening() if method == "follows" else load_painter(style, chosen, RUN))
    return VideoRun(open_clip("clip.mkv"), painter, Path(output), chosen, 0.2)


def actor_of(run: VideoRun, method: str) -> ClipPainter:
    style = "mine.brush" if method == "brush" else "starry-night"
    data = Path(style).read_bytes() if method == "brush" else None
    name = style if method == "brush" else ""
    options = run.options
    whole = Commission(style="gone.brush" if method == "brush" else style, style_name=name, options=options, run=RUN)
    actor = ClipPainter(travelled(whole), data)
    if method == "follows":
        actor._painter = actor._current = Brightening()
    return actor


def pool_for(run: VideoRun, actors: FakeActors, count: int = 3) -> ClusterPainting:
    return ClusterPainting(ActorPool(count, actors, Stretches()), run)


def painted(run: VideoRun, painting: Any = None) -> Path:
    assert [each.done for each in run.paint(painting)] == list(range(run.resumed + 1, run.total + 1))
    return run.finish().output


@pytest.mark.slow
@pytest.mark.parametrize("method", ["brush", "instant", "follows"])
@pytest.mark.parametrize("frames", [1, 4])
def test_the_result_is_that_without_a_cluster(monkeypatch: pytest.MonkeyPatch, method: str, frames: int) -> None:
    monkeypatch.setattr(clips, "_MOST_FRAMES", frames)
    here = painted(video_run(method, "here.mkv"))
    run = video_run(method, "there.mkv")
    assert run.shots == [CUT, COUNT - CUT]
    actors = FakeActors(actor_of(run, method), lambda actor, _: actor == 1 and actors.sent > 4)
    there = painted(run, pool_for(run, actors))
    assert np.array_equal(pictures_of(here), pictures_of(there))
    assert times_of(there) == times_of(here) == times_of(Path("clip.mkv"))
    assert sound_of(there) == sound_of(Path("clip.mkv"))
    most = max(actors.shots_at_once.values())
    assert (most == 1) == (method != "brush"), "frames of a shot that follow each other are painted in order"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "seen"), [*((method, seen) for method in ("brush", "follows") for seen in (5, 8, 11)), ("instant", 8)]
)
def test_an_interrupted_run_continues_with_or_without_a_cluster(method: str, seen: int) -> None:
    whole = pictures_of(painted(video_run(method, "whole.mkv")))
    for first, second in ((True, False), (False, True)):
        run = video_run(method, "out.mkv")
        steps = run.paint(pool_for(run, FakeActors(actor_of(run, method))) if first else None)
        for _, _ in zip(range(seen + 3), steps, strict=False):
            pass
        steps.close()  # type: ignore[attr-defined]
        run = video_run(method, "out.mkv")
        assert 0 < run.resumed <= seen + 3
        result = painted(run, pool_for(run, FakeActors(actor_of(run, method))) if second else None)
        assert np.array_equal(whole, pictures_of(result))
        result.unlink()


def test_a_continued_run_starts_actors_for_the_shots_that_are_left() -> None:
    run = video_run("follows", "out.mkv")
    assert (run.shots, clips._most_actors(run)) == ([CUT, COUNT - CUT], 2)
    for state in run.paint():
        if state.done > CUT + 4:
            break
    run = video_run("follows", "out.mkv")
    assert CUT <= run.resumed < COUNT
    assert clips._most_actors(run) == 1


@pytest.mark.parametrize(("method", "count"), [("brush", 1), ("follows", 1), ("follows", 2)])
def test_only_a_few_stretches_are_in_memory(monkeypatch: pytest.MonkeyPatch, method: str, count: int) -> None:
    monkeypatch.setattr(clips, "_MOST_FRAMES", 1)
    run = video_run(method, "out.mkv")
    read = []
    places = run._places

    def counted() -> Iterator[Any]:
        for each in places():
            read.append(each)
            yield each

    monkeypatch.setattr(run, "_places", counted)
    steps = run.paint(pool_for(run, FakeActors(actor_of(run, method)), count))
    next(steps)
    assert len(read) <= 1 * 2 * 2 + 1 + (CUT if count > 1 else 0), (
        "with two workers, the first shot is read, but not the second"
    )


def test_a_stretch_that_kills_its_workers_ends_the_run_and_its_segments_are_kept() -> None:
    run = video_run("brush", "out.mkv")
    actors = FakeActors(actor_of(run, "brush"), lambda _, stretch: stretch.shot == 1)
    with pytest.raises(ClusterError, match=r"cannot paint \(its worker died 3 times \(killed by a test\)"):
        painted(run, pool_for(run, actors))
    assert folder_of(Path("out.mkv")).is_dir()
    assert not Path("out.mkv").exists()


def test_errors_of_painting_are_reported_and_not_tried_again() -> None:
    run = video_run("follows", "out.mkv")

    class Failing(Brightening):
        def paint(self, pixels: Any, shot: int, past: Any = ()) -> Any:
            raise ValueError("no\npaint")

    actor = actor_of(run, "follows")
    actor._current = Failing()
    actors = FakeActors(actor)
    with pytest.raises(ClusterError, match=r"cannot paint \(unexpected ValueError: no paint\)"):
        painted(run, pool_for(run, actors))
    assert len(actors.queues) == 3


REFUSED = {
    "--workers 2": "--workers is for --ray alone",
    "--workers 0": "--workers is for --ray alone",
    "--gpus 1": "--gpus is for --ray alone",
    "--ray somewhere": "--ray is 'somewhere'; it must be local, auto or ray://HOST:PORT",
    "--ray ray://127.0.0.1:1": "there is no Ray cluster at ray://127.0.0.1:1 (",
    "--ray local --device cuda": "--device cuda with --ray needs a GPU for each worker",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_run_is_refused_before_anything_is_written(capsys: Capture, tmp_path: Path, words: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert main(("video", "clip.mkv", "mine.brush", "-o", "out.mkv", *words.split())) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert REFUSED[words] in err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_machine_without_a_gpu_lets_workers_paint_on_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = []

    @contextmanager
    def painting(options: Any, started: VideoRun, style: str, run: Run) -> Iterator[Any]:
        wanted.append(run.device)
        yield None

    monkeypatch.setattr(clips, "cluster_painting", painting)
    monkeypatch.setattr("impasto.batch.cluster.check_cluster", lambda *_: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    words = ("clip.mkv", "mine.brush", "-o", "out.mkv", "--threads", "1", "--quiet")
    assert main(("video", *words, "--ray", "local", "--device", "cuda", "--gpus", "1")) == 0
    assert wanted == ["cuda"]


def test_the_time_of_painting_here_is_not_predicted_for_workers(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def painting(options: Any, started: VideoRun, style: str, run: Run) -> Iterator[Any]:
        yield started._painting

    asked = []
    monkeypatch.setattr(clips, "cluster_painting", painting)
    monkeypatch.setattr("impasto.batch.cluster.check_cluster", lambda *_: None)
    monkeypatch.setattr(PaintFrames, "paint", lambda self, pixels, shot, past=(): pixels / 255)
    monkeypatch.setattr(PaintFrames, "predicted_seconds", lambda self, *given: asked.append(given) or 150.0)
    words = ("clip.mkv", "starry-night", "-o", "out.mkv", "--method", "paint", "--threads", "1")
    assert main(("video", *words, "--ray", "local")) == 0
    assert "frames takes about" not in capsys.readouterr().err
    assert asked == []


def actors_below(process: int) -> list[int]:
    """Return the actors below a process."""
    parents, names = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            names[int(path.name)] = (path / "cmdline").read_text()
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = []
    for number, name in names.items():
        above = number
        while above in parents and above != process:
            above = parents[above]
        if above == process and name.startswith("ray::ClipPainter"):
            found.append(number)
    return found


@needs_ray
@pytest.mark.slow  # starts a cluster
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")
def test_after_kill_9_of_a_worker_a_clip_is_the_same() -> None:
    words = ("clip.mkv", "mine.brush", "--precision", "fp32", "--threads", "1", "--quiet")
    assert main(("video", *words, "-o", "here.mkv")) == 0
    command = [sys.executable, "-m", "impasto", "video", *words, "-o", "there.mkv", "--ray", "local", "--workers", "2"]
    with subprocess.Popen(command) as process:
        until = time.monotonic() + 300
        while not (actors := actors_below(process.pid)):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        os.kill(actors[0], signal.SIGKILL)
        assert process.wait(300) == 0
    assert np.array_equal(pictures_of(Path("here.mkv")), pictures_of(Path("there.mkv")))
    assert times_of(Path("there.mkv")) == times_of(Path("clip.mkv"))

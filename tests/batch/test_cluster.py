"""``impasto batch --ray``: clusters that are not there, and a worker that is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import skimage.data

from impasto import images
from impasto.batch import cluster
from impasto.batch.actors import ActorDiedError
from impasto.batch.cluster import ClusterOptions
from impasto.cli import main
from impasto.errors import ClusterError
from impasto.networks.brush_files import save_brush
from impasto.networks.johnson import Johnson, Layout

Capture = pytest.CaptureFixture[str]
COUNT = 24
WORDS = ("batch", "in", "mine.brush", "-o", "out", "--method", "brush", "--engine", "torch")
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a brush and photos of 64 px."""
    save_brush(tmp_path / "mine.brush", Johnson(Layout(4, blocks=1, ends=5)), {"name": "mine"})
    (tmp_path / "in").mkdir()
    for number in range(COUNT):
        photo = skimage.data.astronaut()[number : number + 64, number : number + 64]
        images.write(tmp_path / "in" / f"{number:02}.png", images.read(photo))
    monkeypatch.chdir(tmp_path)
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


REFUSED = {
    "--ray ray://127.0.0.1:1": "there is no Ray cluster at ray://127.0.0.1:1 (",
    "--ray 127.0.0.1:6379": "--ray is '127.0.0.1:6379'; it must be local, auto or ray://HOST:PORT",
    "--ray ray://somewhere": "--ray is 'ray://somewhere'; it must be local, auto or ray://HOST:PORT",
    "--ray ray://somewhere:99999": "--ray is 'ray://somewhere:99999'",
    "--ray local --workers 0": "--workers is 0; it must be a whole number from 1 to 10000",
    "--ray local --gpus 1.5": "--gpus is 1.5; it must be a share from 0 to 1, or a whole number",
    "--ray local --gpus -1": "--gpus is -1",
    "--ray local --gpus inf": "--gpus is inf",
    "--ray local --device cuda": "--device cuda with --ray needs a GPU for each worker",
    "--gpus 1": "--gpus is 1, but it applies only to --ray",
}


@pytest.mark.slow
@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_run_is_refused_before_anything_is_written(capsys: Capture, folder: Path, words: str) -> None:
    before = sorted(folder.rglob("*"))
    assert main((*WORDS, *words.split())) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert REFUSED[words] in err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ("127.0.0.1:1", "there is no Ray cluster on this machine or at RAY_ADDRESS ("),
        ("ray://127.0.0.1:1", "there is no Ray cluster on this machine or at RAY_ADDRESS ("),
        ("somewhere", "RAY_ADDRESS is 'somewhere'; it must be HOST:PORT or ray://HOST:PORT"),
    ],
)
def test_auto_does_not_wait_for_a_cluster_that_has_ended(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, named: str, sentence: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", named)
    assert main((*WORDS, "--ray", "auto")) == 2
    assert sentence in capsys.readouterr().err


def test_without_ray_a_sentence_says_how_to_install_it(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, *_: Any) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(cluster, "import_module", missing)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    assert main((*WORDS, "--ray", "auto")) == 2
    assert capsys.readouterr().err == ("impasto: --ray needs Ray; pip install 'impasto[cluster]', or omit --ray\n")
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_errors_of_ray_become_one_sentence() -> None:
    class Ray:
        def init(self, **_: Any) -> None:
            raise ConnectionError("Could not find any running Ray instance. Please specify the one\nto connect to.")

    sentences = {
        "auto": "there is no Ray cluster on this machine or at RAY_ADDRESS (none is running)",
        "ray://easel:10001": "the Ray cluster of --ray ray://easel:10001 cannot be used (Could not find any",
        "local": "Ray cannot start on this machine (Could not find any running Ray instance)",
    }
    for address, sentence in sentences.items():
        with pytest.raises(ClusterError) as caught:
            cluster._connect(Ray(), address)
        assert str(caught.value).startswith(sentence)


def test_the_number_of_workers_is_what_fits_on_the_machines() -> None:
    class Ray:
        """Three machines, one of which has left."""

        def nodes(self) -> list[dict[str, Any]]:
            sizes = ((8, 16, 2, True), (4, 3, 0, True), (64, 512, 8, False))
            names = ("CPU", "memory", "GPU")
            return [{"Alive": alive, "Resources": dict(zip(names, size, strict=True))} for *size, alive in sizes]

    local = ClusterOptions(address="local")
    assert cluster._count(Ray(), local, {"CPU": 1, "memory": 1}) == 8 + 3
    assert cluster._count(Ray(), local, {"CPU": 1, "GPU": 0.25}) == 8
    assert cluster._count(Ray(), ClusterOptions(address="local", workers=99), {"CPU": 100}) == 99
    with pytest.raises(ClusterError, match="no machine of the cluster has room for a worker with 9 CPU"):
        cluster._count(Ray(), local, {"CPU": 9})


def started(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "impasto", *WORDS, "--ray", "local", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_lines(process: subprocess.Popen[str], count: int) -> None:
    manifest, until = Path("out/manifest.jsonl"), time.monotonic() + 120
    while not (manifest.exists() and manifest.read_bytes().count(b"\n") >= count):
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def done_lines() -> list[str]:
    lines = [json.loads(line) for line in Path("out/manifest.jsonl").read_text().splitlines()]
    return sorted(line["output"] for line in lines if line["state"] == "done")


def actors_of(process: subprocess.Popen[str]) -> list[int]:
    """Return the actors' process ids, which are descendants of a batch."""
    parents, names = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            stat = (path / "stat").read_text()
            names[int(path.name)] = (path / "cmdline").read_text()
        except OSError:
            continue
        parents[int(path.name)] = int(stat.rpartition(")")[2].split()[1])
    found = []
    for number, name in names.items():
        above = number
        while above in parents and above != process.pid:
            above = parents[above]
        if above == process.pid and name.startswith("ray::Painter"):
            found.append(number)
    return found


class LostRay:
    """A cluster to which the connection breaks while a task is waited for."""

    class exceptions:  # noqa: N801  (Ray's name)
        class RayError(Exception):
            """The error of an actor that died."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def remote(self, **_: Any) -> Any:
        return lambda painter: self

    def wait(self, *_: Any, **__: Any) -> Any:
        raise self.error

    get = wait


def test_a_connection_that_breaks_ends_the_run_with_a_sentence_and_a_dead_actor_does_not() -> None:
    actors = cluster.RayActors(LostRay(ConnectionError("Client is shutting down.\nand more")), object, (), {"CPU": 1})
    for use in (actors.wait, actors.result):
        with pytest.raises(ClusterError, match=r"^the cluster can no longer be reached \(Client is shutting down\); check"):
            use(["task"])  # type: ignore[operator]
    with pytest.raises(ActorDiedError, match="killed"):
        cluster.RayActors(LostRay(LostRay.exceptions.RayError("killed")), object, (), {"CPU": 1}).result("task")


@needs_ray
@pytest.mark.slow  # starts a cluster
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")
def test_after_kill_9_of_a_worker_all_pictures_are_delivered_and_none_twice() -> None:
    with started("--workers", "2") as process:
        wait_for_lines(process, 2)
        os.kill(actors_of(process)[0], signal.SIGKILL)
        assert process.wait(180) == 0, process.communicate()
    expected = [f"{number:02}-mine.png" for number in range(COUNT)]
    assert done_lines() == expected
    assert sorted(path.name for path in Path("out").glob("*.png")) == expected


@needs_ray
@pytest.mark.slow  # starts two clusters
def test_ctrl_c_leaves_a_batch_that_the_same_command_continues() -> None:
    with started("--workers", "1") as process:
        wait_for_lines(process, 2)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130, process.communicate()
    done = done_lines()
    assert 2 <= len(done) < COUNT
    with started("--workers", "1") as process:
        assert process.wait(180) == 0, process.communicate()
        assert process.stdout is not None
        assert f"{COUNT - len(done)} done + {len(done)} skipped + 0 failed" in process.stdout.read()
    assert len(done_lines()) == len(set(done_lines())) == COUNT


@needs_ray
def test_ray_is_loaded_without_usage_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    command = "from impasto.batch.cluster import _loaded; import sys; assert 'ray' not in sys.modules; _loaded('auto'); "
    command += "import os; from ray._common.usage.usage_lib import usage_stats_enabled; print(usage_stats_enabled())"
    found = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False"]

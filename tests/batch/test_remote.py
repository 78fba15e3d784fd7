"""``impasto batch -o URL``: results on file systems of fsspec, what is done there, and places that cannot be used."""

import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import skimage.data
import torch
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from fsspec.registry import _registry, known_implementations

from impasto import images
from impasto.batch import remote
from impasto.batch.engine import outcomes_of
from impasto.batch.manifest import Facts, Manifest
from impasto.batch.remote import RemoteFolder, RemoteManifest, place_of
from impasto.batch.uploads import UploadingPool
from impasto.batch.work import Item, Outcome, Settings
from impasto.cli import main
from impasto.errors import ImageFileError
from impasto.networks.brush_files import save_brush
from impasto.networks.johnson import Johnson, Layout
from impasto.options.brush import BrushOptions

Capture = pytest.CaptureFixture[str]
BRUSH = ("--method", "brush", "--threads", "1", "--precision", "fp32", "--device", "cpu", "--engine", "torch")


class Shelf(LocalFileSystem):
    """A file system with its own protocol on the disk. It notes what is written and renamed, and fails as a test wants."""

    protocol = "shelf"
    cachable = False
    written: list[str] = []  # noqa: RUF012
    renamed: list[str] = []  # noqa: RUF012
    faults: list[Exception] = []  # noqa: RUF012
    blind: list[Exception] = []  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        return super()._strip_protocol(str(path).removeprefix("shelf://"))

    def info(self, path: str, **kwargs: Any) -> Any:
        if self.blind and path.endswith("manifest.jsonl"):
            raise self.blind.pop(0)
        return super().info(path, **kwargs)

    def put_file(self, lpath: str, rpath: str, **kwargs: Any) -> None:
        if self.faults:
            Path(rpath).write_bytes(b"half")
            raise self.faults.pop(0)
        self.written.append(Path(rpath).name)
        super().put_file(lpath, rpath, **kwargs)

    def mv(self, path1: str, path2: str, **kwargs: Any) -> None:
        self.renamed.append(Path(path2).name)
        super().mv(path1, path2, **kwargs)


class Store(MemoryFileSystem):
    """An object store: it has no renaming, and creating a folder would create a bucket."""

    protocol = "s3"
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    written: list[str] = []  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("s3://"))

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        raise AssertionError("a bucket would be created")

    def put_file(self, lpath: str, rpath: str, **kwargs: Any) -> None:
        self.written.append(rpath)
        self.pipe_file(rpath, Path(lpath).read_bytes())


class Cached(MemoryFileSystem):
    """A file system that answers from its last listing, as those of object stores do."""

    protocol = "cached"
    cachable = True
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    known: dict[str, Any] = {}  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("cached://"))

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> Any:
        found = super().ls(path, detail=True, **kwargs)
        self.known.update({each["name"]: each for each in found})
        return found if detail else [each["name"] for each in found]

    def info(self, path: str, **kwargs: Any) -> Any:
        return self.known.get(self._strip_protocol(path)) or super().info(path, **kwargs)

    def invalidate_cache(self, path: str | None = None) -> None:
        self.known.clear()


class Closed(MemoryFileSystem):
    """A file system that can only be read."""

    protocol = "closed"

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a brush and three photos, and three more file systems."""
    save_brush(tmp_path / "red.brush", Johnson(Layout(4, blocks=1, ends=5)), {"name": "red"})
    (tmp_path / "in").mkdir()
    photo = skimage.data.astronaut()[:384:6, 32:416:6]
    for name, pixels in {"a": photo, "b": photo[:, ::-1], "c": 255 - photo}.items():
        images.write(tmp_path / "in" / f"{name}.png", images.read(np.ascontiguousarray(pixels)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(remote, "_PAUSES_SECONDS", (0.0, 0.0))
    for each in (Shelf, Store, Cached, Closed):
        monkeypatch.setitem(_registry, each.protocol, each)
    before = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(before)
    for kept in (Shelf.written, Shelf.renamed, Shelf.faults, Shelf.blind, Store.written, Store.store, Cached.store):
        kept.clear()
    MemoryFileSystem.store.clear()


def run(capsys: Capture, *words: str) -> tuple[int, dict[str, Any], str]:
    """Run a batch; return the exit code, the printed counts and the messages."""
    code = main(("batch", *words, "--json"))
    out, err = capsys.readouterr()
    return code, json.loads(out or "{}"), err


def counts(printed: dict[str, Any]) -> tuple[int, int, int, int]:
    return printed["planned"], printed["done"], printed["skipped"], printed["failed"]


def names(files: Any, path: str) -> list[str]:
    return sorted(each.rpartition("/")[2] for each in files.ls(path, detail=False))


RESULTS = ["a-red.png", "b-red.png", "c-red.png", "manifest.jsonl"]


@pytest.mark.slow
@pytest.mark.parametrize("url", ["memory://deep/painted", "s3://bucket/painted", "shelf://FOLDER/painted"])
def test_results_and_manifest_go_to_a_url_and_what_is_done_there_is_skipped(capsys: Capture, folder: Path, url: str) -> None:
    url = url.replace("FOLDER", str(folder))
    code, printed, err = run(capsys, "in", "red.brush", "-o", url, *BRUSH)
    assert (code, counts(printed), printed["manifest"]) == (0, (3, 3, 0, 0), f"{url}/manifest.jsonl"), err
    assert f"{url}: 3 done" in err
    files, path = fsspec.core.url_to_fs(url)
    assert names(files, path) == RESULTS
    lines = [json.loads(line) for line in files.cat_file(f"{path}/manifest.jsonl").splitlines()]
    assert sorted(line["output"] for line in lines) == RESULTS[:3]
    assert main(("batch", "in", "red.brush", "-o", "here", *BRUSH)) == 0
    capsys.readouterr()
    assert all(files.cat_file(f"{path}/{name}") == Path("here", name).read_bytes() for name in RESULTS[:3])

    assert counts(run(capsys, "in", "red.brush", "-o", url, *BRUSH)[1]) == (3, 0, 3, 0)
    files.rm_file(f"{path}/a-red.png")
    time.sleep(0.01)  # another time of writing
    files.pipe_file(f"{path}/b-red.png", b"changed")
    assert counts(run(capsys, "in", "red.brush", "-o", url, *BRUSH)[1]) == (3, 2, 1, 0)
    assert counts(run(capsys, "in", "red.brush", "-o", url, *BRUSH, "--strength", "0.5")[1]) == (3, 3, 0, 0)
    assert names(files, path) == RESULTS


@pytest.mark.slow
def test_processes_paint_for_a_url_too(capsys: Capture) -> None:
    words = ("in", "red.brush", "-o", "memory://painted", *BRUSH, "--workers", "2")
    assert counts(run(capsys, *words)[1]) == (3, 3, 0, 0)
    assert names(MemoryFileSystem(), "/painted") == RESULTS


def test_a_local_batch_that_was_copied_continues_elsewhere(capsys: Capture) -> None:
    assert main(("batch", "in", "red.brush", "-o", "here", *BRUSH)) == 0
    capsys.readouterr()
    MemoryFileSystem().put("here/", "/there", recursive=True)
    assert counts(run(capsys, "in", "red.brush", "-o", "memory://there", *BRUSH)[1]) == (3, 0, 3, 0)


def test_a_file_url_is_a_folder_of_this_machine(capsys: Capture, folder: Path) -> None:
    assert place_of(f"file://{folder}/out") == folder / "out"
    assert counts(run(capsys, "in", "red.brush", "-o", f"file://{folder}/out", *BRUSH)[1]) == (3, 3, 0, 0)
    assert sorted(path.name for path in Path("out").iterdir()) == RESULTS
    assert main(("batch", "out/*.png", "red.brush", "-o", f"file://{folder}/out", *BRUSH)) == 2  # only results match


def test_a_file_appears_under_its_name_only_when_it_is_whole(capsys: Capture, folder: Path) -> None:
    assert run(capsys, "in", "red.brush", "-o", f"shelf://{folder}/out", *BRUSH)[0] == 0
    assert set(Shelf.renamed) == set(RESULTS)
    assert all(name.startswith(".impasto-") for name in Shelf.written)
    assert run(capsys, "in", "red.brush", "-o", "s3://bucket/out", *BRUSH)[0] == 0
    assert {each.rpartition("/")[2] for each in Store.written} == set(RESULTS)  # one upload each


def test_a_fault_is_tried_again_and_leaves_no_part(capsys: Capture, folder: Path) -> None:
    Shelf.faults += [ConnectionError("the line is dead")] * 2
    assert counts(run(capsys, "in", "red.brush", "-o", f"shelf://{folder}/out", *BRUSH)[1]) == (3, 3, 0, 0)
    assert sorted(path.name for path in Path("out").iterdir()) == RESULTS


def test_a_result_that_cannot_be_written_fails_and_is_painted_next_time(capsys: Capture, folder: Path) -> None:
    Shelf.faults += [PermissionError(13, "Permission denied")]
    words = ("in", "red.brush", "-o", f"shelf://{folder}/out", *BRUSH)
    code, printed, err = run(capsys, *words)
    assert (code, counts(printed)) == (1, (3, 2, 0, 1))
    assert "a-red.png' cannot be written (Permission denied); check its name and your access to it" in err
    assert sorted(path.name for path in Path("out").iterdir()) == RESULTS[1:]
    assert counts(run(capsys, *words)[1]) == (3, 1, 2, 0)


def test_a_full_disk_elsewhere_stops_the_batch(capsys: Capture, folder: Path) -> None:
    Shelf.faults += [OSError(28, "No space left on device")]
    code, printed, err = run(capsys, "in", "red.brush", "-o", f"shelf://{folder}/out", *BRUSH)
    assert code == 1
    assert counts(printed)[3] == 1
    assert f"the disk of 'shelf://{folder}/out' or of the temporary folder '{tempfile.gettempdir()}' is full" in err


def test_parts_of_a_killed_run_are_deleted_and_its_results_are_not_files_of_others(capsys: Capture, folder: Path) -> None:
    words = ("in", "red.brush", "-o", f"shelf://{folder}/out", *BRUSH)
    assert run(capsys, *words)[0] == 0
    Path("out/.impasto-12.part").touch()
    Path("out/manifest.jsonl").unlink()  # killed before its first lines were written
    Path("out/b-red.png").write_bytes(Path("in/b.png").read_bytes())  # somebody else's
    assert counts(run(capsys, *words)[1]) == (3, 3, 0, 0)
    assert sorted(path.name for path in Path("out").iterdir()) == sorted([*RESULTS, "b-red-2.png"])
    assert Path("out/b-red.png").read_bytes() == Path("in/b.png").read_bytes()


def test_the_manifest_is_written_every_few_seconds_and_two_runs_do_not_mix_theirs(folder: Path) -> None:
    now, place = [0.0], place_of("memory://painted")
    assert isinstance(place, RemoteFolder)

    def lines() -> int:
        files = MemoryFileSystem()
        return files.cat_file("/painted/manifest.jsonl").count(b"\n") if files.exists("/painted/manifest.jsonl") else 0

    with place.opened() as opened:
        manifest = RemoteManifest(opened, lambda: now[0])
        for seconds, expected in ((1.0, 0), (2.5, 2), (3.0, 2), (5.0, 4)):
            now[0] = seconds
            manifest.append({"output": "a.png", "state": "done"})
            assert lines() == expected
        time.sleep(0.01)
        MemoryFileSystem().pipe_file("/painted/manifest.jsonl", b"{}\n")
        manifest.append({"output": "b.png", "state": "done"})
        with pytest.raises(ImageFileError, match="another run has written 'memory://painted/manifest"):
            manifest.flush()
        manifest.close()
    assert not opened.path.exists()


def test_a_manifest_that_another_run_wrote_after_the_listing_is_seen(folder: Path) -> None:
    place, line = place_of("cached://painted"), b'{"state": "done", "output": "%s"}\n'
    assert isinstance(place, RemoteFolder)
    with place.opened() as opened:
        Cached().pipe_file("/painted/manifest.jsonl", line % b"a.png")
        manifest = RemoteManifest(opened)
        assert list(manifest.finished) == ["a.png"]
        Cached().ls("/painted")  # now it answers from this listing
        time.sleep(0.01)
        Cached.store["/painted/manifest.jsonl"] = MemoryFile(Cached(), "/painted/manifest.jsonl", 2 * (line % b"a.png"))
        manifest.append({"output": "a.png", "state": "skipped"})
        with pytest.raises(ImageFileError, match="another run has written"):
            manifest.flush()
        manifest.close()


def test_a_fault_while_the_version_of_the_manifest_is_read_is_tried_again(folder: Path) -> None:
    place = place_of(f"shelf://{folder}/out")
    assert isinstance(place, RemoteFolder)
    with place.opened() as opened:
        Shelf.blind += [ConnectionError("the line is dead")] * 2
        manifest = RemoteManifest(opened)
        manifest.append({"output": "a.png", "state": "done"})
        Shelf.blind += [ConnectionError("the line is dead")] * 2
        manifest.flush()
        assert (folder / "out" / "manifest.jsonl").read_bytes() == manifest.path.read_bytes()
        manifest.append({"output": "b.png", "state": "done"})
        Shelf.blind += [ConnectionError("the line is dead")] * 3
        with pytest.raises(ImageFileError, match=r"manifest.jsonl' cannot be read \(the line is dead\)"):
            manifest.flush()
        manifest.close()


@pytest.mark.parametrize(("faults", "content"), [(1, b"new"), (100, b"old")])
def test_the_old_file_stays_if_the_new_one_cannot_be_renamed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, faults: int, content: bytes
) -> None:
    left, move, old = [ConnectionError("the line is dead")] * faults, Shelf.mv, folder / "out" / "a.png"

    def stuck(self: Shelf, path1: str, path2: str, **kwargs: Any) -> None:
        if left and Path(path2) == old and Path(path1).read_bytes() == b"new":
            raise left.pop()
        move(self, path1, path2, **kwargs)

    place = place_of(f"shelf://{folder}/out")
    assert isinstance(place, RemoteFolder)
    with place.opened() as opened:
        monkeypatch.setattr(Shelf, "mv", stuck)
        old.write_bytes(b"old")
        (opened.path / "a.png").write_bytes(b"new")
        with nullcontext() if content == b"new" else pytest.raises(ImageFileError, match="the line is dead"):
            opened.put(opened.path / "a.png")
    assert old.read_bytes() == content
    assert [path.name for path in old.parent.iterdir()] == ["a.png"]


def test_a_file_system_that_is_not_asynchronous_gets_one_call_after_the_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, overlaps, put, info = threading.Event(), [], Shelf.put_file, Shelf.info

    def slow(self: Shelf, lpath: str, rpath: str, **kwargs: Any) -> None:
        busy.set()
        time.sleep(0.05)
        put(self, lpath, rpath, **kwargs)
        busy.clear()

    def asked(self: Shelf, path: str, **kwargs: Any) -> Any:
        overlaps.append(busy.is_set())
        return info(self, path, **kwargs)

    place = place_of(f"shelf://{folder}/out")
    assert isinstance(place, RemoteFolder)
    with place.opened() as opened:
        monkeypatch.setattr(Shelf, "put_file", slow)
        monkeypatch.setattr(Shelf, "info", asked)
        (opened.path / "a.png").write_bytes(b"a")
        upload = threading.Thread(target=opened.put, args=(opened.path / "a.png",))
        upload.start()
        assert busy.wait(30)
        while upload.is_alive():
            opened.version("a.png")
        upload.join()
    assert overlaps
    assert not any(overlaps)


class Painted:
    """A pool that paints at once. It is interrupted when a test wants."""

    def __init__(self, stops_at: int = 100) -> None:
        self.items: list[Item] = []
        self.left = stops_at

    @property
    def has_room(self) -> bool:
        return not self.items

    is_idle = has_room

    def submit(self, item: Item) -> None:
        self.items.append(item)

    def outcomes(self) -> list[Outcome]:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        found, self.items = self.items, []
        return [Outcome(item=each, state="done") for each in found]

    def close(self) -> tuple[Outcome, ...]:
        return ()


class Slow:
    """A folder whose uploads wait until they may end."""

    threads = 1

    def __init__(self) -> None:
        self.opened = threading.Event()

    def put(self, local: Path) -> str:
        assert self.opened.wait(30)
        return "1"


def items_in(folder: Path, count: int = 5) -> list[Item]:
    outputs = [str(folder / f"{number}.png") for number in range(count)]
    return [Item(content="in/a.png", style="red.brush", output=output, options=BrushOptions()) for output in outputs]


def test_ctrl_c_keeps_what_is_uploaded(folder: Path) -> None:
    slow, found, items = Slow(), [], items_in(folder)
    pool, manifest = UploadingPool(Painted(stops_at=2), slow), Manifest(folder)  # type: ignore[arg-type]
    threading.Timer(0.05, slow.opened.set).start()
    with pytest.raises(KeyboardInterrupt):
        found.extend(outcomes_of(items, manifest, Facts(Settings(method="brush")), pool))
    manifest.close()
    assert found[0].item == items[0]
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    assert [line["output"] for line in lines] == [Path(each.item.output).name for each in found]
    assert all(line["output_version"] == "1" for line in lines)


def test_the_upload_of_a_picture_that_was_painted_slowly_is_waited_for(folder: Path) -> None:
    now, slow = iter(range(0, 100_000, 1000)), Slow()
    pool = UploadingPool(Painted(), slow, lambda: next(now))  # type: ignore[arg-type]
    pool.submit(items_in(folder)[0])
    threading.Timer(0.05, slow.opened.set).start()
    assert [each.output_version for each in pool.outcomes()] == ["1"]
    pool.close()


def test_painting_goes_on_while_results_are_uploaded(folder: Path) -> None:
    """The pool is asked for more although no upload has ended, but not for ever."""
    slow, items = Slow(), items_in(folder)
    pool = UploadingPool(Painted(), slow)  # type: ignore[arg-type]
    for item in items[:4]:
        pool.submit(item)
        assert list(pool.outcomes()) == []
    assert not pool.is_idle
    pool.submit(items[4])
    threading.Timer(0.05, slow.opened.set).start()
    found = list(pool.outcomes())
    assert found, "more results wait than may"
    while not pool.is_idle:
        found += pool.outcomes()
    assert [(each.item, each.output_version) for each in found] == [(item, "1") for item in items]
    pool.close()


REFUSED = {
    "nowhere://x": "-o is 'nowhere://x', which fsspec does not know (Protocol not known: nowhere); correct it",
    "nowhere://anna:se@cret@host/a@b": "-o is 'nowhere://anna:***@host/a@b', which fsspec does not know",
    "closed://x": "'closed://x' cannot be written (it can only be read)",
    "shelf:///dev/null/x": "'shelf:///dev/null/x' cannot be written (Not a directory); check its name and your access to it",
}


@pytest.mark.parametrize("url", REFUSED)
def test_places_that_cannot_be_used_are_refused_before_painting(capsys: Capture, folder: Path, url: str) -> None:
    before = sorted(folder.rglob("*"))
    assert main(("batch", "in", "red.brush", "-o", url, *BRUSH)) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert REFUSED[url] in err
    assert sorted(folder.rglob("*")) == before


def test_missing_packages_are_named(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"class": "not_installed_fs.FileSystem", "err": "Install not_installed_fs to access it"}
    monkeypatch.setitem(known_implementations, "far", entry)
    assert main(("batch", "in", "red.brush", "-o", "far://anna:secret@host/painted", *BRUSH)) == 2
    assert capsys.readouterr().err == (
        "impasto: -o far://anna:***@host/painted needs another package (Install not_installed_fs to access it); "
        "install it with pip, or give a folder of this machine\n"
    )
    monkeypatch.setitem(sys.modules, "fsspec", None)
    assert main(("batch", "in", "red.brush", "-o", "s3://bucket/painted", *BRUSH)) == 2
    assert capsys.readouterr().err == (
        "impasto: -o s3://bucket/painted needs fsspec; pip install 'impasto[remote]', or give a folder of this machine\n"
    )

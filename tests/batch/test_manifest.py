"""The manifest: lines that were cut by a crash, and files that are not manifests."""

import errno
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from impasto.batch.manifest import NAME, Manifest
from impasto.errors import ImageFileError


def test_a_line_that_was_cut_is_ignored_and_the_next_line_is_whole(tmp_path: Path) -> None:
    done = {"state": "done", "output": "a.png", "seconds": 1}
    (tmp_path / NAME).write_text(json.dumps(done) + '\n[1]\n{"state": "done", "output": "b')
    with closing(Manifest(tmp_path)) as manifest:
        assert (set(manifest.finished), manifest.last("a.png"), manifest.last("b.png")) == ({"a.png"}, done, None)
        manifest.append({"state": "done", "output": "ü\udce9.png"})
    with closing(Manifest(tmp_path)) as manifest:
        assert list(manifest.finished) == ["a.png", "ü\udce9.png"]


def test_the_last_line_of_a_result_counts(tmp_path: Path) -> None:
    for line in ({"state": "done", "seconds": 1}, {"state": "done", "seconds": 2}, {"state": "skipped"}):
        with closing(Manifest(tmp_path)) as manifest:
            manifest.append({"output": "a.png"} | line)
    with closing(Manifest(tmp_path)) as manifest:
        assert (manifest.last("a.png") or {})["seconds"] == 2


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_full_disk_is_an_error_of_one_sentence(tmp_path: Path, is_cut: bool) -> None:
    class Full:
        def write(self, data: bytes) -> int:
            if is_cut:
                return len(data) - 1
            raise OSError(errno.ENOSPC, "No space left on device")

    manifest: Any = Manifest(tmp_path)
    manifest.close()
    manifest._file = Full()
    with pytest.raises(ImageFileError, match=r"manifest.jsonl' cannot be written \(No space left on device\)"):
        manifest.append({"state": "done", "output": "a.png"})

"""Temporary folders: those of killed processes are deleted by the next one, and those in use are not."""

import errno
import os
from pathlib import Path

import pytest

from impasto.runtime import locks
from impasto.runtime.locks import lock_of
from impasto.runtime.temporary import temporary_folder


def test_folders_of_killed_processes_are_deleted_and_those_in_use_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("impasto-test-old", "impasto-test-young", "impasto-other-old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.png").touch()
        lock_of(tmp_path / name).touch()
    for name in ("impasto-test-old", "impasto-other-old"):
        os.utime(tmp_path / name, (0, 0))
    with temporary_folder("impasto-test-") as held:
        os.utime(held, (0, 0))
        with temporary_folder("impasto-test-") as second:
            assert held.is_dir()
            kept = {"impasto-test-young", "impasto-other-old", held.name, second.name}
            assert {path.name for path in tmp_path.iterdir()} == kept
    assert {path.name for path in tmp_path.iterdir()} == {"impasto-test-young", "impasto-other-old"}


@pytest.mark.parametrize("broken", ["try_lock", "open"])
def test_folders_in_use_are_kept_if_they_cannot_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """The file system does not support locks, or was full when the folder was created."""

    def failing(*_: object) -> int:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(locks if broken == "try_lock" else os, broken, failing)
        held = temporary_folder("impasto-test-")
        with held as path:
            os.utime(path, (0, 0))
            if broken == "open":
                patch.undo()
            with temporary_folder("impasto-test-"):
                assert path.is_dir()

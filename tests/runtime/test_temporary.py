"""Temporary folders: those of killed processes are deleted by the next one, and those in use are not."""

import os
from pathlib import Path

import pytest

from impasto.runtime.temporary import temporary_folder


def test_folders_of_killed_processes_are_deleted_and_those_in_use_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("impasto-test-old", "impasto-test-young", "impasto-other-old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.png").touch()
    for name in ("impasto-test-old", "impasto-other-old"):
        os.utime(tmp_path / name, (0, 0))
    with temporary_folder("impasto-test-") as held:
        os.utime(held, (0, 0))
        with temporary_folder("impasto-test-") as second:
            assert held.is_dir()
            kept = {"impasto-test-young", "impasto-other-old", held.name, second.name}
            assert {path.name for path in tmp_path.iterdir()} == kept
    assert {path.name for path in tmp_path.iterdir()} == {"impasto-test-young", "impasto-other-old"}

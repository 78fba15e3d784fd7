"""Files are written completely, or the old one stays."""

import os
import stat
from pathlib import Path

import pytest

from impasto.networks.brush_files import save_brush
from impasto.networks.johnson import Johnson, Layout
from impasto.runtime.atomic import replacing, try_writing


def test_a_file_is_replaced_at_the_end_of_the_block(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")
    with replacing(path) as partial:
        partial.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"new", [path])


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("the writer failed"), KeyboardInterrupt()]
)
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")
    with pytest.raises(type(error)), replacing(path) as partial:  # noqa: PT012
        partial.write_bytes(b"half")
        raise error
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])


def test_a_name_of_the_longest_length_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 255)
    with replacing(path) as partial:
        partial.write_bytes(b"data")
    assert path.read_bytes() == b"data"


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "j.npy"
    with replacing(path) as late:
        late.write_bytes(b"late")
        with replacing(path) as early:
            early.write_bytes(b"early")
        assert path.read_bytes() == b"early"
    assert path.read_bytes() == b"late"


def test_a_trial_changes_nothing_and_finds_what_cannot_be_written(tmp_path: Path) -> None:
    try_writing(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="File name too long"):
        try_writing(tmp_path / ("a" * 300))
    with pytest.raises(FileNotFoundError):
        try_writing(tmp_path / "missing" / "a.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_or_a_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(path := tmp_path / "pipe.png")
    with pytest.raises(OSError, match="not a file"):
        try_writing(path)
    with pytest.raises(OSError, match="not a file"), replacing(path):
        raise AssertionError("nothing may be written")
    assert stat.S_ISFIFO(path.stat().st_mode)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_others_can_read_a_network_file(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        save_brush(tmp_path / "x.brush", Johnson(Layout(2, blocks=0, ends=1)), {})
    finally:
        os.umask(before)
    assert (tmp_path / "x.brush").stat().st_mode & 0o777 == 0o644

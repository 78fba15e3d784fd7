"""Locks of outputs, held by real processes."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from impasto.errors import OptionError
from impasto.runtime.locks import lock_of, only_writer

HOLD = """
import sys
from pathlib import Path
from impasto.runtime.locks import only_writer
with only_writer(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(output: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes an output."""
    command = [sys.executable, "-c", HOLD, str(output)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_second_writer_learns_who_writes(tmp_path: Path, is_folder: bool) -> None:
    output = tmp_path / "out"
    if is_folder:
        output.mkdir()
    with holder(output) as process:
        sentence = rf"another run \(process {process.pid}\) is writing '.*out'; wait until it ends, or give another output"
        for _ in range(2):
            with pytest.raises(OptionError, match=sentence), only_writer(output):
                pass
        process.communicate("")
        assert not lock_of(output).exists()
    with only_writer(output):
        pass
    assert not lock_of(output).exists()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_killed_writer_leaves_no_lock(tmp_path: Path) -> None:
    output = tmp_path / "out.png"
    with holder(output) as process:
        process.kill()
        process.wait()
        assert lock_of(output).read_text() == f"{process.pid} {socket.gethostname()}"
        with only_writer(output):
            assert lock_of(output).read_text() == f"{os.getpid()} {socket.gethostname()}"
    assert not lock_of(output).exists()


def test_a_writer_on_another_machine_is_named(tmp_path: Path) -> None:
    output = tmp_path / "out.png"
    with only_writer(output):
        for text, who in {"7 easel.local": r"another run \(process 7 on easel.local\)", "": "another run"}.items():
            lock_of(output).write_text(text)
            with pytest.raises(OptionError, match=f"{who} is writing"), only_writer(output):
                pass


def test_a_link_to_an_output_and_a_name_of_the_largest_length_are_locked(tmp_path: Path) -> None:
    link, long = tmp_path / "link", tmp_path / ("a" * 250)
    link.symlink_to(long)
    with only_writer(link), pytest.raises(OptionError, match="another run"), only_writer(long):
        pass
    assert list(tmp_path.iterdir()) == [link]


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    victim, output = tmp_path / "victim", tmp_path / "out.png"
    victim.write_text("precious")
    lock_of(output).symlink_to(victim)
    with only_writer(output):
        pass
    assert victim.read_text() == "precious"


def test_without_a_folder_nothing_is_locked(tmp_path: Path) -> None:
    with only_writer(tmp_path / "gone" / "out.png"):
        pass
    assert list(tmp_path.iterdir()) == []

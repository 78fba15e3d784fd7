"""The command line in unusual environments: failing streams, closed terminals, no home folder, full disks."""

import errno
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import skimage.data
import torch

from impasto import images
from impasto.cli import checkpoints, main, outputs, overwriting, signals, streams
from impasto.errors import ImageFileError, OptionError
from impasto.optim.engine import Step
from impasto.recipes import neighbors
from impasto.recipes.context import PaintingContext
from impasto.recipes.pastiche import Pastiche
from impasto.runtime import file_names, folders

INSTANT = ("instant", "photo.jpg", "picture.jpg", "--size", "64", "--threads", "1")
PAINT = ("paint", "photo.jpg", "picture.jpg", "--size", "48", "--steps", "2", "--threads", "1", "--precision", "fp32")
ENDLESS = ("paint", "photo.jpg", "picture.jpg", "--size", "64", "--steps", "100000", "-o", "out.png")
COMMANDS = (
    "paint",
    "instant",
    "regions",
    "inetwork",
    "report",
    "tune",
    "demo",
    "styles",
    "styles list",
    "styles add",
    "studio",
    "studio-worker",
    "weights",
    "weights list",
    "export",
    "export onnx",
    "train",
    "train encoder",
    "train instant",
)
CORPORA = ("--photos=in", "--paintings=in", "--textures=in", "--steps=1")
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX alone")
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory, with photo.jpg and picture.jpg."""
    folder = tmp_path / "gallery"
    folder.mkdir()
    images.write(folder / "photo.jpg", images.read(skimage.data.astronaut()[:384:4, 32:416:4]))
    images.write(folder / "picture.jpg", images.read(skimage.data.coffee()[::4, ::4]))
    monkeypatch.chdir(folder)
    before = torch.get_num_threads()
    yield folder
    torch.set_num_threads(before)


def program(words: Sequence[str], **changes: Any) -> subprocess.CompletedProcess[bytes]:
    """Run impasto in a separate process, not in UTF-8 mode."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", **changes.pop("env", {})}
    changes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **changes}
    return subprocess.run([sys.executable, "-X", "utf8=0", "-m", "impasto", *words], check=False, env=env, **changes)


# ---------------------------------------------------------------------------------------------------- streams


class Failing(io.TextIOBase):
    """A stream that cannot be written to."""

    encoding = "utf-8"

    def __init__(self, error: int) -> None:
        self.error = error

    def write(self, _text: str) -> int:
        raise OSError(self.error, os.strerror(self.error))


def text_stream(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


def closed_stream() -> io.TextIOWrapper:
    stream = text_stream("utf-8")
    stream.close()
    return stream


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_is_printed_in_every_encoding(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ("utf-8", "cp1252", "ascii"):
        out = text_stream(encoding)
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", text_stream(encoding))
        assert main([*command.split(), "--help"]) == 0
        out.seek(0)
        assert "Usage: impasto" in (message := out.read())
        assert "\\u25" not in message  # the lines of a frame


@pytest.mark.slow
@pytest.mark.parametrize("command", [*COMMANDS, ""])
def test_every_help_works_with_missing_streams(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (None, closed_stream(), Failing(errno.EPIPE)):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        assert main([*command.split(), "--help"]) == (1 if isinstance(stream, Failing) else 0)


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda: None, closed_stream, lambda: text_stream("ascii"), lambda: Failing(errno.EIO)])
@pytest.mark.parametrize("words", [INSTANT, PAINT])
def test_painting_works_with_any_streams(make: Any, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    os.rename("photo.jpg", "写真.jpg")
    monkeypatch.setattr(sys, "stdout", make())
    monkeypatch.setattr(sys, "stderr", make())
    code = main([*(word.replace("photo", "写真") for word in words), "-o", "写.png"])
    assert code == (1 if isinstance(make(), Failing) else 0)
    assert images.read_record("写.png") is not None


@pytest.mark.slow
@posix
def test_a_closed_standard_output_does_not_stop_a_command() -> None:
    done = program([*INSTANT, "-o", "out.png"], stdout=None, preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, b"")
    done = program([*INSTANT, "-o", "out-2.png"], stderr=None, preexec_fn=lambda: os.close(2))
    assert done.returncode == 0
    assert Path("out.png").read_bytes()[:4] == Path("out-2.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
@posix
def test_a_closed_pipe_ends_the_output_without_a_message() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = program(["styles", "list"], stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_behind_standard_output_prints_one_sentence() -> None:
    with open("/dev/full", "w") as full:
        done = program(["styles", "list"], stdout=full)
        assert done.returncode == 1
        assert done.stderr.decode().strip() == "impasto: cannot write to standard output (No space left on device)"
        assert program(["weights", "nothing"], stderr=full).returncode == 2


def test_unencodable_characters_become_escapes_and_the_stream_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    out = text_stream("cp1252")
    monkeypatch.setattr(sys, "stdout", out)
    with streams.safe_streams():
        sys.stdout.write("é写\udce9")
    assert out.errors == "strict"
    assert out.buffer.getvalue() == b"\xe9\\u5199\\udce9"  # type: ignore[attr-defined]


# ---------------------------------------------------------------------------------------------------- signals


def started(*words: str, **changes: Any) -> "subprocess.Popen[str]":
    """Start impasto, and return when it paints."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, "-m", "impasto", *words], stderr=subprocess.PIPE, text=True, env=env, **changes)
    assert child.stderr is not None
    for line in child.stderr:
        if line.startswith("size 1 of 1"):
            break
    return child


@pytest.mark.slow
@posix
def test_sighup_ends_painting_like_sigterm() -> None:
    with started(*ENDLESS, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)) as child:
        child.send_signal(signal.SIGHUP)
        child.send_signal(signal.SIGTERM)  # as at the end of a session
        assert child.stderr is not None
        assert "to resume: impasto paint" in child.stderr.read()
        assert child.wait(60) == 130
    assert images.read("out.png").size == (64, 64)


@pytest.mark.slow
@posix
def test_an_ignored_sighup_does_not_end_painting() -> None:
    with started(*ENDLESS, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as child:
        child.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert child.poll() is None
        child.terminate()
        assert child.stderr is not None
        child.stderr.read()
        assert child.wait(60) == 130


@posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_training_stops_on_every_signal_that_is_not_ignored(name: str) -> None:
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with signals.asked_to_stop() as stop:
            signal.raise_signal(number)
            assert stop == [number]
        assert signal.getsignal(number) is signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN)
        with signals.asked_to_stop() as stop:
            signal.raise_signal(number)
            assert stop == []
    finally:
        signal.signal(number, before)


@pytest.mark.slow
@posix
def test_an_interrupted_instant_run_leaves_no_files(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.recipes.instant.painted_pastiche", lambda *_: signal.raise_signal(signal.SIGTERM))
    assert main([*INSTANT, "-o", "out.png"]) == 130
    assert capsys.readouterr().err.endswith("impasto: interrupted\n")
    assert sorted(os.listdir()) == ["photo.jpg", "picture.jpg"]


@pytest.mark.slow
def test_interrupted_trials_save_a_sheet_of_the_finished_ones(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    from impasto.recipes import tuning

    whole = tuning.trials

    def interrupted(*words: Any) -> Iterator[tuning.Trial]:
        yield next(whole(*words))
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "trials", interrupted)
    assert main(["tune", "photo.jpg", "picture.jpg", "--size", "64", "-o", "tune.png"]) == 130
    assert "tune.png: 1 trials" in capsys.readouterr().err
    assert images.read("tune.png").size[0] > 0


# ---------------------------------------------------------------------------------------------------- checkpoints


@pytest.mark.slow
@posix
def test_a_killed_painting_resumes_from_its_checkpoint(capsys: Capture) -> None:
    checkpoint = Path("out.png.impasto-checkpoint.png")
    with started(*ENDLESS) as child:
        for _ in range(600):
            if checkpoint.exists():
                break
            time.sleep(0.1)
        child.kill()
        assert child.stderr is not None
        child.stderr.read()
    left = [".out.png.impasto-lock"]  # the file; the system has ended the lock
    assert sorted(os.listdir()) == [*left, "out.png.impasto-checkpoint.png", "photo.jpg", "picture.jpg"]
    record: Any = images.read_record(checkpoint)
    assert record["steps"]["finished"] is False
    PIL.Image.open("photo.jpg").save("other.png")
    assert main(["paint", "other.png", "picture.jpg", "-o", "out.png", "--resume"]) == 2
    assert "continue with the same pictures" in capsys.readouterr().err
    with started(*ENDLESS, "--resume") as child:
        child.terminate()
        assert child.stderr is not None
        child.stderr.read()
    after: Any = images.read_record("out.png")
    assert after["steps"]["done"] > record["steps"]["done"]
    assert not checkpoint.exists()
    assert not Path(left[0]).exists()


def test_long_paintings_write_an_early_checkpoint_and_then_one_every_twenty_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def written(seconds_left: float) -> list[float]:
        nonlocal now
        now, found = 0.0, []
        checkpoint = checkpoints.CheckpointWriter(Path("out.png"), lambda step: {}, console())
        for _ in range(50):
            checkpoint.take(Step(1, 9, 0, (8, 8), {}, torch.zeros(1, 3, 8, 8), seconds_left=seconds_left))
            if Path("out.png.impasto-checkpoint.png").exists():
                found.append(now)
            checkpoint.remove()
            now += 1.0
        return found

    assert written(100.0) == [2.0, 22.0, 42.0]
    assert written(1.0) == []


def test_no_checkpoint_is_written_early_while_the_remaining_time_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    checkpoint = checkpoints.CheckpointWriter(Path("out.png"), lambda step: {}, console())
    steps = (Step(number, 9, 0, (8, 8), {}, torch.zeros(1, 3, 8, 8)) for number in range(1, 4))  # of unknown time left
    for seconds, is_written in ((10.0, False), (50.0, False), (70.0, True)):
        now = seconds
        checkpoint.take(next(steps))
        assert Path("out.png.impasto-checkpoint.png").exists() == is_written


def test_an_unwritable_checkpoint_does_not_stop_painting(capsys: Capture) -> None:
    checkpoint = checkpoints.CheckpointWriter(Path("gone/out.png"), lambda step: {}, console())
    checkpoint.due = 0.0
    checkpoint.take(Step(1, 9, 0, (8, 8), {}, torch.zeros(1, 3, 8, 8), seconds_left=100.0))
    assert "the checkpoint could not be saved: 'gone/" in capsys.readouterr().err


@pytest.mark.slow
def test_a_bug_does_not_delete_the_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    paint_steps = neighbors.paint_steps

    def broken(context: PaintingContext) -> Iterator[Step]:
        yield next(iter(paint_steps(context)))
        raise RuntimeError("a bug")

    monkeypatch.setattr(neighbors, "paint_steps", broken)
    monkeypatch.setattr(checkpoints, "LONG_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "_SECONDS_TO_FIRST", 0.0)
    with pytest.raises(RuntimeError, match="a bug"):
        main([*PAINT, "-o", "out.png"])
    assert images.read_record("out.png.impasto-checkpoint.png") is not None


def console() -> Any:
    from impasto.cli.progress import message_console

    return message_console(quiet=False)


# ---------------------------------------------------------------------------------------------------- inputs


def refused(capsys: Capture, *words: str) -> str:
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert main(words) == 2
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    return capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        (*INSTANT, "-o", "also.jpg"),
        (*PAINT, "-o", "also.jpg"),
        (*PAINT, "-o", "out.png", "--init", "start.png", "--preview", "start.png"),
        (*PAINT, "-o", "out.png", "--encoder", "vgg.pth", "--record", "vgg.pth"),
        (*PAINT, "-o", "out.png", "--replay", "old.json", "--record", "old.json"),
        ("paint", "out.png.impasto-checkpoint.png", "picture.jpg", "-o", "out.png"),
        ("inetwork", "run_at_iteration_2.png", "picture.jpg", "run", "--num_iter", "3"),
        ("inetwork", "photo.jpg", "picture.jpg", "run", "--num_iter", "3", "--init_image", "run_at_iteration_2.png"),
        ("styles", "sheet", "photo.jpg", "-o", "also.jpg"),
        ("regions", "photo.jpg", "-o", "also.jpg"),
        ("report", "photo.jpg", "picture.jpg", "start.png", "-o", "start.png"),
        ("tune", "photo.jpg", "picture.jpg", "-o", "also.jpg"),
        ("export", "onnx", "picture.onnx", "--style", "picture.onnx"),
        ("train", "instant", "-o", "in/a.png", "--state", "state", *CORPORA),
        ("train", "instant", "-o", "vgg.pth", "--state", "s", "--start", "vgg.pth", *CORPORA),
        ("train", "encoder", "-o", "vgg.pth", "--state", "s", "--teacher", "vgg.pth", *CORPORA),
    ],
    ids=lambda words: " ".join(words[:2]),
)  # fmt: skip
def test_no_command_overwrites_its_inputs(capsys: Capture, words: tuple[str, ...]) -> None:
    os.link("photo.jpg", "also.jpg")
    Path("in").mkdir()
    pastiche = Pastiche(torch.rand(1, 3, 64, 64))
    for name in ("start.png", "run_at_iteration_2.png", "out.png.impasto-checkpoint.png", "in/a.png"):
        pastiche.save(name)
    shutil.copyfile("picture.jpg", "picture.onnx")
    Path("vgg.pth").write_bytes(b"weights")
    record = {"content": {"name": "photo.jpg", "sha256": ""}, "styles": []}
    Path("old.json").write_text(json.dumps(record), encoding="utf-8")
    if "old.json" in words:  # any record that can be replayed
        assert main([*PAINT, "-o", "out.png", "--record", "old.json"]) == 0
        words = ("paint", "--replay", "old.json", "-o", "out-2.png", "--record", "old.json")
    capsys.readouterr()
    assert "would overwrite" in refused(capsys, *words)


def test_one_file_under_two_mounts_is_recognized(monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("one", "two", "three"):
        Path(folder).mkdir()
    shutil.copyfile("photo.jpg", "one/IMG.JPG")
    shutil.copyfile("photo.jpg", "two/img.jpg")
    shutil.copyfile("picture.jpg", "three/img.jpg")
    with pytest.raises(OptionError, match="would overwrite an input"):
        overwriting.check_overwrites({"--output": Path("two/img.jpg")}, ["one/IMG.JPG"])
    overwriting.check_overwrites({"--output": Path("three/img.jpg")}, ["one/IMG.JPG"])
    monkeypatch.setattr(overwriting, "_FOLDS_CASE", True)
    with pytest.raises(OptionError, match="would overwrite --output"):
        overwriting.check_overwrites({"--output": Path("New.png"), "--preview": Path("new.PNG")}, [])


# ---------------------------------------------------------------------------------------------------- output files


def test_a_record_too_long_for_its_format_is_saved_next_to_the_picture(capsys: Capture) -> None:
    pastiche = Pastiche(torch.zeros(1, 3, 8, 8), record={"long": "x" * 70_000})
    saved = outputs.save_pastiche(pastiche, outputs.Files(output=Path("out.jpg")))
    assert (saved.output, saved.record, saved.is_elsewhere) == (Path("out.jpg"), Path("out.json"), False)
    assert json.loads(Path("out.json").read_text(encoding="utf-8")) == pastiche.record
    assert outputs.print_notes(saved) == 0
    assert "too long for 'out.jpg' and was saved as 'out.json'" in capsys.readouterr().err
    assert outputs.save_pastiche(pastiche, outputs.Files(output=Path("out.jpg"))).record == Path("out-2.json")
    assert outputs.save_pastiche(pastiche, outputs.Files(output=Path("out.png"))).notes == ()


@pytest.mark.slow
@pytest.mark.parametrize("words", [INSTANT, PAINT], ids=["instant", "paint"])
def test_if_the_output_folder_disappears_the_painting_is_saved_elsewhere(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    Path("results").mkdir()
    save = outputs.save_pastiche

    def without_folder(*words: Any) -> Any:
        shutil.rmtree("results")
        return save(*words)

    monkeypatch.setattr(outputs, "save_pastiche", without_folder)
    monkeypatch.setattr("impasto.cli.session.save_pastiche", without_folder)
    assert main([*words, "-o", "results/out.webp", "--record", "results/out.json"]) == 1
    message = capsys.readouterr().err
    assert "'results/out.webp' cannot be written" in message
    assert f"saved as '{Path.cwd() / 'out.png'}' instead" in message
    assert f"saved as '{Path.cwd() / 'out.json'}' instead" in message
    assert images.read_record("out.png") == json.loads(Path("out.json").read_text(encoding="utf-8"))


def test_a_size_that_the_format_does_not_support_is_refused_before_painting(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("impasto.recipes.instant_checks.check_memory", lambda *_, **__: None)
    PIL.Image.fromarray(np.zeros((40, 17_000, 3), np.uint8)).save("wide.png")
    for command in ("instant", "paint"):
        assert "allows up to 16,383 per side" in refused(
            capsys, command, "wide.png", "picture.jpg", "--size", "17000", "-o", "out.webp"
        )


@pytest.mark.slow
def test_an_unwritable_sheet_is_saved_elsewhere(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    write = images.write

    def full(path: Path, *words: Any, **options: Any) -> None:
        if Path(path).name == "regions.png":
            raise ImageFileError(f"'{path}' cannot be written (No space left on device)")
        write(path, *words, **options)

    monkeypatch.setattr(images, "write", full)
    Path("regions.png").touch()
    assert main(["regions", "photo.jpg"]) == 1
    assert "saved as 'regions-2.png' instead" in capsys.readouterr().err


def test_unwritable_weights_are_saved_elsewhere(capsys: Capture) -> None:
    from impasto.cli.training import save_state, write_weights

    def write(path: Path) -> None:
        try:
            path.write_bytes(b"weights")
        except OSError as error:
            raise outputs.WeightsError(f"'{path}' cannot be written ({error.strerror})") from error

    class Full:
        number = 1

        def steps(self) -> Iterator[Any]:
            return iter(())

        def save(self, path: Path) -> None:
            raise RuntimeError("PytorchStreamWriter failed writing file data")

        def resume(self, path: Path) -> None: ...

    assert write_weights(Path("gone/net.safetensors"), write, console()) == 1
    assert Path("net.safetensors").read_bytes() == b"weights"
    assert save_state(Full().save, Path("state"), console()) is False
    assert "training continues" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------- pipes


def piped(monkeypatch: pytest.MonkeyPatch, data: bytes) -> io.TextIOWrapper:
    """Replace standard input by data; return a new standard output."""
    out = text_stream("utf-8")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    monkeypatch.setattr(sys, "stdout", out)
    return out


def in_stream(out: io.TextIOWrapper) -> bytes:
    return out.buffer.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize("words", [INSTANT, PAINT], ids=["instant", "paint"])
@pytest.mark.parametrize("piece", ["photo.jpg", "picture.jpg"])
def test_pictures_are_read_from_and_written_to_pipes(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], piece: str
) -> None:
    out = piped(monkeypatch, Path(piece).read_bytes())
    assert main([*("-" if word == piece else word for word in words), "-o", "-", "--report"]) == 0
    assert in_stream(out)[:4] == b"\x89PNG"
    Path("piped.png").write_bytes(in_stream(out))
    record: Any = images.read_record("piped.png")
    assert "stdin" in (record["content"]["name"], record["styles"][0]["name"])
    assert "standard output: " in capsys.readouterr().err
    assert sorted(os.listdir()) == ["photo.jpg", "picture.jpg", "piped.png"]


@pytest.mark.slow
def test_the_default_output_of_a_piped_picture_is_a_valid_name(monkeypatch: pytest.MonkeyPatch) -> None:
    piped(monkeypatch, Path("photo.jpg").read_bytes())
    assert main(["instant", "-", "picture.jpg", "--size", "64"]) == 0
    assert Path("stdin-picture.png").exists()


@pytest.mark.parametrize(
    ("words", "data", "message"),
    [
        (("instant", "-", "-"), b"x", "'-' is given twice"),
        (("instant", "-", "picture.jpg"), b"", "standard input is empty"),
        (("instant", "-", "picture.jpg"), b"text", "'stdin' is not a picture"),
        (("instant", "photo.jpg", "picture.jpg", "-o", "-", "--json"), b"", "use --record FILE instead"),
        (("paint", "photo.jpg", "picture.jpg", "-o", "-", "--resume"), b"", "'-o -' means standard output"),
        (
            ("report", "-", "picture.jpg", "photo.jpg"),
            b"",
            "only impasto analogy, apply, doodle, instant, paint and texture can read '-'",
        ),
    ],
)
def test_invalid_uses_of_pipes_are_refused(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], data: bytes, message: str
) -> None:
    piped(monkeypatch, data)
    assert message in refused(capsys, *words)


@pytest.mark.slow
def test_a_painting_is_saved_to_a_file_if_standard_output_is_closed(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: Any, **__: Any) -> None:
        raise ImageFileError("cannot write to standard output (Broken pipe)")

    monkeypatch.setattr(outputs, "to_stdout", closed)
    piped(monkeypatch, b"")
    assert main([*INSTANT, "-o", "-"]) == 1
    assert "(Broken pipe); saved as '" in capsys.readouterr().err
    assert images.read_record("painting.png") is not None


# ---------------------------------------------------------------------------------------------------- folders


def no_home(*_: Any, **__: Any) -> Path:
    raise RuntimeError("could not determine the home directory")


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An account without a home folder; returns the folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    for name in ("user_cache_path", "user_data_path"):
        monkeypatch.setattr(folders.platformdirs, name, no_home)
    for name in ("IMPASTO_CACHE", "IMPASTO_STYLES"):
        monkeypatch.delenv(name)
    return folder


@pytest.mark.slow
def test_without_a_home_folder_files_are_saved_in_the_temporary_folder(capsys: Capture, homeless: Path) -> None:
    assert main([*INSTANT, "-o", "out.png"]) == 0
    assert main(["instant", "photo.jpg", "starry-night", "--size", "64"]) == 0
    assert main(["weights", "list"]) == 0
    assert main(["styles", "add", "picture.jpg", "--name", "mine"]) == 0
    assert "there is no writable home folder, so files are kept in " in capsys.readouterr().err
    assert [path.name for path in homeless.rglob("*.style.safetensors")] == ["mine.style.safetensors"]
    assert main(["styles", "show", "mine"]) == 0


@posix
def test_a_temporary_folder_writable_by_others_is_not_used(homeless: Path) -> None:
    folder = folders.user_folder("data", "IMPASTO_STYLES").parent
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    assert folders.user_folder("data", "IMPASTO_STYLES").parent != folder
    folder.rmdir()
    folder.symlink_to(homeless)
    assert folders.user_folder("data", "IMPASTO_STYLES").parent != folder


def test_an_unwritable_home_folder_is_treated_as_missing(
    homeless: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders.platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "home" / "cache")
    assert folders.user_folder("cache", "IMPASTO_CACHE") == tmp_path / "home" / "cache"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert folders.user_folder("cache", "IMPASTO_CACHE").is_relative_to(homeless)
    (tmp_path / "home" / "cache").mkdir(parents=True)  # an existing folder is read even if it is not writable
    assert folders.user_folder("cache", "IMPASTO_CACHE") == tmp_path / "home" / "cache"


def test_a_variable_with_an_unknown_home_folder_is_reported(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPASTO_CACHE", "~no-such-user-here/cache")
    assert main(["weights", "path"]) == 2
    assert "IMPASTO_CACHE is '~no-such-user-here/cache', but that home folder does not exist" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------- names


@pytest.mark.slow
def test_the_default_output_overwrites_only_paintings_of_the_same_pictures() -> None:
    Path("trip").mkdir()
    images.write("trip/photo.jpg", images.read(skimage.data.coffee()[::8, ::8]))
    for content, count in (("photo.jpg", 1), ("trip/photo.jpg", 2), ("photo.jpg", 2), ("trip/photo.jpg", 2)):
        assert main(["instant", content, "picture.jpg", "--size", "64"]) == 0
        assert len(list(Path().glob("photo-picture*.png"))) == count
    first: Any = images.read_record("photo-picture.png")
    second: Any = images.read_record("photo-picture-2.png")
    assert first["content"]["sha256"] == images.read("photo.jpg").sha256
    assert second["content"]["sha256"] == images.read("trip/photo.jpg").sha256


def test_the_default_output_never_overwrites_a_picture_without_a_record() -> None:
    shutil.copyfile("photo.jpg", "photo-picture.png")
    assert main(["instant", "photo.jpg", "picture.jpg", "--size", "64"]) == 0
    assert Path("photo-picture.png").read_bytes() == Path("photo.jpg").read_bytes()
    assert images.read_record("photo-picture-2.png") is not None


@pytest.mark.slow
def test_long_and_unusual_names_give_valid_default_outputs(capsys: Capture) -> None:
    long = "😀é" * 30
    shutil.copyfile("photo.jpg", f"{long}.jpg")
    assert main(["instant", f"{long}.jpg", f"{long}.jpg", "--size", "64"]) == 0
    (made,) = Path().glob("*.png")
    assert len(os.fsencode(made.name)) <= file_names.LONGEST_BYTES
    assert made.name.startswith("😀é")
    assert file_names.file_name("a" * 300, ".png") != file_names.file_name("a" * 301, ".png")
    assert file_names.file_name('-o\n:"é\udce9. ', ".png") == "o___é_.png"
    assert file_names.file_name("...", ".png") == "painting.png"


@pytest.mark.parametrize("letter", ["😀", "👩‍🎨", "👍🏽", "e\u0301", "🇫🇷"])
def test_a_name_is_never_cut_within_a_grapheme(letter: str) -> None:
    text = letter * 5
    for most in range(len(text.encode()) + 1):
        whole, rest = divmod(len(file_names.cut(text, most)), len(letter))
        assert rest == 0
        assert whole == most // len(letter.encode())


# ---------------------------------------------------------------------------------------------------- privacy


@pytest.mark.slow
def test_onnx_runtime_stores_no_identifier(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    home = tmp_path / "home"
    home.mkdir()
    env = {"HOME": str(home), "USERPROFILE": str(home), "XDG_CACHE_HOME": str(home), "ORT_DISABLE_TELEMETRY": ""}
    env = {**os.environ, **env}
    del env["ORT_DISABLE_TELEMETRY"]
    words = ["export", "onnx", "net.onnx", "--style", "starry-night", "--size", "64"]
    script = f"from impasto.cli import main; raise SystemExit(main({words}))"
    subprocess.run([sys.executable, "-c", script], env=env, check=True, capture_output=True)
    assert [path for path in home.rglob("*") if path.is_file()] == []


@pytest.mark.slow
def test_painting_and_listing_a_named_style_makes_no_connection() -> None:
    script = (
        "import socket, sys\n"
        "def refuse(*_): raise SystemExit('a connection')\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse\n"
        "from impasto.cli import main\n"
        "words = ['instant', 'photo.jpg', 'starry-night', '--size', '64', '-o', 'out.png']\n"
        "codes = [main(each) for each in (words, ['styles', 'list'], ['weights', 'list'], ['--version'])]\n"
        "raise SystemExit(max(codes))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.slow
@posix
@pytest.mark.parametrize(("name", "code"), [("SIGHUP", 0), ("SIGTERM", 0), ("SIGINT", 130)])
def test_every_signal_shuts_the_studio_down_cleanly(name: str, code: int) -> None:
    pytest.importorskip("fastapi")
    numbers = (signal.SIGINT, signal.SIGHUP)

    def as_in_a_terminal() -> None:
        for each in numbers:
            signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)

    words = ("studio", "--no-browser", "--port", str(free_port()), "--data", "data")
    child = subprocess.Popen(
        [sys.executable, "-m", "impasto", *words], stderr=subprocess.PIPE, text=True, preexec_fn=as_in_a_terminal
    )
    with child:
        assert child.stderr is not None
        assert child.stderr.readline().startswith("studio: http://127.0.0.1:")
        child.stderr.readline()
        time.sleep(1.5)  # until the server has installed its signal handlers
        child.send_signal(getattr(signal, name))
        assert "Traceback" not in child.stderr.read()
        assert child.wait(60) == code


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

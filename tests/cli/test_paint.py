"""``impasto paint`` and general behavior of the command line: output, files and exit codes."""

import errno
import json
import math
import os
import pickle
import re
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import skimage.data
import torch
from cyclopts import App

from impasto import images
from impasto.cli import app, flags, main, progress
from impasto.cli.short_help import short_help
from impasto.optim.engine import Step
from impasto.options import InstantOptions, PaintOptions, Run, TuneOptions, tiers_of
from impasto.options.fields import dashed
from impasto.recipes import gatys, neighbors, presets, starts
from impasto.recipes.context import PaintingContext

LONG = "a" * 300
"""A name that no file can have."""

SMALL = ("--size", "48", "--steps", "2", "--threads", "1", "--precision", "fp32")


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, with photo.jpg and picture.jpg."""
    images.write(tmp_path / "photo.jpg", images.read(skimage.data.astronaut()[:384:4, 32:416:4]))
    images.write(tmp_path / "picture.jpg", images.read(skimage.data.coffee()[::4, ::4]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    out, err = capsys.readouterr()
    return code, out, err


def paint(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    return run(capsys, "paint", *words, *SMALL)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that must fail with exit code 2 and one sentence, and write no file; return the sentence."""
    before = sorted(Path().rglob("*"))
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert lines[-1].startswith("impasto: ")
    assert sum(line.startswith("impasto:") for line in lines) == 1
    assert "Traceback" not in err
    assert sorted(Path().rglob("*")) == before
    return lines[-1]


def pixels(path: str) -> torch.Tensor:
    return images.read(path).image


# ---------------------------------------------------------------------------------------------------- help


def test_help_imports_no_heavy_packages() -> None:
    script = (
        "import sys; from impasto.cli import main; main(['--help'])\n"
        "print(sorted(set(sys.modules) & {'torch', 'numpy', 'PIL', 'skimage', 'scipy', 'impasto.cli.paint'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "paint" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_help_of_paint_imports_no_torch() -> None:
    script = "import sys; from impasto.cli import main; main(['paint', '--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "--style-weight" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("options", [PaintOptions, Run, TuneOptions])
def test_every_option_has_a_text(options: type) -> None:
    assert set(flags.field_texts(options)) == {each.name for each in fields(options)}


@pytest.mark.slow
def test_help_all_shows_the_text_and_the_default_of_every_option_by_group(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "paint", "--help-all")
    words = " ".join(out.replace("│", " ").split())
    assert "How much of the photo to keep" in words
    assert "default: 512" in words
    assert "--layers" in words
    assert all(dashed(each.name) in words for options in (PaintOptions, Run) for each in fields(options))
    titles = re.findall(r"─ (.+?) ─", out)
    assert [each for each in titles if each in tiers_of(PaintOptions)] == list(tiers_of(PaintOptions))


@pytest.mark.parametrize(("command", "options"), [("paint", PaintOptions), ("instant", InstantOptions)])
def test_the_short_help_fits_a_screen_and_shows_the_common_options(
    capsys: pytest.CaptureFixture[str], command: str, options: type
) -> None:
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert len(out.splitlines()) <= 40
    assert max(map(len, out.splitlines())) < 80
    assert {"--size", "--strength", "--color", "--output", "--help-all"} <= set(re.findall(r"--[a-z-]+", out))
    shown = {*re.findall(r"^  (--[a-z-]+)", out, re.MULTILINE)}
    basics = (*tiers_of(options)["Basics"], *tiers_of(Run)["Basics"])
    assert shown == {dashed(each) for each in basics} | {"--style-mask", "--protect", "--help-all"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["paint", "instant", "tune", "inetwork", "styles add", "weights import", "studio", "export onnx"]
)
def test_help_names_values_by_one_convention(capsys: pytest.CaptureFixture[str], command: str) -> None:
    words = re.compile(r"(INT|FLOAT|NAME|MASK|PATH|CHOICE|URL|STR)(,?\.\.\.)?")  # STR: free text, such as a title
    _, out, _ = run(capsys, *command.split(), "--help-all")
    found = re.findall(r"^│ [ *]*--[\w-]+(?: --?[\w-]+)*(?: ([^-\s│]\S*))?  ", out, re.MULTILINE)
    assert found
    assert [each for each in found if each and not words.fullmatch(each)] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "line", re.findall(r"^  (impasto .+)$", short_help("paint") + "\n" + short_help("instant"), re.MULTILINE)
)
@pytest.mark.usefixtures("gallery")
def test_the_examples_of_the_short_help_run(capsys: pytest.CaptureFixture[str], line: str) -> None:
    line = re.sub(r" (--size|-o) \S+", "", line.replace("painting.jpg", "picture.jpg"))
    command, *words = line.split()[1:]
    fewer = ("--steps", "2") if command == "paint" else ()
    code, _, err = run(capsys, command, *words, "--size", "64", *fewer, "-o", "example.png")
    assert code == 0, err
    painted, photo = images.read("example.png").image, images.read("photo.jpg").image
    assert max(painted.shape[-2:]) == 64
    assert float((images.resize(photo, painted.shape[-2:]) - painted).abs().mean()) > 0.02


@pytest.mark.parametrize("command", ["paint", "instant", "tune"])
def test_no_command_has_the_same_flag_twice(command: str) -> None:
    names = [name for each in app[command].assemble_argument_collection() for name in each.names if name != "*"]
    assert "--size" in names
    assert sorted(names) == sorted(set(names))


def _commands(group: App) -> Iterator[App]:
    """Yield all commands of a group and of its groups."""
    for name in group:
        if not name.startswith("-"):
            yield from _commands(group[name])
    if group.default_command:
        yield group


@pytest.mark.parametrize(("option", "short"), [("--quiet", "-q"), ("--output", "-o")])
def test_an_option_has_the_same_short_form_in_every_command(option: str, short: str) -> None:
    found = [
        each.names for command in _commands(app) for each in command.assemble_argument_collection() if option in each.names
    ]
    assert len(found) > 5
    assert all(short in names for names in found)


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_quality_and_file_quality_are_separate_options(capsys: pytest.CaptureFixture[str]) -> None:
    size_of = {}
    for quality in ("20", "95"):
        words = ("--quality", "draft", "--file-quality", quality, "--json")
        code, out, _ = paint(capsys, "photo.jpg", "picture.jpg", "-o", f"{quality}.jpg", *words)
        assert code == 0
        assert json.loads(out)["options"]["quality"] == "draft"
        size_of[quality] = Path(f"{quality}.jpg").stat().st_size
    assert size_of["20"] < 0.7 * size_of["95"]


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--version")
    assert code == 0
    assert out.strip()[0].isdigit()


# ---------------------------------------------------------------------------------------------------- paint


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_paint_saves_the_picture_with_its_record(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = paint(capsys, "photo.jpg", "picture.jpg", "-o", "out.png", "--strength", "0.8")
    assert code == 0
    assert out.startswith("out.png: 48x48 pixels in ")
    assert "painting 48x48 pixels" in err
    assert "iB of memory" in err
    assert "0.0 GiB" not in err
    assert "vgg19-slim on cpu in fp32" in err
    record = images.read_record("out.png")
    assert record is not None
    assert record["options"]["strength"] == 0.8  # type: ignore[index]
    assert record["steps"]["finished"] is True  # type: ignore[index]


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_paint_names_its_output_after_photo_and_style(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = paint(capsys, "photo.jpg", "picture.jpg", "--quiet")
    assert (code, out, err) == (0, "", "")
    assert pixels("photo-picture.png").shape == (1, 3, 48, 48)


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_preview_gif_and_record_are_saved(capsys: pytest.CaptureFixture[str]) -> None:
    files = ("--preview", "now.png", "--gif", "made.gif", "--record", "made.json", "--json")
    code, out, _ = paint(capsys, "photo.jpg", "picture.jpg", "-o", "out.tif", "--bits", "16", *files)
    assert code == 0
    (line,) = out.splitlines()
    assert json.loads(line)["output"] == "out.tif"
    assert json.loads(Path("made.json").read_text())["run"]["precision"] == "fp32"
    assert pixels("now.png").shape == (1, 3, 48, 48)
    with PIL.Image.open("made.gif") as gif_recorder:
        assert gif_recorder.n_frames == 2
    assert sorted(path.name for path in Path().iterdir()) == sorted(
        ["made.gif", "made.json", "now.png", "out.tif", "photo.jpg", "picture.jpg"]
    )


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_omitted_flags_do_not_change_a_preset(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--preset", "deeplearning-ai", "--layers", "relu1_1,relu2_1", "--layer-weights", "1,-0.5", "--json")
    code, out, _ = paint(capsys, "photo.jpg", "picture.jpg", *words)
    assert code == 0
    options = json.loads(out)["options"]
    assert options["pooling"] == presets.PRESETS["deeplearning-ai"].pooling != PaintOptions().pooling
    assert options["content_weight"] == 10
    assert options["steps"] == 2  # given
    assert options["style_layers"] == ["relu1_1", "relu2_1"]
    assert options["layer_weights"] == [1.0, -0.5]


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_several_styles_and_negative_weights_are_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "photo.jpg",
        "picture.jpg",
        "photo.jpg",
        "--recipe",
        "gatys",
        "--style-weights",
        "-1,2",
        "--decay",
        "never",
        "--betas",
        "0.8,0.9",
    )
    code, out, _ = paint(capsys, *words, "-o", "out.png", "--json")
    assert code == 0
    record = json.loads(out)
    assert record["options"]["style_weights"] == [-1.0, 2.0]
    assert record["options"]["betas"] == [0.8, 0.9]
    assert record["options"]["decay"] == "never"
    assert len(record["styles"]) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_notes_on_a_picture_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    images.write_animation("moving.gif", [pixels("photo.jpg"), pixels("photo.jpg").flip(-1)], seconds_per_frame=0.1)
    code, _, err = paint(capsys, "moving.gif", "picture.jpg", "-o", "out.png")
    assert code == 0
    assert "moving.gif: took the first of 2 frames" in err


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_an_unwritable_preview_does_not_stop_painting(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("previews").mkdir()
    paint_steps = neighbors.paint_steps

    def remove_folder(context: PaintingContext) -> Iterator[Step]:
        for step in paint_steps(context):
            Path("previews").exists() and Path("previews").rmdir()
            yield step

    monkeypatch.setattr(neighbors, "paint_steps", remove_folder)
    code, _, err = paint(capsys, "photo.jpg", "picture.jpg", "-o", "out.png", "--preview", "previews/now.png")
    assert code == 0
    assert "previews stopped" in err


# ---------------------------------------------------------------------------------------------------- failed objectives

NOWHERE = ("--optimizer", "adam", "--canvas", "pixels", "--learning-rate", "1e-9", "--averaging", "0")
"""A learning rate so low that the objective does not change."""


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
def test_if_the_objective_does_not_fall_a_message_is_printed_and_the_picture_saved(
    capsys: pytest.CaptureFixture[str], quiet: tuple[str, ...]
) -> None:
    small = ("--size", "48", "--steps", "10", "--threads", "1")
    code, out, err = run(capsys, "paint", "photo.jpg", "picture.jpg", "-o", "out.png", "--json", *quiet, *NOWHERE, *small)
    assert code == 1
    (message,) = [line for line in err.splitlines() if line.startswith("impasto: ")]
    assert message.startswith("impasto: the objective did not decrease: ")
    assert message.endswith("; try another optimizer, learning rate or starting picture; saved the picture so far as out.png")
    assert pixels("out.png").shape == (1, 3, 48, 48)
    record = images.read_record("out.png")
    assert record is not None
    assert (
        json.loads(out)["notes"]
        == record["notes"]
        == [message.removeprefix("impasto: ").removesuffix("; saved the picture so far as out.png")]
    )
    assert record["steps"]["finished"] is True  # type: ignore[index]


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
@pytest.mark.parametrize(
    "words",
    [
        ("photo.jpg", "picture.jpg", *NOWHERE, "--steps", "2"),  # too few steps for the check
        ("photo.jpg", "photo.jpg", "--steps", "12"),  # its own style
        ("photo.jpg", "photo.jpg", "--recipe", "gatys", "--steps", "12"),
        ("photo.jpg", "picture.jpg", "--strength", "0", "--steps", "12"),
        ("photo.jpg", "photo.jpg", "--preset", "neural-style-tf", "--smoothness-weight", "0", "--steps", "12"),
        ("photo.jpg", "picture.jpg", "--recipe", "gatys", "--style-weight", "0", "--steps", "12"),
        ("photo.jpg", "picture.jpg", *NOWHERE, "--init", "photo.jpg", "--steps", "12"),  # may be a finished painting
        ("photo.jpg", "picture.jpg", "--seconds", "0.01", "--steps", "50"),
        ("photo.jpg", "picture.jpg", "--recipe", "gatys", "--style-weights", "-1,2", "photo.jpg", "--steps", "12"),
    ],
)
def test_an_objective_that_need_not_fall_is_no_failure(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    code, _, err = run(capsys, "paint", *words[:2], "-o", "out.png", "--size", "48", "--threads", "1", *words[2:])
    assert code == 0, err


# ---------------------------------------------------------------------------------------------------- replay and resume


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
@pytest.mark.parametrize("source", ["first.png", "first.json"])
def test_replay_paints_the_same_bit_for_bit(capsys: pytest.CaptureFixture[str], source: str) -> None:
    words = ("--init", "noise", "--seed", "7", "--content-weight", "0.5")
    assert paint(capsys, "photo.jpg", "picture.jpg", "-o", "first.png", "--record", "first.json", *words)[0] == 0
    code, _, err = run(capsys, "paint", "--replay", source, "-o", "second.png")
    assert code == 0
    assert "will differ" not in err
    assert torch.equal(pixels("first.png"), pixels("second.png"))


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_replay_names_the_input_that_differs_or_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert paint(capsys, "photo.jpg", "picture.jpg", "-o", "first.png")[0] == 0
    code, _, err = run(capsys, "paint", "picture.jpg", "picture.jpg", "--replay", "first.png", "-o", "second.png")
    assert code == 0
    assert "content 'picture.jpg' differs from 'photo.jpg' in the record" in err
    sha256 = images.read("photo.jpg").sha256
    Path("photo.jpg").unlink()
    assert sha256 in refused(capsys, "paint", "--replay", "first.png", "-o", "third.png")


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_a_record_cannot_name_files_outside_its_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert paint(capsys, "photo.jpg", "picture.jpg", "-o", "first.png", "--record", "first.json")[0] == 0
    record = json.loads(Path("first.json").read_text())
    Path("elsewhere").mkdir()
    Path("photo.jpg").rename("elsewhere/photo.jpg")
    record["content"]["name"] = str(tmp_path / "elsewhere" / "photo.jpg")
    Path("first.json").write_text(json.dumps(record))
    assert "was not found" in refused(capsys, "paint", "--replay", "first.json", "-o", "second.png")


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        "{}",
        '{"content": 1, "styles": []}',
        '{"content": {"name": "a", "sha256": ""}, "styles": []}',
        '{"content": {"name": "a", "sha256": ""}, "styles": 5}',
    ],
)
def test_a_damaged_record_is_refused(capsys: pytest.CaptureFixture[str], text: str) -> None:
    Path("bad.json").write_text(text)
    refused(capsys, "paint", "photo.jpg", "picture.jpg", "--replay", "bad.json", "-o", "out.png")


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
@pytest.mark.parametrize(
    "change",
    [
        {"content": {"name": 5, "sha256": 5}},
        {"styles": [{"name": None, "kind": "picture", "sha256": "0"}]},
        {"options": {"color_mask": "mask.png"}, "color_mask": 5},
        {"options": {"init": "start.png"}, "init": {"name": 5, "sha256": "0"}},
    ],
)
def test_a_record_with_values_of_the_wrong_type_is_refused(capsys: pytest.CaptureFixture[str], change: dict[str, Any]) -> None:
    assert paint(capsys, "photo.jpg", "picture.jpg", "-o", "first.png", "--record", "first.json")[0] == 0
    record = json.loads(Path("first.json").read_text())
    options = record["options"] | change.get("options", {})
    Path("first.json").write_text(json.dumps(record | change | {"options": options}))
    assert "was not found" in refused(capsys, "paint", "--replay", "first.json", "-o", "second.png")


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_replay_finds_the_initial_picture(capsys: pytest.CaptureFixture[str]) -> None:
    images.write("start.png", torch.full((1, 3, 48, 48), 0.5))
    Path("elsewhere").mkdir()
    assert paint(capsys, "photo.jpg", "picture.jpg", "-o", "first.png", "--init", "start.png", "--record", "first.json")[0] == 0
    for name in ("photo.jpg", "picture.jpg", "start.png", "first.json"):
        Path(name).rename(Path("elsewhere") / name)
    assert run(capsys, "paint", "--replay", "elsewhere/first.json", "-o", "second.png")[0] == 0
    assert torch.equal(pixels("first.png"), pixels("second.png"))
    images.write("elsewhere/start.png", torch.full((1, 3, 48, 48), 0.6))
    sentence = refused(capsys, "paint", "--replay", "elsewhere/first.json", "-o", "third.png")
    assert "the initial picture of the record, 'start.png'" in sentence
    assert run(capsys, "paint", "--replay", "elsewhere/first.json", "--init", "gray", "-o", "third.png")[0] == 0


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_replay_reports_another_encoder_or_named_style(capsys: pytest.CaptureFixture[str]) -> None:
    assert paint(capsys, "photo.jpg", "starry-night", "-o", "first.png", "--record", "first.json")[0] == 0
    record = json.loads(Path("first.json").read_text())
    assert "another" not in run(capsys, "paint", "--replay", "first.json", "-o", "second.png")[2]
    record["encoder"]["sha256"] = record["styles"][0]["file_sha256"] = "f" * 64
    Path("first.json").write_text(json.dumps(record))
    err = run(capsys, "paint", "--replay", "first.json", "-o", "second.png")[2]
    assert "the encoder differs from the record: its SHA-256 is" in err
    assert "style 'starry-night' differs from 'starry-night' in the record: its SHA-256 is" in err
    assert err.count("not ffffffffffff...; the result will differ") == 2


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
@pytest.mark.parametrize(("suffix", "words"), [("bmp", 1), ("png", 0)])
def test_a_format_without_records_prints_a_note(capsys: pytest.CaptureFixture[str], suffix: str, words: int) -> None:
    message = f".{suffix} cannot contain a record of how out.{suffix} was painted; save one with --record FILE"
    assert paint(capsys, "photo.jpg", "picture.jpg", "-o", f"out.{suffix}")[2].count(message) == words
    assert message not in paint(capsys, "photo.jpg", "picture.jpg", "-o", f"out.{suffix}", "--record", "out.json")[2]


def interrupt_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate Ctrl-C after some steps."""
    paint_steps = neighbors.paint_steps

    def interrupted(context: PaintingContext) -> Iterator[Step]:
        for step in paint_steps(context):
            yield step
            if step.number == steps:
                signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(neighbors, "paint_steps", interrupted)


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_an_interruption_saves_the_picture_and_resume_continues_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scales = ("--smallest-size", "40", "--scale-factor", "1.26", "--size", "64", "--steps", "3", "--step-growth", "1")
    with monkeypatch.context() as patch:
        interrupt_after(4, patch)
        code, out, err = run(capsys, "paint", "photo.jpg", "picture.jpg", "-o", "out.png", *scales, "--precision", "fp32")
    assert (code, out) == (130, "")
    assert "to resume: impasto paint photo.jpg picture.jpg -o out.png --resume" in err
    record = images.read_record("out.png")
    assert record is not None
    steps: Any = record["steps"]
    assert (steps["done"], steps["scale"], steps["here"], steps["finished"]) == (4, 1, 1, False)
    assert max(pixels("out.png").shape) < 64

    code, _, err = run(capsys, "paint", "photo.jpg", "picture.jpg", "-o", "out.png", "--resume")
    assert code == 0
    assert "resuming 64x64" in err
    record = images.read_record("out.png")
    assert record is not None
    steps = record["steps"]
    assert steps["finished"] is True
    assert steps["done"] == steps["planned"] == 9
    assert pixels("out.png").shape == (1, 3, 64, 64)
    assert "is finished" in refused(capsys, "paint", "photo.jpg", "picture.jpg", "-o", "out.png", "--resume")


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
@pytest.mark.parametrize(
    "change",
    [
        {"steps": 5},
        {"steps": {"scale": "abc"}},
        {"steps": {"here": 1e999}},
        {"steps": {"here": -5}},
        {"steps": {"done": None}},
        {"seconds": "long"},
    ],
)
def test_resume_refuses_a_record_with_invalid_steps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    interrupt_after(1, monkeypatch)
    assert paint(capsys, "photo.jpg", "picture.jpg", "-o", "out.png")[0] == 130
    record = images.read_record("out.png")
    assert record is not None
    steps = record["steps"]
    assert isinstance(steps, dict)
    changed = change.get("steps", {})
    steps = steps | changed if isinstance(changed, dict) else changed
    images.write("out.png", pixels("out.png"), record=record | change | {"steps": steps})
    sentence = refused(capsys, "paint", "photo.jpg", "picture.jpg", "-o", "out.png", "--resume")
    assert "does not contain the step at which painting stopped" in sentence


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_resume_refuses_other_pictures_and_other_options(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(1, monkeypatch)
    assert paint(capsys, "photo.jpg", "picture.jpg", "-o", "out.png")[0] == 130
    assert "differs from 'picture.jpg' in the record" in refused(
        capsys, "paint", "photo.jpg", "photo.jpg", "-o", "out.png", "--resume"
    )
    words = ("photo.jpg", "picture.jpg", "-o", "out.png", "--resume", "--size", "64")
    assert "--size was 48" in refused(capsys, "paint", *words)


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_the_picture_of_a_checkpoint_is_read_after_painting_was_planned(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In memory, it would count as memory that other programs use, so a large painting could not be resumed."""
    with monkeypatch.context() as patch:
        interrupt_after(1, patch)
        assert paint(capsys, "photo.jpg", "picture.jpg", "-o", "out.png")[0] == 130
    done: list[str] = []
    set_up, read = gatys.set_up, images.read

    def planned(*given: Any) -> PaintingContext:
        done.append("plan")
        return set_up(*given)

    def noted(source: Any, *given: Any, **named: Any) -> images.Picture:
        done.append(os.path.basename(source) if isinstance(source, str | Path) else "")
        return read(source, *given, **named)

    monkeypatch.setattr(gatys, "set_up", planned)
    monkeypatch.setattr(images, "read", noted)
    assert paint(capsys, "photo.jpg", "picture.jpg", "-o", "out.png", "--resume")[0] == 0
    assert [each for each in done if each in ("plan", "out.png")] == ["plan", "out.png"]


def test_resuming_after_a_complete_size_starts_with_the_next_size() -> None:
    sizes = (((32, 32), 5), ((64, 64), 6))
    assert starts.remaining(sizes, starts.Checkpoint(torch.zeros(1, 3, 32, 32), scale=0, done=5)) == sizes[1:]


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_a_real_ctrl_c_saves_the_picture(tmp_path: Path) -> None:
    words = ("paint", "photo.jpg", "picture.jpg", "-o", "out.png", "--size", "64", "--steps", "100000")
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    restore: Callable[[], Any] = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
    with subprocess.Popen(
        [sys.executable, "-m", "impasto", *words], stderr=subprocess.PIPE, text=True, env=env, preexec_fn=restore
    ) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if line.startswith("size 1 of 1"):
                break
        child.send_signal(signal.SIGINT)
        rest = child.stderr.read()
        assert child.wait(60) == 130
    assert "to resume: impasto paint photo.jpg picture.jpg" in rest
    assert "Traceback" not in rest
    assert pixels("out.png").shape == (1, 3, 64, 64)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.png", "photo.jpg", "picture.jpg"]


# ---------------------------------------------------------------------------------------------------- bad input


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


class Malicious:
    """An object that runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("pwned",))


def write_bad_files() -> None:
    jpeg = Path("photo.jpg").read_bytes()
    for name, data in {
        "empty.jpg": b"",
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "text.jpg": b"hello",
        "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "huge.png": png_header(60_000, 60_000),
        "code.pth": pickle.dumps(Malicious()),
        "cut.safetensors": b"\x10\x00\x00\x00\x00\x00\x00\x00{",
    }.items():
        Path(name).write_bytes(data)
    PIL.Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save("dot.png")
    PIL.Image.fromarray(np.zeros((5000, 1, 3), np.uint8)).save("line.png")
    torch.save({"weights": Malicious()}, "code_in_zip.pth")
    Path("folder.png").mkdir()


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
@pytest.mark.parametrize("role", ["content", "style"])
@pytest.mark.parametrize(
    "name",
    ["missing.jpg", "empty.jpg", "truncated.jpg", "text.jpg", "drawing.svg", "huge.png", "dot.png", "line.png", "folder.png"],
)
def test_a_file_that_is_not_a_picture_is_refused(capsys: pytest.CaptureFixture[str], name: str, role: str) -> None:
    write_bad_files()
    words = (name, "picture.jpg") if role == "content" else ("photo.jpg", name)
    sentence = refused(capsys, "paint", *words, "-o", "out.png", *SMALL)
    assert name in sentence


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--recipe", "gatys", "--style-layers", "relu9_1"), "did you mean"),
        (("--style-layers", "relu4_1"), "--style-layers has no effect with --recipe neighbors; omit it, or use --recipe gatys"),
        (("--recipe", "gatys", "--content-layers", "relu4_22"), "did you mean 'relu4_2'"),
        (("--preset", "gatys2051"), "did you mean 'gatys2015'"),
        (("--style-wieght", "2"), "Did you mean --style-weight"),
        (("--optimizer", "adm"), 'Did you mean "adam"'),
        (("--size", "31"), "--size is 31"),
        (("--size", "big"), "--size"),
        (("--size",), "--size"),
        (("--size", "100000"), "would fit"),
        (("--steps", "-1"), "--steps is -1"),
        (("--content-weight", "nan"), "--content-weight"),
        (("--betas", "0.9,x"), "--betas"),
        (("--betas", "0.9"), "not 2 values"),
        (("--init", "nosie"), "did you mean 'noise'"),
        (("--encoder", "vgg91"), "did you mean 'vgg19'"),
        (("--encoder", "missing.pth"), "missing.pth"),
        (("--encoder", "code.pth"), "code.pth"),
        (("--encoder", "code_in_zip.pth"), "code_in_zip.pth"),
        (("--encoder", "cut.safetensors"), "cut.safetensors"),
        (("--encoder", "photo.jpg"), "photo.jpg"),
        (("--style-weights", "1,2"), "--style-weights has 2 values for 1 styles"),
        (("--seed", "-1"), "--seed is -1"),
        (("--bits", "16", "-o", "out.jpg"), "16 bits"),
        (("--file-quality", "0"), "quality is 0"),
        (("--quality", "bset"), 'Did you mean "best"'),
        (("-o", "nowhere/out.png"), "no folder"),
        (("-o", "out.doc"), "out.doc"),
        (("-o", "folder.png"), "folder.png"),
        (("-o", "photo.jpg"), "overwrite"),
        (("--preview", "picture.jpg"), "overwrite"),
        (("--gif", "gif_recorder.png"), "must end in .gif"),
        (("--record", "nowhere/record.json"), "nowhere/record.json"),
        (("--record", "folder.png"), "folder.png"),
        (("--resume",), "out.png"),
        (("--resume", "--replay", "photo.jpg"), "give one of them"),
        (("--replay", "photo.jpg"), "no record"),
        (("--style-mask", "auto:skin", "--style-mask", "all"), "--style-mask is given 2 times for 1 style; give one for each"),
        (("--style-mask", "missing.png"), "neither a file nor a named mask"),
        (("--style-mask", "gradient:up"), "use one of gradient:left-right"),
        (("--protect", "auto:skni"), "did you mean 'skin'"),
        (("--protect", "all"), "--protect 'all' is entirely white, so nothing would be painted"),
        (("--style-mask", "not:all"), "--style-mask 'not:all' is entirely black, so nothing would be painted"),
        (("--region-strengths", "1"), "--region-strengths needs regions"),
        (("--feather", "0.5"), "--feather is 0.5"),
        (("--mask-shrinking", "insde"), 'Did you mean "inside"'),
        (("--style-mask", "picture.jpg", "-o", "picture.jpg"), "overwrite"),
        (("--replay", "missing.json"), "missing.json"),
        (("--replay", f"{LONG}.json"), "cannot be read (file name too long)"),
        (("-o", f"{LONG}.png"), "cannot be written (File name too long)"),
        (("--record", LONG), "cannot be written (File name too long)"),
        (("--init", LONG), "neither a known init nor a picture file"),
        (("--encoder", LONG), "neither a name nor a file"),
        (("--style-mask", LONG), "neither a file nor a named mask"),
    ],
)
def test_invalid_options_are_refused_in_one_sentence(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    write_bad_files()
    named = () if "-o" in words else ("-o", "out.png")
    small = () if {"--size", "--steps"} & set(words) else SMALL
    assert message in refused(capsys, "paint", "photo.jpg", "picture.jpg", *named, *small, *words)


@pytest.mark.parametrize(
    "words",
    [
        ("paint",),
        ("paint", "photo.jpg"),
        ("paint", LONG, "picture.jpg"),
        ("paint", "photo.jpg", LONG),
        ("pait",),
        ("weights", "fetch", "vgg91"),
        ("weights", "verify", LONG),
        ("styles", "show"),
        ("styles", "show", LONG),
    ],
)
@pytest.mark.usefixtures("gallery")
def test_an_invalid_command_is_refused(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    refused(capsys, *words)


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_an_unwritable_painting_is_saved_elsewhere_and_the_old_picture_stays(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("out.png").write_bytes(b"what was there")
    replace = Path.replace

    def full(path: Path, target: Path) -> Path:
        if Path(target).name == "out.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", full)
    code, _, err = paint(capsys, "photo.jpg", "picture.jpg", "-o", "out.png")
    assert code == 1
    assert "'out.png' cannot be written (No space left on device)" in err
    assert err.endswith("saved as 'out-2.png' instead\n")
    assert Path("out.png").read_bytes() == b"what was there"
    assert images.read_record("out-2.png") is not None


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
)
def test_running_out_of_memory_prints_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def out_of_memory(context: PaintingContext) -> Iterator[Step]:
        raise error
        yield

    monkeypatch.setattr(neighbors, "paint_steps", out_of_memory)
    assert "--size 48" in refused(capsys, "paint", "photo.jpg", "picture.jpg", "-o", "out.png", *SMALL)


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_a_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(context: PaintingContext) -> Iterator[Step]:
        raise RuntimeError("a bug")
        yield

    monkeypatch.setattr(neighbors, "paint_steps", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["paint", "photo.jpg", "picture.jpg", "-o", "out.png", *SMALL])


# ---------------------------------------------------------------------------------------------------- the other commands


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_the_demo_paints_a_shipped_style(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from impasto.styles.named import user_styles

    run(capsys, "styles", "add", "picture.jpg", "--name", "coffee")
    monkeypatch.setattr("impasto.styles.named.shipped_styles", user_styles)
    small = presets.paint_options(size=48, steps=2)
    monkeypatch.setattr(presets, "paint_options", lambda **_: small)
    code, out, err = run(capsys, "demo")
    assert code == 0
    assert out.startswith("demo.png: 48x48")
    assert "coffee" in err
    monkeypatch.setattr("impasto.styles.named.shipped_styles", dict)
    refused(capsys, "demo", "-o", "other.png")


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_training_an_encoder_saves_it_and_can_be_resumed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from impasto.cli import train, training
    from impasto.encoders import Vgg, load_encoder
    from impasto.weights import save_vgg

    save_vgg("teacher.safetensors", Vgg(), {})
    for folder in ("photos", "paintings", "textures"):
        Path(folder).mkdir()
        for number in range(3):
            picture = images.read("photo.jpg" if folder == "photos" else "picture.jpg").image
            images.write(f"{folder}/{number}.png", picture.roll(9 * number, -1))
    monkeypatch.setattr(train, "_FIRST_CROPS", 2)
    monkeypatch.setattr(train, "_EDGE_PX", 32)
    monkeypatch.setattr(training, "_STEPS_BETWEEN_SAVES", 1)
    words = ["train", "encoder", "--teacher", "teacher.safetensors", "--state", "state.pt", "-o", "slim.safetensors"]
    words += ["--photos", "photos", "--paintings", "paintings", "--textures", "textures", "--widths", "4,4,8,8,8"]
    assert run(capsys, *words, "--steps", "1")[0] == 0
    code, _, err = run(capsys, *words, "--steps", "2")
    assert code == 0
    assert "resuming from step 1" in err
    assert load_encoder("slim.safetensors").widths[:2] == (4, 4)
    curve = [json.loads(line) for line in Path("state.curve.jsonl").read_text().splitlines()]
    assert [line["step"] for line in curve] == [0, 1, 2]
    refused(capsys, *words, "--steps", "3", "--widths", "4,4")
    Path("state.pt").write_bytes(b"damaged")
    refused(capsys, *words, "--steps", "3")


# ---------------------------------------------------------------------------------------------------- progress


def step_at(number: int, seconds: float, left: float) -> Step:
    return Step(number, 10, 0, (40, 50), {"style": 2.0, "content": 0.5}, torch.zeros(1, 3, 40, 50), seconds, left)


def test_progress_lines_contain_size_losses_and_remaining_time(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.lines(progress.message_console(quiet=False), 3) as show:
        for number in range(1, 11):
            show(step_at(number, number, 70.0 if number > 2 else math.inf))
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "size 1 of 3 (50x40), step 3 of 10: style 2, content 0.5; about 1 min 10 s left\n"


def test_a_progress_bar_shows_no_remaining_time_before_it_is_known() -> None:
    from rich.console import Console

    with open(os.devnull, "w") as nowhere:
        console = Console(force_terminal=True, width=120, record=True, file=nowhere)
        with progress.bar(console, 1) as show:
            show(step_at(1, 9.0, math.inf))
    assert "1/10 timing the first steps" in console.export_text()


@pytest.mark.parametrize(("width", "message"), [(120, "about 1 s left style 2, content 0.5"), (80, "10/10 about 1 s left")])
def test_the_progress_bar_contains_size_losses_and_remaining_time(width: int, message: str) -> None:
    from rich.console import Console

    with open(os.devnull, "w") as nowhere:
        console = Console(force_terminal=True, width=width, record=True, file=nowhere)
        with progress.bar(console, 1) as show:
            show(step_at(10, 9.0, 1.0))
    text = console.export_text()
    assert "size 1 of 1 (50x40)" in text
    assert message in text

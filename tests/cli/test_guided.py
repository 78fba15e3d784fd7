"""``impasto doodle``, ``analogy`` and ``texture``: files, streams, records, interruptions and invalid input."""

import io
import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import skimage.data
import torch

from impasto import images
from impasto.cli import app, main
from impasto.optim.engine import Step
from impasto.recipes import guided

Capture = pytest.CaptureFixture[str]
GREEN, RED, BLUE = (40, 160, 40), (200, 40, 40), (40, 60, 220)
EXACT = ("--threads", "1", "--precision", "fp32", "--device", "cpu")
DOODLE = ("doodle", "style.jpg", "--style-map", "style-map.png", "--map", "map.png", "--size", "64")
ANALOGY = ("analogy", "a.png", "a-prime.png", "b.png")
TEXTURE = ("texture", "style.jpg", "--size", "64")
COMMANDS = [DOODLE, ANALOGY, TEXTURE]


def halves(top: tuple[int, int, int], bottom: tuple[int, int, int], px: int) -> images.Picture:
    """Draw a square map of two halves."""
    colors = np.empty((px, px, 3), np.uint8)
    colors[: px // 2], colors[px // 2 :] = top, bottom
    return images.read(colors)


@pytest.fixture(autouse=True)
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a style, grass above brick, of maps, and of the pictures of an analogy."""
    tinted = [
        np.stack([gray[:48, :96] * share for share in shares], -1)
        for gray, shares in ((skimage.data.grass(), (0.4, 1, 0.3)), (skimage.data.brick(), (1, 0.4, 0.3)))
    ]
    images.write(tmp_path / "style.jpg", images.read(np.concatenate(tinted).clip(0, 255).astype(np.uint8)))
    images.write(tmp_path / "style-map.png", halves(GREEN, RED, 96))
    images.write(tmp_path / "map.png", halves(RED, GREEN, 96))
    images.write(tmp_path / "blue-map.png", halves(BLUE, GREEN, 96))
    images.write(tmp_path / "one-color.png", halves(RED, RED, 96))
    images.write(tmp_path / "white.png", halves((255, 255, 255), (255, 255, 255), 96))
    hole = np.zeros((96, 96, 3), np.uint8)
    hole[32:64, 32:64] = 255
    images.write(tmp_path / "hole.png", images.read(hole))
    photo = skimage.data.coffee()[:384:6, :384:6]
    images.write(tmp_path / "a.png", images.read(photo))
    images.write(tmp_path / "a-prime.png", images.read(255 - photo))
    images.write(tmp_path / "b.png", images.read(skimage.data.astronaut()[:384:6, 32:416:6]))
    images.write(tmp_path / "wide.png", images.read(skimage.data.coffee()[:192:6, :384:6]))
    images.write(tmp_path / "tiny.png", halves(RED, GREEN, 4))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: Capture, *words: str) -> tuple[int, str, str]:
    code = main((*words, *EXACT))
    out, err = capsys.readouterr()
    return code, out, err


def refused(capsys: Capture, *words: str) -> str:
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


def pixels(path: str | Path) -> torch.Tensor:
    return images.read(path).image


def greenness(image: torch.Tensor) -> torch.Tensor:
    return image[0, 1] - image[0, 0]


# ---------------------------------------------------------------------------------------------------- results


@pytest.mark.slow
def test_a_doodle_paints_the_map(capsys: Capture) -> None:
    code, out, _ = run(capsys, *DOODLE, "-o", "out.png")
    assert code == 0
    assert out.startswith("out.png: 64x64 pixels in ")
    green = greenness(pixels("out.png"))
    assert float(green[:26].mean()) < -0.1
    assert float(green[38:].mean()) > 0.1


@pytest.mark.slow
def test_nlabels_is_another_name_of_labels(capsys: Capture) -> None:
    code, out, _ = run(capsys, *DOODLE, "--nlabels", "2", "-o", "out.png", "--json")
    assert code == 0
    assert json.loads(out)["options"]["labels"] == 2


@pytest.mark.slow
def test_a_doodle_follows_a_photo_and_has_its_proportions(capsys: Capture) -> None:
    code, _, err = run(capsys, *DOODLE, "--content", "wide.png", "-o", "out.png")
    assert code == 0
    assert images.read("out.png").size == (32, 64)
    assert "map 'map.png' was scaled from 96x96 to the photo's 64x32" in err


@pytest.mark.slow
def test_a_drafted_map_has_flat_colors_and_paints(capsys: Capture) -> None:
    code, out, err = run(capsys, "doodle", "style.jpg", "--suggest-map", "--labels", "2")
    assert (code, err) == (0, "")
    assert out.startswith("style-map-2.png: this is a draft;")  # style-map.png exists
    drafted = pixels("style-map-2.png")
    assert drafted.shape == (1, 3, 96, 96)
    assert len(np.unique(drafted[0].flatten(1).T.numpy(), axis=0)) == 2
    words = ("--style-map", "style-map-2.png", "--map", "style-map-2.png", "--size", "64", "-o", "out.png")
    assert run(capsys, "doodle", "style.jpg", *words)[0] == 0


@pytest.mark.slow
def test_a_drafted_map_is_printed_as_json_or_saved_quietly(capsys: Capture) -> None:
    code, out, _ = run(capsys, "doodle", "style.jpg", "--suggest-map", "-o", "m.png", "--json", "--record", "m.json")
    assert code == 0
    assert json.loads(out)["output"] == "m.png"
    assert json.loads(Path("m.json").read_text())["recipe"] == "map"
    assert run(capsys, "doodle", "style.jpg", "--suggest-map", "-o", "n.png", "--quiet") == (0, "", "")


@pytest.mark.slow
def test_an_analogy_paints_b(capsys: Capture) -> None:
    code, out, _ = run(capsys, *ANALOGY, "-o", "out.png")
    assert code == 0
    assert out.startswith("out.png: 64x64 pixels in ")
    result, b = pixels("out.png").mean(1).flatten(), pixels("b.png").mean(1).flatten()
    assert float(torch.corrcoef(torch.stack([result, b]))[0, 1]) < -0.2  # A' is the negative of A


@pytest.mark.slow
def test_a_texture_has_any_size(capsys: Capture) -> None:
    code, out, _ = run(capsys, "texture", "style.jpg", "--size", "88x64", "-o", "out.png")
    assert code == 0
    assert out.startswith("out.png: 88x64 pixels in ")
    assert float((pixels("out.png").mean((2, 3)) - pixels("style.jpg").mean((2, 3))).abs().max()) < 0.1


@pytest.mark.slow
def test_a_tileable_texture_continues_at_its_edges(capsys: Capture) -> None:
    images.write("grass.png", images.read(np.stack([skimage.data.grass()[:128, :128]] * 3, -1)))
    assert run(capsys, "texture", "grass.png", "--size", "96x64", "--tileable", "-o", "out.png")[0] == 0
    image = pixels("out.png")
    across = (image[..., 0] - image[..., -1]).abs().mean() + (image[..., 0, :] - image[..., -1, :]).abs().mean()
    inside = (image[..., 1:] - image[..., :-1]).abs().mean() + (image[..., 1:, :] - image[..., :-1, :]).abs().mean()
    assert float(across) <= 1.1 * float(inside)


@pytest.mark.slow
def test_an_expanded_picture_stays_in_the_middle(capsys: Capture) -> None:
    assert run(capsys, "texture", "b.png", "--size", "96x96", "--expand", "-o", "out.png")[0] == 0
    middle = pixels("out.png")[..., 30:66, 30:66] - pixels("b.png")[..., 14:50, 14:50]
    assert float(middle.abs().max()) < 0.02


@pytest.mark.slow
def test_a_hole_is_filled_and_the_rest_is_kept(capsys: Capture) -> None:
    image = pixels("style.jpg")
    image[..., 36:60, 36:60] = torch.tensor([0.0, 0.0, 1.0])[:, None, None]
    images.write("torn.png", image)
    code, _, _ = run(capsys, "texture", "torn.png", "--inpaint", "hole.png", "-o", "out.png")
    assert code == 0
    filled = pixels("out.png")
    assert float(filled[0, 2, 36:60, 36:60].mean()) < 0.4
    assert float((filled - image)[..., :24, :].abs().max()) < 0.01


@pytest.mark.slow
def test_several_pictures_are_mixed(capsys: Capture) -> None:
    images.write("blue.png", torch.tensor([0.1, 0.2, 0.9])[None, :, None, None].expand(1, 3, 64, 64))
    code, out, _ = run(capsys, *TEXTURE, "--mix", "blue.png", "--variety", "4", "-o", "out.png", "--json")
    assert code == 0
    assert [each["name"] for each in json.loads(out)["styles"]] == ["style.jpg", "blue.png"]
    blue = (pixels("out.png")[0, 2] > 0.6).float().mean()
    assert 0.1 < float(blue) < 0.9


# ---------------------------------------------------------------------------------------------------- files and streams


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "name"), [(DOODLE, "style-map-2.png"), (ANALOGY, "b-a-prime.png"), (TEXTURE, "style-texture.png")]
)
def test_the_output_is_named_after_the_inputs_and_overwrites_nothing(
    capsys: Capture, words: tuple[str, ...], name: str
) -> None:
    before = {path.name for path in Path().iterdir()}
    assert run(capsys, *words)[0] == run(capsys, *words)[0] == 0
    made = {path.name for path in Path().iterdir()} - before
    assert name in made
    assert len(made) == 2


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS)
def test_record_preview_and_gif_are_saved(capsys: Capture, words: tuple[str, ...]) -> None:
    files = ("-o", "out.png", "--record", "made.json", "--preview", "now.png", "--gif", "made.gif", "--json")
    code, out, _ = run(capsys, *words, *files)
    assert code == 0
    record = json.loads(out)
    assert record.pop("output") == "out.png"
    assert record == json.loads(Path("made.json").read_text()) == images.read_record("out.png")
    assert record["recipe"] == words[0]
    assert record["steps"]["done"] == record["steps"]["planned"]
    assert pixels("now.png").shape == (1, 3, 64, 64)
    with PIL.Image.open("made.gif") as animation:
        assert animation.size == (64, 64)
        assert animation.n_frames > 1  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS)
def test_quiet_prints_nothing(capsys: Capture, words: tuple[str, ...]) -> None:
    assert run(capsys, *words, "-o", "out.png", "--quiet") == (0, "", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "piped"),
    [
        (("doodle", "-", *DOODLE[2:]), "style.jpg"),
        (("doodle", "style.jpg", "--style-map", "style-map.png", "--map", "-", "--size", "64"), "map.png"),
        (("doodle", "-", "--suggest-map"), "style.jpg"),
        (("analogy", "a.png", "a-prime.png", "-"), "b.png"),
        (("texture", "-", "--size", "64"), "style.jpg"),
        (("texture", "style.jpg", "--inpaint", "-"), "hole.png"),
    ],
)
def test_a_picture_is_read_from_standard_input_and_written_to_standard_output(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], piped: str
) -> None:
    out = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(piped).read_bytes())))
    monkeypatch.setattr(sys, "stdout", out)
    before = sorted(Path().iterdir())
    assert main((*words, "-o", "-", *EXACT)) == 0
    assert sorted(Path().iterdir()) == before
    with PIL.Image.open(out.buffer) as written:  # type: ignore[arg-type]
        assert written.format == "PNG"
        assert written.size[0] in (64, 96)


@pytest.mark.slow
def test_a_piped_picture_is_named_stdin(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("style.jpg").read_bytes())))
    code, out, _ = run(capsys, "texture", "-", "--size", "64", "--json")
    assert code == 0
    record = json.loads(out)
    assert record["output"] == "stdin-texture.png"
    assert record["styles"][0]["name"] == "stdin"


@pytest.mark.slow
def test_notes_on_how_a_picture_was_read_are_printed(capsys: Capture) -> None:
    images.write_animation("moving.gif", [pixels("style.jpg"), pixels("style.jpg").flip(-1)], seconds_per_frame=0.1)
    for words in (
        ("texture", "moving.gif", "--size", "64"),
        ("doodle", "moving.gif", *DOODLE[2:]),
        ("analogy", "a.png", "a-prime.png", "moving.gif"),
    ):
        code, _, err = run(capsys, *words, "-o", "out.png")
        assert code == 0
        assert "moving.gif: took the first of 2 frames" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ((*DOODLE, "--content-weight", "0.7"), ["--content-weight"]),
        ((*DOODLE, "--content", "b.png", "--content-weight", "0.7"), []),
        (("texture", "style.jpg", "--inpaint", "hole.png", "--variety", "2", "--tileable"), ["--tileable"]),
        ((*TEXTURE, "--variety", "2", "--tileable"), []),
    ],
)
def test_options_without_effect_are_named(capsys: Capture, words: tuple[str, ...], flags: list[str]) -> None:
    code, _, err = run(capsys, *words, "-o", "out.png")
    assert code == 0
    found = [line for line in err.splitlines() if line.startswith("options without effect: ")]
    assert re.findall(r"(--[a-z-]+) \(", " ".join(found)) == flags


# ---------------------------------------------------------------------------------------------------- interruption, replay


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS)
def test_an_interruption_saves_the_picture_so_far(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    whole = guided.guided_steps

    def interrupted(*words: Any) -> Iterator[Step]:
        for step in whole(*words):
            yield step
            if step.number == 2:
                signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(guided, "guided_steps", interrupted)
    code, out, err = run(capsys, *words, "-o", "out.png")
    assert (code, out) == (130, "")
    assert re.search(r"interrupted at step 2 of \d+; saved the picture so far as out\.png", err)
    assert pixels("out.png").shape == (1, 3, 64, 64)
    record = images.read_record("out.png")
    assert record is not None
    assert record["steps"]["done"] == 2  # type: ignore[index]


def test_an_interruption_before_the_first_step_writes_nothing(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*words: Any) -> Iterator[Step]:
        signal.raise_signal(signal.SIGTERM)
        yield from ()

    monkeypatch.setattr(guided, "guided_steps", interrupted)
    before = sorted(Path().iterdir())
    assert run(capsys, *TEXTURE, "-o", "out.png") == (130, "", "impasto: interrupted\n")
    assert sorted(Path().iterdir()) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [*COMMANDS, ("doodle", "style.jpg", "--suggest-map"), ("instant", "b.png", "style.jpg", "--size", "64")]
)
def test_paint_refuses_to_repeat_a_picture_of_another_command(capsys: Capture, words: tuple[str, ...]) -> None:
    assert run(capsys, *words, "-o", "out.png")[0] == 0
    assert "not by impasto paint, so impasto paint cannot repeat it" in refused(
        capsys, "paint", "--replay", "out.png", "-o", "again.png"
    )
    assert "omit --resume" in refused(capsys, "paint", "b.png", "style.jpg", "-o", "out.png", "--resume")


# ---------------------------------------------------------------------------------------------------- bad input


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("doodle",), "the style is missing"),
        (("doodle", "style.jpg"), "--map is missing"),
        (("doodle", "style.jpg", "--map", "gone.png"), "gone.png"),
        (("doodle", "gone.jpg", "--map", "map.png"), "gone.jpg"),
        (("doodle", "no-such-style", "--map", "map.png"), "no-such-style"),
        ((*DOODLE[:4], "--map", "blue-map.png"), "but style map 'style-map.png' does not have it; use one of these colors"),
        (("doodle", "style.jpg", "--style-map", "one-color.png", "--map", "one-color.png"), "only one color"),
        (("doodle", "style.jpg", "--style-map", "b.png", "--map", "b.png"), "more than 16 colors"),
        ((*DOODLE[:6], "--size", "8"), "--size is 8"),
        ((*DOODLE, "--labels", "17"), "--labels is 17"),
        ((*DOODLE, "--semantic-weight", "nan"), "--semantic-weight is nan"),
        ((*DOODLE, "--report"), "--report"),
        ((*DOODLE, "-o", "map.png"), "would overwrite an input"),
        ((*DOODLE, "-o", "out.txt"), "out.txt"),
        ((*DOODLE, "-o", "gone/out.png"), "gone"),
        ((*DOODLE, "-o", "-", "--json"), "both write to standard output"),
        (("doodle", "-", "--map", "-"), "'-' is given twice"),
        (("doodle", "style.jpg", "--suggest-map", "--map", "map.png"), "omit --map"),
        (("doodle", "style.jpg", "--suggest-map", "--gif", "a.gif"), "omit --gif"),
        (("doodle", "style.jpg", "--suggest-map", "-o", "style.jpg"), "would overwrite an input"),
        (("doodle", "style.jpg", "--suggest-map", "--labels", "1"), "--labels is 1"),
        (("analogy", "a.png", "a-prime.png"), "three pictures are needed"),
        (("analogy", "a.png", "wide.png", "b.png"), "they must show the same composition"),
        (("analogy", "a.png", "a-prime.png", "gone.png"), "gone.png"),
        (("analogy", "a.png", "a-prime.png", "tiny.png"), "tiny.png"),
        ((*ANALOGY, "--analogy-weight", "-1"), "--analogy-weight is -1"),
        ((*ANALOGY, "-o", "b.png"), "would overwrite an input"),
        (("texture",), "the style is missing"),
        (("texture", "gone.png"), "gone.png"),
        (("texture", "tiny.png"), "tiny.png"),
        (("texture", "style.jpg", "--size", "big"), "--size 'big' is not a size"),
        (("texture", "style.jpg", "--size", "1x64"), "side of 1 pixels"),
        (("texture", "style.jpg", "--size", "70x64", "--tileable"), "such as 72x64"),
        (("texture", "style.jpg", "--size", "64", "--expand"), "would not enlarge the picture"),
        (("texture", "style.jpg", "--expand", "--tileable"), "cannot be used together"),
        (("texture", "style.jpg", "b.png", "--expand"), "works with a single picture"),
        (("texture", "style.jpg", "--inpaint", "white.png"), "covers everything"),
        (("texture", "style.jpg", "--inpaint", "gone.png"), "gone.png"),
        (("texture", "style.jpg", "--mix", "gone.png"), "gone.png"),
        (("texture", "style.jpg", "--bits", "16", "-o", "out.jpg"), "16"),
    ],
)
def test_invalid_input_is_refused_in_one_sentence(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], part: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert part in refused(capsys, *words)


@pytest.mark.parametrize(
    "words",
    [
        (*DOODLE[:-1], "60000"),
        ("texture", "style.jpg", "--size", "20000"),
        ("texture", "style.jpg", "--size", "20000", "--expand"),
    ],
)
def test_a_size_that_needs_too_much_memory_is_refused_before_pictures_are_resized(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr("impasto.recipes.guided.available_memory", lambda device: 2**30)
    assert re.search(r"--size \d+ needs about .*; --size \d+ would fit", refused(capsys, *words))


# ---------------------------------------------------------------------------------------------------- help


@pytest.mark.slow
@pytest.mark.parametrize("command", ["doodle", "analogy", "texture", "neural-doodle"])
def test_help_names_values_by_one_convention_and_every_flag_once(capsys: Capture, command: str) -> None:
    assert main([command, "--help"]) == 0
    found = re.findall(r"^│ [ *]*--[\w-]+(?: --?[\w-]+)*(?: ([^-\s│]\S*))?  ", capsys.readouterr().out, re.MULTILINE)
    words = re.compile(r"(INT|FLOAT|NAME|MASK|PATH|CHOICE|WxH|STYLE)(,?\.\.\.)?")
    assert found
    assert [each for each in found if each and not words.fullmatch(each)] == []
    names = [name for each in app[command].assemble_argument_collection() for name in each.names if name != "*"]
    assert sorted(names) == sorted(set(names))

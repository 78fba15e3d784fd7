"""``impasto neural-doodle``: neural-doodle's own commands, with maps found by name."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from impasto import images
from impasto.cli import main
from impasto.compat.neural_doodle import NeuralDoodleOptions, map_beside
from impasto.errors import OptionError
from impasto.options import Run
from impasto.options.guided import DoodleOptions, TextureOptions

Capture = pytest.CaptureFixture[str]
GREEN, RED = (40, 160, 40), (200, 40, 40)
README = ("--style", "samples/Monet.jpg", "--output", "samples/Coastline.png", "--device=cpu", "--iterations=40")
EXACT = ("--threads", "1", "--precision", "fp32")


def halves(top: tuple[int, int, int], bottom: tuple[int, int, int], height: int, width: int) -> np.ndarray:
    """Draw a map of two halves."""
    colors = np.empty((height, width, 3), np.uint8)
    colors[: height // 2], colors[height // 2 :] = top, bottom
    return colors


@pytest.fixture(autouse=True)
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a style, grass above brick, with its map, and a map of the result, brick above grass."""
    folder = tmp_path / "samples"
    folder.mkdir()
    tinted = [
        np.stack([gray[:64, :128] * share for share in shares], -1)
        for gray, shares in ((skimage.data.grass(), (0.4, 1, 0.3)), (skimage.data.brick(), (1, 0.4, 0.3)))
    ]
    images.write(folder / "Monet.jpg", images.read(np.concatenate(tinted).clip(0, 255).astype(np.uint8)))
    images.write(folder / "Monet_sem.png", images.read(halves(GREEN, RED, 128, 128)))
    images.write(folder / "Coastline_sem.png", images.read(halves(RED, GREEN, 96, 96)))
    images.write(folder / "Seth.png", images.read(skimage.data.astronaut()[:384:4, 32:416:4]))
    monkeypatch.chdir(tmp_path)
    return folder


def run(capsys: Capture, *words: str) -> tuple[int, str, str]:
    code = main(["neural-doodle", *words, *EXACT])
    out, err = capsys.readouterr()
    return code, out, err


def refused(capsys: Capture, *words: str) -> str:
    """Run a command that must fail with exit code 2 and one sentence, and write no file; return the sentence."""
    before = sorted(Path().rglob("*"))
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    (sentence,) = err.splitlines()
    assert sentence.startswith("impasto: ")
    assert sorted(Path().rglob("*")) == before
    return sentence


def greenness(image: torch.Tensor) -> torch.Tensor:
    return image[0, 1] - image[0, 0]


@pytest.mark.slow
def test_the_command_of_the_readme_paints_the_regions_of_the_map_in_the_colors_of_the_style(capsys: Capture) -> None:
    code, out, err = run(capsys, *README)
    assert code == 0
    assert out.startswith("samples/Coastline.png: 96x96 pixels in ")
    assert "options without effect: --iterations (the size determines the iterations)" in err
    image = images.read("samples/Coastline.png").image
    assert image.shape == (1, 3, 96, 96)
    assert float(greenness(image)[:40].mean()) < -0.1
    assert float(greenness(image)[56:].mean()) > 0.1
    style = images.read("samples/Monet.jpg").image
    assert float((image.mean((2, 3)) - style.mean((2, 3))).abs().max()) < 0.08
    record = images.read_record("samples/Coastline.png")
    assert record is not None
    assert record["options"]["semantic_weight"] == DoodleOptions().semantic_weight  # type: ignore[index]
    assert record["style_map"]["name"] == "Monet_sem.png"  # type: ignore[index]
    assert record["map"]["name"] == "Coastline_sem.png"  # type: ignore[index]


@pytest.mark.slow
def test_the_map_of_a_photo_is_beside_the_photo(capsys: Capture) -> None:
    images.write("samples/Seth_sem.png", images.read(halves(RED, GREEN, 48, 48)))
    words = ("--style", "samples/Monet.jpg", "--content", "samples/Seth.png", "--output", "out.png", "--phases=4", "--json")
    code, out, err = run(capsys, *words)
    assert code == 0
    record = json.loads(out)
    assert record["map"]["name"] == "Seth_sem.png"
    assert record["content"]["name"] == "Seth.png"
    assert "options without effect: --phases (" in err
    assert float(greenness(images.read("out.png").image)[60:].mean()) > 0.05


@pytest.mark.slow
def test_without_maps_a_photo_is_painted_in_the_style(capsys: Capture) -> None:
    Path("samples/Monet_sem.png").unlink()
    words = ("--style", "samples/Monet.jpg", "--content", "samples/Seth.png", "--output", "out.png", "--semantic-weight", "5")
    code, _, err = run(capsys, *words)
    assert code == 0
    assert "no maps were found ('samples/Monet_sem.png', 'samples/Seth_sem.png', 'out_sem.png')" in err
    assert "options without effect: --semantic-weight (there are no maps)" in err
    image = images.read("out.png").image
    assert image.shape == (1, 3, 96, 96)
    assert float((image - images.read("samples/Seth.png").image).abs().mean()) > 0.05


@pytest.mark.slow
def test_without_maps_and_photo_a_texture_is_made(capsys: Capture) -> None:
    Path("samples/Monet.jpg").rename("Wall.jpg")
    words = ("--style", "Wall.jpg", "--output", "Wall.png", "--seed=noise", "--seed-range=0:128", "--output-size=96x64")
    code, out, err = run(capsys, *words)
    assert code == 0
    assert out.startswith("Wall.png: 96x64 pixels")
    assert "no maps were found ('Wall_sem.png'), so a texture of the style is made" in err
    assert "--seed-range (" in err
    assert "--seed (" not in err


@pytest.mark.slow
def test_the_output_size_is_exact_and_a_stretched_map_is_noted(capsys: Capture) -> None:
    code, _, err = run(capsys, *README, "--output-size=96x48")
    assert code == 0
    assert images.read("samples/Coastline.png").size == (48, 96)
    assert "'Coastline_sem.png' was stretched from 96x96 to 96x48 pixels" in err


@pytest.mark.slow
def test_all_flags_without_effect_are_named_in_one_note(capsys: Capture) -> None:
    ignored = ("--print-every=10", "--save-every=10", "--smoothness=1.0", "--style-layers=3_1,4_1", "--content-layers=4_2")
    more = ("--content-weight=10", "--safe-mode", "--resolution=512", "--seed=start.png")
    code, _, err = run(capsys, *README, *ignored, *more)
    assert code == 0
    (note,) = [line for line in err.splitlines() if line.startswith("options without effect")]
    given = {word.split("=")[0] for word in (*ignored, *more, "--iterations")}
    assert set(re.findall(r"(--[a-z-]+) \(", note)) == given


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("Monet_sem.png", "the map of the style, 'samples/Monet_sem.png', was not found"),
        ("Coastline_sem.png", "the map of the result ('samples/Coastline_sem.png') was not found"),
    ],
)
def test_a_missing_map_is_named(capsys: Capture, gone: str, words: str) -> None:
    Path("samples", gone).unlink()
    assert words in refused(capsys, *README)


def test_the_maps_that_were_looked_for_are_named_with_a_photo(capsys: Capture) -> None:
    sentence = refused(capsys, "--style", "samples/Monet.jpg", "--content", "samples/Seth.png", "-o", "out.png")
    assert "('samples/Seth_sem.png' or 'out_sem.png') was not found" in sentence


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ((), "--style is missing"),
        (("--style", "samples/Monet.jpg"), "--output is missing"),
        (("--style", "samples/Gone.jpg", "--output", "out.png"), "samples/Gone.jpg"),
        (("--style", "samples/Monet.jpg", "--content", "gone.png", "--output", "samples/Coastline.png"), "gone.png"),
        ((*README, "--output-size=big"), "--output-size 'big' is not a size"),
        ((*README, "--output-size=9x9"), "--output-size '9x9' has a side of 9"),
        ((*README, "--semantic-weight=-1"), "--semantic-weight is -1.0; it must be a number from 0 to 1000"),
        ((*README, "--variety=20"), "--variety is 20.0"),
        ((*README, "--seed=-1"), "--seed is -1"),
        ((*README, "--content-weight=0", "--style-weight=0"), "both 0"),
        ((*README[:4], "--device=gpu7"), "--device 'gpu7'"),
        ((*README, "--labels=1"), "--labels is 1"),
        ((*README, "--report"), "--report"),
        (("--style", "samples/Monet.jpg", "--output", "samples/Monet.jpg"), "--output"),
        (("--style", "-", "--output", "samples/Coastline.png"), "can read '-'"),
        ((*README, "extra.png"), "extra.png"),
    ],
)
def test_invalid_input_is_refused_in_one_sentence(capsys: Capture, words: tuple[str, ...], part: str) -> None:
    sentence = refused(capsys, *words)
    assert part in sentence
    assert not re.search(r"--size", sentence)


def test_a_size_that_needs_too_much_memory_is_refused(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.recipes.guided.available_memory", lambda device: 2**30)
    sentence = refused(capsys, *README, "--output-size=20000x20000")
    assert re.search(r"--output-size 20000 needs about .*; --output-size \d+ would fit", sentence)


def test_the_defaults_are_those_of_doodle() -> None:
    options = NeuralDoodleOptions()
    doodle, texture = options.doodle_options(512), options.texture_options((512, 512))
    assert (doodle.semantic_weight, doodle.variety) == (DoodleOptions().semantic_weight, DoodleOptions().variety)
    assert doodle.content_weight == DoodleOptions().content_weight
    assert texture == TextureOptions()
    assert options.run() == Run(device="cpu")


def test_weights_are_scaled() -> None:
    options = NeuralDoodleOptions(semantic_weight=5, content_weight=30, variety=0.5)
    doodle = options.doodle_options(64)
    assert (doodle.semantic_weight, doodle.content_weight, doodle.variety) == (0.5, 0.75, 1.5)
    assert NeuralDoodleOptions(content_weight=0).doodle_options(64).content_weight == 0
    assert NeuralDoodleOptions(seed="7", device="gpu0").run() == Run(device="cuda", seed=7)


def test_a_map_is_named_after_its_picture() -> None:
    assert map_beside("a.b/Coast.line.jpg") == Path("a.b/Coast.line_sem.png")
    with pytest.raises(OptionError, match="has a side of 1 pixels"):
        _ = NeuralDoodleOptions(output_size="1x1").size

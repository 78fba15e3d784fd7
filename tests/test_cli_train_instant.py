"""``impasto train instant``, on a few small pictures."""

import dataclasses
import json
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import skimage.data
import torch
from PIL import Image

from impasto.cli import main, train_instant
from impasto.cli.train_instant import Fit, Weights
from impasto.encoders import Vgg, load_encoder
from impasto.networks import instant_facts, load_instant, save_instant
from impasto.training.instant import InstantTraining, InstantWeights
from impasto.weights import save_vgg

FLAGS = {
    **{"--state": "state.pt", "--output": "instant.safetensors", "--device": "cpu"},
    **{"--photos": "photos", "--paintings": "paintings", "--textures": "textures"},
    **{"--steps": "2", "--batch": "1", "--edge": "32", "--style-edge": "32"},
}

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder with three photos, paintings and textures; save at every step."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train_instant, "_STEPS_BETWEEN_SAVES", 1)
    monkeypatch.setattr("impasto.training.instant._CALIBRATION_BATCHES", 1)
    for folder in ("photos", "paintings", "textures"):
        Path(folder).mkdir()
        pixels = skimage.data.astronaut() if folder == "photos" else skimage.data.coffee()
        for number in range(3):
            Image.fromarray(pixels[number::7, ::7]).save(f"{folder}/{number}.png")


@pytest.fixture(autouse=True)
def slim(narrow: Callable[..., Vgg], monkeypatch: pytest.MonkeyPatch) -> Vgg:
    """Take a narrow encoder for vgg19-slim, which is faster."""
    made = narrow(with_heads=True)
    made.sha256 = "abc"
    monkeypatch.setattr("impasto.encoders.load_encoder", lambda *names: load_encoder(*names) if names else made)
    return made


def run(capsys: Capture, *words: str) -> tuple[int, str]:
    """Train with some flags of our own; returns the exit code and what was said."""
    flags = FLAGS | dict(zip(words[::2], words[1::2], strict=True))
    code = main(["train", "instant", *(word for pair in flags.items() for word in pair)])
    out, err = capsys.readouterr()
    assert out == ""
    return code, err


def refused(capsys: Capture, words: Sequence[str], sentence: str) -> None:
    """Expect exit code 2, and one sentence after what was said before."""
    code, err = run(capsys, *words)
    *_, last = err.splitlines()
    assert code == 2
    assert last.startswith("impasto: ")
    assert sentence in last
    assert err.count("impasto: ") == 1


def curve() -> list[dict[str, float]]:
    return [json.loads(line) for line in Path("state.curve.jsonl").read_text().splitlines()]


def test_a_network_is_trained_written_and_trained_on(capsys: Capture, slim: Vgg) -> None:
    code, err = run(capsys, "--steps", "2", "--seed", "5", "--gram-weight", "0.3")
    assert code == 0
    assert "step 1 of 2: " in err
    assert "photo: 2 to learn from, 1 to measure on" in err
    facts = instant_facts("instant.safetensors")
    assert facts | {"teacher": "vgg19-slim", "encoder_sha256": "abc", "seed": "5", "gram_weight": "0.3", "steps": "2"} == facts
    assert set(json.loads(facts["figures"])) == {"content", "moments", "gram", "identity"}
    first = load_instant("instant.safetensors")
    code, err = run(capsys, "--steps", "3", "--seed", "5")
    assert code == 0
    assert "going on from step 2" in err
    assert load_instant("instant.safetensors").sha256 != first.sha256
    lines = curve()
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert {"seconds", "content", "gram", "identity", "held_out"} <= set(lines[0])


def test_the_same_words_train_the_same_network(capsys: Capture) -> None:
    found = []
    for _ in range(2):
        run(capsys, "--steps", "1")
        found.append(load_instant("instant.safetensors").state_dict())
        Path("state.pt").unlink()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_a_network_is_trained_on_under_a_teacher(capsys: Capture, narrow: Callable[..., Vgg]) -> None:
    assert run(capsys, "--steps", "1")[0] == 0
    Path("instant.safetensors").rename("first.safetensors")
    Path("state.pt").unlink()
    save_vgg("teacher.safetensors", narrow(), {})
    start = load_instant("first.safetensors")
    words = ("--teacher", "teacher.safetensors", "--teacher-licence", "CC BY 4.0", "--start", "first.safetensors")
    assert run(capsys, *words, "--steps", "2")[0] == 0
    facts, teacher = instant_facts("instant.safetensors"), load_encoder("teacher.safetensors")
    assert (facts["teacher"], facts["teacher_sha256"]) == ("teacher.safetensors", teacher.sha256)
    assert (facts["teacher_licence"], facts["start_sha256"]) == ("CC BY 4.0", start.sha256)
    assert torch.equal(load_instant("instant.safetensors").reader.spread, start.reader.spread)


def test_an_interruption_finishes_the_step_saves_it_and_goes_on_later(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    step = InstantTraining._step

    def interrupted(training: InstantTraining) -> dict[str, float]:
        signal.raise_signal(signal.SIGINT)
        return step(training)

    monkeypatch.setattr(train_instant, "_STEPS_BETWEEN_SAVES", 100)
    monkeypatch.setattr(InstantTraining, "_step", interrupted)
    code, err = run(capsys, "--steps", "3")
    assert code == 130
    assert "interrupted at step 1 of 3; the same command goes on from 'state.pt'" in err
    assert not Path("instant.safetensors").exists()
    monkeypatch.setattr(InstantTraining, "_step", step)
    code, err = run(capsys, "--steps", "3")
    assert code == 0
    assert "going on from step 1" in err
    assert [line["step"] for line in curve()] == [1, 3]


def test_the_weights_are_those_of_the_training() -> None:
    assert {f"{name}_weight": value for name, value in vars(InstantWeights()).items()} == vars(Weights())
    assert all(each.default is not None for each in dataclasses.fields(Fit) if each.name != "beside")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--photos", "nowhere"), "there is no folder 'nowhere'"),
        (("--steps", "0"), "--steps is 0"),
        (("--edge", "36"), "--edge is 36; it must be a multiple of 8, such as 32"),
        (("--edge", "8"), "--edge is 8"),
        (("--style-edge", "50"), "--style-edge is 50; it must be a multiple of 8, such as 48"),
        (("--calm-weight", "-1"), "--calm-weight is -1"),
        (("--output", "nowhere/instant.safetensors"), "there is no folder 'nowhere'"),
        (("--teacher", "nowhere.pth"), "nowhere.pth"),
        (("--start", "nowhere.safetensors"), "instant network 'nowhere.safetensors' is not there"),
    ],
)
def test_what_cannot_be_trained_with_is_refused(words: Sequence[str], sentence: str, capsys: Capture) -> None:
    refused(capsys, words, sentence)


def test_a_state_that_is_damaged_is_refused(capsys: Capture) -> None:
    Path("state.pt").write_bytes(b"damaged")
    refused(capsys, (), "state 'state.pt' is damaged or of another network; move it away to start anew")


def test_a_network_that_reads_another_encoder_is_refused(capsys: Capture) -> None:
    assert run(capsys, "--steps", "1")[0] == 0
    save_instant("other.safetensors", load_instant("instant.safetensors"), {"encoder_sha256": "other"})
    refused(capsys, ("--start", "other.safetensors"), "reads another vgg19-slim than this impasto has")


def test_the_slim_encoder_that_comes_along_is_what_is_read(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.encoders.load_encoder", load_encoder)
    assert run(capsys, "--steps", "1")[0] == 0
    assert instant_facts("instant.safetensors")["encoder_sha256"] == load_encoder().sha256

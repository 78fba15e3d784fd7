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

from impasto.cli import main, train_instant, training
from impasto.cli.train_instant import Fit, Weights
from impasto.encoders import Vgg, load_encoder
from impasto.networks.decoder_files import decoder_facts, load_decoder, save_decoder
from impasto.networks.style_swap import Decoder, DecoderWidths
from impasto.training.style_swap import SwapTraining, SwapWeights

FLAGS = {
    **{"--state": "state.pt", "--output": "decoder.safetensors", "--device": "cpu"},
    **{"--photos": "photos", "--paintings": "paintings", "--textures": "textures"},
    **{"--steps": "2", "--batch": "1", "--edge": "64"},
}

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to a folder with three photos, paintings and textures; save at every step."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "_STEPS_BETWEEN_SAVES", 1)
    monkeypatch.setattr("impasto.training.style_swap._CALIBRATION", 1)
    for folder in ("photos", "paintings", "textures"):
        Path(folder).mkdir()
        pixels = skimage.data.astronaut() if folder == "photos" else skimage.data.coffee()
        for number in range(3):
            Image.fromarray(pixels[number::7, ::7]).save(f"{folder}/{number}.png")


@pytest.fixture(autouse=True)
def slim(narrow: Callable[..., Vgg], monkeypatch: pytest.MonkeyPatch) -> Vgg:
    """Use a narrow encoder instead of vgg19-slim, to save time."""
    made = narrow(with_heads=True)
    made.sha256 = "abc"
    monkeypatch.setattr("impasto.encoders.load_encoder", lambda *names: load_encoder(*names) if names else made)
    return made


def run(capsys: Capture, *words: str) -> tuple[int, str]:
    """Train with some additional flags; return the exit code and the output."""
    flags = FLAGS | dict(zip(words[::2], words[1::2], strict=True))
    code = main(["train", "instant", *(word for pair in flags.items() for word in pair)])
    out, err = capsys.readouterr()
    assert out == ""
    return code, err


def refused(capsys: Capture, words: Sequence[str], sentence: str) -> None:
    """Expect exit code 2, and one sentence after what was printed before."""
    code, err = run(capsys, *words)
    *_, last = err.splitlines()
    assert code == 2
    assert last.startswith("impasto: ")
    assert sentence in last
    assert err.count("impasto: ") == 1


def curve() -> list[dict[str, float]]:
    return [json.loads(line) for line in Path("state.curve.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_decoder_is_trained_saved_and_trained_further(capsys: Capture, slim: Vgg) -> None:
    code, err = run(capsys, "--steps", "2", "--seed", "5", "--style-weight", "0.3")
    assert code == 0
    assert "step 1 of 2: " in err
    assert "photo: 2 for training, 1 held out" in err
    facts = decoder_facts("decoder.safetensors")
    assert facts | {"encoder_sha256": "abc", "seed": "5", "style_weight": "0.3", "steps": "2", "start_sha256": ""} == facts
    assert set(json.loads(facts["figures"])) == {"fine", "middle", "coarse", "style", "identity", "gamut"}
    first = load_decoder("decoder.safetensors")
    assert (first.channels, first.widths) == ((4, 5, 6), DecoderWidths())
    code, err = run(capsys, "--steps", "3", "--seed", "5")
    assert code == 0
    assert "resuming from step 2" in err
    assert load_decoder("decoder.safetensors").sha256 != first.sha256
    lines = curve()
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert {"seconds", "fine", "coarse", "identity", "held_out"} <= set(lines[0])


@pytest.mark.slow
def test_the_same_command_trains_the_same_decoder(capsys: Capture) -> None:
    found = []
    for _ in range(2):
        run(capsys, "--steps", "1")
        found.append(load_decoder("decoder.safetensors").state_dict())
        Path("state.pt").unlink()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.slow
def test_another_seed_trains_another_decoder(capsys: Capture) -> None:
    found = []
    for seed in ("0", "1"):
        run(capsys, "--steps", "1", "--seed", seed)
        found.append(load_decoder("decoder.safetensors").state_dict())
        Path("state.pt").unlink()
    assert not torch.equal(found[0]["out.weight"], found[1]["out.weight"])


@pytest.mark.slow
def test_training_starts_from_a_decoder_file(capsys: Capture) -> None:
    assert run(capsys, "--steps", "1")[0] == 0
    Path("decoder.safetensors").rename("first.safetensors")
    Path("state.pt").unlink()
    start = load_decoder("first.safetensors")
    assert run(capsys, "--start", "first.safetensors", "--steps", "1", "--learning-rate", "1e-6")[0] == 0
    made = load_decoder("decoder.safetensors")
    assert decoder_facts("decoder.safetensors")["start_sha256"] == start.sha256
    assert torch.equal(made.scale, start.scale)
    for name, value in start.named_parameters():
        torch.testing.assert_close(dict(made.named_parameters())[name], value, rtol=0, atol=1e-3)


@pytest.mark.slow
def test_two_parallel_runs_average_their_parameters(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_instant, "_STEPS_BETWEEN_SHARES", 1)
    for mine, other, seed in (("state.pt", "other.pt", "0"), ("other.pt", "state.pt", "1")):
        words = ("--state", mine, "--beside", other, "--seed", seed, "--output", f"{mine}.safetensors")
        assert run(capsys, *words, "--steps", "1")[0] == 0
    left, states = torch.load("state.shared", weights_only=True), torch.load("other.pt", weights_only=True)
    own = torch.load("other.shared", weights_only=True)
    assert not torch.equal(left["out.weight"], own["out.weight"])
    for name, value in states["network"].items():
        torch.testing.assert_close(value, (left[name] + own[name]) / 2)


@pytest.mark.slow
def test_an_interrupted_training_saves_its_step_and_can_be_resumed(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    step = SwapTraining._step

    def interrupted(training: SwapTraining) -> dict[str, float]:
        signal.raise_signal(signal.SIGINT)
        return step(training)

    monkeypatch.setattr(training, "_STEPS_BETWEEN_SAVES", 100)
    monkeypatch.setattr(SwapTraining, "_step", interrupted)
    code, err = run(capsys, "--steps", "3")
    assert code == 130
    assert "interrupted at step 1 of 3; run the same command to resume from 'state.pt'" in err
    assert not Path("decoder.safetensors").exists()
    monkeypatch.setattr(SwapTraining, "_step", step)
    code, err = run(capsys, "--steps", "3")
    assert code == 0
    assert "resuming from step 1" in err
    assert [line["step"] for line in curve()] == [1, 3]


def test_the_default_weights_of_the_flags_are_those_of_the_training() -> None:
    assert {f"{name}_weight": value for name, value in vars(SwapWeights()).items()} == vars(Weights())
    assert all(each.default is not None for each in dataclasses.fields(Fit) if each.name != "beside")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--photos", "nowhere"), "there is no folder 'nowhere'"),
        (("--steps", "0"), "--steps is 0"),
        (("--steps", "many"), "steps"),
        (("--batch", "0"), "--batch is 0"),
        (("--edge", "100"), "--edge is 100; it must be a multiple of 8, such as 96"),
        (("--edge", "56"), "--edge is 56"),
        (("--learning-rate", "0"), "--learning-rate is 0"),
        (("--seed", "-1"), "--seed is -1"),
        (("--style-weight", "-1"), "--style-weight is -1"),
        (("--edge-aware-weight", "1"), "--edge-aware-weight"),  # a flag of an earlier version
        (("--output", "nowhere/decoder.safetensors"), "there is no folder 'nowhere'"),
        (("--state", "nowhere/state.pt"), "there is no folder 'nowhere'"),
        (("--start", "nowhere.safetensors"), "decoder 'nowhere.safetensors' does not exist"),
    ],
)
def test_invalid_input_of_train_instant_is_refused(words: Sequence[str], sentence: str, capsys: Capture) -> None:
    refused(capsys, words, sentence)


def test_a_damaged_state_is_refused(capsys: Capture) -> None:
    Path("state.pt").write_bytes(b"damaged")
    refused(capsys, (), "state 'state.pt' is damaged or from another network; delete or rename it to start again")


@pytest.mark.slow
def test_a_state_of_another_decoder_is_refused(capsys: Capture) -> None:
    save_decoder("small.safetensors", Decoder((4, 5, 6), DecoderWidths(4, 4, 8, 1)), {"encoder_sha256": "abc"})
    assert run(capsys, "--start", "small.safetensors", "--steps", "1")[0] == 0
    assert load_decoder("decoder.safetensors").widths == (4, 4, 8, 1)
    refused(capsys, ("--steps", "2"), "state 'state.pt' is damaged or from another network; delete or rename it to start again")


def test_a_decoder_of_another_encoder_is_refused(capsys: Capture) -> None:
    save_decoder("other.safetensors", Decoder((4, 5, 6), DecoderWidths(4, 4, 8, 1)), {"encoder_sha256": "other"})
    refused(capsys, ("--start", "other.safetensors"), "was trained for another version of vgg19-slim; train a new decoder")


@pytest.mark.slow
def test_a_decoder_records_the_hash_of_the_shipped_encoder(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.encoders.load_encoder", load_encoder)
    assert run(capsys, "--steps", "1")[0] == 0
    assert decoder_facts("decoder.safetensors")["encoder_sha256"] == load_encoder().sha256

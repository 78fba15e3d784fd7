"""Training of the decoder, on a few small pictures and with a narrow encoder."""

import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

from impasto.encoders import Vgg
from impasto.networks.style_swap import Decoder, DecoderWidths
from impasto.training.agreement import HeldOut
from impasto.training.crops import Corpus
from impasto.training.drawing import photo_crop, style_crop
from impasto.training.style_swap import SwapStep, SwapTraining, SwapWeights

LOSSES = {"fine", "middle", "coarse", "style", "identity", "gamut"}


@pytest.fixture(autouse=True)
def _alike(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Seed torch's global generator, which initializes the weights, in every test."""
    monkeypatch.setattr("impasto.training.style_swap._CALIBRATION", 2)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    def small(pixels: object) -> Tensor:
        return torch.as_tensor(pixels).permute(2, 0, 1)[:, ::6, ::6].contiguous()

    painting, texture = small(skimage.data.coffee()), small(skimage.data.immunohistochemistry())
    return {
        "photo": [small(skimage.data.astronaut()), small(skimage.data.chelsea())],
        "painting": [painting, painting.flip(0)],
        "texture": [texture],
    }


Make = Callable[..., SwapTraining]


@pytest.fixture
def make(corpus: Corpus, narrow: Callable[..., Vgg]) -> Make:
    """Make a training of a tiny decoder; arguments as of ``SwapTraining``."""
    encoder = narrow(with_heads=True)

    def training(network: Decoder | None = None, **options: object) -> SwapTraining:
        network = network or Decoder((4, 5, 6), DecoderWidths(4, 4, 8, 1))
        numbers = {"total_steps": 4, "edge_px": 32, "batch": 2} | options
        return SwapTraining(network, encoder, corpus, **numbers)  # type: ignore[arg-type]

    return training


def run(training: SwapTraining, count: int) -> list[SwapStep]:
    return list(itertools.islice(training.steps(), count))


def copied(network: Decoder) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def alike(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


# ---------------------------------------------------------------------------------------------------- steps


@pytest.mark.slow
def test_a_step_has_its_number_learning_rate_and_finite_losses(make: Make) -> None:
    training = make()
    before = copied(training.network)
    steps = list(training.steps())
    assert [step.number for step in steps] == [1, 2, 3, 4]
    for step in steps:
        assert set(step.losses) == LOSSES
        assert np.isfinite(list(step.losses.values())).all()
        assert step.seconds > 0
    unchanged = [name for name, value in training.network.state_dict().items() if torch.equal(before[name], value)]
    assert unchanged == []
    assert all(torch.isfinite(value).all() for value in training.averaged.values())


def test_the_rate_rises_over_two_hundred_steps_and_falls_along_a_cosine(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SwapTraining, "_step", lambda _: {})
    rates = [step.learning_rate for step in make(total_steps=400, learning_rate=1.0).steps()]
    assert rates[0] == pytest.approx(1 / 200)
    assert rates[200] == pytest.approx(0.505)
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)
    assert max(rates) == max(rates[100:200])


@pytest.mark.slow
def test_training_decreases_the_objective(make: Make, corpus: Corpus) -> None:
    """Measured on fixed pictures, because every step samples new ones."""
    training, held = make(total_steps=1000, learning_rate=0.05), HeldOut.draw(corpus, 32, 5)
    objectives, identity = [], []
    for count in (1, 40):
        run(training, count)
        found = training.held_out_losses(held)
        objectives.append(float(training.weights.objective({name: torch.tensor(loss) for name, loss in found.items()})))
        identity.append(found["identity"])
    assert objectives[1] < 0.8 * objectives[0]
    assert identity[1] < 0.8 * identity[0]


def test_photos_are_decoded_in_features_of_styles_and_one_style_in_its_own(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.training.style_swap.has_fast_bf16", lambda _: False)
    training = make()
    photos, styles = (
        torch.cat([draw(training.corpus, 32, training.random) for _ in range(2)]) for draw in (photo_crop, style_crop)
    )
    given: list[Tensor] = []

    def decoded(*features: Tensor) -> Tensor:
        given.extend(features)
        return training.network(*features)  # type: ignore[no-any-return]

    training._losses(decoded, photos, styles, itself=1)  # type: ignore[arg-type]
    wanted = training.encoder(styles, ("relu1_1", "relu2_1", "relu3_1"))
    for found, features in zip(given, wanted.values(), strict=True):
        assert found.shape == (3, *features.shape[1:])
        torch.testing.assert_close(found[2], features[1])
    for swapped, own in zip(given[2], wanted["relu3_1"], strict=False):
        gaps = torch.cdist(swapped.flatten(1).T, own.flatten(1).T)
        assert float(gaps.min(1).values.max()) < 1e-2  # each position of the photo has the features of one of the style
        assert not torch.equal(swapped, own)


def test_the_encoder_is_not_modified(make: Make) -> None:
    training = make()
    before = {name: value.clone() for name, value in training.encoder.state_dict().items()}
    run(training, 2)
    assert alike(before, training.encoder.state_dict())
    assert all(parameter.grad is None for parameter in training.encoder.parameters())


@pytest.mark.slow
def test_the_average_approaches_the_network(make: Make) -> None:
    training = make()
    list(training.steps())
    network = training.averaged_network()
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert alike(training.averaged, network.state_dict())
    assert not alike(training.averaged, training.network.state_dict())


def test_a_step_whose_gradient_is_not_finite_changes_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    training = make()
    run(training, 1)
    before, losses = copied(training.network), training._losses
    monkeypatch.setattr(training, "_losses", lambda *a, **k: {name: torch.inf * loss for name, loss in losses(*a, **k).items()})
    (step,) = run(training, 1)
    assert step.number == 2
    assert alike(before, training.network.state_dict())


def test_each_term_of_the_objective_has_its_weight() -> None:
    losses = {name: torch.tensor(1.0) for name in LOSSES}
    weights = SwapWeights(fine=1, middle=10, coarse=100, style=1000, identity=10_000, gamut=100_000)
    assert float(weights.objective(losses)) == 111_111
    assert float(SwapWeights(style=0).objective({"style": torch.tensor(5.0), "fine": torch.tensor(2.0)})) == pytest.approx(0.6)


@pytest.mark.slow
def test_measuring_held_out_losses_does_not_change_the_training(make: Make, corpus: Corpus) -> None:
    training = make()
    run(training, 1)
    random, before = training.random.bit_generator.state, copied(training.network)
    held = HeldOut.draw(corpus, 32, 5)
    found = training.held_out_losses(held)
    assert set(found) == LOSSES
    assert found == training.held_out_losses(held)
    assert training.random.bit_generator.state == random
    assert alike(before, training.network.state_dict())


# ---------------------------------------------------------------------------------------------------- calibration


def test_a_new_decoder_is_calibrated_to_the_features_of_styles(make: Make) -> None:
    training = make()
    run(training, 1)
    for index, layer in enumerate(("relu1_1", "relu2_1", "relu3_1")):
        features = training.encoder(training._styles(20), [layer])[layer]
        assert float(training.network.scale[index]) == pytest.approx(float(features.square().mean().sqrt()), rel=0.5)
    assert bool((training.network.spread > 0).all())
    torch.testing.assert_close(training.averaged["scale"], training.network.scale)
    torch.testing.assert_close(training.averaged["spread"], training.network.spread)


def test_a_decoder_that_was_trained_before_keeps_its_scale(make: Make) -> None:
    first = make()
    run(first, 1)
    scale = first.network.scale.clone()
    second = make(network=first.network, seed=7)
    run(second, 1)
    assert torch.equal(second.network.scale, scale)


# ---------------------------------------------------------------------------------------------------- stopping and going on


@pytest.mark.slow
def test_a_resumed_run_is_identical_to_an_uninterrupted_one(make: Make, tmp_path: Path) -> None:
    whole = make(total_steps=6)
    run(whole, 3)
    whole.save(tmp_path / "state.pt")
    rest = [(step.number, step.learning_rate, step.losses) for step in whole.steps()]
    again = make(total_steps=6, seed=99)
    again.resume(tmp_path / "state.pt")
    assert [(step.number, step.learning_rate, step.losses) for step in again.steps()] == rest
    assert alike(whole.network.state_dict(), again.network.state_dict())
    assert alike(whole.averaged, again.averaged)
    assert whole.random.bit_generator.state == again.random.bit_generator.state
    assert [each.name for each in tmp_path.iterdir()] == ["state.pt"]


@pytest.mark.slow
def test_two_runs_average_their_parameters(make: Make, tmp_path: Path) -> None:
    here, there = make(seed=0), make(seed=1)
    run(here, 2)
    run(there, 2)
    before, other = copied(here.network), copied(there.network)
    here.share(tmp_path / "here", tmp_path / "there")
    assert alike(here.network.state_dict(), before)  # the other run has written nothing yet
    there.share(tmp_path / "there", tmp_path / "here")
    averaged = there.network.state_dict()
    assert all(torch.allclose(averaged[name], (before[name] + other[name]) / 2, atol=1e-6) for name in averaged)
    here.share(tmp_path / "here", tmp_path / "there")  # which contains the parameters of that run before averaging
    assert all(torch.allclose(here.network.state_dict()[name], averaged[name], atol=1e-6) for name in averaged)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["here", "there"]


def test_a_run_ignores_outdated_parameters_of_another_run(make: Make, tmp_path: Path) -> None:
    here, there = make(seed=0), make(seed=1)
    run(here, 1)
    run(there, 1)
    there.share(tmp_path / "there", tmp_path / "here")
    long_ago = time.time() - 100
    os.utime(tmp_path / "there", (long_ago, long_ago))
    before = copied(here.network)
    here.share(tmp_path / "here", tmp_path / "there")
    assert alike(here.network.state_dict(), before)


# ---------------------------------------------------------------------------------------------------- crops


@pytest.mark.parametrize("edge_px", [32, 96])
@pytest.mark.parametrize("draw", [photo_crop, style_crop])
def test_crops_are_squares_of_displayable_colors(draw: Callable[..., Tensor], edge_px: int, corpus: Corpus) -> None:
    random = np.random.default_rng(0)
    crops = [draw(corpus, edge_px, random) for _ in range(20)]
    for crop in crops:
        assert crop.shape == (1, 3, edge_px, edge_px)
        assert 0 <= float(crop.min()) <= float(crop.max()) <= 1
    assert all(not torch.equal(one, other) for one, other in itertools.pairwise(crops))
    again = np.random.default_rng(0)
    assert all(torch.equal(crop, draw(corpus, edge_px, again)) for crop in crops)


def test_a_uniform_picture_is_rejected_as_a_style(corpus: Corpus) -> None:
    even = torch.full_like(corpus["painting"][0], 128)
    mixed, random = {**corpus, "painting": [even, *corpus["painting"]]}, np.random.default_rng(0)
    assert min(float(style_crop(mixed, 32, random).std((2, 3)).mean()) for _ in range(30)) > 0.03


def test_a_uniform_picture_is_used_if_all_are_uniform() -> None:
    even = {kind: [torch.full((3, 40, 40), 128, dtype=torch.uint8)] for kind in ("photo", "painting", "texture")}
    assert style_crop(even, 32, np.random.default_rng(0)).shape == (1, 3, 32, 32)

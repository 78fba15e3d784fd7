"""Training of the instant network, on a few small pictures and under a narrow encoder."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

from impasto.encoders import Vgg
from impasto.networks.instant import InstantNetwork, Widths
from impasto.training.agreement import HeldOut
from impasto.training.crops import Corpus
from impasto.training.drawing import Reused
from impasto.training.instant import InstantStep, InstantTraining, InstantWeights

LOSSES = {"content", "moments", "gram", "gamut", "calm", "stability", "identity"}


@pytest.fixture(autouse=True)
def _alike(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start torch's own generator, which the first weights are drawn from, alike in every test."""
    monkeypatch.setattr("impasto.training.instant._CALIBRATION_BATCHES", 2)
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


Make = Callable[..., InstantTraining]


@pytest.fixture
def make(corpus: Corpus, narrow: Callable[..., Vgg]) -> Make:
    """Make a training of a tiny network; arguments as of ``InstantTraining``."""
    slim = narrow(with_heads=True)

    def training(judge: Vgg = slim, network: InstantNetwork | None = None, **options: object) -> InstantTraining:
        network = network or InstantNetwork((4, 5, 6, 7, 8), Widths(4, 4, 8, 8, 1), code=8)
        numbers = {"total_steps": 4, "edge_px": 32, "style_edge_px": 32, "batch": 2} | options
        return InstantTraining(network, slim, judge, corpus, **numbers)

    return training


def run(training: InstantTraining, count: int) -> list[InstantStep]:
    return list(itertools.islice(training.steps(), count))


def alike(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


# ---------------------------------------------------------------------------------------------------- steps


def test_a_step_says_its_number_its_rate_and_finite_losses(make: Make) -> None:
    training = make()
    before = {name: value.clone() for name, value in training.network.state_dict().items()}
    steps = list(training.steps())
    assert [step.number for step in steps] == [1, 2, 3, 4]
    assert [set(step.losses) for step in steps] == [LOSSES, *[LOSSES - {"stability", "identity"}] * 3]
    for step in steps:
        assert torch.isfinite(torch.tensor(list(step.losses.values()))).all()
        assert step.seconds > 0
    changed = [name for name, value in training.network.named_parameters() if not torch.equal(before[name], value)]
    assert len(changed) == len(list(training.network.parameters()))
    assert all(torch.isfinite(value).all() for value in training.averaged.values())


def test_the_rate_rises_over_two_hundred_steps_and_falls_along_a_cosine(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InstantTraining, "_step", lambda _: {})
    rates = [step.learning_rate for step in make(total_steps=400, learning_rate=1.0).steps()]
    assert rates[0] == pytest.approx(1 / 200)
    assert rates[200] == pytest.approx(0.5)
    assert rates[-1] < 1e-4
    assert max(rates) == max(rates[100:200])


def test_training_descends_the_objective(make: Make, corpus: Corpus) -> None:
    """Measured on pictures that stay the same, since every step has its own."""
    training, held = make(total_steps=1000, learning_rate=0.05), HeldOut.draw(corpus, 32, 5)
    weights, objectives = InstantWeights(), []
    for count in (1, 40):
        run(training, count)
        found = training.held_out_losses(held)
        objectives.append(found["moments"] + weights.gram * found["gram"] + weights.content * found["content"])
    assert objectives[1] < 0.9 * objectives[0]


def test_it_trains_under_another_loss_network_too(make: Make, narrow: Callable[..., Vgg]) -> None:
    training = make(judge=narrow())
    (step,) = run(training, 1)
    assert torch.isfinite(torch.tensor(list(step.losses.values()))).all()


def test_the_loss_networks_stay_as_they_are(make: Make) -> None:
    training = make()
    before = {name: value.clone() for name, value in training.slim.state_dict().items()}
    run(training, 2)
    assert alike(before, training.slim.state_dict())
    assert all(parameter.grad is None for parameter in training.slim.parameters())


def test_the_average_follows_the_network(make: Make) -> None:
    training = make()
    list(training.steps())
    network = training.averaged_network()
    assert not network.training
    assert alike(training.averaged, network.state_dict())
    assert not alike(training.averaged, training.network.state_dict())


def test_an_exploding_gradient_leads_back_to_the_average(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    training = make(total_steps=3)
    run(training, 2)
    monkeypatch.setattr("impasto.training.instant._EXPLOSION", 0.0)
    monkeypatch.setattr("impasto.training.instant._FIRST_STEPS", 1)
    expected = {name: value.clone() for name, value in training.averaged.items()}
    run(training, 1)
    assert alike(training.network.state_dict(), expected)


def test_two_runs_meet_half_way(make: Make, tmp_path: Path) -> None:
    here, there = make(seed=0), make(seed=1)
    run(here, 2)
    run(there, 2)
    before = {name: value.clone() for name, value in here.network.state_dict().items()}
    other = {name: value.clone() for name, value in there.network.state_dict().items()}
    here.share(tmp_path / "here", tmp_path / "there")
    assert alike(here.network.state_dict(), before)  # nobody is there yet
    there.share(tmp_path / "there", tmp_path / "here")
    met = there.network.state_dict()
    assert all(torch.allclose(met[name], (before[name] + other[name]) / 2, atol=1e-6) for name in met)


def test_each_part_of_the_objective_weighs_what_it_should() -> None:
    losses = {name: torch.tensor(1.0) for name in LOSSES}
    weights = InstantWeights(content=10, gram=100, identity=1000, stability=10_000, calm=100_000)
    assert float(weights.objective(losses)) == 111_110 + 2


def test_held_out_losses_are_measured_without_a_trace(make: Make, corpus: Corpus) -> None:
    training = make()
    run(training, 1)
    random, before = training.random.bit_generator.state, {k: v.clone() for k, v in training.network.state_dict().items()}
    held = HeldOut.draw(corpus, 32, 5)
    found = training.held_out_losses(held)
    assert set(found) == {"content", "moments", "gram", "identity"}
    assert found == training.held_out_losses(held)
    assert training.random.bit_generator.state == random
    assert alike(before, training.network.state_dict())


# ---------------------------------------------------------------------------------------------------- stopping and going on


def test_going_on_gives_the_numbers_that_not_stopping_would_have_given(make: Make, tmp_path: Path) -> None:
    whole = make()
    run(whole, 2)
    whole.save(tmp_path / "state.pt")
    rest = [step.losses for step in whole.steps()]
    again = make(seed=99)
    again.resume(tmp_path / "state.pt")
    assert [step.losses for step in again.steps()] == rest
    assert alike(whole.network.state_dict(), again.network.state_dict())
    assert alike(whole.averaged, again.averaged)
    assert whole.random.bit_generator.state == again.random.bit_generator.state
    assert not (tmp_path / "state.pt.part").exists()


def test_the_rate_goes_on_where_it_stood(make: Make, tmp_path: Path) -> None:
    whole = make()
    run(whole, 2)
    whole.save(tmp_path / "state.pt")
    again = make()
    again.resume(tmp_path / "state.pt")
    assert [step.learning_rate for step in again.steps()] == [step.learning_rate for step in whole.steps()]


def test_the_reader_is_centred_on_the_styles_once(make: Make) -> None:
    first = make()
    run(first, 1)
    reader = first.network.reader
    assert not torch.equal(reader.spread, torch.ones_like(reader.spread))
    centre, spread = reader.centre.clone(), reader.spread.clone()
    second = make(network=first.network, seed=7)
    run(second, 1)
    assert torch.equal(reader.centre, centre)
    assert torch.equal(reader.spread, spread)


def test_the_average_starts_from_the_reader_as_it_is_centred(make: Make) -> None:
    training = make()
    run(training, 1)
    torch.testing.assert_close(training.averaged["reader.spread"], training.network.reader.spread)


@pytest.mark.parametrize("uses", [1, 3])
def test_a_crop_is_used_as_often_as_asked(uses: int) -> None:
    made: list[int] = []

    def make() -> int:
        made.append(len(made))
        return made[-1]

    drawing = Reused(make, uses, np.random.default_rng(0), kept=5)
    drawn = [drawing.draw() for _ in range(3000)]
    counts = np.bincount(drawn)
    assert set(made) == set(drawn)
    assert counts.max() == uses
    assert (counts < uses).sum() <= 5


def test_crops_that_are_used_again_train_too(make: Make) -> None:
    training = make(uses=2, total_steps=3)
    assert all(np.isfinite(list(step.losses.values())).all() for step in training.steps())


def test_an_even_picture_is_not_taken_for_a_style(make: Make, corpus: Corpus) -> None:
    training = make()
    even = torch.full_like(corpus["painting"][0], 128)
    training.corpus = {**corpus, "painting": [even, *corpus["painting"]]}
    styles = training._draw_styles(30)
    assert styles.shape == (30, 3, 32, 32)
    assert styles.std((2, 3)).mean(1).min() > 0.03

"""The engine: minimization, reported steps, time limits, and recovery from invalid losses."""

import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import impasto.optim.engine
from impasto.encoders import Vgg
from impasto.features.statistics import moments
from impasto.losses.features import PIXELS, ContentLoss, Loss, Objective, StyleLoss
from impasto.losses.picture import Gamut
from impasto.optim.adam import Adam, MultigridAdam
from impasto.optim.engine import (
    Average,
    Guard,
    Momentum,
    OptimizerSettings,
    Plan,
    Size,
    Step,
    falling,
    improves_less_than,
    make_optimizer,
    optimize,
    pyramid,
    restore_momentum,
    scale_for,
    set_rate,
)
from impasto.options import Canvas, Decay, Optimizer
from impasto.tensors import Features, Image

LAYERS = ("relu1_1", "relu3_1")
PLAIN = OptimizerSettings(canvas="pixels", averaging=0.0, decay="never")


def encode(image: Image, layers: frozenset[str]) -> Features:
    """Encode a picture by means over 1 and 4 pixels."""
    means = {"relu1_1": image, "relu3_1": torch.nn.functional.avg_pool2d(image, 4)}
    return {layer: means[layer] for layer in layers}


def picture(seed: int = 0, height: int = 16, width: int = 24) -> Image:
    return torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(seed))


def towards(target: Image) -> Objective:
    return 1 / target.numel() * ContentLoss({"relu1_1": target}, {"relu1_1": 1.0})


@dataclass(frozen=True)
class Broken(Loss):
    """The mean square of the pixels, with other values at some evaluations."""

    name: ClassVar[str] = "broken"
    wrong: Mapping[int, float]
    evaluations: list[int] = field(default_factory=list)

    @property
    def layers(self) -> frozenset[str]:
        return frozenset((PIXELS,))

    def __call__(self, features: Features) -> Tensor:
        self.evaluations.append(1)
        return features[PIXELS].square().mean() * self.wrong.get(len(self.evaluations), 1.0)


# ---------------------------------------------------------------------------------------------------- descending


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", get_args(Optimizer))
@pytest.mark.parametrize("canvas", ["pixels", "soft-chroma", "laplacian"])
def test_every_optimizer_decreases_the_loss_on_every_parametrization(optimizer: Optimizer, canvas: Canvas) -> None:
    rate = {"adam": 0.05, "multigrid-adam": 0.03, "lbfgs": 1.0, "rmsprop": 0.005}[optimizer]
    optimizer_settings = replace(PLAIN, optimizer=optimizer, canvas=canvas, learning_rate=rate)
    steps = list(optimize(towards(picture(1)), picture(0), 20, encode=encode, optimizer_settings=optimizer_settings))
    assert [step.number for step in steps] == list(range(1, 21))
    assert steps[-1].loss < 0.5 * steps[0].loss
    assert all(step.image.shape == (1, 3, 16, 24) and bool(((step.image >= 0) & (step.image <= 1)).all()) for step in steps)


def test_lbfgs_minimizes_a_quadratic_in_a_few_steps() -> None:
    optimizer_settings = replace(PLAIN, optimizer="lbfgs", learning_rate=1.0)
    *_, last = optimize(towards(picture(1)), picture(0), 8, encode=encode, optimizer_settings=optimizer_settings)
    torch.testing.assert_close(last.image, picture(1), atol=1e-3, rtol=0)


def test_the_losses_of_a_step_belong_to_the_picture_before_it() -> None:
    first = next(optimize(towards(picture(1)), picture(0), 1, encode=encode, optimizer_settings=PLAIN))
    assert first.losses == {"content": pytest.approx(float((picture(0) - picture(1)).square().mean()))}
    assert first.loss == sum(first.losses.values())
    assert not torch.equal(first.image, picture(0))


def test_the_initial_picture_is_not_modified() -> None:
    start = picture(0)
    list(optimize(towards(picture(1)), start, 3, encode=encode, optimizer_settings=PLAIN))
    assert torch.equal(start, picture(0))
    assert not start.requires_grad


def test_the_picture_of_a_step_is_not_modified_by_later_steps() -> None:
    steps = optimize(towards(picture(1)), picture(0), 3, encode=encode, optimizer_settings=PLAIN)
    first = next(steps).image
    kept = first.clone()
    next(steps)
    assert torch.equal(first, kept)


def test_pixels_stay_in_range_with_adam() -> None:
    beyond = towards(torch.full((1, 3, 16, 24), 2.0))
    *_, last = optimize(beyond, picture(0), 60, encode=encode, optimizer_settings=replace(PLAIN, learning_rate=0.1))
    assert last.loss == pytest.approx(1.0)  # against 2, from pixels held at 1


def test_the_engine_requests_only_the_layers_of_the_objective() -> None:
    requested: list[frozenset[str]] = []

    def recording(image: Image, layers: frozenset[str]) -> Features:
        requested.append(layers)
        return encode(image, layers)

    list(optimize(towards(picture(1)) + Gamut(), picture(0), 2, encode=recording, optimizer_settings=PLAIN))
    assert requested == [frozenset(("relu1_1",))] * 2


@pytest.mark.slow
def test_early_stop_ends_a_size_that_no_longer_improves() -> None:
    optimizer_settings = replace(PLAIN, learning_rate=0.05, min_improvement=0.2)
    steps = list(optimize(towards(picture(1)), picture(0), 400, encode=encode, optimizer_settings=optimizer_settings))
    assert 10 < len(steps) < 400
    assert steps[-1].loss < 0.1 * steps[0].loss
    without_early_stop = replace(optimizer_settings, min_improvement=0.0)
    assert (
        len(list(optimize(towards(picture(1)), picture(0), 400, encode=encode, optimizer_settings=without_early_stop))) == 400
    )


def test_improvement_is_measured_over_ten_steps() -> None:
    assert not improves_less_than(0.1, [1.0] * 10)  # too early to tell
    assert improves_less_than(0.1, [1.0] * 11)
    assert not improves_less_than(0.1, [1.0 - 0.02 * k for k in range(11)])
    assert improves_less_than(0.1, [1.0 - 0.005 * k for k in range(11)])
    assert not improves_less_than(0.1, [-1.0 - 0.02 * k for k in range(11)])  # a negative loss can improve too


def test_the_learning_rate_warms_up_stays_constant_and_decays() -> None:
    lengths = [falling(number, 100) for number in range(1, 101)]
    assert lengths[:5] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert lengths[5:49] == [1.0] * 44
    assert lengths[-1] == pytest.approx(0.15)
    assert lengths[49:] == sorted(lengths[49:], reverse=True)


def test_the_learning_rate_of_a_resumed_painting_continues_and_is_lower() -> None:
    """The first steps of Adam without its state are noise."""
    whole, resumed = [falling(number, 100) for number in range(1, 101)], [falling(number, 30, 70) for number in range(1, 31)]
    assert resumed[:4] == pytest.approx([rate * rise / 8 for rise, rate in enumerate(whole[70:74], 1)])
    assert resumed[4:] == pytest.approx([rate / 2 for rate in whole[74:]])


@pytest.mark.parametrize("optimizer", get_args(Optimizer))
@pytest.mark.parametrize("weight", [2.0**-12, 2.0**40])
def test_scaling_the_objective_does_not_change_the_picture(optimizer: Optimizer, weight: float) -> None:
    rate = {"adam": 0.05, "multigrid-adam": 0.03, "lbfgs": 1.0, "rmsprop": 0.005}[optimizer]
    optimizer_settings = replace(PLAIN, optimizer=optimizer, learning_rate=rate)
    sizes = (((16, 24), 6), ((32, 48), 6))  # the state of Adam goes from one size to the other
    objectives = {size: towards(picture(1, *size)) for size, _ in sizes}
    plain, weighted = (
        list(
            pyramid(
                lambda size, by=by: by * objectives[size],
                picture(0),
                sizes,
                encode=encode,
                optimizer_settings=optimizer_settings,
            )
        )
        for by in (1.0, weight)
    )
    torch.testing.assert_close(weighted[-1].image, plain[-1].image)
    assert weighted[-1].loss == pytest.approx(weight * plain[-1].loss)  # the reported losses are not scaled


def test_gradients_of_any_size_are_scaled_to_about_a_hundredth() -> None:
    for size in (1e-6, 0.3, 1e12):
        scaled = size * scale_for([torch.full((3,), size), torch.full((2, 2), -size)])
        assert 0.01 / math.sqrt(2) <= scaled <= 0.01 * math.sqrt(2)
    assert scale_for([torch.zeros(3)]) == scale_for([torch.tensor([math.inf])]) == 1
    assert scale_for([torch.full((3,), 1e-12)]) == 2.0**20  # which is rounding, and stays small


def test_the_first_step_of_lbfgs_moves_a_large_picture() -> None:
    start = torch.full((1, 3, 300, 400), 0.5)
    optimizer_settings = replace(PLAIN, optimizer="lbfgs", learning_rate=1.0)
    (step,) = optimize(1e12 * towards(picture(1, 300, 400)), start, 1, encode=encode, optimizer_settings=optimizer_settings)
    assert 0.005 < float((step.image - start).square().mean().sqrt()) < 0.5


@dataclass(frozen=True)
class Cliff(Loss):
    """Minimal at pixels of one half; during some evaluations, large everywhere except at the start."""

    name: ClassVar[str] = "cliff"
    blocked: range
    evaluations: list[int] = field(default_factory=list)

    @property
    def layers(self) -> frozenset[str]:
        return frozenset((PIXELS,))

    def __call__(self, features: Features) -> Tensor:
        self.evaluations.append(1)
        away = 10.0 if len(self.evaluations) in self.blocked else 0.0
        return (features[PIXELS] - 0.5).square().mean() + away * float((features[PIXELS] - picture()).abs().sum() > 0)


def test_lbfgs_discards_its_history_and_retries_if_it_is_stuck() -> None:
    optimizer_settings = replace(PLAIN, optimizer="lbfgs", learning_rate=1.0)
    first, *_, last = optimize(1 * Cliff(range(2, 27)), picture(), 6, encode=encode, optimizer_settings=optimizer_settings)
    assert torch.equal(first.image, picture())
    assert float((last.image - 0.5).abs().max()) < 0.01


# ---------------------------------------------------------------------------------------------------- what does not fall


@dataclass(frozen=True)
class Flat(Loss):
    """A constant whose gradient is not zero."""

    name: ClassVar[str] = "flat"
    value: float = 1.0

    @property
    def layers(self) -> frozenset[str]:
        return frozenset((PIXELS,))

    def __call__(self, features: Features) -> Tensor:
        pixels = features[PIXELS]
        return (pixels - pixels.detach()).sum() + self.value


def failures(objective: Objective, steps: int, **changes: Any) -> list[str]:
    """Return the failure of the last step, if any."""
    found = list(optimize(objective, picture(), steps, encode=encode, optimizer_settings=replace(PLAIN, **changes)))
    assert not any(step.failure for step in found[:-1])
    return [found[-1].failure] if found[-1].failure else []


def test_an_objective_that_does_not_decrease_is_reported_at_the_last_step() -> None:
    (message,) = failures(1 * Flat(), 10)
    assert message.startswith("the objective did not decrease: 1 at the start and 1 after 10 steps; try another optimizer")
    assert failures(1 * Flat(-3.0), 12)
    assert not failures(1 * Flat(), 9)  # too few steps to check
    assert not failures(towards(picture(1)), 10)
    assert not failures(-1 * towards(picture(1)), 10)  # below zero, and falling


def test_an_objective_that_is_never_finite_is_reported() -> None:
    (message,) = failures(1 * Broken(dict.fromkeys(range(1, 20), math.nan)), 12)
    assert "not finite in any of 12 steps" in message


def test_an_optimal_start_is_not_a_failure() -> None:
    assert not failures(towards(picture(0)), 20)  # adam moves away from it
    assert not failures(towards(picture(0)), 20, optimizer="lbfgs", learning_rate=1.0)
    nearly = (picture(0) + 0.02 * picture(1)).clamp(0, 1)
    assert not failures(towards(nearly), 20, learning_rate=0.1)


def test_the_failure_check_uses_the_averaged_picture() -> None:
    jumping = replace(PLAIN, averaging=0.99, learning_rate=0.6, canvas="soft-chroma", optimizer="adam")
    *_, last = optimize(towards(picture(1)), picture(0), 60, encode=encode, optimizer_settings=jumping)
    assert last.failure == ""


def test_a_run_fails_if_the_objective_decreased_at_no_size() -> None:
    good, flat = towards(picture(1)), 1 * Flat()

    def failed_steps(objectives: Sequence[Objective], counts: Sequence[int], seconds: float = 0.0) -> list[int]:
        sizes = [((16, 24), count) for count in counts]
        making = iter(objectives)
        steps = pyramid(lambda size: next(making), picture(), sizes, encode=encode, optimizer_settings=PLAIN, seconds=seconds)
        return [step.number for step in steps if step.failure]

    assert failed_steps([flat, flat], [10, 10]) == [20]
    assert failed_steps([flat, flat], [10, 2]) == [12]  # two steps are not checked, ten are
    assert failed_steps([good, flat], [10, 10]) == failed_steps([flat, good], [10, 10]) == []
    assert failed_steps([flat, flat], [2, 2]) == []
    assert failed_steps([flat], [1_000_000], seconds=0.2) == []  # cut short


# ---------------------------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 1e6])
@pytest.mark.parametrize("optimizer", ["adam", "multigrid-adam", "lbfgs"])
def test_an_invalid_loss_halves_the_step_and_restores_the_last_good_picture(wrong: float, optimizer: Optimizer) -> None:
    optimizer_settings = replace(PLAIN, optimizer=optimizer, learning_rate=0.02, canvas="soft-chroma")
    counting = Broken({})
    list(optimize(1 * counting, picture(), 2, encode=encode, optimizer_settings=optimizer_settings))
    evaluation = len(counting.evaluations) + 1  # the first of the third step: L-BFGS evaluates more often than it steps
    steps = list(optimize(1 * Broken({evaluation: wrong}), picture(), 12, encode=encode, optimizer_settings=optimizer_settings))
    (bad,) = [number for number, step in enumerate(steps) if step.note]
    assert "restored the last good picture and halved the learning rate to 0.01" in steps[bad].note
    assert steps[-1].loss < steps[0].loss
    assert all(bool(step.image.isfinite().all()) for step in steps)
    assert [step.number for step in steps] == list(range(1, 13))


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 1e6])
@pytest.mark.parametrize("evaluation", [2, 3, 4])
def test_the_line_search_of_lbfgs_survives_an_invalid_loss(wrong: float, evaluation: int) -> None:
    optimizer_settings = replace(PLAIN, optimizer="lbfgs", learning_rate=0.02, canvas="soft-chroma")
    steps = list(optimize(1 * Broken({evaluation: wrong}), picture(), 12, encode=encode, optimizer_settings=optimizer_settings))
    assert steps[-1].loss < 0.9 * steps[0].loss
    assert bool(steps[-1].image.isfinite().all())


def test_only_a_picture_with_a_valid_loss_is_restored() -> None:
    steps = list(optimize(1 * Broken({3: math.nan}), picture(), 4, encode=encode, optimizer_settings=PLAIN))
    # the loss of the picture after step 2 was NaN, so painting continues from the picture after step 1
    assert torch.equal(steps[2].image, steps[0].image)
    assert steps[3].losses == pytest.approx(steps[1].losses)


def test_the_average_excludes_pictures_with_an_invalid_loss() -> None:
    optimizer_settings = replace(PLAIN, averaging=0.9)
    steps = list(optimize(1 * Broken({4: math.nan}), picture(), 4, encode=encode, optimizer_settings=optimizer_settings))
    plain = list(optimize(1 * Broken({}), picture(), 2, encode=encode, optimizer_settings=PLAIN))
    torch.testing.assert_close(steps[3].image, plain[1].image)


@pytest.mark.parametrize("last", [5, 6])
def test_painting_continues_after_a_size_that_ends_with_an_invalid_loss(last: int) -> None:
    sizes = (((16, 24), 5), ((32, 48), 4))
    objective = 1 * Broken({last: math.nan})
    steps = list(pyramid(lambda size: objective, picture(), sizes, encode=encode, optimizer_settings=PLAIN))
    assert len(steps) == 9
    assert steps[-1].loss < steps[0].loss


def test_a_loss_that_is_always_nan_returns_the_initial_picture() -> None:
    never = 1 * Broken(dict.fromkeys(range(1, 20), math.nan))
    steps = list(optimize(never, picture(), 4, encode=encode, optimizer_settings=PLAIN))
    assert all(step.note for step in steps)
    torch.testing.assert_close(steps[-1].image, picture())


def test_the_guard_rejects_a_hundredfold_loss_or_an_invalid_picture() -> None:
    planes = [torch.zeros(2)]
    guard = Guard(planes)
    assert not guard.is_bad({"a": 1e9}, planes)  # the first loss is the reference for all others
    guard.keep(planes, {"a": 1.0, "b": 1.0})
    assert not guard.is_bad({"a": 199.0}, planes)
    assert guard.is_bad({"a": 201.0}, planes)
    assert guard.is_bad({"a": -201.0}, planes)
    assert guard.is_bad({"a": 1.0}, [torch.tensor([math.nan])])


# ---------------------------------------------------------------------------------------------------- the average


@given(st.floats(0.0, 0.999), st.floats(-5, 5), st.integers(1, 30))
def test_the_average_of_equal_pictures_is_that_picture(decay: float, level: float, count: int) -> None:
    average = Average([torch.full((3,), 77.0)], decay)  # where painting started does not count
    for _ in range(count):
        average.update([torch.full((3,), level)])
    torch.testing.assert_close(average.planes[0], torch.full((3,), level))


@given(st.floats(0.0, 0.999), st.lists(st.floats(-5, 5), min_size=1, max_size=30))
def test_the_average_is_between_the_pictures(decay: float, levels: list[float]) -> None:
    average = Average([torch.zeros(1)], decay)
    for level in levels:
        average.update([torch.full((1,), level)])
    assert min(levels) - 1e-5 <= float(average.planes[0]) <= max(levels) + 1e-5


def test_averaging_reduces_oscillation_and_0_returns_the_last_picture() -> None:
    averages = [Average([torch.zeros(1)], decay) for decay in (0.9, 0.0)]
    for number in range(100):
        for average in averages:
            average.update([torch.full((1,), float(number % 2))])
    assert float(averages[0].planes[0]) == pytest.approx(0.5, abs=0.1)
    assert float(averages[1].planes[0]) == 1.0


# ---------------------------------------------------------------------------------------------------- coarse to fine

SIZES: tuple[tuple[Size, int], ...] = (((8, 12), 3), ((12, 18), 2), ((16, 24), 4))


def painted(
    optimizer_settings: OptimizerSettings = PLAIN, seconds: float = 0.0, sizes: tuple[tuple[Size, int], ...] = SIZES
) -> list[Step]:
    target = picture(1)

    def objective_at(size: Size) -> Objective:
        return towards(torch.nn.functional.interpolate(target, size=size, mode="bilinear", antialias=True))

    return list(pyramid(objective_at, picture(0), sizes, encode=encode, optimizer_settings=optimizer_settings, seconds=seconds))


def test_every_size_has_its_number_of_steps_and_the_last_step_has_the_total() -> None:
    steps = painted()
    assert [(step.scale, step.size) for step in steps] == [(0, (8, 12))] * 3 + [(1, (12, 18))] * 2 + [(2, (16, 24))] * 4
    assert [tuple(step.image.shape[-2:]) for step in steps] == [step.size for step in steps]
    assert [step.number for step in steps] == list(range(1, 10))
    assert {step.total for step in steps} == {9}
    assert steps[-1].seconds_left == 0
    assert [step.seconds for step in steps] == sorted(step.seconds for step in steps)


def test_a_run_is_bit_identical_when_repeated() -> None:
    optimizer_settings = replace(PLAIN, averaging=0.9, canvas="soft-chroma", decay="each")
    for one, other in zip(painted(optimizer_settings), painted(optimizer_settings), strict=True):
        assert torch.equal(one.image, other.image)
        assert one.losses == other.losses


@pytest.mark.parametrize(("decay", "falls"), [("last", [False, True]), ("each", [True, True]), ("never", [False, False])])
def test_the_learning_rate_decays_where_the_option_says(
    decay: Decay, falls: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    monkeypatch.setattr(impasto.optim.engine, "set_rate", lambda optimizer, rate: rates.append(rate))
    optimizer_settings = replace(PLAIN, decay=decay, learning_rate=1.0)
    list(
        pyramid(
            lambda size: towards(picture(1)),
            picture(0),
            [((16, 24), 20), ((16, 24), 20)],
            encode=encode,
            optimizer_settings=optimizer_settings,
        )
    )
    assert [rates[number] < 1.0 for number in (19, 39)] == falls
    assert max(rates) == 1.0


def test_each_size_starts_from_the_picture_of_the_previous_size() -> None:
    def objective_at(size: Size) -> Objective:
        return 1 * Gamut()  # nothing to improve: the picture must not change

    start = picture(0, 8, 12)
    *_, last = pyramid(objective_at, start, (((8, 12), 2), ((16, 24), 2)), encode=encode, optimizer_settings=PLAIN)
    expected = torch.nn.functional.interpolate(start, size=(16, 24), mode="bicubic", antialias=True).clamp(0, 1)
    torch.testing.assert_close(last.image, expected)


def test_totals_are_correct_if_a_size_ends_early() -> None:
    optimizer_settings = replace(PLAIN, learning_rate=0.05, min_improvement=0.2)
    steps = painted(optimizer_settings, sizes=(((8, 12), 300), ((16, 24), 300)))
    first = [step for step in steps if step.scale == 0]
    assert len(first) < 300
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert {step.total for step in first} == {600}
    assert {step.total for step in steps if step.scale == 1} == {len(first) + 300}


def test_momentum_is_passed_on_resized_and_scaled_by_the_number_of_pixels() -> None:
    plane = torch.zeros(1, 1, 4, 4, requires_grad=True)
    small = {"step": torch.tensor(7.0), "exp_avg": torch.full((1, 1, 2, 2), 8.0), "exp_avg_sq": torch.full((1, 1, 2, 2), 32.0)}
    optimizer = make_optimizer([plane], PLAIN)
    restore_momentum(optimizer, [plane], Momentum([small]))
    state = optimizer.state[plane]
    assert float(state["step"]) == 7
    assert state["exp_avg"].shape == state["exp_avg_sq"].shape == (1, 1, 4, 4)
    scaled = make_optimizer([plane], PLAIN)
    restore_momentum(scaled, [plane], Momentum([small], scale=0.5), scale=4.0)
    torch.testing.assert_close(scaled.state[plane]["exp_avg"], 8 * state["exp_avg"])
    torch.testing.assert_close(scaled.state[plane]["exp_avg_sq"], 64 * state["exp_avg_sq"])
    ratio = state["exp_avg"].square() / state["exp_avg_sq"]
    torch.testing.assert_close(ratio, torch.full_like(ratio, 8.0**2 / 32))  # so a step is as long as it was
    optimizer.zero_grad()


def test_stopping_the_iteration_cancels_painting() -> None:
    requested: list[Size] = []

    def objective_at(size: Size) -> Objective:
        requested.append(size)
        return towards(torch.zeros(1, 3, *size))

    steps = pyramid(objective_at, picture(), SIZES, encode=encode, optimizer_settings=PLAIN)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert requested == [(8, 12)]


@pytest.mark.slow
def test_painting_with_a_real_network_approaches_the_style(narrow: type[Vgg], photo: Image) -> None:
    vgg = narrow()
    with torch.no_grad():
        style = {layer: moments(features) for layer, features in vgg(photo.flip(1).roll(9, 3), LAYERS).items()}
    weights = {layer: 1 / float(style[layer].gram.square().sum()) for layer in LAYERS}
    steps = list(optimize(1 * StyleLoss(style, gram=weights), photo, 25, encode=vgg, optimizer_settings=OptimizerSettings()))
    assert steps[-1].loss < 0.5 * steps[0].loss


# ---------------------------------------------------------------------------------------------------- time


class Clock:
    """A clock that advances only by explicit durations."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(impasto.optim.engine, "seconds_now", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def paint_slowly(clock: Clock, sizes: tuple[tuple[Size, int], ...], seconds: float, seconds_per_pixel: float) -> list[Step]:
    def objective_at(size: Size) -> Objective:
        return towards(torch.zeros(1, 3, *size))

    steps = []
    for step in pyramid(objective_at, picture(), sizes, encode=encode, optimizer_settings=PLAIN, seconds=seconds):
        steps.append(step)
        clock.now += seconds_per_pixel * step.size[0] * step.size[1]
    return steps


def test_a_sufficient_time_limit_changes_nothing(clock: Clock) -> None:
    assert len(paint_slowly(clock, SIZES, seconds=1e6, seconds_per_pixel=0.01)) == 9


@pytest.mark.slow
def test_a_short_time_limit_reduces_the_steps_at_every_size_to_at_least_one(clock: Clock) -> None:
    sizes = (((64, 64), 20), ((128, 128), 20), ((256, 256), 20))
    counts = {}
    for seconds in (1e6, 1000.0, 600.0, 100.0, 1.0):
        steps = paint_slowly(clock, sizes, seconds, seconds_per_pixel=0.001)
        counts[seconds] = [sum(step.scale == scale for step in steps) for scale in range(3)]
        assert steps[-1].size == (256, 256)
        assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert counts[1e6] == [20, 20, 20]
    assert [sum(each) for each in counts.values()] == sorted((sum(each) for each in counts.values()), reverse=True)
    assert counts[1000.0][2] < 20
    assert counts[1.0] == [1, 1, 1]


def test_the_time_limit_is_met_approximately(clock: Clock) -> None:
    started = clock.now
    paint_slowly(clock, (((64, 64), 20), ((128, 128), 20), ((256, 256), 20)), seconds=600, seconds_per_pixel=0.001)
    assert 400 < clock.now - started < 700


def test_a_single_size_ends_at_the_time_limit(clock: Clock) -> None:
    steps = paint_slowly(clock, (((64, 64), 1000),), seconds=10, seconds_per_pixel=0.001)
    assert len(steps) == pytest.approx(10 / 4.096, abs=2)


def placed(plan: Plan, clock: Clock, seconds: list[float], scale: int = 0) -> list[Step]:
    """Let a plan time one step after another at a size."""
    count = plan.steps_at(scale)
    steps = []
    for number, each in enumerate(seconds, 1):
        clock.now += each
        steps.append(plan.placed(Step(number, count, 0, plan.sizes[scale][0], {}, picture()), scale, count))
    return steps


def test_the_remaining_time_is_estimated_from_the_speed(clock: Clock) -> None:
    plan = Plan((((100, 100), 4), ((200, 200), 3)), seconds=0)
    step = placed(plan, clock, [14.0] * 3)[-1]  # a step of 10 000 pixels, and the constant, is 14 000
    assert (step.number, step.total, step.seconds) == (3, 7, 42.0)
    assert step.seconds_left == pytest.approx(0.001 * (14_000 + 3 * 44_000))


def test_the_time_left_is_not_told_from_fewer_than_three_steps(clock: Clock) -> None:
    first, second, third = placed(Plan((((100, 100), 9),), seconds=0), clock, [60.0, 2.0, 2.0])
    assert first.seconds_left == second.seconds_left == math.inf
    assert third.seconds_left == pytest.approx(12.0)
    first, last = placed(Plan((((100, 100), 2),), seconds=0), clock, [1.0, 1.0])
    assert (first.seconds_left, last.seconds_left) == (math.inf, 0.0)


@pytest.mark.parametrize("slow", [0, 1, 2, 5])
def test_a_step_that_had_to_wait_does_not_change_the_time_left(clock: Clock, slow: int) -> None:
    seconds = [2.0] * 6
    seconds[slow] = 90.0
    steps = placed(Plan((((100, 100), 10),), seconds=0), clock, seconds)
    assert [step.seconds_left for step in steps[2:]] == pytest.approx([14.0, 12.0, 10.0, 8.0])


def test_the_first_steps_at_a_size_are_judged_by_the_size_before(clock: Clock) -> None:
    plan = Plan((((100, 100), 4), ((200, 200), 6)), seconds=0)
    placed(plan, clock, [14.0] * 4)
    steps = placed(plan, clock, [400.0, 20.0, 22.0, 22.0], scale=1)
    assert [step.seconds_left for step in steps] == pytest.approx([5 * 44.0, 4 * 44.0, 3 * 22.0, 2 * 22.0])


def test_the_time_left_follows_a_machine_that_becomes_slower(clock: Clock) -> None:
    steps = placed(Plan((((100, 100), 100),), seconds=0), clock, [1.0] * 20 + [3.0] * 10)
    assert steps[-1].seconds_left == pytest.approx(70 * 3.0)


# ---------------------------------------------------------------------------------------------------- adam


@pytest.mark.parametrize("betas", [(0.9, 0.9), (0.94, 0.999), (0.0, 0.5)])
def test_adam_agrees_with_torch(betas: tuple[float, float]) -> None:
    ours, theirs = picture(2).requires_grad_(), picture(2).requires_grad_()
    adam, reference = Adam([ours], lr=0.1, betas=betas), torch.optim.Adam([theirs], lr=0.1, betas=betas)
    for number in range(20):
        for optimizer, plane in ((adam, ours), (reference, theirs)):
            set_rate(optimizer, 0.1 / (1 + number))
            optimizer.zero_grad()
            (plane - picture(3)).abs().pow(1.5).sum().backward()
        adam.step(lambda: torch.zeros(()))
        reference.step()
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    state, known = adam.state[ours], reference.state[theirs]
    torch.testing.assert_close(state["exp_avg"], known["exp_avg"], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(state["exp_avg_sq"], known["exp_avg_sq"], rtol=1e-5, atol=1e-7)
    assert state["step"] == known["step"] == 20


def test_adam_does_not_change_planes_without_gradients() -> None:
    moved, still = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    adam = Adam([moved, still], lr=0.1, betas=(0.9, 0.9))
    adam.zero_grad()
    moved.sum().backward()
    assert adam.step(lambda: torch.tensor(3.0)) == 3
    assert still.tolist() == [1, 1]
    assert moved.tolist() == pytest.approx([0.9, 0.9])
    adam.zero_grad()
    assert moved.grad is None


def moved(kind: type[Adam], gradients: Sequence[Tensor]) -> Tensor:
    """Let an optimizer follow gradients from a plane of zeros."""
    plane = torch.zeros_like(gradients[0], requires_grad=True)
    adam = kind([plane], lr=1.0, betas=(0.9, 0.9))
    for gradient in gradients:
        plane.grad = gradient
        adam.step(lambda: torch.zeros(()))
    return plane.detach()


def test_multigrid_adam_moves_an_area_whose_pixel_gradients_differ() -> None:
    random = torch.Generator().manual_seed(0)
    gradients = [1 + 10 * torch.randn(1, 1, 64, 64, generator=random) for _ in range(20)]
    pixels, grids = float(moved(Adam, gradients).mean()), float(moved(MultigridAdam, gradients).mean())
    assert grids < 5 * pixels < 0


def test_multigrid_adam_equals_nesterov_adam_if_coarse_gradients_are_zero() -> None:
    checks = 2.0 * ((torch.arange(32)[:, None] + torch.arange(32)) % 2) - 1
    first = moved(MultigridAdam, [3 * checks[None, None]])
    torch.testing.assert_close(first[0, 0], -(1 + 0.9 / 1.9) * checks)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 70), (16, 5), (33, 17)])
def test_multigrid_adam_supports_planes_of_any_size(height: int, width: int) -> None:
    found = moved(MultigridAdam, [torch.ones(1, 2, height, width)] * 3)
    assert found.shape == (1, 2, height, width)
    assert bool((found < 0).all())


@pytest.mark.slow
def test_painting_does_not_import_the_torch_compiler() -> None:
    program = """
import sys, impasto, torch
impasto.paint(torch.rand(1, 3, 40, 40), "starry-night", size=40, smallest_size=40, steps=2)
assert "torch._dynamo" not in sys.modules, "a second and a half more before painting starts"
"""
    subprocess.run([sys.executable, "-c", program], check=True)

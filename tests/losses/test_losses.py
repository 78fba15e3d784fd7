"""Losses: worked examples, gradients against finite differences, minimization, and sums of losses (objectives)."""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import impasto.losses.features
from impasto.features.statistics import Affine, Guide, Moments, guided_moments, moments, sqrtm
from impasto.losses.features import (
    PIXELS,
    ContentLoss,
    GuidedStyleLoss,
    Loss,
    Objective,
    ScaledContentLoss,
    StyleLoss,
    WassersteinLoss,
)
from impasto.losses.picture import Gamut


def normal(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def picture(seed: int, height: int = 6, width: int = 7, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(seed), dtype=dtype)


def features(seed: int) -> dict[str, Tensor]:
    return {"relu1_1": normal(seed, 1, 2, 4, 5), "relu2_1": normal(seed + 1, 1, 3, 2, 2), PIXELS: picture(seed)}


def moments_of(given: Mapping[str, Tensor]) -> dict[str, Moments]:
    return {layer: moments(given[layer]) for layer in ("relu1_1", "relu2_1")}


TARGET = features(100)
STYLE = moments_of(TARGET)
CONTENT = {layer: TARGET[layer] for layer in ("relu1_1", "relu2_1")}
SHARES = {"relu1_1": 0.5, "relu2_1": 2.0}
HEADS = {"relu1_1": Affine(normal(7, 3, 2), normal(8, 3))}
HEADED = {"relu1_1": moments(HEADS["relu1_1"].features(TARGET["relu1_1"])), "relu2_1": STYLE["relu2_1"]}

LEFT = torch.linspace(1, 0, 5, dtype=torch.float64).expand(1, 1, 4, 5)
GUIDES = {
    "relu1_1": (Guide.of(LEFT, dtype=torch.float64), Guide.of(1 - LEFT, 2, torch.float64)),
    "relu2_1": (Guide.of(torch.ones(1, 1, 2, 2), dtype=torch.float64), None),
}
ON_THE_LEFT, ON_THE_RIGHT = guided_moments(TARGET["relu1_1"], [guide for guide in GUIDES["relu1_1"] if guide])
IN_PARTS = (
    {"relu1_1": ON_THE_LEFT, "relu2_1": STYLE["relu2_1"]},
    {"relu1_1": HEADS["relu1_1"].moments(ON_THE_RIGHT), "relu2_1": STYLE["relu2_1"]},
)

LOSSES: dict[str, Loss] = {
    "content": ContentLoss(CONTENT, SHARES),
    "content with heads": ContentLoss({"relu1_1": HEADS["relu1_1"].features(TARGET["relu1_1"])}, SHARES, HEADS),
    "scaled content": ScaledContentLoss(CONTENT, SHARES),
    "gram": StyleLoss(STYLE, gram=SHARES),
    "gram, shifted": StyleLoss(STYLE, gram=SHARES, shift=-1.0),
    "moments": StyleLoss(STYLE, mean=SHARES, deviation=SHARES),
    "style with heads": StyleLoss(HEADED, gram=SHARES, mean=SHARES, deviation=SHARES, heads=HEADS),
    "wasserstein": WassersteinLoss(STYLE, SHARES),
    "wasserstein with heads": WassersteinLoss(HEADED, SHARES, HEADS),
    "guided": GuidedStyleLoss(
        (StyleLoss(IN_PARTS[0], gram=SHARES), WassersteinLoss(IN_PARTS[1], SHARES, HEADS)), (0.7, 0.3), GUIDES
    ),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_every_loss_is_a_scalar_of_the_layers_it_declares(loss: Loss) -> None:
    given = features(0)
    value = loss({layer: given[layer] for layer in loss.layers})
    assert value.shape == ()
    assert value.dtype == torch.float64


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_gradient_of_every_loss_agrees_with_finite_differences(loss: Loss) -> None:
    layers = sorted(loss.layers)
    given = [features(0)[layer].requires_grad_() for layer in layers]
    assert torch.autograd.gradcheck(lambda *each: loss(dict(zip(layers, each, strict=True))), given)


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_every_loss_can_be_minimized(loss: Loss) -> None:
    given = {layer: (3 * features(0)[layer] - 1).requires_grad_() for layer in loss.layers}
    optimizer = torch.optim.Adam(given.values(), lr=0.05)
    first = float(loss(given).detach())
    for _ in range(60):
        optimizer.zero_grad()
        value = loss(given)
        value.backward()
        optimizer.step()
    assert float(loss(given).detach()) < 0.5 * first


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_every_loss_is_frozen(loss: Loss) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        loss.name = "another"  # type: ignore[misc]


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_every_loss_is_0_at_its_target(loss: Loss) -> None:
    assert float(loss(TARGET)) == pytest.approx(0, abs=2e-4)  # the covariance of three channels made of two is singular


@pytest.mark.parametrize("kind", ["content", "gram", "moments", "wasserstein"])
def test_bfloat16_features_give_nearly_the_same_gradient(kind: str) -> None:
    given, target = (normal(seed, 1, 4, 16, 16, dtype=torch.float32).relu() + seed for seed in (0, 1))
    style, shares = {"relu1_1": moments(target)}, {"relu1_1": 1.0}
    loss = {
        "content": ContentLoss({"relu1_1": target}, shares),
        "gram": StyleLoss(style, gram=shares),
        "moments": StyleLoss(style, mean=shares, deviation=shares),
        "wasserstein": WassersteinLoss(style, shares),
    }[kind]

    def gradient(features: Tensor) -> Tensor:
        leaf = features.requires_grad_()
        loss({"relu1_1": leaf}).backward()
        assert leaf.grad is not None
        return leaf.grad.float()

    exact, rough = gradient(given.clone()), gradient(given.bfloat16())
    assert float((exact - rough).norm()) < 0.03 * float(exact.norm())


# ---------------------------------------------------------------------------------------------------- objectives


def test_an_objective_is_the_weighted_sum_of_its_losses() -> None:
    content, gram, gamut = LOSSES["content"], LOSSES["gram"], Gamut()
    objective = 2 * content + 0.5 * gram + gamut
    total, values = objective(features(0))
    expected = [weight * float(loss(features(0))) for weight, loss in [(2, content), (0.5, gram), (1, gamut)]]
    assert float(total) == pytest.approx(sum(expected))
    assert [float(value) for value in values.values()] == pytest.approx(expected)
    assert list(values) == ["content", "style", "gamut"]
    assert objective.layers == {"relu1_1", "relu2_1", PIXELS}


def test_addition_of_losses_and_objectives_is_associative() -> None:
    a, b, c = LOSSES["content"], LOSSES["gram"], Gamut()
    assert (a + b) + c == a + (b + c) == Objective(((1 * a).terms) + (1 * b).terms + (1 * c).terms)
    assert [term.weight for term in a + 3 * b] == [1.0, 3.0]


def test_terms_with_the_same_name_are_reported_as_a_sum() -> None:
    _, values = (LOSSES["gram"] + LOSSES["moments"])(features(0))
    assert list(values) == ["style"]
    assert float(values["style"]) == pytest.approx(float(LOSSES["gram"](features(0)) + LOSSES["moments"](features(0))))


def test_the_total_has_a_gradient_and_the_reported_values_do_not() -> None:
    given = {name: values.requires_grad_() for name, values in features(0).items()}
    total, values = (1 * LOSSES["content"])(given)
    assert total.requires_grad
    assert not any(value.requires_grad for value in values.values())


# ---------------------------------------------------------------------------------------------------- content


def test_content_loss_is_the_weighted_sum_of_squares() -> None:
    target = {"relu1_1": torch.zeros(1, 1, 1, 2), "relu2_1": torch.ones(1, 1, 1, 1)}
    found = ContentLoss(target, {"relu1_1": 0.5, "relu2_1": 3.0})(
        {"relu1_1": torch.tensor([[[[1.0, 3.0]]]]), "relu2_1": torch.tensor([[[[3.0]]]])}
    )
    assert float(found) == 0.5 * (1 + 9) + 3 * 4


def test_scaled_content_loss_divides_by_the_sum_of_differences() -> None:
    found = ScaledContentLoss({"relu1_1": torch.zeros(1, 1, 1, 2)}, {"relu1_1": 2.0})(
        {"relu1_1": torch.tensor([[[[1.0, -3.0]]]])}
    )
    assert float(found) == pytest.approx(2 * (1 + 9) / (1 + 3))


@given(st.floats(0.01, 100))
def test_the_gradient_of_scaled_content_loss_does_not_depend_on_the_distance(distance: float) -> None:
    def gradient(times: float) -> Tensor:
        leaf = (times * normal(0, 1, 2, 3, 3)).requires_grad_()
        ScaledContentLoss({"relu1_1": torch.zeros(1, 2, 3, 3)}, {"relu1_1": 1.0})({"relu1_1": leaf}).backward()
        assert leaf.grad is not None
        return leaf.grad

    torch.testing.assert_close(gradient(distance), gradient(1.0), rtol=1e-5, atol=1e-8)


def test_the_gradient_of_scaled_content_loss_agrees_with_finite_differences() -> None:
    leaf = (normal(0, 1, 2, 3, 3).double() + 0.1).requires_grad_()
    loss = ScaledContentLoss({"relu1_1": torch.zeros(1, 2, 3, 3, dtype=torch.float64)}, {"relu1_1": 3.0})
    assert torch.autograd.gradcheck(lambda values: loss({"relu1_1": values}), leaf)


# ---------------------------------------------------------------------------------------------------- style


def test_style_loss_compares_gram_matrices_means_and_deviations() -> None:
    target = {"relu1_1": Moments(torch.zeros(1, 1), torch.zeros(1, 1, 1))}
    given = {"relu1_1": torch.tensor([[[[0.0, 4.0]]]])}  # mean 2, variance 4, Gram 8
    assert float(StyleLoss(target, gram={"relu1_1": 0.25})(given)) == 0.25 * 8**2
    assert float(StyleLoss(target, mean={"relu1_1": 3.0})(given)) == 3 * 2**2
    assert float(StyleLoss(target, deviation={"relu1_1": 3.0})(given)) == pytest.approx(3 * (2 - 0.001) ** 2)


def test_a_shift_is_added_before_the_gram_matrix_is_computed() -> None:
    given, target = features(0)["relu1_1"], TARGET["relu1_1"]
    found = StyleLoss({"relu1_1": moments(target)}, gram={"relu1_1": 1.0}, shift=-1.0)({"relu1_1": given})
    expected = StyleLoss({"relu1_1": moments(target - 1)}, gram={"relu1_1": 1.0})({"relu1_1": given - 1})
    torch.testing.assert_close(found, expected)


def test_wasserstein_loss_of_independent_channels_compares_means_and_deviations() -> None:
    # in one dimension W² = (μ - μ̂)² + (σ - σ̂)²: means 0 and 2, deviations 3 and 2
    target = {"relu1_1": Moments(torch.tensor([[2.0]]), torch.tensor([[[4.0]]]))}
    found = WassersteinLoss(target, {"relu1_1": 0.5})({"relu1_1": torch.tensor([[[[-3.0, 3.0]]]])})
    assert float(found) == pytest.approx(0.5 * (2**2 + 1**2), rel=1e-3)


def test_wasserstein_loss_equals_the_bures_distance() -> None:
    a, b = moments(features(0)["relu1_1"]), STYLE["relu1_1"]
    A, B = (each.covariance[0].numpy() for each in (a, b))
    root = scipy.linalg.sqrtm(B)
    expected = float((a.mean - b.mean).square().sum()) + np.trace(A + B - 2 * scipy.linalg.sqrtm(root @ A @ root))
    found = WassersteinLoss({"relu1_1": b}, {"relu1_1": 1.0}, ridge=0.0)({"relu1_1": features(0)["relu1_1"]})
    assert float(found) == pytest.approx(expected, rel=1e-3)


def test_wasserstein_loss_computes_the_root_of_its_target_once(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Tensor] = []

    def counted(matrix: Tensor) -> Tensor:
        taken.append(matrix)
        return sqrtm(matrix)

    monkeypatch.setattr(impasto.losses.features, "sqrtm", counted)
    loss = WassersteinLoss(STYLE, SHARES)
    for _ in range(3):
        loss(features(0))
    assert len(taken) == len(STYLE)
    other = dataclasses.replace(loss, target=moments_of(features(0)))
    assert float(other(features(0))) == pytest.approx(0, abs=2e-4)  # a new target has a root of its own


def by_newton_and_schulz(target: Moments, head: Affine | None, given: Moments, ridge: float) -> Tensor:
    """Compute the squared 2-Wasserstein distance in the target's channels, with the root by its iteration."""
    found = given if head is None else head.moments(given)
    wanted, measured = (each.covariance + ridge * torch.eye(each.covariance.shape[1]) for each in (target, found))
    root = sqrtm(wanted)
    trace = torch.diagonal(wanted + measured - 2 * sqrtm(root @ measured @ root), dim1=1, dim2=2).sum()
    return (found.mean - target.mean).square().sum() + trace


@pytest.mark.parametrize("with_head", [True, False])
@pytest.mark.parametrize("positions", [12, 400])  # 12 positions are fewer than the channels
def test_wasserstein_loss_agrees_with_the_newton_schulz_iteration(with_head: bool, positions: int) -> None:
    spread = torch.logspace(0, -2, 24)[:, None, None]
    given, style = (spread * normal(seed, 1, 24, 20, 20) + 0.3 for seed in (0, 1))
    head = Affine(normal(2, 40, 24), normal(3, 40)) if with_head else None
    target = moments(style.flatten(2)[..., None, :positions])
    target = head.moments(target) if head else target
    loss = WassersteinLoss({"relu1_1": target}, {"relu1_1": 1.0}, {"relu1_1": head}, ridge=1e-8)

    def evaluated(distance: Callable[[Tensor], Tensor]) -> tuple[float, Tensor]:
        leaf = given.clone().requires_grad_()
        value = distance(leaf)
        value.backward()
        assert leaf.grad is not None
        return float(value.detach()), leaf.grad

    plain, gradient = evaluated(lambda leaf: by_newton_and_schulz(target, head, moments(leaf), 1e-8))
    value, slope = evaluated(lambda leaf: loss({"relu1_1": leaf}))
    assert value == pytest.approx(plain, rel=1e-3)
    assert float((slope - gradient).norm()) < 2e-3 * float(gradient.norm())
    transport = loss.transports["relu1_1"]
    assert transport.ridge.shape[1] <= (11 if positions == 12 else 24)


def test_wasserstein_loss_of_nan_features_is_nan() -> None:
    broken = {layer: values * math.nan for layer, values in features(0).items()}
    assert not math.isfinite(float(WassersteinLoss(STYLE, SHARES)(broken)))


def test_wasserstein_loss_of_constant_features_has_a_finite_gradient() -> None:
    flat = torch.ones(1, 3, 4, 4, requires_grad=True)
    loss = WassersteinLoss({"relu1_1": moments(torch.zeros(1, 3, 4, 4))}, {"relu1_1": 1.0})
    loss({"relu1_1": flat}).backward()
    assert flat.grad is not None
    assert bool(flat.grad.isfinite().all())


def test_one_region_that_covers_the_picture_equals_the_style_loss() -> None:
    whole, given = StyleLoss(STYLE, gram=SHARES, mean=SHARES, deviation=SHARES), features(0)
    everywhere = {layer: (Guide.of(torch.ones_like(given[layer][:, :1]), dtype=torch.float64),) for layer in STYLE}
    guided = GuidedStyleLoss((whole,), (1.0,), everywhere)
    torch.testing.assert_close(guided(given), whole(given))


def test_regions_do_not_affect_each_other() -> None:
    given = {"relu1_1": normal(0, 1, 2, 4, 6)}
    left = torch.zeros(1, 1, 4, 6)
    left[..., :3] = 1
    target = {"relu1_1": moments(given["relu1_1"][..., :3])}
    loss = GuidedStyleLoss((StyleLoss(target, gram=SHARES),), (1.0,), {"relu1_1": (Guide.of(left, dtype=torch.float64),)})
    assert float(loss(given)) == pytest.approx(0, abs=1e-20)
    assert float(loss({"relu1_1": given["relu1_1"].flip(-1)})) > 1e-3

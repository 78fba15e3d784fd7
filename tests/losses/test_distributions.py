"""Losses on distributions, neighbors and chains: zero at the target, invariances, and minimization."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from impasto.features.distributions import columns_at, leading, patches, rows_of, scattered, unit
from impasto.features.statistics import Affine
from impasto.losses.chained import ChainedGramLoss, chained_gram, links, shifted
from impasto.losses.distributions import (
    DrawnSelfSimilarityLoss,
    HistogramLoss,
    PaletteLoss,
    RelaxedEmdLoss,
    SelfSimilarityLoss,
    SlicedLoss,
    sampled_colors,
)
from impasto.losses.features import PIXELS, Loss, Objective
from impasto.losses.neighbors import HypercolumnLoss, NearestLoss, PatchLoss
from impasto.recipes.statistics import knots
from impasto.tensors import Features

LAYERS = ("relu1_1", "relu2_1")


def features(seed: int, shift: float = 0.0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {
        "relu1_1": torch.randn(1, 4, 12, 16, generator=random) + shift,
        "relu2_1": torch.randn(1, 6, 6, 8, generator=random) * 2 + shift,
        PIXELS: torch.rand(1, 3, 24, 32, generator=random),
    }


def shuffled(given: Features) -> dict[str, Tensor]:
    """Return the same feature vectors at other positions."""
    random = torch.Generator().manual_seed(7)
    found = {}
    for layer, each in given.items():
        order = torch.randperm(each.shape[-2] * each.shape[-1], generator=random)
        found[layer] = each.flatten(2)[..., order].reshape(each.shape)
    return found


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


STYLE = features(1, shift=0.5)
ROWS = {layer: rows_of(STYLE[layer]) for layer in LAYERS}
EQUAL = dict.fromkeys(LAYERS, 0.5)
NO_HEADS: dict[str, Affine | None] = dict.fromkeys(LAYERS)
HEADS: dict[str, Affine | None] = {
    "relu1_1": Affine(torch.randn(9, 4, generator=seeded()), torch.ones(9)),
    "relu2_1": Affine(torch.randn(9, 6, generator=seeded()), torch.ones(9)),
}


def columns(given: Features) -> Tensor:
    return columns_at([given[layer] for layer in LAYERS], scattered((12, 16), 500, seeded()), [None, None])


def patch_loss(directions: int = 64) -> PatchLoss:
    target = {layer: patches(STYLE[layer]) for layer in LAYERS}
    return PatchLoss(target, {layer: leading(unit(rows), directions, seeded()) for layer, rows in target.items()}, EQUAL)


def chained_loss(shift: float = 0.0) -> ChainedGramLoss:
    heads = {layer: shifted(head, shift) for layer, head in HEADS.items() if head}
    (link,) = links(LAYERS)
    return ChainedGramLoss({link: chained_gram(STYLE, link, heads)}, {link: 0.1}, heads)


LOSSES: dict[str, Callable[[], Loss]] = {
    "sliced": lambda: SlicedLoss(ROWS, EQUAL, NO_HEADS, seeded()),
    "histogram": lambda: HistogramLoss({layer: knots(rows) for layer, rows in ROWS.items()}, EQUAL),
    "relaxed emd": lambda: RelaxedEmdLoss(columns(STYLE), NO_HEADS, seeded(), count=500),
    "palette": lambda: PaletteLoss(sampled_colors(STYLE[PIXELS], 1000, seeded()), seeded()),
    "self-similarity": lambda: SelfSimilarityLoss({layer: STYLE[layer] for layer in LAYERS}, EQUAL),
    "drawn self-similarity": lambda: DrawnSelfSimilarityLoss(STYLE, NO_HEADS, seeded(), count=60),
    "patches": patch_loss,
    "hypercolumns": lambda: HypercolumnLoss(torch.randn(1, 10, 6, 8, generator=seeded()), NO_HEADS),
    "nearest": lambda: NearestLoss(ROWS, EQUAL, NO_HEADS, seeded()),
    "chained": chained_loss,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_can_be_minimized(name: str) -> None:
    given = {layer: each.requires_grad_() for layer, each in features(2).items()}
    loss = LOSSES[name]()
    optimizer = torch.optim.Adam(given.values(), lr=0.05)
    history = []
    for _ in range(25):
        optimizer.zero_grad()
        value = loss(given)
        value.backward()
        optimizer.step()
        history.append(float(value.detach()))
    assert loss.layers <= set(given)
    assert history[-1] < 0.85 * history[0], history


@pytest.mark.parametrize("name", ["self-similarity", "drawn self-similarity", "patches", "nearest", "chained", "sliced"])
def test_a_loss_is_zero_at_its_target(name: str) -> None:
    scale = float(LOSSES[name]()(features(2)))
    assert float(LOSSES[name]()(STYLE)) == pytest.approx(0, abs=1e-4 * scale)


def test_the_histogram_loss_at_its_target_is_0_within_a_bin() -> None:
    loss = LOSSES["histogram"]()
    assert float(loss(STYLE)) < 0.05 * float(loss(features(2)))


@pytest.mark.parametrize("name", ["sliced", "histogram"])
def test_distribution_losses_ignore_positions(name: str) -> None:
    given = features(2)
    assert float(LOSSES[name]()(given)) == pytest.approx(float(LOSSES[name]()(shuffled(given))), rel=1e-4)


def test_sliced_loss_detects_differences_beyond_moments() -> None:
    values = torch.tensor([-1.0, 1.0]).repeat(100)  # mean 0 and deviation 1, like the Gaussian below
    gauss = torch.randn(200, generator=seeded())
    gauss = (gauss - gauss.mean()) / gauss.std(correction=0)
    loss = SlicedLoss({"relu1_1": values[:, None]}, {"relu1_1": 1.0}, {}, seeded())
    assert float(loss({"relu1_1": gauss.reshape(1, 1, 10, 20)})) > 0.1


def test_sliced_loss_with_a_head_equals_that_of_mapped_features() -> None:
    head = HEADS["relu1_1"]
    assert head
    target = {"relu1_1": torch.randn(50, 9, generator=seeded())}
    given = features(2)["relu1_1"]
    through = SlicedLoss(target, {"relu1_1": 1.0}, {"relu1_1": head}, seeded())({"relu1_1": given})
    mapped = SlicedLoss(target, {"relu1_1": 1.0}, {}, seeded())({"relu1_1": head.features(given)})
    torch.testing.assert_close(through, mapped)


def test_sliced_loss_limits_the_sorted_values_to_its_effort() -> None:
    counts: list[int] = []

    class Counting(SlicedLoss):
        def _distance(self, layer: str, features: Tensor) -> Tensor:
            counts.append(min(64, max(4, self.effort // (features.shape[-2] * features.shape[-1]))))
            return super()._distance(layer, features)

    Counting(ROWS, EQUAL, NO_HEADS, seeded(), effort=960)(features(2))
    assert counts == [5, 20]


def test_relaxed_emd_is_small_for_the_style_and_large_otherwise() -> None:
    loss = RelaxedEmdLoss(columns(STYLE), NO_HEADS, seeded(), count=500)
    same = RelaxedEmdLoss(columns(STYLE), NO_HEADS, seeded(), count=500)
    assert float(same(STYLE)) < 0.01 * float(loss(features(2)))  # the same places are drawn from the same seed


def test_sampling_losses_resample_at_each_call_and_repeat_with_the_seed() -> None:
    for name in ("sliced", "drawn self-similarity", "nearest"):
        one, other, given = LOSSES[name](), LOSSES[name](), features(2)
        if name == "nearest":  # of few positions all are drawn
            one, other = (NearestLoss(ROWS, EQUAL, NO_HEADS, seeded(), effort=50) for _ in range(2))
        first = float(one(given))
        assert first == float(other(given))
        assert first != float(one(given))


def test_self_similarity_ignores_brightness_but_not_order() -> None:
    loss = LOSSES["self-similarity"]()
    brighter = {layer: 3 * each for layer, each in STYLE.items()}
    assert float(loss(brighter)) == pytest.approx(0, abs=1e-4)
    assert float(loss(shuffled(STYLE))) > 0.1


def test_palette_loss_ignores_the_positions_of_colors() -> None:
    target = sampled_colors(STYLE[PIXELS], 1000, seeded())
    loss = PaletteLoss(target, seeded(), count=1000)
    elsewhere = shuffled(STYLE)
    assert float(loss(elsewhere)) < 0.2 * float(PaletteLoss(target, seeded())({PIXELS: STYLE[PIXELS] * 0}))


# ---------------------------------------------------------------------------------------------------- neighbors


def test_patch_loss_equals_the_mean_squared_distance_to_the_nearest_patches() -> None:
    given = features(2)
    found, target = patches(given["relu2_1"]), patches(STYLE["relu2_1"])
    chosen = target[(unit(found) @ unit(target).T).argmax(1)]
    wanted = (found - chosen).square().sum(1).mean()
    loss = PatchLoss({"relu2_1": target}, {"relu2_1": torch.eye(54)}, {"relu2_1": 1.0})
    torch.testing.assert_close(loss(given), wanted, rtol=1e-4, atol=1e-4)


def test_patch_loss_has_the_gradient_of_the_distances() -> None:
    given = features(2)["relu2_1"].requires_grad_()
    target = patches(STYLE["relu2_1"])
    PatchLoss({"relu2_1": target}, {"relu2_1": torch.eye(54)}, {"relu2_1": 1.0})({"relu2_1": given}).backward()
    again = given.detach().clone().requires_grad_()
    found = patches(again)
    with torch.no_grad():
        chosen = target[(unit(found) @ unit(target).T).argmax(1)]
    (found - chosen).square().sum(1).mean().backward()
    torch.testing.assert_close(given.grad, again.grad, rtol=1e-3, atol=1e-5)


def test_patch_loss_is_0_for_a_picture_made_of_style_patches() -> None:
    loss, scale = patch_loss(), float(patch_loss()(features(2)))
    cut = {layer: STYLE[layer][..., 1:, 2:] for layer in LAYERS}  # every patch of it is one of the style's
    assert float(loss(cut)) == pytest.approx(0, abs=1e-4 * scale)


def test_nearest_loss_compares_centered_features() -> None:
    loss = LOSSES["nearest"]()
    moved = {layer: 2 * STYLE[layer] + 3 for layer in LAYERS}  # another mean and another size: the same angles
    assert float(loss(moved)) == pytest.approx(0, abs=1e-4)


# ---------------------------------------------------------------------------------------------------- chains


def test_chained_gram_equals_the_product_with_the_enlarged_coarser_layer() -> None:
    given = features(2)
    enlarged = given["relu2_1"].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    wanted = given["relu1_1"].flatten(2) @ enlarged.flatten(2).transpose(1, 2) / (12 * 16)
    torch.testing.assert_close(chained_gram(given, ("relu1_1", "relu2_1"), {}), wanted, rtol=1e-4, atol=1e-5)


def test_a_shift_is_added_to_the_mapped_features() -> None:
    full = {layer: head.features(STYLE[layer]) - 1 for layer, head in HEADS.items() if head}
    other = {layer: head.features(features(2)[layer]) - 1 for layer, head in HEADS.items() if head}
    link = ("relu1_1", "relu2_1")
    wanted = 0.1 * (chained_gram(full, link, {}) - chained_gram(other, link, {})).square().sum()
    torch.testing.assert_close(chained_loss(shift=-1.0)(features(2)), wanted, rtol=1e-3, atol=1e-3)


def test_an_objective_can_be_weighted_as_a_whole() -> None:
    objective = LOSSES["patches"]() + 2 * LOSSES["chained"]()
    assert isinstance(objective, Objective)
    assert [term.weight for term in 3 * objective] == [3.0, 6.0]

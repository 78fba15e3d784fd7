"""Statistics of style pictures, and whole methods: refused options, results, and reproducibility."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import skimage.data
import torch
from torch import Tensor

import impasto
from impasto import images
from impasto.encoders import Vgg
from impasto.errors import OptionError, StyleFileError
from impasto.features.distributions import unit
from impasto.images import Picture
from impasto.losses.chained import ChainedGramLoss
from impasto.losses.distributions import HistogramLoss, RelaxedEmdLoss, SelfSimilarityLoss, SlicedLoss
from impasto.losses.features import PIXELS, StyleLoss
from impasto.losses.neighbors import PatchLoss
from impasto.optim.engine import Step
from impasto.options import PaintOptions, Run, StyleStatistics
from impasto.recipes import gatys, nnst, objectives, strotss
from impasto.recipes.context import PaintingContext, encode
from impasto.recipes.objectives import features_of_pictures
from impasto.recipes.painting import options_of, run_recipe
from impasto.recipes.presets import MOMENT_STATISTICS, RECIPE_IGNORES, RECIPES, paint_options
from impasto.recipes.starts import Checkpoint, Style
from impasto.recipes.statistics import PICTURE_STATISTICS, in_shares, joining_heads, knots, style_columns
from impasto.styles.named import find_style
from impasto.weights import save_vgg

EXACT = Run(device="cpu", precision="fp32")
KINDS = {
    "sliced": SlicedLoss,
    "histogram": HistogramLoss,
    "relaxed-emd": RelaxedEmdLoss,
    "patches": PatchLoss,
    "chained": ChainedGramLoss,
}
WHOLE = {"nnst": nnst, "strotss": strotss}


@pytest.fixture(scope="session", params=[True, False], ids=["heads", "no heads"])
def encoder_file(request: pytest.FixtureRequest, narrow: Callable[..., Vgg], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("encoders") / "narrow.safetensors"
    save_vgg(path, narrow(with_heads=request.param), {}, bits=16)
    return str(path)


@pytest.fixture
def options(encoder_file: str) -> PaintOptions:
    return paint_options(recipe="gatys", encoder=encoder_file, size=48, steps=3, smallest_size=32, layer_weights=())


@pytest.fixture
def content(photo: Tensor) -> Picture:
    return images.read(photo)


@pytest.fixture
def style() -> Picture:
    return images.read(skimage.data.coffee()[::8, ::8])


def loss_of(content: Picture, styles: list[Style], options: PaintOptions) -> tuple[PaintingContext, object]:
    context = gatys.set_up(content, styles, options, EXACT)
    return context, objectives.style_loss(context, context.sizes[-1][0])


def last_of(content: Picture, styles: list[Style], options: PaintOptions) -> Step:
    *_, last = run_recipe(gatys.set_up(content, styles, options, EXACT))
    return last


# ---------------------------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize("statistics", PICTURE_STATISTICS)
def test_the_selected_statistics_are_compared(
    content: Picture, style: Picture, options: PaintOptions, statistics: StyleStatistics
) -> None:
    context, loss = loss_of(content, [style], options.changed(statistics=statistics))
    kinds = [type(term.loss) for term in 1 * loss]
    assert kinds == ([StyleLoss, HistogramLoss] if statistics == "histogram" else [KINDS[statistics]])
    photo = encode(context, context.content, options.style_layers)
    value = float((1 * loss)({**photo, PIXELS: context.content})[0])
    assert 0.01 < value < 100  # of the order of the others, so that the default weights suit


@pytest.mark.slow
@pytest.mark.parametrize("statistics", PICTURE_STATISTICS)
def test_painting_moves_the_picture_toward_the_style(
    content: Picture, style: Picture, options: PaintOptions, statistics: StyleStatistics
) -> None:
    chosen = options.changed(statistics=statistics, steps=20, smallest_size=48, content_weight=0.0, margin=0.0)
    steps = list(gatys.paint_steps(gatys.set_up(content, [style], chosen, EXACT)))
    assert steps[-1].losses["style"] < 0.95 * steps[0].losses["style"]
    assert bool(steps[-1].image.isfinite().all())


def prepared_style(content: Picture, style: Style, options: PaintOptions) -> Style:
    """Return the style as it is stored in the painting context."""
    (found,) = gatys.set_up(content, [style], options.changed(size=48), EXACT).styles
    return found


@pytest.mark.slow
@pytest.mark.parametrize("statistics", PICTURE_STATISTICS)
def test_a_named_style_is_compared_by_its_swatch(content: Picture, statistics: StyleStatistics) -> None:
    found = prepared_style(content, find_style("starry-night"), paint_options(recipe="gatys", statistics=statistics))
    assert isinstance(found, Picture)
    assert found.name == "starry-night"


@pytest.mark.parametrize("statistics", MOMENT_STATISTICS)
def test_a_named_style_is_compared_by_its_moments_if_sufficient(content: Picture, statistics: StyleStatistics) -> None:
    named = find_style("starry-night")
    assert prepared_style(content, named, paint_options(recipe="gatys", statistics=statistics, color="style")) is named


def test_negative_weights_are_refused(content: Picture, style: Picture, options: PaintOptions) -> None:
    chosen = options.changed(statistics="patches", style_weights=(2.0, -1.0))
    with pytest.raises(OptionError, match="must all be above 0"):
        gatys.set_up(content, [style, style], chosen, EXACT)


@pytest.mark.parametrize("statistics", ["sliced", "relaxed-emd"])
def test_lbfgs_is_refused_for_stochastic_statistics(
    content: Picture, style: Picture, options: PaintOptions, statistics: StyleStatistics
) -> None:
    with pytest.raises(OptionError, match="samples at random at each step"):
        gatys.set_up(content, [style], options.changed(statistics=statistics, optimizer="lbfgs"), EXACT)


@pytest.mark.slow
@pytest.mark.parametrize("what", [{"recipe": "nnst"}, {"recipe": "strotss"}])
def test_recipes_refuse_style_masks_but_support_protect(
    content: Picture, style: Picture, encoder_file: str, what: dict[str, str]
) -> None:
    small = {"encoder": encoder_file, "size": 48, "steps": 2, "smallest_size": 32, "margin": 0.0, **what}
    with pytest.raises(OptionError, match="cannot be combined with style masks"):
        impasto.paint(content, style, run=EXACT, style_masks=["gradient:left-right"], **small)
    left = torch.zeros(1, 3, 96, 96)
    left[..., :40] = 1
    found = impasto.paint(content, style, run=EXACT, protect=left, feather=0.0, **small).image
    photo = images.resize(content.image, (48, 48))
    torch.testing.assert_close(found[..., :16], photo[..., :16], atol=2e-3, rtol=0)
    assert float((found[..., 24:] - photo[..., 24:]).abs().mean()) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["histogram", "relaxed-emd", "chained"])
def test_all_statistics_support_two_style_scales_and_balance(
    content: Picture, style: Picture, options: PaintOptions, statistics: StyleStatistics
) -> None:
    chosen = options.changed(statistics=statistics, style_scales=(0.7, 1.4), balance=1.0, steps=2)
    steps = list(gatys.paint_steps(gatys.set_up(content, [style], chosen, EXACT)))
    assert all(step.loss == step.loss and step.losses["content"] > 0 for step in steps[1:])


def test_one_layer_cannot_be_chained(content: Picture, style: Picture, options: PaintOptions) -> None:
    chosen = options.changed(statistics="chained", style_layers=("relu1_1",))
    with pytest.raises(OptionError, match="only relu1_1 is given"):
        loss_of(content, [style], chosen)


def test_several_styles_are_pooled_in_proportion_to_their_weights(
    content: Picture, style: Picture, options: PaintOptions
) -> None:
    white = images.read(torch.ones(1, 3, 40, 40))
    chosen = options.changed(statistics="patches", style_weights=(3.0, 1.0), style_layers=("relu3_1",))
    _, loss = loss_of(content, [style, white], chosen)
    assert isinstance(loss, PatchLoss)
    (rows,) = loss.target.values()
    alone = int((rows - rows[-1]).norm(dim=1).lt(1e-3 * float(rows[-1].norm())).sum())
    assert alone == pytest.approx(len(rows) / 4, abs=2)


def test_shares_are_kept_if_one_style_has_few_positions() -> None:
    assert in_shares([10, 1000], [0.5, 0.5], most=100) == [10, 10]
    assert in_shares([1000, 1000], [0.9, 0.1], most=100) == [90, 10]


def test_patches_use_blocks_3_and_4_or_all_style_layers(content: Picture, style: Picture, options: PaintOptions) -> None:
    _, loss = loss_of(content, [style], options.changed(statistics="patches"))
    assert isinstance(loss, PatchLoss)
    assert loss.layers == {"relu3_1", "relu4_1"}
    _, loss = loss_of(content, [style], options.changed(statistics="patches", style_layers=("relu2_1",)))
    assert isinstance(loss, PatchLoss)
    assert loss.layers == {"relu2_1"}


def test_knots_are_the_quantiles_from_minimum_to_maximum() -> None:
    found = knots(torch.arange(11.0)[:, None].flip(0), count=5)
    assert found.tolist() == [[0.0, 2.5, 5.0, 7.5, 10.0]]


def test_the_activation_shift_applies_to_chained_gram_matrices(content: Picture, style: Picture, options: PaintOptions) -> None:
    targets = []
    for shift in (0.0, -1.0):
        _, loss = loss_of(content, [style], options.changed(statistics="chained", activation_shift=shift))
        assert isinstance(loss, ChainedGramLoss)
        targets.append(loss.target["relu3_1", "relu4_1"].norm())
    assert abs(float(targets[0] - targets[1])) > 0.01 * float(targets[0])


def test_content_can_be_compared_by_self_similarity(content: Picture, style: Picture, options: PaintOptions) -> None:
    context = gatys.set_up(content, [style], options.changed(content_comparison="self-similarity"), EXACT)
    loss = objectives.content_loss(context, context.content)
    assert isinstance(loss, SelfSimilarityLoss)
    features = encode(context, context.content, context.options.content_layers)
    assert float(loss(features)) == pytest.approx(0, abs=1e-5)
    other = encode(context, context.content.flip(2), context.options.content_layers)
    assert float(loss(other)) > 0.1


# ---------------------------------------------------------------------------------------------------- whole methods


def whole(recipe: str, encoder_file: str, **changes: object) -> PaintOptions:
    coarse_to_fine = {"smallest_size": 32, "scale_factor": 2.0, "step_growth": 1.0}
    return paint_options(recipe=recipe, **{"encoder": encoder_file, "size": 64, "steps": 3, **coarse_to_fine, **changes})


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_whole_method_paints_neither_the_photo_nor_gray(
    recipe: str, content: Picture, style: Picture, encoder_file: str
) -> None:
    last = last_of(content, [style], whole(recipe, encoder_file))
    assert last.image.shape == (1, 3, 64, 64)
    assert float(last.image.min()) >= 0
    assert float(last.image.max()) <= 1
    small = torch.nn.functional.adaptive_avg_pool2d(content.image, 64)
    assert float((last.image - small).abs().mean()) > 0.02
    assert float(last.image.std()) > 0.02


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_whole_method_repeats_with_the_same_seed(recipe: str, content: Picture, style: Picture, encoder_file: str) -> None:
    chosen = whole(recipe, encoder_file, steps=2)
    assert torch.equal(last_of(content, [style], chosen).image, last_of(content, [style], chosen).image)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_whole_method_decreases_its_objective(recipe: str, content: Picture, style: Picture, encoder_file: str) -> None:
    chosen = whole(recipe, encoder_file, steps=20, smallest_size=64)
    steps = list(run_recipe(gatys.set_up(content, [style], chosen, EXACT)))
    first = [step for step in steps if step.scale == 0]
    assert first[-1].losses["style"] < 0.95 * first[0].losses["style"]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_whole_method_resumes_from_a_checkpoint(recipe: str, content: Picture, style: Picture, encoder_file: str) -> None:
    context = gatys.set_up(content, [style], whole(recipe, encoder_file), EXACT)
    checkpoint = Checkpoint(torch.rand(1, 3, 32, 32), scale=1, done=1)
    steps = list(run_recipe(gatys.resumed(context, checkpoint)))
    assert [step.scale for step in steps] == [1, 1, *[2] * (recipe == "nnst")]
    assert steps[-1].image.shape == (1, 3, 64, 64)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_whole_method_uses_the_swatch_of_a_named_style(recipe: str, content: Picture) -> None:
    named = find_style("starry-night")
    found = prepared_style(content, named, paint_options(recipe=recipe))
    assert isinstance(found, Picture)
    assert (found.name, found.sha256) == ("starry-night", named.sha256)
    with pytest.raises(
        StyleFileError, match="style 'starry-night' was added by an earlier version of impasto and has no swatch"
    ):
        prepared_style(content, replace(named, swatch=b""), paint_options(recipe=recipe))


CHANGED = {
    "balance": 1.0,
    "style_weight": 2.0,
    "statistics": "gram",
    "pixel_range": "255",
    "style_weights": (1.0,),
    "style_size": 64,
    "strength": 0.5,
    "coherence": 0.1,
    "quality": "best",
}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_whole_method_refuses_options_that_it_ignores(recipe: str, content: Picture, style: Picture) -> None:
    ignored = set(CHANGED) & set(RECIPE_IGNORES[recipe])
    assert len(ignored) >= 3
    for name in ignored:
        with pytest.raises(
            OptionError, match=f"--{name.replace('_', '-')} has no effect with --recipe {recipe}; omit it, or use"
        ):
            gatys.set_up(content, [style], paint_options(recipe=recipe, **{name: CHANGED[name]}), EXACT)


def test_a_recipe_and_a_preset_together_are_refused() -> None:
    with pytest.raises(OptionError, match="each define all options"):
        paint_options("gatys2015", recipe="nnst")
    with pytest.raises(OptionError, match="did you mean 'nnst'"):
        paint_options(recipe="nst")


def test_the_content_weight_of_nnst_is_at_most_1(content: Picture, style: Picture) -> None:
    with pytest.raises(OptionError, match="--content-weight is 2"):
        gatys.set_up(content, [style], paint_options(recipe="nnst", content_weight=2.0), EXACT)


def test_the_options_of_a_recipe_are_restored_from_its_record(
    content: Picture, style: Picture, encoder_file: str, tmp_path: Path
) -> None:
    chosen = whole("nnst", encoder_file)
    assert options_of({"options": vars(chosen), "run": vars(EXACT)}) == (chosen, EXACT)


def test_nnst_paints_the_last_size_twice(content: Picture, style: Picture, encoder_file: str) -> None:
    context = gatys.set_up(content, [style], whole("nnst", encoder_file, steps=8), EXACT)
    assert context.sizes[-1][0] == context.sizes[-2][0]
    assert [steps for _, steps in context.sizes] == [8, 8, 2]


def test_nnst_uses_only_hypercolumns_of_the_style(content: Picture, style: Picture, encoder_file: str) -> None:
    context = gatys.set_up(content, [style], whole("nnst", encoder_file), EXACT)
    size = context.sizes[-1][0]
    wanted = nnst.replacement(context, size, None).target
    heads = joining_heads(context.encoder, context.options.style_layers)
    rows = unit(torch.cat([nnst.style_rows(each, heads) for each in features_of_pictures(context, size)]))
    assert float(torch.cdist(wanted[0].flatten(1).T, rows).amin(1).max()) < 1e-2


def test_nnst_matches_a_picture_in_its_own_style_with_itself(content: Picture, encoder_file: str) -> None:
    context = gatys.set_up(content, [content], whole("nnst", encoder_file, margin=0.0), EXACT)
    size = context.sizes[-1][0]
    loss = nnst.replacement(context, size, None)
    features = encode(context, gatys.resize(context.content, size), context.options.style_layers)
    assert float(loss(features)) == pytest.approx(0, abs=1e-4)


@pytest.mark.slow
def test_nnst_has_the_styles_colors(content: Picture, style: Picture, encoder_file: str) -> None:
    last = last_of(content, [style], whole("nnst", encoder_file))
    wanted = style.image.mean((0, 2, 3))
    assert float((last.image.mean((0, 2, 3)) - wanted).abs().max()) < 0.05


@pytest.mark.slow
def test_strotss_halves_the_weight_of_the_content_at_each_size(
    content: Picture, style: Picture, encoder_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    objective_at = strotss.objective_at

    def recorded(context: PaintingContext, size: tuple[int, int], alpha: float) -> object:
        given.append(alpha)
        return objective_at(context, size, alpha)

    monkeypatch.setattr(strotss, "objective_at", recorded)
    context = gatys.set_up(content, [style], whole("strotss", encoder_file, steps=1), EXACT)
    list(strotss.paint_steps(context))
    assert given == [16.0, 8.0]
    given.clear()
    list(strotss.paint_steps(replace(context, sizes=context.sizes[1:], first_scale=1)))
    assert given == [8.0]


def test_strotss_weights_its_terms_as_in_the_paper(content: Picture, style: Picture, encoder_file: str) -> None:
    context = gatys.set_up(content, [style], whole("strotss", encoder_file), EXACT)
    alpha = 4.0
    weights = {term.loss.name: term.weight for term in strotss.objective_at(context, context.sizes[0][0], alpha)}
    total = 2 + alpha + 1 / alpha
    assert (weights["style"], weights["content"]) == pytest.approx((1 / total, alpha / total))
    assert weights["palette"] == pytest.approx(1 / alpha / total)


def test_strotss_starts_from_the_photos_details_on_the_styles_mean_color(
    content: Picture, style: Picture, encoder_file: str
) -> None:
    start = gatys.set_up(content, [style], whole("strotss", encoder_file), EXACT).start
    torch.testing.assert_close(start.mean((0, 2, 3)), style.image.mean((0, 2, 3)), atol=0.02, rtol=0)
    assert float(start.std()) > 0.005


def test_columns_of_several_styles_are_sampled_in_proportion(random: torch.Generator) -> None:
    one, other = ({"relu1_1": torch.full((1, 2, 30, 30), value)} for value in (1.0, 2.0))
    found = style_columns([one, other], [0.75, 0.25], {"relu1_1": None}, random, most=100)
    assert float((found == 1).float().mean()) == pytest.approx(0.75, abs=0.03)

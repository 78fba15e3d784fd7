"""The gatys recipe: checks, sizes, margin, start, styles, and a small golden picture."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import skimage.data
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from impasto import images
from impasto.encoders import Vgg, load_encoder
from impasto.encoders.precision import Arithmetic
from impasto.encoders.vgg import BLOCKS_OF_VGG16
from impasto.errors import ImageFileError, OptionError, ResourceError, ShapeError, StyleFileError, WeightsError
from impasto.features.statistics import Moments, moments
from impasto.images import Picture
from impasto.losses.features import PIXELS
from impasto.optim.engine import Step
from impasto.options import STYLE_LAYERS, PaintOptions, Run
from impasto.recipes import checks, gatys
from impasto.recipes.balance import reference_picture
from impasto.recipes.checks import predicted_memory
from impasto.recipes.gatys import paint_steps, set_up
from impasto.recipes.objectives import objective_at, style_moments
from impasto.recipes.painting import paint, run_recipe
from impasto.recipes.presets import paint_options
from impasto.recipes.starts import (
    SMALLEST_SIDE,
    Checkpoint,
    Style,
    at_least,
    colors_of,
    planned_sizes,
    remaining,
    starting_picture,
    with_margin,
    with_moments,
    without_margin,
)
from impasto.styles.named import find_style, load_style, measured_style, save_style
from impasto.weights import save_vgg

EXACT = Run(device="cpu", precision="fp32")


@pytest.fixture(scope="session")
def encoder_file(narrow: Callable[..., Vgg], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("encoders") / "narrow.safetensors"
    save_vgg(path, narrow(), {}, bits=16)
    return str(path)


@pytest.fixture
def options(encoder_file: str) -> PaintOptions:
    return paint_options(
        recipe="gatys", encoder=encoder_file, size=64, steps=3, step_growth=1.0, smallest_size=32, layer_weights=()
    )


@pytest.fixture
def content(photo: Tensor) -> Picture:
    return images.read(photo)


@pytest.fixture
def style() -> Picture:
    return images.read(skimage.data.coffee()[::8, ::8])


def last_of(content: Picture, styles: list[Style], options: PaintOptions, run: Run = EXACT) -> Step:
    *_, last = gatys.steps(content, styles, options, run)
    return last


# ---------------------------------------------------------------------------------------------------- sizes

lengths = st.integers(32, 3000)


def test_smaller_sizes_get_more_steps() -> None:
    def steps(**options: Any) -> list[int]:
        return [count for _, count in planned_sizes((512, 512), PaintOptions(smallest_size=128, steps=10, **options))]

    assert steps(step_growth=1.5) == [22, 15, 10]
    assert steps(step_growth=1.5, first_steps=3) == [3, 15, 10]
    assert steps(step_growth=1.0) == [10, 10, 10]


@given(lengths, lengths, st.integers(32, 600), st.floats(1.1, 4.0))
def test_sizes_are_coarse_to_fine_and_end_at_the_full_size(height: int, width: int, smallest: int, factor: float) -> None:
    options = PaintOptions(smallest_size=smallest, scale_factor=factor, steps=7, first_steps=11, step_growth=1.0)
    sizes = planned_sizes((height, width), options)
    assert sizes[-1][0] == (height, width)
    assert [count for _, count in sizes] == [11, *[7] * (len(sizes) - 1)]
    assert sizes[0][0][0] <= height
    for ((h, w), _), ((next_h, next_w), _) in pairwise(sizes):
        assert h <= next_h
        assert w <= next_w
    for (h, w), _ in sizes:
        assert min(h, w) >= SMALLEST_SIDE
        assert h / w == pytest.approx(height / width, rel=1 / min(h, w))


@given(lengths, lengths)
def test_consecutive_sizes_differ_by_about_the_scale_factor(height: int, width: int) -> None:
    options = PaintOptions(smallest_size=64, scale_factor=math.sqrt(2))
    longest = [max(size) for size, _ in planned_sizes((height, width), options)]
    for one, other in pairwise(longest):
        assert 1.1 < other / one < 1.8


@pytest.mark.parametrize("smallest", [512, 100_000])
def test_a_smallest_size_equal_to_the_picture_gives_a_single_size(smallest: int) -> None:
    assert planned_sizes((300, 512), PaintOptions(smallest_size=smallest, steps=5)) == (((300, 512), 5),)


def test_remaining_starts_with_the_unfinished_steps() -> None:
    sizes = (((32, 32), 5), ((64, 64), 6), ((96, 96), 7))
    where = Checkpoint(torch.zeros(1, 3, 64, 64), scale=1, done=2)
    assert remaining(sizes, where) == (((64, 64), 4), ((96, 96), 7))
    assert remaining(sizes, replace(where, done=6)) == (((96, 96), 7),)


# ---------------------------------------------------------------------------------------------------- the margin


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 25))
def test_without_margin_inverts_with_margin(height: int, width: int, margin: int) -> None:
    image = torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(0))
    wide = with_margin(image, margin)
    assert wide.shape == (1, 3, height + 2 * margin, width + 2 * margin)
    assert torch.equal(without_margin(wide, margin), image)


def test_a_margin_reflects_the_picture() -> None:
    image = torch.arange(3.0).expand(1, 1, 3, 3)
    assert with_margin(image, 2)[0, 0, 0].tolist() == [2, 1, 0, 1, 2, 1, 0]


@given(st.integers(32, 400), st.integers(32, 400), st.sampled_from([0.0, 0.03, 0.1, 0.25]))
def test_every_size_has_pixels_left_after_cropping_the_margin(height: int, width: int, share: float) -> None:
    margin = min(round(share * max(height, width)), min(height, width) - 1)
    wide = (height + 2 * margin, width + 2 * margin)
    for size, _ in planned_sizes(wide, PaintOptions(smallest_size=32)):
        cut = round(margin / max(wide) * max(size))
        assert min(size) - 2 * cut >= 8


@pytest.mark.parametrize("share", [0.0, 0.03, 0.25])
def test_the_result_has_the_requested_size_for_any_margin(
    content: Picture, style: Picture, options: PaintOptions, share: float
) -> None:
    wide = images.read(content.image[..., :48, :])
    steps = list(gatys.steps(wide, [style], options.changed(margin=share), EXACT))
    assert steps[-1].image.shape == (1, 3, 32, 64)
    for step in steps:
        height, width = step.image.shape[-2:]
        assert width / height == pytest.approx(2, rel=0.15)


def test_a_narrow_picture_is_padded_to_the_minimum_size_of_the_network() -> None:
    image = torch.rand(1, 3, 3, 40)
    found = at_least(image, 16)
    assert found.shape == (1, 3, 16, 40)
    assert torch.equal(found[..., 6:9, :], image)
    assert at_least(found, 16) is found


# ---------------------------------------------------------------------------------------------------- where it starts


def start(photo: Tensor, style: Style, **changes: Any) -> Tensor:
    return starting_picture(photo, [style], PaintOptions(**changes), seed=5)


@pytest.mark.slow
def test_painting_starts_from_the_selected_init(photo: Tensor, style: Picture, tmp_path: Path) -> None:
    assert torch.equal(start(photo, style, init="content"), photo)
    noise = start(photo, style, init="noise")
    assert noise.shape == photo.shape
    assert float(noise.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(noise.std()) == pytest.approx(math.sqrt(1 / 12), abs=0.02)
    gray = start(photo, style, init="gray")
    assert (gray[0, :, 3, 4] * 255).tolist() == pytest.approx([123.68, 116.779, 103.939], rel=1e-4)
    torch.testing.assert_close(start(photo, style, init="style"), images.resize(style.image, (96, 96)))
    images.write(tmp_path / "begun.png", noise)
    found = start(photo, style, init=str(tmp_path / "begun.png"))
    torch.testing.assert_close(found, noise, atol=1 / 255, rtol=0)


def test_init_blend_mixes_the_assignments_noise_around_the_mean_color(photo: Tensor, style: Picture) -> None:
    assert torch.equal(start(photo, style, init="blend", init_noise=0.0), photo)
    noise = 255 * start(photo, style, init="blend", init_noise=1.0) - 255 * start(photo, style, init="gray")
    assert float(noise.abs().max()) <= 20.001
    assert float(noise.std()) == pytest.approx(40 / math.sqrt(12), rel=0.05)
    mixed = start(photo, style, init="blend", init_noise=0.6)
    pure = start(photo, style, init="blend", init_noise=1.0)
    torch.testing.assert_close(mixed, 0.4 * photo + 0.6 * pure)


def test_init_style_statistics_is_noise_in_the_styles_colors(photo: Tensor) -> None:
    colors = Moments(torch.tensor([[0.5, 0.4, 0.6]]), torch.diag(torch.tensor([0.004, 0.002, 0.003]))[None])
    found = moments(with_moments(torch.rand(1, 3, 200, 200, generator=torch.Generator().manual_seed(0)), colors))
    torch.testing.assert_close(found.mean, colors.mean, atol=0.003, rtol=0)
    torch.testing.assert_close(found.covariance, colors.covariance, atol=2e-4, rtol=0)


def test_the_seed_determines_the_noise(photo: Tensor, style: Picture) -> None:
    one, again, other = (starting_picture(photo, [style], PaintOptions(init="noise"), seed) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_named_style_supports_init_style_statistics_but_not_init_style(photo: Tensor, style: Picture) -> None:
    named = measured_style({"name": "x"}, lambda edge_px: {}, colors_of(style), sizes=(64,))
    with pytest.raises(
        OptionError, match="--init style needs a style picture, but 'x' is a named style; use --init style-statistics"
    ):
        start(photo, named, init="style")
    assert torch.equal(start(photo, named, init="style-statistics"), start(photo, style, init="style-statistics"))


# ---------------------------------------------------------------------------------------------------- painting


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"canvas": "pixels", "statistics": "gram"},
        {"statistics": "wasserstein"},
        {"statistics": "moments", "border": "reflect", "pooling": "l2"},
        {"optimizer": "lbfgs", "learning_rate": 1.0},
        {"content_normalization": "scaled", "content_weight": 0.01, "border": "zero", "pooling": "average"},
        {"smoothness_weight": 1.0, "edge_aware_weight": 1.0, "structure_weight": 1.0},
        {"content_weight": 0.0, "smoothness_weight": 0.0, "edge_aware_weight": 0.0, "structure_weight": 0.0, "init": "noise"},
    ],
)
def test_painting_decreases_the_objective(
    content: Picture, style: Picture, options: PaintOptions, changes: dict[str, Any]
) -> None:
    steps = list(gatys.steps(content, [style], options.changed(smallest_size=64, steps=30, **changes), EXACT))
    assert steps[-1].loss < steps[0].loss
    assert not any(step.note for step in steps)
    assert bool(((steps[-1].image >= 0) & (steps[-1].image <= 1)).all())


@pytest.mark.slow
def test_a_run_is_bit_identical_with_the_same_seed_and_differs_with_another(
    content: Picture, style: Picture, options: PaintOptions
) -> None:
    noisy = options.changed(init="noise")
    one, again, other = (last_of(content, [style], noisy, Run(device="cpu", precision="fp32", seed=s)).image for s in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["neighbors", "gatys"])
def test_bf16_gives_nearly_the_same_picture(content: Picture, style: Picture, recipe: str) -> None:
    few = paint_options(recipe=recipe, size=64, steps=3, step_growth=1.0, smallest_size=32, decay="each")
    exact, rough = (
        paint(content, style, run=Run(device="cpu", precision=precision), **vars(few)).image for precision in ("fp32", "bf16")
    )
    assert float((exact - rough).abs().mean()) < 0.02


@pytest.mark.slow
def test_a_weight_of_0_removes_the_term(content: Picture, style: Picture, options: PaintOptions) -> None:
    bare = options.changed(content_weight=0, smoothness_weight=0, edge_aware_weight=0, structure_weight=0, canvas="pixels")
    assert set(last_of(content, [style], bare).losses) == {"style"}
    full = bare.changed(content_weight=1, smoothness_weight=1, edge_aware_weight=1, structure_weight=1, canvas="soft-chroma")
    assert set(last_of(content, [style], full).losses) == {"style", "content", "smoothness", "edge_aware", "structure", "gamut"}


def test_the_content_weight_is_divided_among_the_content_layers(
    content: Picture, style: Picture, options: PaintOptions
) -> None:
    def content_term(*layers: str, **changes: Any) -> float:
        chosen = options.changed(content_layers=layers, content_weight=1.0, margin=0, **changes)
        context = set_up(content, [style], chosen, EXACT)
        size, image = (64, 64), images.resize(style.image, (64, 64))
        objective = objective_at(context, size)
        return float(objective({**context.encoder(image, objective.layers - {PIXELS}), PIXELS: image})[1]["content"])

    both = content_term("relu3_1", "relu4_2")
    one, other = content_term("relu3_1"), content_term("relu4_2")
    assert both == pytest.approx((one + other) / 2, rel=1e-5)
    weighted = content_term("relu3_1", "relu4_2", content_layer_weights=(0.9, 0.2))
    assert weighted == pytest.approx(0.9 * one + 0.2 * other, rel=1e-5)


@pytest.mark.slow
def test_an_interrupted_painting_resumes_from_its_checkpoint(content: Picture, style: Picture, options: PaintOptions) -> None:
    context = set_up(content, [style], options, EXACT)
    steps = list(paint_steps(context))
    stopped = steps[4]
    assert (stopped.scale, stopped.number) == (1, 5)
    left = list(paint_steps(gatys.resumed(context, Checkpoint(stopped.image, scale=1, done=2))))
    assert [step.size for step in left] == [step.size for step in steps[5:]]
    assert [step.scale for step in left] == [step.scale for step in steps[5:]]
    assert left[-1].image.shape == steps[-1].image.shape
    with pytest.raises(
        OptionError, match="at size number 9, but the last size of this painting is number 3; paint from the start"
    ):
        gatys.resumed(context, Checkpoint(stopped.image, scale=8, done=0))
    with pytest.raises(OptionError, match="this painting is finished, so it cannot be resumed"):
        gatys.resumed(context, Checkpoint(steps[-1].image, scale=2, done=3))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["neighbors", "gatys", "nnst", "strotss"])
def test_a_painting_that_resumes_shortly_before_its_end_is_not_damaged(recipe: str, content: Picture, style: Picture) -> None:
    """The optimizer has lost its state. With the first learning rate, its first steps would be noise."""
    context = set_up(content, [style], paint_options(recipe=recipe, size=96), EXACT)
    scale = len(context.sizes) - 1
    *_, checkpoint, _, _, whole = list(run_recipe(context))
    assert checkpoint.scale == whole.scale == scale
    resumed = gatys.resumed(context, Checkpoint(checkpoint.image, scale, context.sizes[-1][1] - 3))
    *_, last = run_recipe(resumed)
    *_, restarted = run_recipe(replace(resumed, done=0))
    own, other = (float((each.image - whole.image).abs().mean()) for each in (last, restarted))
    assert own < 0.6 * other


# ---------------------------------------------------------------------------------------------------- balance


def gradient_norms(content: Picture, style: Picture, options: PaintOptions) -> dict[str, float]:
    """Return the gradient norm of each weighted loss at the reference picture, by name."""
    context = set_up(content, [style], options, EXACT)
    size = context.sizes[-1][0]
    photo = images.resize(context.content, size)
    picture = reference_picture(photo, context.styles, context.options).requires_grad_()
    features = {**context.encoder(picture, (*options.style_layers, *options.content_layers)), "pixels": picture}
    lengths = {}
    for term in objective_at(context, size):
        (gradient,) = torch.autograd.grad(term.weight * term.loss(features), picture, retain_graph=True)
        lengths[term.loss.name] = float(gradient.norm())
    return lengths


@pytest.mark.parametrize("style_weight", [1.0, 50.0])
def test_balance_sets_the_ratio_of_content_and_style_gradients(
    content: Picture, style: Picture, options: PaintOptions, style_weight: float
) -> None:
    lengths = gradient_norms(content, style, options.changed(balance=0.3, style_weight=style_weight))
    assert lengths["content"] == pytest.approx(0.3 * lengths["style"], rel=1e-3)


def test_balance_is_off_by_default(content: Picture, style: Picture, options: PaintOptions) -> None:
    context = set_up(content, [style], options.changed(content_weight=0.7), EXACT)
    assert [term.weight for term in objective_at(context, context.sizes[0][0]) if term.loss.name == "content"] == [0.7]


@pytest.mark.slow
def test_a_larger_balance_keeps_more_of_the_photo(content: Picture, style: Picture, options: PaintOptions) -> None:
    kept, lost = (last_of(content, [style], options.changed(balance=balance)).image for balance in (100.0, 0.01))
    photo = images.resize(content.image, (64, 64))
    assert (kept - photo).abs().mean() < (lost - photo).abs().mean()


# ---------------------------------------------------------------------------------------------------- styles


def style_of(
    styles: list[Style], options: PaintOptions, content: Picture, edge_px: float = 64, **changes: Any
) -> dict[str, Moments]:
    context = set_up(content, styles, options.changed(margin=0, **changes), EXACT)
    objective = objective_at(context, (int(edge_px), int(edge_px)))
    (target,) = [term.loss.target for term in objective if term.loss.name == "style"]  # type: ignore[attr-defined]
    return dict(target)


def test_several_styles_are_blended_by_their_weights(content: Picture, style: Picture, options: PaintOptions) -> None:
    other = images.read(style.image.flip(1))
    alone = [style_of([each], options, content)["relu3_1"] for each in (style, other)]
    equal = style_of([style, other], options, content)["relu3_1"]
    torch.testing.assert_close(equal.mean, (alone[0].mean + alone[1].mean) / 2)
    pushed = style_of([style, other], options, content, style_weights=(3.0, -1.0))["relu3_1"]
    torch.testing.assert_close(pushed.covariance, 1.5 * alone[0].covariance - 0.5 * alone[1].covariance)


def test_two_style_scales_apply_to_fine_and_coarse_layers(content: Picture, style: Picture, options: PaintOptions) -> None:
    mixed = style_of([style], options, content, style_scales=(0.5, 2.0))
    fine, coarse = (style_of([style], options, content, style_scale=scale) for scale in (0.5, 2.0))
    assert list(mixed) == list(options.style_layers)
    for layer in ("relu1_1", "relu2_1", "relu3_1"):
        torch.testing.assert_close(mixed[layer].covariance, fine[layer].covariance)
    for layer in ("relu4_1", "relu5_1"):
        torch.testing.assert_close(mixed[layer].covariance, coarse[layer].covariance)
    assert not torch.allclose(fine["relu4_1"].mean, coarse["relu4_1"].mean)


def test_style_scales_multiply_style_scale_and_unused_scales_are_omitted(
    content: Picture, style: Picture, options: PaintOptions
) -> None:
    options = options.changed(style_layers=("relu1_1", "relu2_1"), layer_weights=(0.9, 0.1))
    twice = style_of([style], options, content, style_scales=(1.0, 3.0), style_scale=2.0)
    once = style_of([style], options, content, style_scale=2.0)
    torch.testing.assert_close(twice["relu2_1"].mean, once["relu2_1"].mean)


@pytest.mark.slow
def test_two_equal_scales_paint_like_one_scale(content: Picture, style: Picture, options: PaintOptions) -> None:
    one, two = (last_of(content, [style], options.changed(style_scales=scales)).image for scales in ((), (1.0, 1.0)))
    torch.testing.assert_close(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["gram-moments", "gram", "moments", "wasserstein"])
def test_a_negative_style_weight_gives_finite_results(
    content: Picture, style: Picture, options: PaintOptions, statistics: str
) -> None:
    other = images.read(style.image.flip(1).roll(7, 3))
    last = last_of(content, [style, other], options.changed(style_weights=(2.0, -1.0), statistics=statistics, steps=6))
    assert math.isfinite(last.loss)
    assert bool(last.image.isfinite().all())


def test_the_style_is_encoded_at_the_picture_size_times_its_scale(
    content: Picture, style: Picture, options: PaintOptions
) -> None:
    context = set_up(content, [style], options.changed(margin=0), EXACT)
    for scale in (0.5, 1.0, 2.0):
        seen = images.resize(style.image, images.fitted_size(style.size, round(64 * scale)))
        expected = moments(context.encoder(seen, ["relu2_1"])["relu2_1"])
        found = style_of([style], options, content, style_scale=scale)["relu2_1"]
        torch.testing.assert_close(found.mean, expected.mean, rtol=1e-3, atol=1e-4)


def test_style_size_encodes_the_style_at_a_fixed_size(content: Picture, style: Picture, options: PaintOptions) -> None:
    context = set_up(content, [style], options.changed(margin=0), EXACT)
    seen = images.resize(style.image, images.fitted_size(style.size, 96))
    expected = moments(context.encoder(seen, ["relu2_1"])["relu2_1"])
    for changes in ({"style_size": 96}, {"style_size": 48, "style_scale": 2.0}):
        for size in (48, 64):
            found = style_of([style], options, content, size, **changes)["relu2_1"]
            torch.testing.assert_close(found.mean, expected.mean, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_named_style_and_its_picture_have_nearly_the_same_moments(content: Picture, style: Picture, tmp_path: Path) -> None:
    slim = load_encoder("vgg19-slim")

    def measure(edge_px: int) -> dict[str, Moments]:
        seen = images.resize(style.image, images.fitted_size(style.size, edge_px))
        with torch.no_grad():
            return {layer: moments(features) for layer, features in slim(seen, STYLE_LAYERS).items()}

    save_style(tmp_path / "coffee", measured_style({"name": "coffee"}, measure, colors_of(style), sizes=(64, 96)))
    context = set_up(content, [style], paint_options(recipe="gatys", size=64), EXACT)
    named, pictured = (style_moments(context, each, 96) for each in (load_style(tmp_path / "coffee"), style))
    for layer in STYLE_LAYERS:
        torch.testing.assert_close(
            named[layer].mean, pictured[layer].mean, rtol=1e-2, atol=1e-2 * float(pictured[layer].mean.abs().max())
        )
        difference = (named[layer].gram - pictured[layer].gram).norm()
        assert float(difference) < 0.05 * float(pictured[layer].gram.norm())
    between = style_moments(context, load_style(tmp_path / "coffee"), 80)
    assert float((between["relu3_1"].gram - pictured["relu3_1"].gram).norm()) < 0.2 * float(pictured["relu3_1"].gram.norm())


def test_a_named_style_of_another_encoder_is_refused(content: Picture, style: Picture) -> None:
    facts = {"name": "old", "encoder_sha256": "0" * 64}
    named = measured_style(facts, lambda edge_px: {}, colors_of(style), sizes=(64,))
    with pytest.raises(StyleFileError, match="style 'old' was measured with another version of vgg19-slim"):
        set_up(content, [named], paint_options(recipe="gatys", size=64, color="style"), EXACT)


# ---------------------------------------------------------------------------------------------------- hard pictures


@pytest.mark.slow
@pytest.mark.parametrize("color", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("statistics", ["gram-moments", "gram", "moments", "wasserstein"])
def test_a_style_of_one_color_gives_finite_results(
    content: Picture, options: PaintOptions, color: float, statistics: str
) -> None:
    flat = images.read(torch.full((1, 3, 40, 50), color))
    last = last_of(content, [flat], options.changed(statistics=statistics))
    assert math.isfinite(last.loss)
    assert bool(last.image.isfinite().all())


@pytest.mark.slow
@pytest.mark.parametrize("color", [0.0, 1.0])
@pytest.mark.parametrize("normalization", ["relative", "scaled", "mean"])
def test_a_content_of_one_color_gives_finite_results(
    style: Picture, options: PaintOptions, color: float, normalization: str
) -> None:
    flat = images.read(torch.full((1, 3, 40, 50), color))
    last = last_of(flat, [style], options.changed(content_normalization=normalization))
    assert math.isfinite(last.loss)
    assert bool(last.image.isfinite().all())


@pytest.mark.slow
@given(height=st.integers(8, 90), width=st.integers(8, 90), style_height=st.integers(8, 70), style_width=st.integers(8, 70))
def test_pictures_of_any_size_are_painted_or_refused_in_one_sentence(
    encoder_file: str, height: int, width: int, style_height: int, style_width: int
) -> None:
    assume((height + width + style_height) % 3 == 0)  # a third of the cases is enough
    random = torch.Generator().manual_seed(0)
    content, style = (
        images.read(torch.rand((1, 3, *s), generator=random)) for s in ((height, width), (style_height, style_width))
    )
    options = PaintOptions(encoder=encoder_file, size=40, steps=1)
    if min(images.fitted_size((height, width), 40)) < SMALLEST_SIDE:
        with pytest.raises(ShapeError, match=r"^[^\n]*use --size \d+ or more, or crop it$"):
            last_of(content, [style], options)
    else:
        assert last_of(content, [style], options).image.shape == (1, 3, *images.fitted_size((height, width), 40))


# ---------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("height", "width", "sentence"),
    [
        (1, 1, "content 'tensor' has 1x1 pixels, too few to show a photo; both sides must be at least 8"),
        (1, 5000, "content 'tensor' has 5000x1 pixels, too few to show a photo; both sides must be at least 8"),
        (
            20,
            100,
            "content 'tensor' of 100x20 pixels would be 64x13 at --size 64; both sides must be at least 32: "
            "use --size 160 or more, or crop it",
        ),
    ],
)
def test_a_content_too_small_or_too_narrow_is_refused(
    style: Picture, options: PaintOptions, height: int, width: int, sentence: str
) -> None:
    with pytest.raises(ShapeError) as caught:
        set_up(images.read(torch.rand(1, 3, height, width)), [style], options, EXACT)
    assert str(caught.value) == sentence


def test_the_size_suggested_for_a_narrow_picture_is_sufficient(style: Picture, options: PaintOptions) -> None:
    narrow_photo = images.read(torch.rand(1, 3, 20, 100))
    assert set_up(narrow_photo, [style], options.changed(size=160), EXACT).content.shape[-1] >= 160


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5000), (7, 300)])
def test_a_style_too_small_is_refused(content: Picture, options: PaintOptions, height: int, width: int) -> None:
    sentence = f"style 'tensor' has {width}x{height} pixels, too few to show a style; both sides must be at least 8"
    with pytest.raises(ShapeError, match=sentence):
        set_up(content, [images.read(torch.rand(1, 3, height, width))], options, EXACT)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"style_layers": ("relu9_1",)}, r"style layer 'relu9_1' is not in .*; did you mean 'relu\d_1'\?"),
        ({"content_layers": ("conv4-2",)}, r"content layer 'conv4-2' is not in .*; did you mean 'conv4_2'\?"),
        ({"style_weights": (1.0, 2.0)}, "--style-weights has 2 values for 1 styles; give one for each style"),
        ({"init": "contnet"}, r"--init 'contnet' is neither a known init nor a picture file; did you mean 'content'\?"),
        ({"encoder": "vgg19-slin"}, r"encoder 'vgg19-slin' is neither a name nor a file; did you mean 'vgg19-slim'\?"),
    ],
)
def test_unknown_names_are_refused_with_a_suggestion(
    content: Picture, style: Picture, options: PaintOptions, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(OptionError, match=sentence):
        set_up(content, [style], options.changed(**changes), EXACT)


@pytest.mark.parametrize("shape", [{}, {"blocks": BLOCKS_OF_VGG16, "with_heads": True}], ids=["narrow", "vgg16"])
def test_statistics_of_a_named_style_need_the_channels_of_vgg19(
    content: Picture, options: PaintOptions, shape: dict[str, Any]
) -> None:
    starry_night = find_style("starry-night")
    chosen = options.changed(color="style")  # the palette would need the swatch
    with pytest.raises(
        OptionError, match="contains statistics of VGG-19, which cannot be used with another network; give a picture"
    ):
        set_up(content, [starry_night], chosen, EXACT, encoder=Vgg((4, 5, 6, 7, 8), **shape))
    assert set_up(content, [starry_night], chosen, EXACT, encoder=Vgg((4, 5, 6, 7, 8), with_heads=True)).styles


def test_painting_without_a_style_is_refused(content: Picture, options: PaintOptions) -> None:
    with pytest.raises(OptionError, match="no style was given; give a picture or a named style"):
        set_up(content, [], options, EXACT)


def test_weights_that_sum_to_0_are_refused(content: Picture, style: Picture, options: PaintOptions) -> None:
    for weights in ((1.0, -1.0), (1.0, -3.0)):
        with pytest.raises(OptionError, match=r"--style-weights .* the sum must be above 0"):  # before anything is painted
            set_up(content, [style, style], options.changed(style_weights=weights), EXACT)


def test_invalid_files_are_refused(content: Picture, style: Picture, options: PaintOptions, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ImageFileError):
        set_up(content, [style], options.changed(init=str(tmp_path / "text.png")), EXACT)
    with pytest.raises(WeightsError):
        set_up(content, [style], options.changed(encoder=str(tmp_path / "text.png")), EXACT)


# ---------------------------------------------------------------------------------------------------- memory


def predicted(vgg: Vgg, edge_px: int, options: PaintOptions, precision: str = "fp32") -> int:
    arithmetic = Arithmetic(torch.device("cpu"), precision)  # type: ignore[arg-type]
    return predicted_memory(vgg, (edge_px, edge_px), options, arithmetic)


def test_predicted_memory_grows_with_pixels_depth_and_precision(narrow: Callable[..., Vgg]) -> None:
    vgg = narrow()
    options = paint_options(recipe="gatys", content_layers=("relu2_1",), style_layers=("relu1_1",))
    fixed, small, large = (predicted(vgg, edge, options) for edge in (0, 512, 1024))
    assert large - fixed == pytest.approx(4 * (small - fixed), rel=1e-3)
    assert predicted(vgg, 512, options.changed(content_layers=("relu5_1",))) > small
    assert predicted(vgg, 512, options, "bf16") < small
    assert predicted(vgg, 512, options.changed(optimizer="lbfgs")) > small


def test_a_size_that_exceeds_the_memory_is_refused_with_one_that_fits(
    content: Picture, style: Picture, options: PaintOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "available_memory", lambda device: 2**30)
    with pytest.raises(
        ResourceError, match=r"--size 20000 needs about [\d.]+ GiB of memory, but only 1.0 GiB are free; --size \d+ would fit"
    ) as caught:
        set_up(content, [style], options.changed(size=20_000, balance=1.0), EXACT)  # balanced weights need the whole picture
    fits = int(str(caught.value).split("--size ")[-1].split()[0])
    assert 500 < fits < 20_000
    context = set_up(content, [style], options.changed(size=64), EXACT)
    assert (
        predicted(context.encoder, fits, context.options)
        < 2**30
        < predicted(context.encoder, round(1.2 * fits), context.options)
    )


def test_no_size_is_suggested_if_none_fits(
    content: Picture, style: Picture, options: PaintOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "available_memory", lambda device: 10_000)
    with pytest.raises(ResourceError, match="no size would fit: close other programs"):
        set_up(content, [style], options, EXACT)


def test_painting_starts_if_the_free_memory_is_unknown(
    content: Picture, style: Picture, options: PaintOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "available_memory", lambda device: None)
    assert set_up(content, [style], options.changed(margin=0.0), EXACT).sizes[-1][0] == (64, 64)


# ---------------------------------------------------------------------------------------------------- golden

GOLDEN = Path(__file__).parent / "golden" / "gatys.json"


@pytest.mark.slow
def test_the_recipe_reproduces_the_golden_picture(content: Picture, style: Picture, encoder_file: str) -> None:
    """Every option is given, so that only a change of the recipe itself, and none of a default, changes the picture."""
    options = PaintOptions(
        recipe="gatys",
        encoder=encoder_file,
        size=64,
        content_weight=0.5,
        style_weight=1.0,
        content_layers=("relu3_1",),
        style_layers=STYLE_LAYERS,
        statistics="gram-moments",
        smoothness_weight=0.1,
        smoothness_form="l2",
        edge_aware_weight=0.0,
        structure_weight=0.1,
        pooling="max",
        border="replicate",
        margin=0.05,
        canvas="soft-chroma",
        init="content",
        optimizer="adam",
        steps=25,
        learning_rate=0.02,
        betas=(0.9, 0.99),
        averaging=0.9,
        decay="each",
        step_growth=1.0,
        smallest_size=64,
    )
    image = last_of(content, [style], options).image
    found = torch.nn.functional.adaptive_avg_pool2d(image, 8)
    expected = torch.tensor(json.loads(GOLDEN.read_text()))
    torch.testing.assert_close(found[0], expected, atol=0.01, rtol=0)
    assert float((expected - torch.nn.functional.adaptive_avg_pool2d(content.image, 8)[0]).abs().max()) > 0.1


def test_the_predicted_time_excludes_waiting_for_the_processor(
    content: Picture, style: Picture, options: PaintOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def predicted(*trials: float) -> float:
        readings = [0.0]
        for seconds in trials:
            readings += [readings[-1] + seconds, readings[-1] + seconds]
        readings += [readings[-1]] * 9
        monkeypatch.setattr(gatys, "seconds_now", lambda: readings.pop(0))
        return gatys.predicted_seconds(gatys.set_up(content, [style], options, EXACT))

    assert predicted(9.0, 1.0, 1.0, 1.0) == predicted(1.0, 9.0, 1.0, 7.0) == pytest.approx(predicted(2.0, 2.0, 2.0, 2.0) / 2)


def test_the_predicted_time_grows_with_the_steps_and_respects_the_time_limit(
    content: Picture, style: Picture, options: PaintOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(10_000))
    monkeypatch.setattr(gatys, "seconds_now", lambda: float(next(ticks)))
    few, many, limited = (
        gatys.predicted_seconds(gatys.set_up(content, [style], options.changed(smallest_size=64, **changes), EXACT))
        for changes in ({"steps": 2}, {"steps": 20}, {"steps": 20, "seconds": 3.0})
    )
    assert many == pytest.approx(10 * few)
    assert limited == 3.0


def test_the_predicted_time_includes_the_search_for_neighbors(
    content: Picture, style: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Painting one step at 8192 pixels took ten times as long as predicted."""
    ticks = iter(range(10_000))
    monkeypatch.setattr(gatys, "seconds_now", lambda: float(next(ticks)))
    one, eleven = (
        gatys.predicted_seconds(gatys.set_up(content, [style], paint_options(size=64, smallest_size=64, steps=steps), EXACT))
        for steps in (1, 11)
    )
    step = (eleven - one) / 10
    assert one == pytest.approx(5 * step)


def test_the_time_of_a_resumed_painting_is_predicted_at_a_small_size(
    content: Picture, style: Picture, options: PaintOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first size of a resumed painting may be so large that it does not fit into memory as a whole."""
    encode, sides = gatys.set_up(content, [style], options, EXACT).arithmetic.encode, []
    context = gatys.set_up(content, [style], options, EXACT)

    def tracked(encoder: Any, picture: torch.Tensor, layers: Any) -> Any:
        sides.append(max(picture.shape[-2:]))
        return encode(encoder, picture, layers)

    monkeypatch.setattr(type(context.arithmetic), "encode", lambda self, *given: tracked(*given))
    gatys.predicted_seconds(replace(context, start=torch.rand(1, 3, 900, 700), sizes=(((900, 700), 1),)))
    assert set(sides) == {512}


@pytest.mark.parametrize("recipe", ["gatys", "neighbors"])
def test_the_time_of_a_narrow_painting_is_predicted_at_a_size_that_the_encoder_accepts(style: Picture, recipe: Any) -> None:
    """At 512 pixels, a side of this picture would have 6, from which a network with four poolings leaves nothing."""
    narrow_photo = images.read(torch.rand(1, 3, 32, 2560))
    context = gatys.set_up(narrow_photo, [style], paint_options(recipe=recipe, size=2560, margin=0), EXACT)
    assert min(context.start.shape[-2:]) == SMALLEST_SIDE
    assert gatys.predicted_seconds(context) > 0

"""Features of other programs for losses, styles, masks and color, each with the test that uses it on real pictures.

:data:`ROWS` lists the features by their names in the survey of peers, as ``file: test``. Features that belong to other recipes
(texture synthesis, analogies, doodles), or that are not needed, are in :data:`ELSEWHERE` with the reason. Tests that belong to
no other file are below.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import skimage.data
import torch
from torch import Tensor

from impasto import images
from impasto.encoders import Vgg
from impasto.images import Picture
from impasto.optim.engine import Step
from impasto.options import ContentNormalization, PaintOptions, Pooling, Run, SmoothnessForm
from impasto.recipes import gatys
from impasto.recipes.painting import paint
from impasto.recipes.presets import paint_options
from impasto.weights import save_vgg

EXACT = Run(device="cpu", precision="fp32")
HERE = Path(__file__).resolve().parent

ROWS: dict[str, dict[str, str]] = {
    "Losses and knobs": {
        "Choose content layer(s)": "recipes/test_gatys: test_the_content_weight_is_divided_among_the_content_layers",
        "Choose style layers": "test_peers: test_style_layers_and_their_weights_affect_the_painting",
        "Per-layer style weights": "test_peers: test_style_layers_and_their_weights_affect_the_painting",
        "Alternative content-loss normalisation": "test_peers: test_every_content_normalization_paints",
        "Gram loss": "recipes/test_gatys: test_painting_decreases_the_objective",
        "Activation shift / chained layers / geometric weights (Novak-Nikulin)": (
            "recipes/test_statistics: test_the_activation_shift_applies_to_chained_gram_matrices"
        ),
        "Mean+covariance (W2) / moment loss": "recipes/test_gatys: test_painting_decreases_the_objective",
        "Histogram loss": "recipes/test_statistics: test_painting_moves_the_picture_toward_the_style",
        "Patch / MRF / nearest-neighbour loss": "recipes/test_statistics: test_painting_moves_the_picture_toward_the_style",
        "Self-similarity content loss": "recipes/test_statistics: test_content_can_be_compared_by_self_similarity",
        "Total variation": "test_peers: test_every_form_of_total_variation_smooths_the_painting",
        "Pooling max/avg choice": "test_peers: test_every_pooling_gives_a_different_picture",
        "Backbone choice": "compat/test_inetwork: test_the_commands_of_the_article_run_unchanged",
        "Init: content": "recipes/test_gatys: test_painting_starts_from_the_selected_init",
        "Init: noise": "recipes/test_gatys: test_painting_starts_from_the_selected_init",
        "Init: style image": "recipes/test_gatys: test_painting_starts_from_the_selected_init",
        "Init: grey / style colour statistics": "recipes/test_gatys: test_init_style_statistics_is_noise_in_the_styles_colors",
        "Init: any given image (also = manual resume)": "recipes/test_gatys: test_painting_starts_from_the_selected_init",
        "Noise/content blend ratio at init": (
            "recipes/test_gatys: test_init_blend_mixes_the_assignments_noise_around_the_mean_color"
        ),
        "Seed option": "recipes/test_gatys: test_a_run_is_bit_identical_with_the_same_seed_and_differs_with_another",
    },
    "Several styles, strength, scale": {
        "Blend several style images": "recipes/test_gatys: test_several_styles_are_blended_by_their_weights",
        "Negative style weight": "recipes/test_gatys: test_a_negative_style_weight_gives_finite_results",
        "Style strength at inference, no retraining": (
            "recipes/test_instant: test_higher_strength_increases_the_distance_from_the_photo"
        ),
        "Style size / stroke scale": "recipes/test_gatys: test_the_style_is_encoded_at_the_picture_size_times_its_scale",
        "Different strength per region": "recipes/test_regions: test_a_higher_region_strength_increases_the_change",
        "Style image keeps its own aspect ratio": "test_peers: test_a_style_picture_keeps_its_aspect_ratio",
    },
    "Masks, semantics": {
        "One mask per style": "recipes/test_regions: test_each_style_is_applied_inside_its_mask",
        "Keep part of the content untouched": "recipes/test_regions: test_protected_areas_equal_the_photo_exactly",
        "Soft (non-binary) masks in the loss": "test_peers: test_a_soft_mask_applies_less_style_where_it_is_gray",
        "Automatic regions (segmentation)": "recipes/test_regions: test_protect_auto_skin_keeps_the_face",
    },
    "Colour": {
        "Keep content colour, luminance swap": (
            "recipes/test_coloring: test_every_mode_moves_painted_results_toward_its_palette"
        ),
        "Choice of colour space": "recipes/test_coloring: test_keeping_colors_does_not_darken_the_result",
        "Match style colours to content (mean+cov)": (
            "recipes/test_coloring: test_match_style_recolors_styles_before_they_are_encoded"
        ),
        "Histogram matching": "recipes/test_coloring: test_every_mode_moves_instant_results_toward_its_palette",
        "Keep colours under a mask": "recipes/test_coloring: test_a_color_mask_limits_the_area",
        "Force output to style palette": ("recipes/test_coloring: test_every_mode_moves_painted_results_toward_its_palette"),
        "ICC / CMYK proof": "images/test_proof: test_paint_limits_photo_and_style_to_the_printer_gamut",
    },
}

ELSEWHERE = {
    "Doodle / semantic maps": "a recipe of its own",
    "Image analogies A:A'::B": "a recipe of its own",
    "Texture synthesis (no content)": "a recipe of its own",
    "In-painting / tileable / expand": "a recipe of its own",
    "Median filter on output": "not needed: the result has no dots to filter",
}
LISTED = [(feature, where) for rows in ROWS.values() for feature, where in rows.items()]


@pytest.mark.parametrize(("feature", "where"), LISTED, ids=[feature for feature, _ in LISTED])
def test_the_test_for_each_feature_exists(feature: str, where: str) -> None:
    file, name = where.split(": ")
    assert re.search(rf"^def {name}\(", (HERE / f"{file}.py").read_text(encoding="utf-8"), re.MULTILINE), feature


def test_every_feature_of_the_survey_is_listed(shared: Path) -> None:
    survey = (shared / "PEERS.md").read_text(encoding="utf-8")
    for group, rows in ROWS.items():
        table = survey.split(f"| **{group}** |")[1].split("| **")[0]
        features = re.findall(r"^\| ([^|*]+?) \|", table, re.MULTILINE)
        assert features
        assert set(features) - set(ELSEWHERE) == set(rows)


# ---------------------------------------------------------------------------------------------------- real pictures

PHOTO = images.read(skimage.data.astronaut()[:384:4, 32:416:4])
STYLE = images.read(skimage.data.coffee()[::8, ::8])


@pytest.fixture(scope="session")
def options(narrow: Callable[..., Vgg], tmp_path_factory: pytest.TempPathFactory) -> PaintOptions:
    path = tmp_path_factory.mktemp("encoders") / "narrow.safetensors"
    save_vgg(path, narrow(), {}, bits=16)
    return paint_options(recipe="gatys", encoder=str(path), size=64, steps=4, smallest_size=64, margin=0.0, layer_weights=())


def painted(options: PaintOptions, styles: tuple[Picture, ...] = (STYLE,), **changes: Any) -> Step:
    *_, last = gatys.steps(PHOTO, styles, options.changed(**changes), EXACT)
    return last


def roughness(image: Tensor) -> float:
    return float(image.diff(dim=-1).abs().mean() + image.diff(dim=-2).abs().mean())


@pytest.mark.slow
def test_style_layers_and_their_weights_affect_the_painting(options: PaintOptions) -> None:
    both: dict[str, Any] = {"style_layers": ("relu1_1", "relu3_1"), "init": "noise", "content_weight": 0.0}
    fine = painted(options, style_layers=("relu1_1",), init="noise", content_weight=0.0).image
    weighted = painted(options, **both, layer_weights=(1.0, 0.0)).image
    torch.testing.assert_close(weighted, fine, atol=1e-3, rtol=0)
    assert float((painted(options, **both, layer_weights=(0.0, 1.0)).image - fine).abs().mean()) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("normalization", get_args(ContentNormalization))
def test_every_content_normalization_paints(options: PaintOptions, normalization: str) -> None:
    weights = {"relative": 1.0, "scaled": 0.01}
    last = painted(options, content_normalization=normalization, content_weight=weights.get(normalization, 1e-4))
    assert last.losses["content"] > 0
    assert float((last.image - images.resize(PHOTO.image, (64, 64))).abs().mean()) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("form", get_args(SmoothnessForm))
def test_every_form_of_total_variation_smooths_the_painting(options: PaintOptions, form: str) -> None:
    means = form in ("l1", "l2", "nine-point")
    strong = painted(options, smoothness_form=form, smoothness_weight=200.0 if means else 0.2, steps=12)
    assert roughness(strong.image) < 0.9 * roughness(painted(options, smoothness_weight=0.0, steps=12).image)


@pytest.mark.slow
def test_every_pooling_gives_a_different_picture(options: PaintOptions) -> None:
    found = [painted(options, pooling=pooling).image for pooling in get_args(Pooling)]
    for index, one in enumerate(found):
        assert bool(one.isfinite().all())
        assert all(float((one - other).abs().max()) > 1e-4 for other in found[:index])


@pytest.mark.slow
def test_a_style_picture_keeps_its_aspect_ratio(options: PaintOptions) -> None:
    """A wide style picture is not stretched to the photo's square; its longer side has the length of the painting's."""
    wide = images.read(skimage.data.coffee()[:200:4, ::4])
    pressed = images.read(images.resize(wide.image, (64, 64)))
    shown = images.read(images.resize(wide.image, images.fitted_size(wide.size, 64)))
    one, same, other = (painted(options, (style,)).image for style in (wide, shown, pressed))
    assert float((one - same).abs().mean()) < 0.3 * float((one - other).abs().mean())


@pytest.mark.slow
def test_lbfgs_stores_the_requested_number_of_steps(options: PaintOptions) -> None:
    chosen = options.changed(optimizer="lbfgs", learning_rate=1.0, canvas="pixels", decay="never", averaging=0.0, steps=12)
    stored_one, stored_many = (painted(chosen, lbfgs_history=count) for count in (1, 20))
    assert float((stored_one.image - stored_many.image).abs().max()) > 1e-3


@pytest.mark.slow
def test_a_soft_mask_applies_less_style_where_it_is_gray(options: PaintOptions) -> None:
    photo = images.resize(PHOTO.image, (64, 64))
    change = {}
    for level in (0.25, 1.0):
        mask = torch.full((1, 3, 64, 64), level)
        found = paint(PHOTO, STYLE, run=EXACT, style_masks=mask, encoder=options.encoder, size=64, steps=8, smallest_size=64)
        change[level] = float((found.image - photo).abs().mean())
    assert 0 < change[0.25] < 0.6 * change[1.0]

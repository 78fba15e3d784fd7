"""What other programs have of losses, styles, masks and color: for each feature, the test that uses it on real pictures.

:data:`ROWS` is the list, feature by feature as the survey of peers names it; a line is ``file: test``. Features that belong to
other recipes (texture synthesis, analogies, doodles), or that are not needed, are in :data:`ELSEWHERE` with the reason. Tests
for which no other file fits are below.
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
        "Choose content layer(s)": "recipes/test_gatys: test_the_content_weight_is_shared_by_the_content_layers",
        "Choose style layers": "test_peers: test_style_layers_and_their_weights_are_what_is_painted",
        "Per-layer style weights": "test_peers: test_style_layers_and_their_weights_are_what_is_painted",
        "Alternative content-loss normalisation": "test_peers: test_every_normalization_of_the_content_paints",
        "Gram loss": "recipes/test_gatys: test_painting_brings_the_objective_down",
        "Activation shift / chained layers / geometric weights (Novak-Nikulin)": (
            "recipes/test_statistics: test_the_activation_shift_reaches_the_chained_products"
        ),
        "Mean+covariance (W2) / moment loss": "recipes/test_gatys: test_painting_brings_the_objective_down",
        "Histogram loss": "recipes/test_statistics: test_painting_takes_the_picture_towards_the_style",
        "Patch / MRF / nearest-neighbour loss": "recipes/test_statistics: test_painting_takes_the_picture_towards_the_style",
        "Self-similarity content loss": "recipes/test_statistics: test_content_can_be_compared_by_self_similarity",
        "Total variation": "test_peers: test_every_total_variation_makes_a_painting_smoother",
        "Pooling max/avg choice": "test_peers: test_every_pooling_paints_a_picture_of_its_own",
        "Backbone choice": "compat/test_inetwork: test_the_articles_commands_run_as_they_are_printed",
        "Init: content": "recipes/test_gatys: test_painting_starts_from_what_init_says",
        "Init: noise": "recipes/test_gatys: test_painting_starts_from_what_init_says",
        "Init: style image": "recipes/test_gatys: test_painting_starts_from_what_init_says",
        "Init: grey / style colour statistics": "recipes/test_gatys: test_style_statistics_give_noise_the_colors_of_the_style",
        "Init: any given image (also = manual resume)": "recipes/test_gatys: test_painting_starts_from_what_init_says",
        "Noise/content blend ratio at init": "recipes/test_gatys: test_a_blend_is_the_assignments_noise_around_the_mean_color",
        "Seed option": "recipes/test_gatys: test_a_run_repeats_itself_to_the_bit_and_another_seed_differs",
    },
    "Several styles, strength, scale": {
        "Blend several style images": "recipes/test_gatys: test_several_styles_are_blended_by_their_weights",
        "Negative style weight": "recipes/test_gatys: test_a_style_pushed_away_from_leaves_numbers",
        "Style strength at inference, no retraining": "recipes/test_instant: test_more_strength_leads_further_from_the_photo",
        "Style size / stroke scale": "recipes/test_gatys: test_the_style_is_seen_at_the_size_of_the_picture_times_its_scale",
        "Different strength per region": "recipes/test_regions: test_a_stronger_region_goes_further",
        "Style image keeps its own aspect ratio": "test_peers: test_a_style_picture_keeps_its_own_proportions",
    },
    "Masks, semantics": {
        "One mask per style": "recipes/test_regions: test_each_style_goes_where_its_mask_is",
        "Keep part of the content untouched": "recipes/test_regions: test_what_is_protected_is_the_photo_bit_for_bit",
        "Soft (non-binary) masks in the loss": "test_peers: test_a_soft_mask_paints_less_where_it_is_gray",
        "Automatic regions (segmentation)": "recipes/test_regions: test_protected_skin_is_the_face",
    },
    "Colour": {
        "Keep content colour, luminance swap": (
            "recipes/test_coloring: test_every_mode_brings_the_painter_nearer_to_the_palette_it_names"
        ),
        "Choice of colour space": "recipes/test_coloring: test_colors_kept_do_not_blacken",
        "Match style colours to content (mean+cov)": (
            "recipes/test_coloring: test_styles_take_the_palette_of_the_photo_before_they_are_looked_at"
        ),
        "Histogram matching": "recipes/test_coloring: test_every_mode_brings_one_pass_nearer_to_the_palette_it_names",
        "Keep colours under a mask": "recipes/test_coloring: test_a_mask_says_where",
        "Force output to style palette": (
            "recipes/test_coloring: test_every_mode_brings_the_painter_nearer_to_the_palette_it_names"
        ),
        "ICC / CMYK proof": "images/test_proof: test_photo_and_style_are_painted_in_the_colors_of_a_printer",
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
def test_the_test_of_a_feature_exists(feature: str, where: str) -> None:
    file, name = where.split(": ")
    assert re.search(rf"^def {name}\(", (HERE / f"{file}.py").read_text(encoding="utf-8"), re.MULTILINE), feature


def test_no_feature_of_the_survey_is_left_out(shared: Path) -> None:
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


def test_style_layers_and_their_weights_are_what_is_painted(options: PaintOptions) -> None:
    both: dict[str, Any] = {"style_layers": ("relu1_1", "relu3_1"), "init": "noise", "content_weight": 0.0}
    fine = painted(options, style_layers=("relu1_1",), init="noise", content_weight=0.0).image
    weighted = painted(options, **both, layer_weights=(1.0, 0.0)).image
    torch.testing.assert_close(weighted, fine, atol=1e-3, rtol=0)
    assert float((painted(options, **both, layer_weights=(0.0, 1.0)).image - fine).abs().mean()) > 1e-3


@pytest.mark.parametrize("normalization", get_args(ContentNormalization))
def test_every_normalization_of_the_content_paints(options: PaintOptions, normalization: str) -> None:
    weights = {"relative": 1.0, "scaled": 0.01}
    last = painted(options, content_normalization=normalization, content_weight=weights.get(normalization, 1e-4))
    assert last.losses["content"] > 0
    assert float((last.image - images.resize(PHOTO.image, (64, 64))).abs().mean()) > 1e-3


@pytest.mark.parametrize("form", get_args(SmoothnessForm))
def test_every_total_variation_makes_a_painting_smoother(options: PaintOptions, form: str) -> None:
    means = form in ("l1", "l2", "nine-point")
    strong = painted(options, smoothness_form=form, smoothness_weight=200.0 if means else 0.2, steps=12)
    assert roughness(strong.image) < 0.9 * roughness(painted(options, smoothness_weight=0.0, steps=12).image)


def test_every_pooling_paints_a_picture_of_its_own(options: PaintOptions) -> None:
    found = [painted(options, pooling=pooling).image for pooling in get_args(Pooling)]
    for index, one in enumerate(found):
        assert bool(one.isfinite().all())
        assert all(float((one - other).abs().max()) > 1e-4 for other in found[:index])


def test_a_style_picture_keeps_its_own_proportions(options: PaintOptions) -> None:
    """A wide picture is not pressed into the photo's square: it is seen as it is, longer side as long as the painting's."""
    wide = images.read(skimage.data.coffee()[:200:4, ::4])
    pressed = images.read(images.resize(wide.image, (64, 64)))
    shown = images.read(images.resize(wide.image, images.fitted_size(wide.size, 64)))
    one, same, other = (painted(options, (style,)).image for style in (wide, shown, pressed))
    assert float((one - same).abs().mean()) < 0.3 * float((one - other).abs().mean())


def test_lbfgs_remembers_as_many_steps_as_asked(options: PaintOptions) -> None:
    chosen = options.changed(optimizer="lbfgs", learning_rate=1.0, canvas="pixels", decay="never", averaging=0.0, steps=12)
    forgetful, mindful = (painted(chosen, lbfgs_history=count) for count in (1, 20))
    assert float((forgetful.image - mindful.image).abs().max()) > 1e-3


def test_a_soft_mask_paints_less_where_it_is_gray(options: PaintOptions) -> None:
    photo = images.resize(PHOTO.image, (64, 64))
    change = {}
    for level in (0.25, 1.0):
        mask = torch.full((1, 3, 64, 64), level)
        found = paint(PHOTO, STYLE, run=EXACT, style_masks=mask, encoder=options.encoder, size=64, steps=8, smallest_size=64)
        change[level] = float((found.image - photo).abs().mean())
    assert 0 < change[0.25] < 0.6 * change[1.0]

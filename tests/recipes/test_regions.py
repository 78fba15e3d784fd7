"""Painting in regions, with real photos and styles, and with a narrow network where the look does not matter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import skimage.data
import torch
from torch import Tensor

import impasto
from impasto import images
from impasto.encoders import Vgg
from impasto.errors import OptionError
from impasto.losses.features import GuidedStyleLoss
from impasto.masks.skin import skin
from impasto.options import Run, StyleStatistics
from impasto.recipes import gatys, objectives
from impasto.recipes.context import encode
from impasto.recipes.masking import MaskSources, read_masking
from impasto.recipes.objectives import style_moments
from impasto.recipes.presets import paint_options
from impasto.recipes.statistics import PICTURE_STATISTICS
from impasto.weights import save_vgg

EXACT = Run(device="cpu", precision="fp32")
PHOTO = images.read(skimage.data.astronaut()[:384:4, 32:416:4])
STYLE, OTHER = images.read(skimage.data.coffee()[::8, ::8]), images.read(skimage.data.chelsea()[::8, ::8])


@pytest.fixture(scope="module")
def encoder_file(narrow: Callable[..., Vgg], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("encoders") / "narrow.safetensors"
    save_vgg(path, narrow(), {}, bits=16)
    return str(path)


def half(side: str) -> Tensor:
    mask = torch.zeros(96, 96)
    part = {"left": mask[:, :48], "right": mask[:, 48:], "top": mask[:48]}[side]
    part.fill_(1)
    return mask


def painted(encoder: str, styles: Any = STYLE, **options: Any) -> Tensor:
    settings = {"size": 64, "steps": 4, "smallest_size": 64, "encoder": encoder, "feather": 0.0} | options
    return impasto.paint(PHOTO, styles, run=EXACT, **settings).image


def difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().mean())


SMALL = images.resize(PHOTO.image, (64, 64))
BESIDE = (torch.tensor([0.9, 0.1, 0.1])[:, None, None], torch.tensor([0.1, 0.2, 0.9])[:, None, None])


@pytest.mark.slow
def test_protected_areas_equal_the_photo_exactly(encoder_file: str) -> None:
    image = painted(encoder_file, protect=half("left"))
    assert torch.equal(image[..., :32], SMALL[..., :32])
    assert difference(image[..., 34:], SMALL[..., 34:]) > 1e-2


def test_every_step_shows_the_photo_in_protected_areas(encoder_file: str) -> None:
    options = {"size": 96, "steps": 2, "smallest_size": 48, "encoder": encoder_file, "feather": 0.0}
    for step in impasto.steps(PHOTO, STYLE, run=EXACT, protect=half("top"), **options):
        photo = images.resize(PHOTO.image, (step.image.shape[-2], step.image.shape[-1]))
        assert torch.equal(step.image[..., : step.image.shape[-2] // 2 - 4, :], photo[..., : photo.shape[-2] // 2 - 4, :])
        assert step.losses["held"] >= 0


def test_a_protected_area_stays_close_to_the_photo_while_painting(encoder_file: str) -> None:
    masking = read_masking(MaskSources(protect=(half("left"),)), PHOTO, [STYLE])
    options = paint_options(recipe="gatys", size=64, steps=12, smallest_size=64, encoder=encoder_file, margin=0)
    context = gatys.set_up(PHOTO, [STYLE], options, EXACT, masking)
    assert "held" in dict.fromkeys(term.loss.name for term in objectives.objective_at(context, (64, 64)))
    free = gatys.set_up(PHOTO, [STYLE], options, EXACT)
    assert "held" not in dict.fromkeys(term.loss.name for term in objectives.objective_at(free, (64, 64)))


@pytest.mark.slow
def test_a_feather_makes_the_edge_soft(encoder_file: str) -> None:
    sharp, soft = (painted(encoder_file, protect=half("left"), feather=feather) for feather in (0.0, 0.2))
    assert torch.equal(soft[..., :32], SMALL[..., :32])
    beside = slice(33, 36)
    assert difference(soft[..., beside], SMALL[..., beside]) < difference(sharp[..., beside], SMALL[..., beside])


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["gram-moments", *PICTURE_STATISTICS])
def test_each_style_is_applied_inside_its_mask(encoder_file: str, statistics: StyleStatistics) -> None:
    masks, how = [half("left"), half("right")], {"recipe": "gatys", "statistics": statistics}
    one, turned = (painted(encoder_file, [STYLE, OTHER], style_masks=each, steps=20, **how) for each in (masks, masks[::-1]))
    for where, right, wrong in ((masks, one, turned), (masks[::-1], turned, one)):
        masking = read_masking(MaskSources(style_masks=tuple(where)), PHOTO, [STYLE, OTHER])
        options = paint_options(size=64, smallest_size=64, encoder=encoder_file, margin=0, **how)
        context = gatys.set_up(PHOTO, [STYLE, OTHER], options, EXACT, masking)
        loss = 1.0 * objectives.style_loss(context, (64, 64))
        near, far = (float(loss(encode(context, image, sorted(loss.layers)))[0]) for image in (right, wrong))
        assert near < far


@pytest.mark.slow
def test_masks_of_the_whole_picture_have_no_effect(encoder_file: str) -> None:
    plain, masked = painted(encoder_file), painted(encoder_file, style_masks="all")
    torch.testing.assert_close(masked, plain, atol=2e-3, rtol=0)


@pytest.mark.slow
def test_uncovered_areas_keep_the_photo_unless_first_style_is_selected(encoder_file: str) -> None:
    image = painted(encoder_file, style_masks=half("left"))
    assert torch.equal(image[..., 34:], SMALL[..., 34:])
    everywhere = painted(encoder_file, style_masks=half("left"), uncovered="first-style")
    assert difference(everywhere[..., 34:], SMALL[..., 34:]) > 1e-2


@pytest.mark.slow
def test_a_higher_region_strength_increases_the_change(encoder_file: str) -> None:
    masks = {"style_masks": [half("left"), half("right")], "steps": 12}
    weak = painted(encoder_file, [STYLE, STYLE], region_strengths=(0.02, 1.0), **masks)
    even = painted(encoder_file, [STYLE, STYLE], **masks)
    assert difference(weak[..., :30], SMALL[..., :30]) < difference(even[..., :30], SMALL[..., :30])


def test_a_region_of_a_style_picture_can_be_measured_alone(encoder_file: str) -> None:
    """The style has two halves of one color each, so the statistics of a half are those of one color."""
    two = torch.zeros(1, 3, 64, 64)
    two[..., :32], two[..., 32:] = 0.2, 0.8
    style = images.read(two)
    layers = ("relu1_1", "relu2_1")
    how = {"style_layers": layers, "margin": 0, "mask_shrinking": "inside"}
    options = paint_options(recipe="gatys", size=64, encoder=encoder_file, **how)
    context = gatys.set_up(PHOTO, [style], options, EXACT)
    left = images.resize(half("left")[None, None], (64, 64))
    part = style_moments(context, style, 64, (left > 0.5).float())
    alone = style_moments(context, images.read(torch.full((1, 3, 64, 64), 0.2)), 64)
    whole = style_moments(context, style, 64)
    for layer in layers:
        torch.testing.assert_close(part[layer].mean, alone[layer].mean, atol=1e-4, rtol=0)
        torch.testing.assert_close(part[layer].covariance, alone[layer].covariance, atol=1e-4, rtol=0)
        assert difference(whole[layer].mean, alone[layer].mean) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("statistics", PICTURE_STATISTICS)
def test_the_rest_of_a_style_picture_does_not_affect_its_region(encoder_file: str, statistics: StyleStatistics) -> None:
    """The loss of one half does not depend on the other half, and differs from that of the whole."""
    first, second = (images.read(torch.cat([STYLE.image, side.expand(STYLE.image.shape)], dim=-1)) for side in BESIDE)
    losses = []
    for style, part in ((first, True), (second, True), (first, False)):
        mask = torch.zeros(style.size)
        mask[:, : STYLE.size[1] - 8] = 1
        sources = MaskSources(style_masks=("all",), style_regions=(mask,) if part else ())
        how = {"statistics": statistics, "mask_shrinking": "inside", "style_layers": ("relu1_1", "relu2_1", "relu3_1")}
        options = paint_options(recipe="gatys", size=64, encoder=encoder_file, margin=0, **how)
        context = gatys.set_up(PHOTO, [style], options, EXACT, read_masking(sources, PHOTO, [style]))
        loss = 1.0 * objectives.style_loss(context, (64, 64))
        losses.append(float(loss(encode(context, SMALL, sorted(loss.layers)))[0]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert losses[0] != pytest.approx(losses[2], rel=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("shrinking", ["simple", "inside", "all"])
@pytest.mark.parametrize("statistics", ["gram-moments", "wasserstein", *PICTURE_STATISTICS])
def test_every_statistic_supports_every_mask_shrinking(encoder_file: str, shrinking: str, statistics: str) -> None:
    masks = {"style_masks": ["gradient:left-right", "gradient:right-left"], "protect": "gradient:radial"}
    how = {"recipe": "gatys", "mask_shrinking": shrinking, "statistics": statistics}
    image = painted(encoder_file, [STYLE, OTHER], **how, **masks)
    assert bool(image.isfinite().all())
    assert difference(image, SMALL) > 1e-3


@pytest.mark.slow
def test_the_objective_of_regions_decreases(encoder_file: str) -> None:
    masking = read_masking(MaskSources(style_masks=("auto:subject", "auto:background")), PHOTO, [STYLE, OTHER])
    options = paint_options(recipe="gatys", size=64, steps=30, smallest_size=64, encoder=encoder_file)
    steps = list(gatys.steps(PHOTO, [STYLE, OTHER], options, EXACT, masking))
    assert steps[-1].loss < steps[0].loss
    context = gatys.set_up(PHOTO, [STYLE, OTHER], options, EXACT, masking)
    loss = objectives.style_loss(context, context.sizes[-1][0])
    assert isinstance(loss, GuidedStyleLoss)
    assert sum(loss.shares) == pytest.approx(1, abs=0.02)


@pytest.mark.slow
def test_a_named_style_is_applied_to_an_automatic_region() -> None:
    pastiche = impasto.paint(
        PHOTO, ["starry-night", "great-wave"], style_masks=["auto:background", "auto:subject"], size=64, steps=2
    )
    assert pastiche.image.shape == (1, 3, 64, 64)
    assert [each["name"] for each in pastiche.record["masks"]["style_masks"]] == ["auto:background", "auto:subject"]


def test_protect_auto_skin_keeps_the_face(encoder_file: str) -> None:
    image = painted(encoder_file, protect="auto:skin", steps=6)
    assert torch.equal(image[..., 10:22, 23:32], SMALL[..., 10:22, 23:32])
    free = (images.resize(skin(PHOTO.image), (64, 64)) < 1e-3).expand_as(image)  # the suit may count as skin
    assert float(free.float().mean()) > 0.05
    assert difference(image[free], SMALL[free]) > 1e-2


def test_an_unknown_region_option_is_refused(encoder_file: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--mask-shrinking 'insde' is not known; did you mean 'inside'"):
        painted(encoder_file, style_masks="all", mask_shrinking="insde")
    with pytest.raises(OptionError, match="--uncovered 'style' is not known"):
        painted(encoder_file, style_masks="all", uncovered="style")
    with pytest.raises(OptionError, match="--region-strengths is -1; it must be a number from 0 to 10"):
        painted(encoder_file, style_masks="all", region_strengths=(-1,))

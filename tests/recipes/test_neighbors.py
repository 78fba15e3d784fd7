"""The neighbors recipe: results with every control, and refused options."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import skimage.data
import torch
import torch.nn.functional as F
from torch import Tensor

import impasto
from impasto import images
from impasto.encoders import Vgg
from impasto.errors import OptionError, StyleFileError
from impasto.features.neighbors import Matches
from impasto.images import Picture
from impasto.losses.neighbors import PaletteLoss
from impasto.losses.picture import luminance_of
from impasto.optim.shifts import ShiftedEncoder
from impasto.options import Run
from impasto.recipes import gatys, neighbors
from impasto.recipes.neighbor_layers import layers_at
from impasto.recipes.painting import read_style, run_recipe
from impasto.recipes.presets import paint_options
from impasto.recipes.starts import Checkpoint
from impasto.recipes.swatch import paint_swatch
from impasto.styles.named import NamedStyle, find_style, load_style, save_style

EXACT = Run(device="cpu", precision="fp32")
BRIEF: dict[str, Any] = {"size": 64, "steps": 6, "step_growth": 1.0}


@pytest.fixture
def style() -> Tensor:
    """A brown picture."""
    return torch.from_numpy(skimage.data.coffee()[::4, ::4].copy()).permute(2, 0, 1)[None].float() / 255


@pytest.fixture
def blue(random: torch.Generator) -> Tensor:
    """A blue picture of bold stripes, with some grain."""
    stripes = (torch.arange(96) // 6 % 2).float()[None, None, None].expand(1, 3, 96, 96)
    grain = 0.05 * torch.rand(1, 3, 96, 96, generator=random)
    return (stripes * 0.3 + torch.tensor([0.05, 0.15, 0.6])[None, :, None, None] + grain).clamp(0, 1)


def painted(photo: Any, style: Any, **options: Any) -> Tensor:
    return impasto.paint(photo, style, run=EXACT, **{**BRIEF, **options}).image


def mean_of(image: Tensor) -> Tensor:
    return image.mean((0, 2, 3))


def deviation_of_luminance(image: Tensor) -> float:
    return float(luminance_of(image).std())


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean().sqrt())


def test_a_painting_has_the_colors_of_the_style_and_the_shapes_of_the_photo(photo: Tensor, blue: Tensor) -> None:
    result = painted(photo, blue)
    small = images.resize(photo, (64, 64))
    torch.testing.assert_close(mean_of(result), mean_of(blue), atol=0.06, rtol=0)
    light, before = (each.mean(1).flatten() - each.mean() for each in (result, small))
    assert float(torch.corrcoef(torch.stack([light, before]))[0, 1]) > 0.2
    assert float(result.std()) > 0.05
    assert distance(result, small) > 0.1


@pytest.mark.parametrize("contrast", [0.1, 1.0], ids=["flat photo", "photo with contrast"])
def test_a_pale_style_gets_contrast_for_a_photo_with_much_more(style: Tensor, contrast: float) -> None:
    pale, photo = 0.4 + 0.2 * style, images.read(skimage.data.astronaut()[:256:2, 64:320:2].copy()).image
    photo = 0.5 + contrast * (photo - 0.5)
    gain = deviation_of_luminance(painted(photo, pale)) / deviation_of_luminance(pale)
    assert gain == pytest.approx(1.25 if contrast == 1 else 1.0, abs=0.04)


def test_the_objective_decreases_at_every_size(photo: Tensor, style: Tensor) -> None:
    steps = list(impasto.steps(photo, style, run=EXACT, size=128, steps=12, step_growth=1.0))
    for scale in {step.scale for step in steps}:
        here = [step.loss for step in steps if step.scale == scale]
        assert here[-1] < here[0]


def test_the_same_seed_gives_the_same_picture(photo: Tensor, style: Tensor) -> None:
    assert torch.equal(painted(photo, style), painted(photo, style))


def test_strength_0_returns_the_photo_and_higher_values_increase_the_distance(photo: Tensor, blue: Tensor) -> None:
    small = images.resize(photo, (64, 64))
    apart = [distance(painted(photo, blue, strength=each), small) for each in (0.0, 0.1, 0.3, 0.6, 1.0)]
    assert apart[0] < 1e-3
    assert apart == sorted(apart)
    assert apart[-1] > 2 * apart[1]


def test_masks_apply_each_style_to_its_area(photo: Tensor, style: Tensor, blue: Tensor) -> None:
    left = torch.zeros(1, 1, 64, 64)
    left[..., :32] = 1
    masks = [left.expand(1, 3, 64, 64), 1 - left.expand(1, 3, 64, 64)]
    result = painted(photo, [style, blue], style_masks=[images.read(mask) for mask in masks])
    ours, theirs = result[..., :24], result[..., 40:]
    assert float(ours[:, 2].mean() - ours[:, 0].mean()) < 0
    assert float(theirs[:, 2].mean() - theirs[:, 0].mean()) > 0.2


def test_weights_divide_the_picture_between_styles(photo: Tensor, style: Tensor, blue: Tensor) -> None:
    blueness = [
        float((painted(photo, [style, blue], style_weights=weights)[:, 2]).mean())
        for weights in ((1, 0), (3, 1), (1, 3), (0, 1))
    ]
    assert blueness == sorted(blueness)
    assert blueness[-1] > blueness[0] + 0.1


def test_a_region_of_a_style_picture_can_be_used_alone(photo: Tensor, style: Tensor, blue: Tensor) -> None:
    both = torch.cat([images.resize(style, (96, 96)), blue], dim=3)
    right = torch.zeros(1, 3, 96, 192)
    right[..., 96:] = 1
    result = painted(photo, both, style_regions=[images.read(right)], color="style", strength=1.0)
    halves = painted(photo, both)
    assert float(result[:, 2].mean()) >= float(halves[:, 2].mean()) - 0.02


def test_protected_areas_keep_the_photo(photo: Tensor, style: Tensor) -> None:
    mask = torch.zeros(1, 3, 64, 64)
    mask[..., 20:44, 20:44] = 1
    result = painted(photo, style, protect=[images.read(mask)])
    small = images.resize(photo, (64, 64))
    assert distance(result[..., 24:40, 24:40], small[..., 24:40, 24:40]) < 1e-3
    assert distance(result[..., :16, :16], small[..., :16, :16]) > 0.05


def test_a_low_region_strength_weakens_one_region(photo: Tensor, style: Tensor, blue: Tensor) -> None:
    halves = ["gradient:left-right", "gradient:right-left"]
    even, held = (
        painted(photo, [blue, style], style_masks=halves, region_strengths=strengths) for strengths in ((1, 1), (0.3, 1))
    )
    assert not torch.allclose(even, held)


@pytest.mark.parametrize("color", ["keep", "histogram", "palette", "match-style"])
def test_color_control_is_applied_after_painting(photo: Tensor, blue: Tensor, color: str) -> None:
    result, plain = painted(photo, blue, color=color), painted(photo, blue)
    assert distance(result, plain) > 0.01
    assert float(result.std()) > 0.05


@pytest.mark.parametrize("init", ["noise", "style", "gray", "style-statistics"])
def test_painting_starts_from_any_init(photo: Tensor, style: Tensor, init: str) -> None:
    assert float(painted(photo, style, init=init).std()) > 0.05


def test_an_interrupted_painting_resumes(photo: Tensor, style: Tensor) -> None:
    chosen = paint_options(size=128, steps=6, step_growth=1.0)
    context = gatys.set_up(images.read(photo), [images.read(style)], chosen, EXACT)
    steps = list(run_recipe(context))
    middle = steps[len(steps) // 2]
    checkpoint = Checkpoint(middle.image, middle.scale, done=3)
    *_, last = run_recipe(gatys.resumed(context, checkpoint))
    assert last.image.shape[-2:] == (128, 128)
    assert distance(last.image, steps[-1].image) < 0.2


def test_an_interrupted_painting_with_several_styles_resumes(photo: Tensor, style: Tensor, blue: Tensor) -> None:
    context = gatys.set_up(images.read(photo), [images.read(style), images.read(blue)], paint_options(**BRIEF), EXACT)
    *_, last = run_recipe(gatys.resumed(context, Checkpoint(photo, 0, done=2)))
    assert float(last.image.std()) > 0.05


@pytest.mark.parametrize("quality", ["draft", "standard", "best"])
def test_each_quality_paints(photo: Tensor, blue: Tensor, quality: str) -> None:
    result = impasto.paint(photo, blue, run=EXACT, size=64, quality=quality)
    torch.testing.assert_close(mean_of(result.image), mean_of(blue), atol=0.06, rtol=0)
    assert result.record["options"]["quality"] == quality


def test_higher_qualities_take_more_steps() -> None:
    steps = [paint_options(quality=quality).steps for quality in ("draft", "standard", "best")]
    assert steps == sorted(set(steps))
    assert paint_options(quality="best", steps=3).steps == 3


def test_larger_pictures_compare_fewer_layers() -> None:
    compared = [len(layers_at(edge_px)[0]) for edge_px in (64, 256, 512, 4096)]
    assert compared == sorted(compared, reverse=True)


@pytest.mark.parametrize("margin", [0.0, 0.01, 0.03, 0.05, 0.13])
@pytest.mark.parametrize("edge_px", [128, 256, 512])
def test_the_margin_does_not_count_when_layers_and_patches_are_chosen(edge_px: int, margin: float) -> None:
    photo = images.read(torch.rand(1, 3, edge_px // 2, edge_px))
    context = gatys.set_up(photo, [photo], paint_options(size=edge_px, margin=margin), Run(device="cpu", precision="fp32"))
    size = context.sizes[-1][0]
    assert context.shown_size(size) == (edge_px // 2, edge_px)
    assert neighbors._Painting(context)._edge_px(size) == edge_px


# ---------------------------------------------------------------------------------------------------- odd pictures


def flat(value: float, size: int = 48) -> Tensor:
    return torch.full((1, 3, size, size), value)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_style_of_one_color_gives_that_color(photo: Tensor, value: float) -> None:
    result = painted(photo, flat(value))
    assert result.isfinite().all()
    assert distance(result, torch.full_like(result, value)) < 0.1


def test_a_black_and_white_style_gives_a_gray_result(photo: Tensor, style: Tensor) -> None:
    result = painted(photo, style.mean(1, keepdim=True).expand(1, 3, -1, -1))
    assert float((result - result.mean(1, keepdim=True)).abs().mean()) < 0.02
    assert float(result.std()) > 0.05


def test_a_tiny_style_is_accepted(photo: Tensor, blue: Tensor) -> None:
    result = painted(photo, blue[..., :8, :8])
    assert result.isfinite().all()
    assert float(result.std()) > 0.02


def test_a_photo_without_texture_is_painted(style: Tensor) -> None:
    result = painted(flat(0.6, 96), style)
    assert result.isfinite().all()
    torch.testing.assert_close(mean_of(result), mean_of(style), atol=0.1, rtol=0)


@pytest.mark.parametrize("shape", [(32, 200), (200, 32), (33, 47)])
def test_narrow_and_odd_sized_photos_are_painted(style: Tensor, shape: tuple[int, int], random: torch.Generator) -> None:
    photo = torch.rand(1, 3, *shape, generator=random)
    result = painted(photo, style, size=max(shape))
    assert tuple(result.shape[-2:]) == shape


# ---------------------------------------------------------------------------------------------------- named styles


@pytest.fixture
def old_style(tmp_path: Path) -> NamedStyle:
    """A style file as an earlier version made it: without a swatch."""
    path = tmp_path / "old.style.safetensors"
    found = find_style("starry-night")
    save_style(path, NamedStyle(found.facts, found.moments, found.colors))
    return load_style(path)


def test_a_named_style_is_painted_from_its_swatch(photo: Tensor) -> None:
    style = read_style("starry-night")
    assert isinstance(style, NamedStyle)
    picture = style.picture()
    assert min(picture.size) >= 256
    result = painted(photo, "starry-night")
    torch.testing.assert_close(mean_of(result), mean_of(picture.image), atol=0.08, rtol=0)


def test_a_named_style_and_a_picture_can_be_combined(photo: Tensor, style: Tensor) -> None:
    assert float(painted(photo, ["starry-night", style]).std()) > 0.05


def test_a_style_without_a_swatch_is_refused_with_instructions(photo: Tensor, old_style: NamedStyle) -> None:
    with pytest.raises(StyleFileError, match="has no swatch, which is needed here; add it again"):
        painted(photo, old_style)
    assert float(painted(photo, old_style, recipe="gatys", color="style").std()) > 0.05


def test_a_damaged_swatch_is_reported(photo: Tensor, old_style: NamedStyle) -> None:
    damaged = NamedStyle(old_style.facts, old_style.moments, old_style.colors, swatch=b"RIFF....WEBPVP8 ")
    with pytest.raises(StyleFileError, match="swatch of style 'starry-night' is damaged"):
        painted(photo, damaged)


def test_a_swatch_has_the_styles_palette_and_another_composition(style: Tensor) -> None:
    picture = Picture(style, None, images.read(style).metadata, "coffee", "")
    swatch = paint_swatch(picture, EXACT, size=64)
    torch.testing.assert_close(mean_of(swatch), mean_of(style), atol=0.06, rtol=0)
    assert distance(swatch, images.resize(style, (64, 64))) > 0.1


# ---------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"style_weight": 2.0}, "--style-weight has no effect with --recipe neighbors; omit it, or use --recipe gatys"),
        ({"statistics": "sliced"}, "--statistics has no effect with --recipe neighbors; omit it, or use --recipe gatys"),
        ({"content_weight": 1.5}, "--content-weight is 1.5"),
        ({"strength": 2.0}, "--strength is 2.0"),
        ({"quality": "god"}, "--quality 'god' is not known; use one of 'draft', 'standard'"),
        (
            {"recipe": "gatys", "strength": 0.5},
            "--strength has no effect with --recipe gatys; omit it, or use --recipe neighbors",
        ),
        ({"recipe": "neighbours"}, "did you mean 'neighbors'"),
    ],
)
def test_options_that_the_recipe_ignores_are_refused(
    photo: Tensor, style: Tensor, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(OptionError) as refused:
        impasto.paint(photo, style, size=64, **options)
    assert sentence in str(refused.value)


def test_negative_weights_are_refused(photo: Tensor, style: Tensor, blue: Tensor) -> None:
    with pytest.raises(OptionError, match="must all be 0 or more with --recipe neighbors"):
        painted(photo, [style, blue], style_weights=(2.0, -1.0))


def test_an_encoder_without_the_layers_of_the_recipe_is_refused(photo: Tensor, style: Tensor) -> None:
    sentence = "--recipe neighbors compares relu4_3, which vgg19-slim does not have; use --recipe gatys, or another encoder"
    with pytest.raises(OptionError, match=sentence):
        painted(photo, style, encoder=Vgg((4, 4, 4, 4, 4), last="4_2"))


def small_style_at(**options: float) -> neighbors._Painting:
    """Return a painting with a style of 128 x 96 pixels."""
    style = images.read(skimage.data.coffee()[:96, :128].copy())
    context = gatys.set_up(
        images.read(skimage.data.astronaut()), [style], paint_options(size=512, margin=0.0, **options), Run(device="cpu")
    )
    return neighbors._Painting(replace(context, tiles=None))


def test_a_style_is_not_enlarged_much() -> None:
    """Greatly enlarged styles were painted with blurred strokes."""
    painting = small_style_at()
    (style,) = painting.styles
    assert [max(painting._resized(style, (edge, edge)).shape) for edge in (64, 128, 160, 512)] == [64, 128, 160, 160]


def test_the_learning_rate_is_reduced_where_the_style_is_enlarged_much() -> None:
    painting = small_style_at(style_scale=2.0)
    rates = [painting.rate_at((edge, edge)) for edge in (32, 64, 102, 128, 512)]
    assert rates[:3] == [1.0, 1.0, 1.0]
    assert rates[3:] == pytest.approx([0.8**4, 0.64**4])


def test_a_position_of_the_palette_loss_weighs_the_same_in_large_pictures() -> None:
    photo = images.read(skimage.data.astronaut()[::8, ::8].copy())
    context = gatys.set_up(photo, [photo], paint_options(size=64), Run(device="cpu", precision="fp32"))
    painting = neighbors._Painting(context)
    painting.matches = Matches(torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 1, dtype=torch.long))
    rows = {layer: torch.rand(8, width) for layer, width in (("relu1_1", 24), ("relu2_1", 64), ("relu3_1", 128))}
    found = {}
    for side in (512, 1024, 4096):
        ((term,),) = (tuple(painting._palette_loss([rows], (side, side))),)
        assert isinstance(term.loss, PaletteLoss)
        found[side] = term.loss.positions, term.weight * side**2 / term.loss.positions
    assert [positions for positions, _ in found.values()] == [4096, 8192, 16384]
    assert found[512][1] <= found[1024][1] == pytest.approx(found[4096][1])


@pytest.mark.slow
def test_an_enlarged_style_gives_no_noise() -> None:
    """With a high learning rate, the objective of the last size rose by a third above its start."""
    photo = images.read(skimage.data.astronaut()[60:188, 160:288].copy())
    style = images.read(skimage.data.coffee()[100:200, 150:250].copy())
    context = gatys.set_up(photo, [style], paint_options(size=768), Run(device="cpu"))
    last = [step.loss for step in neighbors.paint_steps(context) if max(step.size) == max(context.sizes[-1][0])]
    assert max(last) < 1.1 * last[0]


def repeated(image: Tensor, period: int) -> float:
    """Return the deviation of the pattern that repeats with a period, averaged nearby."""
    height, width = (side // period * period for side in image.shape[-2:])
    image = image[..., :height, :width]
    details = F.pixel_unshuffle(image - F.avg_pool2d(image, 5, stride=1, padding=2, count_include_pad=False), period)
    near = F.avg_pool2d(details, 13, stride=1, padding=6, count_include_pad=False)
    return float(near.std())


@pytest.mark.slow
def test_no_pattern_repeats_in_the_cells_of_the_grid() -> None:
    """Cells have a side of 4 pixels. Strokes repeat about as much with other periods."""
    image = impasto.paint(skimage.data.astronaut(), "starry-night", size=256, run=EXACT).image
    others = (repeated(image, 3) + repeated(image, 5)) / 2
    assert repeated(image, 4) < 1.25 * others


@pytest.mark.parametrize(("optimizer", "is_shifted"), [("adam", True), ("lbfgs", False)])
def test_pictures_are_shifted_from_step_to_step_except_with_lbfgs(
    photo: Tensor, style: Tensor, monkeypatch: pytest.MonkeyPatch, optimizer: str, is_shifted: bool
) -> None:
    offsets = set()
    shift = ShiftedEncoder.shift

    def recorded(self: ShiftedEncoder) -> None:
        shift(self)
        offsets.add(self.offset)

    monkeypatch.setattr(ShiftedEncoder, "shift", recorded)
    painted(photo, style, optimizer=optimizer)
    assert (len(offsets) >= 6) == is_shifted

"""Large pictures with the neighbors and the gatys recipe: painted in tiles, within a memory limit."""

import gc
import math
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import skimage.data
import torch
from torch import Tensor

import impasto
from impasto import images
from impasto.errors import OptionError, ResourceError
from impasto.features.statistics import Moments
from impasto.images import Picture
from impasto.losses import picture
from impasto.losses.features import PIXELS, Loss
from impasto.optim.engine import Step
from impasto.optim.tiled import TilePlan
from impasto.options import Run
from impasto.recipes import checks, gatys, neighbors, starts
from impasto.recipes.context import encode, encoded_sparingly, moments_sparingly
from impasto.recipes.masking import EVERYWHERE, NO_MASKS, Masking, ReadMask
from impasto.recipes.memory_plan import TiledMemory
from impasto.recipes.painting import run_recipe
from impasto.recipes.presets import paint_options
from impasto.recipes.starts import Checkpoint
from impasto.tensors import Features, Image

EXACT = Run(device="cpu", precision="fp32")
LAYERS = ("relu1_1", "relu3_1", "relu5_1")
BRIEF: dict[str, Any] = {"size": 128, "steps": 2, "step_growth": 1.0, "smallest_size": 64}


@pytest.fixture
def style() -> Picture:
    return images.read(skimage.data.coffee()[::2, ::2].copy())


@pytest.fixture
def content() -> Picture:
    return images.read(skimage.data.astronaut()[::2, ::2].copy())


def last_of(content: Picture, styles: list[Picture], tiles: TilePlan | None = None, **options: Any) -> Step:
    context = gatys.set_up(content, styles, paint_options(**{**BRIEF, **options}), EXACT)
    if tiles:
        context = replace(context, tiles=replace(tiles, layers=context.encoder.layers))
    *_, last = run_recipe(context)
    return replace(last, image=last.image)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"size": 135, "strength": 0.5}, {"strength": 0.1, "structure_weight": 0.2}])
def test_a_picture_in_tiles_equals_the_whole(content: Picture, style: Picture, options: dict[str, Any]) -> None:
    whole = last_of(content, [style], **options)
    tiled = last_of(content, [style], TilePlan((), 0, tile_px=64), **options)
    assert tiled.image.shape == whole.image.shape
    assert tiled.loss == pytest.approx(whole.loss, rel=3e-3)
    assert float((tiled.image - whole.image).abs().mean()) < 1e-3  # Adam amplifies rounding where the gradient is near 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"size": 135, "statistics": "gram", "pooling": "average", "border": "zero"},
        # With more steps, rounding is amplified a thousandfold, and the bound does not hold on every processor.
        {"statistics": "wasserstein", "content_layers": ("relu2_2", "relu4_2"), "steps": 1},
    ],
)
def test_the_gatys_recipe_in_tiles_equals_the_whole(content: Picture, style: Picture, options: dict[str, Any]) -> None:
    whole = last_of(content, [style], recipe="gatys", **options)
    tiled = last_of(content, [style], TilePlan((), 0, tile_px=64), recipe="gatys", **options)
    assert tiled.image.shape == whole.image.shape
    assert tiled.loss == pytest.approx(whole.loss, rel=3e-3)
    assert float((tiled.image - whole.image).abs().mean()) < 1e-3


def test_the_targets_of_the_gatys_recipe_are_the_same_in_tiles(content: Picture, style: Picture) -> None:
    """Not only close: nothing but rounding differs, for a photo and a style whose sides are no multiples of a tile."""
    context = gatys.set_up(content, [style], paint_options(recipe="gatys", size=135), EXACT)
    size = context.sizes[-1][0]
    photo = images.resize(content.image, size)
    tiled = replace(context, tiles=TilePlan(context.encoder.layers, 0, tile_px=64))
    for layer, whole in encode(context, photo, LAYERS).items():
        torch.testing.assert_close(encoded_sparingly(tiled, photo, LAYERS)[layer], whole, rtol=1e-4, atol=1e-4)
    for layer, expected in moments_sparingly(context, photo, LAYERS).items():
        found = moments_sparingly(tiled, photo, LAYERS)[layer]
        assert float((found.gram - expected.gram).norm() / expected.gram.norm()) < 1e-5
        assert float((found.covariance - expected.covariance).norm() / expected.covariance.norm()) < 1e-5


def test_the_gatys_recipe_with_a_mask_is_painted_whole(content: Picture, style: Picture, program: int) -> None:
    mask = Masking(protect=(EVERYWHERE,))
    with pytest.raises(ResourceError, match="a mask with --recipe gatys paints without tiles"):
        gatys.set_up(content, [style], paint_options(recipe="gatys", size=4096), Run(max_memory=1), mask)


def test_the_gatys_recipe_keeps_to_the_memory_limit(content: Picture, style: Picture, program: int) -> None:
    context = planned(content, style, Run(max_memory=1.5, precision="fp32"), recipe="gatys", size=1024)
    assert context.tile_count > 1
    assert program < context.peak_bytes <= 1.5 * 2**30


@pytest.mark.slow
def test_the_size_of_the_tiles_does_not_change_the_picture(content: Picture, style: Picture) -> None:
    large, small = (last_of(content, [style], TilePlan((), 0, tile_px=each)) for each in (96, 64))
    assert small.loss == pytest.approx(large.loss, rel=1e-5)
    assert float((small.image - large.image).abs().mean()) < 1e-4


@pytest.mark.slow
def test_several_styles_are_painted_in_tiles(content: Picture, style: Picture) -> None:
    other = replace(style, image=style.image.flip(1))
    whole = last_of(content, [style, other])
    for whole_pixels in (0, 80 * 80):  # the first size in tiles, or whole
        tiled = last_of(content, [style, other], TilePlan((), whole_pixels, 0, 64))
        assert float((tiled.image - whole.image).abs().mean()) < 0.02


def test_tiles_leave_no_seams(content: Picture, style: Picture) -> None:
    tiled = last_of(content, [style], TilePlan((), 0, tile_px=64), margin=0.0).image
    whole = last_of(content, [style], margin=0.0).image
    jumps = [(each.mean(1)[0, :, 1:] - each.mean(1)[0, :, :-1]).abs().mean(0) for each in (tiled, whole)]
    edges = [63]
    assert float(jumps[0][edges].mean()) < 1.01 * float(jumps[1][edges].mean())


@pytest.mark.parametrize("size", [128, 135])
def test_every_size_but_the_first_starts_from_the_decoded_matches(content: Picture, style: Picture, size: int) -> None:
    context = gatys.set_up(content, [style], paint_options(**{**BRIEF, "size": size}), EXACT)
    (small, _), (large, _) = context.sizes
    before = images.resize(context.content.flip(3), small)
    starts, matches = [], []
    for tiles in (None, TilePlan(context.encoder.layers, 0, tile_px=64)):
        painting = neighbors._Painting(replace(context, tiles=tiles))
        painting.objective_at(large, before)
        starts.append(painting.enlarged(before, large))
        assert painting.matches is not None
        matches.append(painting.matches.position)
    assert float((matches[0] != matches[1]).float().mean()) < 0.01
    assert float((starts[0] - starts[1]).abs().mean()) < 0.005
    assert float((starts[0] - images.resize(before, large)).abs().mean()) > 0.05


@pytest.mark.parametrize("kept", [None, "left"])
def test_in_tiles_the_initial_picture_is_mixed_in_strips(
    content: Picture, style: Picture, kept: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbors, "_MIXED_ROWS", 48)
    half = torch.zeros(1, 1, *content.size)
    half[..., : content.size[1] // 2] = 1
    masks = Masking(protect=(ReadMask(half, "left", ""),)) if kept else NO_MASKS
    context = gatys.set_up(content, [style], paint_options(**BRIEF, strength=0.5), EXACT, masks)
    (small, _), (large, _) = context.sizes
    before = images.resize(context.content.flip(3), small)
    whole, tiled = (neighbors._Painting(each) for each in (context, replace(context, tiles=TilePlan((), 0, tile_px=64))))
    found = torch.rand(1, 3, *large, generator=torch.Generator().manual_seed(0))
    for painting in (whole, tiled):
        monkeypatch.setattr(painting, "_decoded", lambda size: found.clone())
    torch.testing.assert_close(tiled.enlarged(before, large), whole.enlarged(before, large), atol=1e-5, rtol=0)


@pytest.mark.usefixtures("program")
def test_losses_that_need_the_whole_picture_are_refused_before_painting(content: Picture, style: Picture) -> None:
    class Darkness(Loss):
        name = "darkness"

        @property
        def layers(self) -> frozenset[str]:
            return frozenset({PIXELS})

        def __call__(self, features: Features) -> Tensor:
            return features[PIXELS].mean()

    steps = impasto.steps(content, style, losses=[Darkness()], size=1024, run=Run(max_memory=1.5, precision="fp32"))
    with pytest.raises(OptionError, match="Darkness, which cannot be evaluated in tiles"):
        next(steps)
    step = next(impasto.steps(content, style, losses=[Darkness()], **BRIEF))
    assert "darkness" in step.losses


def test_only_in_tiles_the_size_of_large_styles_is_limited(
    content: Picture, style: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbors, "LARGEST_STYLE_PX", 48)
    context = gatys.set_up(content, [style], paint_options(**BRIEF), EXACT)
    for tiles, longest in ((None, 64), (TilePlan((), math.inf), 64), (TilePlan((), 0), 48)):
        painting = neighbors._Painting(replace(context, tiles=tiles))
        assert max(painting._resized(style, (68, 68)).shape[-2:]) == longest


def planned(content: Picture, style: Picture, run: Run, **options: Any) -> impasto.recipes.context.PaintingContext:
    return gatys.set_up(content, [style], paint_options(**options), run)


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> int:
    """The bytes that the program and the pictures use before painting."""
    used = 400 * 2**20
    monkeypatch.setattr(checks, "used_memory", lambda device: used)
    return used


def test_the_plan_keeps_to_the_memory_limit(content: Picture, style: Picture, program: int) -> None:
    whole = planned(content, style, Run(max_memory=100), size=1024)
    assert whole.tile_count == 1
    assert whole.peak_bytes > program
    tiled = planned(content, style, Run(max_memory=1.5, precision="fp32"), size=1024)
    assert tiled.tile_count > 1
    assert program < tiled.peak_bytes <= 1.5 * 2**30
    assert tiled.tiles is not None
    assert tiled.tiles.at(tiled.sizes[-1][0])
    assert tiled.tiles.at(tiled.sizes[0][0]) is None


def test_the_plan_accounts_for_what_the_program_and_the_pictures_use(
    content: Picture, style: Picture, program: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(max_memory=1.5, precision="fp32")
    before = planned(content, style, run, size=1024)
    monkeypatch.setattr(checks, "used_memory", lambda device: program + 350 * 2**20)
    after = planned(content, style, run, size=1024)
    assert after.tile_count > before.tile_count
    assert after.peak_bytes <= 1.5 * 2**30


@pytest.mark.parametrize("size", [1024, 2048])
def test_larger_styles_smaller_tiles_and_files_change_the_prediction(content: Picture, style: Picture, size: int) -> None:
    context = planned(content, style, Run(max_memory=100), size=64)
    peak = partial(TiledMemory(context.encoder, context.arithmetic, [style], context.options).peak, (size, size))
    two = partial(TiledMemory(context.encoder, context.arithmetic, [style] * 2, context.options).peak, (size, size))
    assert peak(128, on_disk=True) < peak(512, on_disk=True) < peak(1024, on_disk=True)
    assert peak(512, on_disk=True) <= peak(512, on_disk=False)
    assert peak(512, on_disk=True) < two(512, on_disk=True)


@pytest.mark.usefixtures("program")
def test_a_picture_that_does_not_fit_in_tiles_is_refused_with_a_size_that_fits(content: Picture, style: Picture) -> None:
    with pytest.raises(
        ResourceError, match=r"--size 9000 needs about .* --max-memory allows 2 GiB; --size \d+ would fit$"
    ) as caught:
        planned(content, style, Run(max_memory=2), size=9000)
    fits = int(str(caught.value).split("--size ")[-1].split()[0])
    assert fits > 2000
    plan = checks.planned_memory
    context = planned(content, style, Run(max_memory=100), size=64)
    options = context.options.changed(size=fits)
    found = plan(context.encoder, (fits, fits), [style], options, context.arithmetic, Run(max_memory=2))
    assert found.count > 1
    assert found.peak <= 2 * 2**30


@pytest.mark.usefixtures("program")
def test_no_size_is_suggested_if_the_program_alone_exceeds_the_limit(content: Picture, style: Picture) -> None:
    with pytest.raises(ResourceError, match="no size would fit: use a larger --max-memory"):
        planned(content, style, Run(max_memory=0.1), size=9000)


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"recipe": "nnst"}, "--recipe nnst"),
        ({"recipe": "gatys", "statistics": "sliced"}, "--statistics sliced"),
        ({"recipe": "gatys", "content_comparison": "self-similarity"}, "--content-comparison self-similarity"),
        ({"recipe": "gatys", "balance": 1.0}, "--balance"),
        ({"optimizer": "lbfgs"}, "--optimizer lbfgs"),
        ({"smoothness_form": "nine-point"}, "--smoothness-form nine-point"),
    ],
)
def test_what_is_painted_whole_is_refused_beyond_the_limit_and_the_reason_is_named(
    options: dict[str, Any], reason: str, content: Picture, style: Picture
) -> None:
    sentence = rf"--max-memory allows 1 GiB; --size \d+ would fit \({reason} paints without tiles; the default settings use"
    with pytest.raises(ResourceError, match=sentence):
        planned(content, style, Run(max_memory=1), size=4096, **options)


def test_without_a_limit_a_share_of_the_free_memory_is_used(
    content: Picture, style: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "available_memory", lambda device: int(1.9 * 2**30))
    context = planned(content, style, Run(precision="fp32"), size=1024)
    assert context.tile_count > 1
    assert context.peak_bytes < 0.8 * 1.9 * 2**30 + checks.used_memory(context.arithmetic.device)


@pytest.fixture
def small_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paint pictures of more than 100 px like those of 64 px first."""
    monkeypatch.setattr(starts, "BASE_PX", 64)
    monkeypatch.setattr(starts, "_LARGE_PX", 100)
    monkeypatch.setattr(starts, "most_style_px", lambda size: 100)


CONTINUED: dict[str, Any] = {"smallest_size": 32, "step_growth": 1.0, "margin": 0.0}


@pytest.mark.slow
@pytest.mark.usefixtures("small_base")
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_strokes_are_continued_in_tiles_as_in_the_whole(content: Picture, style: Picture, strength: float) -> None:
    options = CONTINUED | {"strength": strength}
    whole, tiled = (last_of(content, [style], tiles, **options) for tiles in (None, TilePlan((), 0, tile_px=64)))
    assert tiled.loss == pytest.approx(whole.loss, rel=3e-3)
    assert float((tiled.image - whole.image).abs().mean()) < 3e-3  # rounding changes a few matches


@pytest.mark.usefixtures("small_base")
def test_a_large_picture_is_first_painted_like_a_small_one(content: Picture, style: Picture) -> None:
    """So a preview of that size shows what the large picture will look like."""
    small, large = (
        list(run_recipe(gatys.set_up(content, [style], paint_options(**BRIEF | CONTINUED | {"size": size}), EXACT)))
        for size in (64, 128)
    )
    assert [step.shown_size for step in large] == [step.shown_size for step in small] + 2 * [(128, 128)]
    assert float((large[len(small) - 1].image - small[-1].image).abs().mean()) < 0.02  # the photo was resized twice
    preview = small[-1].image
    assert float((images.resize(large[-1].image, (64, 64)) - preview).abs().mean()) < 0.1


@pytest.mark.slow
@pytest.mark.usefixtures("small_base")
@pytest.mark.parametrize("is_resumed", [False, True])
def test_a_large_picture_keeps_the_colors_of_the_small_one(
    content: Picture, style: Picture, monkeypatch: pytest.MonkeyPatch, *, is_resumed: bool
) -> None:
    context = gatys.set_up(content, [style], paint_options(**BRIEF | CONTINUED), EXACT)
    steps = list(run_recipe(context))
    if is_resumed:
        *_, small = (step for step in steps if step.shown_size == (64, 64))
        context = gatys.resumed(context, Checkpoint(small.image, small.scale, BRIEF["steps"]))
        steps = [small, *run_recipe(context)]
        assert [step.shown_size for step in steps] == [(64, 64), (128, 128), (128, 128)]

    def difference(image: Image) -> float:
        *_, small = (step.image for step in steps if step.shown_size == (64, 64))
        return float((images.resize(image, (3, 3)) - images.resize(small, (3, 3))).abs().mean())

    kept = difference(steps[-1].image)
    monkeypatch.setattr(neighbors, "color_shift", lambda picture, _: torch.zeros_like(picture))
    *_, last = run_recipe(context)
    assert kept < 0.8 * difference(last.image)


@pytest.mark.usefixtures("small_base")
def test_the_strength_of_a_large_picture_is_monotone(content: Picture, style: Picture) -> None:
    photo = images.resize(content.image, (128, 128))
    found = [last_of(content, [style], **CONTINUED, strength=each).image for each in (0.0, 0.3, 0.7, 1.0)]
    assert torch.equal(found[0], photo)
    distances = [float((each - photo).abs().mean()) for each in found]
    assert distances == sorted(distances)
    assert distances[1] > 0.02


def test_sizes_above_the_base_continue_it(content: Picture, style: Picture) -> None:
    options = paint_options(size=2048)
    assert starts.base_size((1024, 2048), [(300, 400)], options) == (286, 542)
    assert starts.base_size((1024, 2048), [(2000, 1000), (300, 400)], options) == (286, 542)
    for size, styles, other in [
        ((512, 1024), [(300, 400)], {}),  # not large
        ((1024, 2048), [(1700, 900)], {}),  # as large as the style may be
        ((40, 2048), [(300, 400)], {}),  # too narrow
        ((1024, 2048), [(300, 400)], {"smallest_size": 600}),
        ((1024, 2048), [(300, 400)], {"recipe": "gatys"}),
    ]:
        assert starts.base_size(size, styles, paint_options(size=max(size), **other)) is None
    sizes = [max(size) for size, _ in starts.planned_sizes((1086, 2172), options, (286, 542))]
    assert sizes == [*(max(size) for size, _ in starts.planned_sizes((286, 542), options)), 1085, 2172]
    context = gatys.set_up(content, [style], paint_options(size=64, margin=0), EXACT)
    painting = neighbors._Painting(replace(context, base=(286, 542)))
    assert [painting._photo_share(size) for size in ((143, 271), (286, 542), (572, 1084))] == [1, 1, 0.5]


def test_a_painting_resumes_in_tiles(content: Picture, style: Picture) -> None:
    options = paint_options(**BRIEF)
    context = gatys.set_up(content, [style], options, EXACT)
    first = next(iter(run_recipe(context)))
    again = gatys.resumed(context, Checkpoint(first.image, 1, 1))
    tiles = TilePlan(context.encoder.layers, 0, 0, 64)
    steps = list(run_recipe(replace(again, tiles=tiles)))
    assert len(steps) == 1
    assert steps[0].image.shape == (1, 3, 128, 128)


@pytest.mark.parametrize("is_last_step", [True, False])
def test_the_picture_of_a_checkpoint_takes_no_memory_after_the_first_step_in_tiles(
    content: Picture, style: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_last_step: bool
) -> None:
    """Else a painting of 8192 px would need more memory when it is resumed than when it was started."""
    context = gatys.set_up(content, [style], paint_options(**BRIEF), EXACT)
    context = replace(context, tiles=TilePlan(context.encoder.layers, 0, 0, 64))
    first = next(iter(run_recipe(context)))
    images.write(tmp_path / "checkpoint.png", first.image)
    read, pictures = gatys._picture_of, []

    def recorded(*given: Any) -> Tensor:
        picture = read(*given)
        pictures.append(weakref.ref(picture))
        return picture

    monkeypatch.setattr(gatys, "_picture_of", recorded)
    again = gatys.resumed(context, Checkpoint(tmp_path / "checkpoint.png", 1, int(is_last_step)))
    assert not pictures
    steps = run_recipe(again)
    next(steps)
    gc.collect()
    assert pictures
    assert all(picture() is None for picture in pictures)


def test_large_pictures_are_recolored_in_strips_like_small_ones(
    random: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, mask = torch.rand(1, 3, 50, 40, generator=random), torch.rand(1, 1, 50, 40, generator=random)
    whole = [neighbors.moments_in_strips(image), neighbors.moments_in_strips(image, mask)]
    monkeypatch.setattr(neighbors, "_MEASURED_ROWS", 16)
    strips = [neighbors.moments_in_strips(image), neighbors.moments_in_strips(image, mask)]
    for one, other in zip(whole, strips, strict=True):
        torch.testing.assert_close(one.mean, other.mean)
        torch.testing.assert_close(one.covariance, other.covariance, atol=1e-6, rtol=1e-4)


def test_colors_of_wide_pictures_are_measured_in_strips_even_if_they_are_low(
    random: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, pixels, measured = torch.rand(1, 3, 50, 400, generator=random), list[int](), neighbors.color_moments
    whole = neighbors.moments_in_strips(image)

    def tracked(part: Tensor, mask: Tensor | None) -> Moments:
        pixels.append(part[0, 0].numel())
        return measured(part, mask)

    monkeypatch.setattr(neighbors, "color_moments", tracked)
    monkeypatch.setattr(neighbors, "_MEASURED_PIXELS", 4000)
    torch.testing.assert_close(neighbors.moments_in_strips(image).mean, whole.mean)
    assert (max(pixels), sum(pixels)) == (4000, 20_000)


def test_flatness_in_strips_equals_the_whole(random: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    image: Tensor = torch.rand(1, 3, 70, 40, generator=random)
    monkeypatch.setattr(picture, "_LARGEST_WHOLE_PX", 1)
    monkeypatch.setattr(picture, "_STRIP_ROWS", 16)
    torch.testing.assert_close(picture.flatness_sparingly(image).float(), picture.flatness(image), atol=1e-3, rtol=0)


def test_the_predicted_time_counts_the_halos_of_tiles(content: Picture, style: Picture) -> None:
    whole = replace(gatys.set_up(content, [style], paint_options(**BRIEF), EXACT), tiles=None)
    small, large = (replace(whole, tiles=TilePlan(whole.encoder.layers, 0.0, math.inf, side)) for side in (64, 512))
    alone, less, more = (gatys._halo_work(each, (256, 256), ("relu3_1",)) for each in (whole, large, small))
    assert alone == 1.0
    assert 1.0 < less < 1.2 < more == pytest.approx(2.25)

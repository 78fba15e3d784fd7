"""Color control in the recipes: every mode and method on real pictures, refused options, and records."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import skimage.color
import skimage.data
import torch
from torch import Tensor

from impasto import images
from impasto.cli import main
from impasto.color.transfer import is_gray, palette_of
from impasto.encoders import Vgg
from impasto.errors import ImageFileError, OptionError
from impasto.features.statistics import Moments
from impasto.images import Picture
from impasto.options import ColorMethod, ColorMode, InstantOptions, PaintOptions, Run
from impasto.recipes import gatys
from impasto.recipes.coloring import check_colors, color_notes, color_record, coloring_of, prepared
from impasto.recipes.instant import painted_pastiche
from impasto.recipes.instant_checks import predicted_memory
from impasto.recipes.instant_painter import InstantPainter
from impasto.recipes.masking import MaskSources, read_masking
from impasto.recipes.painting import run_recipe
from impasto.styles.named import NamedStyle
from impasto.weights import save_vgg

EXACT = Run(device="cpu", precision="fp32")
PAINTER = InstantPainter(EXACT, "torch")
PHOTO = images.read(skimage.data.astronaut()[:384:4, 32:416:4])
GREY = images.read(skimage.data.camera()[::5, ::5])
STYLE = images.read(skimage.data.coffee()[::5, ::5])
OTHER = images.read(skimage.data.chelsea()[::4, ::4])
NAMED = NamedStyle({"name": "named"}, {}, Moments(torch.full((1, 3), 0.5), 0.05 * torch.eye(3)[None]))

MODES: list[dict[str, str]] = [
    *({"color": "keep", "color_space": space} for space in ("lab", "oklab", "yiq", "ycbcr")),
    {"color": "histogram"},
    *({"color": "palette", "color_method": method} for method in ("monge-kantorovich", "pca", "cholesky", "histogram")),
    *({"color": "match-style", "color_method": method} for method in get_args(ColorMethod)),
]


def named(changes: dict[str, str]) -> str:
    return "-".join(changes.values())


def instant(photo: Picture = PHOTO, styles: tuple[Any, ...] = (STYLE,), masks: tuple[Picture, ...] = (), **o: Any) -> Tensor:
    return painted_pastiche(PAINTER, photo, styles, masks, InstantOptions(**o)).image


@pytest.fixture(scope="session")
def small_options(narrow: Callable[..., Vgg], tmp_path_factory: pytest.TempPathFactory) -> PaintOptions:
    path = tmp_path_factory.mktemp("encoders") / "narrow.safetensors"
    save_vgg(path, narrow(), {}, bits=16)
    return PaintOptions(encoder=str(path), size=64, steps=4, smallest_size=32)


@pytest.fixture
def mask_file(tmp_path: Path) -> str:
    """A mask that is white on the left half."""
    half = torch.zeros(1, 3, 30, 40)
    half[..., :20] = 1
    images.write(tmp_path / "mask.png", half)
    return str(tmp_path / "mask.png")


def painted(options: PaintOptions, photo: Picture = PHOTO, styles: tuple[Any, ...] = (STYLE,), **changes: Any) -> Tensor:
    *_, last = run_recipe(gatys.set_up(photo, styles, options.changed(**changes), EXACT))
    return last.image


def color_distance(one: Tensor, other: Tensor) -> float:
    """Return the mean distance of Lab's a and b, after rounding to bytes."""
    other = images.resize(other, (one.shape[-2], one.shape[-1]))
    a, b = (skimage.color.rgb2lab(images.to_array(each))[..., 1:] for each in (one, other))
    return float(np.hypot(*np.moveaxis(a - b, -1, 0)).mean())


def palette_distance(one: Tensor, other: Tensor) -> float:
    """Return how far two palettes' means are apart."""
    means = [palette_of(each, "lab").moments.mean for each in (one, other)]
    return float((means[0] - means[1]).norm())


# ---------------------------------------------------------------------------------------------------- each mode


@pytest.mark.slow
@pytest.mark.parametrize("changes", MODES, ids=named)
def test_every_mode_moves_instant_results_toward_its_palette(changes: dict[str, str]) -> None:
    image, plain = instant(**changes), instant()
    wanted = STYLE if changes["color"] == "palette" else PHOTO
    assert (float(image.min()), float(image.max())) >= (0, 0)
    assert float(image.max()) <= 1
    if changes["color"] == "keep" or changes.get("color_method") == "luminance":
        assert color_distance(image, PHOTO.image) < 3 < color_distance(plain, PHOTO.image)
    else:
        assert palette_distance(image, wanted.image) < max(0.06, 0.6 * palette_distance(plain, wanted.image))
    assert float((image - PHOTO.image).abs().mean()) > 0.01  # strokes are still painted


@pytest.mark.slow
@pytest.mark.parametrize("changes", MODES, ids=named)
def test_every_mode_moves_painted_results_toward_its_palette(small_options: PaintOptions, changes: dict[str, str]) -> None:
    start = {"init": "style-statistics"}  # so that it ends in the style's colors without color control
    options = small_options.changed(encoder="vgg19-slim")  # an encoder with random weights would lead to arbitrary colors
    image, plain = painted(options, **changes, **start), painted(options, **start)
    if changes["color"] == "keep" or changes.get("color_method") == "luminance":
        assert color_distance(image, PHOTO.image) < 0.5 * color_distance(plain, PHOTO.image)
    else:
        wanted = STYLE if changes["color"] == "palette" else PHOTO
        assert palette_distance(image, wanted.image) < max(0.06, 0.6 * palette_distance(plain, wanted.image))


def test_color_style_changes_nothing_before_or_after_painting() -> None:
    photo, styles = prepared(PHOTO, [STYLE], PaintOptions())
    assert photo is PHOTO
    assert styles == (STYLE,)
    assert coloring_of(PHOTO, [STYLE], PaintOptions()) is None


@pytest.mark.parametrize("method", get_args(ColorMethod))
def test_match_style_recolors_styles_before_they_are_encoded(method: str) -> None:
    options = PaintOptions(color="match-style", color_method=method)  # type: ignore[arg-type]
    photo, (style,) = prepared(PHOTO, [STYLE], options)
    assert isinstance(style, Picture)
    assert style.sha256 == STYLE.sha256
    assert palette_distance(style.image, photo.image) < 0.05 < palette_distance(STYLE.image, PHOTO.image)
    assert is_gray(photo.image) == is_gray(style.image) == (method == "luminance")
    half = PaintOptions(color="match-style", color_method=method, color_amount=0.5)  # type: ignore[arg-type]
    (between,) = prepared(PHOTO, [STYLE], half)[1]
    if method != "luminance":
        assert isinstance(between, Picture)
        torch.testing.assert_close(between.image, (STYLE.image + style.image) / 2)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [c for c in MODES if c["color"] != "palette"], ids=named)
def test_a_gray_photo_stays_gray(small_options: PaintOptions, changes: dict[str, str]) -> None:
    for image in (instant(GREY, **changes), painted(small_options, GREY, **changes)):
        array = images.to_array(image)
        assert (array == array[..., :1]).all()
        assert array.std() > 20


@pytest.mark.slow
@pytest.mark.parametrize("changes", [c for c in MODES if c["color"] == "palette"], ids=named)
def test_the_palette_of_a_gray_style_removes_color(small_options: PaintOptions, changes: dict[str, str]) -> None:
    for image in (instant(styles=(GREY,), **changes), painted(small_options, styles=(GREY,), **changes)):
        array = images.to_array(image)
        assert (array == array[..., :1]).all()


@pytest.mark.slow
@pytest.mark.parametrize("changes", MODES, ids=named)
def test_gray_and_flat_styles_give_finite_results(changes: dict[str, str]) -> None:
    for style in (GREY, images.read(torch.full((1, 3, 40, 40), 0.6))):
        assert bool(instant(styles=(style,), **changes).isfinite().all())
    flat = images.read(torch.tensor([0.2, 0.5, 0.7])[:, None, None].expand(3, 40, 40))
    assert bool(instant(flat, **changes).isfinite().all())


@pytest.mark.slow
@pytest.mark.parametrize("space", ["lab", "oklab", "yiq", "ycbcr"])
def test_keeping_colors_does_not_darken_the_result(small_options: PaintOptions, space: str) -> None:
    """The titu1994 program wrote pictures with a mean of about 2 of 255 (its issue 70)."""
    for plain, kept in (
        (instant(), instant(color="keep", color_space=space)),
        (painted(small_options), painted(small_options, color="keep", color_space=space)),
    ):
        assert float(kept.mean()) > 0.8 * float(plain.mean())


# ---------------------------------------------------------------------------------------------------- amount and mask


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["keep", "histogram", "palette"])
def test_color_amount_interpolates_between_painting_and_recolored_painting(mode: ColorMode) -> None:
    none, half, whole = (instant(color=mode, color_amount=amount) for amount in (0.0, 0.5, 1.0))
    assert torch.equal(none, instant())
    torch.testing.assert_close(half, (none + whole) / 2, atol=1e-6, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [*({"color": mode} for mode in ("keep", "histogram", "palette")), {"color": "match-style"}], ids=named
)
def test_a_color_mask_limits_the_area(small_options: PaintOptions, mask_file: str, changes: dict[str, str]) -> None:
    if changes["color"] == "match-style":
        changes = changes | {"color_method": "luminance"}
    everywhere, masked = instant(**changes), instant(**changes, color_mask=mask_file)
    torch.testing.assert_close(masked[..., :40], everywhere[..., :40], atol=1e-5, rtol=0)
    assert float((masked - everywhere)[..., 56:].abs().mean()) > 0.005
    if changes["color"] != "match-style":
        torch.testing.assert_close(masked[..., 56:], instant()[..., 56:], atol=1e-5, rtol=0)
    else:
        assert is_gray(masked[..., 56:])
    assert painted(small_options, **changes, color_mask=mask_file).shape[-2:] == (64, 64)


@pytest.mark.slow
def test_a_black_mask_changes_nothing_and_a_white_one_the_whole_picture(tmp_path: Path) -> None:
    for name, level in (("black", 0.0), ("white", 1.0)):
        images.write(tmp_path / f"{name}.png", torch.full((1, 3, 9, 9), level))
    assert torch.equal(instant(color="keep", color_mask=str(tmp_path / "black.png")), instant())
    white = instant(color="keep", color_mask=str(tmp_path / "white.png"))
    torch.testing.assert_close(white, instant(color="keep"), atol=1e-5, rtol=0)


def test_conversions_of_a_color_mask_are_reported(tmp_path: Path, mask_file: str) -> None:
    options = PaintOptions(color="keep", color_mask=mask_file)
    assert list(color_notes(PHOTO, options)) == ["mask.png: the mask of 40x30 pixels was stretched to 96x96"]
    images.write(tmp_path / "colored.png", STYLE.image[..., :96, :96])
    colored = options.changed(color_mask=str(tmp_path / "colored.png"))
    assert "colored.png: the mask is colored; it was converted to grayscale" in color_notes(STYLE, colored)
    images.write(tmp_path / "black.png", torch.zeros(1, 3, 96, 96))
    assert list(color_notes(PHOTO, options.changed(color_mask=str(tmp_path / "black.png")))) == [
        "black.png: the mask is entirely black, so --color keep has no effect"
    ]
    assert list(color_notes(PHOTO, PaintOptions())) == []


@pytest.mark.slow
def test_a_color_mask_may_be_a_mask_name(small_options: PaintOptions, mask_file: str) -> None:
    turned, named = (instant(color="keep", color_mask=name) for name in (f"not:{mask_file}", "gradient:left-right"))
    assert float((turned - instant(color="keep"))[..., :40].abs().mean()) > 0.005
    torch.testing.assert_close(turned[..., 56:], instant(color="keep")[..., 56:], atol=1e-5, rtol=0)
    assert not torch.equal(named, instant(color="keep"))
    assert color_record(small_options.changed(color="keep", color_mask="gradient:left-right")) == {
        "color_mask": {"name": "gradient:left-right", "sha256": ""}
    }
    assert color_record(InstantOptions(color="keep", color_mask=f"not:{mask_file}"))["color_mask"]["name"] == "not:mask.png"


@pytest.mark.slow
def test_protected_areas_keep_the_photos_colors(small_options: PaintOptions) -> None:
    half = torch.zeros(96, 96)
    half[:, :48] = 1
    options = small_options.changed(color="match-style", color_method="luminance", feather=0)
    masking = read_masking(MaskSources(protect=(half,)), PHOTO, [STYLE])
    *_, last = run_recipe(gatys.set_up(PHOTO, [STYLE], options, EXACT, masking))
    expected = images.resize(PHOTO.image, (64, 64))
    torch.testing.assert_close(last.image[..., :28], expected[..., :28], atol=1e-6, rtol=0)
    assert float((last.image - expected)[..., 40:].abs().mean()) > 1e-3


# ---------------------------------------------------------------------------------------------------- several styles, regions


@pytest.mark.slow
def test_the_palette_of_several_styles_is_a_blend() -> None:
    one, other, both = (instant(styles=styles, color="palette") for styles in ((STYLE,), (OTHER,), (STYLE, OTHER)))
    assert palette_distance(both, one) < palette_distance(other, one)
    assert palette_distance(both, other) < palette_distance(one, other)
    alone = instant(styles=(STYLE, OTHER), color="palette", style_weights=(1, 0))
    assert palette_distance(alone, one) < 0.02


def test_a_named_style_has_a_palette_from_its_moments(small_options: PaintOptions) -> None:
    coloring = coloring_of(PHOTO, [NAMED, STYLE], small_options.changed(color="palette"))
    assert coloring is not None
    found = coloring.over(PHOTO.image.clone())
    mean = (0.5 + STYLE.image.mean((2, 3))) / 2
    torch.testing.assert_close(found.mean((2, 3)), mean, atol=0.05, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"color": "keep"}, {"color": "match-style", "color_method": "luminance"}], ids=named)
def test_color_keep_applies_to_regions_and_leaves_the_photo_between_them(changes: dict[str, str]) -> None:
    left, right = torch.zeros(2, 1, 3, 96, 96)
    left[..., :32], right[..., 64:] = 1, 1
    image = instant(styles=(STYLE, OTHER), masks=(images.read(left), images.read(right)), **changes)
    assert torch.equal(image[..., 40:60], PHOTO.image[..., 40:60])
    assert color_distance(image, PHOTO.image) < 3
    assert float((image - PHOTO.image)[..., :24].abs().mean()) > 0.01


@pytest.mark.slow
def test_inputs_are_not_modified() -> None:
    before = PHOTO.image.clone(), STYLE.image.clone()
    for changes in MODES:
        instant(**changes)
    assert torch.equal(PHOTO.image, before[0])
    assert torch.equal(STYLE.image, before[1])


def test_the_memory_check_includes_the_kept_photo() -> None:
    assert predicted_memory((1000, 1000), is_colored=True) - predicted_memory((1000, 1000)) == 12_000_000


@pytest.mark.slow
def test_every_step_shows_the_recolored_picture(small_options: PaintOptions) -> None:
    for step in run_recipe(gatys.set_up(PHOTO, [STYLE], small_options.changed(color="keep"), EXACT)):
        assert color_distance(step.image, PHOTO.image) < 6


# ---------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("styles", "changes", "sentence"),
    [
        ([STYLE], {"color_mask": "m.png"}, "--color-mask has no effect with --color style"),
        ([STYLE], {"color_amount": 0.5}, "--color-amount has no effect with --color style"),
        ([STYLE], {"color": "palette", "color_method": "luminance"}, "luminance needs --color match-style"),
        ([STYLE], {"color": "match-style", "color_mask": "m.png"}, "--color-mask applies to the painting"),
        ([NAMED], {"color": "match-style"}, "--color match-style needs a style picture, but 'named' is a named style"),
        (
            [STYLE, NAMED],
            {"color": "palette", "color_method": "histogram"},
            "'named' is a named style; give a picture, or use --color-method monge-kantorovich",
        ),
    ],
)
def test_incompatible_color_options_are_refused(styles: list[Any], changes: dict[str, Any], sentence: str) -> None:
    for options in (PaintOptions(**changes), InstantOptions(**changes)):
        with pytest.raises(OptionError, match=sentence):
            check_colors(styles, options)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"color_amount": 1.5}, "--color-amount is 1.5; it must be a number from 0 to 1"),
        ({"color_amount": float("nan")}, "--color-amount is nan; it must be a number from 0 to 1"),
        ({"color_space": "oklb"}, "--color-space 'oklb' is not known; did you mean 'oklab'?"),
        ({"color_method": "monge"}, "--color-method 'monge' is not known"),
        ({"color": "kept"}, "--color 'kept' is not known; did you mean 'keep'?"),
    ],
)
def test_an_invalid_value_is_refused(changes: dict[str, Any], sentence: str) -> None:
    for kind in (PaintOptions, InstantOptions):
        with pytest.raises(OptionError) as caught:
            kind(**changes)
        assert sentence in str(caught.value)


def test_a_missing_color_mask_is_refused(small_options: PaintOptions) -> None:
    with pytest.raises(ImageFileError, match=r"missing\.png"):
        painted(small_options, color="keep", color_mask="missing.png")
    with pytest.raises(ImageFileError, match=r"missing\.png"):
        instant(color="keep", color_mask="missing.png")


# ---------------------------------------------------------------------------------------------------- command line, record


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask_file: str) -> Path:
    images.write(tmp_path / "photo.png", PHOTO.image)
    images.write(tmp_path / "picture.png", STYLE.image)
    monkeypatch.chdir(tmp_path)
    return tmp_path


SMALL = ("--size", "48", "--steps", "2", "--precision", "fp32")
KEPT = ("--color", "keep", "--color-space", "lab", "--color-amount", "0.8", "--color-mask", "mask.png")


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_the_record_contains_the_color_options_and_repeat_paints_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(("paint", "photo.png", "picture.png", "-o", "one.png", *SMALL, *KEPT)) == 0
    assert "mask.png: the mask of 40x30 pixels was stretched to 96x96" in capsys.readouterr().err
    record = images.read_record("one.png")
    assert record is not None
    assert record["color_mask"]["name"] == "mask.png"  # type: ignore[index]
    assert len(record["color_mask"]["sha256"]) == 64  # type: ignore[index]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert main(("paint", "--replay", "../one.png", "-o", "two.png", "--precision", "fp32")) == 0
    assert torch.equal(images.read("two.png").image, images.read("../one.png").image)
    (tmp_path / "mask.png").unlink()
    assert main(("paint", "--replay", "../one.png", "-o", "three.png")) == 2
    assert "the color mask of the record, 'mask.png' with SHA-256" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
def test_instant_results_are_recorded_and_refined_with_kept_colors(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("instant", "photo.png", "picture.png", "-o", "one.png", "--engine", "torch", "--precision", "fp32")
    assert main((*words, "--color", "keep", "--refine-seconds", "0.3", "--size", "64", "--record", "one.json")) == 0
    record = json.loads(Path("one.json").read_text())
    assert record["options"]["color"] == "keep"
    assert "color_mask" not in record
    assert color_distance(images.read("one.png").image, PHOTO.image) < 3
    assert main((*words, *KEPT)) == 0
    assert "was stretched to 96x96" in capsys.readouterr().err
    found = images.read_record("one.png")
    assert found is not None
    assert found["color_mask"]["name"] == "mask.png"  # type: ignore[index]


@pytest.mark.slow
@pytest.mark.usefixtures("gallery")
@pytest.mark.parametrize("command", ["paint", "instant"])
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--color-space", "oklb"), "oklab"),
        (("--color", "keep", "--color-amount", "2"), "--color-amount is 2.0; it must be a number from 0 to 1"),
        (("--color", "keep", "--color-mask", "missing.png"), "missing.png"),
        (("--color-mask", "mask.png"), "choose another color mode, such as --color keep"),
        (("--color", "keep", "--color-mask", "mask.png", "-o", "mask.png"), "an input"),
    ],
)
def test_the_command_line_refuses_in_one_sentence(
    command: str, words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path("mask.png").read_bytes()
    assert main((command, "photo.png", "picture.png", *words)) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("impasto:") == 1
    assert Path("mask.png").read_bytes() == before

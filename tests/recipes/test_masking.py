"""Masks as given by users: files, arrays and names; errors and notes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

import impasto
from impasto import images
from impasto.errors import ImageFileError, OptionError, ShapeError
from impasto.features.statistics import Moments
from impasto.images import Picture
from impasto.options import PaintOptions
from impasto.recipes.masking import NO_MASKS, Masking, MaskSources, Spec, read_mask, read_masking, separated_masks
from impasto.recipes.regions import lay_out
from impasto.styles.named import measured_style

PHOTO = images.read(skimage.data.astronaut()[:384:4, 32:416:4])
STYLE, OTHER = images.read(skimage.data.coffee()[::8, ::8]), images.read(skimage.data.chelsea()[::8, ::8])
NAMED = measured_style({"name": "spots"}, lambda edge_px: {}, Moments(torch.zeros(1, 3), torch.eye(3)[None]), sizes=(64,))


def left(height: int = 96, width: int = 96) -> Tensor:
    mask = torch.zeros(height, width)
    mask[:, : width // 2] = 1
    return mask


@pytest.fixture(autouse=True)
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, with masks of every kind."""
    half = left()[None, None].expand(1, 3, -1, -1)
    images.write(tmp_path / "left.png", half)
    images.write(tmp_path / "right.png", 1 - half)
    images.write(tmp_path / "small.png", left(24, 48)[None, None].expand(1, 3, -1, -1))
    images.write(tmp_path / "black.png", half * 0)
    images.write(tmp_path / "white.png", half * 0 + 1)
    images.write(tmp_path / "red.png", half * torch.tensor([1.0, 0, 0])[None, :, None, None])
    images.write(tmp_path / "cut out.png", torch.ones(1, 3, 96, 96), alpha=half[:, :1])
    (tmp_path / "text.png").write_text("no picture")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(source: Any, picture: Picture = PHOTO) -> tuple[Tensor, tuple[str, ...]]:
    found = read_mask(source, picture, "--style-mask")
    assert found.mask.shape == (1, 1, *picture.size)
    return found.mask[0, 0], found.notes


def masked(styles: Sequence[Any] = (STYLE, OTHER), **sources: Any) -> Masking:
    return read_masking(separated_masks(sources)[0], PHOTO, styles)


# ---------------------------------------------------------------------------------------------------- reading


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [
        "left.png",
        Path("left.png"),
        "not:right.png",
        "not:not:left.png",
        "cut out.png",
        "red.png#ff0000",
        "not:red.png#000000",
        left(),
        left()[None],
        left().bool(),
        left().numpy(),
        (left() * 255).byte().numpy(),
        left().bool().numpy(),
        images.to_pil(left()[None, None].expand(1, 3, -1, -1)),
        images.read(left()[None].expand(3, -1, -1)),
    ],
    ids=lambda source: type(source).__name__,
)
def test_a_mask_may_have_any_supported_form(source: Any) -> None:
    torch.testing.assert_close(read(source)[0], left())


@pytest.mark.slow
def test_named_masks_are_computed() -> None:
    assert float(read("all")[0].min()) == 1
    fade = read("gradient:left-right")[0]
    assert bool((fade.diff(dim=1) < 0).all())
    torch.testing.assert_close(read("not:gradient:left-right")[0], 1 - fade)
    torch.testing.assert_close(read("auto:subject")[0] + read("auto:background")[0], torch.ones(96, 96))
    assert float(read("auto:skin")[0][12:32, 35:48].mean()) > 0.9


def test_soft_masks_stay_soft() -> None:
    torch.testing.assert_close(read(np.full((96, 96), 0.25, np.float32))[0], torch.full((96, 96), 0.25))


def test_a_mask_of_another_size_is_resized_with_a_note() -> None:
    mask, notes = read(left(48, 48))
    assert notes == ("the mask of 48x48 pixels was scaled to 96x96",)
    assert float(mask[:, :44].min()) > 0.99
    assert read("small.png")[1] == ("the mask of 48x24 pixels was stretched to 96x96",)
    assert read("left.png")[1] == ()


def test_a_colored_mask_is_converted_to_gray_with_a_note() -> None:
    mask, notes = read("red.png")
    assert notes == ("the mask is colored; it was converted to grayscale",)
    torch.testing.assert_close(mask[:, :48], torch.full((96, 48), 0.299), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a.png", "a.png"),
        ("not:a.png", "a.png"),
        ("a.png#00ff00", "a.png"),
        ("auto:sky", ""),
        ("all", ""),
        ("a#b.png", "a#b.png"),
    ],
)
def test_a_mask_string_is_parsed_and_formatted_back(text: str, path: str) -> None:
    assert Spec.of(text).path == path
    assert Spec.of(text).text() == text


@pytest.mark.parametrize(
    ("source", "error", "sentence"),
    [
        (
            "missing.png",
            ImageFileError,
            "--style-mask 'missing.png' is neither a file nor a named mask; names are all, grad",
        ),
        ("text.png", ImageFileError, "text.png"),
        ("auto:skni", OptionError, "did you mean 'skin'"),
        ("gradient:up", OptionError, "use one of gradient:left-right"),
        ("red.png#00ff00", OptionError, "has no region of color #00ff00; its most frequent colors are #"),
        (torch.rand(2, 9, 9), ShapeError, "is not a picture"),
        (np.full((9, 9), 2.0), OptionError, r"floats must be in \[0, 1\]"),
    ],
)
def test_an_invalid_mask_is_refused(source: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        read(source)


# ---------------------------------------------------------------------------------------------------- masks of a painting


def test_without_masks_masking_is_empty() -> None:
    assert masked() is NO_MASKS
    assert NO_MASKS.record == {}
    assert separated_masks({"size": 64}) == (MaskSources(), {"size": 64})


@pytest.mark.parametrize("name", ["content_mask", "protect"])
def test_a_painting_accepts_an_array_as_a_mask(name: str) -> None:
    photo, mask = skimage.data.astronaut()[:64, :64].copy(), np.zeros((64, 64))
    mask[:, 32:] = 1
    found = impasto.paint(photo, skimage.data.coffee()[:64, :64].copy(), size=64, steps=1, **{name: mask})
    kept = slice(0, 28) if name == "content_mask" else slice(36, 64)
    expected = torch.from_numpy(photo / 255).permute(2, 0, 1)[None].float()
    assert float((found.image[..., kept] - expected[..., kept]).abs().mean()) < 0.01


def test_a_single_mask_becomes_a_tuple() -> None:
    assert separated_masks({"protect": "auto:skin", "style_masks": [left()]})[0].protect == ("auto:skin",)
    assert len(masked([STYLE], style_masks="left.png").style_masks) == 1


@pytest.mark.parametrize(
    ("sources", "sentence"),
    [
        (
            {"style_masks": ["left.png"]},
            "--style-mask is given 1 time for 2 styles; give one for each style, or use --content-mask",
        ),
        ({"style_masks": ["left.png"] * 3}, "--style-mask is given 3 times for 2 styles"),
        ({"style_regions": ["left.png"]}, "--style-region is given 1 time for 2 styles; .* all selects the whole picture"),
        ({"style_masks": ["left.png", "black.png"]}, "--style-mask 'black.png' is entirely black, so nothing would be painted"),
        ({"content_mask": "black.png"}, "--content-mask 'black.png' is entirely black"),
        ({"style_regions": ["black.png", "all"]}, "entirely black, so nothing of 'array' would be measured"),
        ({"protect": "white.png"}, "--protect 'white.png' is entirely white, so nothing would be painted"),
        ({"style_masks": ["auto:sky", "all"]}, "--style-mask auto:sky found nothing in this photo; .* impasto regions"),
    ],
)
def test_inconsistent_masks_are_refused(sources: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.recipes.masking.find_region", lambda image, name: torch.zeros(1, 1, 96, 96))
    with pytest.raises(OptionError, match=sentence):
        masked(**sources)


def test_a_region_of_a_named_style_is_refused() -> None:
    with pytest.raises(OptionError, match="--style-region needs a style picture, but 'spots' is a named style"):
        masked([STYLE, NAMED], style_regions=["left.png", "left.png"])
    assert masked([STYLE, NAMED], style_regions=["left.png", "all"]).style_regions[1].name == "all"


@pytest.mark.parametrize(
    ("sources", "notes"),
    [
        ({"style_masks": ["left.png", "right.png"]}, ()),
        (
            {"style_masks": ["white.png", "left.png"]},
            (
                "white.png: the mask is entirely white and has no effect",
                "the style masks overlap in 50% of the picture; the styles are blended there",
            ),
        ),
        ({"protect": "black.png"}, ("black.png: the mask is black and protects nothing",)),
        ({"content_mask": "red.png"}, ("red.png: the mask is colored; it was converted to grayscale",)),
        ({"style_masks": ["gradient:left-right", "gradient:right-left"]}, ()),
    ],
)
def test_conversions_and_masks_without_effect_are_reported(sources: dict[str, Any], notes: tuple[str, ...]) -> None:
    assert masked(**sources).notes == notes


def test_the_record_contains_masks_with_their_hashes() -> None:
    record = masked(style_masks=["left.png", "not:left.png"], protect=["gradient:radial", "red.png#ff0000"]).record["masks"]
    assert [(each["name"], each["kind"]) for each in record["style_masks"]] == [
        ("left.png", "picture"),
        ("not:left.png", "picture"),
    ]
    assert [(each["name"], each["kind"]) for each in record["protect"]] == [
        ("gradient:radial", "named"),
        ("red.png#ff0000", "picture"),
    ]
    hashes = [each["sha256"] for several in record.values() for each in several]
    assert all(len(each) == 64 for each in hashes)
    assert hashes[0] == hashes[1] == images.read("left.png").sha256


# ---------------------------------------------------------------------------------------------------- on the canvas


def laid_out(count: int = 2, changes: dict[str, Any] | None = None, **sources: Any) -> Any:
    options = PaintOptions(size=64, **({"feather": 0.0} | (changes or {})))
    return lay_out(masked([STYLE, OTHER][:count], **sources), (64, 64), 2, options, count)


def test_regions_include_the_margin() -> None:
    region_masks = laid_out(style_masks=["left.png", "right.png"])
    assert [mask.shape for mask in region_masks.masks] == [(1, 1, 68, 68)] * 2
    assert (region_masks.weights, region_masks.strengths, region_masks.kept) == (((1.0, 0.0), (0.0, 1.0)), (1.0, 1.0), None)


def test_uncovered_areas_keep_the_photo_or_use_the_first_style() -> None:
    region_masks = laid_out(1, style_masks=["left.png"])
    assert float(region_masks.kept[..., 40:].min()) == 1
    assert float(region_masks.kept[..., :28].max()) == 0
    assert laid_out(1, {"uncovered": "first-style"}, style_masks=["left.png"]).kept is None


def test_a_content_mask_limits_all_styles_to_one_area() -> None:
    region_masks = laid_out(content_mask="left.png")
    assert region_masks.weights == ((1.0, 1.0),)
    assert float(region_masks.kept[..., 40:].min()) == 1
    both = laid_out(content_mask="left.png", style_masks=["gradient:top-bottom", "gradient:bottom-top"])
    assert len(both.masks) == 2
    assert float(both.kept[..., 40:].min()) == 1


def test_protected_areas_are_in_no_region_and_feathered_outwards() -> None:
    region_masks = laid_out(changes={"feather": 0.1}, protect="left.png", style_masks=["left.png", "right.png"])
    assert float(region_masks.kept[..., :34].min()) == 1
    assert 0 < float(region_masks.kept[0, 0, 30, 37]) < 1
    assert len(region_masks.masks) == 1
    assert region_masks.weights == ((0.0, 1.0),)


def test_region_strengths_combine_the_option_and_the_style_weights() -> None:
    masks = {"style_masks": ["left.png", "right.png"]}
    assert laid_out(changes={"region_strengths": (1.0, 0.5)}, **masks).strengths == (1.0, 0.5)
    assert laid_out(changes={"style_weights": (3.0, 1.0)}, **masks).strengths == (1.5, 0.5)
    nothing = laid_out(changes={"region_strengths": (1.0, 0.0)}, **masks)
    assert nothing.strengths == (1.0,)
    assert float(nothing.kept[..., 40:].min()) == 1


@pytest.mark.parametrize(
    ("changes", "sources", "sentence"),
    [
        ({"region_strengths": (1.0, 2.0)}, {}, "--region-strengths needs regions"),
        (
            {"region_strengths": (1.0,)},
            {"style_masks": ["left.png", "right.png"]},
            "--region-strengths has 1 values for 2 styles",
        ),
        ({}, {"style_masks": ["all", "all"], "protect": ["left.png", "right.png"]}, "nothing would be painted"),
        ({"region_strengths": (0.0, 0.0)}, {"style_masks": ["left.png", "right.png"]}, "nothing would be painted"),
    ],
)
def test_inconsistent_regions_are_refused(changes: dict[str, Any], sources: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        laid_out(changes=changes, **(sources or {"protect": "left.png"}))

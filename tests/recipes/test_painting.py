"""The entry points for painting: inputs in any form, results and records, and repetition from a record."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import impasto
import impasto.recipes.painting
from impasto import images
from impasto.encoders import Vgg
from impasto.errors import ImageFileError, OptionError, ShapeError
from impasto.features.statistics import moments
from impasto.optim.engine import Step
from impasto.options import Run
from impasto.recipes.context import PaintingContext
from impasto.recipes.painting import finished, options_of, paint, read_content, read_style, read_styles, steps
from impasto.recipes.presets import paint_options
from impasto.styles.named import SUFFIX, NamedStyle, measured_style, save_style
from impasto.weights import save_vgg

EXACT = Run(device="cpu", precision="fp32", seed=3)


@pytest.fixture(scope="session")
def encoder_file(narrow: Callable[..., Vgg], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("encoders") / "narrow.safetensors"
    save_vgg(path, narrow(), {}, bits=16)
    return str(path)


@pytest.fixture
def brief(encoder_file: str) -> dict[str, Any]:
    """Options by name for a painting that takes no time."""
    return {"encoder": encoder_file, "size": 48, "steps": 2, "smallest_size": 32}


@pytest.fixture
def style() -> Tensor:
    return torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def named(style: Tensor) -> NamedStyle:
    return measured_style({"name": "haystacks"}, lambda edge_px: {"relu1_1": moments(style)}, moments(style), sizes=(64,))


# ---------------------------------------------------------------------------------------------------- painting


def test_notes_of_steps_are_in_the_record(
    photo: Tensor, style: Tensor, brief: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "notes" not in paint(photo, style, run=EXACT, **brief).record
    run_recipe = impasto.recipes.painting.run_recipe

    def run_with_notes(context: PaintingContext) -> Iterator[Step]:
        for step in run_recipe(context):
            yield replace(step, note="halved the learning rate") if step.number == 2 else step

    monkeypatch.setattr(impasto.recipes.painting, "run_recipe", run_with_notes)
    assert paint(photo, style, run=EXACT, **brief).record["notes"] == ["halved the learning rate"]


def test_the_record_reports_an_objective_that_did_not_decrease(photo: Tensor, style: Tensor, brief: dict[str, Any]) -> None:
    tiny_steps = {"learning_rate": 1e-9, "optimizer": "adam", "canvas": "pixels", "averaging": 0.0}
    pastiche = paint(photo, style, run=EXACT, **brief | tiny_steps | {"steps": 10, "smallest_size": 48})
    (note,) = pastiche.record["notes"]
    assert note.startswith("the objective did not decrease")
    assert pastiche.image.shape == (1, 3, 48, 48)


def test_paint_returns_a_picture_and_its_record(photo: Tensor, style: Tensor, brief: dict[str, Any]) -> None:
    pastiche = paint(photo, style, run=EXACT, **brief)
    assert pastiche.image.shape == (1, 3, 48, 48)
    assert pastiche.alpha is None
    record = pastiche.record
    assert record["options"]["size"] == 48
    assert record["run"] == {"device": "cpu", "precision": "fp32", "seed": 3, "threads": 0, "max_memory": 0.0}
    assert record["steps"]["done"] == record["steps"]["planned"]
    assert record["content"]["sha256"] == images.read(photo).sha256
    assert len(record["encoder"]["sha256"]) == 64
    assert set(record["losses"]) >= {"style"}


@pytest.mark.slow
def test_the_same_pictures_in_other_forms_give_the_same_painting(
    photo: Tensor, style: Tensor, brief: dict[str, Any], tmp_path: Path
) -> None:
    images.write(tmp_path / "photo.png", photo)
    pixels = images.to_array(photo)
    expected = paint(images.read(pixels), style, run=EXACT, **brief).image
    for content in (pixels, images.to_pil(photo), tmp_path / "photo.png", str(tmp_path / "photo.png")):
        assert torch.equal(paint(content, [style], run=EXACT, **brief).image, expected)


def test_the_last_step_equals_the_painting(photo: Tensor, style: Tensor, brief: dict[str, Any]) -> None:
    *_, last = steps(photo, style, run=EXACT, **brief)
    assert torch.equal(last.image, paint(photo, style, run=EXACT, **brief).image)


def test_options_override_a_preset(photo: Tensor, style: Tensor, brief: dict[str, Any]) -> None:
    record = paint(photo, style, preset="network", run=EXACT, **brief).record
    assert record["options"]["preset"] == "network"
    assert record["options"]["style_normalization"] == "network"
    assert record["options"]["steps"] == 2


def test_the_package_exports_the_entry_points() -> None:
    assert impasto.paint is paint
    assert impasto.steps is steps
    with pytest.raises(OptionError, match="did you mean 'gatys2015'"):
        impasto.paint(np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40, 3), np.uint8), preset="gatys2014")


def test_nothing_is_read_or_checked_before_the_first_step() -> None:
    stepping = steps("missing.jpg", "missing.png")
    with pytest.raises(ImageFileError, match=r"missing\.jpg"):
        next(stepping)


# ---------------------------------------------------------------------------------------------------- what it reads


def test_transparency_is_kept_in_the_result(photo: Tensor, style: Tensor, brief: dict[str, Any], tmp_path: Path) -> None:
    alpha = torch.ones(1, 1, 96, 96)
    alpha[..., :48] = 0
    pastiche = paint(torch.cat([photo, alpha], dim=1), style, run=EXACT, **brief)
    assert pastiche.alpha is not None
    assert pastiche.alpha.shape == (1, 1, 48, 48)
    assert float(pastiche.alpha[..., :20].max()) < 0.01
    assert float(pastiche.alpha[..., 28:].min()) > 0.99
    pastiche.save(tmp_path / "result.png")
    back = images.read(tmp_path / "result.png")
    assert back.alpha is not None
    torch.testing.assert_close(back.alpha, pastiche.alpha, atol=1 / 255, rtol=0)


def test_fully_transparent_pixels_do_not_affect_the_painting(photo: Tensor, style: Tensor, brief: dict[str, Any]) -> None:
    alpha = torch.ones(1, 1, 96, 96)
    alpha[..., :32] = 0
    hidden = photo.clone()
    hidden[..., :32] = torch.tensor([1.0, 0.0, 0.0])[None, :, None, None]
    one, other = (paint(torch.cat([each, alpha], dim=1), style, run=EXACT, **brief).image for each in (photo, hidden))
    torch.testing.assert_close(one, other)


def test_metadata_of_the_photo_is_kept(photo: Tensor, style: Tensor, brief: dict[str, Any], tmp_path: Path) -> None:
    images.write(tmp_path / "photo.jpg", photo, metadata=images.Metadata(dpi=(300.0, 300.0)))
    pastiche = paint(tmp_path / "photo.jpg", style, run=EXACT, **brief)
    assert pastiche.metadata is not None
    assert pastiche.metadata.dpi == pytest.approx((300, 300))


def test_a_style_may_be_a_picture_a_style_file_or_a_name(
    style: Tensor, named: NamedStyle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_style(named) is named
    picture = images.read(style)
    assert read_style(picture) is picture
    save_style(tmp_path / f"haystacks{SUFFIX}", named)
    assert read_style(tmp_path / f"haystacks{SUFFIX}").name == "haystacks"
    monkeypatch.setattr(impasto.recipes.painting, "shipped_styles", lambda: {"haystacks": "somewhere"})
    monkeypatch.setattr(impasto.recipes.painting, "find_style", lambda name: f"found {name}")
    assert read_style("haystacks") == "found haystacks"


def test_a_file_takes_precedence_over_a_style_name(style: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images.write(tmp_path / "x.png", style)
    (tmp_path / "x.png").rename(tmp_path / "haystacks")
    monkeypatch.setattr(impasto.recipes.painting, "shipped_styles", lambda: {"haystacks": "somewhere"})
    assert isinstance(read_style("haystacks"), images.Picture)


@pytest.mark.parametrize(
    ("source", "kind", "sentence"),
    [
        ("haystakcs", OptionError, "style 'haystakcs' is neither a picture file nor a named style"),
        ("missing.jpg", ImageFileError, "missing.jpg"),
        ("folder/missing", ImageFileError, "missing"),
        (Path("missing"), ImageFileError, "missing"),
    ],
)
def test_a_missing_style_is_refused_as_a_file_or_as_a_name(source: Any, kind: type[Exception], sentence: str) -> None:
    with pytest.raises(kind, match=sentence):
        read_style(source)


def test_one_style_and_a_list_of_one_give_the_same_result(style: Tensor) -> None:
    assert [each.name for each in read_styles(style)] == [each.name for each in read_styles([style])] == ["tensor"]
    assert len(read_styles((style, style))) == 2
    assert read_styles([]) == ()
    picture = images.read(style)
    assert read_content(picture) is picture


def test_a_picture_too_small_is_refused(style: Tensor, brief: dict[str, Any]) -> None:
    with pytest.raises(ShapeError, match="content 'tensor' has 1x1 pixels, too few to show a photo"):
        paint(torch.zeros(1, 3, 1, 1), style, run=EXACT, **brief)


# ---------------------------------------------------------------------------------------------------- the record


def test_a_painting_can_be_repeated_from_the_record_in_its_file(
    photo: Tensor, style: Tensor, brief: dict[str, Any], tmp_path: Path
) -> None:
    pastiche = paint(photo, [style, style.flip(1)], run=EXACT, style_weights=[2, 1], init="noise", **brief)
    pastiche.save(tmp_path / "result.png")
    record = images.read_record(tmp_path / "result.png")
    assert record is not None
    options, run = options_of(record)
    assert run == EXACT
    assert options == paint_options(style_weights=(2, 1), init="noise", **brief)
    again = paint(photo, [style, style.flip(1)], run=run, **{name: getattr(options, name) for name in vars(options)})
    assert torch.equal(again.image, pastiche.image)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"options": {}},
        {"options": {"hue": 3}, "run": {}, "impasto": "9.0"},
        {"options": [], "run": {}},
        {"options": {}, "run": {"sede": 1}},
    ],
)
def test_an_incompatible_record_is_refused_in_one_sentence(record: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"the record of impasto .* cannot be repeated by impasto \d") as caught:
        options_of(record)
    assert "\n" not in str(caught.value)


def test_invalid_values_in_a_record_are_reported() -> None:
    with pytest.raises(OptionError, match="--steps is -1"):
        options_of({"options": {"steps": -1}, "run": {}})


def test_a_record_can_be_stored_as_json(photo: Tensor, style: Tensor, brief: dict[str, Any]) -> None:
    record = paint(photo, style, run=EXACT, **brief).record
    assert options_of(json.loads(json.dumps(record))) == options_of(record)


def test_a_pastiche_can_be_made_from_any_step(photo: Tensor, style: Tensor, brief: dict[str, Any]) -> None:
    first = next(steps(photo, style, run=EXACT, **brief))
    pastiche = finished(images.read(photo), first, {"half": "way"})
    assert torch.equal(pastiche.image, first.image)
    assert pastiche.record == {"half": "way"}


def test_style_files_joined_by_commas_are_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jpg", tmp_path / "b.jpg"
    first.touch()
    second.touch()
    with pytest.raises(OptionError, match=r"is 2 files joined by commas; separate them by spaces: .*a\.jpg .*b\.jpg"):
        read_style(f"{first},{second}")


@pytest.mark.slow
def test_painting_leaves_the_encoder_that_it_was_given_as_it_was(
    photo: Tensor, style: Tensor, brief: dict[str, Any], narrow: Callable[..., Vgg]
) -> None:
    encoder = brief["encoder"] = narrow().requires_grad_(True)
    before = {name: value.detach().clone() for name, value in encoder.state_dict().items()}
    exact = paint(photo, style, run=EXACT, **brief).image
    paint(photo, style, run=Run(device="cpu", precision="bf16"), **brief)
    assert all(each.requires_grad and each.grad is None for each in encoder.parameters())
    for name, value in encoder.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])
    assert torch.equal(paint(photo, style, run=EXACT, **brief).image, exact)

"""The calls of TF Hub's module: arrays in, arrays out."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from impasto import images
from impasto.compat import notebook
from impasto.errors import ImageFileError, OptionError, ShapeError
from impasto.notebook import load_image, load_stylizer, show_side_by_side
from impasto.options import Run
from impasto.recipes.instant_painter import InstantPainter

Stylize = Callable[..., tuple[Any]]


@pytest.fixture(scope="module")
def stylize() -> Stylize:
    return load_stylizer(run=Run(device="cpu", precision="fp32"), engine="torch")


def batch(count: int, height: int, width: int, seed: int = 0) -> Any:
    """Smooth pictures, all different."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    return fine.permute(0, 2, 3, 1).numpy()


# ---------------------------------------------------------------------------------------------------- stylizing


def test_the_result_is_a_tuple_with_a_batch_of_the_content_size(stylize: Stylize) -> None:
    (found,) = stylize(batch(1, 65, 90), batch(1, 40, 64))
    assert (found.shape, found.dtype) == ((1, 65, 90, 3), np.float32)
    assert found.min() >= 0
    assert found.max() <= 1
    assert found.flags.c_contiguous


def test_the_result_equals_that_of_the_instant_painter(stylize: Stylize) -> None:
    content, style = batch(1, 64, 96), batch(1, 40, 64, seed=1)
    (found,) = stylize(content, style)
    painter = InstantPainter(Run(device="cpu", precision="fp32"), "torch")
    photo, picture = (torch.from_numpy(each).permute(0, 3, 1, 2) for each in (content, style))
    expected = painter.paint(photo, painter.encode_picture(picture))
    np.testing.assert_allclose(found, expected.permute(0, 2, 3, 1).numpy(), atol=1e-5)
    colors, wanted, before = (each.mean((0, 1, 2)) for each in (found, style, content))
    assert np.abs(colors - wanted).max() < 0.2 * np.abs(before - wanted).max()


def test_one_style_is_used_for_all_contents(stylize: Stylize) -> None:
    contents, style = batch(2, 48, 40), batch(1, 32, 48, seed=1)
    (found,) = stylize(contents, style)
    for index in range(2):
        np.testing.assert_allclose(found[index], stylize(contents[index : index + 1], style)[0][0], atol=1e-5)


def test_each_content_may_have_its_own_style(stylize: Stylize) -> None:
    contents, styles = batch(2, 48, 40), batch(2, 32, 48, seed=1)
    (found,) = stylize(contents, styles)
    for index in range(2):
        alone = stylize(contents[index : index + 1], styles[index : index + 1])[0][0]
        np.testing.assert_allclose(found[index], alone, atol=1e-5)


def test_anything_convertible_to_an_array_is_accepted(stylize: Stylize) -> None:
    content, style = batch(1, 40, 48), batch(1, 32, 32, seed=1)
    (expected,) = stylize(content, style)
    (of_tensors,) = stylize(torch.from_numpy(content), torch.from_numpy(style))
    (of_lists,) = stylize(content.tolist(), style.astype(np.float64))
    np.testing.assert_allclose(of_tensors, expected, atol=1e-5)
    np.testing.assert_allclose(of_lists, expected, atol=1e-5)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_input_arrays_are_not_modified(stylize: Stylize, strength: float) -> None:
    content, style = batch(1, 40, 48), batch(1, 32, 32, seed=1)
    before, style_before = content.copy(), style.copy()
    (found,) = stylize(content, style, strength=strength)
    found[:] = 0.5
    np.testing.assert_array_equal(content, before)
    np.testing.assert_array_equal(style, style_before)


def test_higher_strength_increases_the_distance_from_the_photo(stylize: Stylize) -> None:
    content, style = batch(1, 40, 48), batch(1, 32, 32, seed=1)
    distances = [float(np.abs(stylize(content, style, strength=s)[0] - content).mean()) for s in (0.0, 0.5, 1.0)]
    assert distances[0] == 0
    assert distances == sorted(distances)
    assert distances[2] > distances[1] > 0


@pytest.mark.parametrize("strength", [-0.1, 1.6, float("nan")])
def test_an_invalid_strength_is_refused(stylize: Stylize, strength: float) -> None:
    with pytest.raises(OptionError, match=r"must be a number from 0 to 1\.5"):
        stylize(batch(1, 32, 32), batch(1, 32, 32), strength=strength)


@pytest.mark.parametrize(
    ("content", "style", "sentence"),
    [
        (np.zeros((64, 64, 3)), batch(1, 32, 32), r"content has shape \(64, 64, 3\)"),
        (np.zeros((1, 64, 64, 4)), batch(1, 32, 32), "content has shape"),
        (np.zeros((0, 64, 64, 3)), batch(1, 32, 32), "content has shape"),
        (batch(1, 32, 32), np.zeros((1, 3, 64, 64)), "style has shape"),
        (batch(1, 32, 32), np.zeros((1, 31, 64, 3)), "sides of at least 32 pixels"),
        (batch(3, 32, 32), batch(2, 32, 32), "got 2 styles for 3 contents"),
    ],
)
def test_an_invalid_shape_is_refused(stylize: Stylize, content: Any, style: Any, sentence: str) -> None:
    with pytest.raises(ShapeError, match=sentence):
        stylize(content, style)


@pytest.mark.parametrize("value", [255.0, -0.5, float("nan"), float("inf")])
def test_values_out_of_range_are_refused(stylize: Stylize, value: float) -> None:
    content = batch(1, 32, 32)
    content[0, 3, 4, 1] = value
    with pytest.raises(OptionError, match="divide 8-bit values by 255"):
        stylize(content, batch(1, 32, 32))


def test_an_engine_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.recipes.instant_painter.has_openvino", lambda: False)
    with pytest.raises(OptionError, match=r"pip install 'impasto\[fast\]'"):
        load_stylizer(engine="openvino")


# ---------------------------------------------------------------------------------------------------- reading and showing


def test_a_picture_is_read_at_most_at_the_requested_size(tmp_path: Path) -> None:
    images.write(tmp_path / "photo.png", torch.rand(1, 3, 40, 80, generator=torch.Generator().manual_seed(0)))
    as_it_is, smaller = load_image(tmp_path / "photo.png"), load_image(str(tmp_path / "photo.png"), max_dim=32)
    assert (as_it_is.shape, smaller.shape) == ((1, 40, 80, 3), (1, 16, 32, 3))
    assert as_it_is.dtype == smaller.dtype == np.float32
    np.testing.assert_allclose(as_it_is, images.read(tmp_path / "photo.png").image.permute(0, 2, 3, 1).numpy())


def test_a_loaded_picture_can_be_stylized(stylize: Stylize, tmp_path: Path) -> None:
    images.write(tmp_path / "photo.png", torch.rand(1, 3, 40, 80, generator=torch.Generator().manual_seed(0)))
    photo = load_image(tmp_path / "photo.png")
    assert stylize(photo, photo)[0].shape == (1, 40, 80, 3)


def test_a_missing_picture_is_refused() -> None:
    with pytest.raises(ImageFileError, match=r"missing\.jpg"):
        load_image("missing.jpg")


def test_showing_without_matplotlib_raises_an_error_that_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"matplotlib is not installed; pip install 'impasto\[notebook\]'"):
        show_side_by_side([batch(1, 32, 32)])


needs_matplotlib = pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")


@pytest.mark.slow
@needs_matplotlib
def test_pictures_are_shown_side_by_side_with_titles() -> None:
    figure = show_side_by_side([batch(1, 32, 40), batch(1, 48, 32)[0]], ["photo", "painted"])
    assert [axes.get_title() for axes in figure.axes] == ["photo", "painted"]
    assert [axes.images[0].get_array().shape for axes in figure.axes] == [(32, 40, 3), (48, 32, 3)]
    assert len(show_side_by_side([batch(1, 32, 40)]).axes) == 1


@needs_matplotlib
def test_a_wrong_number_of_titles_is_refused() -> None:
    with pytest.raises(OptionError, match="got 1 titles for 2 pictures"):
        show_side_by_side([batch(1, 32, 40), batch(1, 32, 40)], ["photo"])

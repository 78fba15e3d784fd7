"""The brush recipe: sizes, strength, tiles, memory, transparency and unusual photos."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

import impasto
from impasto import images
from impasto.errors import OptionError, ResourceError
from impasto.networks.brush_files import save_brush
from impasto.networks.compiled import has_openvino
from impasto.networks.johnson import Johnson, Layout
from impasto.recipes import brush as recipe
from impasto.recipes.brush import BrushPainter

EXACT = impasto.Run(device="cpu", precision="fp32")
PHOTO = skimage.data.astronaut()[:384:4, 32:448:4]  # 96x104


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A brush with random weights."""
    network, random = Johnson(Layout(4, blocks=1, ends=5)), torch.Generator().manual_seed(0)
    for values in network.parameters():
        if values.ndim > 1:
            values.data.normal_(0, (2 / values[0].numel()) ** 0.5, generator=random)
    path = tmp_path_factory.mktemp("brushes") / "mine.brush"
    save_brush(path, network, {"name": "mine"})
    return path


@pytest.fixture(scope="module")
def painter(path: Path) -> BrushPainter:
    return BrushPainter(path, EXACT, "torch")


def test_a_brush_is_applied_by_file_or_by_painter(path: Path, painter: BrushPainter) -> None:
    one, other = impasto.apply(str(path), PHOTO, run=EXACT), impasto.apply(painter, PHOTO)
    assert torch.equal(one.image, other.image)
    assert one.image.shape == (1, 3, 96, 104)
    assert (one.image - images.read(PHOTO).image).abs().mean() > 0.1
    assert one.record["recipe"] == "brush"
    assert one.record["brush"] == {"name": "mine", "sha256": painter.network.sha256}
    assert one.record["options"] == {"size": 0, "strength": 1.0, "stroke": 1.0, "grain": 0.0}
    assert one.record == other.record


def test_strength_zero_returns_the_photo_exactly(painter: BrushPainter) -> None:
    photo = images.read(PHOTO)
    found = impasto.apply(painter, photo, strength=0, stroke=2).image
    assert torch.equal(found, photo.image)
    assert found.data_ptr() != photo.image.data_ptr()  # the caller may change either
    small = impasto.apply(painter, photo, strength=0, size=52).image
    assert torch.equal(small, images.resize(photo.image, (48, 52)))


def test_strength_blends_the_photo_with_the_painting(painter: BrushPainter) -> None:
    photo, whole = images.read(PHOTO).image, impasto.apply(painter, PHOTO).image
    half = impasto.apply(painter, PHOTO, strength=0.5).image
    assert (half - (photo + whole) / 2).abs().max() < 1e-5


def test_the_callers_tensor_is_not_changed(painter: BrushPainter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "_WHOLE_PX", 64 * 64)
    photo = images.read(PHOTO)
    before = photo.image.clone()
    for strength in (0, 0.5, 1):
        impasto.apply(painter, photo, strength=strength)
        assert torch.equal(photo.image, before)


@pytest.mark.parametrize(("size", "wanted"), [(0, (96, 104)), (52, (48, 52)), (16, (15, 16)), (1000, (96, 104))])
def test_a_size_limits_the_longer_side(painter: BrushPainter, size: int, wanted: tuple[int, int]) -> None:
    assert tuple(impasto.apply(painter, PHOTO, size=size).image.shape[-2:]) == wanted


@pytest.mark.parametrize("stroke", [0.25, 0.9, 4])
def test_the_result_keeps_its_size_for_any_stroke(painter: BrushPainter, stroke: float) -> None:
    found = impasto.apply(painter, PHOTO, stroke=stroke).image
    assert found.shape == (1, 3, 96, 104)
    assert (found - impasto.apply(painter, PHOTO).image).abs().mean() > 0.01


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 3), (17, 15)])
@pytest.mark.parametrize("stroke", [0.25, 1, 4])
def test_tiny_photos_are_painted(painter: BrushPainter, shape: tuple[int, int], stroke: float) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    found = impasto.apply(painter, photo, stroke=stroke).image
    assert found.shape == (1, 3, *shape)
    assert found.isfinite().all()


@pytest.mark.parametrize("value", [0, 77, 255])
def test_without_grain_a_photo_of_one_color_gives_one_color_and_a_note(painter: BrushPainter, value: int) -> None:
    pastiche = impasto.apply(painter, np.full((50, 70, 3), value, np.uint8))
    assert pastiche.image.isfinite().all()
    assert pastiche.image.std((2, 3)).max() < 1e-3
    assert "one color" in pastiche.record["notes"][0]
    assert "notes" not in impasto.apply(painter, PHOTO).record


@pytest.mark.parametrize("value", [0, 77, 255])
def test_with_grain_a_photo_of_one_color_gets_strokes(painter: BrushPainter, value: int) -> None:
    photo = np.full((50, 70, 3), value, np.uint8)
    pastiche = impasto.apply(painter, photo, grain=0.5)
    assert pastiche.image.std((2, 3)).max() > 0.02
    assert "notes" not in pastiche.record
    assert torch.equal(pastiche.image, impasto.apply(painter, photo, grain=0.5).image)


@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.parametrize("contrast", [0, 1 / 255])
def test_a_faint_photo_is_painted_without_the_noise_of_bfloat16(
    path: Path, painter: BrushPainter, engine: str, contrast: float
) -> None:
    if engine == "openvino" and not has_openvino():
        pytest.skip("OpenVINO is not installed")
    photo = 0.3 + contrast * images.read(PHOTO).image
    rough = BrushPainter(path, impasto.Run(device="cpu", precision="bf16"), engine)
    assert torch.equal(rough.paint(photo), painter.paint(photo))


def test_transparency_is_kept_and_hidden_colors_have_no_effect(painter: BrushPainter) -> None:
    alpha = np.zeros((96, 104, 1), np.uint8)
    alpha[:, :60] = 255
    hidden = np.concatenate([PHOTO.copy(), alpha], 2)
    other = hidden.copy()
    other[:, 60:, :3] = 255 - other[:, 60:, :3]
    one, two = (impasto.apply(painter, each, size=52) for each in (hidden, other))
    assert one.alpha is not None
    assert one.alpha.shape == (1, 1, 48, 52)
    assert torch.equal(one.image, two.image)


@pytest.mark.slow
def test_a_large_photo_painted_in_tiles_has_no_seams(painter: BrushPainter, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = images.read(skimage.data.astronaut()[:300, :400]).image
    network = painter.network.with_statistics_of(images.resize(photo, (150, 200)))
    with torch.no_grad():
        whole = network(photo).clamp(0, 1)
    monkeypatch.setattr(recipe, "_WHOLE_PX", 150 * 200)
    monkeypatch.setattr(recipe, "TILE_PX", 64)
    assert (painter.paint(photo) - whole).abs().max() < 1 / 255


@pytest.mark.slow
def test_a_very_long_strip_is_painted_in_bounded_memory(painter: BrushPainter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "_WHOLE_PX", 64 * 64)
    monkeypatch.setattr(recipe, "TILE_PX", 64)
    painted: list[int] = []
    forward = Johnson.forward

    def counted(network: Johnson, photo: torch.Tensor) -> torch.Tensor:
        painted.append(max(16, photo.shape[-2]) * max(16, photo.shape[-1]))
        return forward(network, photo)

    monkeypatch.setattr(Johnson, "forward", counted)
    found = painter.paint(torch.rand(1, 3, 1, 5000))
    assert found.shape == (1, 3, 1, 5000)
    assert max(painted) <= 64 * 64
    assert len(painted) > 5000 / 64


@pytest.mark.parametrize("options", [{}, {"stroke": 0.25}])
def test_a_picture_that_needs_too_much_memory_is_refused_with_a_size_that_fits(
    painter: BrushPainter, options: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = images.read(np.zeros((1500, 2000, 3), np.uint8))
    monkeypatch.setattr(recipe, "available_memory", lambda device: 100 * 2**20)
    with pytest.raises(
        ResourceError, match=r"needs about .* [GM]iB of memory, but only 100 MiB are free; use --size (\d+), or close"
    ) as caught:
        impasto.apply(painter, photo, **options)
    fits = int(str(caught.value).split("--size ")[1].split(",")[0])
    assert 16 <= fits < 2000
    recipe.check_memory(painter, images.fitted_size(photo.size, fits), recipe.brush_options(**options))
    with pytest.raises(ResourceError):
        recipe.check_memory(painter, images.fitted_size(photo.size, fits + 2), recipe.brush_options(**options))


def test_if_no_size_fits_the_message_suggests_none(painter: BrushPainter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "available_memory", lambda device: 2**20)
    with pytest.raises(ResourceError, match=r"are free; close other programs$"):
        impasto.apply(painter, PHOTO)


def test_bfloat16_paints_almost_the_same_picture(path: Path, painter: BrushPainter) -> None:
    rough = impasto.apply(path, PHOTO, run=impasto.Run(device="cpu", precision="bf16")).image
    assert rough.dtype == torch.float32
    assert (rough - impasto.apply(painter, PHOTO).image).abs().mean() < 0.02


def test_a_callers_settings_of_pytorch_have_no_effect(painter: BrushPainter) -> None:
    wanted = impasto.apply(painter, PHOTO).image
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = impasto.apply(painter, PHOTO).image
    assert torch.equal(found, wanted)
    assert not found.is_inference()


def test_options_are_checked(painter: BrushPainter) -> None:
    for options in ({"strength": 1.5}, {"size": 8}, {"stroke": 0.1}, {"size": "64"}, {"strength": float("nan")}):
        with pytest.raises(OptionError):
            impasto.apply(painter, PHOTO, **options)
    with pytest.raises(OptionError, match="did you mean 'strength'"):
        impasto.apply(painter, PHOTO, strenght=1)
    with pytest.raises(OptionError, match="run= has no effect"):
        impasto.apply(painter, PHOTO, run=impasto.Run(precision="bf16"))

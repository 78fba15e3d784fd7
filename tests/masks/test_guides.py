"""Operations on masks: gradients, overlaps, soft edges, and the three ways of shrinking to a layer."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from impasto.encoders import Vgg
from impasto.encoders.vgg import LAYERS
from impasto.errors import OptionError
from impasto.masks.guides import (
    GRADIENTS,
    feathered,
    gradient,
    grown,
    guides_at,
    places_inside,
    receptive_field,
    shared,
    shrunk,
    softened,
)
from impasto.options import Shrinking


def left_half(height: int, width: int) -> Tensor:
    mask = torch.zeros(1, 1, height, width)
    mask[..., : width // 2] = 1
    return mask


def test_a_gradient_is_1_at_the_side_named_first() -> None:
    for kind, corner in {"left-right": (0, 0), "right-left": (0, -1), "top-bottom": (0, 0), "bottom-top": (-1, 0)}.items():
        fade = gradient(kind, (5, 7))
        assert fade.shape == (1, 1, 5, 7)
        assert (float(fade[0, 0][corner]), float(fade.min()), float(fade.max())) == (1.0, 0.0, 1.0)
    assert float(gradient("radial", (5, 7))[0, 0, 2, 3]) == 1.0
    assert float(gradient("radial", (5, 7))[0, 0, 0, 0]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("one", "other"), [("left-right", "right-left"), ("top-bottom", "bottom-top")])
def test_opposite_gradients_sum_to_1(one: str, other: str) -> None:
    torch.testing.assert_close(gradient(one, (6, 9)) + gradient(other, (6, 9)), torch.ones(1, 1, 6, 9))


def test_an_unknown_gradient_is_refused_with_a_suggestion() -> None:
    with pytest.raises(OptionError, match="did you mean 'left-right'"):
        gradient("left-rigth", (4, 4))


def test_overlapping_masks_are_normalized_and_others_are_unchanged() -> None:
    one, other = left_half(4, 8), torch.full((1, 1, 4, 8), 0.5)
    (first, second), overlap = shared([one, other])
    assert float((first + second).max()) == pytest.approx(1)
    torch.testing.assert_close(first[..., :4], torch.full((1, 1, 4, 4), 2 / 3))
    assert torch.equal(second[..., 4:], other[..., 4:])
    assert overlap == 0.5
    assert shared([one, 1 - one])[1] == 0


def test_a_softened_mask_and_its_complement_sum_to_1() -> None:
    mask = left_half(32, 40)
    soft, opposite = softened(mask, 8), softened(1 - mask, 8)
    torch.testing.assert_close(soft + opposite, torch.ones_like(mask))
    assert torch.equal(softened(mask, 1), mask)
    across = soft[0, 0, 16]
    assert bool((across.diff() <= 1e-6).all())
    assert float(across[10]) == 1
    assert 0 < float(across[19]) < 1


@pytest.mark.parametrize("width_px", [0, 1, 2, 5, 12])
def test_a_feather_is_outside_the_mask(width_px: int) -> None:
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., 15:25, 15:25] = 1
    soft = feathered(mask, width_px)
    assert bool((soft[mask > 0] == 1).all())
    assert float(soft[..., :2, :].max()) == 0
    assert (float(soft.sum()) > float(mask.sum())) is (width_px > 1)


def test_a_mask_grows_on_all_sides() -> None:
    mask = torch.zeros(1, 1, 9, 9)
    mask[..., 4, 4] = 1
    assert float(grown(mask, 2).sum()) == 25
    assert torch.equal(grown(mask, 0), mask)


@pytest.mark.parametrize("layer", ["relu1_1", "relu1_2", "relu2_1", "conv2_2", "relu3_1", "relu3_4"])
def test_receptive_fields_agree_with_the_network(layer: str, narrow: Callable[..., Vgg]) -> None:
    """With positive filters, a position responds to exactly the pixels of its receptive field."""
    vgg = narrow(border="zero", pooling="average")
    for name, values in vgg.state_dict().items():
        values.copy_(values.abs() + 0.01 if values.ndim > 1 else torch.full_like(values, float(name == "std")))
    image = torch.full((1, 3, 128, 128), 0.5).requires_grad_()
    features = vgg(image, [layer])[layer]
    row = features.shape[-2] // 2
    features[0, 0, row, row].backward()
    assert image.grad is not None
    seen_rows = (image.grad[0].abs().sum((0, 2)) > 0).nonzero()[:, 0]
    size, stride = receptive_field(layer, LAYERS)
    assert int(seen_rows[-1] - seen_rows[0]) + 1 == size
    assert int(seen_rows[0]) == row * stride - (size - stride) // 2


@pytest.mark.parametrize("layer", ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"])
@pytest.mark.parametrize("how", ["simple", "inside", "all"])
def test_a_guide_has_the_size_of_its_layer(layer: str, how: Shrinking, narrow: Callable[..., Vgg]) -> None:
    image = torch.rand(1, 3, 75, 102)
    features = narrow()(image, [layer])[layer]
    assert shrunk(torch.rand(1, 1, 75, 102), layer, LAYERS, how).shape[-2:] == features.shape[-2:]


@pytest.mark.parametrize("layer", ["relu2_1", "relu3_1"])
def test_inside_requires_the_whole_receptive_field_and_all_requires_any_part(layer: str) -> None:
    mask = left_half(96, 96)
    inside, simple, whole = (shrunk(mask, layer, LAYERS, how) for how in ("inside", "simple", "all"))
    field, stride = receptive_field(layer, LAYERS)
    edge = 48 // stride
    reach = (field - stride) // 2
    assert inside[0, 0, 4].nonzero().max().item() == edge - 1 - -(-reach // stride)
    assert simple[0, 0, 4].nonzero().max().item() == edge - 1
    assert whole[0, 0, 4].nonzero().max().item() == edge - 1 + -(-reach // stride)
    assert bool((inside <= simple).all() & (simple <= whole).all())


def test_soft_masks_stay_soft() -> None:
    mask = torch.full((1, 1, 64, 64), 0.3)
    for how in ("simple", "inside", "all"):
        torch.testing.assert_close(shrunk(mask, "relu3_1", LAYERS, how), torch.full((1, 1, 16, 16), 0.3))


def test_a_region_narrower_than_a_receptive_field_is_shrunk_by_area() -> None:
    narrow_mask, wide_mask = torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 64, 64)
    narrow_mask[..., :6] = 1
    narrow_guide, wide_guide = guides_at([narrow_mask, wide_mask], "relu4_1", LAYERS, "inside")
    torch.testing.assert_close(narrow_guide, shrunk(narrow_mask, "relu4_1", LAYERS, "simple"))
    assert torch.equal(wide_guide, torch.ones(1, 1, 8, 8))
    assert len(GRADIENTS) == 5


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 40), st.integers(1, 40))
def test_places_inside_come_from_the_region_and_cover_the_same_box_at_every_layer(
    y: int, x: int, rows: int, columns: int
) -> None:
    mask = torch.zeros(1, 1, 88, 104)
    mask[..., y : y + rows, x : x + columns] = 1
    wanted = ("relu1_1", "relu3_1", "relu4_1")
    places = places_inside(mask, wanted, LAYERS, "simple")
    boxes = []
    for layer in wanted:
        stride = receptive_field(layer, LAYERS)[1]
        width = 104 // stride
        row, column = places[layer] // width, places[layer] % width
        field = torch.nn.functional.avg_pool2d(mask, stride)[0, 0]
        assert float(field[row, column].min()) >= min(0.5, float(field.max()))
        boxes.append(tuple(side * stride for side in places[layer].shape))
    assert len(set(boxes)) == 1
    assert min(places["relu4_1"].shape) >= 3
    assert (places["relu1_1"] == torch.arange(88 * 104).reshape(88, 104)[y, x]).any()

"""Losses on the picture itself: worked examples, gradients against finite differences, and minimization."""

import dataclasses

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from impasto.losses.features import PIXELS, Loss
from impasto.losses.picture import (
    EdgeAwareSmoothness,
    Gamut,
    Smoothness,
    StructureLoss,
    flatness,
    luminance_of,
    small_luminance,
    structural_similarity,
    total_variation,
)
from impasto.options import SmoothnessForm

FORMS: tuple[SmoothnessForm, ...] = ("l1", "l2", "nine-point", "sum-l1", "sum-l2", "inetwork")


def picture(seed: int, height: int = 6, width: int = 7, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(seed), dtype=dtype)


LOSSES: dict[str, Loss] = {
    **{f"smoothness {form}": Smoothness(form, scale=3.0) for form in FORMS},
    "edge_aware": EdgeAwareSmoothness(flatness(picture(100))),
    "structure": StructureLoss(picture(100), edge_px=5),
    "gamut": Gamut(),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_every_loss_is_a_scalar_of_the_picture(loss: Loss) -> None:
    assert loss.layers == {PIXELS}
    value = loss({PIXELS: picture(0)})
    assert value.shape == ()
    assert value.dtype == torch.float64


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_gradient_of_every_loss_agrees_with_finite_differences(loss: Loss) -> None:
    image = (picture(0) * (1.7 if isinstance(loss, Gamut) else 1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda image: loss({PIXELS: image}), image)


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_every_loss_can_be_minimized(loss: Loss) -> None:
    image = (3 * picture(0) - 1).requires_grad_()
    optimizer = torch.optim.Adam([image], lr=0.05)
    first = float(loss({PIXELS: image}).detach())
    for _ in range(60):
        optimizer.zero_grad()
        loss({PIXELS: image}).backward()
        optimizer.step()
    assert float(loss({PIXELS: image}).detach()) < 0.5 * first


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_every_loss_is_frozen(loss: Loss) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        loss.name = "another"  # type: ignore[misc]


def test_structure_loss_is_0_at_its_target() -> None:
    assert float(LOSSES["structure"]({PIXELS: picture(100)})) == pytest.approx(0, abs=1e-9)


# ---------------------------------------------------------------------------------------------------- smoothness

# A corner: pixels 0 3 / 5 9. Steps right of the left upper pixel 3, down 5; along the last row 4, the last column 6.
CORNER = torch.tensor([[[[0.0, 3.0], [5.0, 9.0]]]])


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("l1", 3 + 5),
        ("l2", 3**2 + 5**2),
        ("sum-l1", 3 + 5 + 4 + 6),  # TensorFlow's takes all neighbors
        ("sum-l2", 3**2 + 5**2),
        ("inetwork", (3**2 + 5**2) ** 1.25),
    ],
)
def test_every_form_of_total_variation_gives_the_expected_value(form: SmoothnessForm, expected: float) -> None:
    assert float(total_variation(CORNER, form)) == pytest.approx(expected)


def test_the_nine_point_form_equals_that_of_style_transfer_pytorch() -> None:
    image = picture(0)
    p = torch.nn.functional.pad(image, (1, 1, 1, 1), "replicate")
    right = (p[..., 1:-1, 2:] - p[..., 1:-1, 1:-1]).pow(2).mean() / 3
    down = (p[..., 2:, 1:-1] - p[..., 1:-1, 1:-1]).pow(2).mean() / 3
    diagonal = (p[..., 1:, 1:] - p[..., :-1, :-1]).pow(2).mean() / 12
    antidiagonal = (p[..., 1:, :-1] - p[..., :-1, 1:]).pow(2).mean() / 12
    torch.testing.assert_close(total_variation(image, "nine-point"), 2 * (right + down + diagonal + antidiagonal))


def test_means_of_smoothness_sum_over_colors_and_average_over_positions() -> None:
    image = CORNER.expand(1, 3, 2, 2).repeat(1, 1, 1, 1)
    assert float(total_variation(image, "l2")) == 3 * (3**2 + 5**2)


@given(st.sampled_from(FORMS), st.floats(0, 1), st.integers(1, 5), st.integers(1, 5))
def test_a_flat_picture_of_any_size_has_no_total_variation(form: SmoothnessForm, level: float, height: int, width: int) -> None:
    image = torch.full((1, 3, height, width), level, requires_grad=True)
    value = Smoothness(form)({PIXELS: image})
    value.backward()
    assert float(value.detach()) == 0
    assert image.grad is not None
    assert bool((image.grad == 0).all())


@pytest.mark.parametrize("form", FORMS)
def test_smoothness_scales_with_the_pixel_range(form: SmoothnessForm) -> None:
    image = picture(0)
    torch.testing.assert_close(Smoothness(form, 255.0)({PIXELS: image}), Smoothness(form)({PIXELS: 255 * image}))


def test_edge_aware_smoothness_counts_only_where_the_photo_is_flat() -> None:
    where = torch.tensor([[[[0.5, 0.0], [0.0, 0.0]]]])
    assert float(EdgeAwareSmoothness(where)({PIXELS: CORNER.expand(1, 3, 2, 2)})) == 0.5 * 3 * (3**2 + 5**2)


def test_flatness_is_1_in_flat_areas_and_near_0_in_textured_areas() -> None:
    photo = torch.full((1, 3, 40, 40), 0.6)
    photo[..., 20:, :] = picture(0, 20, 40, torch.float32)
    found = flatness(photo)
    assert found.shape == (1, 1, 40, 40)
    assert float(found[..., :10, :].min()) == 1
    assert float(found[..., 30:, :].max()) < 0.3


@given(st.integers(0, 99), st.integers(2, 12), st.integers(2, 12))
def test_flatness_is_between_0_and_1(seed: int, height: int, width: int) -> None:
    found = flatness(picture(seed, height, width))
    assert found.shape == (1, 1, height, width)
    assert bool(((found >= 0) & (found <= 1)).all())


# ---------------------------------------------------------------------------------------------------- structure


def test_luminance_weighs_the_colors() -> None:
    assert luminance_of(torch.tensor([1.0, 10.0, 100.0])[None, :, None, None]).item() == pytest.approx(0.299 + 5.87 + 11.4)


def test_small_luminance_downscales_but_never_enlarges() -> None:
    assert small_luminance(picture(0, 60, 40), 30).shape == (1, 1, 30, 20)
    assert small_luminance(picture(0, 20, 10), 30).shape == (1, 1, 20, 10)
    assert small_luminance(picture(0, 1, 300), 30).shape == (1, 1, 1, 30)


def test_structural_similarity_matches_wangs_definition_with_a_gaussian_window() -> None:
    a, b = picture(0, 24, 30)[:, :1], picture(1, 24, 30)[:, :1]

    def blur(x: np.ndarray) -> np.ndarray:
        return scipy.ndimage.gaussian_filter(x, 1.5, mode="nearest", radius=5)

    x, y = a[0, 0].numpy(), b[0, 0].numpy()
    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert float(structural_similarity(a, b)) == pytest.approx(float(expected.mean()), rel=1e-6)


@given(st.integers(0, 99), st.integers(1, 14), st.integers(1, 14))
def test_structural_similarity_is_1_with_itself_and_symmetric(seed: int, height: int, width: int) -> None:
    a, b = picture(seed, height, width)[:, :1], picture(seed + 1, height, width)[:, :1]
    assert float(structural_similarity(a, a)) == pytest.approx(1)
    assert float(structural_similarity(a, b)) == pytest.approx(float(structural_similarity(b, a)))
    assert float(structural_similarity(a, b)) <= 1 + 1e-9


def test_structure_loss_ignores_strokes_finer_than_its_size() -> None:
    photo = torch.linspace(0.2, 0.8, 128, dtype=torch.float64).expand(1, 3, 128, 128)
    checks = torch.tensor([[0.1, -0.1], [-0.1, 0.1]], dtype=torch.float64).repeat(64, 64)
    loss = StructureLoss(photo, edge_px=16)
    assert float(loss({PIXELS: photo + checks})) < 0.01
    assert float(loss({PIXELS: photo.flip(-1)})) > 0.3


def test_gamut_is_the_mean_square_of_the_excess() -> None:
    image = torch.tensor([0.0, 1.0, 1.5, -1.0]).reshape(1, 1, 2, 2)
    assert float(Gamut()({PIXELS: image})) == pytest.approx((0.5**2 + 1) / 4)

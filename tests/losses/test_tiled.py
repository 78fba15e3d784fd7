"""Losses in tiles have the value and the gradient of the whole picture."""

from functools import partial

import pytest
import torch
from torch import Tensor

from impasto.encoders import Vgg, load_encoder
from impasto.encoders.precision import Arithmetic
from impasto.errors import OptionError
from impasto.features.distributions import centered, rows_of, unit
from impasto.features.statistics import moments
from impasto.losses.features import ContentLoss, Objective, ScaledContentLoss, StyleLoss, WassersteinLoss
from impasto.losses.neighbors import MatchLoss, Neighborhood, NeighborLoss, PaletteLoss
from impasto.losses.picture import EdgeAwareSmoothness, Gamut, KeptPhotoLoss, Smoothness, StructureLoss, flatness
from impasto.losses.tiled import can_be_tiled, tiled_terms
from impasto.optim.engine import Evaluation
from impasto.optim.parametrization import to_planes
from impasto.optim.tiled import TiledObjective, Tiling
from impasto.options import Canvas
from impasto.recipes.statistics import compact_head, joining_heads

SIZE = (150, 203)
PALETTE = ("relu1_1", "relu2_1", "relu3_1")


@pytest.fixture(scope="module")
def encoder() -> Vgg:
    return load_encoder()


@pytest.fixture
def image(random: torch.Generator) -> Tensor:
    return smooth(random)


def smooth(random: torch.Generator) -> Tensor:
    rough = torch.rand(1, 3, 40, 50, generator=random)
    return torch.nn.functional.interpolate(rough, size=SIZE, mode="bicubic").clamp(-0.1, 1.1)


def relative_errors(
    objective: Objective, image: Tensor, encoder: Vgg, canvas: Canvas = "soft-laplacian"
) -> tuple[float, float]:
    """Return the relative difference between whole and tiled, in the dtype of the picture: of the loss, and of the gradient."""
    encode = partial(Arithmetic(torch.device("cpu"), "fp32").encode, encoder)
    planes = [each.contiguous().requires_grad_() for each in to_planes(image, canvas)]
    whole = Evaluation(objective, planes, encode, canvas)
    whole()
    total = sum(whole.losses.values())
    gradients = [each.grad / whole.scale for each in planes if each.grad is not None]
    reset(objective)
    value, losses = TiledObjective(objective, encode, canvas, Tiling(64, encoder.layers)).backward(planes)
    assert losses.keys() == whole.losses.keys()
    apart = torch.cat([(a - b.grad).flatten() for a, b in zip(gradients, planes, strict=True)])
    length = torch.cat([each.flatten() for each in gradients]).norm()
    return abs(value - total) / abs(total), float(apart.norm() / length)


def reset(objective: Objective) -> None:
    for term in objective:
        if isinstance(term.loss, PaletteLoss):
            term.loss.generator.manual_seed(0)


def palette_loss(encoder: Vgg, style: Tensor, generator: torch.Generator) -> PaletteLoss:
    heads = {layer: compact_head(encoder, layer) for layer in PALETTE}
    features = encoder(style, PALETTE)
    target = {}
    for layer in PALETTE:
        head = heads[layer]
        rows = rows_of(features[layer] if head is None else head.features(features[layer]))[::40]
        target[layer] = Neighborhood(unit(centered(rows)), torch.zeros(len(rows), dtype=torch.long))
    return PaletteLoss(target, heads, generator, positions=500)


@pytest.mark.slow
@pytest.mark.parametrize("layers", [("relu1_2", "relu2_2", "relu3_1"), ("relu1_2", "relu2_2", "relu3_1", "relu4_1")])
def test_neighbors_in_tiles_equal_the_whole(
    layers: tuple[str, ...], encoder: Vgg, image: Tensor, random: torch.Generator
) -> None:
    heads = joining_heads(encoder, layers)
    channels = sum(len(head.bias) for head in heads.values())
    rows, grid = torch.randn(300, channels, generator=random), (SIZE[0] // 4, SIZE[1] // 4)
    position = torch.randint(0, 300, grid, generator=random)
    target = torch.nn.functional.normalize(rows[position.flatten()].T.reshape(1, -1, *grid), dim=1)
    others = (
        0.3 * EdgeAwareSmoothness(flatness(image)) + 0.2 * palette_loss(encoder, smooth(random), generator()) + 10 * Gamut()
    )
    for loss in (NeighborLoss(target, heads), MatchLoss(rows, position, heads)):
        reset(others)
        assert max(relative_errors(1.0 * loss + others, image, encoder)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("canvas", ["pixels", "soft-chroma", "laplacian", "soft-laplacian"])
def test_gram_and_content_in_tiles_equal_the_whole(
    canvas: Canvas, encoder: Vgg, image: Tensor, random: torch.Generator
) -> None:
    layers = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    target = {layer: moments(each) for layer, each in encoder(smooth(random), layers).items()}
    one = dict.fromkeys(layers, 1.0)
    content = ContentLoss(encoder(smooth(random), ("relu4_2",)), {"relu4_2": 1e-4})
    objective = 1.0 * StyleLoss(target, one, one, one) + content + 0.3 * Smoothness("l2")
    assert max(relative_errors(objective, image, encoder, canvas)) < 1e-5


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.slow
def test_the_other_losses_in_tiles_equal_the_whole(encoder: Vgg, image: Tensor, random: torch.Generator) -> None:
    photo, mask = smooth(random), torch.rand(1, 1, *SIZE, generator=random)
    for objective in (
        1.0 * StructureLoss(photo),
        1.0 * KeptPhotoLoss(photo, mask),
        *(1.0 * Smoothness(form, 255.0) for form in ("l1", "l2", "sum-l1", "sum-l2", "inetwork")),
    ):
        assert max(relative_errors(objective, image, encoder)) < 1e-5, objective


@pytest.mark.slow
def test_losses_that_are_differences_of_large_sums_equal_the_whole_in_float64(image: Tensor, random: torch.Generator) -> None:
    # In float32, their value on the whole picture is itself less accurate. On the canvas pixels nothing is interpolated, so no
    # rounding changes which value max-pooling selects.
    encoder, image = load_encoder().double(), image.double()
    target = {layer: moments(each) for layer, each in encoder(smooth(random).double(), ("relu2_1",)).items()}
    photo = encoder(smooth(random).double(), ("relu3_1", "conv2_2"))
    for objective in (
        1.0 * WassersteinLoss(target, {"relu2_1": 1.0}),
        1.0 * ScaledContentLoss(photo, {"relu3_1": 1.0, "conv2_2": 2.0}),
    ):
        assert max(relative_errors(objective, image, encoder, "pixels")) < 1e-9, objective


def test_a_loss_without_a_tiled_form_is_refused(encoder: Vgg) -> None:
    objective = 1.0 * Smoothness("nine-point")
    assert not can_be_tiled(objective)
    with pytest.raises(OptionError, match="nine-point"):
        tiled_terms(objective, SIZE)

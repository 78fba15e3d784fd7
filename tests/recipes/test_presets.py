"""Presets: the constants of published programs, and their objectives compared with the equations."""

import dataclasses
import math
from collections.abc import Callable

import pytest
import scipy.linalg
import torch
from torch import Tensor

from impasto import classic, images
from impasto.encoders import Vgg
from impasto.encoders.precision import Arithmetic
from impasto.encoders.vgg import CONVOLUTIONS
from impasto.errors import OptionError
from impasto.losses.features import PIXELS
from impasto.options import STYLE_LAYERS, PaintOptions
from impasto.recipes import objectives, presets
from impasto.recipes.context import PaintingContext
from impasto.recipes.presets import PRESETS, RECIPES, check_recipe, inetwork_weights, paint_options

HEIGHT, WIDTH = 34, 50  # odd at the third block, so that halves are rounded down
ALL_LAYERS = tuple(f"relu{name}" for name in CONVOLUTIONS)
PUBLISHED = [name for name in PRESETS if name != "impasto"]


def picture(seed: int) -> Tensor:
    coarse = torch.rand((1, 3, HEIGHT // 4, WIDTH // 4), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=(HEIGHT, WIDTH), mode="bicubic").clamp(0, 1)


CONTENT, STYLE, PAINTED = picture(1), picture(2), picture(3)


@pytest.fixture
def caffe(narrow: Callable[..., Vgg]) -> Callable[[str], Vgg]:
    """Make a network with the input of the published programs: pixels from 0 to 255 minus a mean."""

    def make(preset: str) -> Vgg:
        vgg = narrow(pooling=PRESETS[preset].pooling, border=PRESETS[preset].border)
        vgg.mean.fill_(0.45)
        vgg.std.fill_(1 / 255)
        return vgg

    return make


def context(vgg: Vgg, options: PaintOptions) -> PaintingContext:
    options = options.changed(size=WIDTH)
    return PaintingContext(
        content=CONTENT,
        margin=0,
        sizes=(((HEIGHT, WIDTH), 1),),
        styles=(images.read(STYLE),),
        start=CONTENT,
        encoder=vgg,
        arithmetic=Arithmetic(torch.device("cpu"), "fp32"),
        options=options,
    )


def terms(vgg: Vgg, options: PaintOptions) -> dict[str, float]:
    """Evaluate the objective of a preset, term by term, on the painted picture."""
    objective = objectives.objective_at(context(vgg, options), (HEIGHT, WIDTH))
    features = {**vgg(PAINTED, objective.layers - {PIXELS}), PIXELS: PAINTED}
    total, values = objective(features)
    assert float(total) == pytest.approx(sum(float(value) for value in values.values()), rel=1e-5)
    return {name: float(value) for name, value in values.items()}


def seen(vgg: Vgg, layer: str) -> tuple[Tensor, Tensor, Tensor]:
    """Encode content, style and painted picture: matrices of channels × positions, in double precision."""
    content, style, painted = (vgg(image, [layer])[layer][0].flatten(1).double() for image in (CONTENT, STYLE, PAINTED))
    return content, style, painted


# ---------------------------------------------------------------------------------------------------- the constants

# size, content weight, style weight, smoothness weight and form, content layers, optimizer, learning rate, steps, init, pooling
TABLE = {
    "gatys2015": (512, 1.0, 1000.0, 0.0, None, ("relu4_2",), "lbfgs", 1.0, 500, "noise", "plain-average"),
    "deeplearning-ai": (400, 10.0, 40.0, 0.0, None, ("relu4_2",), "adam", 2 / 255, 200, "blend", "plain-average"),
    "network": (400, 0.025, 1.0, 8.5e-5, "inetwork", ("relu5_2",), "lbfgs", 1.0, 200, "content", "max"),
    "inetwork": (400, 0.025, 1.0, 8.5e-5, "inetwork", ("relu5_2",), "lbfgs", 1.0, 200, "content", "max"),
    "inetwork-fixed": (400, 0.025, 1.0, 8.5e-5, "inetwork", ("relu5_2",), "lbfgs", 1.0, 200, "content", "max"),
    "neural-style": (512, 5.0, 100.0, 0.5e-3, "sum-l2", ("relu4_2",), "lbfgs", 1.0, 1000, "gray", "max"),
    "style-transfer-pytorch": (512, 0.015, 1.0, 2.0, "nine-point", ("relu4_2",), "adam", 0.02, 500, "content", "max"),
    "neural-style-tf": (512, 5.0, 1e4, 1e-3, "sum-l1", ("conv4_2",), "lbfgs", 1.0, 1000, "content", "plain-average"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_has_the_constants_of_its_program(name: str) -> None:
    it = PRESETS[name]
    form = it.smoothness_form if it.smoothness_weight else None
    assert TABLE[name] == (
        it.size,
        it.content_weight,
        it.style_weight,
        it.smoothness_weight,
        form,
        it.content_layers,
        it.optimizer,
        it.learning_rate,
        it.steps,
        it.init,
        it.pooling,
    )
    assert it.preset == name
    assert it.style_layers == (ALL_LAYERS if name.startswith("inetwork") else STYLE_LAYERS)
    assert (it.canvas, it.margin, it.decay, it.structure_weight, it.edge_aware_weight) == ("pixels", 0.0, "never", 0.0, 0.0)


def test_only_style_transfer_pytorch_uses_several_sizes_and_averaging() -> None:
    for name in PUBLISHED:
        it, is_it = PRESETS[name], name == "style-transfer-pytorch"
        assert (it.smallest_size, it.averaging) == ((128, 0.99) if is_it else (100_000, 0.0))
    it = PRESETS["style-transfer-pytorch"]
    assert (it.first_steps, it.betas, it.scale_factor) == (1000, (0.9, 0.99), math.sqrt(2))
    assert sum(it.layer_weights) == pytest.approx(1)
    assert it.layer_weights[0] == 256 * it.layer_weights[-1]


def test_published_presets_set_every_option() -> None:
    ours = {"preset", "encoder", "seconds"}
    assert {field.name for field in dataclasses.fields(PaintOptions)} - set(presets._PUBLISHED) == ours


# ---------------------------------------------------------------------------------------------------- the equations


def test_gatys2015_matches_the_paper(caffe: Callable[[str], Vgg]) -> None:
    vgg = caffe("gatys2015")
    P, _, F = seen(vgg, "relu4_2")
    style = 0.0
    for layer in STYLE_LAYERS:
        _, S, F_l = seen(vgg, layer)
        (N, M), A, G = S.shape, S @ S.T, F_l @ F_l.T
        style += 0.2 * float((G - A).square().sum()) / (4 * N**2 * M**2)
    found = terms(vgg, PRESETS["gatys2015"])
    assert found == {
        "content": pytest.approx(0.5 * float((F - P).square().sum()), rel=1e-3),
        "style": pytest.approx(1000 * style, rel=1e-3),
    }


def test_deeplearning_ai_matches_the_assignment(caffe: Callable[[str], Vgg]) -> None:
    vgg = caffe("deeplearning-ai")

    def activations(image: Tensor, layer: str) -> Tensor:
        return vgg(image, [layer])[layer].permute(0, 2, 3, 1)

    J_content = classic.content_cost(activations(CONTENT, "relu4_2"), activations(PAINTED, "relu4_2"))
    pairs = [(activations(STYLE, layer), activations(PAINTED, layer)) for layer in STYLE_LAYERS]
    J_style = classic.style_cost(pairs, [0.2] * 5)
    found = terms(vgg, PRESETS["deeplearning-ai"])
    assert found == {
        "content": pytest.approx(10 * float(J_content), rel=1e-3),
        "style": pytest.approx(40 * float(J_style), rel=1e-3),
    }
    assert sum(found.values()) == pytest.approx(float(classic.total_cost(J_content, J_style)), rel=1e-3)


def titu1994_style_loss(S: Tensor, C: Tensor) -> float:
    channels, size = 3, HEIGHT * WIDTH  # the picture's, at every layer
    return float((S @ S.T - C @ C.T).square().sum()) / (4 * channels**2 * size**2)


def titu1994_total_variation(image: Tensor) -> float:
    x = image.double() * 255
    a = (x[:, :, : HEIGHT - 1, : WIDTH - 1] - x[:, :, 1:, : WIDTH - 1]).square()
    b = (x[:, :, : HEIGHT - 1, : WIDTH - 1] - x[:, :, : HEIGHT - 1, 1:]).square()
    return float((a + b).pow(1.25).sum())


def test_network_matches_titu1994s_program(caffe: Callable[[str], Vgg]) -> None:
    vgg = caffe("network")
    P, _, F = seen(vgg, "relu5_2")
    style = sum(1.0 / 5 * titu1994_style_loss(*seen(vgg, layer)[1:]) for layer in STYLE_LAYERS)
    assert terms(vgg, PRESETS["network"]) == {
        "content": pytest.approx(0.025 * float((F - P).square().sum()), rel=1e-3),
        "style": pytest.approx(style, rel=1e-3),
        "smoothness": pytest.approx(8.5e-5 * titu1994_total_variation(PAINTED), rel=1e-3),
    }


def test_inetwork_matches_titu1994s_chain_of_differences(caffe: Callable[[str], Vgg]) -> None:
    vgg = caffe("inetwork")
    P, _, F = seen(vgg, "relu5_2")
    L = [titu1994_style_loss(*(each - 1 for each in seen(vgg, layer)[1:])) for layer in ALL_LAYERS]
    nb_layers, style = len(L) - 1, 0.0
    for i in range(len(L) - 1):
        style += 2.0 ** -(nb_layers - (i + 1)) * (L[i] - L[i + 1])
    assert terms(vgg, PRESETS["inetwork"]) == {
        "content": pytest.approx(0.025 * float((F - P).square().sum()), rel=1e-3),
        "style": pytest.approx(style, rel=1e-3),
        "smoothness": pytest.approx(8.5e-5 * titu1994_total_variation(PAINTED), rel=1e-3),
    }


def test_inetwork_fixed_differs_only_in_the_last_layer(caffe: Callable[[str], Vgg]) -> None:
    assert (
        PRESETS["inetwork-fixed"].changed(preset="inetwork", layer_weights=PRESETS["inetwork"].layer_weights)
        == PRESETS["inetwork"]
    )
    assert PRESETS["inetwork-fixed"].layer_weights == (*PRESETS["inetwork"].layer_weights[:-1], 1.0)
    vgg = caffe("inetwork")
    last = titu1994_style_loss(*(each - 1 for each in seen(vgg, "relu5_4")[1:]))
    difference = terms(vgg, PRESETS["inetwork-fixed"])["style"] - terms(vgg, PRESETS["inetwork"])["style"]
    assert difference == pytest.approx(2 * last, rel=0.01)


def test_inetwork_weights_of_sixteen_layers_have_the_expected_values() -> None:
    weights = inetwork_weights(16, last=-1.0)
    assert weights == (2**-14, *(2.0**-k for k in range(14, 0, -1)), -1.0)
    assert inetwork_weights(13, last=-1.0)[:3] == (1 / 2048, 1 / 2048, 1 / 1024)  # VGG-16's


def test_neural_style_matches_jcjohnsons_program(caffe: Callable[[str], Vgg]) -> None:
    vgg = caffe("neural-style")
    P, _, F = seen(vgg, "relu4_2")
    style = 0.0
    for layer in STYLE_LAYERS:
        _, S, F_l = seen(vgg, layer)
        A, G = S @ S.T / S.numel(), F_l @ F_l.T / F_l.numel()
        style += float((G - A).square().mean())
    assert terms(vgg, PRESETS["neural-style"]) == {
        "content": pytest.approx(5 * float((F - P).square().mean()), rel=1e-3),
        "style": pytest.approx(100 * style, rel=1e-3),
        "smoothness": pytest.approx(smoothness_of_neural_style(), rel=1e-3),
    }


def smoothness_of_neural_style() -> float:
    x = PAINTED.double() * 255
    right, down = x[..., :-1, 1:] - x[..., :-1, :-1], x[..., 1:, :-1] - x[..., :-1, :-1]
    return 1e-3 / 2 * float(right.square().sum() + down.square().sum())


def test_the_smoothness_of_neural_style_has_the_gradient_of_its_program() -> None:
    x = (PAINTED * 255).double().requires_grad_()
    right, down = x[..., :-1, 1:] - x[..., :-1, :-1], x[..., 1:, :-1] - x[..., :-1, :-1]
    (1e-3 / 2 * (right.square().sum() + down.square().sum())).backward()
    expected = torch.zeros_like(x)  # the program writes the gradient, not the loss: strength times the differences
    with torch.no_grad():
        x_diff, y_diff = x[..., :-1, :-1] - x[..., :-1, 1:], x[..., :-1, :-1] - x[..., 1:, :-1]
        expected[..., :-1, :-1] += x_diff + y_diff
        expected[..., :-1, 1:] -= x_diff
        expected[..., 1:, :-1] -= y_diff
    torch.testing.assert_close(x.grad, 1e-3 * expected)


def test_style_transfer_pytorch_matches_crowsonkbs_program(narrow: Callable[..., Vgg]) -> None:
    vgg = narrow()  # takes pictures of unit variance, as that program's network does
    P, _, F = seen(vgg, "relu4_2")
    content = float((F - P).square().sum() / ((F - P).abs().sum() + 1e-8))
    style = 0.0
    for layer, weight in zip(STYLE_LAYERS, (256, 64, 16, 4, 1), strict=True):
        _, S, F_l = seen(vgg, layer)
        ridge = 1e-4 * torch.eye(len(S), dtype=torch.float64)
        A, B = (torch.cov(each, correction=0) + ridge for each in (S, F_l))
        root = torch.from_numpy(scipy.linalg.sqrtm(A.numpy()).real)
        cross = torch.from_numpy(scipy.linalg.sqrtm((root @ B @ root).numpy()).real)
        means = (F_l.mean(1) - S.mean(1)).square().mean()
        style += weight / 341 * float(means + torch.diagonal(A + B - 2 * cross).mean())
    p = torch.nn.functional.pad(PAINTED.double(), (1, 1, 1, 1), "replicate")
    straight = (p[..., 1:-1, 2:] - p[..., 1:-1, 1:-1]).square().mean() + (p[..., 2:, 1:-1] - p[..., 1:-1, 1:-1]).square().mean()
    slanted = (p[..., 1:, 1:] - p[..., :-1, :-1]).square().mean() + (p[..., 1:, :-1] - p[..., :-1, 1:]).square().mean()
    assert terms(vgg, PRESETS["style-transfer-pytorch"]) == {
        "content": pytest.approx(0.015 * content, rel=1e-3),
        "style": pytest.approx(style, rel=2e-2),  # the root by twelve iterations
        "smoothness": pytest.approx(2 * 2 * float(straight / 3 + slanted / 12), rel=1e-3),
    }


def test_neural_style_tf_matches_cysmiths_program(caffe: Callable[[str], Vgg]) -> None:
    vgg = caffe("neural-style-tf")
    P, _, F = seen(vgg, "conv4_2")
    N, M = P.shape
    style = 0.0
    for layer in STYLE_LAYERS:
        _, S, F_l = seen(vgg, layer)
        style += 0.2 * float((F_l @ F_l.T - S @ S.T).square().sum()) / (4 * len(S) ** 2 * S.shape[1] ** 2)
    style /= len(STYLE_LAYERS)
    x = PAINTED.double() * 255
    assert terms(vgg, PRESETS["neural-style-tf"]) == {
        "content": pytest.approx(5 * float((F - P).square().sum()) / (2 * math.sqrt(N) * math.sqrt(M)), rel=1e-3),
        "style": pytest.approx(1e4 * style, rel=1e-3),
        "smoothness": pytest.approx(1e-3 * float(x.diff(dim=2).abs().sum() + x.diff(dim=3).abs().sum()), rel=1e-3),
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_gives_the_same_objective_for_any_input_range(name: str, narrow: Callable[..., Vgg]) -> None:
    """Without biases, features scale with the input, so the same function can be written for two input ranges."""
    found = []
    for std in (0.226, 1 / 255):
        vgg = narrow(pooling=PRESETS[name].pooling, border=PRESETS[name].border)
        vgg.std.fill_(std)
        for convolution in vgg.convolutions.values():
            convolution.get_parameter("bias").zero_()
        found.append(terms(vgg, PRESETS[name]))
    assert found[0] == {term: pytest.approx(value, rel=2e-2) for term, value in found[1].items()}


# ---------------------------------------------------------------------------------------------------- choosing


@pytest.mark.parametrize("recipe", RECIPES)
def test_options_override_the_defaults_of_a_recipe(recipe: str) -> None:
    assert paint_options(recipe=recipe) == RECIPES[recipe]
    assert paint_options(recipe=recipe, steps=7) == RECIPES[recipe].changed(steps=7)
    assert RECIPES[recipe].recipe == recipe


def test_another_encoder_changes_no_other_option() -> None:
    assert paint_options(encoder="vgg19") == PaintOptions(encoder="vgg19")
    assert paint_options("gatys2015", encoder="vgg19") == PRESETS["gatys2015"].changed(encoder="vgg19")


@pytest.mark.parametrize("preset", PUBLISHED)
def test_a_published_preset_selects_a_recipe_that_uses_all_its_options(preset: str) -> None:
    assert paint_options(preset).recipe == "gatys"
    check_recipe(paint_options(preset))


def test_options_override_a_preset() -> None:
    found = paint_options("neural-style", steps=7)
    assert found == PRESETS["neural-style"].changed(steps=7)
    assert paint_options() == PaintOptions()


def test_changed_layers_have_equal_weights_by_default() -> None:
    assert paint_options("style-transfer-pytorch", style_layers=("relu1_1",)).layer_weights == ()
    assert paint_options("inetwork", style_layers=("relu1_1",), layer_weights=(2.0,)).layer_weights == (2.0,)


@pytest.mark.parametrize(
    ("preset", "changes", "sentence"),
    [
        ("neural_style", {}, r"preset 'neural_style' is not known; did you mean 'neural-style'\?"),
        ("gatys2015", {"stesp": 3}, r"'stesp' is not an option of paint; did you mean 'steps'\?"),
    ],
)
def test_an_unknown_preset_or_option_is_refused_with_a_suggestion(preset: str, changes: dict[str, int], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        paint_options(preset, **changes)

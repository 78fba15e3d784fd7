"""Presets: a published program's whole set of constants under its name.

A number such as "style weight 100" means nothing without its divisor, its form of total variation, its range of input, its pooling and its
start; a preset carries them together. Where a program cannot be followed to the letter, the departure is said beside it.
"""

from typing import Any

from impasto.encoders.vgg import CONVOLUTIONS
from impasto.errors import OptionError, nearest_name
from impasto.options import PaintOptions

_RELU = tuple(f"relu{name}" for name in CONVOLUTIONS)
_CLASSIC: dict[str, Any] = {"structure_weight": 0.0, "calm_weight": 0.0, "margin": 0.0, "canvas": "pixels", "averaging": 0.0, "decay": False}
_SINGLE_SCALE: dict[str, Any] = {"smallest_size": 100_000}
_EQUAL = (0.2,) * 5


def inetwork_weights(count: int, *, last: float) -> tuple[float, ...]:
    """Return the weights that INetwork's chain of differences comes to: one for each layer.

    ``Σ_i 2^-(n-1-i) (L_i - L_(i+1))``, i from 1 to n - 1, collapses to ``2^-(n-2)`` at the first layer, ``2^-(n-k)`` at layer k, and -1 at
    the last, which is so pushed away from the style.

    Example:
        >>> inetwork_weights(4, last=-1.0)
        (0.25, 0.25, 0.5, -1.0)
    """
    return (2.0 ** -(count - 2), *(2.0 ** -(count - k) for k in range(2, count)), last)


PRESETS: dict[str, PaintOptions] = {
    "impasto": PaintOptions(),
    # Gatys, Ecker and Bethge 2015 (arXiv:1508.06576): conv1_1 ... conv5_1 with w_l = 1/5, content conv4_2, alpha/beta = 1e-3, average
    # pooling, white noise, L-BFGS. The paper gives no number of iterations; 500 is where its loss has settled.
    "gatys2015": PaintOptions(
        preset="gatys2015",
        content_weight=1.0,
        style_weight=1000.0,
        layer_weights=_EQUAL,
        statistics="gram",
        smoothness_weight=0.0,
        content_normalization="half-sum",
        style_normalization="gatys",
        pooling="average",
        border="zero",
        init="noise",
        optimizer="lbfgs",
        learning_rate=1.0,
        steps=500,
        **_CLASSIC,
        **_SINGLE_SCALE,
    ),
    # The deeplearning.ai assignment: alpha 10, beta 40, conv1_1 ... conv5_1 at 0.2, content conv4_2, average pooling, Adam at 2 of 255,
    # 200 iterations, 60 % noise in the start, 400 x 300.
    "deeplearning-ai": PaintOptions(
        preset="deeplearning-ai",
        size=400,
        content_weight=10.0,
        style_weight=40.0,
        layer_weights=_EQUAL,
        statistics="gram",
        smoothness_weight=0.0,
        content_normalization="deeplearning-ai",
        style_normalization="gatys",
        pooling="average",
        border="zero",
        init="blend",
        init_noise=0.6,
        learning_rate=2 / 255,
        betas=(0.9, 0.999),
        steps=200,
        **_CLASSIC,
        **_SINGLE_SCALE,
    ),
    # titu1994/Neural-Style-Transfer, Network.py: plain Gatys with its own divisor. 400 there is the number of rows. Ten rounds of twenty
    # L-BFGS evaluations, whose history it throws away between rounds; here 200 steps with the history kept.
    "network": PaintOptions(
        preset="network",
        size=400,
        content_weight=0.025,
        style_weight=1.0,
        content_layers=("relu5_2",),
        layer_weights=_EQUAL,
        statistics="gram",
        content_normalization="sum",
        style_normalization="network",
        smoothness_weight=8.5e-5,
        smoothness_form="inetwork",
        border="zero",
        optimizer="lbfgs",
        learning_rate=1.0,
        steps=200,
        **_CLASSIC,
        **_SINGLE_SCALE,
    ),
    # titu1994/Neural-Style-Transfer, INetwork.py with --model vgg19: every layer, Gram matrices of F - 1, and the chain of differences
    # that comes to the weights below, with -1 on the last layer.
    "inetwork": PaintOptions(
        preset="inetwork",
        size=400,
        content_weight=0.025,
        style_weight=1.0,
        content_layers=("relu5_2",),
        style_layers=_RELU,
        layer_weights=inetwork_weights(len(_RELU), last=-1.0),
        statistics="gram",
        content_normalization="sum",
        style_normalization="network",
        activation_shift=-1.0,
        smoothness_weight=8.5e-5,
        smoothness_form="inetwork",
        border="zero",
        optimizer="lbfgs",
        learning_rate=1.0,
        steps=200,
        **_CLASSIC,
        **_SINGLE_SCALE,
    ),
    # jcjohnson/neural-style. Its start, 0.001 of noise around the mean colour, is to the eye and to the network a grey picture; its
    # total variation adds strength times the differences to the gradient, which is half of the squares in the loss.
    "neural-style": PaintOptions(
        preset="neural-style",
        content_weight=5.0,
        style_weight=100.0,
        layer_weights=(1.0,) * 5,
        statistics="gram",
        content_normalization="mean",
        style_normalization="neural-style",
        smoothness_weight=0.5e-3,
        smoothness_form="sum-l2",
        border="zero",
        init="grey",
        optimizer="lbfgs",
        learning_rate=1.0,
        steps=1000,
        **_CLASSIC,
        **_SINGLE_SCALE,
    ),
    # crowsonkb/style-transfer-pytorch: Wasserstein-2 of Gaussians at 256:64:16:4:1, scaled content loss, nine-point total variation, Adam
    # at 0.02 with an averaged iterate, 128 to 512 by the square root of 2, 1000 steps and then 500 at each size.
    "style-transfer-pytorch": PaintOptions(
        preset="style-transfer-pytorch",
        content_weight=0.015,
        style_weight=1.0,
        layer_weights=tuple(weight / 341 for weight in (256, 64, 16, 4, 1)),
        statistics="wasserstein",
        content_normalization="scaled",
        style_normalization="channels",
        smoothness_weight=2.0,
        smoothness_form="nine-point",
        pixel_range="unit",
        learning_rate=0.02,
        betas=(0.9, 0.99),
        first_steps=1000,
        steps=500,
        **{**_CLASSIC, "averaging": 0.99},
    ),
    # cysmith/neural-style-tf: average pooling, content before its ReLU with 1 / (2 sqrt(N M)), L-BFGS from the content.
    "neural-style-tf": PaintOptions(
        preset="neural-style-tf",
        content_weight=5.0,
        style_weight=1e4,
        content_layers=("conv4_2",),
        layer_weights=_EQUAL,
        statistics="gram",
        content_normalization="root",
        style_normalization="gatys",
        smoothness_weight=1e-3,
        smoothness_form="sum-l1",
        pooling="average",
        border="zero",
        optimizer="lbfgs",
        learning_rate=1.0,
        steps=1000,
        **_CLASSIC,
        **_SINGLE_SCALE,
    ),
}
# INetwork without the defect: the last layer is drawn to the style like the others.
PRESETS["inetwork-fixed"] = PRESETS["inetwork"].changed(
    preset="inetwork-fixed", layer_weights=inetwork_weights(len(_RELU), last=1.0)
)


def paint_options(preset: str = "impasto", **changes: Any) -> PaintOptions:
    """Return a preset's options with some changed.

    Raises:
        OptionError: if the preset or an option is unknown, or a value not allowed.
    """
    if preset not in PRESETS:
        raise OptionError(f"preset {preset!r} is not known{nearest_name(preset, PRESETS)}")
    if "style_layers" in changes and "layer_weights" not in changes:
        changes["layer_weights"] = ()
    return PRESETS[preset].changed(**changes)

"""Presets: the complete set of constants of a published program, by name.

A number such as "style weight 100" is meaningless without the corresponding loss normalization, form of total variation, input
range, pooling and initial picture, so a preset contains all of them. Comments describe where impasto differs from a program.

All presets share these rules: a style picture keeps its aspect ratio (Network, INetwork and neural-style-tf stretch it to that
of the photo); L-BFGS uses a strong Wolfe line search, starts with steps of about 0.01 per pixel and keeps a history of 20
(``lbfgs_history``); the statistics of several styles are blended.
"""

import math
from typing import Any, get_args

from impasto.errors import OptionError, nearest_name
from impasto.options import STYLE_LAYERS, PaintOptions, Recipe
from impasto.options.fields import check_choice, check_range, dashed

_RELU = tuple(f"relu{block}_{index + 1}" for block, count in enumerate((2, 2, 4, 4, 4), start=1) for index in range(count))
"""All sixteen layers of VGG-19; listed here so that presets load without torch."""
_PUBLISHED: dict[str, Any] = {
    # The options that most programs share. All options are listed, so presets do not depend on impasto's defaults, which may
    # change.
    "recipe": "gatys",
    "quality": "standard",
    "strength": 1.0,
    "coherence": 0.005,
    "size": 512,
    "content_weight": 1.0,
    "style_weight": 1.0,
    "content_layers": ("relu4_2",),
    "content_layer_weights": (),
    "style_layers": STYLE_LAYERS,
    "layer_weights": (0.2,) * 5,
    "style_weights": (),
    "style_scale": 1.0,
    "style_size": 0,
    "style_scales": (),
    "balance": 0.0,
    "statistics": "gram",
    "content_comparison": "features",
    "content_normalization": "sum",
    "style_normalization": "gatys",
    "activation_shift": 0.0,
    "smoothness_weight": 0.0,
    "smoothness_form": "sum-l2",
    "edge_aware_weight": 0.0,
    "structure_weight": 0.0,
    "pooling": "max",
    "border": "zero",
    "margin": 0.0,
    "canvas": "pixels",
    "pixel_range": "255",
    "init": "content",
    "init_noise": 0.0,
    "optimizer": "lbfgs",
    "lbfgs_history": 20,
    "steps": 1000,
    "step_growth": 1.0,
    "first_steps": 0,
    "learning_rate": 1.0,
    "betas": (0.9, 0.999),
    "averaging": 0.0,
    "decay": "never",
    "smallest_size": 100_000,  # a single scale
    "scale_factor": math.sqrt(2),
    "min_improvement": 0.0,
    "region_strengths": (),
    "uncovered": "photo",
    "mask_shrinking": "simple",
    "feather": 0.01,
    "color": "style",
    "color_method": "monge-kantorovich",
    "color_space": "oklab",
    "color_amount": 1.0,
    "color_mask": "",
    "color_proof": "",
}


def inetwork_weights(count: int, *, last: float) -> tuple[float, ...]:
    """Return the layer weights equivalent to INetwork's chain of differences.

    ``Σ_i 2^-(n-1-i) (L_i - L_(i+1))``, i from 1 to n - 1, collapses to ``2^-(n-2)`` at the first layer, ``2^-(n-k)`` at layer
    k, and -1 at the last layer. The last layer is therefore pushed away from the style.

    Example:
        >>> inetwork_weights(4, last=-1.0)
        (0.25, 0.25, 0.5, -1.0)
    """
    return (2.0 ** -(count - 2), *(2.0 ** -(count - k) for k in range(2, count)), last)


def _published(preset: str, **constants: Any) -> PaintOptions:
    return PaintOptions(preset=preset, **{**_PUBLISHED, **constants})


MOMENT_STATISTICS = ("gram-moments", "gram", "moments", "wasserstein")
"""Statistics that are computed from moments only, so that a named style is enough."""

PRESETS: dict[str, PaintOptions] = {
    "impasto": PaintOptions(),
    # Gatys, Ecker and Bethge 2015 (arXiv:1508.06576): conv1_1 ... conv5_1 with w_l = 1/5, content conv4_2, alpha/beta = 1e-3,
    # average pooling, white noise, L-BFGS. The paper gives no number of iterations; by 500 the loss has converged.
    "gatys2015": _published(
        "gatys2015",
        content_weight=1.0,
        style_weight=1000.0,
        content_normalization="half-sum",
        pooling="plain-average",
        init="noise",
        steps=500,
    ),
    # The deeplearning.ai assignment: alpha 10, beta 40, conv1_1 ... conv5_1 at 0.2, content conv4_2 (after its ReLU), average
    # pooling, Adam at 2/255, 200 iterations, an initial picture with 60 % noise, 400 x 300. It does not clamp pixels while it
    # paints; we do.
    "deeplearning-ai": _published(
        "deeplearning-ai",
        size=400,
        content_weight=10.0,
        style_weight=40.0,
        content_normalization="deeplearning-ai",
        pooling="plain-average",
        init="blend",
        init_noise=0.6,
        optimizer="adam",
        learning_rate=2 / 255,
        betas=(0.9, 0.999),
        steps=200,
    ),
    # titu1994/Neural-Style-Transfer, Network.py: the method of Gatys et al. with a different divisor in the style loss. Its
    # size of 400 is the number of rows. It runs ten rounds of twenty L-BFGS evaluations and discards the history between
    # rounds; here, the history is kept for all 200 steps.
    "network": _published(
        "network",
        size=400,
        content_weight=0.025,
        style_weight=1.0,
        content_layers=("relu5_2",),
        content_normalization="sum",
        style_normalization="network",
        smoothness_weight=8.5e-5,
        smoothness_form="inetwork",
        steps=200,
    ),
    # titu1994/Neural-Style-Transfer, INetwork.py with --model vgg19: all layers, Gram matrices of the features minus 1, and a
    # chain of differences between layers. This chain is equivalent to the layer weights below; the last one is -1.
    "inetwork": _published(
        "inetwork",
        size=400,
        content_weight=0.025,
        style_weight=1.0,
        content_layers=("relu5_2",),
        style_layers=_RELU,
        layer_weights=inetwork_weights(len(_RELU), last=-1.0),
        content_normalization="sum",
        style_normalization="network",
        activation_shift=-1.0,
        smoothness_weight=8.5e-5,
        smoothness_form="inetwork",
        steps=200,
    ),
    # jcjohnson/neural-style. It starts from noise of amplitude 0.001 around the mean color, so its initial picture is
    # practically gray. Its total variation adds the differences times a strength to the gradient. That corresponds to half of
    # the squared differences in the loss. Its pixels range from 0 to 256; here, they range from 0 to 255.
    "neural-style": _published(
        "neural-style",
        content_weight=5.0,
        style_weight=100.0,
        layer_weights=(1.0,) * 5,
        content_normalization="mean",
        style_normalization="neural-style",
        smoothness_weight=0.5e-3,
        smoothness_form="sum-l2",
        init="gray",
    ),
    # crowsonkb/style-transfer-pytorch: Wasserstein-2 of Gaussians with layer weights 256:64:16:4:1, scaled content loss,
    # nine-point total variation, Adam at 0.02 with an averaged iterate. Sizes increase from 128 to 512 by the square root of 2,
    # with 1000 steps at the first size and 500 at each other size. It uses replicate padding at the first convolution and zero
    # padding at the others; here, all convolutions use replicate padding.
    "style-transfer-pytorch": _published(
        "style-transfer-pytorch",
        content_weight=0.015,
        style_weight=1.0,
        layer_weights=tuple(weight / 341 for weight in (256, 64, 16, 4, 1)),
        statistics="wasserstein",
        content_normalization="scaled",
        style_normalization="channels",
        smoothness_weight=2.0,
        smoothness_form="nine-point",
        border="replicate",
        pixel_range="unit",
        optimizer="adam",
        learning_rate=0.02,
        betas=(0.9, 0.99),
        averaging=0.99,
        first_steps=1000,
        steps=500,
        smallest_size=128,
    ),
    # cysmith/neural-style-tf: average pooling, content features before the ReLU, a content loss scaled by 1 / (2 sqrt(N M)),
    # L-BFGS starting from the photo. Its layer weights are 0.2, divided once more by the number of layers.
    "neural-style-tf": _published(
        "neural-style-tf",
        content_weight=5.0,
        style_weight=1e4,
        content_layers=("conv4_2",),
        layer_weights=(0.2 / 5,) * 5,
        content_normalization="root",
        smoothness_weight=1e-3,
        smoothness_form="sum-l1",
        pooling="plain-average",
    ),
}
# INetwork, corrected: the last layer is optimized towards the style like the other layers, not away from it.
PRESETS["inetwork-fixed"] = PRESETS["inetwork"].changed(
    preset="inetwork-fixed", layer_weights=inetwork_weights(len(_RELU), last=1.0)
)

_WHOLE_METHOD: dict[str, Any] = {
    "layer_weights": (),
    "structure_weight": 0.0,
    "border": "replicate",
    "margin": 0.03,
    "canvas": "laplacian",
    "step_growth": 1.0,
    "averaging": 0.9,
    "decay": "each",
    "smallest_size": 64,
    "scale_factor": 2.0,
}
RECIPES: dict[str, PaintOptions] = {
    # Kolkin et al. 2022, made faster and stronger: see recipes/neighbors.py.
    "neighbors": PaintOptions(),
    # Gatys, Ecker and Bethge 2016: Gram matrices, means and deviations, each normalized by its value for the style; coarse to
    # fine. The fifth block is omitted because it copies pieces of the style into the picture.
    "gatys": PaintOptions(
        recipe="gatys",
        content_weight=0.1,
        layer_weights=(0.1, 0.2, 0.35, 0.35, 0.0),
        smoothness_weight=0.2,
        edge_aware_weight=0.0,
        border="mixed",
        margin=0.015,
        canvas="soft-chroma",
        optimizer="multigrid-adam",
        learning_rate=0.018,
        betas=(0.9, 0.9),
        averaging=0.9,
        decay="last",
        steps=60,
        step_growth=1.3,
        smallest_size=128,
        scale_factor=2 ** (2 / 3),
        color="palette",
        color_method="histogram",
    ),
    # Kolkin, Kucera, Paris, Sýkora, Shechtman and Shakhnarovich 2022: alpha 0.75, all layers of the first four blocks (except
    # those that only VGG-19 has; the paper uses VGG-16), Adam at 0.002 for 200 steps at each size from 64 to 512. Fewer steps
    # with a higher learning rate give the same result here.
    "nnst": PaintOptions(
        recipe="nnst",
        content_weight=0.75,
        style_layers=tuple(layer for layer in _RELU if layer[4] in "1234" and layer[6] != "4"),
        steps=45,
        optimizer="adam",
        learning_rate=0.008,
        betas=(0.9, 0.999),
        smoothness_weight=0.3,
        edge_aware_weight=1.0,
        **_WHOLE_METHOD,
    ),
    # Kolkin, Salavon and Shakhnarovich 2019: alpha 16 at 64 pixels (here 16 times the content weight), halved at each size;
    # RMSprop at 0.002 for 200 steps at each size.
    "strotss": PaintOptions(
        recipe="strotss",
        content_weight=1.0,
        style_layers=tuple(f"relu{name}" for name in ("1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_3", "5_3")),
        steps=55,
        learning_rate=0.005,
        optimizer="rmsprop",
        init="outline",
        smoothness_weight=0.3,
        edge_aware_weight=2.0,
        **_WHOLE_METHOD,
    ),
}
"""The default options of each recipe; every recipe is a published method, implemented in its own file."""

_NEIGHBORS_ONLY = ("quality", "strength", "coherence")
_GATYS_ONLY = (
    *("style_weight", "content_layers", "content_layer_weights", "layer_weights", "statistics", "content_comparison"),
    *("content_normalization", "style_normalization", "activation_shift", "pixel_range"),
    *("style_scales", "balance", "mask_shrinking"),
)
RECIPE_IGNORES: dict[str, tuple[str, ...]] = {
    "neighbors": (*_GATYS_ONLY, "preset", "style_layers", "style_size"),
    "gatys": _NEIGHBORS_ONLY,
    **dict.fromkeys(
        ("nnst", "strotss"),
        (*_GATYS_ONLY, *_NEIGHBORS_ONLY, "preset", "style_weights", "region_strengths", "uncovered"),
    ),
}
"""The options that each recipe ignores."""

QUALITIES: dict[str, dict[str, Any]] = {
    "draft": {"steps": 4, "step_growth": 1.6, "learning_rate": 0.02},
    "standard": {},
    "best": {"steps": 60, "step_growth": 1.1, "learning_rate": 0.008},
}
"""The options that each quality of the neighbors recipe changes."""


def paint_options(preset: str = "impasto", recipe: str = "", **changes: Any) -> PaintOptions:
    """Return the options of a preset or recipe, with changes.

    Args:
        preset: the constants of a published program; ``"impasto"`` selects the defaults of the recipe.
        recipe: the method; empty: that of the preset, which is ``"neighbors"`` for the preset ``"impasto"``.
        changes: fields of :class:`impasto.PaintOptions`.

    Raises:
        OptionError: if the preset, the recipe or an option is unknown, or if a value is not allowed.
    """
    if recipe:
        check_choice("recipe", recipe, get_args(Recipe))
    if preset not in PRESETS:
        raise OptionError(f"preset {preset!r} is not known{nearest_name(preset, PRESETS)}")
    if recipe and preset != "impasto":
        raise OptionError(f"--preset {preset} and --recipe {recipe} each define all options; give only one of them")
    chosen = RECIPES[recipe or "neighbors"] if preset == "impasto" else PRESETS[preset]
    if chosen.recipe == "neighbors":
        check_choice("quality", changes.get("quality", "standard"), tuple(QUALITIES))
        changes = QUALITIES[changes.get("quality", "standard")] | changes
    if "style_layers" in changes and "layer_weights" not in changes:
        changes["layer_weights"] = ()
    return chosen.changed(**changes)


def check_recipe(options: PaintOptions) -> None:
    """Raise if an option that the recipe ignores was changed.

    Raises:
        OptionError: an option would have no effect, or its value is not allowed for the recipe.
    """
    for name in RECIPE_IGNORES[options.recipe]:
        if getattr(options, name) != getattr(RECIPES[options.recipe], name):
            reads = next(recipe for recipe, ignored in RECIPE_IGNORES.items() if name not in ignored)
            raise OptionError(f"{dashed(name)} has no effect with --recipe {options.recipe}; omit it, or use --recipe {reads}")
    if options.recipe in ("neighbors", "nnst"):  # the content weight is the photo's share in the mixture that is matched
        check_range("content_weight", options.content_weight, 0, 1)
    if options.recipe == "neighbors" and any(weight < 0 for weight in options.style_weights):
        raise OptionError(
            f"--style-weights {list(options.style_weights)} must all be 0 or more with --recipe neighbors; "
            "for negative weights use --recipe gatys"
        )


def needs_picture(options: PaintOptions) -> bool:
    """Return whether the options need a style picture; a named style only has moments at five layers."""
    by_histogram = options.color == "match-style" or (options.color == "palette" and options.color_method == "histogram")
    is_other = (
        by_histogram or options.recipe != "gatys" or options.statistics not in MOMENT_STATISTICS or options.encoder == "vgg16"
    )
    return is_other or not set(options.style_layers) <= set(STYLE_LAYERS)

"""The options of paint in groups: basics, style, losses, optimizer, color, regions, reproduction.

:class:`impasto.PaintOptions` joins the groups. Each option is described only once, in the docstring below its field. The
command line's ``--help``, the studio and the API documentation all show this docstring. This module does not import torch, so
``--help`` is fast.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

ContentNormalization = Literal["relative", "mean", "half-sum", "deeplearning-ai", "sum", "root", "scaled"]
StyleNormalization = Literal["relative", "gatys", "network", "neural-style", "channels"]
StyleStatistics = Literal[
    "gram-moments", "gram", "moments", "wasserstein", "sliced", "histogram", "relaxed-emd", "patches", "chained"
]
ContentComparison = Literal["features", "self-similarity"]
Recipe = Literal["neighbors", "gatys", "nnst", "strotss"]
Quality = Literal["draft", "standard", "best"]
Optimizer = Literal["multigrid-adam", "adam", "lbfgs", "rmsprop"]
Decay = Literal["last", "each", "never"]
Pooling = Literal["max", "average", "l2", "plain-average"]
Border = Literal["mixed", "replicate", "reflect", "zero"]
Canvas = Literal["soft-laplacian", "soft-chroma", "pixels", "laplacian"]
Shrinking = Literal["simple", "inside", "all"]
Uncovered = Literal["photo", "first-style"]
SmoothnessForm = Literal["l1", "l2", "nine-point", "sum-l1", "sum-l2", "inetwork"]
PixelRange = Literal["255", "unit"]
ColorMode = Literal["style", "keep", "histogram", "palette", "match-style"]
ColorMethod = Literal["monge-kantorovich", "pca", "cholesky", "histogram", "luminance"]
ColorSpace = Literal["lab", "oklab", "yiq", "ycbcr"]

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
INITS = ("content", "noise", "gray", "style-statistics", "style", "blend", "outline")

Ranges = dict[str, tuple[float, float]]
"""Lowest and highest allowed value of each numeric option, by name."""


@dataclass(frozen=True, kw_only=True)
class BasicOptions:
    """The options that are used most often."""

    title: ClassVar[str] = "Basics"
    ranges: ClassVar[Ranges] = {
        "size": (32, 100_000),
        "strength": (0, 1.5),
        "style_scale": (0.1, 4),
        "seconds": (0, 1e9),
    }

    size: int = 512
    """Longer side in pixels, at least 32. A smaller photo is enlarged."""

    quality: Quality = "standard"
    """neighbors only. draft (a few seconds), standard, or best (more steps; uses vgg19 if installed)."""

    strength: float = 1.0
    """neighbors only. Strength of the style, 0 to 1.5: 0 returns the photo, 1 is the full style; above 1, shapes change too."""

    style_scale: float = 1.0
    """Size of the strokes, 0.1 to 4 (in impasto instant: --stroke). Scales the style picture. Above 1: larger strokes."""

    style_weights: tuple[float, ...] = ()
    """One weight per style if there are several. Negative weights reduce a style (gatys only). Default: equal weights."""

    seconds: float = 0.0
    """Time limit in seconds. The number of steps at every size is reduced to meet it. 0: no limit."""

    recipe: Recipe = "neighbors"
    """Method: neighbors (neural neighbors), gatys (Gram matrices), nnst or strotss (both close to their papers)."""

    preset: str = "impasto"
    """Use all constants of a published program, such as neural-style. Other options override them."""


@dataclass(frozen=True, kw_only=True)
class StyleOptions:
    """How the style is measured and compared."""

    title: ClassVar[str] = "Style"
    ranges: ClassVar[Ranges] = {"style_weight": (0, 1e15), "style_size": (32, 100_000), "coherence": (0, 1)}

    encoder: str = "vgg19-slim"
    """Feature extractor: vgg19-slim (shipped), vgg19 or vgg16 (see "impasto weights"), or a weight file."""

    style_weight: float = 1.0
    """Weight β of the style loss, 0 or more. Higher values give a stronger style."""

    style_layers: tuple[str, ...] = STYLE_LAYERS
    """Layers at which the style is compared, such as relu1_1,relu3_1. Deep layers describe the large structures of a style."""

    layer_weights: tuple[float, ...] = ()
    """One weight per style layer, in the same order. Default: equal weights that sum to 1."""

    style_size: int = 0
    """Longer side of the style picture in pixels, at least 32, the same for all painted sizes. 0: the size being painted."""

    style_scales: tuple[float, ...] = ()
    """Two style scales, each 0.1 to 4: the first for relu1 to relu3 (grain, strokes), the second for deeper layers (shapes)."""

    statistics: StyleStatistics = "gram-moments"
    """Style statistics to compare. Named styles support gram, moments and wasserstein; style pictures support all."""

    coherence: float = 0.005
    """neighbors only. Preference for matching adjacent patches with adjacent patches of the style, 0 (none) to 1."""


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """Content loss and losses on the picture itself."""

    title: ClassVar[str] = "Losses"
    ranges: ClassVar[Ranges] = {
        "content_weight": (0, 1e15),
        "balance": (0, 1e6),
        "smoothness_weight": (0, 1e9),
        "edge_aware_weight": (0, 1e9),
        "structure_weight": (0, 1e9),
    }

    content_weight: float = 0.9
    """How much of the photo to keep. neighbors and nnst: a mixture of the photo and the current result is matched with the
    style; this is the share of the photo, 0 to 1. gatys: weight α of the content loss."""

    content_layers: tuple[str, ...] = ("relu4_2",)
    """Layers at which the content is compared, such as relu4_2."""

    content_layer_weights: tuple[float, ...] = ()
    """One weight per content layer, in the same order. Default: equal weights that sum to 1."""

    content_comparison: ContentComparison = "features"
    """features: compare the features themselves (Gatys). self-similarity: compare their pairwise distances (STROTSS)."""

    balance: float = 0.0
    """Ratio of content gradient to style gradient, such as 1. The content weight is computed from it. 0: use
    --content-weight."""

    smoothness_weight: float = 0.3
    """Weight of total variation, 0 or more. Higher values give smoother pictures."""

    edge_aware_weight: float = 0.3
    """Weight of edge-aware total variation, 0 or more. Smooths only the flat areas of the photo, such as skies."""

    structure_weight: float = 0.0
    """Weight of the structural similarity (SSIM) with the photo at 128 px, 0 or more. Keeps the photo's light and shadow."""


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """Start picture, sizes and optimizer."""

    title: ClassVar[str] = "Optimizer"
    ranges: ClassVar[Ranges] = {
        "init_noise": (0, 1),
        "steps": (1, 1_000_000),
        "lbfgs_history": (1, 1000),
        "step_growth": (1, 4),
        "first_steps": (0, 1_000_000),
        "learning_rate": (1e-9, 1e3),
        "averaging": (0, 0.999999),
        "smallest_size": (32, 100_000),
        "scale_factor": (1.01, 100),
        "min_improvement": (0, 1),
        "margin": (0, 0.25),
    }

    init: str = "content"
    """Start picture: content, noise, gray, style-statistics, style, blend (content and noise), outline, or a picture file."""

    init_noise: float = 0.5
    """Share of noise if --init is blend, 0 to 1."""

    optimizer: Optimizer = "adam"
    """adam, multigrid-adam (Adam on three grids), lbfgs (float32, more memory) or rmsprop (as in STROTSS)."""

    lbfgs_history: int = 20
    """Number of steps that lbfgs stores, 1 to 1000. Each step needs memory for two pictures."""

    steps: int = 15
    """Optimization steps at the last size."""

    step_growth: float = 1.2
    """Ratio of the steps at one size to the steps at the next larger size. 1: the same number at every size."""

    first_steps: int = 0
    """Steps at the smallest size. 0: computed from --steps and --step-growth."""

    learning_rate: float = 0.012
    """Learning rate. For adam and multigrid-adam, it refers to pixels that range from 0 to 1."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's two decay rates, each at least 0 and below 1."""

    averaging: float = 0.0
    """Decay of the moving average of the picture, at least 0 (no averaging) and below 1. The result is this average."""

    decay: Decay = "each"
    """When to decay the learning rate: at the last size, at each size, or never."""

    smallest_size: int = 64
    """Longer side of the smallest size in pixels. If it equals --size, only one size is painted."""

    scale_factor: float = 2.0
    """Ratio of a size to the next smaller size, above 1."""

    min_improvement: float = 0.0
    """Stop a size early if the loss decreased by less than this share over the last ten steps, 0 (never) to 1."""

    canvas: Canvas = "soft-laplacian"
    """Parametrization of the picture: pixels or a Laplacian pyramid; soft- variants store color at half resolution."""

    margin: float = 0.03
    """Margin that is painted and then cropped, as a share of the longer side, 0 to 0.25."""


@dataclass(frozen=True, kw_only=True)
class ColorOptions:
    """Color control."""

    title: ClassVar[str] = "Color"
    ranges: ClassVar[Ranges] = {"color_amount": (0, 1)}

    color: ColorMode = "style"
    """Colors of the result: style (as painted), keep (the photo's color at each pixel), histogram (the photo's colors
    overall), palette (the style's colors overall), or match-style (recolor the style like the photo before painting)."""

    color_method: ColorMethod = "monge-kantorovich"
    """Color transfer method for --color match-style and palette. luminance (match-style only): paint in gray, then add the
    photo's colors."""

    color_space: ColorSpace = "oklab"
    """Color space that separates lightness and color: oklab, lab (shifts dark blue to teal), yiq or ycbcr."""

    color_amount: float = 1.0
    """Strength of --color, 0 (none) to 1."""

    color_mask: str = ""
    """Mask of the area where --color applies: a file, or a name as for --style-mask. Default: everywhere."""

    color_proof: str = ""
    """ICC profile, such as a printer's. Limits photo and style to colors in its gamut."""


@dataclass(frozen=True, kw_only=True)
class RegionOptions:
    """Regions of several styles."""

    title: ClassVar[str] = "Regions"
    ranges: ClassVar[Ranges] = {"feather": (0, 0.25)}

    region_strengths: tuple[float, ...] = ()
    """Strength of the style in each region, 0 (the photo) to 10; one per --style-mask. Default: 1."""

    uncovered: Uncovered = "photo"
    """What to paint where no style mask applies: photo (keep it unchanged) or first-style."""

    mask_shrinking: Shrinking = "simple"
    """How to resize a mask to a layer: simple (by area), inside (positions whose receptive field is entirely in the region) or
    all (positions whose receptive field is at least partly in the region)."""

    feather: float = 0.01
    """Width of soft mask edges as a share of the longer side, 0 (sharp) to 0.25."""


@dataclass(frozen=True, kw_only=True)
class ReproductionOptions:
    """Settings that reproduce published programs; used by the presets."""

    title: ClassVar[str] = "Reproduction of published programs"
    ranges: ClassVar[Ranges] = {}

    content_normalization: ContentNormalization = "relative"
    """Divisor of the content loss: relative (to the photo's own features), or as in a published program."""

    style_normalization: StyleNormalization = "relative"
    """Divisor of the style loss: relative (to the style's own statistics), or as in a published program."""

    activation_shift: float = 0.0
    """Constant added to the features before the Gram matrix is computed. INetwork uses -1 (Novak and Nikulin 2016)."""

    smoothness_form: SmoothnessForm = "l2"
    """Form of total variation: a mean over pixels (l1, l2, nine-point) or a sum (sum-l1, sum-l2; inetwork, with exponent
    1.25)."""

    pooling: Pooling = "max"
    """Pooling in the encoder: max, average, l2 or plain-average. average and l2 are rescaled to the level of max;
    plain-average is not."""

    border: Border = "replicate"
    """Padding in the encoder: zero (as trained; darkens the borders), replicate, reflect or mixed (zero in deep layers)."""

    pixel_range: PixelRange = "unit"
    """Pixel range of the published program, 255 or unit. Sets the scale of the features and of total variation."""


RENAMED = {"calm_weight": "edge_aware_weight"}
"""Current names of renamed options, by former name. The command line, Python and records still accept the former names."""

RENAMED_VALUES = {"init": {"grey": "gray"}}
"""Current names of option values, by option and former name."""

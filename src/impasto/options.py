"""Every knob, once: what is wanted, as frozen values.

The text under each field is the one text of that option: the command line's ``--help``, the studio's tooltip and the API page
all read it. No torch here, so that ``--help`` is instant.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, Self

from impasto.errors import OptionError, nearest_name
from impasto.fields import check_kinds, check_range, dashed

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
Engine = Literal["auto", "torch", "openvino"]
Tuned = Literal["instant", "paint"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16"]

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
INITS = ("content", "noise", "grey", "style-statistics", "style", "blend", "outline")


@dataclass(frozen=True, kw_only=True)
class PaintOptions:
    """How the painter paints. The defaults are those of neural neighbors, chosen by blind juries; see ``--recipe``."""

    preset: str = "impasto"
    """The published program whose whole set of constants is the starting point; the other options change it from there."""

    recipe: Recipe = "neighbors"
    """The method: neighbors (neural neighbors), gatys (Gram matrices), nnst or strotss (both close to their papers)."""

    quality: Quality = "standard"
    """Of --recipe neighbors: draft (a few seconds), standard, or best (more steps, and vgg19 where its weights are here)."""

    strength: float = 1.0
    """Of --recipe neighbors: how strong the style is, from 0 (the photo) over 1 to 1.5 (freer with the photo's shapes)."""

    size: int = 512
    """Longer side of the result in pixels, at least 32; a smaller photo is enlarged to it."""

    encoder: str = "vgg19-slim"
    """The network that looks: vgg19-slim (inside the package), vgg19 or vgg16 (see impasto weights), or a weight file."""

    content_weight: float = 0.9
    """More keeps more of the photo: its share in what is matched, 0 to 1; of gatys and presets the weight α of its loss."""

    style_weight: float = 1.0
    """Weight β of the style loss, 0 or more; larger takes more of the manner."""

    content_layers: tuple[str, ...] = ("relu4_2",)
    """Layers at which the content is compared, such as relu4_2; the weight is shared equally."""

    content_layer_weights: tuple[float, ...] = ()
    """One weight for each content layer, in their order; empty: equal weights that sum to 1."""

    style_layers: tuple[str, ...] = STYLE_LAYERS
    """Layers at which the style is compared, such as relu1_1,relu3_1; coarse features of the manner live in the deep ones."""

    layer_weights: tuple[float, ...] = ()
    """One weight for each style layer, in their order; empty: equal weights that sum to 1."""

    style_weights: tuple[float, ...] = ()
    """One weight for each style where several are given, negative ones push away; empty: equal weights."""

    style_scale: float = 1.0
    """Size of the style picture against the result: above 1 larger strokes, below 1 smaller ones; 0.1 to 4."""

    style_size: int = 0
    """Longer side in pixels at which the style is seen at every size, 32 or more; 0: that of the picture being painted."""

    style_scales: tuple[float, ...] = ()
    """Two sizes of the style, 0.1 to 4: relu1 to relu3 (grain, strokes) see the first, deeper layers (forms) the second."""

    balance: float = 0.0
    """Find the content weight by how hard content pulls against style far from both, such as 1; 0: --content-weight."""

    statistics: StyleStatistics = "gram-moments"
    """What of the style is compared: gram, moments, both or wasserstein; of style pictures also sliced, histogram and so on."""

    content_comparison: ContentComparison = "features"
    """How the content is compared: by its features (Gatys), or by how alike its parts are to each other (STROTSS)."""

    content_normalization: ContentNormalization = "relative"
    """What the content loss is divided by: relative to the photo's own features, or as a published program divides."""

    style_normalization: StyleNormalization = "relative"
    """What the style loss is divided by: relative to the style's own statistics, or as a published program divides."""

    activation_shift: float = 0.0
    """Added to the features before the Gram matrix is taken; -1 in INetwork, after Novak and Nikulin."""

    coherence: float = 0.005
    """Of --recipe neighbors: how much neighboring parts prefer to come from one place in the style, 0 (not at all) to 1."""

    smoothness_weight: float = 0.3
    """Weight of total variation, 0 or more; larger is smoother."""

    smoothness_form: SmoothnessForm = "l2"
    """Which total variation: l1, l2 or nine-point (means over pixels), sum-l1, sum-l2 or inetwork (sums; power 1.25)."""

    calm_weight: float = 0.3
    """Weight of edge-aware smoothness, 0 or more; keeps grain out of skies and other parts that are flat in the photo."""

    structure_weight: float = 0.0
    """Weight of the structural similarity with the photo at 128 px, 0 or more; holds the photo's light and shade."""

    pooling: Pooling = "max"
    """How the network halves its features: max, average (smoother) or l2, both rescaled; plain-average is not rescaled."""

    border: Border = "replicate"
    """What the network sees beyond the edge: zero (as trained; darkens edges), replicate, reflect, mixed (zero where deep)."""

    margin: float = 0.03
    """Painted beyond the edge and cut away, as a share of the longer side, 0 to 0.25."""

    canvas: Canvas = "soft-laplacian"
    """What is optimized: pixels, a Laplacian pyramid, or either with color at half the resolution of light (soft-)."""

    pixel_range: PixelRange = "unit"
    """The range of pixels in the published program, which sets the size of its features and of total variation: 255 or unit."""

    init: str = "content"
    """Where painting starts: content, noise, grey, style-statistics, style, blend (with noise), outline, or a picture file."""

    init_noise: float = 0.5
    """Share of noise where --init is blend, 0 to 1."""

    optimizer: Optimizer = "adam"
    """adam, multigrid-adam (moves areas as well as pixels), lbfgs (full precision, more memory) or rmsprop (STROTSS's)."""

    lbfgs_history: int = 20
    """Steps that lbfgs remembers, 1 to 1000; each takes memory of two pictures."""

    steps: int = 15
    """Optimization steps at the last size."""

    step_growth: float = 1.2
    """Steps at each coarser size, in those of the next finer one; 1: as many at every size. Coarse steps cost little."""

    first_steps: int = 0
    """Optimisation steps at the first, coarsest size; 0: what --steps and --step-growth come to."""

    learning_rate: float = 0.012
    """Step length of the optimizer; for both adams in units of the pixel range 0 to 1."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's two decay rates, each from 0 up to below 1."""

    averaging: float = 0.0
    """Decay of the running average of the picture that becomes the result, 0 (none) up to below 1."""

    decay: Decay = "each"
    """Where the step length falls towards the end: at the last size, at each size, or never."""

    smallest_size: int = 64
    """Longer side of the coarsest picture painted first; as large as --size: a single scale."""

    scale_factor: float = 2.0
    """How much larger each size is than the one before, above 1."""

    min_improvement: float = 0.0
    """Stop a size early when the loss improved by less than this share over the last ten steps, 0 (never) to 1."""

    color: ColorMode = "style"
    """Colours: style (as painted), keep or histogram (the photo's), palette (the style's), match-style (styles recoloured)."""

    color_method: ColorMethod = "monge-kantorovich"
    """How --color match-style and palette carry colours over; luminance, of match-style: grey is painted, colour put back."""

    color_space: ColorSpace = "oklab"
    """Where light and colour are told apart: oklab, lab (dark blue skies turn to teal), yiq or ycbcr (which are alike)."""

    color_amount: float = 1.0
    """How much of what --color does, 0 (nothing) to 1."""

    color_mask: str = ""
    """A mask (a file, or a name as of --style-mask), white where --color acts on the painting; empty: everywhere."""

    color_proof: str = ""
    """An ICC profile, such as a printer's: photo and style pictures keep to colours that it can show; empty: all colours."""

    seconds: float = 0.0
    """Stop after about this many seconds by taking fewer steps at every size; 0: as long as it takes."""

    region_strengths: tuple[float, ...] = ()
    """With a mask for each style: how strongly each region takes its style, 0 (the photo) to 10; empty: 1 everywhere."""

    uncovered: Uncovered = "photo"
    """What becomes of the parts that no style mask covers: they stay the photo, or take the first-style."""

    mask_shrinking: Shrinking = "simple"
    """How masks shrink to a layer: simple (by area), inside or all (what sees nothing but, or anything of, the region)."""

    feather: float = 0.01
    """Width of the soft edge around what stays the photo, as a share of the longer side, 0 (a sharp edge) to 0.25."""

    def __post_init__(self) -> None:
        """Check every value; raise OptionError with one sentence on the first that is not allowed."""
        check_kinds(self)
        for name, (low, high) in _RANGES.items():
            if name != "style_size" or self.style_size:
                check_range(name, getattr(self, name), low, high)
        for name in ("content_layers", "style_layers"):
            if not getattr(self, name):
                raise OptionError(f"{dashed(name)} is empty; name at least one layer, such as relu4_2")
        self._check_layer_weights()
        for name in ("layer_weights", "content_layer_weights", "style_weights"):
            for weight in getattr(self, name):
                check_range(name, weight, -1e9, 1e9)
        for strength in self.region_strengths:
            check_range("region_strengths", strength, 0, 10)
        for scale in self.style_scales:
            check_range("style_scales", scale, 0.1, 4)
        if len(self.style_scales) not in (0, 2):
            raise OptionError(
                f"--style-scales is {list(self.style_scales)}; give two numbers, such as 0.5,1.5, or leave it away"
            )
        for beta in self.betas:
            check_range("betas", beta, 0.0, 0.999999)
        if len(self.betas) != 2:
            raise OptionError(f"--betas is {self.betas!r}; give two numbers, such as 0.9,0.99")

    def _check_layer_weights(self) -> None:
        """Raise OptionError unless there is a weight for each layer, where any is given."""
        for name, kind in (("layer_weights", "style"), ("content_layer_weights", "content")):
            weights, layers = getattr(self, name), getattr(self, f"{kind}_layers")
            if weights and len(weights) != len(layers):
                raise OptionError(
                    f"{dashed(name)} has {len(weights)} values for {len(layers)} {kind} layers; give one for each layer"
                )
        if self.content_layer_weights and self.content_comparison == "self-similarity":
            raise OptionError(
                "--content-layer-weights belongs to --content-comparison features; self-similarity sees all layers as one"
            )

    def changed(self, **changes: Any) -> Self:
        """Return the same options with some changed.

        Raises:
            OptionError: if a name is unknown or a value not allowed.
        """
        names = [each.name for each in dataclasses.fields(self)]
        for name in changes:
            if name not in names:
                raise OptionError(f"{name!r} is not an option of paint{nearest_name(name, names)}")
        return dataclasses.replace(self, **changes)


_RANGES: dict[str, tuple[float, float]] = {
    "size": (32, 100_000),
    "content_weight": (0, 1e15),
    "style_weight": (0, 1e15),
    "style_scale": (0.1, 4),
    "style_size": (32, 100_000),
    "balance": (0, 1e6),
    "strength": (0, 1.5),
    "coherence": (0, 1),
    "smoothness_weight": (0, 1e9),
    "calm_weight": (0, 1e9),
    "structure_weight": (0, 1e9),
    "margin": (0, 0.25),
    "init_noise": (0, 1),
    "lbfgs_history": (1, 1000),
    "steps": (1, 1_000_000),
    "step_growth": (1, 4),
    "first_steps": (0, 1_000_000),
    "learning_rate": (1e-9, 1e3),
    "averaging": (0, 0.999999),
    "smallest_size": (32, 100_000),
    "scale_factor": (1.01, 100),
    "min_improvement": (0, 1),
    "color_amount": (0, 1),
    "seconds": (0, 1e9),
    "feather": (0, 0.25),
}


@dataclass(frozen=True, kw_only=True)
class InstantOptions:
    """How the instant painter paints: any style in one pass."""

    size: int = 1024
    """Longer side of the result in pixels, at least 32; smaller photos keep their size. 0: as large as the photo, always."""

    strength: float = 1.0
    """How far towards the style, 0 (the photo itself) to 1 (all the way), and beyond it to 1.5."""

    stroke: float = 1.0
    """Size of the strokes, 0.25 to 4; above 1 broader ones, which take the photo further, below 1 finer ones."""

    style_weights: tuple[float, ...] = ()
    """One weight for each style where several are given and no masks; empty: equal weights."""

    color: ColorMode = "style"
    """Colours: style (as painted), keep or histogram (the photo's), palette (the style's), match-style (styles recoloured)."""

    color_method: ColorMethod = "monge-kantorovich"
    """How --color match-style and palette carry colours over; luminance, of match-style: grey is painted, colour put back."""

    color_space: ColorSpace = "oklab"
    """Where light and colour are told apart: oklab, lab (dark blue skies turn to teal), yiq or ycbcr (which are alike)."""

    color_amount: float = 1.0
    """How much of what --color does, 0 (nothing) to 1."""

    color_mask: str = ""
    """A mask (a file, or a name as of --style-mask), white where --color acts on the painting; empty: everywhere."""

    color_proof: str = ""
    """An ICC profile, such as a printer's: photo and style pictures keep to colours that it can show; empty: all colours."""

    fast: bool = False
    """Paint at the full size alone instead of coarse to fine: less time, closer to the photo; strengths above 1 are as 1."""

    hq: bool = False
    """instant-hq: ten steps of the painter at the full size, which clean up strokes and seams; takes a few seconds more."""

    refine: bool = False
    """Let the painter go on from the result, at the last two sizes; half a minute at 512 pixels."""

    refine_seconds: float = 0.0
    """Let the painter go on for about this many seconds; 0: as --refine says."""

    feather: float = 0.01
    """Width of the soft edge of masks and of what is protected, as a share of the longer side, 0 (sharp) to 0.25."""

    engine: Engine = "auto"
    """torch, openvino (faster where impasto[fast] is installed), or auto: openvino for the second picture of a size and on."""

    def __post_init__(self) -> None:
        """Check every value; raise OptionError with one sentence on the first that is not allowed."""
        check_kinds(self)
        for name, (low, high) in _INSTANT_RANGES.items():
            if name != "size" or self.size:
                check_range(name, getattr(self, name), low, high)
        for weight in self.style_weights:
            check_range("style_weights", weight, 0, 1e9)
        if self.style_weights and sum(self.style_weights) <= 0:
            raise OptionError(f"--style-weights {list(self.style_weights)} sum to 0; enlarge one of them")
        if self.hq and (self.refine or self.refine_seconds):
            raise OptionError("--hq and --refine both let the painter go on, --hq for a few steps; leave one of them away")

    @property
    def goes_on(self) -> bool:
        """Whether the painter goes on after the one pass."""
        return self.hq or self.refine or bool(self.refine_seconds)


_INSTANT_RANGES: dict[str, tuple[float, float]] = {
    "size": (32, 100_000),
    "strength": (0, 1.5),
    "stroke": (0.25, 4),
    "feather": (0, 0.25),
    "refine_seconds": (0, 1e9),
    "color_amount": (0, 1),
}


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """What is tried on the way to the settings that suit a photo and a style."""

    recipe: Tuned = "instant"
    """instant (a few seconds; strength and stroke are tried) or paint (small; strength and style scale)."""

    size: int = 0
    """Longer side of each trial in pixels; 0: 192 for paint, 512 on a sheet of instant, 1024 in its search, as it paints."""

    strengths: tuple[float, ...] = (0.4, 0.7, 1.0, 1.3)
    """Columns of the sheet, each 0 to 1.5."""

    strokes: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Rows of the sheet of instant, each 0.25 to 4; a search takes the stroke that is given alone, else 1."""

    style_scales: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Rows of the sheet of paint, each 0.1 to 4; a search takes the scale that is given alone, else 1."""

    steps: int = 16
    """Optimization steps of paint at the last size; coarser ones take more."""

    wanted_style: float = 0.0
    """Search for this share of the way to the style, as impasto report measures it, above 0 up to 1; 0: draw the sheet."""

    def __post_init__(self) -> None:
        """Check every value."""
        check_kinds(self)
        for name, (low, high) in _TUNE_RANGES.items():
            if name != "size" or self.size:
                check_range(name, getattr(self, name), low, high)
        bounds = {"strengths": (0, 1.5), "strokes": (0.25, 4), "style_scales": (0.1, 4)}
        for name, (low, high) in bounds.items():
            if not getattr(self, name):
                raise OptionError(f"{dashed(name)} is empty; give at least one value")
            for value in getattr(self, name):
                check_range(name, value, low, high)


_TUNE_RANGES: dict[str, tuple[float, float]] = {"size": (32, 100_000), "steps": (1, 1_000_000), "wanted_style": (0, 1)}


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """How results are measured."""

    style_weights: tuple[float, ...] = ()
    """One weight for each style where several are given; empty: equal weights."""

    def __post_init__(self) -> None:
        """Check every value."""
        check_kinds(self)
        for weight in self.style_weights:
            check_range("style_weights", weight, 0, 1e9)
        if self.style_weights and sum(self.style_weights) <= 0:
            raise OptionError(f"--style-weights {list(self.style_weights)} sum to 0; enlarge one of them")


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where and how exactly the arithmetic runs.

    The library leaves the caller's settings of PyTorch as they are, so ``threads`` acts in the command line alone; in Python
    call ``torch.set_num_threads``.

    On the CPU the same seed paints the same picture, bit for bit, with the same versions, number of threads, precision and
    engine; only with the recipe ``strotss`` on several threads do the last digits differ from run to run. On a GPU they may
    differ with every recipe, since PyTorch adds up gradients there in any order. ``fp32`` means float32: TF32 is off while
    impasto paints.
    """

    device: Device = "auto"
    """auto (a GPU where there is one), cpu, cuda or mps."""

    precision: Precision = "auto"
    """auto (bf16 where the processor has it and a self-check agrees), fp32 or bf16."""

    seed: int = 0
    """Seed of everything random; the same seed paints the same picture on the same machine."""

    threads: int = 0
    """Processor threads, 0: as many as there are cores; set by the command line alone, a library leaves torch's as they are."""

    def __post_init__(self) -> None:
        """Check every value."""
        check_kinds(self)
        for name, (low, high) in _RUN_RANGES.items():
            check_range(name, getattr(self, name), low, high)


_RUN_RANGES: dict[str, tuple[float, float]] = {"seed": (0, 2**63 - 1), "threads": (0, 4096)}


def ranges_of(options: type) -> dict[str, tuple[float, float]]:
    """Return the lowest and the highest value of the numbers of an option dataclass, by the field's name."""
    return {PaintOptions: _RANGES, InstantOptions: _INSTANT_RANGES, TuneOptions: _TUNE_RANGES, Run: _RUN_RANGES}.get(
        options, {}
    )

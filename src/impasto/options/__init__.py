"""All options, each defined once, as frozen keyword-only dataclasses.

Each option is described only once, in the docstring below its field. The command line's ``--help``, the studio and the API
documentation all show this docstring. This package does not import torch, so ``--help`` is fast.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from impasto.errors import OptionError, nearest_name
from impasto.options.fields import check_kinds, check_range, check_values, dashed
from impasto.options.groups import (
    INITS,
    RENAMED,
    RENAMED_VALUES,
    STYLE_LAYERS,
    BasicOptions,
    Border,
    Canvas,
    ColorMethod,
    ColorMode,
    ColorOptions,
    ColorSpace,
    ContentComparison,
    ContentNormalization,
    Decay,
    LossOptions,
    Optimizer,
    OptimizerOptions,
    PixelRange,
    Pooling,
    Quality,
    Ranges,
    Recipe,
    RegionOptions,
    ReproductionOptions,
    Shrinking,
    SmoothnessForm,
    StyleNormalization,
    StyleOptions,
    StyleStatistics,
    Uncovered,
)
from impasto.options.tiers import tier_by_name, tiers_of

__all__ = [
    "INITS",
    "RENAMED",
    "RENAMED_VALUES",
    "STYLE_LAYERS",
    "BasicOptions",
    "Border",
    "Canvas",
    "ColorMethod",
    "ColorMode",
    "ColorOptions",
    "ColorSpace",
    "ContentComparison",
    "ContentNormalization",
    "Decay",
    "Device",
    "Engine",
    "InstantOptions",
    "LossOptions",
    "Optimizer",
    "OptimizerOptions",
    "PaintOptions",
    "PixelRange",
    "Pooling",
    "Precision",
    "Quality",
    "Ranges",
    "Recipe",
    "RegionOptions",
    "ReportOptions",
    "ReproductionOptions",
    "Run",
    "Shrinking",
    "SmoothnessForm",
    "StyleNormalization",
    "StyleOptions",
    "StyleStatistics",
    "TuneOptions",
    "Tuned",
    "Uncovered",
    "by_present_names",
    "ranges_of",
    "tier_by_name",
    "tiers_of",
]

Engine = Literal["auto", "torch", "openvino"]
Tuned = Literal["instant", "paint"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True, kw_only=True)
class PaintOptions(ReproductionOptions, RegionOptions, ColorOptions, OptimizerOptions, LossOptions, StyleOptions, BasicOptions):
    """Options of :func:`impasto.paint`. The defaults use neural neighbors and were chosen in blind comparisons.

    The fields are those of the groups in :mod:`impasto.options.groups`, as plain attributes.

    Raises:
        OptionError: a value has the wrong type or is not allowed.

    Example:
        >>> import impasto
        >>> impasto.PaintOptions(size=1024, strength=0.8).changed(size=256).size
        256
    """

    basics: ClassVar[tuple[str, ...]] = (
        *("size", "quality", "strength", "style_scale", "color", "style_weights", "seconds", "recipe", "preset"),
    )

    def __post_init__(self) -> None:
        """Check every value. Raise OptionError for the first value that is not allowed."""
        check_kinds(self)
        for name, (low, high) in ranges_of(type(self)).items():
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
            raise OptionError(f"--style-scales is {list(self.style_scales)}; give two numbers, such as 0.5,1.5, or omit it")
        for beta in self.betas:
            check_range("betas", beta, 0.0, 0.999999)
        if len(self.betas) != 2:
            raise OptionError(f"--betas is {self.betas!r}; give two numbers, such as 0.9,0.99")

    def _check_layer_weights(self) -> None:
        """Raise OptionError if the given layer weights do not match the layers or ``content_comparison``."""
        for name, kind in (("layer_weights", "style"), ("content_layer_weights", "content")):
            weights, layers = getattr(self, name), getattr(self, f"{kind}_layers")
            if weights and len(weights) != len(layers):
                raise OptionError(
                    f"{dashed(name)} has {len(weights)} values for {len(layers)} {kind} layers; give one for each layer"
                )
        if self.content_layer_weights and self.content_comparison == "self-similarity":
            raise OptionError(
                "--content-layer-weights needs --content-comparison features; self-similarity compares all layers at once"
            )

    def changed(self, **changes: Any) -> Self:
        """Return a copy with some options changed.

        Raises:
            OptionError: a name is unknown or a value is not allowed.
        """
        changes = by_present_names(changes)
        names = [each.name for each in dataclasses.fields(self)]
        for name in changes:
            if name not in names:
                raise OptionError(f"{name!r} is not an option of paint{nearest_name(name, names)}")
        return dataclasses.replace(self, **changes)


def by_present_names(given: Mapping[str, Any]) -> dict[str, Any]:
    """Replace former names of options and values with the current ones.

    Example:
        >>> by_present_names({"calm_weight": 0.5, "init": "grey"})
        {'edge_aware_weight': 0.5, 'init': 'gray'}
    """
    found = {RENAMED.get(name, name): value for name, value in given.items()}
    for name, values in RENAMED_VALUES.items():
        if isinstance(found.get(name), str):
            found[name] = values.get(found[name], found[name])
    return found


@dataclass(frozen=True, kw_only=True)
class InstantOptions(ColorOptions):
    """Options of :func:`impasto.instant`: any style in one pass.

    Raises:
        OptionError: a value has the wrong type or is not allowed.

    Example:
        >>> import impasto
        >>> impasto.InstantOptions(size=512, stroke=2.0).strength
        1.0
    """

    title: ClassVar[str] = "Other options"
    basics: ClassVar[tuple[str, ...]] = ("size", "strength", "stroke", "color", "style_weights", "fast", "hq", "refine_seconds")
    ranges: ClassVar[Ranges] = {
        "size": (32, 100_000),
        "strength": (0, 1.5),
        "stroke": (0.25, 4),
        "feather": (0, 0.25),
        "refine_seconds": (0, 1e9),
    }

    size: int = 1024
    """Longer side in pixels, at least 32. Smaller photos keep their size. 0: always the size of the photo."""

    strength: float = 1.0
    """Strength of the style, 0 to 1.5: 0 returns the photo, 1 is the full style; above 1, shapes change too."""

    stroke: float = 1.0
    """Size of the strokes, 0.25 to 4 (for paint: --style-scale). Above 1: broader strokes; below 1: finer strokes."""

    style_weights: tuple[float, ...] = ()
    """One weight per style if there are several and no masks. Default: equal weights."""

    fast: bool = False
    """Paint only at one size: the full one or, above a megapixel, up to a fifth less. Faster, and closer to the photo."""

    hq: bool = False
    """Clean up strokes and seams with ten optimization steps at the full size. Takes a few more seconds."""

    refine: bool = False
    """Refine the result with "impasto paint" at the last two sizes. Takes about ten seconds at 512 px."""

    refine_seconds: float = 0.0
    """Refine the result with "impasto paint" for at most this many seconds. 0: see --refine."""

    feather: float = 0.01
    """Width of soft mask edges as a share of the longer side, 0 (sharp) to 0.25."""

    engine: Engine = "auto"
    """torch, openvino (needs impasto[fast]), or auto (torch for the first picture, then openvino)."""

    def __post_init__(self) -> None:
        """Check every value. Raise OptionError for the first value that is not allowed."""
        check_kinds(self)
        for name, (low, high) in ranges_of(type(self)).items():
            if name != "size" or self.size:
                check_range(name, getattr(self, name), low, high)
        for weight in self.style_weights:
            check_range("style_weights", weight, 0, 1e9)
        if self.style_weights and sum(self.style_weights) <= 0:
            raise OptionError(f"--style-weights {list(self.style_weights)} sum to 0; increase one of them")
        if self.hq and (self.refine or self.refine_seconds):
            raise OptionError("--hq and --refine both continue with impasto paint; omit one of them")

    @property
    def goes_on(self) -> bool:
        """Whether optimization steps follow the single pass."""
        return self.hq or self.refine or bool(self.refine_seconds)


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """Options of :func:`impasto.tune`: settings to try for a photo and a style.

    Raises:
        OptionError: a value has the wrong type or is not allowed.

    Example:
        >>> import impasto
        >>> impasto.TuneOptions(strengths=[0.5, 1.0]).strengths
        (0.5, 1.0)
    """

    title: ClassVar[str] = "Trials"
    basics: ClassVar[tuple[str, ...]] = ("recipe", "wanted_style")
    ranges: ClassVar[Ranges] = {"size": (32, 100_000), "steps": (1, 1_000_000), "wanted_style": (0, 1)}

    recipe: Tuned = "instant"
    """instant (a few seconds; varies strength and stroke) or paint (small pictures; varies strength and style scale)."""

    size: int = 0
    """Longer side of each trial in pixels. 0: 192 for paint, 512 for a sheet with instant, 1024 for a search with instant."""

    strengths: tuple[float, ...] = (0.4, 0.7, 1.0, 1.3)
    """Strengths of the style, one per column of the sheet, each 0 to 1.5."""

    strokes: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Stroke sizes for instant, one per row of the sheet, 0.25 to 4. A search uses the value if just one is given, else 1."""

    style_scales: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Style scales for paint, one per row of the sheet, 0.1 to 4. A search uses the value if just one is given, else 1."""

    steps: int = 16
    """Optimization steps of paint at the last size."""

    wanted_style: float = 0.0
    """Share of the style to reach, 0 to 1, as "impasto report" measures it. The search varies the strength. 0: no search."""

    def __post_init__(self) -> None:
        """Check every value."""
        check_kinds(self)
        for name, (low, high) in self.ranges.items():
            if name != "size" or self.size:
                check_range(name, getattr(self, name), low, high)
        bounds = {"strengths": (0, 1.5), "strokes": (0.25, 4), "style_scales": (0.1, 4)}
        for name, (low, high) in bounds.items():
            if not getattr(self, name):
                raise OptionError(f"{dashed(name)} is empty; give at least one value")
            for value in getattr(self, name):
                check_range(name, value, low, high)


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Options of :func:`impasto.judge`: how results are measured."""

    style_weights: tuple[float, ...] = ()
    """One weight per style if there are several. Default: equal weights."""

    def __post_init__(self) -> None:
        """Check every value."""
        check_kinds(self)
        for weight in self.style_weights:
            check_range("style_weights", weight, 0, 1e9)
        if self.style_weights and sum(self.style_weights) <= 0:
            raise OptionError(f"--style-weights {list(self.style_weights)} sum to 0; increase one of them")


@dataclass(frozen=True, kw_only=True)
class Run:
    """Device, precision and seed.

    The library does not change the caller's PyTorch settings, so ``threads`` applies only to the command line. In Python, call
    ``torch.set_num_threads``.

    On the CPU, the same seed gives bit-identical pictures if the versions, threads, precision and engine are the same. The
    exception is ``strotss``: with several threads, the last digits of its results differ. On a GPU, the results of every
    recipe may differ, because PyTorch does not sum gradients in a fixed order. ``fp32`` means float32: TF32 is disabled while
    impasto paints.

    Raises:
        OptionError: a value has the wrong type or is not allowed.

    Example:
        >>> import impasto
        >>> impasto.Run(device="tpu")
        Traceback (most recent call last):
        impasto.errors.OptionError: --device 'tpu' is not known; did you mean 'cpu'?
    """

    title: ClassVar[str] = "Device and precision"
    basics: ClassVar[tuple[str, ...]] = ("seed",)
    ranges: ClassVar[Ranges] = {"seed": (0, 2**63 - 1), "threads": (0, 4096), "max_memory": (0, 1e6)}

    device: Device = "auto"
    """auto (a GPU if there is one), cpu, cuda or mps."""

    precision: Precision = "auto"
    """auto (bf16 if the processor supports it and a self-check passes), fp32 or bf16."""

    seed: int = 0
    """Seed of the random generators. The same seed gives the same picture on the same machine."""

    threads: int = 0
    """Number of CPU threads. 0: one per core. Applies to the command line only."""

    max_memory: float = 0.0
    """Memory limit in GiB. Pictures that need more are painted in tiles (paint) or from disk (instant, apply). 0: most of the
    free memory."""

    def __post_init__(self) -> None:
        """Check every value."""
        check_values(self)


def ranges_of(options: type) -> dict[str, tuple[float, float]]:
    """Return the lowest and the highest allowed value of each numeric option of a dataclass, by name."""
    found: dict[str, tuple[float, float]] = {}
    for each in reversed(options.__mro__):
        found |= each.__dict__.get("ranges", {})
    return found

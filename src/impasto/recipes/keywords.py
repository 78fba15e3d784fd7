"""The keyword arguments of :func:`impasto.paint`, declared for completion in editors and for type checkers.

The keywords repeat the fields of :class:`impasto.PaintOptions`, because a type checker cannot derive them. A test compares
the two.
"""

from collections.abc import Sequence
from typing import TypedDict

from impasto.images import Picture, Source
from impasto.options import (
    Border,
    Canvas,
    ColorMethod,
    ColorMode,
    ColorSpace,
    ContentComparison,
    ContentNormalization,
    Decay,
    Optimizer,
    PixelRange,
    Pooling,
    Quality,
    Recipe,
    Shrinking,
    SmoothnessForm,
    StyleNormalization,
    StyleStatistics,
    Uncovered,
)

MaskSource = Source | Picture
"""A mask: a picture in any form, or a name such as ``"auto:sky"``."""


class PaintKeywords(TypedDict, total=False):
    """Options of :func:`impasto.paint` by name, and masks."""

    # Basics
    size: int
    quality: Quality
    strength: float
    style_scale: float
    style_weights: Sequence[float]
    content_weight: float
    steps: int
    seconds: float
    recipe: Recipe
    preset: str
    # Style
    style_weight: float
    style_layers: Sequence[str]
    layer_weights: Sequence[float]
    style_size: int
    style_scales: Sequence[float]
    statistics: StyleStatistics
    coherence: float
    # Losses
    content_layers: Sequence[str]
    content_layer_weights: Sequence[float]
    content_comparison: ContentComparison
    balance: float
    smoothness_weight: float
    edge_aware_weight: float
    structure_weight: float
    # Optimizer
    init: str
    init_noise: float
    optimizer: Optimizer
    lbfgs_history: int
    step_growth: float
    first_steps: int
    learning_rate: float
    betas: tuple[float, float]
    averaging: float
    decay: Decay
    smallest_size: int
    scale_factor: float
    min_improvement: float
    canvas: Canvas
    margin: float
    # Color
    color: ColorMode
    color_method: ColorMethod
    color_space: ColorSpace
    color_amount: float
    color_mask: str
    color_proof: str
    # Regions
    region_strengths: Sequence[float]
    uncovered: Uncovered
    mask_shrinking: Shrinking
    feather: float
    # Reproduction of published programs
    content_normalization: ContentNormalization
    style_normalization: StyleNormalization
    activation_shift: float
    smoothness_form: SmoothnessForm
    pooling: Pooling
    border: Border
    pixel_range: PixelRange
    # Masks
    style_masks: Sequence[MaskSource | None]
    style_regions: Sequence[MaskSource | None]
    content_mask: MaskSource | None
    protect: Sequence[MaskSource] | MaskSource

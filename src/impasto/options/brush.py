"""The options of brushes."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from impasto.errors import OptionError
from impasto.options.fields import check_kinds, check_range, check_values

BrushNetwork = Literal["small", "medium", "full"]


@dataclass(frozen=True, kw_only=True)
class BrushOptions:
    """Options of :func:`impasto.apply`: paint photos with a brush.

    Raises:
        OptionError: a value has the wrong type or is not allowed.

    Example:
        >>> import impasto
        >>> impasto.BrushOptions(size=1024).stroke
        1.0
    """

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "size": (16, 100_000),
        "strength": (0, 1),
        "stroke": (0.25, 4),
        "grain": (0, 1),
    }

    size: int = 0
    """Longer side of the result in pixels, at least 16. Smaller photos keep their size. 0: the size of the photo."""

    strength: float = 1.0
    """Strength of the style, 0 (the photo) to 1."""

    stroke: float = 1.0
    """Size of the strokes, 0.25 to 4. Unless it is 1, the photo is painted at another size, and the result is resized."""

    grain: float = 0.0
    """Amount of noise, 0 to 1, added to flat parts of the photo, such as a clear sky, so that strokes are painted there."""

    def __post_init__(self) -> None:
        """Check every value."""
        check_kinds(self)
        for name, (low, high) in self.ranges.items():
            if name != "size" or self.size:
                check_range(name, getattr(self, name), low, high)


@dataclass(frozen=True, kw_only=True)
class BrushTrainingOptions:
    """Options of :func:`impasto.recipes.brush_training.new_run`: train a brush for one style."""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "minutes": (0, 100_000),
        "steps": (0, 10_000_000),
        "style_size": (64, 4096),
        "teacher_share": (0, 1),
        "edge": (64, 1024),
        "batch": (1, 1024),
        "learning_rate": (1e-9, 1),
        "neighbor_weight": (0, 1e9),
        "style_weight": (0, 1e9),
        "tone_weight": (0, 1e9),
        "content_weight": (0, 1e9),
        "smoothness_weight": (0, 1e9),
        "stability_weight": (0, 1e9),
        "patience": (0, 100_000),
    }

    minutes: float = 60.0
    """Training time in minutes, including the time before an interruption. 0: see --steps."""

    steps: int = 0
    """Number of training steps. With this option, the same seed gives the same brush. 0: see --minutes."""

    network: BrushNetwork = "medium"
    """small (for browsers and webcams), medium, or full (the network of the paper, six times slower than medium)."""

    style_size: int = 512
    """Longer side of the style picture during training in pixels, 64 to 4096. Larger values give larger strokes."""

    teacher_share: float = 1.0
    """Share of the training in which the brush learns from pictures painted by ``instant``, from 0 to 1. Afterwards, it learns
    from nearest neighbors in the style."""

    neighbor_weight: float = 1.0
    """Weight of the loss that compares features with those of the teacher's painting, or with the nearest neighbors."""

    style_weight: float = 2.0
    """Weight of the loss that compares means and Gram matrices with those of the style."""

    tone_weight: float = 2.0
    """Weight of the loss that compares blurred colors with those of the teacher's painting. Without a teacher, it compares
    lightness with that of the photo."""

    content_weight: float = 0.0
    """Weight of the content loss. Higher values keep more of the photo."""

    smoothness_weight: float = 0.0
    """Weight of the total variation. Higher values give smoother pictures."""

    stability_weight: float = 0.0
    """Weight of the loss that reduces flicker in videos. 1 is a good value for videos. Training takes longer."""

    edge: int = 256
    """Side of the square crops of the photos in pixels, a multiple of 8."""

    batch: int = 2
    """Crops per step."""

    learning_rate: float = 2e-3
    """Peak learning rate of Adam. It decays to a hundredth over the training."""

    patience: float = 0.0
    """Stop if the losses have not decreased by one percent for this many minutes. 0: never."""

    def __post_init__(self) -> None:
        """Check every value."""
        check_values(self)
        if not self.minutes and not self.steps:
            raise OptionError("--minutes and --steps are both 0; give one of them")
        if self.edge % 8:
            raise OptionError(f"--edge is {self.edge}; it must be a multiple of 8, such as {self.edge // 8 * 8}")

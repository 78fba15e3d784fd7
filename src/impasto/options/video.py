"""The options of videos."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from impasto.options.fields import check_kinds, check_range

VideoMethod = Literal["auto", "brush", "instant", "paint"]


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """Options of :func:`impasto.video.painting.paint_video`: paint clips with little flicker."""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {"size": (32, 100_000), "strength": (0, 1), "stability": (0, 1)}

    method: VideoMethod = "auto"
    """brush (a small network for one style), instant (any style, slower), paint (any style, slowest), or auto (brush if STYLE
    is a brush, otherwise instant)."""

    stability: float = 0.8
    """Weight of the previous result (moved along the optical flow) in each frame, 0 (independent frames) to 1. Higher values
    reduce flicker."""

    strength: float = 1.0
    """Strength of the style, 0 (the clip) to 1."""

    size: int = 0
    """Longer side of the result in pixels, at least 32. Smaller clips keep their size. 0: the size of the clip."""

    def __post_init__(self) -> None:
        """Check every value."""
        check_kinds(self)
        for name, (low, high) in self.ranges.items():
            if name != "size" or self.size:
                check_range(name, getattr(self, name), low, high)

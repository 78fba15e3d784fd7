"""The options of brushes."""

from dataclasses import dataclass
from typing import ClassVar

from impasto.options.fields import check_kinds, check_range


@dataclass(frozen=True, kw_only=True)
class BrushOptions:
    """Options of :func:`impasto.apply`: paint photos with a brush."""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {"size": (16, 100_000), "strength": (0, 1), "stroke": (0.25, 4)}

    size: int = 0
    """Longer side of the result in pixels, at least 16. Smaller photos keep their size. 0: the size of the photo."""

    strength: float = 1.0
    """Strength of the style, 0 (the photo) to 1."""

    stroke: float = 1.0
    """Size of the strokes, 0.25 to 4: paint at another size, and resize the result."""

    def __post_init__(self) -> None:
        """Check every value."""
        check_kinds(self)
        for name, (low, high) in self.ranges.items():
            if name != "size" or self.size:
                check_range(name, getattr(self, name), low, high)

"""The options of doodle, analogy and texture."""

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from impasto.errors import OptionError
from impasto.options.fields import check_range, check_values

AnalogyEngine = Literal["neural", "classic"]
AnalogyTransfer = Literal["linear", "copy"]

MOST_LABELS = 16
SUGGESTED_LABELS = 6
"""Default maximum number of colors in a suggested map."""
_SIZE = re.compile(r"(\d+)(?:[x×*](\d+))?")


@dataclass(frozen=True, kw_only=True)
class DoodleOptions:
    """Options of :func:`impasto.doodle`: paint a map of flat colors.

    Raises:
        OptionError: a value has the wrong type or is not allowed.

    Example:
        >>> import impasto
        >>> impasto.DoodleOptions(semantic_weight=3).labels
        0
    """

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "size": (32, 100_000),
        "style_scale": (0.1, 4),
        "semantic_weight": (0, 100),
        "content_weight": (0, 1),
        "variety": (0, 10),
        "coherence": (0, 1),
    }

    size: int = 512
    """Longer side of the result in pixels, at least 32."""

    style_scale: float = 1.0
    """Size of the strokes, 0.1 to 4: scales the style picture."""

    semantic_weight: float = 1.0
    """Weight of the maps relative to the look of the style, 0 to 100. Higher values follow the map more closely."""

    content_weight: float = 0.5
    """If a photo is given, a mixture of the photo and the current result is matched with the style. This is the share of the
    photo, 0 to 1."""

    labels: int = 0
    """Number of colors in the maps, 2 to 16. 0: count the colors."""

    variety: float = 1.0
    """How evenly the style picture is used, 0 to 10. 0: its parts may repeat any number of times."""

    coherence: float = 0.05
    """Preference for copying connected pieces of the style picture, 0 (none) to 1."""

    def __post_init__(self) -> None:
        """Check every value."""
        check_values(self)
        if self.labels:
            check_range("labels", self.labels, 2, MOST_LABELS)


@dataclass(frozen=True, kw_only=True)
class AnalogyOptions:
    """Options of :func:`impasto.analogy`: change B in the same way as A was changed to get A'.

    Raises:
        OptionError: a value has the wrong type or is not allowed.

    Example:
        >>> import impasto
        >>> impasto.AnalogyOptions(engine="classic", colors=True).kappa
        2.0
    """

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "size": (32, 100_000),
        "analogy_weight": (0, 100),
        "coherence": (0, 1),
        "kappa": (0, 100),
    }

    engine: AnalogyEngine = "neural"
    """neural: match features of the encoder. classic: Hertzmann 2001, pixel by pixel; for filters, not for paintings."""

    size: int = 512
    """Longer side of the result in pixels, at least 32. A smaller B keeps its size."""

    analogy_weight: float = 2.0
    """neural only. Weight of the match between B and A relative to the look of A', 0 to 100."""

    coherence: float = 0.05
    """neural only. Preference for copying connected pieces of A', 0 (none) to 1."""

    kappa: float = 2.0
    """classic only. Preference for copying connected pieces of A', 0 to 100 (κ in the paper)."""

    colors: bool = False
    """classic only. Learn colors too. Default: learn lightness, and keep the colors of B."""

    transfer: AnalogyTransfer = "linear"
    """classic only. copy: copy pixels of A', as in the paper. linear: also correct them with a linear model of the filter."""

    def __post_init__(self) -> None:
        """Check every value."""
        check_values(self)


@dataclass(frozen=True, kw_only=True)
class TextureOptions:
    """Options of :func:`impasto.texture`: make a picture of any size from pieces of one or several pictures.

    Raises:
        OptionError: a value has the wrong type or is not allowed.

    Example:
        >>> import impasto
        >>> impasto.TextureOptions(size="96x64").height_width
        (64, 96)
    """

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "style_scale": (0.1, 4),
        "variety": (0, 10),
        "coherence": (0, 1),
    }

    size: str = "512x512"
    """WIDTHxHEIGHT of the result in pixels, such as 1024x512, or one number for a square."""

    tileable: bool = False
    """Make a picture that can be repeated without seams. Width and height must be multiples of 8."""

    expand: bool = False
    """Keep the picture in the middle, and extend it on all sides."""

    style_scale: float = 1.0
    """Scale of the picture in the result, 0.1 to 4."""

    variety: float = 1.0
    """How evenly the picture is used, 0 to 10. 0: its parts may repeat any number of times."""

    coherence: float = 0.05
    """Preference for copying connected pieces of the picture, 0 (none) to 1."""

    def __post_init__(self) -> None:
        """Check every value."""
        check_values(self)
        height, width = self.height_width
        for side in (height, width):
            if not 32 <= side <= 20_000:
                raise OptionError(f"--size {self.size!r} has a side of {side} pixels; give 32 to 20000, such as 1024x1024")
        if self.tileable and (height % 8 or width % 8):
            nearest = "x".join(str(max(32, round(side / 8) * 8)) for side in (width, height))
            raise OptionError(f"--size {self.size!r} cannot be tiled; both sides must be multiples of 8, such as {nearest}")
        if self.tileable and self.expand:
            raise OptionError("--tileable and --expand cannot be used together; omit one of them")

    @property
    def height_width(self) -> tuple[int, int]:
        """The size as (height, width)."""
        found = _SIZE.fullmatch(self.size.strip().lower())
        if not found:
            raise OptionError(f"--size {self.size!r} is not a size; give WIDTHxHEIGHT in pixels, such as 1024x1024")
        return int(found[2] or found[1]), int(found[1])

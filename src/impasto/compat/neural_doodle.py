"""The command line of alexjc's neural-doodle: its flags, and how they map to impasto's options.

This module follows the README of neural-doodle, and does not import torch. The text below each field is its ``--help`` text.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from impasto.errors import OptionError
from impasto.options import Device, Precision, Run
from impasto.options.fields import check_range, check_values, no_effect_note
from impasto.options.guided import MOST_LABELS, DoodleOptions, TextureOptions

_SEMANTIC, _CONTENT, _STYLE = 10.0, 10.0, 25.0
"""Default weights of neural-doodle. They are converted to the default weights of impasto."""
_MOST_VARIETY = 9.0
_NO_EFFECT = {
    "phases": "the size determines the phases",
    "iterations": "the size determines the iterations",
    "content_layers": "the layers are fixed",
    "style_layers": "the layers are fixed",
    "smoothness": "pieces are copied, so no noise has to be smoothed",
    "seed_range": "painting does not start from noise",
    "print_every": "progress is always shown",
    "save_every": "use --preview or --gif",
    "safe_mode": "not needed",
    "resolution": "use --output-size",
}
"""Flags that are accepted but have no effect, with the reasons."""


@dataclass(frozen=True, kw_only=True)
class NeuralDoodleOptions:
    """The flags of neural-doodle, with the same names, and a few of impasto's."""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "semantic_weight": (0, 100 * _SEMANTIC),
        "content_weight": (0, 1e9),
        "style_weight": (0, 1e9),
        "variety": (0, _MOST_VARIETY),
        "threads": (0, 4096),
    }

    output_size: str = ""
    """WIDTHxHEIGHT of the result in pixels, such as 512x512. Default: the size of --content, or else of the map."""

    semantic_weight: float = _SEMANTIC
    """Weight of the maps, 0 to 1000; 10 equals --semantic-weight 1 of impasto doodle."""

    content_weight: float = _CONTENT
    """Weight of --content relative to --style-weight, 0 or more."""

    style_weight: float = _STYLE
    """Weight of the style relative to --content-weight, 0 or more."""

    variety: float = 0.0
    """How evenly the style is used, 0 to 9; the equivalent --variety of impasto doodle is 1 higher."""

    seed: str = "noise"
    """A number is the seed of the random generators. The words noise and content have no effect: painting starts from --content
    if it is given."""

    device: str = "cpu"
    """cpu, gpu0 or gpu; also auto, cuda or mps."""

    phases: int = 3
    """No effect."""

    iterations: int = 100
    """No effect."""

    content_layers: str = "4_2"
    """No effect."""

    style_layers: str = "3_1,4_1"
    """No effect."""

    smoothness: float = 1.0
    """No effect."""

    seed_range: str = "16:240"
    """No effect."""

    print_every: int = 10
    """No effect."""

    save_every: int = 10
    """No effect; use --preview or --gif."""

    resolution: str = ""
    """No effect; use --output-size."""

    safe_mode: bool = False
    """No effect."""

    labels: int = 0
    """Added by impasto. Number of colors in the maps, 2 to 16. 0: count them."""

    threads: int = 0
    """Added by impasto. Number of CPU threads. 0: one per core."""

    precision: Precision = "auto"
    """Added by impasto. auto, fp32 or bf16."""

    def __post_init__(self) -> None:
        """Check every value that has an effect."""
        check_values(self)
        if self.seed.removeprefix("-").isdecimal():
            check_range("seed", int(self.seed), *Run.ranges["seed"])
        if self.labels:
            check_range("labels", self.labels, 2, MOST_LABELS)
        if self.content_weight == self.style_weight == 0:
            raise OptionError("--content-weight and --style-weight are both 0; one of them must be above 0")

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of the result; None if not given."""
        return TextureOptions(size=self.output_size).height_width if self.output_size else None

    def doodle_options(self, edge_px: int) -> DoodleOptions:
        """Return the options of a doodle whose longer side has a given length."""
        content, style = self.content_weight / _CONTENT, self.style_weight / _STYLE
        return DoodleOptions(
            size=edge_px,
            semantic_weight=self.semantic_weight / _SEMANTIC,
            content_weight=content / (content + style),
            variety=1 + self.variety,
            labels=self.labels,
        )

    def texture_options(self, size: tuple[int, int]) -> TextureOptions:
        """Return the options of a texture with the given size (height, width)."""
        return TextureOptions(size=f"{size[1]}x{size[0]}", variety=1 + self.variety)

    def run(self) -> Run:
        """Return the device, the precision and the seed.

        Example:
            >>> NeuralDoodleOptions(device="gpu0", seed="7").run()
            Run(device='cuda', precision='auto', seed=7, threads=0, max_memory=0.0)
        """
        seed = int(self.seed) if self.seed.isdecimal() else 0
        return Run(device=_device(self.device), precision=self.precision, seed=seed, threads=self.threads)


def _device(name: str) -> Device:
    """Translate the name of a device; Theano calls the first GPU gpu0."""
    if re.fullmatch(r"gpu0?|cuda0?", name):
        return "cuda"
    found: dict[str, Device] = {"auto": "auto", "cpu": "cpu", "mps": "mps"}
    if name not in found:
        raise OptionError(f"--device {name!r} is not available; give cpu or gpu0, or auto, cuda or mps")
    return found[name]


# ---------------------------------------------------------------------------------------------------- maps


@dataclass(frozen=True)
class FoundMaps:
    """The maps found by name: either both or none.

    Attributes:
        style: map of the style.
        target: map of the result.
        note: if no maps were found, the names of the files that were looked for.
    """

    style: Path | None = None
    target: Path | None = None
    note: str = ""


def map_beside(picture: str | Path) -> Path:
    """Return the path of the map of a picture.

    Example:
        >>> map_beside("samples/Monet.jpg").name
        'Monet_sem.png'
    """
    return Path(picture).with_name(f"{Path(picture).stem}_sem.png")


def found_maps(style: str, content: str | None, output: Path | None) -> FoundMaps:
    """Find the map of the style and the map of the result.

    The first is next to the style picture, the second is next to the content or else next to the output.

    Args:
        style: the style picture.
        content: the photo, or None.
        output: the file of the result; None: standard output.

    Raises:
        OptionError: only one of the two maps exists; the message names the other.
    """
    style_map = map_beside(style)
    targets = [map_beside(each) for each in (content, output) if each is not None]
    target = next((each for each in targets if each.is_file()), None)
    wanted = " or ".join(f"'{each}'" for each in dict.fromkeys(targets))
    if style_map.is_file() and target:
        return FoundMaps(style_map, target)
    if target:
        raise OptionError(
            f"the map of the style, '{style_map}', was not found, but '{target}' was; draft it with: impasto doodle '{style}' "
            f"--suggest-map -o '{style_map}'"
        )
    if style_map.is_file():
        raise OptionError(
            f"the map of the result ({wanted or 'a file next to --content'}) was not found, but '{style_map}' was; draw the "
            f"map of the result in the colors of '{style_map}'"
        )
    what = "the style is applied without maps" if content else "a texture of the style is made"
    looked_for = ", ".join(f"'{each}'" for each in dict.fromkeys((style_map, *targets)))
    return FoundMaps(note=f"no maps were found ({looked_for}), so {what}")


# ---------------------------------------------------------------------------------------------------- notes


def ignored_note(given: Mapping[str, Any], *, has_content: bool, has_maps: bool) -> str:
    """Return the given flags that have no effect, with the reasons; an empty string if all have an effect.

    Example:
        >>> ignored_note({"iterations": 40, "variety": 0.5}, has_content=False, has_maps=True)
        'options without effect: --iterations (the size determines the iterations)'
    """
    reasons = dict(_NO_EFFECT)
    if not has_content:
        reasons |= dict.fromkeys(("content_weight", "style_weight"), "there is no --content")
    if not has_maps:
        reasons |= dict.fromkeys(("semantic_weight", "labels"), "there are no maps")
    if why := _seed_reason(str(given.get("seed", "0")), has_content=has_content):
        reasons["seed"] = why
    return no_effect_note(given, reasons)


def _seed_reason(seed: str, *, has_content: bool) -> str:
    """Return why ``--seed`` has no effect.

    If the seed is a number, or a word that matches how painting starts, return an empty string.
    """
    if seed.isdecimal() or seed == ("content" if has_content else "noise"):
        return ""
    if has_content:
        return "painting starts from --content"
    return "there is no --content" if seed == "content" else "no starting picture is used; a number sets the random seed"


def stretched_note(name: str, before: tuple[int, int], after: tuple[int, int]) -> str:
    """Return a note if a picture has to be stretched from one size (height, width) to another; else an empty string."""
    if math.isclose(before[0] / before[1], after[0] / after[1], rel_tol=0.02):
        return ""
    return f"{name!r} was stretched from {before[1]}x{before[0]} to {after[1]}x{after[0]} pixels"

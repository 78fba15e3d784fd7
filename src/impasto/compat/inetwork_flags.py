"""The flags of titu1994's INetwork.py, with the same names and defaults. There is no torch import, so ``--help`` is fast.

The text below each field is its ``--help`` text. :mod:`impasto.compat.inetwork` converts the flags to impasto's options.
"""

import math
import os
import re
from dataclasses import dataclass
from typing import Literal, get_args

from impasto.errors import OptionError, nearest_name

Truth = Literal["True", "False"]
"""A boolean as text, the form that INetwork uses."""

Model = Literal["vgg16", "vgg19", "vgg19-slim"]
ContentLossType = Literal[0, 1, 2]
RescaleMethod = Literal["bilinear", "bicubic", "nearest"]
PoolType = Literal["max", "ave"]

STARTS = ("content", "noise", "gray")

_WORDS = ("auto:", "gradient:", "not:")
_TRUE, _FALSE = ("true", "yes", "t", "1"), ("false", "no", "f", "0")
_DEEPEST = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4), "vgg19-slim": (2, 2, 4, 4, 4)}
_RANGES: dict[str, tuple[float, float]] = {
    "image_size": (32, 100_000),
    "content_weight": (0, 1e15),
    "style_scale": (0, 1e15),
    "total_variation_weight": (0, 1e9),
    "num_iter": (1, 1_000_000),
    "min_improvement": (0, 100),
}


@dataclass(frozen=True, kw_only=True)
class InetworkOptions:
    """The options of INetwork.py, with the same names and defaults."""

    image_size: int = 400
    """Height of the painting in pixels, at least 32; the width follows from the photo's aspect ratio."""

    content_weight: float = 0.025
    """Weight of the content loss, 0 or more."""

    style_weight: tuple[float, ...] = (1.0,)
    """Weight of each style, 0 or more, such as 1.0 0.5; if there are more or fewer weights than styles, the sum of the
    weights is divided equally among the styles."""

    style_scale: float = 1.0
    """Factor for all style weights, 0 or more; unlike --style-scale of impasto paint, it does not resize the styles."""

    total_variation_weight: float = 8.5e-5
    """Weight of the total variation, 0 or more; higher values give smoother results."""

    num_iter: int = 10
    """Number of iterations; each runs 20 L-BFGS evaluations and writes a picture."""

    model: Model = "vgg16"
    """Feature extractor; if its weights are not on this machine, vgg19-slim is used instead."""

    content_loss_type: ContentLossType = 0
    """What the content loss is divided by. 0: nothing; 1: 2√(channels · pixels); 2: channels · pixels."""

    rescale_image: Truth = "False"
    """Enlarge the result to the size of the photo."""

    rescale_method: RescaleMethod = "bilinear"
    """Interpolation for resizing the result: bilinear, bicubic or nearest."""

    maintain_aspect_ratio: Truth = "True"
    """False: paint a square; the saved result is resized to the photo's aspect ratio."""

    content_layer: str = "conv5_2"
    """Convolution for the content loss; features are compared after the ReLU that follows this convolution."""

    init_image: str = "content"
    """Initial picture: content, noise, gray (which also makes the content gray), or a picture file."""

    pool_type: PoolType = "max"
    """Pooling of the network: max or ave."""

    preserve_color: Truth = "False"
    """Keep the photo's colors; only the lightness is painted."""

    min_improvement: float = 0.0
    """Stop when an iteration improves the loss by less than this percentage, 0 (never) to 100."""

    style_masks: tuple[str, ...] = ()
    """One mask per style, in the same order; a style is applied where its mask is white. A file, or a name such as auto:sky."""

    content_mask: str = ""
    """Mask of the area to paint (white); elsewhere the photo is kept."""

    color_mask: str = ""
    """With --preserve_color True: keep the photo's colors where this mask is white. A file, or a name such as auto:skin."""

    def __post_init__(self) -> None:
        """Check all values; raise OptionError for the first one that is not allowed."""
        for name, (low, high) in _RANGES.items():
            check_number(name, getattr(self, name), low, high)
        if not self.style_weight:
            raise OptionError("--style_weight is empty; give one number per style, such as --style_weight 1.0 0.5")
        for weight in self.style_weight:
            check_number("style_weight", weight, 0, 1e15)
        layers = layers_of(self.model)
        if self.content_layer not in layers:
            near = nearest_name(self.content_layer, layers)
            raise OptionError(f"--content_layer {self.content_layer!r} is not in {self.model}{near}")
        if self.init_image not in STARTS and not os.path.isfile(self.init_image):
            near = nearest_name(self.init_image, STARTS)
            raise OptionError(f"--init_image {self.init_image!r} is neither a known init nor a picture file{near}")
        for name, masks in (("content_mask", (self.content_mask,)), ("style_masks", self.style_masks)):
            for mask in filter(None, masks):
                check_mask(name, mask)
        if self.color_mask:
            check_mask("color_mask", self.color_mask)

    @property
    def keeps_colors(self) -> bool:
        """Whether the photo's colors are kept."""
        return self.preserve_color == "True"


def layers_of(model: str) -> tuple[str, ...]:
    """Return the names of a model's convolutions, from ``"conv1_1"`` on."""
    blocks = enumerate(_DEEPEST[model], start=1)
    return tuple(f"conv{block}_{index}" for block, count in blocks for index in range(1, count + 1))


def check_number(name: str, value: float, low: float, high: float) -> None:
    """Raise OptionError unless ``low <= value <= high`` and the value is finite."""
    if not (low <= value <= high and math.isfinite(value)):
        raise OptionError(f"--{name} is {value!r}; it must be a number from {low:g} to {high:g}")


def check_mask(name: str, path: str) -> None:
    """Raise OptionError unless a mask is a file or one of impasto's mask names."""
    if not os.path.isfile(path) and not path.startswith(_WORDS):
        raise OptionError(
            f"--{name} {path!r} is not a file; give a picture, white where the mask applies, or a name such as auto:sky"
        )


def as_truth(name: str, word: str) -> Truth:
    """Parse a boolean as INetwork does; raise OptionError if the word is not a boolean.

    Example:
        >>> as_truth("preserve_color", "yes")
        'True'
    """
    if word.lower() not in (*_TRUE, *_FALSE):
        raise OptionError(f"--{name} is {word!r}; give True or False")
    return "True" if word.lower() in _TRUE else "False"


def as_choice(name: str, word: str, choices: object) -> str:
    """Return the word if it is one of the choices; raise OptionError otherwise."""
    allowed = [str(each) for each in get_args(choices)]
    if word not in allowed:
        raise OptionError(f"--{name} {word!r} is not known; use one of {', '.join(allowed)}")
    return word


def as_number(name: str, word: str, *, whole: bool = False) -> float:
    """Parse a number; raise OptionError if that fails."""
    try:
        return int(word) if whole else float(word)
    except ValueError:
        wanted = "a whole number" if whole else "a number"
        raise OptionError(f"--{name} is {word!r}; it must be {wanted}") from None


def as_numbers(name: str, words: list[str]) -> tuple[float, ...]:
    """Parse numbers from one or more arguments; spaces and commas separate numbers within an argument."""
    return tuple(as_number(name, word) for words_ in words for word in re.split(r"[\s,]+", words_.strip()) if word)

"""The flags of titu1994's INetwork.py under their own names, with its defaults; no torch, so that ``--help`` is instant.

The text under each field is the ``--help`` text. What a flag comes to in the painter's options is said in
:mod:`impasto.compat.inetwork`.
"""

import math
import os
import re
from dataclasses import dataclass
from typing import Literal, get_args

from impasto.errors import OptionError, nearest_name

Truth = Literal["True", "False"]
"""A yes or no as INetwork takes it: text."""

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
    """What INetwork.py can be told, under its own names and with its own defaults."""

    image_size: int = 400
    """Height of the painting in pixels, at least 32; the width follows the photo."""

    content_weight: float = 0.025
    """Weight of the content loss, 0 or more."""

    style_weight: tuple[float, ...] = (1.0,)
    """Weight of each style, 0 or more, such as 1.0 0.5; of another count than the styles: the sum is shared equally."""

    style_scale: float = 1.0
    """Multiplies the style weights, 0 or more; not a size, as --style-scale of impasto paint is."""

    total_variation_weight: float = 8.5e-5
    """Weight of total variation, 0 or more; larger is smoother."""

    num_iter: int = 10
    """Iterations of 20 L-BFGS evaluations, each of which leaves a picture."""

    model: Model = "vgg16"
    """The network that looks; where its weights are not on this machine, vgg19-slim takes its place."""

    content_loss_type: ContentLossType = 0
    """Division of the content loss: 0 none, 1 by 2√(channels · pixels), 2 by channels · pixels."""

    rescale_image: Truth = "False"
    """Enlarge the result to the size of the photo."""

    rescale_method: RescaleMethod = "bilinear"
    """How the result is resized, where it is: bilinear, bicubic or nearest."""

    maintain_aspect_ratio: Truth = "True"
    """False: paint a square; what is saved has the photo's proportions again."""

    content_layer: str = "conv5_2"
    """The layer at which the content is compared, after its ReLU."""

    init_image: str = "content"
    """Where painting starts: content, noise, gray (which makes the content gray too), or a picture file."""

    pool_type: PoolType = "max"
    """How the network halves its features: max or ave."""

    preserve_color: Truth = "False"
    """Keep the photo's colors; only light is painted."""

    min_improvement: float = 0.0
    """Stop when an iteration improved the loss by less than this many percent, 0 (never) to 100."""

    style_masks: tuple[str, ...] = ()
    """A mask for each style, in their order, over the photo: a style is used where its mask is white; a file, or auto:sky."""

    content_mask: str = ""
    """A mask over the photo: only where it is white any style is used, the rest stays the photo."""

    color_mask: str = ""
    """With --preserve_color True: the photo's colors are kept where this mask is white; a file, or auto:skin."""

    def __post_init__(self) -> None:
        """Check every value; raise OptionError with one sentence on the first that is not allowed."""
        for name, (low, high) in _RANGES.items():
            check_number(name, getattr(self, name), low, high)
        if not self.style_weight:
            raise OptionError("--style_weight is empty; give a number for each style, such as --style_weight 1.0 0.5")
        for weight in self.style_weight:
            check_number("style_weight", weight, 0, 1e15)
        layers = layers_of(self.model)
        if self.content_layer not in layers:
            near = nearest_name(self.content_layer, layers)
            raise OptionError(f"--content_layer {self.content_layer!r} is not in {self.model}{near}")
        if self.init_image not in STARTS and not os.path.isfile(self.init_image):
            near = nearest_name(self.init_image, STARTS)
            raise OptionError(f"--init_image {self.init_image!r} is neither a way to start nor a picture file{near}")
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
    """Name the convolutions of a model, ``"conv1_1"`` and on."""
    blocks = enumerate(_DEEPEST[model], start=1)
    return tuple(f"conv{block}_{index}" for block, count in blocks for index in range(1, count + 1))


def check_number(name: str, value: float, low: float, high: float) -> None:
    """Raise OptionError unless ``low <= value <= high`` (which NaN is not)."""
    if not (low <= value <= high and math.isfinite(value)):
        raise OptionError(f"--{name} is {value!r}; it must be a number from {low:g} to {high:g}")


def check_mask(name: str, path: str) -> None:
    """Raise OptionError unless a mask is a file, or one of impasto's words for a mask."""
    if not os.path.isfile(path) and not path.startswith(_WORDS):
        raise OptionError(f"--{name} {path!r} is no file; give a picture, white where it holds, or a name such as auto:sky")


def as_truth(name: str, word: str) -> Truth:
    """Read a yes or no as INetwork does, and refuse what is neither.

    Example:
        >>> as_truth("preserve_color", "yes")
        'True'
    """
    if word.lower() not in (*_TRUE, *_FALSE):
        raise OptionError(f"--{name} is {word!r}; give True or False")
    return "True" if word.lower() in _TRUE else "False"


def as_choice(name: str, word: str, choices: object) -> str:
    """Read one of a few words, and refuse any other."""
    allowed = [str(each) for each in get_args(choices)]
    if word not in allowed:
        raise OptionError(f"--{name} {word!r} is not known; allowed are {', '.join(allowed)}")
    return word


def as_number(name: str, word: str, *, whole: bool = False) -> float:
    """Read a number, and refuse what is none."""
    try:
        return int(word) if whole else float(word)
    except ValueError:
        wanted = "a whole number" if whole else "a number"
        raise OptionError(f"--{name} is {word!r}; it must be {wanted}") from None


def as_numbers(name: str, words: list[str]) -> tuple[float, ...]:
    """Read numbers from several words, or from one with spaces or commas between them."""
    return tuple(as_number(name, word) for words_ in words for word in re.split(r"[\s,]+", words_.strip()) if word)

"""The methods of a batch: their options, given as values or as text, and the hashes of their weights."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from impasto.errors import OptionError, nearest_name
from impasto.networks.brush_files import brush_path
from impasto.networks.decoder_files import shipped_decoder
from impasto.options import InstantOptions, PaintOptions
from impasto.options.brush import BrushOptions
from impasto.options.fields import dashed
from impasto.recipes.brush import brush_options
from impasto.recipes.instant import instant_options
from impasto.recipes.presets import check_recipe, paint_options
from impasto.weights import SHIPPED, find
from impasto.weights.files import sha256_of

Method = Literal["instant", "paint", "brush"]
BatchOptions = InstantOptions | PaintOptions | BrushOptions

OPTIONS: dict[Method, type] = {"instant": InstantOptions, "paint": PaintOptions, "brush": BrushOptions}
"""The dataclass of the options of each method."""
_MAKERS: dict[Method, Callable[..., BatchOptions]] = {
    "instant": instant_options,
    "paint": paint_options,
    "brush": brush_options,
}
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")
_KINDS = {int: "a whole number", float: "a number"}


def options_for(method: Method, given: Mapping[str, Any]) -> BatchOptions:
    """Create the options of a method.

    Raises:
        OptionError: an unknown name, or a value that is not allowed.
    """
    for name in given:
        check_name(method, name)
    options = _MAKERS[method](**given)
    if isinstance(options, PaintOptions):
        check_recipe(options)
    return options


def check_name(method: Method, name: str) -> None:
    """Check that a method has an option.

    Raises:
        OptionError: the method has no option of this name.

    Example:
        >>> check_name("brush", "sise")
        Traceback (most recent call last):
        impasto.errors.OptionError: 'sise' is not an option of --method brush; did you mean 'size'?
    """
    names = [each.name for each in dataclasses.fields(OPTIONS[method])]
    if name not in names:
        raise OptionError(f"{name!r} is not an option of --method {method}{nearest_name(name, names)}")


def parsed(method: Method, name: str, text: str) -> Any:
    """Read the value of an option from text.

    Raises:
        OptionError: the method has no such option, or the text is not of its type.

    Example:
        >>> parsed("instant", "size", "512"), parsed("instant", "fast", "yes"), parsed("paint", "betas", "0.9, 0.99")
        (512, True, (0.9, 0.99))
    """
    check_name(method, name)
    return _value(name, text, get_type_hints(OPTIONS[method])[name])


def _value(name: str, text: str, hint: Any) -> Any:
    if get_origin(hint) is tuple:
        return tuple(_value(name, part.strip(), get_args(hint)[0]) for part in text.split(",") if part.strip())
    if hint is bool:
        if text.lower() not in (*_TRUE, *_FALSE):
            raise OptionError(f"{dashed(name)} is {text!r}; it must be true or false")
        return text.lower() in _TRUE
    if hint in _KINDS:
        try:
            return hint(text)
        except ValueError:
            raise OptionError(f"{dashed(name)} is {text!r}; it must be {_KINDS[hint]}") from None
    return text


def weights_of(method: Method, style: str, options: BatchOptions) -> dict[str, str]:
    """Return the hashes of the weights that paint an item, by name.

    Raises:
        WeightsError: the weights are not on this machine.
        OptionError: there is no encoder of this name.
    """
    if method == "brush":
        return {"brush": sha256_of(brush_path(style))}
    if isinstance(options, PaintOptions):
        encoder = options.encoder
        is_file = encoder != SHIPPED and os.path.isfile(encoder)
        return {"encoder": sha256_of(Path(encoder) if is_file else find(encoder))}
    return {"encoder": sha256_of(find(SHIPPED)), "decoder": sha256_of(shipped_decoder())}

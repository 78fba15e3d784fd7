"""Conversion of the dataclasses of :mod:`impasto.options` to form controls, and of form values to options."""

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from impasto.errors import OptionError, nearest_name
from impasto.options import (
    INITS,
    InstantOptions,
    PaintOptions,
    ReportOptions,
    Run,
    TuneOptions,
    by_present_names,
    ranges_of,
    tier_by_name,
)
from impasto.options.brush import BrushOptions, BrushTrainingOptions
from impasto.options.fields import field_texts
from impasto.options.guided import DoodleOptions
from impasto.options.tiers import BASICS
from impasto.options.video import VideoOptions
from impasto.recipes.presets import PRESETS, QUALITIES, RECIPE_IGNORES, RECIPES, check_recipe, paint_options

Lane = Literal["quick", "slow", "training", "video"]
Options = (
    BrushOptions
    | BrushTrainingOptions
    | DoodleOptions
    | InstantOptions
    | PaintOptions
    | ReportOptions
    | TuneOptions
    | VideoOptions
)

ENCODERS = ("vgg19-slim", "vgg19", "vgg16")
_LAYERS = tuple(
    f"{kind}{block}_{index + 1}"
    for block, count in enumerate((2, 2, 4, 4, 4), 1)
    for index in range(count)
    for kind in ("conv", "relu")
)
_ZERO_MEANS_SOMETHING = ("size",)
_FLAG = re.compile(r"--([a-z][a-z-]*)")
_UNKNOWN = re.compile(r"'([a-z_]+)' is not an option")
_COMMAND = re.compile(r"('impasto [^']*')")
_BEGINNINGS = (
    (r"preset ", "preset"),
    (r"encoder |vgg\S* (is not on this machine|could not be fetched)", "encoder"),
    (r"style layer ", "style_layers"),
    (r"content layer ", "content_layers"),
    (r"map ", "map"),
    (r"content ", "content"),
    (r"style ", "styles"),
    (r"'auto:", "masks"),
)
"""Pairs (pattern, field): an error message that names no flag but starts with the pattern belongs to the field."""


@dataclass(frozen=True)
class Kind:
    """A kind of job.

    Attributes:
        options: Dataclass of its options.
        lane: The lane that runs it: "quick" for jobs that take seconds, "slow" for paintings, "training" for training brushes,
            "video" for clips.
        hidden: Options that requests must not set, because they name a file or are fixed for this kind of job.
    """

    options: type[Options]
    lane: Lane
    hidden: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {
    "instant": Kind(InstantOptions, "quick", ("hq", "refine", "refine_seconds", "color_mask", "color_proof")),
    "paint": Kind(PaintOptions, "slow", ("color_mask", "color_proof")),
    "refine": Kind(InstantOptions, "slow", ("refine", "color_mask", "color_proof")),
    "doodle": Kind(DoodleOptions, "slow"),
    "apply": Kind(BrushOptions, "quick"),
    "brush": Kind(BrushTrainingOptions, "training", ("steps",)),
    "report": Kind(ReportOptions, "quick"),
    "tune": Kind(TuneOptions, "slow"),
    "video": Kind(VideoOptions, "video"),
}
"""Every kind of job. A new kind needs a line here and a function in ``orders.DOES``."""


SHEETS = ("report", "tune")
"""Kinds whose result is a sheet with metrics instead of a painted picture."""

NOT_PAINTED = (*SHEETS, "brush", "video")
"""Kinds whose result is not a painted photo. Such a result can be neither measured nor refined."""


def controls_of(options: type, hidden: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Describe each field of an option dataclass: name, kind, default, range, choices, help and group.

    The fields are in the order of ``--help-all``.
    """
    hints, texts, ranges = get_type_hints(options), field_texts(options), ranges_of(options)
    defaults = {field.name: field.default for field in dataclasses.fields(options)}
    found = []
    for name, group in tier_by_name(options).items():
        if name in hidden:
            continue
        low, high = ranges.get(name, (None, None))
        found.append(
            {
                "name": name,
                "kind": _kind_of(hints[name], name),
                "default": defaults[name],
                "minimum": low,
                "maximum": high,
                "zero": options in (BrushOptions, InstantOptions, TuneOptions, VideoOptions) and name in _ZERO_MEANS_SOMETHING,
                "choices": _choices(hints[name], name),
                "help": texts[name],
                "basic": group == BASICS,
                "group": group,
            }
        )
    return found


def recipes() -> dict[str, Any]:
    """Return the options of every kind of job, the options that all kinds share, and the methods and presets of the painter."""
    methods = {
        name: {
            "defaults": _differing(options, "recipe"),
            "ignored": [each for each in RECIPE_IGNORES[name] if each != "preset"],  # the preset itself sets the method
            "qualities": QUALITIES if "quality" not in RECIPE_IGNORES[name] else {},
        }
        for name, options in RECIPES.items()
    }
    return {
        "recipes": [{"kind": name, "fields": controls_of(kind.options, kind.hidden)} for name, kind in KINDS.items()],
        "run": controls_of(Run),
        "methods": methods,
        "presets": {name: _differing(preset, "preset") for name, preset in PRESETS.items()},
    }


def checked_options(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check the options of a job.

    Where the command line accepts a file, the studio allows only names, because a server must not open files that a request
    names.

    Returns:
        The given options under their current names.

    Raises:
        OptionError: An option is unknown or a value is not allowed.
    """
    known, given = KINDS[kind], by_present_names(given)
    names = [each.name for each in dataclasses.fields(known.options) if each.name not in known.hidden]
    for name in given:
        if name not in names:
            raise OptionError(f"{name!r} is not an option of kind {kind!r}{nearest_name(name, names)}")
    _check_no_file("init", given, INITS)
    _check_no_file("encoder", given, ENCODERS)
    if known.options is PaintOptions:
        rest = {name: value for name, value in given.items() if name != "preset"}
        preset = given.get("preset", "impasto")
        if not isinstance(preset, str):
            raise OptionError(f"--preset is {preset!r}; it must be text")
        check_recipe(paint_options(preset, **rest))
    else:
        known.options(**given)
    return dict(given)


def checked_run(given: Mapping[str, Any]) -> dict[str, Any]:
    """Check device, precision, seed and threads of a job.

    Raises:
        OptionError: An option is unknown or a value is not allowed.
    """
    names = [each.name for each in dataclasses.fields(Run)]
    for name in given:
        if name not in names:
            raise OptionError(f"{name!r} is not an option of 'run'{nearest_name(name, names)}")
    run = Run(**given)
    if run.threads > (os.cpu_count() or 1):
        raise OptionError(f"--threads is {run.threads}; it must be a number from 0 to {os.cpu_count() or 1}")
    return dict(given)


def in_words(error: Exception) -> tuple[str, str | None]:
    """Return the message of an error without command-line dashes, and the option that caused the error.

    Quoted commands, such as 'impasto weights import FILE --name vgg19', are not changed.

    Example:
        >>> in_words(OptionError("--style-scale is 9; it must be a number from 0.1 to 4"))
        ('style scale is 9; it must be a number from 0.1 to 4', 'style_scale')
    """
    text = " ".join(str(error).split())
    parts = _COMMAND.split(text)
    message = "".join(part if _COMMAND.fullmatch(part) else _FLAG.sub(lambda found: _spaced(found[1]), part) for part in parts)
    flag = _FLAG.search(_COMMAND.sub("", text))
    if flag or (flag := _UNKNOWN.match(text)):
        field: str | None = flag[1].replace("-", "_")
    else:
        field = next((name for beginning, name in _BEGINNINGS if re.match(beginning, text)), None)
    return message, "masks" if field == "style_mask" else field


def _spaced(flag: str) -> str:
    return flag.replace("-", " ")


def _check_no_file(name: str, given: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
    value = given.get(name, allowed[0])
    if value not in allowed:
        raise OptionError(f"--{name} {value!r} is not known{nearest_name(str(value), allowed)}")


def _kind_of(hint: Any, name: str) -> str:
    if get_origin(hint) is Literal or name in ("init", "encoder", "preset"):
        return "choice"
    if get_origin(hint) is tuple:
        return {int: "integers", float: "numbers", str: "texts"}[get_args(hint)[0]]
    return {int: "integer", float: "number", bool: "boolean", str: "text"}[hint]


def _differing(options: PaintOptions, but: str) -> dict[str, Any]:
    """Return the options that differ from their defaults, except the option ``but``."""
    plain = dataclasses.asdict(PaintOptions())
    return {name: value for name, value in dataclasses.asdict(options).items() if name != but and value != plain[name]}


def _choices(hint: Any, name: str) -> list[str] | None:
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    if name.endswith("_layers"):
        return list(_LAYERS)
    named = {"init": INITS, "encoder": ENCODERS, "preset": tuple(PRESETS)}
    return list(named[name]) if name in named else None

"""Options as flags of the command line: made out of the dataclasses of :mod:`impasto.options`, so that each is declared once.

A flag that is not given must leave a preset's value alone, so a flag is its field with None for "not given".
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

from cyclopts import Group, Parameter, Token

from impasto.errors import OptionError
from impasto.options import InstantOptions, PaintOptions, Run, TuneOptions, by_present_names
from impasto.options.fields import field_texts

WRITTEN = Group("What is written", sort_key=1)
COMPUTED = Group("Where it is computed", sort_key=2)
PAINTED = Group("How it is painted", sort_key=3)
MASKED = Group("Where which style goes", sort_key=4)
"""The groups of flags that several commands have."""

_ALIASES = {"style_layers": "--layers", "edge_aware_weight": "--calm-weight"}


def as_flags(options: type) -> type:
    """Make a dataclass with the fields, types and texts of another, in which every field may be None: not given."""
    hints, texts = get_type_hints(options), field_texts(options)
    fields = [
        (each.name, Annotated[hints[each.name] | None, _flag(each, hints[each.name], texts[each.name])], None)
        for each in dataclasses.fields(options)
    ]
    made = dataclasses.make_dataclass(f"{options.__name__}Flags", fields, frozen=True, kw_only=True)
    made.__module__ = __name__  # where cyclopts looks its types up
    return made


def given(flags: Any) -> dict[str, Any]:
    """Return the options that were given, by name."""
    if flags is None:
        return {}
    values = {each.name: getattr(flags, each.name) for each in dataclasses.fields(flags)}
    return by_present_names({name: value for name, value in values.items() if value is not None})


def _flag(field: "dataclasses.Field[Any]", hint: Any, text: str) -> Parameter:
    shown = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else str(field.default)
    several = get_origin(hint) is tuple
    return Parameter(
        help=text,
        show_default=(lambda _: shown) if shown else False,
        alias=_ALIASES.get(field.name),
        converter=_split if several else None,
        n_tokens=1 if several else None,
        metavar="A,B,..." if several else None,
        negative_iterable=(),
        allow_leading_hyphen=several,
    )


def _split(hint: Any, tokens: Sequence[Token]) -> tuple[Any, ...]:
    """Read ``a,b`` as two values; where any number is allowed, the flag may also be repeated."""
    kinds = get_args(hint)
    words = [word.strip() for token in tokens for word in token.value.split(",") if word.strip()]
    if kinds[-1] is not Ellipsis and len(words) != len(kinds):
        raise ValueError(f"{tokens[0].value!r} is not {len(kinds)} values with a comma between them")
    return tuple(kinds[0](word) for word in words)


if TYPE_CHECKING:
    InstantFlags = InstantOptions
    PaintFlags = PaintOptions
    RunFlags = Run
    TuneFlags = TuneOptions
else:
    InstantFlags = as_flags(InstantOptions)
    PaintFlags = as_flags(PaintOptions)
    RunFlags = as_flags(Run)
    TuneFlags = as_flags(TuneOptions)


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where the result, and what goes with it, is written to."""

    output: Annotated[Path | None, Parameter(alias="-o")] = None
    """The painting; .png, .jpg, .webp, .tif, .avif or .bmp; - for standard output (PNG). By default CONTENT-STYLE.png."""

    preview: Path | None = None
    """A picture that is rewritten as painting goes on, at most once a second."""

    gif: Path | None = None
    """The painting being made, as an animation."""

    record: Path | None = None
    """A JSON file with how the result came about; most pictures carry the same inside."""

    bits: Literal[8, 16] = 8
    """Bits of a channel; 16 for PNG and TIFF."""

    quality: Annotated[int, Parameter(name="--file-quality")] = 95
    """Quality of JPEG, WebP and AVIF files, 1 to 100."""

    keep_gps: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """Write back where the photo was taken, if it says."""

    report: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """Measure the result, and print what impasto report prints; with --json among the record."""


@dataclass(frozen=True, kw_only=True)
class MaskFlags:
    """Where each style goes, and what stays the photo; a mask is a picture, or a name such as auto:sky or gradient:radial."""

    style_mask: Annotated[tuple[str, ...], Parameter(negative_iterable=(), show_default=False, metavar="MASK")] = ()
    """Where in the result a style goes: a picture, white for there, gradient:left-right, auto:sky, ...; one for each style."""

    style_region: Annotated[tuple[str, ...], Parameter(negative_iterable=(), show_default=False, metavar="MASK")] = ()
    """Which part of a style picture is looked at; once for each style, and all for the whole of one."""

    content_mask: Annotated[str | None, Parameter(metavar="MASK")] = None
    """Where in the result there is any style at all; the rest stays the photo."""

    protect: Annotated[tuple[str, ...], Parameter(negative_iterable=(), show_default=False, metavar="MASK")] = ()
    """What stays exactly as it is in the photo, with a soft edge around it: a picture, auto:skin, ...; may be repeated."""


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """What is said while painting."""

    json: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """Print the record, one line of JSON, and nothing else, on the standard output."""

    quiet: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """Say nothing but what is wrong."""


def with_output(words: tuple[str, ...], files: Files, command: str) -> Files:
    """Name the output after the content and the styles, where it was not named.

    Raises:
        OptionError: the content or the style is missing.
    """
    if len(words) < 2:
        missing = "the style is missing" if words else "content and style are missing"
        raise OptionError(f"{missing}: impasto {command} CONTENT STYLE, such as impasto {command} photo.jpg picture.jpg")
    if files.output is not None:
        return files
    from impasto.cli.names import default_output
    from impasto.cli.repeat import is_painted_from

    return dataclasses.replace(files, output=default_output(words, lambda path: is_painted_from(path, words)))

"""Command-line flags, made from the dataclasses of :mod:`impasto.options`. Each option is declared only there.

Every flag defaults to None, because a flag that is not given must not override a preset.
"""

import dataclasses
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

from cyclopts import Group, Parameter, Token

from impasto.errors import OptionError
from impasto.options import InstantOptions, PaintOptions, Run, TuneOptions, by_present_names, tier_by_name, tiers_of
from impasto.options.brush import BrushOptions, BrushTrainingOptions
from impasto.options.fields import field_texts
from impasto.options.guided import AnalogyOptions, DoodleOptions, TextureOptions
from impasto.options.video import VideoOptions

WRITTEN = Group("Output", sort_key=20)
MASKED = Group("Masks", sort_key=21)
COMPUTED = Group("Device, precision and seed", sort_key=22)
"""Help groups of the flags that several commands share."""

_TIERS = (*tiers_of(PaintOptions), TuneOptions.title, InstantOptions.title)
_GROUPS = {title: Group(title, sort_key=1 + number) for number, title in enumerate(_TIERS)} | {
    Run.title: Group(Run.title, sort_key=22)
}
"""Help groups of the options: one for each tier (see :mod:`impasto.options.tiers`), and one for the options of ``Run``."""

_WORDS: dict[Any, str] = {int: "INT", float: "FLOAT", str: "NAME"}
_OTHER_WORDS = {
    **dict.fromkeys(("color_mask", "content_mask", "style_mask", "style_region", "protect"), "MASK"),
    "color_proof": "PATH",
}
_ALIASES = {"style_layers": "--layers", "edge_aware_weight": "--calm-weight", "labels": "--nlabels"}


def as_flags(options: type, *, is_grouped: bool = True, without_default: Container[str] = ()) -> type:
    """Make a dataclass of flags with the fields, types and texts of a dataclass of options. A flag that is not given is None.

    Args:
        options: the dataclass of options.
        is_grouped: whether help groups the flags by tier; if false, help shows all of them in one group, and the command
            chooses this group.
        without_default: the names of the fields whose defaults help does not show.
    """
    hints, texts, tiers = get_type_hints(options), field_texts(options), tier_by_name(options)
    defaults = {each.name: each.default for each in dataclasses.fields(options)}
    fields = []
    for name, tier in tiers.items():
        default = "" if name in without_default else defaults[name]
        flag = _flag(name, hints[name], texts[name], default, _GROUPS[tier] if is_grouped else None)
        fields.append((name, Annotated[hints[name] | None, flag], None))
    made = dataclasses.make_dataclass(f"{options.__name__}Flags", fields, frozen=True, kw_only=True)
    made.__module__ = __name__  # cyclopts resolves the types in this module
    return made


def as_joint_flags(*kinds: type) -> type:
    """Make a dataclass of flags with the fields of several dataclasses of options, for a command with several methods.

    If a field is in several of them, help shows the text of the last one, and no default if the defaults differ.
    """
    defaults: dict[str, set[Any]] = {}
    for each in (each for kind in kinds for each in dataclasses.fields(kind)):
        defaults.setdefault(each.name, set()).add(each.default)
    varying = {name for name, values in defaults.items() if len(values) > 1}
    flags = (as_flags(kind, without_default=varying) for kind in kinds)
    fields = {each.name: each for kind in flags for each in dataclasses.fields(kind)}
    joint = [(name, each.type, None) for name, each in fields.items()]
    made = dataclasses.make_dataclass("JointFlags", joint, frozen=True, kw_only=True)
    made.__module__ = __name__
    return made


def given(flags: Any) -> dict[str, Any]:
    """Return the options that the user gave, by name. Former names are replaced with the current names."""
    if flags is None:
        return {}
    values = {each.name: getattr(flags, each.name) for each in dataclasses.fields(flags)}
    return by_present_names({name: value for name, value in values.items() if value is not None})


def _flag(name: str, hint: Any, text: str, default: Any, group: Group | None) -> Parameter:
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    several = get_origin(hint) is tuple
    own_group: dict[str, Any] = {"group": group} if group else {}  # group=None would remove the flag from the command's group
    return Parameter(
        help=text,
        **own_group,
        show_default=(lambda _: shown) if shown else False,
        alias=_ALIASES.get(name),
        converter=_split if several else None,
        n_tokens=1 if several else None,
        metavar=value_word(name, hint) or None,
        negative_iterable=(),
        allow_leading_hyphen=several,
    )


def value_word(name: str, hint: Any) -> str:
    """Return the word that help shows for the value of an option, or an empty string for a switch.

    The words are INT, FLOAT, NAME, CHOICE, MASK, PATH and WxH. For a list, ``,...`` follows the word.

    Example:
        >>> value_word("style_weights", tuple[float, ...])
        'FLOAT,...'
    """
    if name in _OTHER_WORDS:
        return _OTHER_WORDS[name]
    if name in ("size", "output_size") and hint is str:
        return "WxH"
    if get_origin(hint) is tuple:
        return f"{_WORDS[get_args(hint)[0]]},..."
    if hint is bool:
        return ""
    return "CHOICE" if get_origin(hint) is Literal else _WORDS[hint]


def _split(hint: Any, tokens: Sequence[Token]) -> tuple[Any, ...]:
    """Read ``a,b`` as two values. If the option allows any number of values, the flag may be repeated."""
    kinds = get_args(hint)
    words = [word.strip() for token in tokens for word in token.value.split(",") if word.strip()]
    if kinds[-1] is not Ellipsis and len(words) != len(kinds):
        raise ValueError(f"{tokens[0].value!r} is not {len(kinds)} values separated by commas")
    return tuple(kinds[0](word) for word in words)


if TYPE_CHECKING:
    AnalogyFlags = AnalogyOptions
    BatchFlags = PaintOptions
    BrushFlags = BrushOptions
    BrushTrainingFlags = BrushTrainingOptions
    DoodleFlags = DoodleOptions
    InstantFlags = InstantOptions
    PaintFlags = PaintOptions
    RunFlags = Run
    TextureFlags = TextureOptions
    UngroupedRunFlags = Run
    TuneFlags = TuneOptions
    VideoFlags = VideoOptions
else:
    AnalogyFlags = as_flags(AnalogyOptions)
    BatchFlags = as_joint_flags(BrushOptions, PaintOptions, InstantOptions)
    BrushFlags = as_flags(BrushOptions)
    BrushTrainingFlags = as_flags(BrushTrainingOptions)
    DoodleFlags = as_flags(DoodleOptions)
    InstantFlags = as_flags(InstantOptions)
    PaintFlags = as_flags(PaintOptions)
    RunFlags = as_flags(Run)
    TextureFlags = as_flags(TextureOptions)
    UngroupedRunFlags = as_flags(Run, is_grouped=False)
    TuneFlags = as_flags(TuneOptions)
    VideoFlags = as_flags(VideoOptions)


@dataclass(frozen=True, kw_only=True)
class Saving:
    """How pictures are saved."""

    output: Annotated[Path | None, Parameter(alias="-o")] = None
    """Output file."""

    record: Path | None = None
    """JSON file with all options, inputs and losses. Most picture formats also store this record inside the picture."""

    bits: Literal[8, 16] = 8
    """Bits per channel. 16 needs PNG or TIFF."""

    quality: Annotated[int, Parameter(name="--file-quality")] = 95
    """Quality of JPEG, WebP and AVIF files, 1 to 100."""

    keep_gps: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """Keep the GPS position from the photo's metadata."""


@dataclass(frozen=True, kw_only=True)
class Files(Saving):
    """Output files."""

    output: Annotated[Path | None, Parameter(alias="-o")] = None
    """Output file (.png, .jpg, .webp, .tif, .avif, .bmp), or - for standard output; default: CONTENT-STYLE.png."""

    preview: Path | None = None
    """Picture file that is updated while painting, at most once per second."""

    gif: Path | None = None
    """Animated GIF of the painting process."""

    report: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """Measure the result and print the figures of "impasto report"; with --json, add them to the record."""


@dataclass(frozen=True, kw_only=True)
class AppliedFiles(Saving):
    """Output files of a command that paints one or several photos."""

    output: Annotated[Path | None, Parameter(alias="-o")] = None
    """Output folder, which is created; for one photo, a file or - for standard output also works; default: PHOTO-BRUSH.png."""


@dataclass(frozen=True, kw_only=True)
class MaskFlags:
    """Masks: pictures, or names such as auto:sky or gradient:radial."""

    style_mask: Annotated[tuple[str, ...], Parameter(negative_iterable=(), show_default=False, metavar="MASK")] = ()
    """Area for a style (one mask per style): a picture, auto:subject, auto:background, auto:sky and others."""

    style_region: Annotated[tuple[str, ...], Parameter(negative_iterable=(), show_default=False, metavar="MASK")] = ()
    """Part of a style picture to use. Repeat the option once per style; "all" uses the whole picture."""

    content_mask: Annotated[str | None, Parameter(metavar="MASK")] = None
    """Mask of the area to stylize. The rest is left unchanged."""

    protect: Annotated[tuple[str, ...], Parameter(negative_iterable=(), show_default=False, metavar="MASK")] = ()
    """Mask of an area to leave unchanged: a picture, auto:skin and others. May be repeated."""


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Messages."""

    json: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """Print only the record to standard output, as one line of JSON."""

    quiet: Annotated[bool, Parameter(alias="-q", negative="", show_default=False)] = False
    """Print errors only."""


def with_output(words: tuple[str, ...], files: Files, command: str) -> Files:
    """Name the output after the content and the styles if no output was given.

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

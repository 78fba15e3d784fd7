"""The short ``--help`` of ``paint`` and ``instant``, with common options and examples. ``--help-all`` shows all options."""

import dataclasses
import textwrap
from dataclasses import dataclass
from typing import get_type_hints

from impasto.cli.flags import Files, MaskFlags, value_word
from impasto.options import InstantOptions, PaintOptions, Run, tiers_of
from impasto.options.fields import dashed, field_texts
from impasto.options.tiers import BASICS

_WIDTH, _COLUMN = 79, 28


@dataclass(frozen=True)
class _Command:
    """Content of the help of a command.

    Attributes:
        summary: what the command does.
        options: the dataclass of its options.
        examples: example command lines.
    """

    summary: str
    options: type
    examples: tuple[str, ...]


_COMMANDS = {
    "paint": _Command(
        "Paint a photo in the style of one or several pictures.",
        PaintOptions,
        (
            "impasto paint photo.jpg starry-night",
            "impasto paint photo.jpg painting.jpg --size 1024 --strength 0.8 -o out.png",
            "impasto paint photo.jpg great-wave --protect auto:skin --color keep",
        ),
    ),
    "instant": _Command(
        "Paint a photo in any style in one pass, in about a second.",
        InstantOptions,
        (
            "impasto instant photo.jpg starry-night",
            "impasto instant photo.jpg painting.jpg --strength 0.6 -o out.jpg",
            "impasto instant photo.jpg water-lilies mosaic --style-weights 2,1",
        ),
    ),
}


def short_help(command: str) -> str:
    """Return the short help of a command: at most 40 lines of at most 79 characters.

    Raises:
        KeyError: the command has no short help.
    """
    shown = _COMMANDS[command]
    rows = [
        ("CONTENT", "Photo: a picture file, or - for standard input."),
        ("STYLE ...", 'Pictures, or names from "impasto styles list".'),
        ("-o, --output PATH", _first_sentence(field_texts(Files)["output"])),
        *(_row(shown.options, name) for name in tiers_of(shown.options)[BASICS]),
        *(_row(MaskFlags, name) for name in ("style_mask", "protect")),
        *(_row(Run, name) for name in tiers_of(Run)[BASICS]),
        ("--help-all", "Show all options, by group."),
    ]
    lines = [f"Usage: impasto {command} CONTENT STYLE ... [OPTIONS]", "", shown.summary, ""]
    for name, text in rows:
        first, *rest = textwrap.wrap(text, _WIDTH - _COLUMN, break_on_hyphens=False)
        lines.append(f"  {name:<{_COLUMN - 3}} {first}")
        lines += [" " * _COLUMN + each for each in rest]
    return "\n".join([*lines, "", "Examples:", *(f"  {each}" for each in shown.examples)])


def has_short_help(command: str) -> bool:
    """Return whether a command has a short help."""
    return command in _COMMANDS


def _row(options: type, name: str) -> tuple[str, str]:
    """Return a row of the help: an option as on the command line, and the first sentence of its text with its default."""
    hint = get_type_hints(options, include_extras=False)[name]
    default = next(each.default for each in dataclasses.fields(options) if each.name == name)
    shown = f" [{default}]" if isinstance(default, int | float | str) and default not in (False, "", 0.0) else ""
    return f"{dashed(name)} {value_word(name, hint)}".rstrip(), _first_sentence(field_texts(options)[name]) + shown


def _first_sentence(text: str) -> str:
    """Return the first sentence of a text. The remark "neighbors only." at the start does not count as a sentence."""
    text = text.removeprefix("neighbors only. ")
    return text.split(". ")[0].rstrip(".") + "."

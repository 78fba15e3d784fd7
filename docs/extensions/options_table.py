"""The directive ``options``: a table of the options of a command or recipe, made from the dataclasses of impasto.options.

The text comes from the same place as that of ``--help-all``. On GitHub, a reader sees the lines inside the directive instead::

    ```{options} gatys
    `impasto paint --recipe gatys --help-all` lists the options.
    ```
"""

import dataclasses
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from impasto.options import InstantOptions, PaintOptions, Run, TuneOptions, ranges_of, tiers_of
from impasto.options.brush import BrushOptions, BrushTrainingOptions
from impasto.options.fields import dashed, field_texts
from impasto.options.guided import AnalogyOptions, DoodleOptions, TextureOptions
from impasto.options.video import VideoOptions
from impasto.recipes.presets import RECIPE_IGNORES, RECIPES

_OPTIONS: dict[str, Any] = {
    "paint": PaintOptions(),
    **RECIPES,
    "instant": InstantOptions(),
    "brush": BrushOptions(),
    "train-brush": BrushTrainingOptions(),
    "doodle": DoodleOptions(),
    "analogy": AnalogyOptions(),
    "texture": TextureOptions(),
    "video": VideoOptions(),
    "tune": TuneOptions(),
    "run": Run(),
}
"""The options, with their default values, by the argument of the directive."""
_PACKAGE = Path(str(files("impasto")))
_SOURCES = (*sorted((_PACKAGE / "options").glob("*.py")), _PACKAGE / "recipes" / "presets.py")


class OptionsTable(SphinxDirective):
    """A table for each tier of the options: name, default and text."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Make the tables."""
        name = self.arguments[0]
        if name not in _OPTIONS:
            raise self.error(f"there are no options of {name!r}; use one of {', '.join(_OPTIONS)}")
        options = _OPTIONS[name]
        for path in _SOURCES:
            self.env.note_dependency(str(path))  # the page is read anew if a file of the options changes
        tiers = {
            title: [each for each in names if each not in RECIPE_IGNORES.get(name, ())]
            for title, names in tiers_of(type(options)).items()
        }
        found: list[nodes.Node] = []
        for title, names in tiers.items():
            if len(tiers) > 1:
                found.append(nodes.rubric("", title))
            found.append(_table(("option", "default", "meaning"), _rows(options, names)))
        return found


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("options", OptionsTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _rows(options: Any, names: list[str]) -> Iterator[list[nodes.Node]]:
    texts, hints, ranges = field_texts(type(options)), get_type_hints(type(options)), ranges_of(type(options))
    defaults = {each.name: getattr(options, each.name) for each in dataclasses.fields(options)}
    for name in names:
        meaning = nodes.paragraph(
            "", "", *_with_flags(" ".join((texts[name], *allowed(texts[name], hints[name], ranges.get(name)))))
        )
        option = nodes.literal("", dashed(name))
        yield [nodes.paragraph("", "", option), _literal(_shown(defaults[name])), meaning]


def allowed(text: str, hint: Any, limits: tuple[float, float] | None) -> Iterator[str]:
    """Yield the choices or the range of an option, as a sentence that follows its text, unless the text names them."""
    if get_origin(hint) is Literal:
        if all(str(each) in text for each in get_args(hint)):
            return
        yield f"One of: {', '.join(map(str, get_args(hint)))}."
    elif limits and limits[1] < 1000 and f"{limits[0]:g}" not in text:  # a larger limit only prevents typing errors
        yield f"Range: {limits[0]:g} to {limits[1]:g}."


def _with_flags(text: str) -> Iterator[nodes.Node]:
    """Yield the parts of a text; flags such as --size are code."""
    for part in re.split(r"((?<![\w-])--[a-z][\w-]*)", text):
        yield nodes.literal("", part) if part.startswith("--") else nodes.Text(part)


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return ", ".join(f"{each:.4g}" if isinstance(each, float) else str(each) for each in default)
    if isinstance(default, bool):
        return "on" if default else "off"
    return f"{default:.4g}" if isinstance(default, float) else str(default)


def _literal(text: str) -> nodes.Node:
    return nodes.paragraph("", "", nodes.literal("", text)) if text else nodes.paragraph()


def _table(titles: tuple[str, ...], rows: Iterator[list[nodes.Node]]) -> nodes.table:
    group = nodes.tgroup(cols=len(titles))
    group += [nodes.colspec(colwidth=width) for width in (24, 16, 60)]
    head = nodes.row("", *(nodes.entry("", nodes.paragraph("", title)) for title in titles))
    body = [nodes.row("", *(nodes.entry("", cell) for cell in row)) for row in rows]
    group += [nodes.thead("", head), nodes.tbody("", *body)]
    return nodes.table("", group, classes=["options"])

"""The directive ``styles``: a table of the named styles, made from the style files in the package."""

import os
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from impasto.styles.named import SUFFIX, style_facts

_DOCS = Path(__file__).resolve().parent.parent
_DATA = Path(str(files("impasto") / "data"))
_FACTS = ("title", "artist", "date", "licence")


class StyleShelf(SphinxDirective):
    """A table of the named styles: preview, name, title, artist, date and license."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        for path in _style_files():
            self.env.note_dependency(str(path))  # the page is read anew if a style changes
        group = nodes.tgroup(cols=6)
        group += [nodes.colspec(colwidth=width) for width in (14, 18, 26, 22, 12, 30)]
        titles = ("", "name", "title", "artist", "date", "license")
        head = nodes.row("", *(nodes.entry("", nodes.paragraph("", title)) for title in titles))
        group += [nodes.thead("", head), nodes.tbody("", *_rows())]
        return [nodes.table("", group, classes=["styles"])]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("styles", StyleShelf)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _style_files() -> list[Path]:
    return sorted((_DATA / "styles").glob(f"*{SUFFIX}"))


def _rows() -> Iterator[nodes.row]:
    for path in _style_files():
        facts = style_facts(path)
        preview = _DATA / "style-previews" / f"{facts['name']}.webp"
        texts = (nodes.paragraph("", facts[each].partition(":")[0]) for each in _FACTS)  # `styles show` has the reasons
        cells = (nodes.paragraph("", "", _image(preview, facts["title"])), _name(facts["name"]), *texts)
        yield nodes.row("", *(nodes.entry("", cell) for cell in cells))


def _image(path: Path, text: str) -> nodes.image:
    uri = f"/{Path(os.path.relpath(path, _DOCS)).as_posix()}"
    return nodes.image("", uri=uri, alt=text, width="96px")


def _name(name: str) -> nodes.paragraph:
    return nodes.paragraph("", "", nodes.literal("", name))

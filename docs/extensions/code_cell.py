"""The directive ``code-cell``: the code of a notebook cell, what it printed, and its figure.

The site runs no notebook; ``make pictures`` does, see :mod:`notebook_cells`.
"""

from pathlib import PurePosixPath
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from notebook_cells import RESULTS, printed_by
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class CodeCell(SphinxDirective):
    """A cell of a notebook with its results from the last run."""

    has_content = True
    optional_arguments = 1
    option_spec = {"figure": directives.unchanged, "alt": directives.unchanged}  # noqa: RUF012  (as Sphinx declares it)

    def run(self) -> list[nodes.Node]:
        """Make the code, the printed text and the figure."""
        page = PurePosixPath(self.env.docname).name
        self.env.note_dependency(str(RESULTS / page / "printed.json"))
        code = "\n".join(self.content)
        made: list[nodes.Node] = [nodes.literal_block(code, code, language="python")]
        number = getattr(self.state.document, "cells_seen", 0)
        self.state.document.cells_seen = number + 1
        printed = printed_by(page)
        if number < len(printed) and printed[number]:
            made.append(nodes.literal_block(printed[number], printed[number], language="none", classes=["printed"]))
        if "figure" in self.options:
            uri = f"/tutorial/results/{page}/{self.options['figure']}.webp"
            made.append(nodes.image("", uri=uri, alt=self.options.get("alt", "")))
        return made


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("code-cell", CodeCell)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

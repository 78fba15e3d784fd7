"""Configuration of the documentation site: ``make docs`` builds it into docs/_build.

The site works offline: it loads no script, style or font from the internet. The pages are Markdown files that GitHub shows
too; the modules in docs/extensions make what Markdown does not have.
"""

import re
import sys
from pathlib import Path
from typing import Any

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

sys.path.append(str(Path(__file__).resolve().parent / "extensions"))

from impasto import __version__

project = "impasto"
author = "The impasto authors"
copyright = "2026, The impasto authors"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "code_cell",
    "mathml",
    "options_table",
    "outside_pages",
    "short_signatures",
    "style_shelf",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

highlight_language = "none"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Source", ("Modules", "params_style")]
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"impasto {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1d5a8a", "color-brand-content": "#1d5a8a"},
    "dark_css_variables": {"color-brand-primary": "#7db7e8", "color-brand-content": "#7db7e8"},
}


def setup(app: Sphinx) -> None:
    """Register what is too small for a module of its own."""
    app.add_lexer("csv", TextLexer)
    app.connect("autodoc-skip-member", _skips_alias)
    app.connect("autodoc-process-docstring", _hide_colons, priority=400)  # Napoleon has 500
    app.connect("autodoc-process-docstring", _mark_flags, priority=600)
    app.connect("source-read", _drop_empty_patterns)


def _skips_alias(app: Sphinx, what: str, name: str, member: Any, *rest: Any) -> bool | None:
    """Skip the fields of a NamedTuple, since the docstring of the class describes them."""
    return True if (getattr(member, "__doc__", None) or "").startswith("Alias for field number") else None


_HIDDEN_COLON = "\ue000"


def _hide_colons(app: Sphinx, what: str, name: str, member: Any, options: Any, lines: list[str]) -> None:
    """Hide colons from Napoleon, which takes the words before the first one for a type."""
    is_first = what in ("attribute", "data", "property")
    for place, line in enumerate(lines):
        if is_first:
            lines[place] = line.replace(":", _HIDDEN_COLON)
        is_first = line in ("Returns:", "Yields:")


def _mark_flags(*given: Any) -> None:
    """Show colons again, and mark flags such as --size as code; Sphinx would turn their dashes into one."""
    lines: list[str] = given[-1]
    is_example = False
    for place, line in enumerate(each.replace(_HIDDEN_COLON, ":") for each in lines):
        lines[place] = line
        is_example = line.lstrip().startswith(">>>") or (is_example and bool(line.strip()))
        if not is_example:
            parts = line.split("``")  # every second part is code already
            parts[::2] = [re.sub(r"(?<![\w-])(--[a-z][\w-]*)", r"``\1``", part) for part in parts[::2]]
            lines[place] = "``".join(parts)


def _drop_empty_patterns(app: Sphinx, page: str, source: list[str]) -> None:
    """Drop a pattern from the toctrees of the start page if no page matches it (yet); Sphinx would warn."""
    if page == "index":
        folder = Path(__file__).parent
        lines = source[0].splitlines(keepends=True)
        source[0] = "".join(each for each in lines if "*\n" not in each[-2:] or any(folder.glob(each.strip() + ".md")))

"""Pages of the site whose text is in a Markdown file outside docs/, such as CONTRIBUTING.md.

In docs/, such a page has only a link, for readers on GitHub. In the site, it has the text of that file. Links to such a file
lead to its page.
"""

import os
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

_DOCS = Path(__file__).resolve().parent.parent
_ROOT = _DOCS.parent
_PAGES = {
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "model-cards/brushes": "src/impasto/data/brushes.md",
    "model-cards/decoder": "src/impasto/data/decoder.md",
    "model-cards/vgg19-slim": "src/impasto/data/vgg19-slim.md",
    "third-party": "THIRD_PARTY.md",
}
"""The outside file of each page."""
_PAGE_OF = {_ROOT / "README.md": _DOCS / "index.md"} | {
    _ROOT / outside: _DOCS / f"{page}.md" for page, outside in _PAGES.items()
}
_LINK = re.compile(r"(\]\()([^)#:\s]+)(#[^)\s]*)?\)")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the step that replaces the text of a page."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _read(app: Sphinx, page: str, source: list[str]) -> None:
    outside = _PAGES.get(page)
    if outside:
        app.env.note_dependency(str(_ROOT / outside))  # the page is read anew if this file changes
        source[0] = (_ROOT / outside).read_text(encoding="utf-8")
    path = Path(app.env.doc2path(page))
    source[0] = with_links(source[0], (_ROOT / outside if outside else path).parent, path.parent)


def with_links(text: str, written_in: Path, shown_in: Path) -> str:
    """Return a text with its relative links changed, so that they are right in another folder and lead to pages of the site.

    Args:
        text: Markdown.
        written_in: the folder of the file.
        shown_in: the folder of the page.
    """

    def changed(link: re.Match[str]) -> str:
        path = Path(os.path.normpath(written_in / link[2]))
        path = _PAGE_OF.get(path, path)
        return f"{link[1]}{Path(os.path.relpath(path, shown_in)).as_posix()}{link[3] or ''})" if path.exists() else link[0]

    return _LINK.sub(changed, text)

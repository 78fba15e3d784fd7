"""The documentation site: it builds without warnings, works offline, and its tables show the options."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md")), *sorted((ROOT / "src").rglob("*.md")))
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
FENCED = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)

HAS_PICTURES = (DOCS / "gallery.jpg").is_file()
"""The source distribution has the pages without the pictures."""
PICTURES = (".jpg", ".png", ".webp")

needs_sphinx = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("sphinx", "myst_parser", "furo")), reason="needs impasto[docs]"
)


class Loaded(HTMLParser):
    """The addresses of what a page loads: scripts, styles, pictures; links to other pages do not count."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        address = given.get("src") if tag != "link" else given.get("href")
        if address:
            self.found.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    if not HAS_PICTURES:
        pytest.skip("needs the pictures of the documentation")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", "-d", str(folder / "doctrees")]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [*command, str(DOCS), str(folder / "html")], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


def extension(name: str) -> ModuleType:
    """Load a module of docs/extensions."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "extensions" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors_of(path: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    texts = HEADING.findall(FENCED.sub("", path.read_text(encoding="utf-8")))
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("`", "") for text in texts)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in plain}


def links_of(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the relative links of a page: the path and the anchor."""
    for address in LINK.findall(FENCED.sub("", path.read_text(encoding="utf-8"))):
        if not re.match(r"[a-z]+:", address):
            target, _, anchor = address.partition("#")
            yield target, anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_between_files_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target, anchor in links_of(page):
        path = page.parent / target if target else page
        assert path.exists() or (path.suffix in PICTURES and not HAS_PICTURES), f"{target} does not exist"
        if anchor and path.suffix == ".md":
            assert anchor in anchors_of(path), f"{target} has no heading #{anchor}"


@pytest.mark.slow
@needs_sphinx
def test_the_site_builds_without_warnings_and_loads_nothing_from_the_internet(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        assert not [each for each in loaded.found if re.match(r"(https?:)?//", each)], page.name
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", style.read_text(encoding="utf-8")), style.name


@pytest.mark.slow
@needs_sphinx
def test_pages_have_what_the_site_makes_options_equations_styles_and_outside_files(site: Path) -> None:
    text = {name: (site / f"{name}.html").read_text(encoding="utf-8") for name in ("gatys", "nnst", "styles", "contributing")}
    assert "--style-weight" in text["gatys"]
    assert "--style-weight" not in text["nnst"], "the recipe ignores it"
    api = re.sub(r"<[^>]+>", "", (site / "api" / "impasto.html").read_text(encoding="utf-8"))
    assert "Longer side in pixels, at least 32. Smaller photos keep their size. 0: always the size of the photo." in api
    assert "<math" in text["gatys"]
    assert "Katsushika Hokusai" in text["styles"]
    assert "Add a recipe" in text["contributing"]
    assert 'href="architecture.html"' in text["contributing"]
    classic = re.sub(r"<[^>]+>", "", (site / "api" / "classic.html").read_text(encoding="utf-8"))
    assert "The cost, 0 or more: a float for arrays" in classic
    assert "impasto.paint" in (site / "api" / "impasto.html").read_text(encoding="utf-8")


@needs_sphinx
def test_links_of_outside_files_are_changed_for_their_page() -> None:
    changed = extension("outside_pages").with_links
    text = "[a](docs/brush.md#apply-a-brush) [b](CHANGELOG.md) [c](https://example.org/x.md) [d](README.md) [e](#here)"
    assert changed(text, ROOT, DOCS) == (
        "[a](brush.md#apply-a-brush) [b](changelog.md) [c](https://example.org/x.md) [d](index.md) [e](#here)"
    )
    assert changed("[f](../../../docs/benchmarks.md)", ROOT / "src/impasto/data", DOCS / "model-cards") == (
        "[f](../benchmarks.md)"
    )


@needs_sphinx
def test_the_options_table_shows_choices_and_ranges() -> None:
    from typing import Literal

    allowed = extension("options_table").allowed
    assert list(allowed("Method.", Literal["left", "right"], None)) == ["One of: left, right."]
    assert list(allowed("left or right.", Literal["left", "right"], None)) == []
    assert list(allowed("Strength.", float, (0, 1.5))) == ["Range: 0 to 1.5."]
    assert list(allowed("Strength, 0 to 1.5.", float, (0, 1.5))) == []
    assert list(allowed("Weight.", float, (0, 1e9))) == []
    assert [extension("options_table")._shown(each) for each in (0, False, 1.5, (0.5, 1.0))] == ["0", "off", "1.5", "0.5, 1"]

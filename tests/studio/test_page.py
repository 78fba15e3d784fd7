"""The files of the studio's page: texts in every language, forbidden content, size."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from impasto.cli import main
from impasto.studio.controls import KINDS, recipes
from impasto.training.brush import BrushWeights
from studio_pieces import LANGUAGES, STATIC

LIVE = re.compile(r"^live")  # the webcam page has its own files and tests
MODULES = sorted(each for each in STATIC.glob("*.js") if not LIVE.match(each.name))
LATER = {"/static/doodle.js", "/static/training.js", "/static/video.js"}
"""Modules that are loaded when they are first needed."""
STYLES = (STATIC / "studio.css", STATIC / "parts.css", STATIC / "doodle.css", STATIC / "training.css", STATIC / "video.css")
INDEX = STATIC / "index.html"
MADE_OF_NAMES = (
    "control.",
    "choice.",
    "figure.",
    "kind.",
    "loss.",
    "error.",
    "mask.shape.",
    "save.",
    "compare.",
    "painting.paused",
    "painting.cancelled",
)
"""Keys that are built from names of options, kinds and states of jobs, and codes of the API."""
SAME_IN_BOTH = {"app.title", "save.png", "save.jpeg", "save.webp", "choice.pooling.l2", "choice.optimizer.adam"}
SAME_IN_BOTH |= {"choice.optimizer.lbfgs", "choice.optimizer.rmsprop", "choice.engine.torch", "choice.engine.openvino"}
SAME_IN_BOTH |= {"choice.device.cpu", "choice.device.cuda", "choice.device.mps"}


@pytest.fixture(scope="module")
def texts() -> dict[str, dict[str, str]]:
    return {language: json.loads((STATIC / "texts" / f"{language}.json").read_text("utf-8")) for language in LANGUAGES}


@pytest.fixture(scope="module")
def fields() -> list[dict[str, Any]]:
    found = recipes()
    return [field for recipe in found["recipes"] for field in recipe["fields"]] + found["run"]


class Page(HTMLParser):
    """All texts and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.strings: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self._open: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._open.append((tag, ("translate", "no") in attrs or tag == "title"))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if data.strip() and not self._open[-1][1]:
            self.strings.append(data.strip())


@pytest.fixture(scope="module")
def page() -> Page:
    found = Page()
    found.feed(INDEX.read_text())
    return found


# ---------------------------------------------------------------------------------------------------- texts


def test_every_language_has_every_text(texts: dict[str, dict[str, str]]) -> None:
    # The English of help texts and group titles is that of the options, and comes from the API.
    for language in LANGUAGES:
        assert {key for key in texts[language] if not key.startswith(("help.", "group."))} == set(texts["en"]), language
    assert all(text.strip() for catalogue in texts.values() for text in catalogue.values())


def test_every_loss_of_a_brush_training_has_a_name(texts: dict[str, dict[str, str]]) -> None:
    assert {f"loss.{each.name}" for each in dataclasses.fields(BrushWeights)} <= set(texts["en"])


def test_every_language_uses_the_same_placeholders(texts: dict[str, dict[str, str]]) -> None:
    for key, english in texts["en"].items():
        for language in LANGUAGES:
            assert set(re.findall(r"{(\w+)}", texts[language][key])) == set(re.findall(r"{(\w+)}", english)), (language, key)


def test_chinese_texts_contain_chinese(texts: dict[str, dict[str, str]]) -> None:
    for key, text in texts["zh"].items():
        assert re.search(r"[\u4e00-\u9fff]", text) or key in SAME_IN_BOTH, (key, text)


@pytest.fixture(scope="module")
def wanted(page: Page, texts: dict[str, dict[str, str]]) -> set[str]:
    """The keys that the page and its modules use."""
    starts = {key.split(".")[0] for key in texts["en"]}
    named = {value for _, name, value in page.attributes if name.startswith("data-t") and value}
    for path in MODULES:
        named |= set(re.findall(r"'([a-z]+(?:\.[a-z_]+)+)'", path.read_text()))
    return {key for key in named if key.split(".")[0] in starts and not key.endswith(".js")} - {"canvas.mask"}


def test_every_key_that_the_page_uses_exists(wanted: set[str], texts: dict[str, dict[str, str]]) -> None:
    there = {re.sub(r"\.(one|other)$", "", key) for key in texts["en"]}
    assert len(wanted) > 150
    assert wanted <= there


def test_no_text_is_unused(wanted: set[str], texts: dict[str, dict[str, str]]) -> None:
    for key in texts["en"]:
        assert re.sub(r"\.(one|other)$", "", key) in wanted or key.startswith(MADE_OF_NAMES), key


def test_the_page_contains_no_text_outside_the_catalogs(page: Page) -> None:
    assert page.strings == []
    spoken = ("aria-label", "title", "alt", "placeholder", "aria-roledescription", "aria-description")
    assert [(tag, name, value) for tag, name, value in page.attributes if name in spoken and value] == []
    put = re.compile(r"(textContent|innerText|placeholder|ariaLabel|\.title|\.alt)\s*=\s*(['\"`])(?!\2)")
    given = re.compile(r"\b(text|'aria-label'|alt|title):\s*'[^']*[A-Za-z]{2}")
    spoken_text = re.compile(r"\b(tell|speak)\([^,()]*,?\s*'[^']*[A-Za-z]{2}")
    for path in MODULES:
        for line in path.read_text().splitlines():
            assert not put.search(line), (path.name, line)
            assert not given.search(line), (path.name, line)
            assert not spoken_text.search(line), (path.name, line)


def test_every_control_has_a_label(fields: list[dict[str, Any]], texts: dict[str, dict[str, str]]) -> None:
    for field in fields:
        assert f"control.{field['name']}" in texts["en"], "give the option a name in texts/en.json and texts/zh.json"
        assert f"help.{field['name']}" in texts["zh"], "add the option's help to texts/zh.json"


def test_every_section_of_controls_has_its_title(fields: list[dict[str, Any]], texts: dict[str, dict[str, str]]) -> None:
    titles = {f"group.{field['group']}" for field in fields if not field["basic"]}
    assert titles == {key for key in texts["zh"] if key.startswith("group.")}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["paint", "instant"])
def test_help_and_page_show_the_same_tiers(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = recipes()
    (controls,) = [each["fields"] for each in found["recipes"] if each["kind"] == kind]
    sections: dict[str, list[str]] = {}
    for field in (*controls, *found["run"]):
        sections.setdefault(field["group"], []).append(field["name"])
        assert field["basic"] is (field["group"] == "Basics")
    main([kind, "--help-all"])
    panels = re.findall(r"─ ([A-Z][^─]+?) ─+╮\n(.+?)\n╰", capsys.readouterr().out, re.DOTALL)
    flags = {
        title: [each.replace("-", "_") for each in re.findall(r"^│ --([a-z-]+)", text, re.MULTILINE)] for title, text in panels
    }
    flags = {title: [each for each in names if each not in KINDS[kind].hidden] for title, names in flags.items()}
    assert {title: names for title, names in flags.items() if title in sections} == sections
    assert [title for title in flags if title in sections] == list(sections)
    main([kind, "--help"])
    short = {each.replace("-", "_") for each in re.findall(r"^  --([a-z-]+)", capsys.readouterr().out, re.MULTILINE)}
    drawn = {"style_mask", "protect", "help_all"}  # masks are drawn on the page
    assert short - drawn - {*KINDS[kind].hidden} == {*sections["Basics"]}


@pytest.mark.parametrize("name", ["recipe", "quality", "statistics", "canvas", "optimizer", "border", "color"])
def test_every_choice_has_a_label(name: str, fields: list[dict[str, Any]], texts: dict[str, dict[str, str]]) -> None:
    choices = {each for field in fields if field["name"] == name for each in field["choices"]}
    assert {key for key in texts["en"] if key.startswith(f"choice.{name}.")} == {f"choice.{name}.{each}" for each in choices}


def test_options_with_different_meanings_have_separate_chinese_texts(texts: dict[str, dict[str, str]]) -> None:
    meanings: dict[str, dict[str, list[str]]] = {}
    for recipe in recipes()["recipes"]:
        for field in recipe["fields"]:
            if (recipe["kind"], field["name"]) != ("report", "style_weights"):  # it has no control
                meanings.setdefault(field["name"], {}).setdefault(field["help"], []).append(recipe["kind"])
    differing = {name: helps for name, helps in meanings.items() if len(helps) > 1}
    assert {"style_scales", "size", "recipe"} <= set(differing)
    for name, helps in differing.items():
        own = [all(f"help.{kind}.{name}" in texts["zh"] for kind in kinds) for kinds in helps.values()]
        assert own.count(False) <= 1, (name, helps)


def test_every_figure_has_a_label(texts: dict[str, dict[str, str]]) -> None:
    from impasto.metrics.report import KINDS

    for name in KINDS:
        assert f"figure.{name}" in texts["en"]
        assert f"help.figure_{name}" in texts["zh"]


# ---------------------------------------------------------------------------------------------------- security, size


def test_the_page_has_no_inline_script_and_no_inline_style(page: Page) -> None:
    assert "<style" not in INDEX.read_text()
    for tag, name, value in page.attributes:
        assert name != "style", (tag, value)
        assert not name.startswith("on"), (tag, name)
    assert [value for tag, name, value in page.attributes if tag == "script" and name == "src"] == ["/static/main.js"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_no_module_parses_text_as_html_or_code(path: Path) -> None:
    source = path.read_text()
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "DOMParser", "srcdoc"):
        assert word not in source, word
    assert not re.search(r"setAttribute\('style'|set\(\w+, 'style'|\bon\w+=", source)


def test_no_file_contains_an_address_of_another_server() -> None:
    for path in (INDEX, *STYLES, *MODULES, STATIC / "icon.svg"):
        for address in re.findall(r"(?:https?:)?//[a-z0-9][\w.-]*\.\w+[^\s'\"]*", path.read_text()):
            assert address.startswith("http://www.w3.org/"), (path.name, address)


def test_every_module_of_the_first_view_is_preloaded(page: Page) -> None:
    ahead = {value for tag, name, value in page.attributes if tag == "link" and name == "href" and value.endswith(".js")}
    assert ahead | LATER | {"/static/main.js"} == {f"/static/{path.name}" for path in MODULES}


def test_every_element_that_a_module_uses_is_on_the_page(page: Page) -> None:
    there = [value for _, name, value in page.attributes if name == "id"]
    assert len(there) == len(set(there))
    for path in MODULES:
        there += re.findall(r"\bid: '([\w-]+)'", path.read_text())
    for path in MODULES:
        for name in re.findall(r"\$\(['\"]#([\w-]+)['\"]", path.read_text()):
            assert name in there, (path.name, name)
        for name in re.findall(r"sign: '([\w-]+)'|icon\('([\w-]+)'\)", path.read_text()):
            assert f"i-{name[0] or name[1]}" in there, (path.name, name)


def test_the_first_view_and_each_later_module_are_smaller_than_their_limits() -> None:
    later = {name: [STATIC / f"{name}.js", STATIC / f"{name}.css"] for name in ("doodle", "training", "video")}
    first = {INDEX, STATIC / "icon.svg", *STYLES, *MODULES} - {path for paths in later.values() for path in paths}
    assert sum(path.stat().st_size for path in first) <= 180_000
    for name, paths in later.items():
        assert sum(path.stat().st_size for path in paths) <= 19_000, name
    # A page loads one language. The same text takes up to three times as many bytes in other scripts.
    for language in LANGUAGES:
        assert (STATIC / "texts" / f"{language}.json").stat().st_size <= 60_000, language

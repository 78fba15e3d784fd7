"""The notebooks of the tutorial run from top to bottom, and their pages have what the site and the reader need."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
TUTORIAL = ROOT / "docs" / "tutorial"

pytest.importorskip("matplotlib", reason="needs impasto[notebook]")


def load_notebook_cells() -> ModuleType:
    """Load the module of docs/extensions that runs notebooks."""
    spec = importlib.util.spec_from_file_location("notebook_cells", ROOT / "docs/extensions/notebook_cells.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


CELLS = load_notebook_cells()
PAGES = CELLS.notebooks()
TRANSLATED = sorted((TUTORIAL / "zh").glob("[0-9]*.md"))


def name_of(page: Path) -> str:
    return page.relative_to(TUTORIAL).with_suffix("").as_posix()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_notebook_runs_from_top_to_bottom(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results"
    CELLS.run(page, results)
    figures = {cell.options["figure"] for cell in CELLS.cells_of(page.read_text(encoding="utf-8")) if "figure" in cell.options}
    assert figures
    assert figures == {path.stem for path in results.glob("*.webp")}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_notebook_has_a_goal_a_source_assertions_and_three_questions(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    code = "\n".join(cell.code for cell in CELLS.cells_of(text))
    assert text.startswith("---\njupytext:\n")
    assert "**Goal.**" in text
    assert "arXiv:" in text or "doi.org" in text
    assert code.count("assert ") >= 3
    assert text.count("<summary>Answer</summary>") == 3


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_results_belong_to_the_page(page: Path) -> None:
    if not (ROOT / "docs/gallery.jpg").is_file():
        pytest.skip("the source distribution has no pictures")
    cells = CELLS.cells_of(page.read_text(encoding="utf-8"))
    results = CELLS.RESULTS / page.stem
    assert len(CELLS.printed_by(page.stem)) == len(cells), "run make pictures"
    assert {cell.options["figure"] for cell in cells if "figure" in cell.options} == {p.stem for p in results.glob("*.webp")}
    assert all(cell.options.get("alt") for cell in cells if "figure" in cell.options)


@pytest.mark.parametrize("page", TRANSLATED, ids=name_of)
def test_a_translation_has_the_code_of_the_original(page: Path) -> None:
    original = CELLS.cells_of((TUTORIAL / page.name).read_text(encoding="utf-8"))
    translated = CELLS.cells_of(page.read_text(encoding="utf-8"))
    assert [cell.code for cell in translated] == [cell.code for cell in original]
    assert page.read_text(encoding="utf-8").count("<summary>答案</summary>") == 3


def test_cells_are_found_with_their_options_and_lines() -> None:
    text = 'Text\n\n```{code-cell} ipython3\n:figure: one\n:alt: A dot.\n\nx = ":no: option"\n```\n\n```sh\nls\n```\n'
    (cell,) = CELLS.cells_of(text)
    assert cell == CELLS.Cell('x = ":no: option"\n', 7, {"figure": "one", "alt": "A dot."})


def test_a_cell_without_its_figure_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```{code-cell} ipython3\n:figure: one\n\n1\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"page\.md, line 4: the cell draws no figure"):
        CELLS.run(page)


def test_an_error_in_a_cell_names_the_line_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```{code-cell} ipython3\nprint(1)\n1 / 0\n```\n", encoding="utf-8")
    with pytest.raises(ZeroDivisionError) as caught:
        CELLS.run(page)
    assert caught.traceback[-1].lineno == 4  # counted from 0
    assert re.search(r"page\.md", str(caught.traceback[-1].path))

"""Notebooks as text: the code cells of a MyST page, a runner, and the results of the runs.

A notebook is a Markdown page with cells::

    ```{code-cell} ipython3
    :figure: name
    :alt: What the figure shows.

    print("any Python")
    ```

Jupytext and MyST-NB open these pages too. ``python docs/extensions/notebook_cells.py`` runs the pages of docs/tutorial, and
writes what they print and draw to docs/tutorial/results; the site shows it below each cell.
"""

import contextlib
import io
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TUTORIAL = Path(__file__).resolve().parent.parent / "tutorial"
RESULTS = TUTORIAL / "results"
_CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(?P<options>(?::[^\n]*\n)*)\n?(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_OPTION = re.compile(r"^:([\w-]+): *(.*)$", re.MULTILINE)
_DOTS_PER_INCH = 110


@dataclass(frozen=True)
class Cell:
    """A code cell: its code, the line of the page where the code begins (from 1), and its options."""

    code: str
    line: int
    options: dict[str, str]


def cells_of(text: str) -> list[Cell]:
    """Return the code cells of a page, in order."""
    return [
        Cell(found["code"], text.count("\n", 0, found.start("code")) + 1, dict(_OPTION.findall(found["options"])))
        for found in _CELL.finditer(text)
    ]


def notebooks() -> list[Path]:
    """Return the pages of the tutorial that have code cells, without translations, which have the same code."""
    return [page for page in sorted(TUTORIAL.glob("*.md")) if cells_of(page.read_text(encoding="utf-8"))]


def run(page: Path, results: Path | None = None) -> list[str]:
    """Run the cells of a page in one new namespace, in the current folder.

    Args:
        page: the notebook.
        results: the folder for figures and printed text; None: nothing is written.

    Returns:
        What each cell printed.

    Raises:
        AssertionError: if an assertion of a cell fails, or a cell that names a figure draws none.
    """
    import matplotlib

    matplotlib.use("Agg")
    names: dict[str, object] = {"__name__": "__main__"}
    printed = []
    for cell in cells_of(page.read_text(encoding="utf-8")):
        output = io.StringIO()
        try:
            with contextlib.redirect_stdout(output):
                exec(compile("\n" * (cell.line - 1) + cell.code, str(page), "exec"), names)
        except Exception as error:
            error.add_note(f"the cell had printed: {output.getvalue()}")
            raise
        printed.append(output.getvalue())
        _take_figure(cell, page, results)
    if results is not None:
        text = json.dumps(printed, indent=1, ensure_ascii=False)
        (results / "printed.json").write_text(text + "\n", encoding="utf-8")
    return printed


def _take_figure(cell: Cell, page: Path, results: Path | None) -> None:
    """Save the figure of a cell, and close all figures."""
    from matplotlib import pyplot

    if "figure" in cell.options:
        assert pyplot.get_fignums(), f"{page.name}, line {cell.line}: the cell draws no figure"
        if results is not None:
            results.mkdir(parents=True, exist_ok=True)
            path = results / f"{cell.options['figure']}.webp"
            pyplot.gcf().savefig(path, dpi=_DOTS_PER_INCH, pil_kwargs={"quality": 82})
    pyplot.close("all")


def printed_by(page: str) -> list[str]:
    """Return what each cell of a page printed at the last run, by the name of the page; empty if it was not run."""
    path = RESULTS / page / "printed.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def main(names: list[str]) -> Iterator[str]:
    """Run the notebooks whose names begin with one of the given names, or all; yield a line for each."""
    pages = [page for page in notebooks() if not names or page.name.startswith(tuple(names))]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for page in pages:
            (RESULTS / page.stem).mkdir(parents=True, exist_ok=True)
            began, processor_began = time.monotonic(), time.process_time()
            run(page, RESULTS / page.stem)
            seconds, processor = time.monotonic() - began, time.process_time() - processor_began
            yield f"{page.stem}: {seconds:.1f} s, {processor:.1f} s of processor time"
        os.chdir(TUTORIAL)


if __name__ == "__main__":
    for line in main(sys.argv[1:]):
        print(line, flush=True)

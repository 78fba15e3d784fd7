"""The examples in docstrings and in the README run and give the output shown."""

import doctest
import importlib
import re
from pathlib import Path

import pytest
import skimage.data
import skimage.io

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in (SOURCE / "impasto").rglob("*.py")
    if path.name != "__main__.py"
)
PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if path.is_file()]

_PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run_doctest(test: doctest.DocTest) -> None:
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(test, out=report.append)
    assert not result.failed, "".join(report)


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, with the two pictures that the examples use: photo.jpg and picture.jpg."""
    skimage.io.imsave(tmp_path / "photo.jpg", skimage.data.astronaut()[:384:4, 32:416:4], check_contrast=False)
    skimage.io.imsave(tmp_path / "picture.jpg", skimage.data.coffee()[::4, ::4], check_contrast=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.usefixtures("gallery")
def test_docstring_examples_give_their_output(name: str) -> None:
    module = importlib.import_module(name)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        run_doctest(test)


@pytest.mark.slow  # they paint
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
@pytest.mark.usefixtures("gallery")
def test_python_examples_of_pages_run(page: Path) -> None:
    """Run every block fenced as ``python``, in order and in one namespace, as a reader would in a notebook."""
    text = page.read_text(encoding="utf-8")
    names: dict[str, object] = {"__name__": "__main__"}
    for block in _PYTHON_BLOCK.finditer(text):
        line = text.count("\n", 0, block.start()) + 1
        if ">>> " in block[1]:
            test = doctest.DocTestParser().get_doctest(block[1], names, page.name, str(page), line)
            test.globs = names  # get_doctest copies the globals, so the next block would not see them
            report: list[str] = []
            result = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append, clear_globs=False)
            assert not result.failed, "".join(report)
        else:
            exec(compile("\n" * line + block[1], str(page), "exec"), names)


def test_every_module_is_tested() -> None:
    assert {"impasto", "impasto.classic", "impasto.features.statistics"} <= set(MODULES)

"""The examples in docstrings and in the README run and give the output shown."""

import doctest
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.mark.slow
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


PUBLIC = (
    "impasto",
    "impasto.losses",
    "impasto.features",
    "impasto.optim",
    "impasto.encoders",
    "impasto.classic",
    "impasto.notebook",
)
RAISE_NOTHING = {
    *("ClipError", "ImageFileError", "ImpastoError", "OptionError", "ResourceError", "ShapeError", "StyleFileError"),
    *("Step", "Term", "OptimizerSettings", "Matches", "Moments", "WeightsError"),  # values without checks
    *("gram_matrix", "moments", "sqrtm", "optimize", "pyramid", "total_cost"),
}
"""The public names that raise no errors of their own."""


DOCUMENTED = (
    *("impasto.batch.engine", "impasto.batch.manifest", "impasto.batch.plan", "impasto.batch.work"),
    *("impasto.video.flow", "impasto.video.painting", "impasto.video.shots"),
)
"""Modules that the API reference shows in full."""


def documented_names() -> Iterator[tuple[str, Any]]:
    """Yield the classes and functions of the modules that the API reference shows in full."""
    for module in map(importlib.import_module, DOCUMENTED):
        for name, value in vars(module).items():
            is_own = getattr(value, "__module__", "") == module.__name__ and (
                inspect.isclass(value) or inspect.isfunction(value)
            )
            if is_own and not name.startswith("_"):
                yield f"{module.__name__}.{name}", value


def public_names() -> Iterator[tuple[str, Any]]:
    """Yield the public classes and functions, with their full names."""
    for module in map(importlib.import_module, PUBLIC):
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                yield f"{module.__name__}.{name}", value


def section(text: str, title: str) -> str:
    """Return a section of a Google-style docstring; empty if there is none."""
    found = re.search(rf"^{title}:\n((?: +.*\n?|\n)+)", text, re.MULTILINE)
    return found[1] if found else ""


@pytest.mark.parametrize(("name", "value"), list(public_names()), ids=lambda each: each if isinstance(each, str) else "")
def test_every_public_name_has_an_example_and_says_what_it_raises(name: str, value: Any) -> None:
    text = inspect.getdoc(value) or ""
    assert ">>> " in section(text, "Example"), f"{name} has no example"
    if name.rpartition(".")[2] not in RAISE_NOTHING:
        assert section(text, "Raises"), f"{name} does not say what it raises"
    if inspect.isfunction(value):
        parameters = [each for each in inspect.signature(value).parameters if each != "self"]
        described = section(text, "Args")
        assert not parameters or all(f"{each}:" in described for each in parameters), f"{name} does not describe {parameters}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        each
        for each in public_names()
        if each[0].split(".")[1] in ("losses", "classic") and each[1].__name__ not in ("Loss", "Term")
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_every_loss_names_its_source(name: str, value: Any) -> None:
    own = {"Gamut", "Objective"}  # no paper
    assert value.__name__ in own or "Source:" in (inspect.getdoc(value) or ""), name


@pytest.mark.parametrize(("name", "value"), list(documented_names()), ids=lambda each: each if isinstance(each, str) else "")
def test_every_name_of_the_reference_has_an_example(name: str, value: Any) -> None:
    assert ">>> " in section(inspect.getdoc(value) or "", "Example"), f"{name} has no example"

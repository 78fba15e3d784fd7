"""The wheel and the source distribution: their contents, their notices, and a painting made offline from the wheel alone."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from impasto import __version__

ROOT = Path(__file__).resolve().parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NOTICES = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
LARGEST_WHEEL = 24_000_000
"""Bytes."""

PAINT = """
import socket, sys

def refuse(*arguments, **options):
    raise OSError("no network in this test")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
wheel, *dependencies = sys.argv[1:]
sys.path[:] = [wheel, *(each for each in sys.path if each not in ("", *dependencies)), *dependencies]

import impasto
import skimage.data
from impasto.cli import main

assert impasto.__file__.startswith(wheel), impasto.__file__
photo = impasto.read(skimage.data.astronaut())
for pastiche in (
    impasto.paint(photo, "starry-night", size=64, steps=2),
    impasto.instant(photo, "great-wave", size=64),
    impasto.apply("mosaic", photo, size=64),
):
    assert pastiche.image.shape == (1, 3, 64, 64)
pastiche.save("painted.png")
main(["instant", "painted.png", "the-scream", "-o", "again.png", "--quiet"])
"""


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution; the wheel is built from the latter."""
    pytest.importorskip("hatchling")
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    """The wheel."""
    (found,) = dist.glob("*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_has_data_types_and_notices_and_nothing_else(wheel: Path) -> None:
    assert wheel.stat().st_size <= LARGEST_WHEEL
    names = zipfile.ZipFile(wheel).namelist()
    assert {each.split("/")[0] for each in names} == {
        "impasto",
        next(each for each in names if ".dist-info/" in each).split("/")[0],
    }
    source = ROOT / "src"
    expected = {
        path.relative_to(source).as_posix()
        for path in (source / "impasto").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {each for each in names if each.startswith("impasto/")} == expected
    assert "impasto/py.typed" in names
    assert {"impasto/data/vgg19-slim.safetensors", "impasto/data/decoder.safetensors"} <= set(names)
    for notice in ("LICENSE", "THIRD_PARTY.md"):
        assert any(each.endswith(f".dist-info/licenses/{notice}") for each in names), notice
    unwanted = re.compile(r"(^|/)(tests?|docs|shared|benchmarks)/|\.(jpg|pyc|pth|pkl)$")
    assert not [each for each in names if unwanted.search(each)]


@pytest.mark.slow
def test_the_source_distribution_has_what_is_needed_to_build_and_test(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    needed = {"pyproject.toml", "LICENSE", "THIRD_PARTY.md", "README.md", "CHANGELOG.md", "Makefile", "tests/conftest.py"}
    assert needed <= names
    assert {f"tests/{each.name}" for each in (ROOT / "tests").glob("*.py")} <= names
    assert {each.relative_to(ROOT).as_posix() for each in (ROOT / "benchmarks" / "results").rglob("*.json")} <= names
    assert not [each for each in names if each.startswith(("shared/", ".", "dist/")) and each != ".gitignore"]
    assert not [each for each in names if each.startswith("docs/") and each.endswith((".jpg", ".webp"))]


@pytest.mark.slow
def test_the_wheel_alone_paints_without_a_network_in_another_folder(wheel: Path, tmp_path: Path) -> None:
    """Python starts isolated and without site-packages; the path has the standard library, the wheel and the dependencies."""
    unpacked, elsewhere = tmp_path / "unpacked", tmp_path / "elsewhere"
    elsewhere.mkdir()
    zipfile.ZipFile(wheel).extractall(unpacked)
    dependencies = [each for each in sys.path if each.endswith(("site-packages", "dist-packages"))]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "IMPASTO"))}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PAINT, str(unpacked), *dependencies],
        capture_output=True,
        text=True,
        check=False,
        cwd=elsewhere,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in elsewhere.iterdir()} == {"painted.png", "again.png"}


def required(requirements: list[str]) -> set[str]:
    """Return the names of requirements, without impasto itself."""
    names = {re.split(r"[\[<>=!~ ;]", each)[0] for each in requirements}
    return names - {"impasto"}


def listed(title: str) -> dict[str, str]:
    """Return the packages of a table of the notices, with their licenses."""
    section = NOTICES.split(f"\n## {title}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| ")]
    return {row[0]: row[-1] for row in rows[1:]}


def test_every_file_names_the_same_version() -> None:
    text = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("CHANGELOG.md", "CITATION.cff", "docs/studio-api.md")}
    newest = re.search(r"^## \[([\d.]+)\] - (\d{4}-\d\d-\d\d)$", text["CHANGELOG.md"], re.MULTILINE)
    assert newest, "the newest section of CHANGELOG.md has no date"
    assert newest[1] == __version__
    assert f"version: {__version__}\ndate-released: {newest[2]}\n" in text["CITATION.cff"]
    assert f'"version": "{__version__}"' in text["docs/studio-api.md"]


def test_a_stable_version_has_a_classifier_that_says_so() -> None:
    stable = int(__version__.split(".")[0]) >= 1
    assert ("Development Status :: 5 - Production/Stable" in PROJECT["project"]["classifiers"]) == stable


def pinned() -> dict[str, str]:
    """Return the versions in constraints.txt, by the normalized names of their packages."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def needed(package: str, extras: frozenset[str], found: set[tuple[str, frozenset[str]]]) -> None:
    """Collect what a package and its extras need, and what those need; packages that are not installed are leaves."""
    key = (canonicalize_name(package), extras)
    if key in found:
        return
    found.add(key)
    try:
        requirements = [Requirement(each) for each in importlib.metadata.requires(package) or []]
    except importlib.metadata.PackageNotFoundError:
        return
    for each in requirements:
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras or {""}):
            needed(each.name, frozenset(each.extras), found)


@pytest.mark.skipif(
    sys.platform != "linux" or sys.version_info[:2] != (3, 11), reason="constraints.txt is for Python 3.11 on Linux"
)
def test_every_package_that_development_needs_is_pinned() -> None:
    found: set[tuple[str, frozenset[str]]] = set()
    needed("impasto", frozenset({"dev", "cluster"}), found)
    names = {name for name, _ in found} - {"impasto"}
    assert {"torch", "pytest", "ray"} <= names
    assert names <= set(pinned())


def test_pinned_versions_satisfy_the_ranges_of_the_package() -> None:
    project, pins = PROJECT["project"], pinned()
    for each in {*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)}:
        requirement = Requirement(each)
        if requirement.name != "impasto":
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), each


def test_the_notices_list_every_dependency() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    assert set(listed("What impasto needs")) == required(PROJECT["project"]["dependencies"])
    assert set(listed("What the extras need")) == set().union(*(required(extras[each]) for each in extras if each != "dev"))
    assert set(listed("What development needs")) == required(extras["dev"])


LICENSE_WORDS = {
    "Apache-2.0": ("Apache",),
    "BSD-2-Clause": ("BSD",),
    "BSD-3-Clause": ("BSD",),
    "LGPL-3.0-or-later": ("LGPL",),
    "MIT": ("MIT",),
    "MIT-CMU": ("MIT-CMU", "HPND"),
    "MPL-2.0": ("MPL", "Mozilla"),
    "PSF-based": ("Python Software Foundation", "PSF", "matplotlib"),
}


@pytest.mark.parametrize(
    ("package", "license"),
    [pair for title in ("impasto needs", "the extras need", "development needs") for pair in listed(f"What {title}").items()],
)
def test_the_license_of_a_dependency_is_that_of_its_metadata(package: str, license: str) -> None:
    try:
        metadata = importlib.metadata.metadata(package)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    stated = [metadata.get("License-Expression"), metadata.get("License")]
    stated += [each for each in metadata.get_all("Classifier") or [] if each.startswith("License ::")]
    text = " ".join(each for each in stated if each)
    assert any(word in text for word in LICENSE_WORDS[license]), f"{package} states: {text[:200]}"


def test_the_notices_ship_with_the_package() -> None:
    assert PROJECT["project"]["license-files"] == ["LICENSE", "THIRD_PARTY.md"]
    assert "CC BY 4.0" in NOTICES
    assert "Simonyan" in NOTICES

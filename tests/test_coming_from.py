"""The page for users of other programs: every flag on it exists, and all flags of INetwork are listed."""

import dataclasses
import re
import shlex
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

from impasto.cli import app
from impasto.cli.flags import given
from impasto.compat.inetwork_flags import InetworkOptions
from impasto.compat.neural_doodle import NeuralDoodleOptions
from impasto.options import INITS
from impasto.options.fields import dashed
from impasto.recipes.presets import PRESETS, check_recipe, paint_options
from impasto.weights import catalogue

PAGE = Path(__file__).resolve().parent.parent / "docs" / "coming-from.md"
SECTIONS = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
COMMAND = re.compile(r"^Command: `impasto ([a-z -]+)`$", re.MULTILINE)


@cache
def flags_of(command: str) -> frozenset[str]:
    """Return the flags of a command, such as ``"train instant"``; text after its name is ignored."""
    found = app
    for word in command.split():
        with suppress(KeyError):
            found = found[word]
    return frozenset(name for argument in found.assemble_argument_collection() for name in argument.names)


def rows_of(section: str) -> list[tuple[str, str, str]]:
    """Return the rows of a section's tables: theirs, ours, notes."""
    found = []
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and cells[0] != "theirs" and not set(cells[0]) <= {"-"}:
            assert len(cells) == 3, line
            found.append((cells[0], cells[1], cells[2]))
    return found


def named_flags(text: str, command: str) -> list[tuple[str, str]]:
    """Find impasto's flags in the code spans of a text, each with its command."""
    found = []
    for span in re.findall(r"`([^`]+)`", text):
        words = span.split()
        flags = [word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)]
        ours = words[0] == "impasto"
        until = next((place for place, word in enumerate(words) if word.startswith("-") or word.isupper()), len(words))
        found += [(" ".join(words[1:until]) if ours else command, flag) for flag in flags]
    return found


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.splitlines()[0])
def test_every_flag_on_the_page_exists(section: str) -> None:
    command = COMMAND.search(section)
    assert command, "each section names the command of its second column"
    rows = rows_of(section)
    assert rows
    prose = "\n".join(line for line in section.splitlines() if not line.startswith("|"))
    named = [pair for _, ours, _ in rows for pair in named_flags(ours, command[1])]
    named += [pair for _, _, notes in rows for pair in named_flags(notes, command[1])]
    named += [pair for pair in named_flags(prose, "paint") if pair[1] != "--flag"]
    for of, flag in named:
        known = flags_of(of) | (flags_of("inetwork") if "INetwork" in section and of == "paint" else frozenset())
        assert flag in known, f"impasto {of} has no {flag}"


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.splitlines()[0])
def test_the_second_column_gives_a_replacement_or_says_there_is_none(section: str) -> None:
    for theirs, ours, _ in rows_of(section):
        assert theirs
        assert "`" in ours or ours in ("not needed", "not yet") or re.fullmatch(r"[A-Z. ]+", ours), ours


def test_every_inetwork_flag_is_listed() -> None:
    theirs = " ".join(row[0] for row in rows_of(SECTIONS[0]))
    for field in dataclasses.fields(InetworkOptions):
        assert f"`--{field.name}`" in theirs


def test_every_neural_doodle_flag_is_listed() -> None:
    (section,) = (each for each in SECTIONS if each.startswith("neural-doodle"))
    ours = " ".join(row[1] for row in rows_of(section))
    for field in dataclasses.fields(NeuralDoodleOptions):
        assert f"`{dashed(field.name)}`" in ours or field.name == "resolution"


def test_presets_and_weights_on_the_page_exist() -> None:
    text = PAGE.read_text(encoding="utf-8")
    presets = set(re.findall(r"--preset ([a-z0-9-]+)", text))
    assert {"inetwork", "network", "neural-style", "neural-style-tf", "style-transfer-pytorch"} <= presets <= set(PRESETS)
    assert set(re.findall(r"weights fetch ([a-z0-9-]+)", text)) <= set(catalogue)
    assert set(re.findall(r"--init ([a-z-]+)", text)) <= set(INITS)


def test_a_nonexistent_flag_is_detected() -> None:
    assert named_flags("`--sise`, `impasto train instant --batch 4`", "paint") == [
        ("paint", "--sise"),
        ("train instant", "--batch"),
    ]
    assert "--sise" not in flags_of("paint")
    assert {"--size", "--output", "-o"} <= flags_of("paint")


COMMANDS = [
    pytest.param(line.split("#")[0].strip(), id=f"{page.name}: {line[:60]}")
    for page in (PAGE.parent.parent / "README.md", *sorted(PAGE.parent.glob("*.md")))
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for line in re.findall(r"^(?:\.venv/bin/)?(impasto paint [^\n]*[^\n\\])$", block, re.MULTILINE)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_on_the_pages_use_only_options_of_their_recipe(command: str) -> None:
    _, bound, *_ = app.parse_args(shlex.split(command)[1:], print_error=False, exit_on_error=False)
    check_recipe(paint_options(**given(bound.arguments.get("options"))))

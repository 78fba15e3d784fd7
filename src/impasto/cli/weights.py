"""``impasto weights``: what is published, what is on this machine, and how one becomes the other."""

import sys
from pathlib import Path
from typing import Annotated

import cyclopts
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Column, Table
from rich.text import Text

from impasto import weights
from impasto.cli.progress import narrator
from impasto.runtime.folders import fallback_note

app = cyclopts.App(name="weights", help="List, fetch, import and verify the weights of encoders.")


@app.command(name="list")
def list_() -> None:
    """List the published weights that impasto knows, and whether they are on this machine."""
    table = Table("name", "here", "size", Column("what", overflow="fold"), box=None, pad_edge=False)
    for entry in weights.catalogue.values():
        here = "yes" if entry.name in weights.in_cache() else "no"
        what = f"{entry.description}\n{entry.licence}; checked by {entry.checked_by}\n{entry.url}\n"
        table.add_row(entry.name, here, f"{entry.size_bytes / 1e6:.0f} MB", Text(what))
    Console(file=sys.stdout).print(table)
    _say(f"cache: {weights.cache_folder()}")
    _say("The default encoder, vgg19-slim, is inside the package.")


@app.command
def fetch(name: str = "vgg19", /, *, offline: Annotated[bool | None, cyclopts.Parameter(negative="")] = None) -> None:
    """Download published weights into the cache: resumed where it was cut, and verified.

    Args:
        name: what to fetch; see "impasto weights list".
        offline: do not use the network, and say how to bring the file here by hand.
    """
    _say_where()
    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task(name, total=None)
        path = weights.fetch(name, lambda done, total: bar.update(task, completed=done, total=total), offline=offline)
    _say(str(path))


@app.command(name="import")
def import_(file: Path, /, *, name: str | None = None) -> None:
    """Copy a file of weights, in any published form, into the cache.

    Args:
        file: the file.
        name: what to call it; by default its name in the list, or vgg19 or vgg16, whichever it is.
    """
    _say_where()
    _say(str(weights.import_file(file, name)))


@app.command
def verify(*names_or_files: str) -> None:
    """Read weights to their end, say what they are, and compare their hash with the published or recorded one.

    Args:
        names_or_files: names in the cache, or files; by default all that is in the cache.
    """
    for each in names_or_files or weights.in_cache():
        found = weights.verify(each)
        _say(
            f"{each}: good. {found.form}; {found.layers} convolutions; SHA-256 {found.sha256}, checked against {found.against}"
        )
    if not names_or_files and not weights.in_cache():
        _say(f"nothing to verify: {weights.cache_folder()} holds no weights")


@app.command
def path(name: str | None = None, /) -> None:
    """Print where the weights of a name lie, or, without a name, the folder of the cache.

    Args:
        name: in the cache.
    """
    _say(str(weights.find(name) if name else weights.cache_folder()))


def _say_where() -> None:
    """Say that weights are kept among the temporary files, where they are."""
    if note := fallback_note(weights.cache_folder(), "IMPASTO_CACHE"):
        narrator(quiet=False).print(note)


def _say(line: str) -> None:
    """Print a line as it is: neither wrapped, nor colored, nor read as markup."""
    narrator(quiet=False, to_stderr=False).print(line)

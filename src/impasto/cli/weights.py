"""``impasto weights``: list, download, import and verify the weights of encoders."""

import sys
from pathlib import Path
from typing import Annotated

import cyclopts
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Column, Table
from rich.text import Text

from impasto import weights
from impasto.cli.progress import message_console
from impasto.runtime.folders import fallback_note

app = cyclopts.App(name="weights", help="List, download, import and verify the weights of encoders.")


@app.command(name="list")
def list_() -> None:
    """List the known published weights, and show which of them are on this machine."""
    table = Table("name", "here", "size", Column("what", overflow="fold"), box=None, pad_edge=False)
    for entry in weights.catalogue.values():
        here = "yes" if entry.name in weights.in_cache() else "no"
        what = f"{entry.description}\n{entry.licence}; checked by {entry.checked_by}\n{entry.url}\n"
        table.add_row(entry.name, here, f"{entry.size_bytes / 1e6:.0f} MB", Text(what))
    Console(file=sys.stdout).print(table)
    _print(f"cache: {weights.cache_folder()}")
    _print("The default encoder, vgg19-slim, is inside the package.")


@app.command
def fetch(name: str = "vgg19", /, *, offline: Annotated[bool | None, cyclopts.Parameter(negative="")] = None) -> None:
    """Download published weights into the cache and verify them. An interrupted download is resumed.

    Args:
        name: Name of the weights; see "impasto weights list".
        offline: Do not access the internet; print how to download the file by hand.
    """
    _print_fallback()
    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task(name, total=None)
        path = weights.fetch(name, lambda done, total: bar.update(task, completed=done, total=total), offline=offline)
    _print(str(path))


@app.command(name="import")
def import_(file: Path, /, *, name: Annotated[str | None, cyclopts.Parameter(metavar="NAME")] = None) -> None:
    """Copy a weights file, in any published format, into the cache.

    Args:
        file: The file.
        name: Name in the cache. Default: the name in the list of known weights; for other weights, vgg19 or vgg16,
            depending on the network.
    """
    _print_fallback()
    _print(str(weights.import_file(file, name)))


@app.command
def verify(*names_or_files: str) -> None:
    """Read each weights file completely, print a description, and compare its hash with the published or recorded hash.

    Args:
        names_or_files: Names in the cache, or files. Default: all weights in the cache.
    """
    for each in names_or_files or weights.in_cache():
        found = weights.verify(each)
        _print(
            f"{each}: OK. {found.form}; {found.layers} convolutions; SHA-256 {found.sha256}, checked against {found.against}"
        )
    if not names_or_files and not weights.in_cache():
        _print(f"nothing to verify: {weights.cache_folder()} contains no weights")


@app.command
def path(name: str | None = None, /) -> None:
    """Print the path of a weights file. Without a name, print the path of the cache folder.

    Args:
        name: Name in the cache.
    """
    _print(str(weights.find(name) if name else weights.cache_folder()))


def _print_fallback() -> None:
    """Print a note if weights are stored in a temporary folder."""
    if note := fallback_note(weights.cache_folder(), "IMPASTO_CACHE"):
        message_console(quiet=False).print(note)


def _print(line: str) -> None:
    """Print a line unchanged, without wrapping, colors or markup."""
    message_console(quiet=False, to_stderr=False).print(line)

"""``impasto styles``: the named styles, both those shipped with impasto and the user's own."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from impasto.cli.progress import message_console, printable
from impasto.errors import StyleFileError
from impasto.options.fields import check_range

if TYPE_CHECKING:
    from impasto.styles.named import NamedStyle

app = App(name="styles", help="List and show the named styles, add your own and remove them.")

_SHOWN = {"title": "title", "artist": "artist", "date": "date", "source": "source", "licence": "license"}
"""Printed label of each fact in a style file."""


@app.command(name="list")
def list_() -> None:
    """List the named styles, both those shipped with impasto and your own."""
    from rich.table import Column, Table

    from impasto.runtime.folders import styles_folder
    from impasto.styles.named import known_styles, user_styles

    known, own = known_styles(), user_styles()
    table = Table(Column("name", no_wrap=True), "title", "artist", "from", box=None, pad_edge=False)
    for name, path in known.items():
        table.add_row(name, *_title_and_artist(path), "you" if name in own else "impasto")
    console = message_console(quiet=False, to_stderr=False)
    if known:
        console.print(table)
    console.print(f"your own styles: {styles_folder()}; to add one: impasto styles add PICTURE --name NAME")


@app.command
def show(name: str, /) -> None:
    """Show the facts about a style.

    Args:
        name: A name from the list, or a style file.
    """
    style, path = _found(name)
    console = message_console(quiet=False, to_stderr=False)
    console.print(printable(style.name))
    for fact, label in _SHOWN.items():
        if style.facts[fact]:
            console.print(f"{label}: {printable(style.facts[fact])}")
    sizes = sorted(style.moments)
    console.print(f"measured at: {', '.join(map(str, sizes))} pixels")
    console.print(f"layers: {', '.join(style.moments[sizes[0]])}")
    console.print(f"encoder: vgg19-slim, SHA-256 {style.facts['encoder_sha256']}")
    console.print(f"file: {path}")


@app.command
def add(
    picture: Path,
    /,
    *,
    name: Annotated[str, Parameter(metavar="NAME")],
    title: str = "",
    artist: str = "",
    date: str = "",
    source: str = "",
    license_: Annotated[str, Parameter(name=("--license", "--licence"))] = "",
) -> None:
    """Add a style of your own. Its file contains statistics of the picture, and a copy with a longer side of at most 1024 px.

    Args:
        picture: The picture.
        name: Name of the style: lower-case words with hyphens.
        title: Title of the picture.
        artist: Artist.
        date: Date of the picture.
        source: Source of the picture, such as a museum or a URL.
        license_: License of the picture.
    """
    from impasto import images
    from impasto.recipes.naming import name_style
    from impasto.runtime.folders import styles_folder
    from impasto.styles.named import add_style, check_new_name

    check_new_name(name)
    facts = {"name": name, "title": title, "artist": artist, "date": date, "source": source, "licence": license_}
    _print_fallback(styles_folder())
    path = add_style(name_style(images.read(picture), facts))
    console = message_console(quiet=False, to_stderr=False)
    console.print(f"{path}: {path.stat().st_size / 1e3:.0f} kB; paint with it: impasto paint PHOTO {name}")


@app.command
def remove(name: str, /) -> None:
    """Remove a style of your own.

    Args:
        name: Name of the style; shipped styles cannot be removed.
    """
    from impasto.styles.named import remove_style

    message_console(quiet=False, to_stderr=False).print(f"removed {remove_style(name)}")


def _title_and_artist(path: Path) -> tuple[str, str]:
    from impasto.styles.named import style_facts

    try:
        facts = style_facts(path)
    except StyleFileError:
        return "cannot be read; remove it and add it again", ""
    return printable(facts["title"]), printable(
        facts["artist"].split(" (")[0]
    )  # omit the years of birth and death; `show` prints them


@app.command
def sheet(
    photo: str | None = None,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path("styles.png"),
    columns: int = 6,
    size: int = 320,
) -> int:
    """Paint one photo in every named style, and save all results on one sheet.

    Args:
        photo: The photo; by default a bundled one (Eileen Collins, NASA, public domain).
        output: The sheet.
        columns: Number of columns.
        size: Longer side of each picture in pixels.
    """
    from impasto import images
    from impasto.cli.outputs import check_output, print_notes, save_sheet
    from impasto.recipes.instant import instant_options, painted_pastiche
    from impasto.recipes.instant_painter import InstantPainter
    from impasto.styles.named import known_styles, load_style

    check_range("columns", columns, 1, 100)
    check_output(output, () if photo is None else (photo,))
    picture = images.read(_astronaut() if photo is None else photo)
    painter, options = InstantPainter(), instant_options(size=size)
    shown = []
    for name, path in known_styles().items():
        shown.append((painted_pastiche(painter, picture, (load_style(path),), (), options).image, name))
    saved = save_sheet(output, images.contact_sheet(shown, columns=columns, cell_px=size))
    message_console(quiet=False, to_stderr=False).print(f"{saved.name}: {len(shown)} styles")
    return print_notes(saved)


def _astronaut() -> Any:
    from skimage.data import astronaut

    return astronaut()  # type: ignore[no-untyped-call]


def _print_fallback(folder: Path) -> None:
    """Print a note if styles are stored in a temporary folder."""
    from impasto.runtime.folders import fallback_note

    if note := fallback_note(folder, "IMPASTO_STYLES"):
        message_console(quiet=False).print(note)


def _found(name: str) -> tuple["NamedStyle", Path]:
    from impasto.styles.named import find_style, known_styles, load_style

    if os.path.isfile(name):
        return load_style(name), Path(name)
    return find_style(name), known_styles()[name]

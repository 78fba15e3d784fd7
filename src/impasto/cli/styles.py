"""``impasto styles``: the manners that impasto knows by name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from impasto.cli.progress import narrator
from impasto.errors import StyleFileError

if TYPE_CHECKING:
    from impasto.styles import NamedStyle

app = App(name="styles", help="List and show the named styles, and measure new ones.")

_SHOWN = ("title", "artist", "date", "source", "licence")


@app.command(name="list")
def list_() -> None:
    """List the named styles."""
    from rich.table import Table

    from impasto.styles import load_style, shipped_styles

    table = Table("name", "title", "artist", "date", box=None, pad_edge=False)
    known = shipped_styles()
    for name, path in known.items():
        facts = load_style(path).facts
        table.add_row(name, facts["title"], facts["artist"], facts["date"])
    speak = narrator(quiet=False, to_stderr=False)
    speak.print(
        table if known else "no named style came with this impasto; a picture is a style too: impasto paint PHOTO PICTURE"
    )


@app.command
def show(name: str, /) -> None:
    """Tell what is known about a style.

    Args:
        name: A name out of the list, or a style file.
    """
    style = _found(name)
    speak = narrator(quiet=False, to_stderr=False)
    speak.print(style.name)
    for fact in _SHOWN:
        if style.facts[fact]:
            speak.print(f"{fact}: {style.facts[fact]}")
    sizes = sorted(style.moments)
    speak.print(f"measured at: {', '.join(map(str, sizes))} pixels")
    speak.print(f"layers: {', '.join(style.moments[sizes[0]])}")
    speak.print(f"encoder: vgg19-slim, SHA-256 {style.facts['encoder_sha256']}")


@app.command
def measure(
    picture: Path,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    name: str,
    title: str = "",
    artist: str = "",
    date: str = "",
    source: str = "",
    licence: str = "",
) -> None:
    """Measure a picture, and save its manner as a style file: statistics, from which no picture can be drawn again.

    Args:
        picture: The picture.
        output: The style file, NAME.style.safetensors.
        name: What the style is called by.
        title: Of the picture.
        artist: Who made it.
        date: When.
        source: Where it is shown or was fetched from.
        licence: What may be done with the picture.
    """
    from impasto import images
    from impasto.recipes.naming import name_style
    from impasto.styles import SUFFIX, save_style

    if not output.name.endswith(SUFFIX):
        raise StyleFileError(f"style file '{output}' cannot be found by its name; it must end in {SUFFIX}")
    facts = {"name": name, "title": title, "artist": artist, "date": date, "source": source, "licence": licence}
    save_style(output, name_style(images.read(picture), facts))
    narrator(quiet=False, to_stderr=False).print(f"{output}: {output.stat().st_size / 1e3:.0f} kB")


def _found(name: str) -> "NamedStyle":
    from impasto.styles import find_style, load_style

    return load_style(name) if Path(name).is_file() else find_style(name)

"""``impasto brushes``: the brushes included in the package, and brush files."""

from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from impasto.cli.progress import message_console, printable
from impasto.errors import OptionError, WeightsError

if TYPE_CHECKING:
    from impasto.networks.johnson import Layout

_LONG = ("curve",)
"""Metadata that is too long for the screen: the losses during training."""

app = App(name="brushes", help="List, show and convert brushes, small networks for one style.")


@app.command(name="list")
def list_() -> None:
    """List the brushes included in the package."""
    from rich.table import Column, Table

    from impasto.networks.brush_files import shipped_brushes

    known = shipped_brushes()
    table = Table(Column("name", no_wrap=True), "title", "artist", Column("size", justify="right"), "layout", box=None)
    table.pad_edge = False
    for name, path in known.items():
        table.add_row(name, *_row(path))
    console = message_console(quiet=False, to_stderr=False)
    console.print(table if known else "no brushes are included in this package")
    console.print("to paint: impasto apply BRUSH PHOTO; BRUSH is a name from the list, or a .brush file")


@app.command
def show(brush: str, /) -> None:
    """Show the metadata of a brush, such as its training settings.

    Args:
        brush: A name from the list, a .brush file, or a network of fast-neural-style or fast-style-transfer.
    """
    from impasto.networks.brush_files import brush_facts, brush_path, load_brush

    path, network, facts = brush_path(brush), load_brush(brush), brush_facts(brush)
    console = message_console(quiet=False, to_stderr=False)
    console.print(printable(facts.pop("name", "") or path.stem))
    for name, value in facts.items():
        if value and name not in _LONG:
            console.print(f"{printable(name).replace('_', ' ')}: {printable(value)}")
    count = sum(each.numel() for each in network.parameters())
    console.print(f"layout: {_layout_in_words(network.layout)}; {count:,} weights")
    console.print(f"file: {path}, {_size(path)}, SHA-256 {network.sha256}")


@app.command
def convert(source: Path, output: Path, /) -> int:
    """Convert a network of another program to a .brush file.

    Args:
        source: A state dict of pytorch/examples' fast_neural_style (.pth, .model), or a checkpoint of lengstrom's
            fast-style-transfer that was converted to safetensors. No code in the file is executed.
        output: The .brush file.
    """
    from impasto.cli.outputs import Saved, keep, print_notes
    from impasto.cli.overwriting import check_overwrites
    from impasto.networks.brush_files import SUFFIX, brush_facts, brush_path, load_brush, save_brush
    from impasto.networks.foreign_brushes import is_foreign

    if output.suffix != SUFFIX:
        raise OptionError(f"the output '{output}' does not end in {SUFFIX}; give a name such as '{output.stem}{SUFFIX}'")
    path = brush_path(source)
    if not is_foreign(path):
        load_brush(path)  # raises if the file is damaged or contains another kind of network
        raise OptionError(f"'{source}' is already a brush; copy the file, or paint with it: impasto apply {source} PHOTO")
    check_overwrites({"the output": output}, (path,))
    network, facts = load_brush(path), brush_facts(path)
    facts |= {"source_sha256": network.sha256}
    saved, note = keep(output, lambda path: save_brush(path, network, facts), output.name)
    console = message_console(quiet=False, to_stderr=False)
    console.print(f"{saved}: {_size(saved)}, {_layout_in_words(network.layout)}; paint with it: impasto apply {saved} PHOTO")
    return print_notes(Saved(saved, notes=(note,) if note else (), is_elsewhere=bool(note)))


def _row(path: Path) -> tuple[str, str, str, str]:
    """Return title, artist, size and layout of a brush."""
    from impasto.networks.brush_files import brush_facts, load_brush

    try:
        facts, layout = brush_facts(path), load_brush(path).layout
    except WeightsError:
        return "cannot be read; install impasto again", "", _size(path), ""
    artist = facts.get("artist", "").split(" (")[0]  # omit the years of birth and death; `show` prints them
    return printable(facts.get("title", "")), printable(artist), _size(path), _name_of(layout)


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e3:,.0f} kB"


def _name_of(layout: "Layout") -> str:
    """Return the name of a layout, or its width and blocks if it has no name."""
    from impasto.networks.johnson import LAYOUTS

    names = [name for name, known in LAYOUTS.items() if known == layout]
    return names[0] if names else f"{layout.width} channels, {layout.blocks} blocks"


def _layout_in_words(layout: "Layout") -> str:
    facts = (f"{layout.width} channels", f"{layout.blocks} blocks", f"first and last filters {layout.ends}x{layout.ends}")
    others = (f"{layout.border} borders", f"{layout.upsampling} upsampling", f"{layout.output} output")
    name = _name_of(layout)
    return ", ".join((*((name,) if "channels" not in name else ()), *facts, *others))

"""``impasto export``: export the networks for other programs."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from impasto.cli.overwriting import check_overwrites
from impasto.cli.progress import message_console
from impasto.cli.training import check_writable
from impasto.errors import OptionError
from impasto.options.fields import check_range

if TYPE_CHECKING:
    from impasto.networks.onnx_export import Fixed

_OF_BRUSHES = {"strength": 1.0, "precision": "fp32"}
_OF_LIVE = {"style": None, "size": 512, "stroke": 1.0, "winograd": False}
"""Options of the two kinds of networks, and their defaults."""
_KEPT_FACTS = ("name", "title", "artist", "date", "license", "source")

app = App(name="export", help="Export the networks for other programs.")


@app.command
def onnx(
    output: Path,
    /,
    *,
    style: Annotated[str | None, Parameter(metavar="NAME")] = None,
    size: int = 512,
    stroke: float = 1.0,
    winograd: bool = False,
    brush: Annotated[str | None, Parameter(metavar="NAME")] = None,
    strength: float = 1.0,
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
) -> None:
    """Export a brush or the live network as an ONNX graph, and compare its output in ONNX Runtime with PyTorch.

    With --brush, the input of the graph is a photo of any size, (1, 3, height, width) in [0, 1]. Without --brush, the graph is
    the live network, and its inputs are the photo, a style and a palette. With --style, the photo is the only input.

    Args:
        output: Output file, .onnx.
        style: Style to build into the graph: a picture, or a name from "impasto styles list".
        size: With --style: longer side of the photos for which the style is measured, 32 to 4096 pixels.
        stroke: With --style: width of the brush strokes, 0.25 to 1.5.
        winograd: Use Winograd convolutions, which are meant for browsers and need only a third of the multiplications. Sides
            of pictures must then be multiples of 32 instead of 8.
        brush: Export this brush: a .brush file, or a name from "impasto brushes list".
        strength: With --brush: strength of the style, 0 (the photo) to 1; it is built into the graph.
        precision: With --brush: arithmetic of the graph. fp16 suits GPUs and phones, int8 suits CPUs. Both change the picture
            slightly, and the change is printed.
    """
    if output.suffix.lower() != ".onnx":
        raise OptionError(f"{str(output)!r} does not end in .onnx; choose a name that does")
    given = {"style": style, "size": size, "stroke": stroke, "winograd": winograd, "strength": strength, "precision": precision}
    _check_kind(given, brush)
    if brush is not None:
        _export_brush(output, brush, strength, precision)
        return
    check_range("size", size, 32, 4096)
    check_range("stroke", stroke, 0.25, 1.5)
    check_overwrites({"the output": output}, () if style is None else (style,))
    check_writable(output)
    from impasto.networks import load_instant, shipped_instant
    from impasto.networks.onnx_export import instant_graph, largest_difference, save_graph

    network = load_instant(shipped_instant())
    fixed = _fixed(style, size * stroke) if style is not None else None
    model = instant_graph(network, style=fixed, winograd=winograd, facts={"style": style} if style else {})
    save_graph(output, model)
    difference = largest_difference(output, network, fixed)
    sides = {each.key: each.value for each in model.metadata_props}["sides"]
    message_console(quiet=False).print(
        f"{output}: {output.stat().st_size / 1e6:.1f} MB; sides in multiples of {sides}; "
        f"largest difference from PyTorch: {difference:.0e} (colors range from 0 to 1)"
    )


def _check_kind(given: Mapping[str, object], brush: str | None) -> None:
    """Check that no option of the other kind of network is given."""
    foreign = _OF_BRUSHES if brush is None else _OF_LIVE
    for name, default in foreign.items():
        if given[name] != default:
            why = "needs --brush; add it" if brush is None else "does not apply to brushes; omit it"
            raise OptionError(f"--{name} {why}")


def _export_brush(output: Path, brush: str, strength: float, precision: Literal["fp32", "fp16", "int8"]) -> None:
    check_range("strength", strength, 0, 1)
    check_overwrites({"the output": output}, (brush,))
    check_writable(output)
    from impasto.networks.brush_files import brush_facts, load_brush
    from impasto.networks.onnx_precision import save_checked

    facts = {name: value for name, value in brush_facts(brush).items() if name in _KEPT_FACTS}
    found = save_checked(output, load_brush(brush), precision, strength=strength, facts=facts)
    message_console(quiet=False).print(
        f"{output}: {output.stat().st_size / 1e6:.2f} MB; pictures of any size; difference from PyTorch: largest "
        f"{found.largest:.0e}, mean {found.mean:.0e} (colors range from 0 to 1)"
    )


def _fixed(style: str, edge_px: float) -> "Fixed":
    from impasto.networks.onnx_export import Fixed
    from impasto.recipes.live_style import live_style
    from impasto.recipes.painting import read_styles

    measured = live_style(read_styles(style)[0], edge_px=edge_px)
    return Fixed(measured.modulation, measured.colors)

"""``impasto export``: export the networks for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from impasto.cli.overwriting import check_overwrites
from impasto.cli.progress import message_console
from impasto.cli.training import check_writable
from impasto.errors import OptionError
from impasto.options.fields import check_range

if TYPE_CHECKING:
    from impasto.networks.onnx_export import Fixed

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
) -> None:
    """Export the live network, which runs on the webcam page, as an ONNX graph, and compare its output with that of PyTorch.

    The inputs of the graph are the photo, (1, 3, height, width) in [0, 1], a style and a palette. With --style, the photo is
    the only input.

    Args:
        output: Output file, .onnx.
        style: Style to build into the graph: a picture, or a name from "impasto styles list".
        size: With --style: longer side of the photos for which the style is measured, 32 to 4096 pixels.
        stroke: With --style: width of the brush strokes, 0.25 to 1.5.
        winograd: Use Winograd convolutions, which are meant for browsers and need only a third of the multiplications. Sides
            of pictures must then be multiples of 32 instead of 8.
    """
    if output.suffix.lower() != ".onnx":
        raise OptionError(f"{str(output)!r} does not end in .onnx; choose a name that does")
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


def _fixed(style: str, edge_px: float) -> "Fixed":
    from impasto.networks.onnx_export import Fixed
    from impasto.recipes.live_style import live_style
    from impasto.recipes.painting import read_styles

    measured = live_style(read_styles(style)[0], edge_px=edge_px)
    return Fixed(measured.modulation, measured.colors)

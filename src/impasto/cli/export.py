"""``impasto export``: export brushes and the instant painter for other programs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from impasto.cli.overwriting import check_overwrites
from impasto.cli.progress import message_console
from impasto.cli.training import check_writable
from impasto.errors import OptionError
from impasto.options.fields import check_range

_OF_BRUSHES = {"precision": "fp32"}
_OF_INSTANT = {"style": None, "size": 512, "stroke": 1.0}
"""Options of the two kinds of graphs, and their defaults."""
_KEPT_FACTS = ("name", "title", "artist", "date", "license", "source")

app = App(name="export", help="Export brushes and styles for other programs.")


@app.command
def onnx(
    output: Path,
    /,
    *,
    brush: Annotated[str | None, Parameter(metavar="NAME")] = None,
    style: Annotated[str | None, Parameter(metavar="NAME")] = None,
    strength: float = 1.0,
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
    size: int = 512,
    stroke: float = 1.0,
) -> None:
    """Export a brush or a style as an ONNX graph, and compare its output in ONNX Runtime with PyTorch.

    The input of the graph is a photo of any size, (1, 3, height, width) in [0, 1]. With --brush, the graph is the network of
    the brush. With --style, it paints like "impasto instant --fast" in this style.

    Args:
        output: Output file, .onnx.
        brush: Brush to export: a .brush file, or a name from "impasto brushes list".
        style: Style to export: a picture, or a name from "impasto styles list".
        strength: Strength of the style, 0 (the photo) to 1; it is built into the graph.
        precision: With --brush: arithmetic of the graph. fp16 suits GPUs and phones, int8 suits CPUs. Both change the picture
            slightly, and the change is printed.
        size: With --style: longer side of the photos for which the style is encoded, 32 to 1024 pixels. It determines the size
            of the strokes and of the file (37 MB at 512); photos may have any size.
        stroke: With --style: width of the brush strokes, 0.25 to 1.5.
    """
    if output.suffix.lower() != ".onnx":
        raise OptionError(f"{str(output)!r} does not end in .onnx; choose another name")
    _check_kind({"style": style, "size": size, "stroke": stroke, "precision": precision}, brush)
    check_range("strength", strength, 0, 1)
    if brush is not None:
        _export_brush(output, brush, strength, precision)
    elif style is not None:
        check_range("size", size, 32, 1024)
        check_range("stroke", stroke, 0.25, 1.5)
        _export_style(output, style, size, stroke, strength)
    else:
        raise OptionError("export onnx needs a brush or a style; add --brush NAME or --style NAME")


def _check_kind(given: Mapping[str, object], brush: str | None) -> None:
    """Check that no option of the other kind of graph is given."""
    foreign = _OF_BRUSHES if brush is None else _OF_INSTANT
    for name, default in foreign.items():
        if given[name] != default:
            why = "needs --brush; add it, or omit the option" if brush is None else "does not apply to brushes; omit it"
            raise OptionError(f"--{name} {why}")


def _export_brush(output: Path, brush: str, strength: float, precision: Literal["fp32", "fp16", "int8"]) -> None:
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


def _export_style(output: Path, style: str, size: int, stroke: float, strength: float) -> None:
    check_overwrites({"the output": output}, (style,))
    check_writable(output)
    from impasto.recipes.instant_onnx import InstantGraph, save_instant_graph
    from impasto.recipes.painting import read_styles

    found = save_instant_graph(output, InstantGraph(read_styles(style)[0], size, stroke, strength))
    message_console(quiet=False).print(
        f"{output}: {output.stat().st_size / 1e6:.1f} MB; pictures of any size; difference from PyTorch: "
        f"{100 * found.share:.2f} % of pixels by more than 2/255, mean {found.mean:.0e} (colors range from 0 to 1)"
    )

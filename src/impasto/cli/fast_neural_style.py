"""``impasto fast-neural-style``: pytorch/examples' fast_neural_style, with its original flags and networks."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from impasto.cli.flags import Files
from impasto.cli.progress import message_console
from impasto.errors import OptionError, ResourceError
from impasto.options import Device, Run
from impasto.options.brush import BrushOptions
from impasto.options.fields import check_range

if TYPE_CHECKING:
    from impasto.images import Picture

app = App(name="fast-neural-style", help="Run with the options of pytorch/examples' fast_neural_style and its networks.")

_Switch = Annotated[bool, Parameter(negative="", show_default=False)]


@app.command(name="eval")
def eval_(
    *,
    content_image: Annotated[Path, Parameter(metavar="PATH")],
    model: Annotated[str, Parameter(metavar="PATH")],
    output_image: Annotated[Path, Parameter(metavar="PATH")],
    content_scale: float = 1.0,
    cuda: int | None = None,
    accel: _Switch = False,
    mps: _Switch = False,
    export_onnx: Annotated[Path | None, Parameter(name=("--export_onnx", "--export-onnx"))] = None,
) -> int:
    """Paint a photo with a network of fast_neural_style; no code in its file is executed.

    Args:
        content_image: The photo.
        model: The network: a state dict (.pth, .model), a .brush file, or a name from "impasto brushes list".
        output_image: Output file.
        content_scale: Factor by which to reduce the photo.
        cuda: 1 for the GPU, 0 for the CPU; default: a GPU if there is one.
        accel: Use a GPU if there is one; this is the default.
        mps: Use the GPU of a Mac.
        export_onnx: Not supported here; use "impasto export onnx".
    """
    from impasto.cli.outputs import check_files, print_notes, save_pastiche
    from impasto.cli.signals import undisturbed
    from impasto.recipes.brush import BrushPainter, applied
    from impasto.recipes.painting import read_content
    from impasto.runtime.memory import memory_in_words

    if export_onnx is not None:
        raise OptionError(f"--export_onnx is a separate command in impasto: impasto export onnx {export_onnx} --brush {model}")
    check_range("content_scale", content_scale, 0.25, 1000)
    files = Files(output=output_image)
    check_files(files, (str(content_image), model))
    painter = BrushPainter(model, Run(device=_device(cuda, is_mps=mps)))
    photo = _scaled(read_content(content_image), content_scale)
    console = message_console(quiet=False, to_stderr=False)
    try:
        with memory_in_words(max(photo.size)):
            pastiche = applied(painter, photo, BrushOptions())
    except ResourceError as error:  # this command has another option for the size
        raise ResourceError(f"{str(error).split(';')[0]}; use a larger --content-scale, or close other programs") from error
    with undisturbed():
        saved = save_pastiche(pastiche, files)
    height, width = pastiche.image.shape[-2:]
    console.print(f"{saved.name}: {width}x{height} pixels")
    return print_notes(saved)


@app.command
def train(*words: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]) -> None:
    """Show how to train a network with impasto."""
    raise OptionError(
        "training is a separate command in impasto: impasto train brush STYLE_IMAGE --photos DATASET -o OUT.brush "
        "--minutes 60; "
        "for its flags, see impasto train brush --help"
    )


def _device(cuda: int | None, *, is_mps: bool) -> Device:
    if is_mps:
        return "mps"
    if cuda is None:
        return "auto"
    return "cuda" if cuda else "cpu"


def _scaled(photo: "Picture", factor: float) -> "Picture":
    """Reduce a photo by a factor."""
    from impasto.images import resize

    height, width = (max(1, int(side / factor)) for side in photo.size)
    alpha = None if photo.alpha is None else resize(photo.alpha, (height, width))
    return replace(photo, image=resize(photo.image, (height, width)), alpha=alpha)

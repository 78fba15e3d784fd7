"""``impasto apply``: paint photos with a brush, a small network for one style."""

from typing import Annotated, Literal

from cyclopts import Parameter

from impasto.cli.flags import COMPUTED, WRITTEN, AppliedFiles, BrushFlags, OutputOptions, UngroupedRunFlags, given
from impasto.cli.pipes import STDIN, check_pipes
from impasto.errors import OptionError
from impasto.options import Run
from impasto.options.brush import BrushOptions


def apply(
    brush: str | None = None,
    /,
    *photos: str,
    files: Annotated[AppliedFiles | None, Parameter(name="*", group=WRITTEN)] = None,
    output_options: Annotated[OutputOptions | None, Parameter(name="*", group=WRITTEN)] = None,
    options: Annotated[BrushFlags | None, Parameter(name="*")] = None,
    run: Annotated[UngroupedRunFlags | None, Parameter(name="*", group=COMPUTED)] = None,
    engine: Annotated[Literal["auto", "torch", "openvino", "onnxruntime"], Parameter(group=COMPUTED)] = "auto",
) -> int:
    """Paint photos with a brush, a small network for one style.

    Args:
        brush: A .brush file, a name from "impasto brushes list", or a network of fast-neural-style or fast-style-transfer.
        photos: Photos, or folders of photos; - reads standard input.
        files: Output files.
        output_options: Messages.
        options: Painting options.
        run: Device and precision.
        engine: auto: on the CPU, the first photo is painted with PyTorch, which starts immediately, and the others with
            OpenVINO if it is installed. Engines round differently.
    """
    if brush is None or not photos:
        missing = "the photo is missing" if brush else "brush and photo are missing"
        raise OptionError(f"{missing}: impasto apply BRUSH PHOTO... -o FOLDER, such as impasto apply mine.brush photo.jpg")
    if brush == STDIN:
        raise OptionError("a brush cannot be read from standard input, only a photo; give the name of a brush file")
    from impasto.cli.photos import paint_photos, planned
    from impasto.recipes.brush import BrushPainter

    files, output_options = files or AppliedFiles(), output_options or OutputOptions()
    check_pipes(photos, files.output, has_json=output_options.json)
    chosen, where = BrushOptions(**given(options)), Run(**given(run))
    batch = planned(photos, files, brush)
    return paint_photos(batch, BrushPainter(brush, where, engine), chosen, output_options)

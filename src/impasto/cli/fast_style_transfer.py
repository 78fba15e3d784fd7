"""``impasto fast-style-transfer``: lengstrom's evaluate.py, with its original flags and networks."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from impasto.cli.flags import OutputOptions, Saving
from impasto.errors import OptionError, ResourceError
from impasto.options import Device, Run
from impasto.options.brush import BrushOptions

_DEVICES: dict[str, Device] = {"cpu": "cpu", "gpu": "auto", "auto": "auto", "cuda": "cuda", "mps": "mps"}
"""TensorFlow used the CPU if there was no GPU, so "/gpu:0" means auto."""


def fast_style_transfer(
    *,
    checkpoint: Annotated[str, Parameter(metavar="PATH")],
    in_path: Annotated[Path, Parameter(metavar="PATH")],
    out_path: Annotated[Path, Parameter(metavar="PATH")],
    device: str = "/gpu:0",
    batch_size: int = 4,
    allow_different_dimensions: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> int:
    """Paint a photo, or all photos in a folder, with a network of fast-style-transfer.

    Args:
        checkpoint: The network: a checkpoint that was converted to safetensors, a .brush file, or a name from
            "impasto brushes list".
        in_path: The photo, or a folder of photos.
        out_path: Output file or folder. In a folder, a result has the name of its photo.
        device: /gpu:0 (a GPU if there is one), /cpu:0, or a device of impasto: auto, cpu, cuda, mps.
        batch_size: No effect; photos are painted one after the other.
        allow_different_dimensions: No effect; photos may always have different sizes.
    """
    from impasto.cli.photos import paint_photos, planned
    from impasto.recipes.brush import BrushPainter

    name = device.strip("/").split(":")[0].lower()
    if name not in _DEVICES:
        raise OptionError(f"--device {device!r} is not known; give /gpu:0, /cpu:0, auto, cpu, cuda or mps")
    batch = planned((str(in_path),), Saving(output=out_path), checkpoint, keeps_names=True)
    painter = BrushPainter(checkpoint, Run(device=_DEVICES[name]))
    try:
        return paint_photos(batch, painter, BrushOptions(), OutputOptions())
    except ResourceError as error:  # this command has no option for the size
        raise ResourceError(str(error).replace("--size", "impasto apply --size")) from error

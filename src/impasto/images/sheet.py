"""Contact sheets: many pictures in one, each with a caption."""

import math
from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import torch

from impasto.errors import OptionError
from impasto.images.picture import fitted_size, to_pil
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import Image

_TEXT_PX, _GAP_PX = 14, 8


@in_known_state
def contact_sheet(pictures: Sequence[tuple[Image, str]], *, columns: int = 4, cell_px: int = 256) -> Image:
    """Arrange pictures in rows on white.

    Args:
        pictures: at least one pair of a picture (1, 3, height, width) in [0, 1] and its caption.
        columns: number of columns.
        cell_px: longer side of a picture on the sheet.

    Returns:
        (1, 3, height, width).

    Raises:
        OptionError: there are no pictures, or no columns.

    Example:
        >>> contact_sheet([(torch.zeros(1, 3, 20, 30), "night")] * 3, columns=2, cell_px=60).shape
        torch.Size([1, 3, 140, 144])
    """
    if not pictures or columns < 1:
        raise OptionError(f"a sheet of {len(pictures)} pictures in {columns} columns cannot be made; give at least one of each")
    shown = [(to_pil(image), text) for image, text in pictures]
    small = [
        (each.resize(fitted_size((each.width, each.height), cell_px), PIL.Image.Resampling.LANCZOS), t) for each, t in shown
    ]
    columns = min(columns, len(small))
    width = cell_px + _GAP_PX
    height = max(each.height for each, _ in small) + _TEXT_PX + 2 * _GAP_PX
    sheet = PIL.Image.new("RGB", (columns * width + _GAP_PX, math.ceil(len(small) / columns) * height), "white")
    pen, font = PIL.ImageDraw.Draw(sheet), PIL.ImageFont.load_default(_TEXT_PX - 2)
    for index, (each, text) in enumerate(small):
        left, top = _GAP_PX + index % columns * width, _GAP_PX + index // columns * height
        sheet.paste(each, (left, top))
        pen.text((left, top + each.height + 2), text, fill="black", font=font)
    return torch.from_numpy(np.array(sheet, np.float32) / 255).permute(2, 0, 1)[None]

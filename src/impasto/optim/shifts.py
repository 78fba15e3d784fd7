"""Small shifts of the picture from step to step, so that no pattern repeats in the cells of a grid."""

import torch
import torch.nn.functional as F

from impasto.optim.tiled import Encode
from impasto.tensors import Features, Image


class ShiftedEncoder:
    """Encodes pictures with another small shift at each step.

    A loss that averages features over the cells of a fixed grid does not see a pattern that repeats in all cells. L-BFGS needs
    an objective that does not change, so it must not be used with shifts.

    Args:
        encode: computes features of pictures.
        cell_px: side of a cell. The shifts are up to half a cell.
        generator: random generator for the order of the shifts.

    Attributes:
        offset: the current shift, in rows and columns; at first, (0, 0).

    Example:
        >>> encoder = ShiftedEncoder(lambda image, layers: {"pixels": image}, 4, torch.Generator().manual_seed(0))
        >>> encoder.offset = (1, 0)
        >>> picture = torch.arange(4.0).reshape(1, 1, 4, 1)
        >>> encoder(picture, frozenset())["pixels"].flatten().tolist()
        [1.0, 2.0, 3.0, 3.0]
    """

    def __init__(self, encode: Encode, cell_px: int, generator: torch.Generator) -> None:
        self.encode, self.cell_px, self.generator = encode, cell_px, generator
        self.offset = (0, 0)
        self._coming: list[int] = []

    def shift(self) -> None:
        """Draw the next shift. Each shift is used once before they are repeated."""
        if not self._coming:
            self._coming = torch.randperm(self.cell_px**2, generator=self.generator).tolist()
        down, right = divmod(self._coming.pop(), self.cell_px)
        self.offset = (down - self.cell_px // 2, right - self.cell_px // 2)

    def __call__(self, image: Image, layers: frozenset[str]) -> Features:
        """Return the features of the shifted picture."""
        if self.offset == (0, 0):
            return self.encode(image, layers)
        (height, width), (down, right), most = image.shape[-2:], self.offset, self.cell_px // 2
        padded = F.pad(image, (most,) * 4, mode="replicate")
        return self.encode(padded[..., most + down : most + down + height, most + right : most + right + width], layers)


def unshifted(encode: Encode) -> Encode:
    """Return an encoder without its shifts, so that objectives of two pictures can be compared."""
    return encode.encode if isinstance(encode, ShiftedEncoder) else encode

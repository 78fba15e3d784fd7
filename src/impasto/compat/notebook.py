"""Drop-in calls for notebooks written for the arbitrary-image-stylization module of TF Hub, without TensorFlow.

Pictures are NumPy arrays (batch, height, width, 3), float32 in [0, 1], or anything that can be converted to such an array.

>>> import impasto.notebook, numpy
>>> stylize = impasto.notebook.load_stylizer()
>>> content, style = numpy.random.rand(1, 64, 96, 3), numpy.random.rand(1, 64, 64, 3)
>>> stylize(content, style)[0].shape
(1, 64, 96, 3)
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from impasto import images
from impasto.errors import OptionError, ShapeError
from impasto.images import Source, fitted_size, resize
from impasto.options import Run
from impasto.recipes.instant_painter import InstantPainter
from impasto.recipes.painting import read_content
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import Image

__all__ = ["load_image", "load_stylizer", "show_side_by_side"]

Batch: TypeAlias = npt.NDArray[np.float32]
"""A batch of pictures: (batch, height, width, 3), in [0, 1]."""

_SMALLEST_SIDE = 32


def load_stylizer(*, run: Run | None = None, engine: str = "auto") -> Callable[..., tuple[Batch]]:
    """Load the instant network as a callable that replaces ``hub.load(".../arbitrary-image-stylization-v1-256/2")``.

    Args:
        run: device and precision.
        engine: auto, torch or openvino; see :class:`impasto.InstantOptions`.

    Returns:
        A callable of (content, style), each (batch, height, width, 3) in [0, 1]. It returns a tuple whose first element is the
        stylized batch, at the size of the content. Give one style for all contents, or one for each. As in the TF Hub module,
        the style is used at its own size. That module recommends 256 pixels; here, sizes up to 1024 pixels are useful. The
        callable also accepts the keyword ``strength``, from 0 to 1.5, which that module does not have.

    Raises:
        OptionError: the device or the engine is not available.
        ShapeError: by the callable, if a batch does not have the shape (batch, height, width, 3).

    Example:
        >>> stylize = load_stylizer()
        >>> stylize(load_image("photo.jpg", 64), load_image("picture.jpg", 64))[0].shape
        (1, 64, 64, 3)

    Source:
        Ghiasi et al. 2017 (arXiv:1705.06830) for the module that it replaces; Chen and Schmidt 2016 (arXiv:1612.04337)
        for the method.
    """
    painter = InstantPainter(run, engine)

    def stylize(content: Any, style: Any, *, strength: float = 1.0) -> tuple[Batch]:
        contents, styles = _batch("content", content), _batch("style", style)
        if len(styles) not in (1, len(contents)):
            raise ShapeError(f"got {len(styles)} styles for {len(contents)} contents; give one style, or one for each content")
        if not 0 <= strength <= 1.5:
            raise OptionError(f"strength is {strength!r}; it must be a number from 0 to 1.5")
        codes = [painter.encode_picture(each[None]) for each in styles]
        painted = [
            painter.paint(each[None], codes[index % len(codes)], strength=strength) for index, each in enumerate(contents)
        ]
        return (torch.cat(painted).permute(0, 2, 3, 1).contiguous().cpu().numpy(),)

    return stylize


@in_known_state
def load_image(source: Source, max_dim: int = 512) -> Batch:
    """Read a picture as (1, height, width, 3), like ``load_img`` in the tutorials.

    The picture is rotated upright, converted to sRGB and resized so that its longer side is at most ``max_dim`` pixels.

    Args:
        source: a path, bytes, a Pillow image, a NumPy array or a tensor.
        max_dim: longest side of the result in pixels.

    Returns:
        float32 in [0, 1], (1, height, width, 3).

    Raises:
        ImageFileError: the picture cannot be read.

    Example:
        >>> load_image("photo.jpg", max_dim=48).shape
        (1, 48, 48, 3)
    """
    picture = read_content(source)
    image = picture.image if max(picture.size) <= max_dim else resize(picture.image, fitted_size(picture.size, max_dim))
    return image.permute(0, 2, 3, 1).contiguous().numpy()


@in_known_state
def show_side_by_side(pictures: Sequence[Any], titles: Sequence[str] = ()) -> Any:
    """Draw pictures side by side with matplotlib (``pip install 'impasto[notebook]'``).

    Args:
        pictures: arrays (height, width, 3) or (1, height, width, 3) in [0, 1].
        titles: one title per picture, or none.

    Returns:
        The figure.

    Raises:
        OptionError: matplotlib is not installed, or the number of titles differs from the number of pictures.

    Example:
        >>> figure = show_side_by_side([load_image("photo.jpg"), load_image("picture.jpg")], ["photo", "picture"])
        >>> len(figure.axes)
        2
    """
    if find_spec("matplotlib") is None:
        raise OptionError("matplotlib is not installed; pip install 'impasto[notebook]'")
    if len(titles) not in (0, len(pictures)):
        raise OptionError(f"got {len(titles)} titles for {len(pictures)} pictures; give one title per picture, or none")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(pictures), 5), layout="tight")
    for index, (picture, axes) in enumerate(zip(pictures, figure.subplots(1, len(pictures), squeeze=False)[0], strict=True)):
        image = _batch("a picture", picture if np.ndim(picture) == 4 else np.asarray(picture)[None])
        axes.imshow(images.to_array(image))
        axes.set_axis_off()
        axes.set_title(titles[index] if titles else "")
    return figure


def _batch(role: str, values: Any) -> Image:
    array = np.asarray(values, dtype=np.float32)
    if array.ndim != 4 or array.shape[-1] != 3 or min(array.shape[1:3]) < _SMALLEST_SIDE or not len(array):
        raise ShapeError(
            f"{role} has shape {array.shape}; give (batch, height, width, 3) with sides of at least {_SMALLEST_SIDE} pixels"
        )
    low, high = float(array.min()), float(array.max())
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise OptionError(f"{role} has values from {low:g} to {high:g}; they must be from 0 to 1: divide 8-bit values by 255")
    return torch.from_numpy(array.clip(0, 1)).permute(0, 3, 1, 2)

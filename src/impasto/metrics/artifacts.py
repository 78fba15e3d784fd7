"""Artifact checks without a network: lattice, frame, color noise, tile seams, clipped colors.

Each function measures one picture, or compares a result with its content. Pictures are (1, 3, height, width), sRGB in [0, 1].
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.losses.picture import luminance_of
from impasto.tensors import Image

FRAME_PX = 8
"""Width of the border that is searched for a frame."""
_LEVELS = 255.0
_TILE_STEP_PX = 32
_BLOCK_PX = 16
_VISIBLE_STEP = 1 / _LEVELS


def lattice(image: Image) -> float:
    """Compare the energy at periods of 2 and 4 pixels along both axes with that of neighboring frequencies.

    This detects patterns from transposed convolutions and from 2 × 2 pooling. Without a pattern, the result is about 1.

    Args:
        image: a picture with both sides at least 32.

    Returns:
        The mean of four ratios, 0 or more.
    """
    gray = image.float().mean((0, 1)) * _LEVELS
    ratios = []
    for rows in (gray, gray.T):
        count = rows.shape[1] // 4 * 4
        part = rows[:, :count]
        spectrum = torch.fft.rfft(part - part.mean(1, keepdim=True)).abs().square().mean(0)
        for k in (count // 4, count // 2):
            near = torch.cat([spectrum[max(k - 9, 1) : max(k - 2, 2)], spectrum[k + 3 : k + 10]])
            ratios.append(float(spectrum[k] / near.mean().clamp_min(1e-9)))
    return sum(ratios) / len(ratios)


def frame(image: Image) -> float:
    """Compare squared pixel differences in the border of 8 pixels with those inside; without a frame the result is about 1.

    Args:
        image: a picture with both sides at least 32.
    """
    right = image[..., 1:, 1:] - image[..., 1:, :-1]
    down = image[..., 1:, 1:] - image[..., :-1, 1:]
    steps = (right.square() + down.square()).float() * _LEVELS**2
    inside = torch.zeros(steps.shape[-2:], dtype=torch.bool, device=image.device)
    inside[FRAME_PX:-FRAME_PX, FRAME_PX:-FRAME_PX] = True
    return float(steps[..., ~inside].mean() / steps[..., inside].mean().clamp_min(1e-6))


def chroma_energy(image: Image) -> float:
    """Measure the fine-scale energy (squared Laplacian) of the two color differences, in squared steps of 1/255."""
    red, green, blue = (image[:, channel : channel + 1].float() * _LEVELS for channel in range(3))
    differences = torch.cat([red - green, (red + green) / 2 - blue])
    kernel = image.new_tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]], dtype=torch.float32)[None, None]
    return float(F.conv2d(differences, kernel).square().mean((1, 2, 3)).sum())


def clipped(image: Image) -> float:
    """Return the share of pixels in which at least one channel, rounded to 8 bits, is 0 or 255."""
    levels = (image * _LEVELS).round()
    return float(((levels <= 0) | (levels >= _LEVELS)).any(1).float().mean())


def seams(result: Image, content: Image) -> float:
    """Compare the strongest straight discontinuity at possible tile borders with strong lines elsewhere.

    The strength of a line is the luminance step across it, minus the step that the slopes on both sides predict. It is computed
    in blocks of 16 pixels along the line, and the step must be present in at least half of the blocks. The strength of the same
    line in the content is subtracted. Possible tile borders are multiples of 32 pixels, and halves, thirds and quarters
    of the side. The strength of the strongest line at these places is divided by the 99th percentile of the strengths of all
    other lines, or by 1/255 if this percentile is smaller.

    Args:
        result: a picture with both sides at least 32.
        content: a picture of the same size.

    Returns:
        0 or more; about 1 or less without seams. The largest value for 40 seamless results was 1.7. After a step of 8/255 was
        added at one line, 32 of the 40 values were above 2; after a step of 4/255, only 10. So faint seams under textured
        strokes are not detected.
    """
    return max(_strongest(line_steps(each[0]), line_steps(each[1])) for each in _both_ways(result, content))


def line_steps(luminance: Tensor) -> Tensor:
    """Measure the luminance step across each vertical line: the mean of each block of rows, then the median of all blocks.

    Args:
        luminance: (1, 1, height, width), both sides at least 4.

    Returns:
        (width - 3,): the step between columns ``x + 1`` and ``x + 2`` for each x.
    """
    slopes = luminance[0, 0].diff(dim=1)
    jumps = slopes[:, 1:-1] - (slopes[:, :-2] + slopes[:, 2:]) / 2
    rows = max(_BLOCK_PX, len(jumps) // _BLOCK_PX * _BLOCK_PX)
    blocks = jumps[:rows].unfold(0, min(_BLOCK_PX, len(jumps)), _BLOCK_PX).mean(-1)
    return blocks.abs().quantile(0.5, dim=0)


def _both_ways(result: Image, content: Image) -> list[tuple[Tensor, Tensor]]:
    made, was = luminance_of(result).float(), luminance_of(content).float()
    return [(made, was), (made.mT, was.mT)]


def _strongest(made: Tensor, was: Tensor) -> float:
    steps = (made - was).clamp_min(0)
    side = len(steps) + 3
    places = torch.arange(len(steps)) + 2  # the first column after each line
    tiled = places % _TILE_STEP_PX == 0
    for parts in (2, 3, 4):
        for part in range(1, parts):
            tiled |= (places - side * part / parts).abs() <= 1
    elsewhere = float(steps[~tiled].quantile(0.99))
    return float(steps[tiled].max()) / max(elsewhere, _VISIBLE_STEP)

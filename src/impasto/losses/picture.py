"""Losses computed directly on the picture: smoothness, edge-aware total variation, structure, gamut, fixed regions.

These are losses as defined in :mod:`impasto.losses.features`, but they request :data:`~impasto.losses.features.PIXELS` instead
of a layer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.color.transfer import LUMA
from impasto.features.statistics import precise
from impasto.losses.features import PIXELS, Loss
from impasto.options import SmoothnessForm
from impasto.runtime.resampling import antialiased
from impasto.tensors import Features, Image, Mask


@dataclass(frozen=True)
class Smoothness(Loss):
    """Total variation of the picture, in one of several published forms.

    Args:
        form: ``"l1"`` and ``"l2"``: absolute or squared differences between each pixel and its neighbors on the right and
            below, averaged over positions and summed over colors; ``"sum-l1"`` and ``"sum-l2"``: the same, but summed over
            positions; ``"inetwork"``: the sum of ``(dx² + dy²)^1.25``; ``"nine-point"``: see :func:`nine_point`.
        scale: the range of pixel values in the published program: 1 or 255.

    Raises:
        KeyError: when it is called, if the picture is missing.

    Example:
        >>> picture = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
        >>> Smoothness("sum-l1")({PIXELS: picture}).item()
        2.0

    Source:
        Rudin, Osher and Fatemi 1992 for total variation; the forms are those of the published programs, see the presets.
    """

    name: ClassVar[str] = "smoothness"
    form: SmoothnessForm = "l2"
    scale: float = 1.0

    def __call__(self, features: Features) -> Tensor:
        """Compute the total variation in the chosen form."""
        return total_variation(features[PIXELS] * self.scale, self.form)


@dataclass(frozen=True)
class EdgeAwareSmoothness(Loss):
    """Edge-aware total variation: squared differences between pixels, weighted by the local flatness of the photo.

    Style losses add grain everywhere, even to a clear sky. This loss removes grain from flat areas and leaves textured
    areas unchanged.

    Args:
        flatness: (1, 1, height, width) in [0, 1]; 1 where the photo is flat, see :func:`flatness`.

    Raises:
        KeyError: when it is called, if the picture is missing.

    Example:
        >>> photo = torch.full((1, 3, 16, 16), 0.5)
        >>> loss = EdgeAwareSmoothness(flatness(photo))
        >>> loss({PIXELS: photo}).item()
        0.0

    Source:
        Total variation as in Rudin, Osher and Fatemi 1992; the weighting by the flatness of the photo is our addition.
    """

    name: ClassVar[str] = "edge_aware"
    flatness: Tensor

    def __call__(self, features: Features) -> Tensor:
        """Sum the weighted squared differences over colors and average them over positions."""
        image = features[PIXELS]
        right = precise(image[..., :-1, 1:] - image[..., :-1, :-1]).square().sum(1)
        down = precise(image[..., 1:, :-1] - image[..., :-1, :-1]).square().sum(1)
        return (self.flatness[:, 0, :-1, :-1] * (right + down)).mean()


@dataclass(frozen=True)
class StructureLoss(Loss):
    """One minus the structural similarity (SSIM) between the downscaled luminances of picture and content.

    The loss keeps the photo recognizable: coarse scales determine the layout and lighting of a face. Brush strokes belong to
    fine scales, which this loss ignores.

    Args:
        target: the content at the size being painted, (1, 3, height, width).
        edge_px: length of the longer side of the downscaled pictures.

    Raises:
        KeyError: when it is called, if the picture is missing.

    Example:
        >>> photo = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        >>> round(abs(StructureLoss(photo)({PIXELS: photo}).item()), 5)
        0.0

    Source:
        Wang et al. 2004 for SSIM (Gaussian window of σ = 1.5); its use here is our addition.
    """

    name: ClassVar[str] = "structure"
    target: Image
    edge_px: int = 128

    def __call__(self, features: Features) -> Tensor:
        """Compare the two downscaled luminances."""
        return 1 - structural_similarity(
            small_luminance(features[PIXELS], self.edge_px), small_luminance(self.target, self.edge_px)
        )


@dataclass(frozen=True)
class Gamut(Loss):
    """Penalty for colors outside the displayable range: the mean squared excess over [0, 1].

    Raises:
        KeyError: when it is called, if the picture is missing.

    Example:
        >>> Gamut()({PIXELS: torch.full((1, 3, 4, 4), 1.5)}).item()
        0.25
    """

    name: ClassVar[str] = "gamut"

    def __call__(self, features: Features) -> Tensor:
        """Average the squared excess."""
        image = features[PIXELS]
        return (image - image.clamp(0, 1)).square().mean()


@dataclass(frozen=True)
class KeptPhotoLoss(Loss):
    """Mean squared difference from the content under a mask, which keeps parts of the photo unchanged.

    Args:
        target: the content at the size being painted, (1, 3, height, width).
        mask: (1, 1, height, width) in [0, 1]; 1 where the photo is kept.
    """

    name: ClassVar[str] = "held"
    target: Image
    mask: Mask

    def __call__(self, features: Features) -> Tensor:
        """Average the masked squared differences over all positions."""
        return (self.mask * precise(features[PIXELS] - self.target).square()).mean()


@dataclass(frozen=True)
class TemporalLoss(KeptPhotoLoss):
    """Mean squared difference from earlier results of a clip, moved along the optical flow to this frame.

    Args:
        target: the earlier results, moved to this frame, (1, 3, height, width).
        mask: (1, 1, height, width) in [0, 1]; 0 where the pixel is hidden in all earlier frames.

    Example:
        >>> loss = TemporalLoss(torch.zeros(1, 3, 8, 8), torch.full((1, 1, 8, 8), 0.5))
        >>> loss({PIXELS: torch.ones(1, 3, 8, 8)}).item()
        0.5

    Source:
        Ruder, Dosovitskiy and Brox 2016 (arXiv:1604.08610), equation 5.
    """

    name: ClassVar[str] = "temporal"


def total_variation(image: Image, form: SmoothnessForm) -> Tensor:
    """Compute the total variation of a picture; see :class:`Smoothness` for the forms."""
    image = precise(image)
    if form == "nine-point":
        return nine_point(image)
    if form == "sum-l1":  # as in tf.image.total_variation: every pair of neighbors, including the last row and column
        return image.diff(dim=-1).abs().sum() + image.diff(dim=-2).abs().sum()
    right = image[..., :-1, 1:] - image[..., :-1, :-1]
    down = image[..., 1:, :-1] - image[..., :-1, :-1]
    if form == "inetwork":
        return (right.square() + down.square()).pow(1.25).sum()
    if form == "sum-l2":
        return (right.square() + down.square()).sum()
    positions = max(1, right.shape[0] * right.shape[2] * right.shape[3])
    steps = right.abs() + down.abs() if form == "l1" else right.square() + down.square()
    return steps.sum() / positions


def nine_point(image: Image) -> Tensor:
    """Compute ``2/3 (dx² + dy²) + 1/6 (d↘² + d↙²)`` from the differences to all neighbors, averaged over pixels and colors.

    The weights are those of the nine-point stencil of the Laplacian, which is isotropic.

    Source:
        crowsonkb/style-transfer-pytorch (MIT), with replicated borders.
    """
    around = F.pad(image, (1, 1, 1, 1), mode="replicate")
    center = around[..., 1:-1, 1:-1]
    right, down = around[..., 1:-1, 2:] - center, around[..., 2:, 1:-1] - center
    diagonal = around[..., 1:, 1:] - around[..., :-1, :-1]
    antidiagonal = around[..., 1:, :-1] - around[..., :-1, 1:]
    straight = right.square().mean() + down.square().mean()
    slanted = diagonal.square().mean() + antidiagonal.square().mean()
    return straight * 2 / 3 + slanted / 6


_STRIP_ROWS, _STRIP_HALO, _LARGEST_WHOLE_PX = 512, 8, 2**24


def flatness_sparingly(image: Image) -> Tensor:
    """Measure :func:`flatness`; process a large picture in strips, and store its result in float16."""
    height, width = image.shape[-2:]
    if height * width <= _LARGEST_WHOLE_PX:
        return flatness(image)
    found = torch.empty(1, 1, height, width, dtype=torch.float16, device=image.device)
    average = mean_activity(image)
    for top, part, inner in _strips(image):
        found[..., top : top + _STRIP_ROWS, :] = flatness(part, average=average)[..., inner, :]
    return found


def mean_activity(image: Image) -> Tensor:
    """Average :func:`activity_of` over a picture, in strips."""
    total = sum(float(activity_of(part)[..., inner, :].double().sum()) for _, part, inner in _strips(image))
    return image.new_tensor(total / (image.shape[-2] * image.shape[-1]))


def _strips(image: Image) -> Iterator[tuple[int, Image, slice]]:
    """Yield for each strip its first row, the strip with its halo, and the slice of rows that removes the halo."""
    height = image.shape[-2]
    for top in range(0, height, _STRIP_ROWS):
        first, last = max(0, top - _STRIP_HALO), min(height, top + _STRIP_ROWS + _STRIP_HALO)
        yield top, image[..., first:last, :], slice(top - first, min(top + _STRIP_ROWS, height) - first)


def flatness(image: Image, window_px: int = 9, *, average: Tensor | None = None) -> Tensor:
    """Measure local flatness: 1 where the luminance is constant, 0.5 where its variation is a fifth of the average.

    Args:
        image: (1, 3, height, width) in [0, 1].
        window_px: side of the neighborhood; odd.
        average: if the image is part of a picture, the mean of :func:`activity_of` over the whole picture; None: the image's
            own mean.

    Returns:
        (1, 1, height, width) in [0, 1].
    """
    activity = activity_of(image, window_px)
    return 1 / (1 + activity / (0.2 * (activity.mean() if average is None else average)).clamp_min(1e-6))


def activity_of(image: Image, window_px: int = 9) -> Tensor:
    """Measure the local variation of luminance: the mean squared difference around each pixel, (1, 1, height, width)."""
    luminance = luminance_of(image).float()
    right = F.pad(luminance[..., :, 1:] - luminance[..., :, :-1], (0, 1, 0, 0), mode="replicate").square()
    down = F.pad(luminance[..., 1:, :] - luminance[..., :-1, :], (0, 0, 0, 1), mode="replicate").square()
    reach = window_px // 2
    return F.avg_pool2d(F.pad(right + down, (reach,) * 4, mode="replicate"), window_px, stride=1)


def luminance_of(image: Image) -> Tensor:
    """Return the luminance (Rec. 601) of a picture: (batch, 1, height, width)."""
    return (image * image.new_tensor(LUMA)[None, :, None, None]).sum(1, keepdim=True)


def small_luminance(image: Image, edge_px: int) -> Tensor:
    """Downscale a picture's luminance to a longer side of at most ``edge_px``: (batch, 1, height, width)."""
    luminance = luminance_of(image)
    factor = edge_px / max(image.shape[-2:])
    if factor >= 1:
        return luminance
    height, width = (max(1, round(side * factor)) for side in image.shape[-2:])
    return antialiased(luminance, (height, width))


def structural_similarity(a: Tensor, b: Tensor, window_px: int = 11) -> Tensor:
    """Compute the mean SSIM of two gray pictures (batch, 1, height, width) in [0, 1]; the result is 1 if they are equal.

    Source:
        Wang et al. 2004, with replicated borders and a smaller window for tiny pictures.
    """
    reach = min(window_px, min(a.shape[-2:]) | 1) // 2
    a, b = precise(a), precise(b)
    positions = torch.arange(-reach, reach + 1, device=a.device, dtype=a.dtype)
    window = torch.exp(-positions.square() / (2 * 1.5**2))
    window = window / window.sum()

    def blur(x: Tensor) -> Tensor:
        x = F.pad(x, (reach, reach, reach, reach), mode="replicate")
        return F.conv2d(F.conv2d(x, window[None, None, :, None]), window[None, None, None, :])

    mean_a, mean_b = blur(a), blur(b)
    variance_a, variance_b = blur(a * a) - mean_a.square(), blur(b * b) - mean_b.square()
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    numerator = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return (numerator / ((mean_a.square() + mean_b.square() + c1) * (variance_a + variance_b + c2))).mean()

"""Color transfer: apply the palette of one picture to another, and separate luminance from color.

A *color space* splits a picture into one luminance plane and two color planes, which are 0 for gray. Out-of-gamut pixels are
desaturated; luminance and hue do not change, and single channels are never clipped. So no pixel turns black.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from impasto.features.statistics import Affine, Moments, blend, moments
from impasto.options import ColorSpace
from impasto.tensors import Image, Mask

Planes = Tensor
"""A picture in a color space: (batch, 3, height, width); luminance first, then two color planes."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of luminance (Rec. 601)."""
FAINT = 1e-4
"""A color direction counts as noise if its variance, for colors in [0, 1], is below this; the limit corresponds to a standard
deviation of 2.5 steps of 1/255."""
_LEVELS, _CURVE_POINTS = 1024, 4096
STEEPEST = 4.0
"""Maximum slope of histogram curves for displayed results. Without a limit, a dark spot in a bright sky can turn black."""
_SAMPLED_PX = 2**17
_GREY = 1 / 1020
"""Pixels count as gray if their channels differ by less than this: a quarter of a step of 1/255."""
_SHOWN = 1e-4
"""Values outside [0, 1] by at most this amount, which is far less than a step of 1/255, are simply clipped."""
CONTRAST, MOST_CONTRAST, SPREADS = 0.6, 1.25, 2.5
"""A palette's contrast is raised to ``CONTRAST`` times that of the photo, by a factor of at most ``MOST_CONTRAST``, and only
while black and white are more than ``SPREADS`` standard deviations of luminance away from the mean."""
MOST_GAIN = 12.0
"""Maximum gain of any color direction. In a test of 122 photos with 32 styles, only one, a nearly gray one, needed more."""

# ---------------------------------------------------------------------------------------------------- spaces


@dataclass(frozen=True)
class _Space:
    """A color space: ``planes = outer · curve(inner · linear light)``, or ``outer · picture`` without a curve."""

    outer: tuple[tuple[float, ...], ...]
    inner: tuple[tuple[float, ...], ...] = ()
    curve: Callable[[Tensor], Tensor] | None = None
    back: Callable[[Tensor], Tensor] | None = None


def _lab_curve(t: Tensor) -> Tensor:
    """Return CIE's f, minus 4/29. The constant cancels in a and b, and yields the -16 in ``L = 116 f - 16``."""
    return torch.where(t > (6 / 29) ** 3, t.clamp_min(1e-6).pow(1 / 3) - 4 / 29, t * (841 / 108))


def _lab_back(f: Tensor) -> Tensor:
    return torch.where(f > 2 / 29, (f + 4 / 29).pow(3), f * (108 / 841))


def _cube_root(t: Tensor) -> Tensor:
    return t.sign() * t.abs().pow(1 / 3)


def _cube(f: Tensor) -> Tensor:
    return f * f * f


_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_SPACES: dict[str, _Space] = {
    # CIE 1976. The white point is the matrix times white, so the color planes of gray are exactly 0.
    "lab": _Space(
        ((0, 116, 0), (500, -500, 0), (0, 200, -200)),
        tuple(tuple(value / sum(row) for value in row) for row in _XYZ),
        _lab_curve,
        _lab_back,
    ),
    # Björn Ottosson 2020, A perceptual color space for image processing.
    "oklab": _Space(
        (
            (0.2104542553, 0.7936177850, -0.0040720468),
            (1.9779984951, -2.4285922050, 0.4505937099),
            (0.0259040371, 0.7827717662, -0.8086757660),
        ),
        (
            (0.4122214708, 0.5363325363, 0.0514459929),
            (0.2119034982, 0.6806995451, 0.1073969566),
            (0.0883024619, 0.2817188376, 0.6299787005),
        ),
        _cube_root,
        _cube,
    ),
    # NTSC and ITU-R BT.601. Both have the same luma, and I and Q are linear mixtures of Cb and Cr.
    "yiq": _Space((LUMA, (0.59590059, -0.27455667, -0.32134392), (0.21153661, -0.52273617, 0.31119955))),
    "ycbcr": _Space((LUMA, (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))),
}


def to_space(image: Image, space: ColorSpace) -> Planes:
    """Split a picture into luminance and color.

    Args:
        image: (batch, 3, height, width), sRGB; values outside [0, 1] are allowed.
        space: lab (luminance 0 to 100, colors about ±100), oklab (0 to 1, ±0.4), yiq or ycbcr (0 to 1, ±0.6).

    Returns:
        (batch, 3, height, width): luminance, then two color planes.

    Source:
        As in :mod:`skimage.color`, except for the Lab white point, which differs by less than 0.01; OKLab is Ottosson 2020.
    """
    known = _SPACES[space]
    if known.curve is None:
        return _mixed(image, known.outer)
    return _mixed(known.curve(_mixed(to_linear(image), known.inner)), known.outer)


def from_space(planes: Planes, space: ColorSpace) -> Image:
    """Convert planes back to a picture; the inverse of :func:`to_space`, also without clamping."""
    known = _SPACES[space]
    picture = _mixed(planes, known.outer, inverse=True)
    if known.back is None:
        return picture
    return from_linear(_mixed(known.back(picture), known.inner, inverse=True))


def to_linear(image: Tensor) -> Tensor:
    """Convert sRGB values to linear light; any shape, without clamping."""
    return torch.where(image > 0.04045, ((image.clamp_min(0) + 0.055) / 1.055).pow(2.4), image / 12.92)


def from_linear(light: Tensor) -> Tensor:
    """Convert linear light to sRGB; the inverse of :func:`to_linear`."""
    return torch.where(light > 0.0031308, 1.055 * light.clamp_min(0.001).pow(1 / 2.4) - 0.055, 12.92 * light)


def in_gamut(planes: Planes, space: ColorSpace) -> Image:
    """Convert planes to a displayable picture: out-of-gamut pixels are desaturated, luminance and hue are preserved.

    Returns:
        (batch, 3, height, width), sRGB in [0, 1].
    """
    return fitted_in(from_space(planes, space), space)


def fitted_in(image: Image, space: ColorSpace) -> Image:
    """Desaturate pixels outside [0, 1] until they are displayable; other pixels do not change."""
    low, high = image.amin(1), image.amax(1)
    outside = (low < -_SHOWN) | (high > 1 + _SHOWN)
    if bool(outside.any()):
        pixels = torch.stack([plane[outside] for plane in image.unbind(1)])[None, :, None]
        faded = _faded(to_space(pixels, space), space)[0, :, 0]
        image = torch.stack(
            [plane.masked_scatter(outside, found) for plane, found in zip(image.unbind(1), faded, strict=True)], dim=1
        )
    return image.clamp(0, 1)


def _faded(planes: Planes, space: ColorSpace) -> Image:
    """Find by bisection the highest saturation that is displayable at each pixel's luminance."""
    whitest = float(to_space(planes.new_ones(1, 3, 1, 1), space)[0, 0])
    light, colors = planes[:, :1].clamp(0, whitest), planes[:, 1:]
    share, step = torch.zeros_like(light), 0.5
    for _ in range(12):
        tried = from_space(torch.cat([light, (share + step) * colors], dim=1), space)
        fits = ((tried >= -_SHOWN) & (tried <= 1 + _SHOWN)).all(dim=1, keepdim=True)
        share, step = share + step * fits, step / 2
    return from_space(torch.cat([light, share * colors], dim=1), space)


def gray(image: Image, space: ColorSpace) -> Image:
    """Convert a picture to gray at the same luminance: three bitwise identical channels."""
    return _gray_of(to_space(image, space)[:, :1], space)


def _gray_of(light: Tensor, space: ColorSpace) -> Image:
    without = torch.cat([light, torch.zeros_like(light), torch.zeros_like(light)], dim=1)
    return from_space(without, space)[:, 1:2].clamp(0, 1).expand(-1, 3, -1, -1)


def with_colors_of(photo: Image, painted: Image, space: ColorSpace) -> Image:
    """Combine the luminance of a painting with the colors of a photo; gray pixels of the photo become exactly gray.

    Args:
        photo: (batch, 3, height, width) in [0, 1].
        painted: the painting, with the same shape and range.
        space: the color space that separates luminance and color.

    Returns:
        (batch, 3, height, width) in [0, 1].

    Source:
        Gatys et al. 2016 (arXiv:1606.05897), section 4.1, which uses YIQ; desaturating out-of-gamut pixels is our addition.
    """
    light, colors = to_space(painted, space)[:, :1], to_space(photo, space)[:, 1:]
    found = in_gamut(torch.cat([light, colors], dim=1), space)
    is_gray = photo.amax(1, keepdim=True) - photo.amin(1, keepdim=True) < _GREY
    return torch.where(is_gray, _gray_of(light, space), found) if bool(is_gray.any()) else found


def with_light_like(image: Image, other: Image, space: ColorSpace) -> Image:
    """Convert an image to gray, and give its luminance the mean and standard deviation of another image's luminance.

    Source:
        Gatys et al. 2016 (arXiv:1606.05897), section 4.1: ``L' = σ_c / σ_s (L - μ_s) + μ_c``.
    """
    own, wanted = to_space(image, space)[:, :1], to_space(sampled(other), space)[:, :1]
    gain = wanted.std(correction=0) / own.std(correction=0).clamp_min(1e-6)
    light = (own - own.mean()) * gain + wanted.mean()
    return _gray_of(light.clamp_min(0), space)


def is_gray(image: Image) -> bool:
    """Return whether a picture contains no color."""
    return float((image.amax(1) - image.amin(1)).max()) < _GREY


def _mixed(image: Tensor, matrix: Sequence[Sequence[float]], *, inverse: bool = False) -> Tensor:
    mixing = torch.tensor(matrix, dtype=torch.float64)
    mixing = torch.linalg.inv(mixing) if inverse else mixing
    return torch.einsum("ij,bjhw->bihw", mixing.to(image.dtype).to(image.device), image)


# ---------------------------------------------------------------------------------------------------- linear maps


def monge_kantorovich(source: Moments, target: Moments) -> Affine:
    """Find the linear color map that transfers the target palette with the least total color change.

    The map is ``A x + b``, with ``A = Σs^-½ (Σs^½ Σt Σs^½)^½ Σs^-½`` and ``b = μt - A μs``. Σ is a covariance, μ a mean, s the
    source and t the target. Directions in which the source hardly varies are not amplified, and no direction is amplified more
    than twelve times.

    Args:
        source: mean (batch, 3) and covariance (batch, 3, 3) of the picture's colors.
        target: mean and covariance of the palette.

    Returns:
        One map for each picture: matrix (batch, 3, 3), bias (batch, 3).

    Source:
        Pitié and Kokaram 2007, equation 3.
    """
    s, t = _lifted(source), _lifted(target)
    root, inverse = _powers(s)
    middle, _ = _powers(root @ t @ root)
    matrix = inverse @ middle @ inverse
    gains, directions = torch.linalg.eigh(matrix)
    limited = (directions * gains.clamp_max(MOST_GAIN)[:, None]) @ directions.mT
    return _affine(torch.where(gains[:, -1:, None] > MOST_GAIN, limited, matrix), source, target)


def principal_axes(source: Moments, target: Moments) -> Affine:
    """Find the color map along principal axes: ``A = Σt^½ Σs^-½``. The arguments are those of :func:`monge_kantorovich`.

    Source:
        Gatys et al. 2016 (arXiv:1606.05897), section 4.2, which calls the map PCA or image analogies.
    """
    return _affine(_powers(_lifted(target))[0] @ _powers(_lifted(source))[1], source, target)


def cholesky(source: Moments, target: Moments) -> Affine:
    """Find the color map from the Cholesky factors L: ``A = Lt Ls^-1``. The arguments are those of :func:`monge_kantorovich`.

    Source:
        Gatys et al. 2016 (arXiv:1606.05897), section 4.2.
    """
    s, t = torch.linalg.cholesky(_lifted(source)), torch.linalg.cholesky(_lifted(target))
    return _affine(t @ torch.linalg.inv(s), source, target)


def whitening(colors: Moments, deviation: float = 1.0) -> Affine:
    """Find the symmetric whitening map (ZCA), which gives colors mean 0 and the same standard deviation in all directions.

    Args:
        colors: mean (1, 3) and covariance (1, 3, 3).
        deviation: the standard deviation of the mapped colors.

    Returns:
        matrix (3, 3), bias (3,).
    """
    matrix = deviation * _powers(_lifted(colors))[1]
    bias = -(matrix @ colors.mean.cpu().double()[:, :, None])[:, :, 0]
    return Affine(*(each[0].to(colors.mean.dtype).to(colors.mean.device) for each in (matrix, bias)))


def raised_contrast(palette: Moments, photo: Moments) -> Moments:
    """Raise the contrast of a palette if it is much lower than that of the photo to paint; the mean color is kept.

    Otherwise, the photo would look faded in a pale style. Chroma is spread half as much as luminance.

    Args:
        palette: mean (1, 3) and covariance (1, 3, 3).
        photo: mean and covariance of the photo's colors.

    Returns:
        The palette to use for this photo.

    Example:
        >>> pale, strong = (Moments(torch.full((1, 3), 0.5), torch.full((1, 3, 3), each**2)) for each in (0.1, 0.2))
        >>> round(raised_contrast(pale, strong).covariance[0, 0, 0].sqrt().item(), 4)
        0.12
    """
    weights = palette.mean.new_tensor(LUMA)
    own, wanted = ((weights @ each.covariance[0] @ weights).clamp_min(1e-8).sqrt() for each in (palette, photo))
    mean = palette.mean[0] @ weights
    room = torch.minimum(mean, 1 - mean) / (SPREADS * own)
    gain = torch.minimum(CONTRAST * wanted / own, room).clamp(1, MOST_CONTRAST)
    spread = (1 + gain) / 2
    change = spread * torch.eye(3).to(weights) + (gain - spread) * weights
    return Moments(palette.mean, change @ palette.covariance @ change.T)


def recolored(image: Image, colors: Affine) -> Image:
    """Apply a color map to each picture of a batch; the result may leave [0, 1]."""
    return torch.einsum("bij,bjhw->bihw", colors.matrix, image) + colors.bias[:, :, None, None]


def color_moments(image: Image, mask: Mask | None = None) -> Moments:
    """Compute the mean and covariance of a picture's colors, optionally under a soft mask (1, 1, height, width)."""
    if mask is None:
        return moments(image)
    weights = (mask / mask.sum()).flatten()
    colors = image.flatten(2)[0]
    mean = colors @ weights
    apart = colors - mean[:, None]
    return Moments(mean[None], ((apart * weights) @ apart.T)[None])


def _lifted(colors: Moments) -> Tensor:
    """Return the regularized covariance on the CPU. MPS has no float64, and for a 3 x 3 matrix the CPU is faster than a GPU."""
    return colors.covariance.cpu().double() + FAINT * torch.eye(3, dtype=torch.float64)


def _affine(matrix: Tensor, source: Moments, target: Moments) -> Affine:
    bias = target.mean.cpu().double() - (matrix @ source.mean.cpu().double()[:, :, None])[:, :, 0]
    return Affine(*(each.to(source.mean.dtype).to(source.mean.device) for each in (matrix, bias)))


def _powers(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the square root of symmetric positive matrices, and the inverse of the root."""
    values, vectors = torch.linalg.eigh(matrix)
    roots = values.clamp_min(1e-12).sqrt()
    return (vectors * roots[:, None]) @ vectors.mT, (vectors / roots[:, None]) @ vectors.mT


# ---------------------------------------------------------------------------------------------------- palettes

_LINEAR = {"monge-kantorovich": monge_kantorovich, "pca": principal_axes, "cholesky": cholesky}


@dataclass(frozen=True)
class Palette:
    """The color distribution of a picture.

    Attributes:
        moments: mean (1, 3) and covariance (1, 3, 3).
        levels: quantiles of luminance and the two color planes, see :func:`levels_of`; None if unknown.
        is_gray: whether the picture contains no color.
    """

    moments: Moments
    levels: Tensor | None
    is_gray: bool


def palette_of(image: Image, space: ColorSpace) -> Palette:
    """Compute the palette of a picture, (1, 3, height, width); large pictures are subsampled."""
    few = sampled(image)
    return Palette(color_moments(few), levels_of(to_space(few, space)), is_gray(image))


def palette_of_moments(colors: Moments) -> Palette:
    """Create a palette from moments only, mean (1, 3) and covariance (1, 3, 3)."""
    differences = torch.tensor([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]]).to(colors.mean)
    varies = (differences @ colors.covariance[0] @ differences.mT).diagonal().sqrt().max()
    is_off = (differences @ colors.mean[0]).abs().max()
    return Palette(colors, None, float(varies + is_off) < _GREY)


def blended_palette(palettes: Sequence[Palette], weights: Sequence[float]) -> Palette:
    """Blend palettes. Negative weights only affect strokes, so they are ignored here; at least one weight must be above 0."""
    some = [(palette, weight) for palette, weight in zip(palettes, weights, strict=True) if weight > 0]
    chosen, shares = [palette for palette, _ in some], [weight for _, weight in some]
    known = [palette.levels for palette in chosen if palette.levels is not None]
    levels = None
    if len(known) == len(chosen):  # in one dimension, distributions are interpolated by their quantiles
        levels = torch.stack([share * each for share, each in zip(shares, known, strict=True)]).sum(0) / sum(shares)
    return Palette(blend([each.moments for each in chosen], shares), levels, all(each.is_gray for each in chosen))


def recoloring(
    image: Image, target: Palette, method: str, space: ColorSpace, *, steepest: float | None = None
) -> Callable[[Image], Image]:
    """Return a function that recolors a picture, or any part of it, with the target palette.

    Args:
        image: (1, 3, height, width) in [0, 1].
        target: the target palette; it needs levels if the method is histogram.
        method: monge-kantorovich, pca, cholesky or histogram. histogram applies monge-kantorovich first, to keep related colors
            together, and then matches the levels of luminance and of each color plane.
        space: the color space whose planes are matched and in which out-of-gamut pixels are desaturated.
        steepest: maximum slope of the curves that match the levels, see :func:`within_slope`; None: no limit.

    Returns:
        A function from (1, 3, rows, width) in [0, 1] to the same shape and range.

    Source:
        Pitié et al. 2007, Automated color grading using color distribution transfer, with a single iteration along the axes of
        the color space.
    """
    few = sampled(image)
    few = gray(few, space) if target.is_gray else few
    linear = _LINEAR.get(method, monge_kantorovich)(color_moments(few), target.moments)
    curves = None
    if method == "histogram":
        assert target.levels is not None
        source = levels_of(to_space(recolored(few, linear), space))
        wanted = target.levels if steepest is None else within_slope(source, target.levels, steepest)
        curves = curves_between(source, wanted)

    def apply(part: Image) -> Image:
        found = recolored(gray(part, space) if target.is_gray else part, linear)
        if curves:
            found = from_space(along_curves(to_space(found, space), *curves), space)
        found = fitted_in(found, space)
        return gray(found, space) if target.is_gray else found

    return apply


def levels_of(planes: Tensor) -> Tensor:
    """Compute the quantiles of each plane (1, 3, height, width) at evenly spaced ranks: (3, 1025), ascending."""
    ordered = planes[0].flatten(1).sort(dim=1).values
    places = torch.linspace(0, ordered.shape[1] - 1, _LEVELS + 1, dtype=torch.float64)  # on the CPU: MPS has no float64
    below = places.long().clamp_max(max(0, ordered.shape[1] - 2))
    share = (places - below).to(ordered.dtype).to(ordered.device)
    below = below.to(ordered.device)
    above = (below + 1).clamp_max(ordered.shape[1] - 1)
    return torch.lerp(ordered[:, below], ordered[:, above], share)


def within_slope(source: Tensor, target: Tensor, steepest: float) -> Tensor:
    """Limit the slope of the map from source to target, and keep the mean of the target. Steep maps turn grain into blotches.

    Args:
        source: levels of the picture, (planes, levels), see :func:`levels_of`.
        target: levels to match, of the same shape.
        steepest: maximum factor by which a difference between values may grow.

    Returns:
        (planes, levels): the modified target.
    """
    rises = torch.minimum(target.diff(dim=1), steepest * source.diff(dim=1))
    flat = torch.cat([torch.zeros_like(target[:, :1]), rises.cumsum(dim=1)], dim=1)
    return flat + (target - flat).mean(dim=1, keepdim=True)


def curves_between(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the histogram matching curves between two sets of levels: each value maps to the value of the same rank.

    If many pixels have the same value, this value maps to the target value at the middle of their ranks.

    Args:
        source: levels of the picture, (planes, levels), see :func:`levels_of`.
        target: levels to match, of the same shape.

    Returns:
        Arguments of :func:`along_curves`: the minimum and maximum of each plane, (planes, 2), and the outputs for 4,097 evenly
        spaced values between them, (planes, 4097).
    """
    last = source.shape[1] - 1
    ends = source[:, [0, -1]]
    values = torch.lerp(ends[:, :1], ends[:, 1:], torch.linspace(0, 1, _CURVE_POINTS + 1, device=source.device))
    low, high = (torch.searchsorted(source, values, right=right) for right in (False, True))
    before, after = (low - 1).clamp(0, last), low.clamp(0, last)
    start, end = source.gather(1, before), source.gather(1, after)
    between = before + ((values - start) / (end - start).clamp_min(1e-12)).clamp(0, 1)
    place = torch.where(high > low, (low + high - 1) / 2, between).clamp(0, last)
    below = place.long().clamp_max(last - 1)
    return ends, torch.lerp(target.gather(1, below), target.gather(1, below + 1), place - below)


def along_curves(planes: Tensor, ends: Tensor, curves: Tensor) -> Tensor:
    """Apply a curve to each plane of a picture, (1, planes, height, width); curves are constant beyond their ends."""
    found = []
    for plane, (least, greatest), curve in zip(planes[0], ends, curves, strict=True):
        place = ((plane - least) / (greatest - least).clamp_min(1e-12)).clamp(0, 1) * _CURVE_POINTS
        below = place.long().clamp_max(_CURVE_POINTS - 1)
        found.append(torch.lerp(curve[below], curve[below + 1], place - below))
    return torch.stack(found)[None]


def sampled(image: Image) -> Image:
    """Subsample the rows and columns of a large picture; the result is large enough for color statistics."""
    stride = ceil((image.shape[-2] * image.shape[-1] / _SAMPLED_PX) ** 0.5)
    return image[..., ::stride, ::stride]

"""Quality figures of a result relative to its photo and style, measured with the shipped encoder.

The project's benchmark measures the same figures with the full VGG-19; this module uses ``vgg19-slim`` and maps its statistics
through its heads. ``benchmarks/report.py`` prints the differences between the two. The figures are not published metrics: they
cannot be compared with ArtFID or LPIPS.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from impasto.encoders import Vgg, load_encoder
from impasto.errors import OptionError, ShapeError
from impasto.features.statistics import Moments, blend, moments, sqrtm
from impasto.images import Picture, fitted_size, resize
from impasto.losses.features import mapped, measure
from impasto.losses.picture import small_luminance, structural_similarity
from impasto.metrics.artifacts import chroma_energy, clipped, frame, lattice, seams
from impasto.runtime.torch_state import in_known_state
from impasto.styles.named import NamedStyle
from impasto.tensors import FeatureMap, Image

Better = Literal["higher", "lower", "neither"]
Style = Picture | NamedStyle

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT_LAYER = "relu4_2"
EDGE_PX = 512
"""Length of the longer side to which larger results are downscaled before they are measured. Only seams and clipping are
measured at full size, up to _LARGEST_PX."""
SMALLEST_SIDE = 32
_LARGEST_PX = 4096
_SMALL_PX = 128
_STRETCH = 1.1
_SAME_STYLE = 1e-6
_PALETTE_SAMPLES = 4096
_CLIPPED_BEYOND = 0.02


@dataclass(frozen=True)
class Kind:
    """Description of a figure: title, meaning, which direction is better, and the limit beyond which it indicates a fault."""

    title: str
    meaning: str
    better: Better
    bound: float | None = None


KINDS: Mapping[str, Kind] = {
    "style_closed": Kind(
        "style progress", "share of the distance from photo to style that is covered (style_moments); 1 is all of it", "higher"
    ),
    "style_gram": Kind("style distance, Gram", "relative squared difference of Gram matrices, five layers", "lower"),
    "style_moments": Kind(
        "style distance, moments", "relative squared difference of means and deviations, five layers", "lower"
    ),
    "content": Kind("content distance", f"relative squared difference to the photo's features, {CONTENT_LAYER}", "lower"),
    "ssim": Kind("fine structure", "structural similarity to the photo; 1 means identical", "higher"),
    "ssim_coarse": Kind("coarse structure", "structural similarity at 128 px: is the scene recognizable?", "higher"),
    "color_to_photo": Kind("color change", "mean Lab ΔE to the photo, pixel by pixel; 2 is barely visible", "neither"),
    "color_to_style": Kind(
        "distance to the palette", "Lab ΔE by which the colors would have to change to match the style's", "lower"
    ),
    "clipped": Kind(
        "clipped", "share of pixels at 0 or 255, in excess of the photo's and the style's share", "lower", _CLIPPED_BEYOND
    ),
    "seams": Kind("seams", "strongest straight line where tiles may meet, relative to lines elsewhere", "lower", 2.0),
    "grid": Kind("lattice", "energy at periods of 2 and 4 px relative to the photo's; about 1 means none", "lower", 2.0),
    "frame": Kind("frame", "variation in the outer 8 px relative to the photo's; about 1 means none", "lower", 2.0),
    "chroma_noise": Kind("color noise", "fine-scale color energy relative to photo and style", "lower", 1.5),
}


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: a key of :data:`KINDS`.
        value: the number; NaN if it is undefined (for example, progress towards a style that the photo already has).
    """

    name: str
    value: float

    @property
    def kind(self) -> Kind:
        """The description of the figure."""
        return KINDS[self.name]

    @property
    def verdict(self) -> str:
        """``"clean"`` or ``"faulty"`` if the figure has a limit; an empty string if it has none."""
        if self.kind.bound is None:
            return ""
        return "clean" if self.value <= self.kind.bound else "faulty"


@dataclass(frozen=True)
class Report:
    """The figures of one result.

    Attributes:
        result: name of the result.
        size: (height, width) at which it was measured.
        figures: the figures, in the order of :data:`KINDS`.

    Raises:
        StopIteration: ``report[name]``, if there is no figure of this name.

    Example:
        >>> report = Report("a.png", (8, 8), (Figure("ssim", 0.5),))
        >>> report["ssim"], report.faults
        (0.5, ())

    Source:
        Wang et al. 2004 for the structural similarity; the other figures are defined in :mod:`impasto.metrics.report`.
    """

    result: str
    size: tuple[int, int]
    figures: tuple[Figure, ...]

    def __iter__(self) -> Iterator[Figure]:
        """Iterate over the figures."""
        return iter(self.figures)

    def __getitem__(self, name: str) -> float:
        """Return the value of a figure by name."""
        return next(figure.value for figure in self.figures if figure.name == name)

    @property
    def faults(self) -> tuple[str, ...]:
        """The titles of the figures beyond their limits."""
        return tuple(figure.kind.title for figure in self if figure.verdict == "faulty")

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-compatible values: the figures by name, and the verdicts of those with a limit."""
        values = {each.name: None if math.isnan(each.value) else round(each.value, 4) for each in self}
        return {"result": self.result, "measured_at": list(self.size), **values, "faults": list(self.faults)}

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> "Report":
        """Create a report from the output of :meth:`as_dict`; unknown figures are ignored.

        Example:
            >>> report = Report("a", (8, 8), (Figure("ssim", 0.5), Figure("style_closed", math.nan)))
            >>> Report.of_dict(report.as_dict()).as_dict() == report.as_dict()
            True
        """
        height, width = values["measured_at"]
        known = {name: values[name] for name in KINDS if name in values}
        figures = (Figure(name, math.nan if value is None else float(value)) for name, value in known.items())
        return cls(str(values["result"]), (int(height), int(width)), tuple(figures))


@dataclass(frozen=True)
class ReferenceDistribution:
    """The statistics of a photo and a style, measured at the size of a result.

    Attributes:
        photo: the original photo.
        content: the photo at the measured size.
        features: features of the content at :data:`CONTENT_LAYER`, in the full network's channels.
        own: the content's moments by layer.
        style: the style's moments by layer.
        palette: mean (1, 3) and covariance (1, 3, 3) of the style's colors in Lab.
        chroma: the largest chroma energy of the content and the styles.
        clipped: the largest share of clipped pixels of the content and the styles.
    """

    photo: Picture
    content: Image
    features: FeatureMap
    own: Mapping[str, Moments]
    style: Mapping[str, Moments]
    palette: Moments
    chroma: float
    clipped: float

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) at which results are measured."""
        return self.content.shape[-2], self.content.shape[-1]


def measured_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) at which a result of the given size is measured."""
    return size if max(size) <= EDGE_PX else fitted_size(size, EDGE_PX)


@in_known_state
def reference(
    content: Picture,
    styles: Sequence[Style],
    size: tuple[int, int],
    *,
    weights: Sequence[float] = (),
    encoder: Vgg | None = None,
) -> ReferenceDistribution:
    """Measure a photo and one or several styles at a given size.

    Args:
        content: the photo.
        styles: pictures or named styles; several styles are blended as in painting.
        size: (height, width) of the results; sizes above 512 are measured at 512.
        weights: one for each style; empty: equal weights.
        encoder: the feature extractor; by default the shipped one.

    Raises:
        ShapeError: if the size is too small, or its aspect ratio differs from the photo's.
        OptionError: if there is no style, or the number of weights is wrong.
    """
    if not styles:
        raise OptionError("no style was given; give the picture or the named style that the result was painted in")
    check_shape(content.size, size)
    size, encoder = measured_size(size), encoder or slim_encoder()
    photo = resize(content.image.cpu(), size)
    pictures = [style_picture(style, max(size)) for style in styles if isinstance(style, Picture)]
    seen = _seen(photo, encoder)
    moments_by_style = [_style_moments(style, max(size), encoder) for style in styles]
    shares = weights or (1.0,) * len(styles)
    return ReferenceDistribution(
        photo=content,
        content=photo,
        features=seen[0],
        own=seen[1],
        style={layer: blend([each[layer] for each in moments_by_style], shares) for layer in STYLE_LAYERS},
        palette=blend([palette(style) for style in styles], shares),
        chroma=max(chroma_energy(each) for each in (photo, *pictures)),
        clipped=max(clipped(each) for each in (photo, *pictures)),
    )


@in_known_state
def report_on(result: Picture, ref: ReferenceDistribution, *, encoder: Vgg | None = None) -> Report:
    """Measure a result.

    Args:
        result: a picture; its measured size (see :func:`measured_size`) must be that of the reference.
        ref: the reference, see :func:`reference`.
        encoder: the encoder that measured the reference.

    Raises:
        ShapeError: if the size of the result differs from that of the reference.
    """
    if measured_size(result.size) != ref.size:
        raise ShapeError(
            f"result {result.name!r} has {result.size[1]}x{result.size[0]} pixels, but the reference is for another size; "
            "make a reference for the size of the result"
        )
    image = resize(result.image.cpu(), ref.size)
    features, own = _seen(image, encoder or slim_encoder())
    values = _style_figures(own, ref) | _content_figures(image, features, ref) | _color_figures(image, ref)
    values |= _fault_figures(result, image, ref)
    return Report(result.name, ref.size, tuple(Figure(name, values[name]) for name in KINDS))


def check_shape(content: tuple[int, int], result: tuple[int, int]) -> None:
    """Check that a result can belong to a content: similar aspect ratio, and large enough to measure.

    Raises:
        ShapeError: if the result cannot belong to the content.
    """
    if min(measured_size(result)) < SMALLEST_SIDE:
        raise ShapeError(
            f"the result has {result[1]}x{result[0]} pixels; both sides must be at least {SMALLEST_SIDE} after the longer side "
            f"is reduced to at most {EDGE_PX}: enlarge a small result, or crop a narrow one"
        )
    stretch = (content[0] / content[1]) / (result[0] / result[1])
    if not 1 / _STRETCH <= stretch <= _STRETCH:
        raise ShapeError(
            f"the content has {content[1]}x{content[0]} pixels and the result has {result[1]}x{result[0]}; their aspect ratios "
            "must be similar: give the photo that the result was painted from"
        )


@lru_cache(maxsize=1)
def slim_encoder() -> Vgg:
    """Load the shipped encoder in full precision, with the border mode of the network it was distilled from."""
    return load_encoder("vgg19-slim", border="zero")


# ---------------------------------------------------------------------------------------------------- figures


def _style_figures(own: Mapping[str, Moments], ref: ReferenceDistribution) -> dict[str, float]:
    near, far = _moments_distance(own, ref.style), _moments_distance(ref.own, ref.style)
    gram = _mean(relative(own[layer].gram, ref.style[layer].gram) for layer in STYLE_LAYERS)
    closed = 1 - near / far if far > _SAME_STYLE else math.nan
    return {"style_closed": closed, "style_gram": gram, "style_moments": near}


def _content_figures(image: Image, features: FeatureMap, ref: ReferenceDistribution) -> dict[str, float]:
    coarse = structural_similarity(small_luminance(image, _SMALL_PX), small_luminance(ref.content, _SMALL_PX))
    largest = max(ref.size)
    return {
        "content": relative(features, ref.features),
        "ssim": float(structural_similarity(small_luminance(image, largest), small_luminance(ref.content, largest))),
        "ssim_coarse": float(coarse),
    }


def _color_figures(image: Image, ref: ReferenceDistribution) -> dict[str, float]:
    made, was = lab(image), lab(ref.content)
    return {
        "color_to_photo": float((made - was).square().sum(1).sqrt().mean()),
        "color_to_style": palette_distance(moments(made), ref.palette),
    }


def _fault_figures(result: Picture, image: Image, ref: ReferenceDistribution) -> dict[str, float]:
    size = result.size if max(result.size) <= _LARGEST_PX else fitted_size(result.size, _LARGEST_PX)
    large = resize(result.image.cpu(), size)
    return {
        "clipped": max(0.0, clipped(large) - ref.clipped),
        "seams": seams(large, resize(ref.photo.image.cpu(), size)),
        "grid": lattice(image) / max(lattice(ref.content), 0.5),
        "frame": frame(image) / max(frame(ref.content), 0.5),
        "chroma_noise": chroma_energy(image) / max(ref.chroma, 1.0),
    }


def relative(found: Tensor, wanted: Tensor) -> float:
    """Return the sum of squared differences divided by the sum of squares of the target."""
    return float((found - wanted).square().sum() / wanted.square().sum().clamp_min(1e-12))


def _moments_distance(a: Mapping[str, Moments], b: Mapping[str, Moments]) -> float:
    def both(each: Moments) -> Tensor:
        return torch.stack([each.mean, each.deviation])

    return _mean(relative(both(a[layer]), both(b[layer])) for layer in STYLE_LAYERS)


def _mean(values: Iterator[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


# ---------------------------------------------------------------------------------------------------- measuring


@torch.no_grad()
def _seen(image: Image, encoder: Vgg) -> tuple[FeatureMap, dict[str, Moments]]:
    """Return the features of the content layer and the moments of the style layers, in the full network's channels."""
    found = encoder(image, (*STYLE_LAYERS, CONTENT_LAYER))
    own = {layer: measure(found[layer], encoder.head(layer)) for layer in STYLE_LAYERS}
    return mapped(found[CONTENT_LAYER], encoder.head(CONTENT_LAYER)), own


def style_picture(style: Picture, edge_px: int) -> Image:
    """Downscale a style picture to a longer side of ``edge_px``; smaller pictures are unchanged."""
    return resize(style.image.cpu(), fitted_size(style.size, min(edge_px, max(style.size))))


@torch.no_grad()
def _style_moments(style: Style, edge_px: int, encoder: Vgg) -> dict[str, Moments]:
    if isinstance(style, Picture):
        return _seen(style_picture(style, edge_px), encoder)[1]
    known, slim = style.at(edge_px, STYLE_LAYERS), slim_encoder()
    heads = {layer: slim.head(layer) for layer in STYLE_LAYERS}
    return {layer: head.moments(known[layer]) if head else known[layer] for layer, head in heads.items()}


# ---------------------------------------------------------------------------------------------------- colors


def lab(image: Image) -> Tensor:
    """Convert a picture to CIE Lab (D65): (1, 3, height, width), L from 0 to 100."""
    from skimage.color import rgb2lab

    pixels = image[0].permute(1, 2, 0).clamp(0, 1).double().numpy()
    found = np.ascontiguousarray(rgb2lab(pixels))
    return torch.from_numpy(found).permute(2, 0, 1)[None].float()


def palette(style: Style) -> Moments:
    """Compute the mean and covariance of a style's colors in Lab.

    Named styles store their colors as a Gaussian in sRGB; for them, a random sample of this Gaussian is measured.
    """
    if isinstance(style, Picture):
        return moments(lab(style_picture(style, EDGE_PX)))
    mean, covariance = style.colors.mean[0].double(), style.colors.covariance[0].double()
    values, vectors = torch.linalg.eigh(covariance)
    normal = torch.randn(3, _PALETTE_SAMPLES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sample = mean[:, None] + vectors @ (values.clamp_min(0).sqrt()[:, None] * normal)
    return moments(lab(sample.clamp(0, 1)[None, :, None].float()))


def palette_distance(found: Moments, wanted: Moments) -> float:
    """Return the 2-Wasserstein distance between two Gaussians of colors, in Lab ΔE.

    ``√(|μ - μ̂|² + tr(Σ + Σ̂ - 2 (Σ̂^½ Σ Σ̂^½)^½))``: the minimum root mean square distance by which colors must move to turn
    one palette into the other.
    """
    s, t = found.covariance.double(), wanted.covariance.double()
    root = sqrtm(t + 1e-3 * torch.eye(3, dtype=torch.float64), iterations=30)
    cross = sqrtm(root @ s @ root + 1e-3 * torch.eye(3, dtype=torch.float64), iterations=30)
    spread = torch.diagonal(s + t - 2 * cross, dim1=1, dim2=2).sum()
    return float(((found.mean - wanted.mean).double().square().sum() + spread).clamp_min(0).sqrt())

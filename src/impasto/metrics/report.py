"""Figures of a result beside the photo and the style it was made from, measured with the shipped encoder.

They are the figures of the project's ruler, which looks with the full VGG-19; here ``vgg19-slim`` looks, its statistics carried
through its heads. ``benchmarks/report.py`` prints how far the two are from each other. They are no published metric: neither
ArtFID nor LPIPS can be read from them.
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
from impasto.losses.picture import seen_small, structural_similarity
from impasto.metrics.artifacts import chroma_energy, clipped, frame, lattice, seams
from impasto.runtime.torch_state import in_known_state
from impasto.styles.named import NamedStyle
from impasto.tensors import FeatureMap, Image

Better = Literal["higher", "lower", "as you like"]
Style = Picture | NamedStyle

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT_LAYER = "relu4_2"
EDGE_PX = 512
"""Larger results are measured at this longer side; seams and clipping at their own size, up to _LARGEST_PX."""
SMALLEST_SIDE = 32
_LARGEST_PX = 4096
_SMALL_PX = 128
_STRETCH = 1.1
_SAME_STYLE = 1e-6
_PALETTE_SAMPLES = 4096
_CLIPPED_BEYOND = 0.02


@dataclass(frozen=True)
class Kind:
    """What a figure is: its plain name, what it means, which direction is better, and the bound of a fault, if there is one."""

    title: str
    meaning: str
    better: Better
    bound: float | None = None


KINDS: Mapping[str, Kind] = {
    "style_closed": Kind(
        "way to the style", "share of the distance from photo to style that is gone, by style_moments; 1 is all", "higher"
    ),
    "style_gram": Kind("style distance, Gram", "squared difference of Gram matrices, relative, five layers", "lower"),
    "style_moments": Kind("style distance, moments", "the same of means and deviations of the features", "lower"),
    "content": Kind("content distance", f"squared difference to the photo's features, relative, {CONTENT_LAYER}", "lower"),
    "ssim": Kind("fine structure", "structural similarity with the photo; 1 is the same", "higher"),
    "ssim_coarse": Kind("coarse structure", "the same, seen at 128 px: is the scene still there?", "higher"),
    "color_to_photo": Kind("color change", "mean Lab ΔE to the photo, pixel by pixel; 2 is just visible", "as you like"),
    "color_to_style": Kind(
        "distance to the palette", "Lab ΔE by which the colors would have to move to be the style's", "lower"
    ),
    "clipped": Kind(
        "clipped", "share of pixels at 0 or 255 beyond the photo's and the style's own share", "lower", _CLIPPED_BEYOND
    ),
    "seams": Kind("seams", "strongest straight line where tiles may meet, against lines elsewhere", "lower", 2.0),
    "grid": Kind("lattice", "energy at periods of 2 and 4 px against the photo's; about 1 is none", "lower", 2.0),
    "frame": Kind("frame", "unrest in the outer 8 px against the photo's; about 1 is none", "lower", 2.0),
    "chroma_noise": Kind("color noise", "fine energy of the colors against photo and style", "lower", 1.5),
}


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: a key of :data:`KINDS`.
        value: NaN where it has no meaning (the way to a style that the photo has already).
    """

    name: str
    value: float

    @property
    def kind(self) -> Kind:
        """What it means."""
        return KINDS[self.name]

    @property
    def verdict(self) -> str:
        """``"clean"`` or ``"faulty"`` where there is a bound, else empty."""
        if self.kind.bound is None:
            return ""
        return "clean" if self.value <= self.kind.bound else "faulty"


@dataclass(frozen=True)
class Report:
    """The figures of one result.

    Attributes:
        result: its name.
        size: (height, width) at which it was measured.
        figures: in the order of :data:`KINDS`.
    """

    result: str
    size: tuple[int, int]
    figures: tuple[Figure, ...]

    def __iter__(self) -> Iterator[Figure]:
        """Iterate over the figures."""
        return iter(self.figures)

    def __getitem__(self, name: str) -> float:
        """Return the value of a figure by its name."""
        return next(figure.value for figure in self.figures if figure.name == name)

    @property
    def faults(self) -> tuple[str, ...]:
        """The plain names of the figures beyond their bounds."""
        return tuple(figure.kind.title for figure in self if figure.verdict == "faulty")

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values: the figures by name, and the verdicts of those that have a bound."""
        values = {each.name: None if math.isnan(each.value) else round(each.value, 4) for each in self}
        return {"result": self.result, "measured_at": list(self.size), **values, "faults": list(self.faults)}

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> "Report":
        """Read what :meth:`as_dict` wrote; figures that it does not know are left out.

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
    """A photo and a style, measured at the size of a result.

    Attributes:
        photo: what the result was made from, unchanged.
        content: the photo at the size of measuring.
        features: of the content at :data:`CONTENT_LAYER`, in the full network's channels.
        own: the content's moments by layer.
        style: the style's moments by layer.
        palette: mean (1, 3) and covariance (1, 3, 3) of the style's colors in Lab.
        chroma: the larger of the chroma energies of content and styles.
        clipped: the larger of their shares of clipped pixels.
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
    """Return (height, width) at which a result of a size is measured."""
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
    """Measure a photo and one or several styles at a size.

    Args:
        content: the photo.
        styles: pictures or named styles; several are blended as the painter blends them.
        size: (height, width) of the results; what is larger than 512 is measured at 512.
        weights: one for each style; empty: equal ones.
        encoder: what looks; by default the shipped one.

    Raises:
        ShapeError: the size is too small, or not of the photo's shape.
        OptionError: no style, or a wrong number of weights.
    """
    if not styles:
        raise OptionError("no style was given; give the picture, or the named style, that the result was painted in")
    check_shape(content.size, size)
    size, encoder = measured_size(size), encoder or slim_encoder()
    photo = resize(content.image.cpu(), size)
    pictures = [style_picture(style, max(size)) for style in styles if isinstance(style, Picture)]
    seen = _seen(photo, encoder)
    manner = [_style_moments(style, max(size), encoder) for style in styles]
    shares = weights or (1.0,) * len(styles)
    return ReferenceDistribution(
        photo=content,
        content=photo,
        features=seen[0],
        own=seen[1],
        style={layer: blend([each[layer] for each in manner], shares) for layer in STYLE_LAYERS},
        palette=blend([palette(style) for style in styles], shares),
        chroma=max(chroma_energy(each) for each in (photo, *pictures)),
        clipped=max(clipped(each) for each in (photo, *pictures)),
    )


@in_known_state
def report_on(result: Picture, stick: ReferenceDistribution, *, encoder: Vgg | None = None) -> Report:
    """Measure a result.

    Args:
        result: the picture, of the size that the reference was made for, or of another that is measured at the same.
        stick: see :func:`reference`.
        encoder: the same that the reference was made with.

    Raises:
        ShapeError: the result is of another size than the reference's.
    """
    if measured_size(result.size) != stick.size:
        raise ShapeError(f"result {result.name!r} of {result.size[1]}x{result.size[0]} pixels needs a reference of its size")
    image = resize(result.image.cpu(), stick.size)
    features, own = _seen(image, encoder or slim_encoder())
    values = _style_figures(own, stick) | _content_figures(image, features, stick) | _color_figures(image, stick)
    values |= _fault_figures(result, image, stick)
    return Report(result.name, stick.size, tuple(Figure(name, values[name]) for name in KINDS))


def check_shape(content: tuple[int, int], result: tuple[int, int]) -> None:
    """Raise unless a result may be of a content: about its proportions, and large enough to be measured.

    Raises:
        ShapeError: it is not.
    """
    if min(measured_size(result)) < SMALLEST_SIDE:
        raise ShapeError(
            f"the result has {result[1]}x{result[0]} pixels; to be measured both sides must be at least {SMALLEST_SIDE} "
            f"where the longer is at most {EDGE_PX}: enlarge or crop it"
        )
    stretch = (content[0] / content[1]) / (result[0] / result[1])
    if not 1 / _STRETCH <= stretch <= _STRETCH:
        raise ShapeError(
            f"the content has {content[1]}x{content[0]} pixels and the result {result[1]}x{result[0]}, another shape; "
            "give the photo that the result was painted from"
        )


@lru_cache(maxsize=1)
def slim_encoder() -> Vgg:
    """Load the shipped encoder, in full precision, with the borders of the network it was distilled from."""
    return load_encoder("vgg19-slim", border="zero")


# ---------------------------------------------------------------------------------------------------- figures


def _style_figures(own: Mapping[str, Moments], stick: ReferenceDistribution) -> dict[str, float]:
    near, far = _moments_distance(own, stick.style), _moments_distance(stick.own, stick.style)
    gram = _mean(relative(own[layer].gram, stick.style[layer].gram) for layer in STYLE_LAYERS)
    closed = 1 - near / far if far > _SAME_STYLE else math.nan
    return {"style_closed": closed, "style_gram": gram, "style_moments": near}


def _content_figures(image: Image, features: FeatureMap, stick: ReferenceDistribution) -> dict[str, float]:
    coarse = structural_similarity(seen_small(image, _SMALL_PX), seen_small(stick.content, _SMALL_PX))
    largest = max(stick.size)
    return {
        "content": relative(features, stick.features),
        "ssim": float(structural_similarity(seen_small(image, largest), seen_small(stick.content, largest))),
        "ssim_coarse": float(coarse),
    }


def _color_figures(image: Image, stick: ReferenceDistribution) -> dict[str, float]:
    made, was = lab(image), lab(stick.content)
    return {
        "color_to_photo": float((made - was).square().sum(1).sqrt().mean()),
        "color_to_style": palette_distance(moments(made), stick.palette),
    }


def _fault_figures(result: Picture, image: Image, stick: ReferenceDistribution) -> dict[str, float]:
    size = result.size if max(result.size) <= _LARGEST_PX else fitted_size(result.size, _LARGEST_PX)
    large = resize(result.image.cpu(), size)
    return {
        "clipped": max(0.0, clipped(large) - stick.clipped),
        "seams": seams(large, resize(stick.photo.image.cpu(), size)),
        "grid": lattice(image) / max(lattice(stick.content), 0.5),
        "frame": frame(image) / max(frame(stick.content), 0.5),
        "chroma_noise": chroma_energy(image) / max(stick.chroma, 1.0),
    }


def relative(found: Tensor, wanted: Tensor) -> float:
    """Return the squared difference as a share of the squares of what is wanted."""
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
    """Return a style picture with a longer side of edge_px, or as it is where it is smaller."""
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
    """Measure the mean and covariance of a style's colors in Lab.

    Of a named style, whose colors are known as a Gaussian in sRGB, a sample is drawn from that.
    """
    if isinstance(style, Picture):
        return moments(lab(style_picture(style, EDGE_PX)))
    mean, covariance = style.colors.mean[0].double(), style.colors.covariance[0].double()
    values, vectors = torch.linalg.eigh(covariance)
    normal = torch.randn(3, _PALETTE_SAMPLES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sample = mean[:, None] + vectors @ (values.clamp_min(0).sqrt()[:, None] * normal)
    return moments(lab(sample.clamp(0, 1)[None, :, None].float()))


def palette_distance(found: Moments, wanted: Moments) -> float:
    """Return the 2-Wasserstein distance of two Gaussians of colors, in Lab ΔE.

    ``√(|μ - μ̂|² + tr(Σ + Σ̂ - 2 (Σ̂^½ Σ Σ̂^½)^½))``: the root mean square of how far colors move from one palette to the other
    at the least.
    """
    s, t = found.covariance.double(), wanted.covariance.double()
    root = sqrtm(t + 1e-3 * torch.eye(3, dtype=torch.float64), iterations=30)
    cross = sqrtm(root @ s @ root + 1e-3 * torch.eye(3, dtype=torch.float64), iterations=30)
    spread = torch.diagonal(s + t - 2 * cross, dim1=1, dim2=2).sum()
    return float(((found.mean - wanted.mean).double().square().sum() + spread).clamp_min(0).sqrt())

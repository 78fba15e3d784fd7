"""Image analogies: learn a filter from one pair of pictures A and A', and apply it to B.

The pixels q of B' are synthesized coarse to fine, in reading order. Each q takes the value of A' at p, where p is the pixel of
the example whose neighborhood (in A, A' and their coarser level) is most similar to the neighborhood of q (in B, B' and their
coarser level).

Source: Hertzmann, Jacobs, Oliver, Curless and Salesin 2001, Image Analogies (SIGGRAPH), section 3. Departures from the paper:

- The default transfer, ``linear``, is our addition; the paper uses ``copy``.
- Pixels are synthesized in diagonal wavefronts; each pixel has the same finished neighbors as in reading order.
- The approximate search uses a k-d tree in 16 principal directions.
- Neighborhoods of A' and B' have half the weight of those of A and B.
- Coarser levels are enlarged before they are compared, see :mod:`impasto.features.analogies`.
- Pictures are mirrored at the borders; if the mirrored pixel of B' is not synthesized yet, the coarser level is used.
- There are no steerable filters, and no separate search at the borders.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Literal, get_args

import numpy as np
import torch

from impasto.color.transfer import to_space, with_colors_of
from impasto.errors import OptionError, ShapeError, nearest_name
from impasto.features.analogies import (
    PATCH_PX,
    Examples,
    Floats,
    Indices,
    LocalModels,
    Pair,
    Planes,
    coherent_candidates,
    gaussian_pyramid,
    wavefronts,
)
from impasto.images import resize
from impasto.optim.engine import Step
from impasto.runtime.devices import seconds_now
from impasto.tensors import Image

Color = Literal["keep", "learn"]
Transfer = Literal["linear", "copy"]
COLORS: tuple[str, ...] = get_args(Color)
TRANSFERS: tuple[str, ...] = get_args(Transfer)

_COARSEST_PX = 16
_MOST_LEVELS = 5
_STEPS = 64
"""Number of steps reported for a level of 512 x 512 pixels; smaller levels have fewer, see :func:`steps_at`."""


@dataclass(frozen=True, kw_only=True)
class AnalogySettings:
    """How an analogy is synthesized.

    Attributes:
        levels: number of sizes; None: up to 5, as long as both sides of the coarsest have at least 16 pixels.
        kappa: preference, at least 0, for a coherent match (one that continues the match of a neighboring pixel)
            over the nearest match. With 0, the result has flat patches; with 2, strokes; with 10 or more, large fragments of
            A'. The paper uses 0.5 to 5 for textures and 2 to 25 for paintings.
        color: ``keep`` synthesizes luminance and keeps the colors of B; ``learn`` synthesizes all colors.
        transfer: ``copy`` uses the value of the matched pixel. ``linear`` also adds a correction from a linear model of the
            filter, which is fitted to similar neighborhoods of the example. The correction is the difference that the model
            predicts between q and p, times the share of the variance that the model explains. Thus ``linear`` extends a filter
            to values that the example does not have. Strokes are copied, because no linear model explains them.
        remap: with ``keep``, shift and scale the luminance of A and A' to the mean and standard deviation of B (section 3.4).
    """

    levels: int | None = None
    kappa: float = 2.0
    color: Color = "keep"
    transfer: Transfer = "linear"
    remap: bool = True


@dataclass(frozen=True)
class ClassicAnalogy:
    """The pictures and settings of an analogy; see :func:`classic_analogy`."""

    a: Image
    a_prime: Image
    b: Image
    settings: AnalogySettings

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the result."""
        return self.b.shape[-2], self.b.shape[-1]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """The sizes, coarse to fine."""
        count = self.settings.levels or default_levels(self.a, self.b)
        height, width = self.size
        return [(-(-height >> power), -(-width >> power)) for power in range(count - 1, -1, -1)]


def classic_analogy(a: Image, a_prime: Image, b: Image, settings: AnalogySettings | None = None) -> Iterator[Step]:
    """Synthesize B', which relates to B as A' relates to A.

    The result is deterministic. To cancel, stop iterating.

    Args:
        a: the unfiltered example, (1, 3, height, width), sRGB in [0, 1].
        a_prime: the filtered example, at the same size.
        b: the picture to filter, of any size.
        settings: how to synthesize; None: the defaults.

    Yields:
        Steps whose image is the current state of B' at the level of the step. The last image is the result and has the size of
        B. The only loss is ``distance``, the mean squared distance of the neighborhoods to their matches.

    Raises:
        ShapeError: A and A' differ in size, or a picture is smaller than a patch.
        OptionError: a setting is not allowed.

    Example:
        >>> picture = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
        >>> *_, last = classic_analogy(picture, 1 - picture, picture.flip(3), AnalogySettings(color="learn"))
        >>> bool((last.image - picture).abs().max() < 0.03)
        True
    """
    settings = settings or AnalogySettings()
    check(a, a_prime, b, settings)
    began = seconds_now()
    photos = gaussian_pyramid(to_planes(b, settings), settings.levels or default_levels(a, b))
    example = example_of(a, a_prime, photos[-1], settings, len(photos))
    sizes = [(photo.shape[0], photo.shape[1]) for photo in photos]
    total, done, canvas = sum(map(steps_at, sizes)), 0, None
    for scale, photo in enumerate(photos):
        canvas = started(photo, canvas)
        for distance in Synthesis.of(example, scale, settings).run(canvas):
            done, seconds = done + 1, seconds_now() - began
            image = to_image(canvas.result, b, settings)
            yield Step(
                done, total, scale, sizes[scale], {"distance": distance}, image, seconds, seconds * (total - done) / done
            )


def check(a: Image, a_prime: Image, b: Image, settings: AnalogySettings) -> None:
    """Raise unless the pictures and settings can be used."""
    for name, picture in (("A", a), ("A'", a_prime), ("B", b)):
        if picture.ndim != 4 or picture.shape[:2] != (1, 3):
            raise ShapeError(f"{name} is a tensor of shape {tuple(picture.shape)}; give one picture, (1, 3, height, width)")
        if min(picture.shape[-2:]) < PATCH_PX:
            raise ShapeError(
                f"{name} has {picture.shape[-1]}x{picture.shape[-2]} pixels, less than a patch; "
                f"both sides must be at least {PATCH_PX}: give a larger picture"
            )
    if a.shape != a_prime.shape:
        raise ShapeError(
            f"A has {a.shape[-1]}x{a.shape[-2]} pixels and A' has {a_prime.shape[-1]}x{a_prime.shape[-2]}; "
            "both must show the same scene at the same size: resize or crop one of them"
        )
    check_settings(settings, most_levels(a, b, PATCH_PX))


def check_settings(settings: AnalogySettings, most: int) -> None:
    """Raise unless the settings are allowed; ``most`` is the maximum number of levels for the size of the pictures."""
    for name, allowed in (("color", COLORS), ("transfer", TRANSFERS)):
        value = getattr(settings, name)
        if value not in allowed:
            raise OptionError(f"{name} {value!r} is not known{nearest_name(value, allowed)}")
    if not (isfinite(settings.kappa) and settings.kappa >= 0):
        raise OptionError(f"kappa is {settings.kappa:g}; it must be a number of at least 0, such as 2")
    if settings.levels is not None and not 1 <= settings.levels <= most:
        raise OptionError(
            f"levels is {settings.levels}; pictures of this size allow 1 to {most}: omit it, or give one of these"
        )


def most_levels(a: Image, b: Image, smallest_px: int) -> int:
    """Return the maximum number of levels whose sides all have at least ``smallest_px`` pixels; at least 1."""
    side, levels = min(*a.shape[-2:], *b.shape[-2:]), 1
    while (side := (side + 1) // 2) >= smallest_px:
        levels += 1
    return levels


def default_levels(a: Image, b: Image) -> int:
    """Return the number of levels to use if the settings give none."""
    return min(_MOST_LEVELS, most_levels(a, b, _COARSEST_PX))


def kappa_at(scale: int, levels: int, settings: AnalogySettings) -> float:
    """Return the factor by which a coherent match may be farther than the nearest match: ``1 + 2^(l - L) κ``.

    Source:
        Hertzmann et al. 2001, section 3.2; l counts from the coarsest level, and L is the finest.
    """
    return 1 + float(2.0 ** (scale - levels + 1)) * settings.kappa


# ---------------------------------------------------------------------------------------------------- planes


@dataclass(frozen=True)
class Example:
    """The example at each level.

    Attributes:
        pairs: A and A', coarsest first.
        limits: the values of black and white in A'.
    """

    pairs: list[Pair]
    limits: tuple[float, float]


def to_planes(image: Image, settings: AnalogySettings) -> Planes:
    """Convert a picture to the planes that are synthesized: (height, width, 3), or (height, width, 1) for luminance."""
    image = image.detach().cpu().float()
    planes = image if settings.color == "learn" else to_space(image, "yiq")[:, :1]
    return np.ascontiguousarray(planes[0].permute(1, 2, 0).numpy())


def to_image(result: Planes, b: Image, settings: AnalogySettings) -> Image:
    """Convert synthesized planes to a picture of the same size; with ``keep``, it has the colors of B."""
    planes = torch.from_numpy(result.clip(0, 1)).permute(2, 0, 1)[None]
    if settings.color == "learn":
        return planes.to(b)
    return with_colors_of(resize(b, result.shape[:2]), planes.expand(-1, 3, -1, -1).to(b), "yiq")


def example_of(a: Image, a_prime: Image, photo: Planes, settings: AnalogySettings, levels: int) -> Example:
    """Return the example at each level.

    With ``settings.remap``, the luminance of A and A' is remapped to that of B, given as ``photo``.
    """
    source, result = to_planes(a, settings), to_planes(a_prime, settings)
    gain, shift = 1.0, 0.0
    if settings.remap and settings.color == "keep":
        gain, shift = luminance_map(source, photo)
    pairs: list[Pair] = []
    pyramids = (gaussian_pyramid(each * np.float32(gain) + np.float32(shift), levels) for each in (source, result))
    for smaller, filtered in zip(*pyramids, strict=True):
        pairs.append(Pair(smaller, filtered, pairs[-1].enlarged(smaller.shape[:2]) if pairs else None))
    return Example(pairs, (shift, gain + shift))


def luminance_map(source: Planes, photo: Planes) -> tuple[float, float]:
    """Return the gain and shift that map A to the mean and standard deviation of B: ``σ_B / σ_A (Y - μ_A) + μ_B``."""
    gain = float(photo.std()) / max(float(source.std()), 1e-3)
    return gain, float(photo.mean()) - gain * float(source.mean())


# ------------------------------------------------------------------------------------------------- synthesis


def started(photo: Planes, finished: Pair | None) -> Pair:
    """Return the pair B, B' at a level. B' starts as the enlarged coarser level; at the coarsest level it starts as B."""
    if not finished:
        return Pair(photo, photo.copy())
    coarser = finished.enlarged(photo.shape[:2])
    return Pair(photo, coarser.result.copy(), coarser)


def steps_at(size: tuple[int, int]) -> int:
    """Return the number of steps at a level: 64 for 512 x 512 pixels, at least 1."""
    return max(1, round(_STEPS * size[0] * size[1] / 512**2))


@dataclass(frozen=True)
class Synthesis:
    """The example at one level, prepared for the synthesis of B'.

    Attributes:
        example: A and A' at this level.
        neighborhoods: the neighborhoods of the example.
        models: linear models of the filter; None: copy values.
        limits: the values of black and white.
        factor: factor by which a coherent match may be farther than the nearest match, see :func:`kappa_at`.
    """

    example: Pair
    neighborhoods: Examples
    models: LocalModels | None
    limits: tuple[float, float]
    factor: float

    @classmethod
    def of(cls, example: Example, scale: int, settings: AnalogySettings) -> "Synthesis":
        """Prepare a level of an example."""
        pair = example.pairs[scale]
        neighborhoods = Examples.of(pair)
        models = LocalModels.of(pair, neighborhoods, example.limits) if settings.transfer == "linear" else None
        factor = kappa_at(scale, len(example.pairs), settings)
        return cls(pair, neighborhoods, models, example.limits, factor)

    def run(self, canvas: Pair) -> Iterator[float]:
        """Synthesize B' at a level, in place.

        The coarsest level is synthesized twice, because its borders are unknown the first time.

        Args:
            canvas: B and B' at this level; B' is changed.

        Yields:
            The mean squared distance between the pixels synthesized so far and their matches. It is yielded once per step, see
            :func:`steps_at`.
        """
        if not canvas.coarser:
            for _ in self.fronts(canvas):
                pass
        pixels, steps = canvas.size[0] * canvas.size[1], steps_at(canvas.size)
        done, total = 0, 0.0
        for distances in self.fronts(canvas):
            before, done, total = done, done + len(distances), total + float(distances.sum())
            for _ in range(before * steps // pixels, done * steps // pixels):
                yield total / done

    def fronts(self, canvas: Pair) -> Iterator[Floats]:
        """Synthesize B' once; yield the squared distances of each wavefront."""
        matches = np.zeros(canvas.size, dtype=np.intp)
        for rows, columns in wavefronts(canvas.size):
            inputs = canvas.unfiltered(rows, columns)
            queries = np.concatenate([inputs, canvas.filtered(rows, columns)], axis=1) @ self.neighborhoods.basis
            candidates = coherent_candidates(matches, rows, columns, self.example.size)
            found, distances = self.best_matches(queries, candidates)
            matches[rows, columns] = found
            canvas.result[rows, columns] = self.values(inputs, found)
            yield distances

    def best_matches(self, queries: Floats, candidates: Indices) -> tuple[Indices, Floats]:
        """Return the match of each pixel and its squared distance: the coherent match, unless the nearest is much closer."""
        nearest, least = self.neighborhoods.nearest(queries)
        coherent, distance = self.neighborhoods.closest_of(candidates, queries)
        is_coherent = distance <= least * self.factor
        return np.where(is_coherent, coherent, nearest), np.where(is_coherent, distance, least)

    def values(self, inputs: Floats, matches: Indices) -> Floats:
        """Return the filtered pixels, (pixels, planes)."""
        if self.models:
            return self.models.values(inputs, matches).clip(*self.limits)
        return self.example.result.reshape(-1, self.example.result.shape[2])[matches]

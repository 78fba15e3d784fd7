"""Automatic regions of a photo without downloaded models: subject, background, sky, skin, areas of one color.

The photo is downscaled and cut into superpixels. When the regions are enlarged, they are fitted to the edges of the photo.
The regions are estimates from color, position and texture: check them with ``impasto regions photo.jpg`` before using them.

Source: Wei et al. 2012 for finding the subject by its color distance from the border; Cheng et al. 2011 for rare colors;
Rother et al. 2004 (GrabCut) for alternating color models and minimum cuts, here on superpixels; Otsu 1979 for the first
threshold. The weights of the cues and the sky criteria are our own.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from impasto.errors import OptionError, nearest_name
from impasto.images import resize
from impasto.masks.skin import face_ellipses, skin
from impasto.masks.superpixels import (
    Superpixels,
    clustered,
    downscaled,
    fitted,
    share_of,
    superpixels_of,
    without_holes,
    without_specks,
)
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import Image, Mask

Array = npt.NDArray[Any]
NAMES = ("subject", "background", "sky", "skin")
REGIONS = 5
"""Default number of color regions."""
_TRUST = 4.0
"""Weight of saliency relative to color in a cut."""
_OTSU_FACTORS, _USUAL = (0.7, 0.85, 1.0), 0.37
"""Factors for Otsu's threshold, tried in order until the subject's share of the photo is at most ``_USUAL``."""
_REGION = re.compile(r"region-(\d+)(?:-of-(\d+))?")


@in_known_state
def find_region(photo: Image, name: str) -> Mask:
    """Find a region by name.

    Args:
        photo: (1, 3, height, width) in [0, 1].
        name: ``"subject"``, ``"background"``, ``"sky"``, ``"skin"``, ``"region-2"`` (the second largest of five color regions)
            or ``"region-2-of-8"`` (the second largest of eight).

    Returns:
        (1, 1, height, width) in [0, 1], with soft edges; all zeros if there is no such region.

    Raises:
        OptionError: if the name is unknown or the number is out of range.
    """
    numbered = _REGION.fullmatch(name)
    if numbered:
        count, index = int(numbered[2] or REGIONS), int(numbered[1])
        if not (2 <= count <= 24 and 1 <= index <= count):
            raise OptionError(f"'auto:{name}' does not exist; give a number from 1 to {count}; a photo has 2 to 24 regions")
        masks = color_regions(photo, count)
        return masks[index - 1] if index <= len(masks) else torch.zeros_like(photo[:, :1])
    finders: dict[str, Callable[[Image], Mask]] = {"subject": subject, "background": background, "sky": sky, "skin": skin}
    if name not in finders:
        raise OptionError(f"'auto:{name}' is not known{nearest_name(name, (*NAMES, 'region-1'))}")
    return finders[name](photo)


@in_known_state
def color_regions(photo: Image, count: int = REGIONS, *, nearness: float = 1.5) -> list[Mask]:
    """Cut a photo into ``count`` regions by color and position, largest first; fewer if the photo has fewer colors.

    The masks sum to 1 everywhere.
    """
    superpixels = superpixels_of(photo)
    features = np.concatenate([superpixels.colors / 20, superpixels.places * nearness], axis=1)
    labels = clustered(features, superpixels.sizes, count)
    used = np.unique(labels)
    order = used[np.argsort([-superpixels.sizes[labels == label].sum() for label in used])]
    masks = torch.cat([fitted(photo, superpixels.painted(labels == label)) for label in order])
    masks = masks / masks.sum(0, keepdim=True).clamp_min(1e-6)
    return [each[None] for each in masks]


@in_known_state
def subject(photo: Image) -> Mask:
    """Find the subject of a photo: the connected areas that differ from the border."""
    superpixels = superpixels_of(photo)
    faces = share_of(superpixels, face_ellipses(photo, grow=1.0)) > 0.5
    middle = np.exp(-((superpixels.places[:, 0] - 0.55) ** 2 + (superpixels.places[:, 1] - 0.5) ** 2) / (2 * 0.3**2))
    saliency = _saliency(photo, superpixels) * (0.35 + 0.65 * middle)
    for factor in _OTSU_FACTORS:
        inside = _largest_parts(superpixels, _cut(superpixels, saliency, faces, factor), saliency, faces)
        if superpixels.sizes[inside].sum() <= _USUAL * superpixels.sizes.sum():
            break
    if not 0.03 < float(superpixels.sizes[inside].sum() / superpixels.sizes.sum()) < 0.8:  # no salient area: use the center
        inside = _cut(superpixels, middle, faces)
    return fitted(photo, without_specks(superpixels.painted(inside), 0.005))


@in_known_state
def background(photo: Image) -> Mask:
    """Return the complement of the subject."""
    return 1 - subject(photo)


@in_known_state
def sky(photo: Image) -> Mask:
    """Find the sky: a smooth, blue or bright area connected to the upper edge, including clouds.

    The mask is empty if the area may be a wall: if it is nearly gray and not bright, extends far down at the sides of the
    photo, or has many gaps.
    """
    superpixels = superpixels_of(photo)
    lightness, a, b = superpixels.colors.T
    is_blue = (b < -4) & (a < 12) & (lightness > 25) | (b < -12) & (a < 16) & (lightness > 10)
    is_bright = (lightness > 62) & (np.hypot(a, b) < 22) & (b < 12)
    like = (is_blue | is_bright) & (superpixels.places[:, 0] < _horizon(superpixels))
    chosen = _grown_from_top(superpixels, like & (superpixels.textures < 0.03), np.zeros(len(like), bool), 22)
    chosen = _grown_from_top(superpixels, like, chosen, 8)  # includes superpixels on an edge, which are not smooth
    if not _may_be_sky(superpixels, chosen):
        return torch.zeros_like(photo[:, :1])
    whole = without_holes(superpixels.painted(chosen), 0.004)
    clouds = without_holes(whole, 0.03) * superpixels.painted(like)
    return fitted(photo, np.maximum(whole, clouds))


# ---------------------------------------------------------------------------------------------------- subject


def _saliency(photo: Image, superpixels: Superpixels) -> Array:
    """Return the saliency of each superpixel, in [0, 1]: distance from the border, rarity of color, sharpness."""
    cues = (_distance_from_border(superpixels), _rarity(superpixels), _sharpness(photo, superpixels))
    return np.asarray(sum(weight * _from_0_to_1(cue) for weight, cue in zip((0.4, 0.3, 0.3), cues, strict=True)))


def _from_0_to_1(cue: Array) -> Array:
    low, high = np.percentile(cue, (5, 97))
    return np.asarray(np.clip((cue - low) / max(float(high - low), 1e-6), 0, 1))


def _rarity(superpixels: Superpixels) -> Array:
    """Return the mean color difference between each superpixel and the whole photo."""
    distances = np.linalg.norm(superpixels.colors[:, None] - superpixels.colors[None], axis=2)
    return np.asarray((np.minimum(distances, 50) * superpixels.sizes).sum(1) / superpixels.sizes.sum())


def _sharpness(photo: Image, superpixels: Superpixels) -> Array:
    """Return the sharpness at or next to each superpixel; backgrounds are often out of focus."""
    from scipy.ndimage import gaussian_filter, maximum_filter

    light = downscaled(photo, 640).mean(-1)
    detail = gaussian_filter(np.abs(light - gaussian_filter(light, 1.0)), 0.008 * max(light.shape))
    near = maximum_filter(detail, size=max(3, round(0.04 * max(light.shape))))
    height, width = superpixels.labels.shape
    shrunk = resize(torch.from_numpy(near)[None, None].float(), (height, width))[0, 0].double().numpy()
    return np.asarray(np.sqrt(np.maximum(share_of(superpixels, shrunk), 0)))


def _largest_parts(superpixels: Superpixels, inside: Array, saliency: Array, faces: Array) -> Array:
    """Keep the connected part with the most total saliency, parts with at least 30% as much, and parts with faces."""
    from scipy.ndimage import label

    parts, count = label(superpixels.painted(inside) > 0)
    if count < 2:
        return inside
    weights = np.bincount(parts.ravel(), saliency[superpixels.labels].ravel())
    weights[0] = 0
    faced = np.unique(parts[superpixels.painted(faces & inside) > 0])
    kept = np.isin(parts, np.union1d(np.flatnonzero(weights >= 0.3 * weights.max()), faced)) & (parts > 0)
    return np.asarray(share_of(superpixels, kept) > 0.5)


def _distance_from_border(superpixels: Superpixels) -> Array:
    """Return the sum of color steps on the shortest path from the border to each superpixel: low for background."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import dijkstra

    if not len(superpixels.pairs):
        return np.zeros(len(superpixels.sizes))
    first, second = superpixels.pairs.T
    steps = np.linalg.norm(superpixels.colors[first] - superpixels.colors[second], axis=1)
    steps = np.maximum(steps - np.percentile(steps, 40), 0) + 1e-3  # small steps are shading of the background
    count = len(superpixels.sizes)
    graph = coo_matrix((steps, (first, second)), shape=(count, count)).tocsr()
    labels = superpixels.labels
    # The lower edge cuts through most subjects, so only its corners count as background.
    border = np.unique(
        np.concatenate([labels[0], labels[: int(labels.shape[0] * 0.8), 0], labels[: int(labels.shape[0] * 0.8), -1]])
    )
    weight = _similarity_to_border(superpixels, border)
    reached = dijkstra(graph, directed=False, indices=border) + (1 - weight[border])[:, None] * 20
    distance: Array = reached.min(0)
    return distance


def _similarity_to_border(superpixels: Superpixels, border: Array) -> Array:
    """Return, for each superpixel, the share of the border with a similar color, in [0, 1]; low values suggest the subject."""
    distances = np.linalg.norm(superpixels.colors[:, None] - superpixels.colors[border][None], axis=2)
    share: Array = np.exp(-((distances / 18) ** 2)).mean(1)
    return np.asarray(np.clip(share / max(float(np.median(share[border])), 1e-9), 0, 1))


def _cut(superpixels: Superpixels, saliency: Array, faces: Array, factor: float = 1.0) -> Array:
    """Separate subject and background by alternating color models and minimum cuts, starting from the saliency."""
    from skimage.filters import threshold_otsu

    count = len(superpixels.sizes)
    if count < 4 or np.ptp(saliency) < 1e-6:
        return np.zeros(count, bool)
    weighted = np.repeat(saliency, np.maximum(1, superpixels.sizes / 20).astype(int))
    far = factor * threshold_otsu(weighted)  # type: ignore[no-untyped-call]
    inside: Array = (saliency > far) | faces
    prior = _TRUST * np.tanh((saliency - far) / max(float(saliency.std()), 1e-6)) + 8 * faces
    for _ in range(4):
        if not inside.any() or inside.all():
            break
        evidence = _likelihood(superpixels, inside) - _likelihood(superpixels, ~inside) + prior
        before, inside = inside, _minimum_cut(superpixels, evidence)
        if (before == inside).all():
            break
    return inside


def _likelihood(superpixels: Superpixels, chosen: Array) -> Array:
    """Return the log-likelihood of each superpixel's color under a mixture fitted to the chosen superpixels."""
    colors, weights = superpixels.colors[chosen], superpixels.sizes[chosen]
    labels = clustered(colors, weights, 5)
    shares = []
    for label in np.unique(labels):
        own, weight = colors[labels == label], weights[labels == label]
        mean = np.average(own, axis=0, weights=weight)
        spread = np.average((own - mean) ** 2, axis=0, weights=weight) + 16.0  # standard deviation of at least 4 in Lab
        exponent = -0.5 * ((superpixels.colors - mean) ** 2 / spread).sum(1) - 0.5 * np.log(spread).sum()
        shares.append(exponent + np.log(weight.sum() / weights.sum()))
    found: Array = np.logaddexp.reduce(shares, axis=0)
    return found.clip(-40, 0)


def _minimum_cut(superpixels: Superpixels, evidence: Array) -> Array:
    """Choose the superpixels with evidence for the subject; prefer a boundary between neighbors of different colors."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    count = len(evidence)
    first, second = superpixels.pairs.T
    distances = ((superpixels.colors[first] - superpixels.colors[second]) ** 2).sum(1)
    mean_length = float(np.sqrt(superpixels.sizes.mean()))
    links = 3.0 * np.exp(-distances / max(2 * float(distances.mean()), 1e-6)) * superpixels.lengths / mean_length
    source, sink = count, count + 1
    nodes = np.arange(count)
    rows = np.concatenate([np.full(count, source), nodes, first, second])
    columns = np.concatenate([nodes, np.full(count, sink), second, first])
    scaled = evidence * superpixels.sizes / superpixels.sizes.mean()
    capacity = np.concatenate([np.maximum(scaled, 0), np.maximum(-scaled, 0), links, links])
    graph = coo_matrix(((capacity * 1000).astype(np.int32), (rows, columns)), shape=(count + 2, count + 2)).tocsr()
    left = graph - maximum_flow(graph, source, sink).flow
    left.data = np.maximum(left.data, 0)
    left.eliminate_zeros()
    reached = breadth_first_order(left, source, return_predecessors=False)
    inside = np.zeros(count + 2, bool)
    inside[reached] = True
    return inside[:count]


# ---------------------------------------------------------------------------------------------------- sky


def _may_be_sky(superpixels: Superpixels, chosen: Array) -> bool:
    """Return whether the area at the upper edge is sky rather than a wall."""
    inside = superpixels.painted(chosen) > 0
    share = float(inside.mean())
    if not 0.02 < share < 0.97:
        return False
    height = len(inside)
    depths = np.where(inside.any(0), height - np.argmax(inside[::-1], axis=0), 0)
    lower_sides = inside[height // 2 :, [0, -1]].mean()
    if (
        inside[0].mean() < 0.4
        or inside.sum() < 0.84 * depths.sum()
        or lower_sides > 0.3
        or inside[int(0.84 * height)].mean() > 0.2
    ):
        return False
    colors = superpixels.colors[superpixels.labels]
    light, blue = colors[inside][:, 0].mean(), (colors[inside][:, 2] < -6).mean()
    brighter = light - colors[~inside][:, 0].mean()
    return bool(brighter > 0 if blue > 0.5 else (light > 84 and brighter > 20))


def _horizon(superpixels: Superpixels) -> float:
    """Find a horizontal line across most of the photo; return its distance from the top, in [0, 1], or 0.85 without a line."""
    light = superpixels.lightness
    height = len(light)
    reach = max(1, round(0.008 * height))
    steps = light[2 * reach :] - light[: -2 * reach]
    same = np.maximum((steps > 3).mean(1), (steps < -3).mean(1))
    rows = np.flatnonzero(same > 0.6) + reach
    rows = rows[(rows > 0.15 * height) & (rows < 0.85 * height)]
    return float(rows[0] / height) if len(rows) else 0.85


def _grown_from_top(superpixels: Superpixels, like: Array, chosen: Array, furthest: float) -> Array:
    """Grow the sky from the upper edge to neighbors whose CIELAB color differs by less than ``furthest``."""
    top = np.unique(superpixels.labels[0])
    chosen = chosen.copy()
    chosen[top[like[top]]] = True
    waiting = np.flatnonzero(chosen).tolist()
    around: dict[int, list[int]] = {}
    for one, other in superpixels.pairs.tolist():
        around.setdefault(one, []).append(other)
        around.setdefault(other, []).append(one)
    while waiting:
        here = waiting.pop()
        for there in around.get(here, ()):
            step = float(np.linalg.norm(superpixels.colors[here] - superpixels.colors[there]))
            if not chosen[there] and like[there] and step < furthest:
                chosen[there] = True
                waiting.append(there)
    return chosen

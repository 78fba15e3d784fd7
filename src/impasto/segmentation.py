"""Regions found in a photo without a model to download: subject, background, sky, skin, areas of a colour.

The photo is looked at small and cut into superpixels; what is found is fitted to the photo's own edges when it is enlarged.
These are guesses, made by colour, place and texture: look at them (``impasto regions photo.jpg``) before they are used.

Source: Achanta et al. 2012 for superpixels (SLIC); Wei et al. 2012 for "what is far from the border is the subject"; Rother
et al. 2004 (GrabCut) for colour models in turn with a minimum cut, here over superpixels; Chai and Ngan 1999 for the range of
skin in YCbCr, widened; Liao et al. 2007 for the cascade of faces that scikit-image carries; He et al. 2010 for the guided
filter.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from impasto.errors import OptionError, nearest_name
from impasto.images import fitted_size, resize
from impasto.tensors import Image, Mask

Array = npt.NDArray[Any]
NAMES = ("subject", "background", "sky", "skin")
REGIONS = 5
"""How many areas of a colour are told apart where no number is given."""
_EDGE_PX, _SUPERPIXELS = 320, 450
_REGION = re.compile(r"region-(\d+)(?:-of-(\d+))?")


def find_region(photo: Image, name: str) -> Mask:
    """Find a region by its name.

    Args:
        photo: (1, 3, height, width) in [0, 1].
        name: ``"subject"``, ``"background"``, ``"sky"``, ``"skin"``, or ``"region-2"``: the second largest of five areas of a
            colour; ``"region-2-of-8"``: of eight.

    Returns:
        (1, 1, height, width) in [0, 1], with soft edges; 0 everywhere where there is no such region.

    Raises:
        OptionError: an unknown name, or a number that is not among the regions.
    """
    numbered = _REGION.fullmatch(name)
    if numbered:
        count, index = int(numbered[2] or REGIONS), int(numbered[1])
        if not (2 <= count <= 24 and 1 <= index <= count):
            raise OptionError(f"'auto:{name}' is not among the regions; give a number from 1 to {count}, of 2 to 24 regions")
        masks = color_regions(photo, count)
        return masks[index - 1] if index <= len(masks) else torch.zeros_like(photo[:, :1])
    finders: dict[str, Callable[[Image], Mask]] = {"subject": subject, "background": background, "sky": sky, "skin": skin}
    if name not in finders:
        raise OptionError(f"'auto:{name}' is not known{nearest_name(name, (*NAMES, 'region-1'))}")
    return finders[name](photo)


def color_regions(photo: Image, count: int = REGIONS) -> list[Mask]:
    """Cut a photo into areas by colour and place, the largest first; fewer than asked for where there are fewer colours.

    The masks sum to 1 everywhere.
    """
    seen = _seen(photo)
    features = np.concatenate([seen.colours / 20, seen.places * 1.5], axis=1)
    labels = _clustered(features, seen.sizes, count)
    used = np.unique(labels)
    order = used[np.argsort([-seen.sizes[labels == label].sum() for label in used])]
    fitted = torch.cat([_fitted(photo, seen.painted(labels == label)) for label in order])
    fitted = fitted / fitted.sum(0, keepdim=True).clamp_min(1e-6)
    return [each[None] for each in fitted]


def subject(photo: Image) -> Mask:
    """Find what the photo is of: what differs from its border, and holds together."""
    seen = _seen(photo)
    faces = _share_of(seen, _face_ellipses(_small(photo), grow=1.0)) > 0.5
    inside = _cut(seen, _distance_from_border(seen), faces)
    if not 0.03 < float(seen.sizes[inside].sum() / seen.sizes.sum()) < 0.9:  # nothing stands out: what is in the middle
        inside = _cut(seen, 1 - np.hypot(seen.places[:, 0] - 0.55, 1.2 * (seen.places[:, 1] - 0.5)), faces)
    return _fitted(photo, _without_specks(seen.painted(inside), 0.01))


def background(photo: Image) -> Mask:
    """Find what is not the subject."""
    return 1 - subject(photo)


def sky(photo: Image) -> Mask:
    """Find the sky: what is smooth, blue or bright, and hangs from the upper edge; clouds belong to it."""
    seen = _seen(photo)
    lightness, a, b = seen.colours.T
    is_blue = (b < -4) & (a < 12) & (lightness > 25)
    is_bright = (lightness > 62) & (np.hypot(a, b) < 22)
    like = is_blue | is_bright
    chosen = _hanging(seen, like & (seen.textures < 0.03), np.zeros(len(like), bool), 22)
    chosen = _hanging(seen, like, chosen, 8)  # superpixels at the edge of something are not smooth
    if seen.sizes[chosen].sum() < 0.02 * seen.sizes.sum():
        return torch.zeros_like(photo[:, :1])
    whole = _without_holes(seen.painted(chosen), 0.004)
    clouds = _without_holes(whole, 0.03) * seen.painted(like)
    return _fitted(photo, np.maximum(whole, clouds))


def skin(photo: Image) -> Mask:
    """Find skin and faces, and rather too much than too little: sand and wood of the colour of skin are taken along."""
    small = _small(photo)
    found = _skin_coloured(small) | _face_ellipses(small, grow=1.0)
    share = max(2, round(0.015 * max(small.shape[:2])))
    mask = torch.from_numpy(_without_holes(_without_specks(found.astype(np.float32), 0.0008), 0.01))[None, None]
    grown = F.max_pool2d(mask, 2 * share + 1, 1, share)
    soft = F.avg_pool2d(F.pad(grown, (share,) * 4, mode="replicate"), 2 * share + 1, 1)
    size = (photo.shape[-2], photo.shape[-1])
    return torch.maximum(resize(mask, size), resize(soft, size)).clamp(0, 1)


# ---------------------------------------------------------------------------------------------------- superpixels


@dataclass(frozen=True)
class Seen:
    """A photo seen small, in superpixels.

    Attributes:
        labels: (height, width), which superpixel a position is in.
        colours: (superpixels, 3), mean CIELAB.
        places: (superpixels, 2), mean row and column in [0, 1].
        textures: (superpixels,), how much lightness varies from pixel to pixel, of 1.
        sizes: (superpixels,), in positions.
        pairs: (neighbours, 2), superpixels that touch.
        lengths: (neighbours,), along how many positions.
    """

    labels: Array
    colours: Array
    places: Array
    textures: Array
    sizes: Array
    pairs: Array
    lengths: Array

    def painted(self, chosen: Array) -> Array:
        """Return the positions of some superpixels, (height, width), float32, 1 where they are."""
        return chosen.astype(np.float32)[self.labels]


def _small(photo: Image) -> Array:
    """Return the photo seen small: (height, width, 3), float."""
    size = (photo.shape[-2], photo.shape[-1])
    small = resize(photo, fitted_size(size, min(_EDGE_PX, max(size))))
    found: Array = small[0].permute(1, 2, 0).cpu().double().numpy()
    return found


def _seen(photo: Image) -> Seen:
    small = np.ascontiguousarray(_small(photo))
    return _seen_bytes(small.tobytes(), small.shape)


@lru_cache(maxsize=4)
def _seen_bytes(data: bytes, shape: tuple[int, int, int]) -> Seen:
    """Cut a small photo into superpixels; the last few are kept, since several regions of a photo are asked for in turn."""
    from skimage.color import rgb2lab
    from skimage.segmentation import slic

    small = np.frombuffer(data).reshape(shape)
    lab = rgb2lab(small)
    labels = slic(small, n_segments=_SUPERPIXELS, compactness=12, sigma=1, start_label=0, enforce_connectivity=True)
    labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    count, flat = int(labels.max()) + 1, labels.ravel()
    sizes = np.bincount(flat, minlength=count).astype(float)

    def mean(values: Array) -> Array:
        return np.asarray(np.bincount(flat, values.ravel(), minlength=count) / sizes)

    rows, columns = np.mgrid[0 : 1 : shape[0] * 1j, 0 : 1 : shape[1] * 1j]
    lightness = lab[..., 0] / 100
    steps = np.hypot(np.gradient(lightness, axis=0), np.gradient(lightness, axis=1)) if min(shape[:2]) > 1 else lightness * 0
    pairs, lengths = _neighbours(labels)
    colours = np.stack([mean(lab[..., k]) for k in range(3)], 1)
    return Seen(labels, colours, np.stack([mean(rows), mean(columns)], 1), mean(steps), sizes, pairs, lengths)


def _share_of(seen: Seen, mask: Array) -> Array:
    """Return the share of each superpixel that is in a mask (height, width)."""
    share: Array = np.bincount(seen.labels.ravel(), mask.ravel(), minlength=len(seen.sizes)) / seen.sizes
    return share


def _neighbours(labels: Array) -> tuple[Array, Array]:
    beside = np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()], 1)
    below = np.stack([labels[:-1].ravel(), labels[1:].ravel()], 1)
    touching = np.concatenate([beside, below])
    touching = np.sort(touching[touching[:, 0] != touching[:, 1]], axis=1)
    if not len(touching):
        return np.zeros((0, 2), int), np.zeros(0)
    pairs, lengths = np.unique(touching, axis=0, return_counts=True)
    return pairs, lengths.astype(float)


def _clustered(features: Array, weights: Array, count: int) -> Array:
    """Group rows around count centres (k-means, begun with the rows that are farthest from each other): a label for each."""
    count = min(count, len(features))
    centres = [features[int(weights.argmax())]]
    while len(centres) < count:
        apart = np.min([((features - centre) ** 2).sum(1) for centre in centres], axis=0)
        if apart.max() < 1e-9:
            break
        centres.append(features[int((apart * np.sqrt(weights)).argmax())])
    labels = np.zeros(len(features), int)
    for _ in range(50):
        apart = np.stack([((features - centre) ** 2).sum(1) for centre in centres], 1)
        before, labels = labels, apart.argmin(1)
        used = [label for label in range(len(centres)) if (labels == label).any()]
        centres = [np.average(features[labels == label], axis=0, weights=weights[labels == label]) for label in used]
        labels = np.searchsorted(used, labels)
        if (before == labels).all():
            break
    return labels


# ---------------------------------------------------------------------------------------------------- subject


def _distance_from_border(seen: Seen) -> Array:
    """Return how far each superpixel is from the border, by steps of colour on the way: a backdrop is near, a subject far."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import dijkstra

    if not len(seen.pairs):
        return np.zeros(len(seen.sizes))
    first, second = seen.pairs.T
    steps = np.linalg.norm(seen.colours[first] - seen.colours[second], axis=1)
    steps = np.maximum(steps - np.percentile(steps, 40), 0) + 1e-3  # small steps are a backdrop's shading
    count = len(seen.sizes)
    graph = coo_matrix((steps, (first, second)), shape=(count, count)).tocsr()
    labels = seen.labels
    # The lower edge cuts through most subjects: of it only the corners tell of the backdrop.
    border = np.unique(
        np.concatenate([labels[0], labels[: int(labels.shape[0] * 0.8), 0], labels[: int(labels.shape[0] * 0.8), -1]])
    )
    weight = _like_the_border(seen, border)
    reached = dijkstra(graph, directed=False, indices=border) + (1 - weight[border])[:, None] * 20
    distance: Array = reached.min(0)
    middle = 1 - 0.5 * np.hypot(seen.places[:, 0] - 0.55, seen.places[:, 1] - 0.5)
    return distance * middle


def _like_the_border(seen: Seen, border: Array) -> Array:
    """Return how much of the border looks like each superpixel, in [0, 1]: what stands there alone may be the subject."""
    apart = np.linalg.norm(seen.colours[:, None] - seen.colours[border][None], axis=2)
    share: Array = np.exp(-((apart / 18) ** 2)).mean(1)
    return np.asarray(np.clip(share / max(float(np.median(share[border])), 1e-9), 0, 1))


def _cut(seen: Seen, distance: Array, faces: Array, rounds: int = 4) -> Array:
    """Tell subject from background by colour models in turn with a minimum cut, beginning with what is far from the border."""
    from skimage.filters import threshold_otsu

    count = len(seen.sizes)
    if count < 4 or np.ptp(distance) < 1e-6:
        return np.zeros(count, bool)
    weighted = np.repeat(distance, np.maximum(1, seen.sizes / 20).astype(int))
    far = threshold_otsu(weighted)  # type: ignore[no-untyped-call]
    inside: Array = (distance > far) | faces
    prior = 1.5 * np.tanh((distance - far) / max(float(distance.std()), 1e-6)) + 8 * faces
    for _ in range(rounds):
        if not inside.any() or inside.all():
            break
        evidence = _likelihood(seen, inside) - _likelihood(seen, ~inside) + prior
        before, inside = inside, _minimum_cut(seen, evidence)
        if (before == inside).all():
            break
    return inside


def _likelihood(seen: Seen, chosen: Array) -> Array:
    """Return the logarithm of the likelihood of each superpixel's colour in a mixture fitted to those chosen."""
    colours, weights = seen.colours[chosen], seen.sizes[chosen]
    labels = _clustered(colours, weights, 5)
    shares = []
    for label in np.unique(labels):
        own, weight = colours[labels == label], weights[labels == label]
        mean = np.average(own, axis=0, weights=weight)
        spread = np.average((own - mean) ** 2, axis=0, weights=weight) + 16.0  # no colour is surer than four steps of Lab
        exponent = -0.5 * ((seen.colours - mean) ** 2 / spread).sum(1) - 0.5 * np.log(spread).sum()
        shares.append(exponent + np.log(weight.sum() / weights.sum()))
    found: Array = np.logaddexp.reduce(shares, axis=0)
    return found.clip(-40, 0)


def _minimum_cut(seen: Seen, evidence: Array) -> Array:
    """Choose the superpixels whose evidence is for the subject, and cut where neighbours differ."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    count = len(evidence)
    first, second = seen.pairs.T
    apart = ((seen.colours[first] - seen.colours[second]) ** 2).sum(1)
    mean_length = float(np.sqrt(seen.sizes.mean()))
    links = 3.0 * np.exp(-apart / max(2 * float(apart.mean()), 1e-6)) * seen.lengths / mean_length
    source, sink = count, count + 1
    nodes = np.arange(count)
    rows = np.concatenate([np.full(count, source), nodes, first, second])
    columns = np.concatenate([nodes, np.full(count, sink), second, first])
    scaled = evidence * seen.sizes / seen.sizes.mean()
    capacity = np.concatenate([np.maximum(scaled, 0), np.maximum(-scaled, 0), links, links])
    graph = coo_matrix(((capacity * 1000).astype(np.int32), (rows, columns)), shape=(count + 2, count + 2)).tocsr()
    left = graph - maximum_flow(graph, source, sink).flow
    left.data = np.maximum(left.data, 0)
    left.eliminate_zeros()
    reached = breadth_first_order(left, source, return_predecessors=False)
    inside = np.zeros(count + 2, bool)
    inside[reached] = True
    return inside[:count]


# ---------------------------------------------------------------------------------------------------- sky and skin


def _hanging(seen: Seen, like: Array, chosen: Array, furthest: float) -> Array:
    """Grow the sky from the upper edge over neighbours that are like it and not further in colour (in CIELAB) than a step."""
    top = np.unique(seen.labels[0])
    chosen = chosen.copy()
    chosen[top[like[top]]] = True
    waiting = np.flatnonzero(chosen).tolist()
    around: dict[int, list[int]] = {}
    for one, other in seen.pairs.tolist():
        around.setdefault(one, []).append(other)
        around.setdefault(other, []).append(one)
    while waiting:
        here = waiting.pop()
        for there in around.get(here, ()):
            step = float(np.linalg.norm(seen.colours[here] - seen.colours[there]))
            if not chosen[there] and like[there] and step < furthest and seen.places[there, 0] < 0.85:
                chosen[there] = True
                waiting.append(there)
    return chosen


def _skin_coloured(small: Array) -> Array:
    """Say where a picture has the colour of skin: a range of YCbCr wide enough for every tone of it, under many lights.

    Where a face is seen, it tells the tones that are meant; where none is, and half of the picture would be skin, the range is
    narrower.
    """
    light, cb, cr = _ycbcr(small)
    found: Array = (cb > 75) & (cb < 127) & (cr > 134) & (cr < 180) & (light > 35) & (cr - cb > 10)
    faces = _face_ellipses(small, grow=0.45) & found
    if faces.any():
        apart = np.hypot(cb - np.median(cb[faces]), cr - np.median(cr[faces]))
        return np.asarray((found & (apart < 24)) | ((apart < 12) & (light > 35)))
    if found.mean() > 0.5:
        found &= (cb < 120) & (cr > 140) & (cr < 168) & (light > 60)
    return found


def _ycbcr(small: Array) -> tuple[Array, Array, Array]:
    """Return luminance and the two differences of colour (Rec. 601), 0 to 255."""
    red, green, blue = (small * 255).transpose(2, 0, 1)
    cb = 128 - 0.168736 * red - 0.331264 * green + 0.5 * blue
    cr = 128 + 0.5 * red - 0.418688 * green - 0.081312 * blue
    return 0.299 * red + 0.587 * green + 0.114 * blue, cb, cr


def _face_ellipses(small: Array, grow: float) -> Array:
    """Find faces that look at the camera, as ellipses; at ``grow`` 1 with the hair around them."""
    rows, columns = np.mgrid[: small.shape[0], : small.shape[1]]
    found = np.zeros(small.shape[:2], bool)
    for top, left, height, width in _face_boxes(np.ascontiguousarray(small).tobytes(), small.shape):
        down, right = (
            (rows - top - 0.5 * height) / (0.85 * height * grow),
            (columns - left - 0.5 * width) / (0.7 * width * grow),
        )
        found |= down**2 + right**2 < 1
    return found


@lru_cache(maxsize=4)
def _face_boxes(data: bytes, shape: tuple[int, int, int]) -> list[tuple[int, int, int, int]]:
    """Return (top, left, height, width) of the faces in a small photo."""
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    shortest = min(shape[:2])
    if shortest < 48:
        return []
    cascade = Cascade(lbp_frontal_face_cascade_filename())  # type: ignore[no-untyped-call]
    boxes = cascade.detect_multi_scale(
        np.ascontiguousarray((np.frombuffer(data).reshape(shape) * 255).astype(np.uint8)),
        scale_factor=1.2,
        step_ratio=1,
        min_size=(max(24, shortest // 10),) * 2,
        max_size=(shortest, shortest),
    )
    return [(box["r"], box["c"], box["height"], box["width"]) for box in boxes]


# ---------------------------------------------------------------------------------------------------- shapes


def _without_specks(mask: Array, share: float) -> Array:
    """Drop parts smaller than a share of the picture."""
    from scipy.ndimage import label

    parts, _ = label(mask > 0.5)
    sizes = np.bincount(parts.ravel())
    keep = sizes >= share * mask.size
    keep[0] = False
    return np.asarray(mask * keep[parts], np.float32)


def _without_holes(mask: Array, share: float) -> Array:
    """Fill holes smaller than a share of the picture."""
    filled: Array = 1 - _without_specks(1 - mask, share)
    return filled


def _fitted(photo: Image, mask: Array) -> Mask:
    """Enlarge a mask to the photo's size, and fit its edges to the photo's own (a guided filter by lightness and colour)."""
    size = (photo.shape[-2], photo.shape[-1])
    small = resize(photo, (mask.shape[0], mask.shape[1])).cpu()
    slope, shift = _guided_filter(small, torch.from_numpy(np.ascontiguousarray(mask, np.float32))[None, None], reach=5)
    slope, shift = (F.interpolate(each, size=size, mode="bilinear", align_corners=False) for each in (slope, shift))
    found = (slope * photo.cpu()).sum(1, keepdim=True) + shift
    soft = ((found - 0.5) * 1.6 + 0.5).clamp(0, 1)
    near = F.interpolate(
        torch.from_numpy(np.ascontiguousarray(mask, np.float32))[None, None], size=size, mode="bilinear", align_corners=False
    )
    return torch.where(_near_an_edge(near), soft, near.round())


def _near_an_edge(mask: Mask) -> torch.Tensor:
    reach = max(1, round(0.02 * max(mask.shape[-2:])))
    window = 2 * reach + 1
    high = F.max_pool2d(F.max_pool2d(mask, (window, 1), 1, (reach, 0)), (1, window), 1, (0, reach))
    low = -F.max_pool2d(F.max_pool2d(-mask, (window, 1), 1, (reach, 0)), (1, window), 1, (0, reach))
    return high - low > 0.5


def _guided_filter(guide: Image, mask: Mask, reach: int, ridge: float = 1e-4) -> tuple[torch.Tensor, torch.Tensor]:
    """Fit ``mask ≈ slope · guide + shift`` in every window; return slope (1, 3, h, w) and shift (1, 1, h, w), averaged."""

    def mean(values: torch.Tensor) -> torch.Tensor:
        padded = F.pad(values, (reach,) * 4, mode="replicate")
        return F.avg_pool2d(padded, 2 * reach + 1, 1)

    guide, mask = guide.double(), mask.double()
    height, width = mask.shape[-2:]
    center = mean(guide)
    products = mean((guide[:, :, None] * guide[:, None]).flatten(1, 2)).view(1, 3, 3, height, width)
    covariance = products - center[:, :, None] * center[:, None]
    cross = mean(guide * mask) - center * mean(mask)
    matrix = covariance[0].permute(2, 3, 0, 1) + ridge * torch.eye(3, dtype=torch.float64)
    slope = torch.linalg.solve(matrix, cross[0].permute(1, 2, 0)[..., None])[..., 0].permute(2, 0, 1)[None]
    shift = mean(mask) - (slope * center).sum(1, keepdim=True)
    return mean(slope).float(), mean(shift).float()

"""Superpixels of a downscaled photo, and fitting of masks to the edges of the full-size photo.

Source: Achanta et al. 2012 for superpixels (SLIC); He et al. 2010 for the guided filter.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from impasto.images import fitted_size, resize
from impasto.tensors import Image, Mask

Array = npt.NDArray[Any]
_EDGE_PX, _SUPERPIXELS = 320, 450


@dataclass(frozen=True)
class Superpixels:
    """A downscaled photo cut into superpixels.

    Attributes:
        labels: (height, width), index of the superpixel at each position.
        lightness: (height, width), CIELAB lightness, 0 to 100.
        colors: (superpixels, 3), mean CIELAB color.
        places: (superpixels, 2), mean row and column in [0, 1].
        textures: (superpixels,), mean change of lightness from pixel to pixel, with lightness scaled to [0, 1].
        sizes: (superpixels,), number of positions.
        pairs: (pairs, 2), indices of two adjacent superpixels.
        lengths: (pairs,), length of the shared border of each pair, in positions.
    """

    labels: Array
    lightness: Array
    colors: Array
    places: Array
    textures: Array
    sizes: Array
    pairs: Array
    lengths: Array

    def painted(self, chosen: Array) -> Array:
        """Return a mask of the chosen superpixels, (height, width), float32, 1 inside."""
        return chosen.astype(np.float32)[self.labels]


def downscaled(photo: Image, edge_px: int = _EDGE_PX) -> Array:
    """Downscale a photo to a longer side of at most ``edge_px``: (height, width, 3), float."""
    size = (photo.shape[-2], photo.shape[-1])
    small = resize(photo, fitted_size(size, min(edge_px, max(size))))
    found: Array = small[0].permute(1, 2, 0).cpu().double().numpy()
    return found


def superpixels_of(photo: Image) -> Superpixels:
    """Downscale a photo and cut it into superpixels."""
    small = np.ascontiguousarray(downscaled(photo))
    return _superpixels_of_bytes(small.tobytes(), small.shape)


@lru_cache(maxsize=4)
def _superpixels_of_bytes(data: bytes, shape: tuple[int, int, int]) -> Superpixels:
    """Cut a small photo into superpixels; cached, because callers request several regions of a photo in turn."""
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
    pairs, lengths = _neighbors(labels)
    colors = np.stack([mean(lab[..., k]) for k in range(3)], 1)
    return Superpixels(
        labels, lab[..., 0], colors, np.stack([mean(rows), mean(columns)], 1), mean(steps), sizes, pairs, lengths
    )


def share_of(superpixels: Superpixels, mask: Array) -> Array:
    """Return the share of each superpixel that is in a mask (height, width)."""
    share: Array = np.bincount(superpixels.labels.ravel(), mask.ravel(), minlength=len(superpixels.sizes)) / superpixels.sizes
    return share


def _neighbors(labels: Array) -> tuple[Array, Array]:
    horizontal = np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()], 1)
    vertical = np.stack([labels[:-1].ravel(), labels[1:].ravel()], 1)
    touching = np.concatenate([horizontal, vertical])
    touching = np.sort(touching[touching[:, 0] != touching[:, 1]], axis=1)
    if not len(touching):
        return np.zeros((0, 2), int), np.zeros(0)
    pairs, lengths = np.unique(touching, axis=0, return_counts=True)
    return pairs, lengths.astype(float)


def clustered(features: Array, weights: Array, count: int) -> Array:
    """Cluster rows by k-means, initialized with the ``count`` rows farthest apart; return a label for each row."""
    count = min(count, len(features))
    centers = [features[int(weights.argmax())]]
    while len(centers) < count:
        distances = np.min([((features - center) ** 2).sum(1) for center in centers], axis=0)
        if distances.max() < 1e-9:
            break
        centers.append(features[int((distances * np.sqrt(weights)).argmax())])
    labels = np.zeros(len(features), int)
    for _ in range(50):
        distances = np.stack([((features - center) ** 2).sum(1) for center in centers], 1)
        before, labels = labels, distances.argmin(1)
        used = [label for label in range(len(centers)) if (labels == label).any()]
        centers = [np.average(features[labels == label], axis=0, weights=weights[labels == label]) for label in used]
        labels = np.searchsorted(used, labels)
        if (before == labels).all():
            break
    return labels


# ---------------------------------------------------------------------------------------------------- shapes


def without_specks(mask: Array, share: float) -> Array:
    """Remove parts smaller than a share of the picture."""
    from scipy.ndimage import label

    parts, _ = label(mask > 0.5, structure=np.ones((3, 3)))
    sizes = np.bincount(parts.ravel())
    keep = sizes >= share * mask.size
    keep[0] = False
    return np.asarray(mask * keep[parts], np.float32)


def without_holes(mask: Array, share: float) -> Array:
    """Fill holes smaller than a share of the picture."""
    filled: Array = 1 - without_specks(1 - mask, share)
    return filled


def fitted(photo: Image, mask: Array) -> Mask:
    """Enlarge a mask to the photo's size and fit it to the photo's edges (guided filter on lightness and color)."""
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
    """Fit ``mask ≈ slope · guide + shift`` in every window; return slope and shift, each averaged over overlapping windows."""

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

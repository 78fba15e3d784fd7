"""Maps of flat colors that label the parts of a picture: read maps, cluster their colors into labels, draft maps for pictures.

Maps may come from any paint program, so edges may be anti-aliased and colors may differ slightly between two maps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.cluster.vq import kmeans2, vq

from impasto.errors import OptionError
from impasto.images import Picture, fitted_size, resize
from impasto.masks.segmentation import color_regions
from impasto.options.guided import MOST_LABELS, SUGGESTED_LABELS
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import FeatureMap, Image

_COUNTED_PX, _DRAFTED_PX, _READ_PX = 256, 1024, 2048
"""Longer sides, in pixels, at which colors are counted, maps drafted, and labels stored; larger pictures are downscaled."""
_ALIKE, _NAMED = 0.16, 0.25
"""Distances in RGB: below the first, two colors have the same label; below the second, a color is named after a basic color."""
_LEAST = 0.004
"""Minimum share of a map that a color must cover to count as a label; anti-aliased edges and JPEG noise have smaller shares."""
_NEARNESS = 0.4
"""Weight of position relative to color in a suggested map."""
_APART, _ROUNDS = 0.22, 200
"""Minimum distance between the colors of a suggested map, and the number of rounds in which they are pushed apart."""
_NAMES = {
    "black": (0, 0, 0), "white": (255, 255, 255), "gray": (128, 128, 128), "red": (220, 30, 30), "green": (40, 160, 40),
    "blue": (40, 60, 220), "yellow": (240, 220, 40), "orange": (240, 140, 30), "purple": (130, 40, 160),
    "pink": (240, 130, 180), "brown": (120, 75, 40), "cyan": (60, 200, 220),
}  # fmt: skip


@dataclass(frozen=True)
class Labels:
    """Maps whose colors are clustered into common labels.

    Attributes:
        colors: (labels, 3), the color of each label in [0, 1].
        maps: one-hot labels of each map, (1, labels, height, width). The longer side of large maps is downscaled to 2048
            pixels.
    """

    colors: npt.NDArray[np.float64]
    maps: tuple[FeatureMap, ...]

    def shares(self, index: int) -> list[float]:
        """Return the share of each label in a map."""
        return [float(each) for each in self.maps[index].mean((0, 2, 3))]

    def name(self, label: int) -> str:
        """Name the color of a label, such as ``#dc1e1e (red)``."""
        color = self.colors[label]
        code = "#" + "".join(f"{round(255 * float(value)):02x}" for value in color)
        distances = {name: float(np.linalg.norm(color - np.array(each) / 255)) for name, each in _NAMES.items()}
        nearest = min(distances, key=lambda name: distances[name])
        return f"{code} ({nearest})" if distances[nearest] < _NAMED else code


@in_known_state
def labels_of(maps: Sequence[Picture], count: int = 0) -> Labels:
    """Cluster the colors of maps into common labels.

    Args:
        maps: the maps, of any sizes.
        count: number of labels; 0: as many as there are distinct colors.

    Raises:
        OptionError: more than 16 colors were found, or only one.
    """
    images = [resize_nearest(each.image, fitted_size(each.size, min(_READ_PX, max(each.size)))) for each in maps]
    sample = np.concatenate([_pixels(resize_nearest(each.image, fitted_size(each.size, _COUNTED_PX))) for each in maps])
    colors = _clustered(sample, count) if count else _counted(sample, [each.name for each in maps])
    found = []
    for image in images:
        nearest, _ = vq(_pixels(image), colors)
        one_hot = F.one_hot(torch.from_numpy(nearest).long(), len(colors)).T.reshape(1, len(colors), *image.shape[-2:]).float()
        found.append(_without_edges(one_hot))
    return Labels(colors, tuple(found))


def check_labels(labels: Labels, names: Sequence[str]) -> list[str]:
    """Check that every label of the last map is in one of the other maps; return notes about unused labels.

    Args:
        labels: the maps of the styles, then the map of the result.
        names: the name of each map.

    Raises:
        OptionError: a label of the last map is in none of the other maps.
    """
    *styles, target = (labels.shares(index) for index in range(len(labels.maps)))
    of_styles = [sum(each) for each in zip(*styles, strict=True)]
    for label, share in enumerate(target):
        if share > _LEAST and of_styles[label] <= _LEAST / 4:
            known = ", ".join(labels.name(each) for each, used in enumerate(of_styles) if used > _LEAST / 4)
            raise OptionError(
                f"{names[-1]} has the color {labels.name(label)} on {100 * share:.0f} % of its area, but "
                f"{' and '.join(names[:-1])} {'does' if len(names) == 2 else 'do'} not have it; use one of these "
                f"colors: {known}"
            )
    unused = [labels.name(each) for each, share in enumerate(of_styles) if share > _LEAST and target[each] <= _LEAST / 4]
    return [f"these colors are not in {names[-1]} and are not used: {', '.join(unused)}"] if unused else []


@in_known_state
def suggested_map(picture: Image, count: int = SUGGESTED_LABELS) -> Image:
    """Draft a map for a picture: find regions of similar color and position, and fill each with its own flat color.

    Args:
        picture: (1, 3, height, width).
        count: maximum number of regions, 2 to 16.

    Returns:
        (1, 3, height, width).
    """
    height, width = picture.shape[-2:]
    picture = resize(picture, fitted_size((height, width), min(_DRAFTED_PX, max(height, width))))
    masks = torch.cat(color_regions(picture, count, nearness=_NEARNESS))
    owner = F.one_hot(masks[:, 0].argmax(0), len(masks)).permute(2, 0, 1)[None].float()
    labels = _without_edges(owner)[0]
    areas = labels.flatten(1)
    means = (areas @ picture[0].flatten(1).T) / areas.sum(1, keepdim=True).clamp_min(1)
    colors = torch.from_numpy(_spread(means.double().numpy())).float()
    return resize_nearest(torch.einsum("lc,lhw->chw", colors, labels)[None], (height, width))


def resize_nearest(image: Image, size: tuple[int, int]) -> Image:
    """Resize without mixing colors."""
    return F.interpolate(image, size=size, mode="nearest-exact")


# ---------------------------------------------------------------------------------------------------- colors


def _pixels(image: Image) -> npt.NDArray[np.float64]:
    return image[0].flatten(1).T.double().numpy()


def _counted(pixels: npt.NDArray[np.float64], names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Find labels: repeatedly select the most frequent color and remove all similar colors.

    Raises:
        OptionError: there are too many labels, or only one.
    """
    values, counts = np.unique((pixels * 255).round().astype(np.uint8), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    left, weights, found = values[order] / 255, counts[order].astype(float), []
    while weights.sum() > 0:
        index = int(weights.argmax())
        alike = np.linalg.norm(left - left[index], axis=1) < _ALIKE
        if weights[alike].sum() >= _LEAST * counts.sum():
            found.append(left[index])
        weights[alike] = 0
        if len(found) > MOST_LABELS:
            raise OptionError(
                f"{' and '.join(dict.fromkeys(names))} have more than {MOST_LABELS} colors; paint flat areas, or merge "
                "colors with --labels N"
            )
    if len(found) < 2:
        raise OptionError(f"{' and '.join(dict.fromkeys(names))} have only one color; a map needs at least two")
    return np.array(found)


def _clustered(pixels: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """Cluster colors with k-means."""
    distinct = len(np.unique((pixels * 255).round().astype(np.uint8), axis=0))
    centers, _ = kmeans2(pixels, min(count, distinct), minit="++", rng=np.random.default_rng(0), missing="warn")
    return np.asarray(centers)


def _without_edges(labels: FeatureMap) -> FeatureMap:
    """Replace each label by the most frequent one around it; this removes the lines of anti-aliased edges."""
    radius = max(1, round(max(labels.shape[-2:]) / 256))
    around = labels
    for kernel, padding in (((2 * radius + 1, 1), (radius, 0)), ((1, 2 * radius + 1), (0, radius))):
        around = F.avg_pool2d(around, kernel, stride=1, padding=padding, count_include_pad=False)
    return F.one_hot(around.argmax(1)[0], labels.shape[1]).permute(2, 0, 1)[None].float()


def _spread(colors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Push similar colors apart until they can be distinguished. They move only as far as needed, so dark regions stay dark."""
    found = 0.99 * colors + 0.01 * np.random.default_rng(0).random(colors.shape)  # noise separates equal colors
    for _ in range(_ROUNDS):
        difference = found[:, None] - found[None]
        distance = np.linalg.norm(difference, axis=-1, keepdims=True)
        push = np.where((distance > 0) & (distance < _APART), _APART / np.maximum(distance, 1e-9) - 1, 0) * difference / 2
        found = np.clip(found + push.sum(1), 0, 1)
    return np.round(found * 255) / 255

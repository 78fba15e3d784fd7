"""Convert the tensors of a VGG-19 or VGG-16 file to one canonical form, from any naming or scaling convention.

All published VGG-19 weights except torchvision's are conversions of Oxford's network, trained by Simonyan and Zisserman. A
converted file does not record the order of the color channels, the pixel range, or whether height and width of the filters are
swapped. These are detected from three of Oxford's filters in the first layer; see :func:`recognize_oxford`. VGG-16 is simpler,
because all files except torchvision's use Caffe's input; see :func:`is_oxfords_vgg16`.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.errors import WeightsError

BLOCKS = (2, 2, 4, 4, 4)
CONVOLUTIONS = tuple(f"{block}_{index}" for block, count in enumerate(BLOCKS, start=1) for index in range(1, count + 1))
VGG16 = tuple(name for name in CONVOLUTIONS if name not in ("3_4", "4_4", "5_4"))
_POSITIONS = {
    "torchvision's layers": (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34),
    "AdaIN's layers": (0, 2, 5, 9, 12, 16, 19, 22, 25, 29, 32, 35, 38, 42, 45, 48, 51),
    "torchvision's layers of VGG-16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
}
"""Positions of the convolutions in networks stored as a sequence of layers."""
_NAMES_AT = dict(zip(_POSITIONS, (CONVOLUTIONS, ("0", *CONVOLUTIONS), VGG16), strict=True))

Convolutions = dict[str, tuple[Tensor, Tensor]]
"""Weight (out, in, 3, 3) and bias (out,) by name, such as ``"1_1"``; ``"0"`` is an additional 1x1 convolution at the start."""


@dataclass(frozen=True, eq=False)
class VggWeights:
    """The weights of a VGG-19 or VGG-16 (or of a slimmer network of that topology) in one canonical form.

    Attributes:
        convolutions: ``"1_1"`` -> weight (out, in, 3, 3) and bias (out,), float32; the first one takes RGB.
        heads: layer -> matrix (out, in) and bias (out,); only slim networks have heads.
        mean: (3,). The input of the network is ``(image - mean) / std`` for an RGB image in [0, 1].
        std: (3,).
        form: description of the file's format.
        sha256: hash of the file, 64 hexadecimal digits.
    """

    convolutions: Mapping[str, tuple[Tensor, Tensor]]
    heads: Mapping[str, tuple[Tensor, Tensor]]
    mean: Tensor
    std: Tensor
    form: str
    sha256: str

    @property
    def network(self) -> str:
        """The network, ``"vgg19"`` or ``"vgg16"``, as determined from the third block, which is always complete."""
        return "vgg19" if "3_4" in self.convolutions else "vgg16"

    @property
    def widths(self) -> tuple[int, ...]:
        """The number of output channels of each convolution."""
        return tuple(len(bias) for _, bias in self.convolutions.values())


@dataclass(frozen=True, eq=False)
class Found:
    """The result of a reader: :class:`VggWeights` without the hash, not yet validated."""

    convolutions: Convolutions
    mean: Tensor
    std: Tensor
    form: str
    heads: Mapping[str, tuple[Tensor, Tensor]]


# ---------------------------------------------------------------------------------------------------- input conventions


@dataclass(frozen=True)
class Input:
    """The input convention of a network: channel i is ``(image[order[i]] - mean[i]) / std[i]`` for an RGB image in [0, 1]."""

    name: str
    order: tuple[int, int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


RGB, BGR = (0, 1, 2), (2, 1, 0)
_OXFORD_MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PIXELS = (1 / 255, 1 / 255, 1 / 255)
_INPUTS = {
    (BGR, "pixels"): Input("BGR from 0 to 255", BGR, (_OXFORD_MEAN[2], _OXFORD_MEAN[1], _OXFORD_MEAN[0]), PIXELS),
    (RGB, "pixels"): Input("RGB from 0 to 255", RGB, _OXFORD_MEAN, PIXELS),
    (BGR, "unit"): Input("BGR of unit deviation", BGR, (0.406, 0.456, 0.485), (0.225, 0.224, 0.229)),
    (RGB, "unit"): Input("RGB of unit deviation", RGB, _IMAGENET_MEAN, _IMAGENET_STD),
}
TORCHVISION, CAFFE = _INPUTS[RGB, "unit"], _INPUTS[BGR, "pixels"]

_UNIT_SCALE = 255 * 0.226
"""Factor by which the first filters grow when the input changes from pixels (0 to 255) to unit standard deviation."""

# Three of the 64 filters of the first layer of Oxford's VGG-19, in hundredths: bias and weight, BGR x height x width. One
# determines the order of the colors, the others whether height and width are swapped. (VGG-19 of the Visual Geometry Group,
# Oxford, CC BY 4.0, arXiv:1409.1556.)
# fmt: off
_OXFORD_FILTERS = {
    4: (26, (-9, 16, 16, -18, 16, 16, -24, -12, -8,
             -11, 20, 22, -23, 18, 20, -32, -16, -8,
             -5, 24, 24, -15, 24, 24, -24, -8, -3)),
    5: (55, (21, 23, 21, 22, 24, 22, 19, 22, 19,
             -16, -18, -16, -19, -22, -19, -17, -18, -17,
             -4, -6, -3, -7, -10, -7, -4, -6, -3)),
    7: (35, (2, 10, 11, -23, -17, 3, -23, -21, -1,
             7, 22, 25, -25, -11, 14, -30, -21, 4,
             12, 27, 28, -16, -2, 20, -22, -13, 9)),
}
# The first channel (blue in BGR) of the first filter of Oxford's VGG-16, height x width. It identifies the network, but not the
# order of the colors, because this filter is nearly gray. (Same licence.)
_VGG16_BIAS, _VGG16_PLANE = 73, (43, 37, -6, 27, 4, -37, -6, -26, -35)
# fmt: on


def is_oxfords_vgg16(weight: Tensor, bias: Tensor) -> bool:
    """Return whether a first convolution is that of Oxford's VGG-16 for pixels from 0 to 255.

    Args:
        weight: (out, 3, 3, 3).
        bias: (out,).
    """
    plane, known = weight[0, 0].flatten(), torch.tensor(_VGG16_PLANE, dtype=weight.dtype)
    if torch.cosine_similarity(plane, known, dim=0) < 0.97:
        return False
    return float(plane.norm() / bias[0].abs() * _VGG16_BIAS / known.norm()) < math.sqrt(_UNIT_SCALE)


def recognize_oxford(weight: Tensor, bias: Tensor) -> tuple[Input, bool] | None:
    """Recognize the first convolution of Oxford's VGG-19 and its input convention.

    The direction of a filter identifies the network, the order of the colors and whether height and width are swapped; its
    norm relative to its bias determines the input range. The direction and the relative norm stay the same if a filter is
    rescaled together with its bias, as in networks with normalized activations.

    Args:
        weight: (out, 3, 3, 3).
        bias: (out,).

    Returns:
        The input convention and whether the filters are width x height; None for another network.
    """
    if len(bias) <= max(_OXFORD_FILTERS) or tuple(weight.shape[1:]) != (3, 3, 3):
        return None
    for order in (BGR, RGB):
        for swapped in (False, True):
            filters = weight.transpose(2, 3) if swapped else weight
            scale = _scale_to_oxford(filters.flip(1) if order == RGB else filters, bias)
            if scale is not None:
                return _INPUTS[order, "pixels" if scale < math.sqrt(_UNIT_SCALE) else "unit"], swapped
    return None


def _scale_to_oxford(weight: Tensor, bias: Tensor) -> float | None:
    """Return the norm-to-bias ratio of the first filters, divided by that of Oxford's filters; None for other filters."""
    scales = []
    for channel, (known_bias, known_filter) in _OXFORD_FILTERS.items():
        found, known = weight[channel].flatten(), torch.tensor(known_filter, dtype=weight.dtype)
        if torch.cosine_similarity(found, known, dim=0) < 0.97:
            return None
        scales.append(float(found.norm() / bias[channel].abs() * known_bias / known.norm()))
    return sorted(scales)[1]


def reading(convolutions: Convolutions, form: str, otherwise: Input) -> Found:
    """Determine the input convention of a network, and convert the network to RGB.

    If the network is not Oxford's, its input convention is assumed to be ``otherwise``.
    """
    if "0" in convolutions:
        return _fold_first(convolutions, form)
    weight, bias = first_convolution(convolutions)
    oxford = recognize_oxford(weight, bias)
    if not oxford and "3_4" not in convolutions and is_oxfords_vgg16(weight, bias):
        oxford = (CAFFE, False)
    wanted, swapped = oxford or (otherwise, False)
    if swapped:
        convolutions = {name: (w.transpose(2, 3), b) for name, (w, b) in convolutions.items()}
    whose = "Oxford's network" if oxford else "torchvision's network" if wanted is TORCHVISION else "a network"
    return in_rgb(convolutions, wanted, f"{form}: {whose}, which reads {wanted.name}")


def in_rgb(convolutions: Convolutions, wanted: Input, form: str) -> Found:
    """Reorder the first convolution's input channels, the mean and the deviation to RGB."""
    weight, bias = first_convolution(convolutions)
    back = [wanted.order.index(channel) for channel in range(3)]
    mean, std = torch.tensor(wanted.mean)[back], torch.tensor(wanted.std)[back]
    return Found({**convolutions, "1_1": (weight[:, back], bias)}, mean, std, form, {})


def first_convolution(convolutions: Convolutions) -> tuple[Tensor, Tensor]:
    """Return weight and bias of conv1_1; raise WeightsError unless it has 3x3 filters on three colors."""
    weight, bias = convolutions.get("1_1", (torch.empty(0), torch.empty(0)))
    if weight.shape[1:] != (3, 3, 3):
        raise WeightsError("its first convolution does not have 3x3 filters on three colors; use a VGG-19 or VGG-16")
    return weight, bias


def _fold_first(convolutions: Convolutions, form: str) -> Found:
    """Fold an initial 1x1 convolution, ``matrix @ image + bias``, into conv1_1 and the input's mean and deviation.

    This is exact, even at the border, because the convolution only changes the color coordinates of each pixel.
    """
    matrix, bias = convolutions["0"][0].flatten(1).double(), convolutions["0"][1].double()
    weight, first_bias = first_convolution(convolutions)
    if tuple(matrix.shape) != (3, 3) or torch.linalg.matrix_rank(matrix) < 3:
        raise WeightsError("its first convolution must be 1x1 on three colors, as in AdaIN's network")
    scale = matrix.abs().amax()
    weight = torch.einsum("oihw,ic->ochw", weight.double(), matrix / scale).float()
    mean, std = -torch.linalg.solve(matrix, bias), (1 / scale).repeat(3)
    rest = {name: pair for name, pair in convolutions.items() if name != "0"}
    form = f"{form}: a first 1x1 convolution reads RGB from 0 to 1"
    return Found({**rest, "1_1": (weight, first_bias)}, mean.float(), std.float(), form, {})


# ---------------------------------------------------------------------------------------------------- names


def _by_name(tensors: Mapping[str, Tensor], pattern: str) -> dict[str, dict[str, Tensor]]:
    """Collect the tensors whose keys match a pattern, indexed by the pattern's groups ``name`` and ``part``."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        match = re.fullmatch(pattern, key)
        if match:
            found.setdefault(match["name"], {})[match["part"]] = tensor
    return found


_SEQUENCE = r"(?:module\.|model\.|vgg\.)?(?:features\.)?(?P<name>\d+)\.(?P<part>weight|bias|running_mean)"
_NAMED = r"(?:module\.|features\.)?conv(?P<name>0|\d_\d)\.(?P<part>weight|bias|scale|min)"


def find_vgg(tensors: Mapping[str, Tensor], container: str) -> Found:
    """Find a VGG-19 or VGG-16 among named tensors, in any naming convention."""
    if "convolutions.1_1.weight" in tensors:
        return _own(tensors)
    named = _by_name(tensors, _NAMED)
    if "1_1" in named:
        return reading(pair_up(named), f"{container} with layers named conv1_1", CAFFE)
    sequence = _by_name(tensors, _SEQUENCE)
    if not sequence:
        raise WeightsError(f"none of its {len(tensors)} tensors is named like a layer of VGG-19 or VGG-16")
    if any("running_mean" in parts for parts in sequence.values()):
        raise WeightsError("this network has batch normalization; use a VGG-19 or VGG-16 without it")
    positions, names = _positions(sequence)
    convolutions = pair_up({names[int(at)]: parts for at, parts in sequence.items()})
    # In files with this key, dropout precedes the first layer of the classifier, as in early torchvision. These files are
    # conversions of Oxford's network.
    otherwise = CAFFE if "classifier.1.weight" in tensors else TORCHVISION
    return reading(convolutions, f"{container} with {positions}", otherwise)


def _positions(sequence: Mapping[str, object]) -> tuple[str, dict[int, str]]:
    """Identify the layers of a sequence by their positions; return (description, name by position)."""
    found = sorted(int(at) for at in sequence)
    for form, positions in _POSITIONS.items():
        if tuple(found) == positions[: len(found)]:
            return form, dict(zip(positions, _NAMES_AT[form], strict=True))
    raise WeightsError("its layers are not at the positions of VGG-19 or VGG-16; this is another network")


def pair_up(named: Mapping[str, Mapping[str, Tensor]]) -> Convolutions:
    """Pair weight and bias of each layer; dequantize 8-bit weights (``weight * scale + min``)."""
    pairs: Convolutions = {}
    for name, parts in named.items():
        if "weight" not in parts or "bias" not in parts:
            raise WeightsError(f"layer {name} has no {'bias' if 'weight' in parts else 'weight'}")
        weight = parts["weight"].to(torch.float32, copy=True)  # not a view of the file
        if "scale" in parts:
            weight = weight * per_channel(parts["scale"].float(), weight)
        if "min" in parts:
            weight = weight + parts["min"].float()
        pairs[name] = (weight, parts["bias"].to(torch.float32, copy=True))
    return pairs


def per_channel(scale: Tensor, weight: Tensor) -> Tensor:
    """Reshape a scale, () or (out,), so that it broadcasts with a weight (out, ...)."""
    return scale.reshape(-1, *(1,) * (weight.ndim - 1))


def _own(tensors: Mapping[str, Tensor]) -> Found:
    """Read the format of ``save_vgg``, or the state_dict of a ``Vgg``."""
    convolutions = pair_up(_by_name(tensors, r"convolutions\.(?P<name>\d_\d)\.(?P<part>weight|bias|scale)"))
    heads = pair_up(_by_name(tensors, r"heads\.(?P<name>(?:conv|relu)\d_\d)\.(?P<part>weight|bias|scale)"))
    if "mean" not in tensors or "std" not in tensors:
        raise WeightsError("it lacks the mean or the deviation of the input")
    form = f"impasto's own form, {8 * tensors['convolutions.1_1.weight'].element_size()} bit"
    return Found(convolutions, tensors["mean"].float(), tensors["std"].float(), form, heads)

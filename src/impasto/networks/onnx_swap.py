"""The encoder and the decoder of style swap as ONNX nodes; see :mod:`impasto.networks.style_swap`."""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from impasto.encoders import Vgg
from impasto.encoders.vgg import DEEP_BLOCKS
from impasto.networks.onnx_graph import Graph, numbers
from impasto.networks.style_swap import CELL_PX, PATTERN_REACH, SHARE_REACH, SIDES, STRONGEST, SWAP_LAYERS, Decoder


def encoded(g: Graph, picture: str, encoder: Vgg, layers: Collection[str]) -> dict[str, str]:
    """Add the nodes of an encoder with max pooling and the border ``"mixed"``.

    Args:
        g: the graph.
        picture: (1, 3, height, width) in [0, 1].
        encoder: the encoder.
        layers: names of relu layers.

    Returns:
        The features by layer name.
    """
    assert (encoder.pooling, encoder.border) == ("max", "mixed")
    mean, std = (g.floats(numbers(each).reshape(3, 1, 1)) for each in (encoder.mean, encoder.std))
    x = g.node("Div", g.node("Sub", picture, mean), std)
    found: dict[str, str] = {}
    for name, convolution in encoder.convolutions.items():
        if name.endswith("_1") and name != "1_1":
            x = g.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        x = g.node("Relu", g.convolve(x, convolution, border="zero" if int(name[0]) in DEEP_BLOCKS else "edge"))
        if f"relu{name}" in layers:
            found[f"relu{name}"] = x
        if len(found) == len(layers):
            break
    return found


def searched(g: Graph, features: Mapping[str, str], decoder: Decoder) -> str:
    """Add the nodes of :func:`impasto.networks.style_swap.search_columns` for sides that are multiples of eight."""
    parts = (
        g.node("AveragePool", features["relu2_1"], kernel_shape=[2, 2], strides=[2, 2]),
        features["relu3_1"],
        g.doubled(features["relu4_1"]),
    )
    scaled = [g.node("Div", part, g.floats(float(each))) for part, each in zip(parts, decoder.spread, strict=True)]
    return g.node("Concat", *scaled, axis=1)


def swapped(g: Graph, rows: Tensor, channels: tuple[int, int, int], position: str) -> list[str]:
    """Add the nodes of :func:`impasto.networks.style_swap.swapped`.

    Args:
        g: the graph.
        rows: features of the style; they are stored as float16.
        channels: number of channels of each layer.
        position: (height, width), the position of each match.

    Returns:
        relu1_1, relu2_1 and relu3_1, (1, channels, height, width), at 4, 2 and 1 times the size of ``position``.
    """
    sides = [SIDES[layer] for layer in SWAP_LAYERS]
    widths = [count * side**2 for count, side in zip(channels, sides, strict=True)]
    found = []
    for side, part in zip(sides, rows.split(widths, 1), strict=True):
        table = g.constant(part.clamp_max(torch.finfo(torch.float16).max).half().numpy())
        cells = g.node("Cast", g.node("Gather", table, position), to=g.FLOAT)
        x = g.node("Unsqueeze", g.node("Transpose", cells, perm=[2, 0, 1]), g.integers(0))
        found.append(g.node("DepthToSpace", x, blocksize=side) if side > 1 else x)
    return found


def decoded(g: Graph, decoder: Decoder, features: Sequence[str]) -> str:
    """Add the nodes of a decoder: the picture, clipped to [0, 1]."""
    fine, middle, coarse = (
        g.node("Div", each, g.floats(float(scale))) for each, scale in zip(features, decoder.scale, strict=True)
    )
    x = g.convolve(coarse, decoder.quarter_in)
    for block in decoder.at_quarter:
        x = _residual(g, x, block)
    x = g.doubled(g.convolve(g.node("Relu", x), decoder.to_half))
    x = _residual(g, g.node("Add", x, g.convolve(middle, decoder.half_in)), decoder.at_half)
    x = g.doubled(g.convolve(g.node("Relu", x), decoder.to_full))
    x = _residual(g, g.node("Add", x, g.convolve(fine, decoder.full_in)), decoder.at_full)
    x = g.node("Add", g.convolve(g.node("Relu", x), decoder.out), g.floats(0.5))
    return g.node("Clip", x, g.floats(0.0), g.floats(1.0))


def without_grid(g: Graph, picture: str) -> str:
    """Add the nodes of :func:`impasto.networks.style_swap.remove_grid`, with ``where_present``."""
    smooth = g.enlarged_by(g.node("AveragePool", picture, kernel_shape=[CELL_PX] * 2, strides=[CELL_PX] * 2), CELL_PX)
    details = g.node("SpaceToDepth", g.node("Sub", picture, smooth), blocksize=CELL_PX)
    pattern = _averaged(g, details, PATTERN_REACH)
    along, length = (g.node("ReduceSum", g.node("Mul", each, pattern), g.integers(1)) for each in (details, pattern))
    strength = g.node("Div", length, g.floats(3 * CELL_PX**2 * STRONGEST**2))
    weak = g.node("Clip", g.node("Sub", g.floats(2.0), strength), g.floats(0.0), g.floats(1.0))
    along, length = (g.node("Max", _averaged(g, each, SHARE_REACH), g.floats(1e-12)) for each in (along, length))
    share = g.node("Mul", weak, g.node("Min", g.node("Div", along, length), g.floats(1.0)))
    grid = g.node("DepthToSpace", g.node("Mul", pattern, share), blocksize=CELL_PX)
    return g.node("Clip", g.node("Sub", picture, grid), g.floats(0.0), g.floats(1.0))


def _averaged(g: Graph, x: str, reach: int) -> str:
    """Average over the positions at most ``reach`` away in each direction."""
    side = 2 * reach + 1
    for shape, pads in (([side, 1], [reach, 0, reach, 0]), ([1, side], [0, reach, 0, reach])):
        x = g.node("AveragePool", x, kernel_shape=shape, pads=pads, strides=[1, 1], count_include_pad=0)
    return x


def _residual(g: Graph, x: str, block: nn.Module) -> str:
    first, second = (block.get_submodule(name) for name in ("first", "second"))
    inner = g.convolve(g.node("Relu", x), first)
    return g.node("Add", x, g.convolve(g.node("Relu", inner), second))

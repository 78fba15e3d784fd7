"""Export of brushes to ONNX, for other programs, browsers and phones. Needs the extra ``impasto[export]``.

The graph takes pictures of any size: it pads them to the sides that the network needs, and crops the result. Two kinds of
convolutions are rewritten, with the same result:

* A 3×3 convolution that follows upsampling by 2 is replaced by four 2×2 convolutions before the upsampling, one for each of the
  four output pixels of a position: 16 multiplications per position instead of 36.
* The last convolution computes 2×2 pixels at once, because runtimes are slow with three output channels.

A graph in blocks also keeps all features of full size as blocks of 2×2 pixels: half the height and width, four times as many
channels. OpenVINO is slow with 8 channels, but not with 32.

Weights are stored as float16 where this is exact, as in brush files; the runtime converts them to float32 on loading.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from impasto.networks.johnson import MULTIPLE_PX, SMALLEST_PX, Johnson, Layout
from impasto.networks.onnx_graph import Array, Graph, onnx_package
from impasto.runtime.torch_state import in_known_state

if TYPE_CHECKING:
    from onnx import ModelProto

_ROWS = {
    "resize": np.array([[[1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 1]]]),
    "transposed": np.array([[[0, 1, 0], [0, 0, 0]], [[0, 0, 1], [1, 0, 0]]]),
}
"""Matrices that sum the 3 rows of a filter for the enlarged picture into the 2 rows of a filter for the small picture. The
first matrix is for the odd rows of the enlarged picture, the second for the even rows."""
_BLOCK_ROWS = np.array([[[1, 0, 0], [0, 1, 1], [0, 0, 0]], [[0, 0, 0], [1, 1, 0], [0, 0, 1]]])
"""The same for blocks that start with an even row: into 3 rows, first for the even rows, then for the odd rows."""
_PHASES = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Row and column of each pixel in a block of 2×2, in the order of the channels."""
_LAST = np.iinfo(np.int64).max


@dataclass(frozen=True)
class _Brush:
    """State while a graph is built: the graph, the weights by name, fixed statistics of normalizations, and the layout."""

    graph: Graph
    weights: Mapping[str, Array]
    statistics: Mapping[str, tuple[Array, Array]]
    layout: Layout
    is_packed: bool

    def stored(self, values: Array) -> str:
        """Add weights; see :meth:`impasto.networks.onnx_graph.Graph.weight`."""
        return self.graph.weight(values) if self.is_packed else self.graph.floats(values)


@in_known_state
def brush_graph(
    network: Johnson,
    *,
    strength: float = 1.0,
    facts: Mapping[str, str] | None = None,
    packed: bool = True,
    in_blocks: bool = False,
) -> "ModelProto":
    """Build a brush as an ONNX graph.

    The input is ``photo``, (1, 3, height, width) in [0, 1], of any height and width; the output is ``picture``, of the same
    shape and range.

    Args:
        network: the network, on the CPU. Fixed statistics become constants.
        strength: how far to blend from the photo (0) to the painted picture (1).
        facts: metadata to store in the file.
        packed: store weights as float16. Tools that change the precision of graphs need float32.
        in_blocks: keep features of full size in blocks of 2×2 pixels; only for layouts that :func:`allows_blocks` allows.

    Raises:
        OptionError: if onnx is not installed.
    """
    onnx = onnx_package()
    g = Graph()
    weights = {name: each.float().numpy() for name, each in network.state_dict().items()}
    b = _Brush(g, weights, _statistics(network), network.layout, packed)
    sides = g.node("Shape", "photo", start=2)
    x = g.enlarged(sides, MULTIPLE_PX, SMALLEST_PX)
    if in_blocks:
        x = _halved(b, g.node("Relu", _first_blocks(b, x)))
    else:
        x = _convolved(b, g.node("Relu", _convolved(b, x, "down.0", b.layout.ends)), "down.1", 3, stride=2)
    x = g.node("Relu", _convolved(b, g.node("Relu", x), "down.2", 3, stride=2))
    for number in range(b.layout.blocks):
        inner = g.node("Relu", _convolved(b, x, f"blocks.{number}.first", 3))
        x = g.node("Add", x, _convolved(b, inner, f"blocks.{number}.second", 3))
    x = g.node("Relu", _upsampled(b, x, "up.0"))
    x = (
        _colors_of_blocks(b, g.node("Relu", _upsampled_blocks(b, x)))
        if in_blocks
        else _colors(b, g.node("Relu", _upsampled(b, x, "up.1")))
    )
    _finish(g, x, sides, strength)
    known = {"format": "impasto", "impasto_onnx": "1", "sides": "1", "brush_sha256": network.sha256}
    layout = {"layout": json.dumps(network.layout._asdict()), "strength": f"{strength:g}"}
    model: ModelProto = g.model({**known, **layout, **(facts or {})}, name="impasto-brush")
    onnx.checker.check_model(model, full_check=True)
    return model


def allows_blocks(layout: Layout) -> bool:
    """Return whether :func:`brush_graph` can keep the features of a layout in blocks."""
    return (layout.border, layout.upsampling, layout.output, layout.ends % 4) == ("reflect", "resize", "linear", 1)


def _statistics(network: Johnson) -> dict[str, tuple[Array, Array]]:
    """Return the variance and the mean of each normalization with fixed statistics, see :meth:`Johnson.with_statistics_of`."""
    fixed = {name.removesuffix(".norm"): getattr(each, "statistics", None) for name, each in network.named_modules()}
    return {name: (each[0].numpy()[0], each[1].numpy()[0]) for name, each in fixed.items() if each is not None}


def _bordered(b: _Brush, x: str, before: int, after: int, mode: str) -> str:
    return b.graph.node("Pad", x, b.graph.integers(0, 0, before, before, 0, 0, after, after), mode=mode)


def _convolved(b: _Brush, x: str, name: str, side: int, *, stride: int = 1) -> str:
    """Add a convolution and its normalization, which cancels the bias of the convolution; so the bias is omitted."""
    if b.layout.border == "reflect":
        x = _bordered(b, x, side // 2, side // 2, "reflect")
    else:
        before = max(0, side - stride) // 2
        x = _bordered(b, x, before, side - stride - before, "constant")
    weight = b.stored(b.weights[f"{name}.inner.convolution.weight"])
    return _normalized(b, b.graph.node("Conv", x, weight, kernel_shape=[side, side], strides=[stride, stride]), name)


def _normalized(b: _Brush, x: str, name: str, *, in_blocks: bool = False) -> str:
    scale, shift = (b.weights[f"{name}.norm.{part}"] for part in ("weight", "bias"))
    if name not in b.statistics:
        if in_blocks:
            return _normalized_blocks(b, x, scale, shift)
        return b.graph.node("InstanceNormalization", x, b.graph.floats(scale), b.graph.floats(shift), epsilon=b.layout.epsilon)
    variance, mean = b.statistics[name]
    bias = next(b.weights[each] for each in (f"{name}.inner.convolution.bias", f"{name}.inner.bias") if each in b.weights)
    mean = mean - bias[:, None, None]
    scale = scale[:, None, None] / np.sqrt(variance + b.layout.epsilon)
    offset = shift[:, None, None] - mean * scale
    if in_blocks:
        scale, offset = (np.tile(each, (len(_PHASES), 1, 1)) for each in (scale, offset))
    return b.graph.node("Add", b.graph.node("Mul", x, b.graph.floats(scale)), b.graph.floats(offset))


def _upsampled(b: _Brush, x: str, name: str) -> str:
    """Add upsampling by 2 and a convolution, computed as one 2×2 convolution whose outputs are rearranged."""
    g, rows = b.graph, _ROWS[b.layout.upsampling]
    if b.layout.upsampling == "transposed":
        weight = b.weights[f"{name}.inner.weight"].transpose(1, 0, 2, 3)
    else:
        weight = b.weights[f"{name}.inner.convolution.weight"]
    # Reflecting the enlarged picture has the same effect as repeating the edge of the small one.
    is_edged = b.layout.upsampling == "resize" and b.layout.border == "reflect"
    x = _bordered(b, x, 1, 1, "edge" if is_edged else "constant")
    phases = np.einsum("pik,qjl,ockl->pqocij", rows, rows, weight).reshape(-1, weight.shape[1], 2, 2)
    x = g.node("Conv", x, b.stored(phases), kernel_shape=[2, 2])
    inside = (g.integers(1, 1), g.integers(-1, -1), g.integers(2, 3))  # blocks start with an odd row: drop a row at each end
    return _normalized(b, g.node("Slice", g.node("DepthToSpace", x, blocksize=2), *inside), name)


def _colors(b: _Brush, x: str) -> str:
    """Add the last convolution, for 2×2 pixels at once."""
    g, side = b.graph, b.layout.ends
    x = _bordered(b, x, side // 2, side // 2, "reflect" if b.layout.border == "reflect" else "constant")
    is_normalized = "out.norm.weight" in b.weights
    name = "out.inner.convolution" if is_normalized else "out.convolution"
    weight = b.weights[f"{name}.weight"]
    bias = [] if is_normalized else [g.floats(np.tile(b.weights[f"{name}.bias"], len(_PHASES)))]
    x = g.node("Conv", x, b.stored(_shifted(weight)), *bias, kernel_shape=[side + 1, side + 1], strides=[2, 2])
    x = g.node("DepthToSpace", x, blocksize=2)
    if is_normalized:
        x = _normalized(b, x, "out")
    if b.layout.output == "tanh":
        x = g.node("Mul", g.node("Tanh", x), g.floats(150 / 255))
    return g.node("Add", x, g.floats(0.5))


def _shifted(weight: Array) -> Array:
    """Return filters that compute the four pixels of a block: the same filter at four places."""
    return np.concatenate([np.pad(weight, ((0, 0), (0, 0), (row, 1 - row), (column, 1 - column))) for row, column in _PHASES])


def _first_blocks(b: _Brush, x: str) -> str:
    """Add the first convolution, whose result is in blocks."""
    side = b.layout.ends
    x = _bordered(b, x, side // 2, side // 2, "reflect")
    weight = b.stored(_shifted(b.weights["down.0.inner.convolution.weight"]))
    x = b.graph.node("Conv", x, weight, kernel_shape=[side + 1, side + 1], strides=[2, 2])
    return _normalized(b, x, "down.0", in_blocks=True)


def _halved(b: _Brush, x: str) -> str:
    """Add the second convolution, from blocks to features of half size: 3×3 pixels are part of 2×2 blocks."""
    weight = b.weights["down.1.inner.convolution.weight"]
    by_block = np.pad(weight, ((0, 0), (0, 0), (1, 0), (1, 0))).reshape(*weight.shape[:2], 2, 2, 2, 2)
    by_block = by_block.transpose(0, 3, 5, 1, 2, 4).reshape(len(weight), -1, 2, 2)
    # The reflection of the second row is in the first block.
    x = b.graph.node("Pad", x, b.graph.integers(0, 0, 1, 1, 0, 0, 0, 0), mode="edge")
    return _normalized(b, b.graph.node("Conv", x, b.stored(by_block), kernel_shape=[2, 2]), "down.1")


def _upsampled_blocks(b: _Brush, x: str) -> str:
    """Add the last upsampling by 2 and its convolution, whose result is in blocks."""
    weight = b.weights["up.1.inner.convolution.weight"]
    phases = np.einsum("pik,qjl,ockl->pqocij", _BLOCK_ROWS, _BLOCK_ROWS, weight).reshape(-1, weight.shape[1], 3, 3)
    x = b.graph.node("Conv", _bordered(b, x, 1, 1, "edge"), b.stored(phases), kernel_shape=[3, 3])
    return _normalized(b, x, "up.1", in_blocks=True)


def _colors_of_blocks(b: _Brush, x: str) -> str:
    """Add the last convolution, from blocks to pixels."""
    g, weight, border = b.graph, b.weights["out.convolution.weight"], b.layout.ends // 4
    for axis in (2, 3):
        x = _reflected_blocks(b, x, axis, border)
    side = 2 * border + 1
    by_block = _shifted(weight).reshape(-1, weight.shape[1], side, 2, side, 2)
    by_block = by_block.transpose(0, 3, 5, 1, 2, 4).reshape(len(by_block), -1, side, side)
    bias = g.floats(np.tile(b.weights["out.convolution.bias"], len(_PHASES)) + 0.5)
    return g.node("DepthToSpace", g.node("Conv", x, b.stored(by_block), bias, kernel_shape=[side, side]), blocksize=2)


def _reflected_blocks(b: _Brush, x: str, axis: int, count: int) -> str:
    """Pad blocks with ``count`` blocks at both ends of an axis, so that the pixels are reflected."""
    g = b.graph
    is_first = np.repeat([phase[axis - 2] == 0 for phase in _PHASES], b.layout.width)[None, :, None, None]

    def reflected(first: int, second: int) -> str:
        """Return a block with the first row (or column) of one block and the second row of another."""
        rows = [
            g.node("Slice", x, g.integers(at), g.integers(_LAST if at == -1 else at + 1), g.integers(axis))
            for at in (first, second)
        ]
        return g.node("Where", g.constant(is_first), *rows)

    before = [reflected(at, at - 1) for at in range(count, 0, -1)]
    after = [reflected(-at, -at - 1) for at in range(1, count + 1)]
    return g.node("Concat", *before, x, *after, axis=axis)


def _normalized_blocks(b: _Brush, x: str, scale: Array, shift: Array) -> str:
    """Add an instance normalization of features in blocks: the four pixels of a block share the statistics of their channel."""
    g, channels = b.graph, len(scale)

    def of_channels(each: str, kind: str) -> str:
        """Reduce the values of a channel's four pixels, (1, 4 * channels, 1, 1), to (1, channels, 1)."""
        return g.node(kind, g.node("Reshape", each, g.integers(1, len(_PHASES), channels, 1)), g.integers(1), keepdims=0)

    def of_blocks(each: str) -> str:
        """Repeat the values of channels for the four pixels."""
        return g.node("Reshape", g.node("Concat", *[each] * len(_PHASES), axis=1), g.integers(1, -1, 1, 1))

    mean = of_channels(g.node("ReduceMean", x, g.integers(2, 3)), "ReduceMean")
    x = g.node("Sub", x, of_blocks(mean))
    length = of_channels(g.node("ReduceL2", x, g.integers(2, 3)), "ReduceL2")
    count = g.node("Cast", g.node("ReduceProd", g.node("Shape", x, start=2), keepdims=0), to=g.FLOAT)
    variance = g.node("Div", g.node("Mul", length, length), g.node("Mul", count, g.floats(len(_PHASES))))
    deviation = g.node("Sqrt", g.node("Add", variance, g.floats(b.layout.epsilon)))
    factor = of_blocks(g.node("Div", g.floats(scale[None, :, None]), deviation))
    return g.node("Add", g.node("Mul", x, factor), g.floats(np.tile(shift, len(_PHASES))[None, :, None, None]))


def _finish(g: Graph, x: str, sides: str, strength: float) -> None:
    """Add nodes that clip the colors of the picture, crop it to the size of the photo, and blend it with the photo."""
    x = g.node("Clip", x, g.floats(0.0), g.floats(1.0))  # before cropping: runtimes compute it together with the addition
    name = "picture" if strength == 1 else ""
    x = g.node("Slice", x, g.integers(0, 0), sides, g.integers(2, 3), name=name)
    if strength < 1:
        painted = g.node("Mul", x, g.floats(strength))
        g.node("Add", painted, g.node("Mul", "photo", g.floats(1 - strength)), name="picture")

"""Export of the instant network to ONNX, for browsers, phones and other programs. Needs the extra ``impasto[export]``.

The graph is built node by node. PyTorch's own exporters give the same results at higher cost: tracing produces 829 nodes for
this network; torch.export produces 218, takes minutes, and needs onnxscript besides onnx. This module takes a second, produces
about a hundred nodes, and makes two optimizations that no exporter makes:

* The finest convolution, which follows upsampling by 2, is computed before the upsampling, with four outputs per position.
* With ``winograd``, wide convolutions use Winograd's algorithm, which needs a third of the multiplications. The result differs
  only by 16-bit rounding, which is invisible. In browsers, which compute convolutions as plain matrix products, this halves the
  time.

Weights are stored as float16, as in the network's own file; the runtime converts them to float32 on loading.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from impasto.color.transfer import color_moments, monge_kantorovich, recolored
from impasto.errors import WeightsError
from impasto.features.statistics import Moments
from impasto.networks.instant import MULTIPLE_PX, InstantNetwork, Transfer
from impasto.networks.onnx_graph import Graph, onnx_package
from impasto.networks.onnx_runtime import load_onnxruntime
from impasto.optim.parametrization import LUMA_AND_CHROMA, LUMA_AND_CHROMA_INVERSE
from impasto.runtime.atomic import replacing
from impasto.runtime.torch_state import in_known_state

if TYPE_CHECKING:
    from onnx import ModelProto

WINOGRAD_MULTIPLE_PX = 32
"""With ``winograd``, picture sides must be multiples of this."""
_TINY = 1e-4
_FAINT = 1e-4
_ROUNDS = 28
_AT_ONCE = 6


@dataclass(frozen=True)
class Fixed:
    """A style built into a graph, which then has the photo as its only input.

    Attributes:
        modulation: the modulation of the style, (1, modulations); see :meth:`impasto.networks.instant.InstantNetwork.measure`.
        colors: mean (1, 3) and covariance (1, 3, 3) of the style's colors.
    """

    modulation: Tensor
    colors: Moments


@in_known_state
def instant_graph(
    network: InstantNetwork, *, style: Fixed | None = None, winograd: bool = False, facts: Mapping[str, str] | None = None
) -> "ModelProto":
    """Build the instant network as an ONNX graph.

    The inputs are ``photo`` (1, 3, height, width) in [0, 1], ``modulation`` (1, modulations), ``strength`` (1,), the strength
    of the strokes (about 0 to 1.5), and the color map of :func:`impasto.color.transfer.monge_kantorovich`: ``matrix`` (3, 3)
    and ``bias`` (3,).
    With a built-in style, the photo is the only input and the graph computes the color map. The output is ``picture``, shape
    (1, 3, height, width), in [0, 1].

    Args:
        network: the network, on the CPU.
        style: a style to build in; None: the style is an input.
        winograd: use Winograd's algorithm, for runtimes such as browsers that compute convolutions as plain matrix products;
            sides must then be multiples of :data:`WINOGRAD_MULTIPLE_PX` instead of
            :data:`impasto.networks.instant.MULTIPLE_PX`.
        facts: metadata to store in the file.

    Raises:
        OptionError: if onnx is not installed.
    """
    onnx = onnx_package()
    g = Graph(winograd)
    transfer = network.transfer
    if style is None:
        g.input("strength", [1])
        g.input("modulation", [1, transfer.modulations])
        matrix, bias = g.input("matrix", [3, 3]), g.input("bias", [3])
        modulation = g.node("Reshape", "modulation", g.integers(-1))
    else:
        modulation = g.floats(style.modulation[0].numpy())
        matrix, bias = _palette(g, style.colors)
    _paint(g, transfer, _styles(g, transfer, modulation), (matrix, bias), is_fixed=style is not None)
    multiple = WINOGRAD_MULTIPLE_PX if winograd else MULTIPLE_PX
    known = {"format": "impasto", "impasto_onnx": "1", "sides": str(multiple), "instant_sha256": network.sha256}
    model: ModelProto = g.model({**known, **(facts or {})})
    onnx.checker.check_model(model, full_check=True)
    return model


def save_graph(path: str | Path, model: "ModelProto") -> None:
    """Write a graph to a file atomically.

    Raises:
        WeightsError: if the file cannot be written.
    """
    path = Path(path)
    try:
        with replacing(path) as partial:
            partial.write_bytes(model.SerializeToString())
    except OSError as error:
        raise WeightsError(f"graph {str(path)!r} cannot be written: {error.strerror or error}; choose another path") from error


@in_known_state
@torch.no_grad()
def largest_difference(path: str | Path, network: InstantNetwork, style: Fixed | None = None) -> float:
    """Compare an exported graph in ONNX Runtime with the network in PyTorch on two noise pictures.

    Args:
        path: a file written by :func:`save_graph`.
        network: the exported network.
        style: the built-in style, if any.

    Returns:
        The largest difference of any color value, as a fraction of the whole range.

    Raises:
        OptionError: if onnxruntime is not installed.
    """
    session = load_onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    modulation = style.modulation if style else 1 + 0.5 * torch.rand(1, network.transfer.modulations, generator=generator)
    largest = 0.0
    for size in ((64, 96), (128, 64)):
        photo = torch.rand(1, 3, *size, generator=generator)
        target = style.colors if style else Moments(torch.full((1, 3), 0.4), 0.05 * torch.eye(3)[None])
        palette = monge_kantorovich(color_moments(photo), target)
        feeds = {
            "photo": photo,
            "modulation": modulation,
            "strength": torch.ones(1),
            "matrix": palette.matrix[0],
            "bias": palette.bias[0],
        }
        names = [each.name for each in session.get_inputs()]
        (found,) = session.run(None, {name: feeds[name].numpy() for name in names})
        wanted = network(recolored(photo, palette), modulation).clamp(0, 1)
        largest = max(largest, float((torch.from_numpy(found) - wanted).abs().max()))
    return largest


# ---------------------------------------------------------------------------------------------------- the network


def _styles(g: Graph, transfer: Transfer, modulation: str) -> dict[str, tuple[str, str]]:
    """Split a modulation into a scale and a shift for each styled convolution."""
    sizes = [channels for _, channels in transfer.styled for _ in range(2)]
    parts = _cut(g, modulation, sizes)
    return {name: (parts[2 * i], parts[2 * i + 1]) for i, (name, _) in enumerate(transfer.styled)}


def _cut(g: Graph, x: str, sizes: list[int]) -> list[str]:
    """Split a row into parts, a few at a time, because an operation on WebGPU can use at most eight buffers."""
    if len(sizes) <= _AT_ONCE:
        return g.nodes_out(len(sizes), "Split", x, g.integers(*sizes), axis=0)
    each = _AT_ONCE ** math.ceil(math.log(len(sizes), _AT_ONCE) - 1)
    groups = [sizes[start : start + each] for start in range(0, len(sizes), each)]
    pieces = _cut(g, x, [sum(group) for group in groups])
    return [part for piece, group in zip(pieces, groups, strict=True) for part in _cut(g, piece, group)]


def _paint(
    g: Graph, transfer: Transfer, styles: Mapping[str, tuple[str, str]], palette: tuple[str, str], *, is_fixed: bool
) -> None:
    """Add the nodes of :meth:`impasto.networks.instant.Transfer.forward`, with input and output conversion."""

    def styled(name: str, x: str) -> str:
        """Add normalization, which cancels the bias of the convolution; so the bias is omitted."""
        return g.node("InstanceNormalization", g.convolve(x, transfer, name, bias=False), *styles[name], epsilon=_TINY)

    def block(first: str, second: str, x: str) -> str:
        return g.node("Add", x, styled(second, g.node("Relu", styled(first, x))))

    light, color = _planes(g, *palette)
    phases = g.node("SpaceToDepth", light, blocksize=2)
    # Eight channels, the last two with zero weights: ONNX Runtime 1.30 on WebGPU gives wrong results for six channels.
    two = g.node("Relu", g.convolve(g.node("Concat", phases, color, color, axis=1), transfer, "down2", idle=2))
    four = g.node("Relu", styled("down4", two))
    x = g.node("Relu", styled("down8", four))
    for number in range(transfer.widths.blocks):
        x = block(f"block{number}a", f"block{number}b", x)
    x = g.node("Relu", g.node("Add", g.doubled(styled("up4", x)), four))
    x = block("quarter_a", "quarter_b", x)
    x = g.node("Relu", g.node("Add", g.doubled(styled("up2", x)), two))
    x = block("half_a", "half_b", x)
    more_light = _fine_light(g, transfer, g.node("Relu", styled("up1", x)), light)
    more_color = g.convolve(x, transfer, "color")
    if not is_fixed:
        more_light, more_color = g.node("Mul", more_light, "strength"), g.node("Mul", more_color, "strength")
    together = g.node("Concat", g.node("Add", light, more_light), g.doubled(g.node("Add", color, more_color)), axis=1)
    back = g.floats((LUMA_AND_CHROMA_INVERSE / 4).numpy().reshape(3, 3, 1, 1))
    painted = g.node("Conv", together, back, g.floats(np.full(3, 0.5)), kernel_shape=[1, 1])
    g.node("Clip", painted, g.floats(0.0), g.floats(1.0), name="picture")


def _planes(g: Graph, matrix: str, bias: str) -> tuple[str, str]:
    """Apply the color map, and split the photo into luma at full size and color at half size. Values are roughly in [-2, 2]."""
    apart = g.floats((4 * LUMA_AND_CHROMA).numpy())
    weight = g.node("Reshape", g.node("MatMul", apart, matrix), g.integers(3, 3, 1, 1))
    offset = g.node("MatMul", apart, g.node("Sub", bias, g.floats(0.5)))
    light, color = g.nodes_out(
        2, "Split", g.node("Conv", "photo", weight, offset, kernel_shape=[1, 1]), g.integers(1, 2), axis=1
    )
    return light, g.node("AveragePool", color, kernel_shape=[2, 2], strides=[2, 2])


def _fine_light(g: Graph, transfer: Transfer, fine: str, light: str) -> str:
    """Convolve features and luma at half size with four outputs per position, then interleave the outputs to full size."""
    weight, bias = (g.floats(each.detach().numpy()) for each in transfer.folded_light())
    cut = g.node("SpaceToDepth", g.edged(light, 2), blocksize=2)
    both = g.node("Concat", g.edged(fine, 1), cut, axis=1)
    return g.node("DepthToSpace", g.node("Conv", both, weight, bias, kernel_shape=[3, 3]), blocksize=2)


# ---------------------------------------------------------------------------------------------------- the palette


def _palette(g: Graph, target: Moments) -> tuple[str, str]:
    """Add the nodes of :func:`impasto.color.transfer.monge_kantorovich`, from photo to style, in double precision."""
    photo = g.node("Cast", "photo", to=g.DOUBLE)
    rows = g.node("Reshape", photo, g.integers(3, -1))
    mean = g.node("ReduceMean", rows, g.integers(1), keepdims=1)
    centered = g.node("Sub", rows, mean)
    count = g.node("Cast", g.node("Gather", g.node("Shape", rows), g.integers(1)), to=g.DOUBLE)
    covariance = g.node("Div", g.node("MatMul", centered, g.node("Transpose", centered, perm=[1, 0])), count)
    faint = _FAINT * np.eye(3)
    root, inverse = _powers(g, g.node("Add", covariance, g.doubles(faint)))
    t = g.doubles(target.covariance[0].double().numpy() + faint)
    middle, _ = _powers(g, g.node("MatMul", g.node("MatMul", root, t), root))
    matrix = g.node("MatMul", g.node("MatMul", inverse, middle), inverse)
    moved = g.node("Reshape", g.node("MatMul", matrix, mean), g.integers(3))
    bias = g.node("Sub", g.doubles(target.mean[0].double().numpy()), moved)
    return g.node("Cast", matrix, to=g.FLOAT), g.node("Cast", bias, to=g.FLOAT)


def _powers(g: Graph, matrix: str) -> tuple[str, str]:
    """Compute the square root of a symmetric positive (3, 3) matrix, and the inverse of this root, using only matrix products.

    Source:
        The coupled Newton-Schulz iteration, Higham 2008, equation 6.35.
    """
    three = g.doubles(1.5 * np.eye(3))
    size = g.node("ReduceSum", g.node("Mul", matrix, g.doubles(np.eye(3))), keepdims=0)
    y, z = g.node("Div", matrix, size), g.doubles(np.eye(3))
    for _ in range(_ROUNDS):
        step = g.node("Sub", three, g.node("Mul", g.node("MatMul", z, y), g.doubles(0.5)))
        y, z = g.node("MatMul", y, step), g.node("MatMul", step, z)
    scale = g.node("Sqrt", size)
    return g.node("Mul", y, scale), g.node("Div", z, scale)

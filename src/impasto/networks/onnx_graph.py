"""Builder for ONNX graphs.

Source: Lavin and Gray 2016 (arXiv:1509.09308) for tiled convolutions, variant F(4×4, 3×3). Each of the three transforms is one
constant matrix, so the whole algorithm consists of products, which any runtime computes efficiently.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from impasto.errors import OptionError
from impasto.networks.instant import Transfer

OPSET = 18
_BROAD = 48
"""Minimum number of channels for tiled convolutions; with fewer, the transforms cost more than they save."""

Array = npt.NDArray[Any]

# The three transforms are derived from the interpolation points 0, ±1, ±2 and infinity.
_INTO = np.array(
    [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0],
     [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]
)  # fmt: skip
_WEIGHTS = np.array(
    [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
     [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]
)  # fmt: skip
_OUT_OF = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


@dataclass
class Graph:
    """A graph under construction: each method adds nodes and returns the name of their output.

    Attributes:
        winograd: whether convolutions with many channels are computed in tiles.
        nodes, inputs, constants: the parts added so far.
    """

    winograd: bool
    nodes: list[Any] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    FLOAT, DOUBLE = 1, 11  # as in onnx.TensorProto

    def __post_init__(self) -> None:
        self.input("photo", [1, 3, "height", "width"])

    def input(self, name: str, shape: list[Any]) -> str:
        """Add a float input."""
        self.inputs.append(onnx_package().helper.make_tensor_value_info(name, self.FLOAT, shape))
        return name

    def node(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node with one output."""
        name = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(onnx_package().helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def nodes_out(self, count: int, kind: str, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node with several outputs."""
        names = [f"{kind.lower()}_{len(self.nodes)}_{i}" for i in range(count)]
        self.nodes.append(onnx_package().helper.make_node(kind, list(inputs), names, name=names[0], **attributes))
        return names

    def constant(self, value: Array) -> str:
        """Add a constant, or reuse an identical one."""
        for name, known in self.constants.items():
            if (
                name.startswith("constant")
                and known.dtype == value.dtype
                and known.shape == value.shape
                and bool((known == value).all())
            ):
                return name
        name = f"constant_{len(self.constants)}"
        self.constants[name] = value
        return name

    def floats(self, values: Any) -> str:
        """Add a constant in single precision."""
        return self.constant(np.asarray(values, np.float32))

    def doubles(self, values: Any) -> str:
        """Add a constant in double precision."""
        return self.constant(np.asarray(values, np.float64))

    def integers(self, *values: int) -> str:
        """Add an integer vector."""
        return self.constant(np.asarray(values, np.int64))

    def weight(self, values: Array) -> str:
        """Add a weight, stored as float16."""
        return self.node("Cast", self.constant(np.ascontiguousarray(values, np.float16)), to=self.FLOAT)

    def doubled(self, x: str) -> str:
        """Upsample by 2, bilinear."""
        scales = self.floats([1, 1, 2, 2])
        return self.node("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")

    def edged(self, x: str, by: int) -> str:
        """Pad with replicated edges."""
        return self.node("Pad", x, self.integers(0, 0, by, by, 0, 0, by, by), mode="edge")

    def convolve(self, x: str, transfer: Transfer, name: str, *, bias: bool = True, idle: int = 0) -> str:
        """Add a convolution with replicate padding.

        Args:
            x: name of the input.
            transfer: the network that contains the weights.
            name: name of the convolution.
            bias: whether to add the bias of the convolution.
            idle: number of trailing channels of x whose weights are zero.
        """
        convolution = transfer.convolutions[name]
        assert isinstance(convolution, nn.Conv2d)
        weight, stride = convolution.weight.detach().numpy(), convolution.stride[0]
        weight = np.pad(weight, ((0, 0), (0, idle), (0, 0), (0, 0)))
        if self.winograd and stride == 1 and not bias and min(weight.shape[:2]) >= _BROAD:
            return self._convolve_broad(self.edged(x, 1), weight)
        more = [self.floats(convolution.bias.detach().numpy())] if bias and convolution.bias is not None else []
        return self.node("Conv", self.edged(x, 1), self.weight(weight), *more, kernel_shape=[3, 3], strides=[stride, stride])

    def _convolve_broad(self, x: str, weight: Array) -> str:
        """Convolve 6×6 tiles to 4×4: transform to 36 numbers per tile and channel, multiply, and transform back."""
        outputs, inputs = weight.shape[:2]
        into = self.floats(np.einsum("ip,jq->ijpq", _INTO, _INTO).reshape(36, 1, 6, 6))
        spread = self.floats(np.einsum("ia,jb->ijab", _WEIGHTS, _WEIGHTS).reshape(36, 9))
        out_of = self.floats(np.einsum("mi,nj->mnij", _OUT_OF, _OUT_OF).reshape(16, 36))
        one_by_one = self.node("Reshape", x, self.integers(inputs, 1, 0, 0))  # 0 leaves a dimension unchanged
        tiles = self.node("Conv", one_by_one, into, kernel_shape=[6, 6], strides=[4, 4])
        sides = self.node("Shape", tiles, start=2)
        rows = self.node("Reshape", self.node("Transpose", tiles, perm=[1, 0, 2, 3]), self.integers(36, inputs, -1))
        flat = self.weight(weight.transpose(2, 3, 0, 1).reshape(9, -1))
        factors = self.node("Reshape", self.node("MatMul", spread, flat), self.integers(36, outputs, inputs))
        found = self.node("Reshape", self.node("MatMul", factors, rows), self.integers(36, -1))
        shape = self.node("Concat", self.integers(1, 16 * outputs), sides, axis=0)
        return self.node("DepthToSpace", self.node("Reshape", self.node("MatMul", out_of, found), shape), blocksize=4)

    def model(self, facts: Mapping[str, str], name: str = "impasto-instant") -> Any:
        """Assemble the model, with a name for its graph and metadata."""
        helper, numpy_helper = onnx_package().helper, onnx_package().numpy_helper
        outputs = [helper.make_tensor_value_info("picture", self.FLOAT, [1, 3, "height", "width"])]
        constants = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        graph = helper.make_graph(self.nodes, name, self.inputs, outputs, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9, producer_name="impasto")
        helper.set_model_props(model, dict(facts))
        return model


def onnx_package() -> Any:
    """Import onnx.

    Raises:
        OptionError: if onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise OptionError("writing ONNX needs one more package: pip install 'impasto[export]'") from error
    return onnx

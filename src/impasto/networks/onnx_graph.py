"""Builder for ONNX graphs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from impasto.errors import OptionError, WeightsError
from impasto.runtime.atomic import replacing

OPSET = 18
Array = npt.NDArray[Any]


@dataclass
class Graph:
    """A graph under construction: each method adds nodes and returns the name of their output.

    Attributes:
        nodes, inputs, constants: the parts added so far.
    """

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
        """Add a weight: stored as float16 if this changes none of the values, otherwise as float32."""
        packed = np.ascontiguousarray(values, np.float16)
        return self.halves(packed) if bool((packed == values).all()) else self.floats(values)

    def halves(self, values: Array) -> str:
        """Add a constant in single precision that is stored as float16."""
        return self.node("Cast", self.constant(np.ascontiguousarray(values, np.float16)), to=self.FLOAT)

    def doubled(self, x: str) -> str:
        """Upsample by 2, bilinear."""
        return self.enlarged_by(x, 2)

    def enlarged_by(self, x: str, factor: int) -> str:
        """Upsample by a factor, bilinear."""
        scales = self.floats([1, 1, factor, factor])
        return self.node("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")

    def enlarged(self, sides: str, multiple: int, smallest: int) -> str:
        """Pad the photo on the right and at the bottom, with replicated edges.

        Args:
            sides: the height and the width of the photo.
            multiple: both sides become multiples of this.
            smallest: the smallest side.
        """
        step = self.integers(multiple)
        count = self.node("Div", self.node("Add", sides, self.integers(multiple - 1)), step)
        wanted = self.node("Max", self.node("Mul", count, step), self.integers(smallest))
        pads = self.node("Concat", self.integers(0, 0, 0, 0, 0, 0), self.node("Sub", wanted, sides), axis=0)
        return self.node("Pad", "photo", pads, mode="edge")

    def edged(self, x: str, by: int) -> str:
        """Pad with replicated edges."""
        return self.node("Pad", x, self.integers(0, 0, by, by, 0, 0, by, by), mode="edge")

    def convolve(self, x: str, convolution: nn.Module, *, border: str = "edge") -> str:
        """Add a 3×3 convolution of stride 1, with ``"edge"`` or ``"zero"`` padding."""
        assert isinstance(convolution, nn.Conv2d)
        assert convolution.bias is not None
        weight, bias = self.weight(numbers(convolution.weight)), self.floats(numbers(convolution.bias))
        pads = [0] * 4 if border == "edge" else [1] * 4
        return self.node("Conv", self.edged(x, 1) if border == "edge" else x, weight, bias, kernel_shape=[3, 3], pads=pads)

    def model(self, facts: Mapping[str, str], name: str) -> Any:
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


def numbers(values: Tensor) -> Array:
    """Return a tensor as an array in single precision."""
    found: Array = values.detach().float().cpu().numpy()
    return found


def save_graph(path: str | Path, model: Any, check: Callable[[Path], None] | None = None) -> None:
    """Write a graph to a file atomically.

    Args:
        path: the output file.
        model: the graph, an ``onnx.ModelProto``.
        check: function called with the temporary file before the file replaces ``path``; if the call raises, ``path`` stays
            as it was.

    Raises:
        WeightsError: if the file cannot be written.
    """
    path = Path(path)
    try:
        with replacing(path) as partial:
            partial.write_bytes(model.SerializeToString())
            if check:
                check(partial)
    except OSError as error:
        raise WeightsError(f"graph {str(path)!r} cannot be written: {error.strerror or error}; choose another path") from error

"""Brushes as ONNX graphs in float32, float16 or int8, compared with PyTorch in ONNX Runtime."""

import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from impasto.errors import WeightsError
from impasto.images import read, resize
from impasto.networks.brush_onnx import brush_graph
from impasto.networks.johnson import Johnson
from impasto.networks.onnx_graph import save_graph
from impasto.networks.onnx_runtime import load_onnxruntime
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import Image

if TYPE_CHECKING:
    from onnx import ModelProto

Precision = Literal["fp32", "fp16", "int8"]
AGREES = 1e-3
"""Largest difference between a float32 graph and the network for values in [0, 1]."""
_SIZES = ((64, 64), (61, 90), (120, 33), (17, 250), (301, 203))
_CALIBRATION_PX = 256
_PHOTOS = ("astronaut", "coffee", "chelsea", "rocket")
_PREPARED = {"onnx.quant.pre_process": "onnxruntime.quant"}
"""Metadata entry for a graph that needs no preparation; without this entry, the quantizer logs a warning."""


class Difference(NamedTuple):
    """Difference of a graph from PyTorch on several photos and sizes; colors range from 0 to 1."""

    largest: float
    mean: float


@in_known_state
def precise_graph(
    network: Johnson, precision: Precision, *, strength: float = 1.0, facts: Mapping[str, str] | None = None
) -> "ModelProto":
    """Build a brush as an ONNX graph of this precision; see :func:`impasto.networks.brush_onnx.brush_graph`.

    Args:
        network: the network, on the CPU.
        precision: fp32; fp16: weights and arithmetic in float16; int8: convolutions in int8, except the first and the last one,
            with ranges measured on photos. The input and the output are float32 in each case.
        strength: how far to blend from the photo (0) to the painted picture (1).
        facts: metadata to store in the file.

    Raises:
        OptionError: if onnx or onnxruntime is not installed.
    """
    given = {**(facts or {}), "precision": precision}
    if precision == "fp32":
        return brush_graph(network, strength=strength, facts=given)
    load_onnxruntime()
    model = brush_graph(network, strength=strength, facts=given, packed=False)
    metadata = {each.key: each.value for each in model.metadata_props}
    found = _in_float16(model) if precision == "fp16" else _in_int8(model)
    del found.metadata_props[:]
    import_module("onnx").helper.set_model_props(found, metadata)
    return found


def save_checked(
    path: str | Path, network: Johnson, precision: Precision, *, strength: float = 1.0, facts: Mapping[str, str] | None = None
) -> Difference:
    """Write a brush as an ONNX graph, atomically, and only if ONNX Runtime paints the same pictures as PyTorch.

    Raises:
        OptionError: if onnx or onnxruntime is not installed.
        WeightsError: if the pictures differ, or the file cannot be written.
    """
    path, found = Path(path), []

    def check(partial: Path) -> None:
        found.append(difference(partial, network, strength))
        _check(found[0], path, precision)

    save_graph(path, precise_graph(network, precision, strength=strength, facts=facts), check)
    return found[0]


def _check(found: Difference, path: Path, precision: Precision) -> None:
    if precision == "fp32":
        allowed, advice = AGREES, "try another version of onnxruntime"
    else:
        allowed, advice = 1.0, "use --precision fp32"
    if not found.largest <= allowed:  # also if it is not a number
        raise WeightsError(
            f"graph {str(path)!r} is not written: its pictures differ from PyTorch by {found.largest:.1e}, more than "
            f"{allowed:g}; {advice}"
        )


@in_known_state
@torch.no_grad()
def difference(path: str | Path, network: Johnson, strength: float = 1.0) -> Difference:
    """Compare the pictures of a graph file in ONNX Runtime with those of the network in PyTorch.

    Raises:
        OptionError: if onnxruntime is not installed.
    """
    session = load_onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    errors = []
    for number, (height, width) in enumerate(_SIZES):
        photo = resize(_photo(_PHOTOS[number % len(_PHOTOS)]), (height, width))
        (found,) = session.run(None, {"photo": photo.numpy()})
        wanted = torch.lerp(photo, network(photo).clamp(0, 1), strength)
        if found.shape != tuple(wanted.shape):
            raise WeightsError(f"the graph turns {width}×{height} pixels into {found.shape[-1]}×{found.shape[-2]}")
        errors.append((torch.from_numpy(found) - wanted).abs().flatten())
    together = torch.cat(errors)
    return Difference(float(together.max()), float(together.mean()))


def _photo(name: str) -> Image:
    import skimage.data

    return read(getattr(skimage.data, name)()).image


def _in_float16(model: "ModelProto") -> "ModelProto":
    converted: ModelProto = import_module("onnxruntime.transformers.float16").convert_float_to_float16(
        model, keep_io_types=True
    )
    return converted


def _in_int8(model: "ModelProto") -> "ModelProto":
    onnx, quantization = import_module("onnx"), import_module("onnxruntime.quantization")
    onnx.helper.set_model_props(model, _PREPARED)
    convolutions = [each.name for each in model.graph.node if each.op_type == "Conv"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            model,
            path,
            _Photos(),
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=[convolutions[0], convolutions[-1]],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        quantized: ModelProto = onnx.load(path)
    return quantized


class _Photos:
    """The photos for calibration, in the form that the quantizer expects."""

    def __init__(self) -> None:
        self.names = iter(_PHOTOS)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next photo; None: there are no more."""
        name = next(self.names, None)
        return None if name is None else {"photo": resize(_photo(name), (_CALIBRATION_PX, _CALIBRATION_PX)).numpy()}

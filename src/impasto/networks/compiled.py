"""Networks that OpenVINO compiles, for pictures of any size or of one size. Needs the extra ``impasto[fast]``."""

import copy
import ctypes
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from impasto.networks.style_swap import SEARCH_LAYERS, SWAP_LAYERS, Decoder
from impasto.tensors import FeatureMap, Features, Image

_LAYERS = tuple(dict.fromkeys((*SWAP_LAYERS, *SEARCH_LAYERS)))
_TRACED_PX = 64
_DTYPES, _TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}, {"fp32": "f32", "bf16": "bf16"}


def has_openvino() -> bool:
    """Return whether OpenVINO is installed."""
    return find_spec("openvino") is not None


class Compiled:
    """A compiled encoder and decoder; thread-safe.

    Args:
        encoder: an encoder on the CPU; not modified, and not needed afterwards.
        decoder: a decoder, likewise.
        precision: precision of the matrix products.
    """

    def __init__(self, encoder: nn.Module, decoder: Decoder, precision: Literal["fp32", "bf16"]) -> None:
        self._dtype, encoder = _DTYPES[precision], copy.deepcopy(encoder).float()
        picture = torch.zeros(1, 3, _TRACED_PX, _TRACED_PX)
        sides = (_TRACED_PX, _TRACED_PX // 2, _TRACED_PX // 4)
        given = [torch.zeros(1, count, side, side) for count, side in zip(decoder.channels, sides, strict=True)]
        self._encoders: dict[tuple[str, ...], _Model] = {}
        for layers in (SEARCH_LAYERS, _LAYERS):  # a photo usually needs only the first of them, which is faster
            graph = _traced(_Encoding(encoder, layers), [picture], layers_out=precision)
            self._encoders[layers] = _Model(graph, precision, is_pinned=False)
        self._decode = _Model(_traced(_Decoding(decoder), given, layers_in=precision), precision, is_pinned=False)

    def encode(self, picture: Image, layers: frozenset[str]) -> Features:
        """Return the features of one picture at layers of :mod:`impasto.networks.style_swap`, or at all of these layers.

        They have the precision of the matrix products, as with PyTorch. So the search is as fast as there.
        """
        names = next(names for names in self._encoders if layers <= {*names})
        found = self._encoders[names]([picture.float().contiguous()])
        return {name: each.permute(0, 3, 1, 2) for name, each in zip(names, found, strict=True)}

    def decode(self, features: Sequence[FeatureMap]) -> Image:
        """Decode features; the result is clamped to [0, 1]."""
        return self._decode([each.permute(0, 2, 3, 1).to(self._dtype).contiguous() for each in features])[0]


class CompiledGraph:
    """A compiled ONNX graph that takes one picture and returns one picture; thread-safe.

    Args:
        graph: the bytes of an ONNX file.
        precision: precision of the matrix products.
        size: the only (height, width) that the graph takes, which is faster; None: any size.
    """

    def __init__(self, graph: bytes, precision: Literal["fp32", "bf16"], size: tuple[int, int] | None = None) -> None:
        model = _core().read_model(graph)
        if size:
            model.reshape([1, 3, *size])
        self._model = _Model(model, precision)

    def __call__(self, picture: Image) -> Image:
        """Compute the output for a picture."""
        return self._model([picture.float().contiguous()])[0]


def _traced(module: nn.Module, given: Sequence[Tensor], *, layers_in: str = "", layers_out: str = "") -> Any:
    """Convert a module to an OpenVINO model for pictures of any size.

    Args:
        module: the module.
        given: example inputs, with the channels before rows and columns.
        layers_in: if the inputs are features, their precision; the features have their channels last.
        layers_out: if the outputs are features, their precision.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated in torch, and warns about shape checks
        model = _openvino().convert_model(module, example_input=tuple(given))
    model.reshape({number: [1, each.shape[1], -1, -1] for number, each in enumerate(given)})
    inner, outer = (_openvino().Layout(each) for each in ("NCHW", "NHWC"))
    steps = _openvino().preprocess.PrePostProcessor(model)
    for precision, port_of, ports in ((layers_in, steps.input, model.inputs), (layers_out, steps.output, model.outputs)):
        for port in map(port_of, range(len(ports)) if precision else ()):
            port.model().set_layout(inner)
            port.tensor().set_layout(outer).set_element_type(getattr(_openvino().Type, _TYPES[precision]))
    return steps.build()


class _Model:
    """A compiled model, with one inference request per concurrent thread.

    Args:
        model: an OpenVINO model.
        precision: precision of the matrix products.
        is_pinned: whether threads are bound to cores; this slows down PyTorch's operations between two calls.
    """

    def __init__(self, model: Any, precision: str, *, is_pinned: bool = True) -> None:
        hints = {"INFERENCE_PRECISION_HINT": "f32" if precision == "fp32" else "bf16", "PERFORMANCE_HINT": "LATENCY"}
        if not is_pinned:
            hints["ENABLE_CPU_PINNING"] = "NO"
        # By default, every process would use all cores, also if --threads or the other workers of a batch leave fewer.
        hints["INFERENCE_NUM_THREADS"] = str(torch.get_num_threads())
        self._compiled = _core().compile_model(model, "CPU", hints)
        self._requests: list[Any] = []
        self._idle: list[Any] = []
        _models.add(self)

    def __call__(self, given: Sequence[Tensor]) -> list[Tensor]:
        try:
            request = self._idle.pop()  # exclusive to this thread until it is returned
        except IndexError:
            request = self._compiled.create_infer_request()
            self._requests.append(request)
        for number, each in enumerate(given):
            request.set_input_tensor(number, _shared(each))
        request.infer()
        found = [_copied(request.get_output_tensor(number)) for number in range(len(self._compiled.outputs))]
        self._idle.append(request)
        return found

    def keep_forever(self) -> None:
        """Keep this model's OpenVINO objects from ever being destroyed."""
        for made in (self._compiled, *self._requests):
            _keep_forever(made)


def _shared(tensor: Tensor) -> Any:
    """Return an OpenVINO tensor that shares the memory of a contiguous tensor, float32 or bfloat16."""
    if tensor.dtype == torch.float32:
        return _openvino().Tensor(tensor.numpy(), shared_memory=True)
    return _openvino().Tensor(tensor.view(torch.int16).numpy(), list(tensor.shape), _openvino().Type.bf16)


def _copied(tensor: Any) -> Tensor:
    """Return a copy of an OpenVINO tensor, float32 or bfloat16."""
    if tensor.element_type == _openvino().Type.f32:
        return torch.from_numpy(tensor.data.copy())
    return torch.from_numpy(tensor.data.view(np.int16).copy()).view(torch.bfloat16)  # NumPy has no bfloat16


class _Encoding(nn.Module):
    def __init__(self, encoder: nn.Module, layers: tuple[str, ...]) -> None:
        super().__init__()
        self.encoder, self.layers = encoder, layers

    def forward(self, picture: Image) -> tuple[FeatureMap, ...]:
        found = self.encoder(picture, self.layers)
        return tuple(found[layer] for layer in self.layers)


class _Decoding(nn.Module):
    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, fine: FeatureMap, middle: FeatureMap, coarse: FeatureMap) -> Image:
        found: Image = self.decoder(fine, middle, coarse).clamp(0, 1)
        return found


class _Compiling:
    """The lock for compilation; a forked child gets a new one because no thread there would release the old one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


compiling = _Compiling()
_models: weakref.WeakSet[_Model] = weakref.WeakSet()


def _after_fork() -> None:
    """Keep the parent's objects alive: their destructors would wait for threads that do not exist in the child."""
    compiling.lock = threading.Lock()
    for model in list(_models):
        model.keep_forever()
    if _core.cache_info().currsize:
        _keep_forever(_core())


def _keep_forever(made: object) -> None:
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@cache
def _core() -> Any:
    """Return the process-wide OpenVINO core; freeing it would unload libraries that signal handlers still point to."""
    return _openvino().Core()


@cache
def _openvino() -> Any:
    """Import OpenVINO without its telemetry, which otherwise reports imports and conversions to Google Analytics."""
    name, absent = "openvino_telemetry", object()
    before = sys.modules.get(name, absent)
    sys.modules[name] = None  # type: ignore[assignment]  # makes Python treat it as not installed
    try:
        import openvino  # type: ignore[import-untyped]
    finally:
        del sys.modules[name]
        if before is not absent:
            sys.modules[name] = before  # type: ignore[assignment]
    return openvino

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

import torch
from torch import Tensor, nn

from impasto.networks.style_swap import SEARCH_LAYERS, SWAP_LAYERS, Decoder
from impasto.tensors import FeatureMap, Features, Image

_LAYERS = tuple(dict.fromkeys((*SWAP_LAYERS, *SEARCH_LAYERS)))
_TRACED_PX = 64


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
        self._dtype = torch.float32 if precision == "fp32" else torch.bfloat16
        picture = torch.zeros(1, 3, _TRACED_PX, _TRACED_PX)
        sides = (_TRACED_PX, _TRACED_PX // 2, _TRACED_PX // 4)
        given = [torch.zeros(1, count, side, side) for count, side in zip(decoder.channels, sides, strict=True)]
        self._encode = _Model(_traced(_Encoding(copy.deepcopy(encoder).float()), [picture]), precision, is_pinned=False)
        self._decode = _Model(_traced(_Decoding(decoder), given), precision, is_pinned=False)

    def encode(self, picture: Image) -> Features:
        """Return the features of one picture at the swap and search layers of :mod:`impasto.networks.style_swap`.

        They have the precision of the matrix products, as with PyTorch. So the search is as fast as there.
        """
        found = self._encode([picture])
        return {
            layer: each.to(self._dtype, memory_format=torch.channels_last) for layer, each in zip(_LAYERS, found, strict=True)
        }

    def decode(self, features: Sequence[FeatureMap]) -> Image:
        """Decode features; the result is clamped to [0, 1]."""
        return self._decode(features)[0]


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
        return self._model([picture])[0]


def _traced(module: nn.Module, given: Sequence[Tensor]) -> Any:
    """Convert a module to an OpenVINO model for pictures of any size."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated in torch, and warns about shape checks
        model = _openvino().convert_model(module, example_input=tuple(given))
    model.reshape({number: [1, each.shape[1], -1, -1] for number, each in enumerate(given)})
    return model


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
        arrays = [each.float().contiguous().numpy() for each in given]
        found = request.infer(arrays, share_inputs=True, share_outputs=False)
        self._idle.append(request)
        return [torch.from_numpy(found[each]) for each in self._compiled.outputs]

    def keep_forever(self) -> None:
        """Keep this model's OpenVINO objects from ever being destroyed."""
        for made in (self._compiled, *self._requests):
            _keep_forever(made)


class _Encoding(nn.Module):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, picture: Image) -> tuple[FeatureMap, ...]:
        found = self.encoder(picture, _LAYERS)
        return tuple(found[layer] for layer in _LAYERS)


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

"""Run brushes with OpenVINO or ONNX Runtime, several times as fast as with PyTorch on the CPU."""

import copy
import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch

from impasto.errors import OptionError
from impasto.networks.brush_onnx import allows_blocks, brush_graph
from impasto.networks.compiled import CompiledGraph, compiling
from impasto.networks.johnson import Johnson
from impasto.networks.onnx_runtime import load_onnxruntime
from impasto.options.fields import check_choice
from impasto.tensors import Image

Paint = Callable[[Johnson, Image], Image]
_EXTRAS = {"openvino": "fast", "onnxruntime": "export"}
_WIDEST_IN_BLOCKS = 8
"""Features with at most so many channels at full size are kept in blocks: OpenVINO takes two thirds of the time at 8 channels,
and more time than without blocks at 16 and 32."""


class Engines:
    """The engine that paints pictures. It compiles each network when it is first used, and is thread-safe.

    Args:
        engine: torch, openvino, onnxruntime, or auto: on the CPU, the first picture is painted with PyTorch, which starts
            immediately, and later pictures with OpenVINO if it is installed.
        device: the device of the networks; on any device other than the CPU, engine auto selects torch.
        precision: precision of the matrix products; ONNX Runtime always computes in fp32.

    Raises:
        OptionError: if the engine is not known, not installed, or not available on the device.
    """

    def __init__(self, engine: str, device: torch.device, precision: Literal["fp32", "bf16"]) -> None:
        check_choice("engine", engine, ("auto", "torch", *_EXTRAS))
        if engine in _EXTRAS:
            _check(engine, device)
        is_fast = device.type == "cpu" and not _missing("openvino")
        self.engine = ("openvino" if is_fast else "torch") if engine == "auto" else engine
        self.precision = precision
        self._is_first = engine == "auto"
        self._size: tuple[int, int] | None = None
        self._known: WeakKeyDictionary[Johnson, dict[tuple[int, int] | None, Callable[[Image], Image]]] = WeakKeyDictionary()

    def for_size(self, size: tuple[int, int]) -> "Engines":
        """Return engines that compile a separate, faster graph for pictures of one size (height, width), with OpenVINO."""
        engines = copy.copy(self)
        engines._size = size
        return engines

    @property
    def next_engine(self) -> str:
        """The name of the engine that paints the next picture."""
        return "torch" if self._is_first else self.engine

    def next_picture(self) -> Paint | None:
        """Return the function that paints the next picture and all its tiles. None: PyTorch."""
        is_first, self._is_first = self._is_first, False
        return None if is_first or self.engine == "torch" else self._painted

    def _painted(self, network: Johnson, image: Image) -> Image:
        shape = (image.shape[-2], image.shape[-1])
        size = shape if shape == self._size else None
        with compiling.lock:
            compiled = self._known.setdefault(network, {})
            if size not in compiled:
                compiled[size] = self._compiled(network, size)
        return compiled[size](image)

    def _compiled(self, network: Johnson, size: tuple[int, int] | None) -> Callable[[Image], Image]:
        if self.engine == "openvino":
            return CompiledGraph(openvino_graph(network), self.precision, size)
        return _Session(brush_graph(network).SerializeToString())


def openvino_graph(network: Johnson) -> bytes:
    """Return the bytes of the ONNX graph that OpenVINO computes fastest."""
    in_blocks = network.layout.width <= _WIDEST_IN_BLOCKS and allows_blocks(network.layout)
    graph: bytes = brush_graph(network, in_blocks=in_blocks).SerializeToString()
    return graph


def _missing(engine: str) -> list[str]:
    return [each for each in (engine, "onnx") if find_spec(each) is None]


def _check(engine: str, device: torch.device) -> None:
    if missing := _missing(engine):
        raise OptionError(
            f"--engine {engine} needs {' and '.join(missing)}; pip install 'impasto[{_EXTRAS[engine]}]', or use --engine torch"
        )
    if device.type != "cpu":
        raise OptionError(f"--engine {engine} runs on the CPU only; use --device cpu or --engine torch")


class _Session:
    """A graph in ONNX Runtime. A forked child opens its own session because the threads of the old one do not exist there."""

    def __init__(self, graph: bytes) -> None:
        self._graph = graph
        self._sessions: dict[int, Any] = {}

    def __call__(self, image: Image) -> Image:
        session = self._sessions.get(os.getpid())
        if session is None:
            session = self._sessions.setdefault(os.getpid(), self._open())
        (found,) = session.run(None, {"photo": image.contiguous().numpy()})
        return torch.from_numpy(found)

    def _open(self) -> Any:
        runtime = load_onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        return runtime.InferenceSession(self._graph, options, providers=["CPUExecutionProvider"])

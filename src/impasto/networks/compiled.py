"""The instant network through OpenVINO: the same weights, compiled for one size of picture. An extra: ``impasto[fast]``."""

import sys
import warnings
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor

from impasto.networks.instant import InstantNetwork
from impasto.tensors import Image


def openvino_is_there() -> bool:
    """Say whether OpenVINO is installed."""
    return find_spec("openvino") is not None


class Compiled:
    """An instant network compiled for a size.

    Args:
        network: on the processor; not changed, and not needed any more afterwards.
        size: (height, width) of the pictures, multiples of 8.
        precision: of the products.
    """

    def __init__(self, network: InstantNetwork, size: tuple[int, int], precision: Literal["fp32", "bf16"]) -> None:
        openvino = _openvino()
        example = (torch.zeros(1, 3, 64, 64), torch.zeros(1, network.transfer.modulations))
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it traces in a way that torch calls old, and past checks of shapes
            model = openvino.convert_model(network, example_input=example)
        model.reshape({0: [1, 3, *size], 1: list(example[1].shape)})
        hints = {"INFERENCE_PRECISION_HINT": "f32" if precision == "fp32" else "bf16", "PERFORMANCE_HINT": "LATENCY"}
        self._request = openvino.Core().compile_model(model, "CPU", hints).create_infer_request()

    def __call__(self, photo: Image, modulation: Tensor) -> Image:
        """Paint one photo; see :meth:`impasto.networks.instant.InstantNetwork.forward`."""
        self._request.infer([photo.float().contiguous().numpy(), modulation.float().contiguous().numpy()])
        return torch.from_numpy(self._request.get_output_tensor(0).data.copy())


def _openvino() -> Any:
    """Import OpenVINO without its telemetry, which tells Google Analytics of every import and conversion unless told not to."""
    name, absent = "openvino_telemetry", object()
    before = sys.modules.get(name, absent)
    sys.modules[name] = None  # type: ignore[assignment]  # for Python: it is not installed
    try:
        import openvino  # type: ignore[import-untyped]
    finally:
        del sys.modules[name]
        if before is not absent:
            sys.modules[name] = before  # type: ignore[assignment]
    return openvino

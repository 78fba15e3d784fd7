"""The instant network through OpenVINO: the same weights, compiled for one size of picture. An extra: ``impasto[fast]``."""

import sys
import warnings
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor, nn

from impasto.networks.instant import InstantNetwork
from impasto.stats import Affine
from impasto.tensors import Image


def openvino_is_there() -> bool:
    """Say whether OpenVINO is installed."""
    return find_spec("openvino") is not None


class Compiled:
    """An instant network, with the palette before it, compiled for a size.

    Args:
        network: on the processor; not changed, and not needed any more afterwards.
        size: (height, width) of the pictures, multiples of 8.
        precision: of the products.
    """

    def __init__(self, network: InstantNetwork, size: tuple[int, int], precision: Literal["fp32", "bf16"]) -> None:
        self._openvino = _openvino()
        given = (torch.zeros(1, 3, 64, 64), torch.eye(3)[None], torch.zeros(1, 3), torch.zeros(1, network.transfer.modulations))
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it traces in a way that torch calls old, and past checks of shapes
            model = self._openvino.convert_model(_Whole(network), example_input=given)
        self._shape = (1, 3, *size)
        model.reshape({0: list(self._shape), **{number: list(given[number].shape) for number in (1, 2, 3)}})
        hints = {"INFERENCE_PRECISION_HINT": "f32" if precision == "fp32" else "bf16", "PERFORMANCE_HINT": "LATENCY"}
        self._request = self._openvino.Core().compile_model(model, "CPU", hints).create_infer_request()

    def __call__(self, photo: Image, colors: Affine, modulation: Tensor) -> Image:
        """Paint one photo; see :meth:`impasto.networks.instant.InstantNetwork.recolored`. The result is cut to [0, 1]."""
        given = [each.float().contiguous().numpy() for each in (photo, colors.matrix, colors.bias, modulation)]
        found = torch.empty(self._shape)
        self._request.set_output_tensor(0, self._openvino.Tensor(found.numpy(), shared_memory=True))
        self._request.infer(given, share_inputs=True)
        return found


class _Whole(nn.Module):
    """What is compiled: all that is done at the size of the picture."""

    def __init__(self, network: InstantNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, photo: Image, matrix: Tensor, bias: Tensor, modulation: Tensor) -> Image:
        return self.network.recolored(photo, Affine(matrix, bias), modulation).clamp(0, 1)


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

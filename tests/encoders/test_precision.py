"""Choice of device and precision."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from impasto.encoders import Vgg
from impasto.encoders import precision as arithmetic
from impasto.encoders.precision import Arithmetic, bf16_agrees, choose_arithmetic, choose_device, has_fast_bf16
from impasto.errors import OptionError
from impasto.options import Run
from impasto.tensors import Image

CPU = torch.device("cpu")


def on(monkeypatch: pytest.MonkeyPatch, *, cuda: bool = False, mps: bool = False, bf16: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(arithmetic, "has_fast_bf16", lambda device: bf16)


# ---------------------------------------------------------------------------------------------------- the device


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"), [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_selects_a_gpu_if_available(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, chosen: str) -> None:
    on(monkeypatch, cuda=cuda, mps=mps)
    assert choose_device("auto") == chosen
    assert choose_device("cpu") == "cpu"


def test_an_unavailable_device_is_refused_with_the_available_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, mps=True)
    with pytest.raises(
        OptionError, match=r"--device cuda is not available on this machine \(found: cpu, mps\); use --device auto"
    ):
        choose_device("cuda")


# ---------------------------------------------------------------------------------------------------- precision


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_requested_precision_is_used(narrow: Callable[..., Vgg], precision: Any) -> None:
    chosen = choose_arithmetic(Run(device="cpu", precision=precision), narrow(), full_precision=True)
    assert chosen == Arithmetic(CPU, precision)


def test_auto_selects_bf16_only_if_it_is_fast_and_agrees(monkeypatch: pytest.MonkeyPatch, narrow: Callable[..., Vgg]) -> None:
    def chosen(**options: bool) -> str:
        return choose_arithmetic(Run(device="cpu"), narrow(), **options).precision

    on(monkeypatch, bf16=False)
    assert chosen() == "fp32"
    on(monkeypatch, bf16=True)
    assert chosen() == "bf16"
    assert chosen(full_precision=True) == "fp32"
    monkeypatch.setattr(arithmetic, "bf16_agrees", lambda encoder, device: False)
    assert chosen() == "fp32"


def test_bf16_agrees_for_a_normal_network_and_disagrees_if_rounding_dominates(narrow: Callable[..., Vgg]) -> None:
    assert bf16_agrees(narrow(), CPU)
    shaky = narrow()
    for layer, convolution in shaky.convolutions.items():
        if layer.startswith("1"):
            convolution.get_parameter("bias").fill_(300.0)  # rounded to steps of two
        if layer == "2_1":
            weight = convolution.get_parameter("weight")
            weight -= weight.mean(dim=(1, 2, 3), keepdim=True)  # responds only to differences
            convolution.get_parameter("bias").zero_()
    assert not bf16_agrees(shaky, CPU)


def test_has_fast_bf16_returns_a_bool() -> None:
    assert has_fast_bf16(CPU) in (True, False)
    assert not has_fast_bf16(torch.device("meta"))


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_features_have_the_precision_of_the_arithmetic(
    narrow: Callable[..., Vgg], photo: Image, precision: Any, dtype: torch.dtype
) -> None:
    vgg = narrow()
    found = Arithmetic(CPU, precision).encode(vgg, photo, frozenset(("relu1_1", "relu4_1")))
    assert {features.dtype for features in found.values()} == {dtype}
    expected = vgg(photo, ["relu4_1"])["relu4_1"]
    assert float((found["relu4_1"].float() - expected).norm()) < 0.03 * float(expected.norm())


def test_the_gradient_of_the_picture_is_float32(narrow: Callable[..., Vgg], photo: Image) -> None:
    photo.requires_grad_()
    found = Arithmetic(CPU, "bf16").encode(narrow(), photo, frozenset(("relu3_1",)))
    found["relu3_1"].float().sum().backward()
    assert photo.grad is not None
    assert photo.grad.dtype == torch.float32

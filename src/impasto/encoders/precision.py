"""Selection of device and precision: bfloat16 is used where it is fast and safe."""

from dataclasses import dataclass
from typing import Literal

import torch

from impasto.encoders.vgg import Vgg
from impasto.errors import OptionError
from impasto.options import Device, Run
from impasto.tensors import Features, Image


@dataclass(frozen=True)
class Arithmetic:
    """A device, and the precision of the network's convolutions on it; losses are always summed in float32.

    Attributes:
        device: device of pictures and features.
        precision: dtype of the network's convolutions and of the covariances of its features.
    """

    device: torch.device
    precision: Literal["fp32", "bf16"]

    def encode(self, encoder: Vgg, image: Image, layers: frozenset[str]) -> Features:
        """Encode a picture on this device and in this precision, in channels-last format."""
        image = image.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return encoder(image, layers)  # type: ignore[no-any-return]


def choose_arithmetic(run: Run, encoder: Vgg, *, full_precision: bool = False) -> Arithmetic:
    """Choose the device and precision requested by a run, and move the encoder to that device.

    Args:
        run: the run options.
        encoder: moved to the device; also used for the bfloat16 self-check.
        full_precision: whether the optimizer needs float32, as L-BFGS does; if so, ``auto`` does not choose bfloat16.

    Raises:
        OptionError: if the device is not available.
    """
    device = torch.device(choose_device(run.device))
    encoder.to(device)
    if run.precision != "auto":
        return prepared(Arithmetic(device, run.precision), encoder)
    if full_precision or not has_fast_bf16(device) or not bf16_agrees(encoder, device):
        return Arithmetic(device, "fp32")
    return prepared(Arithmetic(device, "bf16"), encoder)


def prepared(arithmetic: Arithmetic, encoder: Vgg) -> Arithmetic:
    """If convolutions use bfloat16, convert the encoder's filters once instead of at every step."""
    if arithmetic.precision == "bf16":
        encoder.convolutions.to(torch.bfloat16)
    return arithmetic


def choose_device(device: Device) -> str:
    """Return the name of an available device.

    Raises:
        OptionError: if the requested device is not available.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if available[name])
    if not available[device]:
        found = ", ".join(name for name, is_available in available.items() if is_available)
        raise OptionError(f"--device {device} is not available on this machine (found: {found}); use --device auto")
    return device


def has_fast_bf16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 natively instead of emulating it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
        return any(bool(check()) for check in checks if check)  # PyTorch has no public API for this
    return False


def bf16_agrees(encoder: Vgg, device: torch.device) -> bool:
    """Return whether deep features of a small, smooth picture in bfloat16 are within three percent of those in float32."""
    ramp = torch.linspace(0, 1, 64, device=device)
    image = torch.stack([ramp[:, None] * ramp, ramp[:, None].expand(64, 64), (ramp * 9).sin().abs().expand(64, 64)])[None]
    layer = frozenset(("relu4_1",))
    with torch.no_grad():
        exact = encoder(image, layer)["relu4_1"]
        with torch.autocast(device.type, torch.bfloat16):
            rough = encoder(image, layer)["relu4_1"].float()
    return bool((rough - exact).norm() <= 0.03 * exact.norm())

"""What differs between devices: missing operators, and operators that return before they are done."""

import time

import torch

COMPLETE = ("cpu", "cuda")
"""Devices that have all operators. MPS has no eigendecomposition, for example; what it lacks is computed on the CPU."""


def is_complete(device: torch.device) -> bool:
    """Return whether a device has all operators that impasto uses."""
    return device.type in COMPLETE


def seconds_now(device: torch.device | None = None) -> float:
    """Return the time of a clock that starts anywhere, after the work that was given to a device is done.

    GPUs work in the background: without waiting, a measured duration is only the time that it takes to give them the work.

    Args:
        device: the device whose work is timed. Default: any GPU that this process uses.
    """
    kind = device.type if device else None
    if kind in ("cuda", None) and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize(device)
    if kind in ("mps", None) and torch.backends.mps.is_available():
        torch.mps.synchronize()
    return time.perf_counter()

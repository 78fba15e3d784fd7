"""Differences between devices: missing operators, and operators that return before they are finished."""

import time

import torch

COMPLETE = ("cpu", "cuda")
"""Devices that support all operators. For example, MPS has no eigendecomposition, so this is computed on the CPU."""


def is_complete(device: torch.device) -> bool:
    """Return whether a device has all operators that impasto uses."""
    return device.type in COMPLETE


def seconds_now() -> float:
    """Wait until a GPU has finished all work of this process, then return the reading of a clock in seconds.

    GPUs work in the background. Without waiting, a measured duration would include only the time for submitting the work.
    """
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    if torch.backends.mps.is_available():
        torch.mps.synchronize()
    return time.perf_counter()

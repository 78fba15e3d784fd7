"""Training on several GPUs, started by ``torchrun``. Each GPU has a process, which trains on different photos.

All processes train the same network. Without torchrun, these functions treat this process as the only one.
"""

import atexit
import os

import torch
import torch.distributed as dist
from torch import nn


def join(device: torch.device) -> torch.device:
    """Join the processes that torchrun started, and return this process's device."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        # Optimizers import this module, and its functions then hold the group as a default argument: its threads would
        # never end. Imported before, they hold None.
        import torch.distributed.nn

        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(_leave)  # a thread that frees a tensor while the interpreter ends aborts the process
    if device.type == "cuda" and dist.is_initialized():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    return device


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if _is_joined() else 0


def is_main() -> bool:
    """Return whether this process prints and writes files."""
    return rank() == 0


def agreed(value: float) -> float:
    """Return the value that the main process passed to this function."""
    if not _is_joined():
        return value
    shared = torch.tensor([value], dtype=torch.float32, device=_device())
    dist.broadcast(shared, 0)
    return float(shared)


def average_gradients(network: nn.Module) -> None:
    """Replace the gradients of all processes by their mean."""
    if not _is_joined():
        return
    for parameter in network.parameters():
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad /= dist.get_world_size()


def _leave() -> None:
    if _is_joined():
        dist.destroy_process_group()


def _is_joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def _device() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"

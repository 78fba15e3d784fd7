"""Shared parts of all training runs: checkpoints to resume from, and the running average of the parameters."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from impasto.runtime.atomic import replacing

Parts = Mapping[str, nn.Module | torch.optim.Optimizer]
"""The parts of a training run that have a state, by name."""


def write_checkpoint(path: Path, parts: Parts, random: np.random.Generator, **values: Any) -> None:
    """Write the states of the parts, the random state and other values (numbers, tensors, dictionaries), atomically.

    Raises:
        OSError, RuntimeError: the file cannot be written.
    """
    states = {name: part.state_dict() for name, part in parts.items()}
    with replacing(path) as partial:
        torch.save({**states, "random": json.dumps(random.bit_generator.state), **values}, partial)


def read_checkpoint(path: Path, parts: Parts, random: np.random.Generator, device: torch.device) -> dict[str, Any]:
    """Restore the parts and the random state in place, and return the other values with their tensors on the device."""
    found: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(found.pop(name))
    random.bit_generator.state = json.loads(found.pop("random"))
    return found


def copy_of_state(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a network's state, from which a running average starts."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


@torch.no_grad()
def update_average(averaged: Mapping[str, Tensor], network: nn.Module, decay: float) -> None:
    """Move a running average towards a network's current state, in place; ``decay`` is the share of the old average."""
    for name, value in network.state_dict().items():
        averaged[name].lerp_(value, 1 - decay)

"""File format that all networks share: float16 weights, with format and training metadata in the header."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from impasto.errors import WeightsError
from impasto.runtime.atomic import replacing

LARGEST = 4096
"""Maximum layer size accepted in a header; guards against files that would exhaust the memory."""
Network = TypeVar("Network", bound=nn.Module)


class Kind(NamedTuple):
    """A kind of network.

    Attributes:
        name: name used in messages, such as ``"decoder"``.
        key: header key of the format version.
        version: format version that this version of impasto writes and reads.
        hint: end of the error message for a file of another kind; it describes the expected file.
    """

    name: str
    key: str
    version: str
    hint: str


def write_network(kind: Kind, path: str | Path, network: nn.Module, header: Mapping[str, str]) -> None:
    """Write a network atomically; weights of any precision are rounded to float16, biases to float32.

    Raises:
        WeightsError: if the file cannot be written, or a weight is not finite in float16.
    """
    path = Path(path)
    tensors = {name: _rounded(name, value) for name, value in network.state_dict().items()}
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise WeightsError(
                f"{kind.name} {str(path)!r} was not written: {name} contains a value that is not finite; train it again"
            )
    try:
        with replacing(path) as partial:
            save_file(tensors, partial, {**header, "format": "impasto", kind.key: kind.version})
    except (OSError, safetensors.SafetensorError) as error:
        why = getattr(error, "strerror", None) or error
        raise WeightsError(f"{kind.name} {str(path)!r} cannot be written: {why}; choose another path") from error


def read_network(kind: Kind, path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read the header and the tensors of a file.

    Raises:
        WeightsError: if the file is missing, damaged, of another version or of another kind.
    """
    try:
        with safetensors.safe_open(path, "pt") as opened:
            header = dict(opened.metadata() or {})
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (not a mapping)
    except FileNotFoundError as error:
        raise WeightsError(f"{kind.name} {str(path)!r} does not exist; give another file") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise WeightsError(f"{kind.name} {str(path)!r} is damaged or not a network file; fetch it again") from error
    version = header.get(kind.key)
    if version is None:
        article = "an" if kind.name[0] in "aeiou" else "a"
        raise WeightsError(f"{str(path)!r} is not {article} {kind.name}; {kind.hint}")
    if version != kind.version:
        raise WeightsError(
            f"{kind.name} {str(path)!r} has version {version}, but this impasto reads version {kind.version}; train it again"
        )
    return header, tensors


def fill(kind: Kind, path: Path, network: Network, tensors: Mapping[str, Tensor]) -> Network:
    """Load the weights of a file into a network created for it: float32, channels last, frozen.

    Raises:
        RuntimeError: if the weights do not fit the network.
        WeightsError: if some weights are not finite.
    """
    network.load_state_dict({name: _laid_out(value.float()) for name, value in tensors.items()}, assign=True)
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise WeightsError(f"{kind.name} {str(path)!r} is damaged: some weights are not finite numbers; fetch it again")
    return network.eval().requires_grad_(False)


def _rounded(name: str, value: Tensor) -> Tensor:
    value = value.detach().cpu().float().contiguous()
    return value.half() if name.endswith(".weight") else value


def _laid_out(value: Tensor) -> Tensor:
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value

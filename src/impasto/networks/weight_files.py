"""What the files of all networks have in common: weights as float16, and in the header what the file is and how it was made."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from impasto.errors import WeightsError

LARGEST = 4096
"""No size in a header is beyond this; a larger one would only keep the machine busy."""
Network = TypeVar("Network", bound=nn.Module)


class Kind(NamedTuple):
    """A kind of network.

    Attributes:
        name: in messages, such as ``"decoder"``.
        key: what its version stands under in a header.
        version: that this impasto writes and reads.
        hint: what to give instead of a file of another kind.
    """

    name: str
    key: str
    version: str
    hint: str


def write_network(kind: Kind, path: str | Path, network: nn.Module, header: Mapping[str, str]) -> None:
    """Write a network, in one step or not at all; weights of any precision are rounded to float16, biases to float32.

    Raises:
        WeightsError: the file cannot be written, or a weight is not a number that float16 can hold.
    """
    path = Path(path)
    tensors = {name: _rounded(name, value) for name, value in network.state_dict().items()}
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise WeightsError(
                f"{kind.name} {str(path)!r} is not written: {name} holds what is no finite number; train it again"
            )
    partial = path.with_name(path.name + ".part")
    try:
        save_file(tensors, partial, {**header, "format": "impasto", kind.key: kind.version})
        partial.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        with suppress(OSError):
            partial.unlink()
        why = getattr(error, "strerror", None) or error
        raise WeightsError(f"{kind.name} {str(path)!r} cannot be written: {why}; choose another place") from error


def read_network(kind: Kind, path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read header and tensors of a file.

    Raises:
        WeightsError: the file is missing, damaged, of another version or of another kind.
    """
    try:
        with safetensors.safe_open(path, "pt") as opened:
            header = dict(opened.metadata() or {})
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (not a mapping)
    except FileNotFoundError as error:
        raise WeightsError(f"{kind.name} {str(path)!r} is not there; name another file") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise WeightsError(f"{kind.name} {str(path)!r} is damaged or no such network; fetch it again") from error
    version = header.get(kind.key)
    if version is None:
        article = "an" if kind.name[0] in "aeiou" else "a"
        raise WeightsError(f"{str(path)!r} is not {article} {kind.name}; {kind.hint}")
    if version != kind.version:
        raise WeightsError(
            f"{kind.name} {str(path)!r} is of version {version}, this impasto reads version {kind.version}; train it again"
        )
    return header, tensors


def fill(kind: Kind, path: Path, network: Network, tensors: Mapping[str, Tensor]) -> Network:
    """Put the weights of a file into a network made for it: float32, channels last, and they do not train.

    Raises:
        RuntimeError: the weights do not fit.
        WeightsError: some are not finite numbers.
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

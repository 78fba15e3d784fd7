"""Files of the instant network: small, safe, and complete in themselves.

A file holds the weights as float16 (the reader's centre and spread, and biases, as float32), and in its header the sizes of the
network and the facts of its making.
"""

from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from impasto.errors import WeightsError
from impasto.networks.instant import InstantNetwork, Widths
from impasto.weights.files import sha256_of

VERSION = "1"
_HEADER = ("format", "impasto_instant", "widths", "channels", "code")
_LARGEST = 4096
"""No size in a header is beyond this; a larger one would only keep the machine busy."""


def save_instant(path: str | Path, network: InstantNetwork, facts: Mapping[str, str]) -> None:
    """Write an instant network, in one step or not at all; :func:`load_instant` reads it back.

    Args:
        path: the file, .safetensors.
        network: whose weights, of any precision, are rounded to float16.
        facts: what shall stand in the header: teacher, licence, figures, and ``encoder_sha256`` of the slim encoder it reads.

    Raises:
        WeightsError: the file cannot be written, or a weight is not a number that float16 can hold.

    Example:
        >>> save_instant("tiny.safetensors", InstantNetwork((4, 4, 4, 4, 4), Widths(4, 4, 8, 8, 1), code=8), {"licence": "MIT"})
        >>> load_instant("tiny.safetensors").transfer.widths.blocks
        1
    """
    path = Path(path)
    tensors = {name: _rounded(name, value) for name, value in network.state_dict().items()}
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise WeightsError(
                f"instant network {str(path)!r} is not written: {name} holds what is no finite number; train it again"
            )
    partial = path.with_name(path.name + ".part")
    try:
        save_file(tensors, partial, {**facts, "format": "impasto", "impasto_instant": VERSION, **_sizes(network)})
        partial.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        with suppress(OSError):
            partial.unlink()
        why = getattr(error, "strerror", None) or error
        raise WeightsError(f"instant network {str(path)!r} cannot be written: {why}; choose another place") from error


def load_instant(path: str | Path) -> InstantNetwork:
    """Read an instant network.

    Args:
        path: a file of :func:`save_instant`, such as :func:`shipped_instant`.

    Returns:
        The network, on the processor, channels last, with float32 parameters that do not train.

    Raises:
        WeightsError: the file is missing, damaged, of another version, or no instant network.
    """
    path = Path(path)
    header, tensors = _read(path)
    try:
        network = _empty(header)
        network.load_state_dict({name: _laid_out(value.float()) for name, value in tensors.items()}, assign=True)
    except (KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"instant network {str(path)!r} is damaged: its weights do not fit its header; fetch it again"
        ) from error
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise WeightsError(f"instant network {str(path)!r} is damaged: some weights are not finite numbers; fetch it again")
    network.sha256 = sha256_of(path)
    return network.eval().requires_grad_(False)


def instant_facts(path: str | Path) -> dict[str, str]:
    """Read what a file says of the making of its network.

    Raises:
        WeightsError: the file is missing, damaged, of another version, or no instant network.
    """
    header, _ = _read(Path(path))
    return {name: value for name, value in header.items() if name not in _HEADER}


def shipped_instant() -> Path:
    """Return the file of the live network that comes with impasto."""
    return Path(str(files("impasto") / "data" / "live.safetensors"))


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read header and tensors of a file of this version."""
    try:
        with safetensors.safe_open(path, "pt") as opened:
            header = dict(opened.metadata() or {})
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (not a mapping)
    except FileNotFoundError as error:
        raise WeightsError(f"instant network {str(path)!r} is not there; name another file") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise WeightsError(f"instant network {str(path)!r} is damaged or no such network; fetch it again") from error
    version = header.get("impasto_instant")
    if version is None:
        raise WeightsError(f"{str(path)!r} is not an instant network; give one, such as the live.safetensors of impasto")
    if version != VERSION:
        raise WeightsError(
            f"instant network {str(path)!r} is of version {version}, this impasto reads version {VERSION}; train it again"
        )
    return header, tensors


def _sizes(network: InstantNetwork) -> dict[str, str]:
    """Write the sizes of a network as :func:`_empty` reads them; channels are those of the style layers together."""
    reader = network.reader.state_dict()
    return {
        "widths": ",".join(map(str, network.transfer.widths)),
        "channels": str(len(reader["centre"]) // 2),
        "code": str(len(reader["read.0.weight"])),
    }


def _empty(header: Mapping[str, str]) -> InstantNetwork:
    """Make a network of the sizes in a header, without memory for its weights."""
    full, half, quarter, eighth, blocks = (int(size) for size in header["widths"].split(","))
    channels, code = int(header["channels"]), int(header["code"])
    if not all(1 <= size <= _LARGEST for size in (full, half, quarter, eighth, blocks, channels, code)):
        raise ValueError(f"sizes beyond 1 to {_LARGEST}")
    with torch.device("meta"):
        return InstantNetwork((channels,), Widths(full, half, quarter, eighth, blocks), code)


def _rounded(name: str, value: Tensor) -> Tensor:
    value = value.detach().cpu().float().contiguous()
    return value.half() if name.endswith(".weight") else value


def _laid_out(value: Tensor) -> Tensor:
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value

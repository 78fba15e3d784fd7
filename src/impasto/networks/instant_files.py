"""Files of the instant network: small, safe, and complete in themselves.

A file holds the weights as float16 (the reader's center and spread, and biases, as float32), and in its header the sizes of the
network and the facts of its making.
"""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import torch

from impasto.errors import WeightsError
from impasto.networks.instant import InstantNetwork, Widths
from impasto.networks.weight_files import LARGEST, Kind, fill, read_network, write_network
from impasto.runtime.torch_state import in_known_state
from impasto.weights.files import sha256_of

KIND = Kind("instant network", "impasto_instant", "1", "give one, such as the live.safetensors of impasto")
_HEADER = ("format", "impasto_instant", "widths", "channels", "code")


@in_known_state
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
    write_network(KIND, path, network, {**facts, **_sizes(network)})


@in_known_state
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
    header, tensors = read_network(KIND, path)
    try:
        network = fill(KIND, path, _empty(header), tensors)
    except (KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"instant network {str(path)!r} is damaged: its weights do not fit its header; fetch it again"
        ) from error
    network.sha256 = sha256_of(path)
    return network


def instant_facts(path: str | Path) -> dict[str, str]:
    """Read what a file says of the making of its network.

    Raises:
        WeightsError: the file is missing, damaged, of another version, or no instant network.
    """
    header, _ = read_network(KIND, Path(path))
    return {name: value for name, value in header.items() if name not in _HEADER}


def shipped_instant() -> Path:
    """Return the file of the live network that comes with impasto."""
    return Path(str(files("impasto") / "data" / "live.safetensors"))


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
    if not all(1 <= size <= LARGEST for size in (full, half, quarter, eighth, blocks, channels, code)):
        raise ValueError(f"sizes beyond 1 to {LARGEST}")
    with torch.device("meta"):
        return InstantNetwork((channels,), Widths(full, half, quarter, eighth, blocks), code)

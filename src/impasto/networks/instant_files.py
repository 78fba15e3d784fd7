"""Files of the instant network: small, safe and self-contained.

Weights are stored as float16. Biases, and the center and spread of the style reader, are stored as float32. The header contains
the layer sizes and training metadata.
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

KIND = Kind("instant network", "impasto_instant", "1", "give a network file, such as impasto's live.safetensors")
_HEADER = ("format", "impasto_instant", "widths", "channels", "code")


@in_known_state
def save_instant(path: str | Path, network: InstantNetwork, facts: Mapping[str, str]) -> None:
    """Write an instant network atomically; :func:`load_instant` reads it.

    Args:
        path: the output file, .safetensors.
        network: the network; weights of any precision are rounded to float16.
        facts: metadata for the header: teacher, license, quality figures, and ``encoder_sha256``, the hash of the slim encoder
            that the network needs.

    Raises:
        WeightsError: if the file cannot be written, or a weight is not finite in float16.

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
        path: a file written by :func:`save_instant`, such as :func:`shipped_instant`.

    Returns:
        The network on the CPU, in channels-last format, with frozen float32 parameters.

    Raises:
        WeightsError: if the file is missing, damaged, of another version, or not an instant network.
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
    """Read the training metadata of an instant network file.

    Raises:
        WeightsError: if the file is missing, damaged, of another version, or not an instant network.
    """
    header, _ = read_network(KIND, Path(path))
    return {name: value for name, value in header.items() if name not in _HEADER}


def shipped_instant() -> Path:
    """Return the path of the live network included in the package."""
    return Path(str(files("impasto") / "data" / "live.safetensors"))


def _sizes(network: InstantNetwork) -> dict[str, str]:
    """Return the sizes of a network in the form that :func:`_empty` reads.

    ``"channels"`` is the total number of channels of the slim encoder at the style layers.
    """
    reader = network.reader.state_dict()
    return {
        "widths": ",".join(map(str, network.transfer.widths)),
        "channels": str(len(reader["centre"]) // 2),
        "code": str(len(reader["read.0.weight"])),
    }


def _empty(header: Mapping[str, str]) -> InstantNetwork:
    """Create a network with the layer sizes given in a header, on the meta device."""
    full, half, quarter, eighth, blocks = (int(size) for size in header["widths"].split(","))
    channels, code = int(header["channels"]), int(header["code"])
    if not all(1 <= size <= LARGEST for size in (full, half, quarter, eighth, blocks, channels, code)):
        raise ValueError(f"sizes outside 1 to {LARGEST}")
    with torch.device("meta"):
        return InstantNetwork((channels,), Widths(full, half, quarter, eighth, blocks), code)

"""Files of the decoder: weights as float16, and in the header the widths of the network and the facts of its making."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import torch

from impasto.errors import WeightsError
from impasto.networks.style_swap import Decoder, DecoderWidths
from impasto.networks.weight_files import LARGEST, Kind, fill, read_network, write_network
from impasto.runtime.torch_state import in_known_state
from impasto.weights.files import sha256_of

KIND = Kind("decoder", "impasto_decoder", "1", "give a file that impasto train instant wrote")
_HEADER = ("format", "impasto_decoder", "widths", "channels")


@in_known_state
def save_decoder(path: str | Path, network: Decoder, facts: Mapping[str, str]) -> None:
    """Write a decoder, in one step or not at all; :func:`load_decoder` reads it back.

    Args:
        path: the file, .safetensors.
        network: whose weights, of any precision, are rounded to float16.
        facts: what shall stand in the header: data, figures, and ``encoder_sha256`` of the slim encoder it decodes.

    Raises:
        WeightsError: the file cannot be written, or a weight is not a number that float16 can hold.

    Example:
        >>> save_decoder("tiny.safetensors", Decoder((4, 4, 4), DecoderWidths(4, 4, 4, 1)), {"licence": "MIT"})
        >>> load_decoder("tiny.safetensors").widths.blocks
        1
    """
    sizes = {"widths": ",".join(map(str, network.widths)), "channels": ",".join(map(str, network.channels))}
    write_network(KIND, path, network, {**facts, **sizes})


@in_known_state
def load_decoder(path: str | Path) -> Decoder:
    """Read a decoder.

    Args:
        path: a file of :func:`save_decoder`, such as :func:`shipped_decoder`.

    Returns:
        The network, on the processor, channels last, with float32 parameters that do not train.

    Raises:
        WeightsError: the file is missing, damaged, of another version, or no decoder.
    """
    path = Path(path)
    header, tensors = read_network(KIND, path)
    try:
        network = fill(KIND, path, _empty(header), tensors)
    except (KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(f"decoder {str(path)!r} is damaged: its weights do not fit its header; fetch it again") from error
    network.sha256 = sha256_of(path)
    return network


def decoder_facts(path: str | Path) -> dict[str, str]:
    """Read what a file says of the making of its network.

    Raises:
        WeightsError: the file is missing, damaged, of another version, or no decoder.
    """
    header, _ = read_network(KIND, Path(path))
    return {name: value for name, value in header.items() if name not in _HEADER}


def shipped_decoder() -> Path:
    """Return the file of the decoder that comes with impasto."""
    return Path(str(files("impasto") / "data" / "decoder.safetensors"))


def _empty(header: Mapping[str, str]) -> Decoder:
    """Make a network of the sizes in a header, without memory for its weights."""
    full, half, quarter, blocks = (int(size) for size in header["widths"].split(","))
    fine, middle, coarse = (int(size) for size in header["channels"].split(","))
    if not all(1 <= size <= LARGEST for size in (full, half, quarter, blocks, fine, middle, coarse)):
        raise ValueError(f"sizes beyond 1 to {LARGEST}")
    with torch.device("meta"):
        return Decoder((fine, middle, coarse), DecoderWidths(full, half, quarter, blocks))

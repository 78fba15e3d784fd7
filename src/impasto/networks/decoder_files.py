"""Decoder files: float16 weights, with the layer widths and training metadata in the header."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import torch

from impasto.errors import WeightsError
from impasto.networks.style_swap import Decoder, DecoderWidths
from impasto.networks.weight_files import LARGEST, Kind, fill, read_network, write_network
from impasto.runtime.torch_state import in_known_state
from impasto.weights.files import sha256_of

KIND = Kind("decoder", "impasto_decoder", "1", "give a file written by impasto train instant")
_HEADER = ("format", "impasto_decoder", "widths", "channels")


@in_known_state
def save_decoder(path: str | Path, network: Decoder, facts: Mapping[str, str]) -> None:
    """Write a decoder atomically; :func:`load_decoder` reads it.

    Args:
        path: the output file, .safetensors.
        network: the decoder; weights of any precision are rounded to float16.
        facts: metadata for the header: training data, quality figures, and ``encoder_sha256``, the hash of the encoder whose
            features the decoder reads.

    Raises:
        WeightsError: if the file cannot be written, or a weight is not finite in float16.

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
        path: a file written by :func:`save_decoder`, such as :func:`shipped_decoder`.

    Returns:
        The network on the CPU, in channels-last format, with frozen float32 parameters.

    Raises:
        WeightsError: if the file is missing, damaged, of another version, or not a decoder.
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
    """Read the training metadata of a decoder file.

    Raises:
        WeightsError: if the file is missing, damaged, of another version, or not a decoder.
    """
    header, _ = read_network(KIND, Path(path))
    return {name: value for name, value in header.items() if name not in _HEADER}


def shipped_decoder() -> Path:
    """Return the path of the decoder included in the package."""
    return Path(str(files("impasto") / "data" / "decoder.safetensors"))


def _empty(header: Mapping[str, str]) -> Decoder:
    """Create a network with the layer sizes given in a header, on the meta device."""
    full, half, quarter, blocks = (int(size) for size in header["widths"].split(","))
    fine, middle, coarse = (int(size) for size in header["channels"].split(","))
    if not all(1 <= size <= LARGEST for size in (full, half, quarter, blocks, fine, middle, coarse)):
        raise ValueError(f"sizes outside 1 to {LARGEST}")
    with torch.device("meta"):
        return Decoder((fine, middle, coarse), DecoderWidths(full, half, quarter, blocks))

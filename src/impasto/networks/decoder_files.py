"""Files of the decoder: weights as float16, and in the header the widths of the network and the facts of its making."""

from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from impasto.errors import WeightsError
from impasto.networks.style_swap import Decoder, DecoderWidths
from impasto.weights.files import sha256_of

VERSION = "1"
_HEADER = ("format", "impasto_decoder", "widths", "channels")
_LARGEST = 4096
"""No size in a header is beyond this; a larger one would only keep the machine busy."""


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
    path = Path(path)
    tensors = {name: _rounded(name, value) for name, value in network.state_dict().items()}
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise WeightsError(f"decoder {str(path)!r} is not written: {name} holds what is no finite number; train it again")
    sizes = {"widths": ",".join(map(str, network.widths)), "channels": ",".join(map(str, network.channels))}
    partial = path.with_name(path.name + ".part")
    try:
        save_file(tensors, partial, {**facts, "format": "impasto", "impasto_decoder": VERSION, **sizes})
        partial.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        with suppress(OSError):
            partial.unlink()
        why = getattr(error, "strerror", None) or error
        raise WeightsError(f"decoder {str(path)!r} cannot be written: {why}; choose another place") from error


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
    header, tensors = _read(path)
    try:
        network = _empty(header)
        network.load_state_dict({name: _laid_out(value.float()) for name, value in tensors.items()}, assign=True)
    except (KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(f"decoder {str(path)!r} is damaged: its weights do not fit its header; fetch it again") from error
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise WeightsError(f"decoder {str(path)!r} is damaged: some weights are not finite numbers; fetch it again")
    network.sha256 = sha256_of(path)
    return network.eval().requires_grad_(False)


def decoder_facts(path: str | Path) -> dict[str, str]:
    """Read what a file says of the making of its network.

    Raises:
        WeightsError: the file is missing, damaged, of another version, or no decoder.
    """
    header, _ = _read(Path(path))
    return {name: value for name, value in header.items() if name not in _HEADER}


def shipped_decoder() -> Path:
    """Return the file of the decoder that comes with impasto."""
    return Path(str(files("impasto") / "data" / "decoder.safetensors"))


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read header and tensors of a file of this version."""
    try:
        with safetensors.safe_open(path, "pt") as opened:
            header = dict(opened.metadata() or {})
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (not a mapping)
    except FileNotFoundError as error:
        raise WeightsError(f"decoder {str(path)!r} is not there; name another file") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise WeightsError(f"decoder {str(path)!r} is damaged or no such network; fetch it again") from error
    version = header.get("impasto_decoder")
    if version is None:
        raise WeightsError(f"{str(path)!r} is not a decoder; give a file that impasto train instant wrote")
    if version != VERSION:
        raise WeightsError(
            f"decoder {str(path)!r} is of version {version}, this impasto reads version {VERSION}; train it again"
        )
    return header, tensors


def _empty(header: Mapping[str, str]) -> Decoder:
    """Make a network of the sizes in a header, without memory for its weights."""
    full, half, quarter, blocks = (int(size) for size in header["widths"].split(","))
    fine, middle, coarse = (int(size) for size in header["channels"].split(","))
    if not all(1 <= size <= _LARGEST for size in (full, half, quarter, blocks, fine, middle, coarse)):
        raise ValueError(f"sizes beyond 1 to {_LARGEST}")
    with torch.device("meta"):
        return Decoder((fine, middle, coarse), DecoderWidths(full, half, quarter, blocks))


def _rounded(name: str, value: Tensor) -> Tensor:
    value = value.detach().cpu().float().contiguous()
    return value.half() if name.endswith(".weight") else value


def _laid_out(value: Tensor) -> Tensor:
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value

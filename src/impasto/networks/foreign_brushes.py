"""Safely read networks for one style that other programs trained, and convert them to our own network.

The supported formats are state dicts of pytorch/examples' ``fast_neural_style`` (.pth, .model), and checkpoints of lengstrom's
``fast-style-transfer`` that were converted to safetensors. Both programs use pixels from 0 to 255; the first and the last
convolution are scaled so that pixels from 0 to 1 give the same pictures. No code from a file is executed.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import safetensors
import torch
from torch import Tensor

from impasto.errors import WeightsError
from impasto.networks.johnson import Johnson, Layout, empty_network
from impasto.networks.weight_files import Kind, fill
from impasto.weights.files import file_kind, torch_tensors

SUPPORTED = "a .brush file, a state dict of pytorch/examples' fast_neural_style, or a checkpoint of lengstrom's as safetensors"
_KIND = Kind("network", "", "", "")
_PIXELS = 255.0
_VARIABLES_PER_LAYER = 3
"""Variables of each layer in lengstrom's networks: filters, shift and scale."""
_FIRST_AND_LAST_LAYERS = 6
_IGNORED = re.compile(r".*\.(running_mean|running_var|num_batches_tracked)")
"""Statistics that instance normalization never used; old versions of PyTorch saved them."""


class Foreign(NamedTuple):
    """A network of another program.

    Attributes:
        network: the converted network, float32, frozen.
        facts: metadata: the name of the file, and the program.
    """

    network: Johnson
    facts: dict[str, str]


class _Converted(NamedTuple):
    """Weights under the names of our network, for pixels from 0 to 255."""

    program: str
    layout: Layout
    tensors: dict[str, Tensor]


def is_foreign(path: Path) -> bool:
    """Return whether a file is not in our own format, according to its first bytes and its header.

    Raises:
        WeightsError: the file cannot be read, is empty, or is of a kind that is never read, such as a web page.
    """
    if file_kind(path) != "safetensors":
        return True
    try:
        with safetensors.safe_open(path, "pt") as opened:
            return (opened.metadata() or {}).get("format") != "impasto"
    except (OSError, safetensors.SafetensorError):  # the reader of our own format reports damaged files
        return False


def read_foreign(path: Path) -> Foreign:
    """Read a network of another program.

    Raises:
        WeightsError: the file is damaged, unsafe, or contains something else.
    """
    tensors = _tensors(path)
    try:
        found = _converted(tensors)
        network = empty_network(found.layout)
        _check_shapes(network, found.tensors)
        fill(_KIND, path, network, _for_unit_range(found))
    except _OtherWeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except (KeyError, ValueError, RuntimeError, TypeError, IndexError) as error:
        raise WeightsError(f"{path}: its weights do not fit together; give another file: {SUPPORTED}") from error
    return Foreign(network, {"name": path.stem, "program": found.program})


class _OtherWeightsError(Exception):
    """The weights are not those of a network for one style; the message does not name the file."""


def _tensors(path: Path) -> dict[str, Tensor]:
    kind = file_kind(path)
    if kind not in ("torch", "safetensors"):
        raise WeightsError(f"{path}: this is not a network for one style; give {SUPPORTED}")
    try:
        if kind == "torch":
            return torch_tensors(path)
        with safetensors.safe_open(path, "pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (not a mapping)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except Exception as error:  # a damaged file can raise anything
        raise WeightsError(f"{path}: the file is damaged or truncated; fetch it again") from error


def _converted(tensors: Mapping[str, Tensor]) -> _Converted:
    """Recognize the program by the names of the tensors."""
    names = {name.removeprefix("module.").removesuffix(":0"): value for name, value in tensors.items()}
    if "conv1.conv2d.weight" in names and "deconv3.conv2d.weight" in names:
        return _from_pytorch_examples({name: value for name, value in names.items() if not _IGNORED.fullmatch(name)})
    variables = {int(match[1] or 0): names[match[0]] for match in map(_variable, names) if match}
    if len(variables) > 2 * _VARIABLES_PER_LAYER and variables.get(0, torch.empty(0)).ndim == 4:
        return _from_lengstrom(variables)
    shown = ", ".join(f"{name!r:.60}" for name in sorted(names)[:2]) or "no tensors"
    raise _OtherWeightsError(f"it contains other weights ({shown}), not a network for one style; give {SUPPORTED}")


def _variable(name: str) -> re.Match[str] | None:
    """Match ``Variable`` and ``Variable_1``, but not the optimizer's ``Variable/Adam``."""
    return re.fullmatch(r"Variable(?:_(\d{1,6}))?", name)


def _check_shapes(network: Johnson, tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless names and shapes fit, before anything is copied: a tiny file can declare a huge tensor."""
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    if shapes != {name: value.shape for name, value in tensors.items()}:
        raise ValueError("names or shapes differ")


def _for_unit_range(found: _Converted) -> dict[str, Tensor]:
    """Scale the weights for pixels from 0 to 1 instead of 0 to 255. A tanh has a fixed range, so its input is not scaled."""
    tensors = {name: value.float() for name, value in found.tensors.items()}
    tensors["down.0.inner.convolution.weight"] = tensors["down.0.inner.convolution.weight"] * _PIXELS
    if found.layout.output == "linear":
        tensors["out.convolution.weight"] = tensors["out.convolution.weight"] / _PIXELS
        tensors["out.convolution.bias"] = tensors["out.convolution.bias"] / _PIXELS - 0.5
    return tensors


# ---------------------------------------------------------------------------------------------------- pytorch/examples


def _from_pytorch_examples(tensors: Mapping[str, Tensor]) -> _Converted:
    blocks = len({name.split(".")[0] for name in tensors if re.match(r"res\d+\.", name)})
    width, _, side, _ = tensors["conv1.conv2d.weight"].shape
    renamed = {_name_of(name): value for name, value in tensors.items()}
    return _Converted("fast_neural_style of pytorch/examples", Layout(width, blocks=blocks, ends=side), renamed)


def _name_of(name: str) -> str:
    """Translate a name such as ``res1.conv2.conv2d.weight`` to ours, here ``blocks.0.second.inner.convolution.weight``.

    Raises:
        ValueError: the network has no such tensor.
    """
    match = re.fullmatch(r"(?:res(\d+)\.)?(conv|in|deconv)(\d)\.(conv2d\.)?(weight|bias)", name)
    if match is None or (match[2] == "in") is bool(match[4]):
        raise ValueError(name)
    number, inner = int(match[3]), f"{'norm' if match[2] == 'in' else 'inner.convolution'}.{match[5]}"
    if match[1]:
        return f"blocks.{int(match[1]) - 1}.{'first' if number == 1 else 'second'}.{inner}"
    if match[2] == "deconv":
        return f"out.convolution.{match[5]}" if number == 3 else f"up.{number - 1}.{inner}"
    return f"up.{number - 4}.{inner}" if number > 3 else f"down.{number - 1}.{inner}"


# ---------------------------------------------------------------------------------------------------- lengstrom


def _from_lengstrom(variables: Mapping[int, Tensor]) -> _Converted:
    """Convert the variables of a TensorFlow graph, in the order in which the program creates them.

    Filters have the shape (height, width, in, out), or (height, width, out, in) in transposed convolutions; in PyTorch, the
    last two axes come first, in reverse order. Instance normalization removes any bias, so these networks have none.
    """
    blocks, rest = divmod(len(variables) // _VARIABLES_PER_LAYER - _FIRST_AND_LAST_LAYERS, 2)
    if rest or len(variables) % _VARIABLES_PER_LAYER or blocks < 0:
        raise _OtherWeightsError(
            f"it has {len(variables)} variables; lengstrom's networks have 48; convert the checkpoint again"
        )
    side, _, _, width = variables[0].shape
    found: dict[str, Tensor] = {}
    for index, (inner, norm) in enumerate(_layers(blocks)):
        filters, shift, scale = (variables[_VARIABLES_PER_LAYER * index + part] for part in range(3))
        found |= {f"{inner}.weight": filters.permute(3, 2, 0, 1), f"{inner}.bias": torch.zeros(1).expand(len(shift))}
        found |= {f"{norm}.weight": scale, f"{norm}.bias": shift}
    layout = Layout(width, blocks, border="zero", upsampling="transposed", output="tanh", epsilon=1e-3, ends=side)
    return _Converted("fast-style-transfer of lengstrom", layout, found)


def _layers(blocks: int) -> list[tuple[str, str]]:
    """Return the names of each convolution and its normalization, in the order of the network."""
    residual = [f"blocks.{index}.{part}" for index in range(blocks) for part in ("first", "second")]
    layers = ("down.0", "down.1", "down.2", *residual, "up.0", "up.1", "out")
    return [(f"{name}.inner" if name in ("up.0", "up.1") else f"{name}.inner.convolution", f"{name}.norm") for name in layers]

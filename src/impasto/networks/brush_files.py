"""Brush files: the float16 weights of a network that paints one style, with its layout and its history in the header."""

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from impasto.errors import WeightsError, nearest_name
from impasto.networks.johnson import Johnson, Layout
from impasto.networks.weight_files import LARGEST, Kind, fill, read_network, write_network
from impasto.runtime.torch_state import in_known_state
from impasto.weights.files import sha256_of

SUFFIX = ".brush"
KIND = Kind("brush", "impasto_brush", "1", "give a .brush file written by impasto train brush")
_HEADER = ("format", "impasto_brush", "layout")
_MOST_BLOCKS = 64


@in_known_state
def save_brush(path: str | Path, network: Johnson, facts: Mapping[str, str]) -> None:
    """Write a brush atomically; :func:`load_brush` reads it.

    Args:
        path: the output file, .brush.
        network: the network; weights of any precision are rounded to float16.
        facts: metadata for the header: name and license of the style, training settings, figures.

    Raises:
        WeightsError: if the file cannot be written, or a weight is not finite in float16.

    Example:
        >>> save_brush("tiny.brush", Johnson(Layout(4, blocks=1)), {"name": "tiny"})
        >>> load_brush("tiny.brush").layout.width
        4
    """
    write_network(KIND, path, network, {**facts, "layout": json.dumps(network.layout._asdict())})


@in_known_state
def load_brush(brush: str | Path) -> Johnson:
    """Read a brush.

    Args:
        brush: a file, or the name of a brush included in the package.

    Returns:
        The network on the CPU, with frozen float32 parameters.

    Raises:
        WeightsError: if there is no such file or name, or if the file is damaged, of another version, or not a brush.
    """
    path = brush_path(brush)
    header, tensors = read_network(KIND, path)
    try:
        network = fill(KIND, path, _empty(header["layout"]), tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"brush {str(path)!r} is damaged: its weights do not fit its header; fetch it again") from error
    network.sha256 = sha256_of(path)
    return network


def brush_facts(brush: str | Path) -> dict[str, str]:
    """Read the metadata of a brush: name and license of the style, training settings, figures.

    Raises:
        WeightsError: if there is no such file or name, or if the file is damaged, of another version, or not a brush.
    """
    header, _ = read_network(KIND, brush_path(brush))
    return {name: value for name, value in header.items() if name not in _HEADER}


def shipped_brushes() -> dict[str, Path]:
    """Return the files of the brushes included in the package, by name."""
    folder = Path(str(files("impasto") / "data" / "brushes"))
    return {path.name.removesuffix(SUFFIX): path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def brush_path(brush: str | Path) -> Path:
    """Return the file of a brush that is given by its path or by its name.

    Raises:
        WeightsError: if there is no such file or name.
    """
    path, known = Path(brush), shipped_brushes()
    if path.exists():
        return path
    if str(brush) in known:
        return known[str(brush)]
    if path.suffix or len(path.parts) > 1:
        raise WeightsError(f"brush {str(brush)!r} does not exist; give another file, or a name from 'impasto brushes list'")
    raise WeightsError(f"brush {str(brush)!r} is not known{nearest_name(str(brush), known)}")


def _empty(layout: str) -> Johnson:
    """Create a network with the layout in a header, on the meta device."""
    values: dict[str, Any] = json.loads(layout)
    made = Layout(**values)
    if not (1 <= made.width <= LARGEST and 0 <= made.blocks <= _MOST_BLOCKS and made.ends in range(1, 32, 2)):
        raise ValueError(f"layout outside the limits: {made}")
    with torch.device("meta"):
        return Johnson(made)

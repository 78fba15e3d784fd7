"""Brush files: the float16 weights of a network for one style, with its layout and training history in the header."""

import json
import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from impasto.errors import WeightsError, nearest_name
from impasto.networks.foreign_brushes import is_foreign, read_foreign
from impasto.networks.johnson import Johnson, Layout, empty_network
from impasto.networks.weight_files import Kind, fill, read_network, write_network
from impasto.runtime.torch_state import in_known_state
from impasto.weights.files import sha256_of

SUFFIX = ".brush"
KIND = Kind("brush", "impasto_brush", "1", "give a .brush file written by impasto train brush")
_HEADER = ("format", "impasto_brush", "layout")
_FOLDER = Path(str(files("impasto") / "data" / "brushes"))


@in_known_state
def save_brush(path: str | Path, network: Johnson, facts: Mapping[str, str]) -> None:
    """Write a brush atomically; :func:`load_brush` reads it.

    Args:
        path: the output file, .brush.
        network: the network; weights of any precision are rounded to float16.
        facts: metadata for the header: name and license of the style, training settings, losses.

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
        brush: a .brush file, the name of a brush included in the package, or a network of another program; see
            :mod:`impasto.networks.foreign_brushes`.

    Returns:
        The network on the CPU, with frozen float32 parameters.

    Raises:
        WeightsError: if there is no such file or name, or if the file is damaged, unsafe, of another version, or not a brush.
    """
    path = brush_path(brush)
    network = read_foreign(path).network if is_foreign(path) else _read(path)
    network.sha256 = sha256_of(path)
    return network


def brush_facts(brush: str | Path) -> dict[str, str]:
    """Read the metadata of a brush: name and license of the style, training settings, losses.

    Raises:
        WeightsError: if there is no such file or name, or if the file is damaged, unsafe, of another version, or not a brush.
    """
    path = brush_path(brush)
    if is_foreign(path):
        return read_foreign(path).facts
    header, _ = read_network(KIND, path)
    return {name: value for name, value in header.items() if name not in _HEADER}


def shipped_brushes() -> dict[str, Path]:
    """Return the files of the brushes included in the package, by name."""
    return {path.name.removesuffix(SUFFIX): path for path in sorted(_FOLDER.glob(f"*{SUFFIX}"))}


def brush_path(brush: str | Path) -> Path:
    """Return the file of a brush that is given by its path or by its name.

    Raises:
        WeightsError: if there is no such file or name.
    """
    given, known = str(brush), shipped_brushes()
    if os.path.isfile(given):
        return Path(given)
    if given in known:
        return known[given]
    if os.path.isdir(given):
        raise WeightsError(f"brush {given!r} is a folder; give a .brush file, or a name from 'impasto brushes list'")
    if os.path.lexists(given) or Path(given).suffix or len(Path(given).parts) > 1:
        what = "is not a file" if os.path.exists(given) else "does not exist"
        raise WeightsError(f"brush {given!r} {what}; give another file, or a name from 'impasto brushes list'")
    if not known:
        raise WeightsError(f"brush {given!r} is not known; give a .brush file")
    raise WeightsError(f"brush {given!r} is not known{nearest_name(given, known)}")


def _read(path: Path) -> Johnson:
    """Read a file in our own format."""
    header, tensors = read_network(KIND, path)
    try:
        return fill(KIND, path, empty_network(Layout(**json.loads(header["layout"]))), tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"brush {str(path)!r} is damaged: its weights do not fit its header; fetch it again") from error

"""The brushes of the webcam page. Each is an ONNX graph: included in impasto, exported by the user, or trained in the studio.

The browser runs the graphs, so the server needs neither torch nor onnx for them.
"""

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from impasto.runtime.folders import user_folder
from impasto.studio.brushes import GRAPH_SUFFIX
from impasto.studio.shelf import NAME
from impasto.studio.storage import IDENTITY, Folder

SHIPPED = Path(str(files("impasto") / "data" / "brushes" / "live"))
Shown = dict[str, Any]


def graph(folder: Folder, name: str) -> Path:
    """Return the graph of a brush.

    Args:
        folder: the data folder.
        name: the name of a graph, or the id of a trained brush.

    Raises:
        LookupError: there is no such graph.
    """
    path = folder.result(name, GRAPH_SUFFIX) if IDENTITY.fullmatch(name) else _named().get(name)
    if path is None or not path.is_file():
        raise LookupError(f"there is no brush {name[:60]!r}; see /api/v1/live/brushes")
    return path


def own_folder() -> Path:
    """Return the folder of the graphs that the user has exported; it may not exist yet."""
    return user_folder("data", "") / "brushes" / "live"


def shown_brushes(brushes: Iterable[Mapping[str, Any]], folder: Folder, styles: Iterable[Mapping[str, Any]]) -> list[Shown]:
    """Return the brushes in the format of the API: first those trained in the studio, then the others, sorted by name.

    Args:
        brushes: the trained brushes in the format of the API; those without a graph are omitted.
        folder: the data folder.
        styles: the styles in the format of the API. The title, artist and preview of a graph are those of the style with
            the same name.
    """
    trained = [(each["id"], folder.result(each["id"], GRAPH_SUFFIX), each) for each in brushes if each["origin"] == "trained"]
    known = {style["id"]: style for style in styles}
    named = [(name, path, known.get(name, {})) for name, path in _named().items()]
    return [_shown(*each) for each in (*trained, *named) if each[1].is_file()]


def _shown(name: str, path: Path, facts: Mapping[str, Any]) -> Shown:
    stat = path.stat()
    return {
        "id": name,
        "title": facts.get("title") or name,
        "artist": facts.get("artist") or "",
        "origin": "shipped" if path.parent == SHIPPED else "own",
        "preview": facts.get("preview"),
        "network": f"/live/brushes/{name}{GRAPH_SUFFIX}?v={_version(path, stat.st_mtime_ns, stat.st_size)}",
    }


def _named() -> dict[str, Path]:
    """Return the graphs by name. A graph that the user exported replaces an included graph with the same name."""
    return dict(sorted({**_in(SHIPPED), **_in(own_folder())}.items()))


def _in(folder: Path) -> dict[str, Path]:
    found = {path.stem: path for path in folder.glob(f"*{GRAPH_SUFFIX}") if path.is_file()}
    return {name: path for name, path in found.items() if NAME.fullmatch(name)}


@lru_cache(maxsize=64)
def _version(path: Path, changed: int, size: int) -> str:
    """Return a hash of the content of a file. The time of the last change and the size are needed only for the cache."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]

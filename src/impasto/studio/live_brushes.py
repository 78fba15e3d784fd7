"""The brushes of the webcam page: ONNX graphs included in the package, and graphs that the user has exported.

The browser runs the graphs, so the server needs neither torch nor onnx for them.
"""

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from impasto.runtime.folders import user_folder
from impasto.studio.shelf import NAME

SHIPPED = Path(str(files("impasto") / "data" / "brushes" / "live"))
_SUFFIX = ".onnx"


def live_brushes() -> dict[str, Path]:
    """Return the graphs by name. A graph of the user replaces an included one of the same name."""
    return dict(sorted({**_in(SHIPPED), **_in(own_folder())}.items()))


def own_folder() -> Path:
    """Return the folder of the user's own graphs; it may not exist yet."""
    return user_folder("data", "") / "brushes" / "live"


def shown_brushes(styles: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the brushes in the form of the API.

    Args:
        styles: the styles in the form of the API. Title, artist and preview of a brush are those of the style with its name.
    """
    known = {style["id"]: style for style in styles}
    return [_shown(name, path, known.get(name, {})) for name, path in live_brushes().items()]


def _shown(name: str, path: Path, style: Mapping[str, Any]) -> dict[str, Any]:
    stat = path.stat()
    return {
        "id": name,
        "title": style.get("title") or name,
        "artist": style.get("artist") or "",
        "origin": "shipped" if path.parent == SHIPPED else "own",
        "preview": style.get("preview"),
        "network": f"/live/brushes/{name}{_SUFFIX}?v={_version(path, stat.st_mtime_ns, stat.st_size)}",
    }


def _in(folder: Path) -> dict[str, Path]:
    found = {path.stem: path for path in folder.glob(f"*{_SUFFIX}") if path.is_file()}
    return {name: path for name, path in found.items() if NAME.fullmatch(name)}


@lru_cache(maxsize=64)
def _version(path: Path, changed: int, size: int) -> str:
    """Return a hash of the content of a file that was last changed at this time."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]

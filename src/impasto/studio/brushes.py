"""The brushes of a studio: those included in the package, and those trained in it. Their headers are read without torch."""

from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from impasto.studio.database import Database, Row
from impasto.studio.storage import Folder

SUFFIX, GRAPH_SUFFIX = ".brush", ".onnx"
SHIPPED = Path(str(files("impasto") / "data" / "brushes"))


def shown_brushes(database: Database, folder: Folder, styles: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the brushes in the format of the API: first those trained in this studio, newest first.

    Args:
        database: the database with the results.
        folder: the data folder.
        styles: the styles in the format of the API, by id. The preview of an included brush is that of the style with the same
            name.
    """
    rows = database.rows("SELECT id, title FROM results WHERE kind = 'brush' ORDER BY number DESC")
    own = [_shown_own(row) for row in rows if folder.result(row["id"], SUFFIX).is_file()]
    return own + [_shown_shipped(name, path, styles.get(name, {})) for name, path in _shipped().items()]


def brush_file(folder: Folder, identity: str) -> Path:
    """Return the file of a brush.

    Args:
        folder: the data folder.
        identity: the id of a result, or the name of an included brush.

    Raises:
        LookupError: there is no such brush.
    """
    path = folder.result(identity, SUFFIX) if identity.startswith("r_") else _shipped().get(identity)
    if path is None or not path.is_file():
        raise LookupError(f"there is no brush {identity!r}; see /api/v1/brushes")
    return path


def _shipped() -> dict[str, Path]:
    return {path.name.removesuffix(SUFFIX): path for path in sorted(SHIPPED.glob(f"*{SUFFIX}"))}


def _shown_own(row: Row) -> dict[str, Any]:
    preview = f"/api/v1/results/{row['id']}/thumb"
    return {"id": row["id"], "title": row["title"], "artist": "", "origin": "trained", "preview": preview}


def _shown_shipped(name: str, path: Path, style: Mapping[str, Any]) -> dict[str, Any]:
    facts = _facts(path, path.stat().st_mtime)
    shown = {key: facts.get(key) or style.get(key) or "" for key in ("title", "artist")}
    return {"id": name, "origin": "shipped", "preview": style.get("preview")} | shown | {"title": shown["title"] or name}


@lru_cache(maxsize=64)
def _facts(path: Path, changed: float) -> dict[str, str]:
    """Return the header of a brush file, empty if the file is damaged.

    ``changed``, the time of the last change, is needed only for the cache: a changed file is read again.
    """
    try:
        with safe_open(path, "np") as opened:
            return dict(opened.metadata() or {})
    except (OSError, SafetensorError):
        return {}

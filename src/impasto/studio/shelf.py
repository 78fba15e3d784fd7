"""The styles: those shipped with impasto, those added with ``impasto styles add``, and uploads."""

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from impasto.runtime.folders import styles_folder
from impasto.studio.database import Database
from impasto.studio.events import Hub
from impasto.studio.gallery import Gallery
from impasto.studio.jobs import StateError
from impasto.studio.storage import IDENTITY, Folder, new_identity
from impasto.styles.former_names import present_name

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_SUFFIX = ".style.safetensors"
_FACTS = ("title", "artist", "date", "source", "licence")
_SHIPPED = Path(str(files("impasto") / "data" / "styles"))
_PREVIEWS = Path(str(files("impasto") / "data" / "style-previews"))


@dataclass
class Shelf:
    """All styles. The metadata of style files is read without torch."""

    database: Database
    folder: Folder
    gallery: Gallery
    hub: Hub
    _facts: dict[tuple[str, float], dict[str, str]] = field(default_factory=dict)

    def styles(self, q: str = "", favorite: bool | None = None) -> list[dict[str, Any]]:
        """Return the styles in the format of the API: first favorites, then uploads (newest first), then others by name."""
        favorites = {row["style"] for row in self.database.rows("SELECT style FROM favourites")}
        own = [self._shown_upload(row) for row in self.database.rows("SELECT * FROM styles ORDER BY number DESC")]
        named = [self._shown_file(name, path) for name, path in self.named().items()]
        found = [each | {"favorite": each["id"] in favorites, "favourite": each["id"] in favorites} for each in own + named]
        words = q.lower().split()
        found = [each for each in found if all(word in _searched(each) for word in words)]
        found = [each for each in found if favorite is None or each["favorite"] == favorite]
        return sorted(found, key=lambda each: not each["favorite"])

    def style(self, identity: str) -> dict[str, Any]:
        """Return one style.

        Raises:
            LookupError: The style does not exist.
        """
        identity = self._present(identity)
        for each in self.styles():
            if each["id"] == identity:
                return each
        raise LookupError(f"there is no style {identity!r}; see /api/v1/styles")

    def named(self) -> dict[str, Path]:
        """Return the style files by name, as :func:`impasto.styles.named.known_styles` does."""
        return dict(sorted({**_in(_SHIPPED), **_in(styles_folder())}.items()))

    def _present(self, name: str) -> str:
        """Return the current name of a style that was renamed; the name of an existing style is returned unchanged."""
        return name if name in self.named() else present_name(name)

    def add(self, upload: str, title: str) -> dict[str, Any]:
        """Add an upload to the styles.

        Raises:
            LookupError: The upload does not exist.
        """
        row = self.gallery.upload(upload)
        identity = new_identity("s")
        title = title.strip() or row["name"].rsplit(".", 1)[0]
        self.database.insert("styles", {"id": identity, "upload": upload, "title": title[:200], "created": time.time()})
        return self.style(identity)

    def change(self, identity: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Change whether a style is a favorite, or change the title of an uploaded style.

        Raises:
            LookupError: The style does not exist.
            StateError: ``changes`` contains a title, but the style is not an upload.
        """
        style = self.style(identity)
        if "title" in changes and style["origin"] != "upload":
            raise StateError(f"style {identity!r} is not an upload; only the titles of uploads can be changed")
        with self.database.transaction():
            if "title" in changes:
                self.database.run("UPDATE styles SET title = ? WHERE id = ?", (changes["title"], identity))
            if "favorite" in changes:
                statement = (
                    "INSERT OR IGNORE INTO favourites VALUES (?)"
                    if changes["favorite"]
                    else "DELETE FROM favourites WHERE style = ?"
                )
                self.database.run(statement, (identity,))
        return self.style(identity)

    def delete(self, identity: str) -> None:
        """Remove an uploaded style.

        Raises:
            LookupError: The style does not exist.
            StateError: The style is not an upload.
        """
        if self.style(identity)["origin"] != "upload":
            raise StateError(f"style {identity!r} is not an upload and cannot be deleted here; use 'impasto styles remove'")
        with self.database.transaction():
            self.database.run("DELETE FROM styles WHERE id = ?", (identity,))
            self.database.run("DELETE FROM favourites WHERE style = ?", (identity,))
        self.hub.gone("style", identity)

    def source(self, identity: str) -> dict[str, str]:
        """Return the source of a style for a worker: its path, name and kind.

        Raises:
            LookupError: The style does not exist.
        """
        if IDENTITY.fullmatch(identity) and identity[0] in "us":
            row = self.database.row("SELECT upload FROM styles WHERE id = ?", (identity,))
            upload = self.gallery.upload(identity if identity[0] == "u" else row["upload"] if row else identity)
            return {"path": str(self.folder.upload(upload["id"])), "name": upload["name"], "kind": "picture"}
        named, identity = self.named(), self._present(identity)
        if identity not in named:
            raise LookupError(f"there is no style {identity!r}; see /api/v1/styles")
        return {"path": str(named[identity]), "name": identity, "kind": "named"}

    def preview(self, identity: str) -> tuple[Path, Path | None]:
        """Return the path of a style's preview. If the preview does not exist yet, also return the style file to make it from.

        Raises:
            LookupError: The style does not exist.
        """
        row = self.database.row("SELECT upload FROM styles WHERE id = ?", (identity,))
        if row:
            return self.folder.upload(row["upload"], ".thumb.jpg"), None
        named = self.named()
        if identity not in named:
            raise LookupError(f"there is no style {identity!r}; see /api/v1/styles")
        path, packed = named[identity], _PREVIEWS / f"{identity}.webp"
        if path.parent == _SHIPPED and packed.is_file():
            return packed, None
        made = self.folder.style_preview(identity, _hash_of(path))
        return made, None if made.is_file() else path

    def derived(self, identity: str, suffix: str) -> Path:
        """Return the path of a picture that is derived from a style. The picture may not exist yet.

        Raises:
            LookupError: The style does not exist.
        """
        source = self.source(identity)
        path = Path(source["path"])
        if source["kind"] == "picture":
            return self.folder.upload(path.name, suffix)
        return self.folder.style_preview(source["name"], _hash_of(path)).with_suffix(suffix)

    def _shown_upload(self, row: Mapping[str, Any]) -> dict[str, Any]:
        empty = dict.fromkeys(_FACTS, "")
        address = f"/api/v1/styles/{row['id']}/preview"
        return {"id": row["id"], "license": ""} | empty | {"title": row["title"], "origin": "upload", "preview": address}

    def _shown_file(self, name: str, path: Path) -> dict[str, Any]:
        origin = "shipped" if path.parent == _SHIPPED else "named"
        facts = self._facts_of(path)
        shown = {fact: facts.get(fact, "") for fact in _FACTS}
        return (
            {"id": name, "license": shown["licence"]} | shown | {"origin": origin, "preview": f"/api/v1/styles/{name}/preview"}
        )

    def _facts_of(self, path: Path) -> dict[str, str]:
        try:
            key = (str(path), path.stat().st_mtime)
            if key not in self._facts:
                with safe_open(path, "np") as opened:
                    self._facts[key] = dict(opened.metadata() or {})
            return self._facts[key]
        except (OSError, SafetensorError):
            return {"title": "cannot be read; remove it and add it again"}


def _hash_of(path: Path) -> str:
    stat = path.stat()
    return hashlib.sha256(f"{path} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()


def _in(folder: Path) -> dict[str, Path]:
    found = {path.name.removesuffix(_SUFFIX): path for path in sorted(folder.glob(f"*{_SUFFIX}"))}
    return {name: path for name, path in found.items() if NAME.fullmatch(name)}


def _searched(style: Mapping[str, Any]) -> str:
    return " ".join(str(style[name]) for name in ("id", "title", "artist", "date")).lower()

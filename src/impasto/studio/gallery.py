"""Uploads and results: database rows, disk quota and clean-up."""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from impasto.errors import ImpastoError
from impasto.studio.database import Database, Row
from impasto.studio.events import Hub
from impasto.studio.jobs import StateError
from impasto.studio.settings import Limits
from impasto.studio.storage import Folder

_ACTIVE = "('queued', 'running', 'paused')"
_CAN_CONTINUE = (
    "EXISTS (SELECT 1 FROM jobs WHERE kind = 'video' AND checkpoint IS NOT NULL AND state IN ('failed', 'cancelled') "
    "AND instr(request, uploads.id))"
)
"""SQL condition: the upload is the clip of a stopped painting that can still be continued."""


class DiskFullError(ImpastoError):
    """The disk quota is reached (HTTP 507)."""


@dataclass
class Gallery:
    """Uploads and results in SQLite, with their files in a folder."""

    database: Database
    folder: Folder
    hub: Hub
    limits: Limits

    # ------------------------------------------------------------------------------------------------ uploads

    def add_upload(self, identity: str, facts: Mapping[str, Any]) -> Row:
        """Add an upload (a picture or a clip). Its files already exist."""
        values = {name: facts[name] for name in ("name", "width", "height", "bytes", "disk", "sha256")}
        values |= {"id": identity, "notes": json.dumps(facts["notes"]), "created": time.time()}
        values["clip"] = json.dumps(facts["clip"]) if "clip" in facts else None
        with self.database.transaction():
            self.database.insert("uploads", values)
            return self.upload(identity)

    def upload(self, identity: str) -> Row:
        """Return an upload, which may be a clip.

        Raises:
            LookupError: The upload does not exist.
        """
        row = self.database.row("SELECT * FROM uploads WHERE id = ?", (identity,))
        if row is None:
            raise LookupError(f"there is no {_kind_of(identity)} {identity}")
        return row

    def has_upload(self, identity: str) -> bool:
        """Return whether an upload exists."""
        return self.database.row("SELECT 1 FROM uploads WHERE id = ?", (identity,)) is not None

    def uploads(self, limit: int, after: int | None, kind: Literal["u", "c"] = "u") -> list[Row]:
        """Return pictures ("u") or clips ("c"), newest first."""
        statement = (
            "SELECT * FROM uploads WHERE substr(id, 1, 1) = :kind AND (:after IS NULL OR number < :after) "
            "ORDER BY number DESC LIMIT :limit"
        )
        return self.database.rows(statement, {"kind": kind, "after": after, "limit": limit})

    def delete_upload(self, identity: str) -> None:
        """Delete an upload.

        Raises:
            StateError: A job or a style needs it.
        """
        with self.database.transaction():
            self.upload(identity)
            if self.database.row("SELECT 1 FROM styles WHERE upload = ?", (identity,)):
                raise StateError(f"upload {identity} is one of your styles; delete the style first")
            if self._is_needed(identity):
                raise StateError(f"an unfinished job needs {_kind_of(identity)} {identity}; cancel it first")
            self.database.run("DELETE FROM uploads WHERE id = ?", (identity,))
        self.folder.remove("uploads", identity)
        self.hub.gone(_kind_of(identity), identity)

    def _is_needed(self, identity: str) -> bool:
        statement = f"SELECT 1 FROM jobs WHERE state IN {_ACTIVE} AND instr(request || coalesce(more, ''), ?) LIMIT 1"
        return self.database.row(statement, (identity,)) is not None

    # ------------------------------------------------------------------------------------------------ results

    def result(self, identity: str) -> Row:
        """Return a result.

        Raises:
            LookupError: The result does not exist.
        """
        return self.database.get("results", identity)

    def results(self, limit: int, after: int | None, favorite: bool | None, draft: bool | None, q: str) -> list[Row]:
        """Return results, newest first."""
        statement = (
            "SELECT * FROM results WHERE (:after IS NULL OR number < :after) "
            "AND (:favorite IS NULL OR favourite = :favorite) AND (:draft IS NULL OR draft = :draft) "
            "AND (:q = '' OR instr(lower(title || ' ' || styles), :q)) "
            "ORDER BY number DESC LIMIT :limit"
        )
        values = {"after": after, "limit": limit, "favorite": favorite, "draft": draft, "q": q.lower()}
        return self.database.rows(statement, values)

    def change_result(self, identity: str, changes: Mapping[str, Any]) -> Row:
        """Change the title, the favorite flag or the draft flag of a result."""
        self.result(identity)
        if changes:
            columns = {"favorite": "favourite"}
            assignments = ", ".join(f"{columns.get(name, name)} = :{name}" for name in changes)
            self.database.run(f"UPDATE results SET {assignments} WHERE id = :id", {**changes, "id": identity})
        return self.result(identity)

    def delete_result(self, identity: str) -> None:
        """Delete a result. Its job stays, without a result."""
        with self.database.transaction():
            self.result(identity)
            if self._is_needed(identity):
                raise StateError(f"an unfinished job needs result {identity}; cancel it first")
            self.database.run("DELETE FROM results WHERE id = ?", (identity,))
            self.database.run("UPDATE jobs SET result = NULL WHERE result = ?", (identity,))
        self.folder.remove("results", identity)
        self.hub.gone("result", identity)

    # ------------------------------------------------------------------------------------------------ the disk

    def used(self) -> int:
        """Return the number of bytes that uploads and results use."""
        (row,) = self.database.rows(
            "SELECT (SELECT coalesce(sum(disk), 0) FROM uploads) + (SELECT coalesce(sum(disk), 0) FROM results) AS bytes"
        )
        return int(row["bytes"])

    def make_room(self, wanted: int, *, keep: str = "") -> None:
        """Delete drafts and then unused uploads, oldest first, until ``wanted`` more bytes fit into the quota.

        Args:
            wanted: Number of bytes.
            keep: Text, such as a request. Objects whose ids it contains are not deleted.

        Raises:
            DiskFullError: There is not enough to delete.
        """
        if self.used() + wanted <= self.limits.disk_bytes:
            return
        for kind, row in self._not_needed(older_than=time.time() - 60):
            if row["id"] in keep:
                continue
            self._drop(kind, row["id"])
            if self.used() + wanted <= self.limits.disk_bytes:
                return
        raise DiskFullError(
            f"uploads and results use {self.used() / 1e6:,.0f} MB of {self.limits.disk_bytes / 1e6:,.0f} MB; "
            "delete some results first"
        )

    def check_free(self, wanted: int, what: str) -> None:
        """Check that ``wanted`` more bytes fit on the disk itself. ``what`` begins the message.

        Raises:
            DiskFullError: They do not fit.
        """
        free = shutil.disk_usage(self.folder.root).free
        if wanted > free:
            raise DiskFullError(
                f"{what}, but only {free / 1e6:,.0f} MB are free on the studio's disk; free some space or use a shorter clip"
            )

    def clean_up(self) -> int:
        """Delete expired drafts, unused uploads and draft jobs. Return the number of deleted drafts and uploads."""
        old = time.time() - self.limits.draft_seconds
        found = self._not_needed(older_than=old)
        for kind, row in found:
            self._drop(kind, row["id"])
        for row in self.database.rows(
            "SELECT id FROM jobs WHERE draft AND state IN ('done', 'failed', 'cancelled') AND created < ?", (old,)
        ):
            self.database.run("DELETE FROM jobs WHERE id = ?", (row["id"],))
            self.folder.remove("work", row["id"])
        return len(found)

    def _not_needed(self, older_than: float) -> list[tuple[str, Row]]:
        drafts = self.database.rows(
            "SELECT id FROM results WHERE draft AND NOT favourite AND created < ? ORDER BY number", (older_than,)
        )
        unused = self.database.rows(
            "SELECT id FROM uploads WHERE created < ? AND id NOT IN (SELECT upload FROM styles) AND id NOT IN "
            f"(SELECT upload FROM results WHERE upload IS NOT NULL AND NOT draft) AND NOT {_CAN_CONTINUE} ORDER BY number",
            (older_than,),
        )
        return [("result", row) for row in drafts] + [("upload", row) for row in unused]

    def _drop(self, kind: str, identity: str) -> None:
        try:
            (self.delete_result if kind == "result" else self.delete_upload)(identity)
        except (StateError, LookupError):
            return

    def sweep(self) -> int:
        """Delete orphaned files and return their number."""

        def identities(table: str) -> set[str]:
            return {row["id"] for row in self.database.rows(f"SELECT id FROM {table}")}

        return self.folder.sweep(identities("uploads"), identities("results"), identities("jobs"))


def _kind_of(identity: str) -> str:
    return "clip" if identity.startswith("c_") else "upload"


# ---------------------------------------------------------------------------------------------------- format of the API


def shown_upload(row: Row) -> dict[str, Any]:
    """Return an upload in the format of the API."""
    names = ("id", "name", "width", "height", "bytes", "created", "sha256")
    here = f"/api/v1/uploads/{row['id']}"
    return {name: row[name] for name in names} | {
        "notes": json.loads(row["notes"]),
        "image": f"{here}/image",
        "thumb": f"{here}/thumb",
    }


def shown_clip(row: Row) -> dict[str, Any]:
    """Return a clip in the format of the API."""
    names = ("id", "name", "width", "height", "bytes", "created", "sha256")
    here = f"/api/v1/clips/{row['id']}"
    facts: dict[str, Any] = {name: row[name] for name in names} | json.loads(row["clip"])
    return facts | {"image": f"{here}/image", "thumb": f"{here}/thumb"}


def shown_result(row: Row, *, is_photo_there: bool = True) -> dict[str, Any]:
    """Return a result in the format of the API."""
    names = ("id", "job", "kind", "created", "width", "height", "bytes", "title", "seconds")
    here = f"/api/v1/results/{row['id']}"
    return {name: row[name] for name in names} | {
        "favorite": bool(row["favourite"]),
        "favourite": bool(row["favourite"]),
        "draft": bool(row["draft"]),
        "upload": row["upload"] if is_photo_there and row["kind"] != "video" else None,
        "clip": row["upload"] if is_photo_there and row["kind"] == "video" else None,
        "video": f"{here}/video" if row["kind"] == "video" else None,
        "styles": json.loads(row["styles"]),
        "image": f"{here}/image",
        "thumb": f"{here}/thumb",
    }

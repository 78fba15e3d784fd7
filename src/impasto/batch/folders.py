"""The folder of the results of a batch: on a disk of this machine, or, in :mod:`impasto.batch.remote`, elsewhere."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from impasto import images
from impasto.weights.files import sha256_of


class Folder(Protocol):
    """A folder of results. Names are those of files in it."""

    @property
    def path(self) -> Path:
        """Where workers write results: the folder itself, or a temporary folder from which the results are uploaded."""

    def has(self, name: str) -> bool:
        """Return whether there is a file of this name."""

    def record(self, name: str) -> Mapping[str, object] | None:
        """Return the record of a picture, or None if it has none.

        Raises:
            ImageFileError: it cannot be read, or is not a picture.
        """

    def holds(self, name: str, line: Mapping[str, Any]) -> bool:
        """Return whether the result of a line of the manifest is still there, unchanged."""


class LocalFolder:
    """A folder on a disk of this machine.

    Args:
        path: the folder, which need not exist.

    Example:
        >>> LocalFolder(Path()).has("photo.jpg")
        True
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def has(self, name: str) -> bool:
        """Return whether there is a file of this name, or a link."""
        return os.path.lexists(self.path / name)

    def record(self, name: str) -> Mapping[str, object] | None:
        """Return the record of a picture."""
        return images.read_record(self.path / name)

    def holds(self, name: str, line: Mapping[str, Any]) -> bool:
        """Return whether a result has the hash that is in its line of the manifest."""
        with suppress(OSError, ValueError):
            return sha256_of(self.path / name) == line.get("output_sha256")
        return False

"""The manifest: one line of JSON for each item that was painted, failed or was skipped. Lines are only appended.

A result is written before its line, so a killed run loses at most the items that were being painted. After a crash, the last
line may be incomplete. It is then ignored.
"""

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

from impasto.batch.folders import Folder, LocalFolder
from impasto.batch.methods import weights_of
from impasto.batch.work import Item, Outcome, Settings
from impasto.errors import ImageFileError, ImpastoError
from impasto.styles.former_names import FORMER_NAMES
from impasto.styles.named import known_styles
from impasto.weights.files import sha256_of

NAME = "manifest.jsonl"
_BLOCK = 4096


class Manifest:
    """The manifest in a folder of results.

    Attributes:
        path: its path.
        finished: for each finished result, by name, the position in the file where its last line starts. For a million
            results, the lines themselves would take gigabytes.

    Args:
        folder: the folder of the results, which must exist.

    Raises:
        ImageFileError: the manifest cannot be read or written.

    Example:
        >>> from impasto.batch.plan import make_folder
        >>> make_folder(Path("painted"))
        >>> manifest = Manifest(Path("painted"))
        >>> manifest.append({"state": "done", "output": "a.png"})
        >>> manifest.close()
        >>> manifest = Manifest(Path("painted"))  # read it again
        >>> sorted(manifest.finished)
        ['a.png']
        >>> manifest.close()
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        if os.path.lexists(self.path) and not self.path.is_file():  # reading a device or a pipe might never end
            raise ImageFileError(f"'{self.path}' is not a file, so it cannot be the manifest; give another folder")
        try:
            self._file = self.path.open("a+b", buffering=0)
            self.finished = {line["output"]: start for start, line in self._lines() if line.get("state") == "done"}
            self._end_line()
        except OSError as error:
            raise self._cannot_write(error) from error

    def last(self, name: str) -> dict[str, Any] | None:
        """Return the last line of a result that was done before this run, or None if there is none."""
        if name not in self.finished:
            return None
        self._file.seek(self.finished[name])
        text = b""
        while b"\n" not in text and (more := self._file.read(_BLOCK)):  # the file has no buffer, so readline would read bytes
            text += more
        return _read(text.partition(b"\n")[0])

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a line.

        Raises:
            ImageFileError: the manifest cannot be written.
        """
        data = (json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        try:
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # only a full disk cuts a line
        except OSError as error:
            raise self._cannot_write(error) from error

    def flush(self) -> None:
        """Write what is not written yet. On a disk, each line is written when it is added."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the complete lines and their positions."""
        start = 0
        with self.path.open("rb") as file:  # with a buffer, which the other one must not have
            for text in file:
                if line := _read(text):
                    yield start, line
                start += len(text)

    def _end_line(self) -> None:
        """Add a line break after an incomplete line, so that the next line is separate."""
        end = self._file.seek(0, os.SEEK_END)
        if end:
            self._file.seek(end - 1)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")

    def _cannot_write(self, error: OSError) -> ImageFileError:
        reason = error.strerror or error
        return ImageFileError(f"'{self.path}' cannot be written ({reason}); free some space or choose another folder")


def _read(text: bytes) -> dict[str, Any] | None:
    """Return a line, or None if it is empty or incomplete."""
    with suppress(ValueError):
        line = json.loads(text)
        if isinstance(line, dict) and isinstance(line.get("output"), str):
            return line
    return None


class Facts:
    """Facts that determine results. Hashes of styles, weights and photos are computed once.

    Args:
        settings: what all items share.
        folder: the folder of the results. Default: the folder of each item's output.

    Example:
        >>> from impasto.options import InstantOptions
        >>> item = Item(content="photo.jpg", style="starry-night", output="a.png", options=InstantOptions())
        >>> len(Facts(Settings(method="instant")).of(item)["content_sha256"])
        64
    """

    def __init__(self, settings: Settings, folder: Folder | None = None) -> None:
        self.settings, self._folder = settings, folder
        run = settings.run
        self._shared = {
            "method": settings.method,
            "run": {"precision": run.precision, "seed": run.seed, "engine": settings.engine},
            "saved": {"bits": settings.bits, "quality": settings.quality, "keep_gps": settings.keep_gps},
        }
        self._style_sha256 = cache(partial(_style_sha256, method=settings.method))
        self._weights = cache(partial(weights_of, settings.method))
        self._content_sha256 = cache(lambda content: sha256_of(Path(content)))

    def of(self, item: Item, content_sha256: str = "") -> dict[str, Any]:
        """Return the facts that determine a result, as JSON values: hashes of inputs and weights, method and options."""
        facts = {
            "content_sha256": content_sha256 or self._content_sha256(item.content),
            "style_sha256": self._style_sha256(item.style),
            "weights": self._weights(item.style, item.options),
            "options": asdict(item.options),
        }
        return json.loads(json.dumps(facts | self._shared))  # type: ignore[no-any-return]

    def are_done(self, item: Item, line: Mapping[str, Any] | None) -> bool:
        """Return whether an item is finished: its inputs and options equal those in its line, and its result is unchanged."""
        output = Path(item.output)
        folder = self._folder or LocalFolder(output.parent)
        if line is None or not folder.has(output.name):
            return False
        try:
            facts = self.of(item)
        except (ImpastoError, OSError, ValueError):
            return False
        return all(line.get(name) == value for name, value in facts.items()) and folder.holds(output.name, line)

    def line_of(self, outcome: Outcome) -> dict[str, Any]:
        """Return the line of an outcome."""
        item = outcome.item
        line = {"state": outcome.state, "output": os.path.basename(item.output), "content": item.content, "style": item.style}
        if outcome.state == "skipped":
            return line
        rounded: dict[str, Any] = {"seconds": round(outcome.seconds, 3)}
        if outcome.state == "failed":
            return line | rounded | {"error": outcome.error}
        facts = {}
        with suppress(ImpastoError, OSError):  # a style was removed meanwhile; then the item is painted again next time
            facts = self.of(item, outcome.content_sha256)
        more: dict[str, Any] = {"notes": list(outcome.notes)} if outcome.notes else {}
        if outcome.output_version:
            more["output_version"] = outcome.output_version
        return line | rounded | {"output_sha256": outcome.output_sha256} | facts | more


def _style_sha256(style: str, method: str) -> str:
    """Return the hash of a style's file. Return an empty string for a brush, because the hashes of the weights include it."""
    if method == "brush":
        return ""
    if os.path.isfile(style):
        return sha256_of(Path(style))
    return sha256_of(known_styles()[FORMER_NAMES.get(style, style)])

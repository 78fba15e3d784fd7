"""The plan of a batch: which pictures to paint, and the name of each result."""

import os
import time
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from impasto.batch.folders import Folder
from impasto.batch.pairs import Pair
from impasto.batch.work import Item
from impasto.errors import ImageFileError, ImpastoError
from impasto.runtime.atomic import try_writing
from impasto.runtime.file_names import numbered
from impasto.weights.files import sha256_of

_STALE_SECONDS = 3600


@dataclass(frozen=True)
class Plan:
    """The pictures to paint.

    Attributes:
        items: the pictures, in the order of painting.
        repeated: number of repeated pairs, which are painted only once.

    Example:
        >>> Plan(items=()).repeated
        0
    """

    items: tuple[Item, ...]
    repeated: int = 0


@dataclass
class _Names:
    """Generator of names for results. A name must not be in use by another result, an input or a file of another program.

    Attributes:
        folder: the folder of the results.
        suffix: the suffix of the results.
        earlier: the names of the results of earlier runs.
        inputs: identities of the input files.
    """

    folder: Folder
    suffix: str
    earlier: Container[str]
    inputs: set[Any]
    taken: set[str] = field(default_factory=set)
    numbering: dict[str, Iterator[str]] = field(default_factory=dict)

    def next_name(self, pair: Pair) -> str:
        """Name a result after its content and style. If the name is in use, add a number."""
        stem = f"{Path(pair.content).stem}-{Path(pair.style).stem}"
        names = self.numbering.setdefault(stem.casefold(), numbered(stem, self.suffix))
        name = next(each for each in names if self._is_free(each, pair))
        self.taken.add(name.casefold())
        return name

    def _is_free(self, name: str, pair: Pair) -> bool:
        if name.casefold() in self.taken or self.inputs & _identities(self.folder.path / name):
            return False
        return not self.folder.has(name) or name in self.earlier or self._is_painted_from(name, pair.content)

    def _is_painted_from(self, name: str, content: str) -> bool:
        """Return whether a result was painted from a photo. A killed run may leave a result that is not in the manifest."""
        try:
            record: Any = self.folder.record(name)
            return bool(record["content"]["sha256"] == sha256_of(Path(content)))
        except (ImpastoError, OSError, KeyError, TypeError):
            return False


def planned(pairs: Sequence[Pair], folder: Folder, suffix: str, earlier: Container[str]) -> Plan:
    """Name the result of each pair, and leave out repeated pairs.

    Args:
        pairs: contents and styles.
        folder: the folder of the results.
        suffix: the suffix of the results, such as ``".png"``.
        earlier: the names of the results of earlier runs, which may be overwritten.

    Returns:
        The items, in the order of the pairs.

    Example:
        >>> from impasto.batch.folders import LocalFolder
        >>> from impasto.options import InstantOptions
        >>> pair = Pair("photo.jpg", "starry-night", InstantOptions())
        >>> plan = planned([pair, pair], LocalFolder(Path("painted")), ".png", ())
        >>> [Path(item.output).name for item in plan.items], plan.repeated
        (['photo-starry-night.png'], 1)
    """
    inputs = set().union(*map(_identities, _input_files(pairs)))
    names, items, seen = _Names(folder, suffix, earlier, inputs), [], set()
    for pair in pairs:
        key = (pair.content, pair.style, pair.options)
        if key not in seen:
            seen.add(key)
            output = str(folder.path / names.next_name(pair))
            item = Item(content=pair.content, style=pair.style, output=output, options=pair.options, source=pair.source)
            items.append(item)
    return Plan(tuple(items), len(pairs) - len(items))


def make_folder(folder: Path) -> None:
    """Create the folder of the results, and check that files can be written to it.

    Raises:
        ImageFileError: it is a file, or cannot be created or written.

    Args:
        folder: the folder, which may exist.

    Example:
        >>> make_folder(Path("photo.jpg"))
        Traceback (most recent call last):
        impasto.errors.ImageFileError: ...
    """
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise ImageFileError(f"output '{folder}' is a file, but a batch has many results; give the name of a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try_writing(folder / "trial")
        for part in folder.glob(".impasto-*.part"):  # left by a killed run; younger ones may belong to another run
            if time.time() - part.stat().st_mtime > _STALE_SECONDS:
                part.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise ImageFileError(f"folder '{folder}' cannot be created or written ({reason}); give another folder") from error


def _input_files(pairs: Sequence[Pair]) -> Iterable[str]:
    return dict.fromkeys(name for pair in pairs for name in (pair.content, pair.style))


def _identities(path: str | Path) -> set[Any]:
    """Return the resolved path and, if the file exists, its device and inode. Two paths to the same file share a value."""
    try:
        found = os.stat(path)
        return {os.path.realpath(path), (found.st_dev, found.st_ino)} if found.st_ino else {os.path.realpath(path)}
    except (OSError, ValueError):
        return {os.path.realpath(path)}

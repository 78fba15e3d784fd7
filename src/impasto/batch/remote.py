"""Results on other file systems, such as ``s3://bucket/painted``, through fsspec, which is loaded on first use.

Workers write into a temporary folder on this machine, and each result is then uploaded to the remote folder. A file appears
there completely or not at all: it is written under a temporary name and renamed, or, if the file system cannot rename (object
stores), it is a single upload.
"""

import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from impasto import images
from impasto.batch.manifest import NAME, Manifest
from impasto.batch.work import is_disk_full
from impasto.errors import ImageFileError, OptionError
from impasto.runtime.devices import seconds_now
from impasto.runtime.temporary import temporary_folder

ResultT = TypeVar("ResultT")

_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "obs", "cos", "tos", "r2"})
"""Protocols of object stores. They need no folders, and creating one at a mistyped URL could create a bucket of that name."""
_VERSIONS = (
    "ETag",
    "etag",
    "md5Hash",
    "content_md5",
    "generation",
    "mtime",
    "LastModified",
    "last_modified",
    "modified",
    "modify",
    "modificationTime",
    "created",
)
"""Keys of a file's listing whose values change whenever the file is written. File systems have different ones."""
_PART = ".impasto-*.part"
_PAUSES_SECONDS = (0.5, 2.0)
_LASTING = (PermissionError, NotImplementedError)
"""Errors for which there is no second try."""
_SHORTEST_SECONDS = 2.0
_LARGEST_SHARE = 0.05
"""The minimum time between two uploads of the manifest, and the maximum share of the time that these uploads take."""
_PASSWORD = re.compile(r"(://[^/@:]*):[^/]*@")


def is_url(word: str) -> bool:
    """Return whether a word names a place for fsspec.

    Example:
        >>> is_url("s3://bucket/painted"), is_url("C:/painted"), is_url("painted")
        (True, False, False)
    """
    return "://" in word


def without_password(url: str) -> str:
    """Return a URL to print.

    Example:
        >>> without_password("sftp://anna:secret@host/painted")
        'sftp://anna:***@host/painted'
    """
    return _PASSWORD.sub(r"\1:***@", url)


def place_of(url: str) -> "Path | RemoteFolder":
    """Return the folder that a URL names: a path if it is on a disk of this machine. Nothing is written.

    Raises:
        OptionError: fsspec or the package of the protocol is not installed, or there is no such protocol.
        ImageFileError: the place cannot be reached.

    Args:
        url: such as ``s3://bucket/painted``.

    Example:
        >>> place_of("file:///tmp/painted").name, str(place_of("memory://painted"))
        ('painted', 'memory://painted')
    """
    shown = without_password(url)
    try:
        fsspec = import_module("fsspec")
    except ImportError as error:
        raise OptionError(
            f"-o {shown} needs fsspec; pip install 'impasto[remote]', or give a folder of this machine"
        ) from error
    try:
        files, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise OptionError(
            f"-o {shown} needs another package ({_reason(error)}); install it with pip, or give a folder of this machine"
        ) from error
    except ValueError as error:
        raise OptionError(f"-o is {shown!r}, which fsspec does not know ({_reason(error)}); correct it") from error
    except Exception as error:  # each file system has its own
        raise ImageFileError(f"'{shown}' cannot be reached ({_reason(error)}); check its name and your access to it") from error
    return Path(path) if type(files) is fsspec.get_filesystem_class("file") else RemoteFolder(files, path, shown)


class RemoteFolder:
    """A :class:`impasto.batch.folders.Folder` on a file system of fsspec. Open it with :meth:`opened` to write to it.

    Threads may use it at the same time. File systems that are not asynchronous, such as FTP, get one call after the other.

    Args:
        files: the file system.
        path: the path of the folder there.
        shown: the URL to print.

    Attributes:
        path: the temporary folder on this machine.
        threads: how many files may be written at the same time.
    """

    path: Path

    def __init__(self, files: Any, path: str, shown: str) -> None:
        self._files, self._place, self._shown = files, path.rstrip("/"), shown.rstrip("/")
        self.threads = 8 if files.async_impl else 1
        protocols = (files.protocol,) if isinstance(files.protocol, str) else files.protocol
        self._is_store = not _STORES.isdisjoint(protocols)
        generic = import_module("fsspec").AbstractFileSystem.mv  # copies and deletes
        self._renames = not self._is_store and type(files).mv is not generic
        self._versions: dict[str, str] = {}
        self._turn = None if files.async_impl else Lock()

    def __str__(self) -> str:
        return self._shown

    @contextmanager
    def opened(self) -> Iterator["RemoteFolder"]:
        """Create the folder, check that it can be written, and list it. At the end, delete the temporary folder.

        Raises:
            ImageFileError: it cannot be written.
        """
        self._files.invalidate_cache()
        with self._in_words("written"):
            self._try_writing()
            entries = self._files.ls(self._place, detail=True) if self._files.isdir(self._place) else []
            listed = {str(each["name"]).rstrip("/").rpartition("/")[2]: each for each in entries}
        for name in [each for each in listed if fnmatch(each, _PART)]:  # left by a killed run
            del listed[name]
            with suppress(Exception):
                self._files.rm_file(self._at(name))
        self._versions = {name: _version(entry) for name, entry in listed.items()}
        with temporary_folder("impasto-batch-") as self.path:
            yield self

    def has(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        return name in self._versions

    def record(self, name: str) -> Mapping[str, object] | None:
        """Return the record of a picture."""
        copy = self.path / f"record{Path(name).suffix}"
        self.get(name, copy)
        try:
            return images.read_record(copy)
        finally:
            copy.unlink(missing_ok=True)

    def holds(self, name: str, line: Mapping[str, Any]) -> bool:
        """Return whether a result matches its line of the manifest, by version or, if the versions differ, by hash."""
        version = self._versions.get(name)
        if version is None:
            return False
        if version and version == line.get("output_version"):
            return True
        with suppress(ImageFileError):
            data = self._tried("read", name, lambda: self._files.cat_file(self._at(name)))
            return sha256(data).hexdigest() == line.get("output_sha256")
        return False

    def version(self, name: str) -> str:
        """Return what changes whenever a file is written, such as its entity tag; empty if there is none.

        Raises:
            ImageFileError: it cannot be read.
        """
        return self._tried("read", name, lambda: self._version_now(name))

    def get(self, name: str, local: Path) -> None:
        """Copy a file to this machine.

        Raises:
            ImageFileError: it cannot be read.
        """
        self._tried("read", name, lambda: self._files.get_file(self._at(name), str(local)))

    def put(self, local: Path) -> str:
        """Copy a file of this machine into the folder, and return its version.

        Raises:
            ImageFileError: it cannot be written.
        """
        return self._tried("written", local.name, lambda: self._put(local))

    def _tried(self, done: str, name: str, action: Callable[[], ResultT]) -> ResultT:
        """Use the file system, up to three times."""
        with self._in_words(done, name):
            for pause in _PAUSES_SECONDS:
                try:
                    return self._in_turn(action)
                except _LASTING:
                    raise
                except Exception as error:  # each file system has its own
                    if is_disk_full(error):
                        raise
                    time.sleep(pause)
            return self._in_turn(action)

    def _in_turn(self, action: Callable[[], ResultT]) -> ResultT:
        if self._turn is None:
            return action()
        with self._turn:
            return action()

    def _version_now(self, name: str) -> str:
        self._files.invalidate_cache(self._place)  # some file systems answer from an earlier listing
        try:
            return _version(self._files.info(self._at(name)))
        except FileNotFoundError:
            return ""

    def _put(self, local: Path) -> str:
        place = self._at(local.name)
        if self._renames:
            part = self._at(_part())
            try:
                self._files.put_file(str(local), part)
                self._rename(part, place)
            except BaseException:
                with suppress(Exception):
                    self._files.rm_file(part)
                raise
        else:
            self._files.put_file(str(local), place)
        self._versions[local.name] = self._version_now(local.name)
        return self._versions[local.name]

    def _rename(self, part: str, place: str) -> None:
        try:
            self._files.mv(part, place)
        except Exception:
            if not self._files.exists(place):
                raise
            aside = self._at(_part())
            self._files.mv(place, aside)  # some file systems rename only to a name that is free
            try:
                self._files.mv(part, place)
            except BaseException:
                with suppress(Exception):
                    self._files.mv(aside, place)
                raise
            with suppress(Exception):
                self._files.rm_file(aside)

    def _try_writing(self) -> None:
        if not self._is_store:
            self._files.makedirs(self._place, exist_ok=True)
        trial = self._at(_part())
        self._files.pipe_file(trial, b"trial")
        with suppress(Exception):  # deleting may be forbidden
            self._files.rm_file(trial)

    def _at(self, name: str) -> str:
        return f"{self._place}/{name}"

    @contextmanager
    def _in_words(self, done: str, name: str = "") -> Iterator[None]:
        """Turn an error of the file system into a sentence."""
        try:
            yield
        except Exception as error:
            place = f"{self}/{name}" if name else str(self)
            raise ImageFileError(
                f"'{place}' cannot be {done} ({_reason(error)}); check its name and your access to it, or give another folder"
            ) from error


class RemoteManifest(Manifest):
    """A manifest in a remote folder: a copy on this machine, which is uploaded every few seconds.

    A killed run loses the lines since the last upload, so the next run paints their pictures again.

    Args:
        folder: the folder, which is open.
        clock: the time in seconds.

    Raises:
        ImageFileError: the manifest cannot be read.
    """

    def __init__(self, folder: RemoteFolder, clock: Callable[[], float] = seconds_now) -> None:
        self._folder, self._clock = folder, clock
        self._version = folder.version(NAME)  # first, so that what another run writes meanwhile is noticed
        if self._version or folder.has(NAME):
            folder.get(NAME, folder.path / NAME)
        super().__init__(folder.path)
        self._due, self._is_new = clock() + _SHORTEST_SECONDS, False

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a line, and upload the manifest if an upload is due."""
        super().append(line)
        self._is_new = True
        if self._clock() >= self._due:
            self.flush()

    def flush(self) -> None:
        """Upload the manifest.

        Raises:
            ImageFileError: it cannot be written, or another run has written it.
        """
        if not self._is_new:
            return
        started = self._clock()
        if self._folder.version(NAME) != self._version:
            raise ImageFileError(f"another run has written '{self._folder}/{NAME}'; run one batch at a time for each folder")
        self._version, self._is_new = self._folder.put(self.path), False
        ended = self._clock()
        self._due = ended + max(_SHORTEST_SECONDS, (ended - started) / _LARGEST_SHARE)


def _part() -> str:
    return _PART.replace("*", secrets.token_hex(6))


def _version(entry: Mapping[str, Any]) -> str:
    """Return the size of a file and the value that changes whenever it is written; empty if there is no such value."""
    found = next((str(entry[name]) for name in _VERSIONS if entry.get(name)), "")
    return f"{entry.get('size')} {found}" if found else ""


def _reason(error: Exception) -> str:
    if isinstance(error, NotImplementedError):
        return "it can only be read"
    lines = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return without_password(lines[0])[:200].rstrip(".") if lines else type(error).__name__

"""The data folder of a studio: file names, clean-up and lock."""

import os
import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

from impasto.errors import ImageFileError, OptionError
from impasto.runtime.locks import try_lock

IDENTITY = re.compile(r"[ujrsc]_[0-9a-f]{16}")
Kind = Literal["u", "j", "r", "s", "c"]


def new_identity(kind: Kind) -> str:
    """Return a new random id (64 bits) for an upload, a job, a result, a style or a clip."""
    return f"{kind}_{secrets.token_hex(8)}"


class Folder:
    """The data folder. All ids come from :func:`new_identity`, so a request cannot name a path.

    ::

        studio.db            the database
        uploads/ID           the original file, used only for painting
        uploads/ID.jpg       the picture for display: upright, small, without metadata
        uploads/ID.thumb.jpg
        uploads/ID.map-N.png the suggested map of an uploaded style, with at most N colors
        uploads/ID           also clips; ID.jpg and ID.thumb.jpg are a frame of the clip
        results/ID.png       the result, without metadata; ID.jpg for drafts
        results/ID.thumb.jpg
        results/ID.brush     a trained brush; results/ID.png shows samples
        results/ID.onnx      the graph of a small brush, for the webcam page
        results/ID.mp4       a painted clip, or ID.mkv; results/ID.png is one of its frames
        work/ID.jpg          the newest preview of a job
        work/ID.npy          the checkpoint of a painting; ID.pt for a training
        work/ID.video/       the painted segments of a clip
        styles/NAME-HASH.webp  the preview of a named style of the user; .jpg: its picture; .map-N.png: its suggested map
        made/                temporary files for downloads
    """

    def __init__(self, root: Path) -> None:
        """Create the folders. Only this user can read them.

        Raises:
            OptionError: The folders cannot be created.
        """
        self.root = root
        try:
            for name in ("uploads", "results", "work", "styles", "made"):
                (root / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            os.chmod(root, 0o700)
            probe = root / "made" / ".probe"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise OptionError(
                f"--data '{root}' cannot be used ({error.strerror or error}); give a folder that you can write to"
            ) from error

    @property
    def database(self) -> Path:
        """Path of the database."""
        return self.root / "studio.db"

    def upload(self, identity: str, suffix: str = "") -> Path:
        """Return the path of an upload, or of a picture derived from the upload."""
        return self.root / "uploads" / (_checked(identity) + suffix)

    def result(self, identity: str, suffix: str) -> Path:
        """Return the path of a result."""
        return self.root / "results" / (_checked(identity) + suffix)

    def work(self, identity: str, suffix: str) -> Path:
        """Return the path of a job's preview or checkpoint."""
        return self.root / "work" / (_checked(identity) + suffix)

    def style_preview(self, name: str, sha256: str) -> Path:
        """Return the path of the preview of a user's named style."""
        return self.root / "styles" / f"{name}-{sha256[:16]}.webp"

    def made(self, suffix: str) -> Path:
        """Return a new path for a download."""
        return self.root / "made" / f"{secrets.token_hex(8)}{suffix}"

    def has_work(self, identity: str) -> bool:
        """Return whether a job has files: previews, checkpoints or segments."""
        return any((self.root / "work").glob(f"{_checked(identity)}*"))

    def remove(self, folder: Literal["uploads", "results", "work"], identity: str) -> None:
        """Delete all files that belong to an id."""
        for path in (self.root / folder).glob(f"{_checked(identity)}*"):
            with suppress(OSError):
                _delete(path)

    def sweep(self, uploads: set[str], results: set[str], jobs: set[str]) -> int:
        """Delete orphaned files, which a crash can leave behind. Return the number of deleted files."""
        count = 0
        known = {"uploads": uploads, "results": results, "work": jobs, "made": set[str]()}
        for folder, identities in known.items():
            for path in (self.root / folder).iterdir():
                if path.name.split(".")[0] not in identities:
                    with suppress(OSError):
                        _delete(path)
                        count += 1
        return count


def _delete(path: Path) -> None:
    """Delete a file, or the folder of a clip's segments."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _checked(identity: str) -> str:
    if not IDENTITY.fullmatch(identity):
        raise ImageFileError(f"{identity!r} is not an id of this studio")
    return identity


class Lock:
    """Lock that lets only one studio use a data folder. The system releases the lock when the process ends."""

    def __init__(self, root: Path) -> None:
        self.path = root / "lock"
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        """Lock the folder.

        Raises:
            OptionError: Another studio uses the folder, or the lock file cannot be opened.
        """
        try:
            self._file = self.path.open("ab")
        except OSError as error:
            raise OptionError(f"--data '{self.path.parent}' cannot be used ({error.strerror or error}); free some space "
                              "or give another folder") from error  # fmt: skip
        is_ours = False
        with suppress(OSError):  # the file system has no locks
            is_ours = try_lock(self._file.fileno())
        if not is_ours:
            self._file.close()
            raise OptionError(f"another studio uses '{self.path.parent}'; use that studio or give another folder with --data")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Release the lock."""
        if self._file is not None:
            self._file.close()

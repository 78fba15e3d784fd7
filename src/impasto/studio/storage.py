"""The studio's folder of data: names that only the server makes, files that appear whole or not at all."""

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

from impasto.errors import ImageFileError, OptionError

IDENTITY = re.compile(r"[ujrs]_[0-9a-f]{16}")
Kind = Literal["u", "j", "r", "s"]


def new_identity(kind: Kind) -> str:
    """Make the id of an upload, a job, a result or a style: 64 bits by chance."""
    return f"{kind}_{secrets.token_hex(8)}"


class Folder:
    """Where everything lies. Ids come from :func:`new_identity` alone, so that no request can name a path.

    ::

        studio.db            the truth
        uploads/ID           the file as it came, for painting alone
        uploads/ID.jpg       to show: upright, small, without metadata
        uploads/ID.thumb.jpg
        results/ID.png       without metadata; ID.jpg of a draft
        results/ID.thumb.jpg
        work/ID.jpg          the newest preview of a job
        work/ID.npy          where a painting stands
        styles/NAME-HASH.webp  previews of the user's named styles
        made/                files made for one download
    """

    def __init__(self, root: Path) -> None:
        """Make the folders, readable by this user alone.

        Raises:
            OptionError: they cannot be made.
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
                f"--data '{root}' cannot be used ({error.strerror or error}); give a folder of your own"
            ) from error

    @property
    def database(self) -> Path:
        """The file of the database."""
        return self.root / "studio.db"

    def upload(self, identity: str, suffix: str = "") -> Path:
        """Where an upload, or a picture made of it, lies."""
        return self.root / "uploads" / (_checked(identity) + suffix)

    def result(self, identity: str, suffix: str) -> Path:
        """Where a result lies."""
        return self.root / "results" / (_checked(identity) + suffix)

    def work(self, identity: str, suffix: str) -> Path:
        """Where the preview of a job, or where it stands, lies."""
        return self.root / "work" / (_checked(identity) + suffix)

    def style_preview(self, name: str, sha256: str) -> Path:
        """Where the preview of one of the user's named styles lies."""
        return self.root / "styles" / f"{name}-{sha256[:16]}.webp"

    def made(self, suffix: str) -> Path:
        """Return a new name for a file that is made for one download."""
        return self.root / "made" / f"{secrets.token_hex(8)}{suffix}"

    def remove(self, folder: Literal["uploads", "results", "work"], identity: str) -> None:
        """Delete every file of an id."""
        for path in (self.root / folder).glob(f"{_checked(identity)}*"):
            with suppress(OSError):
                path.unlink()

    def sweep(self, uploads: set[str], results: set[str], jobs: set[str]) -> int:
        """Delete the files that belong to nothing, which an end at the wrong moment leaves; return how many there were."""
        count = 0
        known = {"uploads": uploads, "results": results, "work": jobs, "made": set[str]()}
        for folder, identities in known.items():
            for path in (self.root / folder).iterdir():
                if path.name.split(".")[0] not in identities:
                    with suppress(OSError):
                        path.unlink()
                        count += 1
        return count


def _checked(identity: str) -> str:
    if not IDENTITY.fullmatch(identity):
        raise ImageFileError(f"{identity!r} is no id of this studio")
    return identity


class Lock:
    """Holds a data folder for one studio; given back when the program ends, however it ends."""

    def __init__(self, root: Path) -> None:
        self.path = root / "lock"
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        """Take the folder.

        Raises:
            OptionError: another studio has it, or the system refuses it.
        """
        try:
            self._file = self.path.open("ab")
        except OSError as error:
            raise OptionError(f"--data '{self.path.parent}' cannot be used ({error.strerror or error}); free some space, "
                              "or give another folder") from error  # fmt: skip
        try:
            _lock(self._file)
        except OSError as error:
            self._file.close()
            raise OptionError(
                f"another studio works in '{self.path.parent}'; use that one, or give another folder with --data"
            ) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Give it back."""
        if self._file is not None:
            self._file.close()


def _lock(file: BinaryIO) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

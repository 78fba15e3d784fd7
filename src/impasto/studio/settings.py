"""What a studio may do, as one frozen value."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from impasto.errors import OptionError
from impasto.options.fields import check_range
from impasto.runtime.folders import user_folder
from impasto.studio.memory import memory_of_this_machine

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def data_folder() -> Path:
    """Return where the studio keeps its data unless told: ``IMPASTO_STUDIO``, or among the user's data.

    Raises:
        OptionError: ``IMPASTO_STUDIO`` begins with the home folder, and there is none.
    """
    chosen = os.environ.get("IMPASTO_STUDIO")
    return user_folder("data", "IMPASTO_STUDIO") / ("" if chosen else "studio")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much of everything."""

    upload_bytes: int = 64 * 2**20
    """The largest file that is taken."""

    pixels: int = 100_000_000
    """Height times width above which a picture is refused before it is decoded."""

    body_bytes: int = 2**20
    """The largest body of any other request."""

    upload_seconds: float = 120.0
    """How long an upload may take."""

    queued: int = 50
    """Jobs that may wait; beyond it new ones are refused with 429."""

    intake_seconds: float = 60.0
    """How long looking at one uploaded file, or making one file to download, may take."""

    quick_seconds: float = 300.0
    """How long an instant job may take."""

    job_seconds: float = 2 * 3600.0
    """How long any other job may take in one go."""

    memory_bytes: int = field(default_factory=lambda: memory_of_this_machine() * 8 // 10)
    """What a worker may hold; above it its job fails and the worker starts again."""

    disk_bytes: int = 10 * 2**30
    """What uploads and results may take together."""

    draft_seconds: float = 24 * 3600.0
    """How long drafts, and uploads that nothing uses, are kept."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where a studio is bound, and what it may do.

    Attributes:
        host: an address or a name of this machine.
        port: 1 to 65535.
        data: the folder of its data.
        token: what every request must bring; empty: none, which only loopback may.
        queue: the address of the queue engine whose workers paint; empty: a child of this program paints.
        limits: how much of everything.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    data: Path = field(default_factory=data_folder)
    token: str = ""
    queue: str = field(default="", repr=False)  # it may have a password
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        """Check the values."""
        check_range("port", self.port, 1, 65535)
        if not self.host:
            raise OptionError("--host is empty; give an address of this machine, such as 127.0.0.1")
        if not self.is_local and not self.token:
            raise OptionError(f"--host {self.host} can be reached by others, and there is no token; give one")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK or self.host.startswith("127.")

    @property
    def address(self) -> str:
        """What a browser on this machine opens."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

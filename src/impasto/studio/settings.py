"""Address and limits of a studio."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from impasto.errors import OptionError
from impasto.options.fields import check_range
from impasto.runtime.folders import user_folder
from impasto.studio.memory import memory_of_this_machine

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def data_folder() -> Path:
    """Return the default data folder: ``IMPASTO_STUDIO`` if set, otherwise a folder in the user's data directory.

    Raises:
        OptionError: ``IMPASTO_STUDIO`` starts with ``~`` and there is no home folder.
    """
    chosen = os.environ.get("IMPASTO_STUDIO")
    return user_folder("data", "IMPASTO_STUDIO") / ("" if chosen else "studio")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a studio."""

    upload_bytes: int = 64 * 2**20
    """Maximum size of an uploaded file."""

    pixels: int = 100_000_000
    """Maximum height times width. Larger pictures are rejected before they are decoded."""

    body_bytes: int = 2**20
    """Maximum size of the body of any request other than an upload."""

    upload_seconds: float = 120.0
    """Time limit of an upload."""

    clip_bytes: int = 2 * 2**30
    """Maximum size of an uploaded clip."""

    clip_seconds: float = 1800.0
    """Time limit of the upload of a clip."""

    queued: int = 50
    """Maximum number of waiting jobs. Further jobs are rejected with 429."""

    intake_seconds: float = 60.0
    """Time limit for decoding an upload or preparing a download."""

    quick_seconds: float = 300.0
    """Time limit of one run of a job in the quick lane."""

    job_seconds: float = 2 * 3600.0
    """Time limit of one run of a job in the slow lane."""

    training_seconds: float = 25 * 3600.0
    """Time limit of one run of a job in the training lane."""

    video_seconds: float = 25 * 3600.0
    """Time limit of one run of a job in the video lane."""

    memory_bytes: int = field(default_factory=lambda: memory_of_this_machine() * 8 // 10)
    """Memory limit of a worker. If a worker exceeds it, its job fails and the worker restarts."""

    disk_bytes: int = 10 * 2**30
    """Disk quota of uploads and results together."""

    draft_seconds: float = 24 * 3600.0
    """Time after which drafts and unused uploads are deleted."""

    def seconds_of(self, lane: str) -> float:
        """Return the time limit of one run of a job in a lane."""
        own = {"quick": self.quick_seconds, "training": self.training_seconds, "video": self.video_seconds}
        return own.get(lane, self.job_seconds)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Address, data folder and limits of a studio.

    Attributes:
        host: An address or name of this machine.
        port: 1 to 65535.
        data: The data folder.
        token: Access token that every request needs. It may be empty (no token) only with a loopback address.
        queue: Address of the queue server for remote workers. If it is empty, the studio paints in a local child process.
        limits: Limits on uploads, jobs, memory and disk.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    data: Path = field(default_factory=data_folder)
    token: str = ""
    queue: str = field(default="", repr=False)  # the address may contain a password
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        """Check the values."""
        check_range("port", self.port, 1, 65535)
        if not self.host:
            raise OptionError("--host is empty; give an address of this machine, such as 127.0.0.1")
        if not self.is_local and not self.token:
            raise OptionError(
                f"--host {self.host} is reachable from other machines and needs a token; set IMPASTO_STUDIO_TOKEN"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the studio."""
        return self.host in LOOPBACK or self.host.startswith("127.")

    @property
    def address(self) -> str:
        """Address to open in a browser on this machine."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

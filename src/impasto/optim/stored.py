"""Planes in temporary files, and Adam with its state in such files, for pictures whose state does not fit into memory."""

import errno
import os
import tempfile
import weakref
from collections.abc import Iterator
from typing import IO, Any

import torch
from torch import Tensor

from impasto.errors import ResourceError
from impasto.optim.adam import Adam, running

_PART = 2**22
"""Number of values that are in memory at a time."""


class StoredPlane:
    """A float32 tensor of zeros, then of what is written to it, in a temporary file.

    The file is deleted when the object is, and when the process ends, in whatever way.
    """

    def __init__(self, like: Tensor) -> None:
        self.shape, self.count = like.shape, like.numel()
        try:
            self.file = tempfile.TemporaryFile(prefix="impasto-", buffering=0)  # noqa: SIM115
            weakref.finalize(self, self.file.close)
            _reserve(self.file, 4 * self.count)
        except OSError as error:
            raise _no_space(error) from error

    def read(self, start: int, end: int) -> Tensor:
        """Return values ``start`` to ``end`` in row-major order."""
        values = torch.empty(end - start)
        view = values.numpy().data.cast("B")
        self.file.seek(4 * start)
        done = 0
        while done < len(view):
            done += self.file.readinto(view[done:]) or 0
        return values

    def write(self, start: int, values: Tensor) -> None:
        """Overwrite values from ``start`` on."""
        view = values.detach().cpu().contiguous().view(-1).numpy().data.cast("B")
        self.file.seek(4 * start)
        done = 0
        try:
            while done < len(view):
                done += self.file.write(view[done:]) or 0
        except OSError as error:
            raise _no_space(error) from error

    def copy_(self, plane: Tensor) -> "StoredPlane":
        """Overwrite all values."""
        self.write(0, plane.flatten())
        return self

    def tensor(self) -> Tensor:
        """Read all values."""
        return self.read(0, self.count).reshape(self.shape)


def _reserve(file: IO[bytes], count: int) -> None:
    """Make a file of zeros, and reserve its space on the disk where the system can, so that later writes do not fail."""
    file.truncate(count)
    if hasattr(os, "posix_fallocate"):  # not on macOS and Windows
        try:
            os.posix_fallocate(file.fileno(), 0, count)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise


def _no_space(error: OSError) -> ResourceError:
    reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
    return ResourceError(
        f"the state of the optimizer cannot be kept in a temporary file ({reason}); set TMPDIR to a folder with more space, "
        "use a smaller --size, or a larger --max-memory"
    )


class StoredAdam(Adam):
    """Adam with its state in temporary files. Its steps are the same, bit for bit."""

    def _update(self, plane: Tensor, gradient: Tensor) -> None:
        state = self.state.setdefault(plane, fresh_files(plane))
        values, slopes = plane.view(-1), gradient.view(-1)
        for start, end in _parts(len(values)):
            part = {name: state[name].read(start, end).to(plane) for name in ("exp_avg", "exp_avg_sq")}
            now: dict[str, Any] = {"step": state["step"], **part}
            deviation = running(now, slopes[start:end], self.betas)
            values[start:end].addcdiv_(now["exp_avg"], deviation, value=self._factor(now["step"]))
            for name in part:
                state[name].write(start, now[name])
        state["step"] += 1


def fresh_files(plane: Tensor) -> dict[str, Any]:
    """Return the initial state of Adam in files."""
    return {"step": 0, "exp_avg": StoredPlane(plane), "exp_avg_sq": StoredPlane(plane)}


def _parts(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, _PART):
        yield start, min(start + _PART, count)

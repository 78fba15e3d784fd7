"""Free memory of the machine and of devices."""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from impasto.errors import ImpastoError, ResourceError

_CGROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Files of cgroups v2 and v1 with the memory limit, the usage, and the part of the usage that is page cache."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
"""Parameter numbers of mallopt, from glibc's malloc.h."""
_KEPT_BYTES, _LARGEST_BYTES = 2**30, 2**25
"""Maximum of the freed bytes that are kept; minimum size of blocks that ``except_largest`` returns (glibc allows no more)."""
_OF_ONEDNN = ("could not create a primitive", "could not create a memory", "could not execute a primitive")
"""Errors of oneDNN when it cannot allocate memory."""


def available_memory(device: torch.device) -> int | None:
    """Return the number of free bytes on a device, or None if the system does not report it."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # cached by PyTorch, so free for us
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            found = next(line for line in lines if line.startswith("MemAvailable"))
        return min(int(found.split()[1]) * 1024, _left_in_container())
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError, AttributeError):
        return None


def used_memory(device: torch.device) -> int:
    """Return the number of bytes that this process uses on a device; 0 if the system does not report it."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource  # not on Windows

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most
    except (ImportError, OSError):
        return 0


def _left_in_container() -> int:
    """Return the bytes left within the container's memory limit, counting page cache as free; infinite without a limit."""
    for folder, limit, used, kept in _CGROUPS:
        try:
            most, now = (int((folder / name).read_text()) for name in (limit, used))
            facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            return max(0, most - now + int(facts[kept]))
        except (OSError, ValueError, KeyError):  # "max" is not a number: no limit
            continue
    return sys.maxsize


def keep_freed_memory(*, except_largest: bool = False) -> bool:
    """Let this process reuse large freed memory blocks instead of returning them to the system and requesting them again.

    Painting frees and allocates the same large tensors at every step. With glibc's defaults the system zeroes their pages each
    time, which takes a quarter of the painting time at 1024 px. The setting affects the whole process and cannot be undone, so
    only the command line calls this function.

    Args:
        except_largest: return blocks of 32 MiB and more to the system. If they were kept, gaps between them would take memory
            that the plan for painting in tiles does not include.

    Returns:
        Whether the setting was applied; False if the C library is not glibc.
    """
    mallopt = _from_libc("mallopt", 2)
    if mallopt is None:
        return False
    is_set = mallopt(_M_MMAP_THRESHOLD, _LARGEST_BYTES) if except_largest else mallopt(_M_MMAP_MAX, 0)
    return bool(is_set and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))


def _from_libc(name: str, arguments: int) -> Callable[..., int] | None:
    """Return a function of glibc that takes integers; None on other C libraries."""
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):  # macOS and musl have none of them; on Windows, CDLL(None) fails
        return None
    function.argtypes = (ctypes.c_int,) * arguments  # type: ignore[attr-defined]
    return function


def return_freed_memory() -> bool:
    """Return all freed memory to the system, including the blocks that :func:`keep_freed_memory` keeps.

    The tensors of the next stage of a painting have other sizes, and freed blocks are often too small for them. Without this
    call, the memory of the process would grow.

    Returns:
        Whether the C library can do so; False if it is not glibc.
    """
    trim = _from_libc("malloc_trim", 1)
    if trim is not None:
        trim(0)
    return trim is not None


@contextmanager
def memory_in_words(size: int, flag: str = "--size") -> Iterator[None]:
    """Turn any out-of-memory error into a ResourceError with a one-sentence message.

    Raises:
        ResourceError: there was not enough memory.
    """
    sentence = f"not enough memory for {flag} {size}; use a smaller {flag}, or close other programs"
    try:
        yield
    except ImpastoError:
        raise
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(sentence) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out; on the CPU, PyTorch and oneDNN raise a plain RuntimeError."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = str(error)
    return isinstance(error, RuntimeError) and (("alloc" in words and "memory" in words) or words in _OF_ONEDNN)

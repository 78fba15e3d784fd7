"""How much memory is free, here and on a device."""

import ctypes
import os
import sys
from pathlib import Path

import torch

_CGROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Where the second and the first version of Linux's control groups tell the limit, what is used, and what of it are files."""
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Numbers of mallopt's parameters, from glibc's malloc.h."""
_KEPT_BYTES = 2**30


def available_memory(device: torch.device) -> int | None:
    """Return the bytes of memory that are free on a device, or None where the system does not say."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by PyTorch, which will use it first
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


def _left_in_container() -> int:
    """Return the bytes that the limit of a container leaves, files kept in memory counted as free; without a limit, no end."""
    for folder, limit, used, kept in _CGROUPS:
        try:
            most, now = (int((folder / name).read_text()) for name in (limit, used))
            facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            return max(0, most - now + int(facts[kept]))
        except (OSError, ValueError, KeyError):  # "max" is no number: no limit
            continue
    return sys.maxsize


def keep_freed_memory() -> bool:
    """Let this process reuse large blocks of freed memory, instead of returning each to the system and asking for it again.

    Painting frees and allocates the same large tensors at every step. With glibc's defaults the system clears each page of them
    each time, which takes a quarter of the time of painting at 1024 px. The setting holds for the whole process and cannot be
    undone, so the command line calls this, not the library.

    Returns:
        Whether it was set; False where the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # macOS and musl have no mallopt; Windows cannot open None
        return False
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))

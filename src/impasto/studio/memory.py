"""Memory of this machine or container, and memory of a process."""

import mmap
import os
from importlib import import_module
from pathlib import Path
from typing import Any

_UNKNOWN_BYTES = 8 * 2**30
_MOUNT = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def memory_of_this_machine() -> int:
    """Return the memory in bytes that this process may use, or 8 GiB if it is unknown.

    If the limit of a container (Linux control group) is lower than the memory of the machine, this limit applies.
    """
    return min([_physical_bytes(), *_container_limits()])


def _physical_bytes() -> int:
    try:
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        psutil = _psutil()
        found = int(psutil.virtual_memory().total) if psutil else 0
    return found if found > 0 else _UNKNOWN_BYTES


def _container_limits() -> list[int]:
    """Return the memory limits of this process's control groups (version 1 or 2) and of the parents of these groups."""
    found = []
    for folder, name in _groups():
        for each in (folder, *folder.parents):
            if not each.is_relative_to(_MOUNT):
                break
            try:
                limit = int((each / name).read_text())
            except (OSError, ValueError):  # the file is missing or contains "max": there is no limit
                continue
            if limit > 0:
                found.append(limit)
    return found


def _groups() -> list[tuple[Path, str]]:
    """Return the folder of each control group and the name of its limit file.

    In a container, the container's control group may be mounted as the root, so the root is always included.
    """
    found = [(_MOUNT, "memory.max"), (_MOUNT / "memory", "memory.limit_in_bytes")]
    try:
        lines = _OWN_GROUPS.read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        inside = path.strip("/")
        if ".." in Path(inside).parts:  # the group is outside this container
            continue
        if not controllers:
            found.append((_MOUNT / inside, "memory.max"))
        elif "memory" in controllers.split(","):
            found.append((_MOUNT / "memory" / inside, "memory.limit_in_bytes"))
    return found


def memory_of(program: int) -> int | None:
    """Return the resident memory of a process in bytes, or None if it is unknown."""
    try:
        pages = Path(f"/proc/{program}/statm").read_text().split()[1]
        return int(pages) * mmap.PAGESIZE
    except (OSError, IndexError, ValueError):
        pass
    psutil = _psutil()
    if psutil is None:
        return None
    try:
        return int(psutil.Process(program).memory_info().rss)
    except psutil.Error:
        return None


def is_memory_watched() -> bool:
    """Whether :func:`memory_of` works on this system. It needs Linux or psutil."""
    return memory_of(os.getpid()) is not None


def _psutil() -> Any:
    """Return psutil, or None if it is not installed. On Linux, psutil is not needed."""
    try:
        return import_module("psutil")
    except ImportError:
        return None

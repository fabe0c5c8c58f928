"""How much memory there is, and what does not fit into it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from spectramind_config import files


def available() -> int:
    """Bytes that this process may still take: what the machine has left, within its container and its limits."""
    found = [_left_by_machine(), _left_by_container(), _left_by_limit()]
    return min(one for one in found if one is not None)


def require_readable(path: Path) -> None:
    """Raise OSError unless a file is a regular one that fits into memory; ``strerror`` says what it is."""
    size, room = files.require_regular(path), available()
    if size > room:
        raise OSError(errno.EFBIG, f"it has {size / 1e9:.1f} GB, and {room / 1e9:.1f} GB of memory are left", str(path))


def _left_by_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # No Linux: all the memory that it has.
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _left_by_container() -> int | None:
    folder = Path("/sys/fs/cgroup")
    try:
        most, used = ((folder / name).read_text(encoding="ascii") for name in ("memory.max", "memory.current"))
        kept = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        # Files that were read and can be forgotten count as used.
        return max(0, int(most) - int(used) + int(kept["inactive_file"]))
    except (OSError, ValueError, KeyError):  # None, or without a limit.
        return None


def _left_by_limit() -> int | None:
    try:
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        return None
    return None if most == resource.RLIM_INFINITY else max(0, most - used)

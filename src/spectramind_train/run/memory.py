"""How much memory there is, and what does not fit into it."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from spectramind_config import files

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # From malloc.h.


def available() -> int:
    """Bytes that this process may still take: what the machine, its container, its job and its limits leave."""
    found = [_left_by_machine(), _left_by_groups(), _left_by_limit()]
    return min(one for one in found if one is not None)


def keep_freed() -> None:
    """Have the allocator keep what is freed instead of giving it back, where it is glibc's.

    A training frees and takes the same arrays of megabytes at every step. By itself the allocator returns them to the
    system each time, and getting their pages anew, zeroed, takes a fifth of a step's time.
    """
    with suppress(OSError, AttributeError):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_MMAP_THRESHOLD, 1 << 30)
        allocator.mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)


def require_readable(path: Path) -> None:
    """Raise OSError unless a file is a regular one that fits into memory; ``strerror`` says what it is."""
    size, room = files.require_regular(path), available()
    if size > room:
        raise OSError(errno.EFBIG, f"it has {size / 1e9:.1f} GB, and {room / 1e9:.1f} GB of memory are left", str(path))


def used() -> int:
    """Bytes of memory that this process takes now; where only Linux could tell, the most that it ever took."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _left_by_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # No Linux: all the memory that it has.
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _left_by_groups() -> int | None:
    """What containers and jobs leave: the least of this process's control groups and of those above them."""
    found = [left for folder, names in _groups() if (left := _left_by(folder, *names)) is not None]
    return min(found, default=None)


def _groups() -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Folders of control groups, and what limit, use and the part of it that can be forgotten are called in them."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # No Linux.
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, names = Path("/sys/fs/cgroup"), ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = Path("/sys/fs/cgroup/memory")
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        folder = root / path.lstrip("/")
        # In a container the path may be that of the machine, where it leads nowhere; its own group is the root then.
        yield from ((one, names) for one in (folder, *folder.parents) if one.is_relative_to(root))


def _left_by(folder: Path, limit: str, usage: str, forgettable: str) -> int | None:
    try:
        most, used = (int((folder / name).read_text(encoding="ascii")) for name in (limit, usage))
        kept = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        # Files that were read and can be forgotten count as used.
        return max(0, most - used + int(kept[forgettable]))
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

"""The entry of one process of several: it heeds signals before it imports what takes long."""

from __future__ import annotations

import sys
from pathlib import Path

from spectramind_train.run import children, signals


def main(arguments: list[str]) -> int:
    """Train as the manifest of a run says; the arguments are the parent's number, the run and the deadline."""
    signals.of_rank()
    parent, run, deadline = arguments
    children.follow(int(parent))
    from spectramind_train.learning.processes import train_as_one

    return train_as_one(Path(run), float(deadline) if deadline else None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

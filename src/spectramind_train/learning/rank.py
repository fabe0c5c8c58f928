"""The entry of one process of several: it heeds signals before it imports what takes long."""

from __future__ import annotations

import os
import sys

from spectramind_train.run import children, signals


def main(arguments: list[str]) -> int:
    """Train as the manifest of a run says; the arguments are the parent's number, the run and the deadline."""
    signals.of_rank()
    parent, run, deadline = arguments
    children.follow(int(parent))
    from spectramind_train.learning.processes import train_as_one
    from spectramind_train.run.ranks import Start, here, talk_to

    ranks = here()
    if ranks is None:
        return 1  # No agent has started it.
    talk_to(os.environ["MASTER_ADDR"])
    life = f"life/{os.environ['TORCHELASTIC_RESTART_COUNT']}"
    return train_as_one(ranks, Start(run, life, deadline=float(deadline) if deadline else None))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

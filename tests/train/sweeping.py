"""A process that runs trials of a sweep whose objective costs nothing, for tests of what several do to each other.

Its arguments are the storage, how many trials there are to be in all, and a folder. There, each training leaves the
file ``begun-TRIAL`` with the number of its process, waits for the file ``go``, and leaves ``done-TRIAL``.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from spectramind_config import EffectiveConfig
from spectramind_config.commands.ranking import Finished
from spectramind_config.commands.space import Space, read, space
from spectramind_train.run.terminal import Terminal
from spectramind_train.run.trials import Begun, Trials
from spectramind_train.search import work

WORDS = ["optimizer.lr=tag(log,interval(1e-5,1e-2))", "model.dropout=interval(0,0.9)", "local=debug"]


def a_space(*words: str) -> Space:
    """The space of these overrides, or of some that suit a test."""
    return space(read(words or WORDS), EffectiveConfig)


def score(config: EffectiveConfig) -> float:
    """As if a learning rate of 1e-3 without dropout were best."""
    return 1.0 - abs(math.log10(config.optimizer.lr) + 3) / 4 - config.to_dict()["model"]["dropout"] / 4


class Watched(Trials):
    """Trials that tell an objective their numbers."""

    number = -1

    def next(self, total: int) -> Begun | None:
        """The next trial."""
        begun = super().next(total)
        if begun is not None:
            self.number = begun.trial.number
        return begun


def main(url: str, total: int, folder: Path) -> int:
    """Run trials until there are as many."""
    trials = Watched(url, "shared", a_space(), print)

    def train(config: EffectiveConfig, *, resume: str | None, prunes: Callable[[int, float], bool] | None) -> Finished:
        (folder / f"begun-{trials.number}").write_text(f"{os.getpid()}")
        while not (folder / "go").exists():
            time.sleep(0.02)
        (folder / f"done-{trials.number}").write_text(f"{os.getpid()}")
        return Finished(0, score(config), "completed")

    return work(trials, total, train, Terminal())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))

"""Where Lightning's metrics go: into the run's journal, and from there into ``metrics.csv``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override

from spectramind_train.run.journal import Journal, Metrics, Resumed, Table, numbers, rows


class JournalLogger(Logger):
    """Writes metrics as they come; only the first of several processes does.

    Args:
        directory: The run's directory.
        warn: Tells the user that the journal cannot be written.
    """

    def __init__(self, directory: Path, warn: Callable[[str], None] | None = None) -> None:
        super().__init__()
        self.journal = Journal(directory, warn)
        self.table = Table(directory)

    @property
    @override
    def name(self) -> str:
        """No folder of its own."""
        return ""

    @property
    @override
    def version(self) -> str:
        """Nor one for each start."""
        return ""

    @property
    def has_rows(self) -> bool:
        """Whether metrics stand in the journal already."""
        return self.journal.path.exists() and bool(rows(self.journal.path))

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        values = dict(metrics)
        entry = Metrics(step=step or 0, epoch=int(values.pop("epoch", 0)), values=numbers(values))
        self.journal.append(entry)
        self.table.add(entry)

    @rank_zero_only
    def flush(self) -> None:
        """Have what led to a checkpoint outlive the machine if the checkpoint does."""
        self.journal.flush()

    @rank_zero_only
    def resume(self, step: int) -> None:
        """Go on after so many optimizer steps: what was logged of later ones no longer counts."""
        self.journal.append(Resumed(step=step))

    @override
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """The run's manifest has them."""

"""What a sweep has found: its best run, the importance of each setting, all trials ranked, and pictures."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from spectramind_config.errors import quoted
from spectramind_train.results.figures import draw_sweep
from spectramind_train.run.atomic_files import write_atomically
from spectramind_train.run.terminal import Terminal
from spectramind_train.run.trials import Row, Trials

FEW: Final = 30
"""Trials below which an importance is a hint only: it compares the best tenth of them with the rest."""

MOST_SHOWN: Final = 20
_PUT_BACK = ("lost", "interrupted")


def report(trials: Trials, folder: Path, terminal: Terminal) -> None:
    """Say what a sweep has found, and leave ``trials.csv`` and ``sweep.png`` in its folder.

    Where the folder cannot be written, it is said, and all else stands in the terminal.
    """
    rows = trials.rows()
    ranked = _ranked(rows)
    settings = list(dict.fromkeys(key for row in rows for key in row.settings))
    if ranked:
        _show(ranked, settings, terminal)
    counts = Counter(row.status for row in rows if row.status not in _PUT_BACK)
    said = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none has begun"
    back = sum(row.status in _PUT_BACK for row in rows)
    terminal.say(f"trials: {said}{f'; {back} cut short and put back' if back else ''}")
    best = next((row for row in ranked if row.score is not None and row.status != "pruned"), None)
    if best is None:
        return
    _say_importance(trials, settings, sum(row.status in ("completed", "walltime") for row in rows), terminal)
    terminal.say(f"best: trial {best.number} with score {best.score:.4f}, {best.run or 'whose run is not known'}")
    terminal.say(f"  spectramind train {' '.join(map(quoted, best.overrides))}")
    try:
        write_atomically(folder / "trials.csv", _csv(ranked, settings))
        draw_sweep(rows, folder / "sweep.png")
    except OSError as error:
        terminal.warn(f"{folder}: cannot be written ({error.strerror}): there is neither table nor picture")
    else:
        terminal.say(f"all trials: {folder}/trials.csv, sweep.png; again: spectramind trials {folder}")


def _ranked(rows: Sequence[Row]) -> list[Row]:
    """The best first; those that were pruned after those that were not, for theirs is no score of a whole training."""
    kept = [row for row in rows if row.status not in _PUT_BACK]
    return sorted(
        kept,
        key=lambda row: (row.score is None, row.status == "pruned", -(row.score or 0.0), row.number),
    )


def _show(ranked: Sequence[Row], settings: Sequence[str], terminal: Terminal) -> None:
    rows = [
        (
            str(row.number),
            "-" if row.score is None else f"{row.score:.4f}",
            row.status,
            *(row.settings.get(key, "-") for key in settings),
            Path(row.run).name or "-",
        )
        for row in ranked[:MOST_SHOWN]
    ]
    more = f" (the first {MOST_SHOWN} of {len(ranked)})" if len(ranked) > MOST_SHOWN else ""
    terminal.table(f"Trials, the best first{more}", ("trial", "score", "status", *settings, "run"), rows)


def _say_importance(trials: Trials, settings: Sequence[str], complete: int, terminal: Terminal) -> None:
    found = trials.importance()
    if len(settings) < 2 or not found:
        return
    words = ", ".join(f"{key} {100 * share:.0f} %" for key, share in found.items())
    hint = f" (of {complete} trials: a hint only)" if complete < FEW else ""
    terminal.say(f"importance: {words}{hint}")


def _csv(ranked: Sequence[Row], settings: Sequence[str]) -> bytes:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["trial", "score", "status", *settings, "run", "overrides"])
    for row in ranked:
        values = [row.settings.get(key, "") for key in settings]
        score = "" if row.score is None else repr(row.score)
        table.writerow([row.number, score, row.status, *values, row.run, " ".join(map(quoted, row.overrides))])
    return text.getvalue().encode()

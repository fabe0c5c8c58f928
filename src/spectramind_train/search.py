"""A search for good settings: trials that are ordinary runs, on as many processes and machines as share a storage."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from spectramind_config import ConfigError, EffectiveConfig, Problem, compose
from spectramind_config.commands.ranking import Finished
from spectramind_config.commands.space import Space
from spectramind_config.errors import quoted
from spectramind_train.results.sweeps import report
from spectramind_train.run import children, signals
from spectramind_train.run.directory import path_of, require_writable
from spectramind_train.run.terminal import Terminal
from spectramind_train.run.trials import Begun, Row, Trials

if TYPE_CHECKING:
    from spectramind_train.learning.callbacks import Prunes

FOLDER: Final = "sweeps"
"""Folder of all sweeps, below that of runs."""

JOURNAL: Final = "journal"
"""The storage of a sweep that was given no other, in its folder."""

MOST_FAILURES: Final = 3
"""Trials in a row that may fail before a process gives up."""

_LOOK_EVERY_S: Final = 0.5
_ENDING_S: Final = signals.PATIENCE_S + signals.SAVING_S


class Objective(Protocol):
    """Trains with the config of a trial."""

    def __call__(self, config: EffectiveConfig, *, resume: str | None, prunes: Prunes | None) -> Finished:
        """Train.

        Args:
            config: What to train.
            resume: ``auto`` to go on with a run of the same science that was interrupted.
            prunes: Is told each validation's epoch, from 0, and its score; says whether to end.

        Returns:
            How it ended, with the best validation score as its value.
        """
        ...


@dataclass(frozen=True)
class Asked:
    """What a command line asks of a sweep.

    Attributes:
        trials: How many in all, by whichever process and however many commands.
        jobs: Processes that run trials here.
        storage: An RDB by its URL, or a journal by its path; None for a journal in the sweep's folder.
        name: Of the sweep; None for one that follows from the space.
        prunes: Whether a trial that does worse than most ends early.
        words: The overrides and files that the space is made of, for other processes.
        worker: The number of the process that this one works for, its place among those that do, from 1, and how many
            there are; None where it is the command itself.
    """

    trials: int
    jobs: int = 1
    storage: str | None = None
    name: str | None = None
    prunes: bool = True
    words: Sequence[str] = field(default=())
    worker: Sequence[int] | None = None


def search(space: Space, asked: Asked, objective: Objective, terminal: Terminal) -> int:
    """Run trials until as many as were asked for are done, and report on all of them.

    Returns:
        The exit code: 0 where some trial has a score; of a signal, its own; else the largest of the trials.

    Raises:
        ConfigError: The sweep cannot be stored, or is another one.
    """
    config = compose(space.overrides({one.key: _first(one.choices, one.low, one.kind) for one in space.dimensions}))
    if config.dev.limit_val_batches == 0:
        what = f"{config.origin('dev.limit_val_batches').option}: without a validation, no trial has a score"
        raise ConfigError(Problem(what=what, hint="validate on some batches at least"))
    require_writable(config)
    name = _named(asked.name, space)
    folder = path_of(config, "output_dir") / FOLDER / name
    url = asked.storage or str(folder / JOURNAL)
    if asked.worker is not None:
        _join(*asked.worker)
    with signals.raising(_ENDING_S):
        trials = Trials(url, name, space, terminal.warn, prunes=asked.prunes)
        if asked.worker is None:
            varied = " ".join(one.argument for one in space.dimensions)
            terminal.say(f"sweep {name}: {asked.trials} trials of {varied}")
        try:
            if asked.jobs > 1:
                code = _supervise(trials, asked, name, url, folder, terminal)
            else:
                code = work(trials, asked.trials, objective, terminal)
        finally:
            if asked.worker is None:
                folder.mkdir(parents=True, exist_ok=True)
                report(trials, folder, terminal)
                if any(row.status in ("running", "waiting") for row in trials.rows()):
                    terminal.say("others are running trials, or have left some; the same command goes on with those")
    return 0 if code in (1, 2) and any(row.score is not None for row in trials.rows()) else code


def look(sweep: str, storage: str | None, terminal: Terminal) -> int:
    """Report on a sweep, named by its folder, or by its name below the default one; starts nothing."""
    folder = Path(sweep)
    if not folder.is_dir():
        folder = path_of(compose([]), "output_dir") / FOLDER / sweep
    trials = Trials(storage or str(folder / JOURNAL), folder.name, None, terminal.warn)
    folder.mkdir(parents=True, exist_ok=True)
    report(trials, folder, terminal)
    return 0


def work(trials: Trials, total: int, objective: Objective, terminal: Terminal) -> int:
    """Run trials in this process until ``total`` are done, or run by others.

    Returns:
        The largest exit code of those that failed, 0 where none did.

    Raises:
        SystemExit: A run was told to stop; its trial has been put back.
    """
    worst = failed = 0
    while failed < MOST_FAILURES and (begun := trials.next(total)) is not None:
        number = begun.trial.number
        settings = " ".join(f"{key}={value}" for key, value in begun.trial.params.items())
        if begun.twin is not None:
            terminal.say(f"trial {number}: {settings}: that was trial {begun.twin.number}, whose result is taken")
            trials.copy(begun, begun.twin)
            continue
        terminal.say(f"trial {number}: {settings}")
        finished = _run(trials, begun, objective)
        trials.finish(begun, finished)
        failed = failed + 1 if finished.exit_code in (1, 2) else 0
        worst = max(worst, finished.exit_code if failed else 0)
        terminal.say(_line(trials.rows(), number))
    if failed == MOST_FAILURES:
        terminal.warn(f"{failed} trials in a row have failed, so this process runs no more of them")
    return worst


def _run(trials: Trials, begun: Begun, objective: Objective) -> Finished:
    def prunes(epoch: int, score: float) -> bool:
        return trials.pruned(begun.trial, epoch, score)

    try:
        with trials.alive(begun):
            return objective(compose(begun.overrides), resume="auto" if begun.again else None, prunes=prunes)
    except ConfigError as error:
        return Finished(error.tell(), None, "failed")
    except Exception:  # noqa: BLE001 - a fault in one trial is told, and costs no other.
        traceback.print_exc()
        return Finished(1, None, "failed")
    except BaseException:
        trials.interrupt(begun.trial)
        raise


def _line(rows: Sequence[Row], number: int) -> str:
    row = next(one for one in rows if one.number == number)
    if row.score is None:
        return f"trial {number}: {row.status}"
    others = (one.score for one in rows if one.score is not None and one.status != "pruned")
    mark = "  best so far" if row.status != "pruned" and row.score == max(others) else ""
    return f"trial {number}: score {row.score:.4f}  {row.status}{mark}"


def _supervise(trials: Trials, asked: Asked, name: str, url: str, folder: Path, terminal: Terminal) -> int:
    """Have other processes run the trials, and tell of each that ends; one that is killed is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "spectramind_train.cli", "sweep", *asked.words, "--name", name, "--storage", "-"]
    command += ["--trials", str(asked.trials), *([] if asked.prunes else ["--no-pruning"])]
    told = {row.number for row in trials.rows() if row.status not in ("running", "waiting")}
    started: list[subprocess.Popen[bytes]] = []
    codes: list[int] = []

    def start(place: int) -> subprocess.Popen[bytes]:
        worker = ["--worker", *map(str, (os.getpid(), place, asked.jobs))]
        with (folder / f"worker-{place}.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own program.
                [*command, *worker],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # A signal of the terminal comes to this process, which passes it on.
            )
        assert process.stdin is not None  # noqa: S101
        with process.stdin as pipe:  # A password in it is nobody's business.
            pipe.write(url.encode() + b"\n")
        started.append(process)
        return process

    def tell() -> None:
        rows = trials.rows()
        for row in rows:
            if row.number not in told and row.status not in ("running", "waiting"):
                told.add(row.number)
                terminal.say(_line(rows, row.number))

    try:
        places = {place: start(place) for place in range(1, asked.jobs + 1)}
        terminal.say(f"{asked.jobs} processes run them, each with a log in {folder}")
        replaced = 0
        while places:
            time.sleep(_LOOK_EVERY_S)
            tell()
            for place, process in list(places.items()):
                if (code := process.poll()) is None:
                    continue
                del places[place]
                codes.append(code if code >= 0 else 1)
                if code < 0 and replaced < 2 * asked.jobs:
                    replaced += 1
                    terminal.warn(f"process {process.pid} was killed; another repeats its trial")
                    places[place] = start(place)
                elif code:
                    terminal.warn(f"a process ended with exit code {code}: see {folder / f'worker-{place}.log'}")
        tell()
    except signals.Interrupted as interrupted:
        _end(started, interrupted.number)
        tell()
        raise
    finally:
        _end(started, None)
    return max(codes, default=0)


def _end(started: Sequence[subprocess.Popen[bytes]], number: int | None) -> None:
    """Pass a signal on and wait until all have saved what they have; without one, kill those that are left."""
    for process in started:
        if process.poll() is None and number is not None:
            process.send_signal(number)
    signals.busy(_ENDING_S)
    for process in started:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_ENDING_S if number is not None else 0)
        if process.poll() is None:
            process.kill()
            process.wait()


def _join(parent: int, place: int, workers: int) -> None:
    """Become one of several processes of a sweep: it dies with its parent, and takes its share of the cores."""
    children.follow(parent)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[(place - 1) % len(cores) :: workers])


def _named(name: str | None, space: Space) -> str:
    if name is None:
        text = " ".join([space.science, *sorted(one.argument for one in space.dimensions)])
        return f"sweep-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    if re.fullmatch(r"\w[\w.-]{0,99}", name) is None:
        what = f"--name {quoted(name)}: it is to be a folder's name"
        raise ConfigError(Problem(what=what, expected="up to 100 letters, digits, dots, dashes and underscores"))
    return name


def _first(choices: Sequence[str], low: float, kind: str) -> object:
    return choices[0] if kind == "choice" else int(low) if kind == "int" else low

"""The trials of a sweep, in a storage of Optuna's that any number of processes and machines share.

Trials are counted so that no process needs to be told of another: a trial is asked for, and given back where as many as
are wanted were asked for before it. One whose process is gone, or was told to stop, counts no more and is put back.
"""

from __future__ import annotations

import hashlib
import logging
import math
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine, event
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from spectramind_config import ConfigError, Problem
from spectramind_config.commands.ranking import Finished
from spectramind_config.commands.space import Dimension, Space
from spectramind_config.errors import hidden, hidden_in, listed, nearest
from spectramind_train.run.liveness import Process

BEAT_S: Final = 60
"""Seconds between two signs of life of a trial in a database; three without one, and it is lost."""

NAMELESS_S: Final = 60.0
"""Seconds after which a trial that does not say which process runs it is lost: the process died as it began."""

MOST_ATTEMPTS: Final = 3
"""Processes that a trial may cost before it counts as failed: one that always runs out of memory is not repeated."""

_MAKING_S: Final = 5.0
_STORAGE_ERRORS: Final = (OSError, SQLAlchemyError, optuna.exceptions.StorageInternalError)
_UNREADABLE: Final = (*_STORAGE_ERRORS, ImportError, ValueError, KeyError, TypeError, optuna.exceptions.OptunaError)


@dataclass(frozen=True)
class Begun:
    """A trial that this process runs.

    Attributes:
        trial: Optuna's.
        overrides: Of its run.
        again: Whether it was begun before, by a process that is gone.
        twin: A trial with the same settings that is done.
    """

    trial: optuna.Trial
    overrides: list[str]
    again: bool
    twin: FrozenTrial | None


@dataclass(frozen=True)
class Row:
    """What is known of a trial.

    Attributes:
        number: Counted from 0, in the order in which trials were asked for.
        status: That of its run, or ``failed``, ``running`` or ``waiting``; ``lost`` and ``interrupted`` are put back.
        score: The best validation score; of one that was pruned, the last.
        settings: The values of what varies.
        overrides: Of its run.
        run: The directory of its run; empty where there is none.
        validations: Scores by epoch.
    """

    number: int
    status: str
    score: float | None
    settings: dict[str, str]
    overrides: list[str]
    run: str
    validations: dict[int, float]


class Trials:
    """The trials of one sweep.

    Args:
        url: An RDB by its URL, or a journal by its path.
        name: Of the sweep.
        space: What varies; None to look only.
        prunes: Whether a trial ends early whose score is below the median of the others' at the same epoch.
        warn: Where to report.

    Raises:
        ConfigError: The storage cannot be opened, has no such sweep, or one with another space.
    """

    def __init__(
        self, url: str, name: str, space: Space | None, warn: Callable[[str], None], *, prunes: bool = True
    ) -> None:
        _quieten()
        self.space, self.warn, self.prunes = space, warn, prunes
        self._has_warned = False
        with _told(url):
            storage = _opened(url, self._put_back, create=space is not None)
            if space is None and name not in (names := optuna.get_all_study_names(storage)):
                problem = Problem(
                    what=f"{hidden(url)}: it has no sweep '{name}'",
                    expected=listed(names),
                    nearest=nearest(name, names),
                )
                raise ConfigError(problem)
            self.study = optuna.create_study(
                storage=storage,
                study_name=name,
                direction="maximize",
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2),
            )
            self._rdb = storage if isinstance(storage, RDBStorage) else None
            if space is not None:
                self._require_same(name, space)

    def _require_same(self, name: str, space: Space) -> None:
        ours = {"space": [one.argument for one in space.dimensions], "science": space.science}
        theirs = {key: self.study.user_attrs.get(key, value) for key, value in ours.items()}
        if ours == theirs:
            for key, value in ours.items():
                self.study.set_user_attr(key, value)
            return
        what = f"--name {name}: this sweep searches another space"
        if ours["space"] == theirs["space"]:
            what = f"--name {name}: in this sweep, settings that do not vary have other values"
        lines = (f"there: {' '.join(theirs['space'])}", f"here:  {' '.join(ours['space'])}")
        hint = "give this one another --name, or go on with the same overrides"
        raise ConfigError(Problem(what=what, more="\n".join(lines), hint=hint))

    def next(self, total: int) -> Begun | None:
        """The next trial of ``total`` in all; None where as many are done, or are run by others."""
        assert self.space is not None  # noqa: S101
        self.recover()
        trials = self.study.get_trials(deepcopy=False)
        waits = any(one.state is TrialState.WAITING for one in trials)
        if not waits and sum(map(_counts, trials)) >= total:
            return None
        trial = self.study.ask()
        try:
            trial.set_user_attr("process", msgspec.to_builtins(Process.this()))
            trials = self.study.get_trials(deepcopy=False)
            if sum(_counts(one) for one in trials if one.number < trial.number) >= total:
                trial.set_user_attr("end", "surplus")
                self.study.tell(trial, state=TrialState.FAIL)
                return None
            # Of each trial its own, so that a sweep finds the same again, and two processes do not draw the same.
            seed = hashlib.sha256(f"{self.space.science} {trial.number}".encode()).digest()[:4]
            self.study.sampler = optuna.samplers.TPESampler(seed=int.from_bytes(seed, "little"), constant_liar=True)
            values = {one.key: _suggested(trial, one) for one in self.space.dimensions}
            overrides = self.space.overrides(values)
            trial.set_user_attr("overrides", list(map(hidden_in, overrides)))
        except BaseException:
            self.interrupt(trial)
            raise
        done = (one for one in trials if one.state in (TrialState.COMPLETE, TrialState.PRUNED))
        twin = next((one for one in done if one.params == trial.params), None)
        return Begun(trial, overrides, "attempt" in trial.user_attrs, twin)

    def pruned(self, trial: optuna.Trial, epoch: int, score: float) -> bool:
        """Take down the score of a validation; returns whether the trial is to end.

        A storage that cannot be reached ends no training.
        """
        try:
            trial.report(score, epoch)
            return self.prunes and trial.should_prune()
        except _STORAGE_ERRORS as error:
            if not self._has_warned:
                self._has_warned = True
                self.warn(f"the storage of the sweep cannot be reached ({_reason(error)}): trials are not pruned now")
            return False

    @contextmanager
    def alive(self, begun: Begun) -> Iterator[None]:
        """Inside, others are shown that the trial is run; a journal has no clock, and names the process only."""
        rdb, number, done = self._rdb, begun.trial._trial_id, threading.Event()

        def beat() -> None:
            while rdb is not None:
                with suppress(*_STORAGE_ERRORS):
                    rdb.record_heartbeat(number)
                if done.wait(BEAT_S):
                    return

        thread = threading.Thread(target=beat, name="trial", daemon=True)
        if rdb is not None:
            thread.start()
        try:
            yield
        finally:
            done.set()

    def finish(self, begun: Begun, finished: Finished) -> None:
        """Take down how the run of a trial ended.

        Raises:
            ConfigError: The storage cannot be reached, however often it was tried.
        """
        value = finished.value
        if value is None or not math.isfinite(value):
            state: TrialState = TrialState.FAIL
        else:
            state = TrialState.PRUNED if finished.status == "pruned" else TrialState.COMPLETE
        said = {"run": finished.folder, "status": finished.status, "exit_code": finished.exit_code}
        if state is TrialState.FAIL:
            said["end"] = "failed"
        for pause in (1, 2, 4, 8, 16, None):
            try:
                with suppress(optuna.exceptions.UpdateFinishedTrialError):  # Others took us for dead; they repeat it.
                    for key, one in said.items():
                        begun.trial.set_user_attr(key, one)
                    told = value if state is TrialState.COMPLETE else None
                    self.study.tell(begun.trial, told, state, skip_if_finished=True)
            except _STORAGE_ERRORS as error:
                if pause is None:
                    raise ConfigError(
                        f"trial {begun.trial.number}: the storage of the sweep cannot be reached ({_reason(error)}); "
                        f"its run is done: {finished.folder or 'see above'}"
                    ) from error
                time.sleep(pause)
            else:
                return

    def copy(self, begun: Begun, twin: FrozenTrial) -> None:
        """Give a trial the result of one with the same settings: the same command gives the same weights."""
        for epoch, score in twin.intermediate_values.items():
            begun.trial.report(score, epoch)
        status = "pruned" if twin.state is TrialState.PRUNED else twin.user_attrs.get("status", "")
        self.finish(begun, Finished(0, twin.value, status, twin.user_attrs.get("run", "")))

    def interrupt(self, trial: optuna.Trial) -> None:
        """Put a trial back that this process was told to stop; it costs no attempt."""
        with suppress(*_STORAGE_ERRORS, optuna.exceptions.UpdateFinishedTrialError, ValueError):
            trial.set_user_attr("end", "interrupted")
            self.study.tell(trial, state=TrialState.FAIL)
            self._put_back(self.study, self.study.get_trials(deepcopy=False)[trial.number], cost=0)

    def recover(self) -> None:
        """Put back the trials whose processes are gone: this machine's as the kernel knows, others' by their beats."""
        for one in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if not _is_lost(one):
                continue
            # Several processes may notice; the storage lets one of them end the trial.
            with suppress(optuna.exceptions.UpdateFinishedTrialError, ValueError):
                self.study.tell(one.number, state=TrialState.FAIL)
                self._put_back(self.study, one)
        if self._rdb is not None:
            optuna.storages.fail_stale_trials(self.study)

    def _put_back(self, study: optuna.Study, trial: FrozenTrial, cost: int = 1) -> None:
        attempt = trial.user_attrs.get("attempt", 1) + cost
        said = {"repeats": trial.number, "attempt": attempt}
        if attempt <= MOST_ATTEMPTS:
            study.enqueue_trial(trial.params, user_attrs=said)
            return
        # It keeps its place among the trials, so that what always dies does not keep a sweep from its end.
        ended = {**trial.user_attrs, **said, "end": "failed", "status": "lost"}
        dead = optuna.trial.create_trial(
            state=TrialState.FAIL, params=trial.params, distributions=trial.distributions, user_attrs=ended
        )
        study.add_trial(dead)

    def rows(self) -> list[Row]:
        """Every trial, by its number, but those that were given back."""
        trials = self.study.get_trials(deepcopy=False)
        return [_row(one) for one in trials if one.user_attrs.get("end") != "surplus"]

    def importance(self) -> dict[str, float]:
        """The share of each setting in what tells the best tenth of the trials from the others (PED-ANOVA).

        None, and so no entry, where fewer than two trials are complete or their settings do not differ.
        """
        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len({one.value for one in complete}) < 2:
            return {}
        try:
            return optuna.importance.get_param_importances(self.study)
        except (ValueError, RuntimeError):
            return {}


def _suggested(trial: optuna.Trial, one: Dimension) -> object:
    if one.kind == "choice":
        return trial.suggest_categorical(one.key, one.choices)
    if one.kind == "int":
        return trial.suggest_int(one.key, int(one.low), int(one.high), step=int(one.step or 1), log=one.log)
    return trial.suggest_float(one.key, one.low, one.high, step=one.step, log=one.log)


def _counts(trial: FrozenTrial) -> bool:
    """Whether a trial is one of those that were asked for; one that was put back counts where it stands then."""
    return trial.state is not TrialState.FAIL or trial.user_attrs.get("end") == "failed"


def _is_lost(trial: FrozenTrial) -> bool:
    if (said := trial.user_attrs.get("process")) is not None:
        return msgspec.convert(said, Process).lives() is False
    began = trial.datetime_start
    return began is not None and datetime.now() - began > timedelta(seconds=NAMELESS_S)  # noqa: DTZ005 - as Optuna has it.


def _row(trial: FrozenTrial) -> Row:
    said: Mapping[str, Any] = trial.user_attrs
    status = {
        TrialState.COMPLETE: said.get("status") or "completed",
        TrialState.PRUNED: "pruned",
        TrialState.RUNNING: "running",
        TrialState.WAITING: "waiting",
    }.get(trial.state, said.get("end", "lost"))
    settings = {key: f"{value:.6g}" if isinstance(value, float) else str(value) for key, value in trial.params.items()}
    score = trial.value if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) else None
    overrides: Sequence[str] = said.get("overrides", ())
    run = said.get("run", "")
    return Row(trial.number, status, score, settings, list(overrides), run, dict(trial.intermediate_values))


def _opened(url: str, lost: Callable[[optuna.Study, FrozenTrial], None], *, create: bool) -> BaseStorage:
    if "://" not in url:
        path = Path(url).expanduser().absolute()  # Of a relative one the lock would be a link that leads nowhere.
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif not path.is_file():
            raise ConfigError(f"{url}: there is no journal of a sweep here; name the sweep's folder, or its --storage")
        return JournalStorage(JournalFileBackend(str(path)))
    waits = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}

    def connected() -> RDBStorage:
        return RDBStorage(
            url,
            engine_kwargs=waits,
            heartbeat_interval=BEAT_S,
            grace_period=3 * BEAT_S,
            heartbeat_stale_trial_callback=lost,
        )

    try:
        storage = connected()
    except SQLAlchemyError as error:  # Of several processes that make the tables of a new database one does.
        if not (isinstance(error, IntegrityError) or "already exists" in str(error)):
            raise
        time.sleep(_MAKING_S)
        storage = connected()
    if storage.engine.dialect.name == "sqlite":
        _lock_from_the_first(storage.engine)
    return storage


def _lock_from_the_first(engine: Engine) -> None:
    """Have SQLite lock its file as a transaction begins.

    By itself it does when something is written, so that of two processes that have read the same state of a trial both
    change it: they would both run it, or both put it back. Other databases lock the row that Optuna reads.
    """
    engine.dispose()
    event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))


@contextmanager
def _told(url: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        reason = error.__cause__ or error
        raise ConfigError(f"--storage {hidden(url)}: the driver of this database is missing ({reason})") from None
    except _UNREADABLE as error:
        expected = "a file, sqlite:///FILE, or postgresql://HOST/NAME and the like"
        what = f"--storage {hidden(url)}: it cannot be opened: {_reason(error)}"
        raise ConfigError(Problem(what=what, expected=expected)) from None


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error.__cause__ or error)
    return hidden(text.strip().partition("\n")[0]) or type(error).__name__


def _quieten() -> None:
    """What Optuna has to say of each trial stands in our own lines."""
    optuna.logging.set_verbosity(logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    for pattern in ("Heartbeat of storage is supposed", "The reported value is ignored because this `step`"):
        warnings.filterwarnings("ignore", message=pattern)

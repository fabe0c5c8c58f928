"""The runs of a folder: found, opened by what a user calls them, and told in a line each."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from spectramind_config import ConfigError, Problem, compose
from spectramind_config.errors import nearest, quoted
from spectramind_train.run.checkpoints import Index
from spectramind_train.run.directory import RESUMABLE, Run, path_of
from spectramind_train.run.manifest import State

_MANIFEST: Final = "manifest.json"


@dataclass(frozen=True)
class Summary:
    """A run in a line.

    Attributes:
        name: Of its directory.
        path: Its directory.
        status: What became of it; ``lost`` where its process is gone, ``unknown`` where nobody here can tell.
        started: When it began, UTC in ISO 8601.
        took_s: Seconds from then to its end, pauses included, or until now; None where the end is not known.
        model: The profile of its model.
        epochs: Epochs that were done at its newest checkpoint; None without one.
        steps: Optimizer steps likewise.
        val_score: The best validation score, of a checkpoint where the manifest has none yet.
        test_score: The score of the test planets.
        resumable: Whether it has stopped, and has a checkpoint to go on from; that it is whole is seen then.
    """

    name: str
    path: str
    status: State
    started: str
    took_s: float | None
    model: str
    epochs: int | None
    steps: int | None
    val_score: float | None
    test_score: float | None
    resumable: bool

    @classmethod
    def of(cls, run: Run) -> Summary:
        """That of a run."""
        manifest, state = run.manifest, run.manifest.state()
        try:
            index = Index.read(run.checkpoints)
        except ConfigError:
            index = Index(run.checkpoints)
        newest, best = index.newest, index.best
        return cls(
            name=run.path.resolve().name,
            path=str(run.path),
            status=state,
            started=manifest.started,
            took_s=_took(manifest.started, manifest.finished, state),
            model=manifest.profiles.get("model", "-"),
            epochs=newest.epoch if newest else None,
            steps=newest.step if newest else None,
            val_score=manifest.metrics.get("val_score_best", best.score if best else None),
            test_score=manifest.metrics.get("test_score"),
            resumable=state in RESUMABLE and newest is not None,
        )


def default_folder() -> Path:
    """Where runs are made by default: ``paths.output_dir`` of the default config."""
    return path_of(compose([]), "output_dir")


def require_folder(folder: Path) -> None:
    """Refuse what holds no runs.

    Raises:
        ConfigError: It is not there or no folder, or a run itself, or its runs lie in a folder of it.
    """
    if is_run(folder):
        raise ConfigError(
            Problem(what=f"{folder}: this is a run, not a folder of runs", see=f"runs show {quoted(str(folder))}")
        )
    if not os.path.isdir(folder):  # noqa: PTH112 - likewise.
        is_file = os.path.exists(folder)  # noqa: PTH110 - likewise.
        what = f"{folder}: {'not a folder' if is_file else 'there is no such folder'}"
        raise ConfigError(Problem(what=what, expected="a folder with runs in it", see="runs list"))
    if not _directories(folder) and (deeper := sorted(folder.glob(f"*/*/{_MANIFEST}"))):
        what = f"{folder}: no run lies in it, but runs lie in folders of it"
        raise ConfigError(Problem(what=what, nearest=str(deeper[-1].parent.parent), see="runs list FOLDER"))


def is_run(directory: Path) -> bool:
    """Whether a directory is a run's, be it a damaged one."""
    return os.path.isfile(directory / _MANIFEST)  # noqa: PTH113 - Path.is_file raises where a text is no path.


def runs_in(folder: Path, damaged: Callable[[str], None]) -> list[Run]:
    """The runs whose directories lie in a folder, the newest first.

    Args:
        folder: The folder.
        damaged: Is told of every manifest that cannot be read, in a line.
    """
    found = []
    for directory in _directories(folder):
        try:
            found.append(Run.open(directory))
        except ConfigError as error:
            damaged(str(error).partition("\n")[0])
    return sorted(found, key=lambda one: (one.manifest.started, one.manifest.run_id), reverse=True)


def run_at(path: Path) -> Run:
    """The run that a user names: by its directory, its manifest, or its name in the default folder.

    Raises:
        ConfigError: There is none, with the nearest that there is; or its manifest is damaged.
    """
    try:
        return Run.open(path)
    except ConfigError as error:
        if is_run(path):
            raise
        problem = error.problems[0]
    folders = [path, path.parent]
    with suppress(ConfigError):
        folders.append(default_folder())
    if len(path.parts) == 1 and is_run(folders[-1] / path):
        return Run.open(folders[-1] / path)
    known = {one.name: one for folder in reversed(folders) for one in _directories(folder)}
    close = nearest(path.name, known)
    newest = max(known.values(), key=_changed, default=None)
    hint = None if close or newest is None else f"the newest run near it is {newest}"
    raise ConfigError(
        dataclasses.replace(problem, nearest=str(known[close]) if close else None, hint=hint, see="runs list")
    )


def _directories(folder: Path) -> list[Path]:
    """The folders in a folder that have a manifest."""
    try:
        with os.scandir(folder) as entries:
            return [folder / one.name for one in entries if os.path.isfile(os.path.join(one.path, _MANIFEST))]  # noqa: PTH113, PTH118
    except (OSError, ValueError):
        return []


def _changed(directory: Path) -> float:
    with suppress(OSError):
        return (directory / _MANIFEST).stat().st_mtime
    return 0.0


def _took(started: str, finished: str | None, state: State) -> float | None:
    end = finished if state != "running" else datetime.now(UTC).isoformat()
    with suppress(ValueError, TypeError):  # A stranger's may hold any text, and no time zone.
        if end is not None:
            return (datetime.fromisoformat(end) - datetime.fromisoformat(started)).total_seconds()
    return None

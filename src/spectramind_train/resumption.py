"""Which run to go on with, whether it is still the same training, and where it may write."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

from spectramind_config import ConfigError, EffectiveConfig, Problem, compose, from_dict
from spectramind_config.commands.command import shown
from spectramind_config.commands.configs import differences, report
from spectramind_config.errors import quoted
from spectramind_train.run.directory import Run, path_of
from spectramind_train.run.manifest import read_manifest
from spectramind_train.run.plan import RunPlan
from spectramind_train.run.terminal import Terminal
from spectramind_train.run.tracking import place_of


def config_of(run: Run, warn: Callable[[str], None]) -> EffectiveConfig:
    """The config that a run was started with, or last resumed with, to go on with.

    The manifest may be a stranger's. So a place outside of the run's directory that only the manifest names is written
    to where it shows that runs have written there before: the folder holds a cache, the store is MLflow's, the file is
    the manifest of this very run. Others are replaced by this user's own.

    Args:
        run: The run.
        warn: Where places that are not used are named.

    Raises:
        ConfigError: This version does not take it.
    """
    file = f"{run.path}/manifest.json"
    config = from_dict(run.manifest.config, file)
    own = compose([])
    values = config.to_dict()
    how = (
        f"to use it all the same, resume the run with its overrides: spectramind train OVERRIDE... --resume {run.path}"
    )
    cache = path_of(config, "cache_dir")
    if not (_is_within(run, cache) or cache == path_of(own, "cache_dir") or _is_cache(cache)):
        values["paths"]["cache_dir"] = own.paths.cache_dir
        warn(f"{file}: paths.cache_dir={cache} holds no cache; {own.paths.cache_dir} is used. {how}")
    newest = path_of(config, "run_manifest")
    if not (_is_within(run, newest) or newest == path_of(own, "run_manifest") or _is_manifest(newest, run)):
        values["paths"]["run_manifest"] = str(run.path / newest.name)
        warn(f"{file}: paths.run_manifest={newest} is not the manifest of this run, and is left as it is. {how}")
    store = place_of(config.mlflow.tracking_uri) if config.mlflow.enabled else None
    if store is not None and not (
        _is_within(run, store) or store == place_of(own.mlflow.tracking_uri) or _is_store(store)
    ):
        values["mlflow"]["enabled"] = False
        warn(
            f"{file}: mlflow.tracking_uri={config.mlflow.tracking_uri} holds no runs of MLflow's, and nothing is "
            f"tracked; spectramind track sync {run.path} --uri URI does that later. {how}"
        )
    return config if values == config.to_dict() else from_dict(values, file)


def _is_within(run: Run, path: Path) -> bool:
    return run.path.resolve() in path.resolve().parents


def _is_cache(folder: Path) -> bool:
    return any(path.is_dir() for pattern in ("planets", "simulated-*") for path in folder.glob(pattern))


def _is_manifest(file: Path, run: Run) -> bool:
    """Whether a file is this run's manifest, or that of a run that began later, which is left alone anyway."""
    with suppress(ConfigError):
        found = read_manifest(file)
        return found.run_id == run.manifest.run_id or found.started > run.manifest.started
    return False


def _is_store(path: Path) -> bool:
    if path.is_dir():
        return (path / ".trash").is_dir()
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as store:
            return bool(store.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchall())
    except sqlite3.Error:
        return False


def chosen(run: Run | None, config: EffectiveConfig, terminal: Terminal) -> Run | None:
    """The run to go on with: the given one, or the newest of the same science; None, said so, where there is none.

    Raises:
        ConfigError: The given run cannot be resumed, or belongs to another training.
    """
    if run is None:
        run = newest(config, terminal.warn)
        if run is None:
            terminal.say(f"nothing to resume in {config.paths.output_dir}: a new run starts")
            return None
    saved = run.require_resumable(terminal.warn)
    changed = list(_changes(run, config))
    terminal.say(f"resuming {run.path} after step {saved.step}, in epoch {saved.epoch + 1}")
    for line in changed:
        terminal.say(f"  {line}")
    return run


def require_same_host(run: Run, plan: RunPlan, terminal: Terminal) -> None:
    """Warn where this host computes otherwise than the run's did.

    Raises:
        ConfigError: The number of processes differs, and with it what a step sees.
    """
    before = run.manifest.plan
    processes = before["devices"] * before["num_nodes"]
    if processes != plan.world_size:
        raise ConfigError(
            f"{run.path}: the run was trained by {processes} process(es), and here it would be {plan.world_size}, of "
            "which each step sees other planets; resume it where it has as many devices, or train a new run: "
            f"{_command(run.manifest.overrides)}"
        )
    for name in ("accelerator", "precision", "threads"):
        if before[name] != (now := getattr(plan, name)):
            terminal.warn(
                f"{name} was {before[name]} and is {now}: the weights will not be bit for bit those of a run that was "
                "never interrupted"
            )


def _changes(run: Run, config: EffectiveConfig) -> Iterator[str]:
    """The settings of the machine that differ from the run's, a line each."""
    before = from_dict(run.manifest.config, f"{run.path}/manifest.json")
    found = differences(before, config)
    if before.science_fingerprint != config.science_fingerprint:
        lines = (
            f"A: {run.path}",
            "B: this command",
            *report(found),
            f"to go on as it was:   spectramind train --resume {quoted(str(run.path))}",
            f"to train a new run:   {_command(config.overrides)}",
        )
        raise ConfigError(Problem(what=f"{run.path}: the run was trained with another config", more="\n".join(lines)))
    for path, ours, theirs in found:
        yield f"{path}: {' -> '.join(shown(one.value) if one else 'not set' for one in (ours, theirs))}"


def _command(overrides: Sequence[str]) -> str:
    return " ".join(["spectramind train", *map(quoted, overrides)])


def newest(config: EffectiveConfig, warn: Callable[[str], None]) -> Run | None:
    """The newest run of a config's science in its output folder that can be resumed; None where there is none.

    One that may still run on another machine is not taken.
    """
    found: list[Run] = []
    for file in path_of(config, "output_dir").glob("*/manifest.json"):
        with suppress(ConfigError):
            found.append(Run.open(file.parent))
    for run in sorted(found, key=lambda one: (one.manifest.started, one.manifest.run_id), reverse=True):
        if run.manifest.science_fingerprint != config.science_fingerprint:
            continue
        if run.manifest.state() == "unknown":
            warn(f"{run.path} is {run.manifest.describe()}; if it is gone: spectramind train --resume {run.path}")
            continue
        with suppress(ConfigError):
            run.require_resumable(warn)
            return run
    return None

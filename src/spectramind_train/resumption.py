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
from spectramind_train.run.catalogue import run_at, runs_in
from spectramind_train.run.directory import Run, path_of
from spectramind_train.run.liveness import Process
from spectramind_train.run.manifest import read_manifest
from spectramind_train.run.plan import RunPlan
from spectramind_train.run.ranks import Ranks
from spectramind_train.run.terminal import Terminal
from spectramind_train.run.tracking import place_of

AUTO = "auto"
"""What is written for the newest run of the same training."""


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
    if cache_of(run, config) != cache:
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


def cache_of(run: Run, config: EffectiveConfig, warn: Callable[[str], None] = lambda _: None) -> Path:
    """The cache of a run's config; this user's own where that lies outside of the run and nothing shows that it is one.

    Args:
        run: The run.
        config: Its config.
        warn: Where a place that is not used is named.
    """
    cache, own = path_of(config, "cache_dir"), path_of(compose([]), "cache_dir")
    if _is_within(run, cache) or cache == own or _is_cache(cache):
        return cache
    warn(f"{run.path}/manifest.json: paths.cache_dir={cache} holds no cache; {own} is used, SM_CACHE_DIR names another")
    return own


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


def to_resume(
    resume: str | None, config: EffectiveConfig, plan: RunPlan, ranks: Ranks | None, terminal: Terminal
) -> Run | None:
    """The run to go on with; None for a new one.

    A SLURM job that was put back into the queue, and processes that torchrun starts again, go on with their own.

    Args:
        resume: The directory or the manifest of a run; ``auto`` for the newest of the same training, if there is one.
        config: What to train.
        plan: How this host does it.
        ranks: The processes that train together with this one, where something else has started them.
        terminal: Where to report.

    Raises:
        ConfigError: The run cannot be resumed, or belongs to another training.
    """
    this = Process.this()
    again = this.restarts or (ranks is not None and ranks.starter == "torchrun")
    if this.job and again and (run := newest(config, plan, terminal.warn, job=this.job)) is not None:
        return chosen(run, config, plan, terminal)
    if resume is None:
        return None
    return chosen(None if resume == AUTO else run_at(Path(resume)), config, plan, terminal)


def chosen(run: Run | None, config: EffectiveConfig, plan: RunPlan, terminal: Terminal) -> Run | None:
    """The run to go on with: the given one, or the newest of the same training; None, said so, where there is none.

    A training may go on with another number of processes, as long as each step sees as many planets as before.

    Raises:
        ConfigError: The given run cannot be resumed, or belongs to another training.
    """
    if run is None:
        run = newest(config, plan, terminal.warn)
        if run is None:
            terminal.say(f"nothing to resume in {config.paths.output_dir}: a new run starts")
            return None
    saved = run.require_resumable(terminal.warn)
    changed = list(_changes(run, config))
    before = _planets_a_step(run)
    processes, rest = plan.world_size, before % plan.world_size
    if before != config.data.batch_size * processes:
        raise ConfigError(
            Problem(
                what=f"{run.path}: each step of the run sees {before} planets, and here it would see "
                f"{config.data.batch_size * processes}: {processes} process(es) with data.batch_size="
                f"{config.data.batch_size} each",
                hint=f"to train a new run: {_command(config.overrides)}",
                instead=None if rest else f"data.batch_size={before // processes}",
                argument=config.origin("data.batch_size").argument or "data.batch_size added",
            ),
            config.overrides,
        )
    where = f"after step {saved.step}, in epoch {saved.epoch + 1}" if saved else "from its start: it has no checkpoint"
    terminal.say(f"resuming {run.path} {where}")
    for line in changed:
        terminal.say(f"  {line}")
    _compare_hosts(run, plan, terminal)
    return run


def _planets_a_step(run: Run) -> int:
    """How many planets the processes of a run see together in each step."""
    return int(run.manifest.config["data"]["batch_size"]) * _processes(run)


def _processes(run: Run) -> int:
    return int(run.manifest.plan["devices"]) * int(run.manifest.plan["num_nodes"])


def _is_same_training(before: EffectiveConfig, config: EffectiveConfig) -> bool:
    """Whether two configs train the same, but for how the planets of a step are dealt out to processes."""
    if before.science_fingerprint == config.science_fingerprint:
        return True
    dealt = {
        "data.batch_size": before.data.batch_size,
        "local.devices": before.devices,
        "trainer.strategy": before.strategy,
        "trainer.num_nodes": before.num_nodes,
        "trainer.cpu_processes": before.cpu_processes,
    }
    alike = config.with_overrides([f"{path}={value}" for path, value in dealt.items()])
    return alike.science_fingerprint == before.science_fingerprint


def _is_candidate(run: Run, config: EffectiveConfig, plan: RunPlan) -> bool:
    if run.manifest.science_fingerprint == config.science_fingerprint:
        return True
    if _planets_a_step(run) != config.data.batch_size * plan.world_size:
        return False
    with suppress(ConfigError):
        return _is_same_training(from_dict(run.manifest.config, f"{run.path}/manifest.json"), config)
    return False


def _compare_hosts(run: Run, plan: RunPlan, terminal: Terminal) -> None:
    """Warn where this host computes otherwise than the run's did."""
    before, processes = run.manifest.plan, _processes(run)
    if processes != plan.world_size:
        terminal.warn(
            f"{processes} process(es) trained the run, and now {plan.world_size} do: each draws random numbers of its "
            "own, so the weights will not be those of a run that was never interrupted"
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
    if not _is_same_training(before, config):
        lines = (
            f"A: {run.path}",
            "B: this command",
            *report(found),
            f"to go on as it was:   spectramind train --resume {quoted(str(run.path))}",
            f"to train a new run:   {_command(config.overrides)}",
        )
        raise ConfigError(Problem(what=f"{run.path}: the run was trained with another config", more="\n".join(lines)))
    for path, sides in found:
        yield f"{path}: {' -> '.join(shown(one.value) if one else 'not set' for one in sides)}"


def _command(overrides: Sequence[str]) -> str:
    return " ".join(["spectramind train", *map(quoted, overrides)])


def newest(config: EffectiveConfig, plan: RunPlan, warn: Callable[[str], None], *, job: str = "") -> Run | None:
    """The newest run of a config's training in its output folder that can be resumed; None where there is none.

    One that may still run on another machine is not taken.

    Args:
        config: What it trains.
        plan: How this host would do it: with as many planets in each step as the run.
        warn: Where runs that may still run are named.
        job: Only the runs of this job, of whose earlier life nothing runs any more.
    """
    for run in runs_in(path_of(config, "output_dir"), lambda _: None):
        process = run.manifest.process
        if (job and not (process and process.job == job)) or not _is_candidate(run, config, plan):
            continue
        if run.manifest.state() == "unknown" and not job:
            warn(f"{run.path} is {run.manifest.describe()}; if it is gone: spectramind train --resume {run.path}")
            continue
        with suppress(ConfigError):
            if run.require_resumable(warn) is not None:
                return run
    return None

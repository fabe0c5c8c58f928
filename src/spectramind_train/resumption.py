"""Which run to go on with, and whether it is still the same training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from spectramind_config import ConfigError, EffectiveConfig, Problem, from_dict
from spectramind_config.commands.command import shown
from spectramind_config.commands.configs import differences, report
from spectramind_config.errors import quoted
from spectramind_train.run.directory import Run, path_of
from spectramind_train.run.plan import RunPlan
from spectramind_train.run.terminal import Terminal


def config_of(run: Run) -> EffectiveConfig:
    """The config that a run was started with, or last resumed with.

    Raises:
        ConfigError: This version does not take it.
    """
    return from_dict(run.manifest.config, f"{run.path}/manifest.json")


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
    before = config_of(run)
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

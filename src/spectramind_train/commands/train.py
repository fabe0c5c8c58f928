"""The commands ``train`` and ``reproduce``: one run, by the effective config of the overrides or by a manifest."""

from __future__ import annotations

import functools
import math
import sys
from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from spectramind_config import ConfigError, EffectiveConfig, Problem
from spectramind_config.commands import jobs
from spectramind_config.commands.command import Parser
from spectramind_config.commands.program import of_run
from spectramind_config.commands.ranking import Finished, Stop
from spectramind_config.errors import write
from spectramind_config.host import Host
from spectramind_train.commands.runs import of_one, opened
from spectramind_train.run import clock, signals
from spectramind_train.run.children import ProcessFailedError
from spectramind_train.run.ranks import Ranks, here, require_starter
from spectramind_train.run.slurm import launching, requeue

if TYPE_CHECKING:
    from spectramind_train.learning.callbacks import Prunes
    from spectramind_train.run.plan import RunPlan
    from spectramind_train.run.terminal import Terminal

_AUTO = "auto"


def run(options: Namespace, root: type[EffectiveConfig]) -> int:
    """Train with the config of a command line, or several where it sweeps; returns the exit code.

    Raises:
        ConfigError: A mistake of the user's.
    """
    ranks = here()
    if ranks is None:
        return _train_alone(options, root)
    if ranks.rank:
        return _follow(ranks)
    with ranks.leading():
        if jobs.sweeps(options):
            what = f"{ranks.starter} has started {ranks.size} processes, and each would do the whole sweep"
            raise ConfigError(Problem(what=what, hint="start a sweep by itself: a launcher starts its jobs"))
        return _train_alone(options, root)


def _train_alone(options: Namespace, root: type[EffectiveConfig]) -> int:
    if options.resume in (None, _AUTO):
        # A sweep tells of the jobs that are done. Where joblib has started some, they are to save what they have first.
        heeds = signals.deferred if "hydra/launcher=joblib" in options.overrides else signals.raising
        with heeds() if jobs.sweeps(options) else nullcontext():
            return jobs.run(options, root, functools.partial(train, resume=options.resume), launching)
    if jobs.sweeps(options):
        what = f"--resume {options.resume}: a sweep has a run for each of its points, and this is one run"
        raise ConfigError(Problem(what=what, hint="write --resume auto: each point goes on with its own"))
    task = functools.partial(train, resume=options.resume)
    if options.overrides:
        return jobs.run(options, root, task)
    from spectramind_train.resumption import config_of
    from spectramind_train.run.catalogue import run_at
    from spectramind_train.run.terminal import Terminal

    return task(config_of(run_at(Path(options.resume)), Terminal().warn)).exit_code


def train(config: EffectiveConfig, *, resume: str | None = None, prunes: Prunes | None = None) -> Finished:
    """Train with a config; the value for a sweeper is the best validation score.

    Args:
        config: What to train.
        resume: The directory or the manifest of a run to go on with; ``auto`` for the newest that has the config's
            science, or a new one where there is none.
        prunes: Says after each validation whether to end.
    """
    deadline = clock.deadline(config.max_time)
    ranks = here()
    if ranks is not None and ranks.rank:
        return Finished(_follow(ranks))
    with ranks.leading() if ranks else nullcontext():
        return _lead(config, resume, deadline, ranks, prunes)


def _lead(
    config: EffectiveConfig, resume: str | None, deadline: float | None, ranks: Ranks | None, prunes: Prunes | None
) -> Finished:
    from spectramind_train.planning.estimate import foresee_memory
    from spectramind_train.run.accelerators import usable
    from spectramind_train.run.plan import plan
    from spectramind_train.run.terminal import Terminal

    terminal = Terminal.of(config)
    host = usable(Host.detect(), terminal.warn)
    run_plan = plan(config, host)
    require_starter(ranks, config, run_plan)
    foresee_memory(config, run_plan, host, terminal.warn)
    _announce(config, run_plan, terminal)
    from spectramind_train.resumption import to_resume
    from spectramind_train.training import EXIT_WALLTIME
    from spectramind_train.training import train as train_run

    run = to_resume(resume, config, run_plan, ranks, terminal)
    try:
        outcome = train_run(
            config, run_plan, host, terminal, deadline=deadline, resumed=run, ranks=ranks, prunes=prunes
        )
    except ProcessFailedError as error:
        return Finished(failed(error), math.nan, "failed")
    if outcome.exit_code == EXIT_WALLTIME:
        requeue()
    # Torch's agent would take 75 for a fault, and start the run again.
    code = 0 if ranks is not None and ranks.starter == "torchrun" else outcome.exit_code
    status, folder = outcome.run.manifest.status, str(outcome.run.path.absolute())
    if status == "interrupted":
        raise Stop(Finished(outcome.exit_code, outcome.score, status, folder))
    return Finished(code, outcome.score, status, folder)


def failed(error: ProcessFailedError) -> int:
    """Say what a process of ours has died of; returns the exit code."""
    write(f"error: {error}", sys.stderr)
    return 1


def _follow(ranks: Ranks) -> int:
    """Train together with the first process of a run, when that has prepared it; returns the exit code."""
    signals.of_rank()
    ranks.meet()
    try:
        start = ranks.start()
    except ConnectionError as error:
        write(f"error: {error}", sys.stderr)
        return 1
    if not start.run:
        return start.exit_code
    from spectramind_train.learning.processes import train_as_one

    return train_as_one(ranks, start)


def _announce(config: EffectiveConfig, run_plan: RunPlan, terminal: Terminal) -> None:
    choices = " ".join(f"{group}={name}" for group, name in config.profiles.items())
    terminal.say(f"{choices}  fingerprint {config.fingerprint[:12]}")
    nodes = f"{run_plan.num_nodes} nodes with " if run_plan.num_nodes > 1 else ""
    where = f"{nodes}{run_plan.devices} x {run_plan.accelerator}"
    terminal.say(f"on {where}, precision {run_plan.precision}, {run_plan.threads} threads")
    for warning in config.warnings:
        terminal.warn(warning)
    for decision in run_plan.decisions:
        if decision.loud:
            terminal.warn(f"{decision.setting}={decision.requested}: {decision.reason}")


def reproduce(options: Namespace, _: type[EffectiveConfig]) -> int:
    """Train a run's config again, and compare; returns the exit code.

    Raises:
        ConfigError: The run cannot be done again, or not in this way.
    """
    from spectramind_train import reproduction
    from spectramind_train.run.accelerators import usable
    from spectramind_train.run.plan import plan
    from spectramind_train.run.terminal import Terminal
    from spectramind_train.training import train as train_run

    run = opened(options.run, Terminal())
    config = reproduction.rebuild(run, options.overrides)
    terminal = Terminal.of(config)
    host = usable(Host.detect(), terminal.warn)
    run_plan = reproduction.as_then(plan(config, host), run.manifest)
    found = reproduction.differences(run.manifest, config, run_plan, host)
    reproduction.report(found, run, terminal)
    if options.check:
        return 0
    reproduction.require_completed(run)
    _announce(config, run_plan, terminal)
    outcome = train_run(config, run_plan, host, terminal, deadline=clock.deadline(config.max_time))
    if outcome.run.manifest.status == "interrupted":
        return outcome.exit_code
    return reproduction.compare(run, outcome, found, terminal)


def arguments(parser: Parser) -> None:
    """The arguments of ``train``."""
    of_run(parser)
    about = "go on with a run, its directory or manifest; auto: the newest of the same config, else a new one"
    parser.add_argument("--resume", metavar="RUN", help=about)


def of_reproduce(parser: Parser) -> None:
    """The arguments of ``reproduce``."""
    of_one(parser)
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="what does not change the result, such as local.output_dir=DIR"
    )
    parser.add_argument("--check", action="store_true", help="only say what differs in code, packages, data and host")

"""The ``spectramind`` command: runs here, configs and profiles by ``spectramind_config``.

Frameworks are imported only by the commands that need them.
"""

from __future__ import annotations

import functools
import math
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from spectramind_config import ConfigError, EffectiveConfig, NominalData, Problem, compose, from_dict
from spectramind_config.commands import jobs
from spectramind_config.commands.command import Command, Parser, out
from spectramind_config.commands.program import Program, of_run
from spectramind_config.commands.ranking import Finished, Stop
from spectramind_config.errors import silence, write
from spectramind_config.host import Host
from spectramind_train import sweep
from spectramind_train.run import clock, signals
from spectramind_train.run.children import ProcessFailedError
from spectramind_train.run.ranks import Ranks, here, require_starter
from spectramind_train.run.slurm import launching, requeue

if TYPE_CHECKING:
    from spectramind_train.run.directory import Run
    from spectramind_train.run.plan import RunPlan
    from spectramind_train.run.terminal import Terminal

_AUTO = "auto"
Prunes = Callable[[int, float], bool] | None


def _train(options: Namespace, root: type[EffectiveConfig]) -> int:
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
    from spectramind_train.run.directory import Run
    from spectramind_train.run.terminal import Terminal

    return task(config_of(Run.open(Path(options.resume)), Terminal().warn)).exit_code


def train(config: EffectiveConfig, *, resume: str | None = None, prunes: Prunes = None) -> Finished:
    """Train with a config; the value for a sweeper is the best validation score.

    Args:
        config: What to train.
        resume: The directory or the manifest of a run to go on with; ``auto`` for the newest that has the config's
            science, or a new one where there is none.
        prunes: Is told the epoch of every validation, from 0, and its score; says whether to end.
    """
    deadline = clock.deadline(config.max_time)
    ranks = here()
    if ranks is not None and ranks.rank:
        return Finished(_follow(ranks))
    with ranks.leading() if ranks else nullcontext():
        return _lead(config, resume, deadline, ranks, prunes)


def _lead(
    config: EffectiveConfig, resume: str | None, deadline: float | None, ranks: Ranks | None, prunes: Prunes
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
        return Finished(_failed(error), math.nan, "failed")
    if outcome.exit_code == EXIT_WALLTIME:
        requeue()
    # Torch's agent would take 75 for a fault, and start the run again.
    code = 0 if ranks is not None and ranks.starter == "torchrun" else outcome.exit_code
    status, folder = outcome.run.manifest.status, str(outcome.run.path.absolute())
    if status == "interrupted":
        raise Stop(Finished(outcome.exit_code, outcome.score, status, folder))
    return Finished(code, outcome.score, status, folder)


def _failed(error: ProcessFailedError) -> int:
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


def _plan(options: Namespace, _: type[EffectiveConfig]) -> int:
    from spectramind_train.planning import command

    return command.run(options)


def _warn_unless_ended(run: Run, terminal: Terminal) -> None:
    if run.manifest.status == "running":
        terminal.warn(f"{run.path} is {run.manifest.describe()}")


def _predict(options: Namespace, _: type[EffectiveConfig]) -> int:
    from spectramind_train.run.directory import Run
    from spectramind_train.run.terminal import Terminal

    run, terminal = Run.open(options.run), Terminal()
    _warn_unless_ended(run, terminal)
    from spectramind_train.ariel.lightcurves import read_binned
    from spectramind_train.ariel.tables import write_submission
    from spectramind_train.learning.batches import PlanetDataset, loader
    from spectramind_train.planets.preparation import Planet
    from spectramind_train.results.prediction import load_model, predict
    from spectramind_train.results.report import report_spectra
    from spectramind_train.transit.spectrum_fit import fit_transit

    checkpoint = run.checkpoint(terminal.warn)
    config = from_dict(run.manifest.config, f"{run.path}/manifest.json")
    curves = read_binned(options.data)
    planets = [Planet(one.planet_id, one, fit_transit(one, None), None) for one in curves]
    batches = loader(PlanetDataset(planets), batch_size=config.data.batch_size)
    prediction = predict(load_model(config, checkpoint), planets, batches)
    output = options.output or run.path / f"predictions_{options.data.stem}.csv"
    try:
        write_submission(output, prediction.planet_ids, prediction.mu, prediction.sigma)
    except OSError as error:
        raise ConfigError(f"{output}: cannot be written ({error.strerror}); name another file with --output") from error
    report_spectra(planets, prediction, terminal)
    terminal.say(f"written: {output}")
    return 0


def _sync(options: Namespace, _: type[EffectiveConfig]) -> int:
    from spectramind_train.run.directory import Run
    from spectramind_train.run.terminal import Terminal
    from spectramind_train.run.tracking import sync

    run, terminal = Run.open(options.run), Terminal()
    _warn_unless_ended(run, terminal)
    sync(run, terminal, options.uri)
    return 0


def _reproduce(options: Namespace, _: type[EffectiveConfig]) -> int:
    from spectramind_train import reproduction
    from spectramind_train.run.accelerators import usable
    from spectramind_train.run.directory import Run
    from spectramind_train.run.plan import plan
    from spectramind_train.run.terminal import Terminal
    from spectramind_train.training import train as train_run

    run = Run.open(options.run)
    config = reproduction.rebuild(run, options.overrides)
    terminal = Terminal.of(config)
    _warn_unless_ended(run, terminal)
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


def _check(options: Namespace, _: type[EffectiveConfig]) -> int:
    from spectramind_train.ariel.dataset import Dataset, check
    from spectramind_train.run.terminal import Terminal

    if problems := check(options.folder):
        raise ConfigError([Problem(what=one) for one in problems])
    dataset = Dataset(options.folder)
    counts = {split: len(dataset.planet_ids(split)) for split in ("train", "test")}
    planets = f"{counts['train']} labelled planets and {counts['test']} others"
    Terminal().say(f"{options.folder}: {planets}, every file in its layout")
    return 0


def _simulate(options: Namespace, _: type[EffectiveConfig]) -> int:
    from spectramind_train.run.terminal import Terminal
    from spectramind_train.simulated.data_set import simulate

    folder, config = options.folder, compose(options.overrides)
    if not isinstance(config.data, NominalData):
        raise ConfigError(f"data={config.data.name} has no simulation; use data=nominal")
    terminal = Terminal.of(config)
    with signals.raising(), terminal.progress("simulating planets") as progress:
        simulate(folder, config.data.simulation, progress=progress, workers=Host.detect().cores)
    terminal.say(
        f"{folder}: {config.data.simulation.planets} labelled planets; train on them with SM_DATA_ROOT={folder}"
    )
    return 0


def _of_train(parser: Parser) -> None:
    of_run(parser)
    about = "go on with a run, its directory or manifest; auto: the newest of the same config, else a new one"
    parser.add_argument("--resume", metavar="RUN", help=about)


def _of_plan(parser: Parser) -> None:
    from spectramind_train.planning import command

    command.arguments(parser)


def _of_predict(parser: Parser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's directory or its manifest")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="binned light curves, .npy or .npz")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="the table to write (default: in the run's directory)"
    )


def _of_sync(parser: Parser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's directory or its manifest")
    parser.add_argument("--uri", metavar="URI", help="the server (default: that of the run)")


def _of_reproduce(parser: Parser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's directory or its manifest")
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="what does not change the result, such as local.output_dir=DIR"
    )
    parser.add_argument("--check", action="store_true", help="only say what differs in code, packages, data and host")


def _of_check(parser: Parser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="the data set's folder")


def _of_simulate(parser: Parser) -> None:
    _of_check(parser)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="such as data.simulation.planets=24")


def _command(
    words: str,
    text: str,
    run: Callable[[Namespace, type[EffectiveConfig]], int],
    arguments: Callable[[Parser], None],
    *,
    is_run: bool = False,
) -> Command:
    """A command that says what to install where a package is missing, and what a process of ours has died of."""

    def checked(options: Namespace, _: object) -> int:
        try:
            return run(options, EffectiveConfig)
        except ProcessFailedError as error:
            return _failed(error)
        except ModuleNotFoundError as error:
            if error.name is not None and error.name.startswith("spectramind"):
                raise
            raise ConfigError(
                f"spectramind {words} needs the training packages ({error.name} is missing): "
                "pip install 'spectramind[train]'"
            ) from None

    return Command(words, text, checked, arguments, is_run=is_run)


PROGRAM = Program(
    EffectiveConfig,
    "spectramind",
    commands=(
        _command("train", "train a model with the effective config of the overrides", _train, _of_train, is_run=True),
        _command("sweep", "search for good settings", functools.partial(sweep.run, train=train), sweep.of_run),
        _command("trials", "what a sweep has found; starts nothing", sweep.report, sweep.of_report),
        _command("plan", "what a host would do with it, and what that takes", _plan, _of_plan),
        _command("predict", "spectra of binned light curves, with a trained run", _predict, _of_predict),
        _command("track sync", "deliver to MLflow what it has not received of a run", _sync, _of_sync),
        _command("reproduce", "train a run's config again, and compare", _reproduce, _of_reproduce),
        _command("data simulate", "write a simulated data set in the challenge's layout", _simulate, _of_simulate),
        _command("data check", "look for damage in a data set", _check, _of_check),
    ),
    about="Typed training profiles, and a training package for exoplanet spectra.",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. A process that is this command, and no more, takes its signals."""
    if argv is None:
        signals.install()
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments[:1] == ["--version"]:
        from importlib.metadata import version

        try:
            out(f"spectramind {version('spectramind')}")
        except OSError as error:
            silence()
            return ConfigError(f"the output: {error.strerror}").tell()
        return 0
    if arguments[:1] in (["-sc"], ["--shell-completion"]):  # What the shell calls knows of no commands.
        return PROGRAM.main(["train", *arguments])
    return PROGRAM.main(argv)


if __name__ == "__main__":
    sys.exit(main())

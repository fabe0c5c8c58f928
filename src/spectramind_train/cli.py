"""The commands of ``spectramind`` that concern runs; frameworks are imported only by those that need them."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from spectramind_config import ConfigError, EffectiveConfig, compose, from_dict, hydra_app
from spectramind_config.host import Host
from spectramind_train.run.clock import run_start
from spectramind_train.run.directory import Run
from spectramind_train.run.plan import RunPlan, plan, without_cuda
from spectramind_train.run.terminal import Terminal


def train_command(arguments: Sequence[str]) -> int:
    """``spectramind train [overrides…]``."""
    command = hydra_app.read(arguments)
    hydra_app.check(command)
    if command.needs_hydra:
        return hydra_app.run(_start, command, sys.argv[0])
    return _start(compose(command.overrides))


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM leaves as an exception does, so that worker processes and unfinished files go with the process."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@_terminable()
def _start(config: EffectiveConfig) -> int:
    started = run_start()
    terminal = Terminal.of(config)
    host = _usable(Host.detect(), terminal)
    run_plan = plan(config, host)
    _announce(config, run_plan, terminal)
    from spectramind_train.training import train

    return train(config, run_plan, host, terminal, started=started).exit_code


def _usable(host: Host, terminal: Terminal) -> Host:
    """The host with the GPUs that the installed torch can use; a build without CUDA uses none."""
    if not host.gpus:
        return host
    import torch

    usable = torch.cuda.device_count()
    if usable < len(host.gpus):
        terminal.warn(
            f"{host.name} has {len(host.gpus)} GPU(s), but torch {torch.__version__} can use {usable} of them"
        )
    return without_cuda(host, usable)


def _announce(config: EffectiveConfig, run_plan: RunPlan, terminal: Terminal) -> None:
    choices = " ".join(f"{group}={name}" for group, name in config.profiles.items())
    terminal.say(f"{choices}  fingerprint {config.fingerprint[:12]}")
    where = f"{run_plan.devices} x {run_plan.accelerator}, precision {run_plan.precision}, {run_plan.threads} threads"
    terminal.say(f"on {where}")
    for warning in config.warnings:
        terminal.warn(warning)
    for decision in run_plan.decisions:
        if decision.loud:
            terminal.warn(f"{decision.setting}={decision.requested}: {decision.reason}")


def plan_command(arguments: Sequence[str]) -> int:
    """``spectramind plan [overrides…]``."""
    config = compose(list(arguments))
    host = Host.detect()
    run_plan = plan(config, host)
    terminal = Terminal()
    gpus = ", ".join(host.gpus) or ("Apple GPU" if host.mps else "no GPU")
    scheduler = f", {host.scheduler} job" if host.scheduler else ""
    terminal.say(f"{host.name}: {gpus}, {host.cores} CPU cores{scheduler}")
    terminal.say(f"devices      {run_plan.devices} x {run_plan.accelerator}, {run_plan.num_nodes} node(s)")
    terminal.say(f"strategy     {run_plan.strategy}")
    terminal.say(f"precision    {run_plan.precision}")
    workers = "/".join(map(str, run_plan.num_workers))
    terminal.say(f"loaders      {workers} workers for train/val/test, {run_plan.threads} threads each process")
    for decision in run_plan.decisions:
        terminal.say(f"  {decision.setting}: {decision.requested} -> {decision.effective}, because {decision.reason}")
    return 0


def predict_command(arguments: Sequence[str]) -> int:
    """``spectramind predict RUN --data FILE``."""
    parser = argparse.ArgumentParser("spectramind predict", description="Predict spectra with a trained run.")
    parser.add_argument("run", type=Path, help="the run's directory or its manifest")
    parser.add_argument("--data", type=Path, required=True, help="binned light curves, .npy or .npz")
    parser.add_argument("--output", type=Path, help="the table to write (default: in the run's directory)")
    options = parser.parse_args(list(arguments))
    run = Run.open(options.run)
    checkpoint = run.checkpoint()
    from spectramind_train.ariel.lightcurves import read_binned
    from spectramind_train.ariel.tables import write_submission
    from spectramind_train.learning.batches import PlanetDataset, loader
    from spectramind_train.planets.preparation import Planet
    from spectramind_train.results.prediction import load_model, predict
    from spectramind_train.results.report import report_spectra
    from spectramind_train.transit.spectrum_fit import fit_transit

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
    terminal = Terminal()
    report_spectra(planets, prediction, terminal)
    terminal.say(f"written: {output}")
    return 0


def data_command(arguments: Sequence[str]) -> int:
    """``spectramind data simulate|check DIR``."""
    parser = argparse.ArgumentParser("spectramind data", description="Simulate a data set, or look for damage in one.")
    commands = parser.add_subparsers(dest="command", required=True)
    simulate_parser = commands.add_parser("simulate", help="write a simulated data set in the challenge's layout")
    simulate_parser.add_argument("folder", type=Path)
    simulate_parser.add_argument("overrides", nargs="*", help="such as data.simulation.planets=24")
    check_parser = commands.add_parser("check", help="compare every file with the layout")
    check_parser.add_argument("folder", type=Path)
    options = parser.parse_args(list(arguments))
    if options.command == "check":
        return _check(options.folder)
    return _simulate(options.folder, compose(options.overrides))


def _check(folder: Path) -> int:
    from spectramind_train.ariel.dataset import Dataset, check

    problems = check(folder)
    if problems:
        raise ConfigError("\n".join(problems))
    dataset = Dataset(folder)
    counts = {split: len(dataset.planet_ids(split)) for split in ("train", "test")}
    Terminal().say(
        f"{folder}: {counts['train']} labelled planets and {counts['test']} others, every file in its layout"
    )
    return 0


@_terminable()
def _simulate(folder: Path, config: EffectiveConfig) -> int:
    from spectramind_config import NominalData
    from spectramind_train.simulated.data_set import simulate

    if not isinstance(config.data, NominalData):
        raise ConfigError(f"data={config.data.name} has no simulation; use data=nominal")
    terminal = Terminal.of(config)
    with terminal.progress("simulating planets") as progress:
        simulate(folder, config.data.simulation, progress=progress, workers=Host.detect().cores)
    terminal.say(
        f"{folder}: {config.data.simulation.planets} labelled planets; train on them with SM_DATA_ROOT={folder}"
    )
    return 0


COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "train": train_command,
    "plan": plan_command,
    "predict": predict_command,
    "data": data_command,
}

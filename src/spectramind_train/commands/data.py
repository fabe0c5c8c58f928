"""The commands ``data simulate`` and ``data check``: data sets in the challenge's layout."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from spectramind_config import ConfigError, EffectiveConfig, NominalData, Problem, compose
from spectramind_config.commands.command import Parser
from spectramind_config.host import Host
from spectramind_train.run import signals


def check(options: Namespace, _: type[EffectiveConfig]) -> int:
    """Look for damage in a data set; returns the exit code.

    Raises:
        ConfigError: All that is wrong with it.
    """
    from spectramind_train.ariel import dataset
    from spectramind_train.run.terminal import Terminal

    if problems := dataset.check(options.folder):
        raise ConfigError([Problem(what=one) for one in problems])
    found = dataset.Dataset(options.folder)
    counts = {split: len(found.planet_ids(split)) for split in ("train", "test")}
    planets = f"{counts['train']} labelled planets and {counts['test']} others"
    Terminal().say(f"{options.folder}: {planets}, every file in its layout")
    return 0


def simulate(options: Namespace, _: type[EffectiveConfig]) -> int:
    """Write a simulated data set; returns the exit code.

    Raises:
        ConfigError: The folder cannot be written, or the config has no simulation.
    """
    from spectramind_train.run.terminal import Terminal
    from spectramind_train.simulated import data_set

    folder, config = options.folder, compose(options.overrides)
    if not isinstance(config.data, NominalData):
        raise ConfigError(f"data={config.data.name} has no simulation; use data=nominal")
    terminal = Terminal.of(config)
    with signals.raising(), terminal.progress("simulating planets") as progress:
        data_set.simulate(folder, config.data.simulation, progress=progress, workers=Host.detect().cores)
    terminal.say(
        f"{folder}: {config.data.simulation.planets} labelled planets; train on them with SM_DATA_ROOT={folder}"
    )
    return 0


def of_check(parser: Parser) -> None:
    """The arguments of ``data check``."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="the data set's folder")


def of_simulate(parser: Parser) -> None:
    """The arguments of ``data simulate``."""
    of_check(parser)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="such as data.simulation.planets=24")

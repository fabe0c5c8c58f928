"""The commands ``data simulate``, ``data check`` and ``data prepare``: data sets in the challenge's layout."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from spectramind_config import ConfigError, EffectiveConfig, NominalData, Problem, compose
from spectramind_config.commands.command import Parser
from spectramind_config.host import Host
from spectramind_train.run import signals

if TYPE_CHECKING:
    from spectramind_train.ariel.dataset import Dataset
    from spectramind_train.planets.preparation import Entry, Failure, Filling
    from spectramind_train.run.terminal import Terminal

NAMED = 10


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
        ConfigError: The folder cannot be written, the config has no simulation, or the table of spectra is at fault.
    """
    from spectramind_train.ariel.spectra import read_spectra
    from spectramind_train.run.terminal import Terminal
    from spectramind_train.simulated import data_set

    folder, config = options.folder, compose(options.overrides)
    if not isinstance(config.data, NominalData):
        raise ConfigError(f"data={config.data.name} has no simulation; use data=nominal")
    spectra = read_spectra(options.spectra, ["wl"], negative=False) if options.spectra else None
    terminal = Terminal.of(config)
    with signals.raising(), terminal.progress("simulating planets") as progress:
        data_set.simulate(
            folder, config.data.simulation, spectra=spectra, progress=progress, workers=Host.detect().cores
        )
    terminal.say(
        f"{folder}: {config.data.simulation.planets} labelled planets; train on them with SM_DATA_ROOT={folder}"
    )
    return 0


def prepare(options: Namespace, _: type[EffectiveConfig]) -> int:
    """Calibrate the planets of a data set into the cache; returns the exit code.

    Raises:
        ConfigError: The data set, the cache or, with ``--strict``, planets are at fault.
    """
    from spectramind_train.ariel.dataset import TRAIN_TABLE, Dataset
    from spectramind_train.planets.preparation import WAITING, Failure, Filling
    from spectramind_train.run.directory import path_of
    from spectramind_train.run.terminal import Terminal

    config = compose(options.overrides)
    if not isinstance(config.data, NominalData):
        raise ConfigError(f"data={config.data.name} says nothing of how to calibrate raw frames; use data=nominal")
    terminal, dataset = Terminal.of(config), Dataset(options.folder)
    train = dataset.planet_ids("train") if (options.folder / TRAIN_TABLE).is_file() else []
    planet_ids = [*train, *dataset.planet_ids("test")]
    if not planet_ids:
        raise ConfigError(f"{options.folder}: no planet to prepare; spectramind data check {options.folder}")
    share, shares = options.shard
    planet_ids = planet_ids[share - 1 :: shares]
    cache = path_of(config, "cache_dir") / "planets"
    with signals.raising():
        filling = Filling(
            dataset,
            planet_ids,
            config.data.calibration,
            cache,
            waiting=lambda: terminal.say(WAITING),
            workers=Host.detect().cores,
        )
        outcomes = calibrated(filling, dataset, terminal)
    failures = [one for one in outcomes.values() if isinstance(one, Failure)]
    if failures and options.strict:
        raise refusal(failures, "--strict: planets cannot be prepared")
    if failures:
        report_failures(failures, "are not in the cache", terminal)
    part = f"share {share} of {shares}: " if shares > 1 else ""
    terminal.say(f"{part}{len(planet_ids) - len(failures)} of {len(planet_ids)} planets are in {cache}")
    return 0


def calibrated(filling: Filling, dataset: Dataset, terminal: Terminal) -> dict[str, Entry | Failure]:
    """Fill the cache, show how far it is, name the planets that fail and those of whose star nothing is known.

    Returns:
        The outcome of each planet, by name.
    """
    from spectramind_train.ariel.spectra import few
    from spectramind_train.planets.preparation import Failure

    outcomes: dict[str, Entry | Failure] = {}
    with terminal.progress("calibrating planets") as progress, closing(iter(filling)) as found:
        for one in found:
            outcomes[one.planet_id] = one
            if isinstance(one, Failure):
                terminal.warn(f"planet {one.planet_id} is left out: {one.reason}")
            progress(filling.done, filling.planets, filling.words())
    dark = [planet_id for planet_id, one in outcomes.items() if not isinstance(one, Failure)]
    if dark := [planet_id for planet_id in dark if dataset.star(planet_id) is None]:
        terminal.warn(f"no star table has planet {few(sorted(dark), NAMED)}: fitted with an orbit of any kind")
    return outcomes


def refusal(failures: Sequence[Failure], what: str) -> ConfigError:
    """The error that names planets which cannot be used, each with its reason."""
    named = "\n".join(f"planet {one.planet_id}: {one.reason}" for one in failures[:NAMED])
    more = f"\n… and {len(failures) - NAMED} more" if len(failures) > NAMED else ""
    return ConfigError(Problem(what=f"{what} ({len(failures)})", more=named + more))


def report_failures(failures: Sequence[Failure], what: str, terminal: Terminal) -> None:
    """Say at the end how many planets were left out, which and why."""
    terminal.warn(f"{len(failures)} planets were left out: they {what}")
    for one in failures:
        terminal.say(f"  planet {one.planet_id}: {one.reason}")


def _shard(text: str) -> tuple[int, int]:
    """Which share of how many, of ``i/n``."""
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text, re.ASCII)
    share, shares = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= share <= shares:
        last = f", from 1/{shares} to {shares}/{shares}" if shares else ""
        raise ArgumentTypeError(f"{text} is no share{last}")
    return share, shares


def of_prepare(parser: Parser) -> None:
    """The arguments of ``data prepare``."""
    of_check(parser)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="such as data.calibration.bin_seconds=72")
    about = "prepare the i-th of n shares of the planets, i from 1 to n: for the jobs of a SLURM array"
    parser.add_argument("--shard", type=_shard, default=(1, 1), metavar="I/N", help=about)
    of_strict(parser)


def of_strict(parser: Parser) -> None:
    """The argument that makes planets that cannot be used a mistake."""
    parser.add_argument("--strict", action="store_true", help="end with an error if a planet cannot be used")


def of_check(parser: Parser) -> None:
    """The arguments of ``data check``."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="the data set's folder")


def of_simulate(parser: Parser) -> None:
    """The arguments of ``data simulate``."""
    of_check(parser)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="such as data.simulation.planets=24")
    parser.add_argument(
        "--spectra",
        type=Path,
        metavar="FILE",
        help="a table like train.csv whose spectra the planets have, a row each (default: spectra from physics)",
    )

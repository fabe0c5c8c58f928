"""The commands ``data simulate``, ``data check`` and ``data prepare``: data sets in the challenge's layout."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from spectramind_config import ConfigError, EffectiveConfig, NominalData, Problem, compose
from spectramind_config.commands.command import JSON, Parser, add, out_json
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
        ConfigError: Something is wrong with it; what it is, has been printed.
    """
    from dataclasses import asdict

    from spectramind_train.ariel.inspection import UNREAD, inspect
    from spectramind_train.ariel.spectra import few
    from spectramind_train.run.terminal import Terminal

    terminal = Terminal(aside=options.json)
    with signals.raising(), terminal.progress("checking planets") as progress:
        found = inspect(options.folder, progress=progress, workers=Host.detect().cores)
    if options.json:
        out_json({"sound": found.sound, **asdict(found), "unread": UNREAD})
        return 0 if found.sound else 2
    if not found.planets:
        raise ConfigError([Problem(what=one.text) for one in found.tables])
    for fault in found.tables:
        terminal.say(fault.text)
    bad = [one for one in found.planets if one.faults]
    for one in bad:
        for text in one.faults:
            terminal.say(f"planet {one.planet_id}: {text}")
    if twice := [one.planet_id for one in found.planets if len(one.visits) > 1]:
        terminal.say(f"visited more than once: {few(twice, NAMED)}")
    terminal.say(f"{sum(one.signals for one in found.planets) / 1e9:.2f} GB of raw frames: {UNREAD}")
    if not found.sound:
        names = f" of planets {few([one.planet_id for one in bad], NAMED)}" if bad else ""
        count = sum(len(one.faults) for one in bad)
        raise ConfigError(
            f"{options.folder}: {len(found.tables)} faults of tables and folders, {count} of files{names}; see above"
        )
    others = len(found.planets) - found.labelled
    terminal.say(f"{options.folder}: {found.labelled} labelled planets and {others} others, every file in its layout")
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
    from spectramind_train.ariel.submission import planets_to_predict
    from spectramind_train.planets.preparation import WAITING, Failure, Filling
    from spectramind_train.run.directory import path_of
    from spectramind_train.run.terminal import Terminal

    config = compose(options.overrides)
    if not isinstance(config.data, NominalData):
        raise ConfigError(f"data={config.data.name} says nothing of how to calibrate raw frames; use data=nominal")
    terminal, dataset = Terminal.of(config), Dataset(options.folder)
    strays = [fault.text for fault in dataset.strays()]
    train = dataset.planet_ids("train") if (options.folder / TRAIN_TABLE).is_file() else []
    try:
        test = planets_to_predict(dataset)
    except ConfigError as error:  # Nothing is needed of the sample but the names of planets without a folder.
        strays.append(str(error))
        test = dataset.planets("test")
    planet_ids = [*train, *(planet_id for planet_id in test if planet_id not in set(train))]
    if not planet_ids:
        raise ConfigError(f"{options.folder}: no planet to prepare; spectramind data check {options.folder}")
    share, shares = options.shard
    planet_ids = planet_ids[share - 1 :: shares]
    cache = path_of(config, "cache_dir") / "planets"
    for text in strays:
        terminal.warn(text)
    with signals.raising():
        filling = Filling(
            dataset,
            planet_ids,
            config.data.calibration,
            cache,
            waiting=lambda: terminal.say(WAITING),
            workers=Host.detect().cores,
        )
        outcomes, doubts = calibrated(filling, dataset, terminal)
    failures = [one for one in outcomes.values() if isinstance(one, Failure)]
    if options.strict:
        require_sound(failures, [*strays, *doubts], "--strict: planets cannot be prepared")
    if failures and len(failures) == len(planet_ids):
        raise refusal(failures, "none of the planets can be prepared")
    report_failures(failures, "are not in the cache", terminal)
    report_doubts([*strays, *doubts], terminal)
    part = f"share {share} of {shares}: " if shares > 1 else ""
    terminal.say(f"{part}{len(planet_ids) - len(failures)} of {len(planet_ids)} planets are in {cache}")
    return 0


def calibrated(filling: Filling, dataset: Dataset, terminal: Terminal) -> tuple[dict[str, Entry | Failure], list[str]]:
    """Fill the cache, show how far it is, name the planets that fail and those of which something is wrong or missing.

    Returns:
        The outcome of each planet, by name, and what is wrong with planets that can be used, a sentence each.
    """
    from spectramind_train.planets.preparation import Failure
    from spectramind_train.planets.splits import starless

    outcomes: dict[str, Entry | Failure] = {}
    doubts: list[str] = []
    with terminal.progress("calibrating planets") as progress, closing(iter(filling)) as found:
        for one in found:
            outcomes[one.planet_id] = one
            if isinstance(one, Failure):
                terminal.warn(f"planet {one.planet_id} is left out: {one.reason}")
            else:
                doubts += (told := [f"planet {one.planet_id}: {text}" for text in one.remarks])
                for text in told:
                    terminal.warn(text)
            progress(filling.done, filling.planets, filling.words())
    used = sorted(planet_id for planet_id, one in outcomes.items() if not isinstance(one, Failure))
    for text in starless(dataset, used):
        doubts.append(text)
        terminal.warn(text)
    return outcomes, doubts


def require_sound(failures: Sequence[Failure], doubts: Sequence[str], what: str) -> None:
    """Raise ConfigError where planets have failed, or something is wrong with others."""
    if failures:
        raise refusal(failures, what, doubts)
    if doubts:
        raise ConfigError(Problem(what="--strict: not all of the data is sound", more=_lines(doubts)))


def refusal(failures: Sequence[Failure], what: str, doubts: Sequence[str] = ()) -> ConfigError:
    """The error that names planets which cannot be used, each with its reason."""
    named = _lines([*(f"planet {one.planet_id}: {one.reason}" for one in failures), *doubts])
    return ConfigError(Problem(what=f"{what} ({len(failures)})", more=named))


def _lines(texts: Sequence[str]) -> str:
    return "\n".join([*texts[:NAMED], *([f"… and {len(texts) - NAMED} more"] if len(texts) > NAMED else [])])


def report_failures(failures: Sequence[Failure], what: str, terminal: Terminal) -> None:
    """Say at the end how many planets were left out, which and why, where some were."""
    if failures:
        terminal.warn(f"{len(failures)} planets were left out: they {what}")
    for one in failures:
        terminal.say(f"  planet {one.planet_id}: {one.reason}")


def report_doubts(doubts: Sequence[str], terminal: Terminal) -> None:
    """Say at the end what is wrong with the data, though no planet that was asked for was left out for it."""
    if doubts:
        terminal.warn("not all of the data is sound:")
    for text in doubts:
        terminal.say(f"  {text}")


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
    _of_folder(parser)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="such as data.calibration.bin_seconds=72")
    about = "prepare the i-th of n shares of the planets, i from 1 to n: for the jobs of a SLURM array"
    parser.add_argument("--shard", type=_shard, default=(1, 1), metavar="I/N", help=about)
    of_strict(parser)


def of_strict(parser: Parser) -> None:
    """The argument that makes planets that cannot be used a mistake."""
    parser.add_argument("--strict", action="store_true", help="end with an error if a planet cannot be used")


def of_check(parser: Parser) -> None:
    """The arguments of ``data check``."""
    _of_folder(parser)
    add(parser, JSON)


def _of_folder(parser: Parser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="the data set's folder")


def of_simulate(parser: Parser) -> None:
    """The arguments of ``data simulate``."""
    _of_folder(parser)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="such as data.simulation.planets=24")
    parser.add_argument(
        "--spectra",
        type=Path,
        metavar="FILE",
        help="a table like train.csv whose spectra the planets have, a row each (default: spectra from physics)",
    )

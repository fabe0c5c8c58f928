"""The command ``predict``."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from spectramind_config import ConfigError, EffectiveConfig, NominalData, Problem, from_dict
from spectramind_config.commands.command import Parser
from spectramind_config.host import Host
from spectramind_train.commands.data import (
    calibrated,
    of_strict,
    refusal,
    report_doubts,
    report_failures,
    require_sound,
)
from spectramind_train.commands.place import require_writable, unwritable
from spectramind_train.commands.runs import of_several, opened
from spectramind_train.run import signals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spectramind_train.ariel.dataset import Dataset, Split
    from spectramind_train.ariel.submission import Layout
    from spectramind_train.run.directory import Run
    from spectramind_train.run.terminal import Terminal
    from spectramind_train.transit.diagnosis import Diagnosis
    from spectramind_train.v50.network import SpectrumModel


def run(options: Namespace, _: type[EffectiveConfig]) -> int:
    """Predict spectra with a trained run; returns the exit code.

    Raises:
        ConfigError: The run, the data or the table to write are at fault.
    """
    from spectramind_train.run.terminal import Terminal

    terminal = Terminal()
    runs = [opened(path, terminal) for path in options.runs]
    if os.path.isdir(options.data):  # noqa: PTH112 - Path.is_dir raises for no path.
        return _predict_folder(options, runs, terminal)
    if options.split is not None:
        raise ConfigError(
            Problem(
                what=f"--split {options.split}: {options.data} is not a folder, and only data sets have splits",
                expected="--data FOLDER, in the challenge's layout, or no --split",
            )
        )
    return _predict_file(options, runs, terminal)


def _predict_file(options: Namespace, runs: Sequence[Run], terminal: Terminal) -> int:
    """Predict the spectra of binned light curves."""
    from spectramind_train.ariel.lightcurves import read_binned
    from spectramind_train.ariel.submission import Layout
    from spectramind_train.learning.batches import PlanetDataset, loader
    from spectramind_train.planets.preparation import Planet
    from spectramind_train.results.prediction import LABELS, predict
    from spectramind_train.results.report import report_spectra
    from spectramind_train.results.submission import naive_of
    from spectramind_train.transit.spectrum_fit import fit_transit

    trained = runs[0]
    table = options.out or trained.path / f"predictions_{options.data.stem}.csv"
    require_writable(table)
    model = _model(runs, terminal)
    config = _config(trained)
    curves = read_binned(options.data)
    planets = [Planet(one.planet_id, one, fit_transit(one, None), None) for one in curves]
    batches = loader(PlanetDataset(planets), batch_size=config.data.batch_size)
    prediction = predict(model, planets, batches, naive=naive_of(trained) or LABELS)
    report_spectra(planets, prediction, terminal)
    _tell_flags(table, prediction.diagnoses, terminal)
    try:
        Layout().write(table, prediction.planet_ids, prediction.mu, prediction.sigma)
    except OSError as error:
        raise unwritable(table, error) from error
    terminal.say(f"written: {table}")
    return 0


def _config(run: Run) -> EffectiveConfig:
    return from_dict(run.manifest.config, f"{run.path}/manifest.json")


def _model(runs: Sequence[Run], terminal: Terminal) -> SpectrumModel:
    """The model of a run, or those of several as one."""
    from spectramind_train.results.prediction import Ensemble, load_model

    members = [load_model(_config(run), run.checkpoint(terminal.warn)) for run in runs]
    return members[0] if len(members) == 1 else Ensemble(members).eval()


def _tell_flags(table: Path, diagnoses: Mapping[str, Diagnosis], terminal: Terminal) -> None:
    """Write the flags of planets beside the table of their spectra, and tell them."""
    from spectramind_train.results.report import report_flags
    from spectramind_train.results.submission import flags_table, write_flags

    file = flags_table(table)
    try:
        write_flags(file, diagnoses)
    except OSError as error:
        raise unwritable(file, error) from error
    report_flags(diagnoses, terminal)
    terminal.say(
        f"written: {file}, what no transit explains in {sum(bool(one.flags) for one in diagnoses.values())} "
        f"of {len(diagnoses)} planets"
    )


def _predict_folder(options: Namespace, runs: Sequence[Run], terminal: Terminal) -> int:
    """Calibrate the planets of a data set and predict them all."""
    from spectramind_train.ariel.dataset import Dataset
    from spectramind_train.ariel.submission import layout_of
    from spectramind_train.planets.preparation import WAITING, Entry, Failure, Filling
    from spectramind_train.results.prediction import LABELS
    from spectramind_train.results.submission import Spectrum, naive_of, predict_entries, write_table
    from spectramind_train.resumption import cache_of

    trained = runs[0]
    config = _config(trained)
    if not isinstance(config.data, NominalData):
        raise ConfigError(f"{trained.path}: data={config.data.name} says nothing of how to calibrate raw frames")
    for other in runs[1:]:
        data = _config(other).data
        if not isinstance(data, NominalData) or data.calibration != config.data.calibration:
            raise ConfigError(
                Problem(
                    what=f"{other.path} and {trained.path} have calibrated their planets in different ways",
                    expected="runs with the same data.calibration, whose predictions can be averaged",
                    hint=f"see what differs: spectramind runs compare {trained.path} {other.path}",
                )
            )
    split: Split = options.split or "test"
    name = "submission.csv" if split == "test" else f"predictions_{split}.csv"
    table = options.out or trained.path / name
    require_writable(table)
    model = _model(runs, terminal)
    dataset, layout = Dataset(options.data), layout_of(options.data)
    planet_ids, doubts = _rows(dataset, split, layout)
    for text in doubts:
        terminal.warn(text)
    naive = naive_of(trained)

    def require(failures: list[Failure]) -> None:
        if options.strict:
            require_sound(failures, doubts, "--strict: planets cannot be predicted")
        if failures and naive is None:
            what = f"{trained.path}: the run does not record the mean of its training labels, which planets need that"
            raise refusal(failures, f"{what} cannot be predicted: mend these, or train again with this version")

    with signals.raising():
        filling = Filling(
            dataset,
            planet_ids,
            config.data.calibration,
            cache_of(trained, config, terminal.warn) / "planets",
            waiting=lambda: terminal.say(WAITING),
            workers=Host.detect().cores,
        )
        outcomes, more = calibrated(filling, dataset, terminal)
        doubts += more
        failures = [one for one in outcomes.values() if isinstance(one, Failure)]
        require(failures)
        entries = [one for planet_id in planet_ids if isinstance(one := outcomes[planet_id], Entry)]
        spectra: dict[str, Spectrum] = {}
        diagnoses: dict[str, Diagnosis] = {}
        with terminal.progress("predicting planets") as progress:
            size, known = config.data.batch_size, naive or LABELS
            for found in predict_entries(model, entries, batch_size=size, naive=known, progress=progress):
                if isinstance(found, Failure):
                    terminal.warn(f"planet {found.planet_id} is left out: {found.reason}")
                    failures.append(found)
                else:
                    spectra |= zip(found.planet_ids, zip(found.mu, found.sigma, strict=True), strict=True)
                    diagnoses |= found.diagnoses
        require(failures)
        if not spectra:
            raise refusal(failures, "none of the planets can be predicted")
    _tell_flags(table, diagnoses, terminal)
    try:
        write_table(table, layout, planet_ids, spectra, naive)
    except OSError as error:
        raise unwritable(table, error) from error
    if naive is not None:
        report_failures(failures, f"have the training mean, {naive[0]:.6f}, with sigma {naive[1]:.6f}", terminal)
    report_doubts(doubts, terminal)
    terminal.say(f"written: {table}, {len(planet_ids)} planets of which {len(spectra)} are predicted")
    return 0


def _rows(dataset: Dataset, split: Split, layout: Layout) -> tuple[list[str], list[str]]:
    """The planets of the table, in its order, and what is wrong with others, a sentence each.

    They are those that the data set's own table lists, or whose folders are there.
    """
    from spectramind_train.ariel.submission import unlisted

    here = dataset.planet_ids(split)
    if not here:
        other: Split = "train" if split == "test" else "test"
        more = f"; --split {other} takes those of {other}/" if dataset.planet_ids(other) else ""
        raise ConfigError(f"{dataset.root / split}: no planet to predict{more}")
    if split == "train":
        return here, [fault.text for fault in dataset.strays()]
    others = [fault.text for fault in unlisted(dataset.root, layout, here)]
    return list(layout.planet_ids or here), others


def arguments(parser: Parser) -> None:
    """The arguments of ``predict``."""
    of_several(parser)
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DATA",
        help="a data set in the challenge's layout, or binned light curves, .npy or .npz",
    )
    parser.add_argument("--split", choices=("test", "train"), help="of a data set, which planets (default: test)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the table to write (default: submission.csv in the run's directory)"
    )
    of_strict(parser)

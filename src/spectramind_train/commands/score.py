"""The commands ``score`` and ``evaluate``: what predictions are worth, those of a file and those of a run."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from spectramind_config import ConfigError, EffectiveConfig, NominalData, Problem, from_dict
from spectramind_config.commands.command import JSON, Parser, add, out_json
from spectramind_config.host import Host
from spectramind_train.commands.place import require_writable, unwritable
from spectramind_train.commands.runs import of_one, opened
from spectramind_train.run import signals

if TYPE_CHECKING:
    from spectramind_train.ariel.spectra import Spectra
    from spectramind_train.planets.recovery import Part
    from spectramind_train.results.assessment import Assessment
    from spectramind_train.results.evaluation import Evaluation
    from spectramind_train.run.directory import Run
    from spectramind_train.run.terminal import Terminal

_RIVALS = {"fit": "classical transit fit", "mean": "training mean"}


def score(options: Namespace, _: type[EffectiveConfig]) -> int:
    """Score a submission; returns the exit code.

    Raises:
        ConfigError: A table is at fault, or they are not of the same planets.
    """
    from spectramind_train.ariel.metric import naive_statistics
    from spectramind_train.ariel.spectra import read_spectra, require_same_planets
    from spectramind_train.results.assessment import assess
    from spectramind_train.results.report import report_assessments
    from spectramind_train.run.terminal import Terminal

    submission = read_spectra(options.submission, ("wl", "sigma"), negative=False)
    truth = read_spectra(options.truth, ("wl",))
    require_same_planets(submission, truth)
    labels: Spectra = truth if options.labels is None else read_spectra(options.labels, ("wl",))
    names = truth.planet_ids
    try:
        mean, sigma = naive_statistics(labels.values["wl"])
        found = assess(
            names,
            submission.of(names, "wl"),
            submission.of(names, "sigma"),
            truth.values["wl"],
            naive_mean=mean,
            naive_sigma=sigma,
        )
    except ValueError as error:
        raise ConfigError(
            Problem(what=f"{labels.path}: {error}", hint="name the challenge's training labels with --labels train.csv")
        ) from error
    if options.json:
        naive = {"mean": mean, "sigma": sigma, "labels": str(labels.path), "planets": len(labels.planet_ids)}
        out_json({**dataclasses.asdict(found), "naive": naive})
        return 0
    terminal = Terminal()
    report_assessments(f"{options.submission}, {len(names)} planets", {"prediction": found}, terminal)
    whose = f"the {len(labels.planet_ids)} planets of {labels.path}"
    if options.labels is None:
        whose += ", the truth's own; the challenge takes those of the training labels, as --labels train.csv does"
    terminal.say(f"naive mean {mean:.6g} and sigma {sigma:.6g}: {whose}")
    return 0


def of_score(parser: Parser) -> None:
    """The arguments of ``score``."""
    about = "a table of planet_id, wl_1 … wl_283 and sigma_1 … sigma_283"
    parser.add_argument("submission", type=Path, metavar="SUBMISSION", help=about)
    about = "a table of planet_id and wl_1 … wl_283 of the same planets, such as train.csv"
    parser.add_argument("truth", type=Path, metavar="TRUTH", help=about)
    about = "the training labels, whose mean and sigma are the naive prediction (default: those of TRUTH)"
    parser.add_argument("--labels", type=Path, metavar="FILE", help=about)
    add(parser, JSON)


def evaluate(options: Namespace, _: type[EffectiveConfig]) -> int:
    """Predict planets of a run that have labels, and score that; returns the exit code.

    Raises:
        ConfigError: The run or its planets are at fault.
    """
    from spectramind_train.ariel.tables import write_csv
    from spectramind_train.planets.recovery import WORDS
    from spectramind_train.results.assessment import PlanetScore
    from spectramind_train.results.report import report_assessments, report_flags, report_planets
    from spectramind_train.run.terminal import Terminal

    terminal, part = Terminal(aside=options.json), options.split
    run = opened(options.run, terminal)
    file: Path = options.out or run.path / f"evaluation_{part}.csv"
    require_writable(file)
    known = evaluated(run, part, options.data, terminal)
    own, diagnoses = known.found.worth["test"], known.found.prediction.diagnoses
    if options.json:
        rivals = {
            name: dataclasses.asdict(dataclasses.replace(one, planets=())) for name, one in known.found.worth.items()
        }
        naive = {"mean": known.naive_mean, "sigma": known.naive_sigma}
        told = {"run": str(run.path), "split": part, "checkpoint": known.checkpoint.name, "naive": naive}
        flags = {name: [dataclasses.asdict(flag) for flag in one.flags] for name, one in diagnoses.items() if one.flags}
        model = dataclasses.asdict(own)
        out_json({**told, "model": model, "fit": rivals["fit"], "mean": rivals["mean"], "flags": flags})
    else:
        title = f"{run.path}, {len(own.planets)} {WORDS[part]} planets"
        report_assessments(title, known.named, terminal)
        report_planets(own, terminal)
        report_flags(diagnoses, terminal)
    columns = {
        field.name: [getattr(one, field.name) for one in own.planets] for field in dataclasses.fields(PlanetScore)
    }
    columns["flags"] = [diagnoses[one.planet_id].words for one in own.planets]
    try:
        write_csv(file, columns)
    except OSError as error:
        raise unwritable(file, error) from error
    terminal.say(f"written: {file}")
    return 0


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """A run on planets of one of its splits.

    Attributes:
        config: The run's config.
        checkpoint: The weights that predict.
        found: What they predict, and what that is worth.
        named: What it is worth, and its rivals, by names that a user knows.
        naive_mean: Mean of the run's training labels, in (Rp/Rs)^2.
        naive_sigma: Their standard deviation.
    """

    config: EffectiveConfig
    checkpoint: Path
    found: Evaluation
    named: dict[str, Assessment]
    naive_mean: float
    naive_sigma: float


def evaluated(run: Run, part: Part, root: Path | None, terminal: Terminal) -> Evaluated:
    """Predict the planets of one split of a run with its best checkpoint.

    Args:
        run: The run.
        part: The split.
        root: The data set's folder; None for where the run had it.
        terminal: Where to report.

    Raises:
        ConfigError: The run or its planets are at fault.
    """
    config = from_dict(run.manifest.config, f"{run.path}/manifest.json")
    if run.manifest.data is None or not isinstance(config.data, NominalData):
        raise ConfigError(f"{run.path}: its manifest names no planets that could be found again")
    checkpoint = run.checkpoint(terminal.warn)
    from spectramind_train.learning.batches import PlanetDataset, loader
    from spectramind_train.planets.recovery import recover
    from spectramind_train.results import evaluation
    from spectramind_train.results.prediction import load_model
    from spectramind_train.resumption import cache_of

    cache, cores, settings = cache_of(run, config, terminal.warn), Host.detect().cores, config.data.calibration
    with signals.raising():
        known = recover(run.manifest.data, part, settings, cache, terminal, root=root, workers=cores)
        batches = loader(PlanetDataset(known.planets), batch_size=config.data.batch_size)
        naive = known.naive_mean, known.naive_sigma
        try:
            found = evaluation.evaluate_planets(load_model(config, checkpoint), known.planets, batches, *naive)
        except ValueError as error:
            raise ConfigError(f"{run.path}: its planets have no score: {error}") from error
    words = {"test": run.manifest.profiles.get("model", "model"), **_RIVALS}
    named = {words[name]: one for name, one in found.worth.items()}
    return Evaluated(config, checkpoint, found, named, *naive)


def of_evaluate(parser: Parser) -> None:
    """The arguments of ``evaluate``."""
    of_one(parser)
    about = "which planets of the run: test (default), val, or train, which it has learnt"
    parser.add_argument("--split", choices=("test", "val", "train"), default="test", help=about)
    about = "the data set's folder (default: where the run had it)"
    parser.add_argument("--data", type=Path, metavar="DIR", help=about)
    about = "the table of planets to write (default: evaluation_SPLIT.csv in the run's directory)"
    parser.add_argument("--out", type=Path, metavar="FILE", help=about)
    add(parser, JSON)

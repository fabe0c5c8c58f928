"""The command ``predict``."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from spectramind_config import ConfigError, EffectiveConfig, from_dict
from spectramind_config.commands.command import Parser
from spectramind_train.commands.runs import of_one, opened


def run(options: Namespace, _: type[EffectiveConfig]) -> int:
    """Predict the spectra of binned light curves with a trained run; returns the exit code.

    Raises:
        ConfigError: The run, the light curves or the table to write are at fault.
    """
    from spectramind_train.run.terminal import Terminal

    terminal = Terminal()
    trained = opened(options, terminal)
    from spectramind_train.ariel.lightcurves import read_binned
    from spectramind_train.ariel.tables import write_submission
    from spectramind_train.learning.batches import PlanetDataset, loader
    from spectramind_train.planets.preparation import Planet
    from spectramind_train.results.prediction import load_model, predict
    from spectramind_train.results.report import report_spectra
    from spectramind_train.transit.spectrum_fit import fit_transit

    checkpoint = trained.checkpoint(terminal.warn)
    config = from_dict(trained.manifest.config, f"{trained.path}/manifest.json")
    curves = read_binned(options.data)
    planets = [Planet(one.planet_id, one, fit_transit(one, None), None) for one in curves]
    batches = loader(PlanetDataset(planets), batch_size=config.data.batch_size)
    prediction = predict(load_model(config, checkpoint), planets, batches)
    output = options.output or trained.path / f"predictions_{options.data.stem}.csv"
    try:
        write_submission(output, prediction.planet_ids, prediction.mu, prediction.sigma)
    except OSError as error:
        raise ConfigError(f"{output}: cannot be written ({error.strerror}); name another file with --output") from error
    report_spectra(planets, prediction, terminal)
    terminal.say(f"written: {output}")
    return 0


def arguments(parser: Parser) -> None:
    """The arguments of ``predict``."""
    of_one(parser)
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="binned light curves, .npy or .npz")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="the table to write (default: in the run's directory)"
    )

"""The ``spectramind`` command: runs here, configs and profiles by ``spectramind_config``.

Frameworks are imported only by the commands that need them.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence

from spectramind_config import ConfigError, EffectiveConfig
from spectramind_config.commands.command import Command, Parser, out
from spectramind_config.commands.program import Program
from spectramind_config.errors import silence
from spectramind_train.commands import data, plan, predict, report, runs, score, sweep, train
from spectramind_train.run import signals
from spectramind_train.run.children import ProcessFailedError


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
            return train.failed(error)
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
        _command(
            "train", "train a model with the effective config of the overrides", train.run, train.arguments, is_run=True
        ),
        _command("sweep", "search for good settings", sweep.run, sweep.arguments),
        _command("trials", "what a sweep has found; starts nothing", sweep.report, sweep.of_report),
        _command("plan", "what a host would do with it, and what that takes", plan.run, plan.arguments),
        _command(
            "predict",
            "spectra of raw frames or light curves, with a trained run",
            predict.run,
            predict.arguments,
        ),
        _command(
            "evaluate", "the score of a run's planets, with its best checkpoint", score.evaluate, score.of_evaluate
        ),
        _command("score", "the score of any table of predicted spectra", score.score, score.of_score),
        _command("report", "a run on one page: scores, pictures, planets, settings", report.run, report.arguments),
        _command(
            "export", "a run's weights as safetensors, with all that is needed to use them", runs.export, runs.of_export
        ),
        _command("runs list", "the runs of a folder, the newest first", runs.listing, runs.of_listing),
        _command("runs show", "what a run's manifest says", runs.show, runs.of_show),
        _command("runs best", "the completed run with the best validation score", runs.best, runs.of_best),
        _command("runs compare", "what differs between runs, and their scores", runs.compare, runs.of_compare),
        _command("track sync", "deliver to MLflow what it has not received of a run", runs.sync, runs.of_sync),
        _command("reproduce", "train a run's config again, and compare", train.reproduce, train.of_reproduce),
        _command(
            "data simulate", "write a simulated data set in the challenge's layout", data.simulate, data.of_simulate
        ),
        _command("data prepare", "calibrate all planets of a data set into the cache", data.prepare, data.of_prepare),
        _command("data check", "look for damage in a data set", data.check, data.of_check),
        _command("config diff", "what differs between two configs; of runs the scores too", runs.diff, runs.of_diff),
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

"""The command ``track sync``, and what every command about a run begins with."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from spectramind_config import EffectiveConfig
from spectramind_config.commands.command import Parser

if TYPE_CHECKING:
    from spectramind_train.run.directory import Run
    from spectramind_train.run.terminal import Terminal


def of_one(parser: Parser) -> None:
    """The argument that names a run."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's directory or its manifest")


def opened(options: Namespace, terminal: Terminal) -> Run:
    """The run that is named; says so where it has not ended.

    Raises:
        ConfigError: It cannot be read.
    """
    from spectramind_train.run.directory import Run

    run = Run.open(options.run)
    if run.manifest.status == "running":
        terminal.warn(f"{run.path} is {run.manifest.describe()}")
    return run


def sync(options: Namespace, _: type[EffectiveConfig]) -> int:
    """Deliver to MLflow what it has not received of a run; returns the exit code."""
    from spectramind_train.run import tracking
    from spectramind_train.run.terminal import Terminal

    terminal = Terminal()
    tracking.sync(opened(options, terminal), terminal, options.uri)
    return 0


def of_sync(parser: Parser) -> None:
    """The arguments of ``track sync``."""
    of_one(parser)
    parser.add_argument("--uri", metavar="URI", help="the server (default: that of the run)")

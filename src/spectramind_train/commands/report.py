"""The command ``report``: a run on one page."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from spectramind_config import EffectiveConfig
from spectramind_config.commands.command import Parser
from spectramind_train.commands.place import require_writable, unwritable
from spectramind_train.commands.runs import of_one, opened
from spectramind_train.commands.score import evaluated

PAGE = "report.html"


def run(options: Namespace, _: type[EffectiveConfig]) -> int:
    """Write the page of a run; returns the exit code.

    Raises:
        ConfigError: The run or its planets cannot be read, or the page not be written.
    """
    from spectramind_train.run.terminal import Terminal

    terminal = Terminal()
    trained = opened(options.run, terminal)
    from spectramind_train.results.page import page
    from spectramind_train.run.atomic_files import write_atomically

    file: Path = options.out or trained.path / PAGE
    require_writable(file)
    known = evaluated(trained, "test", options.data, terminal)
    text = page(trained, known.config, known.checkpoint, known.found, known.named)
    try:
        write_atomically(file, text.encode())
    except OSError as error:
        raise unwritable(file, error) from error
    terminal.say(f"written: {file}, a page for any browser")
    return 0


def arguments(parser: Parser) -> None:
    """The arguments of ``report``."""
    of_one(parser)
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the data set's folder (default: where the run had it)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"the page to write (default: {PAGE} in the run)")

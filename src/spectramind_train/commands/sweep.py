"""The commands ``sweep`` and ``trials``: what their words mean, before anything that takes long is imported."""

from __future__ import annotations

import sys
from argparse import SUPPRESS, ArgumentTypeError, Namespace

from spectramind_config import ConfigError, EffectiveConfig, Problem
from spectramind_config.commands.command import Parser
from spectramind_config.commands.space import read, space
from spectramind_train.commands.train import train
from spectramind_train.run.ranks import here

_SPACE = (
    "what varies, SETTING=interval(LOW,HIGH), range(LOW,END,STEP), choice(A,B) or tag(log,interval(LOW,HIGH)), "
    "what does not, SETTING=VALUE, or a file of such lines"
)


def run(options: Namespace, root: type[EffectiveConfig]) -> int:
    """Check the space, and search it; returns the exit code.

    Raises:
        ConfigError: Something is wrong with the space, or with how this process was started.
    """
    if (ranks := here()) is not None:
        what = f"{ranks.starter} has started {ranks.size} processes, and each would train other trials"
        raise ConfigError(Problem(what=what, hint="start as many commands with one --storage, or use --jobs"))
    found = space(read(options.words), root)
    from spectramind_train.run.terminal import Terminal
    from spectramind_train.search import Asked, search

    storage = sys.stdin.readline().strip() if options.storage == "-" else options.storage
    asked = Asked(
        trials=options.trials,
        jobs=options.jobs,
        storage=storage,
        name=options.name,
        prunes=not options.no_pruning,
        words=options.words,
        worker=options.worker,
    )
    return search(found, asked, train, Terminal())


def report(options: Namespace, _: type[EffectiveConfig]) -> int:
    """Report on a sweep; returns the exit code."""
    from spectramind_train.run.terminal import Terminal
    from spectramind_train.search import look

    return look(options.sweep, options.storage, Terminal())


def arguments(parser: Parser) -> None:
    """The arguments of ``sweep``."""
    parser.add_argument("words", nargs="+", metavar="SPACE", help=_SPACE)
    parser.add_argument("--trials", type=_count, default=20, metavar="N", help="trials in all (20)")
    parser.add_argument("--jobs", type=_count, default=1, metavar="N", help="processes that run them here (1)")
    parser.add_argument("--name", metavar="NAME", help="the sweep, to go on with it (default: follows from the space)")
    parser.add_argument("--no-pruning", action="store_true", help="train every trial to its end")
    parser.add_argument("--worker", type=_count, nargs=3, help=SUPPRESS)
    _of_storage(parser)


def of_report(parser: Parser) -> None:
    """The arguments of ``trials``."""
    parser.add_argument("sweep", metavar="SWEEP", help="the sweep's folder, or its name")
    _of_storage(parser)


def _of_storage(parser: Parser) -> None:
    about = "a database's URL, a journal's path, or - to read it from the input (default: in the sweep's folder)"
    parser.add_argument("--storage", metavar="URL", help=about)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 10**9:
        raise ArgumentTypeError(f"{text} is no whole number of at least 1")
    return int(text)

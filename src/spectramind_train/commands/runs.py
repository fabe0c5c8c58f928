"""The commands ``runs …``, ``export`` and ``track sync``, and what every command about a run begins with."""

from __future__ import annotations

import dataclasses
import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spectramind_config import ConfigError, EffectiveConfig, Problem
from spectramind_config.commands.command import JSON, Parser, add, fitted, out, out_json
from spectramind_config.errors import quoted, visible, write

if TYPE_CHECKING:
    from spectramind_train.results.listing import Compared
    from spectramind_train.run.directory import Run
    from spectramind_train.run.terminal import Terminal


_RUN = "the run's directory or its manifest, or its name below the default paths.output_dir"


def of_one(parser: Parser) -> None:
    """The argument that names a run."""
    parser.add_argument("run", type=Path, metavar="RUN", help=_RUN)


def of_several(parser: Parser) -> None:
    """The argument that names runs whose predictions are averaged."""
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help=f"{_RUN}; of several, predictions are averaged"
    )


def opened(path: Path, terminal: Terminal) -> Run:
    """The run of a name; says so where it has not ended.

    Raises:
        ConfigError: It cannot be read.
    """
    from spectramind_train.run.catalogue import run_at

    run = run_at(path)
    if run.manifest.status == "running":
        terminal.warn(f"{run.path} is {run.manifest.describe()}")
    return run


def sync(options: Namespace, _: type[EffectiveConfig]) -> int:
    """Deliver to MLflow what it has not received of a run; returns the exit code."""
    from spectramind_train.run import tracking
    from spectramind_train.run.terminal import Terminal

    terminal = Terminal()
    tracking.sync(opened(options.run, terminal), terminal, options.uri)
    return 0


def of_sync(parser: Parser) -> None:
    """The arguments of ``track sync``."""
    of_one(parser)
    parser.add_argument("--uri", metavar="URI", help="the server (default: that of the run)")


def listing(options: Namespace, _: type[EffectiveConfig]) -> int:
    """List the runs of a folder, the newest first; returns the exit code.

    Raises:
        ConfigError: There is no such folder, or it is a run.
    """
    from spectramind_train.results.listing import table
    from spectramind_train.run.catalogue import Summary

    folder, runs = _found(options)
    found = [Summary.of(run) for run in runs]
    if options.json:
        out_json([dataclasses.asdict(one) for one in found])
    elif found:
        out(f"{folder}: {len(found)} run{'s' if len(found) > 1 else ''}, the newest first", *table(found))
    else:
        out(f"{folder}: no runs; spectramind train makes one")
    return 0


def best(options: Namespace, _: type[EffectiveConfig]) -> int:
    """Name the completed run with the best validation score; returns the exit code.

    The test score does not choose: a run that was chosen for it would look better than it is.

    Raises:
        ConfigError: There is no such folder, or no completed run in it.
    """
    from spectramind_train.results.listing import table
    from spectramind_train.run.catalogue import Summary

    folder, runs = _found(options)
    scored = [run for run in runs if run.manifest.status == "completed" and "val_score_best" in run.manifest.metrics]
    if not scored:
        what = f"{folder}: no completed run with a validation score, of {len(runs)} in all"
        raise ConfigError(Problem(what=what, see=f"runs list {quoted(str(folder))}"))
    # Of equal ones the oldest.
    chosen = max(reversed(scored), key=lambda run: run.manifest.metrics["val_score_best"])
    if len({_planets(run, "val") for run in scored}) > 1:
        _warn(f"{folder}: its runs were validated on different planets, so their scores are no fair comparison")
    if options.json:
        out_json(dataclasses.asdict(Summary.of(chosen)))
    elif options.path:
        out(visible(str(chosen.path)))
    else:
        out(f"the best of {len(scored)} completed, by the validation score alone", *table([Summary.of(chosen)]))
        out(visible(str(chosen.path)))
    return 0


def show(options: Namespace, _: type[EffectiveConfig]) -> int:
    """Tell what a run's manifest says; returns the exit code.

    Raises:
        ConfigError: The run cannot be read.
    """
    import msgspec

    from spectramind_train.results.listing import story
    from spectramind_train.run.catalogue import run_at

    run = run_at(options.run)
    if options.json:
        out_json({"state": run.manifest.state(), **msgspec.to_builtins(run.manifest)})
    else:
        out(*story(run))
    return 0


def compare(options: Namespace, _: type[EffectiveConfig]) -> int:
    """Tell what differs between runs, and their scores; returns the exit code.

    Raises:
        ConfigError: One of them cannot be read, or there are too few or too many.
    """
    from spectramind_config import from_dict
    from spectramind_config.commands.configs import SIDES, differences, report
    from spectramind_train.results.listing import Compared, lines_of
    from spectramind_train.run.catalogue import run_at

    if not 2 <= len(options.runs) <= len(SIDES):
        what = f"runs compare takes 2 to {len(SIDES)} runs, not {len(options.runs)}"
        raise ConfigError(Problem(what=what, see="runs list"))
    runs = [run_at(path) for path in options.runs]
    try:
        settings = differences(*(from_dict(run.manifest.config, f"{run.path}/manifest.json") for run in runs))
        found = Compared.of(runs)
    except ConfigError as error:  # Of another version, or with a site's profile that is not here.
        _warn(f"{error.problems[0].what}; so configs are compared as they stand, without who set what")
        settings, found = [], Compared.of(runs, config=True)
    _warn_of_planets(runs)
    if options.json:
        of_settings = [{"path": path, "values": [one and one.to_dict() for one in sides]} for path, sides in settings]
        out_json({"config": of_settings, **found.to_dict()})
    else:
        out(*lines_of(found, list(report(settings)), SIDES))
    return 0


def diff(options: Namespace, root: type[EffectiveConfig]) -> int:
    """``config diff`` where a side may be a run: then with the scores, and whether code and data differ.

    Raises:
        ConfigError: A side is neither a config nor a run, or there are not two.
    """
    from spectramind_config.commands import configs

    if len(options.sides) != 2:
        return configs.diff(options, root)
    options.sides, runs, damaged = _sides(options.sides)
    left, right = configs.both(options.sides, root)
    for line in damaged:
        _warn(f"{line}; so its config alone is compared")
    if not runs:
        return configs.diff(options, root)
    from spectramind_train.results.listing import Compared, scores_of, titles_of

    settings, found = configs.differences(left, right), Compared.of(list(runs.values()))
    _warn_of_planets(list(runs.values()))
    if options.json:
        out_json({"config": configs.as_json(settings), **found.to_dict()})
    else:
        titles = dict(zip(configs.SIDES, map("{}: {}".format, configs.SIDES, options.sides), strict=False))
        titles |= dict(zip(runs, titles_of(found, list(runs)), strict=True))
        out(*titles.values(), *(configs.report(settings) if settings else [configs.equal(left)]), "")
        if len(runs) > 1:
            out(*_parts(found, " ".join(map(quoted, options.sides))), "")
        out(*scores_of(found, list(runs)))
    return 1 if settings and options.exit_code else 0


def _sides(texts: Sequence[str]) -> tuple[list[str], dict[str, Run], list[str]]:
    """What is compared, a run's name as its directory; the runs among it by letter; what is wrong with others."""
    from spectramind_config.commands.configs import SIDES
    from spectramind_train.run.catalogue import default_folder, is_run
    from spectramind_train.run.directory import Run

    sides, runs, damaged = list[str](), dict[str, Run](), list[str]()
    for letter, text in zip(SIDES, texts, strict=False):
        side = text
        if text and "=" not in text and not os.path.exists(text) and is_run(known := default_folder() / text):  # noqa: PTH110 - Path.exists raises where a text is no path.
            side = str(known)
        sides.append(side)
        if not (side and os.path.exists(side)):  # noqa: PTH110 - likewise.
            continue
        try:
            runs[letter] = Run.open(Path(side))
        except ConfigError as error:
            if is_run(Path(side)):  # Its config may be whole all the same.
                damaged.append(error.problems[0].what)
    return sides, runs, damaged


def export(options: Namespace, _: type[EffectiveConfig]) -> int:
    """Write the best checkpoint's weights and what they mean into a folder; returns the exit code.

    Raises:
        ConfigError: The run has no checkpoint of its model, or the folder cannot be made.
    """
    from spectramind_config import from_dict
    from spectramind_train.run.terminal import Terminal

    terminal = Terminal()
    run = opened(options.run, terminal)
    config = from_dict(run.manifest.config, f"{run.path}/manifest.json")
    checkpoint = run.checkpoint(terminal.warn)
    folder: Path = options.out or run.path / "export"
    from spectramind_train.results import export

    export.export(run, config, checkpoint, folder)
    terminal.say(f"written: {folder}/{export.WEIGHTS}, {export.DESCRIPTION}")
    return 0


def of_export(parser: Parser) -> None:
    """The arguments of ``export``."""
    of_one(parser)
    about = "the folder to make (default: export in the run's directory)"
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=about)


def of_listing(parser: Parser) -> None:
    """The arguments of ``runs list``."""
    about = "the folder of runs (default: paths.output_dir of the default config)"
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help=about)
    add(parser, JSON)


def of_best(parser: Parser) -> None:
    """The arguments of ``runs best``."""
    of_listing(parser)
    about = "print its path alone, as for spectramind predict $(spectramind runs best --path)"
    parser.add_argument("--path", action="store_true", help=about)


def of_show(parser: Parser) -> None:
    """The arguments of ``runs show``."""
    of_one(parser)
    add(parser, JSON)


def of_compare(parser: Parser) -> None:
    """The arguments of ``runs compare``."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="directories, manifests or names of runs")
    add(parser, JSON)


def _parts(found: Compared, sides: str) -> Iterator[str]:
    """Which parts of two runs' manifests differ besides the configs, and which do not."""
    differ, alike = ([name for name in names if name != "config"] for names in found.parts)
    if differ:
        yield fitted("they differ in ", f"{', '.join(differ)}: spectramind runs compare {sides}")
    if alike:
        yield f"the same: {', '.join(alike)}"


def of_diff(parser: Parser) -> None:
    """The arguments of ``config diff``."""
    from spectramind_config.commands.configs import DIFF

    add(parser, DIFF)


def _found(options: Namespace) -> tuple[Path, Sequence[Run]]:
    """The folder that is meant, and its runs; damaged ones are told aside."""
    from spectramind_train.run.catalogue import default_folder, require_folder, runs_in

    folder: Path = default_folder() if options.folder is None else options.folder
    if options.folder is not None:
        require_folder(folder)
    runs = runs_in(folder, _warn)
    return folder, runs


def _warn(line: str) -> None:
    write(f"warning: {line}", sys.stderr)


def _warn_of_planets(runs: Sequence[Run]) -> None:
    if len({_planets(run, "test") for run in runs}) > 1:
        _warn("the runs have other test planets than each other, so their test scores are no fair comparison")


def _planets(run: Run, part: str) -> tuple[str, ...]:
    """What tells the planets of a split from those of another run."""
    data = run.manifest.data
    return () if data is None else (data.fingerprint, *data.planets.get(part, ()))

"""``config …``: what a command line or a saved config means, and who set it."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from spectramind_config.commands import comparison, explanation, json_schema
from spectramind_config.commands.parsing import Command, Parser
from spectramind_config.commands.reporting import out, out_json
from spectramind_config.compose.composition import compose
from spectramind_config.compose.config import Config
from spectramind_config.compose.saved import from_file
from spectramind_config.errors import ConfigError, Problem

_SIDES = "overrides in quotes, a file of config show, or a run's directory or manifest"


def _show(options: Namespace, root: type[Config]) -> int:
    config = _config(options, root)
    out_json(config.to_dict()) if options.json else out(config.to_yaml().rstrip("\n"))
    return 0


def _validate(options: Namespace, root: type[Config]) -> int:
    _config(options, root)
    return 0


def _hash(options: Namespace, root: type[Config]) -> int:
    config = _config(options, root)
    out(config.science_fingerprint if options.science else config.fingerprint)
    return 0


def _explain(options: Namespace, root: type[Config]) -> int:
    paths = [argument for argument in options.overrides if "=" not in argument and not argument.startswith("~")]
    options.overrides = [argument for argument in options.overrides if argument not in paths]
    config = _config(options, root)
    if options.json:
        out_json([origin.to_dict() for origin in explanation.chosen(config, paths)])
    elif paths:
        origins = explanation.chosen(config, paths)
        out("\n\n".join("\n".join(explanation.story(config, origin)) for origin in origins))
    else:
        out(*explanation.table(config))
    return 0


def _diff(options: Namespace, root: type[Config]) -> int:
    if len(options.sides) != 2:
        what = f"config diff compares two configs, and {len(options.sides)} are given"
        raise ConfigError(Problem(what=what, expected=f"for each side {_SIDES}", see="config diff --help"))
    left, right = comparison.sides(options.sides, root)
    found = comparison.differences(left, right)
    if options.json:
        out_json(comparison.as_data(found))
    elif found:
        out(f"A: {options.sides[0]}\nB: {options.sides[1]}", *comparison.report(found))
    else:
        out(f"the configs are equal (fingerprint {left.fingerprint[:12]})")
    return 1 if found and options.exit_code else 0


def _schema(options: Namespace, root: type[Config]) -> int:
    out_json(json_schema.group_schema(root, options.group) if options.group else json_schema.config_schema(root))
    return 0


def _config(options: Namespace, root: type[Config]) -> Config:
    """The config that overrides, or ``--file``, ask for."""
    if options.file is None:
        return compose(options.overrides, root)
    if options.overrides:
        what = f"{options.overrides[0]}: one file is read as it stands, without overrides"
        raise ConfigError(Problem(what=what, see=f"config validate --file {options.file}"))
    return from_file(Path(options.file), root)


def _of_config(parser: Parser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="group=profile, or a setting=value")
    parser.add_argument("--file", metavar="FILE", help="what config show wrote, instead of overrides")


def _with_json(parser: Parser) -> None:
    _of_config(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _of_explain(parser: Parser) -> None:
    _with_json(parser)
    parser.epilog = "A word without '=' is a setting, a section or a group to explain; without any, all are listed."


def _of_hash(parser: Parser) -> None:
    _of_config(parser)
    parser.add_argument("--science", action="store_true", help="without what only says where it runs")


def _of_diff(parser: Parser) -> None:
    parser.add_argument("sides", nargs="*", metavar="SIDE", help=_SIDES)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--exit-code", action="store_true", help="exit with 1 where they differ")


def _of_schema(parser: Parser) -> None:
    parser.add_argument("--group", metavar="GROUP", help="of one group alone")


COMMANDS = (
    Command("config show", "the composed config as YAML", _show, _with_json),
    Command("config explain", "who set each value, and what that shadowed", _explain, _of_explain),
    Command("config diff", "what differs between two configs", _diff, _of_diff),
    Command("config validate", "nothing and exit code 0, or the mistakes and 2", _validate, _of_config),
    Command("config schema", "the JSON Schema of it all", _schema, _of_schema),
    Command("config hash", "the fingerprint", _hash, _of_hash),
)

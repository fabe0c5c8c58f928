"""``spectramind config …``: what a command line or a saved config means, and who set it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from spectramind_config import comparison, explanation, json_schema
from spectramind_config.composition import compose
from spectramind_config.effective import EffectiveConfig
from spectramind_config.errors import ConfigError, Problem
from spectramind_config.reporting import take_flags, take_option
from spectramind_config.saved import from_file


def _show(arguments: list[str]) -> int:
    config, flags = _config(arguments, "--json")
    _print_json(config.to_dict()) if flags else print(config.to_yaml(), end="")
    return 0


def _validate(arguments: list[str]) -> int:
    _config(arguments)
    return 0


def _hash(arguments: list[str]) -> int:
    config, flags = _config(arguments, "--science")
    print(config.science_fingerprint if flags else config.fingerprint)
    return 0


def _explain(arguments: list[str]) -> int:
    files = [f"--file={file}" for file in take_option(arguments, "--file")]
    paths = [argument for argument in arguments if "=" not in argument and not argument.startswith("--")]
    config, flags = _config([*files, *(argument for argument in arguments if argument not in paths)], "--json")
    if flags:
        _print_json([origin.to_dict() for origin in explanation.chosen(config, paths)])
    elif paths:
        origins = explanation.chosen(config, paths)
        print("\n\n".join("\n".join(explanation.story(config, origin)) for origin in origins))
    else:
        print("\n".join(explanation.table(config)))
    return 0


def _diff(arguments: list[str]) -> int:
    flags = take_flags(arguments, "--json", "--exit-code")
    if len(arguments) != 2:
        raise ConfigError(
            Problem(
                what=f"config diff compares two configs, and {len(arguments)} are given",
                expected="for each side overrides in quotes, a file of config show, or a run's directory or manifest",
                see="spectramind config diff 'local=default' 'trainer=multi_gpu local=hpc'",
            )
        )
    left, right = comparison.sides(arguments)
    found = comparison.differences(left, right)
    if "--json" in flags:
        _print_json(comparison.as_data(found))
    elif found:
        print(f"A: {arguments[0]}\nB: {arguments[1]}")
        print("\n".join(comparison.report(found)))
    else:
        print(f"the configs are equal (fingerprint {left.fingerprint[:12]})")
    return 1 if found and "--exit-code" in flags else 0


def _schema(arguments: list[str]) -> int:
    groups = take_option(arguments, "--group")
    take_flags(arguments)
    if arguments:
        what = f"{arguments[0]}: config schema takes no overrides: the schema holds for every profile"
        raise ConfigError(Problem(what=what, see="spectramind config schema --group local"))
    _print_json(json_schema.group_schema(groups[-1]) if groups else json_schema.config_schema())
    return 0


def _config(arguments: list[str], *flags: str) -> tuple[EffectiveConfig, set[str]]:
    """The config that overrides, or ``--file``, ask for; and the flags that are given."""
    files = take_option(arguments, "--file")
    given = take_flags(arguments, *flags)
    if not files:
        return compose(arguments), given
    if more := [*files[1:], *arguments]:
        what = f"{more[0]}: one file is read as it stands, without overrides"
        raise ConfigError(Problem(what=what, see=f"spectramind config validate --file {files[0]}"))
    return from_file(Path(files[0])), given


def _print_json(data: object) -> None:
    print(json.dumps(data, indent=2))


COMMANDS: Mapping[str, Callable[[list[str]], int]] = {
    "show": _show,
    "explain": _explain,
    "diff": _diff,
    "validate": _validate,
    "schema": _schema,
    "hash": _hash,
}

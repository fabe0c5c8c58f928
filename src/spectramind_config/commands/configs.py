"""``config …``: what a command line or a saved config means, who set each value, and what differs between two."""

from __future__ import annotations

import os
import shlex
import string
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from spectramind_config.commands.command import JSON, Command, fitted, out, out_json, short, shown, width
from spectramind_config.commands.json_schema import config_schema, group_schema
from spectramind_config.compose.composition import compose
from spectramind_config.compose.config import Config
from spectramind_config.compose.interpolation import references
from spectramind_config.compose.layers import Origin, Setter
from spectramind_config.compose.saved import from_file
from spectramind_config.errors import ConfigError, Problem, quoted
from spectramind_config.schema.registry import REGISTRY
from spectramind_config.schema.values import plain, same

SIDES = string.ascii_uppercase
"""What configs that are compared are called."""
_SIDES = "overrides in quotes, a file of config show, or a run's directory or manifest"


def _show(options: Namespace, root: type[Config]) -> None:
    config = _config(options, root)
    out_json(config.to_dict()) if options.json else out(config.to_yaml().rstrip("\n"))


def _hash(options: Namespace, root: type[Config]) -> None:
    config = _config(options, root)
    found = {"fingerprint": config.fingerprint, "science_fingerprint": config.science_fingerprint}
    out_json(found) if options.json else out(found["science_fingerprint" if options.science else "fingerprint"])


def _validate(options: Namespace, root: type[Config]) -> None:
    _config(options, root)


def _schema(options: Namespace, root: type[Config]) -> None:
    out_json(group_schema(root, options.group) if options.group else config_schema(root))


def _config(options: Namespace, root: type[Config]) -> Config:
    if options.file is None:
        return compose(options.overrides, root)
    if options.overrides:
        what = f"{options.overrides[0]}: one file is read as it stands, without overrides"
        raise ConfigError(Problem(what=what, see=f"config validate --file {options.file}"))
    return from_file(Path(options.file), root)


def _explain(options: Namespace, root: type[Config]) -> None:
    paths = [argument for argument in options.overrides if "=" not in argument and not argument.startswith("~")]
    options.overrides = [argument for argument in options.overrides if argument not in paths]
    config = _config(options, root)
    origins = [one for path in paths for one in _below(config, path)] if paths else config.origins()
    if options.json:
        out_json([origin.to_dict() for origin in origins])
    elif paths:
        out("\n\n".join("\n".join(_story(config, origin)) for origin in origins))
    else:
        out(*_table(config, origins))


def _below(config: Config, path: str) -> list[Origin]:
    inside = f"{path}."
    found = [one for one in config.origins() if one.path.startswith(inside) or one.key.startswith(inside)]
    return found or [config.origin(path)]


def _table(config: Config, origins: Sequence[Origin]) -> Iterator[str]:
    """Every setting on a line, by group; ``*`` marks those that differ from the default profiles."""
    usual: dict[str, Any] = {}
    with suppress(ConfigError):  # Nobody may bring a default profile.
        layers = compose([], type(config))._layers
        usual = {path: plain(layers.seen(path, layers.effective_value(path))) for path in layers.stack.setters}
    inside: dict[str, list[Origin]] = {group: [] for group in ("", *config._root.groups)}
    for one in (one for one in origins if not config._root.is_name(one.path)):
        inside.get(one.key.partition(".")[0], inside[""]).append(one)
    yield "* differs from the default profile of its group"
    for group, found in inside.items():
        if group:
            chosen = REGISTRY.view(config._root)[group].get(config.profiles[group])
            label = f"{group}={config.profiles[group]}"
            yield from ("", fitted(f"{label}: ", chosen.summary) if chosen else label)
        elif found:
            yield from ("", config._root.cls.__name__)
        paths = max((len(one.path) for one in found), default=0)
        values = min(28, max((len(shown(one.value)) for one in found), default=0))
        for one in found:
            mark = " " if one.path in usual and same(usual[one.path], plain(one.value)) else "*"
            line = f"{mark} {one.path:<{paths}}"
            for cell in (f"{shown(one.value):<{values}}", *_notes(one, group)):
                room = width() - 2 - len(cell.rstrip())
                if len(line) > room:
                    yield line.rstrip()
                    line = " " * max(4, min(min(paths + 4, width() // 2) - 2, room))
                line += f"  {cell}"
            yield line.rstrip()


def _notes(origin: Origin, group: str) -> Iterator[str]:
    where = f"{origin.owner} {Path(origin.source).name}".strip()
    yield where if origin.layer in (group, "root") else f"{origin}, {where}"
    yield from (f"{name} is set" if name in os.environ else f"{name} is not set" for name in origin.variables)
    if origin.raw is not None and not origin.variables:
        yield f"= {plain(origin.raw)}"
    yield from (f"over {shown(one.value)} of {one}" for one in origin.shadowed)


def _setter(one: Setter) -> str:
    return ", ".join(dict.fromkeys(filter(None, (str(one), one.owner, short(one.source)))))


def _story(config: Config, origin: Origin) -> Iterator[str]:
    leaf = config._layers.stack.leaves[origin.key]
    yield f"{origin.path} = {shown(origin.value)}"
    rows = [("meaning", leaf.description)] if leaf.description else []
    rows += [("takes", leaf.type.words), ("set by", _setter(origin))]
    if origin.raw is not None:
        rows.append(("written", origin.raw if isinstance(origin.raw, str) else shown(origin.raw)))
        unset = "not set, so the default after the comma stands"
        rows += [("variable", f"{name} is {'set' if name in os.environ else unset}") for name in origin.variables]
        others = map(config.origin, references(origin.raw, origin.key))
        rows += [("made of", f"{one.path} = {shown(one.value)}, set by {_setter(one)}") for one in others]
    rows += [("over", f"{shown(one.value)} of {_setter(one)}") for one in origin.shadowed]
    rows += [] if config._root.is_name(origin.path) else [("change", f"{origin.key}=<value>")]
    yield from (fitted(f"  {label + ':':<9} ", text) for label, text in rows)


def diff(options: Namespace, root: type[Config]) -> int:
    """Tell what differs between two configs; returns the exit code.

    Raises:
        ConfigError: A side is no config, or there are not two.
    """
    left, right = both(options.sides, root)
    found = differences(left, right)
    if options.json:
        out_json(as_json(found))
    elif found:
        out(f"A: {options.sides[0]}\nB: {options.sides[1]}", *report(found))
    else:
        out(equal(left))
    return 1 if found and options.exit_code else 0


def both(sides: Sequence[str], root: type[Config]) -> tuple[Config, Config]:
    """The two configs of a command line.

    Raises:
        ConfigError: A side is no config, or there are not two.
    """
    if len(sides) != 2:
        what = f"config diff compares two configs, and {len(sides)} are given"
        raise ConfigError(Problem(what=what, expected=f"for each side {_SIDES}", see="config diff --help"))
    configs, problems = list[Config](), list[Problem]()
    for text in sides:
        try:
            configs.append(_side(text, root))
        except ConfigError as error:  # Its corrected command is that of both sides.
            corrected = error.corrected()
            fix = None if corrected is None else " ".join(map(quoted, corrected))
            problems += [replace(one, argument=text, instead=fix) for one in error.problems]
    if problems:
        raise ConfigError(problems, sides)
    return configs[0], configs[1]


def _side(text: str, root: type[Config]) -> Config:
    is_file = text and os.path.exists(text)  # noqa: PTH110 - Path.exists raises where a text is no path.
    return from_file(Path(text), root) if is_file else compose(_overrides(text), root)


def _overrides(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(Problem(what=f"{text}: {str(error).lower()}", see="config diff --help")) from None
    for stranger in (word for word in words if "=" not in word):
        what = f"{stranger}: there is no such file, and it is not an override"
        raise ConfigError(Problem(what=what, expected=_SIDES, see="config diff --help"))
    return words


def differences(*configs: Config) -> list[tuple[str, tuple[Origin | None, ...]]]:
    """The paths that differ, each with its origins, if any: chosen profiles first, then as in ``to_dict``."""
    sides = [{origin.path: origin for origin in config.origins()} for config in configs]
    known = dict.fromkeys(path for side in sides for path in side)
    paths = sorted(known, key=lambda path: not configs[0]._root.is_name(path))
    found = ((path, tuple(side.get(path) for side in sides)) for path in paths)
    return [(path, origins) for path, origins in found if not _alike(origins)]


def _alike(origins: Sequence[Origin | None]) -> bool:
    first = origins[0]
    return first is not None and all(one and same(plain(first.value), plain(one.value)) for one in origins[1:])


def report(found: Sequence[tuple[str, Sequence[Origin | None]]]) -> Iterator[str]:
    """The lines that tell what ``differences`` has found, A for the first config, B for the next and so on."""
    size = min(40, max((len(shown(one.value)) for _, sides in found for one in sides if one), default=0))
    for path, sides in found:
        yield path
        for name, one in zip(SIDES, sides, strict=False):
            who = _setter(one) if one and not path.endswith(".name") else ""
            yield f"  {name}: {shown(one.value):<{size}}  {who}".rstrip() if one else f"  {name}: no such setting"


def as_json(found: Sequence[tuple[str, Sequence[Origin | None]]]) -> list[dict[str, Any]]:
    """What ``differences`` has found of two configs, as JSON has it."""
    return [{"path": path, "a": a and a.to_dict(), "b": b and b.to_dict()} for path, (a, b) in found]


def equal(config: Config) -> str:
    """The line that tells of no difference."""
    return f"the configs are equal (fingerprint {config.fingerprint[:12]})"


_CONFIG = {
    "overrides": {"nargs": "*", "metavar": "OVERRIDE", "help": "group=profile, or a setting=value"},
    "--file": {"metavar": "FILE", "help": "what config show wrote, instead of overrides"},
}
_EXPLAIN = "A word without '=' is a setting, a section or a group to explain; without any, all are listed."
DIFF = {
    "sides": {"nargs": "*", "metavar": "SIDE", "help": _SIDES},
    **JSON,
    "--exit-code": {"action": "store_true", "help": "exit with 1 where the configs differ"},
}
"""The arguments of ``config diff``."""
_SCIENCE = {"--science": {"action": "store_true", "help": "without what only says where it runs"}}
_GROUP = {"--group": {"metavar": "GROUP", "help": "of one group alone"}}
COMMANDS = (
    Command("config show", "the composed config as YAML", _show, _CONFIG | JSON),
    Command("config explain", "who set each value, and what that shadowed", _explain, _CONFIG | JSON, _EXPLAIN),
    Command("config diff", "what differs between two configs", diff, DIFF),
    Command("config validate", "nothing and exit code 0, or the mistakes and 2", _validate, _CONFIG),
    Command("config schema", "the JSON Schema of it all", _schema, _GROUP),
    Command("config hash", "the fingerprint", _hash, _CONFIG | _SCIENCE | JSON),
)

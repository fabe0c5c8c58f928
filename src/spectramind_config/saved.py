"""Saved configs: what ``config show`` writes and what a run's manifest holds, read back and checked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from spectramind_config.composition import Composition
from spectramind_config.effective import EffectiveConfig
from spectramind_config.errors import ConfigError, Problem, nearest
from spectramind_config.interpolation import escaped
from spectramind_config.layers import stack_of
from spectramind_config.leaves import same
from spectramind_config.overrides import write
from spectramind_config.registry import DEFAULTS, GROUPS, NAMES, REGISTRY
from spectramind_config.site_profiles import load


def from_file(path: Path) -> EffectiveConfig:
    """Rebuild the effective config that a YAML or JSON file, a run's manifest or its directory holds.

    Raises:
        ConfigError: With every mistake in the file, each with its line.
    """
    file = path / "manifest.json" if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
        node = yaml.compose(text, yaml.CSafeLoader)
        values = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except OSError as error:
        raise _unreadable(file, error.strerror or str(error)) from None
    except (ValueError, RecursionError) as error:
        raise _unreadable(file, f"not YAML or JSON: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = f"line {mark.line + 1}: {getattr(error, 'problem', error)}" if mark else str(error)
        raise _unreadable(file, f"not YAML or JSON: {reason}") from None
    lines = dict(_lines(node, file))
    if isinstance(values, dict) and "config" in values and "overrides" in values:
        values = values["config"]
        lines = {name.removeprefix("config."): line for name, line in lines.items() if name.startswith("config.")}
    try:
        return from_dict(values, str(file), lines)
    except RecursionError:
        raise _unreadable(file, "a value in it holds itself") from None


def from_dict(values: Mapping[str, Any], source: str, lines: Mapping[str, int] | None = None) -> EffectiveConfig:
    """Rebuild an effective config from what ``to_dict`` gave, checked like a command line.

    Args:
        values: The nested values; ``trainer.name``, ``model.name`` and so on choose the profiles.
        source: Where they come from, for messages: a file's path.
        lines: The line of each dotted path in that file.

    Raises:
        ConfigError: With every key that is unknown and every value that does not fit.
    """
    load()
    check = f"spectramind config validate --file {source}"
    if not isinstance(values, Mapping):
        found = "nothing" if values is None else f"a {type(values).__name__}"
        what = f"{source}: it holds {found} instead of settings"
        raise ConfigError(Problem(what=what, expected="what spectramind config show prints", see=check))
    choices = {
        group: str(section["name"])
        for group in GROUPS
        if isinstance(section := values.get(group), Mapping) and "name" in section
    }
    paths = {write(group, name): f"{group}.name" for group, name in choices.items()}
    known = {group: name for group, name in choices.items() if REGISTRY.get(group, name) is not None}
    stack = stack_of(dict(DEFAULTS) | known)
    places = {path: f"{source}:{line}" for path, line in (lines or {}).items()}
    problems: list[Problem] = []
    for path, value in _flat(values, stack.setters):
        if path in NAMES:
            continue
        setters = stack.setters.get(path)
        if setters is None:
            if path.partition(".")[0] not in choices.keys() - known.keys():
                problems.append(_no_leaf(path, places.get(path, source), stack.setters, check))
        elif value is None:
            paths |= {write(one, None): path for one in setters if stack.values[one] is not None}
        elif not same(stack.values[setters[0]], value):
            paths[write(setters[0], escaped(value))] = path
    origins = {override: places[path] for override, path in paths.items() if path in places}
    composition = Composition(list(paths), source, origins)
    try:
        config = composition.result()
    except ConfigError as error:
        shown = {setter: path for path, setters in stack.setters.items() for setter in setters}
        problems += [_in_file(problem, paths, shown, check) for problem in error.problems]
    else:
        if not problems:
            return config
    raise ConfigError(problems)


def _unreadable(file: Path, reason: str) -> ConfigError:
    return ConfigError(
        Problem(
            what=f"{file}: {reason}",
            expected="what spectramind config show prints, or a run's manifest",
            see="spectramind config show",
        )
    )


def _lines(node: yaml.Node | None, file: Path, prefix: str = "") -> Iterator[tuple[str, int]]:
    """The line of every key; a key that stands twice is refused, for YAML would silently take the last."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        name = str(key.value)
        if name in seen:
            raise _unreadable(file, f"line {line}: {prefix}{name} stands on line {seen[name]} already")
        seen[name] = line
        yield f"{prefix}{name}", line
        yield from _lines(value, file, f"{prefix}{name}.")


def _flat(values: Mapping[str, Any], leaves: Container[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and path not in leaves:
            yield from _flat(value, leaves, f"{path}.")
        else:
            yield path, tuple(value) if isinstance(value, list) else value


def _no_leaf(path: str, origin: str, known: Mapping[str, object], check: str) -> Problem:
    inside = [one.removeprefix(f"{path}.") for one in known if one.startswith(f"{path}.")]
    if inside:
        expected = f"its settings: {', '.join(inside)}"
        return Problem(what=f"{path}: this is a section, not a setting", origin=origin, expected=expected, see=check)
    return Problem(what=f"{path}: there is no such setting", origin=origin, nearest=nearest(path, known), see=check)


def _in_file(problem: Problem, paths: Mapping[str, str], shown: Mapping[str, str], check: str) -> Problem:
    """A mistake in the words of the file: its own path for the setting, and a value instead of an override."""
    argument = problem.argument or ""
    what = problem.what.replace(argument, paths[argument], 1) if argument in paths else problem.what
    key, equals, value = (problem.instead or "").partition("=")
    place = f"{key}.name" if key in GROUPS else shown.get(key, key)
    hint = f"write {value} for {place}" if equals else problem.hint
    close = None if equals else shown.get(problem.nearest or "", problem.nearest)
    return dataclasses.replace(problem, what=what, nearest=close, argument=None, instead=None, hint=hint, see=check)

"""Configs from elsewhere, read back and checked: what ``config show`` writes, a run's manifest, what Hydra composed."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from spectramind_config.compose.choosing import choose
from spectramind_config.compose.composition import composed
from spectramind_config.compose.config import Config
from spectramind_config.compose.interpolation import escaped
from spectramind_config.compose.layers import stack_of
from spectramind_config.compose.overrides import parse, write
from spectramind_config.errors import ConfigError, Problem, nearest
from spectramind_config.schema.registry import REGISTRY, Registered
from spectramind_config.schema.values import children, plain, same
from spectramind_config.sites import yaml
from spectramind_config.sites.loading import load

C = TypeVar("C", bound=Config)


def from_file(path: str | Path, root: type[C]) -> C:
    """The config that a YAML or JSON file, a run's manifest or its directory holds."""
    file = Path(path, "manifest.json") if os.path.isdir(path) else Path(path)  # noqa: PTH112 - Path.is_dir raises.
    expected = f"what {root._root.program} config show prints, or a run's manifest"
    try:
        _, values, lines = yaml.read(file, expected=expected, see="config show")
    except ConfigError as error:
        raise root._root.error(list(error.problems)) from None
    if isinstance(values, dict) and "config" in values and "overrides" in values:
        values = values["config"]
        lines = {name.removeprefix("config."): line for name, line in lines.items() if name.startswith("config.")}
    return from_dict(values, str(file), root, lines)


def from_dict(
    values: Mapping[str, Any],
    source: str,
    root: type[C],
    lines: Mapping[str, int] | None = None,
    *,
    unfolded: bool = False,
) -> C:
    """Rebuild a config from what ``to_dict`` gave: ``trainer.name`` and so on choose the profiles.

    ``lines`` are those of dotted paths in the file that is the ``source``. With ``unfolded``, a folded setting stands
    in its groups, as Hydra composes it, instead of at the top, as in the ``.hydra/config.yaml`` of a run, where
    interpolations are not looked up yet. It is replayed as a command line, whose mistakes are told in the words of the
    file.
    """
    spec, check = root._root, "config explain" if unfolded else f"config validate --file {source}"
    load(spec)
    if not isinstance(values, Mapping):
        kind = "nothing" if values is None else f"a {type(plain(values)).__name__}"
        what = f"{source}: it holds {kind} instead of settings"
        raise spec.error(Problem(what=what, expected=f"what {spec.program} config show prints", see=check))
    sections = {group: one for group in spec.groups if isinstance(one := values.get(group), Mapping) and "name" in one}
    choices = {group: str(plain(one["name"])) for group, one in sections.items()}
    paths = {write(group, name): f"{group}.name" for group, name in choices.items()}  # Of each override in the file.
    profiles, _, problems = choose(spec, list(map(parse, paths)))
    if profiles is None:
        raise spec.error(problems)
    stack, problems = stack_of(spec, profiles), []
    places = {path: f"{source}:{line}" for path, line in (lines or {}).items()}
    known = {**stack.setters, **stack.leaves}
    hydras = not unfolded and bool(spec.folds) and not spec.folds.keys() & values.keys()
    for path, value in _flat(values, known):
        group, _, inner = path.partition(".")
        setters = stack.setters.get(path) or ([path] if (unfolded or hydras) and path in stack.leaves else [])
        is_lost = group in choices and choices[group] != profiles[group].name  # Its profile is unknown.
        if (inner == "name" and group in spec.groups) or (not setters and is_lost):
            continue
        problem = functools.partial(Problem, origin=places.get(path, source), see=check)
        if not setters:
            if inside := children(known, path):
                what, expected = f"{path}: this is a section, not a setting", f"its settings: {', '.join(inside)}"
                problems.append(problem(what=what, expected=expected))
            else:
                close = stack.effective.get(path) or nearest(path, known)
                problems.append(problem(what=f"{path}: there is no such setting", nearest=close))
        elif value is None:
            paths |= {write(one, None): path for one in setters if stack.values[one] is not None}
        else:
            leaf, usual, raw = stack.leaves[setters[0]], plain(stack.values[setters[0]]), plain(value)
            with suppress(ValueError):  # For a string setting, the text that was written.
                raw = plain(leaf.convert(value))
            missing = _missing(usual, raw)
            if missing and not leaf.type.optional:
                what = f"{path}: '{missing}' is not in it, and an entry of a profile cannot be taken away"
                problems.append(problem(what=what))
            elif not same(usual, raw):
                paths |= {write(setters[0], None): path} if missing else {}
                add = "++" if isinstance(raw, dict) and any(kind.type is dict for kind in leaf.type.kinds) else ""
                paths[f"{add}{write(setters[0], raw if hydras else escaped(raw))}"] = path
    origins = {override: places[path] for override, path in paths.items() if path in places}
    config, found = composed(list(paths), root, source, origins)
    problems += [
        _in_file(one, paths, {} if unfolded or hydras else stack.effective, spec.groups, check) for one in found
    ]
    if config is None or problems:
        raise spec.error(problems)
    return config


def from_hydra(config: DictConfig, root: type[C]) -> C:
    """The config of what another Hydra application composed, beside things of its own."""
    try:
        values: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise root._root.error(Problem(what=f"Hydra: {str(error).partition(chr(10))[0]}")) from None
    ours = root._root.groups.keys() | set(children(root._root.own, ""))
    load(root._root)
    view = REGISTRY.view(root._root)
    given = {name: value for name, value in values.items() if name in ours}
    content = {name: _named(config, name, value, view.get(name, {})) for name, value in given.items()}
    return from_dict(content, "Hydra", root, unfolded=True)


def _named(config: DictConfig, group: str, value: Any, known: Mapping[str, Registered]) -> Any:
    """A group's values with the profile's name, which an overlay of the application's own may lack."""
    kind = OmegaConf.get_type(config, group)
    if not isinstance(value, dict) or value.get("name") or not isinstance(kind, type):
        return value
    names = [name for name, one in known.items() if one.cls in kind.__mro__[:2]]
    return {key: one for key, one in value.items() if key != "name"} | ({"name": names[0]} if names else {})


def _missing(usual: Any, raw: Any) -> str:
    """The first entry of a dict that a merge would keep, although it is not there."""
    if not (isinstance(usual, dict) and isinstance(raw, dict)):
        return ""
    names = {str(name): name for name in raw}
    inner = (_missing(item, raw[names[str(name)]]) if str(name) in names else str(name) for name, item in usual.items())
    return next(filter(None, inner), "")


def _flat(values: Mapping[str, Any], leaves: Container[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and path not in leaves:
            yield from _flat(value, leaves, f"{path}.")
        else:
            yield path, value


def _in_file(
    problem: Problem, paths: Mapping[str, str], shown: Mapping[str, str], groups: Container[str], check: str
) -> Problem:
    """A mistake in the words of the file: its own path for the setting, and a value instead of an override."""
    argument = problem.argument or ""
    what = problem.what.replace(argument, paths[argument], 1) if argument in paths else problem.what
    key, equals, value = (problem.instead or "").partition("=")
    place = f"{key}.name" if key in groups else shown.get(key, key)
    hint = f"write {value} for {place}" if equals else problem.hint
    close = None if equals else shown.get(problem.nearest or "", problem.nearest)
    return dataclasses.replace(problem, what=what, nearest=close, argument=None, instead=None, hint=hint, see=check)

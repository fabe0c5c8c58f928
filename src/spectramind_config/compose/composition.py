"""Composition: profiles, experiments and overrides, folded by the layer rule into one frozen config.

Parse, choose, set, resolve, fold, freeze: each stage hands on values and the problems that it found. The result equals
what Hydra's own composition of the same ConfigStore gives. Hydra spends most of its time on building its defaults list
and on copying nodes; here the layers of a choice of profiles are laid out once and kept, and a composition only
touches the leaves that are set.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from spectramind_config.compose import interpolation
from spectramind_config.compose.choosing import choose, parsed
from spectramind_config.compose.config import Config
from spectramind_config.compose.layers import Layers, replaced, stack_of
from spectramind_config.compose.overrides import COMMAND_LINE, write
from spectramind_config.compose.setting import set_leaves
from spectramind_config.errors import Problem
from spectramind_config.schema.fields import self_check
from spectramind_config.schema.sources import class_source
from spectramind_config.schema.values import is_interpolation, nested, plain, same, value_at
from spectramind_config.settings import Contradiction, Profile
from spectramind_config.sites.loading import load, warn

C = TypeVar("C", bound=Config)


def compose(overrides: Sequence[str], root: type[C]) -> C:
    """Compose the config of a root; a ConfigError has every mistake in the overrides, not only the first."""
    config, problems = composed(overrides, root)
    if config is None:
        raise root._root.error(problems, list(overrides))
    return config


def composed(
    arguments: Sequence[str],
    cls: type[C],
    source: str = COMMAND_LINE,
    places: Mapping[str, str] | None = None,
    *,
    sites: bool = True,
) -> tuple[C | None, list[Problem]]:
    """All stages of a composition, of overrides from one source or from places of their own; a config or problems.

    Without ``sites``, no profiles from elsewhere are looked for beyond those that have been.
    """
    root = cls._root
    if isinstance(arguments, str):
        return None, [Problem(what=f"compose takes a list of overrides, not one string: compose([{arguments!r}])")]
    if sites:
        load(root, quiet=True)
    overrides, problems = parsed(arguments, source, places or {})
    profiles, settings, found = choose(root, overrides)
    problems += found
    warn(problems)
    if profiles is None:
        return None, problems
    layers, found = set_leaves(stack_of(root, profiles), settings)
    problems += [*found, *_resolve(layers), *_shadowed(layers)]
    if problems:
        return None, problems
    layers.overrides, layers.compose = tuple(arguments), compose
    nodes, problems = _nodes(layers)
    if problems:
        return None, problems
    fields, problems = _fold(layers, nodes, source)
    return (None, problems) if problems else _frozen(cls, fields, layers)


class _BrokenError(Exception):
    """A value that this one is made of is wrong, and has been reported."""


def _resolve(layers: Layers) -> list[Problem]:
    """Look up what is interpolated."""
    pending = [path for path in layers.stack.interpolated if path not in layers.said]
    pending += [path for path in layers.said if path not in layers.resolved]
    waiting, broken, problems = set(pending), set[str](), list[Problem]()

    def lookup(path: str, above: tuple[str, ...] = ()) -> Any:
        if path in broken:
            raise _BrokenError
        if path in above:
            raise ValueError(f"the interpolation goes in a circle: {' -> '.join([*above[above.index(path) :], path])}")
        if path in waiting:
            raw, inside = plain(layers.raw(path)), (*above, path)
            try:
                value = interpolation.resolve(
                    raw, path, lambda one: plain(lookup(one, inside)), lambda: _tree(layers, path)
                )
                layers.resolved[path] = layers.stack.leaves[path].convert(value)
            except (_BrokenError, ValueError) as error:
                broken.add(path)
                if isinstance(error, ValueError):
                    problems.append(_unresolved(layers, path, str(error)))
                raise _BrokenError from None
            waiting.remove(path)
        return layers.value(path)

    for path in pending:
        with contextlib.suppress(_BrokenError):
            lookup(path)
    return problems


def _tree(layers: Layers, path: str) -> dict[str, Any]:
    """Every value, nested, for OmegaConf's own resolver: that of one leaf as it is written."""
    values = {one: plain(layers.raw(one)) for one in layers.stack.leaves}
    found = {one for one, value in values.items() if one != path and is_interpolation(value)}
    return nested({one: interpolation.elsewhere(one) if one in found else value for one, value in values.items()})


def _unresolved(layers: Layers, path: str, reason: str) -> Problem:
    raw, leaf = plain(layers.raw(path)), layers.stack.leaves[path]
    variables = interpolation.variables(raw)
    hint = f"give it a value: {path}=<value>"
    if missing := [name for name in variables if f"variable {name} is" in reason]:
        hint = f"export {missing[0]}=<value>, or give a default: ${{oc.env:{missing[0]},<default>}}"
    elif variables and len(leaf.type.kinds) > 1:
        hint = f"a variable holds text; to read a number out of it: {path}='${{oc.decode:{raw}}}'"
    layer, option, source, _ = layers.stack.setter(path)
    origin = layers.said[path][-1][0].source if path in layers.said else f"{layer}={option}, {source}"
    what = f"{layers.argument(path) or f'{path}={raw}'}: {reason}"
    return layers.problem(path, what, origin=origin, expected=leaf.words, hint=hint)


def _shadowed(layers: Layers) -> list[Problem]:
    """An override that a stronger layer hides would do nothing; say so instead."""
    problems: list[Problem] = []
    stack = layers.stack
    for path in stack.shared:
        strongest, *others = stack.setters[path]
        for weaker in others:
            if not (argument := layers.argument(weaker)):
                continue
            asked, wins = layers.value(weaker), layers.value(strongest)
            if asked is None or wins is None or same(asked, wins):
                continue
            origin, groups = layers.origin(path), f"{stack.places[strongest][0]} wins over {stack.places[weaker][0]}"
            what = f"{argument} has no effect: {origin} sets {path} to {plain(origin.value)!r}, and {groups}"
            instead = "" if strongest in layers.said else f"{strongest}={argument.partition('=')[2]}"
            source = layers.said[weaker][-1][0].source
            problems.append(layers.problem(weaker, what, origin=source, nearest=strongest, instead=instead))
    return problems


def _nodes(layers: Layers) -> tuple[dict[str, Any], list[Problem]]:
    """The frozen settings of every group, and with ``""`` of the root itself."""
    nodes, problems = dict[str, Any](layers.stack.nodes), list[Problem]()
    for group, changes in layers.stack.by_group(layers.resolved).items():
        try:
            nodes[group] = replaced(nodes[group], changes)
        except ValueError as error:
            problems.append(_self_check(layers, group, str(error)))
    return nodes, problems


def _self_check(layers: Layers, group: str, reason: str) -> Problem:
    """A class's own ``__post_init__`` refuses the composed values."""
    root, chosen = layers.stack.root, layers.stack.profiles.get(group)
    cls, source = (chosen.cls, chosen.source) if chosen else (root.cls, class_source(root.cls))
    return Problem(
        what=f"{group}={chosen.name}: {reason}" if chosen else f"{root.name}: {reason}",
        origin=f"{cls.__qualname__}, {source}",
        argument=next((layers.argument(path) for path in layers.said if layers.stack.places[path][0] == group), ""),
        see=f"config explain {group}".rstrip(),
    )


def _fold(layers: Layers, nodes: dict[str, Any], source: str) -> tuple[dict[str, Any], list[Problem]]:
    """Every field of the root: groups, own settings, and those that stand folded at the top."""
    root, problems, warnings = layers.stack.root, list[Problem](), list[str]()
    for group in root.groups:
        node: Profile = nodes[group]
        for found in node.contradictions():
            if found.fatal:
                problems.append(_contradiction(layers, f"{group}={node.name}", f"{group}.{found.path}", found))
            else:
                warnings.append(f"{group}={node.name}: {found.reason}")
    layers.warnings = tuple(warnings)
    own = {name: value for name, value in nodes.pop("").__dict__.items() if name != "_sealed"}
    folded: dict[str, Any] = {name: getattr(nodes[fold.groups[0]], name) for name, fold in root.folds.items()}
    for path in layers.stack.shared:
        name, _, inner = path.partition(".")
        value = layers.effective_value(path)
        if not inner:
            folded[name] = value
        elif value_at(folded[name], inner) is not value:
            folded[name] = replaced(folded[name], {inner: value})
    problems += [
        _nothing_set(layers, name, fold.groups, source)
        for name, fold in root.folds.items()
        if fold.required and folded[name] is None
    ]
    return own | folded | nodes, problems


def _contradiction(layers: Layers, label: str, path: str, found: Contradiction) -> Problem:
    instead = None if found.remedy is None else f"{path}={found.remedy}"
    return layers.problem(
        path, f"{label}: {found.reason}", origin=layers.origin(path).place, nearest=path, instead=instead
    )


def _nothing_set(layers: Layers, name: str, groups: Sequence[str], source: str) -> Problem:
    """No layer sets a folded setting that has to have a value."""
    path = f"{groups[0]}.{name}"
    others = [f"{group}={layers.stack.profiles[group].name}" for group in groups[1:]]
    default = getattr(layers.stack.root.groups[groups[0]].schema(), name)
    what = f"{path}=null: then nothing sets {'an' if name[0] in 'aeiou' else 'a'} {name}"
    what += f", for {', '.join(others)} sets none either" if others else ""
    expected = layers.stack.leaves[path].type.words.removesuffix(", or null")
    instead = write(path, default) if default is not None else None
    return layers.problem(path, what, origin=source, expected=expected, instead=instead)


def _frozen(cls: type[C], fields: dict[str, Any], layers: Layers) -> tuple[C | None, list[Problem]]:
    """An instance with these attributes, without calling ``__init__``, which would cost more than all else."""
    config = object.__new__(cls)
    config.__dict__.update(fields, _layers=layers)
    try:
        self_check(config, fields)
    except ValueError as error:
        return None, [_self_check(layers, "", str(error))]
    return config, []

"""Composition: profiles, experiments and overrides, folded by the layer rule into one frozen config.

Parse, choose, set, resolve, fold, freeze: each stage hands on values and the problems that it found. The result equals
what Hydra's own composition of the same ConfigStore gives. Hydra spends most of its time on building its defaults list
and on copying nodes; here the layers of a choice of profiles are laid out once and kept, and a composition only
touches the leaves that are set.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from spectramind_config.compose import interpolation
from spectramind_config.compose.config import Config
from spectramind_config.compose.layers import Layers, Said, Stack, replaced, stack_of
from spectramind_config.compose.mistakes import Mistakes, text_of
from spectramind_config.compose.overrides import Override, parse
from spectramind_config.errors import MOST, ConfigError, Problem
from spectramind_config.schema.registry import REGISTRY, Experiment, Registered
from spectramind_config.schema.root import Root
from spectramind_config.schema.values import (
    Written,
    holds,
    is_interpolation,
    merged,
    nested,
    plain,
    same,
    updated,
    value_at,
)
from spectramind_config.settings import Profile
from spectramind_config.sites.loading import load

C = TypeVar("C", bound=Config)
_MOST_REMEMBERED = 8192


def compose(
    overrides: Sequence[str],
    root: type[C],
    source: str = "command line",
    lines: Mapping[str, str] | None = None,
) -> C:
    """Compose the config of a root from a list of overrides in Hydra's grammar.

    Layers are folded left to right: profiles in the order of the root's groups, experiments, overrides; the one
    further right wins, unless it says null. The result is frozen and knows the origin of every value.

    Args:
        overrides: Such as ``["trainer=multi_gpu", "local=hpc", "local.devices=8"]``.
        root: The class to compose.
        source: Where the overrides come from, for messages.
        lines: Where single overrides come from, if not all from one place: ``file:line``.

    Raises:
        ConfigError: With every mistake in the overrides, not only the first.
    """
    config, problems = composed(overrides, root, Mistakes(root._root, source, lines or {}))
    if config is None:
        raise root._root.error(problems, list(overrides))
    return config


def composed(overrides: Sequence[str], cls: type[C], mistakes: Mistakes) -> tuple[C | None, list[Problem]]:
    """All stages of a composition; None beside the problems where there are any."""
    root = cls._root
    if isinstance(overrides, str):
        return None, [Problem(what=f"compose takes a list of overrides, not one string: compose([{overrides!r}])")]
    load(root)
    parsed, problems = _parse(overrides, mistakes)
    chosen, found = _choose(root, parsed, mistakes)
    problems += found
    if chosen is None:
        return None, problems
    layers, found = _set(stack_of(root, chosen.profiles), chosen.settings, mistakes)
    problems += found
    problems += _resolve(layers, mistakes)
    problems += _shadowed(layers, mistakes)
    if problems:
        return None, problems
    layers.overrides, layers.compose = tuple(overrides), compose
    nodes, problems = _fold(layers, mistakes)
    return (None, problems) if problems else (_frozen(cls, nodes, layers), [])


@dataclass(frozen=True)
class Chosen:
    """The profile of each group, and what remains to be set, the weakest first: who says it, and the override."""

    profiles: Mapping[str, Registered]
    settings: Sequence[Said]


def _parse(arguments: Sequence[str], mistakes: Mistakes) -> tuple[list[Override], list[Problem]]:
    parsed: list[Override] = []
    problems: list[Problem] = []
    for argument in arguments:
        try:
            parsed.append(parse(argument))
        except ConfigError as error:
            problems += mistakes.malformed(argument, error)
    return parsed, problems


def _choose(root: Root, overrides: Sequence[Override], mistakes: Mistakes) -> tuple[Chosen | None, list[Problem]]:
    """Take the choices of profiles and experiments out of the overrides."""
    view = REGISTRY.view(root)
    problems: list[Problem] = []
    experiments, found = _experiments(root, overrides, mistakes)
    problems += found
    said = [Said(override, one) for one in experiments for override in _parse(one.overrides, mistakes)[0]]
    said += [Said(override) for override in overrides if override.key != "experiment"]
    profiles: dict[str, Registered] = {}
    asked: dict[str, tuple[str, str]] = {}
    settings: list[Said] = []
    for one in said:
        override = one.override
        group, name = override.key, override.value
        if group not in root.groups or isinstance(name, dict):
            settings.append(one)
        elif override.sign:
            problems.append(mistakes.removed_profile(override))
        elif text_of(name) in view[group] and isinstance(name, str | Written):
            profiles[group] = view[group][text_of(name)]
            asked[group] = (text_of(name), "" if one.experiment else override.argument)
        elif refused := mistakes.refused_profile(group, text_of(name), override.argument):
            problems.append(refused)
        else:
            problems.append(mistakes.unknown_profile(override, view[group]))
    for group, spec in root.groups.items():
        name, argument = asked.get(group, (spec.default, ""))
        if group not in profiles and spec.default in view[group]:
            profiles[group] = view[group][spec.default]
        if refused := mistakes.refused_profile(group, name, argument):
            problems.append(refused)
        elif group not in profiles and not problems:
            missing = Override(f"{group}={spec.default}", group, spec.default)
            problems.append(mistakes.unknown_profile(missing, view[group]))
    complete = len(profiles) == len(root.groups)
    return (Chosen(profiles, settings) if complete else None), problems


def _experiments(
    root: Root, overrides: Sequence[Override], mistakes: Mistakes
) -> tuple[list[Experiment], list[Problem]]:
    """The experiments that are asked for: those of the last ``experiment=``, as with any other override."""
    asked = [override for override in overrides if override.key == "experiment"]
    if not asked:
        return [], []
    if signed := [mistakes.removed_experiment(override) for override in asked if override.sign]:
        return [], signed
    known = REGISTRY.experiments(root)
    value = asked[-1].value
    names = list(map(text_of, value if isinstance(value, list) else [] if value is None else [value]))
    problems: list[Problem] = []
    for name in names:
        if refused := mistakes.refused_profile("experiment", name, asked[-1].argument):
            problems.append(refused)
        elif name not in known:
            problems.append(mistakes.unknown_experiment(asked[-1], name, known))
    return [known[name] for name in names if name in known], problems


def _set(stack: Stack, settings: Sequence[Said], mistakes: Mistakes) -> tuple[Layers, list[Problem]]:
    """Give leaves the values that experiments and overrides have for them."""
    layers = Layers(stack, mistakes.source, mistakes.lines)
    problems: list[Problem] = []
    for said in settings:
        known = stack.memo.get(said.override.argument)
        if known is not None:
            _say(layers, known[0], said, known[1])
        else:
            problems += _set_one(layers, said, mistakes)
            if len(problems) > MOST and not mistakes.brief:
                mistakes = dataclasses.replace(mistakes, brief=True)
    return layers, problems


def _set_one(layers: Layers, said: Said, mistakes: Mistakes) -> list[Problem]:
    override, leaves, short = said.override, layers.stack.leaves, layers.stack.root.short
    path, value = override.key if override.key in leaves else short.get(override.key, override.key), override.value
    if override.sign == "~":
        return [mistakes.removed_setting(override, path)]
    if mistakes.is_name(path) and path in leaves:
        return [mistakes.fixed_name(override, REGISTRY.view(layers.stack.root)[path.partition(".")[0]])]
    if path in leaves:
        value = override.value
        if override.sign == "+" and not (isinstance(value, dict) and leaves[path].is_container):
            return [mistakes.exists(override, path)]
        if isinstance(value, dict) and leaves[path].is_container:
            try:
                value = merged(layers.raw(path), value, add="+" in override.sign)
            except ValueError as error:
                fix = f"+{override.argument}"
                return [mistakes.about(override, str(error), instead=fix, see=f"config explain {path}")]
        return _set_leaf(layers, path, value, said, mistakes)
    if any(leaf.startswith(f"{path}.") for leaf in leaves):
        if not isinstance(value, dict):
            return [mistakes.section(override, path, leaves)]
        problems: list[Problem] = []
        for name, item in value.items():
            inner = dataclasses.replace(override, key=f"{path}.{text_of(name)}", value=item)
            problems += _set_one(layers, Said(inner, said.experiment), mistakes)
        return problems
    parent, inside = path, list[str]()
    while parent and parent not in leaves:
        parent, _, name = parent.rpartition(".")
        inside.insert(0, name)
    if not parent or not leaves[parent].is_container:
        return [mistakes.unknown_setting(override, path, leaves)]
    if override.sign == "+" and not isinstance(value, dict) and holds(layers.raw(parent), inside):
        return [mistakes.exists(override, path)]
    try:
        value = updated(layers.raw(parent), inside, value, add="+" in override.sign)
    except (ValueError, KeyError) as error:
        return [mistakes.bad_value(override, parent, leaves[parent], str(error).strip("'\""))]
    return _set_leaf(layers, parent, value, said, mistakes)


def _set_leaf(layers: Layers, path: str, raw: Any, said: Said, mistakes: Mistakes) -> list[Problem]:
    leaf, override = layers.stack.leaves[path], said.override
    if is_interpolation(raw):
        _say(layers, path, said, plain(raw))
        layers.pending.add(path)
        return []
    try:
        value = leaf.convert(raw)
    except ValueError as error:
        return [mistakes.bad_value(override, path, leaf, str(error))]
    if override.argument.startswith(f"{override.key}=") and not leaf.is_container:
        if len(layers.stack.memo) > _MOST_REMEMBERED:
            layers.stack.memo.clear()
        layers.stack.memo[override.argument] = (path, value)
    _say(layers, path, said, value)
    return []


def _say(layers: Layers, path: str, said: Said, value: Any) -> None:
    said.value = layers.resolved[path] = value
    if path in layers.settings:
        layers.settings[path].append(said)
        layers.pending.discard(path)
    else:
        layers.settings[path] = [said]


def _resolve(layers: Layers, mistakes: Mistakes) -> list[Problem]:
    """Look up what is interpolated."""
    problems: list[Problem] = []
    pending = [path for path in layers.stack.interpolated if path not in layers.settings]
    pending += [path for path in layers.settings if path in layers.pending]
    for path in pending:
        layers.resolved.pop(path, None)
    waiting = set(pending)
    broken: set[str] = set()
    visiting: list[str] = []

    def lookup(path: str) -> Any:
        if path in broken:
            raise _BrokenError
        if path not in waiting:
            return plain(layers.value(path))
        if path in visiting:
            circle = " -> ".join([*visiting[visiting.index(path) :], path])
            raise interpolation.InterpolationError(f"the interpolation goes in a circle: {circle}")
        visiting.append(path)
        try:
            value = interpolation.resolve(plain(layers.raw(path)), path, lookup, lambda: _tree(layers, path))
            layers.resolved[path] = layers.stack.leaves[path].convert(value)
        except ValueError as error:
            broken.add(path)
            if not isinstance(error, _BrokenError):
                problems.append(mistakes.unresolved(layers, path, str(error)))
            raise _BrokenError from None
        finally:
            visiting.pop()
        waiting.discard(path)
        return plain(layers.resolved[path])

    for path in pending:
        with contextlib.suppress(_BrokenError):
            lookup(path)
    return problems


class _BrokenError(ValueError):
    """A value that this one is made of is wrong, and has been reported."""


def _tree(layers: Layers, path: str) -> dict[str, Any]:
    """Every value, nested, for OmegaConf's own resolver: that of one leaf as it is written."""
    values = {one: plain(layers.raw(one)) for one in layers.stack.leaves}
    found = {one for one, value in values.items() if one != path and is_interpolation(value)}
    return nested({one: interpolation.elsewhere(one) if one in found else value for one, value in values.items()})


def _shadowed(layers: Layers, mistakes: Mistakes) -> list[Problem]:
    """An override that a stronger layer hides would do nothing; say so instead."""
    problems: list[Problem] = []
    for path in layers.stack.shared:
        strongest, *others = layers.stack.setters[path]
        for weaker in others:
            if not layers.argument(weaker):
                continue
            asked, wins = layers.value(weaker), layers.value(strongest)
            if asked is not None and wins is not None and not same(asked, wins):
                problems.append(mistakes.shadowed(layers, path, strongest, weaker))
    return problems


def _fold(layers: Layers, mistakes: Mistakes) -> tuple[dict[str, Any], list[Problem]]:
    """Every field of the root: groups, own settings, and those that stand folded at the top."""
    root, problems, warnings = layers.stack.root, list[Problem](), list[str]()
    nodes: dict[str, Any] = {}
    for group in ("", *root.groups):
        try:
            nodes[group] = layers.node(group)
        except ValueError as error:
            problems.append(mistakes.self_check(layers, group, str(error)))
    if problems:
        return {}, problems
    for group in root.groups:
        node: Profile = nodes[group]
        for found in node.contradictions():
            if found.fatal:
                problems.append(mistakes.contradiction(layers, group, node, found))
            else:
                warnings.append(f"{group}={node.name}: {found.reason}")
    own = {name: value for name, value in nodes.pop("").__dict__.items() if name != "_sealed"}
    folded: dict[str, Any] = {}
    for name, fold in root.folds.items():
        folded[name] = getattr(nodes[fold.groups[0]], name)
    for path in layers.stack.shared:
        name, _, inner = path.partition(".")
        value = layers.effective_value(path)
        if not inner:
            folded[name] = value
        elif value_at(folded[name], inner) is not value:
            folded[name] = replaced(folded[name], {inner: value})
    for name, fold in root.folds.items():
        if fold.required and folded[name] is None:
            problems.append(mistakes.nothing_set(layers, name, fold.groups))
    layers.warnings = tuple(warnings)
    return own | folded | nodes, problems


def _frozen(cls: type[C], fields: dict[str, Any], layers: Layers) -> C:
    """An instance with these attributes, without calling ``__init__``, which would cost more than all else."""
    made = object.__new__(cls)
    made.__dict__.update(fields)
    made.__dict__["_layers"] = layers
    if (check := getattr(cls, "__post_init__", None)) is not None:
        _check_root(made, check)
    return made


def _check_root(config: Config, check: Callable[[Config], None]) -> None:
    before = dict(config.__dict__)
    try:
        check(config)
        for name, value in before.items():
            if config.__dict__.get(name) is not value:
                raise ValueError(f"__post_init__ changes '{name}'; write a property for a derived value")  # noqa: TRY301
    except ValueError as error:
        mistakes = Mistakes(config._root)
        layers: Layers = config.__dict__["_layers"]
        raise config._root.error(mistakes.self_check(layers, "", str(error)), list(layers.overrides)) from None

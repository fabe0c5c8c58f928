"""Composition: profiles and overrides, folded by the layer rule into one effective config.

The result equals what Hydra's own composition of the same ConfigStore gives. Hydra spends most of its time on
building its defaults list and on copying nodes; here the layers of a choice of profiles are laid out once and kept,
and a composition only touches the leaves that are set.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from spectramind_config import interpolation
from spectramind_config.effective import EffectiveConfig
from spectramind_config.errors import ConfigError
from spectramind_config.layers import FOLDED, OVERLAPPING, Layers, stack_of
from spectramind_config.leaves import by_first_name, is_interpolation, nested, same
from spectramind_config.mistakes import Mistakes
from spectramind_config.overrides import SHORT_NAMES, Override, parse
from spectramind_config.registry import DEFAULTS, GROUPS, NAMES, REGISTRY
from spectramind_config.settings import Profile, Settings
from spectramind_config.site_profiles import load

_S = TypeVar("_S", bound=Settings)
_T = TypeVar("_T")


def compose(overrides: Sequence[str] = ()) -> EffectiveConfig:
    """Compose the effective config of a list of overrides in Hydra's grammar.

    ``trainer`` is folded under ``local``: where both set a path, ``local`` wins unless it says null. Overrides win
    over profiles, the last of several. The result is frozen and knows the origin of every value.

    Args:
        overrides: Such as ``["trainer=multi_gpu", "local=hpc", "local.devices=8"]``.

    Raises:
        ConfigError: With every mistake in the overrides, not only the first.
    """
    return Composition(overrides).result()


class Composition:
    """One run of ``compose``; collects mistakes instead of stopping at the first.

    Args:
        overrides: The command line.
        source: Where it comes from.
        lines: Where single overrides come from, if not all from one place: ``file:line``.
    """

    def __init__(
        self, overrides: Sequence[str], source: str = "command line", lines: Mapping[str, str] | None = None
    ) -> None:
        if isinstance(overrides, str):
            raise ConfigError(f"compose takes a list of overrides, not one string: compose([{overrides!r}])")
        load()
        self.arguments = list(overrides)
        self.mistakes = Mistakes(self.arguments, source, lines or {})
        self.choices: dict[str, str] = dict(DEFAULTS)
        settings = [override for override in self._parsed() if not self._choose(override)]
        self.layers = Layers(stack_of(self.choices), source, lines)
        for override in settings:
            self._set(override)

    def result(self) -> EffectiveConfig:
        """The effective config; raises ConfigError with every mistake."""
        layers = self.layers
        self._resolve()
        self._refuse_shadowed()
        self.mistakes.stop()
        nodes = {group: self._node(group) for group in GROUPS}
        warnings = self._contradictions(nodes)
        folded: dict[str, Any] = {}
        for group in reversed(OVERLAPPING):
            node = nodes[group]
            folded |= {name: value for name, value in node.__dict__.items() if name in FOLDED}
        fallen = {path: layers.effective_value(path) for path in layers.stack.shared}
        for name, changes in by_first_name(fallen).items():
            folded[name] = changes[""] if "" in changes else _replaced(folded[name], changes)
        if folded["precision"] is None:
            self.mistakes.no_precision(layers, nodes["trainer"])
        self.mistakes.stop()
        content = {"overrides": tuple(self.arguments), "warnings": tuple(warnings), "_layers": layers}
        return _frozen(EffectiveConfig, folded | nodes | content)

    def _parsed(self) -> Iterator[Override]:
        for argument in self.arguments:
            try:
                yield parse(argument)
            except ConfigError as error:
                self.mistakes.malformed(argument, error)

    def _choose(self, override: Override) -> bool:
        """Take a choice of profile; False when the override sets a value instead."""
        group, name = override.key, override.value
        if group not in self.choices or isinstance(name, dict):
            return False
        if override.sign:
            self.mistakes.removed_profile(override)
        elif isinstance(name, str) and REGISTRY.get(group, name) is not None:
            self.choices[group] = name
        else:
            self.mistakes.unknown_profile(override)
        return True

    def _set(self, override: Override) -> None:
        leaves = self.layers.stack.leaves
        path = override.key if override.key in leaves else SHORT_NAMES.get(override.key, override.key)
        if override.sign == "~":
            self.mistakes.removed_setting(override, path)
        elif path in NAMES:
            self.mistakes.fixed_name(override)
        elif path in leaves:
            if override.sign == "+":
                text = override.argument.removeprefix("+")
                self.mistakes.add(override, f"{path} exists already, so it cannot be added", instead=text)
            else:
                self._set_leaf(override, path, override.value)
        elif any(leaf.startswith(f"{path}.") for leaf in leaves):
            self._set_section(override, path, override.value)
        elif not self._set_inside(override, path):
            self.mistakes.unknown_setting(override, path, leaves)

    def _set_leaf(self, override: Override, path: str, raw: Any) -> None:
        leaf = self.layers.stack.leaves[path]
        if is_interpolation(raw):
            value = raw
        else:
            try:
                value = leaf.convert(raw)
            except ValueError as error:
                self.mistakes.bad_value(override, path, leaf, str(error))
                return
        self.layers.settings.setdefault(path, []).append((override.argument, value))
        self.layers.resolved[path] = value

    def _set_section(self, override: Override, path: str, value: Any) -> None:
        if not isinstance(value, dict):
            self.mistakes.section(override, path, self.layers.stack.leaves)
            return
        for name, item in value.items():
            self._set(dataclasses.replace(override, key=f"{path}.{name}", value=item))

    def _set_inside(self, override: Override, path: str) -> bool:
        """Set an element of a list or dict; False when the path leads into neither."""
        parent, _, inner = path.rpartition(".")
        while parent and parent not in self.layers.stack.leaves:
            parent, _, name = parent.rpartition(".")
            inner = f"{name}.{inner}"
        leaf = self.layers.stack.leaves.get(parent)
        if leaf is None or not leaf.is_container:
            return False
        try:
            value = leaf.updated(self.layers.raw(parent), inner, override.value, add="+" in override.sign)
        except ValueError as error:
            self.mistakes.bad_value(override, parent, leaf, str(error))
            return True
        self._set_leaf(override, parent, value)
        return True

    def _resolve(self) -> None:
        layers = self.layers
        pending = [path for path in layers.stack.interpolated if path not in layers.settings]
        pending += [path for path in layers.settings if is_interpolation(layers.raw(path))]
        for path in pending:
            layers.resolved.pop(path, None)
        waiting = set(pending)
        broken: set[str] = set()
        visiting: list[str] = []

        def lookup(path: str) -> Any:
            if path in broken:
                raise _BrokenError
            if path not in waiting:
                return layers.value(path)
            if path in visiting:
                circle = " -> ".join([*visiting[visiting.index(path) :], path])
                raise interpolation.InterpolationError(f"the interpolation goes in a circle: {circle}")
            visiting.append(path)
            try:
                value = interpolation.resolve(layers.raw(path), path, lookup, self._tree)
                layers.resolved[path] = layers.stack.leaves[path].convert(value)
            except ValueError as error:
                broken.add(path)
                if not isinstance(error, _BrokenError):
                    self.mistakes.unresolved(layers, path, str(error))
                raise _BrokenError from None
            finally:
                visiting.pop()
            waiting.discard(path)
            return layers.resolved[path]

        for path in pending:
            with contextlib.suppress(_BrokenError):
                lookup(path)

    def _tree(self) -> dict[str, Any]:
        """Every value as written, nested, for OmegaConf's own resolver."""
        return nested({path: self.layers.raw(path) for path in self.layers.stack.leaves})

    def _refuse_shadowed(self) -> None:
        """An override that a stronger layer hides would do nothing; say so instead."""
        layers = self.layers
        for path in layers.stack.shared:
            strongest, *others = layers.stack.setters[path]
            wins = layers.value(strongest)
            for weaker in others:
                asked = layers.value(weaker) if weaker in layers.settings else None
                if asked is not None and wins is not None and not same(asked, wins):
                    self.mistakes.shadowed(layers, path, strongest, weaker)

    def _node(self, group: str) -> Profile:
        prefix = f"{group}."
        changes = {
            path.removeprefix(prefix): value for path, value in self.layers.resolved.items() if path.startswith(prefix)
        }
        stack = self.layers.stack
        node = stack.sealed.get(group)
        if node is None:
            node = _replaced(stack.profiles[group].instance, {})
            if group in stack.shareable:
                stack.sealed[group] = node
        return _replaced(node, changes) if changes else node

    def _contradictions(self, nodes: Mapping[str, Profile]) -> list[str]:
        """Collect settings that exclude each other; those that merely surprise are returned as warnings."""
        warnings: list[str] = []
        for group, node in nodes.items():
            for found in node.contradictions():
                if found.fatal:
                    self.mistakes.contradiction(self.layers, group, node, found)
                else:
                    warnings.append(f"{group}={node.name}: {found.reason}")
        return warnings


class _BrokenError(ValueError):
    """A value that this one is made of is wrong, and has been reported."""


def _replaced(node: _S, changes: Mapping[str, Any]) -> _S:
    """A sealed copy of a settings object with some leaves replaced; untouched sections are shared."""
    values = dict(node.__dict__)
    for name, inner in by_first_name(changes).items():
        values[name] = inner[""] if "" in inner else _replaced(values[name], inner)
    for name, value in values.items():
        if isinstance(value, Settings):
            if "_sealed" not in value.__dict__:
                values[name] = _replaced(value, {})
        elif isinstance(value, list | dict):
            values[name] = copy.deepcopy(value)
    values["_sealed"] = True
    return _frozen(type(node), values)


def _frozen(cls: type[_T], values: dict[str, Any]) -> _T:
    """An instance with these attributes, without calling ``__init__``, which would cost more than all else."""
    made = object.__new__(cls)
    made.__dict__.update(values)
    return made

"""Composition: profiles and overrides, folded by the layer rule into one effective config.

The result equals what Hydra's own composition of the same ConfigStore gives. Hydra spends most of its time on
building its defaults list and on copying nodes; here the layers of a choice of profiles are laid out once and kept,
and a composition only touches the leaves that are set.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from spectramind_config import interpolation
from spectramind_config.effective import FOLDED, EffectiveConfig, Origin
from spectramind_config.errors import ConfigError, Problem, nearest
from spectramind_config.layers import OVERLAPPING, Layers, stack_of
from spectramind_config.leaves import Leaf, is_interpolation, same
from spectramind_config.overrides import Override, parse
from spectramind_config.registry import DEFAULTS, GROUPS, REGISTRY
from spectramind_config.settings import Profile, Settings
from spectramind_config.site_profiles import failure, load

SHORT_NAMES: Mapping[str, str] = {
    "local.cache_dir": "local.paths.cache_dir",
    "local.output_dir": "local.paths.output_dir",
}
"""Names that are accepted for longer paths."""

NAMES = frozenset(f"{group}.name" for group in GROUPS)
"""Settings that say which profile was chosen, and so cannot be set themselves."""

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
        self.source = source
        self.lines = lines or {}
        self.problems: list[Problem] = []
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
        if self.problems:
            raise ConfigError(self.problems, self.arguments)
        nodes = {group: self._node(group) for group in GROUPS}
        warnings = self._contradictions(nodes)
        if self.problems:
            raise ConfigError(self.problems, self.arguments)
        folded: dict[str, Any] = {}
        for group in reversed(OVERLAPPING):
            node = nodes[group]
            folded |= {name: value for name, value in node.__dict__.items() if name in _FOLDED}
        fallen = {path: layers.effective_value(path) for path in layers.stack.shared}
        for name, changes in _by_first_name(fallen).items():
            folded[name] = changes[""] if "" in changes else _replaced(folded[name], changes)
        if folded["precision"] is None:
            trainer = f"trainer={nodes['trainer'].name}"
            raise ConfigError(
                Problem(
                    what=f"local.precision=null: then nothing sets a precision, for {trainer} sets none either",
                    origin=self.source,
                    expected="one of " + ", ".join(layers.stack.leaves["local.precision"].choices),
                    argument=layers.settings["local.precision"][-1][0] if "local.precision" in layers.settings else "",
                    instead="local.precision=auto-mixed",
                ),
                self.arguments,
            )
        return _frozen(
            EffectiveConfig,
            folded
            | nodes
            | {
                "overrides": tuple(self.arguments),
                "warnings": tuple(warnings),
                "_layers": layers,
            },
        )

    def _parsed(self) -> Iterator[Override]:
        for argument in self.arguments:
            try:
                yield parse(argument)
            except ConfigError as error:
                origin = self.lines.get(argument, self.source)
                self.problems += [dataclasses.replace(problem, origin=origin) for problem in error.problems]

    def _choose(self, override: Override) -> bool:
        """Take a choice of profile; False when the override sets a value instead."""
        group = override.key
        name = override.value
        if group not in self.choices or isinstance(name, dict):
            return False
        if override.sign:
            self._problem(
                override,
                "every group always has exactly one profile, so none can be added or removed",
                instead=f"{group}={name}" if override.sign != "~" else None,
                see="spectramind profiles list",
            )
        elif isinstance(name, str) and REGISTRY.get(group, name) is not None:
            self.choices[group] = name
        elif isinstance(name, str) and (unloaded := failure(group, name)) is not None:
            self.problems.append(unloaded)
        else:
            known = list(REGISTRY.profiles[group])
            close = nearest(str(name), known)
            self._problem(
                override,
                f"there is no profile '{name}' in group {group}",
                expected="one of " + ", ".join(known),
                close=close and f"{group}={close}",
                instead=f"{group}={close}" if close else None,
                see="spectramind profiles list",
            )
        return True

    def _set(self, override: Override) -> None:
        path = override.key
        stack = self.layers.stack
        if path not in stack.leaves:
            path = SHORT_NAMES.get(path, path)
        if override.sign == "~":
            self._problem(
                override,
                "a setting cannot be removed: every setting always has a value",
                hint=f"write {path}=null where null is allowed",
                see=f"spectramind config explain {path}",
            )
        elif path in NAMES:
            group = path.partition(".")[0]
            known = isinstance(override.value, str) and REGISTRY.get(group, override.value) is not None
            self._problem(
                override,
                f"{path} is the name of the chosen profile and follows from {group}=<profile>",
                expected="one of " + ", ".join(REGISTRY.profiles[group]),
                instead=f"{group}={override.value}" if known else None,
                see="spectramind profiles list",
            )
        elif path in stack.leaves:
            if override.sign == "+":
                text = override.argument.removeprefix("+")
                self._problem(override, f"{path} exists already, so it cannot be added", instead=text)
            else:
                self._set_leaf(override, path, override.value)
        elif any(leaf.startswith(f"{path}.") for leaf in stack.leaves):
            self._set_section(override, path, override.value)
        elif not self._set_inside(override, path):
            self._unknown(override, path)

    def _set_leaf(self, override: Override, path: str, raw: Any) -> None:
        leaf = self.layers.stack.leaves[path]
        if is_interpolation(raw):
            value = raw
        else:
            try:
                value = leaf.convert(raw)
            except ValueError as error:
                self._bad_value(override, path, str(error))
                return
        self.layers.settings.setdefault(path, []).append((override.argument, value))
        self.layers.resolved[path] = value

    def _set_section(self, override: Override, path: str, value: Any) -> None:
        if not isinstance(value, dict):
            names = _children(self.layers.stack.leaves, path)
            self._problem(
                override,
                f"{path} is a section, not a setting",
                expected=f"one of its settings: {', '.join(names)}",
                see=f"spectramind config explain {path}",
            )
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
            self._bad_value(override, parent, str(error))
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
                    self._unresolved(path, str(error))
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
        return _nested({path: self.layers.raw(path) for path in self.layers.stack.leaves})

    def _refuse_shadowed(self) -> None:
        """An override that a stronger layer hides would do nothing; say so instead."""
        for path in self.layers.stack.shared:
            strongest, *others = self.layers.stack.setters[path]
            for weaker in others:
                asked = self.layers.resolved.get(weaker)
                wins = self.layers.resolved.get(strongest, self.layers.stack.values[strongest])
                if weaker not in self.layers.settings or asked is None or wins is None or same(asked, wins):
                    continue
                argument = self.layers.settings[weaker][-1][0]
                origin = self.layers.origin(path)
                text = argument.partition("=")[2]
                explicit = strongest in self.layers.settings
                self.problems.append(
                    Problem(
                        what=f"{argument} has no effect: {origin} sets {path} to {wins!r}, and local wins over trainer",
                        origin=self.lines.get(argument, self.source),
                        nearest=strongest,
                        argument=argument,
                        instead="" if explicit else f"{strongest}={text}",
                        see=f"spectramind config explain {path}",
                    )
                )

    def _node(self, group: str) -> Profile:
        prefix = f"{group}."
        changes = {
            path.removeprefix(prefix): value for path, value in self.layers.resolved.items() if path.startswith(prefix)
        }
        return _replaced(self.layers.stack.profiles[group].instance, changes)

    def _contradictions(self, nodes: Mapping[str, Profile]) -> list[str]:
        """Collect settings that exclude each other; those that merely surprise are returned as warnings."""
        warnings: list[str] = []
        for group, node in nodes.items():
            for found in node.contradictions():
                path = f"{group}.{found.path}"
                if not found.fatal:
                    warnings.append(f"{group}={node.name}: {found.reason}")
                    continue
                argument = self.layers.settings[path][-1][0] if path in self.layers.settings else ""
                self.problems.append(
                    Problem(
                        what=f"{group}={node.name}: {found.reason}",
                        origin=_place(self.layers.origin(path)),
                        nearest=path,
                        argument=argument,
                        instead=None if found.remedy is None else f"{path}={found.remedy}",
                        see=f"spectramind config explain {path}",
                    )
                )
        return warnings

    def _problem(
        self,
        override: Override,
        what: str,
        *,
        expected: str | None = None,
        close: str | None = None,
        instead: str | None = None,
        hint: str | None = None,
        see: str = "spectramind config explain",
    ) -> None:
        if not override.argument.lstrip("+~").startswith(override.key):
            instead = None  # One element of a dict: a correction would drop the others.
        self.problems.append(
            Problem(
                what=f"{override.argument}: {what}",
                origin=self.lines.get(override.argument, self.source),
                expected=expected,
                nearest=close,
                argument=override.argument,
                instead=instead,
                hint=hint,
                see=see,
            )
        )

    def _bad_value(self, override: Override, path: str, reason: str) -> None:
        leaf = self.layers.stack.leaves[path]
        words = leaf.choices or (("true", "false") if bool in leaf.kinds else ())
        text = str(override.value).lower()
        close = nearest(text, words) or next((word for word in words if text and word.startswith(text)), None)
        self._problem(
            override,
            reason.replace(f"is not {leaf.expectation}", "does not fit"),
            expected=_words(leaf),
            close=close and f"{path}={close}",
            instead=f"{path}={close}" if close else None,
            see=f"spectramind config explain {path}",
        )

    def _unresolved(self, path: str, reason: str) -> None:
        layers = self.layers
        raw = layers.raw(path)
        missing = [name for name in interpolation.variables(raw) if f"variable {name} is" in reason]
        argument = layers.settings[path][-1][0] if path in layers.settings else None
        group, _, inner = path.partition(".")
        leaf = layers.stack.leaves[path]
        profile = layers.stack.profiles[group]
        hint = f"give it a value: {path}=<value>"
        if missing:
            hint = f"export {missing[0]}=<value>, or give a default: ${{oc.env:{missing[0]},<default>}}"
        elif interpolation.variables(raw) and len(leaf.kinds) > 1:
            hint = f"a variable holds text; to read a number out of it: {path}='${{oc.decode:{raw}}}'"
        self.problems.append(
            Problem(
                what=f"{argument or f'{path}={raw}'}: {reason}",
                origin=self.source if argument else f"{group}={profile.name}, {profile.setter(inner)[0]}",
                expected=_words(leaf),
                argument=argument or "",
                hint=hint,
                see=f"spectramind config explain {path}",
            )
        )

    def _unknown(self, override: Override, path: str) -> None:
        if override.is_hydra:
            self._problem(override, "settings of Hydra itself are taken by spectramind train only", instead="")
            return
        text = override.argument.partition("=")[2]
        group = nearest(path, GROUPS) if "." not in path else None
        if group is not None:
            self._problem(
                override,
                f"there is no group '{path}'",
                expected="one of " + ", ".join(GROUPS),
                close=group,
                instead=f"{group}={text}" if REGISTRY.get(group, text) else None,
            )
            return
        leaves = [leaf for leaf in self.layers.stack.leaves if leaf not in NAMES]
        close = _nearest_path(path, [*leaves, *SHORT_NAMES])
        section = path.rpartition(".")[0]
        while section and not _children(leaves, section):
            section = section.rpartition(".")[0]
        names = ", ".join(_children(leaves, section) if section else GROUPS)
        self._problem(
            override,
            f"there is no setting '{path}'",
            expected=f"a setting of {section}: {names}" if section else f"<group>.<setting>, with a group of {names}",
            close=close,
            instead=f"{close}={text}" if close and text else None,
            see=f"spectramind config explain {section}".rstrip(),
        )


_FOLDED = frozenset(FOLDED)


class _BrokenError(ValueError):
    """A value that this one is made of is wrong, and has been reported."""


def _place(origin: Origin) -> str:
    return origin.source if origin.layer == "override" else f"{origin}, {origin.source}"


def _words(leaf: Leaf) -> str:
    return f"{leaf.expectation} ({leaf.description})" if leaf.description else leaf.expectation


def _children(leaves: Iterable[str], section: str) -> list[str]:
    prefix = f"{section}."
    return list(
        dict.fromkeys(path.removeprefix(prefix).partition(".")[0] for path in leaves if path.startswith(prefix))
    )


def _nearest_path(path: str, known: Sequence[str]) -> str | None:
    """The path that a misspelt one meant: the same name elsewhere, or the closest spelling."""
    name = path.rpartition(".")[2]
    namesakes = [one for one in known if one.endswith(f".{name}")]
    if namesakes:
        return nearest(path, namesakes) or max(namesakes, key=lambda one: one.startswith("local."))
    group, _, inner = path.partition(".")
    same_group = [one for one in known if one.startswith(f"{group}.")]
    if same_group:
        if close := nearest(inner, [one.partition(".")[2] for one in same_group]):
            return f"{group}.{close}"
    elif close := nearest(path, known):
        return close
    last_names = {one.rpartition(".")[2]: one for one in reversed(same_group or known)}
    close_name = nearest(name, last_names)
    return last_names[close_name] if close_name else None


def _by_first_name(changes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    grouped: dict[str, dict[str, Any]] = {}
    for path, value in changes.items():
        name, _, rest = path.partition(".")
        grouped.setdefault(name, {})[rest] = value
    return grouped


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *sections, name = path.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = value
    return tree


def _replaced(node: _S, changes: Mapping[str, Any]) -> _S:
    """A sealed copy of a settings object with some leaves replaced; untouched sections are shared."""
    values = dict(node.__dict__)
    for name, inner in _by_first_name(changes).items():
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

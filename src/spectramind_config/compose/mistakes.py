"""The mistakes of one command line: what each is, and what to write instead."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spectramind_config.compose import interpolation
from spectramind_config.compose.layers import Layers
from spectramind_config.compose.overrides import Override, write
from spectramind_config.errors import ConfigError, Problem, nearest
from spectramind_config.schema.fields import Leaf
from spectramind_config.schema.registry import REGISTRY
from spectramind_config.schema.root import Root
from spectramind_config.schema.sources import class_source
from spectramind_config.schema.values import Written, children, plain
from spectramind_config.settings import Contradiction, Profile


@dataclass(frozen=True)
class Mistakes:
    """Words for what is wrong in the overrides of one composition.

    Attributes:
        root: What is composed.
        source: Where the overrides come from.
        lines: Where single overrides come from, if not all from one place: ``file:line``.
        brief: Whether nobody will read all of it: then nothing near is looked for.
    """

    root: Root
    source: str = "command line"
    lines: Mapping[str, str] = field(default_factory=dict)
    brief: bool = False

    def place(self, argument: str) -> str:
        """Where an override comes from."""
        return self.lines.get(argument, self.source)

    def malformed(self, argument: str, error: ConfigError) -> list[Problem]:
        """An override that is not in Hydra's grammar."""
        return [dataclasses.replace(problem, origin=self.place(argument)) for problem in error.problems]

    def about(self, override: Override, what: str, *, instead: str | None = None, **more: Any) -> Problem:
        """An override that is wrong."""
        if not override.argument.lstrip("+~").startswith(override.key):
            instead = None  # One element of a dict: a correction would drop the others.
        return Problem(
            what=f"{override.argument}: {what}",
            origin=self.place(override.argument),
            argument=override.argument,
            instead=instead,
            **{"see": "config explain", **more},
        )

    def removed_profile(self, override: Override) -> Problem:
        """``~local`` or ``+local=hpc``."""
        return self.about(
            override,
            "every group always has exactly one profile, so none can be added or removed",
            instead=f"{override.key}={text_of(override.value)}" if override.sign != "~" else None,
            see="profiles list",
        )

    def unknown_profile(self, override: Override, known: Iterable[str]) -> Problem:
        """A profile that does not exist."""
        group, name = override.key, text_of(override.value)
        close = nearest(name, known)
        elsewhere = [one for key, one in REGISTRY.known.profiles.items() if key[:2] == (group, name)]
        hint = None
        if elsewhere:
            schema = self.root.groups[group].schema.__name__
            hint = f"{elsewhere[0].cls.__qualname__} ({elsewhere[0].source}) is no {schema}"
        return self.about(
            override,
            f"there is no profile '{name}' in group {group}",
            expected="one of " + ", ".join(known),
            nearest=close and f"{group}={close}",
            instead=f"{group}={close}" if close else None,
            hint=hint,
            see="profiles list",
        )

    def refused_profile(self, group: str, name: str, argument: str) -> Problem | None:
        """A profile that was refused, or whose name two sources claim."""
        found = REGISTRY.refusal(group, name)
        return found and dataclasses.replace(found, argument=argument or None, see="profiles list")

    def unknown_experiment(self, override: Override, name: str, known: Iterable[str]) -> Problem:
        """An experiment that does not exist."""
        close = nearest(name, known)
        several = isinstance(override.value, list)
        return self.about(
            override,
            f"there is no experiment '{name}'",
            expected="one or several of " + (", ".join(known) or "none, for none is registered"),
            nearest=close and f"experiment={close}",
            instead=f"experiment={close}" if close and not several else None,
            see="profiles list",
        )

    def exists(self, override: Override, path: str) -> Problem:
        """``+local.devices=8``."""
        fix = override.argument.removeprefix("+")
        return self.about(override, f"{path} exists already, so it cannot be added", instead=fix)

    def removed_experiment(self, override: Override) -> Problem:
        """``~experiment`` or ``+experiment=narrow``."""
        return self.about(
            override,
            "the last experiment= names all experiments of a run, so none can be added or removed",
            instead=override.argument.lstrip("+") if override.sign != "~" else "",
            see="profiles list",
        )

    def fixed_name(self, override: Override, known: Mapping[str, object]) -> Problem:
        """``local.name=x``: the name follows from the choice."""
        group, name = override.key.partition(".")[0], text_of(override.value)
        return self.about(
            override,
            f"{override.key} is the name of the chosen profile and follows from {group}=<profile>",
            expected="one of " + ", ".join(known),
            instead=f"{group}={name}" if name in known else None,
            see="profiles list",
        )

    def removed_setting(self, override: Override, path: str) -> Problem:
        """``~local.devices``."""
        what = "a setting cannot be removed: every setting always has a value"
        return self.about(override, what, hint=f"write {path}=null where null is allowed", see=f"config explain {path}")

    def section(self, override: Override, path: str, leaves: Iterable[str]) -> Problem:
        """A value for a whole section."""
        expected = f"one of its settings: {', '.join(children(leaves, path))}"
        return self.about(
            override, f"{path} is a section, not a setting", expected=expected, see=f"config explain {path}"
        )

    def bad_value(self, override: Override, path: str, leaf: Leaf, reason: str) -> Problem:
        """A value of the wrong type or out of range."""
        words = leaf.type.choices or (("true", "false") if any(kind.type is bool for kind in leaf.type.kinds) else ())
        text = text_of(override.value)
        close = nearest(text, words) or next((word for word in words if text and word.startswith(text.lower())), None)
        return self.about(
            override,
            reason.replace(f"is not {leaf.type.words}", "does not fit"),
            expected=leaf.words,
            nearest=close and f"{path}={close}",
            instead=f"{path}={close}" if close else None,
            see=f"config explain {path}",
        )

    def unknown_setting(self, override: Override, path: str, known: Mapping[str, Leaf]) -> Problem:
        """A key that does not exist: in a group that does not, in another group, or misspelt."""
        if override.is_hydra:
            what = f"settings of Hydra itself are taken by {self.root.command} only"
            return self.about(override, what, instead="")
        text = override.argument.partition("=")[2]
        groups = self.root.groups
        group = nearest(path, groups) if "." not in path else None
        if group is not None:
            chosen = f"{group}={text}" if text in REGISTRY.view(self.root)[group] else None
            expected = "one of " + ", ".join(groups)
            return self.about(override, f"there is no group '{path}'", expected=expected, nearest=group, instead=chosen)
        leaves = {leaf: one for leaf, one in known.items() if not self.is_name(leaf)}
        close = None if self.brief else _nearest_path(path, [*leaves, *self.root.short])
        if close is not None and not _takes(leaves.get(self.root.short.get(close, close)), override.value):
            close = None
        section = path.rpartition(".")[0]
        while section and not children(leaves, section):
            section = section.rpartition(".")[0]
        names = ", ".join(children(leaves, section) if section else groups)
        own = "".join(f"{name}, " for name in children(self.root.own, ""))
        expected = f"a setting of {section}: {names}" if section else f"{own}<group>.<setting>, with a group of {names}"
        return self.about(
            override,
            f"there is no setting '{path}'",
            expected=expected,
            nearest=close,
            instead=f"{close}={text}" if close and text else None,
            see=f"config explain {section}".rstrip(),
        )

    def is_name(self, path: str) -> bool:
        """Whether a leaf says which profile was chosen, and so cannot be set itself."""
        group, _, inner = path.partition(".")
        return inner == "name" and group in self.root.groups

    def unresolved(self, layers: Layers, path: str, reason: str) -> Problem:
        """An interpolation that leads nowhere, in a circle, or to a value that does not fit."""
        raw, leaf, argument = plain(layers.raw(path)), layers.stack.leaves[path], layers.argument(path)
        missing = [name for name in interpolation.variables(raw) if f"variable {name} is" in reason]
        hint = f"give it a value: {path}=<value>"
        if missing:
            hint = f"export {missing[0]}=<value>, or give a default: ${{oc.env:{missing[0]},<default>}}"
        elif interpolation.variables(raw) and len(leaf.type.kinds) > 1:
            hint = f"a variable holds text; to read a number out of it: {path}='${{oc.decode:{raw}}}'"
        layer, option, source, _ = layers.stack.setter(path)
        return Problem(
            what=f"{argument or f'{path}={raw}'}: {reason}",
            origin=self.place(argument) if argument else f"{layer}={option}, {source}",
            expected=leaf.words,
            argument=argument,
            hint=hint,
            see=f"config explain {path}",
        )

    def shadowed(self, layers: Layers, path: str, strongest: str, weaker: str) -> Problem:
        """An override that a stronger layer hides."""
        argument, origin = layers.argument(weaker), layers.origin(path)
        text = argument.partition("=")[2]
        groups = f"{layers.stack.group(strongest)} wins over {layers.stack.group(weaker)}"
        return Problem(
            what=f"{argument} has no effect: {origin} sets {path} to {plain(origin.value)!r}, and {groups}",
            origin=self.place(argument),
            nearest=strongest,
            argument=argument,
            instead="" if strongest in layers.settings else f"{strongest}={text}",
            see=f"config explain {path}",
        )

    def contradiction(self, layers: Layers, group: str, node: Profile, found: Contradiction) -> Problem:
        """Settings that are valid one by one but not together."""
        path = f"{group}.{found.path}"
        return Problem(
            what=f"{group}={node.name}: {found.reason}",
            origin=layers.origin(path).place,
            nearest=path,
            argument=layers.argument(path),
            instead=None if found.remedy is None else f"{path}={found.remedy}",
            see=f"config explain {path}",
        )

    def self_check(self, layers: Layers, group: str, reason: str) -> Problem:
        """A class's own ``__post_init__`` refuses the composed values."""
        chosen = layers.stack.profiles.get(group)
        argument = next((layers.argument(path) for path in layers.settings if layers.stack.group(path) == group), "")
        cls, source = (chosen.cls, chosen.source) if chosen else (self.root.cls, class_source(self.root.cls))
        label = f"{group}={chosen.name}" if chosen else self.root.name
        return Problem(
            what=f"{label}: {reason}",
            origin=f"{cls.__qualname__}, {source}",
            argument=argument,
            see=f"config explain {group}".rstrip(),
        )

    def nothing_set(self, layers: Layers, name: str, groups: Sequence[str]) -> Problem:
        """No layer sets a folded setting that has to have a value."""
        path = f"{groups[0]}.{name}"
        others = [f"{group}={layers.stack.profiles[group].name}" for group in groups[1:]]
        default = getattr(self.root.groups[groups[0]].schema(), name)
        return Problem(
            what=f"{path}=null: then nothing sets {'an' if name[0] in 'aeiou' else 'a'} {name}"
            + (f", for {', '.join(others)} sets none either" if others else ""),
            origin=self.source,
            expected=layers.stack.leaves[path].type.words.removesuffix(", or null"),
            argument=layers.argument(path),
            instead=write(path, default) if default is not None else None,
            see=f"config explain {path}",
        )


def text_of(value: Any) -> str:
    """A parsed value as it was written."""
    return value.text if isinstance(value, Written) else str(plain(value))


def _takes(leaf: Leaf | None, value: Any) -> bool:
    """Whether a suggested setting could hold what was given: another kind of thing was not meant."""
    if leaf is None or (isinstance(value, str) and "${" in value):
        return leaf is not None
    kinds = {kind.type for kind in leaf.type.kinds}
    given = value.value if isinstance(value, Written) else value
    if isinstance(given, str) and not kinds & {int, float, bool}:
        return True
    return isinstance(given, bool | int | float) or not isinstance(given, str) or bool(leaf.type.choices)


def _nearest_path(path: str, known: Sequence[str]) -> str | None:
    """The path that a misspelt one meant: the same name elsewhere, or the closest spelling."""
    group, _, inner = path.partition(".")
    name = path.rpartition(".")[2]
    namesakes = [one for one in known if f".{one}".endswith(f".{name}")]
    if namesakes and name:
        return nearest(path, namesakes) or max(namesakes, key=lambda one: (-one.count("."), known.index(one)))
    inside = {one.partition(".")[2]: one for one in known if one.startswith(f"{group}.")} if inner else {}
    if close := nearest(inner, inside):
        return inside[close]
    last = {one.rpartition(".")[2]: one for one in known if not inside or one in inside.values()}
    return last[close] if (close := nearest(name, last, 0.7)) else None

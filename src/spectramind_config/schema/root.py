"""Roots: a frozen dataclass of groups and settings of its own, which is what a composition returns."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from msgspec import Struct

from spectramind_config.errors import ConfigError, Problem, nearest
from spectramind_config.schema import sources
from spectramind_config.schema.fields import Leaf, declared_leaves, leaves_of, type_of, unfit_values
from spectramind_config.schema.sources import UnsupportedTypeError, leaf_source, section_class
from spectramind_config.settings import Profile

_ROLE = "spectramind"
RESERVED = frozenset({"experiment", "hydra", "defaults"})
"""Names that mean something on a command line or in a config, whatever its root."""


def group(default: str, *, over: str | None = None) -> Any:
    """A group of profiles as a field of a root.

    Args:
        default: The profile where the command line chooses none.
        over: A group further left that this one is folded over: where both have a setting that the root declares with
            ``folded()``, this one's value wins unless it is null.
    """
    return dataclasses.field(metadata={_ROLE: {"default": default, "over": over}})


def folded() -> Any:
    """A setting of one or of several groups as a field at a root's top: the value in force."""
    return dataclasses.field(metadata={_ROLE: "folded"})


class Group(Struct, frozen=True, eq=False):
    """One group of a root: its schema, its default profile, and the group that it is folded over."""

    name: str
    schema: type[Profile]
    default: str
    over: str | None


class Fold(Struct, frozen=True, eq=False):
    """A setting, or a section of some, at a root's top: the groups that have it, the strongest first."""

    groups: tuple[str, ...]
    required: bool


class Root(Struct, frozen=True, eq=False, kw_only=True):
    """What the engine knows of a root."""

    name: str  # In the ConfigStore.
    cls: type[Any]  # The dataclass.
    program: str  # The program whose commands messages name.
    command: str  # What stands before overrides on its command line.
    variable: str  # The environment variable that names files of profiles.
    entry_points: str  # Those of packages that bring profiles.
    short: Mapping[str, str]  # Short names of settings.
    groups: dict[str, Group]  # In order of precedence.
    own: dict[str, Leaf]  # Its own settings.
    folds: dict[str, Fold]  # The settings of groups that stand at its top.

    def takes(self, group: str, cls: type) -> bool:
        """Whether a class can be a profile of a group."""
        return group in self.groups and issubclass(cls, self.groups[group].schema)

    def is_name(self, path: str) -> bool:
        """Whether a setting says which profile of a group is chosen."""
        return path.endswith(".name") and path.removesuffix(".name") in self.groups

    def linked(self, group: str) -> tuple[str, ...]:
        """The groups that are folded with a group, itself included, the strongest first."""
        chain = {group}
        for _ in self.groups:
            chain |= {one.name for one in self.groups.values() if one.over in chain}
            chain |= {one.over for one in self.groups.values() if one.name in chain and one.over}
        return tuple(name for name in tuple(self.groups)[::-1] if name in chain)

    def error(self, problems: Problem | list[Problem], arguments: tuple[str, ...] | list[str] = ()) -> ConfigError:
        """An error that names this root's program."""
        return ConfigError(problems, arguments, self.program, self.command)

    def values(self) -> dict[str, Any]:
        """The own settings' defaults by field, each made anew."""
        return {
            field.name: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            for field in dataclasses.fields(self.cls)
            if not field.metadata.get(_ROLE)
        }


def define(name: str, cls: Any, *, taken: frozenset[str], short: Mapping[str, str], **words: str) -> Root:
    """Read and check a root; ``taken`` are names that no field of it can have, the ``words`` are those of ``Root``.

    Raises:
        ConfigError: With everything that is wrong about the class.
    """
    params = getattr(cls, "__dataclass_params__", None)
    if "__dataclass_fields__" not in cls.__dict__ or params is None or not params.frozen:
        hint = "put @dataclass(frozen=True, kw_only=True) between @root and the class"
        raise ConfigError(Problem(what=f"root {name}: {cls.__qualname__} is not a frozen dataclass", hint=hint))
    if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) is None:
        raise ConfigError(Problem(what=f"root '{name}' cannot be called so", expected="letters, digits and '_'"))
    root = Root(name=name, cls=cls, short=short, groups={}, own={}, folds={}, **words)
    if problems := list(_fill(root, taken)):
        raise ConfigError([dataclasses.replace(one, what=f"root {name}: {one.what}") for one in problems])
    return root


def _fill(root: Root, taken: frozenset[str]) -> Iterator[Problem]:
    """Find groups, own settings and folds; tell what is wrong about the class."""
    cls, groups, own, whole = root.cls, root.groups, root.own, True

    def wrong(what: str, at: str = "", **told: str | None) -> Problem:
        nonlocal whole
        whole = False
        return Problem(what=what, origin=leaf_source(cls, at) if at else sources.class_source(cls), **told)

    try:
        hints = sources.hints(cls)
    except UnsupportedTypeError as error:
        yield Problem(what=str(error), origin=error.source)
        return
    fields = dataclasses.fields(cls)
    roles = {field.name: field.metadata.get(_ROLE) for field in fields}
    for name in roles:
        if name in RESERVED | taken or name.startswith("_"):
            yield wrong(f"'{name}' cannot be the name of a field, for every config has something of that name", name)
    for name, role in roles.items():
        if isinstance(role, dict):
            schema: Any = section_class(hints[name])
            if schema is None or not issubclass(schema, Profile):
                what = f"group '{name}' is of type {getattr(hints[name], '__name__', hints[name])}"
                hint = f"write: class {name.title()}Config(sc.Profile), and {name}: {name.title()}Config = sc.group(…)"
                yield wrong(what, name, expected="a subclass of sc.Profile", hint=hint)
            if (over := role["over"]) is not None and over not in groups:
                what = f"group '{name}' is to be folded over '{over}', which is no group to the left of it"
                yield wrong(what, name, nearest=nearest(over, groups), expected=", ".join(groups) or None)
            groups[name] = Group(name, schema or Profile, role["default"], over)
    try:
        for one in groups.values():
            leaves_of(one.schema)
        own |= declared_leaves(cls, frozenset(name for name, role in roles.items() if not role))
    except UnsupportedTypeError as error:
        yield dataclasses.replace(wrong(str(error)), origin=error.source)
    for field in fields:
        if not roles[field.name] and field.default is field.default_factory is dataclasses.MISSING:
            yield wrong(f"'{field.name}' has no default", field.name, hint="every setting has one")
    for what, hint in sources.inert(cls):
        yield wrong(what, hint=hint)
    if not whole:
        return
    for path, leaf, reason in unfit_values(own, SimpleNamespace(**root.values())):
        yield wrong(f"{path}: {reason}", path, expected=leaf.words)
    known = [*own, *(f"{one.name}.{path}" for one in groups.values() for path in leaves_of(one.schema))]
    for short, path in root.short.items():
        if path not in known:
            what = f"the short name {short} stands for '{path}', and there is no such setting"
            yield wrong(what, nearest=nearest(path, known))
    for name in (name for name, role in roles.items() if role == "folded"):
        having = tuple(one for one in tuple(groups)[::-1] if name in groups[one].schema.__dataclass_fields__)
        if not having:
            others = {field for one in groups.values() for field in one.schema.__dataclass_fields__} - {"name"}
            what = f"{name}: no group has this setting, so none can be folded"
            yield wrong(what, name, nearest=nearest(name, sorted(others)))
            continue
        if stranger := next((one for one in having if one not in root.linked(having[0])), None):
            what = f"{name}: {stranger} and {having[0]} both have it, and neither is over the other"
            yield wrong(what, name, expected="over= in a group")
            continue
        declared = sources.hints(groups[having[0]].schema)[name]
        section, inside = section_class(hints[name]), section_class(declared)
        if section or inside:
            fits, required = bool(section and inside and issubclass(inside, section)), False
            words = inside.__name__ if inside else None
        else:
            ours, theirs = type_of(hints[name]), type_of(declared)
            fits, required, words = ours.bare == theirs.bare, not ours.optional, theirs.words
        if not fits:
            yield wrong(f"{name}: {having[0]} declares another type for it", name, expected=words)
        root.folds[name] = Fold(having, required=required)

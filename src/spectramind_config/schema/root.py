"""Roots: a frozen dataclass of groups and settings of its own, which is what a composition returns."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from spectramind_config.errors import ConfigError, Problem, nearest
from spectramind_config.schema import sources
from spectramind_config.schema.fields import (
    Leaf,
    UnsupportedTypeError,
    declared_leaves,
    hints_of,
    leaves_of,
    type_of,
)
from spectramind_config.schema.sources import class_source, leaf_source, section_class
from spectramind_config.schema.values import is_interpolation, plain, quote, same, value_at
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


@dataclass(frozen=True, eq=False)
class Group:
    """One group of a root: its schema, its default profile, and the group that it is folded over."""

    name: str
    schema: type[Profile]
    default: str
    over: str | None


@dataclass(frozen=True, eq=False)
class Fold:
    """A setting, or a section of some, at a root's top: the groups that have it, the strongest first."""

    groups: tuple[str, ...]
    required: bool


@dataclass(frozen=True, eq=False)
class Root:
    """What the engine knows of a root.

    Attributes:
        name: Its name in the ConfigStore.
        cls: The dataclass.
        program: The program whose commands messages name.
        command: What stands before overrides on its command line.
        variable: The environment variable that names files of profiles.
        entry_points: The entry points of packages that bring profiles.
        short: Short names of settings.
        groups: Its groups, in order of precedence.
        own: Its own settings.
        folds: The settings of groups that stand at its top.
    """

    name: str
    cls: type[Any]
    program: str
    command: str
    variable: str
    entry_points: str
    short: Mapping[str, str]
    groups: Mapping[str, Group]
    own: Mapping[str, Leaf]
    folds: Mapping[str, Fold]

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
    """Read and check a root.

    Args:
        name: Its name in the ConfigStore.
        cls: A frozen dataclass.
        taken: Names of fields that the class cannot have.
        short: See ``Root``.
        words: ``program``, ``command``, ``variable`` and ``entry_points`` of ``Root``.

    Raises:
        ConfigError: With everything that is wrong about the class.
    """
    params = getattr(cls, "__dataclass_params__", None)
    if "__dataclass_fields__" not in cls.__dict__ or params is None or not params.frozen:
        hint = "put @dataclass(frozen=True, kw_only=True) between @root and the class"
        raise ConfigError(Problem(what=f"root {name}: {cls.__qualname__} is not a frozen dataclass", hint=hint))
    if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) is None:
        raise ConfigError(Problem(what=f"root '{name}' cannot be called so", expected="letters, digits and '_'"))
    try:
        hints = hints_of(cls)
    except UnsupportedTypeError as error:
        raise ConfigError(Problem(what=f"root {name}: {error}", origin=error.source)) from None
    roles = {field.name: field.metadata.get(_ROLE) for field in dataclasses.fields(cls)}
    problems = [
        Problem(
            what=f"root {name}: '{field}' cannot be the name of a field, for every config has something of that name",
            origin=leaf_source(cls, field),
        )
        for field in roles
        if field in RESERVED | taken or field.startswith("_")
    ]
    groups: dict[str, Group] = {}
    for field, role in roles.items():
        if isinstance(role, dict):
            problems += _group_problems(name, cls, field, hints[field], role["over"], groups)
            groups[field] = Group(field, section_class(hints[field]) or Profile, role["default"], role["over"])  # type: ignore[arg-type]
    own: dict[str, Leaf] = {}
    try:
        own = dict(declared_leaves(cls, frozenset(field for field, role in roles.items() if not role)))
    except UnsupportedTypeError as error:
        problems.append(Problem(what=f"root {name}: {error}", origin=error.source))
    for one in dataclasses.fields(cls):
        if not roles[one.name] and one.default is one.default_factory is dataclasses.MISSING:
            what = f"root {name}: '{one.name}' has no default"
            problems.append(Problem(what=what, origin=leaf_source(cls, one.name), hint="every setting has one"))
    for inert, value in sources.inert(cls):
        what = f"root {name}: {inert} = {value!r} has no annotation, so it sets nothing"
        problems.append(Problem(what=what, origin=class_source(cls), hint=f"write {inert}: <type> = {value!r}"))
    root = Root(name=name, cls=cls, short=short, groups=groups, own=own, folds={}, **words)
    folds: dict[str, Fold] = {}
    if not problems:
        problems += [*_unfit_defaults(root), *_unfit_names(root)]
        for field, role in roles.items():
            if role == "folded":
                problems += _fold(root, field, hints[field], folds)
    if problems:
        raise ConfigError(problems)
    return dataclasses.replace(root, folds=folds)


def _unfit_defaults(root: Root) -> Iterator[Problem]:
    values = root.values()
    for path, leaf in root.own.items():
        first, _, rest = path.partition(".")
        value = value_at(values[first], rest) if rest else values[first]
        if is_interpolation(value):
            continue
        try:
            if not same(plain(leaf.convert(value)), plain(value)):
                raise ValueError(f"{quote(value)} is not {leaf.type.words}")  # noqa: TRY301
        except ValueError as error:
            what = f"root {root.name}: {path}: {error}"
            yield Problem(what=what, origin=leaf_source(root.cls, path), expected=leaf.words)


def _unfit_names(root: Root) -> Iterator[Problem]:
    known = [*root.own, *(f"{one.name}.{path}" for one in root.groups.values() for path in leaves_of(one.schema))]
    for short, path in root.short.items():
        if path not in known:
            what = f"root {root.name}: the short name {short} stands for '{path}', and there is no such setting"
            yield Problem(what=what, origin=class_source(root.cls), nearest=nearest(path, known))


def _group_problems(
    root: str, cls: type[Any], name: str, annotation: Any, over: str | None, known: Mapping[str, Group]
) -> Iterator[Problem]:
    schema = section_class(annotation)
    if schema is None or not issubclass(schema, Profile):
        what = f"root {root}: group '{name}' is of type {getattr(annotation, '__name__', annotation)}"
        hint = f"write: class {name.title()}Config(sc.Profile), and {name}: {name.title()}Config = sc.group(…)"
        yield Problem(what=what, origin=leaf_source(cls, name), expected="a subclass of sc.Profile", hint=hint)
    else:
        try:
            leaves_of(schema)
        except UnsupportedTypeError as error:
            yield Problem(what=f"root {root}: group '{name}': {error}", origin=error.source)
    if over is not None and over not in known:
        what = f"root {root}: group '{name}' is to be folded over '{over}', which is no group to the left of it"
        close = nearest(over, known)
        yield Problem(what=what, origin=leaf_source(cls, name), nearest=close, expected=", ".join(known) or None)


def _fold(root: Root, name: str, annotation: Any, folds: dict[str, Fold]) -> Iterator[Problem]:
    """Find the groups of a folded field; tell why it cannot be one."""

    def refusal(what: str, expected: str | None = None) -> Problem:
        return Problem(what=f"root {root.name}: {name}: {what}", origin=leaf_source(root.cls, name), expected=expected)

    fields = {one.name: [field.name for field in dataclasses.fields(one.schema)] for one in root.groups.values()}
    having = tuple(one for one in tuple(root.groups)[::-1] if name in fields[one])
    if not having:
        known = [field for names in fields.values() for field in names if field != "name"]
        close = nearest(name, known)
        yield dataclasses.replace(refusal("no group has this setting, so none can be folded"), nearest=close)
        return
    strongest = having[0]
    if stranger := next((one for one in having if one not in root.linked(strongest)), None):
        yield refusal(f"{stranger} and {strongest} both have it, and neither is over the other", "over= in a group")
        return
    section = section_class(annotation)
    schema: Any = root.groups[strongest].schema
    declared = sources.hints(schema)[name]
    inside = section_class(declared)
    if section is not None or inside is not None:
        if section is None or inside is None or not issubclass(inside, section):
            yield refusal(f"{strongest} declares another type for it", inside.__name__ if inside else None)
        folds[name] = Fold(having, required=False)
        return
    theirs, ours = leaves_of(schema)[name].type, type_of(annotation)
    if theirs.bare != ours.bare:
        yield refusal(f"{strongest} declares another type for it", theirs.words)
    folds[name] = Fold(having, required=not ours.optional)

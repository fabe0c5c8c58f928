"""Which groups and profiles exist: a checked register in front of Hydra's ConfigStore."""

from __future__ import annotations

import dataclasses
import inspect
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from spectramind_config import config_store
from spectramind_config.errors import ConfigError, Problem, nearest
from spectramind_config.leaves import Leaf, is_interpolation, leaves_of, nested_settings, same, value_at
from spectramind_config.settings import Profile, Settings
from spectramind_config.sources import class_file, class_source, leaf_owner, leaf_source

DEFAULTS: Mapping[str, str] = {
    "trainer": "defaults",
    "local": "default",
    "model": "v50",
    "data": "nominal",
    "loss": "composite",
    "logger": "rich_console",
    "optimizer": "adamw",
}
"""The profile of each group where the command line chooses none."""

GROUPS = tuple(DEFAULTS)
"""The config groups in order of precedence; ``trainer`` and ``local`` overlap, and the one further right wins."""

NAMES = frozenset(f"{group}.name" for group in GROUPS)
"""Settings that say which profile was chosen, and so cannot be set themselves."""

ROOT = "train"
"""The name of the root config in the ConfigStore."""

SHIPPED = "spectramind"
"""The provider of the profiles in this package."""

_P = TypeVar("_P", bound=Profile)


@dataclass(frozen=True)
class Registered:
    """A profile as the register holds it.

    Attributes:
        group: Its config group.
        name: The name to select it by.
        cls: The class that declares it.
        instance: Its values; interpolations are not resolved.
        provider: Where it comes from: ``spectramind``, a distribution's name, or a file.
        base: The profile that a YAML overlay changes; None for a class of its own.
        lines: ``file:line`` of each setting that a YAML overlay changes.
    """

    group: str
    name: str
    cls: type[Profile]
    instance: Profile
    provider: str
    base: Registered | None = None
    lines: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The first line of the class's docstring, or what an overlay changes."""
        if self.base is not None:
            return f"{self.base.name}, changed in: {', '.join(self.lines) or 'nothing'}"
        return (inspect.getdoc(self.cls) or "").split("\n")[0]

    @property
    def source(self) -> str:
        """File and line of the class, or the overlay's file."""
        return f"{self.provider}:1" if self.base is not None else class_source(self.cls)

    def setter(self, path: str) -> tuple[str, str]:
        """``file:line`` of what gives a dotted path its value, and its class, if it is one."""
        if path in self.lines:
            return self.lines[path], ""
        if self.base is not None:
            return self.base.setter(path)
        cls: type = self.cls
        return leaf_source(cls, path), leaf_owner(cls, path)[0].__qualname__

    def parent(self) -> tuple[str, Profile]:
        """The name and the values of the class, or of the profile, that this one changes."""
        if self.base is not None:
            return f"{self.group}={self.base.name}", self.base.instance
        cls = next(base for base in self.cls.__mro__[1:] if issubclass(base, Profile))
        return cls.__name__, cls()


class Registry:
    """The groups' schemas and profiles."""

    def __init__(self) -> None:
        self.schemas: dict[str, type[Profile]] = {}
        self.profiles: dict[str, dict[str, Registered]] = {group: {} for group in GROUPS}
        self.generation = 0
        self.distribution = ""
        self._lock = threading.RLock()

    def add_schema(self, group: str, cls: type[Profile]) -> None:
        """Declare the class that every profile of a group extends."""
        self.schemas[group] = cls

    def add(self, group: str, name: str, cls: type[Profile]) -> None:
        """Check a profile and make it known to ``compose`` and to Hydra.

        The profiles of this package are not checked at each import: a test does that.

        Raises:
            ConfigError: The class cannot be a profile of the group.
        """
        shipped = getattr(cls, "__module__", "").rpartition(".")[0] == __package__
        if not shipped and (problems := list(self.refusals(group, name, cls))):
            raise ConfigError(problems)
        provider = self.distribution or (SHIPPED if shipped else class_file(cls) or cls.__module__)
        self.put(Registered(group, name, cls, cls(name=name), provider))

    def put(self, one: Registered) -> None:
        """Make a profile known that has been checked."""
        with self._lock:
            self.profiles[one.group][one.name] = one
            if one.provider == SHIPPED:
                config_store.ship(one.group, one.name, one.instance)
            else:
                config_store.store(one.group, one.name, one.instance, one.provider)
            self.generation += 1

    def discard(self, providers: Collection[str]) -> None:
        """Forget every profile that comes from one of these files."""
        with self._lock:
            for group, profiles in self.profiles.items():
                for name in [name for name, one in profiles.items() if one.provider in providers]:
                    del profiles[name]
                    config_store.forget(group, name)
            self.generation += 1

    def get(self, group: str, name: str) -> Registered | None:
        """The profile of that name, or None."""
        return self.profiles[group].get(name)

    def unusable(self, group: str, name: str, origin: str | None = None) -> Iterator[Problem]:
        """Why a new profile cannot have this name."""
        known = self.get(group, name)
        if known is not None:
            holder = known.cls.__qualname__ if known.base is None else "an overlay"
            what = f"profile {group}={name}: that name is taken by {holder} ({known.source})"
            yield Problem(what=what, origin=origin, hint="choose another name")
        elif not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name):
            what = f"profile {group}={name}: '{name}' cannot be a profile's name"
            yield Problem(what=what, origin=origin, expected="letters, digits, '_' and '-', no digit first")

    def refusals(self, group: str, name: str, cls: type[Profile]) -> Iterator[Problem]:
        """Why a class cannot be the profile of that name."""

        def refusal(what: str, expected: str | None = None, hint: str | None = None) -> Problem:
            what, see = f"profile {group}={name}: {what}", "spectramind profiles list"
            return Problem(what=what, origin=class_source(cls), expected=expected, hint=hint, see=see)

        schema_cls = self.schemas.get(group)
        if schema_cls is None:
            problem = refusal(f"there is no config group '{group}'", "one of " + ", ".join(GROUPS))
            yield dataclasses.replace(problem, nearest=nearest(group, GROUPS))
            return
        known = self.get(group, name)
        if known is None or (known.cls.__module__, known.cls.__qualname__) != (cls.__module__, cls.__qualname__):
            for problem in self.unusable(group, name):
                yield dataclasses.replace(problem, origin=class_source(cls))
        if not (isinstance(cls, type) and issubclass(cls, schema_cls)):
            yield refusal(
                f"{cls.__qualname__} is not a subclass of {schema_cls.__name__}",
                hint=f"write: class {cls.__name__}({schema_cls.__name__}):",
            )
            return
        if "__dataclass_fields__" not in cls.__dict__:
            yield refusal(
                f"{cls.__qualname__} is not a dataclass itself",
                hint="put @dataclass(kw_only=True) between @profile and the class",
            )
            return
        try:
            hints = get_type_hints(cls, include_extras=True)
        except Exception as error:  # noqa: BLE001 - an annotation may name anything; it is refused with the reason.
            yield refusal(f"its annotations cannot be read: {error}", hint="import the names that annotations use")
            return
        changes = list(_type_changes(cls, hints, refusal))
        yield from changes
        if changes:
            return
        required = [
            field.name
            for field in dataclasses.fields(cls)
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        ]
        for field_name in required:
            yield refusal(f"'{field_name}' has no default", hint=f"write: {field_name}: ... = <value>")
        if required:
            return
        yield from _collisions(group, cls, schema_cls, refusal)
        try:
            instance = cls(name=name)
            leaves = leaves_of(cls)
        except Exception as error:  # noqa: BLE001 - a third party's class may fail in any way, and is then refused.
            yield refusal(f"{cls.__qualname__} cannot be built: {type(error).__name__}: {error}")
            return
        for path, leaf in leaves.items():
            raw = value_at(instance, path)
            if is_interpolation(raw):
                continue
            try:
                if not same(leaf.convert(raw), raw):
                    raise ValueError(f"{raw!r} is not {leaf.expectation}")  # noqa: TRY301
            except ValueError as error:
                problem = refusal(f"{path}: {error}", f"{leaf.expectation}: {leaf.description}")
                yield dataclasses.replace(problem, origin=leaf_source(cls, path))
                return
        for found in instance.contradictions():
            if found.fatal:
                hint = f"set {found.path} to {found.remedy}" if found.remedy else None
                problem = refusal(found.reason, hint=hint)
                own = found.path.partition(".")[0] in inspect.get_annotations(cls)
                yield dataclasses.replace(problem, origin=leaf_source(cls, found.path)) if own else problem


Refusal = Callable[..., Problem]


def _type_changes(cls: type[Profile], hints: dict[str, Any], refusal: Refusal) -> Iterator[Problem]:
    """A subclass may narrow a field's type, not change it: callers rely on the parent's."""
    for parent in cls.__mro__[1:]:
        if not (isinstance(parent, type) and issubclass(parent, Settings)):
            continue
        for name, declared in get_type_hints(parent, include_extras=True).items():
            if not _narrows(hints[name], declared):
                field_source = leaf_source(cls, name)
                yield dataclasses.replace(
                    refusal(
                        f"{name}: its type differs from the one that {parent.__name__} declares",
                        _words(declared),
                    ),
                    origin=field_source,
                )
                hints[name] = declared


def _leaf(annotation: Any) -> Leaf:
    return Leaf("", annotation, (), object, "", science=True)


def _words(annotation: Any) -> str:
    nested = nested_settings(annotation)
    return f"{nested.__name__} or a subclass of it" if nested else _leaf(annotation).expectation


def _narrows(annotation: Any, declared: Any) -> bool:
    nested, nested_declared = nested_settings(annotation), nested_settings(declared)
    if nested_declared is not None or nested is not None:
        return nested is not None and nested_declared is not None and issubclass(nested, nested_declared)
    child, parent = _leaf(annotation), _leaf(declared)
    return set(child.kinds) <= set(parent.kinds) and parent.optional >= child.optional


def _collisions(group: str, cls: type[Profile], schema_cls: type[Profile], refusal: Refusal) -> Iterator[Problem]:
    """A field that a ``local`` or ``trainer`` profile adds must not pass for one that another layer owns."""
    if group not in ("trainer", "local"):
        return
    other = REGISTRY.schemas.get("local" if group == "trainer" else "trainer", Profile)
    taken = {*GROUPS, *(field.name for field in dataclasses.fields(other))}
    own = {field.name for field in dataclasses.fields(schema_cls)}
    for field in dataclasses.fields(cls):
        if field.name in taken - own:
            owner = field.name if field.name in GROUPS else other.__name__
            yield refusal(
                f"{field.name}: a {group} profile cannot add a field that belongs to {owner}",
                hint="give the field another name",
            )


REGISTRY = Registry()


def schema(group: str) -> Callable[[type[_P]], type[_P]]:
    """Declare a dataclass as the schema of a config group."""

    def declare(cls: type[_P]) -> type[_P]:
        REGISTRY.add_schema(group, cls)
        return cls

    return declare


def profile(group: str, name: str) -> Callable[[type[_P]], type[_P]]:
    """Register a dataclass as a profile, selected by ``group=name``.

    The class is a subclass of the group's schema that restates only what differs. A class that is defined again,
    as in a notebook cell that runs twice, takes its old place.

    Raises:
        ConfigError: The group is unknown, the name is taken by another class, the class is no dataclass below the
            group's schema, a field changes its type, or a default breaks its own constraints.
    """

    def register(cls: type[_P]) -> type[_P]:
        REGISTRY.add(group, name, cls)
        return cls

    return register

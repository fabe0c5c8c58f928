"""What a profile's class must keep to: checked once, at registration, as strictly as a command line."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, get_type_hints

from spectramind_config.errors import Problem, nearest
from spectramind_config.schema.fields import UnsupportedTypeError, hints_of, leaves_of, sealed, type_of
from spectramind_config.schema.sources import class_source, declared_twice, inert, leaf_source, section_class
from spectramind_config.schema.values import is_interpolation, plain, quote, same, value_at
from spectramind_config.settings import Profile, Settings

Refusal = Callable[..., Problem]


def refusals(label: str, cls: type[Profile]) -> Iterator[Problem]:
    """Why a class cannot be a profile; ``label`` is the profile as messages name it, such as ``local=lab``."""

    def refusal(what: str, expected: str | None = None, hint: str | None = None, at: str = "") -> Problem:
        origin = leaf_source(cls, at) if at else class_source(cls)
        return Problem(
            what=f"profile {label}: {what}", origin=origin, expected=expected, hint=hint, see="profiles list"
        )

    if "__dataclass_fields__" not in cls.__dict__:
        yield refusal(
            f"{cls.__qualname__} is not a dataclass itself",
            hint="put @dataclass(kw_only=True) between @profile and the class",
        )
        return
    if declared_twice(cls):
        yield refusal(f"its file declares two classes {cls.__qualname__}", hint="give one of them another name")
        return
    try:
        hints = hints_of(cls)
    except UnsupportedTypeError as error:
        yield refusal(str(error))
        return
    found = [*_body(cls, refusal), *_types(cls, hints, refusal)] or list(_defaults(cls, refusal))
    yield from found
    if not found:
        yield from _values(cls, refusal)


def _body(cls: type, refusal: Refusal) -> Iterator[Problem]:
    """A class body sets something, or it is a mistake: no field that is nearly another's, no bare assignment."""
    parents = {field.name for base in cls.__mro__[1:] for field in getattr(base, "__dataclass_fields__", {}).values()}
    annotated = inspect.get_annotations(cls)
    for name in annotated:
        if name not in parents and (close := nearest(name, parents - {"name"}, 0.85)):
            yield refusal(f"{name}: this resembles the inherited '{close}'", hint=f"write {close}", at=name)
    for name, value in inert(cls):
        hint = f"write {name}: <type> = {value!r}"
        yield refusal(f"{name} = {value!r} has no annotation, so it sets nothing", hint=hint)
    if "__slots__" in vars(cls):
        yield refusal("a class with __slots__ cannot be a profile", hint="leave out slots=True")


def _types(cls: type, hints: Mapping[str, Any], refusal: Refusal) -> Iterator[Problem]:
    """Every type is one that settings can have; a subclass may narrow a type, not change it."""
    for field in dataclasses.fields(cls):
        try:
            section = section_class(hints[field.name])
            leaves_of(section) if section else type_of(hints[field.name])
        except UnsupportedTypeError as error:
            found = error.of(cls, field.name)
            yield dataclasses.replace(refusal(str(found)), origin=found.source)
            return
        declared = [
            (parent, get_type_hints(parent, include_extras=True)[field.name])
            for parent in cls.__mro__[1:]
            if issubclass(parent, Settings) and field.name in get_type_hints(parent)
        ]
        for parent, annotation in declared:
            inside = section_class(annotation)
            if section or inside:
                narrows = bool(section and inside and issubclass(section, inside))
            else:
                ours, theirs = type_of(hints[field.name]), type_of(annotation)
                narrows = ours.bare <= theirs.bare and ours.optional <= theirs.optional
            if not narrows:
                words = f"{inside.__name__} or a subclass of it" if inside else type_of(annotation).words
                what = f"{field.name}: its type differs from the one that {parent.__name__} declares"
                yield refusal(what, words, at=field.name)
                break


def _defaults(cls: type, refusal: Refusal) -> Iterator[Problem]:
    for field in dataclasses.fields(cls):
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            yield refusal(f"'{field.name}' has no default", hint=f"write: {field.name}: ... = <value>", at=field.name)


def _values(cls: type[Profile], refusal: Refusal) -> Iterator[Problem]:
    """The declared values fit their own declarations, and do not contradict each other."""
    try:
        raw = object.__new__(cls)
        for field in dataclasses.fields(cls):
            made = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            raw.__dict__[field.name] = made
        instance = sealed(raw, {})
        cls()
        leaves = leaves_of(cls)
    except Exception as error:  # noqa: BLE001 - a third party's class may fail in any way, and is then refused.
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        yield refusal(f"{cls.__qualname__} cannot be built: {reason}")
        return
    for path, leaf in leaves.items():
        value = value_at(instance, path)
        if is_interpolation(value):
            continue
        try:
            converted = leaf.convert(value)
            if not same(plain(converted), plain(value)):
                raise ValueError(f"{quote(value)} is not {leaf.type.words}")  # noqa: TRY301
        except ValueError as error:
            yield refusal(f"{path}: {error}", f"{leaf.type.words}: {leaf.description}", at=path)
            return
    yield from _contradictions(cls, instance, refusal)


def _contradictions(cls: type[Profile], instance: Profile, refusal: Refusal) -> Iterator[Problem]:
    for found in instance.contradictions():
        if found.fatal:
            own = found.path.partition(".")[0] in inspect.get_annotations(cls)
            hint = f"set {found.path} to {found.remedy}" if found.remedy else None
            yield refusal(found.reason, hint=hint, at=found.path if own else "")


def collisions(
    label: str, cls: type[Profile], schema: type[Profile], taken: Iterable[tuple[str, str]]
) -> Iterator[Problem]:
    """A field that a profile adds must not pass for one that another layer of the same root owns."""
    own = {field.name for field in dataclasses.fields(schema)}
    owners = {name: owner for name, owner in taken if name not in own}
    for field in dataclasses.fields(cls):
        if field.name in owners:
            yield Problem(
                what=f"profile {label}: {field.name}: a {label.partition('=')[0]} profile cannot add a field that "
                f"belongs to {owners[field.name]}",
                origin=class_source(cls),
                hint="give the field another name",
                see="profiles list",
            )

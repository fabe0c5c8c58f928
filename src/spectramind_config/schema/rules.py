"""What a profile's class must keep to: checked once, at registration, as strictly as a command line."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from spectramind_config.errors import Problem, nearest
from spectramind_config.schema import sources
from spectramind_config.schema.fields import leaves_of, sealed, type_of, unfit_values
from spectramind_config.schema.root import Root
from spectramind_config.schema.sources import UnsupportedTypeError, class_source, leaf_source, section_class
from spectramind_config.settings import Profile, Settings


def refused(label: str, cls: type, what: str, at: str = "", **told: str | None) -> Problem:
    """Why a class cannot be a profile, which messages name by a label such as ``local=lab``; it may lie in a field."""
    origin = leaf_source(cls, at) if at else class_source(cls)
    return Problem(what=f"profile {label}: {what}", origin=origin, see="profiles list", **told)


def refusals(label: str, cls: type[Profile]) -> Iterator[Problem]:
    """All that is wrong with a class that is to be a profile."""
    refusal = functools.partial(refused, label, cls)
    if "__dataclass_fields__" not in cls.__dict__:
        hint = "put @dataclass(kw_only=True) between @profile and the class"
        yield refusal(f"{cls.__qualname__} is not a dataclass itself", hint=hint)
        return
    if sources.declared_twice(cls):
        yield refusal(f"its file declares two classes {cls.__qualname__}", hint="give one of them another name")
        return
    try:
        leaves = leaves_of(cls)
    except UnsupportedTypeError as error:
        yield dataclasses.replace(refusal(str(error)), origin=error.source)
        return
    fields = dataclasses.fields(cls)
    found = [*_body(cls, refusal)] or [
        refusal(f"'{one.name}' has no default", one.name, hint=f"write: {one.name}: ... = <value>")
        for one in fields
        if one.default is one.default_factory is dataclasses.MISSING
    ]
    yield from found
    if found:
        return
    raw = object.__new__(cls)
    try:
        for one in fields:
            made = one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
            raw.__dict__[one.name] = made
        instance = sealed(raw, {})
        cls()
    except Exception as error:  # noqa: BLE001 - a third party's class may fail in any way, and is then refused.
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        yield refusal(f"{cls.__qualname__} cannot be built: {reason}")
        return
    for path, leaf, reason in unfit_values(leaves, instance):
        yield refusal(f"{path}: {reason}", path, expected=leaf.words)
        return
    for broken in instance.contradictions():
        if broken.fatal:
            own = broken.path.partition(".")[0] in inspect.get_annotations(cls)
            remedy = f"set {broken.path} to {broken.remedy}" if broken.remedy else None
            yield refusal(broken.reason, broken.path if own else "", hint=remedy)


def _body(cls: type[Profile], refusal: Callable[..., Problem]) -> Iterator[Problem]:
    """A body sets something: no field is nearly another's, none is assigned bare or allows what a parent does not."""
    parents = {field.name for base in cls.__mro__[1:] for field in getattr(base, "__dataclass_fields__", {}).values()}
    for name in inspect.get_annotations(cls):
        if name not in parents and (close := nearest(name, parents - {"name"}, 0.85)):
            yield refusal(f"{name}: this resembles the inherited '{close}'", name, hint=f"write {close}")
    for what, hint in sources.inert(cls):
        yield refusal(what, hint=hint)
    for name in (field.name for field in dataclasses.fields(cls)):
        for parent in (one for one in cls.__mro__[1:] if issubclass(one, Settings) and name in sources.hints(one)):
            if words := _wider(sources.hints(cls)[name], sources.hints(parent)[name]):
                what = f"{name}: its type differs from the one that {parent.__name__} declares"
                yield refusal(what, name, expected=words)
                break


def _wider(annotation: Any, declared: Any) -> str:
    """What a parent's annotation allows, where another one allows more; empty where it does not."""
    section, inside = section_class(annotation), section_class(declared)
    if section or inside:
        narrows = section and inside and issubclass(section, inside)
        words = f"{inside.__name__} or a subclass of it" if inside else type_of(declared).words
    else:
        ours, theirs = type_of(annotation), type_of(declared)
        narrows, words = ours.bare <= theirs.bare and ours.optional <= theirs.optional, theirs.words
    return "" if narrows else words


def collisions(label: str, cls: type[Profile], root: Root, group: str) -> Iterator[Problem]:
    """A field that a profile adds must not pass for one that another layer of the same root owns."""
    linked = [other for other in root.linked(group) if other != group]
    owners = {name: other for other in linked for name in root.groups[other].schema.__dataclass_fields__}
    owners |= dict(zip(root.groups, root.groups, strict=True)) if linked else {}
    for field in dataclasses.fields(cls):
        if field.name in owners and field.name not in root.groups[group].schema.__dataclass_fields__:
            what = f"{field.name}: a {group} profile cannot add a field that belongs to {owners[field.name]}"
            yield refused(label, cls, what, hint="give the field another name")

"""The leaves of a settings class: every single setting with its type, its limits and its description."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from msgspec import Meta, Struct
from msgspec.structs import replace

from spectramind_config.errors import HIDDEN, keep_secret, nearest
from spectramind_config.schema import sources
from spectramind_config.schema.sources import UnsupportedTypeError
from spectramind_config.schema.types import LIMITS, SCALARS, SIZES, Kind, Type
from spectramind_config.schema.values import by_first_name, entries, is_interpolation, plain, quote, same, value_at
from spectramind_config.settings import Settings

_INSTEAD = {"set": "list", "frozenset": "list", "bytes": "str", "complex": "tuple[float, float]", "Any": "a union"}
_INSTEAD |= {"datetime": "str", "date": "str", "Decimal": "float", "ndarray": "list[float]", "object": "a union"}
_INSTEAD |= {"Sequence": "list", "Mapping": "dict", "PosixPath": "Path", "PurePath": "Path", "deque": "list"}
_S = TypeVar("_S", bound=Settings)


def type_of(annotation: Any, around: tuple[Meta, ...] = ()) -> Type:
    """Read an annotation; UnsupportedTypeError where no setting can be of that type."""
    kinds: list[Kind] = []
    optional = False
    for member, metas in _members(annotation, around):
        if member in (None, type(None)):
            optional = True
        else:
            kinds.append(_kind(member, metas))
    if not kinds:
        raise UnsupportedTypeError("null alone is no setting; write a type beside None")
    return Type(tuple(dict.fromkeys(kinds)), optional)


def _members(annotation: Any, around: tuple[Meta, ...]) -> Iterator[tuple[Any, tuple[Meta, ...]]]:
    while get_origin(annotation) is Annotated:
        annotation, *metas = get_args(annotation)
        around += tuple(meta for meta in metas if isinstance(meta, Meta))
    if get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _members(member, around)
    else:
        yield annotation, around


def _kind(bare: Any, metas: tuple[Meta, ...]) -> Kind:
    origin, arguments = get_origin(bare), get_args(bare)
    extra = {name: value for meta in metas for name, value in (meta.extra or {}).items()}
    if bare is str and "choices" in extra:
        return Kind(Literal, choices=tuple(extra["choices"]))
    if bare is str and "kind" in extra:
        return Kind(extra["kind"])
    if origin is Literal:
        if not all(isinstance(one, str | int | bool) for one in arguments):
            raise UnsupportedTypeError(f"{bare} holds more than strings, ints and bools")
        return Kind(Literal, choices=arguments)
    if isinstance(bare, type) and issubclass(bare, Enum):
        return Kind(bare, choices=tuple(member.name for member in bare))
    if bare in SCALARS:
        return Kind(bare, _limits(metas, SIZES if bare is str else () if bare is bool else tuple(LIMITS)))
    if bare in (Path, timedelta):
        return Kind(bare)
    if origin in (list, tuple, dict) and arguments:
        is_open = arguments[-1] is ...
        items = tuple(map(type_of, arguments[: -1 if is_open else None]))
        if origin is dict and not _are_keys(items[0]):
            raise UnsupportedTypeError(f"the keys of {bare} cannot be those of a setting; write dict[str, …]")
        return Kind(origin, _limits(metas, SIZES[:2]), items, open=is_open)
    if isinstance(bare, type) and issubclass(bare, Settings):
        leaves_of(bare)
        return Kind(bare, build=built)
    name = getattr(bare, "__name__", str(bare))
    if bare in (list, dict, tuple):
        raise UnsupportedTypeError(f"{name} does not say what it holds; write {name}[str, …] or the like")
    if dataclasses.is_dataclass(bare):
        raise UnsupportedTypeError(f"{name} is a dataclass, but no settings; write: class {name}(sc.Settings):")
    instead = _INSTEAD.get(name) or "bool, int, float, str, Literal, Enum, Path, timedelta, list, tuple, dict, Settings"
    raise UnsupportedTypeError(f"{name} cannot be the type of a setting; write {instead}")


def _are_keys(declared: Type) -> bool:
    texts = all(kind.type in SCALARS or (kind.choices and kind.type is not Literal) for kind in declared.kinds)
    return len(declared.kinds) == 1 and texts and not declared.optional


def _limits(metas: tuple[Meta, ...], names: tuple[str, ...]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, bound) for meta in metas for name in names if (bound := getattr(meta, name)) is not None)


class Leaf(Struct, frozen=True, eq=False, dict=True):
    """One setting."""

    path: str  # Below its group, such as ``dev.limit_train_batches``.
    type: Type  # With limits.
    inherited: tuple[Type, ...]  # What parent classes declare for it: a subclass may narrow but not lift that.
    home: Any  # The class that it is a field of.
    science: bool  # False where it only says where or how visibly a run happened.
    about: str = ""  # The description in the annotation.
    secret: bool = False  # Whether nobody may see its values.

    @functools.cached_property
    def description(self) -> str:
        """One line: what the annotation says, or the docstring below the field, here or in a parent."""
        name = self.path.rpartition(".")[2]
        found = (sources.field_statements(base).get(name, (None, ""))[1] for base in self.home.__mro__[:-1])
        return self.about or next(filter(None, found), "")

    @property
    def words(self) -> str:
        """What it takes and means, for a message."""
        return f"{self.type.words} ({self.description})" if self.description else self.type.words

    def convert(self, raw: Any) -> Any:
        """Convert and check a raw value; raises ValueError like ``Type.convert``."""
        if self.secret:
            return self._convert_unseen(raw)
        value = self.type.convert(raw)
        for declared in self.inherited:
            try:
                declared.convert(value)
            except ValueError:
                raise ValueError(f"{quote(value)} is not {declared.words}") from None
        return value

    def _convert_unseen(self, raw: Any) -> Any:
        if raw == HIDDEN:  # Read back from where it is not shown.
            return raw
        try:
            return replace(self, secret=False).convert(raw)
        except ValueError:
            raise ValueError(f"it is not {self.type.words}") from None

    @functools.cached_property
    def is_container(self) -> bool:
        """Whether values have parts that an override can name."""
        return any(kind.is_container for kind in self.type.kinds)


_LEAVES: dict[type, Mapping[str, Leaf]] = {}


def leaves_of(cls: type) -> Mapping[str, Leaf]:
    """Every leaf of a settings class by its dotted path, in the order of declaration.

    A field that a subclass restates without limits keeps its parent's.

    Raises:
        UnsupportedTypeError: A field has a type that no setting can have; the message names the field.
    """
    if cls not in _LEAVES:
        _LEAVES[cls] = dict(declared_leaves(cls))
    return _LEAVES[cls]


def unfit_values(leaves: Mapping[str, Leaf], holder: object) -> Iterator[tuple[str, Leaf, str]]:
    """The declared values that do not fit their own declarations: path, leaf and the reason."""
    for path, leaf in leaves.items():
        value = value_at(holder, path)
        try:
            if not is_interpolation(value) and not same(plain(leaf.convert(value)), plain(value)):
                yield path, leaf, f"{quote(value)} is not {leaf.type.words}"
        except ValueError as error:
            yield path, leaf, str(error)


def declared_leaves(cls: type, names: frozenset[str] | None = None) -> Iterator[tuple[str, Leaf]]:
    """The leaves of a dataclass, or of some of its fields."""
    if any("__slots__" in vars(base) for base in cls.__mro__[:-1]):
        raise UnsupportedTypeError("it has __slots__; leave out slots=True").of(cls)
    for base in cls.__mro__:
        if issubclass(base, Settings) and "__dataclass_fields__" not in vars(base) and inspect.get_annotations(base):
            reason = "its settings do not exist, for it is no dataclass; put @dataclass(kw_only=True) above it"
            raise UnsupportedTypeError(reason).of(base)
    hints = {base: sources.hints(base) for base in cls.__mro__ if base is not object}
    parent: Any = cls.__bases__[0] if len(cls.__bases__) == 1 and names is None else None
    inherited = by_first_name(leaves_of(parent)) if hasattr(parent, "__dataclass_fields__") else {}
    for field in dataclasses.fields(cls):
        if names is not None and field.name not in names:
            continue
        if field.name in inherited and field.name not in inspect.get_annotations(cls):
            yield from ((leaf.path, leaf) for leaf in inherited[field.name].values())
            continue
        declared = [found[field.name] for found in reversed(hints.values()) if field.name in found]
        metas = [meta for one in declared for _, around in _members(one, ()) for meta in around]
        section = sources.section_class(hints[cls][field.name])
        try:
            if section is not None:
                for path, leaf in leaves_of(section).items():
                    yield f"{field.name}.{path}", replace(leaf, path=f"{field.name}.{path}")
                continue
            kinds = list(map(type_of, declared))
        except UnsupportedTypeError as error:
            raise error.of(cls, field.name) from None
        limited = [one for one in dict.fromkeys(kinds) if any(kind.limits or kind.choices for kind in one.kinds)]
        own = kinds[-1]
        if own not in limited and limited and limited[-1].bare == own.bare:
            own = replace(limited[-1], optional=own.optional)
        science = all((meta.extra or {}).get("science", True) for meta in metas)
        text = next((meta.description for meta in reversed(metas) if meta.description), "")
        if secret := any((meta.extra or {}).get("secret") for meta in metas):
            keep_secret(field.name)
        above = tuple(one for one in limited if one != own)
        yield field.name, Leaf(field.name, own, above, cls, science, text, secret)


def built(cls: type[_S], raw: Any) -> _S:
    """Frozen settings of a class from a dict or an instance; TypeError for anything else, ValueError for its parts."""
    if isinstance(raw, cls):
        cls, raw = type(raw), entries(raw)
    if not isinstance(raw, Mapping):
        raise TypeError
    default = cls()
    usual = entries(default)
    for name in raw:
        if name not in usual:
            close = nearest(str(name), usual)
            raise ValueError(f"'{name}' is not a setting of {cls.__name__}" + (f"; nearest: {close}" if close else ""))
    changes: dict[str, Any] = {}
    for name, inner in by_first_name(leaves_of(cls)).items():
        given = raw.get(name, usual[name])
        try:
            changes[name] = inner[""].convert(given) if "" in inner else built(type(usual[name]), given)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    try:
        return sealed(default, changes)
    except ValueError as error:
        raise ValueError(f"{cls.__name__}: {error}") from None


def sealed(node: _S, values: Mapping[str, Any]) -> _S:
    """A frozen copy of a settings object with some fields replaced; ValueError where ``__post_init__`` refuses it."""
    content = {**node.__dict__, **values}
    fresh = values if content.pop("_sealed", False) else content
    for name, value in fresh.items():
        if isinstance(value, Settings) and "_sealed" not in value.__dict__:
            content[name] = sealed(value, {})
    made = object.__new__(type(node))
    made.__dict__.update(content)
    self_check(made, content)
    made.__dict__["_sealed"] = True
    return made


def self_check(made: Any, content: Mapping[str, Any]) -> None:
    """Run a class's own ``__post_init__``; ValueError where it refuses the values, fails or changes one of them."""
    if (check := getattr(type(made), "__post_init__", None)) is None:
        return
    try:
        check(made)
    except ValueError:
        raise
    except Exception as error:
        trace: Any = error.__traceback__
        while trace.tb_next:
            trace = trace.tb_next
        reason, place = f"{type(error).__name__}: {error}", f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        raise ValueError(f"__post_init__ of {type(made).__name__} fails: {reason} ({place})") from error
    for name, value in content.items():
        if made.__dict__.get(name) is not value and not same(made.__dict__.get(name), value):
            raise ValueError(
                f"__post_init__ of {type(made).__name__} changes '{name}', so nobody could say who set it; "
                "write a property for a derived value"
            )

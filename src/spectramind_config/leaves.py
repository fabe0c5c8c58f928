"""The leaves of a settings class: every single setting with its type, constraints and description.

A value that arrives from a command line or a file goes through two libraries: OmegaConf's conversion, so that the
result equals Hydra's (``precision=32`` is the string "32"), then msgspec's constraints.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import types
import weakref
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Annotated, Any, Union, cast, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta
from omegaconf import BooleanNode, FloatNode, IntegerNode, OmegaConf, StringNode
from omegaconf.errors import OmegaConfBaseException

from spectramind_config.settings import Settings

SCALARS: dict[type, Any] = {bool: BooleanNode, int: IntegerNode, float: FloatNode, str: StringNode}
_NUMERIC = ("ge", "gt", "le", "lt", "multiple_of")
_TEXTUAL = ("min_length", "max_length", "pattern", "extra_json_schema", "extra")
_SIZED = ("min_length", "max_length")
_ARTICLES = {int: "an int", float: "a float", str: "a string", bool: "true or false"}


def is_interpolation(value: object) -> bool:
    """Whether a raw value, or an element of it, stands for something that is looked up at composition."""
    if isinstance(value, list | tuple):
        return any(map(is_interpolation, value))
    if isinstance(value, dict):
        return any(map(is_interpolation, value.values()))
    return isinstance(value, str) and "${" in value


@dataclass(frozen=True)
class Leaf:
    """One setting.

    Attributes:
        path: Dotted path below its group, such as ``dev.limit_train_batches``.
        annotation: Its type as declared, ``msgspec.Meta`` included.
        inherited: The types that parent classes declare for it; a subclass may narrow but not lift them.
        owner: The class whose body declares it.
        description: One line, from the declaration.
        science: False where it only says where or how visibly a run happened.
    """

    path: str
    annotation: Any
    inherited: tuple[Any, ...]
    owner: type
    description: str
    science: bool

    @functools.cached_property
    def alternatives(self) -> tuple[Any, ...]:
        """The members of the declared union, without null."""
        return tuple(_alternatives(self.annotation))

    @functools.cached_property
    def kinds(self) -> tuple[Any, ...]:
        """The bare types of the alternatives: scalars, or list, tuple and dict types."""
        return tuple(dict.fromkeys(_bare(alternative) for alternative in self.alternatives))

    @functools.cached_property
    def optional(self) -> bool:
        """Whether null is allowed."""
        return _allows_null(self.annotation)

    @functools.cached_property
    def choices(self) -> tuple[str, ...]:
        """The closed set of strings that are allowed; empty when there is none."""
        found: list[str] = []
        for alternative in self.alternatives:
            for meta in _metas(alternative):
                found.extend((meta.extra or {}).get("choices", ()))
        return tuple(found)

    @functools.cached_property
    def expectation(self) -> str:
        """The type, range and choices in words, such as ``an int >= 1, or one of auto, cpu, mps``."""
        parts = [_expectation(alternative) for alternative in self.alternatives]
        if self.optional:
            parts.append("null")
        return ", or ".join(dict.fromkeys(parts))

    def convert(self, raw: object) -> Any:
        """Convert and check a raw value.

        Raises:
            ValueError: The value has the wrong type or breaks a constraint; the message says which.
        """
        if raw is None:
            if not self.optional:
                raise ValueError("null is not allowed")
            return None
        value = self._coerce(raw)
        _refuse_unfit(value)
        try:
            for annotation in self.inherited:
                msgspec.convert(value, annotation)
            return msgspec.convert(value, self.annotation)
        except msgspec.ValidationError:
            raise ValueError(f"{_quote(value)} is not {self.expectation}") from None

    @property
    def is_container(self) -> bool:
        """Whether it holds a list, a tuple or a dict."""
        return any(kind not in SCALARS for kind in self.kinds)

    def updated(self, current: object, inner: str, raw: object, *, add: bool) -> Any:
        """A container with the element at ``inner`` set, as Hydra sets ``key.inner=raw``.

        Raises:
            ValueError: There is no such element, or the value has the wrong type.
        """
        node = OmegaConf.structured(self._holder)
        try:
            node.value = list(current) if isinstance(current, tuple) else current
            OmegaConf.update(node, f"value.{inner}", raw, merge=True, force_add=add)
        except (OmegaConfBaseException, IndexError, TypeError) as error:
            raise ValueError(str(error).partition("\n")[0]) from None
        return OmegaConf.to_container(node, resolve=False)["value"]  # type: ignore[index, call-overload]

    def _coerce(self, raw: object) -> Any:
        kinds = self.kinds
        if type(raw) in kinds:
            return raw
        try:
            if len(kinds) == 1 and kinds[0] in SCALARS:
                return SCALARS[kinds[0]](raw)._value()
            if self.is_container:
                node = OmegaConf.structured(self._holder)
                node.value = list(raw) if isinstance(raw, tuple) else raw
                return OmegaConf.to_container(node, resolve=False)["value"]  # type: ignore[index, call-overload]
        except OmegaConfBaseException:
            pass
        raise ValueError(f"{_quote(raw)} is not {self.expectation}")

    @functools.cached_property
    def _holder(self) -> type:
        """A structured config with this leaf alone, through which OmegaConf converts containers."""
        return dataclasses.make_dataclass("Holder", [("value", _bare(self.annotation) | None, None)])


def _refuse_unfit(value: object) -> None:
    """Refuse what no type excludes but no configuration can hold, in a container as well."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    if isinstance(value, str):
        if value == "???":
            raise ValueError("'???' marks a missing value")
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError(f"{value!a} is not valid Unicode, so it cannot be saved")
    if isinstance(value, dict):
        value = (*value, *value.values())
    if isinstance(value, list | tuple):
        for item in value:
            _refuse_unfit(item)


def _metas(annotation: Any) -> Iterator[Meta]:
    if get_origin(annotation) is Annotated:
        base, *metas = get_args(annotation)
        yield from _metas(base)
        yield from (meta for meta in metas if isinstance(meta, Meta))


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _alternatives(annotation: Any, around: tuple[Meta, ...] = ()) -> Iterator[Any]:
    """The members of a union without null, each with the constraints that were written around the union.

    msgspec wants a constraint on the member that it restricts; people write it once around ``int | None``.
    """
    while get_origin(annotation) is Annotated:
        annotation, *metas = get_args(annotation)
        around += tuple(meta for meta in metas if isinstance(meta, Meta))
    if _is_union(annotation):
        for member in get_args(annotation):
            yield from _alternatives(member, around)
    elif annotation is not type(None):
        for meta in around:
            if constraint := _constraint(meta, annotation):
                annotation = Annotated[annotation, constraint]
        yield annotation


def _constraint(meta: Meta, kind: Any) -> Meta | None:
    """The part of a declaration that restricts values of one kind."""
    names = {int: _NUMERIC, float: _NUMERIC, str: _TEXTUAL}.get(kind, _SIZED)
    limits = {name: limit for name in names if (limit := getattr(meta, name)) is not None}
    return Meta(**limits) if limits.keys() - {"extra"} else None


def _allows_null(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return _allows_null(get_args(annotation)[0])
    return annotation is type(None) or (_is_union(annotation) and any(map(_allows_null, get_args(annotation))))


def _bare(annotation: Any) -> Any:
    """The annotation without any ``Annotated`` in it."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if _is_union(annotation):
        return functools.reduce(lambda left, right: left | right, map(_bare, get_args(annotation)))
    if arguments := get_args(annotation):
        return types.GenericAlias(get_origin(annotation), tuple(map(_bare, arguments)))
    return annotation


def _expectation(alternative: Any) -> str:
    kind = _bare(alternative)
    bounds: dict[str, Any] = {}
    for meta in _metas(alternative):
        if choices := (meta.extra or {}).get("choices"):
            return "one of " + ", ".join(choices)
        bounds |= {
            word: limit
            for word, limit in ((">=", meta.ge), (">", meta.gt), ("<=", meta.le), ("<", meta.lt))
            if limit is not None
        }
        if meta.pattern:
            return "a string that matches " + meta.pattern.removesuffix(r"(?!\n)")
        if meta.min_length:
            return "a string that is not empty"
    name = _ARTICLES.get(kind)
    if name is None:
        name = f"a {_type_name(kind)}"
    limits = [f"{word} {limit:g}" if abs(limit) < 1e6 else f"{word} {limit}" for word, limit in bounds.items()]
    return f"{name} {' and '.join(limits)}".rstrip()


def _type_name(kind: Any) -> str:
    name = kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)
    return name.replace("tuple[", "list [")


def _quote(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def nested_settings(annotation: Any) -> type[Settings] | None:
    """The settings class that an annotation holds, or None for a leaf."""
    bare = _bare(annotation)
    return bare if isinstance(bare, type) and issubclass(bare, Settings) else None


def leaves_of(cls: type) -> Mapping[str, Leaf]:
    """Every leaf of a settings class by its dotted path, in the order of declaration.

    A field that a subclass restates without a description or constraints keeps its parent's.
    """
    if cls not in _LEAVES:
        _LEAVES[cls] = types.MappingProxyType(_declared_leaves(cls))
    return _LEAVES[cls]


_LEAVES: MutableMapping[type, Mapping[str, Leaf]] = weakref.WeakKeyDictionary()


def _declared_leaves(cls: type) -> dict[str, Leaf]:
    found: dict[str, Leaf] = {}
    own_hints = {base: get_type_hints(base, include_extras=True) for base in cls.__mro__ if base is not object}
    for field in dataclasses.fields(cls):
        annotation = own_hints[cls][field.name]
        declared = [hints[field.name] for hints in reversed(own_hints.values()) if field.name in hints]
        description, science = "", True
        for candidate in declared:
            for meta in _metas(candidate):
                description = meta.description or description
                science = science and (meta.extra or {}).get("science", True)
        nested = nested_settings(annotation)
        if nested is not None:
            for path, leaf in leaves_of(nested).items():
                found[f"{field.name}.{path}"] = dataclasses.replace(leaf, path=f"{field.name}.{path}")
            continue
        owner = next(base for base in cls.__mro__ if field.name in inspect.get_annotations(base))
        constrained = [candidate for candidate in map(_normalised, declared) if _is_constrained(candidate)]
        annotation = _normalised(annotation)
        if not _is_constrained(annotation) and constrained and _bare(constrained[-1]) == _bare(annotation):
            annotation = constrained[-1]
        inherited = tuple(candidate for candidate in constrained if candidate != annotation)
        found[field.name] = Leaf(field.name, annotation, inherited, owner, description, science)
    return found


def _normalised(annotation: Any) -> Any:
    """The annotation as msgspec takes it: every constraint on the member of the union that it restricts."""
    members = list(_alternatives(annotation))
    if _allows_null(annotation):
        members.append(None)
    return functools.reduce(lambda left, right: left | right, members)


def _is_constrained(annotation: Any) -> bool:
    return any(list(_metas(member)) for member in _alternatives(annotation))


def same(left: object, right: object) -> bool:
    """Whether two values are equal and of one type: one batch (1) is not the whole split (1.0)."""
    return type(left) is type(right) and left == right


def value_at(node: object, path: str) -> Any:
    """The value of a dotted path below a settings object."""
    for name in path.split("."):
        node = getattr(node, name)
    return cast("Any", node)


def by_first_name(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Values by dotted path, grouped by its first name; a path of one name has the rest ``""``."""
    grouped: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        name, _, rest = path.partition(".")
        grouped.setdefault(name, {})[rest] = value
    return grouped


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted path as a tree."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *sections, name = path.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = value
    return tree

"""Values of settings: frozen containers, durations, texts as they were written, and trees of dotted paths."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import timedelta
from enum import Enum
from pathlib import PurePath
from typing import Any, NoReturn, TypeVar

import msgspec
from msgspec import Struct

from spectramind_config.errors import HIDDEN, hidden, is_secret
from spectramind_config.settings import Settings

_K = TypeVar("_K")
_V = TypeVar("_V")


class Written(Struct, frozen=True):
    """A value that was written without quotes: what it is to YAML or Hydra, and its text for a string setting."""

    value: Any
    text: str


def _refuse(self: object, *_: object, **__: object) -> NoReturn:
    raise TypeError("an effective config is frozen, its lists and dicts too; use cfg.with_overrides([…])")


class FrozenList(list[_V]):
    """A list inside a composed config."""

    __slots__ = ()
    __setitem__ = __delitem__ = __iadd__ = __imul__ = append = extend = insert = pop = remove = _refuse
    clear = sort = reverse = _refuse

    def __reduce__(self) -> tuple[type, tuple[list[_V]]]:
        return FrozenList, (list(self),)


class FrozenDict(dict[_K, _V]):
    """A dict inside a composed config."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = pop = popitem = clear = update = setdefault = _refuse

    def __reduce__(self) -> tuple[type, tuple[dict[_K, _V]]]:
        return FrozenDict, (dict(self),)


_CLOCK = r"(?:([0-9]+)(?:-| days?, ))?([0-9]+):([0-5][0-9]):([0-5][0-9](?:\.[0-9]+)?)"
_UNITS = r"(?=[0-9])(?:(N) *d *)?(?:(N) *h *)?(?:(N) *m(?:in)? *)?(?:(N) *s)?".replace("N", r"[0-9]+(?:\.[0-9]*)?")
DURATION = rf"^\s*(?:{_CLOCK}|{_UNITS})\s*$"
"""What ``duration`` takes, as a regular expression."""


def duration(text: str) -> timedelta:
    """A length of time as ``8:30:00``, ``1-12:00:00``, ``9h``, ``1h30m`` or ``1.5d``; ValueError otherwise."""
    if (found := re.fullmatch(_CLOCK, text.strip()) or re.fullmatch(_UNITS, text.strip())) is None:
        raise ValueError
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    try:
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:
        raise ValueError from None


def clock(value: timedelta) -> str:
    """A length of time as ``HH:MM:SS``, which ``duration`` reads back."""
    seconds = value.days * 86400 + value.seconds
    fraction = f".{value.microseconds:06d}".rstrip("0") if value.microseconds else ""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{fraction}"


def entries(value: Any) -> dict[Any, Any]:
    """What is in a dict, a list or tuple (by number) or settings (by name); nothing for any other value."""
    if isinstance(value, Settings):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return dict(enumerate(value) if isinstance(value, list | tuple) else value if isinstance(value, Mapping) else ())


PLAIN = (str, int, float, bool, type(None))
"""Types of values that JSON and YAML have as they are."""


def plain(value: Any) -> Any:
    """A value as JSON and YAML have it: an enum by its name, a path and a duration as text, settings as a dict."""
    if type(value) in PLAIN:
        return value
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping | Settings):
        return {plain(key): plain(item) for key, item in entries(value).items()}
    if isinstance(value, timedelta):
        return clock(value)
    if isinstance(value, Written):
        return value.value
    return str(value) if isinstance(value, PurePath) else value


def shown(value: Any) -> Any:
    """A value as ``plain`` has it, without what is secret in it."""
    value = plain(value)
    if isinstance(value, str):
        return hidden(value) if "://" in value else value
    if isinstance(value, list):
        return list(map(shown, value))
    if isinstance(value, dict):
        return {key: HIDDEN if is_secret(key) and item is not None else shown(item) for key, item in value.items()}
    return value


def same(left: object, right: object) -> bool:
    """Whether two values are equal and of one type: one batch (1) is not the whole split (1.0)."""
    if type(left) is not type(right):
        return isinstance(left, list | dict) and isinstance(right, list | dict) and encoded(left) == encoded(right)
    return encoded(left) == encoded(right) if isinstance(left, list | tuple | dict | Settings) else left == right


def encoded(value: Any) -> bytes:
    """A value as JSON, with sorted keys."""
    return msgspec.json.encode(_with_texts_as_keys(plain(value)), order="sorted")


def _with_texts_as_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _with_texts_as_keys(item) for key, item in value.items()}
    return list(map(_with_texts_as_keys, value)) if isinstance(value, list) else value


def is_interpolation(value: object) -> bool:
    """Whether a raw value, or an element of it, stands for something that is looked up at composition."""
    if isinstance(value, str):
        return "${" in value
    if isinstance(value, list | tuple):
        return any(map(is_interpolation, value))
    if isinstance(value, Mapping):
        return any(map(is_interpolation, value.values()))
    return isinstance(value, Settings) and any(map(is_interpolation, value.__dict__.values()))


def value_at(node: object, path: str) -> Any:
    """The value of a dotted path below a settings object."""
    for name in path.split("."):
        node = getattr(node, name)
    return node


def by_first_name(values: Mapping[str, _V]) -> dict[str, dict[str, _V]]:
    """Values by dotted path, grouped by its first name; a path of one name has the rest ``""``."""
    grouped: dict[str, dict[str, _V]] = {}
    for path, value in values.items():
        name, _, rest = path.partition(".")
        grouped.setdefault(name, {})[rest] = value
    return grouped


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted path as a tree."""
    return {name: inner[""] if "" in inner else nested(inner) for name, inner in by_first_name(values).items()}


def children(paths: Iterable[str], section: str) -> list[str]:
    """The names right below a section, ``""`` for the top."""
    prefix = f"{section}." if section else ""
    return list(dict.fromkeys(path[len(prefix) :].partition(".")[0] for path in paths if path.startswith(prefix)))


def merged(current: Any, changes: Any, *, add: bool = True) -> Any:
    """A dict with some entries replaced, as Hydra merges one; ValueError where one is new, and none is to be added."""
    if not isinstance(changes, dict):
        return changes
    base = entries(current) if isinstance(current, dict | Settings) else {}
    found = {plain(key): plain(item) for key, item in base.items()}
    names = {str(plain(key)): key for key in base}
    for key, value in changes.items():
        name = key.text if isinstance(key, Written) and key.text in names else str(plain(key))
        if name in names:
            found[plain(names[name])] = merged(base[names[name]], value, add=add)
        elif add or not isinstance(current, dict):
            found[key] = value
        else:
            raise ValueError(f"there is no entry '{name}'; to add one, write +")
    return found


def updated(current: Any, inside: Sequence[str], value: Any, *, add: bool) -> Any:
    """A list or dict with one element set, as Hydra sets ``key.inner=value``; ValueError where there is none."""
    first, *rest = inside
    base = entries(current)
    keys = {str(plain(key)): key for key in base}
    if isinstance(current, list | tuple):
        if first not in keys:
            raise ValueError(f"there is no element {first} in a list of {len(current)}")
    elif first not in keys and not (add or current is None or isinstance(current, Settings)):  # A class tells itself.
        raise ValueError(f"there is no entry '{first}'; to add one, write +")
    elif isinstance(keys.get(first), int | float):  # Hydra takes no such key behind a dot.
        key = keys[first]
        raise ValueError(f"{key} is a number, and such an entry is set as a dict: {{{key}:<value>}}")
    key = keys.get(first, first)
    add = add or isinstance(current, Settings)
    if rest:
        changed = updated(base.get(key), rest, value, add=add)
    else:
        changed = value if isinstance(current, list | tuple) else merged(base.get(key), value, add=add)
    found = {plain(one): plain(item) for one, item in base.items()} | {plain(key): changed}
    return list(found.values()) if isinstance(current, list | tuple) else found


VOID: Any = object()
"""What ``element`` gives where there is none"""


def element(value: Any, inside: Sequence[str]) -> Any:
    """What these names lead to in a list, a dict or settings; ``VOID`` where there is nothing of one."""
    for name in inside:
        value = {str(plain(key)): item for key, item in entries(value).items()}.get(name, VOID)
    return value


def quote(value: object) -> str:
    """A value as a message shows it."""
    text = repr(plain(value))
    return text if len(text) <= 80 else text[:77] + "..."

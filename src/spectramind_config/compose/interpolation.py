"""Interpolations: values such as ``${oc.env:SM_CACHE_DIR,.cache}`` that are looked up at composition.

Environment variables and references to other settings are resolved here, which takes a microsecond; everything else
of OmegaConf's interpolation grammar is left to OmegaConf.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from spectramind_config.schema.values import plain

_NAME = r"[A-Za-z_]\w*"
_PLAIN = r"[A-Za-z_./][\w./-]*"
_NESTED = rf"\$\{{oc\.env:{_NAME},{_PLAIN}\}}/[\w./-]*"
_LOOKED_UP = re.compile(
    rf"\$\{{(?:oc\.env:(?P<variable>{_NAME})(?:,(?P<default>{_PLAIN}|{_NESTED}))?|(?P<other>\.*{_NAME}(?:\.{_NAME})*))\}}",
    re.ASCII,
)
_LONGEST = 10_000  # Characters of an interpolated value, as it is written and as it becomes.
_ELSEWHERE = "spectramind.elsewhere"
_LEAF: ContextVar[Callable[[str], Any]] = ContextVar(_ELSEWHERE)  # Several threads may compose at once.
_RESERVED = {"null", "true", "false", "nan", "inf"}


@functools.lru_cache(maxsize=4096)
def _parts(text: str) -> tuple[str | re.Match[str], ...] | None:
    """Texts, and what is looked up between them; None when that needs OmegaConf's full grammar."""
    parts: list[str | re.Match[str]] = []
    position = 0
    for found in _LOOKED_UP.finditer(text):
        default = found["default"]
        if default and (default.lower() in _RESERVED or _parts(default) is None):
            return None
        parts += [text[position : found.start()], found]
        position = found.end()
    parts.append(text[position:])
    if any(isinstance(part, str) and ("${" in part or "\\" in part) for part in parts):
        return None
    return tuple(part for part in parts if part)


def _absolute(other: str, path: str) -> str:
    """The dotted path that ``${group.key}``, or ``${.key}`` of the section that it stands in, refers to."""
    name = other.lstrip(".")
    dots = len(other) - len(name)
    return ".".join([*path.split(".")[:-dots], name]) if dots else name


def references(raw: object, path: str) -> list[str]:
    """The settings that an interpolated string at a path is made of, where that is easily seen."""
    parts = _parts(raw) if isinstance(raw, str) else None
    return [_absolute(part["other"], path) for part in parts or () if isinstance(part, re.Match) and part["other"]]


def variables(raw: object) -> tuple[str, ...]:
    """The environment variables that an interpolated string, or a container of some, reads."""
    return tuple(re.findall(rf"oc\.env:\s*({_NAME})", str(plain(raw))))


def escaped(value: Any) -> Any:
    """A value that is meant as it stands, written so that nothing in it is looked up."""
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", value)
    if isinstance(value, list | tuple):
        return [escaped(item) for item in value]
    return {name: escaped(item) for name, item in value.items()} if isinstance(value, dict) else value


def resolve(raw: Any, path: str, lookup: Callable[[str], Any], tree: Callable[[], dict[str, Any]]) -> Any:
    """The value of an interpolated string, or of a list or dict with interpolated elements, that stands at a path.

    ``lookup`` gives the value of another leaf or raises KeyError, and ``tree`` the whole configuration for OmegaConf:
    this leaf as written, others that are interpolated as ``elsewhere``. A ValueError says which variable is not set,
    which reference leads nowhere, what is wrong with the grammar, or that the value grows too long.
    """
    if len(str(raw)) > _LONGEST:
        raise ValueError(f"an interpolated value has {_LONGEST} characters at most")
    parts = _parts(raw) if isinstance(raw, str) else None
    if parts is not None:
        try:
            values = [_value(part, path, lookup) for part in parts]
            return values[0] if len(values) == 1 else _limited("".join(map(str, values)))
        except KeyError:
            pass
    return _limited(_by_omegaconf(path, tree(), lookup))


def _limited(value: Any) -> Any:
    if len(str(value)) > _LONGEST:
        raise ValueError(f"it becomes longer than {_LONGEST} characters")
    return value


def elsewhere(path: str) -> str:
    """What stands, in the tree for OmegaConf, for another interpolated leaf: it is looked up once, and within limits.

    OmegaConf by itself looks up a leaf as often as it is mentioned, which a few lines can make a billion times.
    """
    return f"${{{_ELSEWHERE}:{path}}}"


def _value(part: str | re.Match[str], path: str, lookup: Callable[[str], Any]) -> Any:
    if isinstance(part, str):
        return part
    variable, default, other = part.groups()
    if other:
        return lookup(_absolute(other, path))
    value = os.environ.get(variable, default)
    if value is None:
        raise ValueError(f"the environment variable {variable} is not set")
    if value is default and "$" in value:
        return "".join(_value(inner, path, lookup) for inner in _parts(value) or ())
    return value


def _by_omegaconf(path: str, tree: dict[str, Any], lookup: Callable[[str], Any]) -> Any:
    failed: list[Exception] = []

    def leaf(other: str) -> Any:
        try:
            return lookup(other)
        except Exception as error:
            failed.append(error)
            raise

    OmegaConf.register_new_resolver(_ELSEWHERE, lambda other: _LEAF.get()(other), replace=True)
    before = _LEAF.set(leaf)
    try:
        value = OmegaConf.select(OmegaConf.create(tree), path, throw_on_missing=True)
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    except RecursionError:
        raise ValueError("the interpolation goes in a circle") from None
    except OmegaConfBaseException as error:
        if failed:
            raise failed[0] from None
        if missing := re.search(r"Environment variable '(.+?)' not found", str(error)):
            raise ValueError(f"the environment variable {missing[1]} is not set") from None
        raise ValueError(str(error).partition("\n")[0]) from None
    finally:
        _LEAF.reset(before)

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
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from spectramind_config.schema.values import plain

_NAME = r"[A-Za-z_]\w*"
_PLAIN = r"[A-Za-z_./][\w./-]*"
_NESTED = rf"\$\{{oc\.env:{_NAME},{_PLAIN}\}}/[\w./-]*"
_SEGMENT = re.compile(
    rf"\$\{{(?:oc\.env:(?P<env>{_NAME})(?:,(?P<default>{_PLAIN}|{_NESTED}))?|(?P<ref>\.*{_NAME}(?:\.{_NAME})*))\}}",
    re.ASCII,
)
_LONGEST = 10_000  # Characters of an interpolated value, as it is written and as it becomes.
_ELSEWHERE = "spectramind.elsewhere"
_LEAF: ContextVar[Callable[[str], Any]] = ContextVar(_ELSEWHERE)  # Several threads may compose at once.
_RESERVED = {"null", "true", "false", "nan", "inf"}


@dataclass(frozen=True)
class Environment:
    """``${oc.env:NAME,default}``."""

    name: str
    default: str | None


@dataclass(frozen=True)
class Reference:
    """``${group.key}`` from the root, or ``${.key}`` from the section that it stands in."""

    path: str

    def absolute(self, path: str) -> str:
        """The dotted path from the root, for a reference that stands at ``path``."""
        name = self.path.lstrip(".")
        dots = len(self.path) - len(name)
        return name if dots == 0 else ".".join([*path.split(".")[:-dots], name])


class InterpolationError(ValueError):
    """An interpolation cannot be resolved; the message says why."""


@functools.lru_cache(maxsize=4096)
def segments(text: str) -> tuple[str | Environment | Reference, ...] | None:
    """The parts of an interpolated string, or None when it needs OmegaConf's full grammar."""
    parts: list[str | Environment | Reference] = []
    position = 0
    for match in _SEGMENT.finditer(text):
        parts.append(text[position : match.start()])
        position = match.end()
        env, default, ref = match.group("env", "default", "ref")
        if default and (default.lower() in _RESERVED or segments(default) is None):
            return None
        parts.append(Environment(env, default) if env else Reference(ref))
    parts.append(text[position:])
    literals = [part for part in parts if isinstance(part, str)]
    if any("${" in part or "\\" in part for part in literals):
        return None
    return tuple(part for part in parts if part != "")


def escaped(value: Any) -> Any:
    """A value that is meant as it stands, written so that nothing in it is looked up."""
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", value)
    if isinstance(value, list | tuple):
        return [escaped(item) for item in value]
    return {name: escaped(item) for name, item in value.items()} if isinstance(value, dict) else value


def variables(raw: object) -> tuple[str, ...]:
    """The environment variables that an interpolated string, or a container of some, reads."""
    return tuple(re.findall(rf"oc\.env:\s*({_NAME})", str(plain(raw))))


def resolve(raw: Any, path: str, lookup: Callable[[str], Any], tree: Callable[[], dict[str, Any]]) -> Any:
    """The value of an interpolated string, or of a list or dict with interpolated elements.

    Args:
        raw: What was written.
        path: The dotted path that it stands at.
        lookup: Gives the resolved value of another leaf; raises KeyError where there is none.
        tree: Gives the whole configuration for OmegaConf: this leaf as written, others that are interpolated as
            :func:`elsewhere`.

    Raises:
        InterpolationError: A variable is not set, a reference leads nowhere or in a circle, the grammar is broken.
    """
    if len(str(raw)) > _LONGEST:
        raise InterpolationError(f"an interpolated value has {_LONGEST} characters at most")
    parts = segments(raw) if isinstance(raw, str) else None
    if parts is None:
        return _limited(_by_omegaconf(path, tree(), lookup))
    try:
        values = [_value(part, path, lookup) for part in parts]
    except KeyError:
        return _limited(_by_omegaconf(path, tree(), lookup))
    return values[0] if len(values) == 1 else _limited("".join(map(str, values)))


def _limited(value: Any) -> Any:
    if len(str(value)) > _LONGEST:
        raise InterpolationError(f"it becomes longer than {_LONGEST} characters")
    return value


def elsewhere(path: str) -> str:
    """What stands, in the tree for OmegaConf, for another interpolated leaf: it is looked up once, and within limits.

    OmegaConf by itself looks up a leaf as often as it is mentioned, which a few lines can make a billion times.
    """
    return f"${{{_ELSEWHERE}:{path}}}"


def _value(part: str | Environment | Reference, path: str, lookup: Callable[[str], Any]) -> Any:
    if isinstance(part, str):
        return part
    if isinstance(part, Reference):
        return lookup(part.absolute(path))
    value = os.environ.get(part.name, part.default)
    if value is None:
        raise InterpolationError(f"the environment variable {part.name} is not set")
    if value is part.default and "$" in value:
        return "".join(str(_value(inner, path, lookup)) for inner in segments(value) or ())
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
        raise InterpolationError("the interpolation goes in a circle") from None
    except OmegaConfBaseException as error:
        if failed:
            raise failed[0] from None
        if missing := re.search(r"Environment variable '(.+?)' not found", str(error)):
            raise InterpolationError(f"the environment variable {missing[1]} is not set") from None
        raise InterpolationError(str(error).partition("\n")[0]) from None
    finally:
        _LEAF.reset(before)

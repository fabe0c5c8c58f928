"""The types that a setting can have, and what each makes of a raw value.

Scalars go through OmegaConf's conversion, so that the result equals Hydra's (``precision=32`` is the string "32"), then
through the limits of the declaration.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct
from omegaconf import BooleanNode, FloatNode, IntegerNode, StringNode
from omegaconf.errors import OmegaConfBaseException

from spectramind_config.schema.values import FrozenDict, FrozenList, Written, duration, quote

SCALARS: Mapping[Any, Any] = {bool: BooleanNode, int: IntegerNode, float: FloatNode, str: StringNode}
LIMITS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
SIZES = ("min_length", "max_length", "pattern")
_WITHIN: Mapping[str, Callable[[Any, Any], bool]] = {
    "ge": lambda value, bound: value >= bound,
    "gt": lambda value, bound: value > bound,
    "le": lambda value, bound: value <= bound,
    "lt": lambda value, bound: value < bound,
    "min_length": lambda value, bound: len(value) >= bound,
    "max_length": lambda value, bound: len(value) <= bound,
    "pattern": lambda value, bound: re.search(bound, value) is not None,
}
_ARTICLES = {int: "an int", float: "a float", str: "a string", bool: "true or false", Path: "a path"}
_ARTICLES[timedelta] = "a length of time such as 8:30:00, 9h or 1h30m"


class Kind(Struct, frozen=True, dict=True):
    """One member of a declared union."""

    type: Any  # One of ``SCALARS``, ``Path``, ``timedelta``, ``Literal``, list, tuple, dict, an enum, a settings class.
    limits: tuple[tuple[str, Any], ...] = ()  # Such as ``("ge", 1)``.
    items: tuple[Type, ...] = ()  # The types of its elements: of a list one, of a dict two, of a tuple one for each.
    choices: tuple[Any, ...] = ()  # The values of a closed set.
    open: bool = False  # Whether a tuple has any number of elements.
    build: Callable[[Any, Any], Any] | None = None  # Makes frozen settings of a settings class and a dict.

    @property
    def bare(self) -> tuple[Any, ...]:
        """The type without limits, to compare declarations by."""
        return (self.type, self.choices, self.open, *(item.bare for item in self.items))

    @property
    def is_container(self) -> bool:
        """Whether values have parts: a list, tuple, dict, or optional settings."""
        return self.type in (list, tuple, dict) or self.build is not None

    @functools.cached_property
    def words(self) -> str:
        """Type, limits and choices, such as ``an int >= 1``."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        parts = ", ".join(re.sub("^an? ", "", item.words) for item in self.items)
        if self.type is tuple and not self.open:
            name = f"a list [{parts}]"
        elif self.type in (list, tuple, dict):
            name = f"a {'dict' if self.type is dict else 'list'} of {parts}"
        else:
            name = _ARTICLES.get(self.type) or f"settings of {self.type.__name__}"
        words = []
        for limit, bound in self.limits:
            if limit == "pattern":
                return f"a string that matches {bound}"
            if limit in LIMITS:
                words.append(f"{LIMITS[limit]} {bound:g}" if abs(bound) < 1e6 else f"{LIMITS[limit]} {bound}")
            elif (limit, bound) == ("min_length", 1):
                words.append("that is not empty")
            else:
                words.append(f"of at {'least' if limit == 'min_length' else 'most'} {bound}")
        return f"{name} {' and '.join(words)}".rstrip()

    def convert(self, raw: Any, *, exact: bool) -> Any:
        """The value that a raw one stands for; ``exact`` takes no other type, as among the members of a union.

        Raises:
            TypeError, KeyError, OmegaConfBaseException: It is of another type.
            ValueError: It breaks a limit, which goes without saying; or it is wrong inside, as the message tells.
        """
        kind = self.type
        if self.choices:
            value = self._choice(raw)
        elif kind in (list, tuple) and isinstance(raw, list | tuple):
            items = self.items if kind is tuple and not self.open else self.items * len(raw)
            if len(items) != len(raw):
                raise TypeError
            converted = [item.convert(one) for item, one in zip(items, raw, strict=True)]
            value = FrozenList(converted) if kind is list else tuple(converted)
        elif kind is dict and isinstance(raw, Mapping):
            keys, values = self.items
            value = FrozenDict({keys.convert(key): values.convert(one) for key, one in raw.items()})
        elif self.build is not None:
            value = self.build(kind, raw)
        elif type(raw) is kind or (kind is Path and isinstance(raw, Path)):
            value = raw
        elif kind in (Path, timedelta) and isinstance(raw, str):
            value = Path(raw) if kind is Path else duration(raw)
        elif kind in SCALARS and not exact:
            value = SCALARS[kind](raw)._value()
            if not isinstance(value, kind):  # OmegaConf lets every node hold the text of an interpolation.
                raise TypeError
        else:
            raise TypeError
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{value} is not a finite number")
        if isinstance(value, str):
            if value == "???":
                raise ValueError("'???' is not a value, it marks a missing one")
            if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
                raise ValueError(f"{value!a} is not a valid Unicode text, so it cannot be saved")
        if not all(_WITHIN[limit](value, bound) for limit, bound in self.limits):
            raise ValueError
        return value

    def _choice(self, raw: Any) -> Any:
        if self.type is not Literal:
            return raw if isinstance(raw, self.type) else self.type[str(raw).removeprefix(f"{self.type.__name__}.")]
        for choice in self.choices:
            if type(raw) is type(choice) and raw == choice:
                return choice
        if type(raw) in (int, float) and str(raw) in self.choices:
            return str(raw)
        raise TypeError


class Type(Struct, frozen=True, dict=True):
    """A declared type: the members of its union, and whether null is allowed."""

    kinds: tuple[Kind, ...]
    optional: bool = False

    @property
    def bare(self) -> frozenset[Any]:
        """The types without limits."""
        return frozenset(kind.bare for kind in self.kinds)

    @property
    def choices(self) -> tuple[str, ...]:
        """The words of its closed sets."""
        return tuple(str(choice) for kind in self.kinds for choice in kind.choices)

    @functools.cached_property
    def words(self) -> str:
        """Types, limits and choices, such as ``an int >= 1, or one of auto, cpu, mps``."""
        return ", or ".join(dict.fromkeys([*(kind.words for kind in self.kinds), *["null"] * self.optional]))

    def convert(self, raw: Any) -> Any:
        """Convert and check a raw value.

        Raises:
            ValueError: The value has the wrong type or breaks a limit; the message says which.
        """
        raw, text = (raw.value, raw.text) if type(raw) is Written else (raw, None)
        if raw is None:
            if self.optional:
                return None
            raise ValueError("null is not allowed")
        several, told = len(self.kinds) > 1, ""
        for value in (raw,) if text is None else (raw, text):
            for kind in self.kinds:
                # A string setting takes what was typed, not what a number in it looks like.
                if text is not None and value is raw and kind.type is str and not isinstance(raw, str):
                    continue
                try:
                    return kind.convert(value, exact=several or value is text)
                except (TypeError, KeyError, OverflowError, OmegaConfBaseException):  # No float holds 10**400.
                    continue
                except ValueError as error:
                    told = told or str(error)
        if told:
            raise ValueError(told)
        shown = raw if text is None or not any(kind.type in (str, Literal) for kind in self.kinds) else text
        raise ValueError(f"{quote(shown)} is not {self.words}")

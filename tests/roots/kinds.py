"""Every type that a setting can have, with values as each command takes them, and a module that declares them all."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Case:
    """One type.

    Attributes:
        name: Of the field.
        type: The annotation.
        default: An expression.
        given: Texts as the command line takes them, with the value that each means.
        inside: Overrides of an element (what stands behind the field's name), with the whole value that results.
        wrong: Texts that are refused.
    """

    name: str
    type: str
    default: str
    given: dict[str, str]
    inside: dict[str, str] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()

    @property
    def optional(self) -> bool:
        """Whether null is a value."""
        return self.type.endswith("| None") or self.type.startswith("Optional")


def _row(name: str, type_: str, default: str, given: dict[str, str], **more: Any) -> Case:
    return Case(name, type_, default, given, **more)


SCALARS = [
    _row("flag", "bool", "False", {"true": "True", "FALSE": "False"}, wrong=("maybe", "1.5", "[true]")),
    _row("count", "int", "3", {"-7": "-7", "0": "0"}, wrong=("1.5", "x", "[1]", "{a:1}")),
    _row("ratio", "float", "0.5", {"2": "2.0", "1e-3": "0.001"}, wrong=("x", "nan", "inf", "[1.0]")),
    _row("text", "str", "'a'", {"7e12345": "'7e12345'", "'x y'": "'x y'", "on": "'on'"}, wrong=("[a]", "{a:b}")),
    _row("word", "Literal['a', 'b']", "'a'", {"b": "'b'"}, wrong=("c", "1", "[a]")),
    _row("digits", "Literal['8', '16']", "'8'", {"16": "'16'"}, wrong=("32", "x")),
    _row("level", "Literal[1, 2]", "1", {"2": "2"}, wrong=("3", "x", "true")),
    _row("mixed", "Literal['auto', 1, True]", "'auto'", {"1": "1", "true": "True"}, wrong=("2", "x")),
    _row("colour", "Colour", "Colour.RED", {"BLUE": "Colour.BLUE", "Colour.BLUE": "Colour.BLUE"}, wrong=("b", "PINK")),
    _row("mode", "Mode", "Mode.FAST", {"SLOW": "Mode.SLOW"}, wrong=("NO", "[FAST]")),
    _row("spot", "Path", "Path('a/b')", {"/x/y": "Path('/x/y')", "010": "Path('010')"}, wrong=("[a]", "{a:b}")),
    _row(
        "time",
        "timedelta",
        "timedelta(hours=1)",
        {"9h": "timedelta(hours=9)", "12:30:00": "timedelta(hours=12, minutes=30)"},
        wrong=("soon", "[1]"),
    ),
    _row("length", "sc.Duration", "timedelta(minutes=90)", {"8:30:00": "timedelta(hours=8.5)"}, wrong=("x", "-1h")),
    _row("number", "int | float", "1", {"2": "2", "2.0": "2.0"}, wrong=("x", "true")),
    _row("cards", "int | Literal['auto']", "'auto'", {"4": "4", "auto": "'auto'"}, wrong=("x", "1.5")),
    _row("place", "Path | int", "1", {"/a": "Path('/a')", "7": "7"}, wrong=("[a]",)),
    _row("either", "int | str", "1", {"x": "'x'", "'5'": "'5'"}, wrong=("[1]",)),
    _row("hue", "Colour | int", "Colour.RED", {"BLUE": "Colour.BLUE", "3": "3"}, wrong=("PINK",)),
    _row("wait", "timedelta | Literal['never']", "'never'", {"1h": "timedelta(hours=1)", "never": "'never'"}),
]
OPTIONAL = [
    Case(f"maybe_{one.name}", f"{one.type} | None", "None", one.given, wrong=one.wrong)
    for one in SCALARS
    if one.name not in ("hue", "place")
]
CONTAINERS = [
    _row("ints", "list[int]", "[1, 2]", {"[3]": "[3]", "[]": "[]"}, inside={".0=7": "[7, 2]"}, wrong=("[x]", "3")),
    _row("floats", "list[float]", "[0.5]", {"[1,2.5]": "[1.0, 2.5]"}, inside={".0=3": "[3.0]"}, wrong=("[x]",)),
    _row("texts", "list[str]", "['a']", {"[1.10,on]": "['1.10', 'on']"}, inside={".0=010": "['010']"}),
    _row("flags", "list[bool]", "[True]", {"[false]": "[False]"}, inside={".0=false": "[False]"}, wrong=("[x]",)),
    _row("words", "list[Literal['a', 'b']]", "['a']", {"[b,a]": "['b', 'a']"}, inside={".0=b": "['b']"}),
    _row("colours", "list[Colour]", "[Colour.RED]", {"[BLUE]": "[Colour.BLUE]"}, inside={".0=BLUE": "[Colour.BLUE]"}),
    _row("routes", "list[Path]", "[Path('a')]", {"[/b,c]": "[Path('/b'), Path('c')]"}, inside={".0=z": "[Path('z')]"}),
    _row("times", "list[timedelta]", "[timedelta(hours=1)]", {"[9h]": "[timedelta(hours=9)]"}, wrong=("[x]",)),
    _row("lengths", "list[sc.Duration]", "[timedelta(hours=1)]", {"[9h]": "[timedelta(hours=9)]"}, wrong=("[x]",)),
    _row("either_list", "list[int | Literal['auto']]", "['auto']", {"[1,auto]": "[1, 'auto']"}, wrong=("[x]",)),
    _row("holes", "list[int | None]", "[None, 1]", {"[null,2]": "[None, 2]"}, inside={".1=null": "[None, None]"}),
    _row("grid", "list[list[int]]", "[[1], [2, 3]]", {"[[4]]": "[[4]]"}, inside={".1.0=9": "[[1], [9, 3]]"}),
    _row("pair", "tuple[int, int]", "(1, 2)", {"[3,4]": "(3, 4)"}, inside={".1=9": "(1, 9)"}, wrong=("[1]", "[1,2,3]")),
    _row("odd_pair", "tuple[int, str]", "(1, 'a')", {"[3,b]": "(3, 'b')", "[3,010]": "(3, '010')"}, wrong=("[a,1]",)),
    _row("open", "tuple[float, ...]", "(0.5,)", {"[1,2]": "(1.0, 2.0)", "[]": "()"}, inside={".0=1": "(1.0,)"}),
    _row("times2", "tuple[timedelta, ...]", "()", {"[9h,1m]": "(timedelta(hours=9), timedelta(minutes=1))"}),
    _row(
        "table",
        "dict[str, int]",
        "{'a': 1}",
        {"{a:2}": "{'a': 2}"},
        inside={".a=9": "{'a': 9}"},
        wrong=("{a:x}", "{b:2}", "3"),
    ),
    _row(
        "rates",
        "dict[str, list[float]]",
        "{'a': [0.5]}",
        {"{a:[1]}": "{'a': [1.0]}"},
        inside={".a.0=2": "{'a': [2.0]}"},
    ),
    _row("by_int", "dict[int, str]", "{1: 'a'}", {"{1:b}": "{1: 'b'}"}),
    _row("by_colour", "dict[Colour, int]", "{Colour.RED: 1}", {"{RED:2}": "{Colour.RED: 2}"}),
    _row(
        "spots",
        "dict[str, Path]",
        "{'a': Path('x')}",
        {"{a:/y}": "{'a': Path('/y')}"},
        inside={".a=q": "{'a': Path('q')}"},
    ),
    _row(
        "deep",
        "dict[str, dict[str, int]]",
        "{'a': {'b': 1}}",
        {"{a:{b:2}}": "{'a': {'b': 2}}"},
        inside={".a.b=5": "{'a': {'b': 5}}"},
    ),
    _row("pairs", "list[tuple[int, str]]", "[(1, 'a')]", {"[[2,b]]": "[(2, 'b')]"}, inside={".0.1=c": "[(1, 'c')]"}),
    _row("maybe_ints", "list[int] | None", "None", {"[1]": "[1]"}, wrong=("x",)),
    _row("maybe_pair", "tuple[int, int] | None", "(1, 2)", {"[3,4]": "(3, 4)"}, wrong=("[1]",)),
    _row("maybe_table", "dict[str, int] | None", "None", {"{a:1}": "{'a': 1}"}, wrong=("x",)),
    _row("one_or_many", "int | list[int]", "1", {"2": "2", "[1,2]": "[1, 2]"}, wrong=("x", "[x]")),
]
SETTINGS = [
    _row(
        "inner",
        "Inner",
        "Inner()",
        {"{depth:4}": "Inner(depth=4)", "{label:010,sizes:[5]}": "Inner(label='010', sizes=[5])"},
        inside={
            ".depth=5": "Inner(depth=5)",
            ".sizes.0=9": "Inner(sizes=[9, 2])",
            ".tone=BLUE": "Inner(tone=Colour.BLUE)",
        },
        wrong=("{depth:-1}", "{dpeth:1}", "3"),
    ),
    _row(
        "outer",
        "Outer",
        "Outer()",
        {"{inner:{depth:4}}": "Outer(inner=Inner(depth=4))"},
        inside={".inner.depth=5": "Outer(inner=Inner(depth=5))"},
        wrong=("{inner:{depth:-1}}",),
    ),
    _row(
        "maybe_inner",
        "Inner | None",
        "None",
        {"{}": "Inner()", "{depth:4}": "Inner(depth=4)"},
        inside={".depth=5": "Inner(depth=5)"},
        wrong=("{depth:-1}", "{dpeth:1}", "3"),
    ),
    _row(
        "some_inner",
        "Inner | None",
        "Inner(depth=2)",
        {"{label:b}": "Inner(depth=2, label='b')"},
        inside={".depth=5": "Inner(depth=5)"},
    ),
    _row(
        "stack",
        "list[Inner]",
        "[Inner()]",
        {"[{depth:4}]": "[Inner(depth=4)]", "[]": "[]"},
        inside={".0.depth=5": "[Inner(depth=5)]"},
        wrong=("[{depth:-1}]", "[3]"),
    ),
    _row(
        "by_label",
        "dict[str, Inner]",
        "{'a': Inner()}",
        {"{a:{depth:4}}": "{'a': Inner(depth=4)}"},
        inside={".a.depth=5": "{'a': Inner(depth=5)}"},
        wrong=("{a:{depth:-1}}", "{a:3}", "{b:{depth:1}}"),
    ),
    _row(
        "tuple_of",
        "tuple[Inner, ...]",
        "(Inner(),)",
        {"[{depth:4}]": "(Inner(depth=4),)"},
        inside={".0.depth=5": "(Inner(depth=5),)"},
    ),
    _row(
        "outers",
        "list[Outer]",
        "[Outer()]",
        {"[{inner:{depth:4}}]": "[Outer(inner=Inner(depth=4))]"},
        inside={".0.inner.depth=5": "[Outer(inner=Inner(depth=5))]"},
    ),
]
CASES = [*SCALARS, *OPTIONAL, *CONTAINERS, *SETTINGS]
BY_NAME = {case.name: case for case in CASES}

HEAD = '''\
"""Generated: every type that a setting can have."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal, Optional

import spectramind_config as sc


class Colour(Enum):
    RED = 1
    BLUE = "b"


class Mode(str, Enum):
    FAST = "fast"
    SLOW = "slow"


@dataclass(kw_only=True)
class Inner(sc.Settings):
    """Settings inside settings."""

    depth: Annotated[int, sc.about("How deep", ge=0)] = 1
    label: str = "a"
    sizes: list[int] = field(default_factory=lambda: [1, 2])
    tone: Colour = Colour.RED


@dataclass(kw_only=True)
class Outer(sc.Settings):
    """Settings in settings inside settings."""

    inner: Inner = field(default_factory=Inner)
    where: Path = Path("w")
'''


def body(cases: list[Case], *, changed: bool = False) -> str:
    """The fields of a class, with the defaults or with other values."""
    lines = []
    for case in cases:
        value = next(iter(case.given.values())) if changed else case.default
        mutable = value.startswith(("[", "{", "Inner", "Outer")) or "Inner(" in value
        text = f"field(default_factory=lambda: {value})" if mutable else value
        lines.append(f"    {case.name}: {case.type} = {text}")
        lines.append(f'    """What {case.name} is for"""')
    return "\n".join(lines)


def source(cases: list[Case], number: int = 0) -> str:
    """A module with a root of its own, and profiles for two shipped groups, that have all the fields."""
    fields = body(cases)
    changes = "\n".join(f"        made.{case.name} = {next(iter(case.given.values()))}" for case in cases)
    suggested = f"""
    @classmethod
    def suggested(cls, name: str):
        made = cls()
{changes}
        return made, {{}}, "Made up."
"""
    return f'''{HEAD}

@dataclass(kw_only=True)
class ThingConfig(sc.Profile):
    """A group that has them all."""

{fields}
{suggested}

@sc.root("kinds{number}", variable="KINDS_PROFILES")
@dataclass(frozen=True, kw_only=True)
class Kinds(sc.Config):
    """A root that has them all."""

    thing: ThingConfig = sc.group("plain")
{fields}


@sc.profile("thing", "plain")
@dataclass(kw_only=True)
class Plain(ThingConfig):
    """Defaults."""


@sc.profile("thing", "changed")
@dataclass(kw_only=True)
class Changed(ThingConfig):
    """Other values."""

{body(cases, changed=True)}


@sc.profile("local", "kinds{number}")
@dataclass(kw_only=True)
class KindsLocal(sc.LocalConfig):
    """A site's own fields."""

{fields}


@sc.profile("model", "kinds{number}")
@dataclass(kw_only=True)
class KindsModel(sc.ModelConfig):
    """A model's own fields."""

{fields}
'''


def load(folder: Path, text: str, name: str) -> ModuleType:
    """A module of this text, which pickles and ``profiles new`` find by its name."""
    file = folder / f"{name}.py"
    file.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

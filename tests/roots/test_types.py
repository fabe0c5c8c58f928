"""Every type that a setting can have works in every command, for shipped groups and for a stranger's root."""

from __future__ import annotations

import copy
import functools
import json
import pickle
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import jsonschema
import pytest
import yaml
from hydra import compose as hydra_compose
from hydra import initialize

import spectramind_config as sc
from spectramind_config.commands.json_schema import config_schema
from spectramind_config.commands.program import Program
from spectramind_config.schema.registry import REGISTRY
from spectramind_config.schema.values import plain

from .kinds import BY_NAME, CASES, Case, load, source

PLACES = ("thing", "", "local", "model")
"""A stranger's group, a stranger's own settings, and two shipped groups with a profile that adds the fields."""


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The module that declares everything."""
    before = REGISTRY._known
    yield load(tmp_path_factory.mktemp("kinds"), source(CASES), "generated_kinds")
    REGISTRY._known = before
    del sys.modules["generated_kinds"]


@pytest.fixture(params=PLACES, ids=["group", "own", "local", "model"])
def place(request: pytest.FixtureRequest) -> str:
    """Where the field stands."""
    found: str = request.param
    return found


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    """Each type."""
    found: Case = request.param
    return found


class Tried:
    """A field in one place: how it is written, and what it means."""

    def __init__(self, kinds: ModuleType, place: str, case: Case) -> None:
        self.kinds, self.case = kinds, case
        self.root, self.choice = rooted(kinds, place)
        self.place = place
        self.key = f"{place}.{case.name}" if place else case.name

    def compose(self, *overrides: str) -> sc.Config:
        """A config with the field."""
        return sc.compose([*self.choice, *overrides], root=self.root)

    def value(self, config: sc.Config) -> Any:
        """The field's value."""
        node = getattr(config, self.place) if self.place else config
        return getattr(node, self.case.name)

    def means(self, expression: str) -> Any:
        """The value that an expression of the table stands for."""
        return eval(expression, vars(self.kinds))  # noqa: S307 - of the table.

    def given(self) -> list[tuple[str, Any]]:
        """Overrides, and the value that each results in."""
        found = [(f"{self.key}={text}", self.means(expression)) for text, expression in self.case.given.items()]
        found += [(f"{self.key}{text}", self.means(expression)) for text, expression in self.case.inside.items()]
        return found + [(f"{self.key}=null", None)] * self.case.optional


def rooted(kinds: ModuleType, place: str) -> tuple[type[sc.Config], list[str]]:
    """The root that has a place, and the choice of profile that gives it the fields."""
    return (kinds.Kinds, []) if place in ("thing", "") else (sc.EffectiveConfig, [f"{place}=kinds0"])


class Batch:
    """The n-th override of every type, in one place, in one command line."""

    def __init__(self, kinds: ModuleType, place: str, number: int) -> None:
        self.root, self.choice = rooted(kinds, place)
        self.tried = [Tried(kinds, place, case) for case in CASES]
        self.expected = {one.key: found[number] for one in self.tried if len(found := one.given()) > number}
        self.words = [*self.choice, *(override for override, _ in self.expected.values())]
        self.config = sc.compose(self.words, root=self.root)

    def differing(self, config: sc.Config) -> list[str]:
        """The fields that do not have the value which was asked for."""
        return [
            f"{override} gave {one.value(config)!r}"
            for one in self.tried
            if one.key in self.expected
            for override, value in [self.expected[one.key]]
            if not same(one.value(config), value)
        ]

    def run(self, *words: str) -> int:
        """The exit code of a command."""
        return Program(self.root, "app").main(list(words))


BATCHES = max(len(case.given) + len(case.inside) + case.optional for case in CASES)


@pytest.fixture(scope="module")
def batches(kinds: ModuleType) -> Callable[[str, int], Batch]:
    """Each batch is composed once."""
    return functools.cache(lambda place, number: Batch(kinds, place, number))


@pytest.fixture(params=range(BATCHES))
def batch(batches: Callable[[str, int], Batch], place: str, request: pytest.FixtureRequest) -> Batch:
    """The n-th override of every type in each place."""
    return batches(place, request.param)


def same(left: Any, right: Any) -> bool:
    """Equal, and of one type all the way down; a frozen list is a list."""
    if isinstance(left, list | tuple):
        alike = isinstance(right, list | tuple) and isinstance(right, list) == isinstance(left, list)
        return alike and len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return (
            isinstance(right, dict) and left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
        )
    if isinstance(left, sc.Settings):
        return type(left) is type(right) and same(fields_of(left), fields_of(right))
    return type(left) is type(right) and left == right


def fields_of(node: sc.Settings) -> dict[str, Any]:
    """The fields of settings by name."""
    return {name: getattr(node, name) for name in node.__dataclass_fields__}


def test_the_default_is_what_the_class_says(kinds: ModuleType, place: str) -> None:
    """Composing without overrides gives the declared value, of the declared type."""
    root, choice = rooted(kinds, place)
    config = sc.compose(choice, root=root)
    tried = [Tried(kinds, place, case) for case in CASES]
    assert [one.key for one in tried if not same(one.value(config), one.means(one.case.default))] == []


def test_an_override_gives_the_typed_value(batch: Batch) -> None:
    """Whole values and single elements from the command line, each alone and all of them together."""
    assert batch.differing(batch.config) == []
    for one in batch.tried:
        if one.key in batch.expected:
            override, expected = batch.expected[one.key]
            assert same(one.value(one.compose(override)), expected), override


def test_null_is_refused_where_it_is_not_allowed(kinds: ModuleType, place: str, case: Case) -> None:
    """For what is not optional it is a mistake that names the override."""
    tried = Tried(kinds, place, case)
    if not case.optional:
        with pytest.raises(sc.ConfigError, match=f"{tried.key}=null"):
            tried.compose(f"{tried.key}=null")


def test_what_does_not_fit_is_told(kinds: ModuleType, place: str, case: Case) -> None:
    """A value of another type is one problem that names the override."""
    tried = Tried(kinds, place, case)
    for text in case.wrong:
        with pytest.raises(sc.ConfigError) as caught:
            tried.compose(f"{tried.key}={text}")
        assert len(caught.value.problems) == 1
        assert caught.value.problems[0].what.startswith(f"{tried.key}={text}"), text


def test_a_config_with_them_pickles(batch: Batch) -> None:
    """Pickle, cloudpickle and deepcopy keep values, fingerprint and origins."""
    pickled = (pickle.dumps(batch.config), cloudpickle.dumps(batch.config))
    for again in (*map(pickle.loads, pickled), copy.deepcopy(batch.config)):
        assert batch.differing(again) == []
        assert again.fingerprint == batch.config.fingerprint
        assert [one.to_dict() for one in again.origins()] == [one.to_dict() for one in batch.config.origins()]


@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["yaml", "json"])
def test_a_saved_config_reads_back(
    batch: Batch, flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What config show prints, as YAML and as JSON, is the same config again, and any reader of YAML sees the same."""
    assert batch.run("config", "show", *batch.words, *flags) == 0
    file = tmp_path / "saved.yaml"
    file.write_text(capsys.readouterr().out, encoding="utf-8")
    again = sc.from_file(file, root=batch.root)
    assert batch.differing(again) == []
    assert again.fingerprint == batch.config.fingerprint
    assert batch.run("config", "hash", "--file", str(file)) == 0
    assert capsys.readouterr().out.strip() == batch.config.fingerprint
    read = json.loads if flags else functools.partial(yaml.load, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    assert json.dumps(read(file.read_text(encoding="utf-8"))) == json.dumps(batch.config.to_dict())


def test_explain_tells_who_set_it(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    """The story of each field and its row as JSON, with the declaration that the override shadows."""
    assert batch.run("config", "explain", *batch.words, "--json") == 0
    rows = [row for row in json.loads(capsys.readouterr().out) if row["layer"] == "override"]
    told = {row["option"]: row for row in rows}
    for one in batch.tried:
        override, expected = batch.expected.get(one.key, ("", None))
        if override and expected is not None:
            assert told[override]["key"].startswith(one.key)
            for shadowed in told[override]["shadowed"][:1]:
                assert "generated_kinds.py:" in shadowed["source"]
            assert told[override]["shadowed"] or one.case.default == "None", override
    keys = [row["key"] for row in rows]
    assert batch.run("config", "explain", *batch.words, *keys) == 0
    printed = capsys.readouterr().out
    assert [
        override for override, value in batch.expected.values() if value is not None and override not in printed
    ] == []
    assert batch.run("config", "explain", *batch.words) == 0
    assert all(one.case.name in printed for one in batch.tried if one.key in keys)


def test_the_schema_takes_what_is_shown(schemas: Callable[[type[sc.Config]], Any], batch: Batch) -> None:
    """The JSON Schema accepts every valid config."""
    schemas(batch.root).validate(json.loads(json.dumps(batch.config.to_dict())))


def test_the_schema_refuses_what_does_not_fit(schemas: Callable[[type[sc.Config]], Any], kinds: ModuleType) -> None:
    """A value that no type could mean, at each field of the foreign root."""
    shown = json.dumps(sc.compose([], root=kinds.Kinds).to_dict())
    for case in CASES:
        broken = json.loads(shown)
        broken[case.name] = [[{"no": {}}]]
        assert not schemas(kinds.Kinds).is_valid(broken), case.name


@pytest.fixture(scope="module")
def schemas(kinds: ModuleType) -> Callable[[type[sc.Config]], Any]:
    """A validator for each root."""
    made = {root: config_schema(root) for root in (kinds.Kinds, sc.EffectiveConfig)}
    for one in made.values():
        jsonschema.Draft202012Validator.check_schema(one)
    return lambda root: jsonschema.Draft202012Validator(made[root])


@pytest.mark.parametrize("group", ["thing", "local", "model"])
def test_the_schema_of_a_group_describes_each_field(
    kinds: ModuleType, group: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command prints JSON with the description of every field."""
    assert Program(rooted(kinds, group)[0], "app").main(["config", "schema", "--group", group]) == 0
    printed = capsys.readouterr().out
    json.loads(printed)
    inside = ("inner", "outer")  # Their settings are described, not they.
    assert [one.name for one in CASES if f"What {one.name} is for" not in printed and one.name not in inside] == []


def test_a_difference_is_shown(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    """``config diff`` names each field that differs, and exits with 1 on request."""
    left, right = (shlex.join(words) for words in (batch.choice, batch.words))
    assert batch.run("config", "diff", left, right, "--exit-code") == 1
    shown = capsys.readouterr().out
    assert batch.run("config", "diff", left, right, "--json") == 0
    paths = [row["path"] for row in json.loads(capsys.readouterr().out)]
    usual = sc.compose(batch.choice, root=batch.root)
    for one in batch.tried:
        if one.key in batch.expected and not same(one.value(usual), batch.expected[one.key][1]):
            assert any(path.startswith(one.key) for path in paths), one.key
            assert one.key in shown


def test_the_fingerprint_counts_it(kinds: ModuleType, case: Case) -> None:
    """Another value has another fingerprint, the same value the same."""
    tried = Tried(kinds, "thing", case)
    override = tried.given()[0][0]
    assert tried.compose(override).fingerprint == tried.compose(override).fingerprint != tried.compose().fingerprint


def as_yaml(value: Any) -> Any:
    """A value as a file says it."""
    return json.loads(json.dumps(plain(value)))


@pytest.mark.parametrize("group", ["thing", "local", "model"])
@pytest.mark.parametrize("number", [0, 1])
def test_an_overlay_sets_them(
    batches: Callable[[str, int], Batch],
    group: str,
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A YAML overlay of a profile with every field; its import as Python that loads and means the same."""
    batch = batches(group, number)
    content: dict[str, Any] = {"defaults": ["plain" if group == "thing" else "kinds0", "_self_"]}
    for one in batch.tried:
        if one.key in batch.expected:
            content[one.case.name] = json.loads(json.dumps(plain(batch.expected[one.key][1])))
    folder = tmp_path / group
    folder.mkdir()
    (folder / "over.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    variable, program = batch.root._root.variable, Program(batch.root, "app")
    monkeypatch.setenv(variable, str(tmp_path))
    assert batch.differing(sc.compose([f"{group}=over"], root=batch.root)) == []
    assert program.main(["profiles", "show", f"{group}=over"]) == 0
    shown = capsys.readouterr().out
    usual = sc.compose(batch.choice, root=batch.root)
    changed = [
        one
        for one in batch.tried
        if one.key in batch.expected and not same(one.value(usual), batch.expected[one.key][1])
    ]
    assert [one.key for one in changed if f"  {one.case.name}" not in shown] == []
    monkeypatch.setenv(variable, "")
    monkeypatch.chdir(tmp_path)
    words = ["profiles", "import", str(folder / "over.yaml"), "--group", group, "--name", "imported"]
    assert program.main(words) == 0, capsys.readouterr().err
    monkeypatch.setenv(variable, str(tmp_path / "imported.py"))
    assert batch.differing(sc.compose([f"{group}=imported"], root=batch.root)) == []


@pytest.mark.parametrize("group", ["thing", "local", "model"])
def test_a_profile_shows_all_of_it(kinds: ModuleType, group: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``profiles show``, as text and as JSON, and ``profiles list`` and ``--help`` with every type."""
    root = kinds.Kinds if group == "thing" else sc.EffectiveConfig
    name = "changed" if group == "thing" else "kinds0"
    program = Program(root, "app")
    assert program.main(["profiles", "show", f"{group}={name}", "--json"]) == 0
    paths = {row["path"].partition(".")[0] for row in json.loads(capsys.readouterr().out)["changes"]}
    assert {case.name for case in CASES} <= paths | {"maybe_" + case.name for case in CASES}
    for words in (["profiles", "show", f"{group}={name}"], ["profiles", "list"], ["profiles", "list", "--json"]):
        assert program.main(words) == 0
        assert name in capsys.readouterr().out
    assert Program(root, "app", task=lambda _: None).main(["--help"]) == 0
    assert "one_or_many" in capsys.readouterr().out


def test_a_new_profile_writes_all_of_it(
    kinds: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``profiles new`` writes what the class suggests, as source that loads and says the same."""
    monkeypatch.chdir(tmp_path)
    assert Program(kinds.Kinds, "app").main(["profiles", "new", "fresh", "--group", "thing"]) == 0, capsys.readouterr()
    monkeypatch.setenv("KINDS_PROFILES", str(tmp_path / "fresh.py"))
    config = sc.compose(["thing=fresh"], root=kinds.Kinds)
    for case in CASES:
        assert same(getattr(config.thing, case.name), eval(next(iter(case.given.values())), vars(kinds))), case.name  # noqa: S307


TEXTS = ("text", "maybe_text", "texts", "odd_pair", "inner", "holes")
"""Those whose values show that text stays text, which Hydra does not keep."""
SAMPLE = ["flag", "mixed", "colour", "spot", "time", "length", "hue", "maybe_time", "grid", "odd_pair", "rates"]
SAMPLE += ["by_colour", "spots", "inner", "outer", "maybe_inner", "stack", "by_label", "either_list", "times2"]


@pytest.mark.parametrize("number", range(3))
def test_hydra_composes_the_same(kinds: ModuleType, number: int) -> None:
    """Hydra's own compose of the same ConfigStore, taken over by ``from_hydra``, gives the same config."""
    overrides: dict[str, list[str]] = {place: [] for place in PLACES}
    for place in PLACES:
        for case in CASES:
            tried = Tried(kinds, place, case)
            found = [override for override, _ in tried.given() if case.name not in TEXTS]
            if number and len(found) >= number and ".maybe_inner." not in f".{found[number - 1]}":
                overrides[place].append(found[number - 1])
    with initialize(version_base="1.3", config_path=None):
        for root, places, choice in (
            (kinds.Kinds, ("thing", ""), []),
            (sc.EffectiveConfig, ("local", "model"), ["local=kinds0", "model=kinds0"]),
        ):
            words = [*choice, *(one for place in places for one in overrides[place])]
            ours = sc.compose(words, root=root)
            theirs = sc.from_hydra(hydra_compose(root._root.name, words), root=root)
            left, right = ours.to_dict(), theirs.to_dict()
            assert left == right
            assert ours.fingerprint == theirs.fingerprint


def test_hydra_takes_each_of_them_alone(kinds: ModuleType) -> None:
    """A mistake in one type does not hide behind another: one composition by Hydra for each of a sample."""
    with initialize(version_base="1.3", config_path=None):
        for name in SAMPLE:
            tried = Tried(kinds, "thing", BY_NAME[name])
            override, expected = tried.given()[0]
            theirs = sc.from_hydra(hydra_compose("kinds0", [override]), root=kinds.Kinds)
            assert same(tried.value(theirs), expected), name


REFUSED = [
    ("set[int]", "field(default_factory=set)", "list"),
    ("frozenset[str]", "frozenset()", "list"),
    ("bytes", "b''", "str"),
    ("np.ndarray", "None", "list[float]"),
    ("datetime", "None", "str"),
    ("date", "None", "str"),
    ("Any", "None", "union"),
    ("object", "None", "union"),
    ("list", "field(default_factory=list)", "list["),
    ("dict", "field(default_factory=dict)", "dict["),
    ("tuple", "()", "tuple["),
    ("Plain", "field(default_factory=Plain)", "sc.Settings"),
    ("Slotted", "field(default_factory=Slotted)", "slots"),
    ("list[Any]", "field(default_factory=list)", "union"),
    ("list[bytes]", "field(default_factory=list)", "str"),
    ("list[Plain]", "field(default_factory=list)", "sc.Settings"),
    ("list[Slotted]", "field(default_factory=list)", "slots"),
    ("Slotted | None", "None", "slots"),
    ("dict[str, set[int]]", "field(default_factory=dict)", "list"),
    ("Sequence[int]", "()", "list"),
    ("Callable[[], int]", "None", "Settings"),
    ("None", "None", "None"),
    ("complex", "1j", "float"),
    ("Decimal", "None", "float"),
    ("type", "int", "Settings"),
    ("Literal[1.5, b'x']", "1.5", "str"),
    ("Nope", "None", "import"),
    ("'list['", "None", "read"),
    ("Final[int]", "1", ""),
    ("T", "1", ""),
    ("tuple[()]", "()", ""),
    ("dict[Inner, int]", "field(default_factory=dict)", ""),
    ("dict[list[int], int]", "field(default_factory=dict)", ""),
]


@pytest.mark.parametrize("where", ["thing", "local", "root", "inner"])
@pytest.mark.parametrize(("type_", "default", "instead"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_cannot_work_is_refused_at_registration(
    type_: str, default: str, instead: str, where: str, tmp_path: Path, forget: None
) -> None:
    """Class, line and the nearest type that works; nothing stays half registered."""
    field = f"    strange: {type_} = {default}"
    known = "\n".join(
        f"from {module} import {name}"
        for module, name in [
            ("collections.abc", "Callable, Sequence"),
            ("dataclasses", "dataclass, field"),
            ("datetime", "date, datetime"),
            ("decimal", "Decimal"),
            ("typing", "Any, ClassVar, Final, Literal, TypeVar"),
        ]
    )
    head = f"""from __future__ import annotations
{known}
import numpy as np
import spectramind_config as sc
T = TypeVar("T")
@dataclass
class Plain:
    x: int = 1
@dataclass(kw_only=True, slots=True)
class Slotted(sc.Settings):
    x: int = 1
@dataclass(kw_only=True)
class Inner(sc.Settings):
    x: int = 1
"""
    if where == "thing":
        text = f"""{head}
@dataclass(kw_only=True)
class ThingConfig(sc.Profile):
    x: int = 1
@sc.root("refusing")
@dataclass(frozen=True, kw_only=True)
class Refusing(sc.Config):
    thing: ThingConfig = sc.group("plain")
@sc.profile("thing", "plain")
@dataclass(kw_only=True)
class Strange(ThingConfig):
{field}
"""
    elif where == "local":
        text = f"""{head}
@sc.profile("local", "refusing")
@dataclass(kw_only=True)
class Strange(sc.LocalConfig):
{field}
"""
    elif where == "inner":
        text = f"""{head}
@dataclass(kw_only=True)
class Nested(sc.Settings):
{field}
@sc.profile("local", "refusing")
@dataclass(kw_only=True)
class Strange(sc.LocalConfig):
    nested: Nested = field(default_factory=Nested)
"""
    else:
        text = f"""{head}
@sc.root("refusing")
@dataclass(frozen=True, kw_only=True)
class Strange(sc.Config):
{field}
"""
    before = REGISTRY._known
    with pytest.raises((sc.ConfigError, ValueError, TypeError)) as caught:
        load(tmp_path, text, "refusing_kinds")
    assert isinstance(caught.value, sc.ConfigError), repr(caught.value)
    message = str(caught.value)
    assert ("Nested" if where == "inner" else "Strange") in message or "Slotted" in message
    assert "refusing_kinds.py:" in message
    assert "strange" in message or "Slotted" in type_ or type_ in ("Nope", "'list['")
    assert instead in message
    assert all("refusing" not in key for key in REGISTRY._known.profiles)
    assert {key[0] for key in before.profiles} | {"thing"} >= {key[0] for key in REGISTRY._known.profiles}
    if where == "root":
        assert REGISTRY._known.roots == before.roots
    sc.compose([])


ADDED = [
    ("+thing.table={b:2}", "table", {"a": 1, "b": 2}),
    ("++thing.table={b:2}", "table", {"a": 1, "b": 2}),
    ("+thing.table.b=2", "table", {"a": 1, "b": 2}),
    ("+thing.deep.a.c=2", "deep", {"a": {"b": 1, "c": 2}}),
    ("+thing.deep={a:{c:2},d:{e:3}}", "deep", {"a": {"b": 1, "c": 2}, "d": {"e": 3}}),
    ("+thing.by_int={2:b}", "by_int", {1: "a", 2: "b"}),
    ("thing.maybe_table={b:2}", "maybe_table", {"b": 2}),
]


@pytest.mark.parametrize(("override", "name", "expected"), ADDED, ids=[row[0] for row in ADDED])
def test_a_new_entry_of_a_dict_is_added_with_a_plus(
    kinds: ModuleType, override: str, name: str, expected: Any, tmp_path: Path
) -> None:
    """As in Hydra: a misspelt entry is a mistake, a new one is asked for; both read back, and Hydra agrees."""
    config = sc.compose([override], root=kinds.Kinds)
    assert same(getattr(config.thing, name), expected)
    file = tmp_path / "saved.yaml"
    file.write_text(config.to_yaml())
    again = sc.from_file(file, root=kinds.Kinds)
    assert (same(getattr(again.thing, name), expected), again.fingerprint) == (True, config.fingerprint)
    with initialize(version_base="1.3", config_path=None):
        for words in ([override], list(again.overrides)):
            theirs = sc.from_hydra(hydra_compose("kinds0", words), root=kinds.Kinds)
            assert same(getattr(theirs.thing, name), expected)
    if "+" in override:
        with pytest.raises(sc.ConfigError, match="to add one, write"):
            sc.compose([override.lstrip("+")], root=kinds.Kinds)


def test_an_entry_that_a_file_leaves_out_is_no_silent_default(kinds: ModuleType) -> None:
    """A file without an entry of the profile's dict cannot be what was meant by the profile with the entry."""
    values = sc.compose(["thing=changed"], root=kinds.Kinds).to_dict()
    values["thing"]["table"] = {}
    with pytest.raises(sc.ConfigError, match="cannot be taken away"):
        sc.from_dict(values, "here", root=kinds.Kinds)
    values = sc.compose(["thing=changed"], root=kinds.Kinds).to_dict()
    values["thing"]["maybe_table"] = {"z": 3}
    assert sc.from_dict(values, "here", root=kinds.Kinds).thing.maybe_table == {"z": 3}

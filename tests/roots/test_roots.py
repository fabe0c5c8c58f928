"""Roots of one's own: what Hydra composes of them, the laws of the fold, and what is refused at definition."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
from hydra import compose as hydra_compose
from hydra import initialize
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import spectramind_config as sc
from spectramind_config.commands.program import Program
from spectramind_config.schema.registry import REGISTRY
from spectramind_config.schema.values import plain

from .kinds import load

settings.load_profile("roots")

POOL: dict[str, tuple[Any, Any]] = {
    "count": (int, st.integers(-9, 9)),
    "rate": (float | None, st.none() | st.floats(0, 9, allow_nan=False)),
    "text": (str, st.sampled_from(["a", "b c", "é", "0x"])),
    "flag": (bool, st.booleans()),
    "rows": (list[int], st.lists(st.integers(0, 9), max_size=3)),
    "maybe": (int | None, st.none() | st.integers(0, 9)),
}


@dataclass
class Plan:
    """A root to be made: for each group its fields, two profiles' values, and the group it is over."""

    groups: list[tuple[str, list[dict[str, Any]], int | None]]
    own: dict[str, Any]
    overrides: list[tuple[str, Any]]
    chosen: dict[str, int]

    def linked(self, number: int) -> set[int]:
        """The groups that are folded with a group."""
        found = {number}
        for _ in self.groups:
            for index, (_, _, over) in enumerate(self.groups):
                if over is not None and {index, over} & found:
                    found |= {index, over}
        return found

    def folded(self) -> dict[str, list[int]]:
        """The fields that can stand at the top, with the groups that have them, the strongest first."""
        found = {}
        for name in POOL:
            having = [index for index, (_, values, _) in enumerate(self.groups) if name in values[0]][::-1]
            if having and set(having) <= self.linked(having[0]) and name not in self.own:
                found[name] = having
        return found


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """A random root and a random command line."""
    groups: list[tuple[str, list[dict[str, Any]], int | None]] = []
    for index in range(draw(st.integers(1, 4))):
        names = draw(st.lists(st.sampled_from(list(POOL)), unique=True, max_size=4))
        values = [{name: draw(POOL[name][1]) for name in names} for _ in range(2)]
        over = draw(st.none() | st.integers(0, index - 1)) if index else None
        groups.append((f"g{index}", values, over))
    own = {name: draw(POOL[name][1]) for name in draw(st.lists(st.sampled_from(list(POOL)), unique=True, max_size=2))}
    paths = [(f"{name}.{one}", one) for name, values, _ in groups for one in values[0]] + [(one, one) for one in own]
    picked = draw(st.lists(st.sampled_from(paths), unique=True, max_size=4)) if paths else []
    overrides = [(path, draw(POOL[one][1])) for path, one in picked]
    chosen = {name: draw(st.integers(0, 1)) for name, _, _ in groups if draw(st.booleans())}
    return Plan(groups, own, overrides, chosen)


def made(plan: Plan, name: str = "generated") -> type[sc.Config]:
    """The root with its profiles, registered."""
    fields: list[Any] = []
    schemas: dict[str, type[sc.Profile]] = {}
    for group, values, over in plan.groups:
        schemas[group] = dataclass_of(f"Schema{group}", values[0], sc.Profile)
        where = None if over is None else plan.groups[over][0]
        fields.append((group, schemas[group], sc.group("p0", over=where)))
    fields += [(one, POOL[one][0], sc.folded()) for one in plan.folded()]
    fields += [(one, POOL[one][0], defaulted(value)) for one, value in plan.own.items()]
    cls = dataclasses.make_dataclass("Generated", fields, bases=(sc.Config,), frozen=True, kw_only=True)
    cls.__module__ = __name__
    sc.root(name)(cls)
    for group, values, _ in plan.groups:
        for number, one in enumerate(values):
            sc.profile(group, f"p{number}")(dataclass_of(f"Profile{group}{number}", one, schemas[group]))
    return cls


def dataclass_of(name: str, values: dict[str, Any], base: type) -> Any:
    """A settings class with these defaults."""
    fields = [(one, POOL[one][0], defaulted(value)) for one, value in values.items()]
    return dataclasses.make_dataclass(name, fields, bases=(base,), kw_only=True)


def defaulted(value: Any) -> Any:
    """A field with a default."""
    return field(default_factory=lambda: list(value)) if isinstance(value, list) else field(default=value)


def words_of(plan: Plan) -> list[str]:
    """The command line."""
    return [f"{group}=p{number}" for group, number in plan.chosen.items()] + [
        f"{path}={written(value)}" for path, value in plan.overrides
    ]


def written(value: Any) -> str:
    """A value as a command line writes it."""
    return f"'{value}'" if isinstance(value, str) else json.dumps(value)


@pytest.fixture(scope="module", autouse=True)
def hydra_started() -> Iterator[None]:
    """Hydra, with the ConfigStore alone."""
    with initialize(version_base="1.3", config_path=None):
        yield


@settings(max_examples=settings.default.max_examples * 2 // 3)
@given(plans())
def test_a_generated_root_composes_as_hydra_composes_it_and_folds_as_the_rule_says(plan: Plan) -> None:
    """Groups and own settings equal Hydra's; what stands at the top is the rightmost opinion that is not null."""
    before = REGISTRY._known
    try:
        root = made(plan)
        values = {group: dict(values[plan.chosen.get(group, 0)]) for group, values, _ in plan.groups}
        own, said = dict(plan.own), set[str]()
        for path, value in plan.overrides:
            group, _, name = path.rpartition(".")
            (values[group] if group else own)[name] = value
            said.add(path)
        expected: dict[str, Any] = {}
        for name, having in plan.folded().items():
            opinions = [values[plan.groups[index][0]][name] for index in having]
            expected[name] = next((one for one in opinions if one is not None), None)
        theirs = hydra_compose("generated", words_of(plan))
        try:
            ours = sc.compose(words_of(plan), root=root)
        except sc.ConfigError as error:
            assert {"has no effect" in problem.what for problem in error.problems} == {True}, str(error)  # noqa: PT017
            for problem in error.problems:
                group, _, name = (problem.argument or "").partition("=")[0].partition(".")
                assert expected[name] != values[group][name]
            return
        for group in values:
            assert plain(getattr(ours, group)) == OmegaConf.to_container(theirs[group])
            assert {name: value for name, value in plain(getattr(ours, group)).items() if name != "name"} == values[
                group
            ]
        assert (
            {name: plain(getattr(ours, name)) for name in own} == own == {name: plain_of(theirs[name]) for name in own}
        )
        assert {name: plain(getattr(ours, name)) for name in expected} == expected
        again = sc.from_dict(json.loads(json.dumps(ours.to_dict())), "here", root=root)
        assert again.fingerprint == ours.fingerprint
        assert {name: getattr(again, name) for name in expected} == {name: getattr(ours, name) for name in expected}
        assert sc.from_hydra(theirs, root=root).fingerprint == ours.fingerprint
    finally:
        REGISTRY._known = before


def plain_of(value: Any) -> Any:
    """A value of Hydra's as plain data."""
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


OPINIONS = st.none() | st.integers(0, 3)


def fold(values: list[int | None], overs: list[int | None]) -> int | None:
    """What a root with one group for each opinion has at its top."""
    groups = [
        (f"g{index}", [{"maybe": one}] * 2, over) for index, (one, over) in enumerate(zip(values, overs, strict=True))
    ]
    before = REGISTRY._known
    try:
        found: int | None = sc.compose([], root=made(Plan(groups, {}, [], {}), "laws")).maybe  # type: ignore[attr-defined]
        return found
    finally:
        REGISTRY._known = before


@settings(max_examples=15)
@given(OPINIONS, OPINIONS, OPINIONS)
def test_the_fold_is_a_monoid(one: int | None, two: int | None, three: int | None) -> None:
    """Identity, associativity, idempotence, right bias; null is no opinion."""
    pair = [None, 0]
    assert fold([one, None], pair) == fold([None, one], pair) == fold([one], [None]) == one
    assert fold([one, one], pair) == one
    assert fold([one, two], pair) == (one if two is None else two)
    left = fold([fold([one, two], pair), three], pair)
    right = fold([one, fold([two, three], pair)], pair)
    chain = fold([one, two, three], [None, 0, 1])
    fan = fold([one, two, three], [None, 0, 0])
    assert left == right == chain == fan


HEAD = """
from __future__ import annotations
from dataclasses import dataclass, field
from typing import Annotated, ClassVar
import spectramind_config as sc
@dataclass(kw_only=True)
class A(sc.Profile):
    x: int = 1
    y: float | None = None
@dataclass(kw_only=True)
class B(sc.Profile):
    x: int = 2
    w: int = 1
@dataclass(kw_only=True)
class Inner(sc.Settings):
    x: int = 1
class C(sc.Profile):
    x: int = 1
class Bare(sc.Settings):
    x: int = 1
"""
BOTH = 'a: A = sc.group("pa")\nb: B = sc.group("pb", over="a")\n'
WRONG = [
    (BOTH + "q: int = sc.folded()", "no group has this setting"),
    (BOTH + "x: str = sc.folded()", "b declares another type for it"),
    (BOTH.replace(', over="a"', "") + "x: int = sc.folded()", "neither is over the other"),
    ('a: A = sc.group("pa", over="c")', "over 'c', which is no group to the left"),
    ('b: B = sc.group("pb", over="a")\na: A = sc.group("pa")', "over 'a', which is no group to the left"),
    ('a: A = sc.group("pa", over="a")', "over 'a', which is no group to the left"),
    ('a: Inner = sc.group("pa")', "group 'a' is of type Inner"),
    ('a: int = sc.group("pa")', "group 'a' is of type int"),
    ('a: A | None = sc.group("pa")', "group 'a' is of type"),
    ('c: C = sc.group("pc")', "C: its settings do not exist, for it is no dataclass"),
    ("bare: Bare = field(default_factory=Bare)", "Bare: its settings do not exist, for it is no dataclass"),
    ("x: int", "'x' has no default"),
    ("x: Annotated[int, sc.about(ge=5)] = 1", "1 is not an int >= 5"),
    ('x: int = "a"', "'a' is not an int"),
    ("x = 1\ny: int = 2", "x = 1 has no annotation"),
    ("inner: Inner = field(default_factory=lambda: Inner(x='b'))", "inner.x: 'b' is not an int"),
    *(
        (f"{name}: int = 1", f"'{name}' cannot be")
        for name in ("origin", "fingerprint", "profiles", "_x", "experiment", "hydra")
    ),
    *(
        (f"{name}: int = 1", f"'{name}' cannot be")
        for name in ("overrides", "to_dict", "defaults", "warnings", "science")
    ),
]


@pytest.mark.parametrize(("body", "told"), WRONG, ids=[row[0].replace("\n", "; ") for row in WRONG])
def test_a_wrong_root_is_refused_at_definition(body: str, told: str, tmp_path: Path, forget: None) -> None:
    """With the reason, the file and a line, and nothing of it is registered."""
    text = f'{HEAD}@sc.root("wrong")\n@dataclass(frozen=True, kw_only=True)\nclass Wrong(sc.Config):\n'
    before = REGISTRY._known
    with pytest.raises(sc.ConfigError) as caught:
        load(tmp_path, text + textwrap.indent(body, "    ") + "\n", "wrong_root")
    assert told in str(caught.value)
    assert "root wrong" in str(caught.value)
    assert "wrong_root.py:" in str(caught.value)
    assert REGISTRY._known.roots == before.roots


@pytest.mark.parametrize(
    ("head", "told"),
    [
        ('@sc.root("wrong")\nclass R(sc.Config):', "not a frozen dataclass"),
        ('@sc.root("wrong")\n@dataclass(frozen=True)\nclass R:', "is no config"),
        ('@sc.root("wrong")\n@dataclass(kw_only=True)\nclass R(sc.Settings):', "is no config"),
        ('@sc.root("wr ong")\n@dataclass(frozen=True, kw_only=True)\nclass R(sc.Config):', "cannot be called so"),
        ('@sc.root("train")\n@dataclass(frozen=True, kw_only=True)\nclass R(sc.Config):', "taken by EffectiveConfig"),
        (
            '@sc.root("wrong", short={"q": "nope"})\n@dataclass(frozen=True, kw_only=True)\nclass R(sc.Config):',
            "'nope'",
        ),
    ],
)
def test_a_wrong_declaration_is_refused(head: str, told: str, tmp_path: Path, forget: None) -> None:
    """What is no frozen config, what has an impossible or another root's name, a short name of nothing."""
    with pytest.raises(sc.ConfigError, match=told):
        load(tmp_path, f"{HEAD}{head}\n    x: int = 1\n", "wrong_root")
    assert REGISTRY._known.roots["train"].cls is sc.EffectiveConfig


TWO = '''
@dataclass(kw_only=True)
class ModelConfig(sc.Profile):
    """A model that is none of the shipped ones."""

    builds: ClassVar[bool] = True
    order: Annotated[int, sc.about("Order", ge=1, le=9)] = 2
    even: bool = True
    shown: Annotated[bool, sc.about("Shown", science=False)] = True

    def contradictions(self):
        yield from super().contradictions()
        if self.even and self.order % 2:
            yield sc.Contradiction("even", f"order {self.order} is odd", "false")
        if self.order == 8:
            yield sc.Contradiction("order", "eight is slow", fatal=False)

@sc.root("first", program="python first.py")
@dataclass(frozen=True, kw_only=True)
class First(sc.Config):
    """The first."""

    size: Annotated[int, sc.about("Size", ge=1)] = 3
    where: Annotated[str, sc.about("Where", science=False)] = "here"
    model: ModelConfig = sc.group("poly")
    local: sc.LocalConfig = sc.group("default")

    def __post_init__(self):
        if self.size == self.model.order == 4:
            raise ValueError("size and order must differ")
        if self.size == 40:
            len(self.size)

@sc.root("second", program="python second.py")
@dataclass(frozen=True, kw_only=True)
class Second(sc.Config):
    """The second shares the schema."""

    model: ModelConfig = sc.group("poly")
    other: ModelConfig = sc.group("plain")

@sc.profile("model", "poly")
@dataclass(kw_only=True)
class Poly(ModelConfig):
    order: int = 2

@sc.profile("model", "twin")
@dataclass(kw_only=True)
class Twin(ModelConfig):
    """Poly by another class."""

    order: int = 2

@sc.profile("other", "plain")
@dataclass(kw_only=True)
class Plain(ModelConfig):
    order: int = 6

@sc.root("lacking")
@dataclass(frozen=True, kw_only=True)
class Lacking(sc.Config):
    model: ModelConfig = sc.group("nowhere")
'''


@pytest.fixture
def two(tmp_path: Path, forget: None) -> Any:
    """Two roots that share a schema, whose group ``model`` has the name of a shipped one."""
    return load(tmp_path, HEAD + TWO, "two_roots")


def test_roots_share_schemas_and_names_of_groups(two: Any) -> None:
    """Each root sees the profiles of its own schema only, whatever the group is called."""
    assert sc.compose(["model.order=4", "local=debug"], root=two.First).model.order == 4
    assert sc.compose(["model=twin", "other.order=8"], root=two.Second).other.order == 8
    assert sc.compose(["model=v50"]).model.name == "v50"
    for words, root, told in (
        (["model=v50"], two.First, "V50Config"),
        (["model=poly"], sc.EffectiveConfig, "Poly"),
        (["other=poly"], two.Second, "plain"),
    ):
        with pytest.raises(sc.ConfigError, match="there is no profile") as caught:
            sc.compose(words, root=root)
        assert told in str(caught.value)
    shown = Program(two.First, "x")
    assert shown.main(["config", "show"]) == 0
    for name, root in (("first", two.First), ("second", two.Second), ("train", sc.EffectiveConfig)):
        theirs = sc.from_hydra(hydra_compose(name), root=root)
        assert theirs.fingerprint == sc.compose([], root=root).fingerprint


def test_messages_name_the_roots_own_program(two: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """No message of a stranger's root says what another program's user would type."""
    lines = [
        "model.order=0",
        "modle=poly",
        "model=ploy",
        "size=0",
        "sise=3",
        "model.order=3",
        "size=1,2",
        "size",
        "local.devcies=3",
    ]
    lines += [
        "model.order=x",
        "+size=3",
        "~model",
        "model.name=x",
        "experiment=none",
        "local.persistent_workers=true",
        "model=null",
    ]
    for line in lines:
        words = [line, "local=debug"] if "persistent" in line else [line]
        with pytest.raises(sc.ConfigError) as caught:
            sc.compose(words, root=two.First)
        message = str(caught.value)
        assert "spectramind" not in message, message
        assert "python first.py" in message
        assert Program(two.First, "app.py", task=lambda _: None).main(["config", "show", *words]) == 2
        told = capsys.readouterr().err
        assert "spectramind" not in told
        assert "app.py" in told


def test_ranges_contradictions_and_warnings(two: Any) -> None:
    """As for the shipped groups: the remedy is in the corrected command, a warning stops nothing."""
    with pytest.raises(sc.ConfigError) as caught:
        sc.compose(["model.order=3"], root=two.First)
    assert "order 3 is odd" in str(caught.value)
    assert "run instead: python first.py model.order=3 model.even=false" in str(caught.value)
    assert sc.compose(["model.order=8"], root=two.First).warnings == ("model=poly: eight is slow",)


def test_fingerprints_count_what_decides_the_result(two: Any) -> None:
    """``science=False`` leaves a setting out, in a group and of the root; the class counts where it builds."""
    usual = sc.compose([], root=two.First)
    for word in ("where=there", "model.shown=false"):
        other = sc.compose([word], root=two.First)
        assert other.fingerprint != usual.fingerprint
        assert other.science_fingerprint == usual.science_fingerprint
    for word in ("size=4", "model.order=4", "model=twin"):
        assert sc.compose([word], root=two.First).science_fingerprint != usual.science_fingerprint


def test_a_root_checks_itself(two: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Its ``__post_init__`` sees the composed values; a ValueError is a mistake with class and line."""
    assert sc.compose(["size=4"], root=two.First).size == 4
    assert Program(two.First, "app.py").main(["config", "show", "size=4", "model.order=4"]) == 2
    told = capsys.readouterr().err
    assert "size and order must differ" in told
    assert "First" in told
    assert "two_roots.py:" in told


def test_a_check_that_fails_by_itself_is_told_with_its_line(two: Any, forget: None, capsys: Any) -> None:
    """Of the root and of a profile's class: what was raised and where, without a traceback."""
    assert Program(two.First, "app.py").main(["config", "show", "size=40"]) == 2
    told = capsys.readouterr().err
    line = next(number for number, text in enumerate(Path(two.__file__).read_text().splitlines(), 1) if "len(" in text)
    assert "__post_init__ of First fails: TypeError: object of type 'int' has no len()" in told
    assert f"{two.__file__}:{line})" in told

    @sc.profile("local", "halving")
    @dataclass(kw_only=True)
    class Halving(sc.LocalConfig):
        """Halves."""

        def __post_init__(self) -> None:
            """Fail for one seed."""
            if self.seed == 3:
                raise RuntimeError("three")

    with pytest.raises(sc.ConfigError, match="local=halving: __post_init__ of Halving fails: RuntimeError: three"):
        sc.compose(["local=halving", "local.seed=3"], root=two.First)


def test_a_root_that_changes_itself_is_refused(forget: None) -> None:
    """A value that ``__post_init__`` sets would have no origin."""

    @sc.root("changing")
    @dataclass(frozen=True, kw_only=True)
    class Changing(sc.Config):
        """Changes."""

        size: Annotated[int, sc.about("Size")] = 1

        def __post_init__(self) -> None:
            """Change."""
            if self.size == 2:
                object.__setattr__(self, "size", 3)

    assert sc.compose([], root=Changing).size == 1
    with pytest.raises(sc.ConfigError, match="changes 'size'"):
        sc.compose(["size=2"], root=Changing)


def test_a_default_profile_that_is_nowhere_is_told(two: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """At composition, since it may come from a package or a file; every command says so without a traceback."""
    with pytest.raises(sc.ConfigError, match="there is no profile 'nowhere' in group model") as caught:
        sc.compose([], root=two.Lacking)
    assert f"from:     Lacking, {two.__file__}:" in str(caught.value)
    assert "run instead" not in str(caught.value)
    assert sc.compose(["model=poly"], root=two.Lacking).model.order == 2
    program = Program(two.Lacking, "app.py", task=lambda _: None)
    commands = [
        "config show",
        "config explain",
        "config schema",
        "config schema --group model",
        "config hash",
        "profiles list",
    ]
    commands += [
        "profiles show model=poly",
        "profiles new x",
        "--help",
        "config show model=poly",
        "config explain model=poly",
    ]
    for words in commands:
        assert program.main(words.split()) in (0, 2), words
    assert "Traceback" not in capsys.readouterr().err


def test_a_class_without_a_docstring_has_no_summary(forget: None, capsys: pytest.CaptureFixture[str]) -> None:
    """And not the signature that a dataclass has for want of one."""

    @sc.root("silent")
    @dataclass(frozen=True, kw_only=True)
    class Silent(sc.Config):
        size: int = 1

    assert Program(Silent, "app.py", task=lambda _: None).main(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: app.py [override…] [flag…]\n\ncommands\n")


def test_a_root_that_is_declared_again_keeps_its_experiments_for_hydra(two: Any, tmp_path: Path) -> None:
    """As in a notebook: ours and Hydra's composition agree after the second declaration."""
    sc.experiment("small", root=two.First)(lambda: ["size=1"])
    again = load(tmp_path, HEAD + TWO, "two_roots")
    assert sc.compose(["experiment=small"], root=again.First).size == 1
    assert hydra_compose("first", ["experiment=small"]).size == 1

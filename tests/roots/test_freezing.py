"""Everything inside a composed config is frozen, however deep, and stays so in every copy."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import cloudpickle
import pytest

import spectramind_config as sc


@dataclass(kw_only=True)
class Leafy(sc.Settings):
    """Settings with containers of their own."""

    depth: Annotated[int, sc.about("How deep")] = 1
    sizes: list[list[int]] = field(default_factory=lambda: [[1], [2, 3]])
    table: dict[str, dict[str, int]] = field(default_factory=lambda: {"a": {"b": 1}})


@dataclass(kw_only=True)
class FrozenConfig(sc.Profile):
    """A group with everything that has parts."""

    grid: list[list[int]] = field(default_factory=lambda: [[1], [2]])
    rates: dict[str, list[float]] = field(default_factory=lambda: {"a": [0.5]})
    pairs: tuple[list[int], ...] = field(default_factory=lambda: ([1],))
    leafy: Leafy = field(default_factory=Leafy)
    maybe: Leafy | None = field(default_factory=Leafy)
    several: list[Leafy] = field(default_factory=lambda: [Leafy()])
    named: dict[str, Leafy] = field(default_factory=lambda: {"x": Leafy()})
    deep: dict[str, list[dict[str, list[int]]]] = field(default_factory=lambda: {"a": [{"b": [1]}]})


@sc.root("freezing")
@dataclass(frozen=True, kw_only=True)
class Freezing(sc.Config):
    """A root with such a group and such settings of its own."""

    group: FrozenConfig = sc.group("plain")
    own: dict[str, list[int]] = field(default_factory=lambda: {"a": [1]})
    leaf: Leafy = field(default_factory=Leafy)


@sc.profile("group", "plain")
@dataclass(kw_only=True)
class Plain(FrozenConfig):
    """Plain."""


@pytest.fixture
def root() -> type[sc.Config]:
    """The root."""
    return Freezing


OVERRIDES: list[list[str]] = [
    [],
    ["group.grid=[[5]]", "own.a.0=3", "group.leafy.sizes.0.0=4", "+group.named.y={depth:2}", "leaf.table.a.b=2"],
    ["group.several=[{sizes:[[7]]}]", "group.maybe={table:{a:{b:3}}}", "group.deep.a.0.b.0=8", "group.pairs=[[1],[2]]"],
]
COPIES: dict[str, Callable[[Any], Any]] = {
    "itself": lambda one: one,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda one: pickle.loads(pickle.dumps(one)),  # noqa: S301
    "cloudpickle": lambda one: pickle.loads(cloudpickle.dumps(one)),  # noqa: S301
}


def parts(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """A value and everything inside it, with the path."""
    yield path, value
    if isinstance(value, sc.Settings | sc.Config):
        for one in dataclasses.fields(value):
            yield from parts(getattr(value, one.name), f"{path}.{one.name}")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from parts(item, f"{path}[{key}]")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from parts(item, f"{path}[{number}]")


LIST: list[Callable[[Any], object]] = [
    lambda one: one.append(1),
    lambda one: one.extend([1]),
    lambda one: one.insert(0, 1),
    lambda one: one.clear(),
    lambda one: one.sort(),
    lambda one: one.reverse(),
    lambda one: one.pop(),
    lambda one: one.remove(one[0]),
    lambda one: one.__setitem__(slice(0, 0), [1]),
    lambda one: one.__delitem__(slice(0, 1)),
    lambda one: one.__iadd__([1]),
    lambda one: one.__imul__(2),
]
DICT: list[Callable[[Any], object]] = [
    lambda one: one.__setitem__("z", 1),
    lambda one: one.update(z=1),
    lambda one: one.setdefault("z", 1),
    lambda one: one.pop("a", None),
    lambda one: one.popitem(),
    lambda one: one.clear(),
    lambda one: one.__delitem__(next(iter(one))),
    lambda one: one.__ior__({"z": 1}),
]


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("overrides", OVERRIDES, ids=["defaults", "elements", "wholes"])
def test_nothing_inside_can_be_changed(root: type[sc.Config], overrides: list[str], how: str) -> None:
    """Lists, dicts and settings at every depth refuse every way to change them, in copies and pickles too."""
    config = COPIES[how](sc.compose(overrides, root=root))
    before, seen = config.to_dict(), 0
    for _, one in parts(config):
        changes = LIST if isinstance(one, list) else DICT if isinstance(one, dict) else []
        for change in changes:
            with pytest.raises(TypeError, match="frozen"):
                change(one)
        if isinstance(one, sc.Settings | sc.Config):
            for name in (dataclasses.fields(one)[0].name, "stranger"):
                with pytest.raises((AttributeError, dataclasses.FrozenInstanceError)):
                    setattr(one, name, 3)
                with pytest.raises((AttributeError, dataclasses.FrozenInstanceError)):
                    delattr(one, name)
        seen += bool(changes) or isinstance(one, sc.Settings)
    assert seen > 30
    assert config.to_dict() == before
    assert config.fingerprint == sc.compose(overrides, root=root).fingerprint


@pytest.mark.parametrize("how", COPIES)
def test_a_part_that_is_copied_alone_stays_frozen(root: type[sc.Config], how: str) -> None:
    """A list, a dict or a section taken out of a config, copied or pickled by itself."""
    config = sc.compose([], root=root)
    for path, one in list(parts(config))[1:]:
        again = COPIES[how](one)
        assert again == one, path
        assert type(again) is type(one), path
        for _, inner in parts(again):
            if isinstance(inner, list | dict):
                with pytest.raises(TypeError):
                    inner.clear()
            if isinstance(inner, sc.Settings):
                with pytest.raises(AttributeError):
                    inner.depth = 2  # type: ignore[attr-defined]


def test_two_configs_share_no_way_to_change_each_other(root: type[sc.Config]) -> None:
    """The class's defaults stay what they are, whatever is composed of them."""
    one = sc.compose(["own.a.0=9", "group.grid.0.0=9"], root=root)
    two = sc.compose([], root=root)
    assert (two.own, two.group.grid) == ({"a": [1]}, [[1], [2]])  # type: ignore[attr-defined]
    assert (one.own, one.group.grid) == ({"a": [9]}, [[9], [2]])  # type: ignore[attr-defined]
    assert FrozenConfig().grid == [[1], [2]]
    FrozenConfig().grid.append([3])
    assert sc.compose([], root=root).group.grid == [[1], [2]]  # type: ignore[attr-defined]


def test_a_root_says_what_to_do_instead_of_assigning_or_replacing(root: Any) -> None:
    """Nobody makes a config but a composition, which knows who set each value."""
    config = sc.compose([], root=root)
    with pytest.raises(dataclasses.FrozenInstanceError, match=r"use cfg.with_overrides\(\['own=5'\]\)"):
        config.own = 5
    with pytest.raises(TypeError, match=r"only a composition makes a Freezing.*cfg.with_overrides"):
        dataclasses.replace(config, own={})
    with pytest.raises(TypeError, match=r"only a composition makes a Freezing.*sc.compose"):
        root(own={})

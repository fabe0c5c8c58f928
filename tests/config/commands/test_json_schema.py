"""The JSON Schema says what ``compose`` takes: same verdict for every value of every setting."""

from __future__ import annotations

import copy
import itertools
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

import jsonschema
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import spectramind_config as sc
from spectramind_config.commands.json_schema import config_schema, group_schema, leaf_schema
from spectramind_config.schema.values import plain
from spectramind_train.cli import main

from ..engine import GROUPS, NAMES, default_stack, profiles

STACK = default_stack()
LEAVES = {path: leaf for path, leaf in STACK.leaves.items() if path not in NAMES}
VALIDATORS = {
    path: jsonschema.Draft202012Validator(leaf_schema(leaf, STACK.values[path])) for path, leaf in LEAVES.items()
}
WORDS = sorted({choice for leaf in LEAVES.values() for choice in leaf.type.choices})
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 12)
    | st.integers()
    | st.floats(-2, 12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        [
            *WORDS,
            "",
            "???",
            "08:30:00",
            "8:30",
            "8:30:00",
            "9h",
            "1h 30m",
            "1.5d",
            "8 x",
            "h",
            "90",
            "1-00:00:00",
            "-1h",
            "true",
            "1",
            "0.5",
            "ddp\n",
            "08:30:00\n",
        ]
    )
    | st.text(max_size=8)
)
JSON = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)


def accepts(path: str, value: object) -> bool:
    """Whether the setting takes a JSON value as it stands; the command line's other spellings are not JSON's matter."""
    try:
        taken = LEAVES[path].convert(copy.deepcopy(value))
    except ValueError:
        return False
    if isinstance(taken, timedelta):  # JSON has no such type; any of its spellings is a text.
        return isinstance(value, str)
    return json.dumps(as_numbers(taken)) == json.dumps(as_numbers(value))


def as_numbers(value: object) -> object:
    """A value without what JSON cannot tell: ints from floats, tuples from lists."""
    if isinstance(value, list | tuple):
        return [as_numbers(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def whole_floats(value: object) -> bool:
    """Whether there is a float in it that JSON Schema takes for an integer."""
    if isinstance(value, list | tuple):
        return any(map(whole_floats, value))
    return isinstance(value, float) and value.is_integer()


@given(value=JSON)
@example(value=0)
@example(value=1)
@example(value=0.5)
@example(value=2**32)
@example(value=-1)
@example(value=[8, 24])
@example(value=[8, 24, 3])
@example(value=[0.9, 0.999])
def test_the_schema_and_the_setting_agree(value: object) -> None:
    """Each setting's schema takes exactly the JSON values that the setting itself takes."""
    assume(not whole_floats(value))
    for path, validator in VALIDATORS.items():
        assert validator.is_valid(value) == accepts(path, value), (path, value)


def test_the_schema_is_a_schema() -> None:
    """A third party's validator takes it, and that of each group."""
    for schema in (config_schema(sc.EffectiveConfig), *(group_schema(sc.EffectiveConfig, group) for group in GROUPS)):
        jsonschema.Draft202012Validator.check_schema(schema)
        json.dumps(schema, allow_nan=False)


CONFIG = jsonschema.Draft202012Validator(config_schema(sc.EffectiveConfig))
CHOICES = list(itertools.product(*([f"{group}={name}" for name in profiles()[group]] for group in GROUPS)))


@pytest.mark.parametrize("choice", CHOICES, ids=" ".join)
def test_every_combination_of_profiles_is_valid(choice: tuple[str, ...]) -> None:
    """``to_dict`` of every shipped combination follows the schema, and so does each group of it."""
    config = sc.compose(list(choice))
    CONFIG.validate(config.to_dict())
    for group in GROUPS:
        values = {path: origin.value for path, origin in ((one.key, one) for one in config.origins())}
        tree: dict[str, Any] = {}
        for path in (path for path in values if path.startswith(f"{group}.")):
            *sections, name = path.removeprefix(f"{group}.").split(".")
            node = tree
            for section in sections:
                node = node.setdefault(section, {})
            node[name] = plain(values[path])
        jsonschema.validate(tree, group_schema(sc.EffectiveConfig, group), jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("seed",), -1),
        (("seed",), "7"),
        (("devices",), 0),
        (("devices",), "gpu"),
        (("precision",), None),
        (("precision",), "64"),
        (("deterministic",), 1),
        (("num_workers",), 4),
        (("num_workers", "train"), None),
        (("dev", "limit_train_batches"), 1.5),
        (("max_time",), "8 x"),
        (("data", "calibration", "airs_rows"), [8]),
        (("model", "dropout"), 0.95),
        (("local", "name"), "lab"),
        (("devcies",), 8),
        (("model", "widht"), 8),
        (("local", "devices"), 8),
    ],
)
def test_what_compose_refuses_the_schema_refuses(path: tuple[str, ...], value: object) -> None:
    """A wrong type, range, choice or key of a saved config fails in both."""
    values = sc.compose().to_dict()
    node = values
    for name in path[:-1]:
        node = node[name]
    node[path[-1]] = value
    assert not CONFIG.is_valid(values)
    if path != ("seed",) or value != "7":
        assert path == ("deterministic",) or refused(values)


def refused(values: dict[str, Any]) -> bool:
    """Whether ``from_dict`` refuses the values."""
    try:
        sc.from_dict(values, "a.yaml")
    except sc.ConfigError:
        return True
    return False


def test_every_setting_is_described() -> None:
    """Each leaf of the schema has a description and a default, or says which interpolation gives it."""

    def visit(schema: dict[str, Any], path: str) -> None:
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False, path
            for name, inner in schema["properties"].items():
                visit(inner, f"{path}.{name}")
        else:
            assert schema["description"], path
            assert "default" in schema or "${" in schema["$comment"], path

    visit(config_schema(sc.EffectiveConfig), "config")


def test_a_sites_profile_is_part_of_the_schema(forget: None) -> None:
    """Fields that a profile adds are allowed with that profile alone, and what it narrows is narrowed."""

    @sc.profile("local", "site")
    @dataclass(kw_only=True)
    class Site(sc.LocalConfig):
        """A site with a rack."""

        max_epochs: Annotated[int, sc.about("Few epochs", ge=1, le=10)] = 10
        rack: Annotated[int, sc.about("Rack number", ge=0)] = 7

    validator = jsonschema.Draft202012Validator(config_schema(sc.EffectiveConfig))
    values = sc.compose(["local=site"]).to_dict()
    validator.validate(values)
    assert not validator.is_valid(values | {"local": values["local"] | {"rack": -1}})
    assert not validator.is_valid(values | {"max_epochs": 11})
    usual = sc.compose().to_dict()
    validator.validate(usual | {"max_epochs": 11})
    assert not validator.is_valid(usual | {"local": usual["local"] | {"rack": 7}})


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    """``config schema`` prints the whole, ``--group`` one group; a misspelt group and overrides are refused."""
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == config_schema(sc.EffectiveConfig)
    assert main(["config", "schema", "--group", "local"]) == 0
    assert json.loads(capsys.readouterr().out) == group_schema(sc.EffectiveConfig, "local")
    for arguments, words in (
        (["--group", "locl"], "nearest:  local"),
        (["local=hpc"], "local=hpc: spectramind config schema takes flags only"),
    ):
        assert main(["config", "schema", *arguments]) == 2
        assert words in capsys.readouterr().err

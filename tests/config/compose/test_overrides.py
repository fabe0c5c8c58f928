"""Overrides as text: Hydra's grammar, the fast path through it, and every malformed line."""

from __future__ import annotations

import contextlib
import math
import os
import random
import time

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

import spectramind_config as sc
from spectramind_config.compose.overrides import parse, write
from spectramind_config.schema.values import Written, plain

from ..engine import LEAVES

FUZZ = 20_000 if "SPECTRAMIND_FUZZ" in os.environ else 2_000

PARSED = [
    # argument, key, value, sign
    ("local=hpc", "local", "hpc", ""),
    ("local.devices=8", "local.devices", 8, ""),
    ("local.seed=007", "local.seed", "007", ""),
    ("local.seed=-0", "local.seed", 0, ""),
    ("local.seed=1_000", "local.seed", 1000, ""),
    ("x=1e3", "x", 1000.0, ""),
    ("x=True", "x", True, ""),
    ("x=inf", "x", math.inf, ""),
    ("x=-Inf", "x", -math.inf, ""),
    ("x=NULL", "x", None, ""),
    ("x=none", "x", "none", ""),
    ("x='a,b'", "x", "a,b", ""),
    ('x="a=b"', "x", "a=b", ""),
    ("x='it\\'s'", "x", "it's", ""),
    ("x=", "x", "", ""),
    ("x=[1,a]", "x", [1, "a"], ""),
    ("x={a:1}", "x", {"a": 1}, ""),
    ("x=/a/b-c.d", "x", "/a/b-c.d", ""),
    ("x=${oc.env:A,b}", "x", "${oc.env:A,b}", ""),
    ("+x=1", "x", 1, "+"),
    ("++x=1", "x", 1, "++"),
    ("~x", "x", None, "~"),
    ("local@here=hpc", "local@here", "hpc", ""),
]


@pytest.mark.parametrize(("argument", "key", "value", "sign"), PARSED, ids=[row[0] for row in PARSED])
def test_an_override_is_parsed(argument: str, key: str, value: object, sign: str) -> None:
    """Key, typed value and sign of one argument."""
    found = parse(argument)
    assert (found.argument, found.key, plain(found.value), found.sign) == (argument, key, value, sign)
    assert type(plain(found.value)) is type(value)


WRITTEN = [
    # text, value as YAML and Hydra have it
    ("1_000", 1000),
    ("7e12345", math.inf),
    ("1.10", 1.1),
    ("1e3", 1000.0),
    ("True", True),
    ("false", False),
    ("-Inf", -math.inf),
]


@pytest.mark.parametrize(("text", "value"), WRITTEN)
def test_a_number_or_truth_value_keeps_its_text(text: str, value: object) -> None:
    """Outside of quotes and functions, in lists and dicts as well: what a string setting takes is the text."""
    assert parse(f"x={text}").value == Written(value, text)
    assert parse(f"x=[a,{text}]").value == ["a", Written(value, text)]
    assert parse(f"x={{a:{text}}}").value == {"a": Written(value, text)}
    assert parse(f"+x= {text} ").value == Written(value, text)
    assert parse(f"x='{text}'").value == text


def test_what_a_function_makes_has_no_text() -> None:
    """``int(3.5)`` is 3 and nothing else."""
    assert parse("x=int(3.5)").value == 3
    assert parse("x=str(3)").value == "3"


WORDS = st.text(st.sampled_from("abzE_xX0189./-+nulinftrue"), max_size=12)


@given(WORDS)
def test_the_fast_path_gives_what_hydras_parser_gives(text: str) -> None:
    """Plain words and numbers skip Hydra's parser; the value and its type are the same."""
    argument = f"key={text}"
    try:
        theirs = OverridesParser.create().parse_override(argument).value()
    except Exception:  # noqa: BLE001 - whatever Hydra refuses, we must refuse.
        with pytest.raises(sc.ConfigError):
            parse(argument)
        return
    ours = parse(argument).value
    assert repr(plain(ours)) == repr(theirs)
    if not isinstance(theirs, str | None):
        assert LEAVES["local.mlflow.experiment_name"].convert(ours) == text


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.from_regex(r"[a-z]+", fullmatch=True), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(VALUES)
def test_writing_is_the_inverse_of_parsing(value: object) -> None:
    """Any plain value, written as an override, is read back with its type."""
    assert repr(plain(parse(write("key", value)).value)) == repr(value)


def test_a_sweep_is_told_apart_from_a_value() -> None:
    """Several values for one run are refused, with the command that starts a run for each."""
    with pytest.raises(sc.ConfigError, match="several values for one run") as caught:
        sc.compose(["local.seed=1,2"])
    assert str(caught.value).endswith("see: spectramind train --multirun local.seed=1,2")
    with pytest.raises(sc.ConfigError, match="several values for one run"):
        parse("local.seed=1,2")
    assert parse("local.x='1,2'").value == "1,2"


SEEDS = ["local=hpc", "trainer=multi_gpu", "local.devices=8", "optimizer.betas=[0.9,0.99]", "optimizer.betas.0=3"]
SEEDS += ["local.paths={cache_dir:/x}", "local.paths.data_root=${oc.env:HOME,x}", "local.mlflow.experiment_name='a b'"]
SEEDS += ["+local.x=1", "~local", "++a.b=c", *(f"{path}=1" for path in LEAVES)]
PIECES = ["${", "${oc.env:", "${oc.decode:", "${.", "..", "[[[[", "{{{{", "null", "???", "nan", "1e999", "__class__"]
PIECES += ["_target_=", "range(", "choice(", "sort(", "@pkg", "hydra.", "${oc.create:{a:1}}", "${oc.dict.keys:local}"]
PIECES += ["\ud800", "\udcff", "\x00", "\u202e", "\n", *"az019.,=:+-~@'\"\\{}[]()$ \té_/#%&*<>?!|^`;"]


def mangled(random_: random.Random) -> str:
    """A command line's argument after a few accidents."""
    text = random_.choice(SEEDS)
    for _ in range(random_.randint(0, 4)):
        start, end = sorted(random_.randrange(len(text) + 1) for _ in range(2))
        accident = random_.randrange(5)
        if accident < 2:
            text = text[:start] + random_.choice(PIECES) + text[start:]
        elif accident == 2:
            text = text[:start] + text[start + 1 :]
        elif accident == 3:
            text = text[:start] + text[start:end] * 2 + text[end:]
        else:
            text = text[:start] + random_.choice(SEEDS)[random_.randrange(6) :]
    return text


@pytest.mark.filterwarnings("ignore:.*is deprecated")
def test_no_command_line_makes_anything_but_a_config_or_a_config_error() -> None:
    """Mangled command lines are composed or refused, quickly, whatever is in them."""
    random_ = random.Random(FUZZ)  # noqa: S311 - reproducible, not secret.
    started = time.process_time()
    refused = 0
    for _ in range(FUZZ):
        overrides = [mangled(random_) for _ in range(random_.choice([1, 1, 2]))]
        try:
            config = sc.compose(overrides)
        except sc.ConfigError as error:
            refused += len(str(error)) > 0
        else:
            assert len(config.fingerprint) == 64
            assert config.to_yaml()
    assert FUZZ / 4 < refused < FUZZ
    assert time.process_time() - started < FUZZ * 0.01


@pytest.mark.parametrize(
    "text", ["[" * 2000, "{a:" * 500, "${" * 500, "(" * 1000, "a" * 200_000, "'" + "\\'" * 20_000 + "'", "${.x}" * 2000]
)
def test_long_and_deep_values_neither_hang_nor_crash(text: str) -> None:
    """Nesting and length are the user's mistake at worst."""
    started = time.process_time()
    with contextlib.suppress(sc.ConfigError):
        sc.compose([f"local.mlflow.experiment_name={text}"])
    assert time.process_time() - started < 5


def test_one_string_instead_of_a_list_is_refused() -> None:
    """``compose("local=hpc")`` would be read letter by letter."""
    with pytest.raises(sc.ConfigError, match="compose takes a list of overrides, not one string"):
        sc.compose("local=hpc")

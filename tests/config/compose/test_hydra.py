"""The differential test: this package composes what Hydra composes from the same ConfigStore, or says why not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hydra import compose as hydra_compose
from hydra import initialize
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import spectramind_config as sc
from spectramind_config.compose.overrides import parse
from spectramind_config.schema.fields import leaves_of
from spectramind_config.schema.values import Written, duration, value_at

from ..engine import GROUPS, LEAVES, profiles

ENVIRONMENT = {
    "SM_T_WORD": "word",
    "SM_T_INT": "12",
    "SM_T_FLOAT": "0.25",
    "SM_T_TRUE": "true",
    "SM_T_EMPTY": "",
    "SM_T_NASTY": "a b,c=${x}'\"\\",
}

# What Hydra takes and this package refuses on purpose: what the message says, and why.
PURPOSE = [
    (
        r" is not (an? |one of )|does not fit",
        "the value that Hydra composes breaks the field's constraints (checked below)",
    ),
    (r"is not a finite number", "nan and inf compare as no configuration should, and JSON has neither"),
    (r"'\?\?\?' is not a value, it marks a missing one", "an effective config has no missing values"),
    (r"there is no (setting|group)", "Hydra adds the misspelt key of +key=… to the typed node and runs on"),
    (r"cannot be (removed|added)|can be added or removed", "every setting exists and has a value: ~ and + are slips"),
    (r"has no effect", "local hides the value that trainer was given"),
    (
        (
            r"persistent_workers is true but|dev.fast_dev_run runs one|does not divide"
            r"|must lie in|is no aperture|is odd, but"
        ),
        "settings that exclude each other",
    ),
    (r"nothing sets a precision", "Hydra knows no layers; a run needs a precision"),
    (r"is the name of the chosen profile", "a name that differs from the profile would falsify provenance"),
    (r"is a section, not a setting", "a whole section as an interpolation hides who set its settings"),
    (r"settings of Hydra itself", "they say how Hydra starts a job, not what the job uses"),
]
CONSTRAINT = PURPOSE[0][0]

NUMBERS = ["0", "1", "-1", "3", "007", "-0", "1_000", "4294967296", "99999999999999999999999", "0x1f", "+3"]
NUMBERS += ["1e3", "1e-3", "0.5", "1.", ".5", "-0.0", "1.0", "0.1", "1_0.5", "inf", "-inf", "nan", "NaN", "1e400"]
WORDS = ["true", "True", "FALSE", "yes", "on", "off", "null", "NULL", "None", "none", "auto", "cpu", "mps", "16-mixed"]
WORDS += ["bf16-mixed", "32", "16", "ddp", "throttled", "plain", "constant", "multiply", "word", "a/b", "a.b", "a-b"]
WORDS += ["???", "/a/b", "../a", "http://x:80/y", "08:30:00", "10:00:00", "01:02", "a b", "  x  ", "é", "日本", "", "~"]
QUOTED = ["'a,b'", "'a=b'", '"x"', "''", "' '", "'it\\'s'", "a\\,b", "'\\\\'", "'a\\b'", "'???'", "'é'", "'32'", "'4'"]
QUOTED += ['"0.25"', "'true'", '"null"', "'a\nb'", "'x", "\\"]
LISTS = ["[]", "[1,2]", "[0.5,0.9]", "[8,24]", "[a,b]", "[1,[2]]", "[1,null]", "[0.9]", "[1,2,3]", "[0.5,'0.9']"]
LISTS += ["{}", "{a:1}", "{train:3}", "{cache_dir:/x}", "{enabled:true,experiment_name:x}", "{train:3,val:x}", "[1"]
LISTS += ["{seed:4,precision:32}", "{batch_size:3}", "{name:x}", "[${optimizer.lr},0.9]", "{train:${local.seed}}", "{a"]
INTERPOLATIONS = [f"${{oc.env:SM_T_{name}}}" for name in ("WORD", "INT", "FLOAT", "TRUE", "EMPTY", "NASTY", "UNSET")]
INTERPOLATIONS += [f"${{oc.env:SM_T_UNSET,{default}}}" for default in ("word", "3", "0.5", "null", "true", "'q w'", "")]
INTERPOLATIONS += ["${local.seed}", "${trainer.num_nodes}", "${.seed}", "${..seed}", "${.train}", "${local.paths}"]
INTERPOLATIONS += ["${nope}", "${local.nope}", "${oc.decode:'3'}", "${oc.decode:${oc.env:SM_T_INT}}", "${local.seed}x"]
INTERPOLATIONS += [
    "a_${oc.env:SM_T_WORD}_b",
    "'a ${oc.env:SM_T_WORD} b'",
    "${oc.select:local.seed}",
    "\\${x}",
    "'\\${x}'",
]
INTERPOLATIONS += ["${", "$x", "${.cache_dir}/y", "${local.precision}", "${optimizer.betas}", "${optimizer.betas.0}"]
OTHERS = [
    "1,2",
    "range(1,3)",
    "choice(1,2)",
    "int(3.5)",
    "str(3)",
    "float(3)",
    "bool(1)",
    "shuffle(1,2)",
    "(a)",
    "a(b)",
]
OTHERS += ["a=b", "a:b", "a@b", "a%b", "a|b", "a*b", "a;b", "a#b", "a?b", "a!b", "<a>", "&", "x$", "C:\\x"]
TEXTS = [*NUMBERS, *WORDS, *QUOTED, *LISTS, *INTERPOLATIONS, *OTHERS]
BY_KIND = {bool: [*WORDS[:8], "0", "1"], int: NUMBERS, float: NUMBERS, str: [*WORDS, *QUOTED]}
ODD_KEYS = ["optimizer.betas.0", "optimizer.betas.2", "optimizer.betas.-1", "optimizer.betas[0]", "optimizer.betas.x"]
ODD_KEYS += ["local.devcies", "local.max_time", "nope", "nope.x", "local.paths.nope", "local.seed.x", "local.paths."]
ODD_KEYS += ["local..seed", ".local", "local._target_", "local.__class__", "hydra.verbose", "local@x", "local/x"]
ODD_KEYS += ["local.PATHS", "defaults", "local.num_workers[train]", "local:x", "local.paths", "local.num_workers"]
ODD_KEYS += ["trainer.checkpoint", "data.calibration", "local.dev", "local.mlflow"]


def texts(path: str) -> st.SearchStrategy[str]:
    """Texts for a setting: often of its kind, sometimes anything."""
    kinds = [text for kind in LEAVES[path].type.kinds for text in BY_KIND.get(kind.type, LISTS)]
    fitting = st.sampled_from([*LEAVES[path].type.choices, *kinds])
    return st.one_of(fitting, fitting, st.sampled_from(INTERPOLATIONS), st.sampled_from(TEXTS))


SIGNS = st.sampled_from(["", "", "", "", "", "", "", "+", "++", "~"])
CHOICES = st.sampled_from(GROUPS).flatmap(
    lambda group: st.sampled_from([*profiles()[group], "nope", "{batch_size:3}"]).map(lambda name: (group, name))
)
EXPERIMENTS = st.sampled_from(["narrow", "overfit", "[narrow,overfit]", "[overfit]", "[]", "narow"]).map(
    lambda name: ("experiment", name)
)
SETTINGS = st.sampled_from(list(LEAVES)).flatmap(lambda path: st.tuples(st.just(path), texts(path)))
ODD = st.tuples(st.sampled_from(ODD_KEYS), st.sampled_from(TEXTS))
KEYS = st.lists(
    st.one_of(CHOICES, SETTINGS, SETTINGS, SETTINGS, EXPERIMENTS, ODD),
    min_size=1,
    max_size=3,
    unique_by=lambda pair: pair[0],
)
OVERRIDES = KEYS.flatmap(
    lambda pairs: st.tuples(*(SIGNS.map(lambda sign, pair=pair: f"{sign}{pair[0]}={pair[1]}") for pair in pairs)).map(
        list
    )
)


@pytest.fixture(scope="module", autouse=True)
def hydra_started() -> Iterator[None]:
    """Hydra, with the ConfigStore alone."""
    with initialize(version_base="1.3", config_path=None):
        yield


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that generated interpolations read."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def plain(value: object) -> str:
    """A value with its type; a tuple is a list, as OmegaConf has only lists."""
    return repr(json.loads(msgspec.json.encode(value)))


def written(value: Any) -> Iterator[Written]:
    """The numbers and truth values in a parsed value that were written without quotes."""
    if isinstance(value, Written):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from written(inner)


def numbers(overrides: list[str]) -> set[tuple[str, str]]:
    """What Hydra makes of the numbers and truth values in overrides, as texts, with the texts that were written."""
    return {(str(one.value), one.text) for override in overrides for one in written(parse(override).value)}


def differences(ours: sc.EffectiveConfig, theirs: dict[str, Any], overrides: list[str]) -> Iterator[str]:
    """The settings that differ from Hydra's, but for those of the table ``DIFFERENT_ON_PURPOSE``."""
    for group, node in theirs.items():
        mine = getattr(ours, group)
        assert type(mine) is type(node)
        for path, leaf in leaves_of(type(mine)).items():
            one, other = value_at(mine, path), value_at(node, path)
            kinds = {kind.type for kind in leaf.type.kinds}
            if timedelta in kinds and isinstance(one, timedelta):
                equal = isinstance(other, str) and duration(other) == one
            else:
                equal = plain(one) == plain(other)
            if not equal and str in kinds and isinstance(one, str) and isinstance(other, str):
                found = numbers(overrides)
                equal = any(other.replace(made, text) == one for made, text in found if made != text)
            if not equal:
                yield f"{group}.{path}: {one!r} is not Hydra's {other!r}"


def by_hydra(overrides: list[str]) -> tuple[DictConfig, dict[str, Any]] | None:
    """What Hydra composes: the tree and its typed groups; None where it refuses."""
    try:
        config = hydra_compose("train", overrides)
        return config, {group: OmegaConf.to_object(config[group]) for group in GROUPS}
    except (HydraException, OmegaConfBaseException, ValueError, TypeError, AttributeError, KeyError, IndexError):
        return None


def breaks_its_constraints(config: DictConfig, argument: str) -> bool:
    """Whether Hydra put a value that the field's own declaration excludes at, or below, an override's key."""
    key = re.split(r"=", argument.lstrip("+"))[0]
    below = [
        path for path in LEAVES if path == key or path.startswith(f"{key}.") or key.startswith((f"{path}.", f"{path}["))
    ]
    for path in below:
        value = OmegaConf.select(config, path)
        try:
            LEAVES[path].convert(OmegaConf.to_container(value) if OmegaConf.is_config(value) else value)
        except ValueError:
            return True
    return False


def compare(overrides: list[str]) -> None:
    """Ours equals Hydra's, or both refuse, or every refusal of ours has a purpose."""
    theirs = by_hydra(overrides)
    try:
        ours = sc.compose(overrides)
    except sc.ConfigError as error:
        if theirs is not None:
            for problem in error.problems:
                purposes = [pattern for pattern, _ in PURPOSE if re.search(pattern, problem.what)]
                assert purposes, f"{overrides}: Hydra takes it; {problem}"
                if purposes == [CONSTRAINT]:
                    assert breaks_its_constraints(theirs[0], problem.argument or ""), f"{overrides}: {problem}"
        return
    assert theirs is not None, f"{overrides}: only Hydra refuses it"
    assert list(differences(ours, theirs[1], overrides)) == []


@pytest.mark.filterwarnings("ignore:In the sequence")
@settings(max_examples=settings.default.max_examples * 2 // 3)
@given(OVERRIDES)
def test_any_command_line_composes_as_hydra_composes_it(overrides: list[str]) -> None:
    """Choices, scalars, quotes, nulls, interpolations, lists, signs and nonsense."""
    compare(overrides)


@settings(max_examples=settings.default.max_examples // 3)
@given(data=st.data())
def test_a_valid_command_line_composes_as_hydra_composes_it(
    data: st.DataObject, valid_choices: st.SearchStrategy[list[str]], valid_settings: st.SearchStrategy[list[str]]
) -> None:
    """Command lines that mean something: both take them, and agree on every field of every group."""
    overrides = data.draw(valid_choices) + data.draw(valid_settings)
    theirs = by_hydra(overrides)
    assert theirs is not None
    assert list(differences(sc.compose(overrides), theirs[1], overrides)) == []


REFUSED_ON_PURPOSE = [
    # One example of each purpose; Hydra takes every one of these.
    (["local.devices=0"], CONSTRAINT),
    (["optimizer.lr=nan"], PURPOSE[1][0]),
    (["local.mlflow.experiment_name='???'"], PURPOSE[2][0]),
    (["+local.devcies=8"], PURPOSE[3][0]),
    (["++local.devcies=8"], PURPOSE[3][0]),
    (["+local._target_=shutil.rmtree"], PURPOSE[3][0]),
    (["trainer.precision=32"], PURPOSE[5][0]),
    (["local=debug", "local.persistent_workers=true"], PURPOSE[6][0]),
    (["local.dev.fast_dev_run=true", "local.dev.overfit_batches=0.5"], PURPOSE[6][0]),
    (["model.heads=5"], PURPOSE[6][0]),
    (["optimizer.betas.0=1"], PURPOSE[6][0]),
    (["data.simulation.airs_frames=41"], PURPOSE[6][0]),
    (["data.calibration.airs_rows=[8,40]"], PURPOSE[6][0]),
    (["local.precision=null"], PURPOSE[7][0]),
    (["local.name=mine"], PURPOSE[8][0]),
    (["local.num_workers=${trainer.dev}"], PURPOSE[9][0]),
    (["hydra.verbose=true"], PURPOSE[10][0]),
    (["+local.devices=8"], PURPOSE[4][0]),
    (["+local/x=0"], PURPOSE[3][0]),
    (["~local"], PURPOSE[4][0]),
    (["~experiment"], PURPOSE[4][0]),
    (["~local.devices"], PURPOSE[4][0]),
]


@pytest.mark.parametrize(
    ("overrides", "purpose"), REFUSED_ON_PURPOSE, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_what_is_refused_on_purpose(overrides: list[str], purpose: str) -> None:
    """Each row of the table has an example, and the reason that is given is the row's."""
    with pytest.raises(sc.ConfigError) as caught:
        sc.compose(overrides)
    assert re.search(purpose, str(caught.value))


DIFFERENT_ON_PURPOSE = [
    # What both take, with the value of each, and why they differ.
    ("local.mlflow.experiment_name", "true", "true", "True", "a string setting takes the text as it was written"),
    ("local.mlflow.experiment_name", "FALSE", "FALSE", "False", "likewise"),
    ("local.mlflow.experiment_name", "1.10", "1.10", "1.1", "likewise"),
    ("local.mlflow.experiment_name", "1e3", "1e3", "1000.0", "likewise"),
    ("local.mlflow.experiment_name", "7e12345", "7e12345", "inf", "likewise"),
    ("local.mlflow.experiment_name", "1_000", "1_000", "1000", "likewise"),
    ("local.mlflow.experiment_name", "-0", "-0", "0", "likewise"),
    ("trainer.max_time", "9h", timedelta(hours=9), "9h", "OmegaConf has no type for a length of time"),
]


@pytest.mark.parametrize(("path", "text", "value", "hydras", "reason"), DIFFERENT_ON_PURPOSE)
def test_what_differs_on_purpose(path: str, text: str, value: object, hydras: object, reason: str) -> None:
    """Each row of the table has the two values; ``differences`` knows these and no others."""
    overrides = [f"{path}={text}"]
    config, theirs = by_hydra(overrides) or pytest.fail("Hydra refuses it")
    ours = sc.compose(overrides)
    group, _, inner = path.partition(".")
    assert value_at(getattr(ours, group), inner) == value
    assert OmegaConf.select(config, path) == hydras
    assert reason
    assert list(differences(ours, theirs, overrides)) == []
    quoted = [f"{path}='{text}'"]
    again = by_hydra(quoted)
    assert again is not None
    assert OmegaConf.select(again[0], path) == text
    assert sc.compose(quoted) == ours


def test_any_other_difference_is_seen() -> None:
    """Another text, another type, another setting."""
    _, theirs = by_hydra(["local.mlflow.experiment_name=true"]) or pytest.fail("Hydra refuses it")
    for override in ("local.mlflow.experiment_name=TRUE", "local.mlflow.experiment_name=x", "local.seed=1"):
        found = list(differences(sc.compose([override]), theirs, ["local.mlflow.experiment_name=true"]))
        assert [one.partition(":")[0] for one in found][-1:] == ["local.mlflow.experiment_name"]


def test_short_names_are_what_hydra_refuses_and_we_take() -> None:
    """Recipe 7 of the specification writes ``local.cache_dir``; Hydra wants ``local.paths.cache_dir``."""
    assert by_hydra(["local.cache_dir=/x"]) is None
    assert sc.compose(["local.cache_dir=/x"]) == sc.compose(["local.paths.cache_dir=/x"])


def test_no_experiment_is_written_as_a_null_too() -> None:
    """Hydra wants a list, and nothing in it."""
    assert by_hydra(["experiment=null"]) is None
    assert by_hydra(["experiment=[]"]) is not None
    assert sc.compose(["experiment=narrow", "experiment=null"]) == sc.compose(["experiment=[]"]) == sc.compose()


def test_the_groups_are_in_hydras_config_store() -> None:
    """Another Hydra application lists where they are, and finds every profile, typed, by ``- local: hpc``."""
    app = {"defaults": [{"local": "hpc"}, "_self_"], "mine": 1}
    ConfigStore.instance().store("unaware_app", app)
    with pytest.raises(HydraException, match="Could not find 'local/hpc'"):
        hydra_compose("unaware_app")
    ConfigStore.instance().store("another_app", app | {"hydra": {"searchpath": ["spectramind://train"]}})
    config = hydra_compose("another_app", ["local.devices=8"])
    assert OmegaConf.get_type(config.local).__name__ == "HpcLocal"
    assert (config.local.devices, config.local.precision, config.mine) == (8, "bf16-mixed", 1)
    with pytest.raises(HydraException):
        hydra_compose("another_app", ["local.seed=abc"])


def test_the_file_that_hydra_writes_is_read_back(tmp_path: Path) -> None:
    """``.hydra/config.yaml``: what is folded stands in its groups, and interpolations are not looked up yet."""
    words = ["local=hpc", "local.precision=32", "local.paths.cache_dir='${oc.env:HOME}/x'", "model.width=32"]
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(hydra_compose("train", words)), encoding="utf-8")
    read = sc.from_file(tmp_path / "config.yaml")
    assert read == sc.compose(words)
    assert read.paths.cache_dir == f"{Path.home()}/x"
    text = (tmp_path / "config.yaml").read_text(encoding="utf-8").replace("seed: 1337", "seed: -1")
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(sc.ConfigError, match=r"local.seed: -1 does not fit"):
        sc.from_file(tmp_path / "config.yaml")

"""Every error text in full, as a catalogue in ``errors.txt``; run with UPDATE_ERRORS=1 to write it anew."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import spectramind_config as sc
from spectramind_config.errors import ConfigError, Problem, nearest, quoted
from spectramind_config.profiles.local import Dev
from spectramind_config.schema.registry import REGISTRY
from spectramind_train.cli import main

CATALOGUE = Path(__file__).with_name("errors.txt")

COMMANDS = {
    "Choosing a profile": [
        "local=hcp",
        "local=lab",
        "locl=hpc",
        "model=v51 optimizer=adam",
        "local=",
        "~local",
        "+local=hpc",
        "local@cfg=hpc",
        "local.name=hpc",
        "local.name=mine",
    ],
    "A key that does not exist": [
        "local.devcies=8",
        "+local.devcies=8",
        "devices=8",
        "seed=1",
        "local.worker.train=3",
        "local.max_time=01:00:00",
        "local.strategy=ddp",
        "trainer.devices=4",
        "optimizer.learning_rate=0.1",
        "local._target_=os.system",
        "whatever=1",
        "task_name=x",
        "=1",
    ],
    "A value that does not fit": [
        "local.devices=0",
        "local.devices=fast",
        "local.devices=gpu",
        "local.precision=16",
        "local.precision=bf16",
        "local.seed=-1",
        "local.seed=1.5",
        "local.seed=null",
        "local.deterministic=ture",
        "local.paths.data_root=",
        "local.dev.limit_train_batches=1.5",
        "trainer.max_time=8",
        "trainer.strategy=dpp",
        "optimizer.lr=0",
        "optimizer.lr=nan",
        "optimizer.betas=[0.9]",
        "optimizer.betas.7=0.5",
        "optimizer.betas.0=x",
        "local.mlflow.experiment_name='???'",
    ],
    "Experiments": [
        "experiment=narow",
        "experiment=[narrow,fast]",
        "experiment=narrow,overfit",
        "+experiment=narrow",
        "~experiment",
    ],
    "A section instead of a setting": [
        "local.paths=/scratch",
        "local.paths={cache_dir:/x,cash_dir:/y}",
        "local={precision:bf16}",
    ],
    "Signs": ["+local.devices=8", "~local.devices"],
    "Layers": [
        "trainer.precision=32",
        "trainer=multi_gpu local=hpc trainer.precision=32",
        "trainer.precision=32 local.precision=16-mixed",
        "local=debug trainer.dev.limit_train_batches=8",
        "local.precision=null",
    ],
    "Settings that exclude each other": [
        "local=debug local.persistent_workers=true",
        "local.num_workers.val=0",
        "local=debug local.dev.overfit_batches=0.5",
        "model.heads=5",
    ],
    "Interpolations": [
        "local.paths.data_root=${oc.env:SM_NOWHERE}",
        "local.paths.data_root=${local.nope}",
        "local.seed=${local.max_epochs} local.max_epochs=${local.seed}",
        "local.seed=${oc.env:SM_TEXT}",
        "local.devices=${oc.env:SM_TEXT}",
        "local.paths.data_root=${what:ever}",
    ],
    "Grammar": [
        "local.devices",
        "--local.devices=8",
        "local.devices=1,2",
        "local.paths.data_root=/a,/b",
        "local.paths.data_root=/data/run=3",
        "local.paths.data_root='/a",
        "local.betas=[1",
        "local.länge=3",
        "hydra.verbose=true",
        "hydra/launcher=joblib",
    ],
    "Several mistakes at once": [
        "local=hcp local.devcies=8 local.seed=x",
        "local.devices=0 local.sed=3 trainer=multi_gpu",
    ],
}
FILES: dict[str, Any] = {
    "no settings at all": None,
    "a list": ["local=hpc"],
    "unknown keys": {"devcies": 8, "model": {"widht": 3}},
    "wrong values": {"seed": -1, "precision": "64", "paths": "/x"},
    "an unknown profile": {"local": {"name": "lab"}, "trainer": {"name": "multi_gpu"}},
}
CLI = [
    "confg show",
    "config",
    "config shwo",
    "config show --jsno",
    "config explain precison",
    "config validate --json",
    "config validate local=hcp",
    "profiles lst",
    "profiles show",
    "profiles show local=hcp",
    "profiles show deflaut",
    "profiles list --all",
    "profiles new",
    "profiles new a b",
    "config hash --file",
    "config schema local=hpc",
    "train --cfg jub",
    "train --multirun local=hpc,debgu --cfg job hydra.job.chdir=true",
]
SPACES = [
    "",
    "--trials 0 local.seed=1,2",
    "nowhere.txt",
    "local.seed=3",
    "local.seed=choice(3)",
    "optimizer.lrr=interval(1e-5,1e-2)",
    "optimizer.lr=interval(1e-5,1e-2) local.devcies=1",
    "optimizer.lr=interval(0,1e-2)",
    "model.dropout=interval(0.5,1)",
    "model.width=interval(1,64)",
    "model.width=interval(8.5,64)",
    "model.width=interval(8,64)",
    "local.seed=interval(1,2,3)",
    "optimizer.lr=interval(1e-2,1e-5)",
    "optimizer.lr=interval(1e-2,1e-2)",
    "optimizer.lr=interval(1e-5,nan)",
    "optimizer.lr=tag(lgo,interval(1e-5,1e-2))",
    "optimizer.lr=tag(log,interval(0,1))",
    "local.seed=tag(log,range(1,4))",
    "optimizer.schedule=interval(0,1)",
    "local.deterministic=interval(0,1)",
    "model=interval(0,1)",
    "model=v50,v51",
    "local.devices=1,x,y",
    "model.heads=range(4,9)",
    "model.dropout=choice(0,0.0)",
    "local.paths.data_root=/a,/b",
    "local.num_workers.train=range(1,8)",
    "local=debug trainer.precision=choice(32,16-mixed)",
    "model.dropout=interval(0.1,0.2) model.dropout=0.3",
    "optimizer.lr=interval(0,1) model.width=interval(1,64) local.sed=1",
]


@dataclass(kw_only=True)
class Wrong(sc.LocalConfig):
    """Wrong in many ways."""

    seed: int = -1
    max_steps: int = 3
    rack: int


@dataclass(kw_only=True)
class Renamed(sc.LocalConfig):
    """Takes another's name."""


class Undecorated(sc.LocalConfig):
    """Lacks its decorator."""


@dataclass(kw_only=True)
class Retyped(sc.LocalConfig):
    """Changes a type."""

    seed: str = "7"  # type: ignore[assignment]


@dataclass(kw_only=True)
class Torn(sc.LocalConfig):
    """Contradicts itself."""

    dev: Dev = field(default_factory=lambda: Dev(fast_dev_run=True, overfit_batches=0.5))


PROFILES: list[tuple[str, str, type[Any]]] = [
    ("locl", "site", Renamed),
    ("local", "3090", Renamed),
    ("local", "hpc", Renamed),
    ("trainer", "site", Renamed),
    ("local", "wrong", Wrong),
    ("local", "undecorated", Undecorated),
    ("local", "retyped", Retyped),
    ("local", "torn", Torn),
]


def message(call: Callable[[], object]) -> str:
    """What a call is refused with, without what differs between machines and versions of the source."""
    with pytest.raises(ConfigError) as caught:
        call()
    return re.sub(r"/\S*/(\w+\.py):\d+", r"\1:LINE", str(caught.value))


def indented(text: str) -> str:
    """A message as the catalogue shows it."""
    return "".join(f"    {line}\n" for line in text.splitlines())


def catalogue(capsys: pytest.CaptureFixture[str]) -> str:
    """Every message, under what provokes it."""
    parts = ["Every error text of spectramind_config, under what provokes it. Written by test_errors.py.\n"]
    for title, lines in COMMANDS.items():
        parts.append(f"\n== {title} ==\n")
        for text in lines:
            arguments = text.split(" ")
            parts.append(f"\n$ spectramind train {' '.join(map(shlex.quote, arguments))}\n")
            parts.append(indented(message(lambda arguments=arguments: sc.compose(arguments))))  # type: ignore[misc]
    parts.append("\n== Saved configs ==\n")
    for title, values in FILES.items():
        parts.append(f"\n{title}\n")
        parts.append(indented(message(lambda values=values: sc.from_dict(values, "run/config.yaml"))))  # type: ignore[misc]
    parts.append("\n== Registering a profile ==\n")
    known = REGISTRY._known
    for group, name, cls in PROFILES:
        parts.append(f'\n@profile("{group}", "{name}") class {cls.__name__}\n')
        parts.append(indented(message(lambda group=group, name=name, cls=cls: sc.profile(group, name)(cls))))  # type: ignore[misc]
        if name == "hpc":
            parts.append("\n$ spectramind train local=hpc\n" + indented(message(lambda: sc.compose(["local=hpc"]))))
        REGISTRY._known = known
    parts.append("\n== Commands ==\n")
    for text in CLI:
        code = main(text.split())
        found = capsys.readouterr().err
        parts.append(f"\n$ spectramind {text}\n" + (indented(found) if code else "    (prints the usage)\n"))
    parts.append("\n== Spaces of a sweep ==\n")
    for text in SPACES:
        assert main(["sweep", *text.split()]) == 2
        parts.append(f"\n$ spectramind sweep {text}\n" + indented(capsys.readouterr().err))
    return "".join(parts)


def test_every_message_reads_as_in_the_catalogue(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A change of any wording shows up as a change of ``errors.txt``."""
    monkeypatch.setenv("SM_TEXT", "many")
    monkeypatch.delenv("SM_NOWHERE", raising=False)
    found = catalogue(capsys)
    if "UPDATE_ERRORS" in os.environ:
        CATALOGUE.write_text(found, encoding="utf-8")
    assert found == CATALOGUE.read_text(encoding="utf-8")


@pytest.mark.parametrize("line", [line for lines in COMMANDS.values() for line in lines])
def test_the_command_to_run_instead_works(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """Where a message ends in a command, that command composes as a shell reads it."""
    monkeypatch.setenv("SM_TEXT", "many")
    with pytest.raises(ConfigError) as caught:
        sc.compose(line.split(" "))
    _, found, command = str(caught.value).partition("run instead: spectramind train")
    if found:
        sc.compose(shlex.split(command))


def test_an_error_is_copied_with_everything() -> None:
    """Errors cross process borders: a sweep's worker pickles them."""
    import pickle

    with pytest.raises(ConfigError) as caught:
        sc.compose(["local.devcies=8", "local=hcp"])
    twin = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert str(twin) == str(caught.value)
    assert twin.problems == caught.value.problems


def test_a_problem_is_a_short_paragraph() -> None:
    """What failed stands first, every detail on its own labelled line, and nothing that is not known."""
    problem = Problem(what="a=b: no", origin="command line", expected="an int", nearest="c", hint="try c")
    text = "a=b: no\n  from:     command line\n  expected: an int\n  nearest:  c\n  do:       try c"
    assert str(problem) == text
    assert str(Problem(what="no")) == str(ConfigError("no")) == "no"


def test_arguments_are_quoted_for_a_shell() -> None:
    """The quotes that read best, and always ones that a shell undoes."""
    assert quoted("local.devices=8") == "local.devices=8"
    assert quoted("a='b c'") == "\"a='b c'\""
    for text in ("a b", "a='b'", "a=${x}", "a='$x'", 'a="b"', "a=!b'", "", "a=`b`'", "a\\'b"):
        assert shlex.split(quoted(text)) == [text]


def test_the_nearest_word_is_near() -> None:
    """A slip of the fingers is recognized; a different word is not."""
    assert nearest("devcies", ["devices", "device_map"]) == "devices"
    assert nearest("zebra", ["devices", "seed"]) is None
    assert nearest("x", []) is None

"""Sweeps before they start: the points that one stands for, and what a correction keeps of a command line."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

import spectramind_config as sc
from spectramind_config.commands import jobs
from spectramind_config.commands.jobs import points
from spectramind_train.cli import main

SWEEPS = [
    # overrides, the points
    ([], [[]]),
    (["local=hpc"], [["local=hpc"]]),
    (["local.seed=1,2"], [["local.seed=1"], ["local.seed=2"]]),
    (["local.x='1,2'"], [["local.x='1,2'"]]),
    (["local=glob(*)"], [["local=default"], ["local=debug"], ["local=hpc"]]),
    (["local=glob(*,exclude=d*)"], [["local=hpc"]]),
    (["local=glob([h*,de*],exclude=default)"], [["local=debug"], ["local=hpc"]]),
    (["optimizer.lr=interval(1e-4,1e-2)"], [["optimizer.lr=0.0001"], ["optimizer.lr=0.01"]]),
    (["local.seed=range(1,4)"], [["local.seed=1"], ["local.seed=2"], ["local.seed=3"]]),
    (["local=choice(hpc,debug)"], [["local=hpc"], ["local=debug"]]),
    (["local.mlflow.experiment_name=1.10,on"], [[f"local.mlflow.experiment_name={one}"] for one in ("1.10", "on")]),
    (
        ["local=default,hpc", "local.seed=1", "local.devices=1,2"],
        [[f"local={name}", "local.seed=1", f"local.devices={n}"] for name in ("default", "hpc") for n in (1, 2)],
    ),
    (["local.seed=[1"], [["local.seed=[1"]]),
]


@pytest.mark.parametrize(("overrides", "expected"), SWEEPS, ids=lambda value: " ".join(map(str, value))[:40])
def test_a_sweep_is_the_product_of_its_overrides(overrides: list[str], expected: list[list[str]]) -> None:
    """What is no sweep, or cannot be read, stands for itself; the composition tells what is wrong with it."""
    assert list(map(list, points(overrides, sc.EffectiveConfig))) == expected


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that starts nothing is told."""
    assert main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


@pytest.mark.parametrize("sweeps", [["--multirun"], ["-m"], ["hydra.mode=MULTIRUN"]])
def test_a_mistake_in_any_point_is_found_before_the_first_starts(
    capsys: pytest.CaptureFixture[str], sweeps: list[str]
) -> None:
    """A contradiction of two values of the product, too; and ``hydra.mode=MULTIRUN`` means a sweep."""
    err = refused(capsys, "train", *sweeps, "model.width=48,64", "model.heads=4,12")
    assert "heads (12) does not divide width (64)" in err
    assert "mistakes" not in err
    assert "there is no profile 'hcp'" in refused(capsys, "train", *sweeps, "local=default,hcp")


def test_one_run_has_one_value_each(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a flag a list of values is a mistake, and the message says how to sweep."""
    err = refused(capsys, "train", "local.seed=1,2")
    assert err.endswith("see: spectramind train --multirun local.seed=1,2\n")


def test_of_a_sweep_that_is_too_large_each_value_is_checked_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not every point; a wrong value at the end of the last list is found all the same."""
    seeds = ",".join(map(str, range(60)))
    composed: list[object] = []
    compose = jobs.compose
    monkeypatch.setattr(jobs, "compose", lambda *arguments: composed.append(arguments) or compose(*arguments))
    err = refused(capsys, "train", "-m", f"local.seed={seeds}", f"local.devices={seeds}")
    assert "local.devices=0: 0 does not fit" in err
    assert len(composed) == 120


KEPT = [
    # the command line, and the one to run instead
    ("train --cfg job --resolve local=hcp", "train --cfg job --resolve local=hpc"),
    ("train -m local=hpc,debgu hydra.job.chdir=true", "train -m local=hpc,debug hydra.job.chdir=true"),
    ("train --multirun local.sed=1 hydra/launcher=basic", "train --multirun local.seed=1 hydra/launcher=basic"),
    ("train hydra.mode=MULTIRUN local=hcp,debug", "train hydra.mode=MULTIRUN local=hpc,debug"),
    ("train +hydra.x=1 local=hcp --info config", "train +hydra.x=1 local=hpc --info config"),
    ("train local=hcp --cfg=job -p local", "train local=hpc --cfg=job -p local"),
    ("train --mutlirun local=hpc", "train --multirun local=hpc"),
    ("config show --json local=hcp", "config show --json local=hpc"),
    ("config show local=hcp --json", "config show local=hpc --json"),
    ("config explain devices local=hcp precision --json", "config explain devices local=hpc precision --json"),
    ("config explain precison --json local=hpc", "config explain precision --json local=hpc"),
    ("config hash --science local=hcp", "config hash --science local=hpc"),
    ("config diff --exit-code local=hcp 'local=debug'", "config diff --exit-code local=hpc local=debug"),
    (
        "config diff local=hpc 'local=debug local.sed=3' --json",
        "config diff local=hpc 'local=debug local.seed=3' --json",
    ),
    ("confg show --json local=hpc", "config show --json local=hpc"),
    ("profiles show local=hcp --json", "profiles show local=hpc --json"),
    (
        "config show --config-dir {dir} --profiles={dir}/a.py local=hcp",
        "config show --config-dir {dir} --profiles={dir}/a.py local=hpc",
    ),
    ("--profiles {dir}/a.py config show local=hcp", "config show local=hpc --profiles {dir}/a.py"),
]


@pytest.mark.parametrize(("line", "instead"), KEPT, ids=[line for line, _ in KEPT])
def test_the_command_to_run_instead_keeps_everything_else(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, line: str, instead: str
) -> None:
    """Flags and their values, settings of Hydra, paths and the order of it all."""
    (tmp_path / "a.py").write_text("")
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "lab.yaml").write_text("seed: 1\n")
    err = refused(capsys, *shlex.split(line.format(dir=tmp_path)))
    assert err.splitlines()[-1] == f"run instead: spectramind {instead.format(dir=tmp_path)}"

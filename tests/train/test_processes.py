"""Several processes that train one model, for real, with gloo on the CPU."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import pytest

from spectramind_config import ConfigError, compose
from spectramind_config.host import Host
from spectramind_train.cli import main
from spectramind_train.learning.processes import learn_in_processes
from spectramind_train.run.children import ProcessFailedError
from spectramind_train.run.directory import Run
from spectramind_train.run.launching import launch
from spectramind_train.run.plan import RunPlan, plan
from spectramind_train.run.terminal import Terminal
from spectramind_train.training import train

from .servers import until

STILL = ("time_flip=false", "fresh_noise=0", "extra_noise=0", "depth_scale=1")
"""Nothing that changes a batch at random."""


def test_two_processes_train_one_model(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two ranks read the frozen config, train together and leave one scored run, inside a SLURM job too.

    As the trial of a sweep they are never pruned, and say so.
    """
    for name, value in {"JOB_ID": "1", "JOB_NAME": "train", "NTASKS": "1", "PROCID": "0", "LOCALID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SM_MLFLOW_DIR", str(tmp_path / "mlruns"))
    more = ["trainer=ddp_sim", f"local.output_dir={tmp_path}", "local.max_epochs=2", "local.mlflow.enabled=true"]
    more += [f"data.augmentation.{name}" for name in STILL]
    config, host = compose([*small, *more]), Host.detect()
    outcome = train(config, plan(config, host), host, Terminal(), prunes=lambda *_: True)
    assert outcome.exit_code == 0
    assert "is not pruned" in capfd.readouterr().out
    manifest = outcome.run.manifest
    assert manifest.status == "completed"
    assert manifest.plan["devices"] == 2
    assert manifest.metrics["test_score"] > 0.3
    assert outcome.run.checkpoint().is_file()
    assert outcome.score == manifest.metrics["val_score_best"]
    with (outcome.run.path / "metrics.csv").open() as file:
        losses = [float(row["train_loss"]) for row in csv.DictReader(file) if row["train_loss"]]
    assert len(losses) == 2
    assert losses[1] < losses[0]
    # MLflow's number of FINISHED; it may come when the run is over.
    until(lambda: any("status: 3" in meta.read_text() for meta in (tmp_path / "mlruns").rglob("meta.yaml")), "the end")
    assert sorted(path.name for path in tmp_path.iterdir()) == [manifest.run_id, "mlruns", "run_manifest.json"]
    (final,) = (tmp_path / "mlruns").rglob("test_score")
    assert (final.parent / "val_score").is_file()


@pytest.fixture
def two(tmp_path: Path) -> tuple[Run, RunPlan]:
    """A run that two processes cannot even open, since its manifest is gone, and its plan."""
    config, host = compose([f"local.output_dir={tmp_path}", "local.devices=cpu"]), Host.detect()
    alone = plan(config, host)
    run = Run.create(config, alone, host)
    (run.path / "manifest.json").unlink()
    return run, dataclasses.replace(alone, devices=2)


def test_a_mistake_that_a_process_finds_is_one_message(
    two: tuple[Run, RunPlan], capfd: pytest.CaptureFixture[str]
) -> None:
    """It is that of the process, told once, by whoever started it; the agent has nothing to add."""
    with pytest.raises(ConfigError, match="no run here"):
        learn_in_processes(*two, deadline=None, restarts=3, warn=print)
    assert capfd.readouterr() == ("", "")


@pytest.mark.fault("a loss or gradient that is not finite")
def test_a_loss_that_is_not_finite_is_a_mistake_in_two_processes_too(
    small: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One message, exit code 2, status failed."""
    settings = ["trainer=ddp_sim", "model.width=8", "optimizer.lr=1e30", "optimizer.warmup_fraction=0"]
    assert main(["train", *small, *settings, f"local.output_dir={tmp_path}"]) == 2
    error = capfd.readouterr().err
    assert error.count("loss is") == 1
    assert "Traceback" not in error
    assert '"status": "failed"' in (tmp_path / "run_manifest.json").read_text()


FAILING = """
import os, signal, sys
from spectramind_train.run import signals
signals.of_rank()
from torch.distributed.elastic.multiprocessing.errors import get_error_handler
if os.environ["RANK"] == "1":
    {first}
signal.pause()
"""


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            r"process 1 of 2 was killed \(SIGKILL\), most likely for lack of memory",
        ),
        ("os.abort()", "process 1 of 2 was killed by SIGABRT"),
        (
            "try: 1 / 0\n    except ZeroDivisionError as e: get_error_handler().record_exception(e); sys.exit(1)",
            r"process 1 of 2 failed\n(?s:.*)ZeroDivisionError: division by zero",
        ),
    ],
    ids=["killed", "aborted", "failed"],
)
def test_the_first_process_that_fails_is_told(
    first: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are ended, at once where they train nothing yet; how it failed is no mistake of the user's."""
    (tmp_path / "failing.py").write_text(FAILING.format(first=first))
    monkeypatch.chdir(tmp_path)  # Where ``python -m`` looks first.
    with pytest.raises(ProcessFailedError, match=words):
        launch("failing", [], 2, restarts=0, warn=print)


def test_a_process_that_fails_is_started_again_as_often_as_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With all others, and each time it is told; the last failure is the run's."""
    first = "print('alive', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    (tmp_path / "failing.py").write_text(FAILING.format(first=first))
    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    with pytest.raises(ProcessFailedError, match="was killed"):
        launch("failing", [], 2, restarts=2, warn=told.append)
    assert [line.partition("; ")[2] for line in told] == [
        f"all start again from the newest checkpoint ({number} of 2 restarts)" for number in (1, 2)
    ]
    assert capfd.readouterr().out.count("alive") == 3


@pytest.mark.fault("other threads, other processes with the same planets in each step")
def test_the_same_steps_in_one_two_and_four_processes(
    small: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Steps of eight planets in one process, of four in each of two and of two in each of four give the same losses.

    They agree to 0.00001, that of the first validation also to a part in 100 000. Nothing is random here: each process
    draws numbers of its own. Nor has Lightning any advice for the user.
    """
    same = ["model.width=8", "model.dropout=0", "local.max_epochs=3", "local.dev.limit_train_batches=1"]
    same += [f"data.augmentation.{name}" for name in STILL]
    losses = []
    for count in (1, 2, 4):
        folder = tmp_path / str(count)
        more = [f"data.batch_size={8 // count}", "trainer=ddp_sim", f"trainer.cpu_processes={count}"]
        assert main(["train", *small, *same, *more, f"local.output_dir={folder}"]) == 0
        (table,) = folder.glob("*/metrics.csv")
        with table.open() as file:
            rows = list(csv.DictReader(file))
        losses.append([[float(row[name]) for row in rows if row[name]] for name in ("train_loss", "val_loss")])
    alone, *together = losses
    assert [len(epochs) for epochs in alone] == [3, 3]
    for train_loss, val_loss in together:
        assert train_loss == pytest.approx(alone[0], abs=1e-5)
        assert val_loss == pytest.approx(alone[1], abs=1e-5)
        assert val_loss[0] == pytest.approx(alone[1][0], rel=1e-5)
    captured = capfd.readouterr()
    assert "recommended" not in captured.out + captured.err

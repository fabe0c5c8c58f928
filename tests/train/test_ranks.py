"""How the processes of a run find each other, whoever is late."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from spectramind_train.run import ranks

HEAD = """
import os, time
from pathlib import Path
from spectramind_config import ConfigError
from spectramind_train.run.ranks import here
ranks = here()
"""
JOINS = """
with ranks.leading():
    ranks.join(ranks.begin(Path("/runs/1"), 7.0), "cpu")
print("joined")
"""
ASKS = """
ranks.meet()
{first}
try:
    start = ranks.start()
except ConnectionError as error:
    print(error)
    os._exit(3)
if start.run:
    ranks.join(start.group, "cpu")
print(start.run, start.exit_code, start.deadline)
"""


def together(*programs: str) -> list[tuple[int, str]]:
    """Exit codes and outputs of the tasks of one step."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    step = {"SLURM_STEP_NUM_TASKS": str(len(programs)), "SLURM_STEP_NODELIST": "localhost", "SLURM_NODEID": "0"}
    step |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "SLURM_JOB_ID": "1"}
    tasks = []
    for number, program in enumerate(programs):
        own = {"SLURM_PROCID": str(number), "SLURM_LOCALID": str(number)}
        tasks.append(
            subprocess.Popen(
                [sys.executable, "-c", HEAD + program], env=os.environ | step | own, stdout=subprocess.PIPE, text=True
            )
        )
    outputs = [task.communicate()[0] for task in tasks]
    return [(task.returncode, output.strip()) for task, output in zip(tasks, outputs, strict=True)]


@pytest.mark.parametrize("first", ["", "time.sleep(2)"], ids=["early", "late"])
def test_the_others_train_what_the_first_has_prepared(first: str) -> None:
    """Also one that asks when the first already waits for it."""
    asks = ASKS.format(first=first)
    others = (0, "/runs/1 0 7.0")
    assert together(JOINS, asks, ASKS.format(first="")) == [(0, "joined"), others, others]


@pytest.mark.parametrize(
    ("failure", "code"),
    [("raise ConfigError('no')", 2), ("raise SystemExit(143)", 143), ("1 / 0", 1), ("pass", 0)],
)
def test_the_others_end_as_the_first_does_where_it_prepares_nothing(failure: str, code: int) -> None:
    """Without a run, whatever the reason is."""
    leads = f"try:\n    with ranks.leading(): {failure}\nexcept BaseException: pass"
    assert together(leads, ASKS.format(first=""))[1] == (0, f"{code} None")


def test_the_others_end_when_the_first_is_gone() -> None:
    """As it is when it is killed for lack of memory."""
    gone = "with ranks.leading():\n    time.sleep(3)\n    os._exit(9)"
    assert together(gone, ASKS.format(first=""))[1] == (3, "the first process of the run has gone")


def test_a_process_finds_its_rank_where_its_starter_left_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch script has variables of its job's tasks, and is none of them."""
    for name in ("TORCHELASTIC_RUN_ID", "RANK", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    find = ranks.here.__wrapped__
    for name, value in {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    assert find() is None
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    monkeypatch.setenv("SLURM_PROCID", "3")
    assert (find().rank, find().size, find().starter) == (3, 8, "srun")
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert (find().rank, find().size, find().starter) == (1, 2, "torchrun")

"""What a run asks of SLURM, and what it does with what it gets: by stand-ins that read directives and start tasks."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spectramind_config import ConfigError, compose
from spectramind_config.commands import jobs
from spectramind_train.cli import main
from spectramind_train.run.directory import Run
from spectramind_train.run.slurm import Job, launching

from .stopping import NO_LOADERS, Started

CLUSTER = ["trainer=multi_gpu", "local=hpc", "local.devices=8", "trainer.num_nodes=2", "trainer.max_time=8:30:00"]

SRUN = """#!{python}
import os, re, signal, subprocess, sys
directives = dict(word.partition("=")[::2] for word in os.environ["DIRECTIVES"].split())
nodes, each = int(directives["--nodes"]), int(directives["--ntasks-per-node"])
command = [word for word in sys.argv[1:]]
while command[0].startswith("--"):
    option, _, value = command.pop(0).partition("=")
shared = {{"SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": str(nodes * each)}}
shared["SLURM_STEP_NODELIST"] = f"node[1-{{nodes}}]"
tasks = []
signal.signal(signal.SIGUSR1, lambda number, _: [task.send_signal(number) for task in tasks])
for number in range(nodes * each):
    own = {{"SLURM_PROCID": number, "SLURM_LOCALID": number % each, "SLURM_NODEID": number // each}}
    environment = os.environ | shared | {{name: str(value) for name, value in own.items()}}
    tasks.append(subprocess.Popen(command, env=environment))
sys.exit(max(task.wait() for task in tasks))
"""
SCONTROL = """#!{python}
import os, sys
assert sys.argv[1:] == ["requeue", "4711"], sys.argv
open(os.environ["REQUEUED"], "w").close()
"""


def test_a_batch_script_has_a_task_for_each_process() -> None:
    """With the time that the run may take, a word before its end, and what puts it back into the queue."""
    job = Job.of(compose(CLUSTER))
    assert (job.nodes, job.tasks, job.gpus) == (2, 8, 8)
    script = job.script(CLUSTER)
    for line in ("--nodes=2", "--ntasks-per-node=8", "--gpus-per-node=8", "--time=8:31:00", "--signal=USR1@120"):
        assert f"\n#SBATCH {line}\n" in script
    assert f"\nsrun --kill-on-bad-exit=1 spectramind train {' '.join(CLUSTER)}\n" in script
    alone = Job.of(compose(["local.devices=cpu"])).script([])
    assert "gpus" not in alone
    assert "time" not in alone


def test_plan_writes_it(capsys: pytest.CaptureFixture[str]) -> None:
    """For a config that says how many GPUs it takes, or for a node that is named."""
    assert main(["plan", "--sbatch", *CLUSTER]) == 0
    assert capsys.readouterr().out == Job.of(compose(CLUSTER)).script(CLUSTER)
    assert main(["plan", "--sbatch", "--host", "4xH100", "trainer=multi_gpu"]) == 0
    assert "#SBATCH --gpus-per-node=4\n" in capsys.readouterr().out
    assert main(["plan", "--sbatch", "trainer=multi_gpu"]) == 2
    assert "local.devices=8" in capsys.readouterr().err


def test_gpus_that_nobody_has_counted_are_asked_for() -> None:
    """A login node has none, and all of those of a node are asked for."""
    with pytest.raises(ConfigError, match="does not know how many it has") as caught:
        Job.of(compose(["trainer=multi_gpu"]))
    assert "local.devices=8" in str(caught.value)


def test_a_launcher_is_told_what_the_run_needs() -> None:
    """But for what the command line says by itself; different runs need launches of their own."""
    words = ["hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=60", *CLUSTER]
    configs = [compose(point) for point in jobs.points([*CLUSTER, "local.seed=1,2"], type(compose([])))]
    told = launching(words, configs)
    assert "hydra.launcher.nodes=2" in told
    assert "hydra.launcher.tasks_per_node=8" in told
    assert "hydra.launcher.gpus_per_node=8" in told
    assert not any("timeout_min" in word for word in told)
    with pytest.raises(ConfigError, match="2 kinds of jobs"):
        launching(words, [compose(CLUSTER), compose([*CLUSTER, "local.devices=4"])])


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands that stand in for SLURM's; returns where a job leaves word that it was put back into the queue."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        (folder / name).write_text(text.format(python=sys.executable))
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("REQUEUED", str(tmp_path / "requeued"))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")  # Where node1 would be.
    return tmp_path / "requeued"


class Life(Started):
    """A batch job, as ``sbatch`` would start it."""

    def __init__(self, folder: Path, script: str, restarts: int) -> None:
        file = folder.parent / "job.sh"
        file.write_text(script)
        environment = {"DIRECTIVES": " ".join(re.findall("^#SBATCH (.*)", script, re.MULTILINE))}
        environment |= {"SLURM_JOB_ID": "4711"}
        if restarts:
            environment["SLURM_RESTART_COUNT"] = str(restarts)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            super().__init__(folder, by=("bash", str(file)))


@pytest.fixture
def lives() -> Iterator[list[Started]]:
    """The lives of a job, of which none is left."""
    found: list[Started] = []
    yield found
    for life in found:
        life.kill()


@pytest.mark.fault("a job that is put back into the queue, on another machine")
def test_a_job_that_is_warned_saves_and_goes_on_in_its_next_life(
    small: list[str], cluster: Path, tmp_path: Path, lives: list[Started]
) -> None:
    """Two nodes with a task each; the second life resumes the run of the first, without being told to."""
    folder = tmp_path / "runs"
    settings = [*small, *NO_LOADERS, "model.width=8", "trainer.num_nodes=2", "trainer.strategy=ddp"]
    settings += [f"local.output_dir='{folder}'", "trainer.early_stopping.enabled=false"]
    endless = [*settings, "local.max_epochs=100000"]
    lives.append(first := Life(folder, Job.of(compose(endless)).script(endless), 0))
    first.await_that(lambda: list(folder.glob("*/checkpoints/index.json")))
    for pid in first.alive():
        if b"/srun" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGUSR1)
    assert first.end() == 75, first.output
    assert cluster.exists()
    (path,) = first.runs()
    assert Run.open(path).manifest.status == "interrupted"

    lives.append(second := Life(folder, Job.of(compose(endless)).script(endless), 1))
    second.await_that(lambda: "resuming" in second.output)
    assert f"resuming {path}" in " ".join(second.output.split())
    second.await_that(lambda: len(Run.open(path).manifest.resumed) == 1)


@pytest.mark.parametrize(
    ("tasks", "words"), [(3, "srun has started 3 process(es), and the run has 2"), (1, "have to be started there")]
)
def test_a_wrong_number_of_tasks_is_one_message(
    tasks: int, words: str, cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command that starts as many as are needed."""
    monkeypatch.setenv("DIRECTIVES", f"--nodes=1 --ntasks-per-node={tasks}")
    command = ["srun", sys.executable, "-m", "spectramind_train", "local.devices=cpu", "trainer.num_nodes=2"]
    found = subprocess.run(
        [*command, f"local.output_dir={tmp_path}"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert found.returncode == 2
    assert found.stderr.count("error: ") == 1
    assert words in " ".join(found.stderr.split())
    assert "--ntasks-per-node=1" in found.stderr

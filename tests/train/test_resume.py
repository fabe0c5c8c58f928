"""Runs that are stopped and resumed end as if nothing had happened."""

from __future__ import annotations

import csv
import dataclasses
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from spectramind_config import ConfigError, EffectiveConfig, compose
from spectramind_config.host import Host
from spectramind_train.cli import main
from spectramind_train.learning import processes
from spectramind_train.learning.learner import Learned
from spectramind_train.learning.progress import Progress
from spectramind_train.resumption import chosen, newest
from spectramind_train.run.checkpoints import Index
from spectramind_train.run.directory import Run
from spectramind_train.run.plan import plan
from spectramind_train.run.terminal import Terminal
from spectramind_train.training import Outcome, train

# Fifteen planets in batches of two are eight batches, the last a single planet, and with three to a step three steps
# an epoch, the last of two batches. Dropout, shuffling and augmentation are on.
TINY = (
    "model.width=8",
    "model.state_size=2",
    "model.dropout=0.1",
    "data.batch_size=2",
    "local.max_epochs=3",
    "local.accumulate_grad_batches=3",
    "local.dev.log_every_n_steps=2",
    "local.num_workers={train: 0, val: 0, test: 0}",
    "local.persistent_workers=false",
    "optimizer.schedule=cosine",
)


class Stopper:
    """Asks a training to stop before given optimizer steps, one in each process's life."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.step: int | None = None
        start = Progress.on_train_batch_start

        def stopping(progress: Progress, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == self.step:
                progress.stop.requested = progress.stop.out_of_time = True
            start(progress, trainer, module, batch, batch_idx)

        patch.setattr(Progress, "on_train_batch_start", stopping)


@pytest.fixture
def stopper(monkeypatch: pytest.MonkeyPatch) -> Stopper:
    """Stops trainings in this process."""
    return Stopper(monkeypatch)


def run_of(config: EffectiveConfig, resumed: Run | None = None, **changes: Any) -> Outcome:
    """Train a config in silence, with changes of the plan."""
    host = Host.detect()
    how = dataclasses.replace(plan(config, host), **changes)
    deadline = None if config.max_time is None else time.time() + config.max_time.total_seconds()
    return train(config, how, host, Terminal(silent=True), deadline=deadline, resumed=resumed)


def interrupted(config: EffectiveConfig, stopper: Stopper, steps: Sequence[int], **changes: Any) -> Outcome:
    """A run that is stopped before each of the steps, and resumed every time."""
    run: Run | None = None
    for step in (*steps, None):
        stopper.step = step
        outcome = run_of(config, run, **changes)
        assert outcome.exit_code == (0 if step is None else 75)
        run = Run.open(outcome.run.path)
    return outcome


def end_of(run: Run) -> dict[str, Any]:
    """The newest checkpoint of a run."""
    index = Index.read(run.checkpoints)
    assert index.newest is not None
    found: dict[str, Any] = torch.load(run.checkpoints / index.newest.file, weights_only=True)
    return found


def rows_of(run: Run) -> list[tuple[str, ...]]:
    """The rows of ``metrics.csv``."""
    with (run.path / "metrics.csv").open() as file:
        return [tuple(sorted(row.items())) for row in csv.DictReader(file)]


def comparable(value: Any) -> Any:
    """What a checkpoint holds, with texts as numbers, for torch compares no texts."""
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return list(map(comparable, value))
    return list(value.encode()) if isinstance(value, str) else value


def require_same(one: Run, other: Run) -> None:
    """Require the same weights, optimizer, validations, metrics and record, bit for bit."""
    left, right = comparable(end_of(one)), comparable(end_of(other))
    for name in ("state_dict", "optimizer_states", "lr_schedulers", "callbacks"):
        torch.testing.assert_close(left[name], right[name], rtol=0, atol=0, equal_nan=True)
    assert one.manifest.metrics == other.manifest.metrics
    assert rows_of(one) == rows_of(other)
    assert (one.path / "test_predictions.csv").read_bytes() == (other.path / "test_predictions.csv").read_bytes()


VARIANTS = {
    "plain": (),
    "early stopping": ("optimizer.lr=1e-5", "trainer.early_stopping.patience=1", "local.max_epochs=6"),
    "max_steps": ("trainer.max_steps=7",),
    "sparse validation": ("local.dev.check_val_every_n_epoch=2", "trainer.checkpoint.every_n_epochs=3"),
    "no validation": ("local.dev.limit_val_batches=0",),
    "overfit": ("local.dev.overfit_batches=0.6",),
    "workers": ("local.num_workers={train: 1, val: 0, test: 0}",),
}
STOPS = {
    "plain": ([1, 2, 3, 4, 5, 6, 7, 8], [2, 6]),
    "early stopping": ([2, 3],),
    "max_steps": ([3, 5],),
    "sparse validation": ([4, 6],),
    "no validation": ([2],),
    "overfit": ([1, 3],),
    "workers": ([3, 7],),
}


def uninterrupted(small: list[str], outputs: Path) -> dict[str, Outcome]:
    """Runs of each variant that nothing interrupts, made when they are asked for."""

    class Whole(dict[str, Outcome]):
        def __missing__(self, name: str) -> Outcome:
            self[name] = run_of(compose([*small, *TINY, *VARIANTS[name], f"local.output_dir={outputs}"]))
            return self[name]

    return Whole()


@pytest.fixture(scope="module")
def whole(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Runs that nothing interrupts."""
    return uninterrupted(small, tmp_path_factory.mktemp("whole"))


@pytest.mark.fault("stopped at any step, and resumed")
@pytest.mark.parametrize(("name", "steps"), [(name, steps) for name in STOPS for steps in STOPS[name]])
def test_a_resumed_run_ends_as_if_never_stopped(
    small: list[str], tmp_path: Path, stopper: Stopper, whole: dict[str, Outcome], name: str, steps: list[int]
) -> None:
    """Stopped at any steps, within epochs and at their ends: the same weights, scores and metrics, bit for bit."""
    expected = whole[name]
    assert expected.exit_code == 0
    config = compose([*small, *TINY, *VARIANTS[name], f"local.output_dir={tmp_path}"])
    outcome = interrupted(config, stopper, steps)
    require_same(outcome.run, expected.run)
    assert [one.step for one in outcome.run.manifest.resumed] == steps
    assert len(list(tmp_path.glob("*/"))) == 1


@pytest.mark.fault("stopped at any step, and resumed")
@pytest.mark.parametrize("processes", [1, 2])
def test_processes_of_several_go_on_where_they_were(small: list[str], tmp_path: Path, processes: int) -> None:
    """A run whose time was up within its first epoch ends as one with time enough does."""
    config = compose([*small, *TINY, "local.max_epochs=2", f"local.output_dir={tmp_path}"])
    hasty = config.with_overrides(["trainer.max_time=10s"])
    several = {"devices": processes, "strategy": "ddp" if processes > 1 else "auto", "threads": 1}
    expected = run_of(config, **several)
    outcome = run_of(hasty, **several)
    assert outcome.exit_code == 75
    outcome = run_of(config, Run.open(outcome.run.path), **several)
    assert outcome.exit_code == 0
    require_same(outcome.run, expected.run)
    assert [one.step for one in outcome.run.manifest.resumed] == [1]


@pytest.fixture(scope="module")
def stopped(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Run]:
    """The overrides of a run that was stopped after two steps, and the run."""
    overrides = [*small, *TINY, "local.max_epochs=2", f"local.output_dir={tmp_path_factory.mktemp('stopped')}"]
    with pytest.MonkeyPatch.context() as patch:
        Stopper(patch).step = 2
        return overrides, run_of(compose(overrides)).run


@pytest.fixture
def copied(stopped: tuple[list[str], Run], tmp_path: Path) -> tuple[list[str], Path]:
    """The overrides, and a copy of the run in a folder of its own, which they name."""
    overrides, run = stopped
    shutil.copytree(run.path, tmp_path / "outputs" / run.path.name)
    return [*overrides[:-1], f"local.output_dir={tmp_path / 'outputs'}"], tmp_path / "outputs" / run.path.name


def test_resume_takes_the_config_of_the_run(copied: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Without overrides the run goes on in its directory; what is done cannot be resumed again."""
    _, path = copied
    assert main(["train", "--resume", str(path)]) == 0
    assert f"resuming {path} after step 2, in epoch 1" in capsys.readouterr().out
    manifest = Run.open(path).manifest
    assert (manifest.status, manifest.run_id) == ("completed", path.name)
    assert {record.kind for record in manifest.checkpoints} >= {"best"}
    assert main(["train", "--resume", str(path / "manifest.json")]) == 2
    error = capsys.readouterr().err
    assert "cannot be resumed: it is completed" in error
    assert f"see: spectramind runs show {path}" in error


@pytest.mark.fault("resumed with another config")
def test_another_config_is_refused_with_the_difference(
    copied: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The setting, both values and both commands are told, and the run stays as it was."""
    overrides, path = copied
    before = (path / "manifest.json").read_bytes()
    assert main(["train", *overrides, "optimizer.lr=0.5", "--resume", str(path)]) == 2
    error = capsys.readouterr().err
    words = ["trained with another config", "optimizer.lr\n", "A: 0.0003", "B: 0.5", f"--resume {path}"]
    assert not [word for word in words if word not in error], error
    assert (path / "manifest.json").read_bytes() == before


@pytest.mark.fault("resumed with another config")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("trainer=ddp_sim", "would see 4: 2 process(es) with data.batch_size=2"),
        ("data.batch_size=3", "would see 3: 1 process(es) with data.batch_size=3"),
    ],
)
def test_another_share_of_planets_for_each_process_is_refused(
    copied: tuple[list[str], Path], capsys: pytest.CaptureFixture[str], change: str, words: str
) -> None:
    """More processes or other batches of each would see other planets together, and so give other weights."""
    overrides, path = copied
    before = (path / "manifest.json").read_bytes()
    assert main(["train", *overrides, change, "--resume", str(path)]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "each step of the run sees 2 planets" in error
    assert words in error
    assert (path / "manifest.json").read_bytes() == before


@pytest.mark.fault("resumed by another number of processes")
def test_other_planets_in_a_step_are_refused(
    copied: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """As of a run that used all GPUs of another machine: the same config, and other processes."""
    overrides, path = copied
    run = Run.open(path)
    run.manifest.plan["devices"] = 4
    run.write()
    before = (path / "manifest.json").read_bytes()
    for arguments in ([str(path)], ["auto", *overrides]):
        assert main(["train", "--resume", *arguments]) == 2
        captured = capsys.readouterr()
        told = " ".join(captured.err.split())
        assert "each step of the run sees 8 planets, and here it would see 2: 1 process(es) with" in told
        assert "to train a new run: spectramind train" in told
        assert "data.batch_size=8" in told
        assert "Traceback" not in captured.out + captured.err
    assert (path / "manifest.json").read_bytes() == before


@pytest.mark.fault("resumed by another number of processes")
def test_other_processes_take_a_training_over(small: list[str], tmp_path: Path, stopper: Stopper) -> None:
    """Two with half the batch each see the planets that one would have seen, in its order; nothing is random here."""
    calm = [*small, *TINY, "model.dropout=0", "local.accumulate_grad_batches=1", "local.dev.limit_train_batches=1"]
    calm += [
        f"data.augmentation.{name}" for name in ("time_flip=false", "fresh_noise=0", "extra_noise=0", "depth_scale=1")
    ]
    one, two = [*calm, "data.batch_size=8"], [*calm, "data.batch_size=4", "trainer=ddp_sim"]
    whole = run_of(compose([*one, f"local.output_dir={tmp_path}/whole"])).run
    stopper.step = 2
    folder = f"local.output_dir={tmp_path}/shared"
    stopped = run_of(compose([*one, folder]))
    assert stopped.exit_code == 75
    config = compose([*two, folder])
    resumed = chosen(Run.open(stopped.run.path), config, plan(config, Host.detect()), Terminal(silent=True))
    again = run_of(config, resumed).run
    assert again.path == stopped.run.path
    for name, before in end_of(whole)["state_dict"].items():
        torch.testing.assert_close(end_of(again)["state_dict"][name], before, rtol=1e-4, atol=1e-6)


@pytest.mark.fault("resumed with another config")
def test_another_machine_is_told_and_goes_on(
    copied: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Settings that only say where or how visibly it runs may differ; the manifest has the new ones.

    So may the number of threads, which changes the last bits.
    """
    overrides, path = copied
    run = Run.open(path)
    run.manifest.plan["threads"] = 7
    run.write()
    assert main(["train", *overrides, "local.prefetch_factor=5", "--resume", str(path)]) == 0
    output = capsys.readouterr().out
    assert "prefetch_factor: 2 -> 5" in output
    assert "threads was 7 and is " in output
    assert Run.open(path).manifest.config["prefetch_factor"] == 5


def test_auto_finds_the_newest_run_of_the_same_science(
    copied: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The first start finds nothing and says so; another science is none; what is done is not taken again."""
    overrides, path = copied
    other = [*overrides, "local.dev.fast_dev_run=true"]
    assert main(["train", *other, "--resume", "auto"]) == 0
    assert "nothing to resume" in capsys.readouterr().out
    assert main(["train", *overrides, "--resume", "auto"]) == 0
    assert f"resuming {path}" in capsys.readouterr().out
    config = compose(overrides)
    assert newest(config, plan(config, Host.detect()), print) is None


def test_what_cannot_be_resumed_is_one_message(
    copied: tuple[list[str], Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """No run, no whole checkpoint, a sweep, a data set that is not the run's."""
    _, path = copied
    assert main(["train", "--resume", str(tmp_path / "nothing")]) == 2
    assert "no run here" in capsys.readouterr().err
    assert main(["train", "-m", "local.seed=1,2", "--resume", str(path)]) == 2
    assert "--resume auto" in capsys.readouterr().err
    (checkpoint,) = path.glob("checkpoints/*.ckpt")
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[:-1])
    assert main(["train", "--resume", str(path)]) == 2
    captured = capsys.readouterr()
    assert "no whole checkpoint" in captured.err
    assert checkpoint.name in captured.out
    checkpoint.write_bytes(content)
    run = Run.open(path)
    assert run.manifest.data is not None
    run.manifest.data = msgspec.structs.replace(run.manifest.data, fingerprint="0")
    run.write()
    assert main(["train", "--resume", str(path)]) == 2
    assert "does not hold its planets any more" in capsys.readouterr().err


@pytest.mark.fault("a damaged checkpoint")
def test_a_damaged_newest_is_named_and_the_one_before_is_used(
    small: list[str], tmp_path: Path, stopper: Stopper, whole: dict[str, Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    """The run goes on from further back, to the same end."""
    stopper.step = 5
    outcome = run_of(compose([*small, *TINY, f"local.output_dir={tmp_path}"]))
    index = Index.read(outcome.run.checkpoints)
    assert [one.step for one in index.entries] == [3, 5]
    newest = index.folder / index.entries[-1].file
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    stopper.step = None
    assert main(["train", "--resume", str(outcome.run.path)]) == 0
    output = capsys.readouterr().out
    assert f"{newest}: the checkpoint is damaged" in output
    assert "after step 3" in output
    require_same(Run.open(outcome.run.path), whole["plain"].run)


def test_checkpoints_are_taken_by_time_too(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, Outcome]
) -> None:
    """Where every step takes longer than the time between checkpoints, each has one; nothing else changes by it."""
    start = Progress.on_train_batch_start
    seen = set()

    def looking(progress: Progress, trainer: Any, *others: Any) -> None:
        if newest := Index.read(progress.files.index.folder).newest:
            seen.add((trainer.global_step, newest.step))
        start(progress, trainer, *others)

    monkeypatch.setattr(Progress, "on_train_batch_start", looking)
    often = ["trainer.checkpoint.every_minutes=1e-9", f"local.output_dir={tmp_path}"]
    run = run_of(compose([*small, *TINY, *often])).run
    assert {step for step, saved in seen if saved == step - 1} == set(range(1, 9))
    require_same(run, whole["plain"].run)


@pytest.mark.fault("other threads, other processes with the same planets in each step")
@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_loader_workers_changes_nothing(
    small: list[str], tmp_path: Path, whole: dict[str, Outcome], workers: int
) -> None:
    """The weights are the same to the last bit as without any."""
    config = compose([*small, *TINY, f"local.output_dir={tmp_path}"])
    require_same(run_of(config, num_workers=(workers, 0, 0)).run, whole["plain"].run)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of six megabytes, a real one."""
    path = tmp_path / "disk"
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(path)], check=False).returncode:
        pytest.skip("file systems can be mounted by the superuser only")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(disk: Path) -> None:
    """Leave no room on a disk."""
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


@pytest.mark.fault("disk full during training")
@pytest.mark.parametrize("freed", [True, False])
def test_a_full_disk_costs_no_step(
    small: list[str], disk: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, Outcome], freed: bool
) -> None:
    """The checkpoints before stay whole, one warning is given, and the run trains on until it can save again, or ends.

    A run that could not save its end goes on from where it could.
    """
    start = Progress.on_train_batch_start
    kept: list[str] = []

    def filling(progress: Progress, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        index = progress.files.index
        if trainer.global_step == 4 and not kept:
            kept.extend(one.file for one in Index.read(index.folder).entries)
            fill(disk)
        if trainer.global_step == 7:
            assert all(map(index.is_whole, index.entries))
            assert [one.file for one in Index.read(index.folder).entries] == kept
        if trainer.global_step == 7 and freed:
            (disk / "filler").unlink(missing_ok=True)
        start(progress, trainer, module, batch, batch_idx)

    monkeypatch.setattr(Progress, "on_train_batch_start", filling)
    terminal = Terminal()
    config, host = compose([*small, *TINY, f"local.output_dir={disk}/outputs"]), Host.detect()
    with terminal.rich.capture() as output:
        if freed:
            run = train(config, plan(config, host), host, terminal).run
        else:
            with pytest.raises(ConfigError, match=r"cannot write any more .No space left on device"):
                train(config, plan(config, host), host, terminal)
    assert output.get().count("no checkpoint can be written (No space left on device)") == 1
    monkeypatch.setattr(Progress, "on_train_batch_start", start)
    if not freed:
        (disk / "filler").unlink()
        (path,) = (disk / "outputs").glob("*/")
        run = Run.open(path)
        run.manifest.status = "failed"  # There was no room to write it.
        assert [one.file for one in Index.read(run.checkpoints).entries] == kept
        run = run_of(config, run).run
    for name, value in end_of(whole["plain"].run)["state_dict"].items():
        assert torch.equal(value, end_of(run)["state_dict"][name]), name


def test_a_process_of_several_that_has_no_room_for_its_result_says_so(disk: Path) -> None:
    """It has saved the training; the mistake is told in one message, not as a fault of the process."""
    fill(disk)
    with pytest.raises(ConfigError, match=r"cannot write any more .No space left on device.*--resume"):
        processes._leave(disk, Learned("completed", None, []))

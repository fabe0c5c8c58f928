"""Some hostile inputs of each kind, in processes with limits; ``tests/faults`` tries all of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from spectramind_config import ConfigError, compose
from spectramind_train.ariel import arrays
from spectramind_train.cli import main
from spectramind_train.run import memory
from spectramind_train.run.atomic_files import write_atomically
from spectramind_train.run.directory import Run
from spectramind_train.run.tracking import place_of
from spectramind_train.v50.room import require_room, require_training_room, training_bytes

from ..faults.hostile.jail import Jail
from ..faults.hostile.table import cases
from ..faults.hostile.verdict import attempt
from ..faults.hostile.world import Case, sound
from .servers import until
from .test_resume import TINY, Stopper, run_of

ROOT = Path(__file__).parents[2]
SOME = (
    "manifest: bad utf-8",
    "manifest: nested in a config",
    "manifest: schema_version 99",
    "manifest: sound",
    "manifest config: model.width 20000",
    "manifest config: a model with escapes",
    "run_id: above",
    "run_id: absolute",
    "checkpoint path: above and back",
    "checkpoints: a linked folder",
    "manifest place: a fifo",
    "manifest place: zeros without end",
    "checkpoint place: 10 TB of nothing",
    "checkpoint: a pickle that runs a program",
    "checkpoint: a zip that evaluates",
    "checkpoint: a state dict that is a list",
    "checkpoint: one nan",
    "checkpoint: huge",
    "checkpoint: a compressed bomb",
    "checkpoint: a strided bomb",
    "npy: objects",
    "npy: a shape of 8 TB",
    "npy: a header of brackets",
    "npy: 1e308",
    "npz: a compressed bomb",
    "npz: an id with escapes",
    "data place: a fifo",
    "output: a pipe",
    "cache entry: a bomb",
    "cache entry: encrypted",
    "axis: texts of 20 MB",
    "labels: escapes in a cell",
    "labels place: a fifo",
    "axis place: zeros without end",
    "override: an interpolation bomb through OmegaConf",
    "overlay place: a fifo",
)
TABLE = {case.name: case for case in cases()}


@pytest.fixture(scope="module")
def jail() -> Iterator[Jail]:
    """Where commands run within limits."""
    with Jail() as one:
        yield one


@pytest.fixture(scope="module")
def sound_things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound run, sound light curves, a sound data set."""
    return sound(tmp_path_factory.mktemp("sound"))


@pytest.mark.parametrize("case", [TABLE[name] for name in SOME], ids=SOME)
def test_a_hostile_input_is_one_message(case: Case, jail: Jail, sound_things: Path, tmp_path: Path) -> None:
    """Exit code 2 and one message within the limits, nothing read, written or run outside; or it works."""
    assert attempt(jail, case, tmp_path / "case", sound_things) == []


@pytest.mark.fault("a model or a batch that does not fit into memory")
@pytest.mark.parametrize(
    "setting",
    ["model.width=20000", "model.width=1000000"],
)
def test_a_model_that_does_not_fit_is_refused_unbuilt(setting: str) -> None:
    """The message states what it would take, or that no machine can hold it."""
    with pytest.raises(ConfigError, match=r"make the model smaller|beyond what any machine holds"):
        require_room(compose([setting]).model, 4)


SAMPLE = {"flux": (187, 283), "white_depth": (1,), **dict.fromkeys(("fit_depth", "fit_sigma", "noise"), (283,))}
SAMPLE |= {"shared_errors": (7, 283), "limb_darkening": (5,), "limb_covariance": (5, 5), "star": (6,)}


@pytest.mark.fault("a model or a batch that does not fit into memory")
def test_a_batch_that_does_not_fit_is_refused() -> None:
    """The message says what takes how much, and that a smaller batch helps; one that fits passes."""
    sample = {name: torch.empty(shape) for name, shape in SAMPLE.items()}
    model = compose([]).model
    require_training_room(model, sample, 1, half=False)
    with pytest.raises(ConfigError, match=r"GB for a batch of 10000000 planets in each of 2 processes.*batch_size"):
        require_training_room(model, sample, 10_000_000, half=True, processes=2)


TRUTH = """
import sys, torch
from pathlib import Path
from spectramind_config import compose
from spectramind_train.v50.network import build_model
from tests.train.conftest import synthetic_batch
def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))
def train(config, planets, bins, steps):
    model, batch = build_model(config), synthetic_batch(planets, bins)
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(steps):
        mu, sigma = model(batch)
        optimizer.zero_grad()
        (((mu - batch["target"]) / sigma) ** 2 + sigma.log()).mean().backward()
        optimizer.step()
train(compose(["model.width=8"]).model, 1, 16, 1)
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
train(compose(sys.argv[2:]).model, int(sys.argv[1]), 187, 2)
print(status("VmHWM") - before)
"""


@pytest.mark.parametrize(("planets", "overrides"), [(16, ()), (2, ("model.width=1024",))])
def test_what_is_counted_is_less_than_what_is_taken(planets: int, overrides: tuple[str, ...]) -> None:
    """So that nothing is refused that fits; and more than a third of it, so that the count is worth something."""
    command = [sys.executable, "-c", TRUTH, str(planets), *overrides]
    taken = int(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
    counted = training_bytes(
        compose(overrides).model, {name: torch.empty(shape) for name, shape in SAMPLE.items()}, planets
    )
    assert taken / 3 < sum(counted) < taken


@pytest.mark.fault("a model or a batch that does not fit into memory")
def test_a_training_that_does_not_fit_is_one_message(small: list[str], tmp_path: Path) -> None:
    """Nothing is left of the run; the limit is the job's, whatever the machine has."""
    more = ["data.batch_size=64", f"local.output_dir={tmp_path}/out"]
    command = [sys.executable, "-m", "spectramind_train", *small, "model.width=64", "model.airs_layers=500"]
    done = subprocess.run(
        ["bash", "-c", 'ulimit -v 8000000; exec "$@"', "bash", *command, *more],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "training it takes at least" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_limit_of_a_job_counts() -> None:
    """Its control group may lie below others, and only one of them have a limit."""
    controllers = dict(line.split(":")[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    old = next((path for names, path in controllers.items() if "memory" in names.split(",")), None)
    root = Path("/sys/fs/cgroup") if old is None else Path("/sys/fs/cgroup/memory")
    limit = "memory.max" if old is None else "memory.limit_in_bytes"
    job = root / (old or controllers[""]).lstrip("/") / f"spectramind-{os.getpid()}"
    try:
        (job / "step").mkdir(parents=True)
        (job / limit).write_text("1000000000")
    except OSError:
        with suppress(OSError):
            (job / "step").rmdir()
            job.rmdir()
        pytest.skip("control groups can be made by the superuser only")
    try:
        program = "from spectramind_train.run.memory import available; print(available())"
        script = 'echo $$ > "$1/cgroup.procs"; exec "$2" -c "$3"'
        command = ["bash", "-c", script, "bash", str(job / "step"), sys.executable, program]
        assert int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout) < 1_000_000_000
    finally:
        (job / "step").rmdir()
        job.rmdir()


def test_counting_weights_changes_no_random_number() -> None:
    """A model that fits passes, and what is drawn afterwards is what would have been drawn."""
    torch.manual_seed(3)
    expected = torch.rand(5)
    torch.manual_seed(3)
    require_room(compose(["model.width=8"]).model)
    assert torch.equal(torch.rand(5), expected)


def test_there_is_memory_for_this_test() -> None:
    """What is left is a positive number of bytes, and no file may take more."""
    assert memory.available() > 1_000_000


def test_arrays_come_back_as_they_were_written(tmp_path: Path) -> None:
    """Whatever numpy writes, alone or together, compressed or not; only what is asked for is read."""
    flux, time = np.random.default_rng(1).normal(size=(2, 20, 283)), np.arange(20, dtype=np.float32)
    np.save(tmp_path / "flux.npy", flux)
    assert np.array_equal(arrays.read_arrays(tmp_path / "flux.npy", (), alone="it")["it"], flux)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "both.npz", flux=flux, time=time, names=np.array(["a", "bé"]))
        found = arrays.read_arrays(tmp_path / "both.npz", ("flux", "names"))
        assert found.keys() == {"flux", "names"}
        assert np.array_equal(found["flux"], flux)
        assert found["names"].tolist() == ["a", "bé"]


def test_no_file_takes_the_place_of_a_pipe_or_a_folder(tmp_path: Path) -> None:
    """A file is replaced, a folder stays; a device would be lost to the whole machine."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="no file"):
        write_atomically(tmp_path / "folder", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.fixture(scope="module")
def interrupted(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after two steps."""
    overrides = [*small, *TINY, "local.max_epochs=2", f"local.output_dir={tmp_path_factory.mktemp('interrupted')}"]
    with pytest.MonkeyPatch.context() as patch:
        Stopper(patch).step = 2
        return run_of(compose(overrides)).run.path


@pytest.fixture
def strange(interrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it as a stranger may send it; this user has a cache of his own."""
    own = Run.open(interrupted).manifest.config["paths"]["cache_dir"]
    monkeypatch.setenv("SM_CACHE_DIR", own)
    return Path(shutil.copytree(interrupted, tmp_path / "strange"))


def resumed(run: Path, capsys: pytest.CaptureFixture[str], **sections: dict[str, object]) -> str:
    """What resuming says after a stranger has written something into the config of its manifest."""
    file = run / "manifest.json"
    manifest = json.loads(file.read_bytes())
    for name, settings in sections.items():
        manifest["config"][name] |= settings
    file.write_text(json.dumps(manifest))
    assert main(["train", "--resume", str(run)]) == 0
    assert Run.open(run).manifest.status == "completed"
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.fault("`--resume` of a stranger's run")
def test_a_strangers_run_is_resumed_within_its_directory(
    strange: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What its manifest would have written elsewhere is told, and stays as it is."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    paths: dict[str, object] = {"run_manifest": str(victim), "cache_dir": f"{tmp_path}/cache"}
    said = resumed(strange, capsys, paths=paths, mlflow={"enabled": True, "tracking_uri": f"file:{tmp_path}/store"})
    assert victim.read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["strange", "victim"]
    assert f"paths.run_manifest={victim} is not the manifest of this run, and is left as it is" in said
    assert f"paths.cache_dir={tmp_path}/cache holds no cache" in said
    assert f"mlflow.tracking_uri=file:{tmp_path}/store holds no runs of MLflow's" in said
    assert f"spectramind train OVERRIDE... --resume {strange}" in said


@pytest.mark.fault("`--resume` of a stranger's run")
def test_a_run_of_ones_own_is_resumed_where_it_wrote(
    strange: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache, a store and a manifest that are there already show that they are meant."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow.tracking import MlflowClient

    MlflowClient(tracking_uri=f"file:{tmp_path}/store").search_experiments()
    shutil.copytree(os.environ["SM_CACHE_DIR"], tmp_path / "cache")
    monkeypatch.delenv("SM_CACHE_DIR")
    newest = tmp_path / "newest.json"
    shutil.copy(strange / "manifest.json", newest)
    paths: dict[str, object] = {"run_manifest": str(newest), "cache_dir": f"{tmp_path}/cache"}
    said = resumed(strange, capsys, paths=paths, mlflow={"enabled": True, "tracking_uri": f"file:{tmp_path}/store"})
    assert "OVERRIDE" not in said
    assert newest.read_bytes() == (strange / "manifest.json").read_bytes()
    until(lambda: list((tmp_path / "store").rglob("test_score")), "the run is tracked")


@pytest.mark.fault("`--resume` of a stranger's run")
@pytest.mark.parametrize("name", ["journal.jsonl", "checkpoints"])
def test_a_link_out_of_a_run_keeps_it_from_being_resumed(
    name: str, strange: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it leads to is not written."""
    outside = tmp_path / name
    (strange / name).rename(outside)
    (strange / name).symlink_to(outside)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in (outside, *outside.glob("*")))
    assert main(["train", "--resume", str(strange)]) == 2
    assert f"{name!r}, which is no path inside of {strange}" in " ".join(capsys.readouterr().err.split())
    assert sorted((path.name, path.stat().st_mtime_ns) for path in (outside, *outside.glob("*"))) == before


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("file:/a/b", "/a/b"),
        ("file:///a/b", "/a/b"),
        ("/a/b", "/a/b"),
        ("sqlite:////a/b.db", "/a/b.db"),
        ("sqlite+pysqlite:////a/b.db?timeout=3", "/a/b.db"),
        ("http://host/a", None),
    ],
)
def test_the_place_of_a_store_is_known(uri: str, place: str | None) -> None:
    """However its URI is written; a server has none."""
    assert place_of(uri) == (None if place is None else Path(place))

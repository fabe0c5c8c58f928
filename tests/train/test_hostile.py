"""Some hostile inputs of each kind, in processes with limits; ``tests/faults`` tries all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from spectramind_config import ConfigError, compose
from spectramind_train.ariel import arrays
from spectramind_train.run import memory
from spectramind_train.run.atomic_files import write_atomically
from spectramind_train.v50.room import require_room

from ..faults.hostile.jail import Jail
from ..faults.hostile.table import cases
from ..faults.hostile.verdict import attempt
from ..faults.hostile.world import Case, sound

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


@pytest.mark.parametrize(
    "setting",
    [
        "model.width=20000",
        "model.width=4000000000000",
        "model.width=40000000000000000000",
        "model.state_size=1000000000",
    ],
)
def test_a_model_that_does_not_fit_is_refused_unbuilt(setting: str) -> None:
    """The message states what it would take, or that no machine can hold it."""
    with pytest.raises(ConfigError, match=r"make the model smaller|beyond what any machine holds"):
        require_room(compose([setting]).model, 4)


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

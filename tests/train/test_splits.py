"""Which planets a run prepares, and what it refuses to divide."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from spectramind_config import ConfigError, EffectiveConfig, Simulation, compose, from_dict
from spectramind_config.host import Host
from spectramind_train.ariel.dataset import Dataset
from spectramind_train.planets.sizes import FEWEST_PLANETS, planets_needed
from spectramind_train.planets.splits import UNTOUCHED_ROOTS, Splits, build_splits
from spectramind_train.run.plan import plan
from spectramind_train.run.terminal import Terminal
from spectramind_train.simulated.data_set import simulate

from .damages import FLAT, another


def test_capped_batches_need_planets_for_every_process() -> None:
    """A count of batches is per process; a share, or no cap, needs all planets."""
    config = compose(["local.dev.limit_train_batches=4", "local.devices=cpu"])
    alone = plan(config, Host(name="laptop"))
    assert planets_needed(config, alone) == 50  # 4 batches of 8 are 65 % of them.
    assert planets_needed(config, dataclasses.replace(alone, devices=4)) == 197
    assert planets_needed(config.with_overrides(["local.dev.limit_train_batches=0.5"]), alone) is None
    assert planets_needed(config.with_overrides(["local.dev.limit_train_batches=0"]), alone) == FEWEST_PLANETS


def test_labels_that_do_not_vary_are_refused(tmp_path: Path) -> None:
    """There is no naive prediction to compare with, and the table that is at fault is named."""
    root = tmp_path / "data"
    simulate(root, Simulation(planets=4, airs_frames=60, seed=5), workers=1)
    header, *rows = (root / "train.csv").read_text().splitlines()
    constant = [",".join([row.partition(",")[0], *["0.01"] * 283]) for row in rows]
    (root / "train.csv").write_text("\n".join([header, *constant]))
    config = compose([f"local.paths.data_root={root}", f"local.cache_dir={tmp_path}/cache", "local.devices=cpu"])
    with pytest.raises(ConfigError, match=r"train\.csv: the training labels are all 0\.01"):
        build_splits(config.data, config, plan(config, Host(name="laptop")), Terminal(silent=True))


def test_what_a_training_lacks_is_named_once(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planets without label, star or calibration of a pixel, and labels without planet, a line each; the rest trains.

    What a cache knows of its planets is told again.
    """
    monkeypatch.setenv("COLUMNS", "400")
    data = shutil.copytree(root, tmp_path / "data")
    first, second, *others = Dataset(data).planet_ids("train")
    labels, stars = data / "train.csv", data / "train_star_info.csv"
    header, *rows = labels.read_text().splitlines()
    spare = [f"{number},{rows[0].partition(',')[2]}" for number in range(1, 13)]
    kept = [row for row in rows if not row.startswith(f"{first},")]
    labels.write_text("\n".join([header, *kept, *spare]))
    stars.write_text("\n".join(row for row in stars.read_text().splitlines() if not row.startswith(f"{second},")))
    unknown = pa.nulls(32).cast(pa.float64())
    another(FLAT, lambda flat: flat.set_column(3, "column_3", unknown))(data / "train" / others[1])
    config = compose([f"local.paths.data_root='{data}'", f"local.cache_dir='{tmp_path}/cache'", "local.devices=cpu"])
    told: list[list[str]] = []
    for _ in range(2):
        splits = build_splits(config.data, config, plan(config, Host(name="laptop")), Terminal())
        assert sorted(one.planet_id for one in (*splits.train, *splits.val, *splits.test)) == sorted([second, *others])
        lines = "".join(capsys.readouterr()).splitlines()
        told.append([line for line in lines if line.startswith("warning:")])
    doubted = f"some pixels lack calibration ('spectramind data check' lists them) of planets: {others[1]}"
    assert told[0] == [
        f"warning: {labels}: has no row for planets of train/: {first}",
        f"warning: {labels}: lists planets without a folder in train/: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more",
        f"warning: {data}: no star table has a row for planets: {second}: fitted with an orbit of any kind",
        f"warning: {data}: {doubted}",
    ]
    assert told[1] == told[0]


def built(config: EffectiveConfig) -> Splits:
    """The planets of a config on a laptop."""
    return build_splits(config.data, config, plan(config, Host(name="laptop")), Terminal(silent=True))


def refused(config: EffectiveConfig) -> str:
    """The message of planets that are not simulated."""
    with pytest.raises(ConfigError) as caught:
        built(config)
    return str(caught.value)


@pytest.fixture
def caught_simulating(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever would simulate raises NotImplementedError instead."""

    def simulate(*_: object, **__: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr("spectramind_train.planets.splits.simulate", simulate)


@pytest.mark.usefixtures("caught_simulating")
@pytest.mark.parametrize("profile", ["default", "debug", "hpc"])
def test_what_nobody_has_named_is_simulated(profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped profiles' own data root may be absent or empty, in a saved config too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    config = compose([f"local={profile}", "local.devices=cpu", f"local.cache_dir={tmp_path}/cache"])
    assert config.paths.data_root in UNTOUCHED_ROOTS
    for one in (config, from_dict(config.to_dict(), "manifest.json")):
        with pytest.raises(NotImplementedError):
            built(one)


@pytest.mark.usefixtures("caught_simulating")
def test_a_data_root_that_the_user_named_is_never_simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typo on the command line, in the environment or in a saved config is a mistake, even if it names a default."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    rest = ["local.devices=cpu", f"local.cache_dir={tmp_path}/cache"]
    for root, reason in (
        (f"{tmp_path}/nowhere", "does not exist"),
        ("data", "does not exist"),
        (f"{tmp_path}/empty", "holds no data set"),
        (f"{tmp_path}/file", "is not a directory"),
    ):
        message = refused(compose([*rest, f"local.paths.data_root={root}"]))
        assert f"paths.data_root={root}: " in message
        assert reason in message
        assert "command line" in message
        assert "spectramind data simulate" in message
        monkeypatch.setenv("SM_DATA_ROOT", root)
        for local in ("default", "hpc"):
            message = refused(compose([*rest, f"local={local}"]))
            assert reason in message
            assert f"SM_DATA_ROOT={root}" in message
        monkeypatch.delenv("SM_DATA_ROOT")
    saved = compose([*rest, f"local.paths.data_root={tmp_path}/nowhere"]).to_dict()
    assert "manifest.json" in refused(from_dict(saved, "manifest.json"))


SITE = """
from dataclasses import dataclass, field

from spectramind_config import LocalConfig, Paths, profile


@profile("local", "site_named")
@dataclass(kw_only=True)
class Named(LocalConfig):
    paths: Paths = field(default_factory=lambda: Paths(data_root="data"))


@profile("local", "site_silent")
@dataclass(kw_only=True)
class Silent(LocalConfig):
    paths: Paths = field(default_factory=lambda: Paths(output_dir="here"))
"""


PROGRAM = """
import sys
from spectramind_config import ConfigError, compose
from spectramind_config.host import Host
from spectramind_train.planets import splits
from spectramind_train.run.plan import plan
from spectramind_train.run.terminal import Terminal

def simulate(*_, **__):
    raise NotImplementedError("simulated")

splits.simulate = simulate
config = compose([*sys.argv[1:], "local.devices=cpu"])
try:
    splits.build_splits(config.data, config, plan(config, Host(name="laptop")), Terminal(silent=True))
except (ConfigError, NotImplementedError) as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [("site_named", ["paths.data_root=data: data does not exist", "site.py:10"]), ("site_silent", ["simulated"])],
)
def test_a_sites_own_profile_names_its_data(name: str, words: list[str], tmp_path: Path) -> None:
    """A profile that sets the data root names it, to whatever value; one that leaves it alone does not."""
    (tmp_path / "site.py").write_text(SITE)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, f"local={name}", f"local.paths.cache_dir={tmp_path}/cache"],
        cwd=tmp_path,
        env={**os.environ, "SM_PROFILES": str(tmp_path / "site.py")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not [word for word in words if word not in done.stdout], done.stdout

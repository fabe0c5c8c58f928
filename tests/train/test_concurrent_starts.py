"""Runs that need the same simulation at the same time; whole ones, with nothing held, are in ``tests/faults``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from spectramind_config import Simulation
from spectramind_train.planets.splits import _settings_hash
from spectramind_train.run.turns import alone

SETTINGS = Simulation(planets=12, airs_frames=40)
PROGRAM = """
import dataclasses
import sys
from spectramind_config import compose
from spectramind_config.host import Host
from spectramind_train.planets.splits import build_splits
from spectramind_train.run.plan import plan
from spectramind_train.run.terminal import Terminal

class Flushed(Terminal):
    def say(self, line):
        print(line, flush=True)

config = compose(sys.argv[1:])
alone = dataclasses.replace(plan(config, Host.detect()), threads=1)
print(build_splits(config.data, config, alone, Flushed()).record.fingerprint)
"""


def test_one_of_four_simulates_and_the_others_wait(tmp_path: Path) -> None:
    """All of them find that another simulates, and say so; then one does, and all have the same planets."""
    folder = tmp_path / "cache" / f"simulated-{_settings_hash(SETTINGS)}"
    folder.mkdir(parents=True)
    overrides = [f"data.simulation.planets={SETTINGS.planets}", f"data.simulation.airs_frames={SETTINGS.airs_frames}"]
    overrides += ["local.devices=cpu", f"local.cache_dir='{tmp_path / 'cache'}'"]
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), *overrides]
    with alone(folder / ".lock", lambda: None):
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
        for process in processes:
            assert process.stdout is not None
            waits = f"another run simulates planets in {folder}; waiting for it\n"
            assert waits in iter(process.stdout.readline, "")
    said = [process.communicate()[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert len({lines[-1] for lines in said}) == 1
    assert sum(any("simulating planets:" in line for line in lines) for lines in said) <= 1
    assert not list((tmp_path / "cache").rglob(".*"))

"""Compare what ``spectramind plan`` predicts with what the run that follows takes: ``python benchmarks/plan.py``.

Of each case it prints the prediction of the model, that of a probe (``plan --probe``), what a run of
``spectramind train`` took, and the ratios. See README.md for how to read it. A run needs the planets of the cache; the
first one makes them, and is not measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from spectramind_train.planning.probe import step_seconds

STEPS = 24
CASES: dict[str, list[str]] = {
    "as shipped": [],
    "batch of 32": ["data.batch_size=32", "data.simulation.planets=144"],  # Nearly whole batches, three of them.
    "width 96": ["model.width=96"],
    "6 graph layers": ["model.airs_layers=6"],
    "state size 32": ["model.state_size=32"],
    "batch of 2": ["data.batch_size=2"],
}
QUICK = ["data.simulation.planets=12", "data.simulation.airs_frames=40", "model.width=16", "data.batch_size=2"]
ALWAYS = ["local.devices=cpu", "trainer.early_stopping.enabled=false", "local.dev.log_every_n_steps=1"]


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run of one small case")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to a file")
    options = parser.parse_args()
    cases = {"small": QUICK} if options.quick else CASES
    steps = 8 if options.quick else STEPS
    found = {name: compare(overrides, steps) for name, overrides in cases.items()}
    print("\n".join(table(found)))
    if options.json:
        machine = {"cpu": platform.processor(), "cores": os.cpu_count(), "torch": torch.__version__}
        load = os.getloadavg()[0]
        options.json.write_text(json.dumps({"machine": machine, "load": load, "cases": found}, indent=2))
    return 0


def compare(overrides: Sequence[str], steps: int) -> dict[str, dict[str, float]]:
    """Of a case the step in seconds and the peak of memory in bytes: modelled, probed, measured."""
    arguments = [*ALWAYS, *overrides]
    _run(arguments, 1)
    probed, modelled = (_predicted([*arguments, *flags]) for flags in (["--probe"], []))
    measured = _run(arguments, steps)
    return {
        "step": {"modelled": modelled[0], "probed": probed[0], "measured": measured[0]},
        "memory": {"modelled": modelled[1], "probed": probed[1], "measured": measured[1]},
    }


def table(found: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """The figures as a table; ratios are prediction / measured."""
    lines = [
        "| case | quantity | modelled | probed | measured | modelled / measured | probed / measured |",
        "| --- | --- | --: | --: | --: | --: | --: |",
    ]
    for case, quantities in found.items():
        for quantity, one in quantities.items():
            unit, scale = ("ms", 1e3) if quantity == "step" else ("MB", 1e-6)
            cells = [f"{one[kind] * scale:.3g} {unit}" for kind in ("modelled", "probed", "measured")]
            cells += [f"{one[kind] / one['measured']:.2f}" for kind in ("modelled", "probed")]
            lines.append(f"| {' | '.join([case, quantity, *cells])} |")
    return lines


def _predicted(arguments: Sequence[str]) -> tuple[float, float]:
    command = [sys.executable, "-m", "spectramind_train.cli", "plan", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own program.
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    prediction: dict[str, Any] = json.loads(done.stdout)["prediction"]
    return prediction["time"]["step_s"], prediction["memory"]["total"]


def _run(arguments: Sequence[str], steps: int) -> tuple[float, float]:
    """Seconds of a step and bytes of the process at its peak, in a run of so many steps."""
    with tempfile.TemporaryDirectory() as folder:
        caps = [f"trainer.max_steps={steps}", f"local.max_epochs={steps}", f"local.output_dir='{folder}'"]
        command = [sys.executable, "-m", "spectramind_train", *arguments, *caps]
        with (Path(folder) / "log").open("w+") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - our own program.
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                log.seek(0)
                sys.exit(f"{' '.join(command)} failed:\n{log.read()}")
        (journal,) = Path(folder).glob("*/journal.jsonl")
        times = step_seconds(journal)
        if steps > 1 and not times:
            sys.exit(f"{' '.join(command)}: no epoch had two steps to measure between")
        return statistics.median(times or [0.0]), usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    sys.exit(main())

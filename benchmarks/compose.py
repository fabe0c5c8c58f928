"""Measure composition side by side with the peers, and print ratios: ``python benchmarks/compose.py``.

Every contender lives in a process of its own; rounds go through all of them in turn, so that a busy machine slows
all alike. A ratio compares medians of one run. See README.md for what each contender does and does not do.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import peers
import tables

HERE = Path(__file__).parent
OURS = "spectramind"
SAME_STORE = "Hydra on our ConfigStore"
MISTAKE = ["config", "show", "local=hpc", "local.devcies=8"]

Seconds = dict[str, list[float]]


class Worker:
    """A contender's process.

    Attributes:
        first: Seconds of its first composition.
    """

    def __init__(self, name: str, environment: Mapping[str, str], *growth: str) -> None:
        command = [sys.executable, str(HERE / "peers.py"), name, *growth]
        self.label = " ".join([name, *growth])
        self._process = subprocess.Popen(  # noqa: S603 - our own program.
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.first = float(json.loads(self._answer())["first"])

    def ask(self, word: str, number: int) -> float:
        """Seconds of one call, the mean of a number of them."""
        print(word, number, file=_pipe(self._process.stdin), flush=True)
        return float(self._answer())

    def stop(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> str:
        line = _pipe(self._process.stdout).readline()
        if not line:
            sys.exit(f"{self.label} failed:\n{self._process.communicate()[1]}")
        return line


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None  # noqa: S101 - for type checkers.
    return pipe


class Run:
    """One run of the benchmark.

    Attributes:
        seconds: What was measured: by quantity, then by contender.
    """

    def __init__(self, folder: Path, rounds: int, *, quick: bool) -> None:
        self.folder = folder
        self.rounds = rounds
        self.quick = quick
        self.names = [name for name in peers.CONTENDERS if peers.installed(name)]
        self.seconds: dict[str, Seconds] = {}
        # Byte code is cached, as for any user; the console command and the modules are this interpreter's.
        self.environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.environment["PYTHONPATH"] = str(folder)

    def add(self, quantity: str, name: str, seconds: float) -> None:
        """Note a measurement."""
        self.seconds.setdefault(quantity, {}).setdefault(name, []).append(seconds)

    def composition(self) -> None:
        """First and warm composition, and reading one setting."""
        for _ in range(max(0, self.rounds // 3 - 1)):
            for name in self.names:
                worker = Worker(name, self.environment)
                self.add("first compose", name, worker.first)
                worker.stop()
        workers = {name: Worker(name, self.environment) for name in self.names}
        for name, worker in workers.items():
            self.add("first compose", name, worker.first)
        self._rounds("warm compose", workers, "compose")
        self._rounds("attribute read", workers, "read")
        for worker in workers.values():
            worker.stop()

    def growth(self, option: str, sizes: Sequence[int], slowest: int, already: int = 0) -> None:
        """Our composition and Hydra's of the same ConfigStore, growing in one direction.

        Args:
            option: What there is more of.
            sizes: How many of them.
            slowest: The size up to which Hydra is measured too.
            already: How many there are in any case.
        """
        labels = {size: f"{size} {option}" for size in sizes}
        workers: dict[tuple[str, int], Worker] = {}
        for size in sizes:
            for name in (OURS, SAME_STORE):
                if name == OURS or size <= slowest:
                    workers[name, size] = Worker(name, self.environment, f"--{option}", str(size - already))
                    self.add(f"first compose, {labels[size]}", name, workers[name, size].first)
        for size in sizes:
            pair = {name: workers[name, size] for name in (OURS, SAME_STORE) if (name, size) in workers}
            self._rounds(f"warm compose, {labels[size]}", pair, "compose")
        for worker in workers.values():
            worker.stop()

    def _rounds(self, quantity: str, workers: Mapping[str, Worker], word: str) -> None:
        budget = 0.01 if self.quick else 0.2
        numbers = {
            name: max(1, min(100_000, round(budget / max(worker.ask(word, 1), 1e-7))))
            for name, worker in workers.items()
        }
        for _ in range(self.rounds):
            for name, worker in workers.items():
                self.add(quantity, name, worker.ask(word, numbers[name]))

    def processes(self) -> None:
        """Whole processes: imports, without the start of Python itself, and commands."""
        python = [sys.executable, "-c"]
        ours = [str(Path(sys.executable).with_name("spectramind"))]
        modules = {peers.CONTENDERS[name][0]: name for name in reversed(self.names)}
        commands: dict[tuple[str, str], list[str]] = {("nothing", ""): [*python, "pass"]}
        commands |= {("import", name): [*python, f"import {module}"] for module, name in modules.items()}
        commands["command", FROZEN] = [*python, "import hydra, gc; gc.freeze()"]
        commands["command", "spectramind --help"] = [*ours, "--help"]
        commands["command", "spectramind train --help"] = [*ours, "train", "--help"]
        commands["command", "spectramind config explain"] = [*ours, "config", "explain", *peers.PROFILES]
        commands["command", "spectramind profiles list"] = [*ours, "profiles", "list"]
        commands["command", "spectramind, a mistake"] = [*ours, *MISTAKE]
        commands |= {
            ("command", f"{name} --help"): [sys.executable, f"{name}_help.py", "--help"]
            for name in peers.HELP
            if peers.installed(name)
        }
        for number in range(self.rounds + 1):
            for (kind, name), command in commands.items():
                start = time.perf_counter()
                done = subprocess.run(  # noqa: S603 - the commands above.
                    command, env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False
                )
                elapsed = time.perf_counter() - start
                expected = 2 if command[1:] == MISTAKE else 1 if name == "chz --help" else 0
                if done.returncode != expected:
                    sys.exit(f"{name} failed:\n{done.stderr}")
                if number:  # The first round fills the caches of the file system and of byte code.
                    self.add(kind, name, elapsed)
        base = statistics.median(self.seconds.pop("nothing")[""])
        self.seconds["command"]["python -c 'import hydra'"] = self.seconds["import"]["Hydra"]
        self.seconds["import"] = {
            name: [max(one - base, 1e-6) for one in times] for name, times in self.seconds["import"].items()
        }


FROZEN = "python -c 'import hydra, gc; gc.freeze()'"
"""The reference without the collector's last look at exit, which our commands skip too."""

REFERENCES = {"command": "python -c 'import hydra'"}
"""What is 1 where that is not Hydra's composition."""


def summary(seconds: Mapping[str, Seconds]) -> dict[str, dict[str, dict[str, float]]]:
    """The medians, and their ratios to Hydra's."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for quantity, contenders in seconds.items():
        medians = {name: statistics.median(times) for name, times in contenders.items()}
        reference = medians.get(REFERENCES.get(quantity, SAME_STORE if "," in quantity else "Hydra"))
        found[quantity] = {
            name: {"ms": 1e3 * median} | ({"ratio": median / reference} if reference else {})
            for name, median in medians.items()
        }
    return found


def table(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """The ratios for a terminal or a Markdown page."""
    columns = ["import", "first compose", "warm compose", "attribute read"]
    names = [name for name in peers.CONTENDERS if peers.installed(name)]
    lines = [tables.row(["contender (Hydra = 1)", *columns]), tables.row(["---", *["--:"] * len(columns)])]
    lines += [tables.row([name, *(_cell(found[column].get(name)) for column in columns)]) for name in names]
    lines.append(tables.row(["Hydra's median", *(_milliseconds(found[column]["Hydra"]["ms"]) for column in columns)]))
    lines += ["", tables.row(["whole process (import hydra = 1)", "ratio"]), tables.row(["---", "--:"])]
    lines += [tables.row([name, _cell(one)]) for name, one in found["command"].items()]
    lines.append(tables.row(["its median", _milliseconds(found["command"][REFERENCES["command"]]["ms"])]))
    lines += ["", tables.row(["growth (Hydra on our ConfigStore = 1)", "ratio", "ours", "Hydra"])]
    lines.append(tables.row(["---", "--:", "--:", "--:"]))
    for quantity, pair in found.items():
        if "," in quantity:
            hydras = pair.get(SAME_STORE)
            ours = _milliseconds(pair[OURS]["ms"])
            lines.append(
                tables.row([quantity, _cell(pair[OURS]), ours, _milliseconds(hydras["ms"]) if hydras else "-"])
            )
    for name, (_, distribution, _) in peers.CONTENDERS.items():
        if not peers.installed(name):
            lines.append(f"\n{name}: not installed (pip install -c constraints.txt {distribution})")
    return lines


def _cell(one: Mapping[str, float] | None) -> str:
    if one is None or "ratio" not in one:
        return "-"
    ratio = one["ratio"]
    return f"1/{1 / ratio:.0f}" if ratio < 0.095 else f"{ratio:.2f}"


def _milliseconds(value: float) -> str:
    return f"{value:.3g} ms" if value >= 0.01 else f"{1e6 * value:.0f} ns"


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    distributions = dict.fromkeys(one for _, one, _ in peers.CONTENDERS.values() if one)
    versions: dict[str, str | None] = {}
    for name in distributions:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"python": platform.python_version(), "system": platform.system(), "cores": cores, "versions": versions}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure composition side by side with the peers.")
    parser.add_argument("--quick", action="store_true", help="a smoke run: few repetitions, small sizes")
    parser.add_argument("--rounds", type=int, help="repetitions of each measurement (15; 1 with --quick)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every median and ratio to a file")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), options.rounds or (1 if options.quick else 15), quick=options.quick)
        leaves = peers.write_plain_settings(Path(folder))
        run.processes()
        run.composition()
        run.growth("fields", (100, 600) if options.quick else (100, 600, 6000), slowest=6000, already=leaves)
        run.growth("profiles", (10, 100) if options.quick else (10, 100, 1000), slowest=1000)
        run.growth("roots", (1, 10) if options.quick else (1, 10, 100), slowest=100)
        run.growth("overrides", (1, 10) if options.quick else (1, 10, 60), slowest=60)
    found = summary(run.seconds)
    about = machine()
    where = f"Python {about['python']}, {about['system']}, {about['cores']} cores"
    print(f"{leaves} settings in 7 groups, {' '.join(peers.PROFILES)} local.devices=k; {where}\n")
    print("\n".join(table(found)))
    if options.json:
        report = {"machine": about, "settings": leaves, "rounds": run.rounds, "quantities": found}
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

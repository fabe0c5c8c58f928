"""Measure our training loop beside others, and print ratios: ``python benchmarks/train.py``.

Loops live in processes of their own; rounds of some steps go through all of them in turn, so that a busy machine slows
all alike, and a ratio is the median over the rounds. See README.md for what each loop does.
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
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import tables

HERE = Path(__file__).parent
LOOPS = ("bare", "Fabric", "Lightning", "ours")
APART = "ours, taken apart"
MODELS = {"mlp": "MLP, a million parameters", "v50": "V50 as shipped"}
IMPORTS = "import torch, lightning.pytorch"
FIRST_STEP = """
import os, sys
import torch
step = torch.optim.AdamW.step
def last(*positional, **named):
    step(*positional, **named)
    os._exit(0)
torch.optim.AdamW.step = last
from spectramind_train.cli import main
sys.exit(f"no step was taken: {main(['train', *sys.argv[1:]])}")
"""


class Loop:
    """A loop in its process.

    Attributes:
        answers: What it said of each round: seconds by the wall and of the processor, peak memory, seconds of parts.
    """

    def __init__(self, name: str, model: str, environment: Mapping[str, str]) -> None:
        self.name = name
        command = [sys.executable, str(HERE / "loops.py"), name, model]
        self._process = subprocess.Popen(  # noqa: S603 - our own program.
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._answer()
        self.answers: list[dict[str, Any]] = []

    def go(self, steps: int, *, counts: bool = True) -> None:
        """Have it take some steps."""
        print(steps, file=_pipe(self._process.stdin), flush=True)
        answer = self._answer()
        if counts:
            self.answers.append(answer)

    def stop(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        line = _pipe(self._process.stdout).readline()
        if not line:
            sys.exit(f"{self.name} failed:\n{self._process.communicate()[1]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None  # noqa: S101 - for type checkers.
    return pipe


def environment() -> dict[str, str]:
    """One thread each, and a bar although nobody looks."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0", "FORCE_COLOR": "1"}


def loops(model: str, rounds: int, steps: int) -> dict[str, Any]:
    """Speed and memory of every loop, and the parts of a step of ours."""
    running = [Loop(name, model, environment()) for name in (*LOOPS, APART)]
    for loop in running:
        loop.go(max(2, steps // 4), counts=False)
    for _ in range(rounds):
        for loop in running:
            loop.go(steps)
    for loop in running:
        loop.stop()
    bare = running[0].answers
    found: dict[str, Any] = {}
    for loop in running[:-1]:
        pairs = list(zip(bare, loop.answers, strict=True))
        found[loop.name] = {
            "ms": 1e3 * statistics.median(one["cpu"] for one in loop.answers) / steps,
            "wall_ms": 1e3 * statistics.median(one["wall"] for one in loop.answers) / steps,
            "speed": statistics.median(base["cpu"] / one["cpu"] for base, one in pairs),
            "wall_speed": statistics.median(base["wall"] / one["wall"] for base, one in pairs),
            "peak_mb": max(one["peak"] for one in loop.answers) / 1e6,
        }
    taken = running[-1].answers
    names = dict.fromkeys(name for one in taken for name in one["parts"])
    parts = {name: 1e3 * statistics.median(one["parts"].get(name, 0.0) for one in taken) / steps for name in names}
    whole = 1e3 * statistics.median(one["cpu"] for one in taken) / steps
    return {"loops": found, "parts": {**parts, "all else": max(0.0, whole - sum(parts.values()))}}


def start(rounds: int) -> dict[str, Any]:
    """Seconds from the start of a process to its first optimizer step, with planets in the cache, and of imports."""
    with tempfile.TemporaryDirectory() as folder:
        small = [
            "local=debug",
            "local.devices=cpu",
            f"local.cache_dir={folder}/cache",
            f"local.output_dir={folder}/out",
        ]
        commands = {
            "imports": [sys.executable, "-c", IMPORTS],
            "first step": [sys.executable, "-c", FIRST_STEP, *small],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(rounds + 1):
            for name, command in commands.items():
                began = time.perf_counter()
                done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)  # noqa: S603
                if done.returncode:
                    sys.exit(f"{name} failed:\n{done.stderr}")
                if number:  # The first round makes the planets, and fills the caches of files and byte code.
                    seconds[name].append(time.perf_counter() - began)
    ratio = statistics.median(b / a for a, b in zip(*seconds.values(), strict=True))
    return {"seconds": {name: statistics.median(times) for name, times in seconds.items()}, "ratio": ratio}


def report(found: Mapping[str, Any]) -> list[str]:
    """Tables for a terminal or a Markdown page."""
    lines = []
    for model, title in MODELS.items():
        lines += ["", tables.row([title, "speed (bare = 1)", "by the wall", "ms of a step", "peak memory"])]
        lines.append(tables.row(["---", *["--:"] * 4]))
        for name, one in found[model]["loops"].items():
            ms, peak = f"{one['ms']:.1f}", f"{one['peak_mb']:.0f} MB"
            lines.append(tables.row([name, f"{one['speed']:.2f}", f"{one['wall_speed']:.2f}", ms, peak]))
        parts = found[model]["parts"]
        lines += ["", tables.row([f"a step of ours, {title}", "share"]), tables.row(["---", "--:"])]
        lines += [tables.row([name, f"{100 * ms / sum(parts.values()):.0f} %"]) for name, ms in parts.items()]
    first, seconds = found["start"], found["start"]["seconds"]
    after, alone = f"{seconds['first step']:.1f} s", f"{seconds['imports']:.1f} s"
    lines += ["", f"first optimizer step of local=debug after {after}, {first['ratio']:.2f} times the {alone} of"]
    lines.append(f"python -c '{IMPORTS}'")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure our training loop beside others.")
    parser.add_argument("--quick", action="store_true", help="a smoke run: few steps")
    parser.add_argument("--rounds", type=int, help="rounds through all loops (20; 2 with --quick)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number to a file")
    options = parser.parse_args(argv)
    rounds = options.rounds or (2 if options.quick else 20)
    steps = {"mlp": 3 if options.quick else 100, "v50": 1 if options.quick else 5}
    found: dict[str, Any] = {model: loops(model, rounds, steps[model]) for model in MODELS}
    found["start"] = start(1 if options.quick else 5)
    found["machine"] = {"python": platform.python_version(), "system": platform.system(), "cores": os.cpu_count()}
    print("\n".join(report(found)).strip())
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

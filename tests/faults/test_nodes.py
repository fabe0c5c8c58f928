"""A training on two machines, each a network namespace with a launcher of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spectramind_train.run.directory import Run

from ..train.stopping import NO_LOADERS, Started, wait_for
from ..train.test_restarts import FEW, TORCHRUN, saved

COLD = ("data.simulation.planets=24", "data.simulation.airs_frames=100", "local.devices=cpu")
FORGOTTEN_S = 20.0
"""Longer than launchers wait for a word of each other, which is 15 s. One that comes back sooner is taken for two."""


@pytest.fixture
def nodes() -> Iterator[dict[str, str]]:
    """Two network namespaces with a cable between them, as names with their addresses."""
    names = {f"spectramind-{os.getpid()}-{number}": f"10.213.0.{number}" for number in (1, 2)}
    one, two = names

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    if shutil.which("ip") is None or os.geteuid():
        pytest.skip("network namespaces need ip and root")
    try:
        try:
            ip("netns", "add", one)
            ip("netns", "add", two)
            ip("link", "add", "cable", "netns", one, "type", "veth", "peer", "name", "cable", "netns", two)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this machine makes no network namespaces: {error.stderr.decode().strip()}")
        for name, address in names.items():
            ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@pytest.fixture
def start(nodes: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Started]]:
    """Starts a node's launcher, the first one's with 0; at the end nothing is left of any.

    The variable is torch's: by default a launcher that comes back waits for what the others only told in the beginning.
    """
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    head = next(iter(nodes.values()))
    lives: list[Started] = []

    def node(number: int) -> Started:
        name, address = list(nodes.items())[number]
        rendezvous = [f"--rdzv-endpoint={head}:29400", f"--local-addr={address}", "--rdzv-id=test"]
        rendezvous += ["--rdzv-backend=c10d", "--nnodes=2", "--nproc-per-node=1", "--max-restarts=3"]
        rendezvous += [f"--rdzv-conf=is_host={int(number == 0)}"]
        settings = [word for word in (*COLD, *FEW, *NO_LOADERS) if "max_epochs" not in word]
        settings += [f"local.paths.cache_dir='{tmp_path}/cache'"]
        settings += ["trainer.num_nodes=2", "trainer.strategy=ddp", "local.max_epochs=8"]
        lives.append(Started(tmp_path / "nodes", *settings, by=("ip", "netns", "exec", name, *TORCHRUN, *rendezvous)))
        return lives[-1]

    yield node
    for life in lives:
        life.kill()


@pytest.mark.fault("a node of several dies, and comes back")
def test_two_nodes_train_one_model(start: Callable[[int], Started]) -> None:
    """A launcher on each; the second dies with all that it started, comes back, and the run goes on to its end."""
    first, second = start(0), start(1)
    first.await_that(lambda: saved(first))
    for pid in second.alive():
        os.kill(pid, signal.SIGKILL)
    second.end()
    first.pause(FORGOTTEN_S)
    again = start(1)
    wait_for(lambda: "resuming" in first.output, lambda: first.process.poll() is None, lambda: first.output)
    assert first.end() == 0, first.output
    assert again.end() == 0, again.output
    require_resumed(first)


@pytest.mark.fault("the first node of several dies")
def test_the_first_launcher_takes_the_others_with_it(start: Callable[[int], Started]) -> None:
    """With it goes where all meet: the second ends by itself, with an error, and both go on when started again."""
    first, second = start(0), start(1)
    first.await_that(lambda: saved(first))
    first.send(signal.SIGKILL, "parent")
    first.end()
    assert second.end() not in (0, 2), second.output
    again, other = start(0), start(1)
    assert again.end() == 0, again.output
    assert other.end() == 0, other.output
    assert "resuming" in again.output
    require_resumed(first)


def require_resumed(first: Started) -> None:
    """Check that the only run of both nodes has been taken up again, and is complete."""
    (path,) = first.runs()
    run = Run.open(path)
    assert run.manifest.status == "completed"
    assert run.manifest.plan["num_nodes"] == 2
    assert run.manifest.resumed

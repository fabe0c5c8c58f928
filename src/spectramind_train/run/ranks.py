"""The processes of one run that something else has started: torchrun on each node, or SLURM's srun as its tasks."""

from __future__ import annotations

import functools
import math
import os
import socket
import struct
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from spectramind_config import ConfigError, EffectiveConfig, Problem
from spectramind_train.run import children, signals
from spectramind_train.run.plan import RunPlan, refusal

_LOOK_EVERY_S: Final = 0.2
_FIRST_PORT: Final = 15_000
_PORTS: Final = 10_000
_SIOCGIFADDR: Final = 0x8915
_STORE_S: Final = 300.0
_TELLING_S: Final = 30.0


class Start(msgspec.Struct, frozen=True):
    """What the first process tells the others before the training.

    Attributes:
        run: The run's directory, which every node sees; empty where there is none.
        group: Name under which the processes find each other; no other life of theirs has the same.
        exit_code: Why there is no run.
        deadline: ``time.time()`` by which all has to be done; None for no limit.
    """

    run: str = ""
    group: str = ""
    exit_code: int = 0
    deadline: float | None = None


@dataclass
class Ranks:
    """The processes of a run that train together, as one of them sees them.

    The first one does what a run by itself does, but for the training, which all do together. The others wait until it
    has made the run and prepared the planets.

    They may live several times: torchrun starts all of them again when one dies, or when a node comes back, and on a
    node that comes back it does not know how often it has. So each of the others asks under a name of its own, and the
    first answers whoever asks.

    Attributes:
        rank: Number of this process, from 0.
        size: How many there are.
        starter: What has started them.
    """

    rank: int
    size: int
    starter: Literal["torchrun", "srun"]
    _leads: bool = field(default=False, init=False)
    _told: bool = field(default=False, init=False)
    _joined: bool = field(default=False, init=False)

    def meet(self) -> None:
        """Have torch find the other processes: the variables that torchrun sets are derived from SLURM's."""
        env = os.environ
        if self.starter == "torchrun":
            children.follow(os.getppid())  # Torch's agent, when it is killed, leaves its processes behind.
        else:
            from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

            number = int(env.get("SLURM_JOB_ID", "0")) + int(env.get("SLURM_STEP_ID", "0"))
            env.setdefault("MASTER_ADDR", SLURMEnvironment.resolve_root_node_address(env["SLURM_STEP_NODELIST"]))
            env.setdefault("MASTER_PORT", str(_FIRST_PORT + number % _PORTS))
            env |= {"RANK": str(self.rank), "WORLD_SIZE": str(self.size), "LOCAL_RANK": env["SLURM_LOCALID"]}
            env["GROUP_RANK"] = env["SLURM_NODEID"]
        talk_to(env["MASTER_ADDR"])

    def begin(self, run: Path, deadline: float | None) -> str:
        """Have the others, as the first process, train a run; returns the name under which all find each other."""
        start = Start(str(run.absolute()), uuid.uuid4().hex, deadline=deadline)
        self._told = True
        threading.Thread(target=self._answer, args=(start, threading.Event()), name="ranks", daemon=True).start()
        return start.group

    @contextmanager
    def leading(self) -> Iterator[None]:
        """Inside, the first process prepares the run; where it cannot begin, the others are told to end as it does.

        Within itself it does nothing: a launcher's job begins where a command line is already behind.
        """
        if self._leads:
            yield
            return
        self._leads = True
        signals.once()
        self.meet()
        _ = self._store  # Who finds nothing there tries again ever more rarely.
        code: object = 1
        try:
            yield
            code = 0
        except SystemExit as left:
            code = left.code
            raise
        except ConfigError:
            code = 2
            raise
        finally:
            # Torch's agent ends the others by itself.
            if self.size > 1 and not self._told and (self.starter == "srun" or code == 0):
                late = threading.Event()
                timer = threading.Timer(_TELLING_S, late.set)
                timer.start()
                with suppress(Exception):
                    self._answer(Start(exit_code=code if isinstance(code, int) else 1), late)
                timer.cancel()

    def start(self) -> Start:
        """What the first process tells, once it does.

        Raises:
            ConnectionError: It has gone without a word.
        """
        from torch.distributed import DistError

        name = uuid.uuid4().hex
        try:
            self._store.set(f"question/{self._store.add('questions', 1)}", name)
            while not self._store.check([name]):
                time.sleep(_LOOK_EVERY_S)
            return msgspec.json.decode(self._store.get(name), type=Start)
        except (DistError, RuntimeError) as error:
            raise ConnectionError("the first process of the run has gone") from error

    def _answer(self, start: Start, late: threading.Event) -> None:
        """Answer the questions of this life and those before, which nobody waits for, until all have an answer."""
        answered, told = 0, msgspec.json.encode(start).decode()
        most = self.size - 1 if self.starter == "srun" else math.inf
        store = self._connected()  # One that waits for the others, as the main thread's does, answers nobody.
        while not late.is_set() and not self._joined and answered < most:
            for number in range(answered + 1, store.add("questions", 0) + 1):
                store.set(store.get(f"question/{number}").decode(), told)
                answered = number
            time.sleep(_LOOK_EVERY_S)

    def join(self, group: str, accelerator: str) -> None:
        """Form the group of ``torch.distributed`` that trains; every process has to call it.

        Torch by itself would read what an earlier life of the processes left in the agent's store.
        """
        from torch import distributed

        backend = "nccl" if accelerator == "cuda" else "gloo"
        store = distributed.PrefixStore(group, self._store)  # type: ignore[attr-defined]
        distributed.init_process_group(backend, store=store, rank=self.rank, world_size=self.size)
        self._joined = True

    @functools.cached_property
    def _store(self) -> Any:
        """What all processes read and write: torchrun's agent keeps it, or else the first process."""
        kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        return self._connected(first=not kept and self.rank == 0)

    @staticmethod
    def _connected(*, first: bool = False) -> Any:
        from torch.distributed import DistError, PrefixStore, TCPStore  # type: ignore[attr-defined]

        address, port = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
        try:
            store = TCPStore(
                address,
                int(port),
                is_master=first,
                timeout=timedelta(seconds=_STORE_S),
                wait_for_workers=False,
                multi_tenant=True,
            )
        except (DistError, RuntimeError) as error:
            what = "cannot be listened at" if first else f"does not answer within {_STORE_S:.0f} s"
            raise ConfigError(
                Problem(
                    what=f"port {port} of {address}, where the processes of the run meet, {what}",
                    hint="set MASTER_ADDR to the name of the first node, or MASTER_PORT to a free port",
                )
            ) from error
        return PrefixStore("spectramind", store)


@functools.cache
def here() -> Ranks | None:
    """The processes that this one is of; None where it is alone, or is to start the others."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env and "RANK" in env:
        return Ranks(int(env["RANK"]), int(env["WORLD_SIZE"]), "torchrun")
    # A batch script has the variables of its job's tasks too; only in a step have they been started.
    if (size := int(env.get("SLURM_STEP_NUM_TASKS", "1"))) > 1:
        return Ranks(int(env["SLURM_PROCID"]), size, "srun")
    return None


def require_starter(ranks: Ranks | None, config: EffectiveConfig, run_plan: RunPlan) -> None:
    """Check that as many processes have been started as a plan has, or that it needs none to be.

    Raises:
        ConfigError: The message says how to start as many.
    """
    nodes, each = run_plan.num_nodes, run_plan.devices
    if (ranks.size if ranks else each) == run_plan.world_size:
        return
    expected = f"{nodes} node(s) with {each} process(es) each"
    hint = (
        f"start the command by srun --nodes={nodes} --ntasks-per-node={each}, or on each node by torchrun "
        f"--nnodes={nodes} --nproc-per-node={each} -m spectramind_train; plan --sbatch writes a batch script"
    )
    if ranks is None:
        what = "the processes of several nodes have to be started there, and this one was not"
        raise refusal(config, "num_nodes", what, "trainer.num_nodes=1", expected=expected, hint=hint)
    what = f"{ranks.starter} has started {ranks.size} process(es), and the run has {run_plan.world_size}"
    raise ConfigError(Problem(what=what, expected=expected, hint=hint))


def talk_to(address: str) -> None:
    """Have gloo talk over the interface that leads to the first node, or to this one alone.

    By itself it takes the interface that the host's name leads to, if any.
    """
    with suppress(OSError):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 1))
            own = probe.getsockname()[0]
        name = next((name for _, name in socket.if_nameindex() if _address(name) == own), None)
        if name is not None:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def _address(interface: str) -> str:
    """An interface's IPv4 address; empty where it has none, or where the system does not tell."""
    if sys.platform != "linux":
        return "127.0.0.1" if interface == "lo0" else ""
    import fcntl

    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = struct.pack("256s", interface.encode()[:15])
        return socket.inet_ntoa(fcntl.ioctl(any_socket.fileno(), _SIOCGIFADDR, asked)[20:24])
    return ""

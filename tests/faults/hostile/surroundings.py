"""Places where a command may have to run: each a shell line, in a fresh process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .jail import Ended

TINY = "trainer=ci_fast trainer.max_steps=2 data.simulation.planets=4 data.simulation.airs_frames=40 local.devices=cpu"
TINY += " model.width=8"
LONG = "trainer.max_steps=300 trainer.max_epochs=300"
NOBODY = 54_321
"""A user without an entry among the users."""


@dataclass(frozen=True)
class Place:
    """One place.

    Attributes:
        name: What is odd about it.
        line: The shell's line; ``spectramind`` and ``$TINY``, a training of two steps, stand ready.
        codes: The exit codes that are right.
        variables: More of the environment.
        before: A line that prepares it.
        after: A line that must succeed when it has ended.
        nobody: Whether it runs as a user whom the machine does not know.
        without: Variables that are not set.
    """

    name: str
    line: str
    codes: tuple[int, ...] = (0,)
    variables: dict[str, str] = field(default_factory=dict)
    before: str = ":"
    after: str = ":"
    nobody: bool = False
    without: tuple[str, ...] = ()


TRAINED = 'grep -q \'"status": "completed"\' outputs/run_manifest.json'
PLACES = [
    Place("an ASCII terminal", "spectramind config explain", variables={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}),
    Place(
        "an ASCII terminal that trains",
        "spectramind train $TINY",
        after=TRAINED,
        variables={"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"},
    ),
    Place(
        "a strict ASCII terminal and an odd path",
        "spectramind data check données\u202e",
        (2,),
        {"PYTHONIOENCODING": "ascii:strict"},
    ),
    Place("a closed output", "spectramind config show >&-"),
    Place("a closed output and error", "spectramind config show local=x >&- 2>&-", (2,)),
    Place("closed streams", "spectramind plan <&- >&- 2>&-"),
    Place("a closed output that trains", "spectramind train $TINY >&-", after=TRAINED),
    Place("closed streams that train", "spectramind train $TINY <&- >&- 2>&-", after=TRAINED),
    Place("a full output", "spectramind config show >/dev/full", (2,)),
    Place("a full output of help", "spectramind --help >/dev/full", (2,)),
    Place("a full output of JSON", "spectramind config show --json >/dev/full", (2,)),
    Place("a full output of a version", "spectramind --version >/dev/full", (2,)),
    Place("a full output of a plan", "spectramind plan >/dev/full", (0, 2)),
    Place("a full output of help on a command", "spectramind train --help >/dev/full", (2,)),
    Place("a full output and error", "spectramind config show local=x >/dev/full 2>/dev/full", (2,)),
    Place("a full output that trains", "spectramind train $TINY >/dev/full", after=TRAINED),
    Place("a full output and error that train", "spectramind train $TINY >/dev/full 2>/dev/full", after=TRAINED),
    Place("a reader that has gone", "spectramind config explain | true"),
    Place(
        "a reader that has gone from a training",
        "(spectramind train $TINY; echo $? >code) | true; exit $(cat code)",
        after=TRAINED,
    ),
    Place("no HOME", "spectramind config show", without=("HOME",)),
    Place("no HOME that trains", "spectramind train $TINY", without=("HOME",), after=TRAINED),
    Place(
        "no HOME, a path below it",
        "spectramind train $TINY \"local.paths.output_dir='~/x'\"",
        (0, 2),
        without=("HOME",),
        before="true",
        nobody=True,
    ),
    Place("a user whom nobody knows", "spectramind plan", nobody=True, without=("HOME", "USER", "LOGNAME")),
    Place(
        "a user whom nobody knows trains",
        "spectramind train $TINY",
        nobody=True,
        after=TRAINED,
        without=("HOME", "USER", "LOGNAME"),
    ),
    Place(
        "a user whom nobody knows tracks",
        "spectramind train $TINY local.mlflow.enabled=true",
        nobody=True,
        after=TRAINED,
        without=("HOME", "USER", "LOGNAME"),
    ),
    Place("a HOME that is not there", "spectramind train $TINY", variables={"HOME": "/proc/absent"}, after=TRAINED),
    Place("a HOME that is a file", "spectramind plan", variables={"HOME": "/etc/passwd"}),
    Place("somebody else's home", "spectramind train $TINY \"local.paths.output_dir='~nobody-at-all/x'\"", (2,)),
    Place("a home in the cache", "spectramind train $TINY \"local.paths.cache_dir='~nobody-at-all/x'\"", (2,)),
    Place("a home in the data", "spectramind train $TINY \"local.paths.data_root='~nobody-at-all/x'\"", (2,)),
    Place(
        "a home in the tracking",
        "spectramind train $TINY local.mlflow.enabled=true \"local.mlflow.tracking_uri='file:~nobody-at-all/x'\"",
        (0, 2),
    ),
    Place("a folder that was removed", "mkdir gone; cd gone; rmdir ../gone; spectramind config show", (2,)),
    Place(
        "a folder that was removed, and a variable",
        "mkdir gone; cd gone; rmdir ../gone; SM_PROFILES=x.py spectramind config show",
        (2,),
    ),
    Place(
        "a folder that was removed, profiles",
        "mkdir gone; cd gone; rmdir ../gone; spectramind config show --profiles x.py",
        (2,),
    ),
    Place("a folder that was removed, a plan", "mkdir gone; cd gone; rmdir ../gone; spectramind plan", (2,)),
    Place(
        "a folder that was removed, a new profile",
        "mkdir gone; cd gone; rmdir ../gone; spectramind profiles new x",
        (2,),
    ),
    Place("a folder that was removed trains", "mkdir gone; cd gone; rmdir ../gone; spectramind train $TINY", (2,)),
    Place(
        "a folder that was removed trains elsewhere",
        "mkdir gone; cd gone; rmdir ../gone; spectramind train $TINY \"local.paths.output_dir='$PLACE/outputs'\" "
        "\"local.paths.cache_dir='$PLACE/cache'\"",
        (0, 2),
    ),
    Place(
        "a folder that was removed sweeps",
        "mkdir gone; cd gone; rmdir ../gone; spectramind train -m local.seed=1,2 $TINY",
        (0, 2),
    ),
    Place("a folder that cannot be read", "mkdir shut; cd shut; chmod 0 .; spectramind config show", nobody=True),
    Place(
        "an output folder of 300 letters",
        "spectramind train $TINY local.paths.output_dir=$(printf 'a%.0s' $(seq 300))",
        (2,),
    ),
    Place(
        "an output folder of 5000 bytes",
        "spectramind train $TINY local.paths.output_dir=$(printf 'a/%.0s' $(seq 2500))",
        (2,),
    ),
    Place("an output folder with a newline", "spectramind train $TINY \"local.paths.output_dir='a\nb'\"", (0, 2)),
    Place("an output folder of bad UTF-8", "spectramind train $TINY $'local.paths.output_dir=\\'a\\xff\\''", (0, 2)),
    Place("a variable of bad UTF-8", "SM_OUTPUT_DIR=$'a\\xff' spectramind train $TINY", (0, 2)),
    Place("a variable with escapes", "SM_OUTPUT_DIR=$'/proc/\\x1b[2J' spectramind train $TINY", (2,)),
    Place("a variable with a newline", "SM_OUTPUT_DIR=$'a\\nb' spectramind train $TINY", (0, 2)),
    Place("a cache of bad UTF-8", "SM_CACHE_DIR=$'a\\xff' spectramind train $TINY", (0, 2)),
    Place("a cache in place of which a file is", "touch c; SM_CACHE_DIR=c spectramind train $TINY", (2,)),
    Place("a working folder of bad UTF-8", "mkdir $'a\\xff'; cd $'a\\xff'; spectramind train $TINY", (0, 2)),
    Place("a working folder with a newline", "mkdir $'a\\nb'; cd $'a\\nb'; spectramind train $TINY", after="true"),
    Place("a working folder with escapes", "mkdir $'a\\x1b[2J'; cd $'a\\x1b[2J'; spectramind train $TINY"),
    Place("a file-size limit of 100 kB", "(ulimit -f 100; spectramind train $TINY) > >(cat) 2> >(cat >&2)", (0, 2)),
    Place("a file-size limit of none", "(ulimit -f 0; spectramind train $TINY) > >(cat) 2> >(cat >&2)", (2,)),
    Place("few open files", "ulimit -n 40; spectramind train $TINY", (0, 2)),
    Place(
        "a driver's library that is none",
        "LD_LIBRARY_PATH=$PLACE spectramind plan",
        before="head -c 5000 /dev/urandom >libnvidia-ml.so.1",
    ),
    Place(
        "a driver's library of zero bytes",
        "LD_LIBRARY_PATH=$PLACE spectramind train $TINY local.devices=cpu",
        before=": >libnvidia-ml.so.1",
    ),
    Place(
        "a run's folder that goes",
        "spectramind train $TINY $LONG & "
        "until ls outputs/*/metrics.csv || ! kill -0 $!; do sleep 0.1; done >/dev/null 2>&1; "
        "rm -rf outputs; wait $!",
        (0, 2),
    ),
    Place(
        "a run's folder that becomes a file",
        "spectramind train $TINY $LONG & "
        "until ls outputs/*/metrics.csv || ! kill -0 $!; do sleep 0.1; done >/dev/null 2>&1; "
        "mv outputs gone; touch outputs; wait $!",
        (0, 2),
    ),
    Place("an odd COLUMNS", "COLUMNS=-5 spectramind config explain"),
    Place("a terminal that nobody knows", "TERM=$'\\x1b[2J' COLUMNS=x spectramind train --help"),
]


def nobody_starts_python() -> bool:
    """Whether a user whom nobody knows can start this Python, as such a user does; not where it lies in a shut home."""
    again = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return subprocess.run([*user, sys.executable, "-c", again], check=False, capture_output=True).returncode == 0


def attempt(place: Place, folder: Path, *, cache: Path | None = None, limit_s: float = 240.0) -> list[str]:
    """Run a line in a folder of its own; returns what is wrong with how it ended."""
    from .verdict import faults
    from .world import Case

    folder.mkdir(parents=True)
    if place.nobody:
        os.chmod(folder, 0o777)  # noqa: PTH101, S103 - for a user whom nobody knows.
    environment = _environment(place, folder, cache)
    subprocess.run(["bash", "-c", place.before], cwd=folder, env=environment, check=True, timeout=60)
    user = f"taskset -c 0 setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups" if place.nobody else ""
    script = f'spectramind() {{ {user} {sys.executable} -m spectramind_train.cli "$@"; }}\n{place.line}'
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        command, streams = ["bash", "-c", script], {"stdout": out, "stderr": err}
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, start_new_session=True, **streams
        )
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return [f"hung for {limit_s:g} s"]
    texts = [(folder / name).read_bytes().decode("utf-8", "replace") for name in ("out", "err")]
    ended = Ended(code, *texts, 0.0, 0, hung=False)
    problems = faults(Case(place.name, lambda _: [], place.codes), ended)
    if code == 2 and "2>" in place.line:
        problems = [one for one in problems if one != "no message" and not one.startswith("said")]
    if not problems and code == 0:
        done = subprocess.run(["bash", "-c", place.after], cwd=folder, env=environment, check=False, timeout=60)
        problems += ["what should be left behind is not"] if done.returncode else []
    return problems


def _environment(place: Place, folder: Path, cache: Path | None) -> Mapping[str, str]:
    names = ("SM_CACHE_DIR", "SM_OUTPUT_DIR", "SM_DATA_ROOT", "SM_MLFLOW_DIR", "SM_PROFILES", *place.without)
    found = {name: value for name, value in os.environ.items() if name not in names}
    found |= {"TINY": TINY, "LONG": LONG, "PLACE": str(folder), "OMP_NUM_THREADS": "1", "SM_OUTPUT_DIR": "outputs"}
    if cache is not None and "SM_CACHE" not in place.line and not place.nobody:
        found["SM_CACHE_DIR"] = str(cache)
    return found | place.variables

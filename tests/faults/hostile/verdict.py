"""Whether a hostile input was survived: one message or it worked, nothing read, written or run that should not be."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from .jail import CPU_S, MEMORY, Ended, Jail
from .world import Case, World

UNSEEN = re.compile(r"[^\n -~\u00a1-\u1fff\u2010-\u2027\u2030-\u205e\u2070-\ud7ff\uf900-\uffef\U00010000-\U0003ffff]")
"""What no message may hold of an input: controls, escapes, marks that turn the direction or break the line."""


def attempt(jail: Jail, case: Case, folder: Path, sound: Path) -> list[str]:
    """Try a case in a folder of its own, which is removed; returns what is wrong with how it ended."""
    folder.mkdir()
    before = _seen(sound)
    world = World(folder, sound)
    try:
        arguments = case.arguments(world)
        variables = {name: value.replace("{folder}", str(folder)) for name, value in case.variables.items()}
        more = {} if case.code is None else {"code": case.code}
        ended = jail.run(arguments, folder, variables=variables, **more)
        problems = faults(case, ended)
        if (folder / "executed").exists():
            problems.append("something was executed")
        if _seen(sound) != before:
            problems.append("something was written outside")
        return problems
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def faults(case: Case, ended: Ended) -> list[str]:
    """What is wrong with how a case ended."""
    said = ended.err + ended.out
    problems = []
    if ended.hung or ended.seconds > 3 * CPU_S:
        problems.append(f"took {ended.seconds:.0f} s")
    if ended.code not in case.codes:
        problems.append(f"exit code {ended.code}, not {case.codes}")
    if "Traceback" in said or re.search(r"^(error: )?\w+(Error|Exception)\b", said, re.MULTILINE):
        problems.append("a traceback" if "Traceback" in said else "the name of an exception")
    if found := UNSEEN.search(said):
        problems.append(f"{found[0]!r} on the terminal")
    if re.search(r"^\s*(run instead: (curl|x$|rm)|fake: )", said, re.MULTILINE):
        problems.append("a forged line")
    if ended.memory > MEMORY:
        problems.append(f"took {ended.memory / 1e9:.1f} GB")
    if len(ended.err) > 20_000:
        problems.append(f"a message of {len(ended.err)} letters")
    if ended.code == 2 and not re.search(r"^error: ", ended.err, re.MULTILINE):
        problems.append("no message")
    problems += [f"no word {word!r}" for word in case.words if word not in said]
    if problems:
        problems.append(f"said {ended.err[-300:]!r}")
    return problems


def _seen(folder: Path) -> list[tuple[str, int]]:
    found = []
    for above, _, names in os.walk(folder):
        found += [(f"{above}/{name}", os.lstat(f"{above}/{name}").st_mtime_ns) for name in names]
    return sorted(found)

"""``spectramind profiles …``: which profiles exist, what they change, and new ones."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from spectramind_config.errors import ConfigError, Problem, nearest
from spectramind_config.host import Host
from spectramind_config.leaves import leaves_of, same, value_at
from spectramind_config.local import LocalConfig
from spectramind_config.profile_writer import source_of
from spectramind_config.registry import DEFAULTS, GROUPS, REGISTRY, Registered
from spectramind_config.reporting import plain, short, take_flags, take_option
from spectramind_config.site_profiles import VARIABLE, failure, load
from spectramind_config.yaml_overlay import Overlay

LASTING = ("SCRATCH", "/scratch/{USER}", "/scratch", "/local_scratch/{USER}", "/local_scratch")
"""Variables and directories of scratch disks that outlast a job."""


def _list(arguments: list[str]) -> int:
    flags = take_flags(arguments, "--json")
    _refuse_more(arguments, "profiles list [--json]")
    load()
    listed = [one for group in GROUPS for one in REGISTRY.profiles[group].values()]
    if flags:
        names = ("group", "name", "provider", "source", "summary")
        print(json.dumps([{name: getattr(one, name) for name in names} for one in listed], indent=2))
        return 0
    rows = [(one.group, one.name, short(one.provider), one.summary) for one in listed]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3]]).rstrip())
    return 0


def _show_profile(arguments: list[str]) -> int:
    flags = take_flags(arguments, "--json")
    if not arguments:
        raise ConfigError("profiles show needs a profile: spectramind profiles show local=hpc")
    load()
    shown = [_differences(_named(argument)) for argument in arguments]
    if flags:
        print(json.dumps(shown[0] if len(shown) == 1 else shown, indent=2))
        return 0
    for number, one in enumerate(shown):
        print("\n" * bool(number) + f"{one['group']}={one['name']}: {one['summary']}")
        print(f"  changes {one['parent']}; from {short(one['provider'])}, {short(one['source'])}")
        for change in one["changes"]:
            was = f" instead of {plain(change['parent'])}" if "parent" in change else " (added)"
            setting = f"  {change['path']} = {plain(change['value'])}"
            print(setting + was if len(setting + was) <= 100 else f"{setting}\n     {was}")
            print(f"      {change['description'] or 'no description'}; {short(change['source'])}")
    return 0


def _differences(chosen: Registered) -> dict[str, Any]:
    parent, reference = chosen.parent()
    known = leaves_of(type(reference))
    changes = []
    for path, leaf in leaves_of(chosen.cls).items():
        value = value_at(chosen.instance, path)
        if path != "name" and not (path in known and same(value_at(reference, path), value)):
            change = {"path": path, "value": value, "description": leaf.description, "source": chosen.setter(path)[0]}
            changes.append(change | ({"parent": value_at(reference, path)} if path in known else {}))
    names = ("group", "name", "summary", "provider", "source")
    return {name: getattr(chosen, name) for name in names} | {"parent": parent, "changes": changes}


def _named(text: str) -> Registered:
    group, equals, name = text.rpartition("=")
    candidates = [group] if equals else list(GROUPS)
    found = [one for group in candidates if group in GROUPS and (one := REGISTRY.get(group, name)) is not None]
    if len(found) == 1:
        return found[0]
    if found:
        choices = ", ".join(f"{one.group}={name}" for one in found)
        raise ConfigError(f"'{text}' is a profile of several groups: {choices}")
    unloaded = next((problem for group in candidates if (problem := failure(group, name)) is not None), None)
    known = [f"{group}={one}" for group in GROUPS for one in REGISTRY.profiles[group]]
    close = nearest(text if equals else f"local={text}", known)
    unknown = Problem(what=f"there is no profile '{text}'", nearest=close, see="spectramind profiles list")
    raise ConfigError(unloaded or unknown)


def _new(arguments: list[str]) -> int:
    group = _group(arguments)
    output = take_option(arguments, "--output")
    take_flags(arguments, "--group", "--output")
    load()
    name = arguments.pop(0) if arguments else ""
    _refuse_more(arguments if name else ["a name is missing"], "profiles new NAME [--group local] [--output FILE]")
    title = f"Profile {group}={name}; edit it freely.\n\nWhat is not here keeps the base's value: "
    title += f"``spectramind profiles show {group}={DEFAULTS[group]}`` and ``config explain`` tell which.\n"
    values = REGISTRY.profiles[group][DEFAULTS[group]].instance
    reasons: dict[str, str] = {}
    summary, notes = f"Says in one line what {group}={name} is for.", ""
    if isinstance(values, LocalConfig):
        host = Host.detect()
        values, reasons = _local(name, host, os.environ)
        gpus = f"{len(host.gpus)} x {', '.join(dict.fromkeys(host.gpus))}" if host.gpus else "no NVIDIA GPU"
        summary = f"{host.name}: {gpus}, {host.cores} CPU cores."
        if host.scheduler:
            notes = f"Found inside a {host.scheduler} job, which may see only a part of the machine."
        elif shutil.which("sbatch"):
            notes = "SLURM is here, and this was found outside a job: inside one there may be other GPUs and cores."
    _write(group, name, output, source_of(group, name, values, title, summary, notes, reasons))
    return 0


def _local(name: str, host: Host, environment: Mapping[str, str]) -> tuple[LocalConfig, dict[str, str]]:
    """What suits a machine, and why."""
    values = LocalConfig()
    values.devices = len(host.gpus) or ("mps" if host.mps else "cpu")
    values.precision = "bf16-mixed" if host.cuda_bf16 or host.mps_bf16 else "16-mixed" if host.cuda_fp16 else "32"
    share = max(1, host.cores // max(1, len(host.gpus)))
    workers = max(1, min(16, share - 1))
    values.num_workers.train, values.num_workers.val = workers, max(1, workers // 2)
    values.num_workers.test = values.num_workers.val
    values.pin_memory = bool(host.gpus)
    values.mlflow.experiment_name = f"V50_{name}"
    reasons = {
        "precision": "Every GPU here computes in bfloat16" if host.cuda_bf16 else "What the devices here compute in",
        "num_workers": f"{share} of {host.cores} CPU cores for each device",
    }
    lasting, emptied = _scratch(environment, *LASTING), _scratch(environment, "SLURM_TMPDIR", "TMPDIR")
    values.paths.output_dir = _default("SM_OUTPUT_DIR", lasting, f"outputs/{name}")
    cache = lasting if any(lasting) else emptied
    if any(cache):
        values.paths.cache_dir = _default("SM_CACHE_DIR", cache, ".spectramind/cache")
        reasons["paths"] = f"{cache[1]} was found here" + ("" if any(lasting) else ", and may be emptied after a job")
    return values, reasons


def _scratch(environment: Mapping[str, str], *names: str) -> tuple[str, str]:
    """The first of some variables and directories that can be written, as variable and path; empty if none can."""
    for name in names:
        place = name.format(USER=environment.get("USER", "-")) if "/" in name else environment.get(name, "")
        if place.startswith("/") and os.access(place, os.W_OK | os.X_OK):
            return "" if "/" in name else name, place
    return "", ""


def _default(variable: str, scratch: tuple[str, str], folder: str) -> str:
    """A folder, on a scratch disk if there is one, unless a variable names another."""
    inner, place = scratch
    path = f"{place}/{folder}" if place else folder
    if re.fullmatch(r"[\w./-]*", path, re.ASCII) is None:
        path = "'" + re.sub(r"([\\'])", r"\\\1", path) + "'"
    elif inner:
        path = f"${{oc.env:{inner},{place}}}/{folder}"
    return f"${{oc.env:{variable},{path}}}"


def _import(arguments: list[str]) -> int:
    group = _group(arguments)
    names, output = take_option(arguments, "--name"), take_option(arguments, "--output")
    take_flags(arguments, "--name", "--group", "--output")
    usage = "profiles import OLD.yaml [--name NAME] [--group local] [--output FILE]"
    _refuse_more(arguments[1:] if arguments else ["a file is missing"], usage)
    file = Path(arguments[0]).absolute()
    load()
    overlay = Overlay(file, group)
    name = names[-1] if names else overlay.name
    title = f"Profile {group}={name}, imported from {file.name}."
    summary = f"{group}={overlay.base.name} with the settings of {file.name}."
    _write(group, name, output, source_of(group, name, overlay.instance, title, summary))
    for line in overlay.dropped:
        print(f"dropped: _target_ ({short(line)}), for the class itself says what it is")
    return 0


def _write(group: str, name: str, output: list[str], text: str) -> None:
    if problems := list(REGISTRY.unusable(group, name)):
        raise ConfigError(problems)
    file = Path(output[-1] if output else f"{name.replace('-', '_')}.py")
    if file.suffix != ".py":
        raise ConfigError(Problem(what=f"{file}: a profile is a Python file", expected="a path that ends in .py"))
    try:
        with file.open("x", encoding="utf-8") as opened:
            try:
                opened.write(text)
                opened.flush()
            except OSError:
                with suppress(OSError):
                    file.unlink()
                raise
    except FileExistsError:
        raise ConfigError(Problem(what=f"{file} exists already", hint="--output FILE names another file")) from None
    except OSError as error:
        raise ConfigError(Problem(what=f"{file} cannot be written: {error.strerror}")) from None
    listed = dict.fromkeys([*filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)), str(file)])
    print(f"written: {file}")
    print(f"next:    edit it, then {VARIABLE}={shlex.quote(os.pathsep.join(listed))} spectramind train {group}={name}")


def _group(arguments: list[str]) -> str:
    group = [*["local"], *take_option(arguments, "--group")][-1]
    if group not in GROUPS:
        what = f"--group {group}: there is no config group '{group}'"
        raise ConfigError(Problem(what=what, expected="one of " + ", ".join(GROUPS), nearest=nearest(group, GROUPS)))
    return group


def _refuse_more(arguments: list[str], usage: str) -> None:
    if arguments:
        raise ConfigError(Problem(what=f"{' '.join(arguments)}: not understood here", expected=f"spectramind {usage}"))


COMMANDS: Mapping[str, Callable[[list[str]], int]] = {
    "list": _list,
    "show": _show_profile,
    "new": _new,
    "import": _import,
}

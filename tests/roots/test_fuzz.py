"""Whatever is typed, a stranger's program ends with 0, 1 or 2 and a message, never with a traceback."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import spectramind_config as sc
from spectramind_config.commands.program import Program
from spectramind_config.schema.registry import REGISTRY

from .kinds import CASES, load, source

COMMANDS = ["config show", "config explain", "config diff", "config validate", "config schema", "config hash"]
COMMANDS += ["profiles list", "profiles show", "profiles new", "profiles import", ""]
PIECES = [
    "thing",
    "thing.",
    "=",
    "==",
    ",",
    "[",
    "]",
    "{",
    "}",
    "'",
    '"',
    "\\",
    "$",
    "${",
    "${x}",
    "${oc.env:",
    "}",
    ":",
    ".",
    "..",
    "~",
    "+",
    "++",
]
PIECES += [
    "plain",
    "changed",
    "count",
    "flag",
    "inner",
    "inner.depth",
    "grid.0.0",
    "table.a",
    "null",
    "true",
    "-1",
    "1e999",
    "nan",
    "???",
    " ",
    "\t",
]
PIECES += [
    "é",
    "😀",
    "\udcff",
    "\x01",
    "%",
    "@",
    "hydra",
    "hydra.",
    "experiment",
    "defaults",
    "_target_",
    "__class__",
    "name",
    "--json",
    "--file",
    "-x",
]
PIECES += [
    "--group",
    "thing",
    "--output",
    "range(1,3)",
    "choice(1,2)",
    "glob(*)",
    "interval(0,1)",
    "int(3)",
    "9" * 40,
    "a" * 300,
    "0x",
    "()",
    "#",
    "\n",
]
PIECES += [
    "stack.0",
    "stack.0.depth",
    "maybe_inner",
    "by_int",
    "by_colour",
    "RED",
    "pair",
    "times",
    "{depth:1}",
    "[1,2]",
    "kinds0",
    "--help",
    "--profiles",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> type[sc.Config]:
    """The root with every type, and profiles beside it."""
    known = REGISTRY._known
    module = load(tmp_path_factory.mktemp("fuzz"), source(CASES, 7), "fuzz_kinds")
    found: type[sc.Config] = module.Kinds
    yield found  # type: ignore[misc]
    REGISTRY._known = known


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command writes is written to an empty folder."""
    monkeypatch.chdir(tmp_path)


def ended(root: type[sc.Config], words: list[str]) -> int:
    """The exit code, with nothing but SystemExit let through."""
    try:
        return Program(root, "app.py", task=lambda _: None).main(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0


def piece(draw: random.Random) -> str:
    """An argument made of pieces, half of them a setting with some value."""
    if draw.random() < 0.5:
        case = draw.choice(CASES)
        given = [*case.given, *case.wrong, *PIECES]
        key = draw.choice(["thing.", "", "thing.", "+thing.", "++", "~thing."]) + case.name
        return f"{key}{draw.choice(['', '', '.0', '.a', '.depth', '.0.0', '.x.y'])}={draw.choice(given)}"
    return "".join(draw.choice(PIECES) for _ in range(draw.randint(1, 6)))


@pytest.mark.parametrize("command", COMMANDS)
def test_random_arguments(root: type[sc.Config], command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Pieces of the grammar in any order, for every command; a run of Hydra's own is left to other tests."""
    draw = random.Random(f"{command} 1")  # noqa: S311
    for _ in range(int(os.environ.get("SPECTRAMIND_EXAMPLES", "15" if command == "profiles new" else "40"))):
        words = [piece(draw) for _ in range(draw.randint(0, 3))]
        if any(word.lstrip("+~").startswith("hydra") for word in words) and not command:
            continue
        code = ended(root, [*command.split(), *words])
        told = capsys.readouterr()
        assert code in (0, 1, 2), (command, words)
        assert (code == 2) == told.err.startswith("error: "), (command, words, told.err[:500])


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "words",
    [
        ["a" * 5000],
        [f"{'a.' * 2500}b=1"],
        [f"thing.text={'a' * 5000}"],
        [f"thing.count={'9' * 5000}"],
        [f"thing.ints=[{','.join(['1'] * 3000)}]"],
        ["thing.grid=" + "[" * 300 + "]" * 300],
        [f"thing.spot={'/x' * 2500}"],
        ["--file", "/x" * 2500],
        ["--profiles", "/x" * 2500],
        ["--config-dir", "/x" * 2500],
        ["--profiles", "\x00"],
        ["--file", "\x00"],
        ["\x00=\x00"],
        ["thing.text=\x00"],
        [""],
        ["", "", ""],
        ["=" * 5000],
        ["'" * 99],
        ["--output", "/x" * 2500, "x"],
        ["thing=" + "a" * 5000],
        ["experiment=" + "a" * 5000],
    ],
    ids=lambda words: words[0][:20] + words[-1][:6],
)
def test_long_and_odd_arguments(
    root: type[sc.Config], command: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """5 000 bytes, deep brackets, zero bytes, empty words."""
    code = ended(root, [*command.split(), *words])
    assert code in (0, 1, 2)
    assert (code == 2) == capsys.readouterr().err.startswith("error: ")


def test_twenty_thousand_mistakes(root: type[sc.Config], capsys: pytest.CaptureFixture[str]) -> None:
    """Told in a screenful, within seconds."""
    words = [f"thing.nope{number}={number}" for number in range(20_000)]
    assert ended(root, ["config", "validate", *words]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: 20000 mistakes:")
    assert "and 19980 more" in told
    assert len(told) < 20_000


def test_a_terminal_of_ascii(tmp_path: Path) -> None:
    """Every command prints what it can, in a program of its own with é in names, values and messages."""
    text = (
        source(CASES[:6], 8)
        .replace("A root that has them all", "Eine schöne Größe 😀")
        .replace("What count is", "Größe")
    )
    text += '\n\nif __name__ == "__main__":\n    sc.main(Kinds)(lambda config: print(ascii(config.thing.text)))()\n'
    (tmp_path / "äpp.py").write_text(text, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(Path(sc.__file__).parents[1]), "PYTHONIOENCODING": "ascii"}
    environment |= {"COLUMNS": "60"}
    lines = [["--help"], ["profiles", "list"], ["config", "show", "thing.text='é😀'"], ["thing.text='é'"]]
    lines += [["config", "explain", "thing.text='é'"], ["config", "explain", "thing.text", "thing.text='é'"]]
    lines += [["config", "diff", "thing.text=\\'é\\'", "thing.text=\\'ä\\'"]]
    wrong = [["config", "show", "thing.cöunt=3"], ["thing=é"], ["thing.text=é"], ["thing.count='é'"], ["--filé"]]
    for words in [*lines, *wrong]:
        found = subprocess.run(
            [sys.executable, "äpp.py", *words], cwd=tmp_path, env=environment, capture_output=True, check=False
        )
        told = found.stderr.decode("ascii")
        assert found.returncode == (2 if words in wrong else 0), told
        assert "Traceback" not in told
        found.stdout.decode("ascii")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"[" * 900,
        b"a: &a [*a]",
        b"\x00",
        b"- 1",
        b"3",
        b"thing: 3",
        b"thing: {name: 3}",
        b"thing: {name: []}",
        b"? [a]\n: 3",
        b"a: !!python/object:os.system {}",
        b"{",
        b"thing: {name: plain, count: {a: 1}}",
        b"thing: null",
        b"<<: {a: 1}",
        b"1: 2",
        b"null: 3",
        b"thing: {name: plain, inner: 3, stack: {a: 1}, table: [1]}",
    ],
)
@pytest.mark.parametrize(
    "words",
    [
        "config validate --file odd.yaml",
        "config diff odd.yaml odd.yaml",
        "profiles import odd.yaml --group thing",
        "config show --config-dir .",
    ],
)
def test_odd_files(root: type[sc.Config], content: bytes, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Files that are no configs: read, compared, imported and loaded as overlays."""
    Path("odd.yaml").write_bytes(content)
    Path("thing").mkdir()
    Path("thing/odd.yaml").write_bytes(content)
    code = ended(root, words.split())
    told = capsys.readouterr().err
    assert code in (0, 2)
    assert code == 0 or told.startswith("error: ")
    assert "Traceback" not in told

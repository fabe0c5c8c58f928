"""``spectramind config …`` of saved files, and how every message ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import spectramind_config as sc

from .running import HPC, run

Overrides = st.SearchStrategy[list[str]]


@settings(max_examples=settings.default.max_examples // 5)
@given(data=st.data())
def test_what_show_writes_is_read_back(
    data: st.DataObject, valid_choices: Overrides, valid_settings: Overrides, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """compose, to_yaml, a file, from_file: the same fingerprint."""
    config = sc.compose(data.draw(valid_choices) + data.draw(valid_settings))
    file = tmp_path_factory.mktemp("saved") / "config.yaml"
    file.write_text(config.to_yaml(), encoding="utf-8")
    assert sc.from_file(file).fingerprint == config.fingerprint


def test_the_commands_read_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """``validate``, ``hash``, ``show`` and ``explain`` take ``--file`` instead of overrides."""
    file = tmp_path / "config.yaml"
    file.write_text(sc.compose(HPC).to_yaml())
    assert run(capsys, "validate", "--file", str(file)) == (0, "", "")
    assert run(capsys, "hash", f"--file={file}")[1] == f"{sc.compose(HPC).fingerprint}\n"
    assert json.loads(run(capsys, "hash", f"--file={file}", "--json")[1]) == {
        "fingerprint": sc.compose(HPC).fingerprint,
        "science_fingerprint": sc.compose(HPC).science_fingerprint,
    }
    assert yaml.safe_load(run(capsys, "show", "--file", str(file))[1]) == sc.compose(HPC).to_dict()
    assert "set by:   local.devices=8, config.yaml:1\n" in run(capsys, "explain", "devices", "--file", str(file))[1]
    code, _, err = run(capsys, "validate", "--file", str(file), "local=hpc")
    assert code == 2
    assert "one file is read as it stands, without overrides" in err


def change(values: dict[str, Any], text: str, new: str) -> str:
    """A config as YAML with one line changed."""
    lines = yaml.safe_dump(values, sort_keys=False)
    assert lines.count(text) == 1
    return lines.replace(text, new)


@pytest.mark.parametrize(
    ("text", "new", "what"),
    [
        ("\nseed: 1337", "\nsed: 1337", "sed: there is no such setting\n  from:     {}\n  nearest:  seed\n"),
        ("\nseed: 1337", "\nseed: -1", "seed: -1 does not fit\n  from:     {}\n  expected: an int >= 0"),
        ("\nprecision: bf16-mixed", "\nprecision: bf16", "precision: 'bf16' does not fit\n  from:     {}\n"),
        ("\n  train: 16", "\n  train: many", "num_workers.train: 'many' does not fit\n  from:     {}\n"),
        ("\n  name: hpc", "\n  name: hcp", "local.name: there is no profile 'hcp' in group local\n  from:     {}\n"),
        ("\npin_memory: true", "\npaths: 3", "paths stands on line {line} already"),
        ("\n  heads: 4", "\n  heads: 5", "model=v50: heads (5) does not divide width (48)\n  from:     {}\n"),
        ("\nstrategy: ddp", "\nstrategy: [", "not YAML or JSON: expected ',' or ']', but got"),
    ],
)
def test_a_files_mistake_is_told_with_file_line_and_key(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, new: str, what: str
) -> None:
    """Exit code 2; the file's own key, its line, and the command to check again."""
    file = tmp_path / "config.yaml"
    file.write_text(change(sc.compose(HPC).to_dict(), text, new))
    lines = file.read_text().splitlines()
    line = max(number for number, one in enumerate(lines, 1) if one == new.strip("\n"))
    code, out, err = run(capsys, "validate", "--file", str(file))
    assert (code, out) == (2, "")
    assert what.format(f"{file}:{line}", line=line) in err
    assert err.splitlines()[-1].startswith("see: spectramind config ")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it holds nothing instead of settings"),
        (b"- local=hpc\n", "it holds a list instead of settings"),
        (b"\xff\xfe", "can't decode byte"),
        (b'{"seed": ]', "not YAML or JSON: expected the node content"),
        (b'{"seed": }', "seed: null is not allowed"),
        (b"paths: null\n", "paths: this is a section, not a setting"),
        (b"precision: null\n", "then nothing sets a precision"),
        (b"1: 2\n", "1: there is no such setting"),
        (b"local: {name: site}\n", "there is no profile 'site' in group local"),
        (b"seed: &a [*a]\n", "a value in it holds itself"),
    ],
)
def test_any_content_of_a_file_is_answered(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes, words: str
) -> None:
    """One message with the file's name, never a traceback."""
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    code, out, err = run(capsys, "validate", "--file", str(file))
    assert (code, out) == (2, "")
    assert words in err
    assert str(file) in err


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A missing file, a folder without a manifest, and a flag without its value."""
    assert "No such file" in run(capsys, "validate", "--file", str(tmp_path / "a.yaml"))[2]
    assert f"{tmp_path}/manifest.json: No such file" in run(capsys, "hash", "--file", str(tmp_path))[2]
    assert run(capsys, "hash", "--file")[2] == (
        "error: --file: it needs a value\n"
        "  expected: what config show wrote, instead of overrides\n"
        "see: spectramind config hash --help\n"
    )


@pytest.mark.parametrize(
    "line",
    [
        "show local=lab",
        "show local.devices=0",
        "show local.seed=null",
        "show local.seed=1,2",
        "show model.foo=1",
        "show foo.bar=1",
        "show local.paths.cache_dir=${oc.env:SM_NOWHERE}",
        "show local.paths.cache_dir=${.nowhere}",
        "show local.paths.cache_dir=${oc.env:",
        "show model.heads=5",
        "show local.paths=/x",
        "show ~local",
        "show ~local.devices",
        "show local",
        "show --zebra",
        "show --file",
        "schema local=hpc",
        "explain zebra",
        "schema --group zebra",
        "zebra",
    ],
)
def test_every_message_ends_in_a_command(capsys: pytest.CaptureFixture[str], line: str) -> None:
    """Where nobody can tell what was meant, the last line is the command that shows what is possible."""
    code, _, err = run(capsys, *line.split())
    assert code == 2
    assert err.splitlines()[-1].startswith("see: spectramind ")


def test_a_circle_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Not once for every setting in it, nor for those that are made of it."""
    circle = ["local.paths.cache_dir=${.output_dir}", "local.paths.output_dir=${.cache_dir}"]
    _, _, err = run(capsys, "show", *circle)
    assert err.count("goes in a circle") == 1
    _, _, err = run(capsys, "show", "local.paths.output_dir=${oc.env:SM_NOWHERE}")
    assert "mistakes" not in err
    assert "do:       export SM_NOWHERE=<value>" in err

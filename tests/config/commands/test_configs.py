"""``spectramind config …``: provenance, comparison, saved files, and what each prints."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import spectramind_config as sc
from spectramind_train.cli import main

Overrides = st.SearchStrategy[list[str]]
HPC = ["trainer=multi_gpu", "local=hpc", "local.devices=8"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a ``config`` command."""
    code = main(["config", *arguments])
    found = capsys.readouterr()
    return code, found.out, found.err


def rows(out: str) -> dict[str, str]:
    """The lines of the table of ``config explain`` by the path that each is about; continuations are joined."""
    found: dict[str, str] = {}
    path = ""
    for line in out.splitlines()[1:]:
        if line.startswith("    "):
            found[path] += " " + line.strip()
        elif line[:2] in ("* ", "  "):
            path = line[2:].split()[0]
            found[path] = line
    return found


# explain


def test_the_table_has_every_setting_once_and_fits_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    """A heading for each group with its profile, below it each setting, in 120 columns and nearly always one line."""
    code, out, err = run(capsys, "explain", *HPC)
    config = sc.compose(HPC)
    assert (code, err) == (0, "")
    assert sorted(rows(out)) == sorted(one.path for one in config.origins() if not one.path.endswith(".name"))
    for group, name in config.profiles.items():
        assert f"\n\n{group}={name}: " in out
    lines = out.splitlines()
    assert max(map(len, lines)) <= 120
    assert sum(line.startswith("    ") for line in lines) <= 2


def test_the_table_marks_what_differs_from_the_default_profiles(capsys: pytest.CaptureFixture[str]) -> None:
    """A star stands before exactly those values that no argument at all would not give."""
    _, out, _ = run(capsys, "explain", *HPC)
    usual = {one.path: one.value for one in sc.compose().origins()}
    now = {one.path: one.value for one in sc.compose(HPC).origins()}
    starred = {path for path, line in rows(out).items() if line.startswith("*")}
    assert starred == {path for path in rows(out) if now[path] != usual[path]}
    _, out, _ = run(capsys, "explain")
    assert not any(line.startswith("*") for line in rows(out).values())


def test_the_table_says_who_and_what_was_shadowed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Class and line of a profile's value, the override, the variable and whether it is set, the values below."""
    monkeypatch.setenv("SM_DATA_ROOT", "/d")
    _, out, _ = run(capsys, "explain", *HPC)
    found = rows(out)
    assert found["devices"].endswith("local.devices=8, command line  over 4 of local=hpc")
    assert "HpcLocal local.py:" in found["precision"]
    assert found["precision"].endswith('over "16-mixed" of trainer=multi_gpu')
    assert found["paths.data_root"].endswith("SM_DATA_ROOT is set")
    assert found["paths.cache_dir"].endswith("SM_CACHE_DIR is not set")
    assert found["paths.run_manifest"].endswith("= ${.output_dir}/run_manifest.json")


def test_one_setting_tells_its_whole_story(capsys: pytest.CaptureFixture[str]) -> None:
    """Value, meaning, type and range, who set it, the chain below in order, and how to change it."""
    code, out, err = run(capsys, "explain", "precision", *HPC, "local.precision=32")
    assert (code, err) == (0, "")
    labels = [line.split(":")[0].strip() for line in out.splitlines()[1:]]
    assert labels == ["meaning", "takes", "set by", "over", "over", "change"]
    _, _, takes, by, first, second, change = out.splitlines()
    assert out.startswith('precision = "32"\n')
    assert takes.endswith("one of bf16-mixed, 16-mixed, 32, auto-mixed, or null")
    assert by.endswith("local.precision=32, command line")
    assert '"bf16-mixed" of local=hpc, HpcLocal, ' in first
    assert '"16-mixed" of trainer=multi_gpu, MultiGpuTrainer, ' in second
    assert change.endswith("local.precision=<value>")


def test_an_interpolated_value_tells_what_it_is_made_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text as written, each variable and each setting in it."""
    _, out, _ = run(capsys, "explain", "paths.output_dir")
    assert "written:  ${oc.env:SM_OUTPUT_DIR,outputs/local}\n" in out
    assert "variable: SM_OUTPUT_DIR is not set, so the default after the comma stands\n" in out
    monkeypatch.setenv("SM_OUTPUT_DIR", "/o")
    _, out, _ = run(capsys, "explain", "paths.run_manifest", "paths.output_dir")
    assert 'made of:  paths.output_dir = "/o", set by local=default, Paths, ' in out
    assert "variable: SM_OUTPUT_DIR is set\n" in out


@pytest.mark.parametrize(
    ("path", "paths"),
    [
        ("num_workers", ["num_workers.train", "num_workers.val", "num_workers.test"]),
        ("logger", ["logger.style", "logger.name"]),
        ("local.devices", ["devices"]),
        ("local.paths", ["paths.cache_dir", "paths.output_dir", "paths.data_root", "paths.run_manifest"]),
    ],
)
def test_sections_and_groups_are_explained_setting_by_setting(
    capsys: pytest.CaptureFixture[str], path: str, paths: list[str]
) -> None:
    """A path may be a section, a group, or a setting as an override names it."""
    _, out, _ = run(capsys, "explain", path)
    assert sorted(story.split(" = ")[0] for story in out.split("\n\n")) == sorted(paths)


def test_explain_as_json_says_whether_a_variable_was_set(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the contract's keys: key, class, the text as written, the variables with their values."""
    monkeypatch.setenv("SM_DATA_ROOT", "/d")
    _, out, _ = run(capsys, "explain", "--json", "paths.data_root", "paths.cache_dir", "devices", "local.devices=2")
    root, cache, devices = json.loads(out)
    assert (root["key"], root["class"], root["raw"]) == (
        "local.paths.data_root",
        "Paths",
        "${oc.env:SM_DATA_ROOT,data}",
    )
    assert (root["variables"], cache["variables"]) == ({"SM_DATA_ROOT": "/d"}, {"SM_CACHE_DIR": None})
    assert (devices["class"], devices["raw"], devices["variables"]) == ("", None, {})


def test_a_misspelt_path_is_corrected(capsys: pytest.CaptureFixture[str]) -> None:
    """The command that ends the message keeps the overrides."""
    code, out, err = run(capsys, "explain", "precison", "local=hpc")
    assert (code, out) == (2, "")
    assert err.endswith("run instead: spectramind config explain precision local=hpc\n")


def test_a_sites_field_is_explained(capsys: pytest.CaptureFixture[str], forget: None) -> None:
    """A field that a profile adds is in the table, starred, for the default profile lacks it."""

    @sc.profile("local", "site")
    @dataclass(kw_only=True)
    class Site(sc.LocalConfig):
        """A site."""

        rack: int = 7

    _, out, _ = run(capsys, "explain", "local=site")
    assert rows(out)["local.rack"].split()[:3] == ["*", "local.rack", "7"]


# diff


def test_a_difference_shows_both_sides_with_their_origins(capsys: pytest.CaptureFixture[str]) -> None:
    """A path, then each side's value and who set it; what is equal is not mentioned."""
    code, out, err = run(capsys, "diff", "local=default", "local=default local.devices=2 optimizer.lr=1e-3")
    assert (code, err) == (0, "")
    devices, ours, theirs, lr, *_ = out.splitlines()[2:]
    assert (devices, lr) == ("devices", "optimizer.lr")
    assert ours.startswith('  A: "auto"  local=default, LocalConfig, ')
    assert theirs.startswith("  B: 2       local.devices=2, command line")
    assert "seed" not in out


def test_equal_configs_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Different words for one config are equal: exit code 0 with ``--exit-code`` as well."""
    code, out, _ = run(capsys, "diff", "--exit-code", "local.devices=4 local.seed=1337", "local.devices=4")
    assert (code, out.split(" (")[0]) == (0, "the configs are equal")
    assert run(capsys, "diff", "local=hpc", "local=hpc", "--json")[1] == "[]\n"


def test_the_exit_code_tells_of_differences_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    """1 with ``--exit-code`` as in git, else 0; 2 stays for mistakes."""
    assert run(capsys, "diff", "local=hpc", "local=debug")[0] == 0
    assert run(capsys, "diff", "local=hpc", "local=debug", "--exit-code")[0] == 1


def test_differences_as_json(capsys: pytest.CaptureFixture[str], forget: None) -> None:
    """A list of path and both origins; null where a side has no such setting."""

    @sc.profile("local", "site")
    @dataclass(kw_only=True)
    class Site(sc.LocalConfig):
        """A site."""

        rack: int = 7

    _, out, _ = run(capsys, "diff", "--json", "", "local=site")
    name, rack = json.loads(out)
    assert (name["path"], name["a"]["value"], name["b"]["value"]) == ("local.name", "default", "site")
    assert (rack["path"], rack["a"], rack["b"]["option"]) == ("local.rack", None, "site")


def manifest(folder: Path, overrides: list[str]) -> Path:
    """A run's directory with what of a manifest matters here."""
    folder.mkdir()
    values = {"schema_version": 1, "overrides": overrides, "config": sc.compose(overrides).to_dict()}
    (folder / "manifest.json").write_text(json.dumps(values, indent=2))
    return folder


def test_runs_files_and_overrides_compare(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A run's directory, its manifest, YAML and JSON of ``config show`` and overrides in any combination."""
    run_dir = manifest(tmp_path / "run", HPC)
    (tmp_path / "a.yaml").write_text(sc.compose(HPC).to_yaml())
    (tmp_path / "a.json").write_text(json.dumps(sc.compose(HPC).to_dict(), indent=2))
    sides = [str(run_dir), str(run_dir / "manifest.json"), *(str(tmp_path / f"a.{end}") for end in ("yaml", "json"))]
    for side in sides:
        for other in (*sides, " ".join(HPC)):
            assert "the configs are equal" in run(capsys, "diff", side, other)[1]
        _, out, _ = run(capsys, "diff", side, "trainer=multi_gpu local=hpc")
        file = Path(side) / "manifest.json" if Path(side).is_dir() else Path(side)
        line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "devices" in text and ": 8" in text)
        assert f"  A: 8  local.devices=8, {file.name}:{line}\n  B: 4  local=hpc, HpcLocal, " in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["local=hpc"], "compares two configs, and 1 are given"),
        (["a.yaml", "local=hpc"], "a.yaml: there is no such file, and it is not an override"),
        (["local.x='a", ""], "no closing quotation"),
        (
            ["local=hpc", "local=debug local.sed=3"],
            "run instead: spectramind config diff local=hpc 'local=debug local.seed=3'",
        ),
        (["local=hcp", "--json", "local=debug"], "run instead: spectramind config diff local=hpc --json local=debug"),
    ],
)
def test_a_side_that_is_no_config_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    """The mistake and a command for both sides."""
    code, out, err = run(capsys, "diff", *arguments)
    assert (code, out) == (2, "")
    assert words in err


@settings(max_examples=settings.default.max_examples // 5)
@given(data=st.data())
def test_no_difference_means_one_fingerprint(
    data: st.DataObject, valid_choices: Overrides, valid_settings: Overrides
) -> None:
    """Two configs differ in no path if and only if they are equal."""
    from spectramind_config.commands.configs import differences

    pair = [sc.compose(data.draw(valid_choices) + data.draw(valid_settings)) for _ in range(2)]
    assert (differences(*pair) == []) == (pair[0] == pair[1])
    assert differences(pair[0], pair[0]) == []
    assert [(path, b, a) for path, a, b in differences(*pair)] == differences(*reversed(pair))


# files


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

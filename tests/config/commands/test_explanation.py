"""``spectramind config explain``: who set each value, as a table and as the story of one."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

import spectramind_config as sc

from .running import HPC, run


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

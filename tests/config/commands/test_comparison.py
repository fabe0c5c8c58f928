"""``spectramind config diff``: two configs side by side, wherever they come from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spectramind_config as sc

from .running import HPC, run

Overrides = st.SearchStrategy[list[str]]


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
        (["local=hcp", "local.sed=3"], "run instead: spectramind config diff local=hpc local.seed=3"),
        (["local=hcp", "a.yaml"], "2. a.yaml: there is no such file"),
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
    assert [(path, (b, a)) for path, (a, b) in differences(*pair)] == differences(*reversed(pair))

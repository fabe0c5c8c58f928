"""Experiments: named lists of overrides as a layer between profiles and the command line."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
from hydra import compose as hydra_compose
from hydra import initialize

import spectramind_config as sc
from spectramind_config.commands.program import Program
from spectramind_config.schema.registry import REGISTRY


@dataclass(kw_only=True)
class SolverConfig(sc.Profile):
    """How it is solved."""

    steps: Annotated[int, sc.about("Most steps", ge=1)] = 10
    label: str = "x"
    rows: list[int] = field(default_factory=lambda: [1, 2])
    table: dict[str, int] = field(default_factory=lambda: {"a": 1})


@pytest.fixture(autouse=True)
def root() -> Iterator[type[sc.Config]]:
    """A root with four experiments."""
    before = REGISTRY._known

    @sc.root("trying", program="try.py")
    @dataclass(frozen=True, kw_only=True)
    class Trying(sc.Config):
        """Tries."""

        size: Annotated[int, sc.about("Size", ge=1)] = 3
        solver: SolverConfig = sc.group("newton")

    @sc.profile("solver", "newton")
    @dataclass(kw_only=True)
    class Newton(SolverConfig):
        """Quadratic."""

        steps: int = 11

    @sc.profile("solver", "fixed")
    @dataclass(kw_only=True)
    class Fixed(SolverConfig):
        """Linear."""

        steps: int = 100

    @sc.experiment("fast", root=Trying)
    def fast() -> list[str]:
        """Quick."""
        return ["solver=fixed", "solver.steps=2", "size=5"]

    @sc.experiment("small", root=Trying)
    def small() -> list[str]:
        return ["size=1"]

    @sc.experiment("parts", root=Trying)
    def parts() -> list[str]:
        return ["solver.table.a=3", "solver.label=on"]

    @sc.experiment("added", root=Trying)
    def added() -> list[str]:
        return ["+solver.table.b=4", "solver.rows=[5]"]

    yield Trying
    REGISTRY._known = before


def got(root: type[sc.Config], *words: str) -> tuple[Any, ...]:
    """What a command line gives: the profile, its steps, and the root's own setting."""
    config: Any = sc.compose(words, root=root)
    return config.solver.name, config.solver.steps, config.size


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ("newton", 11, 3)),
        (["experiment=fast"], ("fixed", 2, 5)),
        (["experiment=[fast]"], ("fixed", 2, 5)),
        (["experiment=[fast,small]"], ("fixed", 2, 1)),
        (["experiment=[small,fast]"], ("fixed", 2, 5)),
        (["experiment=fast", "size=9"], ("fixed", 2, 9)),
        (["size=9", "experiment=fast"], ("fixed", 2, 9)),
        (["experiment=fast", "solver=newton"], ("newton", 2, 5)),
        (["solver.steps=4", "experiment=fast"], ("fixed", 4, 5)),
        (["experiment=[]"], ("newton", 11, 3)),
        (["experiment=null"], ("newton", 11, 3)),
        (["experiment=fast", "experiment=small"], ("newton", 11, 1)),
    ],
)
def test_an_experiment_wins_over_profiles_and_loses_to_the_command_line(
    root: type[sc.Config], words: list[str], expected: tuple[Any, ...]
) -> None:
    """Wherever it stands on the line; of several the last wins; it may choose profiles."""
    assert got(root, *words) == expected


@pytest.mark.parametrize(
    "words",
    [
        ["experiment=fast"],
        ["experiment=[fast,small]"],
        ["experiment=fast", "size=9"],
        ["solver=newton", "experiment=small"],
        ["experiment=parts"],
        ["experiment=added"],
        ["experiment=[parts,added]"],
        ["experiment=[]"],
    ],
    ids=" ".join,
)
def test_hydra_composes_an_experiment_as_we_do(root: type[sc.Config], words: list[str]) -> None:
    """From the same ConfigStore, natively: parts of lists, new entries and texts included."""
    with initialize(version_base="1.3", config_path=None):
        theirs = sc.from_hydra(hydra_compose("trying", words), root=root)
    ours = sc.compose(words, root=root)
    assert theirs.to_dict() == ours.to_dict()
    assert theirs.fingerprint == ours.fingerprint


@pytest.mark.parametrize("name", ["narrow", "overfit"])
def test_hydra_composes_a_shipped_experiment_as_we_do(name: str) -> None:
    """Those of the root ``train`` too."""
    with initialize(version_base="1.3", config_path=None):
        theirs = sc.from_hydra(hydra_compose("train", [f"experiment={name}"]))
    assert theirs.fingerprint == sc.compose([f"experiment={name}"]).fingerprint != sc.compose([]).fingerprint


def test_provenance_names_the_layer(root: type[sc.Config], capsys: pytest.CaptureFixture[str]) -> None:
    """With the experiment's name, file and line; what it shadows, and what shadows it."""
    config = sc.compose(["experiment=[fast,small]", "solver.steps=4"], root=root)
    origin = config.origin("size")
    assert (origin.layer, origin.option) == ("experiment", "small")
    assert "test_experiments.py:" in origin.source
    assert [(one.layer, one.option) for one in origin.shadowed] == [("experiment", "fast"), ("root", "Trying")]
    steps = config.origin("solver.steps")
    assert (steps.layer, [one.layer for one in steps.shadowed]) == ("override", ["experiment", "solver"])
    again = pickle.loads(pickle.dumps(sc.compose(["experiment=narrow"])))  # noqa: S301
    assert again.origin("model.width").layer == "experiment"
    assert Program(root, "try.py").main(["config", "explain", "size", "experiment=small"]) == 0
    assert "experiment=small" in capsys.readouterr().out


def test_commands_list_and_save_experiments(
    root: type[sc.Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``profiles list`` and ``--help`` name them; what is saved reads back without them."""
    program = Program(root, "try.py", task=lambda _: None)
    assert program.main(["profiles", "list"]) == 0
    assert all(name in capsys.readouterr().out for name in ("fast",))
    assert program.main(["profiles", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in rows if row["group"] == "experiment"} == {"fast", "small", "parts", "added"}
    assert program.main(["--help"]) == 0
    assert "experiment=" in capsys.readouterr().out
    config = sc.compose(["experiment=[fast,added]"], root=root)
    file = tmp_path / "saved.yaml"
    file.write_text(config.to_yaml())
    assert sc.from_file(file, root=root).fingerprint == config.fingerprint
    assert config.with_overrides(["size=8"]).origin("solver.steps").layer == "experiment"


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("experiment=fats", "nearest:  experiment=fast"),
        ("experiment=[fast,nope]", "there is no experiment 'nope'"),
        ("experiment=narrow", "there is no experiment 'narrow'"),
        ("experiment=3", "there is no experiment '3'"),
        ("experiment={a:1}", "experiment"),
        ("experiment=[[fast]]", "experiment"),
        ("+experiment=fast", "experiment"),
        ("~experiment", "experiment"),
        ("++experiment=fast", "experiment"),
        ("experiment.size=3", "experiment"),
        ("experiment=", "experiment"),
        ("experiment=fast,small", "several values"),
    ],
)
def test_a_mistaken_choice_is_told(
    root: type[sc.Config], word: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another root's experiment, a misspelt one, a wrong shape."""
    assert Program(root, "try.py", task=lambda _: None).main(["config", "show", word]) == 2
    printed = capsys.readouterr().err
    assert told in printed
    assert "Traceback" not in printed


HEAD = "import spectramind_config as sc\n"


@pytest.mark.parametrize(
    ("name", "body", "told"),
    [
        ("mine", 'return ["local.max_epochs=0"]', "0 does not fit"),
        ("mine", 'return ["local.max_epoch=3"]', "there is no setting"),
        ("mine", 'return ["local=nope"]', "there is no profile 'nope'"),
        ("mine", 'return ["local.max_epochs=1,2"]', "several values"),
        ("mine", "return [3]", "no list of overrides"),
        ("mine", 'return "local.max_epochs=3"', "no list of overrides"),
        ("mine", "return None", "no list of overrides"),
        ("mine", 'return ["experiment=narrow"]', "chooses no other one"),
        ("mine", 'return ["local=debug", "local.persistent_workers=true"]', "persistent_workers"),
        ("narrow", 'return ["local.max_epochs=3"]', "name is taken"),
        ("mine", "raise RuntimeError('broken')", "broken"),
    ],
)
def test_a_refused_experiment_stops_the_runs_that_choose_it(
    name: str, body: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a site's file, even where a shipped one has its name; all other runs go on."""
    file = tmp_path / "site.py"
    file.write_text(f'{HEAD}@sc.experiment("{name}")\ndef listing():\n    {body}\n', encoding="utf-8")
    monkeypatch.setenv("SM_PROFILES", str(file))
    with pytest.raises(sc.ConfigError, match=f"experiment={name} cannot be chosen") as caught:
        sc.compose([f"experiment={name}"])
    assert told in str(caught.value)
    assert str(file) in str(caught.value)
    assert sc.compose(["experiment=overfit"]).overrides == ("experiment=overfit",)
    monkeypatch.setenv("SM_PROFILES", "")
    assert (name in REGISTRY.experiments(sc.EffectiveConfig._root)) == (name == "narrow")
    if name == "narrow":
        assert sc.compose(["experiment=narrow"]).origin("model.width").layer == "experiment"


def test_a_sites_experiment_may_choose_a_sites_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both from files, in any order of the files' names; an edit counts at the next composition."""
    (tmp_path / "a.py").write_text(
        f'{HEAD}@sc.experiment("ours")\ndef ours():\n    return ["local=lab"]\n', encoding="utf-8"
    )
    profile = f'{HEAD}from dataclasses import dataclass\n@sc.profile("local", "lab")\n@dataclass(kw_only=True)\n'
    profile += "class Lab(sc.LocalConfig):\n    max_epochs: int = 7\n"
    (tmp_path / "b.py").write_text(profile, encoding="utf-8")
    monkeypatch.setenv("SM_PROFILES", os.pathsep.join([str(tmp_path / "b.py"), str(tmp_path / "a.py")]))
    assert sc.compose(["experiment=ours"]).max_epochs == 7
    (tmp_path / "a.py").write_text(
        f'{HEAD}@sc.experiment("ours")\ndef ours():\n    return ["local=lab", "local.max_epochs=8"]\n', encoding="utf-8"
    )
    assert sc.compose(["experiment=ours"]).max_epochs == 8


def test_an_element_of_a_list_is_refused(root: type[sc.Config]) -> None:
    """Hydra's own composition of the experiment could not merge it."""
    with pytest.raises(sc.ConfigError, match="Hydra merges whole lists") as caught:
        sc.experiment("element", root=root)(lambda: ["solver.rows.0=7"])
    assert "solver.rows=[" in str(caught.value)
    with pytest.raises(sc.ConfigError, match="experiment=element cannot be chosen"):
        sc.compose(["experiment=element"], root=root)


def test_an_experiment_of_another_root_is_told_so(root: type[sc.Config]) -> None:
    """Without ``root=`` it is one of ``train``; nothing is run instead, for it stands on no command line."""
    with pytest.raises(sc.ConfigError, match="say which root it is of: root=Trying") as caught:

        @sc.experiment("lost")
        def lost() -> list[str]:
            return ["solver=fixed", "size=5"]

    assert "nearest" not in str(caught.value)
    with pytest.raises(sc.ConfigError, match="nearest:  solver=fixed") as caught:

        @sc.experiment("slip", root=root)
        def slip() -> list[str]:
            return ["solver=fixd", "size=5"]

    assert "run instead" not in str(caught.value)


def test_a_profile_of_another_class_says_which_to_choose(root: Any) -> None:
    """By group and name, as a command line chooses it."""
    config = sc.compose([], root=root)
    fixed = type(sc.compose(["solver=fixed"], root=root).solver)
    with pytest.raises(sc.ConfigError, match=r"solver=newton is a .*Newton, and Fixed is needed") as caught:
        fixed.of(config.solver)
    assert "choose solver=fixed\n" in str(caught.value)

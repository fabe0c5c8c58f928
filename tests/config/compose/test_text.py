"""Text stays text: a string setting takes what was written, from the command line, YAML and saved files alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import yaml

import spectramind_config as sc
from spectramind_train.cli import main

from ..engine import VARIABLE, load

TEXTS = ["7e12345", "1.10", "010", "on", "Off", "yes", "true", "True", "FALSE", "12:30", "08:30:00", "1_000", "0x1f"]
TEXTS += ["-0", "+3", "1e3", ".5", "1.", "inf", "-Inf", "nan", "2024-01-01", "0o17", "99999999999999999999999", "a"]
NAME = "local.mlflow.experiment_name"


@dataclass(kw_only=True)
class Texts(sc.LocalConfig):
    """Texts of every kind."""

    place: Path = Path("here")
    mode: Literal["on", "off", "1.10"] = "on"
    maybe: str | None = None
    tags: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    pair: tuple[str, int] = ("a", 1)


@pytest.fixture
def texts(forget: None) -> None:
    """A profile with such settings."""
    sc.profile("local", "texts")(Texts)


@pytest.fixture
def overlays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder of overlays of the group local, forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "local").mkdir()
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    yield tmp_path / "local"
    monkeypatch.delenv(VARIABLE)
    load()


@pytest.mark.parametrize("text", TEXTS)
def test_on_the_command_line(text: str) -> None:
    """With quotes and without; twice, for the second composition remembers the first."""
    for _ in range(2):
        assert sc.compose([f"{NAME}={text}"]).mlflow.experiment_name == text
        assert sc.compose([f"{NAME}='{text}'"]).mlflow.experiment_name == text
    assert (
        sc.compose(["local.mlflow={experiment_name:" + text.replace(":", "\\:") + "}"]).mlflow.experiment_name == text
    )


@pytest.mark.parametrize("text", TEXTS)
def test_in_a_saved_config(text: str, tmp_path: Path) -> None:
    """What is saved is read back, by every reader of YAML and JSON; what a person wrote without quotes too."""
    config = sc.compose([f"{NAME}='{text}'"])
    (tmp_path / "a.yaml").write_text(config.to_yaml())
    (tmp_path / "a.json").write_text(json.dumps(config.to_dict()))
    (tmp_path / "typed.yaml").write_text(f"mlflow:\n  experiment_name: {text}\n")
    assert yaml.safe_load(config.to_yaml())["mlflow"]["experiment_name"] == text
    assert sc.from_file(tmp_path / "a.yaml") == sc.from_file(tmp_path / "a.json") == config
    assert sc.from_file(tmp_path / "typed.yaml") == config


@pytest.mark.parametrize("text", TEXTS)
def test_in_an_overlay_and_what_is_imported_of_it(
    text: str, overlays: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The YAML of old, read where it lies and turned into a class."""
    file = overlays / "old.yaml"
    file.write_text(f"mlflow:\n  experiment_name: {text}\n")
    assert sc.compose(["local=old"]).mlflow.experiment_name == text
    assert main(["profiles", "import", str(file), "--name", "imported"]) == 0
    monkeypatch.setenv(VARIABLE, "imported.py")
    assert sc.compose(["local=imported"]).mlflow.experiment_name == text
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", ["7e12345", "1.10", "010", "on", "true", "-0", "1_000"])
def test_in_every_place_for_a_text(text: str, texts: None) -> None:
    """Paths, optional strings, and the elements of lists, dicts and tuples."""
    overrides = [f"local.place={text}", f"local.maybe={text}", f"local.tags=[{text},a]", f"local.pair=[{text},3]"]
    config = sc.compose(["local=texts", *overrides, f"+local.labels={{x:{text}}}", f"+local.labels.y={text}"])
    mine = Texts.of(config.local)
    assert (mine.place, mine.maybe, mine.tags, mine.pair) == (Path(text), text, [text, "a"], (text, 3))
    assert mine.labels == {"x": text, "y": text}
    assert sc.from_dict(yaml.safe_load(config.to_yaml()), "a.yaml") == config


@pytest.mark.parametrize("text", ["on", "off", "1.10"])
def test_in_a_closed_set(text: str, texts: None) -> None:
    """A choice that looks like a truth value or a number."""
    assert Texts.of(sc.compose(["local=texts", f"local.mode={text}"]).local).mode == text
    with pytest.raises(sc.ConfigError, match=r"'1\.1' does not fit"):
        sc.compose(["local=texts", "local.mode=1.1"])


def test_numbers_and_truth_values_stay_what_they_are() -> None:
    """Only where the setting is one."""
    config = sc.compose(["local.seed=1_000", "optimizer.lr=1e-3", "local.pin_memory=FALSE", "local.precision=32"])
    assert (config.seed, config.optimizer.lr, config.pin_memory, config.precision) == (1000, 1e-3, False, "32")
    assert sc.compose(["local.dev.limit_val_batches=1.0"]).dev.limit_val_batches == 1.0
    with pytest.raises(sc.ConfigError, match=r"local\.seed=1\.0: 1\.0 does not fit"):
        sc.compose(["local.seed=1.0"])


def test_null_is_no_text() -> None:
    """It says that there is no opinion; in quotes it is a word."""
    with pytest.raises(sc.ConfigError, match="null is not allowed"):
        sc.compose([f"{NAME}=null"])
    assert sc.compose([f"{NAME}='null'"]).mlflow.experiment_name == "null"


@pytest.mark.parametrize("text", ["8:30:00", "12:30:00", "9h", "1h30m", "90m", "1-00:00:00", "45s"])
def test_a_length_of_time_needs_no_quotes(text: str, tmp_path: Path, overlays: Path) -> None:
    """Not on the command line, and not in YAML, where 12:30:00 is a number to some readers."""
    config = sc.compose([f"trainer.max_time={text}"])
    (tmp_path / "typed.yaml").write_text(f"max_time: {text}\n")
    assert sc.from_file(tmp_path / "typed.yaml") == config
    assert sc.compose([f"trainer.max_time='{text}'"]) == config
    (overlays.parent / "trainer").mkdir()
    (overlays.parent / "trainer" / "timed.yaml").write_text(f"max_time: {text}\n")
    assert sc.compose(["trainer=timed"]).max_time == config.max_time
    assert sc.from_dict(yaml.safe_load(config.to_yaml()), "a.yaml") == config


def test_a_length_of_time_is_saved_as_a_clock_shows_it() -> None:
    """However it was written."""
    assert sc.compose(["trainer.max_time=8h30m"]).to_dict()["max_time"] == "08:30:00"
    assert 'max_time: "08:30:00"\n' in sc.compose(["trainer=kaggle_safe"]).to_yaml()
    assert sc.compose(["trainer.max_time=8:30:00"]) == sc.compose(["trainer.max_time=510m"])

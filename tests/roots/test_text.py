"""Text stays text, whatever it looks like: command line, saved files, overlays, other readers of YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import spectramind_config as sc
from spectramind_config.compose.interpolation import escaped
from spectramind_config.compose.overrides import write
from spectramind_config.schema.registry import REGISTRY

settings.load_profile("roots")
TYPED = [
    "7e12345",
    "1.10",
    "010",
    "on",
    "off",
    "yes",
    "No",
    "12:30",
    "12:30:00",
    "1_000",
    "0x1f",
    "0o17",
    "0b1",
    "TRUE",
]
TYPED += ["1e3", ".5", "5.", "-0", "+3", "2024-01-02", "a/b", "a.b", "a-b", "-", "=x", "1e-3", "nan", "inf", "-inf"]
TYPED += [
    "1__0",
    "9" * 30,
    "0.30000000000000004",
    "False",
    "y",
    "n",
    "null_",
    "None",
    "NaN",
    "1.",
    "007",
    "a@b",
    "%",
    "1,5",
]
QUOTED = [
    "",
    " ",
    " a",
    "a ",
    "null",
    "~",
    "true",
    "a: b",
    "- a",
    "# a",
    "a #b",
    "&a",
    "*a",
    "!a",
    "|",
    ">",
    "@a",
    "`a",
    "{a}",
]
QUOTED += [
    "[a]",
    "'a'",
    '"a"',
    "a'b",
    'a"b',
    "a\\b",
    "\\",
    "\\\\'",
    "a\nb",
    "a\tb",
    "\x85",
    "\u2028",
    "é",
    "日本",
    "😀",
    "\x7f",
    "a,b",
    "a=b",
]
QUOTED += [
    "${x}",
    "$x",
    "\\${x}",
    "a${b}c",
    "?",
    ": ",
    "=",
    "<<",
    "%a",
    "---",
    "...",
    "???a",
    "\r",
    "a\rb",
    "\ufeff",
    "\x00",
    "\x1b[0m",
]


@dataclass(kw_only=True)
class TextConfig(sc.Profile):
    """Texts wherever they can stand."""

    text: Annotated[str, sc.about("Text")] = "a"
    maybe: str | None = None
    texts: list[str] = field(default_factory=list)
    table: dict[str, str] = field(default_factory=lambda: {"k": "v"})
    path: Path = Path("p")


@pytest.fixture(scope="module", autouse=True)
def root() -> Iterator[type[sc.Config]]:
    """A root with texts of a group's and of its own."""
    before = REGISTRY._known

    @sc.root("texts")
    @dataclass(frozen=True, kw_only=True)
    class Texts(sc.Config):
        """Texts."""

        own: str = "o"
        group: TextConfig = sc.group("plain")

    @sc.profile("group", "plain")
    @dataclass(kw_only=True)
    class Plain(TextConfig):
        """Plain."""

    yield Texts
    REGISTRY._known = before


@pytest.mark.parametrize("text", [one for one in TYPED if "," not in one and "=" not in one and one not in ("%",)])
def test_what_is_typed_is_what_is_had(root: type[sc.Config], text: str) -> None:
    """Unquoted on the command line, alone, in a list, in a dict, as an element, as a path."""
    words = [f"group.text={text}", f"own={text}", f"group.maybe={text}", f"group.texts=[{text},{text}]"]
    if text[0] not in "=":
        words += [f"group.table={{k:{text}}}", f"group.path={text}"]
    config: Any = sc.compose(words, root=root)
    node = config.group
    assert (node.text, config.own, node.maybe, list(node.texts)) == (text, text, text, [text, text])
    assert (node.table["k"], str(node.path)) == (text, str(Path(text)))
    assert sc.compose(["group.texts=[x]", f"group.texts.0={text}"], root=root).group.texts == [text]  # type: ignore[attr-defined]


def kept(root: type[sc.Config], text: str, folder: Path) -> None:
    """A text that is set in quotes is the same in every reader of what is saved."""
    raw = escaped(text)
    words = [write("group.text", raw), write("own", raw), write("group.texts", [raw]), write("group.table.k", raw)]
    config: Any = sc.compose(words, root=root)
    assert (config.group.text, config.own, config.group.texts, config.group.table["k"]) == (text, text, [text], text)
    expected = config.to_dict()
    saved = config.to_yaml()
    assert yaml.safe_load(saved) == expected
    assert OmegaConf.to_container(OmegaConf.create(saved), resolve=False) == expected or "$" in text
    for ours in re.findall(r"(?m)^ *(?:- |text: |own: |k: )(.*)$", saved):
        assert ours.startswith('"') or re.fullmatch(r"[A-Za-z][\w/-]*", ours), ours  # Plain for YAML 1.1 and 1.2 alike.
        assert ours.lower() not in ("y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf")
    for name, written in (("saved.yaml", saved), ("saved.json", json.dumps(expected))):
        file = folder / name
        file.write_text(written, encoding="utf-8", newline="")
        again: Any = sc.from_file(file, root=root)
        assert again.fingerprint == config.fingerprint, name
        assert again.group.text == text


@pytest.mark.parametrize("text", [*TYPED, *QUOTED])
def test_a_saved_text_is_the_same_text(root: type[sc.Config], text: str, tmp_path: Path) -> None:
    """Saved as YAML and JSON and read by us, by PyYAML and by OmegaConf."""
    kept(root, text, tmp_path)


@settings(max_examples=40)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
@example("\\'")
@example("'\\\\")
@example("\x00\x1b")
@example("\ud7ff\ue000")
def test_any_text_is_kept(root: type[sc.Config], tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever Unicode has."""
    if text != "???" and "${" not in text:
        kept(root, text, tmp_path_factory.mktemp("any"))


@pytest.mark.parametrize("text", [*TYPED, "a b", "é"])
def test_an_overlay_keeps_the_text(
    root: type[sc.Config], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was written in the file, unquoted where YAML allows that, with the line as its origin."""
    (tmp_path / "group").mkdir()
    plain = "=%-@`" if text[0] in "=%-@`" else ""
    written = json.dumps(text) if plain else text
    content = f"text: {written}\ntexts: [{json.dumps(text) if ',' in text else written}]\ntable:\n  k: {written}\n"
    (tmp_path / "group" / "over.yaml").write_text(content, encoding="utf-8")
    monkeypatch.setenv("TEXTS_PROFILES", str(tmp_path))
    config: Any = sc.compose(["group=over"], root=root)
    assert (config.group.text, config.group.texts, config.group.table["k"]) == (text, [text], text)
    assert config.origin("group.text").source == f"{tmp_path / 'group' / 'over.yaml'}:1"


KEYS = [
    "a b",
    "7e3",
    "1",
    "null",
    "true",
    "a:b",
    "a,b",
    "{",
    "a.b",
    "=",
    "a=b",
    "010",
    "on",
    "[x]",
    "a\\b",
    "$x",
    "1.10",
]
"""Hydra's grammar has no quotes for keys: others cannot be written, and so not read back."""


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_a_text_too(root: type[sc.Config], key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dict's keys from an overlay and from a saved file, whatever they look like."""
    (tmp_path / "group").mkdir()
    (tmp_path / "group" / "over.yaml").write_text(json.dumps({"table": {key: "x"}}), encoding="utf-8")
    monkeypatch.setenv("TEXTS_PROFILES", str(tmp_path))
    config: Any = sc.compose(["group=over"], root=root)
    assert config.group.table == {"k": "v", key: "x"}
    file = tmp_path / "saved.yaml"
    file.write_text(config.to_yaml(), encoding="utf-8")
    again: Any = sc.from_file(file, root=root)
    assert again.group.table == config.group.table
    assert yaml.safe_load(config.to_yaml()) == config.to_dict()
    values = sc.compose([], root=root).to_dict()
    values["group"]["table"][key] = "x"
    assert sc.from_dict(values, "here", root=root).group.table == {"k": "v", key: "x"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["???", "\ud800"])
def test_what_no_file_can_hold_is_refused(root: type[sc.Config], text: str) -> None:
    """The mark of a missing value, and half a character."""
    with pytest.raises(sc.ConfigError):
        sc.compose([f"group.text='{text}'"], root=root)

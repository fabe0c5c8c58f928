"""Spaces of a search: what of an override varies, and where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

import spectramind_config as sc
from spectramind_config.commands.space import Dimension, read, space

KINDS = [
    # an override, and what varies in it
    ("optimizer.lr=interval(1e-5,1e-2)", "float", (1e-5, 1e-2, None, False)),
    ("optimizer.lr=interval(1,2)", "float", (1, 2, None, False)),
    ("optimizer.lr=tag(log,interval(1e-5,1e-2))", "float", (1e-5, 1e-2, None, True)),
    ("optimizer.betas.0=interval(0.5,0.9)", "float", (0.5, 0.9, None, False)),
    ("optimizer.betas.0=interval(0,0.9)", "float", (0, 0.9, None, False)),
    ("local.seed=interval(1,64)", "int", (1, 64, None, False)),
    ("local.seed=int(tag(log,interval(1,64)))", "int", (1, 64, None, True)),
    ("local.dev.limit_train_batches=interval(1,8)", "int", (1, 8, None, False)),
    ("local.dev.limit_train_batches=interval(0.5,1)", "float", (0.5, 1, None, False)),
    ("local.seed=range(1,10,3)", "int", (1, 7, 3, False)),
    ("local.seed=range(10,1,-3)", "int", (4, 10, 3, False)),
    ("model.dropout=range(0,0.5,0.25)", "float", (0, 0.25, 0.25, False)),
    ("model.width=32,48", "choice", ("32", "48")),
    ("model.width=choice(32,48)", "choice", ("32", "48")),
    ("local=hpc,default", "choice", ("hpc", "default")),
    ("optimizer.betas=choice([0.9,0.99],[0.8,0.9])", "choice", ("[0.9,0.99]", "[0.8,0.9]")),
    ("model.residual=true,false", "choice", ("true", "false")),
]


def dimension(word: str) -> Dimension:
    """The only one of a space."""
    (found,) = space(read([word]), sc.EffectiveConfig).dimensions
    return found


@pytest.mark.parametrize(("word", "kind", "expected"), KINDS, ids=lambda one: str(one)[:40])
def test_what_varies_follows_from_the_grammar_and_the_setting(
    word: str, kind: str, expected: tuple[float, float, float | None, bool] | tuple[str, ...]
) -> None:
    """An interval of a whole setting holds whole numbers; a range has steps; all else is a choice of texts."""
    one = dimension(word)
    assert (one.kind, one.argument, one.key) == (kind, word, word.partition("=")[0])
    assert expected == (one.choices if kind == "choice" else (one.low, one.high, one.step, one.log))


@pytest.mark.parametrize(("word", "kind", "expected"), KINDS, ids=lambda one: str(one)[:40])
def test_both_ends_are_overrides(
    word: str, kind: str, expected: tuple[float, float, float | None, bool] | tuple[str, ...]
) -> None:
    """A point is a command line in which the words keep their order, and it composes."""
    found = space(read(["local.max_epochs=3", word, "trainer=ci_fast"]), sc.EffectiveConfig)
    ends = (expected[0], expected[-1]) if kind == "choice" else expected[:2]
    for end in ends:
        value = int(end) if kind == "int" else end
        overrides = found.overrides({word.partition("=")[0]: value})
        assert overrides == ["local.max_epochs=3", f"{word.partition('=')[0]}={value}", "trainer=ci_fast"]
        sc.compose(overrides)


def test_a_file_holds_an_override_a_line(tmp_path: Path) -> None:
    """Among words of the command line, in their order; lines without any say nothing."""
    file = tmp_path / "lr.space"
    file.write_text("# a comment\n\n  optimizer.lr=interval(1e-5,1e-2)\nlocal.seed=7\n", encoding="utf-8")
    words = read(["local=debug", str(file), "model.width=32,48"])
    assert words == {
        "local=debug": "command line",
        "optimizer.lr=interval(1e-5,1e-2)": f"{file}:3",
        "local.seed=7": f"{file}:4",
        "model.width=32,48": "command line",
    }
    found = space(words, sc.EffectiveConfig)
    assert [one.key for one in found.dimensions] == ["optimizer.lr", "model.width"]


def test_a_mistake_in_a_file_names_its_line(tmp_path: Path) -> None:
    """It is mended there, and not on the command line."""
    file = tmp_path / "lr.space"
    file.write_text("local=debug\noptimizer.lrr=interval(1e-5,1e-2)\n", encoding="utf-8")
    with pytest.raises(sc.ConfigError) as caught:
        space(read([str(file)]), sc.EffectiveConfig)
    text = str(caught.value)
    assert f"from:     {file}:2" in text
    assert "do:       write optimizer.lr=interval(1e-5,1e-2)" in text
    assert "run instead" not in text


@pytest.mark.parametrize("content", [b"\xff\xfe=1", b"x" * 1_000_001])
def test_a_file_that_is_none_is_one_message(tmp_path: Path, content: bytes) -> None:
    """No text, or too large."""
    file = tmp_path / "lr.space"
    file.write_bytes(content)
    with pytest.raises(sc.ConfigError, match="this file of a space cannot be read"):
        read([str(file)])


def test_the_science_of_a_space_is_that_of_what_does_not_vary() -> None:
    """Another number of workers is the same sweep, another seed is not."""
    words = ["optimizer.lr=interval(1e-5,1e-2)", "local=debug"]
    plain = space(read(words), sc.EffectiveConfig)
    assert plain.science == space(read([*words, "local.prefetch_factor=3"]), sc.EffectiveConfig).science
    assert plain.science != space(read([*words, "local.seed=3"]), sc.EffectiveConfig).science

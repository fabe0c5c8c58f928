"""Strangers' files and words, as far as the config package reads and shows them."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import spectramind_config as sc
from spectramind_config import files
from spectramind_config.errors import ConfigError, Problem, quoted, visible, write

TEXTS = st.text(st.characters(), max_size=30)


@given(TEXTS)
@example("\x1b[2J\x9b31m\u202e\u2028\x07\r\b\udcff")
def test_whatever_a_text_holds_a_terminal_only_shows_it(text: str) -> None:
    """No control character, mark of direction or end of a line is left, and printable texts stay as they are."""
    assert visible(text).isprintable()
    assert visible(text) == text or not text.isprintable()
    stream = io.StringIO()
    write(text, stream)
    assert all(line.isprintable() for line in stream.getvalue().split("\n"))


@given(TEXTS)
def test_a_message_has_no_more_lines_than_it_says(text: str) -> None:
    """A newline in a name or a value begins no line that could pass for one of ours."""
    told = str(ConfigError(Problem(what=f"{text}: wrong", origin=text, argument=text, instead=text), [text]))
    starts = ("  from:", "            ", "run instead: ")
    assert all(line.startswith(starts) for line in told.split("\n")[1:])


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20))
@example("a\nb'\\c")
def test_a_quoted_argument_is_the_argument_to_a_shell(text: str) -> None:
    """Also one with control characters, which are written out."""
    assert quoted(text).isprintable()
    if text.isprintable():
        assert shlex.split(quoted(text)) == [text]
    else:
        done = subprocess.run(["bash", "-c", f"printf %s {quoted(text)}"], capture_output=True, check=True)
        assert done.stdout.decode() == text


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
@example("\x85\u2028\u202e\xa0\x1b")
def test_a_config_with_odd_texts_is_shown_and_read_back(text: str) -> None:
    """What ``config show`` prints, with everything odd written out, is the same config to whoever reads it."""
    try:
        config = sc.compose([f"local.mlflow.experiment_name='{text}'"])
    except ConfigError:
        return
    stream = io.StringIO()
    write(config.to_yaml(), stream)
    import yaml

    assert yaml.safe_load(stream.getvalue()) == config.to_dict()


@pytest.mark.fault("hostile manifests, checkpoints, caches, tables, YAML and profiles")
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A pipe nobody writes to, a device without end, a folder, a file beyond the limit: each has its reason."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"12345")
    with pytest.raises(OSError, match="a pipe"):
        files.read(tmp_path / "pipe", 10)
    with pytest.raises(OSError, match="a device"):
        files.read(Path("/dev/zero"), 10)
    with pytest.raises(OSError, match="a folder"):
        files.read(tmp_path, 10)
    with pytest.raises(OSError, match="more than 4 bytes"):
        files.read(tmp_path / "large", 4)
    with pytest.raises(OSError, match="no file can have such a name"):
        files.read(tmp_path / "a\0b", 4)
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "nothing", 4)
    assert files.read(tmp_path / "large", 5) == b"12345"


@pytest.mark.fault("hostile manifests, checkpoints, caches, tables, YAML and profiles")
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["local.seed=" + "[" * 51 + "]" * 51], "more than 50 brackets"),
        (["local.seed=" + "1" * 20_000], "more than 20000 characters"),
        (["local.paths.cache_dir=" + "x" * 60, "local.paths.output_dir=" + "${local.paths.cache_dir}" * 200], "longer"),
        (["local.paths.output_dir='" + "${oc.env:NONE,a}" * 700 + "'"], "10000 characters at most"),
    ],
)
def test_limits_are_told(overrides: list[str], words: str) -> None:
    """Each is one message that states the limit."""
    with pytest.raises(ConfigError, match=words):
        sc.compose(overrides)

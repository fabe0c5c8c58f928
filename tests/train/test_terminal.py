"""What a run writes to the terminal."""

from __future__ import annotations

import pytest

from spectramind_train.run.terminal import Terminal


def test_brackets_are_written_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Text from elsewhere may look like markup: a path, a server's words, a planet's name."""
    terminal = Terminal()
    terminal.say("[/one]")
    terminal.warn("[/two] [red]three")
    terminal.table("planets", ("planet",), [("[/four]",)])
    output = capsys.readouterr().out
    assert all(text in output for text in ("[/one]", "[/two] [red]three", "[/four]"))

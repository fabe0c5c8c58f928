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


def test_long_work_is_told_in_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal: at each quarter, and each half minute where that takes longer; quick work is silent."""
    clock = [0.0]
    monkeypatch.setattr("spectramind_train.run.terminal.time.monotonic", lambda: clock[0])
    with Terminal().progress("counting") as progress:
        for done, clock[0] in ((1, 0.5), (2, 2.0), (3, 20.0), (4, 33.0), (5, 40.0), (8, 64.0)):
            progress(done, 8, "" if done == 8 else f"{done} GB")
    assert capsys.readouterr().out.splitlines() == [
        "counting: 2 of 8, 2 GB",
        "counting: 4 of 8, 4 GB",
        "counting: 8 of 8",
    ]
    with Terminal().progress("counting") as progress:
        for done in range(1, 4):
            clock[0] += 20.0
            progress(done, 100)
    assert capsys.readouterr().out.splitlines() == ["counting: 2 of 100"]

"""Faults that tests try for real, counted by the rows of ``docs/reliability.md``.

A test whose every case is one fault bears the mark ``@pytest.mark.fault("<first cell of the row>")``. One that tries
several takes the fixture ``fault`` of ``tests/faults``. ``make faults`` runs both kinds and prints what was survived;
with ``UPDATE_DOCS=1`` it writes that into the table.
"""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest

_PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
_ROW = re.compile(r"^\| (?P<kind>[^|*]+) \|(?P<told>[^|]*\|[^|]*)\|(?P<survived>[^|]*)\|$", re.MULTILINE)


def kinds() -> list[str]:
    """The first cell of every row of the table of faults."""
    return [row["kind"] for row in _ROW.finditer(_PAGE.read_text(encoding="utf-8"))][1:]


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark, and take signals as a terminal sends them, also where the tests were started by nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    config.addinivalue_line("markers", "fault(kind): tries a fault, named as in the table of docs/reliability.md")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes the fixture too, and refuse kinds that the table does not list."""
    rows = kinds()
    for item in items:
        for mark in item.iter_markers("fault"):
            if mark.args[0] not in rows:
                raise pytest.UsageError(f"{item.nodeid}: docs/reliability.md has no row {mark.args[0]!r}")
        if "fault" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.fault(None))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count a test with a mark as one fault."""
    report = yield
    mark = item.get_closest_marker("fault")
    if mark and mark.args[0] and report.when == "call" and not report.skipped:
        # Properties of a report, unlike anything else, reach the process that prints from parallel ones.
        report.user_properties.append(("fault", [mark.args[0], report.passed]))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print faults tried and survived, of each kind and in all."""
    tried, survived = Counter[str](), Counter[str]()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) != "call":
                continue
            for name, value in report.user_properties:
                if name == "fault":
                    kind, well = value
                    tried[kind] += 1
                    survived[kind] += bool(well)
    if not tried or "fault" not in config.option.markexpr:
        return
    terminalreporter.section("faults")
    terminalreporter.write_line("tried  survived")
    for kind in sorted(tried):
        terminalreporter.write_line(f"{tried[kind]:5}  {survived[kind]:8}  {kind}")
    terminalreporter.write_line(f"{tried.total():5}  {survived.total():8}  in all")
    if os.environ.get("UPDATE_DOCS"):

        def counted(row: re.Match[str]) -> str:
            kind = row["kind"]
            figure = f" {survived[kind]} of {tried[kind]} " if tried[kind] else row["survived"]
            return f"| {kind} |{row['told']}|{figure}|"

        _PAGE.write_text(_ROW.sub(counted, _PAGE.read_text(encoding="utf-8")), encoding="utf-8")

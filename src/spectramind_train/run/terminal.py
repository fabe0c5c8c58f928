"""What a run says: lines, progress of long work, and tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, Literal, Protocol, TextIO, cast

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from spectramind_config import EffectiveConfig
from spectramind_config.errors import silence, visible


class Progressed(Protocol):
    """Is told how far a long task is."""

    def __call__(self, done: int, total: int, words: str = "") -> None:
        """So many are done of so many; ``words`` say more about it."""


class _Output:
    """An output for as long as it takes anything; then what is said goes nowhere, and the run goes on."""

    def __init__(self, name: Literal["stdout", "stderr"]) -> None:
        self._name = name

    @property
    def _stream(self) -> TextIO:
        stream: TextIO = getattr(sys, self._name)
        return stream

    def write(self, text: str) -> int:
        encoding = self._stream.encoding or "utf-8"
        self._attempt(lambda: self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding)))
        return len(text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _attempt(self, action: Callable[[], object]) -> None:
        try:
            action()
        except (OSError, ValueError):  # Full, gone or closed.
            if self._name == "stdout":
                silence()


class TrainingBar(Progress):
    """A bar with a line of figures below it."""

    words = ""

    def show(self, words: str, done: int, total: int) -> None:
        """Draw it anew."""
        if not self.tasks:
            self.add_task("training")
        self.words = words
        self.update(self.tasks[0].id, completed=done, total=total)
        self.refresh()

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bar, and the figures, which are folded where the terminal is narrow."""
        yield from super().get_renderables()
        yield Text(self.words)


class Terminal:
    """The terminal of a run.

    Args:
        style: ``rich`` draws bars and tables where the output is a terminal; ``plain`` writes lines.
        bars: Whether progress bars are wanted at all, or the lines that stand for them.
        throttled: Whether bars are redrawn once a second instead of ten times.
        silent: Write nothing, as every process but the first of several does.
        aside: Write to the standard error, where the output is a program's to read.

    Attributes:
        shows: Whether the progress of a training is shown.
        live: Whether it is drawn, and redrawn.
    """

    def __init__(
        self,
        *,
        style: str = "rich",
        bars: bool = True,
        throttled: bool = False,
        silent: bool = False,
        aside: bool = False,
    ) -> None:
        self.rich = Console(
            file=cast("IO[str]", _Output("stderr" if aside else "stdout")),
            quiet=silent,
            highlight=False,
            no_color=style == "plain" or None,
            soft_wrap=True,
        )
        self.shows = bars and not silent
        self.live = self.shows and style == "rich" and self.rich.is_terminal
        self.throttled = throttled

    @classmethod
    def of(cls, config: EffectiveConfig, *, rank: int = 0) -> Terminal:
        """The terminal that a config asks for, in the process of a rank."""
        return cls(
            style=config.logger.style,
            bars=config.dev.enable_progress_bar,
            throttled=config.console.refresh == "throttled",
            silent=rank > 0,
        )

    def say(self, line: str) -> None:
        """Write one line."""
        self.rich.print(visible(line), markup=False)

    def warn(self, line: str) -> None:
        """Write one line that should not be missed."""
        self.rich.print(f"[bold yellow]warning:[/bold yellow] {escape(visible(line))}")

    @contextmanager
    def progress(self, task: str) -> Iterator[Progressed]:
        """Show how far a long task is: a bar in a terminal, else lines unless it is quick.

        There is a line at each quarter, and one whenever a training would write one, too.

        Yields:
            A function of (done, all), and of words that say more, to call as the work goes on.
        """
        if not self.live:
            yield self._lines(task)
            return
        with self.bar() as bar:
            number = bar.add_task(task, total=None)

            def report(done: int, total: int, words: str = "") -> None:
                bar.update(number, completed=done, total=total, description=f"{task}, {words}" if words else task)

            yield report

    def bar(self) -> Progress:
        """A progress bar at the bottom of the terminal, gone when it stops."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        return Progress(*columns, console=self.rich, transient=True, refresh_per_second=1 if self.throttled else 10)

    @property
    def showing_s(self) -> float:
        """Seconds between two moments at which a training shows how far it is."""
        if self.live:
            return 1.0 if self.throttled else 0.25
        return 300.0 if self.throttled else 30.0

    def training_bar(self) -> TrainingBar:
        """The bar of a training at the bottom of the terminal, gone when it stops."""
        columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        # Redrawn when there is something new only: a thread that does it takes time from the training.
        return TrainingBar(*columns, console=self.rich, transient=True, auto_refresh=False)

    def _lines(self, task: str) -> Progressed:
        said = 0
        began = spoke = time.monotonic()

        def report(done: int, total: int, words: str = "") -> None:
            nonlocal said, spoke
            quarter, now = 4 * done // max(total, 1), time.monotonic()
            if (quarter > said and now - began > 1.0) or now - spoke > self.showing_s:
                said, spoke = quarter, now
                self.say(f"{task}: {done} of {total}{', ' if words else ''}{words}")

        return report

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Write a table; the first column holds names, the others numbers."""
        table = Table(title=title, title_justify="left")
        for number, column in enumerate(columns):
            table.add_column(column, justify="right" if number else "left", overflow="fold")
        for row in rows:
            table.add_row(*(escape(visible(cell)) for cell in row))
        self.rich.print(table)

"""What a training shows while it goes on."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from rich.console import Console

from spectramind_config import compose
from spectramind_train.learning.batches import SpectraDataModule
from spectramind_train.learning.display import Display
from spectramind_train.run import memory
from spectramind_train.run.terminal import Terminal

from .recording import Recorder, planet


class Scored(Recorder):
    """Has a score of 0.25 at every validation, and trains slowly enough that its batches are not waited for."""

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """A step that takes a moment."""
        time.sleep(0.02)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        """The score."""
        self.log("val_score", torch.tensor(0.25))


def shown(terminal: Terminal, folder: Path, *, every_s: float = 0.0, **more: Any) -> Display:
    """Train three epochs of three steps, and show every one of them."""
    display = Display(terminal, time.time() + 7000.0)
    display.every_s = every_s
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[display],
        **more,
    )
    planets = [planet(number) for number in range(8)]
    trainer.fit(Scored(folder), datamodule=SpectraDataModule(planets[:6], planets[6:], [], batch_size=2, seed=9))
    return display


LINE = re.compile(
    r"epoch (?P<epoch>\d) of 3  step (?P<step>\d)(?:  loss (?P<loss>[\d.]+))?(?:  score (?P<score>[\d.]+))?  "
    r"(?P<pace>[\d.]+) steps/s  (?P<waits>\d+) % waiting for data  (?P<memory>[\d.]+) GB  "
    r"(?P<left>\d:\d\d:\d\d) to the end  1:5\d:\d\d to the limit"
)


def test_without_a_terminal_it_writes_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Epoch, step, loss, score, pace, waiting, memory, and both kinds of time left."""
    shown(Terminal(), tmp_path)
    out = capsys.readouterr().out
    lines = [found for line in out.splitlines() if (found := LINE.fullmatch(line))]
    assert [(one["epoch"], one["step"]) for one in lines] == [(str(1 + n // 3), str(n + 1)) for n in range(9)]
    assert [one["score"] for one in lines] == [None] * 3 + ["0.2500"] * 6
    assert lines[0]["loss"] is None
    assert all(one["loss"] for one in lines[1:])
    assert all(0 < float(one["pace"]) < 50 for one in lines)
    assert all(int(one["waits"]) <= 100 for one in lines)
    assert float(lines[0]["memory"]) == pytest.approx(memory.used() / 1e9, rel=0.5)
    assert lines[-1]["left"] == "0:00:00"


def test_in_a_terminal_it_draws_a_bar_with_figures_below(tmp_path: Path) -> None:
    """The last of them is that of the last step, and nothing of it is left at the end."""
    terminal, text = Terminal(), io.StringIO()
    terminal.rich = Console(file=text, force_terminal=True, width=160)
    terminal.live = True
    display = shown(terminal, tmp_path)
    assert display.bar is not None
    assert "9/9" in text.getvalue()
    assert LINE.search(display.bar.words)
    assert "step 9" in display.bar.words
    assert text.getvalue().rstrip().endswith("\x1b[2K")


def test_it_shows_what_is_due_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Between two moments nothing is written, and no loss is asked for."""
    display = shown(Terminal(), tmp_path, every_s=3600.0)
    assert "steps/s" not in capsys.readouterr().out
    assert display._loss is None


def test_a_cap_on_steps_is_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not the epochs that would follow."""
    shown(Terminal(), tmp_path, max_steps=4)
    lines = [line for line in capsys.readouterr().out.splitlines() if "steps/s" in line]
    assert len(lines) == 4
    assert "0:00:00 to the end" in lines[-1]


def test_how_often_follows_from_the_config_and_the_rank() -> None:
    """Throttled under kaggle_safe; one display of several processes; none where none is wanted."""
    usual, kaggle = (Terminal.of(compose([f"trainer={name}"])) for name in ("defaults", "kaggle_safe"))
    assert usual.showing_s < kaggle.showing_s
    usual.live = kaggle.live = True
    assert usual.showing_s < kaggle.showing_s == 1.0
    assert usual.shows
    assert not Terminal.of(compose([]), rank=1).shows
    assert not Terminal.of(compose(["local.dev.enable_progress_bar=false"])).shows

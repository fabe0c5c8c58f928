"""What a training shows of itself while it goes on: in a terminal a bar with figures below it, elsewhere lines."""

from __future__ import annotations

import time
from collections import deque
from datetime import timedelta
from typing import Any, Final

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from spectramind_train.run import memory
from spectramind_train.run.terminal import Terminal

WINDOW_S: Final = 15.0
"""Seconds over which the pace and the share of waiting are taken."""


class Display(Callback):
    """Shows epoch, step, loss, score, steps a second, the share of time spent waiting for data, memory, and time left.

    A step costs it two looks at the clock. All else happens when something is due to be shown: up to four times a
    second in a terminal, once where it is throttled, and elsewhere each half minute, or five minutes. The loss is that
    of the step which was the last when something was shown before: nobody waits for it any more.

    The time to the end goes by the pace since the training began, validations included; a training that early stopping
    ends needs less.

    Args:
        terminal: Where to show it.
        deadline: ``time.time()`` by which the process has to be done; None for no limit.
    """

    def __init__(self, terminal: Terminal, deadline: float | None) -> None:
        self.terminal = terminal
        self.deadline = deadline
        self.bar = terminal.training_bar() if terminal.live else None
        self.every_s = terminal.showing_s
        self._score: float | None = None
        self._loss: Tensor | None = None
        self._due = self._ended = self._began = self._since = 0.0
        self._waited = self._paused = 0.0
        self._start = 0
        self._seen: deque[tuple[float, float, int]] = deque()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.bar is not None:
            self.bar.start()
        self._since = self._ended = time.perf_counter()
        self._due = self._since + self.every_s
        self._start = _done(trainer, 0)
        self._seen.append((self._since, 0.0, trainer.global_step))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._waited += time.perf_counter() - self._ended

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._ended = now = time.perf_counter()
        if now >= self._due:
            self._due = now + self.every_s
            self._show(trainer, outputs, batch_idx, now)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ended = time.perf_counter()
        self._paused += self._ended - self._began
        self._score = float(trainer.callback_metrics["val_score"])

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.bar is not None:
            self.bar.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self.bar is not None:
            self.bar.stop()

    def _show(self, trainer: Trainer, outputs: Any, batch_idx: int, now: float) -> None:
        done, total = _done(trainer, batch_idx + 1), _total(trainer)
        trained = now - self._paused
        self._seen.append((trained, self._waited, trainer.global_step))
        while len(self._seen) > 2 and trained - self._seen[1][0] > WINDOW_S:
            self._seen.popleft()
        before, waited, step = self._seen[0]
        seconds = max(trained - before, 1e-9)
        words = [f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}", f"step {trainer.global_step}"]
        if self._loss is not None:
            words.append(f"loss {float(self._loss):.4f}")
        if self._score is not None:
            words.append(f"score {self._score:.4f}")
        words.append(f"{(trainer.global_step - step) / seconds:.3g} steps/s")
        words.append(f"{100 * (self._waited - waited) / seconds:.0f} % waiting for data")
        words.append(f"{_memory(trainer.strategy.root_device) / 1e9:.2f} GB")
        left = (now - self._since) / (done - self._start) * (total - done)
        words.append(f"{_clock(left)} to the end")
        if self.deadline is not None:
            words.append(f"{_clock(self.deadline - time.time())} to the limit")
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        self._loss = loss.detach() if isinstance(loss, Tensor) else None
        if self.bar is None:
            self.terminal.say("  ".join(words))
        else:
            self.bar.show("  ".join(words), done, total)


def _done(trainer: Trainer, batches: int) -> int:
    """Batches of the whole training that are done, given those of the epoch."""
    return trainer.current_epoch * int(trainer.num_training_batches) + batches


def _total(trainer: Trainer) -> int:
    total = (trainer.max_epochs or 1) * int(trainer.num_training_batches)
    return total if trainer.max_steps < 0 else min(total, trainer.max_steps * trainer.accumulate_grad_batches)


def _memory(device: torch.device) -> int:
    """Bytes that the process takes: of the GPU that it trains on, or else of the machine."""
    return torch.cuda.memory_reserved(device) if device.type == "cuda" else memory.used()


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(max(seconds, 0.0))))

"""What happens around the training steps: stopping on purpose, leaving steps out, reporting, tracking."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from spectramind_train.learning.module import NonFiniteLossError, SpectrumModule
from spectramind_train.run.terminal import Terminal
from spectramind_train.run.tracking import Tracker

_AGREE_EVERY = 10
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop(Callback):
    """Asks for the end of a training, at a signal or when its wall-clock time is used up; ends it after the last step.

    The signal handler only sets a flag, since a collective call inside one hangs; the processes of a group agree on
    the flag every few steps. ``Progress`` saves and stops at the next boundary between optimizer steps. At
    ``max_steps`` Lightning by itself would leave an epoch half done without the validation that early stopping and
    checkpoints rely on.

    Args:
        limit_s: Seconds that the process may take, its start-up included; None for no limit.
        started: ``time.monotonic()`` of the process's start.

    Attributes:
        requested: Whether the training is to end, as all processes know.
    """

    def __init__(self, limit_s: float | None, started: float) -> None:
        self.limit_s = limit_s
        self.started = started
        self.signal: int | None = None
        self.out_of_time = False
        self.requested = False
        self._before: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._before = {number: signal.signal(number, self._receive) for number in _SIGNALS}

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.signal = number

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        late = self.limit_s is not None and time.monotonic() - self.started > self.limit_s
        stop = self.signal is not None or late
        if trainer.world_size > 1:
            stop = batch_idx % _AGREE_EVERY == 0 and trainer.strategy.reduce_boolean_decision(stop, all=False)
        if stop:
            # Another process may have been the one that is late; a signal reaches all of them.
            self.requested, self.out_of_time = True, self.signal is None
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._give_back()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class GradientNorm(Callback):
    """Logs ``grad_norm``, the norm of the whole gradient before it is clipped, at every step that Lightning logs.

    Args:
        every_n_steps: Optimizer steps between two that Lightning logs.
    """

    def __init__(self, every_n_steps: int) -> None:
        self.every_n_steps = every_n_steps

    def on_before_optimizer_step(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        optimizer: Optimizer,
    ) -> None:
        # The step is counted when it is done, and Lightning writes what was logged in every so-many-th.
        if (trainer.global_step + 1) % self.every_n_steps == 0:
            pl_module.log("grad_norm", gradient_norm(pl_module))


def gradient_norm(module: torch.nn.Module) -> Tensor:
    """Euclidean norm of the gradient of all parameters, a scalar."""
    return get_total_norm([parameter.grad for parameter in module.parameters() if parameter.grad is not None])


class FiniteSteps(Callback):
    """Sees to it that a loss or a gradient that is not finite changes no weight.

    A step is looked at when its gradient is complete, before the optimizer takes it. A loss that is not finite has made
    every element of the gradient NaN by then, and the gradient is the mean over all processes: they all see the same.

    Args:
        policy: ``stop`` ends the training; ``skip_batch`` leaves the step out.
        most: Steps that may be left out in a training, over all of its processes' lives.
        terminal: Where to report.
    """

    def __init__(self, policy: str, most: int, terminal: Terminal) -> None:
        self.policy = policy
        self.most = most
        self.terminal = terminal
        self.skipped = 0

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped = state_dict["skipped"]

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if torch.isfinite(gradient_norm(pl_module)):
            return
        assert isinstance(pl_module, SpectrumModule)  # noqa: S101
        is_loss = trainer.strategy.reduce_boolean_decision(pl_module.forget_bad_losses(), all=False)
        if trainer.precision == "16-mixed" and not is_loss:
            return  # Half precision overflows now and then: its gradient scaler leaves the step out and scales less.
        what, where = "loss" if is_loss else "gradient", f"epoch {trainer.current_epoch}, step {trainer.global_step}"
        problem = f"the training {what} is not finite at {where}. No weight was changed by it"
        if self.policy == "stop":
            remedy = "Try a lower optimizer.lr, local.precision=32 or trainer.non_finite=skip_batch"
            raise NonFiniteLossError(f"{problem}. {remedy}")
        if self.skipped == self.most:
            remedy = "Try a lower optimizer.lr or local.precision=32"
            raise NonFiniteLossError(f"{problem}, and {self.most} steps have been left out before. {remedy}")
        self.skipped += 1
        self.terminal.warn(f"{problem}: the step is left out, {self.skipped} of at most {self.most}")
        optimizer.zero_grad(set_to_none=True)


class EpochReport(Callback):
    """One line for every epoch, and the same numbers for the tracker.

    Attributes:
        validations: Loss and score of every validation, the first one first.
    """

    def __init__(self, terminal: Terminal, tracker: Tracker | None) -> None:
        self.terminal = terminal
        self.tracker = tracker
        self.validations: list[dict[str, float]] = []
        self._best = float("-inf")
        self._since = time.monotonic()
        self._validated = False

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.validations = state_dict["validations"]
        self._best = max((row["val_score"] for row in self.validations), default=float("-inf"))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = _floats(trainer.callback_metrics)
        self.validations.append({name: metrics[name] for name in ("val_loss", "val_score")})
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, SpectrumModule)  # noqa: S101
        pl_module.log_epoch_loss()
        metrics = _floats(trainer.callback_metrics)
        seconds, self._since = time.monotonic() - self._since, time.monotonic()
        line = f"epoch {trainer.current_epoch + 1:>3}  train loss {metrics['train_loss']:8.4f}"
        mark = ""
        if self._validated:
            line += f"  validation loss {metrics['val_loss']:8.4f}  score {metrics['val_score']:.4f}"
            mark = "  best so far" if metrics["val_score"] > self._best else ""
            self._best = max(self._best, metrics["val_score"])
        self._validated = False
        self.terminal.say(f"{line}  {seconds:5.1f} s{mark}")
        if self.tracker is not None:
            self.tracker.log(metrics, trainer.global_step)


class TrainingBar(Callback):
    """One bar over all batches of a training, below the lines of the epochs.

    Lightning's own bar draws on a terminal of its own, so that lines written in between tear it apart.
    """

    def __init__(self, terminal: Terminal) -> None:
        self.bar = terminal.bar()
        self._task = self.bar.add_task("training", total=None)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        epochs, batches = trainer.max_epochs or 1, int(trainer.num_training_batches)
        done = trainer.current_epoch * batches + batch_idx + 1
        words = f"epoch {trainer.current_epoch + 1} of {epochs}"
        self.bar.update(self._task, description=words, completed=done, total=epochs * batches)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.bar.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.bar.stop()


def _floats(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}

"""What happens around the training steps: leaving steps out, reporting."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from spectramind_train.learning.module import NonFiniteLossError, SpectrumModule
from spectramind_train.run.terminal import Terminal


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
            assert isinstance(pl_module, SpectrumModule)  # noqa: S101
            pl_module.log("grad_norm", pl_module.gradient_norm())


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
        assert isinstance(pl_module, SpectrumModule)  # noqa: S101
        if math.isfinite(pl_module.gradient_norm()):
            return
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
    """One line for every epoch.

    Attributes:
        validations: Loss and score of every validation, the first one first.
    """

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
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


Prunes = Callable[[int, float], bool]
"""Is told the epoch of a validation, from 0, and its score; says whether to end the training."""


class Pruning(Callback):
    """Ends a training that is not worth its time, after a validation.

    Args:
        prunes: Says after each validation whether to end.

    Attributes:
        pruned: Whether it has ended the training.
    """

    def __init__(self, prunes: Prunes) -> None:
        self.prunes = prunes
        self.pruned = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.prunes(trainer.current_epoch, float(trainer.callback_metrics["val_score"])):
            self.pruned = trainer.should_stop = True


PER_STEP = (
    *("on_train_batch_start", "on_train_batch_end", "on_before_zero_grad"),
    *("on_before_backward", "on_after_backward", "on_before_optimizer_step"),
)


def drop_idle_hooks(trainer: Trainer, module: LightningModule) -> None:
    """Keep Lightning from calling, at every step, hooks that do nothing; with a dozen of them that adds up."""
    for owner, base in (*((callback, Callback) for callback in trainer.callbacks), (module, LightningModule)):  # type: ignore[attr-defined]
        for hook in PER_STEP:
            if getattr(type(owner), hook) is getattr(base, hook):
                setattr(owner, hook, None)


def _floats(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}

"""What happens around the training steps: leaving steps out, reporting."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from spectramind_train.learning.module import NonFiniteLossError, SpectrumModule
from spectramind_train.run.terminal import Terminal

_BEHIND: Final = 2
"""Steps that the host has queued on a GPU while it asks after one: enough for the GPU never to wait."""


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

    On a GPU looking would have the host wait until the gradient is there, at every step. So the GPU looks: a fused
    optimizer leaves out a step, weights and moments alike, whose ``found_inf`` is 1, as torch's ``GradScaler`` has it.
    The host learns of it some steps later, always as many, so that all processes do at the same one, but before an
    epoch is validated or ends and before anything is saved. Other optimizers know no ``found_inf``, and the host waits.

    Args:
        policy: ``stop`` ends the training; ``skip_batch`` leaves the step out.
        most: Steps that may be left out in a training, over all of its processes' lives.
        terminal: Where to report.
        behind: How many steps later the host learns of it, with a fused optimizer; None for what suits the device.
    """

    def __init__(self, policy: str, most: int, terminal: Terminal, *, behind: int | None = None) -> None:
        self.policy = policy
        self.most = most
        self.terminal = terminal
        self.behind = behind
        self.skipped = 0
        self._taken: deque[_Taken] = deque()
        self._training: tuple[Trainer, SpectrumModule] | None = None

    def state_dict(self) -> dict[str, Any]:
        self._look_back()
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped = state_dict["skipped"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, SpectrumModule)  # noqa: S101
        self._training = trainer, pl_module
        self._taken.clear()
        if self.behind is None:
            self.behind = _BEHIND if pl_module.device.type == "cuda" else 0

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        assert isinstance(pl_module, SpectrumModule)  # noqa: S101
        norm = pl_module.gradient_norm()
        if not self.behind or not getattr(optimizer, "_step_supports_amp_scaling", False):
            if not math.isfinite(norm) and self._leave_out(trainer.current_epoch, trainer.global_step):
                optimizer.zero_grad(set_to_none=True)
            return
        bad = norm.isfinite().logical_not().float()
        optimizer.found_inf = bad  # type: ignore[attr-defined]
        self._taken.append(_Taken.of(trainer, bad))
        self._look_back(self.behind)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look_back()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look_back()

    def _look_back(self, but: int = 0) -> None:
        """Learn of the steps that have been taken, all but the last few."""
        while len(self._taken) > but:
            step = self._taken.popleft()
            if step.is_bad():
                self._leave_out(step.epoch, step.number)

    def _leave_out(self, epoch: int, step: int) -> bool:
        """Count a step that is not finite, and say so; returns whether it is ours to leave out.

        Raises:
            NonFiniteLossError: It ends the training.
        """
        assert self._training is not None  # noqa: S101
        trainer, module = self._training
        is_loss = trainer.strategy.reduce_boolean_decision(module.forget_bad_losses(step), all=False)
        if trainer.precision == "16-mixed" and not is_loss:
            # Half precision overflows now and then: its gradient scaler leaves the step out and scales less.
            return False
        what, where = "loss" if is_loss else "gradient", f"epoch {epoch}, step {step}"
        problem = f"the training {what} is not finite at {where}. No weight was changed by it"
        if self.policy == "stop":
            remedy = "Try a lower optimizer.lr, local.precision=32 or trainer.non_finite=skip_batch"
            raise NonFiniteLossError(f"{problem}. {remedy}")
        if self.skipped == self.most:
            remedy = "Try a lower optimizer.lr or local.precision=32"
            raise NonFiniteLossError(f"{problem}, and {self.most} steps have been left out before. {remedy}")
        self.skipped += 1
        self.terminal.warn(f"{problem}: the step is left out, {self.skipped} of at most {self.most}")
        return True


class _Taken(NamedTuple):
    """A step that the optimizer has taken, or left out.

    Attributes:
        epoch: Its epoch.
        number: Optimizer steps before it.
        bad: 1 where its gradient was not finite, else 0; on the host, once ``copied``.
        copied: When it is there; None where it is at once.
    """

    epoch: int
    number: int
    bad: Tensor
    copied: torch.Event | None

    @classmethod
    def of(cls, trainer: Trainer, bad: Tensor) -> _Taken:
        """The step that is about to be taken."""
        copy = bad.to("cpu", non_blocking=True)  # Torch takes page-locked memory for it, or it would wait.
        copied = torch.cuda.current_stream(bad.device).record_event() if bad.is_cuda else None
        return cls(trainer.current_epoch, trainer.global_step, copy, copied)

    def is_bad(self) -> bool:
        """Whether its gradient was not finite."""
        if self.copied is not None:
            self.copied.synchronize()
        return bool(self.bad)


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

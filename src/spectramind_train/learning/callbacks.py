"""What happens around the training steps: reporting."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

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
            gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
            pl_module.log("grad_norm", get_total_norm(gradients))


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

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = _floats(trainer.callback_metrics)
        self.validations.append({name: metrics[name] for name in ("val_loss", "val_score")})
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning validates within the epoch; only now is the training loss that of all of it.
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

"""Where a training is: saved at boundaries between optimizer steps, and where a new process takes it up again."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

import msgspec
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loops.evaluation_loop import RestartStage
from lightning.pytorch.plugins.io import TorchCheckpointIO
from typing_extensions import override

from spectramind_config import ConfigError
from spectramind_train.learning.logger import JournalLogger
from spectramind_train.learning.stopping import Stop
from spectramind_train.run.checkpoints import Index, load_checkpoint
from spectramind_train.run.terminal import Terminal

_AGREE_EVERY = 10
"""Steps between two at which the processes of a group ask each other whether it is time for a checkpoint."""


class StoppedError(Exception):
    """A training has been stopped and saved. Lightning's own way to stop would validate half an epoch first."""


class CheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints, saved into an index and loaded as tensors and primitives only.

    Lightning's own saving goes through the temporary directory, and across file systems a kill in between leaves a
    truncated file; its loading runs whatever code a pickle holds.

    Args:
        index: Where checkpoints are saved.
        best: How many of the best to keep; -1 keeps all.

    Attributes:
        error: Why the newest checkpoint could not be written; None where it could.
    """

    def __init__(self, index: Index, *, best: int) -> None:
        self.index = index
        self.best = best
        self.error: OSError | None = None

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Save under a name of the index's choice, with ``storage_options`` as the score of the weights.

        What cannot be written does not raise: only the first process of several writes, and the others wait for it.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        done = {"epoch": checkpoint["epoch"], "step": checkpoint["global_step"]}
        try:
            self.index.add(buffer.getvalue(), **done, score=storage_options, best=self.best)
            self.error = None
        except OSError as error:
            self.error = error

    @override
    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return load_checkpoint(Path(path), map_location)


class Position(msgspec.Struct, frozen=True):
    """A boundary between two optimizer steps.

    Attributes:
        epoch: Epochs that are done.
        batch: Batches of the epoch begun that are done, in each process.
        step: Optimizer steps that are done.
        ended: Whether the training has come to its end.
        validates: Whether the epoch's steps are done and its validation is not.
    """

    epoch: int
    batch: int
    step: int
    ended: bool = False
    validates: bool = False


class Progress(Callback):
    """Saves checkpoints, and continues from one.

    A checkpoint is taken when the first batch of a step is about to be trained on. By then all that belongs to the
    steps before it is done: their metrics are written, the epoch's end and its validation are over, and whoever keeps
    a state has it up to date. Only a stop does not wait for a validation: it takes one in which none of that has
    happened yet, and whoever goes on from there begins with the whole validation. Lightning's record of its loops is
    not kept, for what it restores within an epoch or at the end of one depends on the hook that saved; the loops are
    set from the position alone.

    Args:
        files: What writes the files.
        stop: Says when to stop.
        terminal: Where to report.
        every_n_epochs: Epochs between checkpoints.
        every_s: Seconds between checkpoints, at most one step more; None for checkpoints at epochs' ends only.
        resumed: Where the training is taken up; None for a new one.
    """

    def __init__(
        self,
        files: CheckpointIO,
        stop: Stop,
        terminal: Terminal,
        *,
        every_n_epochs: int,
        every_s: float | None,
        resumed: Position | None,
    ) -> None:
        self.files = files
        self.stop = stop
        self.terminal = terminal
        self.every_n_epochs = every_n_epochs
        self.every_s = every_s
        self.resumed = resumed
        self._position = resumed
        self._is_due = False
        self._score: float | None = None
        self._saved_at = time.monotonic()
        self._has_warned = False
        self._limits: tuple[int, int | float | None] | None = None

    def state_dict(self) -> dict[str, Any]:
        return msgspec.to_builtins(self._position)  # type: ignore[no-any-return]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        del checkpoint["loops"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_at = time.monotonic()
        if self.resumed is None:
            return
        epochs, batches = trainer.fit_loop, trainer.fit_loop.epoch_loop
        epochs.epoch_progress.increment_by(self.resumed.epoch)
        batches.automatic_optimization.optim_progress.optimizer.step.increment_by(self.resumed.step)
        batches._batches_that_stepped = self.resumed.step
        if self.resumed.batch:
            batches.batch_progress.increment_by(self.resumed.batch)
            batches.restarting = True
            batches.update_restart_stage()
        if self.resumed.validates:
            self._validate_first(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop_in_validation(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        self._stop_in_validation(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._score = float(trainer.callback_metrics["val_score"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._limits is not None:
            (trainer.fit_loop.epoch_loop.max_steps, trainer.val_check_batch), self._limits = self._limits, None
        self._is_due = (trainer.current_epoch + 1) % self.every_n_epochs == 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches:
            return
        position = Position(trainer.current_epoch, batch_idx, trainer.global_step)
        # Where a run is interrupted, or how fast it is, must not decide among which weights the best are chosen.
        score = self._score if self._is_due else None
        if self.stop.requested:
            self._save(trainer, position, score, is_last=True)
            raise StoppedError
        if self._is_due or self._is_late(trainer):
            self._save(trainer, position, score)
        self._is_due, self._score = False, None

    def finish(self, trainer: Trainer) -> None:
        """Save the end of a training; every process has to call it.

        Raises:
            ConfigError: It cannot be written.
        """
        end = Position(trainer.current_epoch, 0, trainer.global_step, ended=True)
        self._save(trainer, end, self._score, is_last=True)

    def _validate_first(self, trainer: Trainer) -> None:
        """Have Lightning begin with the validation that ends an epoch whose batches are done.

        It takes the epoch for one of just these batches, as one is that ``max_steps`` ends, and knows of no last step
        until the epoch's end, for with that behind it it would do nothing at all.
        """
        batches = trainer.fit_loop.epoch_loop
        done = batches.batch_progress.current.ready
        self._limits = batches.max_steps, trainer.val_check_batch
        batches.max_steps, trainer.val_check_batch = -1, done
        batches.batch_progress.is_last_batch = True
        batches.val_loop._restart_stage = RestartStage.RESTARTED_MID_EVALUATION
        batches._batches_that_stepped -= 1  # It counts the last step when its validation is over.

    def _stop_in_validation(self, trainer: Trainer) -> None:
        if not self.stop.requested:
            return
        batch = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        position = Position(trainer.current_epoch, batch, trainer.global_step, validates=True)
        self._save(trainer, position, None, is_last=True)
        raise StoppedError

    def _save(self, trainer: Trainer, position: Position, score: float | None, *, is_last: bool = False) -> None:
        if position == self._position:
            return
        before, self._position = self._position, position
        for logger in trainer.loggers:
            if isinstance(logger, JournalLogger):
                logger.flush()
        trainer.save_checkpoint(self.files.index.folder / "next", storage_options=score)
        self._saved_at = time.monotonic()
        error = self.files.error
        if error is None:
            return
        self._position = before
        folder, reason = self.files.index.folder, error.strerror or error
        if is_last:
            raise ConfigError(
                f"{folder}: the run cannot write any more ({reason}); the checkpoints before are as they were. Free "
                f"some space, then: spectramind train --resume {Path(folder).parent}"
            ) from error
        if not self._has_warned:
            self._has_warned = True
            self.terminal.warn(f"{folder}: no checkpoint can be written ({reason}); the run trains on and tries again")

    def _is_late(self, trainer: Trainer) -> bool:
        """Whether it is time for a checkpoint, by the clock of any process."""
        if self.every_s is None or (trainer.world_size > 1 and trainer.global_step % _AGREE_EVERY):
            return False
        late = time.monotonic() - self._saved_at >= self.every_s
        return late if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(late, all=False)

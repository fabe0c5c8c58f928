"""Stopping a training on purpose: at a signal, when its time is used up, or after its last step."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, Self

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import distributed

from spectramind_train.run import children, signals

MARGIN_S: Final = 10.0
"""Seconds before the wall-clock limit that are kept for what cannot be measured before: figures, the manifest, exit."""


class Stop(Callback):
    """Ends a training early, at a signal or when its time is used up, or after the last step.

    It ends between two optimizer steps, or two batches of a validation.

    Signals only set a flag from the first step on until the context is left, in which the last checkpoint is to be
    written. The processes of a group agree at every step, and every batch of a validation, on what any of them was
    told, so that they all end at the same one. At ``max_steps`` Lightning by itself would leave an epoch half done
    without the validation that early stopping and checkpoints rely on.

    Before the deadline, room is left for what follows: twice as long as a validation, unless it has begun, a checkpoint
    and the scoring of the test planets, which one process does alone, would take by what they took so far.

    Args:
        deadline: ``time.time()`` by which the process has to be done; None for no limit.

    Attributes:
        signal: The signal that ended the training, in whichever process it came; None where none did.
        out_of_time: Whether its time was used up.
        requested: Whether the training is to end before its time, as all processes know.
    """

    def __init__(self, deadline: float | None) -> None:
        self.deadline = deadline
        self.signal: int | None = None
        self.out_of_time = False
        self.requested = False
        self._deferred = ExitStack()
        self._group: Any = None  # A ProcessGroup, once there are several processes.
        self._step = 0
        self._began = self._ended = time.monotonic()
        self._validating: float | None = None
        self._batch_s = self._pause_s = self._validation_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let signals end the process again; one that came after the last step has ended the training all the same.

        Raises:
            ProcessFailedError: A loader's worker was killed.
        """
        self._deferred.close()
        if isinstance(error, RuntimeError) and "DataLoader worker" in str(error):
            raise children.ProcessFailedError(
                "a process that loads planets died, most likely for lack of memory; use fewer (local.num_workers)"
            ) from error
        number = signals.received()
        if kind is None and number is not None and self.signal is None:
            if self._group is not None:
                signal.raise_signal(number)  # The others do not know of it; the end of this process tells them.
            self.signal = number

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Lightning's own handler of SIGTERM calls the other processes from within it, which hangs, and its way of
        # asking them at every batch whether one came costs as much as ours.
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size > 1:
            shared = distributed.get_backend() == "gloo"
            self._group = distributed.group.WORLD if shared else distributed.new_group(backend="gloo")
        self._deferred.enter_context(signals.deferred())
        self._step = trainer.global_step
        self._ended = time.monotonic()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        self._began = time.monotonic()
        if not self._validated():
            self._pause_s = max(self._pause_s, self._began - self._ended)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        self._ended = time.monotonic()
        self._batch_s = max(self._batch_s, self._ended - self._began)
        signals.busy()
        if trainer.global_step == self._step:
            return  # Within the batches that one step accumulates.
        self._step = trainer.global_step
        self._ask(trainer)
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True
        if self.requested or trainer.should_stop:
            signals.busy(signals.SAVING_S)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validating = time.monotonic()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        signals.busy()
        self._ask(trainer)
        if self.requested:
            signals.busy(signals.SAVING_S)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validated()
        signals.busy(signals.SAVING_S)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.signal is None:
            self._agree(late=self.out_of_time)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, signals.Interrupted):  # It hung; to wait for loaders takes longer than there is.
            children.kill_loaders()

    def _validated(self) -> bool:
        """Note how long the validation took that has ended with its checkpoint, if one has since last asked."""
        if self._validating is None:
            return False
        self._validation_s = max(self._validation_s, time.monotonic() - self._validating)
        self._validating = None
        return True

    def _room_s(self, trainer: Trainer) -> float:
        batches = sum(count for count in trainer.num_val_batches if count != float("inf"))
        validation_s, to_come = self._validation_s or batches * self._batch_s, 1
        if self._validating is not None:
            validation_s, to_come = max(validation_s, time.monotonic() - self._validating), 0
        return 2.0 * (validation_s * (to_come + trainer.world_size) + self._pause_s) + MARGIN_S

    def _ask(self, trainer: Trainer) -> None:
        """Find out whether to end here; every process has to call it."""
        self._agree(late=self.deadline is not None and time.time() + self._room_s(trainer) > self.deadline)
        self.requested = self.signal is not None or self.out_of_time

    def _agree(self, *, late: bool) -> None:
        told = signals.received() or 0
        if self._group is not None:
            both = torch.tensor([told, late], dtype=torch.int32)
            distributed.all_reduce(both, distributed.ReduceOp.MAX, self._group)
            told, late = int(both[0]), bool(both[1])
        self.signal = told or None
        self.out_of_time = late and not told

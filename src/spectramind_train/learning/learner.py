"""The training of a model with Lightning's trainer, in this process or in one of several."""

from __future__ import annotations

import gc
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import lightning.pytorch as pl
import msgspec
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch import Tensor, distributed

from spectramind_config import EffectiveConfig
from spectramind_train.learning.batches import SpectraDataModule
from spectramind_train.learning.callbacks import EpochReport, FiniteSteps, GradientNorm, drop_idle_hooks
from spectramind_train.learning.display import Display
from spectramind_train.learning.logger import JournalLogger
from spectramind_train.learning.loss import build_loss
from spectramind_train.learning.module import NonFiniteLossError, SpectrumModule
from spectramind_train.learning.progress import CheckpointIO, Position, Progress, StoppedError
from spectramind_train.learning.stopping import MARGIN_S, Stop
from spectramind_train.planets.splits import Splits
from spectramind_train.run import clock
from spectramind_train.run.checkpoints import Index, load_checkpoint, newest_whole
from spectramind_train.run.memory import keep_freed
from spectramind_train.run.plan import RunPlan
from spectramind_train.run.terminal import Terminal
from spectramind_train.v50.network import Batch, SpectrumModel, build_model

_PRECISIONS: dict[str, Literal["32-true", "16-mixed", "bf16-mixed"]] = {
    "32": "32-true",
    "16-mixed": "16-mixed",
    "bf16-mixed": "bf16-mixed",
}
_TAKING_UP = "learning what spectra look like"
_HARMLESS = (
    # The planets lie in memory; more workers than the plan gives them would only cost time.
    r".*does not have many workers.*",
    # Small data sets have fewer batches than a logging interval.
    r".*smaller than the logging interval.*",
    # The run's directory has just been made, for this run alone.
    r".*directory .* exists and is not empty.*",
    # `deterministic` asks for deterministic kernels where feasible, so the others are expected.
    r".*does not have a deterministic implementation.*",
    r".*isinstance\(treespec, LeafSpec\).*",
    # The sampler of a resumed training leaves out what is done.
    r".*resuming from a checkpoint that ended before the epoch ended.*",
    # Our own processes are no tasks of srun's, where it is there.
    r".*`srun` command is available.*",
    # Every process computes what is logged from what all have done, and so has the same.
    r".*`self.log\('(val_|train_loss').*sync_dist=True.*",
    # Lightning's gathering, not ours.
    r".*all_gather is deprecated.*",
    # Said already, as a warning about the config.
    r".*`deterministic=True` and `benchmark=True`.*",
)


class Learned(msgspec.Struct, frozen=True):
    """How the training of a model ended.

    Attributes:
        status: Whether it came to its end, ran out of wall-clock time, or was told to stop.
        signal: The number of the signal that stopped it.
        validations: Loss and score of every validation.
    """

    status: Literal["completed", "walltime", "interrupted"]
    signal: int | None
    validations: list[dict[str, float]]


def learn(
    config: EffectiveConfig,
    plan: RunPlan,
    splits: Splits,
    directory: Path,
    terminal: Terminal,
    *,
    deadline: float | None,
    more: Sequence[Callback] = (),
    take_up: bool = True,
) -> Learned:
    """Train the configured model and leave its checkpoints and metrics in a run's directory.

    Where the directory holds checkpoints, the training goes on from the newest that is whole, to the very weights that
    it would have had without the interruption.

    Args:
        config: What to train.
        plan: How this host does it.
        splits: The planets.
        directory: The run's directory.
        terminal: Where to report.
        deadline: ``time.time()`` by which the process has to be done, see ``run.clock``; None for no limit.
        more: What else is to happen around the steps.
        take_up: Whether a training that begins takes up what labels tell by themselves, see ``SpectrumModel.take_up``.

    Raises:
        ConfigError: The training ended, and no checkpoint of its end can be written; or there is not time enough for
            what comes before its first step.
        NonFiniteLossError: The loss or its gradient is not finite, and the config does not let such steps be left out;
            or what the model takes up before its first step is not.
    """
    _quieten()
    torch.set_num_threads(plan.threads)
    keep_freed()
    pl.seed_everything(config.seed, workers=True, verbose=False)
    checkpoints = directory / "checkpoints"
    newest = newest_whole(checkpoints, terminal.warn)
    file = None if newest is None else checkpoints / newest.file
    states = {} if file is None else load_checkpoint(file)["callbacks"]
    position = msgspec.convert(states[Progress.__qualname__], Position) if states else None
    files = CheckpointIO(Index.read(checkpoints), best=config.checkpoint.save_top_k)
    validated = config.dev.limit_val_batches != 0
    together = config.data.batch_size * plan.world_size
    stop = Stop(deadline)
    report = EpochReport(terminal)
    every = config.checkpoint.every_minutes
    progress = Progress(
        files,
        stop,
        terminal,
        every_n_epochs=config.checkpoint.every_n_epochs,
        every_s=None if every is None else 60 * every,
        resumed=position,
    )
    finite = FiniteSteps(config.non_finite, config.max_skipped_batches, terminal)
    callbacks: list[Callback] = [stop, finite, report, progress, *more]
    if terminal.shows:
        callbacks.append(Display(terminal, deadline))
    if config.early_stopping.enabled and validated:
        callbacks.append(EarlyStopping("val_score", mode="max", patience=config.early_stopping.patience))
    if config.log_grad_norm:
        callbacks.append(GradientNorm(config.dev.log_every_n_steps))
    logger = JournalLogger(directory, terminal.warn)
    # Lightning's own overfitting would put a sampler of its own in the place of ours, which can start within an epoch.
    share = config.dev.overfit_batches
    trainer = pl.Trainer(
        accelerator=plan.accelerator,
        devices=plan.devices,
        num_nodes=plan.num_nodes,
        strategy=plan.strategy,
        precision=_PRECISIONS[plan.precision],
        sync_batchnorm=plan.sync_batchnorm,
        logger=logger,
        callbacks=callbacks,
        # Named explicitly: inside a SLURM job Lightning would take each of our processes for a task of the job's own.
        plugins=[files, TorchElasticEnvironment() if plan.world_size > 1 else LightningEnvironment()],
        max_epochs=config.max_epochs,
        max_steps=config.max_steps or -1,
        fast_dev_run=config.dev.fast_dev_run,
        limit_train_batches=_whole_batches(share or config.dev.limit_train_batches, len(splits.train), together),
        limit_val_batches=_whole_batches(share or config.dev.limit_val_batches, len(splits.val), together),
        check_val_every_n_epoch=config.dev.check_val_every_n_epoch,
        log_every_n_steps=config.dev.log_every_n_steps,
        accumulate_grad_batches=config.accumulate_grad_batches,
        gradient_clip_val=config.gradient_clip_val or None,
        deterministic="warn" if config.deterministic else False,
        benchmark=config.cudnn_benchmark,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=directory,
    )
    data = SpectraDataModule(
        splits.train,
        splits.val,
        splits.test,
        batch_size=config.data.batch_size,
        seed=config.seed,
        num_workers=plan.num_workers,
        prefetch_factor=plan.prefetch_factor,
        pin_memory=plan.pin_memory,
        persistent_workers=plan.persistent_workers,
        shuffle=not share,
    )
    model = build_model(config.model)
    if file is None and take_up:
        _take_up(model, data.dataset("train").tensors, deadline, terminal)
    module = SpectrumModule(
        model,
        build_loss(config.loss),
        config.optimizer,
        seed=config.seed,
        naive_mean=splits.naive_mean,
        naive_sigma=splits.naive_sigma,
        augmentation=config.data.augmentation,
        log_every_n_steps=config.dev.log_every_n_steps,
    )
    if position is not None:
        data.resume(position.epoch, position.batch)
        logger.resume(position.step)
    elif logger.has_rows:
        logger.resume(0)  # Of an earlier life, which ended before its first checkpoint.
    if position is not None and position.ended:
        report.load_state_dict(states[report.state_key])
    else:
        drop_idle_hooks(trainer, module)
        with stop, suppress(StoppedError), _uncollected():
            trainer.fit(module, datamodule=data, ckpt_path=file)
            progress.finish(trainer)
    if distributed.is_initialized():
        # Threads of the group that still run when Python ends would abort the process, and with it a run that is done.
        distributed.destroy_process_group()
    status: Literal["completed", "walltime", "interrupted"] = "completed"
    if stop.signal is not None:
        status = "interrupted"
    elif stop.out_of_time:
        status = "walltime"
    return Learned(status, stop.signal, report.validations)


def _take_up(model: SpectrumModel, planets: Batch, deadline: float | None, terminal: Terminal) -> None:
    """Have a model begin with what labels tell by themselves, in time.

    Raises:
        ConfigError: It cannot be done by the deadline.
        NonFiniteLossError: What was learnt is NaN or infinite, or what it is learnt from.
    """
    _require_finite(planets, "planets' numbers in single precision")
    remedy = "Nothing of it is kept: start again with a longer trainer.max_time, or on more CPU cores"
    with clock.within(None if deadline is None else deadline - MARGIN_S), terminal.progress(_TAKING_UP) as shown:
        forecast = clock.Forecast(_TAKING_UP, shown, remedy)

        def report(done: int, total: int) -> None:
            _require_finite(model.state_dict(), "weights")
            forecast(done, total)

        model.take_up(planets, report)
    _require_finite(model.state_dict(), "weights")


def _require_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    if not all(torch.isfinite(values).all() for values in tensors.values()):
        raise NonFiniteLossError(
            f"{_TAKING_UP}: the {what} are not finite. The labels of the training planets, or their classical fits, "
            "are out of all proportion; spectramind data check names those that cannot be"
        )


def _whole_batches(cap: float | None, planets: int, together: int) -> float | None:
    """A cap on batches that Lightning takes: at least one batch of any share, where Lightning would raise."""
    if not isinstance(cap, float) or cap == 0.0:
        return cap
    return max(1, int(cap * math.ceil(planets / together)))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Spare the garbage collector what is there already: modules by the thousand, which it would look through again."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _quieten() -> None:
    """Silence what is not for the user: advertisements, and warnings about choices that the plan has made."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for pattern in _HARMLESS:
        warnings.filterwarnings("ignore", message=pattern)

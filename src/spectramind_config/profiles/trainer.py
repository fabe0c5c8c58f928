"""The ``trainer`` group: how a run is executed, and the limits that no machine profile may lift."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated

from spectramind_config.schema.registry import profile
from spectramind_config.settings import Batches, Duration, OneOf, Precision, Profile, Settings, about

Strategy = OneOf["auto", "ddp"]
Refresh = OneOf["normal", "throttled"]
NonFinite = OneOf["stop", "skip_batch"]


@dataclass(kw_only=True)
class BatchLimits(Settings):
    """Caps on the batches of each split; null leaves the split whole."""

    limit_train_batches: Batches | None = None
    """Cap on training batches per epoch: a count (int) or a fraction (float)"""
    limit_val_batches: Batches | None = None
    """Cap on validation batches: a count (int) or a fraction (float)"""
    limit_test_batches: Batches | None = None
    """Cap on test batches: a count (int) or a fraction (float)"""


@dataclass(kw_only=True)
class Checkpoint(Settings):
    """Which checkpoints are kept; the last two always are."""

    save_top_k: Annotated[int, about(ge=-1)] = 3
    """How many of the best checkpoints to keep; 0 keeps none, -1 all"""
    every_n_epochs: Annotated[int, about(ge=1)] = 1
    """Epochs between checkpoints"""
    every_minutes: Annotated[float | None, about(gt=0, science=False)] = 15.0
    """Minutes between checkpoints, within epochs too; null saves at epochs' ends only"""


@dataclass(kw_only=True)
class EarlyStopping(Settings):
    """When to stop because the validation score no longer rises."""

    enabled: bool = True
    """Stop when the validation score no longer rises"""
    patience: Annotated[int, about(ge=1)] = 5
    """Validations without a better score before stopping"""


@dataclass(kw_only=True)
class Console(Settings):
    """How often the terminal is redrawn."""

    refresh: Annotated[Refresh, about(science=False)] = "normal"
    """Redraw rate of the progress bar"""


@dataclass(kw_only=True)
class TrainerConfig(Profile):
    """Execution strategy, limits and cadence of a run."""

    strategy: Annotated[Strategy, about(science=False)] = "auto"
    """How processes share the work"""
    num_nodes: Annotated[int, about(ge=1, science=False)] = 1
    """Number of machines"""
    cpu_processes: Annotated[int, about(ge=1, science=False)] = 1
    """Processes that train one model on the CPU, each with the whole batch size; more than 1 uses no GPU"""
    max_restarts: Annotated[int, about(ge=0, science=False)] = 0
    """How often all processes of a machine go on from the newest checkpoint when one of them dies of a fault"""
    sync_batchnorm: bool = False
    """Share batch-norm statistics between devices"""
    precision: Precision | None = None
    """Numeric precision where the local profile sets none"""
    gradient_clip_val: Annotated[float, about(ge=0)] = 1.0
    """Clip the gradient's norm at this value; 0 does not clip"""
    non_finite: NonFinite = "stop"
    """What a loss or gradient that is NaN or infinite does: end the run, or leave the step out"""
    max_skipped_batches: Annotated[int, about(ge=0)] = 10
    """Steps that skip_batch may leave out before the run ends"""
    log_grad_norm: Annotated[bool, about(science=False)] = False
    """Log the gradient's norm at each logged step"""
    max_time: Annotated[Duration | None, about(science=False)] = None
    """Wall-clock limit of this process"""
    max_steps: Annotated[int | None, about(ge=1)] = None
    """Cap on optimizer steps"""
    dev: BatchLimits = field(default_factory=BatchLimits)
    """Caps on batches; the local profile's win"""
    offline: Annotated[bool, about(science=False)] = False
    """Never use the network"""
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    """Which checkpoints are kept"""
    early_stopping: EarlyStopping = field(default_factory=EarlyStopping)
    """When to stop early"""
    console: Console = field(default_factory=Console)
    """How often the terminal is redrawn"""


@profile("trainer", "defaults")
@dataclass(kw_only=True)
class DefaultTrainer(TrainerConfig):
    """Friendly to a single GPU or CPU."""


@profile("trainer", "kaggle_safe")
@dataclass(kw_only=True)
class KaggleSafeTrainer(TrainerConfig):
    """A notebook of at most nine hours, offline, with few writes."""

    precision: Precision | None = "16-mixed"
    max_time: Duration | None = timedelta(hours=8, minutes=30)
    offline: bool = True
    checkpoint: Checkpoint = field(
        default_factory=lambda: Checkpoint(save_top_k=1, every_n_epochs=5, every_minutes=30.0)
    )
    console: Console = field(default_factory=lambda: Console(refresh="throttled"))


@profile("trainer", "ci_fast")
@dataclass(kw_only=True)
class CiFastTrainer(TrainerConfig):
    """A smoke test for continuous integration."""

    gradient_clip_val: float = 0.0
    max_time: Duration | None = timedelta(minutes=20)
    max_steps: int | None = 32
    dev: BatchLimits = field(
        default_factory=lambda: BatchLimits(limit_train_batches=8, limit_val_batches=4, limit_test_batches=4)
    )
    checkpoint: Checkpoint = field(default_factory=lambda: Checkpoint(save_top_k=0))
    early_stopping: EarlyStopping = field(default_factory=lambda: EarlyStopping(enabled=False))
    console: Console = field(default_factory=lambda: Console(refresh="throttled"))


@profile("trainer", "multi_gpu")
@dataclass(kw_only=True)
class MultiGpuTrainer(TrainerConfig):
    """Data-parallel training over several GPUs."""

    strategy: Strategy = "ddp"
    max_restarts: Annotated[int, about(ge=0, science=False)] = 3
    sync_batchnorm: bool = True
    precision: Precision | None = "16-mixed"
    checkpoint: Checkpoint = field(default_factory=lambda: Checkpoint(save_top_k=2, every_n_epochs=2))
    early_stopping: EarlyStopping = field(default_factory=lambda: EarlyStopping(patience=6))


@profile("trainer", "ddp_sim")
@dataclass(kw_only=True)
class DdpSimTrainer(TrainerConfig):
    """Data-parallel training on any CPU, to try what several GPUs will do."""

    strategy: Strategy = "ddp"
    cpu_processes: Annotated[int, about(ge=1, science=False)] = 2

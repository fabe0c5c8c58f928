"""The ``trainer`` group: how a run is executed, and the limits that no machine profile may lift."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from spectramind_config.registry import profile, schema
from spectramind_config.settings import Batches, Precision, Profile, Settings, about, one_of

if TYPE_CHECKING:
    Strategy = Literal["auto", "ddp"]
    Refresh = Literal["normal", "throttled"]
else:
    Strategy = one_of("auto", "ddp")
    Refresh = one_of("normal", "throttled")


@dataclass(kw_only=True)
class BatchLimits(Settings):
    """Caps on the batches of each split; null leaves the split whole."""

    limit_train_batches: Annotated[
        Batches | None, about("Cap on training batches per epoch: a count (int) or a fraction (float)")
    ] = None
    limit_val_batches: Annotated[
        Batches | None, about("Cap on validation batches: a count (int) or a fraction (float)")
    ] = None
    limit_test_batches: Annotated[Batches | None, about("Cap on test batches: a count (int) or a fraction (float)")] = (
        None
    )


@dataclass(kw_only=True)
class Checkpoint(Settings):
    """Which checkpoints are kept; the last one always is."""

    save_top_k: Annotated[int, about("How many of the best checkpoints to keep; 0 keeps none, -1 all", ge=-1)] = 3
    every_n_epochs: Annotated[int, about("Epochs between checkpoints", ge=1)] = 1


@dataclass(kw_only=True)
class EarlyStopping(Settings):
    """When to stop because the validation score no longer rises."""

    enabled: Annotated[bool, about("Stop when the validation score no longer rises")] = True
    patience: Annotated[int, about("Validations without a better score before stopping", ge=1)] = 5


@dataclass(kw_only=True)
class Console(Settings):
    """How often the terminal is redrawn."""

    refresh: Annotated[Refresh, about("Redraw rate of the progress bar", science=False)] = "normal"
    rank_zero_only: Annotated[bool, about("Only the first process writes to the terminal", science=False)] = False


@schema("trainer")
@dataclass(kw_only=True)
class TrainerConfig(Profile):
    """Execution strategy, limits and cadence of a run."""

    strategy: Annotated[Strategy, about("How processes share the work", science=False)] = "auto"
    num_nodes: Annotated[int, about("Number of machines", ge=1, science=False)] = 1
    sync_batchnorm: Annotated[bool, about("Share batch-norm statistics between devices")] = False
    precision: Annotated[Precision | None, about("Numeric precision where the local profile sets none")] = None
    gradient_clip_val: Annotated[float, about("Clip the gradient's norm at this value; 0 does not clip", ge=0)] = 1.0
    log_grad_norm: Annotated[bool, about("Log the gradient's norm at each logged step", science=False)] = False
    max_time: Annotated[
        str | None,
        about("Wall-clock limit HH:MM:SS of this process", pattern=r"^\d{2,}:[0-5]\d:[0-5]\d$(?!\n)", science=False),
    ] = None
    max_steps: Annotated[int | None, about("Cap on optimizer steps", ge=1)] = None
    dev: Annotated[BatchLimits, about("Caps on batches; the local profile's win")] = field(default_factory=BatchLimits)
    offline: Annotated[bool, about("Never use the network", science=False)] = False
    checkpoint: Annotated[Checkpoint, about("Which checkpoints are kept")] = field(default_factory=Checkpoint)
    early_stopping: Annotated[EarlyStopping, about("When to stop early")] = field(default_factory=EarlyStopping)
    console: Annotated[Console, about("How often the terminal is redrawn")] = field(default_factory=Console)


@profile("trainer", "defaults")
@dataclass(kw_only=True)
class DefaultTrainer(TrainerConfig):
    """Friendly to a single GPU or CPU."""


@profile("trainer", "kaggle_safe")
@dataclass(kw_only=True)
class KaggleSafeTrainer(TrainerConfig):
    """A notebook of at most nine hours, offline, with few writes."""

    precision: Precision | None = "16-mixed"
    max_time: str | None = "08:30:00"
    offline: bool = True
    checkpoint: Checkpoint = field(default_factory=lambda: Checkpoint(save_top_k=1, every_n_epochs=5))
    console: Console = field(default_factory=lambda: Console(refresh="throttled"))


@profile("trainer", "ci_fast")
@dataclass(kw_only=True)
class CiFastTrainer(TrainerConfig):
    """A smoke test for continuous integration."""

    gradient_clip_val: float = 0.0
    max_time: str | None = "00:20:00"
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
    sync_batchnorm: bool = True
    precision: Precision | None = "16-mixed"
    checkpoint: Checkpoint = field(default_factory=lambda: Checkpoint(save_top_k=2, every_n_epochs=2))
    early_stopping: EarlyStopping = field(default_factory=lambda: EarlyStopping(patience=6))
    console: Console = field(default_factory=lambda: Console(rank_zero_only=True))

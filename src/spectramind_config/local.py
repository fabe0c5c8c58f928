"""The ``local`` group: the machine a run happens on, and the switches of everyday development."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

from spectramind_config.registry import profile, schema
from spectramind_config.settings import Contradiction, Devices, Precision, Profile, Settings, about
from spectramind_config.trainer import BatchLimits


@dataclass(kw_only=True)
class NumWorkers(Settings):
    """DataLoader worker processes per split; 0 loads in the main process."""

    train: Annotated[int, about("Workers of the training loader", ge=0, science=False)] = 8
    val: Annotated[int, about("Workers of the validation loader", ge=0, science=False)] = 4
    test: Annotated[int, about("Workers of the test loader", ge=0, science=False)] = 4


@dataclass(kw_only=True)
class MLflow(Settings):
    """Where metrics are tracked besides the run's own files."""

    enabled: Annotated[bool, about("Track the run with MLflow", science=False)] = False
    tracking_uri: Annotated[str, about("MLflow tracking URI", min_length=1, science=False)] = (
        "file:${oc.env:SM_MLFLOW_DIR,mlruns}"
    )
    experiment_name: Annotated[str, about("MLflow experiment", min_length=1, science=False)] = "V50_local"


@dataclass(kw_only=True)
class Paths(Settings):
    """Directories of this machine; each has an environment variable."""

    cache_dir: Annotated[str, about("Root of intermediate artefacts", min_length=1, science=False)] = (
        "${oc.env:SM_CACHE_DIR,.cache/spectramind}"
    )
    output_dir: Annotated[str, about("Root of run directories", min_length=1, science=False)] = (
        "${oc.env:SM_OUTPUT_DIR,outputs/local}"
    )
    data_root: Annotated[str, about("Root of the data set", min_length=1, science=False)] = (
        "${oc.env:SM_DATA_ROOT,data}"
    )
    run_manifest: Annotated[str, about("Where the newest run's manifest is written", min_length=1, science=False)] = (
        "${.output_dir}/run_manifest.json"
    )


@dataclass(kw_only=True)
class Dev(BatchLimits):
    """Switches for quick iteration."""

    fast_dev_run: Annotated[bool, about("Run one batch of each split and stop")] = False
    overfit_batches: Annotated[
        float, about("Fraction of the training split to overfit as a check; 0 is off", ge=0, le=1)
    ] = 0.0
    log_every_n_steps: Annotated[int, about("Steps between logged metrics", ge=1, science=False)] = 25
    enable_progress_bar: Annotated[bool, about("Show a progress bar", science=False)] = True
    check_val_every_n_epoch: Annotated[int, about("Epochs between validations", ge=1)] = 1


@schema("local")
@dataclass(kw_only=True)
class LocalConfig(Profile):
    """Everyday development: devices and precision are chosen automatically."""

    devices: Annotated[
        Devices, about("Accelerators: a number of GPUs, auto (GPU if there is one), cpu or mps", science=False)
    ] = "auto"
    precision: Annotated[
        Precision | None,
        about("Numeric precision; auto-mixed takes the best the device can do, null leaves the trainer's"),
    ] = "auto-mixed"
    seed: Annotated[int, about("Seed of every random number", ge=0, le=2**32 - 1)] = 1337
    deterministic: Annotated[bool, about("Deterministic kernels where feasible")] = True
    cudnn_benchmark: Annotated[bool, about("Let cuDNN time its kernels; for stable input shapes")] = False
    num_workers: Annotated[NumWorkers, about("DataLoader workers per split")] = field(default_factory=NumWorkers)
    prefetch_factor: Annotated[int, about("Batches each worker loads ahead", ge=1, science=False)] = 2
    pin_memory: Annotated[bool, about("Page-locked host memory, for faster copies to a GPU", science=False)] = True
    persistent_workers: Annotated[bool, about("Keep workers alive between epochs", science=False)] = True
    accumulate_grad_batches: Annotated[int, about("Batches per optimizer step", ge=1)] = 1
    max_epochs: Annotated[int, about("Cap on epochs", ge=1)] = 60
    mlflow: Annotated[MLflow, about("Experiment tracking")] = field(default_factory=MLflow)
    paths: Annotated[Paths, about("Directories of this machine")] = field(default_factory=Paths)
    dev: Annotated[Dev, about("Switches for quick iteration")] = field(default_factory=Dev)

    def contradictions(self) -> Iterator[Contradiction]:
        """Loader and development switches that exclude each other."""
        yield from super().contradictions()
        idle = [split for split in ("train", "val", "test") if getattr(self.num_workers, split) == 0]
        if self.persistent_workers and idle:
            reason = f"persistent_workers is true but num_workers.{idle[0]} is 0: there is no worker to keep"
            yield Contradiction("persistent_workers", reason, "false")
        if self.dev.fast_dev_run and self.dev.overfit_batches > 0:
            reason = "dev.fast_dev_run runs one batch and stops, so dev.overfit_batches cannot overfit anything"
            yield Contradiction("dev.overfit_batches", reason, "0.0")
        if self.deterministic and self.cudnn_benchmark:
            reason = "cudnn_benchmark chooses kernels by their speed, so deterministic holds only within one process"
            yield Contradiction("cudnn_benchmark", reason, "false", fatal=False)


@profile("local", "default")
@dataclass(kw_only=True)
class DefaultLocal(LocalConfig):
    """Everyday development: GPU or CPU and precision are found automatically."""


@profile("local", "debug")
@dataclass(kw_only=True)
class DebugLocal(LocalConfig):
    """Fails fast: one batch of each split on the CPU."""

    devices: Devices = "cpu"
    precision: Precision | None = "32"
    num_workers: NumWorkers = field(default_factory=lambda: NumWorkers(train=0, val=0, test=0))
    pin_memory: bool = False
    persistent_workers: bool = False
    max_epochs: int = 1
    mlflow: MLflow = field(default_factory=lambda: MLflow(experiment_name="V50_debug"))
    paths: Paths = field(default_factory=lambda: Paths(output_dir="${oc.env:SM_OUTPUT_DIR,outputs/debug}"))
    dev: Dev = field(
        default_factory=lambda: Dev(
            fast_dev_run=True,
            limit_train_batches=1,
            limit_val_batches=1,
            limit_test_batches=1,
            log_every_n_steps=1,
        )
    )


@profile("local", "hpc")
@dataclass(kw_only=True)
class HpcLocal(LocalConfig):
    """Multi-GPU workstation or DGX: bf16 first, high throughput."""

    devices: Devices = 4
    precision: Precision | None = "bf16-mixed"
    cudnn_benchmark: bool = True
    num_workers: NumWorkers = field(default_factory=lambda: NumWorkers(train=16, val=8, test=8))
    prefetch_factor: int = 3
    max_epochs: int = 120
    mlflow: MLflow = field(default_factory=lambda: MLflow(enabled=True, experiment_name="V50_hpc"))
    paths: Paths = field(
        default_factory=lambda: Paths(
            cache_dir="${oc.env:SM_CACHE_DIR,/scratch/.spectramind/cache}",
            output_dir="${oc.env:SM_OUTPUT_DIR,/scratch/outputs/hpc}",
            data_root="${oc.env:SM_DATA_ROOT,/datasets/ariel}",
        )
    )
    dev: Dev = field(default_factory=lambda: Dev(log_every_n_steps=50))

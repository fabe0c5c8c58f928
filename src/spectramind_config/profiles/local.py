"""The ``local`` group: the machine a run happens on, and the switches of everyday development."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Self, cast

from spectramind_config.host import Host, scratch
from spectramind_config.profiles.trainer import BatchLimits
from spectramind_config.schema.registry import profile
from spectramind_config.settings import Contradiction, Devices, Precision, Profile, Settings, about


@dataclass(kw_only=True)
class NumWorkers(Settings):
    """DataLoader worker processes per split; 0 loads in the main process."""

    train: Annotated[int, about(ge=0, science=False)] = 8
    """Workers of the training loader"""
    val: Annotated[int, about(ge=0, science=False)] = 4
    """Workers of the validation loader"""
    test: Annotated[int, about(ge=0, science=False)] = 4
    """Workers of the test loader"""


@dataclass(kw_only=True)
class MLflow(Settings):
    """Where metrics are tracked besides the run's own files."""

    enabled: Annotated[bool, about(science=False)] = False
    """Track the run with MLflow"""
    tracking_uri: Annotated[str, about(min_length=1, science=False)] = "file:${oc.env:SM_MLFLOW_DIR,mlruns}"
    """MLflow tracking URI"""
    experiment_name: Annotated[str, about(min_length=1, science=False)] = "V50_local"
    """MLflow experiment"""


@dataclass(kw_only=True)
class Paths(Settings):
    """Directories of this machine; each has an environment variable."""

    cache_dir: Annotated[str, about(min_length=1, science=False)] = "${oc.env:SM_CACHE_DIR,.cache/spectramind}"
    """Root of intermediate artefacts"""
    output_dir: Annotated[str, about(min_length=1, science=False)] = "${oc.env:SM_OUTPUT_DIR,outputs/local}"
    """Root of run directories"""
    data_root: Annotated[str, about(min_length=1, science=False)] = "${oc.env:SM_DATA_ROOT,data}"
    """Root of the data set"""
    run_manifest: Annotated[str, about(min_length=1, science=False)] = "${.output_dir}/run_manifest.json"
    """Where the newest run's manifest is written"""


@dataclass(kw_only=True)
class Dev(BatchLimits):
    """Switches for quick iteration."""

    fast_dev_run: bool = False
    """Run one batch of each split and stop"""
    overfit_batches: Annotated[float, about(ge=0, le=1)] = 0.0
    """Fraction of the training split to overfit as a check; 0 is off"""
    log_every_n_steps: Annotated[int, about(ge=1, science=False)] = 25
    """Steps between logged metrics"""
    enable_progress_bar: Annotated[bool, about(science=False)] = True
    """Show a progress bar"""
    check_val_every_n_epoch: Annotated[int, about(ge=1)] = 1
    """Epochs between validations"""


@dataclass(kw_only=True)
class LocalConfig(Profile):
    """Everyday development: devices and precision are chosen automatically."""

    devices: Annotated[Devices, about(science=False)] = "auto"
    """Accelerators: a number of GPUs, auto (GPU if there is one), cpu or mps"""
    precision: Precision | None = "auto-mixed"
    """Numeric precision; auto-mixed takes the best the device can do, null leaves the trainer's"""
    seed: Annotated[int, about(ge=0, le=2**32 - 1)] = 1337
    """Seed of every random number"""
    deterministic: bool = True
    """Deterministic kernels where feasible"""
    cudnn_benchmark: bool = False
    """Let cuDNN time its kernels; for stable input shapes"""
    num_workers: NumWorkers = field(default_factory=NumWorkers)
    """DataLoader workers per split"""
    prefetch_factor: Annotated[int, about(ge=1, science=False)] = 2
    """Batches each worker loads ahead"""
    pin_memory: Annotated[bool, about(science=False)] = True
    """Page-locked host memory, for faster copies to a GPU"""
    persistent_workers: Annotated[bool, about(science=False)] = True
    """Keep workers alive between epochs"""
    accumulate_grad_batches: Annotated[int, about(ge=1)] = 1
    """Batches per optimizer step"""
    max_epochs: Annotated[int, about(ge=1)] = 60
    """Cap on epochs"""
    mlflow: MLflow = field(default_factory=MLflow)
    """Experiment tracking"""
    paths: Paths = field(default_factory=Paths)
    """Directories of this machine"""
    dev: Dev = field(default_factory=Dev)
    """Switches for quick iteration"""

    @classmethod
    def suggested(cls, name: str) -> tuple[Self, dict[str, str], str]:
        """What suits this host, and why."""
        host, values = Host.detect(), cls()
        values.devices = len(host.gpus) or ("mps" if host.mps else "cpu")
        precision = pick_precision("auto-mixed", host.cuda_bf16 or host.mps_bf16, host.cuda_fp16)
        values.precision = cast("Precision", precision)
        values.pin_memory = bool(host.gpus)
        values.mlflow.experiment_name = f"V50_{name}"
        share = max(1, host.cores // max(1, len(host.gpus)))
        workers = max(1, min(16, share - 1))
        values.num_workers = NumWorkers(train=workers, val=max(1, workers // 2), test=max(1, workers // 2))
        able = "Every GPU here computes in bfloat16" if host.cuda_bf16 else "What the devices here compute in"
        reasons = {"precision": able, "num_workers": f"{share} of {host.cores} CPU cores for each device"}
        lasting, emptied = scratch(lasting=True), scratch(lasting=False)
        values.paths.output_dir = _on_scratch("SM_OUTPUT_DIR", lasting, f"outputs/{name}")
        if place := lasting[1] or emptied[1]:
            cache = lasting if lasting[1] else emptied
            values.paths.cache_dir = _on_scratch("SM_CACHE_DIR", cache, ".spectramind/cache")
            reasons["paths"] = f"{place} was found here{'' if lasting[1] else ', and may be emptied after a job'}"
        return values, reasons, host.summary()

    def contradictions(self) -> Iterator[Contradiction]:
        """Loader and development switches that exclude each other."""
        yield from super().contradictions()
        idle = next((split for split in ("train", "val", "test") if not getattr(self.num_workers, split)), None)
        if self.persistent_workers and idle:
            reason = f"persistent_workers is true but num_workers.{idle} is 0: there is no worker to keep"
            yield Contradiction("persistent_workers", reason, "false")
        if self.dev.fast_dev_run and self.dev.overfit_batches > 0:
            reason = "dev.fast_dev_run runs one batch and stops, so dev.overfit_batches cannot overfit anything"
            yield Contradiction("dev.overfit_batches", reason, "0.0")
        if self.deterministic and self.cudnn_benchmark:
            reason = "cudnn_benchmark chooses kernels by their speed, so deterministic holds only within one process"
            yield Contradiction("cudnn_benchmark", reason, "false", fatal=False)


def pick_precision(requested: str, cuda_cap_bf16: bool, cuda_cap_fp16: bool) -> str:
    """The precision to train with: for ``auto-mixed`` the best that the device can do, else what is requested."""
    if requested != "auto-mixed":
        return requested
    if cuda_cap_bf16:
        return "bf16-mixed"
    return "16-mixed" if cuda_cap_fp16 else "32"


def _on_scratch(variable: str, scratch: tuple[str, str], folder: str) -> str:
    """A folder, on a scratch disk if there is one, unless a variable names another."""
    inner, place = scratch
    path = f"{place}/{folder}" if place else folder
    if not re.fullmatch(r"[\w./-]*", path, re.ASCII):
        path = "'" + re.sub(r"([\\'])", r"\\\1", path) + "'"
    elif inner:
        path = f"${{oc.env:{inner},{place}}}/{folder}"
    return f"${{oc.env:{variable},{path}}}"


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
            fast_dev_run=True, limit_train_batches=1, limit_val_batches=1, limit_test_batches=1, log_every_n_steps=1
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

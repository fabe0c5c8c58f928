"""The observatory's machines, each a profile of the ``local`` group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

import spectramind_config as sc


@dataclass(kw_only=True)
class Machine(sc.LocalConfig):
    """What all machines share: the observatory's disks, its tracking server, and an account that pays."""

    account: Annotated[str, sc.about("Account that the hours are charged to", min_length=1, science=False)] = "ariel"
    paths: sc.Paths = field(
        default_factory=lambda: sc.Paths(
            cache_dir="${oc.env:SM_CACHE_DIR,/observatory/scratch/spectramind}",
            output_dir="${oc.env:SM_OUTPUT_DIR,/observatory/runs}",
            data_root="${oc.env:SM_DATA_ROOT,/observatory/data/ariel}",
        )
    )
    mlflow: sc.MLflow = field(
        default_factory=lambda: sc.MLflow(enabled=True, tracking_uri="http://mlflow.observatory.example:5000")
    )


@sc.profile("local", "observatory_a100")
@dataclass(kw_only=True)
class A100(Machine):
    """A node of the observatory's cluster: eight A100."""

    devices: sc.Devices = 8
    precision: sc.Precision | None = "bf16-mixed"
    num_workers: sc.NumWorkers = field(default_factory=lambda: sc.NumWorkers(train=16, val=8, test=8))
    max_epochs: int = 120

    def contradictions(self) -> Iterator[sc.Contradiction]:
        """The cluster's rule: a whole node is for funded projects."""
        yield from super().contradictions()
        if self.devices == 8 and self.account == "guest":
            yield sc.Contradiction("devices", "a guest may not take a whole node of eight GPUs", "4")


@sc.profile("local", "observatory_t4")
@dataclass(kw_only=True)
class T4(Machine):
    """The machine in the control room: one T4, which has no bf16."""

    devices: sc.Devices = 1
    precision: sc.Precision | None = "16-mixed"
    num_workers: sc.NumWorkers = field(default_factory=lambda: sc.NumWorkers(train=4, val=2, test=2))

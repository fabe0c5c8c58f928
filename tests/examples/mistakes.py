"""What both type checkers must refuse: each line that is wrong ends with the codes that they give it."""

from __future__ import annotations

from dataclasses import dataclass, field

import spectramind_config as sc

cfg = sc.compose(["local=hpc"])

print(cfg.precison)  # refused: attr-defined, reportAttributeAccessIssue
print(cfg.paths.outptu_dir)  # refused: attr-defined, reportAttributeAccessIssue
cfg.precision = "32"  # refused: misc, reportAttributeAccessIssue
cfg.local.devcies = 8  # refused: attr-defined, reportAttributeAccessIssue


@sc.profile("local", "wrong")
@dataclass(kw_only=True)
class Wrong(sc.LocalConfig):
    """Every line of it is wrong in its own way."""

    precision: sc.Precision | None = "bf17"  # refused: assignment, reportAssignmentType
    devices: sc.Devices = "gpu"  # refused: assignment, reportAssignmentType
    max_epochs: int = "many"  # refused: assignment, reportAssignmentType
    dev: sc.Dev = field(default_factory=lambda: sc.Dev(limit_batches=1))  # refused: call-arg, reportCallIssue


@sc.main(sc.EffectiveConfig)  # refused: arg-type, reportArgumentType
def wrong(config: sc.LocalConfig) -> None:
    """Takes something else than it is given."""


class Unrelated:
    """Not below a schema."""


sc.profile("local", "unrelated")(Unrelated)  # refused: type-var, reportArgumentType
sc.profile("local", 3)  # refused: arg-type, reportArgumentType
sc.pick_precision("32", cuda_cap_bf16=True)  # refused: call-arg, reportCallIssue

"""The ``optimizer`` group."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from spectramind_config.schema.registry import profile
from spectramind_config.settings import Contradiction, OneOf, Profile, about

Schedule = OneOf["constant", "cosine"]


@dataclass(kw_only=True)
class OptimizerConfig(Profile):
    """What every optimizer has."""

    builds: ClassVar[bool] = True
    lr: Annotated[float, about(gt=0)] = 0.0003
    """Peak learning rate"""
    schedule: Schedule = "cosine"
    """Learning rate after the warm-up"""
    warmup_fraction: Annotated[float, about(ge=0, le=1)] = 0.05
    """Share of all steps in which the rate rises from zero"""


@profile("optimizer", "adamw")
@dataclass(kw_only=True)
class AdamW(OptimizerConfig):
    """Adam with decoupled weight decay, none on biases and norms."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of the two moment estimates"""
    eps: Annotated[float, about(gt=0)] = 1e-08
    """Added to the denominator"""
    weight_decay: Annotated[float, about(ge=0)] = 0.01
    """Decoupled weight decay of matrices"""

    def contradictions(self) -> Iterator[Contradiction]:
        """Moment estimates decay."""
        yield from super().contradictions()
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            yield Contradiction("betas", f"betas {list(self.betas)} must lie in [0, 1)")

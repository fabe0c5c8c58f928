"""The ``optimizer`` group."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from spectramind_config.registry import profile, schema
from spectramind_config.settings import Contradiction, Profile, about, one_of

if TYPE_CHECKING:
    Schedule = Literal["constant", "cosine"]
else:
    Schedule = one_of("constant", "cosine")


@schema("optimizer")
@dataclass(kw_only=True)
class OptimizerConfig(Profile):
    """What every optimizer has."""

    lr: Annotated[float, about("Peak learning rate", gt=0)] = 3e-4
    schedule: Annotated[Schedule, about("Learning rate after the warm-up")] = "cosine"
    warmup_fraction: Annotated[float, about("Share of all steps in which the rate rises from zero", ge=0, le=1)] = 0.05


@profile("optimizer", "adamw")
@dataclass(kw_only=True)
class AdamW(OptimizerConfig):
    """Adam with decoupled weight decay, none on biases and norms."""

    betas: Annotated[tuple[float, float], about("Decay rates of the two moment estimates")] = (0.9, 0.999)
    eps: Annotated[float, about("Added to the denominator", gt=0)] = 1e-8
    weight_decay: Annotated[float, about("Decoupled weight decay of matrices", ge=0)] = 0.01

    def contradictions(self) -> Iterator[Contradiction]:
        """Moment estimates decay."""
        yield from super().contradictions()
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            yield Contradiction("betas", f"betas {list(self.betas)} must lie in [0, 1)")

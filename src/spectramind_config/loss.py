"""The ``loss`` group."""

from dataclasses import dataclass
from typing import Annotated

from spectramind_config.registry import profile, schema
from spectramind_config.settings import Profile, about


@schema("loss")
@dataclass(kw_only=True)
class LossConfig(Profile):
    """What every loss has; a loss's own class adds its weights."""


@profile("loss", "composite")
@dataclass(kw_only=True)
class CompositeLoss(LossConfig):
    """Gaussian likelihood, smoothness, non-negativity and high-frequency power."""

    nll: Annotated[float, about("Weight of the Gaussian negative log-likelihood", ge=0)] = 1.0
    smoothness: Annotated[float, about("Weight of the squared second difference of the mean", ge=0)] = 0.10
    nonnegativity: Annotated[float, about("Weight of negative means", ge=0)] = 0.02
    high_frequency: Annotated[float, about("Weight of the mean's high-frequency FFT power", ge=0)] = 0.10
    fgs1_weight: Annotated[float, about("Weight of FGS1 in the likelihood; the metric's is 57.846", gt=0)] = 57.846

"""The ``loss`` group."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from spectramind_config.schema.registry import profile
from spectramind_config.settings import Profile, about


@dataclass(kw_only=True)
class LossConfig(Profile):
    """What every loss has; a loss's own class adds its weights."""

    builds: ClassVar[bool] = True


@profile("loss", "composite")
@dataclass(kw_only=True)
class CompositeLoss(LossConfig):
    """Gaussian likelihood, smoothness, non-negativity and high-frequency power."""

    nll: Annotated[float, about(ge=0)] = 1.0
    """Weight of the Gaussian negative log-likelihood"""
    smoothness: Annotated[float, about(ge=0)] = 0.1
    """Weight of the squared second difference of the mean"""
    nonnegativity: Annotated[float, about(ge=0)] = 0.02
    """Weight of negative means"""
    high_frequency: Annotated[float, about(ge=0)] = 0.1
    """Weight of the mean's high-frequency FFT power"""
    fgs1_weight: Annotated[float, about(gt=0)] = 57.846
    """Weight of FGS1 in the likelihood; the metric's is 57.846"""

"""The ``model`` group."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from spectramind_config.schema.registry import profile
from spectramind_config.settings import Contradiction, Profile, about


@dataclass(kw_only=True)
class ModelConfig(Profile):
    """What every model has; a model's own class adds its sizes."""

    builds: ClassVar[bool] = True


@profile("model", "v50")
@dataclass(kw_only=True)
class V50Config(ModelConfig):
    """State-space encoder for FGS1, graph attention for AIRS, fused by cross-attention."""

    width: Annotated[int, about(ge=4, le=1_000_000)] = 48
    """Channels of every hidden layer"""
    fgs1_layers: Annotated[int, about(ge=0, le=1000)] = 2
    """State-space layers over the FGS1 time series"""
    state_size: Annotated[int, about(ge=1, le=1_000_000)] = 8
    """Hidden states per channel of a state-space layer"""
    airs_layers: Annotated[int, about(ge=0, le=1000)] = 2
    """Graph attention layers over the AIRS wavelengths"""
    heads: Annotated[int, about(ge=1)] = 4
    """Attention heads; divides the width"""
    neighbours: Annotated[int, about(ge=1)] = 4
    """Wavelengths on each side that a node is linked to"""
    dropout: Annotated[float, about(ge=0, le=0.9)] = 0.1
    """Dropout probability"""
    sigma_floor: Annotated[float, about(gt=0)] = 1e-05
    """Smallest predicted uncertainty, in units of (Rp/Rs)^2"""
    residual: bool = True
    """Predict the residual to a transit fit instead of the whole spectrum"""
    limb_darkening: bool = True
    """Learn limb darkening by the star's temperature from all training planets"""
    rehearsals: Annotated[int, about(ge=0, le=1_000_000)] = 200
    """Passes over the training labels by which the head of shapes learns before the first step"""

    def contradictions(self) -> Iterator[Contradiction]:
        """Attention splits the width evenly among its heads."""
        yield from super().contradictions()
        if self.width % self.heads:
            yield Contradiction("heads", f"heads ({self.heads}) does not divide width ({self.width})")

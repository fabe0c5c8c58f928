"""The ``model`` group."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from spectramind_config.registry import profile, schema
from spectramind_config.settings import Contradiction, Profile, about


@schema("model")
@dataclass(kw_only=True)
class ModelConfig(Profile):
    """What every model has; a model's own class adds its sizes."""


@profile("model", "v50")
@dataclass(kw_only=True)
class V50Config(ModelConfig):
    """State-space encoder for FGS1, graph attention for AIRS, fused by cross-attention."""

    width: Annotated[int, about("Channels of every hidden layer", ge=4)] = 48
    fgs1_layers: Annotated[int, about("State-space layers over the FGS1 time series", ge=1)] = 2
    state_size: Annotated[int, about("Hidden states per channel of a state-space layer", ge=1)] = 8
    airs_layers: Annotated[int, about("Graph attention layers over the AIRS wavelengths", ge=1)] = 2
    heads: Annotated[int, about("Attention heads; divides the width", ge=1)] = 4
    neighbours: Annotated[int, about("Wavelengths on each side that a node is linked to", ge=1)] = 4
    dropout: Annotated[float, about("Dropout probability", ge=0, le=0.9)] = 0.1
    sigma_floor: Annotated[float, about("Smallest predicted uncertainty, in units of (Rp/Rs)^2", gt=0)] = 1e-5
    residual: Annotated[bool, about("Predict the residual to a transit fit instead of the whole spectrum")] = True

    def contradictions(self) -> Iterator[Contradiction]:
        """Attention splits the width evenly among its heads."""
        yield from super().contradictions()
        if self.width % self.heads:
            yield Contradiction("heads", f"heads ({self.heads}) does not divide width ({self.width})")

"""What a training step of a model costs, counted from its sizes without building it, and without torch.

The tests compare the counts with the model itself. Whoever changes a block's inner workings changes its line here.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from spectramind_config import ModelConfig, V50Config

NODES, RELATIONS, COMPONENTS = 282, 7, 41
"""AIRS channels, relations of their graph, and component spectra of the smoother."""
CHANNELS = NODES + 1
SYSTEM, SHAPE_WIDTH, REGIONS, SHARED, LIMB, RANGES = 7, 256, 8, 7, 5, 5
"""Features of star and depth, hidden channels of the head of spectral shapes, regions of sigma, errors that channels
share, parameters of limb darkening, and ranges of channels that are calibrated each by itself."""
TOKENS, TIME_BINS, POSITION = 32, 8, 17
"""Time bins of the encoded FGS1 curve and of an AIRS node, and what encodes a node's wavelength."""

NEIGHBOURS = 26
"""Most neighbours that a node has in the graph; on a CPU attention runs along its edges."""

SCAN_KEPT, SERIES_KEPT = 2.085, 20.1
"""Copies that a state-space layer keeps of its states in both directions, and of its (bins, width) series."""
MAPS_KEPT, NODES_KEPT, KEYS_KEPT = 1.0, 13.3, 13.0
"""Copies that a graph layer keeps of its (heads, nodes, neighbours) weights, (nodes, width) values, (nodes, heads)."""
FUSION_KEPT = 20.8
"""Copies of (nodes, width) that the cross-attentions and heads keep."""
SMOOTHER_KEPT, BINS_KEPT, OTHERS_KEPT = 58_600, 341, 29_000
"""Numbers that the smoother keeps, those for each time bin, and all that does not depend on the sizes."""
SCAN_KERNELS, SERIES_KERNELS, GRAPH_KERNELS, OTHER_KERNELS = 6, 112, 68, 518
"""Operations that a step starts: for each doubling of the time bins and each state-space layer, each graph layer, and
all others."""

FEWEST_SPECTRA = 24
"""Labels below which nothing is learnt from them without training."""
REHEARSAL_S = 7.5e-4
"""Seconds of a core for each time that the head of shapes rehearses a planet. Measured on a Xeon."""


@dataclass(frozen=True, kw_only=True)
class ModelCosts:
    """What a model costs; numbers are of 4 bytes.

    Attributes:
        parameters: Numbers that are trained.
        constants: Numbers that it holds besides.
        flops: Floating-point operations of a forward pass over one planet; a multiply-add is two.
        kept: Numbers that this pass keeps for the backward pass.
        maps: Those of them that are attention weights, which some kernels never store.
        kernels: Operations that a whole step starts, however many planets it sees.
        take_up_s: Seconds of a core that each training planet takes before the first step.
        take_up_from: Training planets below which it takes none.
    """

    parameters: int
    constants: int
    flops: float
    kept: float
    maps: float
    kernels: float
    take_up_s: float = 0.0
    take_up_from: int = 0


@functools.singledispatch
def model_costs(config: ModelConfig, bins: int) -> ModelCosts | None:
    """The costs of the model that a config describes, for light curves of ``bins`` time bins; dispatches on its type.

    None for a model that has registered none: nothing is predicted of it then.
    """
    return None


@model_costs.register
def _(config: V50Config, bins: int) -> ModelCosts:
    width, states, heads = config.width, config.state_size, config.heads
    rank = math.ceil(width / 16)
    selected = rank + 2 * states
    features = TIME_BINS + POSITION + (5 if config.residual else 2)
    hinted = width + (2 if config.residual else 0)
    attention, forward = 4 * width**2 + 3 * width, 4 * width**2 + 5 * width
    series = 3 * width**2 + 12 * width + width * (selected + rank + states)
    graph = 2 * width + attention + heads * (RELATIONS + 1) + forward
    parameters = 4 * width + config.fgs1_layers * series + width * (features + 1) + config.airs_layers * graph
    parameters += 2 * (2 * width + attention + forward) + 2 * hinted + hinted * width + width + 2 * (width + 1)
    constants = RANGES + (RELATIONS + 1) * NODES * (NODES + NEIGHBOURS) + NODES * POSITION
    flops_of_series = 6 * width**2 + 4 * width * (4 + selected + rank)
    flops_of_graph = 16 * NODES * width**2 + NODES * NEIGHBOURS * (4 * width + 2 * heads)
    fusion = (12 * NODES + 4 * TOKENS) * width**2 + 4 * NODES * TOKENS * width + 4 * NODES * width**2
    flops = config.fgs1_layers * bins * flops_of_series + float(config.airs_layers * flops_of_graph)
    flops += fusion + 2 * CHANNELS * hinted * width
    flops += 2 * NODES * (features * width + bins * TIME_BINS) + 2 * TOKENS * bins * width
    kept = config.fgs1_layers * bins * (SCAN_KEPT * 2 * width * states + SERIES_KEPT * width)
    maps = config.airs_layers * MAPS_KEPT * heads * NODES * NEIGHBOURS
    kept += maps + config.airs_layers * NODES * (NODES_KEPT * width + KEYS_KEPT * heads)
    kept += FUSION_KEPT * NODES * width + BINS_KEPT * bins + OTHERS_KEPT
    if config.residual:
        parameters += CHANNELS * (COMPONENTS + 1) + (width + SYSTEM + 1) * COMPONENTS + width + 1
        parameters += (2 * COMPONENTS + width + SYSTEM + 1) * SHAPE_WIDTH + (SHAPE_WIDTH + 1) * SHAPE_WIDTH
        parameters += (SHAPE_WIDTH + 1) * (COMPONENTS + 1 + REGIONS)
        constants += COMPONENTS + 3 + REGIONS * CHANNELS + 5 * LIMB
        solved = COMPONENTS + SHARED
        flops += 3 * CHANNELS * solved**2 + solved**3
        kept += SMOOTHER_KEPT
    kernels = config.fgs1_layers * (SERIES_KERNELS + SCAN_KERNELS * math.ceil(math.log2(bins)))
    kernels += OTHER_KERNELS + config.airs_layers * GRAPH_KERNELS
    return ModelCosts(
        parameters=parameters,
        constants=constants,
        flops=flops,
        kept=kept,
        maps=maps,
        kernels=kernels,
        take_up_s=config.rehearsals * REHEARSAL_S if config.residual else 0.0,
        take_up_from=FEWEST_SPECTRA,
    )

"""The graph of the AIRS wavelengths and attention along its edges.

Nodes are the 282 channels. Edges are of seven relations: neighbours in wavelength, a shared absorption band of one of
five molecules, and a shared region of the detector. A band or region of n nodes is not joined all to all: its members
are linked where their ranks within it differ by a power of two, which keeps n log n edges and puts any two members a
few hops apart.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spectramind_train.v50.attention import Attention, FeedForward

BANDS_UM: dict[str, tuple[tuple[float, float], ...]] = {
    "H2O": ((1.75, 2.05), (2.50, 2.95)),
    "CO2": ((1.94, 2.10), (2.65, 2.85)),
    "CH4": ((2.15, 2.45), (3.10, 3.60)),
    "CO": ((2.29, 2.42),),
    "NH3": ((1.92, 2.08), (2.15, 2.35), (2.85, 3.15)),
}
"""Near-infrared absorption bands within reach of AIRS-CH0, in micrometres.

Band centres from Tinetti, Encrenaz & Coustenis 2013 (A&A Rev 21:63) and HITRAN: H2O 1.87 and 2.66-2.73, CO2 2.01 and
2.69-2.77, CH4 2.3 and 3.31, CO 2.35 (first overtone), NH3 2.0, 2.2-2.3 and 2.9-3.0; the windows are their half-maximum
extents at moderate resolution, rounded outwards.
"""

REGION_COLUMNS = 47
"""Detector columns of one region: six equal regions make up the 282 AIRS columns."""

RELATIONS = ("proximity", *BANDS_UM, "region")


def in_band(wavelengths_um: NDArray[np.float64], molecule: str) -> NDArray[np.bool_]:
    """Which wavelengths lie in a band of the molecule, (N,) bool."""
    inside = np.zeros(wavelengths_um.shape, dtype=np.bool_)
    for low, high in BANDS_UM[molecule]:
        inside |= (low <= wavelengths_um) & (wavelengths_um <= high)
    return inside


def wavelength_graph(wavelengths_um: NDArray[np.float64], neighbours: int) -> NDArray[np.bool_]:
    """The adjacency of every relation.

    Args:
        wavelengths_um: (N,) ascending.
        neighbours: nodes on each side that count as near.

    Returns:
        (7, N, N) bool in the order of ``RELATIONS``, each symmetric and without self-loops.
    """
    count = len(wavelengths_um)
    index = np.arange(count)
    distance = np.abs(index[:, None] - index[None, :])
    groups = [[index[in_band(wavelengths_um, molecule)]] for molecule in BANDS_UM]
    groups.append([index[start : start + REGION_COLUMNS] for start in range(0, count, REGION_COLUMNS)])
    relations = np.zeros((len(RELATIONS), count, count), dtype=np.bool_)
    relations[0] = (distance > 0) & (distance <= neighbours)
    for relation, members_of_group in zip(relations[1:], groups, strict=True):
        for members in members_of_group:
            rank = np.arange(len(members))
            gap = np.abs(rank[:, None] - rank[None, :])
            relation[np.ix_(members, members)] = (gap > 0) & ((gap & (gap - 1)) == 0)
    return relations


class GraphAttentionLayer(nn.Module):
    """Attention of every node over itself and its neighbours, then a feed-forward block; (B, N, width) throughout.

    The logit of an edge is the scaled product of query and key (Vaswani et al. 2017) plus one learned bias per head for
    each relation the edge belongs to, and a learned multiple of the neighbour's log precision, so that a head can
    average noisy channels as a weighted mean would. Attention is computed densely and masked: with 282 nodes of about
    30 edges that is faster than gathering neighbours.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.relation_bias = nn.Parameter(torch.zeros(heads, len(RELATIONS)))
        self.precision_bias = nn.Parameter(torch.linspace(0.0, 0.5, heads))
        self.feed_forward = FeedForward(width, dropout)

    def forward(self, x: Tensor, relations: Tensor, forbidden: Tensor, log_precision: Tensor) -> Tensor:
        """Update nodes, given adjacencies (7, N, N), 0 or -inf per pair (N, N), and log precisions (B, N)."""
        bias = torch.einsum("hr,rij->hij", self.relation_bias, relations) + forbidden
        key_bias = self.precision_bias[:, None] * log_precision.unsqueeze(1)
        normed = self.norm(x)
        x = x + self.attention(normed, normed, bias, key_bias)
        result: Tensor = self.feed_forward(x)
        return result


class GraphEncoder(nn.Module):
    """Layers of graph attention over the wavelengths.

    Args:
        wavelengths_um: the nodes' wavelengths, (N,) ascending.
        width: channels of a node.
        layers: number of layers.
        heads: attention heads; divides the width.
        neighbours: wavelengths on each side that a node is linked to.
        dropout: dropout probability.
    """

    def __init__(
        self,
        wavelengths_um: NDArray[np.float64],
        *,
        width: int,
        layers: int,
        heads: int,
        neighbours: int,
        dropout: float,
    ) -> None:
        super().__init__()
        relations = wavelength_graph(wavelengths_um, neighbours)
        linked = relations.any(axis=0) | np.eye(len(wavelengths_um), dtype=np.bool_)
        forbidden = np.where(linked, 0.0, -np.inf)
        self.relations: Tensor
        self.forbidden: Tensor
        self.register_buffer("relations", torch.tensor(relations, dtype=torch.float32), persistent=False)
        self.register_buffer("forbidden", torch.tensor(forbidden, dtype=torch.float32), persistent=False)
        self.layers = nn.ModuleList(GraphAttentionLayer(width, heads, dropout) for _ in range(layers))

    def forward(self, nodes: Tensor, log_precision: Tensor) -> Tensor:
        """Encode nodes (B, N, width), given their standardised log precisions (B, N)."""
        for layer in self.layers:
            nodes = layer(nodes, self.relations, self.forbidden, log_precision)
        return nodes

"""Where the network computes in full precision, whatever autocast does to the layers around."""

from __future__ import annotations

import torch


def full_precision(device: torch.device) -> torch.autocast:
    """A context without autocast; a tensor without memory, by which a model's room is counted, is as one of the CPU."""
    return torch.autocast("cpu" if device.type == "meta" else device.type, enabled=False)

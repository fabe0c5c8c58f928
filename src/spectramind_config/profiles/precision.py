"""The automatic choice of numeric precision."""

from __future__ import annotations


def pick_precision(requested: str, cuda_cap_bf16: bool, cuda_cap_fp16: bool) -> str:
    """The precision to train with.

    Args:
        requested: ``auto-mixed`` or an explicit precision, which is returned as it is.
        cuda_cap_bf16: Whether the device computes in bfloat16.
        cuda_cap_fp16: Whether the device computes in float16.

    Returns:
        ``bf16-mixed`` where possible, else ``16-mixed``, else ``32``.
    """
    if requested == "auto-mixed":
        if cuda_cap_bf16:
            return "bf16-mixed"
        if cuda_cap_fp16:
            return "16-mixed"
        return "32"
    return requested

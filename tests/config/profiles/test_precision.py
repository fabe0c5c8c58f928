"""The automatic choice of precision: the specification's function over its whole matrix."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import spectramind_config as sc

MATRIX = [
    # requested, bf16 able, fp16 able, chosen
    ("auto-mixed", True, True, "bf16-mixed"),
    ("auto-mixed", True, False, "bf16-mixed"),
    ("auto-mixed", False, True, "16-mixed"),
    ("auto-mixed", False, False, "32"),
    *(
        (requested, bf16, fp16, requested)
        for requested in ("bf16-mixed", "16-mixed", "32")
        for bf16 in (True, False)
        for fp16 in (True, False)
    ),
]


@pytest.mark.parametrize(("requested", "bf16", "fp16", "chosen"), MATRIX)
def test_the_whole_matrix(requested: str, bf16: bool, fp16: bool, chosen: str) -> None:
    """Bf16 is preferred to fp16, fp16 to full precision; an explicit request is kept whatever the device can do."""
    assert sc.pick_precision(requested, cuda_cap_bf16=bf16, cuda_cap_fp16=fp16) == chosen
    assert sc.pick_precision(requested, bf16, fp16) == chosen


@given(st.text(), st.booleans(), st.booleans())
def test_an_explicit_request_is_returned_as_it_is(requested: str, bf16: bool, fp16: bool) -> None:
    """Only auto-mixed is replaced, and choosing twice changes nothing."""
    chosen = sc.pick_precision(requested, bf16, fp16)
    if requested != "auto-mixed":
        assert chosen == requested
    assert sc.pick_precision(chosen, bf16, fp16) == chosen

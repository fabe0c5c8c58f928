"""A run repeated by processes of its own, from what its manifest says."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Fault, Start


@pytest.mark.parametrize(
    "elsewhere", ["same cache", "cold cache", "another folder", "other threads in the environment"]
)
def test_a_run_is_reproduced_bit_for_bit(
    elsewhere: str, tiny: list[str], start: Start, fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On its own host: with what is cached, with all made anew, from another folder, with OMP_NUM_THREADS changed."""
    run = tmp_path / "outputs" / "run_manifest.json"
    assert start("train", *tiny).wait() == 0
    (tmp_path / "there").mkdir()
    overrides = [f"local.cache_dir='{tmp_path / 'cache'}'"] if elsewhere == "cold cache" else []
    if elsewhere == "another folder":
        monkeypatch.chdir(tmp_path / "there")
    if elsewhere.startswith("other threads"):
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with fault("a run repeated on its host"):
        process = start("reproduce", str(run), *overrides)
        output, error = process.communicate()
        assert process.returncode == 0, output + error
        assert "are equal bit for bit" in output

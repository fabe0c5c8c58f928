"""A profile for one machine, in a file that ``--profiles`` or ``SM_PROFILES`` names."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(params=["site_profile.py", "README.md"])
def file(request: pytest.FixtureRequest, examples: Path, tmp_path: Path) -> Path:
    """The example, and the profile that the README has for it."""
    if request.param != "README.md":
        return examples / request.param
    readme = (examples.parent / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    copy = tmp_path / "lab.py"
    copy.write_text(block, encoding="utf-8")
    return copy


def test_the_flag_selects_it(spectramind: Run, file: Path) -> None:
    """``--profiles FILE`` makes ``local=workstation_3090`` a choice, which wins over the trainer's precision."""
    done = spectramind(
        "config", "show", "trainer=multi_gpu", "local=workstation_3090", "--profiles", file, SM_CACHE_DIR="/c"
    )
    assert done.returncode == 0, done.stderr
    shown = yaml.safe_load(done.stdout)
    assert (shown["devices"], shown["precision"], shown["strategy"]) == (2, "bf16-mixed", "ddp")
    assert (shown["paths"]["data_root"], shown["paths"]["cache_dir"]) == ("/data/ariel", "/c")
    assert shown["max_epochs"] == 60


def test_the_variable_selects_it(spectramind: Run, file: Path) -> None:
    """So does ``SM_PROFILES``, and the origin of a value is its line in the file."""
    done = spectramind("config", "explain", "precision", "local=workstation_3090", SM_PROFILES=file)
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "precision:" in text)
    assert done.returncode == 0, done.stderr
    assert f"set by:   local=workstation_3090, Workstation, {file.name}:{line}" in done.stdout


def test_its_docstring_is_listed(spectramind: Run, file: Path) -> None:
    """``profiles list`` describes it in its own words."""
    listed = spectramind("profiles", "list", "--profiles", file).stdout
    assert re.search(rf"^local +workstation_3090 +{file.name} +Two RTX 3090 under the desk\.$", listed, re.MULTILINE)


def test_a_slip_in_the_file_is_told(spectramind: Run, file: Path, tmp_path: Path) -> None:
    """A wrong value is refused with its file and line, before anything starts."""
    slip = tmp_path / "slip.py"
    slip.write_text(file.read_text().replace('"bf16-mixed"', '"bf17-mixed"'))
    done = spectramind("config", "validate", "local=workstation_3090", "--profiles", slip)
    assert done.returncode == 2
    assert "slip.py" in done.stderr
    assert "bf17-mixed" in done.stderr

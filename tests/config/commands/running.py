"""A ``config`` command as the tests run it."""

from __future__ import annotations

import pytest

from spectramind_train.cli import main

HPC = ["trainer=multi_gpu", "local=hpc", "local.devices=8"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a ``config`` command."""
    code = main(["config", *arguments])
    found = capsys.readouterr()
    return code, found.out, found.err

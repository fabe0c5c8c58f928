"""What a test of profiles from elsewhere leaves behind is forgotten."""

from collections.abc import Iterator

import pytest

from ..engine import VARIABLE, load


@pytest.fixture(autouse=True)
def unload(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Starts without a variable, and afterwards forgets what a test loaded."""
    monkeypatch.delenv(VARIABLE, raising=False)
    yield
    monkeypatch.delenv(VARIABLE, raising=False)
    load()

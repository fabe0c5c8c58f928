"""What the tests of roots share: a clean environment, and a register that forgets."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from spectramind_config.schema.registry import REGISTRY

settings.register_profile(
    "roots",
    deadline=None,
    derandomize="SPECTRAMIND_EXAMPLES" not in os.environ,
    max_examples=int(os.environ.get("SPECTRAMIND_EXAMPLES", "60")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the person who runs the tests reaches a profile."""
    for name in ("SM_CACHE_DIR", "SM_OUTPUT_DIR", "SM_DATA_ROOT", "SM_MLFLOW_DIR", "SM_PROFILES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def forget() -> Iterator[None]:
    """Forget, afterwards, what a test registers."""
    before = REGISTRY._known
    yield
    REGISTRY._known = before

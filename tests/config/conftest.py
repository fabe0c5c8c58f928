"""What the tests of composition share: a clean environment, Hypothesis profiles and generators of overrides."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from spectramind_config.schema.fields import Leaf
from spectramind_config.schema.registry import REGISTRY

from .engine import LEAVES, profiles

settings.register_profile(
    "spectramind",
    deadline=None,
    derandomize="SPECTRAMIND_EXAMPLES" not in os.environ,
    max_examples=int(os.environ.get("SPECTRAMIND_EXAMPLES", "150")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("spectramind")

CHOICES = {group: sorted(named) for group, named in profiles().items()}

# Settings whose valid values do not follow from their declaration alone, as texts of the command line.
SPECIAL = {
    "trainer.max_time": st.sampled_from(["null", "00:00:01", "08:30:00", "12:30:00", "100:00:00", "9h", "1h30m"]),
    "local.devices": st.sampled_from(["auto", "cpu", "mps", "1", "8"]),
    "local.precision": st.sampled_from(["auto-mixed", "bf16-mixed", "16-mixed", "32"]),
    "local.dev.limit_train_batches": st.sampled_from(["null", "0", "1", "10", "0.1", "1.0"]),
    "local.dev.limit_val_batches": st.sampled_from(["null", "0", "1", "10", "0.1", "1.0"]),
    "local.dev.limit_test_batches": st.sampled_from(["null", "0", "1", "10", "0.1", "1.0"]),
    "model.width": st.integers(1, 64).map(lambda width: str(4 * width)),
    "model.heads": st.sampled_from(["1", "2", "4"]),
    "data.calibration.airs_dark_seconds": st.sampled_from(["null", "[0.1,4.5]", "[0, 60.0]"]),
    "data.calibration.fgs1_dark_seconds": st.sampled_from(["[0.1,0.2]", "[ 1, 2 ]"]),
    "data.calibration.airs_rows": st.sampled_from(["[8,24]", "[0,32]", "[ 4, 30 ]"]),
    "data.calibration.fgs1_rows": st.sampled_from(["[10,22]", "[0,32]"]),
    "data.simulation.airs_frames": st.integers(20, 5625).map(lambda pairs: str(2 * pairs)),
    "optimizer.betas": st.sampled_from(["[0.9,0.999]", "[0.5,0.9]", "[0.0,1e-3]"]),
}
WORDS = st.sampled_from(
    [
        "a",
        "a/b",
        "/x.y-z_1",
        "7",
        "0.5",
        "1.10",
        "7e12345",
        "010",
        "true",
        "on",
        "'a b'",
        "'it\\'s'",
        "'x=1,y:2'",
        "'é'",
        "a@b",
        "a b",
    ]
)
# Settings that contradict, or are hidden by, others; they have tests of their own.
ENTANGLED = ("trainer.precision", "trainer.dev.", "local.persistent_workers", "local.num_workers.")
ENTANGLED += ("local.dev.overfit_batches", "local.dev.fast_dev_run")
SETTABLE = [path for path in LEAVES if not path.endswith(".name") and not path.startswith(ENTANGLED)]


def limits(leaf: Leaf) -> tuple[float, float]:
    """The smallest and the largest number that a setting takes."""
    limits = [limit for kind in leaf.type.kinds for limit in kind.limits]
    low = max((bound for name, bound in limits if name in ("ge", "gt")), default=0)
    high = min((bound for name, bound in limits if name in ("le", "lt")), default=2**32 - 1)
    return low, high


def texts(path: str) -> st.SearchStrategy[str]:
    """Valid values of a setting as the command line writes them."""
    leaf = LEAVES[path]
    if path in SPECIAL:
        return SPECIAL[path]
    kinds = [kind.type for kind in leaf.type.kinds]
    if leaf.type.choices:
        return st.sampled_from(leaf.type.choices)
    if bool in kinds:
        return st.sampled_from(["true", "false", "True", "FALSE"])
    low, high = limits(leaf)
    if int in kinds:
        return st.integers(int(low), int(min(high, 2**32 - 1))).map(str)
    if float in kinds:
        return st.floats(low + 1e-6, min(high, 1e6)).map(repr) | st.just(
            str(int(low + 1)) if low + 1 <= high else "1e-3"
        )
    return WORDS


def setting(path: str) -> st.SearchStrategy[str]:
    """A valid override of one setting."""
    return texts(path).map(lambda text: f"{path}={text}")


@pytest.fixture(scope="session")
def valid_choices() -> st.SearchStrategy[list[str]]:
    """A choice of profile for some of the groups."""
    subsets = st.lists(st.sampled_from(sorted(CHOICES)), unique=True, max_size=4)
    return subsets.flatmap(
        lambda groups: st.tuples(
            *(st.sampled_from(CHOICES[group]).map(lambda name, group=group: f"{group}={name}") for group in groups)
        ).map(list)
    )


@pytest.fixture(scope="session")
def valid_settings() -> st.SearchStrategy[list[str]]:
    """Valid overrides of different settings, in any order, none of which hides or contradicts another."""
    paths = st.lists(st.sampled_from(SETTABLE), unique=True, max_size=6)
    return paths.flatmap(lambda found: st.tuples(*map(setting, found)).map(list))


@pytest.fixture(scope="session")
def valid_pair() -> st.SearchStrategy[tuple[str, str, str]]:
    """A setting's path and two valid overrides of it."""
    return st.sampled_from(SETTABLE).flatmap(lambda path: st.tuples(st.just(path), setting(path), setting(path)))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the person who runs the tests reaches a profile, nor does the size of their terminal."""
    for name in ("SM_CACHE_DIR", "SM_OUTPUT_DIR", "SM_DATA_ROOT", "SM_MLFLOW_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def forget() -> Iterator[None]:
    """Forget, afterwards, the profiles that a test registers."""
    before = REGISTRY._known
    yield
    REGISTRY._known = before

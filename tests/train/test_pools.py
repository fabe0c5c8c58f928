"""Work spread over processes."""

from __future__ import annotations

import os

import pytest

from spectramind_config import ConfigError
from spectramind_train.run.pools import spread


@pytest.mark.parametrize("workers", [1, 2, 9])
def test_every_job_is_done_once(workers: int) -> None:
    """Results come with the number of their job, whatever the order."""
    assert dict(spread(divmod, [(7, 2), (9, 4), (5, 5)], workers, purpose="divides")) == {
        0: (3, 1),
        1: (2, 1),
        2: (1, 0),
    }


def test_no_job_is_no_work() -> None:
    """Nothing to do starts nothing."""
    assert list(spread(divmod, [], 4, purpose="divides")) == []


def test_a_dead_process_is_one_message() -> None:
    """A worker that the kernel kills ends the work with a message that says what it was about."""
    with pytest.raises(ConfigError, match="a process that ends planets died, most likely for lack of memory; 2 worked"):
        list(spread(os._exit, [(1,), (1,)], 2, purpose="ends"))


def test_errors_are_passed_on() -> None:
    """What a job raises arrives as it is."""
    with pytest.raises(ZeroDivisionError):
        list(spread(divmod, [(1, 0), (1, 1)], 2, purpose="divides"))

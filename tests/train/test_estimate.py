"""Predictions: what they add up to, how they grow, and what is refused or doubted because of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from spectramind_config import ConfigError, DataConfig, EffectiveConfig, compose
from spectramind_config.host import Host
from spectramind_train.planning.duration import CPU_FACTOR, PROBED_FACTOR, TIME_FACTOR, Time
from spectramind_train.planning.estimate import Estimate, Measured, estimate
from spectramind_train.planning.memory import doubt, require_fit
from spectramind_train.run.hosts import host_of
from spectramind_train.run.plan import plan


def predicted(host: str, *overrides: str, **options: Any) -> Estimate:
    """What is predicted of overrides on a named host."""
    config, there = compose(overrides), host_of(host)
    found = estimate(config, plan(config, there), there, **options)
    assert found is not None
    return found


def timed(host: str, *overrides: str, **options: Any) -> Time:
    """The times of it."""
    found = predicted(host, *overrides, **options).time
    assert found is not None
    return found


def test_memory_is_the_sum_of_its_parts_and_grows_with_the_batch() -> None:
    """Weights, gradients and optimizer stay; what a batch keeps grows with it, up to what the data set has."""
    one, two = (predicted("laptop", f"data.batch_size={batch}", planets=1000) for batch in (8, 16))
    assert two.memory.activations == 2 * one.memory.activations
    assert (one.memory.weights, one.memory.optimizer) == (two.memory.weights, two.memory.optimizer)
    parts = dataclasses.asdict(one.memory)
    assert one.memory.total == sum(parts.values()) - parts["limit"]
    small, all_there_are = (predicted("laptop", f"data.batch_size={batch}", planets=10) for batch in (6, 600))
    assert small.memory == all_there_are.memory


def test_the_largest_batch_fits_and_one_more_does_not() -> None:
    """By its own prediction; what does not fit is doubted, with the batch that does."""
    most = predicted("1xT4", planets=10**5).largest_batch
    assert most is not None
    fits, too_large = (predicted("1xT4", f"data.batch_size={batch}", planets=10**5) for batch in (most, most + 1))
    assert fits.memory.total <= fits.memory.limit < too_large.memory.total
    assert doubt(fits.memory, fits.largest_batch) == ""
    assert doubt(too_large.memory, too_large.largest_batch).endswith(f"data.batch_size={most} does")


def test_mixed_precision_takes_less() -> None:
    """Of what is kept, and of time where the arithmetic counts."""
    full, half = (predicted("1xA100", f"local.precision={one}", "data.batch_size=512") for one in ("32", "bf16-mixed"))
    assert half.memory.activations < full.memory.activations
    assert full.time is not None
    assert half.time is not None
    assert half.time.step_s <= full.time.step_s


@pytest.mark.parametrize(
    ("host", "overrides", "limit"),
    [
        ("1xT4", ["model.width=8192"], "a Tesla T4 has 16.1 GB"),
        ("1xA100", ["data.batch_size=100000"], "a NVIDIA A100-SXM4-80GB has 85.9 GB"),
        ("laptop", ["data.batch_size=9000"], "laptop has 16 GB"),
        ("laptop", ["trainer=ddp_sim", "data.batch_size=9000"], "laptop has 8 GB for each of 2 processes"),
        ("mac", ["model.width=16384"], "mac has 16 GB"),
    ],
)
def test_what_cannot_fit_is_refused_with_a_batch_that_may(host: str, overrides: list[str], limit: str) -> None:
    """The command to run instead is not refused; where no batch helps, the model is to blame."""
    there, config = host_of(host), compose(overrides)
    with pytest.raises(ConfigError) as caught:
        require_fit(config, plan(config, there), there, 10**6)
    message = str(caught.value)
    assert "cannot fit into memory" in message
    assert limit in message
    instead = caught.value.corrected()
    if instead is None:
        assert "make the model smaller" in message
    else:
        config = compose(instead)
        require_fit(config, plan(config, there), there, 10**6)


def test_what_is_unknown_is_not_refused() -> None:
    """A GPU of unknown memory, and data that only their reader knows."""
    config = compose(["data.batch_size=100000"])
    host = Host(name="box", gpus=("Tesla T4",), cuda_fp16=True, cores=4)
    require_fit(config, plan(config, host), host, 10**6)
    found = estimate(config, plan(config, host), host)
    assert found is not None
    assert (found.largest_batch, found.memory.limit) == (None, 0)
    object.__setattr__(config, "data", DataConfig())
    require_fit(config, plan(config, host), host)
    assert estimate(config, plan(config, host), host) is None


def test_an_unknown_gpu_has_no_time() -> None:
    """But for one that was measured."""
    config = compose([])
    host = Host(name="box", gpus=("GeForce GT 710",), cuda_fp16=True, cores=4)
    found = estimate(config, plan(config, host), host)
    assert found is not None
    assert found.time is None
    probed = estimate(config, plan(config, host), host, measured=Measured(step_s=0.5, peak=10**9))
    assert probed is not None
    assert probed.time is not None
    assert (probed.time.step_s, probed.memory.total) == (0.5, 10**9)


def test_how_far_off_a_time_may_be_is_said() -> None:
    """Twice for the CPU here, three times for a host elsewhere, a quarter after a probe."""
    assert timed("laptop").factor == TIME_FACTOR
    assert timed("laptop", here=True).factor == CPU_FACTOR
    probed = predicted("laptop", here=True, measured=Measured(step_s=0.25, peak=2 * 10**9))
    assert probed.time is not None
    assert (probed.time.factor, probed.time.step_s) == (PROBED_FACTOR, pytest.approx(0.25))
    assert (probed.memory.total, probed.memory_factor) == (2 * 10**9, PROBED_FACTOR)


def test_larger_takes_longer_and_faster_takes_less() -> None:
    """A wider model, a larger batch, an accumulated step; another device."""
    shipped = timed("laptop", planets=1100).step_s
    for override in ("model.width=96", "data.batch_size=16", "local.accumulate_grad_batches=2", "model.fgs1_layers=4"):
        assert timed("laptop", override, planets=1100).step_s > 1.2 * shipped
    big = ["model.width=512", "data.batch_size=256"]
    times = [timed(host, *big, planets=10**4).step_s for host in ("1xH100", "1xA100", "1xT4", "laptop")]
    assert times == sorted(times)


def test_epochs_are_those_that_time_and_caps_allow() -> None:
    """``max_time`` leaves room for start and end; ``max_steps`` and ``max_epochs`` cap."""
    whole = timed("laptop", "local.max_epochs=1000")
    assert whole.epochs == 1000
    timely = timed("laptop", "local.max_epochs=1000", "trainer.max_time=00:02:00")
    assert 0 < timely.epochs < 1000
    assert timely.run_s <= 120 < timely.run_s + timely.epoch_s
    assert timed("laptop", "trainer.max_time=00:00:20").epochs == 0
    whole_set, plain = (timed("laptop", one, planets=1100) for one in ("model.residual=true", "model.residual=false"))
    assert whole_set.run_s - whole_set.epochs * whole_set.epoch_s > 60 + plain.run_s - plain.epochs * plain.epoch_s
    assert timed("laptop", f"trainer.max_steps={2 * whole.steps}").epochs == 2
    assert timed("laptop", "local=debug").epochs == 1
    assert timed("laptop", "local.dev.limit_train_batches=2", planets=1100).steps == 2


def test_scaling_doubles_up_to_what_is_planned() -> None:
    """An epoch gets shorter with each, and no number of devices is better than ideal."""
    eight = timed("8xA100", "trainer=multi_gpu", "local=hpc", "local.devices=8", planets=1100).scaling
    assert [row.devices for row in eight] == [1, 2, 4, 8]
    assert [row.epoch_s for row in eight] == sorted((row.epoch_s for row in eight), reverse=True)
    assert eight[0].efficiency == 1
    assert all(0 < row.efficiency <= 1 for row in eight)
    shared = timed("laptop", "trainer=ddp_sim", "trainer.cpu_processes=4", planets=1100).scaling
    assert [row.devices for row in shared] == [1, 2, 4]
    assert shared[-1].efficiency < 0.6  # Cores are shared.


def test_nodes_are_slower_to_talk() -> None:
    """Two nodes of four GPUs take longer for a step than eight GPUs of one, and share the work less well than one."""
    there, config = host_of("8xA100"), compose(["trainer=multi_gpu", "local=hpc", "model.width=1024"])
    four = plan(config, there)

    def step(devices: int, nodes: int) -> Time:
        shape = dataclasses.replace(four, devices=devices, num_nodes=nodes)
        found = estimate(config, shape, there, planets=1100)
        assert found is not None
        assert found.time is not None
        return found.time

    eight, twice = step(8, 1), step(4, 2)
    assert twice.step_s > eight.step_s
    assert [(row.devices, row.nodes) for row in step(4, 3).scaling] == [(1, 1), (2, 1), (4, 1), (4, 2), (4, 3)]
    assert twice.scaling[-1].efficiency < twice.scaling[-2].efficiency


def test_room_on_disk_is_counted() -> None:
    """Of the cache, and of a simulated data set where there is no other."""
    simulated, there = predicted("laptop"), predicted("laptop", planets=72)
    assert simulated.cache == there.cache
    assert (simulated.simulated > 10**8, there.simulated) == (True, 0)


def test_a_config_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predicting touches no machine."""
    monkeypatch.setattr(Host, "detect", classmethod(lambda _: pytest.fail("asked")))
    config: EffectiveConfig = compose([])
    assert estimate(config, plan(config, host_of("mac")), host_of("mac"), planets=100) is not None

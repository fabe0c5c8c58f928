"""The plan of a run on machines that are not here."""

from __future__ import annotations

import pytest

from spectramind_config import ConfigError, compose
from spectramind_config.host import Host
from spectramind_train.run.plan import RunPlan, plan

A100 = Host(name="dgx", gpus=("NVIDIA A100",) * 8, cuda_bf16=True, cuda_fp16=True, cores=128)
T4 = Host(name="kaggle", gpus=("Tesla T4",), cuda_fp16=True, cores=4)
MAC = Host(name="mac", mps=True, mps_bf16=True, cores=8)
LAPTOP = Host(name="laptop", cores=4)
SPLITS = ("train", "val", "test")
LOST = Host(name="node7", cores=32, scheduler="slurm", allocated_gpus=True)
CPU_JOB = Host(name="node8", cores=32, scheduler="slurm")


def planned(host: Host, *overrides: str) -> RunPlan:
    """The plan of overrides on a host."""
    return plan(compose(overrides), host)


def refused(host: Host, *overrides: str) -> str:
    """The message of a plan that cannot be made."""
    with pytest.raises(ConfigError) as caught:
        planned(host, *overrides)
    return str(caught.value)


def test_eight_gpus_run_the_production_recipe() -> None:
    """``trainer=multi_gpu local=hpc local.devices=8`` takes all GPUs in bf16, sixteen cores each.

    All that the profile does not get are its loader workers, since planets lie in memory.
    """
    found = planned(A100, "trainer=multi_gpu", "local=hpc", "local.devices=8")
    assert (found.accelerator, found.devices, found.strategy) == ("cuda", 8, "ddp")
    assert (found.precision, found.sync_batchnorm, found.pin_memory) == ("bf16-mixed", True, True)
    assert (found.num_workers, found.threads, found.world_size) == ((0, 0, 0), 16, 8)
    assert [decision.setting for decision in found.decisions] == [f"num_workers.{name}" for name in SPLITS]


def test_auto_takes_one_gpu_unless_the_strategy_is_for_many() -> None:
    """The everyday trainer stays on one GPU and says how to use all; ddp takes all."""
    one = planned(A100)
    assert (one.devices, one.strategy, one.precision) == (1, "auto", "bf16-mixed")
    assert "trainer=multi_gpu" in (one.reason("devices") or "")
    assert planned(A100, "trainer=multi_gpu").devices == 8


def test_a_gpu_without_bf16_falls_back_to_fp16_or_refuses() -> None:
    """One T4: automatic precision is 16-mixed, bf16 asked for by name is an error with a remedy."""
    found = planned(T4, "trainer=kaggle_safe")
    assert (found.accelerator, found.precision) == ("cuda", "16-mixed")
    message = refused(T4, "local.precision=bf16-mixed")
    assert "Tesla T4" in message
    assert "local.precision=auto-mixed" in message


def test_more_gpus_than_there_are_is_an_error_with_the_number() -> None:
    """Four GPUs on a machine with one: no silent half."""
    assert "run instead: spectramind train local.devices=1" in refused(T4, "local.devices=4")


def test_a_mac_uses_metal() -> None:
    """Apple's GPU is taken automatically in full precision, in bf16 on request, and is only one."""
    found = planned(MAC)
    assert (found.accelerator, found.devices, found.precision) == ("mps", 1, "32")
    assert planned(MAC, "local.devices=mps", "local.precision=bf16-mixed").precision == "bf16-mixed"
    assert planned(MAC, "local.devices=1").accelerator == "mps"
    assert "local.devices=mps" in refused(MAC, "local=hpc")


def test_every_profile_can_be_tried_on_a_laptop() -> None:
    """A count of GPUs on a machine without any trains on the CPU and says so loudly."""
    found = planned(LAPTOP, "trainer=multi_gpu", "local=hpc", "local.devices=8")
    assert (found.accelerator, found.devices, found.strategy, found.num_nodes) == ("cpu", 1, "auto", 1)
    assert (found.sync_batchnorm, found.pin_memory, found.num_workers) == (False, False, (0, 0, 0))
    loud = [decision for decision in found.decisions if decision.loud]
    assert [(decision.setting, decision.requested, decision.effective) for decision in loud] == [("devices", 8, "cpu")]
    assert planned(LAPTOP, "local.devices=2", "local.precision=16-mixed").precision == "32"


def test_mps_and_fp16_are_refused_where_the_device_lacks_them() -> None:
    """A device or a precision asked for by name is never swapped for another."""
    assert "has no Apple GPU" in refused(LAPTOP, "local.devices=mps")
    assert "does not compute in it" in refused(LAPTOP, "local.precision=16-mixed")
    assert "does not compute in it" in refused(LAPTOP, "local.devices=cpu", "local.precision=16-mixed")


def test_a_job_whose_gpus_are_gone_fails_instead_of_crawling() -> None:
    """In a scheduler job missing GPUs are an error, even where the device is automatic."""
    assert "none is visible" in refused(LOST, "local=hpc")
    assert "none is visible" in refused(LOST)
    assert "has no GPU, and 4 are asked for" in refused(CPU_JOB, "local=hpc")
    assert planned(CPU_JOB).accelerator == "cpu"
    assert planned(LOST, "local.devices=cpu").accelerator == "cpu"


def test_a_gpu_that_is_there_and_cannot_be_used_is_never_replaced_by_the_cpu() -> None:
    """Neither where devices are automatic nor where they are counted; a CPU that is asked for is taken."""
    broken = Host(name="box", cores=8, unusable="1 x Tesla T4, but torch 2.13.0+cpu is built without CUDA")
    for overrides in ([], ["trainer=multi_gpu"], ["local.devices=1"], ["local=hpc"]):
        message = refused(broken, *overrides)
        assert "box has accelerators that cannot be used: 1 x Tesla T4, but torch 2.13.0+cpu" in message
        assert "local.devices=cpu" in message.partition("run instead: ")[2]
    assert planned(broken, "local.devices=cpu").accelerator == "cpu"
    assert planned(broken, "trainer=ddp_sim").devices == 2


def test_workers_of_zero_stay_zero() -> None:
    """No loader worker is started where none is asked for, and none is kept alive."""
    found = planned(LAPTOP, "local=debug")
    assert found.num_workers == (0, 0, 0)
    assert not found.persistent_workers


def test_loader_workers_are_for_those_who_name_them() -> None:
    """An override gets as many as there are cores for each process; what a profile says is told and not done."""
    found = planned(LAPTOP, "trainer=ddp_sim", "local.num_workers.train=8", "local.num_workers.val=1")
    assert (found.num_workers, found.persistent_workers) == ((2, 1, 0), True)
    assert "4 cores for 2 process(es)" in (found.reason("num_workers.train") or "")
    assert found.reason("num_workers.val") is None
    assert "lie in memory" in (found.reason("num_workers.test") or "")
    assert planned(LAPTOP, "local.num_workers={train: 3}").num_workers == (3, 0, 0)
    assert planned(LAPTOP, "local=hpc").num_workers == (0, 0, 0)


def test_epochs_that_a_quick_run_does_not_take_are_told() -> None:
    """Whoever asks for some learns that one batch is taken; a profile's own number is nobody's wish."""
    config = compose(["local=debug", "local.devices=cpu"])
    assert plan(config, LAPTOP).reason("max_epochs") is None
    (told,) = (one for one in plan(config.with_overrides(["local.max_epochs=40"]), LAPTOP).decisions if one.loud)
    assert (told.setting, told.requested, told.effective) == ("max_epochs", 40, 1)
    assert "dev.fast_dev_run" in told.reason


def test_every_difference_is_recorded_with_its_reason() -> None:
    """Requested and effective values of all that differs are in the plan."""
    found = planned(LAPTOP)
    reasons = {decision.setting: decision.reason for decision in found.decisions}
    assert set(reasons) == {"devices", "precision", "pin_memory", *(f"num_workers.{name}" for name in SPLITS)}
    assert all(reasons.values())


def test_several_nodes_are_planned_as_one_of_them_sees_them() -> None:
    """Where the CPU stands in for all GPUs there is one node anyway."""
    found = planned(A100, "trainer.num_nodes=2", "trainer=multi_gpu")
    assert (found.num_nodes, found.world_size) == (2, 2 * found.devices)
    assert found.strategy == "ddp"
    assert planned(LAPTOP, "trainer.num_nodes=2", "local=hpc").num_nodes == 1


def test_several_processes_share_a_cpu() -> None:
    """``trainer=ddp_sim`` plans two processes, or as many as are asked for, and deals the cores out to them."""
    found = planned(LAPTOP, "trainer=ddp_sim")
    assert (found.accelerator, found.devices, found.world_size, found.strategy) == ("cpu", 2, 2, "ddp")
    assert (found.threads, found.num_workers, found.sync_batchnorm) == (2, (0, 0, 0), False)
    assert planned(LAPTOP, "trainer.cpu_processes=8", "local.devices=cpu").threads == 1
    assert planned(LAPTOP, "trainer=ddp_sim", "trainer.cpu_processes=1").devices == 1


def test_a_simulation_of_processes_leaves_gpus_alone() -> None:
    """Where devices are automatic it takes the CPU, and says so where there is better; GPUs asked for are refused."""
    for host, loud in ((A100, True), (MAC, True), (LAPTOP, False), (LOST, False)):
        found = planned(host, "trainer=ddp_sim")
        assert (found.accelerator, found.devices) == ("cpu", 2)
        (decision,) = (one for one in found.decisions if one.setting == "devices")
        assert (decision.effective, decision.loud) == ("cpu", loud)
    for host in (A100, LAPTOP):
        message = refused(host, "trainer=ddp_sim", "local.devices=2")
        assert "trainer.cpu_processes=2 trains on the CPU" in message
        assert "run instead: spectramind train trainer=ddp_sim local.devices=cpu" in message
    assert "local.devices=cpu" in refused(MAC, "trainer=ddp_sim", "local.devices=mps")


def test_the_number_of_processes_is_science_on_a_cpu_too() -> None:
    """Each process takes a batch of its own; where the work runs is not science, how many share it is."""
    one, two = (compose([f"trainer.cpu_processes={count}"]) for count in (1, 2))
    assert one.science_fingerprint != two.science_fingerprint
    assert two.science_fingerprint == two.with_overrides(["local.devices=cpu"]).science_fingerprint


def test_too_few_open_files_for_the_loader_workers_are_refused() -> None:
    """The message says how many are needed, and how many workers can do; what it says can be run."""
    host = Host(name="mac", cores=16, files=90)
    said = " ".join(
        refused(host, "local.num_workers.train=2", "local.num_workers.val=4", "local.num_workers.test=1").split()
    )
    assert "num_workers.val=4: 4 loader workers take 152 open files, and a process may have 90" in said
    fewer = ["local.num_workers.train=1", "local.num_workers.val=1"]
    assert f"'ulimit -n 152' and start again, or take fewer: {' '.join(fewer)}" in said
    assert planned(host, *fewer, "local.num_workers.test=1").num_workers == (1, 1, 1)
    few = Host(name="mac", cores=16, files=40)
    none = refused(few, *fewer).rpartition("or take fewer:")[2].split()
    assert planned(few, *none).num_workers == (0, 0, 0)


def test_as_many_open_files_as_the_loader_workers_take_are_enough() -> None:
    """So is a limit that nobody knows."""
    two = [f"local.num_workers.{split}=2" for split in ("train", "val", "test")]
    assert planned(Host(name="mac", cores=16, files=108), *two).num_workers == (2, 2, 2)
    assert planned(Host(name="mac", cores=16), *two).num_workers == (2, 2, 2)

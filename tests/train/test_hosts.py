"""Hosts by name and from files, whoever wrote them."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from spectramind_config import ConfigError
from spectramind_config.host import Host
from spectramind_train.run.hosts import DEVICES, HOSTS, device_of, host_of, save_host


def refused(text: str) -> str:
    """The message about a host that is none."""
    with pytest.raises(ConfigError) as caught:
        host_of(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "gpus", "bf16", "cores"),
    [
        ("8xA100", ("NVIDIA A100-SXM4-80GB",) * 8, True, 128),
        ("4xH100", ("NVIDIA H100 80GB HBM3",) * 4, True, 56),
        ("1xT4", ("Tesla T4",), False, 2),
        ("t4x2", ("Tesla T4",) * 2, False, 4),
        ("rtx4090", ("NVIDIA GeForce RTX 4090",), True, 8),
        ("A100-40GBx2", ("NVIDIA A100-SXM4-40GB",) * 2, True, 32),
        ("laptop", (), False, 8),
    ],
)
def test_a_name_is_a_host(text: str, gpus: tuple[str, ...], bf16: bool, cores: int) -> None:
    """A number of GPUs before or behind their name, in any case; what a host has besides comes from a table."""
    host = host_of(text)
    assert (host.gpus, host.cuda_bf16, host.cores) == (gpus, bf16, cores)
    assert len(host.gpu_memory) == len(gpus)
    assert host.memory > 10**10


def test_a_mac_has_metal() -> None:
    """In bfloat16, as macOS 14 and newer."""
    host = host_of("mac")
    assert (host.mps, host.mps_bf16, host.gpus) == (True, True, ())
    found = device_of(host)
    assert found is not None
    assert found.name == "Apple M2"


@pytest.mark.parametrize("label", DEVICES)
def test_every_device_is_known_by_what_its_driver_calls_it(label: str) -> None:
    """Memory tells two of one name apart; figures are those of a GPU, and say where they come from."""
    device = DEVICES[label]
    assert device_of(host_of(f"2x{label}")) is device
    assert 1e13 < device.half < 1e15
    assert device.single <= device.half
    assert 1e11 < device.bandwidth < 1e13
    assert device.source.startswith("NVIDIA's data sheet; ")


def test_of_two_kinds_the_slower_counts_and_what_nobody_knows_is_none() -> None:
    """A part of a GPU (MIG) is no GPU of its name."""
    assert device_of(Host(name="a", gpus=("Tesla T4", "NVIDIA L4"))) is DEVICES["T4"]
    assert device_of(Host(name="a", gpus=("NVIDIA A100 80GB PCIe",), gpu_memory=(85 * 10**9,))) is DEVICES["A100"]
    for gpus in (("Tesla T4", "GeForce GT 710"), ("NVIDIA A100-SXM4-40GB MIG 1g.5gb",), ()):
        assert device_of(Host(name="a", gpus=gpus)) is None


@pytest.mark.parametrize(
    ("text", "nearest"),
    [("4xh10", "4xH100"), ("macc", "mac"), ("lap", "laptop"), ("2xA100x2", "2xA100"), ("rtx409", "1xRTX4090")],
)
def test_a_name_that_is_none_is_told_the_nearest(text: str, nearest: str) -> None:
    """And all that there are."""
    message = refused(text)
    assert f"--host {text}: there is no host of this name" in message
    assert f"nearest:  {nearest}\n" in message
    assert "A100-40GB" in message


def test_a_host_has_some_gpus_and_not_many() -> None:
    """More are several nodes."""
    for text in ("0xT4", "17xT4", "999999999xT4"):
        assert "a host has 1 to 16 GPUs" in refused(text)
    assert "there is no host" in refused("9" * 5000)
    assert "there is no host" in refused("\x1b[2J")


def test_a_host_file_gives_back_the_host(tmp_path: Path) -> None:
    """Every field; this machine, one that nobody has, and one in a job with a driver at fault."""
    job = Host(name="n7", scheduler="slurm", allocated_gpus=True, unusable="1 NVIDIA GPU(s), but no", cores=3)
    for number, host in enumerate([Host.detect(), host_of("8xA100"), HOSTS["mac"], job]):
        file = tmp_path / f"{number}.json"
        save_host(host, file)
        assert host_of(str(file)) == host
        assert set(json.loads(file.read_text())) == {"version", *(field.name for field in dataclasses.fields(Host))}


def write(file: Path, **values: Any) -> str:
    """A host file with these values; its name."""
    file.write_text(json.dumps({"version": 1, "name": "x", **values}))
    return str(file)


def test_all_mistakes_of_a_host_file_are_told_at_once(tmp_path: Path) -> None:
    """Names that do not exist with the nearest that does, types, ranges, unprintable text."""
    file = write(tmp_path / "a.json", coers=3, cores="4", gpus=["a\n"], memory=-3, mps=1, scheduler=7)
    message = refused(file)
    assert message.startswith("6 mistakes:")
    assert "a host has no 'coers'" in message
    assert "nearest:  cores" in message
    for words in ("cores: Expected `int`, got `str`", "gpus: at most", "memory: -3 is not from 0", "mps: Expected"):
        assert words in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[", "it is no host file"),
        ("[" * 100_000, "it is no host file"),
        ("1" * 4400, "it is no host file"),
        ("\0", "it is no host file"),
        ("null", 'a JSON object with "version": 1'),
        ('{"version": 2, "name": "x"}', 'a JSON object with "version": 1'),
        ('{"version": true, "name": "x"}', 'a JSON object with "version": 1'),
        ('{"version": 1}', "'name' is missing"),
        ('{"version": 1, "name": "x", "cores": 1.5}', "cores: Expected `int`"),
        ('{"version": 1, "name": "x", "cores": 0}', "cores: 0 is not from 1"),
        ('{"version": 1, "name": "x", "cores": 99999999999}', "is not from 1"),
        ('{"version": 1, "name": "x", "gpus": ["a"], "gpu_memory": [1, 2]}', "gpu_memory has 2 entries, and gpus 1"),
        ('{"version": 1, "name": "' + "x" * 2000 + '"}', "at most 1000 printable"),
        ('{"version": 1, "name": "x", "gpus": [' + '"a",' * 2000 + '"a"]}', "more than 1024"),
        (" " * 200_000, "more than 100000 bytes"),
    ],
)
def test_a_hostile_file_is_one_message(tmp_path: Path, content: str, words: str) -> None:
    """Whatever is in it."""
    file = tmp_path / "host.json"
    file.write_text(content)
    assert words in refused(str(file))


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    """A pipe, a folder, and nothing at all; nor is one put in the place of a folder or a pipe."""
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    assert "it is a pipe" in refused(str(pipe))
    assert "it is a folder" in refused(str(tmp_path))
    assert "there is no such file" in refused(str(tmp_path / "none.json"))
    for place in (pipe, tmp_path, pipe / "below"):
        with pytest.raises(ConfigError, match="cannot be written"):
            save_host(HOSTS["mac"], place)
    assert pipe.is_fifo()

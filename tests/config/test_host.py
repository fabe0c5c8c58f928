"""What is found out about a machine."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import cast

import pytest

from spectramind_config.host import Host

DRIVER = r"""
#include <string.h>
#include <stdlib.h>
#include <unistd.h>
/* A driver's library with three GPUs; DRIVER says what is special about them. */
static int is(const char *word) { const char *found = getenv("DRIVER"); return found && !strcmp(found, word); }
static const char *names[] = {"NVIDIA A100-SXM4-80GB", "Tesla T4", "NVIDIA A100-SXM4-80GB"};
static const char *uuids[] = {"GPU-aaaa", "GPU-bbbb", "GPU-cccc"};
typedef unsigned long handle;   /* 1 to 3 are GPUs; 10 and more parts of the first. */
const char *nvmlErrorString(int code) { return "an error"; }
int nvmlInitWithFlags(unsigned flags) {
    if (is("hangs")) for (;;) pause();
    return is("mismatched") ? 18 : 0;
}
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 3; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, handle *gpu) { *gpu = index + 1; return 0; }
int nvmlDeviceGetName(handle gpu, char *name, unsigned size) {
    const char *odd = is("escapes") ? "\033[2JT4" : is("bytes") ? "\377\376" : NULL;
    strcpy(name, odd ? odd : gpu < 10 ? names[gpu - 1] : "A100 MIG 1g.10gb");
    return 0;
}
int nvmlDeviceGetUUID(handle gpu, char *uuid, unsigned size) {
    strcpy(uuid, gpu < 10 ? uuids[gpu - 1] : gpu == 10 ? "MIG-1111" : "MIG-2222");
    return 0;
}
int nvmlDeviceGetMemoryInfo(handle gpu, unsigned long long *sizes) {
    sizes[0] = gpu == 2 ? 16000000000 : gpu < 10 ? 80000000000 : 10000000000;
    return 0;
}
int nvmlDeviceGetCudaComputeCapability(handle gpu, int *major, int *minor) {
    *major = gpu == 2 ? 7 : 8, *minor = gpu == 2 ? 5 : 0;
    return is("silent") ? 3 : 0;
}
int nvmlDeviceGetMigMode(handle gpu, unsigned *now, unsigned *next) {
    if (gpu == 2) return 3;
    *now = *next = gpu == 1 && is("divided");
    return 0;
}
int nvmlDeviceGetMaxMigDeviceCount(handle gpu, unsigned *count) { *count = 4; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(handle gpu, unsigned index, handle *part) {
    *part = index == 1 ? 10 : 11;
    return index == 1 || index == 3 ? 0 : 6;
}
"""
A100, T4, PART = "NVIDIA A100-SXM4-80GB", "Tesla T4", "A100 MIG 1g.10gb"
ASK = """\
import json, sys
from pathlib import Path
from spectramind_config import host
host._PATIENCE_S, host._DEVICE_FILES = float(sys.argv[1]), Path(sys.argv[2])
found = host.Host.detect()
print(json.dumps([found.gpus, found.gpu_memory, found.cuda_bf16, found.cuda_fp16, found.unusable]))
"""
Answer = tuple[list[str], list[int], bool, bool, str]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Answer]:
    """What is found where a driver has NVML: gpus, memory, bf16, fp16, unusable; pynvml itself asks it."""
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("there is no C compiler to build the stand-in for a driver")
    folder, other = (tmp_path_factory.mktemp(name) for name in ("driver", "other"))
    (folder / "nvml.c").write_text(DRIVER)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", folder / "nvml.c"], check=True)
    subprocess.run([compiler, "-shared", "-o", other / "libnvidia-ml.so.1", "-x", "c", os.devnull], check=True)
    (folder / "nvidia0").touch()
    (folder / "nvidiactl").touch()

    def ask(visible: str | None = None, kind: str = "", patience: float = 60.0) -> Answer:
        variables = {"LD_LIBRARY_PATH": str(other if kind == "empty" else folder), "DRIVER": kind}
        variables |= {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        if visible is not None:
            variables["CUDA_VISIBLE_DEVICES"] = visible
        command = [sys.executable, "-c", ASK, str(patience), str(folder)]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return cast("Answer", tuple(json.loads(done.stdout)))

    return ask


def test_this_machine_has_a_name_and_cores() -> None:
    """Detection works wherever the tests run, and never counts more cores than there are."""
    host = Host.detect()
    assert host.name
    assert 1 <= host.cores <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("visible", "names", "bf16"),
    [
        (None, [A100, T4, A100], False),
        ("0, 2", [A100, A100], True),
        ("GPU-bb", [T4], False),
        ("", [], False),
        ("-1", [], False),
        ("NoDevFiles", [], False),
        ("0,7,2", [A100], True),
    ],
)
def test_gpus_are_those_that_cuda_would_show(
    driver: Callable[..., Answer], visible: str | None, names: list[str], bf16: bool
) -> None:
    """CUDA_VISIBLE_DEVICES takes numbers and prefixes of UUIDs, and ends at the first invalid entry."""
    memory = [16_000_000_000 if name == T4 else 80_000_000_000 for name in names]
    assert driver(visible) == (names, memory, bf16, bool(names), "")


@pytest.mark.parametrize("visible", [None, "0", "GPU-aa", "MIG-1111", "1,MIG-1111"])
def test_of_a_divided_gpu_one_part_is_used(driver: Callable[..., Answer], visible: str | None) -> None:
    """Where CUDA sees a part (MIG) it uses that one alone, named by its own UUID or that of its GPU."""
    assert driver(visible, "divided") == ([PART], [10_000_000_000], True, True, "")


def test_a_gpu_beside_a_divided_one_is_used_where_it_is_named(driver: Callable[..., Answer]) -> None:
    """A list of whole GPUs names no part."""
    assert driver("2,1", "divided")[0] == [A100, T4]
    assert driver("MIG-3", "divided")[0] == []


def test_a_driver_may_keep_the_capability_to_itself(driver: Callable[..., Answer]) -> None:
    """The GPU is there all the same; that it computes in half precision is not promised."""
    assert driver("0", "silent") == ([A100], [80_000_000_000], False, False, "")


@pytest.mark.parametrize(
    ("kind", "patience", "words"),
    [
        ("mismatched", 60.0, "version mismatch"),
        ("hangs", 0.1, "does not answer"),
        ("bytes", 60.0, "can't decode"),
        ("empty", 60.0, "Function Not Found"),
    ],
)
def test_a_driver_at_fault_is_told(driver: Callable[..., Answer], kind: str, patience: float, words: str) -> None:
    """No GPU is promised, and what is there is not passed over either; where the user hides GPUs, none is missing."""
    *found, unusable = driver(None, kind, patience)
    assert found == [[], [], False, False]
    assert unusable.startswith("1 NVIDIA GPU(s), but the driver is at fault: ")
    assert words in unusable
    assert driver("", kind, patience)[-1] == ""


def test_a_name_cannot_command_a_terminal(driver: Callable[..., Answer]) -> None:
    """Escapes in what the driver says are shown as such."""
    assert driver("0", "escapes")[0] == ["\\x1b[2JT4"]


def test_what_a_container_may_use_is_known() -> None:
    """Memory is that of the machine, or of the container where that is less."""
    assert 10**8 < Host.detect().memory <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_a_scheduler_and_its_gpus_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SLURM job is recognised, and whether GPUs belong to it."""
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    assert (Host.detect().scheduler, Host.detect().allocated_gpus) == ("slurm", False)
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "4")
    assert Host.detect().allocated_gpus


def test_detection_imports_no_framework() -> None:
    """``spectramind plan`` answers quickly because finding out about the host needs no torch."""
    code = (
        "import sys; from spectramind_config.host import Host; Host.detect();"
        "print([name for name in ('torch', 'lightning', 'mlflow') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


def test_files_that_a_process_may_have_open_are_counted() -> None:
    """By the limit that ``ulimit -n`` sets."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (90, before[1]))
        assert Host.detect().files == 90
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

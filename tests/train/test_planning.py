"""``spectramind plan`` as it is typed: hosts, files, JSON, probes, and mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spectramind_config import compose
from spectramind_config.host import Host
from spectramind_train.cli import main
from spectramind_train.planning.probe import Probe, largest

BARE = """\
import sys
for name in ("torch", "numpy", "rich", "lightning", "scipy", "pyarrow", "mlflow"):
    sys.modules[name] = None
from spectramind_train.cli import main
sys.exit(main(sys.argv[1:]))
"""


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a plan that can be made says."""
    code = main(["plan", *arguments])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What one says that cannot."""
    code = main(["plan", *arguments])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    return err


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)


def test_a_host_that_is_not_here(capsys: pytest.CaptureFixture[str]) -> None:
    """The recipe for eight GPUs, with its predictions called that, and with how far off they may be."""
    out = said(capsys, "--host", "8xA100", "--planets", "1100", "trainer=multi_gpu", "local=hpc", "local.devices=8")
    assert out.startswith("8xA100: 8 x NVIDIA A100-SXM4-80GB of 85.9 GB, 128 CPU cores, 2.05 TB of memory\n")
    assert "devices      8 x cuda, 1 node(s)\n" in out
    assert "Predicted; memory may be 1.3 times as much or as little:\n" in out
    assert "Predicted; times may be 3 times as long or as short" in out
    assert "715/165/220 planets" in out
    assert len(out.partition("scaling")[2].splitlines()) == 5


def test_json_has_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Plan, host and prediction in numbers."""
    found: dict[str, Any] = json.loads(said(capsys, "--host", "t4x2", "trainer=multi_gpu", "--json"))
    assert found["plan"]["world_size"] == 2
    assert found["plan"]["precision"] == "16-mixed"
    assert found["plan"]["decisions"][0]["reason"]
    assert found["host"]["gpu_memory"] == [15360 * 2**20] * 2
    prediction = found["prediction"]
    assert prediction["memory"]["total"] < prediction["memory"]["limit"]
    assert prediction["time"]["scaling"][1]["devices"] == 2
    assert prediction["sizes"]["planets"] == 72


def test_without_the_training_packages() -> None:
    """With the config package's dependencies alone: a named host, this one, and a mistake."""
    for arguments, code in ((["--host", "4xH100", "local=hpc"], 0), (["--json"], 0), (["--host", "4xH10"], 2)):
        command = [sys.executable, "-c", BARE, "plan", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr


def test_a_saved_host_plans_as_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """Written here and read elsewhere."""
    here = said(capsys, "--save-host", "here.json", "--json", "local.devices=cpu")
    assert (
        json.loads(here)["plan"]
        == json.loads(said(capsys, "--host", "here.json", "--json", "local.devices=cpu"))["plan"]
    )
    said(capsys, "--host", "8xA100", "--save-host", "dgx.json")
    assert said(capsys, "--host", "dgx.json") == said(capsys, "--host", "8xA100")


def test_a_run_that_cannot_fit_says_so_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    """The command line that may, can."""
    err = refusal(capsys, "--host", "1xT4", "--planets", "100000", "data.batch_size=50000")
    assert "cannot fit into memory" in err
    words = err.partition("run instead: spectramind plan ")[2].split()
    assert said(capsys, *words).startswith("warning: this run most likely does not fit into memory")


@pytest.mark.parametrize("setting", ["model.width", "model.state_size", "model.rehearsals", "optimizer.lr"])
def test_a_number_beyond_all_sizes_is_a_mistake(setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One that no float can hold is told as any other that does not fit."""
    assert main(["plan", f"{setting}={10**400}"]) == 2
    assert f"see: spectramind config explain {setting}" in capsys.readouterr().err


def test_mistakes_are_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    """Names, numbers, flags that contradict each other, and what a host cannot do."""
    assert "nearest:  4xH100" in refusal(capsys, "--host", "4xh10")
    assert "a split takes at least 3" in refusal(capsys, "--planets", "2")
    assert "leave one of them out" in refusal(capsys, "--probe", "--host", "mac")
    assert "has 2 GPU(s), not 4" in refusal(capsys, "--host", "t4x2", "local=hpc", "local.precision=32")
    assert "does not compute in it" in refusal(capsys, "--host", "1xT4", "local.precision=bf16-mixed")


def test_a_gpu_that_torch_cannot_use_is_refused_by_plan_and_by_train(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One verdict, although a plan does not import torch; the build here has no CUDA."""
    import torch

    if torch.version.cuda is not None:
        pytest.skip("torch is built with CUDA here")
    host = Host(name="box", gpus=("Tesla T4",), gpu_memory=(16 * 10**9,), cuda_fp16=True, cores=4)
    monkeypatch.setattr(Host, "detect", classmethod(lambda _: host))
    planned = refusal(capsys)
    assert "box has accelerators that cannot be used: 1 x Tesla T4, but torch" in planned
    assert "run instead: spectramind plan local.devices=cpu" in planned
    assert main(["train"]) == 2
    assert capsys.readouterr().err.replace("spectramind train", "spectramind plan") == planned
    assert "no usable GPU: 1 x Tesla T4" in said(capsys, "local.devices=cpu")


def test_train_says_first_what_cannot_fit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any planet is simulated."""
    monkeypatch.setattr(Host, "detect", classmethod(lambda _: Host(name="tiny", cores=1, memory=5 * 10**7)))
    assert main(["train", "local.devices=cpu"]) == 2
    assert "tiny has 0.05 GB" in capsys.readouterr().err
    assert list(Path.cwd().iterdir()) == []


def test_a_probe_measures(capsys: pytest.CaptureFixture[str]) -> None:
    """A few steps in a process of their own, although the 47 planets fill but one; they leave nothing behind."""
    small = ["model.width=8", "data.simulation.airs_frames=40", "local.devices=cpu", "data.batch_size=100"]
    found = json.loads(said(capsys, "--probe", "--json", *small))["prediction"]
    assert found["time"]["factor"] == 1.25
    assert 0 < found["time"]["step_s"] < 100
    assert 10**8 < found["memory"]["total"] < 10**10
    assert list(Path.cwd().iterdir()) == []


def test_the_largest_batch_is_found_by_doubling_and_halving() -> None:
    """To a twentieth, with few trials; all of them where all fit, and none where none does."""
    for true in (1, 2, 7, 100, 999, 1000):
        tried: list[int] = []

        def fits(batch: int, true: int = true, tried: list[int] = tried) -> bool:
            tried.append(batch)
            return batch <= true

        found = largest(fits, 8, 1000)
        assert found <= true <= max(found + 1, 1.05 * found)
        assert len(tried) == len(set(tried)) <= 15
    assert largest(lambda _: True, 8, 1000) == 1000
    assert largest(lambda _: True, 3, 3) == 3
    assert largest(lambda _: False, 8, 1000) == 0


def test_steps_that_find_no_memory_do_not_fit() -> None:
    """Tried for real, in processes that may ask for a certain amount."""
    config = compose(["model.width=8", "data.simulation.airs_frames=40", "local.devices=cpu"])
    probe = Probe(config, 10_000, pytest.fail, address_space=6 * 10**9)
    assert probe.fits(4)
    assert not probe.fits(2500)


def test_a_batch_is_counted_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    """Within what is left now, and no more than there are planets."""
    flags = ["--probe-batch-size", "--json", "local.devices=cpu"]
    assert json.loads(said(capsys, *flags))["prediction"]["largest_batch"] == 47
    many = json.loads(said(capsys, *flags, "--planets", "1000000"))["prediction"]["largest_batch"]
    assert 0 <= many < 10**6

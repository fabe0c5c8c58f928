"""What labels tell by themselves is learnt before the first step: stopped within it, out of time, not finite."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spectramind_config import ConfigError, compose
from spectramind_config.host import Host
from spectramind_train.cli import main
from spectramind_train.learning import learner
from spectramind_train.run import clock, signals
from spectramind_train.run.directory import Run
from spectramind_train.run.plan import plan
from spectramind_train.run.terminal import Progressed, Terminal
from spectramind_train.training import train
from spectramind_train.v50 import network

from .test_resume import TINY, require_same, run_of


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifteen planets are enough to learn from."""
    monkeypatch.setattr(network, "FEWEST_SPECTRA", 10)


class Watched(Terminal):
    """A terminal that does something when the labels have been learnt from for a while."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self.act = act

    @contextmanager
    def progress(self, task: str) -> Iterator[Progressed]:
        """Report, and act."""
        with super().progress(task) as report:

            def told(done: int, total: int, words: str = "") -> None:
                report(done, total, words)
                if task == "learning what spectra look like" and done < total:
                    self.act()

            yield told


def taken_up(overrides: list[str], act: Callable[[], object]) -> None:
    """Train, and do something while the model takes up what labels tell."""
    config, host = compose(overrides), Host.detect()
    train(config, plan(config, host), host, Watched(act))


@pytest.mark.fault("a signal, or the end of the time, while the model learns from labels")
@pytest.mark.parametrize("number", list(signals.SIGNALS), ids=lambda number: number.name)
def test_a_run_that_is_stopped_there_begins_anew(
    number: signal.Signals, small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends at once, without a checkpoint; resumed, it ends as one that nothing interrupted, bit for bit."""
    overrides = [*small, *TINY, "local.max_epochs=1"]
    with pytest.raises(signals.Interrupted) as caught:
        taken_up([*overrides, f"local.output_dir={tmp_path}"], lambda: signal.raise_signal(number))
    assert caught.value.code == signals.SIGNALS[number]
    run = Run.open(tmp_path / "run_manifest.json")
    assert run.manifest.status == "interrupted"
    assert not run.checkpoints.exists()
    said = " ".join(capsys.readouterr().out.split())
    assert f"stopped by {number.name}; to go on: spectramind train --resume {run.path}" in said
    if number == signal.SIGINT:
        assert main(["train", "--resume", str(run.path)]) == 0
        assert f"resuming {run.path} from its start: it has no checkpoint" in " ".join(capsys.readouterr().out.split())
        whole = run_of(compose([*overrides, f"local.output_dir={tmp_path}/whole"]))
        require_same(Run.open(run.path), whole.run)


@pytest.mark.parametrize("command", ["predict", "evaluate", "report", "export"])
def test_such_a_run_has_no_weights_to_use(
    command: str, stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One message says so."""
    more = {"predict": ["--data", str(tmp_path)], "evaluate": [], "report": [], "export": []}[command]
    assert main([command, str(stopped), *more]) == 2
    said = capsys.readouterr()
    assert said.err.count("error: ") == 1
    assert "the run has no checkpoint; it is interrupted" in " ".join(said.err.split())


@pytest.fixture(scope="module")
def stopped(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was interrupted there."""
    folder = tmp_path_factory.mktemp("stopped")
    overrides = [*small, *TINY, f"local.output_dir={folder}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "FEWEST_SPECTRA", 10)
        with pytest.raises(signals.Interrupted):
            taken_up(overrides, lambda: signal.raise_signal(signal.SIGTERM))
    return Run.open(folder / "run_manifest.json").path


def test_an_ensemble_with_such_a_run_is_one_message(
    stopped: Path, trained: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run that lacks weights is named, and nothing is written."""
    table = stopped.parent / "table.csv"
    assert main(["predict", str(trained), str(stopped), "--data", str(root), "--out", str(table)]) == 2
    assert f"{stopped}: the run has no checkpoint" in " ".join(capsys.readouterr().err.split())
    assert not table.exists()


@pytest.mark.fault("a signal, or the end of the time, while the model learns from labels")
def test_there_is_not_time_enough(small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is told with the numbers, long before the time is over; what is kept for the end of a run is kept here."""
    monkeypatch.setattr(clock, "_SLOW_S", 0.0)
    monkeypatch.setattr(learner, "MARGIN_S", 1e6)
    config, host = compose([*small, *TINY, f"local.output_dir={tmp_path}"]), Host.detect()
    with pytest.raises(ConfigError, match=r"learning what spectra look like: 100 of 200 are done.*trainer\.max_time"):
        train(config, plan(config, host), host, Terminal(silent=True), deadline=time.time() + 1e5)
    run = Run.open(tmp_path / "run_manifest.json")
    assert run.manifest.status == "failed"
    assert "trainer.max_time" in str(run.manifest.error)


@pytest.mark.fault("a loss or gradient that is not finite")
@pytest.mark.parametrize("exponent", [25, 45], ids=["huge", "beyond single precision"])
def test_labels_out_of_proportion(
    exponent: int, small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights or labels that are no numbers end it before the first step: one message, exit code 2, status failed."""
    assert main(["train", *small, *TINY, "local.max_epochs=1", f"local.output_dir={tmp_path}/fill"]) == 0
    made = json.loads((tmp_path / "fill" / "run_manifest.json").read_bytes())["data"]["root"]
    data = Path(shutil.copytree(made, tmp_path / "data"))
    head, *rows = (data / "train.csv").read_text().splitlines()
    huge = [",".join([row.split(",")[0], *[f"{number}e{exponent}"] * 283]) for number, row in enumerate(rows, 1)]
    (data / "train.csv").write_text("\n".join([head, *huge, ""]))
    capsys.readouterr()
    own = [f"local.paths.data_root='{data}'", f"local.output_dir={tmp_path}/out"]
    assert main(["train", *small, *TINY, *own]) == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 1
    assert "learning what spectra look like" in said
    assert "not finite" in said
    assert Run.open(tmp_path / "out" / "run_manifest.json").manifest.status == "failed"

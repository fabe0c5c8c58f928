"""What training a model writes down about itself."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule

from spectramind_config import EffectiveConfig, compose
from spectramind_config.host import Host
from spectramind_train.learning.module import SpectrumModule
from spectramind_train.learning.stopping import Stop
from spectramind_train.run.directory import Run
from spectramind_train.run.plan import plan
from spectramind_train.run.terminal import Terminal
from spectramind_train.training import train

# Fifteen planets in batches of four are three whole batches and a shorter one, and two updates an epoch.
SETTINGS = (
    "model.width=8",
    "model.state_size=2",
    "data.batch_size=4",
    "local.max_epochs=3",
    "local.accumulate_grad_batches=3",
    "local.dev.log_every_n_steps=2",
    "local.num_workers={train: 0, val: 0, test: 0}",
    "local.persistent_workers=false",
    "trainer.log_grad_norm=true",
    "trainer.gradient_clip_val=0",
)


class Watched:
    """A training, with what its steps did as the steps themselves saw it."""

    def __init__(self) -> None:
        self.losses: list[list[tuple[float, int]]] = []
        self.norms: list[float] = []
        self.rows: list[dict[str, str]] = []
        self.output = ""

    def column(self, name: str) -> list[tuple[int, float]]:
        """Step and value of every entry of a column of ``metrics.csv``."""
        return [(int(row["step"]), float(row[name])) for row in self.rows if row.get(name)]


def run_of(config: EffectiveConfig, terminal: Terminal) -> Run:
    """The run of a config on this machine."""
    host = Host.detect()
    return train(config, plan(config, host), host, terminal).run


@pytest.fixture(scope="module")
def watched(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """Three epochs of a small model."""
    seen = Watched()
    step = SpectrumModule.training_step

    def training_step(self: SpectrumModule, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = step(self, batch, batch_idx)
        if batch_idx == 0:
            seen.losses.append([])
        seen.losses[-1].append((loss.item(), len(batch["target"])))
        return loss

    def before_step(_: Stop, __: object, module: LightningModule, ___: object) -> None:
        squares = [parameter.grad.square().sum() for parameter in module.parameters() if parameter.grad is not None]
        seen.norms.append(torch.stack(squares).sum().sqrt().item())

    outputs = tmp_path_factory.mktemp("outputs")
    terminal = Terminal()
    with pytest.MonkeyPatch.context() as patch, terminal.rich.capture() as output:
        patch.setattr(SpectrumModule, "training_step", training_step)
        patch.setattr(Stop, "on_before_optimizer_step", before_step, raising=False)
        run = run_of(compose([*small, *SETTINGS, f"local.output_dir={outputs}"]), terminal)
    seen.output = output.get()
    with (run.path / "metrics.csv").open() as file:
        seen.rows = list(csv.DictReader(file))
    return seen


def test_the_gradient_norm_is_written_at_every_logged_step(watched: Watched) -> None:
    """Of six updates every second is logged, accumulated gradients or not, with the norm that the step had."""
    assert len(watched.norms) == 6
    logged = watched.column("grad_norm")
    assert [step for step, _ in logged] == [1, 3, 5]
    assert [norm for _, norm in logged] == pytest.approx(watched.norms[1::2], rel=1e-5)
    assert [step for step, _ in watched.column("train_loss_step")] == [1, 3, 5]


def test_the_training_loss_of_an_epoch_is_the_mean_over_its_planets(watched: Watched) -> None:
    """In the table and in the printed line, a shorter last batch counts by its planets."""
    means = []
    for epoch in watched.losses:
        assert [planets for _, planets in epoch][-1] not in (0, 4)
        means.append(sum(loss * planets for loss, planets in epoch) / sum(planets for _, planets in epoch))
    assert len(means) == 3
    assert [loss for _, loss in watched.column("train_loss")] == pytest.approx(means, rel=1e-5)
    printed = [float(loss) for loss in re.findall(r"epoch +\d+  train loss +(\S+)", watched.output)]
    assert printed == pytest.approx(means, abs=1e-4)


def test_epochs_without_a_validation_are_reported_too(small: list[str], tmp_path: Path) -> None:
    """Every epoch has its line; the validation's numbers stand in those that had one."""
    terminal = Terminal()
    fewer = ["local.dev.check_val_every_n_epoch=2", "local.max_epochs=2", f"local.output_dir={tmp_path}"]
    with terminal.rich.capture() as output:
        run_of(compose([*small, *SETTINGS, *fewer]), terminal)
    first, second = re.findall(r"^epoch +\d+  train loss.*$", output.get(), flags=re.MULTILINE)
    assert "score" not in first
    assert "best so far" in second

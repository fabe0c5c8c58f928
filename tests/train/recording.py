"""Planets with simple contents, and a training that writes down which of them each process saw."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer

from spectramind_train.ariel.lightcurves import LightCurves
from spectramind_train.learning.batches import SpectraDataModule
from spectramind_train.planets.preparation import Planet
from spectramind_train.transit.spectrum_fit import TransitFit


def planet(number: int, bins: int = 20, labelled: bool = True) -> Planet:
    """A planet whose flux, by construction, is baseline x (1 + noise - depth x shape)."""
    rng = np.random.default_rng(number)
    shape = np.where(np.abs(np.arange(bins) - bins / 2) < bins / 5, 1.0, 0.0)
    depth = rng.uniform(0.005, 0.02, 283)
    baseline = rng.uniform(1e3, 1e5, (bins, 283))
    flux = baseline * (1.0 + 1e-4 * rng.normal(size=(bins, 283)) - depth * shape[:, None])
    limb = np.zeros((7, 283)), np.zeros(5), 0.01 * np.eye(5)
    fit = TransitFit(depth, 0.01 * depth, *limb, float(depth[1:].mean()), 3.7, baseline, shape, shape)
    label = depth + 1e-4 if labelled else None
    return Planet(f"{number}", LightCurves(f"{number}", np.linspace(0.0, 7.5, bins), flux), fit, label)


class Recorder(LightningModule):
    """Trains one number and writes down which planets came by, a file for each rank."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained: list[list[int]] = []
        self.validated: list[int] = []

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Record the batch."""
        if batch_idx == 0:
            self.trained.append([])
        self.trained[-1] += batch["index"].tolist()
        return (self.weight - batch["target"].mean()) ** 2

    def validation_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        """Record the batch."""
        self.validated += batch["index"].tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain descent."""
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def on_fit_end(self) -> None:
        """Leave the record where the test finds it."""
        record = {"trained": self.trained, "validated": self.validated}
        (self.folder / f"{self.global_rank}.json").write_text(json.dumps(record))


def main(folder: Path, devices: int) -> None:
    """Train three epochs on six planets, validate on five, and leave each rank's record in ``folder``."""
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        devices=devices,
        strategy="auto" if devices == 1 else "ddp",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    planets = [planet(number) for number in range(11)]
    data = SpectraDataModule(planets[:6], planets[6:], planets[6:], batch_size=2, seed=9)
    trainer.fit(Recorder(folder), datamodule=data)
    if devices > 1:
        torch.distributed.destroy_process_group()  # A process that ends with its group open may be aborted.


if __name__ == "__main__":
    main(Path(sys.argv[1]), devices=2)

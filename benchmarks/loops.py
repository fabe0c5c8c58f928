"""Training loops that ``train.py`` compares, each in a process of its own: ``python loops.py LOOP MODEL``.

Every loop trains the same model on the same planets, with the same augmentation, loss, optimizer, schedule, clipping.
It is let go for a number of steps at a time. The gate stands at the entry of the model, so that a measurement holds all
that a loop does between so many forward passes.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor, nn

import spectramind_config as sc
from spectramind_config.host import Host
from spectramind_train.ariel.lightcurves import LightCurves
from spectramind_train.learning.augmentation import augment
from spectramind_train.learning.batches import PlanetDataset, collate
from spectramind_train.learning.loss import build_loss
from spectramind_train.learning.optimizer import build_optimizer, build_schedule
from spectramind_train.model import Batch, SpectrumModel, build_model
from spectramind_train.planets.preparation import Planet
from spectramind_train.run.plan import plan
from spectramind_train.transit.spectrum_fit import TransitFit

LOOPS = ("bare", "Fabric", "Lightning", "ours", "ours, taken apart")
SIZES = {"mlp": (32, 16, 2048), "v50": (8, 187, 160)}
"""Planets in a batch, time bins and planets of each model."""
EPOCHS = 1000
CLIP = 1.0


@sc.profile("model", "benchmark_mlp")
@dataclass(kw_only=True)
class MlpConfig(sc.ModelConfig):
    """A million parameters in three layers, which a step of five milliseconds trains."""

    hidden: int = 560


@build_model.register
def _(config: MlpConfig) -> SpectrumModel:
    return Mlp(config)


class Mlp(SpectrumModel):
    """A correction to the classical fit from what the planet's channels have in common."""

    def __init__(self, config: MlpConfig) -> None:
        super().__init__()
        sizes = [2 * 283, config.hidden, config.hidden, 2 * 283]
        layers = [nn.Sequential(nn.Linear(a, b), nn.GELU()) for a, b in itertools.pairwise(sizes)]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], sizes[-1]))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Predict spectra and uncertainties."""
        seen = torch.cat([batch["flux"].mean(dim=1), batch["fit_depth"] / batch["white_depth"]], dim=1)
        shift, scale = self.layers(seen).chunk(2, dim=1)
        return batch["fit_depth"] * (1 + 0.01 * shift), batch["fit_sigma"] * torch.exp(scale.tanh())


class Gate:
    """Lets a loop take so many steps whenever it is told to, and says how long they took.

    Args:
        answers: Where to.
    """

    def __init__(self, answers: IO[str]) -> None:
        self.answers = answers
        self.left = 0
        self.since = (time.perf_counter(), time.process_time())
        self.parts: dict[str, float] = {}

    def __call__(self, *_: object) -> None:
        """Count a step; wait where it is the last one."""
        self.left -= 1
        if self.left > 0:
            return
        wall, cpu = time.perf_counter() - self.since[0], time.process_time() - self.since[1]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        answer = {"wall": wall, "cpu": cpu, "peak": peak, "parts": dict(self.parts)}
        print(json.dumps(answer), file=self.answers, flush=True)
        self.parts.clear()
        line = sys.stdin.readline()
        if not line:
            os._exit(0)
        self.left = int(line)
        self.since = (time.perf_counter(), time.process_time())


@dataclass
class Task:
    """What every loop trains."""

    config: sc.EffectiveConfig
    planets: list[Planet]
    batch_size: int
    gate: Gate

    def model(self) -> SpectrumModel:
        """The model, with its gate."""
        torch.manual_seed(self.config.seed)
        model = build_model(self.config.model)
        model.register_forward_pre_hook(lambda module, _: self.gate() if module.training else None)
        return model

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return EPOCHS * len(self.planets) // self.batch_size


def planets(count: int, bins: int) -> list[Planet]:
    """Planets of eight kinds."""
    kinds = []
    for number in range(8):
        rng = np.random.default_rng(number)
        shape = np.where(np.abs(np.arange(bins) - bins / 2) < bins / 5, 1.0, 0.0)
        depth = rng.uniform(0.005, 0.02) * (1 + 0.01 * rng.normal(size=283))
        baseline = np.full((bins, 283), 1e4)
        flux = baseline * (1.0 + 1e-4 * rng.normal(size=(bins, 283)) - depth * shape[:, None])
        limb = np.zeros((7, 283)), np.zeros(5), 0.01 * np.eye(5)
        fit = TransitFit(depth, 0.01 * depth, *limb, float(depth[1:].mean()), 3.7, baseline, shape, shape)
        curves = LightCurves(str(number), np.linspace(0.0, 7.5, bins), flux)
        kinds.append(Planet(str(number), curves, fit, depth + 1e-4))
    return [kinds[number % 8] for number in range(count)]


def shuffled(task: Task, tensors: Batch) -> Iterator[Batch]:
    """Batches of every epoch."""
    count = len(task.planets)
    for epoch in range(EPOCHS):
        order = torch.from_numpy(np.random.default_rng([task.config.seed, epoch]).permutation(count))
        for chosen in order.split(task.batch_size):
            yield {name: values[chosen] for name, values in tensors.items()}


def bare(task: Task) -> None:
    """A loop written by hand, with nothing around it."""
    model, loss = task.model(), build_loss(task.config.loss)
    optimizer = build_optimizer(task.config.optimizer, model)
    schedule = build_schedule(task.config.optimizer, optimizer, task.steps)
    model.train()
    generator = torch.Generator().manual_seed(task.config.seed)
    for batch in shuffled(task, PlanetDataset(task.planets).tensors):
        batch = augment(batch, task.config.data.augmentation, generator)
        optimizer.zero_grad()
        loss(*model(batch), batch["target"])["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        schedule.step()


def fabric(task: Task) -> None:
    """Lightning's Fabric around such a loop, with torch's loader."""
    from lightning.fabric import Fabric
    from torch.utils.data import DataLoader

    device = Fabric(accelerator="cpu", devices=1)
    model, loss = task.model(), build_loss(task.config.loss)
    optimizer = build_optimizer(task.config.optimizer, model)
    schedule = build_schedule(task.config.optimizer, optimizer, task.steps)
    wrapped, stepped = device.setup(model, optimizer)
    dataset = PlanetDataset(task.planets)
    loader = device.setup_dataloaders(DataLoader(dataset, batch_size=task.batch_size, shuffle=True, collate_fn=collate))
    wrapped.train()
    generator = torch.Generator().manual_seed(task.config.seed)
    for _ in range(EPOCHS):
        for batch in loader:
            changed = augment(batch, task.config.data.augmentation, generator)
            stepped.zero_grad()
            device.backward(loss(*wrapped(changed), changed["target"])["loss"])
            device.clip_gradients(wrapped, stepped, max_norm=CLIP)
            stepped.step()
            schedule.step()


def lightning(task: Task) -> None:
    """Lightning's trainer as it comes, with one ``self.log`` a step, and no bar, checkpoint or file."""
    import lightning.pytorch as pl
    from torch.utils.data import DataLoader

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.loss = task.model(), build_loss(task.config.loss)
            self.generator = torch.Generator().manual_seed(task.config.seed)

        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            batch = augment(batch, task.config.data.augmentation, self.generator)
            loss: Tensor = self.loss(*self.model(batch), batch["target"])["loss"]
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            optimizer = build_optimizer(task.config.optimizer, self.model)
            schedule = build_schedule(task.config.optimizer, optimizer, task.steps)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    loader = DataLoader(PlanetDataset(task.planets), batch_size=task.batch_size, shuffle=True, collate_fn=collate)
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    trainer = pl.Trainer(accelerator="cpu", devices=1, max_epochs=EPOCHS, gradient_clip_val=CLIP, **quiet)  # type: ignore[arg-type]
    trainer.fit(Module(), loader)


def ours(task: Task) -> None:
    """``learn``, as a run calls it: journal, table, bar, checkpoints, the guard against what is not finite, signals."""
    from spectramind_train.learning import learner
    from spectramind_train.planets.splits import DataRecord, Splits
    from spectramind_train.run.terminal import Terminal

    learner.build_model = lambda _: task.model()  # type: ignore[assignment, attr-defined] - the same, with its gate.
    record = DataRecord(root="", simulated=True, fingerprint="", planets={})
    splits = Splits(task.planets, task.planets[:8], task.planets[:8], 0.0125, 0.004, record)
    with tempfile.TemporaryDirectory() as folder:
        run_plan = replace(plan(task.config, Host.detect()), threads=torch.get_num_threads(), num_workers=(0, 0, 0))
        learner.learn(task.config, run_plan, splits, Path(folder), Terminal.of(task.config), deadline=None)


def apart(task: Task) -> None:
    """Ours, with a clock around its parts."""
    import lightning.pytorch as pl
    from torch.optim import adam

    from spectramind_train.learning import callbacks, loss, module

    def clocked(owner: Any, name: str, part: str) -> None:
        inner = getattr(owner, name)

        def timed(*positional: Any, **named: Any) -> Any:
            began = time.process_time()
            result = inner(*positional, **named)
            task.gate.parts[part] = task.gate.parts.get(part, 0.0) + time.process_time() - began
            return result

        setattr(owner, name, timed)

    clocked(PlanetDataset, "__getitems__", "batch")
    clocked(module, "augment", "augmentation")
    clocked(module.SpectrumModule, "forward", "forward")
    clocked(loss.CompositeLoss, "forward", "loss")
    clocked(pl.LightningModule, "backward", "backward")
    clocked(callbacks.FiniteSteps, "on_before_optimizer_step", "guard")
    clocked(module.SpectrumModule, "configure_gradient_clipping", "clipping")
    clocked(adam, "adam", "optimizer")
    ours(task)


def main(arguments: list[str]) -> None:
    """Train until the program that let us go has gone."""
    loop, model = arguments
    size, bins, count = SIZES[model]
    answers = os.fdopen(os.dup(1), "w")
    sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")  # Where the bar goes.
    name = {"mlp": "benchmark_mlp"}.get(model, model)
    overrides = [f"model={name}", f"data.batch_size={size}", f"local.max_epochs={EPOCHS}", "local.devices=cpu"]
    overrides += ["local.dev.limit_val_batches=0", f"trainer.gradient_clip_val={CLIP}", "trainer.max_time=null"]
    # An epoch of these few planets takes a second or two, where one of thousands takes minutes.
    overrides += ["trainer.checkpoint.every_n_epochs=20"]
    config = sc.compose(overrides)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    loops: dict[str, Callable[[Task], None]] = dict(zip(LOOPS, (bare, fabric, lightning, ours, apart), strict=True))
    loops[loop](Task(config, planets(count, bins), size, Gate(answers)))


if __name__ == "__main__":
    main(sys.argv[1:])

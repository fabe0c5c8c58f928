"""The training of a spectrum model as Lightning sees it."""

from __future__ import annotations

import hashlib
import math
import struct
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_

from spectramind_config import Augmentation, OptimizerConfig
from spectramind_train.ariel.metric import ariel_score
from spectramind_train.learning.augmentation import augment
from spectramind_train.learning.loss import Loss
from spectramind_train.learning.optimizer import build_optimizer, build_schedule
from spectramind_train.v50.network import Batch, SpectrumModel


class NonFiniteLossError(FloatingPointError):
    """The loss or its gradient is NaN or infinite; raised before the optimizer can write it into the weights."""


def step_seed(seed: int, epoch: int, step: int, rank: int) -> int:
    """A 64-bit seed that depends on these four counters only (BLAKE2b of them)."""
    counters = struct.pack("<4q", seed, epoch, step, rank)
    digest = hashlib.blake2b(counters, digest_size=8, person=b"spectramind").digest()
    return int.from_bytes(digest, "little", signed=True)


class SpectrumModule(LightningModule):
    """Trains, validates and tests a model of spectra.

    Batches are dictionaries as ``batches.to_batch`` makes them; an optional ``index`` (B,) numbers the planets of a
    split, so that copies which a distributed sampler adds count once. Randomness of a training step (dropout,
    augmentation) depends on (seed, epoch, step in epoch, rank) alone, so that a resumed training continues exactly.

    Logged are ``train_loss_step`` of single steps; where ``log_epoch_loss`` is called at the end of an epoch,
    ``train_loss``, the mean over its planets; and over a whole split at its end ``val_loss`` and ``val_score``, or
    ``test_loss`` and ``test_score``.

    Args:
        model: predicts (mu, sigma) from a batch.
        loss: the objective.
        optimizer: settings of the optimizer and its schedule.
        seed: seed of every random number.
        naive_mean: mean of all training labels, for the score.
        naive_sigma: their standard deviation.
        augmentation: random changes of training batches.
        log_every_n_steps: optimizer steps between two that the trainer logs.
    """

    def __init__(
        self,
        model: SpectrumModel,
        loss: Loss,
        optimizer: OptimizerConfig,
        *,
        seed: int,
        naive_mean: float,
        naive_sigma: float,
        augmentation: Augmentation,
        log_every_n_steps: int = 50,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.optimizer_config = optimizer
        self.seed = seed
        self.naive_mean = naive_mean
        self.naive_sigma = naive_sigma
        self.augmentation = augmentation
        self.log_every_n_steps = log_every_n_steps
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._norm: Tensor | None = None
        self._losses: list[tuple[int, Tensor, int]] = []  # Of each batch the step, the loss and how many planets.
        self._loss_share = (0.0, 0.0)
        self._outputs: list[dict[str, Tensor]] = []

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; Lightning's note of where it is, twice for every hook, without torch's look at its kind."""
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Predict (mu, sigma), each (B, 283) in (Rp/Rs)^2."""
        mu, sigma = self.model(batch)
        return mu, sigma

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch; one that is not finite makes every element of the gradient NaN."""
        seed = step_seed(self.seed, self.current_epoch, batch_idx, self.global_rank)
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)  # Torch's own would look for every other kind of device first.
        else:
            torch.manual_seed(seed)
        self._norm = None
        batch = augment(self.model.condition(batch), self.augmentation, torch.Generator().manual_seed(seed))
        mu, sigma = self(batch)
        loss: Tensor = self.loss(mu, sigma, batch["target"])["loss"]
        self._losses.append((self.trainer.global_step, loss.detach(), len(batch["target"])))
        if (self.trainer.global_step + 1) % self.log_every_n_steps == 0:
            self.log("train_loss_step", loss)
        # There are losses without a finite value whose gradient is finite; the optimizer must not take that either.
        if loss.device.type == "cpu" and math.isfinite(loss.detach()):
            return loss
        return loss * torch.where(loss.isfinite(), 1.0, math.nan)

    def gradient_norm(self) -> Tensor:
        """Euclidean norm of the gradient of all parameters before it is clipped, a scalar.

        It is computed once in a step, by the first who asks when the gradient is complete.
        """
        if self._norm is None:
            gradients = [parameter.grad for parameter in self._trained if parameter.grad is not None]
            self._norm = torch.stack(torch._foreach_norm(gradients)).norm()  # pyright: ignore[reportPrivateImportUsage]
        return self._norm

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Scale the gradient down to a norm, with the norm that is known by now."""
        if not gradient_clip_val:
            return
        norm = self.gradient_norm()
        if norm.device.type != "cpu" or norm > gradient_clip_val:
            clip_grads_with_norm_(self._trained, gradient_clip_val, norm)

    def forget_bad_losses(self, step: int) -> bool:
        """Leave a step's losses that are not finite out of the epoch's mean; returns whether there were any."""
        kept = [batch for batch in self._losses if batch[0] != step or math.isfinite(batch[1])]
        found = len(kept) < len(self._losses)
        self._losses = kept
        return found

    def log_epoch_loss(self) -> None:
        """Log ``train_loss`` at the end of an epoch; every process has to call it."""
        shares = self._loss_shares()
        if planets := sum(count for _, count in shares):
            self.log("train_loss", sum(total for total, _ in shares) / planets)

    def on_train_epoch_end(self) -> None:
        """Begin another mean."""
        self._losses, self._loss_share = [], (0.0, 0.0)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep each process's part of the mean loss of the epoch that has begun."""
        checkpoint["loss_shares"] = self._loss_shares()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up this process's part of the mean loss."""
        shares = checkpoint["loss_shares"]
        if self.global_rank < len(shares):
            self._loss_share = tuple(shares[self.global_rank])

    def _loss_shares(self) -> list[tuple[float, float]]:
        """Of each process, the sum of its planets' losses in this epoch, and their number."""
        total, count = self._loss_share
        for _, loss, planets in self._losses:
            total, count = total + loss.item() * planets, count + planets
        self._losses.clear()
        self._loss_share = (total, count)
        if self.trainer.world_size == 1:
            return [self._loss_share]
        gathered = self.all_gather(torch.tensor(self._loss_share, dtype=torch.float64, device=self.device))
        assert isinstance(gathered, Tensor)  # noqa: S101
        return [(total, count) for total, count in gathered.tolist()]

    def on_validation_epoch_start(self) -> None:
        """Forget what an interrupted epoch left."""
        self._outputs.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Predict one batch."""
        self._collect(batch)

    def on_validation_epoch_end(self) -> None:
        """Log val_loss and val_score."""
        self._log_split("val")

    def on_test_epoch_start(self) -> None:
        """Forget what an interrupted epoch left."""
        self._outputs.clear()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Predict one batch."""
        self._collect(batch)

    def on_test_epoch_end(self) -> None:
        """Log test_loss and test_score."""
        self._log_split("test")

    def predict_step(self, batch: Batch, batch_idx: int) -> tuple[Tensor, Tensor]:
        """Predict (mu, sigma), each (B, 283) in (Rp/Rs)^2."""
        mu, sigma = self(batch)
        return mu, sigma

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Optimizer and a schedule that is stepped every update."""
        # A gradient scaler leaves it to a fused optimizer to scale the gradient back, which is too late to clip it.
        fused = self.trainer.precision != "16-mixed"
        optimizer = build_optimizer(self.optimizer_config, self.model, fused=fused)
        schedule = build_schedule(self.optimizer_config, optimizer, self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _collect(self, batch: Batch) -> None:
        mu, sigma = self(batch)
        output = {"mu": mu, "sigma": sigma, "target": batch["target"]}
        if "index" in batch:
            output["index"] = batch["index"]
        self._outputs.append({name: value.detach() for name, value in output.items()})

    def _log_split(self, split: str) -> None:
        """Log loss and score of a whole split, the same numbers on every rank."""
        gathered = {name: self._gather([output[name] for output in self._outputs]) for name in self._outputs[0]}
        self._outputs.clear()
        if "index" in gathered:
            index = gathered.pop("index").tolist()
            first = list({planet: row for row, planet in reversed(list(enumerate(index)))}.values())
            gathered = {name: values[first] for name, values in gathered.items()}
        mu, sigma, target = gathered["mu"], gathered["sigma"], gathered["target"]
        if split == "val":
            sigma = self.model.calibrate(mu, sigma, target)
        loss = self.loss(mu, sigma, target)["loss"]
        self._require_finite(loss, split, f"epoch {self.current_epoch}, after step {self.trainer.global_step}")
        score = ariel_score(
            mu.cpu().double().clamp_min(0.0).numpy(),
            sigma.cpu().double().numpy(),
            target.cpu().double().numpy(),
            naive_mean=self.naive_mean,
            naive_sigma=self.naive_sigma,
        )
        self.log_dict({f"{split}_loss": loss, f"{split}_score": score}, rank_zero_only=False)

    def _gather(self, parts: list[Tensor]) -> Tensor:
        """Concatenate the parts of all batches and ranks, which may hold different numbers of planets."""
        local = torch.cat(parts)
        if self.trainer.world_size == 1:
            return local
        counts = self.all_gather(torch.tensor(len(local), device=local.device))
        assert isinstance(counts, Tensor)  # noqa: S101
        most = int(counts.max())
        padded = torch.cat([local, local.new_zeros(most - len(local), *local.shape[1:])])
        everyone = self.all_gather(padded)
        assert isinstance(everyone, Tensor)  # noqa: S101
        return torch.cat([rows[: int(count)] for rows, count in zip(everyone, counts, strict=True)])

    def _require_finite(self, loss: Tensor, split: str, where: str) -> None:
        if not torch.isfinite(loss):
            raise NonFiniteLossError(
                f"the {split} loss is {loss.item()} at {where}. No weight was changed by it. Try a lower optimizer.lr "
                "or local.precision=32"
            )

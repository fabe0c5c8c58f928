"""Training as Lightning runs it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from spectramind_config import AdamW, Augmentation, V50Config
from spectramind_config import CompositeLoss as CompositeLossConfig
from spectramind_train.ariel.metric import ariel_score, naive_statistics
from spectramind_train.learning.callbacks import EpochReport, FiniteSteps
from spectramind_train.learning.loss import build_loss
from spectramind_train.learning.module import NonFiniteLossError, SpectrumModule, step_seed
from spectramind_train.run.terminal import Terminal
from spectramind_train.v50.network import Batch, build_model

MakeBatch = Callable[..., Batch]
MakeLoader = Callable[..., DataLoader[Any]]
pytestmark = pytest.mark.filterwarnings("ignore")


def module(data: Batch, **changes: Any) -> SpectrumModule:
    """A small module with fixed weights."""
    torch.manual_seed(0)
    config = V50Config(width=8, heads=2, fgs1_layers=1, airs_layers=1, state_size=2)
    mean, sigma = naive_statistics(data["target"].numpy())
    arguments = {"seed": 7, "naive_mean": mean, "naive_sigma": sigma, "augmentation": Augmentation(), **changes}
    optimizer = arguments.pop("optimizer", AdamW(lr=1e-3))
    return SpectrumModule(build_model(config), build_loss(CompositeLossConfig()), optimizer, **arguments)


def trainer(**changes: Any) -> Trainer:
    """A quiet trainer on the CPU."""
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    return Trainer(**{"accelerator": "cpu", "num_sanity_val_steps": 0, "max_epochs": 2, **quiet, **changes})


class Recorder(Callback):
    """Notes the loss of every training batch and, if asked, saves a checkpoint after one of them."""

    def __init__(self, save_after: int = 0, path: Path | None = None) -> None:
        self.losses: list[float] = []
        self.save_after, self.path = save_after, path

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        """Take the loss."""
        self.losses.append(outputs["loss"].item())
        if self.path is not None and len(self.losses) == self.save_after:
            trainer.save_checkpoint(self.path)


def test_seed_depends_on_every_counter() -> None:
    """Distinct counters give distinct seeds, equal ones the same."""
    counters = [(s, e, k, r) for s in range(3) for e in range(5) for k in range(20) for r in range(4)]
    assert len({step_seed(*c) for c in counters}) == len(counters)
    assert step_seed(1, 2, 3, 4) == step_seed(1, 2, 3, 4)


def losses(data: Batch, loader: DataLoader[Any], **changes: Any) -> list[float]:
    """Losses of a training whose weights stay as they are, so that only the randomness moves them."""
    recorder = Recorder()
    frozen = {"optimizer": AdamW(lr=1e-30, weight_decay=0.0), **changes}
    accumulate = frozen.pop("accumulate", 1)
    trainer(callbacks=[recorder], accumulate_grad_batches=accumulate).fit(module(data, **frozen), loader)
    return recorder.losses


def test_randomness_follows_the_counters(make_batch: MakeBatch, make_loader: MakeLoader) -> None:
    """The same seed repeats a training; another seed, step or epoch draws anew, also when gradients accumulate."""
    data = make_batch(4, 16)
    twice = {name: torch.cat([values, values]) for name, values in data.items()}
    loader = make_loader(twice, 4)
    first = losses(data, loader)
    assert losses(data, loader) == first
    assert losses(data, loader, seed=8) != first
    assert len(set(first)) == 4
    # Lightning reports each loss divided by the number of accumulated batches.
    assert losses(data, loader, accumulate=2) == pytest.approx([loss / 2 for loss in first])


def test_resuming_within_an_epoch_is_exact(make_batch: MakeBatch, make_loader: MakeLoader, tmp_path: Path) -> None:
    """A training resumed from a checkpoint in its second epoch ends with the very weights of one never stopped."""
    data = make_batch(4, 16)
    same = {name: torch.cat([values] * 4) for name, values in data.items()}
    loader, path = make_loader(same, 4), tmp_path / "mid.ckpt"
    whole, resumed = module(data), module(data)
    full = Recorder(save_after=6, path=path)
    trainer(callbacks=[full]).fit(whole, loader)
    rest = Recorder()
    trainer(callbacks=[rest]).fit(resumed, loader, ckpt_path=path, weights_only=True)
    assert len(full.losses) == 8
    assert rest.losses[-2:] == full.losses[6:]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_score_is_that_of_the_whole_split(make_batch: MakeBatch, make_loader: MakeLoader) -> None:
    """Validation over uneven batches logs the official score of all predictions together, and so does the test."""
    data = make_batch(5, 16)
    net = module(data)
    run = trainer()
    logged = (
        run.validate(net, make_loader(data, 2), verbose=False)[0]
        | run.test(net, make_loader(data, 3), verbose=False)[0]
    )
    net.eval()
    with torch.no_grad():
        mu, sigma = net(data)
    arrays = (mu.numpy().clip(0), sigma.numpy(), data["target"].numpy())
    expected = ariel_score(*arrays, naive_mean=net.naive_mean, naive_sigma=net.naive_sigma)
    assert 0 < expected < 1
    assert logged["val_score"] == pytest.approx(expected, rel=1e-4)
    assert logged["test_score"] == pytest.approx(expected, rel=1e-4)
    assert logged["val_loss"] == pytest.approx(net.loss(mu, sigma, data["target"])["loss"].item(), rel=1e-4)


def test_planets_given_twice_count_once(make_batch: MakeBatch, make_loader: MakeLoader) -> None:
    """Copies with the same index, as a distributed sampler adds them, leave the score alone."""
    data = make_batch(3, 16)
    net = module(data)
    dataset = make_loader(data, 1).dataset
    plain = DataLoader(dataset, batch_size=2)
    padded = DataLoader(dataset, batch_size=2, sampler=[0, 1, 2, 0])
    run = trainer()
    once, twice = (run.validate(net, loader, verbose=False)[0]["val_score"] for loader in (plain, padded))
    assert twice == pytest.approx(once, rel=1e-6)


@pytest.mark.fault("a loss or gradient that is not finite")
@pytest.mark.parametrize("behind", [None, 2])
@pytest.mark.parametrize("where", ["target", "gradient"])
def test_what_is_not_finite_stops_before_the_optimizer(
    make_batch: MakeBatch, make_loader: MakeLoader, where: str, behind: int | None
) -> None:
    """A loss or a gradient that is not finite raises with epoch and step, and no weight has become NaN.

    So it is where the host learns of it only two steps later, as it does of a GPU.
    """
    data = make_batch(16, 16)
    net = module(data)
    if where == "target":
        data["target"][5] = float("nan")
    else:
        parameter = next(net.parameters())
        parameter.register_hook(lambda grad: torch.full_like(grad, torch.inf) if net.global_step == 1 else grad)
    what = "loss" if where == "target" else "gradient"
    finite = FiniteSteps("stop", 0, Terminal(silent=True), behind=behind)
    run = trainer(callbacks=[finite])
    with pytest.raises(NonFiniteLossError, match=rf"training {what} is not finite at epoch 0, step 1") as caught:
        run.fit(net, make_loader(data, 4))
    assert isinstance(caught.value, FloatingPointError)
    assert run.global_step == 1 + (behind or 0)
    assert all(p.isfinite().all() for p in net.parameters())


@pytest.mark.fault("a loss or gradient that is not finite")
def test_a_step_that_is_left_out_unseen_is_left_out_alike(
    make_batch: MakeBatch, make_loader: MakeLoader, tmp_path: Path
) -> None:
    """Learning of it two steps later gives the same weights, moments, mean loss and count, also when resumed."""
    data = make_batch(4, 16)
    loader = make_loader({name: torch.cat([values] * 4) for name, values in data.items()}, 4)
    path, runs, lines = tmp_path / "mid.ckpt", [], []
    for behind, resumed in ((None, None), (2, None), (2, path)):
        net, said = module(data), list[str]()

        def poison(_: Any, __: Any, out: dict[str, Tensor], net: SpectrumModule = net) -> dict[str, Tensor]:
            return {"loss": out["loss"] * torch.nan} if net.global_step in (1, 5, 6) else out

        net.loss.register_forward_hook(poison)
        finite = FiniteSteps("skip_batch", 3, Terminal(silent=True), behind=behind)
        report = EpochReport(Terminal(silent=True))
        report.terminal.say = said.append  # type: ignore[method-assign, assignment]
        recorder = Recorder(save_after=6, path=path if behind and not resumed else None)
        run = trainer(callbacks=[finite, report, recorder], gradient_clip_val=1.0)
        run.fit(net, loader, ckpt_path=resumed, weights_only=True)
        assert finite.skipped == 3
        runs.append((net.state_dict(), run.optimizers[0].state_dict()["state"]))
        lines.append([re.sub(r"\d+\.\d s", "", line) for line in said])
    assert len(lines[0]) == 2
    assert "nan" not in "".join(lines[0])
    assert lines[1] == lines[0]
    assert lines[2] == lines[0][1:]
    for weights, moments in runs[1:]:
        torch.testing.assert_close(weights, runs[0][0], rtol=0, atol=0)
        torch.testing.assert_close(moments, runs[0][1], rtol=0, atol=0)


@pytest.mark.fault("a loss or gradient that is not finite")
def test_what_is_saved_has_been_looked_at(make_batch: MakeBatch, make_loader: MakeLoader, tmp_path: Path) -> None:
    """No checkpoint is written after a step that is to end the training, when the host has not learnt of it."""
    data = make_batch(16, 16)
    net = module(data)
    data["target"][5] = float("nan")
    finite = FiniteSteps("stop", 0, Terminal(silent=True), behind=100)
    recorder = Recorder(save_after=3, path=tmp_path / "mid.ckpt")
    with pytest.raises(NonFiniteLossError, match="epoch 0, step 1"):
        trainer(callbacks=[finite, recorder]).fit(net, make_loader(data, 4))
    assert (len(recorder.losses), list(tmp_path.iterdir())) == (3, [])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_optimizer_can_leave_steps_out(make_batch: MakeBatch, make_loader: MakeLoader, precision: Any) -> None:
    """It is a fused one, and takes a clipped gradient: in its first step AdamW's moment is a tenth of that."""
    data = make_batch(4, 16)
    run = trainer(precision=precision, gradient_clip_val=1e-3, max_steps=1)
    run.fit(module(data), make_loader(data, 4))
    optimizer = run.optimizers[0]
    assert optimizer.defaults["fused"]
    moments = [state["exp_avg"] for state in optimizer.state.values()]
    assert torch.stack(torch._foreach_norm(moments)).norm().item() == pytest.approx(1e-4, rel=1e-3)


@pytest.mark.fault("a loss or gradient that is not finite")
def test_steps_that_are_not_finite_are_left_out_up_to_a_limit(make_batch: MakeBatch, make_loader: MakeLoader) -> None:
    """``skip_batch`` changes no weight and no moment of the optimizer, and one step too many ends the training."""
    data = make_batch(8, 16)
    net, loader = module(data), make_loader(data, 4)
    data["target"][:4] = float("nan")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    once = FiniteSteps("skip_batch", 1, Terminal(silent=True))
    run = trainer(callbacks=[once], max_steps=1, limit_val_batches=0)
    run.fit(net, loader)
    assert (once.skipped, run.global_step) == (1, 1)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not run.optimizers[0].state
    with pytest.raises(NonFiniteLossError, match=r"epoch 1, step 2.* and 1 steps have been left out before"):
        trainer(callbacks=[FiniteSteps("skip_batch", 1, Terminal(silent=True))]).fit(net, loader)
    assert all(p.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("largest", [1e-3, 1e6])
def test_clipping_is_torchs(make_batch: MakeBatch, largest: float) -> None:
    """A gradient above the limit is scaled as torch scales it, one below is left alone, and the norm is that before."""
    data = make_batch(4, 16)
    ours, plain = module(data), module(data)
    for net in (ours, plain):
        net.eval()
        net.loss(*net(data), data["target"])["loss"].backward()
    norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), largest)
    ours.configure_gradient_clipping(None, largest)
    torch.testing.assert_close(ours.gradient_norm(), norm)
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_training_improves_the_score(make_batch: MakeBatch, make_loader: MakeLoader) -> None:
    """A few epochs raise the score on the planets trained on."""
    data = make_batch(8, 32)
    net = module(data, optimizer=AdamW(lr=3e-3), augmentation=Augmentation(extra_noise=0.0))
    loader = make_loader(data, 4)
    before = trainer().validate(net, loader, verbose=False)[0]["val_score"]
    net.train()
    run = trainer(max_epochs=15, gradient_clip_val=1.0)
    run.fit(net, loader)
    after = trainer().validate(net, loader, verbose=False)[0]["val_score"]
    assert after > before + 0.02


def test_checkpoints_hold_no_objects(make_batch: MakeBatch, make_loader: MakeLoader, tmp_path: Path) -> None:
    """A checkpoint loads with weights_only, and no hyperparameters are in it."""
    data = make_batch(4, 16)
    run = trainer(max_epochs=1)
    run.fit(module(data), make_loader(data))
    run.save_checkpoint(tmp_path / "last.ckpt")
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert "hyper_parameters" not in checkpoint
    assert checkpoint["global_step"] == 1


def _in_two_processes(task: Callable[..., None], *arguments: Any) -> None:
    """Run ``task(rank, *arguments)`` in each of two processes of a group, and require that both end well."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = torch.multiprocessing.get_context("fork")
    workers = [context.Process(target=_join, args=(rank, port, task, arguments)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]


def _join(rank: int, port: int, task: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    import os

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "OMP_NUM_THREADS": "1"}
    os.environ |= {"TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    task(rank, *arguments)


def _dealt(rank: int, data: Batch, batch_size: int) -> DataLoader[Any]:
    """A rank's planets, in order."""
    from torch.utils.data import DistributedSampler

    count = len(data["target"])
    indexed = [{**{name: v[i] for name, v in data.items()}, "index": torch.tensor(i)} for i in range(count)]
    sampler: DistributedSampler[Any] = DistributedSampler(indexed, 2, rank, shuffle=False)  # type: ignore[arg-type]
    return DataLoader(indexed, batch_size=batch_size, sampler=sampler)  # type: ignore[arg-type]


def _score(rank: int, path: Path, data: Batch) -> None:
    run = trainer(devices=2, strategy="ddp", use_distributed_sampler=False)
    logged = run.validate(module(data), _dealt(rank, data, 2), verbose=False)[0]
    (path / f"{rank}").write_text(str(logged["val_score"]))


def test_two_processes_score_the_whole_split(make_batch: MakeBatch, make_loader: MakeLoader, tmp_path: Path) -> None:
    """Under DDP, where three planets on two ranks are padded to four, both log the score of the three."""
    data = make_batch(3, 16)
    _in_two_processes(_score, tmp_path, data)
    alone = trainer().validate(module(data), make_loader(data), verbose=False)[0]["val_score"]
    for rank in range(2):
        assert float((tmp_path / str(rank)).read_text()) == pytest.approx(alone, rel=1e-5)


def _skip(rank: int, path: Path, good: Batch, bad: Batch, behind: int | None) -> None:
    finite = FiniteSteps("skip_batch", 1, Terminal(silent=True), behind=behind)
    run = trainer(
        devices=2, strategy="ddp", use_distributed_sampler=False, max_epochs=1, callbacks=[finite], limit_val_batches=0
    )
    net = module(good)
    run.fit(net, _dealt(rank, bad, 1))
    torch.save((finite.skipped, run.global_step, net.state_dict()), path / f"{rank}")


@pytest.mark.fault("a loss or gradient that is not finite")
@pytest.mark.parametrize(("value", "behind"), [(torch.nan, None), (torch.inf, None), (torch.nan, 1)])
def test_two_processes_leave_the_same_step_out(
    make_batch: MakeBatch, tmp_path: Path, value: float, behind: int | None
) -> None:
    """A loss that is not finite in one process alone: both leave that step out, and have the same finite weights."""
    good = make_batch(6, 16)
    bad = {name: values.clone() for name, values in good.items()}
    bad["target"][3] = value
    _in_two_processes(_skip, tmp_path, good, bad, behind)
    (skipped, steps, left), (skipped_too, steps_too, right) = (torch.load(tmp_path / str(rank)) for rank in range(2))
    assert (skipped, steps) == (skipped_too, steps_too) == (1, 3)
    for name, values in left.items():
        assert values.isfinite().all()
        assert torch.equal(values, right[name]), name

"""A process that saves checkpoints without end, for tests that kill it."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from spectramind_train.learning.progress import CheckpointIO
from spectramind_train.run.checkpoints import Index, load_checkpoint


def _save_for_ever(folder: Path, temporary: Path, pipe: Connection) -> None:
    torch.set_num_threads(1)  # The threads of the process that was forked are not here to help.
    tempfile.tempdir = str(temporary)
    index = Index.read(folder)
    index.repair(print)
    files = CheckpointIO(index, best=1)
    step = index.newest.step if index.newest else 0
    while True:
        step += 1
        state = {"weights": torch.full((200_000,), float(step))}
        checkpoint = {"epoch": 0, "global_step": step, "state_dict": state}
        files.save_checkpoint(checkpoint, folder / "next", storage_options=float(step % 7))
        pipe.send(step)


def kill_while_saving(folder: Path, temporary: Path, delay_s: float) -> int:
    """Kill a process some time after its first save; returns the last step that it has reported as saved."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_save_for_ever, args=(folder, temporary, theirs), daemon=True)
    process.start()
    theirs.close()
    step: int = ours.recv()
    time.sleep(delay_s)
    process.kill()
    process.join()
    try:
        while True:
            step = ours.recv()
    except EOFError:
        return step


def require_whole(folder: Path, step: int) -> Index:
    """The index of a folder in which all is whole, and nothing is missing that was reported as saved."""
    index = Index.read(folder)
    assert all(map(index.is_whole, index.entries))
    assert index.newest is not None
    assert index.newest.step >= step
    weights = load_checkpoint(folder / index.newest.file)["state_dict"]["weights"]
    assert (weights == index.newest.step).all()
    return index

"""The directory of a run: who may write to it, and what is in it already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from ..whole import made
from .experiment import Experiment, load_experiment

LOCK, CHECKPOINT = ".lock", "checkpoint.pt"
MADE = ("float.npz", CHECKPOINT, "qnet.npz", "*.pnb")  # what took time to make
BESIDE = ("log.csv", "batch.png", "report.html", "*.test.npz")


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """The directory, made if need be, while no other training is at work in it. If the training cannot begin, one that
    was made goes again."""
    with made(out):
        lock = FileLock(out / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise ValueError(f"{out}: another training is at work there") from None
        try:
            yield
        finally:
            (out / LOCK).unlink(missing_ok=True)
            lock.release()


def claim(out: Path) -> None:
    """ValueError if another training left something that took time to make."""
    left = next((path for pattern in MADE for path in sorted(out.glob(pattern))), None)
    if left:
        raise ValueError(f"{out}: has a run ({left.name}): --resume goes on, --force begins anew, --out names another")


def make_way(out: Path) -> None:
    """What another training left goes."""
    for path in [path for pattern in (*MADE, *BESIDE) for path in out.glob(pattern)]:
        path.unlink(missing_ok=True)


def damaged(path: Path, error: Exception) -> ValueError:
    why = (str(error).splitlines() or [""])[0][:100]
    return ValueError(f"{path}: damaged, --force begins anew ({why})")


def checkpoint_of(out: Path, e: Experiment) -> dict:
    """What a run goes on from. ValueError if there is nothing, it is damaged, or another network's."""
    path = out / CHECKPOINT
    if not path.is_file():
        raise ValueError(f"{out}: nothing to resume, there is no checkpoint.pt")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever unpickling makes of bytes that are none
        raise damaged(path, error) from None
    before = load_experiment(out / "config.toml") if (out / "config.toml").is_file() else e
    if before.network != e.network:
        raise ValueError(f"{out}: was begun with another network than {e.name}'s: --out names another directory")
    return saved

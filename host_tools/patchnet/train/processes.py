"""The processes that train one network together: one, or as many as torchrun starts.

Each takes an equal part of every batch. Statistics of batch norms, counts by which losses are divided, and gradients
are those of the whole batch, so that the result is that of one process.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

PATIENCE = timedelta(days=1)  # the others wait while the first one looks at the held-out part; what ends is noticed


_trainings = itertools.count()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def place(device: str) -> torch.device:
    """Where this process computes: of several GPUs of a machine each has its own. ValueError where there is none."""
    if device == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError("device: wanted cpu, as PyTorch finds no GPU, got cuda")
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    return torch.device("cuda", torch.cuda.current_device())


@contextmanager
def together() -> Iterator[None]:
    """While the processes that torchrun has started are connected. An error of one ends all: it is raised in the first
    that has one, SystemExit in the others. The first process alone logs."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or dist.is_initialized():
        yield
        return
    store, own, processes = next(dist.rendezvous("env://"))
    store = dist.PrefixStore(f"patchnet {next(_trainings)}", store)  # the addresses of another training are no use
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE, world_size=processes, rank=own, store=store)
    logging.disable(logging.CRITICAL if own else logging.NOTSET)
    try:
        yield
    except BaseException as error:
        if store.add("failed", 1) > 1:
            time.sleep(1)  # what ends makes torchrun end the others, and the first has something to say
            raise SystemExit(1) from None
        if isinstance(error, RuntimeError) and "onnection" in str(error):  # of gloo, which has no type for it
            raise ValueError(f"another of the {processes} processes has ended") from None
        raise
    finally:
        logging.disable(logging.NOTSET)
        dist.destroy_process_group()


def summed(x: Tensor) -> Tensor:
    """Over all processes. No gradient goes through it."""
    x = x.detach().contiguous().clone()
    dist.all_reduce(x)
    return x


def gathered(x: Tensor) -> Tensor:
    """Of each process its x: (processes, *shape of x)."""
    rows = x.new_zeros(count(), *x.shape)
    rows[rank()] = x
    return summed(rows)


def shared(count_here: Tensor) -> Tensor:
    """What to divide a sum over this process's part of a batch by, given what it counts there: the mean over processes,
    as gradients, too, are meaned over them."""
    return count_here if count() == 1 else summed(count_here.float()) / count()


def distributed(module: nn.Module) -> nn.Module:
    """A module whose gradients are the means over all processes."""
    return module if count() == 1 else nn.parallel.DistributedDataParallel(module)


def sending(model: nn.Module, last: bool) -> AbstractContextManager[None]:
    """For a part of a step's batch: gradients are sent with the last one."""
    return nullcontext() if last or count() == 1 else model.no_sync()

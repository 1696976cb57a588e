"""A score of a network that was never trained: J. Mellor, J. Turner, A. Storkey, E. Crowley, Neural Architecture Search
without Training (ICML 2021). The more different the activations are that switch on for different pictures, the
better a network can tell them apart."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from .. import rooms
from ..data import Dataset
from ..net.network import Network
from .modules import build, normalise

PICTURES = 32
SEEDS = 3  # networks with other random weights, whose mean is taken


def score(network: Network, items: Dataset) -> float:
    """log |K| of the kernel K, whose entries tell how many activations two of PICTURES items have in common."""
    prepare = rooms.part(network.task, "input").prepare
    step = max(1, len(items) // PICTURES)
    ready = np.stack([prepare(items[i * step][0], network) for i in range(min(PICTURES, len(items)))])
    x = normalise(torch.from_numpy(ready), network)
    with torch.random.fork_rng():  # a training's own numbers stay what they are
        return float(np.mean([scored(network, x, seed) for seed in range(SEEDS)]))


@torch.no_grad()
def scored(network: Network, x: Tensor, seed: int) -> float:
    torch.manual_seed(seed)
    # tunnels of one kind are alike before they have learnt anything
    model, kernel = build(network, tied=True).train(), torch.zeros(len(x), len(x), dtype=torch.float64)

    def add(_module: nn.Module, _x: tuple[Tensor, ...], y: Tensor) -> None:
        # the tunnels' patches come one after the other
        on = (y > 0).unflatten(0, (-1, len(x))).transpose(0, 1).flatten(1).float()
        kernel.add_(on @ on.T + (1 - on) @ (1 - on).T)

    hooks = [module.register_forward_hook(add) for module in model.modules() if isinstance(module, (nn.ReLU, nn.ReLU6))]
    model(x)
    for hook in hooks:
        hook.remove()
    return float(torch.linalg.slogdet(kernel).logabsdet)

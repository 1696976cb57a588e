"""How quick a network learns on this machine."""

from __future__ import annotations

import time

import torch

from ..net.network import Network
from .modules import build

STEPS = 4  # the first ones are slow


def inputs_a_second(network: Network, batch: int, tied: bool) -> float:
    """Of training alone: forward, backward and a step, on noise."""
    model = build(network, tied).train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    x = torch.randn(batch, network.channels, network.height, network.width).to(memory_format=torch.channels_last)
    best = float("inf")
    for _ in range(STEPS):
        start = time.monotonic()
        loss = model(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        best = min(best, time.monotonic() - start)
    return batch / best

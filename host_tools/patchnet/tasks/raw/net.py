"""A network whose last map is its output, in PyTorch (float32)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from ... import rooms
from ...data import Item
from ...net.network import Network
from ...train.modules import Tunnels, normalise, start_weights


class MapNet(Tunnels):
    """The one tunnel, whose last map is the output."""

    def __init__(self, network: Network, tied: bool = False):
        """`tied` as in `Tunnels`."""
        super().__init__(network, tied)
        start_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised inputs (N, channels, height, width) to maps (N, channels, h, w)."""
        return self.maps(x)[:, 0]

    @torch.no_grad()
    def predict(self, items: Iterable[Item], batch: int = 64) -> np.ndarray:
        """Maps (N, h, w, channels) of uint8 pictures of any size, resized as the engine does, or of raw values."""
        self.eval()
        prepare = rooms.part(self.network.task, "input").prepare
        ready = np.stack([prepare(item, self.network) for item in items])
        parts = [self(normalise(part, self.network)) for part in torch.from_numpy(ready).split(batch)]
        return torch.cat(parts).permute(0, 2, 3, 1).numpy()

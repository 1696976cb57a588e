"""The classifying network in PyTorch (float32): tunnels, pooling, one fully connected layer or none."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from ... import rooms
from ...data import Item
from ...net.network import Network
from ...train.modules import Tunnels, build_layer, normalise, start_weights, stitch
from .end import Pooled


class PatchTunnelNet(Tunnels):
    """Patches, one tunnel each, pooled features summed or concatenated, one fully connected layer (section 3); without
    one (`fc` is None) the features are the logits."""

    def __init__(self, network: Network, tied: bool = False):
        """`tied` as in `Tunnels`."""
        super().__init__(network, tied)
        self.merged = nn.Sequential(*map(build_layer, network.tail()))
        self.fc = nn.Linear(network.features, len(network.labels)) if network.features else None
        start_weights(self)

    def behind(self) -> list[nn.Module]:
        return list(self.merged)

    def pooled(self, maps: Tensor) -> Tensor:
        """The tunnels' last maps (N, tunnels, channels, h, w) to means (N, tunnels, channels); of tunnels that merge,
        as one."""
        if not len(self.merged):
            return maps.mean((3, 4))
        return self.merged(stitch(maps.unbind(1), self.network)).mean((2, 3))[:, None]

    def classify(self, pooled: Tensor) -> Tensor:
        """Means (N, tunnels, channels) to logits (N, classes)."""
        features = pooled.flatten(1) if Pooled.of(self.network).aggregate == "concat" else pooled.sum(1)
        return features if self.fc is None else self.fc(features)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised pictures (N, channels, height, width) to logits (N, classes)."""
        return self.classify(self.pooled(self.maps(x)))

    @torch.no_grad()
    def predict(self, pictures: Iterable[Item], batch: int = 64) -> np.ndarray:
        """Softmax scores (N, classes) of uint8 pictures of any size, resized as the engine does, or of clips."""
        self.eval()
        prepare = rooms.part(self.network.task, "input").prepare
        ready = np.stack([prepare(picture, self.network) for picture in pictures])
        parts = [self(normalise(part, self.network)) for part in torch.from_numpy(ready).split(batch)]
        return torch.cat(parts).softmax(1).numpy()

"""A network whose last map is its output, fake-quantized, and its integers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...blob.quantized import QNet
from ...train.fake import FakeNet, affine
from .record import QMap


class FakeMap(FakeNet):
    """A trained network with its batch norms folded and every rounding of the integers imitated."""

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """Post-training quantization: chooses every scale from normalised inputs (N, C, H, W)."""
        self.calibrate_tunnels(x)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised inputs (N, C, H, W) to maps (N, channels, h, w)."""
        return self.maps(x)[0]

    def distance(self, out: Tensor, target: Tensor) -> Tensor:
        """How far the maps are from those of the float network: mean squared error."""
        return F.mse_loss(out, target)

    @torch.no_grad()
    def quantized(self) -> QNet:
        """The integers. ValueError names the layer that cannot be represented."""
        input_zero, tunnels = self.quantized_tunnels()
        scale, _ = affine(*self.tunnels[0][-1].range)
        return QNet(self.network, input_zero, tunnels, QMap(scale))

"""The classifying network fake-quantized, and its integers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...blob.quantized import QNet
from ...train.fake import (
    FakeNet,
    affine,
    calibrate_layers,
    fake,
    fake_layers,
    fake_parts,
    narrow,
    narrow_range,
    quantized_layers,
    shift_for,
    weight_scale,
)
from .end import Pooled
from .net import PatchTunnelNet
from .record import QPool, QPooled


class FakeClassifier(FakeNet):
    """A trained classifier with its batch norms folded and every rounding of the integer network imitated."""

    def __init__(self, model: PatchTunnelNet):
        super().__init__(model)
        self.merged = fake_layers(self.network.tail(), model.merged)
        self.dense = model.fc is not None
        if model.fc is not None:
            self.fc_weight = nn.Parameter(model.fc.weight.detach().clone())
            self.fc_bias = nn.Parameter(model.fc.bias.detach().clone())

    def pool(self, outputs: list[Tensor]) -> Tensor:
        """Outputs of all tunnels, or of what they merge into, to features (N, features)."""
        pooled = [y.mean((2, 3)) for y in outputs]
        return torch.cat(pooled, 1) if Pooled.of(self.network).aggregate == "concat" else torch.stack(pooled).sum(0)

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """Post-training quantization: chooses every scale from normalised pictures (N, C, H, W)."""
        outputs = self.calibrate_tunnels(x)
        if len(self.merged):
            outputs = [calibrate_layers(self.merged, *self.calibrate_stitched(outputs))]
        else:
            ends = [tunnel[-1].range for tunnel in self.tunnels]
            self.end_with(min(low for low, _ in ends), max(high for _, high in ends))
        features = self.pool(outputs)
        self.feature_range = narrow_range(features, "none")
        logits = F.linear(features, self.fc_weight, self.fc_bias) if self.dense else features
        self.logit_range = float(logits.min()) * 1.1, float(logits.max()) * 1.1

    def forward(self, x: Tensor) -> Tensor:
        """Normalised pictures (N, C, H, W) to logits (N, classes)."""
        outputs = self.maps(x)
        features = self.pool([self.merged(self.stitched(outputs))] if len(self.merged) else outputs)
        if not self.dense:
            return features
        step, zero = affine(*self.feature_range)
        scale = weight_scale(self.fc_weight, self.fc_bias, step)
        return F.linear(fake(features, step, zero), *fake_parts(self.fc_weight, self.fc_bias, scale, step))

    def distance(self, logits: Tensor, target: Tensor) -> Tensor:
        """How far the answers are from those of the float network: Kullback-Leibler divergence."""
        return F.kl_div(logits.log_softmax(1), target.log_softmax(1), reduction="batchmean", log_target=True)

    @torch.no_grad()
    def quantized(self) -> QNet:
        """The integers. ValueError names the layer that cannot be represented."""
        input_zero, tunnels = self.quantized_tunnels()
        behind = quantized_layers(self.merged, tunnels[0][-1].zero_out, "merged")
        logit_scale, logit_zero = affine(*self.logit_range)
        if not self.dense:
            pool = self.quantized_pool(logit_scale, logit_zero)
            return QNet(self.network, input_zero, tunnels, QPooled(pool, None, 0, 0, logit_scale), behind)
        scale, zero = affine(*self.feature_range)
        pool = self.quantized_pool(scale, zero)
        fc_scale = weight_scale(self.fc_weight, self.fc_bias, scale)
        fc, shift = narrow(self.fc_weight, self.fc_bias, fc_scale, scale, pool.zero_out, logit_scale)
        return QNet(self.network, input_zero, tunnels, QPooled(pool, fc, shift, logit_zero, logit_scale), behind)

    def quantized_pool(self, scale: float, zero: int) -> QPool:
        """The pooling's integers, its values having this scale and zero point."""
        last = self.network.run()[-1]
        last_scale, _ = affine(*(self.merged or self.tunnels[0])[-1].range)
        ratio = last_scale / (last.oh * last.ow * scale)
        shift = shift_for(ratio, 40)
        return QPool(round(ratio * 2.0 ** (40 - shift)), shift, zero)

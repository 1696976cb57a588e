"""From a trained float network that detects to integers: the stitched map, the scales and their heads."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...blob.quantized import QNet
from ...net.layers import Layer
from ...net.network import Readout
from ...train.fake import (
    FakeBottleneck,
    FakeNet,
    best_shrink,
    calibrate_layers,
    fake,
    fake_layers,
    quantized_layers,
)
from .net import DetectNet, Head, Scale, by_anchor
from .record import QDetect

FLOOR = -6.0  # logits below it (scores of less than 0.25%) all become the lowest int8
TELLING = 0.05  # the score from which on an anchor's box matters
HEADROOM = 0.5  # logits above the highest that calibration met


class FakeHead(FakeBottleneck):
    """A head: box and class channels have a scale each, common to all heads, and the zero point 0. That of the classes'
    logits, `cls_zero`, stands in the bias."""

    def __init__(self, layer: Layer, head: Head):
        super().__init__(layer, head)
        self.classes, self.offset = head.classes, torch.zeros(layer.cout)

    def set_scales(self, box_scale: float, cls_scale: float, cls_zero: int) -> None:
        """An int8 value q stands for q * box_scale of a box code, (q - cls_zero) * cls_scale of a class's logit."""
        anchors = self.layer.cout // (4 + self.classes)
        self.channel_scale = torch.tensor([box_scale] * 4 + [cls_scale] * self.classes).repeat(anchors)
        self.offset = torch.tensor([0.0] * 4 + [cls_zero * cls_scale] * self.classes).repeat(anchors)
        self.means["project_bias"] += self.offset

    def end_bias(self) -> Tensor:
        return super().end_bias() + self.offset

    def output(self) -> tuple[Tensor, int]:
        return self.channel_scale, 0

    def rounded(self, x: Tensor, y: Tensor) -> Tensor:
        offset, zero = self.offset[:, None, None], torch.zeros(len(self.offset), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(y, self.channel_scale, zero, 1, -128, 127) - offset


class FakeScale(nn.Module):
    def __init__(self, shapes: Readout, scale: Scale):
        super().__init__()
        self.layers = fake_layers(shapes.layers, scale.layers)
        self.head = FakeHead(shapes.head, scale.head)


class FakeDetector(FakeNet):
    """A trained network that detects, its batch norms folded, every rounding of the integers imitated."""

    def __init__(self, model: DetectNet):
        super().__init__(model)
        shapes = self.network.readouts
        self.scales = nn.ModuleList(FakeScale(s, scale) for s, scale in zip(shapes, model.scales, strict=True))

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """Post-training quantization: chooses every scale from normalised pictures (N, C, H, W).

        The tunnels' common scale is that of the stitched map, in which two of them may meet.
        """
        found, (y, span) = [], self.calibrate_stitched(self.calibrate_tunnels(x))
        for part in self.scales:
            y = calibrate_layers(part.layers, y, span)
            span = part.layers[-1].range if len(part.layers) else span
            found.append(by_anchor(part.head.calibrate(y, span), len(self.network.labels)))
        self.choose_head_scales(torch.cat(found, 1))

    def choose_head_scales(self, out: Tensor) -> None:
        """From the float output (N, anchors, 4 + classes): box codes where a class is likely, all logits."""
        codes, logits = out[:, :, :4], out[:, :, 4:]
        telling = codes[logits.amax(2).sigmoid() > TELLING]
        telling = telling if len(telling) else codes
        step = float(telling.abs().max()) / 127

        def error(factor: float) -> Tensor:
            return (fake(telling, step * factor, 0) - telling).square().mean()

        self.box_scale = step * float(best_shrink(error))
        high = max(0.0, float(logits.max()) + HEADROOM)
        self.cls_scale = (high - FLOOR) / 255
        self.cls_zero = round(-128 - FLOOR / self.cls_scale)
        for part in self.scales:
            part.head.set_scales(self.box_scale, self.cls_scale, self.cls_zero)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised pictures (N, C, H, W) to (N, anchors, 4 + classes), as `DetectNet` does."""
        y, found = self.stitched(self.maps(x)), []
        for part in self.scales:
            y = part.layers(y)
            found.append(by_anchor(part.head(y), len(self.network.labels)))
        return torch.cat(found, 1)

    def distance(self, out: Tensor, target: Tensor) -> Tensor:
        """How far the answers are from those of the float network: cross entropy of the scores above that of equal
        ones, and smooth L1 of the codes, weighed by the score of the anchor's likeliest class; per sure anchor."""
        logits, wanted = out[:, :, 4:].clamp(min=FLOOR), target[:, :, 4:].clamp(min=FLOOR)
        score = wanted.sigmoid()
        entropy = F.binary_cross_entropy_with_logits(logits, score, reduction="sum")
        least = F.binary_cross_entropy_with_logits(wanted, score, reduction="sum")
        weight = score.amax(2, keepdim=True)
        codes = F.smooth_l1_loss(out[:, :, :4], target[:, :, :4], reduction="none")
        return (entropy - least + (weight * codes).sum()) / weight.sum()

    @torch.no_grad()
    def quantized(self) -> QNet:
        """The integers. ValueError names the layer that cannot be represented."""
        input_zero, tunnels = self.quantized_tunnels()
        zero, behind = tunnels[0][-1].zero_out, []
        for i, part in enumerate(self.scales):
            layers = quantized_layers(part.layers, zero, f"scale {i}")
            zero = layers[-1].zero_out if layers else zero
            behind += [*layers, *quantized_layers([part.head], zero, f"head of scale {i}")]
        end = QDetect(self.cls_zero, self.cls_scale, self.box_scale)
        return QNet(self.network, input_zero, tunnels, end, tuple(behind))

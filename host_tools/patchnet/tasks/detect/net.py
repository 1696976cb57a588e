"""The detecting network in PyTorch (float32): tunnels, their maps stitched together, scales with a head each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ... import data
from ...net.layers import Layer
from ...net.network import Network
from ...train.modules import Bottleneck, Tunnels, build_layer, normalise, start_weights, stitch
from . import boxes
from .end import Boxes
from .input import prepare

RARE = 0.01  # what an untrained head thinks of any class at any anchor: focal loss must not drown in negatives


class Linear(nn.Conv2d):
    """A 1x1 convolution that keeps its bias: outputs of a head are no features to be normalised."""

    def folded(self) -> tuple[Tensor, Tensor]:
        return self.weight.detach(), self.bias.detach()


class Head(Bottleneck):
    """Depthwise convolution and a linear layer to `anchors * (4 + classes)` channels (SSDLite)."""

    def __init__(self, layer: Layer, classes: int):
        super().__init__(layer)
        self.project = Linear(layer.cexp, layer.cout, 1)
        self.classes = classes

    def begin(self) -> None:
        """Starts with boxes equal to anchors, and all classes RARE."""
        nn.init.normal_(self.project.weight, std=0.01)
        bias = torch.zeros(4 + self.classes)
        bias[4:] = -math.log(1 / RARE - 1)
        self.project.bias.data = bias.repeat(len(self.project.bias) // len(bias))


class Scale(nn.Module):
    """Layers that lead from the map of the scale before to this one's, and the head that reads it."""

    def __init__(self, layers: Sequence[Layer], head: Layer, classes: int):
        super().__init__()
        self.layers = nn.Sequential(*map(build_layer, layers))
        self.head = Head(head, classes)


class DetectNet(Tunnels):
    """A network whose end is `Boxes`: forward gives the codes and class logits of all anchors."""

    def __init__(self, network: Network, tied: bool = False):
        """`tied` as in `Tunnels`."""
        super().__init__(network, tied)
        classes = len(network.labels)
        self.scales = nn.ModuleList(Scale(s.layers, s.head, classes) for s in network.readouts)
        start_weights(self)
        for scale in self.scales:
            scale.head.begin()
        self.anchors = boxes.anchors_of(network)

    def behind(self) -> list[nn.Module]:
        return [module for scale in self.scales for module in (*scale.layers, scale.head)]

    def forward(self, x: Tensor) -> Tensor:
        """Normalised pictures (N, channels, height, width) to (N, anchors, 4 + classes): box codes, class logits."""
        return self.heads(stitch(list(self.maps(x).unbind(1)), self.network))

    def heads(self, x: Tensor) -> Tensor:
        """The stitched map to (N, anchors, 4 + classes)."""
        found = []
        for scale in self.scales:
            x = scale.layers(x)
            found.append(by_anchor(scale.head(x), len(self.network.labels)))
        return torch.cat(found, 1)

    @torch.no_grad()
    def predict(
        self, pictures: Sequence[np.ndarray], threshold: float, iou: float, batch: int = 16
    ) -> list[np.ndarray]:
        """What is seen in each of the uint8 pictures of any size: rows of xmin, ymin, xmax, ymax in the picture's own
        pixels, class, score (0..1), best first."""
        self.eval()
        found = []
        for start in range(0, len(pictures), batch):
            some = pictures[start : start + batch]
            ready = np.stack([prepare(picture, self.network) for picture in some])
            out = self(normalise(torch.from_numpy(ready), self.network)).numpy()
            found += [self.read(o, picture.shape[:2], threshold, iou) for o, picture in zip(out, some, strict=True)]
        return found

    def read(self, out: np.ndarray, size: tuple[int, int], threshold: float, iou: float) -> np.ndarray:
        """Rows as `predict` gives them from one picture's output (anchors, 4 + classes); `size`: its height, width."""
        n = self.network
        scores = 1 / (1 + np.exp(-out[:, 4:].astype(np.float64)))
        order = np.argsort(-scores, axis=None, kind="stable")[: Boxes.of(n).top]
        order = order[scores.ravel()[order] >= threshold]
        anchor, label = np.unravel_index(order, scores.shape)
        rows = boxes.decode(out[anchor, :4].astype(np.float64), self.anchors[anchor])
        rows = np.clip(rows, 0, (n.width, n.height, n.width, n.height))
        keep = boxes.suppress(rows, label, iou)
        x, y, w, h = data.crop(size[1], size[0], None, (n.height, n.width), n.fit)
        rows = rows[keep] * (np.array([w, h, w, h]) / (n.width, n.height, n.width, n.height)) + (x, y, x, y)
        return np.column_stack([rows, label[keep], scores[anchor[keep], label[keep]]])


def by_anchor(x: Tensor, classes: int) -> Tensor:
    """A head's output (N, A * (4 + classes), H, W) as (N, H * W * A, 4 + classes), in scan order."""
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, 4 + classes)

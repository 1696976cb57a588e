"""Training of networks that detect: boxes to targets per anchor, focal and box loss, mean average precision."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...data import Dataset, as_picture, in_pixels, of_classes
from ...net.network import Network
from ...train import processes
from ...train.batches import WHOLE, Batches, Draws, PictureBatches, cut, jitter, moved, unmixed
from ...train.experiment import Experiment
from ...train.modules import Tunnels, normalise
from ...train.task import Goal, Training
from . import boxes, precision
from .answers import LEAST, OVERLAP
from .fake import FakeDetector
from .net import DetectNet


class BoxBatches(PictureBatches):
    """Augmented batches of a detection set: uint8 (N, H, W, C), and per anchor the label (boxes.NOTHING, IGNORED or a
    class) and the box code: float32 (N, anchors, 5). ValueError if the set has no boxes or lacks a class."""

    def __init__(self, dataset: Dataset, experiment: Experiment, rank: int = 0, ranks: int = 1):
        super().__init__(of_classes(dataset, experiment.network.labels), experiment, rank, ranks)
        self.anchors = boxes.anchors_of(experiment.network)

    def sample(self, i: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        n = self.e.network
        pixels, rows = (self.mosaic if rng.random() < self.e.mosaic else self.part)(i, (n.width, n.height), rng)
        rows = cut(rows)
        if self.e.options.turn and rng.random() < 0.5:
            pixels, rows[:, [1, 3]] = np.ascontiguousarray(pixels[::-1]), 1 - rows[:, [3, 1]]
        rows[:, :4] *= np.array([n.width, n.height, n.width, n.height], np.float32)
        return pixels, targets_of(rows, self.anchors, self.e.options.ignore)

    def area_of(self, i: int, rng: np.random.Generator) -> tuple[float, float, float, float]:
        """A random part in which an object is to be seen, if there is one in the picture (SSD)."""
        rows = self.boxes[i]
        for _ in range(10):
            area = self.random_area(rng)
            if not len(rows) or (cut(moved(rows, np.array(area), False))[:, 5] == 0).any():
                return area
        return tuple(WHOLE[0])


def targets_of(rows: np.ndarray, anchors: np.ndarray, ignore: tuple[float, float]) -> np.ndarray:
    """Boxes (n, 6) in pixels as what each anchor shall say, (anchors, 5): label, and code where there is a label."""
    own = boxes.match(anchors, rows[:, :4], rows[:, 5], *ignore)
    out = np.zeros((len(anchors), 5), np.float32)
    hit = own >= 0
    out[:, 0] = np.where(hit, 0, own)
    out[hit, 0] = rows[own[hit], 4]
    out[hit, 1:] = boxes.encode(rows[own[hit], :4], anchors[hit])
    return out


# ---------------------------------------------------------------- loss


def focal_loss(logits: Tensor, wanted: Tensor, alpha: float, gamma: float) -> Tensor:
    """Binary cross entropy per class (any shape, none summed), weighed by alpha where `wanted` is 1 and 1 - alpha where
    it is 0, and by (1 - p)^gamma, p the score of the right answer (Lin et al., RetinaNet)."""
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    right = torch.exp(-entropy)
    weight = alpha * wanted + (1 - alpha) * (1 - wanted)
    return weight * (1 - right) ** gamma * entropy


def detection_loss(out: Tensor, targets: Tensor, e: Experiment) -> Tensor:
    """Of outputs (N, anchors, 4 + classes) and targets (N, anchors, 5): focal loss of the classes of all anchors but
    the ignored, and smooth L1 of the codes of those with a box, both per anchor with a box."""
    label = targets[:, :, 0].long()
    hit, sure = label >= 0, label != boxes.IGNORED
    wanted = F.one_hot(label.clamp(min=0), out.shape[2] - 4) * hit[:, :, None]
    count = processes.shared(hit.sum()).clamp(min=1 / processes.count())
    classes = focal_loss(out[:, :, 4:][sure], wanted[sure].to(out.dtype), *e.options.focal).sum() / count
    codes = F.smooth_l1_loss(out[:, :, :4][hit], targets[:, :, 1:][hit], reduction="sum") / count
    return classes + e.options.box_weight * codes


# ---------------------------------------------------------------- the task


class Detector(nn.Module):
    """The network alone: what is trained."""

    def __init__(self, net: DetectNet):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def batch_loss(model: Callable, pixels: Tensor, targets: Tensor, draws: Draws, e: Experiment) -> Tensor:
    x = normalise(pixels, e.network)
    return detection_loss(model(jitter(x, e.colour, draws) if e.colour else x), targets, e)


def map50(net: DetectNet, dataset: Dataset) -> float:
    """Mean average precision at an IoU of 0.5, the way of PASCAL VOC, of whole pictures."""
    pictures = [as_picture(picture) for picture, _ in dataset]
    dataset = of_classes(dataset, net.network.labels)
    found = net.predict(pictures, LEAST, OVERLAP)
    truth = [in_pixels(rows, picture.shape) for rows, picture in zip(dataset.need_boxes(), pictures, strict=True)]
    return precision.mean(precision.voc_precisions(found, truth, len(dataset.classes)))


@dataclass(frozen=True)
class Options:
    """How anchors learn boxes."""

    ignore: tuple[Annotated[float, "0 to 1"], Annotated[float, "0 to 1"]] = (0.4, 0.5)
    """Low and high: anchors whose IoU with a box lies between are left out of the loss, from high on they learn it."""
    focal: tuple[Annotated[float, "0 to 100"], Annotated[float, "0 to 100"]] = (0.25, 2.0)
    """Alpha and gamma of the focal loss of the classes."""
    box_weight: Annotated[float, "0 to 1000"] = 1.0
    """Weight of the boxes' loss beside that of the classes."""
    turn: bool = False
    """Half of the pictures are also mirrored top to bottom."""


class DetectionTraining(Training):
    options = Options

    def model(self, network: Network, tied: bool = False) -> DetectNet:
        return DetectNet(network, tied)

    def fake(self, model: Tunnels) -> FakeDetector:
        return FakeDetector(model)

    def batches(self, dataset: Dataset, e: Experiment, rank: int = 0, ranks: int = 1) -> Batches:
        return BoxBatches(dataset, e, rank, ranks)

    def goal(self, e: Experiment, training: Dataset) -> Goal:
        unmixed(e)
        return Goal(Detector(self.model(e.network, e.tied)), functools.partial(batch_loss, e=e), map50, "map50")


TRAINING = DetectionTraining()

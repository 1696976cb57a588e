"""Training of networks that classify: batches, loss, accuracy.

Data sets of class labels train a softmax classifier; sets of boxes train on random crops whose labels follow from the
boxes, as a multi-label classifier, or as a two-way one (no_person, person).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ... import data
from ...data import Dataset
from ...net.network import Network
from ...train import processes
from ...train.batches import WHOLE, Batches, Draws, PictureBatches, jitter, mixed, unmixed
from ...train.experiment import Experiment
from ...train.modules import Tunnels, normalise
from ...train.task import Goal, Training
from ...train.teacher import NOBODY_KNOWS, Teacher, labelled, taught
from ...words import apart
from .fake import FakeClassifier
from .net import PatchTunnelNet

ABSENT, UNSURE, PRESENT = 0.0, -1.0, 1.0  # presence labels; unsure ones take no part in the loss


# ---------------------------------------------------------------- batches


def presence(boxes: np.ndarray, areas: np.ndarray, classes: int) -> np.ndarray:
    """Which classes are to be seen in each of `areas` (m, 4), boxes (n, 6) being in the same coordinates: (m, classes).

    A class is PRESENT where an object that is not difficult covers 0.5% of the area (the Visual Wake Words rule) and
    is not cut off to less than a third, or covers a tenth of the area; UNSURE where only less than that is visible.
    """
    low = np.maximum(boxes[None, :, :2], areas[:, None, :2])
    high = np.minimum(boxes[None, :, 2:4], areas[:, None, 2:])
    visible = np.prod(np.maximum(0, high - low), 2)
    covers = visible / np.prod(areas[:, 2:] - areas[:, :2], 1)[:, None]
    shown = visible / np.maximum(1e-9, np.prod(boxes[:, 2:4] - boxes[:, :2], 1))[None, :]
    present = (covers >= 0.005) & ((shown > 0.33) | (covers > 0.1)) & (boxes[None, :, 5] == 0)
    out = np.full((len(areas), classes), ABSENT, np.float32)
    for found, label in ((visible > 0, UNSURE), (present, PRESENT)):
        area, box = np.nonzero(found)
        out[area, boxes[box, 4].astype(int)] = label
    return out


def cell_areas(network: Network) -> np.ndarray:
    """The whole picture and then the cells of each tunnel's last map, as fractions of the picture (1 + cells, 4)."""
    (ph, pw), last = network.patch, network.layers()[-1]
    rows, columns = np.linspace(0, ph, last.oh + 1), np.linspace(0, pw, last.ow + 1)
    cells = [
        np.array([x + columns[j], y + rows[i], x + columns[j + 1], y + rows[i + 1]]) / [width, height, width, height]
        for y, x, height, width in network.patches()
        for i in range(last.oh)
        for j in range(last.ow)
    ]
    return np.concatenate([WHOLE, cells])


class ClassBatches(PictureBatches):
    """Targets are class indices (N,), or for sets of boxes presence labels (N, 1 + cells, classes)."""

    def __init__(self, dataset: Dataset, experiment: Experiment, rank: int = 0, ranks: int = 1):
        if dataset.boxes is None and experiment.extra:  # pictures like any others, but without labels
            dataset = with_untold(dataset, data.load(experiment.extra))
            experiment = replace(experiment, extra="")
        super().__init__(dataset, experiment, rank, ranks)
        self.areas = cell_areas(experiment.network)

    def sample(self, i: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | np.int64]:
        """One picture, cropped, resized and flipped, and its target."""
        size = self.e.network.width, self.e.network.height
        if self.dataset.boxes is None:
            pixels, _ = self.part(i, size, rng)
            return pixels, self.dataset.labels[i]
        pixels, boxes = self.mosaic(i, size, rng) if rng.random() < self.e.mosaic else self.part(i, size, rng)
        return pixels, presence(boxes, self.areas, len(self.dataset.classes))


def with_untold(dataset: Dataset, extra: Dataset) -> Dataset:
    """The set, and pictures of another whose classes are other ones: NOBODY_KNOWS what they are."""
    labels = np.concatenate([dataset.labels, np.full(len(extra), NOBODY_KNOWS)])
    return replace(
        dataset, sources=(*dataset.sources, *extra.sources), labels=labels, names=(*dataset.names, *extra.names)
    )


# ---------------------------------------------------------------- module and loss


class Heads(nn.Module):
    """The network and, while training on boxes, one linear layer that tells the classes in each cell of the
    tunnels' last maps."""

    def __init__(self, net: PatchTunnelNet, classes: int):
        super().__init__()
        self.net = net
        self.auxiliary = nn.Linear(net.network.layers()[-1].cout, classes) if classes else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        maps = self.net.maps(x)
        cells = None if self.auxiliary is None else self.auxiliary(maps.permute(0, 1, 3, 4, 2)).flatten(1, 3)
        return self.net.classify(self.net.pooled(maps)), cells


def presence_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy over the classes, those that are UNSURE left out."""
    sure = targets != UNSURE
    total = F.binary_cross_entropy_with_logits(logits[sure], targets[sure], reduction="sum")
    return total / processes.shared(sure.sum())


def loss_for(e: Experiment, dataset: Dataset, made: tuple[str, ...] = ()) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of logits that goes with the labels: of class distributions (N, classes), or for sets of boxes of
    presence labels (N, classes), all of them or one class against none of it. `made` are classes that no set has, as
    batches make them. ValueError if labels do not match."""
    labels, classes = e.network.labels, (*dataset.classes, *made)
    if dataset.boxes is None and labels == classes:
        weight = class_weights(dataset.labels, len(classes)) if e.options.balanced else None
        return lambda logits, target: F.cross_entropy(
            logits, target, weight if weight is None else weight.to(target.device), label_smoothing=e.smoothing
        )
    if dataset.boxes is not None and labels == classes:
        return presence_loss
    if dataset.boxes is None or len(labels) != 2 or labels[1] not in classes:
        two = "" if dataset.boxes is None else " (or two labels, the second one of these)"
        own, theirs = apart(labels, classes)
        raise ValueError(f"{e.name}: network has labels {own}, {e.train} has {theirs}{two}")
    column = classes.index(labels[1])
    whole = np.concatenate([presence(boxes, WHOLE, len(classes)) for boxes in dataset.boxes])[:, column]
    counts = torch.tensor([(whole == ABSENT).sum(), (whole == PRESENT).sum()])
    weight = counts.sum() / (2 * counts)  # both answers count alike

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        sure = target[:, column] != UNSURE
        logits, wanted = logits[sure], target[sure, column].long()
        by = weight.to(wanted.device)
        total = F.cross_entropy(logits, wanted, by, label_smoothing=e.smoothing, reduction="sum")
        return total / processes.shared(by[wanted].sum())

    return loss


def class_weights(labels: np.ndarray, classes: int) -> Tensor:
    """By which all classes count alike, and a class without a picture not at all; their mean over pictures is 1."""
    counts = np.bincount(labels, minlength=classes)
    return torch.tensor(len(labels) / (np.count_nonzero(counts) * np.maximum(1, counts)), dtype=torch.float32)


def batch_loss(
    model: Callable,
    e: Experiment,
    loss_of: Callable,
    pixels: Tensor,
    targets: Tensor,
    draws: Draws,
    teacher: Teacher | None = None,
) -> Tensor:
    """Loss of one batch as `Batches` makes it, augmented further here, where whole batches are quick."""
    x = normalise(pixels, e.network)
    x = jitter(x, e.colour, draws) if e.colour else x
    if targets.ndim == 3:
        logits, cells = model(x)
        loss = loss_of(logits, targets[:, 0])
        return loss if cells is None else loss + e.auxiliary * presence_loss(cells, targets[:, 1:])
    targets = labelled(targets, len(e.network.labels))
    if teacher is None:
        x, targets = mixed(x, targets, e, draws)
        return loss_of(model(x)[0], targets)
    told = teacher(x)
    x, both = mixed(x, torch.cat([targets, told], 1), e, draws)
    targets, told = both.chunk(2, 1)
    return taught(model(x)[0], targets, told, e.options.teaching, loss_of)


def float_accuracy(model: PatchTunnelNet, dataset: Dataset) -> float:
    """Top-1 accuracy over a whole data set. For sets of boxes: how often the best class is present, unsure left out."""
    scores = model.predict(picture for picture, _ in dataset)
    best = scores.argmax(1)
    if dataset.boxes is None:
        return float((best == dataset.labels).mean())
    found = np.concatenate([presence(boxes, WHOLE, len(dataset.classes)) for boxes in dataset.boxes])
    if model.network.labels != dataset.classes:
        column = found[:, dataset.classes.index(model.network.labels[1])]
        return float((best == column)[column != UNSURE].mean())
    return float((found[np.arange(len(best)), best] == PRESENT).mean())


# ---------------------------------------------------------------- the task


@dataclass(frozen=True)
class Options:
    """For sets of class labels."""

    balanced: bool = False
    """All classes count alike in the loss, however many pictures they have."""
    teacher: str = ""
    """A trained run with the same labels, or a file: ONNX (`.onnx`), a program of torch.export (`.pt2`) or TorchScript
    (`.pt`, `.torchscript`), whose outputs are the labels in their order. Its answers to the pictures as they are
    augmented are learnt, too; of the pictures of `extra`, whose labels play no part, nothing else."""
    teacher_mean: tuple[Annotated[float, "-1000 to 1000"], ...] = ()
    """A teacher from a file: what it wants taken away from pixels of 0 to 255, one number or one for each channel;
    empty: as `[network]` has it."""
    teacher_std: tuple[Annotated[float, "more than 0, at most 1000"], ...] = ()
    """The same: what they are then divided by."""
    teacher_size: tuple[Annotated[int, "1 to 4096"], ...] = ()
    """The same: height and width of what it looks at; empty: as the file says, or else as `[network]` has it."""
    teaching: Annotated[float, "0 to 1"] = 0.7
    """The teacher's share of what is learnt."""


def without_teacher(e: Experiment) -> None:
    """ValueError if something is said of a teacher, and there is none."""
    for field in fields(Options):
        if field.name.startswith("teach") and getattr(e.options, field.name) != field.default:
            raise ValueError(f"{e.name}: {field.name} has no effect without teacher")


class Classification(Training):
    options: type = Options

    def model(self, network: Network, tied: bool = False) -> PatchTunnelNet:
        return PatchTunnelNet(network, tied)

    def fake(self, model: Tunnels) -> FakeClassifier:
        return FakeClassifier(model)

    def batches(self, dataset: Dataset, e: Experiment, rank: int = 0, ranks: int = 1) -> Batches:
        return ClassBatches(dataset, e, rank, ranks)

    def goal(self, e: Experiment, training: Dataset) -> Goal:
        own: Options = e.options
        if training.boxes is None and e.extra and not own.teacher:
            raise ValueError(
                f"{e.name}: extra pictures of a set of class labels want a teacher, who tells what they are"
            )
        if not own.teacher:
            without_teacher(e)
        if training.boxes is not None:
            unmixed(e)
        if training.boxes is not None and own.teacher:
            raise ValueError(f"{e.name}: a teacher is for sets of class labels, {e.train} has boxes")
        scale = own.teacher_mean, own.teacher_std, own.teacher_size
        teacher = Teacher(own.teacher, e.network, *scale) if own.teacher else None
        loss = functools.partial(batch_loss, e=e, loss_of=loss_for(e, training), teacher=teacher)
        module = Heads(self.model(e.network, e.tied), len(training.classes) if e.auxiliary else 0)
        return Goal(module, loss, float_accuracy, "accuracy")


TRAINING = Classification()

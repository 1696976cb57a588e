"""What a heat map is asked, and how the objects that it finds are judged: by whether their centres lie in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...data import Dataset, Item, as_picture, in_pixels
from ...net.network import Network
from ...words import apart
from ..detect.answers import OVERLAP, Finding, Found, Levels
from .cells import boxes

LEAST = 0.5  # threshold of scores while precision and recall are measured


@dataclass(frozen=True)
class SpotResult:
    """How well one engine finds the `objects` that are not difficult on n pictures. An answer is right if its centre
    lies in an object of its class that no better answer found. `precision`: right of those that were `found`, `recall`:
    of the objects, `f1`: harmonic mean of both. `identical`: as in `classify.answers.Result`, of all boxes and scores.
    """

    on: str
    model: str
    data: str
    n: int
    objects: int
    found: int
    precision: float
    recall: float
    f1: float
    ram: int | None
    seconds: float
    labels: tuple[str, ...]
    reference: str | None = None
    identical: bool | None = None


def judged(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Of one picture's answers (rows of corners, class, score; best first): 1 right, 0 wrong, -1 not counted (in a
    difficult object, or one that is none of the classes). `truth`: rows of corners, class, difficult."""
    out, free = np.zeros(len(found), int), truth[:, 5] == 0
    for i, (x0, y0, x1, y1, label, _) in enumerate(found):
        centre = np.array([x0 + x1, y0 + y1]) / 2
        inside = (truth[:, 4] == label) & (truth[:, :2] <= centre).all(1) & (centre <= truth[:, 2:4]).all(1)
        hit = np.flatnonzero(inside & free)
        if len(hit):
            apart = ((truth[hit, :2] + truth[hit, 2:4]) / 2 - centre) ** 2
            out[i], free[hit[apart.sum(1).argmin()]] = 1, False
        elif (inside & (truth[:, 5] > 0)).any():
            out[i] = -1
    return out


def judge(found: Found, pictures: Dataset, model: str, data: str) -> SpotResult:
    """Against the boxes of `pictures`, whose classes are the model's labels."""
    pairs = zip(pictures.need_boxes(), pictures, strict=True)
    truth = [in_pixels(rows, as_picture(picture).shape) for rows, (picture, _) in pairs]
    objects = sum(int((rows[:, 5] == 0).sum()) for rows in truth)
    if objects == 0:
        raise ValueError("no picture has an object that is not difficult: nothing to measure precision by")
    verdicts = np.concatenate([judged(found.corners(i), rows) for i, rows in enumerate(truth)])
    right, counted = int((verdicts == 1).sum()), int((verdicts >= 0).sum())
    precision, recall = right / counted if counted else 0.0, right / objects
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return SpotResult(
        found.on, model, data, len(truth), objects, counted, precision, recall, f1, found.ram,
        round(found.seconds, 3), found.labels,
    )  # fmt: skip


def with_labels(items: Dataset, labels: tuple[str, ...], model: str, name: str) -> Dataset:
    """The set with boxes of the model's classes, by their labels. ValueError if it lacks more of them than one, the
    background."""
    missing = [label for label in labels if label not in items.classes]
    if len(missing) > 1 or len(missing) == len(labels):
        has, finds = apart(items.classes, labels)
        raise ValueError(f"{name} has classes {has}; {model} finds {finds}")
    rows = []
    for own in items.need_boxes():
        names = [items.classes[int(c)] for c in own[:, 4]]
        own = own[[label in labels for label in names]].copy()
        own[:, 4] = [labels.index(label) for label in names if label in labels]
        rows.append(own)
    return replace(items, classes=labels, boxes=tuple(rows))


class Heating(Finding):
    measure, measured = "f1", "F1"
    asked_to_measure = Levels(LEAST, OVERLAP)  # the overlap is no matter

    def of_float(self, model: Any, items: Sequence[Item], asked: Levels) -> list[np.ndarray]:
        maps = model.predict(items)
        pairs = zip(maps, items, strict=True)
        return [boxes(logits, model.network, as_picture(item).shape, asked.threshold) for logits, item in pairs]

    def of_logits(self, logits: np.ndarray, item: Item, network: Network, asked: Levels) -> np.ndarray:
        last = network.chain[-1]
        logits = logits.reshape(last.oh, last.ow, -1)
        if logits.shape[2] == 1 < last.cout:  # of a file with one class, which a sigmoid tells from none
            logits = np.concatenate([np.zeros_like(logits), logits], axis=2)
        return boxes(logits, network, as_picture(item).shape, asked.threshold)

    def matched(self, items: Dataset, labels: tuple[str, ...], model: str, name: str) -> Dataset:
        return with_labels(items, labels, model, name)

    def judged(self, answers: Found, items: Dataset, model: str, name: str) -> SpotResult:
        return judge(answers, items, model, name)

    def columns(self, results: Sequence[SpotResult]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        rows = [(str(r.n), str(r.objects), f"{r.precision:.2%}", f"{r.recall:.2%}", f"{r.f1:.2%}") for r in results]
        return (self.reads, "objects", "precision", "recall", "F1"), rows

    def remark(self, result: SpotResult) -> str:
        return f"{result.found} found"


ANSWERS = Heating()

"""What a classifying network is asked, and how its answers are judged and told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data import Dataset, Item
from ...engine.model import Model
from ...net.network import Network
from ...words import apart, some
from ..answers import Answering, Shown
from .end import Pooled

if TYPE_CHECKING:
    from ..html import Section

# A device's answer to a picture: class:score in the order of the ranking, scores in 1/65536.
WORDS = """
def words(m, img):
    return ["%d:%d" % (labels.index(label), int(score * 65536 + 0.5)) for label, score in m.classify(img)]
"""

Ranking = list[tuple[int, float]]  # (class, score), best first: of 65536 from integer engines, 0..1 from the float one


@dataclass(frozen=True)
class Answers:
    """What an engine said of N pictures. `order` (N, classes): classes, best first. `scores` (N, classes), by class:
    0..65536 from the integer engines, 0..1 from those in real numbers (float, source), which have no `ram`, bytes of
    arena."""

    on: str
    labels: tuple[str, ...]
    order: np.ndarray
    scores: np.ndarray
    ram: int | None
    seconds: float

    def ranking(self, i: int, top: int | None = None) -> list[tuple[str, float]]:
        """[(label, score 0..1), ...] of picture i, best first."""
        unit = 65536 if self.ram is not None else 1
        return [(self.labels[c], float(self.scores[i, c]) / unit) for c in self.order[i, :top]]


@dataclass(frozen=True)
class Result:
    """Accuracy of one engine on n pictures. `confusion[true][answer]` counts pictures, classes being `labels`.

    `top5` only where there are more than 5 classes. `identical`: whether all scores equal those of `reference`, the
    first integer engine that ran; None for that one and for float.
    """

    on: str
    model: str
    data: str
    n: int
    top1: float
    top5: float | None
    ram: int | None
    seconds: float
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    reference: str | None = None
    identical: bool | None = None


def match(labels: Sequence[str], classes: Sequence[str], model: str, data: str) -> np.ndarray:
    """For each class of a data set the model's class of that name. ValueError names both lists if one is missing."""
    if len(set(labels)) < len(labels):
        raise ValueError(f"{model}: two of its labels are equal: {some(labels)}")
    if not set(classes) <= set(labels):
        has, tells = apart(classes, labels)
        raise ValueError(f"{data} has classes {has}; {model} tells {tells}")
    return np.array([list(labels).index(c) for c in classes])


def judge(answers: Answers, truth: np.ndarray, model: str, data: str) -> Result:
    """Accuracy against `truth` (N,), indices into the model's labels."""
    n = len(answers.labels)
    confusion = np.zeros((n, n), int)
    np.add.at(confusion, (truth, answers.order[:, 0]), 1)
    top5 = (answers.order[:, :5] == truth[:, None]).any(1).mean() if n > 5 else None
    return Result(
        answers.on, model, data, len(truth), float((answers.order[:, 0] == truth).mean()),
        None if top5 is None else float(top5), answers.ram, round(answers.seconds, 3), answers.labels,
        tuple(tuple(map(int, row)) for row in confusion),
    )  # fmt: skip


def _rank(rankings: list[Ranking]) -> tuple[np.ndarray, np.ndarray]:
    """Rankings as `order` and `scores`."""
    pairs = np.array(rankings)
    order = pairs[:, :, 0].astype(int)
    scores = np.empty_like(pairs[:, :, 1])
    np.put_along_axis(scores, order, pairs[:, :, 1], 1)
    return order, scores


class Classifying(Answering):
    measure, measured = "top1", "top-1"

    def words(self, asked: None) -> str:
        return WORDS

    def from_words(self, words: Sequence[str]) -> Ranking:
        return [(int(label), int(score)) for label, score in (pair.split(":") for pair in words)]

    def of_float(self, model: Any, items: Sequence[Item], asked: None) -> list[Ranking]:
        scores = model.predict(items)
        order = np.argsort(-scores, 1, kind="stable")
        return [[(c, row[c]) for c in best] for row, best in zip(scores, order, strict=True)]

    def of_logits(self, logits: np.ndarray, item: Item, network: Network, asked: None) -> Ranking:
        z = logits.reshape(-1)
        if len(z) == 1:  # one logit tells two classes: the other's is nought
            z = np.array([0.0, *z])
        if Pooled.of(network).scores == "sigmoid":
            scores = 1 / (1 + np.exp(-z))
        else:
            scores = np.exp(z - z.max())
            scores /= scores.sum()
        return [(int(c), float(scores[c])) for c in np.argsort(-scores, kind="stable")]

    def of_host(self, model: Model, item: np.ndarray, labels: Sequence[str], asked: None) -> Ranking:
        place = {label: i for i, label in enumerate(labels)}
        return [(place[label], round(score * 65536)) for label, score in model.classify(item)]

    def gathered(self, on: str, labels: tuple[str, ...], rows: list, ram: int | None, seconds: float) -> Answers:
        return Answers(on, labels, *_rank(rows), ram, seconds)

    def matched(self, items: Dataset, labels: tuple[str, ...], model: str, name: str) -> Dataset:
        if len(items) == 0 or items.boxes is not None or min(items.labels) < 0:
            raise ValueError(f"{name}: wanted pictures with one class each, got {len(items)} pictures "
                             f"with {'boxes' if items.boxes is not None else 'no labels'}")  # fmt: skip
        return replace(items, classes=labels, labels=match(labels, items.classes, model, name)[items.labels])

    def judged(self, answers: Answers, items: Dataset, model: str, name: str) -> Result:
        return judge(answers, items.labels, model, name)

    def same(self, a: Answers, b: Answers) -> bool:
        return np.array_equal(a.scores, b.scores) and np.array_equal(a.order, b.order) and a.ram == b.ram

    def columns(self, results: Sequence[Result]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        five = [() if r.top5 is None else (f"{r.top5:.2%}",) for r in results]  # all or none: of the same classes
        rows = [(str(r.n), f"{r.top1:.2%}", *best) for r, best in zip(results, five, strict=True)]
        return (self.reads, "top-1", "top-5")[: 2 + bool(five[0])], rows

    def told(self, answers: Answers, i: int, top: int) -> dict:
        return {"ranking": [{"label": name, "score": score} for name, score in answers.ranking(i, top)]}

    def lines(self, told: dict, name: str) -> list[str]:
        return [f"{name}: " + ", ".join(f"{one['label']} {one['score']:.4f}" for one in told["ranking"])]

    def truth(self, file: Path, labels: Sequence[str]) -> str | None:
        folder = file.absolute().parent.name
        return folder if folder in labels else None

    def draw(self, shown: Sequence[Shown], network: Network, path: Path) -> list[Path]:
        from . import drawing  # imported here: matplotlib takes half a second to start

        return drawing.patches(shown, network, path)

    def sections(self, answers: Answers, items: Dataset) -> list[Section]:
        from . import showing  # imported here: matplotlib takes half a second to start

        unit = 1 if answers.ram is None else 65536
        return showing.sections(answers.labels, answers.order, answers.scores / unit, items)

    def draw_confusion(self, result: Result, path: Path) -> None:
        from . import drawing  # imported here: matplotlib takes half a second to start

        of = f"{result.model} on {result.data}\n{result.on}: top-1 {result.top1:.2%} of {result.n}"
        drawing.confusion(result.confusion, result.labels, of, path)


ANSWERS = Classifying()

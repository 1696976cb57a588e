"""What a classifying network makes of a data set, for a page: the confusion matrix, mistakes, and what it is least sure
of."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from ...data import Clip, Dataset, Item
from ..html import Section, confusion, gallery, note, picture, sound

MISTAKES, UNSURE = 24, 12


def shown(item: Item) -> str:
    return sound(item) if isinstance(item, Clip) else picture(item)


def sections(labels: Sequence[str], order: np.ndarray, scores: np.ndarray, items: Dataset) -> list[Section]:
    """`order` (N, classes): classes, best first; `scores` (N, classes) by class, 0..1; `items` in terms of `labels`."""
    n, (first, second) = len(labels), order[:, :2].T
    counts = np.zeros((n, n), int)
    np.add.at(counts, (items.labels, first), 1)
    rows = np.arange(len(items))
    sure, other = scores[rows, first], scores[rows, second]
    wrong = np.flatnonzero(first != items.labels)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:MISTAKES]
    unsure = np.argsort(sure - other, kind="stable")[:UNSURE]

    def told(i: int) -> tuple[str, str]:
        truth, answer = labels[items.labels[i]], labels[first[i]]
        said = f"{escape(answer)} {sure[i]:.2f}"
        if truth == answer:
            under = f'<span class="right">{said}</span>, {escape(labels[second[i]])} {other[i]:.2f}'
        else:
            under = f'<span class="wrong">{said}</span>, is {escape(truth)} ({scores[i, items.labels[i]]:.2f})'
        return shown(items[i][0]), f"{under}<br>{escape(items.names[i])}"

    told_first = note(f"{len(wrong)} of {len(items)} are wrong; those that it was surest of come first.")
    mistakes = [Section("Worst mistakes", told_first + gallery(map(told, worst)))] if len(wrong) else []
    none = "" if len(wrong) else note(f"None of {len(items)} is wrong.")
    return [
        Section("Confusion matrix", confusion(counts, labels) + none),
        *mistakes,
        Section("Least sure", gallery(map(told, unsure))),
    ]

"""From a heat map in real numbers to objects, as the engine does it in integers (FORMAT.md, Heat maps). Numpy only."""

from __future__ import annotations

import numpy as np

from ...data import crop
from ...net.network import Network
from .end import HeatMap


def scores_of(logits: np.ndarray, end: HeatMap) -> np.ndarray:
    """0..1 of each class in each cell, from logits (h, w, classes)."""
    if end.scores == "sigmoid":
        return 1 / (1 + np.exp(-logits))
    powers = np.exp(logits - logits.max(2, keepdims=True))
    return powers / powers.sum(2, keepdims=True)


def objects(logits: np.ndarray, end: HeatMap, threshold: float) -> list[tuple[int, int, int, int, int, float]]:
    """Of logits (h, w, classes) the objects, best first: x0, y0, x1, y1 (cells, one past the last), class, score."""
    scores = scores_of(logits, end)
    rest = scores.copy()
    if end.background >= 0:
        rest[:, :, end.background] = -1
    best, found = rest.argmax(2), []
    left = {(int(y), int(x)): int(best[y, x]) for y, x in np.argwhere(rest.max(2) >= threshold)}
    while left:
        start = min(left)
        label, cells = left.pop(start), [start]
        for y, x in cells:  # grows meanwhile
            for near in [(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
                if left.get(near) == label:
                    del left[near]
                    cells.append(near)
        rows, columns = zip(*cells, strict=True)
        score = float(max(scores[y, x, label] for y, x in cells))
        found.append((min(columns), min(rows), max(columns) + 1, max(rows) + 1, label, score))
    return sorted(found, key=lambda one: -one[5])[: end.top]


def boxes(logits: np.ndarray, network: Network, size: tuple[int, ...], threshold: float) -> np.ndarray:
    """Rows of x, y, w, h, class, score in pixels of a picture of `size` (height, width, ...)."""
    end, (h, w) = HeatMap.of(network), logits.shape[:2]
    left, top, wide, high = crop(size[1], size[0], None, (network.height, network.width), network.fit)
    step = np.array([wide / w, high / h])
    rows = [
        (left + x0 * step[0], top + y0 * step[1], (x1 - x0) * step[0], (y1 - y0) * step[1], label, score)
        for x0, y0, x1, y1, label, score in objects(logits, end, threshold)
    ]
    return np.array(rows, np.float64).reshape(-1, 6)

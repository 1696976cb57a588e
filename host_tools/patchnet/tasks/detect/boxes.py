"""Boxes: overlaps, anchors, the code of a box relative to its anchor, matching, suppression. Numpy only.

Boxes are rows of xmin, ymin, xmax, ymax in one unit, pixels of the network's picture unless told otherwise; anchors
are rows of centre x, centre y, width, height. Anchors stand in the order in which heads are read: scale, row, column,
anchor of the cell.
"""

from __future__ import annotations

import numpy as np

from ...data.dataset import Dataset
from ...format import CENTRE, SIZE
from ...net.network import Network
from .end import Boxes, scales

NOTHING, IGNORED = -1, -2  # what an anchor may match instead of a box


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes a (n, 4) and b (m, 4): (n, m). Boxes without area overlap nothing."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.prod(np.maximum(0, high - low), 2)
    area_a, area_b = (np.prod(np.maximum(0, x[:, 2:4] - x[:, :2]), 1) for x in (a, b))
    return both / np.maximum(1e-9, area_a[:, None] + area_b[None, :] - both)


def corners(centred: np.ndarray) -> np.ndarray:
    """Rows of centre and size as rows of corners."""
    half = centred[:, 2:] / 2
    return np.concatenate([centred[:, :2] - half, centred[:, :2] + half], 1)


def anchors_of(network: Network) -> np.ndarray:
    """All anchors (n, 4) of a detecting network. The cell in column X of a map of stride s has its centre at
    (X + 0.5) * s."""
    found = []
    for anchors, scale in zip(Boxes.of(network).anchors, scales(network), strict=True):
        rows, columns, sizes = np.arange(scale.head.oh), np.arange(scale.head.ow), np.array(anchors, float)
        y, x, which = (grid.ravel() for grid in np.meshgrid(rows, columns, np.arange(len(sizes)), indexing="ij"))
        centres = (np.stack([x, y], 1) + 0.5) * scale.stride
        found.append(np.concatenate([centres, sizes[which]], 1))
    return np.concatenate(found)


def encode(boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """The code (dx, dy, dw, dh) of each box relative to the anchor in the same row."""
    size = np.maximum(1e-3, boxes[:, 2:4] - boxes[:, :2])
    centre = boxes[:, :2] + size / 2
    shift = (centre - anchors[:, :2]) / (CENTRE * anchors[:, 2:])
    return np.concatenate([shift, np.log(size / anchors[:, 2:]) / SIZE], 1)


def decode(codes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """The boxes of codes relative to the anchors in the same rows: inverse of `encode`."""
    centre = anchors[:, :2] + CENTRE * codes[:, :2] * anchors[:, 2:]
    return corners(np.concatenate([centre, anchors[:, 2:] * np.exp(SIZE * codes[:, 2:])], 1))


def match(
    anchors: np.ndarray, boxes: np.ndarray, difficult: np.ndarray, low: float = 0.4, high: float = 0.5
) -> np.ndarray:
    """For each anchor (n, 4) the box (m, 4) that it shall tell, NOTHING, or IGNORED: (n,) int.

    An anchor takes the box that it overlaps most, from an IoU of `high` on; between `low` and `high` it is ignored.
    Each box also gets the anchor that overlaps it most, whatever the IoU. Anchors of difficult boxes are ignored.
    """
    out = np.full(len(anchors), NOTHING)
    if not len(boxes):
        return out
    overlap = iou(corners(anchors), boxes)
    nearest, most = overlap.argmax(1), overlap.max(1)
    out[most >= low] = IGNORED
    out[most >= high] = nearest[most >= high]
    best = overlap.argmax(0)
    sure = np.flatnonzero((difficult == 0) & (overlap[best, np.arange(len(boxes))] > 0))
    out[best[sure]] = sure
    hit = out >= 0
    out[hit] = np.where(difficult[out[hit]] > 0, IGNORED, out[hit])
    return out


def suppress(boxes: np.ndarray, labels: np.ndarray, most: float) -> np.ndarray:
    """Greedy suppression, class by class: indices of the boxes that stay, of boxes sorted best first. One goes when its
    IoU with a better one of its class that stays is more than `most`."""
    clash = (iou(boxes, boxes) > most) & (labels[:, None] == labels[None, :])
    alive = np.ones(len(boxes), bool)
    for i in range(len(boxes)):
        if alive[i]:
            alive[i + 1 :] &= ~clash[i, i + 1 :]
    return np.flatnonzero(alive)


def overlap_of_sizes(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU (n, m) of boxes of widths and heights a (n, 2) and b (m, 2) with one centre."""
    both = np.prod(np.minimum(a[:, None], b[None]), 2)
    return both / (np.prod(a, 1)[:, None] + np.prod(b, 1)[None] - both)


def cluster(sizes: np.ndarray, k: int, seed: int = 0, rounds: int = 100) -> np.ndarray:
    """k anchors (k, 2) for boxes of these widths and heights (n, 2), smallest first: k-means with 1 - IoU of boxes laid
    over each other as the distance (YOLOv2). ValueError where there are fewer than k boxes."""
    if len(sizes) < k:
        raise ValueError(f"wanted {k} anchors, got {len(sizes)} boxes to choose them by")

    rng = np.random.default_rng(seed)
    centres = sizes[rng.choice(len(sizes), 1)]
    while len(centres) < k:  # k-means++: what is far from all centres is likely to be the next one
        far = 1 - overlap_of_sizes(sizes, centres).max(1)
        chance = far / far.sum() if far.sum() > 0 else None
        centres = np.concatenate([centres, sizes[rng.choice(len(sizes), 1, p=chance)]])
    for _ in range(rounds):
        own = overlap_of_sizes(sizes, centres).argmax(1)
        moved = np.array([sizes[own == i].mean(0) if (own == i).any() else centres[i] for i in range(k)])
        if np.allclose(moved, centres):
            break
        centres = moved
    return centres[np.argsort(np.prod(centres, 1))]


def anchors_for(dataset: Dataset, height: int, width: int, k: int) -> tuple[list[tuple[int, int]], float]:
    """k anchors (w, h) for a network whose picture is height x width, smallest first, and the mean over all boxes of
    the IoU with the best of them. Boxes that are difficult do not count."""
    rows = np.concatenate(dataset.need_boxes())
    rows = rows[rows[:, 5] == 0]
    sizes = (rows[:, 2:4] - rows[:, :2]).astype(float) * (width, height)
    found = np.maximum(1, cluster(sizes, k).round())
    return [(int(w), int(h)) for w, h in found], float(overlap_of_sizes(sizes, found).max(1).mean())

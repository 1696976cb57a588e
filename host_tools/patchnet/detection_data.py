"""Detection sets from files: VOC folders (XML), COCO JSON, YOLO text files. Needs no torch.

All become `data.Dataset`s with boxes (n, 6) of xmin, ymin, xmax, ymax as fractions of the picture, class, difficult.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .data import Dataset


def in_pixels(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Boxes (n, 6) of a picture of `shape` (height, width, ...) in its pixels."""
    h, w = shape[:2]
    return np.concatenate([rows[:, :4] * (w, h, w, h), rows[:, 4:]], 1)


def of_classes(dataset: Dataset, labels: tuple[str, ...]) -> Dataset:
    """The set with boxes of the classes `labels` only, in that order; pictures without any stay. ValueError if the set
    has no boxes or not all of the classes."""
    if dataset.boxes is None:
        raise ValueError(f"wanted a set of boxes, got one of class labels ({', '.join(dataset.classes)})")
    for label in labels:
        if label not in dataset.classes:
            raise ValueError(f"no class {label!r} in the data set (it has {', '.join(dataset.classes)})")
    new = np.array([labels.index(c) if c in labels else -1 for c in dataset.classes])
    rows = []
    for boxes in dataset.boxes:
        boxes = boxes[new[boxes[:, 4].astype(int)] >= 0].copy()
        boxes[:, 4] = new[boxes[:, 4].astype(int)]
        rows.append(boxes)
    return replace(dataset, classes=tuple(labels), boxes=tuple(rows))

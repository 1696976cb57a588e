"""Mean average precision of found boxes.

`found`: for each picture, rows of xmin, ymin, xmax, ymax, class, score; `truth`: for each picture, rows of xmin, ymin,
xmax, ymax, class, difficult; both in the picture's own pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .boxes import iou

Rows = Sequence[np.ndarray]


def average_precision(hits: np.ndarray, wanted: int) -> float:
    """Area under the precision-recall curve, precision made falling first (VOC 2010 and later). `hits`: whether each
    answer, best first, was right; `wanted`: how many objects there are."""
    right = np.cumsum(hits)
    precision = right / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((best * hits).sum() / wanted)


def judged(found: np.ndarray, truth: np.ndarray, most: float) -> np.ndarray:
    """Of one picture and class, best first: 1 right, 0 wrong, -1 not counted (a difficult object was found).

    An answer stands for the object that it overlaps most; it is right if that IoU is `most` or more and no better
    answer found the object.
    """
    out = np.zeros(len(found), int)
    if not len(truth):
        return out
    overlap, taken = iou(found[:, :4], truth[:, :4]), set()
    for i, (nearest, much) in enumerate(zip(overlap.argmax(1), overlap.max(1), strict=True)):
        if much >= most and truth[nearest, 5]:
            out[i] = -1
        elif much >= most and nearest not in taken:
            out[i] = 1
            taken.add(nearest)
    return out


def ranked(found: Rows, truth: Rows, label: int, most: float = 0.5) -> tuple[np.ndarray, int]:
    """Whether each answer of a class, best first over all pictures, was right, those that are not counted left out; and
    how many objects of it there are."""
    scores, hits, wanted = [], [], 0
    for have, real in zip(found, truth, strict=True):
        have, real = have[have[:, 4] == label], real[real[:, 4] == label]
        have = have[np.argsort(-have[:, 5], kind="stable")]
        scores.append(have[:, 5])
        hits.append(judged(have, real, most))
        wanted += int((real[:, 5] == 0).sum())
    hit = np.concatenate(hits)[np.argsort(-np.concatenate(scores), kind="stable")]
    return hit[hit >= 0], wanted


def voc_precisions(found: Rows, truth: Rows, classes: int, most: float = 0.5) -> list[float | None]:
    """Average precision of each class the way of PASCAL VOC: difficult objects neither count nor cost. None for a class
    of which there is no object."""
    pairs = [ranked(found, truth, label, most) for label in range(classes)]
    return [average_precision(hits, wanted) if wanted else None for hits, wanted in pairs]


def mean(precisions: Sequence[float | None]) -> float:
    """Of the classes that there are."""
    known = [p for p in precisions if p is not None]
    if not known:
        raise ValueError("no picture has an object that is not difficult: nothing to measure precision by")
    return float(np.mean(known))


def coco_map(found: Rows, truth: Rows, classes: int) -> float:
    """COCO's mean average precision over IoU 0.50 to 0.95, by faster-coco-eval; difficult objects as its crowds."""
    try:
        # imported here: only to measure, and may not be installed
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as e:
        raise ValueError(f"mean average precision needs {e.name}: pip install 'patchnet[train]'") from None

    def sides(row: np.ndarray) -> list[float]:
        return [float(v) for v in (row[0], row[1], row[2] - row[0], row[3] - row[1])]

    objects = [
        {"id": 0, "image_id": i, "category_id": int(row[4]), "bbox": sides(row), "iscrowd": int(row[5]),
         "area": float((row[2] - row[0]) * (row[3] - row[1]))}
        for i, rows in enumerate(truth) for row in rows
    ]  # fmt: skip
    for i, one in enumerate(objects):
        one["id"] = i + 1
    answers = [
        {"image_id": i, "category_id": int(row[4]), "bbox": sides(row), "score": float(row[5])}
        for i, rows in enumerate(found) for row in rows
    ]  # fmt: skip
    if not answers:
        return 0.0
    images = [{"id": i} for i in range(len(truth))]
    categories = [{"id": i, "name": str(i)} for i in range(classes)]
    real = COCO({"images": images, "annotations": objects, "categories": categories, "info": {}})
    evaluation = COCOeval_faster(real, real.loadRes(answers), "bbox", print_function=lambda *_: None)
    evaluation.params.maxDets = [1, 10, 100]
    evaluation.run()
    return float(evaluation.stats[0])

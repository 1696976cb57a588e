"""Mean average precision against cases worked out by hand, and against COCO's own evaluation."""

import numpy as np
import pytest

from patchnet.tasks.detect import precision


def found(*rows):
    """Boxes 10 pixels wide at x: (x, class, score)."""
    return np.array([[x, 0, x + 10, 10, label, score] for x, label, score in rows], float).reshape(-1, 6)


def truth(*rows):
    return np.array([[x, 0, x + 10, 10, label, difficult] for x, label, difficult in rows], float).reshape(-1, 6)


def test_area_under_the_curve():
    """Right, wrong, right of 4 objects: precision 1 up to recall 1/4, then 2/3 up to 1/2."""
    assert precision.average_precision(np.array([1, 0, 1]), 4) == pytest.approx(1 / 4 + 2 / 3 / 4)
    assert precision.average_precision(np.array([0, 1, 1]), 2) == pytest.approx(2 / 3), "precision made falling"
    assert precision.average_precision(np.array([], int), 3) == 0


def test_two_pictures_and_two_classes():
    have = [
        found((0, 0, 0.9), (1, 0, 0.8), (30, 0, 0.3), (60, 1, 0.5)),  # right, the same object again, right; wrong class
        found((4, 0, 0.7), (20, 1, 0.6)),  # overlap 60/140: too little; right
    ]
    real = [truth((0, 0, 0), (30, 0, 0)), truth((0, 0, 0), (20, 1, 0))]
    # class 0 by score: right, wrong, wrong, right of 3; class 1: right (0.6), wrong (0.5) of 1
    assert precision.voc_precisions(have, real, 3) == [pytest.approx(1 / 3 + 2 / 4 / 3), pytest.approx(1), None]
    assert precision.mean([0.5, 1.0, None]) == 0.75
    with pytest.raises(ValueError, match="nothing to measure"):
        precision.mean([None])


def test_difficult_objects_neither_count_nor_cost():
    real = [truth((0, 0, 1), (30, 0, 0))]
    assert precision.voc_precisions([found((0, 0, 0.9), (1, 0, 0.8), (30, 0, 0.5))], real, 1) == [1]
    assert precision.voc_precisions([found((0, 0, 0.9), (60, 0, 0.8), (30, 0, 0.5))], real, 1) == [0.5]


def test_coco_agrees():
    pytest.importorskip("faster_coco_eval")
    rng = np.random.default_rng(1)
    real, have = [], []
    for _ in range(12):
        corner, size = rng.uniform(0, 80, (6, 2)), rng.uniform(10, 40, (6, 2))
        boxes = np.column_stack([corner, corner + size])
        label = rng.integers(0, 3, 6)
        real.append(np.column_stack([boxes, label, np.zeros(6)]))
        have.append(np.column_stack([boxes + rng.normal(0, 3, (6, 4)), label, rng.random(6)]))
    levels = [precision.mean(precision.voc_precisions(have, real, 3, most)) for most in np.arange(0.5, 1, 0.05)]
    # COCO reads the curve at 101 points of recall, here with some 24 objects a class
    assert precision.coco_map(have, real, 3) == pytest.approx(np.mean(levels), abs=0.02)
    assert 0.2 < np.mean(levels) < 0.8
    assert precision.coco_map([r[:0] for r in have], real, 3) == 0
    exact = [np.column_stack([r[:, :5], np.ones(6)]) for r in real]
    assert precision.coco_map(exact, real, 3) == pytest.approx(1)

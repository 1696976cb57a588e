"""Overlaps, anchors, codes, matching and suppression of boxes against cases worked out by hand."""

import numpy as np
import pytest

from patchnet.net.recipe import Stage, patch_tunnels
from patchnet.tasks.detect import boxes
from patchnet.tasks.detect.end import Detection, Scale

TWO_SCALES = patch_tunnels(
    "n", ("a", "b"), 32, 48, k=4, central=False, margin_h=16, margin_w=16, stem_out=4, stages=(Stage(8, 1, 2, 2),),
    end=Detection((Scale(((6, 4), (9, 12))), Scale(((20, 16),), (Stage(8, 1, 2, 2),)))),
)  # fmt: skip


def test_iou():
    a = np.array([[0, 0, 4, 4], [2, 2, 2, 6]], float)
    b = np.array([[0, 0, 4, 4], [2, 0, 6, 4], [4, 0, 8, 4], [1, 1, 3, 3]], float)
    assert np.allclose(boxes.iou(a, b), [[1, 8 / 24, 0, 4 / 16], [0, 0, 0, 0]])


def test_anchors_stand_in_scan_order():
    found = boxes.anchors_of(TWO_SCALES)
    assert found.shape == (8 * 12 * 2 + 4 * 6, 4)
    assert found[:3].tolist() == [[2, 2, 6, 4], [2, 2, 9, 12], [6, 2, 6, 4]]
    assert found[2 * 12].tolist() == [2, 6, 6, 4], "the second row of cells"
    assert found[8 * 12 * 2 :][[0, 1, 6]].tolist() == [[4, 4, 20, 16], [12, 4, 20, 16], [4, 12, 20, 16]]


def test_code_of_a_box():
    anchors, box = np.array([[10.0, 20.0, 8.0, 4.0]]), np.array([[7.0, 17.0, 17.0, 25.0]])  # centre 12, 21, size 10, 8
    code = boxes.encode(box, anchors)
    assert np.allclose(code, [[2 / 0.8, 1 / 0.4, np.log(10 / 8) / 0.2, np.log(2) / 0.2]])
    assert np.allclose(boxes.decode(code, anchors), box)
    assert np.allclose(boxes.decode(np.zeros((1, 4)), anchors), [[6, 18, 14, 22]])


def test_matching():
    """Anchors of 10 x 10 in a row, 10 pixels apart."""
    anchors = np.array([[x + 5, 5, 10, 10] for x in range(0, 60, 10)], float)
    rows = np.array(
        [
            [0, 0, 10, 10],  # anchor 0, exactly
            [12, 0, 22, 10],  # IoU 80/120 with anchor 1, 20/180 with anchor 2
            [34.5, 0, 44.5, 10],  # 55/145 = 0.38 with anchor 3: less than 0.4, but no anchor is better
            [50, 0, 60, 8.5],  # difficult, on anchor 5
        ]
    )
    difficult = np.array([0, 0, 0, 1])
    assert boxes.match(anchors, rows, difficult).tolist() == [0, 1, -1, 2, -1, -2]
    assert boxes.match(anchors, np.zeros((0, 4)), np.zeros(0)).tolist() == [-1] * 6


def test_matching_ignores_what_is_between():
    anchors = np.array([[5, 5, 10, 10], [5, 5, 10, 4.5], [5, 5, 10, 3.5]], float)
    assert boxes.match(anchors, np.array([[0.0, 0, 10, 10]]), np.zeros(1)).tolist() == [0, -2, -1]
    assert boxes.match(anchors, np.array([[0.0, 0, 10, 10]]), np.zeros(1), 0.3, 0.45).tolist() == [0, 0, -2]


def test_a_box_keeps_its_best_anchor_from_a_neighbour_that_overlaps_it_more():
    anchors = np.array([[5, 5, 10, 10]], float)
    rows = np.array([[0, 0, 10, 10], [0, 0, 10, 2]], float)
    assert boxes.match(anchors, rows, np.zeros(2)).tolist() == [1], "better one box told than none of them"


def test_suppression_goes_class_by_class():
    rows = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9], [0, 0, 10, 4], [20, 0, 30, 10]], float)
    labels = np.array([0, 0, 1, 0, 0])
    assert boxes.suppress(rows, labels, 0.5).tolist() == [0, 2, 3, 4]
    assert boxes.suppress(rows, labels, 0.39).tolist() == [0, 2, 4]
    assert boxes.suppress(rows[:0], labels[:0], 0.5).tolist() == []


def test_what_was_suppressed_suppresses_nothing():
    rows = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], float)  # neighbours: 60/140 = 0.43
    assert boxes.suppress(rows, np.zeros(3, int), 0.4).tolist() == [0, 2]


def test_clusters_find_the_sizes_that_there_are():
    rng = np.random.default_rng(0)
    wanted = np.array([[10, 8], [20, 40], [60, 50]])
    many = zip(wanted, (10, 200, 40), strict=True)
    sizes = np.concatenate([size * rng.uniform(0.9, 1.1, (n, 2)) for size, n in many])
    assert np.abs(boxes.cluster(sizes, 3) / wanted - 1).max() < 0.05
    with pytest.raises(ValueError, match="wanted 3 anchors, got 2 boxes"):
        boxes.cluster(sizes[:2], 3)

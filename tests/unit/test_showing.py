"""What pages say of answers: which mistakes, which boxes."""

import re

import numpy as np

from patchnet.data import Dataset
from patchnet.tasks.classify.answers import ANSWERS, Answers
from patchnet.tasks.detect import precision
from patchnet.tasks.detect import showing as boxes
from patchnet.tasks.detect.answers import ANSWERS as DETECTING
from patchnet.tasks.detect.answers import Found

GREY = np.full((10, 20, 3), 128, np.uint8)


def test_mistakes_come_worst_first():
    scores = np.array([[60000, 5536], [10000, 55536], [33000, 32536], [65000, 536]])
    answers = Answers("host", ("a", "b"), np.argsort(-scores, 1), scores, 100, 0.1)
    items = Dataset(("a", "b"), [GREY] * 4, np.array([1, 0, 0, 1]), ("w", "x", "y", "z"))
    matrix, mistakes, unsure = ANSWERS.sections(answers, items)
    assert "3 of 4 are wrong" in mistakes.body
    assert re.findall(r"<br>(\w)<", mistakes.body) == ["z", "w", "x"]
    assert re.findall(r"<br>(\w)<", unsure.body) == ["y", "x", "w", "z"]
    assert "a 0.99</span>, is b (0.01)" in mistakes.body and "25.0%" in matrix.body


def test_no_mistakes_and_few_classes_have_no_room():
    scores = np.array([[60000, 5536], [10000, 55536]])
    answers = Answers("host", ("a", "b"), np.argsort(-scores, 1), scores, 100, 0.1)
    items = Dataset(("a", "b"), [GREY] * 2, np.array([0, 1]), ("w", "x"))
    matrix, unsure = ANSWERS.sections(answers, items)
    assert "None of 2 is wrong." in matrix.body and unsure.title == "Least sure"
    names, rows = ANSWERS.columns([ANSWERS.judged(answers, items, "m", "d")])
    assert (names, rows) == (("pictures", "top-1"), [("2", "100.00%")])


TRUTH = np.array([[0, 0, 10, 10, 0, 0], [20, 0, 30, 10, 1, 0], [40, 0, 50, 10, 0, 1]], float)
FOUND = np.array(
    [
        [0, 0, 10, 9, 0, 0.9],  # right
        [0, 1, 10, 10, 0, 0.8],  # the same again
        [20, 0, 30, 10, 0, 0.7],  # of another class
        [40, 0, 50, 10, 0, 0.6],  # difficult
        [60, 0, 70, 10, 1, 0.5],  # nothing there
    ]
)


def test_which_class_is_taken_for_which():
    counts = boxes.matrix([FOUND, np.zeros((0, 6))], [TRUTH, TRUTH[:1]], 2)
    assert counts.tolist() == [[1, 0, 1], [1, 0, 0], [1, 1, 0]]
    assert boxes.matrix([FOUND], [np.zeros((0, 6))], 2).tolist() == [[0, 0, 0], [0, 0, 0], [4, 1, 0]]


def test_faults_are_misses_and_false_alarms():
    assert boxes.faults(FOUND, TRUTH) == 4  # two boxes of class 0 too many, one of class 1, and one of it missed
    assert boxes.faults(np.zeros((0, 6)), TRUTH) == 2 and boxes.faults(TRUTH[:, [0, 1, 2, 3, 4, 5]], TRUTH) == 0


def test_curves_are_those_of_average_precision():
    hits, wanted = precision.ranked([FOUND], [TRUTH], 0)
    assert hits.tolist() == [1, 0, 0] and wanted == 1
    assert precision.voc_precisions([FOUND], [TRUTH], 3) == [1.0, 0.0, None]


def test_sections_of_boxes_show_truth_and_answers():
    rows = np.array([[0, 0, 10, 9, 0, 60000]])
    answers = Found("host", ("a", "b"), (rows, rows[:0]), 100, 0.1)
    truth = np.array([[0, 0, 0.5, 1, 0, 0]], np.float32)
    items = Dataset(("a", "b"), [GREY, GREY], np.full(2, -1), ("one", "two"), (truth, truth))
    curves, _, beside = DETECTING.sections(answers, items)
    assert "svg" in curves.body and beside.body.count("<img") == 4
    assert re.findall(r"<br>(\w+)</f", beside.body) == ["two", "one"]


def test_boxes_are_drawn_where_they_are():
    drawn = boxes.drawn(GREY, np.array([[5.0, 2, 15, 8, 0, 1]]))
    assert drawn.shape == (72, 144, 3) and (drawn[40, 36:38] == (255, 217, 47)).all() and (drawn[40, 60] == 128).all()

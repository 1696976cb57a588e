"""Raw networks and heat maps on the host: shapes, what is judged and told, test vectors, raw values as inputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from networks import free_network, identity_qnet
from patchnet import Model
from patchnet.blob import vector
from patchnet.blob.pack import pack
from patchnet.blob.random import random_qnet
from patchnet.data import Dataset
from patchnet.evaluate import val
from patchnet.net.layers import Layer
from patchnet.net.network import Network
from patchnet.tasks.classify.end import Pooled
from patchnet.tasks.detect.answers import Found
from patchnet.tasks.heatmap import answers, cells
from patchnet.tasks.heatmap.end import HeatMap
from patchnet.tasks.pictures import prepare
from patchnet.tasks.raw import answers as raw_answers
from patchnet.tasks.raw.end import LastMap
from patchnet.tasks.raw.record import QMap

LABELS = ("nothing", "cat", "dog")


def heat(height: int = 4, width: int = 6, **end) -> Network:
    return replace(identity_qnet(height, width, 3).design, end=HeatMap(**end), labels=LABELS)


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (dict(background=3), "background: wanted 0..2, or -1 for none, got 3"),
        (dict(background=-2), "background: wanted 0..2, or -1 for none, got -2"),
        (dict(top=0), "top: wanted 1..1000, got 0"),
        (dict(scores="none"), "scores: wanted softmax or sigmoid, got none"),
    ],
)
def test_heat_maps_that_cannot_be(end, message):
    with pytest.raises(ValueError, match=message):
        heat(**end).check()


def test_labels_are_the_channels():
    with pytest.raises(ValueError, match="labels: wanted 3, got 2"):
        replace(heat(), labels=LABELS[:2]).check()
    with pytest.raises(ValueError, match="labels: wanted 0, got 3"):
        replace(heat(), end=LastMap()).check()
    with pytest.raises(ValueError, match="dense: wanted 3 features, one for each class, got 5"):
        chain = (Layer("conv", 4, 4, 3, 0, 5, 1, 1),)
        network = free_network("flat", LABELS, 4, 4, 3, 1, False, chain=chain)
        replace(network, end=Pooled(dense=False)).check()


# ---------------------------------------------------------------- objects in real numbers


def test_objects_are_the_engines():
    """Of maps in the engine's own steps: the same boxes, and the scores up to rounding."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        network = heat(int(rng.integers(1, 9)), int(rng.integers(1, 9)), scores=("softmax", "sigmoid")[seed % 2])
        copy = identity_qnet(network.height, network.width, 3)
        blob = pack(replace(copy, design=network, end=QMap(0.05)))
        picture = rng.integers(0, 256, (network.height, network.width, 3), np.uint8)
        logits = (picture.astype(float) - 128) * 0.05
        got = cells.boxes(logits, network, picture.shape, 0.6)
        wanted = Model(blob).detect(picture, 0.6)
        assert [tuple(map(int, row[:4])) for row in got] == [box[:4] for box in wanted]
        assert [LABELS[int(row[4])] for row in got] == [box[4] for box in wanted]
        np.testing.assert_allclose([row[5] for row in got], [box[5] for box in wanted], atol=1e-3)


# ---------------------------------------------------------------- judging


def corners(*rows) -> np.ndarray:
    return np.array(rows, float).reshape(-1, 6)


def test_a_centre_inside_finds_an_object_once():
    truth = corners((0, 0, 10, 10, 1, 0), (20, 20, 30, 30, 2, 0), (40, 40, 50, 50, 1, 1))
    found = corners(
        (4, 4, 6, 6, 1, 0.9), (4, 4, 7, 7, 1, 0.8),  # one object, twice
        (4, 4, 6, 6, 2, 0.7), (12, 4, 14, 6, 1, 0.6),  # of another class, beside it
        (0, 0, 80, 80, 2, 0.5), (44, 44, 46, 46, 1, 0.4),  # the centre alone counts; a difficult one
    )  # fmt: skip
    assert answers.judged(found, truth).tolist() == [1, 0, 0, 0, 0, -1]
    assert answers.judged(corners((0, 0, 50, 50, 2, 0.5)), truth).tolist() == [1]  # its centre is at 25, 25


def test_of_two_objects_the_nearer_one_is_found():
    truth = corners((0, 0, 10, 10, 1, 0), (0, 0, 20, 20, 1, 0))
    assert answers.judged(corners((8, 8, 10, 10, 1, 0.9), (4, 4, 6, 6, 1, 0.8)), truth).tolist() == [1, 1]


def pictures(*boxes) -> Dataset:
    shown = tuple(np.zeros((100, 100, 3), np.uint8) for _ in boxes)
    rows = tuple(np.array(own, np.float32).reshape(-1, 6) for own in boxes)
    return Dataset(("dog", "bird", "cat"), shown, np.full(len(boxes), -1), tuple("ab"[: len(boxes)]), rows)


def test_precision_recall_and_f1():
    items = answers.with_labels(pictures([(0.0, 0, 0.2, 0.2, 0, 0)], [(0.5, 0.5, 0.6, 0.6, 2, 0)]), LABELS, "m", "d")
    assert items.classes == LABELS and [own[:, 4].tolist() for own in items.boxes] == [[2], [1]]
    rows = [np.array([[5, 5, 10, 10, 2, 60000], [70, 70, 10, 10, 1, 50000]]), np.zeros((0, 6), int)]
    result = answers.judge(Found("host", LABELS, tuple(rows), 100, 0.0), items, "m", "d")
    assert (result.objects, result.found, result.precision, result.recall, result.f1) == (2, 2, 0.5, 0.5, 0.5)
    names, values = answers.ANSWERS.columns([result])
    assert names[-1] == "F1" and values == [("2", "2", "50.00%", "50.00%", "50.00%")]


def test_the_background_alone_may_be_missing():
    items = pictures([(0.0, 0, 0.2, 0.2, 1, 0)])
    assert len(answers.with_labels(items, LABELS, "m", "d").boxes[0]) == 0  # a bird is none of the classes
    with pytest.raises(ValueError, match="d has classes dog, bird, cat; m finds nothing, mouse"):
        answers.with_labels(items, ("nothing", "mouse"), "m", "d")


# ---------------------------------------------------------------- raw networks


def raw_blob(channels: int = 3) -> bytes:
    copy = identity_qnet(2, 3, channels)
    return pack(replace(copy, design=replace(copy.design, end=LastMap(), labels=()), end=QMap(1.0)))


def test_raw_values_are_told(tmp_path):
    (tmp_path / "raw.pnb").write_bytes(raw_blob())
    (tmp_path / "x.ppm").write_bytes(b"P6 3 2 255\n" + bytes(range(18)))
    room, found = raw_answers.ANSWERS, val.predict(str(tmp_path / "raw.pnb"), [tmp_path / "x.ppm"])
    assert room.told(found, 0, 1) == {"shape": [2, 3, 3], "values": [n - 128 for n in range(18)]}
    assert room.lines(room.told(found, 0, 1), "x")[0].startswith("x: 2 x 3 x 3 values from -128 to -111: -128, -127")
    words = ["int8", "2x3x3", bytes(n ^ 128 for n in range(18)).hex()]
    np.testing.assert_array_equal(room.from_words(words), found.rows[0])
    with pytest.raises(ValueError, match=r"has raw output, of which no accuracy can be told: `patchnet predict`"):
        room.matched(pictures([]), (), "m", "d")


# ---------------------------------------------------------------- raw inputs


def test_raw_inputs_are_taken_as_they_are():
    network, x = identity_qnet(2, 3, 4).design, np.arange(24, dtype=np.int8)
    assert prepare(x, network).shape == (2, 3, 4) and prepare(x, network).dtype == np.int8
    assert prepare(x.astype(np.float32), network).dtype == np.float32
    for bad in (x[:5], np.zeros((2, 3, 4), np.uint8)):
        with pytest.raises(ValueError, match="input is 2x3x4, raw: wanted int8 values, got"):
            prepare(bad, network)


def test_vectors_of_raw_inputs(tmp_path):
    path = tmp_path / "raw.pnb"
    path.write_bytes(raw_blob(4))
    vector.save(path)
    found = vector.load(path)
    assert (found.kind, found.input.dtype, found.input.shape) == ("raw", np.int8, (2, 3, 4))
    assert found.outputs.tobytes() == found.input.tobytes() == vector.raw(found.input)
    other = free_network("other", ("a",), 2, 3, 3, 1, False, chain=(Layer("conv", 2, 3, 3, 0, 1, 1, 1),))
    path.write_bytes(pack(random_qnet(other)))
    with pytest.raises(ValueError, match=r"is not of raw\.pnb: delete it"):
        vector.load(path)

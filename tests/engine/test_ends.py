"""What ends a network besides a fully connected layer with a softmax, or heads: no such layer, sigmoids, the last map,
heat maps; and inputs that are no pictures. Engine against oracle, plans, refusals, the API."""

from __future__ import annotations

import subprocess
from array import array
from dataclasses import replace

import numpy as np
import pytest

import patchnet
from cases import Case, end_case, patched, random_blob, random_case, random_raw, scattered
from cengine import Engine, EngineError, sanitized
from difference import check
from networks import Free, classifier, free_network, identity_qnet, random_last_map, random_qnet, random_raw_input
from oracle import Oracle, arena
from patchnet import format as fmt
from patchnet.blob import qnet_file
from patchnet.blob.order import fast_layers
from patchnet.blob.pack import pack
from patchnet.blob.random import random_qnet as random_integers
from patchnet.blob.unpack import blob_network, blob_plan, blob_qnet, read
from patchnet.net.layers import Layer
from patchnet.net.network import Network
from patchnet.plan import choice
from patchnet.plan.place import place
from patchnet.report import analyze
from patchnet.tasks.classify.end import Pooled
from patchnet.tasks.heatmap.end import HeatMap
from patchnet.tasks.raw.end import LastMap
from patchnet.tasks.raw.record import QMap

FORMATS = (0, patchnet.GRAYSCALE, patchnet.RGB565, patchnet.RGB888)
SEEDS = range(40)


@pytest.mark.parametrize("seed", SEEDS)
def test_engine_is_the_oracle(seed):
    case = end_case(seed, extreme=seed % 5 == 4)
    check(Engine(case.blob), case.wanted(), case.x, case)
    check(Engine(case.blob, stream=seed % 3 / 2), case.wanted(), case.x, case)
    raw = random_raw(np.random.default_rng(seed), case.qnet.design)
    check(Engine(case.blob), case.oracle.run_raw(raw), raw, case)


@pytest.mark.parametrize("seed", range(200, 220))
def test_every_byte_read_is_the_one_meant(seed):
    case = end_case(seed)
    engine = Engine(case.blob, checking=True)
    check(engine, case.wanted(), case.x, case)
    assert engine.fault() is None


def test_random_networks_end_in_all_ways():
    """All kinds of ends and inputs, boxes and none, full lists, boxes of several cells, rows and columns as lines."""
    wanted = {"classify", "raw", "heatmap", "picture", "raw input", "softmax", "sigmoid", "full", "larger"}
    wanted |= {("dense", a) for a in (True, False)} | {("boxes", n) for n in range(3)} | {("several", True)}
    wanted |= {("background", a) for a in (True, False)} | {("columns", a) for a in (True, False)}
    for seed in range(300):
        wanted -= ways_of(end_case(seed))
        if not wanted:
            break
    assert not wanted


def ways_of(case: Case) -> set:
    d, boxes = case.qnet.design, case.wanted().boxes
    seen = {d.task, "picture" if d.channels in (1, 3) else "raw input", getattr(d.end, "scores", "none")}
    if d.task == "classify":
        seen |= {("dense", d.end.dense), ("several", d.tunnels > 1)}
    if d.task == "heatmap":
        cells = d.chain[-1].oh * d.chain[-1].ow
        seen |= {("boxes", min(len(boxes), 2)), ("background", d.end.background < 0)}
        seen |= {"full"} if len(boxes) == d.end.top else set()
        seen |= {"larger"} if 0 < len(boxes) < cells / 2 else set()
        seen |= {("columns", case.oracle.columns[-1])}
    return seen


@pytest.mark.parametrize("seed", range(60))
def test_any_plan_gives_the_same_values(seed):
    rng = np.random.default_rng(seed)
    network = random_last_map(rng, 40_000) if seed % 2 else random_raw_input(rng, 40_000)
    qnet = random_qnet(rng, network)
    raw = random_raw(rng, network)
    blobs = [random_blob(rng, qnet) for _ in range(4)]
    wanted = Oracle(blobs[0]).run_raw(raw)
    for blob in blobs:
        assert arena.plan_is_sound(blob)
        check(Engine(blob), wanted, raw)


@pytest.mark.parametrize("seed", range(12))
def test_planned_networks(seed):
    """The planner's plans are sound, need the bytes that it says, and give the oracle's values."""
    rng = np.random.default_rng(seed)
    network = random_last_map(rng, 40_000) if seed % 3 else without_dense(rng)
    qnet = random_qnet(rng, network)
    points, raw = choice.front(network, fast=fast_layers(qnet)), random_raw(rng, network)
    for point in (points[0], points[-1]):
        blob = pack(qnet, place(network, point.schedule))
        assert read(blob).header["arena_bytes"] == point.arena_bytes and arena.plan_is_sound(blob)
        assert blob_plan(read(blob)) == place(network, point.schedule)
        check(Engine(blob), Oracle(blob).run_raw(raw), raw)


def without_dense(rng) -> Network:
    """A classifier without a fully connected layer, its last convolution by itself in groups in some plans."""
    chain = (Layer("conv", 12, 12, 3, 0, 8, 3, 2), Layer("conv", 6, 6, 8, 0, int(rng.integers(20, 60)), 1, 1))
    k = int(rng.choice([1, 4]))
    shell = Free("flat", ("a",), 24 if k > 1 else 12, 24 if k > 1 else 12, 3, k, False, chain=chain)
    network = replace(shell, aggregate=str(rng.choice(["sum", "concat"]))).network()
    end = replace(network.end, dense=False)
    return replace(network, end=end, labels=tuple(f"class {i}" for i in range(end.features(network))))


@pytest.mark.parametrize("seed", range(30))
def test_files_hold_all_of_it(seed, tmp_path):
    case = end_case(seed, max_macs=20_000)
    qnet_file.save(case.qnet, tmp_path / "q.npz")
    again = qnet_file.load(tmp_path / "q.npz")
    assert again.design == case.qnet.design and pack(again) == pack(case.qnet)
    network = blob_network(read(case.blob), case.qnet.design.name)
    assert (network.end, network.labels) == (case.qnet.design.end, case.qnet.design.labels)
    assert pack(blob_qnet(case.blob, "again"), blob_plan(read(case.blob))) == pack(
        replace(case.qnet, end=blob_qnet(case.blob, "again").end), blob_plan(read(case.blob))
    )


def test_scattered_plans_are_sound():
    rng = np.random.default_rng(5)
    for seed in range(12):
        case = end_case(seed)
        blob = scattered(rng, pack(case.qnet, choice.smallest(case.qnet.design)))
        assert arena.plan_is_sound(blob)
        Engine(blob)


# ---------------------------------------------------------------- heat maps


def heat_blob(rows: int, columns: int, classes: int, **end) -> tuple[bytes, Network]:
    """Its map is its input: each cell's logits, zero 0, a step of 0.1."""
    copy = identity_qnet(rows, columns, classes)
    network = replace(copy.design, end=HeatMap(**end), labels=tuple("abcdefgh"[:classes]))
    return pack(replace(copy, design=network, end=QMap(0.1))), network


def heat_of(rows: list[str]) -> np.ndarray:
    """A map of characters: "." background, a digit an object's class, the brighter the later in "1234"."""
    out = np.full((len(rows), len(rows[0]), 5), -100, np.int8)
    for y, row in enumerate(rows):
        for x, c in enumerate(row):
            out[y, x, int(c) if c.isdigit() else 0] = 100
    return out


def found(rows: list[str], threshold: float = 0.5, **end) -> list[tuple]:
    heat = heat_of(rows)
    blob, _ = heat_blob(*heat.shape, **end)
    engine, oracle = Engine(blob), Oracle(blob)
    engine.threshold = oracle.threshold = round(65536 * threshold)
    got, wanted = engine.run_raw(heat), oracle.run_raw(heat)
    assert got.boxes == wanted.boxes
    with patchnet.Model(blob) as m:
        boxes = m.detect(heat, threshold)
    assert [(*box[:4], m_label(box[4])) for box in boxes] == [tuple(box[:5]) for box in got.boxes]
    return [box[:5] for box in got.boxes]


def m_label(name: str) -> int:
    return "abcdefgh".index(name)


def test_neighbours_are_one_object():
    assert found(["......", ".1....", "..1..1", "......"]) == [(1, 1, 2, 2, 1), (5, 2, 1, 1, 1)]
    assert found(["1.....", ".2....", "......"]) == [(0, 0, 1, 1, 1), (1, 1, 1, 1, 2)]  # of other classes
    assert found(["..1..", ".1.1.", "1...1", ".1.1."]) == [(0, 0, 5, 4, 1)]  # joined late
    assert found(["1.1.1", "1.1.1", ".1.1."]) == [(0, 0, 5, 3, 1)]
    assert found(["11111", "1...1", "1.1.1", "1...1", "11111"]) == [(0, 0, 5, 5, 1), (2, 2, 1, 1, 1)]  # inside another
    assert found(["...", "..."]) == []


def test_equal_ones_stay_in_order_and_the_rest_goes():
    rows = ["1.2.3", ".....", "4.1.2"]
    all_ = [(0, 0, 1, 1, 1), (2, 0, 1, 1, 2), (4, 0, 1, 1, 3), (0, 2, 1, 1, 4), (2, 2, 1, 1, 1), (4, 2, 1, 1, 2)]
    for top in (1, 3, 6, 100):
        assert found(rows, top=top) == all_[:top]


def test_background_is_any_class_or_none():
    assert found(["1.2"], background=1) == [(1, 0, 1, 1, 0), (2, 0, 1, 1, 2)]
    assert found(["1.2"], background=-1) == [(0, 0, 1, 1, 1), (1, 0, 1, 1, 0), (2, 0, 1, 1, 2)]


def test_scores_and_thresholds():
    """A cell's best class counts by its own score; an object has that of its best cell."""
    blob, _ = heat_blob(1, 4, 2)
    heat = np.zeros((1, 4, 2), np.int8)
    heat[0, :, 1] = [0, 10, 20, -127]  # scores 0.5, 0.731, 0.881
    with patchnet.Model(blob) as m:
        for threshold, width in ((0, 4), (0.49, 3), (0.6, 2), (0.8, 1), (0.9, 0)):
            boxes = m.detect(heat, threshold)
            assert [box[2] for box in boxes] == [width] * (width > 0)
            assert not boxes or boxes[0][5] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-4)
        assert bytes(m.predict(heat)) == heat.tobytes() and m.output_shape == (1, 4, 2) and m.task == "heatmap"
        assert m.profile(heat)[-1][:2] == ("head", "cells")
        assert repr(m) == f"<Model heatmap 1 x 4 x 2 -> 1 x 4 x 2, ram {m.ram}>"


def test_boxes_lie_in_the_region_of_the_picture():
    for seed in SEEDS:
        case = end_case(seed)
        if case.qnet.design.task != "heatmap" or case.picture is None:
            continue
        p, m = case.picture, patchnet.Model(case.blob)
        got = m.detect(patchnet.Image(p.w, p.h, FORMATS[p.pixfmt], p.data), roi=p.roi)
        assert got == [(*box[:4], m.labels[box.label], box.score / 65536) for box in case.wanted().boxes]
        x, y, w, h = case.oracle.region(p.w, p.h, p.roi)
        for box in got:
            assert x <= box[0] and y <= box[1] and box[0] + box[2] <= x + w and box[1] + box[3] <= y + h


# ---------------------------------------------------------------- refusals


def heat_case() -> bytes:
    return heat_blob(4, 5, 3)[0]


@pytest.mark.parametrize("values", [dict(background=3), dict(background=65534), dict(top=0), dict(top=1001)])
def test_bad_records_are_refused(values):
    bad = patched(heat_case(), {arena.Place("heatmap", 0, name): value for name, value in values.items()})
    with pytest.raises(EngineError, match="TASK"):
        Engine(bad)


def test_bad_headers_are_refused():
    raw = pack(replace(identity_qnet(4, 5, 3), design=raw_of(identity_qnet(4, 5, 3).design), end=QMap(1.0)))
    flat = pack(flat_qnet(1))
    for blob, values, name in (
        (raw, dict(classes=1), "SHAPE"), (raw, dict(task_off=120), "SHAPE"), (raw, dict(label_bytes=4), "LABELS"),
        (raw, dict(scores=2), "SHAPE"), (raw, dict(aggregate=1), "TASK"), (raw, dict(feature_at=1 << 20), "PLAN"),
        (raw, dict(task=1), "SHAPE"), (heat_case(), dict(task_off=0), "TASK"), (heat_case(), dict(classes=0), "SHAPE"),
        (heat_case(), dict(task=4), "SHAPE"), (flat, dict(classes=3), "LABELS"), (flat, dict(logit_at=1), "PLAN"),
        (flat, dict(pool_mult=0), "WEIGHTS"), (flat, dict(pool_shift=17), "WEIGHTS"),
    ):  # fmt: skip
        with pytest.raises(EngineError) as e:
            Engine(patched(blob, {arena.Place("header", 0, field): value for field, value in values.items()}))
        assert e.value.name == name, (values, e.value)


def raw_of(network: Network) -> Network:
    return replace(network, end=LastMap(), labels=())


def flat_qnet(k: int):
    network = without_dense(np.random.default_rng(0))
    while network.tunnels != k:
        network = without_dense(np.random.default_rng(int(network.chain[-1].cout)))
    return random_qnet(np.random.default_rng(0), network)


def test_several_tunnels_have_no_last_map():
    network = free_network("two", ("a",), 8, 8, 1, 4, False, chain=(Layer("conv", 4, 4, 1, 0, 1, 3, 1),))
    with pytest.raises(ValueError, match="two: tunnels: wanted 1, got 4"):
        raw_of(network).check()
    one = identity_qnet(4, 4, 1)
    blob = pack(replace(one, design=raw_of(one.design), end=QMap(1.0)))
    two = patched(blob, {arena.Place("header", 0, "tunnels"): 2})
    with pytest.raises(EngineError, match="TASK"):
        Engine(two)


@pytest.mark.parametrize("kind", ["raw", "heatmap", "flat", "sigmoid"])
def test_every_truncation_and_every_byte(tmp_path, kind):
    path = tmp_path / "x.pnb"
    path.write_bytes({"raw": small_raw, "heatmap": heat_case, "flat": small_flat, "sigmoid": small_sigmoid}[kind]())
    done = subprocess.run([sanitized("corrupt"), path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[1]) > 300


def small_raw() -> bytes:
    one = identity_qnet(3, 4, 2)
    return pack(replace(one, design=raw_of(one.design), end=QMap(1.0)))


def small_flat() -> bytes:
    network = free_network("flat", ("a", "b", "c"), 4, 4, 1, 1, False, chain=(Layer("conv", 4, 4, 1, 0, 3, 3, 1),))
    return pack(random_integers(replace(network, end=Pooled(dense=False))))


def small_sigmoid() -> bytes:
    network = free_network("flat", ("a", "b"), 4, 4, 1, 1, False, chain=(Layer("conv", 4, 4, 1, 0, 3, 3, 1),))
    return pack(random_integers(replace(network, end=Pooled(scores="sigmoid"))))


# ---------------------------------------------------------------- the API


def test_sigmoid_gives_each_class_its_own_score():
    case = next(c for seed in range(100) if (c := random_case(seed)).qnet.design.end.scores == "sigmoid")
    m, wanted = patchnet.Model(case.blob), case.wanted()
    p = case.picture
    got = dict(m.classify(patchnet.Image(p.w, p.h, FORMATS[p.pixfmt], p.data), roi=p.roi))
    real = 1 / (1 + np.exp(-(wanted.logits16 / 256 - m.output_zero_point) * m.output_scale))
    assert list(got.values()) == sorted(got.values(), reverse=True)
    np.testing.assert_allclose([got[label] for label in m.labels], real, atol=1e-4)


def test_raw_output_is_for_predict():
    m, x = patchnet.Model(small_raw()), np.arange(24, dtype=np.int8).reshape(3, 4, 2)
    assert bytes(m.predict(x)) == x.tobytes() and (m.task, m.labels, m.output_shape) == ("raw", (), (3, 4, 2))
    assert (m.output_zero_point, m.output_scale) == (0, 1.0)
    assert repr(m) == f"<Model raw 3 x 4 x 2 -> 3 x 4 x 2, ram {m.ram}>"
    assert [row[0] for row in m.profile(x)] == ["layer 0"]
    for ask in (m.classify, m.detect, m.spot):
        with pytest.raises(ValueError, match="model has raw output: use predict"):
            ask(x)


def test_wrong_task_is_said():
    m, heat = patchnet.Model(heat_case()), np.zeros((4, 5, 3), np.int8)
    with pytest.raises(ValueError, match="model is for heatmap, not for classify"):
        m.classify(heat)
    with pytest.raises(ValueError, match="threshold: wanted 0..1"):
        m.detect(heat, 1.5)


def test_raw_input_is_no_picture():
    network = free_network("flat", ("a", "b"), 1, 1, 640, 1, False, chain=(Layer("conv", 1, 1, 640, 0, 2, 1, 1),))
    qnet = random_integers(network)
    m = patchnet.Model(pack(replace(qnet, input_zero=(7,))))
    x = np.random.default_rng(0).integers(-128, 128, 640, dtype=np.int8)
    assert (m.input_shape, m.input_zero_point) == ((1, 1, 640), 7)
    wanted = Oracle(pack(replace(qnet, input_zero=(7,)))).run_raw(x)
    assert [round(65536 * score) for _, score in m.classify(x)] == sorted(wanted.scores, reverse=True)
    assert bytes(m.predict(bytes(x))) == wanted.outputs8.tobytes()
    picture = patchnet.Image(2, 2, patchnet.GRAYSCALE, bytes(4))
    for ask in (m.classify, m.predict, m.profile):
        with pytest.raises(TypeError, match="input is 1x1x640, raw: wanted 640 int8 values"):
            ask(picture)
        with pytest.raises(ValueError, match="shape: wanted 1 x 1 x 640 = 640 bytes, got 3"):
            ask(bytes(3))


@pytest.mark.parametrize("x, kind, text", [
    (np.zeros(640, np.uint8), TypeError, "x: wanted int8 values, got an array of uint8"),
    (np.zeros(160, np.float32), TypeError, "x: wanted int8 values, got an array of float32"),
    (array("h", bytes(640)), TypeError, "x: wanted int8 values, got an array of 'h'"),
    (np.zeros((5, 16, 8), np.int8), ValueError, "shape: wanted 16 x 8 x 5, got 5 x 16 x 8"),
])  # fmt: skip
def test_raw_input_of_other_kinds(x, kind, text):
    network = free_network("flat", ("a", "b"), 16, 8, 5, 1, False, chain=(Layer("conv", 16, 8, 5, 0, 2, 1, 1),))
    m = patchnet.Model(pack(random_integers(network)))
    with pytest.raises(kind, match=text):
        m.predict(x)
    given = np.arange(640, dtype=np.uint8).view(np.int8).reshape(16, 8, 5)
    assert m.predict(given) == m.predict(given[None]) == m.predict(given.tobytes())


@pytest.mark.parametrize("seed", range(6))
def test_analysis_counts_what_is_there(seed, tmp_path):
    rng = np.random.default_rng(seed)
    network = random_last_map(rng, 50_000) if seed % 2 else classifier(rng, without_dense(rng))
    path = tmp_path / "x.pnb"
    path.write_bytes(pack(random_qnet(rng, network)))
    a = analyze.analyze(path)
    assert a.task == network.task and a.blob_bytes == path.stat().st_size and len(a.blocks) == len(network.chain) + 1
    live = [part.live for part in (*a.segments, *a.blocks)]
    assert a.arena == fmt.HEADER.unpack(path.read_bytes())["arena_bytes"] == max(live)
    assert [b.binding for b in a.blocks].count(True) == 1

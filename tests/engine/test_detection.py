"""Detection from the blob to the boxes: engine against oracle, plans, refusals, the API. Networks are random ones."""

from __future__ import annotations

import itertools
import subprocess
from math import isqrt

import numpy as np
import pytest

import patchnet
from cases import patched, random_blob, random_case, random_raw, scattered
from cengine import Engine, EngineError, sanitized
from difference import check
from networks import fast_qnet, random_detector, random_qnet
from oracle import HEAD, Oracle, arena
from patchnet import format as fmt
from patchnet.blob import qnet_file
from patchnet.blob.order import fast_layers
from patchnet.blob.pack import pack
from patchnet.blob.unpack import blob_network, blob_plan, blob_qnet, read
from patchnet.net.recipe import Stage, patch_tunnels
from patchnet.plan import choice
from patchnet.plan.place import place
from patchnet.report import analyze
from patchnet.tasks.detect.end import Detection, Scale, scales

FORMATS = (0, patchnet.GRAYSCALE, patchnet.RGB565, patchnet.RGB888)


@pytest.fixture(scope="module")
def cases():
    return [random_case(seed, max_macs=150_000, detects=True) for seed in range(30)]


@pytest.mark.parametrize("seed", range(80))
def test_engine_is_the_oracle(seed):
    case = random_case(seed, extreme=seed % 5 == 4, detects=True)
    engine = Engine(case.blob)
    check(engine, case.oracle.run_image(*case.picture.args()), case.picture, case)
    raw = random_raw(np.random.default_rng(seed), case.qnet.design)
    check(engine, case.oracle.run_raw(raw), raw, case)


@pytest.mark.parametrize("seed", range(200, 225))
def test_every_byte_read_is_the_one_meant(seed):
    """The checking build: stitched map, candidates and all else."""
    case = random_case(seed, detects=True)
    engine = Engine(case.blob, checking=True)
    engine.run_image(*case.picture.args())
    assert engine.fault() is None


@pytest.mark.parametrize("seed", range(8))
def test_any_plan_gives_the_same_boxes(seed):
    rng = np.random.default_rng(seed)
    qnet = fast_qnet(rng, random_detector(rng, 100_000))
    raw = random_raw(rng, qnet.design)
    blobs = [random_blob(rng, qnet) for _ in range(6)]
    wanted = Oracle(blobs[0]).run_raw(raw)
    for blob in blobs:
        assert arena.plan_is_sound(blob)
        check(Engine(blob), wanted, raw)


def test_random_detectors_say_something(cases):
    """Boxes are found, dropped for others, cut off at the picture's edge; lists are full; all kinds of plans occur."""
    seen = set()
    for case in cases:
        o = case.oracle
        result = o.run_image(*case.picture.args())
        found = o.candidates(result.heads)
        seen |= {"full"} if len(found) == o.detect.top else {"room"} if found else {"none"}
        seen |= {"dropped"} if len(result.boxes) < len(found) else set()
        seen |= {"equal values"} if len({c.value for c in found}) < len(found) else set()
        seen |= {("cut", end) for c in found for end in (c.left, c.right) if end in (0, 32768)}
        heads = [part for part in arena.parts(o) if part.stages[-1].layer.flags & HEAD]
        seen |= {("head fused", len(part.stages) > 1) for part in heads} | {("scales", len(heads))}
        d = case.qnet.design
        grid = isqrt(d.tunnels)
        seen |= {("grid", grid), ("central", d.tunnels - grid**2), ("channels", d.channels), ("fit", d.fit)}
        seen |= {"cropped" for p in o.places if p.from_y or p.from_x}
    wanted = {"full", "room", "none", "dropped", "equal values", ("cut", 0), ("cut", 32768), "cropped"}
    wanted |= {("head fused", some) for some in (False, True)} | {("scales", n) for n in (1, 2, 3)}
    wanted |= {("grid", side) for side in (1, 2, 3, 4)} | {("central", n) for n in (0, 1)}
    assert wanted <= seen, wanted - seen


# Boxes


def set_numbers(blob: bytes, **values: int) -> bytes:
    """The blob with other numbers in its record."""
    return patched(blob, {arena.Place("detect", 0, name): value for name, value in values.items()})


@pytest.mark.parametrize("values", [
    dict(cls_mult=0), dict(cls_mult=(1 << 32) - 1), dict(centre_mult=(1 << 32) - 1), dict(size_mult=(1 << 32) - 1),
    dict(cls_zero=-32768, size_mult=0), dict(cls_zero=32767, centre_mult=0), dict(top=1),
])  # fmt: skip
def test_numbers_at_their_ends(cases, values):
    for case in cases[:6]:
        blob = set_numbers(case.blob, **values)
        engine, oracle = Engine(blob), Oracle(blob)
        engine.threshold = oracle.threshold = 0 if "cls_zero" in values else 20_000
        check(engine, oracle.run_image(*case.picture.args()), case.picture, case)


def test_thresholds(cases):
    """From none to all; a higher one gives a part of what a lower one gives."""
    for case in cases[:8]:
        engine, oracle, before = Engine(case.blob), Oracle(case.blob), None
        for threshold, iou in itertools.product((65536, 40_000, 20_000, 0), (0, 29_491, 65536)):
            engine.threshold, engine.iou = threshold, iou
            oracle.threshold, oracle.iou = threshold, iou
            got = engine.run_image(*case.picture.args())
            assert got.boxes == oracle.run_image(*case.picture.args()).boxes
            assert len(got.boxes) <= oracle.detect.top
            if iou == 65536:
                assert before is None or set(before) <= set(got.boxes) or len(got.boxes) == oracle.detect.top
                before = got.boxes


def test_boxes_lie_in_the_region(cases):
    for case in cases:
        x, y, w, h = case.oracle.region(case.picture.w, case.picture.h, case.picture.roi)
        for box in Engine(case.blob).run_image(*case.picture.args()).boxes:
            assert x <= box[0] and y <= box[1] and box[0] + box[2] <= x + w and box[1] + box[3] <= y + h


# Plans


@pytest.mark.parametrize("seed", range(10))
def test_planned_networks(seed):
    """The planner's plans are sound, need the bytes that it says, and give the oracle's boxes."""
    rng = np.random.default_rng(seed)
    qnet = fast_qnet(rng, random_detector(rng, 60_000))
    points = choice.front(qnet.design, fast=fast_layers(qnet))
    assert [p.arena_bytes for p in points] == sorted(p.arena_bytes for p in points)
    raw = random_raw(rng, qnet.design)
    for point in (points[0], points[-1]):
        blob = pack(qnet, place(qnet.design, point.schedule))
        assert read(blob).header["arena_bytes"] == point.arena_bytes and arena.plan_is_sound(blob)
        check(Engine(blob), Oracle(blob).run_raw(raw), raw)
    assert all(p.arena_bytes >= points[0].arena_bytes for p in choice.front(qnet.design, by="macs")[:1])


def test_a_head_is_by_itself(cases):
    """Heads but the last one, and the ends of chains, cannot be fused with what follows."""
    (case,) = [c for c in cases if len(c.oracle.scales) == 2 and not c.qnet.design.readouts[0].layers][:1]
    d = case.qnet.design
    steps = [(step.mode, step.rows, step.group) for step in choice.fastest(d).steps]
    n, tail = len(d.layers()), d.tail()
    apart = [(d.layers()[-1].oh, steps[:n]), (tail[0].oh, steps[n : n + 1]), (tail[-1].oh, steps[n + 1 :])]
    place(d, apart)
    with pytest.raises(ValueError, match="it must end with"):
        place(d, [apart[0], (tail[-1].oh, steps[n:])])
    with pytest.raises(ValueError, match="it must end with"):
        place(d, [(tail[0].oh, steps[: n + 1]), apart[2]])
    if tail[0].oh > 1:
        with pytest.raises(ValueError, match="strip: wanted"):
            place(d, [apart[0], (tail[0].oh - 1, steps[n : n + 1]), apart[2]])


@pytest.mark.parametrize("seed", range(25))
def test_a_moved_number_is_judged_rightly(seed):
    """The loader accepts a plan with one place moved if and only if FORMAT.md does."""
    rng = np.random.default_rng([seed, 3])
    qnet = random_qnet(rng, random_detector(rng, 20_000))
    blob, said = random_blob(rng, qnet), set()
    detect = read(blob).record
    for field, delta in itertools.product(("stitch_at", "candidate_at"), (-64, -16, -4, -1, 1, 4, 16, 64)):
        value = detect[field] + delta
        if value < 0:
            continue
        bad = set_numbers(blob, **{field: value})
        try:
            Engine(bad)
            said.add("OK")
            assert arena.plan_is_sound(bad), (field, delta)
        except EngineError as e:
            said.add(e.name)
            assert e.name == "PLAN" and not arena.plan_is_sound(bad), (field, delta)
    assert "PLAN" in said


def test_scattered_plans_are_sound(cases):
    rng = np.random.default_rng(5)
    for case in cases[:4]:
        blob = scattered(rng, pack(case.qnet, choice.smallest(case.qnet.design)))
        assert arena.plan_is_sound(blob)
        Engine(blob)


# Refusals


def field_of(blob: bytes, table: fmt.Table, off: int, index: int, **values) -> bytes:
    """The blob with a record's fields changed."""
    record = {**table.unpack(blob, off + index * table.size), **values}
    at = off + index * table.size
    out = bytearray(blob)
    out[at : at + table.size] = table.pack(**record)
    return patched(bytes(out), {})


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (dict(map_h=0), "TASK"), (dict(map_w=4097), "TASK"), (dict(top=0), "TASK"), (dict(top=1001), "TASK"),
        (dict(layers=0), "TASK"), (dict(layers=255), "TASK"), (dict(segments=0), "TASK"), (dict(scales=0), "TASK"),
        (dict(scales=200), "TASK"), (dict(place_off=0), "TASK"), (dict(place_off=6), "TASK"),
        (dict(scale_off=1 << 31), "TASK"),
    ],
)  # fmt: skip
def test_bad_records_are_refused(cases, values, name):
    with pytest.raises(EngineError) as e:
        Engine(set_numbers(cases[3].blob, **values))
    assert e.value.name == name


def test_bad_places_scales_and_anchors_are_refused(cases):
    blob = cases[3].blob
    d = read(blob).record
    last = cases[3].qnet.design.layers()[-1]
    bad = [(fmt.PLACE, d["place_off"], dict(h=last.oh + 1)), (fmt.PLACE, d["place_off"], dict(from_x=last.ow))]
    bad += [(fmt.PLACE, d["place_off"], dict(to_y=d["map_h"])), (fmt.PLACE, d["place_off"], dict(to_x=65535))]
    bad += [(fmt.SCALE, d["scale_off"], values) for values in (dict(anchors=0), dict(anchors=1 << 31))]
    bad += [(fmt.SCALE, d["scale_off"], values) for values in (dict(anchor_off=3), dict(anchor_off=len(blob)))]
    for table, off, values in bad:
        with pytest.raises(EngineError) as e:
            Engine(field_of(blob, table, off, 0, **values))
        assert e.value.name == "TASK", values
    layers = read(blob).layers
    head = len(cases[3].qnet.design.layers()) + [
        r["flags"] & HEAD for r in layers[read(blob).header["layers"] :]
    ].index(HEAD)
    for index, flags in ((0, HEAD), (head, layers[head]["flags"] & ~HEAD)):
        with pytest.raises(EngineError):
            Engine(field_of(blob, fmt.LAYER, read(blob).header["layer_off"], index, flags=flags))
    with pytest.raises(EngineError) as e:
        Engine(patched(blob, {arena.Place("header", 0, "task"): 1}))
    assert e.value.name == "TASK"


@pytest.mark.parametrize("how", ["every byte", "random"])
def test_damage_stays_inside(how, tmp_path):
    """Truncated, every byte flipped, random damage: refused by name, or a run within its bounds, under sanitizers."""
    most = 1000 if how == "every byte" else 3000
    small = (random_case(seed, max_macs=3000, detects=True) for seed in itertools.count())
    path = tmp_path / "x.pnb"
    path.write_bytes(next(case.blob for case in small if len(case.blob) < most and case.oracle.header.tunnels > 1))
    more = [] if how == "every byte" else ["random", "1", "1500"]
    done = subprocess.run([sanitized("corrupt"), path, *more], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Files


@pytest.mark.parametrize("seed", [0, 3, 6])
def test_files_round_trip(seed, tmp_path):
    """A network through the .npz and through the blob: the same integers, the same boxes."""
    case = random_case(seed, max_macs=50_000, detects=True)
    qnet = case.qnet
    info, again = read(case.blob), blob_qnet(case.blob, "again")
    assert blob_plan(info) == blob_plan(read(pack(again, blob_plan(info))))
    d = blob_network(info, "again")
    assert d.end == qnet.design.end and d.heads() == qnet.design.heads()
    assert [(s.stride, s.head.cout) for s in scales(d)] == [(s.stride, s.head.cout) for s in scales(qnet.design)]
    assert (d.macs, d.weights) == (qnet.design.macs, qnet.design.weights)
    raw = random_raw(np.random.default_rng(seed), qnet.design)
    wanted = case.oracle.run_raw(raw)
    np.testing.assert_array_equal(Oracle(pack(again)).run_raw(raw).outputs8, wanted.outputs8)
    assert Oracle(pack(case.qnet)).run_raw(raw).boxes == wanted.boxes


def test_npz_round_trip(tmp_path):
    network = patch_tunnels(
        "n", ("a", "b"), 33, 33, margin_h=9, margin_w=9, stem_out=4, stages=(Stage(6, 1, 2, 2),),
        end=Detection((Scale(((5, 6),)), Scale(((20, 20), (9, 30)), (Stage(8, 1, 2, 0),)))),
    )  # fmt: skip
    qnet = random_qnet(np.random.default_rng(0), network)
    qnet_file.save(qnet, tmp_path / "q.npz")
    again = qnet_file.load(tmp_path / "q.npz")
    assert again.design == network and pack(again) == pack(qnet)


# The API


def picture_of(case) -> patchnet.Image:
    p = case.picture
    return patchnet.Image(p.w, p.h, FORMATS[p.pixfmt], p.data)


def test_detect_on_the_pc(cases):
    for case in cases[:12]:
        m, wanted = patchnet.Model(case.blob), case.oracle.run_image(*case.picture.args())
        got = m.detect(picture_of(case), roi=case.picture.roi)
        assert got == [(*box[:4], m.labels[box.label], box.score / 65536) for box in wanted.boxes]
        raw = random_raw(np.random.default_rng(1), case.qnet.design)
        assert bytes(m.predict(raw)) == case.oracle.run_raw(raw).outputs8.tobytes()
        assert m.task == "detect" and m.output_shape == (len(wanted.outputs8),)
        assert m.output_zero_point == case.qnet.end.cls_zero
        assert len(m.profile(raw)) == len(case.qnet.design.run())


def test_wrong_task_is_said(cases):
    detector, classifier = patchnet.Model(cases[3].blob), patchnet.Model("digits")
    with pytest.raises(ValueError, match="model is for detect, not for classify"):
        detector.classify(picture_of(cases[3]))
    with pytest.raises(ValueError, match="model is for classify, not for detect"):
        classifier.detect(picture_of(cases[3]))
    for name in ("threshold", "iou"):
        for value in (-0.1, 1.5, float("nan")):
            with pytest.raises(ValueError, match=f"{name}: wanted 0..1"):
                detector.detect(picture_of(cases[3]), **{name: value})


@pytest.mark.parametrize("seed", range(4))
def test_analysis_counts_what_is_there(seed, tmp_path):
    case = random_case(seed, max_macs=50_000, detects=True)
    path = tmp_path / "x.pnb"
    path.write_bytes(pack(case.qnet))
    a = analyze.analyze(path)
    assert a.task == "detect" and a.blob_bytes == path.stat().st_size and len(a.blocks) == len(case.qnet.design.run())
    assert a.arena == read(path.read_bytes()).header["arena_bytes"] == max(s.live for s in a.segments)
    assert a.macs == case.qnet.design.macs and a.executed_macs >= a.macs
    assert a.segments[a.blocks[-1].segment].map_out == 0 and a.blocks[-1].name.startswith("head")

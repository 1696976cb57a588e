"""The C engine on this machine against the numpy oracle: byte for byte, whatever the network, the picture, the plan."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from cases import (
    Picture,
    Schedule,
    encode,
    merging_case,
    random_blob,
    random_case,
    random_frame,
    random_plan,
    random_raw,
    random_schedule,
    scattered,
)
from cengine import Engine
from difference import check
from networks import (
    fast_qnet,
    free_network,
    identity_qnet,
    mixed_network,
    random_network,
    random_picture,
    random_qnet,
)
from oracle import COLUMNS, EXPAND, GREY, INT4, INT8, MAXPOOL, NARROW, RGB565, RGB888, Oracle, arena, softmax
from oracle.arena import COVER, DIRECT, FAST, GROUPS, ROLLING, STORED, SWEEP, WINDOW
from patchnet.blob.order import fast_layers
from patchnet.blob.pack import pack
from patchnet.blob.quantized import QBottleneck, QNet
from patchnet.net.layers import CASTS, KINDS, POOLS, Layer
from patchnet.net.network import Network
from patchnet.net.recipe import Stage, patch_tunnels
from patchnet.plan.choice import front
from patchnet.plan.modes import fast_modes
from patchnet.plan.place import place


def stored_maps(engine: Engine, oracle: Oracle) -> list[list[np.ndarray]]:
    """The maps [tunnel][segment] between segments, each taken from the arena as soon as the next segment has begun, of
    a run just started."""
    maps, before, more = [[] for _ in oracle.params], engine.where(), True
    while more:
        _, more = engine.steps(1)
        here = engine.where()
        if here.segment != before.segment and here.segment > 0:
            maps[here.tunnel].append(engine.arena[oracle.segments[here.segment].in_at :].view(np.int8).copy())
        before = here
    return maps


@pytest.mark.parametrize("seed", range(240))
def test_random_network(seed):
    case = random_case(seed)
    engine = Engine(case.blob)
    check(engine, case.oracle.run_image(*case.picture.args()), case.picture, case)
    raw = random_raw(np.random.default_rng(seed), case.qnet.design)
    check(engine, case.oracle.run_raw(raw), raw, case)


@pytest.mark.parametrize("seed", range(60))
def test_tunnels_that_merge(seed):
    """Whatever the schedule, the streaming, the picture; and no byte is read that is another's."""
    case = merging_case(seed, extreme=seed % 5 == 0, max_macs=200_000)
    wanted, engine = case.oracle.run_image(*case.picture.args()), Engine(case.blob, checking=True)
    check(engine, wanted, case.picture, case)
    assert not engine.fault()
    rng = np.random.default_rng(seed)
    raw = random_raw(rng, case.qnet.design)
    for i in range(3):
        engine = Engine(random_blob(rng, case.qnet), stream=[None, 0, rng.random()][i])
        check(engine, case.oracle.run_raw(raw), raw, case)


def test_plans_of_tunnels_that_merge():
    """As the planner makes them: the least bytes, the least cycles."""
    shape = dict(stem_out=4, stages=(Stage(8, 2, 1, 2),), merged=(Stage(12, 2, 2, 3), Stage(8, 1, 1, 1)), head=16)
    network = patch_tunnels("n", ("a", "b", "c"), 32, 26, margin_h=6, margin_w=6, **shape)
    qnet = fast_qnet(np.random.default_rng(1), network)
    points = front(network, fast=fast_layers(qnet))
    for point in (points[0], points[len(points) // 2], points[-1]):
        plan = place(network, point.schedule)
        blob = pack(qnet, plan)
        picture = random_frame(np.random.default_rng(2), 32, 26)
        assert plan.arena_bytes == point.arena_bytes == Oracle(blob).header.arena_bytes and arena.plan_is_sound(blob)
        check(Engine(blob), Oracle(blob).run_image(*picture.args()), picture)


@pytest.mark.parametrize("seed", range(60))
def test_extreme_weights_and_pictures(seed):
    """All weights -127 or 127, biases at their limits, pixels 0 and 255: the oracle checks that no sum leaves int32."""
    case = random_case(seed, extreme=True)
    check(Engine(case.blob), case.oracle.run_image(*case.picture.args()), case.picture, case)


@pytest.mark.parametrize("seed", range(40))
def test_every_stored_map(seed):
    """Not only what comes out: the whole map after each segment but the last in each tunnel, and the features."""
    case = random_case(1000 + seed)
    engine, wanted = Engine(case.blob), case.oracle.run_image(*case.picture.args())
    engine.start_image(*case.picture.args())
    ends = [segment.first - 1 for segment in case.oracle.segments[1:]]
    for tunnel, (got_chain, chain) in enumerate(zip(stored_maps(engine, case.oracle), wanted.maps, strict=True)):
        for got, i in zip(got_chain, ends, strict=True):
            m = chain[i]
            np.testing.assert_array_equal(got[: m.size].reshape(m.shape), m, err_msg=f"tunnel {tunnel}, layer {i}")
    features = engine.arena[case.oracle.header.feature_at :].view(np.int8)
    np.testing.assert_array_equal(features[: len(wanted.features)], wanted.features)


WITH_KERNEL = [kind for kind in KINDS if kind not in CASTS]


def layer_traits(s: Layer) -> set:
    """What occurs in a layer, for test_random_layers_say_something."""
    top, bottom, left, right = s.pad
    found = {
        "oblong": s.kh != s.kw,
        "lopsided": top != bottom and left != right,
        "stride 3": max(s.sh, s.sw) >= 3,
        "skips": s.sh > s.kh or s.sw > s.kw,
        "covers": s.covers and s.taps > 1,
    }
    square = {(s.kind, s.kernel, s.stride)} if s.pads is None else set()
    flags = {(s.kind, "expand", s.expand), (s.kind, "residual", s.residual)}
    return square | flags | {("cout", s.cout % 4), s.act} | {(s.kind, name) for name, some in found.items() if some}


def test_random_layers_say_something():
    """All kinds and shapes occur."""
    wanted = {(kind, k, s) for kind in ("conv", "bottleneck") for k in (3, 5, 7) for s in (1, 2)}
    wanted |= {("conv", 1, 1), ("conv", 1, 2)} | {("cout", r) for r in range(4)} | {"relu6", "relu", "none"}
    wanted |= {(kind, 1, 1) for kind in CASTS}
    wanted |= {(kind, trait) for kind in WITH_KERNEL for trait in ("oblong", "lopsided", "stride 3", "skips")}
    wanted |= {(kind, "covers") for kind in ("conv", *POOLS)} | {("block", "expand", some) for some in (False, True)}
    wanted |= {("bottleneck", name, flag) for name in ("expand", "residual") for flag in (False, True)}
    for seed in range(400):
        for layer in random_network(np.random.default_rng(seed), 100_000).layers():
            wanted -= layer_traits(layer)
    assert not wanted


def test_random_networks_say_something():
    """The generator itself: what comes out varies, and saturates seldom."""
    saturated, distinct, spread, seen = [], [], [], set()
    for seed in range(80):
        case = random_case(seed)
        result = case.oracle.run_image(*case.picture.args())
        for m, layer in itertools.chain(*(zip(chain, case.oracle.layers, strict=True) for chain in result.maps)):
            if layer.kind in (INT4, INT8):
                continue
            if layer.kind != MAXPOOL:  # which chooses what is saturated
                saturated.append(np.mean((m == -128) | (m == 127)))
            distinct.append(len(np.unique(m)) / min(m.size, 256))
        spread.append(np.std(result.logits16) if len(result.logits16) > 1 else 5000)
        d = case.qnet.design
        seen |= {
            ("sized", d.sizes is not None),
            ("tunnels", d.tunnels),
            d.end.aggregate,
            d.fit,
            ("channels", d.channels),
            case.picture.pixfmt,
        }
        bottlenecks = [q for q in case.qnet.tunnels[0] if isinstance(q, QBottleneck)]
        seen |= {("shifts", q.expand_shift > 0, q.depthwise_shift > 0) for q in bottlenecks}
    assert np.mean(saturated) < 0.4 and np.mean(distinct) > 0.5 and np.median(spread) > 3000
    wanted = {("shifts", a, b) for a in (False, True) for b in (False, True)} | {GREY, RGB565, RGB888}
    wanted |= {("tunnels", k + central) for k in (1, 4, 9, 16) for central in (0, 1)}
    wanted |= {("sized", True), ("sized", False), "sum", "concat", "stretch", "crop", ("channels", 1), ("channels", 3)}
    assert wanted <= seen, wanted - seen


def plan_traits(oracle: Oracle) -> set:
    """What occurs in a blob's plan, for test_random_plans_say_something."""
    seen, parts, kinds = set(), arena.parts(oracle), dict(enumerate(KINDS, 1))
    for part, before in zip(parts, [None, *parts], strict=False):
        maps = list(arena.map_areas(part).values())
        seen |= {("fused", min(len(part.stages), 3)), ("strips", min(len(part.strips()), 3))}
        seen |= {("in place", part.columns)} if len(maps) == 2 and arena.overlap(*maps) else set()
        seen |= {"moved"} if before and before.record.out_at != part.record.in_at else set()
        for i, stage in enumerate(part.stages):
            layer = stage.layer
            kind, along, flags = kinds[layer.kind], stage.along, layer.flags
            seen |= {("mode", kind, layer.mode, part.columns), ("rows", layer.mode, min(layer.rows, 3))}
            seen |= {("group", layer.mode, layer.group < layer.cexp)}
            seen |= {("bytes", layer.mode, along.stride, along.kernel)} if stage.as_bytes else set()
            seen |= {("bytes, narrow", layer.mode)} if stage.as_bytes and flags & NARROW else set()
            seen |= {("eight", layer.mode, along.stride, stage.cin == 8)}
            seen |= {("narrow", layer.mode, flags & NARROW > 0)} if layer.group < layer.cexp else set()
            seen |= {("turned", kind, flags & COLUMNS > 0)}
            seen |= {("adds", kind, layer.mode, i > 0, part.columns)} if stage.residual else set()
            seen |= {("fused", kind, i > 0, i + 1 < len(part.stages), part.columns)}
            seen |= {("fused stride", along.stride), ("fused kernel", along.kernel)} if i > 0 else set()
            seen |= {("fused skips", kind)} if i > 0 and along.stride > along.kernel else set()
            seen |= {("shortcut", flags & EXPAND > 0, part.columns)} if stage.block else set()
            seen |= {("cover", kind, i > 0, stage.index == 0, part.staged)} if layer.mode == COVER else set()
    return seen


def test_random_plans_say_something():
    """All modes, chunks, strips and residuals occur, alone and fused, maps moved and maps over others."""
    columns, bottlenecks = (False, True), (DIRECT, ROLLING, GROUPS, STORED, FAST, SWEEP)
    wanted = {("fused", n) for n in (1, 2, 3)} | {("strips", n) for n in (1, 2, 3)} | {"moved"}
    wanted |= {("in place", c) for c in columns} | {("mode", "conv", GROUPS, False)}
    wanted |= {("mode", "conv", mode, c) for mode in (DIRECT, WINDOW) for c in columns}
    wanted |= {("mode", "bottleneck", mode, c) for mode in bottlenecks for c in columns}
    wanted |= {("mode", kind, DIRECT, c) for kind in (*POOLS, *CASTS) for c in columns} | {
        ("mode", "block", ROLLING, False)
    }
    wanted |= {
        ("fused", kind, *where) for kind in ("block", *POOLS, *CASTS) for where in itertools.product(columns, repeat=3)
    }
    wanted |= {("shortcut", some, c) for some in (False, True) for c in columns}
    wanted |= {("fused skips", kind) for kind in WITH_KERNEL}
    wanted |= {("cover", kind, some, False, False) for kind in ("conv", *POOLS) for some in (False, True)}
    wanted |= {("cover", "conv", False, True, some) for some in (False, True)} | {("cover", "conv", True, False, True)}
    wanted |= {("rows", mode, n) for mode in (GROUPS, STORED) for n in (1, 2, 3)}
    adding = [("block", ROLLING), *(("bottleneck", mode) for mode in bottlenecks)]
    wanted |= {("adds", *layer, fused, c) for layer in adding for fused in (False, True) for c in columns}
    wanted |= {(name, mode, some) for name in ("group", "narrow") for mode in (FAST, SWEEP) for some in (False, True)}
    wanted |= {("bytes, narrow", mode) for mode in (FAST, SWEEP)}
    wanted |= {("turned", kind, some) for kind in ("conv", "block") for some in (False, True)}
    wanted |= {("eight", mode, s, some) for mode in (FAST, SWEEP) for s in (1, 2) for some in (False, True)}
    wanted |= {("bytes", mode, s, kernel) for mode in (FAST, SWEEP) for s in (1, 2) for kernel in (3, 5, 7)}
    wanted |= {("fused stride", s) for s in (1, 2, 3, 4)} | {("fused kernel", k) for k in (1, 2, 3, 4, 5, 6, 7, 9, 15)}
    for seed in range(300):
        rng = np.random.default_rng(seed)
        qnet = fast_qnet(rng, mixed_network(rng, 50_000)) if seed % 4 == 3 else random_qnet(rng, max_macs=50_000)
        for _ in range(12):
            wanted -= plan_traits(Oracle(random_blob(rng, qnet)))
        if not wanted:
            break
    assert not wanted


def test_labels_as_they_lie_in_the_blob():
    labels = ("plain", "", "Stra\u00dfe", "\u732b")
    network = replace(identity_qnet(2, 2, 1).design, labels=labels)
    engine = Engine(pack(random_qnet(np.random.default_rng(0), network)))
    assert engine.labels() == "".join(label + "\n" for label in labels)


# The picture


def copies_twice(qnet: QNet) -> bytes:
    """The blob of an identity_qnet with its layer twice, each a segment: between them lies the input as a map."""
    [layer] = qnet.design.layers()
    network = replace(qnet.design, chain=(layer, layer))
    plan = place(network, [(layer.oh, [(DIRECT, 1, 0)])] * 2)
    return pack(replace(qnet, design=network, tunnels=tuple(chain * 2 for chain in qnet.tunnels)), plan)


def view_of(blob: bytes, picture: Picture) -> np.ndarray:
    """The input (height, width, channels) as the engine saw it, of a blob of copies_twice."""
    oracle, engine = Oracle(blob), Engine(blob)
    head = oracle.header
    engine.start_image(*picture.args())
    [[got]] = stored_maps(engine, oracle)
    return got[: head.height * head.width * head.channels].reshape(head.height, head.width, head.channels)


def assert_samples(qnet: QNet, picture: Picture) -> None:
    """The engine's view of a picture is the oracle's."""
    blob = copies_twice(qnet)
    np.testing.assert_array_equal(view_of(blob, picture), Oracle(blob).run_image(*picture.args()).input_q)


@pytest.mark.parametrize("pixfmt", [GREY, RGB565, RGB888])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_sampling(pixfmt, channels, fit):
    """Larger, smaller, narrow, high; with and without a region."""
    rng = np.random.default_rng([pixfmt, channels, len(fit)])
    sizes = [(1, 1), (7, 5), (64, 3), (3, 64), (40, 30), (160, 120)] + rng.integers(1, 60, (14, 2)).tolist()
    for i, (w, h) in enumerate(sizes):
        height, width = (int(n) for n in rng.integers(1, 40, 2))
        picture = random_frame(rng, h, w)
        rgb = random_picture(rng, h, w, 3)
        roi = picture.roi if i % 2 and picture.w == w and picture.h == h else None
        assert_samples(identity_qnet(height, width, channels, fit=fit), Picture(encode(rgb, pixfmt), w, h, pixfmt, roi))
        assert_samples(identity_qnet(height, width, channels, fit=fit), random_frame(rng, height, width))


@pytest.mark.parametrize("channels", [1, 3])
def test_every_rgb565_value(channels):
    every = np.arange(65536).astype("<u2").tobytes()
    assert_samples(identity_qnet(256, 256, channels), Picture(every, 256, 256, RGB565))


def test_rgb565_colours():
    """Red, green, blue, low byte first: by hand, so that engine and oracle cannot share a swapped byte."""
    frame = np.array([0xF800, 0x07E0, 0x001F], "<u2").tobytes()
    got = view_of(copies_twice(identity_qnet(1, 3, 3)), Picture(frame, 3, 1, RGB565))
    assert got.tolist() == [[[127, -128, -128], [-128, 127, -128], [-128, -128, 127]]]


def test_largest_region():
    """4096 x 4096 white pixels under one: the sum just fits 32 bits."""
    white = bytes(b"\xff" * (4096 * 4096))
    assert view_of(copies_twice(identity_qnet(1, 1, 1)), Picture(white, 4096, 4096, GREY)).tolist() == [[[127]]]


# The scores


@pytest.mark.parametrize("scale", [0.0005, 0.02, 0.3, 5.0])
def test_scores_of_any_logits(scale):
    """Logits put into the arena after a run. Near ones, far ones: as the oracle has it, and a softmax by the book.

    Two classes: there a score shows the last bits of an exponential.
    """
    rng = np.random.default_rng(5)
    network = replace(identity_qnet(1, 1, 1).design, labels=("a", "b"))
    qnet = random_qnet(rng, network)
    blob = pack(replace(qnet, end=replace(qnet.end, output_scale=scale)))
    oracle, engine = Oracle(blob), Engine(blob)
    engine.run_raw(np.zeros((1, 1, 1)))
    place = engine.arena[oracle.header.logit_at :][:4].view(np.int16)
    logits = rng.integers(-32768, 32768, (6000, 2))
    logits[::2, 1] = np.clip(logits[::2, 0] + rng.normal(0, 256 / scale, 3000), -32768, 32767)
    logits[:3] = (-32768, 32767), (32767, -32768), (5, 5)
    got, wanted = [], []
    for pair in logits:
        place[:] = pair
        got.append(engine.results().scores)
        wanted.append(softmax(pair, oracle.header.softmax_mult))
    assert got == wanted
    powers = (logits[:, 1] - logits[:, 0]) * (oracle.header.softmax_mult / (1 << 24))
    true = 65536 / (1 + 2.0 ** np.clip(powers, -100, 100))
    assert np.abs(np.array(got)[:, 0] - true).max() < 1.5


# The plan


@pytest.mark.parametrize("seed", range(60))
def test_any_schedule(seed):
    """Whatever is fused, the strips, the modes, the rows, the groups and the places, the same bytes."""
    case, rng = random_case(2000 + seed, max_macs=300_000), np.random.default_rng(seed)
    wanted, fast = case.oracle.run_image(*case.picture.args()), fast_layers(case.qnet)
    for _ in range(5):
        blob = pack(case.qnet, place(case.qnet.design, random_schedule(rng, case.qnet.design, fast)))
        for same in (blob, scattered(rng, blob)):
            check(Engine(same), wanted, case.picture, case)


def small_network(*chain: Layer, **shape) -> Network:
    """A stem and what follows it, by default on the five patches of 9 x 7 of a picture of 12 x 10."""
    stem = Layer("conv", 9, 7, 3, 0, chain[0].cin, 3, 1)
    shape = dict(height=12, width=10, k=4, central=True, margin_h=3, margin_w=2) | shape
    return free_network("small", ("a", "b", "c"), channels=3, chain=(stem, *chain), **shape)


EXHAUSTED = {
    "kernel 3, residual, then kernel 5, stride 2": small_network(
        Layer("bottleneck", 9, 7, 5, 7, 5, 3, 1, True, True),
        Layer("bottleneck", 9, 7, 5, 6, 6, 5, 2, True, False, "none"),
    ),
    "kernel 7, stride 2, then residual": small_network(
        Layer("bottleneck", 9, 7, 5, 6, 6, 7, 2, True, False),
        Layer("bottleneck", 5, 4, 6, 5, 6, 3, 1, True, True),
    ),
    "kernel 5, residual, signed, then no expansion": small_network(
        Layer("bottleneck", 9, 7, 5, 4, 5, 5, 1, True, True, "none"),
        Layer("bottleneck", 9, 7, 5, 5, 5, 3, 1, False, True),
    ),
    "fast, residual, then stride 2": small_network(
        Layer("bottleneck", 9, 7, 8, 12, 8, 3, 1, True, True),
        Layer("bottleneck", 9, 7, 8, 8, 6, 3, 2, True, False),
    ),
    "fast, kernel 5, residual, then kernel 7, stride 2": small_network(
        Layer("bottleneck", 9, 7, 6, 8, 6, 5, 1, True, True),
        Layer("bottleneck", 9, 7, 6, 8, 4, 7, 2, True, False),
    ),
    "fast, kernel 5, stride 2, then no expansion": small_network(
        Layer("bottleneck", 9, 7, 3, 8, 8, 5, 2, True, False),
        Layer("bottleneck", 5, 4, 8, 8, 8, 3, 1, False, True),
    ),
    "fast, no expansion, stride 2, then kernel 7, residual": small_network(
        Layer("bottleneck", 9, 7, 8, 8, 6, 3, 2, False, False),
        Layer("bottleneck", 5, 4, 6, 4, 6, 7, 1, True, True),
    ),
    "fast, stride 2, then residual": small_network(
        Layer("bottleneck", 9, 7, 12, 8, 4, 3, 2, True, False),
        Layer("bottleneck", 5, 4, 4, 12, 4, 3, 1, True, True),
    ),
    "kernel 4 x 1, stride 3 x 2, then 2 x 5 over the edges": small_network(
        Layer("bottleneck", 9, 7, 4, 5, 6, (4, 1), (3, 2), True, pads=(2, 0, 0, 0)),
        Layer("bottleneck", 3, 4, 6, 3, 5, (2, 5), 1, True, act="none", pads=(1, 1, 0, 4)),
    ),
    "block, stride 2, then bottleneck": small_network(
        Layer("block", 9, 7, 3, 4, 5, 3, 2, True, second=3),
        Layer("bottleneck", 5, 4, 5, 5, 5, 3, 1, True, True),
    ),
    "bottleneck, then block without shortcut": small_network(
        Layer("bottleneck", 9, 7, 5, 6, 4, 5, 2, True),
        Layer("block", 5, 4, 4, 6, 4, 3, 1, second=(5, 3)),
    ),
    "block that skips, then block": small_network(
        Layer("block", 9, 7, 3, 4, 5, (1, 2), (2, 3), True, pads=(0, 0, 1, 1), second=(1, 3), act="none"),
        Layer("block", 5, 3, 5, 2, 5, 3, 1, second=3),
    ),
    "poolings": small_network(
        Layer("maxpool", 9, 7, 3, 0, 3, 3, 2, pads=(0, 2, 1, 1)),
        Layer("meanpool", 5, 4, 3, 0, 3, (2, 3), (1, 3), pads=(1, 0, 0, 2)),
    ),
    "pooling that skips, then covering": small_network(
        Layer("meanpool", 9, 7, 3, 0, 3, 1, (3, 2), pads=(0, 0, 0, 0)),
        Layer("conv", 3, 4, 3, 0, 5, (3, 4), 1, pads=(0, 0, 0, 0)),
    ),
    "covering, then over the edge": small_network(
        Layer("maxpool", 9, 7, 3, 0, 3, (9, 7), 1, pads=(0, 0, 0, 0)),
        Layer("conv", 1, 1, 3, 0, 4, 3, 1, pads=(2, 2, 1, 2)),
    ),
}


def all_steps(layer: Layer, lines: int, columns: bool, few: bool = False) -> list[tuple[int, int, int]]:
    """Every (mode, rows, group) of a layer that makes `lines` lines; `few`: not all rows and groups."""
    if layer.kind != "bottleneck":
        pixels = (0, 2, 4) if layer.kind == "conv" else (0,)
        usual = [(ROLLING, 1, 0)] if layer.kind == "block" else [(DIRECT, 1, n) for n in pixels]
        return usual + [(COVER, 1, 0)] * (layer.covers and not columns)
    fused = [(mode, 1, group) for mode in fast_modes(layer) for group in range(4, layer.cexp + 1, 4)]
    if not layer.expand:
        return [(DIRECT, 1, 0), *fused]
    rows = sorted({1, 2, lines} & set(range(lines + 1))) if few else range(1, lines + 1)
    groups = sorted({2, layer.cexp}) if few else range(1, layer.cexp + 1)
    return [
        (ROLLING, 1, 0),
        *((mode, r, group) for mode in (GROUPS, STORED) for r in rows for group in groups),
        *fused,
    ]


@pytest.fixture(scope="module", params=EXHAUSTED)
def exhausted(request):
    """A network, and `run`, which runs it by a schedule."""
    network, rng = EXHAUSTED[request.param], np.random.default_rng(1)
    qnet, picture = fast_qnet(rng, network), random_frame(rng, 12, 10)
    wanted = Oracle(pack(qnet)).run_image(*picture.args())

    def run(schedule: Schedule) -> None:
        blob = pack(qnet, place(network, schedule))
        assert arena.plan_is_sound(blob), schedule
        check(Engine(blob), wanted, picture)

    return network, run


def test_every_schedule_of_a_layer(exhausted):
    """Of each layer every mode with every number of rows and every group, of rows and of the columns of strips."""
    network, run = exhausted
    stem, *layers = network.layers()
    alone = [(stem.oh, [(WINDOW, 1, 0)]), *((layer.oh, [all_steps(layer, 1, False)[0]]) for layer in layers)]
    for i, layer in enumerate(layers, 1):
        for strip in {layer.oh, min(layer.oh, 2)}:
            columns = strip < layer.oh
            for step in all_steps(layer, layer.ow if columns else layer.oh, columns):
                run([*alone[:i], (strip, [step]), *alone[i + 1 :]])


def test_every_strip_of_fused_layers(exhausted):
    """Two layers, and all three, as one segment: every height of strip with every mode."""
    network, run = exhausted
    stem, second, third = network.layers()
    whole = [(stem.oh, [(DIRECT, 1, 0)])]
    for strip in range(1, third.oh + 1):
        columns = strip < third.oh
        steps = [all_steps(s, s.ow if columns else s.oh, columns, few=True) for s in (second, third)]
        for i, (a, b) in enumerate(itertools.product(*steps)):
            run([*whole, (strip, [a, b])] if i % 2 else [(strip, [((DIRECT, WINDOW)[i // 2 % 2], 1, 0), a, b])])


CHAINS = {"one chain": dict(height=9, width=7, k=1, central=False, margin_h=0, margin_w=0), "five chains": {}}


@pytest.mark.parametrize("chains", CHAINS)
@pytest.mark.parametrize("aggregate", ["sum", "concat"])
@pytest.mark.parametrize("kernel", [1, 3])
def test_every_group_of_a_head(chains, aggregate, kernel):
    """A last convolution in groups of output channels: its sums are those of a group, or of all summed chains."""
    network = small_network(Layer("conv", 9, 7, 5, 0, 7, kernel, 2), aggregate=aggregate, **CHAINS[chains])
    rng = np.random.default_rng(1)
    qnet, picture = random_qnet(rng, network), random_frame(rng, 12, 10)
    stem, head = network.layers()
    wanted = Oracle(pack(qnet)).run_image(*picture.args())
    for group in range(1, head.cout + 1):
        blob = pack(qnet, place(network, [(stem.oh, [(DIRECT, 1, 0)]), (head.oh, [(GROUPS, 1, group)])]))
        for same in (blob, scattered(rng, blob)):
            check(Engine(same), wanted, picture)


# The run as a whole


@pytest.mark.parametrize("seed", range(20))
def test_started_anew_after_an_interruption(seed):
    """A run left half-way leaves nothing behind."""
    case, rng = random_case(5000 + seed), np.random.default_rng(seed)
    engine, d = Engine(case.blob), case.qnet.design
    engine.run_image(*case.picture.args())
    total = engine.n_steps
    for _ in range(3):
        other = random_frame(rng, d.height, d.width)
        engine.start_image(*other.args())
        engine.steps(int(rng.integers(1, total)))
        check(engine, case.oracle.run_image(*case.picture.args()), case.picture, case)


def test_papers_vww_network():
    """The size that ships: 66 px, k=4 and a central patch, m=9, in a plan of few bytes."""
    stages = (Stage(8, 1, 1, 1), Stage(16, 2, 2, 6), Stage(24, 2, 2, 6, 5), Stage(40, 2, 2, 6, 7))
    network = patch_tunnels("vww", ("no", "yes"), 66, 66, 3, 4, True, 9, 9, 8, 3, 2, stages, 80)
    rng = np.random.default_rng(7)
    qnet, picture = random_qnet(rng, network), random_frame(rng, 96, 96)
    blob = pack(qnet)
    check(Engine(blob), Oracle(blob).run_image(*picture.args()), picture)
    blob = pack(qnet, random_plan(rng, network))
    check(Engine(blob), Oracle(blob).run_image(*picture.args()), picture)


@pytest.mark.parametrize("k", [1, 4])
def test_tunnels_over_one_patch(k):
    """Each has weights of its own, and all read the same pixels."""
    rng = np.random.default_rng(k)
    stages = (Stage(8, 2, 2, 3), Stage(12, 1, 2, 2))
    qnet = random_qnet(rng, patch_tunnels("n", ("a", "b"), 30, 34, k=k, central=False, repeat=3, stages=stages))
    picture, blob = random_frame(rng, 40, 40), random_blob(rng, qnet)
    oracle = Oracle(blob)
    assert len(oracle.params) == 3 * k
    check(Engine(blob), oracle.run_image(*picture.args()), picture)


def test_random_network_limit():
    rng = np.random.default_rng(0)
    assert all(sum(s.macs for s in random_network(rng, 50_000).layers()) <= 50_000 for _ in range(20))

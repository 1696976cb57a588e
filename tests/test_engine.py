"""The C engine on this machine against the numpy oracle: byte for byte, whatever the network, the picture, the plan."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from arena import Area, layer_areas
from cases import Picture, encode, random_case, random_frame, random_plan, random_raw, random_schedule
from cengine import Engine
from networks import FreeNetwork, identity_qnet, random_network, random_picture, random_qnet
from oracle import GREY, RGB565, RGB888, Oracle, scores_of
from patchnet.design import Layer, Network, Stage
from patchnet.pack import pack
from patchnet.plan import place
from patchnet.quantized import QNet


def assert_equal(got, wanted) -> None:
    """An Output of the engine (or a Result) is the oracle's Result."""
    np.testing.assert_array_equal(got.logits16, wanted.logits16)
    np.testing.assert_array_equal(got.outputs8, wanted.outputs8)
    assert list(got.scores) == wanted.scores


def maps_of(engine: Engine, oracle: Oracle) -> list[list[np.ndarray]]:
    """The maps [tunnel][layer], each taken from the arena as soon as its layer is done, of a run just started."""
    layers, maps = oracle.layers, [[] for _ in oracle.params]
    before = engine.where()
    while before[1] < len(layers) or before[0] + 1 < len(maps):
        engine.steps(1)
        if engine.where() != before and before[1] < len(layers):
            maps[before[0]].append(engine.arena[layers[before[1]].out_at :].view(np.int8).copy())
        before = engine.where()
    return maps


@pytest.mark.parametrize("seed", range(240))
def test_random_network(seed):
    case = random_case(seed)
    engine = Engine(case.blob)
    assert_equal(engine.run_image(*case.picture.args()), case.oracle.run_image(*case.picture.args()))
    raw = random_raw(np.random.default_rng(seed), case.qnet.design)
    assert_equal(engine.run_raw(raw), case.oracle.run_raw(raw))


@pytest.mark.parametrize("seed", range(60))
def test_extreme_weights_and_pictures(seed):
    """All weights -127 or 127, biases at their limits, pixels 0 and 255: the oracle checks that no sum leaves int32."""
    case = random_case(seed, extreme=True)
    assert_equal(Engine(case.blob).run_image(*case.picture.args()), case.oracle.run_image(*case.picture.args()))


@pytest.mark.parametrize("seed", range(30))
def test_every_map(seed):
    """Not only what comes out: each layer's whole map in each tunnel."""
    case = random_case(1000 + seed)
    engine, wanted = Engine(case.blob), case.oracle.run_image(*case.picture.args())
    engine.start_image(*case.picture.args())
    for tunnel, (got_chain, chain) in enumerate(zip(maps_of(engine, case.oracle), wanted.maps, strict=True)):
        for i, (got, m) in enumerate(zip(got_chain, chain, strict=True)):
            np.testing.assert_array_equal(got[: m.size].reshape(m.shape), m, err_msg=f"tunnel {tunnel}, layer {i}")


def test_random_networks_say_something():
    """The generator itself: what comes out varies, saturates seldom, and all shapes occur."""
    saturated, distinct, spread, seen = [], [], [], set()
    for seed in range(80):
        case = random_case(seed)
        result = case.oracle.run_image(*case.picture.args())
        for m in itertools.chain(*result.maps):
            saturated.append(np.mean((m == -128) | (m == 127)))
            distinct.append(len(np.unique(m)) / min(m.size, 256))
        spread.append(np.std(result.logits16) if len(result.logits16) > 1 else 5000)
        d = case.qnet.design
        seen |= {("k", d.k), ("central", d.central), d.aggregate, d.fit, ("channels", d.channels), case.picture.pixfmt}
        for s in d.layers():
            seen |= {(s.kind, s.kernel, s.stride), ("cout", s.cout % 4), s.act}
            seen |= {("expand", s.expand), ("residual", s.residual)}
    assert np.mean(saturated) < 0.3 and np.mean(distinct) > 0.5 and np.median(spread) > 3000
    wanted = {(kind, k, s) for kind in ("conv", "bottleneck") for k in (3, 5, 7) for s in (1, 2)}
    wanted |= (
        {("conv", 1, 1), ("conv", 1, 2)}
        | {("k", k) for k in (1, 4, 9, 16)}
        | {("cout", r) for r in range(4)}
        | {GREY, RGB565, RGB888}
    )
    wanted |= {(name, flag) for name in ("central", "expand", "residual") for flag in (False, True)}
    wanted |= {"sum", "concat", "stretch", "crop", "relu6", "relu", "none", ("channels", 1), ("channels", 3)}
    assert wanted <= seen, wanted - seen


def test_labels_as_they_lie_in_the_blob():
    labels = ("plain", "", "Stra\u00dfe", "\u732b")
    network = replace(identity_qnet(2, 2, 1).design, labels=labels)
    engine = Engine(pack(random_qnet(np.random.default_rng(0), network)))
    assert engine.labels() == "".join(label + "\n" for label in labels)


# The picture


def assert_samples(qnet: QNet, picture: Picture) -> None:
    """The engine's view of a picture is the oracle's."""
    blob = pack(qnet)
    oracle, engine = Oracle(blob), Engine(blob)
    wanted = oracle.run_image(*picture.args()).input_q
    engine.start_image(*picture.args())
    [[got]] = maps_of(engine, oracle)
    np.testing.assert_array_equal(got[: wanted.size].reshape(wanted.shape), wanted)


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
    blob = pack(identity_qnet(1, 3, 3))
    engine = Engine(blob)
    engine.start_image(frame, 3, 1, RGB565)
    [[got]] = maps_of(engine, Oracle(blob))
    assert got[:9].tolist() == [127, -128, -128, -128, 127, -128, -128, -128, 127]


def test_largest_region():
    """4096 x 4096 white pixels under one: the sum just fits 32 bits."""
    white = bytes(b"\xff" * (4096 * 4096))
    blob = pack(identity_qnet(1, 1, 1))
    engine = Engine(blob)
    engine.start_image(white, 4096, 4096, GREY)
    [[got]] = maps_of(engine, Oracle(blob))
    assert got[0] == 127


# The scores


@pytest.mark.parametrize("scale", [0.0005, 0.02, 0.3, 5.0])
def test_scores_of_any_logits(scale):
    """Logits put into the arena after a run. Near ones, far ones: as the oracle has it, and a softmax by the book.

    Two classes: there a score shows the last bits of an exponential.
    """
    rng = np.random.default_rng(5)
    network = replace(identity_qnet(1, 1, 1).design, labels=("a", "b"))
    blob = pack(replace(random_qnet(rng, network), output_scale=scale))
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
        wanted.append(scores_of(pair, oracle.header.softmax_mult))
    assert got == wanted
    powers = (logits[:, 1] - logits[:, 0]) * (oracle.header.softmax_mult / (1 << 24))
    true = 65536 / (1 + 2.0 ** np.clip(powers, -100, 100))
    assert np.abs(np.array(got)[:, 0] - true).max() < 1.5


# The plan


@pytest.mark.parametrize("seed", range(40))
def test_any_schedule(seed):
    """Whatever the strips and the groups, the same bytes."""
    case, rng = random_case(2000 + seed, max_macs=300_000), np.random.default_rng(seed)
    wanted = case.oracle.run_image(*case.picture.args())
    for _ in range(5):
        schedule = random_schedule(rng, case.qnet.design)
        blob = pack(case.qnet, place(case.qnet.design, schedule))
        assert_equal(Engine(blob).run_image(*case.picture.args()), wanted)


def small_network(second: Layer, third: Layer) -> FreeNetwork:
    stem = Layer("conv", 9, 7, 3, 0, 5, 3, 1)
    return FreeNetwork("small", ("a", "b", "c"), 12, 10, 3, 4, True, 3, 2, chain=(stem, second, third))


EXHAUSTED = {
    "kernel 3, residual, then kernel 5, stride 2": small_network(
        Layer("bottleneck", 9, 7, 5, 7, 5, 3, 1, True, True),
        Layer("bottleneck", 9, 7, 5, 6, 6, 5, 2, True, False, "none"),
    ),
    "kernel 7, stride 2, then no expansion": small_network(
        Layer("bottleneck", 9, 7, 5, 9, 6, 7, 2, True, False),
        Layer("bottleneck", 5, 4, 6, 6, 6, 3, 1, False, True),
    ),
}


@pytest.mark.parametrize("name", EXHAUSTED)
def test_every_schedule(name):
    """Of each bottleneck every height of strip with every group, from whole maps to a row of a channel."""
    network, rng = EXHAUSTED[name], np.random.default_rng(1)
    qnet, picture = random_qnet(rng, network), random_frame(rng, 12, 10)
    wanted = Oracle(pack(qnet)).run_image(*picture.args())
    _, second, third = network.layers()
    for layer, fixed in ((second, 1), (third, 2)):
        for rows, group in itertools.product(range(1, layer.oh + 1), range(1, layer.cexp + 1)):
            schedule = [(1, 5), (3, 4), (2, 5)]
            schedule[fixed] = (rows, group)
            assert_equal(Engine(pack(qnet, place(network, schedule))).run_image(*picture.args()), wanted)


# The arena


@pytest.mark.parametrize("seed", range(40))
def test_arena_is_exact(seed):
    """Any old contents give the same result, and all but alignment of the bytes asked for are really used.

    A byte is used if it differs from what the arena was filled with, after some run.
    """
    case, rng = random_case(3000 + seed), np.random.default_rng(seed)
    wanted = case.oracle.run_image(*case.picture.args())
    engine = Engine(case.blob)
    used = np.zeros(engine.arena_bytes, bool)
    for fill in (0xA5, 0, *(rng.integers(0, 256, engine.arena_bytes, np.uint8) for _ in range(3))):
        engine.fill = fill
        assert_equal(engine.run_image(*case.picture.args()), wanted)
        used |= engine.arena != fill
    assert used[-16:].any() and used.sum() >= engine.arena_bytes - 16


def inside(positions: np.ndarray, area: Area) -> np.ndarray:
    return positions[(positions >= area[0]) & (positions < area[0] + area[1])]


@pytest.mark.parametrize("seed", range(12))
def test_a_step_is_bounded(seed):
    """A step writes at most one row of its map and one row of sums, and nothing outside its layer's places."""
    case = random_case(4000 + seed, max_macs=100_000)
    engine, layers = Engine(case.blob), layer_areas(case.oracle)
    engine.fill = np.random.default_rng(seed).integers(0, 256, engine.arena_bytes, np.uint8)
    engine.start_image(*case.picture.args())
    more = True
    while more:
        before, (_, index) = engine.arena.copy(), engine.where()
        _, more = engine.steps(1)
        if index == len(layers):
            continue
        areas, changed = layers[index], np.flatnonzero(engine.arena != before)
        out, acc, ring = (inside(changed, area) for area in (areas.out, areas.acc, areas.ring))
        assert len(changed) == len(out) + len(acc) + len(ring)
        assert len(out) * areas.rows <= areas.out[1]
        assert len(acc) * case.oracle.layers[index].rows <= areas.acc[1]


@pytest.mark.parametrize("seed", range(12))
def test_number_of_steps(seed):
    """One per output row and group: that is what keeps Ctrl-C near."""
    case = random_case(4000 + seed)
    engine = Engine(case.blob)
    engine.run_image(*case.picture.args())
    network, chain = case.qnet.design, 0
    for layer, record in zip(network.layers(), case.oracle.layers, strict=True):
        chain += layer.oh * (1 if layer.kind == "conv" else -(-layer.cexp // record.group))
    assert engine.n_steps >= network.tunnels * chain


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
        assert_equal(engine.run_image(*case.picture.args()), case.oracle.run_image(*case.picture.args()))


def test_papers_vww_network():
    """The size that ships: 66 px, k=4 and a central patch, m=9, in a plan of few bytes."""
    stages = (Stage(8, 1, 1, 1), Stage(16, 2, 2, 6), Stage(24, 2, 2, 6, 5), Stage(40, 2, 2, 6, 7))
    network = Network("vww", ("no", "yes"), 66, 66, 3, 4, True, 9, 9, 8, 3, 2, stages, 80)
    rng = np.random.default_rng(7)
    qnet, picture = random_qnet(rng, network), random_frame(rng, 96, 96)
    blob = pack(qnet)
    assert_equal(Engine(blob).run_image(*picture.args()), Oracle(blob).run_image(*picture.args()))
    blob = pack(qnet, random_plan(rng, network))
    assert_equal(Engine(blob).run_image(*picture.args()), Oracle(blob).run_image(*picture.args()))


def test_random_network_limit():
    rng = np.random.default_rng(0)
    assert all(sum(s.macs for s in random_network(rng, 50_000).layers()) <= 50_000 for _ in range(20))

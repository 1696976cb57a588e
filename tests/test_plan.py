"""The planner: what it counts, promises and refuses. That the engine needs just these bytes is shown in test_engine."""

import numpy as np
import pytest

import networks
from patchnet.design import Layer, Network, Stage
from patchnet.plan import _schedules, aligned, map_bytes, place, plan, ring_bytes, smallest, strip_macs

VWW = Network(
    "vww", ("no_person", "person"), 66, 66, k=4, central=True, margin_h=9, margin_w=9, stem_out=16,
    stages=(Stage(24, 1, 1), Stage(32, 2, 2), Stage(48, 2, 2), Stage(64, 1, 1)),
)  # fmt: skip


def counted_macs(layer: Layer, rows: int) -> int:
    """Multiply-accumulates of a strip schedule, by walking it row by row."""
    total = 0
    for top in range(0, layer.oh, rows):
        needed = {
            y
            for o in range(top, min(layer.oh, top + rows))
            for y in range(o * layer.stride - layer.kernel // 2, o * layer.stride - layer.kernel // 2 + layer.kernel)
            if 0 <= y < layer.h
        }
        total += len(needed) * layer.w * layer.cin * layer.cexp if layer.expand else 0
        total += (min(layer.oh, top + rows) - top) * layer.ow * layer.cexp * (layer.kernel**2 + layer.cout)
    return total


def test_strip_macs():
    for rows in range(1, 22):
        for stride in (1, 2):
            for kernel in (3, 5, 7):
                layer = Layer("bottleneck", 21, 20, 4, 12, 5, kernel, stride, True)
                if rows <= layer.oh:
                    assert strip_macs(layer, rows) == counted_macs(layer, rows)


def test_whole_map_recomputes_nothing():
    for layer in VWW.layers():
        assert strip_macs(layer, layer.oh) == layer.macs


def test_by_hand():
    """Block 1 of the VWW network, a row and a channel at a time: both maps, 21 x 24 sums, 3 x 21 ring, 1 value."""
    least = 21 * 21 * 16 + 21 * 21 * 24 + 4 * 21 * 24 + aligned(3 * 21 + 1) + 4 * 64
    assert smallest(VWW) == least == 19976


def test_budgets():
    least = smallest(VWW)
    macs = []
    for budget in (None, least, least + 1000, 2 * least, 10 * least):
        p = plan(VWW, budget)
        assert p.arena_bytes <= (budget or least)
        macs.append(sum(strip_macs(layer, step.rows) for layer, step in zip(VWW.layers(), p.steps, strict=True)))
    assert macs[0] == macs[1] and macs == sorted(macs, reverse=True)
    assert macs[-1] == sum(layer.macs for layer in VWW.layers())


def test_budget_too_small():
    with pytest.raises(ValueError, match=r"needs 19,976 B at least \(block 1, 21x21x16 to 24\), budget 19,000 B"):
        plan(VWW, 19_000)


def test_schedule_of_wrong_length():
    with pytest.raises(ValueError, match="wanted 7 layers, got 1"):
        place(VWW, [(1, 16)])


@pytest.mark.parametrize("seed", range(50))
def test_live_areas_are_apart(seed):
    """FORMAT.md's rule on what may not overlap, on random networks and schedules, byte by byte."""
    rng = np.random.default_rng(seed)
    network = networks.random_network(rng)
    layers = network.layers()
    options = [_schedules(layer, i == 0) for i, layer in enumerate(layers)]
    p = place(network, [o[rng.integers(len(o))] for o in options])
    last = layers[-1].cout
    sums = range(p.acc_at, p.acc_at + 4 * last)
    features = range(p.feature_at, p.feature_at + network.features)
    logits = range(p.logit_at, p.logit_at + 2 * len(network.labels))
    before = range(0)
    for i, (layer, step) in enumerate(zip(layers, p.steps, strict=True)):
        out = range(step.out_at, step.out_at + map_bytes(layer))
        rows = 4 * step.rows * layer.ow * layer.cout if layer.kind == "bottleneck" else 0
        ring = range(step.ring_at, step.ring_at + ring_bytes(layer, step.group, i == 0))
        keep = features if network.aggregate == "concat" else sums
        alone(p, before, out, range(step.acc_at, step.acc_at + rows), ring, keep)
        before = out
    alone(p, before, sums, *([features] if network.aggregate == "concat" else []))
    alone(p, features, logits)
    assert p.acc_at % 4 == 0 and p.logit_at % 2 == 0 and all(step.acc_at % 4 == 0 for step in p.steps)


def alone(p, *areas):
    owner = np.zeros(p.arena_bytes, int)
    for area in areas:
        if area:
            assert area.stop <= p.arena_bytes
            owner[area.start : area.stop] += 1
    assert owner.max() <= 1

"""Fits costs.INSTRUCTIONS and costs.CYCLES: profiles and modelled cycles of random plans on the emulated Cortex-M7, by
non-negative least squares.

    PYTHONPATH=host_tools:tests python tests/fit_costs.py [plans [mode ...]]

prints the tables (all but "fc"), then how far their predictions of a layer are off. With modes (fast, sweep, ...) it
looks at their layers alone, and at no costs but those of kernels that only they have. To be run again when kernels
change.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from patchnet.blob.pack import pack
from patchnet.blob.random import random_qnet
from patchnet.board.remote import FIRMWARE, Board
from patchnet.net.layers import Layer
from patchnet.net.network import Network
from patchnet.plan import costs
from patchnet.plan.modes import (
    DIRECT,
    GROUPS,
    MODE_NAMES,
    NARROW,
    ROLLING,
    STORED,
    WINDOW,
    fast_modes,
    sweeps,
)
from patchnet.plan.place import Plan, place
from patchnet.report.bench import measure
from patchnet.report.cycles import measured
from patchnet.tasks.classify.end import Pooled

CHANNELS = (8, 16, 16, 24, 24, 32, 40, 48, 64, 96)
SIDES = (9, 10, 12, 17, 20, 21, 28, 33, 40, 65)
AT_ONCE = 60  # blobs in the ROM of one board, whose layers the plugin has numbers for
TABLES = {"instructions": costs.INSTRUCTIONS, "cycles": costs.CYCLES}
LEAST = 20_000  # instructions of a layer that is worth looking at: a step is counted to 1000
# Numbers that others stand for, or that a kernel does not have; what a call of these costs, their outputs tell
WITHOUT = {("expand", 0), ("project", 0), ("depthwise", 2), ("fast expand 8", 0)}
WITHOUT |= {(name, 2) for name in costs.INSTRUCTIONS if " depthwise " in name}


# ---------------------------------------------------------------- plans


def next_layer(rng, last: Layer, portable: bool) -> Layer:
    shape = last.oh, last.ow, last.cout
    stride = int(rng.choice([1, 1, 2])) if last.oh > 4 else 1
    if rng.random() < 0.12:
        return Layer("conv", *shape, 0, int(rng.choice(CHANNELS[:7])), int(rng.choice([1, 3, 5])), stride)
    t = int(rng.choice([1, 2, 3, 4, 6, 8] if portable else [1, 2, 3, 4, 5, 6, 8]))
    kernel = int(rng.choice([3, 5, 7] if portable else [3, 3, 3, 5, 7] if t > 1 else [3]))
    t *= 4 if last.cout % 4 else 1
    residual = stride == 1 and bool(rng.random() < 0.5)
    cout = last.cout if residual else int(rng.choice(CHANNELS))
    return Layer("bottleneck", *shape, last.cout * t, cout, kernel, stride, t > 1, residual)


def network(rng, portable: bool) -> Network:
    """A stem, a few layers of at most 1.5 million MACs, at times a head."""
    side, stride = int(rng.choice(SIDES)), int(rng.choice([1, 2]))
    cout = int(rng.choice([8, 16, 16, 24, 40] if side < 30 else [3, 8, 16]))
    chain = [Layer("conv", side * stride, side * stride, 3, 0, cout, int(rng.choice([1, 3, 3, 5])), stride)]
    for _ in range(20):
        layer = next_layer(rng, chain[-1], portable)
        if layer.macs < 1.5e6 and len(chain) < 7:
            chain.append(layer)
    if rng.random() < 0.2:
        last = chain[-1]
        chain.append(Layer("conv", last.oh, last.ow, last.cout, 0, int(rng.choice([64, 128, 200])), 1, 1))
    h, w, _ = size = chain[0].h, chain[0].w, chain[0].cin
    return Network("fit", ("a", "b"), *size, (h, w), ((0, 0),), tuple(chain), Pooled())


def step(rng, layer: Layer, first: bool, alone: bool, lines: int, portable: bool) -> tuple[int, int, int]:
    if layer.kind == "conv":
        modes = [DIRECT, DIRECT, DIRECT, WINDOW] if first else [DIRECT, GROUPS] if alone else [DIRECT]
        mode = int(rng.choice(modes))
        return mode, 1, min(layer.cout, int(rng.choice([8, 16, 32]))) if mode == GROUPS else 0
    fast = () if portable else fast_modes(layer)
    if not layer.expand and not fast:
        return DIRECT, 1, 0
    mode = int(rng.choice(fast or (ROLLING, GROUPS, STORED)))
    group = layer.cexp if rng.random() < 0.3 else min(layer.cexp, int(rng.choice([4, 8, 16, 24, 32, 48, 64])))
    group = max(4, group)
    rows = min(lines, int(rng.choice([1, 2, 3, 4, lines]))) if mode in (GROUPS, STORED) or sweeps(mode) else 1
    # weights of any size fit sums of 24 bits of so many channels
    narrow = mode in fast and group < layer.cexp <= 192 and rng.random() < 0.5
    return mode | (NARROW if narrow else 0), rows, 0 if mode == ROLLING else group


def schedule(rng, chain: tuple[Layer, ...], portable: bool) -> list:
    out, at = [], 0
    while at < len(chain):
        part = chain[at : at + int(rng.choice([1, 1, 2, 3]))]
        height = part[-1].oh
        strip = height if rng.random() < 0.75 else int(rng.integers(max(1, height // 4), height + 1))
        alone = len(part) == 1 and at + 1 == len(chain) and strip == height
        lines = [layer.ow if strip < height else layer.oh for layer in part]
        steps = [step(rng, s, at + i == 0, alone, lines[i], portable) for i, s in enumerate(part)]
        out.append((strip, steps))
        at += len(part)
    return out


def random_plan(rng, portable: bool) -> tuple[Network, Plan]:
    """One that fits into the heap of the emulated board."""
    while True:
        net = network(rng, portable)
        plan = place(net, schedule(rng, net.chain, portable))
        if plan.arena_bytes < 1_000_000:
            return net, plan


def scattered(net: Network, plan: Plan, j: int) -> bool:
    """Whether a dense convolution brings its windows together from the columns of a map, pixel by pixel: rare, and the
    counts do not tell it."""
    begins = [s for s in plan.segments if s.first == j > 0]
    columns = any(s.strip < net.chain[s.first + s.layers - 1].oh for s in begins)
    return columns and net.chain[j].kind == "conv" and net.chain[j].taps > 1


# ---------------------------------------------------------------- the fit


@dataclass(frozen=True)
class Row:
    """Of a layer: what it is, its counts, what it costs by each of TABLES."""

    what: str
    counts: costs.Counts
    cost: dict[str, float]


def profiles(plans: list[tuple[Network, Plan]]) -> list[Row]:
    out = []
    blobs = [pack(random_qnet(net, i), plan) for i, (net, plan) in enumerate(plans)]
    picture = np.random.default_rng(0).bytes(2 * max(net.height * net.width for net, _ in plans))
    modelled = measured(blobs, picture)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "picture").write_bytes(picture)
        for i, blob in enumerate(blobs):
            (Path(folder) / f"{i}.pnb").write_bytes(blob)
        with Board.qemu(folder, FIRMWARE, icount=True) as board:
            for i, (net, plan) in enumerate(plans):
                counts = zip(costs.executed(net, plan), costs.moves(net, plan), strict=True)
                profile = measure(board, f"{i}.pnb", net.width, net.height)
                for j, ((own, move), n, c) in enumerate(zip(counts, profile, modelled[i], strict=False)):
                    if scattered(net, plan, j):
                        continue
                    what = f"{net.chain[j].kind} {MODE_NAMES[plan.steps[j].mode]}"
                    out.append(Row(what, own | move, {"instructions": n, "cycles": (c.least + c.most) / 2}))
    return [row for row in out if row.cost["instructions"] >= LEAST]


def nnls(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The x >= 0 with the least |a x - b| (Lawson and Hanson, Solving Least Squares Problems, chapter 23)."""
    x, free = np.zeros(a.shape[1]), np.zeros(a.shape[1], bool)
    for _ in range(10 * len(x)):
        slope = a.T @ (b - a @ x)
        if free.all() or slope[~free].max() < 1e-9 * abs(a.T @ b).max():
            break
        free[np.where(free, -np.inf, slope).argmax()] = True
        while True:
            best = np.zeros(len(x))
            best[free] = np.linalg.lstsq(a[:, free], b, rcond=None)[0]
            below = free & (best <= 0)
            if not below.any():
                break
            x += (x[below] / (x[below] - best[below])).min() * (best - x)
            free &= x > 1e-12
        x = best
    return x


def _cost(counts: dict, table: dict) -> float:
    return sum(a * b for name, numbers in counts.items() for a, b in zip(table[name], numbers, strict=True))


def fit(rows: list[Row], by: str, known: dict[str, tuple]) -> dict[str, list[float]]:
    """The costs of each kernel that is not `known`, with the least relative error."""
    names = [name for name in TABLES[by] if name not in known]
    keys = [(name, i) for name in names for i in range(3) if (name, i) not in WITHOUT]
    a = np.array([[row.counts.get(name, (0, 0, 0))[i] for name, i in keys] for row in rows], float)
    rest = [_cost({name: n for name, n in row.counts.items() if name in known}, known) for row in rows]
    used = a.any(0)
    keys, a = [key for key, u in zip(keys, used, strict=True) if u], a[:, used]
    whole = np.array([row.cost[by] for row in rows])
    weight = 1 / np.maximum(whole, 50_000)
    a = a * weight[:, None]
    scale = np.linalg.norm(a, axis=0)
    found = nnls(a / scale, (whole - rest) * weight) / scale
    out = defaultdict(lambda: [0.0, 0.0, 0.0])
    for (name, i), value in zip(keys, found, strict=True):
        out[name][i] = float(value)
    return out


def residuals(rows: list[Row], by: str, table: dict[str, list[float]]) -> dict[str, np.ndarray]:
    """Relative errors of layers that cost 100,000 or more, by kind and mode."""
    out = defaultdict(list)
    for row in rows:
        if row.cost[by] >= 100_000:
            out[row.what].append(_cost(row.counts, table) / row.cost[by] - 1)
    return {what: np.array(errors) for what, errors in sorted(out.items())}


def main(plans: int, modes: list[str]) -> None:
    rng, rows = np.random.default_rng(1), []
    for at in range(0, plans, AT_ONCE):
        rows += profiles([random_plan(rng, i % 3 == 0 and not modes) for i in range(min(AT_ONCE, plans - at))])
        print(f"{min(plans, at + AT_ONCE)} of {plans} plans", file=sys.stderr)
    others = {name for row in rows if row.what.split()[1] not in modes for name in row.counts} if modes else set()
    rows = [row for row in rows if not modes or row.what.startswith("bottleneck") and row.what.split()[1] in modes]
    for by, before in TABLES.items():
        known = {name: cost for name, cost in before.items() if name in others}
        table = fit(rows, by, known) | known
        print(f"{by.upper()} = {{")
        for name, numbers in table.items():
            print(f'    "{name}": ({", ".join(f"{n:.0f}" if n >= 100 else f"{n:.3g}" for n in numbers)}),')
        for what, e in residuals(rows, by, table).items():
            print(f"{what}: {len(e)} layers, {np.sqrt((e**2).mean()):.1%} rms, {abs(e).max():.1%} at most")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500, sys.argv[2:])

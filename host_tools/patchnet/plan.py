"""Choosing how each layer is run: strips of output rows, groups of expanded channels, places in the arena.

The device follows the plan and only checks it (modpatchnet/FORMAT.md, The plan). Bytes counted here are the bytes
that the device touches: maps, sums, rings, line buffers, feature sums, features, logits, alignment.

Maps alternate between the two ends of the arena, a layer's sums and ring lie between its two maps. The feature
vector that outlives a chain lies below everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .design import Layer, Network

ALIGN = 4


def aligned(n: int) -> int:
    return -(-n // ALIGN) * ALIGN


@dataclass(frozen=True)
class Step:
    """One layer's schedule and its places in the arena (bytes). See FORMAT.md for the fields."""

    rows: int
    group: int
    out_at: int
    acc_at: int
    ring_at: int


@dataclass(frozen=True)
class Plan:
    """A schedule for one chain, shared by all, and the arena it needs."""

    arena_bytes: int
    acc_at: int
    feature_at: int
    logit_at: int
    steps: tuple[Step, ...]


def map_bytes(layer: Layer) -> int:
    """int8 output map."""
    return layer.oh * layer.ow * layer.cout


def acc_bytes(layer: Layer, rows: int) -> int:
    """int32 sums of a strip of `rows` output rows."""
    return 4 * rows * layer.ow * layer.cout if layer.kind == "bottleneck" else 0


def ring_bytes(layer: Layer, group: int, first: bool) -> int:
    """Sampled picture rows of the first layer; expanded rows of a group and its depthwise values of a bottleneck."""
    rows = min(layer.kernel, layer.h) * layer.w
    if layer.kind == "bottleneck":
        return (rows * group if layer.expand else 0) + group
    return rows * layer.cin if first else 0


def strip_macs(layer: Layer, rows: int) -> int:
    """Multiply-accumulates of a layer run in strips: input rows at the seams are expanded again."""
    if layer.kind == "conv" or not layer.expand:
        return layer.macs
    pad, expanded = layer.kernel // 2, 0
    for top in range(0, layer.oh, rows):
        bottom = min(layer.oh, top + rows) - 1
        expanded += min(layer.h, bottom * layer.stride - pad + layer.kernel) - max(0, top * layer.stride - pad)
    return layer.macs + (expanded - layer.h) * layer.w * layer.cin * layer.cexp


class _Sizes:
    """What the places of a network's plan are computed from."""

    def __init__(self, network: Network):
        self.layers = network.layers()
        channels = self.layers[-1].cout
        self.sums = 4 * channels
        self.features = channels * network.tunnels if network.aggregate == "concat" else channels
        self.logits = 2 * len(network.labels)
        self.concat = network.aggregate == "concat"
        self.below = aligned(self.features if self.concat else self.sums)  # lives as long as all chains

    def layer(self, i: int, rows: int, group: int) -> int:
        """Arena bytes while layer i runs."""
        layer = self.layers[i]
        maps = aligned(map_bytes(layer)) + (aligned(map_bytes(self.layers[i - 1])) if i else 0)
        return self.below + maps + acc_bytes(layer, rows) + aligned(ring_bytes(layer, group, i == 0))

    def end(self) -> int:
        """Arena bytes while features and logits are made."""
        pooling = self.below + aligned(map_bytes(self.layers[-1])) + (self.sums if self.concat else 0)
        return max(pooling, self.below + (0 if self.concat else aligned(self.features)) + self.logits)


def place(network: Network, schedule: Sequence[tuple[int, int]]) -> Plan:
    """Lays out the arena for a given (rows, group) per layer; a convolution's entry must be (1, cout)."""
    sizes = _Sizes(network)
    if len(schedule) != len(sizes.layers):
        raise ValueError(f"schedule: wanted {len(sizes.layers)} layers, got {len(schedule)}")
    needed = [sizes.layer(i, rows, group) for i, (rows, group) in enumerate(schedule)]
    arena = aligned(max(*needed, sizes.end()))
    steps, low_end = [], 0
    for i, (layer, (rows, group)) in enumerate(zip(sizes.layers, schedule, strict=True)):
        out = aligned(map_bytes(layer))
        if i % 2 == 0:
            out_at, low_end = sizes.below, sizes.below + out
        else:  # the input is the map at the low end
            out_at = arena - out
        acc = acc_bytes(layer, rows)
        ring = ring_bytes(layer, group, i == 0)
        steps.append(Step(rows, group, out_at, low_end if acc else 0, low_end + acc if ring else 0))
    last_low = len(steps) % 2 == 1
    if sizes.concat:
        # a chain's sums lie beside its last map, the logits over both
        sums_at = steps[-1].out_at + aligned(map_bytes(sizes.layers[-1])) if last_low else sizes.below
        return Plan(arena, sums_at, 0, sizes.below, tuple(steps))
    return Plan(arena, 0, sizes.below, sizes.below + aligned(sizes.features), tuple(steps))


def _schedules(layer: Layer, first: bool) -> list[tuple[int, int]]:
    """(rows, group) worth trying, cheapest first: tall strips, then wide groups."""
    if layer.kind == "conv":
        return [(1, layer.cout)]
    rows = sorted({-(-layer.oh // n) for n in range(1, layer.oh + 1)}, reverse=True)
    groups = sorted({g for g in (1, 2, 4, 8, 16, 32, 64, layer.cexp) if g <= layer.cexp}, reverse=True)
    options = [(r, g) for r in rows for g in groups]
    return sorted(options, key=lambda o: (strip_macs(layer, o[0]), -o[1], o[0]))


def block_name(network: Network, i: int) -> str:
    """How a layer is called in messages and tables: "stem", "block 3", "head"."""
    layers = network.layers()
    if layers[i].kind == "bottleneck":
        return f"block {i}"
    return "stem" if i == 0 else "head" if i == len(layers) - 1 else f"conv {i}"


def smallest(network: Network) -> int:
    """Arena bytes below which no plan of this planner gets."""
    sizes = _Sizes(network)
    least = [
        min(sizes.layer(i, *option) for option in _schedules(layer, i == 0)) for i, layer in enumerate(sizes.layers)
    ]
    return aligned(max(*least, sizes.end()))


def plan(network: Network, budget: int | None = None) -> Plan:
    """The plan with the fewest multiply-accumulates within `budget` bytes of arena (the least possible, if None).

    ValueError, naming the block that binds, if the budget is too small.
    """
    sizes = _Sizes(network)
    limit = smallest(network)
    if budget is not None:
        if budget < limit:
            raise ValueError(_too_small(network, sizes, budget, limit))
        limit = budget
    schedule = []
    for i, layer in enumerate(sizes.layers):
        schedule.append(next(o for o in _schedules(layer, i == 0) if sizes.layer(i, *o) <= limit))
    return place(network, schedule)


def _too_small(network: Network, sizes: _Sizes, budget: int, least: int) -> str:
    worst, where = sizes.end(), "features and logits"
    for i, layer in enumerate(sizes.layers):
        need = min(sizes.layer(i, *option) for option in _schedules(layer, i == 0))
        if need > worst:
            worst, where = need, f"{block_name(network, i)}, {layer.h}x{layer.w}x{layer.cin} to {layer.cout}"
    return f"needs {least:,} B at least ({where}), budget {budget:,} B"

"""FORMAT.md, The plan, in Python: what lies where in the arena, and whether a plan is sound. For the tests only."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from oracle import BOTTLENECK, EXPAND, Oracle

Area = tuple[int, int]  # first byte, bytes


@dataclass
class LayerAreas:
    """One layer's input map, output map, sums and ring; its output is `rows` rows."""

    input: Area
    out: Area
    acc: Area
    ring: Area
    rows: int

    def all(self) -> list[Area]:
        return [self.input, self.out, self.acc, self.ring]


def layer_areas(oracle: Oracle) -> list[LayerAreas]:
    head, areas = oracle.header, []
    h, w, c, before = head.patch_h, head.patch_w, head.channels, (0, 0)
    for i, layer in enumerate(oracle.layers):
        rows, columns = -(-h // layer.stride), -(-w // layer.stride)
        kept = min(layer.kernel, h) * w  # pixels of a ring
        out = layer.out_at, rows * columns * layer.cout
        if layer.kind == BOTTLENECK:
            ring = layer.group + (kept * layer.group if layer.flags & EXPAND else 0)
            acc = 4 * layer.rows * columns * layer.cout
        else:
            ring, acc = (0 if i else kept * c), 0
        areas.append(LayerAreas(before, out, (layer.acc_at, acc), (layer.ring_at, ring), rows))
        h, w, c, before = rows, columns, layer.cout, out
    return areas


def overlap(a: Area, b: Area) -> bool:
    return a[1] > 0 and b[1] > 0 and a[0] < b[0] + b[1] and b[0] < a[0] + a[1]


def schedule_is_sound(oracle: Oracle, layers: list[LayerAreas]) -> bool:
    """rows, group and the fields that must be 0 or aligned."""
    for i, (layer, areas) in enumerate(zip(oracle.layers, layers, strict=True)):
        if layer.kind == BOTTLENECK:
            if not (1 <= layer.rows <= areas.rows and 1 <= layer.group <= layer.cexp) or layer.acc_at % 4:
                return False
        elif (layer.rows, layer.group, layer.acc_at) != (1, layer.cout, 0) or (i and layer.ring_at):
            return False
    return oracle.header.acc_at % 4 == 0 and oracle.header.logit_at % 2 == 0


def plan_is_sound(blob: bytes) -> bool:
    """Whether the plan in a blob keeps every rule of FORMAT.md."""
    oracle = Oracle(blob)
    head, layers = oracle.header, layer_areas(oracle)
    cout, concat = oracle.layers[-1].cout, head.aggregate == 1
    sums, logits = (head.acc_at, 4 * cout), (head.logit_at, 2 * head.classes)
    features = head.feature_at, cout * head.tunnels if concat else cout
    lasting = features if concat else sums
    everything = [area for layer in layers for area in layer.all()]
    together = [layer.all() for layer in layers] + [[lasting, area] for area in everything]
    together += [[sums, features], [sums, layers[-1].out], [features, logits]]
    inside = all(at + n <= head.arena_bytes for at, n in [*everything, sums, features, logits])
    apart = not any(overlap(a, b) for group in together for a, b in itertools.combinations(group, 2))
    return schedule_is_sound(oracle, layers) and inside and apart

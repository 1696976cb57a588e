"""What a plan costs: cycles of a Cortex-M7, instructions, or multiply-accumulates, kernel by kernel."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from ..net.layers import CASTS, POOLS, Layer
from ..net.network import Network
from . import float32
from .lines import Axis, Passes, View, axes
from .modes import (
    COVER,
    DIRECT,
    FAST_MODES,
    GROUPS,
    NARROW,
    ROLLING,
    STORED,
    WINDOW,
    Choice,
    as_bytes,
    eight,
    fours,
    sweeps,
)
from .place import Plan, going, staged
from .sizes import block_windows, conv_pixels, input_map_bytes

# Of each kernel (per call, per output, per multiply-accumulate), which `layer_counts` counts: instructions of the
# emulated Cortex-M7, and modelled cycles (report.pipeline), in the middle between the least and the most. Fitted by
# non-negative least squares of the relative error to layers in 500 random plans for shapes like the zoo's
# (tests/fit_costs.py): RGB565 of the network's own size. By hand are "fc", "cover", "sample grey",
# pooling layers, and what "move" takes in cycles, as memmove is not modelled. A layer is met within (root mean square;
# the worst) 2% (10%) in mode fast, 3% (11%) in mode sweep, 4% (18%) of convolutions, 7% (35%) of portable bottlenecks.
# Larger pictures cost more in `sample`. Those of float32 are fitted to three networks by four plans each: 6% (20%), and
# "float pool" is by hand.
INSTRUCTIONS: dict[str, tuple[float, float, float]] = {
    "sample": (108, 6.15, 0),
    "sample grey": (180, 57.1, 0),
    "conv": (1370, 11.9, 1.06),
    "conv stage": (47.9, 0, 0),
    "window": (68, 5.18, 0),
    "copy": (20.4, 0, 0),
    "nine": (131, 91.3, 0),
    "in lines": (31.2, 2.13, 0),
    "odd output": (191, 0.529, 0),
    "expand": (0, 48.1, 1.39),
    "depthwise": (520, 23.7, 0),
    "tap": (49.5, 5.47, 0),
    "project": (0, 13.5, 3.88),
    "row": (0, 10.3, 0),
    "widen": (239, 0.764, 0),
    "widen odd": (0, 16.4, 0),
    "line": (1771, 115, 0),
    "sweep line": (1489, 0, 0),
    "take": (807, 0, 0),
    "take rows": (303, 0.439, 0),
    "fast expand": (0, 12.3, 1.02),
    "fast expand 8": (0, 18, 0),
    "fast expand bytes": (0, 14.4, 1.13),
    "single bytes": (21.5, 2.34, 0),
    "single": (10.3, 2.35, 0),
    "single out": (0, 4.09, 0),
    "fast depthwise 3 1": (138, 12.3, 0),
    "fast depthwise 3 2": (181, 7.74, 0),
    "fast depthwise 5 1": (635, 38.3, 0),
    "fast depthwise 5 2": (622, 46.1, 0),
    "fast depthwise 7 1": (924, 55.4, 0),
    "fast depthwise 7 2": (958, 64.3, 0),
    "plain depthwise 1": (144, 23, 0),
    "plain depthwise 2": (91.7, 34.4, 0),
    "fast project": (44.5, 8.99, 1.08),
    "sums": (0, 5.81, 0),
    "narrow": (0, 1.36, 0),
    "residual": (0, 4.75, 0),
    "move": (0, 1.75, 0),
    "pool": (887, 2.87, 0),
    "pooling": (230, 8, 0),
    "pooled": (0, 12.2, 0),
    "cast": (30, 2, 0),
    "cover": (807, 51.9, 2.26),
    "fc": (0, 60, 1.41),
    "float dots": (74, 33, 3.2),
    "float depthwise": (119, 0, 2.89),
    "float project": (0, 0, 4.8),
    "float pool": (119, 3, 0),
}
CYCLES: dict[str, tuple[float, float, float]] = {
    "sample": (66.9, 4.17, 0),
    "sample grey": (120, 40, 0),
    "conv": (1261, 7.48, 0.547),
    "conv stage": (33.8, 0, 0),
    "window": (45.9, 4.79, 0),
    "copy": (17.3, 0, 0),
    "nine": (169, 50.8, 0),
    "in lines": (32, 1.95, 0),
    "odd output": (240, 0, 0),
    "expand": (0, 32.5, 0.843),
    "depthwise": (454, 12, 0),
    "tap": (41.4, 4.21, 0),
    "project": (0, 11.6, 3.33),
    "row": (0, 8.74, 0),
    "widen": (207, 0.898, 0),
    "widen odd": (0, 11.8, 0),
    "line": (1521, 202, 0),
    "sweep line": (1419, 0, 0),
    "take": (714, 0, 0),
    "take rows": (215, 0, 0),
    "fast expand": (0, 7.95, 0.52),
    "fast expand 8": (0, 11.6, 0),
    "fast expand bytes": (0, 9.26, 0.577),
    "single bytes": (13, 2.67, 0),
    "single": (9.61, 1.12, 0),
    "single out": (0, 3.02, 0),
    "fast depthwise 3 1": (112, 7.02, 0),
    "fast depthwise 3 2": (155, 4.5, 0),
    "fast depthwise 5 1": (485, 25.5, 0),
    "fast depthwise 5 2": (496, 29.4, 0),
    "fast depthwise 7 1": (684, 41.3, 0),
    "fast depthwise 7 2": (717, 42.9, 0),
    "plain depthwise 1": (137, 17.7, 0),
    "plain depthwise 2": (87.6, 29.5, 0),
    "fast project": (32.1, 5.97, 0.543),
    "sums": (0, 6.24, 0),
    "narrow": (0, 1.03, 0),
    "residual": (0, 4.04, 0),
    "move": (0, 0.8, 0),
    "pool": (743, 1.62, 0),
    "pooling": (160, 6, 0),
    "pooled": (0, 9, 0),
    "cast": (20, 1.5, 0),
    "cover": (540, 36, 1.6),
    "fc": (0, 40, 0.92),
    "float dots": (63.7, 28.1, 2.87),
    "float depthwise": (98.7, 0, 4.25),
    "float project": (0, 0, 3.56),
    "float pool": (98.7, 4, 0),
}
# Parts of other kernels, whose outputs are no values of the network
INSIDE = (
    "conv stage", "window", "nine", "in lines", "odd output", "tap", "row", "widen", "widen odd", "line", "sweep line",
    "take", "take rows", "single", "single bytes", "single out", "sums", "narrow", "residual", "pooled",
)  # fmt: skip
# Of dense convolutions, around the products
WINDOWS = "conv stage", "window", "copy", "nine", "in lines", "odd output", "single out"
CHANNELS_AT_ONCE = 16  # of the portable kernels, which take channels a few at a time

# Instead of those: multiply-accumulates and outputs, whatever they take. The fast modes are left out then.
MACS: dict[str, tuple[float, float, float]] = {name: (0, 0 if name in INSIDE else 1, 1) for name in CYCLES}
TABLES = {"cycles": CYCLES, "instructions": INSTRUCTIONS, "macs": MACS}
BY = "cycles"  # what plans are chosen by

Counts = dict[str, tuple[int, int, int]]  # of each kernel: calls, outputs, multiply-accumulates

CLOCK = 480_000_000  # Hz of a processor of which nothing else is said


def layer_counts(view: View, passes: Passes, step: Choice, first: bool, pools: bool) -> Counts:
    """What a layer does in all strips of its segment together. `first`: layer 0; `pools`: the last layer."""
    layer, pixels = view.layer, passes.made * view.all_out
    out = {"pool": (passes.made * view.strips, pixels * layer.cout, 0)} if pools else {}
    count = float32.counts if float32.is_float32(layer) else COUNTS[layer.kind, step[0]]
    own = count(view, passes, step)
    return out | own | (_sample_counts(view, passes, step) if first else {})


@dataclass(frozen=True)
class Dense:
    """A dense convolution over lines: the kernel (its lines `along` x its pixels `across`), what goes in and comes out,
    `pixels` that are made at a time, `groups` into which the outputs are cut."""

    along: Axis
    across: Axis
    cin: int
    cout: int
    pixels: int
    groups: int = 1

    @property
    def lines(self) -> int:
        return self.along.kernel

    @property
    def taps(self) -> int:
        return self.lines * self.across.kernel

    @property
    def nine(self) -> bool:
        """Whether windows are widened from where they lie, three lines of nine bytes."""
        return self.cin == 3 and self.lines == self.across.kernel == 3 and self.cout > 1

    @property
    def in_lines(self) -> bool:
        """Whether they are widened from where they lie, line by line of the kernel."""
        return self.lines > 1 and self.across.kernel * self.cin % 4 == 0

    @property
    def quads(self) -> int:
        return -(-self.taps * self.cin // 4)


def _conv_counts(view: View, passes: Passes, step: Choice) -> Counts:
    layer, (mode, _, group) = view.layer, step
    groups = -(-layer.cout // group) if mode == GROUPS else 1
    dense = Dense(view.lines.axis, view.across, layer.cin, layer.cout, conv_pixels(view, step), groups)
    return _dense_counts(dense, passes.made, view.all_out, view.strips, view.alone_out)


def _dense_counts(dense: Dense, made: int, all_out: int, strips: int, alone_out: int) -> Counts:
    """A dense convolution's of `made` lines of `all_out` pixels in `strips` strips, `alone_out` of them made one by
    one. Windows are copied line by line of the kernel where they are `_whole`, else by pixels; but for those inside the
    map that are widened from where they lie."""
    groups, kernel = dense.groups, dense.across.kernel
    lines, pixels, values = made * strips * groups, made * all_out, 4 * dense.quads
    chunks = made * groups * max(strips, -(-all_out // dense.pixels))
    whole, alone = _whole(dense.across), made * alone_out * -(-dense.cout // 2)
    copies, in_place = dense.taps - whole * dense.lines * (kernel - 1), dense.taps == 1 and dense.cin % 4 == 0
    inside = int(pixels * whole * _whole(dense.along)) if dense.nine or dense.in_lines else 0
    nine = inside * dense.nine
    windows = 0 if in_place else (pixels - inside) * groups
    odd = dense.cout > 1 and dense.cout % 2  # the last output is made together with the one before, once more
    return {
        "conv": (lines, pixels * dense.cout, pixels * dense.cout * dense.taps * dense.cin),
        "single out": (alone, alone * dense.quads, 0),
        "conv stage": (chunks * -(-dense.cout // (2 * groups)), 0, 0),
        "window": (windows, windows * values, 0),
        "copy": (int(windows * (dense.taps if inside else copies)), 0, 0),
        "nine": (chunks if nine else 0, nine * groups, 0),
        "in lines": ((inside - nine) * groups * dense.lines // 2, (inside - nine) * groups * values, 0),
        "odd output": (chunks * odd, pixels * values * odd, 0),
    }


@lru_cache(4096)
def _whole(across: Axis) -> float:
    """The part of a convolution's output pixels whose windows lie inside the lines."""
    tops = [i * across.stride - across.pad for i in range(across.outputs)]
    return sum(0 <= top <= across.size - across.kernel for top in tops) / across.outputs


def _second(axis: Axis) -> Axis:
    """That of a block's other convolution."""
    return replace(axis, kernel=axis.second, stride=1, pad=axis.second // 2, size=axis.outputs)


def _block_counts(view: View, passes: Passes, step: Choice) -> Counts:
    """A block's convolutions: the first one's lines are made once."""
    layer, axis, across = view.layer, view.lines.axis, view.across
    (first, second, *short), out = block_windows(view), (passes.made, view.all_out, view.strips, view.alone_out)
    counts = [
        _dense_counts(
            Dense(axis, across, layer.cin, layer.cexp, first[1]), axis.middle(0, passes.made)[1], view.all_mid,
            view.strips, 0,
        ),
        _dense_counts(Dense(_second(axis), _second(across), layer.cexp, layer.cout, second[1]), *out),
    ]  # fmt: skip
    for _, pixels in short:
        one = replace(across, kernel=1, pad=0)
        counts.append(_dense_counts(Dense(one, one, layer.cin, layer.cout, pixels), *out))
    names = dict.fromkeys(name for count in counts for name in count)  # in an order: sums of floats depend on it
    none = 0, 0, 0
    calls, outputs, macs = (
        {name: sum(count.get(name, none)[k] for count in counts) for name in names} for k in range(3)
    )
    total = {name: (calls[name], outputs[name], macs[name]) for name in names}
    return total | {"residual": (0, passes.made * view.all_out * layer.cout, 0)}


def _pool_counts(view: View, passes: Passes, step: Choice) -> Counts:
    pixels, layer = passes.made * view.all_out, view.layer
    return {"pooling": (pixels, pixels * layer.cout, 0), "pooled": (0, pixels * layer.cout * layer.taps, 0)}


def _cast_counts(view: View, passes: Passes, step: Choice) -> Counts:
    return {"cast": (passes.made * view.all_out, passes.made * view.all_out * view.layer.cin, 0)}


def _cover_counts(view: View, passes: Passes, step: Choice) -> Counts:
    """Of a kernel that is the whole map: a dot product for each output and line, or a pooling."""
    layer = view.layer
    if layer.kind == "conv":
        return {"cover": (layer.h, layer.h * layer.cout, layer.macs)}
    values = layer.h * layer.w * layer.cin
    if layer.kind == "maxpool":
        return {"pooling": (layer.h, 0, 0), "pooled": (0, values, 0)}
    return {"pool": (layer.h, values, 0)}


def _sample_counts(view: View, passes: Passes, step: Choice) -> Counts:
    """Of pixels of the picture; in mode window again and again where windows of two chunks lie one over the other."""
    layer, calls, pixels = view.layer, passes.once * view.strips, passes.once * view.all_in
    if step[0] == WINDOW:
        chunks = -(-view.n_out // conv_pixels(view, step))
        again = (chunks - 1) * view.strips * max(0, view.across.kernel - view.across.stride)
        calls, pixels = passes.read * view.strips * chunks, passes.read * (view.all_in + again)
    return {"sample" if layer.cin == 3 else "sample grey": (calls, pixels * layer.cin, 0)}


def _portable_counts(view: View, passes: Passes, step: Choice) -> Counts:
    """A bottleneck's, in modes other than fast and sweep."""
    layer, out, (mode, _, group) = view.layer, {}, step
    sizes = [min(group, layer.cexp - at) for at in range(0, layer.cexp, group)] if group else [layer.cexp]
    if layer.expand:
        lines = passes.once if mode == ROLLING else passes.read
        expanded = lines * view.all_in * layer.cexp
        out["expand"] = lines * view.strips * len(sizes), expanded, expanded * layer.cin
    pixels, square, added = passes.made * view.all_out, layer.taps, len(sizes) if mode == GROUPS else 1
    values = pixels * layer.cexp
    out["depthwise"] = pixels * len(sizes), values, values * square
    inside = _inside(layer) if layer.expand else 1.0
    turns = sum(-(-size // CHANNELS_AT_ONCE) for size in sizes)
    out["tap"] = int(inside * pixels * square * turns), int(inside * values * square), 0
    out["project"] = passes.made * view.strips * added, pixels * layer.cout * added, values * layer.cout
    out["row"] = 0, values * (1 if mode == GROUPS else -(-layer.cout // CHANNELS_AT_ONCE)), 0
    return out


@lru_cache(4096)
def _inside(layer: Layer) -> float:
    """The part of the kernel's positions that lie inside the map."""

    def reached(axis: Axis) -> float:
        spans = [axis.under(i, i + 1) for i in range(axis.outputs)]
        return sum(b - a for a, b in spans) / (axis.kernel * axis.outputs)

    return math.prod(map(reached, axes(layer)))


def _fast_counts(view: View, passes: Passes, step: Choice) -> Counts:
    """A bottleneck's in modes fast and sweep. The latter expands lines that two chunks share twice, and widens them for
    each group; those above a chunk it takes in one by one (`primed`), under 3x3 as if for an output line."""
    layer, (mode, _, group) = view.layer, step
    groups, sweeping = -(-layer.cexp // group), sweeps(mode)
    pairs, quads, made = layer.cexp // 2, fours(layer.cin) // 4, passes.made
    lines = passes.read if sweeping else passes.once
    primed = max(0, lines - made * layer.sh) if sweeping else 0
    if sweeping and layer.kh == 3:
        made += max(0, primed - (layer.sh == 1))
    calls, pixels, outputs = (
        passes.made * view.strips,
        passes.made * view.all_out,
        made * (view.all_out + view.alone_out),
    )
    alone = passes.made * view.alone_out * layer.cout // 2 * groups
    kind = f"fast depthwise {layer.kh}" if layer.expand else "plain depthwise"
    counts = {
        f"{kind} {layer.sh}": (
            made * view.strips * pairs, outputs * layer.cexp, pixels * layer.cexp * layer.taps,
        ),
        "fast project": (
            calls * groups * layer.cout // 2, pixels * layer.cout * groups, pixels * layer.cexp * layer.cout,
        ),
        "single out": (alone, alone * (layer.cexp // groups // 4), 0),
        "sums": (0, pixels * layer.cout * (groups > 1), 0),
        "narrow": (0, pixels * layer.cout * groups * (groups > 1 and mode & NARROW > 0), 0),
        "residual": (0, pixels * layer.cout * layer.residual, 0),
    }  # fmt: skip
    if sweeping:
        takes = primed * view.strips
        counts["sweep line"], counts["take"] = (calls * groups, 0, 0), (takes * groups, 0, 0)
        if layer.kh > 3:
            counts["take rows"] = takes * pairs, primed * view.all_in * layer.cexp, 0
    else:
        counts["line"] = calls, calls * groups, 0
    if layer.expand:
        singles, expanded = lines * view.alone_in * pairs, lines * view.all_in * layer.cexp
        name = "bytes" if as_bytes(mode) else "8" if eight(layer) else ""
        counts[f"fast expand {name}".rstrip()] = lines * view.strips * pairs, expanded, expanded * layer.cin
        if name != "8":
            counts[f"single {name}".rstrip()] = singles, singles * quads, 0
        if name != "bytes":
            widenings = lines * groups if sweeping else lines
            widened = widenings * view.all_in * fours(layer.cin)
            counts["widen odd" if layer.cin % 4 else "widen"] = widenings * view.strips, widened, 0
    return counts


COUNTS: dict[tuple[str, int], Callable[[View, Passes, Choice], Counts]] = {
    **{("conv", mode): _conv_counts for mode in (DIRECT, WINDOW, GROUPS)},
    **{("bottleneck", mode): _portable_counts for mode in (DIRECT, ROLLING, GROUPS, STORED)},
    **{("bottleneck", mode): _fast_counts for mode in FAST_MODES},
    ("block", ROLLING): _block_counts,
    **{(kind, DIRECT): _pool_counts for kind in POOLS},
    **{(kind, DIRECT): _cast_counts for kind in CASTS},
    **{(kind, COVER): _cover_counts for kind in ("conv", "maxpool", "meanpool")},
}


def cost_of(counts: Counts, by: str = BY) -> float:
    table, out = TABLES[by], 0.0
    for name, (calls, outputs, macs) in counts.items():
        per_call, per_output, per_mac = table[name]
        out += per_call * calls + per_output * outputs + per_mac * macs
    return out


def macs_of(counts: Counts) -> int:
    return sum(macs for _, _, macs in counts.values())


def executed(network: Network, plan: Plan) -> list[Counts]:
    """What each layer of `run()` does when run by `plan`, those of the tunnels in one of them."""
    out: list[Counts] = []
    for segment, ways in going(network, plan):
        stop = segment.first + segment.layers
        for i, (view, passes, step) in enumerate(ways, segment.first):
            out.append(layer_counts(view, passes, step, i == 0, i == stop - 1 and staged(network, stop)))
    return out


def totals(network: Network, plan: Plan, by: str = BY) -> tuple[float, int]:
    """Cost and executed multiply-accumulates of a picture."""
    n, end = len(network.layers()), end_counts(network)
    runs = [(network.tunnels if i < n else 1, counts) for i, counts in enumerate(executed(network, plan))]
    cost = sum(times * cost_of(counts, by) for times, counts in runs) + cost_of(end, by)
    return cost, sum(times * macs_of(counts) for times, counts in runs) + macs_of(end)


def moves(network: Network, plan: Plan) -> list[Counts]:
    """What it takes, after each layer, to move its output map to where the next segment wants it (before the first one
    behind the tunnels, the tunnels' maps together). A search does not know of it: places follow from schedules."""
    layers, n, heads, at = network.run(), len(network.layers()), network.heads(), 0
    out: list[Counts] = [{} for _ in layers]
    for segment in plan.segments:
        first, tail = layers[segment.first], segment.first == n
        there = 0 if tail else at  # the map that the tail reads lies at the arena's beginning
        if segment.first and segment.in_at != there:
            out[segment.first - (not tail)] = {"move": (0, input_map_bytes(first), 0)}
        at = segment.in_at if segment.first + segment.layers - 1 in heads else segment.out_at
    return out


def predicted(network: Network, plan: Plan, by: str = BY) -> float:
    """Cost of a picture, moves included."""
    n, moved = len(network.layers()), [cost_of(counts, by) for counts in moves(network, plan)]
    return totals(network, plan, by)[0] + network.tunnels * sum(moved[:n]) + sum(moved[n:])


def end_counts(network: Network) -> Counts:
    """The fully connected layer's, once per picture."""
    dense = network.end.fully_connected(network)
    if dense and network.value_bytes > 1:
        return float32.dense(*dense)
    return {"fc": (1, dense[0], dense[0] * dense[1])} if dense else {}

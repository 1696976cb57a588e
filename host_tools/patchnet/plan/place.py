"""From a schedule to a plan: which bytes of the arena are whose (modpatchnet/FORMAT.md, The plan).

A schedule says how the chain of layers is cut into segments and how each layer makes its lines. What follows from it
is counted here and in `lines` and `sizes`, nowhere else: how many lines a ring must hold, how far an output map may lie
over its input map, the work area, the arena. `choice` chooses schedules, `blob` writes plans, `report` shows them.

All sizes and places are bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..format import MAX_FAST_GROUP, MAX_FUSED, MAX_LINES
from ..net.layers import CASTS, Layer
from ..net.network import Lasting, Network, aligned
from .float32 import rows_alone
from .lines import Passes, View, lines_of, ring_lines, views
from .modes import GROUPS, MODE_NAMES, NARROW, Choice, fast_group, modes, row
from .sizes import Areas, segment_areas


@dataclass(frozen=True)
class Step:
    """One layer's schedule and its places in the arena. See FORMAT.md for the fields."""

    mode: int
    rows: int
    group: int
    lines: int = 0
    ring_at: int = 0
    wide_at: int = 0


@dataclass(frozen=True)
class Segment:
    """Layers whose lines stream from one to the next, and the places of what they share."""

    first: int
    layers: int
    strip: int
    in_at: int
    out_at: int
    state_at: int
    work_at: int


@dataclass(frozen=True)
class Plan:
    """A schedule for one chain, shared by all, then for what follows the chains, and the arena it needs.

    `places` are those of the task's areas, by the names that blobs have for them; `steps` has one entry per layer of
    `Network.run()`.
    """

    arena_bytes: int
    places: dict[str, int]
    segments: tuple[Segment, ...]
    steps: tuple[Step, ...]


def block_name(network: Network, i: int) -> str:
    """How a layer of `run()` is called in messages and tables: "stem", "block 3", "head"; "head 1" of detection. Casts
    do not count: they have the number of the layer whose map they change."""
    layers, kinds = network.layers(), [layer.kind for layer in network.run()]
    if i in network.heads():
        return f"head {network.heads().index(i) + 1}"
    kind, number = kinds[i], i - sum(kind in CASTS for kind in kinds[: i + 1])
    if kind != "conv":
        return f"{'block' if kind in ('bottleneck', 'block') else kind} {number}"
    if i >= len(layers):
        return f"conv {number}"
    return "stem" if i == 0 else "head" if i == len(layers) - 1 else f"conv {i}"


def staged(network: Network, stop: int) -> bool:
    """Whether the lines of a segment that ends before layer `stop` of `run()` do not go into a map of its own: they
    go to the pooling, the stitched map or the candidates."""
    return stop == len(network.layers()) or stop - 1 in network.heads()


def lasting(network: Network, last: Choice) -> Lasting:
    """The task's areas; `last` is the choice of the tunnels' last layer."""
    layer, (mode, _, group) = network.chain[-1], last
    return network.end.lasting(network, group if layer.kind == "conv" and mode == GROUPS else layer.cout)


def during(network: Network, last: Choice, stop: int) -> int:
    """Bytes that outlive the segment that ends before layer `stop` of `run()`."""
    n, its = len(network.chain), lasting(network, last)
    return its.tail if stop > n else its.below_last if stop == n else its.below


def going(network: Network, plan: Plan) -> Iterator[tuple[Segment, list[tuple[View, Passes, Choice]]]]:
    """Each segment, and of its layers where they stand, how often they work, their steps."""
    layers = tuple(network.run())
    for segment in plan.segments:
        stop = segment.first + segment.layers
        part = views(layers[segment.first : stop], segment.strip)
        steps = [(step.mode, step.rows, step.group) for step in plan.steps[segment.first : stop]]
        _, flows = ring_lines(part, steps, segment.first == 0)
        yield segment, list(zip(part, (flow.passes for flow in flows), steps, strict=True))


def areas(network: Network, plan: Plan, index: int) -> Areas:
    """What lies in the arena while segment `index` of a plan runs."""
    layers, segment = network.run(), plan.segments[index]
    stop = segment.first + segment.layers
    part = views(tuple(layers[segment.first : stop]), segment.strip)
    steps = plan.steps[segment.first : stop]
    schedule = [(step.mode, step.rows, step.group) for step in steps]
    last, tunnels_last = staged(network, stop), plan.steps[len(network.chain) - 1]
    found = segment_areas(part, segment.strip, schedule, segment.first == 0, last, [step.lines for step in steps])
    above = segment.in_at - segment.out_at if found.input and found.output else 0
    persistent = during(network, (tunnels_last.mode, tunnels_last.rows, tunnels_last.group), stop)
    return replace(found, persistent=persistent, lead=above)


# ---------------------------------------------------------------- places


def _check_range(where: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{where}: wanted {low}..{high}, got {value}")


def _check(part: Sequence[View], strip: int, schedule: Sequence[Choice], first: int, pools: bool) -> None:
    """ValueError naming layer and field of the first thing in a segment's schedule that FORMAT.md forbids."""
    for i, (view, (mode, rows, group)) in enumerate(zip(part, schedule, strict=True), first):
        layer = view.layer
        columns = strip < part[-1].layer.oh
        allowed = modes(layer, i == 0, pools and len(part) == 1 and not columns, columns)
        if mode not in allowed:
            names = " or ".join(MODE_NAMES[m] for m in allowed if not m & NARROW) or "lines that are rows"
            raise ValueError(f"layer {i}: mode: wanted {names}, got {mode}")
        its = row(layer, mode)
        _check_range(f"layer {i}: rows", rows, 1, view.lines.lines_out if its.chunks else 1)
        if group % its.multiple:
            raise ValueError(f"layer {i}: group: wanted a multiple of {its.multiple}, got {group}")
        _check_range(f"layer {i}: group", group, *its.group_range(layer))
        if its.fast and not fast_group(layer, group):
            raise ValueError(f"layer {i}: group: wanted at most {MAX_FAST_GROUP} or all {layer.cexp}, got {group}")


def place(network: Network, schedule: Sequence[tuple[int, Sequence[Choice]]], packed: bool = True) -> Plan:
    """Lays out the arena for a schedule: (strip, [(mode, rows, group) of each layer]) of each segment, in order.

    Not `packed`, output maps lie beside their input maps, never over them. ValueError, naming the layer, if the
    schedule is not one that FORMAT.md allows.
    """
    layers, n = tuple(network.run()), len(network.layers())
    total = sum(len(steps) for _, steps in schedule)
    if total != len(layers):
        raise ValueError(f"schedule: wanted {len(layers)} layers, got {total}")
    last = _choice_of(schedule, n - 1)
    its = lasting(network, last)
    arena, tail, first = its.end, 0, 0
    segments, steps = [], []
    for strip, parts in schedule:
        stop = first + len(parts)
        _check_range(f"layer {first}: layers of a segment", len(parts), 1, MAX_FUSED)
        _check_range(f"layer {stop - 1}: strip", strip, 1, layers[stop - 1].oh)
        _check_ends(network, layers, first, stop, strip)
        part = views(layers[first:stop], strip)
        _check_range(f"layer {first}: lines of a segment's strips", lines_of(part), 1, MAX_LINES * len(part))
        pools = stop == n and network.end.pools()
        if rows_alone(layers[:stop], pools):
            _check_range(f"layer {stop - 1}: strip", strip, layers[stop - 1].oh, layers[stop - 1].oh)
        _check(part, strip, parts, first, pools)
        base = during(network, last, stop) if stop <= n else 0  # what lasts behind the tunnels lies above
        segment, placed, end = _place_segment(part, strip, parts, first, staged(network, stop), base, packed)
        segments.append(segment)
        steps.extend(placed)
        arena, tail, first = max(arena, end), max(tail, end if stop > n else 0), stop
    arena = max(arena, tail + its.tail, its.idle)
    arena = aligned(arena) + its.kept if its.kept else arena
    places = dict(its.places) | {name: tail + at for name, at in its.tail_places}
    return Plan(arena, places, tuple(segments), tuple(steps))


def _choice_of(schedule: Sequence[tuple[int, Sequence[Choice]]], layer: int) -> Choice:
    return [choice for _, parts in schedule for choice in parts][layer]


def _check_ends(network: Network, layers: Sequence[Layer], first: int, stop: int, strip: int) -> None:
    """ValueError if a segment of layers first..stop - 1 joins what must be apart."""
    inner = {len(network.layers()), *(head + 1 for head in network.heads())} - {len(layers)}
    if network.readouts and inner & set(range(first + 1, stop)):
        raise ValueError(
            f"layer {first}: layers of a segment: it must end with the tunnel's last layer and with a head"
        )
    if stop - 1 in network.heads():
        if stop - first > 1 and stop < len(layers):
            raise ValueError(f"layer {stop - 1}: wanted a head by itself, for others read its input")
        _check_range(f"layer {stop - 1}: strip", strip, layers[stop - 1].oh, layers[stop - 1].oh)


def _place_segment(
    part: Sequence[View],
    strip: int,
    schedule: Sequence[Choice],
    first: int,
    last: bool,
    base: int,
    packed: bool,
) -> tuple[Segment, list[Step], int]:
    """From `base` up: the maps, the rings, the wide rings, the state, the work. Returns the end of it all, too."""
    lines, _ = ring_lines(part, schedule, first == 0)
    a = segment_areas(part, strip, schedule, first == 0, last, lines)
    if not packed:
        a = replace(a, lead=aligned(a.output))
    at = base + a.maps
    in_at = base + a.lead if first else 0

    def put(sizes: Sequence[int]) -> list[int]:
        nonlocal at
        places = []
        for size in sizes:
            places.append(at if size else 0)
            at += aligned(size)
        return places

    rings, wides = put(a.rings), put(a.wides)
    steps = [Step(*s, *places) for s, *places in zip(schedule, lines, rings, wides, strict=True)]
    state_at = at
    work_at = state_at + a.state
    segment = Segment(first, len(part), strip, in_at, 0 if last else base, state_at, work_at)
    return segment, steps, work_at + a.work

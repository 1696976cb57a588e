"""Choosing plans: from a network and a budget, or a limit on its cost, to a plan."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, field, replace
from functools import lru_cache

import numpy as np

from ..net.network import Network, aligned
from . import kept, streaming
from .costs import BY, totals
from .lines import View, views
from .modes import DIRECT, FAST, FAST_MODES, GROUPS, NARROW, Choice, fast_group
from .options import COARSE, FINE, PLAIN
from .place import Plan, areas, block_name, lasting, place, staged
from .search import Chain, How, Progress, Schedule, front_of, search
from .sizes import work_bytes, work_parts
from .sources import Source, Stream

DEFAULT_LIMIT = 1.2  # times the fastest plan's cost


@dataclass(frozen=True)
class Point:
    """A plan of the front: arena bytes, cost by one of costs.TABLES, multiply-accumulates (of a picture), schedule for
    `place`. If weights come from a `Source`, bytes read of it for a picture, and of the cost what that takes."""

    arena_bytes: int
    cost: float
    macs: int
    schedule: Schedule
    read: int = 0
    reading: float = 0


@lru_cache(4096)
def _even_groups(channels: int) -> list[int]:
    """Sizes of groups, ascending: multiples of 4, the groups as equal as they can be, and all channels at once."""
    return sorted({min(channels, aligned(-(-channels // n))) for n in range(1, channels // 4 + 2)})


def _even_pixels(view: View) -> list[int]:
    """Pixels that a convolution may make at a time, ascending, the chunks of a line as equal as they can be."""
    return sorted({2 * -(-view.n_out // (2 * n)) for n in range(1, view.n_out // 2 + 2)})


def _widened(network: Network, schedule: Schedule, source: Source | None) -> Schedule:
    """The schedule with groups as large as its arena has room for: fewer passes, no more bytes. But not where larger
    groups leave fewer weights in the `source`'s buffer or cache."""
    plan, layers, out = place(network, schedule), tuple(network.run()), []
    kept = lasting(network, (DIRECT, 1, 0)).kept
    for i, (segment, (strip, steps)) in enumerate(zip(plan.segments, schedule, strict=True)):
        stop = segment.first + segment.layers
        part, a = views(layers[segment.first : stop], strip), areas(network, plan, i)
        limit = a.work + plan.arena_bytes - kept - a.total
        wide = []
        for view, (mode, rows, group) in zip(part, steps, strict=True):
            last = staged(network, stop) and view is part[-1]
            if group and not (source is not None and source.parted(view.layer, (mode, rows, group))):
                group = _widest(network, view, (mode, rows, group), last, limit)
            sums = mode not in FAST_MODES or group < view.layer.cexp
            wide.append((mode if sums else mode & ~NARROW, rows, group))
        out.append((strip, tuple(wide)))
    return tuple(out)


def _widest(network: Network, view: View, step: Choice, last: bool, limit: int) -> int:
    """The largest group with which a layer's work area stays within `limit` bytes, or the one that it has. `last`: its
    lines are staged."""
    mode, rows, group = step
    conv = view.layer.kind == "conv"

    def below(wide: int) -> int:
        # only the last one has groups of channels
        return lasting(network, (mode, rows, wide)).below_last if conv and mode == GROUPS else 0

    def size(wide: int) -> int:
        return below(wide) - below(group) + work_bytes(work_parts(view, (mode, rows, wide), last))

    even = _even_groups(view.layer.cout if conv else view.layer.cexp)
    if mode in FAST_MODES:
        even = [wide for wide in even if fast_group(view.layer, wide)]
    groups = [wide for wide in (_even_pixels(view) if conv and mode != GROUPS else even) if wide > group]
    fits = bisect_right(groups, limit, key=size)
    return groups[fits - 1] if fits else group


def _point(network: Network, schedule: Schedule, how: How) -> Point:
    plan = place(network, schedule)
    cost, macs = totals(network, plan, how.by)
    read = 0 if how.source is None else how.source.reads(network, plan)
    reading = 0.0 if how.source is None else how.source.read * read
    return Point(plan.arena_bytes, cost + reading, macs, schedule, read, reading)


def _found(chain: Chain, how: How, progress: Progress | None) -> list[tuple[int, float, Schedule]]:
    """The front of one chain."""
    known = search(chain, how, COARSE, search(chain, how, PLAIN))
    return search(chain, how, FINE, known, progress).found()


def _joined(one: list[tuple[int, float, Schedule]], two: list[tuple[int, float, Schedule]]) -> list[Schedule]:
    """One after the other in one arena: the schedule for each size at which the sum of their costs falls."""
    out = []
    for total in sorted({entry[0] for entry in (*one, *two)}):
        fit = [[entry for entry in found if entry[0] <= total] for found in (one, two)]
        if all(fit):
            out.append(fit[0][-1][2] + fit[1][-1][2])
    return out


def front(
    network: Network,
    progress: Progress | None = None,
    by: str = BY,
    fast: Sequence[int] | None = None,
    source: Source | None = None,
) -> list[Point]:
    """The best plans: arena bytes ascending, cost descending; none needs more bytes than the best plan that computes
    nothing twice. `progress` hears of layers done and layers. Costs are counted `by` one of costs.TABLES; `fast` tells
    for each layer whether its weights let it run in modes fast and sweep, and with sums of 24 bits, where its shape
    does (`blob.order.fast_layers`). `source`: of weights that are not at hand; ValueError for a buffer that is too
    small.
    """
    if source is not None and network.value_bytes > 1:
        raise ValueError(f"{network.name}: float32: plans are made for weights that are at hand alone")
    how = How.of(network, by, fast, source)
    if isinstance(source, Stream):
        _check_buffer(network, how, source.buffer)
    return list(_points(network, how, Listener(progress)))


@dataclass(frozen=True)
class Listener:
    """Who hears of progress; all are equal, for who listens makes no difference to what is found."""

    progress: Progress | None = field(compare=False)


@lru_cache(64)
def _points(network: Network, how: How, listener: Listener) -> tuple[Point, ...]:
    """Those that were kept, or are found now; names have no say."""
    file = kept.place(replace(network, name="", labels=("",) * len(network.labels)), how)
    with suppress(TypeError, ValueError):
        if known := kept.recall(file):
            return tuple(_from_row(row) for row in known)
    began = time.perf_counter()
    points = _searched(network, how, listener)
    if time.perf_counter() - began > kept.SLOW:
        kept.keep(file, [astuple(point) for point in points])
    return points


def _from_row(row: list) -> Point:
    """A kept one."""
    arena, cost, macs, schedule, read, reading = row
    steps = tuple((strip, tuple((mode, rows, group) for mode, rows, group in steps)) for strip, steps in schedule)
    return Point(arena, cost, macs, steps, read, reading)


def _searched(network: Network, how: How, listener: Listener) -> tuple[Point, ...]:
    n, total = len(network.chain), len(network.run())

    def some(offset: int) -> Progress | None:
        progress = listener.progress
        return progress and (lambda done, _: progress(offset + done, total))

    found = _found(Chain(network), how.part(slice(0, n)), some(0))
    schedules = [schedule for _, _, schedule in found]
    if network.readouts:
        schedules = _joined(found, _found(Chain(network, True), how.part(slice(n, None)), some(n)))
    points = [_point(network, _widened(network, schedule, how.source), how) for schedule in schedules]
    best = front_of(*(np.array([getattr(p, name) for p in points]) for name in ("arena_bytes", "cost")))
    return tuple(points[i] for i in best.tolist())


def _check_buffer(network: Network, how: How, buffer: int) -> None:
    least = {"fully connected": streaming.end_part(network)}
    for i, layer in enumerate(network.run()):
        mode = FAST if how.fast[i] else DIRECT
        least[block_name(network, i)] = streaming.part_bytes(layer, (mode, 1, min(4, layer.cexp)))
    name = max(least, key=least.__getitem__)
    if buffer < least[name]:
        raise ValueError(f"{network.name}: {name} needs {least[name]:,} B of weights at a time, stream {buffer:,} B")


# ---------------------------------------------------------------- choices


def plan(
    network: Network,
    budget: int | None = None,
    cost_limit: float | None = None,
    by: str = BY,
    fast: Sequence[int] | None = None,
    source: Source | None = None,
    progress: Progress | None = None,
) -> Plan:
    """The cheapest plan within `budget` bytes, or the smallest one that costs at most `cost_limit` times what the
    fastest does; the cheapest within both, if both are given. With neither, the smallest at DEFAULT_LIMIT. `by`,
    `fast`, `source` and `progress` are those of `front`.

    ValueError, naming the block that binds, if there is none.
    """
    points = front(network, progress, by, fast, source)
    if budget is not None and budget < points[0].arena_bytes:
        raise ValueError(f"{_needs(network, points[0])}, budget {budget:,} B")
    inside = [p for p in points if budget is None or p.arena_bytes <= budget]
    limit = DEFAULT_LIMIT if cost_limit is None and budget is None else cost_limit
    if limit is not None:
        few = [p for p in inside if _times(p, points[-1], by) <= limit]
        if not few:
            least = min(_times(p, points[-1], by) for p in inside)
            raise ValueError(f"{network.name}: needs {least:.2f}x the {by} of the fastest plan, limit {limit:g}x")
        inside = few
    return place(network, (inside[0] if budget is None else inside[-1]).schedule)


def _times(point: Point, fastest: Point, by: str) -> float:
    """Cost as a multiple of the fastest plan's; for `macs` that is the nominal number, outputs not counted."""
    return point.macs / fastest.macs if by == "macs" else point.cost / fastest.cost


def smallest(network: Network, by: str = BY, fast: Sequence[int] | None = None) -> Plan:
    return place(network, front(network, by=by, fast=fast)[0].schedule)


def fastest(network: Network, by: str = BY, fast: Sequence[int] | None = None) -> Plan:
    """The smallest of the cheapest plans."""
    return place(network, front(network, by=by, fast=fast)[-1].schedule)


def binding(network: Network, plan: Plan) -> int | None:
    """The layer for which the arena is as large as it is; None: what ends it, features and logits or the like."""
    found = [areas(network, plan, i) for i in range(len(plan.segments))]
    worst = max(range(len(found)), key=lambda i: found[i].total)
    last = plan.steps[len(network.chain) - 1]
    if found[worst].total < lasting(network, (last.mode, last.rows, last.group)).end:
        return None
    a = found[worst]
    own = [sum(parts) for parts in zip(a.rings, a.wides, map(work_bytes, a.works), strict=True)]
    return plan.segments[worst].first + own.index(max(own))


def _needs(network: Network, point: Point) -> str:
    i = binding(network, place(network, point.schedule))
    if i is None:
        return f"needs {point.arena_bytes:,} B at least (what ends it)"
    layer = network.run()[i]
    t = f", t={layer.cexp / layer.cin:g}" if layer.expand else ""
    return f"needs {point.arena_bytes:,} B at least ({block_name(network, i)}, {layer.h}x{layer.w}x{layer.cin}{t})"

"""Choosing schedules: from a network and a budget, or a limit on its cost, to a plan.

A segment is an edge between two boundaries of the chain, so a plan is a path, and the best plans are the Pareto front
of (largest edge in bytes, sum of costs). The edges that end at a boundary are found from their last layer backwards: a
label is a choice of modes for the layers so far, with what it costs, the bytes of its rings (`fixed`: they live side
by side), its largest work area (`work`: used in turn) and the lines that it asks of the layer before. Labels that
are worse in all three numbers than another one that asks alike are dropped.

Sizes come from `plan`, nothing is counted twice; costs from `costs`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from itertools import pairwise

import numpy as np

from ..blob.quantized import QBottleneck, QConv, QNet
from ..format import MAX_FUSED, MAX_SIDE, STATE_BYTES
from ..net.design import Layer, Network
from . import streaming
from .costs import cost_of, end_counts, layer_counts, totals
from .fast import MODES, fast_shape
from .place import (
    DIRECT,
    FAST,
    GROUPS,
    ROLLING,
    STORED,
    SWEEP,
    WINDOW,
    Choice,
    Lasting,
    Plan,
    Step,
    View,
    aligned,
    areas,
    block_name,
    conv_pixels,
    flow,
    kept_lines,
    lead,
    map_bytes,
    place,
    staged,
    stream_bytes,
    views,
    wide_bytes,
    work_bytes,
    work_parts,
)


@dataclass(frozen=True)
class Tries:
    """What a search looks at: rows of the chunks of a segment's last layer (and all its lines) and of the others,
    channels of a group, pixels that a convolution makes at a time, the most strips that a segment is cut into."""

    rows_last: tuple[int, ...]
    rows_inner: tuple[int, ...]
    groups: tuple[int, ...]
    pixels: tuple[int, ...]
    strips: int


PLAIN = Tries((), (), (4,), (), 1)
COARSE = Tries((1, 2, 4, 8), (1,), (4,), (2,), 8)
FINE = Tries(tuple(range(1, 17)), (1, 2, 3, 4), (4, 8, 16, 32, 64), (2, 4, 6, 8, 12), MAX_SIDE)

DEFAULT_LIMIT = 1.2  # times the fastest plan's cost

Progress = Callable[[int, int], None]
Schedule = tuple[tuple[int, tuple[Choice, ...]], ...]  # of each segment: strip, its layers' choices


@dataclass(frozen=True)
class Point:
    """A plan of the front: arena bytes, cost by COSTS and multiply-accumulates (of a picture), schedule for `place`. If
    weights are read through a buffer, bytes read (of a picture), which are in the cost (streaming.READ)."""

    arena_bytes: int
    cost: float
    macs: int
    schedule: Schedule
    read: int = 0


# ---------------------------------------------------------------- what a layer may do


@dataclass(frozen=True)
class Role:
    """Where a layer stands. `first`: it reads the picture; `pools`: its lines do not go into a map or to another layer;
    `tail`: it ends a segment.

    `below`: bytes of the arena that its segment may not use. `fast`: modes fast and sweep are allowed. Costs are
    counted `by` one of TABLES. `buffer`: bytes of the one through which weights are read.
    """

    first: bool
    pools: bool
    tail: bool
    below: int
    fast: bool
    by: str
    buffer: int | None = None


@dataclass(frozen=True)
class Option:
    """A layer's step and what it brings: cost, bytes beside and in the work area, lines asked for.

    `kept` are the lines of its input ring that it needs for itself, `chunk` the most lines that it makes in one go.
    """

    step: Choice
    cost: float
    fixed: int
    work: int
    asks: tuple[int, ...]
    kept: int
    chunk: int


def _groups(channels: int, tries: Tries) -> list[int]:
    return sorted({min(group, channels) for group in tries.groups})


def fused_groups(layer: Layer, tries: Tries) -> list[int]:
    """Channels of a group worth trying in modes fast and sweep: all, or a multiple of 4."""
    return sorted({group for group in tries.groups if group % 4 == 0 and group < layer.cexp} | {layer.cexp})


def conv_groups(view: View, tries: Tries) -> list[int]:
    """Pixels at a time worth trying: as many as are usual, or fewer."""
    usual = conv_pixels(view, (DIRECT, 1, 0))
    return [0, *(pixels for pixels in tries.pixels if pixels < usual)]


def _steps(view: View, demands: tuple[int, ...], role: Role, tries: Tries) -> Iterator[Choice]:
    """Steps worth trying."""
    layer = view.layer
    if layer.kind == "conv":
        for pixels in conv_groups(view, tries):
            yield DIRECT, 1, pixels
            if role.first:
                yield WINDOW, 1, pixels
        return
    if role.fast:
        yield from ((FAST, 1, group) for group in fused_groups(layer, tries))
    if not layer.expand:
        yield DIRECT, 1, 0
        return
    yield ROLLING, 1, 0
    groups = _groups(layer.cexp, tries)
    wanted = (*tries.rows_last, view.lines.lines_out) if role.tail else tries.rows_inner
    for rows in sorted({flow(view.lines, demands, rows).chunk for rows in wanted}):
        if role.fast:
            yield from ((SWEEP, rows, group) for group in fused_groups(layer, tries))
        yield WINDOW, rows, 0
        yield from ((STORED, rows, group) for group in groups[:1])  # `_widened` later: it saves nothing but calls
        if 4 * layer.cout < layer.cexp:  # else the sums take more than the values that are stored
            yield from ((GROUPS, rows, group) for group in groups)


def _option(view: View, demands: tuple[int, ...], step: Choice, role: Role) -> Option:
    mode, rows, _ = step
    goes = flow(view.lines, demands, rows)
    counts = layer_counts(view, goes, step, role.first, role.pools)
    sampled = min(view.layer.kernel, view.lines.lines_in) if role.first and mode == DIRECT else 0
    fixed = STATE_BYTES + aligned(wide_bytes(view, mode)) + aligned(sampled * view.n_in * view.layer.cin)
    work = work_bytes(work_parts(view, step, role.first, role.pools))
    kept = kept_lines(goes, view.layer, mode)
    cost = cost_of(counts, role.by)
    if role.buffer is not None:
        cost += streaming.READ * streaming.read_bytes(view, goes, step, role.buffer)
    return Option(step, cost, role.below + fixed, work, goes.asks, kept, goes.chunk)


def _fits(layer: Layer, step: Choice, buffer: int | None) -> bool:
    return buffer is None or streaming.part_bytes(layer, step) <= buffer


@lru_cache(1 << 16)
def _options(view: View, role: Role, tries: Tries, demands: tuple[int, ...]) -> tuple[Option, ...]:
    steps = (step for step in _steps(view, demands, role, tries) if _fits(view.layer, step, role.buffer))
    return tuple(_option(view, demands, step, role) for step in steps)


def _least_costs(chain: Chain, fast: Sequence[bool], by: str) -> list[float]:
    """What each layer costs in any plan: each pixel that the network needs is made once, calls cost nothing."""
    layers, rows, columns, out = chain.layers, set(), set(), []
    for i, layer in reversed(list(enumerate(layers))):
        if chain.staged(i + 1):  # all of it is needed
            rows, columns = set(range(layer.oh)), set(range(layer.ow))
        rows_in, columns_in = _needed(layer, rows, layer.h), _needed(layer, columns, layer.w)
        view = replace(
            views((layer,), layer.oh)[0],
            all_in=len(columns_in),
            all_out=len(columns),
            strips=0,
            alone_in=0,
            alone_out=0,
        )
        goes = replace(flow(view.lines, (layer.oh,), 1), made=len(rows), read=len(rows_in), once=len(rows_in))
        modes = (FAST,) if fast[i] else (ROLLING, GROUPS) if layer.expand else (DIRECT,)
        steps = [(mode, 1, 0 if mode in (ROLLING, DIRECT) else layer.cexp) for mode in modes]
        counts = [layer_counts(view, goes, step, chain.reads_picture(i), chain.staged(i + 1)) for step in steps]
        out.append(min(cost_of(count, by) for count in counts))
        rows, columns = rows_in, columns_in
    return out[::-1]


def _needed(layer: Layer, positions: set[int], size: int) -> set[int]:
    """Positions of a layer's input, along a side of `size`, that these of its output read."""
    tops = [position * layer.stride - layer.kernel // 2 for position in positions]
    return {top + i for top in tops for i in range(layer.kernel) if 0 <= top + i < size}


# ---------------------------------------------------------------- chains


@dataclass(frozen=True)
class Chain:
    """Layers that are planned together: a tunnel's, or (`tail`) those that follow the tunnels. Layers are counted from
    the chain's first one."""

    network: Network
    tail: bool = False

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        return tuple(self.network.tail() if self.tail else self.network.layers())

    @cached_property
    def heads(self) -> tuple[int, ...]:
        return tuple(i - len(self.network.layers()) for i in self.network.heads()) if self.tail else ()

    @property
    def runs(self) -> int:
        """How often it runs for a picture."""
        return 1 if self.tail else self.network.tunnels

    @property
    def _offset(self) -> int:
        return len(self.network.layers()) if self.tail else 0

    def reads_picture(self, first: int) -> bool:
        return first == 0 and not self.tail

    def staged(self, stop: int) -> bool:
        return stop == len(self.layers) or stop - 1 in self.heads

    def below(self, stop: int, step: Choice) -> int:
        """Bytes of the arena that the segment that ends with layer `stop` - 1 may not use; `step` is that layer's."""
        return Lasting.of(self.network, Step(*step)).during(self.network, self._offset + stop)

    @property
    def end(self) -> int:
        """Bytes that features and logits need at the end, whatever the schedule."""
        return Lasting.of(self.network, Step(DIRECT, 1, 0)).end

    def earliest(self, stop: int) -> int:
        """The first layer that a segment that ends with layer `stop` - 1 may begin with: heads end segments, and what
        others than a head read is stored."""
        if stop - 1 in self.heads and stop < len(self.layers):
            return stop - 1
        return max([0, stop - MAX_FUSED, *(head + 1 for head in self.heads if head < stop - 1)])


# ---------------------------------------------------------------- labels


@dataclass
class Level:
    """Labels of the layers from some layer of a segment to its last one, as arrays of equal length.

    kind: which of `kinds` (the lines asked of the layer before, the lines kept of them) a label has; tail: rows of the
    last layer's chunks. A label is option `option` of `options` put before label `parent` of the level `after`.
    `unit` is the bytes of one line of the first layer's ring.
    """

    cost: np.ndarray
    fixed: np.ndarray
    work: np.ndarray
    kind: np.ndarray
    tail: np.ndarray
    parent: np.ndarray
    option: np.ndarray
    kinds: list[tuple[tuple[int, ...], int]]
    options: list[Option]
    unit: int
    after: Level | None

    def take(self, index: np.ndarray) -> Level:
        """The labels at `index` only."""
        arrays = (self.cost, self.fixed, self.work, self.kind, self.tail, self.parent, self.option)
        return Level(*(array[index] for array in arrays), self.kinds, self.options, self.unit, self.after)

    def modes(self) -> np.ndarray:
        """The first layer's mode in each label."""
        return np.array([option.step[0] for option in self.options])[self.option]

    def rings(self) -> np.ndarray:
        """Bytes that the first layer's ring will have at least, if another layer is put before it."""
        return np.array([aligned(max(kept, 1) * self.unit) for _, kept in self.kinds])[self.kind]

    def steps(self, label: int) -> list[Choice]:
        """The schedule of a label, its first layer first."""
        out, level = [], self
        while level.after is not None:
            out.append(level.options[level.option[label]].step)
            label, level = level.parent[label], level.after
        return out


def _root(lines_out: int) -> Level:
    """One label, before any layer is chosen: the last layer is asked for all its lines."""
    zero = np.zeros(1, np.int64)
    return Level(np.zeros(1), *[zero] * 6, [((lines_out,), 0)], [], 0, None)


def _extend(level: Level, view: View, tail: bool, options_for: Callable[[tuple[int, ...]], Iterable[Option]]) -> Level:
    """Every option for the layer before, given the demands on it, put before every label with these demands."""
    members, options, beside, kinds, asked = [], [], [], {}, []
    for kind in np.unique(level.kind).tolist():
        index, (demands, kept) = np.flatnonzero(level.kind == kind), level.kinds[kind]
        for option in options_for(demands):
            members.append(index)
            options.append(option)
            beside.append(option.fixed + aligned(max(kept, option.chunk) * level.unit))
            asked.append(kinds.setdefault((option.asks, option.kept), len(kinds)))
    parent = np.concatenate(members)
    chosen = np.repeat(np.arange(len(options)), [len(index) for index in members])
    return Level(
        cost=level.cost[parent] + np.array([option.cost for option in options])[chosen],
        fixed=level.fixed[parent] + np.array(beside)[chosen],
        work=np.maximum(level.work[parent], np.array([option.work for option in options])[chosen]),
        kind=np.array(asked)[chosen],
        tail=np.array([option.step[1] for option in options])[chosen] if tail else level.tail[parent],
        parent=parent,
        option=chosen,
        kinds=list(kinds),
        options=options,
        unit=view.n_in * view.layer.cin,
        after=level,
    )


def _pareto(cost: np.ndarray, fixed: np.ndarray, work: np.ndarray) -> list[int]:
    """Indices of labels to keep: none is dearer than another one and needs more than it."""
    kept, fixes, works = [], [], []  # fixes ascending, works descending
    for i in np.lexsort((fixed + work, cost)).tolist():
        f, w = int(fixed[i]), int(work[i])
        at = stop = bisect_right(fixes, f)
        if at and works[at - 1] <= w:
            continue
        kept.append(i)
        while stop < len(fixes) and works[stop] >= w:
            stop += 1
        fixes[at:stop], works[at:stop] = [f], [w]
    return kept


def _alike(asks: tuple[int, ...]) -> int:
    """Demands of one class are compared as if they were the same: by the most lines asked for at once."""
    most = max((b - a for a, b in pairwise(asks)), default=1)
    return 1 if most <= 1 else 2 if most <= 2 else 3 if most <= 4 else 4


def _prune(level: Level) -> Level:
    """Without the labels that are worse than others."""
    alike = np.array([_alike(asks) for asks, _ in level.kinds])[level.kind]
    fixed, keep = level.fixed + level.rings(), []
    for value in np.unique(alike):
        index = np.flatnonzero(alike == value)
        keep.append(index[_pareto(level.cost[index], fixed[index], level.work[index])])
    return level.take(np.concatenate(keep))


# ---------------------------------------------------------------- edges


@dataclass(frozen=True)
class How:
    """What a front is found by: costs `by` one of TABLES; of each layer, whether it may run in modes fast and sweep."""

    by: str
    fast: tuple[bool, ...]
    buffer: int | None = None  # weights are read through one of so many bytes

    @classmethod
    def of(cls, network: Network, by: str, fast: Sequence[bool] | None, buffer: int | None = None) -> How:
        """Without `fast`, the layers' shapes decide."""
        layers = network.run()
        allowed = [by != "macs" and fast_shape(layer) for layer in layers]
        return cls(by, tuple(a and (fast is None or fast[i]) for i, a in enumerate(allowed)), buffer)

    def layer(self, i: int) -> tuple[bool, str, int | None]:
        """What a Role needs to know of it."""
        return self.fast[i], self.by, self.buffer

    def part(self, layers: slice) -> How:
        """For some of the layers."""
        return replace(self, fast=self.fast[layers])


@dataclass(frozen=True)
class Edges:
    """Segments between two boundaries, total arena bytes ascending, cost (of one chain) descending."""

    total: np.ndarray
    cost: np.ndarray
    sources: list[tuple[int, Level, int]]  # strip, level, label

    def schedule(self, i: int) -> tuple[int, tuple[Choice, ...]]:
        strip, level, label = self.sources[i]
        return strip, tuple(level.steps(label))


def _front(total: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Indices that no other entry beats in both, by total ascending."""
    order = np.lexsort((cost, total))
    best = np.minimum.accumulate(cost[order])
    return order[np.concatenate(([True], best[1:] < best[:-1]))]


class _Grower:
    """The edges that end with layer `stop` - 1 of a chain, without those that no plan as good as `known` can hold."""

    def __init__(self, chain: Chain, stop: int, tries: Tries, known: Search | None, how: How):
        self.chain, self.layers, self.stop = chain, chain.layers, stop
        self.tries, self.known, self.last = tries, known, chain.staged(stop)
        self.how, self.least_costs = how, _least_costs(chain, how.fast, how.by)
        self.found: dict[int, list] = {}

    def edges(self) -> dict[int, Edges]:
        """Of each first layer."""
        for strip in self._heights():
            self._grow(strip)
        return {first: self._merge(found) for first, found in self.found.items()}

    def _heights(self) -> list[int]:
        """Strip heights worth trying, the whole map among them."""
        oh = self.layers[self.stop - 1].oh
        if self.stop - 1 in self.chain.heads:
            return [oh]
        return sorted({-(-oh // n) for n in range(1, min(oh, self.tries.strips) + 1)})

    def _promising(self, total: np.ndarray, cost: np.ndarray, first: int) -> np.ndarray:
        """Indices of labels that need `total` bytes or more and may be in a plan as good as any known one: with all
        other layers at their least cost."""
        if self.known is None:
            return np.arange(len(total))
        others = sum(self.least_costs[:first]) + sum(self.least_costs[self.stop :])
        return np.flatnonzero(cost + others <= self.known.least(total) * (1 + 1e-9))

    def _grow(self, strip: int) -> None:
        """From the last layer backwards, all segments with strips of this height."""
        level, below = None, self.chain.below(self.stop, (DIRECT, 1, 0))
        size_out = 0 if self.last else aligned(map_bytes(self.layers[self.stop - 1]))
        for first in range(self.stop - 1, self.chain.earliest(self.stop) - 1, -1):
            part = views(self.layers[first : self.stop], strip)
            tail = first == self.stop - 1
            level = _root(part[-1].lines.lines_out) if tail else level
            pools, own = self.last and tail, below if tail else 0
            if not tail and not self._together(first):
                break
            role = Role(self.chain.reads_picture(first), pools, tail, own, *self.how.layer(first))
            level = _extend(level, part[0], tail, partial(_options, part[0], role, self.tries))
            self._collect(level, part, strip, first)
            level = level.take(self._promising(level.fixed + level.rings() + level.work + size_out, level.cost, first))
            if not len(level.cost):
                break
            level = _prune(level)
        alone = self.last and strip == self.layers[-1].oh and not self.chain.network.detection
        if alone and self.layers[-1].kind == "conv" and len(self.layers) > 1:
            self._collect_head()

    def _together(self, first: int) -> bool:
        """Whether the weights of layers `first` to `stop` - 1 may be needed together: through a buffer they are only if
        they fit into it, so that they are read once."""
        if self.how.buffer is None:
            return True
        modes = [FAST if fast else DIRECT for fast in self.how.fast]
        return sum(map(streaming.layer_bytes, self.layers[first : self.stop], modes[first:])) <= self.how.buffer

    def _collect(self, level: Level, part: Sequence[View], strip: int, first: int) -> None:
        """Takes the labels as segments."""
        size_in = 0 if self.chain.reads_picture(first) else part[0].layer.h * part[0].layer.w * part[0].layer.cin
        size_out = 0 if self.last else map_bytes(part[-1].layer)
        maps = np.full(len(level.cost), aligned(max(size_in, size_out)))
        if size_in and size_out:
            pairs = level.modes() << 16 | level.tail
            for pair in np.unique(pairs).tolist():
                above = lead(part, strip, pair >> 16, pair & 0xFFFF)
                maps[pairs == pair] = aligned(max(above + size_in, size_out))
        total = level.fixed + level.work + maps
        good = self._promising(total, level.cost, first)
        if len(good):
            best = good[_front(total[good], level.cost[good])]
            self.found.setdefault(first, []).append((total[best], level.cost[best], strip, level, best))

    def _collect_head(self) -> None:
        """A last convolution by itself, in groups of output channels over the whole map."""
        (view,) = part = views(self.layers[-1:], self.layers[-1].oh)
        steps = [(GROUPS, 1, group) for group in _groups(view.layer.cout, self.tries)]
        steps = [step for step in steps if _fits(view.layer, step, self.how.buffer)]
        asked, (_, *how) = (view.lines.lines_out,), self.how.layer(self.stop - 1)
        roles = [Role(False, True, True, self.chain.below(self.stop, step), False, *how) for step in steps]
        options = [_option(view, asked, step, role) for step, role in zip(steps, roles, strict=True)]
        if options:
            self._collect(_extend(_root(*asked), view, True, lambda _: options), part, view.layer.oh, self.stop - 1)

    def _merge(self, found: list) -> Edges:
        total, cost = (np.concatenate([entry[i] for entry in found]) for i in range(2))
        sources = [(strip, level, label) for *_, strip, level, best in found for label in best.tolist()]
        best = _front(total, cost)
        return Edges(total[best], cost[best], [sources[i] for i in best.tolist()])


# ---------------------------------------------------------------- paths


@dataclass(frozen=True)
class Search:
    """All that was found for a chain: its front, and the edges that the schedules of its points are made of.

    `totals` are the arena sizes at which something may change, ascending; cost[j][i] is the least cost of the layers
    before boundary j with an arena of totals[i], and via[j][i] the boundary that its last segment begins at.
    """

    chain: Chain
    how: How
    edges: list[dict[int, Edges]]
    totals: np.ndarray
    cost: np.ndarray
    via: np.ndarray

    def least(self, total: np.ndarray) -> np.ndarray:
        """The least cost of one chain found with `total` bytes of arena, or with what the end needs."""
        at = np.searchsorted(self.totals, np.maximum(total, self.chain.end), "right")
        return np.concatenate(([np.inf], np.minimum.accumulate(self.cost[-1])))[at]

    def found(self) -> list[tuple[int, float, Schedule]]:
        """(arena bytes, cost for a picture, schedule) for every arena size at which the cost falls, smallest first."""
        end = self.chain.end
        start = max(0, int(np.searchsorted(self.totals, end, "right")) - 1)
        costs = self.cost[-1][start:]
        falls = costs < np.concatenate(([np.inf], np.minimum.accumulate(costs)[:-1]))
        more, out = 0 if self.chain.tail else cost_of(end_counts(self.chain.network), self.how.by), []
        for i in (start + np.flatnonzero(falls)).tolist():
            cost = self.chain.runs * float(self.cost[-1][i]) + more
            out.append((max(end, int(self.totals[i])), cost, self._schedule(i)))
        return out

    def _schedule(self, i: int) -> Schedule:
        boundary, out = len(self.via) - 1, []
        while boundary:
            first = int(self.via[boundary][i])
            edges = self.edges[boundary][first]
            out.append(edges.schedule(int(np.searchsorted(edges.total, self.totals[i], "right")) - 1))
            boundary = first
        return tuple(reversed(out))


def search(
    chain: Chain, how: How, tries: Tries, known: Search | None = None, progress: Progress | None = None
) -> Search:
    """Segments of `tries` and the best paths over them; those that are no better than `known` ones are left out.
    `how.fast` is for the chain's layers."""
    layers = chain.layers
    edges: list[dict[int, Edges]] = [{}]
    for stop in range(1, len(layers) + 1):
        edges.append(_Grower(chain, stop, tries, known, how).edges())
        if progress:
            progress(stop, len(layers))
    totals = np.unique(np.concatenate([e.total for ends in edges for e in ends.values()]))
    cost = np.full((len(edges), len(totals)), np.inf)
    via = np.zeros((len(edges), len(totals)), np.int16)
    cost[0] = 0
    for stop, ends in enumerate(edges):
        for first, found in ends.items():
            at = np.searchsorted(found.total, totals, "right")
            sums = cost[first] + np.concatenate(([np.inf], found.cost))[at]
            better = sums < cost[stop]
            cost[stop][better], via[stop][better] = sums[better], first
    return Search(chain, how, edges, totals, cost, via)


def _even_groups(channels: int) -> list[int]:
    """Sizes of groups, ascending: multiples of 4, the groups as equal as they can be, and all channels at once."""
    return sorted({min(channels, aligned(-(-channels // n))) for n in range(1, channels // 4 + 2)})


def _even_pixels(view: View) -> list[int]:
    """Pixels that a convolution may make at a time, ascending, the chunks of a line as equal as they can be."""
    return sorted({2 * -(-view.n_out // (2 * n)) for n in range(1, view.n_out // 2 + 2)})


def _widened(network: Network, schedule: Schedule, buffer: int | None) -> Schedule:
    """The schedule with groups as large as its arena has room for: fewer passes, no more bytes. But where weights do
    not fit into the `buffer` they are read through, larger groups leave fewer of them there."""
    plan, layers, out = place(network, schedule), tuple(network.run()), []
    for i, (segment, (strip, steps)) in enumerate(zip(plan.segments, schedule, strict=True)):
        stop = segment.first + segment.layers
        part, a = views(layers[segment.first : stop], strip), areas(network, plan, i)
        limit = a.work + plan.arena_bytes - stream_bytes(network) - a.total
        wide = []
        for view, (mode, rows, group) in zip(part, steps, strict=True):
            ends = segment.first == 0 and view is part[0], staged(network, stop) and view is part[-1]
            in_parts = buffer is not None and streaming.layer_bytes(view.layer, mode) > buffer
            if group and not (in_parts and (mode in MODES or mode == GROUPS)):
                group = _widest(network, view, (mode, rows, group), ends, limit)
            wide.append((mode, rows, group))
        out.append((strip, tuple(wide)))
    return tuple(out)


def _widest(network: Network, view: View, step: Choice, ends: tuple[bool, bool], limit: int) -> int:
    """The largest group with which a layer's work area stays within `limit` bytes, or the one that it has.

    `ends`: it is the first layer, it is the last.
    """
    mode, rows, group = step
    conv = view.layer.kind == "conv"

    def size(wide: int) -> int:
        # only the last one has groups of channels
        more = Lasting.of(network, Step(mode, rows, wide)).below_last - below if conv and mode == GROUPS else 0
        return more + work_bytes(work_parts(view, (mode, rows, wide), *ends))

    below = Lasting.of(network, Step(*step)).below_last
    even = _even_groups(view.layer.cout if conv else view.layer.cexp)
    groups = [wide for wide in (_even_pixels(view) if conv and mode != GROUPS else even) if wide > group]
    fits = bisect_right(groups, limit, key=size)
    return groups[fits - 1] if fits else group


def _point(network: Network, schedule: Schedule, how: How) -> Point:
    plan = place(network, schedule)
    cost, macs = totals(network, plan, how.by)
    read = streaming.reads(network, plan, how.buffer) if how.buffer is not None else 0
    return Point(plan.arena_bytes, cost + streaming.READ * read, macs, schedule, read)


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


_fronts: dict[tuple[Network, How], tuple[Point, ...]] = {}  # found so far: a search takes seconds


def front(
    network: Network,
    progress: Progress | None = None,
    by: str = "instructions",
    fast: Sequence[bool] | None = None,
    buffer: int | None = None,
) -> list[Point]:
    """The best plans: arena bytes ascending, cost descending; none needs more bytes than the best plan that computes
    nothing twice. `progress` hears of layers done and layers. Costs are counted `by` instructions of a Cortex-M7 or
    macs (TABLES); `fast` tells for each layer whether its weights let it run in modes fast and sweep, where its shape
    does (`fast.fast_layers`). `buffer`: bytes of the one through which weights are read; ValueError if it is too small.
    """
    how = How.of(network, by, fast, buffer)
    if buffer is not None:
        _check_buffer(network, how)
    if (network, how) not in _fronts:
        n, total = len(network.layers()), len(network.run())

        def some(offset: int) -> Progress | None:
            return progress and (lambda done, _: progress(offset + done, total))

        found = _found(Chain(network), how.part(slice(0, n)), some(0))
        schedules = [schedule for _, _, schedule in found]
        if network.detection:
            schedules = _joined(found, _found(Chain(network, True), how.part(slice(n, None)), some(n)))
        points = [_point(network, _widened(network, schedule, buffer), how) for schedule in schedules]
        best = _front(*(np.array([getattr(p, name) for p in points]) for name in ("arena_bytes", "cost")))
        _fronts[network, how] = tuple(points[i] for i in best.tolist())
    return list(_fronts[network, how])


def _check_buffer(network: Network, how: How) -> None:
    least = {"fully connected": 0 if network.detection else streaming.end_part(network)}
    for i, layer in enumerate(network.run()):
        mode = FAST if how.fast[i] else DIRECT
        least[block_name(network, i)] = streaming.part_bytes(layer, (mode, 1, min(4, layer.cexp)))
    name = max(least, key=least.get)
    if how.buffer < least[name]:
        raise ValueError(
            f"{network.name}: {name} needs {least[name]:,} B of weights at a time, stream {how.buffer:,} B"
        )


# ---------------------------------------------------------------- choices


def plan(
    network: Network,
    budget: int | None = None,
    cost_limit: float | None = None,
    by: str = "instructions",
    fast: Sequence[bool] | None = None,
    buffer: int | None = None,
) -> Plan:
    """The cheapest plan within `budget` bytes, or the smallest one that costs at most `cost_limit` times what the
    fastest does; the cheapest within both, if both are given. With neither, the smallest at DEFAULT_LIMIT. `by`,
    `fast` and `buffer` are those of `front`.

    ValueError, naming the block that binds, if there is none.
    """
    points = front(network, by=by, fast=fast, buffer=buffer)
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


def smallest(network: Network, by: str = "instructions", fast: Sequence[bool] | None = None) -> Plan:
    return place(network, front(network, by=by, fast=fast)[0].schedule)


def fastest(network: Network, by: str = "instructions", fast: Sequence[bool] | None = None) -> Plan:
    """The smallest of the cheapest plans."""
    return place(network, front(network, by=by, fast=fast)[-1].schedule)


def binding(network: Network, plan: Plan) -> int | None:
    """The layer for which the arena is as large as it is; None: the features and logits at the end."""
    found = [areas(network, plan, i) for i in range(len(plan.segments))]
    worst = max(range(len(found)), key=lambda i: found[i].total)
    if found[worst].total < Lasting.of(network, plan.steps[-1]).end:
        return None
    a = found[worst]
    own = [sum(parts) for parts in zip(a.rings, a.wides, map(work_bytes, a.works), strict=True)]
    return plan.segments[worst].first + own.index(max(own))


def _needs(network: Network, point: Point) -> str:
    i = binding(network, place(network, point.schedule))
    if i is None:
        return f"needs {point.arena_bytes:,} B at least (features and logits)"
    layer = network.run()[i]
    t = f", t={layer.cexp / layer.cin:g}" if layer.expand else ""
    return f"needs {point.arena_bytes:,} B at least ({block_name(network, i)}, {layer.h}x{layer.w}x{layer.cin}{t})"


# ---------------------------------------------------------------- what narrower numbers would save


@dataclass(frozen=True)
class Narrower:
    """What one layer would save, in bytes of its segment, if it kept less than 8 bits of a map or 32 of a sum.

    `sum_bits`: two's complement bits that hold every int32 sum of mode GROUPS whatever the picture (None: no sums, or
    weights unknown), `sums` what 24 of them save: exact where sum_bits <= 24. `map`: what 4 bits save of an output map
    that is stored whole; this loses accuracy, so that only training can decide it.
    """

    layer: int
    sum_bits: int | None
    sums: int
    map: int


def narrower(network: Network, plan: Plan, qnet: QNet | None = None) -> list[Narrower]:
    """What narrower sums and maps would save under `plan`, layer by layer."""
    out = []
    for i, segment in enumerate(plan.segments):
        a = areas(network, plan, i)
        for j, parts in enumerate(a.works):
            last = j == segment.layers - 1
            sums = parts["sums"] // 4
            i = segment.first + j
            bits = max(map(_sum_bits, _integers(qnet, i))) if qnet and sums else None
            out.append(Narrower(i, bits, sums, a.output // 2 if last else 0))
    return out


def _integers(qnet: QNet, i: int) -> list[QConv | QBottleneck]:
    """Layer `i` of `run()` in each tunnel, or once."""
    n = len(qnet.tunnels[0])
    return [tunnel[i] for tunnel in qnet.tunnels] if i < n else [qnet.tail()[i - n]]


def _sum_bits(q: QBottleneck) -> int:
    """Bits of the largest sum of a projection: |bias| + sum of |weight| * the largest depthwise value."""
    weight = np.abs(q.project.weight.astype(np.int64)).sum(1)
    most = weight * (128 if q.shape.act == "none" else 255) + np.abs(q.project.bias.astype(np.int64))
    return int(most.max()).bit_length() + 1

"""The best segments and paths over them: from a chain of layers to its front of schedules.

A segment is an edge between two boundaries of the chain, so a plan is a path, and the best plans are the Pareto front
of (largest edge in bytes, sum of costs). The edges that end at a boundary are found from their last layer backwards: a
label is a choice of modes for the layers so far, with what it costs, the bytes of its rings (`fixed`: they live side
by side), its largest work area (`work`: used in turn) and the lines that it asks of the layer before. Labels that
are worse in all three numbers than another one that asks alike are dropped.

Sizes come from `sizes`, nothing is counted twice; costs from `costs`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from ..format import MAX_FUSED, MAX_LINES
from ..net.layers import Layer
from ..net.network import Network, aligned
from . import streaming
from .costs import WINDOWS, cost_of, end_counts, layer_counts
from .float32 import rows_alone
from .lines import Axis, Passes, View, axes, flow, lines_of, views
from .modes import (
    DIRECT,
    FAST,
    GROUPS,
    NOT_FAST,
    ROLLING,
    Choice,
    fast_modes,
    fast_shape,
    fast_sums,
    modes,
    row,
    sweeps,
    takes_lines,
)
from .options import Offers, Options, Role, Tries, channel_groups, offers
from .place import during, lasting
from .sizes import input_map_bytes, lead, map_bytes
from .sources import Source

Progress = Callable[[int, int], None]  # layers done, layers
Schedule = tuple[tuple[int, tuple[Choice, ...]], ...]  # of each segment: strip, its layers' choices


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
        return during(self.network, step, self._offset + stop)

    @property
    def end(self) -> int:
        """Bytes that features and logits need at the end, whatever the schedule."""
        return lasting(self.network, (DIRECT, 1, 0)).end

    def earliest(self, stop: int) -> int:
        """The first layer that a segment that ends with layer `stop` - 1 may begin with: heads end segments, and what
        others than a head read is stored."""
        if stop - 1 in self.heads and stop < len(self.layers):
            return stop - 1
        return max([0, stop - MAX_FUSED, *(head + 1 for head in self.heads if head < stop - 1)])


def _least_costs(chain: Chain, fast: Sequence[int], by: str) -> list[float]:
    """What each layer costs in any plan: each pixel that the network needs is made once, calls cost nothing. Nor does
    bringing windows of dense convolutions together, which lines of rows and lines of columns take differently."""
    layers, rows, columns, out = chain.layers, set(), set(), []
    for i, layer in reversed(list(enumerate(layers))):
        if chain.staged(i + 1):  # all of it is needed
            rows, columns = set(range(layer.oh)), set(range(layer.ow))
        rows_in, columns_in = map(_needed, axes(layer), (rows, columns))
        view = replace(
            views((layer,), layer.oh)[0],
            all_in=len(columns_in),
            all_mid=len(columns),
            all_out=len(columns),
            strips=0,
            alone_in=0,
            alone_out=0,
        )
        passes = Passes(len(rows), layer.oh, len(rows_in), len(rows_in))
        chosen = _usual_modes(layer, fast[i])
        steps = [(mode, 1, layer.cexp if row(layer, mode).group == "channels" else 0) for mode in chosen]
        counts = [layer_counts(view, passes, step, chain.reads_picture(i), chain.staged(i + 1)) for step in steps]
        if layer.kind in ("conv", "block"):
            counts = [{name: n for name, n in count.items() if name not in WINDOWS} for count in counts]
        out.append(min(cost_of(count, by) for count in counts))
        rows, columns = rows_in, columns_in
    return out[::-1]


def _usual_modes(layer: Layer, fast: int) -> tuple[int, ...]:
    """Of those that a layer may run in, some of which one is the cheapest."""
    if layer.kind == "bottleneck":
        quick = [mode for mode in fast_modes(layer) if not sweeps(mode)] if fast else []
        return (*quick, *((ROLLING, GROUPS) if layer.expand else (DIRECT,)))
    return modes(layer, False, False)


def _needed(axis: Axis, positions: set[int]) -> set[int]:
    """Positions of a layer's input, along a side, that these of its output read."""
    return {i for position in positions for i in range(*axis.reach(position, position + 1))}


# ---------------------------------------------------------------- labels

BLOCK = 64  # labels that are compared one by one before others are compared with what is left of them


@dataclass
class Level:
    """Labels of the layers from some layer of a segment to its last one, as arrays of equal length: `cost`, `fixed` and
    `work`. A label is step `step` of `steps` put before label `parent` of the level `after`.

    kind: which of `kinds` (the lines asked of the layer before, the lines kept of them) a step has. `unit` is the bytes
    of one line of the first layer's ring.
    """

    cost: np.ndarray
    fixed: np.ndarray
    work: np.ndarray
    parent: np.ndarray
    step: np.ndarray
    steps: list[Choice]
    kind: np.ndarray
    kinds: list[tuple[tuple[int, ...], int]]
    unit: int
    after: Level | None

    def take(self, index: np.ndarray) -> Level:
        """The labels at `index` only."""
        return replace(
            self, cost=self.cost[index], fixed=self.fixed[index], work=self.work[index], parent=self.parent[index],
            step=self.step[index],
        )  # fmt: skip

    def alike(self, classes: Sequence[int]) -> list[tuple[int, np.ndarray]]:
        """Each of the classes of kinds that there are, ascending, and the indices of its labels."""
        its = np.array(classes)[self.kind][self.step]
        return [(value, np.flatnonzero(its == value)) for value in np.unique(its).tolist()]

    def takes(self, layer: Layer) -> np.ndarray:
        """Whether the first layer, `layer`, takes its lines in each label."""
        return np.array([takes_lines(layer, mode) for mode, _, _ in self.steps])[self.step]

    def rows(self) -> np.ndarray:
        """Those of the last layer's chunks in each label."""
        level, label = self, np.arange(len(self.step))
        while level.after is not None and level.after.after is not None:
            label, level = level.parent[label], level.after
        return np.array([rows for _, rows, _ in level.steps])[level.step[label]]

    def rings(self) -> np.ndarray:
        """Bytes that the first layer's ring will have at least, if another layer is put before it."""
        return np.array([aligned(max(kept, 1) * self.unit) for _, kept in self.kinds])[self.kind][self.step]

    def schedule(self, label: int) -> list[Choice]:
        """The steps of a label, its first layer's first."""
        out, level = [], self
        while level.after is not None:
            out.append(level.steps[level.step[label]])
            label, level = level.parent[label], level.after
        return out


def _root(lines_out: int) -> Level:
    """One label, before any layer is chosen: the last layer is asked for all its lines."""
    zero = np.zeros(1, np.int64)
    return Level(np.zeros(1), zero, zero, zero, zero, [(DIRECT, 1, 0)], zero, [((lines_out,), 0)], 0, None)


def _extend(level: Level, view: View, options_for: Callable[[tuple[int, ...]], Options]) -> Level:
    """Every option for the layer before, given the demands on it, put before every label with these demands."""
    parents, members, options, beside, asked = [], [], [], [], []
    kinds: dict[tuple[tuple[int, ...], int], int] = {}
    for kind, index in level.alike(range(len(level.kinds))):
        demands, kept = level.kinds[kind]
        own = options_for(demands)
        options.append(own)
        parents.append(np.tile(index, len(own.steps)))
        members += [len(index)] * len(own.steps)
        beside.append(own.fixed + aligned(np.maximum(kept, own.chunk) * level.unit))
        asked.append(np.array([kinds.setdefault(its, len(kinds)) for its in own.kinds])[own.kind])
    parent, step = np.concatenate(parents), np.repeat(np.arange(len(members)), members)
    return Level(
        cost=level.cost[parent] + np.concatenate([own.cost for own in options])[step],
        fixed=level.fixed[parent] + np.concatenate(beside)[step],
        work=np.maximum(level.work[parent], np.concatenate([own.work for own in options])[step]),
        parent=parent,
        step=step,
        steps=[its for own in options for its in own.steps],
        kind=np.concatenate(asked),
        kinds=list(kinds),
        unit=view.n_in * view.layer.cin * view.layer.value_bytes,
        after=level,
    )


def _pareto(cost: np.ndarray, fixed: np.ndarray, work: np.ndarray) -> list[int]:
    """Indices of labels to keep: none is dearer than another one and needs more than it."""
    kept = []
    fixes: list[int] = []  # ascending
    works: list[int] = []  # descending
    order, start, stop = np.lexsort((fixed + work, cost)), 0, BLOCK
    while start < len(order):
        block = order[start:stop]
        # most are worse than one of those kept before the block
        least = np.concatenate(([np.iinfo(np.int64).max], works))[np.searchsorted(fixes, fixed[block], "right")]
        block = block[least > work[block]]
        for i, f, w in zip(block.tolist(), fixed[block].tolist(), work[block].tolist(), strict=True):
            at = end = bisect_right(fixes, f)
            if at and works[at - 1] <= w:
                continue
            kept.append(i)
            while end < len(fixes) and works[end] >= w:
                end += 1
            fixes[at:end], works[at:end] = [f], [w]
        start, stop = stop, 2 * stop
    return kept


def _alike(asks: tuple[int, ...]) -> int:
    """Demands of one class are compared as if they were the same: by the most lines asked for at once."""
    most = max((b - a for a, b in pairwise(asks)), default=1)
    return 1 if most <= 1 else 2 if most <= 2 else 3 if most <= 4 else 4


def _prune(level: Level) -> Level:
    """Without the labels that are worse than others."""
    fixed, keep = level.fixed + level.rings(), []
    for _, index in level.alike([_alike(asks) for asks, _ in level.kinds]):
        keep.append(index[_pareto(level.cost[index], fixed[index], level.work[index])])
    return level.take(np.concatenate(keep))


# ---------------------------------------------------------------- edges


@dataclass(frozen=True)
class How:
    """What a front is found by: costs `by` one of TABLES; of each layer, whether it may run in modes fast and sweep
    (modes.NOT_FAST and so on)."""

    by: str
    fast: tuple[int, ...]
    source: Source | None = None  # of weights that are not at hand

    @classmethod
    def of(cls, network: Network, by: str, fast: Sequence[int] | None, source: Source | None = None) -> How:
        """Without `fast`, the layers' shapes decide."""
        layers = network.run()
        its = fast or [fast_sums(layer) for layer in layers]
        shaped = [by != "macs" and fast_shape(layer) for layer in layers]
        return cls(by, tuple(int(own) if shape else NOT_FAST for own, shape in zip(its, shaped, strict=True)), source)

    def layer(self, i: int) -> tuple[int, str, Source | None]:
        """What a Role needs to know of it."""
        return self.fast[i], self.by, self.source

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
        return strip, tuple(level.schedule(label))


def front_of(total: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Indices that no other entry beats in both, by total ascending."""
    order = np.lexsort((cost, total))
    best = np.minimum.accumulate(cost[order])
    return order[np.concatenate(([True], best[1:] < best[:-1]))]


class _Grower:
    """The edges that end with layer `stop` - 1 of a chain, without those that cost more than `bounds` allow."""

    def __init__(self, chain: Chain, stop: int, tries: Tries, bounds: Bounds, how: How):
        self.chain, self.layers, self.stop = chain, chain.layers, stop
        self.tries, self.bounds, self.last = tries, bounds, chain.staged(stop)
        self.how, self.left = how, bounds.left(stop)
        self.found: dict[int, list] = {}

    def edges(self) -> dict[int, Edges]:
        """Of each first layer."""
        for strip in self._heights():
            self._grow(strip)
        return {first: self._merge(self.found[first]) for first in sorted(self.found, reverse=True)}

    def _heights(self) -> list[int]:
        """Strip heights worth trying, the whole map among them."""
        oh = self.layers[self.stop - 1].oh
        pools = self.last and self.chain.network.end.pools()
        if self.stop - 1 in self.chain.heads or rows_alone(self.layers[: self.stop], pools):
            return [oh]
        return sorted({-(-oh // n) for n in range(1, min(oh, self.tries.strips) + 1)})

    def _promising(self, total: np.ndarray, cost: np.ndarray, first: int) -> np.ndarray:
        """Indices of labels that need `total` bytes or more and may be in a plan as good as any known one: with all
        layers before them at their least cost."""
        return np.flatnonzero(cost + self.bounds.before[first] <= self.left[self.bounds.at(total)])

    def _grow(self, strip: int) -> None:
        """From the last layer backwards, all segments with strips of this height."""
        below = self.chain.below(self.stop, (DIRECT, 1, 0))
        level = _root(views(self.layers[self.stop - 1 : self.stop], strip)[0].lines.lines_out)
        size_out = 0 if self.last else aligned(map_bytes(self.layers[self.stop - 1]))
        for first in range(self.stop - 1, self.chain.earliest(self.stop) - 1, -1):
            part = views(self.layers[first : self.stop], strip)
            tail = first == self.stop - 1
            pools, own = self.last and tail, below if tail else 0
            runs = modes(self.layers[first], self.chain.reads_picture(first), False, part[0].strips > 1)
            if not runs or (not tail and not self._together(first)):
                break
            role = Role(self.chain.reads_picture(first), pools, tail, own, *self.how.layer(first), self._others(first))
            level = _extend(level, part[0], offers(part[0], role, self.tries).options)
            level = level.take(self._promising(level.fixed + level.work + size_out, level.cost, first))
            if lines_of(part) <= MAX_LINES * len(part):
                self._collect(level, part, strip, first)
            level = level.take(self._promising(level.fixed + level.rings() + level.work + size_out, level.cost, first))
            if not len(level.cost):
                break
            level = _prune(level)
        last = self.layers[-1]
        alone = self.last and strip == last.oh and self.chain.network.end.pools() and len(self.layers) > 1
        if alone and last.kind == "conv" and GROUPS in modes(last, False, True):
            self._collect_head()

    def _together(self, first: int) -> bool:
        """Whether the weights of layers `first` to `stop` - 1 may be needed together."""
        return self.how.source is None or self.how.source.together(self._arrays(first))

    def _others(self, first: int) -> int:
        """Bytes of weights that are needed between two uses of layer `first`'s."""
        return 0 if self.how.source is None else self._arrays(first + 1)

    def _arrays(self, first: int) -> int:
        """Bytes of the weights of layers `first` to `stop` - 1 in their usual modes."""
        modes = [FAST if fast else DIRECT for fast in self.how.fast[first : self.stop]]
        return sum(map(streaming.layer_bytes, self.layers[first : self.stop], modes))

    def _collect(self, level: Level, part: Sequence[View], strip: int, first: int) -> None:
        """Takes the labels as segments."""
        size_in = 0 if self.chain.reads_picture(first) else input_map_bytes(part[0].layer)
        size_out = 0 if self.last else map_bytes(part[-1].layer)
        maps = np.full(len(level.cost), aligned(max(size_in, size_out)))
        if size_in and size_out:  # strips are read and written alike in all modes
            whole = strip == part[-1].layer.oh
            pairs = level.takes(part[0].layer) << 16 | level.rows() if whole else np.zeros_like(level.step)
            for pair in np.unique(pairs).tolist():
                above = lead(part, strip, pair >> 16 > 0, pair & 0xFFFF)
                maps[pairs == pair] = aligned(max(above + size_in, size_out))
        total = level.fixed + level.work + maps
        good = self._promising(total, level.cost, first)
        if len(good):
            best = good[front_of(total[good], level.cost[good])]
            self.found.setdefault(first, []).append((total[best], strip, level.take(best)))

    def _collect_head(self) -> None:
        """A last convolution by itself, in groups of output channels over the whole map."""
        (view,) = part = views(self.layers[-1:], self.layers[-1].oh)
        steps = [(GROUPS, 1, group) for group in channel_groups(view.layer.cout, self.tries)]
        lines, by, source = view.lines.lines_out, self.how.by, self.how.source
        steps = [step for step in steps if source is None or source.fits(view.layer, step)]
        roles = [Role(False, True, True, self.chain.below(self.stop, step), NOT_FAST, by, source) for step in steps]
        goes = flow(view.lines, (lines,), 1)
        found = [
            Offers(view, role, self.tries).ways((step,), goes.passes) for step, role in zip(steps, roles, strict=True)
        ]
        if found:
            options = Options.of(view.layer, [(goes, ways) for ways in found])
            self._collect(_extend(_root(lines), view, lambda _: options), part, view.layer.oh, self.stop - 1)

    def _merge(self, found: list) -> Edges:
        total = np.concatenate([total for total, _, _ in found])
        cost = np.concatenate([level.cost for _, _, level in found])
        sources = [(strip, level, label) for _, strip, level in found for label in range(len(level.cost))]
        best = front_of(total, cost)
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


class Bounds:
    """What a segment may cost, if a plan with it is to be as good as `known` ones: `before` is what all layers before
    each boundary cost at least, `behind` what those behind it were found to cost.

    Arenas are told by how many of `totals`, the known ones, are not larger. The plan known for them then needs no more
    than the last of these, and what lies behind may have up to the next one.
    """

    def __init__(self, chain: Chain, how: How, known: Search | None):
        self.before = np.cumsum([0, *_least_costs(chain, how.fast, how.by)])
        self.end, self.totals = chain.end, known.totals if known else np.zeros(0, np.int64)
        least = np.minimum.accumulate(known.cost[-1]) if known else np.zeros(0)
        self.least = np.concatenate(([np.inf], least)) * (1 + 1e-9)
        self.behind = np.full((len(chain.layers) + 1, len(self.least)), np.inf)
        self.behind[-1] = 0

    def at(self, total: np.ndarray) -> np.ndarray:
        """How arenas of so many bytes, or of what the end needs, are told."""
        return np.searchsorted(self.totals, np.maximum(total, self.end), "right")

    def left(self, stop: int) -> np.ndarray:
        """For each arena what the layers before `stop` may cost at most, in that or in a larger one."""
        possible = np.isfinite(self.behind[stop])
        left = np.where(possible, self.least, -np.inf) - np.where(possible, self.behind[stop], 0)
        return np.maximum.accumulate(left[::-1])[::-1]

    def add(self, stop: int, ends: dict[int, Edges]) -> None:
        """Takes in the segments that end before `stop`, all behind which are known."""
        nearly = np.append(self.totals - 1, np.iinfo(np.int64).max)
        for first, found in ends.items():
            at = np.searchsorted(found.total, nearly, "right")
            costs = self.behind[stop] + np.concatenate(([np.inf], found.cost))[at]
            self.behind[first] = np.minimum(self.behind[first], costs)


def search(
    chain: Chain, how: How, tries: Tries, known: Search | None = None, progress: Progress | None = None
) -> Search:
    """Segments of `tries` and the best paths over them; those that are no better than `known` ones are left out.
    `how.fast` is for the chain's layers."""
    layers = chain.layers
    edges: list[dict[int, Edges]] = [{} for _ in range(len(layers) + 1)]
    bounds = Bounds(chain, how, known)
    for stop in range(len(layers), 0, -1):
        edges[stop] = _Grower(chain, stop, tries, bounds, how).edges()
        bounds.add(stop, edges[stop])
        if progress:
            progress(len(layers) + 1 - stop, len(layers))
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

"""What a layer of a segment may do: its modes and numbers worth trying, and what each brings in bytes and costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..format import MAX_SIDE, STATE_BYTES
from ..net.layers import Layer
from ..net.network import aligned
from .costs import cost_of, layer_counts
from .float32 import is_float32
from .lines import Flow, Passes, View, flow, kept_lines, sampled_lines
from .modes import (
    DIRECT,
    GROUPS,
    NARROW,
    NARROW_SUMS,
    ROLLING,
    STORED,
    WINDOW,
    Choice,
    fast_group,
    fast_modes,
    modes,
    plain,
    sweeps,
)
from .sizes import conv_pixels, wide_bytes, work_bytes, work_parts
from .sources import Source


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


@dataclass(frozen=True)
class Role:
    """Where a layer stands. `first`: it reads the picture; `pools`: its lines do not go into a map or to another layer;
    `tail`: it ends a segment.

    `below`: bytes of the arena that its segment may not use. `fast`: whether modes fast and sweep are allowed, and with
    which sums (modes.NOT_FAST and so on). Costs are counted `by` one of TABLES. `source`: of its weights; `others`:
    bytes of those of the segment's layers behind it.
    """

    first: bool
    pools: bool
    tail: bool
    below: int
    fast: int
    by: str
    source: Source | None = None
    others: int = 0


@dataclass(frozen=True, slots=True)
class Ways:
    """Steps of one mode and as many rows, pixels read as bytes or not: the cost of each, which rises, and
    its bytes in the work area, which fall; the bytes beside it."""

    steps: tuple[Choice, ...]
    cost: tuple[float, ...]
    work: tuple[int, ...]
    fixed: int


@dataclass(frozen=True, slots=True)
class Options:
    """What a layer may do: its steps, and in arrays what each brings: cost, bytes beside and in the work area, the most
    lines that it makes in one go, and which of `kinds` it is: the lines that it asks for, and those of its input ring
    that it needs for itself."""

    steps: tuple[Choice, ...]
    cost: np.ndarray
    fixed: np.ndarray
    work: np.ndarray
    chunk: np.ndarray
    kind: np.ndarray
    kinds: tuple[tuple[tuple[int, ...], int], ...]

    @classmethod
    def of(cls, layer: Layer, found: Sequence[tuple[Flow, Ways]]) -> Options:
        kinds: dict[tuple[tuple[int, ...], int], int] = {}
        kind, counts = [], [len(ways.steps) for _, ways in found]
        for goes, ways in found:
            asked = goes.asks, kept_lines(goes, layer, ways.steps[0][0])
            kind.append(kinds.setdefault(asked, len(kinds)))
        return cls(
            steps=tuple(step for _, ways in found for step in ways.steps),
            cost=np.array([cost for _, ways in found for cost in ways.cost]),
            fixed=np.repeat([ways.fixed for _, ways in found], counts),
            work=np.array([work for _, ways in found for work in ways.work]),
            chunk=np.repeat([goes.chunk for goes, _ in found], counts),
            kind=np.repeat(kind, counts),
            kinds=tuple(kinds),
        )


def channel_groups(channels: int, tries: Tries) -> list[int]:
    return sorted({min(group, channels) for group in tries.groups})


def fused_groups(layer: Layer, tries: Tries) -> list[int]:
    """Channels of a group worth trying in modes fast and sweep: all, or a multiple of 4."""
    return sorted({group for group in tries.groups if fast_group(layer, group)} | {layer.cexp})


def conv_groups(view: View, tries: Tries) -> list[int]:
    """Pixels at a time worth trying: as many as are usual, or fewer. A float32 convolution makes one."""
    if is_float32(view.layer):
        return [0]
    usual = conv_pixels(view, (DIRECT, 1, 0))
    return [0, *(pixels for pixels in tries.pixels if pixels < usual)]


@lru_cache(1 << 12)
def offers(view: View, role: Role, tries: Tries) -> Offers:
    return Offers(view, role, tries)


class Flows(dict[int, Flow]):
    """How a layer meets the same demands in chunks of other numbers of rows, which are the keys."""

    def __init__(self, flow_of: Callable[[int], Flow]):
        self.flow_of = flow_of

    def __missing__(self, rows: int) -> Flow:
        self[rows] = self.flow_of(rows)
        return self[rows]


class Offers:
    """The options of a layer where it stands. What does not depend on the demands is found once for each step, what
    costs depend on once for all demands alike."""

    def __init__(self, view: View, role: Role, tries: Tries):
        self.view, self.role, self.tries = view, role, tries
        self._modes = fast_modes(view.layer) if role.fast else ()
        self._found: dict[tuple[int, ...], Options] = {}
        self._sets: dict[int, list[tuple[Choice, ...]]] = {}
        self._sizes: dict[Choice, tuple[int, int]] = {}
        self._ways: dict[tuple[tuple[Choice, ...], Passes], Ways] = {}

    def options(self, demands: tuple[int, ...]) -> Options:
        if demands not in self._found:
            flows = Flows(lambda rows: flow(self.view.lines, demands, rows))
            chunks = sorted({flows[rows].chunk for rows in self._rows()})
            sets = [(flows[rows or 1], steps) for rows in (0, *chunks) for steps in self._steps(rows)]
            found = [(goes, self.ways(steps, goes.passes)) for goes, steps in sets]
            found.sort(key=lambda option: (option[1].cost[0], option[1].work[0]))
            self._found[demands] = Options.of(self.view.layer, found)
        return self._found[demands]

    def ways(self, steps: tuple[Choice, ...], passes: Passes) -> Ways:
        """Of steps alike, without those that another one is as good as or better than."""
        if (steps, passes) not in self._ways:
            best: list[tuple[float, int, Choice]] = []
            found = [(self._cost(step, passes), self._bytes(step)[1], step) for step in steps]
            for own in sorted(found, key=lambda way: way[:2]):
                if not best or own[1] < best[-1][1]:
                    best.append(own)
            cost, work, kept = zip(*best, strict=True)
            self._ways[steps, passes] = Ways(kept, cost, work, self._bytes(steps[0])[0])
        return self._ways[steps, passes]

    def _rows(self) -> tuple[int, ...]:
        """Numbers of rows worth trying where a layer makes several at a time."""
        if self.view.layer.kind != "bottleneck" or not self.view.layer.expand:
            return ()
        return (*self.tries.rows_last, self.view.lines.lines_out) if self.role.tail else self.tries.rows_inner

    def _steps(self, rows: int) -> list[tuple[Choice, ...]]:
        """Steps worth trying, those together that are alike: with chunks of so many rows, or (0) line by line."""
        if rows not in self._sets:
            source, alike = self.role.source, dict[int, list[Choice]]()
            for step in self._chunks(rows) if rows else self._by_line():
                if source is None or source.fits(self.view.layer, step):
                    alike.setdefault(plain(step[0]), []).append(step)
            self._sets[rows] = [tuple(steps) for steps in alike.values()]
        return self._sets[rows]

    def _by_line(self) -> Iterator[Choice]:
        view, role, layer = self.view, self.role, self.view.layer
        if layer.kind != "bottleneck":
            for mode in modes(layer, role.first, False, view.strips > 1):
                pixels = conv_groups(view, self.tries) if mode in (DIRECT, WINDOW) and layer.kind == "conv" else [0]
                yield from ((mode, 1, number) for number in pixels)
            return
        yield from self._fast(1, False)
        yield ROLLING if layer.expand else DIRECT, 1, 0

    def _chunks(self, rows: int) -> Iterator[Choice]:
        layer, groups = self.view.layer, channel_groups(self.view.layer.cexp, self.tries)
        yield from self._fast(rows, True)
        if not is_float32(layer):  # `_widened` later: it saves nothing but calls
            yield from ((STORED, rows, group) for group in groups[:1])
        if 4 * layer.cout < layer.cexp or is_float32(layer):  # else sums take more than the values that are stored
            yield from ((GROUPS, rows, group) for group in groups)

    def _fast(self, rows: int, sweeping: bool) -> Iterator[Choice]:
        """Of modes fast or sweep. Sums have 24 bits where they may: that costs little, and saves a quarter of them."""
        layer, may_be_narrow = self.view.layer, self.role.fast == NARROW_SUMS
        for mode in (mode for mode in self._modes if sweeps(mode) == sweeping):
            for group in fused_groups(layer, self.tries):
                narrow = may_be_narrow and group < layer.cexp
                yield mode | NARROW * narrow, rows, group

    def _bytes(self, step: Choice) -> tuple[int, int]:
        """Beside and in the work area."""
        if step not in self._sizes:
            view, role, mode = self.view, self.role, step[0]
            sampled = sampled_lines(view, mode) if role.first else 0
            fixed = STATE_BYTES + aligned(wide_bytes(view, mode)) + aligned(sampled * view.n_in * view.layer.cin)
            self._sizes[step] = role.below + fixed, work_bytes(work_parts(view, step, role.pools))
        return self._sizes[step]

    def _cost(self, step: Choice, passes: Passes) -> float:
        view, role = self.view, self.role
        cost = cost_of(layer_counts(view, passes, step, role.first, role.pools), role.by)
        if role.source is not None:
            cost += role.source.read * role.source.layer_reads(view, passes, step, role.others)
        return cost

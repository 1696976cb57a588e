"""What a layer of a segment may do: its modes and numbers worth trying, and what each brings in bytes and costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

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
    as_bytes,
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


def channel_groups(channels: int, tries: Tries) -> list[int]:
    return sorted({min(group, channels) for group in tries.groups})


def fused_groups(layer: Layer, tries: Tries) -> list[int]:
    """Channels of a group worth trying in modes fast and sweep: all, or a multiple of 4."""
    return sorted({group for group in tries.groups if group % 4 == 0 and group < layer.cexp} | {layer.cexp})


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


def _best(options: Iterable[Option]) -> tuple[Option, ...]:
    """Those that no other one is as good as or better than, among those of the same lines in the same mode, whether
    bytes are read or not."""
    best: dict[tuple, list[Option]] = {}
    for own in sorted(options, key=lambda option: (option.cost, option.work)):
        mode, rows, _ = own.step
        same = best.setdefault((plain(mode), rows, own.asks, own.kept, own.chunk, own.fixed), [])
        if all(other.work > own.work for other in same):
            same.append(own)
    return tuple(option for same in best.values() for option in same)


class Offers:
    """The options of a layer where it stands. What does not depend on the demands is found once for each step, what
    costs depend on once for all demands alike."""

    def __init__(self, view: View, role: Role, tries: Tries):
        self.view, self.role, self.tries = view, role, tries
        self._modes = fast_modes(view.layer) if role.fast else ()
        self._found: dict[tuple[int, ...], tuple[Option, ...]] = {}
        self._sizes: dict[Choice, tuple[int, int]] = {}
        self._costs: dict[tuple[Choice, Passes], float] = {}

    def options(self, demands: tuple[int, ...]) -> tuple[Option, ...]:
        if demands not in self._found:
            view, source = self.view, self.role.source
            flows = Flows(lambda rows: flow(view.lines, demands, rows))
            steps = (step for step in self._steps(flows) if source is None or source.fits(view.layer, step))
            self._found[demands] = _best(self.option(step, flows[step[1]]) for step in steps)
        return self._found[demands]

    def option(self, step: Choice, goes: Flow) -> Option:
        fixed, work = self._bytes(step)
        kept = kept_lines(goes, self.view.layer, step[0])
        return Option(step, self._cost(step, goes.passes), fixed, work, goes.asks, kept, goes.chunk)

    def _steps(self, flows: Flows) -> Iterator[Choice]:
        """Steps worth trying."""
        view, role, tries, layer = self.view, self.role, self.tries, self.view.layer
        if layer.kind != "bottleneck":
            for mode in modes(layer, role.first, False, view.strips > 1):
                pixels = conv_groups(view, tries) if mode in (DIRECT, WINDOW) and layer.kind == "conv" else [0]
                yield from ((mode, 1, number) for number in pixels)
            return
        yield from self._fast(1, False)
        if not layer.expand:
            yield DIRECT, 1, 0
            return
        yield ROLLING, 1, 0
        groups = channel_groups(layer.cexp, tries)
        wanted = (*tries.rows_last, view.lines.lines_out) if role.tail else tries.rows_inner
        for rows in sorted({flows[rows].chunk for rows in wanted}):
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
                narrow = may_be_narrow and not as_bytes(mode) and group < layer.cexp
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
        if (step, passes) not in self._costs:
            view, role = self.view, self.role
            cost = cost_of(layer_counts(view, passes, step, role.first, role.pools), role.by)
            if role.source is not None:
                cost += role.source.read * role.source.layer_reads(view, passes, step, role.others)
            self._costs[step, passes] = cost
        return self._costs[step, passes]

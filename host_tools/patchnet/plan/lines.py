"""How lines go through a segment: which a layer has, which it needs of the layer before, how many must be kept.

Lines are rows of a whole map or, in strips, the columns of a strip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from ..net.layers import Layer, pair
from .modes import COVER, DIRECT, FAST, Choice, plain, takes_lines


@dataclass(frozen=True)
class Axis:
    """A layer along rows or along columns: its kernel there, and how many positions go in and come out. `second`: of a
    block's second convolution, else 1."""

    kernel: int
    stride: int
    pad: int
    second: int
    size: int
    outputs: int

    def middle(self, a: int, b: int) -> tuple[int, int]:
        """The positions between a block's convolutions that outputs a..b-1 read; those themselves of other kinds."""
        half = self.second // 2
        return max(0, a - half), min(self.outputs, b + half)

    def under(self, a: int, b: int) -> tuple[int, int]:
        """The input positions under positions a..b-1 of the (first) kernel."""
        return max(0, a * self.stride - self.pad), min(self.size, (b - 1) * self.stride - self.pad + self.kernel)

    def reach(self, a: int, b: int) -> tuple[int, int]:
        """The input positions that outputs a..b-1 read."""
        return self.under(*self.middle(a, b))

    @cached_property
    def needs(self) -> tuple[int, ...]:
        """Of each number of outputs the input positions before which lies what the first so many reach."""
        return tuple(self.reach(0, end)[1] for end in range(self.outputs + 1))

    @cached_property
    def lowest(self) -> tuple[int, ...]:
        """The first input position that an output, or one behind it, reads: `size` behind the last one."""
        return (*(self.reach(at, at + 1)[0] for at in range(self.outputs)), self.size)


@lru_cache(maxsize=1024)
def axes(layer: Layer) -> tuple[Axis, Axis]:
    """Along rows, along columns."""
    top, _, left, _ = layer.pad
    second_h, second_w = pair(layer.second)
    return (
        Axis(layer.kh, layer.sh, top, second_h, layer.h, layer.oh),
        Axis(layer.kw, layer.sw, left, second_w, layer.w, layer.ow),
    )


@dataclass(frozen=True)
class Lines:
    """How a layer's lines follow from those of its input, which lie along `axis`. `adds`: its input is added; `block`:
    it is one, and has lines between its convolutions."""

    axis: Axis
    adds: bool
    block: bool = False

    @property
    def lines_in(self) -> int:
        return self.axis.size

    @property
    def lines_out(self) -> int:
        return self.axis.outputs

    @property
    def ahead(self) -> int:
        """Input lines that a layer of mode fast takes in before its first output line."""
        return max(0, self.axis.kernel - self.axis.stride - self.axis.pad)

    @property
    def skipped(self) -> int:
        """Input lines between those of two output lines, which neither reads."""
        return max(0, self.axis.stride - self.axis.kernel)

    def need(self, end: int) -> int:
        """Input lines 0..need-1 are what output lines 0..end-1 reach."""
        return self.axis.needs[end]

    def lowest(self, start: int) -> int:
        """The first input line that output line `start` or a later one reads: lines_in if there are none."""
        return self.axis.lowest[start]

    def unread(self, made: int) -> int:
        """Of a layer that takes in each line once, `made` of whose output lines are there: the first one that it has
        not taken in, or takes in again for a block's next line."""
        if not self.block:
            return self.need(made)
        middle = self.axis.middle(0, made)[1]
        return self.axis.under(middle, middle + 1)[0] if middle < self.lines_out else self.lines_in

    def added(self, line: int) -> int:
        """The input line that is added to an output line."""
        return line * self.axis.stride


@dataclass(frozen=True)
class View:
    """A layer as its segment sees it: its lines, the most pixels of a line that are needed in any strip.

    `n_mid`: of a line between a block's convolutions. `all_in`, `all_mid`, `all_out` are the needed pixels of a line of
    all `strips` strips together; `reached` is n_in with the pixels that the kernel reaches before the line, `padded`
    with one of them if their number is odd. `alone_in`, `alone_out`: pixels that modes fast and sweep make one by one
    instead of in pairs, in a line of all strips.
    """

    layer: Layer
    lines: Lines
    across: Axis
    n_in: int
    padded: int
    reached: int
    n_mid: int
    n_out: int
    all_in: int
    all_mid: int
    all_out: int
    strips: int
    alone_in: int
    alone_out: int


@lru_cache(4096)
def views(layers: tuple[Layer, ...], strip: int) -> tuple[View, ...]:
    """The layers of a segment that makes `strip` output rows in one go."""
    last, out = layers[-1], []
    whole = strip == last.oh
    across = [(0, last.ow)] if whole else strips(last, strip)
    for layer in reversed(layers):
        along, cross = axes(layer) if whole else axes(layer)[::-1]
        middle = [cross.middle(a, b) for a, b in across]
        before = [cross.under(a, b) for a, b in middle]
        n_in, n_mid, n_out = ([b - a for a, b in parts] for parts in (before, middle, across))
        pads = [cross.pad - (a * cross.stride - lo) for (lo, _), (a, _) in zip(before, across, strict=True)]
        padded, reached = (max(map(sum, zip(n_in, more, strict=True))) for more in ([pad % 2 for pad in pads], pads))
        block = layer.kind == "block"
        lines = Lines(along, layer.residual or block, block)
        alone = sum(pad % 2 + (n - pad) % 2 for n, pad in zip(n_in, pads, strict=True)), sum(n % 2 for n in n_out)
        sizes = max(n_in), padded, reached, max(n_mid), max(n_out), sum(n_in), sum(n_mid), sum(n_out)
        out.append(View(layer, lines, cross, *sizes, len(across), *alone))
        across = before
    return tuple(reversed(out))


def lines_of(part: Sequence[View]) -> int:
    """Lines in and out of all layers of a segment, in all strips: as many at most as a device goes through when it
    checks the plan."""
    return part[-1].strips * sum(view.lines.lines_in + view.lines.lines_out for view in part)


def strips(layer: Layer, strip: int) -> list[tuple[int, int]]:
    """Output rows a..b-1 of each strip."""
    return [(a, min(a + strip, layer.oh)) for a in range(0, layer.oh, strip)]


def chunks(demands: Sequence[int], rows: int) -> Iterator[tuple[int, int]]:
    """Lines start..end-1 that a layer makes at a time, asked for its first demands[0], demands[1], ... lines."""
    start = 0
    for demand in demands:
        while start < demand:
            end = min(start + rows, demand)
            yield start, end
            start = end


class Passes(NamedTuple):
    """What a layer's cost depends on: `made` output lines in `chunks` chunks read `read` input lines, chunk by chunk,
    and `once` different ones."""

    made: int
    chunks: int
    read: int
    once: int


@dataclass(frozen=True, slots=True)
class Flow:
    """What follows from the demands on a layer, in lines: its own demands on the layer before, its largest chunk.

    `kept`: input lines from the first one that a chunk reads to the newest one, at most; `kept_rolling`: the same for
    one that takes in lines as soon as they are there, and then needs them for what is added alone, or, a block, for the
    next line between its convolutions; `kept_fast` for a fast one, which takes in lines as they are new, some (`ahead`)
    beforehand.
    """

    asks: tuple[int, ...]
    chunk: int
    kept: int
    kept_rolling: int
    kept_fast: int
    passes: Passes


@lru_cache(1 << 16)
def flow(lines: Lines, demands: tuple[int, ...], rows: int) -> Flow:
    """How a layer in chunks of `rows` lines meets `demands`."""
    asks, chunk, kept, rolling, fast, read, once, n = [0], 0, 0, 0, 0, 0, 0, 0
    for start, end in chunks(demands, rows):
        need, lowest = lines.need(end), lines.lowest(start)
        chunk, kept, n = max(chunk, end - start), max(kept, need - lowest), n + 1
        read += need - lowest - lines.skipped * (end - start - 1)
        rolling = max(rolling, _rolling(lines, start, need))
        new = need - max(lowest, asks[-1])
        fast = max(fast, new - min(new, lines.ahead) * (start == 0))
        if need > asks[-1]:
            once += new
            asks.append(need)
    return Flow(tuple(asks[1:]), chunk, kept, rolling, max(fast, rolling), Passes(demands[-1], n, read, once))


def _rolling(lines: Lines, start: int, need: int) -> int:
    """Input lines before `need` that a layer which takes them in still reads when they have come, for the output line
    `start`."""
    added = lines.added(start) if lines.adds else need
    if not lines.block:
        return need - added
    first = lines.axis.middle(0, start)[1] if start else 0  # of the lines between the convolutions that are new
    return need - min(added, lines.axis.under(first, first + 1)[0])


def kept_lines(own: Flow, layer: Layer, mode: int) -> int:
    """Lines that a layer's ring must hold for what the layer itself reads."""
    if not takes_lines(layer, mode):
        return own.kept
    return own.kept_fast if plain(mode) == FAST else own.kept_rolling


def sampled_lines(view: View, mode: int) -> int:
    """Lines of the ring into which the picture is sampled for the first layer."""
    return 1 if mode == COVER else min(view.lines.axis.kernel, view.lines.lines_in) if mode == DIRECT else 0


def ring_lines(part: Sequence[View], schedule: Sequence[Choice], from_picture: bool) -> tuple[list[int], list[Flow]]:
    """`lines` of each layer of a segment, and its flow.

    A ring holds what its chunk still reads and what the layer before makes in one go. The first layer reads the map,
    or samples lines of the picture as they are needed.
    """
    demands: tuple[int, ...] = (part[-1].lines.lines_out,)
    flows: list[Flow] = []
    for view, (_, rows, _) in zip(reversed(part), reversed(schedule), strict=True):
        flows.append(flow(view.lines, demands, rows))
        demands = flows[-1].asks
    flows.reverse()
    lines = [sampled_lines(part[0], schedule[0][0]) if from_picture else 0]
    for view, (mode, _, _), own, before in zip(part[1:], schedule[1:], flows[1:], flows, strict=False):
        lines.append(max(kept_lines(own, view.layer, mode), before.chunk))
    return lines, flows

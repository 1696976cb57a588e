"""How lines go through a segment: which a layer has, which it needs of the layer before, how many must be kept.

Lines are rows of a whole map or, in strips, the columns of a strip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..net.layers import Layer
from .modes import DIRECT, ROLLING, Choice, takes_lines


@dataclass(frozen=True)
class Lines:
    """How many lines a layer has and which of its input an output line reads, padding kernel // 2."""

    kernel: int
    stride: int
    residual: bool
    lines_in: int
    lines_out: int

    @property
    def ahead(self) -> int:
        """Input lines that a layer of mode fast takes in before its first output line."""
        return max(0, self.kernel - self.stride - self.kernel // 2)

    def need(self, end: int) -> int:
        """Input lines 0..need-1 are what output lines 0..end-1 reach."""
        return min(self.lines_in, (end - 1) * self.stride - self.kernel // 2 + self.kernel)

    def lowest(self, start: int) -> int:
        """The first input line that output line `start` or a later one reads: lines_in if there are none."""
        if start >= self.lines_out:
            return self.lines_in
        return max(0, start * self.stride - self.kernel // 2)


@dataclass(frozen=True)
class View:
    """A layer as its segment sees it: its lines, the most pixels of a line that are needed in any strip.

    `all_in`, `all_out` are the needed pixels of a line of all `strips` strips together; `padded` is n_in and one more
    if the kernel reaches an odd number of pixels before the line. `alone_in`, `alone_out`: pixels that modes fast and
    sweep make one by one instead of in pairs, in a line of all strips.
    """

    layer: Layer
    lines: Lines
    n_in: int
    padded: int
    n_out: int
    all_in: int
    all_out: int
    strips: int
    alone_in: int
    alone_out: int


def _reach(layer: Layer, size: int, a: int, b: int) -> tuple[int, int]:
    """Positions a..b-1 of the output, along a side of `size` input positions, read these positions of the input."""
    pad = layer.kernel // 2
    return max(0, a * layer.stride - pad), min(size, (b - 1) * layer.stride - pad + layer.kernel)


@lru_cache(4096)
def views(layers: tuple[Layer, ...], strip: int) -> tuple[View, ...]:
    """The layers of a segment that makes `strip` output rows in one go."""
    last, out = layers[-1], []
    whole = strip == last.oh
    across = [(0, last.ow)] if whole else strips(last, strip)
    for layer in reversed(layers):
        before = [_reach(layer, layer.w if whole else layer.h, a, b) for a, b in across]
        n_in, n_out = ([b - a for a, b in parts] for parts in (before, across))
        pads = [layer.kernel // 2 - (a * layer.stride - lo) for (lo, _), (a, _) in zip(before, across, strict=True)]
        padded = max(n + pad % 2 for n, pad in zip(n_in, pads, strict=True))
        sizes = (layer.h, layer.oh) if whole else (layer.w, layer.ow)
        lines = Lines(layer.kernel, layer.stride, layer.residual, *sizes)
        alone = sum(pad % 2 + (n - pad) % 2 for n, pad in zip(n_in, pads, strict=True)), sum(n % 2 for n in n_out)
        out.append(View(layer, lines, max(n_in), padded, max(n_out), sum(n_in), sum(n_out), len(across), *alone))
        across = before
    return tuple(reversed(out))


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


@dataclass(frozen=True)
class Flow:
    """What follows from the demands on a layer, in lines: its own demands on the layer before, its largest chunk.

    `kept`: input lines from the first one that a chunk reads to the newest one, at most; `kept_rolling`: the same for a
    rolling layer, which has expanded what the kernel reads, and needs its input for the residual alone; `kept_fast` for
    a fast one, which takes in lines as they are new, some (`ahead`) beforehand.
    `made` output lines in `chunks` chunks read `read` input lines, chunk by chunk, and `once` different ones.
    """

    asks: tuple[int, ...]
    chunk: int
    kept: int
    kept_rolling: int
    kept_fast: int
    made: int
    chunks: int
    read: int
    once: int


@lru_cache(1 << 16)
def flow(lines: Lines, demands: tuple[int, ...], rows: int) -> Flow:
    """How a layer in chunks of `rows` lines meets `demands`."""
    asks, chunk, kept, rolling, fast, read, once, n = [0], 0, 0, 0, 0, 0, 0, 0
    for start, end in chunks(demands, rows):
        need, lowest = lines.need(end), lines.lowest(start)
        chunk, kept, read, n = max(chunk, end - start), max(kept, need - lowest), read + need - lowest, n + 1
        rolling = max(rolling, need - start if lines.residual else 0)
        new = need - max(lowest, asks[-1])
        fast = max(fast, new - min(new, lines.ahead) * (start == 0))
        if need > asks[-1]:
            once += new
            asks.append(need)
    return Flow(tuple(asks[1:]), chunk, kept, rolling, max(fast, rolling), demands[-1], n, read, once)


def kept_lines(own: Flow, layer: Layer, mode: int) -> int:
    """Lines that a layer's ring must hold for what the layer itself reads."""
    if not takes_lines(layer, mode):
        return own.kept
    return own.kept_rolling if mode == ROLLING else own.kept_fast


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
    first = part[0].lines
    lines = [min(first.kernel, first.lines_in) if from_picture and schedule[0][0] == DIRECT else 0]
    for view, (mode, _, _), own, before in zip(part[1:], schedule[1:], flows[1:], flows, strict=False):
        lines.append(max(kept_lines(own, view.layer, mode), before.chunk))
    return lines, flows

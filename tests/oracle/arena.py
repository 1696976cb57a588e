"""FORMAT.md, The plan, in Python: what lies where in the arena, and whether a plan is sound. For the tests only.

Nothing is computed in advance: lines are let through every segment one after the other, and each read is looked at.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from oracle import (
    BLOCK,
    BOTTLENECK,
    BYTES,
    CONV,
    EXPAND,
    HEAD,
    MAXPOOL,
    NARROW,
    RESIDUAL,
    SIGNED,
    Layer,
    Oracle,
    Segment,
    Steps,
)

DIRECT, ROLLING, WINDOW, GROUPS, STORED, FAST, SWEEP, COVER = range(8)
CHANNEL_GROUPS = (GROUPS, STORED, FAST, SWEEP)
STATE_BYTES = 60
MOST_FUSED = 16
MOST_LINES = 8192
MOST_KERNEL = 15  # but of mode 7

Area = tuple[int, int]  # first byte, bytes
Span = tuple[int, int]  # first, one past the last


class Place(NamedTuple):
    """A field that holds a place in the arena: of the header, or of the layer or segment `index`."""

    table: str
    index: int
    field: str


class Side(NamedTuple):
    """A kernel along lines, or across them: its size, stride and padding before the map of `size`, whose `outputs`
    follow. `half`: how far a block's second kernel reaches."""

    kernel: int
    stride: int
    pad: int
    half: int
    size: int
    outputs: int

    def under(self, span: Span) -> Span:
        """Positions of the input under some of the (first) kernel's."""
        first = span[0] * self.stride - self.pad
        last = (span[1] - 1) * self.stride - self.pad + self.kernel - 1
        return max(0, first), min(self.size, last + 1)

    def middle(self, span: Span) -> Span:
        """Positions between a block's convolutions that outputs need."""
        return max(0, span[0] - self.half), min(self.outputs, span[1] + self.half)

    def reach(self, span: Span) -> Span:
        """Positions of the input that outputs need."""
        return self.under(self.middle(span))


@dataclass(frozen=True)
class Stage:
    """A layer in its segment: lines of its input and output map, and pixels of such a line."""

    index: int
    layer: Layer
    cin: int
    along: Side
    across: Side
    real: bool = False  # of a float32 network

    @property
    def size(self) -> int:
        """Bytes of a value that it makes."""
        return 4 if self.real else 1

    @property
    def size_in(self) -> int:
        """Of one that it reads; the network's input is int8."""
        return self.size if self.index else 1

    @property
    def lines_in(self) -> int:
        return self.along.size

    @property
    def lines_out(self) -> int:
        return self.along.outputs

    @property
    def pixels_in(self) -> int:
        return self.across.size

    @property
    def pixels_out(self) -> int:
        return self.across.outputs

    @property
    def block(self) -> bool:
        return self.layer.kind == BLOCK

    @property
    def conv(self) -> bool:
        return self.layer.kind == CONV

    @property
    def residual(self) -> bool:
        """Whether a line of its input is added to what it makes."""
        return self.block or bool(self.layer.flags & RESIDUAL)

    @property
    def fused(self) -> bool:
        return self.layer.mode in (FAST, SWEEP)

    @property
    def as_bytes(self) -> bool:
        """Whether modes 5 and 6 read bytes."""
        return self.fused and bool(self.layer.flags & BYTES)

    @property
    def expands(self) -> bool:
        return self.layer.kind == BOTTLENECK and bool(self.layer.flags & EXPAND)

    @property
    def takes(self) -> bool:
        """Whether each input line is taken into memory of its own as soon as it is new (what is added aside)."""
        return self.layer.mode in (ROLLING, COVER) or (self.expands and self.layer.mode == FAST)

    @property
    def ahead(self) -> int:
        """How many of the first input lines are expanded by themselves, before there is a chunk."""
        along = self.along
        return max(0, along.kernel - along.stride - along.pad) if self.layer.mode == FAST and self.takes else 0

    def lines(self, first: int, end: int) -> Span:
        """The input lines under output lines first..end-1."""
        return self.along.reach((first, end))


@dataclass(frozen=True)
class Part:
    """A segment with its layers. `columns`: its lines are columns of strips; else rows of whole maps."""

    index: int
    record: Segment
    stages: list[Stage]
    columns: bool
    staged: bool  # its lines do not go into a map: the last one of a chain, or one that ends with a head
    pools: bool  # it feeds the pooling
    ends: bool  # it is the last one of all

    def strips(self) -> list[Span]:
        """Which pixels of the last layer's output lines are made in each round."""
        last, strip = self.stages[-1], self.record.strip
        if not self.columns:
            return [(0, last.pixels_out)]
        return [(top, min(top + strip, last.pixels_out)) for top in range(0, last.pixels_out, strip)]

    def goes_through(self) -> int:
        """Lines in and out of all layers, once for each strip."""
        return len(self.strips()) * sum(stage.lines_in + stage.lines_out for stage in self.stages)

    def spans(self, strip: Span) -> list[Span]:
        """Which pixels are needed of the lines of each layer's input, and of the last one's output, in one strip."""
        spans = [strip]
        for stage in reversed(self.stages):
            spans.insert(0, stage.across.reach(spans[0]))
        return spans


def part(oracle: Oracle, index: int) -> Part:
    record = oracle.segments[index]
    end, last = record.first + record.layers, oracle.header.layers
    columns, stages = record.strip != oracle.shapes[end - 1][1][0], []
    for i in range(record.first, end):
        (h, w, cin), (oh, ow, _) = oracle.shapes[i]
        layer = oracle.layers[i]
        steps, half = Steps.of(layer), (layer.second_h // 2, layer.second_w // 2)
        y, x = (
            Side(steps.kernel[k], steps.stride[k], steps.pads[2 * k], half[k], *sizes)
            for k, sizes in enumerate(((h, oh), (w, ow)))
        )
        stages.append(Stage(i, layer, cin, *((x, y) if columns else (y, x)), bool(oracle.header.dtype)))
    staged = end == last or bool(oracle.layers[end - 1].flags & HEAD)
    pools = end == len(oracle.layers) and not oracle.detect and not oracle.maps
    return Part(index, record, stages, columns, staged, pools, end == len(oracle.layers))


def parts(oracle: Oracle) -> list[Part]:
    return [part(oracle, i) for i in range(len(oracle.segments))]


# Ranges


def may_be_fused(stage: Stage) -> bool:
    """Whether a bottleneck has the shape for its mode, 5 or 6. That its integers keep to 16 bits is no matter of the
    plan."""
    layer = stage.layer
    (y, x), (sy, sx) = (layer.kernel_h, layer.kernel_w), (layer.stride_h, layer.stride_w)
    shape = y == x and sy == sx <= 2 and (y in (3, 5, 7) if stage.expands else y == 3 and layer.mode == FAST)
    place = stage.takes or layer.wide_at == 0
    exact = (stage.cin <= 508 or not stage.expands) and (layer.group <= 256 or layer.group == layer.cexp)
    return shape and place and exact and not layer.flags & SIGNED and layer.cexp % 4 == layer.cout % 2 == 0


def covers(stage: Stage) -> bool:
    """Whether the kernel is the whole map."""
    return all(side.kernel == side.size and side.outputs == 1 and side.pad == 0 for side in (stage.along, stage.across))


def mode_is_possible(stage: Stage, alone: bool) -> bool:
    """`alone`: the last segment's only layer, over rows of the whole map."""
    mode = stage.layer.mode
    if stage.real and mode not in (DIRECT, ROLLING, GROUPS, COVER):
        return False
    if stage.fused:
        return stage.layer.kind == BOTTLENECK and may_be_fused(stage)
    if mode == COVER:
        return stage.layer.kind not in (BOTTLENECK, BLOCK) and covers(stage)
    if max(stage.along.kernel, stage.across.kernel) > MOST_KERNEL:
        return False
    if stage.block:
        return mode == ROLLING
    if stage.layer.kind not in (CONV, BOTTLENECK):
        return mode == DIRECT
    if stage.conv:
        return mode == DIRECT or (mode == WINDOW and stage.index == 0) or (mode == GROUPS and alone and stage.index > 0)
    return mode in ((ROLLING, GROUPS, STORED) if stage.layer.flags & EXPAND else (DIRECT,))


def has_ring(stage: Stage, first: bool) -> bool:
    """Whether a layer keeps input lines; `first` in its segment."""
    return stage.layer.mode != WINDOW if stage.index == 0 else not first


def layer_is_sound(stage: Stage, part: Part) -> bool:
    layer, ring = stage.layer, has_ring(stage, stage is part.stages[0])
    rows = stage.lines_out if not stage.conv and layer.mode in (GROUPS, STORED, SWEEP) else 1
    most = (layer.cout if stage.conv else layer.cexp) if layer.mode in CHANNEL_GROUPS else 0
    pixels, fours = stage.conv and layer.mode in (DIRECT, WINDOW), layer.group % 4 == layer.wide_at % 4 == 0
    if layer.mode == COVER and (part.columns or layer.wide_at % 4):
        return False
    places = layer.ring_at, layer.wide_at, part.record.in_at, part.record.out_at
    if stage.real and (any(at % 4 for at in places) or (part.columns and part.pools) or (pixels and layer.group)):
        return False
    return (
        mode_is_possible(stage, part.pools and len(part.stages) == 1 and not part.columns)
        and 1 <= layer.rows <= rows
        and (layer.group % 2 == 0 and layer.group <= 4096 if pixels else min(most, 1) <= layer.group <= most)
        and (1 <= layer.lines <= stage.lines_in if ring else layer.lines == layer.ring_at == 0)
        and (fours if stage.fused else layer.mode in (ROLLING, COVER) or layer.wide_at == 0)
    )


def segments_are_sound(oracle: Oracle) -> bool:
    """The segments hold all layers, and every number of the schedule is in its range."""
    at, head = 0, oracle.header
    for i, segment in enumerate(oracle.segments):
        end = head.layers if i < head.segments else len(oracle.layers)
        if segment.first != at or not 1 <= segment.layers <= min(MOST_FUSED, end - at):
            return False
        at += segment.layers
        if not 1 <= segment.strip <= oracle.shapes[at - 1][1][0] or segment.state_at % 4 or segment.work_at % 4:
            return False
        if i + 1 in (head.segments, len(oracle.segments)) and at != end:
            return False
    if not all(part.goes_through() <= MOST_LINES * len(part.stages) for part in parts(oracle)):
        return False
    ends = oracle.segments[0].in_at == 0 and all(part.record.out_at == 0 for part in parts(oracle) if part.staged)
    ranges = all(layer_is_sound(stage, part) for part in parts(oracle) for stage in part.stages)
    if oracle.detect:
        return ends and ranges and oracle.detect.candidate_at % 4 == 0 and all(map(heads_are_sound, parts(oracle)))
    if oracle.maps:
        if head.dtype and head.feature_at % 4:
            return False
        return ends and ranges and (not oracle.heat or oracle.heat.cell_at % 2 == oracle.heat.spot_at % 4 == 0)
    if oracle.merge and not all(map(heads_are_sound, parts(oracle))):
        return False
    if head.dtype and (head.logit_at % 4 or (oracle.dense and head.feature_at % 4)):
        return False
    return ends and ranges and head.sum_at % 4 == 0 and head.logit_at % 2 == 0


def heads_are_sound(part: Part) -> bool:
    """A head is its segment's last layer, over rows of the whole map, and by itself unless it is the very last one."""
    *inner, last = [bool(stage.layer.flags & HEAD) for stage in part.stages]
    return not any(inner) and (not last or (not part.columns and (not inner or part.ends)))


# Lines


class Flow:
    """Lets the lines of one strip through a segment.

    `complete`: every line that was read was there. `written`: (output row, lowest input row that is still read then or
    later, or None), in the order in which the segment's output is written. `chunks`: (stage, output lines from, to).
    """

    def __init__(self, part: Part):
        self.stages, self.complete, self.written, self.chunks = part.stages, True, [], []
        self.made, self.expanded, self.alone = [0] * len(self.stages), [0] * len(self.stages), 0
        self.asked = self._asked()
        while self.made[-1] < self.asked[-1]:
            self._chunk(len(self.stages) - 1, self.asked[-1])

    def _asked(self) -> list[int]:
        """How many lines each layer makes in all."""
        asked = [self.stages[-1].lines_out]
        for stage in reversed(self.stages[1:]):
            asked.insert(0, stage.lines(0, asked[0])[1])
        return asked

    def _read(self, i: int, line: int, there: int) -> None:
        """`there` lines have come into the ring, if there is one."""
        stage = self.stages[i]
        if has_ring(stage, i == 0) and line < there - stage.layer.lines:
            self.complete = False

    def _expand(self, i: int, lowest: int, end: int, there: int) -> int:
        """Lines before `end`, of those from `lowest` on, that are new are read. Returns how many they were."""
        new, picture = range(max(self.expanded[i], lowest), end), self.stages[i].index == 0
        for line in new:
            self._read(i, line, line + 1 if picture else there)  # the picture's are sampled one by one
        self.expanded[i] = max(self.expanded[i], end)
        return len(new)

    def _middle(self, i: int, chunk: Span, there: int) -> None:
        """A block's lines between its convolutions that the chunk needs are made, as far as their input is there."""
        stage, end = self.stages[i], self.stages[i].along.middle(chunk)[1]
        while self.expanded[i] < end:
            first, behind = stage.along.under((self.expanded[i], self.expanded[i] + 1))
            if behind > there:
                return
            self._read(i, first, there)
            self.expanded[i] += 1

    def _expand_alone(self, i: int, chunk: Span, there: int) -> None:
        stage = self.stages[i]
        if stage.block:
            self._middle(i, chunk, there)
        elif stage.layer.mode in (ROLLING, COVER) or stage.ahead:
            lowest = stage.lines(*chunk)[0]
            self.alone += self._expand(i, lowest, min(there, stage.ahead) if stage.ahead else there, there)

    def _chunk(self, i: int, demand: int) -> None:
        stage, first = self.stages[i], self.made[i]
        end = min(first + stage.layer.rows, demand)
        lowest, need = stage.lines(first, end)
        there = self.made[i - 1] if i else need
        self._expand_alone(i, (first, end), there)
        while there < need:
            self._chunk(i - 1, need)
            there = self.made[i - 1]
            self._expand_alone(i, (first, end), there)
        if not stage.takes:
            self._read(i, lowest, there)
        else:
            if not stage.block:
                self._expand(i, lowest, need, there)
            if stage.residual:
                self._read(i, first * stage.along.stride, there)
        if i == len(self.stages) - 1:
            self.written += [(row, self._still_read(row, end)) for row in range(first, end)]
        self.chunks.append((stage, first, end))
        self.made[i] = end

    def _untaken(self, need: int) -> list[int]:
        """The first line before `need` that the segment's first layer has yet to take in, if there is one."""
        stage, taken = self.stages[0], self.expanded[0]
        if stage.block:
            end = stage.along.middle((0, self.asked[0]))[1]
            return [stage.along.under((taken, taken + 1))[0]] if taken < end else []
        return [taken] if taken < need else []

    def _still_read(self, row: int, end: int) -> int | None:
        """The lowest line of the segment's input that is read when the last layer's line `row`, of a chunk that ends
        before `end`, is written, or later."""
        stage, made, reads = self.stages[0], self.made[0], []
        need = stage.lines(0, self.asked[0])[1]
        if len(self.stages) == 1 and stage.layer.mode in (GROUPS, STORED, SWEEP):
            reads += [row] * stage.residual
            need, made, above = stage.lines(0, end)[1], end, stage.lines(0, row + 1)[1]
            reads += [above] * (above < need)
        if made < self.asked[0]:
            if stage.takes:
                reads += self._untaken(need) + [made * stage.along.stride] * stage.residual
            else:
                reads.append(stage.lines(made, made + 1)[0])
        return min(reads, default=None)


# Places


class Widths(NamedTuple):
    """Needed pixels of a layer's lines in a strip; `edge`: 1 if the kernel reaches an odd number of pixels before the
    first of them."""

    n_in: int
    n_mid: int  # between a block's convolutions
    n_out: int
    edge: int  # pixels that the kernel reaches before the needed ones

    @classmethod
    def of(cls, stage: Stage, before: Span, after: Span) -> Widths:
        outside = before[0] - (after[0] * stage.across.stride - stage.across.pad)
        lo, hi = stage.across.middle(after)
        return cls(before[1] - before[0], hi - lo, after[1] - after[0], outside)

    @property
    def in_pairs(self) -> int:
        """W of FORMAT.md, Fast schedules."""
        return (self.edge % 2 + self.n_in + 1) // 2

    @property
    def reached_pairs(self) -> int:
        """V."""
        return (self.edge + self.n_in + 1) // 2

    @property
    def out_pairs(self) -> int:
        """O."""
        return (self.n_out + 1) // 2


def is_eight(stage: Stage) -> bool:
    return stage.cin == 8 and stage.layer.kernel_h == 3 and stage.expands and not stage.as_bytes


def fours(stage: Stage) -> int:
    """C."""
    return -(-stage.cin // 4) * 4


def widened(stage: Stage, widths: Widths) -> int:
    """X of FORMAT.md, Fast schedules."""
    if stage.as_bytes:
        return 0
    return 16 * widths.n_in if is_eight(stage) else 4 * widths.in_pairs * fours(stage)


def row_sums(stage: Stage, widths: Widths) -> int:
    """S."""
    return 2 * widths.out_pairs if stage.layer.stride_h == 2 else 4 * ((widths.out_pairs + 1) // 2)


def row(stage: Stage, widths: Widths) -> int:
    """R."""
    layer = stage.layer
    return 4 * ((row_sums(stage, widths) * layer.stride_h // 2 + layer.kernel_h // 2 + 1) // 2)


def fused_work(stage: Stage, widths: Widths) -> int:
    """What FORMAT.md lists for modes 5 and 6."""
    layer = stage.layer
    r, pixels = layer.stride_h if stage.expands else layer.kernel_h, widths.reached_pairs
    if not stage.expands:
        pixels = (widths.out_pairs if layer.stride_h == 1 else widths.n_out) + 1
    bytes_ = r * widened(stage, widths) if stage.expands else 0
    bytes_ += 4 * widths.out_pairs * layer.group
    sums = 6 if layer.flags & NARROW else 8
    bytes_ += sums * widths.out_pairs * layer.cout * layer.rows if layer.group < layer.cexp else 0
    if layer.kernel_h > 3:
        bytes_ += 4 * row(stage, widths) * r + 4 + 8 * row_sums(stage, widths)
    else:
        bytes_ += 8 * pixels * r + 4
    return bytes_ + (layer.group * kept_lines(stage, widths) if layer.mode == SWEEP else 0)


def kept_lines(stage: Stage, widths: Widths) -> int:
    """Of an expanded channel in modes 5 and 6."""
    layer, pairs = stage.layer, widths.reached_pairs
    if layer.kernel_h > 3:
        return (layer.kernel_h - layer.stride_h) * row(stage, widths)
    return 4 * (pairs if layer.stride_h == 1 else (pairs + 1) // 2)


def wide_bytes(stage: Stage, widths: Widths) -> int:
    """What a layer keeps from line to line besides its input."""
    layer, along = stage.layer, stage.along
    if layer.mode == FAST:
        return layer.cexp * kept_lines(stage, widths)
    if layer.mode == COVER:
        return layer.cout * stage.size if layer.kind == MAXPOOL else 4 * layer.cout
    if stage.block:
        return min(2 * along.half + 1, along.outputs) * widths.n_mid * layer.cexp * stage.size
    return min(along.kernel, along.size) * widths.n_in * layer.cexp * stage.size if layer.mode == ROLLING else 0


def real_work(stage: Stage, widths: Widths) -> int:
    """What FORMAT.md, Float32, lists."""
    layer = stage.layer
    if layer.kind != BOTTLENECK:
        return 0
    if layer.mode != GROUPS:
        return 4 * layer.cexp
    kernel = min(stage.along.kernel, stage.lines_in) * widths.n_in
    return 4 * (layer.rows * widths.n_out * layer.cout + (kernel + 1) * layer.group)


def window_bytes(values: int, n_out: int, pairs: int = 0) -> int:
    """C of FORMAT.md for windows of so many values and lines of n_out pixels. `pairs`: N / 2, or 0 for the usual."""
    q = (values + 3) // 4
    pairs = min(pairs or max(64 // q, 1), (n_out + 1) // 2)
    return 16 * q * pairs + 4 * q


def conv_work(stage: Stage, widths: Widths) -> int:
    """What FORMAT.md lists for convolutions."""
    layer, along, across = stage.layer, stage.along, stage.across
    values, given = along.kernel * across.kernel * stage.cin, layer.group // 2 if layer.mode != GROUPS else 0
    pairs = min(given or max(64 // ((values + 3) // 4), 1), widths.out_pairs)
    block = along.kernel * stage.cin * ((2 * pairs - 1) * across.stride + across.kernel)
    return window_bytes(values, widths.n_out, given) + (block if layer.mode == WINDOW else 0)


def block_work(stage: Stage, widths: Widths) -> int:
    """What FORMAT.md lists for blocks."""
    layer = stage.layer
    first = window_bytes(layer.kernel_h * layer.kernel_w * stage.cin, widths.n_mid)
    second = window_bytes(layer.second_h * layer.second_w * layer.cexp, widths.n_out)
    if not layer.flags & EXPAND:
        return max(first, second)
    return max(first, second, window_bytes(stage.cin, widths.n_out)) + widths.n_out * layer.cout


def work_bytes(stage: Stage, widths: Widths, pooled: bool) -> int:
    """What a layer needs while it makes a chunk; `pooled`: its lines do not go into a map."""
    layer, n_out = stage.layer, widths.n_out
    kernel = min(stage.along.kernel, stage.lines_in) * widths.n_in
    if stage.real:
        channels = layer.group if stage.conv and layer.mode == GROUPS else layer.cout
        return real_work(stage, widths) + (4 * n_out * channels if pooled else 0)
    if layer.mode == COVER or layer.kind not in (CONV, BOTTLENECK, BLOCK):
        bytes_, line = 0, n_out * layer.cout
    elif stage.block:
        bytes_, line = block_work(stage, widths), n_out * layer.cout
    elif stage.conv:
        bytes_ = conv_work(stage, widths)
        line = n_out * (layer.group if layer.mode == GROUPS else layer.cout)
    else:
        bytes_ = {
            DIRECT: layer.cexp,
            ROLLING: layer.cexp,
            GROUPS: 4 * layer.rows * n_out * layer.cout + (kernel + 1) * layer.group,
            STORED: layer.rows * n_out * layer.cexp + kernel * layer.group,
            FAST: fused_work(stage, widths),
            SWEEP: fused_work(stage, widths),
        }[layer.mode]
        line = n_out * layer.cout
    return -(-bytes_ // 4) * 4 + line if pooled else bytes_


def lasting_areas(oracle: Oracle, part: Part) -> dict[Place, Area]:
    """The task's areas that are alive in a segment: sums, and features or what is in their place."""
    head, last, areas = oracle.header, oracle.layers[-1], {}
    if oracle.detect:
        return detection_areas(oracle, part)
    if oracle.maps:
        return last_map_area(oracle) if part.ends else {}
    if oracle.merge and part.stages[0].index < head.layers:
        return stitched_area(oracle, oracle.merge)
    several, concat, logit, feature = (
        head.tunnels > 1 and not oracle.merge,
        head.aggregate == 1,
        *((4, 4) if head.dtype else (2, 1)),
    )
    over_chains = several and not concat
    if part.pools or over_chains:
        one_group = last.kind == CONV and last.mode == GROUPS and not over_chains
        areas[Place("header", 0, "sum_at")] = head.sum_at, 4 * (last.group if one_group else last.cout)
    if part.pools or (several and concat):
        n = last.cout * head.tunnels if concat else last.cout
        if oracle.dense:
            areas[Place("header", 0, "feature_at")] = head.feature_at, feature * n
        else:
            areas[Place("header", 0, "logit_at")] = head.logit_at, logit * n
    return areas


def last_map_area(oracle: Oracle) -> dict[Place, Area]:
    """The output of a raw network or a heat map."""
    h, w, c = oracle.shapes[-1][1]
    size = 4 if oracle.header.dtype else 1
    return {Place("header", 0, "feature_at"): (oracle.header.feature_at, h * w * c * size)}


def detection_areas(oracle: Oracle, part: Part) -> dict[Place, Area]:
    """The stitched map in segments of a chain, the candidates behind the chains."""
    d = oracle.detect
    if part.stages[0].index < oracle.header.layers:
        return stitched_area(oracle, d)
    return {Place("detect", 0, "candidate_at"): (d.candidate_at, 12 * d.top)}


def stitched_area(oracle: Oracle, record) -> dict[Place, Area]:
    cout = oracle.layers[oracle.header.layers - 1].cout
    return {Place("detect", 0, "stitch_at"): (record.stitch_at, record.map_h * record.map_w * cout)}


def map_areas(part: Part) -> dict[Place, Area]:
    record, first, last = part.record, part.stages[0], part.stages[-1]
    areas = {}
    if first.index > 0:
        n = first.lines_in * first.pixels_in * first.cin * first.size_in
        areas[Place("segment", part.index, "in_at")] = record.in_at, n
    if not part.staged:
        n = last.lines_out * last.pixels_out * last.layer.cout * last.size
        areas[Place("segment", part.index, "out_at")] = record.out_at, n
    return areas


def strip_areas(oracle: Oracle, part: Part, strip: Span) -> dict[Place, Area]:
    """All that is alive in one strip of a segment."""
    spans = part.spans(strip)
    areas, work = map_areas(part) | lasting_areas(oracle, part), 0
    for i, stage in enumerate(part.stages):
        layer, pooled = stage.layer, part.staged and stage is part.stages[-1]
        widths = Widths.of(stage, spans[i], spans[i + 1])
        work = max(work, work_bytes(stage, widths, pooled))
        if has_ring(stage, i == 0):
            areas[Place("layer", stage.index, "ring_at")] = (
                layer.ring_at,
                layer.lines * widths.n_in * stage.cin * stage.size_in,
            )
        if stage.takes:
            areas[Place("layer", stage.index, "wide_at")] = layer.wide_at, wide_bytes(stage, widths)
    areas[Place("segment", part.index, "work_at")] = part.record.work_at, work
    areas[Place("segment", part.index, "state_at")] = part.record.state_at, STATE_BYTES * len(part.stages)
    return areas


def end_areas(oracle: Oracle) -> dict[Place, Area]:
    """What is alive behind the layers."""
    if oracle.detect:
        return {}
    if oracle.heat:
        (h, w, _), heat = oracle.shapes[-1][1], oracle.heat
        own = {"cell_at": (heat.cell_at, 2 * h * w), "spot_at": (heat.spot_at, 16 * heat.top)}
        return last_map_area(oracle) | {Place("heatmap", 0, name): area for name, area in own.items()}
    if oracle.maps:
        return last_map_area(oracle)
    head, logits = oracle.header, Place("header", 0, "logit_at")
    last = lasting_areas(oracle, parts(oracle)[-1])
    kept = {place: area for place, area in last.items() if place.field == "feature_at"}
    return kept | {logits: (head.logit_at, (4 if head.dtype else 2) * head.classes)}


def all_areas(oracle: Oracle) -> Iterator[dict[Place, Area]]:
    """What is alive together: once for each strip of each segment, and at the end."""
    for part in parts(oracle):
        for strip in part.strips():
            yield strip_areas(oracle, part, strip)
    yield end_areas(oracle)


def overlap(a: Area, b: Area) -> bool:
    return a[1] > 0 and b[1] > 0 and a[0] < b[0] + b[1] and b[0] < a[0] + a[1]


def both_maps(a: Place, b: Place) -> bool:
    return {a.field, b.field} == {"in_at", "out_at"}


def apart(areas: dict[Place, Area]) -> bool:
    """No two areas overlap, but for an input and an output map: those are looked at row by row."""
    return not any(overlap(areas[a], areas[b]) for a, b in itertools.combinations(areas, 2) if not both_maps(a, b))


def inside(oracle: Oracle, areas: dict[Place, Area]) -> bool:
    return all(at + n <= oracle.header.arena_bytes for at, n in areas.values())


def least_shift(part: Part) -> int | None:
    """How many bytes of the output map, at least, must lie before the input map that it overlaps, so that no input row
    is read after something was written over it. None: any number will do."""
    first, last = part.stages[0], part.stages[-1]
    in_row = first.size_in * first.cin * (first.lines_in if part.columns else first.pixels_in)
    out_row = last.size * last.layer.cout * (last.lines_out if part.columns else last.pixels_out)
    written = Flow(part).written
    if part.columns:
        written = [(strip[1] - 1, part.spans(strip)[0][0]) for strip in part.strips()]
    return max(((row + 1) * out_row - still * in_row for row, still in written if still is not None), default=None)


def rows_are_safe(part: Part) -> bool:
    maps = list(map_areas(part).values())
    if len(maps) < 2 or not overlap(*maps):
        return True
    shift = least_shift(part)
    return shift is None or part.record.out_at + shift <= part.record.in_at


def segment_is_sound(part: Part) -> bool:
    return Flow(part).complete and rows_are_safe(part)


def plan_is_sound(blob: bytes) -> bool:
    """Whether the plan in a blob keeps every rule of FORMAT.md."""
    oracle = Oracle(blob)
    return (
        segments_are_sound(oracle)
        and all(inside(oracle, areas) and apart(areas) for areas in all_areas(oracle))
        and all(segment_is_sound(part) for part in parts(oracle))
    )

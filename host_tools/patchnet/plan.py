"""From a schedule to a plan: which bytes of the arena are whose (modpatchnet/FORMAT.md, The plan).

A schedule says how the chain of layers is cut into segments and how each layer makes its lines. What follows from it
is counted here and nowhere else: how many lines a ring must hold, how far an output map may lie over its input map,
the work area, the arena. `planner` chooses schedules, `pack` writes plans, `analyze` shows them.

All sizes and places are bytes. Lines are rows of a whole map or, in strips, the columns of a strip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from .design import Layer, Network
from .fast import eight, fast_modes, fours
from .format import ALIGN, CANDIDATE_BYTES, MAX_FUSED, MAX_SIDE, QUAD_BYTES, STATE_BYTES, WIDENED_BYTES
from .format import MODE_DIRECT as DIRECT
from .format import MODE_FAST as FAST
from .format import MODE_GROUPS as GROUPS
from .format import MODE_ROLLING as ROLLING
from .format import MODE_STORED as STORED
from .format import MODE_SWEEP as SWEEP
from .format import MODE_WINDOW as WINDOW

Choice = tuple[int, int, int]  # a layer's mode, rows and group
MODE_NAMES = ("direct", "rolling", "window", "groups", "stored", "fast", "sweep")


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

    `steps` has one entry per layer of `Network.run()`.
    """

    arena_bytes: int
    sum_at: int
    feature_at: int
    logit_at: int
    segments: tuple[Segment, ...]
    steps: tuple[Step, ...]
    stitch_at: int = 0
    candidate_at: int = 0


def aligned(n: int) -> int:
    return -(-n // ALIGN) * ALIGN


def spectrum_bytes(network: Network) -> int:
    """Of the arena, for a frame's spectrum, while the network does not run. 0 without a front-end."""
    return 4 * network.audio.fft if network.audio else 0


def stream_bytes(network: Network) -> int:
    """Of the arena, above all else, for what outlasts a run: averaged scores, a frame's samples, rows. 0 without a
    front-end."""
    if network.audio is None:
        return 0
    return 4 * len(network.labels) + aligned(2 * network.audio.frame) + network.height * network.width


def map_bytes(layer: Layer) -> int:
    """int8 output map."""
    return layer.oh * layer.ow * layer.cout


def block_name(network: Network, i: int) -> str:
    """How a layer of `run()` is called in messages and tables: "stem", "block 3", "head"; "head 1" of detection."""
    layers = network.layers()
    if i in network.heads():
        return f"head {network.heads().index(i) + 1}"
    if i >= len(layers):
        return f"{'block' if network.run()[i].kind == 'bottleneck' else 'conv'} {i}"
    if layers[i].kind == "bottleneck":
        return f"block {i}"
    return "stem" if i == 0 else "head" if i == len(layers) - 1 else f"conv {i}"


# ---------------------------------------------------------------- lines


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


def takes_lines(layer: Layer, mode: int) -> bool:
    """Whether a layer brings each input line into its own memory once; only the residual is read again."""
    return layer.expand and mode in (ROLLING, FAST)


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
    flows, demands = [], (part[-1].lines.lines_out,)
    for view, (_, rows, _) in zip(reversed(part), reversed(schedule), strict=True):
        flows.append(flow(view.lines, demands, rows))
        demands = flows[-1].asks
    flows.reverse()
    first = part[0].lines
    lines = [min(first.kernel, first.lines_in) if from_picture and schedule[0][0] == DIRECT else 0]
    for view, (mode, _, _), own, before in zip(part[1:], schedule[1:], flows[1:], flows, strict=False):
        lines.append(max(kept_lines(own, view.layer, mode), before.chunk))
    return lines, flows


# ---------------------------------------------------------------- sizes


def work_parts(view: View, step: Choice, first: bool, pools: bool) -> dict[str, int]:
    """What a layer needs at `work_at` while it makes a chunk. `first`: layer 0, which reads the picture.

    `pools`: the network's last layer, whose lines are staged on their way to the pooling.
    """
    layer, (mode, rows, group) = view.layer, step
    parts = dict(sums=0, window=0, group_ring=0, values=0, staging=0)
    kept = min(layer.kernel, view.lines.lines_in)
    if layer.kind == "bottleneck":
        if mode == GROUPS:
            parts |= dict(sums=4 * rows * view.n_out * layer.cout, group_ring=kept * view.n_in * group, values=group)
        elif mode in (FAST, SWEEP):
            parts |= _fused_work(view, step)
        elif mode == STORED:
            parts |= dict(values=rows * view.n_out * layer.cexp, group_ring=kept * view.n_in * group)
        else:
            parts["values"] = layer.cexp
    else:
        quads, pixels = conv_quads(layer), conv_pixels(view, step)
        parts["values"] = 8 * quads * pixels + 16 * quads + 36
    if mode == WINDOW and first:
        parts["window"] = layer.kernel * ((pixels - 1) * layer.stride + layer.kernel) * layer.cin
    elif mode == WINDOW:
        needed = min(view.lines.lines_in, (rows - 1) * layer.stride + layer.kernel)
        parts["window"] = layer.kernel * needed * layer.cexp
    if pools:
        grouped = layer.kind == "conv" and mode == GROUPS
        together = rows if layer.kind == "bottleneck" and mode == WINDOW else 1
        parts["staging"] = together * view.n_out * (group if grouped else layer.cout)
    return parts


def conv_quads(layer: Layer) -> int:
    """Fours of values of a convolution's window."""
    return -(-(layer.kernel**2) * layer.cin // 4)


def conv_pixels(view: View, step: Choice) -> int:
    """Pixels of an output line that a convolution makes at a time, an even number."""
    mode, _, group = step
    most = 2 * max(1, WIDENED_BYTES // QUAD_BYTES // conv_quads(view.layer)) if mode == GROUPS or not group else group
    return min(most, 2 * -(-view.n_out // 2))


def _widened_line(view: View) -> int:
    """Bytes of a line of 16-bit pixels (FORMAT.md, Fast schedules: X)."""
    layer = view.layer
    return 16 * view.n_in if eight(layer) else 4 * ((view.padded + 1) // 2) * fours(layer.cin)


def _row_sums(view: View) -> int:
    """Sums of a channel that kernels above 3 keep (FORMAT.md, Fast schedules: S)."""
    pairs = (view.n_out + 1) // 2
    return (pairs + 1) // 2 * 4 if view.layer.stride == 1 else 2 * pairs


def _row_bytes(view: View) -> int:
    """Bytes of an expanded row of a channel under kernels above 3 (R)."""
    layer = view.layer
    return (_row_sums(view) * layer.stride // 2 + layer.kernel // 2 + 1) // 2 * 4


def _kept(view: View) -> int:
    """Bytes of an expanded channel's lines that are kept from line to line in modes fast and sweep."""
    layer, words = view.layer, (view.padded + 1) // 2
    if layer.kernel > 3:
        return (layer.kernel - layer.stride) * _row_bytes(view)
    return 4 * (words if layer.stride == 1 else (words + 1) // 2)


def _fused_work(view: View, step: Choice) -> dict[str, int]:
    layer, (mode, chunk, group), words, pairs = view.layer, step, (view.padded + 1) // 2, (view.n_out + 1) // 2
    lines = layer.stride if layer.expand else layer.kernel
    gap = 12 if eight(layer) and layer.stride == 2 else 4
    sums = 8 * pairs * layer.cout * chunk if group < layer.cexp else 0
    if not layer.expand:
        words = (pairs if layer.stride == 1 else view.n_out) + 1
    elif layer.kernel > 3:
        words = _row_bytes(view) // 2
        sums += 8 * _row_sums(view)
    return dict(
        window=(lines * _widened_line(view) if layer.expand else 0) + 8 * words * lines + gap,
        values=4 * pairs * group,
        sums=sums,
        group_ring=max(0 if eight(layer) or not layer.expand else 4 * fours(layer.cin) + 20, 4 * group + 36)
        + (group * _kept(view) if mode == SWEEP else 0),
    )


def work_bytes(parts: dict[str, int]) -> int:
    """Bytes at `work_at` of one layer: its staged lines begin at a multiple of 4."""
    return aligned(sum(parts.values()) - parts["staging"]) + aligned(parts["staging"])


def wide_bytes(view: View, mode: int) -> int:
    """What a layer keeps from line to line: expanded lines."""
    layer = view.layer
    if not takes_lines(layer, mode):
        return 0
    if mode == ROLLING:
        return min(layer.kernel, view.lines.lines_in) * view.n_in * layer.cexp
    return layer.cexp * _kept(view)


def lead(part: Sequence[View], strip: int, mode: int, rows: int) -> int:
    """Bytes by which an input map must lie above the output map over it: no row is read after it was written over.

    `mode` is the first layer's, `rows` those of the last layer's chunks.
    """
    first, last = part[0].layer, part[-1].layer
    row_in, row_out = first.w * first.cin, last.ow * last.cout
    reads = _strip_reads(part, strip) if strip < last.oh else _row_reads(part, mode, rows)
    return aligned(max(0, max(written * row_out - lowest * row_in for written, lowest in reads)))


def _strip_reads(part: Sequence[View], strip: int) -> Iterator[tuple[int, int]]:
    """(output rows written, lowest input row read then or later) after each strip."""
    for start, end in strips(part[-1].layer, strip):
        lowest = start
        for view in reversed(part):
            lowest = max(0, lowest * view.layer.stride - view.layer.kernel // 2)
        yield end, lowest


def _row_reads(part: Sequence[View], mode: int, rows: int) -> Iterator[tuple[int, int]]:
    """(output rows written, lowest input row read then or later) at each writing of output rows."""
    first, last = part[0], part[-1]
    for start, end in chunks((last.lines.lines_out,), rows):
        if len(part) > 1:
            made = end
            for view in reversed(part[1:]):
                made = view.lines.need(made)
            yield end, _still_read(first, mode, made)
        elif mode == WINDOW or not first.layer.expand:
            yield end, first.lines.lowest(start)
        else:  # row by row: the chunk's next rows are expanded later, as are those of the next chunk
            later = _still_read(first, mode, end)
            for row in range(start, end):
                yield row + 1, min(later, row if first.layer.residual else first.lines.need(row + 1))


def _still_read(view: View, mode: int, made: int) -> int:
    """The lowest input row that a layer, `made` of whose output rows are there, has yet to read."""
    if not takes_lines(view.layer, mode):
        return view.lines.lowest(made)
    expanded = view.lines.need(made)
    return min(made, expanded) if view.layer.residual else expanded


@dataclass(frozen=True)
class Areas:
    """Bytes that are alive together in a segment. `rings`, `wides` and `works` have one entry per layer.

    `persistent` is what outlives the segment: feature sums, features. The input map begins `lead` bytes after the
    output map (before it, if negative, as only a plan from elsewhere may have it). `works` are the parts of each
    layer's work (sums, window, group_ring, values, staging); `work` is the area that they share. Rings and maps begin
    at multiples of 4: `total` counts that too.
    """

    persistent: int
    input: int
    output: int
    lead: int
    rings: tuple[int, ...]
    wides: tuple[int, ...]
    state: int
    work: int
    works: tuple[dict[str, int], ...]

    @property
    def maps(self) -> int:
        """Input and output map together."""
        span = max(self.lead + self.input, self.output) - min(self.lead, 0)
        return min(aligned(span), aligned(self.input) + aligned(self.output))

    @property
    def overlap(self) -> int:
        """Bytes that belong to both maps."""
        return max(0, min(self.lead + self.input, self.output) - max(self.lead, 0))

    @property
    def total(self) -> int:
        rings = sum(map(aligned, self.rings)) + sum(map(aligned, self.wides))
        return self.persistent + self.maps + rings + self.state + self.work


def areas(network: Network, plan: Plan, index: int) -> Areas:
    """What lies in the arena while segment `index` of a plan runs."""
    layers, segment = network.run(), plan.segments[index]
    stop = segment.first + segment.layers
    part = views(tuple(layers[segment.first : stop]), segment.strip)
    steps = plan.steps[segment.first : stop]
    schedule = [(step.mode, step.rows, step.group) for step in steps]
    lasting = Lasting.of(network, plan.steps[-1])
    last = staged(network, stop)
    found = segment_areas(part, segment.strip, schedule, segment.first == 0, last, [step.lines for step in steps])
    above = segment.in_at - segment.out_at if found.input and found.output else 0
    return replace(found, persistent=lasting.during(network, stop), lead=above)


def staged(network: Network, stop: int) -> bool:
    """Whether the lines of a segment that ends before layer `stop` of `run()` do not go into a map of its own: they
    go to the pooling, the stitched map or the candidates."""
    return stop == len(network.layers()) or stop - 1 in network.heads()


def segment_areas(
    part: Sequence[View],
    strip: int,
    schedule: Sequence[Choice],
    first: bool,
    last: bool,
    lines: Sequence[int] | None = None,
) -> Areas:
    """The areas of a segment by itself, nothing persistent counted, its maps one over the other as far as may be.

    `first`, `last`: it reads the picture, its lines do not go into a map (`staged`). `lines` are the rings' if they are
    known already.
    """
    n = len(part)
    if lines is None:
        lines, _ = ring_lines(part, schedule, first)
    works = tuple(
        work_parts(view, step, first and i == 0, last and i == n - 1)
        for i, (view, step) in enumerate(zip(part, schedule, strict=True))
    )
    size_in = 0 if first else part[0].layer.h * part[0].layer.w * part[0].layer.cin
    size_out = 0 if last else map_bytes(part[-1].layer)
    return Areas(
        persistent=0,
        input=size_in,
        output=size_out,
        lead=lead(part, strip, schedule[0][0], schedule[-1][1]) if size_in and size_out else 0,
        rings=tuple(k * view.n_in * view.layer.cin for k, view in zip(lines, part, strict=True)),
        wides=tuple(wide_bytes(view, step[0]) for view, step in zip(part, schedule, strict=True)),
        state=STATE_BYTES * n,
        work=max(map(work_bytes, works)),
        works=works,
    )


@dataclass(frozen=True)
class Lasting:
    """Places of feature sums, features and logits; what outlives all segments, or the last one; the end's need.

    For detection the stitched map outlives the segments of the tunnels, and `tail`, the candidates, all others.
    """

    sum_at: int
    feature_at: int
    logit_at: int
    below: int
    below_last: int
    end: int
    tail: int = 0

    def during(self, network: Network, stop: int) -> int:
        """Bytes that outlive the segment that ends before layer `stop`."""
        n = len(network.layers())
        return self.tail if stop > n else self.below_last if stop == n else self.below

    @classmethod
    def of(cls, network: Network, last: Step) -> Lasting:
        """`last` is the step of the last layer of all."""
        layer, several = network.layers()[-1], network.tunnels > 1
        if network.detection:
            (h, w), top = network.stitched, network.detection.top
            stitched = aligned(h * w * layer.cout)
            return cls(0, 0, 0, stitched, stitched, 0, CANDIDATE_BYTES * top)
        sums, features = 4 * layer.cout, aligned(network.features)
        logits = 2 * len(network.labels)
        if several and network.aggregate == "sum":
            return cls(0, sums, sums + features, sums, sums + features, aligned(sums + features + logits))
        if layer.kind == "conv" and last.mode == GROUPS:
            sums = 4 * last.group
        return cls(features, 0, features, features if several else 0, features + sums, aligned(features + logits))


# ---------------------------------------------------------------- places


def modes(layer: Layer, first: bool, alone: bool) -> tuple[int, ...]:
    """Modes that a layer may run in. `first`: it reads the picture. `alone`: all of an unstripped segment that feeds
    the pooling."""
    if first:
        return DIRECT, WINDOW
    if layer.kind == "conv":
        return (DIRECT, GROUPS) if alone else (DIRECT,)
    return ((ROLLING, WINDOW, GROUPS, STORED) if layer.expand else (DIRECT,)) + fast_modes(layer)


def _check_range(where: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{where}: wanted {low}..{high}, got {value}")


def _check(part: Sequence[View], strip: int, schedule: Sequence[Choice], first: int, pools: bool) -> None:
    """ValueError naming layer and field of the first thing in a segment's schedule that FORMAT.md forbids."""
    for i, (view, (mode, rows, group)) in enumerate(zip(part, schedule, strict=True), first):
        layer = view.layer
        allowed = modes(layer, i == 0, pools and len(part) == 1 and strip == layer.oh)
        if mode not in allowed:
            names = " or ".join(MODE_NAMES[m] for m in allowed)
            raise ValueError(f"layer {i}: mode: wanted {names}, got {mode}")
        chunked = layer.kind == "bottleneck" and mode in (WINDOW, GROUPS, STORED, SWEEP)
        _check_range(f"layer {i}: rows", rows, 1, view.lines.lines_out if chunked else 1)
        grouped, pixels = mode in (GROUPS, STORED, FAST, SWEEP), layer.kind == "conv" and mode != GROUPS
        channels = layer.cexp if layer.kind == "bottleneck" else layer.cout
        multiple = 4 if mode in (FAST, SWEEP) else 2 if pixels else 1
        if group % multiple:
            raise ValueError(f"layer {i}: group: wanted a multiple of {multiple}, got {group}")
        _check_range(f"layer {i}: group", group, int(grouped), channels if grouped else MAX_SIDE if pixels else 0)


def place(network: Network, schedule: Sequence[tuple[int, Sequence[Choice]]], packed: bool = True) -> Plan:
    """Lays out the arena for a schedule: (strip, [(mode, rows, group) of each layer]) of each segment, in order.

    Not `packed`, output maps lie beside their input maps, never over them. ValueError, naming the layer, if the
    schedule is not one that FORMAT.md allows.
    """
    layers, n = tuple(network.run()), len(network.layers())
    total = sum(len(steps) for _, steps in schedule)
    if total != len(layers):
        raise ValueError(f"schedule: wanted {len(layers)} layers, got {total}")
    lasting = Lasting.of(network, Step(*schedule[-1][1][-1]))
    arena, tail, first = lasting.end, 0, 0
    segments, steps = [], []
    for strip, parts in schedule:
        stop = first + len(parts)
        _check_range(f"layer {first}: layers of a segment", len(parts), 1, MAX_FUSED)
        _check_range(f"layer {stop - 1}: strip", strip, 1, layers[stop - 1].oh)
        _check_ends(network, layers, first, stop, strip)
        last = staged(network, stop)
        part = views(layers[first:stop], strip)
        _check(part, strip, parts, first, stop == n and not network.detection)
        base = (
            lasting.during(network, stop) if stop <= n else 0
        )  # the candidates lie above all that follows the tunnels
        segment, placed, end = _place_segment(part, strip, parts, first, last, base, packed)
        segments.append(segment)
        steps.extend(placed)
        arena, tail, first = max(arena, end), max(tail, end if stop > n else 0), stop
    places = lasting.sum_at, lasting.feature_at, lasting.logit_at
    arena = max(arena, tail + lasting.tail)
    if network.audio:
        arena = aligned(max(arena, spectrum_bytes(network))) + stream_bytes(network)
    return Plan(arena, *places, tuple(segments), tuple(steps), candidate_at=tail)


def _check_ends(network: Network, layers: Sequence[Layer], first: int, stop: int, strip: int) -> None:
    """ValueError if a segment of layers first..stop - 1 joins what must be apart."""
    inner = {len(network.layers()), *(head + 1 for head in network.heads())} - {len(layers)}
    if network.detection and inner & set(range(first + 1, stop)):
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

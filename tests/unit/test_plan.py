"""Places: rings, overlaps and areas against a little engine that moves line numbers instead of pixels."""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

import networks
from cases import random_schedule
from patchnet.format import STATE_BYTES
from patchnet.net.layers import Layer, pair
from patchnet.net.network import Network, aligned
from patchnet.net.recipe import Stage, patch_tunnels
from patchnet.plan.modes import COVER, DIRECT, GROUPS, ROLLING, STORED, WINDOW
from patchnet.plan.place import areas, place

VWW = patch_tunnels(
    "vww", ("no_person", "person"), 66, 66, k=4, central=True, margin_h=9, margin_w=9, stem_out=16,
    stages=(Stage(24, 1, 1), Stage(32, 2, 2), Stage(48, 2, 2), Stage(64, 1, 1)),
)  # fmt: skip


class Side(NamedTuple):
    """A layer along lines or across them: kernel, stride and padding, how far a block's second kernel reaches, and how
    many positions go in and come out."""

    kernel: int
    stride: int
    pad: int
    half: int
    size: int
    outputs: int

    def between(self, outs: Iterable[int]) -> set[int]:
        """Outputs of the (first) kernel from which these follow: of a block, those under the second one."""
        around = range(-self.half, self.half + 1)
        return {o + d for o in outs for d in around if 0 <= o + d < self.outputs}

    def under(self, outs: Iterable[int]) -> range:
        """From the first to the last input under these outputs of the (first) kernel."""
        tops = [o * self.stride - self.pad for o in outs]
        inside = [i for top in tops for i in range(top, top + self.kernel) if 0 <= i < self.size]
        return range(min(inside), max(inside) + 1)

    def reach(self, outs: Iterable[int]) -> range:
        return self.under(self.between(outs))

    @property
    def skips(self) -> bool:
        """Whether there are inputs between the kernels of two outputs, that none reads."""
        return self.stride > self.kernel


def sides(layer: Layer, whole: bool) -> tuple[Side, Side]:
    """Along lines and across them: these are rows of the whole map, or columns."""
    (second_h, second_w), (top, _, left, _) = pair(layer.second), layer.pad
    rows = Side(layer.kh, layer.sh, top, second_h // 2, layer.h, layer.oh)
    columns = Side(layer.kw, layer.sw, left, second_w // 2, layer.w, layer.ow)
    return (rows, columns) if whole else (columns, rows)


class Ring:
    """The last `size` lines of a layer's input: reading one that was written over, or is not there yet, fails."""

    def __init__(self, size: int):
        self.lines = [None] * size

    def write(self, line: int) -> None:
        self.lines[line % len(self.lines)] = line

    def read(self, lines: Iterable[int]) -> None:
        for line in lines:
            assert self.lines[line % len(self.lines)] == line


class Stream:
    """A segment, step by step as the engine takes them.

    `log`: ("read", lowest map line) and ("write", lines written); `expanded`: lines that each layer has expanded, of a
    block those that it has made between its convolutions.
    """

    def __init__(self, layers, steps, whole: bool, from_picture: bool):
        self.layers, self.steps, self.log = layers, steps, []
        self.done, self.fresh, self.expanded = ([0] * len(layers) for _ in range(3))
        self.sides = [sides(layer, whole)[0] for layer in layers]
        self.rings = [Ring(step.lines) for step in steps]
        self.wides = [Ring(wide_lines(layer, side)) for layer, side in zip(layers, self.sides, strict=True)]
        self.from_picture = from_picture

    def run(self) -> list:
        while self.done[-1] < self.sides[-1].outputs:
            self.step()
        return self.log

    def step(self) -> None:
        i, demand = len(self.layers) - 1, self.sides[-1].outputs
        while True:
            chunk = range(self.done[i], min(self.done[i] + self.steps[i].rows, demand))
            need = self.sides[i].reach(chunk).stop
            there = self.done[i - 1] if i else need
            if self.takes(i, chunk, there):
                return
            if there >= need:
                return self.make(i, chunk)
            i, demand = i - 1, need

    def takes(self, i: int, chunk: range, there: int) -> bool:
        """Takes in a line by itself, if the layer does that and one is there."""
        side = self.sides[i]
        if self.steps[i].mode not in (ROLLING, COVER):
            return False
        if self.layers[i].kind == "block":
            line, stop = self.fresh[i], max(side.between(chunk)) + 1
            lines = side.under([line]) if line < stop else range(there + 1)
        else:
            line = max(self.fresh[i], side.reach(chunk).start)
            lines = range(line, line + 1)
        if lines.stop > there:
            return False
        if i == 0 and self.from_picture:
            self.rings[0].write(line)
        self.read(i, lines)
        self.wides[i].write(line)
        self.fresh[i] = line + 1
        self.expanded[i] += 1
        return True

    def read(self, i: int, lines: range) -> None:
        if i:
            self.rings[i].read(lines)
        elif not self.from_picture:
            self.log.append(("read", lines.start))

    def write(self, i: int, line: int) -> None:
        """A line that comes out."""
        self.done[i] = line + 1
        if i + 1 < len(self.layers):
            self.rings[i + 1].write(line)
        else:
            self.log.append(("write", line + 1))

    def sample(self, lines: range) -> None:
        for line in lines:
            self.rings[0].write(line)
        self.rings[0].read(lines)

    def make(self, i: int, chunk: range) -> None:
        layer, mode, side = self.layers[i], self.steps[i].mode, self.sides[i]
        lines = side.reach(chunk)
        if i == 0 and self.from_picture and mode == DIRECT:
            self.sample(lines)
        elif mode == ROLLING:
            self.wides[i].read(side.between(chunk) if layer.kind == "block" else lines)
        elif mode != COVER:
            self.read(i, lines)
            self.expanded[i] += len({y for line in chunk for y in side.reach([line])})
        for line in chunk:
            self.write(i, line)
            if mode in (DIRECT, WINDOW):
                self.read(i, lines)
            elif layer.residual or layer.kind == "block":
                self.read(i, range(line * side.stride, line * side.stride + 1))
            below = [y for y in side.reach(range(line, chunk.stop)) if y >= side.reach([line]).stop]
            if mode in (GROUPS, STORED) and below:
                self.read(i, range(max(below[0], side.reach([line + 1]).start), lines.stop))


def wide_lines(layer: Layer, side: Side) -> int:
    """Lines that a layer of mode rolling keeps."""
    return min(2 * side.half + 1, side.outputs) if layer.kind == "block" else min(side.kernel, side.size)


def strip_log(layers, strip: int) -> list:
    """("read", lowest input row) and ("write", rows) of a segment cut into strips, as FORMAT.md bounds them."""
    log = []
    for top in range(0, layers[-1].oh, strip):
        rows = range(top, min(layers[-1].oh, top + strip))
        for layer in reversed(layers):
            rows = sides(layer, True)[0].reach(rows)
        log += [("read", rows[0]), ("write", min(layers[-1].oh, top + strip)), ("read", rows[0])]
    return log


def safe_lead(log, row_in: int, row_out: int) -> int:
    """The least bytes from the output map's first byte to the input map's, by walking the log backwards."""
    lowest, lead = None, 0
    for what, line in reversed(log):
        if what == "read":
            lowest = line if lowest is None else min(lowest, line)
        elif lowest is not None:
            lead = max(lead, line * row_out - lowest * row_in)
    return lead


def map_lead(chain, steps, strip: int) -> int:
    """Bytes that a segment's input map must lie above its output map."""
    whole = strip == chain[-1].oh
    log = Stream(chain, steps, whole, False).run() if whole else strip_log(chain, strip)
    return safe_lead(log, chain[0].w * chain[0].cin, chain[-1].ow * chain[-1].cout)


def parts(network: Network, plan):
    """(segment, its layers, its steps) of a plan, one by one."""
    for segment in plan.segments:
        stop = segment.first + segment.layers
        yield segment, network.layers()[segment.first : stop], plan.steps[segment.first : stop]


def random_plan(seed: int) -> tuple:
    """A random network and a random plan of it."""
    rng = np.random.default_rng(seed)
    network = networks.random_network(rng)
    return network, place(network, random_schedule(rng, network))


@pytest.mark.parametrize("seed", range(100))
def test_rings_are_just_large_enough(seed):
    network, plan = random_plan(seed)
    for segment, chain, steps in parts(network, plan):
        whole = segment.strip == chain[-1].oh
        Stream(chain, steps, whole, segment.first == 0).run()
        for i in range(1, len(chain)):
            if sides(chain[i], whole)[0].skips:  # where unread lines come with others a smaller one may do
                continue
            smaller = [replace(s, lines=s.lines - (j == i)) for j, s in enumerate(steps)]
            with pytest.raises((AssertionError, ZeroDivisionError)):
                Stream(chain, smaller, whole, segment.first == 0).run()


@pytest.mark.parametrize("seed", range(100))
def test_maps_lie_over_each_other_as_far_as_is_safe(seed):
    network, plan = random_plan(seed)
    for segment, chain, steps in parts(network, plan):
        last = segment.first + segment.layers == len(network.layers())
        if segment.first == 0 or last:
            continue
        least, lead = map_lead(chain, steps, segment.strip), segment.in_at - segment.out_at
        size_in, size_out = chain[0].h * chain[0].w * chain[0].cin, chain[-1].oh * chain[-1].ow * chain[-1].cout
        assert lead >= least
        if not any(side.skips for layer in chain for side in sides(layer, True)):
            assert lead <= aligned(max(least, size_out - size_in))


def test_maps_apart():
    network = VWW
    schedule = [(layer.oh, [(DIRECT, 1, 0) if i == 0 else (ROLLING, 1, 0)]) for i, layer in enumerate(network.layers())]
    plan = place(network, schedule, packed=False)
    for i, segment in enumerate(plan.segments[1:-1], 1):
        a = areas(network, plan, i)
        assert segment.in_at - segment.out_at >= a.output and a.overlap == 0
    assert plan.arena_bytes > place(network, schedule).arena_bytes


def reached(chain, strip: int) -> list[list[tuple[int, int, int]]]:
    """(n in, n mid, n out) of each layer in each strip, by marking what is needed."""
    whole = strip == chain[-1].oh
    found = [[] for _ in chain]
    for top in [0] if whole else range(0, chain[-1].oh, strip):
        out = range(chain[-1].ow) if whole else range(top, min(chain[-1].oh, top + strip))
        for i, layer in reversed(list(enumerate(chain))):
            across = sides(layer, whole)[1]
            inside = across.reach(out)
            found[i].append((len(inside), len(across.between(out)), len(out)))
            out = inside
    return found


def windows(values: int, most: int, pixels: int) -> tuple[int, int]:
    """FORMAT.md's N and C of windows of so many values; `most`: the group that N is, or 0."""
    quads = (values + 3) // 4
    n = min(most or max(128 // quads // 2 * 2, 2), pixels + pixels % 2)
    return n, 8 * quads * n + 4 * quads


def conv_work(layer, step, along: Side, across: Side, n_out: int) -> int:
    """C, and what layer 0 samples in mode window."""
    n, c = windows(layer.taps * layer.cin, 0 if step.mode == GROUPS else step.group, n_out)
    sampled = along.kernel * ((n - 1) * across.stride + across.kernel) * layer.cin
    return c + (sampled if step.mode == WINDOW else 0)


def block_work(layer, n_mid: int, n_out: int) -> int:
    second_h, second_w = pair(layer.second)
    each = [(layer.taps * layer.cin, n_mid), (second_h * second_w * layer.cexp, n_out), (layer.cin, n_out)]
    most = max(windows(values, 0, pixels)[1] for values, pixels in each[: 2 + layer.expand])
    return most + (n_out * layer.cout if layer.expand else 0)


def bottleneck_work(layer, step, along: Side, n_in: int, n_out: int) -> int:
    rows, group, ring = step.rows, step.group, min(along.kernel, along.size) * n_in * step.group
    return {
        DIRECT: layer.cexp,
        ROLLING: layer.cexp,
        GROUPS: 4 * rows * n_out * layer.cout + ring + group,
        STORED: rows * n_out * layer.cexp + ring,
    }[step.mode]


def work(layer, step, along: Side, across: Side, widths: tuple[int, int, int], last: bool) -> int:
    """FORMAT.md's table of modes, its last column, and the place for lines on their way to the pooling."""
    (n_in, n_mid, n_out), own = widths, 0
    if layer.kind == "conv" and step.mode != COVER:
        own = conv_work(layer, step, along, across, n_out)
    elif layer.kind == "block":
        own = block_work(layer, n_mid, n_out)
    elif layer.kind == "bottleneck":
        own = bottleneck_work(layer, step, along, n_in, n_out)
    channels = step.group if step.mode == GROUPS and layer.kind == "conv" else layer.cout
    return aligned(own) + (n_out * channels if last else 0)


def wide_bytes(layer, step, along: Side, widths: tuple[int, int, int]) -> int:
    n_in, n_mid, _ = widths
    if step.mode == COVER:
        return layer.cout if layer.kind == "maxpool" else 4 * layer.cout
    pixels = n_mid if layer.kind == "block" else n_in
    return wide_lines(layer, along) * pixels * layer.cexp if step.mode == ROLLING else 0


def live_areas(network: Network, plan, segment, chain, steps) -> list[tuple[int, int]]:
    """(first byte, bytes) of rings, wide rings, state and work of a segment."""
    whole = segment.strip == chain[-1].oh
    out, most = [(segment.state_at, STATE_BYTES * len(chain))], 0
    for i, (layer, step, found) in enumerate(zip(chain, steps, reached(chain, segment.strip), strict=True)):
        widths, (along, across) = tuple(max(column) for column in zip(*found, strict=True)), sides(layer, whole)
        out.append((step.ring_at, step.lines * widths[0] * layer.cin))
        out.append((step.wide_at, wide_bytes(layer, step, along, widths)))
        last = segment.first + i == len(network.layers()) - 1
        most = max(most, work(layer, step, along, across, widths, last))
    return [*out, (segment.work_at, most)]


@pytest.mark.parametrize("seed", range(100))
def test_live_areas_are_apart(seed):
    """FORMAT.md's rules on what may not overlap, byte by byte."""
    network, plan = random_plan(seed)
    last, several, added = network.layers()[-1], network.tunnels > 1, network.end.aggregate == "sum"
    grouped = last.kind == "conv" and plan.steps[-1].mode == GROUPS and not (several and added)
    sums = plan.places["sum_at"], 4 * (plan.steps[-1].group if grouped else last.cout)
    features, logits = (plan.places["feature_at"], network.features), (plan.places["logit_at"], 2 * len(network.labels))
    lasting = [sums if added else features] if several else []
    tops = []
    for index, (segment, chain, steps) in enumerate(parts(network, plan)):
        at_end = index == len(plan.segments) - 1
        live = live_areas(network, plan, segment, chain, steps) + ([sums, features] if at_end else lasting)
        size_in = chain[0].h * chain[0].w * chain[0].cin if index else 0
        size_out = 0 if at_end else chain[-1].oh * chain[-1].ow * chain[-1].cout
        tops += [alone(plan, one, *live) for one in ((segment.in_at, size_in), (segment.out_at, size_out))]
        assert 0 <= areas(network, plan, index).total - max(tops[-2:]) < 4
    tops.append(alone(plan, features, logits, *([sums] if several and added else [])))
    assert 0 <= plan.arena_bytes - max(tops) < 4
    places = [*plan.places.values(), *(s.in_at for s in plan.segments)]
    places += [at for s in plan.segments for at in (s.out_at, s.state_at, s.work_at)]
    places += [at for s in plan.steps for at in (s.ring_at, s.wide_at)]
    assert not any(at % 4 for at in places)


def alone(plan, *live) -> int:
    """No byte has two owners; returns the end of the highest area."""
    owners = np.zeros(plan.arena_bytes, int)
    for at, size in live:
        assert at >= 0 and at + size <= plan.arena_bytes
        owners[at : at + size] += 1
    assert owners.max(initial=0) <= 1
    return max(at + size for at, size in live)


STEM, BLOCK = (DIRECT, 1, 0), (ROLLING, 1, 0)


@pytest.mark.parametrize(
    "schedule, message",
    [
        ([(21, [STEM])], "schedule: wanted 7 layers, got 1"),
        ([(21, []), (6, [STEM] + 6 * [BLOCK])], "layer 0: layers of a segment: wanted 1..16, got 0"),
        ([(7, [STEM] + 6 * [BLOCK])], "layer 6: strip: wanted 1..6, got 7"),
        ([(6, 7 * [BLOCK])], "layer 0: mode: wanted direct or window, got 1"),
        (
            [(6, [STEM, (WINDOW, 1, 0)] + 5 * [BLOCK])],
            "layer 1: mode: wanted rolling or groups or stored or fast or sweep or fast bytes or sweep bytes, got 2",
        ),
        (
            [(6, 7 * [STEM])],
            "layer 1: mode: wanted rolling or groups or stored or fast or sweep or fast bytes or sweep bytes, got 0",
        ),
        ([(6, [STEM] + 5 * [BLOCK] + [(ROLLING, 2, 0)])], "layer 6: rows: wanted 1..1, got 2"),
        ([(6, [STEM] + 5 * [BLOCK] + [(STORED, 7, 4)])], "layer 6: rows: wanted 1..6, got 7"),
        ([(6, [STEM] + 5 * [BLOCK] + [(ROLLING, 1, 4)])], "layer 6: group: wanted 0..0, got 4"),
        ([(6, [STEM] + 5 * [BLOCK] + [(GROUPS, 1, 289)])], "layer 6: group: wanted 1..288, got 289"),
        ([(6, [STEM] + 5 * [BLOCK] + [(STORED, 1, 0)])], "layer 6: group: wanted 1..288, got 0"),
    ],
)
def test_schedules_that_are_refused(schedule, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        place(VWW, schedule)


def test_by_hand():
    """Stem and block 1 fused over rows, 42x42x3 > 21x21x16 > 21x21x24, expansion 96; then the others one by one."""
    schedule = [(21, [STEM, BLOCK]), *((layer.oh, [BLOCK]) for layer in VWW.layers()[2:])]
    a = areas(VWW, place(VWW, schedule), 0)
    assert (a.input, a.output, a.persistent) == (0, 21 * 21 * 24, 4 * 64)
    assert a.rings == (3 * 42 * 3, 21 * 16) and a.wides == (0, 3 * 21 * 96)
    assert a.state == 2 * STATE_BYTES and a.work == (8 * 18 + 4) * 7
    assert a.total == 4 * 64 + 21 * 21 * 24 + 380 + 21 * 16 + 3 * 21 * 96 + 2 * STATE_BYTES + 1036


@pytest.mark.parametrize("in_at", [0, 100, 256, 260, 4000, 8000, 10_840, 50_000])
def test_areas_of_plans_from_elsewhere(in_at):
    """Maps anywhere: over each other from either side, or apart."""
    plan = place(VWW, [(21, [STEM]), (21, [BLOCK]), (6, 5 * [BLOCK])])
    first, second, third = plan.segments
    a = areas(VWW, replace(plan, segments=(first, replace(second, in_at=in_at), third)), 1)
    maps = set(range(in_at, in_at + a.input)), set(range(second.out_at, second.out_at + a.output))
    assert a.overlap == len(maps[0] & maps[1]) and 0 <= a.maps - len(maps[0] | maps[1]) < 4

"""Places: rings, overlaps and areas against a little engine that moves line numbers instead of pixels."""

from dataclasses import replace

import numpy as np
import pytest

import networks
from cases import random_schedule
from patchnet.format import STATE_BYTES
from patchnet.net.network import Network, aligned
from patchnet.net.recipe import Stage, patch_tunnels
from patchnet.plan.modes import DIRECT, GROUPS, ROLLING, STORED, WINDOW
from patchnet.plan.place import areas, place

VWW = patch_tunnels(
    "vww", ("no_person", "person"), 66, 66, k=4, central=True, margin_h=9, margin_w=9, stem_out=16,
    stages=(Stage(24, 1, 1), Stage(32, 2, 2), Stage(48, 2, 2), Stage(64, 1, 1)),
)  # fmt: skip


class Ring:
    """The last `size` lines of a layer's input: reading one that was written over, or is not there yet, fails."""

    def __init__(self, size: int):
        self.lines = [None] * size

    def write(self, line: int) -> None:
        self.lines[line % len(self.lines)] = line

    def read(self, first: int, stop: int) -> None:
        for line in range(first, stop):
            assert self.lines[line % len(self.lines)] == line


class Stream:
    """A segment, step by step as the engine takes them.

    `log`: ("read", lowest map line) and ("write", lines written); `expanded`: lines that each layer has expanded.
    """

    def __init__(self, layers, steps, whole: bool, from_picture: bool):
        self.layers, self.steps, self.log = layers, steps, []
        self.done, self.fresh, self.expanded = ([0] * len(layers) for _ in range(3))
        self.size = [(a.h, a.oh) if whole else (a.w, a.ow) for a in layers]
        self.rings = [Ring(step.lines) for step in steps]
        self.wides = [Ring(min(a.kernel, size)) for a, (size, _) in zip(layers, self.size, strict=True)]
        self.from_picture = from_picture

    def run(self) -> list:
        while self.done[-1] < self.size[-1][1]:
            self.step()
        return self.log

    def step(self) -> None:
        i, demand = len(self.layers) - 1, self.size[-1][1]
        while True:
            layer, step, size = self.layers[i], self.steps[i], self.size[i][0]
            start, end = self.done[i], min(self.done[i] + step.rows, demand)
            need = min(size, (end - 1) * layer.stride - layer.kernel // 2 + layer.kernel)
            there = self.done[i - 1] if i else need
            if step.mode == ROLLING and self.fresh[i] < there:
                return self.expand(i)
            if there >= need:
                return self.make(i, start, end, need)
            i, demand = i - 1, need

    def expand(self, i: int) -> None:
        self.read(i, self.fresh[i], self.fresh[i] + 1)
        self.wides[i].write(self.fresh[i])
        self.fresh[i] += 1
        self.expanded[i] += 1

    def read(self, i: int, first: int, stop: int) -> None:
        if i:
            self.rings[i].read(first, stop)
        elif not self.from_picture:
            self.log.append(("read", first))

    def write(self, i: int, line: int) -> None:
        """A line that comes out."""
        self.done[i] = line + 1
        if i + 1 < len(self.layers):
            self.rings[i + 1].write(line)
        else:
            self.log.append(("write", line + 1))

    def sample(self, first: int, stop: int) -> None:
        for line in range(first, stop):
            self.rings[0].write(line)
        self.rings[0].read(first, stop)

    def make(self, i: int, start: int, end: int, need: int) -> None:
        layer, mode = self.layers[i], self.steps[i].mode
        lowest, whole = max(0, start * layer.stride - layer.kernel // 2), mode in (DIRECT, WINDOW)
        if i == 0 and self.from_picture and mode == DIRECT:
            self.sample(lowest, need)
        elif mode == ROLLING:
            self.wides[i].read(lowest, need)
        else:
            self.read(i, lowest, need)
            self.expanded[i] += need - lowest
        for line in range(start, end):
            self.write(i, line)
            expanded = min(need, line * layer.stride - layer.kernel // 2 + layer.kernel)
            if whole:
                self.read(i, lowest, need)
            elif layer.residual:
                self.read(i, line, line + 1)
            if mode in (GROUPS, STORED) and expanded < need:
                self.read(i, expanded, need)


def strip_log(layers, strip: int) -> list:
    """("read", lowest input row) and ("write", rows) of a segment cut into strips, as FORMAT.md bounds them."""
    log = []
    for top in range(0, layers[-1].oh, strip):
        rows = range(top, min(layers[-1].oh, top + strip))
        for layer in reversed(layers):
            pad = layer.kernel // 2
            reach = {y for o in rows for y in range(o * layer.stride - pad, o * layer.stride - pad + layer.kernel)}
            inside = sorted(y for y in reach if 0 <= y < layer.h)
            rows = range(inside[0], inside[-1] + 1)
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
        if all(layer.kernel > 1 for layer in chain):  # a 1x1 convolution of stride 2 leaves lines unread
            assert lead <= aligned(max(least, size_out - size_in))


def test_maps_apart():
    network = VWW
    schedule = [(layer.oh, [(DIRECT, 1, 0) if i == 0 else (ROLLING, 1, 0)]) for i, layer in enumerate(network.layers())]
    plan = place(network, schedule, packed=False)
    for i, segment in enumerate(plan.segments[1:-1], 1):
        a = areas(network, plan, i)
        assert segment.in_at - segment.out_at >= a.output and a.overlap == 0
    assert plan.arena_bytes > place(network, schedule).arena_bytes


def reached(chain, strip: int) -> list[list[tuple[int, int]]]:
    """(n in, n out) of each layer in each strip, by marking what is needed."""
    whole = strip == chain[-1].oh
    found = [[] for _ in chain]
    for top in [0] if whole else range(0, chain[-1].oh, strip):
        out = set(range(chain[-1].ow)) if whole else set(range(top, min(chain[-1].oh, top + strip)))
        for i, layer in reversed(list(enumerate(chain))):
            pad, size = layer.kernel // 2, layer.w if whole else layer.h
            reach = {x for o in out for x in range(o * layer.stride - pad, o * layer.stride - pad + layer.kernel)}
            inside = {x for x in range(size) if min(reach) <= x <= max(reach)}
            found[i].append((len(inside), len(out)))
            out = inside
    return found


def conv_work(layer, step, n_out: int) -> int:
    """FORMAT.md's C, and what layer 0 samples in mode window."""
    k, quads = layer.kernel, (layer.kernel**2 * layer.cin + 3) // 4
    usual = step.group == 0 or step.mode == GROUPS
    n = min(max(128 // quads // 2 * 2, 2) if usual else step.group, n_out + n_out % 2)
    sampled = k * ((n - 1) * layer.stride + k) * layer.cin if step.mode == WINDOW else 0
    return 8 * quads * n + 16 * quads + 36 + sampled


def work(layer, step, lines_in: int, n_in: int, n_out: int, last: bool) -> int:
    """FORMAT.md's table of modes, its last column, and the place for lines on their way to the pooling."""
    k, rows, group = layer.kernel, step.rows, step.group
    bottleneck = layer.kind == "bottleneck"
    sizes = {
        DIRECT: layer.cexp,
        ROLLING: layer.cexp,
        GROUPS: 4 * rows * n_out * layer.cout + min(k, lines_in) * n_in * group + group,
        STORED: rows * n_out * layer.cexp + min(k, lines_in) * n_in * group,
    }
    channels = group if step.mode == GROUPS and not bottleneck else layer.cout
    own = sizes[step.mode] if bottleneck else conv_work(layer, step, n_out)
    return aligned(own) + (n_out * channels if last else 0)


def live_areas(network: Network, plan, segment, chain, steps) -> list[tuple[int, int]]:
    """(first byte, bytes) of rings, wide rings, state and work of a segment."""
    whole = segment.strip == chain[-1].oh
    out, most = [(segment.state_at, STATE_BYTES * len(chain))], 0
    for i, (layer, step, widths) in enumerate(zip(chain, steps, reached(chain, segment.strip), strict=True)):
        n_in, n_out = (max(column) for column in zip(*widths, strict=True))
        number, lines_in = segment.first + i, layer.h if whole else layer.w
        out.append((step.ring_at, step.lines * n_in * layer.cin))
        if step.mode == ROLLING:
            out.append((step.wide_at, min(layer.kernel, lines_in) * n_in * layer.cexp))
        last = number == len(network.layers()) - 1
        most = max(most, work(layer, step, lines_in, n_in, n_out, last))
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
            "layer 1: mode: wanted rolling or groups or stored or fast or sweep, got 2",
        ),
        ([(6, 7 * [STEM])], "layer 1: mode: wanted rolling or groups or stored or fast or sweep, got 0"),
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
    assert a.state == 2 * STATE_BYTES and a.work == (8 * 18 + 16) * 7 + 36
    assert a.total == 4 * 64 + 21 * 21 * 24 + 380 + 21 * 16 + 3 * 21 * 96 + 2 * STATE_BYTES + 1156


@pytest.mark.parametrize("in_at", [0, 100, 256, 260, 4000, 8000, 10_840, 50_000])
def test_areas_of_plans_from_elsewhere(in_at):
    """Maps anywhere: over each other from either side, or apart."""
    plan = place(VWW, [(21, [STEM]), (21, [BLOCK]), (6, 5 * [BLOCK])])
    first, second, third = plan.segments
    a = areas(VWW, replace(plan, segments=(first, replace(second, in_at=in_at), third)), 1)
    maps = set(range(in_at, in_at + a.input)), set(range(second.out_at, second.out_at + a.output))
    assert a.overlap == len(maps[0] & maps[1]) and 0 <= a.maps - len(maps[0] | maps[1]) < 4

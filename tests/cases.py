"""What a test of equality runs: a random network, its blob, a picture in a camera's format, and a region of it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from networks import (
    conv_network,
    extreme_picture,
    fast_qnet,
    mixed_network,
    random_detector,
    random_float_network,
    random_floats,
    random_last_map,
    random_merging,
    random_network,
    random_picture,
    random_qnet,
    random_raw_input,
)
from oracle import GREY, RGB565, RGB888, Oracle, Result
from oracle.arena import (
    Part,
    Place,
    end_areas,
    lasting_areas,
    least_shift,
    map_areas,
    parts,
    plan_is_sound,
    segments_are_sound,
    strip_areas,
)
from oracle.audio import AudioOracle
from patchnet import format as fmt
from patchnet.blob import floats
from patchnet.blob.floats import FloatNet
from patchnet.blob.order import fast_layers
from patchnet.blob.pack import pack, seal
from patchnet.blob.quantized import QNet
from patchnet.blob.unpack import blob_plan, read
from patchnet.net.layers import CASTS, Layer
from patchnet.net.network import Network
from patchnet.plan.modes import FAST_MODES as MODES
from patchnet.plan.modes import NARROW, NARROW_SUMS, fast_modes, sweeps
from patchnet.plan.place import Plan, place
from sounds import random_listener, random_sound

Schedule = list[tuple[int, list[tuple[int, int, int]]]]  # of each segment: strip, and (mode, rows, group) of its layers
TABLES = {table.name: table for table in fmt.TABLES}
ALIGNED = ("sum_at", "state_at", "work_at", "candidate_at", "spot_at")
HALF_ALIGNED = ("logit_at", "cell_at")


@dataclass
class Picture:
    """A camera's frame: the arguments of the oracle's and the engine's run_image."""

    data: bytes
    w: int
    h: int
    pixfmt: int
    roi: tuple[int, int, int, int] | None = None

    def args(self) -> tuple:
        return self.data, self.w, self.h, self.pixfmt, self.roi


@dataclass
class Case:
    """It is run on a `picture`, or else on what is not None of `sound` and `raw`."""

    seed: int
    qnet: QNet | FloatNet
    blob: bytes
    oracle: Oracle
    picture: Picture | None
    again: str = ""  # the options of fuzz.py that make it again
    sound: np.ndarray | None = None
    raw: np.ndarray | None = None

    @property
    def x(self) -> Picture | np.ndarray:
        """A picture, a raw input (height, width, channels), or the samples (n,) of a clip."""
        if self.sound is not None:
            return self.sound[: self.oracle.samples]
        return self.raw if self.picture is None else self.picture

    def wanted(self) -> Result:
        """What the oracle makes of x."""
        if self.sound is not None:
            return self.oracle.run_clip(self.x)
        return self.oracle.run_raw(self.raw) if self.picture is None else self.oracle.run_image(*self.picture.args())


def encode(rgb: np.ndarray, pixfmt: int) -> bytes:
    """uint8 (h, w, 3) -> the bytes of a frame: the red channel alone, RGB565 (low byte first), or as it is."""
    if pixfmt == GREY:
        return rgb[..., 0].tobytes()
    if pixfmt == RGB888:
        return rgb.tobytes()
    r, g, b = (rgb[..., i].astype(np.uint16) for i in range(3))
    return (r >> 3 << 11 | g >> 2 << 5 | b >> 3).astype("<u2").tobytes()


def random_region(rng, w: int, h: int) -> tuple[int, int, int, int]:
    x, y = int(rng.integers(0, w)), int(rng.integers(0, h))
    return x, y, int(rng.integers(1, w - x + 1)), int(rng.integers(1, h - y + 1))


def random_frame(rng, height: int, width: int, extreme: bool = False) -> Picture:
    """Smaller than, larger than or just as the network's picture; with or without a region."""
    w, h = (width, height) if rng.random() < 0.2 else (int(n) for n in rng.integers(1, 3 * max(height, width), 2))
    rgb = (extreme_picture if extreme else random_picture)(rng, h, w, 3)
    pixfmt = int(rng.choice([GREY, RGB565, RGB888]))
    roi = random_region(rng, w, h) if rng.random() < 0.5 else None
    return Picture(encode(rgb, pixfmt), w, h, pixfmt, roi)


def random_raw(rng, network: Network) -> np.ndarray:
    """int8 (height, width, channels)."""
    picture = random_picture(rng, network.height, network.width, network.channels)
    return (picture.astype(np.int64) - 128).astype(np.int8)


def assert_equal(got, wanted) -> None:
    """An Output of the engine (or a Result) is the oracle's Result."""
    np.testing.assert_array_equal(got.logits16, wanted.logits16)
    np.testing.assert_array_equal(got.outputs8, wanted.outputs8)
    assert list(got.scores) == wanted.scores
    assert got.boxes == wanted.boxes


def random_cuts(rng, n: int) -> list[int]:
    """Layers of each segment: all fused, none, or by chance."""
    cuts, most = [], int(rng.choice([1, 2, 4, fmt.MAX_FUSED]))
    while n > 0:
        cuts.append(int(rng.integers(1, min(most, n) + 1)) if rng.random() < 0.5 else min(most, n))
        n -= cuts[-1]
    return cuts


def random_segments(rng, network: Network) -> list[int]:
    """Layers of each segment of a whole run: those of a chain, then from head to head; but for the last head, heads are
    by themselves."""
    out, at = random_cuts(rng, len(network.layers())), len(network.layers())
    for head in network.heads():
        last = head == len(network.run()) - 1
        out += random_cuts(rng, head - at + last) + [1] * (not last)
        at = head + 1
    return out


def few(rng, most: int) -> int:
    """1..most: often the least, at times the most."""
    return int(rng.choice([1, most, rng.integers(1, min(most, 4) + 1), rng.integers(1, most + 1)]))


def random_mode(rng, layer: Layer, index: int, alone: bool, columns: bool, fast: int) -> int:
    """Any that FORMAT.md allows; `alone`: the last segment's only layer, over rows of the whole map; `columns`: lines
    are columns. A layer that may run in modes fast and sweep, as `fast` tells, mostly does."""
    if fast and rng.random() < 0.7:
        mode = int(rng.choice(fast_modes(layer)))
        return mode | (NARROW if fast == NARROW_SUMS and rng.random() < 0.5 else 0)
    small, real = max(layer.kh, layer.kw) <= fmt.MAX_KERNEL, layer.value_bytes > 1
    if layer.kind == "conv":
        modes = (
            [fmt.MODE_DIRECT]
            + [fmt.MODE_WINDOW] * (index == 0 and not real)
            + [fmt.MODE_GROUPS] * (alone and index > 0)
        )
    elif layer.kind == "block":
        modes = [fmt.MODE_ROLLING]
    elif layer.kind == "bottleneck" and layer.expand:
        modes = [fmt.MODE_ROLLING, fmt.MODE_GROUPS] + [fmt.MODE_STORED] * (not real)
    else:
        modes = [fmt.MODE_DIRECT]
    covers = layer.covers and not columns and layer.kind not in ("bottleneck", "block", *CASTS)
    return int(rng.choice(modes * small + [fmt.MODE_COVER] * covers))


def random_step(rng, layer: Layer, mode: int, lines: int) -> tuple[int, int, int]:
    """(mode, rows, group) for a layer that makes `lines` lines."""
    chunks = layer.kind == "bottleneck" and mode in (fmt.MODE_GROUPS, fmt.MODE_STORED)
    channels = layer.cout if layer.kind == "conv" else layer.cexp
    if mode in MODES:
        return mode, few(rng, lines) if sweeps(mode) else 1, 4 * few(rng, channels // 4)
    group = few(rng, channels) if mode in (fmt.MODE_GROUPS, fmt.MODE_STORED) else 0
    if layer.kind == "conv" and mode in (fmt.MODE_DIRECT, fmt.MODE_WINDOW):  # pixels
        group = 2 * int(rng.choice([0, 1, rng.integers(2, 12)])) if layer.value_bytes == 1 else 0
    return mode, few(rng, lines) if chunks else 1, group


def random_schedule(rng, network: Network, fast: Sequence[int] = ()) -> Schedule:
    """Any segments, strips, modes, rows and groups that FORMAT.md allows. `fast`: which layers may run in modes fast
    and sweep, else none."""
    layers, schedule, at = network.run(), [], 0
    fast, pooled = fast or [False] * len(layers), len(layers) if network.end.pools() else 0
    for n in random_segments(rng, network):
        fused, height = layers[at : at + n], layers[at + n - 1].oh
        rows = at + n - 1 in network.heads() or max(max(layer.kh, layer.kw) for layer in fused) > fmt.MAX_KERNEL
        rows = rows or (at + n == pooled and network.value_bytes > 1)
        strip = few(rng, height) if rng.random() < 0.6 and not rows else height
        columns, alone = strip < height, n == 1 and at + 1 == pooled
        modes = [
            random_mode(rng, layer, i, alone and not columns, columns, fast[i]) for i, layer in enumerate(fused, at)
        ]
        lines = [layer.ow if columns else layer.oh for layer in fused]
        schedule.append((strip, [random_step(rng, *step) for step in zip(fused, modes, lines, strict=True)]))
        at += n
    return schedule


def random_plan(rng, network: Network, fast: Sequence[int] = ()) -> Plan:
    return place(network, random_schedule(rng, network, fast))


def first_record(blob: bytes, table: fmt.Table) -> int:
    """Where the table's first record lies."""
    head = fmt.HEADER.unpack(blob)
    if table is fmt.HEADER:
        return 0
    if table is fmt.PLACE:
        return fmt.DETECT.unpack(blob, head["task_off"])["place_off"]
    own = {fmt.DETECT: "task", fmt.HEATMAP: "task", fmt.SIZED_PATCH: "patch"}
    return head[f"{own.get(table, table.name)}_off"]


def patched(blob: bytes, values: dict[Place, int]) -> bytes:
    """The blob with other values in some fields of its tables, and its CRC made right."""
    out = bytearray(blob)
    for (name, index, field), value in values.items():
        table = TABLES[name]
        first = first_record(blob, table)
        code = dict(table.fields)[field]
        struct.pack_into("<" + code, out, first + index * table.size + table.offsets()[field], value)
    return seal(out)


def value_at(blob: bytes, place: Place) -> int:
    table = TABLES[place.table]
    return table.unpack(blob, first_record(blob, table) + place.index * table.size)[place.field]


def plan_fields(blob: bytes) -> list[Place]:
    """Every number of a plan."""
    info = read(blob)
    pooled = ("arena_bytes", "sum_at", *(["feature_at"] if info.header["fc_off"] else []), "logit_at")
    last_map = "arena_bytes", "feature_at"
    names = {
        "header": {"detect": last_map[:1], "raw": last_map, "heatmap": last_map}.get(info.task, pooled),
        "detect": ("stitch_at",) if info.task == "classify" else ("stitch_at", "candidate_at"),
        "heatmap": ("cell_at", "spot_at"),
        "layer": ("mode", "rows", "group", "lines", "ring_at", "wide_at"),
        "segment": [name for name, _ in fmt.SEGMENT.fields],
    }
    own = {name: int(info.task == name) for name in ("detect", "heatmap")}
    own["detect"] += info.task == "classify" and bool(info.record)
    counts = {"header": 1, **own, "layer": len(info.layers), "segment": len(info.segments)}
    return [Place(table, i, name) for table in names for name in names[table] for i in range(counts[table])]


def moved(rng, blob: bytes) -> tuple[Place, bytes]:
    """One number of the plan moved a little, or onto another of its numbers."""
    places = plan_fields(blob)
    place = places[rng.integers(len(places))]
    new = value_at(blob, place) + int(rng.choice([-64, -16, -8, -4, -2, -1, 1, 2, 4, 8, 16, 64]))
    if rng.random() < 0.3:
        new = value_at(blob, places[rng.integers(len(places))])
    code = dict(TABLES[place.table].fields)[place.field]
    most = (1 << 8 * struct.calcsize(code)) - 1
    return place, patched(blob, {place: max(0, min(new, most))})


def judged(qnet: QNet, place: Place, bad: bytes) -> tuple[bytes, set[str]]:
    """A blob of `qnet` after `place` was moved, its arrays in the order that its plan now asks for, and what the loader
    may say of it."""
    if isinstance(qnet, FloatNet):  # whose arrays have one order
        sound = segments_are_sound(Oracle(bad)) and plan_is_sound(bad)
        return bad, {"OK"} if sound else {"PLAN", "SHAPE"} if place.field == "mode" else {"PLAN"}
    if segments_are_sound(Oracle(bad)):
        info = read(bad)
        try:
            return pack(qnet, blob_plan(info)), {"OK" if plan_is_sound(bad) else "PLAN"}
        except ValueError:  # integers, or a group, that are not for a fast mode
            return bad, {"WEIGHTS", "OVERFLOW"} | (set() if plan_is_sound(bad) else {"PLAN"})
    if place.field == "group" and Oracle(bad).layers[place.index].flags & fmt.FLAG_PAIRS:
        return bad, {"PLAN", "SHAPE"}  # an odd one
    # with another mode its arrays may have been read in an order that is not theirs
    return bad, {"SHAPE", "WEIGHTS", "OVERFLOW", "PLAN"} if place.field == "mode" else {"PLAN"}


def over_input(part: Part) -> list[tuple[Place, int]]:
    """Where the two maps of a segment begin in a block of their own, the output as far over the input as may be."""
    (source, target), shift = map_areas(part), least_shift(part) or 0
    return [(source, max(0, shift)), (target, max(0, -shift))]


def alignment(oracle: Oracle, place: Place) -> int:
    """What a place must be a multiple of."""
    if oracle.header.dtype and place.table != "heatmap":
        return 4
    of_words = place.field == "wide_at" and oracle.layers[place.index].mode in (*MODES, fmt.MODE_COVER)
    return 4 if place.field in ALIGNED or of_words else 2 if place.field in HALF_ALIGNED else 1


def stacked(
    rng, oracle: Oracle, blocks: list[list[tuple[Place, int]]], sizes: dict[Place, int], at: int
) -> tuple[dict[Place, int], int]:
    """Places of blocks of areas in any order from `at` on, some with gaps; and where they end."""
    values = {}
    for i in rng.permutation(len(blocks)):
        at += int(rng.choice([0, 0, rng.integers(0, 17)]))
        at += -at % alignment(oracle, blocks[i][0][0])
        values |= {place: at + offset for place, offset in blocks[i]}
        at = max(at + offset + sizes[place] for place, offset in blocks[i])
    return values, at


def part_blocks(rng, part: Part, sizes: dict[Place, int]) -> list[list[tuple[Place, int]]]:
    """The areas of a segment, each a block; often its two maps are one, the output as far over the input as may be."""
    maps = map_areas(part)
    if len(maps) == 2 and rng.random() < 0.6:
        return [[(place, 0)] for place in sizes if place not in maps] + [over_input(part)]
    return [[(place, 0)] for place in sizes]


def scattered(rng, blob: bytes) -> bytes:
    """The same schedule with everything somewhere else: gaps, maps moved from segment to segment, maps over maps; what
    outlasts the segments below or above all else."""
    oracle = Oracle(blob)
    last = {place: area for part in reversed(parts(oracle)) for place, area in lasting_areas(oracle, part).items()}
    lasting, lasts = {place: n for place, (_, n) in last.items()}, [[(place, 0)] for place in last]
    below = rng.random() < 0.5
    values, bottom = stacked(rng, oracle, lasts, lasting, 0) if below else ({}, 0)
    top = bottom
    for part in parts(oracle):
        strips = [strip_areas(oracle, part, strip) for strip in part.strips()]
        sizes = {place: max(areas[place][1] for areas in strips) for place in strips[0] if place not in last}
        places, end = stacked(rng, oracle, part_blocks(rng, part, sizes), sizes, bottom)
        values, top = values | places, max(top, end)
    ends = {place: n for place, (_, n) in end_areas(oracle).items() if place not in last}
    places, end = stacked(rng, oracle, [[(place, 0)] for place in ends], ends, bottom + int(rng.integers(0, 16)))
    values, top = values | places, max(top, end)
    if not below:
        places, top = stacked(rng, oracle, lasts, lasting, top)
        values |= places
    top += int(rng.choice([0, rng.integers(0, 9)]))
    return patched(blob, values | {Place("header", 0, "arena_bytes"): top})


def random_blob(rng, qnet: QNet) -> bytes:
    """The network with any plan: any schedule, placed by `place` or scattered. What the planner would choose is no
    matter here (test_arena and test_zoo run that)."""
    if isinstance(qnet, FloatNet):
        blob = floats.pack(qnet, random_plan(rng, qnet.design))
        return scattered(rng, blob) if rng.random() < 0.5 else blob
    fast = fast_layers(qnet)
    plan = random_plan(rng, qnet.design, fast)
    blob = pack(qnet, plan)
    return scattered(rng, blob) if rng.random() < 0.5 else blob


def is_fast_case(seed: int) -> bool:
    """Whether most layers of random_case(seed) are for modes fast and sweep, as random ones seldom are."""
    return seed % 4 == 3


def conv_case(seed: int, extreme: bool = False, max_macs: int = 300_000) -> Case:
    """Convolutions alone."""
    rng = np.random.default_rng([seed, extreme, 1])
    qnet = random_qnet(rng, conv_network(rng, max_macs), extreme=extreme)
    blob, d = random_blob(rng, qnet), qnet.design
    again = options("convs", seed, extreme, max_macs)
    return Case(seed, qnet, blob, Oracle(blob), random_frame(rng, d.height, d.width, extreme), again)


def merging_case(seed: int, extreme: bool = False, max_macs: int = 300_000) -> Case:
    """A network whose tunnels merge before they are pooled."""
    rng = np.random.default_rng([seed, extreme, 13])
    qnet = fast_qnet(rng, random_merging(rng, max_macs), extreme)
    blob, d, again = random_blob(rng, qnet), qnet.design, options("merging", seed, extreme, max_macs)
    return Case(seed, qnet, blob, Oracle(blob), random_frame(rng, d.height, d.width, extreme), again)


def end_case(seed: int, extreme: bool = False, max_macs: int = 300_000) -> Case:
    """A network that ends with its last map, or whose input is no picture."""
    rng = np.random.default_rng([seed, extreme, 9])
    network = random_raw_input(rng, max_macs) if rng.random() < 0.3 else random_last_map(rng, max_macs)
    qnet = random_qnet(rng, network, extreme=extreme)
    blob, d, again = random_blob(rng, qnet), qnet.design, options("ends", seed, extreme, max_macs)
    if d.channels in (1, 3):
        frame = random_frame(rng, d.height, d.width, extreme)
        return Case(seed, qnet, blob, Oracle(blob), frame, again)
    return Case(seed, qnet, blob, Oracle(blob), None, again, raw=random_raw(rng, d))


def float_case(seed: int, extreme: bool = False, max_macs: int = 100_000) -> Case:
    """A float32 network, of any task and input that such may have."""
    rng = np.random.default_rng([seed, extreme, 11])
    net = random_floats(rng, random_float_network(rng, max_macs), extreme)
    blob, d, again = random_blob(rng, net), net.design, options("float32", seed, extreme, max_macs)
    if d.channels in (1, 3):
        return Case(seed, net, blob, Oracle(blob), random_frame(rng, d.height, d.width, extreme), again)
    return Case(seed, net, blob, Oracle(blob), None, again, raw=random_raw(rng, d))


def sound_case(seed: int) -> Case:
    """A network for sound, and more of that than it looks at."""
    rng = np.random.default_rng([seed, 5])
    qnet = random_listener(rng, k=int(rng.choice([1, 1, 4])))
    blob = pack(qnet, random_plan(rng, qnet.design))
    oracle = AudioOracle(blob)
    pcm = random_sound(
        rng, oracle.samples + int(rng.integers(0, 12)) * oracle.a.hop + int(rng.integers(0, oracle.a.hop))
    )
    return Case(seed, qnet, blob, oracle, None, options("sound", seed), pcm)


def options(kind: str, seed: int, extreme: bool = False, max_macs: int | None = None) -> str:
    most = f" --max-macs {max_macs}" if max_macs else ""
    return f"--kind {kind} --seed {seed}{most}{' --extreme' * extreme}"


def random_case(seed: int, extreme: bool = False, max_macs: int = 1_000_000, detects: bool = False) -> Case:
    """Everything about it follows from `seed`."""
    rng = np.random.default_rng([seed, extreme, 7] if detects else [seed, extreme])
    if detects:
        qnet = fast_qnet(rng, random_detector(rng, max_macs), extreme)
    elif is_fast_case(seed):
        qnet = fast_qnet(rng, mixed_network(rng, max_macs), extreme)
    else:
        qnet = random_qnet(rng, random_network(rng, max_macs), extreme=extreme)
    blob, d = random_blob(rng, qnet), qnet.design
    again = options("detect" if detects else "any", seed, extreme, max_macs)
    return Case(seed, qnet, blob, Oracle(blob), random_frame(rng, d.height, d.width, extreme), again)

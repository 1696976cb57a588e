"""Damaged blobs and bad arguments: refused by the name of the cause, or run without leaving blob, arena and picture."""

from __future__ import annotations

import ctypes
import struct
import subprocess
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pytest

import oracle
from blobs import strips
from cases import judged, merging_case, moved, patched, random_blob, random_case, random_plan, scattered, value_at
from cengine import ERRORS, MORE, Engine, EngineError, aligned, library, sanitized
from difference import check
from networks import fast_network, fast_qnet, free_network, identity_qnet, random_qnet
from oracle.arena import (
    COVER,
    DIRECT,
    FAST,
    GROUPS,
    ROLLING,
    STORED,
    SWEEP,
    WINDOW,
    Place,
    parts,
    plan_is_sound,
    strip_areas,
)
from patchnet import format as fmt
from patchnet.blob import random
from patchnet.blob.order import fast_layers
from patchnet.blob.pack import pack, seal
from patchnet.blob.unpack import blob_qnet
from patchnet.net.layers import Layer, casts
from patchnet.net.network import Network
from patchnet.net.recipe import Stage
from patchnet.plan import modes as modes_
from patchnet.plan import sizes
from patchnet.plan.choice import front
from patchnet.plan.modes import FAST24, FAST_BYTES, FAST_SHIFT, NARROW, SWEEP24, SWEEP_BYTES, fast_group
from patchnet.plan.place import place


def tiny(k: int, aggregate: str) -> Network:
    """A stem, a residual bottleneck with an expansion, one without, a convolution: every kind of record."""
    side = 6 if k == 1 else 4
    chain = (
        Layer("conv", side, side, 1, 0, 3, 3, 2),
        Layer("bottleneck", side // 2, side // 2, 3, 4, 3, 3, 1, True, True),
        Layer("bottleneck", side // 2, side // 2, 3, 3, 2, 5, 2, False, False, "none"),
        Layer("conv", side // 4 + side % 4 // 2, side // 4 + side % 4 // 2, 2, 0, 3, 1, 1),
    )
    return free_network("tiny", ("yes", "no"), 6, 6, 1, k, False, k // 4, k // 4, aggregate=aggregate, chain=chain)


def tiny_merging() -> Network:
    """Four chains of a stem and a bottleneck; behind them a bottleneck and a convolution."""
    chain = Layer("conv", 6, 6, 1, 0, 3, 3, 2), Layer("bottleneck", 3, 3, 3, 4, 2, 3, 1, True)
    shape = dict(merged=(Stage(3, 1, 2, 2), Stage(3, t=0, kernel=1)))
    return free_network("tiny", ("yes", "no"), 8, 8, 1, 4, True, 2, 2, chain=chain, **shape)


def tiny_fast() -> Network:
    """A stem and two bottlenecks for modes 5 and 6, one residual, one of stride 2."""
    stem = Layer("conv", 6, 6, 1, 0, 4, 3, 2)
    blocks = Layer("bottleneck", 3, 3, 4, 8, 4, 3, 1, True, True), Layer("bottleneck", 3, 3, 4, 4, 2, 3, 2, True)
    return free_network("tiny", ("yes", "no"), 6, 6, 1, 1, False, chain=(stem, *blocks))


def tiny_kernels() -> Network:
    """The same with a bottleneck of kernel 5 for odd input channels, and one without an expansion."""
    stem = Layer("conv", 6, 6, 1, 0, 3, 3, 2)
    blocks = Layer("bottleneck", 3, 3, 3, 4, 4, 5, 1, True), Layer("bottleneck", 3, 3, 4, 4, 4, 3, 1, False, True)
    return free_network("tiny", ("yes", "no"), 6, 6, 1, 1, False, chain=(stem, *blocks))


def tiny_blocks(last: Layer) -> Network:
    """A stem with unequal sides, a block with a shortcut, one without, and one more layer of 3 x 3 x 4."""
    stem = Layer("conv", 6, 6, 1, 0, 2, (2, 3), (1, 1), pads=(1, 0, 2, 0))
    shortcut = Layer("block", 6, 6, 2, 3, 4, 3, 2, True, second=(3, 1))
    same = Layer("block", 3, 3, 4, 2, 4, (3, 1), 1, second=3, act="none")
    return free_network("tiny", ("yes", "no"), 6, 6, 1, 1, False, chain=(stem, shortcut, same, last))


def tiny_pools(*last: Layer) -> Network:
    """A stem, both poolings to 3 x 2 x 3, and more layers."""
    stem, most = Layer("conv", 6, 5, 2, 0, 3, 1, 1), Layer("maxpool", 6, 5, 3, 0, 3, 2, 2, pads=(0, 0, 0, 1))
    mean = Layer("meanpool", 3, 3, 3, 0, 3, (3, 2), 1, pads=(1, 1, 0, 0))
    return free_network("tiny", ("yes", "no"), 6, 5, 2, 1, False, chain=(stem, most, mean, *last))


def tiny_halved() -> Network:
    """A map of 4 bits behind the stem, another one of a pixel."""
    stem, most = Layer("conv", 6, 5, 2, 0, 4, 1, 1), Layer("maxpool", 6, 5, 4, 0, 4, (6, 5), 1, pads=(0, 0, 0, 0))
    chain = stem, *casts(stem), most, *casts(most), Layer("conv", 1, 1, 4, 0, 2, 1, 1)
    return free_network("tiny", ("yes", "no"), 6, 5, 2, 1, False, chain=chain)


COVERED = [Layer(kind, 3, 3, 4, 0, 4, 3, 1, pads=(0, 0, 0, 0)) for kind in ("maxpool", "conv")]
OF_POOLS = [Layer("meanpool", 3, 2, 3, 0, 3, (3, 2), 1, pads=(0, 0, 0, 0)), Layer("conv", 1, 1, 3, 0, 2, 1, 1)]

# All modes between them, fused and alone, in strips and over whole maps.
PLANS = {
    "sum": (tiny(4, "sum"), [(1, [(DIRECT, 1, 0), (GROUPS, 2, 4)]), (1, [(DIRECT, 1, 0)]), (1, [(GROUPS, 1, 2)])]),
    "sized": (
        replace(tiny(4, "sum"), sizes=((6, 6), (6, 6), (6, 5), (4, 4)), corners=((0, 0), (2, 2), (1, 1), (0, 0))),
        [(1, [(WINDOW, 1, 0), (GROUPS, 2, 4)]), (1, [(DIRECT, 1, 0)]), (1, [(DIRECT, 1, 0)])],
    ),
    "merged": (
        tiny_merging(),
        [(1, [(WINDOW, 1, 0)]), (2, [(GROUPS, 2, 4)]), (2, [(GROUPS, 1, 2), (DIRECT, 1, 0)])],
    ),
    "concat": (tiny(4, "concat"), [(2, [(WINDOW, 1, 0), (GROUPS, 2, 3)]), (1, [(DIRECT, 1, 0), (DIRECT, 1, 0)])]),
    "whole": (tiny(1, "sum"), [(3, [(DIRECT, 1, 0)]), (2, [(STORED, 2, 3)]), (2, [(DIRECT, 1, 0), (DIRECT, 1, 0)])]),
    "fused": (tiny(1, "sum"), [(2, [(DIRECT, 1, 0), (ROLLING, 1, 0), (DIRECT, 1, 0), (DIRECT, 1, 0)])]),
    "fast": (tiny_fast(), [(3, [(DIRECT, 1, 0), (FAST, 1, 4)]), (2, [(FAST, 1, 4)])]),
    "bytes": (tiny_fast(), [(3, [(DIRECT, 1, 0), (FAST_BYTES, 1, 4)]), (2, [(SWEEP_BYTES, 2, 4)])]),
    "fast kernels": (tiny_kernels(), [(3, [(DIRECT, 1, 0), (FAST, 1, 4)]), (2, [(FAST, 1, 4)])]),
    "kernels sweep": (tiny_kernels(), [(3, [(DIRECT, 1, 0)]), (1, [(SWEEP, 1, 4), (FAST, 1, 4)])]),
    "sweep": (tiny_fast(), [(3, [(DIRECT, 1, 0)]), (1, [(SWEEP, 1, 8), (SWEEP, 1, 4)])]),
    "fast and sweep": (tiny_fast(), [(3, [(DIRECT, 1, 0), (FAST, 1, 4)]), (2, [(SWEEP, 2, 4)])]),
    "narrow": (tiny_fast(), [(3, [(DIRECT, 1, 0), (FAST24, 1, 4)]), (2, [(SWEEP24, 2, 4)])]),
    "narrow bytes": (
        tiny_fast(),
        [(3, [(DIRECT, 1, 0), (FAST_BYTES | NARROW, 1, 4)]), (2, [(SWEEP_BYTES | NARROW, 2, 4)])],
    ),
    "blocks": (
        tiny_blocks(COVERED[1]),
        [(6, [(DIRECT, 1, 0)]), (3, [(ROLLING, 1, 0), (ROLLING, 1, 0)]), (1, [(COVER, 1, 0)])],
    ),
    "blocks in strips": (
        tiny_blocks(COVERED[1]),
        [(2, [(WINDOW, 1, 2), (ROLLING, 1, 0), (ROLLING, 1, 0)]), (1, [(DIRECT, 1, 2)])],
    ),
    "pools": (
        tiny_pools(*OF_POOLS),
        [(6, [(DIRECT, 1, 0)]), (1, [(DIRECT, 1, 0), (DIRECT, 1, 0)]), (1, [(COVER, 1, 0), (COVER, 1, 0)])],
    ),
    "halved": (
        tiny_halved(),
        [(2, [(DIRECT, 1, 0)] * 2), (1, [(DIRECT, 1, 0), (COVER, 1, 0)]), (1, [(DIRECT, 1, 0)] * 3)],
    ),
}
BLOBS = {
    name: pack(fast_qnet(np.random.default_rng(3), network), place(network, schedule))
    for name, (network, schedule) in PLANS.items()
}
BLOB = BLOBS["sum"]
ORACLES = {name: oracle.Oracle(blob) for name, blob in BLOBS.items()}


def harness(tmp_path, blob: bytes, *arguments: str) -> dict[str, int]:
    """Runs csrc/corrupt.c on a blob: how often each outcome occurred. A sanitizer's complaint fails the test."""
    path = tmp_path / "blob.pnb"
    path.write_bytes(blob)
    done = subprocess.run([sanitized("corrupt"), path, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: int(n) for name, n in (line.rsplit(" ", 1) for line in done.stdout.splitlines())}


@pytest.mark.parametrize("name", BLOBS)
def test_every_truncation_and_every_byte(tmp_path, name):
    counts = harness(tmp_path, BLOBS[name])
    never = {"alignment", "arena", "format", "roi"}  # of arguments, not of blobs
    assert {n for n, count in counts.items() if count == 0} <= never | {"too large"}
    assert counts["ran"] > 900


@pytest.mark.parametrize("seed", range(8))
def test_random_damage(tmp_path, seed):
    counts = harness(tmp_path, random_case(seed, max_macs=20_000).blob, "random", str(seed), "2000")
    assert counts["ran"] > 100


@pytest.mark.parametrize("seed", range(10))
def test_good_plans_under_sanitizers(tmp_path, seed):
    """Whatever lies at the ends of the arena, no line, window or map is left on either side."""
    rng = np.random.default_rng(seed)
    qnet = fast_qnet(rng, fast_network(rng)) if seed % 2 else random_qnet(rng, max_macs=20_000)
    for _ in range(12):
        assert harness(tmp_path, random_blob(rng, qnet), "random", "0", "0")["ran"] == 1


# Each cause by name


def field(table: fmt.Table, name: str, value: int, index: int = 0, blob: bytes = BLOB) -> bytes:
    """The blob with one field of record `index` changed and its CRC repaired, but for its own size and CRC."""
    if name in ("size", "crc"):
        out = bytearray(blob)
        struct.pack_into("<I", out, table.offsets()[name], value)
        return bytes(out)
    return patched(blob, {Place(table.name, index, name): value})


def array(offset: int, values: bytes, blob: bytes = BLOB) -> bytes:
    out = bytearray(blob)
    out[offset : offset + len(values)] = values
    return seal(out)


class Array(NamedTuple):
    """Biases, multipliers and weights of a convolution: where the first bias and multiplier are, how many outputs,
    products in a sum, the shift; where the arrays end."""

    bias: int
    mult: int
    outputs: int
    products: int
    shift: int
    end: int


def arrays_of(o: oracle.Oracle, i: int) -> list[Array]:
    """Those of layer i in the first chain, in the order of FORMAT.md."""
    layer, param, (_, _, cin) = o.layers[i], o.params[0][i], o.shapes[i][0]
    taps, at, out = layer.kernel_h * layer.kernel_w, param.weight_off, []
    one = layer.flags & oracle.EXPAND
    parts = [(layer.cout, taps * cin, param.shift)]
    if layer.kind == oracle.BOTTLENECK:
        parts = [(layer.cexp, cin, param.shift_1)] * one
        parts += [(layer.cexp, taps, param.shift_2), (layer.cout, layer.cexp, param.shift)]
    elif layer.kind == oracle.BLOCK:
        parts = [(layer.cexp, taps * cin, param.shift_1)]
        parts += [(layer.cout, layer.second_h * layer.second_w * layer.cexp, param.shift)]
        parts += [(layer.cout, cin, param.shift_2)] * one
    for n, products, shift in parts:
        if layer.kind != oracle.BOTTLENECK and layer.flags & oracle.PAIRS:
            weights = -(-products // 4) * 8
            out.append(Array(at + weights, at + weights + 8, n, products, shift, at + (n + 1) // 2 * (weights + 16)))
        else:
            out.append(Array(at, at + 4 * n, n, products, shift, at + 8 * n + -(-n * products // 4) * 4))
        at = out[-1].end
    return out


H, LAYER, PARAM, SEGMENT = fmt.HEADER, fmt.LAYER, fmt.PARAM, fmt.SEGMENT
HEAD = fmt.HEADER.unpack(BLOB)
SIDES, PADS = "hw", ("top", "bottom", "left", "right")
DENSE = oracle.CONV, oracle.BOTTLENECK, oracle.BLOCK  # kinds with biases
WEIGHTS = [p.weight_off for p in oracle.Oracle(BLOB).params[0]]
ARRAYS = [arrays_of(oracle.Oracle(BLOB), i) for i in range(4)]
LABELS_END = HEAD["label_off"] + HEAD["label_bytes"]
FAR, HUGE = len(BLOB) & ~3, 0xFFFFFFFC


def merging(table: fmt.Table, name: str, value: int, index: int = 0) -> bytes:
    """The same of the network whose tunnels merge."""
    return field(table, name, value, index, BLOBS["merged"])


CAUSES = {
    "LENGTH": [b"", BLOB[: H.size - 1], BLOB[:-1], *(field(H, "size", n) for n in (H.size - 1, len(BLOB) + 1))],
    "MAGIC": [b"PNC" + BLOB[3:], bytes(200)],
    "VERSION": [*(field(H, "version", n) for n in range(fmt.VERSION)), field(H, "header_bytes", 96)],
    "CRC": [field(H, "crc", 0), BLOB[:-1] + bytes([BLOB[-1] ^ 1])],
    "TASK": [
        field(H, "task", 0),
        field(H, "task", 2),
        *(
            merging(fmt.DETECT, *own)
            for own in (("map_h", 0), ("map_w", 1), ("map_h", 4097), ("top", 0), ("segments", 0))
        ),
        *(merging(fmt.DETECT, name, n) for name in ("layers", "place_off") for n in (0, 255)),
        *(merging(fmt.PLACE, name, 4, i) for name in ("from_y", "from_x", "to_y", "to_x", "h", "w") for i in (0, 4)),
        merging(H, "aggregate", 1),
        merging(LAYER, "flags", ORACLES["merged"].layers[3].flags & ~oracle.HEAD, 3),  # the last one is no head
        merging(LAYER, "flags", 1 + 16, 2),  # one more
    ],
    "SHAPE": [
        *(field(H, "channels", n) for n in (0, fmt.MAX_REDUCTION + 1)),
        *(field(H, name, n) for name, n in (("tunnels", 0), ("tunnels", 18), ("layers", 0), ("classes", 0))),
        *(field(H, side, n) for side in ("height", "width") for n in (0, 4097)),
        *(field(H, side, n) for side in ("patch_h", "patch_w") for n in (0, 7)),
        *(field(H, name, 2) for name in ("fit", "aggregate", "sized")),
        field(H, "sized", 1, blob=BLOBS["pools"]),  # whose input is no picture
        field(H, "fc_off", 0),  # two classes of three features
        *(
            field(H, f"{name}_off", n)
            for name in ("layer", "segment", "param")
            for n in (0, 100, H.size + 2, FAR, HUGE)
        ),
        *(field(H, "segments", n) for n in (0, 5, HUGE)),
        *(field(LAYER, "kind", kind, i) for kind in (0, 3, 4, 5, 6) for i in (0, 1)),
        field(LAYER, "kind", 2, 0),
        *(field(LAYER, f"kernel_{side}", k, i) for side in SIDES for k in (0, 1, 7, 15, 16, 255) for i in (0, 1)),
        *(field(LAYER, f"stride_{side}", s, i) for side in SIDES for s in (0, 16) for i in (0, 1)),
        *(field(LAYER, f"stride_{side}", 2, 1) for side in SIDES),
        *(field(LAYER, f"pad_{side}", p, i) for side in PADS for p in (3, 255) for i in (0, 1)),
        *(field(LAYER, f"pad_{side}", 0, 1) for side in PADS),
        *(field(LAYER, f"second_{side}", 1, i) for side in SIDES for i in (0, 1)),
        *(field(LAYER, "flags", f, 0) for f in (1, 2, 4, 256)),
        *(field(LAYER, "flags", f, 1) for f in (8, 16, 19, 35, 65)),
        field(LAYER, "flags", 2, 2),
        *(field(LAYER, "cexp", n, i) for n, i in ((1, 0), (0, 1), (32768, 1), (4, 2))),
        field(LAYER, "cout", 0, 0),
        field(LAYER, "cout", 4, 1),
        *(field(LAYER, "mode", n, i) for n in (FAST, SWEEP) for i in range(4)),
        *(field(LAYER, "mode", COVER, i) for i in range(3)),
        field(LAYER, "mode", GROUPS, 0),  # three outputs in pairs
    ],
    "PATCH": [
        *(field(H, "patch_off", n) for n in (0, 100, H.size + 2, FAR, HUGE)),
        *(field(fmt.PATCH, name, n, i) for name in "yx" for n in (3, 65535) for i in (0, 3)),
        field(H, "sized", 1),
        *(field(fmt.SIZED_PATCH, name, n, 0, BLOBS["sized"]) for name in "yx" for n in (3, 65535)),
        *(field(fmt.SIZED_PATCH, "yx"[i % 2], 1, 3, BLOBS["sized"]) for i in range(2)),
        *(
            field(fmt.SIZED_PATCH, name, n, i, BLOBS["sized"])
            for name in ("height", "width")
            for n in (0, 3, 7, 65535)
            for i in (0, 3)
        ),
        field(H, "patch_off", len(BLOBS["sized"]) - 16, blob=BLOBS["sized"]),
    ],
    "WEIGHTS": [
        *(field(PARAM, "weight_off", n, i) for n in (0, 100, FAR, HUGE, WEIGHTS[0] + 2) for i in (0, 1, 7)),
        *(field(PARAM, "shift", n, i) for n in (fmt.MAX_SHIFT + 1, 255) for i in (0, 1, 15)),
        *(field(PARAM, f"shift_{k}", n, 1) for n in (fmt.MAX_SHIFT + 1, 255) for k in (1, 2)),
        *(field(PARAM, name, n, i) for name in ("zero_mid", "zero_add") for n in (1, -128) for i in (0, 1)),
        *(field(PARAM, "res_mult", n, 1) for n in (0, 32768)),
        *(field(PARAM, "res_mult", 1, i) for i in (0, 2)),
        field(PARAM, "zero_out", 5, 3),
        *(array(ARRAYS[i][0].mult, struct.pack("<i", mult)) for i in (0, 1) for mult in (0, -1, -(2**31))),
        *(field(H, "pool_mult", n) for n in (0, -1)),
        *(field(H, name, fmt.MAX_SHIFT + 1) for name in ("pool_shift", "fc_shift")),
        *(field(H, "fc_off", n) for n in (100, FAR, HUGE, HEAD["fc_off"] + 2, HEAD["fc_off"] + 4)),
    ],
    "OVERFLOW": [
        *(array(own[0].bias, struct.pack("<i", bias)) for own in ARRAYS for bias in (2**31 - 1, -(2**31))),
        *(array(WEIGHTS[2], struct.pack("<i", bias)) for bias in (2**31 - 25 * 2**15, -(2**31) + 25 * 2**15)),
        array(HEAD["fc_off"], struct.pack("<i", 2**31 - 1)),
    ],
    "LABELS": [
        *(
            array(HEAD["label_off"], text)
            for text in (b"\xff", b"\x80", b"\xc3\x28", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82")
        ),
        *(field(H, "label_off", n) for n in (0, 100, FAR, HUGE)),
        *(field(H, "label_bytes", HEAD["label_bytes"] - n) for n in (1, 3)),
        *(field(H, "label_bytes", n) for n in (0, len(BLOB), 2**32 - 1)),
        array(LABELS_END - 1, b"x"),
        array(HEAD["label_off"], b"\n"),
        field(H, "classes", 1),
        field(H, "classes", 3),
    ],
    "PLAN": [
        *(field(LAYER, "mode", n, i) for n in (8, 255) for i in range(4)),
        field(LAYER, "mode", COVER, 3),
        *(field(LAYER, "mode", n, 0) for n in (ROLLING, STORED)),
        field(LAYER, "mode", DIRECT, 1),
        *(field(LAYER, "mode", n, 2) for n in (ROLLING, WINDOW, GROUPS, STORED)),
        *(field(LAYER, "mode", n, 3) for n in (ROLLING, WINDOW, STORED)),
        *(field(LAYER, "rows", n, i) for n in (0, 3, 65535) for i in range(4)),
        *(field(LAYER, "rows", 2, i) for i in (0, 2, 3)),
        *(field(LAYER, "group", 1, i) for i in (0, 2)),
        *(field(LAYER, "group", n, 1) for n in (0, 5, 65535)),
        *(field(LAYER, "group", n, 3) for n in (0, 4, 65535)),
        *(field(LAYER, "lines", n, i) for n in (0, 5, 65535) for i in (0, 1)),
        *(field(LAYER, "lines", 1, i) for i in (2, 3)),
        *(field(LAYER, "ring_at", HUGE, i) for i in (0, 1)),
        *(field(LAYER, "ring_at", 4, i) for i in (2, 3)),
        *(field(LAYER, "wide_at", 4, i) for i in range(4)),
        *(field(SEGMENT, "first", n, i) for n in (4, 255) for i in range(3)),
        *(field(SEGMENT, "first", n, 1) for n in (1, 3)),
        *(field(SEGMENT, "layers", n, i) for n in (0, 3, 255) for i in range(3)),
        *(field(SEGMENT, "strip", n, i) for n in (0, 3, 65535) for i in range(3)),
        *(field(SEGMENT, name, HUGE, i) for name in ("in_at", "out_at", "state_at", "work_at") for i in range(3)),
        *(field(SEGMENT, name, n, 0) for name in ("state_at", "work_at") for n in (1, 2)),
        field(SEGMENT, "in_at", 4, 0),
        field(SEGMENT, "out_at", 4, 2),
        field(H, "segments", 2),
        *(field(H, "arena_bytes", n) for n in (0, HEAD["arena_bytes"] - 8)),
        *(field(H, name, n) for name in ("sum_at", "feature_at", "logit_at") for n in (HUGE, HEAD["arena_bytes"])),
        *(field(H, name, HEAD[name] + 1) for name in ("sum_at", "logit_at")),
    ],
}
CASES = [(cause, i) for cause, blobs in CAUSES.items() for i in range(len(blobs))]


@pytest.mark.parametrize("cause,i", CASES)
def test_cause_is_named(cause, i):
    with pytest.raises(EngineError) as caught:
        Engine(CAUSES[cause][i])
    assert caught.value.name == cause


def opens(blob: bytes) -> str:
    """What the engine says of a blob: the name of an error, or OK."""
    try:
        Engine(blob)
    except EngineError as e:
        return e.name
    return "OK"


@dataclass(frozen=True)
class FastArrays:
    """Where the arrays of the first bottleneck of a blob of PLANS lie: 4 -> 8 -> 4 channels in mode 5 or 6."""

    blob: bytes
    at: int
    group: int
    pair: int  # bytes of two expanded channels
    project: int  # bytes of a channel's weights of the projection

    @classmethod
    def of(cls, name: str) -> FastArrays:
        blob = BLOBS[name]
        o = oracle.Oracle(blob)
        return cls(blob, o.params[0][1].weight_off, o.layers[1].group, 24, 4)

    def scales(self, part: str, channel: int) -> tuple[int, int]:
        """Offsets of a channel's bias and multiplier."""
        group, inner = divmod(channel, self.group)
        expand = self.at + 4 * 8 + group * self.group * (self.pair // 2 + 20 + self.project)
        bias = {
            "expand": expand + inner // 2 * self.pair + 4 * (inner % 2),
            "depthwise": expand + self.group * (self.pair // 2 + self.project) + 20 * inner + 12,
            "project": self.at + channel // 2 * 16 + 4 * (channel % 2),
        }[part]
        return bias, bias + (4 if part == "depthwise" else 8)

    @property
    def end(self) -> int:
        return self.at + 4 * 8 + 8 * (self.pair // 2 + 20 + self.project)


FAST_PARTS = [(name, part) for name in ("fast", "sweep") for part in ("expand", "depthwise", "project")]


@pytest.mark.parametrize("name, part", FAST_PARTS)
def test_bias_and_multiplier_of_fast_arrays(name, part):
    """Of the first and of the last channel: multipliers are positive, no sum leaves 31 bits whatever its sign."""
    arrays = FastArrays.of(name)
    for channel in (0, 3 if part == "project" else 7):
        bias, mult = arrays.scales(part, channel)
        for value in (0, -1, -(2**31)):
            assert opens(array(mult, struct.pack("<i", value), arrays.blob)) == "WEIGHTS"
        for value in (2**31 - 1, -(2**31)):
            assert opens(array(bias, struct.pack("<i", value), arrays.blob)) == "OVERFLOW"


@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize("name, part", FAST_PARTS)
def test_largest_bias_of_fast_arrays(name, part, shift):
    """Just what fits is accepted, of either sign, one more is not, whatever the multiplier."""
    arrays, products = FastArrays.of(name), {"expand": 4, "depthwise": 9, "project": 8}[part]
    most = ((2**31 - 1) >> shift) - (products << 15)
    field_ = {"expand": "shift_1", "depthwise": "shift_2", "project": "shift"}[part]
    biases = [arrays.scales(part, channel)[0] for channel in range(4 if part == "project" else 8)]
    blob = field(PARAM, field_, shift, 1, arrays.blob)
    for at in biases:  # with a larger shift others might be the ones that are too large
        blob = array(at, bytes(4), blob)
    for at in biases:
        for sign in (1, -1):
            assert opens(array(at, struct.pack("<i", sign * most), blob)) == "OK"
            assert opens(array(at, struct.pack("<i", sign * (most + 1)), blob)) == "OVERFLOW"


@pytest.mark.parametrize("name", ["fast", "sweep"])
def test_largest_shifts_of_fast_arrays(name):
    """Of wide values they are smaller than of others, see FORMAT.md."""
    for field_, most in (("shift", fmt.MAX_SHIFT), ("shift_1", FAST_SHIFT), ("shift_2", FAST_SHIFT)):
        assert opens(field(PARAM, field_, most, 1, BLOBS[name])) in {"OK", "OVERFLOW"}
        assert opens(field(PARAM, field_, most + 1, 1, BLOBS[name])) == "WEIGHTS"


@pytest.mark.parametrize("part", ["expand", "project"])
@pytest.mark.parametrize("name", ["fast", "sweep", "narrow", "bytes", "narrow bytes"])
def test_any_two_weights_in_16_bits(name, part):
    """All numbers stand for two weights; the second one may be 128, which `pack` never writes."""
    arrays, rng = FastArrays.of(name), np.random.default_rng(5)
    first = arrays.at + 4 * 8 + (16 if part == "expand" else arrays.group // 2 * arrays.pair)
    for value in (0x7FFF, 0x7F80, -0x8000, -0x7F81, -1, 0x7F):
        blob = array(first, struct.pack("<h", value) * 4, arrays.blob)
        check(Engine(blob), oracle.Oracle(blob).run_raw(x := rng.integers(-128, 128, (6, 6, 1)).astype(np.int8)), x)
        if (value + 128) >> 8 == 128:
            with pytest.raises(ValueError, match="^weight: wanted -128 to 127, got 128$"):
                blob_qnet(blob, name)


FAST_LAYERS = [(n, i) for n, o in ORACLES.items() for i, layer in enumerate(o.layers) if layer.mode in (FAST, SWEEP)]
ORDERS = {  # of a channel's depthwise weights, -- for 0
    (3, 1, True): "10 11 00 01 12 20 02 21 21 -- 22 --",
    (3, 2, True): "00 10 01 11 20 02 21 12 22 -- -- --",
    (3, 1, False): "00 01 01 02 10 11 11 12 20 21 21 22",
    (5, 1, True): " ".join(f"{y}0 {y}1 {y}1 {y}2 {y}2 {y}3 {y}3 {y}4" for y in range(5)),
}


@pytest.mark.parametrize("name, i", FAST_LAYERS)
def test_what_fills_words_is_zero_and_what_is_doubled_the_same(name, i):
    """In the last channel: the kernels of one processor read what those of another do not."""
    blob, layer = BLOBS[name], ORACLES[name].layers[i]
    expand, cin = bool(layer.flags & oracle.EXPAND), ORACLES[name].shapes[i][0][2]
    order = ORDERS[layer.kernel_h, layer.stride_h, expand].split()
    weights = len(order)
    end = ORACLES[name].params[0][i].weight_off + 8 * layer.cout
    end += layer.cexp * (expand * (16 + 8 * -(-cin // 4)) // 2 + weights + 8 + layer.cout)
    last = end - 8 - weights
    for k, tap in enumerate(order):
        one = array(last + k, bytes([blob[last + k] ^ 1]), blob)
        all_ = one
        for same in (n for n, other in enumerate(order) if other == tap and n != k):
            all_ = array(last + same, bytes([one[last + k]]), all_)
        assert opens(one) == ("WEIGHTS" if order.count(tap) > 1 or tap == "--" else "OK"), tap
        assert opens(all_) == ("WEIGHTS" if tap == "--" else "OK"), tap
    group = (layer.cexp - 1) % layer.group + 1
    pair = end - group * (layer.cout + weights + 8)  # behind the last two channels of the expansion
    for k in range(cin % 4, 4) if expand and cin % 4 else ():
        for output in (0, 1):
            assert opens(array(pair - 8 + 2 * [0, 2, 1, 3][k] + output, b"\1", blob)) == "WEIGHTS", k


@pytest.mark.parametrize("name, layer", [("sum", 0), ("blocks", 1), ("blocks", 2)])
def test_weights_in_pairs(name, layer):
    """What makes them fours is zero, and the output that is there twice has scales that are looked at both times."""
    blob, o = BLOBS[name], ORACLES[name]
    assert o.layers[layer].flags & oracle.PAIRS
    for own in arrays_of(o, layer):
        odd, pairs = own.outputs % 2, (own.outputs + 1) // 2
        size = -(-own.products // 4) * 8 + 16
        for pair in range(pairs):
            end = own.bias + pair * size
            for k in range(own.products % 4, 4) if own.products % 4 else ():
                for byte in (0, 1):
                    assert opens(array(end - 8 + 2 * [0, 2, 1, 3][k] + byte, b"\1", blob)) == "WEIGHTS", (pair, k)
            for k in range(2):
                assert opens(array(end + 8 + 4 * k, bytes(4), blob)) == "WEIGHTS"
                assert opens(array(end + 4 * k, struct.pack("<i", 2**31 - 1), blob)) == "OVERFLOW"
        assert not odd or blob[own.end - 16 : own.end - 12] == blob[own.end - 12 - size :][:4]


def test_pairs_need_two_outputs():
    """In mode 3 of each group."""
    chain = Layer("conv", 6, 6, 1, 0, 2, 3, 1), Layer("conv", 6, 6, 2, 0, 2, 1, 1)
    network = free_network("tiny", ("yes", "no"), 6, 6, 1, 1, False, chain=chain)
    plan = place(network, [(6, [(DIRECT, 1, 0)]), (6, [(GROUPS, 1, 2)])])
    blob = pack(random_qnet(np.random.default_rng(2), network), plan)
    assert opens(blob) == "OK" and all(layer.flags & oracle.PAIRS for layer in oracle.Oracle(blob).layers)
    assert opens(field(LAYER, "cout", 1, 0, blob)) == "SHAPE"
    assert opens(field(LAYER, "group", 1, 1, blob)) == "SHAPE"
    for flag in (oracle.NARROW, oracle.BYTES, oracle.SIGNED):
        assert opens(field(LAYER, "flags", oracle.PAIRS | flag, 0, blob)) == "SHAPE"


@pytest.mark.parametrize("name", ["narrow", "narrow bytes"])
def test_sums_that_may_leave_24_bits_are_refused(name):
    """Whatever the picture: with depthwise values of 255 under all weights of one sign."""
    blob, o = BLOBS[name], ORACLES[name]
    layer, param = o.layers[1], o.params[0][1]
    assert layer.flags & oracle.NARROW and layer.group < layer.cexp
    _, _, (_, _, weight) = o._parts(layer, param, o.shapes[1][0][2], o.columns[1])
    last = weight[:, -1]  # its bias is the second of the last pair of outputs
    at = param.weight_off + (layer.cout // 2 - 1) * 16 + 4
    most, least = 2**23 - 1 - 255 * last[last > 0].sum(), -(2**23) - 255 * last[last < 0].sum()
    for bias, cause in ((most, "OK"), (most + 1, "OVERFLOW"), (least, "OK"), (least - 1, "OVERFLOW")):
        assert opens(array(at, struct.pack("<i", bias), blob)) == cause


@pytest.mark.parametrize("name", ["fast", "sweep"])
def test_fast_arrays_end_with_the_blob(name):
    arrays = FastArrays.of(name)
    longer = arrays.blob + arrays.blob[arrays.at : arrays.end]
    assert len(arrays.blob) % 4 == arrays.end % 4 == 0
    assert opens(field(PARAM, "weight_off", len(arrays.blob), 1, longer)) == "OK"
    assert opens(field(PARAM, "weight_off", len(arrays.blob), 1, longer[:-4])) == "WEIGHTS"
    assert opens(field(PARAM, "weight_off", len(arrays.blob) + 2, 1, longer + bytes(4))) == "WEIGHTS"


def test_fast_layer_without_an_expansion():
    """It has one mode, one kernel and no place for kept lines."""
    blob = BLOBS["fast kernels"]
    for name, value, causes in (
        ("mode", SWEEP, {"PLAN"}), ("kernel_h", 5, {"SHAPE"}), ("stride_w", 2, {"SHAPE"}), ("wide_at", 4, {"PLAN"}),
        ("cexp", 8, {"SHAPE"}), ("group", 2, {"PLAN"}),
    ):  # fmt: skip
        assert opens(field(LAYER, name, value, 2, blob)) in causes, name
    assert opens(field(LAYER, "flags", oracle.BYTES, 2, blob)) == "SHAPE"
    larger = {Place("layer", 2, f"kernel_{side}"): 5 for side in SIDES}
    larger |= {Place("layer", 2, f"pad_{side}"): 2 for side in PADS}
    assert opens(patched(blob, larger)) in {"PLAN", "WEIGHTS", "OVERFLOW"}


OF_KINDS = {  # of layers of other kinds: (blob, layer, field, value)
    "SHAPE": [
        *(("blocks", i, f"second_{side}", n) for i in (1, 2) for side in SIDES for n in (0, 2, 4, 17, 255)),
        *(("blocks", 1, "flags", n) for n in (0, 2, 3, 4, 5, 8, 10, 16)),
        *(("blocks", 2, "flags", n) for n in (2, 4, 10, 16)),
        *(("blocks", i, "cexp", n) for i in (1, 2) for n in (0, 20_000, 65535)),
        *(("blocks", 2, name, n) for name, n in (("cout", 3), ("stride_h", 2), ("stride_w", 2), ("pad_top", 0))),
        *(("blocks", i, "mode", n) for i in (1, 2) for n in (FAST, SWEEP, COVER)),
        *(("blocks", 3, f"kernel_{side}", n) for side in SIDES for n in (0, 1, 2, 4)),
        *(("blocks", 3, f"pad_{side}", 1) for side in PADS),
        *(("pools", i, "cexp", 1) for i in (1, 2)),
        *(("pools", i, "cout", n) for i in (1, 2) for n in (0, 2, 4)),
        *(("pools", i, "flags", n) for i in (1, 2, 3) for n in (1, 2, 4, 8, 16)),
        *(("pools", i, f"second_{side}", 1) for i in (1, 2, 3) for side in SIDES),
        *(("pools", 2, f"pad_{side}", 3) for side in PADS),
        *(("pools", i, "mode", n) for i in (1, 2) for n in (FAST, SWEEP, COVER)),
        ("pools", 1, "kernel_h", 16),
        *(("halved", i, "kind", kind) for i in (1, 4) for kind in (4, 5, 7, 8)),
        *(("halved", i, "kind", kind) for i in (2, 5) for kind in (1, 4, 5, 6, 8)),
        *(("halved", i, "kind", kind) for i in (0, 3, 6) for kind in (6, 7)),
        *(("halved", i, name, 2) for i in (1, 2) for name in ("kernel_h", "kernel_w", "stride_h", "stride_w")),
        *(("halved", i, "cout", n) for i in (1, 2) for n in (0, 1, 3, 5, 8)),
        *(("halved", i, name, 1) for i in (1, 2) for name in ("flags", "cexp", "second_h", "pad_top")),
        *(("halved", i, "mode", n) for i in (1, 2, 4, 5) for n in (FAST, SWEEP, COVER)),
    ],
    "PLAN": [
        *(("blocks", i, "mode", n) for i in (1, 2) for n in (DIRECT, WINDOW, GROUPS, STORED, 8)),
        *(("blocks", i, "rows", n) for i in (1, 2, 3) for n in (0, 2)),
        *(("blocks", i, "group", n) for i in (1, 2, 3) for n in (1, 2)),
        *(("blocks", i, "wide_at", HUGE) for i in (1, 2, 3)),
        ("blocks", 2, "lines", 0),
        *(("pools", i, "mode", n) for i in (1, 2) for n in (ROLLING, WINDOW, GROUPS, STORED, 8)),
        *(("pools", i, "rows", n) for i in (1, 2, 3) for n in (0, 2)),
        *(("pools", i, "group", n) for i in (1, 2, 3) for n in (1, 2)),
        *(("pools", i, "wide_at", n) for i in (1, 2) for n in (4, HUGE)),
        *(("halved", i, "mode", n) for i in (1, 2) for n in (ROLLING, WINDOW, GROUPS, STORED, 8)),
        *(
            ("halved", i, name, n)
            for i in (1, 2)
            for name, n in (("rows", 0), ("rows", 2), ("group", 2), ("wide_at", 4))
        ),
    ],
}


@pytest.mark.parametrize("cause", OF_KINDS)
def test_cause_of_other_kinds_is_named(cause):
    for name, layer, field_, value in OF_KINDS[cause]:
        said = opens(field(LAYER, field_, value, layer, BLOBS[name]))
        assert said == cause, (name, layer, field_, value)


def test_params_of_other_kinds():
    """Shifts, zero points that must be nought or the input's, what is added."""
    blocks, pools, too_large = BLOBS["blocks"], BLOBS["pools"], fmt.MAX_SHIFT + 1
    wrong = [(blocks, i, name, too_large) for i in (1, 2) for name in ("shift", "shift_1")]
    wrong += [(blocks, 1, "shift_2", too_large), (blocks, 2, "zero_add", 1), (pools, 2, "shift", too_large)]
    wrong += [(blocks, i, "res_mult", n) for i in (1, 2) for n in (0, 32768)] + [(pools, 2, "res_mult", 1)]
    wrong += [(pools, i, name, 1) for i in (1, 2, 3) for name in ("zero_mid", "zero_add")]
    zero = oracle.Oracle(pools).params[0][0].zero_out
    wrong += [(pools, 1, "zero_out", zero ^ 1)]
    zero = oracle.Oracle(BLOBS["halved"]).params[0][0].zero_out
    wrong += [(BLOBS["halved"], i, "zero_out", zero ^ 1) for i in (1, 2)]
    wrong += [(BLOBS["halved"], i, "res_mult", 1) for i in (1, 2)]
    for blob, layer, name, value in wrong:
        assert opens(field(PARAM, name, value, layer, blob)) == "WEIGHTS", (layer, name)
    for value in (-128, 5, 127):
        assert opens(field(PARAM, "zero_mid", value, 2, blocks)) == "OK"


def test_what_a_block_adds_lies_in_its_input():
    """With a shortcut and a kernel that reaches far beyond the map there would be more outputs than inputs."""
    layer = oracle.Oracle(BLOBS["blocks"]).layers[1]
    assert (layer.kernel_h, layer.stride_h, layer.pad_top, layer.pad_bottom) == (3, 2, 1, 1)
    for side, (before, after) in {"h": ("top", "bottom"), "w": ("left", "right")}.items():
        more = {f"stride_{side}": 1, f"kernel_{side}": 3, f"pad_{before}": 2, f"pad_{after}": 2}
        assert opens(patched(BLOBS["blocks"], {Place("layer", 1, name): n for name, n in more.items()})) == "SHAPE"


def test_mean_that_overflows():
    """255 * 6 << shift fits 31 bits up to 16, of a kernel of 225 taps only up to 15."""
    chain = Layer("conv", 15, 15, 1, 0, 1, 1, 1), Layer("meanpool", 15, 15, 1, 0, 1, 15, 1, pads=(0, 0, 0, 0))
    q = random_qnet(np.random.default_rng(1), free_network("mean", ("a",), 15, 15, 1, 1, False, chain=chain))
    blob, at = pack(q), oracle.Oracle(pack(q)).params[0][1].weight_off
    assert opens(field(PARAM, "shift", 15, 1, blob)) == "OK"
    assert opens(field(PARAM, "shift", 16, 1, blob)) == "OVERFLOW"
    assert opens(field(PARAM, "shift", 16, 2, BLOBS["pools"])) == "OK"
    for mult, said in ((1, "OK"), (2**31 - 1, "OK"), (0, "WEIGHTS"), (-1, "WEIGHTS")):
        assert opens(array(at, struct.pack("<i", mult), blob)) == said


def test_a_covering_kernel_is_for_rows():
    """However large, but in strips there is no mode for one of more than 15 rows."""
    chain = Layer("conv", 20, 4, 1, 0, 2, 1, 1), Layer("conv", 20, 4, 2, 0, 3, (20, 4), 1, pads=(0, 0, 0, 0))
    more = Layer("conv", 1, 1, 3, 0, 2, 3, 1, pads=(2, 2, 2, 2))
    network = free_network("large", ("a",), 20, 4, 1, 1, False, chain=(*chain, more))
    q = random_qnet(np.random.default_rng(1), network)
    three = [(DIRECT, 1, 0), (COVER, 1, 0), (DIRECT, 1, 0)]
    assert opens(pack(q, place(network, [(3, three)]))) == "OK"
    for mode in (DIRECT, COVER):
        with pytest.raises(ValueError, match="layer 1: mode: wanted lines that are rows, got"):
            place(network, [(1, [three[0], (mode, 1, 0), three[2]])])
    assert opens(pack(q)) == "OK" and plan_is_sound(pack(q))


@pytest.mark.parametrize("mode, group", [(STORED, 4), (WINDOW, 0), (WINDOW, 4)])
def test_only_the_layer_that_reads_the_picture_has_mode_window(mode, group):
    """However much room there is."""
    values = {Place("segment", 1, "work_at"): 4096, Place("header", 0, "arena_bytes"): 8192}
    values |= {Place("layer", 1, "mode"): mode, Place("layer", 1, "rows"): 1, Place("layer", 1, "group"): group}
    blob = patched(BLOBS["whole"], values)
    if mode == STORED:
        assert opens(blob) == "OK"
        return
    with pytest.raises(EngineError) as caught:
        Engine(blob)
    assert (caught.value.name, caught.value.layer) == ("PLAN", 1)
    assert not plan_is_sound(blob)


@pytest.mark.parametrize("name", ["fast", "sweep"])
def test_cause_of_a_bad_fast_layer_is_named(name):
    """Shapes that have no such mode, groups, rows, places; weights that would need more room than there is."""
    blob, layer = BLOBS[name], oracle.Oracle(BLOBS[name]).layers[1]
    causes = [("flags", flags, "SHAPE") for flags in (2, 16, 255)]
    causes += [("flags", 5, "WEIGHTS"), ("flags", layer.flags | oracle.SIGNED, "PLAN")]
    causes += [("flags", layer.flags | oracle.BYTES, "OK"), ("flags", layer.flags | 8, "SHAPE")]
    causes += [("cexp", n, "SHAPE") for n in (0, 6, 7)] + [("cout", 5, "SHAPE"), ("cexp", 32764, "WEIGHTS")]
    causes += [("group", n, "PLAN") for n in (0, 2, 6, 12, 65535)]
    causes += [("rows", n, "PLAN") for n in (0, 4 if layer.mode == SWEEP else 2)]
    causes += [("wide_at", layer.wide_at + n, "PLAN") for n in (1, 2)] + [("wide_at", HUGE, "PLAN")]
    for name_, value, cause in causes:
        assert opens(field(LAYER, name_, value, 1, blob)) == cause, (name_, value)
    assert opens(field(PARAM, "shift", fmt.MAX_SHIFT + 1, 1, blob)) == "WEIGHTS"
    for group in (4, 6, 8):  # with room enough
        part = next(part for part in parts(oracle.Oracle(blob)) if part.stages[-1].index >= 1)
        room = {Place("segment", part.index, "work_at"): 4096, Place("header", 0, "arena_bytes"): 8192}
        roomy = patched(blob, room | {Place("layer", 1, "group"): group})
        assert (opens(roomy) == "PLAN") == (group == 6)  # in groups of another size arrays may be out of range
        assert opens(roomy) == "OK" or group != layer.group


@pytest.mark.parametrize(
    ("cin", "cexp", "group", "fits"),
    [(508, 4, 4, True), (509, 4, 4, False), (4, 264, 256, True), (4, 264, 260, False), (4, 264, 264, True)],
)
@pytest.mark.parametrize("mode", [FAST, SWEEP])
def test_sums_of_two_channels_in_one(monkeypatch, mode, cin, cexp, group, fits):
    """A layer has these modes if no sum of a channel leaves 24 bits: with at most 508 inputs of an expansion, and 256
    channels that are added to sums."""
    stem, last = Layer("conv", 3, 1, 1, 0, cin, 1, 1), Layer("bottleneck", 3, 1, cin, cexp, 2, 3, 1, True)
    network = free_network("large", ("a",), 3, 1, 1, 1, False, chain=(stem, last))
    q, schedule = fast_qnet(np.random.default_rng(1), network), [(3, [(DIRECT, 1, 0)]), (3, [(mode, 1, group)])]
    assert fits == (bool(fast_layers(q)[1]) and bool(fast_group(last, group)))
    if fits:
        assert opens(pack(q, place(network, schedule))) == "OK"
        return
    with pytest.raises(
        ValueError, match="layer 1: (mode: wanted rolling or groups or stored|group: wanted at most 256)"
    ):
        place(network, schedule)
    for limit in ("MAX_FAST_INPUTS", "MAX_FAST_GROUP"):
        monkeypatch.setattr(modes_, limit, 9999)
    blob = pack(q, place(network, schedule))
    assert opens(blob) == "PLAN" and not plan_is_sound(blob)


def test_sums_of_a_long_chunk_do_not_wrap(monkeypatch):
    """4096 lines of sums of 1 MB each take 4 GB, of which 32 bits tell nothing."""
    work = sizes.WORK["bottleneck", SWEEP]
    wrapped = {("bottleneck", SWEEP): lambda *a: (w := work(*a)) | dict(sums=w["sums"] % (1 << 32))}
    monkeypatch.setattr(sizes, "WORK", sizes.WORK | wrapped)
    chain = Layer("conv", 4096, 64, 1, 0, 1, 3, 1), Layer("bottleneck", 4096, 64, 1, 8, 4096, 3, 1, True)
    network = free_network("long", ("a", "b"), 4096, 64, 1, 1, False, chain=chain)
    small = replace(network, height=4, width=4, chain=tuple(replace(layer, h=4, w=4) for layer in chain))
    tunnel = tuple(replace(q, shape=s) for q, s in zip(random.random_qnet(small).tunnels[0], chain, strict=True))
    qnet = replace(random.random_qnet(small), design=network, tunnels=(tunnel,))
    blob = pack(qnet, place(network, [(4096, [(DIRECT, 1, 0), (SWEEP, 4096, 4)])]))
    assert oracle.Oracle(blob).header.arena_bytes < 1 << 20 and opens(blob) == "PLAN"


SINGLE = oracle.Oracle(BLOB)
FC_BYTES = 8 * 2 + 8  # two classes of three features, padded
PIECES = [  # of the blob: where its offset stands, its own offset, its bytes, the error when it is cut
    (H, "patch_off", 0, HEAD["patch_off"], 4 * 4, "PATCH"),
    (H, "layer_off", 0, HEAD["layer_off"], 4 * LAYER.size, "SHAPE"),
    (H, "segment_off", 0, HEAD["segment_off"], 3 * SEGMENT.size, "SHAPE"),
    (H, "param_off", 0, HEAD["param_off"], 16 * PARAM.size, "SHAPE"),
    (H, "label_off", 0, HEAD["label_off"], HEAD["label_bytes"], "LABELS"),
    (H, "fc_off", 0, HEAD["fc_off"], FC_BYTES, "WEIGHTS"),
    *((PARAM, "weight_off", i, WEIGHTS[i], ARRAYS[i][-1].end - WEIGHTS[i], "WEIGHTS") for i in range(4)),
]


def copied(at: int, size: int, end: int) -> bytes:
    """The blob with a piece of it once more at `end`, of its head or of its arrays, which begin at a multiple of 4."""
    padding = -size % 4 if end < len(BLOB) else 0
    shift = size + padding if end < len(BLOB) else 0
    places = [Place("header", 0, "fc_off"), Place("header", 0, "weight_off")]
    places += [Place("param", i, "weight_off") for i in range(HEAD["tunnels"] * HEAD["layers"])]
    moved_ = patched(BLOB, {place: value_at(BLOB, place) + shift for place in places})
    return moved_[:end] + moved_[at : at + size] + bytes(padding) + moved_[end:]


@pytest.mark.parametrize("table, name, index, at, size, error", PIECES)
def test_piece_ends_with_the_blob(table, name, index, at, size, error):
    """A table that is the head's last may end with it, an array with the blob, not four bytes behind."""
    end = HEAD["weight_off"] if at < HEAD["weight_off"] else len(BLOB)
    assert opens(field(table, name, end, index, copied(at, size, end))) == "OK"
    assert opens(field(table, name, end, index, copied(at, size - 4, end))) == error


def sums_of(name: str) -> list[tuple[str, int, int, int]]:
    """(blob, offset of the biases, largest sum of products, shift) of every array of a blob's first chain and of the
    last."""
    o = oracle.Oracle(BLOBS[name])
    arrays = [array for i, layer in enumerate(o.layers) if layer.kind in DENSE for array in arrays_of(o, i)]
    out = [(name, a.bias, a.products << 15, a.shift) for a in arrays]
    return [*out, (name, o.header.fc_off, o.layers[-1].cout << 14, o.header.fc_shift)]


@pytest.mark.parametrize("name, at, products, shift", [*sums_of("sum"), *sums_of("blocks"), *sums_of("pools")])
def test_largest_bias(name, at, products, shift):
    """Just what fits 31 bits is accepted, of either sign, one more is not."""
    most = ((2**31 - 1) >> shift) - products
    for sign in (1, -1):
        assert opens(array(at, struct.pack("<i", sign * most), BLOBS[name])) == "OK"
        assert opens(array(at, struct.pack("<i", sign * (most + 1)), BLOBS[name])) == "OVERFLOW"


@pytest.mark.parametrize(
    "height, width, k, aggregate, error",
    [
        (8, 16, 1, "sum", "OK"),
        (3, 43, 1, "sum", "OVERFLOW"),
        (8, 16, 4, "sum", "OK"),
        (6, 22, 4, "sum", "OVERFLOW"),
        (6, 22, 4, "concat", "OK"),
        (6, 86, 4, "concat", "OVERFLOW"),
    ],
)
def test_most_pixels_pooled(height, width, k, aggregate, error):
    """128 * 255 << 16 fits 31 bits; 129 do not. Chains count when they are summed."""
    blob = pack(identity_qnet(height, width, 1, k, aggregate=aggregate))
    assert opens(field(H, "pool_shift", 16, blob=blob)) == error


def test_fault_is_placed_in_its_layer():
    with pytest.raises(EngineError) as caught:
        Engine(field(LAYER, "stride_w", 16, 2))
    assert caught.value.layer == 2
    with pytest.raises(EngineError) as caught:
        Engine(field(LAYER, "rows", 0, 1))
    assert caught.value.layer == 1
    with pytest.raises(EngineError) as caught:
        Engine(field(H, "task", 0))
    assert caught.value.layer == 255


def test_more_bytes_than_the_blob_do_not_matter():
    assert Engine(BLOB + b"more").arena_bytes == HEAD["arena_bytes"]


@pytest.mark.parametrize("shift", [1, 2, 3])
def test_misaligned_blob(shift):
    with pytest.raises(EngineError, match="ALIGN"):
        Engine(BLOB, shift=shift)
    assert Engine(BLOB, shift=4).arena_bytes


def test_arena_too_small_or_misaligned():
    engine = Engine(BLOB)
    arena, x = np.zeros(engine.arena_bytes + 16, np.uint8), np.zeros(36, np.int8)
    at = arena.ctypes.data + -arena.ctypes.data % 8
    start = library().pn_start_raw
    assert start(engine.model, at, engine.arena_bytes, x.ctypes.data) == 0
    assert ERRORS[-1 - start(engine.model, at, engine.arena_bytes - 1, x.ctypes.data)] == "ARENA"
    assert ERRORS[-1 - start(engine.model, at + 4, engine.arena_bytes, x.ctypes.data)] == "ALIGN"


@pytest.mark.parametrize("pixfmt", [-1, 0, 4])
def test_unknown_pixel_format(pixfmt):
    with pytest.raises(EngineError, match="PIXFMT"):
        Engine(BLOB).start_image(bytes(100), 5, 4, pixfmt)


@pytest.mark.parametrize("roi", [
    (0, 0, 0, 1), (0, 0, 1, 0), (5, 0, 1, 1), (0, 4, 1, 1), (6, 0, 1, 1), (0, 5, 1, 1), (4, 0, 2, 1), (0, 3, 1, 2),
    (1, 0, 2**32 - 1, 1), (0, 1, 1, 2**32 - 1),
])  # fmt: skip
def test_region_outside(roi):
    with pytest.raises(EngineError, match="ROI"):
        Engine(BLOB).start_image(bytes(100), 5, 4, 1, roi)
    Engine(BLOB).start_image(bytes(100), 5, 4, 1, (4, 3, 1, 1))


def test_region_too_large():
    with pytest.raises(EngineError, match="ROI"):
        Engine(BLOB).start_image(bytes(4097), 4097, 1, 1)


def test_messages_differ_and_name_the_cause():
    whole = [i for i, name in enumerate(ERRORS) if not name.startswith("NO_")]  # what a build without nothing says
    texts = [library().pn_error(-1 - i).decode() for i in whole]
    assert len(set(texts)) == len(texts) and "ok" not in texts
    for word in ("magic", "version", "CRC", "shape", "format", "plan"):  # the words that the API promises
        assert word in texts


def layers_in_a_row(n: int) -> bytes:
    """n convolutions of 1x1 as one segment."""
    layers = (Layer("conv", 2, 2, 1, 0, 1, 1, 1),) * n
    network = free_network("long", ("a",), 2, 2, 1, 1, False, chain=layers)
    apart = pack(random_qnet(np.random.default_rng(0), network), place(network, [(2, [(DIRECT, 1, 0)])] * n))
    rings = {Place("layer", i, "lines"): 1 for i in range(n)} | {Place("layer", i, "ring_at"): 2 * i for i in range(n)}
    fused = {Place("segment", 0, "layers"): n, Place("segment", 0, "out_at"): 0, Place("header", 0, "segments"): 1}
    spread = {Place("segment", 0, "work_at"): 2000, Place("segment", 0, "state_at"): 256}
    ends = {"sum_at": 208, "feature_at": 212, "logit_at": 214, "arena_bytes": 4096}
    return patched(apart, rings | fused | spread | {Place("header", 0, name): value for name, value in ends.items()})


def test_most_layers_of_a_segment():
    """16 layers are run as one, 17 are refused: the engine's stack is bounded."""
    assert plan_is_sound(layers_in_a_row(fmt.MAX_FUSED)) and not plan_is_sound(layers_in_a_row(fmt.MAX_FUSED + 1))
    assert opens(layers_in_a_row(fmt.MAX_FUSED)) == "OK"
    assert opens(layers_in_a_row(fmt.MAX_FUSED + 1)) == "PLAN"


def test_lines_of_all_strips_are_bounded():
    """Else a small blob of many strips would be looked at for minutes. One layer: 128 lines a strip."""
    network = free_network("tall", ("a",), 4096, 64, 1, 1, False, chain=(Layer("conv", 4096, 64, 1, 0, 1, 1, 1),))
    assert opens(strips(64)) == "OK" and plan_is_sound(strips(64))
    for strip in (63, 1):
        assert opens(strips(strip)) == "PLAN" and not plan_is_sound(strips(strip))
        with pytest.raises(ValueError, match="layer 0: lines of a segment's strips: wanted 1..8192, got "):
            place(network, [(strip, [(DIRECT, 1, 0)])])
    assert all(-(-4096 // p.schedule[0][0]) <= 64 for p in front(network))


def test_arrays_that_many_layers_use_are_bounded():
    """17 times the blob, counted for each layer, are looked at and no more."""
    n = 40
    chain = (Layer("conv", 1, 1, 64, 0, 64, 1, 1),) * n
    network = free_network("alike", ("a",), 1, 1, 64, 1, False, chain=chain)
    blob = pack(random_qnet(np.random.default_rng(2), network), place(network, [(1, [(DIRECT, 1, 0)])] * n))
    at = oracle.Oracle(blob).params[0][0].weight_off
    each = 8 * 64 + 64 * 64
    one = blob[: at + each] + blob[at + n * each :]
    fc = oracle.Oracle(blob).header.fc_off - (n - 1) * each
    one = patched(one, {Place("param", i, "weight_off"): at for i in range(n)} | {Place("header", 0, "fc_off"): fc})
    most = 17 * len(one) // each
    assert most < n
    with pytest.raises(EngineError) as caught:
        Engine(one)
    assert (caught.value.name, caught.value.layer) == ("WEIGHTS", most)
    with pytest.raises(EngineError):
        Engine(one, stream=0)
    assert opens(patched(one + bytes(n * each // 17), {})) == "OK"


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("name", BLOBS)
def test_opening_in_steps(name, streamed):
    """A step for each layer and each strip, and for 16 KB of the whole; what it works in is not left."""
    lib, blob, o = library(), aligned(len(BLOBS[name])), ORACLES[name]
    blob[:] = np.frombuffer(BLOBS[name], np.uint8)
    model, work = (
        ctypes.create_string_buffer(lib.shim_model_bytes()),
        aligned(fmt.MAX_FUSED * fmt.STATE_BYTES + 64, 0xA5),
    )
    at = blob.ctypes.data
    assert lib.pn_open_begin(model, at, None if streamed else at, len(blob), work[32:].ctypes.data) == 0
    steps = 1
    while (err := lib.pn_open_step(model)) == MORE:
        steps += 1
    strips = sum(len(part.strips()) for part in parts(o))
    assert err == 0 and set(work[:32]) | set(work[-32:]) == {0xA5}
    assert steps == (not streamed) + 1 + sum(map(len, (*o.params, o.behind))) + strips


# The plan, against a second writing of FORMAT.md's rules


@pytest.mark.parametrize("seed", range(40))
def test_plan_check_is_complete(seed):
    """Random plans with one number moved: the engine refuses what the rules forbid, and nothing else; and what it does
    not refuse gives the same bytes."""
    case = (merging_case if seed % 8 == 7 else random_case)(6000 + seed, max_macs=50_000)
    rng = np.random.default_rng(seed)
    blob = pack(case.qnet, random_plan(rng, case.qnet.design, fast_layers(case.qnet)))
    blob = scattered(rng, blob) if seed % 2 else blob
    assert plan_is_sound(blob) and opens(blob) == "OK"
    wanted, verdicts = case.oracle.run_image(*case.picture.args()), []
    for _ in range(60):
        place, bad = moved(rng, blob)
        bad, allowed = judged(case.qnet, place, bad)
        verdicts.append(opens(bad))
        assert verdicts[-1] in allowed, place
        if verdicts[-1] == "OK":
            assert (Engine(bad).run_image(*case.picture.args()).logits16 == wanted.logits16).all(), place
    assert {"OK", "PLAN"} <= set(verdicts)


@pytest.mark.parametrize("seed", range(3, 163, 4))
def test_memory_of_fast_layers_is_checked_to_the_byte(seed):
    """Networks for modes 5 and 6, in the same plan but one area at the arena's end: there it just fits, or does not."""
    blob = random_case(seed, max_macs=50_000).blob
    o = oracle.Oracle(blob)
    strips = [areas for part in parts(o) for areas in (strip_areas(o, part, strip) for strip in part.strips())]
    end = -(-o.header.arena_bytes // 4) * 4
    for area in {area for areas in strips for area in areas if area.field in ("work_at", "wide_at", "ring_at")}:
        size = max(areas[area][1] for areas in strips if area in areas)
        for more, fits in ((0, True), (-1, False)) if size else ():
            moved_there = {area: end, Place("header", 0, "arena_bytes"): end + size + more}
            assert (opens(patched(blob, moved_there)) == "OK") == fits, (area, more)
        if area.field == "wide_at" and o.layers[area.index].mode in (FAST, SWEEP):
            for odd in (1, 2, 3):
                moved_there = {area: end + odd, Place("header", 0, "arena_bytes"): end + size + 4}
                assert opens(patched(blob, moved_there)) == "PLAN"


@pytest.mark.parametrize("seed", range(3, 163, 4))
def test_fewer_lines_of_fast_layers(seed):
    """Each ring, and each distance of two maps, a little smaller: refused just where the rules forbid it."""
    blob = random_case(seed, max_macs=50_000).blob
    o = oracle.Oracle(blob)
    smaller = [{Place("layer", i, "lines"): layer.lines - 1} for i, layer in enumerate(o.layers) if layer.lines > 1]
    for part in parts(o):
        row = part.stages[0].cin
        near = [part.record.in_at - n for n in (1, row, 2 * row)] if part.record.in_at > 2 * row else []
        smaller += [{Place("segment", part.index, "in_at"): at} for at in near]
    for values in smaller:
        bad = patched(blob, values)
        assert opens(bad) == ("OK" if plan_is_sound(bad) else "PLAN"), values

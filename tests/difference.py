"""What a test says when engine and oracle differ: how to make the case again, its plan, and where it begins.

`check` runs the engine and compares. If the result is another one it runs again step by step, looks at what the arena
holds at the end of each segment, and names the first map with a value that is not the oracle's; and then once more with
every layer as a segment by itself, as a segment's inner maps are never whole in the arena.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cases import Case, Picture, assert_equal
from cengine import GUARD, Engine, Where
from oracle import BYTES, FAST, HEAD, SWEEP, Layer, Oracle, Result, Steps, arena
from patchnet.blob.pack import pack
from patchnet.blob.unpack import blob_qnet
from patchnet.plan.modes import AS_BYTES
from patchnet.plan.place import place

MODES = ("direct", "rolling", "window", "groups", "stored", "fast", "sweep", "cover")
KINDS = ("conv", "bottleneck", "block", "maxpool", "meanpool", "int4", "int8")


class Stored(NamedTuple):
    """What lies in the arena when a segment has ended in a tunnel, and what should."""

    tunnel: int
    segment: int
    what: str
    got: np.ndarray
    wanted: np.ndarray


def start(engine: Engine, x: Picture | np.ndarray) -> None:
    """`x`: a picture, a raw input (height, width, channels), or the samples (n,) of a clip."""
    if isinstance(x, Picture):
        engine.start_image(*x.args())
    elif x.ndim == 1:
        engine.start_clip(x)
    else:
        engine.start_raw(x)


def check(engine: Engine, wanted: Result, x: Picture | np.ndarray, case: Case | None = None) -> None:
    """The engine makes of `x` what the oracle does."""
    try:
        start(engine, x)
        assert_equal(engine.finish(), wanted)
    except AssertionError as e:
        raise AssertionError("\n".join(explained(engine, wanted, x, case, e))) from None


def explained(engine: Engine, wanted: Result, x, case: Case | None, e: AssertionError) -> list[str]:
    oracle = Oracle(engine.blob.tobytes())
    said = [
        "engine and oracle differ",
        *again(case and case.again),
        *plan_lines(oracle),
        f"first difference: {first(engine, wanted, x)}",
    ]
    if len(oracle.segments) < len(oracle.layers):
        said.append(f"each layer a segment by itself: {by_layers(engine, oracle, wanted, x)}")
    return [*said, *(line for line in str(e).splitlines() if line.strip())]


def again(options: str | None) -> list[str]:
    """Command lines that make the case again: the test that runs now, and fuzz.py, which runs it by other plans."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rsplit(" ", 1)[0]
    out = [f"the test: python -m pytest '{test}'"] if test else []
    return out + ([f"the case: python tests/fuzz.py {options}"] if options else [])


def plan_lines(oracle: Oracle) -> list[str]:
    """A line for each segment and each of its layers."""
    h, out = oracle.header, []
    out.append(f"plan: {h.tunnels} tunnels of {h.layers} layers in {h.segments} segments, arena {h.arena_bytes} B")
    for part in arena.parts(oracle):
        r = part.record
        strips = f"{len(part.strips())} strips of {r.strip} rows" if part.columns else "whole map"
        out.append(f"  segment {part.index}: {strips}, in_at {r.in_at}, out_at {r.out_at}, work_at {r.work_at}")
        out += [f"    layer {i}: {layer_line(oracle, i)}" for i in range(r.first, r.first + r.layers)]
    return out


def layer_line(oracle: Oracle, i: int) -> str:
    layer, (source, target) = oracle.layers[i], oracle.shapes[i]
    kind = KINDS[layer.kind - 1] + (" (head)" if layer.flags & HEAD else "")
    shapes = " -> ".join("x".join(map(str, shape)) for shape in (source, target))
    how = f"{MODES[layer.mode]}, rows {layer.rows}, group {layer.group}, lines {layer.lines}, flags {layer.flags}"
    pads = "/".join(map(str, Steps.of(layer).pads))
    kernel = f"{layer.kernel_h}x{layer.kernel_w} stride {layer.stride_h}x{layer.stride_w} pads {pads}"
    return f"{kind} {kernel}, {shapes}, cexp {layer.cexp}; {how}"


# Where it begins


def first(engine: Engine, wanted: Result, x) -> str:
    """The first thing in the arena that is not what it should be."""
    try:
        start(engine, x)
        for stored in stored_at_ends(engine, wanted):
            bad = np.argwhere(stored.got != stored.wanted)
            if len(bad):
                return f"{named(engine, stored)}, {values(stored, bad)}"
    except Exception as e:  # what is looked for is wrong anyway, and nothing may hide the case's name
        return f"not found ({type(e).__name__}: {e})"
    return "behind the last layer: all that segments leave in the arena is as it should be"


def named(engine: Engine, stored: Stored) -> str:
    part = arena.part(Oracle(engine.blob.tobytes()), stored.segment)
    layer = part.record.first + part.record.layers - 1
    return f"layer {layer}, tunnel {stored.tunnel}, segment {stored.segment}, {stored.what}"


def values(stored: Stored, bad: np.ndarray) -> str:
    at = tuple(int(i) for i in bad[0])
    where = f"y {at[0]}, x {at[1]}, channel {at[2]}" if len(at) == 3 else f"channel {at[0]}"
    return f"{where}: wanted {stored.wanted[at]}, got {stored.got[at]} ({len(bad)} of {stored.got.size} values differ)"


def stored_at_ends(engine: Engine, wanted: Result) -> Iterator[Stored]:
    """Of a run just started."""
    oracle, before, more = Oracle(engine.blob.tobytes()), engine.where(), True

    def segment(where: Where) -> tuple[int, int] | None:
        return None if where.layer == len(oracle.layers) else (where.tunnel, where.segment)

    while more:
        _, more = engine.steps(1)
        here = engine.where()
        if segment(before) and segment(before) != segment(here):
            yield stored_by(engine, oracle, wanted, before)
        before = here


def stored_by(engine: Engine, oracle: Oracle, wanted: Result, where: Where) -> Stored:
    """What the segment has left that the last step belonged to; the next one has begun and moved its input."""
    head, segment = oracle.header, oracle.segments[where.segment]
    last = segment.first + segment.layers - 1
    if oracle.layers[last].flags & HEAD:
        found = head_of(engine, oracle, wanted, last)
    elif last < head.layers - 1 or last >= head.layers:
        m = wanted.maps[where.tunnel][last] if last < head.layers else wanted.behind[last - head.layers]
        found = "its output", area(engine, oracle.segments[where.segment + 1].in_at, m), m
    elif oracle.detect:
        found = stitched(engine, oracle, wanted, where.tunnel)
    elif oracle.maps:
        m = wanted.maps[0][last]
        found = "its output", area(engine, oracle.header.feature_at, m), m
    else:
        found = pooled(engine, oracle, wanted, where.tunnel)
    return Stored(where.tunnel, where.segment, *found)


def area(engine: Engine, at: int, like: np.ndarray) -> np.ndarray:
    return engine.arena[at : at + like.nbytes].view(like.dtype).reshape(like.shape).copy()


def head_of(engine: Engine, oracle: Oracle, wanted: Result, layer: int) -> tuple:
    i = sum(bool(other.flags & HEAD) for other in oracle.layers[:layer])
    at = GUARD + sum(m.size for m in wanted.heads[:i])
    m = wanted.heads[i]
    return "its output", engine.heads[at : at + m.size].reshape(m.shape).copy(), m


def stitched(engine: Engine, oracle: Oracle, wanted: Result, tunnel: int) -> tuple:
    """The map that the tunnels add to, after that one."""
    d, zero = oracle.detect, oracle.params[0][-1].zero_out
    m = np.full(wanted.stitched.shape, zero, np.int64)
    for p, chain in zip(oracle.places[: tunnel + 1], wanted.maps, strict=False):
        part = chain[-1][p.from_y : p.from_y + p.h, p.from_x : p.from_x + p.w].astype(np.int64) - zero
        here = m[p.to_y : p.to_y + p.h, p.to_x : p.to_x + p.w]
        here[:] = np.clip(here + part, -128, 127)
    ends = tunnel + 1 == oracle.header.tunnels
    at, m = oracle.segments[oracle.header.segments].in_at if ends else d.stitch_at, m.astype(np.int8)
    return "the stitched map of its output", area(engine, at, m), m


def pooled(engine: Engine, oracle: Oracle, wanted: Result, tunnel: int) -> tuple:
    """The sums over all tunnels so far, or the features of this one."""
    h, zero = oracle.header, oracle.params[0][-1].zero_out
    concat = h.aggregate == 1
    if h.tunnels > 1 and not concat and tunnel + 1 < h.tunnels and not h.dtype:
        sums = sum((chain[-1].astype(np.int32) - zero).sum((0, 1)) for chain in wanted.maps[: tunnel + 1]).astype("<i4")
        return "the sums of its output", area(engine, h.sum_at, sums), sums
    n = wanted.maps[0][-1].shape[2]
    first = tunnel * n if concat else 0
    if not oracle.dense:
        logits = (wanted.outputs8 if h.dtype else wanted.logits16)[first : first + n]
        return "the logits of its output", area(engine, h.logit_at + logits.itemsize * first, logits), logits
    features = wanted.features[first : first + n]
    return "the features of its output", area(engine, h.feature_at + features.itemsize * first, features), features


# Layer by layer


def alone(oracle: Oracle) -> list[tuple[int, list[tuple[int, int, int]]]]:
    """The schedule with each layer as a segment by itself, in its mode and in strips where its segment has some."""
    out = []
    for part in arena.parts(oracle):
        for stage in part.stages:
            layer, (oh, ow, _) = stage.layer, oracle.shapes[stage.index][1]
            strip = min(part.record.strip, oh - 1) if part.columns and oh > 1 else oh
            out.append((strip, [step(layer, ow if strip < oh else oh)]))
    return out


def step(layer: Layer, lines: int) -> tuple[int, int, int]:
    bytes_ = AS_BYTES if layer.mode in (FAST, SWEEP) and layer.flags & BYTES else 0
    return layer.mode + bytes_, min(layer.rows, lines), layer.group


def by_layers(engine: Engine, oracle: Oracle, wanted: Result, x) -> str:
    try:
        qnet = blob_qnet(oracle.blob, "again")
        blob = pack(qnet, place(qnet.design, alone(oracle)))
        other = Engine(blob, checking=engine.checking)
        if engine.finds:
            other.threshold, other.iou = engine.threshold, engine.iou
        return first(other, wanted, x)
    except Exception as e:  # as in `first`
        return f"cannot be run ({type(e).__name__}: {e})"

"""What a network needs, block by block, from its blob or from its design alone: arena, MACs, weights, flash.

Bytes are those of the plan (`plan.place.areas`: they are what the device touches), beside two other ways to count: the
paper's, the largest input plus output of a layer (`net.budget.paper_peak`), and that of an engine which runs layer by
layer with whole maps. `tables` and `plots` show an analysis to people.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .. import format as fmt
from ..blob.order import fast_layers
from ..blob.pack import blob_bytes, pack
from ..blob.random import random_qnet
from ..blob.unpack import blob_network, blob_plan, blob_qnet, read, read_blob
from ..engine.model import Model
from ..net import zoo
from ..net.budget import paper_peak
from ..net.layers import Layer
from ..net.network import Network, Shape
from ..net.search import Candidate
from ..net.toml import read_design
from ..plan import choice, costs
from ..plan.lines import strips
from ..plan.modes import MODE_NAMES
from ..plan.place import Plan, areas, block_name, lasting
from ..plan.search import Progress
from ..plan.sizes import Areas, input_map_bytes, map_bytes, work_bytes
from ..plan.sources import Flash, Source, Stream
from . import narrower
from .narrower import Narrower

# Kinds of live bytes, in the order of the plot. features: with their sums, or the stitched map, or the candidates;
# map_out: what does not lie over the input map; rings, wide_rings: of all layers of the segment; sums (int32), scratch:
# of the layer at work; other: alignment.
KINDS = ("features", "map_in", "map_out", "rings", "wide_rings", "state", "sums", "scratch", "logits", "other")


@dataclass(frozen=True)
class Block:
    """One layer of a tunnel, or behind the tunnels, or the fully connected one at the end. Bytes, unless a name says
    otherwise.

    `shape_in` and `shape_out` are (h, w, channels); `t` the expansion (0 for a convolution). `segment` is an index into
    Analysis.segments; `mode`, `rows`, `group` are the schedule (FORMAT.md, The plan), `lines` those of its input ring.
    What the block itself takes: `map_in` and `map_out` where they are stored (at the ends of a segment), `ring`,
    `wide_ring`, `sums` (int32), `scratch`. `live` is all that is alive while it works, `alive` the same by KINDS.
    `layerwise` lists (operation, bytes) of the usual order with whole maps. MACs are those of one run.
    """

    name: str
    op: str
    shape_in: tuple[int, int, int]
    shape_out: tuple[int, int, int]
    t: float
    kernel: str
    stride: str
    residual: bool
    segment: int | None
    mode: str
    rows: int
    group: int
    lines: int
    map_in: int
    map_out: int
    ring: int
    wide_ring: int
    sums: int
    scratch: int
    live: int
    alive: dict[str, int]
    layerwise: tuple[tuple[str, int], ...]
    macs: int
    executed_macs: int
    weights: int
    binding: bool = False


@dataclass(frozen=True)
class Fused:
    """A segment of the plan: layers `first` on whose lines stream from one to the next, in `strips` strips of `strip`
    rows. `overlap` bytes belong to both maps; `live` is the most that is alive while it runs, in bytes."""

    first: int
    layers: int
    strip: int
    strips: int
    map_in: int
    map_out: int
    overlap: int
    rings: int
    wide_rings: int
    state: int
    work: int
    live: int
    macs: int
    executed_macs: int
    binding: bool = False


@dataclass(frozen=True)
class Choice:
    """A plan of the front: arena bytes, MACs of a picture and times the nominal ones, predicted cost, segments. If
    weights are read through a buffer or of a board's flash, the bytes that a picture reads, and what that costs more.
    """

    arena: int
    executed_macs: int
    times: float
    cost: float
    segments: int
    read: int = 0
    reading: float = 0


@dataclass(frozen=True)
class Streamed:
    """A blob that is streamed: bytes of its buffer, and the least and the most that it may have; m.ram with it; what a
    picture reads of the file, in how many pieces."""

    buffer: int
    least: int
    most: int
    ram: int
    read: int
    pieces: int


@dataclass(frozen=True)
class Analysis:
    """A network under its plan. `arena` is m.ram of the device.

    `macs` and `executed_macs` are those of a picture (all tunnels), the latter with what strips and chunks compute
    again; `cost` is what the planner minimises, predicted `by` one of costs.TABLES. `weights` counts each stored
    weight once, `blob_bytes` is the flash that the .pnb takes. `narrower` has the layers that smaller sums or maps
    would save bytes. Where plans were looked for, `smallest` is the least arena of any, and `front`, if it was asked
    for, all that are worth having.
    """

    name: str
    source: str  # "blob" or "design"
    picture: tuple[int, int, int]
    patch: tuple[int, int]
    tunnels: int
    task: str
    classes: int
    arena: int
    budget: int | None
    paper_accounting: int
    layerwise: int
    macs: int
    executed_macs: int
    cost: float
    by: str
    weights: int
    blob_bytes: int
    segments: tuple[Fused, ...]
    blocks: tuple[Block, ...]
    narrower: tuple[Narrower, ...]
    stream: int = 0  # of the arena, what outlasts a run
    spectrum: int = 0  # of the arena, while the network does not run
    smallest: int | None = None
    front: tuple[Choice, ...] | None = None
    streamed: Streamed | None = None  # if it was asked for
    read: int = 0  # bytes of a board's flash that a picture reads, predicted
    reading: float = 0  # what that, or reading a file, costs besides
    sees: tuple[int, int] = (0, 0)  # pixels, height and width, of a position of the tunnels' last maps
    overlap: float = 0.0  # of the tunnels' MACs, the share that is for pixels which other patches have seen

    def plans(self) -> tuple[Choice, ...]:
        """`front`; ValueError where it was not asked for."""
        if self.front is None:
            raise ValueError(f"{self.name}: wanted an analysis with its front (pareto)")
        return self.front


# ---------------------------------------------------------------- from files


def analyze(
    source: str | Path,
    budget: int | None = None,
    pareto: bool = False,
    progress: Progress | None = None,
    by: str = "",
    stream: int | None = None,
    flash: Flash | None = None,
    float32: bool = False,
) -> Analysis:
    """Analyzes a .pnb blob by the plan in it, or a design (.toml, or one of `zoo.NAMES`) by the plan that the planner
    takes if nothing is asked for; either by the best plan within `budget` bytes, if one is given.

    `pareto` adds the front. Plans are compared `by` one of costs.TABLES: by cycles unless said, but those for
    `zoo.NAMES`, which others' memory is compared with, by MACs. `stream`: weights are read from a file through a buffer
    of so many bytes; a plan is then chosen for that, by cycles. `flash`: the network lies in such a memory; what it
    reads of it is told, and plans are chosen for that. `float32`: as it would be with float32 maps and weights.
    ValueError names the block for which a budget or a buffer is too small.
    """
    if stream is not None and by == "macs":
        raise ValueError("--stream: reading is counted in cycles, not in MACs")
    weights: Source | None = flash if stream is None else Stream(stream)
    path, blob, plan, fast = Path(source), None, None, None
    named = str(source) in zoo.NAMES
    by = by or ("macs" if named and weights is None else costs.BY)
    if named:
        network = zoo.network(str(source))
    elif path.suffix == ".toml":
        network = read_design(path)
    else:
        blob = read_blob(path)
        info = read(blob)
        network, plan = blob_network(info, path.stem), blob_plan(info)
        fast = None if network.value_bytes > 1 else fast_layers(blob_qnet(blob, path.stem))
    if float32:
        network, blob, plan, fast = network.float32(), None, None, None
    if blob is not None and plan is not None and budget is None and not pareto:
        found = with_flash(analyze_network(network, plan, blob=blob, by=by), network, plan, flash)
        return found if stream is None else with_stream(found, blob, stream)
    front = choice.front(network, progress, by, fast, weights)  # first, as it takes the time
    if plan is None or budget is not None:
        plan = choice.plan(network, budget, by=by, fast=fast, source=weights)
    found = replace(analyze_network(network, plan, budget, blob, by), smallest=front[0].arena_bytes)
    found = with_flash(found, network, plan, flash)
    if stream is not None:
        qnet = random_qnet(network) if blob is None else blob_qnet(blob, network.name)
        found = with_stream(found, pack(qnet, plan), stream)
    return with_front(found, front) if pareto else found


def with_flash(a: Analysis, network: Network, plan: Plan, flash: Flash | None) -> Analysis:
    """The same analysis with what is read of a board's flash."""
    if flash is None:
        return a
    if network.value_bytes > 1:
        raise ValueError(f"{network.name}: float32: what is read of a flash is told of networks of integers alone")
    read = flash.reads(network, plan)
    return replace(a, read=read, reading=flash.read * read)


def with_stream(a: Analysis, blob: bytes, buffer: int) -> Analysis:
    """The same analysis with what is read of the file."""
    streamed = measure(blob, buffer)
    return replace(a, streamed=streamed, reading=Stream(buffer).read * streamed.read)


def measure(blob: bytes, buffer: int) -> Streamed:
    """Runs a blob on this PC through a buffer of so many bytes. MemoryError if it is too small."""
    with tempfile.TemporaryDirectory(prefix="patchnet-stream-") as folder:
        path = Path(folder) / "net.pnb"
        path.write_bytes(blob)
        with Model(path, stream=buffer) as model:
            height, width, channels = model.input_shape
            model.predict(bytes(height * width * channels))
            return Streamed(model.streamed, *model.stream_sizes, model.ram, *model.stream_read)


# ---------------------------------------------------------------- the whole network


def analyze_network(
    network: Network, plan: Plan, budget: int | None = None, blob: bytes | None = None, by: str = costs.BY
) -> Analysis:
    """The analysis of a network under `plan`; of its `blob`, if it has one already."""
    counts = costs.executed(network, plan)
    segments, blocks = [], []
    for index in range(len(plan.segments)):
        a = areas(network, plan, index)
        blocks += _blocks(network, plan, index, a, counts)
        segments.append(_fused(network, plan, index, a, blocks))
    ends = _ends(network, plan)
    bound, most = choice.binding(network, plan), max(s.live for s in segments)
    floats = network.value_bytes > 1
    qnet = None if blob is None or floats else blob_qnet(blob, network.name)
    its = lasting(network, _last(network, plan))
    cost, executed = costs.totals(network, plan, by)
    return Analysis(
        name=network.name,
        source="design" if blob is None else "blob",
        picture=(network.height, network.width, network.channels),
        patch=network.patch,
        tunnels=network.tunnels,
        task=network.task,
        classes=len(network.labels),
        arena=plan.arena_bytes,
        budget=budget,
        paper_accounting=paper_peak(network, network.value_bytes),
        layerwise=max(n for b in (*blocks, *ends) for _, n in b.layerwise),
        macs=network.macs,
        executed_macs=executed,
        cost=cost,
        by=by,
        weights=network.weights if blob is None else stored_weights(blob),
        blob_bytes=blob_bytes(network, plan) if blob is None else stored_bytes(blob, plan),
        segments=tuple(replace(s, binding=bound is not None and s.live == most) for s in segments),
        stream=its.kept,
        spectrum=its.idle,
        blocks=(
            *(replace(b, binding=i == bound) for i, b in enumerate(blocks)),
            *(replace(end, binding=bound is None) for end in ends),
        ),
        sees=network.sees,
        overlap=network.overlap,
        narrower=() if floats else tuple(n for n in narrower.narrower(network, plan, qnet) if n.sums or n.map),
    )


def with_front(a: Analysis, front: Sequence[choice.Point]) -> Analysis:
    """The same analysis with the plans that the network could have instead."""
    choices = (
        Choice(p.arena_bytes, p.macs, p.macs / a.macs, p.cost - p.reading, len(p.schedule), p.read, p.reading)
        for p in front
    )
    return replace(a, front=tuple(choices))


# ---------------------------------------------------------------- one segment, one block


def _shape_out(layer: Layer) -> tuple[int, int, int]:
    return layer.oh, layer.ow, layer.cout


def _size(height: int, width: int) -> str:
    return f"{height}" if height == width else f"{height}x{width}"


def layer_by_layer(layer: Layer) -> tuple[tuple[str, int], ...]:
    """(operation, bytes) of a layer in the usual order: whole input and output maps of each convolution, and the
    block's input as long as a residual needs it."""
    first, last = input_map_bytes(layer), map_bytes(layer)
    if layer.kind == "block":
        middle, shortcut = layer.oh * layer.ow * layer.cexp * layer.value_bytes, last * layer.expand
        return ("first", first + middle), ("shortcut", first + middle + shortcut), ("second", first + middle + last)
    if layer.kind != "bottleneck":
        return ((layer.kind, first + last),)
    kept = first if layer.residual else 0
    wide, narrow = (n * layer.cexp * layer.value_bytes for n in (layer.h * layer.w, layer.oh * layer.ow))
    if not layer.expand:
        return ("depthwise", first + narrow), ("project", narrow + last + kept)
    return ("expand", first + wide), ("depthwise", wide + narrow + kept), ("project", narrow + last + kept)


def _alive(a: Areas, i: int) -> dict[str, int]:
    """What is in the arena while layer `i` of a segment works, by KINDS."""
    work = a.works[i]
    alive = dict.fromkeys(KINDS, 0) | dict(
        features=a.persistent, map_in=a.input, map_out=a.output - a.overlap, rings=sum(a.rings),
        wide_rings=sum(a.wides), state=a.state, sums=work["sums"], scratch=sum(work.values()) - work["sums"],
    )  # fmt: skip
    live = a.total - a.work + work_bytes(work)
    return alive | dict(other=live - sum(alive.values()))


def _blocks(network: Network, plan: Plan, index: int, a: Areas, counts: Sequence[costs.Counts]) -> list[Block]:
    """The layers of segment `index`."""
    layers, segment = network.run(), plan.segments[index]
    out = []
    for i in range(segment.layers):
        at = segment.first + i
        layer, step, alive = layers[at], plan.steps[at], _alive(a, i)
        block = Block(
            name=block_name(network, at),
            op=layer.kind,
            shape_in=(layer.h, layer.w, layer.cin),
            shape_out=_shape_out(layer),
            t=layer.cexp / layer.cin,
            kernel=_size(layer.kh, layer.kw),
            stride=_size(layer.sh, layer.sw),
            residual=layer.residual or layer.kind == "block",
            segment=index,
            mode=MODE_NAMES[step.mode],
            rows=step.rows,
            group=step.group,
            lines=step.lines,
            map_in=a.input if i == 0 else 0,
            map_out=a.output if i == segment.layers - 1 else 0,
            ring=a.rings[i],
            wide_ring=a.wides[i],
            sums=alive["sums"],
            scratch=alive["scratch"],
            live=sum(alive.values()),
            alive=alive,
            layerwise=layer_by_layer(layer),
            macs=layer.macs,
            executed_macs=costs.macs_of(counts[at]),
            weights=layer.weights,
        )
        out.append(block)
    return out


def _fused(network: Network, plan: Plan, index: int, a: Areas, blocks: Sequence[Block]) -> Fused:
    segment = plan.segments[index]
    part = blocks[segment.first :]
    last = network.run()[segment.first + segment.layers - 1]
    return Fused(
        first=segment.first,
        layers=segment.layers,
        strip=segment.strip,
        strips=len(strips(last, segment.strip)),
        map_in=a.input,
        map_out=a.output,
        overlap=a.overlap,
        rings=sum(a.rings),
        wide_rings=sum(a.wides),
        state=a.state,
        work=a.work,
        live=a.total,
        macs=sum(b.macs for b in part),
        executed_macs=sum(b.executed_macs for b in part),
    )


def _last(network: Network, plan: Plan) -> tuple[int, int, int]:
    """The choice of the tunnels' last layer."""
    step = plan.steps[len(network.chain) - 1]
    return step.mode, step.rows, step.group


def _ends(network: Network, plan: Plan) -> list[Block]:
    """What is alive behind the layers, if anything is: features, fully connected layer and logits, or what the task has
    instead. The pooling is part of the last segment."""
    end, dense = lasting(network, _last(network, plan)).end, network.end.fully_connected(network)
    last, alive = network.run()[-1], dict.fromkeys(KINDS, 0)
    if network.end.pools():
        logit = 2 if network.value_bytes == 1 else 4
        features, logits = (
            plan.places["logit_at"],
            logit * len(network.labels),
        )  # sums below them if these outlive tunnels
        alive |= dict(features=features, logits=logits, other=end - features - logits)
    else:
        alive |= dict(features=end)
    if dense:
        classes, n = dense
        size = network.value_bytes
        layerwise = ("pool", map_bytes(last) + n * size), ("fc", (n + classes) * size)
        return [_end("fc", (1, 1, n), (1, 1, classes), alive, layerwise)]
    shape = _shape_out(last)
    return [_end("end", shape, shape, alive, (("end", map_bytes(last)),))] if end else []


def _end(name: str, shape_in: Shape, shape_out: Shape, alive: dict, layerwise: tuple) -> Block:
    weights = math.prod(shape_in + shape_out) if name == "fc" else 0
    return Block(
        name=name,
        op=name,
        shape_in=shape_in,
        shape_out=shape_out,
        t=0,
        kernel="1",
        stride="1",
        residual=False,
        segment=None,
        mode="",
        rows=0,
        group=0,
        lines=0,
        map_in=0,
        map_out=0,
        ring=0,
        wide_ring=0,
        sums=0,
        scratch=0,
        live=sum(alive.values()),
        alive=alive,
        layerwise=layerwise,
        macs=weights,
        executed_macs=weights,
        weights=weights,
    )


# ---------------------------------------------------------------- flash


def stored_bytes(blob: bytes, plan: Plan) -> int:
    """The length of a blob that is run by `plan` instead of its own."""
    return len(blob) + (len(plan.segments) - len(read(blob).segments)) * fmt.SEGMENT.size


def stored_weights(blob: bytes) -> int:
    """Weights in a blob, those that tunnels share counted once."""
    info = read(blob)
    network, h = blob_network(info, ""), info.header
    seen = {}
    for i, layer in enumerate([*network.chain * h["tunnels"], *network.tail()]):
        param = fmt.PARAM.unpack(blob, h["param_off"] + i * fmt.PARAM.size)
        seen[param["weight_off"]] = layer.weights
    outputs, inputs = network.end.fully_connected(network) or (0, 0)
    return sum(seen.values()) + outputs * inputs


# ---------------------------------------------------------------- for programs


def to_dict(analysis: Analysis) -> dict:
    """Plain values for JSON."""
    return asdict(analysis)


def describe(candidate: Candidate) -> dict:
    """A network that `net.search.design` found, as plain values. Sizes in bytes; `arena` is that of the plan taken."""
    n, r = candidate.network, candidate.recipe
    plan = choice.plan(n)
    return {
        "k": r.k,
        "tunnels": n.tunnels,
        "margin": [r.margin_h, r.margin_w],
        "patch": list(n.patch),
        "stem": r.stem_out,
        "widths": [stage.out for stage in r.stages],
        "t": r.stages[0].t,
        "paper_accounting": paper_peak(n),
        "arena": plan.arena_bytes,
        "macs": candidate.macs,
        "weights": candidate.weights,
        "blob_bytes": blob_bytes(n, plan),
        "instructions": costs.predicted(n, plan, "instructions"),
        "cycles": costs.predicted(n, plan),
    }

"""What a network needs, block by block, from its blob or from its design alone: arena, MACs, weights, flash.

Bytes are those of the plan (they are what the device touches), beside two other ways to count: the paper's, the largest
input plus output of a layer (`design.paper_peak`), and that of an engine which runs layer by layer with whole maps.
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich import box
from rich.table import Table

from . import Model
from . import format as fmt
from .design import Candidate, Layer, Network, from_dict, paper_peak
from .pack import BlobInfo, read
from .plan import Plan, Step, acc_bytes, aligned, block_name, map_bytes, ring_bytes, smallest, strip_macs
from .plan import plan as make_plan

KINDS = ("map_in", "map_out", "sums", "ring", "features", "other")  # of live bytes, in the order of the plot


@dataclass(frozen=True)
class Block:
    """One layer of a tunnel, or the pooling and fully connected layer at the end. Bytes, unless a name says otherwise.

    `shape_in` and `shape_out` are (h, w, channels); `t` the expansion (0 for a convolution). live = the sum of
    KINDS: `features` is what outlives a tunnel (feature sums or features), `other` alignment and logits.
    `layerwise` lists (operation, bytes) of the usual order with whole int8 maps. MACs are those of one run.
    """

    name: str
    op: str
    shape_in: tuple[int, int, int]
    shape_out: tuple[int, int, int]
    t: float
    kernel: int
    stride: int
    residual: bool
    rows: int
    group: int
    map_in: int
    map_out: int
    sums: int
    ring: int
    features: int
    other: int
    live: int
    layerwise: tuple[tuple[str, int], ...]
    macs: int
    executed_macs: int
    weights: int
    binding: bool = False


@dataclass(frozen=True)
class Analysis:
    """A network under its plan. `arena` is m.ram of the device, `smallest` the least that any plan needs.

    `macs` and `executed_macs` are those of a picture (all tunnels), the latter with what strips compute again.
    `weights` counts each stored weight once, `blob_bytes` is the flash that the .pnb takes.
    """

    name: str
    source: str  # "blob" or "design"
    picture: tuple[int, int, int]
    patch: tuple[int, int]
    tunnels: int
    classes: int
    arena: int
    smallest: int
    budget: int | None
    paper_accounting: int
    layerwise: int
    macs: int
    executed_macs: int
    weights: int
    blob_bytes: int
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class BlobNetwork(Network):
    """A network as a blob tells it: its layers and patches one by one, not the stages that they came from."""

    chain: tuple[Layer, ...] = ()
    corners: tuple[tuple[int, int], ...] = ()
    patch_size: tuple[int, int] = (0, 0)

    def layers(self) -> list[Layer]:
        return list(self.chain)

    def patches(self) -> list[tuple[int, int]]:
        return list(self.corners)

    @property
    def patch(self) -> tuple[int, int]:
        return self.patch_size

    @property
    def tunnels(self) -> int:
        return len(self.corners)


# ---------------------------------------------------------------- from files


def read_blob(path: str | Path) -> bytes:
    """A blob that the engine accepts. ValueError names the file and the fault."""
    blob = Path(path).read_bytes()
    try:
        Model(blob)
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from None
    return blob


def blob_network(info: BlobInfo, name: str) -> BlobNetwork:
    """The network of a blob's tables. Which activation a convolution has is not told there."""
    h = info.header
    chain: list[Layer] = []
    for record in info.layers:
        height, width, cin = (h["patch_h"], h["patch_w"], h["channels"]) if not chain else _shape_out(chain[-1])
        flags = record["flags"]
        chain.append(
            Layer(
                "conv" if record["kind"] == fmt.KIND_CONV else "bottleneck", height, width, cin, record["cexp"],
                record["cout"], record["kernel"], record["stride"], bool(flags & fmt.FLAG_EXPAND),
                bool(flags & fmt.FLAG_RESIDUAL), "none" if flags & fmt.FLAG_SIGNED else "relu6",
            )
        )  # fmt: skip
    return BlobNetwork(
        name, tuple(info.labels), h["height"], h["width"], h["channels"],
        aggregate="concat" if h["aggregate"] == fmt.AGGREGATE_CONCAT else "sum",
        fit="crop" if h["fit"] == fmt.FIT_CROP else "stretch",
        chain=tuple(chain), corners=tuple((p["y"], p["x"]) for p in info.patches),
        patch_size=(h["patch_h"], h["patch_w"]),
    )  # fmt: skip


def blob_plan(info: BlobInfo) -> Plan:
    """The plan that a blob carries."""
    h = info.header
    fields = ("rows", "group", "out_at", "acc_at", "ring_at")
    steps = tuple(Step(**{name: record[name] for name in fields}) for record in info.layers)
    return Plan(h["arena_bytes"], h["acc_at"], h["feature_at"], h["logit_at"], steps)


def read_design(path: str | Path) -> Network:
    """The network of a TOML file: an experiment with a [network] table, or the table's keys alone."""
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ValueError(f"{path}: not TOML: {e}") from None
    network = values.get("network", values)
    return from_dict({"name": values.get("name", path.stem), **network})


def analyze(path: str | Path, budget: int | None = None) -> Analysis:
    """Analyzes a .pnb blob by the plan in it, or a design (.toml) by the smallest plan; by the quickest plan within
    `budget` bytes if one is given. ValueError names the block for which a budget is too small."""
    path = Path(path)
    if path.suffix == ".toml":
        return analyze_network(read_design(path), budget=budget)
    blob = read_blob(path)
    info = read(blob)
    network = blob_network(info, path.stem)
    plan = blob_plan(info) if budget is None else make_plan(network, budget)
    return analyze_network(network, plan, budget, blob)


def analyze_network(
    network: Network, plan: Plan | None = None, budget: int | None = None, blob: bytes | None = None
) -> Analysis:
    """The analysis of a network under `plan` (without one as `analyze` says); of its `blob`, if it has one already."""
    plan = plan or make_plan(network, budget)
    blocks = [_block(network, plan, i) for i in range(len(plan.steps))]
    blocks.append(_end(network))
    most = max(b.live for b in blocks)
    blocks = tuple(replace(b, binding=b.live == most) for b in blocks)
    *chain, end = blocks
    return Analysis(
        name=network.name,
        source="design" if blob is None else "blob",
        picture=(network.height, network.width, network.channels),
        patch=network.patch,
        tunnels=network.tunnels,
        classes=len(network.labels),
        arena=plan.arena_bytes,
        smallest=smallest(network),
        budget=budget,
        paper_accounting=paper_peak(network),
        layerwise=max(n for b in blocks for _, n in b.layerwise),
        macs=network.tunnels * sum(b.macs for b in chain) + end.macs,
        executed_macs=network.tunnels * sum(b.executed_macs for b in chain) + end.executed_macs,
        weights=network.tunnels * sum(b.weights for b in chain) + end.weights if blob is None else stored_weights(blob),
        blob_bytes=blob_bytes(network) if blob is None else len(blob),
        blocks=blocks,
    )


# ---------------------------------------------------------------- one block


def _shape_out(layer: Layer) -> tuple[int, int, int]:
    return layer.oh, layer.ow, layer.cout


def _below(network: Network) -> int:
    """Bytes that live as long as all tunnels: the feature sums, or the concatenated features."""
    return network.features if network.aggregate == "concat" else 4 * network.features


def layer_by_layer(layer: Layer) -> tuple[tuple[str, int], ...]:
    """(operation, bytes) of a layer in the usual order: whole int8 input and output maps of each convolution, and the
    block's input as long as a residual needs it."""
    first, last = layer.h * layer.w * layer.cin, map_bytes(layer)
    if layer.kind == "conv":
        return (("conv", first + last),)
    kept = first if layer.residual else 0
    wide, narrow = layer.h * layer.w * layer.cexp, layer.oh * layer.ow * layer.cexp
    if not layer.expand:
        return ("depthwise", first + narrow), ("project", narrow + last + kept)
    return ("expand", first + wide), ("depthwise", wide + narrow + kept), ("project", narrow + last + kept)


def _block(network: Network, plan: Plan, i: int) -> Block:
    layers, step = network.layers(), plan.steps[i]
    layer, bottleneck = layers[i], layers[i].kind == "bottleneck"
    maps = dict(map_in=map_bytes(layers[i - 1]) if i else 0, map_out=map_bytes(layer))
    work = dict(sums=acc_bytes(layer, step.rows), ring=ring_bytes(layer, step.group, i == 0))
    features = _below(network)
    padding = sum(aligned(n) - n for n in (*maps.values(), *work.values(), features))
    return Block(
        name=block_name(network, i),
        op="bottleneck" if bottleneck else "conv",
        shape_in=(layer.h, layer.w, layer.cin),
        shape_out=_shape_out(layer),
        t=layer.cexp / layer.cin,
        kernel=layer.kernel,
        stride=layer.stride,
        residual=layer.residual,
        rows=step.rows,
        group=step.group if bottleneck else 0,
        **maps,
        **work,
        features=features,
        other=padding,
        live=sum(maps.values()) + sum(work.values()) + features + padding,
        layerwise=layer_by_layer(layer),
        macs=layer.macs,
        executed_macs=strip_macs(layer, step.rows),
        weights=layer.weights,
    )


def _end(network: Network) -> Block:
    """Pooling, fully connected layer and scores."""
    last, classes, n = network.layers()[-1], len(network.labels), network.features
    pooling, sums = map_bytes(last), 4 * last.cout
    concat = network.aggregate == "concat"
    # a tunnel is pooled while its last map lives; features and logits come when it is gone
    while_pooling = aligned(n) + aligned(pooling) + sums if concat else sums + aligned(pooling)
    at_the_end = aligned(n) + 2 * classes if concat else sums + aligned(n) + 2 * classes
    if while_pooling >= at_the_end:
        parts = dict(map_in=pooling, sums=sums if concat else 0, features=n if concat else sums)
    else:
        parts = dict(map_in=0, sums=0 if concat else sums, features=n)
    live = aligned(max(while_pooling, at_the_end))
    return Block(
        name="pool, fc",
        op="fc",
        shape_in=_shape_out(last),
        shape_out=(1, 1, classes),
        t=0,
        kernel=1,
        stride=1,
        residual=False,
        rows=0,
        group=0,
        **parts,
        map_out=0,
        ring=0,
        other=live - sum(parts.values()),
        live=live,
        layerwise=(("pool", pooling + n), ("fc", n + classes)),
        macs=n * classes,
        executed_macs=n * classes,
        weights=n * classes,
    )


# ---------------------------------------------------------------- flash


def _arrays(outputs: int, weights: int) -> int:
    """Bytes of bias, mult and weights in a blob."""
    return 8 * outputs + aligned(weights)


def layer_flash(layer: Layer) -> int:
    """Bytes of a layer's arrays in the blob, for one tunnel."""
    if layer.kind == "conv":
        return _arrays(layer.cout, layer.weights)
    expand = _arrays(layer.cexp, layer.cin * layer.cexp) if layer.expand else 0
    depthwise = _arrays(layer.cexp, layer.kernel**2 * layer.cexp)
    return expand + depthwise + _arrays(layer.cout, layer.cexp * layer.cout)


def blob_bytes(network: Network) -> int:
    """The length of the network's blob, no two tunnels sharing weights (modpatchnet/FORMAT.md)."""
    layers, tunnels, classes = network.layers(), network.tunnels, len(network.labels)
    labels = sum(len(label.encode()) + 1 for label in network.labels)
    tables = tunnels * fmt.PATCH.size + len(layers) * (fmt.LAYER.size + tunnels * fmt.PARAM.size) + labels
    arrays = tunnels * sum(map(layer_flash, layers)) + _arrays(classes, classes * network.features)
    return fmt.HEADER.size + aligned(tables) + arrays


def stored_weights(blob: bytes) -> int:
    """Weights in a blob, those that tunnels share counted once."""
    info = read(blob)
    network, h = blob_network(info, ""), info.header
    seen = {}
    for i in range(h["tunnels"] * h["layers"]):
        param = fmt.PARAM.unpack(blob, h["param_off"] + i * fmt.PARAM.size)
        seen[param["weight_off"]] = network.chain[i % h["layers"]].weights
    return sum(seen.values()) + network.features * h["classes"]


# ---------------------------------------------------------------- for people and for programs


def to_dict(analysis: Analysis) -> dict:
    """Plain values for JSON."""
    return asdict(analysis)


def _x(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def table(a: Analysis) -> Table:
    """The blocks of one tunnel, one per line, the binding one marked. 124 columns wide."""
    tunnel = f"one of {a.tunnels} tunnels" if a.tunnels > 1 else "the only tunnel"
    title = f"{a.name}: {tunnel}, bytes (+ residual, < binds)"
    out = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    out.add_column("block", no_wrap=True)
    names = ("shape", "t", "k/s", "rows x group", "map in", "map out", "sums", "ring", "feat.", "other", "live", "MACs")
    for name in (*names, "run"):
        out.add_column(name, justify="right", no_wrap=True)
    for b in a.blocks:
        parts = (b.map_in, b.map_out, b.sums, b.ring, b.features, b.other)
        out.add_row(
            b.name + (" +" if b.residual else ""),
            f"{_x(b.shape_in)} > {_x(b.shape_out)}",
            f"{b.t:g}" if b.t else "",
            f"{b.kernel}/{b.stride}" if b.op != "fc" else "",
            f"{b.rows} x {b.group}" if b.group else "",
            *(f"{n:,}" if n else "" for n in parts),
            f"{b.live:,}" + (" <" if b.binding else "  "),
            f"{b.macs:,}",
            f"{b.executed_macs / b.macs:.2f}x",
            style="bold" if b.binding else None,
        )
    return out


def summary(a: Analysis) -> list[str]:
    """The figures of the whole network, a line each."""
    binding = ", ".join(b.name for b in a.blocks if b.binding)
    budget = "" if a.budget is None else f", budget {a.budget:,} B"
    return [
        f"arena (m.ram)       {a.arena:>12,} B   bound by {binding}{budget}; smallest plan {a.smallest:,} B",
        f"paper's accounting  {a.paper_accounting:>12,} B   largest input + output of a layer",
        f"layer by layer      {a.layerwise:>12,} B   whole int8 maps of a tunnel, usual order",
        f"MACs per picture    {a.macs:>12,}     {a.executed_macs:,} executed ({a.executed_macs / a.macs:.2f}x)",
        f"weights             {a.weights:>12,}     {a.blob_bytes:,} B of flash",
    ]


# ---------------------------------------------------------------- designs found


def describe(candidate: Candidate) -> dict:
    """A network that `design.design` found, as plain values. Sizes in bytes; `arena` is that of the smallest plan."""
    n = candidate.network
    return {
        "k": n.k,
        "tunnels": n.tunnels,
        "margin": [n.margin_h, n.margin_w],
        "patch": list(n.patch),
        "stem": n.stem_out,
        "widths": [stage.out for stage in n.stages],
        "t": n.stages[0].t,
        "paper_accounting": paper_peak(n),
        "arena": smallest(n),
        "macs": candidate.macs + n.features * len(n.labels),
        "weights": candidate.weights,
        "blob_bytes": blob_bytes(n),
    }


def design_table(candidates: list[Candidate]) -> Table:
    """The designs found, one per line, numbered from 1."""
    out = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("#", "k", "patch", "margin", "stem", "widths", "t", "paper", "arena", "MACs", "weights", "flash"):
        out.add_column(name, justify="right", no_wrap=True)
    for i, candidate in enumerate(candidates):
        d = describe(candidate)
        k = f"{d['k']}+1" if d["tunnels"] > d["k"] else str(d["k"])
        sizes = (d[key] for key in ("paper_accounting", "arena", "macs", "weights", "blob_bytes"))
        out.add_row(
            str(i + 1), k, _x(d["patch"]), str(d["margin"][0]), str(d["stem"]), "-".join(map(str, d["widths"])),
            str(d["t"]), *(f"{n:,}" for n in sizes),
        )  # fmt: skip
    return out

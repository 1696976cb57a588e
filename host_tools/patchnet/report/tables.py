"""Tables and lines of text for people: an analysis, the plans to choose from, designs that were found."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from .analyze import Analysis, Block, Choice, Streamed

BLOCK_COLUMNS = (
    "shape", "t", "k/s", "mode", "strips", "rows", "group", "map in", "map out", "shared", "ring", "wide", "sums",
    "scratch", "live", "MACs", "run",
)  # fmt: skip
FRONT_ROWS = 30


def _x(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _table(title: str | None, left: Sequence[str], right: Sequence[str]) -> Table:
    out = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for name in (*left, *right):
        out.add_column(name, justify="left" if name in left else "right", no_wrap=True)
    return out


# ---------------------------------------------------------------- an analysis


def blocks(a: Analysis) -> Table:
    """The blocks of one tunnel, one per line, those of a segment tied together, the binding one marked.

    A block's `live` is all that is alive while it works: the segment's maps and rings, what outlives the segment, and
    the block's own sums and scratch. It binds if it takes most of the fullest segment.
    """
    tunnel = f"one of {a.tunnels} tunnels" if a.tunnels > 1 else "the only tunnel"
    tunnel += " and what follows" if any(b.name.startswith("head ") for b in a.blocks) else ""
    out = _table(f"{a.name}: {tunnel}, bytes (+ residual, < binds)", ("", "block"), BLOCK_COLUMNS)
    for i, b in enumerate(a.blocks):
        out.add_row(*_block(a, i, b), style="bold" if b.binding else None)
    return out


def _block(a: Analysis, i: int, b: Block) -> list[str]:
    segment = None if b.segment is None else a.segments[b.segment]
    shared = segment.overlap if segment and i == segment.first + segment.layers - 1 else 0
    sizes = (b.map_in, b.map_out, shared, b.ring, b.wide_ring, b.sums, b.scratch)
    return [
        _tie(i - segment.first, segment.layers) if segment else "",
        b.name + " +" * b.residual + " <" * b.binding,
        f"{_x(b.shape_in)} > {_x(b.shape_out)}",
        f"{b.t:.3g}" if b.t else "",
        f"{b.kernel}/{b.stride}" if segment else "",
        b.mode,
        f"{segment.strips}x{segment.strip} rows" if segment and i == segment.first and segment.strips > 1 else "",
        str(b.rows) if b.rows else "",
        str(b.group) if b.group else "",
        *(f"{n:,}" if n else "" for n in sizes),
        f"{b.live:,}",
        f"{b.macs:,}",
        f"{b.executed_macs / b.macs:.2f}x" if b.macs else "",
    ]


def _tie(place: int, layers: int) -> str:
    """What ties the lines of a segment together."""
    if layers == 1:
        return ""
    return "┌" if place == 0 else "└" if place == layers - 1 else "│"


def summary(a: Analysis) -> list[str]:
    """The figures of the whole network, a line each."""
    budget = "" if a.budget is None else f", budget {a.budget:,} B"
    smallest = "" if a.smallest is None else f"; smallest plan {a.smallest:,} B"
    fused = [s.layers for s in a.segments if s.layers > 1]
    told = f"{len(fused)} of them fused, of {', '.join(map(str, fused))} blocks" if fused else "none of them fused"
    streamed = [] if a.streamed is None else [_streamed(a.streamed)]
    kept = f"kept in the arena   {a.stream:>13,} B   what outlasts a run; {a.spectrum:,} B between runs"
    return [
        f"arena (m.ram)       {a.arena:>13,} B   bound by {_binding(a)}{budget}{smallest}",
        *streamed,
        *([kept] if a.stream else []),
        f"paper's accounting  {a.paper_accounting:>13,} B   largest input + output of a layer",
        f"layer by layer      {a.layerwise:>13,} B   whole maps of a tunnel, usual order",
        f"segments            {len(a.segments):>13,}     {told}",
        f"MACs per picture    {a.macs:>13,}     {a.executed_macs:,} executed ({a.executed_macs / a.macs:.2f}x)",
        f"{COSTS[a.by]:<20}{a.cost:>13,.0f}     predicted; {a.cost / a.macs:.2f} per MAC",
        *([_read(a)] if a.read else []),
        f"weights             {a.weights:>13,}     {a.blob_bytes:,} B of flash",
        f"receptive field     {_x(a.sees):>13} px  {_overlap(a)}",
    ]


def _streamed(s: Streamed) -> str:
    buffer = f"with the head and a buffer of {s.buffer:,} B ({s.least:,}..{s.most:,})"
    return f"streamed (m.ram)    {s.ram:>13,} B   {buffer}; {s.read:,} B read a picture, in {s.pieces:,} pieces"


def _overlap(a: Analysis) -> str:
    patches = f"of patches of {_x(a.patch)}; " if a.tunnels > 1 else ""
    return patches + f"{a.overlap:.0%} of the tunnels' MACs are for what others have seen" if patches else ""


def _read(a: Analysis) -> str:
    """Of a board's flash."""
    more = f"predicted, behind the data cache; {(a.cost + a.reading) / a.macs:.2f} {COSTS[a.by]} per MAC with that"
    return f"read of flash       {a.read:>13,} B   {more}"


def _binding(a: Analysis) -> str:
    (bound,) = (b for b in a.blocks if b.binding)
    segment = None if bound.segment is None else a.segments[bound.segment]
    if segment is None or segment.layers == 1:
        return bound.name
    last = segment.first + segment.layers - 1
    return f"{bound.name} of {a.blocks[segment.first].name} .. {a.blocks[last].name}"


# what costs are called
COSTS = {"cycles": "cycles", "instructions": "instructions", "macs": "MACs and outputs"}


def front(a: Analysis) -> Table:
    """Some of the plans to choose from, this one and the extreme ones among them."""
    read = any(choice.read for choice in a.plans())
    names = ("arena", "executed MACs", "x nominal", COSTS[a.by], *["bytes read"] * read, "segments")
    out = _table(f"{a.name}: plans (< this one)", (), names)
    for choice in _some(a.plans(), a.arena):
        own = choice.arena == a.arena and choice.executed_macs == a.executed_macs
        out.add_row(
            f"{choice.arena:,} B",
            f"{choice.executed_macs:,}",
            f"{choice.times:.3f}",
            f"{choice.cost:,.0f}",
            *[f"{choice.read:,}"] * read,
            f"{choice.segments}" + (" <" if own else "  "),
            style="bold" if own else None,
        )
    return out


def _some(choices: Sequence[Choice], arena: int) -> list[Choice]:
    """At most about FRONT_ROWS of them, evenly spread, and the one with this arena."""
    last = len(choices) - 1
    n = min(FRONT_ROWS, len(choices))
    wanted = {round(i * last / max(1, n - 1)) for i in range(n)}
    return [c for i, c in enumerate(choices) if i in wanted or c.arena == arena]


def narrower(a: Analysis) -> Table:
    """What smaller sums (exact where 24 bits hold them) and smaller maps (not exact) would save in their segments."""
    names = ("bits of a sum", "24-bit sums save", "4-bit output map saves")
    out = _table(f"{a.name}: what narrower numbers would save", ("block",), names)
    for n in a.narrower:
        exact = " (exact)" if n.sum_bits and n.sum_bits <= 24 else ""
        bits = "" if not n.sums else f"{n.sum_bits}{exact}" if n.sum_bits else "unknown"
        out.add_row(a.blocks[n.layer].name, bits, *(f"{size:,} B" if size else "" for size in (n.sums, n.map)))
    return out


# ---------------------------------------------------------------- designs


def designs(found: Sequence[dict]) -> Table:
    """Networks as `analyze.describe` tells them, one per line, numbered from 1."""
    names = ("#", "k", "patch", "margin", "stem", "widths", "t", "paper", "arena", "MACs", "weights", "flash")
    out = _table(None, (), names)
    for i, d in enumerate(found, 1):
        k = f"{d['k']}+1" if d["tunnels"] > d["k"] else str(d["k"])
        sizes = (d[key] for key in ("paper_accounting", "arena", "macs", "weights", "blob_bytes"))
        out.add_row(
            str(i), k, _x(d["patch"]), str(d["margin"][0]), str(d["stem"]), "-".join(map(str, d["widths"])),
            str(d["t"]), *(f"{n:,}" for n in sizes),
        )  # fmt: skip
    return out


def found(title: str, rows: Sequence[dict]) -> Table:
    """Networks of a search, one per line."""
    out = _table(title, ("network",), ("trial", "held-out", "arena", "flash", "M cycles", "ms", "M MACs"))
    for row in rows:
        millions = (f"{row['cycles'] / 1e6:.1f}", f"{row['ms']:.1f}", f"{row['macs'] / 1e6:.1f}")
        sizes = (f"{row['arena']:,}", f"{row['flash']:,}")
        out.add_row(row["network"], str(row["trial"]), f"{row['accuracy']:.2%}", *sizes, *millions)
    return out

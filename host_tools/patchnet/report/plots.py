"""Pictures of an analysis for people: memory over the blocks, plans to choose from. Written as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # not pyplot: no window, no state
from matplotlib.patches import Rectangle

from ..plan.costs import CLOCK
from ..tasks.gallery import save
from .analyze import KINDS, Analysis, Block, Fused

# from what lasts longest, at the bottom of a bar, to what only the block at work needs
NAMES = {
    "features": "features of all tunnels",
    "map_in": "input map of the segment",
    "map_out": "output map (what is not over the input)",
    "rings": "last lines of maps within the segment",
    "wide_rings": "last lines of expanded channels",
    "state": "where each block of the segment is",
    "sums": "int32 sums of outputs",
    "scratch": "working memory of the block",
    "logits": "logits",
    "other": "alignment",
}
COLOURS = {
    "features": "#54a24b",
    "map_in": "#4c78a8",
    "map_out": "#9ecae9",
    "rings": "#b279a2",
    "wide_rings": "#f58518",
    "state": "#79706e",
    "sums": "#eeca3b",
    "scratch": "#ffbf79",
    "logits": "#88d27a",
    "other": "#bab0ac",
}
SEEN = 0.01  # of the arena: what is never more is not in the legend
MODES = {
    "direct": "each output line from its input lines",
    "window": "pixels are sampled from the camera's picture as outputs need them",
    "rolling": "each line is expanded once and kept as long as the kernel needs it",
    "groups": "a few expanded channels at a time go through many lines, outputs are summed up",
    "stored": "as groups, but the expanded channels are kept instead of sums",
    "fast": "each line is expanded once and kept as long as the kernel needs it (fast kernels)",
    "sweep": "a few expanded channels at a time go through many lines, outputs are summed up (fast kernels)",
    "fast24": "as fast, sums take three bytes",
    "sweep24": "as sweep, sums take three bytes",
    **{f"{name} bytes": f"as {name}, pixels are read as bytes" for name in ("fast", "sweep", "fast24", "sweep24")},
    "cover": "each input line is added to the sums of all outputs",
}
BUDGET, PAPER, PLAIN = "#c00000", "#7a5195", "#6f6f6f"  # red is for budgets alone
BESIDE: dict[str, Any] = dict(loc="upper left", bbox_to_anchor=(1.0, 1.0))  # a legend that is never over the bars


def _lines(axes: Axes, lines: Sequence[tuple[str, int | None, str, str]]) -> None:
    """Horizontal lines of (name, bytes, colour, style), told in the legend; None for no line."""
    for name, size, colour, style in lines:
        if size is not None:
            axes.axhline(size / 1024, color=colour, linewidth=1.2, linestyle=style, label=f"{name}: {size:,} B")


def memory(a: Analysis, path: str | Path) -> None:
    """`memory_figure` as a PNG file."""
    save(memory_figure(a), path, 130)


def memory_figure(a: Analysis) -> Figure:
    """Memory over the blocks, as figure 1 of the paper: above, our live bytes before those of layer-by-layer execution;
    below, what they consist of, segment by segment, with the arena and, if there is one, the budget."""
    figure = Figure(figsize=(max(9, 3.5 + 0.68 * len(a.blocks)), 8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    x = np.arange(len(a.blocks))
    _profile(above, a, x)
    _stack(below, a, x)
    below.set_xticks(x, [_tick(b) for b in a.blocks], fontsize=6.5)
    below.set_xlim(-0.6, len(a.blocks) - 0.4)
    picture = "x".join(map(str, a.picture))
    tunnels = f"{a.tunnels} tunnels over patches of {a.patch[0]}x{a.patch[1]}" if a.tunnels > 1 else "one tunnel"
    figure.suptitle(f"{a.name}: {picture}, {tunnels}; arena {a.arena:,} B", fontsize=11)
    used = [f"{mode}: {MODES[mode]}" for mode in dict.fromkeys(b.mode for b in a.blocks) if mode]
    notes = [
        "A segment's maps are never whole but for the first and the last; the frame is round what takes most.",
        *used,
    ]
    figure.supxlabel("\n".join(notes), fontsize=7, ha="left", x=0.02)
    return figure


def _tick(b: Block) -> str:
    return f"{b.name}\n{b.shape_out[0]}x{b.shape_out[1]}x{b.shape_out[2]}\n{b.mode}"


def _profile(axes: Axes, a: Analysis, x: np.ndarray) -> None:
    """Every operation of layer-by-layer execution as a step, and our live bytes before it."""
    edges, heights = [-0.5], []
    for i, block in enumerate(a.blocks):
        n = len(block.layerwise)
        edges += [i - 0.5 + (j + 1) / n for j in range(n)]
        heights += [size / 1024 for _, size in block.layerwise]
    axes.stairs(heights, edges, fill=True, color="#e4e4e4")
    axes.stairs(heights, edges, color="#8a8a8a", linewidth=1, label=f"whole maps, layer by layer: {a.layerwise:,} B")
    live = [b.live / 1024 for b in a.blocks]
    axes.bar(x, live, 1, color=COLOURS["map_in"], label=f"this plan: {a.arena:,} B")
    _lines(
        axes, [("input and output alone (paper)", a.paper_accounting, PAPER, "-."), ("budget", a.budget, BUDGET, "--")]
    )
    axes.set_ylabel("KB (1024 bytes)")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False, fontsize=8, title="highest, int8", title_fontsize=8, alignment="left", **BESIDE)
    axes.tick_params(bottom=False)


def _stack(axes: Axes, a: Analysis, x: np.ndarray) -> None:
    """Live bytes by kind; the bars of a segment touch each other."""
    top = 1.18 * max(a.arena, min(a.budget or 0, 2 * a.arena)) / 1024  # a far budget is seen above
    left, right = _edges(a)
    bottom = np.zeros(len(a.blocks))
    for kind in KINDS:
        sizes = np.array([b.alive[kind] for b in a.blocks]) / 1024
        if sizes.any():
            name = NAMES[kind] if sizes.max() >= SEEN * a.arena / 1024 else None
            axes.bar(left, sizes, right - left, bottom, align="edge", color=COLOURS[kind], label=name)
        bottom += sizes
    _lines(axes, [("arena", a.arena, "black", ":"), ("budget", a.budget, BUDGET, "--")])
    for segment in a.segments:
        _mark(axes, segment, top)
    axes.set_ylim(0, top)
    axes.set_ylabel("in use, KB")
    axes.grid(axis="y", alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], frameon=False, fontsize=8, **BESIDE)  # in the order of the stack


def _edges(a: Analysis) -> tuple[np.ndarray, np.ndarray]:
    """Left and right edge of each block's bar: a gap between segments, none within."""
    gap = 0.08
    x = np.arange(len(a.blocks))
    starts = np.array([i == 0 or a.blocks[i - 1].segment != b.segment for i, b in enumerate(a.blocks)])
    ends = np.append(starts[1:], True)
    return x - 0.5 + gap * starts, x + 0.5 - gap * ends


def _mark(axes: Axes, segment: Fused, top: float) -> None:
    """A bracket over a segment that fuses blocks, and its strips; a frame around one that binds."""
    if segment.binding:
        place = segment.first - 0.42, 0
        frame = Rectangle(
            place, segment.layers - 0.16, segment.live / 1024, fill=False, edgecolor="black", linewidth=1.4
        )
        axes.add_patch(frame)
    strips = f"{segment.strips} strips" if segment.strips > 1 else ""
    if segment.layers == 1 and not strips:
        return
    left, right = segment.first - 0.42, segment.first + segment.layers - 0.58
    text = ", ".join(t for t in (f"{segment.layers} fused" if segment.layers > 1 else "", strips) if t)
    axes.plot([left, left, right, right], np.array([0.935, 0.95, 0.95, 0.935]) * top, color="black", linewidth=1)
    axes.text((left + right) / 2, 0.955 * top, text, ha="center", va="bottom", fontsize=6.5)


def front(a: Analysis, path: str | Path) -> None:
    """The plans to choose from: arena against what they are compared by, both on logarithmic axes, with this plan, the
    ends, the budget and other ways to count."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes, plans = figure.subplots(), a.plans()
    if a.by == "macs":
        costs, own = [c.times for c in plans], a.executed_macs / a.macs
        what = "executed / nominal multiply-accumulates"
    else:
        costs, own = [(c.cost + c.reading) / a.macs for c in plans], (a.cost + a.reading) / a.macs
        reading = ", reading of weights included" if a.reading else ""
        what = f"{a.by} per nominal multiply-accumulate, predicted{reading}"
    sizes = [c.arena / 1024 for c in plans]
    axes.step(costs, sizes, where="post", color=COLOURS["map_in"], linewidth=1.4)
    axes.plot(costs, sizes, ".", color=COLOURS["map_in"], markersize=4)
    axes.plot(own, a.arena / 1024, "o", color="black", markersize=7)
    marks = [(own, a.arena, "this plan", (8, 6)), (costs[-1], plans[-1].arena, "fastest", (8, 2)),
             (costs[0], plans[0].arena, "smallest", (-4, -14))]  # fmt: skip
    for cost, arena, name, (dx, dy) in marks:
        if name == "this plan" or arena != a.arena:
            axes.annotate(
                f"{name}: {arena:,} B at {cost:.2f}", (cost, arena / 1024), (dx, dy), textcoords="offset points",
                fontsize=8, ha="right" if dx < 0 else "left",
            )  # fmt: skip
    lines = [("whole maps, layer by layer", a.layerwise, PLAIN), ("input and output alone (paper)", a.paper_accounting,
             PAPER), ("budget", a.budget, BUDGET)]  # fmt: skip
    for name, size, colour in lines:
        if size is not None:
            axes.axhline(size / 1024, color=colour, linewidth=1, linestyle="--")
            at: dict[str, Any] = dict(xycoords=("axes fraction", "data"), textcoords="offset points")
            told = f"{name}: {size:,} B"
            axes.annotate(told, (1, size / 1024), (-4, 3), ha="right", fontsize=8, color=colour, **at)
    axes.set_yscale("log", base=2)
    axes.set_ylim(bottom=sizes[0] * 0.75)
    axes.set_xlim(costs[-1] / 1.05, costs[0] * 1.05)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _logarithmic(axes)
    if a.by != "macs":
        above, times = axes.twiny(), 1000 * a.macs / CLOCK
        above.set_xlim(*(end * times for end in axes.get_xlim()))
        _logarithmic(above)
        above.set_xlabel(f"milliseconds at {CLOCK / 1e6:g} MHz", fontsize=8)
    axes.set_xlabel(what)
    axes.set_ylabel("arena, KB (1024 bytes)")
    axes.grid(alpha=0.3)
    axes.set_title(
        f"{a.name}: the {len(plans)} plans to choose from, {a.macs / 1e6:.1f} M multiply-accumulates", fontsize=10
    )
    save(figure, path, 130)


def _logarithmic(axes: Axes) -> None:
    """The horizontal axis, marked at few round numbers."""
    low, high = axes.get_xlim()
    steps = (1, 2, 3, 5) if high > 3 * low else (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
    ticks = [step * 10.0**power for power in range(-2, 7) for step in steps]
    axes.set_xscale("log")
    axes.set_xticks([tick for tick in ticks if low <= tick <= high])
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.set_xlim(low, high)


def found(
    title: str,
    networks: Sequence[tuple[float, float, float, float, bool]],
    limits: tuple[int | None, int | None, float | None],
    path: str | Path,
) -> None:
    """Networks of a search: (minus accuracy, bytes of arena, of flash, cycles, whether it is on the front of all four);
    accuracy against each of the others, with the best that may be had for less, and the `limits`."""
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    figure.suptitle(title, fontsize=11)
    units = (
        ("arena, KB (1024 bytes)", 1024),
        ("flash, KB (1024 bytes)", 1024),
        ("cycles of a picture, M, modelled", 1e6),
    )
    accuracy = np.array([-100 * one[0] for one in networks])
    front = np.array([one[4] for one in networks])
    for i, (axes, (what, unit), limit) in enumerate(
        zip(figure.subplots(1, 3, sharey=True), units, limits, strict=True)
    ):
        cost = np.array([one[1 + i] for one in networks]) / unit
        order = np.lexsort((-accuracy, cost))
        axes.step(cost[order], np.maximum.accumulate(accuracy[order]), where="post", color=COLOURS["map_in"])
        axes.plot(cost[~front], accuracy[~front], ".", color=COLOURS["other"], label="of less accuracy for as much")
        axes.plot(cost[front], accuracy[front], "o", color="black", markersize=4, label="on the front of all four")
        if limit is not None:
            axes.axvline(limit / unit, color=BUDGET, linewidth=1.2, linestyle="--", label="limit")
        axes.set_xlabel(what)
        axes.grid(alpha=0.3)
        if i == 0:
            axes.set_ylabel("accuracy after a short training, held-out, %")
            handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, loc="outside lower center", ncols=len(labels))
    save(figure, path, 130)

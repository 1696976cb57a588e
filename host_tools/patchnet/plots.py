"""Pictures for people: memory over the blocks, patches over a picture, a confusion matrix. Written as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # not pyplot: no window, no state
from matplotlib.patches import Rectangle

from .analyze import KINDS, Analysis
from .data import crop
from .evaluate import Result, View

NAMES = {
    "map_in": "input map",
    "map_out": "output map",
    "sums": "int32 sums of a strip",
    "ring": "ring of expanded rows",
    "features": "features",
    "other": "logits, alignment",
}
COLOURS = {
    "map_in": "#4c78a8",
    "map_out": "#9ecae9",
    "sums": "#f58518",
    "ring": "#ffbf79",
    "features": "#54a24b",
    "other": "#9d9d9d",
}
TUNNEL_COLOURS = ("#ffd92f", "#66c2a5", "#fc8d62", "#8da0cb", "#e78ac3", "#a6d854")


def _kb(n: float) -> str:
    return f"{n / 1024:,.1f} KB"


def memory(a: Analysis, path: str | Path) -> None:
    """Memory over the blocks, as figure 1 of the paper: above, our live bytes against layer-by-layer execution; below,
    what they consist of, with the arena and, if there is one, the budget."""
    figure = Figure(figsize=(max(8, 2.5 + 0.62 * len(a.blocks)), 7), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    x = np.arange(len(a.blocks))
    _profile(above, a, x)
    _stack(below, a, x)
    below.set_xticks(x, [f"{b.name}\n{b.shape_out[0]}x{b.shape_out[1]}x{b.shape_out[2]}" for b in a.blocks], fontsize=7)
    below.set_xlim(-0.6, len(a.blocks) - 0.4)
    picture = "x".join(map(str, a.picture))
    tunnels = f"{a.tunnels} tunnels over patches of {a.patch[0]}x{a.patch[1]}" if a.tunnels > 1 else "one tunnel"
    figure.suptitle(f"{a.name}: {picture}, {tunnels}, arena {a.arena:,} B", fontsize=11)
    figure.savefig(path, dpi=130)


def _profile(axes: Axes, a: Analysis, x: np.ndarray) -> None:
    """Every operation of layer-by-layer execution as a step, and our live bytes as bars before it."""
    edges, heights = [x[0] - 0.5], []
    for i, block in zip(x, a.blocks, strict=True):
        n = len(block.layerwise)
        edges += [i - 0.5 + (j + 1) / n for j in range(n)]
        heights += [size / 1024 for _, size in block.layerwise]
    axes.stairs(heights, edges, fill=True, color="#e4e4e4")
    axes.stairs(heights, edges, color="#8a8a8a", linewidth=1, label=f"layer by layer: {_kb(a.layerwise)}")
    live = [b.live / 1024 for b in a.blocks]
    axes.bar(x, live, 0.8, color=COLOURS["map_in"], label=f"patchnet: {_kb(a.arena)}")
    axes.set_ylabel("KB (1024 bytes)")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False, fontsize=8, title="int8, peak", title_fontsize=8)
    axes.tick_params(bottom=False)


def _stack(axes: Axes, a: Analysis, x: np.ndarray) -> None:
    bottom = np.zeros(len(a.blocks))
    for kind in KINDS:
        sizes = np.array([getattr(b, kind) for b in a.blocks]) / 1024
        if sizes.any():
            axes.bar(x, sizes, 0.8, bottom, color=COLOURS[kind], label=NAMES[kind])
        bottom += sizes
    for i, block in zip(x, a.blocks, strict=True):
        if block.binding:
            axes.bar(i, block.live / 1024, 0.8, fill=False, edgecolor="black", linewidth=1.2)
    lines = [("arena", a.arena, "black", ":"), ("paper's accounting", a.paper_accounting, "#b279a2", "-.")]
    if a.budget is not None:
        lines.append(("budget", a.budget, "#e45756", "--"))
    for name, size, colour, style in lines:
        axes.axhline(size / 1024, color=colour, linewidth=1.2, linestyle=style, label=f"{name} {size:,} B")
    axes.set_ylim(0, 1.05 * max(a.arena, a.paper_accounting, a.budget or 0) / 1024)
    axes.set_ylabel("live KB")
    axes.grid(axis="y", alpha=0.3)
    # beside the bars, never over them
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def patches(
    pictures: Sequence[np.ndarray], rankings: Sequence[Sequence[tuple[str, float]]], view: View, path: str | Path
) -> None:
    """Pictures (uint8, H x W [x 3]), the best labels of each above it, the patches that the tunnels read over it."""
    columns = min(3, len(pictures))
    rows = -(-len(pictures) // columns)
    tall = max(p.shape[0] / p.shape[1] for p in pictures)
    wide = 6 if columns == 1 else 4
    figure = Figure(figsize=(wide * columns, (wide * tall + 0.7) * rows), layout="constrained")
    all_axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in all_axes:
        axes.set_axis_off()
    for axes, picture, ranking in zip(all_axes, pictures, rankings, strict=False):
        _patched(axes, picture, ranking, view)
    figure.savefig(path, dpi=120)


def _patched(axes: Axes, picture: np.ndarray, ranking: Sequence[tuple[str, float]], view: View) -> None:
    height, width = picture.shape[:2]
    left, top, w, h = crop(width, height, None, view.shape, view.fit)
    sy, sx = h / view.shape[0], w / view.shape[1]
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    for i, (y, x) in enumerate(view.corners):
        inset = 0.004 * width * (i + 1)  # a little inside one another, so that shared edges stay apart
        place = (left + x * sx - 0.5 + inset, top + y * sy - 0.5 + inset)
        size = (view.patch[1] * sx - 2 * inset, view.patch[0] * sy - 2 * inset)
        colour = TUNNEL_COLOURS[i % len(TUNNEL_COLOURS)]
        axes.add_patch(Rectangle(place, *size, fill=False, edgecolor=colour, linewidth=2))
        number = dict(boxstyle="square,pad=0.15", facecolor=colour, edgecolor="none")
        axes.text(place[0] + 0.01 * width, place[1] + 0.012 * width, str(i + 1), fontsize=8, va="top", bbox=number)
    (label, score), *rest = ranking
    others = ", ".join(f"{name} {value:.3f}" for name, value in rest[:3])
    axes.set_title(f"{label} {score:.3f}" + (f"\n{others}" if others else ""), fontsize=10)


def confusion(result: Result, path: str | Path) -> None:
    """Counts (true class, answer); shades are shares of the true class."""
    matrix, labels = np.array(result.confusion), result.labels
    n = len(labels)
    side = max(3.5, 1.8 + 0.55 * n)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    share = matrix / np.maximum(1, matrix.sum(1, keepdims=True))
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, fraction=0.046, label="share of the true class")
    axes.set_xticks(range(n), labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(n), labels)
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")
    axes.set_title(f"{result.model} on {result.data}\n{result.on}: top-1 {result.top1:.2%} of {result.n}", fontsize=9)
    if n <= 30:
        for (i, j), count in np.ndenumerate(matrix):
            colour = "white" if share[i, j] > 0.6 else "black"
            axes.text(j, i, str(count), ha="center", va="center", fontsize=8, color=colour)
    figure.savefig(path, dpi=120)

"""Pictures for people: patches and labels over a picture, a confusion matrix. Written as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # not pyplot: no window, no state
from matplotlib.patches import Rectangle

from ...data import crop
from ...net.network import Network
from ..gallery import gallery

TUNNEL_COLOURS = ("#ffd92f", "#66c2a5", "#fc8d62", "#8da0cb", "#e78ac3", "#a6d854")


def patches(
    pictures: Sequence[np.ndarray], rankings: Sequence[Sequence[tuple[str, float]]], network: Network, path: str | Path
) -> None:
    """Pictures (uint8, H x W [x 3]), the best labels of each above it, the patches that the tunnels read over it."""
    figure, all_axes = gallery(pictures)
    for axes, picture, ranking in zip(all_axes, pictures, rankings, strict=False):
        _patched(axes, picture, ranking, network)
    figure.savefig(path, dpi=120)


def _patched(axes: Axes, picture: np.ndarray, ranking: Sequence[tuple[str, float]], network: Network) -> None:
    height, width = picture.shape[:2]
    left, top, w, h = crop(width, height, None, (network.height, network.width), network.fit)
    sy, sx = h / network.height, w / network.width
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    for i, (y, x) in enumerate(network.corners):
        inset = 0.004 * width * (i + 1)  # a little inside one another, so that shared edges stay apart
        place = (left + x * sx - 0.5 + inset, top + y * sy - 0.5 + inset)
        size = (network.patch[1] * sx - 2 * inset, network.patch[0] * sy - 2 * inset)
        colour = TUNNEL_COLOURS[i % len(TUNNEL_COLOURS)]
        axes.add_patch(Rectangle(place, *size, fill=False, edgecolor=colour, linewidth=2))
        number = dict(boxstyle="square,pad=0.15", facecolor=colour, edgecolor="none")
        axes.text(place[0] + 0.01 * width, place[1] + 0.012 * width, str(i + 1), fontsize=8, va="top", bbox=number)
    (label, score), *rest = ranking
    others = ", ".join(f"{name} {value:.3f}" for name, value in rest[:3])
    axes.set_title(f"{label} {score:.3f}" + (f"\n{others}" if others else ""), fontsize=10)


def confusion(counts: Sequence[Sequence[int]], labels: Sequence[str], title: str, path: str | Path) -> None:
    """`counts[true class][answer]`; shades are shares of the true class."""
    matrix, n = np.array(counts), len(labels)
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
    axes.set_title(title, fontsize=9)
    if n <= 30:
        for (i, j), count in np.ndenumerate(matrix):
            colour = "white" if share[i, j] > 0.6 else "black"
            axes.text(j, i, str(count), ha="center", va="center", fontsize=8, color=colour)
    figure.savefig(path, dpi=120)

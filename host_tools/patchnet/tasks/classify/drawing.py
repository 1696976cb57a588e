"""Pictures for people: patches and labels over a picture, a confusion matrix. Written as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # not pyplot: no window, no state
from matplotlib.patches import Rectangle

from ...data import crop
from ...net.network import Network
from ..answers import Shown
from ..gallery import save, write

FRAME: dict[str, Any] = dict(fill=False, linewidth=0.8)


def patches(shown: Sequence[Shown], network: Network, path: Path) -> list[Path]:
    """Pictures (uint8, H x W [x 3]) below their best labels, thin frames round the patches that the tunnels read."""
    return write(shown, partial(_patched, network=network), path)


def _patched(axes: Axes, one: Shown, network: Network) -> str:
    picture = one.pixels
    height, width = picture.shape[:2]
    left, top, w, h = crop(width, height, None, (network.height, network.width), network.fit)
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    for patch in network.patches() if network.tunnels > 1 else ():
        sy, sx = h / patch.height, w / patch.width
        place = left + patch.x * sx - 0.5, top + patch.y * sy - 0.5
        size = network.patch[1] * sx, network.patch[0] * sy
        for colour, style in (("black", "-"), ("white", (0, (4, 4)))):  # to be seen on dark and on bright
            axes.add_patch(Rectangle(place, *size, edgecolor=colour, linestyle=style, **FRAME))
    return ranked(one)


def ranked(one: Shown) -> str:
    """What stands above an item: the best labels, and the right one if that is another."""
    (first, *rest) = (f"{row['label']} {row['score']:.3f}" for row in one.told["ranking"])
    known = "" if one.right is None else " ✓" if one.right else f" ✗ is {one.truth}"
    return f"{first}{known}" + (f"\n{', '.join(rest[:3])}" if rest else "")


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
    save(figure, path)

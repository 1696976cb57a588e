"""Pictures for people: boxes over pictures. Written as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.patches import Rectangle

from ..gallery import gallery

BOX_COLOURS = ("#ffd92f", "#4dd2ff", "#ff7fd0", "#9cff57", "#ff9d4d", "#c9a6ff")


def boxes(pictures: Sequence[np.ndarray], found: Sequence[Sequence[dict]], path: str | Path) -> None:
    """Pictures (uint8, H x W [x 3]) and what was found in each: {"box": [x, y, w, h], "label", "score"}; a colour for
    each label."""
    figure, all_axes = gallery(pictures)
    labels = sorted({one["label"] for rows in found for one in rows})
    for axes, picture, rows in zip(all_axes, pictures, found, strict=False):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        for one in reversed(rows):  # the best on top
            (x, y, w, h), colour = one["box"], BOX_COLOURS[labels.index(one["label"]) % len(BOX_COLOURS)]
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), w, h, fill=False, edgecolor=colour, linewidth=1.5))
            name = dict(boxstyle="square,pad=0.1", facecolor=colour, edgecolor="none", alpha=0.7)
            axes.text(x, y, f"{one['label']} {one['score']:.2f}", fontsize=6, va="bottom", bbox=name)
    figure.savefig(path, dpi=120)

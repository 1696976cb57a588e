"""Pictures for people: boxes over pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ..answers import Shown
from ..gallery import write

TEXT = 0.04  # of a picture's height is a label's
BOX_COLOURS = ("#ffd92f", "#4dd2ff", "#ff7fd0", "#9cff57", "#ff9d4d", "#c9a6ff")


def boxes(shown: Sequence[Shown], path: Path) -> list[Path]:
    """Pictures (uint8, H x W [x 3]) with what was found in each: {"box": [x, y, w, h], "label", "score"}; a colour for
    each label."""
    labels = sorted({one["label"] for item in shown for one in item.told["boxes"]})

    def draw(axes: Axes, item: Shown) -> str:
        axes.imshow(item.pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        rows = item.told["boxes"]
        for one in reversed(rows):  # the best on top
            (x, y, w, h), colour = one["box"], BOX_COLOURS[labels.index(one["label"]) % len(BOX_COLOURS)]
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), w, h, fill=False, edgecolor=colour, linewidth=1.5))
            name = dict(boxstyle="square,pad=0.1", facecolor=colour, edgecolor="none", alpha=0.7)
            axes.text(
                x,
                y,
                f"{one['label']} {one['score']:.2f}",
                fontsize=6,
                bbox=name,
                va="bottom" if y > TEXT * item.pixels.shape[0] else "top",
            )
        found = {label: sum(one["label"] == label for one in rows) for label in labels}
        return ", ".join(f"{n} {label}" for label, n in found.items() if n) or "nothing found"

    return write(shown, draw, path)

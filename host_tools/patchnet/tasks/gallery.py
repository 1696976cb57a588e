"""Pictures beside each other, for the rooms of tasks to draw upon."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure  # not pyplot: no window, no state


def gallery(pictures: Sequence[np.ndarray]) -> tuple[Figure, np.ndarray]:
    """A figure with axes for each of the pictures, three in a row."""
    columns = min(3, len(pictures))
    rows = -(-len(pictures) // columns)
    tall = max(p.shape[0] / p.shape[1] for p in pictures)
    wide = 6 if columns == 1 else 4
    figure = Figure(figsize=(wide * columns, (wide * tall + 0.7) * rows), layout="constrained")
    all_axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in all_axes:
        axes.set_axis_off()
    return figure, all_axes

"""Answers to pictures and sounds, drawn beside each other on pages, for the rooms of tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure  # not pyplot: no window, no state

from ..whole import whole
from .answers import Shown

COLUMNS, PAGE = 3, 12
RIGHT, WRONG = "#1a7f37", "#c00000"
LONGEST = 40  # characters of a name


def write(shown: Sequence[Shown], draw: Callable[[Axes, Shown], str], path: Path) -> list[Path]:
    """Pages of PAGE items each: one file that ends in .pdf, or PNG files, numbered if there are several. `draw` draws
    an item and returns the lines above it. Returns what was written."""
    pages = [shown[at : at + PAGE] for at in range(0, len(shown), PAGE)]
    if path.suffix.lower() == ".pdf":
        with whole(path) as beside, PdfPages(beside, metadata={"CreationDate": None}) as file:
            for page in pages:
                file.savefig(_page(page, draw))
        return [path]
    paths = [path] if len(pages) == 1 else [path.with_stem(f"{path.stem}-{i}") for i in range(1, len(pages) + 1)]
    for page, own in zip(pages, paths, strict=True):
        save(_page(page, draw), own)
    return paths


def save(figure: Figure, path: str | Path, dpi: int = 120) -> None:
    """In the format that the file's name ends with, else PNG."""
    with whole(path) as beside:
        figure.savefig(beside, dpi=dpi, format=Path(path).suffix[1:] or "png")


def _page(shown: Sequence[Shown], draw: Callable[[Axes, Shown], str]) -> Figure:
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    tall = float(np.median([one.pixels.shape[0] / one.pixels.shape[1] for one in shown]))
    wide = 6 if columns == 1 else 4
    figure = Figure(figsize=(wide * columns, (wide * tall + 0.8) * rows), layout="constrained")
    every = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in every:
        axes.set_axis_off()
    for axes, one in zip(every, shown, strict=False):
        lines = draw(axes, one)
        colour = "black" if one.right is None else RIGHT if one.right else WRONG
        axes.set_title(f"{shortened(one.name)}\n{lines}", fontsize=9, color=colour, loc="left")
    return figure


def shortened(name: str) -> str:
    """The end of a long name, which tells more than its beginning."""
    return name if len(name) <= LONGEST else f"…{name[-LONGEST + 1 :]}"

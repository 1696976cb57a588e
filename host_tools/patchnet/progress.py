"""Who hears how far a long thing is."""

from __future__ import annotations

import time
from collections.abc import Callable

Track = Callable[[str, int], Callable[[int], None]]  # (what, how many) -> function to call with how many more are done
PATIENCE = 1.0  # seconds before progress is worth showing


def no_track(_what: str, _total: int) -> Callable[[int], None]:
    return lambda _done: None


def planning(track: Track, name: str) -> Callable[[int, int], None]:
    """What the planner calls with (done, total): shown by `track` once it has taken PATIENCE seconds."""
    began, tick, shown = time.monotonic(), None, 0

    def progress(done: int, total: int) -> None:
        nonlocal tick, shown
        if tick is None and time.monotonic() - began > PATIENCE:
            tick = track(f"planning {name}", total)
        if tick is not None:
            tick(done - shown)
            shown = done

    return progress

"""Which memory runs use. No run may write where it, or another one that is under way, reads or writes otherwise."""

from __future__ import annotations

import ctypes
import itertools
import threading
from typing import Any, NamedTuple

_WRITTEN = "arena", "out"  # the others are read
_lock = threading.Lock()
_under_way: list[Use] = []


class Area(NamedTuple):
    """Bytes from an address on; `hold` keeps them there."""

    at: int = 0
    bytes: int = 0
    hold: Any = None


def area(view: memoryview | None) -> Area:
    """Where a buffer lies. Nowhere if it cannot be written to, as then no run can do so."""
    if view is None or view.readonly or not view.c_contiguous or not view.nbytes:
        return Area()
    hold = (ctypes.c_char * view.nbytes).from_buffer(view)
    return Area(ctypes.addressof(hold), view.nbytes, hold)


def _check(mine: dict[str, Area], others: dict[str, Area]) -> None:
    for (name, a), (other, b) in itertools.product(mine.items(), others.items()):
        harmless = a is b or (name not in _WRITTEN and other not in _WRITTEN)
        if not harmless and a.at < b.at + b.bytes and b.at < a.at + a.bytes:
            raise RuntimeError(f"{name} is in use" + (f" as {other}" if name != other else ""))


class Use:
    """Of a run, from `with` to its end. RuntimeError naming what is in use, here and in `with`."""

    def __init__(self, arena: Area, out: memoryview | None, model: Area, input_: memoryview | None):
        self._areas = {"arena": arena, "out": area(out), "model": model, "input": area(input_)}

    def __enter__(self) -> Use:
        with _lock:
            self._check()
            _under_way.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        with _lock:
            _under_way.remove(self)

    def read(self, input_: memoryview | None) -> None:
        """From now on the run reads this instead."""
        with _lock:
            self._areas["input"] = area(input_)
            self._check()

    def _check(self) -> None:
        _check(self._areas, self._areas)
        for use in _under_way:
            if use is not self:
                _check(self._areas, use._areas)

"""Arithmetic with shapes in a .tflite file, computed here.

Where the batch is any, a converter has the shape of a RESHAPE computed of that of the map before it, and states 1 for
what it does not know itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .flatbuffer import MOST_AXES

MOST_NUMBERS = 2 * MOST_AXES  # that an operator on shapes reads at once

Options = dict[str, Any]
Numbers = list[np.ndarray]


def cut(options: Options, given: Numbers) -> np.ndarray:
    x, start, end, step = given
    if x.ndim != 1 or start.size != 1 or end.size != 1 or step.size != 1 or options["NewAxisMask"]:
        raise ValueError("of more than a shape")
    if options["ShrinkAxisMask"]:
        return x[int(start[0])]
    first = None if options["BeginMask"] else int(start[0])
    return x[slice(first, None if options["EndMask"] else int(end[0]), int(step[0]))]


def gather(options: Options, given: Numbers) -> np.ndarray:
    if options["BatchDims"]:
        raise ValueError("of several at once")
    return np.take(given[0], given[1], options["Axis"])


OPERATORS: dict[str, Callable[[Options, Numbers], np.ndarray]] = {
    "STRIDED_SLICE": cut,
    "GATHER": gather,
    "PACK": lambda options, given: np.stack(given, options["Axis"]),
    "CONCATENATION": lambda options, given: np.concatenate(given, options["Axis"]),
    "REDUCE_PROD": lambda options, given: given[0].prod(tuple(given[1].ravel()), keepdims=bool(options["KeepDims"])),
    "ADD": lambda options, given: given[0] + given[1],
    "SUB": lambda options, given: given[0] - given[1],
    "MUL": lambda options, given: given[0] * given[1],
    "CAST": lambda options, given: given[0],
}


def computed(name: str, options: Options, given: list[np.ndarray | None]) -> np.ndarray | None:
    """What an operator comes to, None for one that is no arithmetic with shapes, or not of constants."""
    numbers = [data for data in given if data is not None and data.dtype.kind == "i" and data.size <= MOST_NUMBERS]
    if name not in OPERATORS or len(numbers) < len(given) or not given:
        return None
    try:
        with np.errstate(over="ignore"):
            return np.asarray(OPERATORS[name](options, [data.astype(np.int64) for data in numbers]))
    except (ValueError, IndexError, TypeError):  # one that contradicts itself, or does more than shapes need
        return None


def fitted(shape: np.ndarray, size: int) -> tuple[int, ...] | None:
    """The shape that a RESHAPE of `size` values makes, -1 being what is left; None where there is none."""
    lengths = [int(n) for n in shape.ravel()]
    known = 1
    for n in lengths:
        known *= n if n != -1 else 1
    if lengths.count(-1) == 1 and known > 0 and size % known == 0:
        lengths[lengths.index(-1)], known = size // known, size
    return tuple(lengths) if known == size and min(lengths, default=1) >= 0 else None

"""Layers of float32 networks (modpatchnet/FORMAT.md, Float32): modes that they may run in, work areas, kernels."""

from __future__ import annotations

from collections.abc import Callable

from ..net.layers import POOLS, Layer, pair
from .lines import Passes, View
from .modes import COVER, DIRECT, GROUPS, ROLLING, Choice

MODES = (DIRECT, ROLLING, GROUPS, COVER)
WORD = 4  # bytes of a value, and of a sum
AT_ONCE = 4  # outputs whose sums are made at a time

Counts = dict[str, tuple[int, int, int]]


def is_float32(layer: Layer) -> bool:
    return layer.value_bytes == WORD


def rows_alone(layers: list[Layer] | tuple[Layer, ...], pools: bool) -> bool:
    """Whether lines that are pooled must be rows: sums of real numbers have one order."""
    return pools and is_float32(layers[-1])


def array_bytes(layer: Layer) -> int:
    """All weights and biases of a layer."""
    inner = {"bottleneck": 1 + layer.expand, "block": 1}.get(layer.kind, 0)  # convolutions before its last one
    biases = (
        0 if layer.kind in POOLS else inner * layer.cexp + layer.cout * (1 + (layer.kind == "block") * layer.expand)
    )
    return WORD * (layer.weights + biases)


def work(view: View, step: Choice) -> dict[str, int]:
    """Of a bottleneck the depthwise values of a pixel; in groups sums of a chunk, expanded lines of a group."""
    layer, (mode, rows, group) = view.layer, step
    if layer.kind != "bottleneck":
        return {}
    if mode != GROUPS:
        return dict(values=WORD * layer.cexp)
    lines = min(view.lines.axis.kernel, view.lines.lines_in)
    return dict(
        sums=WORD * rows * view.n_out * layer.cout, group_ring=WORD * lines * view.n_in * group, values=WORD * group
    )


def _fours(outputs: int) -> int:
    return -(-outputs // AT_ONCE)


def _dots(pixels: int, runs: int, outputs: int, products: int) -> tuple[int, int, int]:
    """Calls, outputs and products of `outputs` sums of `products` at each pixel, made in `runs` pieces."""
    return pixels * runs * _fours(outputs), pixels * outputs, pixels * outputs * products


def _runs(view: View, kh: int, kw: int) -> int:
    """Pieces in which a kernel's pixels lie one behind the other: its rows, where lines are rows."""
    return kh if view.strips == 1 else kh * kw


def _conv(view: View, passes: Passes, step: Choice) -> Counts:
    layer, (mode, _, group) = view.layer, step
    pixels = passes.made * view.all_out
    turns = -(-layer.cout // group) if mode == GROUPS else 1
    calls, _, macs = _dots(
        pixels, _runs(view, layer.kh, layer.kw) * turns, -(-layer.cout // turns), layer.taps * layer.cin
    )
    return {"float dots": (calls, pixels * layer.cout, macs * turns)}


def _bottleneck(view: View, passes: Passes, step: Choice) -> Counts:
    layer, (mode, _, group) = view.layer, step
    pixels, turns = passes.made * view.all_out, -(-layer.cexp // group) if mode == GROUPS else 1
    values = pixels * layer.cexp
    out = {
        "float depthwise": (pixels * turns * layer.taps, values, values * layer.taps),
        "float project": (pixels * turns * _fours(layer.cout), pixels * layer.cout * turns, values * layer.cout),
    }
    if layer.expand:
        expanded = (passes.once if mode == ROLLING else passes.read) * view.all_in
        out["float dots"] = _dots(expanded, 1, layer.cexp, layer.cin)
    return out


def _block(view: View, passes: Passes, step: Choice) -> Counts:
    layer, axis, pixels = view.layer, view.lines.axis, passes.made * view.all_out
    middle, second = axis.middle(0, passes.made)[1] * view.all_mid, axis.second * view.across.second
    parts = (
        _dots(middle, _runs(view, layer.kh, layer.kw), layer.cexp, layer.taps * layer.cin),
        _dots(pixels, _runs(view, *pair(layer.second)), layer.cout, second * layer.cexp),
        _dots(pixels * layer.expand, layer.cout, layer.cout, layer.cin),
    )
    calls, outputs, macs = (sum(part[i] for part in parts) for i in range(3))
    return {"float dots": (calls, outputs, macs)}


def _pool(view: View, passes: Passes, step: Choice) -> Counts:
    layer, pixels = view.layer, passes.made * view.all_out
    return {"float pool": (pixels, pixels * layer.cout * layer.taps, 0)}


KINDS: dict[str, Callable[[View, Passes, Choice], Counts]] = {
    "conv": _conv,
    "bottleneck": _bottleneck,
    "block": _block,
    "maxpool": _pool,
    "meanpool": _pool,
}


def counts(view: View, passes: Passes, step: Choice) -> Counts:
    """What a layer executes, kernel by kernel."""
    layer = view.layer
    if step[0] == COVER and layer.kind == "conv":
        return {"float dots": _dots(1, layer.h, layer.cout, layer.taps * layer.cin)}
    return KINDS[layer.kind](view, passes, step)


def dense(outputs: int, inputs: int) -> Counts:
    """The fully connected layer's."""
    return {"float dots": _dots(1, 1, outputs, inputs)}

"""Weights that are read from a file during a run, through a buffer (modpatchnet/FORMAT.md, Streaming): how large its
parts are, and what a plan reads. All sizes are bytes."""

from __future__ import annotations

import math

from ..format import LEAST_OUTPUTS
from ..net.layers import PLAIN, Layer, pair
from ..net.network import Network, aligned
from . import float32
from .float32 import is_float32
from .lines import Passes, View, flow, views
from .modes import COVER, FAST_MODES, GROUPS, Choice, fours, paired_shape, sweeps
from .place import Plan


def _channel(layer: Layer) -> int:
    """Arrays of an expanded channel in modes fast and sweep."""
    return _expansion(layer) + 2 * layer.kh * (layer.kh - 1) + 8 + layer.cout


def _expansion(layer: Layer) -> int:
    return 8 + fours(layer.cin) if layer.expand else 0


def expand_share(layer: Layer) -> float:
    """The part of that which is the expansion's."""
    return _expansion(layer) / _channel(layer)


def _scaled(outputs: int, weights: int) -> int:
    """Biases, multipliers and weights."""
    return 8 * outputs + aligned(weights)


def _pairs(outputs: int, inputs: int) -> int:
    """Those of two outputs together."""
    return (outputs + 1) // 2 * (16 + 2 * fours(inputs))


def _dense(outputs: int, inputs: int, paired: bool) -> int:
    """Those of a convolution."""
    return _pairs(outputs, inputs) if paired else _scaled(outputs, outputs * inputs)


def _outputs(layer: Layer, step: Choice, n: int) -> int:
    """Those of some outputs of a convolution."""
    (mode, _, group), inputs = step, layer.taps * layer.cin
    return _pairs(n, inputs) if paired_shape(layer, mode, group) else n * (8 + inputs)


def layer_bytes(layer: Layer, mode: int) -> int:
    """All arrays of a layer."""
    if is_float32(layer):
        return float32.array_bytes(layer)
    if mode in FAST_MODES:
        return 8 * layer.cout + layer.cexp * _channel(layer)
    if layer.kind == "conv":
        return _dense(layer.cout, layer.taps * layer.cin, paired_shape(layer, mode, 0))
    if layer.kind in PLAIN:
        return 4 * (layer.kind == "meanpool")
    if layer.kind == "block":
        return sum(block_bytes(layer, mode))
    expand = _scaled(layer.cexp, layer.cexp * layer.cin) if layer.expand else 0
    return expand + _scaled(layer.cexp, layer.cexp * layer.taps) + _scaled(layer.cout, layer.cexp * layer.cout)


def block_bytes(layer: Layer, mode: int) -> tuple[int, ...]:
    """Arrays of each of a block's convolutions: the two, and the shortcut's if there is one."""
    paired = paired_shape(layer, mode, 0)
    first = _dense(layer.cexp, layer.taps * layer.cin, paired)
    second = _dense(layer.cout, math.prod(pair(layer.second)) * layer.cexp, paired)
    return first, second, *([_dense(layer.cout, layer.cin, paired)] if layer.expand else [])


def end_bytes(network: Network) -> int:
    """All arrays of the fully connected layer."""
    outputs, inputs = network.end.fully_connected(network) or (0, 0)
    return 4 * outputs * (1 + inputs) if network.value_bytes > 1 else _scaled(outputs, outputs * inputs)


def part_bytes(layer: Layer, step: Choice) -> int:
    """The least part in which a layer's arrays can be read."""
    mode, _, group = step
    if mode in FAST_MODES:
        return 8 * layer.cout + group * _channel(layer)
    if layer.kind == "conv":
        return _outputs(layer, step, min(layer.cout, group if mode == GROUPS else LEAST_OUTPUTS))
    return layer_bytes(layer, mode)


def read_bytes(view: View, passes: Passes, step: Choice, buffer: int) -> int:
    """What a chain reads for a layer that is by itself in its segment and has parts that fit into the buffer."""
    layer, (mode, _, group) = view.layer, step
    whole = layer_bytes(layer, mode)
    if whole <= buffer:
        return whole
    if mode not in FAST_MODES and layer.kind != "conv":
        raise ValueError(f"layer: needs {whole:,} B of weights at a time, stream {buffer:,} B")
    if layer.kind == "conv":
        all_outputs = _outputs(layer, step, layer.cout)
        lines = layer.h + 1 if mode == COVER else passes.made
        return all_outputs * (1 if mode == GROUPS or all_outputs <= buffer else lines * view.strips)
    ahead = 0 if sweeps(mode) or not layer.expand else min(view.lines.ahead, view.lines.lines_in)
    times = (passes.chunks if sweeps(mode) else passes.made + ahead) * view.strips
    scales, each = 8 * layer.cout, _channel(layer)
    stay = ((buffer - scales) // each // group - 1) * group
    return scales * (1 if stay else times) + each * (stay + (layer.cexp - stay) * times)


def reads(network: Network, plan: Plan, buffer: int) -> int | None:
    """What a picture reads, arrays lying in order; None if a segment of several layers does not fit into the buffer:
    what it reads is not counted here."""
    layers, n, total = tuple(network.run()), len(network.layers()), 0
    for segment in plan.segments:
        stop = segment.first + segment.layers
        own, steps = layers[segment.first : stop], plan.steps[segment.first : stop]
        part, times = views(own, segment.strip), network.tunnels if segment.first < n else 1
        whole = sum(layer_bytes(layer, step.mode) for layer, step in zip(own, steps, strict=True))
        if whole > buffer and len(own) > 1:
            return None
        (view, *_), step = part, (steps[0].mode, steps[0].rows, steps[0].group)
        passes = flow(view.lines, (view.lines.lines_out,), step[1]).passes
        total += times * (whole if len(own) > 1 else read_bytes(view, passes, step, buffer))
    whole, (outputs, inputs) = end_bytes(network), network.end.fully_connected(network) or (0, 0)
    return total + (whole if whole <= buffer else outputs * (8 + inputs))


def end_part(network: Network) -> int:
    """The least part of the fully connected layer, if there is one."""
    outputs, inputs = network.end.fully_connected(network) or (0, 0)
    return min(outputs, LEAST_OUTPUTS) * (8 + inputs)

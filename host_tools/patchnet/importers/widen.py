"""Channels of nothing, for the fast kernels: they want expanded channels in fours and outputs in pairs.

A channel whose weights and biases are 0 is its map's zero point everywhere, and the next layer's weights for it are 0,
so that nothing changes but the shapes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..blob.quantized import QBlock, QBottleneck, QConv, QLayer, Scaled

FOURS, PAIRS = 4, 2


def widened(layers: tuple[QLayer, ...], fc: Scaled | None) -> tuple[tuple[QLayer, ...], Scaled | None, list[str]]:
    """Layers, the fully connected layer behind them, and notes. The input stays as it is, and so does the output where
    no fully connected layer reads it."""
    out, notes = [in_fours(q) for q in layers], []
    for first, last, multiple in groups(layers):
        more = -channels(layers, first) % multiple
        if not more or first == 0 or (last == len(layers) and fc is None):
            continue
        for i in range(first, last + 1):
            out[i - 1] = with_outputs(out[i - 1], more)
            if i < len(layers):
                out[i] = with_inputs(out[i], more)
        fc = longer(fc, inputs=more) if fc is not None and last == len(layers) else fc
        c = channels(layers, first)
        notes.append(f"layer {first - 1}: {c} channels are {c + more}, for the fast kernels")
    return tuple(out), fc, notes


def groups(layers: tuple[QLayer, ...]) -> list[tuple[int, int, int]]:
    """(first, last, multiple): maps, counted from the input, 0, that have the same channels as a layer wants it, and of
    what these should be a multiple."""
    found, first = [], 0
    for i in range(len(layers) + 1):
        if i < len(layers) and keeps(layers[i]):
            continue
        found.append((first, i, max(wanted(layers, k) for k in range(first, i + 1))))
        first = i + 1
    return found


def keeps(q: QLayer) -> bool:
    """Whether a layer's output has its input's channels."""
    s = q.shape
    return s.kind in ("maxpool", "meanpool") or s.residual or (s.kind == "block" and not s.expand)


def wanted(layers: tuple[QLayer, ...], i: int) -> int:
    """What the channels of map i should be a multiple of."""
    if i < len(layers) and layers[i].shape.kind == "bottleneck" and not layers[i].shape.expand:
        return FOURS
    return PAIRS if i > 0 and layers[i - 1].shape.kind == "bottleneck" else 1


def channels(layers: tuple[QLayer, ...], i: int) -> int:
    """Of map i."""
    return layers[i - 1].shape.cout if i else layers[0].shape.cin


def longer(s: Scaled, outputs: int = 0, inputs: int = 0) -> Scaled:
    """With outputs that are 0, and inputs that do not matter."""
    pads = [(0, outputs), *[(0, 0)] * (s.weight.ndim - 2), (0, inputs)]
    return Scaled(np.pad(s.weight, pads), np.pad(s.bias, (0, outputs)), np.pad(s.mult, (0, outputs), constant_values=1))


def in_fours(q: QLayer) -> QLayer:
    """With expanded channels of nothing."""
    if not isinstance(q, QBottleneck) or q.expand is None or not q.shape.cexp % FOURS:
        return q
    more = -q.shape.cexp % FOURS
    return replace(
        q, shape=replace(q.shape, cexp=q.shape.cexp + more), expand=longer(q.expand, more),
        depthwise=longer(q.depthwise, more), project=longer(q.project, inputs=more),
    )  # fmt: skip


def with_inputs(q: QLayer, more: int) -> QLayer:
    """With input channels that do not matter."""
    shape = replace(q.shape, cin=q.shape.cin + more)
    if isinstance(q, QConv):
        return replace(q, shape=shape, conv=longer(q.conv, inputs=more))
    if isinstance(q, QBlock):
        shortcut = longer(q.shortcut, inputs=more) if q.shortcut else None
        return replace(q, shape=shape, first=longer(q.first, inputs=more), shortcut=shortcut)
    if not isinstance(q, QBottleneck):
        return replace(q, shape=shape)
    if q.expand is not None:
        return replace(q, shape=shape, expand=longer(q.expand, inputs=more))
    shape = replace(shape, cexp=shape.cin)
    return replace(q, shape=shape, depthwise=longer(q.depthwise, more), project=longer(q.project, inputs=more))


def with_outputs(q: QLayer, more: int) -> QLayer:
    """With output channels that are the zero point."""
    shape = replace(q.shape, cout=q.shape.cout + more)
    if isinstance(q, QConv):
        return replace(q, shape=shape, conv=longer(q.conv, more))
    if isinstance(q, QBottleneck):
        return replace(q, shape=shape, project=longer(q.project, more))
    if isinstance(q, QBlock):
        shortcut = longer(q.shortcut, more) if q.shortcut else None
        return replace(q, shape=shape, second=longer(q.second, more), shortcut=shortcut)
    return replace(q, shape=shape)

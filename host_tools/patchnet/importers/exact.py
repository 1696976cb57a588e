"""A matched integer file becomes a QNet with the file's own integers and scales: nothing is trained or calibrated.

What a file's interpreter and the arithmetic of `blob.quantized` make of them differs by roundings: an interpreter
rounds a bottleneck's projection to int8 before the input is added, here their sum is rounded once; halves are rounded
up here. Behind a ReLU values are told from the least one, zero point -128. Expanded and depthwise values are 0..255,
the file's q + 128: what is linear among them has its zero point in the biases.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from .. import format as fmt
from .. import rooms
from ..blob.quantized import QBlock, QBottleneck, QConv, QEnd, QLayer, QNet, QPooling, Scaled
from ..plan.modes import fours
from .graph import Imported, Unsupported
from .match import NEEDS_DATA, Matched, Step
from .network import network_of
from .nodes import Map, Node
from .widen import widened

NARROW, WIDE = 40, 32  # bits of a multiplier that are a fraction, where its shift is 0


@dataclass(frozen=True)
class Reads:
    """What a convolution reads: real = scale * (q - zero) + rest, `zero` and `rest` one for all or one for each input
    channel, whole where it is padded. A product of q and a weight takes `bits` bits besides its sign."""

    scale: float
    zero: float | np.ndarray
    rest: float | np.ndarray = 0.0
    bits: int = 15

    @classmethod
    def of(cls, m: Map) -> Reads:
        return cls(m.scale, m.zero)


@dataclass
class Lines:
    """What is said of a file: what is in the way, and what is not quite the same."""

    notes: list[str]
    obstacles: list[str] = field(default_factory=list)


def exact(matched: Matched) -> Imported:
    """Unsupported where the integers cannot be had so."""
    lines = Lines(list(matched.notes))
    reads, sign = input_of(matched, lines)
    first, *others = matched.steps
    steps = [with_sign(first, sign), *others]
    layers = tuple(
        MAKE[step.kind](step, reads if i == 0 else Reads.of(step.x), lines) for i, step in enumerate(steps)
    )  # fmt: skip
    end = END[matched.ending.task](matched, lines)
    if lines.obstacles:
        raise Unsupported(lines.obstacles)
    layers, fc, more = widened(layers, getattr(end, "fc", None))
    if fc is not None:
        end = replace(end, fc=fc)  # type: ignore[type-var]  # one that has it
    zeros = tuple(int(z) for z in np.atleast_1d(reads.zero))
    shapes = tuple(layer.shape for layer in layers)
    network = network_of(matched, shapes, tuple(z + 128 for z in zeros), 1 / reads.scale)
    return Imported(network, QNet(network, zeros, (layers,), end), notes=[*lines.notes, *more])


# ---------------------------------------------------------------- the input


def input_of(matched: Matched, lines: Lines) -> tuple[Reads, int]:
    """What the first layer reads, normalised, and the sign that its weights take."""
    m = matched.input
    gain, offset = matched.gain * m.scale, matched.offset - matched.gain * m.scale * m.zero  # of q
    unit, sign = float(abs(gain[0])), int(np.sign(gain[0]))
    zero = np.clip(np.rint(-offset / gain), -128, 127).astype(int)
    if m.c not in (1, 3):
        zero = zero[:1]
    rest = gain * zero + offset
    if (np.abs(rest) > 1e-6 * unit).any():
        lines.notes.append(f"input: pads are {np.abs(rest / unit).max():.2f} of a step off, being whole numbers")
    else:
        rest = np.zeros(1)
    return Reads(unit, zero, rest * sign), sign


def with_sign(step: Step, sign: int) -> Step:
    """The first layer, reading -x instead of x where `sign` is -1."""
    node = step.parts["conv"]
    weights = replace(node.w, value=node.w.value * sign)
    return replace(step, parts={"conv": replace(node, weights=weights)})


# ---------------------------------------------------------------- a convolution


def scaled(
    node: Node, reads: Reads, scale: float, fraction: int, lines: Lines, lift: float | np.ndarray = 0.0
) -> tuple[Scaled, int]:
    """A convolution's integers and shift, for values in steps of `scale`, of which `lift` are added to each channel."""
    w, products = node.w, products_of(node.w.value)
    unit = reads.scale * w.scale
    offset = w.bias + (w.value * reads.rest).sum(inputs_of(w.value)) * w.scale + lift * scale
    for shift in range(fmt.MAX_SHIFT + 1):
        room = ((2**31 - 1) >> shift) - (products << reads.bits)
        if room <= 0:
            break
        coarse, value, bias = roomy(w.value, offset / unit, reads.zero, room)
        mult = np.maximum(1, np.rint(unit / scale * 2.0 ** (coarse + fraction - shift)))
        if mult.max() < 2**31:
            told(node, coarse, value, lines)
            return Scaled(value.astype(np.int8), bias.astype(np.int32), mult.astype(np.int32)), shift
    lines.obstacles.append(
        f"{node.where}: steps of {unit.max():.3g} to such of {scale:.3g} over {products} products: no room in 32 bits: "
        f"{NEEDS_DATA}"
    )
    n = len(unit)
    return Scaled(w.value.astype(np.int8), np.zeros(n, np.int32), np.ones(n, np.int32)), 0


def roomy(
    value: np.ndarray, offset: np.ndarray, zero: float | np.ndarray, room: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, weights, bias) of sums of value * (x - zero) + offset in steps that are coarser by 2^n in each channel, so
    that no bias is more than `room`."""
    coarse = np.zeros(len(value))
    while True:  # the weights' own part of a bias changes with them
        steps = 2.0**coarse
        w = np.rint(value / steps.reshape(-1, *[1] * (value.ndim - 1))).astype(np.int64)
        bias = np.rint(offset / steps - (w * zero).sum(inputs_of(w)))
        if np.abs(bias).max() <= room:
            return coarse, w, bias
        coarse += np.ceil(np.log2(np.maximum(1, np.abs(bias) / room)))


def products_of(weights: np.ndarray) -> int:
    """In a sum, and in one of channels of nothing besides (`widen`)."""
    return weights[0].size if weights.ndim == 3 else math.prod(weights.shape[1:-1]) * fours(weights.shape[-1])


def inputs_of(weights: np.ndarray) -> tuple[int, ...]:
    """All axes but that of the outputs."""
    return tuple(range(1, weights.ndim))


def told(node: Node, coarse: np.ndarray, value: np.ndarray, lines: Lines) -> None:
    if coarse.any():
        lines.notes.append(
            f"{node.where}: {np.count_nonzero(coarse)} channels with large biases: weights coarser by up to "
            f"2^{int(coarse.max())}"
        )
    if value.min() < -128 or value.max() > 127:
        lines.obstacles.append(f"{node.where}: weights of {value.min()}..{value.max()}: {NEEDS_DATA}")


def gain_of(node: Node, ratio: float, most: int, lines: Lines) -> tuple[int, int]:
    """Multiplier and shift of `narrow` for sums up to `most`, worth `ratio` output steps."""
    for shift in range(fmt.MAX_SHIFT + 1):
        mult = max(1, round(ratio * 2.0 ** (NARROW - shift)))
        if mult < 2**31 and most << shift < 2**31:
            return mult, shift
    lines.obstacles.append(f"{node.where}: {ratio:.3g} steps for one, over sums of {most}: {NEEDS_DATA}")
    return 1, 0


def residual(step: Step, around: Map, lines: Lines) -> int:
    """The multiplier of what is added, in its scale, to the layer's output."""
    mult = round(256 * around.scale / step.out.scale)
    if not 1 <= mult < 2**15:
        lines.obstacles.append(
            f"{step.last.where}: adds steps of {around.scale:.3g} to such of {step.out.scale:.3g}: {NEEDS_DATA}"
        )
    return mult


# ---------------------------------------------------------------- layers


def conv(step: Step, reads: Reads, lines: Lines) -> QConv:
    out = step.out
    return QConv(step.layer(), *scaled(step.parts["conv"], reads, out.scale, NARROW, lines), out.zero)


def bottleneck(step: Step, reads: Reads, lines: Lines) -> QBottleneck:
    middle, project, out = step.parts["depthwise"], step.parts["project"], step.out
    expand, expand_shift = None, 0
    if "expand" in step.parts:
        node = step.parts["expand"]
        expand, expand_shift = scaled(node, reads, node.out.scale, WIDE, lines)
        reads = Reads(node.out.scale, 0)
    step_of_sum = reads.scale * middle.w.scale / middle.out.scale
    lift = np.rint((middle.out.zero + 128) / step_of_sum) * step_of_sum  # what a whole bias can make
    depthwise, depthwise_shift = scaled(middle, reads, middle.out.scale, WIDE, lines, lift)
    own, shift = scaled(project, Reads(middle.out.scale, lift), out.scale, NARROW, lines)
    own = replace(own, weight=own.weight[:, 0, 0])
    mult = residual(step, step.x, lines) if step.joined else 0
    shape = step.layer(act="relu" if middle.act == "none" else middle.act)
    if expand is not None:
        expand = replace(expand, weight=expand.weight[:, 0, 0])
    return QBottleneck(shape, expand, depthwise, own, shift, out.zero, mult, expand_shift, depthwise_shift)


def block(step: Step, reads: Reads, lines: Lines) -> QBlock:
    first, second, shortcut = (step.parts.get(name) for name in ("first", "second", "shortcut"))
    assert first is not None and second is not None
    one, first_shift = scaled(first, reads, first.out.scale, NARROW, lines)
    two, shift = scaled(second, Reads.of(first.out), step.out.scale, NARROW, lines)
    mult = residual(step, shortcut.out if shortcut else step.x, lines)
    q = QBlock(step.layer(), one, two, None, first_shift, first.out.zero, shift, step.out.zero, mult)
    if shortcut is None:
        return q
    own, own_shift = scaled(shortcut, reads, shortcut.out.scale, NARROW, lines)
    own = replace(own, weight=own.weight[:, 0, 0])
    return replace(q, shortcut=own, shortcut_shift=own_shift, zero_add=shortcut.out.zero)


def maxpool(step: Step, reads: Reads, lines: Lines) -> QPooling:
    return QPooling(step.layer(), step.x.zero)


def meanpool(step: Step, reads: Reads, lines: Lines) -> QPooling:
    kh, kw = step.main.kernel
    ratio = step.x.scale / (kh * kw * step.out.scale)
    return QPooling(step.layer(), step.out.zero, *gain_of(step.last, ratio, 255 * kh * kw, lines))


MAKE: dict[str, Callable[[Step, Reads, Lines], QLayer]] = {
    "conv": conv,
    "bottleneck": bottleneck,
    "block": block,
    "maxpool": maxpool,
    "meanpool": meanpool,
}


# ---------------------------------------------------------------- what ends it


def pooled(matched: Matched, lines: Lines) -> QEnd:
    """The mean over the last map, and the fully connected layer."""
    record = rooms.part(matched.ending.task, "record")
    ending, last = matched.ending, matched.steps[-1]
    x = last.out
    features = ending.pool.out if ending.pool else x
    mult, shift = gain_of(last.last, x.scale / (x.h * x.w * features.scale), 255 * x.h * x.w, lines)
    pool = record.QPool(mult, shift, features.zero)
    if ending.dense is None:
        return record.QPooled(pool, None, 0, 0, features.scale)
    logits = ending.out
    fc, fc_shift = scaled(ending.dense, Reads(features.scale, features.zero, bits=14), logits.scale, NARROW, lines)
    return record.QPooled(pool, replace(fc, weight=fc.weight[:, 0, 0]), fc_shift, logits.zero, logits.scale)


def last_map(matched: Matched, lines: Lines) -> QEnd:
    """The last map is what the network answers."""
    room = rooms.part(matched.ending.task, "record")
    return room.RECORD.of_map(matched.ending.out.scale)


END: dict[str, Callable[[Matched, Lines], QEnd]] = {"classify": pooled, "heatmap": last_map, "raw": last_map}

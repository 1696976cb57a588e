"""Modes fast and lean (modpatchnet/FORMAT.md, Fast schedules): which layers may run in them, their arrays' order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import format as fmt
from .design import Layer
from .quantized import QBottleneck, QConv, QNet, Scaled

MODES = (fmt.MODE_FAST, fmt.MODE_LEAN)
MIDDLE = [0, 2, 1, 3]  # the two in the middle exchanged

# The 12 depthwise weights by mode and stride: line and pixel of the kernel, -- for 0.
_BY_TWO = "00 10 01 11 20 02 21 12 22 -- -- --"
_TAPS = {
    (fmt.MODE_FAST, 1): "10 11 00 01 12 20 02 21 21 -- 22 --",
    (fmt.MODE_FAST, 2): _BY_TWO,
    (fmt.MODE_LEAN, 1): "00 01 01 02 10 11 11 12 20 21 21 22",
    (fmt.MODE_LEAN, 2): _BY_TWO,
}
_DEPTHWISE = np.dtype([("weight", "i1", 12), ("bias", "<i4"), ("mult", "<i4")])
_SCALE = np.dtype([("bias", "<i4", 2), ("mult", "<i4", 2)])


# ---------------------------------------------------------------- which layers


def fast_shape(layer: Layer) -> bool:
    """Whether a layer has the shape for these modes; its integers decide the rest, see `fast_fault`."""
    bottleneck = layer.kind == "bottleneck" and layer.expand and layer.act != "none" and layer.kernel == 3
    return bottleneck and layer.cin % 4 == 0 and layer.cexp % 4 == 0 and layer.cout % 2 == 0


def _largest(scaled: Scaled, products: int) -> int:
    """What the largest sum becomes before it is clamped; `products` are inputs times weights, at most."""
    sums = products + np.abs(scaled.bias.astype(np.int64))
    return int(((sums * scaled.mult.astype(np.int64) + (1 << 31)) >> 32).max())


def fast_fault(q: QConv | QBottleneck) -> str:
    """Why a layer may not run in these modes; empty if it may."""
    s = q.shape
    if not isinstance(q, QBottleneck) or q.expand is None or not fast_shape(s):
        return f"the shape {s}"
    for name, scaled, products in (
        ("expanded", q.expand, 128 * 128 * s.cin),
        ("depthwise", q.depthwise, 255 * 128 * 9),
    ):
        largest = _largest(scaled, products)
        if largest > 32767:
            return f"{name} values: wanted at most 32767 before the clamp, got {largest}"
    return ""


def fast_ok(q: QConv | QBottleneck) -> bool:
    """Whether a layer may run in these modes."""
    return not fast_fault(q)


def fast_layers(qnet: QNet) -> tuple[bool, ...]:
    """Of each layer of `run()`, whether it may run in these modes in all tunnels: they share the plan."""
    alike = [*zip(*qnet.tunnels, strict=True), *((q,) for q in qnet.tail())]
    return tuple(all(map(fast_ok, layers)) for layers in alike)


# ---------------------------------------------------------------- the order


@dataclass(frozen=True)
class Order:
    """What the order of a layer's arrays follows from, besides its shape.

    `columns`: its segment's lines are columns. `wide`: weights have 16 bits.
    """

    mode: int
    group: int
    columns: bool
    wide: bool

    def taps(self, stride: int) -> list[int]:
        """Which of t[l][p], as 3 * l + p, each of the 12 depthwise weights is: -1 for none."""
        return [-1 if tap == "--" else int(tap, 3) for tap in _TAPS[self.mode, stride].split()]

    def groups(self, cexp: int) -> list[slice]:
        return [slice(at, min(at + self.group, cexp)) for at in range(0, cexp, self.group)]


def _quads(weight: np.ndarray, wide: bool) -> np.ndarray:
    """(outputs, inputs) -> (pairs of outputs, fours of inputs, 2, 4)."""
    outputs, inputs = weight.shape
    quads = weight.reshape(outputs // 2, 2, inputs // 4, 4).swapaxes(1, 2)
    return quads[..., MIDDLE].astype("<i2") if wide else quads.astype("i1")


def _from_quads(quads: np.ndarray, wide: bool) -> np.ndarray:
    """(pairs of outputs, fours of inputs, 2, 4) -> int8 (outputs, inputs)."""
    pairs, fours = quads.shape[:2]
    quads = quads[..., MIDDLE] if wide else quads
    return quads.swapaxes(1, 2).reshape(2 * pairs, 4 * fours).astype(np.int8)


def _exchanged(weight: np.ndarray) -> np.ndarray:
    """(outputs, inputs), the middle two of each four inputs exchanged; its own inverse."""
    return weight.reshape(len(weight), -1, 4)[..., MIDDLE].reshape(weight.shape)


def _expand_type(cin: int, wide: bool) -> np.dtype:
    """A pair of expanded channels."""
    return np.dtype([*_SCALE.descr, ("weight", "<i2" if wide else "i1", (cin // 4, 2, 4))])


def _records(kind: np.dtype, scaled: Scaled, **more: np.ndarray) -> np.ndarray:
    """Records of bias, mult and `more`, of as many channels each as `kind` has places for."""
    shape = (-1, *kind["bias"].shape)
    bias = scaled.bias.reshape(shape)
    out = np.zeros(len(bias), kind)
    for name, values in {"bias": bias, "mult": scaled.mult.reshape(shape), **more}.items():
        out[name] = values
    return out


def to_bytes(q: QBottleneck, order: Order) -> bytes:
    """A layer's arrays."""
    s, wide = q.shape, order.wide and q.shape.cin != 8
    expand = _records(_expand_type(s.cin, wide), q.expand, weight=_quads(q.expand.weight, wide))
    kernel = q.depthwise.weight.swapaxes(1, 2) if order.columns else q.depthwise.weight
    with_zero = np.pad(kernel.reshape(s.cexp, 9), ((0, 0), (0, 1)))
    depthwise = _records(_DEPTHWISE, q.depthwise, weight=with_zero[:, order.taps(s.stride)])
    weight = _exchanged(q.project.weight)
    project = [_quads(weight[:, group], order.wide) for group in order.groups(s.cexp)]
    return b"".join(array.tobytes() for array in (expand, depthwise, *project, _records(_SCALE, q.project)))


def from_bytes(blob: bytes, at: int, s: Layer, order: Order) -> tuple[Scaled, Scaled, Scaled]:
    """Expansion, depthwise convolution and projection that lie at `at`."""

    def take(kind: np.dtype | str, count: int) -> np.ndarray:
        nonlocal at
        array = np.frombuffer(blob, kind, count, at)
        at += array.nbytes
        return array

    def scaled(records: np.ndarray, weight: np.ndarray) -> Scaled:
        bias, mult = (records[name].reshape(-1).astype(np.int32) for name in ("bias", "mult"))
        return Scaled(np.ascontiguousarray(weight), bias, mult)

    wide = order.wide and s.cin != 8
    pairs = take(_expand_type(s.cin, wide), s.cexp // 2)
    expand = scaled(pairs, _from_quads(pairs["weight"], wide))
    channels, taps = take(_DEPTHWISE, s.cexp), order.taps(s.stride)
    kernel = channels["weight"][:, [taps.index(tap) for tap in range(9)]].reshape(s.cexp, 3, 3)
    depthwise = scaled(channels, kernel.swapaxes(1, 2) if order.columns else kernel)
    parts = []
    for group in order.groups(s.cexp):
        shape = s.cout // 2, (group.stop - group.start) // 4, 2, 4
        parts.append(_from_quads(take("<i2" if order.wide else "i1", int(np.prod(shape))).reshape(shape), order.wide))
    weight = _exchanged(np.concatenate(parts, axis=1))
    return expand, depthwise, scaled(take(_SCALE, s.cout // 2), weight)

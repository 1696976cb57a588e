"""Arrays of modes fast and sweep, and of dense convolutions in pairs of outputs (modpatchnet/FORMAT.md, Fast schedules,
Weights in pairs): which layers may have them, their order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..net.layers import Layer
from ..plan.modes import FAST_SHIFT, FULL_SUMS, NARROW_SUMS, NOT_FAST, fast_shape, fours, paired_shape
from .quantized import QBlock, QBottleneck, QConv, QLayer, QNet, Scaled

# A 3x3 kernel's 12 depthwise weights where they are not line by line: line and pixel of the kernel, -- for 0.
_ROLLING = "10 11 00 01 12 20 02 21 21 -- 22 --"
_BY_TWO = "00 10 01 11 20 02 21 12 22 -- -- --"
_SCALE = np.dtype([("bias", "<i4", 2), ("mult", "<i4", 2)])


# ---------------------------------------------------------------- which layers


def fast_fault(q: QLayer) -> str:
    """Why a layer may not run in these modes; empty if it may."""
    s = q.shape
    if not isinstance(q, QBottleneck) or not fast_shape(s):
        return f"the shape {s}"
    for name, shift in (("expand_shift", q.expand_shift), ("depthwise_shift", q.depthwise_shift)):
        if shift > FAST_SHIFT:
            return f"{name}: wanted at most {FAST_SHIFT}, got {shift}"
    for name, scaled in (("expand", q.expand), ("project", q.project)):
        if scaled is not None and not _fit(scaled.weight):
            return f"{name}: wanted no weight of -128 beside one below 0 of the output before"
    return ""


def fast_ok(q: QLayer) -> bool:
    """Whether a layer may run in these modes."""
    return not fast_fault(q)


def sum_bits(q: QLayer) -> int:
    """Bits that hold every sum of a projection, whatever the picture, and every part of one: 0 for other layers."""
    if not isinstance(q, QBottleneck):
        return 0
    low, high = (-128, 127) if q.shape.act == "none" else (0, 255)  # of a depthwise value
    weight, bias = q.project.weight.astype(np.int64), q.project.bias.astype(np.int64)
    above, below = weight.clip(0).sum(1), weight.clip(max=0).sum(1)
    most, least = bias + high * above + low * below, bias + low * above + high * below
    return max(int(most.max()).bit_length(), int(~least.min()).bit_length()) + 1


def alike(qnet: QNet) -> list[tuple[QLayer, ...]]:
    """Each layer of `run()` in all tunnels."""
    return [*zip(*qnet.tunnels, strict=True), *((q,) for q in qnet.behind)]


def fast_layers(qnet: QNet) -> tuple[int, ...]:
    """Of each layer of `run()`, whether it may run in these modes in all tunnels, and with sums of 24 bits
    (modes.NOT_FAST and so on): they share the plan."""
    return tuple(map(_fast_sums, alike(qnet)))


def _fast_sums(layers: tuple[QLayer, ...]) -> int:
    if not all(map(fast_ok, layers)):
        return NOT_FAST
    return NARROW_SUMS if max(map(sum_bits, layers)) <= 24 else FULL_SUMS


# ---------------------------------------------------------------- two weights in one number


def paired(layers: tuple[QLayer, ...], mode: int, group: int) -> bool:
    """Whether a layer's weights in this mode, in all tunnels, lie in pairs of outputs: of a convolution or a block."""
    return all(
        paired_shape(q.shape, mode, group) and all(_fit(_by_two(s.weight.reshape(len(s.weight), -1))) for s in dense(q))
        for q in layers
    )


def dense(q: QLayer) -> tuple[Scaled, ...]:
    """The dense convolutions of such a layer."""
    if isinstance(q, QBlock):
        return q.first, q.second, *([q.shortcut] if q.shortcut is not None else [])
    return (q.conv,) if isinstance(q, QConv) else ()


def _by_two(rows: np.ndarray) -> np.ndarray:
    """Rows of outputs, of an odd number the last two once more instead of the last one."""
    return np.concatenate([rows[:-1], rows[-2:]]) if len(rows) % 2 else rows


def _fit(weight: np.ndarray) -> bool:
    """Whether all pairs of outputs' weights (outputs, inputs) have a number: 256 * b + a in 16 bits."""
    return not ((weight[1::2] == -128) & (weight[::2] < 0)).any()


def _pairs(weight: np.ndarray) -> np.ndarray:
    """(outputs, inputs) -> (pairs of outputs, inputs)."""
    return (256 * weight[1::2].astype("<i2") + weight[::2]).astype("<i2")


def _from_pairs(pairs: np.ndarray) -> np.ndarray:
    """The inverse of `_pairs`."""
    a = pairs.astype(np.int8)
    b = (pairs.astype(np.int32) - a) >> 8
    if (b == 128).any():
        raise ValueError("weight: wanted -128 to 127, got 128")
    return np.stack([a, b], 1).astype(np.int8).reshape(2 * len(pairs), -1)


def exchanged(weight: np.ndarray) -> np.ndarray:
    """(outputs, inputs), the middle two of each four inputs exchanged; its own inverse."""
    return weight.reshape(len(weight), -1, 4)[..., [0, 2, 1, 3]].reshape(weight.shape)


# ---------------------------------------------------------------- the order


@dataclass(frozen=True)
class Order:
    """What the order of a layer's arrays follows from, besides its shape.

    `columns`: kernels lie column by column. `fast`: it is the order of modes fast and sweep, else only `columns`
    and `paired` matter.
    """

    group: int
    columns: bool
    fast: bool = True
    paired: bool = False

    parts: ClassVar[tuple[str, ...]] = "expand", "project", "depthwise"  # of a group

    def pairs(self, s: Layer, part: str, inputs: int) -> np.dtype:
        """The weights of a pair of outputs of `part`, an expansion or a projection, for so many inputs."""
        return np.dtype(("<i2", (inputs,)))

    def weights(self, part: str, pairs: np.ndarray) -> np.ndarray:
        """(outputs, inputs) of those."""
        return _from_pairs(exchanged(pairs) if part == "expand" else pairs)

    def taps(self, s: Layer) -> list[int]:
        """Which of t[l][p], as kernel * l + p, each of a channel's depthwise weights is: -1 for none."""
        if s.kh == 3 and (s.sh == 2 or s.expand):
            return [-1 if tap == "--" else int(tap, 3) for tap in (_BY_TWO if s.sh == 2 else _ROLLING).split()]
        starts = [s.kh * line + pixel for line in range(s.kh) for pixel in range(0, s.kh - 1, 2)]
        return [start + more for start in starts for more in (0, 1, 1, 2)]

    def groups(self, cexp: int) -> list[slice]:
        return [slice(at, min(at + self.group, cexp)) for at in range(0, cexp, self.group)]


def _expand_type(s: Layer, order: Order) -> np.dtype:
    """A pair of expanded channels."""
    pairs = order.pairs(s, "expand", fours(s.cin))
    return np.dtype([*_SCALE.descr, ("weight", pairs.base, pairs.shape)])


def _depthwise_type(weights: int) -> np.dtype:
    return np.dtype([("weight", "i1", weights), ("bias", "<i4"), ("mult", "<i4")])


def _records(kind: np.dtype, scaled: Scaled, **more: np.ndarray) -> np.ndarray:
    """Records of bias, mult and `more`, of as many channels each as `kind` has places for."""
    shape = (-1, *kind["bias"].shape)
    bias = scaled.bias.reshape(shape)
    out = np.zeros(len(bias), kind)
    for name, values in {"bias": bias, "mult": scaled.mult.reshape(shape), **more}.items():
        out[name] = values
    return out


def _pair_type(inputs: int) -> np.dtype:
    """Two outputs of a dense convolution of so many inputs, a multiple of 4."""
    return np.dtype([("weight", "<i2", (inputs,)), *_SCALE.descr])


def pairs_to_bytes(scaled: Scaled) -> bytes:
    """A dense convolution's arrays in pairs of outputs, its weights being (outputs, inputs)."""
    inputs = scaled.weight.shape[1]
    weight = np.pad(scaled.weight, ((0, 0), (0, fours(inputs) - inputs)))
    two = Scaled(*map(_by_two, (weight, scaled.bias, scaled.mult)))
    return _records(_pair_type(fours(inputs)), two, weight=exchanged(_pairs(two.weight))).tobytes()


def pairs_from_bytes(blob: bytes, at: int, outputs: int, inputs: int) -> tuple[Scaled, int]:
    """Those that lie at `at`, and where they end."""
    records = np.frombuffer(blob, _pair_type(fours(inputs)), (outputs + 1) // 2, at)
    weight = _from_pairs(exchanged(records["weight"]))[:, :inputs]
    arrays = (weight, *(records[name].reshape(-1).astype(np.int32) for name in ("bias", "mult")))
    last = [*range(outputs - 1), -1]  # of an odd number of outputs the last but one is there twice
    return Scaled(*(np.ascontiguousarray(array[last]) for array in arrays)), at + records.nbytes


def to_bytes(q: QBottleneck, order: Order) -> bytes:
    """A layer's arrays."""
    s, taps = q.shape, order.taps(q.shape)
    kernel = q.depthwise.weight.swapaxes(1, 2) if order.columns else q.depthwise.weight
    with_zero = np.pad(kernel.reshape(s.cexp, s.taps), ((0, 0), (0, 1)))
    channels = _records(_depthwise_type(len(taps)), q.depthwise, weight=with_zero[:, taps])
    pairs = channels[:0]
    if q.expand is not None:
        weight = np.pad(q.expand.weight, ((0, 0), (0, fours(s.cin) - s.cin)))
        pairs = _records(_expand_type(s, order), q.expand, weight=exchanged(_pairs(weight)))
    arrays = [_records(_SCALE, q.project)]
    for group in order.groups(s.cexp):
        arrays += [pairs[group.start // 2 : group.stop // 2], _pairs(q.project.weight[:, group]), channels[group]]
    return b"".join(array.tobytes() for array in arrays)


def from_bytes(blob: bytes, at: int, s: Layer, order: Order) -> tuple[Scaled | None, Scaled, Scaled]:
    """Expansion (None without one), depthwise convolution and projection that lie at `at`."""

    def take(kind: np.dtype | str, count: int) -> np.ndarray:
        nonlocal at
        array = np.frombuffer(blob, kind, count, at)
        at += array.nbytes
        return array

    def scaled(records: np.ndarray, weight: np.ndarray) -> Scaled:
        bias, mult = (records[name].reshape(-1).astype(np.int32) for name in ("bias", "mult"))
        return Scaled(np.ascontiguousarray(weight), bias, mult)

    taps, scales = order.taps(s), take(_SCALE, s.cout // 2)
    found: dict[str, list[np.ndarray]] = {part: [] for part in order.parts if s.expand or part != "expand"}
    for group in order.groups(s.cexp):
        n = group.stop - group.start
        for part, arrays in found.items():
            if part == "expand":
                arrays.append(take(_expand_type(s, order), n // 2))
            elif part == "project":
                pairs = order.pairs(s, part, n)
                flat = take(pairs.base, s.cout // 2 * math.prod(pairs.shape))
                arrays.append(order.weights(part, flat.reshape(-1, *pairs.shape)))
            else:
                arrays.append(take(_depthwise_type(len(taps)), n))
    expand = None
    if s.expand:
        all_pairs = np.concatenate(found["expand"])
        expand = scaled(all_pairs, order.weights("expand", all_pairs["weight"])[:, : s.cin])
    channels = np.concatenate(found["depthwise"])
    weight = channels["weight"][:, [taps.index(tap) for tap in range(s.taps)]]
    kernel = weight.reshape(s.cexp, s.kh, s.kw)
    depthwise = scaled(channels, kernel.swapaxes(1, 2) if order.columns else kernel)
    return expand, depthwise, scaled(scales, np.concatenate(found["project"], axis=1))

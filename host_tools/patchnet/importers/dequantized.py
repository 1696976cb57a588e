"""Real weights that integers stand for: a packed network as a float one, to be calibrated anew (`patchnet quantize`).

Integers tell ratios of scales, not scales. Each layer's output has one that its residual asks for, or one of our own;
whatever that is, the float network gives the same answers, but for what rounding and clamping did.
"""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np

from .. import rooms
from ..blob.quantized import QBlock, QBottleneck, QConv, QLayer, QNet, QPooling, Scaled
from ..net.layers import CASTS, Layer
from ..net.network import Network
from .graph import FloatLayer

TOP = 6 / 255  # scale of values behind an activation: ReLU6's ceiling is then where integers have theirs
OWN = 6 / 128  # of others
Point = tuple[float, float | np.ndarray]  # a map's scale and zero point


def dequantized(qnet: QNet) -> tuple[Network, list[list[FloatLayer]], FloatLayer]:
    """The network in real numbers: of each tunnel its layers' weights, and the fully connected layer's. ValueError for
    one that does not end with pooled tunnels."""
    design = qnet.design
    if not isinstance(qnet.end, rooms.part("classify", "record").QPooled) or qnet.behind:
        raise ValueError(f"{design.name}: wanted a network that classifies, its tunnels pooled, got task {design.task}")
    scale = _tunnel(qnet, qnet.tunnels[0])[1]
    tunnels = [_tunnel(qnet, chain, scale) for chain in qnet.tunnels]
    chain = tuple(_shape(q) for q in qnet.tunnels[0] if q.shape.kind not in CASTS)
    network = replace(design, chain=chain)
    return network, [layers for layers, _ in tunnels], _end(qnet.end, scale, network)


def _shape(q: QLayer) -> Layer:
    """The layer with the activation that its integers have: blobs do not tell a convolution's, nor one behind a
    bottleneck; of a block without a shortcut the ceiling is anywhere."""
    s, clamps = q.shape, q.zero_out == -128
    if isinstance(q, QBottleneck):
        return replace(s, out_act="relu") if clamps and s.out_act == "none" else s
    if isinstance(q, QConv | QBlock) and not clamps:
        return replace(s, act="none")
    return replace(s, act="relu") if isinstance(q, QBlock) and q.shortcut is None else s


def _tunnel(qnet: QNet, chain: tuple[QLayer, ...], end: float | None = None) -> tuple[list[FloatLayer], float]:
    """The weights of its layers, and the scale of its last map: `end`, for which the last layer whose scale is ours
    gets another one."""
    layers = [q for q in chain if q.shape.kind not in CASTS]
    free = max((i for i, q in enumerate(layers) if _is_free(q)), default=-1)
    times = 1.0 if end is None else end / _tunnel(qnet, chain)[1]
    at: Point = 1 / qnet.design.std, np.array(qnet.input_zero, float)
    out = []
    for i, q in enumerate(layers):
        layer, scale = real(q, at, OWN * times if i == free else OWN)
        out.append(layer)
        at = scale, q.zero_out
    if end is not None and abs(at[0] / end - 1) > 1e-4:
        raise ValueError(f"{qnet.design.name}: wanted a linear layer before the last residuals, which tunnels end with")
    return out, at[0]


def _is_free(q: QLayer) -> bool:
    """Whether its output's scale is `own`."""
    linear = isinstance(q, QConv) and q.zero_out != -128
    return linear or (isinstance(q, QBottleneck) and not q.shape.residual and q.zero_out != -128)


def _step(scaled: Scaled, shift: int, bits: int, at: Point, out: float) -> tuple[np.ndarray, np.ndarray]:
    """(weight, bias) of a convolution whose multipliers have `bits` bits behind the point. `at`: of what it reads, its
    last axis or the first one but outputs being the input's channels; `out`: the scale of what it makes."""
    scale, zero = at
    ratio = out * scaled.mult.astype(np.float64) / 2.0 ** (bits - shift)
    weight = scaled.weight.astype(np.float64)
    bias = scaled.bias + (weight * zero).reshape(len(weight), -1).sum(1)
    return weight * (ratio / scale).reshape(-1, *[1] * (weight.ndim - 1)), ratio * bias


@singledispatch
def real(q: QLayer, at: Point, own: float) -> tuple[FloatLayer, float]:
    """Real weights of a layer whose input has this scale and zero point, and its output's scale: `own`, where nothing
    asks for another one."""
    raise TypeError(f"wanted integers of a layer, got {type(q).__name__}")


@real.register
def _(q: QConv, at: Point, own: float) -> tuple[FloatLayer, float]:
    out = TOP if q.zero_out == -128 else own
    return FloatLayer({"conv": _step(q.conv, q.shift, 40, at, out)}), out


@real.register
def _(q: QBottleneck, at: Point, own: float) -> tuple[FloatLayer, float]:
    scale, s = at[0], q.shape
    wide = TOP if s.act != "none" else OWN
    parts, inner = {}, at
    if q.expand is not None:
        parts["expand"], inner = _step(q.expand, q.expand_shift, 32, at, wide), (wide, 0.0)
    parts["depthwise"] = _step(q.depthwise, q.depthwise_shift, 32, inner, wide)
    out = 256 * scale / q.res_mult if s.residual else TOP if q.zero_out == -128 else own
    parts["project"] = _step(q.project, q.shift, 40, (wide, 0.0), out)
    return FloatLayer(parts), out


@real.register
def _(q: QBlock, at: Point, own: float) -> tuple[FloatLayer, float]:
    parts = {"first": _step(q.first, q.first_shift, 40, at, TOP)}
    added = at[0] if q.shortcut is None else TOP * q.res_mult / 256
    if q.shortcut is not None:
        parts["shortcut"] = _step(q.shortcut, q.shortcut_shift, 40, at, added)
    out = 256 * added / q.res_mult
    parts["second"] = _step(q.second, q.shift, 40, (TOP, float(q.zero_mid)), out)
    return FloatLayer(parts), out


@real.register
def _(q: QPooling, at: Point, own: float) -> tuple[FloatLayer, float]:
    if q.shape.kind == "maxpool":
        return FloatLayer({}), at[0]
    return FloatLayer({}), at[0] * 2.0 ** (40 - q.shift) / (q.mult * q.shape.taps)


def _end(end: Any, scale: float, network: Network) -> FloatLayer:
    """The fully connected layer of a `QPooled`, `scale` being that of the tunnels' last maps."""
    if end.fc is None:
        return FloatLayer({})
    last, pool = network.chain[-1], end.pool
    features = scale / (last.oh * last.ow) / (pool.mult / 2.0 ** (40 - pool.shift))
    at = features, float(pool.zero_out)
    return FloatLayer({"dense": _step(end.fc, end.fc_shift, 40, at, end.output_scale)})

"""The slow oracle for float32 networks: numpy's float32, a product and an addition at a time, from FORMAT.md alone."""

from __future__ import annotations

import numpy as np

from . import BLOCK, BOTTLENECK, CONV, EXPAND, MAXPOOL, RAW, RESIDUAL, Layer, Oracle, Result, Steps, power, sigmoid

F = np.float32
STEPS = F(2**15 / np.log(2))


class Floats:
    """Reads one array after the other."""

    def __init__(self, blob: bytes, offset: int):
        self.blob, self.at = blob, offset

    def take(self, *shape: int) -> np.ndarray:
        out = np.frombuffer(self.blob, "<f4", int(np.prod(shape)), self.at).astype(F)
        self.at += 4 * out.size
        return out.reshape(shape)

    def both(self, n: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
        """Biases and weights."""
        return self.take(n), self.take(*shape)


def act(code: int, v: np.ndarray) -> np.ndarray:
    if code == 0:
        return v
    v = np.where(v > 0, v, F(0))
    return v if code == 1 else np.where(v < 6, v, F(6))


def under(i: int, size: int, outputs: int, stride: int, pad: int) -> tuple[slice, slice]:
    """Of the kernel's row (or column) i: outputs that see something of the map there, and what that is."""
    seen = [o for o in range(outputs) if 0 <= o * stride - pad + i < size]
    if not seen:
        return slice(0, 0), slice(0, 0)
    first = seen[0] * stride - pad + i
    return slice(seen[0], seen[-1] + 1), slice(first, first + (len(seen) - 1) * stride + 1, stride)


def taps(x: np.ndarray, steps: Steps):
    """Row and column of each tap, the outputs that see something there, and what they see, in the order of sums."""
    (oh, ow), (h, w) = steps.size(*x.shape[:2]), x.shape[:2]
    for i in range(steps.kernel[0]):
        rows, from_rows = under(i, h, oh, steps.stride[0], steps.pads[0])
        for j in range(steps.kernel[1]):
            columns, from_columns = under(j, w, ow, steps.stride[1], steps.pads[2])
            yield i, j, (rows, columns), x[from_rows, from_columns]


def conv(x: np.ndarray, bias: np.ndarray, weight: np.ndarray, steps: Steps) -> np.ndarray:
    """weight (cout, kernel_h, kernel_w, cin)."""
    out = np.tile(bias, (*steps.size(*x.shape[:2]), 1))
    for i, j, at, seen in taps(x, steps):
        for c in range(x.shape[2]):
            out[at] = out[at] + seen[..., c, None] * weight[:, i, j, c]
    return out


def depthwise(x: np.ndarray, bias: np.ndarray, weight: np.ndarray, steps: Steps) -> np.ndarray:
    """weight (kernel_h, kernel_w, c)."""
    out = np.tile(bias, (*steps.size(*x.shape[:2]), 1))
    for i, j, at, seen in taps(x, steps):
        out[at] = out[at] + seen * weight[i, j]
    return out


def pixels(x: np.ndarray, bias: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """1x1 convolution. weight (cin, cout)."""
    out = np.tile(bias, (*x.shape[:-1], 1))
    for c in range(x.shape[-1]):
        out = out + x[..., c, None] * weight[c]
    return out


def bottleneck(x: np.ndarray, arrays: Floats, layer: Layer, param) -> np.ndarray:
    e, cexp, cout = x, layer.cexp, layer.cout
    if layer.flags & EXPAND:
        bias, weight = arrays.both(cexp, cexp, x.shape[2])
        e = act(param.shift_1, pixels(x, bias, weight.T))
    d = depthwise(e, *arrays.both(cexp, layer.kernel_h, layer.kernel_w, cexp), Steps.of(layer))
    out = pixels(act(param.shift_2, d), *arrays.both(cout, cexp, cout))
    return act(param.shift, out + x if layer.flags & RESIDUAL else out)


def block(x: np.ndarray, arrays: Floats, layer: Layer, param) -> np.ndarray:
    first, second, cin, cout = Steps.of(layer), Steps.second(layer), x.shape[2], layer.cout
    m = act(param.shift_1, conv(x, *arrays.both(layer.cexp, layer.cexp, *first.kernel, cin), first))
    out = conv(m, *arrays.both(cout, cout, *second.kernel, layer.cexp), second)
    y = x[:: layer.stride_h, :: layer.stride_w][: out.shape[0], : out.shape[1]]
    if layer.flags & EXPAND:
        bias, weight = arrays.both(cout, cout, cin)
        y = pixels(y, bias, weight.T)
    return act(param.shift, out + y)


def pool(x: np.ndarray, layer: Layer) -> np.ndarray:
    steps, most = Steps.of(layer), layer.kind == MAXPOOL
    out = np.full((*steps.size(*x.shape[:2]), x.shape[2]), -np.inf if most else 0, F)
    for _, _, at, seen in taps(x, steps):
        out[at] = np.where(seen > out[at], seen, out[at]) if most else out[at] + seen
    return out if most else out / F(steps.kernel[0] * steps.kernel[1])


def layer_of(oracle: Oracle, x: np.ndarray, layer: Layer, param) -> np.ndarray:
    arrays = Floats(oracle.blob, param.weight_off)
    if layer.kind == CONV:
        both = arrays.both(layer.cout, layer.cout, layer.kernel_h, layer.kernel_w, x.shape[2])
        return act(param.shift, conv(x, *both, Steps.of(layer)))
    if layer.kind in (BOTTLENECK, BLOCK):
        return (bottleneck if layer.kind == BOTTLENECK else block)(x, arrays, layer, param)
    return pool(x, layer)


def steps_of(logit: np.float32) -> int:
    """A logit in steps of ln 2 / 2^15."""
    with np.errstate(over="ignore"):
        v = logit * STEPS
    v = max(-(2.0**29), min(2.0**29, float(v))) if not np.isnan(v) else -(2.0**29)
    return int(F(v) + F(-0.5 if v < 0 else 0.5))


def scores(logits: np.ndarray, each: bool, mult: int) -> list[int]:
    n = [steps_of(logit) for logit in logits]
    if each:
        return [sigmoid(one, mult) for one in n]
    powers = [power((max(n) - one) * mult >> 8) for one in n]
    total = sum(powers)
    return [(65536 * e + total // 2) // total for e in powers]


def pooled(oracle: Oracle, last: list[np.ndarray]) -> np.ndarray:
    """Features: means of the last maps, which all have one size."""
    chains, concat = [m.reshape(-1, m.shape[2]) for m in last], oracle.header.aggregate == 1
    sums = np.zeros((len(chains) if concat else 1, chains[0].shape[1]), F)
    for i, chain in enumerate(chains):
        for pixel in chain:
            sums[i * concat] = sums[i * concat] + pixel
    return (sums / F(len(chains[0]))).reshape(-1)


def run(oracle: Oracle, q: np.ndarray, parts: list[np.ndarray]) -> Result:
    """Of the input q what each chain sees of it."""
    h, maps = oracle.header, []
    assert h.dtype == 1 and h.task in (1, 3, RAW)
    with np.errstate(all="ignore"):
        for part, params in zip(parts, oracle.params, strict=True):
            chain, source = [], (part.astype(np.int64) - oracle.input_zero).astype(F)
            for layer, param in zip(oracle.layers, params, strict=True):
                chain.append(source := layer_of(oracle, source, layer, param))
            maps.append(chain)
        none = np.zeros(0, np.int16)
        if oracle.maps:
            return Result(q, none, maps[0][-1].reshape(-1), [], none, maps)
        features = logits = pooled(oracle, [chain[-1] for chain in maps])
        if oracle.dense:
            bias, weight = Floats(oracle.blob, h.fc_off).both(h.classes, h.classes, len(features))
            logits = pixels(features, bias, weight.T)
        return Result(q, none, logits, scores(logits, h.scores == 1, h.softmax_mult), features, maps)

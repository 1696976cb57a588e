"""What an `importers.graph.Graph` means: slow numpy, in real numbers, written from the head of that module.

Every value is a real number in float64. What has a quantization is rounded to its steps, half to even, as soon as it
is there, which for products of integers is the same as integer arithmetic with one rounding at its end.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from patchnet.importers.graph import NO_PADS, Graph, Op, Quantization, Tensor

ACTS = {"none": lambda x: x, "relu": lambda x: np.maximum(x, 0), "relu6": lambda x: np.clip(x, 0, 6)}


def evaluate(graph: Graph, *inputs: np.ndarray) -> list[np.ndarray]:
    """The graph's outputs for inputs in its shapes: integers where a tensor has a quantization, else real numbers."""
    values = {i: real(t.data, t) for i, t in enumerate(graph.tensors) if t.data is not None}
    for place, x in zip(graph.inputs, inputs, strict=True):
        assert x.shape == graph.tensors[place].shape, (x.shape, graph.tensors[place])
        values[place] = real(x, graph.tensors[place])
    for op in graph.ops:
        (out,) = op.outputs
        tensor = graph.tensors[out]
        result = KINDS[op.kind](op, tensor.shape, *(values[i] for i in op.inputs if i >= 0))
        result = ACTS[op.attrs.get("act", "none")](result)
        assert result.shape == tensor.shape, (op, result.shape, tensor.shape)
        values[out] = real(integers(result, tensor), tensor) if tensor.quantization else result
    return [
        integers(values[i], graph.tensors[i]) if graph.tensors[i].quantization else values[i] for i in graph.outputs
    ]


def real(x: np.ndarray, tensor: Tensor) -> np.ndarray:
    x = np.asarray(x, np.float64)
    if tensor.quantization is None:
        return x
    scale, zero = steps(tensor.quantization, x.ndim)
    return scale * (x - zero)


def integers(x: np.ndarray, tensor: Tensor) -> np.ndarray:
    assert tensor.quantization is not None
    scale, zero = steps(tensor.quantization, x.ndim)
    limits = np.iinfo(tensor.dtype)
    return np.clip(np.rint(x / scale) + zero, limits.min, limits.max).astype(tensor.dtype)


def steps(quantization: Quantization, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point in a shape that broadcasts over a tensor of that rank."""
    shape = [1] * rank
    if rank:
        shape[quantization.axis] = -1
    return quantization.scale.reshape(shape), quantization.zero.reshape(shape)


def windows(x: np.ndarray, kernel, stride, pads, dilation=(1, 1), value: float = 0.0) -> np.ndarray:
    """(1, h, w, c) -> (1, oh, ow, c, kh, kw)."""
    top, bottom, left, right = pads
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    seen = sliding_window_view(x, reach, axis=(1, 2))
    return seen[:, :: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]


def conv(op: Op, shape, x, weight, bias=0.0):
    a = op.attrs
    seen = windows(x, weight.shape[1:3], a["stride"], a["pads"], a.get("dilation", (1, 1)))
    return np.einsum("nhwcij,oijc->nhwo", seen, weight, optimize=True) + bias


def depthwise(op: Op, shape, x, weight, bias=0.0):
    a = op.attrs
    seen = windows(x, weight.shape[1:3], a["stride"], a["pads"], a.get("dilation", (1, 1)))
    return np.einsum("nhwcij,cij->nhwc", seen, weight, optimize=True) + bias


def dense(op: Op, shape, x, weight, bias=0.0):
    return (x.reshape(-1, weight.shape[1]) @ weight.T + bias).reshape(shape)


def maxpool(op: Op, shape, x):
    a = op.attrs
    return windows(x, a["kernel"], a["stride"], a["pads"], value=-np.inf).max(axis=(4, 5))


def meanpool(op: Op, shape, x):
    a = op.attrs
    total = windows(x, a["kernel"], a["stride"], a["pads"]).sum(axis=(4, 5))
    if a.get("counted", False):
        return total / (a["kernel"][0] * a["kernel"][1])
    return total / windows(np.ones_like(x), a["kernel"], a["stride"], a["pads"]).sum(axis=(4, 5))


def pad(op: Op, shape, x):
    top, bottom, left, right = op.attrs.get("pads", NO_PADS)
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=op.attrs["value"])


def softmax(op: Op, shape, x):
    e = np.exp(x - x.max(axis=op.attrs["axis"], keepdims=True))
    return e / e.sum(axis=op.attrs["axis"], keepdims=True)


KINDS = {
    "conv": conv,
    "depthwise": depthwise,
    "dense": dense,
    "add": lambda op, shape, a, b: a + b,
    "sub": lambda op, shape, a, b: a - b,
    "mul": lambda op, shape, a, b: a * b,
    "maxpool": maxpool,
    "meanpool": meanpool,
    "mean": lambda op, shape, x: x.mean(axis=op.attrs["axes"]).reshape(shape),
    "sum": lambda op, shape, x: x.sum(axis=op.attrs["axes"]).reshape(shape),
    "max": lambda op, shape, x: x.max(axis=op.attrs["axes"]).reshape(shape),
    "pad": pad,
    "relu": lambda op, shape, x: np.maximum(x, 0),
    "relu6": lambda op, shape, x: np.clip(x, 0, 6),
    "clip": lambda op, shape, x: np.clip(x, op.attrs["low"], op.attrs["high"]),
    "sigmoid": lambda op, shape, x: 1 / (1 + np.exp(-x)),
    "softmax": softmax,
    "affine": lambda op, shape, x, gain, offset: x * gain + offset,
    "reshape": lambda op, shape, x: x.reshape(shape),
    "transpose": lambda op, shape, x: x.transpose(op.attrs["perm"]),
    "concat": lambda op, shape, *xs: np.concatenate(xs, axis=op.attrs["axis"]),
    "quantize": lambda op, shape, x: x,
    "dequantize": lambda op, shape, x: x,
    "identity": lambda op, shape, x: x,
}

"""Graphs as readers make them, by hand: random weights, real or int8, with scales that fit what flows through."""

from __future__ import annotations

import numpy as np

from patchnet.importers.graph import NO_PADS, Graph, Op, Quantization, Tensor

SAME = (1, 1, 1, 1)  # pads of a 3x3 kernel


class Made:
    """A graph that grows from an input (1, h, w, c). Methods are operators; they take and give places of tensors.

    `integers`: every tensor is int8 (or `dtype`) with a scale of its own, all weights with one for each output channel.
    """

    def __init__(self, *shape: int, integers: bool = True, dtype: str = "int8", seed: int = 1):
        self.integers, self.dtype, self.rng = integers, dtype, np.random.default_rng(seed)
        self.graph = Graph("made.tflite", "tflite", [], [], (0,), ())
        self.spread = {0: 1.5}
        self.tensor(shape, 4 / 255, 128 if dtype == "uint8" else 3)

    def tensor(self, shape, scale=None, zero=0, data=None, dtype=None) -> int:
        q = None if scale is None or not self.integers else Quantization(np.array([scale]), np.array([zero]))
        name = f"tensor {len(self.graph.tensors)}"
        kind = dtype or (self.dtype if self.integers else "float32")
        self.graph.tensors.append(Tensor(name, tuple(shape), kind, q, data))
        return len(self.graph.tensors) - 1

    def shape(self, x: int) -> tuple[int, ...]:
        return self.graph.tensors[x].shape

    def weight(self, x: int, shape, spread: float = 1.0) -> int:
        """Random ones that leave the spread of what they read as it is, or make it `spread` times as large."""
        fan_in = np.prod(shape[1:])
        value = self.rng.integers(-127, 128, shape)
        scale = spread * self.rng.uniform(0.7, 1.3, shape[0]) / 73 / np.sqrt(fan_in)
        if not self.integers:
            return self.tensor(shape, data=value * scale.reshape(-1, *[1] * (len(shape) - 1)))
        i = self.tensor(shape, 1.0, data=value.astype(np.int8), dtype="int8")
        self.graph.tensors[i].quantization = Quantization(scale, np.zeros(shape[0], np.int64))
        return i

    def bias(self, x: int, weight: int) -> int:
        value = self.rng.normal(0, 0.5, self.shape(weight)[0])
        if not self.integers:
            return self.tensor(value.shape, data=value)
        unit = self.graph.tensors[x].scale * self.graph.tensors[weight].quantization.scale
        i = self.tensor(value.shape, data=np.rint(value / unit).astype(np.int32), dtype="int32")
        self.graph.tensors[i].quantization = Quantization(unit, np.zeros(len(unit), np.int64))
        return i

    def constant(self, value) -> int:
        """Real, or integers in steps of 1/64."""
        value = np.asarray(value, float)
        if not self.integers:
            return self.tensor(value.shape, data=value)
        return self.tensor(value.shape, 1 / 64, 5, np.rint(value * 64 + 5).astype(np.int16), "int16")

    def op(self, kind, inputs, size, like=None, spread=1.0, name="", behind="none", **attrs) -> int:
        """`like`: its output has that tensor's scale; else one that fits `spread` and its activation, or the one that
        it comes `behind`."""
        act = attrs.get("act", kind if behind == "none" else behind)
        if like is not None:
            q = self.graph.tensors[like].quantization
            out = self.tensor(size)
            self.graph.tensors[out].quantization = q
            self.spread[out] = self.spread[like]
        else:
            positive = act in ("relu", "relu6")
            top = min(6, 3.5 * spread) if act == "relu6" else 3.5 * spread
            low, shift = (-128 if positive else int(self.rng.integers(-9, 9))), 128 * (self.dtype == "uint8")
            out = self.tensor(size, (1 if positive else 2) * top / 255, low + shift)
            self.spread[out] = spread
        index = len(self.graph.ops)
        self.graph.ops.append(Op(index, name or kind.upper(), kind, tuple(inputs), (out,), attrs))
        return out

    def conv(self, x, cout, kernel=(3, 3), stride=(1, 1), pads=None, act="none", dilation=(1, 1), kind="conv", **more):
        """`pads` None: half the kernel."""
        _, h, w, c = self.shape(x)
        kh, kw = kernel
        pads = (kh // 2, kh // 2, kw // 2, kw // 2) if pads is None else pads
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        oh = (h + pads[0] + pads[1] - reach[0]) // stride[0] + 1
        ow = (w + pads[2] + pads[3] - reach[1]) // stride[1] + 1
        weight = self.weight(x, (cout, kh, kw) if kind == "depthwise" else (cout, kh, kw, c))
        attrs = {"stride": stride, "pads": pads, "dilation": dilation, "act": act}
        return self.op(
            kind, (x, weight, self.bias(x, weight)), (1, oh, ow, cout), spread=self.spread[x], **attrs, **more
        )

    def depthwise(self, x, **more):
        return self.conv(x, self.shape(x)[3], kind="depthwise", **more)

    def pointwise(self, x, cout, act="none"):
        return self.conv(x, cout, (1, 1), act=act)

    def dense(self, x, n, act="none"):
        inputs = int(np.prod(self.shape(x)))
        weight = self.weight(x, (n, inputs))
        return self.op("dense", (x, weight, self.bias(x, weight)), (1, n), spread=self.spread[x], act=act)

    def add(self, a, b, act="none"):
        spread = float(np.hypot(self.spread[a], self.spread[b]))
        return self.op("add", (a, b), self.shape(a), spread=spread, act=act)

    def pool(self, x, kind="maxpool", kernel=(2, 2), stride=(2, 2), pads=NO_PADS, **more):
        _, h, w, c = self.shape(x)
        oh = (h + pads[0] + pads[1] - kernel[0]) // stride[0] + 1
        ow = (w + pads[2] + pads[3] - kernel[1]) // stride[1] + 1
        return self.op(kind, (x,), (1, oh, ow, c), like=x, kernel=kernel, stride=stride, pads=pads, **more)

    def pad(self, x, pads):
        _, h, w, c = self.shape(x)
        shape = (1, h + pads[0] + pads[1], w + pads[2] + pads[3], c)
        return self.op("pad", (x,), shape, like=x, pads=pads, value=0.0)

    def mean(self, x, axes=(1, 2), kind="mean"):
        shape = tuple(n for i, n in enumerate(self.shape(x)) if i not in axes)
        return self.op(kind, (x,), shape, like=x, axes=axes)

    def reshape(self, x, *shape):
        return self.op("reshape", (x,), shape, like=x, shape=shape)

    def flatten(self, x):
        return self.reshape(x, 1, int(np.prod(self.shape(x))))

    def transpose(self, x, *perm):
        return self.op("transpose", (x,), tuple(self.shape(x)[i] for i in perm), like=x, perm=perm)

    def softmax(self, x):
        return self.op("softmax", (x,), self.shape(x), axis=len(self.shape(x)) - 1)

    def logits(self, x, n=4):
        """The usual end: mean over the map, fully connected layer."""
        return self.dense(self.mean(x), n)

    def ending(self, x, labels=()) -> Graph:
        self.graph.outputs, self.graph.labels = (x,), labels
        return self.graph

"""Operators on maps with their channels first, as ONNX and PyTorch have them, written down as a `Graph`.

What is passed in is in the file's order of axes: (N, C, H, W), or (N, C, L) of a one-dimensional network, which
becomes (N, L, 1, C). Reshapes and transposes mean the file's order of values; where it differs from that of an NHWC
map, transposes around them keep the meaning, and `fold` has them vanish into weights or cancel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .fold import SHAPE_RULES, SHAPES, Editor, fold, simplify
from .graph import Graph, Op, Pair, Quantization, Tensor
from .nodes import MOST_UNGROUPED, ungrouped

Pads = tuple[int, int, int, int]
STORED = {4: (0, 2, 3, 1), 3: (0, 2, 1)}  # axes of a map as it is kept, by its rank in the file
KEPT = {4: ((0,), (3,), (1,), (2,)), 3: ((0,), (3,), (1, 2))}  # where each of the file's axes is then
BESIDE_A_MAP = ("quantize", "dequantize", "add", "sub", "mul")  # what may stand before a map is turned


class Foreign(Exception):
    """An operator that a Graph has no word for, and why."""


@dataclass(frozen=True)
class Value:
    """A tensor of the file, in its shape: a constant with `data`, in the file's order, or made at `place`."""

    shape: tuple[int, ...]
    place: int = -1
    data: np.ndarray | None = None
    quantization: Quantization | None = None  # of a constant
    name: str = ""

    @classmethod
    def of(cls, data: np.ndarray, name: str = "", quantization: Quantization | None = None) -> Value:
        return cls(data.shape, -1, data, quantization, name)

    def constant(self, what: str) -> np.ndarray:
        """Its data."""
        if self.data is None:
            raise Foreign(f"with {what} that are no constant")
        return self.data


@dataclass
class Builder:
    """A graph that grows. `index` and `op`: the operator of the file that is being written down; `name` of what it
    makes. `room`: bytes that its constants may take, of a file that may be a hostile one."""

    graph: Graph
    index: int = 0
    op: str = ""
    name: str = ""
    room: float = math.inf

    def at(self, index: int, op: str, name: str) -> None:
        self.index, self.op, self.name = index, op, name

    # ------------------------------------------------------------ tensors

    def input(self, name: str, shape: tuple[int, ...], dtype: str) -> Value:
        self.graph.tensors.append(Tensor(name, stored(shape), dtype))
        self.graph.inputs += (len(self.graph.tensors) - 1,)
        return Value(shape, self.graph.inputs[-1], name=name)

    def constant(self, value: Value, data: np.ndarray, axis: int = 0) -> int:
        """The place of a constant's data in the graph's order, in which its quantization's axis is `axis`."""
        quantization = value.quantization and Quantization(value.quantization.scale, value.quantization.zero, axis)
        self.take(data)
        self.graph.tensors.append(Tensor(value.name, data.shape, str(data.dtype), quantization, data))
        return len(self.graph.tensors) - 1

    def take(self, data: np.ndarray) -> None:
        """Counts a constant's bytes. ValueError where there are more than `room`."""
        self.room -= data.nbytes
        if self.room < 0:
            raise ValueError(f"op {self.index} {self.op}: constants grow far beyond what the file has")

    def unknown(self, name: str, dtype: str) -> Value:
        """A tensor that nothing here makes, as its type is a foreign one."""
        self.graph.tensors.append(Tensor(name, (), dtype))
        return Value((), len(self.graph.tensors) - 1, name=name)

    def tensor(self, value: Value) -> Tensor:
        return self.graph.tensors[value.place]

    def emit(
        self,
        kind: str,
        inputs: Sequence[int],
        shape: tuple[int, ...],
        attrs: dict[str, Any] | None = None,
        *,
        kept: tuple[int, ...] | None = None,
        like: Value | None = None,
        dtype: str = "float32",
        quantization: Quantization | None = None,
    ) -> Value:
        """An operator of one output: `shape` in the file, `kept` here; of the type of `like`, or as said."""
        if like is not None:
            dtype, quantization = self.tensor(like).dtype, self.tensor(like).quantization
        self.graph.tensors.append(Tensor(self.name, stored(shape) if kept is None else kept, dtype, quantization))
        place = len(self.graph.tensors) - 1
        self.graph.ops.append(Op(self.index, self.op, kind, tuple(inputs), (place,), attrs or {}))
        return Value(shape, place, name=self.name)

    def other(self, inputs: Sequence[Value], shapes: Sequence[tuple[tuple[int, ...], str]], why: str) -> list[Value]:
        """An operator that is known by name only, with what is known of its outputs: shape, or (), and type; and
        `why`, unless it is a foreign one."""
        places = [self.constant(v, v.data) if v.data is not None else v.place for v in inputs]
        outputs = []
        for shape, dtype in shapes:
            self.graph.tensors.append(Tensor(self.name, stored(shape), dtype))
            outputs.append(Value(shape, len(self.graph.tensors) - 1, name=self.name))
        made = tuple(value.place for value in outputs)
        self.graph.ops.append(Op(self.index, self.op, "other", tuple(places), made, {"why": why} if why else {}))
        return outputs

    def finish(self, outputs: Sequence[Value]) -> Graph:
        """The graph of these outputs, folded."""
        places = [self.constant(v, v.data) if v.data is not None else v.place for v in outputs]
        self.graph.outputs = tuple(places)
        simplify(self.graph, SHAPE_RULES)
        channels_last(self.graph)
        return fold(self.graph)

    # ------------------------------------------------------------ operators with weights

    def conv(
        self, x: Value, weight: Value, bias: Value | None, stride: Pair, pads: Pads, dilation: Pair, groups: int
    ) -> Value:
        """A convolution with weights (cout, cin / groups, kh, kw), or without kw, and a bias (cout,)."""
        n, cin, h, w = self.map_shape(x)
        data = weight.constant("weights")
        need(data.ndim == len(x.shape), f"with weights of {dims(data.shape)}")
        kernels = data if data.ndim == 4 else data[..., None]
        cout, _, kh, kw = kernels.shape
        need(min(stride) >= 1 and min(dilation) >= 1 and min(pads) >= 0 and min(kernels.shape) >= 1, "negative pads")
        need(groups >= 1 and cin == groups * kernels.shape[1] and cout % groups == 0, f"{groups} groups")
        oh = windows(h + pads[0] + pads[1], kh, stride[0], dilation[0])
        ow = windows(w + pads[2] + pads[3], kw, stride[1], dilation[1])
        if kernels.shape[1] == 1 < groups == cout:
            kind, turned = "depthwise", kernels[:, 0]
        else:
            kind, turned = "conv", kernels.transpose(0, 2, 3, 1)
        if kind == "conv" and groups > 1:
            need(kernels.size * groups <= MOST_UNGROUPED, f"{groups} groups of {cin} channels")
            zero = weight.quantization.zero if weight.quantization else np.zeros(1)
            turned = ungrouped(turned, groups, zero)
        inputs = self.weighted(x, weight, np.ascontiguousarray(turned), bias)
        shape = (n, cout, oh, ow)[: len(x.shape)]
        return self.emit(kind, inputs, shape, {"stride": stride, "pads": pads, "dilation": dilation, "act": "none"})

    def dense(self, x: Value, weight: Value, bias: Value | None) -> Value:
        """Weights (outputs, inputs), bias (outputs,)."""
        data = weight.constant("weights")
        need(data.ndim == 2 and x.shape == (1, *data.shape[1:]), f"of {dims(x.shape)} and {dims(data.shape)}")
        return self.emit("dense", self.weighted(x, weight, data, bias), (1, len(data)), {"act": "none"})

    def weighted(self, x: Value, weight: Value, data: np.ndarray, bias: Value | None) -> list[int]:
        axis = weight.quantization.axis if weight.quantization else 0
        need(axis == 0, f"weights with scales along axis {axis}")
        inputs = [self.placed(x), self.constant(weight, data)]
        if bias is None:
            return inputs
        flat = bias.constant("biases").reshape(-1)
        need(flat.size in (1, len(data)), f"with {flat.size} biases")
        return [*inputs, self.constant(bias, np.repeat(flat, len(data) // flat.size))]

    def affine(self, x: Value, gain: np.ndarray, offset: np.ndarray) -> Value:
        """Per channel, which is the file's axis 1."""
        need(len(x.shape) in (2, 3, 4) and gain.shape == offset.shape == x.shape[1:2], f"of {dims(x.shape)}")
        constants = [self.constant(Value.of(v), v.astype(np.float32)) for v in (gain, offset)]
        return self.emit("affine", [self.placed(x), *constants], x.shape)

    # ------------------------------------------------------------ operators on maps

    def elementwise(self, kind: str, a: Value, b: Value) -> Value:
        """add, sub or mul; a constant may be one of them."""
        try:
            shape = np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            raise Foreign(f"of {dims(a.shape)} and {dims(b.shape)}") from None
        return self.emit(kind, [self.side(a, len(shape)), self.side(b, len(shape))], shape, {"act": "none"})

    def side(self, value: Value, rank: int) -> int:
        if value.data is None:
            need(len(value.shape) == rank, f"{dims(value.shape)} is repeated")
            return self.placed(value)
        data = value.data.reshape((1,) * (rank - value.data.ndim) + value.data.shape)
        axis = value.quantization.axis + rank - value.data.ndim if value.quantization else 0
        kept = data.transpose(STORED[rank]) if rank in STORED else data
        kept = kept[:, :, None] if rank == 3 else kept
        if value.quantization and len(value.quantization.scale) > 1:
            return self.constant(value, kept, kept_axes(axis, rank)[0])
        while kept.ndim > 1 and kept.shape[0] == 1:
            kept = kept[0]
        return self.constant(value, np.ascontiguousarray(kept))

    def unary(self, kind: str, x: Value, **attrs: Any) -> Value:
        return self.emit(kind, [self.placed(x)], x.shape, attrs)

    def clip(self, x: Value, low: float, high: float) -> Value:
        if low == 0 and high in (6, math.inf):
            return self.unary("relu6" if high == 6 else "relu", x)
        return self.unary("clip", x, low=low, high=high)

    def pool(self, kind: str, x: Value, kernel: Pair, stride: Pair, pads: Pads, counted: bool = False) -> Value:
        n, c, h, w = self.map_shape(x, integers=kind == "maxpool")
        need(min(kernel) >= 1 and min(stride) >= 1 and min(pads) >= 0, "negative pads")
        need(max(pads[:2]) < kernel[0] and max(pads[2:]) < kernel[1], f"pads {pads}")
        oh = windows(h + pads[0] + pads[1], kernel[0], stride[0])
        ow = windows(w + pads[2] + pads[3], kernel[1], stride[1])
        shape = (n, c, oh, ow)[: len(x.shape)]
        attrs = {"kernel": kernel, "stride": stride, "pads": pads, "act": "none"}
        if kind == "maxpool":
            return self.emit(kind, [x.place], shape, attrs, like=x)
        return self.emit(kind, [x.place], shape, attrs | {"counted": counted})

    def pad(self, x: Value, before: Sequence[int], after: Sequence[int], value: float) -> Value:
        """By so much on each of the file's axes."""
        rank = len(x.shape)
        self.map_shape(x)
        need(len(before) == len(after) == rank and not any((*before[:2], *after[:2])), "not along rows and columns")
        need(min((*before, *after)) >= 0, "negative pads")
        shape = tuple(a + length + b for a, length, b in zip(before, x.shape, after, strict=True))
        sides = [*zip(before[2:], after[2:], strict=True), (0, 0)][:2]
        pads = tuple(amount for side in sides for amount in side)
        return self.emit("pad", [x.place], shape, {"pads": pads, "value": value})

    def reduce(self, kind: str, x: Value, axes: Sequence[int], keep: bool) -> Value:
        """mean or max over the file's axes."""
        rank = len(x.shape)
        gone = {self.axis(axis, rank) for axis in axes} or set(range(rank))
        ones = tuple(1 if axis in gone else length for axis, length in enumerate(x.shape))
        kept = sorted({place for axis in gone for place in kept_axes(axis, rank)})
        result = self.emit(kind, [self.placed(x)], ones, {"axes": tuple(kept)})
        left = tuple(length for axis, length in enumerate(x.shape) if axis not in gone)
        return result if keep else self.reshape(result, left)

    def softmax(self, x: Value, axis: int) -> Value:
        return self.unary("softmax", x, axis=self.kept_axis(axis, len(x.shape)))

    def concat(self, values: Sequence[Value], axis: int) -> Value:
        shapes, axis = {v.shape for v in values}, self.axis(axis, len(values[0].shape))
        rest = {s[:axis] + s[axis + 1 :] for s in shapes}
        need(len(rest) == 1 and len({len(s) for s in shapes}) == 1, "of other shapes")
        shape = list(values[0].shape)
        shape[axis] = sum(v.shape[axis] for v in values)
        inputs = [self.placed(v) for v in values]
        return self.emit("concat", inputs, tuple(shape), {"axis": self.kept_axis(axis, len(shape))})

    # ------------------------------------------------------------ shapes

    def reshape(self, x: Value, shape: tuple[int, ...]) -> Value:
        """The values in the file's order, in another shape."""
        need(math.prod(shape) == math.prod(x.shape), f"{dims(x.shape)} to {dims(shape)}")
        first = self.native(x)
        flat = native(shape)
        return self.kept(self.emit("reshape", [first.place], shape, {"shape": flat}, kept=flat, like=first))

    def transpose(self, x: Value, perm: Sequence[int]) -> Value:
        need(sorted(perm) == list(range(len(x.shape))), f"perm {list(perm)}")
        shape, order = tuple(x.shape[axis] for axis in perm), tuple(perm) + ((3,) if len(perm) == 3 else ())
        first = self.native(x)
        return self.kept(self.emit("transpose", [first.place], shape, {"perm": order}, kept=native(shape), like=first))

    def native(self, x: Value) -> Value:
        """The map in the file's order, with a last axis of 1 where it has three."""
        self.placed(x, integers=True)
        if len(x.shape) not in STORED:
            return x
        return self.emit("transpose", [x.place], x.shape, {"perm": (0, 3, 1, 2)}, kept=native(x.shape), like=x)

    def kept(self, x: Value) -> Value:
        """Back from there."""
        if len(x.shape) not in STORED:
            return x
        return self.emit("transpose", [x.place], x.shape, {"perm": STORED[4]}, like=x)

    # ------------------------------------------------------------ integers

    def quantize(self, x: Value, quantization: Quantization, dtype: str) -> Value:
        need(len(quantization.scale) == 1, "scales along an axis of a map")
        return self.emit("quantize", [self.placed(x)], x.shape, dtype=dtype, quantization=quantization)

    def pixels(self, x: Value) -> Value:
        """Real numbers of integers that stand for themselves: of an input, or of one that is turned, which is cast."""
        makers, way = {op.outputs[0]: op for op in self.graph.ops}, [x.place]
        while way[-1] in makers and makers[way[-1]].kind in SHAPES:
            way.append(makers[way[-1]].inputs[0])
        need(way[-1] in self.graph.inputs and self.tensor(x).dtype == "uint8", f"of {self.tensor(x).dtype}")
        for place in way:
            self.graph.tensors[place].quantization = Quantization(np.ones(1), np.zeros(1, np.int64))
        return self.emit("dequantize", [x.place], x.shape)

    def dequantize(self, x: Value, quantization: Quantization) -> Value:
        """Real numbers; the integers have this quantization from here on."""
        need(len(quantization.scale) == 1, "scales along an axis of a map")
        integers = self.tensor(x)
        known = integers.quantization or quantization
        same = known.scale == quantization.scale and known.zero == quantization.zero
        need(bool(same.all()), "another scale than what made it")
        integers.quantization = quantization
        return self.emit("dequantize", [self.placed(x, integers=True)], x.shape)

    # ------------------------------------------------------------ checks

    def placed(self, x: Value, integers: bool = False) -> int:
        """Where a map is; of real numbers, or also of integers that stand for such."""
        need(x.data is None, "of a constant")
        need(integers or self.tensor(x).quantization is None, "of integers")
        return x.place

    def map_shape(self, x: Value, integers: bool = False) -> tuple[int, int, int, int]:
        """N, C, H, W."""
        self.placed(x, integers)
        need(len(x.shape) in STORED, f"of {dims(x.shape)}")
        n, c, h, w = native(x.shape)
        return n, c, h, w

    def axis(self, axis: int, rank: int) -> int:
        need(-rank <= axis < rank, f"axis {axis}")
        return axis % rank

    def kept_axis(self, axis: int, rank: int) -> int:
        return kept_axes(self.axis(axis, rank), rank)[0]


def need(condition: bool, why: str) -> None:
    if not condition:
        raise Foreign(why)


def dims(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "one value"


def native(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(N, C, L) with a width."""
    return (*shape, 1) if len(shape) == 3 else shape


def stored(shape: tuple[int, ...]) -> tuple[int, ...]:
    """How a map is kept: NHWC."""
    if len(shape) not in STORED:
        return shape
    n, c, h, w = native(shape)
    return n, h, w, c


def kept_axes(axis: int, rank: int) -> tuple[int, ...]:
    """Where an axis of the file is: rows of a one-dimensional map are rows and their one column."""
    return KEPT[rank][axis] if rank in KEPT else (axis,)


def windows(length: int, kernel: int, stride: int, dilation: int = 1) -> int:
    """How many outputs there are along an axis."""
    count = (length - (kernel - 1) * dilation - 1) // stride + 1
    need(count >= 1, f"a kernel of {kernel} over {length}")
    return count


def ceiled(kind: str, x: Value, kernel: Pair, stride: Pair, pads: Pads) -> Pads:
    """Pads with which a pooling has a last window also where that lies inside in part, if it begins there (ceil_mode).
    A mean over such a window would be of fewer values."""
    sides: list[int] = []
    for length, k, s, side in zip((*x.shape[2:], 1), kernel, stride, (pads[:2], pads[2:]), strict=False):
        lacking = (k - length - sum(side)) % s
        begins = length + sum(side) + lacking - k
        sides += (side[0], side[1] + lacking if begins < length + side[0] else side[1])
    made = (sides[0], sides[1], sides[2], sides[3])
    need(kind == "maxpool" or made == pads, "with ceil_mode")
    return made


def same_pads(length: int, kernel: int, stride: int, dilation: int = 1, upper: bool = True) -> Pair:
    """Before and after, of SAME padding; the odd one after, unless not `upper`."""
    total = max(0, (-(-length // stride) - 1) * stride + (kernel - 1) * dilation + 1 - length)
    return (total // 2, total - total // 2) if upper else (total - total // 2, total // 2)


def channels_last(graph: Graph) -> None:
    """An input that is turned to channels first in front of everything else is an NHWC map as the file has it: what its
    axes mean was taken wrongly, as were those of constants beside it. So is an output that is turned back."""
    editor = Editor(graph)
    for place in graph.outputs:
        turn = editor.maker(place, "transpose")
        if turn and turn.attrs["perm"] == (0, 2, 3, 1):
            editor.bypass(turn)
    graph.as_given = False
    for place in graph.inputs:
        way, turn = [place], editor.lone_reader(place, *BESIDE_A_MAP, *SHAPES)
        while turn and turn.kind in BESIDE_A_MAP:
            way.append(turn.outputs[0])
            turn = editor.lone_reader(turn.outputs[0], *BESIDE_A_MAP, *SHAPES)
        if turn and turn.attrs.get("perm") == (0, 3, 1, 2):
            sides = {p for there in way[1:] for p in editor.makers[there].inputs if graph.tensors[p].data is not None}
            for there in {*way, *sides}:
                turn_back(graph.tensors[there])
            editor.bypass(turn)
            graph.as_given = True
    editor.finish()


def turn_back(tensor: Tensor) -> None:
    """(N, W, C, H) to (N, H, W, C), or a constant that is repeated over some of them."""
    if tensor.data is None:
        n, w, c, h = tensor.shape
        tensor.shape = n, h, w, c
        return
    data = tensor.data.reshape((1,) * (4 - tensor.data.ndim) + tensor.data.shape)
    tensor.data = data.transpose(0, 3, 1, 2)
    while tensor.data.ndim > 1 and tensor.data.shape[0] == 1:
        tensor.data = tensor.data[0]
    tensor.shape = tensor.data.shape

"""Reader of .tflite files (package `tflite`): the first subgraph as an `importers.graph.Graph`.

What differs from the file:

* weights of a depthwise convolution lie as (c, kh, kw), in a tensor of their own behind the file's. One with a
  multiplier is, with zeros, a convolution over all channels, and so is a small one of groups;
* one between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND is dilated;
* SAME and VALID are pads in numbers; SQUEEZE and EXPAND_DIMS are reshapes; DIV by a constant is mul; a fully connected
  layer over each pixel of a map is a 1x1 conv, also if a reshape to rows lies in between;
* constants behind DEQUANTIZE are real numbers, and so are integer weights of operators that work in real numbers;
* operators whose results nobody needs are left out; the arithmetic with shapes in front of a RESHAPE is computed here,
  for a batch of one (`tflite_shapes`).

uint8 tensors stay uint8, with their zero points. A weight's scale may be 0 where a channel's weights are.
An operator that the graph has no kind for, or that uses what this reader does not know, is "other"; `why` says what.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..net.layers import Pads
from .flatbuffer import MOST_AXES, Model, Operator, shown
from .flatbuffer import read as read_file
from .graph import NO_PADS, Graph, Op, Pair, Quantization, Tensor
from .nodes import MOST_UNGROUPED, ungrouped
from .tflite_shapes import computed, fitted

MOST_LABELS = 1 << 20  # bytes of a file of labels
MOST_FILES = 16  # that are looked at for labels

Shape = tuple[int, ...]
Layout = Callable[[np.ndarray], np.ndarray]


def read(path: Path | str) -> Graph:
    """Raises ValueError, one line that begins with the path, for what is no model, is damaged or contradicts itself."""
    return graph(read_file(path))


def graph(model: Model) -> Graph:
    """The file's records as a graph."""
    whole = _Reader(model)
    fixed_inputs(model)
    for op in model.operators:
        whole.read(op)
    for place in model.outputs:
        if place not in whole.made:
            whole.fail(f"tensor {place} {model.tensors[place].name}, an output, is made by no operator")
    classes = {whole.tensors[i].shape[-1] for i in model.outputs if whole.tensors[i].shape}
    return Graph(
        model.source, "tflite", whole.tensors, needed(whole.ops, model.outputs), model.inputs, model.outputs,
        labels(model.data, classes),
    )  # fmt: skip


def fixed_inputs(model: Model) -> None:
    """ValueError for an input whose lengths are known only when the network runs."""
    for place in model.inputs:
        said = model.open.get(place, ())
        if any(n < 0 for n in said[1:]):
            sizes = "x".join("?" if n < 0 else str(n) for n in said)
            name = model.tensors[place].name
            wanted = "wanted numbers behind the batch: convert it with a fixed size"
            raise ValueError(f"{model.source}: input {name} is {sizes}: {wanted}")


def needed(ops: list[Op], outputs: tuple[int, ...]) -> list[Op]:
    """Those that the outputs come from, and those that do something else than make tensors."""
    wanted, kept = set(outputs), []
    for op in reversed(ops):
        if not op.outputs or wanted.intersection(op.outputs):
            wanted.update(op.inputs)
            kept.append(op)
    return kept[::-1]


def real(tensor: Tensor) -> np.ndarray:
    """A constant as float32."""
    assert tensor.data is not None
    with np.errstate(over="ignore", invalid="ignore"):  # infinite, where a file wants it
        values, q = tensor.data.astype(np.float32), tensor.quantization
        if q is None:
            return values
        along = [1] * values.ndim
        if len(q.scale) > 1:
            along[q.axis] = -1
        return (values - q.zero.reshape(along).astype(np.float32)) * q.scale.reshape(along).astype(np.float32)


def broadcast(a: Shape, b: Shape) -> Shape | None:
    """The shape that both broadcast to, None if they do not."""
    rank = max(len(a), len(b))
    pairs = list(zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b, strict=True))
    if any(m != n and 1 not in (m, n) for m, n in pairs):
        return None
    return tuple(n if m == 1 else m for m, n in pairs)


def side(size: int, kernel: int, stride: int, dilation: int, padding: str) -> tuple[int, int, int]:
    """(outputs, pad before, pad after) along rows or columns; less than 1 output where the kernel does not fit."""
    reach = (kernel - 1) * dilation + 1
    if padding == "VALID":
        return (size - reach) // stride + 1, 0, 0
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + reach - size, 0)
    return outputs, total // 2, total - total // 2


class _Other(Exception):
    """The operator is one that this reader does not know, and why."""


class _Reader:
    """The graph in the making. `made`: tensors that are there before the next operator runs; `makers`: of those which
    an operator of the graph makes; `laid`: constants in another layout, by their place and what they are for."""

    def __init__(self, model: Model):
        self.model = model
        self.tensors = list(model.tensors)
        self.ops: list[Op] = []
        constants = {i for i, t in enumerate(self.tensors) if t.data is not None}
        self.made = constants | set(model.withheld) | model.states | set(model.inputs)
        self.makers: dict[int, Op] = {}
        self.laid: dict[tuple[int, str], int] = {}

    def fail(self, text: str) -> NoReturn:
        raise ValueError(f"{self.model.source}: damaged: {text}")

    def add(self, tensor: Tensor) -> int:
        """The place of a tensor that the file does not have."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def read(self, op: Operator) -> None:
        where = f"op {op.index} {op.name}"
        for place in op.inputs:
            if place >= 0 and place not in self.made:
                self.fail(f"{where} reads tensor {place} {self.tensors[place].name} before it is made")
        for place in op.outputs:
            if place in self.made:
                self.fail(f"{where} makes tensor {place} {self.tensors[place].name}, which is there already")
            self.made.add(place)
        shape = self.shape(op)
        if shape is not None:
            self.tensors[op.outputs[0]] = replace(self.tensors[op.outputs[0]], shape=shape.shape, data=shape)
            return
        try:
            KINDS.get(op.name, _Known.other)(_Known(self, op))
        except _Other as e:
            self.other(op, {"why": str(e)} if str(e) else {})

    def other(self, op: Operator, attrs: dict[str, Any]) -> None:
        """One that the graph has no kind for."""
        made = Op(op.index, op.name, "other", op.inputs, op.outputs, attrs)
        self.ops.append(made)
        self.makers |= dict.fromkeys(op.outputs, made)

    def shape(self, op: Operator) -> np.ndarray | None:
        """What an operator on shapes makes."""
        if len(op.outputs) != 1 or not op.inputs or min(op.inputs) < 0:
            return None
        given, made = [self.tensors[i] for i in op.inputs], self.tensors[op.outputs[0]]
        if op.name == "SHAPE":
            return np.array(given[0].shape, np.int64)
        if made.dtype not in ("int32", "int64") or any(tensor.quantization for tensor in (made, *given)):
            return None  # integers that stand for real numbers
        return computed(op.name, op.options, [tensor.data for tensor in given])


class _Known:
    """An operator of the file. The methods in KINDS put what it becomes into the graph, or raise _Other before they put
    anything."""

    def __init__(self, whole: _Reader, op: Operator):
        self.whole, self.file, self.options = whole, op, op.options

    def fail(self, text: str) -> NoReturn:
        """Where lengths are known only when it runs, these may be what does not fit."""
        if any(i in self.whole.model.open for i in (*self.file.inputs, *self.file.outputs)):
            raise _Other(f"of a shape that is not constant: {text}")
        self.whole.fail(f"op {self.file.index} {self.file.name}: {text}")

    # ------------------------------------------------------------ what it reads

    def has(self, i: int) -> bool:
        return i < len(self.file.inputs) and self.file.inputs[i] >= 0

    def place(self, i: int) -> int:
        if not self.has(i):
            self.fail(f"wanted input {i}, got none")
        return self.file.inputs[i]

    def tensor(self, i: int) -> Tensor:
        return self.whole.tensors[self.place(i)]

    def map(self) -> Tensor:
        """Input 0, (1, h, w, c)."""
        x = self.tensor(0)
        if len(x.shape) != 4:
            raise _Other(f"of shape {x.shape}")
        if 0 in x.shape:
            self.fail(f"wanted a map, got {x.shape}")
        return x

    def constant(self, i: int, what: str) -> np.ndarray:
        data = self.tensor(i).data
        if data is None:
            raise _Other(f"{what}: {self.whole.model.withheld.get(self.place(i), 'not constant')}")
        return data

    def integers(self, i: int, what: str) -> list[int]:
        """A short constant, row by row."""
        data = self.constant(i, what)
        if data.dtype.kind != "i" or data.size > 2 * MOST_AXES:
            self.fail(f"{what}: wanted a few integers, got {data.dtype} of shape {data.shape}")
        return [int(v) for v in data.ravel()]

    def axis(self, axis: int, rank: int) -> int:
        if not -rank <= axis < rank:
            self.fail(f"wanted one of {rank} axes, got {axis}")
        return axis % rank

    def act(self) -> str:
        return self.options["FusedActivationFunction"].lower()

    # ------------------------------------------------------------ what it becomes

    @property
    def output(self) -> int:
        if len(self.file.outputs) != 1:
            self.fail(f"wanted 1 output, got {len(self.file.outputs)}")
        return self.file.outputs[0]

    def check(self, shape: Shape) -> None:
        """Of the output, which is () in the file where it is unknown until the network runs."""
        tensor = self.whole.tensors[self.output]
        if tensor.shape not in ((), shape) and self.output not in self.whole.model.open:
            self.fail(f"wanted an output of shape {shape}, got {tensor.shape}")
        tensor.shape = shape

    def becomes(self, kind: str, shape: Shape, inputs: tuple[int, ...] = (), /, **attrs: Any) -> None:
        """An operator of which the output has that shape. Without `inputs` it reads input 0."""
        self.check(shape)
        self.put(kind, inputs or (self.place(0),), self.output, **attrs)

    def put(self, kind: str, inputs: tuple[int, ...], output: int, /, **attrs: Any) -> None:
        op = Op(self.file.index, self.file.name, kind, inputs, (output,), attrs)
        self.whole.ops.append(op)
        self.whole.makers[output] = op

    def other(self) -> None:
        self.whole.other(self.file, {})

    # ------------------------------------------------------------ weights

    def new(self, i: int, use: str, size: int, make: Callable[[], Tensor]) -> int:
        """The place of what `make` makes of constant i, in `size` bytes; made once for each use."""
        key = self.place(i), use
        if key not in self.whole.laid:
            self.whole.model.copied(size)
            self.whole.laid[key] = self.whole.add(make())
        return self.whole.laid[key]

    def weight(self, axis: int, use: str = "", layout: Layout | None = None, times: int = 1) -> int:
        """The place of the weights, output channels first: along `axis` in the file, where scales are theirs alone.
        `layout` takes them from the file's order into the graph's, and makes them `times` as many."""
        w, q = self.tensor(1), self.tensor(1).quantization
        if q is not None and len(q.scale) > 1 and q.axis != axis:
            raise _Other(f"scales along axis {q.axis} of the weights")
        floats = q is not None and self.tensor(0).dtype == "float32"
        if not floats and layout is None:
            return self.place(1)

        def make() -> Tensor:
            assert w.data is not None
            data = real(w) if floats else w.data
            data = layout(data) if layout is not None else data
            steps = None if floats or q is None else replace(q, axis=0)
            return Tensor(w.name, data.shape, "float32" if floats else w.dtype, steps, data)

        size = prod(w.shape) * times * (4 if floats else np.dtype(w.dtype).itemsize)
        return self.new(1, f"{use} {'real' if floats else 'steps'}", size, make)

    def bias(self, channels: int) -> tuple[int, ...]:
        """Its place, if there is one."""
        if not self.has(2):
            return ()
        if self.constant(2, "bias").shape != (channels,):
            self.fail(f"wanted {channels} biases, got {self.tensor(2).shape}")
        return (self.place(2),)

    # ------------------------------------------------------------ convolutions and pooling

    def window(self, kernel: Shape, channels: int) -> tuple[Shape, dict[str, Any]]:
        """The output's shape and the attributes of what goes over a map."""
        x, o = self.map(), self.options
        stride = (o["StrideH"], o["StrideW"])
        dilation = (o.get("DilationHFactor", 1), o.get("DilationWFactor", 1))
        if min(*kernel, *stride, *dilation) < 1:
            self.fail(f"kernel {kernel}, stride {stride}, dilation {dilation}: wanted 1 or more")
        oh, top, bottom = side(x.shape[1], kernel[0], stride[0], dilation[0], o["Padding"])
        ow, left, right = side(x.shape[2], kernel[1], stride[1], dilation[1], o["Padding"])
        if min(oh, ow) < 1:
            self.fail(f"kernel {kernel} with dilation {dilation} does not fit into {x.shape}")
        attrs = {"stride": stride, "pads": (top, bottom, left, right), "act": self.act()}
        return (x.shape[0], oh, ow, channels), attrs | ({"dilation": dilation} if "DilationHFactor" in o else {})

    def over_map(self, kind: str, kernel: Shape, channels: int, weight: int) -> None:
        shape, attrs = self.window(kernel, channels)
        self.becomes(kind, shape, (self.place(0), weight, *self.bias(channels)), **attrs)

    def kernel(self) -> Shape:
        """The shape of the weights of a convolution."""
        shape = self.constant(1, "weights").shape
        if len(shape) != 4 or 0 in shape:
            self.fail(f"wanted weights of 4 axes, got {shape}")
        return shape

    def conv(self) -> None:
        x, (cout, kh, kw, cin) = self.map(), self.kernel()
        if x.shape[3] % cin:
            self.fail(f"wanted weights of {x.shape[3]} channels, got {cin}")
        groups = x.shape[3] // cin
        if cout % groups:
            self.fail(f"wanted a multiple of {groups} outputs, got {cout}")
        weight = self.weight(0) if groups == 1 else self.spread(groups, 0, lambda w: w)
        self.over_map("conv", (kh, kw), cout, weight)

    def depthwise(self) -> None:
        x, (one, kh, kw, cout) = self.map(), self.kernel()
        cin = x.shape[3]
        if one != 1 or cout % cin:
            self.fail(f"wanted weights (1, h, w, a multiple of {cin}), got {(one, kh, kw, cout)}")
        if cin == cout > 1:
            weight = self.weight(3, "depthwise", lambda w: w[0].transpose(2, 0, 1))
            self.over_map("depthwise", (kh, kw), cout, weight)
        else:
            weight = self.spread(cin, 3, lambda w: w[0].transpose(2, 0, 1)[..., None])
            self.over_map("conv", (kh, kw), cout, weight)

    def spread(self, groups: int, axis: int, layout: Layout) -> int:
        """The place of the weights of a convolution of groups as those of one over all channels."""
        size, q = prod(self.tensor(1).shape) * groups, self.tensor(1).quantization
        if size > MOST_UNGROUPED:
            raise _Other(f"{groups} groups of {self.map().shape[3]} channels")
        zero = q.zero if q is not None and self.tensor(0).dtype != "float32" else np.zeros(1)
        return self.weight(axis, f"over {groups}", lambda w: ungrouped(layout(w), groups, zero), groups)

    def from_batch(self) -> None:
        """Behind SPACE_TO_BATCH_ND and a convolution it makes that one dilated."""
        op = self.whole.makers.get(self.place(0))
        apart = self.whole.makers.get(op.inputs[0]) if op and op.kind in ("conv", "depthwise") else None
        if not op or not apart or apart.name != "SPACE_TO_BATCH_ND" or len(apart.inputs) != 3:
            raise _Other("")
        dilation, pads = self.undone(apart)
        x, weight = (self.whole.tensors[i].shape for i in (apart.inputs[0], op.inputs[1]))
        if len(x) != 4 or (op.attrs["stride"], op.attrs["dilation"], op.attrs["pads"]) != ((1, 1), (1, 1), NO_PADS):
            raise _Other("")
        oh, ow = (x[i + 1] + pads[2 * i] + pads[2 * i + 1] - (weight[i + 1] - 1) * dilation[i] for i in (0, 1))
        if min(oh, ow) < 1:
            self.fail(f"a kernel of {weight[1:3]} with dilation {dilation} does not fit into {x}")
        attrs = op.attrs | {"pads": pads, "dilation": dilation}
        self.becomes(op.kind, (x[0], oh, ow, weight[0]), (apart.inputs[0], *op.inputs[1:]), **attrs)

    def undone(self, apart: Op) -> tuple[Pair, Pads]:
        """How far apart the values are that lie beside each other in between, and the zeros that remain around all."""
        block, before, behind = (self.whole.tensors[i].data for i in (*apart.inputs[1:], self.place(2)))
        if block is None or before is None or behind is None or (block.size, before.size, behind.size) != (2, 4, 4):
            raise _Other("")
        top, bottom, left, right = (int(n) for n in before.ravel() - behind.ravel())
        if min(top, bottom, left, right) < 0 or block.min() < 1 or behind.ravel()[::2].any():
            raise _Other("")
        return (int(block[0]), int(block[1])), (top, bottom, left, right)

    def pool(self) -> None:
        kernel = (self.options["FilterHeight"], self.options["FilterWidth"])
        shape, attrs = self.window(kernel, self.map().shape[3])
        if self.file.name == "MAX_POOL_2D":
            self.becomes("maxpool", shape, kernel=kernel, **attrs)
        else:
            self.becomes("meanpool", shape, kernel=kernel, counted=False, **attrs)

    # ------------------------------------------------------------ fully connected layers

    def dense(self) -> None:
        x, weights = self.tensor(0), self.constant(1, "weights").shape
        if self.options["WeightsFormat"] != "DEFAULT":
            raise _Other(f"weights in the format {self.options['WeightsFormat']}")
        if len(weights) != 2 or 0 in weights or not prod(x.shape) or prod(x.shape) % weights[1]:
            self.fail(f"wanted weights (outputs, inputs), got {weights} over {x.shape}")
        outputs, inputs = weights
        rows = prod(x.shape) // inputs
        shape = (*x.shape[:-1], outputs) if self.options["KeepNumDims"] else (rows, outputs)
        if rows > 1:
            self.at_each_pixel(shape, inputs, outputs)
        else:
            self.becomes("dense", shape, (self.place(0), self.weight(0), *self.bias(outputs)), act=self.act())

    def at_each_pixel(self, shape: Shape, inputs: int, outputs: int) -> None:
        """Over rows which are the pixels of a map: a 1x1 convolution, and its map as rows again."""
        maker = self.whole.makers.get(self.place(0))
        place = maker.inputs[0] if maker is not None and maker.kind == "reshape" else self.place(0)
        pixels = self.whole.tensors[place].shape
        if len(pixels) != 4 or pixels[3] != inputs:
            raise _Other(f"over {prod(shape) // outputs} rows")
        weight, bias = self.weight(0, "1x1", lambda w: w[:, None, None, :]), self.bias(outputs)
        self.check(shape)
        made = self.whole.add(replace(self.whole.tensors[self.output], shape=(*pixels[:3], outputs)))
        self.put(
            "conv", (place, weight, *bias), made, stride=(1, 1), pads=NO_PADS, dilation=(1, 1), act=self.act()
        )  # fmt: skip
        self.put("reshape", (made,), self.output, shape=shape)

    # ------------------------------------------------------------ element by element

    def two(self) -> None:
        a, b = self.tensor(0), self.tensor(1)
        shape = broadcast(a.shape, b.shape)
        if shape is None:
            self.fail(f"{a.shape} and {b.shape} do not fit")
        kind, second = self.file.name.lower(), self.place(1)
        if kind == "div":
            kind, second = "mul", self.reciprocal()
        self.becomes(kind, shape, (self.place(0), second), act=self.act())

    def reciprocal(self) -> int:
        """The place of 1 / input 1, real."""
        size = 4 * self.constant(1, "divisor").size
        b = self.tensor(1)

        def make() -> Tensor:
            with np.errstate(divide="ignore"):
                return Tensor(b.name, b.shape, "float32", data=1 / real(b))

        return self.new(1, "reciprocal", size, make)

    def same(self) -> None:
        """What keeps its input's shape."""
        kind, attrs = SAME[self.file.name]
        self.becomes(kind, self.tensor(0).shape, **attrs)

    def softmax(self) -> None:
        if self.options["Beta"] != 1:
            raise _Other(f"beta {self.options['Beta']:g}")
        shape = self.tensor(0).shape
        self.becomes("softmax", shape, axis=self.axis(-1, len(shape)))

    def dequantize(self) -> None:
        x = self.tensor(0)
        if self.place(0) in self.whole.model.withheld:
            raise _Other(f"of what is {self.whole.model.withheld[self.place(0)]}")
        if x.data is None:
            return self.becomes("dequantize", x.shape)
        self.check(x.shape)
        self.whole.model.copied(4 * x.data.size)
        self.whole.tensors[self.output] = Tensor(self.whole.tensors[self.output].name, x.shape, "float32", data=real(x))

    def cast(self) -> None:
        """Of pixels that stand for themselves to real numbers."""
        x, place = self.tensor(0), self.place(0)
        made = self.whole.tensors[self.output].dtype
        if (x.dtype, made) != ("uint8", "float32") or x.quantization or place not in self.whole.model.inputs:
            raise _Other(f"from {x.dtype} to {made}")
        self.whole.tensors[place] = replace(x, quantization=Quantization(np.ones(1), np.zeros(1, np.int64)))
        self.becomes("dequantize", x.shape)

    # ------------------------------------------------------------ shapes

    def reshape(self) -> None:
        x, shape = self.tensor(0), self.whole.tensors[self.output].shape
        if self.output in self.whole.model.open and self.has(1) and self.tensor(1).data is not None:
            shape = fitted(self.constant(1, "shape"), prod(x.shape)) or shape
        if prod(shape) != prod(x.shape):
            if self.has(1) and self.tensor(1).data is None:
                raise _Other("into a shape that is not constant")
            self.fail(f"{x.shape} does not fit into {shape}")
        self.becomes("reshape", shape, shape=shape)

    def transpose(self) -> None:
        x, perm = self.tensor(0), self.integers(1, "permutation")
        if sorted(perm) != list(range(len(x.shape))):
            self.fail(f"wanted an order of {len(x.shape)} axes, got {perm}")
        self.becomes("transpose", tuple(x.shape[i] for i in perm), perm=tuple(perm))

    def pad(self) -> None:
        x, sides = self.map(), self.integers(1, "pads")
        if len(sides) != 8 or min(sides) < 0:
            self.fail(f"wanted 4 pairs of pads, got {sides}")
        if any(sides[:2] + sides[6:]):
            raise _Other(f"of {sides[6]} and {sides[7]} channels" if any(sides[6:]) else "of the batch")
        shape = tuple(n + a + b for n, a, b in zip(x.shape, sides[::2], sides[1::2], strict=True))
        self.becomes("pad", shape, pads=tuple(sides[2:6]), value=self.padding())

    def padding(self) -> float:
        if not self.has(2):
            return 0.0
        if self.constant(2, "value").size != 1:
            self.fail(f"wanted one value, got {self.tensor(2).shape}")
        return float(real(self.tensor(2)).ravel()[0])

    def reduce(self) -> None:
        x = self.tensor(0)
        axes = sorted({self.axis(a, len(x.shape)) for a in self.integers(1, "axes")})
        kept = [1 if i in axes else n for i, n in enumerate(x.shape)]
        shape = kept if self.options["KeepDims"] else [n for i, n in enumerate(kept) if i not in axes]
        self.becomes(REDUCTIONS[self.file.name], tuple(shape), axes=tuple(axes))

    def concat(self) -> None:
        if self.act() != "none":
            raise _Other(f"activation {self.act()}")
        first, axis = self.tensor(0).shape, self.axis(self.options["Axis"], len(self.tensor(0).shape))
        length = 0
        for i in range(len(self.file.inputs)):
            shape = self.tensor(i).shape
            if len(shape) != len(first) or (*shape[:axis], *shape[axis + 1 :]) != (*first[:axis], *first[axis + 1 :]):
                self.fail(f"{first} and {shape} do not fit along axis {axis}")
            length += shape[axis]
        shape = (*first[:axis], length, *first[axis + 1 :])
        self.becomes("concat", shape, self.file.inputs, axis=axis)


REDUCTIONS = {"MEAN": "mean", "SUM": "sum", "REDUCE_MAX": "max"}
SAME: dict[str, tuple[str, dict[str, Any]]] = {
    "RELU": ("relu", {}),
    "RELU6": ("relu6", {}),
    "RELU_N1_TO_1": ("clip", {"low": -1.0, "high": 1.0}),
    "RELU_0_TO_1": ("clip", {"low": 0.0, "high": 1.0}),
    "LOGISTIC": ("sigmoid", {}),
    "LOG_SOFTMAX": ("softmax", {"axis": -1}),
    "QUANTIZE": ("quantize", {}),
}
KINDS: dict[str, Callable[[_Known], None]] = {
    "CONV_2D": _Known.conv,
    "DEPTHWISE_CONV_2D": _Known.depthwise,
    "FULLY_CONNECTED": _Known.dense,
    "AVERAGE_POOL_2D": _Known.pool,
    "MAX_POOL_2D": _Known.pool,
    "ADD": _Known.two,
    "SUB": _Known.two,
    "MUL": _Known.two,
    "DIV": _Known.two,
    "SOFTMAX": _Known.softmax,
    "DEQUANTIZE": _Known.dequantize,
    "CAST": _Known.cast,
    "RESHAPE": _Known.reshape,
    "SQUEEZE": _Known.reshape,
    "EXPAND_DIMS": _Known.reshape,
    "TRANSPOSE": _Known.transpose,
    "PAD": _Known.pad,
    "PADV2": _Known.pad,
    "MEAN": _Known.reduce,
    "SUM": _Known.reduce,
    "REDUCE_MAX": _Known.reduce,
    "CONCATENATION": _Known.concat,
    "BATCH_TO_SPACE_ND": _Known.from_batch,
    **dict.fromkeys(SAME, _Known.same),
}


def labels(data: bytes, classes: set[int]) -> tuple[str, ...]:
    """A line for each class out of a text file in the zip that TFLite's metadata appends to a model; none where no file
    has as many lines as an output has values."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist()[:MOST_FILES]:
                foreign = member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
                if not member.filename.endswith(".txt") or member.file_size > MOST_LABELS or foreign:
                    continue
                with archive.open(member) as f:
                    lines = f.read(MOST_LABELS).splitlines()
                if len(lines) in classes:
                    return tuple(shown(line) for line in lines)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, NotImplementedError):
        return ()  # a model needs none
    return ()

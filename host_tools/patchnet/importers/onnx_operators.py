"""ONNX' operators by name: those that a `Graph` has a word for, and those that are computed here of constants."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .builder import Builder, Foreign, Pads, Value, ceiled, dims, need, same_pads
from .graph import Pair, Quantization
from .onnx_proto import FLOATS, TYPES, Node, plain, steps

MOST = 1 << 20  # values of a constant that is computed here; shapes and their like stay far below
INTEGERS = ("int8", "uint8", "int16")  # of maps

Operator = Callable[[Builder, Node, int], Value]  # the last one is the file's batch


# ---------------------------------------------------------------- operators with weights


def conv(b: Builder, node: Node, batch: int) -> Value:
    x, weight = node.input(0), node.input(1)
    rank = len(weight.shape)
    need(rank in (3, 4) and len(x.shape) == rank, f"of {dims(x.shape)}")
    stride, dilation = node.spatial("strides", rank, 1), node.spatial("dilations", rank, 1)
    kernel = (weight.shape[2], weight.shape[3] if rank == 4 else 1)
    pads = find_pads(node, x, kernel, stride, dilation)
    return b.conv(x, weight, node.optional(2), stride, pads, dilation, node.integer("group", 1))


def find_pads(node: Node, x: Value, kernel: Pair, stride: Pair, dilation: Pair) -> Pads:
    rank, auto = len(x.shape), node.text("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        need(min(*stride, *dilation) >= 1, "with a stride of 0")
        lengths = (x.shape[2], x.shape[3] if rank == 4 else 1)
        sides = [same_pads(*a, upper=auto == "SAME_UPPER") for a in zip(lengths, kernel, stride, dilation, strict=True)]
        return (*sides[0], *sides[1])
    pads = [0] * 2 * (rank - 2) if auto == "VALID" else node.ints("pads", [0] * 2 * (rank - 2))
    need(auto in ("NOTSET", "VALID") and pads is not None and len(pads) == 2 * (rank - 2), f"with pads {pads} {auto}")
    assert pads is not None
    return (pads[0], pads[2], pads[1], pads[3]) if rank == 4 else (pads[0], pads[1], 0, 0)


def gemm(b: Builder, node: Node, batch: int) -> Value:
    """alpha * x @ W + beta * bias."""
    need(not node.integer("transA"), "with transA")
    weight = node.input(1) if node.integer("transB") else transposed(node.input(1))
    alpha, beta, bias = node.real("alpha", 1.0), node.real("beta", 1.0), node.optional(2)
    if alpha != 1:
        weight = scaled(weight, alpha)
    if bias is not None and beta != 1:
        bias = scaled(bias, beta)
    return b.dense(node.input(0), weight, bias)


def matmul(b: Builder, node: Node, batch: int) -> Value:
    return b.dense(node.input(0), transposed(node.input(1)), None)


def transposed(value: Value) -> Value:
    """A matrix of weights (inputs, outputs) as (outputs, inputs)."""
    need(value.data is not None and value.data.ndim == 2, "of two maps")
    assert value.data is not None
    q = value.quantization
    if q is not None:
        q = replace(q, axis=1 - q.axis if len(q.scale) > 1 else 0)
    return Value.of(value.data.T, value.name, q)


def scaled(value: Value, factor: float) -> Value:
    """A constant times a factor, which is a matter of its scale where it has one."""
    data, q = value.constant("operands"), value.quantization
    need(math.isfinite(factor) and (q is None or factor > 0), f"with a factor {factor}")
    if q is not None:
        return Value.of(data, value.name, replace(q, scale=q.scale * factor))
    return Value.of(data * np.float32(factor), value.name)


def batch_norm(b: Builder, node: Node, batch: int) -> Value:
    gain, shift, mean, variance = (node.constant(i).astype(np.float64) for i in range(1, 5))
    need(not node.integer("training_mode") and node.integer("spatial", 1) == 1, "for training")
    need(gain.ndim == 1 and gain.shape == shift.shape == mean.shape == variance.shape, f"with {gain.shape} channels")
    total = variance + node.real("epsilon", 1e-5)
    need(bool((total > 0).all()), "with a negative variance")
    factor = gain / np.sqrt(total)
    return b.affine(node.input(0), factor, shift - mean * factor)


# ---------------------------------------------------------------- operators on each value


def elementwise(kind: str) -> Operator:
    return lambda b, node, batch: b.elementwise(kind, node.input(0), node.input(1))


def total(b: Builder, node: Node, batch: int) -> Value:
    need(len(node) == 2, f"of {len(node)} maps")
    return b.elementwise("add", node.input(0), node.input(1))


def divide(b: Builder, node: Node, batch: int) -> Value:
    divisor = node.constant(1)
    need(divisor.dtype.kind == "f" and bool((divisor != 0).all()), "by zero or integers")
    return b.elementwise("mul", node.input(0), Value.of(1 / divisor, node.input(1).name))


def unary(kind: str) -> Operator:
    return lambda b, node, batch: b.unary(kind, node.input(0))


def limits(node: Node) -> tuple[float, float]:
    """Of a Clip."""
    if node.opset >= 11:
        return node.scalar(1, -math.inf), node.scalar(2, math.inf)
    return node.real("min", -math.inf), node.real("max", math.inf)


def clip(b: Builder, node: Node, batch: int) -> Value:
    low, high = limits(node)
    largest = float(np.finfo(np.float32).max)
    return b.clip(node.input(0), -math.inf if low <= -largest else low, math.inf if high >= largest else high)


def softmax(b: Builder, node: Node, batch: int) -> Value:
    x = node.input(0)
    rank = len(x.shape)
    axis = node.integer("axis", -1 if node.opset >= 13 else 1)
    need(-rank <= axis < rank, f"axis {axis}")
    behind = x.shape[axis % rank + 1 :]
    need(node.opset >= 13 or math.prod(behind) == 1, f"over all of {dims(x.shape)} from axis {axis} on")
    return b.softmax(x, axis)


def identity(b: Builder, node: Node, batch: int) -> Value:
    """The very same tensor under another name."""
    return replace(node.input(0), name=b.name)


def cast(b: Builder, node: Node, batch: int) -> Value:
    x, target = node.input(0), TYPES.get(node.integer("to"), "")
    dtype = b.tensor(x).dtype
    need(target in FLOATS and (dtype in FLOATS or dtype in INTEGERS), f"from {dtype} to {target or 'another type'}")
    return b.pixels(x) if dtype == "uint8" and b.tensor(x).quantization is None else b.unary("identity", x)


def cast_like(b: Builder, node: Node, batch: int) -> Value:
    """To the type of another tensor, whose values do not matter."""
    x, like = node.input(0), node.input(1)
    target = b.tensor(like).dtype if like.data is None else str(like.data.dtype)
    dtype = b.tensor(x).dtype if x.data is None else str(x.data.dtype)
    need(target in FLOATS and (x.data is not None or dtype in FLOATS), f"from {dtype} to {target}")
    return identity(b, node, batch) if x.data is None else Value.of(plain(x).astype(np.float32), b.name)


def dropout(b: Builder, node: Node, batch: int) -> Value:
    training = node.optional(2)
    need(training is None or (training.data is not None and not training.data.any()), "for training")
    return identity(b, node, batch)


# ---------------------------------------------------------------- pooling


def pool(kind: str) -> Operator:
    def read(b: Builder, node: Node, batch: int) -> Value:
        x = node.input(0)
        rank = len(x.shape)
        need(rank in (3, 4), f"of {dims(x.shape)}")
        kernel, stride = node.spatial("kernel_shape", rank), node.spatial("strides", rank, 1)
        need(min(*kernel, *stride) >= 1, "with a kernel or stride of 0")
        need(node.spatial("dilations", rank, 1) == (1, 1), "with dilations")
        pads = find_pads(node, x, kernel, stride, (1, 1))
        if node.integer("ceil_mode"):
            pads = ceiled(kind, x, kernel, stride, pads)
        return b.pool(kind, x, kernel, stride, pads, bool(node.integer("count_include_pad")))

    return read


def global_pool(kind: str) -> Operator:
    def read(b: Builder, node: Node, batch: int) -> Value:
        x = node.input(0)
        need(len(x.shape) in (3, 4), f"of {dims(x.shape)}")
        return b.reduce(kind, x, range(2, len(x.shape)), keep=True)

    return read


def reduce(kind: str) -> Operator:
    def read(b: Builder, node: Node, batch: int) -> Value:
        axes = node.axes(1, since=18)
        if not axes and node.integer("noop_with_empty_axes"):
            return identity(b, node, batch)
        return b.reduce(kind, node.input(0), axes or (), bool(node.integer("keepdims", 1)))

    return read


def pad(b: Builder, node: Node, batch: int) -> Value:
    x = node.input(0)
    need(node.text("mode", "constant") == "constant", f"with mode {node.text('mode', '')}")
    if node.opset >= 11:
        pads, value = node.numbers(1), node.scalar(2, 0.0)
    else:
        pads, value = node.ints("pads") or [], node.real("value", 0.0)
    rank = len(x.shape)
    axes = node.numbers(3) if node.has(3) else list(range(rank))
    need(len(pads) == 2 * len(axes), f"with {len(pads)} pads for {len(axes)} axes")
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        place = b.axis(axis, rank)
        before[place], after[place] = pads[i], pads[i + len(axes)]
    return b.pad(x, before, after, value)


# ---------------------------------------------------------------- shapes


def concat(b: Builder, node: Node, batch: int) -> Value:
    return b.concat([node.input(i) for i in range(len(node))], node.integer("axis", 1))


def transpose(b: Builder, node: Node, batch: int) -> Value:
    x = node.input(0)
    perm = node.ints("perm", range(len(x.shape))[::-1])
    assert perm is not None
    return b.transpose(x, perm)


def reshape(b: Builder, node: Node, batch: int) -> Value:
    x = node.input(0)
    return b.reshape(x, find_shape(x.shape, node.numbers(1), bool(node.integer("allowzero")), batch))


def find_shape(old: tuple[int, ...], wanted: list[int], zeros: bool, batch: int = 1) -> tuple[int, ...]:
    """The shape that Reshape means: -1 is what is left, 0 as before. A file's own batch is 1."""
    if batch > 1 and wanted and wanted[0] == batch and math.prod(map(abs, wanted)) != math.prod(old):
        wanted = [1, *wanted[1:]]
    shape = list(wanted)
    for i, length in enumerate(shape):
        if length == 0 and not zeros:
            need(i < len(old), f"{dims(old)} to {dims(wanted)}")
            shape[i] = old[i]
    known = math.prod(length for length in shape if length != -1)
    if shape.count(-1) == 1:
        need(known > 0 and math.prod(old) % known == 0, f"{dims(old)} to {dims(wanted)}")
        shape[shape.index(-1)] = math.prod(old) // known
    need(math.prod(shape) == math.prod(old) and min(shape, default=1) >= 0, f"{dims(old)} to {dims(wanted)}")
    return tuple(shape)


def flatten(b: Builder, node: Node, batch: int) -> Value:
    x = node.input(0)
    axis = node.integer("axis", 1)
    need(-len(x.shape) <= axis <= len(x.shape), f"axis {axis}")
    axis += len(x.shape) if axis < 0 else 0
    return b.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def squeeze(b: Builder, node: Node, batch: int) -> Value:
    x = node.input(0)
    return b.reshape(x, squeezed(x.shape, node.axes(1, since=13)))


def squeezed(shape: tuple[int, ...], axes: list[int] | None) -> tuple[int, ...]:
    rank = len(shape)
    gone = {axis % rank if rank else 0 for axis in axes} if axes else {i for i, n in enumerate(shape) if n == 1}
    return tuple(length for i, length in enumerate(shape) if i not in gone)


def unsqueeze(b: Builder, node: Node, batch: int) -> Value:
    x = node.input(0)
    return b.reshape(x, unsqueezed(x.shape, node.axes(1, since=13) or []))


def unsqueezed(shape: tuple[int, ...], axes: list[int]) -> tuple[int, ...]:
    rank, rest = len(shape) + len(axes), list(shape)
    need(rank <= 8, f"to rank {rank}")
    places = {axis % rank for axis in axes}
    need(len(places) == len(axes), f"with axes {axes}")
    return tuple(1 if i in places else rest.pop(0) for i in range(rank))


def shape_of(b: Builder, node: Node, batch: int) -> Value:
    x = node.input(0)
    need(bool(x.shape), "of an unknown shape")
    return Value.of(measured(node, x.shape), b.name)


def measured(node: Node, shape: tuple[int, ...]) -> np.ndarray:
    return np.array(shape[node.integer("start") : node.integer("end", len(shape))], np.int64)


def constant(b: Builder, node: Node, batch: int) -> Value:
    if "value_int" in node.attributes:
        return Value.of(np.array(node.integer("value_int"), np.int64), b.name)
    if "value_ints" in node.attributes:
        return Value.of(np.array(node.ints("value_ints"), np.int64), b.name)
    if "value_float" in node.attributes:
        return Value.of(np.array(node.real("value_float", 0.0), np.float32), b.name)
    data = node.tensor("value")
    if data is None:
        raise Foreign("of another type")
    return Value.of(data, b.name)


# ---------------------------------------------------------------- integers


def quantize_linear(b: Builder, node: Node, batch: int) -> Value:
    x = node.input(0)
    dtype = b.tensor(x).dtype if x.data is None else str(x.data.dtype)
    need(dtype in FLOATS, f"of {dtype}")
    quantization, dtype = read_steps(node, 1)
    if x.data is None:
        return b.quantize(x, *as_int8(quantization, dtype))
    return quantized_constant(plain(x), quantization, dtype, b.name)


def quantized_constant(data: np.ndarray, quantization: Quantization, dtype: str, name: str) -> Value:
    """Rounded half to even and clamped, as QuantizeLinear does it."""
    need(dtype in (*INTEGERS, "int32"), f"to {dtype}")
    limits, shape = np.iinfo(dtype), along(quantization, data.shape)
    scale, zero = quantization.scale.reshape(shape), quantization.zero.reshape(shape)
    rounded = np.clip(np.rint(data / scale) + zero, limits.min, limits.max).astype(dtype)
    return Value.of(rounded, name)


def along(quantization: Quantization, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in which scales broadcast over a constant."""
    if len(quantization.scale) == 1:
        return (1,) * len(shape)
    axis = quantization.axis
    need(-len(shape) <= axis < len(shape) and shape[axis] == len(quantization.scale), f"axis {axis} of {dims(shape)}")
    return tuple(length if i == axis % len(shape) else 1 for i, length in enumerate(shape))


def dequantize_linear(b: Builder, node: Node, batch: int) -> Value:
    quantization, dtype = read_steps(node, 1)
    return dequantized(b, node.input(0), quantization, dtype)


def read_steps(node: Node, i: int) -> tuple[Quantization, str]:
    """Scale and zero point of the inputs `i` and `i` + 1, and the type that the latter has."""
    need(not node.integer("block_size"), "with blocks")
    zero = node.constant(i + 1) if node.has(i + 1) else None
    scale = node.constant(i)
    axis = node.integer("axis", 1) if scale.size > 1 else 0
    return steps(scale, zero, axis), str(zero.dtype) if zero is not None else "uint8"


def as_int8(quantization: Quantization, dtype: str) -> tuple[Quantization, str]:
    need(dtype in INTEGERS, f"in {dtype}")
    return (replace(quantization, zero=quantization.zero - 128), "int8") if dtype == "uint8" else (quantization, dtype)


def dequantized(b: Builder, x: Value, quantization: Quantization, dtype: str) -> Value:
    if x.data is not None:
        return dequantized_constant(x, quantization)
    there = b.tensor(x)
    need(there.dtype in INTEGERS, f"of {there.dtype}")
    if there.dtype == "uint8":
        there.quantization = there.quantization or quantization
        quantization, dtype = as_int8(quantization, dtype)
        x = b.emit("quantize", [x.place], x.shape, dtype=dtype, quantization=quantization)
    elif there.dtype == "int8" and dtype == "uint8":
        quantization, _ = as_int8(quantization, dtype)
    return b.dequantize(x, quantization)


def dequantized_constant(x: Value, quantization: Quantization) -> Value:
    """Still its integers, and their scales."""
    assert x.data is not None
    need(x.quantization is None and x.data.dtype.kind in "iu", "of real numbers")
    along(quantization, x.shape)
    data, axis = x.data, quantization.axis % max(1, x.data.ndim) if len(quantization.scale) > 1 else 0
    zero = quantization.zero
    if data.dtype == np.uint8:
        data, zero = (data.astype(np.int16) - 128).astype(np.int8), zero - 128
    return Value.of(data, x.name, Quantization(quantization.scale, zero, axis))


def integer_operator(real: Operator, maps: tuple[int, ...], steps_out: int, rest: tuple[int, ...] = ()) -> Operator:
    """An operator on integers as what it is short for: dequantize, the operator on real numbers, quantize.

    `maps`: inputs that are followed by their scale and zero point. `rest`: those that are integers of the products'
    scale (biases). `steps_out`: where the scale of the output stands, if it is there.
    """

    def read(b: Builder, node: Node, batch: int) -> Value:
        known = [read_steps(node, i + 1) for i in maps]
        inputs: list[Value | None] = []
        for i, (quantization, dtype) in zip(maps, known, strict=True):
            weights = replace(quantization, axis=weight_axis(node)) if len(quantization.scale) > 1 else quantization
            inputs.append(dequantized(b, node.input(i), weights, dtype))
        for i in rest:
            inputs.append(products_bias(node, i, known) if node.has(i) else None)
        result = real(b, node.on(inputs), batch)
        if not node.has(steps_out):
            return result
        return b.quantize(result, *as_int8(*read_steps(node, steps_out)))

    return read


def weight_axis(node: Node) -> int:
    """Along which the weights of an integer operator have scales: that of the outputs."""
    return 0 if node.type == "QLinearConv" or node.integer("transB") else 1


def products_bias(node: Node, i: int, known: list[tuple[Quantization, str]]) -> Value:
    data = node.input(i).constant("biases")
    need(data.dtype == np.int32, f"with biases of {data.dtype}")
    scale = known[0][0].scale * known[1][0].scale * node.real("alpha", 1.0)
    return Value.of(data, node.input(i).name, Quantization(scale, np.zeros(len(scale), np.int64)))


def integer_concat(b: Builder, node: Node, batch: int) -> Value:
    """Scale and zero point of the output, then each input with its own."""
    need(len(node) > 2 and len(node) % 3 == 2, f"with {len(node)} inputs")
    maps = [dequantized(b, node.input(i), *read_steps(node, i + 1)) for i in range(2, len(node), 3)]
    return b.quantize(b.concat(maps, node.integer("axis", 1)), *as_int8(*read_steps(node, 0)))


def integer_global_pool(b: Builder, node: Node, batch: int) -> Value:
    need(not node.integer("channels_last"), "with channels last")
    return integer_operator(global_pool("mean"), (0,), 3)(b, node, batch)


def integer_pool(b: Builder, node: Node, batch: int) -> Value:
    need(not node.integer("channels_last"), "with channels last")
    return integer_operator(pool("meanpool"), (0,), 3)(b, node, batch)


OPERATORS: dict[str, Operator] = {
    "Conv": conv,
    "Gemm": gemm,
    "MatMul": matmul,
    "BatchNormalization": batch_norm,
    "Add": elementwise("add"),
    "Sum": total,
    "Sub": elementwise("sub"),
    "Mul": elementwise("mul"),
    "Div": divide,
    "Relu": unary("relu"),
    "Sigmoid": unary("sigmoid"),
    "Clip": clip,
    "Softmax": softmax,
    "LogSoftmax": softmax,
    "Identity": identity,
    "Cast": cast,
    "CastLike": cast_like,
    "Dropout": dropout,
    "MaxPool": pool("maxpool"),
    "AveragePool": pool("meanpool"),
    "GlobalAveragePool": global_pool("mean"),
    "GlobalMaxPool": global_pool("max"),
    "ReduceMean": reduce("mean"),
    "ReduceMax": reduce("max"),
    "Pad": pad,
    "Concat": concat,
    "Transpose": transpose,
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Shape": shape_of,
    "Constant": constant,
    "QuantizeLinear": quantize_linear,
    "DequantizeLinear": dequantize_linear,
    "QLinearConv": integer_operator(conv, (0, 3), 6, (8,)),
    "QLinearMatMul": integer_operator(matmul, (0, 3), 6),
    "QGemm": integer_operator(gemm, (0, 3), 7, (6,)),
    "QLinearAdd": integer_operator(elementwise("add"), (0, 3), 6),
    "QLinearMul": integer_operator(elementwise("mul"), (0, 3), 6),
    "QLinearSoftmax": integer_operator(softmax, (0,), 3),
    "QLinearSigmoid": integer_operator(unary("sigmoid"), (0,), 3),
    "QLinearConcat": integer_concat,
    "QLinearGlobalAveragePool": integer_global_pool,
    "QLinearAveragePool": integer_pool,
}


# ---------------------------------------------------------------- constants


def bounded(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in which they broadcast, if that is a small one."""
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise Foreign(f"of {' and '.join(map(dims, shapes))}") from None
    need(math.prod(shape) <= max(MOST, *(math.prod(s) for s in shapes)), f"of {dims(shape)}")
    return shape


def fold_binary(function: Callable) -> Callable[[Node], np.ndarray]:
    def read(node: Node) -> np.ndarray:
        a, b = node.constant(0), node.constant(1)
        bounded(a.shape, b.shape)
        return np.asarray(function(a, b))

    return read


def fold_divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind == "f":
        return a / b
    need(bool((b != 0).all()), "by zero")
    return (np.abs(a) // np.abs(b) * np.sign(a) * np.sign(b)).astype(a.dtype)


def fold_unary(function: Callable) -> Callable[[Node], np.ndarray]:
    return lambda node: np.asarray(function(node.constant(0)))


def fold_cast(node: Node) -> np.ndarray:
    target = TYPES.get(node.integer("to"))
    if target is None:
        raise Foreign("to another type")
    return node.constant(0).astype("float32" if target in FLOATS else target)


def fold_clip(node: Node) -> np.ndarray:
    return np.clip(node.constant(0), *limits(node)).astype(node.constant(0).dtype)


def fold_gather(node: Node) -> np.ndarray:
    data, indices, axis = node.constant(0), node.constant(1), node.integer("axis")
    need(-data.ndim <= axis < data.ndim and indices.dtype.kind in "iu", f"along axis {axis} of {dims(data.shape)}")
    length = data.shape[axis]
    need(bool(((indices >= -length) & (indices < length)).all()), f"of places outside of {length}")
    need(indices.size * data.size <= MOST * max(1, length), "of too much")
    return np.take(data, indices, axis)


def fold_concat(node: Node) -> np.ndarray:
    parts, axis = [node.constant(i) for i in range(len(node))], node.integer("axis")
    need(bool(parts) and -parts[0].ndim <= axis < parts[0].ndim, f"along axis {axis}")
    rest = {(*p.shape[: axis % parts[0].ndim], *p.shape[axis % parts[0].ndim + 1 :]) for p in parts}
    need(len(rest) == 1 and len({p.ndim for p in parts}) == 1, "of other shapes")
    need(sum(p.size for p in parts) <= MOST, "of too much")
    return np.concatenate(parts, axis)


def fold_reshape(node: Node) -> np.ndarray:
    data = node.constant(0)
    return data.reshape(find_shape(data.shape, node.numbers(1), bool(node.integer("allowzero"))))


def fold_squeeze(node: Node) -> np.ndarray:
    data = node.constant(0)
    shape = squeezed(data.shape, node.axes(1, since=13))
    need(math.prod(shape) == data.size, f"of {dims(data.shape)}")
    return data.reshape(shape)


def fold_unsqueeze(node: Node) -> np.ndarray:
    data = node.constant(0)
    return data.reshape(unsqueezed(data.shape, node.axes(1, since=13) or []))


def fold_transpose(node: Node) -> np.ndarray:
    data = node.constant(0)
    perm = node.ints("perm", range(data.ndim)[::-1])
    need(perm is not None and sorted(perm) == list(range(data.ndim)), f"perm {perm}")
    return data.transpose(perm)


def fold_slice(node: Node) -> np.ndarray:
    data = node.constant(0)
    if node.opset < 10:
        starts, ends, axes = node.ints("starts") or [], node.ints("ends") or [], node.ints("axes")
        steps_ = None
    else:
        starts, ends = node.numbers(1), node.numbers(2)
        axes = node.numbers(3) if node.has(3) else None
        steps_ = node.numbers(4) if node.has(4) else None
    axes, steps_ = axes or list(range(len(starts))), steps_ or [1] * len(starts)
    need(len(starts) == len(ends) == len(axes) == len(steps_) and 0 not in steps_, "with other lengths")
    cut = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps_, strict=True):
        need(-data.ndim <= axis < data.ndim, f"along axis {axis}")
        last = None if step < 0 and end < -data.shape[axis] else end
        cut[axis] = slice(start, last, step)
    return data[tuple(cut)]


def fold_constant_of_shape(node: Node) -> np.ndarray:
    shape, value = node.numbers(0), node.tensor("value")
    need(min(shape, default=1) >= 0 and math.prod(shape) <= MOST, f"of {dims(shape)}")
    return np.full(shape, 0.0 if value is None or value.size != 1 else value.reshape(-1)[0],
                   np.float32 if value is None else value.dtype)  # fmt: skip


def fold_range(node: Node) -> np.ndarray:
    start, limit, delta = (node.constant(i) for i in range(3))
    need(start.size == limit.size == delta.size == 1 and float(delta.reshape(-1)[0]) != 0, "without a step")
    first, last, by = (v.reshape(-1)[0] for v in (start, limit, delta))
    need(abs((float(last) - float(first)) / float(by)) <= MOST, "of too much")
    return np.arange(first, last, by, dtype=start.dtype)


def fold_expand(node: Node) -> np.ndarray:
    data, shape = node.constant(0), tuple(node.numbers(1))
    need(min(shape, default=1) >= 0 and math.prod(shape) <= MOST, f"to {dims(shape)}")
    return np.broadcast_to(data, bounded(data.shape, shape))


def fold_where(node: Node) -> np.ndarray:
    condition, a, b = (node.constant(i) for i in range(3))
    bounded(condition.shape, a.shape, b.shape)
    return np.where(condition.astype(bool), a, b).astype(a.dtype)


def fold_product(node: Node) -> np.ndarray:
    data, axes = node.constant(0), node.axes(1, since=18)
    need(not axes or all(-data.ndim <= axis < data.ndim for axis in axes), f"over axes {axes}")
    return np.asarray(
        data.prod(tuple(axes) if axes else None, keepdims=bool(node.integer("keepdims", 1)), dtype=data.dtype)
    )


FOLDS: dict[str, Callable[[Node], np.ndarray]] = {
    "Add": fold_binary(np.add),
    "Sub": fold_binary(np.subtract),
    "Mul": fold_binary(np.multiply),
    "Div": fold_binary(fold_divide),
    "Equal": fold_binary(np.equal),
    "Max": fold_binary(np.maximum),
    "Min": fold_binary(np.minimum),
    "Sqrt": fold_unary(np.sqrt),
    "Neg": fold_unary(np.negative),
    "Floor": fold_unary(np.floor),
    "Ceil": fold_unary(np.ceil),
    "Shape": lambda node: measured(node, node.constant(0).shape),
    "Cast": fold_cast,
    "Clip": fold_clip,
    "Gather": fold_gather,
    "Concat": fold_concat,
    "Reshape": fold_reshape,
    "Squeeze": fold_squeeze,
    "Unsqueeze": fold_unsqueeze,
    "Transpose": fold_transpose,
    "Slice": fold_slice,
    "ConstantOfShape": fold_constant_of_shape,
    "Range": fold_range,
    "Expand": fold_expand,
    "Where": fold_where,
    "ReduceProd": fold_product,
}

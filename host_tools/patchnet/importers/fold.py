"""What a graph is simplified to before it is matched: the same numbers in fewer operators.

`fold` applies these until nothing changes, then leaves out what no output needs:

* identities, reshapes to the same shape and transposes that move nothing go; reshapes and transposes in a row become
  one; a transpose in front of a reshape in front of a fully connected layer becomes another order of its weights, one
  in front of a mean other axes;
* integers of a file that has operators on real numbers between `dequantize` and `quantize` (ONNX' QDQ form) become
  operators on the integers, with int32 biases;
* constants that are added or multiplied become `affine`, and that goes into the weights beside it;
* `relu` and `relu6` become the `act` of the operator before; a convolution whose output has its zero point at the
  lower end has `act` "relu", which its range implies;
* pads become those of the convolution or pooling behind; means of means become one.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Callable

import numpy as np

from .graph import NO_PADS, Graph, Op, Quantization, Tensor

WEIGHTED = ("conv", "depthwise", "dense")
ACTIVE = (*WEIGHTED, "add", "sub", "mul", "maxpool", "meanpool")
ACTS = ("relu", "relu6")
ELEMENTWISE = (*ACTS, "clip", "sigmoid", "quantize")  # of one map, the same for each value
SHAPES = ("reshape", "transpose")
MOST_CHANNELS = 1 << 16  # for which a constant is written out
COMPUTING = (*ACTIVE, "mean", "max", "concat", "softmax", "sigmoid", "clip", "affine", *ACTS)
FEEDING = (*ACTIVE, "mean", "max", "concat", "affine")  # what reads a map within a network
LOOKING = (*SHAPES, "quantize", "dequantize")  # what has it otherwise, but for the same

Weights = tuple[np.ndarray, Quantization | None]  # real, or integers and what they stand for
Rule = Callable[["Editor", Op], bool]  # whether it fitted the operator, which then is, or was, another one


def fold(graph: Graph) -> Graph:
    """The same graph with fewer operators. It is changed in place, and returned."""
    simplify(graph, (*SHAPE_RULES, *INTEGER_RULES, *WEIGHT_RULES))
    editor = Editor(graph)
    for op in editor.ops.values():
        float_constants(editor, op)
    editor.finish()
    return graph


def simplify(graph: Graph, rules: tuple[Rule, ...]) -> None:
    """Applies rules until none fits."""
    editor, changed = Editor(graph), True
    while changed:
        changed = False
        for op in list(editor.ops.values()):
            for rule in rules:
                changed |= id(op) in editor.ops and rule(editor, op)
    editor.finish()


class Editor:
    """A graph while it is changed: who makes and who reads each tensor. Operators need no order before `finish`."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.ops: dict[int, Op] = {}
        self.makers: dict[int, Op] = {}
        self.readers: dict[int, dict[int, Op]] = defaultdict(dict)  # by id()
        for op in graph.ops:
            self.add(op)

    def add(self, op: Op) -> None:
        self.ops[id(op)] = op
        self.link(op, op.inputs, op.outputs)

    def link(self, op: Op, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        op.inputs, op.outputs = inputs, outputs
        for place in {*inputs} - {-1}:
            self.readers[place][id(op)] = op
        for place in outputs:
            self.makers[place] = op

    def drop(self, op: Op) -> None:
        del self.ops[id(op)]
        self.unlink(op)

    def unlink(self, op: Op) -> None:
        for place in {*op.inputs} - {-1}:
            self.readers[place].pop(id(op), None)
        for place in op.outputs:
            if self.makers.get(place) is op:
                del self.makers[place]

    def wire(self, op: Op, inputs: tuple[int, ...] | None = None, outputs: tuple[int, ...] | None = None) -> None:
        """Other inputs or outputs for an operator."""
        self.unlink(op)
        self.link(op, op.inputs if inputs is None else inputs, op.outputs if outputs is None else outputs)

    def maker(self, place: int, *kinds: str) -> Op | None:
        """The operator that makes a tensor, if it is of these kinds."""
        op = self.makers.get(place)
        return op if op and op.kind in kinds else None

    def lone_maker(self, place: int, *kinds: str) -> Op | None:
        """The same, if nothing else reads what it makes."""
        return self.maker(place, *kinds) if len(self.readers[place]) == 1 and place not in self.graph.outputs else None

    def lone_reader(self, place: int, *kinds: str) -> Op | None:
        """The one operator that reads a tensor, if it is of these kinds."""
        if len(self.readers[place]) != 1 or place in self.graph.outputs:
            return None
        (reader,) = self.readers[place].values()
        return reader if reader.kind in kinds else None

    def tensor(self, place: int) -> Tensor:
        return self.graph.tensors[place]

    def data(self, op: Op, i: int) -> np.ndarray | None:
        """The operator's input `i`, if it has such and it is a constant."""
        return self.tensor(op.inputs[i]).data if i < len(op.inputs) and op.inputs[i] >= 0 else None

    def new(self, name: str, like: Tensor, shape: tuple[int, ...]) -> int:
        """A tensor of the same type and quantization; that has one scale."""
        self.graph.tensors.append(Tensor(name, shape, like.dtype, like.quantization))
        return len(self.graph.tensors) - 1

    def constant(self, name: str, data: np.ndarray, quantization: Quantization | None = None) -> int:
        self.graph.tensors.append(Tensor(name, data.shape, str(data.dtype), quantization, data))
        return len(self.graph.tensors) - 1

    def bypass(self, op: Op, source: int | None = None) -> bool:
        """Whoever reads the operator's output reads `source`, its input unless said. It is dropped. True."""
        source, output = op.inputs[0] if source is None else source, op.outputs[0]
        for reader in list(self.readers[output].values()):
            self.wire(reader, tuple(source if place == output else place for place in reader.inputs))
        if output in self.graph.outputs:
            self.graph.outputs = tuple(source if place == output else place for place in self.graph.outputs)
            if source not in self.graph.inputs:
                self.tensor(source).name = self.tensor(output).name
        self.drop(op)
        return True

    def finish(self) -> None:
        """What outputs need, in an order in which each operator comes behind what it reads, by index where free."""
        needed, waiting = {}, [self.makers[place] for place in self.graph.outputs if place in self.makers]
        while waiting:
            op = waiting.pop()
            if id(op) not in needed:
                needed[id(op)] = op
                waiting += [self.makers[place] for place in op.inputs if place in self.makers]
        missing = {key: len({id(self.makers[p]) for p in op.inputs if p in self.makers}) for key, op in needed.items()}
        ready = [(op.index, i, op) for i, op in enumerate(needed.values()) if not missing[id(op)]]
        heapq.heapify(ready)
        self.graph.ops, count = [], len(needed)
        while ready:
            op = heapq.heappop(ready)[2]
            self.graph.ops.append(op)
            readers = {key: reader for place in op.outputs for key, reader in self.readers[place].items()}
            for key, reader in readers.items():
                if key in missing:
                    missing[key] -= 1
                    if not missing[key]:
                        count += 1
                        heapq.heappush(ready, (reader.index, count, reader))
        self.leave_out()

    def leave_out(self) -> None:
        """Tensors that nothing reads or makes."""
        graph = self.graph
        used = {place for op in graph.ops for place in (*op.inputs, *op.outputs)} | {*graph.inputs, *graph.outputs}
        kept = sorted(used - {-1})
        new = {place: i for i, place in enumerate(kept)} | {-1: -1}
        graph.tensors = [graph.tensors[place] for place in kept]
        for op in graph.ops:
            op.inputs = tuple(new[place] for place in op.inputs)
            op.outputs = tuple(new[place] for place in op.outputs)
        graph.inputs = tuple(new[place] for place in graph.inputs)
        graph.outputs = tuple(new[place] for place in graph.outputs)


# ---------------------------------------------------------------- shapes


def drop_identity(e: Editor, op: Op) -> bool:
    same = op.kind == "reshape" and e.tensor(op.inputs[0]).shape == e.tensor(op.outputs[0]).shape
    still = op.kind == "transpose" and list(op.attrs["perm"]) == sorted(op.attrs["perm"])
    return (op.kind == "identity" or same or still) and e.bypass(op)


def transpose_of_ones(e: Editor, op: Op) -> bool:
    """A transpose that moves only axes of length 1 is a reshape."""
    if op.kind != "transpose":
        return False
    shape = e.tensor(op.inputs[0]).shape
    moved = [axis for axis in op.attrs["perm"] if shape[axis] != 1]
    if moved != sorted(moved):
        return False
    op.kind, op.attrs = "reshape", {"shape": e.tensor(op.outputs[0]).shape}
    return True


def join_shapes(e: Editor, op: Op) -> bool:
    """Two of a kind in a row, or a reshape of a mean."""
    before = e.maker(op.inputs[0], *SHAPES) if op.kind in SHAPES else None
    if before and before.kind == op.kind:
        if op.kind == "transpose":
            op.attrs = {"perm": tuple(before.attrs["perm"][axis] for axis in op.attrs["perm"])}
        e.wire(op, before.inputs)
        return True
    mean = e.lone_maker(op.inputs[0], "mean", "max") if op.kind == "reshape" else None
    return bool(mean) and absorb(e, mean, op)


def absorb(e: Editor, op: Op | None, behind: Op) -> bool:
    """The operator makes what the one behind it made, which is dropped. True."""
    assert op is not None
    output = behind.outputs
    e.drop(behind)
    e.wire(op, outputs=output)
    return True


def turn_between(e: Editor, op: Op) -> bool:
    """transpose, reshape, transpose is a reshape, if but for axes of length 1 nothing moves."""
    middle = e.maker(op.inputs[0], "reshape") if op.kind == "transpose" else None
    first = e.maker(middle.inputs[0], "transpose") if middle else None
    if not middle or not first:
        return False
    before, between = e.tensor(first.inputs[0]).shape, e.tensor(middle.outputs[0]).shape
    order = [axis for axis in first.attrs["perm"] if before[axis] != 1]
    places = [axis for axis, length in enumerate(between) if length != 1]
    if [before[axis] for axis in order] != [between[axis] for axis in places]:
        return False
    origin = dict(zip(places, order, strict=True))
    moved = [origin[axis] for axis in op.attrs["perm"] if between[axis] != 1]
    if moved != sorted(moved):
        return False
    op.kind, op.attrs = "reshape", {"shape": e.tensor(op.outputs[0]).shape}
    e.wire(op, first.inputs)
    return True


def lift(e: Editor, op: Op) -> bool:
    """An operator on each value, behind a reshape or transpose: before it. So is a softmax, behind a transpose."""
    behind = SHAPES if op.kind in ELEMENTWISE else ("transpose",) if op.kind == "softmax" else ()
    shape = e.lone_maker(op.inputs[0], *behind) if behind else None
    if not shape or shape.inputs[0] in e.graph.inputs:
        return False
    if op.kind == "softmax":
        op.attrs = op.attrs | {"axis": shape.attrs["perm"][op.attrs["axis"]]}
    middle = e.new(e.tensor(op.outputs[0]).name, e.tensor(op.outputs[0]), e.tensor(shape.inputs[0]).shape)
    source, output = shape.inputs, op.outputs
    e.wire(op, source, (middle,))
    e.wire(shape, (middle,), output)
    return True


def transposed_dense(e: Editor, op: Op) -> bool:
    """Weights behind a flattened transpose, in the order before it."""
    flat = e.maker(op.inputs[0], "reshape") if op.kind == "dense" else None
    turn = e.maker(flat.inputs[0], "transpose") if flat else None
    weight = e.data(op, 1)
    if not flat or not turn or weight is None or turn.attrs["perm"][0] != 0:
        return False
    shape, inputs = e.tensor(turn.outputs[0]).shape, weight.shape[1]
    if math.prod(shape[1:]) != inputs or e.tensor(flat.outputs[0]).shape != (1, inputs):
        return False
    order = np.argsort(turn.attrs["perm"])
    turned = weight.reshape(len(weight), *shape[1:]).transpose(order).reshape(weight.shape)
    place = e.constant(e.tensor(op.inputs[1]).name, turned, e.tensor(op.inputs[1]).quantization)
    features = e.new(e.tensor(flat.outputs[0]).name, e.tensor(turn.inputs[0]), (1, inputs))
    e.add(Op(flat.index, flat.name, "reshape", turn.inputs, (features,), {"shape": (1, inputs)}))
    e.wire(op, (features, place, *op.inputs[2:]))
    return True


def transposed_mean(e: Editor, op: Op) -> bool:
    """A mean over a transpose is one over other axes, if what remains is in the same order."""
    turn = e.maker(op.inputs[0], "transpose") if op.kind in ("mean", "max") else None
    if not turn:
        return False
    perm, shape = turn.attrs["perm"], e.tensor(turn.outputs[0]).shape
    left = [perm[axis] for axis, length in enumerate(shape) if axis not in op.attrs["axes"] and length != 1]
    if left != sorted(left):
        return False
    op.attrs = op.attrs | {"axes": tuple(sorted(perm[axis] for axis in op.attrs["axes"]))}
    e.wire(op, turn.inputs)
    return True


def reshaped_mean(e: Editor, op: Op) -> bool:
    """A mean over an axis that a reshape made of several is one over these."""
    shape = e.maker(op.inputs[0], "reshape") if op.kind in ("mean", "max") else None
    if not shape:
        return False
    before, origins, i = e.tensor(shape.inputs[0]).shape, [], 0
    for length in e.tensor(shape.outputs[0]).shape:
        first, size = i, 1
        while size < length and i < len(before):
            size, i = size * before[i], i + 1
        if size != length:
            return False
        origins.append(range(first, i))
    if math.prod(before[i:]) != 1:
        return False
    op.attrs = op.attrs | {"axes": tuple(sorted(place for axis in op.attrs["axes"] for place in origins[axis]))}
    e.wire(op, shape.inputs)
    return True


def join_means(e: Editor, op: Op) -> bool:
    """Means over rows, then over columns."""
    before = e.lone_maker(op.inputs[0], op.kind) if op.kind in ("mean", "max") else None
    if not before or e.tensor(op.outputs[0]).quantization or e.tensor(before.outputs[0]).quantization:
        return False
    shape, out = e.tensor(before.inputs[0]).shape, e.tensor(op.outputs[0]).shape
    if len(shape) != 4 or not {*before.attrs["axes"]} <= {1, 2} or math.prod(out) != shape[0] * shape[3]:
        return False
    if e.tensor(op.inputs[0]).shape[-1] != shape[3] or len(e.tensor(op.inputs[0]).shape) - 1 in op.attrs["axes"]:
        return False
    op.attrs = op.attrs | {"axes": (1, 2)}
    e.wire(op, before.inputs)
    return True


# ---------------------------------------------------------------- integers


def same_steps(a: Tensor, b: Tensor) -> bool:
    """Whether both are real, or have the same scale and zero point."""
    p, q = a.quantization, b.quantization
    if p is None or q is None:
        return p is q
    return a.dtype == b.dtype and np.array_equal(p.scale, q.scale) and np.array_equal(p.zero, q.zero)


def drop_requantize(e: Editor, op: Op) -> bool:
    """quantize of dequantize: nothing, or from integers to integers."""
    real = e.maker(op.inputs[0], "dequantize") if op.kind == "quantize" else None
    if not real:
        return False
    if same_steps(e.tensor(real.inputs[0]), e.tensor(op.outputs[0])):
        return e.bypass(op, real.inputs[0])
    e.wire(op, real.inputs)
    return True


def sink_dequantize(e: Editor, op: Op) -> bool:
    """What chooses or moves values does so with integers."""
    moves = op.kind in (*SHAPES, "maxpool") or (op.kind == "pad" and op.attrs["value"] == 0)
    real = e.maker(op.inputs[0], "dequantize") if moves and op.attrs.get("act", "none") == "none" else None
    if not real:
        return False
    output = e.tensor(op.outputs[0])
    moved = e.new(output.name, e.tensor(real.inputs[0]), output.shape)
    e.add(Op(real.index, real.name, "dequantize", (moved,), op.outputs))
    e.wire(op, real.inputs, (moved,))
    return True


def integers(e: Editor, op: Op) -> bool:
    """An operator between dequantize and quantize."""
    rounds = e.lone_reader(op.outputs[0], "quantize") if op.kind in COMPUTING else None
    if not rounds:
        return False
    inputs = [integer_input(e, place) for place in op.inputs]
    if op.kind in WEIGHTED and len(inputs) == 3 and None not in inputs[:2]:
        inputs[2] = integer_bias(e, op)
    if None in inputs or all(e.tensor(place).data is not None for place in op.inputs if place >= 0):
        return False
    e.wire(op, tuple(place for place in inputs if place is not None))
    return absorb(e, op, rounds)


def integer_input(e: Editor, place: int) -> int | None:
    """The integers that a tensor stands for."""
    if place < 0 or (e.tensor(place).data is not None and e.tensor(place).quantization):
        return place
    real = e.maker(place, "dequantize")
    return real.inputs[0] if real else None


def integer_bias(e: Editor, op: Op) -> int | None:
    """The bias as int32 of the products' scale, as which the file may have it already."""
    bias, x, weight = e.tensor(op.inputs[2]), e.maker(op.inputs[0], "dequantize"), e.tensor(op.inputs[1]).quantization
    values = real_data(e, op, 2)
    if values is None or not x or not weight or not np.isfinite(values).all():
        return None
    scale = e.tensor(x.inputs[0]).scale * weight.scale
    known = bias.quantization
    if known and bias.dtype == "int32" and not known.zero.any() and np.allclose(known.scale, scale, rtol=1e-5, atol=0):
        return op.inputs[2]
    limits = np.iinfo(np.int32)
    data = np.clip(np.rint(values / scale), limits.min, limits.max).astype(np.int32)
    return e.constant(bias.name, data, Quantization(scale, np.zeros(len(scale), np.int64)))


def implied_relu(e: Editor, op: Op) -> bool:
    """Where the zero point is the lowest integer, nothing is below 0. (A .tflite says so by itself.) Not of the logits
    of a network, which may happen to be above."""
    output = e.tensor(op.outputs[0])
    if e.graph.format == "tflite" or op.kind not in (*WEIGHTED, "add") or op.attrs["act"] != "none":
        return False
    if output.quantization is None or output.zero != np.iinfo(output.dtype).min:
        return False
    if not feeds(e, op.outputs[0]):
        return False
    op.attrs["act"] = "relu"
    return True


def feeds(e: Editor, place: int) -> bool:
    """Whether something within the network reads a tensor, however that looks at it."""
    waiting, seen = [place], set()
    while waiting:
        place = waiting.pop()
        readers = [] if place in seen else e.readers[place].values()
        seen.add(place)
        if any(reader.kind in FEEDING for reader in readers):
            return True
        waiting += [out for reader in readers if reader.kind in LOOKING for out in reader.outputs]
    return False


def float_constants(e: Editor, op: Op) -> None:
    """An operator on real numbers has real constants."""
    if op.kind not in COMPUTING or e.tensor(op.outputs[0]).quantization:
        return
    for i, place in enumerate(op.inputs):
        data = real_data(e, op, i)
        if data is not None and e.tensor(place).quantization:
            real = e.constant(e.tensor(place).name, data.astype(np.float32))
            e.wire(op, (*op.inputs[:i], real, *op.inputs[i + 1 :]))


def real_values(data: np.ndarray, quantization: Quantization) -> np.ndarray:
    """A quantized constant as float64."""
    shape = [1] * data.ndim
    if shape:
        shape[quantization.axis] = -1
    return quantization.scale.reshape(shape) * (data.astype(np.int64) - quantization.zero.reshape(shape))


# ---------------------------------------------------------------- constants and activations


def is_real(e: Editor, op: Op) -> bool:
    """Whether the operator works on real numbers."""
    return e.tensor(op.outputs[0]).quantization is None and e.tensor(op.inputs[0]).quantization is None


def constant_affine(e: Editor, op: Op) -> bool:
    """Addition and multiplication of constants per channel."""
    if op.kind not in ("add", "sub", "mul") or not is_real(e, op):
        return False
    side = 0 if e.data(op, 0) is not None else 1
    constant, x, output = e.data(op, side), op.inputs[1 - side], e.tensor(op.outputs[0])
    if constant is None or e.tensor(x).data is not None or e.tensor(x).shape != output.shape or not output.shape:
        return False
    if output.shape[-1] > MOST_CHANNELS:
        return False
    if e.tensor(op.inputs[side]).quantization or constant.size not in (1, constant.shape[-1] if constant.ndim else 1):
        return False
    values = np.broadcast_to(constant.reshape(-1).astype(np.float32), output.shape[-1:])
    one, none = np.ones_like(values), np.zeros_like(values)
    gain, offset = {
        "mul": (values, none),
        "add": (one, values),
        "sub": (one, -values) if side == 1 else (-one, values),
    }[op.kind]
    act = op.attrs["act"]
    if act != "none":
        split_act(e, op, act)
    op.kind, op.attrs = "affine", {}
    name = e.tensor(op.inputs[side]).name
    e.wire(op, (x, e.constant(name, gain), e.constant(name, offset)))
    return True


def split_act(e: Editor, op: Op, act: str) -> None:
    """The activation as an operator of its own."""
    output = op.outputs[0]
    middle = e.new(e.tensor(output).name, e.tensor(output), e.tensor(output).shape)
    e.wire(op, outputs=(middle,))
    e.add(Op(op.index, op.name, act, (middle,), (output,)))


def affine_behind(e: Editor, op: Op) -> bool:
    """Into the weights, or the affine, before it."""
    before = e.lone_maker(op.inputs[0], *WEIGHTED, "affine") if op.kind == "affine" else None
    if not before or before.attrs.get("act", "none") != "none":
        return False
    weight, gain, offset, bias = e.data(before, 1), e.data(op, 1), e.data(op, 2), real_bias(e, before)
    if weight is None or gain is None or offset is None or bias is None or len(gain) != len(weight):
        return False
    gain = gain.astype(np.float64)
    set_weights(e, before, times(weight, gain, e.tensor(before.inputs[1]).quantization), bias * gain + offset)
    return absorb(e, before, op)


def times(
    weight: np.ndarray, gain: np.ndarray, quantization: Quantization | None
) -> tuple[np.ndarray, Quantization | None]:
    """Weights with a factor for each output: of integers a matter of their scales and signs, where these can be."""
    along = gain.reshape(-1, *[1] * (weight.ndim - 1))
    if quantization is None:
        return weight * along, None
    if not gain.all() or weight.min() == np.iinfo(weight.dtype).min:
        return real_values(weight, quantization) * along, None
    signs = np.sign(gain).astype(np.int64)
    turned = (weight * signs.reshape(along.shape)).astype(weight.dtype)
    return turned, Quantization(quantization.scale * abs(gain), quantization.zero * signs)


def real_bias(e: Editor, op: Op) -> np.ndarray | None:
    """Zeros if it has none; None if that is no constant."""
    if len(op.inputs) > 2 and op.inputs[2] >= 0:
        return real_data(e, op, 2)
    return np.zeros(e.tensor(op.outputs[0]).shape[-1])


def affine_ahead(e: Editor, op: Op) -> bool:
    """Into the weights that read it, unless zeros are put around it. Not of the network's input, which it prepares."""
    affine = e.maker(op.inputs[0], "affine") if op.kind in WEIGHTED else None
    if not affine or affine.inputs[0] in e.graph.inputs or not is_real(e, op):
        return False
    weight, gain, offset, bias = real_data(e, op, 1), e.data(affine, 1), e.data(affine, 2), real_bias(e, op)
    if weight is None or gain is None or offset is None or bias is None:
        return False
    if any(op.attrs.get("pads", NO_PADS)) and offset.any():
        return False
    if len(gain) != (len(weight) if op.kind == "depthwise" else weight.shape[-1]):
        return False
    gain, offset = gain.astype(np.float64), offset.astype(np.float64)
    if op.kind == "depthwise":
        added, scaled = weight.sum(axis=(1, 2)) * offset, weight * gain.reshape(-1, 1, 1)
    else:
        added, scaled = (weight * offset).reshape(len(weight), -1).sum(axis=1), weight * gain
    set_weights(e, op, (scaled, None), bias + added)
    e.wire(op, (affine.inputs[0], *op.inputs[1:]))
    return True


def real_data(e: Editor, op: Op, i: int) -> np.ndarray | None:
    """A constant's real numbers in float64."""
    data = e.data(op, i)
    if data is None:
        return None
    quantization = e.tensor(op.inputs[i]).quantization
    return real_values(data, quantization) if quantization else data.astype(np.float64)


def set_weights(e: Editor, op: Op, weights: Weights, bias: np.ndarray) -> None:
    name, before, (data, quantization) = e.tensor(op.inputs[1]).name, op.inputs[1:], weights
    weight = e.constant(name, data if quantization else data.astype(np.float32), quantization)
    e.wire(op, (op.inputs[0], weight, e.constant(name, bias.astype(np.float32))))
    for place in before:
        if place >= 0 and not e.readers[place] and place not in e.graph.outputs:
            e.tensor(place).data = None  # a chain of these need not hold them all


def activation(e: Editor, op: Op) -> bool:
    """Into the operator before it, on whose steps it is."""
    before = e.lone_maker(op.inputs[0], *ACTIVE) if op.kind in ACTS else None
    if not before or not same_steps(e.tensor(op.inputs[0]), e.tensor(op.outputs[0])):
        return False
    inner = e.lone_maker(before.inputs[0], *WEIGHTED, "add") if before.kind == "maxpool" else None
    owner = inner or before  # a maximum may as well come behind
    act = owner.attrs["act"]
    if act not in ("none", *ACTS):
        return False
    owner.attrs["act"] = "relu6" if "relu6" in (act, op.kind) else "relu"
    return absorb(e, before, op)


def take_pads(e: Editor, op: Op) -> bool:
    """Zeros put around a map are the padding of what reads it. Of a maximum, if nothing in the map is below 0."""
    pad = e.maker(op.inputs[0], "pad") if op.kind in ("conv", "depthwise", "maxpool", "meanpool") else None
    if not pad or pad.attrs["value"] != 0:
        return False
    pooling = op.kind in ("maxpool", "meanpool")
    if pooling and any(op.attrs["pads"]):
        return False
    if op.kind == "maxpool" and not e.maker(pad.inputs[0], *ACTS) and not has_act(e.makers.get(pad.inputs[0])):
        return False
    op.attrs["pads"] = tuple(a + b for a, b in zip(op.attrs["pads"], pad.attrs["pads"], strict=True))
    if op.kind == "meanpool":
        op.attrs["counted"] = True
    e.wire(op, (pad.inputs[0], *op.inputs[1:]))
    return True


def has_act(op: Op | None) -> bool:
    return op is not None and op.attrs.get("act", "none") in ACTS


SHAPE_RULES: tuple[Rule, ...] = (
    drop_identity,
    transpose_of_ones,
    join_shapes,
    turn_between,
    lift,
    transposed_dense,
    transposed_mean,
    reshaped_mean,
    join_means,
)
INTEGER_RULES: tuple[Rule, ...] = (drop_requantize, sink_dequantize, integers, implied_relu)
WEIGHT_RULES: tuple[Rule, ...] = (constant_affine, affine_behind, affine_ahead, activation, take_pads)

"""PyTorch modules, by way of `torch.export`, read into a `Graph`.

The module is followed as it is in eval mode, for one example, whose first picture sets the shapes. What is computed of
parameters and constants alone is computed here; operators that a `Graph` has no word for become "other", by their
names in ATen.
"""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from .builder import Builder, Foreign, Pads, Value, ceiled, dims, need
from .graph import Graph, Pair

TYPES = {torch.uint8: "uint8", torch.int8: "int8", torch.int32: "int32", torch.int64: "int64", torch.bool: "bool"}


def read(model: nn.Module, example: torch.Tensor) -> Graph:
    """The network in a module that takes one tensor like `example`: (N, C, H, W), (N, C, L) or (N, features).

    ValueError, a line, where torch.export cannot follow the module. Its modes and parameters are left as they are.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(model.eval(), (example[:1],)).run_decompositions({})
    except Exception as e:  # whatever the module's own code raises
        said = " ".join(str(e).split()) or type(e).__name__
        raise ValueError(f"{type(model).__name__}: torch.export cannot follow it: {said[:200]}") from e
    finally:
        for module, training in modes:
            module.training = training
    return Reader(program, type(model).__name__).read()


class Reader:
    """One exported program; `values` are what its nodes make, a list where they make several, or a real tensor where
    that depends on no input."""

    def __init__(self, program: torch.export.ExportedProgram, source: str):
        self.program = program
        self.builder = Builder(Graph(source, "torch", [], [], (), ()))
        self.values: dict[fx.Node, Any] = {}
        self.count = 0  # of operators

    def read(self) -> Graph:
        constants = self.constants()
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = constants[node.name] if node.name in constants else self.input(node)
            elif node.op == "call_function" and node.target is operator.getitem:
                made, i = self.values[node.args[0]], node.args[1]
                self.values[node] = made[i]
            elif node.op == "call_function":
                self.values[node] = self.operator(node)
                self.count += 1
            elif node.op == "output":
                return self.builder.finish([self.value(out, "output") for out in node.args[0]])
        raise ValueError(f"{self.builder.graph.source}: it has no output")

    def constants(self) -> dict[str, torch.Tensor]:
        """Parameters, buffers and tensors in the code, by the names of their placeholders."""
        signature, held = self.program.graph_signature, {**self.program.state_dict, **self.program.constants}
        names = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        return {name: held[target].detach().cpu() for name, target in names.items()}

    def input(self, node: fx.Node) -> Value:
        shape, dtype = described(node.meta["val"])
        return self.builder.input(node.name, shape, dtype)

    def operator(self, node: fx.Node) -> Any:
        name, source = getattr(node.target, "_schema", None), node.target
        given = [self.values[n] for n in node.all_input_nodes]
        if not any(isinstance(value, Value | list) for value in given) and is_sure(source):
            return self.computed(node)
        self.builder.at(self.count, f"aten.{name.name.split('::')[-1]}" if name else str(source), node.name)
        try:
            arguments = {key: self.argument(value) for key, value in bound(node).items()}
            read = OPERATORS.get(self.builder.op)
            if read is None:
                raise Foreign("")
            need(not any(reads_more(user) for user in node.users), "with more than its first output")
            result = read(self.builder, arguments, node)
            return [result] if isinstance(node.meta.get("val"), tuple | list) else result
        except Foreign as why:
            return self.other(node, str(why))

    def computed(self, node: fx.Node) -> Any:
        """The result of an operator on constants, as real tensors."""
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: self.values[n])
        with torch.no_grad():
            return node.target(*args, **{key: value for key, value in kwargs.items() if key != "device"})

    def argument(self, value: Any) -> Any:
        """Nodes as what they make; all else as it is."""
        if isinstance(value, fx.Node):
            return self.value(value, value.name)
        return [self.argument(v) for v in value] if isinstance(value, list | tuple) else value

    def value(self, node: fx.Node, name: str) -> Value:
        made = self.values[node]
        if isinstance(made, torch.Tensor):
            data = made.float() if made.is_floating_point() else made
            return Value.of(data.numpy(), name)
        need(isinstance(made, Value), "of several tensors")
        return made

    def other(self, node: fx.Node, why: str) -> Any:
        made, several = node.meta.get("val"), isinstance(node.meta.get("val"), tuple | list)
        inputs = [self.value(n, n.name) for n in node.all_input_nodes if not isinstance(self.values[n], list)]
        shapes = [described(one) for one in (made if several else [made]) if isinstance(one, torch.Tensor)]
        results = self.builder.other(inputs, shapes, why)
        return results if several or not results else results[0]


def described(tensor: torch.Tensor) -> tuple[tuple[int, ...], str]:
    """Shape and type, which is float32 for real numbers of any width."""
    return tuple(map(int, tensor.shape)), TYPES.get(tensor.dtype, "float32")


def reads_more(node: fx.Node) -> bool:
    """Whether it takes another than the first of several outputs."""
    return node.target is operator.getitem and node.args[1] != 0


def is_sure(target: Any) -> bool:
    """Whether an operator gives the same each time."""
    return torch.Tag.nondeterministic_seeded not in getattr(target, "tags", ())


def bound(node: fx.Node) -> dict[str, Any]:
    """All arguments of an operator by their names, defaults included."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return dict(node.kwargs)
    found = {}
    for i, argument in enumerate(schema.arguments):
        default = argument.default_value if argument.has_default_value() else None
        found[argument.name] = node.args[i] if i < len(node.args) else node.kwargs.get(argument.name, default)
    return found


Arguments = dict[str, Any]
Operator = Callable[[Builder, Arguments, fx.Node], Value]


def made_shape(node: fx.Node) -> tuple[int, ...]:
    return described(node.meta["val"])[0]


def pair(value: Any, rank: int) -> Pair:
    """Of one for all axes, or one for each: for rows and columns; a map of rank 3 has rows alone."""
    values = list(value) if isinstance(value, list | tuple) else [value]
    values = values * (rank - 2) if len(values) == 1 else values
    need(rank in (3, 4) and len(values) == rank - 2, f"with {value}")
    return (values[0], values[1]) if rank == 4 else (values[0], 1)


def both_sides(value: Any, rank: int) -> Pads:
    """Padding by the same before and after."""
    h, w = pair(value, rank)
    return (h, h, w if rank == 4 else 0, w if rank == 4 else 0)


def as_value(given: Any) -> Value:
    return given if isinstance(given, Value) else Value.of(np.array(given, np.float32))


# ---------------------------------------------------------------- operators with weights


def conv(b: Builder, a: Arguments, node: fx.Node) -> Value:
    x, weight = a["input"], a["weight"]
    rank = len(weight.shape)
    need(not a.get("transposed"), "that is transposed")
    need(rank in (3, 4) and len(x.shape) == rank, f"of {dims(x.shape)}")
    stride, dilation = pair(a["stride"], rank), pair(a["dilation"], rank)
    if a["padding"] == "same":
        pads = same(weight.shape[2:], dilation)
    else:
        pads = both_sides(0 if a["padding"] == "valid" else a["padding"], rank)
    return b.conv(x, weight, a["bias"], stride, pads, dilation, a["groups"])


def same(kernel: tuple[int, ...], dilation: Pair) -> Pads:
    """PyTorch's, which knows no stride: the odd one after."""
    top, left = ((k - 1) * d // 2 for k, d in zip((*kernel, 1)[:2], dilation, strict=True))
    bottom, right = ((k - 1) * d - (k - 1) * d // 2 for k, d in zip((*kernel, 1)[:2], dilation, strict=True))
    return top, bottom, left, right


def linear(b: Builder, a: Arguments, node: fx.Node) -> Value:
    return b.dense(a["input"], a["weight"], a["bias"])


def addmm(b: Builder, a: Arguments, node: fx.Node) -> Value:
    """bias + x @ W."""
    need(a["alpha"] == a["beta"] == 1, "with factors")
    return b.dense(a["mat1"], turned(a["mat2"]), a["self"])


def matmul(b: Builder, a: Arguments, node: fx.Node) -> Value:
    return b.dense(a["self"], turned(a["mat2"] if "mat2" in a else a["other"]), None)


def turned(weight: Value) -> Value:
    return Value.of(weight.constant("weights").T, weight.name)


def batch_norm(b: Builder, a: Arguments, node: fx.Node) -> Value:
    need(not a.get("training") and a["running_mean"] is not None, "for training")
    mean, variance = (a[key].constant("statistics").astype(np.float64) for key in ("running_mean", "running_var"))
    factor = 1 / np.sqrt(variance + a["eps"])
    if a["weight"] is not None:
        factor = factor * a["weight"].constant("weights")
    offset = -mean * factor
    return b.affine(a["input"], factor, offset if a["bias"] is None else offset + a["bias"].constant("biases"))


# ---------------------------------------------------------------- operators on each value


def elementwise(kind: str) -> Operator:
    def read(b: Builder, a: Arguments, node: fx.Node) -> Value:
        need(a.get("alpha", 1) == 1, "with a factor")
        return b.elementwise(kind, as_value(a["self"]), as_value(a["other"]))

    return read


def reversed_sub(b: Builder, a: Arguments, node: fx.Node) -> Value:
    need(a["alpha"] == 1, "with a factor")
    return b.elementwise("sub", as_value(a["other"]), a["self"])


def divide(b: Builder, a: Arguments, node: fx.Node) -> Value:
    need(a.get("rounding_mode") is None, "with rounding")
    divisor = as_value(a["other"]).constant("divisors")
    need(bool(np.all(divisor != 0)), "by zero")
    return b.elementwise("mul", a["self"], Value.of(np.float32(1) / divisor))


def negate(b: Builder, a: Arguments, node: fx.Node) -> Value:
    return b.elementwise("mul", a["self"], as_value(-1))


def unary(kind: str) -> Operator:
    return lambda b, a, node: b.unary(kind, a["self"])


def clip(low: str, high: str) -> Operator:
    """With the names of the arguments that have the limits, "" for none."""

    def read(b: Builder, a: Arguments, node: fx.Node) -> Value:
        least, most = a.get(low), a.get(high)
        need(not isinstance(least, Value) and not isinstance(most, Value), "with limits of its own for each value")
        return b.clip(a["self"], -math.inf if least is None else least, math.inf if most is None else most)

    return read


def softmax(b: Builder, a: Arguments, node: fx.Node) -> Value:
    return b.softmax(a["self"], a["dim"])


def same_value(b: Builder, a: Arguments, node: fx.Node) -> Value:
    """The very same: copies, casts between real types, dropout that does nothing."""
    x = a["self"] if "self" in a else a["input"]
    need(not a.get("train"), "for training")
    if b.tensor(x).dtype == "uint8" and described(node.meta["val"])[1] == "float32":
        return b.pixels(x)
    need(b.tensor(x).dtype == described(node.meta["val"])[1], "to another type")
    return x


# ---------------------------------------------------------------- pooling


def pool(kind: str) -> Operator:
    def read(b: Builder, a: Arguments, node: fx.Node) -> Value:
        x = a["self"]
        rank = len(x.shape)
        kernel = pair(a["kernel_size"], rank)
        stride = pair(a["stride"] or a["kernel_size"], rank)
        pads = both_sides(a["padding"], rank)
        need(a.get("divisor_override") is None, "with a divisor of its own")
        need(set(np.ravel(a.get("dilation", 1))) == {1}, "with dilations")
        if a["ceil_mode"]:
            pads = ceiled(kind, x, kernel, stride, pads)
        return b.pool(kind, x, kernel, stride, pads, bool(a.get("count_include_pad")))

    return read


def adaptive_pool(whole: str, parts: str) -> Operator:
    """To one value, or to a size that divides the map's."""

    def read(b: Builder, a: Arguments, node: fx.Node) -> Value:
        x, sizes = a["self"], a["output_size"]
        lengths = x.shape[2:]
        sizes = [n if size is None else size for n, size in zip(lengths, sizes, strict=True)]
        if all(size == 1 for size in sizes):
            return b.reduce(whole, x, range(2, len(x.shape)), keep=True)
        need(all(n % size == 0 for n, size in zip(lengths, sizes, strict=True)), f"of {dims(lengths)} to {dims(sizes)}")
        kernel = pair([n // size for n, size in zip(lengths, sizes, strict=True)], len(x.shape))
        return b.pool(parts, x, kernel, kernel, (0, 0, 0, 0))

    return read


def reduce(kind: str) -> Operator:
    return lambda b, a, node: b.reduce(kind, a["self"], a.get("dim") or (), bool(a.get("keepdim")))


def pad(b: Builder, a: Arguments, node: fx.Node) -> Value:
    need(a.get("mode", "constant") == "constant", f"with mode {a.get('mode')}")
    x, pads = a["self"], a["pad"]
    before, after = [0] * len(x.shape), [0] * len(x.shape)
    for i in range(0, len(pads), 2):  # from the last axis on
        before[-1 - i // 2], after[-1 - i // 2] = pads[i], pads[i + 1]
    return b.pad(x, before, after, float(a["value"] or 0))


# ---------------------------------------------------------------- shapes


def reshape(b: Builder, a: Arguments, node: fx.Node) -> Value:
    return b.reshape(a["self"], made_shape(node))


def permute(b: Builder, a: Arguments, node: fx.Node) -> Value:
    rank = len(a["self"].shape)
    return b.transpose(a["self"], [axis % rank for axis in a["dims"]])


def transpose(b: Builder, a: Arguments, node: fx.Node) -> Value:
    order = list(range(len(a["self"].shape)))
    i, j = a.get("dim0", 0), a.get("dim1", 1)
    order[i], order[j] = order[j], order[i]
    return b.transpose(a["self"], order)


def concat(b: Builder, a: Arguments, node: fx.Node) -> Value:
    return b.concat(a["tensors"], a["dim"])


OPERATORS: dict[str, Operator] = {
    "aten.conv1d": conv,
    "aten.conv2d": conv,
    "aten.convolution": conv,
    "aten.linear": linear,
    "aten.addmm": addmm,
    "aten.mm": matmul,
    "aten.matmul": matmul,
    "aten.batch_norm": batch_norm,
    "aten._native_batch_norm_legit_no_training": batch_norm,
    "aten.add": elementwise("add"),
    "aten.sub": elementwise("sub"),
    "aten.rsub": reversed_sub,
    "aten.mul": elementwise("mul"),
    "aten.div": divide,
    "aten.neg": negate,
    "aten.relu": unary("relu"),
    "aten.relu6": unary("relu6"),
    "aten.sigmoid": unary("sigmoid"),
    "aten.hardtanh": clip("min_val", "max_val"),
    "aten.clamp": clip("min", "max"),
    "aten.clamp_min": clip("min", ""),
    "aten.clamp_max": clip("", "max"),
    "aten.softmax": softmax,
    "aten._softmax": softmax,
    "aten.log_softmax": softmax,
    "aten._log_softmax": softmax,
    "aten.dropout": same_value,
    "aten.feature_dropout": same_value,
    "aten.clone": same_value,
    "aten.contiguous": same_value,
    "aten.detach": same_value,
    "aten.alias": same_value,
    "aten.to": same_value,
    "aten._to_copy": same_value,
    "aten.max_pool1d": pool("maxpool"),
    "aten.max_pool2d": pool("maxpool"),
    "aten.max_pool2d_with_indices": pool("maxpool"),
    "aten.avg_pool1d": pool("meanpool"),
    "aten.avg_pool2d": pool("meanpool"),
    "aten.adaptive_avg_pool1d": adaptive_pool("mean", "meanpool"),
    "aten.adaptive_avg_pool2d": adaptive_pool("mean", "meanpool"),
    "aten.adaptive_max_pool2d": adaptive_pool("max", "maxpool"),
    "aten.mean": reduce("mean"),
    "aten.amax": reduce("max"),
    "aten.pad": pad,
    "aten.constant_pad_nd": pad,
    "aten.flatten": reshape,
    "aten.view": reshape,
    "aten._unsafe_view": reshape,
    "aten.reshape": reshape,
    "aten.squeeze": reshape,
    "aten.unsqueeze": reshape,
    "aten.unflatten": reshape,
    "aten.permute": permute,
    "aten.transpose": transpose,
    "aten.t": transpose,
    "aten.cat": concat,
}

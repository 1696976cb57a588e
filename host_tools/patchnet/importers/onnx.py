"""ONNX models, opset 7 and later, read with the package `onnx` into a `Graph`.

Real models, QDQ models (QuantizeLinear and DequantizeLinear around the operators) and those of integer operators
(QLinearConv and its like, which are read as what they are short for) give the same graphs: integers where the file
computes with integers. uint8 becomes int8 with a zero point that is 128 less; a file's uint8 inputs and outputs stay,
with a `quantize` beside them. The batch becomes 1. Whatever else a file has becomes an operator "other".

A broken file raises ValueError, a line that names it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ..words import some
from .builder import Builder, Foreign, Value
from .graph import Graph, Quantization
from .onnx_operators import FOLDS, OPERATORS
from .onnx_proto import FLOATS, Node, read_constant, text, type_name
from .packages import package

OLDEST = 7  # opset; additions before that say with an attribute how they broadcast
COPIES, ROOM = 8, 1 << 26  # bytes of constants that may be computed: so many times the file's, and so many
STANDARD = ("", "ai.onnx")  # names of the domain of ONNX' own operators


def read(path: str | Path) -> Graph:
    """The network in a file. ValueError, a line, where it is none, or where the package `onnx` is missing."""
    path, onnx, message = Path(path), package("onnx", ".onnx"), package("google.protobuf.message", ".onnx")
    data = path.read_bytes()
    try:
        model = onnx.ModelProto.FromString(data)
    except message.DecodeError as e:
        raise ValueError(f"{path}: not an ONNX model: {' '.join(str(e).split())}") from None
    if not model.graph.node:
        raise ValueError(f"{path}: not an ONNX model: it has no operators")
    try:
        with np.errstate(all="ignore"):  # what is infinite or no number in the file stays so
            return Reader(onnx, model, path).read()
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from None


class Reader:
    """One file's operators, from the first to the last; `values` are its tensors by name."""

    def __init__(self, onnx: Any, model: Any, path: Path):
        self.onnx, self.model, self.folder = onnx, model, path.parent
        self.builder = Builder(Graph(str(path), "onnx", [], [], (), ()))
        self.values: dict[str, Value] = {}
        self.batch = 1  # of the file's inputs
        self.opset = self.version()
        self.read_by = Counter(name for node in model.graph.node for name in node.input)
        self.read_by.update(output.name for output in model.graph.output)
        self.inferred: dict[str, tuple[tuple[int, ...], str]] | None = None

    def read(self) -> Graph:
        graph = self.model.graph
        for tensor in graph.initializer:
            self.values[tensor.name] = self.constant(tensor)
        held = (value.data.nbytes for value in self.values.values() if value.data is not None)
        self.builder.room = ROOM + COPIES * sum(held)
        for given in graph.input:
            if given.name not in self.values:
                self.values[given.name] = self.input(given)
        if not self.builder.graph.inputs:
            raise ValueError("no input")
        for index, node in enumerate(graph.node):
            self.operator(index, node)
        missing = [repr(text(output.name)) for output in graph.output if output.name not in self.values]
        if missing or not graph.output:
            raise ValueError(f"output {some(missing)}: nothing makes it" if missing else "no output")
        return self.builder.finish([self.output(given) for given in graph.output])

    def version(self) -> int:
        """Of the standard operators."""
        versions = [entry.version for entry in self.model.opset_import if entry.domain in STANDARD]
        if not versions or versions[0] < OLDEST:
            said = versions[0] if versions else "unknown"
            raise ValueError(f"opset {said}: wanted {OLDEST} or later (onnx.version_converter makes it so)")
        return versions[0]

    def constant(self, tensor: Any) -> Value:
        name = text(tensor.name)
        data = read_constant(tensor, name, self.folder)
        return self.builder.unknown(name, type_name(tensor.data_type)) if data is None else Value.of(data, name)

    def input(self, given: Any) -> Value:
        shape, dtype = declared(given)
        if not shape or any(length < 1 for length in shape[1:]) or not given.type.HasField("tensor_type"):
            said = "x".join(str(length) if length > 0 else "?" for length in shape) or "of unknown shape"
            fixed = "python -m onnxruntime.tools.make_dynamic_shape_fixed makes them so"
            raise ValueError(f"input {text(given.name)!r} is {said}: wanted numbers behind the batch ({fixed})")
        self.batch = max(self.batch, shape[0])
        dtype = "float32" if dtype in FLOATS else dtype
        return self.builder.input(text(given.name), (1, *shape[1:]), dtype)

    def output(self, given: Any) -> Value:
        """What the file calls so; in uint8, if that is what it has there."""
        value, builder = self.values[given.name], self.builder
        if value.data is not None:
            return value
        tensor = builder.tensor(value)
        if declared(given)[1] == "uint8" and tensor.dtype == "int8" and tensor.quantization:
            builder.name = text(given.name)
            there = Quantization(tensor.quantization.scale, tensor.quantization.zero + 128)
            return builder.emit("quantize", [value.place], value.shape, dtype="uint8", quantization=there)
        return value

    def operator(self, index: int, proto: Any) -> None:
        kind = text(proto.op_type)
        for name in proto.input:
            if name and name not in self.values:
                raise ValueError(f"op {index} {kind} reads {text(name)!r}, which nothing before it makes")
        inputs = [self.values[name] if name else None for name in proto.input]
        outputs = [name for name in proto.output if name]
        if not outputs:
            return
        self.builder.at(index, kind, text(outputs[0]))
        node = Node(proto, index, inputs, self.opset, self.folder)
        try:
            self.values[outputs[0]] = self.known(node)
            self.unread(outputs[1:])
        except Foreign as why:
            self.other(node, outputs, str(why))

    def unread(self, names: list[str]) -> None:
        """Masks, indices, statistics: for training."""
        read = [name for name in names if self.read_by[name]]
        if read:
            raise Foreign(f"with its output {text(read[0])!r}")

    def known(self, node: Node) -> Value:
        if node.domain not in STANDARD and not (node.domain == "com.microsoft" and node.type in OPERATORS):
            raise Foreign(f"of {node.domain}")
        given = [value for value in node.inputs if value is not None]
        if node.type in FOLDS and all(value.data is not None for value in given):
            made = Value.of(FOLDS[node.type](node), self.builder.name)
        elif node.type in OPERATORS:
            made = OPERATORS[node.type](self.builder, node, self.batch)
        else:
            raise Foreign("")
        if made.data is not None:
            self.builder.take(made.data)
        return made

    def other(self, node: Node, outputs: list[str], why: str) -> None:
        inputs = [value for value in node.inputs if value is not None]
        shapes = [self.shape_of(name) for name in outputs]
        self.values.update(zip(outputs, self.builder.other(inputs, shapes, why), strict=True))

    def shape_of(self, name: str) -> tuple[tuple[int, ...], str]:
        """What shape inference says of a tensor, () and float32 where it does not know."""
        if self.inferred is None:
            self.inferred = self.infer()
        shape, dtype = self.inferred.get(name, ((), "float32"))
        return (shape if all(length > 0 for length in shape) else ()), dtype

    def infer(self) -> dict[str, tuple[tuple[int, ...], str]]:
        for given in self.model.graph.input:
            if given.name not in {tensor.name for tensor in self.model.graph.initializer}:
                given.type.tensor_type.shape.dim[0].dim_value = 1
        for output in self.model.graph.output:
            output.type.tensor_type.ClearField("shape")
        del self.model.graph.value_info[:]
        try:
            graph = self.onnx.shape_inference.infer_shapes(self.model).graph
        except Exception:  # whatever the package makes of a file that contradicts itself
            return {}
        return {given.name: declared(given) for given in (*graph.value_info, *graph.output)}


def declared(given: Any) -> tuple[tuple[int, ...], str]:
    """A ValueInfoProto's shape, 0 where it is no number, and type."""
    tensor = given.type.tensor_type
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else 0 for dim in tensor.shape.dim)
    return shape, type_name(tensor.elem_type)

"""The original of an imported network in the interpreter that it was made for: what the import is compared with.

The logits are made an output of a copy of the file in memory, in place of what a final softmax or sigmoid makes of
them, so that they come the same from every kind of kernels.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from . import flatbuffer, onnx, tflite
from .graph import Graph, Tensor
from .packages import package

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Steps:
    """real = scale * (q - zero) for q of int8 (uint8 of a file less 128)."""

    scale: float
    zero: int

    def real(self, q: np.ndarray) -> np.ndarray:
        return self.scale * (q.astype(np.float64) - self.zero)

    def integers(self, x: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(x / self.scale) + self.zero, -128, 127).astype(np.int8)


@dataclass(frozen=True)
class Answer:
    """Of one input: logits as real numbers, float64, and as the integers that they are in the file, int8, if they are.
    The shape is the output's without the batch, channels last."""

    real: np.ndarray
    integers: np.ndarray | None


class Network(Protocol):
    """A file in its interpreter. `shape` and `dtype` of the input, without a batch and channels last; `first`: steps of
    the first integers, those of the input or of what quantizes it, and `last`, of the logits: None for real numbers.
    `ending`: what follows the logits in the file, "softmax", "sigmoid" or ""."""

    shape: Shape
    dtype: str
    first: Steps | None
    last: Steps | None
    ending: str

    def run(self, x: np.ndarray) -> np.ndarray:
        """Logits in the file's type of an input in the file's type."""
        ...


class Source:
    """A .tflite or .onnx file. `reference`: by the plain kernels that define the results (of ONNX: node by node)
    instead of the fast ones; the two disagree by a step now and then. Raises ValueError, one line, for a file that is
    broken, that the interpreter refuses, or that has not one input and one output, and if a package is missing."""

    def __init__(self, path: Path | str, reference: bool = False):
        ending = Path(path).suffix.lower()
        if ending not in OPENERS:
            raise ValueError(f"{path}: wanted a file that ends in {' or '.join(OPENERS)}")
        self.path = str(path)
        self.network: Network = OPENERS[ending](self.path, reference)

    @property
    def shape(self) -> Shape:
        """(h, w, c) of a picture."""
        return self.network.shape

    def run(self, x: np.ndarray) -> Answer:
        """`x` in `shape`, or flat where the file is flat or gives the map another one of as many values: real numbers,
        or int8 in the steps of the first integers (`network.first`)."""
        if x.size != math.prod(self.shape):
            raise ValueError(f"{self.path}: wanted an input of {self.shape}, got {x.shape}")
        y, last = self.network.run(self.given(x.reshape(self.shape))), self.network.last
        if last is None:
            return Answer(y.astype(np.float64), None)
        integers = signed(y)
        return Answer(last.real(integers), integers)

    def given(self, x: np.ndarray) -> np.ndarray:
        """The input in the file's type."""
        dtype, first = self.network.dtype, self.network.first
        if x.dtype.kind != "f" and x.dtype != np.int8:
            raise ValueError(f"{self.path}: wanted an input of real numbers or int8, got {x.dtype}")
        if x.dtype == np.int8 and first is None:
            raise ValueError(f"{self.path}: wanted real numbers, got int8, but the network has no integers")
        if dtype == "float32":
            return (x if first is None or x.dtype != np.int8 else first.real(x)).astype(np.float32)
        assert first is not None
        integers = x if x.dtype == np.int8 else first.integers(x)
        return integers if dtype == "int8" else (integers.astype(np.int16) + 128).astype(np.uint8)


def signed(q: np.ndarray) -> np.ndarray:
    """uint8 as int8."""
    return q if q.dtype == np.int8 else (q.astype(np.int16) - 128).astype(np.int8)


def logits(output: Any, maker: Callable[[Any], tuple[str, Any]]) -> tuple[Any, str]:
    """The tensor in front of a softmax or sigmoid that the output comes from, and which it is; else the output and "".
    Of integers that are made real, the integers. `maker`: the kind of what makes a tensor, and which it reads."""
    at, ending = output, ""
    while maker(at)[0] in ("reshape", "quantize", "dequantize", "identity"):
        at = maker(at)[1]
    if maker(at)[0] in ("softmax", "sigmoid"):
        ending, at = maker(at)
    else:
        at = output
    kind, before = maker(at)
    return (before if kind == "dequantize" else at), ending


def refused(path: str, error: Exception) -> ValueError:
    return ValueError(f"{path}: its interpreter refuses it: {' '.join(str(error).split())[:300]}")


# ---------------------------------------------------------------- TensorFlow Lite


class _TFLite:
    def __init__(self, path: str, reference: bool):
        interpreter = package("ai_edge_litert.interpreter", ".tflite")
        model = flatbuffer.read(path)
        graph = tflite.graph(model)
        given = graph.tensors[alone(path, graph.inputs, "input")]
        place, self.ending = logits(alone(path, graph.outputs, "output"), lambda i: maker_in(graph, i))
        self.shape, self.dtype = given.shape[1:], given.dtype
        self.first, self.last = steps(path, first_integers(graph)), steps(path, graph.tensors[place])
        self.wide = graph.tensors[place] if graph.tensors[place].dtype == "int16" else None
        kernels = interpreter.OpResolverType.BUILTIN_REF if reference else interpreter.OpResolverType.AUTO
        try:
            self.interpreter = interpreter.Interpreter(
                model_content=patched(model.data, place), experimental_op_resolver_type=kernels, num_threads=1
            )
            self.interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as e:
            raise refused(path, e) from None
        self.ends = graph.inputs[0], place

    def run(self, x: np.ndarray) -> np.ndarray:
        self.interpreter.set_tensor(self.ends[0], x[None])
        self.interpreter.invoke()
        y = self.interpreter.get_tensor(self.ends[1])[0]
        return y if self.wide is None else (self.wide.scale * (y.astype(np.float64) - self.wide.zero))


def alone(path: str, ends: tuple[int, ...], what: str) -> int:
    if len(ends) != 1:
        raise ValueError(f"{path}: wanted 1 {what}, got {len(ends)}")
    return ends[0]


def maker_in(graph: Graph, place: int) -> tuple[str, int]:
    op = graph.maker(place)
    return (op.kind, op.inputs[0]) if op is not None and op.inputs else ("", -1)


def first_integers(graph: Graph) -> Tensor:
    """The input, or what it is quantized to if it is real."""
    given = graph.tensors[graph.inputs[0]]
    users = graph.users(graph.inputs[0])
    if given.quantization is None and len(users) == 1 and users[0].kind == "quantize":
        return graph.tensors[users[0].outputs[0]]
    return given


def steps(path: str, tensor: Tensor) -> Steps | None:
    """None for real numbers, and for those that have 16 bits within the file."""
    if tensor.dtype == "float32" or (tensor.dtype == "int16" and tensor.quantization is not None):
        return None
    if tensor.dtype not in ("int8", "uint8") or tensor.quantization is None:
        raise ValueError(f"{path}: {tensor.name}: wanted int8, uint8 with a scale, or float32, got {tensor.dtype}")
    return Steps(tensor.scale, tensor.zero - (128 if tensor.dtype == "uint8" else 0))


def patched(data: bytes, output: int) -> bytes:
    """The file with another tensor as its output, and with axes of scales that TFLite accepts: of biases they are
    beyond the only axis in files of a time when it did not look."""
    file, schema = bytearray(data), package("tflite", ".tflite")
    graph = schema.Model.GetRootAs(file, 0).Subgraphs(0)
    graph.OutputsAsNumpy()[:] = output
    for i in range(graph.TensorsLength()):
        tensor = graph.Tensors(i)
        table = tensor.Quantization()
        if table is not None and table.QuantizedDimension() >= tensor.ShapeLength() > 0:
            field = table._tab.Offset(16)  # of the axis, in the schema
            struct.pack_into("<i", file, table._tab.Pos + field, 0)
    return bytes(file)


# ---------------------------------------------------------------- ONNX

KINDS = {
    "Softmax": "softmax", "LogSoftmax": "softmax", "QLinearSoftmax": "softmax", "Sigmoid": "sigmoid",
    "QLinearSigmoid": "sigmoid", "Reshape": "reshape", "Flatten": "reshape", "Squeeze": "reshape",
    "QuantizeLinear": "quantize", "DequantizeLinear": "dequantize", "Identity": "identity",
}  # fmt: skip
STEPS = ("QuantizeLinear", "DequantizeLinear")  # have the scale of both ends
READ_STEPS = (*STEPS, "QLinearSoftmax", "QLinearSigmoid")  # have that of input 0
CHANNELS_LAST = {4: (0, 2, 3, 1), 3: (0, 2, 1)}  # from channels first, by rank
CHANNELS_FIRST = {4: (0, 3, 1, 2), 3: (0, 2, 1)}


class _ONNX:
    """Maps in the file have their channels first, unless its reader says that the input has not."""

    def __init__(self, path: str, reference: bool):
        self.path, self.onnx = path, package("onnx", ".onnx")
        model = self.load()
        self.graph = model.graph
        self.makers = self.in_order()
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        given = [value for value in self.graph.input if value.name not in self.constants]
        if (len(given), len(self.graph.output)) != (1, 1):
            raise ValueError(f"{path}: wanted 1 input and 1 output, got {len(given)} and {len(self.graph.output)}")
        self.name, output = given[0].name, self.graph.output[0].name
        self.as_is = onnx.read(path).as_given
        self.shape = self.dimensions(given[0])
        self.dtype = self.type_of(given[0])
        self.first = self.steps_beside(self.name)
        if self.dtype == "uint8" and self.is_cast(self.name):
            self.first = Steps(1.0, -128)
        if self.dtype != "float32" and self.first is None:
            raise ValueError(f"{path}: input {self.name}: wanted a scale, got none")
        self.read_out, self.ending, self.turn = self.looked_at(output)
        self.last = self.steps_beside(self.read_out)
        if self.read_out != output:
            self.graph.output.append(self.onnx.ValueInfoProto(name=self.read_out))
        self.session = self.opened(model, reference)

    def load(self) -> Any:
        message = package("google.protobuf.message", ".onnx")
        try:
            return self.onnx.load(self.path)
        except message.DecodeError as e:
            raise ValueError(f"{self.path}: not an ONNX model: {' '.join(str(e).split())}") from None

    def in_order(self) -> dict[str, Any]:
        """Makers of tensors by their names. Each node comes behind those that it reads from, or ValueError."""
        later = {name for node in self.graph.node for name in node.output if name}
        made: dict[str, Any] = {}
        for node in self.graph.node:
            if later.intersection(node.input):
                raise ValueError(f"{self.path}: {node.op_type} reads {min(later.intersection(node.input))} too early")
            made |= {name: node for name in node.output}
            later.difference_update(node.output)
        return made

    def opened(self, model: Any, reference: bool) -> Any:
        runtime = package("onnxruntime", ".onnx")
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # errors
        options.intra_op_num_threads = 1
        if reference:
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            return runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as e:  # its errors have nothing else in common
            raise refused(self.path, e) from None

    def maker(self, name: str) -> tuple[str, str]:
        node = self.makers.get(name)
        return (KINDS.get(node.op_type, ""), node.input[0]) if node is not None and node.input else ("", "")

    def is_cast(self, name: str) -> bool:
        """Whether integers stand for themselves: turned at most, they are made real numbers."""
        while len(nodes := self.readers(name)) == 1 and nodes[0].op_type == "Transpose":
            name = nodes[0].output[0]
        return [node.op_type for node in nodes] == ["Cast"]

    def looked_at(self, output: str) -> tuple[str, str, list[int]]:
        """The logits, what follows them, and the order of their axes in which the file gives them back."""
        node = self.makers.get(output)
        if node is not None and node.op_type == "Transpose" and node.attribute:
            place, ending = logits(node.input[0], self.maker)
            if ending:
                return place, ending, list(node.attribute[0].ints)
        return *logits(output, self.maker), []

    def readers(self, name: str) -> list[Any]:
        return [node for node in self.graph.node if name in node.input]

    def dimensions(self, value: Any) -> Shape:
        """Without the batch, channels last."""
        shape = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        if len(shape) < 2 or min(shape[1:]) < 1:
            raise ValueError(f"{self.path}: input {value.name}: wanted a shape in numbers, got {shape}")
        order = range(len(shape)) if self.as_is else CHANNELS_LAST.get(len(shape), range(len(shape)))
        return tuple(shape[i] for i in order[1:])

    def type_of(self, value: Any) -> str:
        types = {
            self.onnx.TensorProto.FLOAT: "float32",
            self.onnx.TensorProto.INT8: "int8",
            self.onnx.TensorProto.UINT8: "uint8",
        }
        if value.type.tensor_type.elem_type not in types:
            raise ValueError(f"{self.path}: input {value.name}: wanted float32, int8 or uint8")
        return types[value.type.tensor_type.elem_type]

    def steps_beside(self, name: str) -> Steps | None:
        """Of 8-bit integers that this tensor is, or is at once made: by the scale of what quantizes it or makes it
        real. None for real numbers."""
        beside = [node for node in self.readers(name) if node.op_type in READ_STEPS]
        beside += [node for node in (self.makers.get(name),) if node is not None and node.op_type in STEPS]
        for node in beside:
            if len(node.input) > 1:
                scale = self.constant(node.input[1])
                zero = self.constant(node.input[2]) if len(node.input) > 2 else np.zeros((), np.uint8)
                if scale is not None and zero is not None and scale.size == 1 and zero.dtype in (np.int8, np.uint8):
                    return Steps(float(scale.ravel()[0]), int(zero.ravel()[0]) - 128 * (zero.dtype == np.uint8))
        return None

    def constant(self, name: str) -> np.ndarray | None:
        if name in self.constants:
            return self.onnx.numpy_helper.to_array(self.constants[name])
        node = self.makers.get(name)
        if node is not None and node.op_type == "Constant" and node.attribute[0].HasField("t"):
            return self.onnx.numpy_helper.to_array(node.attribute[0].t)
        return None

    def run(self, x: np.ndarray) -> np.ndarray:
        x = x[None]
        if not self.as_is:
            x = x.transpose(CHANNELS_FIRST.get(x.ndim, range(x.ndim)))
        (y,) = self.session.run([self.read_out], {self.name: np.ascontiguousarray(x)})
        y = y.transpose(self.turn) if self.turn else y
        return (y if self.as_is else y.transpose(CHANNELS_LAST.get(y.ndim, range(y.ndim))))[0]


OPENERS: dict[str, Callable[[str, bool], Network]] = {".tflite": _TFLite, ".onnx": _ONNX}

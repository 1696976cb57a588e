"""A .tflite file as plain records: what is in it, not what it means (that is `tflite`).

A .tflite file is a flatbuffer: tables that point to each other by offsets, which the classes of the package `tflite`
follow wherever they lead. Here is all that keeps a file that is damaged, or meant ill, from leading far:

* each field is read through `_File.get`, where an offset out of the file becomes an error that names the table;
* tables are read in loops of a fixed depth, never by following what they point to, and their number is bounded;
* what lies in the file is looked at in place. What is made from it counts, so that tables which share
  their bytes a thousand times cannot ask for a thousand times their memory.

Every error is a ValueError of one line that begins with the file's name.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from .graph import Quantization, Tensor
from .packages import package

IDENTIFIER = b"TFL3"
MOST_BYTES = 1 << 28  # of a file
MOST_TABLES = 1 << 14  # tensors, buffers, operators, each
MOST_ENDS = 1 << 10  # tensors that an operator reads or makes
MOST_AXES = 8
MOST_LETTERS = 120  # of a name
MOST_ELEMENTS = (1 << 31) - 1  # of a tensor
COPIES = 16  # how many times the file's size may be made of it

# Types of tensors whose constants are read. All others are known by their name.
FLOATS = {"float64", "float32", "float16"}
INTEGERS = {"int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"}
NUMPY = FLOATS | INTEGERS | {"bool"}

# Options of operators that mean something to `tflite`: the table's name and its fields.
_WINDOW = ("Padding", "StrideH", "StrideW", "FusedActivationFunction")
OPTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "CONV_2D": ("Conv2DOptions", (*_WINDOW, "DilationHFactor", "DilationWFactor")),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", (*_WINDOW, "DilationHFactor", "DilationWFactor")),
    "AVERAGE_POOL_2D": ("Pool2DOptions", (*_WINDOW, "FilterHeight", "FilterWidth")),
    "MAX_POOL_2D": ("Pool2DOptions", (*_WINDOW, "FilterHeight", "FilterWidth")),
    "FULLY_CONNECTED": ("FullyConnectedOptions", ("FusedActivationFunction", "WeightsFormat", "KeepNumDims")),
    "ADD": ("AddOptions", ("FusedActivationFunction",)),
    "SUB": ("SubOptions", ("FusedActivationFunction",)),
    "MUL": ("MulOptions", ("FusedActivationFunction",)),
    "DIV": ("DivOptions", ("FusedActivationFunction",)),
    "MEAN": ("ReducerOptions", ("KeepDims",)),
    "SUM": ("ReducerOptions", ("KeepDims",)),
    "REDUCE_MAX": ("ReducerOptions", ("KeepDims",)),
    "REDUCE_PROD": ("ReducerOptions", ("KeepDims",)),
    "CONCATENATION": ("ConcatenationOptions", ("Axis", "FusedActivationFunction")),
    "GATHER": ("GatherOptions", ("Axis", "BatchDims")),
    "PACK": ("PackOptions", ("Axis",)),
    "STRIDED_SLICE": ("StridedSliceOptions", ("BeginMask", "EndMask", "NewAxisMask", "ShrinkAxisMask")),
    "SOFTMAX": ("SoftmaxOptions", ("Beta",)),
}
# Of these fields the options have the names.
ENUMERATIONS = {
    "Padding": "Padding",
    "FusedActivationFunction": "ActivationFunctionType",
    "WeightsFormat": "FullyConnectedOptionsWeightsFormat",
}


@dataclass(frozen=True)
class Operator:
    """`name` as TFLite calls it, of a custom one "CUSTOM:" and its own; places of tensors, -1 for one that is left out;
    `options` by the names of the schema's fields (OPTIONS)."""

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """The first subgraph. Constants have `data` as it lies in the file, read-only; those which have none for a reason
    (`sparse`, `int4`) are in `withheld`, by place. `states`: variables, which operators read before any makes them.
    `open`: shapes of which some lengths are any (-1), where the tensor's own says 1 or what was guessed, by place.
    `copied` is called with a number of bytes before so many are made, and may refuse (ValueError)."""

    source: str
    data: bytes
    tensors: list[Tensor]
    withheld: dict[int, str]
    states: set[int]
    open: dict[int, tuple[int, ...]]
    operators: list[Operator]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    copied: Callable[[int], None]


def read(path: Path | str) -> Model:
    """Raises ValueError for what is no model or is damaged, OSError for what cannot be read."""
    with open(path, "rb") as f:
        data = f.read(MOST_BYTES + 1)
    return parse(str(path), data)


def parse(source: str, data: bytes) -> Model:
    """As `read`, of the file's bytes; `source` names it in messages."""
    return _File(source, data).model()


@cache
def names(enumeration: str) -> dict[int, str]:
    """Of an enumeration of TFLite's schema: number -> name."""
    values = vars(getattr(package("tflite", ".tflite"), enumeration))
    return {value: name for name, value in values.items() if isinstance(value, int)}


def shown(text: bytes) -> str:
    """Text of a file, fit for one line of a message."""
    return "".join(c if c.isprintable() else "?" for c in text.decode("utf-8", "replace")[:MOST_LETTERS])


class _File:
    def __init__(self, source: str, data: bytes):
        self.source, self.data = source, data
        self.schema = package("tflite", ".tflite")
        self.at = "the model"  # what is being read
        self.left = COPIES * len(data) + (1 << 16)
        if len(data) > MOST_BYTES:
            self.fail(f"wanted at most {MOST_BYTES:,} bytes")
        if data[4:8] != IDENTIFIER:
            got = f"got {data[4:8]!r}" if len(data) >= 8 else f"the file has {len(data)} bytes"
            self.fail(f"not a TFLite model: wanted {IDENTIFIER!r} at byte 4, {got}")

    def fail(self, text: str) -> NoReturn:
        raise ValueError(f"{self.source}: {text}")

    # ------------------------------------------------------------ the one way into the flatbuffer

    def get(self, table: Any, field: str, *args: Any) -> Any:
        """A field of a table, as the package's classes give it."""
        try:
            return getattr(table, field)(*args)
        except (struct.error, TypeError, ValueError, IndexError, OverflowError):
            self.fail(f"cut off, or damaged: {field} of {self.at} lies outside of the {len(self.data):,} bytes")

    def copied(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            self.fail(f"damaged: up to {self.at} it holds more than {COPIES} times its {len(self.data):,} bytes")

    def tables(self, table: Any, field: str) -> Iterator[Any]:
        count = self.get(table, f"{field}Length")
        if count > MOST_TABLES:
            self.fail(f"damaged, or too large: wanted at most {MOST_TABLES:,} {field}, got {count:,}")
        for i in range(count):
            yield self.get(table, field, i)

    def vector(self, table: Any, field: str) -> np.ndarray:
        """Numbers, in place."""
        if not self.get(table, f"{field}Length"):
            return np.empty(0, np.int32)
        return self.get(table, f"{field}AsNumpy")

    def numbers(self, table: Any, field: str, most: int) -> tuple[int, ...]:
        values = self.vector(table, field)
        if len(values) > most:
            self.fail(f"damaged: {field} of {self.at}: wanted at most {most:,}, got {len(values):,}")
        self.copied(8 * len(values))
        return tuple(int(v) for v in values)

    def text(self, table: Any, field: str) -> str:
        text = self.get(table, field) or b""
        self.copied(len(text))
        return shown(text)

    def name_of(self, enumeration: str, value: int, field: str) -> str:
        if value not in names(enumeration):
            self.fail(f"damaged: {field} of {self.at}: wanted a {enumeration}, got {value}")
        return names(enumeration)[value]

    # ------------------------------------------------------------ records

    def model(self) -> Model:
        model = self.get(self.schema.Model, "GetRootAs", self.data, 0)
        buffers = list(self.tables(model, "Buffers"))
        kinds = [self.kind(i, code) for i, code in enumerate(self.tables(model, "OperatorCodes"))]
        graph = next(self.tables(model, "Subgraphs"), None)
        if graph is None:
            self.fail("not a TFLite model: wanted a subgraph, got none")
        tensors, withheld, states, open_ = [], {}, set(), {}
        for i, table in enumerate(self.tables(graph, "Tensors")):
            self.at = f"tensor {i}"
            tensor, why = self.tensor(table, buffers)
            tensors.append(tensor)
            if why:
                withheld[i] = why
            if self.get(table, "IsVariable"):
                states.add(i)
            said = self.numbers(table, "ShapeSignature", MOST_AXES)
            if min(said, default=0) < 0 and len(said) == len(tensor.shape):
                open_[i] = said
        operators = [self.operator(i, op, kinds, len(tensors)) for i, op in enumerate(self.tables(graph, "Operators"))]
        self.at = "the model"
        inputs, outputs = (self.places(graph, name, 0, len(tensors)) for name in ("Inputs", "Outputs"))
        if not inputs or not outputs:
            self.fail(f"wanted inputs and outputs, got {len(inputs)} and {len(outputs)}")
        return Model(self.source, self.data, tensors, withheld, states, open_, operators, inputs, outputs, self.copied)

    def kind(self, index: int, code: Any) -> str:
        """The name of an operator. A code beyond 126 is in a field of its own, which older files do not have."""
        self.at = f"operator code {index}"
        number = max(self.get(code, "BuiltinCode"), self.get(code, "DeprecatedBuiltinCode"))
        name = names("BuiltinOperator").get(number, f"OPERATOR {number}")
        return f"CUSTOM:{self.text(code, 'CustomCode')}" if name == "CUSTOM" else name

    def tensor(self, table: Any, buffers: list[Any]) -> tuple[Tensor, str]:
        """And why a constant has no data, "" where that is not so."""
        name = self.text(table, "Name")
        self.at += f" {name}"
        shape = tuple(1 if n == -1 else n for n in self.numbers(table, "Shape", MOST_AXES))  # -1: any; a batch of one
        if min(shape, default=0) < 0 or prod(max(n, 1) for n in shape) > MOST_ELEMENTS:
            self.fail(f"damaged: {self.at}: wanted a shape, got {shape}")
        dtype = self.name_of("TensorType", self.get(table, "Type"), "Type").lower()
        data = self.content(table, buffers)
        if self.get(table, "Sparsity") is not None or (len(data) and dtype not in NUMPY):
            return Tensor(name, shape, dtype), "sparse" if dtype in NUMPY else dtype
        tensor = Tensor(name, shape, dtype, self.quantization(table, shape, dtype))
        if len(data) or (prod(shape) == 0 and dtype in NUMPY):
            tensor.data = self.array(data, shape, dtype)
        elif tensor.quantization and not tensor.quantization.scale.all():
            self.fail(f"damaged: {self.at}: wanted a scale above 0, got 0")
        return tensor, ""

    def content(self, table: Any, buffers: list[Any]) -> np.ndarray:
        """The bytes of a constant, in place; none of what is no constant."""
        index = self.get(table, "Buffer")
        if index >= len(buffers):
            self.fail(f"damaged: {self.at}: wanted one of {len(buffers)} buffers, got {index}")
        start, size = self.get(buffers[index], "Offset"), self.get(buffers[index], "Size")
        if start > 1:  # bytes behind the flatbuffer, of large models
            if start + size > len(self.data):
                self.fail(f"cut off, or damaged: {self.at} ends at byte {start + size:,} of {len(self.data):,}")
            return np.frombuffer(self.data, np.uint8, size, start)
        return self.vector(buffers[index], "Data")

    def array(self, data: np.ndarray, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        wanted = prod(shape) * np.dtype(dtype).itemsize
        if len(data) != wanted:
            self.fail(f"damaged: {self.at}: {dtype} of shape {shape}: wanted {wanted:,} bytes, got {len(data):,}")
        return data.view(np.dtype(dtype).newbyteorder("<")).reshape(shape)

    def quantization(self, table: Any, shape: tuple[int, ...], dtype: str) -> Quantization | None:
        """None for real numbers, for integers that stand for themselves, and for a range alone. A bias has one axis,
        whichever the file says."""
        table = self.get(table, "Quantization")
        if table is None or dtype not in INTEGERS or not self.get(table, "ScaleLength"):
            return None
        scale, zero = self.vector(table, "Scale"), self.vector(table, "ZeroPoint")
        axis = self.get(table, "QuantizedDimension") if len(scale) > 1 and len(shape) > 1 else 0
        if len(scale) > 1 and not (0 <= axis < len(shape) and shape[axis] == len(scale)):
            self.fail(f"damaged: {self.at}: {len(scale):,} scales along axis {axis} of shape {shape}")
        if len(zero) != len(scale):
            self.fail(f"damaged: {self.at}: wanted {len(scale):,} zero points, got {len(zero):,}")
        self.copied(16 * len(scale))
        if not (np.isfinite(scale).all() and (scale >= 0).all()):
            self.fail(f"damaged: {self.at}: wanted scales that are positive numbers, got {scale.min()}..{scale.max()}")
        range_ = np.iinfo(dtype)
        if zero.min() < range_.min or zero.max() > range_.max:
            self.fail(f"damaged: {self.at}: wanted zero points of {dtype}, got {zero.min()}..{zero.max()}")
        return Quantization(scale.astype(np.float64), zero.astype(np.int64), axis)

    def places(self, table: Any, field: str, least: int, tensors: int) -> tuple[int, ...]:
        found = self.numbers(table, field, MOST_ENDS)
        wrong = [i for i in found if not least <= i < tensors]
        if wrong:
            self.fail(f"damaged: {field} of {self.at}: wanted one of {tensors} tensors, got {wrong[0]}")
        return found

    def operator(self, index: int, table: Any, kinds: list[str], tensors: int) -> Operator:
        self.at = f"op {index}"
        code = self.get(table, "OpcodeIndex")
        if code >= len(kinds):
            self.fail(f"damaged: {self.at}: wanted one of {len(kinds)} operator codes, got {code}")
        self.at += f" {kinds[code]}"
        ends = self.places(table, "Inputs", -1, tensors), self.places(table, "Outputs", 0, tensors)
        return Operator(index, kinds[code], *ends, self.options(table, kinds[code]))

    def options(self, table: Any, name: str) -> dict[str, Any]:
        """Those that mean something to `tflite`. Where there are none, or another's, all are 0 as in TFLite."""
        if name not in OPTIONS:
            return {}
        kind, fields = OPTIONS[name]
        values: dict[str, Any] = dict.fromkeys(fields, 0)
        found = self.get(table, "BuiltinOptions")
        if found is not None and self.get(table, "BuiltinOptionsType") == getattr(self.schema.BuiltinOptions, kind):
            options = getattr(self.schema, kind)()
            self.get(options, "Init", found.Bytes, found.Pos)
            values = {name: self.get(options, name) for name in fields}
        for name in ENUMERATIONS.keys() & values.keys():
            values[name] = self.name_of(ENUMERATIONS[name], values[name], name)
        return values

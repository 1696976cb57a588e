"""What an ONNX file says, compared with the bytes that are there before anything is made of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np

from .builder import Foreign, Value, dims, need
from .fold import real_values
from .graph import Pair, Quantization

FLOATS = ("float16", "bfloat16", "float32", "float64")
TYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64", 12: "uint32", 13: "uint64", 16: "bfloat16",
}  # fmt: skip
FIELDS = {"float32": "float_data", "float64": "double_data", "int64": "int64_data", "uint32": "uint64_data",
          "uint64": "uint64_data"}  # fmt: skip
NARROW = "int32_data"  # the field of all narrower types, float16 and bfloat16 among them, as bits
EXTERNAL = 1  # TensorProto.data_location
FLOAT, INT, STRING, TENSOR, FLOAT_LIST, INT_LIST = 1, 2, 3, 4, 6, 7  # AttributeProto.type


def text(name: str | bytes) -> str:
    """A name; the package gives bytes where a broken file has no UTF-8."""
    return name if isinstance(name, str) else name.decode(errors="replace")


def type_name(number: int) -> str:
    return TYPES.get(number, f"type {number}")


def read_constant(tensor: Any, name: str, folder: Path) -> np.ndarray | None:
    """A TensorProto's numbers, floats of whatever width as float32; None for types that this knows nothing of."""
    shape, dtype = tuple(tensor.dims), TYPES.get(tensor.data_type)
    if dtype is None:
        return None
    if any(length < 0 for length in shape):
        raise ValueError(f"constant {name!r}: shape {dims(shape)}")
    stored = np.dtype("uint16" if dtype == "bfloat16" else dtype).newbyteorder("<")
    count = math.prod(shape)
    if tensor.data_location == EXTERNAL:
        data = np.frombuffer(read_external(tensor, name, count * stored.itemsize, folder), stored)
    elif tensor.HasField("raw_data"):
        if len(tensor.raw_data) != count * stored.itemsize:
            raise ValueError(f"constant {name!r}: {len(tensor.raw_data)} bytes for {dims(shape)} of {dtype}")
        data = np.frombuffer(tensor.raw_data, stored)
    else:
        data = typed_numbers(tensor, name, dtype, count).astype(stored)
    return floats_as_one(data.reshape(shape), dtype)


def typed_numbers(tensor: Any, name: str, dtype: str, count: int) -> np.ndarray:
    """Numbers that the file has one by one."""
    field = FIELDS.get(dtype, NARROW)
    numbers = getattr(tensor, field)
    if len(numbers) != count:
        raise ValueError(f"constant {name!r}: {len(numbers)} numbers for {dims(tensor.dims)}")
    if field != NARROW:
        return np.array(numbers, "uint64" if field == "uint64_data" else "float64" if "float" in dtype else dtype)
    narrow = np.array(numbers, np.int32)
    if dtype in ("float16", "bfloat16"):
        bits = narrow.astype(np.uint16)
        return bits.view(np.float16) if dtype == "float16" else bits
    return narrow


def floats_as_one(data: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "bfloat16":
        return (data.astype(np.uint32) << 16).view(np.float32)
    return data.astype(np.float32 if dtype in FLOATS else dtype)


def read_external(tensor: Any, name: str, size: int, folder: Path) -> bytes:
    """The bytes of a constant that lie in a file beside the model."""
    said = {entry.key: entry.value for entry in tensor.external_data}
    location = said.get("location", "")
    try:
        offset, length = int(said.get("offset", 0)), int(said.get("length", size))
    except ValueError:
        raise ValueError(f"constant {name!r}: offset and length of {location!r} are no numbers") from None
    try:
        path = (folder / location).resolve()
        inside = path.is_relative_to(folder.resolve()) and path.is_file()
        there = path.stat().st_size if inside else 0
    except (OSError, ValueError):
        inside = there = 0
    if not inside:
        raise ValueError(f"constant {name!r}: its data {location!r} is no file in the model's folder")
    if offset < 0 or length != size or size > there or offset > there - size:
        raise ValueError(f"constant {name!r}: wanted {size} bytes, {location!r} has {length} at {offset} of {there}")
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


class Node:
    """An operator of the file: its inputs as values, its attributes by type, with defaults."""

    def __init__(self, proto: Any, index: int, inputs: list[Value | None], opset: int, folder: Path):
        self.index, self.type, self.domain = index, text(proto.op_type), text(proto.domain)
        self.inputs, self.opset, self.folder = inputs, opset, folder
        self.outputs = list(proto.output)
        self.attributes = {attribute.name: attribute for attribute in proto.attribute}

    def on(self, inputs: list[Value | None]) -> Node:
        """The same operator on other inputs."""
        other = copy(self)
        other.inputs = inputs
        return other

    def __len__(self) -> int:
        return len(self.inputs)

    def has(self, i: int) -> bool:
        return i < len(self.inputs) and self.inputs[i] is not None

    def input(self, i: int) -> Value:
        """An input that must be there."""
        value = self.inputs[i] if i < len(self.inputs) else None
        if value is None:
            raise Foreign(f"without input {i}")
        return value

    def optional(self, i: int) -> Value | None:
        return self.inputs[i] if i < len(self.inputs) else None

    def constant(self, i: int) -> np.ndarray:
        """The real numbers or integers of an input that must be a constant."""
        value = self.input(i)
        need(value.data is not None, f"with an input {i} that is no constant")
        return plain(value)

    def numbers(self, i: int) -> list[int]:
        """An input of integers."""
        data = self.constant(i)
        need(data.ndim <= 1 and data.dtype.kind in "iu", f"with an input {i} that is no list of integers")
        return [int(v) for v in data.reshape(-1)]

    def scalar(self, i: int, default: float) -> float:
        """An input of one number, if it is there."""
        if not self.has(i):
            return default
        data = self.constant(i)
        need(data.size == 1 and data.dtype.kind in "fiu", f"with an input {i} that is no number")
        return float(data.reshape(-1)[0])

    def attribute(self, name: str, kind: int, field: str, default: Any) -> Any:
        if name not in self.attributes:
            return default
        attribute = self.attributes[name]
        need(attribute.type == kind, f"with an attribute {name} of another type")
        return getattr(attribute, field)

    def integer(self, name: str, default: int = 0) -> int:
        return self.attribute(name, INT, "i", default)

    def real(self, name: str, default: float) -> float:
        return self.attribute(name, FLOAT, "f", default)

    def text(self, name: str, default: str) -> str:
        return text(self.attribute(name, STRING, "s", default))

    def ints(self, name: str, default: Sequence[int] | None = None) -> list[int] | None:
        values = self.attribute(name, INT_LIST, "ints", default)
        return None if values is None else list(values)

    def tensor(self, name: str) -> np.ndarray | None:
        attribute = self.attribute(name, TENSOR, "t", None)
        return None if attribute is None else read_constant(attribute, self.type, self.folder)

    def axes(self, i: int, since: int) -> list[int] | None:
        """Axes that are input `i` since an opset and were an attribute before."""
        if self.opset >= since:
            return self.numbers(i) if self.has(i) else None
        return self.ints("axes")

    def spatial(self, name: str, rank: int, default: int | None = None) -> Pair:
        """An attribute for rows and columns, of which a map of rank 3 has rows alone."""
        values = self.ints(name, None if default is None else [default] * (rank - 2))
        need(values is not None and len(values) == rank - 2 and rank in (3, 4), f"with {name} {values}")
        assert values is not None
        return (values[0], values[1]) if rank == 4 else (values[0], 1)


def plain(value: Value) -> np.ndarray:
    """A constant's numbers: real ones, where they are quantized."""
    assert value.data is not None
    if value.quantization is None:
        return value.data
    return real_values(value.data, value.quantization).astype(np.float32)


def steps(scale: np.ndarray, zero: np.ndarray | None, axis: int) -> Quantization:
    """Scale and zero point, one or a vector of each."""
    need(scale.dtype.kind == "f" and scale.ndim <= 1 and scale.size >= 1, f"with a scale of shape {scale.shape}")
    need(bool((np.isfinite(scale) & (scale > 0)).all()), "with a scale that is not positive")
    zeros = np.zeros(scale.size, np.int64) if zero is None else zero.astype(np.int64).reshape(-1)
    need(zeros.size == scale.size, f"with {scale.size} scales and {zeros.size} zero points")
    return Quantization(scale.reshape(-1).astype(np.float64), zeros, axis)

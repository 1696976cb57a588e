"""Small .tflite files, written with the package `tflite`; and the real ones, where there are some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
import tflite

# Beside the checkout, or beside what that lies in.
BESIDE = [path / "shared" / "models" for path in Path(__file__).resolve().parents[2:4]]
REAL = next((path for path in BESIDE if path.is_dir()), BESIDE[0])
SAME, VALID = 0, 1
RELU, RELU6 = 1, 3


def real_files() -> list[Path]:
    """Networks of other people, if they lie beside the checkout."""
    return sorted(REAL.glob("*.tflite"))


def real_file(name: str) -> Path:
    if not (REAL / name).is_file():
        pytest.skip(f"{name} is not beside the checkout")
    return REAL / name


class Writer:
    """Tensors and operators of one subgraph, in order. Methods give places; `built` the file."""

    def __init__(self) -> None:
        self.b = flatbuffers.Builder(4096)
        self.codes: list[tuple[int, str]] = []
        self.tensors: list[int] = []
        self.buffers = [self.table("Buffer")]
        self.operators: list[int] = []

    def table(self, name: str, **fields: int | float | bool) -> int:
        """A table of the schema; vectors, strings and tables in it are given by their offsets."""
        getattr(tflite, f"{name}Start")(self.b)
        for field, value in fields.items():
            getattr(tflite, f"{name}Add{field}")(self.b, value)
        return getattr(tflite, f"{name}End")(self.b)

    def offsets(self, values: list[int]) -> int:
        self.b.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.b.PrependUOffsetTRelative(value)
        return self.b.EndVector()

    def numbers(self, values: Any, dtype: str) -> int:
        return self.b.CreateNumpyVector(np.asarray(values, dtype))

    def tensor(
        self, name: str, shape: tuple[int, ...], dtype: str = "int8", scale: Any = None, zero: Any = 0, axis: int = 0,
        data: np.ndarray | None = None, **fields: int,
    ) -> int:  # fmt: skip
        if data is not None:
            self.b.Prep(16, data.nbytes)  # TFLite wants its constants aligned
            self.buffers.append(self.table("Buffer", Data=self.numbers(np.ravel(data).view(np.uint8), "u1")))
        if scale is not None:
            scale = np.atleast_1d(scale)
            zero = np.broadcast_to(zero, scale.shape)
            steps = {"Scale": self.numbers(scale, "f4"), "ZeroPoint": self.numbers(zero, "i8")}
            fields["Quantization"] = self.table("QuantizationParameters", **steps, QuantizedDimension=axis)
        own = {"Name": self.b.CreateString(name), "Shape": self.numbers(shape, "i4")}
        own["Type"] = getattr(tflite.TensorType, dtype.upper())
        own["Buffer"] = len(self.buffers) - 1 if data is not None else 0
        self.tensors.append(self.table("Tensor", **(own | fields)))
        return len(self.tensors) - 1

    def constant(self, name: str, data: Any, dtype: str = "int32", **rest: Any) -> int:
        data = np.asarray(data, dtype)
        return self.tensor(name, data.shape, dtype, data=data, **rest)

    def op(self, name: str, inputs: list[int], outputs: list[int], options: str = "", **values: Any) -> None:
        """`name` as TFLite calls it, "CUSTOM:" and its own name of a custom one."""
        builtin, _, custom = name.partition(":")
        code = (getattr(tflite.BuiltinOperator, builtin), custom)
        if code not in self.codes:
            self.codes.append(code)
        fields = {"Inputs": self.numbers(inputs, "i4"), "Outputs": self.numbers(outputs, "i4")}
        if options:
            fields["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, options)
            fields["BuiltinOptions"] = self.table(options, **values)
        self.operators.append(self.table("Operator", OpcodeIndex=self.codes.index(code), **fields))

    def built(self, inputs: list[int], outputs: list[int], subgraphs: int = 1) -> bytes:
        codes = [
            self.table(
                "OperatorCode", BuiltinCode=code, DeprecatedBuiltinCode=min(code, 127),
                **({"CustomCode": self.b.CreateString(custom)} if custom else {}),
            )
            for code, custom in self.codes
        ]  # fmt: skip
        graph = {"Tensors": self.offsets(self.tensors), "Operators": self.offsets(self.operators)}
        graph |= {"Inputs": self.numbers(inputs, "i4"), "Outputs": self.numbers(outputs, "i4")}
        model = {"Subgraphs": self.offsets([self.table("SubGraph", **graph)] * subgraphs)}
        model |= {"OperatorCodes": self.offsets(codes), "Buffers": self.offsets(self.buffers)}
        self.b.Finish(self.table("Model", Version=3, **model), b"TFL3")
        return bytes(self.b.Output())


def small(rng: np.random.Generator, step: float = 0.04) -> bytes:
    """A picture of 8x8x3 to three classes: conv, depthwise, pool, reshape by way of SHAPE, dense, softmax; int8.
    `step`: scale behind the depthwise convolution; with more than 6 / 255 its ReLU6 clamps inside of the range."""

    def weight(*shape: int) -> np.ndarray:
        return rng.integers(-127, 128, shape).astype(np.int8)

    def scales(n: int) -> np.ndarray:
        return rng.uniform(0.005, 0.01, n)

    def bias(n: int) -> np.ndarray:
        return rng.integers(-500, 500, n)

    w = Writer()
    x = w.tensor("picture", (1, 8, 8, 3), scale=1 / 64, zero=-5)
    k = w.constant("conv/w", weight(4, 3, 3, 3), "int8", scale=scales(4))
    b = w.constant("conv/b", bias(4), scale=scales(4) / 64)
    y = w.tensor("conv", (1, 4, 4, 4), scale=0.03, zero=-128)
    w.op("CONV_2D", [x, k, b], [y], "Conv2DOptions", StrideH=2, StrideW=2, FusedActivationFunction=RELU)
    k = w.constant("depthwise/w", weight(1, 3, 3, 4), "int8", scale=scales(4), axis=3)
    b = w.constant("depthwise/b", bias(4), scale=scales(4) * 0.03, axis=3)
    z = w.tensor("depthwise", (1, 4, 4, 4), scale=step, zero=-128)
    w.op(
        "DEPTHWISE_CONV_2D", [y, k, b], [z], "DepthwiseConv2DOptions", StrideH=1, StrideW=1, DepthMultiplier=1,
        FusedActivationFunction=RELU6,
    )  # fmt: skip
    p = w.tensor("pool", (1, 2, 2, 4), scale=step, zero=-128)
    window = {"StrideH": 2, "StrideW": 2, "FilterHeight": 2, "FilterWidth": 2, "Padding": VALID}
    w.op("AVERAGE_POOL_2D", [z], [p], "Pool2DOptions", **window)
    flat = flattened(w, p, (1, 16), scale=step, zero=-128)
    k = w.constant("dense/w", weight(3, 16), "int8", scale=0.01)
    b = w.constant("dense/b", bias(3), scale=0.01 * step)
    logits = w.tensor("logits", (1, 3), scale=0.1, zero=3)
    w.op("FULLY_CONNECTED", [flat, k, b], [logits], "FullyConnectedOptions")
    out = w.tensor("scores", (1, 3), scale=1 / 256, zero=-128)
    w.op("SOFTMAX", [logits], [out], "SoftmaxOptions", Beta=1.0)
    return w.built([x], [out])


def flattened(w: Writer, x: int, shape: tuple[int, int], **quantization: Any) -> int:
    """As Keras's Flatten of a batch of any size: the batch out of SHAPE, packed into a shape."""
    whole, packed = w.tensor("whole", (4,), "int32"), w.tensor("packed", (2,), "int32")
    batch = w.tensor("batch", (), "int32")
    w.op("SHAPE", [x], [whole], "ShapeOptions", OutType=tflite.TensorType.INT32)
    cut = [w.constant(name, [n]) for name, n in (("from", 0), ("to", 1), ("step", 1))]
    w.op("STRIDED_SLICE", [whole, *cut], [batch], "StridedSliceOptions", ShrinkAxisMask=1)
    w.op("PACK", [batch, w.constant("rest", shape[1])], [packed], "PackOptions", ValuesCount=2)
    flat = w.tensor("flat", shape, **quantization)
    w.op("RESHAPE", [x, packed], [flat], "ReshapeOptions")
    return flat

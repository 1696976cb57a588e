"""Small ONNX models with random weights, written operator by operator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

IR = {7: 3, 8: 3, 9: 4, 10: 5, 11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10}


class Model:
    """A model that grows: every method names the tensor that its operator makes. `x` is the input."""

    def __init__(self, shape: tuple, seed: int = 0, opset: int = 13, dtype: int = TensorProto.FLOAT):
        self.rng, self.opset = np.random.default_rng(seed), opset
        self.nodes: list = []
        self.constants: list = []
        self.inputs = [helper.make_tensor_value_info("x", dtype, shape)]
        self.shape = tuple(1 if isinstance(length, str) else length for length in shape)

    def add(self, kind: str, *inputs: str, domain: str = "", **attributes) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        attributes = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def constant(self, value, dtype=np.float32) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def weights(self, *shape: int, scale: float = 0.5) -> str:
        return self.constant(self.rng.normal(0, scale, shape))

    def conv(self, x: str, cin: int, cout: int, *kernel: int, groups: int = 1, bias: bool = True, **attributes) -> str:
        scale = (cin // groups * np.prod(kernel)) ** -0.5
        inputs = [x, self.weights(cout, cin // groups, *kernel, scale=float(scale))]
        return self.add("Conv", *inputs, *([self.weights(cout)] if bias else []), group=groups, **attributes)

    def norm(self, x: str, channels: int) -> str:
        mean, gain, shift = (self.weights(channels) for _ in range(3))
        variance = self.constant(self.rng.uniform(0.5, 2, channels))
        return self.add("BatchNormalization", x, gain, shift, mean, variance)

    def clip(self, x: str, low: float, high: float) -> str:
        if self.opset < 11:
            return self.add("Clip", x, min=float(low), max=float(high))
        return self.add("Clip", x, self.constant(low), self.constant(high))

    def pool(self, kind: str, x: str, *kernel: int, **attributes) -> str:
        return self.add(kind, x, kernel_shape=kernel, **attributes)

    def pad(self, x: str, *pads: int, **attributes) -> str:
        return self.add("Pad", x, self.constant(pads, np.int64), **attributes)

    def mean(self, x: str, *axes: int, keep: int = 1) -> str:
        if self.opset < 18:
            return self.add("ReduceMean", x, axes=axes, keepdims=keep)
        return self.add("ReduceMean", x, self.constant(axes, np.int64), keepdims=keep)

    def proto(self, *outputs: str, dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
        made = [helper.make_tensor_value_info(name, dtype, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "network", self.inputs, made, self.constants)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR[self.opset])

    def save(self, path: Path, *outputs: str) -> Path:
        onnx.save(self.proto(*outputs), path)
        return path

    def picture(self) -> np.ndarray:
        return self.rng.normal(0, 1, self.shape).astype(np.float32)


def run(path: Path, x: np.ndarray) -> list[np.ndarray]:
    """What onnxruntime answers."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


def kept(x: np.ndarray) -> np.ndarray:
    """A map as a Graph has it: NHWC, a one-dimensional one with a column."""
    if x.ndim == 3:
        x = x[..., None]
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 else x


# ---------------------------------------------------------------- networks


def mobile(opset: int = 13, seed: int = 0, norms: bool = True) -> tuple[Model, str]:
    """As MobileNetV2 is: bottlenecks of batch norms and ReLU6, a mean, a fully connected layer."""
    m = Model(("batch", 3, 20, 16), seed, opset)

    def block(x: str, cin: int, cexp: int, cout: int, kernel: int, stride: int, residual: bool) -> str:
        y = step(m, x, cin, cexp, 1, 1, 1, norms)
        y = step(m, y, cexp, cexp, kernel, stride, cexp, norms)
        y = m.conv(y, cexp, cout, 1, 1, bias=not norms)
        y = m.norm(y, cout) if norms else y
        return m.add("Add", x, y) if residual else y

    x = step(m, "x", 3, 8, 3, 2, 1, norms)
    x = block(x, 8, 24, 12, 3, 2, False)
    x = block(x, 12, 36, 12, 5, 1, True)
    x = step(m, x, 12, 20, 1, 1, 1, norms)
    x = m.add("Flatten", m.add("GlobalAveragePool", x))
    return m, m.add("Gemm", x, m.weights(5, 20), m.weights(5), transB=1)


def step(m: Model, x: str, cin: int, cout: int, kernel: int, stride: int, groups: int, norms: bool) -> str:
    """Convolution, batch norm, ReLU6."""
    half = [kernel // 2] * 4
    y = m.conv(x, cin, cout, kernel, kernel, groups=groups, bias=not norms, strides=[stride] * 2, pads=half)
    return m.clip(m.norm(y, cout) if norms else y, 0, 6)


def residual(opset: int = 13, seed: int = 0) -> tuple[Model, str]:
    """As ResNet is: a 1x1 shortcut, ReLU behind the sum, a maximum in front, a mean over rows, then over columns."""
    m = Model((1, 3, 18, 22), seed, opset)
    x = m.add("Relu", m.norm(m.conv("x", 3, 8, 7, 7, bias=False, strides=[2, 2], pads=[3] * 4), 8))
    x = m.pool("MaxPool", x, 3, 3, strides=[2, 2], pads=[1] * 4)
    y = m.add("Relu", m.norm(m.conv(x, 8, 12, 3, 3, bias=False, strides=[2, 2], pads=[1] * 4), 12))
    y = m.norm(m.conv(y, 12, 12, 3, 3, bias=False, pads=[1] * 4), 12)
    x = m.add("Relu", m.add("Add", y, m.norm(m.conv(x, 8, 12, 1, 1, bias=False, strides=[2, 2]), 12)))
    x = m.mean(m.mean(x, 3, keep=0), 2, keep=0)
    x = m.add("Add", m.add("MatMul", x, m.weights(12, 4)), m.weights(4))
    return m, m.add("Softmax", x, axis=1)


def flat(opset: int = 13, seed: int = 0) -> tuple[Model, str]:
    """As VGG is: poolings, a flattened map, two fully connected layers."""
    m = Model(("n", 2, 12, 8), seed, opset)
    x = m.add("Relu", m.conv("x", 2, 6, 3, 3, pads=[1] * 4))
    x = m.pool("MaxPool", x, 2, 2, strides=[2, 2])
    x = m.add("Relu", m.conv(x, 6, 10, 3, 3))
    x = m.pool("AveragePool", x, 2, 1, strides=[2, 1])
    x = m.add("Reshape", x, m.constant([-1, 40], np.int64))
    x = m.add("Relu", m.add("Gemm", x, m.weights(40, 7), m.weights(7)))
    return m, m.add("Gemm", x, m.weights(3, 7), m.weights(3), transB=1, alpha=0.5, beta=2.0)


def line(opset: int = 13, seed: int = 0) -> tuple[Model, str]:
    """A network over time."""
    m = Model(("n", 4, 32), seed, opset)
    x = m.add("Relu", m.norm(m.conv("x", 4, 8, 3, strides=[2], pads=[1, 1]), 8))
    x = m.add("Relu", m.conv(x, 8, 8, 5, groups=8, pads=[2, 2]))
    x = m.pool("MaxPool", x, 2, strides=[2])
    x = m.pool("AveragePool", x, 3, pads=[1, 1], count_include_pad=1)
    x = m.add("Flatten", x)
    return m, m.add("Gemm", x, m.weights(3, 64), m.weights(3), transB=1)

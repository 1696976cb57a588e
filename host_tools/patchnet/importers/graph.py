"""A network of someone else's as a small neutral graph: readers (`tflite`, `onnx`, `torch`) make it, `match` reads it.

Maps are NHWC with the batch first and 1, whatever the file has; weights are (cout, kh, kw, cin) of a convolution,
(c, kh, kw) of a depthwise one, (outputs, inputs) of a fully connected layer, whose inputs are in the order of a
flattened NHWC map. Operators are in an order in which each comes behind what it reads.

`Op.kind`, what it reads, and its `attrs`:

    conv, depthwise    x, weight[, bias]     stride (h, w), pads (top, bottom, left, right), dilation (h, w), act
    dense              x, weight[, bias]     act
    add, sub, mul      a, b                  act; either may be a constant that broadcasts over the channels
    maxpool, meanpool  x                     kernel (h, w), stride, pads, act; counted: a mean divides by the kernel's
                                             size at the edges too (ONNX and PyTorch; TFLite by what lies inside)
    mean, sum, max     x                     axes: of the NHWC map, over all of each; the output's shape may leave
                                             them out
    pad                x                     pads, value: the real number that is put there
    relu, relu6        x
    clip               x                     low, high: real numbers
    sigmoid, softmax   x                     axis (softmax); a logarithm of a softmax counts as one
    affine             x, gain, offset       per channel: a batch norm that is not folded yet
    reshape, transpose x                     shape, perm: of the NHWC view
    concat             a, b, ...             axis
    quantize           x                     float or integers to the output's scale and zero point
    dequantize         x                     to float
    identity           x
    other              as the file has it    an operator that is known by name only. why: what is special about one
                                             whose name alone would not say ("weights: sparse"); may be absent

`act` is "none", "relu", "relu6" or another name, which is not supported. Integers whose zero point is the lowest one
are a relu whatever `act` says; of ONNX, whose quantizers leave the operator out there, it says so.

An affine, add or mul of a constant that only the network's input reaches is how it is prepared (mean and deviation).
Constants that broadcast have no leading axes of 1. An operator works with integers if its output has a quantization;
its weights and its int32 bias then have theirs, and those of an operator on real numbers are real.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Pair = tuple[int, int]
NO_PADS = (0, 0, 0, 0)


class Unsupported(ValueError):
    """Everything that keeps a network from being imported, a line each."""

    def __init__(self, lines: list[str]):
        super().__init__("\n".join(lines))
        self.lines = lines


@dataclass(frozen=True)
class Quantization:
    """real = scale * (q - zero): one entry, or one for each index of `axis` (of the tensor as it is here)."""

    scale: np.ndarray  # float64
    zero: np.ndarray  # int64
    axis: int = 0


@dataclass
class Tensor:
    """`dtype` as numpy calls it. `data` of constants, in the order of axes that this module's head tells."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None = None
    data: np.ndarray | None = None

    @property
    def scale(self) -> float:
        """Of one scale for all of it."""
        assert self.quantization is not None
        return float(self.quantization.scale[0])

    @property
    def zero(self) -> int:
        assert self.quantization is not None
        return int(self.quantization.zero[0])


@dataclass
class Op:
    """`index` and `name` are the file's ("op 9 MAX_POOL_2D"), `inputs` and `outputs` places in Graph.tensors, -1 where
    an input that may be absent is."""

    index: int
    name: str
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        return f"op {self.index} {self.name}"


@dataclass
class Graph:
    """`source`: the file, as messages name it; `format`: "tflite", "onnx" or "torch"."""

    source: str
    format: str
    tensors: list[Tensor]
    ops: list[Op]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    labels: tuple[str, ...] = ()  # if the file has them
    as_given: bool = True  # whether the file's input has the order of axes that it has here

    def users(self, tensor: int) -> list[Op]:
        return [op for op in self.ops if tensor in op.inputs]

    def maker(self, tensor: int) -> Op | None:
        return next((op for op in self.ops if tensor in op.outputs), None)


@dataclass(frozen=True)
class FloatLayer:
    """Real weights of a layer by the names of its convolutions ("conv"; "expand", "depthwise", "project"; "first",
    "second", "shortcut"; "dense"): (weight, bias) of each, in the layouts of `blob.quantized.Scaled`."""

    parts: dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass
class Imported:
    """What an importer makes. Of an integer file `qnet`, exactly; of a float one `floats`, a FloatLayer for each layer
    of the chain and one for what ends it, which calibration makes integers of. `notes`: what the user should know."""

    network: Any  # net.network.Network
    qnet: Any = None  # blob.quantized.QNet
    floats: list[FloatLayer] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

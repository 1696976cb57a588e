"""A Graph told in fewer words: what its operators mean together, before any layer is recognised.

Nodes are convolutions, poolings, sums, and what ends a network; `reading` makes them. Around them the file's other
operators disappear: pads, activations, scales per channel and batch norms go into the node that they belong to, fully
connected layers are convolutions, and reshapes and transpositions only change how the file looks at a map (`Value`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..format import MAX_COVER
from ..net.layers import Pads, Pair
from .graph import NO_PADS, Tensor

UNIT = 64  # a weight of 1: its multiplier is a power of two, and int8 has room for it
MOST_UNGROUPED = 1 << 17  # weights of a convolution over all channels that stands for one of groups
LAST = 1 << 30  # as an operator: behind all
Line = tuple[int, str]  # operator, what is in its way


class Obstacle(Exception):
    """What keeps an operator from being understood; the operator's name and shape are added where it is caught."""


@dataclass(frozen=True)
class Map:
    """h x w x c values. Of integers real = scale * (q - zero) with q int8; of floats `scale` is 0."""

    h: int
    w: int
    c: int
    scale: float = 0.0
    zero: int = 0

    def __str__(self) -> str:
        return f"{self.h}x{self.w}x{self.c}"


@dataclass(frozen=True)
class Weights:
    """Real weights are value * scale, `scale` (cout,) having one entry for each output; `value` of a convolution is
    (cout, kh, kw, cin), of a depthwise one (c, kh, kw), and holds integers if the file does (with all scales 1 if it
    does not). `bias` (cout,) is real. `fault`: why `value` cannot stand in a blob as it is; "" if it can.
    """

    value: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    fault: str = ""

    @property
    def real(self) -> np.ndarray:
        return self.value * self.scale.reshape(-1, *[1] * (self.value.ndim - 1))


@dataclass(eq=False)
class Node:
    """`kind`: input, conv, depthwise, maxpool, meanpool, add, softmax, sigmoid, or opaque (what was not understood, a
    line told already). `op`: the file's number of the operator, `where` as messages name it. `out` is behind `act`.
    `shared`: several operators of the file, or one and its output, take what it gives.
    """

    kind: str
    op: int
    where: str
    inputs: tuple[Node, ...]
    out: Map
    weights: Weights | None = None
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    pads: Pads = NO_PADS
    act: str = "none"
    shared: bool = False
    users: list[Node] = field(default_factory=list)

    @property
    def w(self) -> Weights:
        """Of a convolution."""
        assert self.weights is not None
        return self.weights

    @property
    def pointwise(self) -> bool:
        """A 1x1 convolution that leaves the map's size."""
        shape = self.kernel, self.stride, self.pads
        return self.kind == "conv" and shape == ((1, 1), (1, 1), NO_PADS)

    @property
    def only(self) -> Node | None:
        """The one node that reads it."""
        return self.users[0] if len(self.users) == 1 else None


@dataclass(frozen=True)
class Value:
    """How a tensor of the file looks at a node's map.

    `turned`: with rows and columns exchanged. `order`: "map" (channels last), "first" (channels first), or "flat" (a
    row of all values, or a row for each pixel). `pads`: rows and columns of zeros around it. `averaged`: axes of the
    map over which the mean was taken, where that is not yet all of them.
    """

    node: Node
    turned: bool = False
    order: str = "map"
    pads: Pads = NO_PADS
    averaged: frozenset[int] = frozenset()

    def axes(self) -> list[tuple[int, int]]:
        """The map's axes (0 batch, 1 rows, 2 columns, 3 channels) and their sizes in the order of the file."""
        m = self.node.out
        sizes = {0: 1, 1: m.h, 2: m.w, 3: m.c} | dict.fromkeys(self.averaged, 1)
        space = [2, 1] if self.turned else [1, 2]
        return [(axis, sizes[axis]) for axis in ([0, 3, *space] if self.order == "first" else [0, *space, 3])]

    def named(self, shape: tuple[int, ...]) -> list[int] | None:
        """Which axis of the map each of a tensor's is. None if they are others."""
        rest, out = self.axes(), []
        for size in shape:
            while rest and rest[0][1] != size and rest[0][1] == 1:
                rest.pop(0)
            if not rest or rest[0][1] != size:
                return None
            out.append(rest.pop(0)[0])
        return out if all(size == 1 for _, size in rest) else None


@dataclass
class Nodes:
    """What was read. The input's values are normalised: gain * x + offset, x being what the file's input means (`gain`,
    `offset`: an entry for each channel, or one for all); that is `normal`. `real`: why values are real numbers, where
    they are."""

    input: Node
    normal: Map
    all: list[Node]
    gain: np.ndarray
    offset: np.ndarray
    obstacles: list[Line]
    notes: list[str]
    real: str = "weights are float32"


# ---------------------------------------------------------------- rows and columns exchanged


def turn_pair(a: Pair, turned: bool) -> Pair:
    return (a[1], a[0]) if turned else a


def turn_pads(a: Pads, turned: bool) -> Pads:
    return (a[2], a[3], a[0], a[1]) if turned else a


def both(a: Pads, b: Pads) -> Pads:
    """One padding and another around it."""
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]


# ---------------------------------------------------------------- tensors


def map_of(tensor: Tensor, h: int, w: int, c: int, act: str = "none") -> Map:
    """Behind a ReLU nothing is below zero: its zero point is the least value, whatever the file's is."""
    if tensor.quantization is None:
        if tensor.dtype.startswith("float"):
            return Map(h, w, c)
        raise Obstacle(f"values are {tensor.dtype} without a scale")
    if tensor.dtype not in ("int8", "uint8"):
        raise Obstacle(f"values are {tensor.dtype}")
    if tensor.quantization.scale.size != 1:
        raise Obstacle("values have a scale for each channel")
    zero = tensor.zero - 128 * (tensor.dtype == "uint8")
    if not (np.isfinite(tensor.scale) and tensor.scale > 0 and -128 <= zero <= 127):
        raise Obstacle(f"values are {tensor.dtype} of scale {tensor.scale:g} and zero point {tensor.zero}")
    return Map(h, w, c, tensor.scale, zero if act == "none" else -128)


def sizes(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """A tensor's shape as h, w, c: of a row of values 1, 1, n."""
    full = (*shape, 1) if len(shape) == 3 else (1,) * (4 - len(shape)) + shape
    if len(full) != 4 or full[0] != 1 or min(full) < 1:
        raise Obstacle(f"wanted a batch of one and at most three axes, got {'x'.join(map(str, shape))}")
    return full[1:]


def real_of(tensor: Tensor) -> np.ndarray:
    """A constant's real values."""
    assert tensor.data is not None
    data, q = tensor.data.astype(np.float64), tensor.quantization
    if q is None:
        return data
    shape = [-1 if i == q.axis else 1 for i in range(data.ndim)] if q.scale.size > 1 else [1] * data.ndim
    return q.scale.reshape(shape) * (data - q.zero.reshape(shape))


def weights_of(weight: Tensor, bias: Tensor | None, x: Tensor) -> Weights:
    """A convolution's constants; x is what it reads, by whose scale integer biases are told."""
    assert weight.data is not None
    n, q = weight.shape[0], weight.quantization
    if q is None:
        value, scale, fault = weight.data.astype(np.float64), np.ones(n), f"weights are {weight.dtype}"
    else:
        if q.scale.size > 1 and q.axis != 0:
            raise Obstacle(f"weights have scales along axis {q.axis}")
        zero = np.broadcast_to(q.zero, n).reshape(-1, *[1] * (weight.data.ndim - 1))
        value, scale = (weight.data - zero).astype(np.int32), np.broadcast_to(q.scale, n).astype(np.float64)
        fault = asymmetric(weight)
    real = bias_of(bias, x, scale)
    if not all(np.isfinite(v).all() for v in (value, scale, real)) or scale.min() < 0:
        raise Obstacle("weights, scales or biases are no finite numbers")
    return Weights(value, np.where(scale == 0, 1, scale), real, fault)  # weights without a scale are all 0


def asymmetric(weight: Tensor) -> str:
    """Why integer weights are no int8 around zero."""
    assert weight.quantization is not None
    if weight.dtype not in ("int8", "uint8"):
        return f"weights are {weight.dtype}"
    middle = 128 if weight.dtype == "uint8" else 0
    odd = [int(zero) for zero in weight.quantization.zero if zero != middle]
    return f"weights are {weight.dtype} with zero point {odd[0]}" if odd else ""


def bias_of(bias: Tensor | None, x: Tensor, scale: np.ndarray) -> np.ndarray:
    """Real values. Integers count in steps of input times weight, as interpreters take them, whatever they say."""
    if bias is None:
        return np.zeros(len(scale))
    if bias.data is None:
        raise Obstacle("its bias is no constant")
    data = bias.data.astype(np.float64).reshape(-1)
    if len(data) != len(scale):
        raise Obstacle(f"{len(data)} biases for {len(scale)} outputs")
    if bias.dtype.startswith("float"):
        return data
    if x.quantization is None:
        raise Obstacle(f"its bias is {bias.dtype}, and what it reads has no scale")
    return data * x.scale * scale


def one(channels: int) -> Weights:
    """Of a 1x1 convolution that changes nothing."""
    eye = UNIT * np.eye(channels, dtype=np.int64)[:, None, None, :]
    return Weights(eye, np.full(channels, 1 / UNIT), np.zeros(channels))


def dilated(value: np.ndarray, dilation: Pair) -> np.ndarray:
    """A kernel with the gaps of its dilation filled with zeros."""
    kh, kw = ((k - 1) * d + 1 for k, d in zip(value.shape[1:3], dilation, strict=True))
    if max(kh, kw) > MAX_COVER:
        raise Obstacle(f"reaches {kh}x{kw}: wanted at most {MAX_COVER} rows and columns")
    out = np.zeros((len(value), kh, kw, *value.shape[3:]), value.dtype)
    out[:, :: dilation[0], :: dilation[1]] = value
    return out


def ungrouped(value: np.ndarray, groups: int, zero: np.ndarray) -> np.ndarray:
    """Weights (cout, kh, kw, cin / groups) as those over all input channels: `zero`, of each output, for the others."""
    cout, kh, kw, part = value.shape
    out = np.empty((groups, cout // groups, kh, kw, groups, part), value.dtype)
    out[:] = np.broadcast_to(zero, cout).reshape(groups, -1, 1, 1, 1, 1)
    for i, own in enumerate(value.reshape(groups, -1, kh, kw, part)):
        out[i, :, :, :, i] = own
    return out.reshape(cout, kh, kw, groups * part)


def dense_of(value: np.ndarray) -> np.ndarray:
    """Depthwise weights as those of a dense convolution, with zeros."""
    n = len(value)
    out = np.zeros((*value.shape, n), value.dtype)
    out[np.arange(n), :, :, np.arange(n)] = value
    return out

"""Reads a Graph operator by operator into `nodes`.

Whatever is in the way becomes a line of `Nodes.obstacles`; reading goes on behind it with an opaque node. `READ` has a
function for each kind of operator.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..net.layers import Pads, Pair
from .graph import NO_PADS, Graph, Op, Tensor, Unsupported
from .nodes import (
    LAST,
    UNIT,
    Line,
    Map,
    Node,
    Nodes,
    Obstacle,
    Value,
    Weights,
    both,
    dense_of,
    dilated,
    map_of,
    real_of,
    sizes,
    turn_pads,
    turn_pair,
    weights_of,
)

ACTS = ("none", "relu", "relu6")
ACTIVATIONS = ("hardswish", "leakyrelu", "prelu", "elu", "selu", "celu", "tanh", "gelu", "silu", "mish", "softplus")


class Reading:
    """The state of reading a graph, operator by operator."""

    def __init__(self, graph: Graph):
        self.graph, self.tensors = graph, [as_real(tensor) for tensor in graph.tensors]
        self.values: dict[int, Value] = {}
        self.nodes: list[Node] = []
        self.obstacles: list[Line] = []
        self.notes: list[str] = []
        self.ops = self.needed()
        self.uses = Counter(i for op in self.ops for i in set(op.inputs)) + Counter(graph.outputs)
        self.input = self.read_input()
        self.normal = self.input.out
        self.gain, self.offset = np.ones(1), np.zeros(1)

    def needed(self) -> list[Op]:
        """Operators from which the outputs follow, and those that do something else than make tensors."""
        wanted, kept = set(self.graph.outputs), []
        for op in reversed(self.graph.ops):
            if not op.outputs or wanted.intersection(op.outputs):
                wanted.update(op.inputs)
                kept.append(op)
        return kept[::-1]

    def read_input(self) -> Node:
        self.obstacles += [(-1, line) for line in strange_ends(self.graph)]
        tensor = self.tensors[self.graph.inputs[0]]
        try:
            h, w, c = sizes(tensor.shape)
            turned = h == 1 < w  # the same bytes
            node = Node("input", -1, "input", (), map_of(tensor, *((w, h) if turned else (h, w)), c))
        except Obstacle as e:
            self.obstacles.append((-1, f"input {shape_text(tensor.shape)}: {e}"))
            turned, node = False, Node("opaque", -1, "input", (), Map(1, 1, 1))
        self.nodes.append(node)
        node.shared = self.uses[self.graph.inputs[0]] > 1
        self.values |= dict.fromkeys(self.graph.inputs, Value(node, turned))
        return node

    def read(self) -> Nodes:
        for op in self.ops:
            self.operator(op)
        self.output()
        nodes = Nodes(self.input, self.normal, self.nodes, self.gain, self.offset, self.obstacles, self.notes)
        if any(is_wide(tensor) for tensor in self.graph.tensors):
            nodes.real = "values are int16"
        return nodes

    def output(self) -> None:
        """Whether the file's output is a map of the network, and how it looks at it."""
        made = self.values.get(self.graph.outputs[0])
        if made is None:
            return self.obstacles.append((LAST, "output: does not follow from the input"))
        if any(made.pads) or made.averaged:
            self.obstacles.append(
                (LAST, f"output: {'a padded map' if any(made.pads) else 'a mean over rows or columns'}")
            )
        m = made.node.out
        if made.turned and min(m.h, m.w) > 1:
            self.notes.append("output: rows and columns are exchanged, as they are in the file's")
        if made.order == "first" and m.h * m.w > 1:
            self.notes.append("output: channels are last here, first in the file's")

    def operator(self, op: Op) -> None:
        """Reads one; what it makes is opaque if it cannot be understood, or, but for convolutions, what it reads is."""
        sources = [self.values[i].node for i in op.inputs if i in self.values]
        if not sources:
            return  # of constants, or of what does not follow from the input: whatever reads it says so
        blind = any(node.kind == "opaque" for node in sources)
        try:
            if blind and op.kind not in (*WEIGHTED, "other", "concat"):
                raise Obstacle
            READ.get(op.kind, other)(self, op)
        except Obstacle as e:
            if str(e):
                self.obstacles.append((op.index, f"{op.where} ({self.shape_of(op)}): {e}"))
            for i in op.outputs:
                self.give(op, Value(Node("opaque", op.index, op.where, tuple(sources), self.guess(i))), i)

    def guess(self, i: int) -> Map:
        """A map of the tensor's size, where nothing else is known of it."""
        try:
            return Map(*sizes(self.tensors[i].shape))
        except Obstacle:
            return Map(1, 1, 1)

    def shape_of(self, op: Op) -> str:
        """Of what an operator makes, or at least reads, without the batch."""
        return shape_text(self.tensors[(op.outputs or op.inputs)[0]].shape)

    def give(self, op: Op, value: Value, output: int | None = None) -> None:
        """`value` is what an output of the operator is."""
        i, node = op.outputs[0] if output is None else output, value.node
        if node not in self.nodes:
            self.nodes.append(node)
            for before in node.inputs:
                before.users.append(node)
        node.shared |= self.uses[i] > 1
        self.values[i] = value

    def data(self, op: Op) -> Value:
        """The one value that an operator reads."""
        value = next(self.values[i] for i in op.inputs if i in self.values)
        if value.averaged:
            raise Obstacle("reads a mean over rows or columns alone")
        return value

    def plain(self, op: Op) -> Value:
        """The same, of a map as it is."""
        value = self.data(op)
        if value.order == "first":
            raise Obstacle("reads a map with its channels first")
        if any(value.pads):
            raise Obstacle("reads a padded map")
        return value

    def space(self, op: Op) -> Value:
        """The same, of a map with rows and columns, and maybe zeros around it."""
        value = self.data(op)
        if value.order != "map":
            raise Obstacle(f"wanted a map with rows and columns, got {shape_text(self.tensors[op.inputs[0]].shape)}")
        return value

    def act(self, op: Op) -> str:
        name = op.attrs.get("act", "none")
        if name not in ACTS:
            raise Obstacle(f"activation {name}: not supported")
        return name


def is_wide(tensor: Tensor) -> bool:
    """Whether it is a map of 16 bits, which there are no kernels for: only other integers can be chosen for it."""
    return tensor.dtype == "int16" and tensor.data is None and tensor.quantization is not None


def as_real(tensor: Tensor) -> Tensor:
    return Tensor(tensor.name, tensor.shape, "float32") if is_wide(tensor) else tensor


def shape_text(shape: tuple[int, ...]) -> str:
    """Without a batch of one."""
    return "x".join(map(str, shape[1:] if len(shape) > 1 and shape[0] == 1 else shape)) or "1"


def reached(size: int, kernel: int, stride: int, before: int, after: int) -> int:
    return (size + before + after - kernel) // stride + 1


def output_map(r: Reading, op: Op, x: Value, node: Node, channels: int, act: str) -> Map:
    """Of a node that goes over x's map; its size must be what the file says."""
    m, (top, bottom, left, right) = x.node.out, node.pads
    h = reached(m.h, node.kernel[0], node.stride[0], top, bottom)
    w = reached(m.w, node.kernel[1], node.stride[1], left, right)
    tensor = r.tensors[op.outputs[0]]
    if x.node.kind == "opaque":
        h, w, channels = sizes(tensor.shape)
    if h * w * channels != np.prod(tensor.shape) or min(h, w) < 1:
        raise Obstacle(f"makes {h}x{w}x{channels} of {m}, and the file says {shape_text(tensor.shape)}")
    return map_of(tensor, h, w, channels, act)


# ---------------------------------------------------------------- convolutions


def constants(r: Reading, op: Op) -> Weights:
    if len(op.inputs) < 2 or r.tensors[op.inputs[1]].data is None:
        raise Obstacle("its weights are no constant")
    bias = op.inputs[2] if len(op.inputs) > 2 else -1
    x = r.graph.tensors[op.inputs[0]]  # by whose steps a bias is told, of 16 bits too
    return weights_of(r.tensors[op.inputs[1]], r.tensors[bias] if bias >= 0 else None, x)


def convolution(r: Reading, op: Op, x: Value, kind: str, weights: Weights, stride: Pair, pads: Pads) -> None:
    """A node of weights as they are laid over the node's map."""
    act, kernel = r.act(op), weights.value.shape[1:3]
    node = Node(kind, op.index, op.where, (x.node,), x.node.out, weights, kernel, stride, pads, act)
    node.out = output_map(r, op, x, node, len(weights.value), act)
    behind_act(r, node, r.tensors[op.outputs[0]])
    r.give(op, Value(node, x.turned, "flat" if x.order == "flat" and node.out.h * node.out.w > 1 else "map"))


def behind_act(r: Reading, node: Node, tensor: Tensor) -> None:
    """Notes where the file clamps elsewhere than at the ends of int8."""
    if node.act == "none" or tensor.quantization is None:
        return
    zero = tensor.zero - 128 * (tensor.dtype == "uint8")
    six = round(6 / tensor.scale) if node.act == "relu6" else 255
    if min(six, 127 - zero) < 255:
        r.notes.append(
            f"{node.where}: {node.act} with zero point {zero}, steps of {tensor.scale:.4g}: "
            f"the file clamps at {min(six, 127 - zero)} steps above zero, here 255 are kept"
        )


def conv(r: Reading, op: Op) -> None:
    x, weights = r.space(op), constants(r, op)
    if x.node.kind != "opaque" and weights.value.shape[3] != x.node.out.c:
        raise Obstacle(f"groups: {weights.value.shape[3]} of {x.node.out.c} channels go into each output")
    spread(r, op, x, "conv", weights)


def depthwise(r: Reading, op: Op) -> None:
    x, weights = r.space(op), constants(r, op)
    if x.node.out.c == len(weights.value) == 1:
        return spread(r, op, x, "conv", replace(weights, value=dense_of(weights.value)))
    if x.node.kind != "opaque" and x.node.out.c != len(weights.value):
        raise Obstacle(f"weights of {len(weights.value)} channels for {x.node.out}")
    spread(r, op, x, "depthwise", weights)


def spread(r: Reading, op: Op, x: Value, kind: str, weights: Weights) -> None:
    """A convolution with the file's strides and pads."""
    value = dilated(weights.value, op.attrs.get("dilation", (1, 1)))
    value = value.swapaxes(1, 2) if x.turned else value
    pads = both(x.pads, turn_pads(op.attrs.get("pads", NO_PADS), x.turned))
    stride = turn_pair(op.attrs.get("stride", (1, 1)), x.turned)
    convolution(r, op, x, kind, replace(weights, value=value), stride, pads)


def dense(r: Reading, op: Op) -> None:
    """Over each pixel's channels, or over all of the map: a kernel that covers it."""
    x, weights = r.plain(op), constants(r, op)
    m, (n, inputs) = x.node.out, weights.value.shape
    h, w = turn_pair((m.h, m.w), x.turned)
    if inputs == m.c or x.node.kind == "opaque":
        value = weights.value[:, None, None, :]
    elif inputs == m.h * m.w * m.c:
        value = weights.value.reshape(n, h, w, m.c)
        value = value.swapaxes(1, 2) if x.turned else value
    else:
        raise Obstacle(f"reads {inputs} values, and there are {m}")
    convolution(r, op, x, "conv", replace(weights, value=value), (1, 1), NO_PADS)


WEIGHTED = {"conv": conv, "depthwise": depthwise, "dense": dense}


# ---------------------------------------------------------------- activations, scales per channel


def pointwise(r: Reading, op: Op, x: Value, gain: np.ndarray, offset: np.ndarray, act: str) -> None:
    """act(gain * x + offset), channel by channel, as a depthwise convolution of one pixel."""
    m = x.node.out
    gain, offset = (np.broadcast_to(v, m.c).astype(np.float64) for v in (gain, offset))
    value = (UNIT * np.sign(gain)).astype(np.int64).reshape(-1, 1, 1)
    weights = Weights(value, np.where(gain == 0, 1, np.abs(gain)) / UNIT, offset)
    tensor = r.tensors[op.outputs[0]]
    kind = "conv" if m.c == 1 else "depthwise"
    if kind == "conv":
        weights = replace(weights, value=dense_of(value))
    node = Node(kind, op.index, op.where, (x.node,), map_of(tensor, m.h, m.w, m.c, act), weights, act=act)
    behind_act(r, node, tensor)
    r.give(op, replace(x, node=node))


def activation(r: Reading, op: Op, name: str) -> None:
    """Into the node before, or before that if it takes the largest of some."""
    x = r.data(op)
    node = x.node
    while node.kind == "maxpool" and not node.shared:
        node = node.inputs[0]
    if node.kind in ("conv", "depthwise", "add") and not node.shared:
        node.act, tensor = "relu6" if "relu6" in (name, node.act) else name, r.tensors[op.outputs[0]]
        for later in along(node, x.node):
            later.out = map_of(tensor, later.out.h, later.out.w, later.out.c, name)
        behind_act(r, node, tensor)
        return r.give(op, x)
    if any(x.pads):
        raise Obstacle("reads a padded map")
    pointwise(r, op, x, np.ones(1), np.zeros(1), name)


def along(first: Node, last: Node) -> list[Node]:
    """Nodes from the last one back to the first, each of which reads the next."""
    nodes = [last]
    while nodes[-1] is not first:
        nodes.append(nodes[-1].inputs[0])
    return nodes


def clip(r: Reading, op: Op) -> None:
    low, high = op.attrs["low"], op.attrs["high"]
    top = r.tensors[op.outputs[0]]
    above = np.inf if top.quantization is None else top.scale * 255
    if low != 0 or not (high == 6 or high >= above):
        raise Obstacle(f"clamps to {low:g}..{high:g}: not supported")
    activation(r, op, "relu6" if high == 6 else "relu")


def affine(r: Reading, op: Op, x: Value, gain: np.ndarray, offset: np.ndarray) -> None:
    """gain * x + offset of each channel: into the input's normalisation, into the convolution before, or by itself."""
    act, m = r.act(op), x.node.out
    if any(v.size not in (1, m.c) for v in (gain, offset)) or (x.order == "flat" and max(gain.size, offset.size) > 1):
        raise Obstacle(f"a constant of {max(gain.size, offset.size)} values for {m}: not supported")
    gain, offset = gain.reshape(-1), offset.reshape(-1)
    node, tensor = x.node, r.tensors[op.outputs[0]]
    alone = not node.shared and not any(x.pads)
    even = m.scale == 0 or np.ptp(gain) == 0  # integers of all channels have one scale
    if alone and node.kind == "input" and act == "none" and even and (gain != 0).all():
        r.gain, r.offset = gain * r.gain, gain * r.offset + offset
        r.normal = map_of(tensor, m.h, m.w, m.c)
        return r.give(op, x)
    if alone and node.kind in ("conv", "depthwise") and node.act == "none":
        node.weights = scaled(node.w, np.broadcast_to(gain, m.c), np.broadcast_to(offset, m.c))
        node.out, node.act = map_of(tensor, m.h, m.w, m.c, act), act
        behind_act(r, node, tensor)
        return r.give(op, x)
    if any(x.pads):
        raise Obstacle("reads a padded map")
    pointwise(r, op, x, gain, offset, act)


def scaled(weights: Weights, gain: np.ndarray, offset: np.ndarray) -> Weights:
    """Weights of gain * y + offset, y being what they make."""
    sign = np.sign(gain).astype(np.int64).reshape(-1, *[1] * (weights.value.ndim - 1))
    scale = np.where(gain == 0, weights.scale, weights.scale * np.abs(gain))
    return replace(weights, value=weights.value * sign, scale=scale, bias=weights.bias * gain + offset)


def add(r: Reading, op: Op, sign: float = 1.0) -> None:
    places = [i for i in op.inputs if i in r.values]
    if len(places) == 2:
        return add_maps(r, op, sign)
    first = op.inputs[0] == places[0]
    constant = real_of(known(r, op.inputs[1 if first else 0]))
    gain, offset = (1.0, sign * constant) if first else (sign, constant)
    affine(r, op, r.data(op), np.array([gain]), offset)


def known(r: Reading, i: int) -> Tensor:
    tensor = r.tensors[i]
    if tensor.data is None:
        raise Obstacle(f"reads {tensor.name}, which does not follow from the input")
    return tensor


def add_maps(r: Reading, op: Op, sign: float) -> None:
    a, b = (r.values[i] for i in op.inputs)
    act, m, n = r.act(op), a.node.out, b.node.out
    if sign < 0 or (m.h, m.w, m.c) != (n.h, n.w, n.c) or a.turned != b.turned or a.averaged or b.averaged:
        raise Obstacle(f"of {m} and {n}: not supported")
    if any(a.pads) or any(b.pads):
        raise Obstacle("reads a padded map")
    tensor = r.tensors[op.outputs[0]]
    node = Node("add", op.index, op.where, (a.node, b.node), map_of(tensor, m.h, m.w, m.c, act), act=act)
    behind_act(r, node, tensor)
    r.give(op, Value(node, a.turned, a.order))


def mul(r: Reading, op: Op) -> None:
    places = [i for i in op.inputs if i in r.values]
    if len(places) != 1:
        raise Obstacle("of two maps: not supported")
    constant = real_of(known(r, next(i for i in op.inputs if i != places[0])))
    affine(r, op, r.data(op), constant, np.zeros(1))


def norm(r: Reading, op: Op) -> None:
    gain, offset = (real_of(known(r, i)) for i in op.inputs[1:3])
    affine(r, op, r.data(op), gain, offset)


# ---------------------------------------------------------------- pooling


def pooling(r: Reading, op: Op, kind: str) -> None:
    x = r.space(op)
    kernel, stride, own = op.attrs["kernel"], op.attrs["stride"], op.attrs.get("pads", NO_PADS)
    if kind == "meanpool" and any(own) and not op.attrs.get("counted", False):
        raise Obstacle("divides by what lies inside the map at its edges: not supported")
    if kind == "maxpool" and any(x.pads) and not positive(x.node):
        raise Obstacle("zeros around a map that has values below zero: not supported")
    if r.act(op) != "none" and not positive(x.node):
        raise Obstacle(f"activation {r.act(op)}: not supported")
    pads, size = both(x.pads, turn_pads(own, x.turned)), turn_pair(kernel, x.turned)
    if size == (x.node.out.h, x.node.out.w) and not any(pads):
        stride = (1, 1)  # one window alone
    node = Node(
        kind, op.index, op.where, (x.node,), x.node.out,
        kernel=size, stride=turn_pair(stride, x.turned), pads=pads,
    )  # fmt: skip
    out = output_map(r, op, x, node, x.node.out.c, "none")
    # the largest of some values has their scale
    node.out = replace(x.node.out, h=out.h, w=out.w) if kind == "maxpool" else out
    r.give(op, Value(node, x.turned))


def positive(node: Node) -> bool:
    """Whether nothing is below zero."""
    while node.kind in ("maxpool", "meanpool"):
        node = node.inputs[0]
    return node.act != "none"


def mean(r: Reading, op: Op) -> None:
    x = next(r.values[i] for i in op.inputs if i in r.values)
    m, averaged = x.node.out, x.averaged | over(r, op, x)
    if m.h * m.w == 1:
        return r.give(op, replace(x, order="map"))
    if all(axis in averaged or size == 1 for axis, size in ((1, m.h), (2, m.w))):
        return whole(r, op, x, "meanpool")
    r.give(op, replace(x, averaged=averaged))


def largest(r: Reading, op: Op) -> None:
    x = r.data(op)
    if any(axis not in over(r, op, x) and size > 1 for axis, size in ((1, x.node.out.h), (2, x.node.out.w))):
        raise Obstacle("of rows or columns alone: not supported")
    whole(r, op, x, "maxpool")


def over(r: Reading, op: Op, x: Value) -> frozenset[int]:
    """Axes of the map that are reduced."""
    shape = r.tensors[op.inputs[0]].shape
    names = x.named(shape)
    axes = {a % len(shape) for a in op.attrs["axes"]}
    if names is None or any(x.pads) or 3 in (names[a] for a in axes):
        raise Obstacle(f"over axes {sorted(axes)} of {'x'.join(map(str, shape))}: not supported")
    return frozenset(names[a] for a in axes)


def whole(r: Reading, op: Op, x: Value, kind: str) -> None:
    """Pooling over all of a map."""
    m = x.node.out
    out = map_of(r.tensors[op.outputs[0]], 1, 1, m.c)
    out = out if kind == "meanpool" else replace(m, h=1, w=1)
    r.give(op, Value(Node(kind, op.index, op.where, (x.node,), out, kernel=(m.h, m.w)), x.turned))


# ---------------------------------------------------------------- how the file looks at a map


def pad(r: Reading, op: Op) -> None:
    x, pads = r.space(op), op.attrs.get("pads", NO_PADS)
    if len(pads) != 4 or min(pads) < 0:
        raise Obstacle("of channels, or of less than nothing: not supported")
    if op.attrs.get("value", 0.0) != 0:
        raise Obstacle(f"with {op.attrs['value']:g}: wanted zeros")
    r.give(op, replace(x, pads=both(x.pads, turn_pads(pads, x.turned))))


def reshape(r: Reading, op: Op) -> None:
    x, shape = r.data(op), r.tensors[op.outputs[0]].shape
    m = x.node.out
    if x.node.kind == "input" and not x.node.shared and len(shape) == 4 and as_given(x):
        h, w, c = sizes(shape)
        turned = h == 1 < w
        x.node.out = r.normal = replace(m, h=w if turned else h, w=h if turned else w, c=c)
        return r.give(op, Value(x.node, turned))
    if any(x.pads) or m.h * m.w * m.c != np.prod(shape):
        raise Obstacle(f"of {m} to {shape_text(shape)}: not supported")
    if len(shape) == 4 and shape[0] == 1 and shape[3] == m.c and x.order != "first":
        if shape[1:3] == turn_pair((m.h, m.w), x.turned):
            return r.give(op, replace(x, order="map"))
        if min(m.h, m.w) == 1:  # a row of pixels, upright or lying
            return r.give(op, replace(x, order="map", turned=shape[1:3] != (m.h, m.w)))
    if m.h * m.w == 1:
        return r.give(op, replace(x, order="map"))
    if x.named(shape):
        return r.give(op, x)
    if x.order == "first":
        raise Obstacle("flattens a map with its channels first: not supported")
    if len(shape) == 4 and sum(n > 1 for n in shape) > 1:
        raise Obstacle(f"of {m} to {shape_text(shape)}: not supported")
    r.give(op, replace(x, order="flat"))


def as_given(x: Value) -> bool:
    """Whether values are in the order of the input's bytes."""
    straight = not x.turned or min(x.node.out.h, x.node.out.w) == 1
    return straight and x.order != "first" and not any(x.pads)


def transpose(r: Reading, op: Op) -> None:
    x = next(r.values[i] for i in op.inputs if i in r.values)
    names = x.named(r.tensors[op.inputs[0]].shape)
    if names is None or x.order == "flat":
        raise Obstacle(f"to the order {op.attrs['perm']}: not supported")
    now = [names[i] for i in op.attrs["perm"]]
    space = [axis for axis in now if axis in (1, 2)]
    large = [axis for axis, size in x.axes() if size > 1]
    channels = [axis for axis in now if axis == 3 or axis in large]
    first = len(channels) > 1 and channels[0] == 3
    if 0 in now[1:] or (3 in now and not first and channels[-1] != 3):
        raise Obstacle(f"to the order {op.attrs['perm']}: not supported")
    turned = space == [2, 1] if len(space) == 2 else x.turned
    r.give(op, replace(x, turned=turned, order="first" if first else "map"))


def quantize(r: Reading, op: Op) -> None:
    """The output's scale is taken where the node has one of its own; else what reads it goes on with that of before,
    in which nothing is lost. An input that is normalised before stays real: its pixels are not these integers."""
    x, tensor = r.data(op), r.tensors[op.outputs[0]]
    m = x.node.out
    as_it_is = x.node.kind != "input" or ((r.gain == 1).all() and (r.offset == 0).all())
    own = x.node.kind in ("conv", "depthwise", "add", "meanpool") or (m.scale == 0 and as_it_is)
    if own and not x.node.shared and tensor.quantization is not None:
        x.node.out = map_of(tensor, m.h, m.w, m.c, x.node.act)
    r.give(op, x)


def same(r: Reading, op: Op) -> None:
    r.give(op, next(r.values[i] for i in op.inputs if i in r.values))


# ---------------------------------------------------------------- scores


def softmax(r: Reading, op: Op) -> None:
    x = r.plain(op)
    shape = r.tensors[op.inputs[0]].shape
    if op.attrs.get("axis", -1) not in (-1, len(shape) - 1) or shape[-1] != x.node.out.c:
        raise Obstacle(f"over axis {op.attrs.get('axis')} of {'x'.join(map(str, shape))}: wanted over the channels")
    r.give(op, replace(x, node=Node("softmax", op.index, op.where, (x.node,), x.node.out)))


def sigmoid(r: Reading, op: Op) -> None:
    x = r.plain(op)
    r.give(op, replace(x, node=Node("sigmoid", op.index, op.where, (x.node,), x.node.out)))


def other(r: Reading, op: Op) -> None:
    name = op.name.rpartition(".")[2].replace("_", "").lower()
    why = op.attrs.get("why") or ("wanted ReLU or ReLU6" if name in ACTIVATIONS else "")
    raise Obstacle("not supported" + (f": {why}" if why else ""))


READ: dict[str, Callable[[Reading, Op], None]] = {
    **WEIGHTED,
    "add": add,
    "sub": lambda r, op: add(r, op, -1.0),
    "mul": mul,
    "affine": norm,
    "relu": lambda r, op: activation(r, op, "relu"),
    "relu6": lambda r, op: activation(r, op, "relu6"),
    "clip": clip,
    "maxpool": lambda r, op: pooling(r, op, "maxpool"),
    "meanpool": lambda r, op: pooling(r, op, "meanpool"),
    "mean": mean,
    "max": largest,
    "pad": pad,
    "reshape": reshape,
    "transpose": transpose,
    "quantize": quantize,
    "dequantize": same,
    "identity": same,
    "softmax": softmax,
    "sigmoid": sigmoid,
}


def nodes_of(graph: Graph) -> Nodes:
    """Unsupported for a graph that has nothing to begin or to end with."""
    if not graph.inputs or not graph.outputs:
        raise Unsupported(strange_ends(graph))
    return Reading(graph).read()


def strange_ends(graph: Graph) -> list[str]:
    """Lines for more or less than one input and one output."""
    lines = []
    for what, places in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        names = ", ".join(f"{graph.tensors[i].name} {shape_text(graph.tensors[i].shape)}" for i in places)
        if len(places) != 1:
            lines.append(f"{what}: wanted one, got {len(places)}" + (f": {names}" if names else ""))
    return lines

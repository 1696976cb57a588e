"""A Graph becomes a chain of the project's layers (net.layers), or lines that say what is in the way.

`nodes` has told the graph in fewer words; here the nodes behind the input are gone through, and at each of them the
rules of `RULES` are asked, one after the other, for the layer that begins there. What follows the last layer decides
what the network is for (`Ending`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .. import format as fmt
from ..net.layers import POOLS, Layer, Pads, Pair
from ..words import some
from .graph import NO_PADS, Graph, Unsupported
from .nodes import LAST, Line, Map, Node, Nodes, Weights, dense_of, one
from .reading import nodes_of

NEEDS_DATA = "use --calibrate DATA"
MOST_ALIKE = 3  # obstacles of one kind that get a line each
MOST_ZEROS = 1 << 22  # weights of a convolution that stands for a sparse one


@dataclass(frozen=True)
class Step:
    """A layer: its convolutions by the names that FloatLayer has for them, the map that it reads and the one that it
    makes, and the activation behind all of it. `last` is the node whose output it has. `joined`: the input, or what
    the block's shortcut makes of it, is added.
    """

    kind: str
    parts: dict[str, Node]
    x: Map
    last: Node
    joined: bool = False

    @property
    def out(self) -> Map:
        return self.last.out

    @property
    def act(self) -> str:
        return self.last.act

    @property
    def where(self) -> str:
        return self.main.where

    @property
    def main(self) -> Node:
        """The node whose kernel, stride and pads are the layer's."""
        names = {"conv": "conv", "bottleneck": "depthwise", "block": "first"}
        return self.parts[names[self.kind]] if self.kind in names else self.last

    def layer(self, act: str = "") -> Layer:
        """`act`: another activation than the file's behind its convolutions."""
        m, expand = self.main, "expand" in self.parts or "shortcut" in self.parts
        cexp = {"bottleneck": m.out.c, "block": m.out.c}.get(self.kind, 0)
        second = self.parts["second"].kernel if self.kind == "block" else (1, 1)
        return Layer(
            self.kind, self.x.h, self.x.w, self.x.c, cexp, self.out.c, short(m.kernel), short(m.stride), expand,
            self.joined and self.kind == "bottleneck", act or m.act, usual(m.pads, m.kernel), short(second),
        )  # fmt: skip


@dataclass(frozen=True)
class Ending:
    """What ends a network. `task`: "classify", "heatmap" (every pixel of the last map is classified), or "raw" (the
    last map is the output). `scores`: "softmax" or "sigmoid".

    Of "classify": `pool`, the mean over all of the last map, None where that is one pixel; `dense`, the fully connected
    layer behind, None where the pooled values are the logits. `out`: the logits, or the last map.
    """

    task: str
    scores: str
    out: Map
    pool: Step | None = None
    dense: Node | None = None


@dataclass(frozen=True)
class Matched:
    """A chain of layers with the file's own constants. Its input's values are gain * x + offset (an entry for each
    channel), x being what the file's input means; `input` says what that is: in integers a scale and a zero point.
    """

    name: str
    labels: tuple[str, ...]
    input: Map
    gain: np.ndarray
    offset: np.ndarray
    steps: tuple[Step, ...]
    ending: Ending
    notes: tuple[str, ...]

    @property
    def picture(self) -> bool:
        """Whether the input is a picture's pixels, grey or coloured."""
        return self.input.c in (1, 3) and min(self.input.h, self.input.w) > 1


def short(a: Pair) -> int | Pair:
    return a[0] if a[0] == a[1] else a


def usual(pads: Pads, kernel: Pair) -> Pads | None:
    """None for what Layer takes without being told."""
    kh, kw = kernel
    return None if pads == (kh // 2, kh // 2, kw // 2, kw // 2) else pads


def match(graph: Graph, labels: tuple[str, ...] = (), calibrate: bool = False) -> Matched:
    """The chain. `labels`: of the classes, if the file's are not to be taken. `calibrate`: scales will be chosen anew,
    so that the file's need not be such that its integers can stand in a blob. Unsupported has all obstacles."""
    nodes = nodes_of(graph)
    chain = Chain(nodes)
    ending = chain.read()
    names, wrong = class_names(labels or apart(graph.labels), ending)
    obstacles = [*nodes.obstacles, *chain.obstacles, *wrong, *([] if calibrate else faults(nodes))]
    obstacles += [line for step in chain.steps for line in limits(step)]
    if obstacles or ending is None:
        lines = sorted(obstacles, key=lambda line: line[0])
        raise Unsupported(summed(list(dict.fromkeys(text for _, text in lines))))
    notes = (*nodes.notes, *chain.notes)
    gain, offset = (np.broadcast_to(v, nodes.input.out.c).astype(np.float64) for v in (nodes.gain, nodes.offset))
    return Matched(Path(graph.source).stem, names, nodes.input.out, gain, offset, tuple(chain.steps), ending, notes)


def summed(lines: list[str]) -> list[str]:
    """Of many lines that differ in numbers alone the first one, and how many there are."""
    alike = Counter(bare := [re.sub(r"\d+", "0", line) for line in lines])
    first = {kind: i for i, kind in reversed([*enumerate(bare)])}
    shown = []
    for i, (line, kind) in enumerate(zip(lines, bare, strict=True)):
        if alike[kind] <= MOST_ALIKE:
            shown.append(line)
        elif first[kind] == i:
            shown.append(f"{line} (and {alike[kind] - 1} more like it)")
    return shown


def faults(nodes: Nodes) -> list[Line]:
    """What keeps the file's own integers from standing in a blob, a line for all where it has none."""
    convolutions = [node for node in nodes.all if node.weights is not None]
    if not any(node.out.scale for node in nodes.all):
        return [(-1, f"{nodes.real}: {NEEDS_DATA}")]
    odd = [(node.op, f"{node.where}: {node.w.fault}: {NEEDS_DATA}") for node in convolutions if node.w.fault]
    unscaled = [node for node in nodes.all if node.out.scale == 0 and node.kind in SCALED and not opaque_before(node)]
    return odd + [(node.op, f"{node.where} ({node.out}): values are float32: {NEEDS_DATA}") for node in unscaled]


SCALED = ("input", "conv", "depthwise", "meanpool", "add")


def opaque_before(node: Node) -> bool:
    return any(before.kind == "opaque" for before in node.inputs)


class NoMatch(Exception):
    """An obstacle, with the operator at which it is."""

    def __init__(self, node: Node, text: str):
        self.line: Line = (node.op, f"{node.where} ({node.out}): {text}")


# ---------------------------------------------------------------- rules


def conv(x: Node) -> Step | None:
    """A dense convolution."""
    node = x.only
    return Step("conv", {"conv": node}, x.out, node) if node and node.kind == "conv" else None


def first_depthwise(x: Node) -> Step | None:
    """A depthwise convolution of the input: a dense one, most of it zeros."""
    node = x.only
    if not node or x.kind != "input" or node.kind != "depthwise":
        return None
    affordable(node, node.w.value.size * x.out.c)
    full = replace(node, kind="conv", weights=replace(node.w, value=dense_of(node.w.value)))
    return Step("conv", {"conv": full}, x.out, node)


def bottleneck(x: Node) -> Step | None:
    """1x1 with an activation, depthwise, 1x1; or without the first."""
    node = x.only
    return inverted(x, node) if node and x.kind != "input" else None


def inverted(x: Node, node: Node) -> Step | None:
    """That bottleneck, which begins with `node`."""
    parts = {}
    if node.pointwise and node.act != "none" and node.only and node.only.kind == "depthwise":
        parts["expand"] = node
        node = node.only
    if node.kind != "depthwise" or not node.only or not node.only.pointwise:
        return None
    project = node.only
    return Step("bottleneck", parts | {"depthwise": node, "project": project}, x.out, project)


def residual(x: Node) -> Step | None:
    """A bottleneck to whose output its input is added."""
    add, branch = sum_of(x, x)
    step = inverted(x, branch) if add and branch else None
    if add is None or step is None or step.last.only is not add:
        return None
    if step.last.act != "none":
        raise NoMatch(step.last, f"{step.last.act} before the sum of {add.where}: not supported")
    if (step.out.h, step.out.w, step.out.c) != (x.out.h, x.out.w, x.out.c):
        return None
    return replace(step, last=add, joined=True)


def block(x: Node) -> Step | None:
    """Two dense convolutions around which the input goes, or a 1x1 convolution of it."""
    for shortcut in (x, *x.users):
        add, first = sum_of(x, shortcut)
        if not add or not first or first.kind != "conv" or not first.only:
            continue
        if first.only is add and shortcut is x:
            return around(x, copy_of(x, first), first, x, add)
        if first.only.only is add:
            return around(x, first, first.only, shortcut, add)
    return None


def copy_of(x: Node, before: Node) -> Node:
    """A convolution that changes nothing, in front of another."""
    affordable(before, x.out.c**2)
    return Node("conv", before.op, before.where, (x,), x.out, one(x.out.c))


def around(x: Node, first: Node, second: Node, shortcut: Node, add: Node) -> Step:
    """That block. NoMatch where it is none."""
    (kh, kw), own = second.kernel, (second.kernel[0] // 2, second.kernel[1] // 2)
    half = (own[0], own[0], own[1], own[1])
    parts = {"first": first, "second": second}
    for node in (second, shortcut) if shortcut is not x else (second,):
        if node.act != "none":
            raise NoMatch(node, f"{node.act} before the sum of {add.where}: not supported")
    if second.kind != "conv" or second.stride != (1, 1) or second.pads != half or not kh % 2 * kw % 2:
        raise NoMatch(second, f"second before the sum of {add.where}: wanted an odd kernel, stride 1, padding {half}")
    if shortcut is not x:
        if shortcut.kernel != (1, 1) or shortcut.pads != NO_PADS or shortcut.stride != first.stride:
            wanted = f"a 1x1 convolution of stride {first.stride}"
            raise NoMatch(shortcut, f"shortcut of the sum of {add.where}: wanted {wanted}")
        parts["shortcut"] = shortcut
    return Step("block", parts, x.out, add, True)


def affordable(node: Node, weights: int) -> None:
    """NoMatch where most of so many would be zeros."""
    if weights > MOST_ZEROS:
        raise NoMatch(node, f"a dense convolution in its place has {weights} weights: not supported")


def sum_of(x: Node, shortcut: Node) -> tuple[Node | None, Node | None]:
    """(sum, branch) where x's values go two ways: `shortcut`, x itself or a convolution that reads it, straight into a
    sum, and the other way through what begins with the branch."""
    if len(x.users) != 2:
        return None, None
    if shortcut is x:
        add = next((node for node in x.users if node.kind == "add"), None)
        branch = next((node for node in x.users if node is not add), None)
        return add, branch
    add = shortcut.only
    if shortcut.kind != "conv" or not add or add.kind != "add":
        return None, None
    return add, next(node for node in x.users if node is not shortcut)


def depthwise(x: Node) -> Step | None:
    """A depthwise convolution by itself: a projection behind it that changes nothing."""
    node = x.only
    if not node or node.kind != "depthwise" or x.kind == "input":
        return None
    return Step("bottleneck", {"depthwise": node, "project": copy_of(node, node)}, x.out, node)


def pool(x: Node) -> Step | None:
    node = x.only
    return Step(node.kind, {}, x.out, node) if node and node.kind in POOLS else None


RULES: tuple[Callable[[Node], Step | None], ...] = (
    first_depthwise,
    bottleneck,
    conv,
    depthwise,
    pool,
    residual,
    block,
)


# ---------------------------------------------------------------- the chain


class Chain:
    """Layers as they follow each other from the input on. `broken`: something in the way made it go on without one."""

    def __init__(self, nodes: Nodes):
        self.nodes = nodes
        self.steps: list[Step] = []
        self.obstacles: list[Line] = []
        self.notes: list[str] = []
        self.at = nodes.input
        self.broken = bool(nodes.obstacles)

    def read(self) -> Ending | None:
        """Goes through all of it. None, and lines in `obstacles`, where something is in the way."""
        self.walk()
        try:
            return None if self.broken else self.end()
        except NoMatch as e:
            self.obstacles.append(e.line)
            return None

    def walk(self) -> None:
        """Layers up to what is none, `at` being the last one's node."""
        while self.at.users:
            try:
                step = next((found for rule in RULES if (found := rule(self.at))), None)
            except NoMatch as e:
                self.skip(e.line)
                continue
            if step is None and self.at.only and self.at.only.kind in ("softmax", "sigmoid"):
                return
            if step is None:
                self.skip(self.strange())
                continue
            if not self.steps and step.kind != "conv":
                self.copy_input(step)
            self.steps.append(step)
            self.at = step.last

    def copy_input(self, step: Step) -> None:
        """The first layer must be a convolution: one that changes nothing."""
        x = self.nodes.input
        node = replace(copy_of(x, step.last), out=self.nodes.normal)
        self.steps.append(Step("conv", {"conv": node}, x.out, node))
        self.notes.append(f"{step.where}: a convolution that changes nothing is put before it")

    def strange(self) -> Line | None:
        """What is said of the nodes behind `at`, None where that has been said already."""
        users = self.at.users
        join = meeting(users, self.nodes.all)
        between = [node for node in self.nodes.all if self.at.op < node.op <= (join.op if join else LAST)]
        if any(node.kind == "opaque" for node in (*between, *users)):
            return None
        names = ", ".join(f"{node.where} ({node.out})" for node in users)
        if len(users) == 1:
            return users[0].op, f"{names}: not supported here"
        if join is None:
            return users[0].op, f"{names}: branches that do not meet: not supported"
        return join.op, f"{join.where} ({join.out}): joins branches that begin with {names}: not supported"

    def skip(self, line: Line | None) -> None:
        """Goes on where all ways from here meet."""
        self.broken = True
        if line:
            self.obstacles.append(line)
        join = meeting(self.at.users, self.nodes.all)
        self.at = join or Node("opaque", 0, "", (), self.at.out)

    # ---- what ends it

    def end(self) -> Ending:
        """The ending; takes layers that belong to it off the chain."""
        scores = self.at.only.kind if self.at.only else ""
        if self.at.only and self.at.only.users:
            raise NoMatch(self.at.only, "inside of a network: not supported")
        if scores == "sigmoid" and self.at.out.c == 1:
            self.two_classes()
            scores = "softmax"
        out = self.steps[-1].out if self.steps else self.at.out
        if not self.steps:
            raise NoMatch(self.at, "no layer at all")
        if out.h * out.w > 1:
            return Ending("heatmap" if scores else "raw", scores or "softmax", out)
        if not scores and not (out.c > 1 and self.over_maps()):
            return Ending("raw", "softmax", out)
        dense, last = None, self.steps[-1]
        if len(self.steps) > 1 and last.kind == "conv" and last.act == "none" and (last.x.h, last.x.w) == (1, 1):
            dense = self.steps.pop().last
        last = self.steps[-1]
        whole = last.kind == "meanpool" and last.layer().covers and len(self.steps) > 1
        return Ending("classify", scores or "softmax", out, self.steps.pop() if whole else None, dense)

    def over_maps(self) -> bool:
        """Whether the network goes over rows and columns, as one that classifies something does."""
        return max(self.nodes.input.out.h, self.nodes.input.out.w) > 1

    def two_classes(self) -> None:
        """One logit with a sigmoid is two with a softmax, the first one's being 0."""
        last = self.steps[-1]
        if last.kind != "conv":
            raise NoMatch(last.last, "one value with a sigmoid: wanted of a convolution or a fully connected layer")
        node, w = last.last, last.last.w
        both = Weights(
            np.concatenate([np.zeros_like(w.value), w.value]),
            np.repeat(w.scale, 2),
            np.array([0.0, w.bias[0]]),
            w.fault,
        )
        node = replace(node, weights=both, out=replace(node.out, c=2))
        self.steps[-1] = replace(last, parts={"conv": node}, last=node)
        self.at.out = node.out


def meeting(ways: list[Node], order: list[Node]) -> Node | None:
    """The first node that all ways go through; None if one ends before."""
    place = {id(node): i for i, node in enumerate(order)}
    front = {place[id(node)] for node in ways}
    while len(front) > 1:
        node = order[min(front)]
        if not node.users:
            return None
        front = front - {min(front)} | {place[id(user)] for user in node.users}
    return order[front.pop()] if front else None


def apart(names: tuple[str, ...]) -> tuple[str, ...]:
    """A file's own labels, of which some may be the same (ImageNet has two cranes): numbered from the second on."""
    return tuple(f"{name} ({names[:i].count(name) + 1})" if name in names[:i] else name for i, name in enumerate(names))


def class_names(names: tuple[str, ...], ending: Ending | None) -> tuple[tuple[str, ...], list[Line]]:
    """A label for each class, none for a raw network; and what is wrong with those given."""
    n = ending.out.c if ending and ending.task != "raw" else 0
    if n == 2 == len(names) + 1:
        names = (f"no {names[0]}", *names)
    if names and n and len(names) != n:
        return (), [(LAST, f"labels: wanted {n}, got {len(names)}")]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        return (), [(LAST, f"labels: wanted different ones, got twice: {some(twice)}")]
    return names[:n] or tuple(f"class {i}" for i in range(n)), []


def limits(step: Step) -> list[Line]:
    """What of a layer is larger than a blob can say."""
    layer, (kh, kw), m = step.layer(), step.main.kernel, step.main
    most = fmt.MAX_COVER if layer.covers and step.kind != "bottleneck" else fmt.MAX_KERNEL
    found = [
        (max(kh, kw) <= most, f"kernel {kh}x{kw}: wanted at most {most} rows and columns"),
        (max(m.stride) <= fmt.MAX_KERNEL, f"stride {m.stride}: wanted at most {fmt.MAX_KERNEL}"),
        (max(layer.h, layer.w) <= fmt.MAX_SIDE, f"map {step.x}: wanted at most {fmt.MAX_SIDE} rows and columns"),
        (max(layer.cexp, layer.cout) < 1 << 15, f"{max(layer.cexp, layer.cout)} channels: wanted less than 32768"),
        (not layer.fault(), layer.fault()),
    ]
    return [(m.op, f"{m.where} ({step.x}): {text}") for fits, text in found if not fits]

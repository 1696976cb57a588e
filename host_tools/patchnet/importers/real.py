"""A matched file as a float network: real weights, from which calibration (`train`) makes integers of its own.

So come files without integers, and those whose integers cannot stand in a blob.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..net.layers import Layer
from .graph import FloatLayer, Imported, Unsupported
from .match import Matched, Step
from .network import network_of
from .nodes import Node

RANGES = {"0..255": (0.0, 1.0), "0..1": (0.0, 255.0), "-1..1": (127.5, 127.5)}  # (mean, std) of pixels


@dataclass(frozen=True)
class Pixels:
    """What a picture's pixels p (0..255) are to the file's input: (p - mean) / std, an entry for each channel or one
    for all."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @classmethod
    def named(cls, name: str) -> Pixels:
        """One of RANGES, or MEAN/STD, each a number or one for each channel with commas between. ValueError."""
        if name in RANGES:
            mean, std = RANGES[name]
            return cls((mean,), (std,))
        try:
            means, stds = (tuple(float(n) for n in side.split(",")) for side in name.split("/"))
        except ValueError:
            raise ValueError(f"pixels: wanted {', '.join(RANGES)}, or MEAN/STD of 0..255, got {name}") from None
        if not (np.isfinite([*means, *stds]).all() and min(stds) > 0 and {len(means), len(stds)} <= {1, 3}):
            raise ValueError(f"pixels: wanted a mean and a deviation above 0, of one or three channels, got {name}")
        return cls(means, stds)

    def __str__(self) -> str:
        return "/".join(",".join(f"{value:.9g}" for value in part) for part in (self.mean, self.std))


def real(matched: Matched, pixels: Pixels | None = None) -> Imported:
    """`pixels` are asked for where the file's input is a picture in real numbers: nothing in it tells; of integers the
    input's scale and zero point do. Unsupported where that is missing, or where a layer needs what `train` has not."""
    notes = list(matched.notes)
    mean, std, gain, rest = normalised(matched, pixels)
    off = std * np.abs(rest / gain).max() if matched.picture else 0.0  # of 255
    if off > 0.005 and any(matched.steps[0].main.pads):
        notes.append(f"input: pads are {off:.2f} of a pixel's 255 steps off, being whole numbers from 0 to 255")
    first, *others = [part for step in matched.steps for part in as_trained(step)]
    chain = [with_input(first, gain, rest), *others]
    floats = [FloatLayer({name: PARTS.get(name, flat)(node) for name, node in step.parts.items()}) for step in chain]
    dense = matched.ending.dense
    floats.append(FloatLayer({"dense": flat(dense)} if dense else {}))
    shapes = tuple(trained_layer(step) for step in chain)
    return Imported(network_of(matched, shapes, mean, std), floats=floats, notes=notes)


# ---------------------------------------------------------------- the input


def normalised(matched: Matched, pixels: Pixels | None) -> tuple[tuple[int, ...], float, np.ndarray, np.ndarray]:
    """(mean, std, gain, rest): the file's first layer reads gain * x + rest, with x = (p - mean) / std of pixels p and
    one entry of gain and rest for each channel. An input that is no picture is real as it is."""
    m, of_pixel, offset = matched.input, matched.gain, matched.offset
    if not matched.picture:
        return (0,), 1.0, of_pixel, offset
    if m.scale:
        of_pixel, offset = of_pixel * m.scale, offset - of_pixel * m.scale * (m.zero + 128)
    elif pixels is None:
        raise Unsupported(
            [f"input {m} float32: wanted what pixels are to it: --pixels {', '.join(RANGES)}, or MEAN/STD"]
        )
    else:
        std = np.broadcast_to(pixels.std, m.c)
        of_pixel, offset = of_pixel / std, offset - of_pixel * np.broadcast_to(pixels.mean, m.c) / std
    mean = np.clip(np.rint(-offset / of_pixel), 0, 255)
    unit = float(np.abs(of_pixel).mean())
    return tuple(int(v) for v in mean), 1 / unit, of_pixel / unit, offset + of_pixel * mean


def with_input(step: Step, gain: np.ndarray, rest: np.ndarray) -> Step:
    """The first layer reading x instead of gain * x + rest."""
    node = step.parts["conv"]
    weight = node.w.real
    weights = replace(
        node.w, value=weight * gain, scale=np.ones(len(weight)), bias=node.w.bias + (weight * rest).sum((1, 2, 3))
    )
    return replace(step, parts={"conv": replace(node, weights=weights)})


# ---------------------------------------------------------------- layers


def as_trained(step: Step) -> tuple[Step, ...]:
    """Layers whose activations are as Layer has them: one inside of a bottleneck or a block."""
    if step.kind == "block" and step.parts["first"].act != step.act:
        raise Unsupported([f"{step.last.where}: {step.act} behind the sum, and {step.parts['first'].act} inside of it"])
    expand, depthwise = step.parts.get("expand"), step.parts.get("depthwise")
    if expand is None or depthwise is None or depthwise.act in ("none", expand.act):
        return (step,)
    if step.joined:
        raise Unsupported([f"{step.where}: {depthwise.act} behind {expand.where}, {expand.act}, inside of a sum"])
    parts = {name: node for name, node in step.parts.items() if name != "expand"}
    return Step("conv", {"conv": expand}, step.x, expand), replace(step, parts=parts, x=expand.out)


def trained_layer(step: Step) -> Layer:
    """With what only a float network needs to know of a bottleneck: what is behind it, and that its depthwise
    convolution has no activation."""
    if step.kind != "bottleneck":
        return step.layer()
    expand, depthwise = step.parts.get("expand"), step.parts["depthwise"]
    layer = step.layer(act=expand.act if expand else "relu" if depthwise.act == "none" else depthwise.act)
    behind = "none" if step.last is depthwise else step.act
    return replace(layer, linear=depthwise.act == "none", out_act=behind)


def whole(node: Node) -> tuple[np.ndarray, np.ndarray]:
    return node.w.real, node.w.bias


def flat(node: Node) -> tuple[np.ndarray, np.ndarray]:
    """Of a 1x1 convolution."""
    return node.w.real[:, 0, 0], node.w.bias


PARTS: dict[str, Callable[[Node], tuple[np.ndarray, np.ndarray]]] = dict.fromkeys(
    ("conv", "depthwise", "first", "second"), whole
)

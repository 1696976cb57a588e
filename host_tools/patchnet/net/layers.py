"""Layers: the steps of a network, each said in full."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import ClassVar

from ..format import MAX_REDUCTION

ACTIVATIONS = ("relu6", "relu", "none")
POOLS = ("maxpool", "meanpool")
CASTS = ("int4", "int8")
SHARES = {"int4": "half ", "int8": "twice "}  # of a cast's input, how many channels come out
PLAIN = (*POOLS, *CASTS)  # without weights and activation
KINDS = ("conv", "bottleneck", "block", *PLAIN)

Pair = tuple[int, int]  # along rows of the map and along its columns: (height, width)
Pads = tuple[int, int, int, int]  # top, bottom, left, right


def pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value


@dataclass(frozen=True)
class Layer:
    """One step of a chain: h x w x cin in, oh x ow x cout out. `kind` is

    * "conv": dense convolution, activation;
    * "bottleneck": inverted bottleneck: 1x1 expand, depthwise convolution, 1x1 project; activations after the first
      two. `cexp` expanded channels (equal to cin, with `expand` False, when there is no expansion convolution);
    * "block": two dense convolutions, the first to `cexp` channels with an activation, the second of `second` kernel,
      stride 1 and padding second // 2; the input is added, and the activation follows. With `expand` the input goes
      through a 1x1 convolution of the first one's stride before it is added (a projection shortcut), else the shapes
      must be equal;
    * "maxpool", "meanpool": pooling. What is outside the map takes no part in a maximum, and counts as 0 in a mean;
    * "int4": a map's values rounded to 16 steps of 16, two channels in a byte: cout = cin / 2 bytes a pixel. "int8":
      such a map's values as int8 again, cout = 2 * cin. An "int8" follows each "int4", and nothing else does: between
      them a map takes half the bytes.

    `kernel`, `stride` (a number for both, or (height, width)) and `pads` (top, bottom, left, right; None: kernel // 2
    on all sides) are those of the convolution that has such: dense, first, depthwise, or of the pooling.
    `residual` of a bottleneck: the input is added to the output, which then has its shape. Two things of one that its
    integers need not know: `out_act`, an activation behind all that (MobileNetV1's), is a clamp, and a `linear`
    depthwise convolution, one without activation (a separable convolution's), is one with a bias that leaves it none to
    do. `act`, not "none", is then that of the expansion, if there is one.
    """

    kind: str
    h: int
    w: int
    cin: int
    cexp: int
    cout: int
    kernel: int | Pair
    stride: int | Pair
    expand: bool = False
    residual: bool = False
    act: str = "relu6"
    pads: Pads | None = None
    second: int | Pair = 1
    out_act: str = "none"
    linear: bool = False

    value_bytes: ClassVar[int] = 1  # of a value of its maps

    @cached_property
    def kh(self) -> int:
        return pair(self.kernel)[0]

    @cached_property
    def kw(self) -> int:
        return pair(self.kernel)[1]

    @cached_property
    def sh(self) -> int:
        return pair(self.stride)[0]

    @cached_property
    def sw(self) -> int:
        return pair(self.stride)[1]

    @cached_property
    def taps(self) -> int:
        return self.kh * self.kw

    @cached_property
    def pad(self) -> Pads:
        """Top, bottom, left, right."""
        return self.pads or (self.kh // 2, self.kh // 2, self.kw // 2, self.kw // 2)

    @cached_property
    def square(self) -> int:
        """The kernel, if it is as high as wide and the stride likewise; else 0."""
        return self.kh if self.kh == self.kw and self.sh == self.sw else 0

    @cached_property
    def covers(self) -> bool:
        """Whether the kernel is the whole map, which gives one pixel."""
        return (self.kh, self.kw) == (self.h, self.w) and not any(self.pad)

    @cached_property
    def products(self) -> int:
        """The most products in one of its sums."""
        dense = self.taps * self.cin
        if self.kind == "conv":
            return dense
        if self.kind == "block":
            return max(dense, math.prod(pair(self.second)) * self.cexp)
        return max(self.taps, self.cin, self.cexp) if self.kind == "bottleneck" else self.taps

    def fault(self) -> str:
        """What is wrong with it by itself: wanted and got; "" for nothing."""
        if min(self.sh, self.sw) < 1:
            return f"stride: wanted 1 or more, got {self.stride}"
        between = self.kind == "block" or (self.kind == "bottleneck" and self.expand)
        own = self.cin if self.kind == "bottleneck" else 0
        ends = ACTIVATIONS if self.kind == "bottleneck" else ("none",)
        top, bottom, left, right = self.pad
        share = SHARES.get(self.kind, "")
        outside = self.kind == "block" and ((self.oh - 1) * self.sh >= self.h or (self.ow - 1) * self.sw >= self.w)
        for name, got, fits, wanted in (
            ("kind", self.kind, self.kind in KINDS, " or ".join(KINDS)),
            ("act", self.act, self.act in ACTIVATIONS, " or ".join(ACTIVATIONS)),
            ("out_act", self.out_act, self.out_act in ends, " or ".join(ends)),
            ("linear", self.linear, not self.linear or (len(ends) > 1 and self.act != "none"),
             "it of a bottleneck with an act"),
            ("kernel", self.kernel, min(self.kh, self.kw) >= 1, "1 or more"),
            ("cout", self.cout, self.cout >= 1, "1 channel or more"),
            ("pads", self.pads, min(self.pad) >= 0 and max(top, bottom) < self.kh and max(left, right) < self.kw,
             "0 or more, less than the kernel"),
            ("kernel", self.kernel, min(self.h + top + bottom - self.kh, self.w + left + right - self.kw) >= 0,
             f"one that fits into {self.h} x {self.w} with its padding"),
            ("cexp", self.cexp, self.cexp >= 1 if between else self.cexp == own,
             "channels between the convolutions" if between else f"{own}"),
            ("second", self.second, all(k >= 1 and k % 2 for k in pair(self.second)), "odd numbers"),
            ("pads", self.pads, not outside, "of a block such that each output has an input to add"),
            ("cin", self.cin, self.kind != "int4" or self.cin % 2 == 0, "an even number"),
            ("kernel", self.kernel, self.kind not in CASTS or self.taps == self.sh * self.sw == 1, "1, a stride of 1"),
            ("cout", self.cout, self.kind not in PLAIN or self.cout == self.kept, f"{self.kept}, {share}the input's"),
            ("products in a sum", self.products, self.products <= MAX_REDUCTION, f"at most {MAX_REDUCTION}"),
        ):  # fmt: skip
            if not fits:
                return f"{name}: wanted {wanted}, got {got}"
        return ""

    @property
    def kept(self) -> int:
        """Channels that come out of a pooling or a cast, of "int4" bytes of a pixel."""
        return {"int4": self.cin // 2, "int8": 2 * self.cin}.get(self.kind, self.cin)

    @cached_property
    def oh(self) -> int:
        return (self.h + self.pad[0] + self.pad[1] - self.kh) // self.sh + 1

    @cached_property
    def ow(self) -> int:
        return (self.w + self.pad[2] + self.pad[3] - self.kw) // self.sw + 1

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one run, nothing recomputed."""
        pixels = self.oh * self.ow
        if self.kind in PLAIN:
            return 0
        if self.kind == "conv":
            return pixels * self.taps * self.cin * self.cout
        if self.kind == "block":
            return pixels * self.weights
        expand = self.h * self.w * self.cin * self.cexp if self.expand else 0
        return expand + pixels * self.cexp * (self.taps + self.cout)

    @cached_property
    def weights(self) -> int:
        """Weights, biases not counted."""
        if self.kind in PLAIN:
            return 0
        if self.kind == "conv":
            return self.taps * self.cin * self.cout
        if self.kind == "block":
            kh, kw = pair(self.second)
            return self.cexp * (self.taps * self.cin + kh * kw * self.cout) + self.expand * self.cin * self.cout
        expand = self.cin * self.cexp if self.expand else 0
        return expand + self.cexp * (self.taps + self.cout)


@dataclass(frozen=True)
class Float32Layer(Layer):
    """A layer of a float32 network: its maps and weights are float32, but for the int8 input of the first one."""

    value_bytes: ClassVar[int] = 4

    @classmethod
    def of(cls, layer: Layer) -> Float32Layer:
        return cls(**{f.name: getattr(layer, f.name) for f in fields(layer)})


def casts(layer: Layer) -> tuple[Layer, Layer]:
    """What brings the layer's output to 4 bits, and back: of an even number of channels."""
    h, w, channels = layer.oh, layer.ow, layer.cout
    return (
        Layer("int4", h, w, channels, 0, channels // 2, 1, 1, act="none"),
        Layer("int8", h, w, channels // 2, 0, channels, 1, 1, act="none"),
    )


def input_bytes(layer: Layer, first: bool) -> int:
    """Of a pixel of its input; `first`: it reads the network's, which is int8."""
    return layer.cin * (1 if first else layer.value_bytes)

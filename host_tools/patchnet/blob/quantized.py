"""An integer network: what `quantize` makes and `pack` writes. No float on the path of the data.

The arithmetic, once more in words (modpatchnet/FORMAT.md has the full text, modpatchnet/engine/kernels/pn_round.h the
code):

    wide(acc)   = clamp(((acc << shift) * mult + 2^31) >> 32)                       expanded and depthwise values
    narrow(acc) = clamp8((((acc << shift) * mult >> 32) + 256 * zero_out + 128 + residual) >> 8)    all the others

Products are 64 bits wide, shifts arithmetic. `wide` clamps to 0..255 (after ReLU or ReLU6: the upper end of the
activation is the top of the scale) or, where `signed` (no activation), to -128..127; its zero point is always 0.
For real scales s_in of the input, s_w of the weights (one per output channel) and s_out of the output,
mult = round(2^(32 - shift) * s_in * s_w / s_out) for `wide`, round(2^(40 - shift) * s_in * s_w / s_out) for `narrow`;
every mult is 1 .. 2^31 - 1, `shift` (0..16, one for each convolution, the smallest that brings all mults into range)
and `bias` are such that (acc << shift) fits int32 for any input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from ..net.layers import Layer
from ..net.network import Network


@dataclass(frozen=True)
class Scaled:
    """Weights and what follows them: weight int8 (-127..127), bias int32 (the input's zero point folded in:
    b - sum(zero_in * weight)), mult int32; bias and mult have one entry per output channel.

    Weight layouts: conv (cout, kh, kw, cin), expand (cexp, cin), depthwise (cexp, kh, kw), project (cout, cexp),
    a shortcut's 1x1 (cout, cin), fully connected (classes, features).
    """

    weight: np.ndarray
    bias: np.ndarray
    mult: np.ndarray


@dataclass(frozen=True)
class QConv:
    """Dense convolution, int8 in, int8 out through `narrow`. Padding is the input's zero point.

    An activation is the clamp itself: after ReLU or ReLU6 zero_out is -128.
    """

    shape: Layer
    conv: Scaled
    shift: int
    zero_out: int


@dataclass(frozen=True)
class QBottleneck:
    """Inverted bottleneck: expand (`wide`), depthwise (`wide`), project (`narrow`, linear), residual.

    Expanded values are padded with 0. `expand` is None for expansion 1: the depthwise convolution then reads the
    layer's int8 input, padded with the input's zero point. `signed` is shape.act == "none", for both wide steps.
    residual = res_mult * (x - zero_in), res_mult = round(256 * s_in / s_out) in 1..32767; 0 where there is none.
    `shift` is the projection's.

    Depthwise values without an activation need no `signed` where the expansion, if there is one, has an activation, as
    nothing pads them: a zero point z is as good as a bias, 0..255 standing for z - 128 .. z + 127.
    """

    shape: Layer
    expand: Scaled | None
    depthwise: Scaled
    project: Scaled
    shift: int
    zero_out: int
    res_mult: int
    expand_shift: int = 0
    depthwise_shift: int = 0


@dataclass(frozen=True)
class QBlock:
    """Two dense convolutions around which the input goes: first (`narrow`, zero point `zero_mid`, which pads the
    second), second (`narrow`, `shift` and `zero_out`), and what is added before its clamp: res_mult * (y - zero_add).
    y is the layer's input and zero_add its zero point, or, with a shortcut, that 1x1 convolution's output (`narrow`,
    `shortcut_shift`, zero point `zero_add`). res_mult = round(256 * s_y / s_out).
    """

    shape: Layer
    first: Scaled
    second: Scaled
    shortcut: Scaled | None
    first_shift: int
    zero_mid: int
    shift: int
    zero_out: int
    res_mult: int
    shortcut_shift: int = 0
    zero_add: int = 0


@dataclass(frozen=True)
class QPooling:
    """Pooling, int8 in and out. A mean is narrow(sum of (x - zero_in)) with `mult` and `shift`, what is outside the map
    being zero_in: mult = round(2^(40 - shift) * s_in / (kh * kw * s_out)). A maximum has mult = shift = 0 and its
    input's zero point.
    """

    shape: Layer
    zero_out: int
    mult: int = 0
    shift: int = 0


@dataclass(frozen=True)
class QCast:
    """A map's values as int4, min(q + 8, 127) with its lower four bits cleared, or such a map's as int8: what they
    stand for stays, and `zero_out` is the input's zero point."""

    shape: Layer
    zero_out: int
    shift: ClassVar[int] = 0


QLayer = QConv | QBottleneck | QBlock | QPooling | QCast


class QEnd:
    """The integers of what ends a network: a subclass for each task, in the task's room (its module `record`)."""

    @classmethod
    def of(cls, qnet: QNet) -> Self:
        """The end's integers, as of this class. TypeError for a network of another task."""
        if not isinstance(qnet.end, cls):
            raise TypeError(f"{qnet.design.name}: wanted {cls.__name__}, got {type(qnet.end).__name__}")
        return qnet.end


@dataclass(frozen=True)
class QNet:
    """The whole network. tunnels[i] is the chain of layers over the patch at design.patches()[i], `behind` the layers
    that follow the tunnels, as `design.tail()` has them.

    A stem reads q = pixel - 128 with the zero point input_zero[c] = mean[c] - 128 (1 / std is in its scale). An input
    of other than 1 or 3 channels is no picture: its values are raw int8, with one zero point, input_zero[0], for all.
    All tunnels end with one scale and one zero point.
    """

    design: Network
    input_zero: tuple[int, ...]
    tunnels: tuple[tuple[QLayer, ...], ...]
    end: QEnd
    behind: tuple[QLayer, ...] = ()

    def chains(self) -> tuple[tuple[QLayer, ...], ...]:
        """The tunnels and, where layers follow them, those."""
        return (*self.tunnels, self.behind) if self.behind else self.tunnels

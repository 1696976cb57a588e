"""An integer network: what `quantize` makes and `pack` writes. No float on the path of the data.

The arithmetic, once more in words (modpatchnet/FORMAT.md has the full text, modpatchnet/engine/kernels/pn_round.h the
code):

    wide(acc)   = clamp((acc * mult + 2^31) >> 32)                                  expanded and depthwise values
    narrow(acc) = clamp8((((acc << shift) * mult >> 32) + 256 * zero_out + 128 + residual) >> 8)    all the others

Products are 64 bits wide, shifts arithmetic. `wide` clamps to 0..255 (after ReLU or ReLU6: the upper end of the
activation is the top of the scale) or, where `signed` (no activation), to -128..127; its zero point is always 0.
For real scales s_in of the input, s_w of the weights (one per output channel) and s_out of the output,
mult = round(2^32 * s_in * s_w / s_out) for `wide`, round(2^(40 - shift) * s_in * s_w / s_out) for `narrow`;
every mult is 1 .. 2^31 - 1, `shift` (0..16, one per layer, the smallest that brings all mults into range) and
`bias` are such that (acc << shift) fits int32 for any input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from ..net.layers import Layer
from ..net.network import Network


@dataclass(frozen=True)
class Scaled:
    """Weights and what follows them: weight int8 (-127..127), bias int32 (the input's zero point folded in:
    b - sum(zero_in * weight)), mult int32; bias and mult have one entry per output channel.

    Weight layouts: conv (cout, k, k, cin), expand (cexp, cin), depthwise (cexp, k, k), project (cout, cexp),
    fully connected (classes, features).
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
    """

    shape: Layer
    expand: Scaled | None
    depthwise: Scaled
    project: Scaled
    shift: int
    zero_out: int
    res_mult: int


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

    A stem reads q = pixel - 128 with the zero point input_zero[c] = mean[c] - 128 (1 / std is in its scale). All
    tunnels end with one scale and one zero point.
    """

    design: Network
    input_zero: tuple[int, ...]
    tunnels: tuple[tuple[QConv | QBottleneck, ...], ...]
    end: QEnd
    behind: tuple[QConv | QBottleneck, ...] = ()

    def chains(self) -> tuple[tuple[QConv | QBottleneck, ...], ...]:
        """The tunnels and, where layers follow them, those."""
        return (*self.tunnels, self.behind) if self.behind else self.tunnels

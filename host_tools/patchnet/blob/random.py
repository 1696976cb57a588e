"""Networks with random integers, to plan and to measure with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ..net.layers import CASTS, Layer, pair
from ..net.network import Network
from .quantized import QBlock, QBottleneck, QCast, QConv, QLayer, QNet, QPooling, Scaled
from .unpack import record_of


def _scaled(rng: np.random.Generator, shape: tuple[int, ...], inputs: float, unit: float, spread: float) -> Scaled:
    """Random weights, and the multiplier that turns sums over inputs of about `inputs` into values of about `spread`.

    A value is sum * mult / unit.
    """
    mult = min(unit * spread / (inputs * 73 * np.prod(shape[1:]) ** 0.5), 2**31 - 1)
    weight = rng.integers(-127, 128, shape).astype(np.int8)
    bias = rng.integers(-1000, 1000, shape[0]).astype(np.int32)
    return Scaled(weight, bias, np.full(shape[0], mult, np.int32))


def narrow(rng: np.random.Generator, shape: tuple[int, ...], inputs: float) -> tuple[Scaled, int]:
    """The same for what ends as int8, and the smallest shift with which the multipliers have room."""
    need = 40.0 * 2**40 / (inputs * 73 * np.prod(shape[1:]) ** 0.5) / (2**31 - 1)
    shift = max(0, int(np.ceil(np.log2(need))))
    return _scaled(rng, shape, inputs, 2.0 ** (40 - shift), 40), shift


def _random_block(rng: np.random.Generator, s: Layer) -> QBlock:
    first, first_shift = narrow(rng, (s.cexp, s.kh, s.kw, s.cin), 60)
    second, shift = narrow(rng, (s.cout, *pair(s.second), s.cexp), 60)
    shortcut, shortcut_shift = narrow(rng, (s.cout, s.cin), 60) if s.expand else (None, 0)
    return QBlock(s, first, second, shortcut, first_shift, -128, shift, -128, 200, shortcut_shift, 5 * s.expand)


def _random_layer(rng: np.random.Generator, s: Layer, zero_in: int) -> QLayer:
    if s.kind == "conv":
        conv, shift = narrow(rng, (s.cout, s.kh, s.kw, s.cin), 60)
        return QConv(s, conv, shift, 0 if s.act == "none" else -128)
    if s.kind == "block":
        return _random_block(rng, s)
    if s.kind == "maxpool":
        return QPooling(s, zero_in)
    if s.kind in CASTS:
        return QCast(s, zero_in)
    if s.kind == "meanpool":
        shift = max(0, 11 - s.taps.bit_length())  # 2^(40 - shift) / taps fits 31 bits
        return QPooling(s, zero_in, int(2 ** (40 - shift) / s.taps), shift)
    expand = _scaled(rng, (s.cexp, s.cin), 60, 2.0**32, 60) if s.expand else None
    depthwise = _scaled(rng, (s.cexp, s.kh, s.kw), 60, 2.0**32, 60)
    project, shift = narrow(rng, (s.cout, s.cexp), 60)
    return QBottleneck(s, expand, depthwise, project, shift, 3, 200 if s.residual else 0)


def random_qnet(network: Network, seed: int = 0) -> QNet:
    """A network with random integers that keep values in range; its tunnels share them. It tells nothing.

    Its layers may run in modes fast and sweep wherever their shapes do.
    """
    rng = np.random.default_rng(seed)
    tunnel = _random_chain(rng, network.layers(), 0)
    behind: list[QLayer] = []
    zero = tunnel[-1].zero_out
    for readout in network.readouts:
        layers = _random_chain(rng, readout.layers, zero)
        zero = layers[-1].zero_out if layers else zero
        behind += [*layers, replace(_random_layer(rng, readout.head, zero), zero_out=0)]
    end = record_of(network.task).random(rng, network)
    zeros = network.channels if network.channels in (1, 3) else 1
    return QNet(network, (0,) * zeros, (tunnel,) * network.tunnels, end, tuple(behind))


def _random_chain(rng: np.random.Generator, layers: Iterable[Layer], zero_in: int) -> tuple[QLayer, ...]:
    out: list[QLayer] = []
    for layer in layers:
        out.append(_random_layer(rng, layer, out[-1].zero_out if out else zero_in))
    return tuple(out)

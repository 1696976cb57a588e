"""Networks with random integers, to plan and to measure with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..net.layers import Layer
from ..net.network import Network
from .quantized import QBottleneck, QConv, QNet, Scaled
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


def _random_layer(rng: np.random.Generator, s: Layer) -> QConv | QBottleneck:
    if s.kind == "conv":
        conv, shift = narrow(rng, (s.cout, s.kernel, s.kernel, s.cin), 60)
        return QConv(s, conv, shift, 0 if s.act == "none" else -128)
    expand = _scaled(rng, (s.cexp, s.cin), 60, 2.0**32, 60) if s.expand else None
    depthwise = _scaled(rng, (s.cexp, s.kernel, s.kernel), 60, 2.0**32, 60)
    project, shift = narrow(rng, (s.cout, s.cexp), 60)
    return QBottleneck(s, expand, depthwise, project, shift, 3, 200 if s.residual else 0)


def random_qnet(network: Network, seed: int = 0) -> QNet:
    """A network with random integers that keep values in range; its tunnels share them. It tells nothing.

    Its layers may run in modes fast and sweep wherever their shapes do.
    """
    rng = np.random.default_rng(seed)
    tunnel = tuple(_random_layer(rng, layer) for layer in network.layers())
    behind: list[QConv | QBottleneck] = []
    for readout in network.readouts:
        head = replace(_random_layer(rng, readout.head), zero_out=0)
        behind += [*(_random_layer(rng, layer) for layer in readout.layers), head]
    end = record_of(network.task).random(rng, network)
    return QNet(network, (0,) * network.channels, (tunnel,) * network.tunnels, end, tuple(behind))

"""Counting instructions on the emulated Cortex-M7: the four blocks that others publish, and whole networks.

A microsecond of the emulated clock is 1000 instructions, exactly (`remote.Board.qemu`, icount), so `Model.profile` counts
instructions layer by layer. Instructions are not cycles: a load of four words counts once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .design import Layer, Network
from .quantized import QBottleneck, QConv, QNet, QPool, Scaled
from .remote import Board

PER_MICROSECOND = 1000

# ---------------------------------------------------------------- networks with random integers


@dataclass(frozen=True)
class Chain(Network):
    """A network whose tunnels are any chain of layers."""

    chain: tuple[Layer, ...] = ()

    def layers(self) -> list[Layer]:
        return list(self.chain)


def _scaled(rng: np.random.Generator, shape: tuple[int, ...], inputs: float, unit: float, spread: float) -> Scaled:
    """Random weights with the multiplier that turns sums over inputs of about `inputs` into values of about `spread`.

    A value is sum * mult / unit.
    """
    products = int(np.prod(shape[1:]))
    mult = min(unit * spread / (inputs * 73 * products**0.5), 2**31 - 1)
    bias = rng.integers(-1000, 1000, shape[0])
    return Scaled(rng.integers(-127, 128, shape).astype(np.int8), bias.astype(np.int32), np.full(shape[0], mult, np.int32))


def _narrow(rng: np.random.Generator, shape: tuple[int, ...], inputs: float) -> tuple[Scaled, int]:
    """The same for what ends as int8, and the smallest shift with which the multipliers have room."""
    need = 40.0 * 2**40 / (inputs * 73 * np.prod(shape[1:]) ** 0.5) / (2**31 - 1)
    shift = max(0, int(np.ceil(np.log2(need))))
    return _scaled(rng, shape, inputs, 2.0 ** (40 - shift), 40), shift


def _random_layer(rng: np.random.Generator, s: Layer) -> QConv | QBottleneck:
    if s.kind == "conv":
        conv, shift = _narrow(rng, (s.cout, s.kernel, s.kernel, s.cin), 60)
        return QConv(s, conv, shift, 0 if s.act == "none" else -128)
    expand = _scaled(rng, (s.cexp, s.cin), 60, 2.0**32, 60) if s.expand else None
    depthwise = _scaled(rng, (s.cexp, s.kernel, s.kernel), 60, 2.0**32, 60)
    project, shift = _narrow(rng, (s.cout, s.cexp), 60)
    return QBottleneck(s, expand, depthwise, project, shift, 0, 200 if s.residual else 0)


def random_qnet(network: Network, seed: int = 0) -> QNet:
    """A network with random integers that keep values in range; its tunnels share them. It classifies nothing."""
    rng = np.random.default_rng(seed)
    tunnel = tuple(_random_layer(rng, layer) for layer in network.layers())
    fc, fc_shift = _narrow(rng, (len(network.labels), network.features), 60)
    zero = (0,) * network.channels
    return QNet(network, zero, (tunnel,) * network.tunnels, QPool(1 << 24, 0, 0), fc, fc_shift, 0, 0.1)


# ---------------------------------------------------------------- on the board

_MEASURE = """
import gc, json, patchnet
with open("picture", "rb") as f:
    x = f.read()
x = patchnet.Image({width}, {height}, patchnet.RGB565, x) if {camera} else x
with patchnet.Model("{name}") as m:
    print(json.dumps([row[2] for row in m.profile(x)]))
gc.collect()
"""


def measure(board: Board, name: str, picture: tuple[int, int] | None = None, timeout: float = 300) -> list[int]:
    """Instructions of each layer of the blob `name`, all tunnels together, then of the fully connected layer.

    It classifies the file "picture": an RGB565 frame of (width, height), or raw int8 input if None.
    """
    width, height = picture or (0, 0)
    code = _MEASURE.format(name=name, width=width, height=height, camera=picture is not None)
    return [PER_MICROSECOND * us for us in json.loads(board.exec(code, timeout))]

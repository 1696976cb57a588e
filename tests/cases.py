"""What a test of equality runs: a random network, its blob, a picture in a camera's format, and a region of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from networks import extreme_picture, random_network, random_picture, random_qnet
from oracle import GREY, RGB565, RGB888, Oracle
from patchnet.design import Network
from patchnet.pack import pack
from patchnet.plan import Plan, place
from patchnet.quantized import QNet


@dataclass
class Picture:
    """A camera's frame: the arguments of the oracle's and the engine's run_image."""

    data: bytes
    w: int
    h: int
    pixfmt: int
    roi: tuple[int, int, int, int] | None = None

    def args(self) -> tuple:
        return self.data, self.w, self.h, self.pixfmt, self.roi


@dataclass
class Case:
    seed: int
    qnet: QNet
    blob: bytes
    oracle: Oracle
    picture: Picture


def encode(rgb: np.ndarray, pixfmt: int) -> bytes:
    """uint8 (h, w, 3) -> the bytes of a frame: the red channel alone, RGB565 (low byte first), or as it is."""
    if pixfmt == GREY:
        return rgb[..., 0].tobytes()
    if pixfmt == RGB888:
        return rgb.tobytes()
    r, g, b = (rgb[..., i].astype(np.uint16) for i in range(3))
    return (r >> 3 << 11 | g >> 2 << 5 | b >> 3).astype("<u2").tobytes()


def random_region(rng, w: int, h: int) -> tuple[int, int, int, int]:
    x, y = int(rng.integers(0, w)), int(rng.integers(0, h))
    return x, y, int(rng.integers(1, w - x + 1)), int(rng.integers(1, h - y + 1))


def random_frame(rng, height: int, width: int, extreme: bool = False) -> Picture:
    """Smaller than, larger than or just as the network's picture; with or without a region."""
    w, h = (width, height) if rng.random() < 0.2 else (int(n) for n in rng.integers(1, 3 * max(height, width), 2))
    rgb = (extreme_picture if extreme else random_picture)(rng, h, w, 3)
    pixfmt = int(rng.choice([GREY, RGB565, RGB888]))
    roi = random_region(rng, w, h) if rng.random() < 0.5 else None
    return Picture(encode(rgb, pixfmt), w, h, pixfmt, roi)


def random_raw(rng, network: Network) -> np.ndarray:
    """int8 (height, width, channels)."""
    picture = random_picture(rng, network.height, network.width, network.channels)
    return (picture.astype(np.int64) - 128).astype(np.int8)


def random_schedule(rng, network: Network) -> list[tuple[int, int]]:
    """Any (rows, group) of each layer that FORMAT.md allows."""
    return [
        (1, layer.cout) if layer.kind == "conv" else tuple(int(rng.integers(1, n + 1)) for n in (layer.oh, layer.cexp))
        for layer in network.layers()
    ]


def random_plan(rng, network: Network) -> Plan:
    return place(network, random_schedule(rng, network))


def random_case(seed: int, extreme: bool = False, max_macs: int = 1_000_000) -> Case:
    """Everything about it follows from `seed`."""
    rng = np.random.default_rng([seed, extreme])
    network = random_network(rng, max_macs)
    qnet = random_qnet(rng, network, extreme=extreme)
    blob = pack(qnet, random_plan(rng, network) if rng.random() < 0.5 else None)
    return Case(seed, qnet, blob, Oracle(blob), random_frame(rng, network.height, network.width, extreme))

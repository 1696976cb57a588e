"""Blobs for the tests of the API: small random networks, damaged ones, and one that takes long to run."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from functools import cache

import numpy as np

from networks import Free, Layer, classifier, fast_qnet, free_network, random_qnet, random_recipe
from patchnet import Model
from patchnet import format as fmt
from patchnet.blob import random
from patchnet.blob.pack import pack, seal
from patchnet.blob.quantized import Scaled
from patchnet.net.network import Network
from patchnet.plan.modes import DIRECT, FAST, GROUPS, ROLLING, SWEEP
from patchnet.plan.place import place
from patchnet.tasks.classify.end import Pooled
from patchnet.tasks.heatmap.end import HeatMap
from patchnet.tasks.raw.end import LastMap
from patchnet.tasks.raw.record import QMap


@cache
def small(channels: int) -> bytes:
    """A random network of several layers and classes, for grey (1) or coloured (3) pictures, that tells them apart."""
    rng = np.random.default_rng(channels)
    while True:
        network = classifier(rng, random_recipe(rng, 300_000, k=4, halves=0).network())
        usual = network.end == Pooled(network.end.aggregate)
        if network.channels == channels and len(network.layers()) > 2 and len(network.labels) > 3 and usual:
            blob = pack(random_qnet(rng, network))
            if len({bytes(answer) for answer in answers(blob)}) == 4:
                return blob


def answers(blob: bytes) -> list:
    """What a network answers to some pictures."""
    model = Model(blob)
    n = math.prod(model.input_shape)
    return [model.predict(bytes(i * step & 255 for i in range(n))) for step in (0, 1, 7, 37)]


def bottlenecks(side: int, n: int, labels: tuple[str, ...] = ("no", "yes")) -> Network:
    """One chain on a grey picture: a stem of 16 channels and n bottlenecks of 96, signed: no fast mode is for them."""
    stem = Layer("conv", side, side, 1, 0, 16, 3, 1, act="relu6")
    block = Layer("bottleneck", side, side, 16, 96, 16, 5, 1, True, True, "none")
    return free_network("test", labels, side, side, 1, 1, False, 0, 0, chain=(stem, *[block] * n))


@cache
def heat() -> bytes:
    """A heat map of a coloured picture, of which patterns give boxes of several classes and sizes."""
    chain = Layer("conv", 24, 32, 3, 0, 8, 3, 2), Layer("conv", 12, 16, 8, 0, 4, 3, 2, act="none")
    network = free_network("heat", ("nothing", "a", "b", "c"), 24, 32, 3, 1, False, chain=chain)
    qnet = random_qnet(np.random.default_rng(3), replace(network, end=HeatMap(top=5)))
    return pack(replace(qnet, end=QMap(0.05)))


@cache
def raw() -> bytes:
    """A network with raw output, of a coloured picture."""
    chain = (Layer("conv", 8, 6, 3, 0, 2, 3, 2),)
    network = free_network("raw", ("a",), 8, 6, 3, 1, False, chain=chain)
    return pack(random_qnet(np.random.default_rng(4), replace(network, end=LastMap(), labels=())))


@cache
def flat() -> bytes:
    """Sigmoids of pooled values, of an input that is no picture."""
    chain = (Layer("conv", 1, 12, 5, 0, 3, (1, 3), 1),)
    network = free_network("flat", ("a", "b", "c"), 1, 12, 5, 1, False, chain=chain)
    return pack(random_qnet(np.random.default_rng(5), replace(network, end=Pooled(dense=False, scores="sigmoid"))))


@cache
def large() -> bytes:
    """Arena and blob are of more than 4 KB."""
    return pack(random_qnet(np.random.default_rng(5), bottlenecks(16, 3)))


@cache
def medium() -> bytes:
    """Of two frames to a board, or two blocks of its flash."""
    return pack(random_qnet(np.random.default_rng(5), bottlenecks(16, 1)))


@cache
def parts() -> bytes:
    """Every kind of part that a streamed blob is read in: groups of modes 5 and 6, some outputs of a convolution, a
    group of them of the head, some classes, and a layer that is only read whole."""
    chain = (
        Layer("conv", 12, 12, 1, 0, 24, 3, 1),
        Layer("bottleneck", 12, 12, 24, 64, 24, 3, 1, True, True),
        Layer("bottleneck", 12, 12, 24, 48, 16, 5, 2, True),
        Layer("bottleneck", 6, 6, 16, 24, 16, 3, 1, True, True, "none"),
        Layer("conv", 6, 6, 16, 0, 40, 3, 1),
    )
    labels = tuple(f"class {i}" for i in range(50))
    network = free_network("parts", labels, 12, 12, 1, 1, False, chain=chain)
    schedule = [
        (12, [(DIRECT, 1, 0)]), (12, [(FAST, 1, 12)]), (6, [(SWEEP, 3, 8)]),
        (2, [(ROLLING, 1, 0)]), (6, [(GROUPS, 1, 36)]),
    ]  # fmt: skip
    return pack(fast_qnet(np.random.default_rng(9), network), place(network, schedule))


@cache
def huge() -> bytes:
    """An arena of more than the 128 KB that an H7 has as DTCM."""
    qnet = random_qnet(np.random.default_rng(9), bottlenecks(96, 1))
    return pack(qnet, place(qnet.design, [(96, [(DIRECT, 1, 16)]), (96, [(ROLLING, 1, 0)])]))  # layer by layer


@cache
def long(k: int, n: int) -> bytes:
    """k chains over the k parts of a picture; all have the same integers, and each takes n * 17 million MACs."""
    qnet = random_qnet(np.random.default_rng(6), bottlenecks(56, n))
    side = 56 * int(k**0.5)
    shell = Free("test", qnet.design.labels, side, side, 1, k, False, chain=qnet.design.chain)
    return pack(replace(qnet, design=shell.network(), tunnels=qnet.tunnels * k))


@cache
def many_classes(n: int = 1000) -> bytes:
    labels = tuple(f"class {i} é" for i in range(n))
    return pack(random_qnet(np.random.default_rng(7), bottlenecks(5, 1, labels)))


def changed(blob: bytes, table: fmt.Table, field: str, value: int, at: int = 0) -> bytes:
    """The blob with another value in one field of the record at `at`, size and CRC made right."""
    data = bytearray(blob)
    code = dict(table.fields)[field]
    struct.pack_into("<" + code, data, at + table.offsets()[field], value)
    return seal(data)


def doubled() -> bytes:
    """parts() with a depthwise weight of mode 5 that stands there twice and is not the same."""
    blob = bytearray(parts())
    param = fmt.PARAM.unpack(blob, fmt.HEADER.unpack(blob)["param_off"] + fmt.PARAM.size)
    blob[param["weight_off"] + 8 * 24 + 6 * (16 + 8 * 6) + 12 * 24 + 8] ^= 1  # behind the first group's projection
    return seal(blob)


def strips(height: int) -> bytes:
    """Of a layer of 4096 x 64 pixels, in strips of that height: lower than 64, there are more than may be."""
    chain = (Layer("conv", 4096, 64, 1, 0, 1, 1, 1),)
    network = free_network("tall", ("a",), 4096, 64, 1, 1, False, chain=chain)
    small = replace(network, height=2, width=2, chain=(replace(chain[0], h=2, w=2),))
    qnet = random.random_qnet(small)
    blob = pack(
        replace(qnet, design=network, tunnels=((replace(qnet.tunnels[0][0], shape=chain[0]),),)),
        place(network, [(64, [(DIRECT, 1, 0)])]),
    )
    return changed(blob, fmt.SEGMENT, "strip", height, fmt.HEADER.unpack(blob)["segment_off"])


def hostile() -> dict[str, bytes]:
    """More that must be refused, by what is wrong with it."""
    blob, labels = small(1), fmt.HEADER.unpack(small(1))["label_off"]
    return {
        "doubled": doubled(),
        "slow": strips(1),
        "utf8": seal(bytearray(blob[:labels] + b"\xff" + blob[labels + 1 :])),
    }


def damaged(blob: bytes) -> dict[str, bytes]:
    """Blobs that must be refused, by the name of what is wrong with them."""
    flipped = bytearray(blob)
    flipped[-1] ^= 1
    offset = fmt.HEADER.unpack(blob)
    layer = offset["layer_off"] + fmt.LAYER.size
    param = offset["param_off"] + 2 * fmt.PARAM.size
    return {
        "magic": b"PNG" + blob[3:],
        "length": blob[:-1],
        "empty": b"",
        "crc": bytes(flipped),
        "version": changed(blob, fmt.HEADER, "version", 9),
        "task": changed(blob, fmt.HEADER, "task", 9),
        "shape": changed(blob, fmt.HEADER, "channels", 0),
        "layer_shape": changed(blob, fmt.LAYER, "kernel_h", 0, layer),
        "plan": changed(blob, fmt.LAYER, "rows", 0, layer),
        "weights": changed(blob, fmt.PARAM, "weight_off", len(blob), param),
        "labels": changed(blob, fmt.HEADER, "classes", offset["classes"] + 1),
        "patch": changed(blob, fmt.PATCH, "x", 4000, offset["patch_off"]),
    }


def tied() -> bytes:
    """Five classes, of which b and d, and a, c and e, always have the same logit."""
    qnet = random_qnet(np.random.default_rng(8), bottlenecks(5, 1, tuple("abcde")))
    bias = np.array([0, 1 << 16, 0, 1 << 16, 0], np.int32)
    fc = Scaled(np.zeros_like(qnet.end.fc.weight), bias, np.full(5, 1 << 24, np.int32))
    return pack(replace(qnet, end=replace(qnet.end, fc=fc, fc_shift=0, fc_zero_out=0)))

"""Streamed blobs on the PC: the same bytes with any buffer, and how much of the file a run reads."""

from __future__ import annotations

import numpy as np
import pytest

import blobs
from cases import random_plan
from networks import Layer, fast_network, fast_qnet, free_network, random_network, random_qnet
from patchnet import Model
from patchnet import format as fmt
from patchnet.blob import random
from patchnet.blob.order import fast_layers
from patchnet.blob.pack import pack
from patchnet.blob.unpack import blob_network, blob_plan, read
from patchnet.net import zoo
from patchnet.net.network import Network
from patchnet.plan import choice, streaming
from patchnet.plan.modes import DIRECT, FAST, GROUPS, SWEEP
from patchnet.plan.place import place
from patchnet.plan.sources import Flash, Stream
from patchnet.report import analyze
from patchnet.tasks.classify.end import Pooled
from patchnet.tasks.raw.end import LastMap


class Counted:
    """A model that is streamed from a file, and the bytes that its last run read."""

    def __init__(self, path, stream):
        self.model, self.bytes = Model(path, stream=stream), 0
        read = self.model._stream.read

        def counted(at: int, n: int) -> bytes:
            self.bytes += n
            return read(at, n)

        self.model._stream.read = counted

    def predict(self, x: bytes) -> bytes:
        self.bytes = 0
        return bytes(self.model.predict(x))


def written(tmp_path, blob: bytes):
    path = tmp_path / "net.pnb"
    path.write_bytes(blob)
    return path


def sizes(path) -> tuple[int, int]:
    """The least and the most bytes of a buffer."""
    with pytest.raises(MemoryError, match="stream: needs .* bytes, has 2") as refused:
        Model(path, stream=2)
    return int(str(refused.value).split()[2]), Model(path, stream=True).streamed


def noise(rng, model: Model) -> bytes:
    height, width, channels = model.input_shape
    return rng.bytes(height * width * channels)


def least_of(network, blob: bytes) -> int:
    """The largest of the least parts of all layers."""
    steps = [(step.mode, step.rows, step.group) for step in blob_plan(read(blob)).steps]
    parts = [streaming.part_bytes(*pair) for pair in zip(network.run(), steps, strict=True)]
    return max(*parts, streaming.end_part(network))


@pytest.mark.parametrize("seed", range(40))
def test_any_buffer_gives_the_same_bytes(tmp_path, seed):
    rng = np.random.default_rng(seed)
    fast = seed % 4 > 0
    network = fast_network(rng, k=int(rng.choice([1, 4]))) if fast else random_network(rng, 100_000)
    qnet = fast_qnet(rng, network) if fast else random_qnet(rng, network)
    path = written(tmp_path, pack(qnet, random_plan(rng, network, fast_layers(qnet))))
    whole, (least, most) = Model(path), sizes(path)
    assert least == least_of(network, path.read_bytes())
    x = noise(rng, whole)
    wanted, head = bytes(whole.predict(x)), fmt.HEADER.unpack(path.read_bytes())["weight_off"]
    for size in sorted({least, most, *rng.integers(least, most + 1, 4).tolist()}):
        model = Model(path, stream=size)
        assert bytes(model.predict(x)) == wanted
        assert model.streamed == size and model.ram == whole.ram + head + size
    with pytest.raises(MemoryError, match=f"stream: needs {least} bytes, has {least - 1}"):
        Model(path, stream=least - 1)
    assert Model(path, stream=most + 1).streamed == most


def test_every_kind_of_part(tmp_path):
    path = written(tmp_path, blobs.parts())
    whole, (least, most) = Model(path), sizes(path)
    x = noise(np.random.default_rng(1), whole)
    assert least == least_of(blob_network(read(path.read_bytes()), "parts"), path.read_bytes())
    for size in range(least, most + 1, 7):
        assert bytes(Model(path, stream=size).predict(x)) == bytes(whole.predict(x))


def block(mode: int, rows: int, group: int) -> bytes:
    """A stem and a bottleneck 8 -> 32 -> 8 of 6 output lines."""
    chain = Layer("conv", 6, 6, 1, 0, 8, 3, 1), Layer("bottleneck", 6, 6, 8, 32, 8, 5, 1, True)
    network = free_network("block", ("a", "b"), 6, 6, 1, 1, False, chain=chain)
    schedule = [(6, [(DIRECT, 1, 0)]), (6, [(mode, rows, group)])]
    return pack(fast_qnet(np.random.default_rng(2), network), place(network, schedule))


PROJECTION = 8 * 8  # biases and multipliers
EACH = 16 // 2 + 4 * 2 + 48 + 8  # arrays of an expanded channel of `block`
OTHERS = 4 * (16 + 2 * 12) + 2 * (8 + 8)  # stem, of whose outputs each two have 12 weights each, fully connected


@pytest.mark.parametrize(
    "mode, rows, times", [(FAST, 1, 6 + 2), (SWEEP, 1, 6), (SWEEP, 2, 3), (SWEEP, 4, 2), (SWEEP, 6, 1)]
)
def test_how_often_weights_are_read(tmp_path, mode, rows, times):
    """Mode 5 takes two lines in beforehand, then each group's arrays are read line by line; in mode 6 chunk by chunk.
    The first ones stay as far as there is room."""
    path = written(tmp_path, block(mode, rows, 8))
    least, most = sizes(path)
    assert (least, most) == (PROJECTION + 8 * EACH, PROJECTION + 32 * EACH)
    x = noise(np.random.default_rng(1), Model(path))
    for stay in range(3):
        counted = Counted(path, PROJECTION + 8 * (stay + 1) * EACH)
        counted.predict(x)
        scales = PROJECTION if stay else PROJECTION * times
        assert counted.bytes == OTHERS + scales + 8 * EACH * (stay + (4 - stay) * times)
    whole = Counted(path, True)
    whole.predict(x)
    assert whole.bytes == OTHERS + PROJECTION + 32 * EACH


# ---------------------------------------------------------------- plans for it


@pytest.mark.parametrize(
    "name, buffers", [("vww-18k", (2500, 6000, 20_000, 1 << 20)), ("mcunet-vww1", (7000, 30_000)), ("voc-130", (9000,))]
)
def test_planned_for_a_buffer(name, buffers):
    """The plan needs no larger buffer and reads what the planner says; it is worth it, as it reads less than the usual
    one does through the same buffer, if that can be used at all."""
    network = zoo.network(name)
    qnet, usual = random.random_qnet(network), choice.plan(network)
    for buffer in buffers:
        plan = choice.plan(network, source=Stream(buffer))
        found = analyze.measure(pack(qnet, plan), buffer)
        assert found.least <= buffer and found.buffer == min(buffer, found.most)
        assert found.read == streaming.reads(network, plan, buffer)
        plain = analyze.measure(pack(qnet, usual), 1 << 20)
        if plain.least <= buffer:
            assert found.read <= analyze.measure(pack(qnet, usual), buffer).read
        assert plain.read <= found.read * 1.01  # once is the least


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_planned_for_a_buffer(seed):
    rng = np.random.default_rng(seed)
    network = fast_network(rng, k=int(rng.choice([1, 4])))
    qnet = fast_qnet(rng, network)
    with pytest.raises(ValueError, match="needs .* B of weights at a time, stream 8 B") as refused:
        choice.plan(network, source=Stream(8))
    least = int(str(refused.value).split(" needs ")[1].split(" B ")[0].replace(",", ""))
    for buffer in (least, 2 * least, 5 * least):
        plan = choice.plan(network, fast=fast_layers(qnet), source=Stream(buffer))
        blob = pack(qnet, plan)
        found = analyze.measure(blob, buffer)
        assert found.least <= buffer and found.read == streaming.reads(network, plan, buffer)
        assert analyze.blob_bytes(network, plan) == len(blob)


# ---------------------------------------------------------------- plans for flash behind a cache


@pytest.mark.parametrize("name", ["vww-18k", "mcunet-vww1"])
def test_planned_for_flash(name):
    """Of what is read through a cache there is once each at least; a plan for it is no dearer than the usual one of as
    many bytes, reading included. What is read `bench` counts on the emulated board (test_bench.py)."""
    network, flash = zoo.network(name), Flash(8)
    usual, own = choice.front(network), choice.front(network, source=flash)
    once = Flash(0, 1 << 30).reads(network, place(network, usual[0].schedule))
    for point in usual[:: len(usual) // 8]:
        reads = flash.reads(network, place(network, point.schedule))
        assert reads >= once
        best = min(p.cost for p in own if p.arena_bytes <= point.arena_bytes)
        assert best <= 1.02 * (point.cost + flash.read * reads)
    assert own[-1].read < 0.5 * flash.reads(network, place(network, usual[-1].schedule))


def test_flash_and_cache_by_hand():
    """A layer of 4,608 B in 3 lines: with 4 ways and a cache of 4 KB each line of it has 4.5 others to share with, half
    of them five."""
    layer = Layer("conv", 3, 3, 64, 0, 8, 3, 1)
    first = Layer("conv", 3, 3, 1, 0, 64, 1, 1)
    network = Network("n", ("a", "b"), 3, 3, 1, (3, 3), ((0, 0),), (first, layer), LastMap())
    plan = place(network, [(3, [(DIRECT, 1, 2)]), (3, [(DIRECT, 1, 2)])])
    stem, own = 32 * (16 + 2 * 4), 8 * (8 + 64 * 9)
    times = 3 * 2  # three lines, two pixels at a time
    assert own == 4672 and Flash(0, 1 << 20).reads(network, plan) == stem + own
    assert Flash(0, 1024).reads(network, plan) == stem + times * own
    deep = own / 1024
    assert Flash(0, 4096).reads(network, plan) == stem + round(own * (1 + (times - 1) * (deep - 4) * 5 / deep))


@pytest.mark.parametrize("group", [8, 32])
def test_flash_and_cache_of_a_convolution_in_groups(group):
    """A group's weights are used for all pixels before the next one's: groups that fit into the cache are read once,
    others again for every few pixels."""
    layers = Layer("conv", 4, 4, 1, 0, 64, 1, 1), Layer("conv", 4, 4, 64, 0, 64, 1, 1)
    network = Network("n", ("a", "b"), 4, 4, 1, (4, 4), ((0, 0),), layers, Pooled())
    plan = place(network, [(4, [(DIRECT, 1, 2)]), (4, [(GROUPS, 1, group)])])
    once, reads = (Flash(0, cache).reads(network, plan) for cache in (1 << 20, 1024))
    assert (reads == once) == (group == 8)

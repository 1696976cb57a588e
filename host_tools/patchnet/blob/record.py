"""How what ends a network stands in a blob: the interface of a task's module `record`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import format as fmt
from ..net.network import End, Network, aligned
from ..plan.place import Plan
from .order import Order, pairs_from_bytes
from .quantized import QEnd, QNet, Scaled


class Writer:
    """Bytes that grow by aligned pieces, from offset `start` of the blob on."""

    def __init__(self, start: int):
        self.start, self.data = start, bytearray()
        self.known: dict[bytes, tuple[int, int]] = {}  # offset, and how often it is used

    def add(self, piece: bytes) -> int:
        """Appends `piece`; returns its offset in the blob."""
        at = self.start + len(self.data)
        self.data += padded(piece)
        return at

    def add_once(self, piece: bytes) -> int:
        """The same, but a piece that is there already is used again, as often as there may be tunnels: these may share
        their weights, and what a device looks at when it opens the blob is bounded."""
        at, times = self.known.get(piece, (0, fmt.MAX_TUNNELS))
        at, times = (self.add(piece), 1) if times == fmt.MAX_TUNNELS else (at, times + 1)
        self.known[piece] = at, times
        return at


def padded(piece: bytes) -> bytes:
    return piece + bytes(-len(piece) % fmt.ALIGN)


@dataclass(frozen=True)
class BlobInfo:
    """The tables of a blob, as dicts of the fields that FORMAT.md lists. Weights stay in the blob.

    `record`: the task's, with what belongs to it; empty where it has none.
    """

    task: str
    header: dict
    patches: list[dict]
    layers: list[dict]
    segments: list[dict]
    labels: list[str]
    record: dict


class Record:
    """A task's part of a blob (modpatchnet/FORMAT.md). Methods have the names of what they give; what a task does not
    have it leaves as it is here. `RECORD` of the task's module `record` is one of these."""

    # ---- writing

    def check(self, qnet: QNet) -> None:
        """ValueError, naming wanted and got, where the end's integers cannot be packed."""

    def table_bytes(self, network: Network) -> int:
        """Of all that `tables` adds to the blob's head."""
        return 0

    def tables(self, qnet: QNet, plan: Plan, head: Writer) -> int:
        """Adds the task's tables, the record among them, to the blob's head; returns the record's offset."""
        return 0

    def section(self, network: Network, plan: Plan | None, start: int) -> tuple[bytes, int]:
        """Tables that stand between head and weights, from offset `start` of the blob on, and the record's offset if it
        is among them. Their length does not depend on the plan."""
        return b"", 0

    def header(self, qnet: QNet) -> dict[str, float]:
        """Fields of the header that belong to the end; `output_scale` is the real step of the int8 outputs."""
        return dict.fromkeys(END_FIELDS, 0)

    def float32_header(self, network: Network) -> dict[str, float]:
        """The same of a float32 network, which has no integers."""
        own = dict(output_scale=1.0, softmax_mult=fmt.FLOAT32_MULT)
        return dict.fromkeys(END_FIELDS, 0) | own

    def dense(self, qnet: QNet) -> Scaled | None:
        """The arrays of the fully connected layer."""
        return None

    # ---- a .npz

    def values(self, qnet: QNet) -> dict[str, Any]:
        """Plain values and, by names with a dot, arrays."""
        raise NotImplementedError

    def from_values(self, values: Mapping[str, Any]) -> QEnd:
        raise NotImplementedError

    def random(self, rng: np.random.Generator, network: Network) -> QEnd:
        """Integers that keep values in range."""
        raise NotImplementedError

    # ---- reading

    def read(self, blob: bytes, header: dict) -> dict:
        """The record, with what belongs to it."""
        return {}

    def behind(self, record: dict) -> tuple[int, int]:
        """Layers and segments behind the tunnels."""
        return 0, 0

    def end(self, info: BlobInfo) -> End:
        raise NotImplementedError

    def q_end(self, blob: bytes, info: BlobInfo, network: Network) -> QEnd:
        raise NotImplementedError


END_FIELDS = (
    "aggregate", "scores", "pool_mult", "pool_shift", "pool_zero", "fc_shift", "fc_zero", "softmax_mult",
    "output_scale",
)  # fmt: skip


# ---------------------------------------------------------------- what tasks share


def softmax_mult(output_scale: float) -> int:
    """FORMAT.md, Scores: a difference of logits (8 fraction bits) times this is a power of two with 24."""
    return round(output_scale / 256 * math.log2(math.e) * (1 << 24))


def by_value(names: Mapping[str, int], value: int) -> str:
    """The name that a blob has a number for."""
    return next(name for name, its in names.items() if its == value)


def check_arrays(scaled: Scaled, weight_shape: tuple[int, ...], where: str) -> None:
    n = weight_shape[0]
    for name, array, shape, dtype in (
        ("weight", scaled.weight, weight_shape, np.int8),
        ("bias", scaled.bias, (n,), np.int32),
        ("mult", scaled.mult, (n,), np.int32),
    ):
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(f"{where}: {name}: wanted {np.dtype(dtype)} {shape}, got {array.dtype} {array.shape}")
    if (scaled.mult <= 0).any():
        raise ValueError(f"{where}: mult: wanted 1..2^31-1, got {scaled.mult.min()}")


def check_sums(scaled: Scaled, bits: int, shift: int, where: str) -> None:
    """No sum may leave int32, by the bound that the loader uses (FORMAT.md, What is trusted)."""
    products = scaled.weight[0].size
    bias = int(np.abs(scaled.bias.astype(np.int64)).max())
    fits = (products << bits) + bias <= (2**31 - 1) >> shift
    if products > fmt.MAX_REDUCTION or not 0 <= shift <= fmt.MAX_SHIFT or not fits:
        raise ValueError(f"{where}: {products} products and |bias| up to {bias} could overflow (shift {shift})")


class Arrays:
    """Arrays of a layer, read one after the other from offset `at` on."""

    def __init__(self, blob: bytes, at: int):
        self.blob, self.at = blob, at

    def take(self, kind: str, count: int) -> np.ndarray:
        array = np.frombuffer(self.blob, kind, count, self.at)
        self.at += aligned(array.nbytes, fmt.ALIGN)
        return array

    def dense(self, outputs: int, *inputs: int) -> Scaled:
        """Weights that lie output by output."""
        return self.scaled(outputs, (outputs, *inputs), tuple(range(1 + len(inputs))))

    def kernels(self, outputs: int, height: int, width: int, inputs: int, order: Order) -> Scaled:
        """Those of a dense convolution, which may lie column by column, and in pairs of outputs."""
        columns = order.columns
        shape = (outputs, width, height, inputs) if columns else (outputs, height, width, inputs)
        axes = (0, 2, 1, 3) if columns else (0, 1, 2, 3)
        if not order.paired:
            return self.scaled(outputs, shape, axes)
        found, self.at = pairs_from_bytes(self.blob, self.at, outputs, height * width * inputs)
        return replace(found, weight=np.ascontiguousarray(found.weight.reshape(shape).transpose(axes)))

    def scaled(self, outputs: int, shape: tuple[int, ...], axes: tuple[int, ...]) -> Scaled:
        """`shape` is that of the weights in the blob, `axes` bring them into the order of Scaled."""
        bias, mult = (self.take("<i4", outputs).astype(np.int32) for _ in range(2))
        weight = self.take("i1", int(np.prod(shape))).reshape(shape).transpose(axes)
        return Scaled(np.ascontiguousarray(weight), bias, mult)

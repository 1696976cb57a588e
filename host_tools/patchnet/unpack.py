"""A .pnb blob back into what it was made of: the network's shapes, its integers, its plan (modpatchnet/FORMAT.md)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from . import Model, fast
from . import format as fmt
from .audio import from_record
from .design import Layer, Network
from .fast import Order
from .pack import BlobInfo, orders, read
from .plan import Plan, Segment, Step, aligned
from .quantized import QBottleneck, QConv, QNet, QPool, Scaled


@dataclass(frozen=True)
class BlobNetwork(Network):
    """A network as a blob tells it: its layers and patches one by one, not the stages that they came from."""

    chain: tuple[Layer, ...] = ()
    corners: tuple[tuple[int, int], ...] = ()
    patch_size: tuple[int, int] = (0, 0)

    def layers(self) -> list[Layer]:
        return list(self.chain)

    def patches(self) -> list[tuple[int, int]]:
        return list(self.corners)

    @property
    def patch(self) -> tuple[int, int]:
        return self.patch_size

    @property
    def tunnels(self) -> int:
        return len(self.corners)


def read_blob(path: str | Path) -> bytes:
    """A blob that the engine accepts. ValueError names the file and the fault."""
    blob = Path(path).read_bytes()
    try:
        Model(blob)
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from None
    return blob


def blob_network(info: BlobInfo, name: str) -> BlobNetwork:
    """The network of a blob's tables. Which activation a convolution has is not told there."""
    h = info.header
    chain: list[Layer] = []
    height, width, cin = h["patch_h"], h["patch_w"], h["channels"]
    for record in info.layers:
        flags = record["flags"]
        layer = Layer(
            "conv" if record["kind"] == fmt.KIND_CONV else "bottleneck", height, width, cin, record["cexp"],
            record["cout"], record["kernel"], record["stride"], bool(flags & fmt.FLAG_EXPAND),
            bool(flags & fmt.FLAG_RESIDUAL), "none" if flags & fmt.FLAG_SIGNED else "relu6",
        )  # fmt: skip
        chain.append(layer)
        height, width, cin = layer.oh, layer.ow, layer.cout
    return BlobNetwork(
        name, tuple(info.labels), h["height"], h["width"], h["channels"],
        aggregate="concat" if h["aggregate"] == fmt.AGGREGATE_CONCAT else "sum",
        fit="crop" if h["fit"] == fmt.FIT_CROP else "stretch",
        chain=tuple(chain), corners=tuple((p["y"], p["x"]) for p in info.patches),
        patch_size=(h["patch_h"], h["patch_w"]), std=1 / h["input_scale"],
        audio=from_record(info.audio, tuple(info.labels)) if info.audio else None,
    )  # fmt: skip


def _from_record(kind: type, record: dict):
    """A dataclass whose fields are some of a record's."""
    return kind(**{f.name: record[f.name] for f in fields(kind)})


def blob_plan(info: BlobInfo) -> Plan:
    """The plan that a blob carries."""
    segments = tuple(_from_record(Segment, record) for record in info.segments)
    steps = tuple(_from_record(Step, record) for record in info.layers)
    return _from_record(Plan, {**info.header, "segments": segments, "steps": steps})


# ---------------------------------------------------------------- integers


class _Arrays:
    """Arrays of a layer, read one after the other from offset `at` on."""

    def __init__(self, blob: bytes, at: int):
        self.blob, self.at = blob, at

    def take(self, kind: str, count: int) -> np.ndarray:
        array = np.frombuffer(self.blob, kind, count, self.at)
        self.at += aligned(array.nbytes)
        return array

    def scaled(self, outputs: int, shape: tuple[int, ...], axes: tuple[int, ...]) -> Scaled:
        """`shape` is that of the weights in the blob, `axes` bring them into the order of Scaled."""
        bias, mult = (self.take("<i4", outputs).astype(np.int32) for _ in range(2))
        weight = self.take("i1", int(np.prod(shape))).reshape(shape).transpose(axes)
        return Scaled(np.ascontiguousarray(weight), bias, mult)


def _layer(blob: bytes, s: Layer, order: Order | None, param: dict) -> QConv | QBottleneck:
    more = param["shift"], param["zero_out"], param["res_mult"]
    if order:
        return QBottleneck(s, *fast.from_bytes(blob, param["weight_off"], s, order), *more)
    arrays = _Arrays(blob, param["weight_off"])
    if s.kind == "conv":
        conv = arrays.scaled(s.cout, (s.cout, s.kernel, s.kernel, s.cin), (0, 1, 2, 3))
        return QConv(s, conv, param["shift"], param["zero_out"])
    expand = arrays.scaled(s.cexp, (s.cexp, s.cin), (0, 1)) if s.expand else None
    depthwise = arrays.scaled(s.cexp, (s.kernel, s.kernel, s.cexp), (2, 0, 1))
    project = arrays.scaled(s.cout, (s.cexp, s.cout), (1, 0))
    return QBottleneck(s, expand, depthwise, project, *more)


def blob_qnet(blob: bytes, name: str) -> QNet:
    """The integers of a blob. `output_scale` and `std` are the header's, rounded to float32."""
    info = read(blob)
    h, network = info.header, blob_network(info, name)
    order = orders(network.chain, blob_plan(info), [record["flags"] for record in info.layers])

    def chain(tunnel: int) -> tuple[QConv | QBottleneck, ...]:
        first = h["param_off"] + tunnel * h["layers"] * fmt.PARAM.size
        params = (fmt.PARAM.unpack(blob, first + i * fmt.PARAM.size) for i in range(h["layers"]))
        return tuple(_layer(blob, *layer) for layer in zip(network.chain, order, params, strict=True))

    fc = _Arrays(blob, h["fc_off"]).scaled(h["classes"], (h["classes"], network.features), (0, 1))
    return QNet(
        network, h["input_zero"][: h["channels"]], tuple(map(chain, range(h["tunnels"]))),
        QPool(h["pool_mult"], h["pool_shift"], h["pool_zero"]), fc, h["fc_shift"], h["fc_zero"], h["output_scale"],
    )  # fmt: skip

"""A .pnb blob back into what it was made of: the network's shapes, its integers, its plan (modpatchnet/FORMAT.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from .. import Model
from .. import format as fmt
from ..net.design import Detection, Layer, Network, Place, Scale, ScaleLayers
from ..plan import fast
from ..plan.fast import Order
from ..plan.place import Plan, Segment, Step, aligned
from ..tasks.sound.audio import from_record
from .pack import BlobInfo, orders, read
from .quantized import QBottleneck, QConv, QDetect, QNet, QPool, QScale, Scaled


@dataclass(frozen=True)
class BlobNetwork(Network):
    """A network as a blob tells it: its layers and patches one by one, not the stages that they came from."""

    chain: tuple[Layer, ...] = ()
    corners: tuple[tuple[int, int], ...] = ()
    patch_size: tuple[int, int] = (0, 0)
    map_size: tuple[int, int] = (0, 0)
    parts: tuple[Place, ...] = ()
    behind: tuple[ScaleLayers, ...] = ()

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

    @property
    def stitched(self) -> tuple[int, int]:
        return self.map_size

    def places(self) -> list[Place]:
        return list(self.parts)

    def scales(self) -> list[ScaleLayers]:
        return list(self.behind)


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
    h, n = info.header, info.header["layers"]
    chain: list[Layer] = []
    shape = h["patch_h"], h["patch_w"], h["channels"]
    for record in info.layers[:n]:
        chain.append(_shape(record, *shape))
        shape = chain[-1].oh, chain[-1].ow, chain[-1].cout
    more = _detection(info, chain) if info.detect else {}
    return BlobNetwork(
        name, tuple(info.labels), h["height"], h["width"], h["channels"],
        aggregate="concat" if h["aggregate"] == fmt.AGGREGATE_CONCAT else "sum",
        fit="crop" if h["fit"] == fmt.FIT_CROP else "stretch",
        chain=tuple(chain), corners=tuple((p["y"], p["x"]) for p in info.patches),
        patch_size=(h["patch_h"], h["patch_w"]), std=1 / h["input_scale"],
        audio=from_record(info.audio, tuple(info.labels)) if info.audio else None, **more,
    )  # fmt: skip


def _shape(record: dict, height: int, width: int, cin: int) -> Layer:
    """The layer of a record, with an input of this shape."""
    flags = record["flags"]
    return Layer(
        "conv" if record["kind"] == fmt.KIND_CONV else "bottleneck", height, width, cin, record["cexp"],
        record["cout"], record["kernel"], record["stride"], bool(flags & fmt.FLAG_EXPAND),
        bool(flags & fmt.FLAG_RESIDUAL), "none" if flags & fmt.FLAG_SIGNED else "relu6",
    )  # fmt: skip


def _detection(info: BlobInfo, chain: list[Layer]) -> dict:
    """What a BlobNetwork has besides, if it detects: which stages its scales came from is not told."""
    d, size = info.detect, (info.header["height"], info.header["width"])
    shape, stride = (d["map_h"], d["map_w"], chain[-1].cout), math.prod(layer.stride for layer in chain)
    scales, layers = [], []
    for record in info.layers[info.header["layers"] :]:
        layer = _shape(record, *shape)
        if record["flags"] & fmt.FLAG_HEAD:
            scales.append(ScaleLayers(tuple(layers), layer, stride))
            layers = []
            continue
        layers.append(layer)
        shape, stride = (layer.oh, layer.ow, layer.cout), stride * layer.stride

    def anchors(scale: dict) -> tuple[tuple[int, int], ...]:
        sides = [[round(a[name] * side / 32768) for name, side in zip("hw", size, strict=True)] for a in scale["list"]]
        return tuple((w, h) for h, w in sides)

    detection = Detection(tuple(Scale(anchors(scale)) for scale in info.scales), d["top"])
    parts = tuple(Place(**place) for place in info.places)
    return dict(detection=detection, map_size=(d["map_h"], d["map_w"]), parts=parts, behind=tuple(scales))


def _from_record(kind: type, record: dict):
    """A dataclass whose fields are some of a record's."""
    return kind(**{f.name: record[f.name] for f in fields(kind)})


def blob_plan(info: BlobInfo) -> Plan:
    """The plan that a blob carries."""
    segments = tuple(_from_record(Segment, record) for record in info.segments)
    steps = tuple(_from_record(Step, record) for record in info.layers)
    places = info.detect or dict(stitch_at=0, candidate_at=0)
    return _from_record(Plan, {**info.header, **places, "segments": segments, "steps": steps})


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
    order = orders(network.run(), blob_plan(info), [record["flags"] for record in info.layers])
    n = len(network.chain)

    def chain(tunnel: int, shapes: list[Layer], order: list[Order | None]) -> tuple[QConv | QBottleneck, ...]:
        first = h["param_off"] + tunnel * n * fmt.PARAM.size
        params = (fmt.PARAM.unpack(blob, first + i * fmt.PARAM.size) for i in range(len(shapes)))
        return tuple(_layer(blob, *layer) for layer in zip(shapes, order, params, strict=True))

    tunnels = tuple(chain(tunnel, network.layers(), order[:n]) for tunnel in range(h["tunnels"]))
    zero = h["input_zero"][: h["channels"]]
    if info.detect:
        behind = iter(chain(h["tunnels"], network.tail(), order[n:]))
        scales = tuple(QScale(tuple(next(behind) for _ in s.layers), next(behind)) for s in network.scales())
        detect = QDetect(scales, info.detect["cls_zero"], h["output_scale"], info.detect["box_scale"])
        return QNet(network, zero, tunnels, None, None, 0, 0, h["output_scale"], detect)
    fc = _Arrays(blob, h["fc_off"]).scaled(h["classes"], (h["classes"], network.features), (0, 1))
    return QNet(
        network, zero, tunnels,
        QPool(h["pool_mult"], h["pool_shift"], h["pool_zero"]), fc, h["fc_shift"], h["fc_zero"], h["output_scale"],
    )  # fmt: skip

"""The end of a detecting network in integers, and in a blob: a record of its own, with places, scales and anchors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ... import format as fmt
from ...blob.quantized import QEnd, QNet
from ...blob.record import BlobInfo, Record, Writer
from ...net.network import Network
from ...net.stitching import Place
from ...plan.place import Plan
from .boxes import CENTRE, SIZE
from .end import Boxes, scales


@dataclass(frozen=True)
class QDetect(QEnd):
    """What the int8 values q of the heads mean:

    a class's logit is (q - cls_zero) * cls_scale (cls_zero may lie outside int8), its score the sigmoid of that.
    With d = q * box_scale of the four codes, anchor (aw, ah) at column X of cells of `stride` pixels:
    centre x = (X + 0.5) * stride + 0.1 * dx * aw, width = aw * exp(0.2 * dw); y and height likewise.

    A head has zero_out 0 and gives, anchor by anchor, dx, dy, dw, dh and one value per class. The stitched map has the
    zero point of the tunnels' last layers: clamp8(a + b - zero) where two maps meet.
    """

    cls_zero: int
    cls_scale: float
    box_scale: float

    @property
    def output_scale(self) -> float:
        return self.cls_scale


def mults(end: QDetect) -> dict[str, int]:
    """FORMAT.md, Detection: what steps of a class, of a centre and of a size are worth, with 24 fraction bits."""
    power = math.log2(math.e) * (1 << 24)
    return dict(
        cls_mult=round(end.cls_scale * power),
        centre_mult=round(CENTRE * end.box_scale * (1 << 24)),
        size_mult=round(SIZE * end.box_scale * power),
    )


def _part(pixels: int, side: int, bits: int) -> int:
    """Pixels as a part of a side, with `bits` fraction bits."""
    return ((2 * pixels << bits) + side) // (2 * side)


class DetectRecord(Record):
    def check(self, qnet: QNet) -> None:
        d = qnet.design
        d.check()
        for head in d.heads():
            zero = qnet.behind[head - len(d.chain)].zero_out
            if zero != 0:
                raise ValueError(f"{d.name}: zero_out of a head: wanted 0, got {zero}")

    def table_bytes(self, network: Network) -> int:
        anchors = Boxes.of(network).anchors
        number = sum(map(len, anchors))
        sizes = fmt.DETECT.size, network.tunnels * fmt.PLACE.size, len(anchors) * fmt.SCALE.size
        return sum(sizes) + number * fmt.ANCHOR.size

    def tables(self, qnet: QNet, plan: Plan, head: Writer) -> int:
        d, q, end, records = qnet.design, QDetect.of(qnet), Boxes.of(qnet.design), b""
        for scale, sides in zip(scales(d), end.anchors, strict=True):
            anchors = [fmt.ANCHOR.pack(h=_part(h, d.height, 15), w=_part(w, d.width, 15)) for w, h in sides]
            steps = dict(step_y=_part(scale.stride, d.height, 30), step_x=_part(scale.stride, d.width, 30))
            records += fmt.SCALE.pack(**steps, anchors=len(anchors), anchor_off=head.add(b"".join(anchors)))
        behind = sum(segment.first >= len(d.chain) for segment in plan.segments)
        return head.add(
            fmt.DETECT.pack(
                map_h=end.map[0], map_w=end.map[1], top=end.top, cls_zero=q.cls_zero, **mults(q),
                layers=len(d.tail()), segments=behind, scales=len(end.anchors), box_scale=q.box_scale,
                place_off=head.add(b"".join(fmt.PLACE.pack(**asdict(place)) for place in end.places)),
                scale_off=head.add(records), **plan.places,
            )
        )  # fmt: skip

    def header(self, qnet: QNet) -> dict[str, float]:
        return super().header(qnet) | {"output_scale": QDetect.of(qnet).output_scale}

    def values(self, qnet: QNet) -> dict[str, Any]:
        return {"detect": asdict(QDetect.of(qnet))}

    def from_values(self, values: Mapping[str, Any]) -> QDetect:
        return QDetect(**values["detect"])

    def random(self, rng: np.random.Generator, network: Network) -> QDetect:
        return QDetect(60, 0.05, 0.05)

    def read(self, blob: bytes, header: dict) -> dict:
        """The record, its `places` and its `list` of scales, each with its own `list` of anchors."""
        record = fmt.DETECT.unpack(blob, header["task_off"])
        found = fmt.SCALE.unpack_all(blob, record["scale_off"], record["scales"])
        for scale in found:
            scale["list"] = fmt.ANCHOR.unpack_all(blob, scale["anchor_off"], scale["anchors"])
        places = fmt.PLACE.unpack_all(blob, record["place_off"], header["tunnels"])
        return record | {"places": places, "list": found}

    def behind(self, record: dict) -> tuple[int, int]:
        return record["layers"], record["segments"]

    def end(self, info: BlobInfo) -> Boxes:
        r, height, width = info.record, info.header["height"], info.header["width"]
        anchors = tuple(
            tuple((round(a["w"] * width / 32768), round(a["h"] * height / 32768)) for a in scale["list"])
            for scale in r["list"]
        )
        return Boxes((r["map_h"], r["map_w"]), tuple(Place(**place) for place in r["places"]), anchors, r["top"])

    def q_end(self, blob: bytes, info: BlobInfo, network: Network) -> QDetect:
        return QDetect(info.record["cls_zero"], info.header["output_scale"], info.record["box_scale"])


RECORD = DetectRecord()

"""The end of a classifying network in integers, and in a blob: all of it stands in the header (FORMAT.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ... import format as fmt
from ...blob.quantized import QEnd, QNet, Scaled
from ...blob.random import narrow
from ...blob.record import Arrays, BlobInfo, Record, Writer, by_value, check_arrays, check_sums, softmax_mult
from ...net.network import Network
from ...net.stitching import Place
from ...plan.place import Plan
from .end import Merged, Pooled

AGGREGATES = {"sum": fmt.AGGREGATE_SUM, "concat": fmt.AGGREGATE_CONCAT}


@dataclass(frozen=True)
class QPool:
    """Global average pooling over all tunnels together ("sum") or over each tunnel ("concat"), to int8 features.

    acc = sum over pixels (and tunnels) of (q - zero), feature = narrow(acc) with one mult for all channels.
    """

    mult: int
    shift: int
    zero_out: int


@dataclass(frozen=True)
class QPooled(QEnd):
    """Pooling and the fully connected layer `fc`, None where there is none (fc_shift and fc_zero_out are 0 then).

    Its logits keep the 8 fraction bits that `narrow` would shift out:
    logit16 = clamp16(((acc << fc_shift) * mult >> 32) + 256 * fc_zero_out), int8 output = clamp8((logit16 + 128) >> 8).
    Without a fully connected layer that is done with the pooling's acc, mult, shift and zero_out.
    """

    pool: QPool
    fc: Scaled | None
    fc_shift: int
    fc_zero_out: int
    output_scale: float


class PooledRecord(Record):
    def check(self, qnet: QNet) -> None:
        d, end = qnet.design, QPooled.of(qnet)
        last = d.run()[-1]
        pixels = last.oh * last.ow * (1 if d.end.merges or Pooled.of(d).aggregate == "concat" else d.tunnels)
        if (pixels * 255) << end.pool.shift >= 2**31:
            raise ValueError(f"{d.name}: pooling {pixels} pixels overflows (shift {end.pool.shift})")
        if (end.fc is not None) != Pooled.of(d).dense:
            raise ValueError(f"{d.name}: fully connected: wanted integers just where there is one")
        if end.fc is not None:
            check_arrays(end.fc, (len(d.labels), d.features), "fully connected")
            check_sums(end.fc, 14, end.fc_shift, "fully connected")

    def table_bytes(self, network: Network) -> int:
        return fmt.DETECT.size + network.tunnels * fmt.PLACE.size if isinstance(network.end, Merged) else 0

    def tables(self, qnet: QNet, plan: Plan, head: Writer) -> int:
        d = qnet.design
        if not isinstance(d.end, Merged):
            return 0
        places = head.add(b"".join(fmt.PLACE.pack(**asdict(place)) for place in d.end.places))
        own = dict(
            map_h=d.end.map[0], map_w=d.end.map[1], top=1, layers=len(d.tail()), place_off=places, scale_off=places,
            segments=sum(segment.first >= len(d.chain) for segment in plan.segments),
            stitch_at=plan.places["stitch_at"],
        )  # fmt: skip
        return head.add(fmt.DETECT.pack(**dict.fromkeys((name for name, _ in fmt.DETECT.fields), 0) | own))

    def read(self, blob: bytes, header: dict) -> dict:
        if not header["task_off"]:
            return {}
        record = fmt.DETECT.unpack(blob, header["task_off"])
        return record | {"places": fmt.PLACE.unpack_all(blob, record["place_off"], header["tunnels"])}

    def behind(self, record: dict) -> tuple[int, int]:
        return record.get("layers", 0), record.get("segments", 0)

    def header(self, qnet: QNet) -> dict[str, float]:
        end = QPooled.of(qnet)
        return dict(
            pool_mult=end.pool.mult, pool_shift=end.pool.shift, pool_zero=end.pool.zero_out,
            fc_shift=end.fc_shift, fc_zero=end.fc_zero_out, softmax_mult=softmax_mult(end.output_scale),
            output_scale=end.output_scale, aggregate=AGGREGATES[Pooled.of(qnet.design).aggregate],
            scores=fmt.SCORES[Pooled.of(qnet.design).scores],
        )  # fmt: skip

    def float32_header(self, network: Network) -> dict[str, float]:
        own = Pooled.of(network)
        return super().float32_header(network) | dict(
            aggregate=AGGREGATES[own.aggregate], scores=fmt.SCORES[own.scores]
        )

    def dense(self, qnet: QNet) -> Scaled | None:
        return QPooled.of(qnet).fc

    def values(self, qnet: QNet) -> dict[str, Any]:
        end = QPooled.of(qnet)
        arrays = {f"fc.{k}": v for k, v in vars(end.fc).items()} if end.fc else {}
        plain = {name: getattr(end, name) for name in ("fc_shift", "fc_zero_out", "output_scale")}
        return {"pool": asdict(end.pool), **plain, **arrays}

    def from_values(self, values: Mapping[str, Any]) -> QPooled:
        names = [f"fc.{k}" for k in ("weight", "bias", "mult")]
        fc = Scaled(*(values[name] for name in names)) if names[0] in values else None
        return QPooled(QPool(**values["pool"]), fc, values["fc_shift"], values["fc_zero_out"], values["output_scale"])

    def random(self, rng: np.random.Generator, network: Network) -> QPooled:
        if not Pooled.of(network).dense:
            return QPooled(QPool(1 << 24, 0, 0), None, 0, 0, 0.1)
        fc, fc_shift = narrow(rng, (len(network.labels), network.features), 60)
        return QPooled(QPool(1 << 24, 0, 0), fc, fc_shift, 0, 0.1)

    def end(self, info: BlobInfo) -> Pooled:
        h = info.header
        own = by_value(AGGREGATES, h["aggregate"]), h["fc_off"] != 0, by_value(fmt.SCORES, h["scores"])
        r = info.record
        if "map_h" not in r:
            return Pooled(*own)
        return Merged(*own, map=(r["map_h"], r["map_w"]), places=tuple(Place(**place) for place in r["places"]))

    def q_end(self, blob: bytes, info: BlobInfo, network: Network) -> QPooled:
        h = info.header
        pool = QPool(h["pool_mult"], h["pool_shift"], h["pool_zero"])
        if h["fc_off"] == 0:
            return QPooled(pool, None, 0, 0, h["output_scale"])
        fc = Arrays(blob, h["fc_off"]).scaled(h["classes"], (h["classes"], network.features), (0, 1))
        return QPooled(pool, fc, h["fc_shift"], h["fc_zero"], h["output_scale"])


RECORD = PooledRecord()

"""The end of a classifying network in integers, and in a blob: all of it stands in the header (FORMAT.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ... import format as fmt
from ...blob.quantized import QEnd, QNet, Scaled
from ...blob.random import narrow
from ...blob.record import Arrays, BlobInfo, Record, check_arrays, check_sums
from ...net.network import Network
from .end import Pooled

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
    """Pooling and the fully connected layer `fc`.

    Its logits keep the 8 fraction bits that `narrow` would shift out:
    logit16 = clamp16(((acc << fc_shift) * mult >> 32) + 256 * fc_zero_out), int8 output = clamp8((logit16 + 128) >> 8).
    """

    pool: QPool
    fc: Scaled
    fc_shift: int
    fc_zero_out: int
    output_scale: float


def softmax_mult(output_scale: float) -> int:
    """FORMAT.md, Scores: a difference of logits (8 fraction bits) times this is a power of two with 24."""
    return round(output_scale / 256 * math.log2(math.e) * (1 << 24))


class PooledRecord(Record):
    def check(self, qnet: QNet) -> None:
        d, end = qnet.design, QPooled.of(qnet)
        last = d.chain[-1]
        pixels = last.oh * last.ow * (1 if Pooled.of(d).aggregate == "concat" else d.tunnels)
        if (pixels * 255) << end.pool.shift >= 2**31:
            raise ValueError(f"{d.name}: pooling {pixels} pixels overflows (shift {end.pool.shift})")
        check_arrays(end.fc, (len(d.labels), d.features), "fully connected")
        check_sums(end.fc, 14, end.fc_shift, "fully connected")

    def header(self, qnet: QNet) -> dict[str, float]:
        end = QPooled.of(qnet)
        return dict(
            pool_mult=end.pool.mult, pool_shift=end.pool.shift, pool_zero=end.pool.zero_out,
            fc_shift=end.fc_shift, fc_zero=end.fc_zero_out, softmax_mult=softmax_mult(end.output_scale),
            output_scale=end.output_scale, aggregate=AGGREGATES[Pooled.of(qnet.design).aggregate],
        )  # fmt: skip

    def dense(self, qnet: QNet) -> Scaled:
        return QPooled.of(qnet).fc

    def values(self, qnet: QNet) -> dict[str, Any]:
        end = QPooled.of(qnet)
        arrays = {f"fc.{k}": v for k, v in vars(end.fc).items()}
        plain = {name: getattr(end, name) for name in ("fc_shift", "fc_zero_out", "output_scale")}
        return {"pool": asdict(end.pool), **plain, **arrays}

    def from_values(self, values: Mapping[str, Any]) -> QPooled:
        fc = Scaled(*(values[f"fc.{k}"] for k in ("weight", "bias", "mult")))
        return QPooled(QPool(**values["pool"]), fc, values["fc_shift"], values["fc_zero_out"], values["output_scale"])

    def random(self, rng: np.random.Generator, network: Network) -> QPooled:
        fc, fc_shift = narrow(rng, (len(network.labels), network.features), 60)
        return QPooled(QPool(1 << 24, 0, 0), fc, fc_shift, 0, 0.1)

    def end(self, info: BlobInfo) -> Pooled:
        return Pooled(next(name for name, value in AGGREGATES.items() if value == info.header["aggregate"]))

    def q_end(self, blob: bytes, info: BlobInfo, network: Network) -> QPooled:
        h = info.header
        fc = Arrays(blob, h["fc_off"]).scaled(h["classes"], (h["classes"], network.features), (0, 1))
        pool = QPool(h["pool_mult"], h["pool_shift"], h["pool_zero"])
        return QPooled(pool, fc, h["fc_shift"], h["fc_zero"], h["output_scale"])


RECORD = PooledRecord()

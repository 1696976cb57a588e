"""The end of a network that tells a colour, in a blob: all of it stands in the header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...blob.quantized import QEnd, QNet
from ...blob.record import BlobInfo, Record
from ...net.network import Network
from .end import Means


@dataclass(frozen=True)
class QMeans(QEnd):
    """An output is the mean of its channel's int8 values; with `zero` taken away it is a colour's 0..255."""

    output_scale: float = 1.0
    zero: int = -128


class MeansRecord(Record):
    def check(self, qnet: QNet) -> None:
        last, d = qnet.design.chain[-1], qnet.design
        if last.oh * last.ow * d.tunnels * 255 >= 2**31:
            raise ValueError(f"{d.name}: wanted sums below 2^31, got {last.oh} x {last.ow} x {d.tunnels} values")

    def header(self, qnet: QNet) -> dict[str, float]:
        end = QMeans.of(qnet)
        return super().header(qnet) | {"pool_zero": end.zero, "output_scale": end.output_scale}

    def values(self, qnet: QNet) -> dict[str, Any]:
        return asdict(QMeans.of(qnet))

    def from_values(self, values: Mapping[str, Any]) -> QMeans:
        return QMeans(values["output_scale"], values["zero"])

    def random(self, rng: np.random.Generator, network: Network) -> QMeans:
        return QMeans()

    def end(self, info: BlobInfo) -> Means:
        return Means()

    def q_end(self, blob: bytes, info: BlobInfo, network: Network) -> QMeans:
        return QMeans(info.header["output_scale"], info.header["pool_zero"])


RECORD = MeansRecord()

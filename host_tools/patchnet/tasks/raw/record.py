"""The end of a raw network in a blob: its output's scale alone (FORMAT.md, Raw output)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...blob.quantized import QEnd, QNet
from ...blob.record import BlobInfo, Record
from ...net.network import Network
from .end import LastMap


@dataclass(frozen=True)
class QMap(QEnd):
    """An int8 value q of the last map stands for (q - zero_out of the last layer) * output_scale."""

    output_scale: float


class MapRecord(Record):
    def of_map(self, scale: float) -> QMap:
        """The integers of an end whose map has that scale."""
        return QMap(scale)

    def check(self, qnet: QNet) -> None:
        qnet.design.end.check(qnet.design)

    def header(self, qnet: QNet) -> dict[str, float]:
        return super().header(qnet) | {"output_scale": QMap.of(qnet).output_scale}

    def values(self, qnet: QNet) -> dict[str, Any]:
        return asdict(QMap.of(qnet))

    def from_values(self, values: Mapping[str, Any]) -> QMap:
        return QMap(values["output_scale"])

    def random(self, rng: np.random.Generator, network: Network) -> QMap:
        return QMap(0.1)

    def end(self, info: BlobInfo) -> LastMap:
        return LastMap()

    def q_end(self, blob: bytes, info: BlobInfo, network: Network) -> QMap:
        return QMap(info.header["output_scale"])


RECORD = MapRecord()

"""The end of a heat map in a blob: that of a raw network, and a record (FORMAT.md, Heat maps)."""

from __future__ import annotations

from ... import format as fmt
from ...blob.quantized import QNet
from ...blob.record import BlobInfo, Writer, by_value, softmax_mult
from ...net.network import Network
from ...plan.place import Plan
from ..raw.record import MapRecord, QMap
from .end import HeatMap


class HeatMapRecord(MapRecord):
    def table_bytes(self, network: Network) -> int:
        return fmt.HEATMAP.size

    def tables(self, qnet: QNet, plan: Plan, head: Writer) -> int:
        end = HeatMap.of(qnet.design)
        background = fmt.NO_CLASS if end.background < 0 else end.background
        places = {name: plan.places[name] for name in ("cell_at", "spot_at")}
        return head.add(fmt.HEATMAP.pack(background=background, top=end.top, **places))

    def header(self, qnet: QNet) -> dict[str, float]:
        scores, mult = fmt.SCORES[HeatMap.of(qnet.design).scores], softmax_mult(QMap.of(qnet).output_scale)
        return super().header(qnet) | {"scores": scores, "softmax_mult": mult}

    def read(self, blob: bytes, header: dict) -> dict:
        return fmt.HEATMAP.unpack(blob, header["task_off"])

    def end(self, info: BlobInfo) -> HeatMap:
        background = -1 if info.record["background"] == fmt.NO_CLASS else info.record["background"]
        return HeatMap(background, info.record["top"], by_value(fmt.SCORES, info.header["scores"]))


RECORD = HeatMapRecord()

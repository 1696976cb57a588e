"""The end of a network that hears, in a blob: a classifier's, and the front-end's tables and record."""

from __future__ import annotations

from dataclasses import asdict

from ... import format as fmt
from ...blob.record import BlobInfo
from ...net.network import Network
from ...plan.place import Plan
from ..classify.record import PooledRecord
from .end import Audio, Heard
from .front import section


def from_record(record: dict, labels: tuple[str, ...]) -> Audio:
    """The front-end that a blob's record tells."""
    background, same = record["background"], ("rate", "frame", "hop", "fft", "low", "high", "floor", "top", "every")
    return Audio(
        **{name: record[name] for name in same},
        smooth=record["smooth"] / 256,
        threshold=record["threshold"] / 65536,
        pause=record["pause"] * record["hop"] / record["rate"],
        background="" if background == fmt.NO_CLASS else labels[background],
    )


class HeardRecord(PooledRecord):
    def section(self, network: Network, plan: Plan | None, start: int) -> tuple[bytes, int]:
        kept = network.end.lasting(network, network.chain[-1].cout).kept
        stream_at = (plan.arena_bytes - kept) // fmt.ALIGN * fmt.ALIGN if plan else 0
        return section(network, start, stream_at)

    def read(self, blob: bytes, header: dict) -> dict:
        return fmt.AUDIO.unpack(blob, header["task_off"])

    def end(self, info: BlobInfo) -> Heard:
        return Heard(**asdict(super().end(info)), audio=from_record(info.record, tuple(info.labels)))


RECORD = HeardRecord()

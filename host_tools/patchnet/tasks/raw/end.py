"""The end of a network whose last map is its output."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

from ...net.network import End, Lasting, Network, aligned


@dataclass(frozen=True)
class LastMap(End):
    """The last map, as it is: no labels, one tunnel."""

    task = "raw"
    areas: ClassVar[tuple[str, ...]] = ("feature_at",)
    float32: ClassVar[bool] = True

    def check(self, network: Network) -> None:
        for name, got, wanted in (
            ("tunnels", network.tunnels, 1),
            ("layers behind the tunnels", len(network.readouts), 0),
            ("labels", len(network.labels), self.labels(network)),
        ):
            if got != wanted:
                raise ValueError(f"{network.name}: {name}: wanted {wanted}, got {got}")

    def labels(self, network: Network) -> int:
        """How many there are."""
        return 0

    def fully_connected(self, network: Network) -> None:
        return None

    def pools(self) -> bool:
        return False

    def lasting(self, network: Network, groups: int) -> Lasting:
        """The map, from the segment on that makes it."""
        size = map_bytes(network)
        return Lasting((("feature_at", 0),), 0, size, size)

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> LastMap:
        return cls(**values)


END = LastMap


def map_bytes(network: Network) -> int:
    """Of the last map's place."""
    last = network.chain[-1]
    return aligned(last.oh * last.ow * last.cout * last.value_bytes)

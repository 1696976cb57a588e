"""The end of a network that classifies: pooled features, one fully connected layer (the paper's section 3)."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ...net.network import End, Lasting, Network, aligned


@dataclass(frozen=True)
class Pooled(End):
    """The last map of each tunnel is averaged; over the tunnels features are added up ("sum") or laid side by side
    ("concat")."""

    aggregate: str = "sum"
    task = "classify"
    areas = "sum_at", "feature_at", "logit_at"

    def check(self, network: Network) -> None:
        if self.aggregate not in ("sum", "concat"):
            raise ValueError(f"{network.name}: aggregate: wanted sum or concat, got {self.aggregate}")
        if network.readouts:
            raise ValueError(f"{network.name}: layers behind the tunnels: wanted none, got {len(network.readouts)}")

    def dense(self, network: Network) -> tuple[int, int]:
        last = network.chain[-1].cout
        return len(network.labels), last * network.tunnels if self.aggregate == "concat" else last

    def pools(self) -> bool:
        return True

    def lasting(self, network: Network, groups: int) -> Lasting:
        """Sums of features (int32), features (int8), logits (int16)."""
        classes, features = self.dense(network)
        several, features, logits = network.tunnels > 1, aligned(features), 2 * classes
        if several and self.aggregate == "sum":
            sums = 4 * network.chain[-1].cout
            places = ("sum_at", 0), ("feature_at", sums), ("logit_at", sums + features)
            return Lasting(places, sums, sums + features, aligned(sums + features + logits))
        places = ("sum_at", features), ("feature_at", 0), ("logit_at", features)
        below = features if several else 0
        return Lasting(places, below, features + 4 * groups, aligned(features + logits))

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Pooled:
        return cls(**values)


END = Pooled

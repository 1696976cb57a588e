"""The end of a network that classifies: pooled features, one fully connected layer (the paper's section 3)."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ...format import SCORES
from ...net.network import End, Lasting, Network, aligned


@dataclass(frozen=True)
class Pooled(End):
    """The last map of each tunnel is averaged; over the tunnels features are added up ("sum") or laid side by side
    ("concat"). A fully connected layer makes logits of the features, or (`dense` False) they are the logits.

    `scores`: what classes' scores are, "softmax" over the logits or of each by itself a "sigmoid".
    """

    aggregate: str = "sum"
    dense: bool = True
    scores: str = "softmax"
    task = "classify"
    areas = "sum_at", "feature_at", "logit_at"
    float32 = True

    def check(self, network: Network) -> None:
        if not network.labels:
            raise ValueError(f"{network.name}: labels: wanted one or more, got none")
        if self.aggregate not in ("sum", "concat"):
            raise ValueError(f"{network.name}: aggregate: wanted sum or concat, got {self.aggregate}")
        if self.scores not in SCORES:
            raise ValueError(f"{network.name}: scores: wanted {' or '.join(SCORES)}, got {self.scores}")
        if network.readouts:
            raise ValueError(f"{network.name}: layers behind the tunnels: wanted none, got {len(network.readouts)}")
        if not self.dense and self.features(network) != len(network.labels):
            wanted = f"{len(network.labels)} features, one for each class"
            raise ValueError(f"{network.name}: dense: wanted {wanted}, got {self.features(network)}")

    def features(self, network: Network) -> int:
        """Values that the pooling gives."""
        return network.chain[-1].cout * (network.tunnels if self.aggregate == "concat" else 1)

    def fully_connected(self, network: Network) -> tuple[int, int] | None:
        return (len(network.labels), self.features(network)) if self.dense else None

    def pools(self) -> bool:
        return True

    def lasting(self, network: Network, groups: int) -> Lasting:
        """Sums of features (int32), features (int8), logits (int16); of a float32 network all are float32. Without a
        fully connected layer logits are in the features' place."""
        several, floats = network.tunnels > 1, network.value_bytes > 1
        logits = (4 if floats else 2) * len(network.labels)
        features = aligned(self.features(network) * network.value_bytes if self.dense else logits)
        end = features + logits if self.dense else features
        if several and self.aggregate == "sum":
            sums = 4 * network.chain[-1].cout
            places = self._places(sums, features)
            return Lasting((("sum_at", 0), *places), sums, sums + features, aligned(sums + end))
        places = self._places(0, features)
        below = features if several else 0
        return Lasting((("sum_at", features), *places), below, features + 4 * groups, aligned(end))

    def _places(self, at: int, features: int) -> tuple[tuple[str, int], ...]:
        """Of what is made of the sums, from `at` on."""
        return ("feature_at", at if self.dense else 0), ("logit_at", at + features if self.dense else at)

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Pooled:
        return cls(**values)


END = Pooled

"""The end of a network that classifies: pooled features, one fully connected layer (the paper's section 3)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import ClassVar

from ...format import SCORES
from ...net.layers import Layer
from ...net.network import End, Lasting, Network, Readout, aligned
from ...net.recipe import PatchTunnels
from ...net.stitching import Place, Stitched, Stitching


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
    areas: ClassVar[tuple[str, ...]] = ("sum_at", "feature_at", "logit_at")
    float32 = True

    def check(self, network: Network) -> None:
        if not network.labels:
            raise ValueError(f"{network.name}: labels: wanted one or more, got none")
        if self.aggregate not in ("sum", "concat"):
            raise ValueError(f"{network.name}: aggregate: wanted sum or concat, got {self.aggregate}")
        if self.scores not in SCORES:
            raise ValueError(f"{network.name}: scores: wanted {' or '.join(SCORES)}, got {self.scores}")
        self.check_behind(network)
        if not self.dense and self.features(network) != len(network.labels):
            wanted = f"{len(network.labels)} features, one for each class"
            raise ValueError(f"{network.name}: dense: wanted {wanted}, got {self.features(network)}")

    def check_behind(self, network: Network) -> None:
        if network.readouts:
            raise ValueError(f"{network.name}: layers behind the tunnels: wanted none, got {len(network.readouts)}")

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
        if "map" not in values:
            return cls(**values)
        places = tuple(Place(**place) for place in values["places"])
        return Merged(**values | {"map": tuple(values["map"]), "places": places})


@dataclass(frozen=True)
class Merged(Stitched, Pooled):
    """The tunnels' last maps become one of `map` (rows, columns), `places[i]` being where tunnel i's goes; where two
    meet they are added. Layers follow, the network's one readout, whose head's map is what is averaged."""

    map: tuple[int, int] = field(kw_only=True)
    places: tuple[Place, ...] = field(kw_only=True)
    areas = "stitch_at", *Pooled.areas
    float32, merges = False, True

    def check_behind(self, network: Network) -> None:
        for name, got, wanted in (
            ("aggregate", self.aggregate, "sum"),
            ("readouts", len(network.readouts), 1),
        ):
            if got != wanted:
                raise ValueError(f"{network.name}: {name}: wanted {wanted} where tunnels merge, got {got}")
        self.check_stitched(network)

    def features(self, network: Network) -> int:
        return network.readouts[-1].head.cout

    def pools(self) -> bool:
        return False

    def lasting(self, network: Network, groups: int) -> Lasting:
        """The stitched map outlives the segments of the tunnels. In the last one behind them there are sums, and what
        is made of them; logits of a fully connected layer may lie where the sums were."""
        stitched, logits = self.stitched_bytes(network), 2 * len(network.labels)
        n = self.features(network)
        sums = max(4 * n, aligned(logits)) if self.dense else 4 * n
        more = (("feature_at", sums), ("logit_at", 0)) if self.dense else (("feature_at", sums), ("logit_at", sums))
        tail = sums + aligned(n if self.dense else logits)
        return Lasting((("stitch_at", 0),), stitched, stitched, tail, tail, tail_places=(("sum_at", 0), *more))


def merged(recipe: PatchTunnels, chain: tuple[Layer, ...]) -> tuple[Readout, Merged]:
    """The end of a recipe whose tunnels merge, and the layers that follow."""
    stitching = Stitching.of(recipe, chain)
    behind = recipe.behind(*stitching.size, chain[-1].cout)
    end = Merged(recipe.aggregate, map=stitching.size, places=tuple(stitching.places()))
    return Readout(behind[:-1], behind[-1]), end


END = Pooled

"""The end of a network that finds objects in a heat map: each pixel of its last map is classified (FOMO)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...format import MAX_TOP, NO_CLASS, SCORES, SPOT_BYTES
from ...net.network import Lasting, Network, aligned
from ..raw.end import LastMap, map_bytes


@dataclass(frozen=True)
class HeatMap(LastMap):
    """The last map's pixels are cells, its channels a logit for each label. Neighbouring cells of one class are an
    object; those of the class `background` (-1: there is none) are nothing. At most the best `top` objects of a
    picture are kept. `scores`: "softmax" over a cell's classes, or of each by itself a "sigmoid"."""

    background: int = 0
    top: int = 100
    scores: str = "softmax"
    task = "heatmap"
    areas = "feature_at", "cell_at", "spot_at"
    float32 = False

    def check(self, network: Network) -> None:
        super().check(network)
        n, last = len(network.labels), network.chain[-1]
        for name, ok, wanted in (
            ("background", -1 <= self.background < n, f"0..{n - 1}, or -1 for none"),
            ("labels", n > (self.background >= 0), "one or more besides the background"),
            ("top", 1 <= self.top <= MAX_TOP, f"1..{MAX_TOP}"),
            ("scores", self.scores in SCORES, " or ".join(SCORES)),
        ):
            if not ok:
                raise ValueError(
                    f"{network.name}: {name}: wanted {wanted}, got {n if name == 'labels' else getattr(self, name)}"
                )
        if last.oh * last.ow >= NO_CLASS:
            raise ValueError(f"{network.name}: wanted fewer than {NO_CLASS} cells, got {last.oh} x {last.ow}")

    def labels(self, network: Network) -> int:
        return network.chain[-1].cout

    def lasting(self, network: Network, groups: int) -> Lasting:
        """Behind the layers, a number for each cell (uint16) and the objects join the map."""
        last, size = network.chain[-1], map_bytes(network)
        spot_at = size + aligned(2 * last.oh * last.ow)
        places = ("feature_at", 0), ("cell_at", size), ("spot_at", spot_at)
        return replace(super().lasting(network, groups), places=places, end=spot_at + SPOT_BYTES * self.top)


END = HeatMap

"""Recipes for a memory budget: networks all of whose layers keep the paper's equations 2 and 3."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

from .budget import bottleneck_bytes, check_budget, layer_bytes
from .network import Network
from .recipe import PatchTunnels, Stage


@dataclass(frozen=True)
class Candidate:
    """A network that `design` found. `peak`: the largest eq. 2 or 3 in bytes; macs and weights as the network's."""

    recipe: PatchTunnels
    peak: int
    macs: int
    weights: int

    @property
    def network(self) -> Network:
        return self.recipe.network()


WIDTHS = (16, 24, 40, 80, 160)  # of the stages; the first keeps the stem's resolution, each other halves it


def widen(recipe: PatchTunnels, budget: int, multiplier: float, t: int, depth: int) -> PatchTunnels:
    """`recipe` with stages until its maps are 7 pixels or less, each as wide as eq. 3 lets it be.

    Widths are multiples of 8, at most WIDTHS * multiplier; every stage has `depth` bottlenecks, the first one only 1.
    A stage that cannot be 8 wide is made so all the same, for `check_budget` to name it.
    """
    last = recipe.layers()[0]
    for i, width in enumerate(WIDTHS):
        if i and min(last.oh, last.ow) <= 7:
            break
        n, stride = (depth, 2) if i else (1, 1)
        probe = replace(recipe, stages=(*recipe.stages, Stage(8, n, stride, t))).layers()
        first, pixels = probe[-n], probe[-1].oh * probe[-1].ow
        room = (budget - bottleneck_bytes(first) + pixels * first.cout) // pixels
        room = min(room, (budget // pixels - 2) // 2) if n > 1 else room
        out = max(8, min(room, round(width * multiplier)) // 8 * 8)
        recipe = replace(recipe, stages=(*recipe.stages, Stage(out, n, stride, t)))
        last = probe[-1]
    return recipe


def design(
    labels: tuple[str, ...],
    height: int,
    width: int,
    budget: int,
    *,
    channels: int = 3,
    ks: tuple[int, ...] = (1, 4, 9, 16),
    margins: tuple[int, ...] | None = None,
    multipliers: tuple[float, ...] = (0.5, 0.75, 1.0, 1.5, 2.0),
    expansions: tuple[int, ...] = (3, 4, 6, 8),
    stems: tuple[int, ...] = (8, 16, 24),
    depth: int = 2,
    central: bool = True,
    max_macs: int | None = None,
    top: int | None = 5,
    name: str = "designed",
) -> list[Candidate]:
    """Networks for a memory budget in bytes (int8 elements), those of the most MACs first, `top` of them (section 3
    of the paper).

    Searches k, margins (None: none, 1/16, 1/12, 1/8 and 1/7 of the shorter side), width multipliers, expansions and
    stems for networks whose layers all keep eq. 2 and eq. 3, at most `max_macs` per picture. If there is none,
    ValueError names the block that stands in the way of the network nearest to the budget.
    """
    margins = margins if margins is not None else tuple(sorted({0, *(min(height, width) // d for d in (16, 12, 8, 7))}))
    found: dict[PatchTunnels, Candidate] = {}
    beyond: list[tuple[int, int, Network]] = []  # peak, macs
    for k, margin, stem, multiplier, t in product(ks, margins, stems, multipliers, expansions):
        if k == 1 and margin:
            continue
        base = PatchTunnels(
            name, tuple(labels), height, width, channels, k, central and k > 1, margin, margin, stem,
            mean=(128,) * channels,
        )  # fmt: skip
        recipe = widen(base, budget, multiplier, t, depth)
        network = recipe.network()
        peak, macs = max(map(layer_bytes, network.chain)), network.macs
        if peak > budget or (max_macs is not None and macs > max_macs):
            beyond.append((peak, macs, network))
            continue
        found[recipe] = Candidate(recipe, peak, macs, network.weights)
    if not found and not beyond:
        raise ValueError(f"{name}: wanted a margin of 0 or more than one patch, got margins {margins} and k {ks}")
    if not found:
        _, macs, network = min(beyond, key=lambda one: one[0])
        check_budget(network, budget)
        raise ValueError(f"{name}: needs {macs:,} MACs, wanted at most {max_macs:,}")
    return sorted(found.values(), key=lambda c: (c.macs, c.weights), reverse=True)[:top]

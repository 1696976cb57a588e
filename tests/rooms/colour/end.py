"""The end of a network that tells a colour: the means of its last maps' channels, over all tunnels."""

from __future__ import annotations

from dataclasses import dataclass

from ...net.layers import Layer
from ...net.network import End, Lasting, Network, Readout, aligned
from ...net.recipe import EndRecipe, PatchTunnels
from ...net.toml import known


@dataclass(frozen=True)
class Colour(EndRecipe):
    """The table [network.colour] of a recipe; nothing is to be said in it."""

    task = "colour"

    def ends(self, recipe: PatchTunnels, chain: tuple[Layer, ...]) -> tuple[tuple[Readout, ...], Means]:
        return (), Means()


def recipe_from_dict(values: dict, where: str) -> Colour:
    """The table [network.colour]. ValueError names an unknown key."""
    return Colour(**known(Colour, values, where))


@dataclass(frozen=True)
class Means(End):
    """A label is a channel of the last maps."""

    task = "colour"
    areas = "sum_at", "logit_at"

    def check(self, network: Network) -> None:
        wanted, got = len(network.labels), network.chain[-1].cout
        if network.readouts or got != wanted:
            raise ValueError(f"{network.name}: colour: wanted {wanted} channels and no layers behind them, got {got}")

    def fully_connected(self, network: Network) -> None:
        return None

    def pools(self) -> bool:
        return False

    def lasting(self, network: Network, groups: int) -> Lasting:
        """Sums (int32), and at the end means with 8 fraction bits (int16)."""
        n = len(network.labels)
        return Lasting((("sum_at", 0), ("logit_at", 4 * n)), below=4 * n, below_last=4 * n, end=aligned(6 * n))

    def to_dict(self) -> dict:
        return {}

    @classmethod
    def from_dict(cls, values: dict) -> Means:
        return cls(**known(cls, values, "end"))


END = Means

"""Tunnels' last maps as one map of the whole picture: which part of each goes where."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .layers import Layer
from .network import End, Network, aligned

if TYPE_CHECKING:
    from .recipe import PatchTunnels


@dataclass(frozen=True)
class Place:
    """Where a tunnel's map goes: `h` x `w` cells from (from_y, from_x) on, to (to_y, to_x) of the stitched map."""

    from_y: int
    from_x: int
    to_y: int
    to_x: int
    h: int
    w: int


class Stitched(End):
    """The end of a network whose tunnels' last maps become one of `map` (rows, columns), which layers read: tunnel i's
    goes to `places[i]`, and where two meet they are added."""

    map: tuple[int, int]
    places: tuple[Place, ...]

    def joined(self, last: Layer) -> tuple[int, int]:
        return self.map

    @property
    def overlaps(self) -> bool:
        """Whether two tunnels' maps meet somewhere."""
        return sum(place.h * place.w for place in self.places) > math.prod(self.map)

    def stitched_bytes(self, network: Network) -> int:
        return aligned(math.prod(self.map) * network.chain[-1].cout)

    def check_stitched(self, network: Network) -> None:
        """ValueError where maps cannot be stitched."""
        if len(self.places) != network.tunnels:
            got = len(self.places)
            raise ValueError(f"{network.name}: places: wanted {network.tunnels}, one for each tunnel, got {got}")
        if network.sizes is not None:
            raise ValueError(
                f"{network.name}: wanted all patches in one picture for maps to be stitched, got sizes of their own"
            )


@dataclass(frozen=True)
class Stitching:
    """Which part of each tunnel's last map goes where: `last` is the tunnels' last layer, `stride` pixels from cell to
    cell, `size` that of the stitched map."""

    recipe: PatchTunnels
    last: Layer
    stride: int
    size: tuple[int, int]

    @classmethod
    def of(cls, recipe: PatchTunnels, chain: Sequence[Layer]) -> Stitching:
        """ValueError if they are no maps of a grid, and one in its middle."""
        for key, given, wanted in (
            ("repeat", recipe.repeat, 1), ("coarse", recipe.coarse, False), ("places", recipe.places, ()),
        ):  # fmt: skip
            if given != wanted:
                told = "1" if wanted else "none"
                raise ValueError(f"{recipe.name}: {key}: wanted {told} where a grid's maps are stitched, got {given}")
        stride = math.prod(layer.sh for layer in chain)
        return cls(recipe, chain[-1], stride, (-(-recipe.height // stride), -(-recipe.width // stride)))

    def places(self) -> list[Place]:
        """Of each of the patches. ValueError if a patch of the grid does not cover its part."""
        out = []
        for i, patch in enumerate(self.recipe.patches()):
            (fy, ty, h), (fx, tx, w) = (self._span(i, axis, at) for axis, at in enumerate(patch[:2]))
            out.append(Place(fy, fx, ty, tx, h, w))
        return out

    def _span(self, i: int, axis: int, at: int) -> tuple[int, int, int]:
        """Of patch `i` along `axis` (0: rows) with its corner at pixel `at`: first cell, where it goes, cells."""
        r, size, cells = self.recipe, self.size[axis], (self.last.oh, self.last.ow)[axis]
        first = (2 * at + self.stride) // (2 * self.stride)
        if i >= r.k:  # the central patch: all of its map
            return 0, first, min(cells, size - first)
        j = (i // r.grid, i % r.grid)[axis]
        start, end = j * size // r.grid, (j + 1) * size // r.grid
        if not first <= start < end <= first + cells:
            side = ("rows", "columns")[axis]
            raise ValueError(
                f"{r.name}: patch {i}: wanted {side} {start}..{end - 1} of the stitched map, got {first}.."
                f"{first + cells - 1} (a larger margin_{'hw'[axis]} helps)"
            )
        return start - first, start, end - start

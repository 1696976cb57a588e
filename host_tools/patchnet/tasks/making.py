"""What `patchnet make` needs to know of a task: the networks it may have, for data of one's own.

A room's module `making` has `making(name, seen)`, which gives one of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..data.look import Looked
from ..net import trunk
from ..net.recipe import PatchTunnels

HEADS = (256, 192, 160, 128, 96, 64)


@dataclass(frozen=True)
class Making:
    """Networks that differ in size, patches, depth and head. What is here is for pictures, over the trunk whose weights
    come with patchnet.

    `depths`: from the deepest on, `heads`: from the widest on, `sizes`: from the largest on, `patches`: numbers of
    them. `pretrained`: whether there are weights to begin with.
    """

    name: str
    seen: Looked
    pretrained: ClassVar[bool] = True
    sizes: ClassVar[Sequence[int]] = (224, 192, 160, 144, 128, 112, 96, 80, 64, 48, 32)
    patches: ClassVar[Sequence[int]] = (1, 4)
    depths: ClassVar[Sequence[int]] = range(trunk.BLOCKS, 2, -1)
    heads: ClassVar[Sequence[int]] = HEADS
    largest: ClassVar[float] = 1.25  # a network's picture may be that much larger than what most pictures are

    def fits(self, size: int) -> bool:
        """Whether the pictures have enough pixels for that."""
        return size <= self.largest * min(self.seen.sizes[1]) or size == self.sizes[-1]

    def recipe(self, size: int, patches: int, depth: int, head: int) -> PatchTunnels:
        """ValueError where there is no such network."""
        raise NotImplementedError

    def settings(self, recipe: PatchTunnels, pretrained: bool) -> dict[str, Any]:
        """What the experiment's file has besides names and the network."""
        return {
            "batch": max(4, min(32, len(self.seen.train) // 8)),
            "lr": 1e-3 if pretrained else 2e-3,
            "weight_decay": 0.05,
            "warmup": 0.1 if pretrained else 0.03,
            "ema": 0.995,
            "tied": recipe.k > 1,
        }

    def described(self, recipe: PatchTunnels, depth: int) -> str:
        """A network in a few words."""
        w, h = recipe.patch[1], recipe.patch[0]
        how = "whole" if recipe.k == 1 else f"{recipe.k} patches of {w}x{h}"
        return f"{recipe.width}x{recipe.height} {how}, {depth} bottlenecks"

    def over_trunk(self, size: int, patches: int, depth: int, **more: Any) -> PatchTunnels:
        """`depth` bottlenecks of the trunk over a picture of size x size."""
        margin = size // 12 if patches > 1 else 0
        return PatchTunnels(
            self.name, self.seen.classes, size, size, 3, patches, False, margin, margin, trunk.STEM,
            stages=trunk.cut(depth), mean=trunk.MEAN, std=trunk.STD, **more,
        )  # fmt: skip

"""Networks that find objects like those in pictures of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...data.look import Looked
from ...net import trunk
from ...net.recipe import PatchTunnels, Stage
from ..making import Making
from .boxes import anchors_for
from .end import Anchors, Detection, Scale

TUNNELS = 5  # bottlenecks of the trunk, to a map of stride 8, which the first scale reads
UNIT = 1000  # sides of the picture that anchors are told of


@dataclass(frozen=True)
class Finds(Making):
    """`shapes`: anchors in a picture of UNIT x UNIT, smallest first, three for each scale."""

    shapes: Anchors
    sizes = (256, 224, 192, 160, 144, 128, 112, 96, 80)
    depths = range(trunk.BLOCKS, TUNNELS, -1)
    heads = (128, 96, 64)
    largest = 1.0

    def recipe(self, size: int, patches: int, depth: int, head: int) -> PatchTunnels:
        """Scales of stride 8, 16 and 32: what the trunk has behind its first five bottlenecks, then one of `head`."""
        anchors = [(max(1, w * size // UNIT), max(1, h * size // UNIT)) for w, h in self.shapes]
        third = -(-len(anchors) // 3)
        small, middle, large = (tuple(anchors[i * third : (i + 1) * third]) for i in range(3))
        behind = trunk.cut(depth)[len(trunk.cut(TUNNELS)) :]
        scales = [Scale(small), Scale(middle, behind), Scale(large, (Stage(head, 1, 2, 4),))]
        end = Detection(tuple(scale for scale in scales if scale.anchors))
        return self.over_trunk(size, patches, TUNNELS, end=end)

    def settings(self, recipe: PatchTunnels, pretrained: bool) -> dict[str, Any]:
        own = {"batch": max(4, min(16, len(self.seen.train) // 8)), "whole": 0.3, "aspect": 1.5, "colour": 0.4}
        return super().settings(recipe, pretrained) | own


def making(name: str, seen: Looked) -> Finds:
    boxes = sum(seen.train.counts())
    anchors, _ = anchors_for(seen.train, UNIT, UNIT, max(1, min(9, boxes // 4)))
    return Finds(name, seen, tuple(anchors))

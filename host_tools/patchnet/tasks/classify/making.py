"""Networks that classify pictures of one's own."""

from __future__ import annotations

from typing import Any

from ...data.look import Looked
from ...net.recipe import PatchTunnels
from ..making import Making


class Classes(Making):
    def recipe(self, size: int, patches: int, depth: int, head: int) -> PatchTunnels:
        """The trunk, and a 1x1 convolution of `head` channels."""
        return self.over_trunk(size, patches, depth, head=head)

    def settings(self, recipe: PatchTunnels, pretrained: bool) -> dict[str, Any]:
        counts = self.seen.train.counts()
        own = {"smoothing": 0.1, "colour": 0.3, "balanced": max(counts) > 1.5 * min(counts)}
        return super().settings(recipe, pretrained) | own


def making(name: str, seen: Looked) -> Classes:
    return Classes(name, seen)

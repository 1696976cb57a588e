"""Networks that tell sounds of one's own."""

from __future__ import annotations

from typing import Any

from ...data.look import Looked
from ...net.recipe import PatchTunnels, Stage
from ..making import Making
from .end import Audio

BANDS, RATE = 40, 16_000
SHORTEST, LONGEST = 0.5, 5.0  # seconds that a network hears at once
STAGES = (Stage(24, 1, 2, 3), Stage(32, 2, 2, 4), Stage(48, 2, 1, 4))


class Hears(Making):
    """`size`: rows of the spectrogram; `depth`: sixteenths of channels; `head`: of the last convolution, or none."""

    pretrained = False
    sizes = (128, 96, 64, 48, 32)
    patches = (1,)
    depths = (24, 16, 12, 8)
    heads = (128, 64, 0)

    def fits(self, size: int) -> bool:
        return True

    def seconds(self) -> float:
        """What most clips last."""
        samples, rate = self.seen.sizes[1]
        return min(LONGEST, max(SHORTEST, samples / rate))

    def recipe(self, size: int, patches: int, depth: int, head: int) -> PatchTunnels:
        rate = min(RATE, self.seen.sizes[1][1])
        hop = max(1, int(self.seconds() * rate / (size + 1)))
        fft = max(64, min(2048, 1 << (2 * hop - 1).bit_length()))
        audio = Audio(rate, min(2 * hop, fft), min(hop, fft), fft, every=max(1, size // 8))
        stages = tuple(Stage(-(-s.out * depth // 64) * 4, s.n, s.stride, s.t) for s in STAGES)
        return PatchTunnels(
            self.name, self.seen.classes, size, BANDS, 1, 1, False, stem_out=depth, stages=stages, head=head,
            mean=(128,), end=audio,
        )  # fmt: skip

    def settings(self, recipe: PatchTunnels, pretrained: bool) -> dict[str, Any]:
        own = {
            "lr": 3e-3, "smoothing": 0.05, "colour": 0.1, "shift": 0.15 * self.seconds(), "speed": 0.1, "gain": 10,
            "noise": 12, "masks": 1,
        }  # fmt: skip
        return super().settings(recipe, False) | own

    def described(self, recipe: PatchTunnels, depth: int) -> str:
        return f"{recipe.height} rows of {recipe.width} bands, {self.seconds():.1f} s, {recipe.stem_out} channels on"


def making(name: str, seen: Looked) -> Hears:
    return Hears(name, seen)

"""What a network that hears is asked: as one that classifies, but of clips at its own rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...data import Item, as_clip
from ...data.sounds import at_rate, fit, to_wav
from ...net.network import Network
from ..answers import Shown
from ..classify.answers import Classifying
from .end import Heard, samples
from .input import prepare


class Hearing(Classifying):
    reads = "sounds"
    most = 100
    camera = "filemic", "FileMic", "read"

    def to_file(self, item: Item, network: Network) -> tuple[str, bytes]:
        return "wav", to_wav(self.as_given(item, network), Heard.of(network).audio.rate)

    def sent(self, item: Item, network: Network) -> np.ndarray:
        """Of a long clip only the samples that count."""
        pcm, most = self.as_given(item, network), samples(network)
        return fit(pcm, most) if len(pcm) > most else pcm

    def as_given(self, item: Item, network: Network) -> np.ndarray:
        return at_rate(as_clip(item), Heard.of(network).audio.rate)

    def seen(self, item: Item, network: Network) -> np.ndarray:
        """Its spectrogram (rows, bands)."""
        return prepare(item, network)[:, :, 0]

    def draw(self, shown: Sequence[Shown], network: Network, path: Path) -> list[Path]:
        from . import drawing  # imported here: matplotlib takes half a second to start

        return drawing.spectrograms(shown, network, path)


ANSWERS = Hearing()

"""What a network that hears reads of a clip."""

from __future__ import annotations

import numpy as np

from ...data import Clip, Item
from ...data.sounds import at_rate, fit
from ...net.network import Network
from .end import Heard, samples
from .front import spectrogram


def prepare(x: Item, network: Network) -> np.ndarray:
    """A clip of any length and rate as the picture that `network` reads: uint8 (height, width, 1). ValueError for a
    picture."""
    if not isinstance(x, Clip):
        raise ValueError(f"{network.name}: reads sounds, got pictures")
    return spectrogram(fit(at_rate(x, Heard.of(network).audio.rate), samples(network)), network)[:, :, None]

"""What a network reads of a picture: for the rooms of tasks that see."""

from __future__ import annotations

import numpy as np

from ..data import Clip, Item
from ..data.resize import prepare as prepare_picture
from ..net.network import Network


def prepare(x: Item, network: Network) -> np.ndarray:
    """Any uint8 picture as the uint8 (height, width, channels) that `network` reads. ValueError for a sound."""
    if isinstance(x, Clip):
        raise ValueError(f"{network.name}: reads pictures, got sounds")
    return prepare_picture(x, network)

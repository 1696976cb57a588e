"""What a network reads of a picture, or of raw values: for the rooms of tasks that see."""

from __future__ import annotations

import numpy as np

from ..data import Clip, Item
from ..data.resize import prepare as prepare_picture
from ..net.network import Network


def prepare(x: Item, network: Network) -> np.ndarray:
    """Any uint8 picture as the uint8 (height, width, channels) that `network` reads; for a network whose input is no
    picture int8 values of that shape, or real ones to calibrate by, as they are. ValueError for anything else."""
    if isinstance(x, Clip):
        raise ValueError(f"{network.name}: reads pictures, got sounds")
    if network.channels not in (1, 3):
        shape = network.height, network.width, network.channels
        if not (x.dtype == np.int8 or np.issubdtype(x.dtype, np.floating)) or x.size != np.prod(shape):
            wanted = "x".join(map(str, shape))
            raise ValueError(f"{network.name}: input is {wanted}, raw: wanted int8 values, got {x.dtype} {x.shape}")
        return x.reshape(shape)
    return prepare_picture(x, network)

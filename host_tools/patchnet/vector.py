"""Test vectors: a small picture and the int8 outputs that a model gives for it, on every machine alike.

`pack` writes one beside each blob, NAME.test.npz; where there is none, the engine of this PC makes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import Model

SIDE = 32  # pixels at most: the engine stretches a picture to what the network sees
SEED = 2408


@dataclass(frozen=True)
class Vector:
    """picture: uint8 (H, W, 3) or (H, W). outputs: int8 (classes,)."""

    picture: np.ndarray
    outputs: np.ndarray


def path_of(blob: str | Path) -> Path:
    return Path(blob).with_suffix(".test.npz")


def make(blob: bytes) -> Vector:
    """A picture of noise, and what the PC's engine says to it."""
    model = Model(blob)
    height, width, channels = model.input_shape
    shape = (min(height, SIDE), min(width, SIDE)) + ((3,) if channels == 3 else ())
    picture = np.random.default_rng(SEED).integers(0, 256, shape, dtype=np.uint8)
    return Vector(picture, np.frombuffer(model.predict(picture), np.int8))


def save(blob: str | Path) -> Path:
    """Writes the vector of the blob at `blob` beside it."""
    vector = make(Path(blob).read_bytes())
    np.savez_compressed(path_of(blob), picture=vector.picture, outputs=vector.outputs)
    return path_of(blob)


def load(blob: str | Path) -> Vector | None:
    """The vector beside a blob, else a new one; None for a network that does not classify. ValueError if what lies
    there is no vector."""
    path = path_of(blob)
    if not path.is_file():
        data = Path(blob).read_bytes()
        return make(data) if Model(data).task == "classify" else None
    with np.load(path, allow_pickle=False) as z:
        if set(z.files) != {"picture", "outputs"}:
            raise ValueError(f"{path}: wanted picture and outputs, got {', '.join(z.files)}")
        return Vector(z["picture"], z["outputs"])

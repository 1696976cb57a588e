"""Test vectors: a small input and the int8 outputs that a model gives for it, on every machine alike.

`pack` writes one beside each blob, NAME.test.npz; where there is none, the engine of this PC makes it.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..engine.model import Model
from ..whole import whole
from ..words import some
from .unpack import read_blob

SIDE = 32  # pixels at most: the engine stretches a picture to what the network sees
SAMPLES = 1024  # at most: the engine puts them between zeros
SEED = 2408
# What np.load raises of a file that is no .npz, or a damaged one.
NOT_NPZ = (ValueError, zipfile.BadZipFile, zlib.error, EOFError, TypeError, AttributeError, RuntimeError, OSError)


@dataclass(frozen=True)
class Vector:
    """input: a picture, uint8 (H, W, 3) or (H, W); sound, int16 (samples,); or raw, int8 (H, W, C). outputs: int8, or
    float32, what `predict` gives: the logits of the classes, all values of the heads that detect, or the last map."""

    input: np.ndarray
    outputs: np.ndarray

    @property
    def kind(self) -> str:
        return "raw" if self.input.dtype == np.int8 else "sound" if self.input.ndim == 1 else "picture"


KINDS = {"picture"}, {"sound"}, {"raw"}


def raw(x: np.ndarray) -> bytes:
    """An input as a board takes it, of samples the low byte first."""
    return x.astype(x.dtype.newbyteorder("<")).tobytes()


def path_of(blob: str | Path) -> Path:
    return Path(blob).with_suffix(".test.npz")


def make(blob: bytes) -> Vector:
    """Noise, and what the PC's engine says to it."""
    model, rng = Model(blob), np.random.default_rng(SEED)
    noise: np.ndarray
    if model.task == "audio":
        noise = rng.integers(-32768, 32768, min(model.clip_samples, SAMPLES), dtype=np.int16)
    elif model.input_shape[2] not in (1, 3):
        noise = rng.integers(-128, 128, model.input_shape, dtype=np.int8)
    else:
        height, width, channels = model.input_shape
        shape = (min(height, SIDE), min(width, SIDE)) + ((3,) if channels == 3 else ())
        noise = rng.integers(0, 256, shape, dtype=np.uint8)
    return Vector(noise, np.frombuffer(model.predict(noise), model.dtype))


def save(blob: str | Path) -> Path:
    """Writes the vector of the blob at `blob` beside it."""
    vector = make(Path(blob).read_bytes())
    arrays = {vector.kind: vector.input, "outputs": vector.outputs}
    with whole(path_of(blob)) as beside, beside.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # to the stub, any name may be allow_pickle
    return path_of(blob)


def load(blob: str | Path) -> Vector:
    """The vector beside a blob, else a new one. ValueError if what lies there is no vector, or another network's."""
    path = path_of(blob)
    if not path.is_file():
        return make(read_blob(blob))
    data = io.BytesIO(path.read_bytes())
    try:
        with np.load(data, allow_pickle=False) as z:
            stored = dict(z)
    except NOT_NPZ:
        raise ValueError(f"{path}: wanted picture, sound or raw, and outputs, got no .npz file") from None
    names = set(stored) - {"outputs"}
    if names not in KINDS or "outputs" not in stored:
        raise ValueError(f"{path}: wanted picture, sound or raw, and outputs, got {some(stored)}")
    vector = Vector(stored[names.pop()], stored["outputs"])
    if not _is_of(Path(blob).read_bytes(), vector):
        raise ValueError(f"{path}: is not of {Path(blob).name}: delete it")
    return vector


def _is_of(blob: bytes, vector: Vector) -> bool:
    try:
        return bytes(Model(blob).predict(vector.input)) == vector.outputs.tobytes()
    except (TypeError, ValueError):  # an input of another kind than the network's, or of no such shape
        return False

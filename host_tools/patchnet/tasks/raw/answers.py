"""What a network with raw output is asked, and how its values are told. Nothing is right or wrong about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...data import Dataset, Item
from ...engine.model import Model
from ...net.network import Network
from ..answers import Answering, Shown

# A device's answer to a picture: the type of the map's values, its shape, and the values in hexadecimal digits.
WORDS = """
from binascii import hexlify
def words(m, img):
    return [m.dtype, "%dx%dx%d" % m.output_shape, hexlify(m.predict(img)).decode()]
"""


@dataclass(frozen=True)
class Maps:
    """What an engine said of N inputs: maps (h, w, channels), int8 of the integer engines, real numbers of others.
    `ram`: bytes of arena, None for those."""

    on: str
    rows: tuple[np.ndarray, ...]
    ram: int | None
    seconds: float


class Mapping(Answering):
    def words(self, asked: None) -> str:
        return WORDS

    def from_words(self, words: Sequence[str]) -> np.ndarray:
        dtype, shape, values = words
        return np.frombuffer(bytes.fromhex(values), dtype).reshape(tuple(map(int, shape.split("x"))))

    def of_float(self, model: Any, items: Sequence[Item], asked: None) -> list[np.ndarray]:
        return list(model.predict(items))

    def of_logits(self, logits: np.ndarray, item: Item, network: Network, asked: None) -> np.ndarray:
        last = network.chain[-1]
        return logits.reshape(last.oh, last.ow, last.cout)

    def of_host(self, model: Model, item: np.ndarray, labels: Sequence[str], asked: None) -> np.ndarray:
        return np.frombuffer(model.predict(item), model.dtype).reshape(model.output_shape)

    def gathered(self, on: str, labels: tuple[str, ...], rows: list, ram: int | None, seconds: float) -> Maps:
        return Maps(on, tuple(rows), ram, seconds)

    def matched(self, items: Dataset, labels: tuple[str, ...], model: str, name: str) -> Dataset:
        raise ValueError(f"{model}: has raw output, of which no accuracy can be told: `patchnet predict` prints it")

    def same(self, a: Maps, b: Maps) -> bool:
        return a.ram == b.ram and all(np.array_equal(x, y) for x, y in zip(a.rows, b.rows, strict=True))

    def told(self, answers: Maps, i: int, top: int) -> dict:
        row = answers.rows[i]
        return {"shape": list(row.shape), "values": row.ravel().tolist()}

    def lines(self, told: dict, name: str) -> list[str]:
        shape, values = " x ".join(map(str, told["shape"])), told["values"]
        first = ", ".join(f"{value:g}" for value in values[:8])
        more = ", ..." if len(values) > 8 else ""
        return [f"{name}: {shape} values from {min(values):g} to {max(values):g}: {first}{more}"]

    def draw(self, shown: Sequence[Shown], network: Network, path: Path) -> list[Path]:
        raise ValueError("--out: wanted a network that classifies or finds objects, this one has raw output")


ANSWERS = Mapping()

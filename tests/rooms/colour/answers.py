"""What a network that tells a colour is asked, and how its answers are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...engine.model import Model
from ..answers import Answering

Row = tuple[int, ...]  # 0..255, by label

WORDS = """
def words(m, img):
    return [str(q - m.output_zero_point) for q in m.predict(img)]
"""


class Colours(NamedTuple):
    """What an engine said of N pictures."""

    on: str
    labels: tuple[str, ...]
    rows: list[Row]
    ram: int | None
    seconds: float


class Telling(Answering):
    def words(self, asked: None) -> str:
        return WORDS

    def from_words(self, words: Sequence[str]) -> Row:
        return tuple(map(int, words))

    def of_host(self, model: Model, item: np.ndarray, labels: Sequence[str], asked: None) -> Row:
        return tuple(q - model.output_zero_point for q in model.predict(item))

    def gathered(self, on: str, labels: tuple[str, ...], rows: list, ram: int | None, seconds: float) -> Colours:
        return Colours(on, labels, rows, ram, seconds)

    def same(self, a: Colours, b: Colours) -> bool:
        return a.rows == b.rows and a.ram == b.ram

    def told(self, answers: Colours, i: int, top: int) -> dict:
        return {"colour": dict(zip(answers.labels, answers.rows[i], strict=True))}

    def lines(self, told: dict[str, Any], name: str) -> list[str]:
        return [f"{name}: " + ", ".join(f"{label} {value}" for label, value in told["colour"].items())]


ANSWERS = Telling()

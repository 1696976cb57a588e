"""What evaluation needs to know of a task: the interface of its module `answers`.

Engines (float PyTorch, the C engine here, MicroPython on devices) are asked one item at a time; what they say of it is
a row, of the task's own kind. Rows of the integer engines must be equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import Clip, Dataset, Item, as_picture
from ..engine.model import Model
from ..net.network import Network

if TYPE_CHECKING:
    from .html import Section


def pnm(picture: np.ndarray) -> bytes:
    """uint8 (H, W, 3) or (H, W) as a binary PPM or PGM file."""
    kind = b"P6" if picture.ndim == 3 else b"P5"
    return kind + b" %d %d 255\n" % (picture.shape[1], picture.shape[0]) + picture.tobytes()


@dataclass(frozen=True)
class Shown:
    """A file, what was told of it (`Answering.told`), the label that it has, if that is known, and, to be drawn, what
    the network reads of it."""

    name: str
    told: dict
    truth: str | None
    pixels: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.uint8))

    @property
    def right(self) -> bool | None:
        """Whether the first label is the right one; None: not known."""
        return None if self.truth is None else self.told["ranking"][0]["label"] == self.truth


class Answering:
    """`ANSWERS` of a room's module `answers` is one of these. As it stands it is for pictures.

    `measure`: the field of a result that tells how good it is, and `measured` its name in tables; `asked`: what engines
    are asked with where nothing else is said, and `asked_to_measure` while that is measured.
    `most`: how many files go to a device at once; `camera`: module, class and method that read them there.
    """

    reads = "pictures"
    most = 16
    camera = "filecam", "FileCam", "snapshot"
    measure = measured = ""
    asked: Any = None
    asked_to_measure: Any = None

    # ---- items

    def check(self, item: Item, where: str, name: str = "") -> None:
        """ValueError for a sound where pictures are read, and the other way round."""
        got = "sounds" if isinstance(item, Clip) else "pictures"
        if got != self.reads:
            raise ValueError(f"{where}: reads {self.reads}, got {got}{name}")

    def to_file(self, item: Item, network: Network) -> tuple[str, bytes]:
        """Ending and bytes of the file by which a device gets it."""
        picture = as_picture(item)
        return "ppm" if picture.ndim == 3 else "pgm", pnm(picture)

    def sent(self, item: Item, network: Network) -> np.ndarray:
        """What a board at a port has to know of it."""
        return as_picture(item)

    def as_given(self, item: Item, network: Network) -> np.ndarray:
        """What the engine here is given."""
        return as_picture(item)

    def seen(self, item: Item, network: Network) -> np.ndarray:
        """To be drawn."""
        return as_picture(item)

    # ---- asking

    def words(self, asked: Any) -> str:
        """MicroPython: words(m, item) returns the row as strings without spaces; `labels` are the model's."""
        raise NotImplementedError

    def from_words(self, words: Sequence[str]) -> Any:
        raise NotImplementedError

    def of_float(self, model: Any, items: Sequence[Item], asked: Any) -> list:
        """Rows of the network in PyTorch."""
        raise NotImplementedError

    def of_logits(self, logits: np.ndarray, item: Item, network: Network, asked: Any) -> Any:
        """The row that follows from what the original of an imported network gives for an item, real numbers.
        ValueError where originals of such networks cannot be asked."""
        raise ValueError(f"{network.name}: source: not for networks of task {network.task}")

    def of_host(self, model: Model, item: np.ndarray, labels: Sequence[str], asked: Any) -> Any:
        """The row of the C engine here."""
        raise NotImplementedError

    def gathered(self, on: str, labels: tuple[str, ...], rows: list, ram: int | None, seconds: float) -> Any:
        """All that an engine said."""
        raise NotImplementedError

    # ---- judging

    def matched(self, items: Dataset, labels: tuple[str, ...], model: str, name: str) -> Dataset:
        """The data set `name` in terms of the model's labels. ValueError where they do not fit."""
        raise NotImplementedError

    def judged(self, answers: Any, items: Dataset, model: str, name: str) -> Any:
        """The result of one engine: a dataclass with on, model, data, n, ram, seconds, labels, reference, identical."""
        raise NotImplementedError

    def same(self, a: Any, b: Any) -> bool:
        raise NotImplementedError

    # ---- telling

    def options(self, threshold: float, iou: float) -> Any:
        """What engines are asked with, of the options that `predict` knows."""
        return self.asked

    def columns(self, results: Sequence[Any]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        """Names and values of the table of results, for the columns that this task has."""
        raise NotImplementedError

    def by_class(self, results: Sequence[Any]) -> tuple[str, Sequence[Sequence[str]]]:
        """What is told of each class in a second table, and its rows: the label, and a value for each of the results.
        No rows: no table."""
        return "", []

    def remark(self, result: Any) -> str:
        """Where there is no comparison to tell."""
        return ""

    def told(self, answers: Any, i: int, top: int) -> dict:
        """Of item i, plain values."""
        raise NotImplementedError

    def lines(self, told: dict, name: str) -> list[str]:
        """The same in words."""
        raise NotImplementedError

    def truth(self, file: Path, labels: Sequence[str]) -> str | None:
        """The label that a file has, if where it lies tells."""
        return None

    def draw(self, shown: Sequence[Shown], network: Network, path: Path) -> list[Path]:
        """PNG files, or one PDF (`gallery.write`)."""
        raise NotImplementedError

    def sections(self, answers: Any, items: Dataset) -> list[Section]:
        """What a page shows of an engine's answers to `items`, which are in terms of the network's labels."""
        return []

    def draw_confusion(self, result: Any, path: Path) -> None:
        raise ValueError("--confusion: wanted a network that classifies, this one does not")

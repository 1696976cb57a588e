"""A data set: pictures or sounds with labels or boxes, decoded when they are asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from ..words import some
from .pictures import read_picture
from .sounds import SOUNDS, Clip, read_sound

Item = np.ndarray | Clip
Source = bytes | Path | np.ndarray | Image.Image | Clip
BAD_SHARE = 0.1  # of files that may be unreadable
CHECKED = 64  # pixels that pictures are reduced to while it is only to be known whether they can be read
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """Pictures with one label each. Iterating gives (uint8 picture, H x W x 3 or H x W, label index), of a set of
    sounds (Clip, label index).

    `sources` holds encoded files, paths, pixel arrays, pictures or clips; files are decoded when they are asked for.
    Detection sets have `boxes`, for each picture an array (n, 6) of xmin, ymin, xmax, ymax (fractions of the
    picture), class and difficult (0 or 1); their labels are -1. `where`: what the set is called in messages.
    """

    classes: tuple[str, ...]
    sources: Sequence[Source]
    labels: np.ndarray
    names: tuple[str, ...]
    boxes: tuple[np.ndarray, ...] | None = None
    where: str = "data"

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, i: int) -> tuple[Item, int]:
        """ValueError, with its name, for one that cannot be read."""
        try:
            return decode(self.sources[i]), int(self.labels[i])
        except ValueError as e:
            raise ValueError(named(self.names[i], e)) from None

    def __iter__(self) -> Iterator[tuple[Item, int]]:
        return (self[i] for i in range(len(self)))

    def need_boxes(self) -> tuple[np.ndarray, ...]:
        """`boxes`; ValueError where there are none."""
        if self.boxes is None:
            raise ValueError(f"{self.where}: wanted a set of boxes, got one of class labels ({some(self.classes)})")
        return self.boxes

    def counts(self) -> list[int]:
        """Items of each class; of a set of boxes, objects."""
        own = self.labels if self.boxes is None else np.concatenate([rows[:, 4] for rows in self.boxes])
        return np.bincount(own[own >= 0].astype(int), minlength=len(self.classes)).tolist()

    def take(self, indices: Sequence[int] | np.ndarray) -> Dataset:
        """The items at `indices`, in that order."""
        return replace(
            self,
            sources=[self.sources[i] for i in indices],
            labels=self.labels[np.asarray(indices, int)],
            names=tuple(self.names[i] for i in indices),
            boxes=None if self.boxes is None else tuple(self.boxes[i] for i in indices),
        )

    def limit(self, n: int | None) -> Dataset:
        """At most `n` items, evenly spread, so that a set sorted by class keeps its balance."""
        if n is None or n >= len(self):
            return self
        return self.take([i * len(self) // n for i in range(n)])


def named(name: str, error: Exception) -> str:
    """What is wrong with the item of that name, on a line."""
    told = " ".join(str(error).split())
    return told if told.startswith(name) else f"{name}: {told}"


def checked(source: Source, _index: int) -> Source:
    """The source as it is. ValueError if it cannot be read."""
    decode(source, CHECKED)
    return source


def readable(dataset: Dataset, read: Callable[[Source, int], Source] = checked) -> Dataset:
    """The set without files that cannot be read, of which the log tells; `read` makes of each source, and its index,
    what stands for it from then on. ValueError if more than BAD_SHARE are such, or none is left."""
    bad: dict[int, str] = {}

    def one(i: int) -> Source:
        try:
            return read(dataset.sources[i], i)
        except ValueError as e:
            bad[i] = named(dataset.names[i], e)
            return dataset.sources[i]

    with ThreadPoolExecutor(2) as pool:
        dataset = replace(dataset, sources=list(pool.map(one, range(len(dataset)))))
    if not bad:
        return dataset
    log.warning(left_out(dict(sorted(bad.items())), dataset))
    return dataset.take([i for i in range(len(dataset)) if i not in bad])


def left_out(bad: dict[int, str], dataset: Dataset) -> str:
    """A line about those of its items that cannot be read, each with what is wrong about it. ValueError if they are
    more than BAD_SHARE."""
    told, files = "; ".join(list(bad.values())[:3]), f"{dataset.where}: {len(bad)} of {len(dataset)} files"
    if len(bad) > BAD_SHARE * len(dataset):
        raise ValueError(f"{files} cannot be read: {told}")
    return f"{files} cannot be read and are left out: {told}"


def decode(source: Source, side: int | None = None) -> Item:
    """One picture as uint8 (H, W, 3), or (H, W) if it is grey; or a Clip. `side`: of pictures, as for `read_picture`.
    ValueError for what cannot be read, without its name if it is a picture."""
    if isinstance(source, np.ndarray | Clip):
        return source
    if isinstance(source, Image.Image):
        return np.asarray(source)
    if isinstance(source, Path) and source.suffix.lower() in SOUNDS:
        return read_sound(source)
    return read_picture(source) if side is None else read_picture(source, side)


def as_picture(item: Item) -> np.ndarray:
    """An item that must be a picture. ValueError for a sound."""
    if isinstance(item, Clip):
        raise ValueError("wanted a picture, got a sound")
    return item


def as_clip(item: Item) -> Clip:
    """An item that must be a sound. ValueError for a picture."""
    if not isinstance(item, Clip):
        raise ValueError("wanted a sound, got a picture")
    return item

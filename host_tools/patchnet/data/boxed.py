"""What the readers of detection sets share: pictures and their boxes, checked one by one.

All become `data.Dataset`s with boxes (n, 6) of xmin, ymin, xmax, ymax as fractions of the upright picture, class,
difficult. ValueError names the file and what is wrong in it. Boxes without an area are left out, those that leave
their picture are cut off at its edges, pictures that are missing are left out, and the log tells how many; more than
BAD_SHARE of them are an error.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import ExifTags

from ..words import some
from .dataset import BAD_SHARE, Dataset, named
from .pictures import opened

SLACK = 1.0  # pixels by which a box may leave its picture: files round in different ways
ASPECT = 0.03  # by which the ratio of sides may differ from what is told
TURNS = {  # EXIF's orientations that change the sides: a stored point (x, y) in the upright picture, as fractions
    5: lambda x, y: (y, x),
    6: lambda x, y: (1 - y, x),
    7: lambda x, y: (1 - y, 1 - x),
    8: lambda x, y: (y, 1 - x),
}
log = logging.getLogger(__name__)


def in_pixels(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Boxes (n, 6) of a picture of `shape` (height, width, ...) in its pixels."""
    h, w = shape[:2]
    return np.concatenate([rows[:, :4] * (w, h, w, h), rows[:, 4:]], 1)


def of_classes(dataset: Dataset, labels: tuple[str, ...]) -> Dataset:
    """The set with boxes of the classes `labels` only, in that order; pictures without any stay. ValueError if the set
    has no boxes or not all of the classes."""
    boxes = dataset.need_boxes()
    for label in labels:
        if label not in dataset.classes:
            raise ValueError(f"{dataset.where}: no class {label!r} in the data set (it has {some(dataset.classes)})")
    new = np.array([labels.index(c) if c in labels else -1 for c in dataset.classes])
    rows = [own[new[own[:, 4].astype(int)] >= 0].copy() for own in boxes]
    for own in rows:
        own[:, 4] = new[own[:, 4].astype(int)]
    return replace(dataset, classes=tuple(labels), boxes=tuple(rows))


# ---------------------------------------------------------------- pictures


@dataclass(frozen=True)
class Frame:
    """The picture that boxes are told of: `width` and `height` are those in which they are told, which need not be the
    file's; `orientation` is EXIF's if they are told of the picture as it is stored, not upright, else 1."""

    path: Path
    width: float
    height: float
    orientation: int = 1

    @classmethod
    def of(cls, path: Path, told: tuple[float, float] | None, where: str) -> Frame:
        """`told`: width and height that the annotation has for it. ValueError where the file's are others."""
        try:
            with opened(path) as picture:
                stored, orientation = picture.size, picture.getexif().get(ExifTags.Base.Orientation, 1)
        except (ValueError, OSError) as e:
            raise ValueError(named(str(path), e)) from None
        upright = stored[::-1] if orientation in TURNS else stored
        if told is None or min(told) <= 0:
            return cls(path, *upright)
        if alike(told, upright):
            return cls(path, *told)
        if orientation in TURNS and alike(told, stored):
            return cls(path, *told, orientation)
        told_, got = (f"{w:g} x {h:g}" for w, h in (told, upright))
        raise ValueError(f"{where}: its picture is said to have {told_} pixels, {path} has {got}")

    def fractions(self, box: Sequence[float]) -> list[float]:
        """xmin, ymin, xmax, ymax in pixels as fractions of the upright picture, not cut off."""
        x0, y0, x1, y1 = box[0] / self.width, box[1] / self.height, box[2] / self.width, box[3] / self.height
        if self.orientation not in TURNS:
            return [x0, y0, x1, y1]
        (ax, ay), (bx, by) = (TURNS[self.orientation](*point) for point in ((x0, y0), (x1, y1)))
        return [min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)]


def alike(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return abs(one[0] * other[1] / (one[1] * other[0]) - 1) < ASPECT


# ---------------------------------------------------------------- boxes


class Collected:
    """Pictures and their boxes, as a reader finds them."""

    def __init__(self, where: Path):
        self.where, self.rows = where, dict[Path, list[list[float]]]()
        self.boxes, self.faults, self.missing = 0, list[str](), list[str]()

    def picture(self, path: Path, told: tuple[float, float] | None, where: str) -> Frame | None:
        """The picture at `path`, of which the annotation `where` tells; None if it is missing."""
        if not path.is_file():
            self.missing.append(f"{where}: its picture {path} is missing")
            return None
        self.rows.setdefault(path, [])
        return Frame.of(path, told, where)

    def add(self, frame: Frame, box: Sequence[float], label: int, difficult: bool, where: str) -> None:
        """A box xmin, ymin, xmax, ymax in pixels of `frame`. ValueError if they are no numbers."""
        told = ", ".join(f"{v:g}" for v in box)
        if not all(map(math.isfinite, box)):
            raise ValueError(f"{where}: wanted a box of four numbers, got {told}")
        self.boxes += 1
        x0, y0, x1, y1 = box
        inside = [min(1.0, max(0.0, v)) for v in frame.fractions(box)]
        if x0 >= x1 or y0 >= y1 or inside[0] >= inside[2] or inside[1] >= inside[3]:
            self.faults.append(f"{where}: box {told} has no area in the picture and is left out")
            return
        self.rows[frame.path].append([*inside, label, difficult])
        if min(x0, y0) < -SLACK or x1 > frame.width + SLACK or y1 > frame.height + SLACK:
            size = f"{frame.width:g} x {frame.height:g}"
            self.faults.append(f"{where}: box {told} leaves the picture of {size} pixels and is cut off")

    def dataset(self, classes: Iterable[str]) -> Dataset:
        if not self.rows:
            none = f"{self.where}: none of its {len(self.missing)} pictures is there: "
            raise ValueError(none + self.missing[0] if self.missing else f"{self.where}: no pictures in it")
        told(self.missing, len(self.missing) + len(self.rows), "pictures", 0)
        told(self.faults, self.boxes, "boxes", 1)
        found = tuple(np.array(own, np.float32).reshape(-1, 6) for own in self.rows.values())
        names = tuple(path.stem for path in self.rows)
        return Dataset(tuple(classes), list(self.rows), np.full(len(self.rows), -1), names, found)


def told(faults: list[str], n: int, what: str, few: int) -> None:
    """The log tells of faults; more than BAD_SHARE are an error, if they are more than `few`."""
    if not faults:
        return
    some = "; ".join(faults[:3])
    if len(faults) > max(few, BAD_SHARE * n):
        raise ValueError(f"{len(faults)} of {n} {what} are wrong: {some}")
    log.warning("%d of %d %s: %s", len(faults), n, what, some)


# ---------------------------------------------------------------- classes


def index(name: str, classes: Sequence[str], where: str) -> int:
    if name not in classes:
        raise ValueError(f"{where}: unknown class {name!r} (known: {some(classes)})")
    return list(classes).index(name)


def listed(root: Path) -> list[str]:
    """The classes in classes.txt, one a line; none if there is no such file."""
    path = root / "classes.txt"
    lines = path.read_text(encoding="utf-8-sig").splitlines() if path.is_file() else []
    return [line.strip() for line in lines if line.strip()]

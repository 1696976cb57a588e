"""What a detecting network is asked, and how the boxes that it finds are judged and told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...data import Dataset, Item, as_picture, in_pixels, of_classes
from ...engine.model import Model
from ...net.network import Network
from ..answers import Answering, Shown
from . import precision

if TYPE_CHECKING:
    from ..html import Section

FEW = 6  # classes that have columns in a table of results; of more there is a table of their own
LEAST, OVERLAP = 0.02, 0.45  # threshold of scores and of suppression while precision is measured: all of the curve
UNIT = 65536  # of the integer engines' scores

# A device's answer per picture: its file, then x:y:w:h:class:score of each box, best first, scores in 1/65536.
WORDS = """
def words(m, img):
    found = m.detect(img, {threshold}, {overlap})
    return ["%d:%d:%d:%d:%d:%d" % (b[:4] + (labels.index(b[4]), int(b[5] * 65536 + 0.5))) for b in found]
"""


@dataclass(frozen=True)
class Found:
    """What an engine found in N pictures: for each, rows (n, 6) of x, y, w, h (pixels of the picture), class, score,
    best first; integers and 0..65536 from the integer engines, pixels with fractions and 0..1 from those in real
    numbers (float, source), which have no `ram`, bytes of arena."""

    on: str
    labels: tuple[str, ...]
    boxes: tuple[np.ndarray, ...]
    ram: int | None
    seconds: float

    def corners(self, i: int) -> np.ndarray:
        """Of picture i: rows of xmin, ymin, xmax, ymax, class, score 0..1."""
        rows = self.boxes[i].astype(np.float64)
        score = rows[:, 5:] / (1 if self.ram is None else UNIT)
        return np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4], rows[:, 4:5], score], 1)

    def told(self, i: int) -> list[dict]:
        """Of picture i, best first: {"box": [x, y, w, h], "label", "score" 0..1}."""
        unit = 1 if self.ram is None else UNIT
        return [
            {"box": [round(float(v), 1) if unit == 1 else int(v) for v in row[:4]], "label": self.labels[int(row[4])],
             "score": float(row[5]) / unit}
            for row in self.boxes[i]
        ]  # fmt: skip


@dataclass(frozen=True)
class DetectResult:
    """Precision of one engine on n pictures with `objects` objects that are not difficult. `map50`: mean average
    precision at an IoU of 0.5, the way of PASCAL VOC, `ap50` that of each class (None where there is no object);
    `map`: COCO's, over IoU 0.50 to 0.95. `boxes`: how many were found. `identical`: as in `classify.answers.Result`, of
    all boxes and scores."""

    on: str
    model: str
    data: str
    n: int
    objects: int
    map50: float
    map: float
    boxes: int
    ram: int | None
    seconds: float
    labels: tuple[str, ...]
    ap50: tuple[float | None, ...]
    reference: str | None = None
    identical: bool | None = None


def judge(found: Found, pictures: Dataset, model: str, data: str) -> DetectResult:
    """Precision against the boxes of `pictures`, whose classes are the model's labels."""
    pairs = zip(pictures.need_boxes(), pictures, strict=True)
    truth = [in_pixels(rows, as_picture(picture).shape) for rows, (picture, _) in pairs]
    rows, classes = [found.corners(i) for i in range(len(truth))], len(found.labels)
    ap50 = precision.voc_precisions(rows, truth, classes)
    return DetectResult(
        found.on, model, data, len(truth), sum(int((t[:, 5] == 0).sum()) for t in truth), precision.mean(ap50),
        precision.coco_map(rows, truth, classes), sum(map(len, rows)), found.ram, round(found.seconds, 3),
        found.labels, tuple(ap50),
    )  # fmt: skip


class Levels(NamedTuple):
    """Of scores and of suppression: the least score of a box, and the IoU from which on the worse of two goes."""

    threshold: float
    overlap: float


def as_rows(boxes: Sequence[tuple[int, ...]]) -> np.ndarray:
    return np.array(boxes, np.int64).reshape(-1, 6)


class Finding(Answering):
    """What is asked of all that find boxes in pictures, and told of them."""

    asked = Levels(0.4, OVERLAP)

    def words(self, asked: Levels) -> str:
        return WORDS.format(threshold=asked.threshold, overlap=asked.overlap)

    def from_words(self, words: Sequence[str]) -> np.ndarray:
        return as_rows([tuple(map(int, word.split(":"))) for word in words])

    def of_host(self, model: Model, item: np.ndarray, labels: Sequence[str], asked: Levels) -> np.ndarray:
        place = {label: i for i, label in enumerate(labels)}
        return as_rows([(*box[:4], place[box[4]], round(box[5] * UNIT)) for box in model.detect(item, *asked)])

    def gathered(self, on: str, labels: tuple[str, ...], rows: list, ram: int | None, seconds: float) -> Found:
        return Found(on, labels, tuple(rows), ram, seconds)

    def same(self, a: Found, b: Found) -> bool:
        return a.ram == b.ram and all(np.array_equal(x, y) for x, y in zip(a.boxes, b.boxes, strict=True))

    def options(self, threshold: float, iou: float) -> Levels:
        return Levels(threshold, iou)

    def told(self, answers: Found, i: int, top: int) -> dict:
        return {"boxes": answers.told(i)}

    def lines(self, told: dict, name: str) -> list[str]:
        boxes = told["boxes"]
        where = (", ".join(f"{v:g}" for v in one["box"]) for one in boxes)
        each = [f"  {one['label']} {one['score']:.4f} at {at}" for one, at in zip(boxes, where, strict=True)]
        return [f"{name}: {len(boxes)} objects", *each]

    def draw(self, shown: Sequence[Shown], network: Network, path: Path) -> list[Path]:
        from . import drawing  # imported here: matplotlib takes half a second to start

        return drawing.boxes(shown, path)


def percent(ap: float | None) -> str:
    return "" if ap is None else f"{ap:.2%}"


class Detecting(Finding):
    measure, measured = "map50", "mAP50"
    asked_to_measure = Levels(LEAST, OVERLAP)

    def of_float(self, model: Any, items: Sequence[Item], asked: Levels) -> list[np.ndarray]:
        found = model.predict(items, *asked)
        return [np.column_stack([rows[:, :2], rows[:, 2:4] - rows[:, :2], rows[:, 4:]]) for rows in found]

    def matched(self, items: Dataset, labels: tuple[str, ...], model: str, name: str) -> Dataset:
        return of_classes(items, labels)

    def judged(self, answers: Found, items: Dataset, model: str, name: str) -> DetectResult:
        return judge(answers, items, model, name)

    def columns(self, results: Sequence[DetectResult]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        few = len(results[0].labels) <= FEW
        names = (self.reads, "objects", "mAP50", "mAP50-95", *(results[0].labels if few else ()))
        rows = [
            (str(r.n), str(r.objects), f"{r.map50:.2%}", f"{r.map:.2%}", *(map(percent, r.ap50) if few else ()))
            for r in results
        ]
        return names, rows

    def by_class(self, results: Sequence[DetectResult]) -> tuple[str, Sequence[Sequence[str]]]:
        labels = results[0].labels
        rows = [[label, *(percent(r.ap50[i]) for r in results)] for i, label in enumerate(labels)]
        return "AP50", rows if len(labels) > FEW else []

    def sections(self, answers: Found, items: Dataset) -> list[Section]:
        from . import showing  # imported here: matplotlib takes half a second to start

        return showing.sections(answers.labels, [answers.corners(i) for i in range(len(items))], items)

    def remark(self, result: DetectResult) -> str:
        return f"{result.boxes} boxes"


ANSWERS = Detecting()

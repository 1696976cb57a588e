"""Mean average precision and boxes of a network that detects, on the engines of `evaluate`.

All engines get the same pictures, uncropped and not resized. The integer ones must find equal boxes with equal scores;
whether they did is part of the result.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ... import Model
from ...data.boxed import in_pixels, of_classes
from ...data.sets import Dataset
from ...evaluate import evaluate
from . import precision

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
    best first; integers and 0..65536 from the integer engines, pixels with fractions and 0..1 from the float one.
    `ram`: bytes of arena, None for float."""

    on: str
    labels: tuple[str, ...]
    boxes: tuple[np.ndarray, ...]
    ram: int | None
    seconds: float

    def corners(self, i: int) -> np.ndarray:
        """Of picture i: rows of xmin, ymin, xmax, ymax, class, score 0..1."""
        rows = self.boxes[i].astype(np.float64)
        score = rows[:, 5:] / (1 if self.on == "float" else UNIT)
        return np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4], rows[:, 4:5], score], 1)

    def told(self, i: int) -> list[dict]:
        """Of picture i, best first: {"box": [x, y, w, h], "label", "score" 0..1}."""
        unit = 1 if self.on == "float" else UNIT
        return [
            {"box": [round(float(v), 1) if unit == 1 else int(v) for v in row[:4]], "label": self.labels[int(row[4])],
             "score": float(row[5]) / unit}
            for row in self.boxes[i]
        ]  # fmt: skip


@dataclass(frozen=True)
class DetectResult:
    """Precision of one engine on n pictures with `objects` objects that are not difficult. `map50`: mean average
    precision at an IoU of 0.5, the way of PASCAL VOC, `ap50` that of each class (None where there is no object);
    `map`: COCO's, over IoU 0.50 to 0.95. `boxes`: how many were found. `identical`: as in `evaluate.Result`, of all
    boxes and scores."""

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


# ---------------------------------------------------------------- engines


def _on_float(path: Path, pictures: Dataset, levels: tuple[float, float], tick: Callable[[int], None]):
    try:
        from ...train.model import load_float
    except ImportError as e:
        raise ValueError(f"float needs PyTorch ({e}): pip install 'patchnet[train]'") from None
    model, found = load_float(path), []
    for start in range(0, len(pictures), 16):
        some = [pictures[i][0] for i in range(start, min(len(pictures), start + 16))]
        for rows in model.predict(some, *levels):
            found.append(np.column_stack([rows[:, :2], rows[:, 2:4] - rows[:, :2], rows[:, 4:]]))
        tick(len(some))
    return found, None


def _on_host(path: Path, pictures: Dataset, levels: tuple[float, float], tick: Callable[[int], None]):
    """The C engine, a model per thread: it runs outside of the interpreter's lock."""
    blob, local = path.read_bytes(), threading.local()
    ram, labels = Model(blob).ram, evaluate.network_of(path).labels
    place = {label: i for i, label in enumerate(labels)}

    def detect(i: int) -> np.ndarray:
        if not hasattr(local, "model"):
            local.model = Model(blob)
        rows = local.model.detect(pictures[i][0], *levels)
        return as_rows([(*box[:4], place[box[4]], round(box[5] * UNIT)) for box in rows])

    found = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for rows in pool.map(detect, range(len(pictures))):
            found.append(rows)
            tick(1)
    return found, ram


def _on_device(on: str, path: Path, pictures: Dataset, levels: tuple[float, float], tick: Callable[[int], None]):
    script = WORDS.format(threshold=levels[0], overlap=levels[1])
    words, ram = evaluate.ask(on, path, pictures, tick, script)
    return [as_rows([tuple(map(int, word.split(":"))) for word in line]) for line in words], ram


def as_rows(boxes: Sequence[tuple[int, ...]]) -> np.ndarray:
    return np.array(boxes, np.int64).reshape(-1, 6)


def run(on: str, path: Path, pictures: Dataset, levels: tuple[float, float], tick: Callable[[int], None]) -> Found:
    """What an engine (one of evaluate.ENGINES) finds in all pictures; `path` as `evaluate.model_file` gives it,
    `levels` the threshold of the scores and the IoU of suppression."""
    start = time.monotonic()
    if on == "float":
        found, ram = _on_float(path, pictures, levels, tick)
    elif on == "host":
        found, ram = _on_host(path, pictures, levels, tick)
    else:
        found, ram = _on_device(on, path, pictures, levels, tick)
    return Found(on, evaluate.network_of(path).labels, tuple(found), ram, time.monotonic() - start)


# ---------------------------------------------------------------- results


def judge(found: Found, pictures: Dataset, model: str, data: str) -> DetectResult:
    """Precision against the boxes of `pictures`, whose classes are the model's labels."""
    truth = [in_pixels(rows, picture.shape) for rows, (picture, _) in zip(pictures.boxes, pictures, strict=True)]
    rows, classes = [found.corners(i) for i in range(len(truth))], len(found.labels)
    ap50 = precision.voc_precisions(rows, truth, classes)
    return DetectResult(
        found.on, model, data, len(truth), sum(int((t[:, 5] == 0).sum()) for t in truth), precision.mean(ap50),
        precision.coco_map(rows, truth, classes), sum(map(len, rows)), found.ram, round(found.seconds, 3),
        found.labels, tuple(ap50),
    )  # fmt: skip


def same(a: Found, b: Found) -> bool:
    return a.ram == b.ram and all(np.array_equal(x, y) for x, y in zip(a.boxes, b.boxes, strict=True))


def val(files: dict[str, Path], model: str, data: str, pictures: Dataset, track: evaluate.Track) -> list[DetectResult]:
    """Precision on each engine; `files` as `evaluate.val` finds them. ValueError where the data set has no boxes or not
    all of the model's classes."""
    results, reference = [], None
    for engine, file in files.items():
        known = of_classes(pictures, evaluate.network_of(file).labels)
        found = run(engine, file, known, (LEAST, OVERLAP), track(f"{file.stem} on {engine}", len(known)))
        result = judge(found, known, model, data)
        result, reference = evaluate.beside(result, found, reference, same)
        results.append(result)
    return results


def predict(
    model: str, pictures: Sequence[str | Path], on: str = "host", levels: tuple[float, float] = (0.4, OVERLAP),
    track: evaluate.Track = evaluate.no_track,
) -> Found:  # fmt: skip
    """What is found in picture files; `levels` as for `run`."""
    dataset, file = evaluate.picture_files(pictures), evaluate.model_file(model, on)
    return run(on, file, dataset, levels, track(f"{file.stem} on {on}", len(dataset)))

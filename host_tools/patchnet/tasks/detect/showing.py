"""What a network that finds boxes makes of a data set, for a page: precision and recall, which class is taken for
which, and pictures with what is there beside what was found."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from matplotlib.figure import Figure  # not pyplot: no window, no state
from PIL import Image, ImageDraw

from ...data import Dataset, as_picture, in_pixels
from ..html import SIDE, Section, confusion, drawing, gallery, note, picture
from . import precision
from .boxes import iou

SHOWN = 0.4  # least score of a box that counts as an answer here, as for `m.detect`
MOST = 18  # pictures
COLOURS = ("#ffd92f", "#4dd2ff", "#ff7fd0", "#9cff57", "#ff9d4d", "#c9a6ff")


def sections(labels: Sequence[str], found: Sequence[np.ndarray], items: Dataset) -> list[Section]:
    """`found`: of each picture rows of xmin, ymin, xmax, ymax (pixels), class, score 0..1, best first; `items` have
    the `labels` as classes."""
    pictures = [as_picture(item) for item, _ in items]
    truth = [in_pixels(rows, p.shape) for rows, p in zip(items.need_boxes(), pictures, strict=True)]
    sure = [rows[rows[:, 5] >= SHOWN] for rows in found]
    below = note(
        f"Boxes of a score of {SHOWN} or more; one stands for the object that it overlaps most, by half or more, "
        "whatever its class. Difficult objects are left out."
    )
    return [
        Section("Precision and recall", curves(found, truth, labels)),
        Section("Classes", confusion(matrix(sure, truth, len(labels)), (*labels, "nothing")) + below),
        Section("What is there, and what was found", beside(pictures, truth, sure, items.names, labels)),
    ]


def curves(found: Sequence[np.ndarray], truth: Sequence[np.ndarray], labels: Sequence[str]) -> str:
    """Precision over recall of each class, at an IoU of 0.5."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    for i, label in enumerate(labels):
        hits, wanted = precision.ranked(found, truth, i)
        if not wanted or not len(hits):
            continue
        right = np.cumsum(hits)
        share = right / np.arange(1, len(hits) + 1)
        style = ("-", "--", ":")[i // 10 % 3]
        name = f"{label} {precision.average_precision(hits, wanted):.1%} of {wanted}"
        axes.plot(right / wanted, share, style, color=f"C{i % 10}", linewidth=1.4, label=name)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    title = "average precision, objects"
    if axes.lines:
        axes.legend(frameon=False, fontsize=8, title=title, title_fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return drawing(figure, "precision over recall of each class")


def matrix(found: Sequence[np.ndarray], truth: Sequence[np.ndarray], classes: int) -> np.ndarray:
    """counts[truth][answer]; the last row and column stand for nothing: false alarms and misses."""
    counts = np.zeros((classes + 1, classes + 1), int)
    for have, real in zip(found, truth, strict=True):
        free = real[:, 5] == 0
        for row in have:
            overlap, label = iou(row[None, :4], real[:, :4])[0], int(row[4])
            nearest = int(overlap.argmax()) if len(real) else 0
            if not len(real) or overlap[nearest] < 0.5:
                counts[classes, label] += 1
            elif free[nearest]:
                counts[int(real[nearest, 4]), label] += 1
                free[nearest] = False
            elif not real[nearest, 5]:  # that object was found already
                counts[classes, label] += 1
        np.add.at(counts, (real[free, 4].astype(int), classes), 1)
    return counts


def faults(have: np.ndarray, real: np.ndarray) -> int:
    """Misses and false alarms of a picture."""
    labels = set(have[:, 4]) | set(real[:, 4])
    wrong = 0
    for label in labels:
        hits = precision.judged(have[have[:, 4] == label], real[real[:, 4] == label], 0.5)
        wrong += (
            int((hits == 0).sum()) + int(((real[:, 4] == label) & (real[:, 5] == 0)).sum()) - int((hits == 1).sum())
        )
    return wrong


def beside(
    pictures: Sequence[np.ndarray], truth: Sequence[np.ndarray], found: Sequence[np.ndarray], names: Sequence[str],
    labels: Sequence[str],
) -> str:  # fmt: skip
    """The pictures with most misses and false alarms: what is there on the left, what was found on the right."""
    wrong = [faults(have, real) for have, real in zip(found, truth, strict=True)]
    order = np.argsort([-n for n in wrong], kind="stable")[:MOST]
    shown = []
    for i in order:
        named = sorted({labels[int(c)] for c in (*truth[i][:, 4], *found[i][:, 4])})
        under = f"{wrong[i]} misses and false alarms<br>{escape(', '.join(named))}<br>{escape(names[i])}"
        pair = "".join(picture(drawn(pictures[i], rows)) for rows in (truth[i], found[i]))
        shown.append((pair, under))
    return note("Truth, and below it the answer.") + gallery(shown)


def drawn(pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The picture, as large as the page shows it, with boxes; a colour for each class."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels).convert("RGB")
    scale = SIDE / max(image.size)
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    draw = ImageDraw.Draw(image)
    for x0, y0, x1, y1, label in rows[:, :5][::-1] * (*[scale] * 4, 1):
        draw.rectangle((x0, y0, x1, y1), outline=COLOURS[int(label) % len(COLOURS)], width=2)
    return np.asarray(image)

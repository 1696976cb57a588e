"""A detection set that a tiny network learns in seconds: bright squares and dark discs on grey noise."""

from pathlib import Path

import numpy as np
from PIL import Image

from patchnet.data.sets import Dataset

CLASSES = ("square", "disc")


def picture(rng: np.random.Generator, height: int = 48, width: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (height, width, 3) with one to three objects of 10 to 20 pixels, and their boxes (n, 6)."""
    pixels = rng.integers(90, 140, (height, width, 3))
    y, x = np.mgrid[:height, :width]
    rows, taken = [], np.zeros((height, width), bool)
    for _ in range(rng.integers(1, 4)):
        side, label = int(rng.integers(10, 21)), int(rng.integers(2))
        x0, y0 = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
        inside = (x >= x0) & (x < x0 + side) & (y >= y0) & (y < y0 + side)
        if (taken & inside).any():
            continue
        taken |= inside
        round_ = (x + 0.5 - x0 - side / 2) ** 2 + (y + 0.5 - y0 - side / 2) ** 2 <= side**2 / 4
        pixels[inside if label == 0 else inside & round_] = (230, 220, 90) if label == 0 else (20, 40, 30)
        rows.append([x0 / width, y0 / height, (x0 + side) / width, (y0 + side) / height, label, 0])
    return pixels.astype(np.uint8), np.array(rows, np.float32)


def dataset(n: int, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    pixels, boxes = zip(*(picture(rng) for _ in range(n)), strict=True)
    return Dataset(CLASSES, list(pixels), np.full(n, -1), tuple(f"{seed}-{i}" for i in range(n)), boxes)


def save(path, n: int, seed: int = 0) -> None:
    """The set as an .npz for `data.load`."""
    made = dataset(n, seed)
    rows = np.concatenate(made.boxes)
    np.savez(
        path, images=np.stack(made.sources), classes=CLASSES, names=made.names, boxes=rows[:, :4],
        box_labels=rows[:, 4].astype(int), box_difficult=rows[:, 5].astype(int),
        box_start=np.cumsum([0, *map(len, made.boxes)]),
    )  # fmt: skip


COLOURS = {"blue": (40, 40, 200), "green": (40, 200, 40), "red": (200, 40, 40)}


def folder(root: Path, each: int = 30) -> Path:
    """Class folders of PNG files: squares of three colours on noise."""
    rng = np.random.default_rng(0)
    for label, colour in COLOURS.items():
        (root / label).mkdir(parents=True)
        for i in range(each):
            pixels, (x, y) = rng.integers(0, 120, (40, 50, 3)), rng.integers(0, 20, 2)
            pixels[y : y + 18, x : x + 18] = np.array(colour) + rng.integers(-30, 30, 3)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / label / f"{i}.png")
    return root

"""Sets that tiny networks learn in seconds. With boxes: bright squares and dark discs on grey noise, in every layout;
of class labels: squares of three colours; of sounds: two tones, and noise."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from patchnet.data.dataset import Dataset
from patchnet.data.sounds import to_wav

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


def yolo(root: Path, n: int) -> Path:
    """The set as images, labels and classes.txt."""
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
    (root / "classes.txt").write_text("\n".join(CLASSES))
    for name, pixels, rows in each(n):
        Image.fromarray(pixels).save(root / "images" / f"{name}.png")
        lines = [f"{int(c)} {(x0 + x1) / 2} {(y0 + y1) / 2} {x1 - x0} {y1 - y0}" for x0, y0, x1, y1, c, _ in rows]
        (root / "labels" / f"{name}.txt").write_text("\n".join(lines))
    return root


def voc(root: Path, n: int) -> Path:
    """The set as JPEGImages and Annotations."""
    for kind in ("JPEGImages", "Annotations"):
        (root / kind).mkdir(parents=True)
    for name, pixels, rows in each(n):
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.jpg")
        objects = ""
        for x0, y0, x1, y1, c, _ in rows * (*2 * pixels.shape[1::-1], 1, 1):
            box = f"<xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
            objects += f"<object><name>{CLASSES[int(c)]}</name><bndbox>{box}</bndbox></object>"
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    return root


def coco(file: Path, n: int) -> Path:
    """The set as a file of instances, and images beside it."""
    (file.parent / "images").mkdir(parents=True)
    told = {"images": [], "annotations": [], "categories": [{"id": i, "name": c} for i, c in enumerate(CLASSES)]}
    for name, pixels, rows in each(n):
        Image.fromarray(pixels).save(file.parent / "images" / f"{name}.png")
        told["images"].append({"id": name, "file_name": f"{name}.png"})
        for x0, y0, x1, y1, c, _ in (rows * (*2 * pixels.shape[1::-1], 1, 1)).tolist():
            one = {"id": len(told["annotations"]), "image_id": name, "category_id": int(c)}
            told["annotations"].append(one | {"bbox": [x0, y0, x1 - x0, y1 - y0]})
    file.write_text(json.dumps(told))
    return file


def each(n: int):
    made = dataset(n)
    return zip(made.names, made.sources, made.boxes, strict=True)


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


TONES = {"low": 300, "high": 1500, "noise": None}  # Hz


def sounds(root: Path, each: int = 20, rate: int = 8000) -> Path:
    """Class folders of WAV files, a second each: tones in noise, and noise alone."""
    rng = np.random.default_rng(0)
    for label, hertz in TONES.items():
        (root / label).mkdir(parents=True)
        for i in range(each):
            tone = 8000 * np.sin(2 * np.pi * hertz * np.arange(rate) / rate) if hertz else 0
            wave = rng.normal(0, 300, rate) + tone
            (root / label / f"{i}.wav").write_bytes(to_wav(wave.astype(np.int16), rate))
    return root
